/* Protobuf and MessagePack pushes, label strings, content encodings. */
#include "tests/unit/ingest_help.h"

#include <errno.h>
#include <libdeflate.h>
#include <msgpack.h>
#include <snappy-c.h>
#include <zstd.h>

/* ---- protobuf ---------------------------------------------------------------------------------------------------- */

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

static void put_entry(struct lp_buf *stream, int64_t seconds, int64_t nanos, const char *line, const char *name, const char *value)
{
	struct lp_buf ts = LP_BUF_INIT, entry = LP_BUF_INIT, pair = LP_BUF_INIT;

	put_varint(&ts, 1 << 3);
	put_varint(&ts, (uint64_t)seconds);
	put_varint(&ts, 2 << 3);
	put_varint(&ts, (uint64_t)nanos);
	put_field(&entry, 2, line, strlen(line));
	if (name) {
		put_field(&pair, 2, value, strlen(value));
		put_field(&pair, 1, name, strlen(name));
		put_field(&entry, 3, pair.data, pair.len);
	}
	lp_buf_append(&entry, "\x4d" "abcd", 5);        /* unknown: field 9, fixed32 */
	put_field(&entry, 1, ts.data, ts.len);
	put_field(stream, 2, entry.data, entry.len);
	lp_buf_free(&ts);
	lp_buf_free(&entry);
	lp_buf_free(&pair);
}

START_TEST(proto_accepts)
{
	struct lp_buf body = LP_BUF_INIT, stream = LP_BUF_INIT;
	struct pushed p;

	put_entry(&stream, 5, 7, "one", "a.b", "v");    /* before the labels */
	put_field(&stream, 1, "{b=\"2\", a=\"1\"}", 14);
	put_entry(&stream, -1, 0, "", NULL, NULL);
	put_entry(&stream, 9223372036, 854775807, "last", NULL, NULL);
	put_entry(&stream, 9223372036, 854775808, "too new", NULL, NULL);
	put_entry(&stream, -9223372037, 145224191, "too old", NULL, NULL);
	put_field(&body, 1, stream.data, stream.len);
	ck_assert_int_eq(push_body(&p, LP_PUSH_LOKI_PROTO, body.data, body.len), 0);
	ck_assert_int_eq(p.result.status, 400);
	ck_assert_uint_eq(p.result.accepted, 3);
	ck_assert_uint_eq(p.result.discarded[LP_DISCARD_TOO_NEW], 1);
	ck_assert_uint_eq(p.result.discarded[LP_DISCARD_TOO_OLD], 1);
	ck_assert_str_eq(labels_text(&p, 0), "{a=\"1\", b=\"2\"}");
	ck_assert_str_eq(entry_text(&p, 0, 0), "5000000007 one {a_b=v}");
	ck_assert_str_eq(entry_text(&p, 0, 1), "-1000000000 ");
	ck_assert_str_eq(entry_text(&p, 0, 2), "9223372036854775807 last");
	push_free(&p);
	lp_buf_free(&body);
	lp_buf_free(&stream);
}
END_TEST

START_TEST(proto_keeps_good_streams)
{
	struct lp_buf body = LP_BUF_INIT, stream = LP_BUF_INIT;
	struct pushed p;
	static const char *const labels[] = { "{a-b=\"1\"}", "{}", "{a=\"1\",a=\"2\"}", "{ok=\"1\"}" };

	for (size_t i = 0; i < LP_ARRAY_LEN(labels); i++) {
		stream.len = 0;
		put_field(&stream, 1, labels[i], strlen(labels[i]));
		put_entry(&stream, 1, 0, "x", NULL, NULL);
		put_field(&body, 1, stream.data, stream.len);
	}
	ck_assert_int_eq(push_body(&p, LP_PUSH_LOKI_PROTO, body.data, body.len), 0);
	ck_assert_int_eq(p.result.status, 400);
	ck_assert_uint_eq(p.result.accepted, 1);
	ck_assert_str_eq(labels_text(&p, 0), "{ok=\"1\"}");
	ck_assert_uint_eq(p.result.discarded[LP_DISCARD_INVALID_LABELS], 1);
	ck_assert_uint_eq(p.result.discarded[LP_DISCARD_MISSING_LABELS], 1);
	ck_assert_uint_eq(p.result.discarded[LP_DISCARD_DUPLICATE_LABEL_NAMES], 1);
	ck_assert_ptr_nonnull(strstr(message(&p), "couldn't parse labels: 1:3: parse error: unexpected character inside braces: '-'"));
	ck_assert_ptr_nonnull(strstr(message(&p), "error at least one label pair is required per stream"));
	ck_assert_ptr_nonnull(strstr(message(&p), "duplicate label name: 'a'"));
	push_free(&p);
	/* Every cut of the body is refused or a shorter push, never a crash; the record stays valid. */
	for (size_t n = 0; n < body.len; n++) {
		ck_assert_int_eq(push_body(&p, LP_PUSH_LOKI_PROTO, body.data, n), 0);
		ck_assert_int_eq(p.result.status, n ? 400 : 422);
		push_free(&p);
	}
	lp_buf_free(&body);
	lp_buf_free(&stream);
}
END_TEST

