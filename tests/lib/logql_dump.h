/* A LogQL tree as text, field by field and numbers bit by bit: two trees are equal if and only if their dumps are.
 * What is kept for printing alone is left out.  For the tests of the printer. */
#ifndef LP_TESTS_LOGQL_DUMP_H
#define LP_TESTS_LOGQL_DUMP_H

#include "query/logql/ast.h"

static void dump_str(const struct lp_str *s, struct lp_buf *out)
{
	lp_buf_printf(out, "%u:", (unsigned)s->len);
	lp_buf_append(out, s->s, s->len);
	lp_buf_byte(out, ' ');
}

static void dump_strs(const struct lp_str *s, uint32_t n, struct lp_buf *out)
{
	lp_buf_printf(out, "[%u ", (unsigned)n);
	for (uint32_t i = 0; i < n; i++)
		dump_str(&s[i], out);
	lp_buf_str(out, "] ");
}

static void dump_number(double v, struct lp_buf *out)
{
	/* The sign of a NaN says nothing. */
	if (v != v)
		lp_buf_str(out, "NaN ");
	else
		lp_buf_printf(out, "%a ", v);
}

static void dump_matcher(const struct lp_matcher *m, struct lp_buf *out)
{
	lp_buf_printf(out, "match %d ", (int)m->op);
	dump_str(&m->name, out);
	dump_str(&m->value, out);
}

static void dump_filter(const struct lp_label_filter *f, struct lp_buf *out)
{
	lp_buf_printf(out, "filter %d ", (int)f->kind);
	switch (f->kind) {
	case LP_FILTER_AND: case LP_FILTER_OR:
		lp_buf_str(out, "( ");
		dump_filter(f->left, out);
		dump_filter(f->right, out);
		lp_buf_str(out, ") ");
		break;
	case LP_FILTER_STRING: dump_matcher(&f->match, out); break;
	case LP_FILTER_IP:
		lp_buf_printf(out, "%d ", (int)f->cmp);
		dump_str(&f->match.name, out);
		dump_str(&f->match.value, out);
		break;
	default:
		lp_buf_printf(out, "%d %lld ", (int)f->cmp, (long long)f->duration_ns);
		dump_str(&f->match.name, out);
		dump_number(f->number, out);
		break;
	}
}

static void dump_stages(const struct lp_stage *s, struct lp_buf *out)
{
	for (; s; s = s->next) {
		lp_buf_printf(out, "stage %d strict %d keep %d ", (int)s->kind, s->strict, s->keep_empty);
		for (uint32_t i = 0; i < s->n_line_matches; i++) {
			lp_buf_printf(out, "line %d ip %d ", (int)s->line_op, s->line_matches[i].is_ip);
			dump_str(&s->line_matches[i].text, out);
		}
		for (uint32_t i = 0; i < s->n_extractions; i++) {
			dump_str(&s->extractions[i].label, out);
			dump_str(&s->extractions[i].expr, out);
		}
		if (s->text.s)
			dump_str(&s->text, out);
		if (s->filter)
			dump_filter(s->filter, out);
		for (uint32_t i = 0; i < s->n_formats; i++) {
			lp_buf_printf(out, "rename %d ", s->formats[i].rename);
			dump_str(&s->formats[i].label, out);
			dump_str(&s->formats[i].value, out);
		}
		for (uint32_t i = 0; i < s->n_drops; i++) {
			dump_str(&s->drops[i].label, out);
			if (s->drops[i].has_match)
				dump_matcher(&s->drops[i].match, out);
		}
	}
}

static void dump_log(const struct lp_log_expr *log, struct lp_buf *out)
{
	lp_buf_printf(out, "{%u ", (unsigned)log->n_matchers);
	for (uint32_t i = 0; i < log->n_matchers; i++)
		dump_matcher(&log->matchers[i], out);
	lp_buf_str(out, "} ");
	dump_stages(log->stages, out);
}

static void dump_grouping(const struct lp_grouping *g, struct lp_buf *out)
{
	if (!g->present)
		return;
	lp_buf_printf(out, "without %d ", g->without);
	dump_strs(g->labels, g->n_labels, out);
}

static void dump_range(const struct lp_range_agg *r, struct lp_buf *out)
{
	lp_buf_printf(out, "range %d window %lld offset %lld unwrap %d %d ", (int)r->op, (long long)r->range_ns, (long long)r->offset_ns, r->has_unwrap,
		      (int)r->unwrap_conv);
	dump_number(r->param, out);
	if (r->has_unwrap)
		dump_str(&r->unwrap_label, out);
	dump_log(&r->log, out);
	lp_buf_str(out, "post ");
	dump_stages(r->post_filters, out);
	dump_grouping(&r->grouping, out);
}

static void dump_expr(const struct lp_expr *e, struct lp_buf *out)
{
	lp_buf_printf(out, "(%d ", (int)e->kind);
	switch (e->kind) {
	case LP_EXPR_LOG: dump_log(&e->log, out); break;
	case LP_EXPR_RANGE_AGG: dump_range(e->range, out); break;
	case LP_EXPR_VECTOR_AGG:
		lp_buf_printf(out, "%d %llu ", (int)e->vector_op, (unsigned long long)e->param);
		dump_grouping(&e->grouping, out);
		dump_expr(e->inner, out);
		break;
	case LP_EXPR_BINARY:
		lp_buf_printf(out, "%d bool %d matching %d on %d card %d ", (int)e->bin_op, e->return_bool, e->has_matching, e->matching_on, (int)e->card);
		dump_strs(e->matching_labels, e->n_matching_labels, out);
		dump_strs(e->include, e->n_include, out);
		dump_expr(e->left, out);
		dump_expr(e->right, out);
		break;
	case LP_EXPR_LITERAL: case LP_EXPR_VECTOR: dump_number(e->number, out); break;
	case LP_EXPR_LABEL_REPLACE:
		dump_str(&e->dst, out);
		dump_str(&e->replacement, out);
		dump_str(&e->src, out);
		dump_str(&e->regex_text, out);
		dump_expr(e->inner, out);
		break;
	case LP_EXPR_CONCAT: break;     /* no tree of the parser has it */
	}
	lp_buf_str(out, ") ");
}

#endif
