/* Request bodies (see body.h).
 *
 * Forms: the original server's alert and log objects with more members; Slack's incoming web hooks (text, attachments);
 * PagerDuty Events API v2 (trigger, resolve; dedup_key is the alert's key); Alertmanager API v2 (POST /api/v2/alerts, an array).
 * Process: notifier, main thread. */
#include "notify/hooks/body.h"

#include "common/bytes.h"
#include "common/jsonw.h"
#include "common/rfc3339.h"
#include "notify/hooks/render.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define PAGERDUTY_SUMMARY 1024u         /* longest that its API takes */

/* ---- pieces ---- */

static void key(struct lp_buf *out, const char *name)
{
	if (out->len && out->data[out->len - 1] != '{')
		lp_buf_byte(out, ',');
	lp_buf_printf(out, "\"%s\":", name);
}

static void text(struct lp_buf *out, const char *name, const char *value)
{
	key(out, name);
	lp_jsonw_cstr(out, value);
}

static void time_text(struct lp_buf *out, const char *name, int64_t ns)
{
	char buf[LP_RFC3339_MAX];

	key(out, name);
	lp_jsonw_str(out, buf, lp_rfc3339_format(buf, ns));
}

static void pairs(struct lp_buf *out, const struct lp_alert_pair *pair, uint32_t n)
{
	lp_buf_byte(out, '{');
	for (uint32_t i = 0; i < n; i++) {
		if (i)
			lp_buf_byte(out, ',');
		lp_jsonw_cstr(out, pair[i].name);
		lp_buf_byte(out, ':');
		lp_jsonw_cstr(out, pair[i].value);
	}
	lp_buf_byte(out, '}');
}

/* JSON has no NaN: a text then. */
static void number(struct lp_buf *out, double v)
{
	if (isfinite(v)) {
		lp_jsonw_double(out, v);
		return;
	}
	lp_buf_byte(out, '"');
	lp_jsonw_double(out, v);
	lp_buf_byte(out, '"');
}

static const char *find(const struct lp_alert_pair *pair, uint32_t n, const char *name)
{
	for (uint32_t i = 0; i < n; i++)
		if (!strcmp(pair[i].name, name))
			return pair[i].value;
	return NULL;
}

static const char *label(const struct lp_alert_event *event, const char *name) { return find(event->labels, event->n_labels, name); }

static const char *summary(const struct lp_alert_event *event)
{
	static const char *const names[] = { "summary", "message", "description" };

	for (size_t i = 0; i < LP_ARRAY_LEN(names); i++) {
		const char *value = find(event->annotations, event->n_annotations, names[i]);

		if (value && *value)
			return value;
	}
	return event->rule;
}

static uint64_t mix(uint64_t h, uint64_t v)
{
	uint8_t bytes[16];

	lp_put_le64(bytes, h);
	lp_put_le64(bytes + 8, v);
	return lp_labels_hash(bytes, sizeof bytes).lo;
}

static uint64_t mix_text(uint64_t h, const char *s) { return mix(h, lp_labels_hash((const uint8_t *)s, strlen(s)).lo); }

/* Rules of different tenants, files and groups may well give alerts the same labels. */
uint64_t lp_hook_alert_key(const struct lp_alert_event *event)
{
	uint64_t h = mix_text(mix_text(event->fingerprint, event->tenant), event->file);

	return mix_text(mix_text(h, event->group), event->rule);
}

/* With the expression: two rules of a group may have one name, as those made by POST /alerts. */
uint64_t lp_hook_alert_id(const struct lp_alert_event *event)
{
	uint64_t h = mix(mix(lp_hook_alert_key(event), (uint64_t)event->starts_ns), event->firing);

	return mix_text(mix(h, event->repeat ? (uint64_t)event->at_ns : 0), event->expr);
}

/* ---- alerts ---- */

