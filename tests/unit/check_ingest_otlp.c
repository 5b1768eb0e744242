/* OTLP pushes: a JSON body keeps what the protobuf message keeps that it stands for; JSON's own forms and refusals. */
#include "tests/unit/ingest_help.h"

/* ---- protobuf by hand ----------------------------------------------------------------------------------------------- */

static void put_varint(struct lp_buf *b, uint64_t v)
{
	uint8_t out[LP_VARINT_MAX];

	lp_buf_append(b, out, (size_t)(lp_varint_put(out, v) - out));
}

static void put_field(struct lp_buf *b, unsigned number, const void *p, size_t n)
{
	put_varint(b, number << 3 | 2);
	put_varint(b, n);
	lp_buf_append(b, p, n);
}

static void put_str(struct lp_buf *b, unsigned number, const char *s)
{
	put_field(b, number, s, strlen(s));
}

/* The part becomes a field of the whole and is empty again. */
static void put_part(struct lp_buf *b, unsigned number, struct lp_buf *inner)
{
	put_field(b, number, inner->data, inner->len);
	lp_buf_reset(inner);
}

static void put_attribute(struct lp_buf *b, unsigned number, const char *key, const char *value, size_t value_len)
{
	struct lp_buf pair = LP_BUF_INIT;

	put_str(&pair, 1, key);
	put_field(&pair, 2, value, value_len);
	put_part(b, number, &pair);
	lp_buf_free(&pair);
}

static void put_fixed64(struct lp_buf *b, unsigned number, uint64_t v)
{
	put_varint(b, number << 3 | 1);
	for (int i = 0; i < 8; i++)
		lp_buf_byte(b, (uint8_t)(v >> 8 * i));
}

#define TRACE "\x5b\x8e\xff\xf7\x98\x03\x81\x03\xd2\x69\xb6\x33\x81\x3f\xc6\x0c"
#define DOUBLE_HALF "\x21\0\0\0\0\0\0\xe0\x3f"

