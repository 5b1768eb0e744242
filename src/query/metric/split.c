/* Instant metric queries over long windows, split into shorter ones as Loki's frontend splits them (its range mapper, with
 * split_instant_metric_queries_by_interval).
 *
 * Splitting would be nobody's business, but Loki pushes the aggregation around a range into the pieces, and then adds the pieces, or takes
 * the greatest or least of them.  Where the two aggregations are of different kinds the answer is another one:
 *
 *   max by (a) (rate(X[2h]))  =>  max by (a) (sum without () (max by (a) (count(X[1h])) ++ max by (a) (count(X[1h] offset 1h))) / 7200)
 *
 * is the sum of the hourly maxima.  Whoever moves over from Loki gets the numbers that he knows; an interval of 0 gives those of the whole
 * window.  Only what changes the answer is rewritten.
 * Guarantees: the tree that comes in is not changed; new nodes live in the caller's arena; at most MAX_PIECES pieces, a longer window
 * is not split.  Recursion is bounded by the depth of the tree.  Pure; any process. */
#include "query/metric/metric-private.h"

#include <errno.h>

#define MAX_PIECES 800u         /* a month of hours, in the whole query */

struct split {
	struct lp_arena *arena;
	int64_t interval_ns;
	uint32_t pieces;
	bool no_memory;
};

/* A mapped node; split: Loki splits something below, whether or not it had to be rewritten here. */
struct mapped {
	const struct lp_expr *expr;
	bool split;
};

static const struct lp_grouping without_nothing = { .present = true, .without = true };

/* The window of the last range that a walk meets: what Loki goes by. */
static int64_t window_of(const struct lp_expr *e)
{
	int64_t left;

	switch (e->kind) {
	case LP_EXPR_RANGE_AGG: return e->range->range_ns;
	case LP_EXPR_VECTOR_AGG: case LP_EXPR_LABEL_REPLACE: return window_of(e->inner);
	case LP_EXPR_BINARY:
		left = window_of(e->right);
		return left ? left : window_of(e->left);
	default: return 0;
	}
}

static bool splittable_vector(enum lp_vector_op op)
{
	switch (op) {
	case LP_VECTOR_SUM: case LP_VECTOR_COUNT: case LP_VECTOR_MAX: case LP_VECTOR_MIN: case LP_VECTOR_AVG: case LP_VECTOR_TOPK:
	case LP_VECTOR_SORT: case LP_VECTOR_SORT_DESC:
		return true;
	default:
		return false;
	}
}

static bool splittable_range(enum lp_range_op op)
{
	switch (op) {
	case LP_RANGE_RATE: case LP_RANGE_BYTES_RATE: case LP_RANGE_BYTES: case LP_RANGE_COUNT: case LP_RANGE_SUM: case LP_RANGE_MAX: case LP_RANGE_MIN:
		return true;
	default:
		return false;
	}
}

static bool splittable(const struct lp_expr *e)
{
	switch (e->kind) {
	case LP_EXPR_VECTOR_AGG: return splittable_vector(e->vector_op) && splittable(e->inner);
	case LP_EXPR_RANGE_AGG: return splittable_range(e->range->op);
	case LP_EXPR_BINARY:
		return splittable(e->left) || (e->left->kind == LP_EXPR_LITERAL && splittable(e->right)) || e->right->kind == LP_EXPR_LITERAL;
	case LP_EXPR_LABEL_REPLACE: return splittable(e->inner);
	default: return false;
	}
}

/* json and logfmt without expressions: Loki fears their many series. */
static bool extracts_labels(const struct lp_range_agg *range)
{
	for (const struct lp_stage *s = range->log.stages; s; s = s->next)
		if ((s->kind == LP_STAGE_JSON || s->kind == LP_STAGE_LOGFMT) && !s->n_extractions)
			return true;
	return false;
}

static struct lp_expr *node(struct split *split, const struct lp_expr *like)
{
	struct lp_expr *e = lp_arena_dup(split->arena, like, sizeof *like);

	if (!e)
		split->no_memory = true;
	return e;
}

static struct lp_expr *vector_agg(struct split *split, enum lp_vector_op op, const struct lp_grouping *grouping, const struct lp_expr *inner)
{
	struct lp_expr like = { .kind = LP_EXPR_VECTOR_AGG, .vector_op = op, .param = 1, .grouping = *grouping,
				.inner = (struct lp_expr *)(uintptr_t)inner };

	return inner ? node(split, &like) : NULL;
}

/* The chain from an aggregation down to its range, with another range at the end. */
static struct lp_expr *with_range(struct split *split, const struct lp_expr *chain, struct lp_range_agg *range)
{
	struct lp_expr *e = node(split, chain);

	if (!e)
		return NULL;
	if (chain->kind == LP_EXPR_RANGE_AGG) {
		e->range = range;
		return e;
	}
	e->inner = with_range(split, chain->inner, range);
	return e->inner ? e : NULL;
}

/* chain over each piece of the window of its range. */
static struct lp_expr *pieces(struct split *split, const struct lp_expr *chain, const struct lp_range_agg *range, enum lp_range_op op)
{
	struct lp_expr like = { .kind = LP_EXPR_CONCAT };
	uint32_t n = (uint32_t)((range->range_ns - 1) / split->interval_ns + 1);

	like.parts = lp_arena_zalloc(split->arena, n * sizeof *like.parts);
	for (uint32_t i = 0; like.parts && i < n; i++) {
		int64_t from = (int64_t)i * split->interval_ns, rest = range->range_ns - from;
		struct lp_range_agg *piece = lp_arena_dup(split->arena, range, sizeof *range);

		if (!piece)
			break;
		piece->op = op;
		piece->range_ns = rest < split->interval_ns ? rest : split->interval_ns;
		if (__builtin_add_overflow(range->offset_ns, from, &piece->offset_ns))
			piece->offset_ns = INT64_MAX;
		like.parts[i] = with_range(split, chain, piece);
		like.n_parts += like.parts[i] != NULL;
	}
	split->no_memory |= like.n_parts != n;
	split->pieces += n;
	return like.n_parts == n ? node(split, &like) : NULL;
}

