/* Metric queries: from the tree to leaves, from leaves to tasks, and from the accumulators to the answer.
 *
 * Each leaf (range aggregation) is planned like a log query over the time that its windows need; the tasks of all leaves run
 * together.  A task borrows an accumulator of its leaf; at the end those are merged and the tree above the leaves is
 * evaluated, which no longer depends on the number of lines.
 * Process: worker, pool threads. */
#include "query/metric-private.h"

#include "query/logql/units.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MAX_LEAVES 1024u
#define STEP_UNIT_NS INT64_C(1000000)
#define MAX_STEPS 22001u        /* the routes refuse more than 11,000; aligning may add one, whole milliseconds double them */

/* Loki aligns range queries to the step, start down and end up, so that refreshing a graph does not move its points.  Its step has whole
 * milliseconds, and before 1970 its remainders are negative, so that the start moves up. */
static int make_grid(struct lp_query *query, struct lp_metric_grid *grid)
{
	const struct lp_query_params *p = &query->params;
	int64_t end = p->end_ns, rest, next;

	if (p->kind == LP_QUERY_INSTANT) {
		*grid = (struct lp_metric_grid){ .start_ns = p->end_ns, .step_ns = 1, .steps = 1 };
		return 0;
	}
	if (p->step_ns <= 0)
		return lp_query_fail(query, 400, "BAD_QUERY",
				     "zero or negative query resolution step widths are not accepted. Try a positive integer");
	grid->step_ns = p->step_ns < STEP_UNIT_NS ? p->step_ns : p->step_ns / STEP_UNIT_NS * STEP_UNIT_NS;
	grid->start_ns = p->start_ns - p->start_ns % grid->step_ns;
	rest = end % grid->step_ns;
	if (rest)
		end = __builtin_add_overflow(end - rest, grid->step_ns, &next) ? end - rest : next;
	if (end < grid->start_ns || ((uint64_t)end - (uint64_t)grid->start_ns) / (uint64_t)grid->step_ns > MAX_STEPS)
		return lp_query_fail(query, 400, "BAD_QUERY", "exceeded maximum resolution of 11,000 points per time series. Try increasing "
				     "the value of the step parameter");
	grid->steps = (uint32_t)(((uint64_t)end - (uint64_t)grid->start_ns) / (uint64_t)grid->step_ns) + 1;
	return 0;
}

static int leaf_open(struct lp_query *query, struct lp_leaf *leaf, const struct lp_metric_leaf *def)
{
	const struct lp_stage *rest = NULL;
	int r;

	leaf->range = *def->range;
	leaf->grouping = def->grouping;
	for (unsigned i = 0; i < LP_METRIC_LOCKS; i++)
		pthread_mutex_init(&leaf->locks[i], NULL);
	r = lp_line_filter_open(leaf->range.log.stages, &leaf->filter, &rest);
	if (r < 0)
		return r;
	/* The pipeline reads the tree and never writes the stages it is given; only their list begins later. */
	leaf->range.log.stages = (struct lp_stage *)(uintptr_t)rest;
	struct lp_pipeline_spec spec = { .range = &leaf->range, .grouping = leaf->grouping, .discover = query->discover };

	r = lp_pipeline_open(&spec, &leaf->pipeline);
	if (r == -EOPNOTSUPP)
		return lp_query_fail(query, 400, "BAD_QUERY", "this pipeline stage is not supported by this version yet");
	leaf->plain = !rest && !leaf->range.has_unwrap;
	leaf->sizes = leaf->range.op == LP_RANGE_BYTES || leaf->range.op == LP_RANGE_BYTES_RATE;
	return r;
}

static int leaf_plan(struct lp_query *query, struct lp_worker *worker, struct lp_leaf *leaf, const struct lp_metric_grid *grid)
{
	int r;

	lp_range_acc_span(&leaf->range, grid, &leaf->first_ts, &leaf->last_ts);
	if (query->params.oldest_ns && leaf->first_ts < query->params.oldest_ns)
		leaf->first_ts = query->params.oldest_ns;
	leaf->first_task = query->n_tasks;
	if (leaf->first_ts > leaf->last_ts)
		return 0;
	/* The common plan works on the query's own range and selector: lend it the leaf's. */
	query->params.start_ns = leaf->first_ts;
	query->params.end_ns = leaf->last_ts < INT64_MAX ? leaf->last_ts + 1 : INT64_MAX;
	query->log = &leaf->range.log;
	r = lp_plan_tasks(query, worker, leaf->filter);
	leaf->plan = query->plan;
	query->plan = (struct lp_items){ 0 };
	for (uint32_t i = 0; i < leaf->plan.n; i++)
		leaf->deleted |= leaf->plan.items[i].tombs != 0;
	query->n_tasks = leaf->first_task;
	if (r == 0)
		r = lp_regions_open(query, &leaf->plan, &leaf->regions);
	if (r == 0)
		query->n_tasks += leaf->plan.n_tasks;
	return r;
}

