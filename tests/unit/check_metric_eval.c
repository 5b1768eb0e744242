/* The tree above the range aggregations: tables of query, leaves and answer.
 *
 * A matrix is written as rows "name=value,name=value v v v" joined by "; ", one value a step, "_" for none; "-" is the
 * empty label set.  Answers keep the order of rows. */
#include "query/metric/metric-private.h"

#include "common/jsonw.h"
#include "store/format/labels.h"

#include <check.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct row {
	const char *query, *left, *right, *want;
};

static const struct lp_metric_env no_limits = { .budget = NULL };

static void add_labels(const char *text, size_t len, struct lp_buf *out)
{
	struct lp_label pairs[8];
	size_t n = 0;

	for (const char *p = text, *end = text + len; p < end && *p != '-';) {
		const char *eq = memchr(p, '=', (size_t)(end - p)), *comma = memchr(eq, ',', (size_t)(end - eq));

		comma = comma ? comma : end;
		pairs[n++] = (struct lp_label){ .name = p, .name_len = (uint32_t)(eq - p), .value = eq + 1,
						.value_len = (uint32_t)(comma - eq - 1) };
		p = comma + (comma < end);
	}
	ck_assert_int_eq(lp_metadata_encode(out, pairs, n), 0);
}

static struct lp_matrix *make_matrix(const char *text, uint32_t steps)
{
	struct lp_matrix *m;

	ck_assert_int_eq(lp_matrix_new(NULL, &m), 0);
	while (*text) {
		struct lp_buf labels = LP_BUF_INIT;
		struct lp_series *row;
		size_t len = strcspn(text, " ");

		add_labels(text, len, &labels);
		ck_assert_int_eq(lp_matrix_row(m, labels.data, (uint32_t)labels.len, steps, &row), 0);
		lp_buf_free(&labels);
		text += len;
		for (uint32_t i = 0; i < steps; i++) {
			char *end;

			ck_assert_int_eq(*text++, ' ');
			if (*text == '_') {
				text++;
				continue;
			}
			lp_series_put(row, i, strtod(text, &end));
			text = end;
		}
		text += strspn(text, "; ");
	}
	return m;
}

static void print_matrix(const struct lp_matrix *m, uint32_t steps, struct lp_buf *out)
{
	for (uint32_t k = 0; k < m->n; k++) {
		struct lp_labels_iter it;
		struct lp_label label;
		bool first = true;

		if (k)
			lp_buf_str(out, "; ");
		ck_assert_int_eq(lp_metadata_iter(&it, m->series[k].labels, m->series[k].labels_len), 0);
		for (; lp_labels_next(&it, &label) == 1; first = false) {
			lp_buf_str(out, first ? "" : ",");
			lp_buf_append(out, label.name, label.name_len);
			lp_buf_byte(out, '=');
			lp_buf_append(out, label.value, label.value_len);
		}
		lp_buf_str(out, first ? "-" : "");
		for (uint32_t i = 0; i < steps; i++) {
			lp_buf_byte(out, ' ');
			if (lp_series_has(&m->series[k], i))
				lp_jsonw_double(out, m->series[k].values[i]);
			else
				lp_buf_byte(out, '_');
		}
	}
}

/* L and R in the query stand for the two leaves. */
static void expand_query(const char *query, struct lp_buf *out)
{
	for (; *query; query++)
		if (*query == 'L' || *query == 'R')
			lp_buf_str(out, *query == 'L' ? "count_over_time({l=\"x\"}[1m])" : "count_over_time({r=\"x\"}[1m])");
		else
			lp_buf_byte(out, (uint8_t)*query);
}

static void check_row(const struct row *row, uint32_t steps, bool instant, uint32_t max_series)
{
	struct lp_buf text = LP_BUF_INIT, error = LP_BUF_INIT, got = LP_BUF_INIT;
	struct lp_metric_grid grid = { 1000000000, 1000000000, steps };
	struct lp_matrix *matrices[2] = { 0 };
	struct lp_metric_leaf leaves[2];
	struct lp_metric_result result;
	struct lp_logql *query;
	uint32_t n = 0;
	int status = 0, r;

	expand_query(row->query, &text);
	r = lp_logql_parse((const char *)text.data, text.len, &query, &error);
	ck_assert_msg(r == 0, "%s: %s", row->query, lp_buf_cstr(&error));
	ck_assert_int_eq(lp_metric_leaves(query->root, leaves, 2, &n), 0);
	/* The first leaf of the query is the left one, whatever its letter. */
	if (n > 0)
		matrices[0] = make_matrix(row->left, steps);
	if (n > 1)
		matrices[1] = make_matrix(row->right, steps);
	r = lp_metric_eval(&no_limits, query->root, &grid, instant, matrices, n, max_series, &result, &status, &error);
	ck_assert_ptr_null(matrices[0]);
	ck_assert_ptr_null(matrices[1]);
	if (r < 0) {
		lp_buf_printf(&got, "%d %s", status, lp_buf_cstr(&error));
	} else if (result.type == LP_METRIC_SCALAR) {
		lp_jsonw_double(&got, result.scalar);
	} else {
		ck_assert_int_eq(result.type, instant ? LP_METRIC_VECTOR : LP_METRIC_MATRIX);
		print_matrix(result.matrix, steps, &got);
		lp_matrix_free(&result.matrix);
	}
	ck_assert_msg(!strcmp(lp_buf_cstr(&got), row->want), "%s\n got: %s\nwant: %s", row->query, lp_buf_cstr(&got), row->want);
	lp_logql_free(&query);
	lp_buf_free(&text);
	lp_buf_free(&error);
	lp_buf_free(&got);
}

