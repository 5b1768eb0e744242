/* Label strings, {a="b", c="d"}, as Prometheus' metric syntax has them: Loki takes them in protobuf pushes.
 *
 * Texts and positions follow Prometheus' lexer and grammar (promql/parser), because Loki passes them on: line and
 * column of the offending token, counted in bytes from 1.  Label names beyond [A-Za-z_][A-Za-z0-9_]* are refused.
 * Pure function over hostile bytes; any process. */
#include "ingest/decode-private.h"

#include "common/utf8.h"

#include <errno.h>
#include <stdlib.h>
#include <stdio.h>

enum token { T_IDENT, T_STRING, T_EQL, T_COMMA, T_RBRACE, T_OPERATOR, T_OTHER };

struct scan {
	const char *s;
	size_t n, pos, start;           /* start: of the current token */
	struct lp_arena *arena;
	const char *str;                /* value of the last T_STRING */
	size_t str_len;
	struct lp_buf *error;
};

static __attribute__((format(printf, 2, 3))) int error_at_start(struct scan *sc, const char *fmt, ...)
{
	unsigned line = 1;
	size_t col = sc->start + 1;
	char text[512];
	va_list ap;

	if (!sc->error)
		return -EINVAL;
	for (size_t i = 0; i < sc->start; i++)
		if (sc->s[i] == '\n') {
			line++;
			col = sc->start - i;
		}
	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	lp_buf_printf(sc->error, "%u:%zu: parse error: %s", line, col, text);
	return -EINVAL;
}

static bool is_alpha(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static bool is_name(char c)
{
	return is_alpha(c) || (c >= '0' && c <= '9');
}

static void skip_space(struct scan *sc)
{
	while (sc->pos < sc->n && (sc->s[sc->pos] == ' ' || (sc->s[sc->pos] >= '\t' && sc->s[sc->pos] <= '\r')))
		sc->pos++;
	sc->start = sc->pos;
}

/* One character as Go's %q prints a rune. */
static const char *rune_text(const struct scan *sc, size_t at, char out[16])
{
	unsigned n = lp_utf8_seq((const uint8_t *)sc->s + at, sc->n - at);
	char c = sc->s[at];

	if (!n)
		(void)snprintf(out, 16, "'\xef\xbf\xbd'");
	else if (n > 1)
		(void)snprintf(out, 16, "'%.*s'", (int)n, sc->s + at);
	else if (c == '\'' || c == '\\')
		(void)snprintf(out, 16, "'\\%c'", c);
	else if ((unsigned char)c < 0x20 || c == 0x7f)
		(void)snprintf(out, 16, "'\\x%02x'", (unsigned)c);
	else
		(void)snprintf(out, 16, "'%c'", c);
	return out;
}

/* ---- strings ---------------------------------------------------------------------------------------------------- */

static int digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : 99;
}

static int number_escape(struct scan *sc, unsigned count, int base, bool byte, char **out)
{
	uint32_t v = 0;

	for (; count; count--, sc->pos++) {
		if (sc->pos == sc->n)
			return error_at_start(sc, "escape sequence not terminated");
		int d = digit(sc->s[sc->pos]);

		if (d >= base)
			return error_at_start(sc, "illegal character U+%04X in escape sequence", (unsigned char)sc->s[sc->pos]);
		v = v * (uint32_t)base + (uint32_t)d;
	}
	if (v > (byte ? 255 : 0x10ffff) || (v >= 0xd800 && v < 0xe000))
		return error_at_start(sc, "escape sequence is an invalid Unicode code point");
	if (byte)
		*(*out)++ = (char)v;
	else
		*out += lp_utf8_put((uint8_t *)*out, v);
	return 0;
}

/* pos is behind the backslash.  Writes at most as many bytes as the escape takes. */
static int escape(struct scan *sc, char quote, char **out)
{
	static const char from[] = "abfnrtv\\", to[] = "\a\b\f\n\r\t\v\\";

	if (sc->pos == sc->n)
		return error_at_start(sc, "escape sequence not terminated");
	char c = sc->s[sc->pos];
	const char *simple = c ? strchr(from, c) : NULL;

	if (simple || c == quote) {
		*(*out)++ = simple ? to[simple - from] : quote;
		sc->pos++;
		return 0;
	}
	if (c >= '0' && c <= '7')
		return number_escape(sc, 3, 8, true, out);
	if (c != 'x' && c != 'u' && c != 'U')
		return error_at_start(sc, "unknown escape sequence U+%04X", (unsigned char)c);
	sc->pos++;
	return number_escape(sc, c == 'x' ? 2 : c == 'u' ? 4 : 8, 16, c == 'x', out);
}

