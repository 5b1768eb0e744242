/* Kubernetes context: the values of k8s_* and k8s_annot_* labels of what is pushed, as series of /metrics.
 * Guarantees: at most metrics.k8s_series of them, whatever is pushed; what finds no room is shown as value="other" and
 * counted; one that is not pushed for metrics.k8s_series_ttl goes away, "other" as well.  A push costs one look per stream, and nothing
 * more for streams that were looked at within ten seconds.
 * Process: worker, event loop. */
#include "http/worker.h"

#include "common/clock.h"
#include "common/prom.h"
#include "shm/pairs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SEEN_STREAMS 1024u              /* direct mapped: a stream's hash and when it was looked at */
#define LOOK_AGAIN_S 10u

static const char label_prefix[] = "k8s_", annotation_prefix[] = "k8s_annot_";

struct lp_k8s {
	struct lp_pairs *pairs;
	struct {
		uint64_t hash;
		uint32_t at_s;
	} seen[SEEN_STREAMS];
};

static uint32_t now_s(void) { return (uint32_t)(lp_clock_mono_ns() / LP_NS_PER_SEC); }

int lp_k8s_open(struct lp_worker *worker)
{
	struct lp_k8s *k8s = calloc(1, sizeof *k8s);
	int r = k8s ? lp_pairs_open(worker->proc->region, worker->proc->worker, &k8s->pairs) : -ENOMEM;

	if (r < 0) {
		free(k8s);
		return r;
	}
	worker->k8s = k8s;
	return 0;
}

void lp_k8s_close(struct lp_worker *worker)
{
	if (!worker->k8s)
		return;
	lp_pairs_close(&worker->k8s->pairs);
	free(worker->k8s);
	worker->k8s = NULL;
}

static void look(struct lp_worker *worker, const uint8_t *labels, uint32_t len, uint32_t now)
{
	const struct lp_conf *conf = lp_worker_conf(worker);
	struct lp_labels_iter it;
	struct lp_label label;

	if (lp_labels_iter(&it, labels, len, NULL, NULL) < 0)
		return;
	while (lp_labels_next(&it, &label) == 1) {
		if (label.name_len <= sizeof label_prefix - 1 || memcmp(label.name, label_prefix, sizeof label_prefix - 1) != 0)
			continue;
		if (lp_pairs_add(worker->k8s->pairs, label.name, label.name_len, label.value, label.value_len,
				 (uint32_t)conf->metrics.k8s_series, now,
				 (uint32_t)(conf->metrics.k8s_series_ttl / 1000)) < 0)
			lp_stat_add(worker->stat, LP_STAT_K8S_OVERFLOW, 1);
	}
}

void lp_k8s_pushed(struct lp_worker *worker, const struct lp_batch *batch)
{
	uint32_t now = now_s(), len;
	const uint8_t *labels;
	uint64_t hash;

	if (!lp_worker_conf(worker)->metrics.k8s_series)
		return;
	for (uint32_t i = 0; (labels = lp_batch_labels(batch, i, &len, &hash)); i++) {
		uint32_t at = (uint32_t)(hash % SEEN_STREAMS);

		if (worker->k8s->seen[at].hash == hash && now - worker->k8s->seen[at].at_s < LOOK_AGAIN_S)
			continue;
		worker->k8s->seen[at].hash = hash;
		worker->k8s->seen[at].at_s = now;
		if (memmem(labels, len, label_prefix, sizeof label_prefix - 1))
			look(worker, labels, len, now);
	}
}

/* ---- /metrics ---- */

static int by_name_and_value(const void *a, const void *b)
{
	const struct lp_pair *x = a, *y = b;
	uint16_t n = x->name_len < y->name_len ? x->name_len : y->name_len, m = x->value_len < y->value_len ? x->value_len : y->value_len;
	int r = memcmp(x->name, y->name, n);

	if (r || x->name_len != y->name_len)
		return r ? r : (int)x->name_len - (int)y->name_len;
	r = memcmp(x->value, y->value, m);
	return r ? r : (int)x->value_len - (int)y->value_len;
}

