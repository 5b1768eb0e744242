/* Parameters and routing: what Loki accepts, what it refuses, and in which words. */
#include "http/match.h"
#include "http/params.h"

#include "common/clock.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define NOW INT64_C(1793498400000000000)
#define SEC LP_NS_PER_SEC

static int parse(struct lp_form *form, const char *s, struct lp_buf *error)
{
	return lp_form_parse(form, s, strlen(s), error);
}

static void expect_form_error(const char *s, const char *text)
{
	struct lp_form form = LP_FORM_INIT;
	struct lp_buf error = LP_BUF_INIT;

	ck_assert_int_eq(parse(&form, s, &error), -EINVAL);
	ck_assert_str_eq(lp_buf_cstr(&error), text);
	lp_buf_free(&error);
	lp_form_free(&form);
}

/* Range parameters: 0, or the error text compared. */
static int range(const char *s, struct lp_range_args *args, const char *text)
{
	struct lp_form form = LP_FORM_INIT;
	struct lp_buf error = LP_BUF_INIT;
	int r;

	ck_assert_int_eq(parse(&form, s, &error), 0);
	r = lp_param_range(&form, NOW, args, &error);
	ck_assert_str_eq(lp_buf_cstr(&error), text);
	ck_assert_int_eq(r, text[0] ? -EINVAL : 0);
	lp_buf_free(&error);
	lp_form_free(&form);
	return r;
}

START_TEST(form_pairs)
{
	struct lp_form form = LP_FORM_INIT;
	struct lp_buf error = LP_BUF_INIT;
	const struct lp_param *p;

	ck_assert_int_eq(parse(&form, "a=1&b=x%20y+z&&c&a=2&=v&%e4=%00", &error), 0);
	ck_assert_uint_eq(form.n, 6);
	ck_assert_str_eq(lp_form_get(&form, "a")->value, "1");
	ck_assert_str_eq(lp_form_get(&form, "b")->value, "x y z");
	ck_assert_uint_eq(lp_form_get(&form, "c")->value_len, 0);
	p = lp_form_get(&form, "\xe4");
	ck_assert_ptr_nonnull(p);
	ck_assert_uint_eq(p->value_len, 1);
	ck_assert_ptr_null(lp_form_get(&form, "d"));
	lp_form_free(&form);
	expect_form_error("time=%zz", "invalid URL escape \"%zz\"");
	expect_form_error("a=1%2", "invalid URL escape \"%2\"");
	expect_form_error("a=%", "invalid URL escape \"%\"");
	expect_form_error("q=1;time=5", "invalid semicolon separator in query");
}
END_TEST

START_TEST(form_is_bounded)
{
	struct lp_form form = LP_FORM_INIT;
	struct lp_buf error = LP_BUF_INIT, text = LP_BUF_INIT;

	for (unsigned i = 0; i <= LP_FORM_MAX; i++)
		lp_buf_str(&text, "a&");
	ck_assert_int_eq(lp_form_parse(&form, (char *)text.data, text.len, &error), -E2BIG);
	lp_form_free(&form);
	lp_buf_free(&error);
	lp_buf_free(&text);
}
END_TEST

START_TEST(path_segments)
{
	char to[16];

	ck_assert_int_eq(lp_path_unescape(to, "a%2Fb+", 6), 4);
	ck_assert_mem_eq(to, "a/b+", 4);
	ck_assert_int_eq(lp_path_unescape(to, "a%2", 3), -EINVAL);
}
END_TEST

static void expect_time(const char *s, int64_t ns)
{
	struct lp_param p = { "t", s, 1, strlen(s) };
	struct lp_buf error = LP_BUF_INIT;
	int64_t got = 0;

	ck_assert_int_eq(lp_param_time(&p, 7, &got, &error), 0);
	ck_assert_int_eq(got, ns);
	lp_buf_free(&error);
}

static void expect_bad_time(const char *s, const char *text)
{
	struct lp_param p = { "t", s, 1, strlen(s) };
	struct lp_buf error = LP_BUF_INIT;
	int64_t got = 5;

	ck_assert_int_eq(lp_param_time(&p, 7, &got, &error), -EINVAL);
	ck_assert_str_eq(lp_buf_cstr(&error), text);
	ck_assert_int_eq(got, 5);
	lp_buf_free(&error);
}

