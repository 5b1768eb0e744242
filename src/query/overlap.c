/* Where the same entry can be stored twice: the pieces of each stream (runs of segments, live batches) and the spans of time
 * in which more than one source has some.
 *
 * Sealing has dropped repeats inside a segment, so two copies of an entry stand in different sources, or in one live batch
 * with equal timestamps.  Outside of the regions found here every stored row is an entry of its own: it may be counted without
 * being looked at.
 * Process: worker, pool threads; memory is charged to the query. */
#include "query/engine-private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

/* ---- pieces ---- */

static int rehash(struct lp_query *query, struct lp_pieces *p)
{
	size_t size = p->size ? p->size * 2 : 1024;
	uint32_t *table = lp_query_charge(query, size * sizeof *table) == 0 ? calloc(size, sizeof *table) : NULL;

	if (!table)
		return -ENOMEM;
	for (size_t i = 0; i < p->n_streams; i++) {
		size_t at = p->streams[i].hash & (size - 1);

		while (table[at])
			at = (at + 1) & (size - 1);
		table[at] = (uint32_t)i + 1;
	}
	lp_query_uncharge(query, p->size * sizeof *table);
	free(p->table);
	p->table = table;
	p->size = size;
	return 0;
}

static int intern(struct lp_query *query, struct lp_pieces *p, const uint8_t *labels, uint32_t len, uint32_t *ret_stream)
{
	uint64_t hash = XXH3_64bits(labels, len);

	if (p->n_streams >= p->size / 2 && rehash(query, p) < 0)
		return -ENOMEM;
	size_t at = hash & (p->size - 1);

	for (; p->table[at]; at = (at + 1) & (p->size - 1)) {
		const struct lp_piece_stream *s = &p->streams[p->table[at] - 1];

		if (s->hash == hash && s->len == len && memcmp(s->labels, labels, len) == 0) {
			*ret_stream = p->table[at] - 1;
			return 0;
		}
	}
	int r = lp_query_grow(query, (void **)&p->streams, &p->streams_cap, p->n_streams + 1, sizeof *p->streams);

	if (r < 0)
		return r;
	p->streams[p->n_streams++] = (struct lp_piece_stream){ labels, len, hash };
	p->table[at] = (uint32_t)p->n_streams;
	*ret_stream = (uint32_t)p->n_streams - 1;
	return 0;
}

static int add_piece(struct lp_query *query, struct lp_pieces *p, const struct lp_task *task, const struct lp_item *item, uint32_t index)
{
	struct lp_piece piece = { .batch = item->batch, .run = item->run, .item = index };
	const uint8_t *labels;
	uint32_t len;
	int64_t min_ts, max_ts;
	int r;

	if (item->batch) {
		piece.source = lp_snapshot_segments(query->snapshot) + 1 + index;
		piece.min_ts = item->batch->min_ts;
		piece.max_ts = item->batch->max_ts;
		r = lp_snapshot_wal_stream(query->snapshot, item->stream, &labels, &len, &min_ts, &max_ts);
	} else {
		const struct lp_segment *segment = lp_snapshot_segment(query->snapshot, task->seg);
		struct lp_run run;

		r = lp_segment_run(segment, item->run, &run);
		if (r < 0)
			return r;
		piece.source = task->seg;
		piece.min_ts = run.min_ts;
		piece.max_ts = run.max_ts;
		r = lp_segment_stream(segment, run.stream, &labels, &len, &min_ts, &max_ts);
	}
	if (r == 0)
		r = intern(query, p, labels, len, &piece.stream);
	if (r == 0)
		r = lp_query_grow(query, (void **)&p->v, &p->cap, p->n + 1, sizeof piece);
	if (r == 0)
		p->v[p->n++] = piece;
	return r;
}

static int cmp_piece(const void *x, const void *y)
{
	const struct lp_piece *a = x, *b = y;

	if (a->stream != b->stream)
		return a->stream < b->stream ? -1 : 1;
	if (a->min_ts != b->min_ts)
		return a->min_ts < b->min_ts ? -1 : 1;
	return a->source < b->source ? -1 : a->source > b->source;
}

/* The two furthest ends of different sources among the pieces before (or, mirrored, behind). */
struct reach {
	int64_t first, second;
	uint32_t source;
	bool any, two;
};

