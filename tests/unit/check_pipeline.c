/* Pipelines: a query, a line, and what comes out of it, for every stage; samples and parser hints. */
#include "query/discover.h"
#include "query/pipeline/pipeline.h"
#include "store/format/labels.h"

#include <check.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The stream is {app="x", level="info"}, metadata is user="bob".  want: "line | labels but those", "=" for an unchanged
 * line, -name for a label of those that is gone, "" when dropped. */
static const struct {
	const char *stages, *line, *want;
} cases[] = {
	{ "|= \"b\" != \"z\"", "abc", "= |" }, { "|= \"z\" or \"c\"", "abc", "= |" }, { "!= \"z\" or \"c\"", "abc", "" },
	{ "|~ \"a.c\"", "abc", "= |" }, { "|~ \"(?i)ABC\"", "xabc", "= |" }, { "!~ \"b+\"", "abc", "" },
	{ "|> \"<_>b<_>\"", "abc", "= |" }, { "|> \"<_>c<_>\"", "abc", "" }, { "!> \"abc\"", "abc", "" },
	{ "|= ip(\"10.0.0.0/8\")", "from 10.1.2.3:80", "= |" }, { "|= ip(\"::1-::9\")", "at ::5 x", "= |" },
	{ "| json", "{\"a\":{\"b-c\":1.50},\"d\":[1],\"e\":null,\"level\":\"w\",\"a\":2,\"a\":3}", "= | a=2 a_b_c=1.50 level_extracted=w" },
	{ "| json", "[1]", "= | __error__=JSONParserErr __error_details__=?" },
	{ "| json", "{\"a\":\"\\u00e9\\ud83d\\ude00\\n\",\"b\":\"\\z\"} rest", "= | a=\xc3\xa9\xf0\x9f\x98\x80\n b=" },
	{ "| json x=\"a.b[1]\", y=\"a\", z=\"q\"", "{\"a\":{\"b\":[1,\"two\"]}}", "= | x=two y={\"b\":[1,\"two\"]} z=" },
	{ "| logfmt", "a=1 b=\"x \\\"y\\\"\" c= d \"bad\"=2 user=u 9z=3", "= | _9z=3 a=1 b=x \"y\" user_extracted=u" },
	{ "| logfmt --keep-empty", "a= b", "= | a= b=" }, { "| logfmt --strict", "a=1 b=\"x", "= | __error__=LogfmtParserErr __error_details__=? a=1" },
	/* A line that brings a label __error__ of its own: the pipeline's error hides it, and the name stands once. */
	{ "| logfmt --strict", "__error__=mine __error_details__=mine a=\"x", "= | __error__=LogfmtParserErr __error_details__=?" },
	{ "| logfmt --strict", "__error__=mine a=x", "= | __error__=mine a=x" },
	{ "| logfmt q=\"a\", r=\"zz\"", "a=1 b=2", "= | q=1 r=" },
	{ "| logfmt q=\"a_b\"", "a-b=1", "= | q=1" }, { "| json x=\"a\"", "{\"a\":[\"\\u00e9\\\"\"]}", "= | x=[\"\xc3\xa9\"\"]" },
	{ "| regexp \"(?P<m>[A-Z]+) (?P<p>/\\\\S*)?\"", "GET /x", "= | m=GET p=/x" }, { "| pattern \"<m> <_> <p>;\"", "GET a b; c", "= | m=GET p=b" },
	{ "| unpack", "{\"_entry\":\"new\",\"k\":\"v\",\"n\":1}", "new | k=v" }, { "| unpack", "{\"k\":\"v\"}", "= |" },
	{ "| logfmt | a>1 and b<2s, c>=1KB", "a=1.5 b=1999ms c=2KiB", "= | a=1.5 b=1999ms c=2KiB" }, { "| logfmt | nope!=1", "a=1", "" },
	{ "| logfmt | nope!=\"1\"", "a=1", "= | a=1" }, { "| logfmt | a>1", "a=x", "= | __error__=LabelFilterErr __error_details__=? a=x" },
	{ "| user=~\"b.b\" | level!~\"w.*\"", "x", "= |" }, { "| logfmt | i=ip(\"10.0.0.0/8\")", "i=10.9.9.9", "= | i=10.9.9.9" },
	{ "| logfmt | n=~\".*b\"", "n=abc", "= | n=abc" }, /* Loki's unanchored replacement */
	{ "| logfmt | n=~\"ab|acd\"", "n=xacdx", "= | n=xacdx" }, { "| logfmt | n=~\"ab|cd\"", "n=xab", "" }, { "| logfmt | n=~\"ab|ac\"", "n=xab", "" },
	{ "| logfmt | n=~\"/api/(users|orders)\"", "n=/api/users/7", "= | n=/api/users/7" }, { "| logfmt | n!~\"a(?:|bc)\"", "n=xay", "" },
	{ "| logfmt | n=~\"(?i)AB.*\"", "n=xaB", "= | n=xaB" }, { "| logfmt | n=~\"a.*(bc|de)\"", "n=abc", "= | n=abc" },
	{ "| logfmt | n=~\"\"", "n=abc", "= | n=abc" }, { "| logfmt | n=~\"a.*b.*c\"", "n=\"ab\\nc\"", "" },
	{ "| line_format \"{{.app}}-{{.nope}}-{{.user | ToUpper}}\"", "x", "x--BOB |" },
	{ "| line_format \"{{__line__ | trunc 2}}{{if eq .level `info`}}!{{else}}?{{end}}\"", "abc", "ab! |" },
	{ "| line_format \"{{range $i, $v := fromJson __line__}}{{$i}}{{$v}};{{end}}\"", "[5,\"x\"]", "05;1x; |" },
	{ "| line_format \"{{div 1 0}}\"", "x", "= | __error__=TemplateFormatErr __error_details__=?" },
	{ "| line_format \"{{__timestamp__ | date `2006-01-02T15:04:05.000Z07:00`}}\"", "x", "1970-01-01T00:00:01.500Z |" },
	{ "| line_format \"{{printf `%05d|%-4s|%.2f|%q` 42 `a` 1.005 `b`}}{{addf 0.1 0.2}}{{bytes `1.5MB`}}\"", "x", "00042|a   |1.00|\"b\"0.31.5e+06 |" },
	{ "| label_format a=\"{{.user}}\",b=user | drop level", "x", "= | a=bob b=bob -level -user" },
	{ "| decolorize", "\x1b[1;31mred\x1b[0m", "red |" }, { "| keep app", "x", "= | -level -user" },
	{ "| drop user=\"bob\", level=\"x\"", "x", "= | -user" },
	/* Filters run before decolorize, but not before what makes another line. */
	{ "| decolorize |~ \"^a\"", "\x1b[1ma", "" }, { "| decolorize | line_format \"{{__line__}}!\" |~ \"^a\"", "\x1b[1ma", "a! |" },
	/* Expressions replace what earlier stages found; the last pair of a key counts, unless its name is taken. */
	{ "| logfmt q=\"a\"", "a=1 a=2", "= | q=2" }, { "| logfmt user=\"a\"", "a=1 a=2", "= | user_extracted=1" }, { "| logfmt user=\"a\"", "b=1", "= |" },
	{ "| logfmt a=\"b\", b=\"c\"", "b=1", "= | a=1 b=" }, { "| logfmt | logfmt q=\"a\"", "a=1", "= | a=1 q=" },
	/* Paths in broken text are followed as Loki's scanner follows them. */
	{ "| json a=\"x\"", "\"x\":1", "= | __error__=JSONParserErr __error_details__=? a=" },
	{ "| json a=\"x[0]\", b=\"x[1].y\"", "{\"x\":[\"q\",{\"y\":2}", "= | a=q b=2" },
	{ "| json a=\"x\", b=\"x.y\"", "{\"z\" {\"x\":{\"y\":1\"\\/\"", "= | a= b=" },
	{ "| json a=\"x\"", "{\"x\":1\"\\/\",", "= | a=1\"/\"" }, { "| json", "{\"\u00a0n\":1}", "= | n=1" },
	{ "| json a=\"x\" | json a=\"y\"", "{\"x\":1,\"y\":2}", "= | a=2" }, { "| json user=\"nope\", b=\"nope\"", "{}", "= | b=" },
};

