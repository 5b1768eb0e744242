/* Templates: values as text, in the manner of Go's fmt, and JSON as values.
 *
 * Guarantees: bounded by the output buffer and by LP_JSON_MAX_DEPTH.  Query threads. */
#include "query/pipeline/template-private.h"

#include "common/utf8.h"
#include "query/logql/units.h"
#include "query/pipeline/jsonscan.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct lp_tv lp_tv_str(struct lp_trun *run, const char *s, size_t n)
{
	struct lp_tv v = { .kind = LP_TV_STRING };

	v.str.s = lp_scratch_dup(&run->data->state->scratch, s ? s : "", n);
	v.str.n = n;
	if (!v.str.s)
		return lp_trun_fail(run, "out of memory");
	return v;
}

struct lp_tv lp_tv_take(struct lp_trun *run, struct lp_buf *buf)
{
	struct lp_tv v = buf->failed ? lp_trun_fail(run, "a value is too long") : lp_tv_str(run, (const char *)buf->data, buf->len);

	lp_buf_free(buf);
	return v;
}

const char *lp_tv_type(const struct lp_tv *v)
{
	switch (v->kind) {
	case LP_TV_STRING: return "string";
	case LP_TV_INT: return "int";
	case LP_TV_FLOAT: return "float64";
	case LP_TV_BOOL: return "bool";
	case LP_TV_TIME: return "time.Time";
	case LP_TV_LIST: return "[]interface {}";
	case LP_TV_MAP: return "map[string]interface {}";
	case LP_TV_DATA: return "map[string]string";
	default: return "<nil>";
	}
}

static int by_name(const void *a, const void *b)
{
	const struct lp_entry *x = *(const struct lp_entry *const *)a, *y = *(const struct lp_entry *const *)b;
	uint32_t n = x->name_len < y->name_len ? x->name_len : y->name_len;
	int c = memcmp(x->name, y->name, n);

	return c ? c : (x->name_len > y->name_len) - (x->name_len < y->name_len);
}

static void print_data(struct lp_buf *out, const struct lp_trun *run)
{
	const struct lp_entry **sorted = lp_scratch_alloc(&run->data->state->scratch, (run->data->n_entries + 1) * sizeof *sorted);
	uint32_t n = 0;

	if (!sorted)
		return;
	for (uint32_t i = 0; i < run->data->n_entries; i++)
		if (!run->data->entries[i].dead)
			sorted[n++] = &run->data->entries[i];
	qsort(sorted, n, sizeof *sorted, by_name);
	lp_buf_str(out, "map[");
	for (uint32_t i = 0; i < n; i++) {
		if (i)
			lp_buf_byte(out, ' ');
		lp_buf_append(out, sorted[i]->name, sorted[i]->name_len);
		lp_buf_byte(out, ':');
		lp_buf_append(out, sorted[i]->value, sorted[i]->value_len);
	}
	lp_buf_byte(out, ']');
}

static void print_items(struct lp_buf *out, const struct lp_tv *v, const struct lp_trun *run)
{
	lp_buf_str(out, v->kind == LP_TV_MAP ? "map[" : "[");
	for (uint32_t i = 0; i < v->list.n && !out->failed; i++) {
		if (i)
			lp_buf_byte(out, ' ');
		if (v->kind == LP_TV_MAP) {
			lp_buf_append(out, v->list.keys[i].s, v->list.keys[i].len);
			lp_buf_byte(out, ':');
		}
		if (v->list.items[i].kind == LP_TV_NIL)
			lp_buf_str(out, "<nil>");
		else
			lp_tv_print(out, &v->list.items[i], run);
	}
	lp_buf_byte(out, ']');
}

void lp_tv_print(struct lp_buf *out, const struct lp_tv *v, const struct lp_trun *run)
{
	switch (v->kind) {
	case LP_TV_NIL: lp_buf_str(out, "<no value>"); break;
	case LP_TV_STRING: lp_buf_append(out, v->str.s, v->str.n); break;
	case LP_TV_INT: lp_buf_i64(out, v->i); break;
	case LP_TV_FLOAT: lp_units_print_float(out, v->f); break;
	case LP_TV_BOOL: lp_buf_str(out, v->b ? "true" : "false"); break;
	case LP_TV_TIME: lp_gotime_format(out, v->time.sec, v->time.ns, "2006-01-02 15:04:05.999999999 -0700 MST", 39); break;
	case LP_TV_LIST: case LP_TV_MAP: print_items(out, v, run); break;
	case LP_TV_DATA: print_data(out, run); break;
	}
}

/* ---- printf --------------------------------------------------------------------------------------- */

struct verb {
	char c;
	bool minus, plus, sharp, space, zero, has_width, has_prec;
	int width, prec;
};

