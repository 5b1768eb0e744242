/* JSON scanner (RFC 8259): strings 32 bytes at a time with AVX2, 8 with plain C, chosen at run time.
 *
 * The vector loop stores each block before it looks for a quote, a backslash or a control character in it (the way
 * of simdjson's string parser, Langdale and Lemire 2019); output memory therefore needs slack, input memory does
 * not: the last bytes go one by one.  Escapes follow Go's encoding/json: a lone surrogate becomes U+FFFD.  Bytes that
 * are no UTF-8 pass as they are.  Pure functions, any process; hostile input ends in -EBADMSG. */
#include "ingest/json_scan.h"

#include "common/bytes.h"
#include "common/utf8.h"

#include <errno.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

static const char ERR_END[] = "unexpected end of JSON input";
static const char ERR_CONTROL[] = "invalid control character in string";
static const char ERR_ESCAPE[] = "invalid escape in string";

void lp_json_start(struct lp_json *js, const void *text, size_t n, bool allow_avx2)
{
	*js = (struct lp_json){ .begin = text, .p = text, .end = (const uint8_t *)text + n };
#if defined(__x86_64__)
	js->avx2 = allow_avx2 && __builtin_cpu_supports("avx2");
#endif
}

static int fail(struct lp_json *js, const uint8_t *at, const char *error)
{
	js->p = at;
	js->error = error;
	return -EBADMSG;
}

/* ---- strings: find the next byte that ends a plain run, copying on the way if `out` is given ------------------- */

static bool is_special(uint8_t c)
{
	return c == '"' || c == '\\' || c < 0x20;
}

/* Bytes of v below 0x20, quotes and backslashes have their top bit set in the result; exact up to the first. */
static uint64_t special_mask8(uint64_t v)
{
	const uint64_t ones = 0x0101010101010101u, tops = 0x8080808080808080u;
	uint64_t quote = v ^ ones * '"', slash = v ^ ones * '\\';

	return (((quote - ones) & ~quote) | ((slash - ones) & ~slash) | ((v - ones * 0x20) & ~v)) & tops;
}

static inline size_t run_scalar(const uint8_t *p, const uint8_t *end, uint8_t *out)
{
	const uint8_t *start = p;

	while (end - p >= 8) {
		uint64_t v = lp_le64(p), mask = special_mask8(v);

		if (out)
			lp_put_le64(out + (p - start), v);
		if (mask)
			return (size_t)(p - start) + (unsigned)__builtin_ctzll(mask) / 8;
		p += 8;
	}
	for (; p < end && !is_special(*p); p++)
		if (out)
			out[p - start] = *p;
	return (size_t)(p - start);
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) static inline size_t run_avx2(const uint8_t *p, const uint8_t *end, uint8_t *out)
{
	const __m256i quote = _mm256_set1_epi8('"'), slash = _mm256_set1_epi8('\\'), last = _mm256_set1_epi8(0x1f);
	const uint8_t *start = p;

	while (end - p >= 32) {
		__m256i v = _mm256_loadu_si256((const __m256i *)(const void *)p);
		__m256i hit = _mm256_or_si256(_mm256_or_si256(_mm256_cmpeq_epi8(v, quote), _mm256_cmpeq_epi8(v, slash)),
					      _mm256_cmpeq_epi8(_mm256_min_epu8(v, last), v));
		unsigned mask = (unsigned)_mm256_movemask_epi8(hit);

		if (out)
			_mm256_storeu_si256((__m256i *)(void *)(out + (p - start)), v);
		if (mask)
			return (size_t)(p - start) + (unsigned)__builtin_ctz(mask);
		p += 32;
	}
	return (size_t)(p - start) + run_scalar(p, end, out ? out + (p - start) : NULL);
}
#endif

static size_t run(const struct lp_json *js, const uint8_t *p, const uint8_t *end, uint8_t *out)
{
#if defined(__x86_64__)
	if (js->avx2)
		return run_avx2(p, end, out);
#endif
	return run_scalar(p, end, out);
}