static struct lp_logql *query;
static struct lp_pipeline *pipeline;
static struct lp_pipeline_state *state;
static struct lp_buf labels, metadata;

static void open_query(const char *text)
{
	struct lp_label stream[] = { { "app", 3, 1, "x" }, { "level", 5, 4, "info" } }, meta[] = { { "user", 4, 3, "bob" } };
	struct lp_buf error = LP_BUF_INIT;
	struct lp_pipeline_spec spec = { 0 };

	ck_assert_msg(lp_logql_parse(text, strlen(text), &query, &error) == 0, "%s: %s", text, lp_buf_cstr(&error));
	lp_buf_free(&error);
	if (query->root->kind == LP_EXPR_LOG)
		spec.stages = query->root->log.stages;
	else
		spec.range = query->root->kind == LP_EXPR_VECTOR_AGG ? query->root->inner->range : query->root->range;
	if (query->root->kind == LP_EXPR_VECTOR_AGG)
		spec.grouping = &query->root->grouping;
	ck_assert_int_eq(lp_labels_encode(&labels, "", 0, stream, 2), 0);
	ck_assert_int_eq(lp_metadata_encode(&metadata, meta, 1), 0);
	ck_assert_int_eq(lp_pipeline_open(&spec, &pipeline), 0);
	ck_assert_int_eq(lp_pipeline_state_open(pipeline, &state), 0);
	ck_assert_int_eq(lp_pipeline_stream(state, labels.data, labels.len), 0);
}

