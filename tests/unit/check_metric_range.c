/* Range accumulators against a naive evaluation: every sample is looked at for every window. */
#include "query/metric/metric-private.h"
#include "query/metric/range-private.h"
#include "store/format/labels.h"

#include <check.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define S INT64_C(1000000000)
#define MAX_SAMPLES 4000
#define N_SERIES 4
#define BIG (UINT64_C(1) << 30)

struct sample {
	uint32_t series;
	int64_t ts;
	double v;
};

struct shape {
	int64_t start, step, range, offset;
	uint32_t steps;
};

static uint64_t rnd_state = 88172645463325252u;

static uint64_t rnd(uint64_t below)
{
	rnd_state ^= rnd_state << 13;
	rnd_state ^= rnd_state >> 7;
	rnd_state ^= rnd_state << 17;
	return rnd_state % below;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	if (isnan(x) || isnan(y))
		return isnan(y) - isnan(x);
	return (x > y) - (x < y);
}

static int by_time(const void *a, const void *b)
{
	const struct sample *const *x = a, *const *y = b;

	return (*x)->ts != (*y)->ts ? ((*x)->ts > (*y)->ts) - ((*x)->ts < (*y)->ts) : (*x > *y) - (*x < *y);
}

static double naive_counter(const struct sample **w, uint32_t n, int64_t left, int64_t right)
{
	double increase = 0, sampled, average, start, end;

	if (n < 2)
		return 0;
	for (uint32_t i = 1; i < n; i++)
		increase += w[i]->v < w[i - 1]->v ? w[i]->v : w[i]->v - w[i - 1]->v;
	sampled = (double)(w[n - 1]->ts - w[0]->ts) / 1e9;
	average = sampled / (n - 1);
	start = (double)(w[0]->ts - left) / 1e9;
	end = (double)(right - w[n - 1]->ts) / 1e9;
	if (increase > 0 && w[0]->v >= 0)
		start = fmin(start, sampled * (w[0]->v / increase));
	start = start < average * 1.1 ? start : average / 2;
	end = end < average * 1.1 ? end : average / 2;
	return increase * ((sampled + start + end) / sampled) / ((double)(right - left) / 1e9);
}

static double naive_value(const struct lp_range_agg *range, const struct sample **w, uint32_t n, int64_t left, int64_t right)
{
	double seconds = (double)range->range_ns / 1e9, v[MAX_SAMPLES], q, min = w[0]->v, max = w[0]->v, squares = 0;
	long double sum = 0;

	for (uint32_t i = 0; i < n; i++) {
		v[i] = w[i]->v;
		sum += v[i];
		min = v[i] < min || isnan(min) ? v[i] : min;
		max = v[i] > max || isnan(max) ? v[i] : max;
	}
	for (uint32_t i = 0; i < n; i++)
		squares += (v[i] - (double)(sum / n)) * (v[i] - (double)(sum / n));
	switch (range->op) {
	case LP_RANGE_COUNT: return n;
	case LP_RANGE_RATE: return (range->has_unwrap ? (double)sum : n) / seconds;
	case LP_RANGE_RATE_COUNTER: return naive_counter(w, n, left, right);
	case LP_RANGE_BYTES:
	case LP_RANGE_SUM: return (double)sum;
	case LP_RANGE_BYTES_RATE: return (double)sum / seconds;
	case LP_RANGE_AVG: return (double)(sum / n);
	case LP_RANGE_MIN: return min;
	case LP_RANGE_MAX: return max;
	case LP_RANGE_STDDEV: return sqrt(squares / n);
	case LP_RANGE_STDVAR: return squares / n;
	case LP_RANGE_FIRST: return w[0]->v;
	case LP_RANGE_LAST: return w[n - 1]->v;
	case LP_RANGE_ABSENT: return 1;
	case LP_RANGE_QUANTILE:
		qsort(v, n, sizeof *v, by_value);
		q = range->param * (n - 1);
		if (range->param < 0 || range->param > 1)
			return range->param < 0 ? -INFINITY : INFINITY;
		return v[(int)q] * (1 - (q - floor(q))) + v[(uint32_t)q + 1 < n ? (int)q + 1 : (int)q] * (q - floor(q));
	}
	return NAN;
}

