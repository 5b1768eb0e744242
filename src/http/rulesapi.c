/* Rules and alerts over HTTP: Loki's ruler API (/loki/api/v1/rules, /api/prom/rules) and Prometheus' views of it.
 *
 * Guarantees: nobody is asked and nothing is waited for: what is evaluated is read from data/rules/view, which the notifier replaces
 * every time it knows more; what is changed goes into a file below data/rules under a lock that is tried, never awaited.  A tenant sees
 * and changes its own rules only; its name and the namespace's are encoded before they become a path (rules/store.h).
 * Process: worker, event loop.  If it dies here, a change is there whole or not at all. */
#include "http/queryapi.h"
#include "http/rulesapi.h"

#include "common/clock.h"
#include "common/jsonw.h"
#include "common/log.h"
#include "common/rfc3339.h"
#include "rules/image.h"
#include "rules/store.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define YAML_TYPE "application/yaml"
#define ACCEPTED "{\"status\":\"success\",\"data\":null,\"errorType\":\"\",\"error\":\"\"}"
#define MAX_NAME 1024
#define AWAY_MS 5000                    /* the notifier shows itself every half second */

/* ---- shared with alertsapi.c -------------------------------------------------------------------- */

bool lp_rules_dir(struct lp_worker *worker, char out[LP_RULES_DIR_MAX])
{
	return snprintf(out, LP_RULES_DIR_MAX, "%s/rules", worker->proc->data_dir) < LP_RULES_DIR_MAX;
}

bool lp_rules_tenant(struct lp_worker *worker, h2o_req_t *req, char out[LP_TENANT_MAX])
{
	h2o_iovec_t tenant;

	if (!lp_tenant(worker, req, &tenant))
		return false;
	if (tenant.len >= LP_TENANT_MAX) {
		lp_reply_text(req, 400, "tenant ID is too long");
		return false;
	}
	memcpy(out, tenant.base, tenant.len);
	out[tenant.len] = '\0';
	return true;
}

int lp_rules_begin(struct lp_worker *worker, h2o_req_t *req, char dir[LP_RULES_DIR_MAX], int *ret_lock)
{
	int r = lp_rules_dir(worker, dir) ? 0 : -ENAMETOOLONG;

	if (r == 0 && !lp_worker_conf(worker)->rules.api) {
		lp_reply_text(req, 403, "rules cannot be changed over HTTP (rules.api)");
		return -EACCES;
	}
	if (r == 0)
		r = lp_rulestore_lock(dir, ret_lock);
	if (r == -EWOULDBLOCK)
		lp_reply_retry(req, 503, 1, "another change of the rules is under way");
	else if (r < 0)
		lp_rules_failed(req, r);
	return r;
}

void lp_rules_end(struct lp_worker *worker, int lock, bool changed)
{
	if (changed)
		lp_rulestore_changed(lock);
	close(lock);
	if (changed)
		lp_region_ring(lp_region_notifier_bell(worker->proc->region));
}

void lp_rules_failed(h2o_req_t *req, int r)
{
	lp_log(LP_ERROR, "rules cannot be stored error=\"%s\"", strerror(-r));
	if (r == -ENOSPC || r == -EDQUOT)
		lp_reply_retry(req, 507, 60, "there is no room for more rules: the disk is full, or the tenant has too many namespaces");
	else
		lp_reply_text(req, 500, "the rules cannot be stored, see the server's log");
}

struct lp_view *lp_rules_view(struct lp_worker *worker)
{
	char dir[LP_RULES_DIR_MAX], path[LP_RULES_DIR_MAX + 8];
	struct lp_view *view = NULL;

	if (!lp_rules_dir(worker, dir))
		return NULL;
	snprintf(path, sizeof path, "%s/view", dir);
	(void)lp_view_read(path, &view);        /* none: nothing was evaluated yet */
	return view;
}

/* ---- the ruler API ------------------------------------------------------------------------------ */

