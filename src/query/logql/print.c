/* LogQL trees as text: one line as Loki's String() prints them, or several lines as its format_query does.
 *
 * Guarantees: the text parses again to the same tree (literals folded); where Loki's text would not (rounded sizes, numbers that LogQL
 * cannot spell) it is another one.  Linear except that the multi-line form measures each
 * node once per level (depth is bounded).  Pure; any process. */
#include "query/logql/parse-private.h"

#include "query/logql/units.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_LINE 100u           /* longer expressions are split */

static void put_str(struct lp_buf *out, const struct lp_str *s)
{
	lp_buf_append(out, s->s, s->len);
}

static void put_quoted(struct lp_buf *out, const struct lp_str *s)
{
	lp_units_print_quoted(out, s->s, s->len);
}

/* A name of a sign, which Loki's scanner lets pass, must not grow together with the operator behind it. */
static void put_name(struct lp_buf *out, const struct lp_str *s)
{
	unsigned char last = s->len ? (unsigned char)s->s[s->len - 1] : 'a';

	put_str(out, s);
	if (last < 0x80 && last != '_' && !isalnum(last))
		lp_buf_byte(out, ' ');
}

/* Numbers that have no spelling come from folding, and so does the text that stands for them. */
static bool put_folded(struct lp_buf *out, double v)
{
	if (isnan(v))
		lp_buf_str(out, "(0 / 0)");
	else if (isinf(v))
		lp_buf_str(out, v < 0 ? "(-1e+308 * 10)" : "(1e+308 * 10)");
	else if (v == 0 && signbit(v))
		lp_buf_str(out, "-0.0"); /* "-0" is a duration */
	else
		return false;
	return true;
}

static void put_bytes(struct lp_buf *out, double bytes)
{
	struct lp_buf text = { .max = 64 };
	uint64_t again = 0;

	lp_units_print_bytes(&text, bytes);
	/* "0B" begins a binary number, "5EB" and "5PB" one with an exponent. */
	if (!bytes)
		lp_buf_str(out, "0.0B");
	else if (!memchr(text.data, 'E', text.len) && !memchr(text.data, 'P', text.len) && lp_units_bytes((const char *)text.data, text.len, &again) == 0 && (double)again == bytes)
		lp_buf_append(out, text.data, text.len);
	else
		lp_buf_printf(out, "%.0fB", bytes);
	lp_buf_free(&text);
}

static void put_names(struct lp_buf *out, const struct lp_str *names, uint32_t n, const char *separator)
{
	lp_buf_byte(out, '(');
	for (uint32_t i = 0; i < n; i++) {
		if (i)
			lp_buf_str(out, separator);
		put_name(out, &names[i]);
	}
	lp_buf_byte(out, ')');
}

static void put_matcher(struct lp_buf *out, const struct lp_matcher *m)
{
	static const char *const ops[] = { [LP_MATCH_EQ] = "=", [LP_MATCH_NEQ] = "!=", [LP_MATCH_RE] = "=~", [LP_MATCH_NRE] = "!~" };

	put_name(out, &m->name);
	lp_buf_str(out, ops[m->op]);
	put_quoted(out, &m->value);
}

static void put_selector(struct lp_buf *out, const struct lp_log_expr *log)
{
	lp_buf_byte(out, '{');
	for (uint32_t i = 0; i < log->n_matchers; i++) {
		if (i)
			lp_buf_str(out, ", ");
		put_matcher(out, &log->matchers[i]);
	}
	lp_buf_byte(out, '}');
}

/* ---- stages --------------------------------------------------------------------------------------- */

static void put_line_filter(struct lp_buf *out, const struct lp_stage *s)
{
	static const char *const ops[] = { [LP_LINE_CONTAINS] = "|= ", [LP_LINE_NOT_CONTAINS] = "!= ", [LP_LINE_RE] = "|~ ", [LP_LINE_NOT_RE] = "!~ ",
					   [LP_LINE_PATTERN] = "|> ", [LP_LINE_NOT_PATTERN] = "!> " };

	lp_buf_str(out, ops[s->line_op]);
	for (uint32_t i = 0; i < s->n_line_matches; i++) {
		const struct lp_line_match *m = &s->line_matches[i];

		if (i)
			lp_buf_str(out, " or ");
		if (m->is_ip)
			lp_buf_str(out, "ip(");
		put_quoted(out, &m->text);
		if (m->is_ip)
			lp_buf_byte(out, ')');
	}
}

