/* detected_fields and detected_field/{name}/values: which fields the newest lines of a log query have, found by trying json,
 * then logfmt on each line.
 *
 * The scan is that of log queries (scan.c); here the kept lines are looked at: their metadata, what the query's own parsers
 * found, and what json or logfmt find.  The oldest line's value says what type a field has.
 * Process: worker, one pool thread (stage finish).  Bounded by the line limit and the field limit; memory is charged. */
#include "query/engine-private.h"

#include "common/jsonw.h"
#include "query/logql/units.h"
#include "query/pipeline/jsonscan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#define MAX_PATH_STEPS 32u
#define EXTRACTED "_extracted"

enum field_type { TYPE_INT, TYPE_FLOAT, TYPE_BOOLEAN, TYPE_DURATION, TYPE_BYTES, TYPE_STRING };
enum { PARSER_JSON = 1, PARSER_LOGFMT = 2 };

struct field {
	const char *name;               /* arena */
	uint32_t name_len;
	unsigned parsers;
	enum field_type type;           /* of the oldest line's value, as in Loki */
	uint64_t *hashes;               /* of its values; 0 is a free place */
	size_t n, size;
	struct lp_buf path;             /* json: a JSON array of the keys */
};

struct detected {
	struct lp_query *query;
	const char *wanted;             /* values of this field; NULL: fields */
	size_t wanted_len;
	struct lp_arena arena;
	struct field *fields;
	size_t n, cap;
	struct lp_str *values;          /* distinct ones of the wanted field */
	size_t n_values, values_cap;
	struct lp_logql *json_text, *logfmt_text;
	struct lp_pipeline *json, *logfmt;
	struct lp_pipeline_state *own_state, *json_state, *logfmt_state;
};

/* ---- types -------------------------------------------------------------------------------------- */

static bool is_int(const char *s, size_t n)
{
	size_t i = n && (s[0] == '-' || s[0] == '+');

	if (i == n || n - i > 19)
		return false;
	for (; i < n; i++)
		if (s[i] < '0' || s[i] > '9')
			return false;
	return true;
}

static bool is_bool(const char *s, size_t n)
{
	static const char *const names[] = { "t", "T", "TRUE", "true", "True", "f", "F", "FALSE", "false", "False" };

	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		if (strlen(names[i]) == n && memcmp(names[i], s, n) == 0)
			return true;
	return false;
}

/* In the order in which Loki tries them. */
static enum field_type type_of(const char *s, size_t n)
{
	uint64_t bytes;
	int64_t ns;
	double f;

	if (is_int(s, n))
		return TYPE_INT;
	if (lp_units_float(s, n, &f) == 0)
		return TYPE_FLOAT;
	if (is_bool(s, n))
		return TYPE_BOOLEAN;
	if (lp_units_go_duration(s, n, &ns, NULL) == 0)
		return TYPE_DURATION;
	if (lp_units_bytes(s, n, &bytes) == 0)
		return TYPE_BYTES;
	return TYPE_STRING;
}

static const char *type_name(enum field_type type)
{
	static const char *const names[] = { "int", "float", "boolean", "duration", "bytes", "string" };

	return names[type];
}

/* ---- fields ------------------------------------------------------------------------------------- */

static int field_get(struct detected *d, const char *name, uint32_t len, struct field **ret_field)
{
	uint32_t limit = d->query->params.field_limit;
	int r;

	*ret_field = NULL;
	if ((len >= 2 && name[0] == '_' && name[1] == '_') || (d->wanted && (d->wanted_len != len || memcmp(d->wanted, name, len) != 0)))
		return 0;
	for (size_t i = 0; i < d->n; i++)
		if (d->fields[i].name_len == len && memcmp(d->fields[i].name, name, len) == 0) {
			*ret_field = &d->fields[i];
			return 0;
		}
	if (d->n >= limit)
		return 0;
	r = lp_query_grow(d->query, (void **)&d->fields, &d->cap, d->n + 1, sizeof *d->fields);
	if (r < 0)
		return r;
	struct field field = { .name = lp_arena_strndup(&d->arena, name, len), .name_len = len };

	if (!field.name)
		return -ENOMEM;
	d->fields[d->n] = field;
	*ret_field = &d->fields[d->n++];
	return 0;
}

