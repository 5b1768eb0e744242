/* From panes to windows: the values of a range aggregation at every step.
 *
 * Windows slide over the panes of a series in order of time.  Two stacks keep the merge of all panes inside (Tangwongsan, Hirzel,
 * Schneider, Wu, "General Incremental Sliding-Window Aggregation", VLDB 2015): a pane is merged a constant number of times,
 * however many windows hold it, and nothing is ever subtracted.  quantile_over_time counts the samples inside by rank in a Fenwick tree
 * (Fenwick 1994) and finds the k-th by descent; where windows hardly overlap it selects (Hoare 1961) in each of them instead.  Cost:
 * O(panes + steps) and O((samples + steps) log samples) for a series.
 * One thread; runs in workers, nothing is lost if one dies here. */
#include "query/metric/range-private.h"

#include "store/format/labels.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct sample {
	int64_t ts_ns;
	double v;
	uint32_t seq;                   /* order of adding */
};

struct finish {
	struct lp_range_acc *acc;
	struct lp_matrix *matrix;
	uint64_t left_bytes;            /* of max_bytes */
	uint32_t *order;                /* entries by series, then time */
	struct sample *log;             /* samples by entry, in `order`; sorted by time inside an entry for counters */
	uint32_t *log_start;            /* of entry: its first sample; [n_entries]: end */
	double seconds;                 /* rates divide by it; else 1 */
};

static int take(struct finish *f, uint64_t bytes)
{
	if (bytes > f->left_bytes)
		return -ENOBUFS;
	f->left_bytes -= bytes;
	return 0;
}

static const struct lp_range_entry *entry_at(const struct finish *f, uint32_t i)
{
	return &f->acc->entries[f->order[i]];
}

static int cmp_entries(const void *a, const void *b, void *arg)
{
	const struct lp_range_entry *entries = arg, *x = &entries[*(const uint32_t *)a], *y = &entries[*(const uint32_t *)b];
	uint64_t tx = (uint64_t)x->pane.from + x->pane.to, ty = (uint64_t)y->pane.from + y->pane.to;

	return x->series != y->series ? (x->series > y->series) - (x->series < y->series) : (tx > ty) - (tx < ty);
}

static int cmp_times(const void *a, const void *b)
{
	const struct sample *x = a, *y = b;

	return x->ts_ns != y->ts_ns ? (x->ts_ns > y->ts_ns) - (x->ts_ns < y->ts_ns) : (x->seq > y->seq) - (x->seq < y->seq);
}

/* Counting sort of the log by entry, in the order of `order`. */
static int lay_out_log(struct finish *f)
{
	struct lp_range_acc *acc = f->acc;
	uint32_t *next;
	int r = take(f, acc->n_log * sizeof *f->log + (acc->n_entries + 1) * 2 * sizeof *f->log_start);

	if (r < 0)
		return r;
	f->log = malloc((acc->n_log + (size_t)1) * sizeof *f->log);
	f->log_start = calloc(acc->n_entries + (size_t)1, sizeof *f->log_start);
	next = calloc(acc->n_entries + (size_t)1, sizeof *next);
	if (!f->log || !f->log_start || !next) {
		free(next);
		return -ENOMEM;
	}
	for (uint32_t i = 0; i < acc->n_log; i++)
		next[acc->log_entries[i]]++;
	uint32_t start = 0;

	for (uint32_t i = 0; i < acc->n_entries; i++) {
		uint32_t n = next[f->order[i]];

		f->log_start[i] = next[f->order[i]] = start;
		start += n;
	}
	f->log_start[acc->n_entries] = start;
	for (uint32_t i = 0; i < acc->n_log; i++)
		f->log[next[acc->log_entries[i]]++] =
			(struct sample){ acc->ops->keeps_times ? acc->log_times[i] : 0, acc->log_values[i], i };
	free(next);
	return 0;
}

