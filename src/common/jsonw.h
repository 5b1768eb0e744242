/* Writing JSON into a buffer: strings and numbers; commas and braces are the caller's. */
#ifndef LP_COMMON_JSONW_H
#define LP_COMMON_JSONW_H

#include "common/buf.h"

/* A quoted string.  Control characters, quote and backslash are escaped; each invalid byte becomes U+FFFD. */
void lp_jsonw_str(struct lp_buf *buf, const void *p, size_t n);
void lp_jsonw_cstr(struct lp_buf *buf, const char *s);
/* A finite double in the shortest form that reads back the same, as Go's strconv 'f'/'e' choice; NaN and
 * infinities as the bare words NaN, +Inf, -Inf (callers quote sample values). */
void lp_jsonw_double(struct lp_buf *buf, double v);

#endif