/* ---- msgpack: written by msgpack-c, read by hand ------------------------------------------------------------------ */

static void pack_str(msgpack_packer *pk, const char *s)
{
	msgpack_pack_str(pk, strlen(s));
	msgpack_pack_str_body(pk, s, strlen(s));
}

START_TEST(msgpack_accepts)
{
	msgpack_sbuffer sb;
	msgpack_packer pk;
	msgpack_timestamp ts = { .tv_sec = -5, .tv_nsec = 7 }, small = { .tv_sec = 9, .tv_nsec = 0 };
	char line[70001];
	struct pushed p;

	memset(line, 'x', sizeof line - 1);
	line[sizeof line - 1] = 0;
	msgpack_sbuffer_init(&sb);
	msgpack_packer_init(&pk, &sb, msgpack_sbuffer_write);
	msgpack_pack_map(&pk, 2);
	pack_str(&pk, "unknown");
	msgpack_pack_array(&pk, 2);
	msgpack_pack_double(&pk, 1.5);
	msgpack_pack_map(&pk, 1);
	msgpack_pack_int(&pk, 1);
	msgpack_pack_nil(&pk);
	pack_str(&pk, "streams");
	msgpack_pack_array(&pk, 1);
	msgpack_pack_map(&pk, 2);
	pack_str(&pk, "entries");               /* before the labels */
	msgpack_pack_array(&pk, 5);
	for (int i = 0; i < 5; i++) {
		msgpack_pack_map(&pk, i == 0 ? 3 : 2);
		pack_str(&pk, "line");
		pack_str(&pk, i == 4 ? line : "text");
		pack_str(&pk, "ts");
		switch (i) {
		case 0: pack_str(&pk, "2026-11-01T00:01:00Z"); break;
		case 1: msgpack_pack_int64(&pk, -77); break;
		case 2: msgpack_pack_timestamp(&pk, &ts); break;
		case 3: msgpack_pack_timestamp(&pk, &small); break;
		default: msgpack_pack_nil(&pk);
		}
		if (i == 0) {
			pack_str(&pk, "metadata");
			msgpack_pack_map(&pk, 1);
			pack_str(&pk, "k.l");
			pack_str(&pk, "v");
		}
	}
	pack_str(&pk, "labels");
	msgpack_pack_map(&pk, 1);
	pack_str(&pk, "a");
	pack_str(&pk, "b");
	ck_assert_int_eq(push_body(&p, LP_PUSH_ORIGINAL_MSGPACK, sb.data, sb.size), 0);
	ck_assert_msg(p.result.status == 200, "%s", message(&p));
	ck_assert_uint_eq(p.result.accepted, 5);
	ck_assert_str_eq(labels_text(&p, 0), "{a=\"b\"}");
	ck_assert_str_eq(entry_text(&p, 0, 0), "1793491260000000000 text {k_l=v}");
	ck_assert_str_eq(entry_text(&p, 0, 1), "-77 text");
	ck_assert_str_eq(entry_text(&p, 0, 2), "-4999999993 text");
	ck_assert_str_eq(entry_text(&p, 0, 3), "9000000000 text");
	ck_assert_uint_eq(lp_batch_text_bytes(p.batch), 16 + sizeof line - 1);
	push_free(&p);
	for (size_t n = 0; n < sb.size; n += n < 300 ? 1 : 997) {
		ck_assert_int_eq(push_body(&p, LP_PUSH_ORIGINAL_MSGPACK, sb.data, n), 0);
		ck_assert_int_eq(p.result.status, 400);
		ck_assert_str_eq(message(&p), "Invalid MessagePack: unexpected end of input");
		push_free(&p);
	}
	msgpack_sbuffer_destroy(&sb);
}
END_TEST

/* ---- label strings ------------------------------------------------------------------------------------------------ */

