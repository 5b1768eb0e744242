/* Rates that all processes share: one bucket per key (a tenant, a stream), counted for the whole server.
 *
 * A bucket is one word, the time at which all that was taken will have been earned: the generic cell rate algorithm (ITU-T I.371,
 * the continuous-state leaky bucket), as in limiter.h, which counts requests; bytes need
 * amounts of nanoseconds.  Taking is one compare-and-swap, so a process that dies leaves every bucket whole. */
#ifndef LP_SHM_RATE_H
#define LP_SHM_RATE_H

#include "shm/region.h"

/* Take cost_ns out of the key's bucket, which holds burst_ns (amounts at their rate: bytes / bytes per second) and is full when the
 * key has not been seen for long.  False: there is not that much in it, nothing was taken.  key: a good hash, any value.
 * More keys at once than there are buckets share some, which is strict, never generous. */
bool lp_rate_take(struct lp_region *region, uint64_t key, uint64_t cost_ns, uint64_t burst_ns, uint64_t now_mono_ns);

#endif