/* NAMESPACE or NAMESPACE/GROUP, each percent-encoded, into the request's pool.  False: it has answered. */
static bool split(h2o_req_t *req, const char *rest, size_t len, const char **ret_space, const char **ret_group)
{
	const char *slash = len ? memchr(rest, '/', len) : NULL;
	h2o_iovec_t space = lp_request_name(req, rest, slash ? (size_t)(slash - rest) : len), group = { 0 };

	*ret_space = *ret_group = NULL;
	if (slash)
		group = lp_request_name(req, slash + 1, len - (size_t)(slash + 1 - rest));
	if (space.len > MAX_NAME || group.len > MAX_NAME || (space.len && memchr(space.base, 0, space.len)) ||
	    (group.len && memchr(group.base, 0, group.len)) || (slash && !group.len) || (len && !space.len)) {
		lp_reply_text(req, 400, "invalid namespace or group name");
		return false;
	}
	/* Both are copies with room for a NUL. */
	if (len) {
		space.base[space.len] = '\0';
		*ret_space = space.base;
	}
	if (slash) {
		group.base[group.len] = '\0';
		*ret_group = group.base;
	}
	return true;
}

struct listing {
	struct lp_worker *worker;
	const char *dir;
	struct lp_buf out;
	unsigned n;
	int64_t interval_ms;
};

static int list_space(void *ctx, const char *tenant, const char *space)
{
	struct listing *l = ctx;
	struct lp_buf ignored = { .max = 1 };
	struct lp_rule_set *set = NULL;

	if (!space || lp_rules_new(&set) < 0)
		return 0;
	if (lp_rulestore_load(l->dir, tenant, space, l->interval_ms, set, &ignored) == 0 && set->groups) {
		lp_jsonw_cstr(&l->out, space);
		lp_buf_str(&l->out, ":\n");
		for (const struct lp_rule_group *group = set->groups; group; group = group->next)
			lp_rules_print_group(group, 4, true, &l->out);
		l->n++;
	}
	lp_rules_free(&set);
	lp_buf_free(&ignored);
	return 0;
}

static struct lp_rule_group *find_group(struct lp_rule_set *set, const char *name)
{
	for (struct lp_rule_group *group = set->groups; group; group = group->next)
		if (!strcmp(group->name, name))
			return group;
	return NULL;
}

static void get_group(h2o_req_t *req, const struct listing *l, const char *tenant, const char *space, const char *name)
{
	struct lp_buf out = LP_BUF_INIT, ignored = { .max = 1 };
	struct lp_rule_set *set = NULL;
	const struct lp_rule_group *group = NULL;

	if (lp_rules_new(&set) == 0 && lp_rulestore_load(l->dir, tenant, space, l->interval_ms, set, &ignored) == 0)
		group = find_group(set, name);
	if (group) {
		lp_rules_print_group(group, 0, false, &out);
		lp_reply_buf(req, 200, YAML_TYPE, &out);
	} else {
		lp_reply_text(req, 404, "group does not exist");
	}
	lp_rules_free(&set);
	lp_buf_free(&ignored);
}

static void get_rules(struct lp_worker *worker, h2o_req_t *req, const char *tenant, const char *space, const char *group)
{
	char dir[LP_RULES_DIR_MAX];
	struct listing l = { .worker = worker, .dir = dir, .interval_ms = lp_worker_conf(worker)->rules.evaluation_interval };

	if (!lp_rules_dir(worker, dir)) {
		lp_rules_failed(req, -ENAMETOOLONG);
		return;
	}
	if (group) {
		get_group(req, &l, tenant, space, group);
		return;
	}
	if (space)
		(void)list_space(&l, tenant, space);
	else
		(void)lp_rulestore_each(dir, tenant, list_space, &l);
	if (l.n == 0) {
		lp_buf_free(&l.out);
		lp_reply_text(req, 404, "no rule groups found");
	} else {
		lp_reply_buf(req, 200, YAML_TYPE, &l.out);
	}
}

