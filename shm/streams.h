/* Streams that got lines lately, and how many of them each tenant has: one table for all workers, for a limit on them.
 *
 * A stream is active for LP_STREAMS_ACTIVE_S after its last push.  The table starts empty with the region; who wants the streams of
 * before a restart claims its seeding.  Up to LP_STREAMS_MAX are told apart; more are let pass uncounted, never refused for that. */
#ifndef LP_SHM_STREAMS_H
#define LP_SHM_STREAMS_H

#include "shm/region.h"

#define LP_STREAMS_ACTIVE_S 3600u
#define LP_STREAMS_MAX (1u << 20)

/* Is the stream an active one of its tenant, or may it become one, so that there are no more than max?  Keys are good hashes.
 * Process: workers; lock-free. */
bool lp_streams_admit(struct lp_region *region, uint64_t tenant, uint64_t stream, uint32_t max, uint64_t now_mono_s);
uint32_t lp_streams_active(struct lp_region *region, uint64_t tenant);
/* Look at the next n places and forget what has been quiet for too long.  Called now and then by every worker. */
void lp_streams_sweep(struct lp_region *region, uint32_t n, uint64_t now_mono_s);
/* True for one caller in the region's life: it puts the streams in that are active already, with max UINT32_MAX. */
bool lp_streams_claim_seeding(struct lp_region *region);

#endif