static int hashes_grow(struct lp_query *query, struct field *field)
{
	size_t size = field->size ? field->size * 2 : 32;
	int r = lp_query_charge(query, (size - field->size) * sizeof *field->hashes);
	uint64_t *hashes = r == 0 ? calloc(size, sizeof *hashes) : NULL;

	if (!hashes)
		return -ENOMEM;
	for (size_t i = 0; i < field->size; i++) {
		size_t at = field->hashes[i] & (size - 1);

		while (field->hashes[i] && hashes[at])
			at = (at + 1) & (size - 1);
		if (field->hashes[i])
			hashes[at] = field->hashes[i];
	}
	free(field->hashes);
	field->hashes = hashes;
	field->size = size;
	return 0;
}

static int keep_value(struct detected *d, const char *value, uint32_t len)
{
	int r = lp_query_grow(d->query, (void **)&d->values, &d->values_cap, d->n_values + 1, sizeof *d->values);

	if (r == 0)
		r = lp_query_charge(d->query, len);
	if (r < 0)
		return r;
	const char *copy = lp_arena_strndup(&d->arena, value, len);

	if (!copy)
		return -ENOMEM;
	d->values[d->n_values++] = (struct lp_str){ copy, len };
	return 0;
}

static int field_add(struct detected *d, struct field *field, const char *value, uint32_t len)
{
	uint64_t hash = XXH3_64bits(value, len) | 1;

	field->type = type_of(value, len);
	if (field->n >= field->size / 2 && hashes_grow(d->query, field) < 0)
		return -ENOMEM;
	size_t at = hash & (field->size - 1);

	for (; field->hashes[at]; at = (at + 1) & (field->size - 1))
		if (field->hashes[at] == hash)
			return 0;
	field->hashes[at] = hash;
	field->n++;
	return d->wanted && d->n_values < d->query->params.field_limit ? keep_value(d, value, len) : 0;
}

/* ---- lines -------------------------------------------------------------------------------------- */

struct path_search {
	struct lp_pipeline_state *st;
	const char *name;               /* as it would be without a collision */
	size_t name_len;
	struct {
		const char *s;
		size_t len;
	} steps[MAX_PATH_STEPS];
	unsigned n;
};

/* The keys that lead to the value that was given this name. */
static bool find_path(struct path_search *f, const char *s, size_t n, const char *prefix, size_t prefix_len)
{
	struct lp_json_iter it;
	struct lp_json_value v;
	const char *key, *name, *why;
	size_t key_len, name_len;

	if (f->n == MAX_PATH_STEPS || lp_json_begin(&it, s, n, true, &why) < 0)
		return false;
	while (lp_json_next(&it, &key, &key_len, &v, &why) > 0) {
		if (!lp_json_unescape(f->st, key, key_len, &key, &key_len))
			return false;
		name = lp_sanitize(f->st, prefix, prefix_len, key, key_len, &name_len);
		if (!name || name_len > f->name_len || memcmp(name, f->name, name_len) != 0)
			continue;
		f->steps[f->n].s = key;
		f->steps[f->n++].len = key_len;
		if (v.type == LP_JSON_OBJECT ? find_path(f, v.s, v.len, name, name_len) : name_len == f->name_len)
			return true;
		f->n--;
	}
	return false;
}

static void set_path(struct detected *d, struct field *field, const char *line, size_t len)
{
	struct path_search f = { .st = d->json_state, .name = field->name, .name_len = field->name_len };
	size_t tail = sizeof EXTRACTED - 1;

	if (!find_path(&f, line, len, "", 0)) {
		if (field->name_len <= tail || memcmp(field->name + field->name_len - tail, EXTRACTED, tail) != 0)
			return;
		f.name_len -= tail;
		f.n = 0;
		if (!find_path(&f, line, len, "", 0))
			return;
	}
	lp_buf_byte(&field->path, '[');
	for (unsigned i = 0; i < f.n; i++) {
		if (i)
			lp_buf_byte(&field->path, ',');
		lp_jsonw_str(&field->path, f.steps[i].s, f.steps[i].len);
	}
	lp_buf_byte(&field->path, ']');
}

static bool is_level(const char *name, size_t len)
{
	return len == sizeof LP_DETECTED_LEVEL - 1 && memcmp(name, LP_DETECTED_LEVEL, len) == 0;
}

