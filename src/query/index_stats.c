/* index/stats: exact numbers of distinct entries, their line bytes, streams and chunks for a selector and a time range.
 *
 * Each run of a segment and each live batch is a piece of one stream.  A piece that meets no other source of its stream in
 * time cannot share an entry with one: a run inside the range is then counted from its header.  Pieces that do meet
 * another source (late or repeated pushes), runs that the range cuts, and live batches with equal timestamps are decoded;
 * entries are distinct by (timestamp, 128-bit hash of line and metadata), counted by sorting.
 * chunks: blocks with an entry in the range, plus one for each stream with live ones (as Loki's head chunk).
 * Process: worker, pool threads; memory is charged to the query. */
#include "query/engine-private.h"

#include "common/bytes.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#define TASK_PIECES 4096u

struct piece {
	uint32_t stream;                /* over all sources */
	uint32_t source;                /* segment, or number of segments + 1 + batch */
	uint32_t run;
	bool shared;                    /* another source of the stream overlaps it in time */
	int64_t min_ts, max_ts;
	const struct lp_wal_batch *batch;
};

struct stream {
	const uint8_t *labels;
	uint32_t len;
	uint64_t hash;
};

struct row {                            /* of a piece that must be decoded */
	int64_t ts;
	uint64_t lo, hi;
	uint32_t bytes;
};

struct range {
	uint32_t first, n;
};

struct totals {
	uint64_t entries, bytes, streams, live_chunks;
};

struct index_stats {
	struct stream *streams;
	size_t n_streams, streams_cap;
	uint32_t *table;
	size_t size;
	struct piece *pieces;
	size_t n, cap;
	struct range *tasks;
	size_t tasks_cap;
	uint64_t **blocks;              /* per segment, a bit per block that was counted; query->lock */
	uint32_t n_segments;
	struct totals totals;           /* query->lock */
};

/* ---- collecting pieces ---- */

static int rehash(struct lp_query *query, struct index_stats *st)
{
	size_t size = st->size ? st->size * 2 : 1024;
	uint32_t *table = lp_query_charge(query, size * sizeof *table) == 0 ? calloc(size, sizeof *table) : NULL;

	if (!table)
		return -ENOMEM;
	for (size_t i = 0; i < st->n_streams; i++) {
		size_t at = st->streams[i].hash & (size - 1);

		while (table[at])
			at = (at + 1) & (size - 1);
		table[at] = (uint32_t)i + 1;
	}
	lp_query_uncharge(query, st->size * sizeof *table);
	free(st->table);
	st->table = table;
	st->size = size;
	return 0;
}

static int intern(struct lp_query *query, struct index_stats *st, const uint8_t *labels, uint32_t len, uint32_t *ret_stream)
{
	uint64_t hash = XXH3_64bits(labels, len);

	if (st->n_streams >= st->size / 2 && rehash(query, st) < 0)
		return -ENOMEM;
	size_t at = hash & (st->size - 1);

	for (; st->table[at]; at = (at + 1) & (st->size - 1)) {
		const struct stream *s = &st->streams[st->table[at] - 1];

		if (s->hash == hash && s->len == len && memcmp(s->labels, labels, len) == 0) {
			*ret_stream = st->table[at] - 1;
			return 0;
		}
	}
	int r = lp_query_grow(query, (void **)&st->streams, &st->streams_cap, st->n_streams + 1, sizeof *st->streams);

	if (r < 0)
		return r;
	st->streams[st->n_streams++] = (struct stream){ labels, len, hash };
	st->table[at] = (uint32_t)st->n_streams;
	*ret_stream = (uint32_t)st->n_streams - 1;
	return 0;
}

static int add_piece(struct lp_query *query, struct index_stats *st, const struct piece *piece)
{
	int r = lp_query_grow(query, (void **)&st->pieces, &st->cap, st->n + 1, sizeof *piece);

	if (r == 0)
		st->pieces[st->n++] = *piece;
	return r;
}

