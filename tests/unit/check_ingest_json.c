/* JSON pushes: what is kept, what is refused with which text, limits, and the two scanners against each other. */
#include "tests/unit/ingest_help.h"

#include <errno.h>
#include <stdio.h>

#define TS "1793491260000000000"
#define BAD "\"stream\":{\"reject\":\"1\"}"

struct case_ {
	const char *body;
	int status;
	const char *message;            /* NULL: any; whole text otherwise */
};

static void run_case(enum lp_push_format format, const struct case_ *c)
{
	struct pushed p;

	ck_assert_int_eq(push_body(&p, format, c->body, strlen(c->body)), 0);
	ck_assert_msg(p.result.status == c->status, "%s: status %d, %s", c->body, p.result.status, message(&p));
	if (c->message)
		ck_assert_str_eq(message(&p), c->message);
	push_free(&p);
}

#define NO_STREAM "error at least one valid stream is required for ingestion"
#define NO_LABELS "error at least one label pair is required per stream"

/* The conformance kit's group push_reject: status and texts of a real Loki. */
static const struct case_ loki_cases[] = {
	{ "", 400, "EOF" },
	{ "{", 400, NULL },
	{ "[]", 400, NULL },
	{ "null", 422, NO_STREAM },
	{ "\"x\"", 400, NULL },
	{ "{\"streams\":\"x\"}", 400, NULL },
	{ "{\"streams\":[{" BAD ",\"values\":[[\"" TS "\",5]]}]}", 400, NULL },
	{ "{\"streams\":[{" BAD ",\"values\":[[\"\",\"x\"]]}]}", 400, NULL },
	{ "{\"streams\":[{\"stream\":{},\"values\":[[\"" TS "\",\"x\"]]}]}", 400, NO_LABELS },
	{ "{\"streams\":[{\"values\":[[\"" TS "\",\"x\"]]}]}", 400, NO_LABELS },
	{ "{\"streams\":[{\"stream\":{\"1bad\":\"1\"},\"values\":[[\"" TS "\",\"x\"]]}]}", 400,
	  "couldn't parse labels: 1:2: parse error: unexpected character inside braces: '1'" },
	{ "{\"streams\":[{\"stream\":{\"a b\":\"1\"},\"values\":[[\"" TS "\",\"x\"]]}]}", 400,
	  "couldn't parse labels: 1:4: parse error: unexpected identifier \"b\" in label set, expected \"=\"" },
	{ "{\"streams\":[{" BAD ",\"values\":[[\"" TS "\",\"x\",{\"a\":1}]]}]}", 400, NULL },
	{ "{\"streams\":[{" BAD ",\"values\":[[\"" TS "\",\"x\",\"meta\"]]}]}", 400, NULL },
	{ "{\"streams\":[{" BAD ",\"values\":[[\"" TS "\",\"x\",[\"a\"]]]}]}", 400, NULL },
	{ "{\"streams\":[{" BAD ",\"values\":\"x\"}]}", 400, NULL },
	{ "{\"streams\":[{" BAD ",\"values\":[[\"" TS "\",\"x\"]]}", 400, NULL },
	{ "{\"streams\":[]}", 422, NO_STREAM },
	{ "{}", 422, NO_STREAM },
	{ "{\"streams\":[{" BAD ",\"values\":[]}]}", 204, "" },
	{ "{\"streams\":null}", 422, NO_STREAM },
	{ "{\"streams\":[{" BAD ",\"values\":null}]}", 204, "" },
	{ "{\"other\":1,\"streams\":[]}", 422, NO_STREAM },
	/* Beyond the kit: grammar. */
	{ "{\"streams\":[]} x", 400, "unexpected text after the JSON value at byte 15" },
	{ "{\"streams\":[],}", 400, NULL },
	{ "{\"a\":01,\"streams\":[]}", 400, NULL },
	{ "{\"a\":[1,{\"b\":[]},-1.5e+3,true,false,null,\"\\u00e9\"],\"streams\":[]}", 422, NO_STREAM },
	{ "{\"a\":\"\\x\"}", 400, NULL },
	{ "{\"a\":\"\n\"}", 400, NULL },
	{ "{\"streams\":[{" BAD ",\"values\":[[\"99999999999999999999\",\"x\"]]}]}", 400, NULL },
	{ "{\"streams\":[{" BAD "," BAD ",\"values\":[]}]}", 400, "a stream has the key 'stream' twice" },
};

START_TEST(loki_refusals)
{
	run_case(LP_PUSH_LOKI_JSON, &loki_cases[_i]);
}
END_TEST

