/* Finished spans on their way to the notifier, which exports them: one ring per slot, single producer, single consumer. */
#ifndef LP_SHM_SPANS_H
#define LP_SHM_SPANS_H

#include "common/trace.h"
#include "shm/region.h"

#define LP_SPANS_RING 1024u             /* spans; a full ring drops */
#define LP_SPAN_ATTRS 6u
#define LP_SPAN_TEXT 120u

enum lp_span_name {
	LP_SPAN_HTTP, LP_SPAN_PUSH, LP_SPAN_QUERY, LP_SPAN_TAIL,                        /* of requests */
	LP_SPAN_DECODE, LP_SPAN_COMMIT_WAIT,                                            /* under push */
	LP_SPAN_PARSE, LP_SPAN_PLAN, LP_SPAN_SCAN, LP_SPAN_MERGE,                       /* under query */
	LP_SPAN_COMMIT,                                                                 /* the writer's */
	LP_SPAN_RULE, LP_SPAN_WEBHOOK,                                                  /* the notifier's */
	LP_SPAN_NAMES
};

enum lp_span_attr {
	LP_ATTR_STATUS_CODE, LP_ATTR_LINES, LP_ATTR_BYTES, LP_ATTR_BLOCKS_READ, LP_ATTR_BLOCKS_SKIPPED, LP_ATTR_COMMIT,
	LP_SPAN_ATTR_KEYS
};

struct lp_span {
	struct lp_trace_id id;
	uint8_t parent[8];              /* zero: a root */
	struct lp_trace_id link;        /* zero: none */
	int64_t start_ns, end_ns;       /* since 1970 */
	uint8_t name, error, n_attrs;
	bool server;                    /* the span of a request from outside */
	uint8_t keys[LP_SPAN_ATTRS];
	uint16_t text_len;
	int64_t values[LP_SPAN_ATTRS];
	char text[LP_SPAN_TEXT];        /* the route, the rule, the target's name */
};
_Static_assert(sizeof(struct lp_span) == 256, "region layout is shared: bump LP_REGION_VERSION");

void lp_span_attr(struct lp_span *span, enum lp_span_attr key, int64_t value);
void lp_span_text(struct lp_span *span, const char *s, size_t n);       /* cut when it is too long */

/* Publish a copy; -ENOBUFS when the ring is full.  Process: the slot's owner, one thread of it. */
int lp_spans_put(struct lp_region *region, uint32_t slot, const struct lp_span *span);
/* 1 and the oldest span of a slot, 0 when there is none.  Process: the notifier. */
int lp_spans_take(struct lp_region *region, uint32_t slot, struct lp_span *ret_span);

#endif
