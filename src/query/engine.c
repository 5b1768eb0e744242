/* The query engine's pool: threads take one unit of work (about 1 MiB of log text) of one query at a time, of the one that has had the
 * least time so far, so that a small query never waits for a large one to end, nor cheap units for dear ones.
 *
 * Guarantees: nothing here waits for another query or another unit, so any number of threads from one up makes progress;
 * every submitted query ends with exactly one sink.end; memory of a query is bounded by its max_memory.
 * A thread that writes an answer may be held up by its client: while it is, another thread takes its place.
 * Process: worker (and tools).  If it dies, its queries die with it; nothing outside is touched. */
#include "query/engine-private.h"

#include "common/assert.h"
#include "common/clock.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define FLUSH_BYTES (64u << 10)

struct lp_engine {
	pthread_mutex_t lock;
	pthread_cond_t work;            /* the ring has something, or stop */
	pthread_cond_t quiet;           /* a thread ended */
	struct lp_query *ring;          /* next to serve, among those that have had equally little */
	int64_t turn_ns;                /* what the one served last had had; who comes starts there and not at nothing */
	uint32_t queries;               /* submitted and not ended */
	uint32_t threads, idle, blocked;
	_Atomic bool stop;
	struct lp_engine_config config;
	struct lp_catalog *catalog;
	pthread_mutex_t tombs_lock;
	struct tombs_ref *tombs;        /* of the newest revision that was asked for */
};

/* Delete requests, compiled once for all queries that see the same revision. */
struct tombs_ref {
	struct lp_tombs *tombs;
	uint32_t refs;                  /* tombs_lock */
};

struct lp_catalog *lp_query_catalog(const struct lp_query *query)
{
	return query->engine->catalog;
}

/* ---- failures ---- */

int lp_query_fail(struct lp_query *query, int status, const char *code, const char *fmt, ...)
{
	char text[1024], *long_text = NULL;
	va_list ap;

	va_start(ap, fmt);
	int n = vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	/* Parse errors quote the query, which may be long. */
	if (n >= (int)sizeof text) {
		va_start(ap, fmt);
		if (vasprintf(&long_text, fmt, ap) < 0)
			long_text = NULL;
		va_end(ap);
		if (long_text && n > LP_QUERY_ERROR_MAX)
			strcpy(long_text + LP_QUERY_ERROR_MAX - 4, "...");
	}
	pthread_mutex_lock(&query->error_lock);
	if (!atomic_load(&query->status)) {
		lp_buf_str(&query->error, long_text ? long_text : text);
		query->error_code = code;
		atomic_store(&query->status, status);
	}
	pthread_mutex_unlock(&query->error_lock);
	free(long_text);
	return -EINVAL;
}

int lp_query_fail_errno(struct lp_query *query, int r)
{
	if (r == -ENOMEM)
		return lp_query_fail(query, 500, "INTERNAL_ERROR", "out of memory while running the query");
	if (r != -ECANCELED)
		return lp_query_fail(query, 500, "INTERNAL_ERROR", "reading the store failed: %s", strerror(-r));
	return r;
}

bool lp_query_stopped(struct lp_query *query)
{
	if (atomic_load_explicit(&query->cancelled, memory_order_relaxed) || atomic_load_explicit(&query->status, memory_order_relaxed))
		return true;
	if (atomic_load_explicit(&query->engine->stop, memory_order_relaxed)) {
		atomic_store(&query->cancelled, true);
		return true;
	}
	if (!query->params.deadline_mono_ns || lp_clock_mono_ns() < query->params.deadline_mono_ns)
		return false;
	(void)lp_query_fail(query, 504, "INTERNAL_ERROR",
			    "request timed out, decrease the duration of the request or add more label matchers (prefer exact match over "
			    "regex match) to reduce the amount of data processed");
	return true;
}

/* ---- blocks ---- */

