/* Shared rates: a table of buckets in the region.  Guarantees: no locks, a bounded number of steps per call but for lost races; a word
 * that makes no sense (a stray write) counts as an empty debt.  Process: workers; if one dies anywhere here, at most one amount
 * was taken for a push that was not stored. */
#include "shm/rate.h"

#include "shm/region-private.h"

#define BUCKETS 32768u          /* 512 KiB, of which pages that are never used cost nothing */
#define PROBES 8u
#define DEBT_MAX_NS (UINT64_C(1) << 50) /* 13 days */

struct bucket {
	_Atomic uint64_t key;           /* 0: free; workers, claimed by compare-and-swap once its debt is paid */
	_Atomic uint64_t paid_ns;       /* monotonic time at which it is full again; workers */
};
_Static_assert(sizeof(struct bucket) == 16, "region layout is shared: bump LP_REGION_VERSION");

uint64_t lp_rate_bytes(void) { return BUCKETS * sizeof(struct bucket); }

static bool is_full(struct bucket *bucket, uint64_t now_ns)
{
	uint64_t paid = atomic_load_explicit(&bucket->paid_ns, memory_order_relaxed);

	return paid <= now_ns || paid - now_ns > DEBT_MAX_NS;
}

/* The key's bucket; a full one of another key is as good as a new one. */
static struct bucket *find(struct bucket *table, uint64_t key, uint64_t now_ns)
{
	struct bucket *reusable = NULL;
	uint64_t other = 0;

	for (uint32_t i = 0; i < PROBES; i++) {
		struct bucket *bucket = &table[(key + i) % BUCKETS];
		uint64_t found = atomic_load_explicit(&bucket->key, memory_order_relaxed);

		if (found == key)
			return bucket;
		if (!reusable && (!found || is_full(bucket, now_ns))) {
			reusable = bucket;
			other = found;
		}
	}
	/* Who loses the race shares it with the winner's key until it is full again. */
	if (reusable)
		(void)atomic_compare_exchange_strong_explicit(&reusable->key, &other, key, memory_order_relaxed, memory_order_relaxed);
	return reusable ? reusable : &table[key % BUCKETS];
}

bool lp_rate_take(struct lp_region *region, uint64_t key, uint64_t cost_ns, uint64_t burst_ns, uint64_t now_ns)
{
	struct bucket *table = lp_region_at(region, region->want.rates_off, lp_rate_bytes());
	struct bucket *bucket = find(table, key ? key : 1, now_ns);
	uint64_t paid = atomic_load_explicit(&bucket->paid_ns, memory_order_relaxed), from;

	if (cost_ns > burst_ns)
		return false;
	do {
		from = paid <= now_ns || paid - now_ns > DEBT_MAX_NS ? now_ns : paid;
		if (from - now_ns > burst_ns - cost_ns)
			return false;
	} while (!atomic_compare_exchange_weak_explicit(&bucket->paid_ns, &paid, from + cost_ns, memory_order_relaxed, memory_order_relaxed));
	return true;
}
