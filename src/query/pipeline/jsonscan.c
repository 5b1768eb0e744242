/* A forgiving JSON scanner.
 *
 * Guarantees: never reads outside [s, s + n); finding a member costs its length, a nested object is measured once per level
 * (the caller bounds depth by LP_JSON_MAX_DEPTH).  What is accepted follows github.com/buger/jsonparser, Loki's scanner. */
#include "query/pipeline/jsonscan.h"

#include "common/utf8.h"

#include <errno.h>
#include <string.h>

static const char *skip_blanks(const char *p, const char *end)
{
	while (p < end && (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t'))
		p++;
	return p;
}

/* After an opening quote: behind the closing one, or NULL.  A quote counts after an even number of backslashes; each backslash is
 * counted for one quote only. */
static const char *string_end(const char *p, const char *end)
{
	const char *from = p;

	while (p < end) {
		const char *quote = memchr(p, '"', (size_t)(end - p)), *back;

		if (!quote)
			return NULL;
		for (back = quote; back > from && back[-1] == '\\';)
			back--;
		if (!((quote - back) & 1))
			return quote + 1;
		p = from = quote + 1;
	}
	return NULL;
}

/* At an opening bracket: behind the one that closes it, or NULL.  Only this kind of bracket counts. */
static const char *block_end(const char *p, const char *end, char open, char close)
{
	size_t level = 0;

	while (p < end) {
		if (*p == '"') {
			p = string_end(p + 1, end);
			if (!p)
				return NULL;
			continue;
		}
		if (*p == open)
			level++;
		else if (*p == close && !--level)
			return p + 1;
		p++;
	}
	return NULL;
}

static int fail(const char **ret_why, const char *why)
{
	*ret_why = why;
	return -EBADMSG;
}

static int scan_word(const char **p, const char *end, struct lp_json_value *v, const char **ret_why)
{
	const char *from = *p, *to = from;

	while (to < end && !(*to == ' ' || *to == '\n' || *to == '\r' || *to == '\t' || *to == ',' || *to == '}' || *to == ']'))
		to++;
	v->s = from;
	v->len = (size_t)(to - from);
	if ((v->len == 4 && !memcmp(from, "true", 4)) || (v->len == 5 && !memcmp(from, "false", 5)))
		v->type = LP_JSON_BOOL;
	else if (v->len == 4 && !memcmp(from, "null", 4))
		v->type = LP_JSON_NULL;
	else if (v->len && ((*from >= '0' && *from <= '9') || *from == '-'))
		v->type = LP_JSON_NUMBER;
	else
		return fail(ret_why, "Unknown value type");
	*p = to;
	return 0;
}

static int scan_value(const char **p, const char *end, struct lp_json_value *v, const char **ret_why)
{
	const char *from = skip_blanks(*p, end), *to;

	if (from == end)
		return fail(ret_why, "Malformed JSON error");
	if (*from == '"') {
		to = string_end(from + 1, end);
		if (!to)
			return fail(ret_why, "Value is string, but can't find closing '\"' symbol");
		*v = (struct lp_json_value){ LP_JSON_STRING, from + 1, (size_t)(to - from) - 2 };
	} else if (*from == '{' || *from == '[') {
		bool object = *from == '{';

		to = block_end(from, end, *from, object ? '}' : ']');
		if (!to)
			return fail(ret_why, object ? "Value looks like object, but can't find closing '}' symbol"
						    : "Value is array, but can't find closing ']' symbol");
		*v = (struct lp_json_value){ object ? LP_JSON_OBJECT : LP_JSON_ARRAY, from, (size_t)(to - from) };
	} else {
		*p = from;
		return scan_word(p, end, v, ret_why);
	}
	*p = to;
	return 0;
}

/* ---- paths: jsonparser's EachKey ------------------------------------------------------------------- */

typedef void (*found_fn)(struct lp_pipeline_state *st, const struct lp_stage *stage, uint32_t path, const struct lp_json_value *value, const char *why);

struct find {
	struct lp_pipeline_state *st;
	const struct lp_stage *stage;
	found_fn fn;
	const char *end;
	int level, max_level;
	uint32_t n_found;
	bool *found, *wanted;           /* per path; wanted: goes into the array that is being read */
	struct lp_str keys[LP_PATH_MAX_STEPS];  /* the last key seen on each level */
};

static const struct lp_path *path_of(const struct find *f, uint32_t i)
{
	return f->stage->extractions[i].path;
}

static bool is_key(const struct lp_path_step *step, const struct lp_str *key)
{
	return !step->is_index && step->key.len == key->len && !memcmp(step->key.s, key->s, key->len);
}

/* Are the keys down to this level those of the path? */
static bool same_tree(const struct find *f, const struct lp_path *path, int level)
{
	for (int i = 0; i < level && i < (int)path->n_steps; i++)
		if (!is_key(&path->steps[i], &f->keys[i]))
			return false;
	return true;
}

static void give(struct find *f, uint32_t path, const char *p, const char *end)
{
	struct lp_json_value v;
	const char *why = "";

	if (scan_value(&p, end, &v, &why) < 0)
		f->fn(f->st, f->stage, path, NULL, why);
	else
		f->fn(f->st, f->stage, path, &v, NULL);
}

/* The element of an array, counted from 0; at p is its bracket.  Returns where the array was left. */
static const char *each_element(const char *p, const char *end, void (*fn)(void *ctx, uint32_t index, const struct lp_json_value *v), void *ctx)
{
	struct lp_json_value v;
	const char *why;

	p = skip_blanks(p + 1, end);
	if (p == end || *p == ']')
		return p;
	for (uint32_t i = 0;; i++) {
		const char *from = p;

		if (scan_value(&p, end, &v, &why) < 0)
			return from;
		fn(ctx, i, &v);
		p = skip_blanks(p, end);
		if (p == end || *p != ',')
			return p;
		p++;
	}
}

struct element {
	uint32_t index;
	bool found;
	struct lp_json_value value;
};

static void take_element(void *ctx, uint32_t index, const struct lp_json_value *v)
{
	struct element *e = ctx;

	if (index != e->index)
		return;
	e->found = true;
	e->value = *v;
	/* With its quotes, to be read once more. */
	if (v->type == LP_JSON_STRING) {
		e->value.s--;
		e->value.len += 2;
	}
}

/* Behind the key where the steps end, in [p, end); or NULL.  jsonparser's searchKeys. */
static const char *search(struct lp_pipeline_state *st, const char *p, const char *end, const struct lp_path_step *steps, uint32_t n, unsigned depth)
{
	int level = 0, key_level = 0;
	bool matched = true;

	if (!n)
		return p;
	for (; p < end && depth <= LP_JSON_MAX_DEPTH; p++) {
		struct element e = { 0 };
		struct lp_str key;
		const char *from, *to;
		size_t len;

		switch (*p) {
		case '"':
			from = p + 1;
			to = string_end(from, end);
			p = to ? skip_blanks(to, end) : end;
			if (p == end)
				return NULL;
			if (*p != ':') {
				p--;
				break;
			}
			if (level < 1 || level > (int)n || !lp_json_unescape(st, from, (size_t)(to - from) - 1, &key.s, &len))
				return NULL;
			key.len = (uint32_t)len;
			matched = is_key(&steps[level - 1], &key);
			if (matched && key_level == level - 1 && ++key_level == (int)n)
				return p + 1;
			break;
		case '{':
			if (matched) {
				level++;
				break;
			}
			p = block_end(p, end, '{', '}');
			if (!p)
				return NULL;
			p--;
			break;
		case '}':
			if (--level == key_level)
				key_level--;
			if (level < 0)
				return NULL;
			break;
		case '[':
			if (key_level == level && steps[level].is_index) {
				e.index = steps[level].index;
				(void)each_element(p, end, take_element, &e);
				return e.found ? search(st, e.value.s, e.value.s + e.value.len, steps + level + 1, n - (uint32_t)level - 1, depth + 1) : NULL;
			}
			p = block_end(p, end, '[', ']');
			if (!p)
				return NULL;
			p--;
			break;
		case ':': return NULL;
		default: break;
		}
	}
	return NULL;
}

/* An element of an array that paths go into. */
static void match_element(void *ctx, uint32_t index, const struct lp_json_value *v)
{
	struct find *f = ctx;

	for (uint32_t i = 0; i < f->stage->n_extractions; i++) {
		const struct lp_path *path = path_of(f, i);
		const char *at, *end = v->s + v->len;

		if (!f->wanted[i] || path->steps[f->level - 1].index != index)
			continue;
		at = search(f->st, v->s, end, path->steps + f->level, path->n_steps - (uint32_t)f->level, 0);
		f->n_found++;
		f->found[i] = true;
		if (at && v->type == LP_JSON_STRING)
			f->fn(f->st, f->stage, i, &(const struct lp_json_value){ LP_JSON_STRING, at, (size_t)(end - at) }, NULL);
		else if (at)
			give(f, i, at, end);
	}
}

/* At an opening bracket.  Returns where to go on, or NULL to end. */
static const char *find_in_array(struct find *f, const char *p)
{
	bool any = false;

	if (f->level < 0) {
		f->fn(f->st, f->stage, 0, NULL, "Malformed JSON error");
		return NULL;
	}
	for (uint32_t i = 0; i < f->stage->n_extractions; i++) {
		const struct lp_path *path = path_of(f, i);

		f->wanted[i] = !f->found[i] && (int)path->n_steps > f->level && path->steps[f->level].is_index && same_tree(f, path, f->level);
		any = any || f->wanted[i];
	}
	if (!any)
		return block_end(p, f->end, '[', ']');
	f->level++;
	p = each_element(p, f->end, match_element, f);
	return f->n_found >= f->stage->n_extractions ? NULL : p;
}

/* Behind a key, at its colon.  Returns where to go on, or NULL to end. */
static const char *find_key(struct find *f, const char *p, const struct lp_str *key)
{
	bool match = false;

	if (f->max_level >= f->level) {
		if (f->level < 1) {
			f->fn(f->st, f->stage, 0, NULL, "Malformed JSON error");
			return NULL;
		}
		f->keys[f->level - 1] = *key;
		for (uint32_t i = 0; i < f->stage->n_extractions; i++) {
			const struct lp_path *path = path_of(f, i);

			if ((int)path->n_steps != f->level || f->found[i] || !same_tree(f, path, f->level))
				continue;
			match = f->found[i] = true;
			give(f, i, p + 1, f->end);
			if (++f->n_found == f->stage->n_extractions)
				return NULL;
		}
	}
	/* To the character before the value; without a value to the one before the colon, which a quote may be: it opens a string then. */
	if (!match) {
		const char *value = skip_blanks(p + 1, f->end);

		p = value == f->end ? p - 1 : value - 1;
	}
	return *p == '"' ? p : p + 1;
}

void lp_json_find(struct lp_pipeline_state *st, const char *s, size_t n, const struct lp_stage *stage, found_fn fn)
{
	struct find f;

	f.st = st;
	f.stage = stage;
	f.fn = fn;
	f.end = s + n;
	f.level = f.max_level = 0;
	f.n_found = 0;
	f.found = lp_scratch_alloc(&st->scratch, 2 * (size_t)stage->n_extractions * sizeof *f.found);
	if (!f.found) {
		st->no_memory = true;
		return;
	}
	memset(f.found, 0, 2 * (size_t)stage->n_extractions * sizeof *f.found);
	f.wanted = f.found + stage->n_extractions;
	for (uint32_t i = 0; i < stage->n_extractions; i++)
		if ((int)path_of(&f, i)->n_steps > f.max_level)
			f.max_level = (int)path_of(&f, i)->n_steps;
	for (int i = 0; i < f.max_level; i++)
		f.keys[i] = (struct lp_str){ "", 0 };
	for (const char *p = s; p && p < f.end;) {
		const char *to;
		struct lp_str key;
		size_t len;

		switch (*p) {
		case '"':
			to = string_end(p + 1, f.end);
			if (!to || skip_blanks(to, f.end) == f.end)
				return;
			if (*skip_blanks(to, f.end) != ':') {
				p = skip_blanks(to, f.end);
				break;
			}
			if (!lp_json_unescape(st, p + 1, (size_t)(to - p) - 2, &key.s, &len))
				return;
			key.len = (uint32_t)len;
			p = find_key(&f, skip_blanks(to, f.end), &key);
			break;
		case '[': p = find_in_array(&f, p); break;
		default:
			f.level += (*p == '{') - (*p == '}' || *p == ']');
			p++;
			break;
		}
	}
}

/* ---- members -------------------------------------------------------------------------------------- */

int lp_json_begin(struct lp_json_iter *it, const char *s, size_t n, bool object, const char **ret_why)
{
	it->end = s + n;
	it->p = skip_blanks(s, it->end);
	it->object = object;
	it->first = true;
	if (it->p == it->end || *it->p != (object ? '{' : '['))
		return fail(ret_why, object ? "Value looks like object, but can't find closing '}' symbol" : "Value is not an array");
	it->p = skip_blanks(it->p + 1, it->end);
	return it->p == it->end ? fail(ret_why, "Malformed JSON error") : 0;
}

/* Between members: over the comma.  1: a member follows, 0: the end. */
static int separator(struct lp_json_iter *it, const char **ret_why)
{
	char close = it->object ? '}' : ']';

	it->p = skip_blanks(it->p, it->end);
	if (it->p == it->end)
		return fail(ret_why, "Value is array, but can't find closing ']' symbol");
	if (it->first) {
		it->first = false;
		return *it->p != close;
	}
	if (*it->p == close)
		return 0;
	if (*it->p != ',')
		return fail(ret_why, "Value looks like object, but can't find closing '}' symbol");
	it->p = skip_blanks(it->p + 1, it->end);
	if (it->p == it->end)
		return fail(ret_why, "Value is array, but can't find closing ']' symbol");
	/* A comma before the end is forgiven. */
	return *it->p != close;
}

int lp_json_next(struct lp_json_iter *it, const char **ret_key, size_t *ret_key_len, struct lp_json_value *ret_value, const char **ret_why)
{
	int r = separator(it, ret_why);

	if (r <= 0)
		return r;
	if (it->object) {
		const char *key, *to;

		if (*it->p != '"')
			return fail(ret_why, "Value looks like object, but can't find closing '}' symbol");
		key = it->p + 1;
		to = string_end(key, it->end);
		if (!to)
			return fail(ret_why, "Malformed JSON error");
		*ret_key = key;
		*ret_key_len = (size_t)(to - key) - 1;
		it->p = skip_blanks(to, it->end);
		if (it->p == it->end || *it->p != ':')
			return fail(ret_why, "Malformed JSON error");
		it->p++;
	}
	r = scan_value(&it->p, it->end, ret_value, ret_why);
	return r < 0 ? r : 1;
}

/* Four hex digits after \u, or -1. */
static int32_t unicode(const char *p, const char *end)
{
	int32_t v = 0;

	if (end - p < 6 || p[0] != '\\' || p[1] != 'u')
		return -1;
	for (int i = 2; i < 6; i++) {
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

/* One escape at p; its length, or 0. */
static size_t unescape_one(const char *p, const char *end, char **out)
{
	static const char simple[] = "\"\"\\\\//b\bf\fn\nr\rt\t";
	int32_t cp, low;
	size_t len = 6;

	if (end - p < 2)
		return 0;
	for (const char *s = simple; *s; s += 2)
		if (p[1] == *s) {
			*(*out)++ = s[1];
			return 2;
		}
	cp = unicode(p, end);
	if (cp < 0)
		return 0;
	if (cp >= 0xd800 && cp < 0xe000) {
		low = unicode(p + 6, end);
		if (low < 0xdc00)
			return 0;
		cp = 0x10000 + ((cp - 0xd800) << 10) + (low - 0xdc00);
		len = 12;
	}
	if (cp > 0x10ffff || (cp >= 0xd800 && cp < 0xe000))
		cp = 0xfffd;
	*out += lp_utf8_put((uint8_t *)*out, (uint32_t)cp);
	return len;
}

bool lp_json_unescape(struct lp_pipeline_state *st, const char *s, size_t n, const char **ret_s, size_t *ret_len)
{
	const char *end = s + n;
	char *out, *p;

	*ret_s = s;
	*ret_len = n;
	if (!memchr(s, '\\', n))
		return true;
	out = p = lp_scratch_alloc(&st->scratch, n + 4);
	if (!out) {
		st->no_memory = true;
		return false;
	}
	while (s < end) {
		size_t len = 1;

		if (*s == '\\') {
			len = unescape_one(s, end, &p);
			if (!len)
				return false;
		} else {
			*p++ = *s;
		}
		s += len;
	}
	*ret_s = out;
	*ret_len = (size_t)(p - out);
	return true;
}

const char *lp_json_text(struct lp_pipeline_state *st, const struct lp_json_value *v, size_t *ret_len)
{
	const char *s;

	*ret_len = v->len;
	/* Loki undoes escapes in the text of an array as well. */
	if (v->type != LP_JSON_STRING && v->type != LP_JSON_ARRAY)
		return v->type == LP_JSON_NULL ? (*ret_len = 0, "") : v->s;
	if (!lp_json_unescape(st, v->s, v->len, &s, ret_len)) {
		*ret_len = 0;
		return "";
	}
	return lp_clean_utf8(st, s, *ret_len, " ", ret_len);
}
