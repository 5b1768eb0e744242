/* Live tail inside of the worker: what tail.c (groups, delivery), tailconn.c (connections), tailhistory.c and tailapi.c (routes)
 * share.  Everything belongs to the event loop's thread unless said otherwise. */
#ifndef LP_HTTP_TAIL_PRIVATE_H
#define LP_HTTP_TAIL_PRIVATE_H

#include "http/worker.h"
#include "http/wsframe.h"
#include "query/tailhub.h"

#include <pthread.h>
#include <stdatomic.h>

#define LP_TAIL_GATHER 32               /* blocks in one write */

/* A piece of what is sent: whole WebSocket frames, shared by all clients that get them. */
struct lp_tail_block {
	struct lp_tails *tails;
	unsigned refs;
	int64_t made_ns;                /* monotonic; 0: not of the live part */
	uint32_t entries;
	uint32_t n_index;               /* Loki: entries that can be named when they are dropped */
	struct lp_tail_entry *index;    /* labels_off: in data */
	size_t len;
	uint8_t data[];
};

struct lp_tail_queued {
	struct lp_tail_block *block;
	int64_t due_ms;
};

struct lp_tail_queue {                  /* ring */
	struct lp_tail_queued *v;
	size_t first, n, cap;
	size_t bytes;
	uint64_t entries;
};

/* Clients that ask the same of the same tenant in the same shape. */
struct lp_tail_group {
	h2o_linklist_t link;            /* in lp_tails.groups, until it is being removed */
	h2o_linklist_t clients;         /* joined */
	size_t users;                   /* clients that have it as group or joining */
	bool original, categorize;
	bool tenants;                   /* a list */
	bool stale;                     /* made under a configuration before the last reload: nobody new joins */
	char *tenant, *text;            /* NUL-terminated as well */
	size_t tenant_len, text_len;
};

struct lp_tail_history;

struct lp_tail_client {
	h2o_linklist_t link;            /* in lp_tails.clients */
	h2o_linklist_t group_link;
	struct lp_tails *tails;
	unsigned refs;                  /* connection, join in flight */
	h2o_socket_t *sock;             /* NULL before the upgrade and after the end */
	struct lp_tail_group *group, *joining;
	struct lp_tail_group *wanted;   /* waits for a place among the histories */
	bool original;
	bool asked;                     /* joining because the client asked for another filter */
	const struct lp_tail_block *announced;  /* what says that the filter took effect, while it is queued */
	char *said;                     /* {"name":"value"} of its filter, for messages; original only */
	char *said_query;               /* JSON string, or NULL */
	int64_t delay_ms;
	/* history */
	bool history_wanted, history_over;
	bool slot;                      /* counted in lp_tails.histories */
	struct lp_tail_history *history;
	int64_t start_ns;
	uint32_t limit;
	/* what is to be sent: control first, then history, then live */
	struct lp_buf control, control_inflight;
	struct lp_tail_queue past, live;
	struct lp_tail_block *inflight[LP_TAIL_GATHER];
	unsigned n_inflight;
	bool writing, closing;
	bool hang_up;                   /* it said goodbye: nothing is waited for but the last write */
	const char *refusal;            /* all that it gets: a close frame with this reason */
	bool deaf;                      /* it broke the protocol: nothing more of it is looked at */
	int64_t write_since_ms, close_by_ms;
	int64_t progress_ms;            /* when its kernel was last seen to take something of this write */
	uint64_t acknowledged;
	/* lines that it did not get and has not been told of */
	uint64_t lost;
	struct lp_buf lost_json;        /* Loki: some of them */
	uint32_t lost_named;
	struct lp_tail_trace traced;    /* the counts are kept without tracing as well */
	/* what it says */
	struct lp_ws ws;
	int64_t pinged_ms, unanswered_ms;       /* first ping since it was heard last; 0 none */
};

enum lp_tail_event_kind { LP_TAIL_BLOCK, LP_TAIL_JOINED, LP_TAIL_REMOVED, LP_TAIL_LOST, LP_TAIL_HISTORY };

