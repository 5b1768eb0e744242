/* The original API's rules as JSON and as rules of the one evaluator.
 * Guarantees: any bytes are read without harm, what is printed is read back the same.  Process: workers, notifier. */
#include "rules/alertlist.h"

#include "common/jsonw.h"
#include "conf/yaml.h"
#include "ingest/json_scan.h"
#include "rules/store.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define PATH_BYTES 4608u
#define MAX_TEXT_BYTES 65536u

void lp_alertlist_init(struct lp_alertlist *list)
{
	*list = (struct lp_alertlist){ .arena = { .max_bytes = 16u << 20 } };
	list->end = &list->items;
}

void lp_alertlist_free(struct lp_alertlist *list)
{
	lp_arena_free(&list->arena);
	lp_alertlist_init(list);
}

struct lp_alert_item *lp_alertlist_add(struct lp_alertlist *list)
{
	struct lp_alert_item *item = lp_arena_zalloc(&list->arena, sizeof *item);

	if (!item)
		return NULL;
	item->name = item->query = item->condition = item->duration = item->created = item->updated = "";
	item->severity = "warning";
	item->enabled = true;
	*list->end = item;
	list->end = &item->next;
	list->n++;
	return item;
}

struct lp_alert_item *lp_alertlist_find(const struct lp_alertlist *list, const char *id, size_t len)
{
	for (struct lp_alert_item *item = list->items; item; item = item->next)
		if (strlen(item->id) == len && !memcmp(item->id, id, len))
			return item;
	return NULL;
}

void lp_alertlist_remove(struct lp_alertlist *list, struct lp_alert_item *item)
{
	struct lp_alert_item **link = &list->items;

	while (*link != item)
		link = &(*link)->next;
	*link = item->next;
	if (!*link)
		list->end = link;
	list->n--;
}

/* ---- reading ---- */

static int wrong(struct lp_buf *error, const char *key, const char *want)
{
	lp_buf_printf(error, "Invalid JSON: %.64s must be %s", key, want);
	return -EINVAL;
}

static int read_text(struct lp_alertlist *list, struct lp_json *js, const char *key, const char **ret, struct lp_buf *error)
{
	const char *s, *copy;
	size_t n;

	if (lp_json_null(js))
		return 0;
	if (lp_json_peek(js) != '"' || lp_json_string_ref(js, &list->arena, &s, &n) < 0 || n > MAX_TEXT_BYTES || memchr(s, 0, n))
		return wrong(error, key, "a string");
	copy = lp_arena_strndup(&list->arena, s, n);
	if (!copy)
		return -ENOMEM;
	*ret = copy;
	return 0;
}

static int read_number(struct lp_json *js, const char *key, int64_t *ret, struct lp_buf *error)
{
	const uint8_t *start;
	char text[32], *end;

	(void)lp_json_peek(js);
	start = js->p;
	if (lp_json_skip(js) < 0 || (size_t)(js->p - start) >= sizeof text)
		return wrong(error, key, "a whole number");
	memcpy(text, start, (size_t)(js->p - start));
	text[js->p - start] = '\0';
	errno = 0;
	double v = strtod(text, &end);

	if (*end || end == text || !(v >= -9e15 && v <= 9e15) || v != (double)(int64_t)v)
		return wrong(error, key, "a whole number");
	*ret = (int64_t)v;
	return 0;
}

static int read_bool(struct lp_json *js, const char *key, bool *ret, struct lp_buf *error)
{
	const uint8_t *start;

	(void)lp_json_peek(js);
	start = js->p;
	if (lp_json_skip(js) < 0 || (*start != 't' && *start != 'f'))
		return wrong(error, key, "true or false");
	*ret = *start == 't';
	return 0;
}