static void alert_plain(const struct lp_alert_event *event, struct lp_buf *out)
{
	lp_buf_byte(out, '{');
	text(out, "rule", event->rule);
	text(out, "expr", event->expr);
	key(out, "value");
	number(out, event->value);
	key(out, "labels");
	pairs(out, event->labels, event->n_labels);
	key(out, "channels");
	lp_buf_byte(out, '[');
	for (uint32_t i = 0; i < event->n_channels; i++) {
		if (i)
			lp_buf_byte(out, ',');
		lp_jsonw_cstr(out, event->channels[i]);
	}
	lp_buf_byte(out, ']');
	time_text(out, "timestamp", event->at_ns);
	text(out, "event", "alert");
	text(out, "status", event->firing ? "firing" : "resolved");
	key(out, "annotations");
	pairs(out, event->annotations, event->n_annotations);
	time_text(out, "startsAt", event->starts_ns);
	if (!event->firing)
		time_text(out, "endsAt", event->ends_ns);
	key(out, "fingerprint");
	lp_buf_printf(out, "\"%016" PRIx64 "\"", event->fingerprint);
	key(out, "id");
	lp_buf_printf(out, "\"%016" PRIx64 "\"", lp_hook_alert_id(event));
	text(out, "generatorURL", event->generator_url);
	if (*event->tenant)
		text(out, "tenant", event->tenant);
	lp_buf_byte(out, '}');
}

/* Slack's three reserved characters; https://api.slack.com/reference/surfaces/formatting#escaping */
static void slack_escape(struct lp_buf *out, const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (s[i] == '&')
			lp_buf_str(out, "&amp;");
		else if (s[i] == '<')
			lp_buf_str(out, "&lt;");
		else if (s[i] == '>')
			lp_buf_str(out, "&gt;");
		else
			lp_buf_byte(out, (uint8_t)s[i]);
}

static void slack_text(struct lp_buf *out, const char *name, const char *value)
{
	struct lp_buf escaped = LP_BUF_INIT;

	slack_escape(&escaped, value, strlen(value));
	text(out, name, lp_buf_cstr(&escaped));
	out->failed |= escaped.failed;
	lp_buf_free(&escaped);
}

static void slack_head(const struct lp_alert_event *event, struct lp_buf *out)
{
	struct lp_buf line = LP_BUF_INIT;

	lp_buf_printf(&line, "[%s] %s", event->firing ? "FIRING" : "RESOLVED", event->rule);
	slack_text(out, "text", lp_buf_cstr(&line));
	out->failed |= line.failed;
	lp_buf_free(&line);
}

static void alert_slack(const struct lp_alert_event *event, struct lp_buf *out)
{
	const char *severity = label(event, "severity");

	lp_buf_byte(out, '{');
	slack_head(event, out);
	key(out, "attachments");
	lp_buf_str(out, "[{");
	text(out, "color", !event->firing ? "good" : severity && !strcmp(severity, "critical") ? "danger" : "warning");
	slack_text(out, "fallback", summary(event));
	slack_text(out, "title", summary(event));
	if (*event->generator_url)
		text(out, "title_link", event->generator_url);
	slack_text(out, "text", event->expr);
	key(out, "fields");
	lp_buf_str(out, "[{\"title\":\"value\",\"value\":\"");
	lp_jsonw_double(out, event->value);
	lp_buf_str(out, "\",\"short\":true}");
	for (uint32_t i = 0; i < event->n_labels; i++) {
		lp_buf_str(out, ",{");
		slack_text(out, "title", event->labels[i].name);
		slack_text(out, "value", event->labels[i].value);
		lp_buf_str(out, ",\"short\":true}");
	}
	lp_buf_str(out, "],\"ts\":");
	lp_buf_i64(out, (event->firing ? event->starts_ns : event->ends_ns) / 1000000000);
	lp_buf_str(out, "}]}");
}

static const char *pagerduty_severity(const char *severity)
{
	static const char *const known[] = { "critical", "error", "warning", "info" };

	for (size_t i = 0; severity && i < LP_ARRAY_LEN(known); i++)
		if (!strcasecmp(severity, known[i]))
			return known[i];
	return "error";
}

/* At most max bytes, whole characters: a cut sequence would become a replacement character. */
static void text_cut(struct lp_buf *out, const char *name, const char *value, size_t max)
{
	size_t len = strlen(value);

	if (len > max) {
		len = max;
		while (len && ((unsigned char)value[len] & 0xc0) == 0x80)
			len--;
	}
	key(out, name);
	lp_jsonw_str(out, value, len);
}

static void pagerduty_head(struct lp_buf *out, const char *action, uint64_t dedup)
{
	lp_buf_byte(out, '{');
	text(out, "event_action", action);
	key(out, "dedup_key");
	lp_buf_printf(out, "\"logpulse-%016" PRIx64 "\"", dedup);
	text(out, "client", "LogPulse");
}

