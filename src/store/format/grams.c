/* Skip filter; see grams.h for the layout and why it holds.  Pure memory; the writer's sealing thread (append, build), any thread of any
 * process (open, find).  Dying here loses nothing: a segment without the section is read without skipping.
 *
 * Marking costs one byte store for every second byte of text; the rest is done for eight windows at a time.  The scratch map has a byte
 * per position, because setting a bit would wait for the bit set before. */
#include "store/format/grams.h"

#include "common/bytes.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#ifdef __x86_64__
#include <immintrin.h>
#endif

#define POSITIONS (1u << LP_GRAMS_MAX_LOG2)
#define FACTOR UINT32_C(0x9e3779b1)
#define UNUSED 0u               /* the position of windows that do not count: no search asks for it */
#define MAX_WINDOWS 64u         /* of a needle, per parity: more would hardly tell more */
#define FOLD_BELOW 8u           /* fold while less than an eighth of the bits are set */

/* ---- windows ---- */

static uint32_t fold(uint8_t c)
{
	return c >= 'A' && c <= 'Z' ? c | 0x20u : c;
}

/* '.', '/' and the digits, which are neighbours. */
static bool numeric(uint8_t c)
{
	return c >= '.' && c <= '9';
}

/* Position of the window at p, of `left` bytes (at least 4), or UNUSED. */
static uint32_t position(const uint8_t *p, size_t left)
{
	uint32_t key = fold(p[0]) | fold(p[1]) << 8 | fold(p[2]) << 16 | fold(p[3]) << 24;

	if (numeric(p[0]) && numeric(p[1]) && numeric(p[2]) && numeric(p[3])) {
		if (left < 5 || !numeric(p[4]))
			return UNUSED;
		key ^= lp_le32(p + 1) >> 4;
	}
	return key * FACTOR >> (32 - LP_GRAMS_MAX_LOG2);
}

static void mark_plain(const uint8_t *text, size_t from, size_t len, uint8_t *map)
{
	for (size_t i = from; i + 4 <= len; i += 2)
		map[position(text + i, len - i)] = 1;
}

#ifdef __x86_64__
/* Per 32-bit lane all ones when its four bytes are numeric. */
__attribute__((target("avx2"))) static inline __m256i numeric_avx2(__m256i v)
{
	__m256i d = _mm256_sub_epi8(v, _mm256_set1_epi8('.'));

	return _mm256_cmpeq_epi32(_mm256_cmpeq_epi8(_mm256_min_epu8(d, _mm256_set1_epi8('9' - '.')), d), _mm256_set1_epi8(-1));
}

/* Positions of the windows at p, p + 4, ..., p + 28; reads 33 bytes. */
__attribute__((target("avx2"))) static inline __m256i positions_avx2(const uint8_t *p)
{
	__m256i w = _mm256_loadu_si256((const __m256i *)(const void *)p), x = _mm256_loadu_si256((const __m256i *)(const void *)(p + 1));
	__m256i upper = _mm256_sub_epi8(w, _mm256_set1_epi8('A'));
	__m256i four = numeric_avx2(w), five = numeric_avx2(x);

	upper = _mm256_cmpeq_epi8(_mm256_min_epu8(upper, _mm256_set1_epi8(25)), upper);
	w = _mm256_or_si256(w, _mm256_and_si256(upper, _mm256_set1_epi8(0x20)));
	w = _mm256_xor_si256(w, _mm256_and_si256(four, _mm256_srli_epi32(x, 4)));
	w = _mm256_srli_epi32(_mm256_mullo_epi32(w, _mm256_set1_epi32((int)FACTOR)), 32 - LP_GRAMS_MAX_LOG2);
	return _mm256_andnot_si256(_mm256_andnot_si256(five, four), w);
}

static inline void mark4(uint64_t at, uint8_t *map)
{
	map[(uint16_t)at] = 1;
	map[(uint16_t)(at >> 16)] = 1;
	map[(uint16_t)(at >> 32)] = 1;
	map[at >> 48] = 1;
}

__attribute__((target("avx2"))) static size_t mark_avx2(const uint8_t *text, size_t len, uint8_t *map)
{
	size_t i = 0;

	for (; i + 36 <= len; i += 32) {
		__m256i at = _mm256_packus_epi32(positions_avx2(text + i), positions_avx2(text + i + 2));
		__m128i low = _mm256_castsi256_si128(at), high = _mm256_extracti128_si256(at, 1);

		mark4((uint64_t)_mm_cvtsi128_si64(low), map);
		mark4((uint64_t)_mm_extract_epi64(low, 1), map);
		mark4((uint64_t)_mm_cvtsi128_si64(high), map);
		mark4((uint64_t)_mm_extract_epi64(high, 1), map);
	}
	return i;
}
#endif