struct lp_tail_event {                  /* from the tail thread or a query thread to the loop */
	struct lp_tail_event *next;
	enum lp_tail_event_kind kind;
	void *group, *client;
	struct lp_tail_block *block;
	struct lp_snapshot *snapshot;
	struct lp_tail_history *history;
	uint64_t lost;
	int error;
};

struct lp_tails {
	struct lp_worker *worker;
	struct lp_tailhub *hub;         /* NULL: nobody has tailed yet */
	h2o_multithread_receiver_t receiver;
	h2o_linklist_t groups, clients;
	size_t n_clients;
	unsigned histories;             /* running */
	_Atomic size_t block_bytes;     /* of all blocks */
	/* any thread, under lock */
	pthread_mutex_t lock;
	h2o_multithread_message_t wake;
	bool woken;
	struct lp_tail_event *first, **last;
	size_t waiting_bytes;           /* of blocks in the list */
};

/* ---- tail.c ---- */
void lp_tails_post(struct lp_tails *tails, const struct lp_tail_event *event, size_t bytes);    /* any thread */
/* Copy whole messages into one block of frames.  NULL: out of memory. */
struct lp_tail_block *lp_tail_block_make(struct lp_tails *tails, const struct lp_tail_frames *frames, size_t first, size_t n);
struct lp_tail_block *lp_tail_block_text(struct lp_tails *tails, const void *text, size_t len, uint32_t entries);
void lp_tail_block_unref(struct lp_tail_block *block);
struct lp_tail_wish;
/* Keep what it asked for, to be said when it has taken effect.  -ENOMEM. */
int lp_tail_client_remember(struct lp_tail_client *client, const struct lp_tail_wish *wish);
/* Let the client join the group that its wish makes; 0, or -EINVAL with a text in error, or -ENOMEM. */
int lp_tail_client_ask(struct lp_tail_client *client, const char *text, size_t text_len, h2o_iovec_t tenant, bool tenants,
		       bool categorize, struct lp_buf *error);
void lp_tail_client_leave(struct lp_tail_client *client);
/* The connection speaks WebSocket now: join what was asked for. */
void lp_tail_client_upgraded(struct lp_tail_client *client);
/* Its place among the histories is free, if it had one. */
void lp_tail_client_slot_put(struct lp_tail_client *client);

/* ---- tailhistory.c ---- */
/* Start the history of a client that has just joined; the snapshot is taken over or released.  -EBUSY: not now. */
int lp_tail_history_start(struct lp_tail_client *client, struct lp_snapshot *snapshot);
void lp_tail_history_event(struct lp_tail_history *history);
/* Take more of it when the client has room. */
void lp_tail_history_pull(struct lp_tail_client *client);
void lp_tail_history_abandon(struct lp_tail_client *client);

/* ---- tailconn.c ---- */
/* Answer 101 and go on with frames; the client is freed by itself at its end.  It has answered on failure. */
void lp_tail_client_upgrade(struct lp_tail_client *client, h2o_req_t *req, const char *accept);
void lp_tail_client_pump(struct lp_tail_client *client);
/* Say something of our own, a text message: before the lines that are queued, or (0; -ENOMEM) behind them. */
void lp_tail_client_say(struct lp_tail_client *client, const void *text, size_t len);
int lp_tail_client_say_behind(struct lp_tail_client *client, const void *text, size_t len);
void lp_tail_client_deliver(struct lp_tail_client *client, struct lp_tail_block *block);
void lp_tail_client_lost(struct lp_tail_client *client, const struct lp_tail_block *block, uint64_t entries);
int lp_tail_queue_put(struct lp_tail_queue *queue, struct lp_tail_block *block, int64_t due_ms);        /* takes a reference */
void lp_tail_client_close(struct lp_tail_client *client, unsigned code, const char *reason);
void lp_tail_client_cut(struct lp_tail_client *client);         /* at once */
void lp_tail_client_tick(struct lp_tail_client *client, int64_t now_ms);
void lp_tail_client_joined(struct lp_tail_client *client);      /* go on reading */
void lp_tail_client_unref(struct lp_tail_client *client);

#endif
