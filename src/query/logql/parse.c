/* The LogQL parser: recursive descent over selectors, aggregations and pipelines, precedence climbing over operators.
 *
 *   expr      = primary { binop modifiers expr }          or < and unless < comparisons < + - < * / % < ^ (right)
 *   primary   = selector { stage } | "(" expr ")" | range-op "(" [ number "," ] range ")" [ grouping ]
 *             | vector-op [ grouping ] "(" [ number "," ] expr ")" [ grouping ] | [ "+" | "-" ] number
 *             | "vector" "(" number ")" | "label_replace" "(" expr "," string x 4 ")"
 *   range     = selector { stage } [ unwrap { "|" label-filter } ] "[5m]" [ "offset" duration ]   ("[5m]" may stand first)
 *   stage     see parse-stage.c
 *
 * Guarantees: linear in the text, depth bounded by LP_LOGQL_MAX_NESTING, everything allocated belongs to the query (arena
 * and owned list), so that a failure anywhere frees it all.  Errors carry Loki's words: Loki's parser is LALR(1), and a
 * prefix that cannot be continued is noticed at the same token by both methods; the lists after "expecting" are its states'.
 * Runs in workers on query threads and in tools; if the process dies here nothing is lost. */
#include "query/logql/parse-private.h"

#include "query/logql/units.h"
#include "query/pipeline/template.h"
#include "query/regex.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- tools ---------------------------------------------------------------------------------------- */

void lp_parse_fail(struct lp_parser *p, int err)
{
	p->err = err;
	longjmp(p->out, 1);
}

void lp_parse_refuse(struct lp_parser *p, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	lp_buf_reset(p->error);
	lp_buf_str(p->error, "parse error : ");
	lp_buf_str(p->error, text);
	lp_parse_fail(p, -EINVAL);
}

void lp_parse_unexpected(struct lp_parser *p, const char *expecting)
{
	struct lp_lexer *lx = &p->lx;

	if (lx->no_memory)
		lp_parse_fail(p, -ENOMEM);
	if (lx->tok == LP_TOK_ERROR) {
		/* The lexer has left its text in error; the position goes before it. */
		char *text = strdup(lp_buf_cstr(p->error));

		if (!text)
			lp_parse_fail(p, -ENOMEM);
		lp_buf_reset(p->error);
		lp_buf_printf(p->error, "parse error at line %u, col %u: %s", lx->tok_line, lx->tok_col, text);
		free(text);
		lp_parse_fail(p, -EINVAL);
	}
	lp_buf_reset(p->error);
	lp_buf_printf(p->error, "parse error at line %u, col %u: syntax error: unexpected %s", lx->tok_line, lx->tok_col, lx->name);
	if (expecting)
		lp_buf_printf(p->error, ", expecting %s", expecting);
	lp_parse_fail(p, -EINVAL);
}

void *lp_parse_alloc(struct lp_parser *p, size_t n)
{
	void *mem = lp_arena_zalloc(&p->query->arena, n);

	if (!mem)
		lp_parse_fail(p, -ENOMEM);
	return mem;
}

void *lp_parse_grow(struct lp_parser *p, void *items, uint32_t n, size_t size, uint32_t max, const char *what)
{
	if (n >= max) {
		lp_buf_reset(p->error);
		lp_buf_printf(p->error, "parse error : too many %s (limit %u)", what, max);
		lp_parse_fail(p, -E2BIG);
	}
	if (n && (n & (n - 1)))
		return items;
	void *more = lp_parse_alloc(p, (n ? 2 * (size_t)n : 1) * size);

	if (n)
		memcpy(more, items, n * size);
	return more;
}

void lp_parse_enter(struct lp_parser *p)
{
	if (++p->depth <= LP_LOGQL_MAX_NESTING)
		return;
	lp_buf_reset(p->error);
	lp_buf_printf(p->error, "parse error : query nests too deeply (limit %u)", LP_LOGQL_MAX_NESTING);
	lp_parse_fail(p, -E2BIG);
}

static void next(struct lp_parser *p)
{
	lp_lexer_next(&p->lx);
}

void lp_parse_expect(struct lp_parser *p, enum lp_token tok, const char *expecting)
{
	if (p->lx.tok != tok)
		lp_parse_unexpected(p, expecting);
	next(p);
}

