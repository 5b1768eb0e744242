/* Patterns: literals and captures, "<ip> - <_> [<time>]".  For the parser `pattern` and the line filters |> and !>. */
#ifndef LP_QUERY_PIPELINE_PATTERN_H
#define LP_QUERY_PIPELINE_PATTERN_H

#include "common/arena.h"
#include "common/buf.h"
#include "query/logql/ast.h"

struct lp_pattern;

struct lp_pattern_capture {
	const char *value;      /* inside the text */
	size_t len;
};

/* filter: only <_> and no other names, an empty pattern is fine.  -EINVAL with Loki's text in error. */
int lp_pattern_compile(struct lp_arena *arena, const char *s, size_t n, bool filter, struct lp_pattern **ret_pattern, struct lp_buf *error);
unsigned lp_pattern_n_names(const struct lp_pattern *pattern);
const struct lp_str *lp_pattern_name(const struct lp_pattern *pattern, unsigned i);
/* Captures of the named ones, in order; returns how many were found before a literal was missing.  captures has room for all names. */
unsigned lp_pattern_captures(const struct lp_pattern *pattern, const char *s, size_t n, struct lp_pattern_capture *captures);
/* |>: the whole text matches and no capture is empty. */
bool lp_pattern_test(const struct lp_pattern *pattern, const char *s, size_t n);
/* The longest literal; false when there is none. */
bool lp_pattern_literal(const struct lp_pattern *pattern, const char **ret_s, size_t *ret_len);

#endif
