/* Tasks of metric queries: rows of one block, or of a group of live batches, become samples of an accumulator.
 *
 * As little is read as the leaf needs: a run whose time lies in one step is counted from its header; a count without
 * filters decodes timestamps; a search decodes text, and the other columns only of blocks with a hit.
 * Exact in spite of repeats: inside a region (overlap.c) an entry counts when it is the first of its kind.  Where the text is read
 * anyway that is decided at once, by a hash; where only timestamps are read, rows are put aside until the region is complete, and
 * only those of equal times are looked at more closely.
 * Process: worker, pool threads. */
#include "query/metric-private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define STOP_EVERY 1024u

struct mscan {
	struct lp_query *query;
	struct lp_worker *worker;
	struct lp_leaf *leaf;
	struct lp_leaf_thread *thread;
	/* the stream at hand */
	const uint8_t *labels;
	uint32_t labels_len;
	bool stream_set;                /* the pipeline's state is at it */
	bool need_meta;                 /* which series a line belongs to depends on its metadata */
	bool need_level;                /* and on the level that its text names */
	bool has_series;
	uint32_t series;                /* of lines without metadata, when the leaf is plain */
	/* the item at hand */
	uint32_t item;
	struct lp_columns cols;         /* of its block, or the rows of its batch */
	bool live;
	struct lp_region *region, *region_end;  /* those the row may still be in: rows come in order of time, or region_all */
	bool region_all;
	uint32_t ticks;
	uint64_t lines, bytes, samples;
};

int lp_metric_fail_memory(struct lp_query *query)
{
	return lp_query_fail(query, 400, "BAD_QUERY",
			     "the query needs more memory than query.max_query_memory allows (%llu bytes): use a larger step, a shorter time "
			     "range, more label matchers or a grouping with fewer series, or raise query.max_query_memory",
			     (unsigned long long)query->params.max_memory);
}

static int tick(struct mscan *s)
{
	bool heavy = s->thread->state && lp_pipeline_heavy(s->thread->state);

	return (++s->ticks % STOP_EVERY == 0 || heavy) && lp_query_stopped(s->query) ? -ECANCELED : 0;
}

static int want(struct mscan *s, unsigned columns)
{
	return lp_columns_want(s->query, s->worker, &s->cols, columns);
}

/* ---- series ---- */

static int set_stream(struct mscan *s)
{
	if (s->stream_set)
		return 0;
	int r = lp_pipeline_stream(s->thread->state, s->labels, s->labels_len);

	s->stream_set = r == 0;
	return r;
}

static int series_of(struct mscan *s, const struct lp_pipeline_result *res, uint32_t *ret_series)
{
	struct lp_buf *out = &s->thread->labels;
	uint8_t *p;

	lp_buf_reset(out);
	p = lp_buf_reserve(out, LP_VARINT_MAX);
	if (!p)
		return -ENOMEM;
	out->len = (size_t)(lp_varint_put(p, res->n_labels) - out->data);
	for (uint32_t i = 0; i < res->n_labels; i++) {
		const struct lp_pipeline_label *label = &res->labels[i];
		size_t room = (size_t)label->name_len + label->value_len + 2 * LP_VARINT_MAX;

		p = lp_buf_reserve(out, room);
		if (!p)
			return -ENOMEM;
		p = lp_varint_put(p, label->name_len);
		memcpy(p, label->name, label->name_len);
		p = lp_varint_put(p + label->name_len, label->value_len);
		if (label->value_len)
			memcpy(p, label->value, label->value_len);
		out->len = (size_t)(p + label->value_len - out->data);
	}
	return lp_range_acc_series(s->thread->acc, out->data, (uint32_t)out->len, res->hash, ret_series);
}

static int pipeline_failed(struct mscan *s, const struct lp_pipeline_result *res)
{
	struct lp_buf text = LP_BUF_INIT;

	lp_pipeline_error_text(res, &text);
	int r = lp_query_fail(s->query, 400, "BAD_QUERY", "%s", lp_buf_cstr(&text));

	lp_buf_free(&text);
	return r;
}