/* The tables of all workers, without what is too old; sorted.  NULL without memory or pairs. */
static struct lp_pair *collect(struct lp_worker *worker, uint32_t *ret_n)
{
	struct lp_region *region = worker->proc->region;
	uint32_t now = now_s(), ttl = (uint32_t)(lp_worker_conf(worker)->metrics.k8s_series_ttl / 1000), n = 0, cap = 0;
	struct lp_pair *pairs = NULL, pair, *more;

	for (uint32_t w = 0; w < lp_region_workers(region); w++)
		for (uint32_t i = 0; i < LP_PAIRS_MAX; i++) {
			if (!lp_pairs_read(region, w, i, &pair) || now - pair.seen_s > ttl)
				continue;
			if (n == cap) {
				cap = cap ? cap * 2 : 64;
				more = realloc(pairs, cap * sizeof pairs[0]);
				if (!more) {
					free(pairs);
					return NULL;
				}
				pairs = more;
			}
			pairs[n++] = pair;
		}
	if (pairs)
		qsort(pairs, n, sizeof pairs[0], by_name_and_value);
	*ret_n = n;
	return pairs;
}

static bool overflowed(struct lp_worker *worker)
{
	struct lp_region *region = worker->proc->region;
	uint32_t now = now_s(), ttl = (uint32_t)(lp_worker_conf(worker)->metrics.k8s_series_ttl / 1000);

	for (uint32_t w = 0; w < lp_region_workers(region); w++) {
		uint32_t at = lp_pairs_overflow(region, w);

		if (at && now - at <= ttl)
			return true;
	}
	return false;
}

struct family {
	const char *prefix, *kind;
	char name[LP_PAIRS_NAME_MAX + 48];
};

static void name_family(struct family *family, const struct lp_pair *pair)
{
	bool annotation = pair->name_len > sizeof annotation_prefix - 1 &&
			  memcmp(pair->name, annotation_prefix, sizeof annotation_prefix - 1) == 0;
	size_t skip = annotation ? sizeof annotation_prefix - 1 : sizeof label_prefix - 1;

	family->kind = annotation ? "annotation" : "label";
	snprintf(family->name, sizeof family->name, "%s_k8s_%s_%.*s", family->prefix, family->kind, (int)(pair->name_len - skip),
		 pair->name + skip);
}

static void write_prefix(const struct lp_prom *prom, const char *prefix, const struct lp_pair *pairs, uint32_t n, bool overflow)
{
	struct family family = { .prefix = prefix };

	for (uint32_t i = 0; i < n; i++) {
		const struct lp_pair *pair = &pairs[i], *before = i ? &pairs[i - 1] : NULL;

		if (before && by_name_and_value(before, pair) == 0)
			continue;       /* another worker's */
		if (!before || before->name_len != pair->name_len || memcmp(before->name, pair->name, pair->name_len) != 0) {
			char help[96];

			name_family(&family, pair);
			snprintf(help, sizeof help, "Values of this Kubernetes %s among the logs that were pushed lately", family.kind);
			lp_prom_head(prom, family.name, "gauge", help);
			if (overflow)
				lp_buf_printf(prom->out, "%s{value=\"other\"} 1\n", family.name);
		}
		if (overflow && pair->value_len == 5 && memcmp(pair->value, "other", 5) == 0)
			continue;
		lp_buf_printf(prom->out, "%s{value=", family.name);
		lp_prom_value(prom, pair->value, pair->value_len);
		lp_buf_str(prom->out, "} 1\n");
	}
}

void lp_k8s_write(struct lp_worker *worker, const struct lp_prom *prom)
{
	const struct lp_conf *conf = lp_worker_conf(worker);
	bool overflow = overflowed(worker);
	struct lp_pair *pairs;
	uint32_t n = 0;

	if (!conf->metrics.k8s_series)
		return;
	pairs = collect(worker, &n);
	if (!pairs)
		return;
	if (n > (uint32_t)conf->metrics.k8s_series) {
		n = (uint32_t)conf->metrics.k8s_series;
		overflow = true;
	}
	write_prefix(prom, "logpulse", pairs, n, overflow);
	if (conf->metrics.original_names)
		write_prefix(prom, "lokiclone", pairs, n, overflow);
	free(pairs);
}
