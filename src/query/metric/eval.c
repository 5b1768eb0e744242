/* Evaluating the tree above the range aggregations, and writing the result.
 *
 * A node's value is a number or a matrix; an instant query is a matrix of one step.  Rows keep an order on the way up: that
 * of labels from the leaves, another one after sort.  Depth is bounded by the parser (LP_LOGQL_MAX_DEPTH), so recursion is.
 * One thread; runs in workers, nothing is lost if one dies here. */
#include "query/metric/metric-private.h"

#include "common/jsonw.h"
#include "store/format/labels.h"

#include <errno.h>

/* ---- leaves ----------------------------------------------------------------------------------------------------- */

/* May the samples of a leaf be grouped one by one, because the aggregation around it is a sum of sums? */
static bool groups_early(const struct lp_expr *around, const struct lp_range_agg *range)
{
	if (!around || around->kind != LP_EXPR_VECTOR_AGG || around->vector_op != LP_VECTOR_SUM)
		return false;
	switch (range->op) {
	case LP_RANGE_COUNT:
	case LP_RANGE_RATE:
	case LP_RANGE_BYTES:
	case LP_RANGE_BYTES_RATE:
	case LP_RANGE_SUM:
		return true;
	default:
		return false;
	}
}

struct leaves {
	struct lp_metric_leaf *leaf;
	uint32_t n, max;
};

static int find_leaves(const struct lp_expr *expr, const struct lp_expr *around, struct leaves *leaves)
{
	int r;

	switch (expr->kind) {
	case LP_EXPR_RANGE_AGG:
		if (leaves->n == leaves->max)
			return -E2BIG;
		leaves->leaf[leaves->n++] = (struct lp_metric_leaf){
			.range = expr->range, .grouping = groups_early(around, expr->range) ? &around->grouping : NULL };
		return 0;
	case LP_EXPR_VECTOR_AGG:
	case LP_EXPR_LABEL_REPLACE:
		return find_leaves(expr->inner, expr, leaves);
	case LP_EXPR_BINARY:
		r = find_leaves(expr->left, expr, leaves);
		return r < 0 ? r : find_leaves(expr->right, expr, leaves);
	case LP_EXPR_CONCAT:
		for (uint32_t i = 0; i < expr->n_parts; i++) {
			r = find_leaves(expr->parts[i], NULL, leaves);
			if (r < 0)
				return r;
		}
		return 0;
	case LP_EXPR_LOG:
		return -EINVAL;
	case LP_EXPR_LITERAL:
	case LP_EXPR_VECTOR:
		return 0;
	}
	return -EINVAL;
}

int lp_metric_leaves(const struct lp_expr *root, struct lp_metric_leaf *leaves, uint32_t max, uint32_t *ret_n)
{
	struct leaves l = { leaves, 0, max };
	int r = find_leaves(root, NULL, &l);

	if (r == 0)
		*ret_n = l.n;
	return r;
}

/* ---- the walk --------------------------------------------------------------------------------------------------- */

struct eval {
	const struct lp_metric_env *env;
	uint32_t steps;
	struct lp_matrix **leaf;        /* the next one to use; used ones become NULL */
	uint32_t left;
	bool sorted;                    /* sort or sort_desc stands somewhere */
	struct lp_buf *error;
};

struct value {
	struct lp_matrix *matrix;       /* NULL: the number */
	double number;
};

static int constant(const struct lp_metric_env *env, uint32_t steps, double number, struct lp_matrix **ret_matrix)
{
	static const uint8_t no_labels[] = { 0 };
	struct lp_matrix *matrix;
	struct lp_series *row;
	int r = lp_matrix_new(env->budget, &matrix);

	if (r < 0)
		return r;
	r = lp_matrix_row(matrix, no_labels, sizeof no_labels, steps, &row);
	if (r < 0) {
		lp_matrix_free(&matrix);
		return r;
	}
	for (uint32_t i = 0; i < steps; i++)
		lp_series_put(row, i, number);
	*ret_matrix = matrix;
	return 0;
}

static int eval_expr(struct eval *eval, const struct lp_expr *expr, struct value *ret_value);

