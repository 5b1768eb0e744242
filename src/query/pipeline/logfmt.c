/* Stages that read key=value lines: logfmt, and logfmt with expressions.
 *
 * Guarantees: one pass over the line; without --strict a bad pair is skipped, with it the line keeps what came before and gets
 * __error__="LogfmtParserErr".  The rules for pairs are those of github.com/go-logfmt/logfmt.  Query threads. */
#include "query/pipeline/pipeline-private.h"

#include "common/utf8.h"
#include "query/pipeline/path.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static int syntax_error(struct lp_logfmt_pairs *it, const char *what)
{
	snprintf(it->error, sizeof it->error, "logfmt syntax error at pos %zu : %s", it->pos + 1, what);
	return -EBADMSG;
}

static int unexpected(struct lp_logfmt_pairs *it, char c)
{
	char what[32];

	snprintf(what, sizeof what, "unexpected '%c'", c);
	return syntax_error(it, what);
}

/* Go on behind the damaged word. */
static void skip_word(struct lp_logfmt_pairs *it)
{
	while (it->pos < it->n && (unsigned char)it->s[it->pos] > ' ')
		it->pos++;
}

static bool invalid_key(const struct lp_logfmt_pairs *it)
{
	return !lp_utf8_ascii(it->key, it->key_len) &&
	       (!lp_utf8_valid(it->key, it->key_len) || memmem(it->key, it->key_len, "\xef\xbf\xbd", 3));
}

static int quoted_value(struct lp_logfmt_pairs *it)
{
	const char *p = it->s + it->pos + 1, *end = it->s + it->n;
	const char *from = p;

	while (p < end && *p != '"')
		p += *p == '\\' && p + 1 < end ? 2 : 1;
	if (p >= end) {
		it->pos = it->n;
		return syntax_error(it, "unterminated quoted value");
	}
	it->pos = (size_t)(p + 1 - it->s);
	it->value = from;
	it->value_len = (size_t)(p - from);
	return memchr(from, '\\', it->value_len) ? 2 : 1;
}

static int scan_value(struct lp_logfmt_pairs *it)
{
	size_t start;

	it->pos++;
	if (it->pos >= it->n || (unsigned char)it->s[it->pos] <= ' ')
		return 1;
	if (it->s[it->pos] == '"')
		return quoted_value(it);
	for (start = it->pos; it->pos < it->n && (unsigned char)it->s[it->pos] > ' '; it->pos++)
		if (it->s[it->pos] == '=' || it->s[it->pos] == '"') {
			int r = unexpected(it, it->s[it->pos]);

			skip_word(it);
			return r;
		}
	it->value = it->s + start;
	it->value_len = it->pos - start;
	return 1;
}

int lp_logfmt_next(struct lp_logfmt_pairs *it)
{
	size_t start;
	int r;

	it->value = "";
	it->value_len = 0;
	while (it->pos < it->n && (unsigned char)it->s[it->pos] <= ' ')
		it->pos++;
	if (it->pos == it->n)
		return 0;
	start = it->pos;
	while (it->pos < it->n && (unsigned char)it->s[it->pos] > ' ' && it->s[it->pos] != '=' && it->s[it->pos] != '"')
		it->pos++;
	it->key = it->s + start;
	it->key_len = it->pos - start;
	if (it->pos < it->n && (it->s[it->pos] == '"' || (it->s[it->pos] == '=' && !it->key_len))) {
		r = unexpected(it, it->s[it->pos]);
		skip_word(it);
		return r;
	}
	if (!it->any_key && invalid_key(it)) {
		r = syntax_error(it, "invalid key");
		skip_word(it);
		return r;
	}
	return it->pos < it->n && it->s[it->pos] == '=' ? scan_value(it) : 1;
}

static int hex_value(const char *p, unsigned n)
{
	int v = 0;

	for (unsigned i = 0; i < n; i++) {
		char c = p[i] | 0x20;
		int d = p[i] >= '0' && p[i] <= '9' ? p[i] - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;

		if (d < 0)
			return -1;
		v = v * 16 + d;
	}
	return v;
}

/* Undo JSON-like escapes of a quoted value.  False: a bad one. */
static bool unquote(struct lp_logfmt_pairs *it)
{
	static const char simple[] = "\"\"\\\\//''b\bf\fn\nr\rt\t";
	const char *s = it->value, *end = s + it->value_len;
	char *out = lp_scratch_alloc(&it->st->scratch, it->value_len + 4), *p = out;

	if (!out) {
		it->st->no_memory = true;
		return false;
	}
	while (s < end) {
		const char *k = simple;
		int cp;

		if ((unsigned char)*s < ' ')
			return false;
		if (*s != '\\') {
			*p++ = *s++;
			continue;
		}
		if (end - s < 2)
			return false;
		while (*k && *k != s[1])
			k += 2;
		if (*k) {
			*p++ = k[1];
			s += 2;
			continue;
		}
		if (s[1] != 'u' || end - s < 6 || (cp = hex_value(s + 2, 4)) < 0)
			return false;
		s += 6;
		if (cp >= 0xd800 && cp < 0xe000) {
			int low = cp < 0xdc00 && end - s >= 6 && s[0] == '\\' && s[1] == 'u' ? hex_value(s + 2, 4) : -1;

			if (low >= 0xdc00 && low < 0xe000) {
				cp = 0x10000 + ((cp - 0xd800) << 10) + (low - 0xdc00);
				s += 6;
			} else {
				cp = 0xfffd;
			}
		}
		p += lp_utf8_put((uint8_t *)p, (uint32_t)cp);
	}
	it->value = out;
	it->value_len = (size_t)(p - out);
	return true;
}

