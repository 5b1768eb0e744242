/* Queries in flight: the engine's threads write answers, the event loop sends them.
 *
 *   engine thread:  sink.write -> (gzip) -> chunks of 64 KiB -> ready list -> message to the loop
 *   event loop:     message or proceed -> one h2o_send of all ready chunks -> proceed frees them -> the thread goes on
 *
 * Guarantees: a query is at most CHUNKS_AHEAD chunks ahead of its client; a client that goes away is noticed within about
 * 100 ms and cancels its query; an answer of up to one chunk is sent in one piece with Content-Length.
 * Ownership: a job is freed by the loop when both its request and its engine side are gone.  Fields are the loop's, except
 * those under `lock` and those marked as the thread's.
 * Process: worker.  If it dies here, the client sees the connection break. */
#include "http/worker.h"

#include "common/clock.h"
#include "common/jsonw.h"
#include "common/log.h"
#include "http/match.h"
#include "query/spans.h"

#include <zlib.h>

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CHUNK_BYTES 65536u
#define CHUNKS_AHEAD 4u
#define GZIP_FROM_BYTES 1400u           /* what fits into one packet is not worth it */
#define ERROR_TEXT_MAX (6 * LP_QUERY_ERROR_MAX + 256)   /* as a JSON string, \u0000 at worst, in an object */
#define JSON_TYPE "application/json"
#define ENGINE_NICE 5
#define MAX_WATCHED 256
_Static_assert(LP_STAT_QUERY_DELETE_CANCEL_SECONDS - LP_STAT_QUERY_ORIGINAL_SECONDS == LP_QUERY_DELETE_CANCEL - LP_QUERY_ORIGINAL,
	       "one histogram per kind of query, in the same order");

struct chunk {
	struct chunk *next;
	size_t len;
	char data[CHUNK_BYTES];
};

struct lp_job;

/* Lives in the request's pool: its disposal tells the job that the request is gone. */
struct holder {
	h2o_generator_t super;
	struct lp_job *job;
};

struct lp_job {
	h2o_multithread_message_t message;
	h2o_linklist_t link;            /* in lp_queries.jobs while there is a request */
	struct lp_worker *worker;
	h2o_req_t *req;                 /* NULL: gone */
	struct holder *holder;
	struct lp_query *query;
	unsigned refs;                  /* request, engine, and callers on the stack; the loop's */
	bool started, sending, finished, head, original;
	struct chunk *inflight;         /* given to h2o_send */
	int64_t started_ns, send_by_ns;
	const char *route;
	enum lp_query_kind kind;
	struct lp_trace trace;
	char tags[128];
	char *text;                     /* for the slow-query log */

	pthread_mutex_t lock;
	pthread_cond_t room;
	struct chunk *ready, **ready_end;       /* lock */
	unsigned chunks;                /* lock: allocated and not yet sent */
	bool message_queued, cancelled, ended, complete;        /* lock */

	/* The engine thread's until `ended`; the loop reads them after a chunk or the end was handed over under lock. */
	int status;
	char content_type[64];
	bool gzip_wanted, gzip_on;
	z_stream gzip;
	struct chunk *out;
	struct lp_buf small;            /* start of a body that may turn out to be too small for gzip; error texts */
};

/* ---- memory ------------------------------------------------------------------------------------- */

static void free_chunks(struct chunk *chunk)
{
	while (chunk) {
		struct chunk *next = chunk->next;

		free(chunk);
		chunk = next;
	}
}

static void unref(struct lp_job *job)
{
	if (--job->refs > 0)
		return;
	if (job->query)
		lp_query_unref(&job->query);
	if (job->gzip_on)
		deflateEnd(&job->gzip);
	free_chunks(job->ready);
	free_chunks(job->inflight);
	free(job->out);
	lp_buf_free(&job->small);
	free(job->text);
	pthread_mutex_destroy(&job->lock);
	pthread_cond_destroy(&job->room);
	free(job);
}

