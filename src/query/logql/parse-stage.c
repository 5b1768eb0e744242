/* The LogQL parser, second half: stages of a pipeline.
 *
 *   stage        = line-op match { "or" match } | "|" ( parser | format | label-filter )     match = string | "ip" "(" string ")"
 *   parser       = "json" [ extractions ] | "logfmt" { flag } [ extractions ] | "regexp" string | "pattern" string | "unpack"
 *   format       = "line_format" string | "label_format" label "=" ( label | string ) { "," ... } | "decolorize"
 *                | ( "drop" | "keep" ) label [ matcher ] { "," ... }
 *   label-filter = condition | "(" label-filter ")" | label-filter ( "and" | "or" | "," | blank ) label-filter
 *
 * "and" binds tighter than "or"; "," and a blank take everything to their right (Loki's grammar gives them no precedence, and
 * its generator then shifts).  Guarantees: as parse.c; a label filter has at most LP_LOGQL_MAX_FILTERS conditions, which
 * also bounds the recursion here and in those who walk it. */
#include "query/logql/parse-private.h"

#include "query/pipeline/pattern.h"
#include "query/regex.h"

#include <errno.h>
#include <string.h>

#define MAX_OR 1024u

static void next(struct lp_parser *p)
{
	lp_lexer_next(&p->lx);
}

/* ---- line filters --------------------------------------------------------------------------------- */

static bool line_op(enum lp_token tok, enum lp_line_op *ret_op)
{
	switch ((int)tok) {
	case LP_TOK_PIPE_EXACT: *ret_op = LP_LINE_CONTAINS; return true;
	case LP_TOK_NEQ: *ret_op = LP_LINE_NOT_CONTAINS; return true;
	case LP_TOK_PIPE_MATCH: *ret_op = LP_LINE_RE; return true;
	case LP_TOK_NRE: *ret_op = LP_LINE_NOT_RE; return true;
	case LP_TOK_PIPE_PATTERN: *ret_op = LP_LINE_PATTERN; return true;
	case LP_TOK_NPATTERN: *ret_op = LP_LINE_NOT_PATTERN; return true;
	default: return false;
	}
}

static void parse_line_filter(struct lp_parser *p, struct lp_stage *stage)
{
	stage->kind = LP_STAGE_LINE_FILTER;
	do {
		struct lp_line_match *m;

		next(p);
		stage->line_matches = lp_parse_grow(p, stage->line_matches, stage->n_line_matches, sizeof *m, MAX_OR, "alternatives");
		m = &stage->line_matches[stage->n_line_matches++];
		memset(m, 0, sizeof *m);
		if (p->lx.tok == LP_TOK_IP) {
			m->is_ip = true;
			next(p);
			lp_parse_expect(p, LP_TOK_OPEN_PAREN, "(");
			m->text = lp_parse_take_str(p, LP_TOK_STRING, "STRING");
			lp_parse_expect(p, LP_TOK_CLOSE_PAREN, ")");
		} else {
			m->text = lp_parse_take_str(p, LP_TOK_STRING, "STRING or ip");
		}
	} while (p->lx.tok == LP_TOK_OR);
}

/* ---- parsers -------------------------------------------------------------------------------------- */

static void parse_extractions(struct lp_parser *p, struct lp_stage *stage)
{
	if (p->lx.tok != LP_TOK_IDENTIFIER)
		return;
	for (;;) {
		struct lp_extraction *e;

		stage->extractions = lp_parse_grow(p, stage->extractions, stage->n_extractions, sizeof *e, LP_LOGQL_MAX_MATCHERS, "expressions");
		e = &stage->extractions[stage->n_extractions++];
		memset(e, 0, sizeof *e);
		e->label = e->expr = lp_parse_take_str(p, LP_TOK_IDENTIFIER, "IDENTIFIER");
		if (p->lx.tok == LP_TOK_EQ) {
			next(p);
			e->expr = lp_parse_take_str(p, LP_TOK_STRING, "STRING");
		}
		if (p->lx.tok != LP_TOK_COMMA)
			return;
		next(p);
	}
}

