/* The write-ahead log, writer side: append, sync, rotate, prepare, recycle, recover.
 *
 * Files data/wal/NNNNNNNN.wal (decimal, from 1).  The next file is prewritten by a helper thread before it is needed; a
 * sealed file is renamed back into the pool (data/wal/spare-N) when nobody reads it any more.
 * Process: writer only.  Not thread-safe but for lp_wal_retire(), which the sealing thread calls. */
#ifndef LP_STORE_WAL_H
#define LP_STORE_WAL_H

#include "shm/region.h"
#include "store/format/walfile.h"

struct lp_wal;

struct lp_wal_config {
	const char *dir;                /* data/wal; must exist */
	uint64_t file_min, file_max;    /* bytes */
	bool sync;                      /* durability: sync */
	uint64_t min_free_bytes;
};

/* Last record of each lane that the log already holds for this epoch: what a restarted writer must not append again. */
struct lp_wal_lane_end {
	uint64_t end_pos;               /* position after the last record found; 0 none */
};

struct lp_wal_recovery {
	uint32_t first_file;            /* lowest file present */
	uint32_t files;
	uint64_t records, entries;
	uint64_t torn_bytes;            /* bytes of an unfinished append behind the last valid record */
	struct lp_wal_lane_end lanes[LP_MAX_WORKERS];
};

/* Open the log: scan all files (a record that fails its check ends its file), make everything found durable, and get ready to append after
 * it, in a fresh file.  `committed` (0 on a cold start) says which bytes need no check.  Errors: -errno, -EPROTO a newer format. */
int lp_wal_open(const struct lp_wal_config *config, uint64_t epoch, lp_walpos committed, struct lp_wal **ret_wal,
		struct lp_wal_recovery *ret_recovery);
void lp_wal_close(struct lp_wal **wal);

/* Append records of one lane as one group.  Rotates to the next file when it does not fit.
 * -EAGAIN: the next file is not ready yet, nothing was written; -ENOSPC; other -errno of pwrite: call lp_wal_abandon(). */
int lp_wal_append(struct lp_wal *wal, uint16_t lane, uint64_t pos, const void *records, uint32_t bytes);
/* Make everything appended durable (no-op without sync) and return the position that may be announced. */
int lp_wal_commit(struct lp_wal *wal, lp_walpos *ret_committed);
/* After a failed write or fdatasync the pages' state is unknown: leave the file as it is at its last
 * committed byte and go on in a fresh one; the caller appends again what was not committed. */
int lp_wal_abandon(struct lp_wal *wal);
/* Close the current file (if it holds records) so that it can be sealed. */
int lp_wal_rotate(struct lp_wal *wal);
lp_walpos lp_wal_position(const struct lp_wal *wal);
int64_t lp_wal_current_since_ns(const struct lp_wal *wal);     /* CLOCK_MONOTONIC of the first append to the current file; 0 empty */

/* Files that are complete and wait to be sealed, lowest first: the number, or 0. */
uint32_t lp_wal_next_to_seal(struct lp_wal *wal);
int lp_wal_path(const struct lp_wal *wal, uint32_t number, char *out, size_t out_len);
/* File `number` is replaced by segments and no process reads it: recycle or delete it. */
int lp_wal_retire(struct lp_wal *wal, uint32_t number);

#endif
