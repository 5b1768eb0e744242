/* One live tail's connection: the upgrade, frames in and out, pings, the end.
 *
 * Guarantees: one write at a time, of at most LP_TAIL_GATHER blocks; a client that takes nothing, or answers no ping, for
 * streaming.client_timeout is cut; whatever it sends is bounded and answered as RFC 6455 says, and who asks without reading
 * the answers is not listened to until it has taken them.
 * Process: worker, event loop.  The socket keeps its on_close of server.c, so the connection stays counted. */
#include "http/tail-private.h"

#include "common/clock.h"
#include "common/jsonw.h"
#include "common/rfc3339.h"
#include "http/tailmsg.h"

#include <h2o/http1.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define QUEUE_BYTES (8u << 20)          /* live blocks of one client */
#define GATHER_BYTES (256u << 10)       /* so that a ping soon gets its turn */
#define PROGRESS_MS 500
#define CLOSE_MS 2000                   /* for the client's answer to our close frame */
#define SAID_BYTES (64u << 10)          /* of our own messages; while more waits, nothing is read */
#define LOST_NAMED_MAX 1000u            /* dropped entries that are named, as Loki does; the number is always exact */
#define LOST_JSON_MAX (64u << 10)

static void on_read(h2o_socket_t *sock, const char *err);
static void listen_again(struct lp_tail_client *client);

/* ---- queues ---------------------------------------------------------------------------------------- */

int lp_tail_queue_put(struct lp_tail_queue *queue, struct lp_tail_block *block, int64_t due_ms)
{
	if (queue->n == queue->cap) {
		size_t cap = queue->cap ? queue->cap * 2 : 16;
		struct lp_tail_queued *v = malloc(cap * sizeof *v);

		if (!v)
			return -ENOMEM;
		for (size_t i = 0; i < queue->n; i++)
			v[i] = queue->v[(queue->first + i) % queue->cap];
		free(queue->v);
		queue->v = v;
		queue->cap = cap;
		queue->first = 0;
	}
	queue->v[(queue->first + queue->n++) % queue->cap] = (struct lp_tail_queued){ block, due_ms };
	block->refs++;
	queue->bytes += block->len;
	queue->entries += block->entries;
	return 0;
}

/* The first block, with its reference. */
static struct lp_tail_block *queue_take(struct lp_tail_queue *queue)
{
	struct lp_tail_block *block = queue->v[queue->first].block;

	queue->first = (queue->first + 1) % queue->cap;
	queue->n--;
	queue->bytes -= block->len;
	queue->entries -= block->entries;
	return block;
}

static void queue_free(struct lp_tail_queue *queue)
{
	while (queue->n)
		lp_tail_block_unref(queue_take(queue));
	free(queue->v);
	*queue = (struct lp_tail_queue){ 0 };
}

/* ---- life ------------------------------------------------------------------------------------------ */

void lp_tail_client_unref(struct lp_tail_client *client)
{
	if (--client->refs)
		return;
	free(client->said);
	free(client->said_query);
	lp_buf_free(&client->lost_json);
	lp_buf_free(&client->control);
	lp_buf_free(&client->control_inflight);
	lp_ws_free(&client->ws);
	free(client);
}

static void inflight_done(struct lp_tail_client *client)
{
	for (unsigned i = 0; i < client->n_inflight; i++)
		lp_tail_block_unref(client->inflight[i]);
	client->n_inflight = 0;
	lp_buf_reset(&client->control_inflight);
	client->writing = false;
}

/* The end of the connection: everything that it holds is given back. */
static void end(struct lp_tail_client *client)
{
	struct lp_tails *tails = client->tails;

	lp_tail_history_abandon(client);
	lp_tail_client_leave(client);
	queue_free(&client->past);
	queue_free(&client->live);
	inflight_done(client);
	h2o_linklist_unlink(&client->link);
	tails->n_clients--;
	lp_stat_set(tails->worker->stat, LP_STAT_STREAM_CLIENTS, tails->n_clients);
	if (client->traced.trace.sampled)
		lp_tracing_tail(tails->worker, &client->traced, client->original ? "/stream" : "/loki/api/v1/tail");
	lp_tail_client_unref(client);
}

void lp_tail_client_cut(struct lp_tail_client *client)
{
	h2o_socket_t *sock = client->sock;

	if (!sock)
		return;
	client->sock = NULL;
	/* A TLS goodbye to a peer that reads nothing would linger. */
	shutdown(h2o_socket_get_fd(sock), SHUT_RDWR);
	h2o_socket_close(sock);
	end(client);
}

