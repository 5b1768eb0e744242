/* What a tail shows before it goes live: a query over a snapshot that ends where the live part begins.
 *
 *   query thread: sink.write -> ready (at most READY_BYTES) -> event    loop: ready -> blocks, at most PAST_BYTES per client
 *
 * Guarantees: a client that takes nothing holds one query and these bytes, and only until it is cut.
 * Process: worker, event loop; sink_* on query threads. */
#include "http/tail-private.h"

#include "common/clock.h"
#include "query/spans.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define READY_BYTES (1u << 20)
#define PAST_BYTES (1u << 20)

struct lp_tail_history {
	struct lp_tails *tails;
	struct lp_tail_client *client;  /* loop; NULL: gone */
	struct lp_query *query;         /* loop */
	struct lp_buf text;             /* loop: taken and not yet made into blocks, from `at` on */
	size_t at;
	bool over;                      /* loop: everything was taken */
	bool whole;
	pthread_mutex_t lock;
	pthread_cond_t room;
	struct lp_buf ready;            /* lock */
	bool told, ended, complete, cancelled;  /* lock; told: an event is on its way */
	int status;                     /* query thread until ended */
	struct lp_trace trace;          /* loop; of its own span, under the tail's */
	int64_t started_ns;
	int64_t ended_ns;               /* lock */
};

/* ---- query thread ---------------------------------------------------------------------------------- */

/* Under lock: whoever sees `ended` sees as well whether an event is still on its way, see release(). */
static void tell(struct lp_tail_history *h)
{
	if (h->told)
		return;
	h->told = true;
	lp_tails_post(h->tails, &(struct lp_tail_event){ .kind = LP_TAIL_HISTORY, .history = h }, 0);
}

static int sink_begin(void *ctx, int status, const char *content_type)
{
	struct lp_tail_history *h = ctx;

	(void)content_type;
	h->status = status;
	return 0;
}

static int sink_write(void *ctx, const void *p, size_t n)
{
	struct lp_tail_history *h = ctx;
	int r = 0;

	pthread_mutex_lock(&h->lock);
	while (h->ready.len > READY_BYTES && !h->cancelled)
		pthread_cond_wait(&h->room, &h->lock);
	if (h->cancelled)
		r = -ECANCELED;
	else
		lp_buf_append(&h->ready, p, n);
	if (h->ready.failed)
		r = -ENOMEM;
	if (r == 0)
		tell(h);
	pthread_mutex_unlock(&h->lock);
	return r;
}

static void sink_end(void *ctx, bool complete)
{
	struct lp_tail_history *h = ctx;

	pthread_mutex_lock(&h->lock);
	h->ended = true;
	h->ended_ns = lp_clock_mono_ns();
	h->complete = complete;
	tell(h);
	pthread_mutex_unlock(&h->lock);
}

/* ---- loop ------------------------------------------------------------------------------------------ */

static void trace(struct lp_tail_history *h)
{
	struct lp_proc *proc = h->tails->worker->proc;
	struct lp_span span = lp_span_child(&h->trace, LP_SPAN_HISTORY, h->started_ns, h->ended_ns);

	span.id = h->trace.id;
	memcpy(span.parent, h->trace.parent, sizeof span.parent);
	span.error = h->over && !h->whole;
	lp_query_spans_put(proc->region, proc->slot, &h->trace, h->started_ns, lp_query_stats(h->query));
	(void)lp_spans_put(proc->region, proc->slot, &span);
}

static void history_free(struct lp_tail_history *h)
{
	if (h->trace.sampled)
		trace(h);
	lp_query_unref(&h->query);
	lp_buf_free(&h->text);
	lp_buf_free(&h->ready);
	pthread_mutex_destroy(&h->lock);
	pthread_cond_destroy(&h->room);
	free(h);
}

/* The loop is done with it.  While an event is on its way, or one will be, that event frees it. */
static void release(struct lp_tail_history *h)
{
	pthread_mutex_lock(&h->lock);
	bool later = h->told || !h->ended;

	h->cancelled = true;
	pthread_cond_broadcast(&h->room);
	pthread_mutex_unlock(&h->lock);
	h->client = NULL;
	if (later)
		lp_query_cancel(h->query);
	else
		history_free(h);
}