/* Labels {s="<i>"}. */
static struct lp_buf series_labels(uint32_t i)
{
	struct lp_buf buf = LP_BUF_INIT;
	char value[2] = { (char)('a' + i), 0 };
	struct lp_label label = { .name = "s", .name_len = 1, .value = value, .value_len = 1 };

	ck_assert_int_eq(lp_metadata_encode(&buf, &label, 1), 0);
	return buf;
}

static uint32_t acc_series(struct lp_range_acc *acc, uint32_t i)
{
	struct lp_buf labels = series_labels(i);
	uint32_t id;

	/* A hash with nothing in its high bits and collisions: only the bytes decide. */
	ck_assert_int_eq(lp_range_acc_series(acc, labels.data, (uint32_t)labels.len, i / 2, &id), 0);
	lp_buf_free(&labels);
	return id;
}

static const struct lp_series *find_row(const struct lp_matrix *m, uint32_t i)
{
	struct lp_buf labels = series_labels(i);
	const struct lp_series *found = NULL;

	for (uint32_t k = 0; k < m->n; k++)
		if (m->series[k].labels_len == labels.len && !memcmp(m->series[k].labels, labels.data, labels.len))
			found = &m->series[k];
	lp_buf_free(&labels);
	return found;
}

static void expect_value(double got, double want)
{
	if (isnan(want) || isinf(want))
		ck_assert_msg(isnan(want) ? isnan(got) : got == want, "got %g, want %g", got, want);
	else
		ck_assert_msg(fabs(got - want) <= 1e-9 * fabs(want) + 1e-9, "got %.17g, want %.17g", got, want);
}

static void compare(const struct lp_range_agg *range, const struct shape *sh, const struct sample *samples, uint32_t n,
		    const struct lp_matrix *m)
{
	uint32_t rows = 0;

	for (uint32_t s = 0; s < N_SERIES; s++) {
		const struct lp_series *row = find_row(m, s);

		rows += row != NULL;
		for (uint32_t i = 0; i < sh->steps; i++) {
			const struct sample *w[MAX_SAMPLES];
			uint32_t inside = 0;
			int64_t right = sh->start + i * sh->step - sh->offset, left = right - sh->range;

			for (uint32_t k = 0; k < n; k++)
				if (samples[k].series == s && samples[k].ts > left && samples[k].ts <= right)
					w[inside++] = &samples[k];
			if (!inside) {
				ck_assert(!row || !lp_series_has(row, i));
				continue;
			}
			qsort(w, inside, sizeof *w, by_time);
			ck_assert_msg(row && lp_series_has(row, i), "series %u step %u: %u samples, no value", s, i, inside);
			expect_value(row->values[i], naive_value(range, w, inside, left, right));
		}
	}
	ck_assert_uint_eq(rows, m->n);
}

static void compare_absent(const struct shape *sh, const struct sample *samples, uint32_t n, const struct lp_matrix *m)
{
	ck_assert_uint_le(m->n, 1);
	for (uint32_t i = 0; i < sh->steps; i++) {
		int64_t right = sh->start + i * sh->step - sh->offset;
		bool any = false;

		for (uint32_t k = 0; k < n; k++)
			any |= samples[k].ts > right - sh->range && samples[k].ts <= right;
		ck_assert_int_eq(m->n && lp_series_has(&m->series[0], i), !any);
	}
}

static double random_value(enum lp_range_op op)
{
	if (op == LP_RANGE_RATE_COUNTER)
		return (double)rnd(500);
	if (op == LP_RANGE_BYTES || op == LP_RANGE_BYTES_RATE)
		return (double)rnd(1000);
	return (double)rnd(2000001) / 1000 - 1000;
}

