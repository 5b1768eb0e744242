/* webhooks.yaml (see targets.h): strict, with file:line in every refusal, and no refusal quotes a value that may be a secret.
 * Process: master (--check-config) and notifier, main thread; reads files at start and reload only. */
#include "notify/hooks/targets.h"

#include "common/bytes.h"
#include "conf/conf.h"
#include "conf/yaml.h"
#include "notify/hooks/module.h"
#include "query/pipeline/template.h"

#include <ctype.h>
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define MAX_SECRET 65536u
#define MAX_HEADER 16384u
#define PAGERDUTY_URL "https://events.pagerduty.com/v2/enqueue"

struct loader {
	const char *file;
	struct lp_hook_targets *all;
	struct lp_hook_target *target;
	struct lp_buf *error;
	bool kind_given, events_given, burst_given;
};

static const char *const kind_names[] = {
	[LP_HOOK_WEBHOOK] = "webhook", [LP_HOOK_SLACK] = "slack", [LP_HOOK_PAGERDUTY] = "pagerduty",
	[LP_HOOK_ALERTMANAGER] = "alertmanager",
};

const char *lp_hook_kind_name(enum lp_hook_kind kind) { return kind_names[kind]; }

static int refuse(struct loader *ld, const struct lp_yaml_node *node, const char *what, const char *reason)
{
	lp_buf_printf(ld->error, "%s:%u: %.64s: %s", ld->file, node->line, what, reason);
	return -EINVAL;
}

static const char *key_of(const struct lp_yaml_node *node) { return node->key ? node->key : "webhooks"; }

static int take_text(struct loader *ld, const struct lp_yaml_node *node, const char **ret_text)
{
	if (node->kind != LP_YAML_SCALAR || !*node->value)
		return refuse(ld, node, key_of(node), "expected text");
	*ret_text = lp_arena_strndup(&ld->all->arena, node->value, strlen(node->value));
	return *ret_text ? 0 : -ENOMEM;
}

/* The content of a file without the line end behind it. */
static int take_file(struct loader *ld, const struct lp_yaml_node *node, const char **ret_text)
{
	struct lp_buf text = LP_BUF_INIT, reason = LP_BUF_INIT;
	int r = -EINVAL;

	if (node->kind != LP_YAML_SCALAR || !*node->value) {
		r = refuse(ld, node, key_of(node), "expected the path of a file");
	} else if (lp_yaml_read(node->value, MAX_SECRET, &text, &reason) < 0) {
		r = refuse(ld, node, key_of(node), lp_buf_cstr(&reason));
	} else {
		while (text.len && (text.data[text.len - 1] == '\n' || text.data[text.len - 1] == '\r'))
			text.len--;
		if (!text.len || memchr(text.data, 0, text.len))
			r = refuse(ld, node, key_of(node), "the file is empty or holds a zero byte");
		else
			r = (*ret_text = lp_arena_strndup(&ld->all->arena, (char *)text.data, text.len)) ? 0 : -ENOMEM;
	}
	if (text.data)
		explicit_bzero(text.data, text.len);
	lp_buf_free(&text);
	lp_buf_free(&reason);
	return r;
}

static bool no_controls(const char *s)
{
	for (; *s; s++)
		if ((unsigned char)*s < 0x20 || *s == 0x7f)
			return false;
	return true;
}

/* ---- one function per key ---- */

static int one_text(struct loader *ld, const struct lp_yaml_node *node, void *field, int64_t min, int64_t max)
{
	(void)min, (void)max;
	return take_text(ld, node, field);
}

/* An empty one counts as none: what ${SLACK_URL:-} of a target that is switched off leaves behind. */
static int one_url(struct loader *ld, const struct lp_yaml_node *node, void *field, int64_t min, int64_t max)
{
	(void)min, (void)max;
	return node->kind == LP_YAML_SCALAR && !*node->value ? 0 : take_text(ld, node, field);
}

static int one_file(struct loader *ld, const struct lp_yaml_node *node, void *field, int64_t min, int64_t max)
{
	(void)min, (void)max;
	return take_file(ld, node, field);
}