static void reach_add(struct reach *reach, uint32_t source, int64_t end)
{
	if (!reach->any) {
		*reach = (struct reach){ .first = end, .source = source, .any = true };
	} else if (source == reach->source) {
		reach->first = end > reach->first ? end : reach->first;
	} else if (end > reach->first) {
		reach->second = reach->first;
		reach->first = end;
		reach->source = source;
		reach->two = true;
	} else if (!reach->two || end > reach->second) {
		reach->second = end;
		reach->two = true;
	}
}

/* Furthest end among other sources; false: none reaches `from`. */
static bool reach_other(const struct reach *reach, uint32_t source, int64_t from, int64_t *ret_end)
{
	bool other = reach->any && source != reach->source;

	*ret_end = other ? reach->first : reach->second;
	return (other || reach->two) && *ret_end >= from;
}

/* Mark pieces of one stream (sorted by start) that overlap another source: looking back at the ends of those before, then
 * looking ahead at the starts of those behind, mirrored in time (-1 - t reverses the order without overflow). */
static void mark_shared(struct lp_piece *pieces, size_t n)
{
	struct reach reach = { .any = false };
	int64_t end;

	for (size_t i = 0; i < n; i++) {
		if (reach_other(&reach, pieces[i].source, pieces[i].min_ts, &end))
			pieces[i].shared = true;
		reach_add(&reach, pieces[i].source, pieces[i].max_ts);
	}
	reach = (struct reach){ .any = false };
	for (size_t i = n; i-- > 0;) {
		if (reach_other(&reach, pieces[i].source, -1 - pieces[i].max_ts, &end))
			pieces[i].shared = true;
		reach_add(&reach, pieces[i].source, -1 - pieces[i].min_ts);
	}
}

int lp_pieces_collect(struct lp_query *query, const struct lp_items *plan, struct lp_pieces *pieces)
{
	int r = 0;

	for (uint32_t t = 0; r == 0 && t < plan->n_tasks; t++) {
		const struct lp_task *task = &plan->tasks[t];

		if (t % 256 == 255 && lp_query_stopped(query))
			return -ECANCELED;
		for (uint32_t i = task->first; r == 0 && i < task->first + task->n; i++)
			r = add_piece(query, pieces, task, &plan->items[i], i);
	}
	if (r < 0)
		return r;
	if (pieces->n)
		qsort(pieces->v, pieces->n, sizeof *pieces->v, cmp_piece);
	for (size_t i = 0, next; i < pieces->n; i = next) {
		for (next = i + 1; next < pieces->n && pieces->v[next].stream == pieces->v[i].stream;)
			next++;
		mark_shared(&pieces->v[i], next - i);
	}
	return 0;
}

void lp_pieces_free(struct lp_query *query, struct lp_pieces *pieces)
{
	lp_query_uncharge(query, pieces->cap * sizeof *pieces->v + pieces->streams_cap * sizeof *pieces->streams +
			  pieces->size * sizeof *pieces->table);
	free(pieces->v);
	free(pieces->streams);
	free(pieces->table);
	*pieces = (struct lp_pieces){ 0 };
}

/* ---- regions ---- */

/* A live batch whose timestamps do not ascend strictly may hold the same entry twice. */
static bool repeats_possible(struct lp_query *query, const struct lp_wal_batch *batch)
{
	struct lp_rows rows;

	if (lp_scan_batch_rows(query, batch, &rows) < 0)
		return false;           /* it will not be read either */
	for (uint32_t i = 1; i < rows.n; i++)
		if (rows.ts[i] <= rows.ts[i - 1])
			return true;
	return false;
}

static int add_span(struct lp_query *query, struct lp_regions *regions, size_t first, int64_t min, int64_t max)
{
	struct lp_region *last = regions->n > first ? &regions->v[regions->n - 1] : NULL;

	if (last && min <= last->max_ts) {
		last->max_ts = max > last->max_ts ? max : last->max_ts;
		return 0;
	}
	int r = lp_query_grow(query, (void **)&regions->v, &regions->cap, regions->n + 1, sizeof *regions->v);

	if (r == 0)
		regions->v[regions->n++] = (struct lp_region){ .min_ts = min, .max_ts = max };
	return r;
}

/* A piece that starts while another source still has some shares the time up to the earlier of both ends.  Starts ascend, so
 * spans come in order.  (The other one began no later, so nothing in the span is the piece's alone; and of two that
 * share a time, one starts last.) */
