/* Templates: values as text, and JSON as values.
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
	static const char *const ints[] = { [LP_TVT_PLAIN] = "int", [LP_TVT_INT64] = "int64", [LP_TVT_UINT8] = "uint8", [LP_TVT_MONTH] = "time.Month",
					    [LP_TVT_WEEKDAY] = "time.Weekday", [LP_TVT_DURATION] = "time.Duration" };

	switch (v->kind) {
	case LP_TV_STRING: return "string";
	case LP_TV_INT: return ints[v->type];
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

struct lp_tv lp_tdata_map(struct lp_trun *run)
{
	struct lp_scratch *sc = &run->data->state->scratch;
	const struct lp_entry **sorted = lp_scratch_alloc(sc, (run->data->n_entries + 1) * sizeof *sorted);
	struct lp_tv *items = lp_scratch_alloc(sc, (run->data->n_entries + 1) * sizeof *items), map = { .kind = LP_TV_MAP };
	struct lp_str *keys = lp_scratch_alloc(sc, (run->data->n_entries + 1) * sizeof *keys);
	uint32_t n = 0;

	if (!sorted || !items || !keys)
		return lp_trun_fail(run, "out of memory");
	for (uint32_t i = 0; i < run->data->n_entries; i++)
		if (!run->data->entries[i].dead)
			sorted[n++] = &run->data->entries[i];
	qsort(sorted, n, sizeof *sorted, by_name);
	for (uint32_t i = 0; i < n; i++) {
		keys[i] = (struct lp_str){ sorted[i]->name, sorted[i]->name_len };
		items[i] = (struct lp_tv){ .kind = LP_TV_STRING, .str = { sorted[i]->value, sorted[i]->value_len } };
	}
	map.list.items = items;
	map.list.keys = keys;
	map.list.n = n;
	return map;
}

static void print_items(struct lp_buf *out, const struct lp_tv *v, struct lp_trun *run)
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

void lp_tv_print(struct lp_buf *out, const struct lp_tv *v, struct lp_trun *run)
{
	struct lp_tv labels;

	switch (v->kind) {
	case LP_TV_NIL: lp_buf_str(out, "<no value>"); break;
	case LP_TV_STRING: lp_buf_append(out, v->str.s, v->str.n); break;
	case LP_TV_INT:
		if (!lp_tint_print(out, v))
			lp_buf_i64(out, v->i);
		break;
	case LP_TV_FLOAT: lp_units_print_float(out, v->f); break;
	case LP_TV_BOOL: lp_buf_str(out, v->b ? "true" : "false"); break;
	case LP_TV_TIME: lp_ttime_print(out, v); break;
	case LP_TV_LIST: case LP_TV_MAP: print_items(out, v, run); break;
	case LP_TV_DATA:
		labels = lp_tdata_map(run);
		if (labels.kind == LP_TV_MAP)
			print_items(out, &labels, run);
		break;
	}
}

/* ---- fromJson: strict, unlike the scanner of the json stage ----------------------------------------- */

struct json {
	struct lp_trun *run;
	const char *p, *end;
};

struct member {
	struct lp_str key;
	struct lp_tv value;
	uint32_t at;
};

static bool read_value(struct json *j, unsigned depth, struct lp_tv *ret);

static void skip_blanks(struct json *j)
{
	while (j->p < j->end && (*j->p == ' ' || *j->p == '\t' || *j->p == '\n' || *j->p == '\r'))
		j->p++;
}

static bool take(struct json *j, char c)
{
	skip_blanks(j);
	if (j->p == j->end || *j->p != c)
		return false;
	j->p++;
	return true;
}

static bool take_word(struct json *j, const char *word)
{
	size_t n = strlen(word);

	if ((size_t)(j->end - j->p) < n || memcmp(j->p, word, n))
		return false;
	j->p += n;
	return true;
}

static size_t digits(struct json *j)
{
	const char *from = j->p;

	while (j->p < j->end && *j->p >= '0' && *j->p <= '9')
		j->p++;
	return (size_t)(j->p - from);
}

static bool read_number(struct json *j, struct lp_tv *ret)
{
	const char *from = j->p;
	size_t whole;

	j->p += *j->p == '-';
	whole = digits(j);
	if (!whole || (whole > 1 && j->p[-(ptrdiff_t)whole] == '0'))
		return false;
	if (j->p < j->end && *j->p == '.' && (j->p++, !digits(j)))
		return false;
	if (j->p < j->end && (*j->p | 0x20) == 'e') {
		j->p++;
		if (j->p < j->end && (*j->p == '+' || *j->p == '-'))
			j->p++;
		if (!digits(j))
			return false;
	}
	ret->kind = LP_TV_FLOAT;
	/* One that no float holds is nothing, and the rest is read all the same. */
	if (lp_units_float(from, (size_t)(j->p - from), &ret->f) < 0)
		ret->kind = LP_TV_NIL;
	return true;
}

static int32_t hex4(const char *p, const char *end)
{
	int32_t v = 0;

	if (end - p < 4)
		return -1;
	for (int i = 0; i < 4; i++) {
		char c = p[i] | 0x20;

		if (p[i] >= '0' && p[i] <= '9')
			v = v * 16 + (p[i] - '0');
		else if (c >= 'a' && c <= 'f')
			v = v * 16 + (c - 'a' + 10);
		else
			return -1;
	}
	return v;
}