static void close_query(void)
{
	lp_pipeline_state_close(&state);
	lp_pipeline_close(&pipeline);
	lp_logql_free(&query);
	lp_buf_free(&labels);
	lp_buf_free(&metadata);
}

static int run(const char *line, struct lp_pipeline_result *res)
{
	return lp_pipeline_line(state, 1500000000, line, strlen(line), metadata.data, metadata.len, res);
}

static bool has(const struct lp_pipeline_result *res, const char *name, const char *value)
{
	for (uint32_t i = 0; i < res->n_labels; i++)
		if (res->labels[i].name_len == strlen(name) && !memcmp(res->labels[i].name, name, strlen(name)))
			return !value || (res->labels[i].value_len == strlen(value) && !memcmp(res->labels[i].value, value, strlen(value)));
	return false;
}

/* The result in the form of the table. */
static void describe(const struct lp_pipeline_result *res, const char *line, struct lp_buf *out)
{
	static const struct { const char *name, *value; } base[] = { { "app", "x" }, { "level", "info" }, { "user", "bob" } };

	if (res->line_len == strlen(line) && !memcmp(res->line, line, res->line_len))
		lp_buf_str(out, "=");
	else
		lp_buf_append(out, res->line, res->line_len);
	lp_buf_str(out, " |");
	for (uint32_t i = 0; i < res->n_labels; i++) {
		const struct lp_pipeline_label *l = &res->labels[i];
		bool known = false;

		for (unsigned k = 0; k < 3; k++)
			known = known || (l->name_len == strlen(base[k].name) && !memcmp(l->name, base[k].name, l->name_len));
		if (known)
			continue;
		lp_buf_byte(out, ' ');
		lp_buf_append(out, l->name, l->name_len);
		lp_buf_byte(out, '=');
		if (l->name_len == 17 && !memcmp(l->name, "__error_details__", 17))
			lp_buf_byte(out, '?');
		else
			lp_buf_append(out, l->value, l->value_len);
	}
	for (unsigned k = 0; k < 3; k++)
		if (!has(res, base[k].name, base[k].value)) {
			lp_buf_str(out, " -");
			lp_buf_str(out, base[k].name);
		}
}

