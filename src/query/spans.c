/* Spans of a query's phases, from the times that the engine took.  Process: worker and notifier, main thread. */
#include "query/spans.h"

#include "common/bytes.h"

void lp_query_spans_put(struct lp_region *region, uint32_t slot, const struct lp_trace *trace, int64_t started_mono_ns,
			const struct lp_query_stats *stats)
{
	const struct {
		enum lp_span_name name;
		int64_t ns;
	} phases[] = {
		{ LP_SPAN_PARSE, stats->parse_ns }, { LP_SPAN_PLAN, stats->plan_ns }, { LP_SPAN_SCAN, stats->scan_ns },
		{ LP_SPAN_MERGE, stats->merge_ns },
	};
	int64_t at_ns = started_mono_ns + stats->queue_ns;

	for (size_t i = 0; i < LP_ARRAY_LEN(phases); i++) {
		struct lp_span span = lp_span_child(trace, phases[i].name, at_ns, at_ns + phases[i].ns);

		if (phases[i].name == LP_SPAN_PLAN)
			lp_span_attr(&span, LP_ATTR_BLOCKS_SKIPPED, (int64_t)stats->blocks_skipped);
		if (phases[i].name == LP_SPAN_SCAN) {
			lp_span_attr(&span, LP_ATTR_BLOCKS_READ, (int64_t)stats->blocks_read);
			lp_span_attr(&span, LP_ATTR_LINES, (int64_t)stats->lines_scanned);
			lp_span_attr(&span, LP_ATTR_BYTES, (int64_t)stats->bytes_scanned);
		}
		at_ns += phases[i].ns;
		(void)lp_spans_put(region, slot, &span);
	}
}