static void cancel(struct lp_job *job)
{
	/* The query first: a writer that is woken below must find itself cancelled. */
	if (job->query)
		lp_query_cancel(job->query);
	pthread_mutex_lock(&job->lock);
	job->cancelled = true;
	pthread_cond_broadcast(&job->room);
	pthread_mutex_unlock(&job->lock);
}

static void on_dispose(void *p)
{
	struct holder *holder = p;
	struct lp_job *job = holder->job;

	if (!job)
		return;
	holder->job = NULL;
	h2o_linklist_unlink(&job->link);
	job->req = NULL;
	if (!job->finished)
		lp_stat_add(job->worker->stat, LP_STAT_QUERY_CANCELLED, 1);
	cancel(job);
	unref(job);
}

/* ---- the engine's side -------------------------------------------------------------------------- */

/* Under lock: true when a message has to be sent (after unlocking, as the last touch of the job). */
static bool need_message(struct lp_job *job)
{
	if (job->message_queued)
		return false;
	job->message_queued = true;
	return true;
}

static void send_message(struct lp_job *job)
{
	h2o_multithread_send_message(&job->worker->query.receiver, &job->message);
}

/* Hand `out` over and wait for room for another one. */
static int next_chunk(struct lp_job *job)
{
	bool tell = false, cancelled;

	pthread_mutex_lock(&job->lock);
	if (job->out) {
		*job->ready_end = job->out;
		job->ready_end = &job->out->next;
		job->out = NULL;
		tell = need_message(job);
	}
	pthread_mutex_unlock(&job->lock);
	if (tell)
		send_message(job);
	pthread_mutex_lock(&job->lock);
	while (job->chunks >= CHUNKS_AHEAD && !job->cancelled)
		pthread_cond_wait(&job->room, &job->lock);
	cancelled = job->cancelled;
	if (!cancelled)
		job->chunks++;
	pthread_mutex_unlock(&job->lock);
	if (cancelled)
		return -ECANCELED;
	job->out = malloc(sizeof *job->out);
	if (!job->out) {
		pthread_mutex_lock(&job->lock);
		job->chunks--;
		pthread_mutex_unlock(&job->lock);
		return -ENOMEM;
	}
	job->out->next = NULL;
	job->out->len = 0;
	return 0;
}

static int put_plain(struct lp_job *job, const uint8_t *p, size_t n)
{
	while (n > 0) {
		size_t part;
		int r;

		if (!job->out || job->out->len == CHUNK_BYTES) {
			r = next_chunk(job);
			if (r < 0)
				return r;
		}
		part = CHUNK_BYTES - job->out->len;
		if (part > n)
			part = n;
		memcpy(job->out->data + job->out->len, p, part);
		job->out->len += part;
		p += part;
		n -= part;
	}
	return 0;
}

static int put_gzip(struct lp_job *job, const uint8_t *p, size_t n, bool last)
{
	z_stream *z = &job->gzip;
	int r;

	if (n > UINT_MAX)
		return -E2BIG;
	z->next_in = (Bytef *)(uintptr_t)p;
	z->avail_in = (uInt)n;
	do {
		if (!job->out || job->out->len == CHUNK_BYTES) {
			r = next_chunk(job);
			if (r < 0)
				return r;
		}
		z->next_out = (Bytef *)job->out->data + job->out->len;
		z->avail_out = (uInt)(CHUNK_BYTES - job->out->len);
		r = deflate(z, last ? Z_FINISH : Z_NO_FLUSH);
		job->out->len = CHUNK_BYTES - z->avail_out;
	} while (last ? r != Z_STREAM_END : z->avail_in > 0);
	return 0;
}