/* The namespace with `fresh` in the place of the group of its name (NULL: without the group). */
static int write_space(const char *dir, const char *tenant, const char *space, const struct lp_rule_set *old, const char *name,
		       const struct lp_rule_group *fresh)
{
	struct lp_buf out = { .max = LP_RULES_MAX_TEXT };
	unsigned n = 0;
	int r;

	lp_buf_str(&out, "groups:\n");
	for (const struct lp_rule_group *group = old->groups; group; group = group->next) {
		bool same = !strcmp(group->name, name);

		if (same && !fresh)
			continue;
		lp_rules_print_group(same ? fresh : group, 2, true, &out);
		n++;
		if (same)
			fresh = NULL;
	}
	if (fresh) {
		lp_rules_print_group(fresh, 2, true, &out);
		n++;
	}
	r = out.failed ? -EFBIG : lp_rulestore_write(dir, tenant, space, n ? (const void *)out.data : NULL, out.len);
	lp_buf_free(&out);
	return r;
}

static void accepted(h2o_req_t *req) { lp_reply(req, 202, LP_JSON, ACCEPTED, sizeof ACCEPTED - 1); }

/* Change one group of a namespace; fresh NULL deletes it.  Answers. */
static void change_group(struct lp_worker *worker, h2o_req_t *req, const char *tenant, const char *space, const char *name,
			 const struct lp_rule_group *fresh)
{
	struct lp_buf error = { .max = 1024 };
	struct lp_rule_set *old = NULL;
	char dir[LP_RULES_DIR_MAX];
	int lock, r = lp_rules_begin(worker, req, dir, &lock);

	if (r < 0)
		return;
	r = lp_rules_new(&old);
	if (r == 0)
		r = lp_rulestore_load(dir, tenant, space, lp_worker_conf(worker)->rules.evaluation_interval, old, &error);
	if (r == -ENOENT)
		r = 0;
	if (r == 0 && !fresh && !find_group(old, name))
		r = -ENOENT;
	if (r == 0)
		r = write_space(dir, tenant, space, old, name, fresh);
	lp_rules_end(worker, lock, r == 0);
	if (r == 0)
		accepted(req);
	else if (r == -ENOENT)
		lp_reply_text(req, 404, "group does not exist");
	else if (r == -EFBIG)
		lp_reply_text(req, 413, "the namespace would be larger than 1 MiB");
	else if (r == -EINVAL)
		lp_reply_text(req, 400, error.len ? lp_buf_cstr(&error) : "invalid namespace");
	else
		lp_rules_failed(req, r);
	lp_rules_free(&old);
	lp_buf_free(&error);
}

static void post_group(struct lp_worker *worker, h2o_req_t *req, const char *tenant, const char *space)
{
	struct lp_rule_source source = { .name = "rule group", .tenant = tenant, .file = space,
					 .interval_ms = lp_worker_conf(worker)->rules.evaluation_interval };
	struct lp_buf error = { .max = 2048 };
	struct lp_rule_set *set = NULL;
	int r = lp_rules_new(&set);

	if (req->entity.len > LP_RULES_MAX_TEXT) {
		lp_reply_text(req, 413, "a rule group may have 1 MiB");
	} else {
		if (r == 0)
			r = lp_rules_load_group(set, &source, req->entity.base ? req->entity.base : "", req->entity.len, &error);
		if (r == -ENOMEM)
			lp_reply_text(req, 500, "out of memory");
		else if (r < 0)
			lp_reply_text(req, 400, lp_buf_cstr(&error));
		else
			change_group(worker, req, tenant, space, set->groups->name, set->groups);
	}
	lp_rules_free(&set);
	lp_buf_free(&error);
}

static void delete_space(struct lp_worker *worker, h2o_req_t *req, const char *tenant, const char *space)
{
	char dir[LP_RULES_DIR_MAX];
	int lock, r = lp_rules_begin(worker, req, dir, &lock);

	if (r < 0)
		return;
	r = lp_rulestore_write(dir, tenant, space, NULL, 0);
	lp_rules_end(worker, lock, r == 0);
	if (r == 0)
		accepted(req);
	else if (r == -ENOENT || r == -EINVAL)
		lp_reply_text(req, 404, "no rule groups found");
	else
		lp_rules_failed(req, r);
}