/* `own` takes the fields that a client cannot set. */
static int read_item(struct lp_alertlist *list, struct lp_alert_item *item, struct lp_json *js, bool own, struct lp_buf *error)
{
	const char *id = item->id;
	const struct {
		const char *key, **to;
		bool own;
	} texts[] = {
		{ "name", &item->name, false }, { "query", &item->query, false }, { "condition", &item->condition, false },
		{ "duration", &item->duration, false }, { "severity", &item->severity, false }, { "webhook", &item->webhook, false },
		{ "createdAt", &item->created, true }, { "updatedAt", &item->updated, true }, { "id", &id, true },
	};
	bool first = true;
	const char *raw;
	size_t len;
	int r;

	while ((r = lp_json_next_member(js, &first, &list->arena, &raw, &len)) > 0) {
		char key[16] = "";
		size_t i = 0;

		if (len < sizeof key)
			memcpy(key, raw, len);
		while (i < sizeof texts / sizeof texts[0] && strcmp(texts[i].key, key))
			i++;
		if (i < sizeof texts / sizeof texts[0] && (own || !texts[i].own))
			r = read_text(list, js, key, texts[i].to, error);
		else if (!strcmp(key, "threshold"))
			r = read_number(js, key, &item->threshold, error);
		else if (!strcmp(key, "enabled"))
			r = read_bool(js, key, &item->enabled, error);
		else
			r = lp_json_skip(js);
		if (r < 0)
			break;
	}
	if (own)
		snprintf(item->id, sizeof item->id, "%.32s", id);
	if (item->webhook && !item->webhook[0])
		item->webhook = NULL;
	return r;
}

int lp_alert_item_read(struct lp_alertlist *list, struct lp_alert_item *item, const void *json, size_t len, struct lp_buf *error)
{
	struct lp_json js;

	lp_json_start(&js, json, len, true);
	int r = lp_json_expect(&js, '{', "expected an object");

	if (r == 0)
		r = read_item(list, item, &js, false, error);
	if (r == 0 && (lp_json_peek(&js) || js.p < js.end)) {
		js.error = "unexpected text after the JSON value";
		r = -EBADMSG;
	}
	if (r == -EBADMSG && error->len == 0)
		lp_buf_printf(error, "Invalid JSON: %s", js.error ? js.error : "not an object");
	return r;
}

int lp_alertlist_parse(struct lp_alertlist *list, const void *json, size_t len)
{
	struct lp_buf ignored = { .max = 1 };
	struct lp_json js;
	bool first = true;
	int r = 0;

	lp_json_start(&js, json, len, true);
	if (lp_json_expect(&js, '[', "") < 0)
		return -EBADMSG;
	while (r == 0 && (r = lp_json_next_element(&js, &first)) > 0) {
		struct lp_alert_item *item;

		if (lp_json_expect(&js, '{', "") < 0 || list->n >= LP_ALERTLIST_MAX) {
			r = -EBADMSG;
			break;
		}
		item = lp_alertlist_add(list);
		r = item ? read_item(list, item, &js, true, &ignored) : -ENOMEM;
		if (r == 0)
			continue;
		break;
	}
	lp_buf_free(&ignored);
	return r == -EINVAL ? -EBADMSG : r;
}

int lp_alertlist_load(struct lp_alertlist *list, const char *dir, const char *tenant)
{
	struct lp_buf text = LP_BUF_INIT, ignored = { .max = 1 };
	char path[PATH_BYTES];
	int r = lp_rulestore_path(dir, tenant, NULL, path, sizeof path);

	if (r == 0)
		r = lp_yaml_read(path, 8u << 20, &text, &ignored);
	if (r == 0)
		r = lp_alertlist_parse(list, text.data, text.len);
	lp_buf_free(&ignored);
	lp_buf_free(&text);
	return r == -ENOENT ? 0 : r;
}

/* ---- writing ---- */

void lp_alert_item_print(const struct lp_alert_item *item, struct lp_buf *out)
{
	const struct {
		const char *key, *value;
	} texts[] = {
		{ "id", item->id }, { "name", item->name }, { "query", item->query }, { "condition", item->condition },
		{ "duration", item->duration }, { "severity", item->severity }, { "webhook", item->webhook },
		{ "createdAt", item->created }, { "updatedAt", item->updated },
	};

	lp_buf_byte(out, '{');
	for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
		if (!texts[i].value)
			continue;
		lp_buf_printf(out, "%s\"%s\":", i ? "," : "", texts[i].key);
		lp_jsonw_cstr(out, texts[i].value);
	}
	lp_buf_printf(out, ",\"threshold\":%" PRId64 ",\"enabled\":%s}", item->threshold, item->enabled ? "true" : "false");
}

