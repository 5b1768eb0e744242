/* How much somebody may take at a time: one limit per key for the whole server, whichever worker it meets.  Keys are clients, who
 * take requests (http/ratelimit.c), tenants and streams, who take bytes (http/rates.c).
 *
 * GCRA, the generic cell rate algorithm (ITU-T I.371, annex A), in its virtual scheduling form.  All amounts are nanoseconds: what is
 * taken costs the time in which the sustained rate earns it, and a key's state is one number, the time at which it will have earned
 * all that it took.  The table has a fixed number of sets of eight buckets; a bucket is a key and its time. */
#ifndef LP_SHM_LIMITER_H
#define LP_SHM_LIMITER_H

#include "shm/region.h"

#define LP_LIMIT_MAX_NS (UINT64_C(1) << 56)     /* of a burst, and of what is taken: two years */

struct lp_limit_state {
	bool allowed;
	bool evicted;                   /* another key's state, not yet at rest, was forgotten for this one */
	uint64_t left_ns;               /* of the burst, which could follow at once */
	uint64_t rest_ns;               /* until all of the burst is there again */
};

/* Take cost_ns of the burst of what `key` stands for (a good 64-bit hash, any value); not allowed: nothing was taken.
 * Process: any; lock-free.  cost_ns above burst_ns is never allowed; who has more kinds of keys makes them differ. */
struct lp_limit_state lp_limiter_take(struct lp_region *region, uint64_t key, uint64_t cost_ns, uint64_t burst_ns, uint64_t now_mono_ns);

#endif
