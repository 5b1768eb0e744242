/* Log queries: one task reads one block (its runs of matching streams) or a group of live batches, filters, and hands at most
 * `limit` sorted, distinct entries to the merge.
 *
 * Tasks come newest first (oldest first, forward).  Once `limit` entries are kept, the last of them bounds what can
 * still matter (query->threshold): rows beyond it are not looked at, runs beyond it do not make their block be read, and the
 * first task that lies beyond it ends the query.
 * Live rows are looked at with suspicion: a page that the disk cannot deliver reads as zeros.
 * Process: worker, pool threads. */
#include "query/engine-private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define STOP_EVERY 1024u
#define LONG_LINE (64u << 10)

struct scan {
	struct lp_query *query;
	struct lp_worker *worker;
	size_t limit, room;             /* candidates are settled when there are `room` of them */
	int64_t bound;                  /* as query->threshold, of this task */
	bool forward;
	uint64_t lines, bytes;
	/* source of the rows at hand */
	const uint8_t *labels;
	uint32_t labels_len, file;
	uint64_t pos_base, pos_step;    /* pos of row i: base + i * step */
	struct lp_pipeline_state *state;        /* NULL: no stage can drop a line */
	const uint8_t *state_labels;            /* stream that the state is set to */
	uint32_t piped;
	const struct lp_item *item;     /* where the rows at hand come from */
};

static bool beyond(const struct scan *scan, int64_t ts)
{
	return scan->forward ? ts > scan->bound : ts < scan->bound;
}

static void tighten(struct scan *scan)
{
	int64_t threshold = atomic_load_explicit(&scan->query->threshold, memory_order_relaxed);

	if (scan->forward ? threshold < scan->bound : threshold > scan->bound)
		scan->bound = threshold;
}

static int settle(struct scan *scan)
{
	struct lp_cands *cands = &scan->worker->cands;
	int r = lp_cands_settle(scan->query, cands);

	if (r < 0)
		return r;
	size_t n = lp_cands_cut(cands, scan->limit);

	cands->n = n < cands->n ? n : cands->n;
	if (scan->limit && cands->n >= scan->limit) {
		int64_t last = cands->v[scan->limit - 1].ts;

		if (!beyond(scan, last))
			scan->bound = last;
	}
	tighten(scan);
	while (cands->n && beyond(scan, cands->v[cands->n - 1].ts))
		cands->n--;
	/* Ties may leave it nearly full: never settle again for a handful. */
	scan->room = cands->n + scan->limit + 1024;
	return lp_query_stopped(scan->query) ? -ECANCELED : 0;
}

/* Does the line pass the stages behind the line filters?  1, 0, negative. */
static int passes(struct scan *scan, const struct lp_rows *rows, uint32_t i, struct lp_pipeline_result *ret_res)
{
	uint32_t len, meta_len;
	int r = 0;

	if (scan->state_labels != scan->labels) {
		r = lp_pipeline_stream(scan->state, scan->labels, scan->labels_len);
		scan->state_labels = r < 0 ? NULL : scan->labels;
	}
	const char *line = lp_rows_line(rows, i, &len);
	const uint8_t *meta = lp_rows_meta(rows, i, &meta_len);

	if (r == 0)
		r = lp_pipeline_line(scan->state, rows->ts[i], line, len, meta, meta_len, ret_res);
	if ((++scan->piped % STOP_EVERY == 0 || lp_pipeline_heavy(scan->state)) && lp_query_stopped(scan->query))
		return -ECANCELED;
	return r == -EBADMSG ? 0 : r;
}

static struct lp_cand cand_of(const struct scan *scan, const struct lp_rows *rows, uint32_t i)
{
	struct lp_cand c = { .ts = rows->ts[i], .pos = scan->pos_base + i * scan->pos_step, .file = scan->file, .labels = scan->labels,
			     .labels_len = scan->labels_len };

	c.line = lp_rows_line(rows, i, &c.line_len);
	c.meta = lp_rows_meta(rows, i, &c.meta_len);
	return c;
}