#define V "Validation error: "
static const struct case_ original_cases[] = {
	{ "", 400, "Invalid JSON: EOF" },
	{ "{\"streams\":[]}", 400, V "streams cannot be empty" },
	{ "{}", 400, V "streams cannot be empty" },
	{ "{\"streams\":[{\"labels\":{},\"entries\":[{\"line\":\"x\"}]}]}", 400, V "labels cannot be empty" },
	{ "{\"streams\":[{\"entries\":[{\"line\":\"x\"}]}]}", 400, V "labels cannot be empty" },
	{ "{\"streams\":[{\"labels\":{\"a\":\"b\"},\"entries\":[]}]}", 400, V "entries cannot be empty" },
	{ "{\"streams\":[{\"labels\":{\"a\":\"b\"}}]}", 400, V "entries cannot be empty" },
	{ "{\"streams\":[{\"labels\":{\"1a\":\"b\"},\"entries\":[{\"line\":\"x\"}]}]}", 400, V "invalid label key or value" },
	{ "{\"streams\":[{\"labels\":{\"a\":\"\"},\"entries\":[{\"line\":\"x\"}]}]}", 400, V "invalid label key or value" },
	{ "{\"streams\":[{\"labels\":{\"a\":\"x\\ny\"},\"entries\":[{\"line\":\"x\"}]}]}", 400, V "invalid label key or value" },
	{ "{\"streams\":[{\"labels\":{\"a\":5},\"entries\":[{\"line\":\"x\"}]}]}", 400, NULL },
	{ "{\"streams\":[{\"labels\":{\"a\":\"b\"},\"entries\":[{\"line\":5}]}]}", 400, NULL },
	{ "{\"streams\":[{\"labels\":{\"a\":\"b\"},\"entries\":[{\"line\":\"x\"}]}]}", 200, "" },
};

START_TEST(original_refusals)
{
	run_case(LP_PUSH_ORIGINAL_JSON, &original_cases[_i]);
}
END_TEST

#define AB "\"labels\":\"{a=\\\"b\\\"}\""
static const struct case_ prom_cases[] = {
	{ "", 400, "EOF" },
	{ "{}", 422, NO_STREAM },
	{ "{\"streams\":[{\"labels\":\"{}\",\"entries\":[{\"ts\":\"2026-11-01T00:01:00Z\",\"line\":\"x\"}]}]}", 400, NO_LABELS },
	{ "{\"streams\":[{\"labels\":\"{1a=\\\"b\\\"}\",\"entries\":[]}]}", 400,
	  "couldn't parse labels: 1:2: parse error: unexpected character inside braces: '1'" },
	{ "{\"streams\":[{\"labels\":{\"a\":\"b\"},\"entries\":[]}]}", 400, "expected the labels as a string at byte 22" },
	{ "{\"streams\":[{" AB ",\"entries\":[{\"ts\":\"yesterday\",\"line\":\"x\"}]}]}", 400, "timestamp 'yesterday' is not of RFC 3339" },
	{ "{\"streams\":[{" AB ",\"entries\":[{\"ts\":1,\"line\":\"x\"}]}]}", 400, "expected a timestamp in quotes at byte 51" },
	{ "{\"streams\":[{" AB ",\"entries\":[{\"ts\":\"2026-11-01T00:01:00Z\",\"line\":1}]}]}", 400, NULL },
	{ "{\"streams\":[{" AB ",\"entries\":[{\"line\":\"x\"}]}]}", 400, NULL },
	{ "{\"streams\":[{" AB ",\"entries\":[{\"ts\":\"9999-11-01T00:01:00Z\",\"line\":\"x\"}]}]}", 400, NULL },
	{ "{\"streams\":[{" AB ",\"entries\":[{\"ts\":\"2026-11-01T00:01:00Z\",\"line\":\"x\",\"more\":[{}]}]}]}", 204, "" },
};

START_TEST(prom_refusals)
{
	run_case(LP_PUSH_PROM_JSON, &prom_cases[_i]);
}
END_TEST