struct lp_str lp_parse_take_str(struct lp_parser *p, enum lp_token tok, const char *expecting)
{
	struct lp_str str = p->lx.str;

	lp_parse_expect(p, tok, expecting);
	return str;
}

struct lp_logql_owned *lp_parse_own(struct lp_parser *p)
{
	struct lp_logql_owned *owned = lp_parse_alloc(p, sizeof *owned);

	owned->next = p->query->owned;
	p->query->owned = owned;
	return owned;
}

struct lp_regex *lp_parse_regex(struct lp_parser *p, struct lp_str text, unsigned flags, const char *prefix)
{
	struct lp_logql_owned *owned = lp_parse_own(p);
	struct lp_buf why = { .max = 1 << 20 };
	int r = lp_regex_compile(text.s, text.len, flags, &owned->re, &why);

	if (r == -EINVAL || r == -E2BIG) {
		lp_buf_reset(p->error);
		lp_buf_printf(p->error, "parse error : %s", prefix);
		lp_buf_append(p->error, why.data, why.len);
	}
	lp_buf_free(&why);
	if (r < 0)
		lp_parse_fail(p, r == -E2BIG ? -EINVAL : r);
	return owned->re;
}

double lp_parse_number(struct lp_parser *p, const char *what)
{
	struct lp_str text = p->lx.str;
	double v = 0;
	int r;

	if (p->lx.tok != LP_TOK_NUMBER)
		lp_parse_unexpected(p, "NUMBER");
	r = lp_units_float(text.s, text.len, &v);
	if (r < 0) {
		lp_buf_reset(p->error);
		lp_buf_printf(p->error, "parse error : unable to parse %s as a float: strconv.ParseFloat: parsing ", what);
		lp_units_print_quoted(p->error, text.s, text.len);
		lp_buf_str(p->error, r == -ERANGE ? ": value out of range" : ": invalid syntax");
		lp_parse_fail(p, -EINVAL);
	}
	next(p);
	return v;
}

/* ---- selectors ------------------------------------------------------------------------------------ */

void lp_parse_matcher(struct lp_parser *p, struct lp_str name, const char *expecting, unsigned flags, struct lp_matcher *ret)
{
	memset(ret, 0, sizeof *ret);
	ret->name = name;
	switch ((int)p->lx.tok) {
	case LP_TOK_EQ: ret->op = LP_MATCH_EQ; break;
	case LP_TOK_NEQ: ret->op = LP_MATCH_NEQ; break;
	case LP_TOK_RE: ret->op = LP_MATCH_RE; break;
	case LP_TOK_NRE: ret->op = LP_MATCH_NRE; break;
	default: lp_parse_unexpected(p, expecting);
	}
	next(p);
	ret->value = lp_parse_take_str(p, LP_TOK_STRING, "STRING");
	if (ret->op == LP_MATCH_RE || ret->op == LP_MATCH_NRE)
		ret->re = lp_parse_regex(p, ret->value, LP_REGEX_ANCHORED | flags, "");
}

static void parse_selector(struct lp_parser *p, struct lp_log_expr *log)
{
	lp_parse_expect(p, LP_TOK_OPEN_BRACE, NULL);
	while (p->lx.tok != LP_TOK_CLOSE_BRACE) {
		struct lp_str name = lp_parse_take_str(p, LP_TOK_IDENTIFIER, log->n_matchers ? "IDENTIFIER" : "IDENTIFIER or }");

		log->matchers = lp_parse_grow(p, log->matchers, log->n_matchers, sizeof *log->matchers, LP_LOGQL_MAX_MATCHERS, "matchers");
		lp_parse_matcher(p, name, "= or =~ or !~ or !=", 0, &log->matchers[log->n_matchers]);
		log->n_matchers++;
		if (p->lx.tok == LP_TOK_CLOSE_BRACE)
			break;
		lp_parse_expect(p, LP_TOK_COMMA, "} or ,");
		if (p->lx.tok == LP_TOK_CLOSE_BRACE)
			lp_parse_unexpected(p, "IDENTIFIER");
	}
	next(p);
}

static bool is_selector(enum lp_token tok)
{
	return tok == LP_TOK_OPEN_BRACE;
}

