/* Blocks: what goes in comes out, column by column, and broken bytes are refused. */
#include "common/bytes.h"
#include "store/format/block.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct maker {
	int64_t ts[5000];
	uint32_t ends[5000], meta_ends[5000];
	struct lp_buf text, meta, out;
	uint32_t n;
	bool has_meta;
	struct lp_block_encoder *encoder;
	struct lp_block_decoder *decoder;
};

static struct maker m;
static uint64_t state = 0x1234567890abcdefu;

static uint64_t rnd(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

static void add(int64_t ts, const void *line, size_t len, const void *meta, size_t meta_len)
{
	lp_buf_append(&m.text, line, len);
	lp_buf_byte(&m.text, '\n');
	lp_buf_append(&m.meta, meta, meta_len);
	m.ts[m.n] = ts;
	m.ends[m.n] = (uint32_t)m.text.len;
	m.meta_ends[m.n++] = (uint32_t)m.meta.len;
	m.has_meta |= meta_len > 0;
}

static struct lp_rows rows_of(void)
{
	return (struct lp_rows){ .n = m.n, .ts = m.ts, .ends = m.ends, .text = (const char *)m.text.data,
				 .meta_ends = m.has_meta ? m.meta_ends : NULL, .meta = m.meta.data };
}

static void done(void)
{
	lp_buf_free(&m.text);
	lp_buf_free(&m.meta);
	m.n = 0;
	m.has_meta = false;
}

static void same(const struct lp_rows *a, const struct lp_rows *b)
{
	ck_assert_uint_eq(a->n, b->n);
	ck_assert_mem_eq(a->ts, b->ts, a->n * 8u);
	for (uint32_t i = 0; i < a->n; i++) {
		uint32_t la, lb;
		const char *pa = lp_rows_line(a, i, &la), *pb = lp_rows_line(b, i, &lb);

		ck_assert_uint_eq(la, lb);
		ck_assert(!memcmp(pa, pb, la + 1));
		const uint8_t *ma = lp_rows_meta(a, i, &la), *mb = lp_rows_meta(b, i, &lb);

		ck_assert_uint_eq(la, lb);
		ck_assert(!la || !memcmp(ma, mb, la));
	}
}

static void encode(bool compress, const struct lp_rows *rows)
{
	lp_buf_free(&m.out);
	lp_block_encoder_close(&m.encoder);
	lp_block_decoder_close(&m.decoder);
	ck_assert_int_eq(lp_block_encoder_open(compress, &m.encoder), 0);
	ck_assert_int_eq(lp_block_decoder_open(&m.decoder), 0);
	lp_buf_str(&m.out, "before");
	ck_assert_int_eq(lp_block_encode(m.encoder, rows, &m.out), 0);
	m.out.len -= 6;
	memmove(m.out.data, m.out.data + 6, m.out.len);
}

/* Encode with and without compression, decode all and each column alone. */
static void round_trip(void)
{
	struct lp_rows rows = rows_of(), back;

	for (int compress = 0; compress < 2; compress++) {
		struct lp_block_peek peek;

		encode(compress, &rows);
		const uint8_t *p = m.out.data;
		size_t n = m.out.len;

		ck_assert_int_eq(lp_block_peek(p, n, &peek), 0);
		ck_assert_uint_eq(peek.bytes, n);
		ck_assert_uint_eq(peek.entries, m.n);
		ck_assert_uint_eq(peek.raw_bytes, m.text.len);
		ck_assert_int_eq(lp_block_decode(m.decoder, p, n, 7, &back), 0);
		same(&rows, &back);
		for (unsigned i = 0; i < 64; i++)
			ck_assert_int_eq(back.text[m.text.len + i], 0);
		ck_assert_int_eq(lp_block_decode(m.decoder, p, n, LP_BLOCK_WANT_TS, &back), 0);
		ck_assert(back.ts && !back.text && !back.ends && !back.meta_ends);
		ck_assert_int_eq(lp_block_decode(m.decoder, p, n, LP_BLOCK_WANT_META, &back), 0);
		ck_assert(!back.ts && !back.text && !back.meta_ends == !m.has_meta);
		for (size_t cut = 0; cut < n; cut += 1 + n / 50)
			ck_assert_int_eq(lp_block_decode(m.decoder, p, cut, 7, &back), -EBADMSG);
	}
}

START_TEST(small_shapes)
{
	add(0, "", 0, NULL, 0);
	round_trip();
	add(1, "", 0, NULL, 0);
	add(1, "\n", 1, NULL, 0);
	add(2, "\n\n\na\nb", 6, NULL, 0);
	round_trip();
	add(3, "nul\0nul", 7, "\1\1a\1b", 5);
	add(4, "plain", 5, NULL, 0);
	round_trip();
	done();
}
END_TEST

START_TEST(timestamps)
{
	static const int64_t odd[] = { INT64_MIN, INT64_MAX, 0, -1, 1, INT64_MIN, INT64_MIN + 1, INT64_MAX - 1, -1000000000, 1763841999000000000 };

	for (size_t i = 0; i < LP_ARRAY_LEN(odd); i++)
		add(odd[i], "x", 1, NULL, 0);
	round_trip();
	done();
	for (int i = 0; i < 1000; i++)
		add(INT64_C(-1700000000000000000) + i * INT64_C(1000000000), "x", 1, NULL, 0);
	round_trip();
	done();
	for (int i = 0; i < 3; i++)
		add(0, "x", 1, NULL, 0);
	round_trip();
	done();
}
END_TEST

START_TEST(one_huge_line)
{
	static char line[1 << 20];

	for (size_t i = 0; i < sizeof line; i++)
		line[i] = (char)(i % 7 ? 'a' + rnd() % 26 : '\n');
	add(5, line, sizeof line, NULL, 0);
	round_trip();
	done();
}
END_TEST

START_TEST(random_rows)
{
	for (int round = 0; round < 40; round++) {
		uint32_t n = 1 + (uint32_t)(rnd() % 3000);
		int64_t ts = (int64_t)rnd();
		bool newlines = round % 4 == 0;

		for (uint32_t i = 0; i < n; i++) {
			char line[300], meta[40];
			size_t len = rnd() % (round % 3 ? 300 : 5);

			for (size_t k = 0; k < len; k++) {
				line[k] = (char)(newlines && rnd() % 9 == 0 ? '\n' : rnd() % 2 ? 'a' : rnd());
				if (!newlines && line[k] == '\n')
					line[k] = ' ';
			}
			memset(meta, 'm', sizeof meta);
			add(ts, line, len, meta, round % 5 == 2 ? rnd() % 40 : 0);
			ts = (int64_t)((uint64_t)ts + rnd() % 100000);
		}
		round_trip();
		done();
	}
}
END_TEST

START_TEST(rows_with_a_base)
{
	struct lp_rows back;

	for (int i = 0; i < 10; i++)
		add(i, "line", 4, "meta", 4);
	struct lp_rows rows = rows_of();

	rows.n = 4;
	rows.base = m.ends[2];
	rows.meta_base = m.meta_ends[2];
	rows.ts += 3;
	rows.ends += 3;
	rows.meta_ends += 3;
	encode(true, &rows);
	ck_assert_int_eq(lp_block_decode(m.decoder, m.out.data, m.out.len, 7, &back), 0);
	same(&rows, &back);
	rows.n = 0;
	ck_assert_int_eq(lp_block_encode(m.encoder, &rows, &m.out), -EINVAL);
	done();
}
END_TEST

START_TEST(every_byte_matters)
{
	struct lp_rows back;

	for (int i = 0; i < 20; i++)
		add(i * 1000, i % 3 ? "some line" : "two\nlines", 9, "meta", 4);
	struct lp_rows rows = rows_of();

	encode(true, &rows);
	for (size_t i = 0; i < m.out.len; i++) {
		m.out.data[i] ^= (uint8_t)(1u << (i % 8));
		ck_assert_int_eq(lp_block_decode(m.decoder, m.out.data, m.out.len, 7, &back), -EBADMSG);
		m.out.data[i] ^= (uint8_t)(1u << (i % 8));
	}
	done();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("block");
	TCase *tc = tcase_create("block");

	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, small_shapes);
	tcase_add_test(tc, timestamps);
	tcase_add_test(tc, one_huge_line);
	tcase_add_test(tc, random_rows);
	tcase_add_test(tc, rows_with_a_base);
	tcase_add_test(tc, every_byte_matters);
	suite_add_tcase(suite, tc);
	SRunner *runner = srunner_create(suite);

	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);

	srunner_free(runner);
	return failed ? 1 : 0;
}