START_TEST(times)
{
	expect_time("", 7);
	expect_time("1793491200", 1793491200 * SEC);
	expect_time("1793491200000000001", INT64_C(1793491200000000001));
	expect_time("1793493000.25", 1793493000 * SEC + SEC / 4);
	expect_time("1793491200.0004", 1793491200 * SEC);       /* milliseconds are kept, no more */
	expect_time("2026-11-01T01:00:00+01:00", 1793491200 * SEC);
	expect_time("4000000000", 4000000000 * SEC);            /* what Grafana's health check sends */
	expect_time("9999999999", INT64_MAX);
	expect_time("0", 0);
	expect_time("-5", -5 * SEC);
	expect_bad_time("x", "strconv.ParseInt: parsing \"x\": invalid syntax");
	expect_bad_time("1e3", "strconv.ParseInt: parsing \"1e3\": invalid syntax");
	expect_bad_time("-1h", "strconv.ParseInt: parsing \"-1h\": invalid syntax");
	expect_bad_time("2026-11-01", "strconv.ParseInt: parsing \"2026-11-01\": invalid syntax");
	expect_bad_time("2026-11-01t00:00:00z", "strconv.ParseInt: parsing \"2026-11-01t00:00:00z\": invalid syntax");
	expect_time("2026-11-01T00:00:00.5Z", 1793491200 * SEC + SEC / 2);
	expect_bad_time("99999999999999999999", "strconv.ParseInt: parsing \"99999999999999999999\": value out of range");
	expect_bad_time("9223372036854775808", "strconv.ParseInt: parsing \"9223372036854775808\": value out of range");
}
END_TEST

START_TEST(range_defaults)
{
	struct lp_range_args a;

	range("query=x", &a, "");
	ck_assert_int_eq(a.start_ns, NOW - 3600 * SEC);
	ck_assert_int_eq(a.end_ns, NOW);
	ck_assert_int_eq(a.step_ns, 14 * SEC);
	ck_assert_int_eq(a.interval_ns, 0);
	ck_assert_uint_eq(a.limit, 100);
	ck_assert(!a.forward);
	range("since=1m30s&direction=FORWARD&step=500ms&interval=0.5&limit=2&limit=5", &a, "");
	ck_assert_int_eq(a.start_ns, NOW - 90 * SEC);
	ck_assert_int_eq(a.step_ns, SEC / 2);
	ck_assert_int_eq(a.interval_ns, SEC / 2);
	ck_assert_uint_eq(a.limit, 2);
	ck_assert(a.forward);
	range("end=1793502000", &a, "");        /* an end in the future does not move the start */
	ck_assert_int_eq(a.start_ns, NOW - 3600 * SEC);
	range("start=5&end=5", &a, "");
	ck_assert_int_eq(a.step_ns, SEC);
}
END_TEST

START_TEST(range_errors)
{
	struct lp_range_args a;
	const char *zero = "zero or negative query resolution step widths are not accepted. Try a positive integer";

	range("start=x", &a, "could not parse 'start' parameter: strconv.ParseInt: parsing \"x\": invalid syntax");
	range("end=1x", &a, "could not parse 'end' parameter: strconv.ParseInt: parsing \"1x\": invalid syntax");
	range("since=1.5h", &a, "could not parse 'since' parameter: unknown unit \".\" in duration \"1.5h\"");
	range("since=60", &a, "could not parse 'since' parameter: not a valid duration string: \"60\"");
	range("since=5s1m", &a, "could not parse 'since' parameter: not a valid duration string: \"5s1m\"");
	range("start=2000&end=1000", &a, "end timestamp must not be before or equal to start time");
	range("limit=0", &a, "limit must be a positive value");
	range("limit=-3", &a, "limit must be a positive value");
	range("limit=x", &a, "strconv.Atoi: parsing \"x\": invalid syntax");
	range("direction=up", &a, "invalid direction 'up'");
	range("step=x", &a, "cannot parse \"x\" to a valid duration");
	range("step=-1m", &a, "cannot parse \"-1m\" to a valid duration");
	range("step=1e300", &a, "cannot parse \"1e300\" to a valid duration. It overflows int64");
	range("step=0", &a, zero);
	range("step=0s", &a, zero);
	range("step=-1", &a, zero);
	range("step=0.1", &a, "exceeded maximum resolution of 11,000 points per time series. Try increasing the value of the step parameter");
	range("interval=-1", &a, "interval must be >= 0");
	range("interval=1x", &a, "cannot parse \"1x\" to a valid duration");
	range("interval=nan", &a, "interval must be >= 0");
	range("step=NaN", &a, zero);
	range("step=Inf", &a, "cannot parse \"Inf\" to a valid duration. It overflows int64");
	range("step=-infinity", &a, "cannot parse \"-infinity\" to a valid duration. It overflows int64");
	range("step=nan(1)", &a, "cannot parse \"nan(1)\" to a valid duration");
	range("step=-nan", &a, "cannot parse \"-nan\" to a valid duration");
	range("step=0x10", &a, "cannot parse \"0x10\" to a valid duration");
	range("step=0x10p0", &a, "");
	ck_assert_int_eq(a.step_ns, 16 * SEC);
}
END_TEST

static void expect_printed(void (*print)(struct lp_buf *, int64_t), int64_t ns, const char *text)
{
	struct lp_buf out = LP_BUF_INIT;

	print(&out, ns);
	ck_assert_str_eq(lp_buf_cstr(&out), text);
	lp_buf_free(&out);
}