#define V "a=1,b=x 1; a=1,b=y 2; a=2,b=x 4; a=2,b=y 8"
#define DUPLICATE(side) "400 found duplicate series on the " side " hand-side;many-to-many matching not allowed: matching labels must be " \
	"unique on one side"
#define MANY_TO_ONE "400 multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)"

static const struct row instant_rows[] = {
	{ "L", V, "", V },
	{ "L", "", "", "" },
	/* vector aggregations */
	{ "sum(L)", V, "", "- 15" },
	{ "sum(L)", "", "", "" },
	{ "sum by (a) (L)", V, "", "a=1 3; a=2 12" },
	{ "sum by (a, nosuch) (L)", V, "", "a=1 3; a=2 12" },
	{ "sum by () (L)", V, "", "- 15" },
	{ "sum without (a) (L)", V, "", "b=x 5; b=y 10" },
	{ "sum without () (L)", V, "", V },
	{ "avg(L)", V, "", "- 3.75" },
	{ "avg by (a) (L)", V, "", "a=1 1.5; a=2 6" },
	{ "min by (b) (L)", V, "", "b=x 1; b=y 2" },
	{ "max by (b) (L)", V, "", "b=x 4; b=y 8" },
	{ "count by (b) (L)", V, "", "b=x 2; b=y 2" },
	{ "stdvar(L)", "a=1 2; a=2 4; a=3 4; a=4 4; a=5 5; a=6 5; a=7 7; a=8 9", "", "- 4" },
	{ "stddev(L)", "a=1 2; a=2 4; a=3 4; a=4 4; a=5 5; a=6 5; a=7 7; a=8 9", "", "- 2" },
	{ "stdvar by (a) (L)", V, "", "a=1 0.25; a=2 4" },
	{ "max(L)", "a=1 nan; a=2 1; a=3 nan", "", "- 1" },
	{ "min(L)", "a=1 nan; a=2 1; a=3 nan", "", "- 1" },
	{ "sum(L)", "a=1 nan; a=2 1", "", "- NaN" },
	{ "count(L)", "a=1 nan; a=2 1", "", "- 2" },
	/* the k best; in order of labels unless the query sorts */
	{ "topk(2, L)", V, "", "a=2,b=x 4; a=2,b=y 8" },
	{ "topk(1, L) by (b)", V, "", "a=2,b=x 4; a=2,b=y 8" },
	{ "bottomk(1, L) by (b)", V, "", "a=1,b=x 1; a=1,b=y 2" },
	{ "topk without (b) (1, L)", V, "", "a=1,b=y 2; a=2,b=y 8" },
	{ "topk(100, L)", V, "", V },
	{ "approx_topk(2, L)", V, "", "a=2,b=x 4; a=2,b=y 8" },
	{ "bottomk(2, L)", V, "", "a=1,b=x 1; a=1,b=y 2" },
	{ "topk(2, L)", "a=1 5; a=2 5; a=3 5", "", "a=1 5; a=2 5" },
	{ "topk(1, L)", "a=1 nan; a=2 -5", "", "a=2 -5" },
	{ "bottomk(1, L)", "a=1 nan; a=2 5", "", "a=2 5" },
	{ "sort_desc(L)", "a=1 3; a=2 nan; a=3 9; a=4 3", "", "a=3 9; a=1 3; a=4 3; a=2 NaN" },
	{ "sort(L)", "a=1 3; a=2 nan; a=3 9; a=4 1", "", "a=4 1; a=1 3; a=3 9; a=2 NaN" },
	{ "sort_desc(topk(2, L))", V, "", "a=2,b=y 8; a=2,b=x 4" },
	{ "sort_desc(sort(L))", V, "", "a=2,b=y 8; a=2,b=x 4; a=1,b=y 2; a=1,b=x 1" },
	{ "sort_desc(L) * 2", "a=1 3; a=2 9", "", "a=2 18; a=1 6" },
	/* a matrix whose rows were put in another order takes more rows */
	{ "sort_desc(L) or R", "a=1 1; a=2 2; a=3 3; a=4 4; a=5 5", "b=1 1; b=2 2; b=3 3; b=4 4; b=5 5",
	  "a=5 5; a=4 4; a=3 3; a=2 2; a=1 1; b=1 1; b=2 2; b=3 3; b=4 4; b=5 5" },
	{ "topk(5, L) or R", "a=1 1; a=2 2; a=3 3; a=4 4; a=5 5", "b=1 1; b=2 2; b=3 3",
	  "a=1 1; a=2 2; a=3 3; a=4 4; a=5 5; b=1 1; b=2 2; b=3 3" },
	/* with numbers */
	{ "L + 1", V, "", "a=1,b=x 2; a=1,b=y 3; a=2,b=x 5; a=2,b=y 9" },
	{ "2 - L", "a=1 5", "", "a=1 -3" },
	{ "L / 0", "a=1 5; a=2 0; a=3 -5", "", "a=1 NaN; a=2 NaN; a=3 NaN" },
	{ "L % 0", "a=1 5", "", "a=1 NaN" },
	{ "1 / L", "a=1 0", "", "a=1 NaN" },
	{ "L % 3", "a=1 5; a=2 -5", "", "a=1 2; a=2 -2" },
	{ "L ^ 0.5", "a=1 9", "", "a=1 3" },
	{ "2 ^ L", "a=1 3", "", "a=1 8" },
	{ "L > 3", V, "", "a=2,b=x 4; a=2,b=y 8" },
	{ "3 > L", V, "", "a=1,b=x 1; a=1,b=y 2" },
	{ "3 >= bool L", V, "", "a=1,b=x 1; a=1,b=y 1; a=2,b=x 0; a=2,b=y 0" },
	{ "L == 4", V, "", "a=2,b=x 4" },
	{ "L != 4", V, "", "a=1,b=x 1; a=1,b=y 2; a=2,b=y 8" },
	{ "L <= bool 2", V, "", "a=1,b=x 1; a=1,b=y 1; a=2,b=x 0; a=2,b=y 0" },
	{ "L > 0 < 2", V, "", "a=1,b=x 1" },
	{ "L > 100", V, "", "" },
	{ "L > 0", "a=1 nan", "", "" },
	/* between vectors */
	{ "L + R", V, "a=1,b=x 10; a=2,b=y 20; a=3 5", "a=1,b=x 11; a=2,b=y 28" },
	{ "L - R", V, "", "" },
	{ "L + on(a) R", "a=1,b=x 1; a=2,b=y 2", "a=1,c=z 10; a=2,c=z 20", "a=1 11; a=2 22" },
	{ "L + ignoring(b) R", "a=1,b=x 1", "a=1 10", "a=1 11" },
	{ "L * on() R", "a=1 3", "b=2 4", "- 12" },
	{ "L / on(a) R", V, "a=1 2; a=2 2", MANY_TO_ONE },
	{ "L * on(a) R", "a=1 2", V, DUPLICATE("right") },
	{ "L / on(a) group_left R", V, "a=1 2; a=2 4", "a=1,b=x 0.5; a=1,b=y 1; a=2,b=x 1; a=2,b=y 2" },
	{ "L / on(a) group_left R", "a=1 2", V, DUPLICATE("right") },
	{ "L / on(a) group_right R", "a=1 2; a=2 4", V, "a=1,b=x 2; a=1,b=y 1; a=2,b=x 1; a=2,b=y 0.5" },
	{ "L / on(a) group_right R", V, "a=1 2", DUPLICATE("left") },
	{ "L * on(a) group_left(c) R", V, "a=1,c=p 2; a=2,c=q 4", "a=1,b=x,c=p 2; a=1,b=y,c=p 4; a=2,b=x,c=q 16; a=2,b=y,c=q 32" },
	{ "L * on(a) group_left(b) R", "a=1,b=x 1; a=2,b=y 2", "a=1,b=n 2; a=2 4", "a=1,b=n 2; a=2 8" },
	{ "L * on(a) group_left(b) R", V, "a=1 2; a=2 4", "400 multiple matches for labels: grouping labels must ensure unique matches" },
	{ "L > R", V, "a=1,b=x 0; a=1,b=y 9; a=2,b=x 0", "a=1,b=x 1; a=2,b=x 4" },
	{ "L > bool R", V, "a=1,b=x 0; a=1,b=y 9", "a=1,b=x 1; a=1,b=y 0" },
	{ "L < on(a) group_right R", "a=1 2; a=2 4", V, "a=2,b=y 4" },
	/* sets */
	{ "L and R", V, "a=1,b=x 0; a=2,b=y 0", "a=1,b=x 1; a=2,b=y 8" },
	{ "L and on(a) R", V, "a=1 0", "a=1,b=x 1; a=1,b=y 2" },
	{ "L and ignoring(b) R", V, "a=1 0", "a=1,b=x 1; a=1,b=y 2" },
	{ "L and on() vector(1)", V, "", V },
	{ "L and vector(1)", V, "", "" },
	{ "L unless R", V, "a=1,b=x 0", "a=1,b=y 2; a=2,b=x 4; a=2,b=y 8" },
	{ "L unless on(a) R", V, "a=1,c=z 0", "a=2,b=x 4; a=2,b=y 8" },
	{ "L unless on() R", V, "", V },
	{ "L or R", "a=1 1", "a=1 5; a=2 6", "a=1 1; a=2 6" },
	{ "L or on(a) R", "a=1,b=x 1", "a=1 5; a=2 6", "a=1,b=x 1; a=2 6" },
	{ "L or vector(0)", "", "", "- 0" },
	{ "sum(L) or vector(0)", "a=1 5", "", "- 5" },
	{ "L or R", "", V, V },
	/* numbers and vector() */
	{ "1 + 1", "", "", "2" },
	{ "1 == bool 2", "", "", "0" },
	{ "1 / 0", "", "", "NaN" },
	{ "vector(1.5)", "", "", "- 1.5" },
	{ "vector(1) + 1", "", "", "- 2" },
	{ "vector(1) + vector(2)", "", "", "- 3" },
	{ "vector(1) and vector(2)", "", "", "- 1" },
	{ "vector(1) unless vector(2)", "", "", "" },
	{ "sum(vector(2))", "", "", "- 2" },
	{ "sort(vector(2))", "", "", "- 2" },
	/* label_replace */
	{ "label_replace(L, \"c\", \"$1-$2\", \"b\", \"(.)(.*)\")", "a=1,b=xyz 1", "", "a=1,b=xyz,c=x-yz 1" },
	{ "label_replace(L, \"c\", \"${n}_$n $$ ${1}2 $12\", \"b\", \"(?P<n>.).*\")", "b=xyz 1", "", "b=xyz,c=x_x $ x2  1" },
	{ "label_replace(L, \"c\", \"$0$\", \"b\", \".*\")", "b=xyz 1", "", "b=xyz,c=xyz$ 1" },
	{ "label_replace(L, \"c\", \"${0\", \"b\", \".*\")", "b=xyz 1", "", "b=xyz,c=${0 1" },
	{ "label_replace(L, \"c\", \"v\", \"b\", \"x\")", "b=xyz 1", "", "b=xyz 1" },
	{ "label_replace(L, \"c\", \"v\", \"nosuch\", \"\")", "b=xyz 1", "", "b=xyz,c=v 1" },
	{ "label_replace(L, \"b\", \"\", \"b\", \".*\")", "a=1,b=xyz 1", "", "a=1 1" },
	{ "label_replace(L, \"a\", \"z\", \"a\", \".*\")", "a=1 1; a=2 2", "", "a=z 1; a=z 2" },
	{ "label_replace(L, \"a\", \"z\", \"a\", \".*\") / on(a) R", "a=1 1; a=2 2", "a=z 1", MANY_TO_ONE },
	{ "sum by (a) (label_replace(L, \"a\", \"z\", \"a\", \".*\"))", "a=1 1; a=2 2", "", "a=z 3" },
	{ "label_replace(vector(1), \"x\", \"y\", \"\", \"\")", "", "", "x=y 1" },
};

