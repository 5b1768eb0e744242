/* Substring search: two bytes of the needle are compared with 32 positions at a time, and only where both fit the rest is
 * compared (Wojciech Mula, "SIMD-friendly algorithms for substring searching"; the choice of rare bytes follows
 * memchr's and Hyperscan's habit).
 *
 * Guarantees: reads only [s, s + n), no allocation, any thread.  Needles of one byte go to memchr; without AVX2 the C library's
 * memmem (two-way, linear) serves. */
#include "query/search.h"

#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

/* How common a byte is in logs, roughly: blanks, vowels, digits first.  Higher is more common. */
static unsigned commonness(unsigned char c)
{
	static const char order[] = " e0atio1nrs2ld=\"c35u4:m.-678p/9h_,fgbTyv[]w";
	const char *p = memchr(order, c, sizeof order - 1);

	return p ? (unsigned)(sizeof order - (size_t)(p - order)) : 0;
}

void lp_search_init(struct lp_search *search, const char *needle, size_t len, bool fold)
{
	size_t best = 0, second = len > 1;

	search->needle = needle;
	search->len = len;
	search->fold = fold;
	for (size_t i = 1; i < len && i < 256; i++)
		if (commonness((unsigned char)needle[i]) < commonness((unsigned char)needle[best]))
			best = i;
	if (second == best)
		second = 0;
	for (size_t i = 0; i < len && i < 256; i++)
		if (i != best && needle[i] != needle[best] && commonness((unsigned char)needle[i]) < commonness((unsigned char)needle[second]))
			second = i;
	search->at[0] = best < second ? best : second;
	search->at[1] = best < second ? second : best;
}

static unsigned char lower(unsigned char c)
{
	return c >= 'A' && c <= 'Z' ? c | 0x20 : c;
}

static bool equal(const struct lp_search *search, const char *s)
{
	if (!search->fold)
		return !memcmp(s, search->needle, search->len);
	for (size_t i = 0; i < search->len; i++)
		if (lower((unsigned char)s[i]) != (unsigned char)search->needle[i])
			return false;
	return true;
}

static const char *search_scalar(const struct lp_search *search, const char *s, size_t n)
{
	if (!search->fold)
		return memmem(s, n, search->needle, search->len);
	for (size_t i = 0; i + search->len <= n; i++)
		if (lower((unsigned char)s[i]) == (unsigned char)search->needle[0] && equal(search, s + i))
			return s + i;
	return NULL;
}

#if defined(__x86_64__)
/* Compare 32 bytes with one byte, either case when fold. */
__attribute__((target("avx2"))) static inline __m256i same(__m256i bytes, __m256i wanted, __m256i bit, bool fold)
{
	return _mm256_cmpeq_epi8(fold ? _mm256_or_si256(bytes, bit) : bytes, wanted);
}

__attribute__((target("avx2"))) static const char *search_avx2(const struct lp_search *search, const char *s, size_t n)
{
	unsigned char a = (unsigned char)search->needle[search->at[0]], b = (unsigned char)search->needle[search->at[1]];
	bool fold_a = search->fold && a >= 'a' && a <= 'z', fold_b = search->fold && b >= 'a' && b <= 'z';
	const __m256i wanted_a = _mm256_set1_epi8((char)a), wanted_b = _mm256_set1_epi8((char)b), bit = _mm256_set1_epi8(0x20);
	size_t i = 0, last = search->at[1];

	/* Reads end at i + last + 31 and candidates at i + 31 + len - 1, which is no less. */
	for (; i + 31 + search->len <= n; i += 32) {
		__m256i x = _mm256_loadu_si256((const __m256i *)(const void *)(s + i + search->at[0]));
		__m256i y = _mm256_loadu_si256((const __m256i *)(const void *)(s + i + last));
		uint32_t hits = (uint32_t)_mm256_movemask_epi8(_mm256_and_si256(same(x, wanted_a, bit, fold_a), same(y, wanted_b, bit, fold_b)));

		for (; hits; hits &= hits - 1) {
			const char *at = s + i + (unsigned)__builtin_ctz(hits);

			if (equal(search, at))
				return at;
		}
	}
	return search_scalar(search, s + i, n - i);
}
#endif

const char *lp_search_next(const struct lp_search *search, const char *s, size_t n)
{
	if (!search->len)
		return s;
	if (n < search->len)
		return NULL;
	if (search->len == 1 && !search->fold)
		return memchr(s, search->needle[0], n);
#if defined(__x86_64__)
	if (__builtin_cpu_supports("avx2"))
		return search_avx2(search, s, n);
#endif
	return search_scalar(search, s, n);
}
