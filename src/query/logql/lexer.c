/* LogQL's words: the rules of Go's text/scanner (which Loki's lexer stands on) with LogQL's operators, durations,
 * sizes, ranges and context-dependent function names on top.
 *
 * Guarantees: every byte is read a bounded number of times (durations and sizes are at most two reads of one word), any
 * bytes are accepted or refused with a text; strings live in the parser's arena.  Runs in workers on query threads and
 * in tools; if the process dies here nothing is lost. */
#include "query/logql/lexer.h"

#include "common/utf8.h"
#include "query/logql/units.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#define MAX_UNIT_WORD 64        /* no duration or size is longer */

struct word {
	const char *text;
	enum lp_token tok;
};

static const struct word operators[] = {
	{ "|=", LP_TOK_PIPE_EXACT }, { "|~", LP_TOK_PIPE_MATCH }, { "|>", LP_TOK_PIPE_PATTERN }, { "!>", LP_TOK_NPATTERN },
	{ "!=", LP_TOK_NEQ }, { "!~", LP_TOK_NRE }, { "=~", LP_TOK_RE }, { "==", LP_TOK_CMP_EQ }, { ">=", LP_TOK_GTE }, { "<=", LP_TOK_LTE },
	{ ",", LP_TOK_COMMA }, { ".", LP_TOK_DOT }, { "{", LP_TOK_OPEN_BRACE }, { "}", LP_TOK_CLOSE_BRACE }, { "(", LP_TOK_OPEN_PAREN },
	{ ")", LP_TOK_CLOSE_PAREN }, { "=", LP_TOK_EQ }, { "|", LP_TOK_PIPE }, { "+", LP_TOK_ADD }, { "-", LP_TOK_SUB }, { "*", LP_TOK_MUL },
	{ "/", LP_TOK_DIV }, { "%", LP_TOK_MOD }, { "^", LP_TOK_POW }, { ">", LP_TOK_GT }, { "<", LP_TOK_LT },
};

static const struct word keywords[] = {
	{ "by", LP_TOK_BY }, { "without", LP_TOK_WITHOUT }, { "bool", LP_TOK_BOOL }, { "offset", LP_TOK_OFFSET }, { "unwrap", LP_TOK_UNWRAP },
	{ "regexp", LP_TOK_REGEXP }, { "json", LP_TOK_JSON }, { "logfmt", LP_TOK_LOGFMT }, { "pattern", LP_TOK_PATTERN },
	{ "unpack", LP_TOK_UNPACK }, { "or", LP_TOK_OR }, { "and", LP_TOK_AND }, { "unless", LP_TOK_UNLESS }, { "ignoring", LP_TOK_IGNORING },
	{ "on", LP_TOK_ON }, { "group_left", LP_TOK_GROUP_LEFT }, { "group_right", LP_TOK_GROUP_RIGHT },
	{ "label_format", LP_TOK_LABEL_FORMAT }, { "line_format", LP_TOK_LINE_FORMAT }, { "decolorize", LP_TOK_DECOLORIZE },
	{ "drop", LP_TOK_DROP }, { "keep", LP_TOK_KEEP },
};

