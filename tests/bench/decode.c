/* Decoding speed on one core: GB/s of wire input and lines/s, per format.
 *
 *   decode LINES_FILE [BODY_LINES [MILLISECONDS]]       lines of a real log become bodies of BODY_LINES lines in ten streams */
#include "common/clock.h"
#include "common/jsonw.h"
#include "ingest/decode-private.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

static void put_field(struct lp_buf *b, unsigned number, const void *p, size_t n)
{
	uint8_t head[2 * LP_VARINT_MAX], *q = lp_varint_put(head, number << 3 | 2);

	q = lp_varint_put(q, n);
	lp_buf_append(b, head, (size_t)(q - head));
	lp_buf_append(b, p, n);
}

static void put_proto_entry(struct lp_buf *stream, uint64_t ts, const char *line, size_t n)
{
	uint8_t t[32], *q = t;
	struct lp_buf entry = LP_BUF_INIT;

	*q++ = 1 << 3;
	q = lp_varint_put(q, ts / 1000000000);
	*q++ = 2 << 3;
	q = lp_varint_put(q, ts % 1000000000);
	put_field(&entry, 1, t, (size_t)(q - t));
	put_field(&entry, 2, line, n);
	put_field(stream, 2, entry.data, entry.len);
	lp_buf_free(&entry);
}