/* pos is behind the opening quote. */
static int quoted(struct scan *sc, char quote)
{
	size_t first = sc->pos;

	while (sc->pos < sc->n && sc->s[sc->pos] != quote && sc->s[sc->pos] != '\\' && sc->s[sc->pos] != '\n')
		sc->pos++;
	sc->str = sc->s + first;
	sc->str_len = sc->pos - first;
	if (sc->pos < sc->n && sc->s[sc->pos] == quote) {
		sc->pos++;
		return 0;
	}
	size_t end = sc->pos;

	/* Find where it ends, so that many escaped strings take no more memory than the text has. */
	while (end < sc->n && sc->s[end] != quote && sc->s[end] != '\n')
		end += sc->s[end] == '\\' ? 2 : 1;
	char *copy = lp_arena_alloc(sc->arena, end - first + 8), *out = copy;

	if (!copy)
		return -ENOMEM;
	memcpy(out, sc->str, sc->str_len);
	out += sc->str_len;
	while (sc->pos < sc->n && sc->s[sc->pos] != '\n') {
		char c = sc->s[sc->pos++];

		if (c == quote) {
			sc->str = copy;
			sc->str_len = (size_t)(out - copy);
			return 0;
		}
		if (c != '\\') {
			*out++ = c;
			continue;
		}
		int r = escape(sc, quote, &out);

		if (r < 0)
			return r;
	}
	return error_at_start(sc, "unterminated quoted string");
}

static int raw_string(struct scan *sc)
{
	const char *end = memchr(sc->s + sc->pos, '`', sc->n - sc->pos);

	if (!end)
		return error_at_start(sc, "unterminated raw string");
	sc->str = sc->s + sc->pos;
	sc->str_len = (size_t)(end - sc->str);
	sc->pos = (size_t)(end - sc->s) + 1;
	return 0;
}

/* ---- tokens and grammar ----------------------------------------------------------------------------------------- */

static int next_token(struct scan *sc, enum token *ret)
{
	char rune[16];

	skip_space(sc);
	if (sc->pos == sc->n)
		return error_at_start(sc, "unexpected end of input inside braces");
	char c = sc->s[sc->pos];

	if (is_alpha(c)) {
		while (sc->pos < sc->n && is_name(sc->s[sc->pos]))
			sc->pos++;
		*ret = T_IDENT;
		return 0;
	}
	sc->pos++;
	char after = sc->pos < sc->n ? sc->s[sc->pos] : 0;

	switch (c) {
	case ',': *ret = T_COMMA; return 0;
	case '}': *ret = T_RBRACE; return 0;
	case '=':
		*ret = after == '~' ? T_OPERATOR : T_EQL;
		sc->pos += after == '~';
		return 0;
	case '!':
		if (after != '=' && after != '~')
			return error_at_start(sc, "unexpected character after '!' inside braces: %s",
					      sc->pos < sc->n ? rune_text(sc, sc->pos, rune) : "end of input");
		sc->pos++;
		*ret = T_OPERATOR;
		return 0;
	case '"':
	case '\'':
		*ret = T_STRING;
		return quoted(sc, c);
	case '`':
		*ret = T_STRING;
		return raw_string(sc);
	case '{': return error_at_start(sc, "unexpected left brace '{'");
	default: return error_at_start(sc, "unexpected character inside braces: %s", rune_text(sc, sc->start, rune));
	}
}