static int one_bool(struct loader *ld, const struct lp_yaml_node *node, void *field, int64_t min, int64_t max)
{
	(void)min, (void)max;
	if (node->kind != LP_YAML_SCALAR || (strcasecmp(node->value, "true") && strcasecmp(node->value, "false")))
		return refuse(ld, node, key_of(node), "expected true or false");
	*(bool *)field = !strcasecmp(node->value, "true");
	return 0;
}

static int check_range(struct loader *ld, const struct lp_yaml_node *node, int64_t v, int64_t min, int64_t max)
{
	char reason[96];

	if (v >= min && v <= max)
		return 0;
	snprintf(reason, sizeof reason, "out of range %lld to %lld", (long long)min, (long long)max);
	return refuse(ld, node, key_of(node), reason);
}

static int one_int(struct loader *ld, const struct lp_yaml_node *node, void *field, int64_t min, int64_t max)
{
	size_t len = strlen(node->value);
	int64_t v;

	if (node->kind != LP_YAML_SCALAR || !len || len > 15 || strspn(node->value, "0123456789") != len)
		return refuse(ld, node, key_of(node), "expected a whole number");
	v = strtoll(node->value, NULL, 10);
	if (check_range(ld, node, v, min, max) < 0)
		return -EINVAL;
	*(int64_t *)field = v;
	return 0;
}

static int one_duration(struct loader *ld, const struct lp_yaml_node *node, void *field, int64_t min, int64_t max)
{
	int64_t v;

	if (node->kind != LP_YAML_SCALAR || lp_conf_parse_duration(node->value, &v) < 0)
		return refuse(ld, node, key_of(node), "expected a duration such as 5s or 1h30m");
	if (v < min || v > max) {
		char reason[96];

		snprintf(reason, sizeof reason, "out of range %lldms to %llds", (long long)min, (long long)max / 1000);
		return refuse(ld, node, key_of(node), reason);
	}
	*(int64_t *)field = v;
	return 0;
}

static int one_size(struct loader *ld, const struct lp_yaml_node *node, void *field, int64_t min, int64_t max)
{
	int64_t v;

	if (node->kind != LP_YAML_SCALAR || lp_conf_parse_size(node->value, &v) < 0)
		return refuse(ld, node, key_of(node), "expected a size such as 256KiB or 16MiB");
	if (check_range(ld, node, v, min, max) < 0)
		return -EINVAL;
	*(int64_t *)field = v;
	return 0;
}

static int one_kind(struct loader *ld, const struct lp_yaml_node *node, void *field, int64_t min, int64_t max)
{
	(void)min, (void)max;
	for (size_t i = LP_HOOK_WEBHOOK; i < LP_ARRAY_LEN(kind_names); i++)
		if (node->kind == LP_YAML_SCALAR && !strcmp(node->value, kind_names[i])) {
			*(enum lp_hook_kind *)field = (enum lp_hook_kind)i;
			ld->kind_given = true;
			return 0;
		}
	return refuse(ld, node, key_of(node), "expected webhook, slack, pagerduty or alertmanager");
}

static bool name_valid(const char *s)
{
	size_t len = strlen(s);

	return len && len <= LP_HOOK_NAME_MAX &&
	       strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-") == len;
}

static int one_name(struct loader *ld, const struct lp_yaml_node *node, void *field, int64_t min, int64_t max)
{
	(void)min, (void)max;
	if (node->kind != LP_YAML_SCALAR || !name_valid(node->value))
		return refuse(ld, node, key_of(node), "a name is 1 to 64 letters, digits, - and _");
	strcpy(field, node->value);
	return 0;
}

static int one_events(struct loader *ld, const struct lp_yaml_node *node, void *field, int64_t min, int64_t max)
{
	struct lp_hook_target *target = ld->target;

	(void)field, (void)min, (void)max;
	if (node->kind != LP_YAML_LIST || !node->child)
		return refuse(ld, node, key_of(node), "expected a list of log, alert");
	for (const struct lp_yaml_node *item = node->child; item; item = item->next) {
		if (item->kind == LP_YAML_SCALAR && !strcmp(item->value, "log"))
			target->logs = true;
		else if (item->kind == LP_YAML_SCALAR && !strcmp(item->value, "alert"))
			target->alerts = true;
		else
			return refuse(ld, item, key_of(node), "known events are log and alert");
	}
	ld->events_given = true;
	return 0;
}

