/* Merging: order, deduplication and the limit, over candidates of one task and over what a query keeps.
 *
 * Order: timestamp in the query's direction; equal timestamps by (WAL file, position in it or in its segment), which is the
 * order of arrival, and its exact reverse backward.  Identity of an entry: stream labels, timestamp, line, metadata;
 * of several copies the one that arrived first stays.
 * Where stages rewrite lines, entries of one stream and timestamp that the answer would show alike (line, labels) are
 * repeats as well, as in Loki, whose merge compares what the pipeline made of them; the pipeline runs here for such ties only.
 *
 * Why cutting each run is exact: an entry that is cut has at least `limit` distinct entries before it, and merging never moves
 * those behind it, except copies that turn out to have arrived earlier, among equal timestamps, backward.  So entries that
 * tie with the last kept timestamp stay too, up to TIES_MAX.
 * Process: worker, pool threads. */
#include "query/engine-private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#define PAIRWISE_MAX 12u
#define TIES_MAX 8192u

static int arrival(const struct lp_cand *a, const struct lp_cand *b)
{
	if (a->file != b->file)
		return a->file < b->file ? -1 : 1;
	return a->pos < b->pos ? -1 : a->pos > b->pos;
}

static int cmp_forward(const void *x, const void *y)
{
	const struct lp_cand *a = x, *b = y;

	if (a->ts != b->ts)
		return a->ts < b->ts ? -1 : 1;
	return arrival(a, b);
}

static int cmp_backward(const void *x, const void *y)
{
	return cmp_forward(y, x);
}

static bool same_stream(const struct lp_cand *a, const struct lp_cand *b)
{
	return a->labels_len == b->labels_len && (a->labels == b->labels || memcmp(a->labels, b->labels, a->labels_len) == 0);
}

static bool same(const struct lp_cand *a, const struct lp_cand *b)
{
	if (a->has_shown && b->has_shown && a->shown[0] == b->shown[0] && a->shown[1] == b->shown[1] && same_stream(a, b))
		return true;
	return a->line_len == b->line_len && a->meta_len == b->meta_len && same_stream(a, b) &&
	       (!a->line_len || memcmp(a->line, b->line, a->line_len) == 0) && (!a->meta_len || memcmp(a->meta, b->meta, a->meta_len) == 0);
}

struct keyed {
	uint64_t hash;
	uint32_t i;             /* place in the group, arrival order */
};

static int cmp_keyed(const void *x, const void *y)
{
	const struct keyed *a = x, *b = y;

	if (a->hash != b->hash)
		return a->hash < b->hash ? -1 : 1;
	return a->i < b->i ? -1 : a->i > b->i;
}

/* Mark repeats in v[0..n), all of one timestamp.  `first` says which end arrived first. */
static int mark_large(const struct lp_cand *v, size_t n, bool forward, bool *drop)
{
	struct keyed *keys = malloc(n * sizeof *keys);

	if (!keys)
		return -ENOMEM;
	for (size_t k = 0; k < n; k++) {
		const struct lp_cand *c = &v[forward ? k : n - 1 - k];
		uint64_t h = XXH3_64bits(c->line ? c->line : "", c->line_len);

		h = XXH3_64bits_withSeed(c->meta ? c->meta : (const uint8_t *)"", c->meta_len, h);
		if (c->has_shown)
			h = c->shown[0];
		keys[k] = (struct keyed){ XXH3_64bits_withSeed(c->labels, c->labels_len, h), (uint32_t)k };
	}
	qsort(keys, n, sizeof *keys, cmp_keyed);
	for (size_t a = 0; a < n; a++) {
		size_t ia = forward ? keys[a].i : n - 1 - keys[a].i;

		if (drop[ia])
			continue;
		for (size_t b = a + 1; b < n && keys[b].hash == keys[a].hash; b++) {
			size_t ib = forward ? keys[b].i : n - 1 - keys[b].i;

			if (!drop[ib] && same(&v[ia], &v[ib]))
				drop[ib] = true;
		}
	}
	free(keys);
	return 0;
}

static void mark_small(const struct lp_cand *v, size_t n, bool forward, bool *drop)
{
	for (size_t a = 0; a < n; a++)
		for (size_t b = a + 1; b < n; b++)
			if (same(&v[a], &v[b]))
				drop[forward ? b : a] = true;
}

/* What the answer would show of v[0..n), a hash each.  *state is opened when it is first needed. */
static int look_alikes(struct lp_query *query, struct lp_pipeline_state **state, struct lp_cand *v, size_t n)
{
	const struct lp_cand *stream = NULL;
	struct lp_pipeline_result res;
	int r = *state ? 0 : lp_pipeline_state_open(query->pipeline, state);

	for (size_t i = 0; r == 0 && i < n; i++) {
		if (v[i].has_shown)
			continue;
		if (!stream || stream->labels != v[i].labels || stream->labels_len != v[i].labels_len)
			r = lp_pipeline_stream(*state, v[i].labels, v[i].labels_len);
		stream = r < 0 ? NULL : &v[i];
		if (r == 0)
			r = lp_pipeline_line(*state, v[i].ts, v[i].line, v[i].line_len, v[i].meta, v[i].meta_len, &res);
		if (r == 1) {
			XXH128_hash_t h = XXH3_128bits_withSeed(res.line, res.line_len, res.hash);

			v[i].shown[0] = h.low64;
			v[i].shown[1] = h.high64;
			v[i].has_shown = true;
		}
		r = r > 0 || r == -EBADMSG ? 0 : r;
	}
	return r;
}

