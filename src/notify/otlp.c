/* OTLP's ExportTraceServiceRequest, written by hand: few fields, and the size of a message is only known behind it.
 *
 * Guarantees: what is written is valid whatever is in the span, as long as its numbers are in bounds (lp_spans_take() sees to it)
 * and its texts are UTF-8 (lp_span_text() does).  Pure.  Process: notifier, main thread. */
#include "notify/otlp.h"

#include "common/bytes.h"
#include "common/jsonw.h"

#include <string.h>

#define ATTRS (LP_SPAN_ATTRS + 2)

enum kind { INTERNAL = 1, SERVER, CLIENT };

struct attr {
	const char *key, *text;         /* text NULL: a number */
	size_t text_len;
	int64_t number;
};

static const struct { const char *name, *text, *more; enum kind kind; } names[LP_SPAN_NAMES] = {
	[LP_SPAN_HTTP] = { "http", "http.route", NULL, SERVER }, [LP_SPAN_PUSH] = { "push", "http.route", NULL, SERVER },
	[LP_SPAN_QUERY] = { "query", "http.route", NULL, SERVER }, [LP_SPAN_TAIL] = { "tail", "http.route", NULL, SERVER },
	[LP_SPAN_DECODE] = { .name = "decode" }, [LP_SPAN_COMMIT_WAIT] = { .name = "wait for commit" },
	[LP_SPAN_PARSE] = { .name = "parse" }, [LP_SPAN_PLAN] = { .name = "plan" }, [LP_SPAN_SCAN] = { .name = "scan" },
	[LP_SPAN_MERGE] = { .name = "merge" }, [LP_SPAN_HISTORY] = { .name = "history" }, [LP_SPAN_COMMIT] = { .name = "commit" },
	[LP_SPAN_RULE] = { "rule evaluation", "logpulse.rule.name", "logpulse.rule.group", INTERNAL },
	[LP_SPAN_WEBHOOK] = { "webhook delivery", "logpulse.target.name", NULL, CLIENT },       /* more: the status' message */
};

static const char *const types[] = { "alerting", "recording" }, *const states[] = { "inactive", "pending", "firing" };
static const char *const kinds[] = { "webhook", "slack", "pagerduty", "alertmanager" };

static const struct { const char *key, *const *words; size_t n_words; } keys[LP_SPAN_ATTR_KEYS] = {
	[LP_ATTR_STATUS_CODE] = { .key = "http.response.status_code" }, [LP_ATTR_LINES] = { .key = "logpulse.lines" },
	[LP_ATTR_BYTES] = { .key = "logpulse.bytes" }, [LP_ATTR_BLOCKS_READ] = { .key = "logpulse.blocks_read" },
	[LP_ATTR_BLOCKS_SKIPPED] = { .key = "logpulse.blocks_skipped" }, [LP_ATTR_COMMIT] = { .key = "logpulse.commit" },
	[LP_ATTR_LINES_DROPPED] = { .key = "logpulse.lines_dropped" },
	[LP_ATTR_RULE_TYPE] = { "logpulse.rule.type", types, LP_ARRAY_LEN(types) },
	[LP_ATTR_RULE_STATE] = { "logpulse.rule.state", states, LP_ARRAY_LEN(states) }, [LP_ATTR_SERIES] = { .key = "logpulse.series" },
	[LP_ATTR_TARGET_KIND] = { "logpulse.target.kind", kinds, LP_ARRAY_LEN(kinds) },
	[LP_ATTR_RETRY] = { .key = "http.request.resend_count" },
};

static enum kind kind_of(const struct lp_span *span)
{
	return names[span->name].kind ? names[span->name].kind : INTERNAL;
}

static struct attr text_attr(const char *key, const char *text, size_t len)
{
	return (struct attr){ .key = key, .text = text, .text_len = len };
}

static unsigned attrs_of(const struct lp_span *span, struct attr to[ATTRS])
{
	unsigned n = 0;

	if (span->text_len && names[span->name].text)
		to[n++] = text_attr(names[span->name].text, span->text, span->text_len);
	if (span->more_len && names[span->name].more)
		to[n++] = text_attr(names[span->name].more, span->text + span->text_len, span->more_len);
	for (unsigned i = 0; i < span->n_attrs; i++) {
		size_t key = span->keys[i], v = (size_t)span->values[i];

		if (v < keys[key].n_words)
			to[n++] = text_attr(keys[key].key, keys[key].words[v], strlen(keys[key].words[v]));
		else
			to[n++] = (struct attr){ .key = keys[key].key, .number = span->values[i] };
	}
	return n;
}

