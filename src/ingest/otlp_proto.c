/* OTLP logs over HTTP, binary protobuf (opentelemetry-proto, logs/v1/logs.proto; feature reference 2.6):
 *
 *   ExportLogsServiceRequest  1 resource_logs: ResourceLogs, repeated
 *   ResourceLogs  1 resource {1 attributes} | 2 scope_logs: ScopeLogs, repeated
 *   ScopeLogs     1 scope {1 name, 2 version, 3 attributes} | 2 log_records: LogRecord, repeated
 *   LogRecord     1 time | 2 severity number | 3 severity text | 5 body | 6 attributes | 8 flags | 9 trace id | 10 span id | 11 observed time
 *   KeyValue      1 key | 2 value      AnyValue  1 string | 2 bool | 3 int | 4 double | 5 array {1} | 6 map {1 KeyValue} | 7 bytes
 *
 * As in Loki some attributes of the resource become labels, dots as underscores; everything else is structured metadata of
 * each entry, maps flattened with underscores.  Rules (lp_otlp_rules) say otherwise.  A resource without any of those labels gets service_name="unknown_service".
 * Process: worker; memory only; nesting and lengths are bounded, hostile ones end in a refused body. */
#include "ingest/wire.h"

#include "common/jsonw.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define MAX_NESTING 16u
#define MAX_KEY 1024u

static const char *const index_attributes[] = {
	"service.name", "service.namespace", "service.instance.id", "deployment.environment", "deployment.environment.name", "cloud.region",
	"cloud.availability_zone", "k8s.cluster.name", "k8s.namespace.name", "k8s.pod.name", "k8s.container.name", "container.name",
	"k8s.replicaset.name", "k8s.deployment.name", "k8s.statefulset.name", "k8s.daemonset.name", "k8s.cronjob.name", "k8s.job.name",
};

struct otlp {
	struct lp_push *push;
	struct lp_wire resource, scope;
	struct lp_label *common;        /* metadata of resource and scope, the same for all of their entries */
	uint32_t n_common, cap_common;
	uint64_t common_bytes, common_total;
	struct lp_buf text;             /* a value that is no string */
};

static struct lp_wire part(const void *p, size_t n)
{
	return (struct lp_wire){ p, (const uint8_t *)p + n };
}

/* ---- values ------------------------------------------------------------------------------------- */

static void put_base64(struct lp_buf *out, struct lp_wire w)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

	while (w.p < w.end) {
		size_t n = (size_t)(w.end - w.p) < 3 ? (size_t)(w.end - w.p) : 3;
		uint32_t v = (uint32_t)w.p[0] << 16 | (n > 1 ? (uint32_t)w.p[1] << 8 : 0) | (n > 2 ? w.p[2] : 0);

		lp_buf_byte(out, (uint8_t)digits[v >> 18]);
		lp_buf_byte(out, (uint8_t)digits[v >> 12 & 63]);
		lp_buf_byte(out, n > 1 ? (uint8_t)digits[v >> 6 & 63] : '=');
		lp_buf_byte(out, n > 2 ? (uint8_t)digits[v & 63] : '=');
		w.p += n;
	}
}

static void put_double(struct lp_buf *out, uint64_t bits)
{
	double d;

	memcpy(&d, &bits, sizeof d);
	lp_jsonw_double(out, d);
}

static int put_json(struct otlp *o, struct lp_wire value, unsigned depth);

static int put_json_list(struct otlp *o, struct lp_wire list, bool map, unsigned depth)
{
	struct lp_wire_field f, m;
	bool first = true;
	int r;

	lp_buf_byte(&o->text, map ? '{' : '[');
	while ((r = lp_wire_next(o->push, &list, &f)) == 1) {
		struct lp_wire key = part("", 0), value = part("", 0), pair = f.bytes;

		if (f.number != 1 || f.type != LP_WIRE_BYTES)
			continue;
		if (!first)
			lp_buf_byte(&o->text, ',');
		first = false;
		if (!map) {
			r = put_json(o, f.bytes, depth + 1);
			if (r < 0)
				return r;
			continue;
		}
		while ((r = lp_wire_next(o->push, &pair, &m)) == 1) {
			if (m.number == 1 && m.type == LP_WIRE_BYTES)
				key = m.bytes;
			else if (m.number == 2 && m.type == LP_WIRE_BYTES)
				value = m.bytes;
		}
		if (r < 0)
			return r;
		lp_jsonw_str(&o->text, key.p, (size_t)(key.end - key.p));
		lp_buf_byte(&o->text, ':');
		r = put_json(o, value, depth + 1);
		if (r < 0)
			return r;
	}
	lp_buf_byte(&o->text, map ? '}' : ']');
	return r;
}

