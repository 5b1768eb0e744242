/* Telling alerts: from the evaluator's state to events for the senders.
 *
 * Order, so that no crash forgets or doubles an incident: 1. data/rules/state says that it fires (or ended), synced; 2. the event is in
 * the senders' durable queue; 3. data/rules/state says that it was told.  A crash between 2 and 3 tells it again with the same
 * fingerprint and start, which the queue knows already.
 * The end of an incident goes before the beginning of the next one with the same labels.
 * Process: notifier, main thread. */
#include "notify/hooks.h"
#include "notify/rules-private.h"

#include "common/clock.h"
#include "common/fault.h"
#include "common/log.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define BATCH 64u
#define RETRY_MS 1000

struct due {
	struct lp_rule_state *state;
	struct lp_alert *alert;
};

struct batch {
	struct lp_rules *rules;
	int64_t now_ns;
	struct lp_arena arena;
	struct lp_alert_event events[BATCH];
	struct due due[BATCH];
	uint32_t n;
};

static void put_escaped(struct lp_buf *out, const char *s)
{
	for (; *s; s++) {
		char c = *s | 0x20;

		if ((c >= 'a' && c <= 'z') || (*s >= '0' && *s <= '9') || strchr("-._~", *s))
			lp_buf_byte(out, (uint8_t)*s);
		else
			lp_buf_printf(out, "%%%02X", (uint8_t)*s);
	}
}

void lp_rules_external_url(const struct lp_conf *conf, struct lp_buf *out)
{
	const char *host = conf->server.host;
	bool any = !strcmp(host, "0.0.0.0") || !strcmp(host, "::"), v6 = !any && strchr(host, ':');

	if (conf->rules.external_url[0]) {
		lp_buf_str(out, conf->rules.external_url);
		while (out->len && out->data[out->len - 1] == '/')
			out->len--;
		return;
	}
	lp_buf_printf(out, "%s://%s%s%s:%lld", conf->server_tls.cert_file[0] ? "https" : "http", v6 ? "[" : "", any ? "localhost" : host,
		      v6 ? "]" : "", (long long)conf->server.port);
}

/* The expression's value now, as the API shows it. */
static const char *generator_url(struct batch *b, const char *expr)
{
	struct lp_buf url = { .max = 1u << 20 };
	const char *copy;

	lp_rules_external_url(lp_notify_conf(b->rules->notify), &url);
	lp_buf_str(&url, "/loki/api/v1/query?query=");
	put_escaped(&url, expr);
	copy = lp_arena_strndup(&b->arena, lp_buf_cstr(&url), url.len);
	lp_buf_free(&url);
	return copy ? copy : "";
}

static void add(struct batch *b, const struct lp_group_run *run, const struct lp_rule *rule, struct lp_rule_state *state, struct lp_alert *alert)
{
	const struct lp_conf *conf = lp_notify_conf(b->rules->notify);
	int64_t resend_ms = conf->rules.resend_delay, interval_ms = run->group->interval_ms;
	int64_t valid_ns = 4 * (interval_ms > resend_ms ? interval_ms : resend_ms) * LP_NS_PER_MS;
	bool firing = alert->state == LP_ALERT_FIRING;

	b->due[b->n] = (struct due){ state, alert };
	b->events[b->n++] = (struct lp_alert_event){
		.tenant = run->group->tenant, .file = run->group->file, .group = run->group->name, .rule = rule->name, .expr = rule->expr,
		.fingerprint = alert->fingerprint, .firing = firing, .repeat = firing && alert->told_ns != 0, .value = alert->value,
		.at_ns = b->now_ns, .starts_ns = alert->fired_ns, .ends_ns = firing ? b->now_ns + valid_ns : alert->resolved_ns,
		.labels = alert->labels, .n_labels = alert->n_labels,
		.annotations = alert->annotations, .n_annotations = alert->n_annotations,
		.generator_url = generator_url(b, rule->expr), .webhook = rule->webhook,
		.channels = rule->channels, .n_channels = rule->n_channels, .trace = state->trace,
	};
}

static void collect_rule(struct batch *b, const struct lp_group_run *run, const struct lp_rule *rule, struct lp_rule_state *state, bool resolved)
{
	int64_t resend_ns = lp_notify_conf(b->rules->notify)->rules.resend_delay * LP_NS_PER_MS;

	for (struct lp_alert *alert = state->alerts; alert && b->n < BATCH; alert = alert->next)
		if ((alert->state == LP_ALERT_RESOLVED) == resolved && lp_alert_due(alert, b->now_ns, resend_ns))
			add(b, run, rule, state, alert);
}

static void collect(struct batch *b, const struct lp_rule_runs *runs, bool resolved)
{
	for (uint32_t i = 0; i < runs->n; i++) {
		const struct lp_rule *rule = runs->runs[i].group->rules;

		for (uint32_t k = 0; rule; rule = rule->next, k++)
			collect_rule(b, &runs->runs[i], rule, &runs->runs[i].states[k], resolved);
	}
}

static void log_event(const struct lp_alert_event *event)
{
	if (!event->repeat)
		lp_log(LP_INFO, "alert %s rule=\"%s\" group=\"%s\" fingerprint=%016" PRIx64, event->firing ? "firing" : "resolved", event->rule,
		       event->group, event->fingerprint);
}

/* One batch: 0 nothing was due, 1 told, < 0 the queue does not take it. */
static int tell(struct lp_rules *rules, int64_t now_ns)
{
	struct batch b = { .rules = rules, .now_ns = now_ns };
	int r = 0;

	collect(&b, &rules->orphans, true);
	collect(&b, &rules->live, true);
	if (b.n == 0)
		collect(&b, &rules->live, false);
	if (b.n) {
		LP_FAULT("alert-state-saved");
		r = lp_hooks_alert(rules->notify, b.events, b.n);
		if (r == 0)
			LP_FAULT("alert-queued");
	}
	for (uint32_t i = 0; i < b.n && r == 0; i++) {
		log_event(&b.events[i]);
		lp_alert_told(b.due[i].state, b.due[i].alert, now_ns);
	}
	lp_arena_free(&b.arena);
	return r < 0 ? r : b.n > 0;
}

static void save_if_changed(struct lp_rules *rules)
{
	uint64_t mark = lp_rules_mark(rules);

	if (mark == rules->saved_mark)
		return;
	if (lp_rules_save(rules, true) == 0)
		rules->saved_mark = mark;
	rules->view_old = true;
}

void lp_rules_emit(struct lp_rules *rules, int64_t now_ns, int64_t now_ms)
{
	int r;

	save_if_changed(rules);
	if (now_ms < rules->retry_ms)
		return;
	do
		r = tell(rules, now_ns);
	while (r > 0);
	if (r < 0) {
		lp_log(LP_ERROR, "rules: alerts cannot be queued, trying again error=\"%s\"", strerror(-r));
		rules->retry_ms = now_ms + RETRY_MS;
	}
	save_if_changed(rules);
}
