/* Templates: the functions over text, regular expressions, encodings and units.
 *
 * Guarantees: every result is bounded by LP_PIPELINE_MAX_OUTPUT; mistakes in arguments end the execution with a text.
 * Query threads. */
#include "query/pipeline/template-private.h"

#include "common/unicode.h"
#include "common/utf8.h"
#include "query/logql/units.h"
#include "query/regex.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct lp_tv tv;

static tv tv_int(int64_t i) { return (tv){ .kind = LP_TV_INT, .i = i }; }
static tv tv_float(double f) { return (tv){ .kind = LP_TV_FLOAT, .f = f }; }
static tv tv_bool(bool b) { return (tv){ .kind = LP_TV_BOOL, .b = b }; }

static tv tv_sub(const tv *v, size_t from, size_t to)
{
	tv out = *v;

	out.str.s += from;
	out.str.n = to - from;
	return out;
}

static const char *find(const tv *in, size_t from, const tv *what)
{
	return memmem(in->str.s + from, in->str.n - from, what->str.s, what->str.n);
}

/* ---- strings -------------------------------------------------------------------------------------- */

/* The code point at s and its length; U+FFFD of length 1 for a byte that is none. */
static uint32_t rune_at(const char *s, size_t n, unsigned *ret_len)
{
	unsigned len = lp_utf8_seq((const uint8_t *)s, n);

	*ret_len = len ? len : 1;
	return len ? lp_utf8_get((const uint8_t *)s, len) : 0xfffd;
}

/* Behind what a word begins, for title. */
static bool separates(uint32_t cp)
{
	return cp < 0x80 ? !lp_unicode_word(cp) : !lp_unicode_word(cp) && lp_unicode_space(cp);
}

/* op: l lower, u upper, t title. */
struct lp_tv lp_tfunc_case(struct lp_trun *run, struct lp_tv *a, uint32_t n, int op)
{
	struct lp_buf out = { .max = LP_PIPELINE_MAX_OUTPUT };
	uint32_t before = ' ';
	unsigned len;

	for (size_t i = 0; i < a[0].str.n && !out.failed; i += len) {
		uint32_t cp = rune_at(a[0].str.s + i, a[0].str.n - i, &len), to = cp;
		uint8_t bytes[4];

		if (op == 'l')
			to = lp_unicode_lower(cp);
		else if (op == 'u')
			to = lp_unicode_upper(cp);
		else if (separates(before))
			to = lp_unicode_title(cp);
		before = cp;
		lp_buf_append(&out, bytes, lp_utf8_put(bytes, to));
	}
	return lp_tv_take(run, &out);
}

struct lp_tv lp_tfunc_trunc(struct lp_trun *run, struct lp_tv *a, uint32_t n, int op)
{
	int64_t c = lp_tv_int(&a[0]), len = (int64_t)a[1].str.n;

	if (c < 0 && len + c > 0)
		return tv_sub(&a[1], (size_t)(len + c), (size_t)len);
	return c >= 0 && len > c ? tv_sub(&a[1], 0, (size_t)c) : a[1];
}

struct lp_tv lp_tfunc_substr(struct lp_trun *run, struct lp_tv *a, uint32_t n, int op)
{
	int64_t from = lp_tv_int(&a[0]), to = lp_tv_int(&a[1]), len = (int64_t)a[2].str.n;

	if (from < 0)
		from = 0;
	else if (to < 0 || to > len)
		to = len;
	if (to < 0 || to > len || from > to)
		return lp_trun_fail(run, "error calling substr: runtime error: slice bounds out of range [%lld:%lld]", (long long)from, (long long)to);
	return tv_sub(&a[2], (size_t)from, (size_t)to);
}

