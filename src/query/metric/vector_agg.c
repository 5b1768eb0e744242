/* Vector aggregations: sum, avg, ... by groups, topk, bottomk, sort.
 *
 * Rows are walked in their order, at each step over the rows that have a value there, as Loki does over its vectors.  topk
 * keeps the k best of a group in a heap; among equal values the earlier row wins, NaN loses against everything.
 * approx_topk counts exactly: that is within what it promises.
 * One thread; runs in workers, nothing is lost if one dies here. */
#include "query/metric/metric-private.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct groups {
	const struct lp_metric_env *env;
	struct lp_arena scratch;        /* what is needed on the way; within the budget */
	struct lp_keys keys;            /* label sets of the groups */
	uint32_t *of_row;
};

static bool tired(const struct groups *groups, uint32_t i)
{
	return i % LP_METRIC_STOP_EVERY == 0 && lp_metric_stopped(groups->env);
}

static int find_groups(const struct lp_expr *expr, const struct lp_matrix *in, struct groups *groups)
{
	const struct lp_grouping *g = &expr->grouping;
	struct lp_buf key = LP_BUF_INIT;
	int r = 0;

	groups->of_row = lp_arena_zalloc(&groups->scratch, (in->n + (size_t)1) * sizeof *groups->of_row);
	if (!groups->of_row)
		return -ENOBUFS;
	for (uint32_t i = 0; i < in->n && r == 0; i++) {
		if (tired(groups, i)) {
			r = -ECANCELED;
			break;
		}
		lp_buf_reset(&key);
		r = lp_series_labels_filter(in->series[i].labels, in->series[i].labels_len, g->labels, g->present ? g->n_labels : 0,
					    !(g->present && g->without), &key);
		if (r == 0)
			r = lp_keys_id(&groups->keys, key.data, (uint32_t)key.len, lp_keys_hash(key.data, (uint32_t)key.len),
				       &groups->of_row[i]);
	}
	lp_buf_free(&key);
	return r;
}

/* What a group knows of one step besides its value; Loki's arithmetic, so that rounding agrees. */
struct moment {
	uint32_t n;
	double mean;
};

static void add_value(enum lp_vector_op op, struct lp_series *out, struct moment *moment, uint32_t i, double v)
{
	double *value = &out->values[i], delta;

	if (!lp_series_has(out, i)) {
		lp_series_put(out, i, op == LP_VECTOR_STDDEV || op == LP_VECTOR_STDVAR ? v - v : v);
		*moment = (struct moment){ 1, v };
		return;
	}
	moment->n++;
	switch (op) {
	case LP_VECTOR_SUM:
		*value += v;
		break;
	case LP_VECTOR_AVG:
		moment->mean += (v - moment->mean) / moment->n;
		break;
	case LP_VECTOR_MIN:
		if (*value > v || isnan(*value))
			*value = v;
		break;
	case LP_VECTOR_MAX:
		if (*value < v || isnan(*value))
			*value = v;
		break;
	case LP_VECTOR_STDDEV:
	case LP_VECTOR_STDVAR:
		delta = v - moment->mean;
		moment->mean += delta / moment->n;
		*value += delta * (v - moment->mean);
		break;
	default:
		break;
	}
}

static void end_value(enum lp_vector_op op, double *value, const struct moment *moment)
{
	switch (op) {
	case LP_VECTOR_AVG: *value = moment->mean; break;
	case LP_VECTOR_COUNT: *value = moment->n; break;
	case LP_VECTOR_STDDEV: *value = sqrt(*value / moment->n); break;
	case LP_VECTOR_STDVAR: *value = *value / moment->n; break;
	default: break;
	}
}