static const struct {
	const char *text, *expect;      /* what prints, or the error */
	bool ok;
} label_cases[] = {
	{ "{}", "{}", true },
	{ "", "{}", true },
	{ " { a = \"b\" , c='d\\'', } ", "{a=\"b\", c=\"d'\"}", true },
	{ "{b=`x\\n`, a=\"\\x41\\u00e9\\U0001F600\\101\\n\"}", "{a=\"A\xc3\xa9\xf0\x9f\x98\x80" "A\\n\", b=\"x\\\\n\"}", true },
	{ "up{job=\"x\"}", "{__name__=\"up\", job=\"x\"}", true },
	{ "{\"a\"=\"b\"}", "{a=\"b\"}", true },
	{ "{a-b=\"c\"}", "1:3: parse error: unexpected character inside braces: '-'", false },
	{ "{a=\"b\"", "1:7: parse error: unexpected end of input inside braces", false },
	{ "{a=b}", "1:4: parse error: unexpected identifier \"b\" in label set, expected string", false },
	{ "{a}", "1:3: parse error: unexpected \"}\" in label set, expected \"=\"", false },
	{ "{,}", "1:2: parse error: unexpected \",\" in label set, expected identifier or \"}\"", false },
	{ "{a=\"b\" c=\"d\"}", "1:8: parse error: unexpected identifier \"c\" in label set, expected \",\" or \"}\"", false },
	{ "{a!=\"b\"}", "1:3: parse error: unexpected <op:!=> in label set, expected \"=\"", false },
	{ "{\na=\"x\n\"}", "2:3: parse error: unterminated quoted string", false },
	{ "{a=\"\\q\"}", "1:4: parse error: unknown escape sequence U+0071", false },
	{ "{a=\"\\ud800\"}", "1:4: parse error: escape sequence is an invalid Unicode code point", false },
	{ "{a=`x}", "1:4: parse error: unterminated raw string", false },
	{ "{a=\"1\", a=\"2\"}", "duplicate label name", false },
	{ "{\"a b\"=\"c\"}", "1:2: parse error: invalid label name", false },
};

START_TEST(label_strings)
{
	struct lp_buf out = LP_BUF_INIT, text = LP_BUF_INIT;
	const char *in = label_cases[_i].text;
	int r = lp_label_string_parse(in, strlen(in), "", 0, &out, &text);

	ck_assert_msg((r == 0) == label_cases[_i].ok, "%s: %s", in, lp_buf_cstr(&text));
	if (!r)
		lp_labels_print(&text, out.data, out.len);
	ck_assert_str_eq(lp_buf_cstr(&text), label_cases[_i].expect);
	lp_buf_free(&out);
	lp_buf_free(&text);
}
END_TEST

/* ---- content encodings -------------------------------------------------------------------------------------------- */

static char plain[300000];

static size_t compress_as(enum lp_content_encoding enc, int raw, size_t n, uint8_t *out, size_t cap)
{
	struct libdeflate_compressor *c = libdeflate_alloc_compressor(6);
	size_t len = cap;

	if (enc == LP_ENC_GZIP) {               /* two members */
		len = libdeflate_gzip_compress(c, plain, n / 2, out, cap);
		len += libdeflate_gzip_compress(c, plain + n / 2, n - n / 2, out + len, cap - len);
	} else if (enc == LP_ENC_DEFLATE && raw) {
		len = libdeflate_deflate_compress(c, plain, n, out, cap);
	} else if (enc == LP_ENC_DEFLATE) {
		len = libdeflate_zlib_compress(c, plain, n, out, cap);
	} else if (enc == LP_ENC_ZSTD) {
		len = ZSTD_compress(out, cap, plain, n, 3);
	} else {
		ck_assert_int_eq(snappy_compress(plain, n, (char *)out, &len), SNAPPY_OK);
	}
	libdeflate_free_compressor(c);
	return len;
}

START_TEST(content)
{
	static const struct {
		enum lp_content_encoding enc;
		int raw;
	} kinds[] = { { LP_ENC_GZIP, 0 }, { LP_ENC_DEFLATE, 0 }, { LP_ENC_DEFLATE, 1 }, { LP_ENC_ZSTD, 0 }, { LP_ENC_SNAPPY, 0 } };
	uint8_t *packed = malloc(400000);
	struct lp_buf out = LP_BUF_INIT;

	for (size_t i = 0; i < sizeof plain; i++)
		plain[i] = (char)("abcd"[i * i % 4] + i / 50000);
	for (size_t n = 0; n <= sizeof plain; n += n < 10 ? 1 : 99997) {
		size_t len = compress_as(kinds[_i].enc, kinds[_i].raw, n, packed, 400000);

		ck_assert_int_eq(lp_content_decode(kinds[_i].enc, packed, len, n, &out), 0);
		ck_assert(out.len == n && (!n || !memcmp(out.data, plain, n)));
		if (n) {
			ck_assert_int_eq(lp_content_decode(kinds[_i].enc, packed, len, n - 1, &out), -E2BIG);
			ck_assert_uint_eq(out.len, 0);
		}
		/* Cut off: inflate may reach the limit before it misses its input. */
		int r = lp_content_decode(kinds[_i].enc, packed, len - 1, n + 100, &out);

		ck_assert(r == -EBADMSG || (r == -E2BIG && kinds[_i].enc != LP_ENC_ZSTD && kinds[_i].enc != LP_ENC_SNAPPY));
		ck_assert_uint_eq(out.len, 0);
	}
	ck_assert_int_eq(lp_content_decode(kinds[_i].enc, "not snappy", 10, 1000, &out), -EBADMSG);
	lp_buf_free(&out);
	free(packed);
}
END_TEST

