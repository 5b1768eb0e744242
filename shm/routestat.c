/* Requests per route.  Guarantees: adding is relaxed atomic additions, wait-free; a reader may see a moment between two of
 * them, never a torn number, and no number ever falls.
 * Process: worker i adds to table i; any worker reads all.  If one dies here, a request is half counted. */
#include "shm/routestat.h"

#include "common/assert.h"
#include "shm/region-private.h"

#include <string.h>

const char *const lp_routestat_bounds[LP_ROUTESTAT_BUCKETS] = {
	"0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1.0", "2.5", "5.0", "10.0", "+Inf",
};
static const uint64_t bounds_us[LP_ROUTESTAT_BUCKETS] = {
	5000, 10000, 25000, 50000, 100000, 250000, 500000, 1000000, 2500000, 5000000, 10000000, UINT64_MAX,
};

struct cell {
	alignas(LP_REGION_LINE) _Atomic uint64_t buckets[LP_ROUTESTAT_BUCKETS];
	_Atomic uint64_t sum_us, errors;
};

struct table {
	struct cell cells[LP_ROUTESTAT_ROUTES][LP_ROUTESTAT_METHODS];
};

uint64_t lp_routestat_bytes(void) { return sizeof(struct table); }

static struct cell *cell_at(struct lp_region *region, uint32_t worker, uint32_t route, uint32_t method)
{
	struct table *tables = lp_region_at(region, region->want.routes_off, 0);

	if (route >= LP_ROUTESTAT_ROUTES)
		route = LP_ROUTESTAT_ROUTES - 1;
	if (method >= LP_ROUTESTAT_METHODS)
		method = LP_ROUTESTAT_METHODS - 1;
	return &tables[worker].cells[route][method];
}

void lp_routestat_add(struct lp_region *region, uint32_t worker, uint32_t route, uint32_t method, uint64_t us, bool error)
{
	struct cell *cell;
	unsigned bucket = 0;

	LP_ASSERT(worker < region->want.workers);
	cell = cell_at(region, worker, route, method);
	while (us > bounds_us[bucket])
		bucket++;
	atomic_fetch_add_explicit(&cell->buckets[bucket], 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&cell->sum_us, us, memory_order_relaxed);
	if (error)
		atomic_fetch_add_explicit(&cell->errors, 1, memory_order_relaxed);
}

uint64_t lp_routestat_sum(struct lp_region *region, uint32_t route, uint32_t method, struct lp_routestat *ret_sum)
{
	uint64_t count = 0;

	memset(ret_sum, 0, sizeof *ret_sum);
	for (uint32_t worker = 0; worker < region->want.workers; worker++) {
		struct cell *cell = cell_at(region, worker, route, method);

		for (unsigned i = 0; i < LP_ROUTESTAT_BUCKETS; i++) {
			uint64_t n = atomic_load_explicit(&cell->buckets[i], memory_order_relaxed);

			ret_sum->buckets[i] += n;
			count += n;
		}
		ret_sum->sum_us += atomic_load_explicit(&cell->sum_us, memory_order_relaxed);
		ret_sum->errors += atomic_load_explicit(&cell->errors, memory_order_relaxed);
	}
	return count;
}
