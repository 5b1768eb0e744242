/* src/common: buffers, arenas, checksums, integers, UTF-8, JSON, time. */
#include "common/arena.h"
#include "common/buf.h"
#include "common/bytes.h"
#include "common/clock.h"
#include "common/crc32c.h"
#include "common/jsonw.h"
#include "common/log.h"
#include "common/rfc3339.h"
#include "common/utf8.h"

#include <check.h>
#include <errno.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- buf ---- */

START_TEST(buf_grows)
{
	struct lp_buf buf = LP_BUF_INIT;

	ck_assert_str_eq(lp_buf_cstr(&buf), "");
	lp_buf_append(&buf, NULL, 0);
	for (int i = 0; i < 1000; i++)
		lp_buf_printf(&buf, "%d,", i);
	lp_buf_u64(&buf, UINT64_MAX);
	lp_buf_byte(&buf, ' ');
	lp_buf_i64(&buf, INT64_MIN);
	lp_buf_i64(&buf, 0);
	lp_buf_str(&buf, "!");
	ck_assert(!buf.failed);
	ck_assert_ptr_nonnull(strstr(lp_buf_cstr(&buf), "998,999,18446744073709551615 -92233720368547758080!"));
	ck_assert_uint_eq(strlen(lp_buf_cstr(&buf)), buf.len);
	lp_buf_free(&buf);
	ck_assert_ptr_null(buf.data);
	lp_buf_free(&buf);
	lp_buf_free(NULL);
}
END_TEST

START_TEST(buf_limit_is_exact_and_error_sticks)
{
	struct lp_buf buf = { .max = 300 };
	char text[300];

	memset(text, 'a', sizeof text);
	lp_buf_append(&buf, text, 300);
	ck_assert(!buf.failed);
	ck_assert_uint_eq(strlen(lp_buf_cstr(&buf)), 300);
	lp_buf_byte(&buf, 'b');
	ck_assert(buf.failed);
	ck_assert_uint_eq(buf.len, 300);
	ck_assert_uint_eq(strlen(lp_buf_cstr(&buf)), 300);
	lp_buf_append(&buf, "", 0);
	ck_assert(buf.failed);
	lp_buf_reset(&buf);
	ck_assert(!buf.failed);
	ck_assert_uint_eq(buf.max, 300);
	ck_assert_ptr_null(lp_buf_reserve(&buf, 301));
	ck_assert_ptr_null(lp_buf_reserve(&buf, SIZE_MAX));
	ck_assert(buf.failed);
	/* After a failure nothing more is taken, or a text with a hole in it would look whole. */
	lp_buf_str(&buf, "x");
	ck_assert_uint_eq(buf.len, 0);
	lp_buf_free(&buf);
}
END_TEST

START_TEST(buf_printf_up_to_the_limit)
{
	struct lp_buf buf = { .max = 10 };

	lp_buf_printf(&buf, "%s", "0123456789");
	ck_assert(!buf.failed);
	ck_assert_str_eq(lp_buf_cstr(&buf), "0123456789");
	lp_buf_reset(&buf);
	lp_buf_printf(&buf, "%s", "0123456789a");
	ck_assert(buf.failed);
	ck_assert_uint_eq(buf.len, 0);
	lp_buf_free(&buf);
}
END_TEST

/* ---- arena ---- */

START_TEST(arena_aligns_and_limits)
{
	struct lp_arena arena = LP_ARENA_INIT;
	char *prev = NULL;

	for (size_t n = 0; n < 5000; n += 7) {
		char *p = lp_arena_zalloc(&arena, n);

		ck_assert_ptr_nonnull(p);
		ck_assert_uint_eq((uintptr_t)p % 16, 0);
		ck_assert_ptr_ne(p, prev);
		if (n && (p[0] || p[n - 1]))
			ck_abort_msg("not zero");
		memset(p, 0xff, n);
		prev = p;
	}
	ck_assert_ptr_nonnull(lp_arena_alloc(&arena, 3 << 20));
	ck_assert_ptr_null(lp_arena_alloc(&arena, SIZE_MAX));
	ck_assert_ptr_null(lp_arena_alloc(&arena, SIZE_MAX / 2));
	ck_assert_str_eq(lp_arena_strndup(&arena, "abcdef", 3), "abc");
	ck_assert_str_eq(lp_arena_strndup(&arena, NULL, 0), "");
	ck_assert_ptr_null(lp_arena_strndup(&arena, "", SIZE_MAX));
	ck_assert_int_eq(memcmp(lp_arena_dup(&arena, "xyz", 3), "xyz", 3), 0);
	lp_arena_free(&arena);
	lp_arena_free(NULL);

	arena.max_bytes = 64 << 10;
	size_t got = 0;

	while (lp_arena_alloc(&arena, 1000))
		got += 1000;
	ck_assert_uint_ge(got, 16 << 10);
	ck_assert_uint_le(arena.total_bytes, 64 << 10);
	lp_arena_free(&arena);
	ck_assert_uint_eq(arena.max_bytes, 64 << 10);
	ck_assert_ptr_nonnull(lp_arena_alloc(&arena, 1000));
	lp_arena_free(&arena);
}
END_TEST

