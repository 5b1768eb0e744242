/* Trace context: parsing as the recommendation has it, printing, sampling; the rings of spans; OTLP's two encodings. */
#include "common/bytes.h"
#include "common/trace.h"
#include "common/utf8.h"
#include "notify/otlp.h"
#include "shm/region-private.h"
#include "shm/spans.h"
#include "shm/stat.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define GOOD "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

START_TEST(traceparent)
{
	static const char *const bad[] = {
		"", "00", GOOD "-", GOOD "x", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0",
		"ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "00-00000000000000000000000000000000-b7ad6b7169203331-01",
		"00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01", "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
		"00_0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b716920333g-01",
		"cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01x",
	};
	struct lp_trace_id id;
	bool sampled;
	char text[LP_TRACEPARENT_LEN + 1];

	for (size_t i = 0; i < LP_ARRAY_LEN(bad); i++)
		ck_assert_msg(lp_traceparent_parse(bad[i], strlen(bad[i]), &id, &sampled) == -EINVAL, "%s", bad[i]);
	ck_assert_int_eq(lp_traceparent_parse(GOOD, strlen(GOOD), &id, &sampled), 0);
	ck_assert(sampled && id.trace[0] == 0x0a && id.trace[15] == 0x9c && id.span[0] == 0xb7 && id.span[7] == 0x31);
	lp_traceparent_print(text, &id, sampled);
	ck_assert_str_eq(text, GOOD);
	/* A later version may say more behind what is known. */
	ck_assert_int_eq(lp_traceparent_parse("cc" "-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-02-what", 60, &id, &sampled), 0);
	ck_assert(!sampled);
}
END_TEST