static size_t runes(const char *s, size_t n)
{
	size_t count = 0;

	for (size_t i = 0; i < n; i++)
		count += ((unsigned char)s[i] & 0xc0) != 0x80;
	return count;
}

static void padded(struct lp_buf *out, const struct verb *f, const char *s, size_t n)
{
	size_t have = runes(s, n), pad = f->has_width && (size_t)f->width > have ? (size_t)f->width - have : 0;

	for (size_t i = 0; i < pad && !f->minus; i++)
		lp_buf_byte(out, f->zero ? '0' : ' ');
	lp_buf_append(out, s, n);
	for (size_t i = 0; i < pad && f->minus; i++)
		lp_buf_byte(out, ' ');
}

static size_t cut_runes(const char *s, size_t n, size_t max)
{
	size_t i = 0;

	for (; i < n; i++)
		if (((unsigned char)s[i] & 0xc0) != 0x80 && !max--)
			break;
	return i;
}

static void bad_verb(struct lp_trun *run, struct lp_buf *out, const struct verb *f, const struct lp_tv *v)
{
	lp_buf_printf(out, "%%!%c(", f->c);
	if (v->kind == LP_TV_NIL) {
		lp_buf_str(out, "<nil>)");
		return;
	}
	lp_buf_str(out, lp_tv_type(v));
	lp_buf_byte(out, '=');
	lp_tv_print(out, v, run);
	lp_buf_byte(out, ')');
}

static void print_integer(struct lp_trun *run, struct lp_buf *out, struct verb *f, const struct lp_tv *v)
{
	char digits[80], *p = digits + sizeof digits;
	uint64_t u = v->i < 0 ? 0 - (uint64_t)v->i : (uint64_t)v->i;
	unsigned base = f->c == 'b' ? 2 : f->c == 'o' || f->c == 'O' ? 8 : f->c == 'x' || f->c == 'X' ? 16 : 10;
	const char *set = f->c == 'X' ? "0123456789ABCDEF" : "0123456789abcdef";
	struct lp_buf text = { .max = 4096 };
	int min = f->has_prec ? f->prec : f->zero && f->has_width && !f->minus ? f->width - (v->i < 0 || f->plus || f->space) : 1;

	if (f->c == 'c' || f->c == 'q' || f->c == 'U') {
		uint8_t ch[4];
		unsigned n = lp_utf8_put(ch, v->i < 0 || v->i > 0x10ffff ? 0xfffd : (uint32_t)v->i);

		if (f->c == 'U')
			lp_buf_printf(&text, "U+%04llX", (unsigned long long)u);
		else if (f->c == 'q')
			lp_buf_printf(&text, "'%.*s'", (int)n, (const char *)ch);
		else
			lp_buf_append(&text, ch, n);
	} else if (strchr("dvboOxX", f->c)) {
		do {
			*--p = set[u % base];
			u /= base;
		} while (u);
		while (digits + sizeof digits - p < min && p > digits + 1)
			*--p = '0';
		if (v->i < 0 || f->plus || f->space)
			lp_buf_byte(&text, v->i < 0 ? '-' : f->plus ? '+' : ' ');
		if (f->sharp && base == 16)
			lp_buf_str(&text, f->c == 'X' ? "0X" : "0x");
		lp_buf_append(&text, p, (size_t)(digits + sizeof digits - p));
	} else {
		bad_verb(run, &text, f, v);
	}
	f->zero = false;
	padded(out, f, (const char *)text.data, text.len);
	lp_buf_free(&text);
}

static void print_real(struct lp_trun *run, struct lp_buf *out, struct verb *f, const struct lp_tv *v)
{
	struct lp_buf text = { .max = 4096 };
	char c = f->c == 'v' ? 'g' : f->c == 'F' ? 'f' : f->c;

	if (!strchr("efgEG", c)) {
		bad_verb(run, &text, f, v);
		f->zero = false;
	} else if (isnan(v->f) || isinf(v->f) || ((c | 0x20) == 'g' && !f->has_prec)) {
		lp_units_print_float(&text, v->f);
		f->zero = f->zero && isfinite(v->f);
	} else {
		char *number = NULL;

		if (asprintf(&number, c == 'e' ? "%.*e" : c == 'E' ? "%.*E" : c == 'f' ? "%.*f" : c == 'g' ? "%.*g" : "%.*G",
			     f->has_prec ? f->prec : 6, v->f) >= 0) {
			lp_buf_str(&text, number);
			free(number);
		}
	}
	if (f->plus && text.len && text.data[0] != '-' && text.data[0] != '+') {
		struct lp_buf sign = { .max = 4096 };

		lp_buf_byte(&sign, '+');
		lp_buf_append(&sign, text.data, text.len);
		lp_buf_free(&text);
		text = sign;
	}
	if (f->zero && !f->minus && text.len && (text.data[0] == '-' || text.data[0] == '+')) {
		lp_buf_byte(out, text.data[0]);
		f->width--;
		padded(out, f, (const char *)text.data + 1, text.len - 1);
	} else {
		padded(out, f, (const char *)text.data, text.len);
	}
	lp_buf_free(&text);
}

