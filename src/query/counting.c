/* Exact numbers of distinct entries and their bytes, per stream and bucket of time, for a selector: behind index/stats and
 * index/volume.
 *
 * Each run of a segment and each live batch is a piece of one stream.  A piece that meets no other source of its stream in
 * time cannot share an entry with one: a run inside a bucket is then counted from its header.  Pieces that do meet
 * another source (late or repeated pushes), runs that a bucket's edge cuts, and live batches with equal timestamps are decoded;
 * entries are distinct by (timestamp, 128-bit hash of line and metadata), counted by sorting.
 *
 * Bytes are those of lines and structured metadata.  Metadata counts as Loki counts it: eight bytes for each pair and
 * each string once per stream (its chunks keep a table of strings).  Headers know nothing of it, so for runs counted from
 * their header the metadata column is read, for at most META_ROWS entries of a query; beyond them it is taken in the
 * proportion to the lines that was found in those.
 * Process: worker, pool threads; memory is charged to the query. */
#include "query/counting.h"

#include "common/bytes.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#define TASK_PIECES 4096u
#define META_ROWS (1u << 21)
#define MAX_STRINGS (1u << 18)      /* of one stream, then the table of strings begins anew */
#define STRING_PAIR_BYTES 8u

struct row {                            /* of a piece that must be decoded */
	int64_t ts;
	uint64_t lo, hi;
	uint32_t bytes;
};

struct range {
	uint32_t first, n;
};

struct lp_counting {
	struct lp_counting_spec spec;
	int64_t first;                  /* bucket 0 begins at first * step */
	uint32_t n_buckets;
	struct lp_pieces pieces;
	struct range *tasks;
	size_t tasks_cap;
	uint64_t **blocks;              /* per segment, a bit per block that was counted; query->lock */
	uint32_t n_segments;
	_Atomic uint32_t meta_rows;     /* whose metadata was or is being read for the sake of its size alone */
	_Atomic uint64_t meta_bytes, meta_lines;        /* what was found in them, and the bytes of their lines */
};

/* Streams whole into tasks of about TASK_PIECES pieces. */
static int make_tasks(struct lp_query *query, struct lp_counting *st)
{
	const struct lp_piece *pieces = st->pieces.v;
	size_t n = st->pieces.n;
	struct range task = { 0, 0 };
	int r = 0;

	for (size_t i = 0, next; r == 0 && i < n; i = next) {
		for (next = i + 1; next < n && pieces[next].stream == pieces[i].stream;)
			next++;
		task.n += (uint32_t)(next - i);
		if (task.n >= TASK_PIECES || next == n) {
			r = lp_query_grow(query, (void **)&st->tasks, &st->tasks_cap, (size_t)query->n_tasks + 1, sizeof task);
			if (r == 0)
				st->tasks[query->n_tasks++] = task;
			task = (struct range){ (uint32_t)next, 0 };
		}
	}
	return r;
}

/* Floor of t / step. */
static int64_t multiple(int64_t t, int64_t step)
{
	return t / step - (t % step < 0);
}

static int make_buckets(struct lp_query *query, struct lp_counting *st)
{
	const struct lp_query_params *p = &query->params;
	int64_t step = st->spec.step_ns;

	st->n_buckets = 1;
	if (!step || p->start_ns >= p->end_ns)
		return 0;
	st->first = multiple(p->start_ns, step);
	uint64_t n = (uint64_t)multiple(p->end_ns - 1, step) - (uint64_t)st->first + 1;

	if (n > st->spec.max_buckets)
		return lp_query_fail(query, 400, "BAD_QUERY",
				     "exceeded maximum resolution of 11,000 points per time series. Try increasing the value of the step parameter");
	st->n_buckets = (uint32_t)n;
	return 0;
}

int lp_counting_plan(struct lp_query *query, struct lp_worker *worker, const struct lp_counting_spec *spec, struct lp_counting **ret_counting)
{
	struct lp_counting *st = *ret_counting = calloc(1, sizeof *st);
	int r;

	if (!st)
		return -ENOMEM;
	st->spec = *spec;
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
	r = make_buckets(query, st);
	if (r == 0 && query->params.start_ns < query->params.end_ns)
		r = lp_plan_tasks(query, worker, NULL);
	query->n_tasks = 0;
	if (r == 0)
		r = lp_pieces_collect(query, &query->plan, &st->pieces);
	if (r == 0)
		r = make_tasks(query, st);
	return r;
}

/* ---- counting ---- */