static tv replace(struct lp_trun *run, const tv *in, const tv *old, const tv *with, int64_t max)
{
	struct lp_buf out = { .max = LP_PIPELINE_MAX_OUTPUT };
	size_t at = 0;

	while (max && at <= in->str.n) {
		const char *hit = find(in, at, old);
		size_t skip = old->str.n;

		if (!hit)
			break;
		lp_buf_append(&out, in->str.s + at, (size_t)(hit - in->str.s) - at);
		lp_buf_append(&out, with->str.s, with->str.n);
		at = (size_t)(hit - in->str.s) + skip;
		if (!skip) {
			unsigned step = at < in->str.n ? lp_utf8_seq((const uint8_t *)in->str.s + at, in->str.n - at) : 1;

			step = step ? step : 1;
			if (at < in->str.n)
				lp_buf_append(&out, in->str.s + at, step);
			at += step;
		}
		max--;
	}
	if (at < in->str.n)
		lp_buf_append(&out, in->str.s + at, in->str.n - at);
	return lp_tv_take(run, &out);
}

struct lp_tv lp_tfunc_replace(struct lp_trun *run, struct lp_tv *a, uint32_t n, int op)
{
	return op ? replace(run, &a[0], &a[1], &a[2], lp_tv_int(&a[3])) : replace(run, &a[2], &a[0], &a[1], -1);
}

static bool in_set(uint32_t cp, const char *set, size_t set_len)
{
	unsigned len;

	for (size_t i = 0; i < set_len; i += len)
		if (rune_at(set + i, set_len - i, &len) == cp)
			return true;
	return false;
}

/* Where the last character before `to` begins. */
static size_t last_rune(const char *s, size_t to)
{
	size_t from = to - 1;
	unsigned len;

	while (from && to - from < 4 && ((unsigned char)s[from] & 0xc0) == 0x80)
		from--;
	(void)rune_at(s + from, to - from, &len);
	return len == to - from ? from : to - 1;
}

/* op: 1 left, 2 right, 3 both.  set NULL: blanks. */
static tv trim_set(const tv *in, const char *set, size_t set_len, int op)
{
	size_t from = 0, to = in->str.n;
	unsigned len;

	while ((op & 1) && from < to) {
		uint32_t cp = rune_at(in->str.s + from, to - from, &len);

		if (set ? !in_set(cp, set, set_len) : !lp_unicode_space(cp))
			break;
		from += len;
	}
	while ((op & 2) && to > from) {
		size_t last = last_rune(in->str.s, to);
		uint32_t cp = rune_at(in->str.s + last, to - last, &len);

		if (set ? !in_set(cp, set, set_len) : !lp_unicode_space(cp))
			break;
		to = last;
	}
	return tv_sub(in, from, to);
}

struct lp_tv lp_tfunc_trim_space(struct lp_trun *run, struct lp_tv *a, uint32_t n, int op)
{
	return trim_set(&a[0], NULL, 0, 3);
}

struct lp_tv lp_tfunc_trim(struct lp_trun *run, struct lp_tv *a, uint32_t n, int op)
{
	return trim_set(&a[0], a[1].str.s, a[1].str.n, op);
}

struct lp_tv lp_tfunc_trim_all(struct lp_trun *run, struct lp_tv *a, uint32_t n, int op)
{
	return trim_set(&a[1], a[0].str.s, a[0].str.n, 3);
}

/* op bit 0: sprig's order (the text last); bit 1: suffix. */
struct lp_tv lp_tfunc_trim_fix(struct lp_trun *run, struct lp_tv *a, uint32_t n, int op)
{
	const tv *in = &a[op & 1], *fix = &a[!(op & 1)];
	size_t k = fix->str.n, len = in->str.n;

	if (k > len || memcmp(op & 2 ? in->str.s + len - k : in->str.s, fix->str.s, k))
		return *in;
	return op & 2 ? tv_sub(in, 0, len - k) : tv_sub(in, k, len);
}

struct lp_tv lp_tfunc_has(struct lp_trun *run, struct lp_tv *a, uint32_t n, int op)
{
	size_t k = a[0].str.n, len = a[1].str.n;

	if (op == 'c')
		return tv_bool(find(&a[1], 0, &a[0]) != NULL);
	return tv_bool(k <= len && !memcmp(op == 'p' ? a[1].str.s : a[1].str.s + len - k, a[0].str.s, k));
}

