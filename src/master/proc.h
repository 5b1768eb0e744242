/* What a child process gets from the master: its entry function is called right after fork and never returns control to it. */
#ifndef LP_MASTER_PROC_H
#define LP_MASTER_PROC_H

#include "conf/conf.h"
#include "shm/slot.h"
#include "shm/stat.h"

struct lp_proc {
	struct lp_conf *conf;           /* owned; replaced on reload */
	int argc;                       /* for loading the configuration again */
	char **argv;
	struct lp_region *region;
	uint32_t slot;
	uint32_t worker;                /* index, workers only */
	int listen_fd;                  /* workers: own SO_REUSEPORT socket; others -1 */
	int signal_fd;                  /* signalfd for TERM, INT, HUP, USR1 (all blocked): add it to the loop and read it */
	char data_dir[4096];            /* absolute storage.path */
};

/* Entry points; each returns the exit code of the process. */
int lp_worker_main(struct lp_proc *proc);       /* src/http/worker.c */
int lp_writer_main(struct lp_proc *proc);       /* src/writer/writer.c */

/* Load the configuration again (SIGHUP): 0 and proc->conf replaced, or the old one stays and the reason is logged. */
int lp_proc_reload(struct lp_proc *proc);

#endif