static void make_counters(struct finish *f)
{
	for (uint32_t i = 0; i < f->acc->n_entries; i++) {
		struct sample *s = f->log + f->log_start[i];
		uint32_t n = f->log_start[i + 1] - f->log_start[i];
		struct lp_counter_state state = { .n = n };

		qsort(s, n, sizeof *s, cmp_times);
		for (uint32_t k = 1; k < n; k++)
			state.resets += s[k].v < s[k - 1].v ? s[k - 1].v : 0;
		state.first = s[0].v;
		state.last = s[n - 1].v;
		state.first_ns = (double)(s[0].ts_ns - f->acc->panes.right_0);
		state.last_ns = (double)(s[n - 1].ts_ns - f->acc->panes.right_0);
		memcpy(lp_range_state(f->acc, f->order[i]), &state, sizeof state);
	}
}

/* ---- two stacks ------------------------------------------------------------------------------------------------- */

/* Entries head..mid are the front stack: suffix[k - base] is the merge of k..mid; mid..tail are the back stack, merged in `back`. */
struct stacks {
	uint8_t *suffix;
	uint32_t base, head, mid, tail;
	_Alignas(8) uint8_t back[LP_STATE_MAX_BYTES];
};

static void pop(struct finish *f, struct stacks *s)
{
	const struct lp_state_ops *ops = f->acc->ops;

	if (s->head == s->mid) {
		for (uint32_t k = s->tail; k-- > s->head;) {
			uint8_t *at = s->suffix + (size_t)(k - s->base) * ops->bytes;

			memcpy(at, lp_range_state(f->acc, f->order[k]), ops->bytes);
			if (k + 1 < s->tail)
				ops->merge(at, at + ops->bytes);
		}
		s->mid = s->tail;
		memcpy(s->back, ops->empty, ops->bytes);
	}
	s->head++;
}

static double window_value(struct finish *f, struct stacks *s, uint32_t i)
{
	const struct lp_state_ops *ops = f->acc->ops;
	const struct lp_panes *panes = &f->acc->panes;
	_Alignas(8) uint8_t merged[LP_STATE_MAX_BYTES];
	double right = (double)((__int128)panes->step_ns * i);

	memcpy(merged, s->back, ops->bytes);
	if (s->head < s->mid) {
		memcpy(merged, s->suffix + (size_t)(s->head - s->base) * ops->bytes, ops->bytes);
		ops->merge(merged, s->back);
	}
	return ops->value(merged, right - (double)f->acc->range->range_ns, right) / f->seconds;
}

static void slide(struct finish *f, uint32_t first, uint32_t end, uint8_t *suffix, struct lp_series *row)
{
	const struct lp_state_ops *ops = f->acc->ops;
	struct stacks s = { .suffix = suffix, .base = first, .head = first, .mid = first, .tail = first };

	memcpy(s.back, ops->empty, ops->bytes);
	for (uint32_t i = entry_at(f, first)->pane.from; s.head < end; i++) {
		while (s.head < s.tail && entry_at(f, s.head)->pane.to <= i)
			pop(f, &s);
		if (s.head == end)
			break;
		if (s.head == s.tail && entry_at(f, s.tail)->pane.from > i)
			i = entry_at(f, s.tail)->pane.from;
		for (; s.tail < end && entry_at(f, s.tail)->pane.from <= i; s.tail++)
			ops->merge(s.back, lp_range_state(f->acc, f->order[s.tail]));
		lp_series_put(row, i, window_value(f, &s, i));
	}
}

/* ---- quantiles -------------------------------------------------------------------------------------------------- */

struct ranks {
	uint32_t *by_rank;              /* sample of each rank */
	uint32_t *rank;                 /* of each sample */
	uint32_t *tree;                 /* Fenwick, from 1: how many samples of these ranks are inside */
	uint32_t n, inside, top;        /* top: the greatest power of two <= n */
};

/* NaN is less than every number, as in Loki. */
static int cmp_values(const void *a, const void *b, void *arg)
{
	const struct sample *samples = arg;
	uint32_t i = *(const uint32_t *)a, k = *(const uint32_t *)b;
	double x = samples[i].v, y = samples[k].v;

	if (isnan(x) || isnan(y))
		return isnan(y) - isnan(x);
	return x != y ? (x > y) - (x < y) : (i > k) - (i < k);
}

