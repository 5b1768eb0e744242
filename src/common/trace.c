/* Trace identities.  Pure but for random numbers from the kernel, which are only asked for when tracing is on.
 * Process: any. */
#include "common/trace.h"

#include "common/bytes.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;        /* lower case only, says the recommendation */
}

static bool read_hex(const char *s, uint8_t *to, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		int high = hex_digit(s[2 * i]), low = hex_digit(s[2 * i + 1]);

		if (high < 0 || low < 0)
			return false;
		to[i] = (uint8_t)(high << 4 | low);
	}
	return true;
}

static bool is_zero(const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (p[i])
			return false;
	return true;
}

int lp_traceparent_parse(const char *s, size_t n, struct lp_trace_id *ret_id, bool *ret_sampled)
{
	struct lp_trace_id id;
	uint8_t version, flags;

	if (n < LP_TRACEPARENT_LEN || s[2] != '-' || s[35] != '-' || s[52] != '-')
		return -EINVAL;
	if (!read_hex(s, &version, 1) || version == 0xff || !read_hex(s + 3, id.trace, 16) || !read_hex(s + 36, id.span, 8) ||
	    !read_hex(s + 53, &flags, 1))
		return -EINVAL;
	if (n > LP_TRACEPARENT_LEN && (version == 0 || s[LP_TRACEPARENT_LEN] != '-'))
		return -EINVAL;
	if (is_zero(id.trace, 16) || is_zero(id.span, 8))
		return -EINVAL;
	*ret_id = id;
	*ret_sampled = flags & 1;
	return 0;
}

static char *put_hex(char *to, const uint8_t *p, size_t n)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < n; i++) {
		*to++ = digits[p[i] >> 4];
		*to++ = digits[p[i] & 15];
	}
	return to;
}

void lp_traceparent_print(char to[LP_TRACEPARENT_LEN + 1], const struct lp_trace_id *id, bool sampled)
{
	char *p = to;

	memcpy(p, "00-", 3);
	p = put_hex(p + 3, id->trace, 16);
	*p++ = '-';
	p = put_hex(p, id->span, 8);
	memcpy(p, sampled ? "-01" : "-00", 4);
}

int lp_sampler_parse(const char *ratio, bool parent_based, struct lp_sampler *ret_sampler)
{
	char *end;
	double v;

	if ((*ratio < '0' || *ratio > '9') && *ratio != '.')
		return -EINVAL;
	v = strtod(ratio, &end);
	if (*end || !(v >= 0 && v <= 1))
		return -EINVAL;
	ret_sampler->on = true;
	ret_sampler->parent_based = parent_based;
	ret_sampler->threshold = v >= 1 ? UINT64_C(1) << 63 : (uint64_t)(v * 9223372036854775808.0);
	return 0;
}

bool lp_sampler_takes(const struct lp_sampler *sampler, const uint8_t trace[16])
{
	uint64_t number = 0;

	for (int i = 8; i < 16; i++)
		number = number << 8 | trace[i];
	return sampler->on && number >> 1 < sampler->threshold;
}

/* Zeros, which is no identity, when the kernel has no random numbers. */
static void fill_random(uint8_t *p, size_t n)
{
	if (getrandom(p, n, GRND_NONBLOCK) != (ssize_t)n)
		memset(p, 0, n);
}

void lp_trace_new_span(uint8_t span[8]) { fill_random(span, 8); }

void lp_trace_begin(const struct lp_sampler *sampler, const char *s, size_t n, struct lp_trace *ret_trace)
{
	struct lp_trace trace = { .sampled = false };
	struct lp_trace_id caller;

	if (s && lp_traceparent_parse(s, n, &caller, &trace.sampled) == 0) {
		memcpy(trace.id.trace, caller.trace, 16);
		memcpy(trace.parent, caller.span, 8);
		if (!sampler->parent_based)
			trace.sampled = lp_sampler_takes(sampler, caller.trace);
		if (trace.sampled)
			lp_trace_new_span(trace.id.span);
	} else {
		fill_random((uint8_t *)&trace.id, sizeof trace.id);
		trace.sampled = lp_sampler_takes(sampler, trace.id.trace);
	}
	if (is_zero(trace.id.span, 8))
		trace.sampled = false;
	*ret_trace = trace;
}

void lp_trace_begin_under(const struct lp_sampler *sampler, const struct lp_trace_id *parent, struct lp_trace *ret_trace)
{
	struct lp_trace trace = { .sampled = true };

	if (!parent || is_zero(parent->span, sizeof parent->span)) {
		lp_trace_begin(sampler, NULL, 0, ret_trace);
		return;
	}
	memcpy(trace.id.trace, parent->trace, sizeof trace.id.trace);
	memcpy(trace.parent, parent->span, sizeof trace.parent);
	lp_trace_new_span(trace.id.span);
	trace.sampled = !is_zero(trace.id.span, sizeof trace.id.span);
	*ret_trace = trace;
}

/* The finalizer of MurmurHash3 (A. Appleby, public domain): neighbouring numbers get unlike ones. */
static uint64_t mix(uint64_t v)
{
	v = (v ^ v >> 33) * UINT64_C(0xff51afd7ed558ccd);
	v = (v ^ v >> 33) * UINT64_C(0xc4ceb9fe1a85ec53);
	return v ^ v >> 33;
}

void lp_trace_commit(uint64_t epoch, uint64_t number, struct lp_trace_id *ret_id)
{
	uint64_t words[3] = { mix(epoch), mix(epoch + number), mix(epoch ^ ~number) | 1 };

	memcpy(ret_id->trace, words, 16);
	memcpy(ret_id->span, &words[2], 8);
}