static int take(struct scan *scan, const struct lp_rows *rows, uint32_t i)
{
	struct lp_cands *cands = &scan->worker->cands;
	struct lp_pipeline_result res;

	if (beyond(scan, rows->ts[i]))
		return 0;
	if (scan->item->tombs) {
		uint32_t len;
		const char *line = lp_rows_line(rows, i, &len);

		if (lp_query_tombs_drop(scan->query, scan->item, rows->ts[i], line, len))
			return 0;
	}
	if (scan->state) {
		int r = passes(scan, rows, i, &res);

		if (r <= 0)
			return r;
	}
	if (scan->query->ops->take) {
		struct lp_cand cand = cand_of(scan, rows, i);

		return scan->query->ops->take(scan->query, &cand, scan->state ? &res : NULL);
	}
	if (cands->n >= scan->room) {
		int r = settle(scan);

		if (r < 0)
			return r;
		if (beyond(scan, rows->ts[i]))
			return 0;
	}
	if (cands->n == cands->cap) {
		/* The array belongs to the thread and is used again: not charged to the query. */
		size_t cap = cands->cap ? cands->cap * 2 : 1024;
		struct lp_cand *v = realloc(cands->v, cap * sizeof *v);

		if (!v)
			return -ENOMEM;
		cands->v = v;
		cands->cap = cap;
	}
	cands->v[cands->n++] = cand_of(scan, rows, i);
	return 0;
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

static bool in_range(const struct scan *scan, int64_t ts)
{
	return ts >= scan->query->params.start_ns && ts < scan->query->params.end_ns;
}

/* Rows [lo, hi) by searching the column for a needle. */
static int scan_column(struct scan *scan, struct lp_columns *cols, uint32_t lo, uint32_t hi)
{
	struct lp_query *query = scan->query;
	const struct lp_rows *rows = &cols->rows;
	uint64_t bytes = hi > lo ? rows->ends[hi - 1] - (lo ? rows->ends[lo - 1] : rows->base) : 0;

	for (uint32_t i = lo; (i = lp_line_filter_next(query->filter, rows, i, hi, query)) < hi; i++) {
		/* Timestamps and metadata only of blocks with a hit. */
		int r = lp_columns_want(query, scan->worker, cols, LP_COLUMNS_ALL);

		if (r == 0 && in_range(scan, rows->ts[i]))
			r = take(scan, rows, i);
		if (r < 0)
			return r;
	}
	scan->lines += hi - lo;
	scan->bytes += bytes;
	return lp_query_stopped(query) ? -ECANCELED : 0;
}

/* Rows [lo, hi) one by one, in the query's direction; sorted rows end at the bound. */
static int scan_rows_each(struct scan *scan, const struct lp_rows *rows, uint32_t lo, uint32_t hi, bool sorted)
{
	uint32_t len = 0;

	for (uint32_t k = 0; k < hi - lo; k++) {
		uint32_t i = scan->forward ? lo + k : hi - 1 - k;

		/* A long line may have cost the filter much. */
		if ((k % STOP_EVERY == STOP_EVERY - 1 || len >= LONG_LINE) && lp_query_stopped(scan->query))
			return -ECANCELED;
		if (!in_range(scan, rows->ts[i]))
			continue;
		if (beyond(scan, rows->ts[i])) {
			if (sorted)
				break;
			continue;
		}
		const char *line = lp_rows_line(rows, i, &len);

		scan->lines++;
		scan->bytes += len;
		if (scan->query->filter && !lp_line_filter_match(scan->query->filter, line, len))
			continue;
		int r = take(scan, rows, i);

		if (r < 0)
			return r;
	}
	return 0;
}

/* Rows [lo, hi), whose times lie in [min_ts, max_ts]. */
static int scan_rows(struct scan *scan, struct lp_columns *cols, uint32_t lo, uint32_t hi, int64_t min_ts, int64_t max_ts, bool sorted)
{
	const struct lp_query_params *p = &scan->query->params;
	bool column = scan->query->filter && lp_line_filter_has_needle(scan->query->filter);
	bool whole = in_range(scan, min_ts) && in_range(scan, max_ts) && !beyond(scan, min_ts) && !beyond(scan, max_ts);
	int r = lp_columns_want(scan->query, scan->worker, cols, column && whole ? LP_BLOCK_WANT_TEXT : LP_COLUMNS_ALL);

	if (r < 0)
		return r;
	if (!whole && sorted) {
		int64_t from = !scan->forward && scan->bound > p->start_ns ? scan->bound : p->start_ns;
		int64_t to = scan->forward && scan->bound < p->end_ns ? scan->bound + 1 : p->end_ns;

		lo = lower_bound(cols->rows.ts, lo, hi, from);
		hi = lower_bound(cols->rows.ts, lo, hi, to);
	}
	return column ? scan_column(scan, cols, lo, hi) : scan_rows_each(scan, &cols->rows, lo, hi, sorted);
}

/* Do lengths ascend and stay inside? */
static bool rows_sound(const struct lp_rows *rows, uint64_t text_bytes, uint64_t meta_max)
{
	uint64_t at = rows->base, meta_at = rows->meta_base;

	for (uint32_t i = 0; i < rows->n; i++) {
		if (rows->ends[i] <= at)
			return false;
		at = rows->ends[i];
		if (rows->meta_ends) {
			if (rows->meta_ends[i] < meta_at)
				return false;
			meta_at = rows->meta_ends[i];
		}
	}
	return at <= rows->base + text_bytes && meta_at <= meta_max;
}

int lp_scan_batch_rows(struct lp_query *query, const struct lp_wal_batch *batch, struct lp_rows *ret_rows)
{
	struct lp_rows rows;
	struct lp_walrec_head head;
	int r = lp_walrec_peek(batch->rec, LP_WALREC_MAX_BYTES, &head);

	if (r == 0)
		r = lp_wal_batch_rows(batch, &rows);
	if (r == 0 && (rows.n > batch->entries ||
		       !rows_sound(&rows, batch->text_bytes,
				   rows.meta ? head.bytes - (uint64_t)(rows.meta - (const uint8_t *)batch->rec) : 0)))
		r = -EBADMSG;
	if (r == -EBADMSG)
		atomic_fetch_add_explicit(&query->count.bad_blocks, 1, memory_order_relaxed);
	if (r == 0)
		*ret_rows = rows;
	return r;
}

static int scan_live(struct scan *scan, const struct lp_task *task)
{
	struct lp_query *query = scan->query;
	int r = 0;

	for (uint32_t i = task->first; r == 0 && i < task->first + task->n; i++) {
		const struct lp_item *item = &query->plan.items[i];
		const struct lp_wal_batch *batch = item->batch;
		int64_t min_ts, max_ts;
		struct lp_columns cols = { .have = LP_COLUMNS_ALL };

		if (beyond(scan, scan->forward ? batch->min_ts : batch->max_ts))
			continue;
		if (i % 64 == 63 && lp_query_stopped(query))
			return -ECANCELED;
		atomic_fetch_add_explicit(&query->count.wal_batches, 1, memory_order_relaxed);
		r = lp_snapshot_wal_stream(query->snapshot, item->stream, &scan->labels, &scan->labels_len, &min_ts, &max_ts);
		if (r == 0)
			r = lp_scan_batch_rows(query, batch, &cols.rows);
		if (r == -EBADMSG) {
			r = 0;
			continue;
		}
		if (r < 0)
			break;
		scan->file = batch->file;
		scan->item = item;
		/* The offset of the timestamp in the WAL file orders all entries of the file by arrival. */
		scan->pos_base = batch->offset + (uint64_t)((const uint8_t *)cols.rows.ts - (const uint8_t *)batch->rec);
		scan->pos_step = sizeof *cols.rows.ts;
		r = scan_rows(scan, &cols, 0, cols.rows.n, batch->min_ts, batch->max_ts, cols.rows.sorted);
	}
	return r;
}

static int scan_block(struct scan *scan, const struct lp_task *task)
{
	struct lp_query *query = scan->query;
	struct lp_columns cols = { .segment = lp_snapshot_segment(query->snapshot, task->seg), .block = task->block };
	int r = 0;

	for (uint32_t k = 0; r == 0 && k < task->n; k++) {
		/* Any order will do; within a block the streams are few or short. */
		const struct lp_item *item = &query->plan.items[task->first + k];
		struct lp_run run;
		int64_t min_ts, max_ts;

		if (lp_segment_run(cols.segment, item->run, &run) < 0 || beyond(scan, scan->forward ? run.min_ts : run.max_ts))
			continue;
		if (k % 64 == 63 && lp_query_stopped(query))
			return -ECANCELED;
		r = lp_segment_stream(cols.segment, run.stream, &scan->labels, &scan->labels_len, &min_ts, &max_ts);
		if (r < 0)
			return r == -EBADMSG ? 0 : r;
		scan->file = lp_segment_info(cols.segment)->name.first;
		scan->item = item;
		scan->pos_base = ((uint64_t)item->run << 32) - run.first_row;
		scan->pos_step = 1;
		/* Rows of a run ascend in time; their numbers are those of the block. */
		r = scan_rows(scan, &cols, run.first_row, run.first_row + run.rows, run.min_ts, run.max_ts, true);
		if (r == -EBADMSG)
			return 0;       /* counted; the rest of the data is still worth an answer */
	}
	if (!cols.have)
		atomic_fetch_add_explicit(&query->count.blocks_skipped, 1, memory_order_relaxed);
	return r;
}

int lp_log_plan(struct lp_query *query, struct lp_worker *worker)
{
	struct lp_pipeline_spec spec = { .discover = query->discover };
	int r = lp_line_filter_open(query->log ? query->log->stages : NULL, &query->filter, &spec.stages);

	if (r < 0)
		return r;
	for (const struct lp_stage *s = spec.stages; s; s = s->next) {
		query->rewrites |= s->kind == LP_STAGE_LINE_FORMAT || s->kind == LP_STAGE_DECOLORIZE || s->kind == LP_STAGE_UNPACK;
		query->pipeline_drops |= query->ops->take || s->kind == LP_STAGE_LINE_FILTER || s->kind == LP_STAGE_LABEL_FILTER;
	}
	r = lp_pipeline_open(&spec, &query->pipeline);
	if (r == -EOPNOTSUPP)
		return lp_query_fail(query, 400, "BAD_QUERY", "this pipeline stage is not supported by this version yet");
	if (r < 0 || !query->params.limit || query->params.start_ns >= query->params.end_ns)
		return r;
	r = lp_plan_check_matchers(query, query->log);
	return r < 0 ? r : lp_plan_tasks(query, worker, query->filter);
}

static bool log_wanted(struct lp_query *query, uint32_t task)
{
	int64_t threshold = atomic_load_explicit(&query->threshold, memory_order_relaxed);
	const struct lp_task *t = &query->plan.tasks[task];

	return query->params.forward ? t->min_ts <= threshold : t->max_ts >= threshold;
}

/* While nothing is known of what an answer must beat, and the tasks at work have enough rows to fill it, another thread would
 * most likely read for nothing. */
static bool log_hold(struct lp_query *query, uint32_t task)
{
	int64_t unknown = query->params.forward ? INT64_MAX : INT64_MIN;

	if (query->filter || query->pipeline_drops || atomic_load_explicit(&query->threshold, memory_order_relaxed) != unknown)
		return false;
	if (query->rows_started >= query->params.limit)
		return true;
	query->rows_started += query->plan.tasks[task].rows;
	return false;
}

/* States are a few hundred KiB: hand them from task to task. */
static int state_take(struct lp_query *query, struct lp_pipeline_state **ret_state)
{
	bool found;

	pthread_mutex_lock(&query->lock);
	found = query->n_states > 0;
	if (found)
		*ret_state = query->states[--query->n_states];
	pthread_mutex_unlock(&query->lock);
	if (found)
		return 0;
	int r = lp_pipeline_state_open(query->pipeline, ret_state);

	/* What an entry looks like is asked once more of those that are shown. */
	if (r == 0 && !query->ops->take)
		lp_pipeline_scan_only(*ret_state);
	return r;
}

static void state_put(struct lp_query *query, struct lp_pipeline_state **state)
{
	if (!*state)
		return;
	pthread_mutex_lock(&query->lock);
	if (lp_query_grow(query, (void **)&query->states, &query->states_cap, query->n_states + 1, sizeof *query->states) == 0) {
		query->states[query->n_states++] = *state;
		*state = NULL;
	}
	pthread_mutex_unlock(&query->lock);
	lp_pipeline_state_close(state);
}

int lp_log_run(struct lp_query *query, struct lp_worker *worker, uint32_t index)
{
	const struct lp_task *task = &query->plan.tasks[index];
	struct scan scan = { .query = query, .worker = worker, .limit = query->params.limit, .forward = query->params.forward };
	int r;

	scan.bound = atomic_load_explicit(&query->threshold, memory_order_relaxed);
	scan.room = scan.limit > 100000 ? 200000 : 2 * scan.limit + 1024;
	worker->cands.n = 0;
	r = query->pipeline_drops ? state_take(query, &scan.state) : 0;
	if (r == 0)
		r = task->seg == LP_SEG_WAL ? scan_live(&scan, task) : scan_block(&scan, task);
	state_put(query, &scan.state);
	if (r == 0 && worker->cands.n)
		r = settle(&scan);
	if (r == 0)
		r = lp_kept_merge(query, &worker->cands);
	worker->cands.n = 0;
	atomic_fetch_add_explicit(&query->count.lines_scanned, scan.lines, memory_order_relaxed);
	atomic_fetch_add_explicit(&query->count.bytes_scanned, scan.bytes, memory_order_relaxed);
	return r;
}

const struct lp_query_ops lp_detected_ops = {
	.plan = lp_log_plan, .wanted = log_wanted, .run = lp_log_run, .finish = lp_detected_result,
};

const struct lp_query_ops lp_log_ops = {
	.plan = lp_log_plan, .wanted = log_wanted, .hold = log_hold, .run = lp_log_run, .finish = lp_log_result,
};