/* ---- crc32c ---- */

START_TEST(crc32c_vectors)
{
	uint8_t bytes[48];

	/* RFC 3720 appendix B.4. */
	memset(bytes, 0, 32);
	ck_assert_uint_eq(lp_crc32c(0, bytes, 32), 0x8a9136aa);
	memset(bytes, 0xff, 32);
	ck_assert_uint_eq(lp_crc32c(0, bytes, 32), 0x62a8ab43);
	for (unsigned i = 0; i < 32; i++)
		bytes[i] = (uint8_t)i;
	ck_assert_uint_eq(lp_crc32c(0, bytes, 32), 0x46dd794e);
	for (unsigned i = 0; i < 32; i++)
		bytes[i] = (uint8_t)(31 - i);
	ck_assert_uint_eq(lp_crc32c(0, bytes, 32), 0x113fdb5c);
	ck_assert_uint_eq(lp_crc32c(0, "123456789", 9), 0xe3069283);
	ck_assert_uint_eq(lp_crc32c_table(0, "123456789", 9), 0xe3069283);
	ck_assert_uint_eq(lp_crc32c(0, NULL, 0), 0);
	ck_assert_uint_eq(lp_crc32c(0x1234, NULL, 0), 0x1234);
}
END_TEST

/* Bit by bit, straight from the definition. */
static uint32_t crc32c_slow(uint32_t crc, const uint8_t *p, size_t n)
{
	crc = ~crc;
	while (n--) {
		crc ^= *p++;
		for (int k = 0; k < 8; k++)
			crc = crc & 1 ? (crc >> 1) ^ 0x82f63b78u : crc >> 1;
	}
	return ~crc;
}

START_TEST(crc32c_alignments_and_lengths)
{
	static uint8_t bytes[3 * 3072 + 64];
	static const size_t around[] = { 0, 1, 7, 8, 9, 1023, 1024, 1025, 3071, 3072, 3073, 3080, 6143, 6144, 6145, 9000 };
	unsigned seed = 1;

	for (size_t i = 0; i < sizeof bytes; i++)
		bytes[i] = (uint8_t)rand_r(&seed);
	for (size_t off = 0; off < 16; off++)
		for (size_t k = 0; k < LP_ARRAY_LEN(around); k++) {
			uint32_t start = (uint32_t)rand_r(&seed) * 2654435761u, want = crc32c_slow(start, bytes + off, around[k]);
			uint32_t fast = lp_crc32c(start, bytes + off, around[k]), slow = lp_crc32c_table(start, bytes + off, around[k]);

			ck_assert_msg(fast == want && slow == want, "off %zu len %zu: %x %x, not %x", off, around[k], fast, slow, want);
		}
	for (size_t n = 3000; n < 3150; n++)
		ck_assert_uint_eq(lp_crc32c(0, bytes, n), lp_crc32c_table(0, bytes, n));
	/* In pieces it is the same. */
	uint32_t whole = lp_crc32c(0, bytes, 9000);

	for (size_t cut = 0; cut <= 9000; cut += 617)
		ck_assert_uint_eq(lp_crc32c(lp_crc32c(0, bytes, cut), bytes + cut, 9000 - cut), whole);
}
END_TEST

/* ---- bytes ---- */