static void put_msgpack(struct lp_buf *b, const char *s, size_t n)
{
	uint8_t head[5] = { 0xdb, (uint8_t)(n >> 24), (uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n };

	lp_buf_append(b, head, 5);
	lp_buf_append(b, s, n);
}

static void put_entry(enum lp_push_format format, struct lp_buf *b, uint64_t ts, const char *line, size_t n)
{
	uint8_t be[9] = { 0xcf };

	switch (format) {
	case LP_PUSH_LOKI_JSON:
		lp_buf_printf(b, "[\"%llu\",", (unsigned long long)ts);
		lp_jsonw_str(b, line, n);
		lp_buf_str(b, "]");
		break;
	case LP_PUSH_ORIGINAL_JSON:
		lp_buf_str(b, "{\"ts\":\"2026-11-01T00:01:00.123456789Z\",\"line\":");
		lp_jsonw_str(b, line, n);
		lp_buf_str(b, "}");
		break;
	case LP_PUSH_LOKI_PROTO: put_proto_entry(b, ts, line, n); break;
	case LP_PUSH_OTLP_PROTO:        /* not measured here */
	case LP_PUSH_OTLP_JSON:
	case LP_PUSH_PROM_JSON:
		break;
	case LP_PUSH_ORIGINAL_MSGPACK:
		for (int i = 0; i < 8; i++)
			be[8 - i] = (uint8_t)(ts >> 8 * i);
		lp_buf_append(b, "\x82\xa2ts", 4);
		lp_buf_append(b, be, 9);
		lp_buf_append(b, "\xa4line", 5);
		put_msgpack(b, line, n);
		break;
	}
}

static void make_body(enum lp_push_format format, struct lp_buf *out, const char *text, size_t len, unsigned lines)
{
	static const char *const head[] = { "{\"streams\":[", "\x81\xa7streams\x9a", "{\"streams\":[", "" };
	const char *p = text, *end = text + len;
	bool json = format == LP_PUSH_LOKI_JSON || format == LP_PUSH_ORIGINAL_JSON;

	lp_buf_str(out, head[format]);
	for (unsigned s = 0; s < 10; s++) {
		struct lp_buf stream = LP_BUF_INIT;
		unsigned n = lines / 10;

		if (json) {
			lp_buf_printf(&stream, "%s{\"%s\":{\"app\":\"bench\",\"host\":\"host-%u\",\"env\":\"prod\"},\"%s\":[", s ? "," : "",
				      format == LP_PUSH_LOKI_JSON ? "stream" : "labels", s,
				      format == LP_PUSH_LOKI_JSON ? "values" : "entries");
		} else if (format == LP_PUSH_LOKI_PROTO) {
			char labels[64];

			put_field(&stream, 1, labels,
				  (size_t)snprintf(labels, sizeof labels, "{app=\"bench\", env=\"prod\", host=\"host-%u\"}", s));
		} else {
			uint8_t array[5] = { 0xdd, 0, 0, (uint8_t)(n >> 8), (uint8_t)n };

			lp_buf_printf(&stream, "\x82\xa6labels\x82\xa3" "app\xa5" "bench\xa4host\xa1%u\xa7" "entries", s);
			lp_buf_append(&stream, array, 5);
		}
		for (unsigned i = 0; i < n; i++) {
			const char *nl = memchr(p, '\n', (size_t)(end - p));

			if (!nl) {
				p = text;
				nl = memchr(p, '\n', len);
			}
			if (json && i)
				lp_buf_byte(&stream, ',');
			put_entry(format, &stream, UINT64_C(1793491260000000000) + i * 1000003u, p, (size_t)(nl - p));
			p = nl + 1;
		}
		if (format == LP_PUSH_LOKI_PROTO)
			put_field(out, 1, stream.data, stream.len);
		else
			lp_buf_append(out, stream.data, stream.len);
		lp_buf_str(out, json ? "]}" : "");
		lp_buf_free(&stream);
	}
	lp_buf_str(out, json ? "]}" : "");
}

static int measure(const char *name, enum lp_push_format format, const struct lp_buf *body, double seconds, bool avx2, bool encode)
{
	static const struct lp_push_limits limits = { .oldest_ns = INT64_MIN, .newest_ns = INT64_MAX };
	struct lp_push_result result = { 0 };
	struct lp_batch *batch;
	unsigned rounds = 0;
	uint64_t lines = 0;
	void *rec = aligned_alloc(64, body->len * 2 + (1 << 20));

	if (!rec || lp_batch_open(64 << 20, &batch) < 0)
		return 1;
	double start = now(), took;

	do {
		lp_batch_reset(batch);
		if (lp_push_decode_with(format, body->data, body->len, "", 0, &limits, batch, &result, avx2) < 0 || result.status >= 300) {
			fprintf(stderr, "%s: %s\n", name, lp_buf_cstr(&result.message));
			return 1;
		}
		if (encode)
			lp_batch_encode(batch, rec, 1, 0, 0);
		lines += result.accepted;
		rounds++;
		took = now() - start;
	} while (took < seconds);
	printf("%-28s body=%zu GB_s=%.2f Mlines_s=%.1f\n", name, body->len, (double)body->len * rounds / took / 1e9, (double)lines / took / 1e6);
	lp_batch_close(&batch);
	lp_buf_free(&result.message);
	free(rec);
	return 0;
}

int main(int argc, char **argv)
{
	static const char *const names[] = { "original-json", "original-msgpack", "loki-json", "loki-proto" };
	FILE *f = argc > 1 ? fopen(argv[1], "rb") : NULL;
	unsigned lines = argc > 2 ? (unsigned)atoi(argv[2]) : 2000;
	double seconds = argc > 3 ? atof(argv[3]) / 1000 : 0.5;
	char *text = malloc(32 << 20);
	int failed = 0;

	if (!f || !text || lines < 10) {
		fprintf(stderr, "usage: decode LINES_FILE [BODY_LINES [MILLISECONDS]]\n");
		return 2;
	}
	size_t len = fread(text, 1, 32 << 20, f);

	fclose(f);
	if (!memchr(text, '\n', len))
		return 2;
	for (int format = LP_PUSH_ORIGINAL_JSON; format <= LP_PUSH_LOKI_PROTO; format++) {
		struct lp_buf body = LP_BUF_INIT;
		char name[64];

		make_body((enum lp_push_format)format, &body, text, len, lines);
		for (int avx2 = format == LP_PUSH_ORIGINAL_JSON || format == LP_PUSH_LOKI_JSON ? 0 : 1; avx2 < 2; avx2++) {
			(void)snprintf(name, sizeof name, "%s%s", names[format], avx2 ? "" : " (plain C)");
			failed |= measure(name, (enum lp_push_format)format, &body, seconds, avx2, false);
		}
		(void)snprintf(name, sizeof name, "%s + record", names[format]);
		failed |= measure(name, (enum lp_push_format)format, &body, seconds, true, true);
		lp_buf_free(&body);
	}
	free(text);
	return failed;
}