/* Series of a plain leaf's lines without metadata. */
static int stream_series(struct mscan *s)
{
	struct lp_pipeline_result res;

	if (s->has_series)
		return 0;
	int r = set_stream(s);

	if (r == 0)
		r = lp_pipeline_line(s->thread->state, 0, "", 0, NULL, 0, &res);
	if (r <= 0)
		return r < 0 ? r : -EBADMSG;
	r = series_of(s, &res, &s->series);
	s->has_series = r == 0;
	return r;
}

/* Metadata matters unless the series is made of labels that the stream has: those of the same name in metadata are renamed. */
static bool needs_meta(const struct mscan *s)
{
	const struct lp_leaf *leaf = s->leaf;
	const struct lp_grouping *g = leaf->range.grouping.present ? &leaf->range.grouping : leaf->grouping;
	struct lp_label label;

	if (!lp_pipeline_needs_metadata(leaf->pipeline))
		return false;
	if (!leaf->plain || !g || g->without)
		return true;
	for (uint32_t i = 0; i < g->n_labels; i++)
		if (lp_discover_find(s->query->discover, s->labels, s->labels_len, g->labels[i].s, g->labels[i].len, &label) != 1)
			return true;
	return false;
}

static void enter_stream(struct mscan *s, const uint8_t *labels, uint32_t len)
{
	if (s->labels == labels && s->labels_len == len)
		return;
	s->labels = labels;
	s->labels_len = len;
	s->stream_set = s->has_series = false;
	s->need_meta = needs_meta(s);
	/* Where every line has the level of its stream, the stream's series is the line's.  A stream that cannot be set fails later, by name. */
	s->need_level = s->need_meta && lp_pipeline_needs_level(s->leaf->pipeline) &&
			(set_stream(s) < 0 || !lp_pipeline_level_of_stream(s->thread->state));
}

/* ---- regions ---- */

static pthread_mutex_t *lock_of(struct mscan *s, const struct lp_region *region)
{
	return &s->leaf->locks[(size_t)(region - s->leaf->regions.v) % LP_METRIC_LOCKS];
}

static void enter_regions(struct mscan *s, bool sorted)
{
	const struct lp_item_regions *of = &s->leaf->regions.of[s->item];

	s->region = of->n ? s->leaf->regions.v + of->first : NULL;
	s->region_end = of->n ? s->region + of->n : NULL;
	s->region_all = !sorted;
}

/* The region that a time lies in, or NULL. */
static struct lp_region *region_at(struct mscan *s, int64_t ts)
{
	if (s->region_all) {
		for (struct lp_region *region = s->region; region < s->region_end; region++)
			if (ts >= region->min_ts && ts <= region->max_ts)
				return region;
		return NULL;
	}
	while (s->region < s->region_end && s->region->max_ts < ts)
		s->region++;
	return s->region < s->region_end && s->region->min_ts <= ts ? s->region : NULL;
}

/* 1: count this row; 0: its like was counted. */
static int first_of_its_kind(struct mscan *s, uint32_t i)
{
	struct lp_region *region = s->region < s->region_end ? region_at(s, s->cols.rows.ts[i]) : NULL;
	uint32_t len, meta_len;

	if (!region)
		return 1;
	const char *line = lp_rows_line(&s->cols.rows, i, &len);
	const uint8_t *meta = lp_rows_meta(&s->cols.rows, i, &meta_len);
	struct lp_hash128 hash = lp_entry_hash(s->cols.rows.ts[i], line, len, meta, meta_len);

	pthread_mutex_lock(lock_of(s, region));
	int r = lp_region_first(s->query, region, hash);

	pthread_mutex_unlock(lock_of(s, region));
	return r;
}

static int put_aside(struct mscan *s, struct lp_region *region, uint32_t row)
{
	pthread_mutex_lock(lock_of(s, region));
	int r = lp_query_grow(s->query, (void **)&region->later, &region->later_cap, region->later_n + 1, sizeof *region->later);

	if (r == 0)
		region->later[region->later_n++] = (struct lp_region_row){ s->cols.rows.ts[row], s->item, row };
	pthread_mutex_unlock(lock_of(s, region));
	return r;
}

/* ---- rows ---- */

static int add(struct mscan *s, uint32_t series, int64_t ts, double value)
{
	s->samples++;
	return lp_range_acc_add(s->thread->acc, series, ts, value);
}

