/* Counting: distinct entries and bytes per stream and bucket of time.  Inside of src/query. */
#ifndef LP_QUERY_COUNTING_H
#define LP_QUERY_COUNTING_H

#include "query/engine-private.h"

struct lp_count {
	uint64_t entries, bytes;
};

struct lp_counting;

struct lp_counting_spec {
	int64_t step_ns;        /* buckets end at multiples of it; 0: one bucket, the whole range */
	uint32_t max_buckets;   /* more: the query fails with Loki's text on resolution */
	/* One stream that has entries in the range; `live`: some of them in the log.  Any pool thread, several at a time. */
	int (*take)(struct lp_query *query, const uint8_t *labels, uint32_t len, const struct lp_count *buckets, bool live);
};

/* In the plan stage: finds the pieces and sets query->n_tasks.  *ret_counting is set as soon as it has to be freed. */
int lp_counting_plan(struct lp_query *query, struct lp_worker *worker, const struct lp_counting_spec *spec, struct lp_counting **ret_counting);
int lp_counting_run(struct lp_query *query, struct lp_worker *worker, struct lp_counting *counting, uint32_t task);
void lp_counting_free(struct lp_query *query, struct lp_counting **counting);

uint32_t lp_counting_buckets(const struct lp_counting *counting);
/* First instant behind the bucket. */
int64_t lp_counting_bucket_end(const struct lp_query *query, const struct lp_counting *counting, uint32_t bucket);
/* Blocks of segments of which entries were counted. */
uint64_t lp_counting_blocks(const struct lp_query *query, const struct lp_counting *counting);

#endif
