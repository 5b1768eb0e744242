/* Active streams: a table of keys in the region, with a number for each tenant.  Guarantees: no locks, a bounded number of steps.
 * Process: workers.  One that dies between claiming or freeing a place and counting it leaves its tenant's number off by one for the
 * life of the region: as good as a limit needs. */
#include "shm/streams.h"

#include "shm/region-private.h"

#include "common/bytes.h"

#define TENANTS 1024u
#define PROBES 16u
#define TOUCH_S 60u             /* how late the last push of a stream may be known */

struct place {
	_Atomic uint64_t key;           /* 0: free; workers, by compare-and-swap */
	_Atomic uint32_t seen_s;        /* monotonic; 0: claimed and not counted yet; workers */
	_Atomic uint32_t tenant;        /* index of its number; workers, before seen_s of a new place */
};
_Static_assert(sizeof(struct place) == 16, "region layout is shared: bump LP_REGION_VERSION");

struct tenant {
	_Atomic uint64_t key;           /* 0: free; never freed */
	_Atomic int64_t streams;
};

struct table {
	_Atomic uint32_t seeded, cursor;
	struct tenant tenants[TENANTS]; /* the last resort of more is shared: strict */
	struct place places[LP_STREAMS_MAX];    /* 16 MiB, of which pages that are never used cost nothing */
};

uint64_t lp_streams_bytes(void) { return LP_ALIGN(sizeof(struct table), LP_REGION_LINE); }

static struct table *table_of(struct lp_region *region)
{
	return lp_region_at(region, region->want.streams_off, lp_streams_bytes());
}

static uint32_t tenant_of(struct table *table, uint64_t key)
{
	key = key ? key : 1;
	for (uint32_t i = 0; i < PROBES; i++) {
		uint32_t at = (uint32_t)((key + i) % TENANTS);
		uint64_t found = 0;

		if (atomic_load_explicit(&table->tenants[at].key, memory_order_relaxed) == key ||
		    atomic_compare_exchange_strong_explicit(&table->tenants[at].key, &found, key, memory_order_relaxed, memory_order_relaxed) ||
		    found == key)
			return at;
	}
	return (uint32_t)(key % TENANTS);
}

static void touch(struct place *place, uint32_t now_s)
{
	if (now_s - atomic_load_explicit(&place->seen_s, memory_order_relaxed) >= TOUCH_S)
		atomic_store_explicit(&place->seen_s, now_s, memory_order_relaxed);
}

/* The stream's place, or a free one; NULL: neither. */
static struct place *find(struct table *table, uint64_t key, bool *ret_known)
{
	struct place *vacant = NULL;

	for (uint32_t i = 0; i < PROBES; i++) {
		struct place *place = &table->places[(key + i) % LP_STREAMS_MAX];
		uint64_t found = atomic_load_explicit(&place->key, memory_order_acquire);

		*ret_known = found == key;
		if (*ret_known)
			return place;
		if (!found && !vacant)
			vacant = place;
	}
	return vacant;
}

bool lp_streams_admit(struct lp_region *region, uint64_t tenant, uint64_t stream, uint32_t max, uint64_t now_mono_s)
{
	struct table *table = table_of(region);
	uint64_t key = stream ? stream : 1, none = 0;
	uint32_t now_s = now_mono_s ? (uint32_t)now_mono_s : 1, index;
	bool known;
	struct place *place = find(table, key, &known);

	if (known)
		touch(place, now_s);
	if (known || !place)
		return true;
	index = tenant_of(table, tenant);
	if (atomic_fetch_add_explicit(&table->tenants[index].streams, 1, memory_order_relaxed) >= (int64_t)max) {
		atomic_fetch_sub_explicit(&table->tenants[index].streams, 1, memory_order_relaxed);
		return false;
	}
	if (!atomic_compare_exchange_strong_explicit(&place->key, &none, key, memory_order_acq_rel, memory_order_relaxed)) {
		/* Lost the race: for the same stream, or for the place, which then counts with the next push. */
		atomic_fetch_sub_explicit(&table->tenants[index].streams, 1, memory_order_relaxed);
		return true;
	}
	atomic_store_explicit(&place->tenant, index, memory_order_relaxed);
	atomic_store_explicit(&place->seen_s, now_s, memory_order_release);
	return true;
}

uint32_t lp_streams_active(struct lp_region *region, uint64_t tenant)
{
	struct table *table = table_of(region);
	int64_t n = atomic_load_explicit(&table->tenants[tenant_of(table, tenant)].streams, memory_order_relaxed);

	return n > 0 ? (uint32_t)n : 0;
}

void lp_streams_sweep(struct lp_region *region, uint32_t n, uint64_t now_mono_s)
{
	struct table *table = table_of(region);
	uint32_t at = atomic_fetch_add_explicit(&table->cursor, n, memory_order_relaxed), now_s = (uint32_t)now_mono_s;

	for (uint32_t i = 0; i < n; i++) {
		struct place *place = &table->places[(at + i) % LP_STREAMS_MAX];
		uint64_t key = atomic_load_explicit(&place->key, memory_order_acquire);
		uint32_t seen_s = atomic_load_explicit(&place->seen_s, memory_order_acquire);
		uint32_t tenant = atomic_load_explicit(&place->tenant, memory_order_relaxed);

		if (!key || !seen_s || seen_s > now_s || now_s - seen_s <= LP_STREAMS_ACTIVE_S)
			continue;
		/* Before the place is free, so that its next owner is not swept away for what this one left. */
		atomic_store_explicit(&place->seen_s, 0, memory_order_relaxed);
		if (atomic_compare_exchange_strong_explicit(&place->key, &key, 0, memory_order_acq_rel, memory_order_relaxed))
			atomic_fetch_sub_explicit(&table->tenants[tenant % TENANTS].streams, 1, memory_order_relaxed);
	}
}

bool lp_streams_claim_seeding(struct lp_region *region)
{
	struct table *table = table_of(region);

	return !atomic_load_explicit(&table->seeded, memory_order_relaxed) && !atomic_exchange_explicit(&table->seeded, 1, memory_order_relaxed);
}
