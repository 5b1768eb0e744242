/* Inside of metric queries: what metric_query.c (plan, answer) and metric_scan.c (tasks) share. */
#ifndef LP_QUERY_METRIC_PRIVATE_H
#define LP_QUERY_METRIC_PRIVATE_H

#include "query/engine-private.h"
#include "query/metric/metric.h"

#define LP_METRIC_LOCKS 64u

/* What one task at a time needs of a leaf; handed from task to task, so that there are as many as ran at once. */
struct lp_leaf_thread {
	struct lp_leaf_thread *next, *next_free;
	struct lp_range_acc *acc;
	struct lp_pipeline_state *state;
	struct lp_buf labels;           /* of the series at hand */
	uint64_t charged;               /* bytes of the accumulator that the query knows of */
};

/* One range aggregation: a log query of its own whose lines become samples. */
struct lp_leaf {
	struct lp_range_agg range;      /* as parsed, but for the line filters that were taken off */
	const struct lp_grouping *grouping;     /* around it, when lines may be grouped by it */
	struct lp_line_filter *filter;
	struct lp_pipeline *pipeline;
	struct lp_items plan;
	struct lp_regions regions;
	const struct lp_leaf *twin;     /* an earlier leaf that asks the same: its matrix is this one's, too */
	uint32_t first_task;
	int64_t first_ts, last_ts;      /* what the windows need */
	bool deleted;                   /* some of its lines are: every line is looked at */
	bool plain;                     /* nothing is left but to count lines or their bytes */
	bool sizes;                     /* their bytes */
	struct lp_leaf_thread *threads, *free;  /* query->lock */
	pthread_mutex_t locks[LP_METRIC_LOCKS]; /* of regions */
};

struct lp_metric_query {
	const struct lp_expr *root;     /* the query's tree, or what splitting made of it */
	struct lp_metric_grid grid;
	struct lp_leaf *leaves;
	uint32_t n;
	_Atomic uint64_t samples;
};

int lp_metric_fail_memory(struct lp_query *query);
int lp_metric_run(struct lp_query *query, struct lp_worker *worker, uint32_t task);

#endif