static int start_gzip(struct lp_job *job)
{
	int r;

	/* On this thread and not on the loop's; level 1 because bandwidth is seldom as scarce as the CPU that ingests. */
	if (deflateInit2(&job->gzip, 1, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK)
		return -ENOMEM;
	job->gzip_on = true;
	job->gzip_wanted = false;
	r = put_gzip(job, job->small.data, job->small.len, false);
	lp_buf_free(&job->small);
	return r;
}

static int sink_begin(void *ctx, int status, const char *content_type)
{
	struct lp_job *job = ctx;

	job->status = status;
	snprintf(job->content_type, sizeof job->content_type, "%s", content_type);
	if (status >= 400) {
		job->gzip_wanted = false;
		job->small.max = ERROR_TEXT_MAX;
	}
	return 0;
}

static int sink_write(void *ctx, const void *p, size_t n)
{
	struct lp_job *job = ctx;
	int r;

	if (job->status >= 400) {
		lp_buf_append(&job->small, p, n);
		return 0;
	}
	if (job->gzip_wanted) {
		if (job->small.len + n <= GZIP_FROM_BYTES) {
			lp_buf_append(&job->small, p, n);
			return job->small.failed ? -ENOMEM : 0;
		}
		r = start_gzip(job);
		if (r < 0)
			return r;
	}
	return job->gzip_on ? put_gzip(job, p, n, false) : put_plain(job, p, n);
}

/* The original API's dashboard wants {"error","code"}, which the engine says of what a query did wrong; this is for plain text. */
static void original_error(struct lp_job *job)
{
	struct lp_buf json = LP_BUF_INIT, text = LP_BUF_INIT;
	const char *code = "BAD_QUERY";

	lp_buf_str(&text, job->status == 400 ? "Query error: " : "");
	lp_buf_append(&text, job->small.data, job->small.len);
	if (strstr(lp_buf_cstr(&text), "error parsing regexp") || strstr(lp_buf_cstr(&text), "invalid regex"))
		code = "INVALID_REGEX";
	else if (job->status >= 500)
		code = "INTERNAL_ERROR";
	lp_buf_str(&json, "{\"error\":");
	lp_jsonw_str(&json, text.data, text.len);
	lp_buf_printf(&json, ",\"code\":\"%s\"}", code);
	lp_buf_free(&text);
	lp_buf_free(&job->small);
	job->small = json;
	snprintf(job->content_type, sizeof job->content_type, "%s", LP_JSON);
}

static void sink_end(void *ctx, bool complete)
{
	struct lp_job *job = ctx;
	bool tell;

	if (complete) {
		int r = 0;

		if (job->status >= 400 && job->original && strncmp(job->content_type, JSON_TYPE, sizeof JSON_TYPE - 1) != 0)
			original_error(job);
		if (job->gzip_on)
			r = put_gzip(job, NULL, 0, true);
		else if (job->small.len)
			r = put_plain(job, job->small.data, job->small.len);
		complete = r == 0;
	}
	pthread_mutex_lock(&job->lock);
	if (job->out) {
		*job->ready_end = job->out;
		job->ready_end = &job->out->next;
		job->out = NULL;
	}
	job->ended = true;
	job->complete = complete;
	tell = need_message(job);
	pthread_mutex_unlock(&job->lock);
	if (tell)
		send_message(job);
}

/* ---- the loop's side ---------------------------------------------------------------------------- */

/* Once a minute; the counter has them all. */
static void warn_of_damage(struct lp_worker *worker, uint64_t n)
{
	int64_t now = lp_clock_mono_ms();

	if (worker->query.damage_told_ms && now - worker->query.damage_told_ms < 60000)
		return;
	worker->query.damage_told_ms = now;
	lp_log(LP_WARN, "a query left out stored blocks, segments or log records that are damaged or cannot be read, see logpulsectl verify "
	       "n=%llu", (unsigned long long)n);
}

static void count_result(struct lp_job *job)
{
	struct lp_worker *worker = job->worker;
	const struct lp_query_stats *stats = lp_query_stats(job->query);
	int64_t us = (lp_clock_mono_ns() - job->started_ns) / 1000, ms = us / 1000;
	int64_t slow = lp_worker_conf(worker)->query.slow_query_threshold;

	lp_stat_observe_us(worker->stat, LP_STAT_QUERY_ORIGINAL_SECONDS + job->kind, (uint64_t)us);
	if (job->trace.sampled) {
		lp_stat_exemplar(worker->stat, LP_STAT_QUERY_ORIGINAL_SECONDS + job->kind, (uint64_t)us, job->trace.id.trace);
		lp_query_spans_put(worker->proc->region, worker->proc->slot, &job->trace, job->started_ns, stats);
	}
	if (job->status >= 400 || !job->complete)
		lp_stat_add(worker->stat, LP_STAT_QUERY_ERRORS, 1);
	lp_stat_add(worker->stat, LP_STAT_QUERY_LINES_SCANNED, stats->lines_scanned);
	lp_stat_add(worker->stat, LP_STAT_QUERY_BYTES_SCANNED, stats->bytes_scanned);
	lp_stat_add(worker->stat, LP_STAT_QUERY_BAD_BLOCKS, stats->bad_blocks);
	if (stats->bad_blocks)
		warn_of_damage(worker, stats->bad_blocks);
	if (slow > 0 && ms >= slow)
		lp_log(LP_WARN, "slow query route=%s status=%d ms=%lld queue_ms=%lld lines=%llu bytes=%llu blocks_read=%llu "
		       "blocks_skipped=%llu tags=\"%s\" query=%.2000s", job->route, job->status, (long long)ms,
		       (long long)(stats->queue_ns / LP_NS_PER_MS), (unsigned long long)stats->lines_scanned,
		       (unsigned long long)stats->bytes_scanned, (unsigned long long)stats->blocks_read,
		       (unsigned long long)stats->blocks_skipped, job->tags, job->text ? job->text : "");
}

static void start_response(struct lp_job *job, size_t total, bool whole)
{
	h2o_req_t *req = job->req;

	job->started = true;
	req->res.status = job->status;
	req->res.reason = lp_status_reason(job->status);
	lp_header(req, "content-type", h2o_strdup(&req->pool, job->content_type, SIZE_MAX).base);
	if (job->status >= 400)
		lp_header(req, "x-content-type-options", "nosniff");
	if (job->kind == LP_QUERY_DELETE_ADD && job->status == 204) {
		char id[24];

		snprintf(id, sizeof id, LP_DELETE_ID_FORMAT, lp_query_stats(job->query)->delete_id);
		lp_header(req, "x-delete-request-id", h2o_strdup(&req->pool, id, SIZE_MAX).base);
	}
	if (job->gzip_on) {
		lp_header(req, "content-encoding", "gzip");
		lp_header(req, "vary", "Accept-Encoding");
	}
	if (whole)
		req->res.content_length = total;
	else if (req->version < 0x101)
		req->http1_is_persistent = 0;   /* HTTP/1.0 knows the end by the close */
	h2o_start_response(req, &job->holder->super);
}

static unsigned collect(struct chunk *list, h2o_iovec_t *bufs, size_t *ret_total)
{
	unsigned n = 0;

	*ret_total = 0;
	for (; list; list = list->next) {
		bufs[n++] = h2o_iovec_init(list->data, list->len);
		*ret_total += list->len;
	}
	return n;
}

/* Send what is ready; one h2o_send at a time, the next after proceed.  The caller holds a reference. */
static void pump(struct lp_job *job)
{
	h2o_iovec_t bufs[CHUNKS_AHEAD + 1];
	h2o_send_state_t state = H2O_SEND_STATE_IN_PROGRESS;
	bool ended, complete;
	size_t total;
	unsigned n;

	if (!job->req || job->sending || job->finished)
		return;
	pthread_mutex_lock(&job->lock);
	job->inflight = job->ready;
	job->ready = NULL;
	job->ready_end = &job->ready;
	ended = job->ended;
	complete = job->complete;
	pthread_mutex_unlock(&job->lock);
	n = collect(job->inflight, bufs, &total);
	if (n == 0 && !ended)
		return;
	if (ended) {
		job->finished = true;
		count_result(job);
		state = complete ? H2O_SEND_STATE_FINAL : H2O_SEND_STATE_ERROR;
		if (!complete && !job->started) {
			lp_reply_text(job->req, 500, "the query was cut off by an internal error");
			return;
		}
	}
	if (!complete && ended)
		job->req->http1_is_persistent = 0;
	if (!job->started)
		start_response(job, total, ended);
	job->sending = true;
	if (job->head) {
		/* Only the head is wanted: the rest of the query is not. */
		job->finished = true;
		h2o_send(job->req, NULL, 0, H2O_SEND_STATE_FINAL);
		return;
	}
	h2o_send(job->req, bufs, n, state);
}

static void free_inflight(struct lp_job *job)
{
	unsigned n = 0;

	for (struct chunk *c = job->inflight; c; c = c->next)
		n++;
	free_chunks(job->inflight);
	job->inflight = NULL;
	pthread_mutex_lock(&job->lock);
	job->chunks -= n;
	pthread_cond_signal(&job->room);
	pthread_mutex_unlock(&job->lock);
}

static void on_proceed(h2o_generator_t *self, h2o_req_t *req)
{
	struct lp_job *job = ((struct holder *)self)->job;

	free_inflight(job);
	job->sending = false;
	job->refs++;
	pump(job);
	unref(job);
}

static void on_messages(h2o_multithread_receiver_t *receiver, h2o_linklist_t *messages)
{
	while (!h2o_linklist_is_empty(messages)) {
		struct lp_job *job = H2O_STRUCT_FROM_MEMBER(struct lp_job, message.link, messages->next);
		bool ended;

		h2o_linklist_unlink(&job->message.link);
		pthread_mutex_lock(&job->lock);
		job->message_queued = false;
		ended = job->ended;
		pthread_mutex_unlock(&job->lock);
		if (!ended)
			job->refs++;
		pump(job);
		unref(job);             /* the engine's reference when it has ended */
	}
}

/* ---- starting ----------------------------------------------------------------------------------- */

bool lp_queries_ready(struct lp_worker *worker)
{
	const struct lp_conf *conf = lp_worker_conf(worker);
	struct lp_queries *q = &worker->query;
	struct lp_engine_config config = {
		.threads = (uint32_t)conf->query.threads,
		.max_concurrent = (uint32_t)conf->query.max_concurrent,
		.nice = ENGINE_NICE,
	};
	int r;

	if (q->engine)
		return true;
	if (q->closed)
		return false;
	if (!(atomic_load_explicit(&worker->state->flags, memory_order_acquire) & LP_STATE_READY))
		return false;           /* the writer is still making sense of the files */
	if (config.threads == 0) {
		long cores = sysconf(_SC_NPROCESSORS_ONLN);

		config.threads = cores > 0 ? (uint32_t)cores : 1;
	}
	r = lp_catalog_open(worker->proc->data_dir, worker->proc->region, worker->proc->slot, &q->catalog);
	if (r == 0) {
		r = lp_engine_open(&config, q->catalog, &q->engine);
		if (r < 0)
			lp_catalog_close(&q->catalog);
	}
	if (r < 0 && r != q->open_error)
		lp_log(LP_ERROR, "query engine cannot start data=%s error=%s", worker->proc->data_dir, strerror(-r));
	q->open_error = r;
	return r == 0;
}

/* Loki's safe set; anything else is dropped, so that the tags cannot break a log line. */
static void copy_tags(struct lp_job *job)
{
	h2o_iovec_t v = lp_request_header(job->req, "x-query-tags");
	size_t n = 0;

	for (size_t i = 0; i < v.len && n < sizeof job->tags - 1; i++) {
		char c = v.base[i];

		if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || (c && strchr("-=.@, ", c)))
			job->tags[n++] = c;
	}
}

