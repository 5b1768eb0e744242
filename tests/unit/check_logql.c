/* LogQL: what parses and how it prints, what does not and the words for it, limits. */
#include "query/logql/ast.h"
#include "tests/lib/logql_dump.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const struct {
	const char *text, *print;       /* NULL: prints as it is written */
} good[] = {
	{ "{app=\"api\", env!=\"x\", a=~\"b.*\", c!~\"d\"}", NULL },
	{ "{app=`api`}|=`back\"tick`", "{app=\"api\"} |= \"back\\\"tick\"" },
	{ "{app=\"api\"} |= \"a\" or \"b\" != \"c\" or ip(\"10.0.0.0/8\")", NULL },
	{ "{app=\"api\"} |~ \"x\" !~ \"y\" |> \"<_>a<_>\" !> \"b\"", NULL },
	{ "{app=\"api\"} | json | json a=\"b.c\",d=\"d\"", NULL },
	{ "{app=\"api\"} | LOGFMT --strict --keep-empty a=\"b\",c", "{app=\"api\"} | logfmt --strict --keep-empty a=\"b\",c=\"c\"" },
	{ "{app=\"api\"} | regexp \"(?P<x>\\\\w+)\" | pattern \"<a> <b>\" | unpack | decolorize", NULL },
	{ "{app=\"api\"} | logfmt | a=1, b=\"x\" or c>2", "{app=\"api\"} | logfmt | ( a==1 , ( b=\"x\" or c>2 ) )" },
	{ "{app=\"api\"} | logfmt | a=1 and b=\"x\" or c>2", "{app=\"api\"} | logfmt | ( ( a==1 , b=\"x\" ) or c>2 )" },
	{ "{app=\"api\"} | logfmt | a=1 or b=\"x\", c>2", "{app=\"api\"} | logfmt | ( a==1 or ( b=\"x\" , c>2 ) )" },
	{ "{app=\"api\"} | logfmt | a=1 b=2", "{app=\"api\"} | logfmt | ( a==1 , b==2 )" },
	{ "{app=\"api\"} | logfmt | d>1h30m | s<=3KB | i!=ip(\"::1\")", "{app=\"api\"} | logfmt | d>1h30m0s | s<=3.0kB | i!=ip(\"::1\")" },
	{ "{app=\"api\"} | line_format \"{{.a}}\" | label_format a=b,c=\"{{.d}}\" | drop a,b=\"c\" | keep d,e=~\"f\"", NULL },
	{ "count_over_time({app=\"api\"}[1d12h])", NULL },
	{ "count_over_time(({app=\"api\"} |= \"x\")[0h60m] offset -5m)", "count_over_time({app=\"api\"} |= \"x\"[1h] offset -5m0s)" },
	{ "rate({app=\"api\"}[1m] | json | unwrap bytes(x) | __error__=\"\")", "rate({app=\"api\"} | json | unwrap bytes(x) | __error__=\"\"[1m])" },
	{ "quantile_over_time(0.99,{a=\"b\"} | unwrap d[5m]) by (a,b)", NULL },
	{ "sum(rate({a=\"b\"}[1m]))by(x)", "sum by (x)(rate({a=\"b\"}[1m]))" },
	{ "topk without (x) (2, rate({a=\"b\"}[1m]))", "topk without (x)(2,rate({a=\"b\"}[1m]))" },
	{ "sum by (rate, sum) (count_over_time({a=\"b\"}[1h]))", "sum by (rate,sum)(count_over_time({a=\"b\"}[1h]))" },
	{ "1 + 2 * 3 ^ 2 / -1 % 5 == bool 4", "0" }, { "-2^2", "4" }, { "1_000", "1000" }, { "1/0", "(0 / 0)" }, { "vector(1)", "vector(1.000000)" },
	{ "vector(1e308)", "vector(1e+308)" }, { "vector(0.0000001)", "vector(1e-07)" },
	/* What Loki's own text would lose: rounded sizes, numbers without a spelling, a name that is a sign. */
	{ "{a=\"b\"} | x=0.B | x>1536B | x<999950B | x!=1MB", "{a=\"b\"} | x==0.0B | x>1536B | x<999950B | x!=1.0MB" },
	{ "{a=\"b\"} | x>-0.0 | d<1500us", "{a=\"b\"} | x>-0.0 | d<1.5ms" }, { "0 * -1", "-0.0" }, { "1e308 * 10", "(1e+308 * 10)" },
	{ "-1e308 * 10", "(-1e+308 * 10)" }, { "vector(1) + 1/0", "(vector(1.000000) + (0 / 0))" }, { "{! =\"b\"}", NULL },
	{ "quantile_over_time(0.0000001,{a=\"b\"} | unwrap d[5m])", NULL },
	{ "vector(1)^vector(1)^vector(1)^vector(1)", "(vector(1.000000) ^ (vector(1.000000) ^ (vector(1.000000) ^ vector(1.000000))))" },
	{ "rate({a=\"b\"}[1m])>bool 5", "(rate({a=\"b\"}[1m]) > bool 5)" },
	{ "vector(1) or vector(2) and ignoring(z) vector(3)", "(vector(1.000000) or (vector(2.000000) and ignoring (z)  vector(3.000000)))" },
	{ "vector(1) / on(a) group_left(b) vector(2)", "(vector(1.000000) / on (a) group_left (b) vector(2.000000))" },
	{ "label_replace(rate({a=\"b\"}[1m]),\"a\",\"$1\",\"b\",\"(.*)\")", NULL },
	{ "# c\n{a=\"b\"} // d\n/* e */ |= \"# f\"", "{a=\"b\"} |= \"# f\"" },
};

