/* Limits in shared memory.
 *
 * Guarantees: a key's time is one word, replaced by compare-and-swap, so it is never half written and nobody repairs it; a
 * time beyond what the limit can produce (a stray write, a limit that was lowered) is cut to it, so no word can shut anybody out
 * for longer than its burst takes to come back.  Memory is fixed.  A bucket whose time is past says the same as none and is taken by
 * the next key without loss; when all eight of a set are in use, the one nearest to its rest is forgotten, which errs on its
 * side, and never on that of the keys that it has to make room for.
 * A bucket changes hands by its key; until the new owner's time is there it has the old one's, and who comes in between, or after
 * a process that died there, may be refused as long as that lasts: a state at rest, but for a bucket that was forgotten.  Two
 * workers that meet a new key at the same moment may both make a bucket: it has two bursts until the second is at rest; the
 * first is found from then on.
 * Process: workers.  If one dies here, what it took was counted or was not. */
#include "shm/limiter.h"

#include "shm/region-private.h"

#define SETS 8192u
#define WAYS 8u
#define MAX_TRIES 64u           /* each lost race is somebody else's progress; after so many it is allowed */

struct bucket {
	_Atomic uint64_t key;           /* 0: free; workers */
	_Atomic uint64_t time_ns;       /* monotonic; workers */
};

struct set {
	alignas(LP_REGION_LINE) struct bucket ways[WAYS];
};
_Static_assert(sizeof(struct set) == WAYS * 16, "region layout is shared: bump LP_REGION_VERSION");

uint64_t lp_limiter_bytes(void) { return SETS * sizeof(struct set); }

struct pick {
	struct bucket *bucket;
	uint64_t key, time;             /* as they were seen */
	bool mine;
};

/* Relaxed everywhere: each word carries everything that it says. */
static struct pick pick_bucket(struct set *set, uint64_t key)
{
	struct pick best = { .time = UINT64_MAX };

	for (unsigned i = 0; i < WAYS; i++) {
		struct bucket *bucket = &set->ways[i];
		uint64_t found = atomic_load_explicit(&bucket->key, memory_order_relaxed);
		uint64_t time = atomic_load_explicit(&bucket->time_ns, memory_order_relaxed);

		if (found == key)
			return (struct pick){ bucket, found, time, true };
		if (time < best.time || !best.bucket)
			best = (struct pick){ bucket, found, time, false };
	}
	return best;
}

struct lp_limit_state lp_limiter_take(struct lp_region *region, uint64_t key, uint64_t cost_ns, uint64_t burst_ns, uint64_t now)
{
	struct set *set = (struct set *)lp_region_at(region, region->want.limits_off, lp_limiter_bytes()) + key % SETS;

	key = key ? key : 1;
	if (cost_ns > burst_ns)
		return (struct lp_limit_state){ .rest_ns = burst_ns };
	for (unsigned tries = 0; tries < MAX_TRIES; tries++) {
		struct pick pick = pick_bucket(set, key);
		uint64_t end = now + burst_ns, at = pick.mine && pick.time > now ? pick.time : now;
		bool cut = at > end, refused = cut || cost_ns > end - at;

		if (cut)
			at = end;
		if (refused && !cut)
			return (struct lp_limit_state){ .left_ns = end - at, .rest_ns = at - now };
		if (!pick.mine && !atomic_compare_exchange_strong_explicit(&pick.bucket->key, &pick.key, key, memory_order_relaxed,
									   memory_order_relaxed))
			continue;
		if (!refused)
			at += cost_ns;
		if (!atomic_compare_exchange_strong_explicit(&pick.bucket->time_ns, &pick.time, at, memory_order_relaxed,
							     memory_order_relaxed))
			continue;
		return (struct lp_limit_state){
			.allowed = !refused,
			.evicted = !pick.mine && pick.time > now,
			.left_ns = end - at,
			.rest_ns = at - now,
		};
	}
	return (struct lp_limit_state){ .allowed = true, .rest_ns = burst_ns };
}