static void alert_pagerduty(const struct lp_alert_event *event, struct lp_buf *out)
{
	static const char *const sources[] = { "instance", "host", "hostname", "pod", "service", "job" };
	const char *source = NULL;

	pagerduty_head(out, event->firing ? "trigger" : "resolve", lp_hook_alert_key(event));
	if (*event->generator_url)
		text(out, "client_url", event->generator_url);
	for (size_t i = 0; !source && i < LP_ARRAY_LEN(sources); i++)
		source = label(event, sources[i]);
	key(out, "payload");
	lp_buf_byte(out, '{');
	text_cut(out, "summary", summary(event), PAGERDUTY_SUMMARY);
	text(out, "source", source && *source ? source : "logpulse");
	text(out, "severity", pagerduty_severity(label(event, "severity")));
	time_text(out, "timestamp", event->firing ? event->starts_ns : event->ends_ns);
	text(out, "group", event->group);
	text(out, "class", event->rule);
	key(out, "custom_details");
	alert_plain(event, out);
	lp_buf_str(out, "}}");
}

static void alert_alertmanager(const struct lp_alert_event *event, struct lp_buf *out)
{
	lp_buf_str(out, "[{");
	key(out, "labels");
	pairs(out, event->labels, event->n_labels);
	/* To an Alertmanager the labels are the alert: those of two tenants must differ. */
	if (*event->tenant && !label(event, "tenant")) {
		out->len--;
		text(out, "tenant", event->tenant);
		lp_buf_byte(out, '}');
	}
	key(out, "annotations");
	pairs(out, event->annotations, event->n_annotations);
	time_text(out, "startsAt", event->starts_ns);
	time_text(out, "endsAt", event->ends_ns);
	text(out, "generatorURL", event->generator_url);
	lp_buf_str(out, "}]");
}

static int alert_template(const struct lp_hook_target *target, const struct lp_alert_event *event, struct lp_buf *out, struct lp_buf *error)
{
	struct lp_buf plain = LP_BUF_INIT, values = LP_BUF_INIT;
	struct lp_hook_render render;
	int r = lp_hook_render_begin(&render);

	if (r < 0)
		return r;
	alert_plain(event, &plain);
	lp_jsonw_double(&values, event->value);
	lp_hook_render_set(&render, "event", "alert");
	lp_hook_render_set(&render, "status", event->firing ? "firing" : "resolved");
	lp_hook_render_set(&render, "rule", event->rule);
	lp_hook_render_set(&render, "expr", event->expr);
	lp_hook_render_set(&render, "value", lp_buf_cstr(&values));
	lp_hook_render_set(&render, "summary", summary(event));
	lp_hook_render_set(&render, "generatorURL", event->generator_url);
	lp_hook_render_set(&render, "body", lp_buf_cstr(&plain));
	for (uint32_t i = 0; i < event->n_labels; i++)
		lp_hook_render_set(&render, event->labels[i].name, event->labels[i].value);
	for (uint32_t i = 0; i < event->n_annotations; i++)
		lp_hook_render_set(&render, event->annotations[i].name, event->annotations[i].value);
	r = plain.failed || values.failed ? -ENOMEM : lp_hook_render_run(&render, target->body, out, error);
	lp_hook_render_end(&render);
	lp_buf_free(&plain);
	lp_buf_free(&values);
	return r;
}

int lp_hook_body_alert(const struct lp_hook_target *target, const struct lp_alert_event *event, struct lp_buf *out, struct lp_buf *error)
{
	if (target->own_address) {
		lp_buf_str(out, event->webhook);
		lp_buf_byte(out, '\n');
	}
	if (target->body)
		return alert_template(target, event, out, error);
	switch (target->kind) {
	case LP_HOOK_WEBHOOK:
		alert_plain(event, out);
		break;
	case LP_HOOK_SLACK:
		alert_slack(event, out);
		break;
	case LP_HOOK_PAGERDUTY:
		alert_pagerduty(event, out);
		break;
	case LP_HOOK_ALERTMANAGER:
		alert_alertmanager(event, out);
		break;
	}
	return out->failed ? -ENOMEM : 0;
}