START_TEST(prints)
{
	const char *text = good[_i].text, *want = good[_i].print ? good[_i].print : text;
	struct lp_buf out = LP_BUF_INIT, tree = LP_BUF_INIT, again = LP_BUF_INIT;
	struct lp_logql *query = NULL;

	ck_assert_msg(lp_logql_parse(text, strlen(text), &query, &out) == 0, "%s: %s", text, lp_buf_cstr(&out));
	lp_logql_print(query->root, &out);
	ck_assert_str_eq(lp_buf_cstr(&out), want);
	dump_expr(query->root, &tree);
	lp_logql_free(&query);
	ck_assert_ptr_null(query);
	/* The print is the same query. */
	ck_assert_msg(lp_logql_parse(want, strlen(want), &query, &out) == 0, "%s: %s", want, lp_buf_cstr(&out));
	dump_expr(query->root, &again);
	ck_assert_str_eq(lp_buf_cstr(&tree), lp_buf_cstr(&again));
	lp_logql_free(&query);
	lp_buf_free(&out);
	lp_buf_free(&tree);
	lp_buf_free(&again);
}
END_TEST

#define AT "parse error at line 1, col "
static const struct {
	const char *text, *error;
} bad[] = {
	{ "", "parse error : syntax error: unexpected $end" },
	{ "{", AT "2: syntax error: unexpected $end, expecting IDENTIFIER or }" },
	{ "{app}", AT "5: syntax error: unexpected }, expecting = or =~ or !~ or !=" },
	{ "{app==\"api\"}", "parse error at line 0, col 5: syntax error: unexpected ==, expecting = or =~ or !~ or !=" },
	{ "{app=\"api\",}", AT "12: syntax error: unexpected }, expecting IDENTIFIER" },
	{ "{app=\"api", AT "6: literal not terminated" },
	{ "{app=~\"*\"}", "parse error : error parsing regexp: missing argument to repetition operator: `*`" },
	{ "{a=\"b\"} |= 5", AT "12: syntax error: unexpected NUMBER, expecting STRING or ip" },
	{ "{a=\"b\"} |= \"x\" |~ \"[\"", "parse error : stage '|= \"x\" |~ \"[\"' : error parsing regexp: missing closing ]: `[`" },
	{ "{a=\"b\"} |= ip(\"1.2.3\")", "parse error : stage '|= ip(\"1.2.3\")' : ip: invalid pattern: \"1.2.3\"" },
	{ "{a=\"b\"} |> \"<x>\"", "parse error : stage '|> \"<x>\"' : named captures are not allowed: found '<x>'" },
	{ "{a=\"b\"} | json x=\"b..c\"", "parse error : stage '| json x=\"b..c\"' : cannot parse expression [b..c]: syntax error: unexpected DOT, expecting FIELD" },
	{ "{a=\"b\"} | regexp \"x\"", "parse error : invalid regexp parser: at least one named capture must be supplied" },
	{ "{a=\"b\"} | pattern \"<a><b>\"", "parse error : invalid pattern parser: found consecutive capture '<a><b>': invalid expression" },
	{ "{a=\"b\"} | label_format x=y,x=z", "parse error : stage '| label_format x=y,x=z' : multiple label name 'x' not allowed in a single format operation" },
	{ "{a=\"b\"} | line_format \"{{nofn}}\"",
	  "parse error : stage '| line_format \"{{nofn}}\"' : invalid line template: template: line:1: function \"nofn\" not defined" },
	{ "{a=\"b\"} | unwrap x", AT "11: syntax error: unexpected unwrap" },
	{ "{a!=\"b\"}", "parse error : queries require at least one regexp or equality matcher that does not have an empty-compatible value. "
			 "For instance, app=~\".*\" does not meet this requirement, but app=~\".+\" will" },
	{ "count_over_time({a=\"b\"}[5])", "parse error at line 0, col 24: not a valid duration string: \"5\"" },
	{ "count_over_time({a=\"b\"} | json [5m] | logfmt)", AT "37: syntax error: unexpected |, expecting )" },
	{ "rate({a=\"b\"}[5m]) by (x)", "parse error : grouping not allowed for rate aggregation" },
	{ "sum_over_time({a=\"b\"}[5m])", "parse error : invalid aggregation sum_over_time without unwrap" },
	{ "bytes_rate({a=\"b\"} | unwrap x [5m])", "parse error : invalid aggregation bytes_rate with unwrap" },
	{ "quantile_over_time({a=\"b\"} | unwrap x [5m])", "parse error : parameter required for operation quantile_over_time" },
	{ "topk(rate({a=\"b\"}[1m]))", "parse error : parameter required for operation topk" },
	{ "topk(0, rate({a=\"b\"}[1m]))", "parse error : invalid parameter (must be greater than 0) topk(0" },
	{ "sum(2, rate({a=\"b\"}[1m]))", "parse error : unsupported parameter for operation sum(2," },
	{ "sort(rate({a=\"b\"}[1m])) by (x)", "parse error : sort and sort_desc doesn't allow grouping by " },
	{ "1 and 2", "parse error : unexpected literal for left leg of logical/set binary operation (and): 1.000000" },
	{ "{a=\"b\"} + 1", "parse error : unexpected type for left leg of binary operation (+): *syntax.MatchersExpr" },
	{ "1m", "parse error at line 0, col 1: syntax error: unexpected DURATION" },
	{ "sum by level (rate({a=\"b\"}[1m]))", AT "1: syntax error: unexpected IDENTIFIER" },
	{ "{a=\"b\"}\n| logfmt\n| a >", "parse error at line 3, col 6: syntax error: unexpected $end" },
};