START_TEST(stages)
{
	struct lp_buf text = LP_BUF_INIT, got = LP_BUF_INIT;
	const char *want = cases[_i].want;
	struct lp_pipeline_result res;
	int r;

	lp_buf_printf(&text, "{app=\"x\"} %s", cases[_i].stages);
	open_query(lp_buf_cstr(&text));
	r = run(cases[_i].line, &res);
	ck_assert_int_eq(r, *want != '\0');
	if (r) {
		describe(&res, cases[_i].line, &got);
		ck_assert_str_eq(lp_buf_cstr(&got), want);
	}
	close_query();
	lp_buf_free(&text);
	lp_buf_free(&got);
}
END_TEST

static const struct {
	const char *query, *line, *label, *value;       /* label of the series, or NULL: it has none at all */
	double sample;
	const char *error;
} samples[] = {
	{ "count_over_time({app=\"x\"}[1m])", "abc", "level", "info", 1, NULL },
	{ "bytes_over_time({app=\"x\"}[1m])", "abc", "user", "bob", 3, NULL },
	{ "sum(count_over_time({app=\"x\"} | json [1m]))", "broken", NULL, NULL, 1, NULL },
	{ "sum by (a) (count_over_time({app=\"x\"} | json [1m]))", "{\"a\":\"1\",\"b\":}", "a", "1", 1, NULL },
	{ "count_over_time({app=\"x\"} | json [1m])", "broken", "level", "info", 1, "JSONParserErr" },
	{ "sum by (__error__) (count_over_time({app=\"x\"} | json [1m]))", "broken", "__error__", "JSONParserErr", 1, NULL },
	/* What is wanted is found: the second parser does not run. */
	{ "sum by (a) (count_over_time({app=\"x\"} | logfmt | json [1m]))", "a=1", "a", "1", 1, NULL },
	/* Nobody wants a label of the pair's name. */
	{ "sum by (m) (count_over_time({app=\"x\"} | logfmt m=\"q\" [1m]))", "q=1", NULL, NULL, 1, NULL },
	{ "sum_over_time({app=\"x\"} | logfmt | unwrap v [1m])", "v=1.5", "level", "info", 1.5, NULL },
	{ "sum_over_time({app=\"x\"} | logfmt | unwrap duration(v) [1m])", "v=1500ms", "app", "x", 1.5, NULL },
	{ "sum_over_time({app=\"x\"} | logfmt | unwrap bytes(v) [1m])", "v=1KiB", "app", "x", 1024, NULL },
	{ "sum_over_time({app=\"x\"} | logfmt | unwrap v [1m])", "v=x", "level", "info", 0, "SampleExtractionErr" },
	{ "max_over_time({app=\"x\"} | logfmt | unwrap v [1m]) by (k)", "v=2 k=q", "k", "q", 2, NULL },
	{ "max_over_time({app=\"x\"} | logfmt | unwrap v [1m]) without (level,user,k)", "v=2 k=q", "app", "x", 2, NULL },
};

START_TEST(metrics)
{
	struct lp_pipeline_result res;

	open_query(samples[_i].query);
	ck_assert_int_eq(run(samples[_i].line, &res), 1);
	ck_assert_double_eq(res.value, samples[_i].sample);
	if (samples[_i].label)
		ck_assert(has(&res, samples[_i].label, samples[_i].value));
	else
		ck_assert_uint_eq(res.n_labels, 0);
	ck_assert(!has(&res, "v", NULL) || samples[_i].error);
	ck_assert(samples[_i].error ? res.error && !strcmp(res.error, samples[_i].error) : !res.error);
	close_query();
}
END_TEST