static int fold_groups(const struct lp_expr *expr, uint32_t steps, const struct lp_matrix *in, struct groups *groups,
		       struct lp_matrix *out)
{
	/* Sums and extremes keep all they know in their value: one cell takes what add_value() writes beside it. */
	bool plain = expr->vector_op == LP_VECTOR_SUM || expr->vector_op == LP_VECTOR_MIN || expr->vector_op == LP_VECTOR_MAX;
	size_t stride = plain ? 0 : 1;
	struct moment *moments = lp_arena_zalloc(&groups->scratch, (stride * groups->keys.n * steps + 1) * sizeof *moments);
	struct lp_series *row;
	int r = moments ? 0 : -ENOBUFS;

	for (uint32_t g = 0; g < groups->keys.n && r == 0; g++)
		r = lp_matrix_row(out, groups->keys.keys[g].bytes, groups->keys.keys[g].len, steps, &row);
	for (uint32_t k = 0; k < in->n && r == 0; k++) {
		uint32_t g = groups->of_row[k];

		if (lp_metric_stopped(groups->env))
			r = -ECANCELED;
		for (uint32_t i = 0; i < steps && r == 0; i++)
			if (lp_series_has(&in->series[k], i))
				add_value(expr->vector_op, &out->series[g], &moments[stride * ((size_t)g * steps + i)], i, in->series[k].values[i]);
	}
	for (uint32_t g = 0; g < groups->keys.n && r == 0; g++)
		for (uint32_t i = 0; i < steps; i++)
			if (lp_series_has(&out->series[g], i))
				end_value(expr->vector_op, &out->series[g].values[i], &moments[stride * ((size_t)g * steps + i)]);
	return r;
}

/* ---- the k best ------------------------------------------------------------------------------------------------- */

struct ranked {
	double v;
	uint32_t row;
};

/* Does a come before b in the answer of sort (descending: sort_desc)? */
static bool before(const struct ranked *a, const struct ranked *b, bool descending)
{
	if (isnan(a->v) || isnan(b->v))
		return isnan(a->v) == isnan(b->v) ? a->row < b->row : isnan(b->v);
	if (a->v == b->v)
		return a->row < b->row;
	return descending ? a->v > b->v : a->v < b->v;
}

static int cmp_ranked(const void *a, const void *b, void *arg)
{
	return before(a, b, *(const bool *)arg) ? -1 : 1;
}

static void sift_down(struct ranked *heap, uint32_t n, bool descending)
{
	for (uint32_t i = 0, child; (child = 2 * i + 1) < n; i = child) {
		struct ranked moved = heap[i];

		if (child + 1 < n && before(&heap[child], &heap[child + 1], descending))
			child++;
		if (!before(&moved, &heap[child], descending))
			return;
		heap[i] = heap[child];
		heap[child] = moved;
	}
}

/* Keep the k first in order in a heap whose top is the last of them. */
static void offer(struct ranked *heap, uint32_t *n, uint64_t k, struct ranked item, bool descending)
{
	if (*n == k) {
		if (!k || !before(&item, &heap[0], descending))
			return;
		heap[0] = item;
		sift_down(heap, *n, descending);
		return;
	}
	uint32_t i = (*n)++;

	for (; i && before(&heap[(i - 1) / 2], &item, descending); i = (i - 1) / 2)
		heap[i] = heap[(i - 1) / 2];
	heap[i] = item;
}

struct best {
	struct ranked *heap;            /* each group's heap has room for all its rows */
	uint32_t *start, *n;            /* per group */
	uint32_t n_groups;
};

static int best_open(const struct lp_matrix *in, struct groups *groups, struct best *best)
{
	best->n_groups = groups->keys.n;
	best->heap = lp_arena_zalloc(&groups->scratch, (in->n + (size_t)1) * sizeof *best->heap);
	best->start = lp_arena_zalloc(&groups->scratch, (groups->keys.n * (size_t)2 + 2) * sizeof *best->start);
	if (!best->heap || !best->start)
		return -ENOBUFS;
	best->n = best->start + groups->keys.n + 1;
	for (uint32_t i = 0; i < in->n; i++)
		best->start[groups->of_row[i] + 1]++;
	for (uint32_t g = 0; g < groups->keys.n; g++)
		best->start[g + 1] += best->start[g];
	return 0;
}

