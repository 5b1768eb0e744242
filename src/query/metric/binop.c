/* Binary operations: between vectors by matching labels, and of a vector with a number.
 *
 * Matching is Prometheus' (promql/engine.go, VectorBinop) as Loki has it: signatures of the matching labels are numbered once, then
 * each step pairs the rows that have a value there.  Division by zero is NaN, a filtering comparison keeps the left value, set
 * operators take whole rows of their left side.
 * One thread; runs in workers, nothing is lost if one dies here. */
#include "query/metric/metric-private.h"

#include <errno.h>
#include <math.h>
#include <string.h>

bool lp_binop_is_comparison(enum lp_bin_op op)
{
	return op >= LP_BIN_EQ && op <= LP_BIN_LTE;
}

double lp_binop_apply(enum lp_bin_op op, double left, double right)
{
	switch (op) {
	case LP_BIN_ADD: return left + right;
	case LP_BIN_SUB: return left - right;
	case LP_BIN_MUL: return left * right;
	case LP_BIN_DIV: return right == 0 ? NAN : left / right;
	case LP_BIN_MOD: return right == 0 ? NAN : fmod(left, right);
	case LP_BIN_POW: return pow(left, right);
	case LP_BIN_EQ: return left == right;
	case LP_BIN_NEQ: return left != right;
	case LP_BIN_GT: return left > right;
	case LP_BIN_GTE: return left >= right;
	case LP_BIN_LT: return left < right;
	case LP_BIN_LTE: return left <= right;
	case LP_BIN_AND:
	case LP_BIN_OR:
	case LP_BIN_UNLESS:
		break;                  /* not between numbers: the parser sees to it */
	}
	return NAN;
}

/* The value of one pair; false: filtered out. */
static bool pair_value(const struct lp_expr *expr, double left, double right, double kept, double *ret_value)
{
	double v = lp_binop_apply(expr->bin_op, left, right);

	if (lp_binop_is_comparison(expr->bin_op) && !expr->return_bool) {
		if (v == 0)
			return false;
		v = kept;
	}
	*ret_value = v;
	return true;
}

/* The vector's value stays in filters, whichever side it is on. */
int lp_binop_scalar(const struct lp_metric_env *env, const struct lp_expr *expr, uint32_t steps, struct lp_matrix *vector, double scalar,
		    bool scalar_left)
{
	for (uint32_t k = 0; k < vector->n; k++) {
		if (lp_metric_stopped(env))
			return -ECANCELED;
		for (uint32_t i = 0; i < steps; i++) {
			struct lp_series *row = &vector->series[k];
			double v = row->values[i];

			if (!lp_series_has(row, i))
				continue;
			if (!pair_value(expr, scalar_left ? scalar : v, scalar_left ? v : scalar, v, &row->values[i]))
				lp_series_unset(row, i);
		}
	}
	return 0;
}

/* ---- signatures ------------------------------------------------------------------------------------------------- */

struct side {
	struct lp_matrix *m;
	uint32_t *sig;                  /* of each row */
};

/* What both kinds of operations work with. */
struct work {
	const struct lp_metric_env *env;
	struct lp_arena scratch;        /* within the budget */
};

static void *scratch(struct work *work, size_t n, size_t elem)
{
	return lp_arena_zalloc(&work->scratch, (n + 1) * elem);
}

static bool tired(const struct work *work, uint32_t i)
{
	return i % LP_METRIC_STOP_EVERY == 0 && lp_metric_stopped(work->env);
}

static int sign(struct work *work, const struct lp_expr *expr, struct lp_keys *keys, struct side *side)
{
	struct lp_buf key = LP_BUF_INIT;
	int r = 0;

	side->sig = scratch(work, side->m->n, sizeof *side->sig);
	if (!side->sig)
		return -ENOBUFS;
	for (uint32_t i = 0; i < side->m->n && r == 0; i++) {
		if (tired(work, i)) {
			r = -ECANCELED;
			break;
		}
		lp_buf_reset(&key);
		r = lp_series_labels_filter(side->m->series[i].labels, side->m->series[i].labels_len, expr->matching_labels,
					    expr->has_matching ? expr->n_matching_labels : 0, expr->has_matching && expr->matching_on, &key);
		if (r == 0)
			r = lp_keys_id(keys, key.data, (uint32_t)key.len, lp_keys_hash(key.data, (uint32_t)key.len), &side->sig[i]);
	}
	lp_buf_free(&key);
	return r;
}