static int collect(struct lp_query *query, struct index_stats *st)
{
	const struct lp_segment *segment = NULL;
	struct lp_run run;
	int r = 0;

	/* The common plan has found the pieces; give each its stream. */
	for (uint32_t t = 0; r == 0 && t < query->plan.n_tasks; t++) {
		const struct lp_task *task = &query->plan.tasks[t];

		if (task->seg != LP_SEG_WAL)
			segment = lp_snapshot_segment(query->snapshot, task->seg);
		for (uint32_t i = task->first; r == 0 && i < task->first + task->n; i++) {
			const struct lp_item *item = &query->plan.items[i];
			struct piece piece = { .batch = item->batch, .run = item->run };
			const uint8_t *labels;
			uint32_t len;
			int64_t min_ts, max_ts;

			if (item->batch) {
				piece.source = st->n_segments + 1 + i;
				piece.min_ts = item->batch->min_ts;
				piece.max_ts = item->batch->max_ts;
				r = lp_snapshot_wal_stream(query->snapshot, item->stream, &labels, &len, &min_ts, &max_ts);
			} else {
				r = lp_segment_run(segment, item->run, &run);
				if (r < 0)
					break;
				piece.source = task->seg;
				piece.min_ts = run.min_ts;
				piece.max_ts = run.max_ts;
				r = lp_segment_stream(segment, run.stream, &labels, &len, &min_ts, &max_ts);
			}
			if (r == 0)
				r = intern(query, st, labels, len, &piece.stream);
			if (r == 0)
				r = add_piece(query, st, &piece);
		}
	}
	return r;
}