/* What went wrong, where the second text is that. */
static size_t message_of(const struct lp_span *span)
{
	return span->error && !names[span->name].more ? span->more_len : 0;
}

static bool is_set(const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (p[i])
			return true;
	return false;
}

/* ---- JSON ------------------------------------------------------------------------------------------ */

static void json_hex(struct lp_buf *out, const char *key, const uint8_t *p, size_t n)
{
	lp_buf_printf(out, "\"%s\":\"", key);
	for (size_t i = 0; i < n; i++)
		lp_buf_printf(out, "%02x", p[i]);
	lp_buf_byte(out, '"');
}

static void json_attr(struct lp_buf *out, const struct attr *attr, bool first)
{
	lp_buf_str(out, first ? "{\"key\":" : ",{\"key\":");
	lp_jsonw_cstr(out, attr->key);
	if (attr->text) {
		lp_buf_str(out, ",\"value\":{\"stringValue\":");
		lp_jsonw_str(out, attr->text, attr->text_len);
		lp_buf_str(out, "}}");
	} else {
		lp_buf_printf(out, ",\"value\":{\"intValue\":\"%lld\"}}", (long long)attr->number);
	}
}

void lp_otlp_json(struct lp_buf *out, const struct lp_span *span)
{
	struct attr attrs[ATTRS];
	unsigned n = attrs_of(span, attrs);

	lp_buf_byte(out, '{');
	json_hex(out, "traceId", span->id.trace, 16);
	lp_buf_byte(out, ',');
	json_hex(out, "spanId", span->id.span, 8);
	if (is_set(span->parent, 8)) {
		lp_buf_byte(out, ',');
		json_hex(out, "parentSpanId", span->parent, 8);
	}
	lp_buf_printf(out, ",\"name\":\"%s\",\"kind\":%d,\"startTimeUnixNano\":\"%lld\",\"endTimeUnixNano\":\"%lld\",\"attributes\":[",
		      names[span->name].name, kind_of(span), (long long)span->start_ns, (long long)span->end_ns);
	for (unsigned i = 0; i < n; i++)
		json_attr(out, &attrs[i], i == 0);
	lp_buf_byte(out, ']');
	if (is_set(span->link.trace, 16)) {
		lp_buf_str(out, ",\"links\":[{");
		json_hex(out, "traceId", span->link.trace, 16);
		lp_buf_byte(out, ',');
		json_hex(out, "spanId", span->link.span, 8);
		lp_buf_str(out, "}]");
	}
	lp_buf_printf(out, ",\"status\":{%s", span->error ? "\"code\":2" : "");
	if (message_of(span)) {
		lp_buf_str(out, ",\"message\":");
		lp_jsonw_str(out, span->text + span->text_len, message_of(span));
	}
	lp_buf_str(out, "}}");
}

/* ---- protobuf: a field is its number and wire type (0 varint, 1 eight bytes, 2 length and bytes), and its value -------------- */

static void pb_varint(struct lp_buf *out, uint64_t v)
{
	for (; v >= 0x80; v >>= 7)
		lp_buf_byte(out, (uint8_t)v | 0x80);
	lp_buf_byte(out, (uint8_t)v);
}

static void pb_number(struct lp_buf *out, unsigned field, uint64_t v)
{
	pb_varint(out, field << 3);
	pb_varint(out, v);
}

static void pb_fixed(struct lp_buf *out, unsigned field, int64_t v)
{
	uint8_t bytes[8];

	lp_put_le64(bytes, (uint64_t)v);
	pb_varint(out, field << 3 | 1);
	lp_buf_append(out, bytes, sizeof bytes);
}

static void pb_bytes(struct lp_buf *out, unsigned field, const void *p, size_t n)
{
	pb_varint(out, field << 3 | 2);
	pb_varint(out, n);
	lp_buf_append(out, p, n);
}

/* A message inside: its length has four bytes, written by pb_close(); a varint may be longer than it need be. */
static size_t pb_open(struct lp_buf *out, unsigned field)
{
	pb_varint(out, field << 3 | 2);
	lp_buf_append(out, "\0\0\0\0", 4);
	return out->len;
}

static void pb_close(struct lp_buf *out, size_t mark)
{
	size_t n = out->len - mark;

	if (out->failed)
		return;
	for (unsigned i = 0; i < 4; i++)
		out->data[mark - 4 + i] = (uint8_t)(n >> 7 * i & 0x7f) | (i < 3 ? 0x80 : 0);
}

