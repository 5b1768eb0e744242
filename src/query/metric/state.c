/* Pane states: what a range aggregation keeps of the samples of one pane, so that panes merge into windows.
 *
 *   count, rate             number of samples
 *   sums, rate of a value   compensated sum (Neumaier, ZAMM 54, 1974): the result does not depend on who added what
 *   avg, stddev, stdvar     mean and squared deviations (Welford 1962), merged as in Chan, Golub, LeVeque (1979)
 *   min, max                value; NaN only when there is nothing else, as in Loki
 *   first, last             value and time
 *   quantile                number of samples; the samples themselves are in the accumulator's log
 *   rate_counter            first, last and the values lost in resets, made from the log when it is in order of time
 *
 * Pure functions, any thread of a worker; nothing is lost if it dies here. */
#include "query/metric/metric-private.h"

#include <math.h>

struct count_state {
	uint64_t n;
};

struct sum_state {
	double sum, lost;
};

struct mean_state {
	uint64_t n;
	double mean, squares;
};

struct extreme_state {
	double v;
};

struct edge_state {
	uint64_t n;
	int64_t ts_ns;
	double v;
};

_Static_assert(sizeof(struct lp_counter_state) <= LP_STATE_MAX_BYTES, "scratch states are too small");

static void count_add(void *state, int64_t ts_ns, double v, uint64_t n)
{
	struct count_state *s = state;

	(void)ts_ns, (void)v;
	s->n += n;
}

static void count_merge(void *into, const void *later)
{
	((struct count_state *)into)->n += ((const struct count_state *)later)->n;
}

static double count_value(const void *state, double left_ns, double right_ns)
{
	(void)left_ns, (void)right_ns;
	return (double)((const struct count_state *)state)->n;
}

static void sum_one(struct sum_state *s, double v)
{
	double sum = s->sum + v;

	s->lost += fabs(s->sum) >= fabs(v) ? (s->sum - sum) + v : (v - sum) + s->sum;
	s->sum = sum;
}

static void sum_add(void *state, int64_t ts_ns, double v, uint64_t n)
{
	(void)ts_ns, (void)n;
	sum_one(state, v);
}

static void sum_merge(void *into, const void *later)
{
	struct sum_state *s = into;
	const struct sum_state *l = later;

	sum_one(s, l->sum);
	s->lost += l->lost;
}

static double sum_value(const void *state, double left_ns, double right_ns)
{
	const struct sum_state *s = state;

	(void)left_ns, (void)right_ns;
	/* An infinite or NaN sum made `lost` meaningless. */
	return isfinite(s->sum) ? s->sum + s->lost : s->sum;
}

/* Weighted means instead of differences where differences would make NaN of infinities or overflow. */
static double mean_of(double a, double a_part, double b, double b_part)
{
	double delta = b - a;

	return isfinite(delta) ? a + delta * b_part : a * a_part + b * b_part;
}

static void mean_add(void *state, int64_t ts_ns, double v, uint64_t n)
{
	struct mean_state *s = state;
	double old = s->mean;

	(void)ts_ns, (void)n;
	s->n++;
	s->mean = s->n == 1 ? v : mean_of(old, (double)(s->n - 1) / (double)s->n, v, 1 / (double)s->n);
	/* The first sample deviates by nothing, unless it is not a number to calculate with. */
	s->squares += s->n == 1 ? v - v : (v - old) * (v - s->mean);
}

static void mean_merge(void *into, const void *later)
{
	struct mean_state *s = into;
	const struct mean_state *l = later;

	if (!l->n)
		return;
	if (!s->n) {
		*s = *l;
		return;
	}
	double n = (double)(s->n + l->n), delta = l->mean - s->mean;

	s->squares += l->squares + delta * delta * ((double)s->n * (double)l->n / n);
	s->mean = mean_of(s->mean, (double)s->n / n, l->mean, (double)l->n / n);
	s->n += l->n;
}

static double mean_value(const void *state, double left_ns, double right_ns)
{
	(void)left_ns, (void)right_ns;
	return ((const struct mean_state *)state)->mean;
}

static double stdvar_value(const void *state, double left_ns, double right_ns)
{
	const struct mean_state *s = state;

	(void)left_ns, (void)right_ns;
	return s->squares / (double)s->n;
}

static double stddev_value(const void *state, double left_ns, double right_ns)
{
	return sqrt(stdvar_value(state, left_ns, right_ns));
}

static void min_one(struct extreme_state *s, double v)
{
	if (v < s->v || isnan(s->v))
		s->v = v;
}

static void max_one(struct extreme_state *s, double v)
{
	if (v > s->v || isnan(s->v))
		s->v = v;
}

static void min_add(void *state, int64_t ts_ns, double v, uint64_t n)
{
	(void)ts_ns, (void)n;
	min_one(state, v);
}

static void max_add(void *state, int64_t ts_ns, double v, uint64_t n)
{
	(void)ts_ns, (void)n;
	max_one(state, v);
}

static void min_merge(void *into, const void *later)
{
	min_one(into, ((const struct extreme_state *)later)->v);
}

static void max_merge(void *into, const void *later)
{
	max_one(into, ((const struct extreme_state *)later)->v);
}

