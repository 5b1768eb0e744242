/* Stages that only keep or drop: line filters and label filters.
 *
 * Guarantees: no allocation per line except for error details; linear in the line and the filter.  A regular expression that is
 * a plain literal is searched as one, any other one runs only where one of its literals was found.  Query threads. */
#include "query/pipeline/pipeline-private.h"

#include "query/logql/units.h"
#include "query/pipeline/ip.h"
#include "query/pipeline/loose.h"
#include "query/pipeline/pattern.h"
#include "query/regex.h"

#include <errno.h>
#include <string.h>

/* ---- line filters --------------------------------------------------------------------------------- */

/* Searches that stand before an alternative: its literal, or those of its expression. */
static uint32_t literals_of(const struct lp_line_match *m, enum lp_line_op op, const char *const **ret_literals, const char **one, size_t *one_len,
			    bool *ret_fold)
{
	*ret_fold = false;
	*ret_literals = NULL;
	if (m->is_ip)
		return 0;
	if (m->re) {
		if (lp_regex_is_literal(m->re, one, one_len, ret_fold))
			return 1;
		return lp_regex_literals(m->re, ret_literals, ret_fold);
	}
	if (op == LP_LINE_PATTERN || op == LP_LINE_NOT_PATTERN)
		return lp_pattern_literal(m->compiled, one, one_len);
	*one = m->text.s;
	*one_len = m->text.len;
	return 1;
}

int lp_line_filter_compile(struct lp_pipeline *pipeline, struct lp_step *step)
{
	const struct lp_stage *stage = step->stage;
	const char *const *literals;
	const char *one = NULL;
	size_t one_len = 0;
	bool fold;
	uint32_t total = 0, k = 0;

	for (uint32_t i = 0; i < stage->n_line_matches; i++)
		total += literals_of(&stage->line_matches[i], stage->line_op, &literals, &one, &one_len, &fold);
	step->searches = lp_arena_zalloc(&pipeline->arena, (total + 1) * sizeof *step->searches);
	step->n_literals = lp_arena_zalloc(&pipeline->arena, stage->n_line_matches * sizeof *step->n_literals);
	if (!step->searches || !step->n_literals)
		return -ENOMEM;
	for (uint32_t i = 0; i < stage->n_line_matches; i++) {
		uint32_t n = literals_of(&stage->line_matches[i], stage->line_op, &literals, &one, &one_len, &fold);

		step->n_literals[i] = n;
		for (uint32_t j = 0; j < n; j++) {
			const char *text = literals ? literals[j] : one;

			lp_search_init(&step->searches[k++], text, literals ? strlen(text) : one_len, fold);
		}
	}
	return 0;
}

static bool alternative(const struct lp_line_match *m, enum lp_line_op op, const struct lp_search *searches, uint32_t n, const char *s, size_t len)
{
	const char *text;
	size_t text_len;
	bool found = !n, fold;

	if (m->is_ip)
		return lp_ip_find(m->compiled, s, len);
	for (uint32_t i = 0; i < n && !found; i++)
		found = lp_search_next(&searches[i], s, len) != NULL;
	if (!found)
		return false;
	/* Loki reads `.+` as "not empty", also where the line is but a newline. */
	if (m->re && m->text.len == 2 && !memcmp(m->text.s, ".+", 2))
		return len != 0;
	if (m->re)
		return lp_regex_is_literal(m->re, &text, &text_len, &fold) || lp_regex_match(m->re, s, len);
	if (op == LP_LINE_PATTERN || op == LP_LINE_NOT_PATTERN)
		return lp_pattern_test(m->compiled, s, len);
	return true;
}

bool lp_run_line_filter(struct lp_pipeline_state *st, const struct lp_step *step)
{
	const struct lp_stage *stage = step->stage;
	const struct lp_search *searches = step->searches;
	bool any = false;

	for (uint32_t i = 0; i < stage->n_line_matches && !any; i++) {
		any = alternative(&stage->line_matches[i], stage->line_op, searches, step->n_literals[i], st->line, st->line_len);
		searches += step->n_literals[i];
	}
	return any == (stage->line_op == LP_LINE_CONTAINS || stage->line_op == LP_LINE_RE || stage->line_op == LP_LINE_PATTERN);
}