/* ---- and, or, unless -------------------------------------------------------------------------------------------- */

/* Mark the signatures that the side has at step i: seen[sig] = i + 1. */
static void mark(const struct side *side, uint32_t i, uint32_t *seen)
{
	for (uint32_t k = 0; k < side->m->n; k++)
		if (lp_series_has(&side->m->series[k], i))
			seen[side->sig[k]] = i + 1;
}

static int mask_left(struct work *work, const struct side *left, const struct side *right, uint32_t steps, bool keep_seen, uint32_t *seen)
{
	for (uint32_t i = 0; i < steps; i++) {
		if (lp_metric_stopped(work->env))
			return -ECANCELED;
		mark(right, i, seen);
		for (uint32_t k = 0; k < left->m->n; k++)
			if ((seen[left->sig[k]] == i + 1) != keep_seen)
				lp_series_unset(&left->m->series[k], i);
	}
	return 0;
}

/* Where the rows of the right side go in the left matrix: to the row with the same labels, which then has gaps, or to a new one. */
static int place_right(struct work *work, struct lp_matrix *left, const struct lp_matrix *right, uint32_t steps, uint32_t *place)
{
	struct lp_keys keys = { .arena = { .budget = work->env->budget } };
	struct lp_buf key = LP_BUF_INIT;
	struct lp_series *row;
	uint32_t n_left = left->n, *row_of = scratch(work, n_left, sizeof *row_of);
	int r = row_of ? 0 : -ENOBUFS;

	for (uint32_t i = 0; i < n_left + right->n && r == 0; i++) {
		if (tired(work, i)) {
			r = -ECANCELED;
			break;
		}
		const struct lp_series *s = i < n_left ? &left->series[i] : &right->series[i - n_left];
		uint32_t id, known = keys.n;

		lp_buf_reset(&key);
		r = lp_series_labels_filter(s->labels, s->labels_len, NULL, 0, false, &key);
		if (r == 0)
			r = lp_keys_id(&keys, key.data, (uint32_t)key.len, lp_keys_hash(key.data, (uint32_t)key.len), &id);
		if (r < 0)
			break;
		if (i < n_left) {
			if (id == known)
				row_of[id] = i;
		} else if (id < n_left && id < known && row_of[id] < n_left) {
			place[i - n_left] = row_of[id];
		} else {
			place[i - n_left] = left->n;
			r = lp_matrix_row(left, s->labels, s->labels_len, steps, &row);
		}
	}
	lp_keys_free(&keys);
	lp_buf_free(&key);
	return r;
}

static int join_right(struct work *work, const struct side *left, const struct side *right, uint32_t steps, uint32_t *seen)
{
	uint32_t n_left = left->m->n, *place = scratch(work, right->m->n, sizeof *place);
	struct side old = *left;
	struct lp_matrix rows = *left->m;
	int r = place ? place_right(work, left->m, right->m, steps, place) : -ENOBUFS;

	/* Only the rows that the left side had count as seen; they may have moved. */
	rows.series = left->m->series;
	rows.n = n_left;
	old.m = &rows;
	for (uint32_t i = 0; i < steps && r == 0; i++) {
		if (lp_metric_stopped(work->env)) {
			r = -ECANCELED;
			break;
		}
		mark(&old, i, seen);
		for (uint32_t k = 0; k < right->m->n; k++)
			if (lp_series_has(&right->m->series[k], i) && seen[right->sig[k]] != i + 1)
				lp_series_put(&left->m->series[place[k]], i, right->m->series[k].values[i]);
	}
	return r;
}

/* ---- arithmetic and comparisons --------------------------------------------------------------------------------- */