static struct lp_job *make_job(struct lp_worker *worker, h2o_req_t *req, const struct lp_query_params *params,
			       struct lp_job_options options)
{
	struct lp_job *job = calloc(1, sizeof *job);
	h2o_iovec_t accept = lp_request_header(req, "accept-encoding");

	if (!job)
		return NULL;
	job->worker = worker;
	job->req = req;
	job->refs = 1;
	job->status = 200;
	job->started_ns = lp_clock_mono_ns();
	job->head = lp_is_head(req);
	job->original = options.original;
	job->route = options.route;
	job->kind = params->kind;
	if (worker->sampler.on && lp_request_trace(req))
		job->trace = *lp_request_trace(req);
	job->ready_end = &job->ready;
	job->gzip_wanted = accept.base && req->version >= 0x101 && !job->head && lp_accepts_gzip(accept.base, accept.len);
	job->text = strndup(params->text ? params->text : "", params->text_len);
	pthread_mutex_init(&job->lock, NULL);
	pthread_cond_init(&job->room, NULL);
	copy_tags(job);
	return job;
}

static void attach(struct lp_job *job)
{
	struct holder *holder = h2o_mem_alloc_shared(&job->req->pool, sizeof *holder, on_dispose);

	*holder = (struct holder){ { on_proceed, NULL }, job };
	job->holder = holder;
	job->refs++;
	h2o_linklist_insert(&job->worker->query.jobs, &job->link);
}