static bool token_valid(const char *s)
{
	if (!*s)
		return false;
	for (; *s; s++)                 /* RFC 9110 section 5.6.2 */
		if (!isalnum((unsigned char)*s) && !strchr("!#$%&'*+-.^_`|~", *s))
			return false;
	return true;
}

static int add_header(struct loader *ld, const struct lp_yaml_node *node, const char *name, const char *value)
{
	static const char *const ours[] = { "Content-Length", "Transfer-Encoding", "Host", "Connection", "Content-Type" };
	struct lp_hook_target *target = ld->target;
	struct lp_buf line = LP_BUF_INIT;
	int r = 0;

	if (!token_valid(name))
		return refuse(ld, node, "headers", "that is no name of a header");
	for (size_t i = 0; i < LP_ARRAY_LEN(ours); i++)
		if (!strcasecmp(name, ours[i]))
			return refuse(ld, node, name, "is set by the server (content_type sets Content-Type)");
	if (!no_controls(value) || strlen(name) + strlen(value) > MAX_HEADER)
		return refuse(ld, node, name, "the value holds a control character or is too long");
	if (target->n_headers == LP_HOOK_MAX_HEADERS)
		return refuse(ld, node, "headers", "more than 32");
	lp_buf_printf(&line, "%s: %s", name, value);
	const char *text = line.failed ? NULL : lp_arena_strndup(&ld->all->arena, (char *)line.data, line.len);

	if (text)
		target->headers[target->n_headers++] = text;
	else
		r = -ENOMEM;
	lp_buf_free(&line);
	return r;
}

/* headers: {Authorization: "Bearer ${TOKEN}", X-Key: {file: /run/secrets/key}} */
static int one_headers(struct loader *ld, const struct lp_yaml_node *node, void *field, int64_t min, int64_t max)
{
	int r = 0;

	(void)field, (void)min, (void)max;
	if (node->kind == LP_YAML_SCALAR && node->null)
		return 0;
	if (node->kind != LP_YAML_MAP)
		return refuse(ld, node, key_of(node), "expected Name: value pairs");
	for (const struct lp_yaml_node *item = node->child; item && r == 0; item = item->next) {
		const char *value = NULL;

		if (item->kind == LP_YAML_SCALAR)
			value = item->value;
		else if (item->kind == LP_YAML_MAP && item->child && !item->child->next && !strcmp(item->child->key, "file"))
			r = take_file(ld, item->child, &value);
		else
			r = refuse(ld, item, item->key, "expected a value or {file: PATH}");
		if (r == 0)
			r = add_header(ld, item, item->key, value);
	}
	return r;
}

static int one_token(struct loader *ld, const struct lp_yaml_node *node, void *field, int64_t min, int64_t max)
{
	const char *token = NULL;
	struct lp_buf value = LP_BUF_INIT;
	int r = take_file(ld, node, &token);

	(void)field, (void)min, (void)max;
	if (r == 0) {
		lp_buf_printf(&value, "Bearer %s", token);
		r = add_header(ld, node, "Authorization", lp_buf_cstr(&value));
	}
	lp_buf_free(&value);
	return r;
}

static int one_selector(struct loader *ld, const struct lp_yaml_node *node, void *field, int64_t min, int64_t max)
{
	struct lp_logql **selector = field;
	struct lp_buf reason = LP_BUF_INIT;
	int r;

	(void)min, (void)max;
	if (node->kind != LP_YAML_SCALAR)
		return refuse(ld, node, key_of(node), "expected a log query such as {app=\"web\"} |= \"error\"");
	r = lp_logql_parse(node->value, strlen(node->value), selector, &reason);
	if (r == -EINVAL || r == -E2BIG)
		r = refuse(ld, node, key_of(node), lp_buf_cstr(&reason));
	else if (r == 0 && (*selector)->root->kind != LP_EXPR_LOG)
		r = refuse(ld, node, key_of(node), "expected a log query, not one that computes numbers");
	lp_buf_free(&reason);
	return r;
}