struct match {
	struct work *work;
	const struct lp_expr *expr;
	struct side many, one;          /* of one-to-one: left is `many` */
	bool swapped;                   /* `one` is the left side */
	uint32_t *one_row, *one_seen, *matched; /* per signature; seen and matched: step + 1 */
	struct lp_matrix *out;
	struct lp_keys out_keys;        /* label sets of the rows of out, in their order */
	uint32_t *out_seen, out_cap;     /* per row of out, two each: step + 1 and signature of the last value */
	uint32_t *cache_one, *cache_out;        /* per row of `many`: the last pairing + 1 and its row of out */
	struct lp_buf a, b;
	const char *why;                /* the text of -EINVAL */
};

static int result_labels(struct match *m, const struct lp_series *many, const struct lp_series *one, struct lp_buf **ret_labels)
{
	const struct lp_expr *e = m->expr;
	bool cut = e->card == LP_CARD_ONE_TO_ONE && e->has_matching;
	struct lp_buf *labels = &m->a, *next = &m->b;
	int r;

	lp_buf_reset(labels);
	r = lp_series_labels_filter(many->labels, many->labels_len, e->matching_labels, cut ? e->n_matching_labels : 0, cut && e->matching_on,
				    labels);
	for (uint32_t i = 0; i < e->n_include && r == 0; i++) {
		struct lp_buf *other = labels;

		lp_buf_reset(next);
		r = lp_series_labels_set(labels->data, (uint32_t)labels->len, e->include[i],
					 lp_series_labels_get(one->labels, one->labels_len, e->include[i]), next);
		labels = next;
		next = other;
	}
	*ret_labels = labels;
	return r;
}

static int out_row(struct match *m, uint32_t many, uint32_t one, uint32_t steps, uint32_t *ret_row)
{
	uint32_t id, known = m->out_keys.n;
	struct lp_series *row;
	struct lp_buf *labels;
	int r;

	if (m->cache_one[many] == one + 1 || (m->cache_one[many] && !m->expr->n_include)) {
		*ret_row = m->cache_out[many];
		return 0;
	}
	r = result_labels(m, &m->many.m->series[many], &m->one.m->series[one], &labels);
	if (r == 0)
		r = lp_keys_id(&m->out_keys, labels->data, (uint32_t)labels->len, lp_keys_hash(labels->data, (uint32_t)labels->len), &id);
	if (r < 0)
		return r;
	if (id == m->out_cap) {
		uint32_t cap = m->out_cap ? m->out_cap * 2 : 16, *grown = scratch(m->work, cap * (size_t)2, sizeof *grown);

		if (!grown)
			return -ENOBUFS;
		if (m->out_cap)
			memcpy(grown, m->out_seen, m->out_cap * 2 * sizeof *grown);
		m->out_seen = grown;
		m->out_cap = cap;
	}
	if (id == known) {
		m->out_seen[2 * id] = 0;
		r = lp_matrix_row(m->out, labels->data, (uint32_t)labels->len, steps, &row);
	}
	m->cache_one[many] = one + 1;
	m->cache_out[many] = *ret_row = id;
	return r;
}

static int fail(struct match *m, const char *why)
{
	m->why = why;
	return -EINVAL;
}

static int pair_rows(struct match *m, uint32_t many, uint32_t i, uint32_t steps)
{
	uint32_t sig = m->many.sig[many], row;
	int r;

	if (m->one_seen[sig] != i + 1)
		return 0;
	if (m->expr->card == LP_CARD_ONE_TO_ONE && m->matched[sig] == i + 1)
		return fail(m, "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)");
	m->matched[sig] = i + 1;
	r = out_row(m, many, m->one_row[sig], steps, &row);
	if (r < 0)
		return r;
	if (m->expr->card != LP_CARD_ONE_TO_ONE && m->out_seen[2 * row] == i + 1 && m->out_seen[2 * row + 1] == sig)
		return fail(m, "multiple matches for labels: grouping labels must ensure unique matches");
	m->out_seen[2 * row] = i + 1;
	m->out_seen[2 * row + 1] = sig;

	double x = m->many.m->series[many].values[i], y = m->one.m->series[m->one_row[sig]].values[i];
	double left = m->swapped ? y : x, right = m->swapped ? x : y, v;

	if (pair_value(m->expr, left, right, left, &v))
		lp_series_put(&m->out->series[row], i, v);
	return 0;
}