/* A row that passed the line filters; all its columns are there. */
static int sample(struct mscan *s, uint32_t i)
{
	struct lp_pipeline_result res;
	uint32_t len, meta_len, series;
	const char *line = lp_rows_line(&s->cols.rows, i, &len);
	const uint8_t *meta = lp_rows_meta(&s->cols.rows, i, &meta_len);
	bool simple = s->leaf->plain && !s->need_level && (!meta_len || !s->need_meta);
	const struct lp_item *item = &s->leaf->plan.items[s->item];
	int r = tick(s);

	if (item->tombs && lp_query_tombs_drop(s->query, item, s->cols.rows.ts[i], line, len))
		return r;

	if (r == 0 && !simple) {
		r = set_stream(s);
		if (r == 0)
			r = lp_pipeline_line(s->thread->state, s->cols.rows.ts[i], line, len, meta, meta_len, &res);
		if (r <= 0)
			return r == -EBADMSG ? 0 : r;
		if (res.error)
			return pipeline_failed(s, &res);
	}
	if (r >= 0)
		r = first_of_its_kind(s, i);
	if (r <= 0)
		return r;
	if (simple) {
		r = stream_series(s);
		return r < 0 ? r : add(s, s->series, s->cols.rows.ts[i], s->leaf->sizes ? len : 1);
	}
	r = series_of(s, &res, &series);
	return r < 0 ? r : add(s, series, s->cols.rows.ts[i], res.value);
}

/* Count sorted rows [lo, hi) with as few calls as the borders of the windows allow. */
static int count_sorted(struct mscan *s, uint32_t lo, uint32_t hi)
{
	const int64_t *ts = s->cols.rows.ts;
	int r = tick(s);

	if (lo >= hi || r < 0)
		return r;
	if (hi - lo > 2 && lp_range_acc_add_many(s->thread->acc, s->series, ts[lo], ts[hi - 1], hi - lo, hi - lo)) {
		s->samples += hi - lo;
		return 0;
	}
	if (hi - lo > 8) {
		uint32_t mid = lo + (hi - lo) / 2;

		r = count_sorted(s, lo, mid);
		return r < 0 ? r : count_sorted(s, mid, hi);
	}
	for (uint32_t i = lo; r == 0 && i < hi; i++)
		r = add(s, s->series, ts[i], 1);
	return r;
}

