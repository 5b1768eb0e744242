/* Templates: printf, as Go's package fmt does it: verbs, flags, widths and precisions from arguments, argument indexes, and what it prints
 * for verbs and arguments that do not fit.
 *
 * Guarantees: bounded by the output buffer; widths and precisions are at most MAX_NUMBER.  Query threads. */
#include "query/pipeline/template-private.h"

#include "common/utf8.h"
#include "query/logql/units.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_NUMBER 10000        /* of a width or a precision; Go's is a million */

struct verb {
	uint32_t c;
	bool minus, plus, sharp, space, zero, sharp_v, has_width, has_prec;
	int width, prec;
};

struct printer {
	struct lp_trun *run;
	struct lp_buf out;
	const char *p, *end;            /* the format */
	const struct lp_tv *args;
	uint32_t n_args, next;
	bool good_index, reordered;
};

static bool is(const struct verb *f, const char *set)
{
	return f->c && f->c < 0x80 && strchr(set, (int)f->c);
}

static void put_rune(struct lp_buf *out, uint32_t cp)
{
	uint8_t bytes[4];

	lp_buf_append(out, bytes, lp_utf8_put(bytes, cp));
}

static size_t runes(const char *s, size_t n)
{
	size_t count = 0;

	for (size_t i = 0; i < n; count++) {
		unsigned len = lp_utf8_seq((const uint8_t *)s + i, n - i);

		i += len ? len : 1;
	}
	return count;
}

static void fill(struct lp_buf *out, const struct verb *f, int n)
{
	for (; n > 0 && !out->failed; n--)
		lp_buf_byte(out, f->zero && !f->minus ? '0' : ' ');
}

static void padded(struct lp_buf *out, const struct verb *f, const char *s, size_t n)
{
	size_t have = f->has_width ? runes(s, n) : 0;
	int pad = f->has_width && (size_t)f->width > have ? f->width - (int)have : 0;

	if (!f->minus)
		fill(out, f, pad);
	lp_buf_append(out, s, n);
	if (f->minus)
		fill(out, f, pad);
}

static void print_value(struct printer *pr, const struct verb *f, const struct lp_tv *v);

static void bad_verb(struct printer *pr, const struct verb *f, const struct lp_tv *v)
{
	struct verb plain = *f;

	lp_buf_str(&pr->out, "%!");
	put_rune(&pr->out, f->c);
	lp_buf_byte(&pr->out, '(');
	if (v->kind == LP_TV_NIL) {
		lp_buf_str(&pr->out, "<nil>");
	} else {
		plain.c = 'v';
		lp_buf_printf(&pr->out, "%s=", lp_tv_type(v));
		print_value(pr, &plain, v);
	}
	lp_buf_byte(&pr->out, ')');
}

/* ---- integers ------------------------------------------------------------------------------------- */

static void print_character(struct printer *pr, const struct verb *f, int64_t i)
{
	struct lp_buf text = { .max = 512 };
	struct verb blanks = *f;
	uint32_t cp = i < 0 || i > 0x10ffff || (i >= 0xd800 && i < 0xe000) ? 0xfffd : (uint32_t)i;

	if (f->c == 'U') {
		lp_buf_printf(&text, "U+%0*llX", f->has_prec && f->prec > 4 && f->prec < 64 ? f->prec : 4, (unsigned long long)(uint64_t)i);
		if (f->sharp && i >= 0 && i <= 0x10ffff && lp_units_printable((uint32_t)i)) {
			lp_buf_str(&text, " '");
			put_rune(&text, (uint32_t)i);
			lp_buf_byte(&text, '\'');
		}
		blanks.zero = false;
	} else if (f->c == 'q') {
		lp_units_print_quoted_rune(&text, cp, f->plus);
	} else {
		put_rune(&text, cp);
	}
	padded(&pr->out, &blanks, lp_buf_cstr(&text), text.len);
	lp_buf_free(&text);
}

