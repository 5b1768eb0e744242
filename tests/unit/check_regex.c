/* Regular expressions and substring search: Go's meaning, error texts, invalid bytes, and that literals are really required. */
#include "query/regex.h"
#include "query/search.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static struct lp_regex *compile(const char *pattern, unsigned flags)
{
	struct lp_regex *re = NULL;

	ck_assert_int_eq(lp_regex_compile(pattern, strlen(pattern), flags, &re, NULL), 0);
	return re;
}

static bool matches(const char *pattern, unsigned flags, const char *text, size_t n)
{
	struct lp_regex *re = compile(pattern, flags);
	bool yes = lp_regex_match(re, text, n);

	lp_regex_free(&re);
	ck_assert_ptr_null(re);
	return yes;
}

START_TEST(meaning)
{
	ck_assert(matches("b", 0, "abc", 3));
	ck_assert(!matches("b", LP_REGEX_ANCHORED, "abc", 3));
	ck_assert(matches("a.c", LP_REGEX_ANCHORED, "a\nc", 3));
	ck_assert(!matches("a.c", 0, "a\nc", 3));
	ck_assert(matches("(?i)\xc3\xa4", 0, "\xc3\x84", 2));
	ck_assert(matches("a|bc", LP_REGEX_ANCHORED, "bc", 2));
	/* each invalid byte is one character */
	ck_assert(matches("^a.b$", 0, "a\xff" "b", 3));
	ck_assert(!matches("^a.b$", 0, "a\xff\xfe" "b", 4));
	ck_assert(matches("\xef\xbf\xbd", 0, "\xff", 1));
	ck_assert(matches("^.*$", LP_REGEX_ANCHORED, "\xc3", 1));
}
END_TEST

START_TEST(captures)
{
	struct lp_regex *re = compile("(?<a>x+)(y)?(?P<b>z)", 0);
	int64_t o[10];

	ck_assert_uint_eq(lp_regex_groups(re), 4);
	ck_assert_str_eq(lp_regex_group_name(re, 1), "a");
	ck_assert_ptr_null(lp_regex_group_name(re, 2));
	ck_assert(lp_regex_captures(re, "\xff xxz", 5, 0, o, 5));
	ck_assert_int_eq(o[0], 2);
	ck_assert_int_eq(o[1], 5);
	ck_assert_int_eq(o[3], 4);
	ck_assert_int_eq(o[4], -1);
	ck_assert_int_eq(o[8], -1);
	ck_assert(!lp_regex_captures(re, "xxz", 3, 3, o, 4));
	lp_regex_free(&re);
}
END_TEST

static const struct {
	const char *pattern, *error;
} bad[] = {
	{ "(", "error parsing regexp: missing closing ): `(`" },
	{ "*", "error parsing regexp: missing argument to repetition operator: `*`" },
	{ "[", "error parsing regexp: missing closing ]: `[`" },
	{ "(?P<a-b>x)", "error parsing regexp: invalid named capture: `(?P<a-b>`" },
	{ "(?<n>", "error parsing regexp: missing closing ): `(?<n>`" },
	{ "\\1", "error parsing regexp: invalid escape sequence: `\\1`" },
	{ "\\C", "error parsing regexp: invalid escape sequence: `\\C`" },
	{ "^.{100000}", "error parsing regexp: invalid repeat count: `{100000}`" },
};

START_TEST(errors)
{
	struct lp_buf why = LP_BUF_INIT;
	struct lp_regex *re = NULL;

	ck_assert_int_eq(lp_regex_compile(bad[_i].pattern, strlen(bad[_i].pattern), 0, &re, &why), -EINVAL);
	ck_assert_str_eq(lp_buf_cstr(&why), bad[_i].error);
	ck_assert_ptr_null(re);
	lp_buf_free(&why);
}
END_TEST

START_TEST(too_large)
{
	struct lp_regex *re = NULL;
	const char *pattern = "((\\pL{100}){100}){10}";

	ck_assert_int_lt(lp_regex_compile(pattern, strlen(pattern), 0, &re, NULL), 0);
	ck_assert_ptr_null(re);
}
END_TEST

static const struct {
	const char *pattern, *first;    /* NULL: nothing known */
	unsigned n;
	bool fold;
} literals[] = {
	{ "error", "error", 1, false }, { "a+bcd*", "bc", 1, false }, { "(foo|bar)baz", "baz", 1, false }, { "(foo|bar)ba", "foo", 2, false }, { "x?y*", NULL, 0, false },
	{ "a|", NULL, 0, false }, { "(?i)ERROR", "error", 1, true }, { "(?i)task", "ta", 1, true }, { "\\Qa.b\\E", NULL, 0, false },
	{ "a\\.b", "a.b", 1, false }, { "[ab]cd", "cd", 1, false }, { "(abc){0,3}d", "d", 1, false }, { "(?:abc)+", "abc", 1, false },
};

START_TEST(literal_table)
{
	struct lp_regex *re = compile(literals[_i].pattern, 0);
	const char *const *list;
	bool fold;

	ck_assert_uint_eq(lp_regex_literals(re, &list, &fold), literals[_i].n);
	if (literals[_i].n) {
		ck_assert_str_eq(list[0], literals[_i].first);
		ck_assert(fold == literals[_i].fold);
	}
	lp_regex_free(&re);
}
END_TEST