START_TEST(unwrap_drops)
{
	struct lp_pipeline_result res;

	open_query("sum_over_time({app=\"x\"} | logfmt | unwrap v | __error__=\"\" [1m])");
	ck_assert_int_eq(run("w=1", &res), 0);
	ck_assert_int_eq(run("v=x", &res), 0);
	ck_assert_int_eq(run("v=1", &res), 1);
	close_query();
}
END_TEST

/* One state over many lines: nothing of a line is left for the next one. */
START_TEST(lines_are_apart)
{
	struct lp_pipeline_result res;
	uint64_t hash;

	open_query("{app=\"x\"} | json | drop level");
	ck_assert_int_eq(run("{\"a\":\"1\"}", &res), 1);
	hash = res.hash;
	ck_assert_int_eq(run("bad", &res), 1);
	ck_assert(has(&res, "__error__", "JSONParserErr") && !has(&res, "a", NULL));
	ck_assert_int_eq(run("{\"a\":\"1\"}", &res), 1);
	ck_assert(res.hash == hash && !res.error);
	close_query();
}
END_TEST

START_TEST(bounded)
{
	struct lp_pipeline_result res;
	char *line = calloc(1, 300001);

	ck_assert_ptr_nonnull(line);
	open_query("{app=\"x\"} | json | line_format `{{range 100000000}}x{{end}}`");
	memset(line, '{', 300000);
	for (unsigned i = 0; i + 5 < 300000; i += 5)
		memcpy(line + i, "{\"a\":", 5);
	ck_assert_int_eq(run(line, &res), 1);
	ck_assert_str_eq(res.error, "JSONParserErr");
	close_query();
	free(line);
}
END_TEST

/* ---- labels that nobody sent ---- */

static const struct {
	const char *line, *level;
} levels[] = {
	{ "", "unknown" }, { "plain", "unknown" }, { "warning: x error", "warn" }, { "x ERR", "error" }, { "terror inf wrn dbg", "unknown" },
	{ "err_x fatal", "fatal" }, { "{\"lvl\":\"WARNING\"}", "warn" }, { " {\"a\":{\"severity\":\"trc\"}}\n", "trace" },
	{ "{\"a\":{\"b\":{\"lvl\":\"wrn\"}}}", "unknown" }, { "{\"lvl\":3,\"m\":\"x info\"}", "info" }, { "{\"LVL\":\"wrn\"}", "unknown" },
	{ "{\"lvl\":\"wrn\"", "unknown" }, { "{\"lvl\":\"wrn\"} x", "unknown" }, { "a=1 lvl=wrn severity=dbg", "debug" },
	{ "a=1 LVL=wrn", "warn" }, { "a=1 lvl=\"inf\"", "info" }, { "a=\"b lvl=wrn", "unknown" }, { "a=b lvl=none fatal", "fatal" },
	{ "/path?x=1 critical", "critical" }, { "\xff error", "error" }, { "\xc3\xa9rror error\xc3\xa9", "unknown" },
};

static struct lp_discover *open_discover(struct lp_arena *arena)
{
	static const char *const fields[] = { "severity", "lvl" }, *const services[] = { "job", "app" };
	const struct lp_discover_spec spec = { services, 2, true, fields, 2, 2 };
	struct lp_discover *discover;

	ck_assert_int_eq(lp_discover_open(&spec, true, arena, &discover), 0);
	return discover;
}

START_TEST(level_of_line)
{
	struct lp_arena arena = LP_ARENA_INIT;

	ck_assert_msg(!strcmp(lp_level_of_line(open_discover(&arena), levels[_i].line, strlen(levels[_i].line)), levels[_i].level), "%s",
		      levels[_i].line);
	lp_arena_free(&arena);
}
END_TEST

