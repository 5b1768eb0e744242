/* index/volume and index/volume_range: bytes per series (or per label name) and bucket of time, largest first.
 *
 * The metric of a series: the labels of targetLabels, else those that the selector names, else (selector {}) all.  A stream
 * that lacks one of targetLabels is left out.  aggregateBy=labels: one series {name=""} per label name of the streams.
 * Process: worker, pool threads; the series are charged to the query. */
#include "query/counting.h"

#include "common/clock.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#define MAX_BUCKETS 11001u
#define MAX_PAIRS 1024u          /* as in pipelines */

struct series {
	uint8_t *key;                   /* canonical labels; a name when aggregated by labels */
	uint32_t len;
	uint64_t total;
	uint64_t *bytes;                /* per bucket */
};

struct volume {
	struct lp_counting *counting;
	uint32_t n_buckets;
	/* under query->lock */
	struct series *series;
	size_t n, cap;
	uint32_t *table;
	size_t size;
	struct lp_buf key;
};

static int rehash(struct lp_query *query, struct volume *v)
{
	size_t size = v->size ? v->size * 2 : 64;
	uint32_t *table = lp_query_charge(query, size * sizeof *table) == 0 ? calloc(size, sizeof *table) : NULL;

	if (!table)
		return -ENOMEM;
	for (size_t i = 0; i < v->n; i++) {
		size_t at = XXH3_64bits(v->series[i].key, v->series[i].len) & (size - 1);

		while (table[at])
			at = (at + 1) & (size - 1);
		table[at] = (uint32_t)i + 1;
	}
	lp_query_uncharge(query, v->size * sizeof *table);
	free(v->table);
	v->table = table;
	v->size = size;
	return 0;
}

static int new_series(struct lp_query *query, struct volume *v, const void *key, uint32_t len)
{
	size_t bytes = v->n_buckets * sizeof(uint64_t);

	if (query->params.max_series && v->n >= query->params.max_series)
		return lp_query_fail(query, 400, "BAD_QUERY", "the query hit the max number of series limit (limit: %u series)",
				     query->params.max_series);
	int r = lp_query_grow(query, (void **)&v->series, &v->cap, v->n + 1, sizeof *v->series);

	if (r == 0)
		r = lp_query_charge(query, bytes + len);
	if (r < 0)
		return r;
	struct series s = { .key = malloc((size_t)len + 1), .len = len, .bytes = calloc(1, bytes) };

	if (!s.key || !s.bytes) {
		free(s.key);
		free(s.bytes);
		return -ENOMEM;
	}
	memcpy(s.key, key, len);
	v->series[v->n++] = s;
	return 0;
}

static int add(struct lp_query *query, struct volume *v, const void *key, uint32_t len, const struct lp_count *buckets)
{
	if (v->n >= v->size / 2 && rehash(query, v) < 0)
		return -ENOMEM;
	size_t at = XXH3_64bits(key, len) & (v->size - 1);

	for (; v->table[at]; at = (at + 1) & (v->size - 1)) {
		const struct series *s = &v->series[v->table[at] - 1];

		if (s->len == len && memcmp(s->key, key, len) == 0)
			break;
	}
	if (!v->table[at]) {
		int r = new_series(query, v, key, len);

		if (r < 0)
			return r;
		v->table[at] = (uint32_t)v->n;
	}
	struct series *s = &v->series[v->table[at] - 1];

	for (uint32_t b = 0; b < v->n_buckets; b++) {
		s->bytes[b] += buckets[b].bytes;
		s->total += buckets[b].bytes;
	}
	return 0;
}

static bool is_target(const struct lp_query_params *p, const struct lp_label *label)
{
	for (uint32_t i = 0; i < p->n_matches; i++)
		if (p->match_lens[i] == label->name_len && memcmp(p->matches[i], label->name, label->name_len) == 0)
			return true;
	return false;
}

static bool is_matched(const struct lp_log_expr *log, const struct lp_label *label)
{
	for (uint32_t i = 0; log && i < log->n_matchers; i++)
		if (log->matchers[i].name.len == label->name_len && memcmp(log->matchers[i].name.s, label->name, label->name_len) == 0)
			return true;
	return !log;
}

static bool has_targets(const struct lp_query *query, const uint8_t *labels, uint32_t len)
{
	const struct lp_query_params *p = &query->params;
	struct lp_label label;

	for (uint32_t i = 0; i < p->n_matches; i++)
		if (lp_discover_find(query->discover, labels, len, p->matches[i], p->match_lens[i], &label) != 1)
			return false;
	return true;
}

static bool is_wanted(const struct lp_query *query, const struct lp_label *label)
{
	if (query->params.n_matches)
		return is_target(&query->params, label);
	return query->params.by_labels || is_matched(query->log, label);
}

/* Under the lock. */
static int add_stream(struct lp_query *query, struct volume *v, const uint8_t *labels, uint32_t len, const struct lp_count *buckets)
{
	struct lp_label pairs[MAX_PAIRS];
	uint32_t all, n = 0;
	int r = 0;

	if (lp_discover_labels(query->discover, labels, len, pairs, MAX_PAIRS, &all) < 0)
		return 0;
	for (uint32_t i = 0; r == 0 && i < all; i++) {
		if (!is_wanted(query, &pairs[i]))
			continue;
		if (query->params.by_labels)
			r = add(query, v, pairs[i].name, pairs[i].name_len, buckets);
		else
			pairs[n++] = pairs[i];
	}
	if (r < 0 || query->params.by_labels)
		return r;
	lp_buf_reset(&v->key);
	r = lp_labels_encode(&v->key, "", 0, pairs, n);
	return r < 0 ? r : add(query, v, v->key.data, (uint32_t)v->key.len, buckets);
}

