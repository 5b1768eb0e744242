/* The skip filter: what a block has is never denied, whatever the bytes, and what it does not have mostly is. */
#include "store/format/grams.h"

#include "common/bytes.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static uint32_t seed = 1;

static uint32_t rnd(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 17;
	seed ^= seed << 5;
	return seed;
}

/* Log-like: words, numbers of all lengths, either case, newlines, and now and then any byte. */
static void random_text(char *text, size_t len)
{
	static const char letters[] = "etaoinETAOIN /.:-_=";

	for (size_t i = 0; i < len;) {
		size_t n = 1 + rnd() % 9;
		uint32_t kind = rnd() % 8;

		for (; n && i < len; n--, i++)
			text[i] = kind < 4 ? letters[rnd() % (sizeof letters - 1)] : kind < 6 ? (char)(rnd() % 5 ? '0' + rnd() % 10 : '.') :
				  kind == 6 ? (char)rnd() : '\n';
	}
}

struct blocks {
	char **text;
	size_t *len;
	uint32_t n;
	struct lp_buf grams, section;
	struct lp_grams filter;
};

static void blocks_make(struct blocks *b, uint32_t n, size_t max)
{
	*b = (struct blocks){ .text = calloc(n, sizeof *b->text), .len = calloc(n, sizeof *b->len), .n = n };
	for (uint32_t i = 0; i < n; i++) {
		b->len[i] = 1 + rnd() % max;
		b->text[i] = malloc(b->len[i]);         /* exact: the sanitizer sees a byte too far */
		random_text(b->text[i], b->len[i]);
		ck_assert_int_eq(lp_grams_append(&b->grams, b->text[i], b->len[i]), 0);
	}
	ck_assert_uint_eq(b->grams.len, (size_t)n * LP_GRAMS_BLOCK_BYTES);
	ck_assert_int_eq(lp_grams_build(b->grams.data, n, &b->section), 0);
	ck_assert_int_eq(lp_grams_open(b->section.data, b->section.len, n, &b->filter), 0);
}

static void blocks_free(struct blocks *b)
{
	for (uint32_t i = 0; i < b->n; i++)
		free(b->text[i]);
	free(b->text);
	free(b->len);
	lp_buf_free(&b->grams);
	lp_buf_free(&b->section);
}

static uint32_t find(const struct blocks *b, const char *needle, size_t len, uint64_t *found)
{
	size_t words = lp_grams_words(b->n);
	uint64_t *scratch = malloc(words * sizeof *scratch);
	uint32_t n = 0;

	memset(found, 0, words * sizeof *found);
	lp_grams_find(&b->filter, needle, len, found, scratch);
	for (size_t i = 0; i < words; i++)
		n += (uint32_t)__builtin_popcountll(found[i]);
	ck_assert_uint_le(n, b->n);
	free(scratch);
	return n;
}

/* Every substring of 1 to 48 bytes, in changed case too. */
START_TEST(never_denies)
{
	static const uint32_t counts[] = { 1, 2, 7, 63, 64, 65, 130 };

	for (size_t c = 0; c < LP_ARRAY_LEN(counts); c++) {
		struct blocks b;
		uint64_t found[3];

		blocks_make(&b, counts[c], 3000);
		for (unsigned k = 0; k < 20000; k++) {
			uint32_t i = rnd() % b.n;
			size_t len = 1 + rnd() % 48, at = rnd() % b.len[i];
			char needle[48];

			len = len < b.len[i] - at ? len : b.len[i] - at;
			memcpy(needle, b.text[i] + at, len);
			for (size_t x = 0; k % 2 && x < len; x++)
				if ((needle[x] >= 'A' && needle[x] <= 'Z') || (needle[x] >= 'a' && needle[x] <= 'z'))
					needle[x] ^= 0x20;
			(void)find(&b, needle, len, found);
			ck_assert_msg(found[i / 64] >> i % 64 & 1, "%u blocks: %zu bytes at %zu of %u", b.n, len, at, i);
		}
		for (uint32_t i = 0; i < b.n; i++)
			ck_assert(lp_grams_agree(&b.filter, i, b.grams.data + (size_t)i * LP_GRAMS_BLOCK_BYTES));
		blocks_free(&b);
	}
}
END_TEST