START_TEST(level_of_severity)
{
	static const char *const want[] = { "unknown", "trace", "trace", "trace", "trace", "debug", "debug", "debug", "debug", "info" };
	char number[16];

	for (int i = 0; i < 10; i++) {
		snprintf(number, sizeof number, "%d", i);
		ck_assert_str_eq(lp_level_of_severity(number, strlen(number)), want[i]);
	}
	ck_assert_str_eq(lp_level_of_severity("24", 2), "fatal");
	ck_assert_str_eq(lp_level_of_severity("25", 2), "unknown");
	ck_assert_str_eq(lp_level_of_severity("x", 1), "info");
	ck_assert_str_eq(lp_level_of_severity("99999999999", 11), "info");
}
END_TEST

/* What a stream shows, as {a="b"}; the tenant of all of them is t. */
static void shows(const struct lp_discover *discover, struct lp_label *sent, size_t n, const char *want)
{
	struct lp_buf bytes = LP_BUF_INIT, text = LP_BUF_INIT;
	struct lp_label all[8];
	uint32_t n_all;

	ck_assert_int_eq(lp_labels_encode(&bytes, "t", 1, sent, n), 0);
	ck_assert_int_eq(lp_discover_labels(discover, bytes.data, bytes.len, all, 8, &n_all), 0);
	if (n_all > n)
		ck_assert_int_eq(lp_discover_labels(discover, bytes.data, bytes.len, all, n_all - 1, &n_all), -EBADMSG);
	ck_assert_int_eq(lp_discover_labels(discover, bytes.data, bytes.len, all, n_all, &n_all), 0);
	for (uint32_t i = 0; i < n_all; i++)
		lp_buf_printf(&text, "%.*s=%.*s;", (int)all[i].name_len, all[i].name, (int)all[i].value_len, all[i].value);
	ck_assert_str_eq(lp_buf_cstr(&text), want);
	lp_buf_free(&bytes);
	lp_buf_free(&text);
}

START_TEST(stream_labels)
{
	struct lp_arena arena = LP_ARENA_INIT;
	struct lp_discover *d = open_discover(&arena), *none = (struct lp_discover *)&arena;

	shows(d, NULL, 0, "__tenant_id__=t;service_name=unknown_service;");
	shows(d, (struct lp_label[]){ { "app", 3, 1, "a" }, { "job", 3, 1, "j" }, { "z", 1, 1, "z" } }, 3,
	      "__tenant_id__=t;app=a;job=j;service_name=j;z=z;");
	shows(d, (struct lp_label[]){ { "app", 3, 1, "a" }, { "service_name", 12, 1, "s" } }, 2, "__tenant_id__=t;app=a;service_name=s;");
	shows(d, (struct lp_label[]){ { "__tenant_id__", 13, 5, "other" } }, 1, "__tenant_id__=t;service_name=unknown_service;");
	ck_assert(lp_discover_adds(d, "service_name", 12) && !lp_discover_adds(d, "app", 3) && !lp_discover_adds(NULL, "service_name", 12));
	ck_assert_int_eq(lp_discover_open(&(struct lp_discover_spec){ 0 }, false, &arena, &none), 0);
	ck_assert_ptr_null(none);
	lp_arena_free(&arena);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("pipeline");
	TCase *tc = tcase_create("pipeline");
	SRunner *runner;
	int failed;

	tcase_set_timeout(tc, 60);
	tcase_add_loop_test(tc, stages, 0, sizeof cases / sizeof cases[0]);
	tcase_add_loop_test(tc, metrics, 0, sizeof samples / sizeof samples[0]);
	tcase_add_test(tc, unwrap_drops);
	tcase_add_test(tc, lines_are_apart);
	tcase_add_test(tc, bounded);
	tcase_add_loop_test(tc, level_of_line, 0, sizeof levels / sizeof levels[0]);
	tcase_add_test(tc, level_of_severity);
	tcase_add_test(tc, stream_labels);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
