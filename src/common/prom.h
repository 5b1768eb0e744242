/* Pieces of Prometheus' text format 0.0.4 and of OpenMetrics 1.0, which differ in the names of counter families. */
#ifndef LP_COMMON_PROM_H
#define LP_COMMON_PROM_H

#include "common/buf.h"

struct lp_prom {
	struct lp_buf *out;             /* borrowed */
	bool openmetrics;
};

/* HELP and TYPE of a family, once before its samples.  type: counter, gauge, histogram, untyped; OpenMetrics names a counter
 * family without _total and says unknown for untyped. */
void lp_prom_head(const struct lp_prom *prom, const char *name, const char *type, const char *help);
/* A label's value with its quotes; what the format cannot carry is escaped. */
void lp_prom_value(const struct lp_prom *prom, const char *s, size_t n);
/* An observation whose trace is known. */
struct lp_prom_exemplar {
	uint8_t trace[16];
	uint64_t us;
	int64_t at_ns;                  /* since 1970; 0: none */
};

/* The whole buckets of a histogram: n counts, not cumulative, the last one is +Inf.  labels: "" or `a="b"`.  exemplars: NULL, or one
 * for each bucket, which only OpenMetrics has. */
void lp_prom_histogram(const struct lp_prom *prom, const char *name, const char *labels, const uint64_t *counts,
		       const char *const *bounds, size_t n, uint64_t sum_us, const struct lp_prom_exemplar *exemplars);

#endif