struct lp_tv lp_tfunc_indent(struct lp_trun *run, struct lp_tv *a, uint32_t n, int op)
{
	struct lp_buf out = { .max = LP_PIPELINE_MAX_OUTPUT };
	int64_t pad = lp_tv_int(&a[0]);

	if (pad < 0)
		return lp_trun_fail(run, "error calling indent: strings: negative Repeat count");
	if (op)
		lp_buf_byte(&out, '\n');
	for (size_t i = 0; i <= a[1].str.n && !out.failed; i++) {
		if (!i || a[1].str.s[i - 1] == '\n')
			for (int64_t k = 0; k < pad && !out.failed; k++)
				lp_buf_byte(&out, ' ');
		if (i < a[1].str.n)
			lp_buf_byte(&out, (uint8_t)a[1].str.s[i]);
	}
	return lp_tv_take(run, &out);
}

struct lp_tv lp_tfunc_repeat(struct lp_trun *run, struct lp_tv *a, uint32_t n, int op)
{
	struct lp_buf out = { .max = LP_PIPELINE_MAX_OUTPUT };
	int64_t count = lp_tv_int(&a[0]);

	if (count < 0)
		return lp_trun_fail(run, "error calling repeat: strings: negative Repeat count");
	for (int64_t i = 0; i < count && a[1].str.n && !out.failed; i++)
		lp_buf_append(&out, a[1].str.s, a[1].str.n);
	return lp_tv_take(run, &out);
}

struct lp_tv lp_tfunc_align(struct lp_trun *run, struct lp_tv *a, uint32_t n, int op)
{
	struct lp_buf out = { .max = LP_PIPELINE_MAX_OUTPUT };
	int64_t count = lp_tv_int(&a[0]), len = 0;
	size_t at = 0;

	for (size_t i = 0; i < a[1].str.n; i++)
		len += ((unsigned char)a[1].str.s[i] & 0xc0) != 0x80;
	if (count < 0 || count == len)
		return a[1];
	if (count < len) {
		int64_t skip = op ? len - count : count;

		for (; at < a[1].str.n; at++)
			if (((unsigned char)a[1].str.s[at] & 0xc0) != 0x80 && !skip--)
				break;
		return op ? tv_sub(&a[1], at, a[1].str.n) : tv_sub(&a[1], 0, at);
	}
	if (!op)
		lp_buf_append(&out, a[1].str.s, a[1].str.n);
	for (int64_t i = len; i < count && !out.failed; i++)
		lp_buf_byte(&out, ' ');
	if (op)
		lp_buf_append(&out, a[1].str.s, a[1].str.n);
	return lp_tv_take(run, &out);
}

/* ---- regular expressions -------------------------------------------------------------------------- */

/* Go's Regexp.Expand: $1, ${name}, $$. */
static void expand(struct lp_buf *out, const struct lp_regex *re, const tv *with, const char *in, const int64_t *offsets)
{
	const char *p = with->str.s, *end = p + with->str.n;

	while (p < end) {
		const char *name;
		size_t len = 0;
		bool brace;
		unsigned group = 0, groups = lp_regex_groups(re);

		if (*p != '$' || p + 1 == end) {
			lp_buf_byte(out, (uint8_t)*p++);
			continue;
		}
		if (p[1] == '$') {
			lp_buf_byte(out, '$');
			p += 2;
			continue;
		}
		brace = p[1] == '{';
		name = p + 1 + brace;
		while (name + len < end && (name[len] == '_' || (name[len] >= '0' && name[len] <= '9') || (name[len] >= 'a' && name[len] <= 'z') ||
					    (name[len] >= 'A' && name[len] <= 'Z')))
			len++;
		if (!len || (brace && (name + len == end || name[len] != '}'))) {
			lp_buf_byte(out, (uint8_t)*p++);
			continue;
		}
		p = name + len + brace;
		bool number = true;

		for (size_t i = 0; i < len; i++) {
			number = number && name[i] >= '0' && name[i] <= '9';
			group = number && group < 100000 ? group * 10 + (unsigned)(name[i] - '0') : group;
		}
		for (unsigned g = 1; g < groups && !number; g++) {
			const char *have = lp_regex_group_name(re, g);

			if (have && strlen(have) == len && !memcmp(have, name, len)) {
				group = g;
				break;
			}
			group = groups;
		}
		if (group < groups && offsets[2 * group] >= 0)
			lp_buf_append(out, in + offsets[2 * group], (size_t)(offsets[2 * group + 1] - offsets[2 * group]));
	}
}

