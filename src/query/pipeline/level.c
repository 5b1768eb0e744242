/* Which level a line has, by the rules of Loki's distributor (feature reference 2.6): a label, metadata, or OpenTelemetry severity that
 * says so; else a field of a JSON object or of logfmt; else the first word of the line that names a level.
 *
 * Guarantees: every line has exactly one level ("unknown" in the worst case), the same one whenever it is asked for; one pass over
 * the line per form that is tried; never reads outside it.  Query threads; nothing is kept. */
#include "query/pipeline/pipeline-private.h"

#include "query/discover.h"
#include "query/pipeline/jsonscan.h"

#include <string.h>
#include <strings.h>

/* ---- names of levels ---- */

struct level_word {
	const char *word, *level;
	uint32_t len;
	bool in_text;                   /* counts as a word of a line, too */
};

#define WORD(word, level, in_text) { word, level, sizeof word - 1, in_text }
static const struct level_word words[] = {
	WORD("trace", "trace", true), WORD("trc", "trace", false), WORD("debug", "debug", true), WORD("dbg", "debug", false),
	WORD("info", "info", true), WORD("inf", "info", false), WORD("information", "info", false), WORD("warn", "warn", true),
	WORD("wrn", "warn", false), WORD("warning", "warn", true), WORD("error", "error", true), WORD("err", "error", true),
	WORD("critical", "critical", true), WORD("fatal", "fatal", true),
};

#define SHORTEST 3u
#define LONGEST 11u

/* Nearly no word of a line passes these two. */
static bool may_begin_level(char c)
{
	static const uint32_t firsts = 1u << ('t' & 31) | 1u << ('d' & 31) | 1u << ('i' & 31) | 1u << ('w' & 31) | 1u << ('e' & 31) |
				       1u << ('c' & 31) | 1u << ('f' & 31);

	return (c & 0xc0) == 0x40 && firsts >> (c & 31) & 1;
}

static bool may_be_level(const char *s, size_t n)
{
	return n - SHORTEST <= LONGEST - SHORTEST && may_begin_level(s[0]);
}

static const char *known_level(const char *s, size_t n, bool in_text)
{
	if (!may_be_level(s, n))
		return NULL;
	for (unsigned i = 0; i < sizeof words / sizeof *words; i++)
		if (words[i].len == n && words[i].word[0] == (s[0] | 0x20) && (words[i].in_text || !in_text) &&
		    strncasecmp(words[i].word, s, n) == 0)
			return words[i].level;
	return NULL;
}

void lp_level_normalize(const char **value, uint32_t *len)
{
	const char *level = known_level(*value, *len, false);

	if (level) {
		*value = level;
		*len = (uint32_t)strlen(level);
	}
}

/* Four numbers to a level, from 1 (OpenTelemetry's log data model). */
const char *lp_level_of_severity(const char *s, size_t n)
{
	static const char *const levels[] = { "trace", "debug", "info", "warn", "error", "fatal" };
	unsigned v = 0;

	if (n == 0 || n > 9)
		return "info";
	for (size_t i = 0; i < n; i++) {
		if (s[i] < '0' || s[i] > '9')
			return "info";
		v = v * 10 + (unsigned)(s[i] - '0');
	}
	return v >= 1 && v <= 24 ? levels[(v - 1) / 4] : "unknown";
}

/* ---- JSON ---- */

static bool is_field(const struct lp_discover *d, const char *s, size_t n)
{
	if (!(d->field_lens >> (n < 63 ? n : 63) & 1))
		return false;
	for (uint32_t i = 0; i < d->n_fields; i++)
		if (d->fields[i].len == n && memcmp(d->fields[i].s, s, n) == 0)
			return true;
	return false;
}

/* The first text in document order under one of the names; depth counts from 1. */
static bool json_field(const struct lp_discover *d, const char *s, size_t n, uint32_t depth, struct lp_json_value *ret)
{
	struct lp_json_iter it;
	struct lp_json_value v;
	const char *key, *why;
	size_t key_len;

	if ((d->json_depth && depth > d->json_depth) || depth > LP_JSON_MAX_DEPTH || lp_json_begin(&it, s, n, true, &why) < 0)
		return false;
	while (lp_json_next(&it, &key, &key_len, &v, &why) > 0) {
		if (v.type == LP_JSON_STRING && is_field(d, key, key_len)) {
			*ret = v;
			return true;
		}
		if (v.type == LP_JSON_OBJECT && json_field(d, v.s, v.len, depth + 1, ret))
			return true;
	}
	return false;
}

