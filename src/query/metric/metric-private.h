/* Shared by the files of this folder and their tests: panes, pane states, keyed label sets, matrices under construction.
 * See metric.h for the picture. */
#ifndef LP_QUERY_METRIC_METRIC_PRIVATE_H
#define LP_QUERY_METRIC_METRIC_PRIVATE_H

#include "common/arena.h"
#include "common/buf.h"
#include "query/metric/metric.h"

/* ---- panes.c: which windows hold a timestamp -------------------------------------------------------------------- */

/* Window i is (left_0 + i * step, right_0 + i * step].  The borders may lie outside of int64. */
struct lp_panes {
	__int128 left_0, right_0;
	uint64_t step_ns;
	uint32_t steps;
};

/* One elementary interval: the windows from <= i < to hold all of it; from >= to: no window does.  from + to ascends with time and
 * is different for every interval; so do from and to, not strictly. */
struct lp_pane {
	uint32_t from, to;
};

void lp_panes_init(struct lp_panes *panes, const struct lp_range_agg *range, const struct lp_metric_grid *grid);
/* The pane of ts and its bounds, both inclusive. */
struct lp_pane lp_panes_find(const struct lp_panes *panes, int64_t ts_ns, int64_t *ret_first_ns, int64_t *ret_last_ns);

/* ---- state.c: what is remembered of the samples of a pane ------------------------------------------------------- */

struct lp_state_ops {
	uint32_t bytes;                 /* a multiple of 8 */
	bool keeps_samples, keeps_times;        /* the accumulator also logs every sample */
	const void *empty;
	/* n samples at ts with the sum v (n > 1 only for counts and sums). */
	void (*add)(void *state, int64_t ts_ns, double v, uint64_t n);
	/* `later` lies after `into` in time, or was added after it. */
	void (*merge)(void *into, const void *later);
	/* left and right: the window's borders, in nanoseconds after some common origin. */
	double (*value)(const void *state, double left_ns, double right_ns);
};

struct lp_counter_state {               /* rate_counter, made at the end from the logged samples in order of time */
	uint64_t n;
	double first_ns, last_ns;       /* after right_0 */
	double first, last, resets;
};

#define LP_STATE_MAX_BYTES 48u

const struct lp_state_ops *lp_state_ops(const struct lp_range_agg *range);

/* ---- keys.c: byte strings to small numbers ---------------------------------------------------------------------- */

struct lp_key {
	const uint8_t *bytes;
	uint32_t len;
	uint64_t hash;
};

struct lp_keys {
	struct lp_arena arena;
	struct lp_key *keys;
	uint32_t n, cap;
	uint32_t *slots;                /* id + 1, 0: free */
	uint32_t slots_cap;             /* a power of two, or 0 */
};

#define LP_KEYS_INIT { .n = 0 }

/* Find or add.  -ENOMEM; with a budget in the arena -ENOBUFS. */
int lp_keys_id(struct lp_keys *keys, const uint8_t *bytes, uint32_t len, uint64_t hash, uint32_t *ret_id);
uint64_t lp_keys_hash(const uint8_t *bytes, uint32_t len);
uint64_t lp_keys_bytes(const struct lp_keys *keys);
void lp_keys_free(struct lp_keys *keys);

/* ---- matrix.c: label sets of series, matrices ------------------------------------------------------------------- */

/* Append the pairs of a label set whose names are in `names` (keep) or are not (!keep).  -EBADMSG, -ENOMEM. */
int lp_series_labels_filter(const uint8_t *labels, uint32_t len, const struct lp_str *names, uint32_t n, bool keep, struct lp_buf *out);
/* Append the label set with one label set to a value; "" removes it. */
int lp_series_labels_set(const uint8_t *labels, uint32_t len, struct lp_str name, struct lp_str value, struct lp_buf *out);
struct lp_str lp_series_labels_get(const uint8_t *labels, uint32_t len, struct lp_str name);
/* Pair by pair, bytewise; a prefix comes first: the order of answers. */
int lp_series_labels_cmp(const uint8_t *a, uint32_t a_len, const uint8_t *b, uint32_t b_len);

/* budget: what its memory counts against, NULL: none. */
int lp_matrix_new(struct lp_arena_budget *budget, struct lp_matrix **ret_matrix);
/* Copies of all rows of `from`, behind those of `to`. */
int lp_matrix_append(struct lp_matrix *to, const struct lp_matrix *from, uint32_t steps);
/* A new row without values; valid until the next row is added.  labels are copied.  -ENOMEM; with a limit or a budget
 * on the arena -ENOBUFS. */
int lp_matrix_row(struct lp_matrix *matrix, const uint8_t *labels, uint32_t len, uint32_t steps, struct lp_series **ret_series);
void lp_matrix_sort(struct lp_matrix *matrix);          /* by labels */
void lp_matrix_drop_empty(struct lp_matrix *matrix, uint32_t steps);

static inline uint32_t lp_series_words(uint32_t steps)
{
	return (steps + 63) / 64;
}

static inline bool lp_series_has(const struct lp_series *series, uint32_t i)
{
	return series->present[i / 64] >> (i % 64) & 1;
}

static inline void lp_series_put(struct lp_series *series, uint32_t i, double v)
{
	series->values[i] = v;
	series->present[i / 64] |= UINT64_C(1) << (i % 64);
}

static inline void lp_series_unset(struct lp_series *series, uint32_t i)
{
	series->present[i / 64] &= ~(UINT64_C(1) << (i % 64));
}

/* ---- vector_agg.c, binop.c, label_replace.c: one node of the tree ----------------------------------------------- */

#define LP_METRIC_STOP_EVERY 256u       /* rows between two looks at the clock */

static inline bool lp_metric_stopped(const struct lp_metric_env *env)
{
	return env->stopped && env->stopped(env->arg);
}

/* All consume their matrices, also on failure; -ENOBUFS the budget is used up, -ECANCELED stopped. */
int lp_vector_agg(const struct lp_metric_env *env, const struct lp_expr *expr, uint32_t steps, struct lp_matrix *in,
		  struct lp_matrix **ret_matrix);
double lp_binop_apply(enum lp_bin_op op, double left, double right);    /* comparisons: 1 or 0 */
bool lp_binop_is_comparison(enum lp_bin_op op);
/* In place, not consumed. */
int lp_binop_scalar(const struct lp_metric_env *env, const struct lp_expr *expr, uint32_t steps, struct lp_matrix *vector, double scalar,
		    bool scalar_left);
/* -EINVAL with a text: the labels do not match one to one. */
int lp_binop_vectors(const struct lp_metric_env *env, const struct lp_expr *expr, uint32_t steps, struct lp_matrix *left,
		     struct lp_matrix *right, struct lp_matrix **ret_matrix, struct lp_buf *error);
int lp_label_replace(const struct lp_metric_env *env, const struct lp_expr *expr, uint32_t steps, struct lp_matrix *in,
		     struct lp_matrix **ret_matrix);

#endif
