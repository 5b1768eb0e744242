/* Stages that find labels by position in the line (regexp, pattern), that change labels without templates (drop, keep), and
 * decolorize.
 *
 * Guarantees: linear in the line (RE2, substring searches); the buffers for captures are the state's.  Query threads. */
#include "query/pipeline/pipeline-private.h"

#include "query/pipeline/pattern.h"
#include "query/regex.h"

#include <string.h>

bool lp_run_regexp(struct lp_pipeline_state *st, const struct lp_step *step)
{
	const struct lp_regex *re = step->stage->re;
	unsigned n = lp_regex_groups(re);

	if (lp_hints_none(st) || !lp_regex_captures(re, st->line, st->line_len, 0, st->offsets, n))
		return true;
	for (unsigned g = 1; g < n; g++) {
		const char *name = lp_regex_group_name(re, g), *value;
		int64_t from = st->offsets[2 * g], to = st->offsets[2 * g + 1];
		size_t len;

		if (!name)
			continue;
		value = from < 0 ? (len = 0, "") : lp_clean_utf8(st, st->line + from, (size_t)(to - from), " ", &len);
		lp_entry_extract(st, name, strlen(name), value, len);
		if (lp_hints_done(st))
			break;
	}
	return true;
}

bool lp_run_pattern(struct lp_pipeline_state *st, const struct lp_step *step)
{
	const struct lp_pattern *pattern = step->stage->compiled;
	unsigned n;

	if (lp_hints_none(st))
		return true;
	n = lp_pattern_captures(pattern, st->line, st->line_len, st->captures);
	for (unsigned i = 0; i < n; i++) {
		const struct lp_str *name = lp_pattern_name(pattern, i);
		size_t len;

		if (!lp_hints_may_want(st, name->s, name->len))
			continue;
		const char *value = lp_clean_utf8(st, st->captures[i].value, st->captures[i].len, " ", &len);

		lp_entry_extract(st, name->s, name->len, value, len);
		if (lp_hints_done(st))
			break;
	}
	return true;
}

bool lp_run_drop(struct lp_pipeline_state *st, const struct lp_step *step)
{
	for (uint32_t i = 0; i < step->stage->n_drops; i++) {
		const struct lp_drop_keep *d = &step->stage->drops[i];
		const char *value;
		size_t len;

		(void)lp_entry_get(st, d->label.s, d->label.len, &value, &len);
		if (d->has_match && !lp_matcher_match(&d->match, value, len))
			continue;
		if (!strcmp(d->label.s, "__error__")) {
			st->error = NULL;
		} else if (!strcmp(d->label.s, "__error_details__")) {
			st->error_details = NULL;
			st->error_details_len = 0;
		} else {
			lp_entry_delete(st, d->label.s, d->label.len);
		}
	}
	return true;
}

bool lp_run_keep(struct lp_pipeline_state *st, const struct lp_step *step)
{
	for (uint32_t k = 0; k < st->n_entries; k++) {
		struct lp_entry *e = &st->entries[k];
		bool keep = false;

		for (uint32_t i = 0; i < step->stage->n_drops && !keep && !e->dead; i++) {
			const struct lp_drop_keep *d = &step->stage->drops[i];

			keep = d->label.len == e->name_len && !memcmp(d->label.s, e->name, e->name_len) &&
			       (!d->has_match || lp_matcher_match(&d->match, e->value, e->value_len));
		}
		if (!keep && !e->dead) {
			e->dead = true;
			st->changed = true;
		}
	}
	return true;
}

static bool one_of(char c, const char *set)
{
	return c && strchr(set, c);
}

static bool alnum(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

/* "0;title BEL" after the introducer: words of parameters, each after a semicolon (the first may lack it), then BEL. */
static size_t command_len(const char *s, size_t n)
{
	size_t i = 0;

	while (i < n && alnum(s[i]))
		i++;
	bool named = i != 0;

	while (i < n && s[i] == ';') {
		size_t from = ++i;

		while (i < n && (alnum(s[i]) || one_of(s[i], "-/#&.:=?%@~_")))
			i++;
		if (i == from && !named)
			return 0;
	}
	return i < n && s[i] == '\a' ? i + 1 : 0;
}

/* "1;31m": up to four digits each, semicolons between, a final byte; a digit may be the final byte. */
static size_t control_len(const char *s, size_t n)
{
	size_t i = 0, last_digit = 0;

	for (bool more = true; more;) {
		for (unsigned k = 0; k < 4 && i < n && s[i] >= '0' && s[i] <= '9'; k++)
			last_digit = ++i;
		more = i && i < n && s[i] == ';';
		i += more;
	}
	if (i < n && ((s[i] >= '0' && s[i] <= '9') || (s[i] >= 'A' && s[i] <= 'P') || (s[i] >= 'R' && s[i] <= 'T') || (s[i] >= 'f' && s[i] <= 'n') ||
		      one_of(s[i], "Zcqrty=><~")))
		return i + 1;
	return last_digit;
}

/* Length of an escape sequence at s, or 0: the language of the npm package ansi-regex, which Loki's decolorize uses. */
static size_t ansi_len(const char *s, size_t n)
{
	size_t lead = s[0] == '\x1b' ? 1 : n > 1 && s[0] == '\xc2' && s[1] == '\x9b' ? 2 : 0, i = lead, len;

	if (!lead)
		return 0;
	while (i < n && i < 64 && one_of(s[i], "[]()#;?"))
		i++;
	for (;; i--) {
		len = command_len(s + i, n - i);
		if (!len)
			len = control_len(s + i, n - i);
		if (len || i == lead)
			return len ? i + len : 0;
	}
}

bool lp_run_decolorize(struct lp_pipeline_state *st, const struct lp_step *step)
{
	char *out, *p;

	(void)step;
	if (!memchr(st->line, '\x1b', st->line_len) && !memmem(st->line, st->line_len, "\xc2\x9b", 2))
		return true;
	out = p = lp_scratch_alloc(&st->scratch, st->line_len + 1);
	if (!out) {
		st->no_memory = true;
		return true;
	}
	for (size_t i = 0; i < st->line_len;) {
		size_t len = ansi_len(st->line + i, st->line_len - i);

		if (!len)
			*p++ = st->line[i++];
		i += len;
	}
	st->line = out;
	st->line_len = (size_t)(p - out);
	return true;
}
