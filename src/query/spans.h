/* A query's phases as spans (shm/spans.h). */
#ifndef LP_QUERY_SPANS_H
#define LP_QUERY_SPANS_H

#include "query/query.h"
#include "shm/spans.h"

/* Put parse, plan, scan and merge of a query that is over under the trace's span.  started_mono_ns: when it was submitted.
 * Process: the slot's owner, the thread that puts its spans. */
void lp_query_spans_put(struct lp_region *region, uint32_t slot, const struct lp_trace *trace, int64_t started_mono_ns,
			const struct lp_query_stats *stats);

#endif