START_TEST(encoding_names)
{
	enum lp_content_encoding enc;

	ck_assert(lp_content_encoding_parse("", 0, &enc) == 0 && enc == LP_ENC_IDENTITY);
	ck_assert(lp_content_encoding_parse("GZip", 4, &enc) == 0 && enc == LP_ENC_GZIP);
	ck_assert(lp_content_encoding_parse("zstd", 4, &enc) == 0 && enc == LP_ENC_ZSTD);
	ck_assert_int_eq(lp_content_encoding_parse("br", 2, &enc), -EINVAL);
}
END_TEST

/* A batch with repeated streams, unsorted times and metadata that starts late; reset starts anew. */
START_TEST(batch_columns)
{
	struct lp_batch *batch;
	struct lp_buf a = LP_BUF_INIT, b = LP_BUF_INIT, meta = LP_BUF_INIT;
	struct lp_label pair = { "k", 1, 1, "v" };
	struct lp_walrec_stream stream;
	struct lp_walrec_head head;
	uint32_t bytes;

	ck_assert_int_eq(lp_label_string_parse("{a=\"1\"}", 7, "t", 1, &a, NULL), 0);
	ck_assert_int_eq(lp_label_string_parse("{b=\"1\"}", 7, "", 0, &b, NULL), 0);
	ck_assert_int_eq(lp_metadata_encode(&meta, &pair, 1), 0);
	ck_assert_int_eq(lp_batch_open(1 << 20, &batch), 0);
	for (int round = 0; round < 2; round++) {
		ck_assert_uint_eq(lp_batch_encoded_bytes(batch), 0);
		ck_assert_int_eq(lp_batch_stream(batch, a.data, (uint32_t)a.len), 0);
		ck_assert_int_eq(lp_batch_entry_copy(batch, 5, "x\ny", 3, NULL, 0), 0);
		ck_assert_int_eq(lp_batch_entry_copy(batch, 4, "", 0, meta.data, (uint32_t)meta.len), 0);
		ck_assert_int_eq(lp_batch_stream(batch, b.data, (uint32_t)b.len), 0);
		ck_assert_int_eq(lp_batch_stream(batch, a.data, (uint32_t)a.len), 0);   /* b stayed empty; a goes on */
		ck_assert_int_eq(lp_batch_entry_copy(batch, 6, "z", 1, NULL, 0), 0);
		ck_assert_int_eq(lp_batch_stream(batch, b.data, (uint32_t)b.len), 0);
		ck_assert_uint_eq(lp_batch_text_bytes(batch), 4);
		bytes = lp_batch_encoded_bytes(batch);
		void *rec = aligned_alloc(16, bytes);

		lp_batch_encode(batch, rec, 1, 2, 3);
		ck_assert_int_eq(lp_walrec_check(rec, bytes, &bytes), 0);
		ck_assert_int_eq(lp_walrec_peek(rec, bytes, &head), 0);
		ck_assert_uint_eq(head.streams, 1);
		ck_assert_int_eq(lp_walrec_stream(rec, &head, 0, &stream), 0);
		ck_assert(stream.entries == 3 && !(stream.flags & LP_WALREC_SORTED) && head.min_ts == 4 && head.max_ts == 6);
		free(rec);
		lp_batch_reset(batch);
	}
	lp_batch_close(&batch);
	lp_buf_free(&a);
	lp_buf_free(&b);
	lp_buf_free(&meta);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("ingest_binary");
	TCase *t = tcase_create("binary");

	tcase_add_test(t, proto_accepts);
	tcase_add_test(t, proto_keeps_good_streams);
	tcase_add_test(t, msgpack_accepts);
	tcase_add_loop_test(t, label_strings, 0, LP_ARRAY_LEN(label_cases));
	tcase_add_loop_test(t, content, 0, 5);
	tcase_add_test(t, encoding_names);
	tcase_add_test(t, batch_columns);
	suite_add_tcase(s, t);
	SRunner *runner = srunner_create(s);

	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);

	srunner_free(runner);
	return failed != 0;
}