/* ---- log lines ---- */

static void line_labels(struct lp_buf *out, const struct lp_pipeline_result *line, bool json)
{
	lp_buf_byte(out, '{');
	for (uint32_t i = 0; i < line->n_labels; i++) {
		const struct lp_pipeline_label *pair = &line->labels[i];

		if (i)
			lp_buf_str(out, json ? "," : ", ");
		if (json)
			lp_jsonw_str(out, pair->name, pair->name_len);
		else
			lp_buf_append(out, pair->name, pair->name_len);
		lp_buf_byte(out, json ? ':' : '=');
		lp_jsonw_str(out, pair->value, pair->value_len);
	}
	lp_buf_byte(out, '}');
}

void lp_hook_batch_add(struct lp_hook_batch *batch, const char *tenant, size_t tenant_len, int64_t ts_ns,
		       const struct lp_pipeline_result *line)
{
	struct lp_buf *out = &batch->entries, *people = &batch->text;
	char stamp[LP_RFC3339_MAX];

	if (batch->lines++)
		lp_buf_byte(out, ',');
	lp_buf_str(out, "{\"labels\":");
	line_labels(out, line, true);
	lp_buf_str(out, ",\"message\":");
	lp_jsonw_str(out, line->line, line->line_len);
	lp_buf_printf(out, ",\"timestamp\":\"%.*s\"", (int)lp_rfc3339_format(stamp, ts_ns), stamp);
	if (tenant_len) {
		lp_buf_str(out, ",\"tenant\":");
		lp_jsonw_str(out, tenant, tenant_len);
	}
	lp_buf_byte(out, '}');
	if (people->len >= LP_HOOK_MAX_TEXT)
		return;
	line_labels(people, line, false);
	lp_buf_byte(people, ' ');
	lp_buf_append(people, line->line, line->line_len < LP_HOOK_MAX_TEXT ? line->line_len : LP_HOOK_MAX_TEXT);
	lp_buf_byte(people, '\n');
}

void lp_hook_batch_reset(struct lp_hook_batch *batch)
{
	lp_buf_reset(&batch->entries);
	lp_buf_reset(&batch->text);
	batch->lines = 0;
	batch->dropped = 0;
}

void lp_hook_batch_free(struct lp_hook_batch *batch)
{
	lp_buf_free(&batch->entries);
	lp_buf_free(&batch->text);
}

static void logs_plain(const struct lp_hook_batch *batch, uint64_t id, struct lp_buf *out)
{
	lp_buf_printf(out, "{\"event\":\"log\",\"id\":\"%016" PRIx64 "\",\"count\":%" PRIu32 ",\"dropped\":%" PRIu64 ",\"entries\":[", id,
		      batch->lines, batch->dropped);
	lp_buf_append(out, batch->entries.data, batch->entries.len);
	lp_buf_str(out, "]}");
}

static size_t people_bytes(const struct lp_hook_batch *batch)
{
	return batch->text.len < LP_HOOK_MAX_TEXT ? batch->text.len : LP_HOOK_MAX_TEXT;
}

static void logs_slack(const struct lp_hook_batch *batch, struct lp_buf *out)
{
	struct lp_buf line = LP_BUF_INIT;

	lp_buf_printf(&line, "%" PRIu32 " log line%s", batch->lines, batch->lines == 1 ? "" : "s");
	if (batch->dropped)
		lp_buf_printf(&line, ", %" PRIu64 " more not sent", batch->dropped);
	lp_buf_str(&line, "\n```");
	slack_escape(&line, (char *)batch->text.data, people_bytes(batch));
	lp_buf_str(&line, "```");
	lp_buf_byte(out, '{');
	key(out, "text");
	lp_jsonw_str(out, line.data, line.len);
	lp_buf_byte(out, '}');
	out->failed |= line.failed;
	lp_buf_free(&line);
}

static void logs_pagerduty(const struct lp_hook_batch *batch, uint64_t id, int64_t now_ns, struct lp_buf *out)
{
	size_t n = people_bytes(batch);
	const char *end = n ? memchr(batch->text.data, '\n', n) : NULL;

	pagerduty_head(out, "trigger", id);
	key(out, "payload");
	lp_buf_byte(out, '{');
	n = end ? (size_t)(end - (char *)batch->text.data) : n;
	key(out, "summary");
	lp_jsonw_str(out, batch->text.data, n < PAGERDUTY_SUMMARY ? n : PAGERDUTY_SUMMARY);
	text(out, "source", "logpulse");
	text(out, "severity", "warning");
	time_text(out, "timestamp", now_ns);
	text(out, "class", "log");
	key(out, "custom_details");
	logs_plain(batch, id, out);
	lp_buf_str(out, "}}");
}