int lp_worker_block(struct lp_query *query, struct lp_worker *worker, const struct lp_segment *segment, uint32_t block, unsigned want,
		    const struct lp_rows **ret_rows)
{
	struct lp_block_slot *slot = &worker->slots[0];
	int r;

	for (unsigned i = 0; i < LP_WORKER_DECODERS; i++) {
		struct lp_block_slot *s = &worker->slots[i];

		if (s->segment == segment && s->block == block && (s->want & want) == want) {
			s->used = ++worker->clock;
			*ret_rows = &s->rows;
			return 0;
		}
		/* Free ones from the first on, so that most tasks decode into the same memory, which the cache still has. */
		if (slot->segment && (!s->segment || s->used < slot->used))
			slot = s;
	}
	slot->segment = NULL;
	slot->used = ++worker->clock;
	if (!slot->decoder) {
		r = lp_block_decoder_open(&slot->decoder);
		if (r < 0)
			return r;
	}
	r = lp_segment_decode(segment, slot->decoder, block, want, &slot->rows);
	if (r < 0) {
		atomic_fetch_add_explicit(&query->count.bad_blocks, 1, memory_order_relaxed);
		return r;
	}
	atomic_fetch_add_explicit(&query->count.blocks_read, 1, memory_order_relaxed);
	slot->segment = segment;
	slot->block = block;
	slot->want = want;
	*ret_rows = &slot->rows;
	return 0;
}

int lp_columns_want(struct lp_query *query, struct lp_worker *worker, struct lp_columns *columns, unsigned want)
{
	unsigned missing = want & ~columns->have;
	const struct lp_rows *rows;

	if (!missing)
		return 0;
	int r = lp_worker_block(query, worker, columns->segment, columns->block, missing, &rows);

	if (r < 0)
		return r;
	columns->rows.n = rows->n;
	if (missing & LP_BLOCK_WANT_TS) {
		columns->rows.ts = rows->ts;
		columns->rows.sorted = rows->sorted;
	}
	if (missing & LP_BLOCK_WANT_TEXT) {
		columns->rows.text = rows->text;
		columns->rows.ends = rows->ends;
		columns->rows.base = rows->base;
	}
	if (missing & LP_BLOCK_WANT_META) {
		columns->rows.meta = rows->meta;
		columns->rows.meta_ends = rows->meta_ends;
		columns->rows.meta_base = rows->meta_base;
	}
	columns->have |= missing;
	return 0;
}

/* Decoded blocks are known by their segment's address: forget them before the snapshot may go. */
static void worker_forget(struct lp_worker *worker)
{
	for (unsigned i = 0; i < LP_WORKER_DECODERS; i++)
		worker->slots[i].segment = NULL;
	worker->cands.n = 0;
}

static void worker_free(struct lp_worker *worker)
{
	for (unsigned i = 0; i < LP_WORKER_DECODERS; i++)
		lp_block_decoder_close(&worker->slots[i].decoder);
	free(worker->cands.v);
	lp_buf_free(&worker->scratch);
}

/* ---- ring of runnable queries (engine lock) ---- */

static void *thread_main(void *arg);

/* Serve the ring with as many unblocked threads as the configuration says, when there are that many units. */
static void spawn_if_needed(struct lp_engine *engine)
{
	pthread_t thread;
	pthread_attr_t attr;

	if (!engine->ring || engine->idle)
		return;
	bool many = engine->ring->stage == LP_STAGE_TASKS || engine->ring->next != engine->ring;

	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	while (engine->threads - engine->blocked < engine->config.threads) {
		if (pthread_create(&thread, &attr, thread_main, engine) != 0)
			break;
		engine->threads++;
		if (!many)
			break;
	}
	pthread_attr_destroy(&attr);
}

static void ring_add(struct lp_engine *engine, struct lp_query *query)
{
	if (query->turn_ns < engine->turn_ns)
		query->turn_ns = engine->turn_ns;
	if (!engine->ring) {
		query->next = query->prev = query;
		engine->ring = query;
	} else {
		query->next = engine->ring;
		query->prev = engine->ring->prev;
		query->prev->next = query;
		query->next->prev = query;
	}
	spawn_if_needed(engine);
	if (query->stage == LP_STAGE_TASKS)
		pthread_cond_broadcast(&engine->work);
	else
		pthread_cond_signal(&engine->work);
}

static void ring_remove(struct lp_engine *engine, struct lp_query *query)
{
	if (query->next == query) {
		engine->ring = NULL;
	} else {
		query->prev->next = query->next;
		query->next->prev = query->prev;
		if (engine->ring == query)
			engine->ring = query->next;
	}
	query->next = query->prev = NULL;
}

/* The runnable query that has had the least time; NULL: none. */
static struct lp_query *ring_next(struct lp_engine *engine)
{
	struct lp_query *best = engine->ring;

	if (!best)
		return NULL;
	for (struct lp_query *query = best->next; query != engine->ring; query = query->next)
		if (query->turn_ns < best->turn_ns)
			best = query;
	engine->ring = best;
	if (best->turn_ns > engine->turn_ns)
		engine->turn_ns = best->turn_ns;
	return best;
}