START_TEST(prom_accepts)
{
	/* entries before labels, an offset, a line without escapes and one with */
	static const char body[] = "{\"streams\":[{\"entries\":[{\"ts\":\"2026-11-01T01:01:00.000000007+01:00\",\"line\":\"one\"},"
				   "{\"line\":\"t\\u0077o\",\"ts\":\"2026-11-01T00:01:01Z\"}],\"labels\":\"{b=\\\"2\\\", a=\\\"1\\\"}\"},"
				   "{\"labels\":\"{bad\",\"entries\":[{\"ts\":\"2026-11-01T00:01:01Z\",\"line\":\"x\"}]}]}";
	struct pushed p;

	ck_assert_int_eq(push_body(&p, LP_PUSH_PROM_JSON, body, sizeof body - 1), 0);
	ck_assert_int_eq(p.result.status, 400);         /* the second stream; the first is kept */
	ck_assert_uint_eq(p.result.accepted, 2);
	ck_assert_str_eq(labels_text(&p, 0), "{a=\"1\", b=\"2\"}");
	ck_assert_str_eq(entry_text(&p, 0, 0), "1793491260000000007 one");
	ck_assert_str_eq(entry_text(&p, 0, 1), "1793491261000000000 two");
	push_free(&p);
}
END_TEST

START_TEST(loki_accepts)
{
	/* values before stream, white space, unknown keys, escapes, all shapes of metadata, two streams */
	static const char body[] =
		" {\"x\":{\"y\":[]}, \"streams\" : [ {\"values\": [[\"5\",\"b\\n\\u00e9\\ud83d\\ude00\\ud800!\"],\n[\"-3\",\"\"]], "
		"\"stream\": {\"b\":\"2\",\"a\":\"q\\\"\",\"e\":\"\",\"n\":7}},\n"
		"{\"stream\":{\"k\":\"v\"},\"values\":[[\"9\",\"m\",{\"z.z\":\"1\",\"a\":\"\",\"1x\":\"t\\n\"}],"
		"[\"10\",\"n\",{\"structuredMetadata\":{\"s\":\"1\"},\"parsed\":{\"p\":\"2\"}},7],[\"8\",\"o\",{\"a.b\":\"1\",\"a_b\":\"2\"}]]}]} ";
	struct pushed p;

	ck_assert_int_eq(push_body(&p, LP_PUSH_LOKI_JSON, body, sizeof body - 1), 0);
	ck_assert_msg(p.result.status == 204, "%s", message(&p));
	ck_assert_uint_eq(p.result.accepted, 5);
	ck_assert_str_eq(labels_text(&p, 0), "{a=\"q\\\"\", b=\"2\", n=\"7\"}");
	ck_assert_str_eq(entry_text(&p, 0, 0), "5 b\n\xc3\xa9\xf0\x9f\x98\x80\xef\xbf\xbd!");
	ck_assert_str_eq(entry_text(&p, 0, 1), "-3 ");
	ck_assert_str_eq(entry_text(&p, 1, 0), "9 m {key_1x=t\n} {z_z=1}");
	ck_assert_str_eq(entry_text(&p, 1, 1), "10 n {s=1}");
	ck_assert_str_eq(entry_text(&p, 1, 2), "8 o {a_b=2}");
	push_free(&p);
}
END_TEST

START_TEST(original_accepts)
{
	static const char body[] =
		"{\"streams\":[{\"entries\":[{\"line\":\"x\",\"ts\":\"2026-11-01T00:01:00.5Z\",\"u\":[1]},{\"ts\":\"never\",\"line\":\"y\"},"
		"{\"ts\":12345,\"metadata\":{\"a.b\":\"c\"}},{\"ts\":1.5,\"line\":null}],\"labels\":{\"a\":\"b\"}}]}";
	struct pushed p;

	ck_assert_int_eq(push_body(&p, LP_PUSH_ORIGINAL_JSON, body, sizeof body - 1), 0);
	ck_assert_msg(p.result.status == 200, "%s", message(&p));
	ck_assert_uint_eq(p.result.accepted, 4);
	ck_assert_str_eq(entry_text(&p, 0, 0), "1793491260500000000 x");
	ck_assert_str_eq(entry_text(&p, 0, 1), "1793491260000000000 y");
	ck_assert_str_eq(entry_text(&p, 0, 2), "12345  {a_b=c}");
	/* Entries without a time of their own stay apart, and in their order. */
	ck_assert_str_eq(entry_text(&p, 0, 3), "1793491260000000001 ");
	push_free(&p);
}
END_TEST