static void put_filter(struct lp_buf *out, const struct lp_label_filter *f)
{
	static const char *const ops[] = { [LP_CMP_EQ] = "==", [LP_CMP_NEQ] = "!=", [LP_CMP_GT] = ">", [LP_CMP_GTE] = ">=", [LP_CMP_LT] = "<", [LP_CMP_LTE] = "<=" };

	switch (f->kind) {
	case LP_FILTER_AND: case LP_FILTER_OR:
		lp_buf_str(out, "( ");
		put_filter(out, f->left);
		lp_buf_str(out, f->kind == LP_FILTER_AND ? " , " : " or ");
		put_filter(out, f->right);
		lp_buf_str(out, " )");
		return;
	case LP_FILTER_STRING:
		put_matcher(out, &f->match);
		return;
	case LP_FILTER_IP:
		put_name(out, &f->match.name);
		lp_buf_str(out, f->cmp == LP_CMP_EQ ? "=ip(" : "!=ip(");
		put_quoted(out, &f->match.value);
		lp_buf_byte(out, ')');
		return;
	default:
		break;
	}
	put_name(out, &f->match.name);
	lp_buf_str(out, ops[f->cmp]);
	if (f->kind == LP_FILTER_NUMBER && !put_folded(out, f->number))
		lp_units_print_fixed(out, f->number);
	else if (f->kind == LP_FILTER_DURATION)
		lp_units_print_go_duration(out, f->duration_ns);
	else if (f->kind == LP_FILTER_BYTES)
		put_bytes(out, f->number);
}

static void put_extractions(struct lp_buf *out, const struct lp_stage *s)
{
	for (uint32_t i = 0; i < s->n_extractions; i++) {
		lp_buf_byte(out, i ? ',' : ' ');
		put_name(out, &s->extractions[i].label);
		lp_buf_byte(out, '=');
		put_quoted(out, &s->extractions[i].expr);
	}
}

static void put_label_format(struct lp_buf *out, const struct lp_stage *s)
{
	lp_buf_str(out, "| label_format ");
	for (uint32_t i = 0; i < s->n_formats; i++) {
		if (i)
			lp_buf_byte(out, ',');
		put_name(out, &s->formats[i].label);
		lp_buf_byte(out, '=');
		if (s->formats[i].rename)
			put_name(out, &s->formats[i].value);
		else
			put_quoted(out, &s->formats[i].value);
	}
}

static void put_drops(struct lp_buf *out, const struct lp_stage *s)
{
	lp_buf_str(out, s->kind == LP_STAGE_DROP ? "| drop " : "| keep ");
	for (uint32_t i = 0; i < s->n_drops; i++) {
		if (i)
			lp_buf_byte(out, ',');
		if (s->drops[i].has_match)
			put_matcher(out, &s->drops[i].match);
		else
			put_name(out, &s->drops[i].label);
	}
}

void lp_logql_print_stage(const struct lp_stage *s, struct lp_buf *out)
{
	switch (s->kind) {
	case LP_STAGE_LINE_FILTER: put_line_filter(out, s); break;
	case LP_STAGE_JSON:
		lp_buf_str(out, "| json");
		put_extractions(out, s);
		break;
	case LP_STAGE_LOGFMT:
		lp_buf_str(out, "| logfmt");
		lp_buf_str(out, s->strict ? " --strict" : "");
		lp_buf_str(out, s->keep_empty ? " --keep-empty" : "");
		put_extractions(out, s);
		break;
	case LP_STAGE_REGEXP: case LP_STAGE_PATTERN: case LP_STAGE_LINE_FORMAT:
		lp_buf_str(out, s->kind == LP_STAGE_REGEXP ? "| regexp " : s->kind == LP_STAGE_PATTERN ? "| pattern " : "| line_format ");
		put_quoted(out, &s->text);
		break;
	case LP_STAGE_UNPACK: lp_buf_str(out, "| unpack"); break;
	case LP_STAGE_LABEL_FILTER:
		lp_buf_str(out, "| ");
		put_filter(out, s->filter);
		break;
	case LP_STAGE_LABEL_FORMAT: put_label_format(out, s); break;
	case LP_STAGE_DECOLORIZE: lp_buf_str(out, "| decolorize"); break;
	case LP_STAGE_DROP: case LP_STAGE_KEEP: put_drops(out, s); break;
	}
}

