/* WebSocket framing and the messages of /stream clients: RFC 6455's own examples, limits, and what is refused with which code. */
#include "http/tailmsg.h"
#include "http/wsframe.h"

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct lp_ws ws;

static int next(const void *p, size_t n, struct lp_ws_event *event)
{
	size_t used;
	int r = lp_ws_next(&ws, p, n, &used, event);

	ck_assert_uint_le(used, n);
	return r;
}

START_TEST(examples_of_the_rfc)
{
	/* 5.7: a masked "Hello", and as two fragments; 1.3: the accept key. */
	static const uint8_t hello[] = { 0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58 };
	struct lp_ws_event event;
	char accept[LP_WS_ACCEPT_LEN + 1];
	uint8_t head[LP_WS_HEAD_MAX];
	size_t used;

	ws = (struct lp_ws){ .max_bytes = 100 };
	for (size_t n = 0; n < sizeof hello; n++) {
		ck_assert_int_eq(lp_ws_next(&ws, hello, n, &used, &event), 0);
		ck_assert_uint_eq(used, 0);
	}
	ck_assert_int_eq(next(hello, sizeof hello, &event), 1);
	ck_assert_int_eq(event.opcode, LP_WS_TEXT);
	ck_assert_mem_eq(event.data, "Hello", 5);
	ck_assert_int_eq(lp_ws_accept("dGhlIHNhbXBsZSBub25jZQ==", 24, accept), 0);
	ck_assert_str_eq(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
	ck_assert_int_eq(lp_ws_accept("dGhlIHNhbXBsZSBub25jZQ=", 23, accept), -EINVAL);
	ck_assert_int_eq(lp_ws_accept("dGhlIHNhbXBsZSBub25jZ===", 24, accept), -EINVAL);
	ck_assert_int_eq(lp_ws_accept("dGhlIHNhbXBsZ*Bub25jZQ==", 24, accept), -EINVAL);
	ck_assert_uint_eq(lp_ws_head(head, LP_WS_BINARY, 256), 4);
	ck_assert_mem_eq(head, "\x82\x7e\x01\x00", 4);
	ck_assert_uint_eq(lp_ws_head(head, LP_WS_BINARY, 65536), 10);
	ck_assert_mem_eq(head, "\x82\x7f\0\0\0\0\0\x01\0\0", 10);
	ck_assert_uint_eq(lp_ws_head(head, LP_WS_TEXT, 125), 2);
	lp_ws_free(&ws);
}
END_TEST

START_TEST(limits_hold_before_the_bytes_come)
{
	static const uint8_t large[] = { 0x81, 0xfe, 0x01, 0x00 }, first[] = { 0x01, 0x80 | 60, 0, 0, 0, 0 }, more[] = { 0x80, 0x80 | 50 };
	struct lp_ws_event event;
	uint8_t piece[66] = { 0 };

	ws = (struct lp_ws){ .max_bytes = 100 };
	ck_assert_int_eq(next(large, sizeof large, &event), -LP_WS_TOO_BIG);
	memcpy(piece, first, sizeof first);
	ck_assert_int_eq(next(piece, sizeof piece, &event), 0);
	ck_assert_int_eq(next(more, sizeof more, &event), -LP_WS_TOO_BIG);
	lp_ws_free(&ws);
}
END_TEST

START_TEST(a_close_reason_is_cut_at_a_character)
{
	struct lp_buf out = LP_BUF_INIT;
	char reason[200];

	memset(reason, 'a', sizeof reason);
	memcpy(reason + 122, "\xc3\xbc", 2);    /* half of it would fit */
	reason[sizeof reason - 1] = '\0';
	lp_ws_write_close(&out, LP_WS_INTERNAL, reason);
	ck_assert_uint_eq(out.len, 2 + 2 + 122);
	ck_assert_uint_eq(out.data[1], 2 + 122);
	ck_assert_uint_eq(out.data[2] << 8 | out.data[3], LP_WS_INTERNAL);
	lp_buf_free(&out);
}
END_TEST

static void wish_is(const char *message, const char *want_text, const char *want_filters)
{
	struct lp_arena arena = { 0 };
	struct lp_buf text = LP_BUF_INIT, filters = LP_BUF_INIT, error = LP_BUF_INIT;
	struct lp_tail_wish wish;

	ck_assert_int_eq(lp_tail_message_parse(message, strlen(message), &arena, &wish, &error), 0);
	lp_tail_wish_text(&wish, &text);
	lp_tail_wish_filters_json(&wish, &filters);
	ck_assert_str_eq(lp_buf_cstr(&text), want_text);
	ck_assert_str_eq(lp_buf_cstr(&filters), want_filters);
	lp_buf_free(&text);
	lp_buf_free(&filters);
	lp_buf_free(&error);
	lp_arena_free(&arena);
}

START_TEST(messages)
{
	wish_is("{\"type\":\"filter\",\"labels\":{\"level\":\"error\",\"app\":\"a\\\"b\"}}", "{level=\"error\",app=\"a\\\"b\"}",
		"{\"level\":\"error\",\"app\":\"a\\\"b\"}");
	wish_is("{\"labels\":null,\"type\":\"filter\"}", "", "{}");
	wish_is(" {\"type\":\"query\",\"query\":\"{a=\\\"b\\\"} |= `c`\",\"labels\":{\"x\":\"y\"}} ", "{a=\"b\"} |= `c`", "{}");
}
END_TEST

START_TEST(filters_and_query_are_one_selector)
{
	static const char *const cases[][2] = {
		{ "", "{f=\"v\"}" }, { "|= `x`", "{f=\"v\"}|= `x`" }, { "{}", "{f=\"v\" }" }, { " { } | json", "{f=\"v\" } | json" },
		{ "{a=\"b\"}", "{f=\"v\",a=\"b\"}" }, { "  {  a=\"b\"} |~ \"}\"", "{f=\"v\",a=\"b\"} |~ \"}\"" },
	};

	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct lp_tail_wish wish = { .query = cases[i][0], .query_len = strlen(cases[i][0]) };
		struct lp_buf text = LP_BUF_INIT, error = LP_BUF_INIT;

		ck_assert_int_eq(lp_tail_wish_add(&wish, "f", 1, "v", 1, &error), 0);
		lp_tail_wish_text(&wish, &text);
		ck_assert_str_eq(lp_buf_cstr(&text), cases[i][1]);
		lp_buf_free(&text);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("wsframe");
	TCase *tc = tcase_create("wsframe");

	tcase_add_test(tc, examples_of_the_rfc);
	tcase_add_test(tc, limits_hold_before_the_bytes_come);
	tcase_add_test(tc, a_close_reason_is_cut_at_a_character);
	tcase_add_test(tc, messages);
	tcase_add_test(tc, filters_and_query_are_one_selector);
	suite_add_tcase(suite, tc);
	SRunner *runner = srunner_create(suite);

	srunner_run_all(runner, CK_NORMAL);
	int failed = srunner_ntests_failed(runner);

	srunner_free(runner);
	return failed ? 1 : 0;
}
