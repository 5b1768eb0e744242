/* Inside of the web hooks module: one lp_hook per target at work.  Process: notifier, main thread. */
#ifndef LP_NOTIFY_HOOKS_PRIVATE_H
#define LP_NOTIFY_HOOKS_PRIVATE_H

#include "notify/hooks.h"
#include "notify/hooks/deliver.h"
#include "notify/hooks/feed.h"
#include "notify/hooks/queue.h"
#include "notify/hooks/targets.h"
#include "notify/transport.h"

struct lp_hook_counts {
	uint64_t sent, sent_lines;      /* requests answered 2xx; log lines in them */
	uint64_t retried;               /* attempts that failed and are made again */
	uint64_t refused, given_up, expired, damaged, template;         /* events that are lost to the target, by reason */
	uint64_t overflow, overflow_lines;                              /* dropped for want of room in the queue */
};

struct lp_hook {
	struct lp_hooks *hooks;
	const struct lp_hook_target *target;
	struct lp_hookq *queue;         /* NULL: the target is off, or its queue cannot be used */
	struct lp_deliver deliver;
	struct lp_transport *transfer;
	struct lp_feed feed;            /* feed.target NULL: no log events */
	struct lp_hook_counts counts;
	struct lp_trace trace;          /* of the transfer; sampled only while tracing is on */
	int64_t sent_ns;                /* monotonic */
	bool failing;                   /* said so in the log */
	bool feed_failed;               /* the same for its batches */
};

struct lp_hooks {
	struct lp_notify *notify;
	struct lp_hook_targets *targets;
	struct lp_hook_targets *next;   /* of a reload, which waits for the answers that are under way; may be NULL: none */
	bool reloading;
	struct lp_hook *hooks;          /* one per target */
	uint32_t n;
	struct lp_follow *follow;       /* NULL while nobody wants log lines, or it cannot be opened yet */
	bool wants_logs;
	int64_t save_ms;                /* next time that positions are stored and queues synced */
	int64_t metrics_ms;             /* next time that the metrics file is looked at */
	uint64_t metrics_hash;          /* of what it holds */
	int64_t follow_ms;              /* next attempt to open the follower */
	bool early;                     /* we were here before the log was */
};

/* ---- send.c ---- */
/* Send what may be sent; returns when to come back (monotonic ms). */
int64_t lp_hook_pump(struct lp_hook *hook, int64_t now_ms);

/* ---- watch.c ---- */
/* Open the follower when somebody wants log lines; without it lp_hooks_watch() tries again. */
void lp_hooks_follow(struct lp_hooks *hooks, int64_t now_ms);
/* Read the log for the feeds; returns when to come back. */
int64_t lp_hooks_watch(struct lp_hooks *hooks, int64_t now_ms);
void lp_hooks_unwatch(struct lp_hooks *hooks);

/* ---- publish.c: data/notify/webhooks.metrics, which workers add to /metrics ---- */
void lp_hooks_publish(struct lp_hooks *hooks, int64_t now_ms);
void lp_hooks_unpublish(struct lp_hooks *hooks);

#endif
