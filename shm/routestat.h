/* Requests per route and method with their durations: one table per worker, so each cell has one writing process and
 * outlives it.  What a route's number means is known to src/http, which numbers its route table. */
#ifndef LP_SHM_ROUTESTAT_H
#define LP_SHM_ROUTESTAT_H

#include "shm/region.h"

#define LP_ROUTESTAT_ROUTES 128u        /* a higher number is counted as the last */
#define LP_ROUTESTAT_METHODS 5u         /* GET (and HEAD), POST, PUT, DELETE, others */
#define LP_ROUTESTAT_BUCKETS 12u

extern const char *const lp_routestat_bounds[LP_ROUTESTAT_BUCKETS];     /* as in le="..." */

struct lp_routestat {
	uint64_t buckets[LP_ROUTESTAT_BUCKETS];         /* not cumulative */
	uint64_t sum_us, errors;
};

/* Count one answered request.  Process: the worker of that number. */
void lp_routestat_add(struct lp_region *region, uint32_t worker, uint32_t route, uint32_t method, uint64_t us, bool error);
/* The sum over all workers; returns the number of requests. */
uint64_t lp_routestat_sum(struct lp_region *region, uint32_t route, uint32_t method, struct lp_routestat *ret_sum);

#endif