static int add_metadata(struct detected *d, const struct lp_cand *cand)
{
	struct lp_labels_iter it;
	struct lp_label label;
	struct field *field;
	int r = 0;

	if (!cand->meta_len || lp_metadata_iter(&it, cand->meta, cand->meta_len) < 0)
		return 0;
	while (r == 0 && lp_labels_next(&it, &label) > 0) {
		if (is_level(label.name, label.name_len))
			continue;
		r = field_get(d, label.name, label.name_len, &field);
		if (r == 0 && field)
			r = field_add(d, field, label.value, label.value_len);
	}
	return r;
}

/* detected_level is a field like those of the metadata, as the pipeline sees it: found, or sent and brought into form. */
static int add_level(struct detected *d, const struct lp_pipeline_result *res)
{
	struct field *field;
	int r = 0;

	for (uint32_t i = 0; r == 0 && i < res->n_labels; i++) {
		const struct lp_pipeline_label *label = &res->labels[i];

		if (label->category != LP_CATEGORY_METADATA || !is_level(label->name, label->name_len))
			continue;
		r = field_get(d, label->name, label->name_len, &field);
		if (r == 0 && field)
			r = field_add(d, field, label->value, label->value_len);
	}
	return r;
}

static bool has_name(const struct lp_pipeline_result *res, const struct lp_pipeline_label *label)
{
	for (uint32_t i = 0; i < res->n_labels; i++)
		if (res->labels[i].category == LP_CATEGORY_PARSED && res->labels[i].name_len == label->name_len &&
		    memcmp(res->labels[i].name, label->name, label->name_len) == 0)
			return true;
	return false;
}

/* Parsed labels of one result; those that `except` has are left to it. */
static int add_parsed(struct detected *d, const struct lp_pipeline_result *res, const struct lp_pipeline_result *except, unsigned parser,
		      const char *line, size_t len)
{
	struct field *field;
	int r = 0;

	for (uint32_t i = 0; r == 0 && i < res->n_labels; i++) {
		const struct lp_pipeline_label *label = &res->labels[i];

		if (label->category != LP_CATEGORY_PARSED || (except && has_name(except, label)))
			continue;
		r = field_get(d, label->name, label->name_len, &field);
		if (r < 0 || !field)
			continue;
		field->parsers |= parser;
		if (parser == PARSER_JSON && !field->path.len && !d->wanted)
			set_path(d, field, line, len);
		r = field_add(d, field, label->value, label->value_len);
	}
	return r;
}

static int look_at(struct detected *d, const struct lp_cand *cand)
{
	struct lp_pipeline_result own, found;
	unsigned parser = PARSER_JSON;
	int r = lp_pipeline_stream(d->own_state, cand->labels, cand->labels_len);

	if (r == 0)
		r = lp_pipeline_line(d->own_state, cand->ts, cand->line, cand->line_len, cand->meta, cand->meta_len, &own);
	if (r <= 0)
		return r == -EBADMSG ? 0 : r;
	r = add_metadata(d, cand);
	if (r == 0)
		r = add_level(d, &own);
	if (r == 0)
		r = lp_pipeline_stream(d->json_state, cand->labels, cand->labels_len);
	if (r == 0)
		r = lp_pipeline_line(d->json_state, cand->ts, own.line, own.line_len, NULL, 0, &found);
	if (r > 0 && found.error) {
		parser = PARSER_LOGFMT;
		r = lp_pipeline_stream(d->logfmt_state, cand->labels, cand->labels_len);
		if (r == 0)
			r = lp_pipeline_line(d->logfmt_state, cand->ts, own.line, own.line_len, NULL, 0, &found);
	}
	if (r > 0)
		r = add_parsed(d, &found, &own, parser, own.line, own.line_len);
	return r < 0 ? r : add_parsed(d, &own, NULL, parser, own.line, own.line_len);
}

/* ---- the answer --------------------------------------------------------------------------------- */

static int cmp_field(const void *x, const void *y)
{
	const struct field *a = x, *b = y;
	int c = memcmp(a->name, b->name, a->name_len < b->name_len ? a->name_len : b->name_len);

	return c ? c : (a->name_len > b->name_len) - (a->name_len < b->name_len);
}

static int cmp_value(const void *x, const void *y)
{
	const struct lp_str *a = x, *b = y;
	int c = memcmp(a->s, b->s, a->len < b->len ? a->len : b->len);

	return c ? c : (a->len > b->len) - (a->len < b->len);
}

