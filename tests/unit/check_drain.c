/* Log templates: lines that differ in values only meet in one cluster, lines of another kind do not, and nothing outgrows its bound. */
#include "query/patterns/drain.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint32_t add(struct lp_drain *drain, const char *line)
{
	uint32_t cluster = UINT32_MAX;
	bool fresh;

	ck_assert_int_eq(lp_drain_add(drain, 0, line, strlen(line), &cluster, &fresh), 0);
	ck_assert_uint_lt(cluster, LP_DRAIN_CLUSTERS);
	return cluster;
}

static void ck_pattern(const struct lp_drain *drain, uint32_t cluster, const char *want)
{
	struct lp_buf out = LP_BUF_INIT;

	lp_drain_print(drain, cluster, &out);
	ck_assert_str_eq(lp_buf_cstr(&out), want);
	lp_buf_free(&out);
}

static const struct {
	const char *lines[3], *pattern;
} templates[] = {
	{ { "2026-11-22T21:50:19.123Z INFO request 17 took 5ms", "2026-11-22T21:50:20.001Z INFO request 18 took 1.25ms",
	    "2026-11-22T23:59:59.999Z INFO request 9999 took 12ms" },
	  "<_> INFO request <_> took <_>" },
	{ { "Accepted publickey for deploy from 10.0.0.17 port 50122 ssh2", "Accepted publickey for backup from 192.168.1.4 port 22 ssh2",
	    "Accepted publickey for root from 10.1.2.3 port 61000 ssh2" },
	  "Accepted publickey for <_> from <_> port <_> ssh2" },
	{ { "level=info msg=\"user logged in\" user=alice id=5f3a9c1e2b77", "level=info msg=\"user logged in\" user=bob id=0011223344ff",
	    "level=info msg=\"user logged in\" user=carol id=deadbeef0001" },
	  "level=info msg=\"user logged in\" user=<_> id=<_>" },
	{ { "{\"level\":\"error\",\"msg\":\"upstream failed\",\"code\":502,\"host\":\"db-1\"}", "{\"level\":\"error\",\"msg\":\"upstream failed\",\"code\":504,\"host\":\"db-2\"}",
	    "{\"level\":\"error\",\"msg\":\"upstream failed\",\"code\":500,\"host\":\"db-3\"}" },
	  "{\"level\":\"error\",\"msg\":\"upstream failed\",\"code\":<_>,\"host\":\"<_>\"}" },
	{ { "connect to 10.0.0.1:8080 refused", "connect to fe80::1:2 refused", "connect to 127.0.0.1:1 refused" }, "connect to <_> refused" },
	{ { "order 3f2504e0-4f89-11d3-9a0c-0305e82c3301 shipped", "order 7d444840-9dc0-11d1-b245-5ffdce74fad2 shipped",
	    "order e902893a-9d22-3c7e-a7b8-d6e313b71d9f shipped" },
	  "order <_> shipped" },
	{ { "10.0.0.1 - - [22/Nov/2026:21:50:19 +0000] \"GET /api/v1/users/17 HTTP/1.1\" 200 512",
	    "10.0.0.2 - - [22/Nov/2026:21:50:20 +0000] \"GET /api/v1/users/18 HTTP/1.1\" 404 9",
	    "10.9.0.2 - - [23/Nov/2026:01:50:20 +0000] \"GET /api/v1/users/1 HTTP/1.0\" 200 90" },
	  "<_> - - [<_>/Nov/<_> <_>] \"GET /api/v1/users/<_> HTTP/<_>\" <_> <_>" },
	{ { "queue  7 of mail  is full ", "queue 12 of mail  is full ", "queue 130 of mail  is full " }, "queue<_> of mail  is full " },
};

START_TEST(values_vary)
{
	struct lp_drain *drain = NULL;
	uint32_t first[sizeof templates / sizeof *templates];

	ck_assert_int_eq(lp_drain_open(&drain), 0);
	for (unsigned k = 0; k < 3; k++)
		for (unsigned i = 0; i < sizeof templates / sizeof *templates; i++) {
			uint32_t cluster = add(drain, templates[i].lines[k]);

			if (k == 0)
				first[i] = cluster;
			ck_assert_uint_eq(cluster, first[i]);
			for (unsigned j = 0; j < i; j++)
				ck_assert_uint_ne(cluster, first[j]);
		}
	for (unsigned i = 0; i < sizeof templates / sizeof *templates; i++)
		ck_pattern(drain, first[i], templates[i].pattern);
	lp_drain_close(&drain);
	ck_assert_ptr_null(drain);
}
END_TEST