void lp_tail_client_close(struct lp_tail_client *client, unsigned code, const char *reason)
{
	if (!client->sock || client->closing)
		return;
	client->closing = true;
	client->traced.error = code == LP_WS_INTERNAL || code == LP_WS_TRY_LATER;
	client->close_by_ms = lp_clock_mono_ms() + CLOSE_MS;
	lp_ws_write_close(&client->control, code, reason);
	lp_tail_history_abandon(client);
	lp_tail_client_leave(client);
	queue_free(&client->past);
	queue_free(&client->live);
	lp_worker_hurry(client->tails->worker);
	h2o_socket_read_start(client->sock, on_read);   /* for the client's close frame */
	lp_tail_client_pump(client);
}

/* ---- writing --------------------------------------------------------------------------------------- */

static void on_written(h2o_socket_t *sock, const char *err)
{
	struct lp_tail_client *client = sock->data;

	inflight_done(client);
	if (err) {
		lp_tail_client_cut(client);
		return;
	}
	client->refs++;
	lp_tail_history_pull(client);
	lp_tail_client_pump(client);
	if (client->hang_up && !client->writing)
		lp_tail_client_cut(client);
	listen_again(client);
	lp_tail_client_unref(client);
}

static unsigned gather(struct lp_tail_client *client, h2o_iovec_t *bufs, int64_t now_ns)
{
	struct lp_stat_row *stat = client->tails->worker->stat;
	uint64_t entries = 0;
	size_t bytes = 0;
	unsigned n = 0;

	if (client->control.len) {
		struct lp_buf free_one = client->control_inflight;

		client->control_inflight = client->control;
		client->control = free_one;
		bufs[n++] = h2o_iovec_init(client->control_inflight.data, client->control_inflight.len);
	}
	while (client->n_inflight < LP_TAIL_GATHER && bytes < GATHER_BYTES) {
		struct lp_tail_queue *queue = &client->past;

		if (!queue->n && !client->history && (!client->history_wanted || client->history_over))
			queue = &client->live;
		if (!queue->n || queue->v[queue->first].due_ms > now_ns / LP_NS_PER_MS)
			break;
		struct lp_tail_block *block = queue_take(queue);

		if (block == client->announced)
			client->announced = NULL;
		client->inflight[client->n_inflight++] = block;
		bufs[n++] = h2o_iovec_init(block->data, block->len);
		bytes += block->len;
		entries += block->entries;
		if (block->made_ns && !client->delay_ms)
			lp_stat_observe_us(stat, LP_STAT_BROADCAST_SECONDS, (uint64_t)(now_ns - block->made_ns) / 1000);
	}
	client->traced.sent += entries;
	lp_stat_add(stat, LP_STAT_BROADCASTED_LINES, entries);
	return n;
}

/* What the client lost, as a message of its API, behind what is queued. */
static void tell_lost(struct lp_tail_client *client)
{
	struct lp_buf text = LP_BUF_INIT;

	if (client->original)
		lp_buf_printf(&text, "{\"type\":\"dropped\",\"count\":%llu}", (unsigned long long)client->lost);
	else
		lp_buf_printf(&text, "{\"streams\":[],\"dropped_entries\":[%s],\"dropped_total\":%llu}",
			      client->lost_json.len ? lp_buf_cstr(&client->lost_json) : "", (unsigned long long)client->lost);
	struct lp_tail_block *block = text.failed ? NULL : lp_tail_block_text(client->tails, text.data, text.len, 0);

	if (block && lp_tail_queue_put(&client->live, block, 0) == 0) {
		client->lost = 0;
		client->lost_named = 0;
		lp_buf_free(&client->lost_json);
	}
	if (block)
		lp_tail_block_unref(block);
	lp_buf_free(&text);
}

void lp_tail_client_pump(struct lp_tail_client *client)
{
	h2o_iovec_t bufs[LP_TAIL_GATHER + 1];
	int64_t now_ns = lp_clock_mono_ns();
	unsigned n;

	if (!client->sock || client->writing)
		return;
	if (client->lost && !client->live.n && !client->closing)
		tell_lost(client);
	if (client->control.failed) {
		lp_tail_client_cut(client);
		return;
	}
	n = gather(client, bufs, now_ns);
	if (!n)
		return;
	client->writing = true;
	client->write_since_ms = client->progress_ms = now_ns / LP_NS_PER_MS;
	h2o_socket_write(client->sock, bufs, n, on_written);
}