START_TEST(invalid_utf8_is_stored)
{
	static const char body[] = "{\"streams\":[{\"stream\":{\"a\":\"\xff\"},\"values\":[[\"1\",\"x\xff\xc3y\",{\"m\":\"\x80\"}]]}]}";
	struct pushed p;

	ck_assert_int_eq(push_body(&p, LP_PUSH_LOKI_JSON, body, sizeof body - 1), 0);
	ck_assert_int_eq(p.result.status, 204);
	ck_assert_str_eq(entry_text(&p, 0, 0), "1 x\xff\xc3y {m=\xef\xbf\xbd}");
	ck_assert_str_eq(labels_text(&p, 0), "{a=\"\xef\xbf\xbd\"}");
	push_free(&p);
}
END_TEST

/* Each limit at its edge: one line passes, one does not; the good one is kept. */
START_TEST(limits_per_line)
{
	static const char body[] =
		"{\"streams\":[{\"stream\":{\"a\":\"b\"},\"values\":[[\"100\",\"1234\"],[\"100\",\"12345\"],[\"99\",\"x\"],[\"200\",\"y\"],"
		"[\"201\",\"z\"],[\"150\",\"m\",{\"ab\":\"cd\"}],[\"150\",\"m\",{\"ab\":\"cde\"}],"
		"[\"150\",\"n\",{\"a\":\"\",\"b\":\"\",\"c\":\"d\"}],[\"150\",\"n\",{\"a\":\"b\",\"c\":\"d\",\"e\":\"\"}]]}]}";
	struct lp_push_limits limits = open_limits;
	struct pushed p;

	limits.max_line_bytes = 4;
	limits.oldest_ns = 100;
	limits.newest_ns = 200;
	limits.max_metadata_bytes = 4;
	limits.max_metadata_entries = 2;
	ck_assert_int_eq(push_with(&p, LP_PUSH_LOKI_JSON, body, sizeof body - 1, &limits, 1 << 20, true), 0);
	ck_assert_int_eq(p.result.status, 400);
	ck_assert_uint_eq(p.result.accepted, 3);
	ck_assert_uint_eq(p.result.discarded[LP_DISCARD_LINE_TOO_LONG], 1);
	ck_assert_uint_eq(p.result.discarded[LP_DISCARD_TOO_OLD], 1);
	ck_assert_uint_eq(p.result.discarded[LP_DISCARD_TOO_NEW], 1);
	ck_assert_uint_eq(p.result.discarded[LP_DISCARD_METADATA_TOO_LARGE], 2);
	ck_assert_uint_eq(p.result.discarded[LP_DISCARD_METADATA_TOO_MANY], 1);
	static const char *const texts[] = {
		"max entry size '4' bytes exceeded for stream '{a=\"b\"}' while adding an entry with length '5' bytes",
		"entry for stream '{a=\"b\"}' has timestamp too old: 1970-01-01T00:00:00Z, oldest acceptable timestamp is: 1970-01-01T00:00:00Z",
		"entry for stream '{a=\"b\"}' has timestamp too new: 1970-01-01T00:00:00Z",
		"stream '{a=\"b\"}' has structured metadata too large: '5' bytes, limit: '4' bytes.",
		"stream '{a=\"b\"}' has too many structured metadata labels: '3', limit: '2'. Please see `limits_config.",
	};

	for (size_t i = 0; i < LP_ARRAY_LEN(texts); i++)
		ck_assert_msg(strstr(message(&p), texts[i]), "%s lacks %s", message(&p), texts[i]);
	push_free(&p);
}
END_TEST

START_TEST(limits_per_stream)
{
	static const char body[] =
		"{\"streams\":[{\"stream\":{\"a\":\"1\",\"b\":\"2\",\"c\":\"3\"},\"values\":[[\"1\",\"x\"],[\"2\",\"y\"]]},"
		"{\"stream\":{\"abcd\":\"1\"},\"values\":[[\"1\",\"x\"]]},{\"stream\":{\"abc\":\"12345\"},\"values\":[[\"1\",\"x\"]]},"
		"{\"stream\":{\"a b\":\"1\"},\"values\":[[\"1\",\"x\"]]},{\"stream\":{\"abc\":\"1234\",\"d\":\"\",\"e\":\"e\"},\"values\":[[\"1\",\"kept\"]]}]}";
	struct lp_push_limits limits = open_limits;
	struct pushed p;

	limits.max_label_names = 2;
	limits.max_label_name_bytes = 3;
	limits.max_label_value_bytes = 4;
	ck_assert_int_eq(push_with(&p, LP_PUSH_LOKI_JSON, body, sizeof body - 1, &limits, 1 << 20, true), 0);
	ck_assert_int_eq(p.result.status, 400);
	ck_assert_uint_eq(p.result.accepted, 1);
	ck_assert_str_eq(entry_text(&p, 0, 0), "1 kept");
	ck_assert_uint_eq(p.result.discarded[LP_DISCARD_MAX_LABEL_NAMES], 2);
	ck_assert_uint_eq(p.result.discarded[LP_DISCARD_LABEL_NAME_TOO_LONG], 1);
	ck_assert_uint_eq(p.result.discarded[LP_DISCARD_LABEL_VALUE_TOO_LONG], 1);
	ck_assert_uint_eq(p.result.discarded[LP_DISCARD_INVALID_LABELS], 1);
	ck_assert_ptr_nonnull(strstr(message(&p), "entry for stream '{a=\"1\", b=\"2\", c=\"3\"}' has 3 label names; limit 2"));
	ck_assert_ptr_nonnull(strstr(message(&p), "stream '{abcd=\"1\"}' has label name too long: 'abcd'"));
	ck_assert_ptr_nonnull(strstr(message(&p), "stream '{abc=\"12345\"}' has label value too long: '12345'"));
	push_free(&p);
}
END_TEST