START_TEST(instant_vectors)
{
	check_row(&instant_rows[_i], 1, true, 500);
}
END_TEST

static const struct row range_rows[] = {
	{ "L", "a=2 1 _ 3; a=1 _ _ _; a=10 _ 5 _", "", "a=10 _ 5 _; a=2 1 _ 3" },
	{ "sum(L)", "a=1 1 _ 3; a=2 10 _ _", "", "- 11 _ 3" },
	{ "avg by (b) (L)", "a=1,b=x 1 2 3; a=2,b=x 3 _ _; a=3 _ 7 _", "", "- _ 7 _; b=x 2 2 3" },
	{ "stddev(L)", "a=1 1 2 3; a=2 3 _ 3", "", "- 1 0 0" },
	{ "count(L)", "a=1 1 2 3; a=2 3 _ _", "", "- 2 1 1" },
	{ "topk(1, L)", "a=1 1 9 _; a=2 2 3 _; a=3 0 0 _", "", "a=1 _ 9 _; a=2 2 _ _" },
	{ "bottomk(2, L)", "a=1 1 9 _; a=2 2 3 1; a=3 0 0 _", "", "a=1 1 _ _; a=2 _ 3 1; a=3 0 0 _" },
	{ "sort_desc(L)", "a=2 1 2 3; a=1 9 9 9", "", "a=1 9 9 9; a=2 1 2 3" },
	{ "L or vector(0)", "- 5 _ 6", "", "- 5 0 6" },
	{ "L or R", "a=1 1 _ _", "a=1 7 8 _; a=2 _ _ 9", "a=1 1 8 _; a=2 _ _ 9" },
	{ "L or on(b) R", "a=1,b=x 1 _ _; a=2,b=x _ 2 _", "a=1,b=x 7 7 7", "a=1,b=x 1 _ 7; a=2,b=x _ 2 _" },
	{ "L and R", "a=1 1 2 3", "a=1 0 _ 0", "a=1 1 _ 3" },
	{ "L unless R", "a=1 1 2 3", "a=1 0 _ 0", "a=1 _ 2 _" },
	{ "L + R", "a=1 1 2 _; a=2 1 _ _", "a=1 1 _ 1; a=2 _ 1 _", "a=1 2 _ _" },
	/* One series takes over from another: no duplicate at any step. */
	{ "L + on(a) R", "a=1,b=x 1 _ _; a=1,b=y _ 2 _", "a=1,c=p 10 _ _; a=1,c=q _ 20 30", "a=1 11 22 _" },
	{ "L + on(a) R", "a=1,b=x 1 _ _; a=1,b=y 1 2 _", "a=1 10 20 _", MANY_TO_ONE },
	{ "L * on(a) group_left(c) R", "a=1,b=x 1 2 3", "a=1,c=p 1 _ _; a=1,c=q _ 10 10", "a=1,b=x,c=p 1 _ _; a=1,b=x,c=q _ 20 30" },
	{ "L > 1", "a=1 1 2 1; a=2 1 1 1", "", "a=1 _ 2 _" },
	{ "label_replace(L, \"a\", \"z\", \"a\", \".*\")", "a=1 1 _ _; a=2 _ 2 _", "", "a=z 1 2 _" },
	{ "3", "", "", "- 3 3 3" },
	{ "1 == bool 2", "", "", "- 0 0 0" },
	{ "vector(2) * 3", "", "", "- 6 6 6" },
	{ "vector(0) > 1", "", "", "" },
};

