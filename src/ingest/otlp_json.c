/* OTLP logs over HTTP as JSON (opentelemetry.io/docs/specs/otlp, "JSON Protobuf Encoding"; protobuf.dev "ProtoJSON Format").
 *
 * The text is rewritten as the protobuf message it stands for, one pass driven by the tables below, and that is decoded
 * (otlp_proto.c): both forms of a push are one push.  Names in lowerCamelCase or as in the .proto files; integers as
 * numbers or strings; bytes in base64, but trace and span ids in hex; unknown names and null are passed over.
 * Lengths are written as varints of five bytes, so that they can be filled in afterwards: at most twice the body's size.
 * Process: worker; memory only; nesting is bounded, hostile bodies are refused. */
#include "ingest/wire.h"

#include <errno.h>
#include <stdlib.h>

#define MAX_OBJECTS 64u         /* one in another; values nest to 16, of at most three objects each */
#define LENGTH_BYTES 5u

enum kind { MESSAGE, STRING, BASE64, HEX, INTEGER, FIXED32, FIXED64, BOOLEAN, DOUBLE };

struct field {
	const char *name;
	uint8_t number;         /* below 16: a tag is one byte */
	enum kind kind;
	bool list;
	const struct field *fields;
};

static const struct field key_value[3];

static const struct field array_value[2];
static const struct field map_value[] = { { "values", 1, MESSAGE, true, key_value }, { .name = NULL } };
static const struct field any_value[] = {
	{ "stringValue", 1, STRING, false, NULL },
	{ "boolValue", 2, BOOLEAN, false, NULL },
	{ "intValue", 3, INTEGER, false, NULL },
	{ "doubleValue", 4, DOUBLE, false, NULL },
	{ "arrayValue", 5, MESSAGE, false, array_value },
	{ "kvlistValue", 6, MESSAGE, false, map_value },
	{ "bytesValue", 7, BASE64, false, NULL },
	{ .name = NULL },
};
static const struct field array_value[] = { { "values", 1, MESSAGE, true, any_value }, { .name = NULL } };
static const struct field key_value[] = {
	{ "key", 1, STRING, false, NULL }, { "value", 2, MESSAGE, false, any_value }, { .name = NULL },
};
static const struct field log_record[] = {
	{ "timeUnixNano", 1, FIXED64, false, NULL },
	{ "observedTimeUnixNano", 11, FIXED64, false, NULL },
	{ "severityNumber", 2, INTEGER, false, NULL },
	{ "severityText", 3, STRING, false, NULL },
	{ "body", 5, MESSAGE, false, any_value },
	{ "attributes", 6, MESSAGE, true, key_value },
	{ "flags", 8, FIXED32, false, NULL },
	{ "traceId", 9, HEX, false, NULL },
	{ "spanId", 10, HEX, false, NULL },
	{ .name = NULL },
};
static const struct field scope[] = {
	{ "name", 1, STRING, false, NULL },
	{ "version", 2, STRING, false, NULL },
	{ "attributes", 3, MESSAGE, true, key_value },
	{ .name = NULL },
};
static const struct field scope_logs[] = {
	{ "scope", 1, MESSAGE, false, scope }, { "logRecords", 2, MESSAGE, true, log_record }, { .name = NULL },
};
static const struct field resource[] = { { "attributes", 1, MESSAGE, true, key_value }, { .name = NULL } };
static const struct field resource_logs[] = {
	{ "resource", 1, MESSAGE, false, resource }, { "scopeLogs", 2, MESSAGE, true, scope_logs }, { .name = NULL },
};
static const struct field request[] = { { "resourceLogs", 1, MESSAGE, true, resource_logs }, { .name = NULL } };

struct rewrite {
	struct lp_push *push;
	struct lp_json js;
	struct lp_arena arena;  /* the name or value in hand, when it has escapes */
	struct lp_buf out;
};

/* timeUnixNano is also time_unix_nano. */
static bool is_name(const char *name, const char *key, size_t n)
{
	size_t i = 0;

	for (; *name; name++, i++) {
		char c = *name;

		if (i < n && key[i] == '_' && c >= 'A' && c <= 'Z') {
			i++;
			c = (char)(c - 'A' + 'a');
		}
		if (i >= n || key[i] != c)
			return false;
	}
	return i == n;
}

static void put_tag(struct rewrite *w, const struct field *f, unsigned type)
{
	lp_buf_byte(&w->out, (uint8_t)(f->number << 3 | type));
}

static void put_varint(struct rewrite *w, uint64_t v)
{
	uint8_t bytes[10];

	lp_buf_append(&w->out, bytes, (size_t)(lp_varint_put(bytes, v) - bytes));
}

/* ---- scalars ------------------------------------------------------------------------------------ */

static int refuse(struct rewrite *w, const struct field *f, const char *what)
{
	return lp_push_fatal(w->push, "%s: expected %s before byte %zu", f->name, what, (size_t)(w->js.p - w->js.begin));
}

