/* Live tails of one worker: groups of clients that ask the same, and what comes for them.
 *
 *   tail thread (query/tailhub.h):  rows -> messages -> blocks of WebSocket frames -> inbox
 *   event loop:                     inbox -> one reference per client of the group -> one write of what is queued
 *
 * Guarantees: a committed line is sent to every client that asked for it, or the client is told how many it lost; a client's
 * queue is bounded by streaming.broadcast_buffer_size lines and QUEUE_BYTES, all blocks together by streaming.max_memory; who is
 * slow loses its own lines only, and one that takes nothing of its history makes way for those who wait for theirs.
 * Process: worker.  If it dies here, clients connect again and ask from their last timestamp on. */
#include "http/tail-private.h"

#include "common/clock.h"
#include "common/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define HUB_NICE 5
#define BLOCK_BYTES (64u << 10)         /* messages are put together up to this size */
#define PACE_MS 10                      /* between rounds; larger with many clients, see below */
#define HISTORIES_AT_ONCE 4u
#define HISTORY_STALL_MS 10000          /* of a client that takes nothing of its own, while others wait for theirs */

/* ---- blocks ---------------------------------------------------------------------------------------- */

static struct lp_tail_block *block_new(struct lp_tails *tails, size_t bytes)
{
	struct lp_tail_block *block = malloc(sizeof *block + bytes);

	if (!block)
		return NULL;
	*block = (struct lp_tail_block){ .tails = tails, .refs = 1 };
	return block;
}

static void put_frame(struct lp_tail_block *block, const uint8_t *text, size_t len)
{
	block->len += lp_ws_head(block->data + block->len, LP_WS_TEXT, len);
	memcpy(block->data + block->len, text, len);
	block->len += len;
}

struct lp_tail_block *lp_tail_block_text(struct lp_tails *tails, const void *text, size_t len, uint32_t entries)
{
	struct lp_tail_block *block = block_new(tails, len + LP_WS_HEAD_MAX);

	if (!block)
		return NULL;
	put_frame(block, text, len);
	block->entries = entries;
	atomic_fetch_add(&tails->block_bytes, block->len);
	return block;
}

/* Entries of [begin, end) of the text are in the block from `at` on. */
static void index_message(struct lp_tail_block *block, const struct lp_tail_frames *frames, size_t *entry, size_t begin, size_t end, size_t at)
{
	for (; *entry < frames->n_entries && frames->entries[*entry].labels_off < end; ++*entry) {
		struct lp_tail_entry e = frames->entries[*entry];

		if (e.labels_off < begin)
			continue;
		e.labels_off = (uint32_t)(e.labels_off - begin + at);
		block->index[block->n_index++] = e;
	}
}

struct lp_tail_block *lp_tail_block_make(struct lp_tails *tails, const struct lp_tail_frames *frames, size_t first, size_t n)
{
	size_t begin = first ? frames->messages[first - 1].end : 0, entry = 0, entries = 0;
	size_t bytes = frames->messages[first + n - 1].end - begin;
	struct lp_tail_block *block = block_new(tails, bytes + n * LP_WS_HEAD_MAX);

	for (size_t i = first; i < first + n; i++)
		entries += frames->messages[i].entries;
	if (block && frames->n_entries) {
		block->index = malloc(entries * sizeof *block->index);
		if (!block->index) {
			free(block);
			return NULL;
		}
	}
	if (!block)
		return NULL;
	for (size_t i = first; i < first + n; i++) {
		size_t end = frames->messages[i].end;

		put_frame(block, frames->text.data + begin, end - begin);
		if (block->index)
			index_message(block, frames, &entry, begin, end, block->len - (end - begin));
		begin = end;
	}
	block->entries = (uint32_t)entries;
	block->made_ns = lp_clock_mono_ns();
	atomic_fetch_add(&tails->block_bytes, block->len);
	return block;
}

void lp_tail_block_unref(struct lp_tail_block *block)
{
	if (--block->refs)
		return;
	atomic_fetch_sub(&block->tails->block_bytes, block->len);
	free(block->index);
	free(block);
}