START_TEST(varints)
{
	uint8_t bytes[LP_VARINT_MAX + 1];
	uint64_t back;

	for (int bit = 0; bit < 64; bit++)
		for (int d = -1; d <= 1; d++) {
			uint64_t v = (UINT64_C(1) << bit) + (uint64_t)d;
			uint8_t *end = lp_varint_put(bytes, v);

			ck_assert_uint_eq((size_t)(end - bytes), lp_varint_len(v));
			back = ~v;
			ck_assert_ptr_eq(lp_varint_get(bytes, end, &back), end);
			ck_assert_uint_eq(back, v);
			for (const uint8_t *cut = bytes; cut < end; cut++)
				ck_assert_ptr_null(lp_varint_get(bytes, cut, &back));
		}
	ck_assert_uint_eq(lp_varint_len(0), 1);
	ck_assert_uint_eq(lp_varint_len(UINT64_MAX), LP_VARINT_MAX);
	/* Over 64 bits, and never ending. */
	memset(bytes, 0xff, sizeof bytes);
	bytes[9] = 0x02;
	back = 5;
	ck_assert_ptr_null(lp_varint_get(bytes, bytes + 10, &back));
	bytes[9] = 0x81;
	bytes[10] = 0;
	ck_assert_ptr_null(lp_varint_get(bytes, bytes + 11, &back));
	ck_assert_uint_eq(back, 5);
}
END_TEST

START_TEST(zigzag)
{
	static const int64_t values[] = { 0, -1, 1, -2, 2, 1000000, -1000000, INT64_MAX, INT64_MIN, INT64_MIN + 1 };

	for (size_t i = 0; i < LP_ARRAY_LEN(values); i++)
		ck_assert_int_eq(lp_unzigzag(lp_zigzag(values[i])), values[i]);
	for (unsigned i = 0; i < 5; i++)
		ck_assert_uint_eq(lp_zigzag(values[i]), i);
	ck_assert_uint_eq(lp_zigzag(INT64_MIN), UINT64_MAX);
	ck_assert_uint_eq(LP_ALIGN(17u, 16u), 32);
	ck_assert_uint_eq(LP_ALIGN(32u, 16u), 32);
	ck_assert_uint_eq(LP_ALIGN(UINT64_C(0x1ffffffff), 16u), UINT64_C(0x200000000));
}
END_TEST

/* ---- UTF-8 ---- */

/* The slow reference: decode by the bit patterns, then check the code point. */
static unsigned utf8_slow(const uint8_t *p, size_t n)
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	unsigned len = p[0] < 0x80 ? 1 : (p[0] & 0xe0) == 0xc0 ? 2 : (p[0] & 0xf0) == 0xe0 ? 3 : (p[0] & 0xf8) == 0xf0 ? 4 : 0;

	if (!len || len > n)
		return 0;
	if (len == 1)
		return 1;
	uint32_t cp = p[0] & (0x7fu >> len);

	for (unsigned i = 1; i < len; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		cp = cp << 6 | (p[i] & 0x3f);
	}
	return cp < least[len] || cp > 0x10ffff || (cp >= 0xd800 && cp <= 0xdfff) ? 0 : len;
}

START_TEST(utf8_all_short_sequences)
{
	static const uint8_t edges[] = { 0x00, 0x41, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xff };
	uint64_t wrong = 0;

	for (uint32_t v = 0; v < 0x1000000; v++) {
		uint8_t p[3] = { (uint8_t)(v >> 16), (uint8_t)(v >> 8), (uint8_t)v };

		wrong += lp_utf8_seq(p, 3) != utf8_slow(p, 3);
		if ((v & 0xff) == 0)
			wrong += lp_utf8_seq(p, 2) != utf8_slow(p, 2);
		if ((v & 0xffff) == 0)
			wrong += lp_utf8_seq(p, 1) != utf8_slow(p, 1);
	}
	for (uint32_t v = 0; v < 0x10000; v++)
		for (size_t a = 0; a < LP_ARRAY_LEN(edges); a++)
			for (size_t b = 0; b < LP_ARRAY_LEN(edges); b++) {
				uint8_t p[4] = { (uint8_t)(0xf0 | (v >> 8 & 15)), (uint8_t)v, edges[a], edges[b] };

				wrong += lp_utf8_seq(p, 4) != utf8_slow(p, 4);
			}
	ck_assert_uint_eq(wrong, 0);
	ck_assert_uint_eq(lp_utf8_seq((const uint8_t *)"a", 0), 0);
}
END_TEST