START_TEST(message_is_bounded)
{
	struct lp_buf body = LP_BUF_INIT;
	struct pushed p;

	lp_buf_str(&body, "{\"streams\":[");
	for (int i = 0; i < 1000; i++)
		lp_buf_printf(&body, "%s{\"stream\":{\"%d %0900d\":\"x\"},\"values\":[]}", i ? "," : "", i, 0);
	lp_buf_str(&body, "]}");
	ck_assert_int_eq(push_body(&p, LP_PUSH_LOKI_JSON, body.data, body.len), 0);
	ck_assert_int_eq(p.result.status, 400);
	ck_assert_uint_le(p.result.message.len, LP_PUSH_MESSAGE_MAX);
	ck_assert_ptr_nonnull(strstr(message(&p), "more errors"));
	push_free(&p);
	lp_buf_free(&body);
}
END_TEST

START_TEST(record_limit)
{
	static const char one[] = "{\"streams\":[{\"stream\":{\"a\":\"b\"},\"values\":[[\"1\",\"0123456789\"]]}]}";
	struct pushed p;
	size_t need = LP_ALIGN((size_t)(64 + 64 + 8 + 8 + 8 + 11), 16);

	ck_assert_int_eq(push_with(&p, LP_PUSH_LOKI_JSON, one, sizeof one - 1, &open_limits, need, true), 0);
	ck_assert_uint_eq(p.head.bytes, need);
	push_free(&p);
	ck_assert_int_eq(push_with(&p, LP_PUSH_LOKI_JSON, one, sizeof one - 1, &open_limits, need - 16, true), -E2BIG);
	ck_assert_uint_eq(lp_batch_entries(p.batch), 0);
	push_free(&p);
}
END_TEST

START_TEST(nesting_is_bounded)
{
	char body[4096] = "{\"a\":";
	struct pushed p;

	memset(body + 5, '[', 4000);
	ck_assert_int_eq(push_body(&p, LP_PUSH_LOKI_JSON, body, 4005), 0);
	ck_assert_int_eq(p.result.status, 400);
	ck_assert_ptr_nonnull(strstr(message(&p), "nested too deeply"));
	push_free(&p);
}
END_TEST

static uint64_t seed = 88172645463325252u;