static int compile(struct loader *ld, const struct lp_yaml_node *node, const char *text, struct lp_template **ret)
{
	struct lp_buf reason = LP_BUF_INIT;
	int r;

	if (*ret)
		return refuse(ld, node, key_of(node), "body and body_file exclude each other");
	r = lp_template_compile(text, strlen(text), "body", ret, &reason);
	if (r == -EINVAL)
		r = refuse(ld, node, key_of(node), lp_buf_cstr(&reason));
	lp_buf_free(&reason);
	return r;
}

static int one_body(struct loader *ld, const struct lp_yaml_node *node, void *field, int64_t min, int64_t max)
{
	(void)min, (void)max;
	if (node->kind != LP_YAML_SCALAR || !*node->value)
		return refuse(ld, node, key_of(node), "expected a template");
	return compile(ld, node, node->value, field);
}

static int one_body_file(struct loader *ld, const struct lp_yaml_node *node, void *field, int64_t min, int64_t max)
{
	const char *text = NULL;
	int r = take_file(ld, node, &text);

	(void)min, (void)max;
	return r < 0 ? r : compile(ld, node, text, field);
}

static const struct key {
	const char *name;
	int (*take)(struct loader *, const struct lp_yaml_node *, void *field, int64_t min, int64_t max);
	size_t offset;
	int64_t min, max;
} keys[] = {
#define KEY(name, take, field, min, max) { name, take, offsetof(struct lp_hook_target, field), min, max }
	KEY("name", one_name, name, 0, 0),
	KEY("type", one_kind, kind, 0, 0),
	KEY("enabled", one_bool, enabled, 0, 0),
	KEY("events", one_events, logs, 0, 0),
	KEY("url", one_url, url, 0, 0),
	KEY("url_file", one_file, url, 0, 0),
	KEY("routing_key", one_url, routing_key, 0, 0),
	KEY("routing_key_file", one_file, routing_key, 0, 0),
	KEY("headers", one_headers, headers, 0, 0),
	KEY("bearer_token_file", one_token, headers, 0, 0),
	KEY("ca_file", one_text, ca_file, 0, 0),
	KEY("proxy", one_text, proxy, 0, 0),
	KEY("timeout", one_duration, timeout_ms, 100, 600000),
	KEY("connect_timeout", one_duration, connect_timeout_ms, 100, 600000),
	KEY("retry", one_int, retry, 0, 1000000),
	KEY("max_age", one_duration, max_age_ms, 1000, 2592000000),
	KEY("queue_size", one_size, queue_bytes, 65536, INT64_C(1) << 30),
	KEY("selector", one_selector, selector, 0, 0),
	KEY("tenant", one_text, tenant, 0, 0),
	KEY("rate_limit", one_int, rate, 0, 1000000000),
	KEY("burst", one_int, burst, 1, 1000000000),
	KEY("max_lines", one_int, max_lines, 1, 10000),
	KEY("max_bytes", one_size, max_bytes, 1024, 1048576),
	KEY("batch_wait", one_duration, batch_wait_ms, 0, 60000),
	KEY("body", one_body, body, 0, 0),
	KEY("body_file", one_body_file, body, 0, 0),
	KEY("content_type", one_text, content_type, 0, 0),
#undef KEY
};

/* ---- targets ---- */

static int defaults(struct loader *ld, const struct lp_yaml_node *node)
{
	struct lp_hook_target *target = ld->target;

	target->line = node->line;
	target->kind = LP_HOOK_WEBHOOK;
	target->enabled = true;
	target->timeout_ms = 5000;
	target->connect_timeout_ms = 5000;
	target->retry = -1;
	target->max_age_ms = 24 * 3600 * 1000;
	target->queue_bytes = 16 << 20;
	target->rate = 100;
	target->burst = 1000;
	target->max_lines = 100;
	target->max_bytes = 256 << 10;
	target->batch_wait_ms = 1000;
	target->headers = lp_arena_zalloc(&ld->all->arena, LP_HOOK_MAX_HEADERS * sizeof *target->headers);
	return target->headers ? 0 : -ENOMEM;
}

static int take_key(struct loader *ld, const struct lp_yaml_node *node)
{
	for (size_t i = 0; i < LP_ARRAY_LEN(keys); i++) {
		if (strcmp(node->key, keys[i].name))
			continue;
		if (!strcmp(node->key, "burst"))
			ld->burst_given = true;
		return keys[i].take(ld, node, (char *)ld->target + keys[i].offset, keys[i].min, keys[i].max);
	}
	return refuse(ld, node, node->key, "unknown key; webhooks.yaml(5) has the list");
}