START_TEST(range_vectors)
{
	check_row(&range_rows[_i], 3, false, 500);
}
END_TEST

START_TEST(the_series_limit_counts_the_answer)
{
	static const char *text = "400 maximum number of series (2) reached for a single query; consider reducing query cardinality by adding more "
				  "specific stream selectors, reducing the time range, or aggregating results with functions like sum(), "
				  "count() or topk()";

	check_row(&(struct row){ "L", V, "", text }, 1, true, 2);
	check_row(&(struct row){ "sum by (a) (L)", V, "", "a=1 3; a=2 12" }, 1, true, 2);
	check_row(&(struct row){ "L", "a=1 1 1 _; a=2 _ _ _; a=3 1 1 1", "", "a=1 1 1 _; a=3 1 1 1" }, 3, false, 2);
}
END_TEST

/* 200 rows over 70 steps (more than a word of the bitmap), against sums made here. */
START_TEST(wide_and_long_matrices)
{
	struct lp_buf labels = LP_BUF_INIT, error = LP_BUF_INIT;
	struct lp_metric_grid grid = { 0, 1, 70 };
	struct lp_metric_result result;
	struct lp_matrix *m;
	struct lp_logql *query;
	double want[70] = { 0 };
	int status;

	ck_assert_int_eq(lp_matrix_new(NULL, &m), 0);
	for (int k = 0; k < 200; k++) {
		struct lp_series *row;
		char text[16];

		lp_buf_reset(&labels);
		snprintf(text, sizeof text, "a=%d", k);
		add_labels(text, strlen(text), &labels);
		ck_assert_int_eq(lp_matrix_row(m, labels.data, (uint32_t)labels.len, 70, &row), 0);
		for (uint32_t i = 0; i < 70; i++)
			if ((i + (uint32_t)k) % 3) {
				lp_series_put(row, i, k);
				want[i] += k >= 190 ? k : 0;
			}
	}
	const char *text = "sum(topk(200, count_over_time({a=\"x\"}[1m])) >= 190)";

	ck_assert_int_eq(lp_logql_parse(text, strlen(text), &query, &error), 0);
	ck_assert_int_eq(lp_metric_eval(&no_limits, query->root, &grid, false, &m, 1, 500, &result, &status, &error), 0);
	ck_assert_uint_eq(result.matrix->n, 1);
	for (uint32_t i = 0; i < 70; i++)
		ck_assert_double_eq(result.matrix->series[0].values[i], want[i]);
	lp_matrix_free(&result.matrix);
	lp_logql_free(&query);
	lp_buf_free(&labels);
	lp_buf_free(&error);
}
END_TEST