/* Append the stages that follow. */
static void parse_stages(struct lp_parser *p, bool may_unwrap, struct lp_stage **list)
{
	struct lp_stage **end = list;
	unsigned n = 0;

	while (*end) {
		end = &(*end)->next;
		n++;
	}
	while (lp_parse_stage(p, may_unwrap, end)) {
		end = &(*end)->next;
		if (++n > LP_LOGQL_MAX_STAGES) {
			lp_buf_reset(p->error);
			lp_buf_printf(p->error, "parse error : too many stages (limit %u)", LP_LOGQL_MAX_STAGES);
			lp_parse_fail(p, -E2BIG);
		}
	}
}

/* ---- lists ---------------------------------------------------------------------------------------- */

static void parse_names(struct lp_parser *p, struct lp_str **ret_names, uint32_t *ret_n)
{
	struct lp_str *names = NULL;
	uint32_t n = 0;

	lp_parse_expect(p, LP_TOK_OPEN_PAREN, "(");
	while (p->lx.tok != LP_TOK_CLOSE_PAREN) {
		names = lp_parse_grow(p, names, n, sizeof *names, LP_LOGQL_MAX_MATCHERS, "label names");
		names[n] = lp_parse_take_str(p, LP_TOK_IDENTIFIER, n ? "IDENTIFIER" : "IDENTIFIER or )");
		n++;
		if (p->lx.tok == LP_TOK_CLOSE_PAREN)
			break;
		lp_parse_expect(p, LP_TOK_COMMA, ", or )");
		if (p->lx.tok != LP_TOK_IDENTIFIER)
			lp_parse_unexpected(p, "IDENTIFIER");
	}
	next(p);
	*ret_names = names;
	*ret_n = n;
}

static bool parse_grouping(struct lp_parser *p, struct lp_grouping *grouping)
{
	if (p->lx.tok != LP_TOK_BY && p->lx.tok != LP_TOK_WITHOUT)
		return false;
	if (grouping->present)
		lp_parse_unexpected(p, NULL);
	grouping->present = true;
	grouping->without = p->lx.tok == LP_TOK_WITHOUT;
	next(p);
	parse_names(p, &grouping->labels, &grouping->n_labels);
	return true;
}

/* ---- range aggregations --------------------------------------------------------------------------- */

/* The current token is unwrap. */
static void parse_unwrap(struct lp_parser *p, struct lp_range_agg *range)
{
	struct lp_stage **end = &range->post_filters;

	next(p);
	range->has_unwrap = true;
	if (p->lx.tok == LP_TOK_CONV_OP) {
		range->unwrap_conv = (enum lp_unwrap_conv)p->lx.op;
		next(p);
		lp_parse_expect(p, LP_TOK_OPEN_PAREN, "(");
		range->unwrap_label = lp_parse_take_str(p, LP_TOK_IDENTIFIER, "IDENTIFIER");
		lp_parse_expect(p, LP_TOK_CLOSE_PAREN, ")");
	} else {
		range->unwrap_label = lp_parse_take_str(p, LP_TOK_IDENTIFIER, NULL);
	}
	for (unsigned n = 0; p->lx.tok == LP_TOK_PIPE; n++) {
		next(p);
		if ((p->lx.tok != LP_TOK_IDENTIFIER && p->lx.tok != LP_TOK_OPEN_PAREN) || n == LP_LOGQL_MAX_STAGES)
			lp_parse_unexpected(p, "IDENTIFIER or (");
		*end = lp_parse_alloc(p, sizeof **end);
		(*end)->kind = LP_STAGE_LABEL_FILTER;
		(*end)->filter = lp_parse_label_filter(p, 0);
		end = &(*end)->next;
	}
}

static void parse_window(struct lp_parser *p, struct lp_range_agg *range)
{
	range->range_ns = p->lx.duration_ns;
	next(p);
	if (p->lx.tok != LP_TOK_OFFSET)
		return;
	next(p);
	range->offset_ns = p->lx.duration_ns;
	lp_parse_expect(p, LP_TOK_DURATION, "DURATION");
}