void lp_tail_client_say(struct lp_tail_client *client, const void *text, size_t len)
{
	if (client->closing)
		return;
	lp_ws_write(&client->control, LP_WS_TEXT, text, len);
	lp_tail_client_pump(client);
}

int lp_tail_client_say_behind(struct lp_tail_client *client, const void *text, size_t len)
{
	struct lp_tail_block *block = lp_tail_block_text(client->tails, text, len, 0);
	int r = block ? lp_tail_queue_put(&client->live, block, 0) : -ENOMEM;

	if (block)
		lp_tail_block_unref(block);
	if (r == 0)
		client->announced = block;
	return r;
}

/* ---- lines ----------------------------------------------------------------------------------------- */

static void name_lost(struct lp_tail_client *client, const struct lp_tail_block *block)
{
	for (uint32_t i = 0; i < block->n_index; i++) {
		const struct lp_tail_entry *e = &block->index[i];
		char ts[LP_RFC3339_MAX];

		if (client->lost_named >= LOST_NAMED_MAX || client->lost_json.len > LOST_JSON_MAX)
			return;
		lp_buf_str(&client->lost_json, client->lost_named++ ? ",{\"labels\":" : "{\"labels\":");
		lp_buf_append(&client->lost_json, block->data + e->labels_off, e->labels_len);
		lp_buf_str(&client->lost_json, ",\"timestamp\":");
		lp_jsonw_str(&client->lost_json, ts, lp_rfc3339_format(ts, e->ts));
		lp_buf_byte(&client->lost_json, '}');
	}
}

void lp_tail_client_lost(struct lp_tail_client *client, const struct lp_tail_block *block, uint64_t entries)
{
	client->lost += entries;
	client->traced.dropped += entries;
	lp_stat_add(client->tails->worker->stat, LP_STAT_DROPPED_BROADCASTS, entries);
	if (block && !client->original)
		name_lost(client, block);
	/* A text with a hole in it is no JSON: the number stays. */
	if (client->lost_json.failed)
		lp_buf_free(&client->lost_json);
}

static bool has_room(const struct lp_tail_client *client, const struct lp_tail_block *block)
{
	const struct lp_conf *conf = lp_worker_conf(client->tails->worker);
	const struct lp_tail_queue *queue = &client->live;

	/* One block always passes to a client that has taken all before, however large a single line is, and however much others hold. */
	if (!queue->n && !client->n_inflight)
		return true;
	if (atomic_load(&client->tails->block_bytes) > (size_t)conf->streaming.max_memory)
		return false;
	return !queue->n || (queue->entries + block->entries <= (uint64_t)conf->streaming.broadcast_buffer_size &&
			     queue->bytes + block->len <= QUEUE_BYTES);
}

void lp_tail_client_deliver(struct lp_tail_client *client, struct lp_tail_block *block)
{
	if (!client->sock || client->closing)
		return;
	if (client->lost && has_room(client, block))
		tell_lost(client);
	if (!has_room(client, block) ||
	    lp_tail_queue_put(&client->live, block, client->delay_ms ? lp_clock_mono_ms() + client->delay_ms : 0) < 0)
		lp_tail_client_lost(client, block, block->entries);
	else if (client->delay_ms)
		lp_worker_hurry(client->tails->worker);
}

/* ---- what the client says -------------------------------------------------------------------------- */

static void say_error(struct lp_tail_client *client, const char *code, struct lp_buf *error)
{
	struct lp_buf text = LP_BUF_INIT;

	lp_buf_str(&text, "{\"type\":\"error\",\"error\":");
	lp_jsonw_str(&text, error->data, error->len);
	lp_buf_printf(&text, ",\"code\":\"%s\"}", code);
	if (text.failed)
		lp_tail_client_close(client, LP_WS_INTERNAL, "out of memory");
	else
		lp_tail_client_say(client, text.data, text.len);
	lp_buf_free(&text);
}

int lp_tail_client_remember(struct lp_tail_client *client, const struct lp_tail_wish *wish)
{
	struct lp_buf filters = LP_BUF_INIT, query = LP_BUF_INIT;

	lp_tail_wish_filters_json(wish, &filters);
	lp_buf_byte(&filters, '\0');
	if (wish->query_len) {
		lp_jsonw_str(&query, wish->query, wish->query_len);
		lp_buf_byte(&query, '\0');
	}
	if (filters.failed || query.failed) {
		lp_buf_free(&filters);
		lp_buf_free(&query);
		return -ENOMEM;
	}
	free(client->said);
	free(client->said_query);
	client->said = (char *)filters.data;
	client->said_query = (char *)query.data;
	return 0;
}

