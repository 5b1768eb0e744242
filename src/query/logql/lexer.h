/* LogQL's words.  Internal to src/query/logql. */
#ifndef LP_QUERY_LOGQL_LEXER_H
#define LP_QUERY_LOGQL_LEXER_H

#include "common/arena.h"
#include "common/buf.h"
#include "query/logql/ast.h"

enum lp_token {
	LP_TOK_END, LP_TOK_ERROR, LP_TOK_IDENTIFIER, LP_TOK_STRING, LP_TOK_NUMBER, LP_TOK_DURATION, LP_TOK_BYTES, LP_TOK_RANGE, LP_TOK_FLAG,
	/* punctuation and operators */
	LP_TOK_COMMA, LP_TOK_DOT, LP_TOK_OPEN_BRACE, LP_TOK_CLOSE_BRACE, LP_TOK_OPEN_PAREN, LP_TOK_CLOSE_PAREN, LP_TOK_EQ, LP_TOK_NEQ,
	LP_TOK_RE, LP_TOK_NRE, LP_TOK_PIPE_EXACT, LP_TOK_PIPE_MATCH, LP_TOK_PIPE_PATTERN, LP_TOK_NPATTERN, LP_TOK_PIPE, LP_TOK_ADD,
	LP_TOK_SUB, LP_TOK_MUL, LP_TOK_DIV, LP_TOK_MOD, LP_TOK_POW, LP_TOK_CMP_EQ, LP_TOK_GT, LP_TOK_GTE, LP_TOK_LT, LP_TOK_LTE,
	/* words that are reserved everywhere */
	LP_TOK_BY, LP_TOK_WITHOUT, LP_TOK_BOOL, LP_TOK_OFFSET, LP_TOK_UNWRAP, LP_TOK_REGEXP, LP_TOK_JSON, LP_TOK_LOGFMT, LP_TOK_PATTERN,
	LP_TOK_UNPACK, LP_TOK_OR, LP_TOK_AND, LP_TOK_UNLESS, LP_TOK_IGNORING, LP_TOK_ON, LP_TOK_GROUP_LEFT, LP_TOK_GROUP_RIGHT,
	LP_TOK_LABEL_FORMAT, LP_TOK_LINE_FORMAT, LP_TOK_DECOLORIZE, LP_TOK_DROP, LP_TOK_KEEP,
	/* words that mean something only before "(" (or by, without) */
	LP_TOK_IP, LP_TOK_RANGE_OP, LP_TOK_VECTOR_OP, LP_TOK_CONV_OP, LP_TOK_VECTOR, LP_TOK_LABEL_REPLACE
};

struct lp_lexer {
	const char *text;
	size_t len, pos;
	uint32_t line, col;             /* of text[pos], from 1; columns count characters */
	struct lp_arena *arena;         /* where decoded strings go */
	/* the current token */
	enum lp_token tok;
	const char *name;               /* as syntax errors call it */
	uint32_t tok_line, tok_col;     /* line 0: the token was put together from several, as Loki reports it */
	struct lp_str str;              /* IDENTIFIER, STRING, NUMBER, FLAG, functions (lower case) */
	int64_t duration_ns;            /* DURATION, RANGE */
	uint64_t bytes;                 /* BYTES */
	int op;                         /* lp_range_op, lp_vector_op, lp_unwrap_conv */
	struct lp_buf *error;           /* text of ERROR */
	bool no_memory;
};

void lp_lexer_init(struct lp_lexer *lexer, const char *text, size_t len, struct lp_arena *arena, struct lp_buf *error);
/* Read the next token into lexer.  ERROR repeats itself. */
void lp_lexer_next(struct lp_lexer *lexer);

#endif