/* A log range; have_window says whether "[5m]" has been read, possibly inside parentheses. */
static void parse_log_range(struct lp_parser *p, struct lp_range_agg *range, bool *have_window)
{
	bool inner_window = false;

	lp_parse_enter(p);
	if (p->lx.tok == LP_TOK_OPEN_PAREN) {
		next(p);
		parse_log_range(p, range, have_window);
		lp_parse_expect(p, LP_TOK_CLOSE_PAREN, *have_window ? ")" : NULL);
		inner_window = *have_window;
	} else {
		if (!is_selector(p->lx.tok))
			lp_parse_unexpected(p, NULL);
		parse_selector(p, &range->log);
	}
	if (!inner_window) {
		bool piped;

		if (!range->has_unwrap)
			parse_stages(p, true, &range->log.stages);
		if (p->lx.tok == LP_TOK_UNWRAP)
			parse_unwrap(p, range);
		piped = range->log.stages || range->has_unwrap;
		if (p->lx.tok == LP_TOK_RANGE) {
			range->range_last = piped;
			parse_window(p, range);
			*have_window = true;
			if (!piped) {
				parse_stages(p, true, &range->log.stages);
				if (p->lx.tok == LP_TOK_UNWRAP)
					parse_unwrap(p, range);
			}
		}
	}
	p->depth--;
}

static const char *const range_names[] = {
	[LP_RANGE_COUNT] = "count_over_time", [LP_RANGE_RATE] = "rate", [LP_RANGE_RATE_COUNTER] = "rate_counter",
	[LP_RANGE_BYTES] = "bytes_over_time", [LP_RANGE_BYTES_RATE] = "bytes_rate", [LP_RANGE_SUM] = "sum_over_time",
	[LP_RANGE_AVG] = "avg_over_time", [LP_RANGE_MIN] = "min_over_time", [LP_RANGE_MAX] = "max_over_time",
	[LP_RANGE_STDDEV] = "stddev_over_time", [LP_RANGE_STDVAR] = "stdvar_over_time", [LP_RANGE_QUANTILE] = "quantile_over_time",
	[LP_RANGE_FIRST] = "first_over_time", [LP_RANGE_LAST] = "last_over_time", [LP_RANGE_ABSENT] = "absent_over_time",
};

const char *lp_logql_range_name(enum lp_range_op op)
{
	return range_names[op];
}

static void check_range(struct lp_parser *p, const struct lp_range_agg *range)
{
	const char *name = range_names[range->op];
	bool counts = range->op == LP_RANGE_COUNT || range->op == LP_RANGE_BYTES || range->op == LP_RANGE_BYTES_RATE;

	if (range->grouping.present)
		switch (range->op) {
		case LP_RANGE_AVG: case LP_RANGE_MIN: case LP_RANGE_MAX: case LP_RANGE_STDDEV: case LP_RANGE_STDVAR: case LP_RANGE_QUANTILE:
		case LP_RANGE_FIRST: case LP_RANGE_LAST:
			break;
		default:
			lp_parse_refuse(p, "grouping not allowed for %s aggregation", name);
		}
	if (range->has_unwrap && counts)
		lp_parse_refuse(p, "invalid aggregation %s with unwrap", name);
	if (!range->has_unwrap && !counts && range->op != LP_RANGE_RATE && range->op != LP_RANGE_ABSENT)
		lp_parse_refuse(p, "invalid aggregation %s without unwrap", name);
}

static struct lp_expr *new_expr(struct lp_parser *p, enum lp_expr_kind kind)
{
	struct lp_expr *expr = lp_parse_alloc(p, sizeof *expr);

	expr->kind = kind;
	expr->depth = 1;
	return expr;
}

static struct lp_expr *parse_range_agg(struct lp_parser *p)
{
	struct lp_expr *expr = new_expr(p, LP_EXPR_RANGE_AGG);
	struct lp_range_agg *range = lp_parse_alloc(p, sizeof *range);
	struct lp_str number = { 0 };
	bool have_window = false;

	expr->range = range;
	range->op = (enum lp_range_op)p->lx.op;
	next(p);
	lp_parse_expect(p, LP_TOK_OPEN_PAREN, "(");
	if (p->lx.tok == LP_TOK_NUMBER) {
		number = p->lx.str;
		next(p);
		lp_parse_expect(p, LP_TOK_COMMA, ",");
	}
	parse_log_range(p, range, &have_window);
	if (!have_window)
		lp_parse_unexpected(p, range->has_unwrap ? "RANGE or |" : NULL);
	lp_parse_expect(p, LP_TOK_CLOSE_PAREN, ")");
	parse_grouping(p, &range->grouping);
	if (number.s && range->op != LP_RANGE_QUANTILE)
		lp_parse_refuse(p, "parameter %s not supported for operation %s", number.s, range_names[range->op]);
	if (!number.s && range->op == LP_RANGE_QUANTILE)
		lp_parse_refuse(p, "parameter required for operation %s", range_names[range->op]);
	if (number.s && lp_units_float(number.s, number.len, &range->param) < 0)
		lp_parse_refuse(p, "invalid parameter for operation %s: strconv.ParseFloat: parsing \"%s\": invalid syntax", range_names[range->op], number.s);
	check_range(p, range);
	return expr;
}

