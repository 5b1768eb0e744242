/* The writer process: what its files share. */
#ifndef LP_WRITER_WRITER_PRIVATE_H
#define LP_WRITER_WRITER_PRIVATE_H

#include "common/trace.h"
#include "master/proc.h"
#include "shm/lane.h"
#include "store/seal.h"
#include "store/wal.h"

#include <pthread.h>

#define LP_WRITER_GROUP_BYTES (1u << 20)        /* of one lane per commit; throughput does not grow beyond it */

struct lp_writer_lane {
	struct lp_lane *lane;
	uint64_t taken;                 /* appended up to here */
	uint64_t committed;             /* and durable up to here (announced, or in a file that is complete): what lp_wal_abandon() falls back to */
	int64_t retry_ms;               /* leave the lane alone until then (its worker cannot be killed yet) */
};

struct lp_sealer;
struct lp_compactor;

struct lp_writer {
	struct lp_proc *proc;
	struct lp_region *region;
	struct lp_state_shm *state;
	struct lp_slot_shm *slot;
	struct lp_stat_row *row;
	struct lp_wal *wal;
	struct lp_sealer *sealer;
	struct lp_compactor *_Atomic compactor; /* the sealing thread is there first */
	pthread_mutex_t segments_lock;          /* retention deletes, compaction replaces */
	_Atomic int64_t oldest_kept_ns;         /* sealing thread: what retention keeps, for compaction */
	_Atomic bool segments_changed;          /* the gauges are out of date */
	uint64_t epoch;
	uint32_t n_lanes;
	struct lp_writer_lane lanes[LP_MAX_WORKERS];
	uint8_t *buf;                   /* private copy of what is checked and written */
	size_t buf_cap;
	struct lp_sampler sampler;      /* tracing.* */
	bool waiting;                   /* no WAL file to append to: lp_wal_event_fd tells when */
	int64_t retry_ms;               /* after a failed write or sync: not before this (monotonic), 0 at once */
	int64_t next_tick_ms;
	bool broken;                    /* the ends of a lane contradict each other: exit with LP_EXIT_REGION */
	bool stopping;
	int64_t stop_by_ms;
	bool flushing;
	uint32_t flush_ticket, flush_last;      /* done when wal_first has passed flush_last */
};

/* drain.c: move records from the lanes to the log.  One round: append from every lane, commit once, announce, release.
 * Returns 1 something was done, 0 nothing to do or nothing possible now. */
/* The configuration is new: tracing.*. */
void lp_writer_load_tracing(struct lp_writer *writer);
int lp_writer_round(struct lp_writer *writer);
bool lp_writer_lanes_empty(struct lp_writer *writer);
uint64_t lp_writer_lanes_bytes(struct lp_writer *writer);
/* Commit and announce the position without taking anything. */
void lp_writer_announce(struct lp_writer *writer);
/* Close the current file and announce the position after it. */
void lp_writer_rotate(struct lp_writer *writer);
/* A write or sync failed: cut, fall back to what is committed, pause for a second. */
void lp_writer_failed(struct lp_writer *writer, const char *what, int err);

/* space.c: once a second, state bits and gauges for the room on the disk. */
void lp_writer_watch_space(struct lp_writer *writer);

/* sealer.c: the thread that seals, recycles and deletes. */
struct lp_sealer_config {
	uint32_t block_bytes;
	bool compress, sync;
	int64_t retention_days;
	int64_t last_write_ns;          /* of the log before this start, by the clock of then; 0 never */
};
int lp_sealer_start(struct lp_writer *writer, const char *segments_dir, const struct lp_sealer_config *config,
		    struct lp_sealer **ret_sealer);
void lp_sealer_kick(struct lp_sealer *sealer);                          /* there may be a file to seal */
void lp_sealer_set_retention(struct lp_sealer *sealer, int64_t days);   /* and apply it now */
/* Ask it to end and wait a little.  False: it is still busy in a segment and keeps using the writer's memory. */
bool lp_sealer_stop(struct lp_sealer **sealer);

/* The compacting thread replaced segments: the gauges are to be made anew. */
void lp_writer_segments_changed(struct lp_writer *writer);

/* compactor.c: the thread that merges segments. */
struct lp_compactor_config {
	struct lp_seal_config seal;     /* block_bytes, compress, sync */
	int level;                      /* zstd's */
	int64_t interval_ms;            /* between two looks that nobody asked for */
	bool delete_lines;              /* that delete requests mean, from the disk */
	int64_t cancel_period_ms;       /* of delete requests */
	uint64_t min_free_bytes;
};
int lp_compactor_start(struct lp_writer *writer, const char *segments_dir, const char *wal_dir, const struct lp_compactor_config *config,
		       struct lp_compactor **ret_compactor);
void lp_compactor_kick(struct lp_compactor *compactor);                 /* there may be something to merge */
void lp_compactor_set(struct lp_compactor *compactor, const struct lp_compactor_config *config);
/* Ask it to end and wait a little; false: it still is at work.  It may still be kicked until it is freed. */
bool lp_compactor_stop(struct lp_compactor *compactor);
void lp_compactor_free(struct lp_compactor *compactor);

/* segstat.c: gauges of the segment set (sealing thread). */
struct lp_segstat;
void lp_segstat_refresh(struct lp_segstat **segstat, const char *segments_dir, struct lp_stat_row *row);
void lp_segstat_free(struct lp_segstat **segstat);

#endif
