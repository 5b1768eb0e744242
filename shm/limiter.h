/* How often somebody may ask: one limit per client for the whole server, whichever worker it meets.
 *
 * GCRA, the generic cell rate algorithm (ITU-T I.371, annex A), in its virtual scheduling form: a client's state is the
 * time at which it would have used up nothing (its theoretical arrival time), one number.  The table has a fixed number of
 * sets of eight words; a word is a client's tag (16 bits) and its time (48 bits, monotonic microseconds). */
#ifndef LP_SHM_LIMITER_H
#define LP_SHM_LIMITER_H

#include "shm/region.h"

struct lp_limit {
	uint64_t interval_us;           /* between two requests at the sustained rate; at least 1 */
	uint64_t burst;                 /* requests at once; interval_us * burst < 2^47 */
};

struct lp_limit_state {
	bool allowed;
	bool evicted;                   /* another client's state, not yet at rest, was forgotten for this one */
	uint64_t remaining;             /* requests that could follow at once */
	uint64_t rest_us;               /* until all of the burst is there again */
};

/* Take one request of the client that `key` stands for (a keyed 64-bit hash).  Process: any; lock-free.  Two clients whose
 * keys share the set and the tag share the limit. */
struct lp_limit_state lp_limiter_take(struct lp_region *region, uint64_t key, const struct lp_limit *limit, uint64_t now_us);

#endif
