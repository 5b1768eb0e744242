/* Commit doorbells; see commit.h.
 *
 * Guarantees: a follower that asked and found nothing new is rung by the next commit.
 * If the writer dies between storing committed and ringing, the next writer's first commit rings, and followers look by
 * themselves once a second; if a follower dies, the master clears its request (lp_slot_clear). */
#include "shm/commit.h"

#include "common/assert.h"
#include "shm/region-private.h"

#include <unistd.h>

int lp_commit_bell(const struct lp_region *region, uint32_t slot)
{
	LP_ASSERT(slot < region->want.slots);
	return region->commit_bells[slot];
}

lp_walpos lp_commit_wait(struct lp_region *region, uint32_t slot)
{
	struct lp_slot_shm *own = lp_slot(region, slot);

	LP_ASSERT(own);
	atomic_store(&own->following, 1);               /* seq_cst, partner: lp_commit_ring */
	return atomic_load(&lp_region_state(region)->committed);
}

void lp_commit_heard(struct lp_region *region, uint32_t slot)
{
	struct lp_slot_shm *own = lp_slot(region, slot);
	uint64_t n;

	LP_ASSERT(own);
	atomic_store(&own->following, 0);
	ssize_t got = read(region->commit_bells[slot], &n, sizeof n);

	(void)got;              /* non-blocking; nothing to read is fine */
}

void lp_commit_poke(struct lp_region *region, uint32_t slot)
{
	LP_ASSERT(slot < region->want.slots);
	lp_region_ring(region->commit_bells[slot]);
}

void lp_commit_ring(struct lp_region *region)
{
	for (uint32_t i = 0; i < region->want.slots; i++) {
		struct lp_slot_shm *slot = lp_slot(region, i);

		if (atomic_load(&slot->following) && atomic_exchange(&slot->following, 0))
			lp_region_ring(region->commit_bells[i]);
	}
}