/* First row of [lo, hi) with ts >= value. */
static uint32_t lower_bound(const int64_t *ts, uint32_t lo, uint32_t hi, int64_t value)
{
	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (ts[mid] < value)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

/* Count rows [lo, hi) by their timestamps alone; those in regions wait for the others that might equal them. */
static int count_rows(struct mscan *s, uint32_t lo, uint32_t hi, bool sorted)
{
	int r = 0;

	s->lines += hi - lo;
	if (sorted) {
		for (; r == 0 && s->region < s->region_end; s->region++) {
			uint32_t from = lower_bound(s->cols.rows.ts, lo, hi, s->region->min_ts);

			r = count_sorted(s, lo, from);
			for (lo = from; r == 0 && lo < hi && s->cols.rows.ts[lo] <= s->region->max_ts; lo++)
				r = put_aside(s, s->region, lo);
		}
		return r < 0 ? r : count_sorted(s, lo, hi);
	}
	for (uint32_t i = lo; r == 0 && i < hi; i++) {
		struct lp_region *region = region_at(s, s->cols.rows.ts[i]);

		r = region ? put_aside(s, region, i) : add(s, s->series, s->cols.rows.ts[i], 1);
	}
	return r;
}

static bool in_range(const struct mscan *s, int64_t ts)
{
	return ts >= s->leaf->first_ts && ts <= s->leaf->last_ts;
}

/* Rows [lo, hi) of the item at hand, whose times lie in [min_ts, max_ts]. */
static int scan_rows(struct mscan *s, uint32_t lo, uint32_t hi, int64_t min_ts, int64_t max_ts, bool sorted)
{
	const struct lp_leaf *leaf = s->leaf;
	bool whole = in_range(s, min_ts) && in_range(s, max_ts);
	unsigned columns = LP_BLOCK_WANT_TS;
	int r = 0;

	if (leaf->plain && !leaf->deleted && !leaf->filter && !leaf->sizes && !s->need_meta) {
		r = want(s, LP_BLOCK_WANT_TS);
		if (r == 0)
			r = stream_series(s);
		return r < 0 ? r : count_rows(s, lo, hi, sorted);
	}
	if (!leaf->plain || s->need_meta || s->region)
		columns |= LP_BLOCK_WANT_META;
	if (!whole && sorted) {
		r = want(s, columns);
		if (r == 0)
			lo = lower_bound(s->cols.rows.ts, lo, hi, leaf->first_ts);
		if (r == 0 && leaf->last_ts < INT64_MAX)
			hi = lower_bound(s->cols.rows.ts, lo, hi, leaf->last_ts + 1);
	}
	if (r == 0 && lo < hi)
		r = want(s, LP_BLOCK_WANT_TEXT | (leaf->filter ? 0 : columns));
	if (r < 0 || lo >= hi)
		return r;
	s->lines += hi - lo;
	s->bytes += s->cols.rows.ends[hi - 1] - (lo ? s->cols.rows.ends[lo - 1] : s->cols.rows.base);
	for (uint32_t i = lo; r == 0 && i < hi; i++) {
		if (leaf->filter) {
			i = lp_line_filter_next(leaf->filter, &s->cols.rows, i, hi, s->query);
			if (i == hi)
				return lp_query_stopped(s->query) ? -ECANCELED : 0;
			r = want(s, columns);
		}
		if (r == 0 && (whole || in_range(s, s->cols.rows.ts[i])))
			r = sample(s, i);
	}
	return r;
}

/* ---- rows put aside ---- */

struct twin {
	struct lp_region_row row;
	struct lp_hash128 hash;
};

static int cmp_later(const void *x, const void *y)
{
	const struct lp_region_row *a = x, *b = y;

	return a->ts < b->ts ? -1 : a->ts > b->ts;
}

static int cmp_place(const void *x, const void *y)
{
	const struct twin *a = x, *b = y;

	if (a->row.item != b->row.item)
		return a->row.item < b->row.item ? -1 : 1;
	return a->row.row < b->row.row ? -1 : a->row.row > b->row.row;
}

static int cmp_hash(const void *x, const void *y)
{
	const struct twin *a = x, *b = y;

	if (a->hash.lo != b->hash.lo)
		return a->hash.lo < b->hash.lo ? -1 : 1;
	return a->hash.hi < b->hash.hi ? -1 : a->hash.hi > b->hash.hi;
}

/* Make the item at hand the one that a row came from, with all columns. */
static int go_to(struct mscan *s, uint32_t index)
{
	const struct lp_item *item = &s->leaf->plan.items[index];
	struct lp_run run;
	int r;

	if (item->batch) {
		r = lp_scan_batch_rows(s->query, item->batch, &s->cols.rows);
		s->cols.have = r == 0 ? LP_COLUMNS_ALL : 0;
		return r;
	}
	s->cols.segment = lp_snapshot_segment(s->query->snapshot, item->seg);
	r = lp_segment_run(s->cols.segment, item->run, &run);
	if (r < 0)
		return r;
	s->cols.block = run.block;
	s->cols.have = 0;
	return want(s, LP_COLUMNS_ALL);
}

static int count_twins(struct mscan *s, struct twin *twins, size_t n)
{
	struct lp_columns cols = s->cols;
	uint32_t item = UINT32_MAX;
	int r = 0;

	qsort(twins, n, sizeof *twins, cmp_place);
	for (size_t i = 0; r == 0 && i < n; i++) {
		uint32_t len, meta_len;

		if (twins[i].row.item != item)
			r = go_to(s, twins[i].row.item);
		item = twins[i].row.item;
		if (r == 0)
			r = tick(s);
		if (r < 0)
			break;
		const char *line = lp_rows_line(&s->cols.rows, twins[i].row.row, &len);
		const uint8_t *meta = lp_rows_meta(&s->cols.rows, twins[i].row.row, &meta_len);

		twins[i].hash = lp_entry_hash(twins[i].row.ts, line, len, meta, meta_len);
	}
	if (r == 0)
		qsort(twins, n, sizeof *twins, cmp_hash);
	for (size_t i = 0; r == 0 && i < n; i++)
		if (i == 0 || cmp_hash(&twins[i - 1], &twins[i]) != 0)
			r = add(s, s->series, twins[i].row.ts, 1);
	/* Columns of the block at hand may have made room for those. */
	s->cols = cols;
	if (!s->live)
		s->cols.have = 0;
	return r;
}

/* A region is complete: rows whose time nobody else has are counted, the others compared. */
static int settle(struct mscan *s, struct lp_region *region)
{
	size_t n = 0, bytes = region->later_n * sizeof(struct twin);
	struct twin *twins = NULL;
	int r = 0;

	if (region->later_n)
		qsort(region->later, region->later_n, sizeof *region->later, cmp_later);
	for (size_t i = 0, next; r == 0 && i < region->later_n; i = next) {
		const struct lp_region_row *v = region->later;

		for (next = i + 1; next < region->later_n && v[next].ts == v[i].ts;)
			next++;
		if (next == i + 1) {
			r = add(s, s->series, v[i].ts, 1);
			continue;
		}
		if (!twins) {
			r = lp_query_charge(s->query, bytes);
			twins = r == 0 ? malloc(bytes) : NULL;
			if (!twins)
				return r < 0 ? r : -ENOMEM;
		}
		for (size_t k = i; k < next; k++)
			twins[n++].row = v[k];
	}
	if (r == 0 && n)
		r = count_twins(s, twins, n);
	if (twins)
		lp_query_uncharge(s->query, bytes);
	free(twins);
	return r;
}

/* The item has been read, or cannot be: the last one of a region settles it. */
static int leave_item(struct mscan *s)
{
	const struct lp_item_regions *of = &s->leaf->regions.of[s->item];
	int r = 0;

	for (uint32_t i = of->first; r == 0 && i < of->first + of->n; i++) {
		struct lp_region *region = &s->leaf->regions.v[i];

		pthread_mutex_lock(lock_of(s, region));
		bool last = --region->pieces == 0;

		pthread_mutex_unlock(lock_of(s, region));
		if (!last)
			continue;
		if (region->later_n)
			r = stream_series(s);
		if (r == 0)
			r = settle(s, region);
		lp_region_clear(s->query, region);
	}
	return r;
}

/* ---- tasks ---- */

/* From the header alone, when all rows count alike. */
static bool count_header(struct mscan *s, int64_t min_ts, int64_t max_ts, uint32_t n, uint32_t bytes)
{
	if (!s->leaf->plain || s->leaf->deleted || s->leaf->filter || s->need_meta || s->leaf->regions.of[s->item].n || stream_series(s) < 0)
		return false;
	if (!lp_range_acc_add_many(s->thread->acc, s->series, min_ts, max_ts, n, s->leaf->sizes ? bytes : n))
		return false;
	s->samples += n;
	return true;
}

static int scan_live(struct mscan *s, const struct lp_task *task)
{
	int r = 0;

	s->live = true;
	for (uint32_t i = task->first; r == 0 && i < task->first + task->n; i++) {
		const struct lp_item *item = &s->leaf->plan.items[i];
		const struct lp_wal_batch *batch = item->batch;
		const uint8_t *labels;
		uint32_t len;
		int64_t min_ts, max_ts;

		if (i % 64 == 63 && lp_query_stopped(s->query))
			return -ECANCELED;
		r = lp_snapshot_wal_stream(s->query->snapshot, item->stream, &labels, &len, &min_ts, &max_ts);
		if (r < 0)
			break;
		s->item = i;
		s->cols.have = 0;
		enter_stream(s, labels, len);
		atomic_fetch_add_explicit(&s->query->count.wal_batches, 1, memory_order_relaxed);
		if (count_header(s, batch->min_ts, batch->max_ts, batch->entries, batch->text_bytes - batch->entries))
			continue;
		r = lp_scan_batch_rows(s->query, batch, &s->cols.rows);
		s->cols.have = r == 0 ? LP_COLUMNS_ALL : 0;
		enter_regions(s, s->cols.rows.sorted);
		if (r == 0)
			r = scan_rows(s, 0, s->cols.rows.n, batch->min_ts, batch->max_ts, s->cols.rows.sorted);
		if (r == 0 || r == -EBADMSG)    /* a damaged batch is counted as such; the rest is still worth an answer */
			r = leave_item(s);
	}
	return r;
}

static int scan_run(struct mscan *s, const struct lp_run *run)
{
	const uint8_t *labels;
	uint32_t len;
	int64_t min_ts, max_ts;
	int r = lp_segment_stream(s->cols.segment, run->stream, &labels, &len, &min_ts, &max_ts);

	if (r < 0)
		return r;
	enter_stream(s, labels, len);
	if (count_header(s, run->min_ts, run->max_ts, run->rows, run->raw_bytes))
		return 0;
	enter_regions(s, true);
	return scan_rows(s, run->first_row, run->first_row + run->rows, run->min_ts, run->max_ts, true);
}

static int scan_block(struct mscan *s, const struct lp_task *task)
{
	int r = 0;

	s->cols.segment = lp_snapshot_segment(s->query->snapshot, task->seg);
	s->cols.block = task->block;
	for (uint32_t k = 0; r == 0 && k < task->n; k++) {
		struct lp_run run;

		s->item = task->first + k;
		if (k % 64 == 63 && lp_query_stopped(s->query))
			return -ECANCELED;
		r = lp_segment_run(s->cols.segment, s->leaf->plan.items[s->item].run, &run);
		if (r == 0)
			r = scan_run(s, &run);
		if (r == 0 || r == -EBADMSG)
			r = leave_item(s);
	}
	return r;
}

static int thread_take(struct lp_query *query, struct lp_leaf *leaf, struct lp_leaf_thread **ret)
{
	struct lp_metric_query *m = query->state;
	struct lp_leaf_thread *t;
	int r;

	pthread_mutex_lock(&query->lock);
	t = leaf->free;
	if (t)
		leaf->free = t->next_free;
	pthread_mutex_unlock(&query->lock);
	if (t) {
		/* What other threads took counts, too; what this task adds is charged behind it. */
		lp_range_acc_limit(t->acc, t->charged + lp_query_memory_left(query));
		*ret = t;
		return 0;
	}
	t = calloc(1, sizeof *t);
	if (!t)
		return -ENOMEM;
	r = lp_range_acc_open(&leaf->range, &m->grid, lp_query_memory_left(query), &t->acc);
	if (r == 0)
		r = lp_pipeline_state_open(leaf->pipeline, &t->state);
	if (r < 0) {
		lp_range_acc_close(&t->acc);
		free(t);
		return r;
	}
	pthread_mutex_lock(&query->lock);
	t->next = leaf->threads;
	leaf->threads = t;
	pthread_mutex_unlock(&query->lock);
	*ret = t;
	return 0;
}

static int thread_put(struct lp_query *query, struct lp_leaf *leaf, struct lp_leaf_thread *t)
{
	uint64_t bytes = lp_range_acc_bytes(t->acc);
	int r = bytes > t->charged ? lp_query_charge(query, bytes - t->charged) : 0;

	if (r == 0 && bytes > t->charged)
		t->charged = bytes;
	pthread_mutex_lock(&query->lock);
	t->next_free = leaf->free;
	leaf->free = t;
	pthread_mutex_unlock(&query->lock);
	return r;
}

int lp_metric_run(struct lp_query *query, struct lp_worker *worker, uint32_t index)
{
	struct lp_metric_query *m = query->state;
	uint32_t at = 0;

	while (at + 1 < m->n && m->leaves[at + 1].first_task <= index)
		at++;
	struct mscan s = { .query = query, .worker = worker, .leaf = &m->leaves[at] };
	const struct lp_task *task = &s.leaf->plan.tasks[index - s.leaf->first_task];
	int r = thread_take(query, s.leaf, &s.thread);

	if (r < 0)
		return r;
	r = task->seg == LP_SEG_WAL ? scan_live(&s, task) : scan_block(&s, task);
	int e = thread_put(query, s.leaf, s.thread);

	atomic_fetch_add_explicit(&m->samples, s.samples, memory_order_relaxed);
	atomic_fetch_add_explicit(&query->count.lines_scanned, s.lines, memory_order_relaxed);
	atomic_fetch_add_explicit(&query->count.bytes_scanned, s.bytes, memory_order_relaxed);
	if (r == -ENOBUFS)
		return lp_metric_fail_memory(query);
	return r < 0 ? r : e;
}
