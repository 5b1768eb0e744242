/* LogQL: the checked syntax tree.  Made by lp_logql_parse(), lives in one arena, immutable afterwards, so that
 * many threads may evaluate it.  The language is Loki's (feature reference section 3); the grammar stands in parse.c. */
#ifndef LP_QUERY_LOGQL_AST_H
#define LP_QUERY_LOGQL_AST_H

#include "common/arena.h"
#include "common/buf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct lp_str {
	const char *s;          /* NUL-terminated as well; may contain NULs before len */
	uint32_t len;
};

struct lp_regex;                /* query/regex.h: compiled at parse time */
struct lp_template;             /* query/pipeline: compiled line_format/label_format template */

enum lp_match_op { LP_MATCH_EQ, LP_MATCH_NEQ, LP_MATCH_RE, LP_MATCH_NRE };

struct lp_matcher {
	struct lp_str name, value;
	enum lp_match_op op;
	struct lp_regex *re;    /* anchored; NULL unless RE/NRE */
};

enum lp_line_op { LP_LINE_CONTAINS, LP_LINE_NOT_CONTAINS, LP_LINE_RE, LP_LINE_NOT_RE, LP_LINE_PATTERN, LP_LINE_NOT_PATTERN };

struct lp_line_match {          /* one alternative of `|= "a" or "b"` */
	bool is_ip;             /* ip("...") */
	struct lp_str text;
	struct lp_regex *re;    /* unanchored; NULL unless RE/NOT_RE */
	void *compiled;         /* ip matcher or line pattern, set by the pipeline compiler */
};

enum lp_stage_kind {
	LP_STAGE_LINE_FILTER, LP_STAGE_JSON, LP_STAGE_LOGFMT, LP_STAGE_REGEXP, LP_STAGE_PATTERN, LP_STAGE_UNPACK,
	LP_STAGE_LABEL_FILTER, LP_STAGE_LINE_FORMAT, LP_STAGE_LABEL_FORMAT, LP_STAGE_DECOLORIZE, LP_STAGE_DROP, LP_STAGE_KEEP
};

enum lp_cmp_op { LP_CMP_EQ, LP_CMP_NEQ, LP_CMP_GT, LP_CMP_GTE, LP_CMP_LT, LP_CMP_LTE };

enum lp_filter_kind { LP_FILTER_AND, LP_FILTER_OR, LP_FILTER_STRING, LP_FILTER_NUMBER, LP_FILTER_DURATION, LP_FILTER_BYTES, LP_FILTER_IP };

struct lp_label_filter {
	enum lp_filter_kind kind;
	struct lp_label_filter *left, *right;   /* AND, OR */
	bool comma;                             /* AND written as "," or blank: printing */
	struct lp_matcher match;                /* STRING; name for all; value text as written for the others */
	enum lp_cmp_op cmp;                     /* NUMBER, DURATION, BYTES; EQ/NEQ for IP */
	double number;                          /* NUMBER; DURATION in seconds; BYTES */
	int64_t duration_ns;                    /* DURATION, exactly */
	uint32_t depth;                         /* of this tree, at most LP_LOGQL_MAX_FILTERS */
	void *compiled;                         /* IP; STRING: see pipeline/loose.h */
};

struct lp_extraction {          /* json a="x.y[0]", logfmt a="b" */
	struct lp_str label, expr;
	void *path;             /* json: compiled path */
};

struct lp_label_format {
	struct lp_str label;
	bool rename;            /* label=source; else template */
	struct lp_str value;
	struct lp_template *tmpl;
};

struct lp_drop_keep {
	struct lp_str label;
	bool has_match;
	struct lp_matcher match;
};

struct lp_stage {
	enum lp_stage_kind kind;
	struct lp_stage *next;
	/* LINE_FILTER: any alternative matches (for NOT_*: none may) */
	enum lp_line_op line_op;
	struct lp_line_match *line_matches;
	uint32_t n_line_matches;
	/* JSON, LOGFMT */
	struct lp_extraction *extractions;
	uint32_t n_extractions;
	bool strict, keep_empty;
	/* REGEXP, PATTERN, LINE_FORMAT: text as written */
	struct lp_str text;
	struct lp_regex *re;            /* REGEXP */
	void *compiled;                 /* PATTERN */
	struct lp_template *tmpl;       /* LINE_FORMAT */
	struct lp_label_filter *filter; /* LABEL_FILTER */
	struct lp_label_format *formats;
	uint32_t n_formats;
	struct lp_drop_keep *drops;
	uint32_t n_drops;
};

struct lp_log_expr {
	struct lp_matcher *matchers;
	uint32_t n_matchers;
	struct lp_stage *stages;        /* NULL: none */
};

enum lp_range_op {
	LP_RANGE_COUNT, LP_RANGE_RATE, LP_RANGE_RATE_COUNTER, LP_RANGE_BYTES, LP_RANGE_BYTES_RATE, LP_RANGE_SUM, LP_RANGE_AVG,
	LP_RANGE_MIN, LP_RANGE_MAX, LP_RANGE_STDDEV, LP_RANGE_STDVAR, LP_RANGE_QUANTILE, LP_RANGE_FIRST, LP_RANGE_LAST, LP_RANGE_ABSENT
};