struct counter {
	struct lp_query *query;
	struct lp_worker *worker;
	struct lp_counting *st;
	struct row *rows;
	size_t n, cap;
	struct lp_count *buckets;       /* of the stream at hand */
	bool counted, live;             /* it has entries; live ones */
	uint64_t *strings;              /* hashes of its metadata's names and values; 0 is a free place */
	size_t n_strings, strings_size;
};

static uint32_t bucket_of(const struct lp_counting *st, int64_t ts)
{
	return st->n_buckets == 1 ? 0 : (uint32_t)(multiple(ts, st->spec.step_ns) - st->first);
}

/* ---- metadata ---- */

static int strings_grow(struct counter *c)
{
	size_t size = c->strings_size ? c->strings_size * 2 : 1024;
	uint64_t *strings = lp_query_charge(c->query, size * sizeof *strings) == 0 ? calloc(size, sizeof *strings) : NULL;

	if (!strings)
		return -ENOMEM;
	for (size_t i = 0; i < c->strings_size; i++) {
		size_t at = c->strings[i] & (size - 1);

		while (c->strings[i] && strings[at])
			at = (at + 1) & (size - 1);
		if (c->strings[i])
			strings[at] = c->strings[i];
	}
	lp_query_uncharge(c->query, c->strings_size * sizeof *strings);
	free(c->strings);
	c->strings = strings;
	c->strings_size = size;
	return 0;
}

static void strings_clear(struct counter *c)
{
	if (c->n_strings)
		memset(c->strings, 0, c->strings_size * sizeof *c->strings);
	c->n_strings = 0;
}

/* Its length when it is new to the stream. */
static int string_add(struct counter *c, const char *s, uint32_t len, uint64_t *bytes)
{
	uint64_t hash = XXH3_64bits(s, len) | 1;

	if (c->n_strings == MAX_STRINGS)
		strings_clear(c);
	if (c->n_strings >= c->strings_size / 2 && strings_grow(c) < 0)
		return -ENOMEM;
	size_t at = hash & (c->strings_size - 1);

	for (; c->strings[at]; at = (at + 1) & (c->strings_size - 1))
		if (c->strings[at] == hash)
			return 0;
	c->strings[at] = hash;
	c->n_strings++;
	*bytes += len;
	return 0;
}

static int add_metadata(struct counter *c, const struct lp_rows *rows, uint32_t i, uint64_t *pairs, uint64_t *strings)
{
	struct lp_labels_iter it;
	struct lp_label label;
	uint32_t len;
	const uint8_t *meta = lp_rows_meta(rows, i, &len);
	int r = 0;

	if (!len || lp_metadata_iter(&it, meta, len) < 0)
		return 0;
	while (r == 0 && lp_labels_next(&it, &label) > 0) {
		++*pairs;
		r = string_add(c, label.name, label.name_len, strings);
		if (r == 0)
			r = string_add(c, label.value, label.value_len, strings);
	}
	return r;
}

/* Bytes of metadata of rows that are counted from headers otherwise. */
static int size_metadata(struct counter *c, const struct lp_rows *rows, uint32_t lo, uint32_t hi, uint64_t *ret_bytes)
{
	uint64_t pairs = 0, strings = 0;
	int r = 0;

	for (uint32_t i = lo; rows->meta_ends && r == 0 && i < hi; i++)
		r = i % 1024 == 1023 && lp_query_stopped(c->query) ? -ECANCELED : add_metadata(c, rows, i, &pairs, &strings);
	*ret_bytes = pairs * STRING_PAIR_BYTES + strings;
	return r;
}

static int size_run_metadata(struct counter *c, const struct lp_piece *piece, const struct lp_run *run, uint64_t *ret_bytes)
{
	struct lp_counting *st = c->st;
	const struct lp_rows *rows;
	int r;

	if (atomic_fetch_add_explicit(&st->meta_rows, run->rows, memory_order_relaxed) >= META_ROWS) {
		uint64_t lines = atomic_load_explicit(&st->meta_lines, memory_order_relaxed);

		atomic_fetch_sub_explicit(&st->meta_rows, run->rows, memory_order_relaxed);
		*ret_bytes = lines ? (uint64_t)((double)atomic_load_explicit(&st->meta_bytes, memory_order_relaxed) / (double)lines * run->raw_bytes) : 0;
		return 0;
	}
	*ret_bytes = 0;
	r = lp_worker_block(c->query, c->worker, lp_snapshot_segment(c->query->snapshot, piece->source), run->block, LP_BLOCK_WANT_META, &rows);
	if (r < 0)
		return r == -EBADMSG ? 0 : r;
	if ((uint64_t)run->first_row + run->rows <= rows->n)
		r = size_metadata(c, rows, run->first_row, run->first_row + run->rows, ret_bytes);
	atomic_fetch_add_explicit(&st->meta_bytes, *ret_bytes, memory_order_relaxed);
	atomic_fetch_add_explicit(&st->meta_lines, run->raw_bytes, memory_order_relaxed);
	return r;
}