static void print_digits(struct printer *pr, const struct verb *f, const struct lp_tv *v)
{
	uint64_t u = v->i < 0 ? 0 - (uint64_t)v->i : (uint64_t)v->i;
	unsigned base = f->c == 'b' ? 2 : is(f, "oO") ? 8 : is(f, "xX") || (f->sharp_v && v->type == LP_TVT_UINT8) ? 16 : 10;
	const char *set = f->c == 'X' ? "0123456789ABCDEF" : "0123456789abcdef";
	char digits[72], *p = digits + sizeof digits;
	struct lp_buf text = { .max = 2 * MAX_NUMBER };
	struct verb blanks = *f;
	bool sign = v->i < 0 || f->plus || f->space;
	int min = f->has_prec ? f->prec : f->zero && !f->minus && f->has_width ? f->width - sign : 0;

	blanks.zero = false;
	if (f->has_prec && !f->prec && !u) {
		fill(&pr->out, &blanks, f->has_width ? f->width : 0);
		return;
	}
	do {
		*--p = set[u % base];
		u /= base;
	} while (u);
	int have = (int)(digits + sizeof digits - p);

	if (sign)
		lp_buf_byte(&text, v->i < 0 ? '-' : f->plus ? '+' : ' ');
	if (f->c == 'O')
		lp_buf_str(&text, "0o");
	if (f->sharp && base == 2)
		lp_buf_str(&text, "0b");
	if ((f->sharp || f->sharp_v) && base == 16)
		lp_buf_str(&text, f->c == 'X' ? "0X" : "0x");
	if (f->sharp && base == 8 && have >= min && *p != '0')
		lp_buf_byte(&text, '0');
	for (int i = have; i < min; i++)
		lp_buf_byte(&text, '0');
	lp_buf_append(&text, p, (size_t)have);
	padded(&pr->out, &blanks, lp_buf_cstr(&text), text.len);
	lp_buf_free(&text);
}

/* ---- floats --------------------------------------------------------------------------------------- */

/* Go writes at least two digits of the exponent. */
static void put_hex_float(struct lp_buf *text, const struct verb *f, double v)
{
	char number[512], *p;

	if (f->has_prec)
		snprintf(number, sizeof number, f->c == 'X' ? "%.*A" : "%.*a", f->prec < 400 ? f->prec : 400, v);
	else
		snprintf(number, sizeof number, f->c == 'X' ? "%A" : "%a", v);
	p = strpbrk(number, "pP");
	if (p && strlen(p + 2) == 1) {
		lp_buf_append(text, number, (size_t)(p + 2 - number));
		lp_buf_byte(text, '0');
		lp_buf_str(text, p + 2);
	} else {
		lp_buf_str(text, number);
	}
}

static void put_number(struct lp_buf *text, const struct verb *f, double v)
{
	char c = f->c == 'v' ? 'g' : f->c == 'F' ? 'f' : (char)f->c, format[8];
	bool general = (c | 0x20) == 'g';
	char *number = NULL;

	if (c == 'x' || c == 'X') {
		put_hex_float(text, f, v);
	} else if (general && !f->has_prec && !f->sharp) {
		size_t from = text->len;

		lp_units_print_float(text, v);
		for (size_t i = from; c == 'G' && i < text->len; i++)
			text->data[i] = text->data[i] == 'e' ? 'E' : text->data[i];
	} else {
		snprintf(format, sizeof format, f->sharp ? "%%#.*%c" : "%%.*%c", c);
		/* The format is made of a verb that was checked. */
		#pragma GCC diagnostic push
		#pragma GCC diagnostic ignored "-Wformat-nonliteral"
		if (asprintf(&number, format, f->has_prec ? f->prec : 6, v) >= 0)
			lp_buf_str(text, number);
		#pragma GCC diagnostic pop
		free(number);
	}
}

static void print_real(struct printer *pr, const struct verb *f, const struct lp_tv *v)
{
	struct lp_buf text = { .max = 2 * MAX_NUMBER };
	struct verb g = *f;
	const char *s;
	bool odd = isnan(v->f) || isinf(v->f), sign = isnan(v->f) ? false : signbit(v->f);

	if (!is(f, "veEfFgGxX")) {
		bad_verb(pr, f, v);
		return;
	}
	if (sign || f->plus || f->space)
		lp_buf_byte(&text, sign ? '-' : f->plus ? '+' : ' ');
	else if (isinf(v->f))
		lp_buf_byte(&text, '+');
	bool signed_text = text.len != 0;

	if (odd)
		lp_buf_str(&text, isnan(v->f) ? "NaN" : "Inf");
	else
		put_number(&text, f, fabs(v->f));
	s = lp_buf_cstr(&text);
	if (odd)
		g.zero = false;
	if (g.zero && !g.minus && signed_text && g.has_width && (size_t)g.width > text.len) {
		lp_buf_byte(&pr->out, (uint8_t)*s);
		fill(&pr->out, &g, g.width - (int)text.len);
		lp_buf_append(&pr->out, s + 1, text.len - 1);
	} else {
		padded(&pr->out, &g, s, text.len);
	}
	lp_buf_free(&text);
}