static uint32_t make_samples(enum lp_range_op op, const struct shape *sh, struct sample *samples, bool ties)
{
	uint32_t n = (uint32_t)rnd(400);
	int64_t first = sh->start - sh->offset - sh->range - 2 * sh->step, end = sh->start - sh->offset + (int64_t)(sh->steps + 1) * sh->step;

	for (uint32_t i = 0; i < n; i++) {
		int64_t ts = first + (int64_t)rnd((uint64_t)(end - first));

		/* Many samples exactly on borders. */
		if (rnd(3) == 0)
			ts -= (ts - sh->start + sh->offset) % sh->step;
		samples[i] = (struct sample){ (uint32_t)rnd(N_SERIES), ts, random_value(op) };
	}
	if (ties)
		return n;
	/* Where threads share a series, equal times have no order: move them apart. */
	for (uint32_t i = 0; i < n; i++)
		for (uint32_t k = 0; k < i; k++)
			if (samples[k].ts == samples[i].ts && samples[k].series == samples[i].series) {
				samples[i].ts += 1 + (int64_t)rnd(50);
				k = UINT32_MAX;
			}
	return n;
}

static struct shape random_shape(void)
{
	struct shape sh = { .step = 1 + (int64_t)rnd(200), .steps = 1 + (uint32_t)rnd(40), .offset = (int64_t)rnd(400) - 200 };

	switch (rnd(4)) {
	case 0: sh.range = sh.step; break;
	case 1: sh.range = 1 + (int64_t)rnd((uint64_t)sh.step); break;
	case 2: sh.range = sh.step * (1 + (int64_t)rnd(100)); break;
	default: sh.range = 1 + (int64_t)rnd(5000); break;
	}
	sh.start = (int64_t)rnd(10000) - 5000;
	return sh;
}

static void run(struct lp_range_agg *range, const struct shape *sh, const struct sample *samples, uint32_t n, uint32_t parts)
{
	/* A step is meaningless in an instant query. */
	struct lp_metric_grid grid = { sh->start, sh->steps == 1 ? 0 : sh->step, sh->steps };
	struct lp_range_acc *acc[4] = { 0 };
	struct lp_matrix *m;
	int64_t first, last;

	range->range_ns = sh->range;
	range->offset_ns = sh->offset;
	lp_range_acc_span(range, &grid, &first, &last);
	ck_assert_int_eq(first, sh->start - sh->offset - sh->range + 1);
	ck_assert_int_eq(last, sh->start - sh->offset + (int64_t)(sh->steps - 1) * sh->step);
	for (uint32_t p = 0; p < parts; p++)
		ck_assert_int_eq(lp_range_acc_open(range, &grid, BIG, &acc[p]), 0);
	for (uint32_t i = 0; i < n; i++) {
		struct lp_range_acc *a = acc[rnd(parts)];

		ck_assert_int_eq(lp_range_acc_add(a, acc_series(a, samples[i].series), samples[i].ts, samples[i].v), 0);
	}
	for (uint32_t p = 1; p < parts; p++)
		ck_assert_int_eq(lp_range_acc_merge(acc[0], acc[p]), 0);
	ck_assert_int_eq(lp_range_acc_finish(acc[0], &m), 0);
	if (range->op == LP_RANGE_ABSENT)
		compare_absent(sh, samples, n, m);
	else
		compare(range, sh, samples, n, m);
	lp_matrix_free(&m);
	for (uint32_t p = 0; p < parts; p++)
		lp_range_acc_close(&acc[p]);
}

static bool is_unwrapped(enum lp_range_op op)
{
	return op >= LP_RANGE_SUM || op == LP_RANGE_RATE_COUNTER;
}

START_TEST(every_operation_equals_the_naive_one)
{
	static struct sample samples[MAX_SAMPLES];
	static const double qs[] = { 0, 0.5, 0.99, 1, 0.3, -1, 2 };

	for (unsigned round = 0; round < 120; round++) {
		struct shape sh = random_shape();
		struct lp_range_agg range = { .op = (enum lp_range_op)_i, .has_unwrap = is_unwrapped((enum lp_range_op)_i) || rnd(2),
					      .param = qs[rnd(7)] };
		uint32_t parts = 1 + (uint32_t)rnd(4);
		uint32_t n = make_samples(range.op, &sh, samples, parts == 1 && range.op != LP_RANGE_RATE_COUNTER);

		if (range.op == LP_RANGE_ABSENT)
			range.has_unwrap = false;
		run(&range, &sh, samples, n, parts);
	}
}
END_TEST