static uint64_t rnd(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

/* Slow reference: one character at a time, nothing shared with the scanner.  -1: not a string. */
static long slow_string(const uint8_t *p, size_t n, uint8_t *out, size_t *ret_used)
{
	static const char esc[] = "\"\\/bfnrt", val[] = "\"\\/\b\f\n\r\t";
	size_t i = 1, o = 0;

	while (i < n && p[i] != '"') {
		if (p[i] < 0x20)
			return -1;
		if (p[i] != '\\') {
			out[o++] = p[i++];
			continue;
		}
		const char *e = i + 1 < n && p[i + 1] ? strchr(esc, p[i + 1]) : NULL;

		if (e) {
			out[o++] = (uint8_t)val[e - esc];
			i += 2;
			continue;
		}
		unsigned cp = 0, lo = 0;
		char hex[5] = "";
		int used = 0;

		if (i + 6 > n || p[i + 1] != 'u')
			return -1;
		memcpy(hex, p + i + 2, 4);
		if (strspn(hex, "0123456789abcdefABCDEF") != 4 || sscanf(hex, "%4x%n", &cp, &used) != 1)
			return -1;
		i += 6;
		if (cp >= 0xd800 && cp < 0xe000) {
			bool pair = false;

			if (cp < 0xdc00 && i + 6 <= n && p[i] == '\\' && p[i + 1] == 'u') {
				memcpy(hex, p + i + 2, 4);
				pair = strspn(hex, "0123456789abcdefABCDEF") == 4 && sscanf(hex, "%4x", &lo) == 1 && lo >= 0xdc00 && lo < 0xe000;
			}
			cp = pair ? 0x10000 + (cp - 0xd800) * 0x400 + (lo - 0xdc00) : 0xfffd;
			i += pair ? 6 : 0;
		}
		if (cp < 0x80) {
			out[o++] = (uint8_t)cp;
		} else if (cp < 0x800) {
			out[o++] = (uint8_t)(0xc0 | cp >> 6);
			out[o++] = (uint8_t)(0x80 | (cp & 63));
		} else if (cp < 0x10000) {
			out[o++] = (uint8_t)(0xe0 | cp >> 12);
			out[o++] = (uint8_t)(0x80 | (cp >> 6 & 63));
			out[o++] = (uint8_t)(0x80 | (cp & 63));
		} else {
			out[o++] = (uint8_t)(0xf0 | cp >> 18);
			out[o++] = (uint8_t)(0x80 | (cp >> 12 & 63));
			out[o++] = (uint8_t)(0x80 | (cp >> 6 & 63));
			out[o++] = (uint8_t)(0x80 | (cp & 63));
		}
	}
	if (i >= n)
		return -1;
	*ret_used = i + 1;
	return (long)o;
}

START_TEST(scanners_agree)
{
	static const char *const bits[] = { "\\", "\"", "\\u", "d83d", "\\ude00", "\\n", "\\\\", "0000", "\x01", "\\ud800" };

	for (int round = 0; round < 60000; round++) {
		uint8_t text[200], out[2][400], slow[400];
		size_t n = 1, used = 0, len[2] = { 0 };
		size_t want = rnd() % 150;

		text[0] = '"';
		while (n < want) {
			if (rnd() % 24) {
				text[n++] = (uint8_t)(0x20 + rnd() % 0xe0);
			} else {
				const char *b = bits[rnd() % LP_ARRAY_LEN(bits)];

				memcpy(text + n, b, strlen(b));
				n += strlen(b);
			}
		}
		if (rnd() % 4)
			text[n++] = '"';
		uint8_t *copy = malloc(n);
		int r[2];

		memcpy(copy, text, n);
		long expect = slow_string(copy, n, slow, &used);

		for (int k = 0; k < 2; k++) {
			struct lp_json js;

			lp_json_start(&js, copy, n, k);
			r[k] = lp_json_string(&js, (char *)out[k], 300, &len[k]);
			ck_assert_int_eq(r[k], expect < 0 ? -EBADMSG : 0);
			if (!r[k]) {
				ck_assert_uint_eq(len[k], (size_t)expect);
				ck_assert_uint_eq((size_t)(js.p - js.begin), used);
				ck_assert(!memcmp(out[k], slow, len[k]));
			}
			struct lp_arena arena = LP_ARENA_INIT;
			const char *ref;
			size_t ref_len;

			lp_json_start(&js, copy, n, k);
			ck_assert_int_eq(lp_json_string_ref(&js, &arena, &ref, &ref_len), r[k]);
			if (!r[k])
				ck_assert(ref_len == len[k] && !memcmp(ref, out[k], ref_len));
			lp_arena_free(&arena);
		}
		free(copy);
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("ingest_json");
	TCase *t = tcase_create("json");

	tcase_set_timeout(t, 60);
	tcase_add_loop_test(t, loki_refusals, 0, LP_ARRAY_LEN(loki_cases));
	tcase_add_loop_test(t, original_refusals, 0, LP_ARRAY_LEN(original_cases));
	tcase_add_loop_test(t, prom_refusals, 0, LP_ARRAY_LEN(prom_cases));
	tcase_add_test(t, prom_accepts);
	tcase_add_test(t, loki_accepts);
	tcase_add_test(t, original_accepts);
	tcase_add_test(t, invalid_utf8_is_stored);
	tcase_add_test(t, limits_per_line);
	tcase_add_test(t, limits_per_stream);
	tcase_add_test(t, message_is_bounded);
	tcase_add_test(t, record_limit);
	tcase_add_test(t, nesting_is_bounded);
	tcase_add_test(t, scanners_agree);
	suite_add_tcase(s, t);
	SRunner *runner = srunner_create(s);

	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);

	srunner_free(runner);
	return failed != 0;
}