static void count_rank(struct ranks *ranks, uint32_t rank, uint32_t delta)
{
	for (uint64_t i = (uint64_t)rank + 1; i <= ranks->n; i += i & -i)
		ranks->tree[i] += delta;
	ranks->inside += delta;
}

/* The rank of the k-th sample inside, from 0. */
static uint32_t kth(const struct ranks *ranks, uint32_t k)
{
	uint32_t at = 0;

	for (uint32_t half = ranks->top; half; half /= 2)
		if (half <= ranks->n - at && ranks->tree[at + half] <= k) {
			at += half;
			k -= ranks->tree[at];
		}
	return at;
}

static double quantile(const struct ranks *ranks, const struct sample *samples, double q)
{
	double rank = q * (double)(ranks->inside - 1), floor_rank = floor(rank), weight = rank - floor_rank;

	if (isnan(q))
		return q;
	if (q < 0 || q > 1)
		return q < 0 ? -INFINITY : INFINITY;
	uint32_t lower = (uint32_t)floor_rank, upper = lower + 1 < ranks->inside ? lower + 1 : lower;

	return samples[ranks->by_rank[kth(ranks, lower)]].v * (1 - weight) + samples[ranks->by_rank[kth(ranks, upper)]].v * weight;
}

static void move_ranks(struct finish *f, struct ranks *ranks, uint32_t first_sample, uint32_t i, uint32_t delta)
{
	for (uint32_t k = f->log_start[i]; k < f->log_start[i + 1]; k++)
		count_rank(ranks, ranks->rank[k - first_sample], delta);
}

static void slide_ranks(struct finish *f, uint32_t first, uint32_t end, struct ranks *ranks, struct lp_series *row)
{
	uint32_t start = f->log_start[first], head = first, tail = first;

	for (uint32_t i = entry_at(f, first)->pane.from; head < end; i++) {
		for (; head < tail && entry_at(f, head)->pane.to <= i; head++)
			move_ranks(f, ranks, start, head, UINT32_MAX);
		if (head == end)
			break;
		if (head == tail && entry_at(f, tail)->pane.from > i)
			i = entry_at(f, tail)->pane.from;
		for (; tail < end && entry_at(f, tail)->pane.from <= i; tail++)
			move_ranks(f, ranks, start, tail, 1);
		lp_series_put(row, i, quantile(ranks, f->log + start, f->acc->range->param));
	}
}

/* How many samples all windows have together, over how many there are: more than this, and ranks are kept from window to window. */
#define SELECT_OVERLAP 4u
#define SELECT_ROUNDS 48u       /* then the values are sorted: an unlucky order must not cost a square */