static void pb_attr(struct lp_buf *out, unsigned field, const struct attr *attr)
{
	size_t mark = pb_open(out, field), value;

	pb_bytes(out, 1, attr->key, strlen(attr->key));
	value = pb_open(out, 2);
	if (attr->text)
		pb_bytes(out, 1, attr->text, attr->text_len);
	else
		pb_number(out, 3, (uint64_t)attr->number);
	pb_close(out, value);
	pb_close(out, mark);
}

static void pb_span(struct lp_buf *out, const struct lp_span *span)
{
	struct attr attrs[ATTRS];
	unsigned n = attrs_of(span, attrs);
	size_t mark = pb_open(out, 2), inner;

	pb_bytes(out, 1, span->id.trace, 16);
	pb_bytes(out, 2, span->id.span, 8);
	if (is_set(span->parent, 8))
		pb_bytes(out, 4, span->parent, 8);
	pb_bytes(out, 5, names[span->name].name, strlen(names[span->name].name));
	pb_number(out, 6, kind_of(span));
	pb_fixed(out, 7, span->start_ns);
	pb_fixed(out, 8, span->end_ns);
	for (unsigned i = 0; i < n; i++)
		pb_attr(out, 9, &attrs[i]);
	if (is_set(span->link.trace, 16)) {
		inner = pb_open(out, 13);
		pb_bytes(out, 1, span->link.trace, 16);
		pb_bytes(out, 2, span->link.span, 8);
		pb_close(out, inner);
	}
	if (span->error) {
		inner = pb_open(out, 15);
		if (message_of(span))
			pb_bytes(out, 2, span->text + span->text_len, message_of(span));
		pb_number(out, 3, 2);
		pb_close(out, inner);
	}
	pb_close(out, mark);
}

/* ---- requests --------------------------------------------------------------------------------------- */

static bool named(const char *pair, const char *name)
{
	size_t n = strlen(name);

	return !strncmp(pair, name, n) && pair[n] == '=';
}

static void put_attr(struct lp_otlp *otlp, const char *key, const char *value, bool first)
{
	struct attr attr = text_attr(key, value, strlen(value));

	if (otlp->json)
		json_attr(otlp->out, &attr, first);
	else
		pb_attr(otlp->out, 1, &attr);
}

static void put_resource(struct lp_otlp *otlp, const struct lp_otlp_resource *resource)
{
	bool version = false;

	put_attr(otlp, "service.name", resource->service_name, true);
	for (size_t i = 0; i < resource->n_attributes; i++) {
		const char *pair = resource->attributes[i], *equals = strchr(pair, '=');
		struct lp_buf name = LP_BUF_INIT;

		if (!equals || named(pair, "service.name"))
			continue;
		version |= named(pair, "service.version");
		lp_buf_append(&name, pair, (size_t)(equals - pair));
		put_attr(otlp, lp_buf_cstr(&name), equals + 1, false);
		lp_buf_free(&name);
	}
	if (!version)
		put_attr(otlp, "service.version", resource->service_version, false);
}

void lp_otlp_begin(struct lp_otlp *otlp, struct lp_buf *out, bool json, const struct lp_otlp_resource *resource)
{
	*otlp = (struct lp_otlp){ .out = out, .json = json };
	if (json) {
		lp_buf_str(out, "{\"resourceSpans\":[{\"resource\":{\"attributes\":[");
		put_resource(otlp, resource);
		lp_buf_str(out, "]},\"scopeSpans\":[{\"scope\":{\"name\":\"logpulse\"},\"spans\":[");
		return;
	}
	otlp->marks[0] = pb_open(out, 1);
	size_t mark = pb_open(out, 1);

	put_resource(otlp, resource);
	pb_close(out, mark);
	otlp->marks[1] = pb_open(out, 2);
	mark = pb_open(out, 1);
	pb_bytes(out, 1, "logpulse", 8);
	pb_close(out, mark);
}

void lp_otlp_add(struct lp_otlp *otlp, const struct lp_span *span)
{
	if (!otlp->json) {
		pb_span(otlp->out, span);
	} else {
		if (otlp->n)
			lp_buf_byte(otlp->out, ',');
		lp_otlp_json(otlp->out, span);
	}
	otlp->n++;
}

void lp_otlp_end(struct lp_otlp *otlp)
{
	if (otlp->json) {
		lp_buf_str(otlp->out, "]}]}]}");
	} else {
		pb_close(otlp->out, otlp->marks[1]);
		pb_close(otlp->out, otlp->marks[0]);
	}
}