START_TEST(refuses)
{
	struct lp_buf error = LP_BUF_INIT;
	struct lp_logql *query = NULL;

	ck_assert_int_eq(lp_logql_parse(bad[_i].text, strlen(bad[_i].text), &query, &error), -EINVAL);
	ck_assert_str_eq(lp_buf_cstr(&error), bad[_i].error);
	ck_assert_ptr_null(query);
	lp_buf_free(&error);
}
END_TEST

#define SELECTOR "{app=\"api\", env=\"production\", namespace=\"warehouse\"}"

static const struct {
	const char *text, *want;
} layouts[] = {
	{ "sum by (level, cluster, namespace) (count_over_time(" SELECTOR " |= \"error\" | logfmt | status >= 500 [5m]))",
	  "sum by (level, cluster, namespace)(\n  count_over_time(\n    " SELECTOR " |= \"error\" | logfmt | status>=500 [5m]\n  )\n)" },
	/* As many line filters share a line as fit; decolorize stands at the margin. */
	{ SELECTOR " |= \"an error that takes its place\" != \"b\" |~ \"another text that is long enough, it is for sure\" |= \"c\" | decolorize | json",
	  SELECTOR "\n  |= \"an error that takes its place\" != \"b\" |~ \"another text that is long enough, it is for sure\"\n  |= \"c\"\n| decolorize\n  | json" },
	{ "sum_over_time(" SELECTOR " | logfmt | unwrap duration(took) | __error__=\"\" | took > 5s [5m] offset 1h30m)",
	  "sum_over_time(\n  " SELECTOR " | logfmt\n    | unwrap duration(took)\n    | __error__=\"\"\n    | took>5s [5m] offset 1h30m\n)" },
	{ "sum by (a) (rate(" SELECTOR "[5m])) / on (a,b) group_left sum by (a,b) (rate(" SELECTOR "[5m]))",
	  "  sum by (a)(rate(" SELECTOR "[5m]))\n/ on (a, b) group_left\n  sum by (a,b)(rate(" SELECTOR "[5m]))" },
};