START_TEST(utf8_put_reads_back)
{
	uint64_t wrong = 0;

	for (uint32_t cp = 0; cp <= 0x10ffff; cp++) {
		uint8_t out[4];
		unsigned len = lp_utf8_put(out, cp);
		bool surrogate = cp >= 0xd800 && cp <= 0xdfff;

		wrong += lp_utf8_seq(out, len) != (surrogate ? 0 : len);
	}
	ck_assert_uint_eq(wrong, 0);
}
END_TEST

START_TEST(utf8_valid_at_every_offset)
{
	/* A bad byte anywhere in a long text is found, whatever the eight-byte steps. */
	for (size_t n = 0; n < 40; n++) {
		uint8_t text[48];

		memset(text, 'a', sizeof text);
		ck_assert(lp_utf8_valid(text, n));
		for (size_t i = 0; i < n; i++) {
			text[i] = 0xc3;
			ck_assert(!lp_utf8_valid(text, n));
			if (i + 1 < n) {
				text[i + 1] = 0xa4;
				ck_assert(lp_utf8_valid(text, n));
				text[i + 1] = 'a';
			}
			text[i] = 'a';
		}
	}
}
END_TEST

/* ---- JSON ---- */

static void check_json_str(const char *in, size_t n, const char *want)
{
	struct lp_buf buf = LP_BUF_INIT;

	lp_jsonw_str(&buf, in, n);
	ck_assert_str_eq(lp_buf_cstr(&buf), want);
	lp_buf_free(&buf);
}

