/* The original server's alert rules (alerts.yaml, /alerts) as rules of the one evaluator.
 *
 * The original counted what a query found in a window and compared the number.  So does this: a log query becomes
 *   (sum(count_over_time(QUERY [DURATION])) or vector(0)) > THRESHOLD
 * where "or vector(0)" makes `lt` and `eq` see a window without lines; a metric query is compared as it is, its range is its own.
 * Pure.  Process: notifier, worker, master. */
#include "rules/load-private.h"

#include "query/logql/units.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char *operator_of(const char *condition)
{
	static const struct {
		const char *name, *op;
	} known[] = {
		{ "gt", ">" }, { "lt", "<" }, { "eq", "==" }, { "gte", ">=" }, { "lte", "<=" }, { "neq", "!=" },
		{ ">", ">" }, { "<", "<" }, { "==", "==" }, { "=", "==" }, { ">=", ">=" }, { "<=", "<=" }, { "!=", "!=" },
	};

	for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
		if (!strcmp(condition, known[i].name))
			return known[i].op;
	return NULL;
}

/* The expression of the rule, in the arena. */
static int make_expr(struct lp_rule_loader *loader, const struct lp_original_rule *o, const char **ret_expr)
{
	struct lp_buf expr = { .max = 256u << 10 };
	const char *op = operator_of(o->condition);
	int64_t ns = 0;
	double number;
	bool log = false;
	int r = lp_rule_check_expr(loader, o->line, o->query, &log);

	if (r < 0)
		return r;
	if (!op)
		return lp_rule_refuse(loader, o->line, "condition: \"%.32s\" is none of gt lt eq gte lte", o->condition);
	if (lp_units_float(o->threshold, strlen(o->threshold), &number) < 0)
		return lp_rule_refuse(loader, o->line, "threshold: \"%.32s\" is not a number", o->threshold);
	if (lp_units_prom_duration(o->duration, strlen(o->duration), &ns, NULL) < 0 || ns <= 0)
		return lp_rule_refuse(loader, o->line, "duration: \"%.32s\" is not a duration such as 5m", o->duration);
	if (log)
		lp_buf_printf(&expr, "(sum(count_over_time(%s [%s])) or vector(0)) %s %s", o->query, o->duration, op, o->threshold);
	else
		lp_buf_printf(&expr, "(%s) %s %s", o->query, op, o->threshold);
	*ret_expr = expr.failed ? NULL : lp_arena_strndup(&loader->set->arena, (char *)expr.data, expr.len);
	lp_buf_free(&expr);
	if (!*ret_expr)
		return lp_rule_no_memory(loader);
	/* Once more as a whole: a comment at the end of the query would take the rest with it. */
	return lp_rule_check_expr(loader, o->line, *ret_expr, NULL);
}

static int copy_labels(struct lp_rule_loader *loader, const struct lp_original_rule *o, struct lp_rule *rule)
{
	bool severity = o->severity && o->severity[0];
	int r = 0;

	rule->labels = lp_arena_zalloc(&loader->set->arena, (o->n_labels + 1) * sizeof *rule->labels);
	if (!rule->labels)
		return lp_rule_no_memory(loader);
	for (uint32_t i = 0; i < o->n_labels && r == 0; i++) {
		if (!lp_rules_label_name(o->labels[i].name, false))
			return lp_rule_refuse(loader, o->line, "invalid label name: %.64s", o->labels[i].name);
		if (severity && !strcmp(o->labels[i].name, "severity"))
			continue;
		r = lp_rule_text_set(loader, o->line, &rule->labels[rule->n_labels++], o->labels[i].name, o->labels[i].value);
	}
	if (r == 0 && severity)
		r = lp_rule_text_set(loader, o->line, &rule->labels[rule->n_labels++], "severity", o->severity);
	lp_rule_texts_sort(rule->labels, rule->n_labels);
	return r;
}

static int copy_channels(struct lp_rule_loader *loader, const struct lp_original_rule *o, struct lp_rule *rule)
{
	if (o->n_channels == 0)
		return 0;
	rule->channels = lp_arena_zalloc(&loader->set->arena, o->n_channels * sizeof *rule->channels);
	if (!rule->channels)
		return lp_rule_no_memory(loader);
	for (uint32_t i = 0; i < o->n_channels; i++) {
		rule->channels[i] = lp_arena_strndup(&loader->set->arena, o->channels[i], strlen(o->channels[i]));
		if (!rule->channels[i])
			return lp_rule_no_memory(loader);
	}
	rule->n_channels = o->n_channels;
	return 0;
}

int lp_rules_add_original(struct lp_rule_set *set, struct lp_rule_group *group, const struct lp_rule_source *source,
			  const struct lp_original_rule *original, struct lp_buf *error)
{
	struct lp_rule_loader loader = { .set = set, .source = source, .error = error };
	struct lp_rule *rule = lp_arena_zalloc(&set->arena, sizeof *rule);
	int r;

	if (!rule)
		return lp_rule_no_memory(&loader);
	rule->line = original->line;
	r = make_expr(&loader, original, &rule->expr);
	if (r == 0)
		r = copy_labels(&loader, original, rule);
	if (r == 0)
		r = copy_channels(&loader, original, rule);
	if (r < 0)
		return r;
	rule->name = lp_arena_strndup(&set->arena, original->name, strlen(original->name));
	if (original->webhook)
		rule->webhook = lp_arena_strndup(&set->arena, original->webhook, strlen(original->webhook));
	if (!rule->name || (original->webhook && !rule->webhook))
		return lp_rule_no_memory(&loader);
	return lp_rule_append(&loader, group, rule);
}