static struct lp_matrix *finish_values(enum lp_range_op op, const double *v, uint32_t n)
{
	struct lp_range_agg range = { .op = op, .has_unwrap = is_unwrapped(op), .range_ns = 100 * S, .param = 0.5 };
	struct lp_metric_grid grid = { 100 * S, 0, 1 };
	struct lp_range_acc *acc;
	struct lp_matrix *m;

	ck_assert_int_eq(lp_range_acc_open(&range, &grid, BIG, &acc), 0);
	for (uint32_t i = 0; i < n; i++)
		ck_assert_int_eq(lp_range_acc_add(acc, acc_series(acc, 0), (i + 1) * S, v[i]), 0);
	ck_assert_uint_eq(lp_range_acc_samples(acc), n);
	ck_assert_int_eq(lp_range_acc_finish(acc, &m), 0);
	ck_assert_uint_eq(m->n, 1);
	lp_range_acc_close(&acc);
	return m;
}

static void expect(enum lp_range_op op, const double *v, uint32_t n, double want)
{
	struct lp_matrix *m = finish_values(op, v, n);

	expect_value(m->series[0].values[0], want);
	lp_matrix_free(&m);
}

#define EXPECT(op, want, ...) expect(op, (const double[]){ __VA_ARGS__ }, sizeof((const double[]){ __VA_ARGS__ }) / sizeof(double), want)

START_TEST(odd_numbers)
{
	EXPECT(LP_RANGE_SUM, INFINITY, 1, INFINITY, 2);
	EXPECT(LP_RANGE_SUM, NAN, INFINITY, -INFINITY);
	EXPECT(LP_RANGE_SUM, 1, 1e16, 1, -1e16);
	EXPECT(LP_RANGE_AVG, INFINITY, 1, INFINITY, 2, INFINITY);
	EXPECT(LP_RANGE_AVG, NAN, INFINITY, -INFINITY, 1);
	EXPECT(LP_RANGE_AVG, 1.5e308, 1.5e308, 1.5e308);
	EXPECT(LP_RANGE_AVG, 0, 1.5e308, -1.5e308);
	EXPECT(LP_RANGE_MIN, 1, NAN, 2, 1);
	EXPECT(LP_RANGE_MAX, 2, NAN, 2, 1, NAN);
	EXPECT(LP_RANGE_MAX, NAN, NAN, NAN);
	EXPECT(LP_RANGE_STDVAR, 0, 7);
	EXPECT(LP_RANGE_STDVAR, NAN, INFINITY);
	EXPECT(LP_RANGE_STDDEV, 2, 2, 4, 4, 4, 5, 5, 7, 9);
	EXPECT(LP_RANGE_QUANTILE, 2, 3, 1, 2);
	EXPECT(LP_RANGE_QUANTILE, 1, NAN, 2, 1);
	EXPECT(LP_RANGE_QUANTILE, 5, 5);
	EXPECT(LP_RANGE_RATE_COUNTER, 0, 5);
	/* Windows (0, 100]: 10 each second from 1 to 5, the value was 0 a second before the first: starts at 0, half a gap at the end. */
	EXPECT(LP_RANGE_RATE_COUNTER, 40 * (5.5 / 4) / 100, 10, 20, 30, 40, 50);
	EXPECT(LP_RANGE_RATE_COUNTER, 35 * (5.5 / 4) / 100, 10, 20, 30, 5, 15);
}
END_TEST

/* Quantiles of 99 values in orders that selection likes least: 1..99 up, down, from both ends inwards, all but one equal, NaN between. */
START_TEST(quantiles_of_awkward_orders)
{
	double v[99];

	for (unsigned order = 0; order < 5; order++) {
		for (uint32_t i = 0; i < 99; i++) {
			double inwards = i % 2 ? 99 - i / 2 : 1 + i / 2;

			v[i] = order == 0 ? i + 1 : order == 1 ? 99 - i : order == 2 ? inwards : order == 3 ? 50 : i % 2 ? NAN : 2.0 * i - 46;
		}
		if (order == 3)
			v[7] = -1e300;
		expect(LP_RANGE_QUANTILE, v, 99, order == 4 ? -46 : 50);
	}
}
END_TEST