static const struct function {
	const char *text, *name;
	enum lp_token tok;
	int op;
} functions[] = {
	{ "count_over_time", "COUNT_OVER_TIME", LP_TOK_RANGE_OP, LP_RANGE_COUNT }, { "rate", "RATE", LP_TOK_RANGE_OP, LP_RANGE_RATE },
	{ "rate_counter", "RATE_COUNTER", LP_TOK_RANGE_OP, LP_RANGE_RATE_COUNTER },
	{ "bytes_over_time", "BYTES_OVER_TIME", LP_TOK_RANGE_OP, LP_RANGE_BYTES }, { "bytes_rate", "BYTES_RATE", LP_TOK_RANGE_OP, LP_RANGE_BYTES_RATE },
	{ "sum_over_time", "SUM_OVER_TIME", LP_TOK_RANGE_OP, LP_RANGE_SUM }, { "avg_over_time", "AVG_OVER_TIME", LP_TOK_RANGE_OP, LP_RANGE_AVG },
	{ "min_over_time", "MIN_OVER_TIME", LP_TOK_RANGE_OP, LP_RANGE_MIN }, { "max_over_time", "MAX_OVER_TIME", LP_TOK_RANGE_OP, LP_RANGE_MAX },
	{ "stddev_over_time", "STDDEV_OVER_TIME", LP_TOK_RANGE_OP, LP_RANGE_STDDEV },
	{ "stdvar_over_time", "STDVAR_OVER_TIME", LP_TOK_RANGE_OP, LP_RANGE_STDVAR },
	{ "quantile_over_time", "QUANTILE_OVER_TIME", LP_TOK_RANGE_OP, LP_RANGE_QUANTILE },
	{ "first_over_time", "FIRST_OVER_TIME", LP_TOK_RANGE_OP, LP_RANGE_FIRST }, { "last_over_time", "LAST_OVER_TIME", LP_TOK_RANGE_OP, LP_RANGE_LAST },
	{ "absent_over_time", "ABSENT_OVER_TIME", LP_TOK_RANGE_OP, LP_RANGE_ABSENT },
	{ "sum", "SUM", LP_TOK_VECTOR_OP, LP_VECTOR_SUM }, { "avg", "AVG", LP_TOK_VECTOR_OP, LP_VECTOR_AVG },
	{ "min", "MIN", LP_TOK_VECTOR_OP, LP_VECTOR_MIN }, { "max", "MAX", LP_TOK_VECTOR_OP, LP_VECTOR_MAX },
	{ "count", "COUNT", LP_TOK_VECTOR_OP, LP_VECTOR_COUNT }, { "stddev", "STDDEV", LP_TOK_VECTOR_OP, LP_VECTOR_STDDEV },
	{ "stdvar", "STDVAR", LP_TOK_VECTOR_OP, LP_VECTOR_STDVAR }, { "topk", "TOPK", LP_TOK_VECTOR_OP, LP_VECTOR_TOPK },
	{ "bottomk", "BOTTOMK", LP_TOK_VECTOR_OP, LP_VECTOR_BOTTOMK }, { "approx_topk", "APPROX_TOPK", LP_TOK_VECTOR_OP, LP_VECTOR_APPROX_TOPK },
	{ "sort", "SORT", LP_TOK_VECTOR_OP, LP_VECTOR_SORT }, { "sort_desc", "SORT_DESC", LP_TOK_VECTOR_OP, LP_VECTOR_SORT_DESC },
	{ "bytes", "BYTES_CONV", LP_TOK_CONV_OP, LP_UNWRAP_BYTES }, { "duration", "DURATION_CONV", LP_TOK_CONV_OP, LP_UNWRAP_DURATION },
	{ "duration_seconds", "DURATION_SECONDS_CONV", LP_TOK_CONV_OP, LP_UNWRAP_DURATION_SECONDS },
	{ "vector", "VECTOR", LP_TOK_VECTOR, 0 }, { "label_replace", "LABEL_REPLACE", LP_TOK_LABEL_REPLACE, 0 }, { "ip", "ip", LP_TOK_IP, 0 },
};

void lp_lexer_init(struct lp_lexer *lx, const char *text, size_t len, struct lp_arena *arena, struct lp_buf *error)
{
	memset(lx, 0, sizeof *lx);
	lx->text = text;
	lx->len = len;
	lx->line = lx->col = 1;
	lx->arena = arena;
	lx->error = error;
}

static int peek(const struct lp_lexer *lx, size_t ahead)
{
	return lx->pos + ahead < lx->len ? (unsigned char)lx->text[lx->pos + ahead] : -1;
}

static void fail(struct lp_lexer *lx, const char *text)
{
	if (lx->tok != LP_TOK_ERROR)
		lp_buf_str(lx->error, text);
	lx->tok = LP_TOK_ERROR;
}

/* Step over one character. */
static void step(struct lp_lexer *lx)
{
	unsigned n = lp_utf8_seq((const uint8_t *)lx->text + lx->pos, lx->len - lx->pos);

	if (lx->text[lx->pos] == '\n') {
		lx->line++;
		lx->col = 0;
	}
	lx->col++;
	lx->pos += n ? n : 1;
	if (!n)
		fail(lx, "invalid UTF-8 encoding");
}

static void step_to(struct lp_lexer *lx, size_t pos)
{
	while (lx->pos < pos)
		step(lx);
}

static bool is_digit(int c)
{
	return c >= '0' && c <= '9';
}