static int cmp_doubles(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* Put the k-th of n numbers (none is NaN) where it belongs, none greater before it and none less behind it. */
static void select_kth(double *v, int64_t n, int64_t k)
{
	int64_t lo = 0, hi = n - 1;

	for (unsigned round = 0; lo < hi; round++) {
		int64_t i = lo, j = hi;
		double a = v[lo], b = v[lo + (hi - lo) / 2], c = v[hi];
		double pivot = a < b ? (b < c ? b : a < c ? c : a) : (a < c ? a : b < c ? c : b);

		if (round == SELECT_ROUNDS) {
			qsort(v + lo, (size_t)(hi - lo + 1), sizeof *v, cmp_doubles);
			return;
		}
		while (i <= j) {
			while (v[i] < pivot)
				i++;
			while (v[j] > pivot)
				j--;
			if (i <= j) {
				double t = v[i];

				v[i++] = v[j];
				v[j--] = t;
			}
		}
		if (k <= j)
			hi = j;
		else if (k >= i)
			lo = i;
		else
			return;
	}
}

/* Of n samples, n > 0; v is left in another order. */
static double select_quantile(double *v, uint32_t n, double q)
{
	double rank = q * (double)(n - 1), floor_rank = floor(rank), weight = rank - floor_rank;
	uint32_t nans = 0;

	if (isnan(q))
		return q;
	if (q < 0 || q > 1)
		return q < 0 ? -INFINITY : INFINITY;
	for (uint32_t i = 0; i < n; i++)
		if (isnan(v[i])) {
			double t = v[nans];

			v[nans++] = v[i];
			v[i] = t;
		}
	uint32_t lower = (uint32_t)floor_rank, upper = lower + 1 < n ? lower + 1 : lower;

	if (lower >= nans)
		select_kth(v + nans, (int64_t)n - nans, (int64_t)lower - nans);
	uint32_t least = upper;

	for (uint32_t i = upper; upper >= nans && i < n; i++)
		least = v[i] < v[least] ? i : least;
	return v[lower] * (1 - weight) + v[least] * weight;
}

static int select_windows(struct finish *f, uint32_t first, uint32_t end, struct lp_series *row)
{
	double *v = malloc(((size_t)f->log_start[end] - f->log_start[first] + 1) * sizeof *v);
	uint32_t head = first, tail = first;

	if (!v)
		return -ENOMEM;
	for (uint32_t i = entry_at(f, first)->pane.from; head < end; i++) {
		for (; head < tail && entry_at(f, head)->pane.to <= i; head++)
			;
		if (head == end)
			break;
		if (head == tail && entry_at(f, tail)->pane.from > i)
			i = entry_at(f, tail)->pane.from;
		for (; tail < end && entry_at(f, tail)->pane.from <= i; tail++)
			;
		uint32_t from = f->log_start[head], n = f->log_start[tail] - from;

		for (uint32_t k = 0; k < n; k++)
			v[k] = f->log[from + k].v;
		lp_series_put(row, i, select_quantile(v, n, f->acc->range->param));
	}
	free(v);
	return 0;
}

static bool hardly_overlap(const struct finish *f, uint32_t first, uint32_t end)
{
	uint64_t n = f->log_start[end] - f->log_start[first], seen = 0;

	for (uint32_t i = first; i < end; i++)
		seen += (uint64_t)(f->log_start[i + 1] - f->log_start[i]) * (entry_at(f, i)->pane.to - entry_at(f, i)->pane.from);
	return seen <= n * SELECT_OVERLAP;
}

static int quantiles(struct finish *f, uint32_t first, uint32_t end, struct lp_series *row)
{
	uint32_t start = f->log_start[first], n = f->log_start[end] - start;
	struct ranks ranks = { .n = n };

	if (hardly_overlap(f, first, end))
		return select_windows(f, first, end, row);
	ranks.by_rank = calloc((size_t)n * 3 + 1, sizeof *ranks.by_rank);
	if (!ranks.by_rank)
		return -ENOMEM;
	ranks.rank = ranks.by_rank + n;
	ranks.tree = ranks.rank + n;
	for (ranks.top = 1; ranks.top <= n / 2;)
		ranks.top *= 2;
	for (uint32_t i = 0; i < n; i++)
		ranks.by_rank[i] = i;
	qsort_r(ranks.by_rank, n, sizeof *ranks.by_rank, cmp_values, f->log + start);
	for (uint32_t i = 0; i < n; i++)
		ranks.rank[ranks.by_rank[i]] = i;
	slide_ranks(f, first, end, &ranks, row);
	free(ranks.by_rank);
	return 0;
}

/* ---- absence ---------------------------------------------------------------------------------------------------- */

/* Labels of absent_over_time: names with one matcher, an equality. */
static int absent_labels(const struct lp_log_expr *log, struct lp_buf *out)
{
	struct lp_label *pairs = calloc(log->n_matchers + 1, sizeof *pairs);
	size_t n = 0;

	if (!pairs)
		return -ENOMEM;
	for (uint32_t i = 0; i < log->n_matchers; i++) {
		const struct lp_matcher *m = &log->matchers[i];
		bool once = m->op == LP_MATCH_EQ;

		for (uint32_t k = 0; k < log->n_matchers && once; k++)
			once = k == i || log->matchers[k].name.len != m->name.len || memcmp(log->matchers[k].name.s, m->name.s, m->name.len);
		if (once)
			pairs[n++] = (struct lp_label){ .name = m->name.s, .name_len = m->name.len, .value = m->value.s, .value_len = m->value.len };
	}
	int r = lp_metadata_encode(out, pairs, n);

	free(pairs);
	return r;
}

static int absences(struct finish *f)
{
	struct lp_buf labels = LP_BUF_INIT;
	struct lp_series *row;
	uint32_t steps = f->acc->panes.steps;
	int r = absent_labels(&f->acc->range->log, &labels);

	if (r == 0)
		r = take(f, (uint64_t)steps * 9 + labels.len);
	if (r == 0)
		r = lp_matrix_row(f->matrix, labels.data, (uint32_t)labels.len, steps, &row);
	if (r == 0) {
		uint32_t next = 0;

		for (uint32_t i = 0; i < steps; i++) {
			while (next < f->acc->n_entries && entry_at(f, next)->pane.to <= i)
				next++;
			if (next == f->acc->n_entries || entry_at(f, next)->pane.from > i)
				lp_series_put(row, i, 1);
		}
		lp_matrix_drop_empty(f->matrix, steps);
	}
	lp_buf_free(&labels);
	return r;
}

/* ---- all of it -------------------------------------------------------------------------------------------------- */

static int fill_rows(struct finish *f)
{
	struct lp_range_acc *acc = f->acc;
	uint32_t steps = acc->panes.steps, longest = 0, end;
	uint8_t *suffix;
	int r = 0;

	for (uint32_t i = 0; i < acc->n_entries; i = end) {
		for (end = i + 1; end < acc->n_entries && entry_at(f, end)->series == entry_at(f, i)->series;)
			end++;
		longest = end - i > longest ? end - i : longest;
	}
	suffix = malloc((size_t)longest * acc->ops->bytes + 1);
	if (!suffix)
		return -ENOMEM;
	for (uint32_t i = 0; i < acc->n_entries && r == 0; i = end) {
		const struct lp_key *key = &acc->keys.keys[entry_at(f, i)->series];
		struct lp_series *row;

		for (end = i + 1; end < acc->n_entries && entry_at(f, end)->series == entry_at(f, i)->series;)
			end++;
		r = take(f, (uint64_t)steps * 9 + key->len + sizeof *row);
		if (r == 0)
			r = lp_matrix_row(f->matrix, key->bytes, key->len, steps, &row);
		if (r == 0 && acc->range->op == LP_RANGE_QUANTILE)
			r = quantiles(f, i, end, row);
		else if (r == 0)
			slide(f, i, end, suffix, row);
	}
	free(suffix);
	return r;
}

static int sort_entries(struct finish *f)
{
	int r = take(f, f->acc->n_entries * sizeof *f->order);

	if (r < 0)
		return r;
	f->order = malloc((f->acc->n_entries + (size_t)1) * sizeof *f->order);
	if (!f->order)
		return -ENOMEM;
	for (uint32_t i = 0; i < f->acc->n_entries; i++)
		f->order[i] = i;
	qsort_r(f->order, f->acc->n_entries, sizeof *f->order, cmp_entries, f->acc->entries);
	return 0;
}

int lp_range_acc_finish(struct lp_range_acc *acc, struct lp_matrix **ret_matrix)
{
	struct finish f = { .acc = acc, .seconds = 1 };
	uint64_t used = lp_range_acc_bytes(acc);
	int r = lp_matrix_new(NULL, &f.matrix);

	f.left_bytes = acc->max_bytes > used ? acc->max_bytes - used : 0;
	if (acc->range->op == LP_RANGE_RATE || acc->range->op == LP_RANGE_BYTES_RATE)
		f.seconds = (double)acc->range->range_ns / 1e9;
	if (r == 0)
		r = sort_entries(&f);
	if (r == 0 && acc->ops->keeps_samples)
		r = lay_out_log(&f);
	if (r == 0 && acc->ops->keeps_times)
		make_counters(&f);
	if (r == 0)
		r = acc->range->op == LP_RANGE_ABSENT ? absences(&f) : fill_rows(&f);
	free(f.order);
	free(f.log);
	free(f.log_start);
	if (r < 0) {
		lp_matrix_free(&f.matrix);
		return r;
	}
	/* Threads found the series in any order; the answer's order and ties of topk must not depend on that. */
	lp_matrix_sort(f.matrix);
	*ret_matrix = f.matrix;
	return 0;
}