void lp_alertlist_print(const struct lp_alertlist *list, struct lp_buf *out)
{
	lp_buf_byte(out, '[');
	for (const struct lp_alert_item *item = list->items; item; item = item->next) {
		if (item != list->items)
			lp_buf_byte(out, ',');
		lp_alert_item_print(item, out);
	}
	lp_buf_byte(out, ']');
}

/* ---- as rules ---- */

static void as_original(const struct lp_alert_item *item, char threshold[24], struct lp_original_rule *ret)
{
	snprintf(threshold, 24, "%" PRId64, item->threshold);
	*ret = (struct lp_original_rule){ .name = item->name, .query = item->query, .condition = item->condition, .threshold = threshold,
					  .duration = item->duration, .severity = item->severity, .webhook = item->webhook, .line = 1 };
}

/* One that could never be called would be a rule that tells nobody. */
static bool is_address(const char *s)
{
	size_t n = !strncasecmp(s, "http://", 7) ? 7 : !strncasecmp(s, "https://", 8) ? 8 : 0;

	if (!n || !s[n] || strpbrk(s, "\"<>"))
		return false;
	while ((unsigned char)*s > ' ' && *s != 0x7f)
		s++;
	return !*s;
}

int lp_alert_item_check(const struct lp_alert_item *item, struct lp_buf *error)
{
	static const char *const severities[] = { "critical", "warning", "info" };
	const char *text = !item->name[0] ? "Alert name is required" : !item->query[0] ? "Query is required" :
			   !item->condition[0] ? "Condition is required" : item->threshold < 0 ? "Threshold must be >= 0" :
			   !item->duration[0] ? "Duration is required" : strlen(item->name) > LP_RULES_MAX_NAME ? "Alert name is too long" : NULL;
	struct lp_alertlist one;
	struct lp_rule_set *set = NULL;
	bool known = false;

	for (size_t i = 0; i < sizeof severities / sizeof severities[0]; i++)
		known |= !strcmp(item->severity, severities[i]);
	if (!text && !known)
		text = "Severity must be critical, warning or info";
	if (!text && item->webhook && !is_address(item->webhook))
		text = "Webhook must be an http:// or https:// address";
	if (text) {
		lp_buf_str(error, text);
		return -EINVAL;
	}
	int r = lp_rules_new(&set);

	if (r < 0)
		return r;
	lp_alertlist_init(&one);
	struct lp_alert_item copy = *item;

	copy.next = NULL;
	copy.enabled = true;
	one.items = &copy;
	r = lp_alertlist_rules(&one, "", 60000, set, error);
	if (r == 0 && error->len)
		r = -EINVAL;
	lp_rules_free(&set);
	return r;
}

int lp_alertlist_rules(const struct lp_alertlist *list, const char *tenant, int64_t interval_ms, struct lp_rule_set *set, struct lp_buf *error)
{
	const struct lp_rule_source source = { .name = LP_RULES_ORIGINAL, .tenant = tenant, .file = LP_RULES_ORIGINAL, .interval_ms = interval_ms };
	struct lp_rule_group *group = NULL;

	for (const struct lp_alert_item *item = list->items; item; item = item->next) {
		struct lp_original_rule original;
		struct lp_buf why = { .max = 1024 };
		char threshold[24];
		int r;

		if (!item->enabled)
			continue;
		if (!group)
			group = lp_rules_add_group(set, &source, LP_RULES_ORIGINAL);
		if (!group)
			return -ENOMEM;
		as_original(item, threshold, &original);
		r = lp_rules_add_original(set, group, &source, &original, &why);
		if (r < 0 && error->len == 0)
			lp_buf_printf(error, "%s", lp_buf_cstr(&why));
		lp_buf_free(&why);
		if (r == -ENOMEM)
			return r;
	}
	return 0;
}