/* ---- vector aggregations and functions ------------------------------------------------------------ */

static struct lp_expr *parse_expr(struct lp_parser *p, unsigned min_prec);

static void enter_node(struct lp_parser *p, struct lp_expr *expr, const struct lp_expr *a, const struct lp_expr *b)
{
	uint32_t below = a->depth;

	if (b && b->depth > below)
		below = b->depth;
	expr->depth = below + 1;
	if (expr->depth > LP_LOGQL_MAX_DEPTH) {
		lp_buf_reset(p->error);
		lp_buf_printf(p->error, "parse error : query nests too deeply (limit %u)", LP_LOGQL_MAX_DEPTH);
		lp_parse_fail(p, -E2BIG);
	}
}

/* An expression that must be a metric; what follows a log expression here can only be wrong. */
static struct lp_expr *parse_metric(struct lp_parser *p)
{
	struct lp_expr *expr = parse_expr(p, 0);

	if (expr->kind == LP_EXPR_LOG)
		lp_parse_unexpected(p, NULL);
	return expr;
}

static const char *const vector_names[] = {
	[LP_VECTOR_SUM] = "sum", [LP_VECTOR_AVG] = "avg", [LP_VECTOR_MIN] = "min", [LP_VECTOR_MAX] = "max", [LP_VECTOR_COUNT] = "count",
	[LP_VECTOR_STDDEV] = "stddev", [LP_VECTOR_STDVAR] = "stdvar", [LP_VECTOR_TOPK] = "topk", [LP_VECTOR_BOTTOMK] = "bottomk",
	[LP_VECTOR_APPROX_TOPK] = "approx_topk", [LP_VECTOR_SORT] = "sort", [LP_VECTOR_SORT_DESC] = "sort_desc",
};

const char *lp_logql_vector_name(enum lp_vector_op op)
{
	return vector_names[op];
}

static void check_vector(struct lp_parser *p, struct lp_expr *expr, const char *number)
{
	const char *name = vector_names[expr->vector_op];
	char *end;
	bool takes_k = expr->vector_op == LP_VECTOR_TOPK || expr->vector_op == LP_VECTOR_BOTTOMK || expr->vector_op == LP_VECTOR_APPROX_TOPK;

	if (takes_k && !number)
		lp_parse_refuse(p, "parameter required for operation %s", name);
	if (!takes_k && number)
		lp_parse_refuse(p, "unsupported parameter for operation %s(%s,", name, number);
	if (takes_k) {
		errno = 0;
		expr->param = strtoull(number, &end, 10);
		if (*end || errno || expr->param > INT64_MAX)
			lp_parse_refuse(p, "invalid parameter %s(%s,", name, number);
		if (!expr->param)
			lp_parse_refuse(p, "invalid parameter (must be greater than 0) %s(%s", name, number);
	}
	if (expr->grouping.present && (expr->vector_op == LP_VECTOR_SORT || expr->vector_op == LP_VECTOR_SORT_DESC))
		lp_parse_refuse(p, "sort and sort_desc doesn't allow grouping by ");
	if (expr->grouping.present && expr->vector_op == LP_VECTOR_APPROX_TOPK)
		lp_parse_refuse(p, "grouping not allowed for approx_topk aggregation");
}

/* A number and a comma: the parameter of an aggregation.  The number alone would be an expression. */
static const char *parse_parameter(struct lp_parser *p)
{
	struct lp_lexer before = p->lx;

	if (p->lx.tok != LP_TOK_NUMBER)
		return NULL;
	next(p);
	if (p->lx.tok == LP_TOK_COMMA) {
		next(p);
		return before.str.s;
	}
	lp_buf_reset(p->error);
	p->lx = before;
	return NULL;
}