/* limits.max_query_lookback, as Loki's frontend has it: what asks about older times only gets an empty answer. */
static void look_back(const struct lp_conf *conf, struct lp_query_params *params)
{
	if (!conf->limits.max_query_lookback)
		return;
	params->oldest_ns = lp_clock_real_ns() - conf->limits.max_query_lookback * LP_NS_PER_MS;
	if (params->end_ns < params->oldest_ns) {
		/* The steps of a metric query stand where they were asked for. */
		if (params->kind != LP_QUERY_RANGE && params->kind != LP_QUERY_INSTANT)
			params->end_ns = 0;
		params->start_ns = params->end_ns;
	} else if (params->start_ns < params->oldest_ns && params->kind != LP_QUERY_INSTANT) {
		params->start_ns = params->oldest_ns;
	}
}

static void set_limits(const struct lp_conf *conf, struct lp_query_params *params)
{
	bool volume = params->kind == LP_QUERY_VOLUME || params->kind == LP_QUERY_VOLUME_RANGE;

	params->max_series = (uint32_t)(volume ? conf->limits.volume_max_series : conf->limits.max_query_series);
	params->max_range_ns = conf->limits.max_query_range * LP_NS_PER_MS;
	params->max_matchers = (uint32_t)conf->limits.max_streams_matchers_per_query;
	if (params->kind == LP_QUERY_RANGE || params->kind == LP_QUERY_INSTANT)
		params->max_bytes_read = (uint64_t)conf->limits.max_query_bytes_read;
	if (params->kind < LP_QUERY_DELETE_ADD)
		look_back(conf, params);
}

