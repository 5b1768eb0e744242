/* Compaction: neighbouring segments of one UTC day become one; see compact.c for what holds while it runs.
 * Process: writer, compacting thread; the planning is pure. */
#ifndef LP_STORE_COMPACT_H
#define LP_STORE_COMPACT_H

#include "store/seal.h"

#define LP_COMPACT_MAX_INPUTS 16u

/* What is asked about each entry while segments are rewritten. */
struct lp_compact_ops {
	/* The stream of the entries that follow; false: none of them goes.  NULL: nothing goes. */
	bool (*stream)(void *arg, const uint8_t *labels, uint32_t len);
	/* True: the entry goes. */
	bool (*drop)(void *arg, int64_t ts, const char *line, uint32_t len);
	/* Asked once per block: true gives up with -ECANCELED.  May be NULL. */
	bool (*stop)(void *arg);
	void *arg;
};

struct lp_compact_result {
	struct lp_segment_name name;    /* of the segment made */
	bool empty;                     /* nothing was left: there is none */
	uint64_t entries, duplicates, dropped, expired, read_bytes, written_bytes;
};

/* Write the segment that replaces names[0..n), neighbours in ascending order, at most LP_COMPACT_MAX_INPUTS.  It is visible
 * afterwards and supersedes them; whoever calls bumps the generation and then unlinks them with lp_compact_unlink().
 * Entries older than config->oldest_ns are left out, as are repeats between the segments.
 * -EBADMSG a block is damaged, -EFBIG it cannot be done in bounded memory: leave these segments as they are; -ECANCELED;
 * -ENOENT a segment went away; -ENOSPC and others: try later.  On failure nothing has changed. */
int lp_compact_merge(const struct lp_seal_config *config, const struct lp_compact_ops *ops, const struct lp_segment_name *names, uint32_t n,
		     struct lp_compact_result *ret_result);
/* Unlink segments, and make that durable: none of them can come back after a power cut. */
int lp_compact_unlink(const char *segments_dir, const struct lp_segment_name *names, uint32_t n, bool sync);

/* Does a segment hold an entry that goes?  1, 0, or as above.  Blocks without a stream that is asked for are not read. */
int lp_compact_any(const char *segments_dir, const struct lp_compact_ops *ops, const struct lp_segment_name *name);

struct lp_compact_candidate {
	struct lp_segment_name name;
	uint64_t bytes;
	bool fixed;                     /* cannot be merged: it was tried */
};

struct lp_compact_policy {
	uint32_t fan_in;                /* least number of segments to merge: 2 .. LP_COMPACT_MAX_INPUTS */
	uint32_t max_inputs;
	uint64_t max_bytes;             /* of the result */
	int64_t old_day;                /* days before it get no more of their own: pairs are merged there */
	const uint32_t *cuts;           /* nothing is merged over the border between WAL files cuts[i] and cuts[i] + 1 */
	uint32_t n_cuts;
};

/* The merge that pays most: names sorted by day and first.  False: none does. */
bool lp_compact_pick(const struct lp_compact_policy *policy, const struct lp_compact_candidate *candidates, size_t n, size_t *ret_first,
		     uint32_t *ret_n);

#endif
