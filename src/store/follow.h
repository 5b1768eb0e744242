/* Following the log: every record that is committed from a position on, in the order of the log, as it comes.
 *
 *   lp_follow_open(catalog, 0, &follow);                      from now on
 *   for (;;) {
 *       lp_walpos limit = lp_follow_committed(follow);
 *       while ((r = lp_follow_next(follow, limit, &record)) > 0)
 *           for (s = 0; s < record.head.streams; s++)
 *               if (lp_follow_stream(&record, s, &stream) == 0) ... stream.rows until the next lp_follow_next()
 *       if (lp_follow_wait(follow, 1000) < 0) ...             sleeps until the next commit, a poke, or the timeout
 *   }
 *
 * A follower that falls behind does not hold the log up: when more than LP_FOLLOW_MAX_BEHIND files that are sealed already wait
 * for it, it jumps to the committed position; lp_follow_dropped() says how many entries it has not seen.
 * Joining history without a gap or a repeat: take a snapshot, follow up to lp_snapshot_limit() of it, then begin to listen.
 * Process: worker or notifier, one thread per follower; catalog and followers share the process's WAL pin. */
#ifndef LP_STORE_FOLLOW_H
#define LP_STORE_FOLLOW_H

#include "shm/slot.h"
#include "store/catalog.h"

#define LP_FOLLOW_MAX_BEHIND LP_SLOT_KEPT_FILES         /* sealed files that are kept for a follower */

struct lp_follow;

struct lp_follow_record {
	lp_walpos pos;                  /* of the record; the next one's is higher */
	const uint8_t *rec;             /* mapped; valid until the next lp_follow_next() or lp_follow_close() */
	struct lp_walrec_head head;
};

struct lp_follow_stream {
	struct lp_hash128 hash;
	const uint8_t *labels;          /* canonical bytes, format/labels.h */
	uint32_t labels_len;
	struct lp_rows rows;            /* checked: lengths ascend and stay inside the record */
};

/* Follow from the committed position on, or from up to back_bytes of log before it (as far as it is not sealed yet).
 * -EAGAIN recovery is not over, or the catalog has no region; -ENOMEM; -errno of opening the file. */
int lp_follow_open(struct lp_catalog *catalog, uint64_t back_bytes, struct lp_follow **ret_follow);
/* Follow from a position on where another follower of this process, or of the one before it, was.  What is no longer there
 * counts as dropped: the entries of its segments.  A position behind the committed one is taken for that. */
int lp_follow_open_at(struct lp_catalog *catalog, lp_walpos at, struct lp_follow **ret_follow);
void lp_follow_close(struct lp_follow **follow);
lp_walpos lp_follow_committed(const struct lp_follow *follow);
/* Where the next record will be looked for: everything before it was returned or dropped. */
lp_walpos lp_follow_position(const struct lp_follow *follow);
/* The next record below `limit`, a committed position.  1; 0 nothing (more) below it; -errno of opening the next file or
 * -EBADMSG of its head: ask again, or close. */
int lp_follow_next(struct lp_follow *follow, lp_walpos limit, struct lp_follow_record *ret_record);
/* Stream s of the record.  -EBADMSG: its bytes are not sound (a page that the disk could not deliver): leave it out. */
int lp_follow_stream(const struct lp_follow_record *record, uint32_t s, struct lp_follow_stream *ret_stream);
/* Entries that were jumped over since the last call. */
uint64_t lp_follow_dropped(struct lp_follow *follow);
/* Sleep until something is committed behind the position, lp_commit_poke() of the own slot, or timeout_ms.  1 there is something; 0. */
int lp_follow_wait(struct lp_follow *follow, int timeout_ms);

#endif