static int check_limits(struct lp_query *query, const struct lp_metric_leaf *defs, uint32_t n)
{
	int64_t max = query->params.max_range_ns;
	struct lp_buf text = LP_BUF_INIT;
	int r = 0;

	for (uint32_t i = 0; i < n && r == 0; i++) {
		r = lp_plan_check_matchers(query, &defs[i].range->log);
		if (r < 0 || !max || defs[i].range->range_ns <= max)
			continue;
		lp_buf_str(&text, "[interval] value exceeds limit: [");
		lp_units_print_prom_duration(&text, defs[i].range->range_ns);
		lp_buf_str(&text, "] > [");
		lp_units_print_prom_duration(&text, max);
		r = lp_query_fail(query, 400, "BAD_QUERY", "%s]", lp_buf_cstr(&text));
	}
	lp_buf_free(&text);
	return r;
}

/* Equal leaves, as in (a - b) / a, are read once.  What prints alike is alike. */
static int find_twins(struct lp_query *query, struct lp_metric_query *m, const struct lp_metric_leaf *defs)
{
	const char **texts = lp_arena_zalloc(&query->arena, ((size_t)m->n + 1) * sizeof *texts);
	struct lp_buf text = { .max = 1 << 20 };
	int r = texts ? 0 : -ENOMEM;

	for (uint32_t i = 0; i < m->n && r == 0; i++) {
		struct lp_expr range = { .kind = LP_EXPR_RANGE_AGG, .range = (struct lp_range_agg *)(uintptr_t)defs[i].range };
		struct lp_expr sum = { .kind = LP_EXPR_VECTOR_AGG, .vector_op = LP_VECTOR_SUM, .inner = &range };

		if (defs[i].grouping)
			sum.grouping = *defs[i].grouping;
		lp_buf_reset(&text);
		lp_logql_print(defs[i].grouping ? &sum : &range, &text);
		texts[i] = text.failed ? "" : lp_arena_strndup(&query->arena, (const char *)text.data, text.len);
		if (!texts[i])
			r = -ENOMEM;
		for (uint32_t k = 0; r == 0 && k < i && *texts[i] && !m->leaves[i].twin; k++)
			if (!m->leaves[k].twin && !strcmp(texts[k], texts[i]))
				m->leaves[i].twin = &m->leaves[k];
	}
	lp_buf_free(&text);
	return r;
}

static int metric_plan(struct lp_query *query, struct lp_worker *worker)
{
	struct lp_metric_leaf *defs = lp_arena_zalloc(&query->arena, MAX_LEAVES * sizeof *defs);
	struct lp_metric_query *m = query->state = calloc(1, sizeof *m);
	uint32_t n = 0;
	int r;

	if (!m || !defs)
		return -ENOMEM;
	r = make_grid(query, &m->grid);
	m->root = query->logql->root;
	/* Before it is split: the query's own windows count. */
	if (r == 0)
		r = lp_metric_leaves(m->root, defs, MAX_LEAVES, &n);
	if (r == 0)
		r = check_limits(query, defs, n);
	if (r == 0 && query->params.kind == LP_QUERY_INSTANT)
		r = lp_metric_split(&query->arena, m->root, query->params.split_ns, &m->root);
	if (r == 0)
		r = lp_metric_leaves(m->root, defs, MAX_LEAVES, &n);
	if (r == -E2BIG)
		return lp_query_fail(query, 400, "BAD_QUERY", "the query has too many range aggregations: more than %u", MAX_LEAVES);
	if (r < 0)
		return r;
	m->leaves = calloc((size_t)n + 1, sizeof *m->leaves);
	if (!m->leaves)
		return -ENOMEM;
	for (; r == 0 && m->n < n; m->n++)
		r = leaf_open(query, &m->leaves[m->n], &defs[m->n]);
	if (r == 0)
		r = find_twins(query, m, defs);
	for (uint32_t i = 0; r == 0 && i < n; i++) {
		m->leaves[i].first_task = query->n_tasks;
		if (!m->leaves[i].twin)
			r = leaf_plan(query, worker, &m->leaves[i], &m->grid);
	}
	return r;
}

/* ---- the answer ---- */

static void thread_done(struct lp_query *query, struct lp_leaf_thread *t)
{
	lp_range_acc_close(&t->acc);
	lp_query_uncharge(query, t->charged);
	t->charged = 0;
}

static int leaf_matrix(struct lp_query *query, struct lp_leaf *leaf, const struct lp_metric_grid *grid, struct lp_matrix **ret)
{
	struct lp_leaf_thread *first = leaf->threads;
	struct lp_range_acc *empty = NULL;
	int r = 0;

	if (!first) {
		r = lp_range_acc_open(&leaf->range, grid, lp_query_memory_left(query), &empty);
		if (r == 0)
			r = lp_range_acc_finish(empty, ret);
		lp_range_acc_close(&empty);
		return r;
	}
	for (struct lp_leaf_thread *t = first->next; r == 0 && t; t = t->next) {
		if (lp_query_stopped(query))
			return -ECANCELED;
		lp_range_acc_limit(first->acc, first->charged + lp_query_memory_left(query));
		r = lp_range_acc_merge(first->acc, t->acc);
		thread_done(query, t);
	}
	lp_range_acc_limit(first->acc, first->charged + lp_query_memory_left(query));
	return r < 0 ? r : lp_range_acc_finish(first->acc, ret);
}