/* ---- label filters -------------------------------------------------------------------------------- */

static bool compare_double(enum lp_cmp_op op, double a, double b)
{
	switch (op) {
	case LP_CMP_EQ: return a == b;
	case LP_CMP_NEQ: return a != b;
	case LP_CMP_GT: return a > b;
	case LP_CMP_GTE: return a >= b;
	case LP_CMP_LT: return a < b;
	default: return a <= b;
	}
}

static bool compare_int(enum lp_cmp_op op, int64_t a, int64_t b)
{
	switch (op) {
	case LP_CMP_EQ: return a == b;
	case LP_CMP_NEQ: return a != b;
	case LP_CMP_GT: return a > b;
	case LP_CMP_GTE: return a >= b;
	case LP_CMP_LT: return a < b;
	default: return a <= b;
	}
}

static bool bad_value(struct lp_pipeline_state *st, const struct lp_buf *why)
{
	lp_state_error(st, "LabelFilterErr", (const char *)why->data, why->len);
	return true;
}

static bool number_passes(struct lp_pipeline_state *st, const struct lp_label_filter *f, const char *value, size_t len)
{
	struct lp_buf why = { .max = 4096 };
	int64_t ns;
	uint64_t bytes;
	double v;
	bool pass;

	switch (f->kind) {
	case LP_FILTER_NUMBER:
		if (lp_units_float(value, len, &v) == 0)
			return compare_double(f->cmp, v, f->number);
		lp_buf_str(&why, "strconv.ParseFloat: parsing ");
		lp_units_print_quoted(&why, value, len);
		lp_buf_str(&why, ": invalid syntax");
		break;
	case LP_FILTER_DURATION:
		if (lp_units_go_duration(value, len, &ns, &why) == 0)
			return compare_int(f->cmp, ns, f->duration_ns);
		break;
	default:
		if (lp_units_bytes(value, len, &bytes) == 0)
			return compare_double(f->cmp, (double)bytes, f->number);
		lp_buf_str(&why, "unhandled size name: ");
		lp_buf_append(&why, value, len);
		break;
	}
	pass = bad_value(st, &why);
	lp_buf_free(&why);
	return pass;
}

static bool passes(struct lp_pipeline_state *st, const struct lp_label_filter *f)
{
	const char *value;
	size_t len;
	bool present;

	if (f->kind == LP_FILTER_AND || f->kind == LP_FILTER_OR) {
		bool left = passes(st, f->left), right;

		if (left && f->kind == LP_FILTER_OR)
			return true;
		/* The right side of "and" is looked at in any case: it may put an error on the line (Loki). */
		right = passes(st, f->right);
		return f->kind == LP_FILTER_OR ? right : left && right;
	}
	present = lp_entry_get(st, f->match.name.s, f->match.name.len, &value, &len);
	if (f->kind == LP_FILTER_STRING && f->compiled)
		return lp_loose_match(f->compiled, value, len) == (f->match.op == LP_MATCH_RE);
	if (f->kind == LP_FILTER_STRING)
		return lp_matcher_match(&f->match, value, len);
	/* Only string filters see __error__; an ip filter lets a line with an error pass (both as Loki). */
	if (f->kind == LP_FILTER_IP && st->error)
		return true;
	if (!present || !lp_entry_find(st, f->match.name.s, f->match.name.len))
		return false;
	if (f->kind == LP_FILTER_IP)
		return lp_ip_find(f->compiled, value, len) == (f->cmp == LP_CMP_EQ);
	return number_passes(st, f, value, len);
}

bool lp_run_label_filter(struct lp_pipeline_state *st, const struct lp_step *step)
{
	return passes(st, step->stage->filter);
}