static struct lp_expr *parse_vector_agg(struct lp_parser *p)
{
	struct lp_expr *expr = new_expr(p, LP_EXPR_VECTOR_AGG);
	const char *number;

	expr->vector_op = (enum lp_vector_op)p->lx.op;
	next(p);
	parse_grouping(p, &expr->grouping);
	lp_parse_expect(p, LP_TOK_OPEN_PAREN, "(");
	number = parse_parameter(p);
	expr->inner = parse_metric(p);
	lp_parse_expect(p, LP_TOK_CLOSE_PAREN, NULL);
	if (!expr->grouping.present)
		parse_grouping(p, &expr->grouping);
	enter_node(p, expr, expr->inner, NULL);
	check_vector(p, expr, number);
	return expr;
}

static struct lp_expr *parse_label_replace(struct lp_parser *p)
{
	struct lp_expr *expr = new_expr(p, LP_EXPR_LABEL_REPLACE);
	struct lp_str *parts[] = { &expr->dst, &expr->replacement, &expr->src, &expr->regex_text };

	next(p);
	lp_parse_expect(p, LP_TOK_OPEN_PAREN, "(");
	expr->inner = parse_metric(p);
	for (unsigned i = 0; i < 4; i++) {
		lp_parse_expect(p, LP_TOK_COMMA, i ? "," : NULL);
		*parts[i] = lp_parse_take_str(p, LP_TOK_STRING, "STRING");
	}
	lp_parse_expect(p, LP_TOK_CLOSE_PAREN, ")");
	enter_node(p, expr, expr->inner, NULL);
	expr->regex = lp_parse_regex(p, expr->regex_text, LP_REGEX_ANCHORED, "invalid regex in label_replace: ");
	return expr;
}

static struct lp_expr *parse_literal(struct lp_parser *p)
{
	struct lp_expr *expr = new_expr(p, LP_EXPR_LITERAL);
	bool negative = p->lx.tok == LP_TOK_SUB;

	if (negative || p->lx.tok == LP_TOK_ADD)
		next(p);
	expr->number = lp_parse_number(p, "literal");
	if (negative)
		expr->number = -expr->number;
	return expr;
}

static struct lp_expr *parse_vector(struct lp_parser *p)
{
	struct lp_expr *expr = new_expr(p, LP_EXPR_VECTOR);

	next(p);
	lp_parse_expect(p, LP_TOK_OPEN_PAREN, "(");
	expr->number = lp_parse_number(p, "vectorExpr");
	lp_parse_expect(p, LP_TOK_CLOSE_PAREN, ")");
	return expr;
}

/* ---- operators ------------------------------------------------------------------------------------ */

static const struct {
	enum lp_token tok;
	enum lp_bin_op op;
	unsigned prec;
	const char *text;
} bin_ops[] = {
	{ LP_TOK_OR, LP_BIN_OR, 1, "or" }, { LP_TOK_AND, LP_BIN_AND, 2, "and" }, { LP_TOK_UNLESS, LP_BIN_UNLESS, 2, "unless" },
	{ LP_TOK_CMP_EQ, LP_BIN_EQ, 3, "==" }, { LP_TOK_NEQ, LP_BIN_NEQ, 3, "!=" }, { LP_TOK_GT, LP_BIN_GT, 3, ">" },
	{ LP_TOK_GTE, LP_BIN_GTE, 3, ">=" }, { LP_TOK_LT, LP_BIN_LT, 3, "<" }, { LP_TOK_LTE, LP_BIN_LTE, 3, "<=" },
	{ LP_TOK_ADD, LP_BIN_ADD, 4, "+" }, { LP_TOK_SUB, LP_BIN_SUB, 4, "-" }, { LP_TOK_MUL, LP_BIN_MUL, 5, "*" },
	{ LP_TOK_DIV, LP_BIN_DIV, 5, "/" }, { LP_TOK_MOD, LP_BIN_MOD, 5, "%" }, { LP_TOK_POW, LP_BIN_POW, 6, "^" },
};

const char *lp_logql_bin_name(enum lp_bin_op op)
{
	for (unsigned i = 0; i < sizeof bin_ops / sizeof bin_ops[0]; i++)
		if (bin_ops[i].op == op)
			return bin_ops[i].text;
	return "";
}

