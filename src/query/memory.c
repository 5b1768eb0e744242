/* What a query has taken of query.max_query_memory.  Guarantees: who is granted memory stays within the limit together with all others
 * of the query; over it the query fails with a text that names the option.  Process: worker, pool threads; any of them at any time. */
#include "query/engine-private.h"

#include <errno.h>
#include <stdlib.h>

int lp_query_charge(struct lp_query *query, size_t bytes)
{
	uint64_t now = atomic_fetch_add_explicit(&query->memory, bytes, memory_order_relaxed) + bytes;

	if (!query->params.max_memory || now <= query->params.max_memory)
		return 0;
	atomic_fetch_sub_explicit(&query->memory, bytes, memory_order_relaxed);
	(void)lp_query_fail(query, 400, "BAD_QUERY",
			    "the query needs more memory than query.max_query_memory allows (%llu bytes): use a lower limit, a shorter time "
			    "range or more label matchers, or raise query.max_query_memory",
			    (unsigned long long)query->params.max_memory);
	return -ENOMEM;
}

void lp_query_uncharge(struct lp_query *query, size_t bytes)
{
	atomic_fetch_sub_explicit(&query->memory, bytes, memory_order_relaxed);
}

uint64_t lp_query_memory_left(const struct lp_query *query)
{
	uint64_t used = atomic_load_explicit(&query->memory, memory_order_relaxed), max = query->params.max_memory;

	return !max ? UINT64_MAX / 2 : used < max ? max - used : 0;
}

int lp_query_grow(struct lp_query *query, void **array, size_t *cap, size_t need, size_t elem)
{
	if (need <= *cap)
		return 0;
	size_t bigger = *cap ? *cap * 2 : 64;

	if (bigger < need)
		bigger = need;
	int r = lp_query_charge(query, (bigger - *cap) * elem);

	if (r < 0)
		return r;
	void *p = realloc(*array, bigger * elem);

	if (!p) {
		lp_query_uncharge(query, (bigger - *cap) * elem);
		return lp_query_fail_errno(query, -ENOMEM);
	}
	*array = p;
	*cap = bigger;
	return 0;
}