bool lp_hook_url_valid(const char *url)
{
	return ((!strncasecmp(url, "http://", 7) && url[7]) || (!strncasecmp(url, "https://", 8) && url[8])) && no_controls(url) &&
	       !strpbrk(url, " \"<>");
}

/* What no key can say alone. */
static int finish(struct loader *ld, const struct lp_yaml_node *node)
{
	struct lp_hook_target *target = ld->target;

	if (!ld->events_given)
		target->alerts = true;
	if (!ld->burst_given && target->burst < target->rate)
		target->burst = target->rate;
	if (target->kind == LP_HOOK_PAGERDUTY && !target->url)
		target->url = PAGERDUTY_URL;
	if (!target->enabled && !target->url)
		return 0;
	if (!target->url)
		return refuse(ld, node, target->name, "url or url_file is missing");
	if (!lp_hook_url_valid(target->url))
		return refuse(ld, node, target->name, "url: expected http:// or https:// and no blanks");
	if (target->kind == LP_HOOK_PAGERDUTY && !target->routing_key && target->enabled)
		return refuse(ld, node, target->name, "routing_key or routing_key_file is missing");
	if (target->routing_key && (target->kind != LP_HOOK_PAGERDUTY || !no_controls(target->routing_key)))
		return refuse(ld, node, target->name, "routing_key: is for type pagerduty, without control characters");
	if (target->kind == LP_HOOK_ALERTMANAGER && (target->logs || target->body))
		return refuse(ld, node, target->name, "an Alertmanager takes alerts in its own form: no log events, no body");
	if (target->body && target->kind == LP_HOOK_PAGERDUTY)
		return refuse(ld, node, target->name, "body: PagerDuty has its own form; use type webhook");
	if (target->content_type && (!no_controls(target->content_type) || strlen(target->content_type) > 200))
		return refuse(ld, node, target->name, "content_type: no control characters, at most 200 bytes");
	if (target->max_bytes * 3 > target->queue_bytes)
		return refuse(ld, node, target->name, "queue_size must be at least three times max_bytes");
	return 0;
}

static int take_target(struct loader *ld, const struct lp_yaml_node *node, const char *name)
{
	struct lp_hook_target *target;
	int r;

	if (ld->all->n == LP_HOOK_MAX_TARGETS)
		return refuse(ld, node, "webhooks", "more than 64 targets");
	if (node->kind != LP_YAML_MAP)
		return refuse(ld, node, key_of(node), "expected url and more keys of a target");
	ld->target = target = &ld->all->targets[ld->all->n++];
	ld->kind_given = ld->events_given = ld->burst_given = false;
	r = defaults(ld, node);
	if (name)
		strcpy(target->name, name);
	else
		snprintf(target->name, sizeof target->name, "webhook-%u", ld->all->n);
	for (size_t i = LP_HOOK_WEBHOOK; name && i < LP_ARRAY_LEN(kind_names); i++)
		if (!strcmp(name, kind_names[i]))
			target->kind = (enum lp_hook_kind)i;
	for (const struct lp_yaml_node *key = node->child; key && r == 0; key = key->next) {
		if (name && !strcmp(key->key, "name"))
			r = refuse(ld, key, "name", "the key above is the name");
		else
			r = take_key(ld, key);
	}
	if (r == 0)
		r = finish(ld, node);
	for (uint32_t i = 0; r == 0 && i + 1 < ld->all->n; i++)
		if (!strcmp(ld->all->targets[i].name, target->name))
			r = refuse(ld, node, target->name, "a second target of this name");
	return r;
}