/* ---- inbox ----------------------------------------------------------------------------------------- */

void lp_tails_post(struct lp_tails *tails, const struct lp_tail_event *what, size_t bytes)
{
	struct lp_tail_event *event = malloc(sizeof *event);
	bool wake;

	/* Without these few bytes a join would never be answered and a client's life never end. */
	if (!event)
		abort();
	*event = *what;
	event->next = NULL;
	pthread_mutex_lock(&tails->lock);
	*tails->last = event;
	tails->last = &event->next;
	tails->waiting_bytes += bytes;
	wake = !tails->woken;
	tails->woken = true;
	if (wake)
		h2o_multithread_send_message(&tails->receiver, &tails->wake);
	pthread_mutex_unlock(&tails->lock);
}

static struct lp_tail_event *take_inbox(struct lp_tails *tails)
{
	struct lp_tail_event *first;

	pthread_mutex_lock(&tails->lock);
	first = tails->first;
	tails->first = NULL;
	tails->last = &tails->first;
	tails->waiting_bytes = 0;
	pthread_mutex_unlock(&tails->lock);
	return first;
}

/* ---- events of the hub: its thread ----------------------------------------------------------------- */

static size_t hub_waiting(void *ctx)
{
	struct lp_tails *tails = ctx;

	pthread_mutex_lock(&tails->lock);
	size_t bytes = tails->waiting_bytes;

	pthread_mutex_unlock(&tails->lock);
	return bytes;
}

static size_t hub_frames(void *ctx, void *group, const struct lp_tail_frames *frames)
{
	struct lp_tails *tails = ctx;

	for (size_t first = 0, n; first < frames->n_messages; first += n) {
		size_t begin = first ? frames->messages[first - 1].end : 0;

		for (n = 1; first + n < frames->n_messages && frames->messages[first + n].end - begin <= BLOCK_BYTES; n++)
			;
		struct lp_tail_block *block = lp_tail_block_make(tails, frames, first, n);
		struct lp_tail_event event = { .kind = LP_TAIL_BLOCK, .group = group, .block = block };

		if (!block) {
			event.kind = LP_TAIL_LOST;
			for (size_t i = first; i < first + n; i++)
				event.lost += frames->messages[i].entries;
		}
		lp_tails_post(tails, &event, block ? block->len : 0);
	}
	return hub_waiting(tails);
}

static void hub_joined(void *ctx, void *group, void *client, struct lp_snapshot *snapshot, int error)
{
	lp_tails_post(ctx, &(struct lp_tail_event){ .kind = LP_TAIL_JOINED, .group = group, .client = client, .snapshot = snapshot,
						    .error = error }, 0);
}

static void hub_removed(void *ctx, void *group)
{
	lp_tails_post(ctx, &(struct lp_tail_event){ .kind = LP_TAIL_REMOVED, .group = group }, 0);
}

static void hub_lost(void *ctx, uint64_t entries)
{
	lp_tails_post(ctx, &(struct lp_tail_event){ .kind = LP_TAIL_LOST, .lost = entries }, 0);
}

/* ---- groups ---------------------------------------------------------------------------------------- */

static void group_free(struct lp_tail_group *group)
{
	free(group->tenant);
	free(group->text);
	free(group);
}

static struct lp_tail_group *group_find(struct lp_tails *tails, const struct lp_tail_spec *spec)
{
	for (h2o_linklist_t *node = tails->groups.next; node != &tails->groups; node = node->next) {
		struct lp_tail_group *g = H2O_STRUCT_FROM_MEMBER(struct lp_tail_group, link, node);

		if (!g->stale && g->original == spec->original && g->tenants == spec->tenants && g->categorize == spec->categorize && g->text_len == spec->text_len &&
		    g->tenant_len == spec->tenant_len && memcmp(g->text, spec->text, spec->text_len) == 0 &&
		    memcmp(g->tenant, spec->tenant, spec->tenant_len) == 0)
			return g;
	}
	return NULL;
}

