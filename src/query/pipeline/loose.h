/* Regular expressions of label filters that Loki replaces by substring searches: "a.*", ".*b", "a.*|.*b.*", "a(b|cd)", "ab|acd".  The
 * replacement is not anchored, so that name=~"a.*" passes "banana"; queries depend on it by now, and the conformance kit asks for it. */
#ifndef LP_QUERY_PIPELINE_LOOSE_H
#define LP_QUERY_PIPELINE_LOOSE_H

#include "common/arena.h"
#include "query/logql/ast.h"

struct lp_loose;

/* *ret_loose stays NULL when the expression is none of those.  -ENOMEM. */
int lp_loose_compile(struct lp_arena *arena, const struct lp_str *text, struct lp_loose **ret_loose);
bool lp_loose_match(const struct lp_loose *loose, const char *s, size_t n);

#endif
