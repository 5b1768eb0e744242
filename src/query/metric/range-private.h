/* The accumulator's inside, shared by range.c (filling it) and window.c (reading it). */
#ifndef LP_QUERY_METRIC_RANGE_PRIVATE_H
#define LP_QUERY_METRIC_RANGE_PRIVATE_H

#include "query/metric/metric-private.h"

struct lp_range_entry {
	uint32_t series;
	struct lp_pane pane;
};

struct lp_range_acc {
	const struct lp_range_agg *range;       /* borrowed until close */
	const struct lp_state_ops *ops;
	struct lp_panes panes;
	uint64_t max_bytes, bytes, samples;     /* bytes: without keys */

	struct lp_pane pane;                    /* the last one asked for, and its bounds */
	int64_t pane_first_ns, pane_last_ns;

	struct lp_keys keys;                    /* series by labels */
	uint32_t *last_entry;                   /* of each series */
	uint32_t cap_series;

	struct lp_range_entry *entries;         /* in order of creation */
	uint8_t *states;                        /* ops->bytes for each entry */
	uint32_t n_entries, cap_entries;
	uint32_t *slots, slots_cap;             /* entry + 1 by series and pane */

	/* Every sample, in order of adding; only if ops->keeps_samples (times: keeps_times). */
	uint32_t *log_entries;
	double *log_values;
	int64_t *log_times;
	uint32_t n_log, cap_log;
};

static inline void *lp_range_state(struct lp_range_acc *acc, uint32_t entry)
{
	return acc->states + (size_t)entry * acc->ops->bytes;
}

#endif
