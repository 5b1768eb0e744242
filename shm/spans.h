/* Finished spans on their way to the notifier, which exports them: one ring per slot, single producer, single consumer. */
#ifndef LP_SHM_SPANS_H
#define LP_SHM_SPANS_H

#include "common/trace.h"
#include "shm/region.h"

#define LP_SPANS_RING 1024u             /* spans; a full ring drops */
#define LP_SPAN_ATTRS 6u
#define LP_SPAN_TEXT 120u
#define LP_SPAN_TEXT_FIRST 80u          /* of it, at most */

enum lp_span_name {
	LP_SPAN_HTTP, LP_SPAN_PUSH, LP_SPAN_QUERY, LP_SPAN_TAIL,                        /* of requests; a tail's lasts until its end */
	LP_SPAN_DECODE, LP_SPAN_COMMIT_WAIT,                                            /* under push */
	LP_SPAN_PARSE, LP_SPAN_PLAN, LP_SPAN_SCAN, LP_SPAN_MERGE,                       /* under query, history and rule */
	LP_SPAN_HISTORY,                                                                /* under tail */
	LP_SPAN_COMMIT,                                                                 /* the writer's */
	LP_SPAN_RULE, LP_SPAN_WEBHOOK,                                                  /* the notifier's */
	LP_SPAN_NAMES
};

enum lp_span_attr {
	LP_ATTR_STATUS_CODE, LP_ATTR_LINES, LP_ATTR_BYTES, LP_ATTR_BLOCKS_READ, LP_ATTR_BLOCKS_SKIPPED, LP_ATTR_COMMIT,
	LP_ATTR_LINES_DROPPED,
	LP_ATTR_RULE_TYPE, LP_ATTR_RULE_STATE, LP_ATTR_SERIES,          /* enum lp_span_rule_*; series of the answer */
	LP_ATTR_TARGET_KIND, LP_ATTR_RETRY,                             /* enum lp_span_target; attempts before this one */
	LP_SPAN_ATTR_KEYS
};

/* Values of attributes that are exported as words. */
enum lp_span_rule_type { LP_SPAN_ALERTING, LP_SPAN_RECORDING };
enum lp_span_rule_state { LP_SPAN_INACTIVE, LP_SPAN_PENDING, LP_SPAN_FIRING };
enum lp_span_target { LP_SPAN_WEBHOOK_PLAIN, LP_SPAN_SLACK, LP_SPAN_PAGERDUTY, LP_SPAN_ALERTMANAGER };

struct lp_span {
	struct lp_trace_id id;
	uint8_t parent[8];              /* zero: a root */
	struct lp_trace_id link;        /* zero: none */
	int64_t start_ns, end_ns;       /* since 1970 */
	uint8_t name, error, n_attrs;
	uint8_t keys[LP_SPAN_ATTRS];
	uint16_t text_len, more_len;    /* two texts, one behind the other */
	int64_t values[LP_SPAN_ATTRS];
	char text[LP_SPAN_TEXT];        /* the route; the rule and its group; the target and what went wrong */
};
_Static_assert(sizeof(struct lp_span) == 256, "region layout is shared: bump LP_REGION_VERSION");

void lp_span_attr(struct lp_span *span, enum lp_span_attr key, int64_t value);
/* The texts; cut when they are too long, and bytes that are no UTF-8 are exported as "?".  The second after the first. */
void lp_span_text(struct lp_span *span, const char *s, size_t n);
void lp_span_more(struct lp_span *span, const char *s, size_t n);
/* A span of its own under the trace's; the times are monotonic. */
struct lp_span lp_span_child(const struct lp_trace *trace, enum lp_span_name name, int64_t start_mono_ns, int64_t end_mono_ns);

/* Publish a copy; -ENOBUFS when the ring is full, which is counted.  Process: the slot's owner, one thread of it. */
int lp_spans_put(struct lp_region *region, uint32_t slot, const struct lp_span *span);
/* 1 and the oldest span of a slot, 0 when there is none.  Process: the notifier. */
int lp_spans_take(struct lp_region *region, uint32_t slot, struct lp_span *ret_span);
bool lp_spans_left(struct lp_region *region, uint32_t slot);

#endif