/* The last member of the AnyValue counts. */
static int any_value(struct otlp *o, struct lp_wire w, struct lp_wire_field *ret)
{
	struct lp_wire_field f;
	int r;

	*ret = (struct lp_wire_field){ .number = 0 };
	while ((r = lp_wire_next(o->push, &w, &f)) == 1)
		*ret = f;
	return r;
}

/* A number, boolean or bytes as text, the same inside and outside of JSON; false: it is something else. */
static bool put_scalar(struct otlp *o, const struct lp_wire_field *v)
{
	if (v->number == 2 && v->type == LP_WIRE_VARINT)
		lp_buf_str(&o->text, v->value ? "true" : "false");
	else if (v->number == 3 && v->type == LP_WIRE_VARINT)
		lp_buf_i64(&o->text, (int64_t)v->value);
	else if (v->number == 4 && v->type == LP_WIRE_FIXED64)
		put_double(&o->text, v->value);
	else
		return false;
	return true;
}

static int put_json(struct otlp *o, struct lp_wire value, unsigned depth)
{
	struct lp_wire_field v;
	int r = any_value(o, value, &v);

	if (r < 0)
		return r;
	if (depth > MAX_NESTING)
		return lp_push_fatal(o->push, "values nest too deeply: more than %u", MAX_NESTING);
	if (put_scalar(o, &v))
		return 0;
	if (v.type != LP_WIRE_BYTES || v.number == 0) {
		lp_buf_str(&o->text, "null");
	} else if (v.number == 1) {
		lp_jsonw_str(&o->text, v.bytes.p, (size_t)(v.bytes.end - v.bytes.p));
	} else if (v.number == 5 || v.number == 6) {
		return put_json_list(o, v.bytes, v.number == 6, depth);
	} else if (v.number == 7) {
		lp_buf_byte(&o->text, '"');
		put_base64(&o->text, v.bytes);
		lp_buf_byte(&o->text, '"');
	} else {
		lp_buf_str(&o->text, "null");
	}
	return 0;
}

/* The text of a value: a string is borrowed from the body, else from o->text. */
static int value_text(struct otlp *o, struct lp_wire value, struct lp_wire *ret)
{
	struct lp_wire_field v;
	int r = any_value(o, value, &v);

	lp_buf_reset(&o->text);
	if (r < 0)
		return r;
	if (v.number == 1 && v.type == LP_WIRE_BYTES) {
		*ret = v.bytes;
		return 0;
	}
	if (v.number == 7 && v.type == LP_WIRE_BYTES)
		put_base64(&o->text, v.bytes);
	else if (v.number)
		r = put_json(o, value, 0);
	if (o->text.failed)
		return -ENOMEM;
	*ret = part(o->text.len ? (const void *)o->text.data : "", o->text.len);
	return r;
}

/* ---- attributes --------------------------------------------------------------------------------- */

/* Metadata whose bytes must live until the stream ends. */
static int add_meta(struct otlp *o, struct lp_wire name, struct lp_wire value, bool copy)
{
	size_t n = (size_t)(value.end - value.p);
	const void *p = value.p;

	if (copy) {
		p = lp_arena_dup(&o->push->arena, value.p, n);
		if (!p)
			return -ENOMEM;
	}
	return lp_push_meta(o->push, (const char *)name.p, (size_t)(name.end - name.p), p, n);
}

static int add_meta_text(struct otlp *o, const char *name, const char *value)
{
	return value[0] ? add_meta(o, part(name, strlen(name)), part(value, strlen(value)), true) : 0;
}

/* Whose attribute it is; a part of a map goes where the map goes. */
enum level { RESOURCE_LABELS, RESOURCE_REST, SCOPE, RECORD, PART };

static bool is_default_label(struct lp_wire key)
{
	size_t n = (size_t)(key.end - key.p);

	for (size_t i = 0; i < LP_ARRAY_LEN(index_attributes); i++)
		if (strlen(index_attributes[i]) == n && memcmp(index_attributes[i], key.p, n) == 0)
			return true;
	return false;
}