static struct lp_tail_group *group_new(const struct lp_tail_spec *spec)
{
	struct lp_tail_group *group = calloc(1, sizeof *group);

	if (!group)
		return NULL;
	group->tenant = strndup(spec->tenant, spec->tenant_len);
	group->text = malloc(spec->text_len + 1);
	if (!group->tenant || !group->text) {
		group_free(group);
		return NULL;
	}
	memcpy(group->text, spec->text, spec->text_len);
	group->text[spec->text_len] = '\0';
	group->text_len = spec->text_len;
	group->tenant_len = spec->tenant_len;
	group->original = spec->original;
	group->categorize = spec->categorize;
	group->tenants = spec->tenants;
	h2o_linklist_init_anchor(&group->clients);
	return group;
}

static int open_hub(struct lp_tails *tails)
{
	struct lp_worker *worker = tails->worker;
	struct lp_tailhub_config config = {
		.catalog = worker->query.catalog,
		.region = worker->proc->region,
		.slot = worker->proc->slot,
		.nice = HUB_NICE,
		.events = { hub_frames, hub_waiting, hub_joined, hub_removed, hub_lost, tails },
	};
	int r;

	if (tails->hub)
		return 0;
	r = lp_tailhub_open(&config, &tails->hub);
	if (r < 0)
		lp_log(LP_ERROR, "live tail cannot start error=%s", strerror(-r));
	return r;
}

static int group_get(struct lp_tails *tails, const struct lp_tail_spec *spec, struct lp_tail_group **ret_group, struct lp_buf *error)
{
	struct lp_tail_group *group = group_find(tails, spec);
	struct lp_tail *tail;
	int r;

	if (!group) {
		r = open_hub(tails);
		if (r == 0)
			r = lp_tail_open(spec, &tail, error);
		if (r < 0)
			return r == -EOPNOTSUPP ? -EINVAL : r;
		group = group_new(spec);
		if (!group || lp_tailhub_add(tails->hub, tail, group) < 0) {
			lp_tail_close(&tail);
			if (group)
				group_free(group);
			return -ENOMEM;
		}
		h2o_linklist_insert(&tails->groups, &group->link);
	}
	group->users++;
	*ret_group = group;
	return 0;
}

static void group_put(struct lp_tails *tails, struct lp_tail_group *group)
{
	if (--group->users)
		return;
	/* Without memory for the command it stays for the next client that asks the same. */
	if (tails->hub && lp_tailhub_remove(tails->hub, group) == 0)
		h2o_linklist_unlink(&group->link);
}

/* ---- joining --------------------------------------------------------------------------------------- */

void lp_tail_client_leave(struct lp_tail_client *client)
{
	struct lp_tail_group *group = client->group, *joining = client->joining, *wanted = client->wanted;

	client->group = client->joining = client->wanted = NULL;
	if (group) {
		h2o_linklist_unlink(&client->group_link);
		group_put(client->tails, group);
	}
	if (joining)
		group_put(client->tails, joining);
	if (wanted)
		group_put(client->tails, wanted);
}

/* The group is the client's `joining` from here on, or, when nothing can be done, the client ends. */
static void join(struct lp_tail_client *client, struct lp_tail_group *group)
{
	client->joining = group;
	client->refs++;
	if (lp_tailhub_join(client->tails->hub, group, client, client->history_wanted) == 0)
		return;
	client->refs--;
	lp_tail_client_close(client, LP_WS_INTERNAL, "out of memory");
}

void lp_tail_client_slot_put(struct lp_tail_client *client)
{
	client->tails->histories -= client->slot;
	client->slot = false;
}

static bool waits(const struct lp_tail_client *client)
{
	return client->wanted && client->sock && !client->closing;
}

/* The turn of those who wait for a history may have come. */
static void start_waiting(struct lp_tails *tails)
{
	for (h2o_linklist_t *node = tails->clients.next; node != &tails->clients && tails->histories < HISTORIES_AT_ONCE; node = node->next) {
		struct lp_tail_client *client = H2O_STRUCT_FROM_MEMBER(struct lp_tail_client, link, node);
		struct lp_tail_group *group = client->wanted;

		if (!waits(client))
			continue;
		client->wanted = NULL;
		client->slot = true;
		tails->histories++;
		join(client, group);
	}
}