struct replacing {
	struct lp_trun *run;
	const struct lp_regex *re;
	const struct lp_tv *args;       /* expression, text, replacement */
	struct lp_buf out;
	int op;                         /* 'c' count, 'r' replace, 'l' replace by literal text */
	unsigned groups;
	size_t copied;
	int64_t count, began_ns;
};

static int64_t cpu_ns(void)
{
	struct timespec ts = { 0 };

	(void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

/* One match is linear in the text, all of them need not be: each may read to the end before it is decided. */
static bool one_match(void *ctx, const int64_t *offsets)
{
	struct replacing *r = ctx;
	const char *s = r->args[1].str.s;
	size_t from = (size_t)offsets[0];

	r->count++;
	if (++r->run->steps > LP_TMPL_MAX_STEPS) {
		lp_trun_fail(r->run, "template takes too many steps (limit %u)", LP_TMPL_MAX_STEPS);
		return false;
	}
	if (r->args[1].str.n > LP_TMPL_LONG_TEXT && cpu_ns() - r->began_ns > LP_TMPL_REGEX_NS) {
		r->run->data->state->heavy = true;
		lp_trun_fail(r->run, "matching takes too long (limit %u ms)", LP_TMPL_REGEX_NS / 1000000);
		return false;
	}
	lp_buf_append(&r->out, s + r->copied, from - r->copied);
	if (r->op == 'r')
		expand(&r->out, r->re, &r->args[2], s, offsets);
	else if (r->op == 'l')
		lp_buf_append(&r->out, r->args[2].str.s, r->args[2].str.n);
	r->copied = (size_t)offsets[1];
	return !r->out.failed;
}

struct lp_tv lp_tfunc_regex(struct lp_trun *run, struct lp_tv *a, uint32_t n, int op)
{
	struct replacing r = { .run = run, .args = a, .out = { .max = LP_PIPELINE_MAX_OUTPUT }, .op = op, .began_ns = cpu_ns() };
	struct lp_buf why = { .max = 4096 };
	struct lp_regex *re = NULL;
	tv v;

	if (lp_regex_compile(a[0].str.s, a[0].str.n, 0, &re, &why) < 0) {
		v = lp_trun_fail(run, "error calling %s: %s", op == 'c' ? "count" : "regexReplaceAll", lp_buf_cstr(&why));
		lp_buf_free(&why);
		return v;
	}
	r.re = re;
	r.groups = lp_regex_groups(re);
	lp_regex_each(re, a[1].str.s, a[1].str.n, r.groups, one_match, &r);
	lp_buf_append(&r.out, a[1].str.s + r.copied, a[1].str.n - r.copied);
	lp_regex_free(&re);
	lp_buf_free(&why);
	v = op == 'c' ? tv_int(r.count) : lp_tv_take(run, &r.out);
	lp_buf_free(&r.out);
	return v;
}

/* ---- encodings ------------------------------------------------------------------------------------ */

static const char b64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

struct lp_tv lp_tfunc_b64enc(struct lp_trun *run, struct lp_tv *a, uint32_t n, int op)
{
	struct lp_buf out = { .max = LP_PIPELINE_MAX_OUTPUT };
	const unsigned char *s = (const unsigned char *)a[0].str.s;
	size_t len = a[0].str.n;

	for (size_t i = 0; i < len; i += 3) {
		uint32_t v = (uint32_t)s[i] << 16 | (i + 1 < len ? (uint32_t)s[i + 1] << 8 : 0) | (i + 2 < len ? s[i + 2] : 0);

		lp_buf_byte(&out, (uint8_t)b64[v >> 18]);
		lp_buf_byte(&out, (uint8_t)b64[v >> 12 & 63]);
		lp_buf_byte(&out, i + 1 < len ? (uint8_t)b64[v >> 6 & 63] : '=');
		lp_buf_byte(&out, i + 2 < len ? (uint8_t)b64[v & 63] : '=');
	}
	return lp_tv_take(run, &out);
}

/* At a sign that is no digit, `have` digits of a group behind it: SIZE_MAX if the text ends in right padding, or where it is wrong. */
static size_t padding_fault(const tv *v, size_t i, unsigned have)
{
	size_t len = v->str.n, end = i + (have == 2 ? 2 : 1);

	if (v->str.s[i] != '=' || have < 2)
		return i;
	if (end > len)
		return len;
	if (v->str.s[end - 1] != '=')
		return i;
	return end == len ? SIZE_MAX : end;
}

struct lp_tv lp_tfunc_b64dec(struct lp_trun *run, struct lp_tv *a, uint32_t n, int op)
{
	struct lp_buf out = { .max = LP_PIPELINE_MAX_OUTPUT };
	size_t len = a[0].str.n, i = 0, bad = SIZE_MAX;
	uint32_t acc = 0;
	unsigned have = 0;

	for (; i < len && bad == SIZE_MAX; i++) {
		const char *p = a[0].str.s[i] ? strchr(b64, a[0].str.s[i]) : NULL;

		if (a[0].str.s[i] == '\n' || a[0].str.s[i] == '\r')
			continue;
		if (!p) {
			bad = padding_fault(&a[0], i, have);
			break;
		}
		acc = acc << 6 | (uint32_t)(p - b64);
		if (++have == 4) {
			lp_buf_byte(&out, (uint8_t)(acc >> 16));
			lp_buf_byte(&out, (uint8_t)(acc >> 8));
			lp_buf_byte(&out, (uint8_t)acc);
			have = 0;
			acc = 0;
		}
	}
	/* Padding may be missing, but one character alone is no byte. */
	if (bad == SIZE_MAX && have == 1)
		bad = len - 1;
	if (bad != SIZE_MAX) {
		lp_buf_reset(&out);
		lp_buf_printf(&out, "illegal base64 data at input byte %zu", bad);
	} else if (have >= 2) {
		acc <<= 6 * (4 - have);
		lp_buf_byte(&out, (uint8_t)(acc >> 16));
		if (have == 3)
			lp_buf_byte(&out, (uint8_t)(acc >> 8));
	}
	return lp_tv_take(run, &out);
}

static int hex(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (c | 0x20) - 'a' + 10 : -1;
}

struct lp_tv lp_tfunc_urldecode(struct lp_trun *run, struct lp_tv *a, uint32_t n, int op)
{
	struct lp_buf out = { .max = LP_PIPELINE_MAX_OUTPUT };
	const char *s = a[0].str.s;

	for (size_t i = 0; i < a[0].str.n; i++) {
		if (s[i] != '%') {
			lp_buf_byte(&out, s[i] == '+' ? ' ' : (uint8_t)s[i]);
			continue;
		}
		if (i + 2 >= a[0].str.n || hex(s[i + 1]) < 0 || hex(s[i + 2]) < 0) {
			size_t k = a[0].str.n - i < 3 ? a[0].str.n - i : 3;

			lp_buf_free(&out);
			return lp_trun_fail(run, "error calling urldecode: invalid URL escape \"%.*s\"", (int)k, s + i);
		}
		lp_buf_byte(&out, (uint8_t)(hex(s[i + 1]) << 4 | hex(s[i + 2])));
		i += 2;
	}
	return lp_tv_take(run, &out);
}

static void put_url(struct lp_buf *out, const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)s[i];

		if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c && strchr("-_.~", c)))
			lp_buf_byte(out, c);
		else if (c == ' ')
			lp_buf_byte(out, '+');
		else
			lp_buf_printf(out, "%%%02X", c);
	}
}