static bool rule_matches(const struct lp_otlp_rule *rule, struct lp_wire key)
{
	size_t n = (size_t)(key.end - key.p);

	if (rule->match)
		return rule->match(rule->ctx, (const char *)key.p, n);
	for (size_t i = 0; i < rule->n_names; i++)
		if (strlen(rule->names[i]) == n && memcmp(rule->names[i], key.p, n) == 0)
			return true;
	return false;
}

static enum lp_otlp_action action_of(const struct otlp *o, enum level level, struct lp_wire key)
{
	static const struct lp_otlp_rules none = { .ignore_defaults = false };
	const struct lp_otlp_rules *rules = o->push->limits->otlp ? o->push->limits->otlp : &none;
	const struct lp_otlp_rule *rule = level == SCOPE ? rules->scope : level == RECORD ? rules->log : rules->resource;
	size_t n = level == SCOPE ? rules->n_scope : level == RECORD ? rules->n_log : rules->n_resource;

	if (level == PART)
		return LP_OTLP_METADATA;
	if (level <= RESOURCE_REST && !rules->ignore_defaults && is_default_label(key))
		return LP_OTLP_INDEX_LABEL;
	for (size_t i = 0; i < n; i++)
		if (rule_matches(&rule[i], key))
			return rule[i].action;
	return LP_OTLP_METADATA;
}

static int add_label(struct otlp *o, struct lp_wire key, struct lp_wire value)
{
	size_t n = (size_t)(value.end - value.p), name_len = (size_t)(key.end - key.p);
	const char *name = (const char *)key.p;
	char *text = lp_arena_strndup(&o->push->arena, (const char *)value.p, n);

	if (!text)
		return -ENOMEM;
	if (name_len == 0)
		return 0;
	int r = lp_push_sanitise(o->push, &name, &name_len);

	return r < 0 ? r : lp_push_label(o->push, name, name_len, text, n);
}

static int add_attribute(struct otlp *o, struct lp_wire key, struct lp_wire value, enum level level, unsigned depth);

/* {"a":{"b":1}} is a_b=1. */
static int add_map(struct otlp *o, struct lp_wire prefix, struct lp_wire map, unsigned depth);

static int read_pair(struct otlp *o, struct lp_wire w, struct lp_wire *ret_key, struct lp_wire *ret_value)
{
	struct lp_wire_field f;
	int r;

	*ret_key = *ret_value = part("", 0);
	while ((r = lp_wire_next(o->push, &w, &f)) == 1) {
		if (f.number == 1 && f.type == LP_WIRE_BYTES)
			*ret_key = f.bytes;
		else if (f.number == 2 && f.type == LP_WIRE_BYTES)
			*ret_value = f.bytes;
	}
	return r;
}

static int add_map(struct otlp *o, struct lp_wire prefix, struct lp_wire map, unsigned depth)
{
	size_t prefix_len = (size_t)(prefix.end - prefix.p);
	struct lp_wire_field f;
	int r;

	if (depth > MAX_NESTING)
		return lp_push_fatal(o->push, "values nest too deeply: more than %u", MAX_NESTING);
	while ((r = lp_wire_next(o->push, &map, &f)) == 1) {
		struct lp_wire key, value;

		if (f.number != 1 || f.type != LP_WIRE_BYTES)
			continue;
		r = read_pair(o, f.bytes, &key, &value);
		if (r < 0)
			return r;
		size_t key_len = (size_t)(key.end - key.p);

		if (prefix_len + key_len + 1 > MAX_KEY)
			return lp_push_fatal(o->push, "attribute names longer than %u bytes are not taken", MAX_KEY);
		char *name = lp_arena_alloc(&o->push->arena, prefix_len + key_len + 1);

		if (!name)
			return -ENOMEM;
		memcpy(name, prefix.p, prefix_len);
		name[prefix_len] = '_';
		if (key_len)
			memcpy(name + prefix_len + 1, key.p, key_len);
		r = add_attribute(o, part(name, prefix_len + key_len + 1), value, PART, depth + 1);
		if (r < 0)
			return r;
	}
	return r;
}

static int add_attribute(struct otlp *o, struct lp_wire key, struct lp_wire value, enum level level, unsigned depth)
{
	enum lp_otlp_action action = action_of(o, level, key);
	bool label = action == LP_OTLP_INDEX_LABEL;
	struct lp_wire_field v;
	struct lp_wire text;
	int r = any_value(o, value, &v);

	if (r < 0 || action == LP_OTLP_DROP || (level == RESOURCE_LABELS && !label) || (level == RESOURCE_REST && label))
		return r;
	if (!label && v.number == 6 && v.type == LP_WIRE_BYTES)
		return add_map(o, key, v.bytes, depth);
	r = value_text(o, value, &text);
	if (r < 0)
		return r;
	return label ? add_label(o, key, text) : add_meta(o, key, text, v.number != 1);
}

