/* Shared by wal.c, wal_pool.c and wal_recover.c, and by the power-cut test, which puts its own lp_wal_io below them. */
#ifndef LP_STORE_WAL_PRIVATE_H
#define LP_STORE_WAL_PRIVATE_H

#include "store/wal.h"

#include <pthread.h>
#include <sys/uio.h>

#define LP_WAL_MAX_SPARES 2u            /* pool files kept beside the prepared one */
#define LP_WAL_RESTING_SPARES 1u        /* the same when little is appended */
#define LP_WAL_STOP_BYTES 64u           /* zeros of this many bytes end a log for every walk: no group and no record head */
#define LP_WAL_NAME_MAX 32u

/* Every call that changes the disk.  All return 0 (pwritev: bytes written) or -errno. */
struct lp_wal_io {
	int (*create)(void *arg, int dir_fd, const char *name);         /* exclusively; returns the descriptor */
	ssize_t (*pwritev)(void *arg, int fd, const struct iovec *iov, int n, uint64_t off);
	int (*truncate)(void *arg, int fd, uint64_t size);
	int (*datasync)(void *arg, int fd);
	int (*rename)(void *arg, int dir_fd, const char *from, const char *to);
	int (*unlink)(void *arg, int dir_fd, const char *name);
	int (*syncdir)(void *arg, int dir_fd);
	void *arg;
};
extern const struct lp_wal_io lp_wal_io_system;

struct lp_wal_file {                    /* a complete file */
	uint32_t number;
	bool tainted;                   /* an I/O error happened in it: delete, never recycle */
	uint64_t size, end;             /* end of its log; LP_WALFILE_HEAD: no record */
};

struct lp_wal_spare {
	uint32_t id;                    /* spare-ID */
	uint64_t size;
};

struct lp_wal_open_file {
	int fd;                         /* -1 none */
	uint32_t number;
	uint64_t size, salt;
};

struct lp_wal {
	/* fixed after open */
	int dir_fd, event_fd;
	char *dir;
	uint64_t file_min, file_max, epoch;
	bool sync;
	struct lp_wal_io io;
	/* main thread */
	struct lp_wal_open_file cur;
	uint64_t off, committed_off, sequence;          /* of cur; sequence of its last group */
	bool dirty;
	int64_t since_ns;
	int64_t minute_ns;                              /* lp_wal_rest(): begin of the minute that is counted, 0 none */
	uint64_t minute_bytes;                          /* appended in it */
	uint64_t next_size;                             /* what the fill times so far ask for */
	lp_walpos last_end;                             /* position while there is no current file */
	/* all threads, under lock */
	pthread_mutex_t lock;
	pthread_cond_t cond;                            /* the helper sleeps on it */
	pthread_t helper;
	bool helper_runs, stop, want;
	bool shrink;                                    /* want_size is an upper limit as well */
	bool resting;                                   /* little is appended: keep little */
	uint32_t next_number, cur_number;               /* cur_number 0: none */
	uint64_t cur_end, want_size, min_free;
	int prepare_error;                              /* of the last attempt */
	struct lp_wal_open_file next;                   /* prepared; fd -1 none */
	struct lp_wal_file *complete;                   /* ascending */
	size_t n_complete, cap_complete;
	struct lp_wal_spare spares[LP_WAL_MAX_SPARES];
	uint32_t n_spares, spare_id;
};

int lp_wal_open_io(const struct lp_wal_config *config, const struct lp_wal_io *io, uint64_t epoch, lp_walpos committed,
		   struct lp_wal **ret_wal, struct lp_wal_recovery *ret_recovery);
void lp_wal_name(uint32_t number, char out[static LP_WAL_NAME_MAX]);
int lp_wal_write_all(struct lp_wal *wal, int fd, struct iovec *iov, int n, uint64_t off);
int lp_wal_add_complete(struct lp_wal *wal, const struct lp_wal_file *file);    /* under lock, ascending */
/* Put zeros at the end of a log, so that readers that check heads only stop there as well.  Best effort, not synced. */
void lp_wal_put_stop(struct lp_wal *wal, int fd, uint64_t size, uint64_t off);

/* wal_recover.c: fills complete, spares, next_number, last_end. */
int lp_wal_recover(struct lp_wal *wal, lp_walpos committed, uint32_t least_number, struct lp_wal_recovery *ret);

/* wal_pool.c */
int lp_wal_pool_start(struct lp_wal *wal);
void lp_wal_pool_stop(struct lp_wal *wal);
void lp_wal_pool_ask(struct lp_wal *wal, uint64_t size);                        /* under lock */
void lp_wal_spare_name(uint32_t id, char out[static LP_WAL_NAME_MAX]);
/* Rename a file of the log that nobody needs into the pool, or delete it when the pool is full or it is tainted. */
int lp_wal_discard(struct lp_wal *wal, const char *name, uint64_t size, bool tainted);

#endif
