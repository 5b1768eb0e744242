/* Identity of traces: W3C Trace Context (traceparent), sampling as OpenTelemetry's traceidratio, parentbased or not. */
#ifndef LP_COMMON_TRACE_H
#define LP_COMMON_TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LP_TRACEPARENT_LEN 55

struct lp_trace_id {
	uint8_t trace[16], span[8];
};

struct lp_sampler {
	bool on, parent_based;          /* parent_based: the caller decides for a trace that it began */
	uint64_t threshold;             /* of 2^63: traces whose number is below it are kept */
};

/* One request: its own span, and the span of the caller (zero: there is none). */
struct lp_trace {
	struct lp_trace_id id;
	uint8_t parent[8];
	bool sampled;
};

/* "00-<32 hex>-<16 hex>-<2 hex>"; a later version may be longer.  -EINVAL: to be taken as absent. */
int lp_traceparent_parse(const char *s, size_t n, struct lp_trace_id *ret_id, bool *ret_sampled);
void lp_traceparent_print(char to[LP_TRACEPARENT_LEN + 1], const struct lp_trace_id *id, bool sampled);

/* "0.25" -> sampler; -EINVAL when it is not a number from 0 to 1. */
int lp_sampler_parse(const char *ratio, bool parent_based, struct lp_sampler *ret_sampler);
bool lp_sampler_takes(const struct lp_sampler *sampler, const uint8_t trace[16]);

/* Begin the span of a request whose traceparent header is (s, n), s NULL without one. */
void lp_trace_begin(const struct lp_sampler *sampler, const char *s, size_t n, struct lp_trace *ret_trace);
/* Begin a span of our own under `parent`, which is sampled; NULL or zero: in a trace that begins here. */
void lp_trace_begin_under(const struct lp_sampler *sampler, const struct lp_trace_id *parent, struct lp_trace *ret_trace);
void lp_trace_new_span(uint8_t span[8]);
/* The span of group commit `number`: the writer that makes it and the workers that link to it compute the same. */
void lp_trace_commit(uint64_t epoch, uint64_t number, struct lp_trace_id *ret_id);

#endif
