/* Shared by the ingest tests: run a decoder, and check that what it kept makes a valid record. */
#ifndef LP_TESTS_INGEST_HELP_H
#define LP_TESTS_INGEST_HELP_H

#include "ingest/decode-private.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#define NOW INT64_C(1793491260000000000)

static const struct lp_push_limits open_limits = {
	.max_line_bytes = 256 << 10, .max_label_names = 15, .max_label_name_bytes = 1024, .max_label_value_bytes = 2048,
	.max_metadata_bytes = 64 << 10, .max_metadata_entries = 128, .oldest_ns = INT64_MIN, .newest_ns = INT64_MAX, .now_ns = NOW,
};

struct pushed {
	struct lp_batch *batch;
	struct lp_push_result result;
	void *record;                   /* NULL: nothing was kept */
	struct lp_walrec_head head;
};

static inline int push_with(struct pushed *p, enum lp_push_format format, const void *body, size_t n,
			    const struct lp_push_limits *limits, size_t max, bool avx2)
{
	uint32_t bytes, want;
	uint8_t *copy = malloc(n ? n : 1);      /* exact size: sanitizers see reads behind it */

	memset(p, 0, sizeof *p);
	memcpy(copy, body, n);
	ck_assert_int_eq(lp_batch_open(max, &p->batch), 0);
	int r = lp_push_decode_with(format, copy, n, "", 0, limits, p->batch, &p->result, avx2);

	free(copy);
	want = lp_batch_encoded_bytes(p->batch);
	ck_assert_uint_eq(p->result.accepted * (r == 0), lp_batch_entries(p->batch));
	if (want) {
		ck_assert_uint_le(want, max);
		ck_assert_int_eq(posix_memalign(&p->record, 16, want), 0);
		lp_batch_encode(p->batch, p->record, 7, 3, 4096);
		ck_assert_int_eq(lp_walrec_check(p->record, want, &bytes), 0);
		ck_assert_uint_eq(bytes, want);
		ck_assert_int_eq(lp_walrec_peek(p->record, want, &p->head), 0);
		ck_assert_uint_eq(p->head.entries, p->result.accepted);
		ck_assert(p->head.epoch == 7 && p->head.lane == 3 && p->head.pos == 4096);
	}
	return r;
}

static inline int push_body(struct pushed *p, enum lp_push_format format, const void *body, size_t n)
{
	return push_with(p, format, body, n, &open_limits, 1 << 20, true);
}

static inline const char *message(struct pushed *p)
{
	return lp_buf_cstr(&p->result.message);
}

static inline void push_free(struct pushed *p)
{
	lp_batch_close(&p->batch);
	lp_buf_free(&p->result.message);
	free(p->record);
}

/* Entry i of stream s as "ts line {metadata}". */
static inline const char *entry_text(struct pushed *p, uint32_t s, uint32_t i)
{
	static char out[4096];
	struct lp_walrec_stream stream;
	struct lp_rows rows;
	uint32_t line_len, meta_len;
	struct lp_labels_iter it;
	struct lp_label label;

	ck_assert_ptr_nonnull(p->record);
	ck_assert_int_eq(lp_walrec_stream(p->record, &p->head, s, &stream), 0);
	ck_assert_int_eq(lp_walrec_rows(p->record, &p->head, &stream, &rows), 0);
	ck_assert_uint_lt(i, rows.n);
	const char *line = lp_rows_line(&rows, i, &line_len);
	const uint8_t *meta = lp_rows_meta(&rows, i, &meta_len);
	int n = snprintf(out, sizeof out, "%lld %.*s", (long long)rows.ts[i], (int)line_len, line);

	if (meta_len) {
		ck_assert_int_eq(lp_metadata_iter(&it, meta, meta_len), 0);
		while (lp_labels_next(&it, &label) == 1)
			n += snprintf(out + n, sizeof out - (size_t)n, " {%.*s=%.*s}", (int)label.name_len, label.name,
				      (int)label.value_len, label.value);
	}
	return out;
}

static inline const char *labels_text(struct pushed *p, uint32_t s)
{
	static char out[4096];
	struct lp_walrec_stream stream;
	struct lp_buf buf = LP_BUF_INIT;

	ck_assert_ptr_nonnull(p->record);
	ck_assert_int_eq(lp_walrec_stream(p->record, &p->head, s, &stream), 0);
	lp_labels_print(&buf, (uint8_t *)p->record + stream.labels_off, stream.labels_bytes);
	(void)snprintf(out, sizeof out, "%s", lp_buf_cstr(&buf));
	lp_buf_free(&buf);
	return out;
}

#endif