static double extreme_value(const void *state, double left_ns, double right_ns)
{
	(void)left_ns, (void)right_ns;
	return ((const struct extreme_state *)state)->v;
}

static void first_add(void *state, int64_t ts_ns, double v, uint64_t n)
{
	struct edge_state *s = state;

	(void)n;
	if (!s->n || ts_ns < s->ts_ns)
		*s = (struct edge_state){ 1, ts_ns, v };
}

static void last_add(void *state, int64_t ts_ns, double v, uint64_t n)
{
	struct edge_state *s = state;

	(void)n;
	if (!s->n || ts_ns >= s->ts_ns)
		*s = (struct edge_state){ 1, ts_ns, v };
}

static void first_merge(void *into, const void *later)
{
	const struct edge_state *l = later;

	if (l->n)
		first_add(into, l->ts_ns, l->v, 1);
}

static void last_merge(void *into, const void *later)
{
	const struct edge_state *l = later;

	if (l->n)
		last_add(into, l->ts_ns, l->v, 1);
}

static double edge_value(const void *state, double left_ns, double right_ns)
{
	(void)left_ns, (void)right_ns;
	return ((const struct edge_state *)state)->v;
}

static void counter_merge(void *into, const void *later)
{
	struct lp_counter_state *s = into;
	const struct lp_counter_state *l = later;

	if (!l->n)
		return;
	if (!s->n) {
		*s = *l;
		return;
	}
	s->resets += l->resets + (l->first < s->last ? s->last : 0);
	s->n += l->n;
	s->last = l->last;
	s->last_ns = l->last_ns;
}

/* Prometheus' extrapolation (promql/functions.go, extrapolatedRate) against the window's borders.  Fewer than two samples give 0:
 * Loki keeps the series. */
static double counter_value(const void *state, double left_ns, double right_ns)
{
	const struct lp_counter_state *s = state;

	if (s->n < 2)
		return 0;
	double increase = s->last - s->first + s->resets;
	double to_start = (s->first_ns - left_ns) / 1e9, to_end = (right_ns - s->last_ns) / 1e9;
	double sampled = (s->last_ns - s->first_ns) / 1e9, average = sampled / (double)(s->n - 1), threshold = average * 1.1;

	/* A counter is never negative: do not extrapolate beyond its zero. */
	if (increase > 0 && s->first >= 0) {
		double to_zero = sampled * (s->first / increase);

		if (to_zero < to_start)
			to_start = to_zero;
	}
	double whole = sampled + (to_start < threshold ? to_start : average / 2) + (to_end < threshold ? to_end : average / 2);

	return increase * (whole / sampled) / ((right_ns - left_ns) / 1e9);
}

static const struct count_state count_empty;
static const struct sum_state sum_empty;
static const struct mean_state mean_empty;
static const struct extreme_state extreme_empty = { NAN };
static const struct edge_state edge_empty;
static const struct lp_counter_state counter_empty;

#define STATE(type, add, merge, value) { sizeof(struct type##_state), false, false, &type##_empty, add, merge, value }

const struct lp_state_ops *lp_state_ops(const struct lp_range_agg *range)
{
	static const struct lp_state_ops count = STATE(count, count_add, count_merge, count_value);
	static const struct lp_state_ops sum = STATE(sum, sum_add, sum_merge, sum_value);
	static const struct lp_state_ops avg = STATE(mean, mean_add, mean_merge, mean_value);
	static const struct lp_state_ops stddev = STATE(mean, mean_add, mean_merge, stddev_value);
	static const struct lp_state_ops stdvar = STATE(mean, mean_add, mean_merge, stdvar_value);
	static const struct lp_state_ops min = STATE(extreme, min_add, min_merge, extreme_value);
	static const struct lp_state_ops max = STATE(extreme, max_add, max_merge, extreme_value);
	static const struct lp_state_ops first = STATE(edge, first_add, first_merge, edge_value);
	static const struct lp_state_ops last = STATE(edge, last_add, last_merge, edge_value);
	static const struct lp_state_ops quantile = { sizeof(struct count_state), true, false, &count_empty, count_add, count_merge, count_value };
	static const struct lp_state_ops counter = { sizeof(struct lp_counter_state), true, true, &counter_empty, count_add, counter_merge,
						     counter_value };

	switch (range->op) {
	case LP_RANGE_COUNT:
	case LP_RANGE_ABSENT:
		return &count;
	case LP_RANGE_RATE:
		return range->has_unwrap ? &sum : &count;
	case LP_RANGE_BYTES:
	case LP_RANGE_BYTES_RATE:
	case LP_RANGE_SUM:
		return &sum;
	case LP_RANGE_AVG: return &avg;
	case LP_RANGE_MIN: return &min;
	case LP_RANGE_MAX: return &max;
	case LP_RANGE_STDDEV: return &stddev;
	case LP_RANGE_STDVAR: return &stdvar;
	case LP_RANGE_QUANTILE: return &quantile;
	case LP_RANGE_FIRST: return &first;
	case LP_RANGE_LAST: return &last;
	case LP_RANGE_RATE_COUNTER: return &counter;
	}
	return &count;
}