/* ---- output ---- */

static void blocking_enter(struct lp_query *query)
{
	struct lp_engine *engine = query->engine;

	pthread_mutex_lock(&engine->lock);
	engine->blocked++;
	spawn_if_needed(engine);
	pthread_mutex_unlock(&engine->lock);
	query->sink_blocking = true;
}

static void blocking_leave(struct lp_query *query)
{
	if (!query->sink_blocking)
		return;
	pthread_mutex_lock(&query->engine->lock);
	query->engine->blocked--;
	pthread_mutex_unlock(&query->engine->lock);
	query->sink_blocking = false;
}

int lp_out_begin(struct lp_query *query, int status, const char *content_type)
{
	blocking_enter(query);
	query->begun = true;
	if (query->sink.begin(query->sink.ctx, status, content_type) < 0)
		query->sink_failed = true;
	return query->sink_failed ? -ECANCELED : 0;
}

int lp_out_flush(struct lp_query *query, bool all)
{
	if (query->sink_failed || atomic_load_explicit(&query->cancelled, memory_order_relaxed))
		return -ECANCELED;
	if (query->out.failed)
		return -ENOMEM;
	if (query->out.len < FLUSH_BYTES && !all)
		return 0;
	if (query->out.len && query->sink.write(query->sink.ctx, query->out.data, query->out.len) < 0)
		query->sink_failed = true;
	lp_buf_reset(&query->out);
	return query->sink_failed ? -ECANCELED : 0;
}

static void write_error(struct lp_query *query)
{
	bool original = query->params.kind == LP_QUERY_ORIGINAL;

	if (lp_out_begin(query, atomic_load(&query->status), original ? "application/json" : "text/plain; charset=utf-8") < 0)
		return;
	lp_buf_reset(&query->out);
	if (original) {
		lp_result_error_json(query);
	} else {
		lp_buf_append(&query->out, query->error.data, query->error.len);
		lp_buf_byte(&query->out, '\n');
	}
	(void)lp_out_flush(query, true);
}

static void tombs_unref(struct lp_engine *engine, struct tombs_ref *ref)
{
	if (!ref)
		return;
	pthread_mutex_lock(&engine->tombs_lock);
	bool last = --ref->refs == 0;

	pthread_mutex_unlock(&engine->tombs_lock);
	if (!last)
		return;
	lp_tombs_free(&ref->tombs);
	free(ref);
}

static void query_free(struct lp_query *query)
{
	lp_buf_free(&query->error);
	lp_buf_free(&query->out);
	lp_arena_free(&query->arena);
	pthread_mutex_destroy(&query->lock);
	pthread_mutex_destroy(&query->error_lock);
	free(query);
}

/* Everything but what the caller may still look at (stats). */
static void query_release(struct lp_query *query)
{
	if (query->ops->free_state)
		query->ops->free_state(query);
	lp_kept_free(query);
	free(query->plan.items);
	free(query->plan.tasks);
	lp_line_filter_close(&query->filter);
	while (query->n_states)
		lp_pipeline_state_close(&query->states[--query->n_states]);
	free(query->states);
	lp_pipeline_close(&query->pipeline);
	lp_logql_free(&query->logql);
	lp_snapshot_release(&query->snapshot);
	tombs_unref(query->engine, query->tombs_ref);
	lp_buf_free(&query->tomb_lists);
	lp_buf_free(&query->out);
}

static void stats_take(struct lp_query *query)
{
	struct lp_query_stats *s = &query->stats;

	s->lines_scanned = atomic_load(&query->count.lines_scanned);
	s->bytes_scanned = atomic_load(&query->count.bytes_scanned);
	s->blocks_read = atomic_load(&query->count.blocks_read);
	s->blocks_skipped = atomic_load(&query->count.blocks_skipped);
	s->bad_blocks = atomic_load(&query->count.bad_blocks);
	s->wal_batches = atomic_load(&query->count.wal_batches);
	s->segments = query->snapshot ? lp_snapshot_segments(query->snapshot) : 0;
	s->exec_ns = lp_clock_mono_ns() - query->started_ns;
}

/* ---- delete requests ---- */

/* Under the lock: make engine->tombs what the file says. */
static int tombs_renew(struct lp_engine *engine, struct tombs_ref **ret_old)
{
	struct tombs_ref *ref = calloc(1, sizeof *ref);
	int r = ref ? lp_tombs_load(lp_catalog_data_dir(engine->catalog), &ref->tombs) : -ENOMEM;

	if (r < 0) {
		free(ref);
		return r;
	}
	ref->refs = 1;
	*ret_old = engine->tombs;
	engine->tombs = ref;
	return 0;
}