/* Without this the test above would hold for a filter that never says no. */
START_TEST(mostly_skips)
{
	struct blocks b;
	uint64_t found[2];
	uint32_t short_needles = 0, absent = 0;

	blocks_make(&b, 100, 20000);
	for (unsigned k = 0; k < 100; k++) {
		char needle[16];

		for (size_t i = 0; i < sizeof needle; i++)
			needle[i] = (char)('p' + rnd() % 10);
		absent += find(&b, needle, 12, found);
		short_needles += find(&b, needle, 4, found);    /* no window at an odd offset: unknown */
		ck_assert_uint_eq(find(&b, needle, 0, found), b.n);
		ck_assert_uint_eq(find(&b, "4711", 4, found), b.n);
	}
	/* One number among many of its kind: five digits tell blocks apart, four would not. */
	ck_assert_uint_lt(find(&b, "710.922.8451.3377.901", 21, found), b.n / 2);
	ck_assert_uint_lt(absent, 100 * b.n / 10);
	ck_assert_uint_eq(short_needles, 100 * b.n);
	ck_assert_uint_lt(b.section.len, (size_t)b.n * LP_GRAMS_BLOCK_BYTES + 100);
	blocks_free(&b);
}
END_TEST

/* Bits as grams.h says, for a text that shows each rule; this is what files of older versions hold. */
START_TEST(layout)
{
	static const char text[] = "Ab12345x\n--678901\n";     /* at even offsets: ab12 1234+5 345x 5x\n- \n--6 -678 7890+1 901\n */
	static const uint32_t keys[] = { 0x32316261, 0x34333231u ^ 0x35343332u >> 4, 0x78353433, 0x2d0a7835 };
	struct lp_buf grams = LP_BUF_INIT, section = LP_BUF_INIT;
	struct lp_grams filter;
	uint32_t set = 0;

	ck_assert_int_eq(lp_grams_append(&grams, text, sizeof text - 1), 0);
	for (size_t i = 0; i < LP_ARRAY_LEN(keys); i++) {
		uint32_t at = keys[i] * 0x9e3779b1u >> 16;

		ck_assert(grams.data[at / 8] >> at % 8 & 1);
	}
	for (uint32_t i = 1; i < 1u << 16; i++)
		set += grams.data[i / 8] >> i % 8 & 1;
	ck_assert_uint_le(set, 8);
	ck_assert_uint_ge(set, 6);
	ck_assert_int_eq(lp_grams_build(grams.data, 1, &section), 0);
	ck_assert_int_eq(lp_grams_open(section.data, section.len, 1, &filter), 0);
	ck_assert_uint_eq(filter.log2, LP_GRAMS_MIN_LOG2);
	lp_buf_free(&grams);
	lp_buf_free(&section);
}
END_TEST

START_TEST(wrong_bytes)
{
	struct blocks b;
	struct lp_grams filter;

	blocks_make(&b, 5, 1000);
	for (size_t n = 0; n < b.section.len; n++)
		ck_assert_int_eq(lp_grams_open(b.section.data, n, 5, &filter), -EBADMSG);
	ck_assert_int_eq(lp_grams_open(b.section.data, b.section.len, 6, &filter), -EBADMSG);
	b.section.data[1]++;
	ck_assert_int_eq(lp_grams_open(b.section.data, b.section.len, 5, &filter), -EBADMSG);
	b.section.data[1] = 60;
	ck_assert_int_eq(lp_grams_open(b.section.data, b.section.len, 5, &filter), -EBADMSG);
	b.section.data[0]++;
	ck_assert_int_eq(lp_grams_open(b.section.data, b.section.len, 5, &filter), -EPROTO);
	blocks_free(&b);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("grams");
	TCase *t = tcase_create("grams");

	tcase_set_timeout(t, 120);
	tcase_add_test(t, never_denies);
	tcase_add_test(t, mostly_skips);
	tcase_add_test(t, layout);
	tcase_add_test(t, wrong_bytes);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);

	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);

	srunner_free(r);
	return failed != 0;
}