static int add_attributes(struct otlp *o, struct lp_wire w, uint32_t number, enum level level)
{
	struct lp_wire_field f;
	int r;

	while ((r = lp_wire_next(o->push, &w, &f)) == 1) {
		struct lp_wire key, value;

		if (f.number != number || f.type != LP_WIRE_BYTES)
			continue;
		r = read_pair(o, f.bytes, &key, &value);
		if (r == 0)
			r = add_attribute(o, key, value, level, 0);
		if (r < 0)
			return r;
	}
	return r;
}

/* ---- records ------------------------------------------------------------------------------------ */

static void put_hex(char *to, struct lp_wire w)
{
	static const char digits[] = "0123456789abcdef";

	for (; w.p < w.end; w.p++) {
		*to++ = digits[*w.p >> 4];
		*to++ = digits[*w.p & 15];
	}
	*to = '\0';
}

static int add_id(struct otlp *o, const char *name, struct lp_wire id)
{
	char text[65];

	if (id.end - id.p > 32)
		return lp_push_fatal(o->push, "%s is longer than 32 bytes", name);
	put_hex(text, id);
	return add_meta_text(o, name, text);
}

static int add_number(struct otlp *o, const char *name, uint64_t v)
{
	char text[24] = "";

	if (v)
		(void)snprintf(text, sizeof text, "%llu", (unsigned long long)v);
	return add_meta_text(o, name, text);
}

struct record {
	uint64_t time, observed, severity, flags;
	struct lp_wire severity_text, body, trace, span;
};

static int read_record(struct otlp *o, struct lp_wire w, struct record *rec)
{
	struct lp_wire none = part("", 0);
	struct lp_wire_field f;
	int r;

	*rec = (struct record){ .severity_text = none, .body = none, .trace = none, .span = none };
	while ((r = lp_wire_next(o->push, &w, &f)) == 1) {
		if (f.type == LP_WIRE_BYTES) {
			if (f.number == 3)
				rec->severity_text = f.bytes;
			else if (f.number == 5)
				rec->body = f.bytes;
			else if (f.number == 9)
				rec->trace = f.bytes;
			else if (f.number == 10)
				rec->span = f.bytes;
		} else if (f.number == 1 && f.type == LP_WIRE_FIXED64) {
			rec->time = f.value;
		} else if (f.number == 11 && f.type == LP_WIRE_FIXED64) {
			rec->observed = f.value;
		} else if (f.number == 2 && f.type == LP_WIRE_VARINT) {
			rec->severity = f.value;
		} else if (f.number == 8 && f.type == LP_WIRE_FIXED32) {
			rec->flags = f.value;
		}
	}
	return r;
}

static int restore_common(struct otlp *o)
{
	struct lp_pairs *meta = &o->push->meta;
	uint32_t max = o->push->limits->max_metadata_entries;

	meta->bytes = o->common_bytes;
	meta->total = o->common_total;
	meta->n = 0;
	if ((max && meta->total > max) || !o->push->stream_ok)
		return 0;               /* every entry is refused: nothing is copied for each of them */
	if (meta->cap < o->n_common) {
		struct lp_label *v = realloc(meta->v, o->cap_common * sizeof *v);

		if (!v)
			return -ENOMEM;
		meta->v = v;
		meta->cap = o->cap_common;
	}
	if (o->n_common)
		memcpy(meta->v, o->common, o->n_common * sizeof *meta->v);
	meta->n = o->n_common;
	return 0;
}

