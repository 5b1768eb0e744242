/* What Loki checks after the syntax, in its order: first that every selector selects something in particular, then the
 * arguments of each stage (regular expressions of line filters, addresses, paths, templates), which are compiled here once
 * so that the tree can be shared by threads.
 *
 * Guarantees: as parse.c.  Errors of a stage read "parse error : stage '...' : why". */
#include "query/logql/parse-private.h"

#include "query/pipeline/ip.h"
#include "query/pipeline/loose.h"
#include "query/pipeline/path.h"
#include "query/pipeline/pattern.h"
#include "query/pipeline/template.h"
#include "query/regex.h"

#include <errno.h>
#include <string.h>

static void check_matchers(struct lp_parser *p, const struct lp_log_expr *log)
{
	for (uint32_t i = 0; i < log->n_matchers; i++)
		if (!lp_matcher_match(&log->matchers[i], "", 0))
			return;
	lp_parse_refuse(p, "queries require at least one regexp or equality matcher that does not have an empty-compatible value. "
			   "For instance, app=~\".*\" does not meet this requirement, but app=~\".+\" will");
}

/* Loki keeps neighbouring line filters as one stage, and names them together. */
static void print_run(const struct lp_stage *first, struct lp_buf *out)
{
	for (const struct lp_stage *s = first; s && (s == first || s->kind == LP_STAGE_LINE_FILTER); s = s->next) {
		if (s != first)
			lp_buf_byte(out, ' ');
		lp_logql_print_stage(s, out);
		if (first->kind != LP_STAGE_LINE_FILTER)
			break;
	}
}

static _Noreturn void refuse_stage(struct lp_parser *p, const struct lp_stage *stage, struct lp_buf *why, int err)
{
	lp_buf_reset(p->error);
	if (err == -EINVAL || err == -E2BIG) {
		lp_buf_str(p->error, "parse error : stage '");
		print_run(stage, p->error);
		lp_buf_str(p->error, "' : ");
		lp_buf_append(p->error, why->data, why->len);
		err = -EINVAL;
	}
	lp_buf_free(why);
	lp_parse_fail(p, err);
}

static int check_line_match(struct lp_parser *p, const struct lp_stage *stage, struct lp_line_match *m, struct lp_buf *why)
{
	bool contains = stage->line_op == LP_LINE_CONTAINS || stage->line_op == LP_LINE_NOT_CONTAINS;
	bool pattern = stage->line_op == LP_LINE_PATTERN || stage->line_op == LP_LINE_NOT_PATTERN;
	int r = 0;

	if (m->is_ip) {
		struct lp_ip_match *ip = NULL;

		if (!contains) {
			lp_buf_str(why, "ip: invalid operation");
			return -EINVAL;
		}
		r = lp_ip_compile(&p->query->arena, m->text.s, m->text.len, &ip, why);
		m->compiled = ip;
	} else if (pattern) {
		struct lp_pattern *compiled = NULL;

		r = lp_pattern_compile(&p->query->arena, m->text.s, m->text.len, true, &compiled, why);
		m->compiled = compiled;
	} else if (!contains) {
		struct lp_logql_owned *owned = lp_parse_own(p);

		/* Loki takes `.+` for "not empty" and never asks whether the line is a newline alone. */
		if (m->text.len == 2 && !memcmp(m->text.s, ".+", 2))
			r = lp_regex_compile("(?s).+", 6, 0, &owned->re, why);
		else
			r = lp_regex_compile(m->text.s, m->text.len, 0, &owned->re, why);
		m->re = owned->re;
	}
	return r;
}

static int check_filter(struct lp_parser *p, struct lp_label_filter *f, struct lp_buf *why)
{
	int r;

	if (f->kind == LP_FILTER_AND || f->kind == LP_FILTER_OR) {
		r = check_filter(p, f->left, why);
		return r < 0 ? r : check_filter(p, f->right, why);
	}
	if (f->kind == LP_FILTER_IP) {
		struct lp_ip_match *ip = NULL;

		r = lp_ip_compile(&p->query->arena, f->match.value.s, f->match.value.len, &ip, why);
		f->compiled = ip;
		return r;
	}
	if (f->kind == LP_FILTER_STRING && f->match.re) {
		struct lp_loose *loose = NULL;

		r = lp_loose_compile(&p->query->arena, &f->match.value, &loose);
		f->compiled = loose;
		return r;
	}
	return 0;
}

static int check_extraction(struct lp_parser *p, const struct lp_stage *stage, struct lp_extraction *e, struct lp_buf *why)
{
	struct lp_path *path = NULL;
	struct lp_buf inner = { .max = 4096 };
	int r;

	r = stage->kind == LP_STAGE_JSON ? lp_path_compile_json(&p->query->arena, e->expr.s, e->expr.len, &path, &inner)
					 : lp_path_compile_logfmt(&p->query->arena, e->expr.s, e->expr.len, &path, &inner);
	if (r == -EINVAL)
		lp_buf_printf(why, "cannot parse expression [%s]: %s", e->expr.s, lp_buf_cstr(&inner));
	lp_buf_free(&inner);
	e->path = path;
	return r;
}

