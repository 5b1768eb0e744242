/* The write-ahead log, writer side: append, sync, rotate, prepare, recycle, recover.
 *
 * Files data/wal/NNNNNNNN.wal (decimal, from 1), consecutive.  The next file is prewritten by a helper thread before it is
 * needed; a sealed file is renamed back into the pool (data/wal/spare-N) when nobody reads it any more.  NNNNNNNN.wal.bad is a
 * file whose head is damaged, or that is not ours: kept for a person to look at, never read.
 * Process: writer only.  One main thread appends; functions marked (any thread) may be called by the sealing thread as well. */
#ifndef LP_STORE_WAL_H
#define LP_STORE_WAL_H

#include "shm/region.h"
#include "store/format/walfile.h"

struct lp_wal;

struct lp_wal_config {
	const char *dir;                /* data/wal; must exist */
	uint64_t file_min, file_max;    /* bytes; file_max may be exceeded for one larger record */
	bool sync;                      /* durability: sync */
	uint64_t min_free_bytes;        /* no new space is taken when less than this would stay free */
	uint32_t least_number;          /* new files get no lower number (above what segments cover); 0 is 1 */
};

/* Last record of each lane that the log already holds for this epoch: what a restarted writer must not append again. */
struct lp_wal_lane_end {
	uint64_t end_pos;               /* position after the last record found; 0 none */
};

struct lp_wal_recovery {
	uint32_t first_file;            /* lowest file present, or the number that the next one will have */
	uint32_t files;                 /* that hold the log, empty ones between others included */
	uint32_t bad_files;             /* set aside as NNNNNNNN.wal.bad */
	uint64_t records, entries;
	uint64_t torn_bytes;            /* bytes of unfinished appends behind the last valid record of the last file */
	uint64_t damaged_bytes;         /* bytes that were committed and cannot be read */
	uint32_t missing_files;         /* numbers between others that have no file: somebody deleted them */
	struct lp_wal_lane_end lanes[LP_MAX_WORKERS];
};

/* Open the log: scan all files (a record that fails its check ends its file), make everything found durable, and get
 * ready to append in a fresh file; the files found are complete.
 * committed == 0 (cold start): every record is checked.  Otherwise (the writer died, the region lives) the bytes below
 * `committed` are trusted and those behind it are cut off: the lanes still hold them, because tail moves after `committed`,
 * and bytes of a sync that failed must not count because a later sync says yes.
 * A full disk does not fail it: appends say -ENOSPC then.  Errors: -errno; -EPROTO a newer format, nothing was changed. */
int lp_wal_open(const struct lp_wal_config *config, uint64_t epoch, lp_walpos committed, struct lp_wal **ret_wal,
		struct lp_wal_recovery *ret_recovery);
/* Stops the helper thread; what was not committed is not synced. */
void lp_wal_close(struct lp_wal **wal);

/* Append records of one lane as one group.  Rotates to the next file when it does not fit.
 * -EAGAIN: there is no next file, nothing was written and what was appended before stands: wait for lp_wal_event_fd and ask
 * lp_wal_prepare() why.  Another -errno (of a write, or of the sync of a full file): call lp_wal_abandon().  bytes > 0, a multiple of LP_WALREC_ALIGN. */
int lp_wal_append(struct lp_wal *wal, uint16_t lane, uint64_t pos, const void *records, uint32_t bytes);
/* Make everything appended durable (no-op without sync) and return the position that may be announced.
 * -errno: call lp_wal_abandon(). */
int lp_wal_commit(struct lp_wal *wal, lp_walpos *ret_committed);
/* After a failed write or fdatasync the pages' state is unknown: cut the file at its last committed byte, never use
 * its blocks again, and go on in a fresh one; the caller appends again what was not committed. */
void lp_wal_abandon(struct lp_wal *wal);
/* Close the current file (if it holds records) so that it can be sealed.  -errno of the sync: lp_wal_abandon(). */
int lp_wal_rotate(struct lp_wal *wal);
lp_walpos lp_wal_position(const struct lp_wal *wal);           /* end of what was appended */
/* Was the current file deleted by somebody else?  What is written to it then is lost with the process. */
bool lp_wal_is_removed(const struct lp_wal *wal);
int64_t lp_wal_current_since_ns(const struct lp_wal *wal);     /* CLOCK_MONOTONIC of the first append to the current file; 0 empty */

/* Readable when the helper has finished a file or failed to: read it (8 bytes, non-blocking), then append again. */
int lp_wal_event_fd(const struct lp_wal *wal);
/* Bytes left in the current file; 0 when there is none. */
uint64_t lp_wal_room(const struct lp_wal *wal);
/* Is the next file ready?  0; -EAGAIN being made; -ENOSPC or another errno: the last attempt failed, and with `retry` another
 * one is started. */
int lp_wal_prepare(struct lp_wal *wal, bool retry);
void lp_wal_set_min_free(struct lp_wal *wal, uint64_t min_free_bytes);
/* Call about once a second with the monotonic time.  After a minute in which less than one smallest file was appended, the
 * space that a load needed is given back: pool files, the prepared file, and the current one if it is empty.  True: the
 * current file changed, announce lp_wal_commit(). */
bool lp_wal_rest(struct lp_wal *wal, int64_t now_ns);
/* Give the space of unused pool files back (any thread). */
void lp_wal_drop_spares(struct lp_wal *wal);

/* Files that are complete, at or above `from`, and lie whole before `announced` (any thread): the lowest number and whether
 * it holds any record, or 0. */
uint32_t lp_wal_next_to_seal(struct lp_wal *wal, uint32_t from, lp_walpos announced, bool *ret_empty);
/* The highest complete file, or 0 (any thread). */
uint32_t lp_wal_last_complete(struct lp_wal *wal);
/* The lowest file present above `number`, or the number the next one will have: what wal_first becomes when all files up
 * to `number` are replaced (any thread). */
uint32_t lp_wal_first_above(struct lp_wal *wal, uint32_t number);
/* Files and bytes of log that are present, the current file included (any thread). */
void lp_wal_usage(struct lp_wal *wal, uint32_t *ret_files, uint64_t *ret_bytes);
int lp_wal_path(const struct lp_wal *wal, uint32_t number, char *out, size_t out_len);
/* File `number` is replaced by segments and no process reads it: recycle or delete it (any thread).  Call it lowest first.
 * -ENOENT not a complete file; -errno: it stays, try again. */
int lp_wal_retire(struct lp_wal *wal, uint32_t number);

#endif