struct lp_tv lp_tfunc_urlencode(struct lp_trun *run, struct lp_tv *a, uint32_t n, int op)
{
	struct lp_buf out = { .max = LP_PIPELINE_MAX_OUTPUT };

	put_url(&out, a[0].str.s, a[0].str.n);
	return lp_tv_take(run, &out);
}

static void put_html(struct lp_buf *out, const char *s, size_t n)
{
	static const char *const signs[] = { "<&lt;", ">&gt;", "&&amp;", "\"&#34;", "'&#39;" };

	for (size_t i = 0; i < n; i++) {
		size_t k = 0;

		while (k < 5 && signs[k][0] != s[i])
			k++;
		if (k < 5)
			lp_buf_str(out, signs[k] + 1);
		else if (s[i])
			lp_buf_byte(out, (uint8_t)s[i]);
		else
			lp_buf_str(out, "\xef\xbf\xbd");
	}
}

static void put_js(struct lp_buf *out, const char *s, size_t n)
{
	static const char *const signs[] = { "\\\\\\", "'\\'", "\"\\\"", "<\\u003C", ">\\u003E", "&\\u0026", "=\\u003D" };
	unsigned len;

	for (size_t i = 0; i < n; i += len) {
		uint32_t cp = rune_at(s + i, n - i, &len);
		size_t k = 0;

		while (k < 7 && (unsigned char)signs[k][0] != cp)
			k++;
		if (k < 7)
			lp_buf_str(out, signs[k] + 1);
		else if (cp < ' ' || (cp >= 0x80 && !lp_units_printable(cp)))
			lp_buf_printf(out, "\\u%04X", cp);
		else
			lp_buf_append(out, s + i, len);
	}
}