static int logs_template(const struct lp_hook_target *target, const struct lp_hook_batch *batch, uint64_t id, struct lp_buf *out,
			 struct lp_buf *error)
{
	struct lp_buf plain = LP_BUF_INIT, entries = LP_BUF_INIT, people = LP_BUF_INIT;
	struct lp_hook_render render;
	char count[24], dropped[24];
	int r = lp_hook_render_begin(&render);

	if (r < 0)
		return r;
	logs_plain(batch, id, &plain);
	lp_buf_byte(&entries, '[');
	lp_buf_append(&entries, batch->entries.data, batch->entries.len);
	lp_buf_byte(&entries, ']');
	lp_buf_append(&people, batch->text.data, people_bytes(batch));
	snprintf(count, sizeof count, "%" PRIu32, batch->lines);
	snprintf(dropped, sizeof dropped, "%" PRIu64, batch->dropped);
	lp_hook_render_set(&render, "event", "log");
	lp_hook_render_set(&render, "count", count);
	lp_hook_render_set(&render, "dropped", dropped);
	lp_hook_render_set(&render, "entries", lp_buf_cstr(&entries));
	lp_hook_render_set(&render, "text", lp_buf_cstr(&people));
	lp_hook_render_set(&render, "body", lp_buf_cstr(&plain));
	r = plain.failed || entries.failed || people.failed ? -ENOMEM : lp_hook_render_run(&render, target->body, out, error);
	lp_hook_render_end(&render);
	lp_buf_free(&plain);
	lp_buf_free(&entries);
	lp_buf_free(&people);
	return r;
}

int lp_hook_body_logs(const struct lp_hook_target *target, const struct lp_hook_batch *batch, uint64_t id, int64_t now_ns,
		      struct lp_buf *out, struct lp_buf *error)
{
	if (batch->entries.failed || batch->text.failed)
		return -ENOMEM;
	if (target->body)
		return logs_template(target, batch, id, out, error);
	if (target->kind == LP_HOOK_SLACK)
		logs_slack(batch, out);
	else if (target->kind == LP_HOOK_PAGERDUTY)
		logs_pagerduty(batch, id, now_ns, out);
	else if (target->max_lines == 1 && !batch->dropped)
		lp_buf_append(out, batch->entries.data, batch->entries.len);    /* the original form: one line, one object */
	else
		logs_plain(batch, id, out);
	return out->failed ? -ENOMEM : 0;
}

/* ---- sending ---- */

int lp_hook_body_finish(const struct lp_hook_target *target, const void *body, size_t len, struct lp_buf *out)
{
	const char *s = body, *end = target->own_address && len ? memchr(s, '\n', len) : NULL;

	if (end) {
		len -= (size_t)(end + 1 - s);
		s = end + 1;
	}
	if (target->kind == LP_HOOK_PAGERDUTY && len > 2 && *s == '{') {
		lp_buf_str(out, "{\"routing_key\":");
		lp_jsonw_cstr(out, target->routing_key);
		lp_buf_byte(out, ',');
		s++;
		len--;
	}
	lp_buf_append(out, s, len);
	return out->failed ? -ENOMEM : 0;
}

void lp_hook_body_url(const struct lp_hook_target *target, const void *body, size_t body_len, struct lp_buf *out)
{
	const char *end;
	size_t len;

	if (target->own_address) {
		end = body_len ? memchr(body, '\n', body_len) : NULL;
		lp_buf_append(out, body, end ? (size_t)(end - (const char *)body) : 0);
		return;
	}
	len = strlen(target->url);
	if (target->kind != LP_HOOK_ALERTMANAGER || strstr(target->url, "/api/")) {
		lp_buf_str(out, target->url);
		return;
	}
	while (len && target->url[len - 1] == '/')
		len--;
	lp_buf_append(out, target->url, len);
	lp_buf_str(out, "/api/v2/alerts");
}