void lp_rules_ruler(struct lp_worker *worker, h2o_req_t *req, const char *rest, size_t rest_len)
{
	const char *space, *group;
	char tenant[LP_TENANT_MAX];
	char method = req->method.base[0];

	if (!lp_rules_tenant(worker, req, tenant) || !split(req, rest, rest_len, &space, &group))
		return;
	if (method == 'G' || method == 'H')
		get_rules(worker, req, tenant, space, group);
	else if (!space || (method == 'P' && group))
		lp_reply_text(req, 405, "method not allowed");
	else if (method == 'P')
		post_group(worker, req, tenant, space);
	else if (group)
		change_group(worker, req, tenant, space, group, NULL);
	else
		delete_space(worker, req, tenant, space);
}

/* ---- Prometheus' views -------------------------------------------------------------------------- */

static void put_time(struct lp_buf *out, int64_t ns)
{
	char text[LP_RFC3339_MAX];

	if (ns == 0) {
		lp_buf_str(out, "\"0001-01-01T00:00:00Z\"");
		return;
	}
	lp_rfc3339_format(text, ns);
	lp_buf_printf(out, "\"%s\"", text);
}

static void put_pairs(struct lp_buf *out, const struct lp_alert_pair *pairs, uint32_t n)
{
	lp_buf_byte(out, '{');
	for (uint32_t i = 0; i < n; i++) {
		if (i)
			lp_buf_byte(out, ',');
		lp_jsonw_cstr(out, pairs[i].name);
		lp_buf_byte(out, ':');
		lp_jsonw_cstr(out, pairs[i].value);
	}
	lp_buf_byte(out, '}');
}

/* Go's 'e' format with the shortest digits: 1e+00. */
static void put_value(struct lp_buf *out, double v)
{
	char text[40];

	if (isnan(v) || isinf(v)) {
		lp_buf_str(out, isnan(v) ? "\"NaN\"" : v > 0 ? "\"+Inf\"" : "\"-Inf\"");
		return;
	}
	for (int digits = 0; digits <= 17; digits++) {
		snprintf(text, sizeof text, "%.*e", digits, v);
		if (strtod(text, NULL) == v)
			break;
	}
	lp_buf_printf(out, "\"%s\"", text);
}

static void put_alert(struct lp_buf *out, const struct lp_alert *alert)
{
	lp_buf_str(out, "{\"labels\":");
	put_pairs(out, alert->labels, alert->n_labels);
	lp_buf_str(out, ",\"annotations\":");
	put_pairs(out, alert->annotations, alert->n_annotations);
	lp_buf_printf(out, ",\"state\":\"%s\",\"activeAt\":", alert->state == LP_ALERT_FIRING ? "firing" : "pending");
	put_time(out, alert->active_ns);
	if (alert->keep_since_ns) {
		lp_buf_str(out, ",\"keepFiringSince\":");
		put_time(out, alert->keep_since_ns);
	}
	lp_buf_str(out, ",\"value\":");
	put_value(out, alert->value);
	lp_buf_byte(out, '}');
}

/* Those that are over and only wait to be told are nobody's business here. */
static void put_alerts(struct lp_buf *out, const struct lp_view_rule *rule, bool *comma)
{
	for (const struct lp_alert *alert = rule->alerts; alert; alert = alert->next) {
		if (alert->state == LP_ALERT_RESOLVED)
			continue;
		if (*comma)
			lp_buf_byte(out, ',');
		*comma = true;
		put_alert(out, alert);
	}
}

static const char *state_of(const struct lp_view_rule *rule)
{
	const char *state = "inactive";

	for (const struct lp_alert *alert = rule->alerts; alert; alert = alert->next) {
		if (alert->state == LP_ALERT_FIRING)
			return "firing";
		if (alert->state == LP_ALERT_PENDING)
			state = "pending";
	}
	return state;
}