static int volume_take(struct lp_query *query, const uint8_t *labels, uint32_t len, const struct lp_count *buckets, bool live)
{
	struct volume *v = query->state;
	int r = 0;

	(void)live;
	if (!has_targets(query, labels, len))
		return 0;
	pthread_mutex_lock(&query->lock);
	r = add_stream(query, v, labels, len, buckets);
	pthread_mutex_unlock(&query->lock);
	return r;
}

static int volume_plan(struct lp_query *query, struct lp_worker *worker)
{
	struct volume *v = query->state = calloc(1, sizeof *v);
	struct lp_counting_spec spec = { .take = volume_take, .max_buckets = MAX_BUCKETS };
	int r;

	if (!v)
		return -ENOMEM;
	if (query->params.kind == LP_QUERY_VOLUME_RANGE)
		spec.step_ns = query->params.step_ns;
	r = lp_counting_plan(query, worker, &spec, &v->counting);
	if (r == 0)
		v->n_buckets = lp_counting_buckets(v->counting);
	return r;
}

static int volume_run(struct lp_query *query, struct lp_worker *worker, uint32_t task)
{
	struct volume *v = query->state;

	return lp_counting_run(query, worker, v->counting, task);
}

/* ---- the answer ---- */

static int cmp_series(const void *x, const void *y)
{
	const struct series *a = x, *b = y;

	if (a->total != b->total)
		return a->total > b->total ? -1 : 1;
	int c = memcmp(a->key, b->key, a->len < b->len ? a->len : b->len);

	return c ? c : (a->len > b->len) - (a->len < b->len);
}

static uint32_t points(const struct volume *v, const struct series *s)
{
	uint32_t n = 0;

	for (uint32_t b = 0; b < v->n_buckets; b++)
		n += s->bytes[b] != 0;
	return n;
}

/* [seconds, "bytes"]; a bucket's time is its last millisecond, the last one's is the end of the range. */
static void print_point(const struct lp_query *query, const struct volume *v, struct lp_buf *out, uint32_t bucket, uint64_t bytes)
{
	int64_t ms = lp_counting_bucket_end(query, v->counting, bucket) / LP_NS_PER_MS - (bucket + 1 < v->n_buckets);

	lp_buf_printf(out, "[%lld", (long long)(ms / 1000));
	if (ms % 1000)
		lp_buf_printf(out, ".%03lld", (long long)(ms % 1000));
	lp_buf_printf(out, ",\"%llu\"]", (unsigned long long)bytes);
}

static void print_series(const struct lp_query *query, const struct volume *v, const struct series *s, bool matrix)
{
	struct lp_buf *out = (struct lp_buf *)&query->out;
	bool first = true;

	lp_buf_str(out, "{\"metric\":");
	if (query->params.by_labels)
		lp_buf_printf(out, "{\"%.*s\":\"\"}", (int)s->len, (const char *)s->key);
	else
		lp_result_labels_json(out, s->key, s->len);
	lp_buf_str(out, matrix ? ",\"values\":[" : ",\"value\":");
	for (uint32_t b = 0; b < v->n_buckets; b++) {
		if (!s->bytes[b])
			continue;
		if (!first)
			lp_buf_byte(out, ',');
		first = false;
		print_point(query, v, out, b, s->bytes[b]);
	}
	lp_buf_str(out, matrix ? "]}" : "}");
}

static int volume_finish(struct lp_query *query)
{
	struct volume *v = query->state;
	bool matrix = false;
	size_t n = 0;
	int r = lp_out_begin(query, 200, "application/json; charset=UTF-8");

	if (v->n)
		qsort(v->series, v->n, sizeof *v->series, cmp_series);
	/* What has no byte (empty lines) has no volume; it stands last. */
	while (n < v->n && n < query->params.limit && v->series[n].total) {
		matrix |= points(v, &v->series[n]) > 1;
		n++;
	}
	query->stats.lines_matched = n;
	lp_buf_printf(&query->out, "{\"status\":\"success\",\"data\":{\"resultType\":\"%s\",\"result\":[", matrix ? "matrix" : "vector");
	for (size_t i = 0; r == 0 && i < n; i++) {
		if (i)
			lp_buf_byte(&query->out, ',');
		print_series(query, v, &v->series[i], matrix);
		r = lp_out_flush(query, false);
	}
	lp_buf_str(&query->out, "],\"stats\":{}}}");
	return r < 0 ? r : lp_out_flush(query, true);
}

static void volume_free(struct lp_query *query)
{
	struct volume *v = query->state;

	if (!v)
		return;
	lp_counting_free(query, &v->counting);
	for (size_t i = 0; i < v->n; i++) {
		free(v->series[i].key);
		free(v->series[i].bytes);
	}
	free(v->series);
	free(v->table);
	lp_buf_free(&v->key);
	free(v);
	query->state = NULL;
}

const struct lp_query_ops lp_volume_ops = {
	.plan = volume_plan, .run = volume_run, .finish = volume_finish, .free_state = volume_free,
};