void lp_tail_client_upgraded(struct lp_tail_client *client)
{
	struct lp_tail_group *group = client->wanted;

	if (client->history_wanted) {
		start_waiting(client->tails);
	} else {
		client->wanted = NULL;
		join(client, group);
	}
}

int lp_tail_client_ask(struct lp_tail_client *client, const char *text, size_t text_len, h2o_iovec_t tenant, bool tenants,
		       bool categorize, struct lp_buf *error)
{
	struct lp_discover_spec discover = lp_discover_spec_of(lp_worker_conf(client->tails->worker));
	struct lp_tail_spec spec = { .text = text ? text : "", .text_len = text_len, .tenant = tenant.base, .tenant_len = tenant.len,
				     .tenants = tenants, .discover = client->original ? NULL : &discover,
				     .original = client->original, .categorize = categorize };
	struct lp_tail_group *group;
	int r = group_get(client->tails, &spec, &group, error);

	if (r < 0)
		return r;
	/* Histories cost a query each: a few at a time, in the order of the clients. */
	if (!client->sock || client->history_wanted)
		client->wanted = group;
	else
		join(client, group);
	return 0;
}

static void say_joined(struct lp_tail_client *client)
{
	struct lp_buf text = LP_BUF_INIT;

	if (!client->original)
		return;
	lp_buf_str(&text, client->asked ? "{\"type\":\"filter_updated\"" :
					  "{\"type\":\"connected\",\"message\":\"Connected to log stream\"");
	lp_buf_printf(&text, ",\"filter\":%s", client->said ? client->said : "{}");
	if (client->said_query)
		lp_buf_printf(&text, ",\"query\":%s", client->said_query);
	lp_buf_byte(&text, '}');
	/* Lines of the filter before are still queued: the client must not take them for the new one's. */
	if (text.failed || (client->asked && lp_tail_client_say_behind(client, text.data, text.len) < 0))
		lp_tail_client_close(client, LP_WS_INTERNAL, "out of memory");
	else if (client->asked)
		lp_tail_client_pump(client);
	else
		lp_tail_client_say(client, text.data, text.len);
	lp_buf_free(&text);
}

static void on_joined(struct lp_tails *tails, struct lp_tail_event *event)
{
	struct lp_tail_client *client = event->client;
	struct lp_tail_group *group = event->group;
	int r = 0;

	if (client->joining != group || !client->sock || client->closing || event->error < 0) {
		lp_snapshot_release(&event->snapshot);
		lp_tail_client_slot_put(client);
		if (event->error < 0 && client->sock)
			lp_tail_client_close(client, LP_WS_TRY_LATER, "the log cannot be followed now");
		lp_tail_client_unref(client);
		return;
	}
	if (client->history_wanted)
		r = lp_tail_history_start(client, event->snapshot);
	if (r == -EBUSY) {
		lp_tail_client_slot_put(client);        /* again at the next tick */
		client->joining = NULL;
		client->wanted = group;
		lp_tail_client_unref(client);
		return;
	}
	client->joining = NULL;
	if (client->group) {
		h2o_linklist_unlink(&client->group_link);
		group_put(tails, client->group);
	}
	client->group = group;
	h2o_linklist_insert(&group->clients, &client->group_link);
	if (r < 0) {
		lp_tail_client_close(client, LP_WS_INTERNAL, "out of memory");
	} else {
		say_joined(client);
		lp_tail_client_joined(client);
	}
	lp_tail_client_unref(client);
}

/* ---- the loop's side ------------------------------------------------------------------------------- */

static void deliver(struct lp_tail_group *group, struct lp_tail_block *block)
{
	h2o_linklist_t *node, *next;

	for (node = group->clients.next; node != &group->clients; node = next) {
		next = node->next;
		lp_tail_client_deliver(H2O_STRUCT_FROM_MEMBER(struct lp_tail_client, group_link, node), block);
	}
	lp_tail_block_unref(block);
}

