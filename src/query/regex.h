/* Regular expressions with Go (RE2) syntax and meaning, linear in the text.  Thin C face of the packaged RE2; a compiled
 * expression is immutable and may be used by many threads. */
#ifndef LP_QUERY_REGEX_H
#define LP_QUERY_REGEX_H

#include "common/buf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct lp_regex;

#define LP_REGEX_ANCHORED 1u    /* must match the whole text (label matchers); `.` then matches newline too */
#define LP_REGEX_LINES 2u        /* with ANCHORED: `.` is no newline, as in label filters */

/* -EINVAL with RE2/Go's wording in error (may be NULL); -E2BIG the program would be too large (bounded memory). */
int lp_regex_compile(const char *pattern, size_t len, unsigned flags, struct lp_regex **ret_re, struct lp_buf *error);
void lp_regex_free(struct lp_regex **re);
bool lp_regex_match(const struct lp_regex *re, const char *s, size_t len);

/* Captures: pairs of offsets for group 0..n-1, -1 when unset.  False: no match. */
bool lp_regex_captures(const struct lp_regex *re, const char *s, size_t len, size_t from, int64_t *offsets, unsigned n_groups);
/* Every match that does not overlap the one before, as Go's FindAll finds them, with the offsets of groups 0..n_groups-1 (at least group 0,
 * at most those that there are); until fn returns false. */
void lp_regex_each(const struct lp_regex *re, const char *s, size_t len, unsigned n_groups, bool (*fn)(void *ctx, const int64_t *offsets), void *ctx);
unsigned lp_regex_groups(const struct lp_regex *re);                            /* with group 0 */
const char *lp_regex_group_name(const struct lp_regex *re, unsigned group);     /* NULL: unnamed */

/* Literals of which every match contains at least one, for skipping (folded to lower case when *ret_fold).  0 literals: nothing known.
 * The strings are owned by re. */
unsigned lp_regex_literals(const struct lp_regex *re, const char *const **ret_literals, bool *ret_fold);
/* The expression is a plain literal (after unescaping): 1 and its text, in lower case when *ret_fold (ASCII letters of either case match). */
bool lp_regex_is_literal(const struct lp_regex *re, const char **ret_s, size_t *ret_len, bool *ret_fold);

#ifdef __cplusplus
}
#endif
#endif