static bool eval_stopped(void *query)
{
	return lp_query_stopped(query);
}

static int eval(struct lp_query *query, struct lp_matrix **matrices, struct lp_metric_result *result)
{
	struct lp_metric_query *m = query->state;
	struct lp_buf error = LP_BUF_INIT;
	struct lp_arena_budget budget = { .max_bytes = query->params.max_memory ? query->params.max_memory : SIZE_MAX };
	const struct lp_metric_env env = { .budget = &budget, .stopped = eval_stopped, .arg = query, .partial = query->params.partial };
	uint64_t charged = 0;
	int status = 400, r = 0;

	for (uint32_t i = 0; r == 0 && i < m->n; i++) {
		struct lp_leaf *leaf = &m->leaves[i];

		r = leaf->twin ? lp_matrix_copy(matrices[leaf->twin - m->leaves], m->grid.steps, lp_query_memory_left(query), &matrices[i])
			       : leaf_matrix(query, leaf, &m->grid, &matrices[i]);
		if (r < 0)
			break;
		/* From the accumulators to the matrix: the memory of all of them together counts. */
		for (struct lp_leaf_thread *t = leaf->threads; t; t = t->next)
			thread_done(query, t);
		r = lp_query_charge(query, matrices[i]->arena.total_bytes);
		if (r == 0)
			charged += matrices[i]->arena.total_bytes;
	}
	if (r < 0) {
		for (uint32_t i = 0; i < m->n; i++)
			lp_matrix_free(&matrices[i]);
		return r == -ENOBUFS ? lp_metric_fail_memory(query) : r;
	}
	budget.used = atomic_load(&query->memory);
	for (uint32_t i = 0; i < m->n; i++)
		lp_matrix_adopt(matrices[i], &budget);
	r = lp_metric_eval(&env, m->root, &m->grid, query->params.kind == LP_QUERY_INSTANT, matrices, m->n, query->params.max_series, result,
			   &status, &error);
	lp_query_uncharge(query, charged);
	if (r == 0 && result->matrix)
		lp_matrix_adopt(result->matrix, NULL);  /* it lives longer than the budget */
	if (r == -ENOBUFS)
		r = lp_metric_fail_memory(query);
	if ((r == -EINVAL || r == -E2BIG) && error.len)
		r = lp_query_fail(query, status, "BAD_QUERY", "%s", lp_buf_cstr(&error));
	lp_buf_free(&error);
	return r;
}

static int metric_finish(struct lp_query *query)
{
	struct lp_metric_query *m = query->state;
	struct lp_matrix **matrices = calloc((size_t)m->n + 1, sizeof *matrices);
	struct lp_metric_result result = { 0 };

	if (!matrices)
		return -ENOMEM;
	int r = eval(query, matrices, &result);

	free(matrices);
	if (r < 0)
		return r;
	query->stats.lines_matched = atomic_load(&m->samples);
	r = lp_out_begin(query, 200, "application/json; charset=UTF-8");
	if (r == 0) {
		lp_buf_str(&query->out, "{\"status\":\"success\",");
		if (result.partial)
			lp_buf_printf(&query->out, "\"warnings\":[\"maximum number of series (%u) reached for a single query; returning partial "
				      "results\"],", query->params.max_series);
		lp_buf_str(&query->out, "\"data\":{");
		for (uint32_t i = 0; r == 0 && lp_metric_result_json(&result, &m->grid, i, &query->out); i++)
			r = lp_out_flush(query, false);
	}
	if (r == 0) {
		lp_result_end_json(query);
		r = lp_out_flush(query, true);
	}
	lp_matrix_free(&result.matrix);
	return r;
}

static void leaf_close(struct lp_query *query, struct lp_leaf *leaf)
{
	while (leaf->threads) {
		struct lp_leaf_thread *t = leaf->threads;

		leaf->threads = t->next;
		lp_range_acc_close(&t->acc);
		lp_pipeline_state_close(&t->state);
		lp_buf_free(&t->labels);
		free(t);
	}
	lp_regions_close(query, &leaf->regions);
	lp_line_filter_close(&leaf->filter);
	lp_pipeline_close(&leaf->pipeline);
	free(leaf->plan.items);
	free(leaf->plan.tasks);
	for (unsigned i = 0; i < LP_METRIC_LOCKS; i++)
		pthread_mutex_destroy(&leaf->locks[i]);
}

static void metric_free(struct lp_query *query)
{
	struct lp_metric_query *m = query->state;

	if (!m)
		return;
	for (uint32_t i = 0; i < m->n; i++)
		leaf_close(query, &m->leaves[i]);
	free(m->leaves);
	free(m);
	query->state = NULL;
}

const struct lp_query_ops lp_metric_ops = {
	.plan = metric_plan, .run = lp_metric_run, .finish = metric_finish, .free_state = metric_free,
};
