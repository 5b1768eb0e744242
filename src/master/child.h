/* One child process of the master: forked, watched, throttled. */
#ifndef LP_MASTER_CHILD_H
#define LP_MASTER_CHILD_H

#include "master/master.h"

struct lp_child {
	uint32_t slot;
	uint32_t worker;                /* index, workers only */
	pid_t pid;                      /* 0: not running */
	int64_t started_ms;             /* CLOCK_MONOTONIC */
	int64_t restart_ms;             /* not before; 0: it shall not run */
	int64_t backoff_ms;
	unsigned short_lives;           /* deaths in a row after less than LP_CHILD_SHORT_MS */
	int64_t abort_ms;               /* when SIGABRT was sent because it hung; 0 never */
};

#define LP_CHILD_SHORT_MS 10000
#define LP_CHILD_FREE_RESTARTS 5
#define LP_CHILD_BACKOFF_MAX_MS 30000

/* Fork it.  0, or -errno of fork (then restart_ms is a second later). */
int lp_child_start(struct lp_master *master, struct lp_child *child);
/* It died at now_ms: clear its slot and decide when it may start again. */
void lp_child_died(struct lp_master *master, struct lp_child *child, int64_t now_ms);
/* "writer", "notifier", "worker 3" */
const char *lp_child_name(const struct lp_child *child, char out[32]);

#endif