static void make_proto(struct lp_buf *body)
{
	struct lp_buf r = LP_BUF_INIT, scope_logs = LP_BUF_INIT, part = LP_BUF_INIT, record = LP_BUF_INIT;

	put_attribute(&part, 1, "service.name", "\x0a\x04shop", 6);
	put_attribute(&part, 1, "host.name", "\x0a\x03h\xc3\xa9", 5);
	put_part(&r, 1, &part);
	put_str(&part, 1, "lib");
	put_str(&part, 2, "1.2");
	put_part(&scope_logs, 1, &part);
	put_fixed64(&record, 1, UINT64_C(1793491260000000001));
	put_fixed64(&record, 11, UINT64_C(1793491260000000005));
	lp_buf_append(&record, "\x10\x11", 2);          /* severity 17 */
	put_str(&record, 3, "ERROR");
	put_field(&record, 5, "\x0a\x08it broke", 10);
	put_attribute(&record, 6, "minus", "\x18\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11);
	put_attribute(&record, 6, "ratio", DOUBLE_HALF, 9);
	put_attribute(&record, 6, "ok", "\x10\0", 2);
	put_attribute(&record, 6, "bytes", "\x3a\x04\0\xff\x10\x83", 6);
	put_attribute(&record, 6, "list", "\x2a\x07\x0a\x03\x0a\x01x\x0a\0", 9);
	put_attribute(&record, 6, "m", "\x32\x09\x0a\x07\x0a\x01k\x12\x02\x18\x05", 11);
	put_attribute(&record, 6, "empty", "\x0a\0", 2);
	lp_buf_append(&record, "\x45\x01\0\0\x80", 5);  /* flags */
	put_field(&record, 9, TRACE, 16);
	put_field(&record, 10, TRACE, 8);
	put_part(&scope_logs, 2, &record);
	put_part(&r, 2, &scope_logs);
	put_part(body, 1, &r);
	lp_buf_free(&r);
	lp_buf_free(&scope_logs);
	lp_buf_free(&part);
	lp_buf_free(&record);
}

#define ATTR(key, value) "{\"key\":\"" key "\",\"value\":{" value "}}"

/* The same message; in the second form with the names of the .proto files, other types and members nobody knows. */
static const char *const same_json[] = {
	"{\"resourceLogs\":[{\"resource\":{\"attributes\":[" ATTR("service.name", "\"stringValue\":\"shop\"") ","
	ATTR("host.name", "\"stringValue\":\"h\\u00e9\"") "]},\"scopeLogs\":[{\"scope\":{\"name\":\"lib\",\"version\":\"1.2\"},\"logRecords\":[{"
	"\"timeUnixNano\":\"1793491260000000001\",\"observedTimeUnixNano\":\"1793491260000000005\",\"severityNumber\":17,\"severityText\":\"ERROR\","
	"\"body\":{\"stringValue\":\"it broke\"},\"attributes\":["
	ATTR("minus", "\"intValue\":\"-1\"") "," ATTR("ratio", "\"doubleValue\":0.5") "," ATTR("ok", "\"boolValue\":false") ","
	ATTR("bytes", "\"bytesValue\":\"AP8Qgw==\"") "," ATTR("list", "\"arrayValue\":{\"values\":[{\"stringValue\":\"x\"},{}]}") ","
	ATTR("m", "\"kvlistValue\":{\"values\":[" ATTR("k", "\"intValue\":\"5\"") "]}") "," ATTR("empty", "\"stringValue\":\"\"")
	"],\"flags\":2147483649,\"traceId\":\"5b8efff798038103d269b633813fc60c\",\"spanId\":\"5b8efff798038103\"}]}]}]}",
	" { \"x\" : [{\"y\":[1,null]}], \"resource_logs\" : [ {\"scope_logs\":[{\"log_records\":[{\"span_id\":\"5B8EFFF798038103\","
	"\"trace_id\":\"5B8EFFF798038103D269B633813FC60C\",\"flags\":\"2147483649\",\"dropped_attributes_count\":1,\"event_name\":null,\"attributes\":["
	ATTR("minus", "\"int_value\":-1.0") "," ATTR("ratio", "\"double_value\":\"5e-1\"") "," ATTR("ok", "\"bool_value\":false") ","
	ATTR("bytes", "\"bytes_value\":\"AP8Qgw\"") "," ATTR("list", "\"array_value\":{\"values\":[{\"string_value\":\"x\"},null]}") ","
	ATTR("m", "\"kvlist_value\":{\"values\":[" ATTR("k", "\"int_value\":5") "]}") "," ATTR("empty", "\"string_value\":\"\"")
	"],\"body\":{\"string_value\":\"it \\u0062roke\"},\"severity_text\":\"ERROR\",\"severity_number\":\"17\","
	"\"observed_time_unix_nano\":1793491260000000005,\"time_unix_nano\":1793491260000000001}],\"scope\":{\"version\":\"1.2\",\"name\":\"lib\"}}],"
	"\"resource\":{\"attributes\":[" ATTR("service.name", "\"string_value\":\"shop\"") "," ATTR("host.name", "\"string_value\":\"h\xc3\xa9\"")
	"]},\"schema_url\":\"s\"}]} ",
};

START_TEST(json_is_proto)
{
	struct lp_buf body = LP_BUF_INIT;
	struct pushed proto, json;
	char want[4096];

	make_proto(&body);
	ck_assert_int_eq(push_body(&proto, LP_PUSH_OTLP_PROTO, body.data, body.len), 0);
	ck_assert_msg(proto.result.status == 204, "%s", message(&proto));
	ck_assert_int_eq(push_body(&json, LP_PUSH_OTLP_JSON, same_json[_i], strlen(same_json[_i])), 0);
	ck_assert_msg(json.result.status == 204, "%s", message(&json));
	ck_assert_str_eq(labels_text(&proto, 0), "{service_name=\"shop\"}");
	ck_assert_str_eq(labels_text(&json, 0), "{service_name=\"shop\"}");
	(void)snprintf(want, sizeof want, "%s", entry_text(&proto, 0, 0));
	ck_assert_ptr_nonnull(strstr(want, "1793491260000000001 it broke"));
	ck_assert_ptr_nonnull(strstr(want, "{bytes=AP8Qgw==}"));
	ck_assert_ptr_nonnull(strstr(want, "{flags=2147483649}"));
	ck_assert_ptr_nonnull(strstr(want, "{list=[\"x\",null]}"));
	ck_assert_ptr_nonnull(strstr(want, "{m_k=5} {minus=-1}"));
	ck_assert_ptr_nonnull(strstr(want, "{trace_id=5b8efff798038103d269b633813fc60c}"));
	ck_assert_str_eq(entry_text(&json, 0, 0), want);
	push_free(&proto);
	push_free(&json);
	lp_buf_free(&body);
}
END_TEST

/* Every prefix of a body is refused or kept whole, never read beyond. */
START_TEST(cut_anywhere)
{
	for (size_t n = 0; n < strlen(same_json[0]); n++) {
		struct pushed p;

		ck_assert_int_eq(push_body(&p, LP_PUSH_OTLP_JSON, same_json[0], n), 0);
		ck_assert_int_eq(p.result.status, 400);
		ck_assert_uint_eq(p.result.accepted, 0);
		push_free(&p);
	}
}
END_TEST

#define RECORD(members) "{\"resourceLogs\":[{\"scopeLogs\":[{\"logRecords\":[{" members "}]}]}]}"
#define BODY(member) RECORD("\"timeUnixNano\":7,\"body\":{" member "}")
#define DEEP4(x) "\"arrayValue\":{\"values\":[{\"arrayValue\":{\"values\":[{\"arrayValue\":{\"values\":[{\"arrayValue\":{\"values\":[{" x "}]}}]}}]}}]}"

static const struct {
	const char *body, *text;        /* the entry when it is kept, else a part of the message */
	bool kept;
} cases[] = {
	{ BODY("\"stringValue\":\"a\""), "7 a", true },
	{ BODY("\"stringValue\":null"), "7 ", true },
	{ BODY("\"doubleValue\":\"NaN\""), "7 NaN", true },
	{ BODY("\"doubleValue\":3"), "7 3", true },
	{ BODY("\"intValue\":\"9223372036854775807\""), "7 9223372036854775807", true },
	{ BODY("\"intValue\":-9223372036854775808"), "7 -9223372036854775808", true },
	{ BODY("\"intValue\":1e3"), "7 1000", true },
	{ BODY("\"bytesValue\":\"_-8=\""), "7 /+8=", true },
	{ BODY("\"bytesValue\":\"\""), "7 ", true },
	{ BODY("\"boolValue\":true"), "7 true", true },
	{ BODY("\"kvlistValue\":{\"values\":[{\"key\":\"a\"}]}"), "7 {\"a\":null}", true },
	{ BODY(DEEP4(DEEP4("\"intValue\":1"))), "7 [[[[[[[[1]]]]]]]]", true },
	{ RECORD("\"observedTimeUnixNano\":\"8\""), "8  {observed_timestamp=8}", true },
	{ RECORD("\"timeUnixNano\":0,\"traceId\":\"\""), "1793491260000000000 ", true },
	{ "", "EOF", false },
	{ "[]", "expected an object at byte 0", false },
	{ "{} x", "unexpected text after the JSON value at byte 3", false },
	{ "{\"resourceLogs\":{}}", "expected an array at byte 16", false },
	{ "{\"resourceLogs\":[1]}", "expected an object at byte 17", false },
	{ BODY("\"stringValue\":1"), "stringValue: expected a string", false },
	{ BODY("\"boolValue\":\"true\""), "boolValue: expected true or false", false },
	{ BODY("\"boolValue\":1"), "boolValue: expected true or false", false },
	{ BODY("\"intValue\":9223372036854775808"), "intValue: expected an integer of 64 bits", false },
	{ BODY("\"intValue\":1.5"), "intValue: expected an integer", false },
	{ BODY("\"intValue\":\"\""), "intValue: expected an integer", false },
	{ BODY("\"intValue\":\"-\""), "intValue: expected an integer", false },
	{ BODY("\"intValue\":[1]"), "intValue: expected an integer", false },
	{ BODY("\"intValue\":\"0x10\""), "intValue: expected an integer", false },
	{ BODY("\"doubleValue\":\"nan\""), "doubleValue: expected a number", false },
	{ BODY("\"bytesValue\":\"A\""), "bytesValue: expected base64", false },
	{ BODY("\"bytesValue\":\"A===\""), "bytesValue: expected base64", false },
	{ BODY("\"bytesValue\":\"A*==\""), "bytesValue: expected base64", false },
	{ RECORD("\"timeUnixNano\":-1"), "timeUnixNano: expected an integer that is not negative", false },
	{ RECORD("\"timeUnixNano\":\"18446744073709551616\""), "timeUnixNano: expected an integer", false },
	{ RECORD("\"flags\":4294967296"), "flags: expected an integer from 0 to 4294967295", false },
	{ RECORD("\"traceId\":\"5b8\""), "traceId: expected an even number of hex digits", false },
	{ RECORD("\"spanId\":\"zz\""), "spanId: expected hex digits", false },
	{ RECORD("\"spanId\":\"0000000000000000000000000000000000000000000000000000000000000000ff\""), "span_id is longer than 32 bytes", false },
	{ BODY(DEEP4(DEEP4(DEEP4(DEEP4(DEEP4("\"intValue\":1")))))), "values nest too deeply: more than 16", false },
	{ BODY(DEEP4(DEEP4(DEEP4(DEEP4(DEEP4(DEEP4(DEEP4(DEEP4("\"intValue\":1"))))))))), "values nest too deeply: more than 64 objects", false },
};

START_TEST(json_forms)
{
	struct pushed p;

	ck_assert_int_eq(push_body(&p, LP_PUSH_OTLP_JSON, cases[_i].body, strlen(cases[_i].body)), 0);
	ck_assert_msg(p.result.status == (cases[_i].kept ? 204 : 400), "%s: %d %s", cases[_i].body, p.result.status, message(&p));
	if (cases[_i].kept)
		ck_assert_str_eq(entry_text(&p, 0, 0), cases[_i].text);
	else
		ck_assert_msg(strncmp(message(&p), cases[_i].text, strlen(cases[_i].text)) == 0, "%s: %s", cases[_i].body, message(&p));
	push_free(&p);
}
END_TEST

START_TEST(nothing_sent)
{
	static const char *const bodies[] = { "{}", "null", "{\"resourceLogs\":null}", "{\"resourceLogs\":[]}", "{\"a\":{}}" };

	for (size_t i = 0; i < LP_ARRAY_LEN(bodies); i++) {
		struct pushed p;

		ck_assert_int_eq(push_body(&p, LP_PUSH_OTLP_JSON, bodies[i], strlen(bodies[i])), 0);
		ck_assert_int_eq(p.result.status, 204);
		push_free(&p);
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("ingest_otlp");
	TCase *t = tcase_create("otlp");

	tcase_add_loop_test(t, json_is_proto, 0, LP_ARRAY_LEN(same_json));
	tcase_add_test(t, cut_anywhere);
	tcase_add_loop_test(t, json_forms, 0, LP_ARRAY_LEN(cases));
	tcase_add_test(t, nothing_sent);
	suite_add_tcase(s, t);
	SRunner *runner = srunner_create(s);

	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);

	srunner_free(runner);
	return failed != 0;
}