enum lp_unwrap_conv { LP_UNWRAP_NONE, LP_UNWRAP_DURATION, LP_UNWRAP_DURATION_SECONDS, LP_UNWRAP_BYTES };

struct lp_grouping {
	bool present, without;
	struct lp_str *labels;
	uint32_t n_labels;
};

struct lp_range_agg {
	enum lp_range_op op;
	struct lp_log_expr log;
	bool has_unwrap;
	struct lp_str unwrap_label;
	enum lp_unwrap_conv unwrap_conv;
	struct lp_stage *post_filters;  /* label filters after unwrap */
	int64_t range_ns, offset_ns;
	bool range_last;                /* [5m] stood after the pipeline: printing */
	double param;                   /* quantile */
	struct lp_grouping grouping;
};

enum lp_vector_op {
	LP_VECTOR_SUM, LP_VECTOR_AVG, LP_VECTOR_MIN, LP_VECTOR_MAX, LP_VECTOR_COUNT, LP_VECTOR_STDDEV, LP_VECTOR_STDVAR,
	LP_VECTOR_TOPK, LP_VECTOR_BOTTOMK, LP_VECTOR_APPROX_TOPK, LP_VECTOR_SORT, LP_VECTOR_SORT_DESC
};

enum lp_bin_op {
	LP_BIN_ADD, LP_BIN_SUB, LP_BIN_MUL, LP_BIN_DIV, LP_BIN_MOD, LP_BIN_POW, LP_BIN_EQ, LP_BIN_NEQ, LP_BIN_GT, LP_BIN_GTE,
	LP_BIN_LT, LP_BIN_LTE, LP_BIN_AND, LP_BIN_OR, LP_BIN_UNLESS
};

enum lp_match_card { LP_CARD_ONE_TO_ONE, LP_CARD_MANY_TO_ONE, LP_CARD_ONE_TO_MANY };

enum lp_expr_kind { LP_EXPR_LOG, LP_EXPR_RANGE_AGG, LP_EXPR_VECTOR_AGG, LP_EXPR_BINARY, LP_EXPR_LITERAL, LP_EXPR_VECTOR, LP_EXPR_LABEL_REPLACE,
		    LP_EXPR_CONCAT };   /* not of the parser: metric/split.c */

struct lp_expr {
	enum lp_expr_kind kind;
	struct lp_log_expr log;                 /* LOG */
	struct lp_range_agg *range;             /* RANGE_AGG */
	/* VECTOR_AGG */
	enum lp_vector_op vector_op;
	uint64_t param;                         /* k of topk, bottomk, approx_topk */
	struct lp_grouping grouping;
	struct lp_expr *inner;                  /* VECTOR_AGG, LABEL_REPLACE */
	/* BINARY */
	enum lp_bin_op bin_op;
	struct lp_expr *left, *right;
	bool return_bool;
	bool has_matching, matching_on;         /* on(...) or ignoring(...) */
	struct lp_str *matching_labels;
	uint32_t n_matching_labels;
	enum lp_match_card card;
	struct lp_str *include;                 /* group_left(...) */
	uint32_t n_include;
	/* LITERAL, VECTOR(number) */
	double number;
	/* LABEL_REPLACE */
	struct lp_str dst, replacement, src, regex_text;
	struct lp_regex *regex;                 /* anchored */
	struct lp_expr **parts;                 /* CONCAT: the rows of all */
	uint32_t n_parts;
	bool parenthesised;                     /* printing */
	uint32_t depth;                         /* of this tree, at most LP_LOGQL_MAX_DEPTH */
};

struct lp_logql_owned;          /* what the arena does not hold: compiled expressions and templates */

struct lp_logql {
	struct lp_arena arena;
	struct lp_expr *root;
	struct lp_logql_owned *owned;
};

#define LP_LOGQL_MAX_TEXT (128u << 10)
#define LP_LOGQL_MAX_DEPTH 64u          /* of expressions */
#define LP_LOGQL_MAX_NESTING 160u       /* of their text: printed, each expression may stand in parentheses of its own */
#define LP_LOGQL_MAX_FILTERS 512u       /* conditions in one label filter */
#define LP_LOGQL_MAX_MATCHERS 512u      /* in one selector, and names in one list */
#define LP_LOGQL_MAX_STAGES 512u        /* in one pipeline */

/* Parse and check any expression (log or metric).  The text needs no NUL.  On a bad query: -EINVAL and Loki's text in error
 * ("parse error at line 1, col 9: ..."); -E2BIG text too long or too deep (text too).  -ENOMEM. */
int lp_logql_parse(const char *text, size_t len, struct lp_logql **ret_query, struct lp_buf *error);
/* A selector alone, {a="b"}; for series, labels, index routes.  allow_empty: `{}` and selectors that match everything are fine. */
int lp_logql_parse_selector(const char *text, size_t len, bool allow_empty, struct lp_logql **ret_query, struct lp_buf *error);
void lp_logql_free(struct lp_logql **query);

/* One line, Loki's String(). */
void lp_logql_print(const struct lp_expr *expr, struct lp_buf *out);
/* Loki's format_query (several lines when long). */
void lp_logql_format(const struct lp_expr *expr, struct lp_buf *out);

/* Does a label value pass the matcher?  (Absent labels are "".) */
bool lp_matcher_match(const struct lp_matcher *matcher, const char *value, size_t len);

#endif