static struct lp_expr *divide(struct split *split, struct lp_expr *left, int64_t ns)
{
	struct lp_expr seconds = { .kind = LP_EXPR_LITERAL, .number = (double)ns / 1e9 };
	struct lp_expr like = { .kind = LP_EXPR_BINARY, .bin_op = LP_BIN_DIV, .left = left, .right = node(split, &seconds) };

	return left && like.right ? node(split, &like) : NULL;
}

/* Would the pieces, pushed together, say something else than the whole window? */
static bool matters(const struct lp_expr *around, const struct lp_range_agg *range)
{
	if (!around)
		return false;
	if (range->op == LP_RANGE_MAX || range->op == LP_RANGE_MIN)
		return range->grouping.present || around->vector_op != (range->op == LP_RANGE_MAX ? LP_VECTOR_MAX : LP_VECTOR_MIN);
	return around->vector_op != LP_VECTOR_SUM;
}

static struct mapped map_range(struct split *split, const struct lp_expr *e, const struct lp_expr *around)
{
	const struct lp_range_agg *range = e->range;
	bool extracts = extracts_labels(range), rate = range->op == LP_RANGE_RATE || range->op == LP_RANGE_BYTES_RATE;
	struct mapped same = { e, false };
	struct lp_expr *sum;

	if (range->range_ns <= split->interval_ns || !splittable_range(range->op) || (extracts && !around && !range->grouping.present) ||
	    (extracts && rate && around->vector_op != LP_VECTOR_SUM))
		return same;
	same.split = true;
	if (!matters(around, range) || (range->range_ns - 1) / split->interval_ns + split->pieces >= MAX_PIECES)
		return same;
	if (rate) {
		/* Here only the aggregation itself is pushed down, not what stands between. */
		enum lp_range_op op = range->op == LP_RANGE_BYTES_RATE ? LP_RANGE_BYTES : range->has_unwrap ? LP_RANGE_SUM : LP_RANGE_COUNT;
		struct lp_expr *chain = vector_agg(split, around->vector_op, &around->grouping, e);

		sum = chain ? vector_agg(split, LP_VECTOR_SUM, &without_nothing, pieces(split, chain, range, op)) : NULL;
		return (struct mapped){ divide(split, sum, range->range_ns), true };
	}
	sum = pieces(split, around, range, range->op);
	if (range->op == LP_RANGE_MAX || range->op == LP_RANGE_MIN)
		sum = vector_agg(split, range->op == LP_RANGE_MAX ? LP_VECTOR_MAX : LP_VECTOR_MIN,
				 range->grouping.present ? &range->grouping : &without_nothing, sum);
	else if (range->op == LP_RANGE_SUM || !extracts)
		sum = vector_agg(split, LP_VECTOR_SUM, &without_nothing, sum);
	return (struct mapped){ sum, true };
}

static struct mapped map(struct split *split, const struct lp_expr *e, const struct lp_expr *around);

/* A side that is not split keeps the whole operation from being split; numbers do not count. */
static struct mapped map_binary(struct split *split, const struct lp_expr *e)
{
	struct mapped same = { e, false }, left, right;
	uint32_t before = split->pieces;
	struct lp_expr *copy;

	left = map(split, e->left, NULL);
	right = map(split, e->right, NULL);
	if ((!left.split && e->left->kind != LP_EXPR_LITERAL) || (!right.split && e->right->kind != LP_EXPR_LITERAL)) {
		split->pieces = before;
		return same;
	}
	copy = node(split, e);
	if (copy) {
		copy->left = (struct lp_expr *)(uintptr_t)left.expr;
		copy->right = (struct lp_expr *)(uintptr_t)right.expr;
	}
	return (struct mapped){ copy, true };
}

static struct mapped map(struct split *split, const struct lp_expr *e, const struct lp_expr *around)
{
	struct mapped inner;
	struct lp_expr *copy;

	switch (e->kind) {
	case LP_EXPR_RANGE_AGG: return map_range(split, e, around);
	case LP_EXPR_BINARY: return map_binary(split, e);
	case LP_EXPR_VECTOR_AGG:
		if (window_of(e) <= split->interval_ns)
			return (struct mapped){ e, false };
		around = e->vector_op == LP_VECTOR_COUNT || e->vector_op == LP_VECTOR_TOPK || e->vector_op == LP_VECTOR_SORT ||
			 e->vector_op == LP_VECTOR_SORT_DESC ? NULL : e;
		break;
	case LP_EXPR_LABEL_REPLACE: break;
	default: return (struct mapped){ e, false };
	}
	inner = map(split, e->inner, around);
	copy = inner.split ? node(split, e) : NULL;
	if (copy)
		copy->inner = (struct lp_expr *)(uintptr_t)inner.expr;
	return (struct mapped){ inner.split ? copy : e, inner.split };
}

int lp_metric_split(struct lp_arena *arena, const struct lp_expr *root, int64_t interval_ns, const struct lp_expr **ret_root)
{
	struct split split = { .arena = arena, .interval_ns = interval_ns };
	struct mapped mapped;

	if (interval_ns <= 0 || !splittable(root)) {
		*ret_root = root;
		return 0;
	}
	mapped = map(&split, root, NULL);
	if (split.no_memory)
		return -ENOMEM;
	*ret_root = mapped.expr;
	return 0;
}