static int stream_regions(struct lp_query *query, const struct lp_piece *pieces, size_t n, struct lp_regions *regions)
{
	struct reach reach = { .any = false };
	size_t first = regions->n;
	int r = 0;

	for (size_t i = 0; r == 0 && i < n; i++) {
		const struct lp_piece *p = &pieces[i];
		int64_t end;

		if (p->batch && repeats_possible(query, p->batch))
			r = add_span(query, regions, first, p->min_ts, p->max_ts);
		else if (reach_other(&reach, p->source, p->min_ts, &end))
			r = add_span(query, regions, first, p->min_ts, end < p->max_ts ? end : p->max_ts);
		reach_add(&reach, p->source, p->max_ts);
	}
	for (size_t i = 0, at = first; r == 0 && i < n && first < regions->n; i++) {
		struct lp_item_regions *of = &regions->of[pieces[i].item];

		while (at < regions->n && regions->v[at].max_ts < pieces[i].min_ts)
			at++;
		of->first = (uint32_t)at;
		for (size_t k = at; k < regions->n && regions->v[k].min_ts <= pieces[i].max_ts; k++) {
			regions->v[k].pieces++;
			of->n++;
		}
	}
	return r;
}

int lp_regions_open(struct lp_query *query, const struct lp_items *plan, struct lp_regions *regions)
{
	struct lp_pieces pieces = { 0 };
	int r = lp_pieces_collect(query, plan, &pieces);

	if (r == 0)
		r = lp_query_charge(query, plan->n * sizeof *regions->of);
	if (r == 0) {
		regions->n_of = plan->n;
		regions->of = calloc((size_t)plan->n + 1, sizeof *regions->of);
		r = regions->of ? 0 : -ENOMEM;
	}
	for (size_t i = 0, next; r == 0 && i < pieces.n; i = next) {
		for (next = i + 1; next < pieces.n && pieces.v[next].stream == pieces.v[i].stream;)
			next++;
		r = stream_regions(query, &pieces.v[i], next - i, regions);
	}
	lp_pieces_free(query, &pieces);
	return r;
}

void lp_regions_close(struct lp_query *query, struct lp_regions *regions)
{
	for (size_t i = 0; i < regions->n; i++)
		lp_region_clear(query, &regions->v[i]);
	free(regions->v);
	free(regions->of);
	*regions = (struct lp_regions){ 0 };
}

void lp_region_clear(struct lp_query *query, struct lp_region *region)
{
	lp_query_uncharge(query, region->set_size * sizeof *region->set + region->later_cap * sizeof *region->later);
	free(region->set);
	free(region->later);
	region->set = NULL;
	region->later = NULL;
	region->set_size = region->set_n = region->later_n = region->later_cap = 0;
}

static int set_grow(struct lp_query *query, struct lp_region *region)
{
	size_t size = region->set_size ? region->set_size * 2 : 64;
	int r = lp_query_charge(query, size * sizeof *region->set);
	struct lp_hash128 *set = r == 0 ? calloc(size, sizeof *set) : NULL;

	if (!set) {
		if (r == 0)
			lp_query_uncharge(query, size * sizeof *set);
		return -ENOMEM;
	}
	for (size_t i = 0; i < region->set_size; i++) {
		if (!region->set[i].lo && !region->set[i].hi)
			continue;
		size_t at = region->set[i].lo & (size - 1);

		while (set[at].lo || set[at].hi)
			at = (at + 1) & (size - 1);
		set[at] = region->set[i];
	}
	lp_query_uncharge(query, region->set_size * sizeof *set);
	free(region->set);
	region->set = set;
	region->set_size = size;
	return 0;
}

int lp_region_first(struct lp_query *query, struct lp_region *region, struct lp_hash128 hash)
{
	if (!hash.lo && !hash.hi)
		hash.hi = 1;            /* zero marks a free place */
	if (region->set_n >= region->set_size / 2) {
		int r = set_grow(query, region);

		if (r < 0)
			return r;
	}
	size_t at = hash.lo & (region->set_size - 1);

	for (; region->set[at].lo || region->set[at].hi; at = (at + 1) & (region->set_size - 1))
		if (region->set[at].lo == hash.lo && region->set[at].hi == hash.hi)
			return 0;
	region->set[at] = hash;
	region->set_n++;
	return 1;
}

struct lp_hash128 lp_entry_hash(int64_t ts, const char *line, uint32_t len, const uint8_t *meta, uint32_t meta_len)
{
	uint64_t seed = meta_len ? XXH3_64bits_withSeed(meta, meta_len, (uint64_t)ts) : (uint64_t)ts * UINT64_C(0x9e3779b97f4a7c15);
	XXH128_hash_t h = XXH3_128bits_withSeed(line ? line : "", len, seed);

	return (struct lp_hash128){ h.low64, h.high64 };
}