static bool blank(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool is_object(const char *s, size_t n)
{
	while (n && blank(s[n - 1]))
		n--;
	while (n && blank(*s)) {
		s++;
		n--;
	}
	return n >= 2 && s[0] == '{' && s[n - 1] == '}';
}

/* ---- logfmt ---- */

/* Of the fields that the line has, the first one in the list of names; names in any case. */
static bool logfmt_field(const struct lp_discover *d, const char *line, size_t len, const char **ret, size_t *ret_len)
{
	struct lp_logfmt_pairs it = { .s = line, .n = len, .any_key = true };
	uint32_t best = d->n_fields;

	while (best && lp_logfmt_next(&it) > 0) {
		if (!(d->field_lens >> (it.key_len < 63 ? it.key_len : 63) & 1))
			continue;
		for (uint32_t i = 0; i < best; i++)
			if (d->fields[i].len == it.key_len && strncasecmp(d->fields[i].s, it.key, it.key_len) == 0) {
				best = i;
				*ret = it.value;
				*ret_len = it.value_len;
			}
	}
	return best < d->n_fields;
}

/* ---- any text ---- */

/* Letters, digits, _ and all that is not ASCII. */
static bool word_byte(unsigned char c)
{
	static const uint64_t bits[4] = { UINT64_C(0x03ff000000000000), UINT64_C(0x07fffffe87fffffe), UINT64_MAX, UINT64_MAX };

	return bits[c >> 6] >> (c & 63) & 1;
}

static const char *first_word(const char *line, size_t len)
{
	bool inside = false;            /* of a word */

	for (size_t i = 0; i < len; i++) {
		bool word = word_byte((unsigned char)line[i]);

		if (word && !inside && may_begin_level(line[i])) {
			size_t end = i + 1;

			while (end < len && end - i <= LONGEST && word_byte((unsigned char)line[end]))
				end++;
			const char *level = known_level(line + i, end - i, true);

			if (level)
				return level;
			i = end - 1;
		}
		inside = word;
	}
	return NULL;
}

const char *lp_level_of_line(const struct lp_discover *d, const char *line, size_t len)
{
	struct lp_json_value v;
	const char *value = NULL, *level = NULL;
	size_t value_len = 0;

	if (is_object(line, len)) {
		if (json_field(d, line, len, 1, &v))
			level = known_level(v.s, v.len, false);
	} else if (memchr(line, '=', len) && logfmt_field(d, line, len, &value, &value_len)) {
		level = known_level(value, value_len, false);
	}
	if (!level)
		level = first_word(line, len);
	return level ? level : "unknown";
}

/* ---- the label ---- */

static const struct lp_entry *metadata_named(const struct lp_pipeline_state *st, const char *name, size_t len)
{
	uint32_t hash;

	if (st->n_entries == st->n_base)
		return NULL;
	hash = lp_labels_name_hash(name, len);
	for (uint32_t i = st->n_base; i < st->n_entries; i++)
		if (st->entries[i].name_hash == hash && st->entries[i].name_len == len && memcmp(st->entries[i].name, name, len) == 0)
			return &st->entries[i];
	return NULL;
}

void lp_level_stream(struct lp_pipeline_state *st)
{
	const struct lp_discover *d = st->pipeline->discover;

	st->level = NULL;
	for (uint32_t f = 0; d && d->levels && !st->level && f < d->n_fields; f++)
		for (uint32_t i = 0; i < st->n_base; i++)
			if (st->base[i].name_len == d->fields[f].len && memcmp(st->base[i].name, d->fields[f].s, d->fields[f].len) == 0) {
				st->level = st->base[i].value;
				st->level_len = st->base[i].value_len;
				lp_level_normalize(&st->level, &st->level_len);
				break;
			}
}

void lp_level_line(struct lp_pipeline_state *st)
{
	const struct lp_discover *d = st->pipeline->discover;
	/* A label of the stream keeps its name, as with all metadata. */
	const char *name = lp_entry_in_base(st, LP_DETECTED_LEVEL, sizeof LP_DETECTED_LEVEL - 1) ? LP_DETECTED_LEVEL "_extracted" : LP_DETECTED_LEVEL;
	const char *value = st->level;
	uint32_t len = st->level_len;
	const struct lp_entry *e = metadata_named(st, name, strlen(name));

	if (e) {
		value = e->value;
		len = e->value_len;
		lp_level_normalize(&value, &len);
		lp_entry_set(st, LP_CATEGORY_METADATA, name, strlen(name), value, len);
		return;
	}
	for (uint32_t i = 0; !value && st->n_entries > st->n_base && i < d->n_fields; i++) {
		e = metadata_named(st, d->fields[i].s, d->fields[i].len);
		if (e) {
			value = e->value;
			len = e->value_len;
			lp_level_normalize(&value, &len);
		}
	}
	if (!value) {
		e = metadata_named(st, "severity_number", 15);
		value = e ? lp_level_of_severity(e->value, e->value_len) : lp_level_of_line(d, st->line, st->line_len);
		len = (uint32_t)strlen(value);
	}
	lp_entry_set(st, LP_CATEGORY_METADATA, name, strlen(name), value, len);
}
