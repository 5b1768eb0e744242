/* Templates: from text to tokens, by the rules of Go's text/template: what ends a word, what a trim marker is, and in which words a
 * mistake is told.
 *
 * Guarantees: each byte is read a bounded number of times; tokens borrow the text.  Query threads and tools; nothing is lost if the
 * process dies here. */
#include "query/pipeline/template-private.h"

#include "common/unicode.h"
#include "common/utf8.h"
#include "query/logql/units.h"

#include <string.h>

static const struct {
	const char *word;
	enum lp_ttok tok;
} keywords[] = {
	{ "block", LP_TTOK_BLOCK }, { "break", LP_TTOK_BREAK }, { "continue", LP_TTOK_CONTINUE }, { "define", LP_TTOK_DEFINE }, { "else", LP_TTOK_ELSE },
	{ "end", LP_TTOK_END }, { "if", LP_TTOK_IF }, { "nil", LP_TTOK_NIL }, { "range", LP_TTOK_RANGE }, { "template", LP_TTOK_TEMPLATE },
	{ "with", LP_TTOK_WITH },
};

static bool blank(int c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static int peek(const struct lp_tlex *lx, size_t ahead)
{
	return (size_t)(lx->end - lx->p) > ahead ? (unsigned char)lx->p[ahead] : -1;
}

static unsigned rune_len(const struct lp_tlex *lx)
{
	unsigned n = lp_utf8_seq((const uint8_t *)lx->p, (size_t)(lx->end - lx->p));

	return n ? n : lx->p < lx->end;
}

/* A letter, a digit or an underscore: its length, or 0. */
static unsigned word_len(const struct lp_tlex *lx)
{
	int c = peek(lx, 0);

	if (c < 0x80)
		return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
	unsigned n = lp_utf8_seq((const uint8_t *)lx->p, (size_t)(lx->end - lx->p));

	return n && lp_unicode_word(lp_utf8_get((const uint8_t *)lx->p, n)) ? n : 0;
}

static void skip(struct lp_tlex *lx, size_t n)
{
	for (; n && lx->p < lx->end; n--)
		lx->line += *lx->p++ == '\n';
}

static struct lp_ttoken token(struct lp_tlex *lx, enum lp_ttok tok, const char *from)
{
	return (struct lp_ttoken){ tok, from, (uint32_t)(lx->p - from), lx->start_line };
}

static struct lp_ttoken fail(struct lp_tlex *lx, const char *why)
{
	size_t n = strlen(why);

	lx->p = lx->end;
	lx->in_action = false;
	memcpy(lx->error, why, n < sizeof lx->error ? n : sizeof lx->error);
	return (struct lp_ttoken){ LP_TTOK_ERROR, lx->error, (uint32_t)n, lx->start_line };
}

/* why "quoted text": `bad number syntax: "1x"`. */
static struct lp_ttoken fail_about(struct lp_tlex *lx, const char *why, const char *from)
{
	struct lp_buf text = { .max = sizeof lx->error - 1 };
	struct lp_ttoken tok;

	lp_buf_str(&text, why);
	lp_units_print_quoted(&text, from, (size_t)(lx->p - from));
	tok = fail(lx, lp_buf_cstr(&text));
	lp_buf_free(&text);
	return tok;
}

/* Go's %#U: U+007D '}' */
static struct lp_ttoken fail_char(struct lp_tlex *lx, const char *why)
{
	struct lp_buf text = { .max = sizeof lx->error - 1 };
	unsigned n = lp_utf8_seq((const uint8_t *)lx->p, (size_t)(lx->end - lx->p));
	uint32_t cp = n ? lp_utf8_get((const uint8_t *)lx->p, n) : 0xfffd;
	struct lp_ttoken tok;

	lp_buf_printf(&text, "%s U+%04X", why, cp);
	if (lp_units_printable(cp)) {
		lp_buf_str(&text, " '");
		lp_buf_append(&text, n ? lx->p : "\xef\xbf\xbd", n ? n : 3);
		lp_buf_byte(&text, '\'');
	}
	tok = fail(lx, lp_buf_cstr(&text));
	lp_buf_free(&text);
	return tok;
}

static bool at(const struct lp_tlex *lx, size_t ahead, const char *what)
{
	size_t n = strlen(what);

	return (size_t)(lx->end - lx->p) >= ahead + n && !memcmp(lx->p + ahead, what, n);
}

/* Length of "}}", or of " -}}", or 0. */
static unsigned closing(const struct lp_tlex *lx)
{
	if (blank(peek(lx, 0)) && peek(lx, 1) == '-' && at(lx, 2, "}}"))
		return 4;
	return at(lx, 0, "}}") ? 2 : 0;
}

static void close_action(struct lp_tlex *lx, unsigned n)
{
	skip(lx, n);
	while (n == 4 && blank(peek(lx, 0)))
		skip(lx, 1);
}

static bool ends_word(const struct lp_tlex *lx)
{
	int c = peek(lx, 0);

	return c < 0 || blank(c) || (c && strchr(".,|:)(", c)) || at(lx, 0, "}}");
}

/* ---- inside an action ----------------------------------------------------------------------------- */

static struct lp_ttoken lex_word(struct lp_tlex *lx)
{
	const char *from = lx->p;
	enum lp_ttok tok = LP_TTOK_IDENTIFIER;
	unsigned n;

	while ((n = word_len(lx)))
		lx->p += n;
	if (!ends_word(lx))
		return fail_char(lx, "bad character");
	size_t len = (size_t)(lx->p - from);

	for (size_t i = 0; i < sizeof keywords / sizeof keywords[0]; i++)
		if (strlen(keywords[i].word) == len && !memcmp(keywords[i].word, from, len))
			tok = keywords[i].tok;
	if ((len == 4 && !memcmp(from, "true", 4)) || (len == 5 && !memcmp(from, "false", 5)))
		tok = LP_TTOK_BOOL;
	return token(lx, tok, from);
}

/* ".name", "$name", or the sign alone. */
static struct lp_ttoken lex_name(struct lp_tlex *lx)
{
	const char *from = lx->p++;
	bool variable = *from == '$';
	unsigned n;

	if (ends_word(lx))
		return token(lx, variable ? LP_TTOK_VARIABLE : LP_TTOK_DOT, from);
	while ((n = word_len(lx)))
		lx->p += n;
	if (!ends_word(lx))
		return fail_char(lx, "bad character");
	return token(lx, variable ? LP_TTOK_VARIABLE : LP_TTOK_FIELD, from);
}

static struct lp_ttoken lex_quoted(struct lp_tlex *lx)
{
	const char *from = lx->p;
	char quote = *from;

	skip(lx, 1);
	while (peek(lx, 0) != quote) {
		bool escape = peek(lx, 0) == '\\' && quote != '`';

		if (escape)
			skip(lx, 1);
		if (peek(lx, 0) < 0 || (peek(lx, 0) == '\n' && quote != '`'))
			return fail(lx, quote == '`' ? "unterminated raw quoted string" : quote == '"' ? "unterminated quoted string"
												      : "unterminated character constant");
		skip(lx, 1);
	}
	skip(lx, 1);
	return token(lx, quote == '`' ? LP_TTOK_RAW_STRING : quote == '"' ? LP_TTOK_STRING : LP_TTOK_CHAR_CONST, from);
}

static void take_run(struct lp_tlex *lx, const char *set)
{
	while (peek(lx, 0) > 0 && strchr(set, peek(lx, 0)))
		lx->p++;
}

static bool take_one(struct lp_tlex *lx, const char *set)
{
	bool taken = peek(lx, 0) > 0 && strchr(set, peek(lx, 0));

	lx->p += taken;
	return taken;
}

/* False: what stands there is no number. */
static bool scan_number(struct lp_tlex *lx)
{
	const char *digits = "0123456789_";
	bool hex = false, decimal = true;

	take_one(lx, "+-");
	if (take_one(lx, "0")) {
		decimal = true;
		if (take_one(lx, "xX")) {
			digits = "0123456789abcdefABCDEF_";
			hex = true;
			decimal = false;
		} else if (take_one(lx, "oO")) {
			digits = "01234567_";
			decimal = false;
		} else if (take_one(lx, "bB")) {
			digits = "01_";
			decimal = false;
		}
	}
	take_run(lx, digits);
	if (take_one(lx, "."))
		take_run(lx, digits);
	if ((decimal && take_one(lx, "eE")) || (hex && take_one(lx, "pP"))) {
		take_one(lx, "+-");
		take_run(lx, "0123456789_");
	}
	take_one(lx, "i");
	if (!word_len(lx))
		return true;
	lx->p += rune_len(lx);
	return false;
}

static struct lp_ttoken lex_number(struct lp_tlex *lx)
{
	const char *from = lx->p;

	if (!scan_number(lx))
		return fail_about(lx, "bad number syntax: ", from);
	if ((peek(lx, 0) == '+' || peek(lx, 0) == '-') && (!scan_number(lx) || lx->p[-1] != 'i'))
		return fail_about(lx, "bad number syntax: ", from);
	return token(lx, LP_TTOK_NUMBER, from);
}

static struct lp_ttoken lex_space(struct lp_tlex *lx)
{
	const char *from = lx->p;

	while (blank(peek(lx, 0)) && closing(lx) != 4)
		skip(lx, 1);
	return token(lx, LP_TTOK_SPACE, from);
}

static struct lp_ttoken lex_sign(struct lp_tlex *lx)
{
	const char *from = lx->p;
	int c = peek(lx, 0);

	if (c == ':' && peek(lx, 1) != '=') {
		lx->p++;
		return fail(lx, "expected :=");
	}
	if (c == ')' && !lx->parens)
		return fail(lx, "unexpected right paren");
	if (c < 0x20 || c > 0x7e)
		return fail_char(lx, "unrecognized character in action:");
	lx->parens += c == '(';
	lx->parens -= c == ')';
	lx->p += c == ':' ? 2 : 1;
	return token(lx, c == '=' ? LP_TTOK_ASSIGN : c == ':' ? LP_TTOK_DECLARE : c == '|' ? LP_TTOK_PIPE : c == '(' ? LP_TTOK_LEFT_PAREN
			: c == ')' ? LP_TTOK_RIGHT_PAREN : LP_TTOK_CHAR, from);
}

static struct lp_ttoken lex_action(struct lp_tlex *lx)
{
	unsigned n = closing(lx);
	int c = peek(lx, 0);

	if (n) {
		struct lp_ttoken tok = { LP_TTOK_RIGHT_DELIM, "}}", 2, lx->start_line };

		if (lx->parens)
			return fail(lx, "unclosed left paren");
		close_action(lx, n);
		lx->in_action = false;
		return tok;
	}
	if (c < 0)
		return fail(lx, "unclosed action");
	if (blank(c))
		return lex_space(lx);
	if (c == '"' || c == '`' || c == '\'')
		return lex_quoted(lx);
	if (c == '$' || (c == '.' && !(peek(lx, 1) >= '0' && peek(lx, 1) <= '9')))
		return lex_name(lx);
	if (c == '+' || c == '-' || c == '.' || (c >= '0' && c <= '9'))
		return lex_number(lx);
	return word_len(lx) ? lex_word(lx) : lex_sign(lx);
}

/* ---- between actions ------------------------------------------------------------------------------ */

/* At "{{/" followed by "*": behind the comment.  False: *ret_tok tells why not. */
static bool skip_comment(struct lp_tlex *lx, unsigned marker, struct lp_ttoken *ret_tok)
{
	const char *close;
	unsigned n;

	skip(lx, 2 + marker);
	lx->start_line = lx->line;
	close = memmem(lx->p + 2, (size_t)(lx->end - lx->p) - 2, "*/", 2);
	if (!close) {
		*ret_tok = fail(lx, "unclosed comment");
		return false;
	}
	skip(lx, (size_t)(close + 2 - lx->p));
	n = closing(lx);
	if (!n) {
		*ret_tok = fail(lx, "comment ends before closing delimiter");
		return false;
	}
	close_action(lx, n);
	return true;
}

struct lp_ttoken lp_tlex_next(struct lp_tlex *lx)
{
	lx->start_line = lx->line;
	if (lx->in_action)
		return lex_action(lx);
	for (;;) {
		const char *from = lx->p, *open = memmem(from, (size_t)(lx->end - from), "{{", 2), *to = open ? open : lx->end;
		struct lp_ttoken tok = { LP_TTOK_EOF, from, 0, lx->line };
		unsigned marker = open && lx->end - open >= 4 && open[2] == '-' && blank((unsigned char)open[3]) ? 2 : 0;

		if (to > from) {
			skip(lx, (size_t)(to - from));
			while (marker && to > from && blank((unsigned char)to[-1]))
				to--;
			if (to > from)
				return (struct lp_ttoken){ LP_TTOK_TEXT, from, (uint32_t)(to - from), tok.line };
		}
		if (!open)
			return tok;
		lx->start_line = lx->line;
		if (at(lx, 2 + marker, "/*")) {
			if (!skip_comment(lx, marker, &tok))
				return tok;
			continue;
		}
		tok = (struct lp_ttoken){ LP_TTOK_LEFT_DELIM, "{{", 2, lx->line };
		skip(lx, 2 + marker);
		lx->in_action = true;
		lx->parens = 0;
		return tok;
	}
}