static int eval_inner(struct eval *eval, const struct lp_expr *expr, struct value *ret_value)
{
	struct value inner = { 0 };
	int r = eval_expr(eval, expr->inner, &inner);

	if (r == 0 && !inner.matrix)
		r = constant(eval->env, eval->steps, inner.number, &inner.matrix);
	if (r < 0)
		return r;
	if (expr->kind == LP_EXPR_LABEL_REPLACE)
		return lp_label_replace(eval->env, expr, eval->steps, inner.matrix, &ret_value->matrix);
	eval->sorted |= expr->vector_op == LP_VECTOR_SORT || expr->vector_op == LP_VECTOR_SORT_DESC;
	return lp_vector_agg(eval->env, expr, eval->steps, inner.matrix, &ret_value->matrix);
}

static int eval_binary(struct eval *eval, const struct lp_expr *expr, struct value *ret_value)
{
	struct value left = { 0 }, right = { 0 };
	int r = eval_expr(eval, expr->left, &left);

	if (r == 0)
		r = eval_expr(eval, expr->right, &right);
	if (r < 0) {
		lp_matrix_free(&left.matrix);
		return r;
	}
	if (left.matrix && right.matrix)
		return lp_binop_vectors(eval->env, expr, eval->steps, left.matrix, right.matrix, &ret_value->matrix, eval->error);
	if (!left.matrix && !right.matrix) {
		ret_value->number = lp_binop_apply(expr->bin_op, left.number, right.number);
		return 0;
	}
	struct lp_matrix *vector = left.matrix ? left.matrix : right.matrix;

	r = lp_binop_scalar(eval->env, expr, eval->steps, vector, left.matrix ? right.number : left.number, !left.matrix);
	if (r < 0)
		lp_matrix_free(&vector);
	ret_value->matrix = vector;
	return r;
}

/* The rows of all parts; equal label sets stay apart, the aggregation around takes them together. */
static int eval_concat(struct eval *eval, const struct lp_expr *expr, struct value *ret_value)
{
	struct lp_matrix *all = NULL;
	int r = lp_matrix_new(eval->env->budget, &all);

	for (uint32_t i = 0; i < expr->n_parts && r == 0; i++) {
		struct value part = { 0 };

		r = eval_expr(eval, expr->parts[i], &part);
		if (r == 0 && part.matrix)
			r = lp_matrix_append(all, part.matrix, eval->steps);
		lp_matrix_free(&part.matrix);
	}
	if (r < 0)
		lp_matrix_free(&all);
	ret_value->matrix = all;
	return r;
}

static int eval_expr(struct eval *eval, const struct lp_expr *expr, struct value *ret_value)
{
	switch (expr->kind) {
	case LP_EXPR_RANGE_AGG:
		if (!eval->left)
			return -EINVAL;
		ret_value->matrix = *eval->leaf;
		*eval->leaf++ = NULL;
		eval->left--;
		return 0;
	case LP_EXPR_VECTOR_AGG:
	case LP_EXPR_LABEL_REPLACE:
		return eval_inner(eval, expr, ret_value);
	case LP_EXPR_BINARY:
		return eval_binary(eval, expr, ret_value);
	case LP_EXPR_LITERAL:
		ret_value->number = expr->number;
		return 0;
	case LP_EXPR_VECTOR:
		return constant(eval->env, eval->steps, expr->number, &ret_value->matrix);
	case LP_EXPR_CONCAT:
		return eval_concat(eval, expr, ret_value);
	case LP_EXPR_LOG:
		break;
	}
	return -EINVAL;
}

int lp_metric_eval(const struct lp_metric_env *env, const struct lp_expr *root, const struct lp_metric_grid *grid, bool instant,
		   struct lp_matrix **matrices, uint32_t n, uint32_t max_series, struct lp_metric_result *ret_result, int *ret_status,
		   struct lp_buf *error)
{
	struct eval eval = { .env = env, .steps = grid->steps, .leaf = matrices, .left = n, .error = error };
	struct value value = { 0 };
	bool partial = false;
	int r = eval_expr(&eval, root, &value);