static int check_template(struct lp_parser *p, const struct lp_str *text, const char *name, struct lp_template **ret_tmpl, struct lp_buf *why)
{
	struct lp_logql_owned *owned = lp_parse_own(p);
	int r = lp_template_compile(text->s, text->len, name, &owned->tmpl, why);

	if (r == 0)
		*ret_tmpl = owned->tmpl;
	return r;
}

static int check_line_format(struct lp_parser *p, struct lp_stage *stage, struct lp_buf *why)
{
	struct lp_buf inner = { .max = 4096 };
	int r = check_template(p, &stage->text, "line", &stage->tmpl, &inner);

	if (r < 0)
		lp_buf_printf(why, "invalid line template: %s", lp_buf_cstr(&inner));
	lp_buf_free(&inner);
	return r;
}

static int check_label_templates(struct lp_parser *p, struct lp_stage *stage, struct lp_buf *why)
{
	int r = 0;

	for (uint32_t i = 0; i < stage->n_formats && r == 0; i++) {
		struct lp_label_format *f = &stage->formats[i];
		struct lp_buf inner = { .max = 4096 };

		if (f->rename)
			continue;
		r = check_template(p, &f->value, "label", &f->tmpl, &inner);
		if (r < 0)
			lp_buf_printf(why, "invalid template for label '%s': %s", f->label.s, lp_buf_cstr(&inner));
		lp_buf_free(&inner);
	}
	return r;
}

static int check_label_formats(const struct lp_stage *stage, struct lp_buf *why)
{
	for (uint32_t i = 0; i < stage->n_formats; i++) {
		const struct lp_str *name = &stage->formats[i].label;

		if (!strcmp(name->s, "__error__")) {
			lp_buf_str(why, "__error__ cannot be formatted");
			return -EINVAL;
		}
		for (uint32_t k = 0; k < i; k++)
			if (!strcmp(stage->formats[k].label.s, name->s)) {
				lp_buf_printf(why, "multiple label name '%s' not allowed in a single format operation", name->s);
				return -EINVAL;
			}
	}
	return 0;
}

static int check_stage(struct lp_parser *p, struct lp_stage *stage, struct lp_buf *why)
{
	int r = 0;

	switch (stage->kind) {
	case LP_STAGE_LINE_FILTER:
		for (uint32_t i = 0; i < stage->n_line_matches && !r; i++)
			r = check_line_match(p, stage, &stage->line_matches[i], why);
		break;
	case LP_STAGE_JSON: case LP_STAGE_LOGFMT:
		for (uint32_t i = 0; i < stage->n_extractions && !r; i++)
			r = check_extraction(p, stage, &stage->extractions[i], why);
		break;
	case LP_STAGE_LABEL_FILTER: r = check_filter(p, stage->filter, why); break;
	case LP_STAGE_LINE_FORMAT: r = check_line_format(p, stage, why); break;
	case LP_STAGE_LABEL_FORMAT:
		r = check_label_formats(stage, why);
		if (r == 0)
			r = check_label_templates(p, stage, why);
		break;
	default: break;
	}
	return r;
}

static void check_stages(struct lp_parser *p, struct lp_stage *stages)
{
	const struct lp_stage *first = NULL;

	for (struct lp_stage *s = stages; s; s = s->next) {
		struct lp_buf why = { .max = 1 << 20 };
		int r = check_stage(p, s, &why);

		if (!first || first->kind != LP_STAGE_LINE_FILTER || s->kind != LP_STAGE_LINE_FILTER)
			first = s;
		if (r < 0)
			refuse_stage(p, first, &why, r);
		lp_buf_free(&why);
	}
}

typedef void (*visit_fn)(struct lp_parser *p, struct lp_log_expr *log, struct lp_stage *post);

/* Every selector of the tree; the tree is at most LP_LOGQL_MAX_DEPTH deep. */
static void walk(struct lp_parser *p, struct lp_expr *expr, visit_fn visit)
{
	switch (expr->kind) {
	case LP_EXPR_LOG: visit(p, &expr->log, NULL); break;
	case LP_EXPR_RANGE_AGG: visit(p, &expr->range->log, expr->range->post_filters); break;
	case LP_EXPR_VECTOR_AGG: case LP_EXPR_LABEL_REPLACE: walk(p, expr->inner, visit); break;
	case LP_EXPR_BINARY:
		walk(p, expr->left, visit);
		walk(p, expr->right, visit);
		break;
	default: break;
	}
}

static void visit_matchers(struct lp_parser *p, struct lp_log_expr *log, struct lp_stage *post)
{
	(void)post;
	check_matchers(p, log);
}

static void visit_stages(struct lp_parser *p, struct lp_log_expr *log, struct lp_stage *post)
{
	check_stages(p, log->stages);
	check_stages(p, post);
}

void lp_parse_check(struct lp_parser *p, struct lp_expr *root, bool allow_empty)
{
	if (!allow_empty)
		walk(p, root, visit_matchers);
	walk(p, root, visit_stages);
}
