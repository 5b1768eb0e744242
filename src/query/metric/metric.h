/* Metric queries: samples in, vectors per step out.  Pure computing: no store, no threads of its own, no HTTP.
 *
 *   scan tasks:  pipeline result -> lp_range_acc_add()          one accumulator per thread and range aggregation
 *   coordinator: lp_range_acc_merge() of all -> lp_range_acc_finish() -> struct lp_matrix, the leaf's value at each step
 *                lp_metric_eval() walks the tree above the leaves (vector aggregations, binary operations, label_replace)
 *
 * Times: evaluation times are t_i = start + i * step.  The window of a leaf at t is (t - offset - range, t - offset].
 * Windows overlap, so an accumulator keeps one small state per elementary interval between neighbouring window borders;
 * a window is the merge of consecutive intervals (panes: Li et al., "No Pane, No Gain", SIGMOD Record 2005). */
#ifndef LP_QUERY_METRIC_METRIC_H
#define LP_QUERY_METRIC_METRIC_H

#include "common/arena.h"
#include "query/logql/ast.h"

#include <stdbool.h>

struct lp_metric_grid {
	int64_t start_ns, step_ns;      /* step_ns > 0; of no meaning when steps == 1 (instant) */
	uint32_t steps;
};

/* Labels are metadata bytes (store/format/labels.h, no tenant): ascending names, no empty values. */
struct lp_series {
	const uint8_t *labels;
	uint32_t labels_len;
	double *values;                 /* steps of them */
	uint64_t *present;              /* bitmap: which steps have a value */
};

struct lp_matrix {
	struct lp_arena arena;          /* owns everything below */
	struct lp_series *series;
	uint32_t n, cap;
};

struct lp_range_acc;

/* range and its tree are borrowed until close.  max_bytes: over it every function here returns -ENOBUFS; it covers the samples and the
 * matrix that finish makes.  Series are limited by lp_metric_eval(), as in Loki: only those of the result count. */
int lp_range_acc_open(const struct lp_range_agg *range, const struct lp_metric_grid *grid, uint64_t max_bytes, struct lp_range_acc **ret_acc);
void lp_range_acc_close(struct lp_range_acc **acc);
void lp_range_acc_limit(struct lp_range_acc *acc, uint64_t max_bytes);
/* Series by labels (any bytes that identify it; labels.h metadata bytes); borrowed id for the add calls of this accumulator. */
int lp_range_acc_series(struct lp_range_acc *acc, const uint8_t *labels, uint32_t len, uint64_t hash, uint32_t *ret_series);
/* One sample.  Samples outside all windows are ignored.  Any order of time; first/last_over_time go by time, then by order of adding. */
int lp_range_acc_add(struct lp_range_acc *acc, uint32_t series, int64_t ts_ns, double value);
/* n samples of value 1 (or `sum` in all) whose timestamps lie in one elementary interval: counts from block headers.  False: they
 * do not, or the operation wants values, or memory is out (adding says which): add them one by one. */
bool lp_range_acc_add_many(struct lp_range_acc *acc, uint32_t series, int64_t min_ts_ns, int64_t max_ts_ns, uint64_t n, double sum);
/* Least and greatest timestamp that any window needs: what the scan has to read, [first, last]. */
void lp_range_acc_span(const struct lp_range_agg *range, const struct lp_metric_grid *grid, int64_t *ret_first_ns, int64_t *ret_last_ns);
/* Both are of the same range and grid.  Equal times: those of `to` count as added before those of `from`. */
int lp_range_acc_merge(struct lp_range_acc *to, const struct lp_range_acc *from);
uint64_t lp_range_acc_samples(const struct lp_range_acc *acc);
uint64_t lp_range_acc_bytes(const struct lp_range_acc *acc);
/* Once; close it afterwards.  Rows are in the order of their labels. */
int lp_range_acc_finish(struct lp_range_acc *acc, struct lp_matrix **ret_matrix);
void lp_matrix_free(struct lp_matrix **matrix);
/* -ENOBUFS over max_bytes. */
int lp_matrix_copy(const struct lp_matrix *matrix, uint32_t steps, uint64_t max_bytes, struct lp_matrix **ret_matrix);

/* Leaves in the order of a depth-first walk of the tree, left before right: what to scan.  `grouping` is the aggregation around the
 * leaf when it may be applied while scanning (pipeline.h says for which operations), else NULL. */
struct lp_metric_leaf {
	const struct lp_range_agg *range;
	const struct lp_grouping *grouping;
};
/* -E2BIG more than max; -EINVAL no metric query. */
int lp_metric_leaves(const struct lp_expr *root, struct lp_metric_leaf *leaves, uint32_t max, uint32_t *ret_n);

/* The tree that Loki's frontend makes of an instant query whose windows are longer than interval_ns (split.c), where it answers otherwise;
 * root itself when it does not, or with interval 0.  New nodes live in the arena and borrow from root.  -ENOMEM. */
int lp_metric_split(struct lp_arena *arena, const struct lp_expr *root, int64_t interval_ns, const struct lp_expr **ret_root);

enum lp_metric_type { LP_METRIC_VECTOR, LP_METRIC_MATRIX, LP_METRIC_SCALAR };

struct lp_metric_result {
	enum lp_metric_type type;
	struct lp_matrix *matrix;       /* owned by the caller; series in the order of the answer */
	double scalar;
	bool partial;                   /* some were left out */
};

/* What evaluating may use. */
struct lp_metric_env {
	struct lp_arena_budget *budget; /* of all matrices and what is needed on the way, leaves included (lp_matrix_adopt); NULL: no limit */
	bool (*stopped)(void *arg);     /* asked now and then: true ends it; NULL: nobody does */
	void *arg;
	bool partial;                   /* more than max_series: the first of them are the result */
};

/* From now on the matrix's memory counts against the budget, where it is counted already. */
void lp_matrix_adopt(struct lp_matrix *matrix, struct lp_arena_budget *budget);

/* Evaluate the tree.  matrices[i] is the value of leaf i (consumed: freed here).  instant: a vector or scalar, else a matrix.
 * -EINVAL with Loki's text in error (many-to-many matching and the like; answer 400 or 500 as *ret_status says); -E2BIG more than max_series
 * (text in error); -ENOBUFS the budget is used up; -ECANCELED stopped; -ENOMEM. */
int lp_metric_eval(const struct lp_metric_env *env, const struct lp_expr *root, const struct lp_metric_grid *grid, bool instant,
		   struct lp_matrix **matrices, uint32_t n, uint32_t max_series, struct lp_metric_result *ret_result, int *ret_status,
		   struct lp_buf *error);
/* {"resultType":"matrix","result":[...]} without the braces around, ready to stand in "data".  In pieces of one series, so that a large
 * answer streams: call with i = 0, 1, ... until it returns false. */
bool lp_metric_result_json(const struct lp_metric_result *result, const struct lp_metric_grid *grid, uint32_t i, struct lp_buf *out);

#endif