/* The next pair with its value ready; as lp_logfmt_next() without 2. */
static int next_clean(struct lp_logfmt_pairs *it)
{
	int r = lp_logfmt_next(it);

	if (r == 2)
		r = unquote(it) ? 1 : syntax_error(it, "invalid quoted value");
	if (r == 1)
		it->value = lp_clean_utf8(it->st, it->value, it->value_len, " ", &it->value_len);
	return r;
}

static bool broken(struct lp_pipeline_state *st, const struct lp_logfmt_pairs *it)
{
	lp_state_error(st, "LogfmtParserErr", it->error, strlen(it->error));
	return true;
}

bool lp_run_logfmt(struct lp_pipeline_state *st, const struct lp_step *step)
{
	struct lp_logfmt_pairs it = { .st = st, .s = st->line, .n = st->line_len };
	const char *name;
	size_t len;
	int r;

	if (lp_hints_none(st))
		return true;
	while ((r = next_clean(&it)) != 0) {
		if (r < 0) {
			if (step->stage->strict)
				return broken(st, &it);
			continue;
		}
		name = lp_sanitize(st, "", 0, it.key, it.key_len, &len);
		if (!name)
			return true;
		if (!len || (!it.value_len && !step->stage->keep_empty))
			continue;
		lp_entry_extract(st, name, len, it.value, it.value_len);
		if (lp_hints_done(st))
			break;
	}
	return true;
}

static bool is(const char *name, size_t len, const struct lp_str *s)
{
	return s->len == len && !memcmp(s->s, name, len);
}

static bool asks_for(const struct lp_extraction *e, const char *name, size_t len)
{
	const struct lp_path *path = e->path;

	return is(name, len, &path->steps[0].key);
}

/* Labels of expressions are there from the beginning, empty, whatever earlier stages put there; not those that the stream has. */
static void clear(struct lp_pipeline_state *st, const struct lp_stage *stage)
{
	for (uint32_t i = 0; i < stage->n_extractions; i++) {
		const struct lp_str *label = &stage->extractions[i].label;

		if (!lp_entry_is_taken(st, label->s, label->len))
			lp_entry_set(st, LP_CATEGORY_PARSED, label->s, label->len, "", 0);
	}
}

/* A pair belongs to the expressions that ask for its key, else to the one whose label has its name (Loki). */
static bool belongs(const struct lp_stage *stage, const struct lp_extraction *e, const char *name, size_t len)
{
	if (asks_for(e, name, len))
		return true;
	if (!is(name, len, &e->label))
		return false;
	for (uint32_t i = 0; i < stage->n_extractions; i++)
		if (asks_for(&stage->extractions[i], name, len))
			return false;
	return true;
}

/* May the pair be looked at?  One that has the name of a label always, another one if the query wants a label of its name, and no stage
 * has found that yet: in a metric query an expression with another name therefore finds nothing (Loki). */
static bool may_read(struct lp_pipeline_state *st, const struct lp_stage *stage, const char *name, size_t len)
{
	const struct lp_entry *e;

	for (uint32_t i = 0; i < stage->n_extractions; i++)
		if (is(name, len, &stage->extractions[i].label))
			return true;
	e = lp_entry_find(st, name, len);
	return lp_hints_want(st, name, len) && !(e && e->category == LP_CATEGORY_PARSED);
}

bool lp_run_logfmt_keys(struct lp_pipeline_state *st, const struct lp_step *step)
{
	const struct lp_stage *stage = step->stage;
	struct lp_logfmt_pairs it = { .st = st, .s = st->line, .n = st->line_len };
	size_t len;
	int r;

	if (lp_hints_none(st))
		return true;
	clear(st, stage);
	while ((r = next_clean(&it)) != 0) {
		if (r < 0) {
			if (stage->strict)
				return broken(st, &it);
			continue;
		}
		/* The key as a label's name: a_b finds the pair a-b=1, as in Loki. */
		const char *name = lp_sanitize(st, "", 0, it.key, it.key_len, &len);

		if (!name)
			return true;
		if (!may_read(st, stage, name, len))
			continue;
		for (uint32_t i = 0; i < stage->n_extractions; i++) {
			const struct lp_str *label = &stage->extractions[i].label;

			if (!belongs(stage, &stage->extractions[i], name, len))
				continue;
			/* Of pairs with one key the last counts, or the first where the label's name is taken. */
			if (lp_entry_is_taken(st, label->s, label->len))
				lp_entry_extract(st, label->s, label->len, it.value, it.value_len);
			else
				lp_entry_set(st, LP_CATEGORY_PARSED, label->s, label->len, it.value, it.value_len);
		}
	}
	return true;
}