/* Evaluate with a budget of the leaves and `spare` bytes, and a question that is answered yes the n-th time. */
struct bounded {
	struct lp_matrix *matrices[2];
	struct lp_arena_budget budget;
	struct lp_metric_env env;
	size_t peak;
	int questions;
};

static bool stop_at_last(void *arg)
{
	struct bounded *b = arg;

	b->peak = b->budget.used > b->peak ? b->budget.used : b->peak;
	return b->questions && --b->questions == 0;
}

static int eval_bounded(struct bounded *b, const char *short_query, uint32_t steps, size_t spare)
{
	struct lp_buf text = LP_BUF_INIT, error = LP_BUF_INIT;
	struct lp_metric_grid grid = { 0, 1, steps };
	struct lp_metric_result result = { 0 };
	struct lp_logql *query;
	int status = 0, r;

	expand_query(short_query, &text);
	ck_assert_int_eq(lp_logql_parse((const char *)text.data, text.len, &query, &error), 0);
	b->env = (struct lp_metric_env){ .budget = &b->budget, .stopped = stop_at_last, .arg = b };
	for (int i = 0; i < 2; i++) {
		b->budget.used += b->matrices[i]->arena.total_bytes;
		lp_matrix_adopt(b->matrices[i], &b->budget);
	}
	b->budget.max_bytes = b->budget.used + spare;
	r = lp_metric_eval(&b->env, query->root, &grid, false, b->matrices, 2, 500, &result, &status, &error);
	ck_assert_uint_le(b->peak, b->budget.max_bytes);
	lp_matrix_free(&result.matrix);
	ck_assert_uint_eq(b->budget.used, 0);
	ck_assert_uint_eq(lp_buf_cstr(&error)[0], 0);
	lp_logql_free(&query);
	lp_buf_free(&text);
	lp_buf_free(&error);
	return r;
}