/* ---- alerts.yaml ---- */

#define MAX_CHANNELS 32
#define MAX_LABELS 64

struct entry {
	struct lp_original_rule rule;
	const char *channels[MAX_CHANNELS];
	struct lp_alert_pair labels[MAX_LABELS];
	bool disabled;
};

static int read_channels(struct lp_rule_loader *loader, const struct lp_yaml_node *list, struct entry *e)
{
	if (list->kind != LP_YAML_LIST)
		return lp_rule_refuse(loader, list->line, "channels: expected a list");
	for (const struct lp_yaml_node *it = list->child; it; it = it->next) {
		if (it->kind != LP_YAML_SCALAR || e->rule.n_channels == MAX_CHANNELS)
			return lp_rule_refuse(loader, it->line, "channels: expected at most %d names", MAX_CHANNELS);
		e->channels[e->rule.n_channels++] = it->value;
	}
	return 0;
}

static int read_labels(struct lp_rule_loader *loader, const struct lp_yaml_node *map, struct entry *e)
{
	if (map->kind != LP_YAML_MAP)
		return lp_rule_refuse(loader, map->line, "labels: expected names and values");
	for (const struct lp_yaml_node *it = map->child; it; it = it->next) {
		if (it->kind != LP_YAML_SCALAR || e->rule.n_labels == MAX_LABELS)
			return lp_rule_refuse(loader, it->line, "labels: expected at most %d names and values", MAX_LABELS);
		e->labels[e->rule.n_labels++] = (struct lp_alert_pair){ it->key, it->value };
	}
	return 0;
}

static int read_enabled(struct lp_rule_loader *loader, const struct lp_yaml_node *node, struct entry *e)
{
	if (strcmp(node->value, "true") && strcmp(node->value, "false"))
		return lp_rule_refuse(loader, node->line, "enabled: true or false");
	e->disabled = !strcmp(node->value, "false");
	return 0;
}

static int read_entry(struct lp_rule_loader *loader, const struct lp_yaml_node *node, struct entry *e)
{
	const struct {
		const char *key, **to;
	} plain[] = {
		{ "name", &e->rule.name }, { "expr", &e->rule.query }, { "query", &e->rule.query }, { "threshold", &e->rule.threshold },
		{ "condition", &e->rule.condition }, { "duration", &e->rule.duration }, { "window", &e->rule.duration },
		{ "severity", &e->rule.severity }, { "webhook", &e->rule.webhook },
	};
	int r = 0;

	if (node->kind != LP_YAML_MAP)
		return lp_rule_refuse(loader, node->line, "expected an alert: name, expr, threshold, ...");
	for (const struct lp_yaml_node *it = node->child; it && r == 0; it = it->next) {
		size_t i = 0;

		if (!strcmp(it->key, "channels")) {
			r = read_channels(loader, it, e);
		} else if (!strcmp(it->key, "labels")) {
			r = read_labels(loader, it, e);
		} else if (it->kind != LP_YAML_SCALAR) {
			r = lp_rule_refuse(loader, it->line, "%.64s: expected a plain value", it->key);
		} else if (!strcmp(it->key, "enabled")) {
			r = read_enabled(loader, it, e);
		} else {
			while (i < sizeof plain / sizeof plain[0] && strcmp(plain[i].key, it->key))
				i++;
			if (i == sizeof plain / sizeof plain[0])
				r = lp_rule_refuse(loader, it->line, "unknown field %.64s in an alert", it->key);
			else
				*plain[i].to = it->value;
		}
	}
	return r;
}

int lp_rule_load_original(struct lp_rule_loader *loader, const struct lp_yaml_node *list)
{
	struct lp_rule_group *group;
	int r = 0;

	if (list->kind == LP_YAML_SCALAR && list->null)
		return 0;
	if (list->kind != LP_YAML_LIST)
		return lp_rule_refuse(loader, list->line, "alerts: expected a list");
	group = lp_rules_add_group(loader->set, loader->source, LP_RULES_ORIGINAL);
	if (!group)
		return lp_rule_no_memory(loader);
	for (const struct lp_yaml_node *it = list->child; it && r == 0; it = it->next) {
		struct entry e = { .rule = { .condition = "gt", .threshold = "0", .duration = "5m", .severity = "" } };

		e.rule.line = it->child ? it->child->line : it->line;
		e.rule.channels = e.channels;
		e.rule.labels = e.labels;
		r = read_entry(loader, it, &e);
		if (r == 0 && (!e.rule.name || !e.rule.name[0] || strlen(e.rule.name) > LP_RULES_MAX_NAME))
			r = lp_rule_refuse(loader, e.rule.line, "an alert needs a name of 1 to %u bytes", LP_RULES_MAX_NAME);
		if (r == 0 && (!e.rule.query || !e.rule.query[0]))
			r = lp_rule_refuse(loader, e.rule.line, "an alert needs an expr");
		if (r == 0 && !e.disabled)
			r = lp_rules_add_original(loader->set, group, loader->source, &e.rule, loader->error);
	}
	return r;
}