void lp_query_start(struct lp_worker *worker, h2o_req_t *req, struct lp_query_params *params, struct lp_job_options options)
{
	const struct lp_conf *conf = lp_worker_conf(worker);
	struct lp_query_sink sink = { sink_begin, sink_write, sink_end, NULL };
	struct lp_discover_spec discover = lp_discover_spec_of(conf);
	h2o_iovec_t tenant;
	struct lp_job *job;
	int r;

	lp_stat_add(worker->stat, LP_STAT_QUERY_REQUESTS, 1);
	if (!lp_tenants(worker, req, &tenant, &params->tenants))
		return;
	if (!lp_queries_ready(worker)) {
		lp_reply_retry(req, 503, 1, worker->query.open_error ? "the store cannot be read, see the server's log" :
			       "starting: recovery is not over");
		return;
	}
	params->tenant = tenant.base;
	params->tenant_len = tenant.len;
	params->discover = options.original ? NULL : &discover;
	params->max_memory = (uint64_t)conf->query.max_query_memory;
	set_limits(conf, params);
	params->split_ns = conf->limits.split_instant_metric_queries_by_interval * LP_NS_PER_MS;
	params->deadline_mono_ns = lp_clock_mono_ns() + conf->limits.query_timeout * LP_NS_PER_MS;
	job = make_job(worker, req, params, options);
	if (!job) {
		lp_reply_text(req, 500, "out of memory");
		return;
	}
	job->send_by_ns = params->deadline_mono_ns + conf->server.write_timeout * LP_NS_PER_MS;
	sink.ctx = job;
	r = lp_engine_submit(worker->query.engine, params, &sink, &job->query);
	if (r < 0) {
		unref(job);
		lp_stat_add(worker->stat, LP_STAT_QUERY_ERRORS, 1);
		if (r == -EBUSY)
			lp_reply_retry(req, 429, 1, "too many outstanding requests (query.max_concurrent)");
		else
			lp_reply_text(req, 500, "the query could not be started: out of memory");
		return;
	}
	attach(job);
	lp_worker_hurry(worker);
}