static void parse_regexp(struct lp_parser *p, struct lp_stage *stage)
{
	unsigned named = 0, groups;

	stage->text = lp_parse_take_str(p, LP_TOK_STRING, "STRING");
	stage->re = lp_parse_regex(p, stage->text, 0, "invalid regexp parser: ");
	groups = lp_regex_groups(stage->re);
	for (unsigned g = 1; g < groups; g++) {
		const char *name = lp_regex_group_name(stage->re, g);

		if (!name)
			continue;
		named++;
		if (name[0] >= '0' && name[0] <= '9')
			lp_parse_refuse(p, "invalid regexp parser: invalid extracted label name '%s'", name);
		for (unsigned h = 1; h < g; h++)
			if (lp_regex_group_name(stage->re, h) && !strcmp(lp_regex_group_name(stage->re, h), name))
				lp_parse_refuse(p, "invalid regexp parser: duplicate extracted label name '%s'", name);
	}
	if (!named)
		lp_parse_refuse(p, "invalid regexp parser: at least one named capture must be supplied");
}

static void parse_pattern(struct lp_parser *p, struct lp_stage *stage)
{
	struct lp_buf why = { .max = 4096 };
	struct lp_pattern *pattern = NULL;
	int r;

	stage->text = lp_parse_take_str(p, LP_TOK_STRING, "STRING");
	r = lp_pattern_compile(&p->query->arena, stage->text.s, stage->text.len, false, &pattern, &why);
	if (r == -EINVAL) {
		lp_buf_reset(p->error);
		lp_buf_printf(p->error, "parse error : invalid pattern parser: %s", lp_buf_cstr(&why));
	}
	lp_buf_free(&why);
	if (r < 0)
		lp_parse_fail(p, r);
	stage->compiled = pattern;
}

static void parse_label_format(struct lp_parser *p, struct lp_stage *stage)
{
	for (;;) {
		struct lp_label_format *f;

		stage->formats = lp_parse_grow(p, stage->formats, stage->n_formats, sizeof *f, LP_LOGQL_MAX_MATCHERS, "formats");
		f = &stage->formats[stage->n_formats++];
		memset(f, 0, sizeof *f);
		f->label = lp_parse_take_str(p, LP_TOK_IDENTIFIER, "IDENTIFIER");
		lp_parse_expect(p, LP_TOK_EQ, "=");
		f->rename = p->lx.tok == LP_TOK_IDENTIFIER;
		f->value = f->rename ? p->lx.str : lp_parse_take_str(p, LP_TOK_STRING, "IDENTIFIER or STRING");
		if (f->rename)
			next(p);
		if (p->lx.tok != LP_TOK_COMMA)
			return;
		next(p);
	}
}

static void parse_drops(struct lp_parser *p, struct lp_stage *stage)
{
	for (;;) {
		struct lp_drop_keep *d;

		stage->drops = lp_parse_grow(p, stage->drops, stage->n_drops, sizeof *d, LP_LOGQL_MAX_MATCHERS, "labels");
		d = &stage->drops[stage->n_drops++];
		memset(d, 0, sizeof *d);
		d->label = lp_parse_take_str(p, LP_TOK_IDENTIFIER, "IDENTIFIER");
		if (p->lx.tok == LP_TOK_EQ || p->lx.tok == LP_TOK_NEQ || p->lx.tok == LP_TOK_RE || p->lx.tok == LP_TOK_NRE) {
			d->has_match = true;
			lp_parse_matcher(p, d->label, NULL, 0, &d->match);
		}
		if (p->lx.tok != LP_TOK_COMMA)
			return;
		next(p);
	}
}

/* ---- label filters -------------------------------------------------------------------------------- */

static bool cmp_op(enum lp_token tok, enum lp_cmp_op *ret_op)
{
	switch ((int)tok) {
	case LP_TOK_EQ: case LP_TOK_CMP_EQ: *ret_op = LP_CMP_EQ; return true;
	case LP_TOK_NEQ: *ret_op = LP_CMP_NEQ; return true;
	case LP_TOK_GT: *ret_op = LP_CMP_GT; return true;
	case LP_TOK_GTE: *ret_op = LP_CMP_GTE; return true;
	case LP_TOK_LT: *ret_op = LP_CMP_LT; return true;
	case LP_TOK_LTE: *ret_op = LP_CMP_LTE; return true;
	default: return false;
	}
}

