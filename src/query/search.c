/* Substring search: two bytes of the needle are compared with 32 positions at a time, and only where both fit the rest is
 * compared (Wojciech Mula, "SIMD-friendly algorithms for substring searching"; the choice of rare bytes follows
 * memchr's and Hyperscan's habit).
 *
 * Sets of literals: the halves of each byte select, by two table look-ups of 32 positions at a time, the buckets of literals that
 * may begin there (Teddy, from Hyperscan: Wang et al., "Hyperscan: A Fast Multi-pattern Regex Matcher", NSDI 2019).
 *
 * Guarantees: reads only [s, s + n), no allocation, any thread.  Needles of one byte go to memchr; without AVX2 the C library's
 * memmem (two-way, linear) serves. */
#include "query/search.h"

#include <errno.h>
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

/* ---- several literals ---- */

int lp_search_set_init(struct lp_search_set *set, const char *const *literals, unsigned n, bool fold)
{
	if (n > LP_SEARCH_MAX_LITERALS)
		return -E2BIG;
	memset(set, 0, sizeof *set);
	set->literals = literals;
	set->n = n;
	set->fold = fold;
	set->prefix = 3;
	for (unsigned i = 0; i < n; i++) {
		set->lens[i] = (uint32_t)strlen(literals[i]);
		if (set->lens[i] < set->prefix)
			set->prefix = set->lens[i];
	}
	for (unsigned i = 0; i < n; i++)
		for (unsigned k = 0; k < set->prefix; k++) {
			unsigned char c = (unsigned char)literals[i][k];
			uint8_t bit = (uint8_t)(1u << i % 8);

			set->lo[k][c & 15] |= bit;
			set->hi[k][c >> 4] |= bit;
			if (fold && c >= 'a' && c <= 'z')
				set->hi[k][(c ^ 0x20) >> 4] |= bit;
		}
	return 0;
}

static bool set_equal(const struct lp_search_set *set, unsigned i, const char *s)
{
	const struct lp_search one = { .needle = set->literals[i], .len = set->lens[i], .fold = set->fold };

	return equal(&one, s);
}

/* Does a literal of these buckets begin at s, with n bytes left? */
static bool set_at(const struct lp_search_set *set, unsigned buckets, const char *s, size_t n)
{
	for (; buckets; buckets &= buckets - 1)
		for (unsigned i = (unsigned)__builtin_ctz(buckets); i < set->n; i += 8)
			if (set->lens[i] <= n && set_equal(set, i, s))
				return true;
	return false;
}

static const char *set_scalar(const struct lp_search_set *set, const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)s[i];
		unsigned buckets = set->lo[0][c & 15] & set->hi[0][c >> 4];

		if (buckets && set_at(set, buckets, s + i, n - i))
			return s + i;
	}
	return NULL;
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) static inline __m256i set_table(const uint8_t *table)
{
	return _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)table));
}

__attribute__((target("avx2"))) static const char *set_avx2(const struct lp_search_set *set, const char *s, size_t n)
{
	const __m256i half = _mm256_set1_epi8(15);
	__m256i lo[3], hi[3];
	uint8_t buckets[32];
	size_t i = 0;

	/* A literal shorter than three bytes does not care about what follows it. */
	for (unsigned k = 0; k < 3; k++) {
		lo[k] = k < set->prefix ? set_table(set->lo[k]) : _mm256_set1_epi8(-1);
		hi[k] = k < set->prefix ? set_table(set->hi[k]) : _mm256_set1_epi8(-1);
	}
	for (; i + 34 <= n; i += 32) {
		__m256i found = _mm256_set1_epi8(-1);

		for (unsigned k = 0; k < 3; k++) {
			__m256i x = _mm256_loadu_si256((const __m256i *)(const void *)(s + i + k));
			__m256i a = _mm256_shuffle_epi8(lo[k], _mm256_and_si256(x, half));
			__m256i b = _mm256_shuffle_epi8(hi[k], _mm256_and_si256(_mm256_srli_epi16(x, 4), half));

			found = _mm256_and_si256(found, _mm256_and_si256(a, b));
		}
		uint32_t hits = ~(uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(found, _mm256_setzero_si256()));

		if (!hits)
			continue;
		_mm256_storeu_si256((__m256i *)(void *)buckets, found);
		for (; hits; hits &= hits - 1) {
			size_t at = i + (unsigned)__builtin_ctz(hits);

			if (set_at(set, buckets[at - i], s + at, n - at))
				return s + at;
		}
	}
	return set_scalar(set, s + i, n - i);
}
#endif

const char *lp_search_set_next(const struct lp_search_set *set, const char *s, size_t n)
{
#if defined(__x86_64__)
	if (__builtin_cpu_supports("avx2"))
		return set_avx2(set, s, n);
#endif
	return set_scalar(set, s, n);
}