/* The target for addresses that rules bring.  One address that is down must not keep the others waiting for long. */
static int take_own_address(struct loader *ld, const struct lp_yaml_node *node)
{
	bool on = false;
	int r = one_bool(ld, node, &on, 0, 0);

	if (r < 0 || !on)
		return r;
	if (ld->all->n == LP_HOOK_MAX_TARGETS)
		return refuse(ld, node, node->key, "more than 64 targets");
	for (uint32_t i = 0; i < ld->all->n; i++)
		if (!strcmp(ld->all->targets[i].name, "rule"))
			return refuse(ld, node, node->key, "a target has the name that this needs, rule");
	ld->target = &ld->all->targets[ld->all->n++];
	r = defaults(ld, node);
	strcpy(ld->target->name, "rule");
	ld->target->alerts = ld->target->own_address = true;
	ld->target->retry = 3;
	return r;
}

static int take_list(struct loader *ld, const struct lp_yaml_node *list)
{
	int r = 0;

	if (list->kind == LP_YAML_SCALAR)
		return list->null ? 0 : refuse(ld, list, "webhooks", "expected a list of targets, or targets by name");
	for (const struct lp_yaml_node *item = list->child; item && r == 0; item = item->next) {
		if (list->kind == LP_YAML_MAP && !name_valid(item->key))
			r = refuse(ld, item, "webhooks", "a name is 1 to 64 letters, digits, - and _");
		else
			r = take_target(ld, item, list->kind == LP_YAML_MAP ? item->key : NULL);
	}
	return r;
}

static int take_root(struct loader *ld, const struct lp_yaml_node *root)
{
	const struct lp_yaml_node *own = NULL;
	int r = 0;

	if (root->kind != LP_YAML_MAP || !root->child)
		return refuse(ld, root, "webhooks", "expected webhooks, and perhaps rule_webhooks");
	for (const struct lp_yaml_node *node = root->child; node && r == 0; node = node->next) {
		if (!strcmp(node->key, "webhooks"))
			r = take_list(ld, node);
		else if (!strcmp(node->key, "rule_webhooks"))
			own = node;
		else
			r = refuse(ld, node, node->key, "unknown key; known are webhooks and rule_webhooks");
	}
	return r == 0 && own ? take_own_address(ld, own) : r;
}

int lp_hook_targets_parse(const char *name, const void *text, size_t len, struct lp_hook_targets **ret_targets, struct lp_buf *error)
{
	struct lp_hook_targets *all = calloc(1, sizeof *all);
	struct lp_arena yaml = { .max_bytes = 64u << 20 };
	struct loader ld = { .file = name, .all = all, .error = error };
	struct lp_yaml_node *root;
	int r;

	if (!all)
		return -ENOMEM;
	all->arena.max_bytes = 16u << 20;
	all->targets = lp_arena_zalloc(&all->arena, LP_HOOK_MAX_TARGETS * sizeof *all->targets);
	r = all->targets ? lp_yaml_parse(name, text, len, true, &yaml, &root, error) : -ENOMEM;
	if (r == 0)
		r = take_root(&ld, root);
	lp_arena_free(&yaml);
	if (r == -ENOMEM && !error->len)
		lp_buf_printf(error, "%s: out of memory", name);
	if (r < 0)
		lp_hook_targets_free(&all);
	else
		*ret_targets = all;
	return r;
}

int lp_hook_targets_load(const char *path, struct lp_hook_targets **ret_targets, struct lp_buf *error)
{
	struct lp_buf text = LP_BUF_INIT;
	int r = lp_yaml_read(path, LP_YAML_MAX_FILE, &text, error);

	if (r == 0)
		r = lp_hook_targets_parse(path, text.data, text.len, ret_targets, error);
	else if (r != -ENOMEM)
		r = -EINVAL;
	if (text.data)
		explicit_bzero(text.data, text.len);
	lp_buf_free(&text);
	return r;
}

void lp_hook_targets_free(struct lp_hook_targets **targets)
{
	struct lp_hook_targets *it = *targets;

	*targets = NULL;
	if (!it)
		return;
	for (uint32_t i = 0; it->targets && i < it->n; i++) {
		lp_logql_free(&it->targets[i].selector);
		lp_template_free(&it->targets[i].body);
	}
	lp_arena_free(&it->arena);
	free(it);
}

int lp_hooks_check(const struct lp_conf *conf, struct lp_buf *error)
{
	struct lp_hook_targets *targets = NULL;
	int r = *conf->files.webhooks_file ? lp_hook_targets_load(conf->files.webhooks_file, &targets, error) : 0;

	lp_hook_targets_free(&targets);
	return r;
}