	for (uint32_t i = 0; i < n; i++)
		lp_matrix_free(&matrices[i]);
	if (r == 0 && !value.matrix && !instant)
		r = constant(env, grid->steps, value.number, &value.matrix);
	if (r == 0 && value.matrix) {
		lp_matrix_drop_empty(value.matrix, grid->steps);
		partial = env->partial && value.matrix->n > max_series;
		if (value.matrix->n > max_series && !partial) {
			lp_buf_printf(error, "maximum number of series (%u) reached for a single query; consider reducing query cardinality by "
				      "adding more specific stream selectors, reducing the time range, or aggregating results with functions "
				      "like sum(), count() or topk()", max_series);
			lp_matrix_free(&value.matrix);
			r = -E2BIG;
		}
	}
	if (r < 0) {
		/* Loki answers 500 to labels that do not match; but it is the query that is wrong, and asking again does not help. */
		*ret_status = r == -EINVAL || r == -E2BIG ? 400 : 500;
		return r;
	}
	if (value.matrix && !(instant && eval.sorted))
		lp_matrix_sort(value.matrix);
	if (partial)
		value.matrix->n = max_series;
	*ret_result = (struct lp_metric_result){
		.type = !value.matrix ? LP_METRIC_SCALAR : instant ? LP_METRIC_VECTOR : LP_METRIC_MATRIX,
		.matrix = value.matrix, .scalar = value.number, .partial = partial };
	return 0;
}

/* ---- JSON ------------------------------------------------------------------------------------------------------- */

/* Seconds, with milliseconds only when there are any. */
static void put_time(struct lp_buf *out, int64_t ns)
{
	int64_t ms = ns / 1000000;

	if (ms < 0)
		lp_buf_byte(out, '-');
	lp_buf_u64(out, (uint64_t)(ms < 0 ? -ms : ms) / 1000);
	unsigned fraction = (unsigned)((uint64_t)(ms < 0 ? -ms : ms) % 1000);

	if (!fraction)
		return;
	lp_buf_byte(out, '.');
	for (unsigned digit = 100; fraction; fraction %= digit, digit /= 10)
		lp_buf_byte(out, (uint8_t)('0' + fraction / digit));
}

static void put_sample(struct lp_buf *out, int64_t ns, double v)
{
	lp_buf_byte(out, '[');
	put_time(out, ns);
	lp_buf_str(out, ",\"");
	lp_jsonw_double(out, v);
	lp_buf_str(out, "\"]");
}

static void put_series(struct lp_buf *out, const struct lp_series *series, const struct lp_metric_grid *grid, bool instant)
{
	struct lp_labels_iter it;
	struct lp_label label;
	bool first = true;

	lp_buf_str(out, "{\"metric\":{");
	if (lp_metadata_iter(&it, series->labels, series->labels_len) == 0)
		while (lp_labels_next(&it, &label) == 1) {
			if (!first)
				lp_buf_byte(out, ',');
			first = false;
			lp_jsonw_str(out, label.name, label.name_len);
			lp_buf_byte(out, ':');
			lp_jsonw_str(out, label.value, label.value_len);
		}
	lp_buf_str(out, instant ? "},\"value\":" : "},\"values\":[");
	first = true;
	for (uint32_t i = 0; i < grid->steps; i++) {
		if (!lp_series_has(series, i))
			continue;
		if (!first)
			lp_buf_byte(out, ',');
		first = false;
		put_sample(out, grid->start_ns + (i ? (int64_t)i * grid->step_ns : 0), series->values[i]);
	}
	lp_buf_str(out, instant ? "}" : "]}");
}

bool lp_metric_result_json(const struct lp_metric_result *result, const struct lp_metric_grid *grid, uint32_t i, struct lp_buf *out)
{
	static const char *const names[] = { [LP_METRIC_VECTOR] = "vector", [LP_METRIC_MATRIX] = "matrix", [LP_METRIC_SCALAR] = "scalar" };

	if (!i)
		lp_buf_printf(out, "\"resultType\":\"%s\",\"result\":", names[result->type]);
	if (result->type == LP_METRIC_SCALAR) {
		put_sample(out, grid->start_ns, result->scalar);
		return false;
	}
	lp_buf_byte(out, i ? ',' : '[');
	if (i < result->matrix->n)
		put_series(out, &result->matrix->series[i], grid, result->type == LP_METRIC_VECTOR);
	if (i + 1 < result->matrix->n)
		return true;
	lp_buf_byte(out, ']');
	return false;
}