/* ---- text ----------------------------------------------------------------------------------------- */

static size_t cut_runes(const char *s, size_t n, size_t max)
{
	size_t i = 0;

	for (; i < n && max; max--) {
		unsigned len = lp_utf8_seq((const uint8_t *)s + i, n - i);

		i += len ? len : 1;
	}
	return i;
}

static void print_hex(struct printer *pr, const struct verb *f, const char *s, size_t n)
{
	size_t len = f->has_prec && (size_t)f->prec < n ? (size_t)f->prec : n;
	size_t width = !len ? 0 : f->space ? (f->sharp ? 4 : 2) * len + len - 1 : 2 * len + (f->sharp ? 2 : 0);
	int pad = f->has_width && (size_t)f->width > width ? f->width - (int)width : 0;

	if (!f->minus || !len)
		fill(&pr->out, f, pad);
	for (size_t i = 0; i < len; i++) {
		if (f->space && i)
			lp_buf_byte(&pr->out, ' ');
		if (f->sharp && (f->space || !i))
			lp_buf_str(&pr->out, f->c == 'X' ? "0X" : "0x");
		lp_buf_printf(&pr->out, f->c == 'X' ? "%02X" : "%02x", (unsigned char)s[i]);
	}
	if (f->minus && len)
		fill(&pr->out, f, pad);
}

static bool can_backquote(const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (((unsigned char)s[i] < ' ' && s[i] != '\t') || s[i] == '`' || s[i] == 0x7f)
			return false;
	return lp_utf8_valid(s, n) && !memmem(s, n, "\xef\xbb\xbf", 3);
}

static void print_quoted(struct printer *pr, const struct verb *f, const char *s, size_t n)
{
	struct lp_buf text = { .max = LP_PIPELINE_MAX_OUTPUT };

	if (f->sharp && can_backquote(s, n)) {
		lp_buf_byte(&text, '`');
		lp_buf_append(&text, s, n);
		lp_buf_byte(&text, '`');
	} else if (f->plus) {
		lp_units_print_quoted_ascii(&text, s, n);
	} else {
		lp_units_print_quoted(&text, s, n);
	}
	padded(&pr->out, f, lp_buf_cstr(&text), text.len);
	lp_buf_free(&text);
}

static void print_text(struct printer *pr, const struct verb *f, const struct lp_tv *v)
{
	const char *s = v->str.s;
	size_t n = v->str.n;

	if (is(f, "xX")) {
		print_hex(pr, f, s, n);
		return;
	}
	if (f->has_prec)
		n = cut_runes(s, n, (size_t)f->prec);
	if (f->c == 'q' || (f->c == 'v' && f->sharp_v))
		print_quoted(pr, f, s, n);
	else if (is(f, "sv"))
		padded(&pr->out, f, s, n);
	else
		bad_verb(pr, f, v);
}

/* ---- values --------------------------------------------------------------------------------------- */

/* Lists and maps: the verb is for their elements. */
static void print_items(struct printer *pr, const struct verb *f, const struct lp_tv *v)
{
	bool map = v->kind == LP_TV_MAP;

	lp_buf_str(&pr->out, f->sharp_v ? lp_tv_type(v) : map ? "map" : "");
	lp_buf_byte(&pr->out, f->sharp_v ? '{' : '[');
	for (uint32_t i = 0; i < v->list.n && !pr->out.failed; i++) {
		const struct lp_tv *item = &v->list.items[i];

		if (i)
			lp_buf_str(&pr->out, f->sharp_v ? ", " : " ");
		if (map) {
			struct lp_tv key = { .kind = LP_TV_STRING, .str = { v->list.keys[i].s, v->list.keys[i].len } };

			print_text(pr, f, &key);
			lp_buf_byte(&pr->out, ':');
		}
		if (item->kind == LP_TV_NIL)
			lp_buf_str(&pr->out, f->sharp_v ? "interface {}(nil)" : "<nil>");
		else
			print_value(pr, f, item);
	}
	lp_buf_byte(&pr->out, f->sharp_v ? '}' : ']');
}