START_TEST(first_and_last_among_equal_times)
{
	struct lp_range_agg range = { .op = _i ? LP_RANGE_LAST : LP_RANGE_FIRST, .has_unwrap = true, .range_ns = 10 * S };
	struct lp_metric_grid grid = { 10 * S, 0, 1 };
	struct lp_range_acc *acc;
	struct lp_matrix *m;

	ck_assert_int_eq(lp_range_acc_open(&range, &grid, BIG, &acc), 0);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(lp_range_acc_add(acc, acc_series(acc, 0), 5 * S, i), 0);
	ck_assert_int_eq(lp_range_acc_finish(acc, &m), 0);
	expect_value(m->series[0].values[0], _i ? 2 : 0);
	lp_matrix_free(&m);
	lp_range_acc_close(&acc);
}
END_TEST

START_TEST(blocks_are_added_whole_only_inside_one_pane)
{
	struct lp_range_agg range = { .op = LP_RANGE_COUNT, .range_ns = 30 * S };
	struct lp_metric_grid grid = { 100 * S, 20 * S, 3 };
	struct lp_range_acc *acc;
	struct lp_matrix *m;

	ck_assert_int_eq(lp_range_acc_open(&range, &grid, BIG, &acc), 0);
	uint32_t s = acc_series(acc, 0);

	/* Borders: 70 90 100 110 120 140. */
	ck_assert(lp_range_acc_add_many(acc, s, 0, 70 * S, 1000, 1000));
	ck_assert(lp_range_acc_add_many(acc, s, 70 * S + 1, 90 * S, 5, 5));
	ck_assert(!lp_range_acc_add_many(acc, s, 90 * S, 90 * S + 1, 5, 5));
	ck_assert(lp_range_acc_add_many(acc, s, 90 * S + 1, 90 * S + 1, 7, 7));
	ck_assert(lp_range_acc_add_many(acc, s, 140 * S + 1, 500 * S, 9, 9));
	ck_assert_uint_eq(lp_range_acc_samples(acc), 12);
	ck_assert_int_eq(lp_range_acc_finish(acc, &m), 0);
	expect_value(m->series[0].values[0], 12);
	expect_value(m->series[0].values[1], 7);
	ck_assert(!lp_series_has(&m->series[0], 2));
	lp_matrix_free(&m);
	lp_range_acc_close(&acc);
	range.op = LP_RANGE_SUM;
	range.has_unwrap = true;
	ck_assert_int_eq(lp_range_acc_open(&range, &grid, BIG, &acc), 0);
	ck_assert(!lp_range_acc_add_many(acc, acc_series(acc, 0), 70 * S + 1, 90 * S, 5, 5));
	lp_range_acc_close(&acc);
}
END_TEST

START_TEST(memory_is_bounded)
{
	struct lp_range_agg range = { .op = (enum lp_range_op)_i, .has_unwrap = true, .range_ns = 1, .param = 0.5 };
	struct lp_metric_grid grid = { 0, 10, 1000000 };
	struct lp_range_acc *acc;
	struct lp_matrix *m;
	int r = 0;

	ck_assert_int_eq(lp_range_acc_open(&range, &grid, 100000, &acc), 0);
	for (int64_t i = 0; i < 100000 && r == 0; i++)
		r = lp_range_acc_add(acc, acc_series(acc, 0), i * 10, 1);
	ck_assert_int_eq(r, -ENOBUFS);
	ck_assert_uint_le(lp_range_acc_bytes(acc), 100000);
	/* A matrix of a million steps does not fit either. */
	ck_assert_int_eq(lp_range_acc_finish(acc, &m), -ENOBUFS);
	lp_range_acc_close(&acc);
}
END_TEST

START_TEST(series_memory_is_bounded)
{
	struct lp_range_agg range = { .op = LP_RANGE_COUNT, .range_ns = 1 };
	struct lp_metric_grid grid = { 0, 10, 10 };
	struct lp_range_acc *acc;
	uint32_t id;
	int r = 0;

	ck_assert_int_eq(lp_range_acc_open(&range, &grid, 100000, &acc), 0);
	for (uint32_t i = 0; i < 100000 && r == 0; i++)
		r = lp_range_acc_series(acc, (const uint8_t *)&i, sizeof i, i, &id);
	ck_assert_int_eq(r, -ENOBUFS);
	lp_range_acc_close(&acc);
}
END_TEST

