/* Substring search over lines and whole text columns: AVX2 where the machine has it, the C library otherwise. */
#ifndef LP_QUERY_SEARCH_H
#define LP_QUERY_SEARCH_H

#include <stdbool.h>
#include <stddef.h>

struct lp_search {
	const char *needle;     /* borrowed; lower case (ASCII) when fold */
	size_t len;
	bool fold;              /* ignore the case of ASCII letters */
	size_t at[2];           /* offsets of the two bytes looked for first, ascending */
};

/* The needle is borrowed.  Fold: it must be lower case.  No allocation, any thread. */
void lp_search_init(struct lp_search *search, const char *needle, size_t len, bool fold);
/* First occurrence in [s, s + n), or NULL.  Give a whole column to search block-wise, then find line bounds around the hit.
 * Worst case O(n * len) for needles made to be unlucky; linear in practice. */
const char *lp_search_next(const struct lp_search *search, const char *s, size_t n);

#endif