int lp_tail_history_start(struct lp_tail_client *client, struct lp_snapshot *snapshot)
{
	struct lp_worker *worker = client->tails->worker;
	const struct lp_conf *conf = lp_worker_conf(worker);
	struct lp_tail_group *group = client->joining;
	struct lp_tail_history *h = calloc(1, sizeof *h);
	struct lp_query_sink sink = { sink_begin, sink_write, sink_end, h };
	struct lp_discover_spec discover = lp_discover_spec_of(conf);
	struct lp_query_params params = {
		.kind = LP_QUERY_TAIL, .original_shape = group->original, .text = group->text, .text_len = group->text_len,
		.tenant = group->tenant, .tenant_len = group->tenant_len, .tenants = group->tenants,
		.discover = group->original ? NULL : &discover, .start_ns = client->start_ns, .end_ns = INT64_MAX,
		.limit = client->limit, .categorize = group->categorize, .max_memory = (uint64_t)conf->query.max_query_memory,
		.max_series = (uint32_t)conf->limits.max_query_series,
		.deadline_mono_ns = lp_clock_mono_ns() + conf->limits.query_timeout * LP_NS_PER_MS, .snapshot = snapshot,
	};
	int64_t oldest_ns = lp_clock_real_ns() - conf->limits.max_query_lookback * LP_NS_PER_MS;
	int r = -ENOMEM;

	if (conf->limits.max_query_lookback && params.start_ns < oldest_ns)
		params.start_ns = oldest_ns;
	if (h) {
		h->tails = client->tails;
		h->client = client;
		h->started_ns = lp_clock_mono_ns();
		pthread_mutex_init(&h->lock, NULL);
		pthread_cond_init(&h->room, NULL);
		r = worker->query.engine ? lp_engine_submit(worker->query.engine, &params, &sink, &h->query) : -EBUSY;
	}
	if (r < 0) {
		lp_snapshot_release(&snapshot);
		if (h)
			history_free(h);
		return r;
	}
	if (client->traced.trace.sampled)
		lp_trace_begin_under(&worker->sampler, &client->traced.trace.id, &h->trace);
	lp_stat_add(worker->stat, LP_STAT_QUERY_REQUESTS, 1);
	client->history = h;
	return 0;
}

void lp_tail_history_abandon(struct lp_tail_client *client)
{
	struct lp_tail_history *h = client->history;

	lp_tail_client_slot_put(client);
	if (!h)
		return;
	client->history = NULL;
	release(h);
}

/* "<entries> <message>\n"; lines are whole when their newline is there. */
static int make_blocks(struct lp_tail_client *client, struct lp_tail_history *h)
{
	while (client->past.bytes < PAST_BYTES && h->at < h->text.len) {
		const char *p = (const char *)h->text.data + h->at;
		const char *end = memchr(p, '\n', h->text.len - h->at);

		if (!end)
			break;
		char *text;
		unsigned long entries = strtoul(p, &text, 10);
		struct lp_tail_block *block = lp_tail_block_text(h->tails, text + 1, (size_t)(end - text - 1), (uint32_t)entries);
		int r = block ? lp_tail_queue_put(&client->past, block, 0) : -ENOMEM;

		if (block)
			lp_tail_block_unref(block);
		if (r < 0)
			return r;
		h->at += (size_t)(end + 1 - p);
	}
	if (h->at == h->text.len)
		lp_buf_reset(&h->text);
	else if (h->at > READY_BYTES) {
		memmove(h->text.data, h->text.data + h->at, h->text.len - h->at);
		h->text.len -= h->at;
	} else {
		return 0;
	}
	h->at = 0;
	return 0;
}

static void history_failed(struct lp_tail_client *client, struct lp_tail_history *h, const char *text)
{
	char reason[120];

	snprintf(reason, sizeof reason, "%.*s", (int)strcspn(text, "\n"), text);
	client->history = NULL;
	release(h);
	lp_tail_client_slot_put(client);
	lp_stat_add(client->tails->worker->stat, LP_STAT_QUERY_ERRORS, 1);
	lp_tail_client_close(client, LP_WS_INTERNAL, reason);
}

void lp_tail_history_pull(struct lp_tail_client *client)
{
	struct lp_tail_history *h = client->history;

	if (!h || client->past.bytes >= PAST_BYTES)
		return;
	if (!h->over && h->text.len - h->at < READY_BYTES) {
		pthread_mutex_lock(&h->lock);
		if (h->ready.len) {
			lp_buf_append(&h->text, h->ready.data, h->ready.len);
			lp_buf_reset(&h->ready);
			pthread_cond_signal(&h->room);
		}
		h->over = h->ended;
		h->whole = h->complete && h->status == 200;
		pthread_mutex_unlock(&h->lock);
	}
	if (h->over && !h->whole) {
		history_failed(client, h, h->status >= 400 && h->text.len ? lp_buf_cstr(&h->text) : "the history could not be read");
		return;
	}
	if (h->text.failed || make_blocks(client, h) < 0) {
		lp_tail_client_close(client, LP_WS_INTERNAL, "out of memory");
		return;
	}
	if (h->over && !h->text.len) {
		client->history = NULL;
		client->history_over = true;
		release(h);
		lp_tail_client_slot_put(client);
	}
}

void lp_tail_history_event(struct lp_tail_history *h)
{
	struct lp_tail_client *client = h->client;
	bool ended;

	pthread_mutex_lock(&h->lock);
	h->told = false;
	ended = h->ended;
	pthread_mutex_unlock(&h->lock);
	if (!client) {
		if (ended)
			history_free(h);
		return;
	}
	lp_tail_history_pull(client);
	lp_tail_client_pump(client);
}