static bool parse_double(struct rewrite *w, const char *s, size_t n, double *ret)
{
	char *copy = lp_arena_strndup(&w->arena, s, n), *end;

	/* strtod() alone would take hex, words and white space as well. */
	if (!copy || n == 0 || strspn(copy, "+-.0123456789eE") < n)
		return false;
	*ret = strtod(copy, &end);
	return end == copy + n;
}

/* Magnitude and sign; 1.0 and 1e3 are integers in JSON. */
static bool parse_integer(struct rewrite *w, const char *s, size_t n, bool *ret_negative, uint64_t *ret)
{
	bool negative = n && *s == '-';
	uint64_t v = 0;
	double d;
	size_t i;

	for (i = negative; i < n && s[i] >= '0' && s[i] <= '9'; i++)
		if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, (uint64_t)(s[i] - '0'), &v))
			return false;
	if (i < n || n == negative) {
		if (!parse_double(w, s, n, &d))
			return false;
		d = negative ? -d : d;
		if (!(d >= 0 && d < 0x1p64) || (double)(uint64_t)d != d)
			return false;
		v = (uint64_t)d;
	}
	*ret_negative = negative && v;
	*ret = v;
	return true;
}

static int put_integer(struct rewrite *w, const struct field *f, const char *s, size_t n)
{
	bool negative;
	uint64_t v;

	if (!parse_integer(w, s, n, &negative, &v))
		return refuse(w, f, "an integer");
	if (f->kind == INTEGER) {
		if (v > (uint64_t)INT64_MAX + negative)
			return refuse(w, f, "an integer of 64 bits");
		put_tag(w, f, LP_WIRE_VARINT);
		put_varint(w, negative ? 0 - v : v);
		return 0;
	}
	unsigned size = f->kind == FIXED32 ? 4 : 8;

	if (negative || (size == 4 && v > UINT32_MAX))
		return refuse(w, f, size == 4 ? "an integer from 0 to 4294967295" : "an integer that is not negative");
	put_tag(w, f, size == 4 ? LP_WIRE_FIXED32 : LP_WIRE_FIXED64);
	for (unsigned i = 0; i < size; i++)
		lp_buf_byte(&w->out, (uint8_t)(v >> 8 * i));
	return 0;
}