static void put_rule(struct lp_buf *out, const struct lp_view_rule *rule)
{
	static const char *const healths[] = { "unknown", "ok", "err" };
	bool comma = false;

	lp_buf_byte(out, '{');
	if (!rule->recording)
		lp_buf_printf(out, "\"state\":\"%s\",", state_of(rule));
	lp_buf_str(out, "\"name\":");
	lp_jsonw_cstr(out, rule->name);
	lp_buf_str(out, ",\"query\":");
	lp_jsonw_cstr(out, rule->expr);
	if (!rule->recording) {
		lp_buf_printf(out, ",\"duration\":%.10g,\"keepFiringFor\":%.10g", (double)rule->for_ms / 1000, (double)rule->keep_ms / 1000);
		lp_buf_str(out, ",\"annotations\":");
		put_pairs(out, rule->annotations, rule->n_annotations);
		lp_buf_str(out, ",\"alerts\":[");
		put_alerts(out, rule, &comma);
		lp_buf_byte(out, ']');
	}
	lp_buf_str(out, ",\"labels\":");
	put_pairs(out, rule->labels, rule->n_labels);
	lp_buf_printf(out, ",\"health\":\"%s\",\"lastError\":", healths[rule->health]);
	lp_jsonw_cstr(out, rule->last_error);
	lp_buf_printf(out, ",\"type\":\"%s\",\"lastEvaluation\":", rule->recording ? "recording" : "alerting");
	put_time(out, rule->last_ns);
	lp_buf_printf(out, ",\"evaluationTime\":%.9f}", (double)rule->took_ns / 1e9);
}

/* type, rule_name[], rule_group[], file[] of Prometheus' API; a list that is not given fits all. */
static bool listed(const struct lp_form *form, const char *param, const char *value)
{
	char plain[32];
	bool any = false;

	snprintf(plain, sizeof plain, "%.*s", (int)(strlen(param) - 2), param);
	for (size_t i = 0; i < form->n; i++) {
		const struct lp_param *p = &form->v[i];

		if (strcmp(p->name, param) && strcmp(p->name, plain))
			continue;
		any = true;
		if (strlen(value) == p->value_len && !memcmp(value, p->value, p->value_len))
			return true;
	}
	return !any;
}

static bool wanted(const struct lp_form *form, const struct lp_view_rule *rule)
{
	const struct lp_param *type = lp_form_get(form, "type");

	if (type && strcmp(type->value, rule->recording ? "record" : "alert"))
		return false;
	return listed(form, "rule_name[]", rule->name);
}

static void put_group(struct lp_buf *out, const struct lp_form *form, const struct lp_view_group *group, bool *comma)
{
	bool inner = false;

	if (!listed(form, "rule_group[]", group->name) || !listed(form, "file[]", group->file))
		return;
	size_t before = out->len;

	lp_buf_str(out, *comma ? ",{\"name\":" : "{\"name\":");
	lp_jsonw_cstr(out, group->name);
	lp_buf_str(out, ",\"file\":");
	lp_jsonw_cstr(out, group->file);
	lp_buf_str(out, ",\"rules\":[");
	for (const struct lp_view_rule *rule = group->rules; rule; rule = rule->next) {
		if (!wanted(form, rule))
			continue;
		if (inner)
			lp_buf_byte(out, ',');
		inner = true;
		put_rule(out, rule);
	}
	if (!inner && group->rules) {
		out->len = before;      /* nothing that was asked for */
		return;
	}
	*comma = true;
	lp_buf_printf(out, "],\"interval\":%.10g,\"limit\":%u,\"lastEvaluation\":", (double)group->interval_ms / 1000, group->limit);
	put_time(out, group->times.last_ns);
	lp_buf_printf(out, ",\"evaluationTime\":%.9f}", (double)group->times.took_ns / 1e9);
}