/* Behind a backslash. */
static bool read_escape(struct json *j, char **out)
{
	static const char simple[] = "\"\"\\\\//b\bf\fn\nr\rt\t";
	int32_t cp, low;
	char c = j->p < j->end ? *j->p++ : 0;

	for (const char *s = simple; *s; s += 2)
		if (c == *s) {
			*(*out)++ = s[1];
			return true;
		}
	cp = c == 'u' ? hex4(j->p, j->end) : -1;
	if (cp < 0)
		return false;
	j->p += 4;
	if (cp >= 0xd800 && cp < 0xe000) {
		low = cp < 0xdc00 && j->end - j->p >= 6 && j->p[0] == '\\' && j->p[1] == 'u' ? hex4(j->p + 2, j->end) : -1;
		if (low >= 0xdc00 && low < 0xe000) {
			cp = 0x10000 + ((cp - 0xd800) << 10) + (low - 0xdc00);
			j->p += 6;
		} else {
			cp = 0xfffd;
		}
	}
	*out += lp_utf8_put((uint8_t *)*out, (uint32_t)cp);
	return true;
}

/* At the opening quote. */
static bool read_string(struct json *j, struct lp_str *ret)
{
	const char *close = ++j->p;
	char *text, *out;

	while (close < j->end && *close != '"')
		close += *close == '\\' ? 2 : 1;
	/* An invalid byte becomes three. */
	text = out = close < j->end ? lp_scratch_alloc(&j->run->data->state->scratch, 3 * (size_t)(close - j->p) + 4) : NULL;
	if (!text)
		return false;
	while (j->p < close) {
		unsigned n = lp_utf8_seq((const uint8_t *)j->p, (size_t)(close - j->p));

		if ((unsigned char)*j->p < ' ')
			return false;
		if (*j->p == '\\') {
			j->p++;
			if (!read_escape(j, &out))
				return false;
			continue;
		}
		memcpy(out, n ? j->p : "\xef\xbf\xbd", n ? n : 3);
		out += n ? n : 3;
		j->p += n ? n : 1;
	}
	j->p = close + 1;
	*ret = (struct lp_str){ text, (uint32_t)(out - text) };
	return true;
}

static int by_key(const void *a, const void *b)
{
	const struct member *x = a, *y = b;
	uint32_t n = x->key.len < y->key.len ? x->key.len : y->key.len;
	int c = memcmp(x->key.s, y->key.s, n);

	c = c ? c : (x->key.len > y->key.len) - (x->key.len < y->key.len);
	return c ? c : (x->at > y->at) - (x->at < y->at);
}

/* Members in order of their keys; of equal keys the last one counts. */
static bool finish_members(struct json *j, struct member *m, uint32_t n, bool object, struct lp_tv *ret)
{
	struct lp_scratch *sc = &j->run->data->state->scratch;
	struct lp_tv *items = lp_scratch_alloc(sc, (n + 1) * sizeof *items);
	struct lp_str *keys = lp_scratch_alloc(sc, (n + 1) * sizeof *keys);

	if (!items || !keys)
		return false;
	if (object && n)
		qsort(m, n, sizeof *m, by_key);
	*ret = (struct lp_tv){ .kind = object ? LP_TV_MAP : LP_TV_LIST };
	for (uint32_t i = 0; i < n; i++) {
		if (object && i + 1 < n && m[i].key.len == m[i + 1].key.len && !memcmp(m[i].key.s, m[i + 1].key.s, m[i].key.len))
			continue;
		items[ret->list.n] = m[i].value;
		if (m[i].value.kind == LP_TV_NIL)
			items[ret->list.n].type = LP_TVT_ELEMENT;
		keys[ret->list.n++] = m[i].key;
	}
	ret->list.items = items;
	ret->list.keys = object ? keys : NULL;
	return true;
}

/* Behind the opening bracket. */
static bool read_members(struct json *j, bool object, unsigned depth, struct lp_tv *ret)
{
	struct member *m = NULL;
	uint32_t n = 0, cap = 0;
	bool good = true, more = !take(j, object ? '}' : ']');

	while (good && more) {
		if (n == cap) {
			struct member *grown = realloc(m, (cap = cap ? 2 * cap : 16) * sizeof *m);

			if (!grown) {
				good = false;
				break;
			}
			m = grown;
		}
		m[n].at = n;
		m[n].key = (struct lp_str){ "", 0 };
		skip_blanks(j);
		good = !object || (j->p < j->end && *j->p == '"' && read_string(j, &m[n].key) && take(j, ':'));
		good = good && read_value(j, depth + 1, &m[n++].value);
		more = take(j, ',');
		good = good && (more || take(j, object ? '}' : ']'));
	}
	good = good && finish_members(j, m, n, object, ret);
	free(m);
	return good;
}

static bool read_value(struct json *j, unsigned depth, struct lp_tv *ret)
{
	struct lp_str s;

	*ret = (struct lp_tv){ .kind = LP_TV_NIL };
	skip_blanks(j);
	if (depth > LP_JSON_MAX_DEPTH || ++j->run->steps > LP_TMPL_MAX_STEPS || j->p == j->end)
		return false;
	switch (*j->p) {
	case 'n': return take_word(j, "null");
	case 't': case 'f':
		ret->kind = LP_TV_BOOL;
		ret->b = *j->p == 't';
		return take_word(j, ret->b ? "true" : "false");
	case '"':
		if (!read_string(j, &s))
			return false;
		*ret = (struct lp_tv){ .kind = LP_TV_STRING, .str = { s.s, s.len } };
		return true;
	case '{': case '[':
		j->p++;
		return read_members(j, j->p[-1] == '{', depth, ret);
	default: return read_number(j, ret);
	}
}

struct lp_tv lp_tv_from_json(struct lp_trun *run, const char *s, size_t n)
{
	struct json j = { run, s, s + n };
	struct lp_tv out;
	bool good = read_value(&j, 0, &out);

	skip_blanks(&j);
	return good && j.p == j.end ? out : (struct lp_tv){ .kind = LP_TV_NIL };
}