/* n rows meet another partner at each of n steps: n x n rows of n values. */
static void explosive(struct bounded *b, int n)
{
	struct lp_buf left = LP_BUF_INIT, right = LP_BUF_INIT;

	for (int k = 0; k < n; k++) {
		lp_buf_printf(&left, "%sa=1,b=%d", k ? "; " : "", k);
		lp_buf_printf(&right, "%sa=1,c=%d", k ? "; " : "", k);
		for (int i = 0; i < n; i++) {
			lp_buf_str(&left, " 1");
			lp_buf_str(&right, i == k ? " 1" : " _");
		}
	}
	*b = (struct bounded){ .matrices = { make_matrix(lp_buf_cstr(&left), (uint32_t)n), make_matrix(lp_buf_cstr(&right), (uint32_t)n) } };
	lp_buf_free(&left);
	lp_buf_free(&right);
}

START_TEST(group_left_does_not_explode)
{
	struct bounded b;

	explosive(&b, 1000);
	ck_assert_int_eq(eval_bounded(&b, "L * on(a) group_left(c) R", 1000, 32u << 20), -ENOBUFS);
	ck_assert_uint_gt(b.peak, 16u << 20);
}
END_TEST

/* What every operation needs on the way counts, and is given back whether it ends well or not. */
START_TEST(intermediate_results_stay_within_the_budget)
{
	static const char *const queries[] = { "L + R", "L or R", "L and on(a) R", "L unless on(a) R",
					       "avg by (a) (L) + on(a) R", "stddev by (b) (L) or R", "topk(3, L) or sort(R)",
					       "label_replace(L, \"d\", \"$1\", \"b\", \"(.*)\") or R", "(L > 1) * on(a) group_left(c) (R + 1)" };
	static const size_t spares[] = { 0, 64, 8192, 65536, 1u << 20, 64u << 20 };

	for (size_t i = 0; i < sizeof queries / sizeof *queries; i++)
		for (size_t k = 0; k < sizeof spares / sizeof *spares; k++) {
			struct bounded b = { .matrices = { make_matrix("a=1,b=1 1 2 3; a=1,b=2 4 5 6; a=2,b=1 7 8 9; a=3,b=4 1 _ 2", 3),
							   make_matrix("a=1,b=1 1 _ _; a=4,c=2 4 _ 6; a=2,c=9 _ 8 9", 3) } };
			int r = eval_bounded(&b, queries[i], 3, spares[k]);

			ck_assert_msg((k < 5 && r == -ENOBUFS) || (k > 0 && r == 0), "%s with %zu: %d", queries[i], spares[k], r);
		}
}
END_TEST