/* ---- pieces ---- */

static void mark_block(struct counter *c, const struct lp_piece *piece, uint32_t block)
{
	pthread_mutex_lock(&c->query->lock);
	c->st->blocks[piece->source][block / 64] |= UINT64_C(1) << block % 64;
	pthread_mutex_unlock(&c->query->lock);
}

static int add_rows(struct counter *c, const struct lp_piece *piece, const struct lp_rows *rows, uint32_t lo, uint32_t hi, bool *ret_any)
{
	const struct lp_query_params *p = &c->query->params;
	const struct lp_item *item = &c->query->plan.items[piece->item];

	for (uint32_t i = lo; i < hi; i++) {
		uint32_t len, meta_len;

		if (i % 1024 == 1023 && lp_query_stopped(c->query))
			return -ECANCELED;
		if (rows->ts[i] < p->start_ns || rows->ts[i] >= p->end_ns)
			continue;
		const char *line = lp_rows_line(rows, i, &len);

		if (item->tombs && lp_query_tombs_drop(c->query, item, rows->ts[i], line, len))
			continue;
		const uint8_t *meta = lp_rows_meta(rows, i, &meta_len);
		uint64_t pairs = 0, strings = 0;
		int r = lp_query_grow(c->query, (void **)&c->rows, &c->cap, c->n + 1, sizeof *c->rows);

		if (r == 0 && meta_len)
			r = add_metadata(c, rows, i, &pairs, &strings);
		if (r < 0)
			return r;
		XXH128_hash_t h = XXH3_128bits_withSeed(line, len, meta_len ? XXH3_64bits(meta, meta_len) : 0);

		c->buckets[bucket_of(c->st, rows->ts[i])].bytes += strings;     /* a repeated entry brings no new ones */
		c->rows[c->n++] = (struct row){ rows->ts[i], h.low64, h.high64, len + (uint32_t)pairs * STRING_PAIR_BYTES };
		*ret_any = true;
	}
	atomic_fetch_add_explicit(&c->query->count.lines_scanned, hi - lo, memory_order_relaxed);
	return 0;
}

static int decode_run(struct counter *c, const struct lp_piece *piece, const struct lp_run *run, bool *ret_any)
{
	const struct lp_rows *rows;
	int r = lp_worker_block(c->query, c->worker, lp_snapshot_segment(c->query->snapshot, piece->source), run->block,
				LP_BLOCK_WANT_TS | LP_BLOCK_WANT_TEXT | LP_BLOCK_WANT_META, &rows);

	if (r < 0)
		return r == -EBADMSG ? 0 : r;
	if ((uint64_t)run->first_row + run->rows > rows->n)
		return 0;
	return add_rows(c, piece, rows, run->first_row, run->first_row + run->rows, ret_any);
}

/* Does a header say nothing: may entries of it stand elsewhere as well, or be deleted? */
static bool by_rows(const struct counter *c, const struct lp_piece *piece)
{
	return piece->shared || c->query->plan.items[piece->item].tombs;
}

/* Strictly ascending and inside one bucket: the header's numbers are the answer. */
static bool batch_plain(const struct counter *c, const struct lp_rows *rows)
{
	const struct lp_query_params *p = &c->query->params;

	for (uint32_t i = 1; i < rows->n; i++)
		if (rows->ts[i] <= rows->ts[i - 1])
			return false;
	return rows->n && rows->ts[0] >= p->start_ns && rows->ts[rows->n - 1] < p->end_ns &&
	       bucket_of(c->st, rows->ts[0]) == bucket_of(c->st, rows->ts[rows->n - 1]);
}

static int count_batch(struct counter *c, const struct lp_piece *piece)
{
	struct lp_rows rows;
	bool any = false;
	int r = lp_scan_batch_rows(c->query, piece->batch, &rows);

	if (r < 0)
		return r == -EBADMSG ? 0 : r;
	atomic_fetch_add_explicit(&c->query->count.wal_batches, 1, memory_order_relaxed);
	if (!by_rows(c, piece) && batch_plain(c, &rows)) {
		struct lp_count *bucket = &c->buckets[bucket_of(c->st, rows.ts[0])];
		uint64_t meta = 0;

		r = size_metadata(c, &rows, 0, rows.n, &meta);
		bucket->entries += rows.n;
		bucket->bytes += piece->batch->text_bytes - rows.n + meta;
		any = true;
	} else {
		r = add_rows(c, piece, &rows, 0, rows.n, &any);
	}
	c->counted |= any;
	c->live |= any;
	return r;
}