static void print_text(struct lp_trun *run, struct lp_buf *out, struct verb *f, const struct lp_tv *v)
{
	struct lp_buf text = { .max = LP_PIPELINE_MAX_OUTPUT };
	const char *s = v->str.s;
	size_t n = f->has_prec && f->c != 'x' && f->c != 'X' ? cut_runes(s, v->str.n, (size_t)f->prec) : v->str.n;

	switch (f->c) {
	case 's': case 'v':
		padded(out, f, s, n);
		return;
	case 'q': lp_units_print_quoted(&text, s, n); break;
	case 'x': case 'X':
		for (size_t i = 0; i < n; i++)
			lp_buf_printf(&text, f->c == 'x' ? "%02x" : "%02X", (unsigned char)s[i]);
		break;
	default: bad_verb(run, &text, f, v); break;
	}
	padded(out, f, (const char *)text.data, text.len);
	lp_buf_free(&text);
}

static void print_verb(struct lp_trun *run, struct lp_buf *out, struct verb *f, const struct lp_tv *v)
{
	struct lp_buf text = { .max = LP_PIPELINE_MAX_OUTPUT };
	struct lp_tv s = { .kind = LP_TV_STRING };

	if (f->c == 'T') {
		s.str.s = lp_tv_type(v);
		s.str.n = strlen(s.str.s);
		f->c = 's';
		print_text(run, out, f, &s);
	} else if (v->kind == LP_TV_INT) {
		print_integer(run, out, f, v);
	} else if (v->kind == LP_TV_FLOAT) {
		print_real(run, out, f, v);
	} else if (v->kind == LP_TV_STRING) {
		print_text(run, out, f, v);
	} else if ((v->kind == LP_TV_BOOL && (f->c == 't' || f->c == 'v')) || (v->kind > LP_TV_BOOL && (f->c == 'v' || f->c == 's'))) {
		lp_tv_print(&text, v, run);
		padded(out, f, (const char *)text.data, text.len);
	} else if (v->kind == LP_TV_NIL && f->c == 'v') {
		padded(out, f, "<nil>", 5);
	} else {
		bad_verb(run, out, f, v);
	}
	lp_buf_free(&text);
}

static const char *parse_verb(const char *p, const char *end, struct verb *f)
{
	memset(f, 0, sizeof *f);
	for (; p < end && strchr("-+# 0", *p) && *p; p++) {
		f->minus |= *p == '-';
		f->plus |= *p == '+';
		f->sharp |= *p == '#';
		f->space |= *p == ' ';
		f->zero |= *p == '0';
	}
	f->zero = f->zero && !f->minus;
	for (; p < end && *p >= '0' && *p <= '9'; p++) {
		f->has_width = true;
		f->width = f->width > 10000 ? f->width : f->width * 10 + (*p - '0');
	}
	if (p < end && *p == '.') {
		f->has_prec = true;
		for (p++; p < end && *p >= '0' && *p <= '9'; p++)
			f->prec = f->prec > 1000 ? f->prec : f->prec * 10 + (*p - '0');
	}
	if (p < end)
		f->c = *p++;
	return p;
}

struct lp_tv lp_tv_printf(struct lp_trun *run, const struct lp_tv *args, uint32_t n)
{
	struct lp_buf out = { .max = LP_PIPELINE_MAX_OUTPUT };
	const char *p = args[0].str.s, *end = p + args[0].str.n;
	uint32_t next = 1;
	struct verb f;

	while (p < end) {
		const char *percent = memchr(p, '%', (size_t)(end - p));

		lp_buf_append(&out, p, (size_t)((percent ? percent : end) - p));
		if (!percent)
			break;
		p = parse_verb(percent + 1, end, &f);
		if (!f.c)
			lp_buf_str(&out, "%!(NOVERB)");
		else if (f.c == '%')
			lp_buf_byte(&out, '%');
		else if (next >= n)
			lp_buf_printf(&out, "%%!%c(MISSING)", f.c);
		else
			print_verb(run, &out, &f, &args[next++]);
	}
	if (next < n) {
		lp_buf_str(&out, "%!(EXTRA ");
		for (uint32_t i = next; i < n; i++) {
			if (i > next)
				lp_buf_str(&out, ", ");
			lp_buf_printf(&out, "%s=", lp_tv_type(&args[i]));
			lp_tv_print(&out, &args[i], run);
		}
		lp_buf_byte(&out, ')');
	}
	return lp_tv_take(run, &out);
}