/* Before the snapshot is taken: a request that is not in force any more has been carried out in the segments that are seen then. */
static int tombs_take(struct lp_query *query)
{
	struct lp_engine *engine = query->engine;
	struct tombs_ref *old = NULL;
	uint64_t revision;
	int r = lp_deletes_revision(lp_catalog_data_dir(engine->catalog), &revision);

	if (r == 0 && !revision)
		return 0;
	pthread_mutex_lock(&engine->tombs_lock);
	if (r == 0 && (!engine->tombs || engine->tombs->tombs->deletes.revision != revision))
		r = tombs_renew(engine, &old);
	if (r == 0 && engine->tombs->tombs->n) {
		query->tombs_ref = engine->tombs;
		query->tombs_ref->refs++;
		query->tombs = query->tombs_ref->tombs;
	}
	pthread_mutex_unlock(&engine->tombs_lock);
	tombs_unref(engine, old);
	if (r == -EBADMSG)
		return lp_query_fail(query, 500, "INTERNAL_ERROR", "the list of delete requests (deletes in the data directory) is damaged");
	return r < 0 ? lp_query_fail_errno(query, r) : 0;
}

/* ---- stages ---- */

static void stage_start(struct lp_query *query, struct lp_worker *worker)
{
	query->started_ns = lp_clock_mono_ns();
	query->stats.queue_ns = query->started_ns - query->submitted_ns;
	if (lp_query_stopped(query))
		return;
	int r = lp_plan_parse(query);
	int64_t parsed_ns = lp_clock_mono_ns();

	query->stats.parse_ns = parsed_ns - query->started_ns;
	if (r < 0)
		return;
	if (tombs_take(query) < 0)
		return;
	r = 0;
	if (!query->snapshot)
		r = lp_catalog_acquire(query->engine->catalog, &query->snapshot);
	if (r < 0) {
		(void)lp_query_fail_errno(query, r);
		return;
	}
	atomic_fetch_add(&query->count.bad_blocks, lp_snapshot_skipped(query->snapshot));
	r = query->ops->plan(query, worker);
	query->stats.plan_ns = lp_clock_mono_ns() - parsed_ns;
	if (r < 0)
		(void)lp_query_fail_errno(query, r);
}

static void stage_finish(struct lp_query *query)
{
	int64_t begin_ns = lp_clock_mono_ns();
	bool complete = false;
	int r = -ECANCELED;

	query->stats.scan_ns = begin_ns - query->started_ns - query->stats.parse_ns - query->stats.plan_ns;

	if (!lp_query_stopped(query)) {
		stats_take(query);
		r = query->ops->finish(query);
		if (r < 0 && r != -ECANCELED)
			(void)lp_query_fail_errno(query, r);
		complete = r == 0;
	}
	if (!query->begun && !atomic_load(&query->cancelled) && atomic_load(&query->status)) {
		write_error(query);
		complete = !query->sink_failed;
	}
	blocking_leave(query);
	query->stats.merge_ns = lp_clock_mono_ns() - begin_ns;
	stats_take(query);
	query_release(query);
	/* Its place is free before the caller hears of the end: who asks again at once is not refused for it. */
	pthread_mutex_lock(&query->engine->lock);
	query->engine->queries--;
	pthread_mutex_unlock(&query->engine->lock);
	query->sink.end(query->sink.ctx, complete && !atomic_load(&query->cancelled));
}

/* After a unit: is the task stage over? (engine lock) */
static void tasks_advance(struct lp_engine *engine, struct lp_query *query)
{
	if (query->stage != LP_STAGE_TASKS || query->next_task < query->n_tasks || query->running)
		return;
	if (query->next)
		ring_remove(engine, query);
	query->stage = LP_STAGE_FINISH;
	ring_add(engine, query);
}

static void unit_start(struct lp_engine *engine, struct lp_query *query, struct lp_worker *worker)
{
	int64_t begin_ns = lp_clock_mono_ns();

	ring_remove(engine, query);
	pthread_mutex_unlock(&engine->lock);
	stage_start(query, worker);
	worker_forget(worker);
	pthread_mutex_lock(&engine->lock);
	query->turn_ns += lp_clock_mono_ns() - begin_ns;
	query->stage = LP_STAGE_TASKS;
	if (atomic_load(&query->status) || atomic_load(&query->cancelled))
		query->n_tasks = 0;
	if (query->n_tasks)
		ring_add(engine, query);
	else
		tasks_advance(engine, query);
}