static void parse_modifiers(struct lp_parser *p, struct lp_expr *expr)
{
	if (p->lx.tok == LP_TOK_BOOL) {
		expr->return_bool = true;
		next(p);
	}
	if (p->lx.tok != LP_TOK_ON && p->lx.tok != LP_TOK_IGNORING)
		return;
	expr->has_matching = true;
	expr->matching_on = p->lx.tok == LP_TOK_ON;
	next(p);
	parse_names(p, &expr->matching_labels, &expr->n_matching_labels);
	if (p->lx.tok != LP_TOK_GROUP_LEFT && p->lx.tok != LP_TOK_GROUP_RIGHT)
		return;
	expr->card = p->lx.tok == LP_TOK_GROUP_LEFT ? LP_CARD_MANY_TO_ONE : LP_CARD_ONE_TO_MANY;
	next(p);
	/* A parenthesis may also begin the right side: a list of names is one only if it is closed as one. */
	if (p->lx.tok == LP_TOK_OPEN_PAREN) {
		struct lp_lexer before = p->lx;

		next(p);
		bool list = p->lx.tok == LP_TOK_IDENTIFIER || p->lx.tok == LP_TOK_CLOSE_PAREN;

		lp_buf_reset(p->error);
		p->lx = before;
		if (list)
			parse_names(p, &expr->include, &expr->n_include);
	}
}

static double fold(enum lp_bin_op op, double a, double b)
{
	switch (op) {
	case LP_BIN_ADD: return a + b;
	case LP_BIN_SUB: return a - b;
	case LP_BIN_MUL: return a * b;
	case LP_BIN_DIV: return b == 0 ? NAN : a / b;
	case LP_BIN_MOD: return b == 0 ? NAN : fmod(a, b);
	case LP_BIN_POW: return pow(a, b);
	case LP_BIN_EQ: return a == b;
	case LP_BIN_NEQ: return a != b;
	case LP_BIN_GT: return a > b;
	case LP_BIN_GTE: return a >= b;
	case LP_BIN_LT: return a < b;
	default: return a <= b;
	}
}

static const char *type_name(const struct lp_expr *expr)
{
	return expr->log.stages ? "*syntax.PipelineExpr" : "*syntax.MatchersExpr";
}

static struct lp_expr *finish_binary(struct lp_parser *p, struct lp_expr *expr, const char *op)
{
	struct lp_expr *l = expr->left, *r = expr->right;

	if (l->kind == LP_EXPR_LOG)
		lp_parse_refuse(p, "unexpected type for left leg of binary operation (%s): %s", op, type_name(l));
	if (r->kind == LP_EXPR_LOG)
		lp_parse_refuse(p, "unexpected type for right leg of binary operation (%s): %s", op, type_name(r));
	if (expr->bin_op == LP_BIN_AND || expr->bin_op == LP_BIN_OR || expr->bin_op == LP_BIN_UNLESS) {
		if (l->kind == LP_EXPR_LITERAL)
			lp_parse_refuse(p, "unexpected literal for left leg of logical/set binary operation (%s): %f", op, l->number);
		if (r->kind == LP_EXPR_LITERAL)
			lp_parse_refuse(p, "unexpected literal for right leg of logical/set binary operation (%s): %f", op, r->number);
	}
	if (l->kind == LP_EXPR_LITERAL && r->kind == LP_EXPR_LITERAL) {
		struct lp_expr *literal = new_expr(p, LP_EXPR_LITERAL);

		literal->number = fold(expr->bin_op, l->number, r->number);
		return literal;
	}
	enter_node(p, expr, l, r);
	return expr;
}

static struct lp_expr *parse_primary(struct lp_parser *p)
{
	struct lp_expr *expr;

	switch ((int)p->lx.tok) {
	case LP_TOK_OPEN_BRACE:
		expr = new_expr(p, LP_EXPR_LOG);
		parse_selector(p, &expr->log);
		parse_stages(p, false, &expr->log.stages);
		return expr;
	case LP_TOK_OPEN_PAREN:
		next(p);
		expr = parse_expr(p, 0);
		lp_parse_expect(p, LP_TOK_CLOSE_PAREN, NULL);
		expr->parenthesised = true;
		return expr;
	case LP_TOK_RANGE_OP: return parse_range_agg(p);
	case LP_TOK_VECTOR_OP: return parse_vector_agg(p);
	case LP_TOK_LABEL_REPLACE: return parse_label_replace(p);
	case LP_TOK_VECTOR: return parse_vector(p);
	case LP_TOK_NUMBER: case LP_TOK_ADD: case LP_TOK_SUB: return parse_literal(p);
	default: lp_parse_unexpected(p, NULL);
	}
}