static bool bad_type(h2o_req_t *req, struct lp_form *form)
{
	const struct lp_param *type = lp_form_get(form, "type");

	if (!type || !strcmp(type->value, "alert") || !strcmp(type->value, "record"))
		return false;
	lp_reply_text(req, 400, "invalid type: expected alert or record");
	lp_form_free(form);
	return true;
}

/* What is known is told all the same: whoever looks at it must see that it is old. */
static void put_end(struct lp_worker *worker, struct lp_buf *out)
{
	int64_t alive_ms = atomic_load_explicit(&lp_slot(worker->proc->region, LP_SLOT_NOTIFIER)->alive_mono_ms, memory_order_relaxed);
	int64_t away_ms = lp_clock_mono_ms() - alive_ms;

	lp_buf_str(out, "]},\"errorType\":\"\",\"error\":\"\"");
	if (!alive_ms)
		lp_buf_str(out, ",\"warnings\":[\"the notifier is not running, these are the states it knew last\"]");
	else if (away_ms > AWAY_MS)
		lp_buf_printf(out, ",\"warnings\":[\"the notifier has not evaluated for %lld s, these are the states it knew last\"]",
			      (long long)(away_ms / 1000));
	lp_buf_byte(out, '}');
}

void lp_rules_prom_rules(struct lp_worker *worker, h2o_req_t *req, const char *name, size_t name_len)
{
	struct lp_buf out = LP_BUF_INIT;
	struct lp_form form = LP_FORM_INIT;
	char tenant[LP_TENANT_MAX];
	struct lp_view *view;
	bool comma = false;

	if (!lp_rules_tenant(worker, req, tenant) || lp_request_form(worker, req, &form) < 0 || bad_type(req, &form))
		return;
	view = lp_rules_view(worker);
	lp_buf_str(&out, "{\"status\":\"success\",\"data\":{\"groups\":[");
	for (const struct lp_view_group *group = view ? view->groups : NULL; group; group = group->next)
		if (!strcmp(group->tenant, tenant))
			put_group(&out, &form, group, &comma);
	put_end(worker, &out);
	lp_view_free(&view);
	lp_form_free(&form);
	lp_reply_buf(req, 200, LP_JSON, &out);
}

void lp_rules_prom_alerts(struct lp_worker *worker, h2o_req_t *req, const char *name, size_t name_len)
{
	struct lp_buf out = LP_BUF_INIT;
	char tenant[LP_TENANT_MAX];
	struct lp_view *view;
	bool comma = false;

	if (!lp_rules_tenant(worker, req, tenant))
		return;
	view = lp_rules_view(worker);
	lp_buf_str(&out, "{\"status\":\"success\",\"data\":{\"alerts\":[");
	for (const struct lp_view_group *group = view ? view->groups : NULL; group; group = group->next)
		for (const struct lp_view_rule *rule = group->rules; rule && !strcmp(group->tenant, tenant); rule = rule->next)
			put_alerts(&out, rule, &comma);
	put_end(worker, &out);
	lp_view_free(&view);
	lp_reply_buf(req, 200, LP_JSON, &out);
}

/* ---- recorded series ---------------------------------------------------------------------------- */

static void put_metric_label(struct lp_buf *out, const char *name, const char *value, bool *comma)
{
	lp_buf_printf(out, "%s%s=\"", *comma ? "," : "{", name);
	*comma = true;
	for (; *value; value++)
		switch (*value) {
		case '\n': lp_buf_str(out, "\\n"); break;
		case '"': lp_buf_str(out, "\\\""); break;
		case '\\': lp_buf_str(out, "\\\\"); break;
		default: lp_buf_byte(out, (uint8_t)*value); break;
		}
	lp_buf_byte(out, '"');
}

struct series {
	const char *name, *text;        /* text: with its labels, as it is shown */
	size_t at;                      /* of the text in the buffer, while that grows */
	double value;
	uint32_t order;
};