/* The right side of a comparison whose operator has been read. */
static void parse_operand(struct lp_parser *p, enum lp_token op, struct lp_label_filter *f)
{
	bool negative = p->lx.tok == LP_TOK_SUB;

	if (p->lx.tok == LP_TOK_STRING && (op == LP_TOK_EQ || op == LP_TOK_NEQ)) {
		f->kind = LP_FILTER_STRING;
		f->match.op = op == LP_TOK_EQ ? LP_MATCH_EQ : LP_MATCH_NEQ;
		f->match.value = p->lx.str;
		next(p);
	} else if (p->lx.tok == LP_TOK_IP && (op == LP_TOK_EQ || op == LP_TOK_NEQ)) {
		f->kind = LP_FILTER_IP;
		next(p);
		lp_parse_expect(p, LP_TOK_OPEN_PAREN, "(");
		f->match.value = lp_parse_take_str(p, LP_TOK_STRING, "STRING");
		lp_parse_expect(p, LP_TOK_CLOSE_PAREN, ")");
	} else if (p->lx.tok == LP_TOK_DURATION) {
		f->kind = LP_FILTER_DURATION;
		f->number = (double)p->lx.duration_ns / 1e9;
		f->duration_ns = p->lx.duration_ns;
		next(p);
	} else if (p->lx.tok == LP_TOK_BYTES) {
		f->kind = LP_FILTER_BYTES;
		f->number = (double)p->lx.bytes;
		next(p);
	} else if (p->lx.tok == LP_TOK_NUMBER || p->lx.tok == LP_TOK_ADD || negative) {
		f->kind = LP_FILTER_NUMBER;
		if (p->lx.tok != LP_TOK_NUMBER)
			next(p);
		f->number = lp_parse_number(p, "literal");
		if (negative)
			f->number = -f->number;
	} else {
		lp_parse_unexpected(p, NULL);
	}
}

static struct lp_label_filter *parse_condition(struct lp_parser *p)
{
	struct lp_label_filter *f = lp_parse_alloc(p, sizeof *f);
	enum lp_token op;

	f->depth = 1;
	f->match.name = lp_parse_take_str(p, LP_TOK_IDENTIFIER, NULL);
	op = p->lx.tok;
	if (op == LP_TOK_RE || op == LP_TOK_NRE) {
		lp_parse_matcher(p, f->match.name, NULL, LP_REGEX_LINES, &f->match);
		f->kind = LP_FILTER_STRING;
	} else if (cmp_op(op, &f->cmp)) {
		next(p);
		parse_operand(p, op, f);
	} else {
		lp_parse_unexpected(p, NULL);
	}
	return f;
}

static struct lp_label_filter *join(struct lp_parser *p, enum lp_filter_kind kind, struct lp_label_filter *l, struct lp_label_filter *r)
{
	struct lp_label_filter *f = lp_parse_alloc(p, sizeof *f);

	f->kind = kind;
	f->left = l;
	f->right = r;
	f->depth = 1 + (l->depth > r->depth ? l->depth : r->depth);
	if (f->depth > LP_LOGQL_MAX_FILTERS) {
		lp_buf_reset(p->error);
		lp_buf_printf(p->error, "parse error : too many conditions in a label filter (limit %u)", LP_LOGQL_MAX_FILTERS);
		lp_parse_fail(p, -E2BIG);
	}
	return f;
}

static bool begins_condition(enum lp_token tok)
{
	return tok == LP_TOK_IDENTIFIER || tok == LP_TOK_OPEN_PAREN;
}

static struct lp_label_filter *parse_conditions(struct lp_parser *p, unsigned min_prec, unsigned level)
{
	struct lp_label_filter *left, *right;