static struct lp_expr *parse_expr(struct lp_parser *p, unsigned min_prec)
{
	struct lp_expr *left;

	lp_parse_enter(p);
	left = parse_primary(p);
	for (;;) {
		unsigned i = 0;

		while (i < sizeof bin_ops / sizeof bin_ops[0] && bin_ops[i].tok != p->lx.tok)
			i++;
		if (i == sizeof bin_ops / sizeof bin_ops[0] || bin_ops[i].prec < min_prec)
			break;
		struct lp_expr *expr = new_expr(p, LP_EXPR_BINARY);

		expr->bin_op = bin_ops[i].op;
		next(p);
		parse_modifiers(p, expr);
		expr->left = left;
		expr->right = parse_expr(p, bin_ops[i].prec + (bin_ops[i].op != LP_BIN_POW));
		left = finish_binary(p, expr, bin_ops[i].text);
	}
	p->depth--;
	return left;
}

/* ---- entry ---------------------------------------------------------------------------------------- */

static int parse(const char *text, size_t len, bool selector_only, bool allow_empty, struct lp_logql **ret_query, struct lp_buf *error)
{
	struct lp_parser *p;
	struct lp_logql *query;
	int r;

	lp_buf_reset(error);
	if (len > LP_LOGQL_MAX_TEXT) {
		lp_buf_printf(error, "parse error : input size too long (%zu > %u)", len, LP_LOGQL_MAX_TEXT);
		return -E2BIG;
	}
	p = calloc(1, sizeof *p);
	query = calloc(1, sizeof *query);
	if (!p || !query) {
		free(p);
		free(query);
		return -ENOMEM;
	}
	query->arena.max_bytes = 64u << 20;
	p->query = query;
	p->error = error;
	lp_lexer_init(&p->lx, text ? text : "", len, &query->arena, error);
	if (!setjmp(p->out)) {
		next(p);
		if (p->lx.tok == LP_TOK_END) {
			lp_buf_str(error, "parse error : syntax error: unexpected $end");
			lp_parse_fail(p, -EINVAL);
		}
		p->query->root = parse_expr(p, 0);
		if (p->lx.tok != LP_TOK_END)
			lp_parse_unexpected(p, NULL);
		if (selector_only && (p->query->root->kind != LP_EXPR_LOG || p->query->root->log.stages)) {
			lp_buf_str(error, "only label matchers are supported");
			lp_parse_fail(p, -EINVAL);
		}
		lp_parse_check(p, p->query->root, allow_empty);
	}
	r = p->err;
	query = p->query;
	free(p);
	if (r < 0) {
		lp_logql_free(&query);
		return r;
	}
	*ret_query = query;
	return 0;
}

int lp_logql_parse(const char *text, size_t len, struct lp_logql **ret_query, struct lp_buf *error)
{
	return parse(text, len, false, false, ret_query, error);
}

int lp_logql_parse_selector(const char *text, size_t len, bool allow_empty, struct lp_logql **ret_query, struct lp_buf *error)
{
	return parse(text, len, true, allow_empty, ret_query, error);
}

void lp_logql_free(struct lp_logql **query)
{
	if (!query || !*query)
		return;
	for (struct lp_logql_owned *owned = (*query)->owned; owned; owned = owned->next) {
		lp_regex_free(&owned->re);
		lp_template_free(&owned->tmpl);
	}
	lp_arena_free(&(*query)->arena);
	free(*query);
	*query = NULL;
}

bool lp_matcher_match(const struct lp_matcher *m, const char *value, size_t len)
{
	switch (m->op) {
	case LP_MATCH_EQ: return len == m->value.len && !memcmp(value, m->value.s, len);
	case LP_MATCH_NEQ: return len != m->value.len || memcmp(value, m->value.s, len);
	case LP_MATCH_RE: return lp_regex_match(m->re, value, len);
	default: return !lp_regex_match(m->re, value, len);
	}
}
