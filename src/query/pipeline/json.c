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

static bool is_step(struct lp_pipeline_state *st, const struct lp_path_step *step, const char *key, size_t len)
{
	return lp_json_unescape(st, key, len, &key, &len) && len == step->key.len && !memcmp(key, step->key.s, len);
}

/* Follow a path; the first member of a name counts.  A broken value at the end of the path is an error, one elsewhere is not. */
static bool follow(struct lp_pipeline_state *st, const struct lp_path *path, struct lp_json_value *v)
{
	for (unsigned i = 0; i < path->n_steps; i++) {
		const struct lp_path_step *step = &path->steps[i];
		struct lp_json_iter it;
		struct lp_json_value member;
		const char *key = NULL, *why = "";
		size_t key_len = 0;
		uint32_t at = 0;
		bool found = false;
		int r = 1;

		if (v->type != (step->is_index ? LP_JSON_ARRAY : LP_JSON_OBJECT) || lp_json_begin(&it, v->s, v->len, !step->is_index, &why) < 0)
			return false;
		while (!found && r > 0) {
			key = NULL;
			r = lp_json_next(&it, &key, &key_len, &member, &why);
			if (r > 0)
				found = step->is_index ? at++ == step->index : is_step(st, step, key, key_len);
		}
		if (r < 0 && key && is_step(st, step, key, key_len))
			broken(st, why);
		if (!found)
			return false;
		*v = member;
	}
	return true;
}

bool lp_run_json_paths(struct lp_pipeline_state *st, const struct lp_step *step)
{
	const struct lp_stage *stage = step->stage;
	const char *value;
	size_t len;

	if (!st->line_len || lp_hints_none(st))
		return true;
	if (!strchr("{[\"", st->line[0]) || !st->line[0])
		return broken(st, "");
	for (uint32_t i = 0; i < stage->n_extractions; i++) {
		const struct lp_extraction *e = &stage->extractions[i];
		struct lp_json_value v = { st->line[0] == '[' ? LP_JSON_ARRAY : LP_JSON_OBJECT, st->line, st->line_len };

		if (!follow(st, e->path, &v)) {
			/* Nothing there: the label is empty, unless there is one of the name already. */
			if (!lp_entry_find(st, e->label.s, e->label.len))
				lp_entry_set(st, LP_CATEGORY_PARSED, e->label.s, e->label.len, "", 0);
			continue;
		}
		value = lp_json_text(st, &v, &len);
		/* Unlike the labels of the json stage they replace what earlier stages found (Loki). */
		if (lp_entry_is_taken(st, e->label.s, e->label.len))
			lp_entry_extract(st, e->label.s, e->label.len, value, len);
		else
			lp_entry_set(st, LP_CATEGORY_PARSED, e->label.s, e->label.len, value, len);
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