/* Times, months, spans: their text, for verbs of text. */
static bool print_stringer(struct printer *pr, const struct verb *f, const struct lp_tv *v)
{
	struct lp_tv text = { .kind = LP_TV_STRING };
	struct lp_buf buf = { .max = 256 };

	if (!is(f, "vsxXq") || f->sharp_v)
		return false;
	if (v->kind == LP_TV_TIME) {
		lp_ttime_print(&buf, v);
	} else if (!lp_tint_print(&buf, v)) {
		return false;
	}
	text.str.s = lp_buf_cstr(&buf);
	text.str.n = buf.len;
	print_text(pr, f, &text);
	lp_buf_free(&buf);
	return true;
}

static void print_value(struct printer *pr, const struct verb *f, const struct lp_tv *v)
{
	struct lp_tv labels;

	switch (v->kind) {
	case LP_TV_NIL:
		if (f->c == 'v')
			padded(&pr->out, f, "<nil>", 5);
		else
			bad_verb(pr, f, v);
		return;
	case LP_TV_BOOL:
		if (is(f, "tv"))
			padded(&pr->out, f, v->b ? "true" : "false", v->b ? 4 : 5);
		else
			bad_verb(pr, f, v);
		return;
	case LP_TV_STRING: print_text(pr, f, v); return;
	case LP_TV_FLOAT: print_real(pr, f, v); return;
	case LP_TV_INT:
		if (print_stringer(pr, f, v))
			return;
		if (is(f, "cqU"))
			print_character(pr, f, v->i);
		else if (is(f, "dvboOxX"))
			print_digits(pr, f, v);
		else
			bad_verb(pr, f, v);
		return;
	case LP_TV_TIME:
		if (!print_stringer(pr, f, v))
			bad_verb(pr, f, v);
		return;
	case LP_TV_LIST: case LP_TV_MAP: print_items(pr, f, v); return;
	case LP_TV_DATA:
		labels = lp_tdata_map(pr->run);
		print_items(pr, f, &labels);
		return;
	}
}

static void print_arg(struct printer *pr, struct verb *f)
{
	const struct lp_tv *v = &pr->args[pr->next++];
	struct lp_tv type = { .kind = LP_TV_STRING };

	if (f->c == 'v') {
		f->sharp_v = f->sharp;
		f->sharp = f->plus = false;
	}
	if (f->c == 'T') {
		type.str.s = lp_tv_type(v);
		type.str.n = strlen(type.str.s);
		f->c = 's';
		v = &type;
	}
	print_value(pr, f, v);
}

/* ---- the format ----------------------------------------------------------------------------------- */

static bool take_number(struct printer *pr, int *ret)
{
	const char *from = pr->p;
	int v = 0;

	for (; pr->p < pr->end && *pr->p >= '0' && *pr->p <= '9'; pr->p++)
		v = v > MAX_NUMBER ? v : v * 10 + (*pr->p - '0');
	*ret = v > MAX_NUMBER ? MAX_NUMBER : v;
	return pr->p != from;
}

/* "[2]": the argument that comes next.  True: there was one, and it was well formed. */
static bool take_index(struct printer *pr)
{
	const char *close = memchr(pr->p, ']', (size_t)(pr->end - pr->p));
	int index = 0;

	if (pr->p == pr->end || *pr->p != '[')
		return false;
	pr->reordered = true;
	pr->p++;
	if (!close) {
		pr->good_index = false;
		return false;
	}
	bool number = take_number(pr, &index) && pr->p == close;

	pr->p = close + 1;
	if (number && index >= 1 && (uint32_t)index <= pr->n_args)
		pr->next = (uint32_t)index - 1;
	else
		pr->good_index = false;
	return number;
}

/* "*": a width or a precision from the arguments. */
static bool take_star(struct printer *pr, int *ret)
{
	const struct lp_tv *v;

	pr->p++;
	*ret = 0;
	if (pr->next >= pr->n_args)
		return false;
	v = &pr->args[pr->next++];
	if (v->kind != LP_TV_INT || v->i > MAX_NUMBER || v->i < -MAX_NUMBER)
		return false;
	*ret = (int)v->i;
	return true;
}

