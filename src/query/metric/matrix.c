/* Label sets of series and matrices under construction.  Series labels are metadata bytes (store/format/labels.h); every function that
 * makes a label set writes the same canonical bytes for the same set, so that sets are compared as bytes.
 * Plain memory of one thread; nothing is lost if the process dies here. */
#include "query/metric/metric-private.h"

#include "common/bytes.h"
#include "store/format/labels.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int cmp_bytes(const char *a, uint32_t a_len, const char *b, uint32_t b_len)
{
	int c = memcmp(a, b, a_len < b_len ? a_len : b_len);

	return c ? c : (a_len > b_len) - (a_len < b_len);
}

static bool named(const struct lp_label *label, const struct lp_str *names, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		if (names[i].len == label->name_len && !memcmp(names[i].s, label->name, label->name_len))
			return true;
	return false;
}

static void put_varint(struct lp_buf *out, uint64_t v)
{
	uint8_t bytes[LP_VARINT_MAX];

	lp_buf_append(out, bytes, (size_t)(lp_varint_put(bytes, v) - bytes));
}

static void put_pair(struct lp_buf *out, const char *name, uint32_t name_len, const char *value, uint32_t value_len)
{
	put_varint(out, name_len);
	lp_buf_append(out, name, name_len);
	put_varint(out, value_len);
	lp_buf_append(out, value, value_len);
}

/* Twice over the pairs, because their number stands before them. */
int lp_series_labels_filter(const uint8_t *labels, uint32_t len, const struct lp_str *names, uint32_t n, bool keep, struct lp_buf *out)
{
	struct lp_labels_iter it;
	struct lp_label label;
	uint64_t kept = 0;
	int r = lp_metadata_iter(&it, labels, len);

	while (r >= 0 && (r = lp_labels_next(&it, &label)) == 1)
		kept += label.value_len && named(&label, names, n) == keep;
	if (r < 0)
		return r;
	put_varint(out, kept);
	(void)lp_metadata_iter(&it, labels, len);
	while (lp_labels_next(&it, &label) == 1)
		if (label.value_len && named(&label, names, n) == keep)
			put_pair(out, label.name, label.name_len, label.value, label.value_len);
	return out->failed ? -ENOMEM : 0;
}

int lp_series_labels_set(const uint8_t *labels, uint32_t len, struct lp_str name, struct lp_str value, struct lp_buf *out)
{
	struct lp_labels_iter it;
	struct lp_label label;
	uint64_t kept = value.len != 0;
	bool placed = !value.len;
	int r = lp_metadata_iter(&it, labels, len);

	while (r >= 0 && (r = lp_labels_next(&it, &label)) == 1)
		kept += label.value_len && !named(&label, &name, 1);
	if (r < 0)
		return r;
	put_varint(out, kept);
	(void)lp_metadata_iter(&it, labels, len);
	while (lp_labels_next(&it, &label) == 1) {
		int c = cmp_bytes(label.name, label.name_len, name.s, name.len);

		if (c >= 0 && !placed) {
			put_pair(out, name.s, name.len, value.s, value.len);
			placed = true;
		}
		if (c && label.value_len)
			put_pair(out, label.name, label.name_len, label.value, label.value_len);
	}
	if (!placed)
		put_pair(out, name.s, name.len, value.s, value.len);
	return out->failed ? -ENOMEM : 0;
}

struct lp_str lp_series_labels_get(const uint8_t *labels, uint32_t len, struct lp_str name)
{
	struct lp_labels_iter it;
	struct lp_label label;

	if (lp_metadata_iter(&it, labels, len) == 0)
		while (lp_labels_next(&it, &label) == 1)
			if (named(&label, &name, 1))
				return (struct lp_str){ label.value, label.value_len };
	return (struct lp_str){ "", 0 };
}

int lp_series_labels_cmp(const uint8_t *a, uint32_t a_len, const uint8_t *b, uint32_t b_len)
{
	struct lp_labels_iter ia, ib;
	struct lp_label la, lb;
	bool bad_a = lp_metadata_iter(&ia, a, a_len) < 0, bad_b = lp_metadata_iter(&ib, b, b_len) < 0;

	/* Malformed sets come last, so that any input has an order. */
	if (bad_a || bad_b)
		return bad_a - bad_b;
	for (;;) {
		int ra = lp_labels_next(&ia, &la), rb = lp_labels_next(&ib, &lb);
		int c;

		if (ra != 1 || rb != 1)
			return (ra == 1) - (rb == 1);
		if ((c = cmp_bytes(la.name, la.name_len, lb.name, lb.name_len)) || (c = cmp_bytes(la.value, la.value_len, lb.value, lb.value_len)))
			return c;
	}
}

