/* What a child process gets from the master: its entry function is called right after fork and never returns control to it. */
#ifndef LP_MASTER_PROC_H
#define LP_MASTER_PROC_H

#include "common/log.h"
#include "conf/conf.h"
#include "shm/slot.h"
#include "shm/stat.h"

struct ssl_ctx_st;

struct lp_proc {
	struct lp_conf *conf;           /* owned; replaced on reload */
	struct lp_conf *old_conf;       /* the one before, for threads that still read it; freed by the next reload */
	struct ssl_ctx_st *tls;         /* owned (http/tls.h); NULL: plain.  Master and workers */
	int argc;                       /* for loading the configuration again */
	char **argv;
	struct lp_region *region;
	uint32_t slot;
	uint32_t worker;                /* index, workers only */
	int listen_fd;                  /* workers: own SO_REUSEPORT socket; others -1 */
	int signal_fd;                  /* signalfd for TERM, INT, HUP, USR1 (all blocked): add it to the loop and read it */
	char data_dir[4096];            /* absolute storage.path */
	uint32_t log_level_word;        /* last seen by lp_proc_follow_log_level */
};

/* The shared region contradicts itself (lp_lane_error, lp_region_check): a child exits with it, the master then ends
 * everything and exits with it, and the service manager starts a server with a new region. */
#define LP_EXIT_REGION 70
#define LP_EXIT_CANTCREATE 73           /* data directory or port */

/* Before the first LP_STATE_READY, a writer's exit code other than a signal's ends the server with the same code
 * (74 I/O, 78 a newer format ...); after it, every death is answered with a restart.
 * Entry points; each returns the exit code of the process. */
int lp_worker_main(struct lp_proc *proc);       /* src/http/worker.c */
int lp_writer_main(struct lp_proc *proc);       /* src/writer/writer.c */
int lp_notifier_main(struct lp_proc *proc);     /* src/notify/notifier.c */

/* Load the configuration again (SIGHUP): 0 and proc->conf replaced, or the old one stays and the reason is logged. */
int lp_proc_reload(struct lp_proc *proc);

/* loglevel.c.  Every process calls follow about once a second; set is for all of them, until a reload. */
enum lp_log_level lp_proc_log_level(const struct lp_proc *proc);
void lp_proc_set_log_level(struct lp_proc *proc, enum lp_log_level level);
void lp_proc_follow_log_level(struct lp_proc *proc);
void lp_proc_reset_log_level(struct lp_proc *proc);     /* by lp_proc_reload: as configured again */

#endif
