/* Trace context: parsing as the recommendation has it, printing, sampling; the rings of spans. */
#include "common/bytes.h"
#include "common/trace.h"
#include "shm/region-private.h"
#include "shm/spans.h"

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
		ck_assert_msg(lp_sampler_parse(bad[i], &untouched) == -EINVAL, "%s", bad[i]);
	ck_assert_int_eq(lp_sampler_parse("1", &all), 0);
	ck_assert_int_eq(lp_sampler_parse("0", &none), 0);
	ck_assert_int_eq(lp_sampler_parse("0.25", &part), 0);
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
	lp_trace_begin(&none, NULL, 0, &trace);
	ck_assert(!trace.sampled);
	lp_trace_begin(&all, "nonsense", 8, &trace);
	ck_assert(trace.sampled && !trace.parent[0] && !trace.parent[7]);
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
		ck_assert_int_eq(lp_spans_take(region, LP_SLOT_WRITER, &got), 1);
	}
	/* Bytes that no span has are left out. */
	span.text_len = LP_SPAN_TEXT + 1;
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
	ck_assert(got.name == LP_SPAN_SCAN && got.values[0] == -5 && got.text_len == LP_SPAN_TEXT);
	/* A stray write into an end of the ring. */
	atomic_store((_Atomic uint64_t *)lp_region_at(region, region->want.spans_off, 8), UINT64_C(1) << 40);
	ck_assert_int_eq(lp_spans_take(region, 0, &got), 0);
	ck_assert_int_eq(lp_spans_put(region, 0, &span), 0);
	ck_assert_int_eq(lp_spans_take(region, 0, &got), 1);
	lp_region_close(&region);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("trace");
	TCase *all = tcase_create("all");

	tcase_add_test(all, traceparent);
	tcase_add_test(all, sampling);
	tcase_add_test(all, rings);
	suite_add_tcase(suite, all);
	SRunner *runner = srunner_create(suite);

	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);

	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
