/* Stages that read JSON: json, json with expressions, unpack.
 *
 * Guarantees: bounded depth and labels (jsonscan.h, labels.c), linear otherwise; stops as soon as the query has the labels that
 * it asked for.  Broken lines stay, with __error__="JSONParserErr".  Query threads. */
#include "query/pipeline/jsonscan.h"
#include "query/pipeline/path.h"

#include <errno.h>
#include <string.h>

static bool broken(struct lp_pipeline_state *st, const char *why)
{
	lp_state_error(st, "JSONParserErr", why, strlen(why));
	return true;
}

/* 0, -EBADMSG and why, or 1: everything wanted was found. */
static int flatten(struct lp_pipeline_state *st, const char *s, size_t n, const char *prefix, size_t prefix_len, unsigned depth, const char **ret_why)
{
	struct lp_json_iter it;
	struct lp_json_value v;
	const char *key, *name, *value;
	size_t key_len, name_len, value_len;
	int r = lp_json_begin(&it, s, n, true, ret_why);

	if (r == 0 && depth > LP_JSON_MAX_DEPTH) {
		*ret_why = "nested too deeply";
		return -EBADMSG;
	}
	if (r < 0)
		return r;
	while ((r = lp_json_next(&it, &key, &key_len, &v, ret_why)) > 0) {
		if (!lp_json_unescape(st, key, key_len, &key, &key_len)) {
			*ret_why = "Encountered an invalid escape sequence in a string";
			return -EBADMSG;
		}
		if (v.type == LP_JSON_NULL || v.type == LP_JSON_ARRAY)
			continue;
		name = lp_sanitize(st, prefix, prefix_len, key, key_len, &name_len);
		if (!name)
			return -ENOMEM;
		if (v.type == LP_JSON_OBJECT) {
			if (lp_hints_want_prefix(st, name, name_len))
				r = flatten(st, v.s, v.len, name, name_len, depth + 1, ret_why);
			if (r < 0)
				return r;
		} else if (name_len && lp_hints_may_want(st, name, name_len)) {
			value = lp_json_text(st, &v, &value_len);
			lp_entry_extract(st, name, name_len, value, value_len);
		}
		if (lp_hints_done(st))
			return 1;
	}
	return r;
}

bool lp_run_json(struct lp_pipeline_state *st, const struct lp_step *step)
{
	const char *why = "";

	if (lp_hints_none(st))
		return true;
	if (flatten(st, st->line, st->line_len, "", 0, 0, &why) == -EBADMSG)
		return broken(st, why);
	return true;
}

static void take_value(struct lp_pipeline_state *st, const struct lp_stage *stage, uint32_t path, const struct lp_json_value *v, const char *why)
{
	const struct lp_str *label = &stage->extractions[path].label;
	struct lp_json_value text;
	const char *value;
	size_t len;

	if (!v) {
		broken(st, why);
		return;
	}
	/* What passes for a number may have escapes, and Loki undoes them. */
	text = *v;
	if (v->type == LP_JSON_NUMBER)
		text.type = LP_JSON_STRING;
	value = lp_json_text(st, &text, &len);
	/* Unlike the labels of the json stage they replace what earlier stages found (Loki). */
	if (lp_entry_is_taken(st, label->s, label->len))
		lp_entry_extract(st, label->s, label->len, value, len);
	else
		lp_entry_set(st, LP_CATEGORY_PARSED, label->s, label->len, value, len);
}

bool lp_run_json_paths(struct lp_pipeline_state *st, const struct lp_step *step)
{
	const struct lp_stage *stage = step->stage;

	if (!st->line_len || lp_hints_none(st))
		return true;
	if (!strchr("{[\"", st->line[0]) || !st->line[0])
		return broken(st, "");
	lp_json_find(st, st->line, st->line_len, stage, take_value);
	/* Where nothing was found the label is empty, unless there is one of the name already. */
	for (uint32_t i = 0; i < stage->n_extractions; i++) {
		const struct lp_str *label = &stage->extractions[i].label;

		if (!lp_entry_find(st, label->s, label->len))
			lp_entry_set(st, LP_CATEGORY_PARSED, label->s, label->len, "", 0);
	}
	return true;
}

bool lp_run_unpack(struct lp_pipeline_state *st, const struct lp_step *step)
{
	struct lp_json_iter it;
	struct lp_json_value v;
	const char *key, *why = "", *entry = NULL, *value;
	size_t key_len, entry_len = 0, len;
	bool rest;
	int r;

	(void)step;
	if (!st->line_len || lp_hints_none(st))
		return true;
	if (st->line[0] != '{')
		return broken(st, "expecting json object(6), but it is not");
	/* Labels count only if there is an entry: look for it first. */
	for (rest = false;; rest = true) {
		r = lp_json_begin(&it, st->line, st->line_len, true, &why);
		if (r < 0)
			return broken(st, "expecting json object(6), but it is not");
		while ((r = lp_json_next(&it, &key, &key_len, &v, &why)) > 0) {
			bool is_entry;

			if (v.type != LP_JSON_STRING)
				continue;
			if (!lp_json_unescape(st, key, key_len, &key, &key_len))
				return broken(st, "Encountered an invalid escape sequence in a string");
			is_entry = key_len == 6 && !memcmp(key, "_entry", 6);
			if (is_entry && !rest)
				entry = lp_json_text(st, &v, &entry_len);
			if (is_entry || !rest)
				continue;
			value = lp_json_text(st, &v, &len);
			key = lp_sanitize(st, "", 0, key, key_len, &key_len);
			if (!key)
				return true;
			lp_entry_extract(st, key, key_len, value, len);
		}
		if (r < 0)
			return broken(st, why);
		if (!entry || rest)
			break;
	}
	if (entry) {
		st->line = entry;
		st->line_len = entry_len;
	}
	return true;
}
