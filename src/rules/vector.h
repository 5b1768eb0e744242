/* The answer of an instant metric query, read back: what a rule is evaluated on.  Pure. */
#ifndef LP_RULES_VECTOR_H
#define LP_RULES_VECTOR_H

#include "common/arena.h"
#include "rules/pair.h"

#include <stddef.h>
#include <stdint.h>

struct lp_sample {
	struct lp_alert_pair *labels;   /* sorted by name */
	uint32_t n_labels;
	double value;
};

struct lp_vector {
	struct lp_sample *samples;
	uint32_t n;
};

/* {"status":"success","data":{"resultType":"vector"|"scalar","result":...}} into the arena.  A scalar is one sample without labels.
 * -EBADMSG another shape, -ENOMEM. */
int lp_vector_parse(const void *json, size_t len, struct lp_arena *arena, struct lp_vector *ret_vector);

#endif