static void on_text(struct lp_tail_client *client, const struct lp_ws_event *event)
{
	size_t max = (size_t)lp_worker_conf(client->tails->worker)->limits.max_query_text;
	struct lp_arena arena = { 0 };
	struct lp_buf error = LP_BUF_INIT, text = LP_BUF_INIT;
	const struct lp_tail_group *group = client->group;
	const char *code = "INVALID_JSON";
	struct lp_tail_wish wish;
	int r;

	if (!client->original || !group)
		return;                 /* Loki's clients have nothing to say, and are not listened to */
	r = lp_tail_message_parse(event->data, event->len, &arena, &wish, &error);
	if (r == 0) {
		code = "BAD_QUERY";
		lp_tail_wish_text(&wish, &text);
		if (text.len > max) {
			lp_buf_printf(&error, "the query is too long: more than %zu bytes (limits.max_query_text)", max);
			r = -EINVAL;
		}
	}
	if (r == 0 && text.failed)
		r = -ENOMEM;
	if (r == 0) {
		client->asked = true;
		client->history_wanted = false;
		r = lp_tail_client_ask(client, (const char *)text.data, text.len, h2o_iovec_init(group->tenant, group->tenant_len),
				       group->tenants, false, &error);
	}
	if (r < 0)
		client->asked = false;
	else
		r = lp_tail_client_remember(client, &wish);
	if (r == -EINVAL)
		say_error(client, code, &error);
	else if (r < 0)
		lp_tail_client_close(client, LP_WS_INTERNAL, "out of memory");
	lp_buf_free(&error);
	lp_buf_free(&text);
	lp_arena_free(&arena);
}

/* The client said goodbye, or answered ours: say it back if it was first, and hang up when that is written. */
static void on_close_frame(struct lp_tail_client *client, const struct lp_ws_event *event)
{
	if (client->closing) {
		lp_tail_client_cut(client);
		return;
	}
	client->hang_up = true;
	lp_tail_client_close(client, event->code == LP_WS_NO_STATUS ? LP_WS_NORMAL : event->code, "");
}

static void on_event(struct lp_tail_client *client, const struct lp_ws_event *event)
{
	switch (event->opcode) {
	case LP_WS_TEXT:
		if (!client->closing)
			on_text(client, event);
		break;
	case LP_WS_BINARY:
		lp_tail_client_close(client, LP_WS_UNSUPPORTED, "text messages only");
		break;
	case LP_WS_PING:
		if (!client->closing) {
			lp_ws_write(&client->control, LP_WS_PONG, event->data, event->len);
			lp_tail_client_pump(client);
		}
		break;
	case LP_WS_CLOSE:
		on_close_frame(client, event);
		break;
	default:
		break;                  /* a pong: it was heard */
	}
}

/* What it says next has to wait until what it asked for before has taken effect, and the answers have been taken. */
static bool must_wait(const struct lp_tail_client *client)
{
	if (client->closing)
		return false;
	return client->control.len > SAID_BYTES || (client->original && (!client->group || client->asked || client->announced));
}

/* Frames that have arrived.  The caller holds a reference: the client may come to its end here. */
static void take_frames(struct lp_tail_client *client)
{
	while (client->sock && !must_wait(client)) {
		h2o_buffer_t **input = &client->sock->input;
		struct lp_ws_event event;
		size_t used;
		int r = lp_ws_next(&client->ws, (const uint8_t *)(*input)->bytes, (*input)->size, &used, &event);

		if (r < 0) {
			/* What follows cannot be told apart any more: nothing of it is looked at. */
			client->deaf = true;
			lp_tail_client_close(client, (unsigned)-r, "");
		}
		if (client->deaf && client->sock)
			h2o_buffer_consume(&client->sock->input, client->sock->input->size);
		if (client->deaf || (r == 0 && !used))
			return;
		/* The event's bytes are the parser's own copy. */
		h2o_buffer_consume(input, used);
		if (r > 0)
			on_event(client, &event);
	}
	if (client->sock)
		h2o_socket_read_stop(client->sock);     /* until listen_again() */
}

