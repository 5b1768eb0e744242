/* The agent's tailing: nothing is lost and nothing is sent early, through rotation, truncation and restarts. */
#include "agent/agent.h"

#include <check.h>
#include <errno.h>
#include <msgpack.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[64], log_path[128], old_path[128], conf_path[128];
static struct lp_agent_conf *conf;
static struct lp_tail *tail;
static struct lp_tail_batch batch;
static struct lp_buf got, error;

static void put(const char *path, const char *mode, const char *text)
{
	FILE *f = fopen(path, mode);

	ck_assert_ptr_nonnull(f);
	ck_assert_int_ge(fputs(text, f), 0);
	fclose(f);
}

static void open_tail(void)
{
	ck_assert_msg(!lp_tail_open(conf, &tail, &error), "%s", lp_buf_cstr(&error));
}

static void restart(void)
{
	ck_assert_int_eq(lp_tail_save(tail), 0);
	lp_tail_close(&tail);
	open_tail();
}

static void setup(void)
{
	char text[512];

	(void)strcpy(dir, "/tmp/check_agent.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(log_path, sizeof log_path, "%s/app.log", dir);
	snprintf(old_path, sizeof old_path, "%s/app.log.1", dir);
	snprintf(conf_path, sizeof conf_path, "%s/agent.yaml", dir);
	snprintf(text, sizeof text, "positions_file: %s/positions\ntargets:\n  - path: %s/*.log\n    labels: {job: x}\n", dir, dir);
	put(conf_path, "w", text);
	ck_assert_int_eq(lp_agent_conf_load(conf_path, &conf, &error), 0);
	ck_assert_int_eq(lp_tail_batch_open(&batch), 0);
	open_tail();
}

static void teardown(void)
{
	char command[128];

	lp_tail_close(&tail);
	lp_tail_batch_close(&batch);
	lp_agent_conf_free(&conf);
	lp_buf_free(&got);
	lp_buf_free(&error);
	snprintf(command, sizeof command, "rm -rf %s", dir);
	ck_assert_int_eq(system(command), 0);
}

/* One scan and everything that is new, lines joined by "|". */
static const char *poll_lines(bool ack, uint32_t max_bytes)
{
	lp_buf_reset(&got);
	ck_assert_int_eq(lp_tail_scan(tail), 0);
	for (struct lp_tail_file *file = tail->files; file; file = file->next)
		while (lp_tail_read(tail, file, max_bytes, &batch) == 1) {
			for (uint32_t i = 0; i < batch.n; i++) {
				lp_buf_append(&got, batch.text + batch.lines[i].off, batch.lines[i].len);
				lp_buf_byte(&got, '|');
			}
			if (!ack)
				break;
			lp_tail_ack(tail, &batch);
		}
	return lp_buf_cstr(&got);
}

#define NEWS(text) ck_assert_str_eq(poll_lines(true, LP_AGENT_MAX_BATCH), text)

START_TEST(partial_line_waits_for_its_newline)
{
	NEWS("");
	put(log_path, "w", "one\ntwo\r\n\nthr");
	NEWS("one|two||");
	NEWS("");
	put(log_path, "a", "ee");
	NEWS("");
	put(log_path, "a", "\nfour\n");
	NEWS("three|four|");
}
END_TEST

START_TEST(unacknowledged_lines_come_again)
{
	put(log_path, "w", "one\n");
	ck_assert_str_eq(poll_lines(false, LP_AGENT_MAX_BATCH), "one|");
	ck_assert_str_eq(poll_lines(false, LP_AGENT_MAX_BATCH), "one|");
	restart();
	NEWS("one|");
	restart();
	NEWS("");
}
END_TEST

START_TEST(rename_is_followed_by_inode)
{
	put(log_path, "w", "a\n");
	NEWS("a|");
	put(log_path, "a", "b\n");
	ck_assert_int_eq(rename(log_path, old_path), 0);
	put(log_path, "w", "c\n");
	const char *lines = poll_lines(true, LP_AGENT_MAX_BATCH);

	ck_assert(!strcmp(lines, "b|c|") || !strcmp(lines, "c|b|"));
	put(old_path, "a", "late\n");           /* the writer had not opened the new file yet */
	NEWS("late|");
	put(old_path, "a", "rest");
	for (unsigned i = 0; i < LP_AGENT_LINGER; i++)
		NEWS("");
	NEWS("rest|");
	NEWS("");
	ck_assert_ptr_null(tail->files->next);  /* let go */
}
END_TEST

START_TEST(rename_while_no_agent_ran)
{
	put(log_path, "w", "a\n");
	NEWS("a|");
	ck_assert_int_eq(lp_tail_save(tail), 0);
	lp_tail_close(&tail);
	put(log_path, "a", "b\n");
	ck_assert_int_eq(rename(log_path, old_path), 0);
	put(log_path, "w", "a\nc\n");
	open_tail();
	const char *lines = poll_lines(true, LP_AGENT_MAX_BATCH);

	ck_assert(!strcmp(lines, "b|a|c|") || !strcmp(lines, "a|c|b|"));
	for (struct lp_tail_file *file = tail->files; file; file = file->next)
		ck_assert_ptr_eq(file->target, conf->targets);
}
END_TEST

START_TEST(truncation_starts_again)
{
	put(log_path, "w", "first\nsecond\n");
	NEWS("first|second|");
	put(log_path, "w", "x\n");
	NEWS("x|");
	put(log_path, "w", "grown past the old position\n");
	NEWS("grown past the old position|");
	ck_assert_int_eq(lp_tail_save(tail), 0);
	lp_tail_close(&tail);
	put(log_path, "w", "another start, and also longer than before\n");
	open_tail();
	NEWS("another start, and also longer than before|");
}
END_TEST

START_TEST(long_lines_come_in_pieces)
{
	put(log_path, "w", "0123456\xc3\xa4" "89\nx\n");
	ck_assert_str_eq(poll_lines(true, 8), "0123456|\xc3\xa4" "89|x|");
}
END_TEST

START_TEST(damaged_positions_are_refused)
{
	char positions[128];

	snprintf(positions, sizeof positions, "%s/positions", dir);
	lp_tail_close(&tail);
	put(positions, "w", "[{\"path\": \"/x\", \"offset\": -4}]");
	ck_assert_int_eq(lp_tail_open(conf, &tail, &error), -EINVAL);
	ck_assert_ptr_nonnull(strstr(lp_buf_cstr(&error), "not a position file"));
	put(positions, "w", "[{");
	ck_assert_int_eq(lp_tail_open(conf, &tail, &error), -EINVAL);
	put(log_path, "w", "one\ntwo\n");
	char text[256];

	snprintf(text, sizeof text, "[{\"path\": \"%s\", \"offset\": 4}]", log_path);   /* the original agent's form */
	put(positions, "w", text);
	open_tail();
	NEWS("two|");
}
END_TEST

START_TEST(body_has_the_contracts_shape)
{
	struct lp_buf body = LP_BUF_INIT;
	msgpack_unpacked unpacked;
	char json[1024], expected[1024];

	put(log_path, "w", "ok\nAn ERROR\nbad \xff byte\n");
	ck_assert_str_eq(poll_lines(false, LP_AGENT_MAX_BATCH), "ok|An ERROR|bad \xff byte|");
	ck_assert_int_eq(lp_agent_encode(&batch, INT64_C(1000000000), &body), 0);
	msgpack_unpacked_init(&unpacked);
	ck_assert_int_eq(msgpack_unpack_next(&unpacked, (char *)body.data, body.len, NULL), MSGPACK_UNPACK_SUCCESS);
	msgpack_object_print_buffer(json, sizeof json, unpacked.data);
	snprintf(expected, sizeof expected, "{\"streams\"=>[{\"labels\"=>{\"job\"=>\"x\", \"filename\"=>\"app.log\", \"level\"=>\"info\"}, "
		 "\"entries\"=>[{\"ts\"=>\"1970-01-01T00:00:01Z\", \"line\"=>\"ok\"}, "
		 "{\"ts\"=>\"1970-01-01T00:00:01.000000002Z\", \"line\"=>\"bad \xef\xbf\xbd byte\"}]}, "
		 "{\"labels\"=>{\"job\"=>\"x\", \"filename\"=>\"app.log\", \"level\"=>\"error\"}, "
		 "\"entries\"=>[{\"ts\"=>\"1970-01-01T00:00:01.000000001Z\", \"line\"=>\"An ERROR\"}]}]}");
	ck_assert_str_eq(json, expected);
	msgpack_unpacked_destroy(&unpacked);
	lp_buf_free(&body);
	ck_assert_str_eq(lp_agent_level("a Warning", 9), "warn");
	ck_assert_str_eq(lp_agent_level("DEBUG x", 7), "debug");
	ck_assert_str_eq(lp_agent_level("", 0), "info");
}
END_TEST

START_TEST(configuration_errors_name_the_line)
{
	static const struct { const char *text, *reason; } t[] = {
		{ "server: {url: ftp://x}\ntargets: [{path: /x}]\n", ": server.url: ftp://x starts with neither http:// nor https://" },
		{ "\nserver:\n  uri: http://x\n", ":3: uri: unknown key; server has url and api_key" },
		{ "targets:\n  - labels: {a: b}\n", ":2: targets: a target without path" },
		{ "targets:\n  - path: /x\n    labels: {1a: b}\n",
		  ":3: 1a: a label name is letters, digits and _, at most 128, no digit first" },
		{ "targets:\n  - path: /x\n    labels: {a: \"\"}\n", ":3: a: a label value has 1 to 2048 bytes and no newline" },
		{ "server: {}\n", ": targets: nothing to read; name at least one path" },
		{ "port: 1\n", ":1: port: unknown key; known are server, positions_file and targets" },
	};
	struct lp_agent_conf *other = NULL;
	char expected[512];

	for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
		put(conf_path, "w", t[i].text);
		lp_buf_reset(&error);
		ck_assert_int_eq(lp_agent_conf_load(conf_path, &other, &error), -EINVAL);
		snprintf(expected, sizeof expected, "%s%s", conf_path, t[i].reason);
		ck_assert_str_eq(lp_buf_cstr(&error), expected);
	}
	setenv("LOGPULSE_SERVER_URL", "https://h", 1);
	setenv("LOGPULSE_API_KEY", "k", 1);
	put(conf_path, "w", "server: {url: ftp://x}\ntargets: [{path: /x}]\n");
	ck_assert_int_eq(lp_agent_conf_load(conf_path, &other, &error), 0);
	ck_assert_str_eq(other->url, "https://h");
	ck_assert_str_eq(other->api_key, "k");
	lp_agent_conf_free(&other);
}
END_TEST