START_TEST(evaluation_ends_when_nobody_waits)
{
	for (int questions = 1; questions < 40; questions++) {
		struct bounded b;

		explosive(&b, 60);
		b.questions = questions;
		ck_assert_int_eq(eval_bounded(&b, "L * on(a) group_left(c) R", 60, 1u << 30), -ECANCELED);
	}
}
END_TEST

START_TEST(leaves_come_left_first_with_their_grouping)
{
	static const char *text = "sum by (a) (rate({x=\"1\"}[1m])) / (sum(max_over_time({x=\"2\"} | unwrap v [1m])) + "
				  "label_replace(sum(count_over_time({x=\"3\"}[1m])), \"a\", \"b\", \"c\", \"d\") + max(rate({x=\"4\"}[1m])))";
	struct lp_buf error = LP_BUF_INIT;
	struct lp_metric_leaf leaves[4];
	struct lp_logql *query;
	uint32_t n = 0;

	ck_assert_int_eq(lp_logql_parse(text, strlen(text), &query, &error), 0);
	ck_assert_int_eq(lp_metric_leaves(query->root, leaves, 3, &n), -E2BIG);
	ck_assert_uint_eq(n, 0);
	ck_assert_int_eq(lp_metric_leaves(query->root, leaves, 4, &n), 0);
	ck_assert_uint_eq(n, 4);
	for (uint32_t i = 0; i < n; i++)
		ck_assert_int_eq(leaves[i].range->log.matchers[0].value.s[0], '1' + (int)i);
	ck_assert_ptr_nonnull(leaves[0].grouping);
	ck_assert_uint_eq(leaves[0].grouping->n_labels, 1);
	ck_assert_ptr_null(leaves[1].grouping);
	ck_assert_ptr_nonnull(leaves[2].grouping);
	ck_assert(!leaves[2].grouping->present);
	ck_assert_ptr_null(leaves[3].grouping);
	lp_logql_free(&query);
	lp_buf_free(&error);
}
END_TEST

static void expect_json(const struct lp_metric_result *result, const struct lp_metric_grid *grid, const char *want)
{
	struct lp_buf out = LP_BUF_INIT;

	for (uint32_t i = 0; lp_metric_result_json(result, grid, i, &out);)
		i++;
	ck_assert_str_eq(lp_buf_cstr(&out), want);
	lp_buf_free(&out);
}

START_TEST(json)
{
	struct lp_metric_grid grid = { 1793495700001500000, 500000000, 3 }, instant = { 1793495700000000001, 0, 1 };
	struct lp_metric_result result = { .type = LP_METRIC_MATRIX, .matrix = make_matrix("a=1,b=\"x 1 _ 2.5; - nan inf _", 3) };

	expect_json(&result, &grid, "\"resultType\":\"matrix\",\"result\":[{\"metric\":{\"a\":\"1\",\"b\":\"\\\"x\"},\"values\":[[1793495700.001,\"1\"],"
		    "[1793495701.001,\"2.5\"]]},{\"metric\":{},\"values\":[[1793495700.001,\"NaN\"],[1793495700.501,\"+Inf\"]]}]");
	lp_matrix_free(&result.matrix);
	result = (struct lp_metric_result){ .type = LP_METRIC_VECTOR, .matrix = make_matrix("a=1 0.0625", 1) };
	expect_json(&result, &instant, "\"resultType\":\"vector\",\"result\":[{\"metric\":{\"a\":\"1\"},\"value\":[1793495700,\"0.0625\"]}]");
	lp_matrix_free(&result.matrix);
	result = (struct lp_metric_result){ .type = LP_METRIC_VECTOR, .matrix = make_matrix("", 1) };
	expect_json(&result, &instant, "\"resultType\":\"vector\",\"result\":[]");
	lp_matrix_free(&result.matrix);
	result = (struct lp_metric_result){ .type = LP_METRIC_SCALAR, .scalar = NAN };
	expect_json(&result, &instant, "\"resultType\":\"scalar\",\"result\":[1793495700,\"NaN\"]");
	instant.start_ns = -1050000000;
	expect_json(&result, &instant, "\"resultType\":\"scalar\",\"result\":[-1.05,\"NaN\"]");
}
END_TEST