static int cmp_piece(const void *x, const void *y)
{
	const struct piece *a = x, *b = y;

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

static bool reach_hits(const struct reach *reach, uint32_t source, int64_t from)
{
	if (reach->any && source != reach->source)
		return reach->first >= from;
	return reach->two && reach->second >= from;
}

/* Mark pieces of one stream (sorted by start) that overlap another source: looking back at the ends of those before, then
 * looking ahead at the starts of those behind, mirrored in time (-1 - t reverses the order without overflow). */
static void mark_shared(struct piece *pieces, size_t n)
{
	struct reach reach = { .any = false };

	for (size_t i = 0; i < n; i++) {
		if (reach_hits(&reach, pieces[i].source, pieces[i].min_ts))
			pieces[i].shared = true;
		reach_add(&reach, pieces[i].source, pieces[i].max_ts);
	}
	reach = (struct reach){ .any = false };
	for (size_t i = n; i-- > 0;) {
		if (reach_hits(&reach, pieces[i].source, -1 - pieces[i].max_ts))
			pieces[i].shared = true;
		reach_add(&reach, pieces[i].source, -1 - pieces[i].min_ts);
	}
}

/* Streams whole into tasks of about TASK_PIECES pieces. */
static int make_tasks(struct lp_query *query, struct index_stats *st)
{
	struct range task = { 0, 0 };
	int r = 0;

	if (st->n)
		qsort(st->pieces, st->n, sizeof *st->pieces, cmp_piece);
	for (size_t i = 0, next; r == 0 && i < st->n; i = next) {
		for (next = i + 1; next < st->n && st->pieces[next].stream == st->pieces[i].stream;)
			next++;
		mark_shared(&st->pieces[i], next - i);
		task.n += (uint32_t)(next - i);
		if (task.n >= TASK_PIECES || next == st->n) {
			r = lp_query_grow(query, (void **)&st->tasks, &st->tasks_cap, (size_t)query->n_tasks + 1, sizeof task);
			if (r == 0)
				st->tasks[query->n_tasks++] = task;
			task = (struct range){ (uint32_t)next, 0 };
		}
	}
	return r;
}

static int stats_plan(struct lp_query *query, struct lp_worker *worker)
{
	struct index_stats *st = query->state = calloc(1, sizeof *st);
	int r;

	if (!st)
		return -ENOMEM;
	st->n_segments = lp_snapshot_segments(query->snapshot);
	st->blocks = calloc((size_t)st->n_segments + 1, sizeof *st->blocks);
	if (!st->blocks)
		return -ENOMEM;
	for (uint32_t i = 0; i < st->n_segments; i++) {
		size_t words = lp_segment_info(lp_snapshot_segment(query->snapshot, i))->blocks / 64 + 1;

		st->blocks[i] = calloc(words, 8);
		if (!st->blocks[i])
			return -ENOMEM;
	}
	r = query->params.start_ns < query->params.end_ns ? lp_plan_tasks(query, worker) : 0;
	query->n_tasks = 0;
	if (r == 0)
		r = collect(query, st);
	if (r == 0)
		r = make_tasks(query, st);
	return r;
}

/* ---- counting ---- */

struct counter {
	struct lp_query *query;
	struct lp_worker *worker;
	struct index_stats *st;
	struct row *rows;
	size_t n, cap;
	struct totals totals;
	bool counted, live;             /* the stream at hand has entries; live ones */
};

static void mark_block(struct counter *c, const struct piece *piece, uint32_t block)
{
	pthread_mutex_lock(&c->query->lock);
	c->st->blocks[piece->source][block / 64] |= UINT64_C(1) << block % 64;
	pthread_mutex_unlock(&c->query->lock);
}

static int add_rows(struct counter *c, const struct lp_rows *rows, uint32_t lo, uint32_t hi, bool *ret_any)
{
	const struct lp_query_params *p = &c->query->params;

	for (uint32_t i = lo; i < hi; i++) {
		uint32_t len, meta_len;

		if (i % 1024 == 1023 && lp_query_stopped(c->query))
			return -ECANCELED;
		if (rows->ts[i] < p->start_ns || rows->ts[i] >= p->end_ns)
			continue;
		const char *line = lp_rows_line(rows, i, &len);
		const uint8_t *meta = lp_rows_meta(rows, i, &meta_len);
		int r = lp_query_grow(c->query, (void **)&c->rows, &c->cap, c->n + 1, sizeof *c->rows);

		if (r < 0)
			return r;
		XXH128_hash_t h = XXH3_128bits_withSeed(line, len, meta_len ? XXH3_64bits(meta, meta_len) : 0);

		c->rows[c->n++] = (struct row){ rows->ts[i], h.low64, h.high64, len };
		*ret_any = true;
	}
	atomic_fetch_add_explicit(&c->query->count.lines_scanned, hi - lo, memory_order_relaxed);
	return 0;
}

static int decode_run(struct counter *c, const struct piece *piece, const struct lp_run *run, bool *ret_any)
{
	const struct lp_rows *rows;
	int r = lp_worker_block(c->query, c->worker, lp_snapshot_segment(c->query->snapshot, piece->source), run->block,
				LP_BLOCK_WANT_TS | LP_BLOCK_WANT_TEXT | LP_BLOCK_WANT_META, &rows);

	if (r < 0)
		return r == -EBADMSG ? 0 : r;
	if ((uint64_t)run->first_row + run->rows > rows->n)
		return 0;
	return add_rows(c, rows, run->first_row, run->first_row + run->rows, ret_any);
}

/* Strictly ascending and inside the range: the header's numbers are the answer. */
static bool batch_plain(const struct lp_query *query, const struct lp_rows *rows)
{
	for (uint32_t i = 1; i < rows->n; i++)
		if (rows->ts[i] <= rows->ts[i - 1])
			return false;
	return rows->n && rows->ts[0] >= query->params.start_ns && rows->ts[rows->n - 1] < query->params.end_ns;
}

static int count_batch(struct counter *c, const struct piece *piece)
{
	struct lp_rows rows;
	bool any = false;
	int r = lp_scan_batch_rows(c->query, piece->batch, &rows);

	if (r < 0)
		return r == -EBADMSG ? 0 : r;
	atomic_fetch_add_explicit(&c->query->count.wal_batches, 1, memory_order_relaxed);
	if (!piece->shared && batch_plain(c->query, &rows)) {
		c->totals.entries += rows.n;
		c->totals.bytes += piece->batch->text_bytes - rows.n;
		any = true;
	} else {
		r = add_rows(c, &rows, 0, rows.n, &any);
	}
	c->counted |= any;
	c->live |= any;
	return r;
}

static int count_run(struct counter *c, const struct piece *piece)
{
	const struct lp_query_params *p = &c->query->params;
	struct lp_run run;
	bool any = false;
	int r = lp_segment_run(lp_snapshot_segment(c->query->snapshot, piece->source), piece->run, &run);

	if (r < 0)
		return r == -EBADMSG ? 0 : r;
	if (!piece->shared && run.min_ts >= p->start_ns && run.max_ts < p->end_ns) {
		c->totals.entries += run.rows;
		c->totals.bytes += run.raw_bytes;
		any = true;
	} else {
		r = decode_run(c, piece, &run, &any);
	}
	if (any)
		mark_block(c, piece, run.block);
	c->counted |= any;
	return r;
}

static int cmp_row(const void *x, const void *y)
{
	const struct row *a = x, *b = y;

	if (a->ts != b->ts)
		return a->ts < b->ts ? -1 : 1;
	if (a->lo != b->lo)
		return a->lo < b->lo ? -1 : 1;
	return a->hi < b->hi ? -1 : a->hi > b->hi;
}

static void count_rows(struct counter *c)
{
	if (c->n)
		qsort(c->rows, c->n, sizeof *c->rows, cmp_row);
	for (size_t i = 0; i < c->n; i++) {
		if (i && cmp_row(&c->rows[i - 1], &c->rows[i]) == 0)
			continue;
		c->totals.entries++;
		c->totals.bytes += c->rows[i].bytes;
	}
	c->n = 0;
}

static int stats_run(struct lp_query *query, struct lp_worker *worker, uint32_t task)
{
	struct index_stats *st = query->state;
	struct counter c = { .query = query, .worker = worker, .st = st };
	const struct piece *pieces = &st->pieces[st->tasks[task].first];
	uint32_t n = st->tasks[task].n;
	int64_t reached = INT64_MIN;
	int r = 0;

	for (uint32_t i = 0; r == 0 && i < n; i++) {
		bool last = i + 1 == n || pieces[i + 1].stream != pieces[i].stream;

		if (i % 64 == 63 && lp_query_stopped(query))
			r = -ECANCELED;
		if (r == 0)
			r = pieces[i].batch ? count_batch(&c, &pieces[i]) : count_run(&c, &pieces[i]);
		/* What starts later than all before it ended shares nothing with them: bound the rows held. */
		reached = pieces[i].max_ts > reached ? pieces[i].max_ts : reached;
		if (!last && pieces[i + 1].min_ts <= reached)
			continue;
		count_rows(&c);
		reached = INT64_MIN;
		if (last) {
			c.totals.streams += c.counted;
			c.totals.live_chunks += c.live;
			c.counted = c.live = false;
		}
	}
	lp_query_uncharge(query, c.cap * sizeof *c.rows);
	free(c.rows);
	pthread_mutex_lock(&query->lock);
	st->totals.entries += c.totals.entries;
	st->totals.bytes += c.totals.bytes;
	st->totals.streams += c.totals.streams;
	st->totals.live_chunks += c.totals.live_chunks;
	pthread_mutex_unlock(&query->lock);
	return r;
}

static int stats_finish(struct lp_query *query)
{
	struct index_stats *st = query->state;
	uint64_t chunks = st->totals.live_chunks;

	for (uint32_t i = 0; i < st->n_segments; i++) {
		uint32_t blocks = lp_segment_info(lp_snapshot_segment(query->snapshot, i))->blocks;

		for (uint32_t w = 0; w < blocks / 64 + 1; w++)
			chunks += (uint64_t)__builtin_popcountll(st->blocks[i][w]);
	}
	query->stats.lines_matched = st->totals.entries;
	int r = lp_out_begin(query, 200, "application/json; charset=UTF-8");

	if (r < 0)
		return r;
	lp_buf_printf(&query->out, "{\"streams\":%llu,\"chunks\":%llu,\"bytes\":%llu,\"entries\":%llu}", (unsigned long long)st->totals.streams,
		      (unsigned long long)chunks, (unsigned long long)st->totals.bytes, (unsigned long long)st->totals.entries);
	return lp_out_flush(query, true);
}

static void stats_free(struct lp_query *query)
{
	struct index_stats *st = query->state;

	if (!st)
		return;
	for (uint32_t i = 0; st->blocks && i < st->n_segments; i++)
		free(st->blocks[i]);
	free(st->blocks);
	free(st->streams);
	free(st->table);
	free(st->pieces);
	free(st->tasks);
	free(st);
	query->state = NULL;
}

const struct lp_query_ops lp_index_stats_ops = {
	.plan = stats_plan, .run = stats_run, .finish = stats_finish, .free_state = stats_free,
};