static int hex4(const uint8_t *p, const uint8_t *end)
{
	int v = 0;

	if (end - p < 4)
		return -1;
	for (int i = 0; i < 4; i++) {
		uint8_t c = p[i];
		int d = c >= '0' && c <= '9' ? c - '0' : (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (c | 0x20) - 'a' + 10 : -1;

		if (d < 0)
			return -1;
		v = v << 4 | d;
	}
	return v;
}

/* \uXXXX at p (the backslash): writes UTF-8, returns the end or NULL. */
static const uint8_t *unescape_u(const uint8_t *p, const uint8_t *end, uint8_t **out)
{
	int hi = hex4(p + 2, end);
	uint8_t utf8[4];

	if (hi < 0)
		return NULL;
	uint32_t cp = (uint32_t)hi;

	p += 6;
	if (cp >= 0xd800 && cp < 0xe000) {
		int lo = cp < 0xdc00 && end - p >= 6 && p[0] == '\\' && p[1] == 'u' ? hex4(p + 2, end) : -1;

		if (lo >= 0xdc00 && lo < 0xe000) {
			cp = 0x10000 + ((cp - 0xd800) << 10) + ((uint32_t)lo - 0xdc00);
			p += 6;
		} else {
			cp = 0xfffd;
		}
	}
	unsigned n = lp_utf8_put(utf8, cp);

	memcpy(*out, utf8, n);
	*out += n;
	return p;
}

/* The escape at p (the backslash): writes at most as many bytes as it takes, returns its end or NULL. */
static inline const uint8_t *unescape(const uint8_t *p, const uint8_t *end, uint8_t **out)
{
	static const uint8_t simple[128] = {
		['"'] = '"', ['\\'] = '\\', ['/'] = '/', ['b'] = '\b', ['f'] = '\f', ['n'] = '\n', ['r'] = '\r', ['t'] = '\t',
	};

	if (end - p < 2)
		return NULL;
	if (p[1] == 'u')
		return unescape_u(p, end, out);
	if (p[1] >= 128 || !simple[p[1]])
		return NULL;
	*(*out)++ = simple[p[1]];
	return p + 2;
}

/* One body for both loops, so that a run is no call. */
static inline __attribute__((always_inline)) int copy_string(struct lp_json *js, uint8_t *to, const uint8_t *p, const uint8_t *end,
							     size_t *ret_len,
							     size_t (*run_copy)(const uint8_t *, const uint8_t *, uint8_t *))
{
	uint8_t *out = to;

	for (;;) {
		size_t n = run_copy(p, end, out);

		p += n;
		out += n;
		if (p == end)
			break;
		if (*p == '"') {
			js->p = p + 1;
			*ret_len = (size_t)(out - to);
			return 0;
		}
		if (*p != '\\')
			return fail(js, p, ERR_CONTROL);
		const uint8_t *next = unescape(p, end, &out);

		if (!next) {
			if (end < js->end && end - p < 12)
				break;          /* cut by the limit, not by the sender */
			return fail(js, p, js->end - p < 6 ? ERR_END : ERR_ESCAPE);
		}
		p = next;
	}
	return end < js->end ? -E2BIG : fail(js, js->end, ERR_END);
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) static int string_avx2(struct lp_json *js, uint8_t *to, const uint8_t *p, const uint8_t *end,
							size_t *ret_len)
{
	return copy_string(js, to, p, end, ret_len, run_avx2);
}
#endif

int lp_json_string(struct lp_json *js, char *to, size_t max_len, size_t *ret_len)
{
	const uint8_t *p = js->p, *end = js->end;

	if (p == end || *p != '"')
		return fail(js, p, p == end ? ERR_END : "expected a string");
	p++;
	/* Output never outgrows the input, so a limit on one is a limit on the other; one more byte for the quote. */
	if ((size_t)(end - p) > max_len + 1)
		end = p + max_len + 1;
#if defined(__x86_64__)
	if (js->avx2)
		return string_avx2(js, (uint8_t *)to, p, end, ret_len);
#endif
	return copy_string(js, (uint8_t *)to, p, end, ret_len, run_scalar);
}

/* From behind the opening quote to the closing one, checking escapes; NULL and `error`. */
static const uint8_t *find_quote(struct lp_json *js, const uint8_t *p, bool *ret_escaped)
{
	uint8_t scratch[8], *out;

	*ret_escaped = false;
	for (;;) {
		p += run(js, p, js->end, NULL);
		if (p == js->end) {
			(void)fail(js, p, ERR_END);
			return NULL;
		}
		if (*p == '"')
			return p;
		if (*p != '\\') {
			(void)fail(js, p, ERR_CONTROL);
			return NULL;
		}
		out = scratch;
		*ret_escaped = true;
		const uint8_t *next = unescape(p, js->end, &out);

		if (!next) {
			(void)fail(js, p, js->end - p < 6 ? ERR_END : ERR_ESCAPE);
			return NULL;
		}
		p = next;
	}
}

int lp_json_string_ref(struct lp_json *js, struct lp_arena *arena, const char **ret_s, size_t *ret_len)
{
	bool escaped;
	const uint8_t *start = js->p;

	if (start == js->end || *start != '"')
		return fail(js, start, "expected a string");
	const uint8_t *quote = find_quote(js, start + 1, &escaped);

	if (!quote)
		return -EBADMSG;
	size_t raw = (size_t)(quote - start - 1);

	if (!escaped) {
		js->p = quote + 1;
		*ret_s = (const char *)start + 1;
		*ret_len = raw;
		return 0;
	}
	char *copy = lp_arena_alloc(arena, raw + LP_JSON_SLACK);

	if (!copy)
		return -ENOMEM;
	*ret_s = copy;
	return lp_json_string(js, copy, raw, ret_len);
}

/* ---- structure ------------------------------------------------------------------------------------------------- */

int lp_json_expect(struct lp_json *js, uint8_t c, const char *error)
{
	if (lp_json_peek(js) != c)
		return fail(js, js->p, js->p == js->end ? ERR_END : error);
	js->p++;
	return 0;
}

int lp_json_next_element(struct lp_json *js, bool *first)
{
	uint8_t c = lp_json_peek(js);

	if (c == ']') {
		js->p++;
		return 0;
	}
	if (*first) {
		*first = false;
		return c ? 1 : fail(js, js->p, ERR_END);
	}
	if (c != ',')
		return fail(js, js->p, c ? "expected ',' or ']'" : ERR_END);
	js->p++;
	c = lp_json_peek(js);
	return c && c != ']' ? 1 : fail(js, js->p, c ? "expected a value" : ERR_END);
}

int lp_json_next_member(struct lp_json *js, bool *first, struct lp_arena *arena, const char **ret_key, size_t *ret_len)
{
	uint8_t c = lp_json_peek(js);

	if (*first && c == '}') {
		js->p++;
		return 0;
	}
	if (!*first) {
		if (c == '}') {
			js->p++;
			return 0;
		}
		if (c != ',')
			return fail(js, js->p, c ? "expected ',' or '}'" : ERR_END);
		js->p++;
		c = lp_json_peek(js);
	}
	*first = false;
	if (c != '"')
		return fail(js, js->p, js->p == js->end ? ERR_END : "expected a key in quotes");
	int r = lp_json_string_ref(js, arena, ret_key, ret_len);

	if (!r)
		r = lp_json_expect(js, ':', "expected ':' after a key");
	if (!r)
		(void)lp_json_peek(js);
	return r < 0 ? r : 1;
}

static const uint8_t *digits(const uint8_t *p, const uint8_t *end)
{
	while (p < end && *p >= '0' && *p <= '9')
		p++;
	return p;
}

static int skip_number(struct lp_json *js)
{
	const uint8_t *p = js->p, *end = js->end, *q;

	if (p < end && *p == '-')
		p++;
	q = digits(p, end);
	if (q == p || (*p == '0' && q - p > 1))
		return fail(js, p, "invalid number");
	p = q;
	if (p < end && *p == '.') {
		q = digits(p + 1, end);
		if (q == p + 1)
			return fail(js, p, "invalid number");
		p = q;
	}
	if (p < end && (*p == 'e' || *p == 'E')) {
		p++;
		if (p < end && (*p == '+' || *p == '-'))
			p++;
		q = digits(p, end);
		if (q == p)
			return fail(js, p, "invalid number");
		p = q;
	}
	js->p = p;
	return 0;
}

static bool literal(struct lp_json *js, const char *word, size_t n)
{
	if ((size_t)(js->end - js->p) < n || memcmp(js->p, word, n))
		return false;
	js->p += n;
	return true;
}

bool lp_json_null(struct lp_json *js)
{
	return lp_json_peek(js) == 'n' && literal(js, "null", 4);
}

static int skip_scalar(struct lp_json *js, uint8_t c)
{
	bool escaped;

	if (c == '"') {
		const uint8_t *quote = find_quote(js, js->p + 1, &escaped);

		if (!quote)
			return -EBADMSG;
		js->p = quote + 1;
		return 0;
	}
	if (c == '-' || (c >= '0' && c <= '9'))
		return skip_number(js);
	if (literal(js, "null", 4) || literal(js, "true", 4) || literal(js, "false", 5))
		return 0;
	return fail(js, js->p, js->p == js->end ? ERR_END : "expected a value");
}

/* The key and colon of a member that is being skipped. */
static int skip_key(struct lp_json *js)
{
	if (lp_json_peek(js) != '"')
		return fail(js, js->p, js->p == js->end ? ERR_END : "expected a key in quotes");
	int r = skip_scalar(js, '"');

	return r < 0 ? r : lp_json_expect(js, ':', "expected ':' after a key");
}

/* After a complete value: commas and closing brackets up to the next value.  1 at a value, 0 all closed. */
static int skip_after(struct lp_json *js, const bool *object, unsigned *depth)
{
	while (*depth) {
		bool in_object = object[*depth - 1];
		uint8_t c = lp_json_peek(js);

		if (c == (in_object ? '}' : ']')) {
			js->p++;
			(*depth)--;
			continue;
		}
		if (c != ',')
			return fail(js, js->p, js->p == js->end ? ERR_END : in_object ? "expected ',' or '}'" : "expected ',' or ']'");
		js->p++;
		int r = in_object ? skip_key(js) : 0;

		return r < 0 ? r : 1;
	}
	return 0;
}

int lp_json_skip(struct lp_json *js)
{
	bool object[LP_JSON_MAX_DEPTH];
	unsigned depth = 0;
	int r;

	do {
		uint8_t c = lp_json_peek(js);

		if (c == '{' || c == '[') {
			if (depth == LP_JSON_MAX_DEPTH)
				return fail(js, js->p, "nested too deeply");
			object[depth++] = c == '{';
			js->p++;
			if (lp_json_peek(js) != (c == '{' ? '}' : ']')) {
				r = c == '{' ? skip_key(js) : 0;
				if (r < 0)
					return r;
				r = 1;
				continue;
			}
		} else {
			r = skip_scalar(js, c);
			if (r < 0)
				return r;
		}
		r = skip_after(js, object, &depth);
	} while (r == 1);
	return r;
}