START_TEST(borders_beyond_the_clock)
{
	struct lp_range_agg range = { .op = LP_RANGE_COUNT, .range_ns = INT64_MAX, .offset_ns = INT64_MAX };
	struct lp_metric_grid grid = { INT64_MIN + 5, INT64_MAX, 3 };
	struct lp_range_acc *acc;
	struct lp_matrix *m;
	int64_t first, last;

	lp_range_acc_span(&range, &grid, &first, &last);
	ck_assert_int_eq(first, INT64_MIN);
	ck_assert_int_eq(last, 4);
	ck_assert_int_eq(lp_range_acc_open(&range, &grid, BIG, &acc), 0);
	ck_assert_int_eq(lp_range_acc_add(acc, acc_series(acc, 0), INT64_MIN, 1), 0);
	ck_assert_int_eq(lp_range_acc_add(acc, acc_series(acc, 0), 0, 1), 0);
	ck_assert_int_eq(lp_range_acc_add(acc, acc_series(acc, 0), INT64_MAX, 1), 0);
	ck_assert_int_eq(lp_range_acc_finish(acc, &m), 0);
	ck_assert_uint_eq(m->n, 1);
	ck_assert(!lp_series_has(&m->series[0], 0) && lp_series_has(&m->series[0], 1) && lp_series_has(&m->series[0], 2));
	lp_matrix_free(&m);
	lp_range_acc_close(&acc);
}
END_TEST

/* [1d] at each of 40,000 steps of 15 s, a sample a second: what took steps x panes would take minutes. */
START_TEST(long_ranges_slide)
{
	struct lp_range_agg range = { .op = (enum lp_range_op)_i, .has_unwrap = true, .range_ns = 86400 * S, .param = 0.9 };
	struct lp_metric_grid grid = { 0, 15 * S, 40000 };
	struct lp_range_acc *acc;
	struct lp_matrix *m;

	ck_assert_int_eq(lp_range_acc_open(&range, &grid, BIG, &acc), 0);
	uint32_t s = acc_series(acc, 0);

	for (int64_t t = -86399; t <= 600000; t++)
		ck_assert_int_eq(lp_range_acc_add(acc, s, t * S, (double)(t + 86400)), 0);
	ck_assert_int_eq(lp_range_acc_finish(acc, &m), 0);
	for (uint32_t i = 0; i < grid.steps; i += 1000) {
		double last = 86400 + 15.0 * i, firsts = last - 86399;

		expect_value(m->series[0].values[i], _i == LP_RANGE_MIN ? firsts : _i == LP_RANGE_QUANTILE ? firsts + 0.9 * 86399
										     : (firsts + last) / 2 * 86400);
	}
	lp_matrix_free(&m);
	lp_range_acc_close(&acc);
}
END_TEST

int main(void)
{
	static const enum lp_range_op slow[] = { LP_RANGE_SUM, LP_RANGE_MIN, LP_RANGE_QUANTILE };
	Suite *suite = suite_create("metric_range");
	TCase *tc = tcase_create("range");

	tcase_set_timeout(tc, 120);
	tcase_add_loop_test(tc, every_operation_equals_the_naive_one, LP_RANGE_COUNT, LP_RANGE_ABSENT + 1);
	tcase_add_test(tc, odd_numbers);
	tcase_add_test(tc, quantiles_of_awkward_orders);
	tcase_add_loop_test(tc, first_and_last_among_equal_times, 0, 2);
	tcase_add_test(tc, blocks_are_added_whole_only_inside_one_pane);
	tcase_add_loop_test(tc, memory_is_bounded, LP_RANGE_COUNT, LP_RANGE_LAST + 1);
	tcase_add_test(tc, series_memory_is_bounded);
	tcase_add_test(tc, borders_beyond_the_clock);
	for (size_t i = 0; i < sizeof slow / sizeof slow[0]; i++)
		tcase_add_loop_test(tc, long_ranges_slide, slow[i], slow[i] + 1);
	suite_add_tcase(suite, tc);
	SRunner *runner = srunner_create(suite);

	srunner_run_all(runner, CK_NORMAL);
	int failed = srunner_ntests_failed(runner);

	srunner_free(runner);
	return failed ? 1 : 0;
}