static void unit_task(struct lp_engine *engine, struct lp_query *query, struct lp_worker *worker)
{
	if (lp_query_stopped(query)) {
		query->next_task = query->n_tasks;
	} else if (query->ops->wanted && !query->ops->wanted(query, query->next_task)) {
		atomic_fetch_add(&query->count.blocks_skipped, query->n_tasks - query->next_task);
		query->next_task = query->n_tasks;
	}
	if (query->next_task == query->n_tasks) {
		tasks_advance(engine, query);
		if (query->stage == LP_STAGE_TASKS)
			ring_remove(engine, query);     /* others still run units of it; the last of them goes on */
		return;
	}
	if (query->ops->hold && query->ops->hold(query, query->next_task) && query->running) {
		ring_remove(engine, query);
		query->held = true;
		return;
	}
	uint32_t task = query->next_task++;

	query->running++;
	if (query->next_task == query->n_tasks)
		ring_remove(engine, query);
	else
		engine->ring = query->next;
	pthread_mutex_unlock(&engine->lock);
	int64_t begin_ns = lp_clock_mono_ns();
	int r = query->ops->run(query, worker, task);

	if (r < 0)
		(void)lp_query_fail_errno(query, r);
	worker_forget(worker);
	pthread_mutex_lock(&engine->lock);
	query->turn_ns += lp_clock_mono_ns() - begin_ns;
	query->running--;
	if (query->held) {
		query->held = false;
		ring_add(engine, query);
	}
	tasks_advance(engine, query);
}

static void unit_finish(struct lp_engine *engine, struct lp_query *query)
{
	ring_remove(engine, query);
	query->stage = LP_STAGE_DONE;
	pthread_mutex_unlock(&engine->lock);
	stage_finish(query);
	lp_query_unref(&query);
	pthread_mutex_lock(&engine->lock);
}

static void *thread_main(void *arg)
{
	struct lp_engine *engine = arg;
	struct lp_worker worker = { 0 };

	if (engine->config.nice)
		(void)setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), engine->config.nice);
	pthread_mutex_lock(&engine->lock);
	while (engine->threads - engine->blocked <= engine->config.threads) {
		struct lp_query *query = ring_next(engine);

		if (!query) {
			if (atomic_load(&engine->stop))
				break;
			engine->idle++;
			pthread_cond_wait(&engine->work, &engine->lock);
			engine->idle--;
			continue;
		}
		if (query->stage == LP_STAGE_START)
			unit_start(engine, query, &worker);
		else if (query->stage == LP_STAGE_TASKS)
			unit_task(engine, query, &worker);
		else
			unit_finish(engine, query);
	}
	pthread_mutex_unlock(&engine->lock);
	worker_free(&worker);
	pthread_mutex_lock(&engine->lock);
	engine->threads--;
	spawn_if_needed(engine);
	pthread_cond_broadcast(&engine->quiet);
	pthread_mutex_unlock(&engine->lock);
	return NULL;
}

/* ---- interface ---- */

int lp_engine_open(const struct lp_engine_config *config, struct lp_catalog *catalog, struct lp_engine **ret_engine)
{
	struct lp_engine *engine = calloc(1, sizeof *engine);

	if (!engine)
		return -ENOMEM;
	engine->config = *config;
	if (!engine->config.threads)
		engine->config.threads = 1;
	if (!engine->config.max_concurrent)
		engine->config.max_concurrent = 1;
	engine->catalog = catalog;
	pthread_mutex_init(&engine->lock, NULL);
	pthread_mutex_init(&engine->tombs_lock, NULL);
	pthread_cond_init(&engine->work, NULL);
	pthread_cond_init(&engine->quiet, NULL);
	*ret_engine = engine;           /* threads start with the first query */
	return 0;
}

void lp_engine_close(struct lp_engine **engine)
{
	struct lp_engine *e = *engine;

	if (!e)
		return;
	pthread_mutex_lock(&e->lock);
	atomic_store(&e->stop, true);
	for (struct lp_query *query = e->ring; query;) {
		atomic_store(&query->cancelled, true);
		query = query->next == e->ring ? NULL : query->next;
	}
	pthread_cond_broadcast(&e->work);
	while (e->queries || e->threads)
		pthread_cond_wait(&e->quiet, &e->lock);
	pthread_mutex_unlock(&e->lock);
	pthread_cond_destroy(&e->work);
	pthread_cond_destroy(&e->quiet);
	pthread_mutex_destroy(&e->lock);
	tombs_unref(e, e->tombs);
	pthread_mutex_destroy(&e->tombs_lock);
	free(e);
	*engine = NULL;
}