static void print_field(struct lp_buf *out, const struct field *field)
{
	lp_buf_str(out, "{\"label\":");
	lp_jsonw_str(out, field->name, field->name_len);
	lp_buf_printf(out, ",\"type\":\"%s\",\"cardinality\":%zu,\"parsers\":", type_name(field->type), field->n);
	if (!field->parsers)
		lp_buf_str(out, "null");
	else
		lp_buf_printf(out, "[%s%s%s]", field->parsers & PARSER_JSON ? "\"json\"" : "",
			      field->parsers == (PARSER_JSON | PARSER_LOGFMT) ? "," : "", field->parsers & PARSER_LOGFMT ? "\"logfmt\"" : "");
	if (field->path.len) {
		lp_buf_str(out, ",\"jsonPath\":");
		lp_buf_append(out, field->path.data, field->path.len);
	}
	lp_buf_byte(out, '}');
}

static int answer(struct detected *d)
{
	struct lp_query *query = d->query;
	size_t n = d->wanted ? d->n_values : d->n;
	int r = lp_out_begin(query, 200, "application/json; charset=UTF-8");

	if (d->n)
		qsort(d->fields, d->n, sizeof *d->fields, cmp_field);
	if (d->n_values)
		qsort(d->values, d->n_values, sizeof *d->values, cmp_value);
	lp_buf_str(&query->out, d->wanted ? "{\"values\":[" : "{\"fields\":[");
	for (size_t i = 0; r == 0 && i < n; i++) {
		if (i)
			lp_buf_byte(&query->out, ',');
		if (d->wanted)
			lp_jsonw_str(&query->out, d->values[i].s, d->values[i].len);
		else
			print_field(&query->out, &d->fields[i]);
		r = lp_out_flush(query, false);
	}
	lp_buf_printf(&query->out, "],\"limit\":%u}", query->params.field_limit);
	return r < 0 ? r : lp_out_flush(query, true);
}

/* ---- life --------------------------------------------------------------------------------------- */

static int open_parser(const char *text, const struct lp_discover *discover,
		       struct lp_logql **ret_text, struct lp_pipeline **ret_pipeline, struct lp_pipeline_state **ret_state)
{
	struct lp_buf error = LP_BUF_INIT;
	int r = lp_logql_parse(text, strlen(text), ret_text, &error);

	lp_buf_free(&error);
	if (r == 0)
		r = lp_pipeline_open(&(struct lp_pipeline_spec){ .stages = (*ret_text)->root->log.stages, .discover = discover }, ret_pipeline);
	return r < 0 ? r : lp_pipeline_state_open(*ret_pipeline, ret_state);
}

static int detect(struct detected *d)
{
	struct lp_query *query = d->query;
	int r = lp_pipeline_state_open(query->pipeline, &d->own_state);

	if (r == 0)
		r = open_parser("{a=\"b\"} | json", query->discover, &d->json_text, &d->json, &d->json_state);
	if (r == 0)
		r = open_parser("{a=\"b\"} | logfmt", query->discover, &d->logfmt_text, &d->logfmt, &d->logfmt_state);
	for (size_t i = 0; r == 0 && i < query->kept.n; i++) {
		if (i % 64 == 63 && lp_query_stopped(query))
			return -ECANCELED;
		r = look_at(d, &query->kept.v[i]);
	}
	return r;
}

int lp_detected_result(struct lp_query *query)
{
	struct detected d = { .query = query, .wanted = query->params.label, .wanted_len = query->params.label_len };
	int r;

	while (query->kept.n > query->params.limit)      /* ties of the last timestamp */
		free(query->kept.v[--query->kept.n].owned);
	query->stats.lines_matched = query->kept.n;
	r = detect(&d);
	if (r == 0)
		r = answer(&d);
	lp_pipeline_state_close(&d.own_state);
	lp_pipeline_state_close(&d.json_state);
	lp_pipeline_state_close(&d.logfmt_state);
	lp_pipeline_close(&d.json);
	lp_pipeline_close(&d.logfmt);
	lp_logql_free(&d.json_text);
	lp_logql_free(&d.logfmt_text);
	for (size_t i = 0; i < d.n; i++) {
		free(d.fields[i].hashes);
		lp_buf_free(&d.fields[i].path);
	}
	free(d.fields);
	free(d.values);
	lp_arena_free(&d.arena);
	return r;
}