START_TEST(sampling)
{
	static const char *const bad[] = { "", "x", "-1", "1.01", "0.5x", "nan", "inf" };
	struct lp_sampler all, none, part, untouched;
	struct lp_trace trace;
	struct lp_trace_id a, b;
	unsigned kept = 0;

	for (size_t i = 0; i < LP_ARRAY_LEN(bad); i++)
		ck_assert_msg(lp_sampler_parse(bad[i], true, &untouched) == -EINVAL, "%s", bad[i]);
	ck_assert_int_eq(lp_sampler_parse("1", true, &all), 0);
	ck_assert_int_eq(lp_sampler_parse("0", true, &none), 0);
	ck_assert_int_eq(lp_sampler_parse("0.25", true, &part), 0);
	for (unsigned i = 0; i < 4000; i++) {
		lp_trace_commit(12345, i, &a);
		kept += lp_sampler_takes(&part, a.trace);
		ck_assert(lp_sampler_takes(&all, a.trace) && !lp_sampler_takes(&none, a.trace));
	}
	ck_assert_uint_ge(kept, 850);
	ck_assert_uint_le(kept, 1150);
	lp_trace_commit(12345, 7, &a);
	lp_trace_commit(12345, 7, &b);
	ck_assert(!memcmp(&a, &b, sizeof a));
	lp_trace_commit(12345, 8, &b);
	ck_assert(memcmp(a.trace, b.trace, 16) && memcmp(a.span, b.span, 8));

	/* The caller decides, whatever the ratio is. */
	lp_trace_begin(&none, GOOD, strlen(GOOD), &trace);
	ck_assert(trace.sampled && trace.parent[0] == 0xb7 && memcmp(trace.parent, trace.id.span, 8));
	lp_trace_begin(&all, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00", 55, &trace);
	ck_assert(!trace.sampled);
	/* Unless it was told not to listen; the trace and the parent are the caller's all the same. */
	none.parent_based = all.parent_based = false;
	lp_trace_begin(&none, GOOD, strlen(GOOD), &trace);
	ck_assert(!trace.sampled);
	lp_trace_begin(&all, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00", 55, &trace);
	ck_assert(trace.sampled && trace.parent[0] == 0xb7 && trace.id.trace[0] == 0x0a);
	none.parent_based = all.parent_based = true;
	lp_trace_begin(&none, NULL, 0, &trace);
	ck_assert(!trace.sampled);
	lp_trace_begin(&all, "nonsense", 8, &trace);
	ck_assert(trace.sampled && !trace.parent[0] && !trace.parent[7]);

	/* A span of our own goes into the trace of the one it belongs to, or begins one. */
	lp_trace_begin_under(&none, &a, &trace);
	ck_assert(trace.sampled && !memcmp(trace.id.trace, a.trace, 16) && !memcmp(trace.parent, a.span, 8) && memcmp(trace.id.span, a.span, 8));
	lp_trace_begin_under(&none, NULL, &trace);
	ck_assert(!trace.sampled);
	lp_trace_begin_under(&all, &(struct lp_trace_id){ .span = { 0 } }, &trace);
	ck_assert(trace.sampled && !trace.parent[0]);
}
END_TEST

START_TEST(rings)
{
	const struct lp_region_config config = { .workers = 1, .lane_bytes = 65536 };
	struct lp_span span = { .name = LP_SPAN_PUSH }, got;
	struct lp_region *region;

	ck_assert_int_eq(lp_region_create(&config, &region), 0);
	for (unsigned round = 0; round < 3; round++) {
		for (unsigned i = 0; i < LP_SPANS_RING; i++) {
			span.start_ns = i;
			ck_assert_int_eq(lp_spans_put(region, LP_SLOT_WORKER(0), &span), 0);
		}
		ck_assert_int_eq(lp_spans_put(region, LP_SLOT_WORKER(0), &span), -ENOBUFS);
		ck_assert_int_eq(lp_spans_put(region, LP_SLOT_WRITER, &span), 0);
		for (unsigned i = 0; i < LP_SPANS_RING; i++) {
			ck_assert_int_eq(lp_spans_take(region, LP_SLOT_WORKER(0), &got), 1);
			ck_assert_int_eq(got.start_ns, i);
		}
		ck_assert_int_eq(lp_spans_take(region, LP_SLOT_WORKER(0), &got), 0);
		ck_assert(lp_spans_left(region, LP_SLOT_WRITER));
		ck_assert_int_eq(lp_spans_take(region, LP_SLOT_WRITER, &got), 1);
		ck_assert(!lp_spans_left(region, LP_SLOT_WRITER));
		ck_assert_uint_eq(lp_stat_get(region, LP_SLOT_WORKER(0), LP_STAT_SPANS_DROPPED), round + 1);
	}
	/* Bytes that no span has are left out. */
	span.text_len = LP_SPAN_TEXT + 1;
	ck_assert_int_eq(lp_spans_put(region, 1, &span), 0);
	span.text_len = span.more_len = LP_SPAN_TEXT / 2 + 1;
	ck_assert_int_eq(lp_spans_put(region, 1, &span), 0);
	span = (struct lp_span){ .n_attrs = 1, .keys = { LP_SPAN_ATTR_KEYS } };
	ck_assert_int_eq(lp_spans_put(region, 1, &span), 0);
	span = (struct lp_span){ .name = LP_SPAN_NAMES };
	ck_assert_int_eq(lp_spans_put(region, 1, &span), 0);
	span = (struct lp_span){ .name = LP_SPAN_SCAN };
	lp_span_attr(&span, LP_ATTR_LINES, -5);
	lp_span_text(&span, GOOD GOOD GOOD, strlen(GOOD GOOD GOOD));
	ck_assert_int_eq(lp_spans_put(region, 1, &span), 0);
	ck_assert_int_eq(lp_spans_take(region, 1, &got), 1);
	ck_assert(got.name == LP_SPAN_SCAN && got.values[0] == -5 && got.text_len == LP_SPAN_TEXT_FIRST);
	/* A stray write into an end of the ring. */
	atomic_store((_Atomic uint64_t *)lp_region_at(region, region->want.spans_off, 8), UINT64_C(1) << 40);
	ck_assert_int_eq(lp_spans_take(region, 0, &got), 0);
	ck_assert_int_eq(lp_spans_put(region, 0, &span), 0);
	ck_assert_int_eq(lp_spans_take(region, 0, &got), 1);
	lp_region_close(&region);
}
END_TEST

START_TEST(texts)
{
	struct lp_span span = { .name = LP_SPAN_RULE };
	char long_one[300];

	/* Never the half of a letter, and nothing that a collector would refuse. */
	for (size_t i = 0; i < sizeof long_one; i += 3)
		memcpy(long_one + i, "\xe2\x82\xac", 3);
	lp_span_text(&span, long_one, sizeof long_one);
	lp_span_more(&span, "a\xff" "b\xc3", 4);
	ck_assert_uint_eq(span.text_len, LP_SPAN_TEXT_FIRST / 3 * 3);
	ck_assert_uint_eq(span.more_len, 4);
	ck_assert(!memcmp(span.text + span.text_len, "a?b?", 4) && lp_utf8_valid(span.text, span.text_len));
	lp_span_more(&span, long_one, sizeof long_one);
	ck_assert_uint_le(span.text_len + span.more_len, LP_SPAN_TEXT);
	ck_assert_uint_eq(span.more_len % 3, 0);
}
END_TEST

static struct lp_span a_span(enum lp_span_name name)
{
	struct lp_span span = { .name = (uint8_t)name, .start_ns = 1, .end_ns = 2 };

	memset(&span.id, 0xab, sizeof span.id);
	return span;
}

START_TEST(json)
{
	struct lp_span span = a_span(LP_SPAN_WEBHOOK);
	struct lp_buf out = LP_BUF_INIT;

	memset(span.parent, 1, 8);
	memset(&span.link, 2, sizeof span.link);
	span.error = 1;
	lp_span_text(&span, "a\"b", 3);
	lp_span_more(&span, "no route", 8);
	lp_span_attr(&span, LP_ATTR_TARGET_KIND, LP_SPAN_PAGERDUTY);
	lp_span_attr(&span, LP_ATTR_RETRY, 3);
	lp_otlp_json(&out, &span);
	ck_assert_str_eq(lp_buf_cstr(&out),
		"{\"traceId\":\"abababababababababababababababab\",\"spanId\":\"abababababababab\",\"parentSpanId\":\"0101010101010101\","
		"\"name\":\"webhook delivery\",\"kind\":3,\"startTimeUnixNano\":\"1\",\"endTimeUnixNano\":\"2\",\"attributes\":["
		"{\"key\":\"logpulse.target.name\",\"value\":{\"stringValue\":\"a\\\"b\"}},"
		"{\"key\":\"logpulse.target.kind\",\"value\":{\"stringValue\":\"pagerduty\"}},"
		"{\"key\":\"http.request.resend_count\",\"value\":{\"intValue\":\"3\"}}],"
		"\"links\":[{\"traceId\":\"02020202020202020202020202020202\",\"spanId\":\"0202020202020202\"}],"
		"\"status\":{\"code\":2,\"message\":\"no route\"}}");
	lp_buf_reset(&out);
	/* A number that has no word stays one; the smallest span of every name. */
	span = a_span(LP_SPAN_RULE);
	lp_span_attr(&span, LP_ATTR_RULE_STATE, 77);
	lp_otlp_json(&out, &span);
	ck_assert_ptr_nonnull(strstr(lp_buf_cstr(&out), "{\"key\":\"logpulse.rule.state\",\"value\":{\"intValue\":\"77\"}}"));
	lp_buf_reset(&out);
	for (unsigned name = 0; name < LP_SPAN_NAMES; name++) {
		span = a_span(name);
		lp_otlp_json(&out, &span);
	}
	ck_assert_ptr_null(strstr(lp_buf_cstr(&out), "(null)"));
	for (unsigned key = 0; key < LP_SPAN_ATTR_KEYS; key++) {
		span = a_span(LP_SPAN_RULE);
		lp_span_attr(&span, key, INT64_MIN);
		lp_buf_reset(&out);
		lp_otlp_json(&out, &span);
		ck_assert_ptr_nonnull(strstr(lp_buf_cstr(&out), "{\"intValue\":\"-9223372036854775808\"}"));
		ck_assert_ptr_null(strstr(lp_buf_cstr(&out), "(null)"));
	}
	lp_buf_free(&out);
}
END_TEST

/* The value of the first field of that number in a message; the whole message must be made of fields. */
static const uint8_t *pb_field(const uint8_t *p, size_t n, unsigned want, size_t *ret_n, unsigned *ret_times)
{
	const uint8_t *found = NULL, *end = p + n;

	*ret_times = 0;
	while (p < end) {
		unsigned field = *p >> 3, type = *p & 7, shift = 0;
		size_t len = 0;

		for (p++; type != 1; shift += 7) {
			ck_assert(p < end && shift < 64);
			len |= (size_t)(*p & 0x7f) << shift;
			if (!(*p++ & 0x80))
				break;
		}
		len = type == 1 ? 8 : type == 2 ? len : 0;
		ck_assert_uint_le(len, end - p);
		if (field == want && !(*ret_times)++) {
			found = p;
			*ret_n = len;
		}
		p += len;
	}
	return found;
}

START_TEST(protobuf)
{
	static const char *const attributes[] = { "team=x=y", "service.name=not this", "service.version=9" };
	const struct lp_otlp_resource resource = { .service_name = "shop", .service_version = "1", .attributes = attributes, .n_attributes = 3 };
	struct lp_span span = a_span(LP_SPAN_RULE);
	struct lp_buf out = LP_BUF_INIT;
	struct lp_otlp otlp;
	const uint8_t *p, *q;
	unsigned times;
	size_t n, m;

	lp_span_text(&span, "Errors", 6);
	lp_span_attr(&span, LP_ATTR_SERIES, -1);
	lp_otlp_begin(&otlp, &out, false, &resource);
	for (unsigned i = 0; i < 300; i++)
		lp_otlp_add(&otlp, &span);
	lp_otlp_end(&otlp);
	ck_assert(!out.failed);
	p = pb_field(out.data, out.len, 1, &n, &times);         /* resource_spans */
	ck_assert(p && times == 1);
	q = pb_field(p, n, 1, &m, &times);                      /* resource */
	(void)pb_field(q, m, 1, &m, &times);
	ck_assert_uint_eq(times, 3);                            /* service.name, team, service.version */
	q = pb_field(p, n, 2, &m, &times);                      /* scope_spans */
	p = pb_field(q, m, 2, &n, &times);
	ck_assert_uint_eq(times, 300);
	q = pb_field(p, n, 7, &m, &times);
	ck_assert(q && m == 8 && lp_le64(q) == 1);
	q = pb_field(p, n, 1, &m, &times);
	ck_assert(q && m == 16 && q[0] == 0xab);
	ck_assert_ptr_null(pb_field(p, n, 4, &m, &times));      /* no parent, no link, no error */
	ck_assert_ptr_null(pb_field(p, n, 13, &m, &times));
	ck_assert_ptr_null(pb_field(p, n, 15, &m, &times));
	q = pb_field(p, n, 9, &m, &times);
	ck_assert_uint_eq(times, 2);
	q = pb_field(q, m, 1, &m, &times);
	ck_assert(q && m == 18 && !memcmp(q, "logpulse.rule.name", 18));
	lp_buf_free(&out);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("trace");
	TCase *all = tcase_create("all");

	tcase_add_test(all, traceparent);
	tcase_add_test(all, sampling);
	tcase_add_test(all, rings);
	tcase_add_test(all, texts);
	tcase_add_test(all, json);
	tcase_add_test(all, protobuf);
	suite_add_tcase(suite, all);
	SRunner *runner = srunner_create(suite);

	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);

	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