static int params_copy(struct lp_query *query, const struct lp_query_params *params)
{
	struct lp_query_params *p = &query->params;

	*p = *params;
	p->text = params->text ? lp_arena_strndup(&query->arena, params->text, params->text_len) : NULL;
	p->label = params->label ? lp_arena_strndup(&query->arena, params->label, params->label_len) : NULL;
	p->tenant = lp_arena_strndup(&query->arena, params->tenant ? params->tenant : "", params->tenant ? params->tenant_len : 0);
	p->tenant_len = params->tenant ? params->tenant_len : 0;
	if ((params->text && !p->text) || (params->label && !p->label) || !p->tenant)
		return -ENOMEM;
	const char **matches = lp_arena_zalloc(&query->arena, (params->n_matches + 1) * sizeof *matches);
	size_t *lens = lp_arena_zalloc(&query->arena, (params->n_matches + 1) * sizeof *lens);

	if (!matches || !lens)
		return -ENOMEM;
	for (uint32_t i = 0; i < params->n_matches; i++) {
		matches[i] = lp_arena_strndup(&query->arena, params->matches[i], params->match_lens[i]);
		lens[i] = params->match_lens[i];
		if (!matches[i])
			return -ENOMEM;
	}
	p->matches = matches;
	p->match_lens = lens;
	p->discover = NULL;             /* the caller's, compiled here */
	return lp_discover_open(params->discover, params->tenants, &query->arena, &query->discover);
}

static const struct lp_query_ops *ops_of(enum lp_query_kind kind)
{
	switch (kind) {
	case LP_QUERY_LABELS:
	case LP_QUERY_LABEL_VALUES:
	case LP_QUERY_SERIES:
	case LP_QUERY_DETECTED_LABELS:
		return &lp_names_ops;
	case LP_QUERY_DELETE_ADD:
	case LP_QUERY_DELETE_LIST:
	case LP_QUERY_DELETE_CANCEL:
		return &lp_delete_ops;
	case LP_QUERY_INDEX_STATS:
		return &lp_index_stats_ops;
	case LP_QUERY_DETECTED_FIELDS:
		return &lp_detected_ops;
	case LP_QUERY_VOLUME:
	case LP_QUERY_VOLUME_RANGE:
		return &lp_volume_ops;
	case LP_QUERY_PATTERNS:
		return &lp_patterns_ops;
	default:
		return &lp_log_ops;
	}
}

int lp_engine_submit(struct lp_engine *engine, const struct lp_query_params *params, const struct lp_query_sink *sink,
		     struct lp_query **ret_query)
{
	struct lp_query *query = calloc(1, sizeof *query);

	if (!query)
		return -ENOMEM;
	pthread_mutex_init(&query->lock, NULL);
	pthread_mutex_init(&query->error_lock, NULL);
	query->engine = engine;
	query->sink = *sink;
	query->ops = ops_of(params->kind);
	query->submitted_ns = lp_clock_mono_ns();
	atomic_store(&query->refs, 2);
	atomic_store(&query->threshold, params->forward ? INT64_MAX : INT64_MIN);
	int r = params_copy(query, params);

	if (r < 0) {
		query_free(query);
		return r;
	}
	pthread_mutex_lock(&engine->lock);
	if (atomic_load(&engine->stop) || engine->queries >= engine->config.max_concurrent) {
		pthread_mutex_unlock(&engine->lock);
		query_free(query);
		return -EBUSY;
	}
	ring_add(engine, query);
	if (!engine->threads) {         /* no thread could be started at all */
		ring_remove(engine, query);
		pthread_mutex_unlock(&engine->lock);
		query_free(query);
		return -ENOMEM;
	}
	engine->queries++;
	query->snapshot = params->snapshot;     /* no thread looks before the lock is free */
	*ret_query = query;
	pthread_mutex_unlock(&engine->lock);
	return 0;
}

void lp_query_cancel(struct lp_query *query)
{
	atomic_store(&query->cancelled, true);
}

void lp_query_unref(struct lp_query **query)
{
	struct lp_query *q = *query;

	if (q && atomic_fetch_sub(&q->refs, 1) == 1)
		query_free(q);
	*query = NULL;
}

const struct lp_query_stats *lp_query_stats(const struct lp_query *query)
{
	return &query->stats;
}