/* ---- writing ---- */

int lp_grams_append(struct lp_buf *grams, const char *text, size_t len)
{
	uint8_t *bits = lp_buf_reserve(grams, LP_GRAMS_BLOCK_BYTES + POSITIONS + 64);
	size_t i = 0;

	if (!bits)
		return -ENOMEM;
	uint8_t *map = bits + LP_GRAMS_BLOCK_BYTES;

	memset(map, 0, POSITIONS);
#ifdef __x86_64__
	if (__builtin_cpu_supports("avx2"))
		i = mark_avx2((const uint8_t *)text, len, map);
#endif
	mark_plain((const uint8_t *)text, i, len, map);
	for (uint32_t k = 0; k < LP_GRAMS_BLOCK_BYTES; k++) {
		/* The eight low bits of eight bytes into one byte, the first one lowest. */
		bits[k] = (uint8_t)(lp_le64(map + (size_t)k * 8) * UINT64_C(0x0102040810204080) >> 56);
	}
	grams->len += LP_GRAMS_BLOCK_BYTES;
	return 0;
}

/* Bit i of the result: bit 2 i or 2 i + 1 of v is set. */
static uint32_t fold_word(uint64_t v)
{
	v = (v | v >> 1) & UINT64_C(0x5555555555555555);
	v = (v | v >> 1) & UINT64_C(0x3333333333333333);
	v = (v | v >> 2) & UINT64_C(0x0f0f0f0f0f0f0f0f);
	v = (v | v >> 4) & UINT64_C(0x00ff00ff00ff00ff);
	v = (v | v >> 8) & UINT64_C(0x0000ffff0000ffff);
	return (uint32_t)(v | v >> 16);
}

static void fold_map(uint64_t *map, uint32_t words)
{
	for (uint32_t i = 0; i < words / 2; i++)
		map[i] = fold_word(map[2 * i]) | (uint64_t)fold_word(map[2 * i + 1]) << 32;
}

/* Transpose 64 x 64 bits in place (Warren, "Hacker's Delight", 7-3, with the lowest bit first). */
static void transpose(uint64_t m[64])
{
	uint64_t mask = UINT64_C(0x00000000ffffffff);

	for (unsigned j = 32; j; j >>= 1, mask ^= mask << j)
		for (unsigned k = 0; k < 64; k = ((k | j) + 1) & ~j) {
			uint64_t t = (m[k] >> j ^ m[k | j]) & mask;

			m[k] ^= t << j;
			m[k | j] ^= t;
		}
}

/* Set the bits of v from bit `at` of p on. */
static void put_bits(uint8_t *p, uint64_t at, uint64_t v)
{
	uint8_t *to = p + at / 8;
	unsigned shift = at % 8;

	lp_put_le64(to, lp_le64(to) | v << shift);
	if (shift)
		to[8] |= (uint8_t)(v >> (64 - shift));
}

static uint64_t get_bits(const uint8_t *p, uint64_t at)
{
	const uint8_t *from = p + at / 8;
	unsigned shift = at % 8;

	return shift ? lp_le64(from) >> shift | (uint64_t)from[8] << (64 - shift) : lp_le64(from);
}

static uint64_t matrix_bytes(uint32_t log2, uint32_t blocks)
{
	return LP_ALIGN((((uint64_t)blocks << log2) + 7) / 8, 8) + 8;
}

static void put_matrix(const uint64_t *maps, uint32_t log2, uint32_t blocks, uint8_t *to)
{
	uint32_t stride = POSITIONS / 64;

	for (uint32_t b = 0; b < blocks; b += 64) {
		uint32_t n = blocks - b < 64 ? blocks - b : 64;

		for (uint32_t word = 0; word < (1u << log2) / 64; word++) {
			uint64_t m[64] = { 0 };

			for (uint32_t k = 0; k < n; k++)
				m[k] = maps[(size_t)(b + k) * stride + word];
			transpose(m);
			for (uint32_t p = 0; p < 64; p++)
				if (m[p])
					put_bits(to, ((uint64_t)word * 64 + p) * blocks + b, m[p]);
		}
	}
}