	/* Printed, each pair stands in parentheses. */
	if (level > 2 * LP_LOGQL_MAX_FILTERS) {
		lp_buf_reset(p->error);
		lp_buf_printf(p->error, "parse error : too many conditions in a label filter (limit %u)", LP_LOGQL_MAX_FILTERS);
		lp_parse_fail(p, -E2BIG);
	}
	if (p->lx.tok == LP_TOK_OPEN_PAREN) {
		next(p);
		if (!begins_condition(p->lx.tok))
			lp_parse_unexpected(p, "IDENTIFIER or (");
		left = parse_conditions(p, 0, level + 1);
		lp_parse_expect(p, LP_TOK_CLOSE_PAREN, NULL);
	} else {
		left = parse_condition(p);
	}
	for (;;) {
		unsigned prec = p->lx.tok == LP_TOK_OR ? 1 : p->lx.tok == LP_TOK_AND ? 2 : 0;
		bool comma = p->lx.tok == LP_TOK_COMMA || begins_condition(p->lx.tok);

		if (comma) {
			if (p->lx.tok == LP_TOK_COMMA)
				next(p);
		} else if (prec && prec >= min_prec) {
			next(p);
		} else {
			return left;
		}
		if (!begins_condition(p->lx.tok))
			lp_parse_unexpected(p, "IDENTIFIER or (");
		right = parse_conditions(p, comma ? 0 : prec + 1, level + 1);
		left = join(p, prec == 1 ? LP_FILTER_OR : LP_FILTER_AND, left, right);
		left->comma = comma;
	}
}

struct lp_label_filter *lp_parse_label_filter(struct lp_parser *p, unsigned min_prec)
{
	return parse_conditions(p, min_prec, 0);
}

/* ---- a stage -------------------------------------------------------------------------------------- */

/* The current token is the one after "|". */
static void parse_piped(struct lp_parser *p, struct lp_stage *stage)
{
	enum lp_token tok = p->lx.tok;

	if (begins_condition(tok)) {
		stage->kind = LP_STAGE_LABEL_FILTER;
		stage->filter = lp_parse_label_filter(p, 0);
		return;
	}
	if (tok < LP_TOK_REGEXP || tok > LP_TOK_KEEP)
		lp_parse_unexpected(p, NULL);
	switch ((int)tok) {
	case LP_TOK_JSON:
		stage->kind = LP_STAGE_JSON;
		next(p);
		parse_extractions(p, stage);
		break;
	case LP_TOK_LOGFMT:
		stage->kind = LP_STAGE_LOGFMT;
		for (next(p); p->lx.tok == LP_TOK_FLAG; next(p)) {
			bool *flag = p->lx.str.s[2] == 's' ? &stage->strict : &stage->keep_empty;

			*flag = true;
		}
		parse_extractions(p, stage);
		break;
	case LP_TOK_REGEXP:
		stage->kind = LP_STAGE_REGEXP;
		next(p);
		parse_regexp(p, stage);
		break;
	case LP_TOK_PATTERN:
		stage->kind = LP_STAGE_PATTERN;
		next(p);
		parse_pattern(p, stage);
		break;
	case LP_TOK_UNPACK:
		stage->kind = LP_STAGE_UNPACK;
		next(p);
		break;
	case LP_TOK_LINE_FORMAT:
		stage->kind = LP_STAGE_LINE_FORMAT;
		next(p);
		stage->text = lp_parse_take_str(p, LP_TOK_STRING, "STRING");
		break;
	case LP_TOK_LABEL_FORMAT:
		stage->kind = LP_STAGE_LABEL_FORMAT;
		next(p);
		parse_label_format(p, stage);
		break;
	case LP_TOK_DECOLORIZE:
		stage->kind = LP_STAGE_DECOLORIZE;
		next(p);
		break;
	case LP_TOK_DROP: case LP_TOK_KEEP:
		stage->kind = tok == LP_TOK_DROP ? LP_STAGE_DROP : LP_STAGE_KEEP;
		next(p);
		parse_drops(p, stage);
		break;
	default:
		lp_parse_unexpected(p, NULL);
	}
}

bool lp_parse_stage(struct lp_parser *p, bool may_unwrap, struct lp_stage **ret)
{
	enum lp_line_op op;
	struct lp_stage *stage;

	if (line_op(p->lx.tok, &op)) {
		stage = lp_parse_alloc(p, sizeof *stage);
		stage->line_op = op;
		parse_line_filter(p, stage);
		*ret = stage;
		return true;
	}
	if (p->lx.tok != LP_TOK_PIPE)
		return false;
	next(p);
	if (may_unwrap && p->lx.tok == LP_TOK_UNWRAP)
		return false;
	stage = lp_parse_alloc(p, sizeof *stage);
	parse_piped(p, stage);
	*ret = stage;
	return true;
}