/* Lines that only look alike. */
START_TEST(kinds_stay_apart)
{
	static const char *const lines[] = { "session opened for user root", "session closed for user root", "session closed", "level=info msg=login user=alice",
					     "level=info msg=logout user=bob", "GET /index.html", "GET /index.html?x=1", "http2 ready", "" };
	struct lp_drain *drain = NULL;

	ck_assert_int_eq(lp_drain_open(&drain), 0);
	for (unsigned i = 0; i < sizeof lines / sizeof *lines; i++)
		ck_assert_uint_eq(add(drain, lines[i]), i);
	ck_pattern(drain, 0, lines[0]);
	ck_pattern(drain, 7, "http2 ready");
	ck_pattern(drain, 8, "");
	lp_drain_close(&drain);
}
END_TEST

START_TEST(groups_never_meet)
{
	struct lp_drain *drain = NULL;
	uint32_t a, b;
	bool fresh;

	ck_assert_int_eq(lp_drain_open(&drain), 0);
	ck_assert_int_eq(lp_drain_add(drain, 1, "disk full", 9, &a, &fresh), 0);
	ck_assert(fresh);
	ck_assert_int_eq(lp_drain_add(drain, 2, "disk full", 9, &b, &fresh), 0);
	ck_assert(fresh);
	ck_assert_uint_ne(a, b);
	ck_assert_int_eq(lp_drain_add(drain, 1, "disk full", 9, &b, &fresh), 0);
	ck_assert(!fresh && a == b);
	lp_drain_close(&drain);
}
END_TEST

/* A name in front of the words: the first few get a cluster each, then the node is full and the others share one. */
START_TEST(node_is_bounded)
{
	struct lp_drain *drain = NULL;
	uint32_t max = 0;
	char line[64];

	ck_assert_int_eq(lp_drain_open(&drain), 0);
	for (unsigned i = 0; i < 400; i++) {
		snprintf(line, sizeof line, "%c%c%c has logged in", 'a' + (int)(i % 20), 'a' + (int)(i / 20), 'x');
		uint32_t cluster = add(drain, line);

		max = cluster > max ? cluster : max;
	}
	ck_assert_uint_lt(max, 20);
	ck_pattern(drain, max, "<_> has logged in");
	lp_drain_close(&drain);
}
END_TEST

/* More kinds of lines than clusters: numbers stay below the bound, the one that was met all the time stays. */
START_TEST(clusters_are_bounded)
{
	struct lp_drain *drain = NULL;
	uint32_t steady, cluster, forgotten = 0;
	char line[512];
	bool fresh;

	ck_assert_int_eq(lp_drain_open(&drain), 0);
	steady = add(drain, "heartbeat sent to 10.0.0.1");
	for (unsigned i = 0; i < 3 * LP_DRAIN_CLUSTERS; i++) {
		size_t n = 0;

		/* Shapes of their own: so many commas before the word, in one of three kinds of brackets. */
		for (unsigned k = 0; k < i / 10; k++)
			line[n++] = ',';
		n += (size_t)snprintf(line + n, sizeof line - n, "%c alpha", "=,;:()[]{}"[i % 10]);
		ck_assert_int_eq(lp_drain_add(drain, 0, line, n, &cluster, &fresh), 0);
		ck_assert_uint_lt(cluster, LP_DRAIN_CLUSTERS);
		forgotten += fresh && i >= LP_DRAIN_CLUSTERS;
		ck_assert_uint_eq(add(drain, "heartbeat sent to 10.0.0.2"), steady);
	}
	ck_assert_uint_gt(forgotten, LP_DRAIN_CLUSTERS);
	lp_drain_close(&drain);
}
END_TEST

START_TEST(long_lines_are_cut)
{
	struct lp_drain *drain = NULL;
	struct lp_buf out = LP_BUF_INIT;
	char line[3 * LP_DRAIN_LINE];

	ck_assert_int_eq(lp_drain_open(&drain), 0);
	for (size_t i = 0; i + 1 < sizeof line; i++)
		line[i] = i % 8 == 7 ? ' ' : 'w';
	line[sizeof line - 1] = 0;
	lp_drain_print(drain, add(drain, line), &out);
	ck_assert_uint_le(out.len, LP_DRAIN_TOKENS * 8 + 3);
	ck_assert_int_eq(memcmp(out.data + out.len - 3, "<_>", 3), 0);
	memset(line, 'w', sizeof line - 1);
	lp_buf_reset(&out);
	lp_drain_print(drain, add(drain, line), &out);
	ck_assert_uint_eq(out.len, LP_DRAIN_LINE + 3);
	lp_buf_free(&out);
	lp_drain_close(&drain);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("drain");
	TCase *tc = tcase_create("drain");
	SRunner *runner = srunner_create(suite);

	tcase_add_test(tc, values_vary);
	tcase_add_test(tc, kinds_stay_apart);
	tcase_add_test(tc, groups_never_meet);
	tcase_add_test(tc, node_is_bounded);
	tcase_add_test(tc, clusters_are_bounded);
	tcase_add_test(tc, long_lines_are_cut);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_NORMAL);
	int failed = srunner_ntests_failed(runner);

	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
