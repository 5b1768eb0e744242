/* Rate limits in shared memory.
 *
 * Guarantees: a client's state is one word, replaced by compare-and-swap, so it is never half written and nobody repairs
 * it; a time beyond what the limit can produce (a stray write, a limit that was lowered) is cut to it, so no word can shut
 * a client out for longer than burst * interval.  Memory is fixed.  A word whose time is past says the same as no word and
 * is taken by the next client without loss; when all eight of a set are in use, the one nearest to its rest is forgotten,
 * which errs on the client's side.  Two workers that meet a new client at the same moment may both make a word: it
 * has two bursts until the second word is at rest; the first is found from then on.
 * Process: workers.  If one dies here, its request was counted or was not. */
#include "shm/limiter.h"

#include "shm/region-private.h"

#define SETS 8192u
#define WAYS 8u
#define TIME_BITS 48
#define TIME_MASK ((UINT64_C(1) << TIME_BITS) - 1)
#define MAX_TRIES 64u           /* each lost race is somebody else's progress; after so many the request is let in */

struct set {
	alignas(LP_REGION_LINE) _Atomic uint64_t words[WAYS];
};
_Static_assert(sizeof(struct set) == LP_REGION_LINE, "one set is one cache line");

uint64_t lp_limiter_bytes(void) { return SETS * sizeof(struct set); }

struct pick {
	unsigned way;
	uint64_t word;
	bool mine, busy;                /* the client's own; another client's that is not at rest */
};

static struct pick pick_way(struct set *set, uint64_t tag, uint64_t now)
{
	struct pick best = { .busy = true };
	uint64_t lowest = UINT64_MAX;

	for (unsigned i = 0; i < WAYS; i++) {
		uint64_t word = atomic_load_explicit(&set->words[i], memory_order_relaxed), at = word & TIME_MASK;

		if (word >> TIME_BITS == tag)
			return (struct pick){ i, word, true, false };
		if (at < lowest) {
			lowest = at;
			best = (struct pick){ i, word, false, at > now };
		}
	}
	return best;
}

struct lp_limit_state lp_limiter_take(struct lp_region *region, uint64_t key, const struct lp_limit *limit, uint64_t now_us)
{
	struct set *sets = lp_region_at(region, region->want.limits_off, 0), *set = &sets[key % SETS];
	uint64_t tag = key >> TIME_BITS ? key >> TIME_BITS : 1, now = now_us & TIME_MASK, depth = limit->burst * limit->interval_us;

	for (unsigned tries = 0; tries < MAX_TRIES; tries++) {
		struct pick pick = pick_way(set, tag, now);
		uint64_t at = pick.mine ? pick.word & TIME_MASK : now, next;

		if (at < now)
			at = now;
		bool cut = at > now + depth;

		if (cut)
			at = now + depth;
		next = at + limit->interval_us;
		bool refused = next > now + depth;

		if (refused && !cut)
			return (struct lp_limit_state){ .rest_us = at - now };
		/* Relaxed: the word carries everything that it says. */
		if (!atomic_compare_exchange_weak_explicit(&set->words[pick.way], &pick.word,
							   tag << TIME_BITS | ((refused ? at : next) & TIME_MASK),
							   memory_order_relaxed, memory_order_relaxed))
			continue;
		if (refused)
			return (struct lp_limit_state){ .rest_us = at - now };
		return (struct lp_limit_state){
			.allowed = true,
			.evicted = !pick.mine && pick.busy,
			.remaining = (now + depth - next) / limit->interval_us,
			.rest_us = next - now,
		};
	}
	return (struct lp_limit_state){ .allowed = true, .rest_us = depth };
}