START_TEST(shipped_example_loads)
{
	struct lp_agent_conf *example = NULL;
	const char *src = getenv("LP_SRCDIR");
	char path[4096];

	snprintf(path, sizeof path, "%s/etc/logpulse-agent.yaml", src ? src : ".");
	ck_assert_msg(!lp_agent_conf_load(path, &example, &error), "%s", lp_buf_cstr(&error));
	ck_assert_str_eq(example->url, "http://localhost:8080");
	ck_assert_str_eq(example->targets->labels[0].value, "varlogs");
	lp_agent_conf_free(&example);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		partial_line_waits_for_its_newline, unacknowledged_lines_come_again, rename_is_followed_by_inode,
		rename_while_no_agent_ran, truncation_starts_again, long_lines_come_in_pieces, damaged_positions_are_refused,
		body_has_the_contracts_shape, configuration_errors_name_the_line, shipped_example_loads,
	};
	Suite *suite = suite_create("agent");
	TCase *tcase = tcase_create("all");

	unsetenv("LOGPULSE_SERVER_URL");
	unsetenv("LOGPULSE_API_KEY");
	tcase_add_checked_fixture(tcase, setup, teardown);
	for (size_t i = 0; i < sizeof tests / sizeof *tests; i++)
		tcase_add_test(tcase, tests[i]);
	suite_add_tcase(suite, tcase);
	SRunner *runner = srunner_create(suite);

	srunner_run_all(runner, CK_NORMAL);
	int failed = srunner_ntests_failed(runner);

	srunner_free(runner);
	return failed != 0;
}