static int pair_step(struct match *m, uint32_t i, uint32_t steps)
{
	int r = 0;

	if (lp_metric_stopped(m->work->env))
		return -ECANCELED;
	for (uint32_t k = 0; k < m->one.m->n; k++) {
		uint32_t sig = m->one.sig[k];

		if (!lp_series_has(&m->one.m->series[k], i))
			continue;
		if (m->one_seen[sig] == i + 1)
			return fail(m, m->swapped ? "found duplicate series on the left hand-side;many-to-many matching not allowed: matching "
						    "labels must be unique on one side"
						  : "found duplicate series on the right hand-side;many-to-many matching not allowed: matching "
						    "labels must be unique on one side");
		m->one_seen[sig] = i + 1;
		m->one_row[sig] = k;
	}
	for (uint32_t k = 0; k < m->many.m->n && r == 0; k++)
		if (tired(m->work, k + 1))
			r = -ECANCELED;
		else if (lp_series_has(&m->many.m->series[k], i))
			r = pair_rows(m, k, i, steps);
	return r;
}

static int pair_all(struct match *m, uint32_t n_sigs, uint32_t steps)
{
	size_t n = n_sigs + (size_t)1, rows = m->many.m->n + (size_t)1;
	int r = lp_matrix_new(m->work->env->budget, &m->out);

	m->one_row = scratch(m->work, n * 3, sizeof *m->one_row);
	m->cache_one = scratch(m->work, rows * 2, sizeof *m->cache_one);
	if (r == 0 && (!m->one_row || !m->cache_one))
		r = -ENOBUFS;
	if (r == 0) {
		m->one_seen = m->one_row + n;
		m->matched = m->one_seen + n;
		m->cache_out = m->cache_one + rows;
	}
	for (uint32_t i = 0; i < steps && r == 0; i++)
		r = pair_step(m, i, steps);
	lp_keys_free(&m->out_keys);
	lp_buf_free(&m->a);
	lp_buf_free(&m->b);
	return r;
}

static int set_operation(struct work *work, const struct lp_expr *expr, const struct side *left, const struct side *right, uint32_t n_sigs,
			 uint32_t steps)
{
	uint32_t *seen = scratch(work, n_sigs, sizeof *seen);

	if (!seen)
		return -ENOBUFS;
	if (expr->bin_op == LP_BIN_OR)
		return join_right(work, left, right, steps, seen);
	return mask_left(work, left, right, steps, expr->bin_op == LP_BIN_AND, seen);
}

int lp_binop_vectors(const struct lp_metric_env *env, const struct lp_expr *expr, uint32_t steps, struct lp_matrix *left,
		     struct lp_matrix *right, struct lp_matrix **ret_matrix, struct lp_buf *error)
{
	struct work work = { .env = env, .scratch = { .budget = env->budget } };
	struct side l = { .m = left }, r = { .m = right };
	struct lp_keys sigs = { .arena = { .budget = env->budget } };
	bool swapped = expr->card == LP_CARD_ONE_TO_MANY;
	struct match m = { .work = &work, .expr = expr, .swapped = swapped, .out_keys = { .arena = { .budget = env->budget } } };
	int ret = sign(&work, expr, &sigs, &l);

	if (ret == 0)
		ret = sign(&work, expr, &sigs, &r);
	m.many = swapped ? r : l;
	m.one = swapped ? l : r;
	if (ret == 0 && expr->bin_op >= LP_BIN_AND) {
		ret = set_operation(&work, expr, &l, &r, sigs.n, steps);
		m.out = left;
	} else if (ret == 0) {
		ret = pair_all(&m, sigs.n, steps);
	}
	lp_arena_free(&work.scratch);
	lp_keys_free(&sigs);
	if (m.out != left)
		lp_matrix_free(&left);
	lp_matrix_free(&right);
	if (m.why)
		lp_buf_str(error, m.why);
	if (ret < 0)
		lp_matrix_free(&m.out);
	else
		*ret_matrix = m.out;
	return ret;
}