START_TEST(json_strings)
{
	check_json_str("", 0, "\"\"");
	check_json_str(NULL, 0, "\"\"");
	check_json_str("plain text of more than eight bytes", 35, "\"plain text of more than eight bytes\"");
	check_json_str("a\"b\\c\n\r\t\b\f/\x7f", 12, "\"a\\\"b\\\\c\\n\\r\\t\\u0008\\u000c/\x7f\"");
	check_json_str("\0\x1f", 2, "\"\\u0000\\u001f\"");
	check_json_str("\xc3\xa4\xf0\x9f\x98\x80", 6, "\"\xc3\xa4\xf0\x9f\x98\x80\"");
	check_json_str("a\xff\xc3", 3, "\"a\xef\xbf\xbd\xef\xbf\xbd\"");
	check_json_str("\xed\xa0\x80", 3, "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"");
	/* Each special byte at each place of a long run. */
	for (size_t at = 0; at < 24; at++)
		for (unsigned c = 0; c < 256; c++) {
			char in[24], want[80];
			const char *esc;
			char hex[8];

			memset(in, 'x', sizeof in);
			in[at] = (char)c;
			snprintf(hex, sizeof hex, "\\u%04x", c);
			if (c >= 0x80)
				esc = "\xef\xbf\xbd";
			else if (c == '"' || c == '\\')
				esc = c == '"' ? "\\\"" : "\\\\";
			else if (c == '\n' || c == '\r' || c == '\t')
				esc = c == '\n' ? "\\n" : c == '\r' ? "\\r" : "\\t";
			else
				esc = hex;
			if (c >= 0x20 && c < 0x80 && c != '"' && c != '\\')
				snprintf(hex, sizeof hex, "%c", (int)c);
			snprintf(want, sizeof want, "\"%.*s%s%.*s\"", (int)at, "xxxxxxxxxxxxxxxxxxxxxxxx", esc, (int)(23 - at),
				 "xxxxxxxxxxxxxxxxxxxxxxxx");
			check_json_str(in, sizeof in, want);
		}
}
END_TEST

static const char *json_double(double v)
{
	static struct lp_buf buf;

	lp_buf_reset(&buf);
	lp_jsonw_double(&buf, v);
	return lp_buf_cstr(&buf);
}

START_TEST(json_doubles)
{
	static const struct { double v; const char *text; } cases[] = {
		/* What Go's encoding/json and Loki print. */
		{ 0, "0" }, { -0.0, "-0" }, { 1, "1" }, { -1, "-1" }, { 0.1, "0.1" }, { 1.5, "1.5" }, { -2.25, "-2.25" },
		{ 1e-6, "0.000001" }, { 1e-7, "1e-07" }, { 9.99e-7, "9.99e-07" }, { 1.5e-10, "1.5e-10" }, { -3e-100, "-3e-100" },
		{ 123456789012345680000.0, "123456789012345680000" }, { 1e20, "100000000000000000000" }, { 1e21, "1e+21" },
		{ 999999999999999900000.0, "999999999999999900000" }, { -1.25e22, "-1.25e+22" }, { 1e100, "1e+100" },
		{ 9007199254740991.0, "9007199254740991" }, { 9007199254740992.0, "9007199254740992" },
		{ 9007199254740994.0, "9007199254740994" }, { 0.30000000000000004, "0.30000000000000004" },
		{ 100, "100" }, { 1234567.125, "1234567.125" }, { 0.00001234, "0.00001234" }, { 0.001, "0.001" },
		{ 5e-324, "5e-324" }, { DBL_MAX, "1.7976931348623157e+308" }, { DBL_MIN, "2.2250738585072014e-308" },
		{ 1e15 + 0.5, "1000000000000000.5" }, { 4611686018427387904.0, "4611686018427388000" },
		{ 9223372036854775808.0, "9223372036854776000" },
	};

	for (size_t i = 0; i < LP_ARRAY_LEN(cases); i++)
		ck_assert_str_eq(json_double(cases[i].v), cases[i].text);
	ck_assert_str_eq(json_double((double)NAN), "NaN");
	ck_assert_str_eq(json_double((double)INFINITY), "+Inf");
	ck_assert_str_eq(json_double((double)-INFINITY), "-Inf");
}
END_TEST

/* Significant digits of a printed number. */
static int digits_of(const char *s)
{
	char d[800];
	int n = 0;

	for (; *s && *s != 'e'; s++)
		if (*s >= '0' && *s <= '9' && (n || *s != '0'))
			d[n++] = *s;
	while (n > 1 && d[n - 1] == '0')
		n--;
	return n;
}

START_TEST(json_doubles_are_shortest)
{
	uint64_t x = 88172645463325252u;

	for (int i = 0; i < 100000; i++) {
		double v;
		char shorter[40];

		x ^= x << 13;           /* Marsaglia, "Xorshift RNGs" */
		x ^= x >> 7;
		x ^= x << 17;
		memcpy(&v, &x, 8);
		if (i % 2)
			v = (double)(int64_t)x / 1e9;
		if (!isfinite(v))
			continue;
		const char *text = json_double(v);

		if (strtod(text, NULL) != v)
			ck_abort_msg("%.17g prints as %s", v, text);
		int n = digits_of(text);

		if (n > 1) {
			snprintf(shorter, sizeof shorter, "%.*e", n - 2, v);
			if (strtod(shorter, NULL) == v)
				ck_abort_msg("%s is longer than %s", text, shorter);
		}
	}
}
END_TEST

/* ---- time ---- */

static void check_time(const char *text, int64_t want)
{
	int64_t ns = 42;

	ck_assert_msg(lp_rfc3339_parse(text, strlen(text), &ns) == 0 && ns == want, "%s gives %lld", text, (long long)ns);
}

START_TEST(rfc3339_parse)
{
	static const char *const bad[] = {
		"", "2026", "2026-11-22", "2026-11-22T19:46:28", "2026-11-22T19:46:28.Z", "2026-11-22T19:46:28.1",
		"2026-11-22T24:00:00Z", "2026-11-22T23:60:00Z", "2026-11-22T23:59:60Z", "2026-13-01T00:00:00Z",
		"2026-00-01T00:00:00Z", "2026-02-29T00:00:00Z", "1900-02-29T00:00:00Z", "2026-04-31T00:00:00Z",
		"2026-01-00T00:00:00Z", "2026-11-22T19:46:28Zx", "2026-11-22T19:46:28+0100", "2026-11-22T19:46:28+24:00",
		"2026-11-22T19:46:28+01:60", "2026-11-22x19:46:28Z", "+026-11-22T19:46:28Z", "2026-11-22T19:46:28+01:00Z",
	};
	int64_t ns = 42;

	check_time("1970-01-01T00:00:00Z", 0);
	check_time("2026-11-22T19:46:28.123456789Z", INT64_C(1795376788123456789));
	check_time("2026-11-22T19:46:28.1234567899999Z", INT64_C(1795376788123456789));
	check_time("2026-11-22T19:46:28.5Z", INT64_C(1795376788500000000));
	check_time("2026-11-22t19:46:28z", INT64_C(1795376788000000000));
	check_time("2026-11-22T20:46:28+01:00", INT64_C(1795376788000000000));
	check_time("2026-11-22T14:16:28-05:30", INT64_C(1795376788000000000));
	check_time("2024-02-29T00:00:00Z", INT64_C(1709164800000000000));
	check_time("2000-02-29T12:00:00Z", INT64_C(951825600000000000));
	check_time("1969-12-31T23:59:59.999999999Z", -1);
	check_time("2262-04-11T23:47:16.854775807Z", INT64_MAX);
	check_time("1677-09-21T00:12:43.145224192Z", INT64_MIN);
	for (size_t i = 0; i < LP_ARRAY_LEN(bad); i++)
		ck_assert_msg(lp_rfc3339_parse(bad[i], strlen(bad[i]), &ns) == -EINVAL, "%s", bad[i]);
	ck_assert_int_eq(lp_rfc3339_parse("2262-04-11T23:47:16.854775808Z", 30, &ns), -ERANGE);
	ck_assert_int_eq(lp_rfc3339_parse("1677-09-21T00:12:43.145224191Z", 30, &ns), -ERANGE);
	ck_assert_int_eq(lp_rfc3339_parse("0000-01-01T00:00:00Z", 20, &ns), -ERANGE);
	ck_assert_int_eq(lp_rfc3339_parse("9999-12-31T23:59:59Z", 20, &ns), -ERANGE);
	ck_assert_int_eq(ns, 42);
}
END_TEST

START_TEST(rfc3339_format)
{
	char out[LP_RFC3339_MAX];
	static const struct { int64_t ns; const char *text; } cases[] = {
		{ 0, "1970-01-01T00:00:00Z" }, { 1, "1970-01-01T00:00:00.000000001Z" }, { -1, "1969-12-31T23:59:59.999999999Z" },
		{ 1500000000, "1970-01-01T00:00:01.5Z" }, { INT64_C(1795376788120000000), "2026-11-22T19:46:28.12Z" },
		{ INT64_MAX, "2262-04-11T23:47:16.854775807Z" }, { INT64_MIN, "1677-09-21T00:12:43.145224192Z" },
		{ INT64_C(951782400000000000), "2000-02-29T00:00:00Z" },
	};

	for (size_t i = 0; i < LP_ARRAY_LEN(cases); i++) {
		ck_assert_uint_eq(lp_rfc3339_format(out, cases[i].ns), strlen(cases[i].text));
		ck_assert_str_eq(out, cases[i].text);
	}
	/* Both ways over the whole range. */
	for (int64_t ns = INT64_MIN; ns < INT64_MAX - INT64_C(90000000000000007); ns += INT64_C(90000000000000007)) {
		int64_t back = 0;
		size_t n = lp_rfc3339_format(out, ns);

		ck_assert_int_eq(lp_rfc3339_parse(out, n, &back), 0);
		ck_assert_int_eq(back, ns);
	}
}
END_TEST

START_TEST(days)
{
	char out[LP_DAY_MAX];
	int64_t back;

	ck_assert_int_eq(lp_clock_day(0), 0);
	ck_assert_int_eq(lp_clock_day(-1), -1);
	ck_assert_int_eq(lp_clock_day(LP_NS_PER_DAY - 1), 0);
	ck_assert_int_eq(lp_clock_day(LP_NS_PER_DAY), 1);
	ck_assert_int_eq(lp_clock_day(-LP_NS_PER_DAY), -1);
	ck_assert_int_eq(lp_clock_day(-LP_NS_PER_DAY - 1), -2);
	ck_assert_int_eq(lp_clock_day(INT64_MIN), -106752);
	ck_assert_int_eq(lp_clock_day(INT64_MAX), 106751);
	for (int64_t day = -106752; day <= 106751; day++) {
		lp_day_format(out, day);
		if (lp_day_parse(out, &back) != 0 || back != day)
			ck_abort_msg("day %lld is %s", (long long)day, out);
	}
	ck_assert_int_eq(lp_day_parse("2026-02-30", &back), -EINVAL);
	ck_assert_int_eq(lp_day_parse("2026-2-3", &back), -EINVAL);
	ck_assert_int_eq(lp_day_parse("2026-02-03 ", &back), -EINVAL);
	ck_assert_int_eq(lp_day_parse("", &back), -EINVAL);
}
END_TEST

START_TEST(clocks_run)
{
	int64_t a = lp_clock_mono_ns(), b = lp_clock_mono_ns();

	ck_assert_int_le(a, b);
	ck_assert_int_gt(lp_clock_real_ns(), INT64_C(1577836800) * LP_NS_PER_SEC);
	ck_assert_int_le(lp_clock_mono_ms(), lp_clock_mono_ns() / LP_NS_PER_MS);
	ck_assert_int_gt(lp_clock_thread_cpu_ns(), 0);
}
END_TEST

/* ---- log ---- */

/* One line of the log with stderr in a file and JOURNAL_STREAM naming its inode + `off`. */
static void log_line(uint64_t off, char line[256])
{
	FILE *file = tmpfile();
	struct stat st;
	char stream[64];

	ck_assert_ptr_nonnull(file);
	ck_assert_int_eq(fstat(fileno(file), &st), 0);
	snprintf(stream, sizeof stream, "%llu:%llu", (unsigned long long)st.st_dev, (unsigned long long)(st.st_ino + off));
	ck_assert_int_eq(setenv("JOURNAL_STREAM", stream, 1), 0);
	int keep = dup(STDERR_FILENO);

	ck_assert_int_ge(dup2(fileno(file), STDERR_FILENO), 0);
	ck_assert_int_eq(lp_log_setup("test", LP_INFO, LP_LOG_LOGFMT, NULL), 0);
	lp_log(LP_WARN, "hello n=%d", 1);
	ck_assert_int_ge(dup2(keep, STDERR_FILENO), 0);
	close(keep);
	rewind(file);
	ck_assert_ptr_nonnull(fgets(line, 256, file));
	fclose(file);
}

START_TEST(log_marks_levels_for_the_journal_only)
{
	char line[256];

	log_line(0, line);
	ck_assert_msg(!strncmp(line, "<4>ts=", 6), "%s", line);
	log_line(1, line);
	ck_assert_msg(!strncmp(line, "ts=", 3), "%s", line);
	ck_assert_ptr_nonnull(strstr(line, " level=warn proc=\"test\""));
	/* ts=2026-11-22T19:46:28.120Z: always three decimals */
	ck_assert_msg(line[22] == '.' && line[26] == 'Z' && line[27] == ' ', "%s", line);
}
END_TEST

START_TEST(rfc3339_format_ms)
{
	static const struct { int64_t ns; const char *text; } cases[] = {
		{ 0, "1970-01-01T00:00:00.000Z" }, { 999999, "1970-01-01T00:00:00.000Z" }, { -1, "1969-12-31T23:59:59.999Z" },
		{ INT64_C(1700000000120000000), "2023-11-14T22:13:20.120Z" },
	};
	char out[LP_RFC3339_MAX];

	for (size_t i = 0; i < LP_ARRAY_LEN(cases); i++) {
		ck_assert_uint_eq(lp_rfc3339_format_ms(out, cases[i].ns), strlen(cases[i].text));
		ck_assert_str_eq(out, cases[i].text);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("common");
	TCase *tcase = tcase_create("common");

	tcase_set_timeout(tcase, 120);
	tcase_add_test(tcase, buf_grows);
	tcase_add_test(tcase, buf_limit_is_exact_and_error_sticks);
	tcase_add_test(tcase, buf_printf_up_to_the_limit);
	tcase_add_test(tcase, arena_aligns_and_limits);
	tcase_add_test(tcase, crc32c_vectors);
	tcase_add_test(tcase, crc32c_alignments_and_lengths);
	tcase_add_test(tcase, varints);
	tcase_add_test(tcase, zigzag);
	tcase_add_test(tcase, utf8_all_short_sequences);
	tcase_add_test(tcase, utf8_put_reads_back);
	tcase_add_test(tcase, utf8_valid_at_every_offset);
	tcase_add_test(tcase, json_strings);
	tcase_add_test(tcase, json_doubles);
	tcase_add_test(tcase, json_doubles_are_shortest);
	tcase_add_test(tcase, rfc3339_parse);
	tcase_add_test(tcase, rfc3339_format);
	tcase_add_test(tcase, rfc3339_format_ms);
	tcase_add_test(tcase, days);
	tcase_add_test(tcase, clocks_run);
	tcase_add_test(tcase, log_marks_levels_for_the_journal_only);
	suite_add_tcase(suite, tcase);
	SRunner *runner = srunner_create(suite);

	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);

	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