static void take_flags(struct printer *pr, struct verb *f)
{
	for (; pr->p < pr->end && *pr->p && strchr("-+# 0", *pr->p); pr->p++) {
		f->minus |= *pr->p == '-';
		f->plus |= *pr->p == '+';
		f->sharp |= *pr->p == '#';
		f->space |= *pr->p == ' ';
		f->zero |= *pr->p == '0';
	}
}

static bool take_width(struct printer *pr, struct verb *f, bool after_index)
{
	if (pr->p == pr->end || *pr->p != '*') {
		f->has_width = take_number(pr, &f->width);
		if (after_index && f->has_width)
			pr->good_index = false;
		return after_index;
	}
	f->has_width = take_star(pr, &f->width);
	if (!f->has_width)
		lp_buf_str(&pr->out, "%!(BADWIDTH)");
	if (f->width < 0) {
		f->width = -f->width;
		f->minus = true;
		f->zero = false;
	}
	return false;
}

static bool take_precision(struct printer *pr, struct verb *f, bool after_index)
{
	if (pr->p == pr->end || *pr->p != '.')
		return after_index;
	pr->p++;
	if (after_index)
		pr->good_index = false;
	after_index = take_index(pr);
	if (pr->p == pr->end || *pr->p != '*') {
		(void)take_number(pr, &f->prec);
		f->has_prec = true;
		return after_index;
	}
	f->has_prec = take_star(pr, &f->prec) && f->prec >= 0;
	if (!f->has_prec) {
		f->prec = 0;
		lp_buf_str(&pr->out, "%!(BADPREC)");
	}
	return false;
}

static void print_directive(struct printer *pr)
{
	struct verb f = { 0 };
	bool after_index;
	unsigned n;

	pr->good_index = true;
	take_flags(pr, &f);
	after_index = take_index(pr);
	after_index = take_width(pr, &f, after_index);
	after_index = take_precision(pr, &f, after_index);
	if (!after_index)
		(void)take_index(pr);
	if (pr->p == pr->end) {
		lp_buf_str(&pr->out, "%!(NOVERB)");
		return;
	}
	n = lp_utf8_seq((const uint8_t *)pr->p, (size_t)(pr->end - pr->p));
	f.c = n ? lp_utf8_get((const uint8_t *)pr->p, n) : 0xfffd;
	pr->p += n ? n : 1;
	if (f.c == '%') {
		lp_buf_byte(&pr->out, '%');
	} else if (!pr->good_index || pr->next >= pr->n_args) {
		lp_buf_str(&pr->out, "%!");
		put_rune(&pr->out, f.c);
		lp_buf_str(&pr->out, pr->good_index ? "(MISSING)" : "(BADINDEX)");
	} else {
		print_arg(pr, &f);
	}
}

struct lp_tv lp_tv_printf(struct lp_trun *run, const struct lp_tv *args, uint32_t n)
{
	struct printer pr = { .run = run, .out = { .max = LP_PIPELINE_MAX_OUTPUT }, .p = args[0].str.s, .args = args + 1, .n_args = n - 1 };
	const struct verb plain = { .c = 'v' };

	for (pr.end = pr.p + args[0].str.n; pr.p < pr.end && !pr.out.failed;) {
		const char *percent = memchr(pr.p, '%', (size_t)(pr.end - pr.p)), *to = percent ? percent : pr.end;

		lp_buf_append(&pr.out, pr.p, (size_t)(to - pr.p));
		pr.p = to;
		if (!percent)
			break;
		pr.p++;
		print_directive(&pr);
	}
	if (!pr.reordered && pr.next < pr.n_args) {
		lp_buf_str(&pr.out, "%!(EXTRA ");
		for (uint32_t i = pr.next; i < pr.n_args; i++) {
			const struct lp_tv *v = &pr.args[i];

			lp_buf_str(&pr.out, i > pr.next ? ", " : "");
			if (v->kind != LP_TV_NIL)
				lp_buf_printf(&pr.out, "%s=", lp_tv_type(v));
			print_value(&pr, &plain, v);
		}
		lp_buf_byte(&pr.out, ')');
	}
	return lp_tv_take(run, &pr.out);
}
