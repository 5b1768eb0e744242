/* Commit doorbells: one eventfd per process slot, rung by the writer after a commit, but only for a slot that asks for it.
 *
 * Who follows the log (live tail, webhooks) reads up to `committed`, asks with lp_commit_wait(), looks again, and polls the
 * bell.  Nobody follows: a commit costs the writer one load per slot.  Dekker's pattern, as with the lanes: the writer
 * stores committed and then loads `following`, the follower stores `following` and then loads committed. */
#ifndef LP_SHM_COMMIT_H
#define LP_SHM_COMMIT_H

#include "shm/slot.h"

/* To poll for reading and then to clear with lp_commit_heard().  Non-blocking, close-on-exec; the region owns it. */
int lp_commit_bell(const struct lp_region *region, uint32_t slot);
/* Ask to be rung once.  Returns `committed` as of after asking: when there is something to read, do not sleep.
 * Process: the slot's owner, one thread of it. */
lp_walpos lp_commit_wait(struct lp_region *region, uint32_t slot);
/* Awake: forget the request and the rings so far. */
void lp_commit_heard(struct lp_region *region, uint32_t slot);
/* Ring one slot's bell without a commit: to wake a thread of the own process. */
void lp_commit_poke(struct lp_region *region, uint32_t slot);
/* Ring everybody who asked.  Process: the writer, after it stored committed (seq_cst). */
void lp_commit_ring(struct lp_region *region);

#endif