/* ---- fromJson ------------------------------------------------------------------------------------- */

static bool from_json(struct lp_trun *run, const struct lp_json_value *j, unsigned depth, struct lp_tv *ret);

struct member {
	struct lp_str key;
	struct lp_tv value;
	uint32_t at;
};

static int by_key(const void *a, const void *b)
{
	const struct member *x = a, *y = b;
	uint32_t n = x->key.len < y->key.len ? x->key.len : y->key.len;
	int c = memcmp(x->key.s, y->key.s, n);

	c = c ? c : (x->key.len > y->key.len) - (x->key.len < y->key.len);
	return c ? c : (x->at > y->at) - (x->at < y->at);
}

static bool from_members(struct lp_trun *run, const struct lp_json_value *j, unsigned depth, struct lp_tv *ret)
{
	bool object = j->type == LP_JSON_OBJECT, good = true;
	struct lp_scratch *sc = &run->data->state->scratch;
	struct lp_json_iter it;
	struct lp_json_value v;
	struct member *m = NULL;
	struct lp_tv *items;
	struct lp_str *keys;
	const char *why, *key = NULL;
	size_t key_len = 0, cap = 0;
	uint32_t n = 0;
	int r = lp_json_begin(&it, j->s, j->len, object, &why);

	while (good && r >= 0 && (r = lp_json_next(&it, &key, &key_len, &v, &why)) > 0) {
		if (n == cap) {
			struct member *more = realloc(m, (cap = cap ? 2 * cap : 16) * sizeof *m);

			if (!more)
				break;
			m = more;
		}
		m[n].at = n;
		m[n].key = (struct lp_str){ "", 0 };
		good = from_json(run, &v, depth + 1, &m[n].value);
		if (object && good) {
			good = lp_json_unescape(run->data->state, key, key_len, &key, &key_len);
			m[n].key = (struct lp_str){ key, (uint32_t)key_len };
		}
		n++;
	}
	good = good && r == 0;
	if (good && object && n)
		qsort(m, n, sizeof *m, by_key);
	items = lp_scratch_alloc(sc, (n + 1) * sizeof *items);
	keys = lp_scratch_alloc(sc, (n + 1) * sizeof *keys);
	good = good && items && keys;
	*ret = (struct lp_tv){ .kind = object ? LP_TV_MAP : LP_TV_LIST };
	for (uint32_t i = 0; good && i < n; i++) {
		/* Of equal keys the last one counts. */
		if (object && i + 1 < n && m[i].key.len == m[i + 1].key.len && !memcmp(m[i].key.s, m[i + 1].key.s, m[i].key.len))
			continue;
		items[ret->list.n] = m[i].value;
		keys[ret->list.n++] = m[i].key;
	}
	ret->list.items = items;
	ret->list.keys = object ? keys : NULL;
	free(m);
	return good;
}

static bool from_json(struct lp_trun *run, const struct lp_json_value *j, unsigned depth, struct lp_tv *ret)
{
	*ret = (struct lp_tv){ .kind = LP_TV_NIL };
	if (depth > LP_JSON_MAX_DEPTH || ++run->steps > LP_TMPL_MAX_STEPS)
		return false;
	switch (j->type) {
	case LP_JSON_NULL: return true;
	case LP_JSON_BOOL:
		ret->kind = LP_TV_BOOL;
		ret->b = j->len == 4;
		return true;
	case LP_JSON_NUMBER:
		ret->kind = LP_TV_FLOAT;
		return lp_units_float(j->s, j->len, &ret->f) == 0;
	case LP_JSON_STRING:
		ret->kind = LP_TV_STRING;
		return lp_json_unescape(run->data->state, j->s, j->len, &ret->str.s, &ret->str.n);
	default: return from_members(run, j, depth, ret);
	}
}

struct lp_tv lp_tv_from_json(struct lp_trun *run, const char *s, size_t n)
{
	/* The scanner takes members only: read the text as the one element of an array. */
	char *array = lp_scratch_alloc(&run->data->state->scratch, n + 2);
	struct lp_json_iter it;
	struct lp_json_value v, rest;
	struct lp_tv out = { .kind = LP_TV_NIL };
	const char *key, *why;
	size_t key_len;

	if (!array)
		return lp_trun_fail(run, "out of memory");
	array[0] = '[';
	memcpy(array + 1, s, n);
	array[n + 1] = ']';
	if (lp_json_begin(&it, array, n + 2, false, &why) < 0 ||
	    lp_json_next(&it, &key, &key_len, &v, &why) <= 0 || !from_json(run, &v, 0, &out) || lp_json_next(&it, &key, &key_len, &rest, &why) != 0)
		return (struct lp_tv){ .kind = LP_TV_NIL };
	return out;
}