struct recorded {
	struct lp_buf texts;
	struct series *all;
	uint32_t n, cap;
	bool tenants;                   /* are shown */
};

/* Families stay together, equal series meet. */
static int by_series(const void *a, const void *b)
{
	const struct series *x = a, *y = b;
	int c = strcmp(x->name, y->name);

	if (!c)
		c = strcmp(x->text, y->text);
	return c ? c : x->order < y->order ? -1 : x->order > y->order;
}

static void put_series(struct recorded *r, const char *name, const char *tenant, const struct lp_sample *sample)
{
	bool comma = false;

	lp_buf_str(&r->texts, name);
	if (r->tenants)
		put_metric_label(&r->texts, "tenant", tenant, &comma);
	for (uint32_t i = 0; i < sample->n_labels; i++)
		if (lp_rules_label_name(sample->labels[i].name, false) && !(r->tenants && !strcmp(sample->labels[i].name, "tenant")))
			put_metric_label(&r->texts, sample->labels[i].name, sample->labels[i].value, &comma);
	if (comma)
		lp_buf_byte(&r->texts, '}');
	lp_buf_byte(&r->texts, 0);
}

/* False: no memory for more. */
static bool take_rule(struct recorded *r, const struct lp_view_rule *rule, const char *tenant)
{
	for (uint32_t k = 0; rule->recording && k < rule->vector.n; k++) {
		if (r->n == r->cap) {
			struct series *more = realloc(r->all, (r->cap ? r->cap * 2 : 64) * sizeof *more);

			if (!more)
				return false;
			r->all = more;
			r->cap = r->cap ? r->cap * 2 : 64;
		}
		r->all[r->n] = (struct series){ .name = rule->name, .at = r->texts.len, .value = rule->vector.samples[k].value, .order = r->n };
		put_series(r, rule->name, tenant, &rule->vector.samples[k]);
		if (r->texts.failed)
			return false;
		r->n++;
	}
	return true;
}

/* Two rules may record the same series: it is told once, or a scraper would refuse the page. */
static uint64_t write_series(const struct recorded *r, uint64_t max, struct lp_buf *out)
{
	uint64_t shown = 0;

	for (uint32_t i = 0; i < r->n && shown < max; i++) {
		const struct series *it = &r->all[i];
		bool first = i == 0 || strcmp(it->name, it[-1].name);

		if (!first && !strcmp(it->text, it[-1].text))
			continue;
		if (first)
			lp_buf_printf(out, "# HELP %s Recording rule\n# TYPE %s gauge\n", it->name, it->name);
		lp_buf_str(out, it->text);
		lp_buf_byte(out, ' ');
		lp_jsonw_double(out, it->value);
		lp_buf_byte(out, '\n');
		shown++;
	}
	return r->n - shown;
}

void lp_rules_metrics(struct lp_worker *worker, struct lp_buf *out)
{
	const struct lp_conf *conf = lp_worker_conf(worker);
	struct recorded r = { .tenants = conf->tenants.enabled };
	struct lp_view *view = lp_rules_view(worker);
	bool more = true;

	for (const struct lp_view_group *group = view ? view->groups : NULL; group && more; group = group->next)
		for (const struct lp_view_rule *rule = group->rules; rule && more; rule = rule->next)
			more = take_rule(&r, rule, group->tenant);
	for (uint32_t i = 0; i < r.n; i++)
		r.all[i].text = (const char *)r.texts.data + r.all[i].at;
	if (r.n)
		qsort(r.all, r.n, sizeof *r.all, by_series);
	uint64_t left = write_series(&r, (uint64_t)conf->rules.max_recorded_series, out);

	lp_buf_printf(out, "# HELP logpulse_recorded_series_left_out Series of recording rules over rules.max_recorded_series, or recorded twice\n"
		      "# TYPE logpulse_recorded_series_left_out gauge\nlogpulse_recorded_series_left_out %llu\n", (unsigned long long)left);
	free(r.all);
	lp_buf_free(&r.texts);
	lp_view_free(&view);
}
