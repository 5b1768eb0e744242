/* Sealing: one complete WAL file becomes one segment per UTC day it covers; retention; clean-up.
 * Process: writer, on its sealing thread.  Safe to repeat: the result has the same names. */
#ifndef LP_STORE_SEAL_H
#define LP_STORE_SEAL_H

#include "store/segment.h"

struct lp_seal_config {
	const char *segments_dir;
	uint32_t block_bytes;           /* raw text per block */
	bool compress;
	int level;                      /* zstd's, for compaction; 0: fast, as it is right for sealing */
	bool sync;                      /* fsync files and directories */
	int64_t oldest_ns;              /* entries older than it are dropped (retention) */
	/* Around the renames, may be NULL: may_publish() false cancels (-ECANCELED); published() is called in any case after it. */
	bool (*may_publish)(void *arg);
	void (*published)(void *arg);
	void *arg;
};

struct lp_seal_result {
	uint32_t segments;
	uint64_t entries, duplicates, expired, raw_bytes, disk_bytes;
	uint64_t damaged_bytes;         /* of the WAL file, committed once, that could not be read */
};

/* Seal the records of a WAL file (its valid part).  Order per segment: write .chunks.tmp and .index.tmp, fdatasync both, rename .chunks, rename .index,
 * fsync the directory.  -ENOSPC and other -errno: temporary files are removed, the WAL file stays as it is. */
int lp_seal_wal(const struct lp_seal_config *config, const char *wal_path, uint32_t number, struct lp_seal_result *ret_result);
/* Remove *.tmp and superseded or half-deleted segments left by a crash.  Process: writer, at start. */
int lp_seal_cleanup(const char *segments_dir);
/* Delete segments whose greatest timestamp is older than oldest_ns (.index first, then .chunks, then empty day directories). */
int lp_retain(const char *segments_dir, int64_t oldest_ns, uint32_t *ret_deleted);

#endif