static int put_double(struct rewrite *w, const struct field *f, const char *s, size_t n)
{
	static const struct { const char *word; double value; } words[] = {
		{ "NaN", __builtin_nan("") }, { "Infinity", __builtin_inf() }, { "-Infinity", -__builtin_inf() },
	};
	uint64_t bits;
	double d = 0;
	bool known = false;

	for (size_t i = 0; i < LP_ARRAY_LEN(words) && !known; i++) {
		known = strlen(words[i].word) == n && memcmp(words[i].word, s, n) == 0;
		d = words[i].value;
	}
	if (!known && !parse_double(w, s, n, &d))
		return refuse(w, f, "a number");
	memcpy(&bits, &d, sizeof bits);
	put_tag(w, f, LP_WIRE_FIXED64);
	for (unsigned i = 0; i < 8; i++)
		lp_buf_byte(&w->out, (uint8_t)(bits >> 8 * i));
	return 0;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int put_hex(struct rewrite *w, const struct field *f, const char *s, size_t n)
{
	put_tag(w, f, LP_WIRE_BYTES);
	put_varint(w, n / 2);
	for (size_t i = 0; i + 1 < n; i += 2) {
		int high = hex_digit(s[i]), low = hex_digit(s[i + 1]);

		if (high < 0 || low < 0)
			return refuse(w, f, "hex digits");
		lp_buf_byte(&w->out, (uint8_t)(high << 4 | low));
	}
	return n % 2 ? refuse(w, f, "an even number of hex digits") : 0;
}

/* RFC 4648, both alphabets, as ProtoJSON reads it. */
static int base64_digit(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' || c == '-' ? 62 : c == '/' || c == '_' ? 63 : -1;
}

static int put_base64(struct rewrite *w, const struct field *f, const char *s, size_t n)
{
	uint32_t bits = 0;
	unsigned have = 0;

	for (unsigned pad = 0; n && s[n - 1] == '=' && pad < 2; pad++)
		n--;
	if (n % 4 == 1)
		return refuse(w, f, "base64");
	put_tag(w, f, LP_WIRE_BYTES);
	put_varint(w, n * 3 / 4);
	for (size_t i = 0; i < n; i++) {
		int digit = base64_digit(s[i]);

		if (digit < 0)
			return refuse(w, f, "base64");
		bits = (bits << 6 | (uint32_t)digit) & 0xffff;
		have += 6;
		if (have >= 8) {
			have -= 8;
			lp_buf_byte(&w->out, (uint8_t)(bits >> have));
		}
	}
	return 0;
}

static int put_string(struct rewrite *w, const struct field *f, const char *s, size_t n)
{
	if (f->kind == HEX)
		return put_hex(w, f, s, n);
	if (f->kind == BASE64)
		return put_base64(w, f, s, n);
	put_tag(w, f, LP_WIRE_BYTES);
	put_varint(w, n);
	if (n)
		lp_buf_append(&w->out, s, n);
	return 0;
}

static int put_boolean(struct rewrite *w, const struct field *f, const char *s, size_t n)
{
	bool yes = n == 4 && memcmp(s, "true", 4) == 0;

	if (!yes && !(n == 5 && memcmp(s, "false", 5) == 0))
		return refuse(w, f, "true or false");
	put_tag(w, f, LP_WIRE_VARINT);
	lp_buf_byte(&w->out, yes);
	return 0;
}

static int put_scalar(struct rewrite *w, const struct field *f)
{
	bool quoted = lp_json_peek(&w->js) == '"';
	const char *s = (const char *)w->js.p;
	size_t n;
	int r;

	if (quoted) {
		r = lp_json_string_ref(&w->js, &w->arena, &s, &n);
	} else {
		r = lp_json_skip(&w->js);
		n = (size_t)((const char *)w->js.p - s);
	}
	if (r < 0)
		return r;
	if (n == 0)
		s = "";
	switch (f->kind) {
	case BOOLEAN:
		return put_boolean(w, f, s, quoted ? 0 : n);
	case DOUBLE:
		return put_double(w, f, s, n);
	case INTEGER:
	case FIXED32:
	case FIXED64:
		return put_integer(w, f, s, n);
	case STRING:
	case HEX:
	case BASE64:
	case MESSAGE:
		break;
	}
	return quoted ? put_string(w, f, s, n) : refuse(w, f, "a string");
}

/* ---- messages ----------------------------------------------------------------------------------- */

static int put_members(struct rewrite *w, const struct field *fields, unsigned depth);

static int put_message(struct rewrite *w, const struct field *f, unsigned depth)
{
	static const uint8_t zero[LENGTH_BYTES] = { 0 };
	size_t start;
	int r;

	put_tag(w, f, LP_WIRE_BYTES);
	lp_buf_append(&w->out, zero, sizeof zero);
	start = w->out.len;
	r = put_members(w, f->fields, depth + 1);
	if (r < 0)
		return r;
	if (w->out.failed)
		return -ENOMEM;
	for (unsigned i = 0; i < LENGTH_BYTES; i++)
		w->out.data[start - LENGTH_BYTES + i] = (uint8_t)((w->out.len - start) >> 7 * i & 0x7f) | (i + 1 < LENGTH_BYTES ? 0x80 : 0);
	return 0;
}

static int put_field(struct rewrite *w, const struct field *f, unsigned depth)
{
	bool first = true;
	int r;

	if (lp_json_null(&w->js))
		return 0;
	if (f->kind != MESSAGE)
		return put_scalar(w, f);
	if (!f->list)
		return put_message(w, f, depth);
	r = lp_json_expect(&w->js, '[', "expected an array");
	if (r < 0)
		return r;
	while ((r = lp_json_next_element(&w->js, &first)) == 1) {
		r = put_message(w, f, depth);
		if (r < 0)
			return r;
	}
	return r;
}

static int put_members(struct rewrite *w, const struct field *fields, unsigned depth)
{
	const struct field *f;
	const char *key;
	size_t n;
	bool first = true;
	int r;

	if (depth > MAX_OBJECTS)
		return lp_push_fatal(w->push, "values nest too deeply: more than %u objects", MAX_OBJECTS);
	if (lp_json_null(&w->js))
		return 0;
	r = lp_json_expect(&w->js, '{', "expected an object");
	if (r < 0)
		return r;
	while ((r = lp_json_next_member(&w->js, &first, &w->arena, &key, &n)) == 1) {
		for (f = fields; f->name && !is_name(f->name, key, n); f++)
			;
		r = f->name ? put_field(w, f, depth) : lp_json_skip(&w->js);
		lp_arena_free(&w->arena);
		if (r < 0)
			return r;
	}
	return r;
}

static int rewrite(struct rewrite *w)
{
	int r = put_members(w, request, 0);

	if (r < 0)
		return r;
	if (lp_json_peek(&w->js) || w->js.p < w->js.end) {
		w->js.error = "unexpected text after the JSON value";
		return -EBADMSG;
	}
	return w->out.failed ? -ENOMEM : 0;
}

int lp_push_otlp_json(struct lp_push *push, const void *body, size_t len)
{
	struct rewrite w = { .push = push };
	int r;

	lp_json_start(&w.js, body, len, push->allow_avx2);
	r = lp_push_json_error(push, &w.js, rewrite(&w));
	if (r == 0)
		r = lp_push_otlp_proto(push, w.out.data ? w.out.data : (const uint8_t *)"", w.out.len);
	lp_arena_free(&w.arena);
	lp_buf_free(&w.out);
	return r;
}
