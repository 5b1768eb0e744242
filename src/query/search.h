/* Substring search over lines and whole text columns: AVX2 where the machine has it, the C library otherwise. */
#ifndef LP_QUERY_SEARCH_H
#define LP_QUERY_SEARCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

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

#define LP_SEARCH_MAX_LITERALS 64u

/* Several literals at once: where does any of them occur first? */
struct lp_search_set {
	const char *const *literals;    /* borrowed; lower case (ASCII) when fold */
	uint32_t lens[LP_SEARCH_MAX_LITERALS];
	unsigned n;
	bool fold;
	unsigned prefix;                /* bytes of each literal that the tables know: 1 to 3 */
	uint8_t lo[3][16], hi[3][16];   /* bit per bucket, by low and high half of a byte; literal i is in bucket i % 8 */
};

/* The literals are borrowed, none of them empty.  -E2BIG: too many. */
int lp_search_set_init(struct lp_search_set *set, const char *const *literals, unsigned n, bool fold);
/* First place in [s, s + n) where a literal begins, or NULL.
 * Worst case O(n * sum of lengths). */
const char *lp_search_set_next(const struct lp_search_set *set, const char *s, size_t n);

#endif