/* Remove repeats from a sorted array; owned memory of what goes is freed. */
static int drop_repeats(struct lp_query *query, struct lp_cands *cands)
{
	struct lp_pipeline_state *state = NULL;
	bool small[PAIRWISE_MAX], *drop, forward = query->params.forward;
	size_t out = 0;
	int r = 0;

	for (size_t i = 0, next; i < cands->n; i = next) {
		struct lp_cand *v = &cands->v[i];
		size_t n = 1;

		while (i + n < cands->n && v[n].ts == v->ts)
			n++;
		next = i + n;
		if (n == 1 || r < 0) {
			memmove(&cands->v[out], v, n * sizeof *v);
			out += n;
			continue;
		}
		if (query->rewrites)
			r = look_alikes(query, &state, v, n);
		drop = n <= PAIRWISE_MAX ? small : calloc(n, 1);
		if (!drop)
			r = -ENOMEM;
		else if (n <= PAIRWISE_MAX)
			memset(drop, 0, n);
		if (r == 0 && n <= PAIRWISE_MAX)
			mark_small(v, n, forward, drop);
		else if (r == 0)
			r = mark_large(v, n, forward, drop);
		for (size_t k = 0; k < n; k++) {
			if (!drop || !drop[k]) {
				cands->v[out++] = v[k];
				continue;
			}
			if (v[k].owned) {
				lp_query_uncharge(query, (size_t)v[k].line_len + v[k].meta_len);
				free(v[k].owned);
			}
		}
		if (drop != small)
			free(drop);
	}
	lp_pipeline_state_close(&state);
	cands->n = out;
	return r;
}

int lp_cands_settle(struct lp_query *query, struct lp_cands *cands)
{
	if (cands->n < 2)
		return 0;
	qsort(cands->v, cands->n, sizeof *cands->v, query->params.forward ? cmp_forward : cmp_backward);
	return drop_repeats(query, cands);
}

size_t lp_cands_cut(const struct lp_cands *cands, size_t limit)
{
	size_t n = limit;

	if (cands->n <= limit || !limit)
		return limit && cands->n < limit ? cands->n : limit;
	while (n < cands->n && n - limit < TIES_MAX && cands->v[n].ts == cands->v[limit - 1].ts)
		n++;
	return n;
}

static int own(struct lp_query *query, struct lp_cand *cand)
{
	size_t bytes = (size_t)cand->line_len + cand->meta_len;
	int r = lp_query_charge(query, bytes);

	if (r < 0)
		return r;
	char *p = malloc(bytes ? bytes : 1);

	if (!p) {
		lp_query_uncharge(query, bytes);
		return -ENOMEM;
	}
	if (cand->line_len)
		memcpy(p, cand->line, cand->line_len);
	if (cand->meta_len)
		memcpy(p + cand->line_len, cand->meta, cand->meta_len);
	cand->owned = p;
	cand->line = p;
	cand->meta = (const uint8_t *)p + cand->line_len;
	return 0;
}

static void disown_from(struct lp_query *query, struct lp_cands *cands, size_t from)
{
	for (size_t i = from; i < cands->n; i++) {
		if (!cands->v[i].owned)
			continue;
		lp_query_uncharge(query, (size_t)cands->v[i].line_len + cands->v[i].meta_len);
		free(cands->v[i].owned);
	}
	if (cands->n > from)
		cands->n = from;
}

/* kept and cands, both sorted, into one sorted array. */
static void merge_sorted(struct lp_cand *to, const struct lp_cands *a, const struct lp_cands *b, bool forward)
{
	size_t i = 0, k = 0;

	while (i < a->n || k < b->n) {
		bool left = k == b->n || (i < a->n && (forward ? cmp_forward(&a->v[i], &b->v[k]) : cmp_backward(&a->v[i], &b->v[k])) <= 0);

		*to++ = left ? a->v[i++] : b->v[k++];
	}
}

static int kept_merge_locked(struct lp_query *query, const struct lp_cands *cands)
{
	struct lp_cands *kept = &query->kept, merged = { 0 };
	bool forward = query->params.forward;
	size_t limit = query->params.limit;
	int r = lp_query_charge(query, (kept->n + cands->n) * sizeof *merged.v);

	if (r < 0)
		return r;
	merged.n = merged.cap = kept->n + cands->n;
	merged.v = malloc((merged.cap + 1) * sizeof *merged.v);
	if (!merged.v) {
		lp_query_uncharge(query, merged.cap * sizeof *merged.v);
		return -ENOMEM;
	}
	merge_sorted(merged.v, kept, cands, forward);
	lp_query_uncharge(query, kept->cap * sizeof *kept->v);
	free(kept->v);
	*kept = merged;
	r = drop_repeats(query, kept);
	if (r == 0)
		disown_from(query, kept, lp_cands_cut(kept, limit));
	/* On failure nothing may stay that borrows from the worker. */
	size_t out = 0;

	for (size_t i = 0; i < kept->n; i++) {
		if (!kept->v[i].owned && r == 0)
			r = own(query, &kept->v[i]);
		if (kept->v[i].owned)
			kept->v[out++] = kept->v[i];
	}
	kept->n = out;
	if (r == 0 && kept->n >= limit && limit)
		atomic_store_explicit(&query->threshold, kept->v[limit - 1].ts, memory_order_relaxed);
	return r;
}

int lp_kept_merge(struct lp_query *query, const struct lp_cands *cands)
{
	if (!cands->n)
		return 0;
	pthread_mutex_lock(&query->lock);
	int r = kept_merge_locked(query, cands);

	pthread_mutex_unlock(&query->lock);
	return r;
}

void lp_kept_free(struct lp_query *query)
{
	disown_from(query, &query->kept, 0);
	free(query->kept.v);
	query->kept = (struct lp_cands){ 0 };
}