static int unexpected(struct scan *sc, enum token token, const char *expected)
{
	static const char *const kind[] = { [T_IDENT] = "identifier ", [T_STRING] = "string ", [T_OTHER] = "" };
	size_t len = sc->pos - sc->start;
	struct lp_buf q = { .max = 256 };
	bool cut = len > 10 && token != T_IDENT;

	if (token == T_OPERATOR)
		return error_at_start(sc, "unexpected <op:%.*s> in label set, expected %s", (int)len, sc->s + sc->start, expected);
	if (cut || len > 64)
		len = cut ? 10 : 64;
	lp_buf_byte(&q, '"');
	for (size_t i = sc->start; i < sc->start + len; i++) {
		if (sc->s[i] == '"' || sc->s[i] == '\\')
			lp_buf_byte(&q, '\\');
		lp_buf_byte(&q, (uint8_t)sc->s[i]);
	}
	lp_buf_str(&q, cut ? "\"..." : "\"");
	int r = error_at_start(sc, "unexpected %s%s in label set, expected %s", token <= T_STRING ? kind[token] : "", lp_buf_cstr(&q),
			       expected);

	lp_buf_free(&q);
	return r;
}

/* name="value" whose first token has been read. */
static int pair(struct scan *sc, enum token token, const struct lp_label_sink *sink)
{
	const char *name = sc->s + sc->start;
	size_t name_len = sc->pos - sc->start;
	int r;

	if (token != T_IDENT && token != T_STRING)
		return unexpected(sc, token, "identifier or \"}\"");
	if (token == T_STRING) {
		name = sc->str;
		name_len = sc->str_len;
		if (!lp_label_name_valid(name, name_len))
			return error_at_start(sc, "invalid label name");
	}
	r = next_token(sc, &token);
	if (r < 0)
		return r;
	if (token != T_EQL)
		return unexpected(sc, token, "\"=\"");
	r = next_token(sc, &token);
	if (r < 0)
		return r;
	if (token != T_STRING)
		return unexpected(sc, token, "string");
	return sink->add ? sink->add(sink->ctx, name, name_len, sc->str, sc->str_len) : 0;
}

static int pairs(struct scan *sc, const struct lp_label_sink *sink)
{
	enum token token;
	int r = next_token(sc, &token);

	while (!r && token != T_RBRACE) {
		r = pair(sc, token, sink);
		if (!r)
			r = next_token(sc, &token);
		if (r < 0 || token == T_RBRACE)
			break;
		if (token != T_COMMA)
			return unexpected(sc, token, "\",\" or \"}\"");
		r = next_token(sc, &token);
	}
	return r;
}

int lp_label_string_scan(const char *s, size_t n, const struct lp_label_sink *sink, struct lp_buf *ret_error)
{
	struct scan sc = { .s = s, .n = n, .arena = sink->arena, .error = ret_error };
	char rune[16];
	int r;

	skip_space(&sc);
	if (sc.pos < n && is_alpha(s[sc.pos])) {        /* metric{...}: the name is a label of its own */
		while (sc.pos < n && is_name(s[sc.pos]))
			sc.pos++;
		r = sink->add ? sink->add(sink->ctx, "__name__", 8, s + sc.start, sc.pos - sc.start) : 0;
		if (r < 0)
			return r;
		skip_space(&sc);
	}
	if (sc.pos < n && s[sc.pos] == '{') {
		sc.pos++;
		r = pairs(&sc, sink);
		if (r < 0)
			return r;
		skip_space(&sc);
	}
	if (sc.pos < n)
		return error_at_start(&sc, "unexpected character: %s", rune_text(&sc, sc.pos, rune));
	return 0;
}

/* ---- the public form -------------------------------------------------------------------------------------------- */

static int add_to_push(void *ctx, const char *name, size_t name_len, const char *value, size_t value_len)
{
	return lp_push_label(ctx, name, name_len, value, value_len);
}

int lp_label_string_parse(const char *s, size_t n, const char *tenant, size_t tenant_len, struct lp_buf *out, struct lp_buf *ret_error)
{
	struct lp_push *push = calloc(1, sizeof *push);

	if (!push)
		return -ENOMEM;
	struct lp_label_sink sink = { add_to_push, push, &push->arena };
	int r = lp_label_string_scan(s, n, &sink, ret_error);

	if (!r && push->labels.total > LP_PUSH_MAX_PAIRS)
		r = -E2BIG;
	if (!r)
		r = lp_labels_encode(out, tenant, tenant_len, push->labels.v, push->labels.n);
	if (ret_error && (r == -EEXIST || r == -E2BIG))
		lp_buf_str(ret_error, r == -EEXIST ? "duplicate label name" : "too many label names");
	if (r == -EEXIST || r == -E2BIG)
		r = -EINVAL;
	lp_arena_free(&push->arena);
	free(push->labels.v);
	free(push);
	return r;
}