static bool is_letter(int c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c >= 0x80;
}

static bool is_space(int c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

/* Blanks and comments: # and // to the end of the line, and C's. */
static void skip_blanks(struct lp_lexer *lx)
{
	for (;;) {
		int c = peek(lx, 0);

		if (c == ' ' || c == '\t' || c == '\n' || c == '\r') {
			step(lx);
		} else if (c == '#' || (c == '/' && peek(lx, 1) == '/')) {
			while (lx->pos < lx->len && lx->text[lx->pos] != '\n')
				step(lx);
		} else if (c == '/' && peek(lx, 1) == '*') {
			lx->tok_line = lx->line;
			lx->tok_col = lx->col;
			step_to(lx, lx->pos + 2);
			while (lx->pos < lx->len && !(lx->text[lx->pos] == '*' && peek(lx, 1) == '/'))
				step(lx);
			if (lx->pos == lx->len) {
				fail(lx, "comment not terminated");
				return;
			}
			step_to(lx, lx->pos + 2);
		} else {
			return;
		}
	}
}

static void set_str(struct lp_lexer *lx, const char *s, size_t n)
{
	lx->str.s = lp_arena_strndup(lx->arena, s, n);
	lx->str.len = (uint32_t)n;
	if (!lx->str.s) {
		lx->no_memory = true;
		fail(lx, "out of memory");
	}
}

static int hex_digit(int c)
{
	return is_digit(c) ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* The digits of an escape; steps over them.  -1: too few. */
static int64_t escape_digits(struct lp_lexer *lx, unsigned n, int base)
{
	int64_t v = 0;

	for (; n; n--) {
		int d = hex_digit(peek(lx, 0));

		if (d < 0 || d >= base)
			return -1;
		v = v * base + d;
		step(lx);
	}
	return v;
}

/* After a backslash.  Writes what it stands for to out (at most 4 bytes) and returns the count; 0 and an error otherwise. */
static unsigned escape(struct lp_lexer *lx, char *out)
{
	static const char simple[] = "a\ab\bf\fn\nr\rt\tv\v\\\\\"\"";
	int c = peek(lx, 0);
	int64_t v;

	for (const char *p = simple; *p; p += 2)
		if (c == *p) {
			step(lx);
			out[0] = p[1];
			return 1;
		}
	if (c >= '0' && c <= '7') {
		v = escape_digits(lx, 3, 8);
	} else if (c == 'x' || c == 'u' || c == 'U') {
		step(lx);
		v = escape_digits(lx, c == 'x' ? 2 : c == 'u' ? 4 : 8, 16);
	} else {
		v = -1;
	}
	if (v < 0) {
		fail(lx, "invalid char escape");
		return 0;
	}
	if (c == 'u' || c == 'U') {
		if (v > 0x10ffff || (v >= 0xd800 && v < 0xe000)) {
			fail(lx, "invalid char escape");
			return 0;
		}
		return lp_utf8_put((uint8_t *)out, (uint32_t)v);
	}
	if (v > 255) {
		fail(lx, "invalid syntax");
		return 0;
	}
	out[0] = (char)v;
	return 1;
}

static void scan_string(struct lp_lexer *lx)
{
	const char *close = memchr(lx->text + lx->pos + 1, '"', lx->len - lx->pos - 1);
	size_t room = 1, n = 0;

	/* Room for the decoded text: find the end first, escapes only shrink. */
	for (size_t i = lx->pos + 1; close && i < lx->len && lx->text[i] != '"' && lx->text[i] != '\n'; i++, room++)
		if (lx->text[i] == '\\' && i + 1 < lx->len) {
			i++;
			room++;
		}
	char *out = lp_arena_alloc(lx->arena, room + 4);

	if (!out) {
		lx->no_memory = true;
		fail(lx, "out of memory");
		return;
	}
	step(lx);
	for (;;) {
		int c = peek(lx, 0);

		if (!close || c < 0 || c == '\n') {
			fail(lx, "literal not terminated");
			return;
		}
		if (c == '"')
			break;
		if (c == '\\') {
			step(lx);
			n += escape(lx, out + n);
		} else {
			size_t from = lx->pos;

			step(lx);
			memcpy(out + n, lx->text + from, lx->pos - from);
			n += lx->pos - from;
		}
		if (lx->tok == LP_TOK_ERROR)
			return;
	}
	step(lx);
	out[n] = '\0';
	lx->str = (struct lp_str){ out, (uint32_t)n };
	lx->tok = LP_TOK_STRING;
	lx->name = "STRING";
}

static void scan_raw_string(struct lp_lexer *lx)
{
	const char *from = lx->text + lx->pos + 1, *close = memchr(from, '`', lx->len - lx->pos - 1);
	char *out = lp_arena_alloc(lx->arena, (close ? (size_t)(close - from) : 0) + 1);
	size_t n = 0;

	if (!close) {
		fail(lx, "literal not terminated");
		return;
	}
	if (!out) {
		lx->no_memory = true;
		fail(lx, "out of memory");
		return;
	}
	for (const char *p = from; p < close; p++)
		if (*p != '\r')
			out[n++] = *p;
	step_to(lx, (size_t)(close + 1 - lx->text));
	if (lx->tok == LP_TOK_ERROR)
		return;
	out[n] = '\0';
	lx->str = (struct lp_str){ out, (uint32_t)n };
	lx->tok = LP_TOK_STRING;
	lx->name = "STRING";
}

/* The longest run from pos of characters that durations (or sizes) are made of. */
static size_t unit_word(const struct lp_lexer *lx, bool bytes)
{
	size_t i = lx->pos;

	while (i < lx->len && i - lx->pos < MAX_UNIT_WORD) {
		unsigned char c = (unsigned char)lx->text[i];

		if (is_digit(c) || c == '.' || (c && strchr(bytes ? "BikKMGTP" : "numshdwy", c)))
			i++;
		else if (!bytes && c == 0xc2 && i + 1 < lx->len && (unsigned char)lx->text[i + 1] == 0xb5)
			i += 2;
		else
			break;
	}
	return i;
}

/* A number (or "-") at [from, lx->pos) may be the beginning of a duration or a size. */
static bool scan_unit(struct lp_lexer *lx, size_t from)
{
	size_t end = unit_word(lx, false);

	if (end > lx->pos && (!lp_units_prom_duration(lx->text + from, end - from, &lx->duration_ns, NULL) ||
			      !lp_units_go_duration(lx->text + from, end - from, &lx->duration_ns, NULL))) {
		lx->tok = LP_TOK_DURATION;
		lx->name = "DURATION";
	} else {
		end = unit_word(lx, true);
		if (end == lx->pos || lp_units_bytes(lx->text + from, end - from, &lx->bytes) < 0)
			return false;
		lx->tok = LP_TOK_BYTES;
		lx->name = "BYTES";
	}
	step_to(lx, end);
	lx->tok_line = 0;
	return true;
}

/* Digits and underscores; *ret_odd: the first digit that the base does not have, as it stands there.  Returns the count of digits. */
static unsigned scan_digits(struct lp_lexer *lx, int base, int *ret_odd)
{
	unsigned n = 0;

	for (;; step(lx)) {
		int c = peek(lx, 0), d = hex_digit(c);

		if (c != '_' && (d < 0 || d >= (base == 16 ? 16 : 10)))
			return n;
		n += c != '_';
		if (c != '_' && d >= base && !*ret_odd)
			*ret_odd = c;
	}
}

static void fail_char(struct lp_lexer *lx, const char *before, int c, const char *behind, const char *what)
{
	char text[96];

	snprintf(text, sizeof text, "%s'%c'%s%s", before, c, behind, what);
	fail(lx, text);
}

/* Each underscore between digits, or behind a prefix. */
static bool underscores_fit(const char *s, size_t n)
{
	bool prefix = n > 1 && s[0] == '0' && ((s[1] | 0x20) == 'x' || (s[1] | 0x20) == 'o' || (s[1] | 0x20) == 'b');
	char before = prefix ? '0' : '.';

	for (size_t i = prefix ? 2 : 0; i < n; i++) {
		bool digit = hex_digit(s[i]) >= 0 && (is_digit(s[i]) || (prefix && (s[1] | 0x20) == 'x'));
		char now = s[i] == '_' ? '_' : digit ? '0' : '.';

		if ((now == '_' && before != '0') || (now == '.' && before == '_'))
			return false;
		before = now;
	}
	return before != '_';
}

/* Go's scanner looks for an exponent behind any number: 1EB and 1PB are none that it takes. */
static void scan_exponent(struct lp_lexer *lx, int base, bool prefix, bool point)
{
	int c = peek(lx, 0), e = c | 0x20, odd = 0;

	if (c < 0 || (e != 'e' && e != 'p')) {
		if (base == 16 && point)
			fail(lx, "hexadecimal mantissa requires a 'p' exponent");
		return;
	}
	if (e == 'e' && prefix)
		fail_char(lx, "", c, " exponent requires decimal mantissa", "");
	else if (e == 'p' && base != 16)
		fail_char(lx, "", c, " exponent requires hexadecimal mantissa", "");
	step(lx);
	if (peek(lx, 0) == '+' || peek(lx, 0) == '-')
		step(lx);
	if (!scan_digits(lx, 10, &odd))
		fail(lx, "exponent has no digits");
}

static void scan_number(struct lp_lexer *lx)
{
	static const char *const kinds[] = { [2] = "binary literal", [8] = "octal literal", [10] = "decimal literal", [16] = "hexadecimal literal" };
	size_t from = lx->pos, mantissa;
	int base = 10, p = peek(lx, 0) == '0' ? peek(lx, 1) | 0x20 : 0, odd = 0;
	bool prefix = p == 'x' || p == 'b' || p == 'o', point;
	unsigned digits;
	char text[64];

	if (prefix) {
		base = p == 'x' ? 16 : p == 'b' ? 2 : 8;
		step_to(lx, lx->pos + 2);
	} else if (peek(lx, 0) == '0') {
		base = 8;
	}
	digits = scan_digits(lx, base, &odd);
	point = peek(lx, 0) == '.';
	if (point) {
		step(lx);
		if (base == 2 || (base == 8 && prefix)) {
			snprintf(text, sizeof text, "invalid radix point in %s", kinds[base]);
			fail(lx, text);
		}
		digits += scan_digits(lx, base, &odd);
	}
	if (!digits) {
		snprintf(text, sizeof text, "%s has no digits", kinds[base]);
		fail(lx, text);
	}
	mantissa = lx->pos;
	scan_exponent(lx, base, prefix, point);
	if (odd && !point && mantissa == lx->pos)
		fail_char(lx, "invalid digit ", odd, " in ", kinds[base]);
	if (!underscores_fit(lx->text + from, lx->pos - from))
		fail(lx, "'_' must separate successive digits");
	if (lx->tok == LP_TOK_ERROR || scan_unit(lx, from))
		return;
	set_str(lx, lx->text + from, lx->pos - from);
	if (lx->tok == LP_TOK_ERROR)
		return;
	lx->tok = LP_TOK_NUMBER;
	lx->name = "NUMBER";
}

/* "[5m]" */
static void scan_range(struct lp_lexer *lx)
{
	const char *from = lx->text + lx->pos + 1, *close = memchr(from, ']', lx->len - lx->pos - 1);

	lx->tok_line = 0;
	if (!close) {
		fail(lx, "missing closing ']' in duration");
		return;
	}
	if (lp_units_prom_duration(from, (size_t)(close - from), &lx->duration_ns, lx->error) < 0) {
		lx->tok = LP_TOK_ERROR;
		return;
	}
	step_to(lx, (size_t)(close + 1 - lx->text));
	lx->tok = LP_TOK_RANGE;
	lx->name = "RANGE";
}

/* Is what follows an argument list, so that the word before it is a function? */
static bool before_arguments(const struct lp_lexer *lx)
{
	size_t i = lx->pos;

	while (i < lx->len && is_space((unsigned char)lx->text[i]))
		i++;
	if (i < lx->len && lx->text[i] == '(')
		return true;
	if (lx->len - i >= 2 && !strncasecmp(lx->text + i, "by", 2))
		i += 2;
	else if (lx->len - i >= 7 && !strncasecmp(lx->text + i, "without", 7))
		i += 7;
	else
		return false;
	while (i < lx->len && is_space((unsigned char)lx->text[i]))
		i++;
	return i < lx->len && lx->text[i] == '(';
}

static void scan_word(struct lp_lexer *lx)
{
	size_t from = lx->pos, n;

	while (is_letter(peek(lx, 0)) || is_digit(peek(lx, 0)))
		step(lx);
	if (lx->tok == LP_TOK_ERROR)
		return;
	n = lx->pos - from;
	for (size_t i = 0; i < sizeof keywords / sizeof keywords[0]; i++)
		if (strlen(keywords[i].text) == n && !strncasecmp(keywords[i].text, lx->text + from, n)) {
			lx->tok = keywords[i].tok;
			lx->name = keywords[i].text;
			return;
		}
	for (size_t i = 0; i < sizeof functions / sizeof functions[0]; i++)
		if (strlen(functions[i].text) == n && !strncasecmp(functions[i].text, lx->text + from, n) && before_arguments(lx)) {
			lx->tok = functions[i].tok;
			lx->name = functions[i].name;
			lx->op = functions[i].op;
			lx->str = (struct lp_str){ functions[i].text, (uint32_t)n };
			return;
		}
	set_str(lx, lx->text + from, n);
	if (lx->tok == LP_TOK_ERROR)
		return;
	lx->tok = LP_TOK_IDENTIFIER;
	lx->name = "IDENTIFIER";
}

/* A character literal, or a character that means nothing: an identifier for the grammar to refuse. */
static void scan_odd(struct lp_lexer *lx)
{
	size_t from = lx->pos;

	if (!lx->text[lx->pos]) {
		fail(lx, "invalid character NUL");
		return;
	}
	if (lx->text[lx->pos] == '\'') {
		fail(lx, memchr(lx->text + lx->pos + 1, '\'', lx->len - lx->pos - 1) ? "invalid char literal" : "literal not terminated");
		return;
	}
	step(lx);
	set_str(lx, lx->text + from, lx->pos - from);
	if (lx->tok == LP_TOK_ERROR)
		return;
	lx->tok = LP_TOK_IDENTIFIER;
	lx->name = "IDENTIFIER";
}

static bool scan_flag(struct lp_lexer *lx)
{
	static const char *const flags[] = { "--strict", "--keep-empty" };
	size_t n = 0;

	while (n < 32 && (peek(lx, n) == '-' || (peek(lx, n) >= 0 && is_letter(peek(lx, n)) && peek(lx, n) != '_')))
		n++;
	for (size_t i = 0; i < 2; i++)
		if (strlen(flags[i]) == n && !memcmp(flags[i], lx->text + lx->pos, n)) {
			step_to(lx, lx->pos + n);
			lx->str = (struct lp_str){ flags[i], (uint32_t)n };
			lx->tok = LP_TOK_FLAG;
			lx->name = "FUNCTION_FLAG";
			lx->tok_line = 0;
			return true;
		}
	return false;
}

static void scan_operator(struct lp_lexer *lx)
{
	for (size_t i = 0; i < sizeof operators / sizeof operators[0]; i++) {
		size_t n = strlen(operators[i].text);

		if (lx->len - lx->pos < n || memcmp(operators[i].text, lx->text + lx->pos, n))
			continue;
		step_to(lx, lx->pos + n);
		lx->tok = operators[i].tok;
		lx->name = operators[i].text;
		if (n == 2)
			lx->tok_line = 0;
		return;
	}
	scan_odd(lx);
}

void lp_lexer_next(struct lp_lexer *lx)
{
	if (lx->tok == LP_TOK_ERROR)
		return;
	skip_blanks(lx);
	if (lx->tok == LP_TOK_ERROR)
		return;
	lx->tok_line = lx->line;
	lx->tok_col = lx->col;
	lx->tok = LP_TOK_END;
	int c = peek(lx, 0);

	if (c < 0)
		lx->name = "$end";
	else if (is_digit(c) || (c == '.' && is_digit(peek(lx, 1))))
		scan_number(lx);
	else if (is_letter(c))
		scan_word(lx);
	else if (c == '"')
		scan_string(lx);
	else if (c == '`')
		scan_raw_string(lx);
	else if (c == '[')
		scan_range(lx);
	else if (c == '-' && peek(lx, 1) == '-' && scan_flag(lx))
		return;
	else if (c == '-') {
		size_t from = lx->pos;

		step(lx);
		if (!scan_unit(lx, from)) {
			lx->tok = LP_TOK_SUB;
			lx->name = "-";
		}
	} else {
		scan_operator(lx);
	}
}