int lp_matrix_new(struct lp_arena_budget *budget, struct lp_matrix **ret_matrix)
{
	struct lp_matrix *matrix = calloc(1, sizeof *matrix);

	if (!matrix)
		return -ENOMEM;
	matrix->arena.budget = budget;
	*ret_matrix = matrix;
	return 0;
}

void lp_matrix_adopt(struct lp_matrix *matrix, struct lp_arena_budget *budget)
{
	matrix->arena.budget = budget;
	matrix->arena.max_bytes = 0;
}

static int no_room(const struct lp_matrix *matrix)
{
	return matrix->arena.max_bytes || matrix->arena.budget ? -ENOBUFS : -ENOMEM;
}

void lp_matrix_free(struct lp_matrix **matrix)
{
	if (!*matrix)
		return;
	lp_arena_free(&(*matrix)->arena);
	free(*matrix);
	*matrix = NULL;
}

int lp_matrix_row(struct lp_matrix *matrix, const uint8_t *labels, uint32_t len, uint32_t steps, struct lp_series **ret_series)
{
	/* What is left behind stays in the arena, less than what is in use. */
	if (matrix->n == matrix->cap) {
		uint32_t cap = matrix->cap ? matrix->cap * 2 : 2;
		struct lp_series *grown = lp_arena_alloc(&matrix->arena, cap * sizeof *grown);

		if (!grown)
			return no_room(matrix);
		if (matrix->n)
			memcpy(grown, matrix->series, matrix->n * sizeof *grown);
		matrix->series = grown;
		matrix->cap = cap;
	}
	uint8_t *copy = lp_arena_alloc(&matrix->arena, len);
	double *values = lp_arena_zalloc(&matrix->arena, steps * sizeof *values);
	uint64_t *present = lp_arena_zalloc(&matrix->arena, lp_series_words(steps) * sizeof *present);

	if (!copy || !values || !present)
		return no_room(matrix);
	if (len)
		memcpy(copy, labels, len);
	matrix->series[matrix->n] = (struct lp_series){ copy, len, values, present };
	*ret_series = &matrix->series[matrix->n++];
	return 0;
}

int lp_matrix_append(struct lp_matrix *to, const struct lp_matrix *from, uint32_t steps)
{
	struct lp_series *row;
	int r = 0;

	for (uint32_t i = 0; i < from->n && r == 0; i++) {
		r = lp_matrix_row(to, from->series[i].labels, from->series[i].labels_len, steps, &row);
		if (r < 0)
			break;
		memcpy(row->values, from->series[i].values, steps * sizeof *row->values);
		memcpy(row->present, from->series[i].present, lp_series_words(steps) * sizeof *row->present);
	}
	return r;
}

int lp_matrix_copy(const struct lp_matrix *from, uint32_t steps, uint64_t max_bytes, struct lp_matrix **ret_matrix)
{
	struct lp_matrix *copy = NULL;
	int r = lp_matrix_new(NULL, &copy);

	if (r < 0)
		return r;
	copy->arena.max_bytes = max_bytes ? max_bytes : 1;      /* 0 would be no limit */
	r = lp_matrix_append(copy, from, steps);
	if (r < 0) {
		lp_matrix_free(&copy);
		return r;
	}
	*ret_matrix = copy;
	return 0;
}

static int cmp_series(const void *a, const void *b)
{
	const struct lp_series *x = a, *y = b;

	return lp_series_labels_cmp(x->labels, x->labels_len, y->labels, y->labels_len);
}

void lp_matrix_sort(struct lp_matrix *matrix)
{
	if (matrix->n > 1)
		qsort(matrix->series, matrix->n, sizeof *matrix->series, cmp_series);
}

void lp_matrix_drop_empty(struct lp_matrix *matrix, uint32_t steps)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < matrix->n; i++) {
		uint64_t any = 0;

		for (uint32_t w = 0; w < lp_series_words(steps); w++)
			any |= matrix->series[i].present[w];
		if (any)
			matrix->series[kept++] = matrix->series[i];
	}
	matrix->n = kept;
}