static uint64_t state = 88172645463325252u;

static unsigned rnd(unsigned n)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (unsigned)((state >> 11) % n);
}

/* Random patterns from pieces, random lines from a small alphabet: a match always contains one of the literals. */
START_TEST(literals_are_required)
{
	static const char *const pieces[] = { "a", "b", "K", "s", "ab", "(", ")", "|", "*", "+", "?", ".", "[ab]", "(?i)", "{2}", "{0,1}", "\\.", "^", "$", "(?:", "\\x41",
					      "\\Qab\\E", "\xc3\xa4", "\xef\xbf\xbd", "(?i:", "(?-i)" };
	static const char alphabet[] = "abABkKsS.\xc3\xa4\xff";
	unsigned with = 0;

	for (unsigned round = 0; round < 30000; round++) {
		char pattern[128] = "", line[24];
		struct lp_regex *re = NULL;
		const char *const *list;
		unsigned n;
		bool fold;

		for (unsigned k = 1 + rnd(7); k; k--)
			strcat(pattern, pieces[rnd(sizeof pieces / sizeof pieces[0])]);
		if (lp_regex_compile(pattern, strlen(pattern), rnd(2), &re, NULL) < 0)
			continue;
		n = lp_regex_literals(re, &list, &fold);
		with += n != 0;
		for (unsigned t = 0; n && t < 20; t++) {
			size_t len = rnd(sizeof line);
			bool found = false;

			for (size_t i = 0; i < len; i++)
				line[i] = alphabet[rnd(sizeof alphabet - 1)];
			for (unsigned i = 0; i < n && !found; i++) {
				struct lp_search search;

				lp_search_init(&search, list[i], strlen(list[i]), fold);
				found = lp_search_next(&search, line, len) != NULL;
			}
			ck_assert_msg(found || !lp_regex_match(re, line, len), "pattern %s matches without a literal", pattern);
		}
		lp_regex_free(&re);
	}
	ck_assert_uint_gt(with, 1000);
}
END_TEST

/* A set finds the first of what its literals find one by one. */
START_TEST(search_sets_agree)
{
	for (unsigned round = 0; round < 20000; round++) {
		char text[160], texts[12][8];
		const char *list[12], *want = NULL;
		size_t n = rnd(sizeof text);
		unsigned k = 1 + rnd(12);
		bool fold = rnd(2);
		struct lp_search_set set;
		char *copy = malloc(n ? n : 1);

		ck_assert_ptr_nonnull(copy);
		for (size_t i = 0; i < n; i++)
			copy[i] = (char)("abcdAB.-"[rnd(fold ? 8 : 4)]);
		for (unsigned l = 0; l < k; l++) {
			size_t len = 1 + rnd(6);

			for (size_t i = 0; i < len; i++)
				texts[l][i] = "abcd"[rnd(4)];
			texts[l][len] = 0;
			list[l] = texts[l];
			struct lp_search one;

			lp_search_init(&one, list[l], len, fold);
			const char *at = lp_search_next(&one, copy, n);

			want = at && (!want || at < want) ? at : want;
		}
		ck_assert_int_eq(lp_search_set_init(&set, list, k, fold), 0);
		ck_assert_ptr_eq(lp_search_set_next(&set, copy, n), want);
		free(copy);
	}
}
END_TEST

/* Against a plain loop, over lengths around the vector width. */
START_TEST(search_agrees)
{
	for (unsigned round = 0; round < 20000; round++) {
		char text[160], needle[8];
		size_t n = rnd(sizeof text), len = 1 + rnd(sizeof needle), at = n;
		bool fold = rnd(2);
		struct lp_search search;
		char *copy = malloc(n ? n : 1);

		ck_assert_ptr_nonnull(copy);
		for (size_t i = 0; i < n; i++)
			copy[i] = text[i] = (char)("abAB"[rnd(fold ? 4 : 2)]);
		for (size_t i = 0; i < len; i++)
			needle[i] = "ab"[rnd(2)];
		for (size_t i = 0; i + len <= n && at == n; i++) {
			size_t k = 0;

			while (k < len && (fold ? (text[i + k] | 0x20) : text[i + k]) == needle[k])
				k++;
			if (k == len)
				at = i;
		}
		lp_search_init(&search, needle, len, fold);
		ck_assert_ptr_eq(lp_search_next(&search, copy, n), at == n ? NULL : copy + at);
		free(copy);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("regex");
	TCase *tc = tcase_create("regex");
	SRunner *runner;
	int failed;

	tcase_set_timeout(tc, 120);
	tcase_add_test(tc, meaning);
	tcase_add_test(tc, captures);
	tcase_add_loop_test(tc, errors, 0, sizeof bad / sizeof bad[0]);
	tcase_add_test(tc, too_large);
	tcase_add_loop_test(tc, literal_table, 0, sizeof literals / sizeof literals[0]);
	tcase_add_test(tc, literals_are_required);
	tcase_add_test(tc, search_agrees);
	tcase_add_test(tc, search_sets_agree);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