static void best_at(struct best *best, const struct lp_matrix *in, const struct groups *groups, uint32_t i, uint64_t k, bool descending)
{
	memset(best->n, 0, best->n_groups * sizeof *best->n);
	for (uint32_t row = 0; row < in->n; row++) {
		uint32_t g = groups->of_row[row];

		if (lp_series_has(&in->series[row], i))
			offer(best->heap + best->start[g], &best->n[g], k, (struct ranked){ in->series[row].values[i], row }, descending);
	}
}

/* An instant vector comes out in order of value, group by group; labels order is restored at the end unless the query sorts. */
static int reorder(struct lp_matrix *in, struct best *best, bool descending)
{
	struct lp_series *series = lp_arena_alloc(&in->arena, (in->n + (size_t)1) * sizeof *series);
	uint32_t n = 0;

	if (!series)
		return -ENOBUFS;
	for (uint32_t g = 0; g < best->n_groups; g++) {
		qsort_r(best->heap + best->start[g], best->n[g], sizeof *best->heap, cmp_ranked, &descending);
		for (uint32_t k = 0; k < best->n[g]; k++)
			series[n++] = in->series[best->heap[best->start[g] + k].row];
	}
	in->series = series;
	in->cap = in->n + 1;
	in->n = n;
	return 0;
}

static int keep_best(const struct lp_expr *expr, uint32_t steps, struct lp_matrix *in, struct groups *groups)
{
	bool descending = expr->vector_op != LP_VECTOR_BOTTOMK && expr->vector_op != LP_VECTOR_SORT;
	bool sorting = expr->vector_op == LP_VECTOR_SORT || expr->vector_op == LP_VECTOR_SORT_DESC;
	struct best best = { 0 };
	int r = best_open(in, groups, &best);

	for (uint32_t i = 0; i < steps && r == 0; i++) {
		if (lp_metric_stopped(groups->env))
			return -ECANCELED;
		best_at(&best, in, groups, i, sorting ? UINT64_MAX : expr->param, descending);
		if (steps == 1) {
			r = reorder(in, &best, descending);
			break;
		}
		for (uint32_t row = 0; row < in->n; row++)
			lp_series_unset(&in->series[row], i);
		for (uint32_t g = 0; g < best.n_groups; g++)
			for (uint32_t k = 0; k < best.n[g]; k++) {
				const struct ranked *item = &best.heap[best.start[g] + k];

				lp_series_put(&in->series[item->row], i, item->v);
			}
	}
	return r;
}

int lp_vector_agg(const struct lp_metric_env *env, const struct lp_expr *expr, uint32_t steps, struct lp_matrix *in,
		  struct lp_matrix **ret_matrix)
{
	struct groups groups = { .env = env, .scratch = { .budget = env->budget }, .keys = { .arena = { .budget = env->budget } } };
	struct lp_matrix *out = NULL;
	bool sorting = expr->vector_op == LP_VECTOR_SORT || expr->vector_op == LP_VECTOR_SORT_DESC;
	int r = find_groups(expr, in, &groups);

	/* The series of a range query are in the order of their labels: sorting them says nothing. */
	if (r == 0 && (expr->vector_op >= LP_VECTOR_TOPK && !(sorting && steps > 1))) {
		r = keep_best(expr, steps, in, &groups);
	} else if (r == 0 && !sorting) {
		r = lp_matrix_new(env->budget, &out);
		if (r == 0)
			r = fold_groups(expr, steps, in, &groups, out);
	}
	lp_keys_free(&groups.keys);
	lp_arena_free(&groups.scratch);
	if (r < 0 || out)
		lp_matrix_free(&in);
	if (r < 0)
		lp_matrix_free(&out);
	else
		*ret_matrix = out ? out : in;
	return r;
}