int lp_grams_build(const uint8_t *grams, uint32_t blocks, struct lp_buf *out)
{
	size_t bytes = (size_t)blocks * LP_GRAMS_BLOCK_BYTES;
	uint32_t words = LP_GRAMS_BLOCK_BYTES / 8, log2 = LP_GRAMS_MAX_LOG2;
	uint64_t *maps = malloc(bytes + 1);

	if (!maps)
		return -ENOMEM;
	memcpy(maps, grams, bytes);
	for (;; log2--) {
		uint64_t set = 0;
		uint32_t used = (1u << log2) / 64;

		for (uint32_t b = 0; b < blocks; b++)
			for (uint32_t i = 0; i < used; i++)
				set += (uint64_t)__builtin_popcountll(maps[(size_t)b * words + i]);
		if (log2 == LP_GRAMS_MIN_LOG2 || set >= ((uint64_t)blocks << log2) / FOLD_BELOW)
			break;
		for (uint32_t b = 0; b < blocks; b++)
			fold_map(maps + (size_t)b * words, used);
	}
	uint64_t size = LP_GRAMS_HEAD + matrix_bytes(log2, blocks);
	uint8_t *p = lp_buf_reserve(out, size);

	if (p) {
		memset(p, 0, size);
		p[0] = LP_GRAMS_KIND;
		p[1] = (uint8_t)log2;
		lp_put_le32(p + 4, blocks);
		put_matrix(maps, log2, blocks, p + LP_GRAMS_HEAD);
		out->len += size;
	}
	free(maps);
	return p ? 0 : -ENOMEM;
}

/* ---- reading ---- */

int lp_grams_open(const uint8_t *p, uint64_t bytes, uint32_t blocks, struct lp_grams *ret_grams)
{
	if (bytes < LP_GRAMS_HEAD)
		return -EBADMSG;
	if (p[0] != LP_GRAMS_KIND)
		return -EPROTO;
	if (p[1] < LP_GRAMS_MIN_LOG2 || p[1] > LP_GRAMS_MAX_LOG2 || lp_le32(p + 4) != blocks || bytes != LP_GRAMS_HEAD + matrix_bytes(p[1], blocks))
		return -EBADMSG;
	*ret_grams = (struct lp_grams){ .bits = p + LP_GRAMS_HEAD, .log2 = p[1], .blocks = blocks };
	return 0;
}

/* Keep in set the blocks that have a gram of the position; false: none is left. */
static bool keep_row(const struct lp_grams *grams, uint32_t position, uint64_t *set)
{
	uint64_t row = ((uint64_t)position >> (LP_GRAMS_MAX_LOG2 - grams->log2)) * grams->blocks, any = 0;

	for (size_t i = 0; i < lp_grams_words(grams->blocks); i++)
		if (set[i])
			any |= set[i] &= get_bits(grams->bits, row + i * 64);
	return any;
}

void lp_grams_find(const struct lp_grams *grams, const char *needle, size_t len, uint64_t *found, uint64_t *scratch)
{
	const uint8_t *s = (const uint8_t *)needle;
	size_t words = lp_grams_words(grams->blocks);

	for (size_t parity = 0; parity < 2; parity++) {
		uint32_t n = 0;
		bool any = true;

		memset(scratch, 0xff, words * sizeof *scratch);
		if (grams->blocks % 64)
			scratch[words - 1] = (UINT64_C(1) << grams->blocks % 64) - 1;
		for (size_t i = parity; any && i + 4 <= len && n < MAX_WINDOWS; i += 2) {
			uint32_t at = position(s + i, len - i);

			if (at == UNUSED)
				continue;
			n++;
			any = keep_row(grams, at, scratch);
		}
		for (size_t i = 0; any && i < words; i++)
			found[i] |= scratch[i];
	}
}

bool lp_grams_agree(const struct lp_grams *grams, uint32_t block, const uint8_t bitmap[LP_GRAMS_BLOCK_BYTES])
{
	uint32_t per_row = POSITIONS >> grams->log2;

	for (uint32_t p = 0; p < 1u << grams->log2; p++) {
		bool have = false;

		for (uint32_t k = p * per_row; k < (p + 1) * per_row; k++)
			have |= bitmap[k / 8] >> k % 8 & 1;
		if (have != (get_bits(grams->bits, (uint64_t)p * grams->blocks + block) & 1))
			return false;
	}
	return true;
}