/* Instant queries as Loki's frontend splits them by the hour; NULL: the answer does not depend on it, or it is not split. */
#define X "{x=\"y\"}"
static const struct {
	const char *query, *want;
} splits[] = {
	{ "max by (a)(rate(" X "[1h]))", NULL }, { "sum by (a)(rate(" X "[2h]))", NULL }, { "topk(2,rate(" X "[2h]))", NULL },
	{ "max(quantile_over_time(0.5," X " | unwrap v[2h]))", NULL }, { "max(max_over_time(" X " | unwrap v[2h]))", NULL },
	{ "max by (a)(rate(" X " | json[2h]))", NULL }, { "stddev(rate(" X "[2h]))", NULL },
	{ "(max(rate(" X "[2h])) / max(rate(" X "[1h])))", NULL },
	{ "max by (a)(rate(" X "[2h]))",
	  "max by (a)((sum without ()(max by (a)(count_over_time(" X "[1h])) ++ max by (a)(count_over_time(" X "[1h] offset 1h0m0s))) / 7200))" },
	{ "min(bytes_over_time(" X "[1h30m] offset 5m0s))",
	  "min(sum without ()(min(bytes_over_time(" X "[1h] offset 5m0s)) ++ min(bytes_over_time(" X "[30m] offset 1h5m0s))))" },
	{ "avg(count_over_time(" X " | logfmt[2h]))",
	  "avg(avg(count_over_time(" X " | logfmt[1h])) ++ avg(count_over_time(" X " | logfmt[1h] offset 1h0m0s)))" },
	{ "sum(min_over_time(" X " | unwrap v[2h]) by (a))",
	  "sum(min by (a)(sum(min_over_time(" X " | unwrap v[1h]) by (a)) ++ sum(min_over_time(" X " | unwrap v[1h] offset 1h0m0s) by (a))))" },
	{ "(2 * max(rate(" X " | unwrap v[2h])))",
	  "(2 * max((sum without ()(max(sum_over_time(" X " | unwrap v[1h])) ++ max(sum_over_time(" X " | unwrap v[1h] offset 1h0m0s))) / 7200)))" },
};

START_TEST(instant_queries_are_split_as_loki_splits_them)
{
	const char *query = splits[_i].query, *want = splits[_i].want ? splits[_i].want : query;
	struct lp_buf out = LP_BUF_INIT;
	struct lp_arena arena = LP_ARENA_INIT;
	struct lp_logql *logql = NULL;
	const struct lp_expr *root = NULL;

	ck_assert_msg(lp_logql_parse(query, strlen(query), &logql, &out) == 0, "%s: %s", query, lp_buf_cstr(&out));
	ck_assert_int_eq(lp_metric_split(&arena, logql->root, 3600000000000, &root), 0);
	lp_logql_print(root, &out);
	ck_assert_str_eq(lp_buf_cstr(&out), want);
	ck_assert_int_eq(lp_metric_split(&arena, logql->root, 0, &root), 0);
	ck_assert_ptr_eq(root, logql->root);
	/* Too many pieces are none. */
	ck_assert_int_eq(lp_metric_split(&arena, logql->root, 1, &root), 0);
	lp_buf_reset(&out);
	lp_logql_print(root, &out);
	ck_assert_str_eq(lp_buf_cstr(&out), query);
	lp_arena_free(&arena);
	lp_logql_free(&logql);
	lp_buf_free(&out);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("metric_eval");
	TCase *tc = tcase_create("eval");

	tcase_set_timeout(tc, 60);

	tcase_add_loop_test(tc, instant_vectors, 0, sizeof instant_rows / sizeof instant_rows[0]);
	tcase_add_loop_test(tc, range_vectors, 0, sizeof range_rows / sizeof range_rows[0]);
	tcase_add_test(tc, the_series_limit_counts_the_answer);
	tcase_add_test(tc, wide_and_long_matrices);
	tcase_add_test(tc, group_left_does_not_explode);
	tcase_add_test(tc, intermediate_results_stay_within_the_budget);
	tcase_add_test(tc, evaluation_ends_when_nobody_waits);
	tcase_add_test(tc, leaves_come_left_first_with_their_grouping);
	tcase_add_test(tc, json);
	tcase_add_loop_test(tc, instant_queries_are_split_as_loki_splits_them, 0, sizeof splits / sizeof splits[0]);
	suite_add_tcase(suite, tc);
	SRunner *runner = srunner_create(suite);

	srunner_run_all(runner, CK_NORMAL);
	int failed = srunner_ntests_failed(runner);

	srunner_free(runner);
	return failed ? 1 : 0;
}