/* html, js and urlquery: the arguments as print joins them. */
struct lp_tv lp_tfunc_escape(struct lp_trun *run, struct lp_tv *a, uint32_t n, int op)
{
	struct lp_buf out = { .max = LP_PIPELINE_MAX_OUTPUT }, text = { .max = LP_PIPELINE_MAX_OUTPUT };
	bool text_before = true;

	for (uint32_t i = 0; i < n; i++) {
		bool is_text = a[i].kind == LP_TV_STRING || a[i].kind == LP_TV_NIL;

		if (i && !is_text && !text_before)
			lp_buf_byte(&text, ' ');
		text_before = is_text;
		lp_tv_print(&text, &a[i], run);
	}
	if (op == 'h')
		put_html(&out, lp_buf_cstr(&text), text.len);
	else if (op == 'j')
		put_js(&out, lp_buf_cstr(&text), text.len);
	else
		put_url(&out, lp_buf_cstr(&text), text.len);
	lp_buf_free(&text);
	return lp_tv_take(run, &out);
}

/* ---- units ------------------------------------------------------------------------------- */

struct lp_tv lp_tfunc_bytes(struct lp_trun *run, struct lp_tv *a, uint32_t n, int op)
{
	uint64_t bytes;
	int64_t ns;

	if (op == 'b') {
		if (lp_units_bytes(a[0].str.s, a[0].str.n, &bytes) == 0)
			return tv_float((double)bytes);
		return lp_trun_fail(run, "error calling bytes: cannot parse \"%.*s\"", (int)(a[0].str.n > 100 ? 100 : a[0].str.n), a[0].str.s);
	}
	if (lp_units_go_duration(a[0].str.s, a[0].str.n, &ns, NULL) == 0)
		return tv_float((double)(ns / 1000000000) + (double)(ns % 1000000000) / 1e9);
	return lp_trun_fail(run, "error calling duration: time: invalid duration \"%.*s\"", (int)(a[0].str.n > 100 ? 100 : a[0].str.n), a[0].str.s);
}

struct lp_tv lp_tfunc_line(struct lp_trun *run, struct lp_tv *a, uint32_t n, int op)
{
	tv out = { .kind = LP_TV_STRING };

	out.str.s = run->data->state->line;
	out.str.n = run->data->state->line_len;
	return out;
}