START_TEST(several_lines)
{
	struct lp_buf out = LP_BUF_INIT;
	struct lp_logql *query = NULL;

	ck_assert_int_eq(lp_logql_parse(layouts[_i].text, strlen(layouts[_i].text), &query, &out), 0);
	lp_logql_format(query->root, &out);
	ck_assert_str_eq(lp_buf_cstr(&out), layouts[_i].want);
	lp_logql_free(&query);
	lp_buf_free(&out);
}
END_TEST

START_TEST(selectors)
{
	struct lp_buf error = LP_BUF_INIT;
	struct lp_logql *query = NULL;

	ck_assert_int_eq(lp_logql_parse_selector("{}", 2, true, &query, &error), 0);
	lp_logql_free(&query);
	ck_assert_int_eq(lp_logql_parse_selector("{}", 2, false, &query, &error), -EINVAL);
	ck_assert_int_eq(lp_logql_parse_selector("{a=\"b\"} |= \"x\"", 14, true, &query, &error), -EINVAL);
	ck_assert_str_eq(lp_buf_cstr(&error), "only label matchers are supported");
	lp_buf_free(&error);
}
END_TEST

/* Fill a text with n times piece between head and tail, and parse it. */
static int repeat(const char *head, const char *piece, unsigned n, const char *tail)
{
	struct lp_buf text = LP_BUF_INIT, error = LP_BUF_INIT;
	struct lp_logql *query = NULL;
	int r;

	lp_buf_str(&text, head);
	while (n--)
		lp_buf_str(&text, piece);
	lp_buf_str(&text, tail);
	r = lp_logql_parse((const char *)text.data, text.len, &query, &error);
	ck_assert(r == 0 || error.len);
	lp_logql_free(&query);
	lp_buf_free(&text);
	lp_buf_free(&error);
	return r;
}

START_TEST(limits)
{
	ck_assert_int_eq(repeat("", "(", 150, "1"), -EINVAL);
	ck_assert_int_eq(repeat("vector(1)", "^vector(1)", 60, ""), 0);
	ck_assert_int_eq(repeat("", "(", 100000, "1"), -E2BIG);
	ck_assert_int_eq(repeat("vector(1)", "+vector(1)", 60, ""), 0);
	ck_assert_int_eq(repeat("vector(1)", "+vector(1)", 5000, ""), -E2BIG);
	ck_assert_int_eq(repeat("1", "+1", 5000, ""), 0);
	ck_assert_int_eq(repeat("{a=\"b\"}| x=1", " or x=1", 400, ""), 0);
	ck_assert_int_eq(repeat("{a=\"b\"}| x=1", " or x=1", 5000, ""), -E2BIG);
	ck_assert_int_eq(repeat("{a=\"b\"}| x=1", ",x=1", 5000, ""), -E2BIG);
	ck_assert_int_eq(repeat("{a=\"b\"}|", "(", 5000, "x=1"), -E2BIG);
	ck_assert_int_eq(repeat("{a=\"b\"}", "|json", 5000, ""), -E2BIG);
	ck_assert_int_eq(repeat("{a=\"b\"", ",a=\"b\"", 5000, "}"), -E2BIG);
	ck_assert_int_eq(repeat("{a=\"b\"} |= \"", "x", LP_LOGQL_MAX_TEXT, "\""), -E2BIG);
	ck_assert_int_eq(repeat("", "sum ", 30000, ""), -EINVAL);
	ck_assert_int_eq(repeat("{a=\"b\"} | line_format \"", "{{if .a}}", 5000, "\""), -EINVAL);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("logql");
	TCase *tc = tcase_create("logql");
	SRunner *runner;
	int failed;

	tcase_set_timeout(tc, 60);
	tcase_add_loop_test(tc, prints, 0, sizeof good / sizeof good[0]);
	tcase_add_loop_test(tc, refuses, 0, sizeof bad / sizeof bad[0]);
	tcase_add_loop_test(tc, several_lines, 0, sizeof layouts / sizeof layouts[0]);
	tcase_add_test(tc, selectors);
	tcase_add_test(tc, limits);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