START_TEST(durations_print)
{
	expect_printed(lp_prom_duration_print, 721 * 3600 * SEC, "30d1h");
	expect_printed(lp_prom_duration_print, 14 * LP_NS_PER_DAY, "2w");
	expect_printed(lp_prom_duration_print, 90 * LP_NS_PER_DAY, "90d");
	expect_printed(lp_prom_duration_print, 0, "0s");
	expect_printed(lp_prom_duration_print, 1500 * LP_NS_PER_MS, "1s500ms");
	expect_printed(lp_go_duration_print, 746 * 3600 * SEC, "746h0m0s");
	expect_printed(lp_go_duration_print, 61 * SEC + SEC / 2, "1m1.5s");
}
END_TEST

static bool is_log(const char *s)
{
	return lp_is_log_query(s, strlen(s));
}

START_TEST(log_queries)
{
	ck_assert(is_log("{a=\"b\"}"));
	ck_assert(is_log(" # rate(\n\t({a=\"b\"})"));
	ck_assert(!is_log("rate({a=\"b\"}[1m])"));
	ck_assert(!is_log("1 + 1"));
	ck_assert(!is_log(""));
	ck_assert(!is_log("# only a comment {"));
}
END_TEST

START_TEST(paths)
{
	const char *name, *pattern = "/loki/api/v1/label/{name}/values";
	size_t n;

	ck_assert(lp_path_match("/ready", "/ready", 6, &name, &n));
	ck_assert(!lp_path_match("/ready", "/ready/", 7, &name, &n));
	ck_assert(!lp_path_match("/ready", "/read", 5, &name, &n));
	ck_assert(lp_path_match(pattern, "/loki/api/v1/label/app/values", 29, &name, &n));
	ck_assert_uint_eq(n, 3);
	ck_assert_mem_eq(name, "app", 3);
	ck_assert(!lp_path_match(pattern, "/loki/api/v1/label/app", 22, &name, &n));
	ck_assert(!lp_path_match(pattern, "/loki/api/v1/label//values", 26, &name, &n));
	ck_assert(!lp_path_match(pattern, "/loki/api/v1/label/a/b/values", 29, &name, &n));
}
END_TEST

START_TEST(methods)
{
	char text[64];

	ck_assert_uint_eq(lp_method_parse("GET", 3), LP_METHOD_GET);
	ck_assert_uint_eq(lp_method_parse("get", 3), 0);
	lp_methods_print(text, LP_METHOD_GET | LP_METHOD_POST);
	ck_assert_str_eq(text, "GET, HEAD, POST, OPTIONS");
	lp_methods_print(text, ~0u);
	ck_assert_str_eq(text, "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
}
END_TEST

static bool gzip(const char *s)
{
	return lp_accepts_gzip(s, strlen(s));
}

START_TEST(encodings)
{
	ck_assert(gzip("gzip"));
	ck_assert(gzip("deflate, gzip;q=0.5"));
	ck_assert(gzip("br , GZIP"));
	ck_assert(!gzip("gzip;q=0, deflate"));
	ck_assert(!gzip("gzip; q=0.000"));
	ck_assert(!gzip("gzipped"));
	ck_assert(!gzip(""));
}
END_TEST

START_TEST(body_length_told_twice)
{
	static const struct {
		const char *head;
		bool ambiguous;
	} cases[] = {
		{ "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nabcde", false },
		{ "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\ncontent-length: 5\r\n", false },
		{ "POST / HTTP/1.1\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n", true },
		{ "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\nX: y\r\ncontent-length: 4\r\n\r\n", true },
		{ "\r\n\r\nPOST / HTTP/1.1\r\nContent-Length: 0\r\nCONTENT-LENGTH: 5\r\n\r\n", true },
		{ "POST / HTTP/1.1\nContent-Length: 0\nContent-Length: 0\n\n", true },
		{ "POST / HTTP/1.1\r\nX-Content-Length: 4\r\ncontent-length: 4\r\n\r\n", false },
		{ "", false },
	};

	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
		ck_assert_msg(lp_head_is_ambiguous(cases[i].head, strlen(cases[i].head)) == cases[i].ambiguous, "case %zu", i);
	ck_assert(!lp_head_is_ambiguous(cases[2].head, 40));    /* cut off before the second one */
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("http params");
	TCase *tc = tcase_create("all");
	SRunner *runner;
	int failed;

	tcase_add_test(tc, form_pairs);
	tcase_add_test(tc, form_is_bounded);
	tcase_add_test(tc, path_segments);
	tcase_add_test(tc, times);
	tcase_add_test(tc, range_defaults);
	tcase_add_test(tc, range_errors);
	tcase_add_test(tc, durations_print);
	tcase_add_test(tc, log_queries);
	tcase_add_test(tc, paths);
	tcase_add_test(tc, methods);
	tcase_add_test(tc, encodings);
	tcase_add_test(tc, body_length_told_twice);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
