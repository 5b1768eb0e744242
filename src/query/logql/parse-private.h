/* Shared by parse.c, parse-stage.c and check.c.  Internal to src/query/logql. */
#ifndef LP_QUERY_LOGQL_PARSE_PRIVATE_H
#define LP_QUERY_LOGQL_PARSE_PRIVATE_H

#include "query/logql/ast.h"
#include "query/logql/lexer.h"

#include <setjmp.h>

struct lp_logql_owned {
	struct lp_logql_owned *next;
	struct lp_regex *re;
	struct lp_template *tmpl;
};

struct lp_parser {
	struct lp_lexer lx;
	struct lp_logql *query;
	struct lp_buf *error;
	unsigned depth;
	int err;
	jmp_buf out;            /* every failure leaves through here: nothing but the query owns memory on the way */
};

/* These do not return. */
_Noreturn void lp_parse_fail(struct lp_parser *p, int err);
/* "parse error : " and the text. */
_Noreturn void lp_parse_refuse(struct lp_parser *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* "syntax error: unexpected X, expecting Y" at the current token; expecting may be NULL. */
_Noreturn void lp_parse_unexpected(struct lp_parser *p, const char *expecting);

void *lp_parse_alloc(struct lp_parser *p, size_t n);
/* Grow an array in the arena to hold one more; amortised linear. */
void *lp_parse_grow(struct lp_parser *p, void *items, uint32_t n, size_t size, uint32_t max, const char *what);
void lp_parse_enter(struct lp_parser *p);       /* one level deeper or -E2BIG */
void lp_parse_expect(struct lp_parser *p, enum lp_token tok, const char *expecting);
struct lp_str lp_parse_take_str(struct lp_parser *p, enum lp_token tok, const char *expecting);
/* "error" prefix is put before the text of a bad expression. */
struct lp_regex *lp_parse_regex(struct lp_parser *p, struct lp_str text, unsigned flags, const char *prefix);
struct lp_logql_owned *lp_parse_own(struct lp_parser *p);
double lp_parse_number(struct lp_parser *p, const char *what);
/* IDENTIFIER has been taken; the current token is the operator. */
void lp_parse_matcher(struct lp_parser *p, struct lp_str name, const char *expecting, unsigned flags, struct lp_matcher *ret);

/* The next stage of a pipeline into *ret; false when none begins here.  Before unwrap (if it may come) the PIPE is taken. */
bool lp_parse_stage(struct lp_parser *p, bool may_unwrap, struct lp_stage **ret);
struct lp_label_filter *lp_parse_label_filter(struct lp_parser *p, unsigned min_prec);

/* What Loki finds out only after the syntax: matchers that select everything, arguments of stages.  Refuses through p. */
void lp_parse_check(struct lp_parser *p, struct lp_expr *root, bool allow_empty);

const char *lp_logql_range_name(enum lp_range_op op);
const char *lp_logql_vector_name(enum lp_vector_op op);
const char *lp_logql_bin_name(enum lp_bin_op op);
/* One stage as Loki prints it: "| json a=\"b\"". */
void lp_logql_print_stage(const struct lp_stage *stage, struct lp_buf *out);

#endif