static void lost_for_all(struct lp_tails *tails, uint64_t entries)
{
	h2o_linklist_t *node, *next;

	for (node = tails->clients.next; node != &tails->clients; node = next) {
		struct lp_tail_client *client = H2O_STRUCT_FROM_MEMBER(struct lp_tail_client, link, node);

		next = node->next;
		if (client->group)
			lp_tail_client_lost(client, NULL, entries);
	}
}

static void handle(struct lp_tails *tails, struct lp_tail_event *event)
{
	switch (event->kind) {
	case LP_TAIL_BLOCK:
		deliver(event->group, event->block);
		break;
	case LP_TAIL_JOINED:
		on_joined(tails, event);
		break;
	case LP_TAIL_REMOVED:
		group_free(event->group);
		break;
	case LP_TAIL_LOST:
		lost_for_all(tails, event->lost);
		break;
	case LP_TAIL_HISTORY:
		lp_tail_history_event(event->history);
		break;
	}
}

static void empty_inbox(struct lp_tails *tails)
{
	struct lp_tail_event *event = take_inbox(tails), *next;

	for (; event; event = next) {
		next = event->next;
		handle(tails, event);
		free(event);
	}
}

static void pump_all(struct lp_tails *tails)
{
	h2o_linklist_t *node, *next;

	for (node = tails->clients.next; node != &tails->clients; node = next) {
		next = node->next;
		lp_tail_client_pump(H2O_STRUCT_FROM_MEMBER(struct lp_tail_client, link, node));
	}
}

static void on_wake(h2o_multithread_receiver_t *receiver, h2o_linklist_t *messages)
{
	struct lp_tails *tails = H2O_STRUCT_FROM_MEMBER(struct lp_tails, receiver, receiver);

	while (!h2o_linklist_is_empty(messages))
		h2o_linklist_unlink(messages->next);
	pthread_mutex_lock(&tails->lock);
	tails->woken = false;
	pthread_mutex_unlock(&tails->lock);
	empty_inbox(tails);
	pump_all(tails);
	start_waiting(tails);
}

/* Who asks for a history and does not read it keeps its place among the histories from those who would. */
static void cut_stalled(struct lp_tails *tails, int64_t now_ms)
{
	bool waiting = false;
	h2o_linklist_t *node, *next;

	for (node = tails->clients.next; node != &tails->clients && !waiting; node = node->next)
		waiting = waits(H2O_STRUCT_FROM_MEMBER(struct lp_tail_client, link, node));
	for (node = tails->clients.next; waiting && node != &tails->clients; node = next) {
		struct lp_tail_client *client = H2O_STRUCT_FROM_MEMBER(struct lp_tail_client, link, node);

		next = node->next;
		if (client->slot && client->writing && now_ms - client->write_since_ms >= HISTORY_STALL_MS) {
			lp_stat_add(tails->worker->stat, LP_STAT_HTTP_CONNECTIONS_CUT, 1);
			lp_tail_client_cut(client);
		}
	}
}

void lp_tails_tick(struct lp_worker *worker, int64_t now_ms)
{
	struct lp_tails *tails = worker->tails;
	h2o_linklist_t *node, *next;
	uint64_t most = 0;

	for (node = tails->clients.next; node != &tails->clients; node = next) {
		const struct lp_tail_client *client = H2O_STRUCT_FROM_MEMBER(struct lp_tail_client, link, node);

		next = node->next;
		most = client->live.entries > most ? client->live.entries : most;
		lp_tail_client_tick(H2O_STRUCT_FROM_MEMBER(struct lp_tail_client, link, node), now_ms);
	}
	lp_stat_set(worker->stat, LP_STAT_STREAM_QUEUE, most);
	if (tails->histories >= HISTORIES_AT_ONCE)
		cut_stalled(tails, now_ms);
	start_waiting(tails);
	/* A thousand clients are written to ten times a second, a few a hundred times. */
	if (tails->hub)
		lp_tailhub_pace(tails->hub, PACE_MS + (uint32_t)(tails->n_clients / 10));
}

