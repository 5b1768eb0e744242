/* The notifier process from inside: one loop, and modules that hang on it (rules, web hooks, trace export).
 *
 * The loop sleeps in poll() or, once a module asked for libcurl, in curl_multi_poll(), until: a module's next deadline, the
 * doorbell (lp_notify_wake() of a thread; a worker that changed a file the notifier reads), a signal, a transfer.  It calls
 * every module's tick() after each wake-up; a tick must not block: work that takes long belongs to a thread of the module.
 * Nobody waits for this process: it takes no lock and publishes files and counters only. */
#ifndef LP_NOTIFY_NOTIFY_H
#define LP_NOTIFY_NOTIFY_H

#include "common/trace.h"
#include "master/proc.h"

#include <stdbool.h>
#include <stdint.h>

#define LP_NOTIFY_NEVER INT64_MAX
#define LP_NOTIFY_STOP_MS 3000          /* from SIGTERM to the end, whatever is left */

struct lp_catalog;
struct lp_rules;
struct lp_hooks;
struct lp_spans;

struct lp_notify {
	struct lp_proc *proc;           /* proc->conf is replaced by a reload, before the modules' reload() */
	struct lp_slot_shm *slot;
	struct lp_stat_row *row;        /* of LP_SLOT_NOTIFIER */
	void *curl;                     /* CURLM *; NULL until lp_notify_curl() */
	struct lp_catalog *catalog;     /* NULL until lp_notify_catalog() */
	bool watch_commits;             /* wake up for commits; set by the module that follows the log */
	bool stopping;
	int64_t stop_by_ms;             /* monotonic; while stopping */
	/* Each module's own, made by its start(). */
	struct lp_rules *rules;
	struct lp_hooks *hooks;
	struct lp_spans *spans;
	struct lp_sampler sampler;      /* tracing.*, of spans that begin in this process; traces.c loads it */
};

static inline const struct lp_conf *lp_notify_conf(const struct lp_notify *notify) { return notify->proc->conf; }

/* A module.  All calls come from the main thread. */
struct lp_notify_module {
	const char *name;
	/* Once, before the loop.  < 0 ends the process, so only for what a restart can repair (-ENOMEM): a bad configuration is
	 * logged and the module stays idle. */
	int (*start)(struct lp_notify *notify);
	/* After every wake-up.  Returns when it wants to be called at the latest (monotonic ms, LP_NOTIFY_NEVER). */
	int64_t (*tick)(struct lp_notify *notify, int64_t now_ms);
	void (*reload)(struct lp_notify *notify);       /* SIGHUP, with the new configuration in place */
	/* While stopping, after tick(): true when nothing is left that should be finished.  At stop_by_ms nobody is asked. */
	bool (*quiet)(struct lp_notify *notify);
	void (*stop)(struct lp_notify *notify);         /* free everything, join threads; start() may have failed */
};

/* Ring the loop.  Any thread of this process; also from workers (they ring lp_region_notifier_bell() themselves). */
void lp_notify_wake(struct lp_notify *notify);

/* The store as this process sees it, opened at the first call; NULL while that fails.  One for all modules, because catalogs and
 * followers of a process share its WAL pin.  The loop ticks it. */
struct lp_catalog *lp_notify_catalog(struct lp_notify *notify);

/* ---- transfers: for modules that speak HTTP ---- */

/* One request on libcurl's multi handle: put its address into CURLOPT_PRIVATE.  done() is called from the loop when the
 * transfer is over (curl_code: CURLcode); the handle is then off the multi handle and belongs to the module again. */
struct lp_notify_transfer {
	void (*done)(struct lp_notify_transfer *transfer, int curl_code);
};
/* The multi handle, made at the first call; NULL without memory.  Add easy handles with curl_multi_add_handle(). */
void *lp_notify_curl(struct lp_notify *notify);

#endif