static int add_record(struct otlp *o, struct lp_wire w)
{
	struct record rec;
	struct lp_wire line;
	uint64_t ts;
	int r = read_record(o, w, &rec);

	if (r == 0)
		r = restore_common(o);
	if (r == 0)
		r = add_attributes(o, w, 6, RECORD);
	if (r == 0)
		r = add_number(o, "severity_number", rec.severity);
	if (r == 0 && rec.severity_text.p < rec.severity_text.end)
		r = add_meta(o, part("severity_text", 13), rec.severity_text, false);
	if (r == 0)
		r = add_id(o, "trace_id", rec.trace);
	if (r == 0)
		r = add_id(o, "span_id", rec.span);
	if (r == 0)
		r = add_number(o, "flags", rec.flags);
	if (r == 0)
		r = add_number(o, "observed_timestamp", rec.observed);
	if (r == 0)
		r = value_text(o, rec.body, &line);
	if (r < 0)
		return r;
	ts = rec.time ? rec.time : rec.observed ? rec.observed : (uint64_t)lp_push_now(o->push);
	if (ts > INT64_MAX) {
		lp_push_entry_out_of_time(o->push, true);
		return 0;
	}
	return lp_push_entry_copy(o->push, (int64_t)ts, (const char *)line.p, (size_t)(line.end - line.p));
}

/* ---- streams ------------------------------------------------------------------------------------ */

static int save_common(struct otlp *o)
{
	struct lp_pairs *meta = &o->push->meta;

	if (o->cap_common < meta->n) {
		struct lp_label *v = realloc(o->common, meta->cap * sizeof *v);

		if (!v)
			return -ENOMEM;
		o->common = v;
		o->cap_common = meta->cap;
	}
	if (meta->n)
		memcpy(o->common, meta->v, meta->n * sizeof *meta->v);
	o->n_common = meta->n;
	o->common_bytes = meta->bytes;
	o->common_total = meta->total;
	return 0;
}

static int add_scope(struct otlp *o)
{
	struct lp_wire w = o->scope;
	struct lp_wire_field f;
	int r = add_attributes(o, o->scope, 3, SCOPE);

	while (r == 0 && (r = lp_wire_next(o->push, &w, &f)) == 1) {
		r = 0;
		if (f.type == LP_WIRE_BYTES && f.number == 1 && f.bytes.p < f.bytes.end)
			r = add_meta(o, part("scope_name", 10), f.bytes, false);
		else if (f.type == LP_WIRE_BYTES && f.number == 2 && f.bytes.p < f.bytes.end)
			r = add_meta(o, part("scope_version", 13), f.bytes, false);
	}
	return r;
}

static int begin_stream(struct otlp *o)
{
	int r = add_attributes(o, o->resource, 1, RESOURCE_LABELS);

	if (r == 0 && !o->push->labels.n)
		r = lp_push_label(o->push, "service_name", 12, "unknown_service", 15);
	if (r == 0)
		r = lp_push_stream(o->push, NULL, true);
	o->push->meta.n = 0;
	o->push->meta.bytes = o->push->meta.total = 0;
	if (r == 0)
		r = add_attributes(o, o->resource, 1, RESOURCE_REST);
	if (r == 0)
		r = add_scope(o);
	return r < 0 ? r : save_common(o);
}

/* Of a repeated single field the last counts. */
static int find_part(struct otlp *o, struct lp_wire w, struct lp_wire *ret)
{
	struct lp_wire_field f;
	int r;

	*ret = part("", 0);
	while ((r = lp_wire_next(o->push, &w, &f)) == 1)
		if (f.number == 1 && f.type == LP_WIRE_BYTES)
			*ret = f.bytes;
	return r;
}

static int read_scope_logs(struct otlp *o, struct lp_wire w)
{
	struct lp_wire_field f;
	int r = find_part(o, w, &o->scope);

	if (r == 0)
		r = begin_stream(o);
	while (r == 0 && (r = lp_wire_next(o->push, &w, &f)) == 1)
		r = f.number == 2 && f.type == LP_WIRE_BYTES ? add_record(o, f.bytes) : 0;
	if (r == 0)
		lp_push_stream_end(o->push);
	return r;
}

static int read_resource_logs(struct otlp *o, struct lp_wire w)
{
	struct lp_wire_field f;
	int r = find_part(o, w, &o->resource);

	while (r == 0 && (r = lp_wire_next(o->push, &w, &f)) == 1)
		r = f.number == 2 && f.type == LP_WIRE_BYTES ? read_scope_logs(o, f.bytes) : 0;
	return r;
}

int lp_push_otlp_proto(struct lp_push *push, const void *body, size_t len)
{
	struct otlp o = { .push = push };
	struct lp_wire w = part(body, len);
	struct lp_wire_field f;
	int r = 0;

	while (r == 0 && (r = lp_wire_next(push, &w, &f)) == 1)
		r = f.number == 1 && f.type == LP_WIRE_BYTES ? read_resource_logs(&o, f.bytes) : 0;
	free(o.common);
	lp_buf_free(&o.text);
	return r;
}