static void on_read(h2o_socket_t *sock, const char *err)
{
	struct lp_tail_client *client = sock->data;

	if (err) {
		lp_tail_client_cut(client);
		return;
	}
	client->unanswered_ms = 0;
	client->refs++;
	take_frames(client);
	lp_tail_client_unref(client);
}

/* Go on with what has arrived, if nothing has to be waited for any more.  The caller holds a reference. */
static void listen_again(struct lp_tail_client *client)
{
	if (!client->sock || client->closing || must_wait(client) || h2o_socket_is_reading(client->sock))
		return;
	client->unanswered_ms = 0;
	h2o_socket_read_start(client->sock, on_read);
	take_frames(client);
}

void lp_tail_client_joined(struct lp_tail_client *client)
{
	client->asked = false;
	listen_again(client);
}

/* ---- time ------------------------------------------------------------------------------------------ */

/* Who takes slowly what is written takes it; and a ping that lies behind it in the kernel's queue has not arrived. */
static void look_for_progress(struct lp_tail_client *client, int64_t now_ms)
{
	bool pending;

	if ((!client->writing && !client->unanswered_ms) || now_ms - client->progress_ms < PROGRESS_MS)
		return;
	uint64_t n = lp_sweep_acknowledged(client->sock, &pending);

	if (n == client->acknowledged)
		return;
	client->acknowledged = n;
	client->progress_ms = now_ms;
	if (pending && client->unanswered_ms)
		client->unanswered_ms = now_ms;
}

void lp_tail_client_tick(struct lp_tail_client *client, int64_t now_ms)
{
	const struct lp_conf *conf = lp_worker_conf(client->tails->worker);

	if (!client->sock)
		return;
	look_for_progress(client, now_ms);
	if ((client->closing && now_ms >= client->close_by_ms) ||
	    (client->writing && now_ms - client->progress_ms >= conf->streaming.client_timeout) ||
	    (client->unanswered_ms && !must_wait(client) && now_ms - client->unanswered_ms >= conf->streaming.client_timeout)) {
		if (!client->closing)
			lp_stat_add(client->tails->worker->stat, LP_STAT_HTTP_CONNECTIONS_CUT, 1);
		lp_tail_client_cut(client);
		return;
	}
	if (!client->closing && now_ms - client->pinged_ms >= conf->streaming.ping_interval) {
		client->pinged_ms = now_ms;
		/* While an earlier ping is not even written another one says nothing new. */
		if (!client->control.len)
			lp_ws_write(&client->control, LP_WS_PING, NULL, 0);
		if (!client->unanswered_ms)
			client->unanswered_ms = now_ms;
	}
	lp_tail_client_pump(client);
}

/* ---- the upgrade ----------------------------------------------------------------------------------- */

static void on_upgraded(void *data, h2o_socket_t *sock, size_t head_bytes)
{
	struct lp_tail_client *client = data;

	if (!sock) {
		end(client);
		return;
	}
	client->sock = sock;
	sock->data = client;
	h2o_buffer_consume(&sock->input, head_bytes);
	client->pinged_ms = lp_clock_mono_ms();
	client->refs++;
	h2o_socket_read_start(sock, on_read);
	if (client->tails->worker->draining)
		lp_tail_client_close(client, LP_WS_GOING_AWAY, "the server is shutting down");
	else if (client->refusal)
		lp_tail_client_close(client, LP_WS_INTERNAL, client->refusal);
	else
		lp_tail_client_upgraded(client);
	take_frames(client);
	lp_tail_client_unref(client);
}

void lp_tail_client_upgrade(struct lp_tail_client *client, h2o_req_t *req, const char *accept)
{
	struct lp_tails *tails = client->tails;
	const struct lp_trace *trace = tails->worker->sampler.on ? lp_request_trace(req) : NULL;

	client->refs = 1;
	if (trace)
		client->traced.trace = *trace;
	client->traced.started_ns = lp_clock_mono_ns();
	h2o_linklist_insert(&tails->clients, &client->link);
	tails->n_clients++;
	lp_stat_set(tails->worker->stat, LP_STAT_STREAM_CLIENTS, tails->n_clients);
	req->res.status = 101;
	req->res.reason = "Switching Protocols";
	lp_header(req, "upgrade", "websocket");
	lp_header(req, "sec-websocket-accept", h2o_strdup(&req->pool, accept, SIZE_MAX).base);
	h2o_http1_upgrade(req, NULL, 0, on_upgraded, client);
}