static void put_stages(struct lp_buf *out, const struct lp_stage *stages)
{
	for (const struct lp_stage *s = stages; s; s = s->next) {
		lp_buf_byte(out, ' ');
		lp_logql_print_stage(s, out);
	}
}

/* ---- expressions on one line ---------------------------------------------------------------------- */

static void put_unwrap(struct lp_buf *out, const struct lp_range_agg *r)
{
	static const char *const convs[] = { [LP_UNWRAP_DURATION] = "duration(", [LP_UNWRAP_DURATION_SECONDS] = "duration_seconds(", [LP_UNWRAP_BYTES] = "bytes(" };

	lp_buf_str(out, "| unwrap ");
	if (r->unwrap_conv)
		lp_buf_str(out, convs[r->unwrap_conv]);
	put_name(out, &r->unwrap_label);
	if (r->unwrap_conv)
		lp_buf_byte(out, ')');
}

/* split: as it stands in an expression of several lines, where an offset has Prometheus' spelling if that can say it. */
static void put_window(struct lp_buf *out, const struct lp_range_agg *r, bool split)
{
	lp_buf_byte(out, '[');
	lp_units_print_prom_duration(out, r->range_ns);
	lp_buf_byte(out, ']');
	if (!r->offset_ns)
		return;
	lp_buf_str(out, " offset ");
	if (split && r->offset_ns % 1000000 == 0)
		lp_units_print_prom_duration(out, r->offset_ns);
	else
		lp_units_print_go_duration(out, r->offset_ns);
}

static void put_grouping(struct lp_buf *out, const struct lp_grouping *g, const char *separator)
{
	if (!g->present)
		return;
	lp_buf_str(out, g->without ? " without " : " by ");
	put_names(out, g->labels, g->n_labels, separator);
}

/* separator: between names; the form of several lines has blanks in it and no empty list behind group_left. */
static void put_bin_op(struct lp_buf *out, const struct lp_expr *e, const char *separator)
{
	bool split = separator[1] != '\0';

	lp_buf_str(out, lp_logql_bin_name(e->bin_op));
	if (e->return_bool)
		lp_buf_str(out, " bool");
	if (!e->has_matching)
		return;
	lp_buf_str(out, e->matching_on ? " on " : " ignoring ");
	put_names(out, e->matching_labels, e->n_matching_labels, separator);
	lp_buf_byte(out, ' ');
	if (e->card == LP_CARD_ONE_TO_ONE)
		return;
	lp_buf_str(out, e->card == LP_CARD_MANY_TO_ONE ? "group_left" : "group_right");
	if (split && !e->n_include)
		return;
	lp_buf_byte(out, ' ');
	put_names(out, e->include, e->n_include, separator);
}

static void put_range_agg(struct lp_buf *out, const struct lp_range_agg *r)
{
	lp_buf_str(out, lp_logql_range_name(r->op));
	lp_buf_byte(out, '(');
	if (r->op == LP_RANGE_QUANTILE) {
		lp_units_print_fixed(out, r->param);
		lp_buf_byte(out, ',');
	}
	put_selector(out, &r->log);
	put_stages(out, r->log.stages);
	if (r->has_unwrap) {
		lp_buf_byte(out, ' ');
		put_unwrap(out, r);
		put_stages(out, r->post_filters);
	}
	put_window(out, r, false);
	lp_buf_byte(out, ')');
	put_grouping(out, &r->grouping, ",");
}

static bool takes_k(const struct lp_expr *e)
{
	return e->vector_op == LP_VECTOR_TOPK || e->vector_op == LP_VECTOR_BOTTOMK || e->vector_op == LP_VECTOR_APPROX_TOPK;
}

/* Loki prints six decimals whatever the number; one that they change would make another query of it. */
static void put_vector(struct lp_buf *out, double v)
{
	char fixed[340];        /* 309 digits, a sign, a point, 6 decimals */

	(void)snprintf(fixed, sizeof fixed, "%f", v);
	lp_buf_str(out, "vector(");
	if (strtod(fixed, NULL) == v && strlen(fixed) < 32)
		lp_buf_str(out, fixed);
	else
		lp_units_print_float(out, v);
	lp_buf_byte(out, ')');
}