static void close_all(struct lp_tails *tails, unsigned code, const char *reason)
{
	h2o_linklist_t *node, *next;

	for (node = tails->clients.next; node != &tails->clients; node = next) {
		next = node->next;
		lp_tail_client_close(H2O_STRUCT_FROM_MEMBER(struct lp_tail_client, link, node), code, reason);
	}
}

void lp_tails_reload(struct lp_worker *worker, bool revoked)
{
	struct lp_tails *tails = worker->tails;

	/* Labels that nobody sent are as the configuration says; a history asks the new one. */
	for (h2o_linklist_t *node = tails->groups.next; node != &tails->groups; node = node->next)
		H2O_STRUCT_FROM_MEMBER(struct lp_tail_group, link, node)->stale = true;
	/* A tail lasts as long as its client likes: longer than the key that opened it. */
	if (revoked)
		close_all(tails, LP_WS_POLICY, "the key has changed");
}

bool lp_tails_pending(const struct lp_worker *worker)
{
	const struct lp_tails *tails = worker->tails;

	for (h2o_linklist_t *node = tails->clients.next; node != &tails->clients; node = node->next) {
		const struct lp_tail_client *client = H2O_STRUCT_FROM_MEMBER(struct lp_tail_client, link, node);

		if (client->wanted || client->closing || (client->delay_ms && client->live.n))
			return true;
	}
	return false;
}

void lp_tails_drain(struct lp_worker *worker)
{
	close_all(worker->tails, LP_WS_GOING_AWAY, "the server is shutting down");
}

int lp_tails_open(struct lp_worker *worker)
{
	struct lp_tails *tails = calloc(1, sizeof *tails);

	if (!tails)
		return -ENOMEM;
	tails->worker = worker;
	tails->last = &tails->first;
	h2o_linklist_init_anchor(&tails->groups);
	h2o_linklist_init_anchor(&tails->clients);
	pthread_mutex_init(&tails->lock, NULL);
	h2o_multithread_register_receiver(worker->ctx.queue, &tails->receiver, on_wake);
	worker->tails = tails;
	lp_stat_set(worker->stat, LP_STAT_STREAM_CLIENTS, 0);
	return 0;
}

void lp_tails_stop(struct lp_worker *worker)
{
	struct lp_tails *tails = worker->tails;
	h2o_linklist_t *node;

	lp_tailhub_close(&tails->hub);
	for (node = tails->clients.next; node != &tails->clients; node = node->next)
		lp_tail_history_abandon(H2O_STRUCT_FROM_MEMBER(struct lp_tail_client, link, node));
	/* Snapshots on their way go back to the catalog. */
	for (struct lp_tail_event *event = take_inbox(tails), *next; event; event = next) {
		next = event->next;
		lp_snapshot_release(&event->snapshot);
		if (event->kind == LP_TAIL_HISTORY)
			lp_tail_history_event(event->history);
		else if (event->kind == LP_TAIL_BLOCK)
			lp_tail_block_unref(event->block);
		else if (event->kind == LP_TAIL_JOINED)
			lp_tail_client_unref(event->client);
		else if (event->kind == LP_TAIL_REMOVED)
			group_free(event->group);
		free(event);
	}
}

void lp_tails_close(struct lp_worker *worker)
{
	struct lp_tails *tails = worker->tails;

	h2o_evloop_run(worker->loop, 0);        /* the last messages */
	empty_inbox(tails);
	while (!h2o_linklist_is_empty(&tails->groups)) {
		struct lp_tail_group *group = H2O_STRUCT_FROM_MEMBER(struct lp_tail_group, link, tails->groups.next);

		h2o_linklist_unlink(&group->link);
		group_free(group);
	}
	h2o_multithread_unregister_receiver(worker->ctx.queue, &tails->receiver);
	pthread_mutex_destroy(&tails->lock);
	free(tails);
	worker->tails = NULL;
}
