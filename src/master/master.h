/* The master process in parts: data directory, listening sockets, names and rights, supervision.
 * Process: master only.  Everything here may log; it is a process folder. */
#ifndef LP_MASTER_MASTER_H
#define LP_MASTER_MASTER_H

#include "master/proc.h"

#include <sys/types.h>

/* Exit codes, from sysexits.h (logpulse(8) explains them to the user). */
#define LP_EXIT_OK 0
#define LP_EXIT_FAILURE 1
#define LP_EXIT_USAGE 64
#define LP_EXIT_IO 74
#define LP_EXIT_TEMPFAIL 75             /* another server holds the data directory */
#define LP_EXIT_CONFIG 78

struct lp_ids {
	bool change;                    /* started as root and server.user is set */
	uid_t uid;
	gid_t gid;
	char user[64];
};

/* ---- data.c: every function returns 0 or the exit code, after logging why ---- */
/* Make the directory (0750, its parents 0755) if it is missing, give it to ids, write its absolute path to out. */
int lp_data_prepare(const char *path, const struct lp_ids *ids, char *out, size_t out_bytes);
/* Take data/LOCK; the descriptor is inherited by all children, so the lock is free only when the last one is gone.
 * Waits while the holder's children are dying (the holder itself is gone). */
int lp_data_lock(const char *dir, const struct lp_ids *ids, int *ret_fd);
/* Check data/VERSION or write it.  After the rights were dropped. */
int lp_data_version(const char *dir);

/* ---- listen.c ---- */
/* One socket per worker: dups of the service manager's (LISTEN_FDS) or own SO_REUSEPORT ones.  0 or the exit code. */
int lp_listen_open(const struct lp_conf *conf, uint32_t workers, int fds[LP_MAX_WORKERS]);
void lp_listen_close(int fds[LP_MAX_WORKERS], uint32_t workers);

/* ---- rights.c ---- */
int lp_ids_find(const char *user, struct lp_ids *ret_ids);      /* 0 or the exit code */
int lp_ids_become(const struct lp_ids *ids);                    /* 0 or the exit code */
void lp_rights_raise_files(void);                               /* RLIMIT_NOFILE to the hard limit */
/* Take over the memory of argv and environ for process titles; returns a copy of argv.  Call it first in main(). */
char **lp_title_init(int argc, char **argv);
void lp_title_set(const char *title);           /* ps; nothing before lp_title_init() */

/* ---- supervise.c ---- */
struct lp_master {
	struct lp_proc proc;            /* the master's own; children get a copy */
	uint32_t workers;
	int listen_fds[LP_MAX_WORKERS];
	int lock_fd;
};
/* Start the children, keep them running, drain on TERM; returns the exit code when all are gone. */
int lp_supervise(struct lp_master *master);

/* All of it: what main() does after lp_title_init(). */
int lp_master_main(int argc, char **argv);

#endif
