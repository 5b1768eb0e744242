/* Options that are lists of rules: what is done with attributes, in the form of Loki's otlp_config.
 *
 *   - action: drop                                - action: index_label
 *     attributes: [a.b, c]                          regex: x\..*
 *
 * The first rule that names an attribute counts.  From flags and the environment the same is read in YAML's one-line form.
 * Regular expressions are kept as text: who uses them compiles them.  Pure functions. */
#include "conf/conf-private.h"
#include "conf/yaml.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char *const actions[] = { "index_label", "structured_metadata", "drop" };

void lp_conf_rules_clear(struct lp_conf_rules *rules)
{
	for (size_t i = 0; i < rules->n; i++) {
		lp_conf_list_clear(&rules->v[i].attributes);
		free(rules->v[i].regex);
	}
	free(rules->v);
	*rules = (struct lp_conf_rules){ 0 };
}

static int refuse(const char **ret_what, const char *what)
{
	*ret_what = what;
	return -EINVAL;
}

/* `values` names the actions that the option knows. */
static int read_action(const struct lp_conf_option *option, const struct lp_yaml_node *node, enum lp_conf_action *ret, const char **ret_what)
{
	for (size_t i = 0; node->kind == LP_YAML_SCALAR && i < sizeof actions / sizeof *actions; i++)
		if (strcmp(actions[i], node->value) == 0 && strstr(option->values, actions[i])) {
			*ret = (enum lp_conf_action)i;
			return 0;
		}
	return refuse(ret_what, strstr(option->values, "index_label") ? "action: expected index_label, structured_metadata or drop" :
								       "action: expected structured_metadata or drop");
}

static int read_attributes(const struct lp_yaml_node *node, struct lp_conf_list *ret, const char **ret_what)
{
	int r = 0;

	if (node->kind != LP_YAML_LIST)
		return refuse(ret_what, "attributes: expected a list, for example [a, b]");
	for (const struct lp_yaml_node *item = node->child; item && r == 0; item = item->next) {
		if (item->kind != LP_YAML_SCALAR || !item->value[0])
			return refuse(ret_what, "attributes: expected names");
		r = lp_conf_list_add(ret, item->value, strlen(item->value));
	}
	return r == -E2BIG ? refuse(ret_what, "attributes: more than 1024 names") : r;
}

static int read_rule(const struct lp_conf_option *option, const struct lp_yaml_node *map, struct lp_conf_rule *rule, const char **ret_what)
{
	bool action = false;
	int r = 0;

	if (map->kind != LP_YAML_MAP)
		return refuse(ret_what, "expected rules with action, and attributes or regex");
	for (const struct lp_yaml_node *node = map->child; node && r == 0; node = node->next) {
		if (strcmp(node->key, "action") == 0) {
			r = read_action(option, node, &rule->action, ret_what);
			action = true;
		} else if (strcmp(node->key, "attributes") == 0) {
			r = read_attributes(node, &rule->attributes, ret_what);
		} else if (strcmp(node->key, "regex") == 0 && node->kind == LP_YAML_SCALAR && node->value[0]) {
			rule->regex = strdup(node->value);
			r = rule->regex ? 0 : -ENOMEM;
		} else {
			return refuse(ret_what, "a rule has action, and attributes (a list) or regex (a text), nothing else");
		}
	}
	if (r == 0 && (!action || !rule->attributes.n == !rule->regex))
		return refuse(ret_what, "a rule needs action, and either attributes or regex");
	return r;
}

int lp_conf_rules_read(const struct lp_conf_option *option, const struct lp_yaml_node *list, struct lp_conf_rules *rules, uint32_t *ret_line,
		       const char **ret_what)
{
	struct lp_conf_rules fresh = { 0 };
	size_t n = 0;
	int r = 0;

	*ret_line = list->line;
	*ret_what = "out of memory";
	if (list->kind == LP_YAML_SCALAR ? !list->null : list->kind != LP_YAML_LIST)
		return refuse(ret_what, "expected a list of rules, for example [{action: drop, attributes: [a]}]");
	for (const struct lp_yaml_node *item = list->child; item; item = item->next)
		n++;
	if (n > LP_CONF_MAX_ITEMS)
		return refuse(ret_what, "more than 1024 rules");
	fresh.v = calloc(n + 1, sizeof *fresh.v);
	if (!fresh.v)
		return -ENOMEM;
	for (const struct lp_yaml_node *item = list->child; item && r == 0; item = item->next) {
		*ret_line = item->line;
		r = read_rule(option, item, &fresh.v[fresh.n++], ret_what);
	}
	lp_conf_rules_clear(r == 0 ? rules : &fresh);
	if (r == 0)
		*rules = fresh;
	return r;
}

int lp_conf_rules_parse(const struct lp_conf_option *option, const char *text, struct lp_conf_rules *rules, struct lp_buf *reason)
{
	static struct lp_yaml_node nothing = { .kind = LP_YAML_LIST };
	struct lp_arena arena = { .max_bytes = 1u << 20 };
	struct lp_yaml_node *list = &nothing;
	const char *what;
	uint32_t line;
	int r = 0;

	if (text[strspn(text, " \t")])
		r = lp_yaml_parse("value", text, strlen(text), false, &arena, &list, reason);
	if (r == 0) {
		r = lp_conf_rules_read(option, list, rules, &line, &what);
		if (r < 0)
			lp_buf_str(reason, what);
	}
	lp_arena_free(&arena);
	return r;
}

void lp_conf_rules_print(const struct lp_conf_rules *rules, void (*print_text)(const char *s, struct lp_buf *out), struct lp_buf *out)
{
	lp_buf_byte(out, '[');
	for (size_t i = 0; i < rules->n; i++) {
		const struct lp_conf_rule *rule = &rules->v[i];

		lp_buf_printf(out, "%s{action: %s, ", i ? ", " : "", actions[rule->action]);
		if (rule->regex) {
			lp_buf_str(out, "regex: ");
			print_text(rule->regex, out);
		} else {
			lp_buf_str(out, "attributes: [");
			for (size_t k = 0; k < rule->attributes.n; k++) {
				lp_buf_str(out, k ? ", " : "");
				print_text(rule->attributes.items[k], out);
			}
			lp_buf_byte(out, ']');
		}
		lp_buf_byte(out, '}');
	}
	lp_buf_byte(out, ']');
}