void lp_logql_print(const struct lp_expr *e, struct lp_buf *out)
{
	switch (e->kind) {
	case LP_EXPR_LOG:
		put_selector(out, &e->log);
		put_stages(out, e->log.stages);
		break;
	case LP_EXPR_RANGE_AGG: put_range_agg(out, e->range); break;
	case LP_EXPR_VECTOR_AGG:
		lp_buf_str(out, lp_logql_vector_name(e->vector_op));
		put_grouping(out, &e->grouping, ",");
		lp_buf_byte(out, '(');
		if (takes_k(e)) {
			lp_buf_u64(out, e->param);
			lp_buf_byte(out, ',');
		}
		lp_logql_print(e->inner, out);
		lp_buf_byte(out, ')');
		break;
	case LP_EXPR_BINARY:
		lp_buf_byte(out, '(');
		lp_logql_print(e->left, out);
		lp_buf_byte(out, ' ');
		put_bin_op(out, e, ",");
		lp_buf_byte(out, ' ');
		lp_logql_print(e->right, out);
		lp_buf_byte(out, ')');
		break;
	case LP_EXPR_LITERAL:
		if (!put_folded(out, e->number))
			lp_units_print_float(out, e->number);
		break;
	case LP_EXPR_VECTOR: put_vector(out, e->number); break;
	case LP_EXPR_LABEL_REPLACE: {
		const struct lp_str *parts[] = { &e->dst, &e->replacement, &e->src, &e->regex_text };

		lp_buf_str(out, "label_replace(");
		lp_logql_print(e->inner, out);
		for (unsigned i = 0; i < 4; i++) {
			lp_buf_byte(out, ',');
			put_quoted(out, parts[i]);
		}
		lp_buf_byte(out, ')');
		break;
	}
	case LP_EXPR_CONCAT:
		for (uint32_t i = 0; i < e->n_parts; i++) {
			lp_buf_str(out, i ? " ++ " : "");
			lp_logql_print(e->parts[i], out);
		}
		break;
	}
}

/* ---- several lines -------------------------------------------------------------------------------- */

static void indent(struct lp_buf *out, unsigned level)
{
	for (unsigned i = 0; i < level; i++)
		lp_buf_str(out, "  ");
}

/* Print e at the end of out; if it is too long for a line take it back.  True: it fits. */
static bool put_short(struct lp_buf *out, const struct lp_expr *e)
{
	size_t before = out->len;

	lp_logql_print(e, out);
	if (out->failed || out->len - before <= MAX_LINE)
		return true;
	out->len = before;
	return false;
}

/* Neighbouring line filters share a line if they fit; the last one gets a line of its own otherwise, and so on before it. */
static void format_line_filters(const struct lp_stage *first, unsigned n, unsigned level, struct lp_buf *out)
{
	const struct lp_stage *s = first;
	size_t before;

	/* They fit from the first one to some place; behind it each is alone. */
	indent(out, level);
	before = out->len;
	for (unsigned i = 0; i < n; i++, s = s->next) {
		size_t end = out->len;

		lp_buf_str(out, i ? " " : "");
		put_line_filter(out, s);
		if (!i || out->failed || out->len - before <= MAX_LINE)
			continue;
		out->len = end;
		lp_buf_byte(out, '\n');
		indent(out, level);
		put_line_filter(out, s);
		before = 0;
	}
}

static void format_log(const struct lp_log_expr *log, unsigned level, struct lp_buf *out)
{
	size_t before = out->len;

	indent(out, level);
	put_selector(out, log);
	put_stages(out, log->stages);
	if (out->failed || out->len - before - 2 * level <= MAX_LINE)
		return;
	out->len = before;
	indent(out, level);
	put_selector(out, log);
	for (const struct lp_stage *s = log->stages; s; s = s->next) {
		const struct lp_stage *last = s;
		unsigned n = 1;

		for (; s->kind == LP_STAGE_LINE_FILTER && last->next && last->next->kind == LP_STAGE_LINE_FILTER; last = last->next)
			n++;
		lp_buf_byte(out, '\n');
		if (s->kind == LP_STAGE_LINE_FILTER) {
			format_line_filters(s, n, level + 1, out);
		} else {
			/* decolorize stands at the margin, as Loki puts it. */
			indent(out, s->kind == LP_STAGE_DECOLORIZE ? 0 : level + 1);
			lp_logql_print_stage(s, out);
		}
		s = last;
	}
}