/* ---- clients that leave ------------------------------------------------------------------------- */

/* HTTP/1 in h2o reads nothing while a handler works, so a disconnect goes unseen.  Asking the kernel for it ten times
 * a second works with TLS and with pipelined requests too, where peeking at the data does not. */
static void drop_client(struct lp_job *job)
{
	h2o_req_t *req = job->req;

	req->http1_is_persistent = 0;
	if (job->sending) {
		shutdown(h2o_socket_get_fd(req->conn->callbacks->get_socket(req->conn)), SHUT_RDWR);
		return;
	}
	job->refs++;
	job->finished = true;
	lp_stat_add(job->worker->stat, LP_STAT_QUERY_CANCELLED, 1);
	cancel(job);
	if (!job->started) {
		req->res.status = 499;
		req->res.reason = lp_status_reason(499);
		h2o_start_response(req, &job->holder->super);
	}
	h2o_send(req, NULL, 0, H2O_SEND_STATE_ERROR);
	unref(job);
}

void lp_queries_tick(struct lp_worker *worker)
{
	struct pollfd fds[MAX_WATCHED];
	struct lp_job *jobs[MAX_WATCHED];
	h2o_linklist_t *node;
	int64_t now_ns = lp_clock_mono_ns();
	nfds_t n = 0;

	if (!worker->query.engine)
		(void)lp_queries_ready(worker);      /* not only when the first query waits for it */
	for (node = worker->query.jobs.next; node != &worker->query.jobs && n < MAX_WATCHED; node = node->next) {
		struct lp_job *job = H2O_STRUCT_FROM_MEMBER(struct lp_job, link, node);

		if (job->finished)
			continue;
		fds[n].fd = h2o_socket_get_fd(job->req->conn->callbacks->get_socket(job->req->conn));
		fds[n].events = POLLRDHUP;
		jobs[n++] = job;
	}
	if (n == 0 || poll(fds, n, 0) < 0)
		return;
	/* Dropping one client disposes of its own job only, so the others in the array stay valid.
	 * A client that takes its answer in drops would keep its place among the queries and the log files that its snapshot
	 * pins: the time of a query, and that of a write on top, is what it may take in all. */
	for (nfds_t i = 0; i < n; i++)
		if (fds[i].revents & (POLLRDHUP | POLLHUP | POLLERR)) {
			drop_client(jobs[i]);
		} else if (now_ns >= jobs[i]->send_by_ns) {
			lp_stat_add(worker->stat, LP_STAT_HTTP_CONNECTIONS_CUT, 1);
			drop_client(jobs[i]);
		}
}

bool lp_queries_pending(const struct lp_worker *worker)
{
	return !h2o_linklist_is_empty((h2o_linklist_t *)&worker->query.jobs);
}

int lp_queries_open(struct lp_worker *worker)
{
	h2o_linklist_init_anchor(&worker->query.jobs);
	h2o_multithread_register_receiver(worker->ctx.queue, &worker->query.receiver, on_messages);
	return 0;
}

void lp_queries_close(struct lp_worker *worker)
{
	h2o_linklist_t *node;

	worker->query.closed = true;
	/* Threads may wait for room that the loop will not make any more. */
	for (node = worker->query.jobs.next; node != &worker->query.jobs; node = node->next)
		cancel(H2O_STRUCT_FROM_MEMBER(struct lp_job, link, node));
	lp_engine_close(&worker->query.engine);
	if (worker->conns == 0) {
		h2o_evloop_run(worker->loop, 0);        /* the last messages */
		h2o_multithread_unregister_receiver(worker->ctx.queue, &worker->query.receiver);
	}
	lp_catalog_close(&worker->query.catalog);
}