static int count_run(struct counter *c, const struct lp_piece *piece)
{
	const struct lp_query_params *p = &c->query->params;
	struct lp_run run;
	bool any = false;
	int r = lp_segment_run(lp_snapshot_segment(c->query->snapshot, piece->source), piece->run, &run);

	if (r < 0)
		return r == -EBADMSG ? 0 : r;
	if (!by_rows(c, piece) && run.min_ts >= p->start_ns && run.max_ts < p->end_ns && bucket_of(c->st, run.min_ts) == bucket_of(c->st, run.max_ts)) {
		struct lp_count *bucket = &c->buckets[bucket_of(c->st, run.min_ts)];
		uint64_t meta = 0;

		r = size_run_metadata(c, piece, &run, &meta);
		bucket->entries += run.rows;
		bucket->bytes += run.raw_bytes + meta;
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
		struct lp_count *bucket = &c->buckets[bucket_of(c->st, c->rows[i].ts)];

		bucket->entries++;
		bucket->bytes += c->rows[i].bytes;
	}
	c->n = 0;
}

/* The stream is complete: hand it over. */
static int stream_end(struct counter *c, const struct lp_piece *piece)
{
	const struct lp_piece_stream *stream = &c->st->pieces.streams[piece->stream];
	int r = c->counted ? c->st->spec.take(c->query, stream->labels, stream->len, c->buckets, c->live) : 0;

	memset(c->buckets, 0, c->st->n_buckets * sizeof *c->buckets);
	strings_clear(c);
	c->counted = c->live = false;
	return r;
}

static int count_pieces(struct counter *c, const struct lp_piece *pieces, uint32_t n)
{
	int64_t reached = INT64_MIN;
	int r = 0;

	for (uint32_t i = 0; r == 0 && i < n; i++) {
		bool last = i + 1 == n || pieces[i + 1].stream != pieces[i].stream;

		if (i % 64 == 63 && lp_query_stopped(c->query))
			return -ECANCELED;
		r = pieces[i].batch ? count_batch(c, &pieces[i]) : count_run(c, &pieces[i]);
		/* What starts later than all before it ended shares nothing with them: bound the rows held. */
		reached = pieces[i].max_ts > reached ? pieces[i].max_ts : reached;
		if (!last && pieces[i + 1].min_ts <= reached)
			continue;
		count_rows(c);
		reached = INT64_MIN;
		if (r == 0 && last)
			r = stream_end(c, &pieces[i]);
	}
	return r;
}

int lp_counting_run(struct lp_query *query, struct lp_worker *worker, struct lp_counting *st, uint32_t task)
{
	struct counter c = { .query = query, .worker = worker, .st = st };
	size_t bytes = st->n_buckets * sizeof *c.buckets;
	int r = lp_query_charge(query, bytes);

	if (r < 0)
		return r;
	c.buckets = calloc(1, bytes);
	r = c.buckets ? count_pieces(&c, &st->pieces.v[st->tasks[task].first], st->tasks[task].n) : -ENOMEM;
	lp_query_uncharge(query, bytes + c.cap * sizeof *c.rows + c.strings_size * sizeof *c.strings);
	free(c.buckets);
	free(c.rows);
	free(c.strings);
	return r;
}

uint32_t lp_counting_buckets(const struct lp_counting *st)
{
	return st->n_buckets;
}

int64_t lp_counting_bucket_end(const struct lp_query *query, const struct lp_counting *st, uint32_t bucket)
{
	if (bucket + 1 == st->n_buckets)
		return query->params.end_ns;
	return (st->first + (int64_t)bucket + 1) * st->spec.step_ns;
}

uint64_t lp_counting_blocks(const struct lp_query *query, const struct lp_counting *st)
{
	uint64_t n = 0;

	for (uint32_t i = 0; i < st->n_segments; i++) {
		uint32_t blocks = lp_segment_info(lp_snapshot_segment(query->snapshot, i))->blocks;

		for (uint32_t w = 0; w < blocks / 64 + 1; w++)
			n += (uint64_t)__builtin_popcountll(st->blocks[i][w]);
	}
	return n;
}

void lp_counting_free(struct lp_query *query, struct lp_counting **counting)
{
	struct lp_counting *st = *counting;

	if (!st)
		return;
	for (uint32_t i = 0; st->blocks && i < st->n_segments; i++)
		free(st->blocks[i]);
	free(st->blocks);
	lp_pieces_free(query, &st->pieces);
	free(st->tasks);
	free(st);
	*counting = NULL;
}