static void format_range_agg(const struct lp_range_agg *r, unsigned level, struct lp_buf *out)
{
	lp_buf_str(out, lp_logql_range_name(r->op));
	lp_buf_str(out, "(\n");
	if (r->op == LP_RANGE_QUANTILE) {
		indent(out, level + 1);
		lp_units_print_fixed(out, r->param);
		lp_buf_str(out, ",\n");
	}
	format_log(&r->log, level + 1, out);
	if (r->has_unwrap) {
		lp_buf_byte(out, '\n');
		indent(out, level + 2);
		put_unwrap(out, r);
		for (const struct lp_stage *s = r->post_filters; s; s = s->next) {
			lp_buf_byte(out, '\n');
			indent(out, level + 2);
			lp_logql_print_stage(s, out);
		}
	}
	lp_buf_byte(out, ' ');
	put_window(out, r, true);
	lp_buf_byte(out, '\n');
	indent(out, level);
	lp_buf_byte(out, ')');
	put_grouping(out, &r->grouping, ", ");
}

static void format_expr(const struct lp_expr *e, unsigned level, struct lp_buf *out);

static void format_label_replace(const struct lp_expr *e, unsigned level, struct lp_buf *out)
{
	const struct lp_str *parts[] = { &e->dst, &e->replacement, &e->src, &e->regex_text };

	lp_buf_str(out, "label_replace(\n");
	format_expr(e->inner, level + 1, out);
	for (unsigned i = 0; i < 4; i++) {
		lp_buf_str(out, ",\n");
		indent(out, level + 1);
		put_quoted(out, parts[i]);
	}
	lp_buf_byte(out, '\n');
	indent(out, level);
	lp_buf_byte(out, ')');
}

/* One side of a split operator: an operator inside keeps its parentheses. */
static void format_operand(const struct lp_expr *e, unsigned level, struct lp_buf *out)
{
	size_t before = out->len;

	if (e->kind == LP_EXPR_BINARY) {
		indent(out, level);
		if (put_short(out, e))
			return;
		out->len = before;
		indent(out, level);
		lp_buf_str(out, "(\n");
		format_expr(e, level + 1, out);
		lp_buf_byte(out, '\n');
		indent(out, level);
		lp_buf_byte(out, ')');
		return;
	}
	format_expr(e, level, out);
}

static void format_expr(const struct lp_expr *e, unsigned level, struct lp_buf *out)
{
	size_t before = out->len;

	if (e->kind == LP_EXPR_LOG) {
		format_log(&e->log, level, out);
		return;
	}
	indent(out, level);
	if (put_short(out, e))
		return;
	switch (e->kind) {
	case LP_EXPR_RANGE_AGG: format_range_agg(e->range, level, out); break;
	case LP_EXPR_VECTOR_AGG:
		lp_buf_str(out, lp_logql_vector_name(e->vector_op));
		put_grouping(out, &e->grouping, ", ");
		lp_buf_str(out, "(\n");
		if (takes_k(e)) {
			indent(out, level + 1);
			lp_buf_u64(out, e->param);
			lp_buf_str(out, ",\n");
		}
		format_expr(e->inner, level + 1, out);
		lp_buf_byte(out, '\n');
		indent(out, level);
		lp_buf_byte(out, ')');
		break;
	case LP_EXPR_BINARY:
		out->len = before;
		format_operand(e->left, level + 1, out);
		lp_buf_byte(out, '\n');
		indent(out, level);
		put_bin_op(out, e, ", ");
		lp_buf_byte(out, '\n');
		format_operand(e->right, level + 1, out);
		break;
	case LP_EXPR_LABEL_REPLACE: format_label_replace(e, level, out); break;
	default: lp_logql_print(e, out); break;         /* a number has no place to be split */
	}
}

void lp_logql_format(const struct lp_expr *expr, struct lp_buf *out)
{
	format_expr(expr, 0, out);
}
