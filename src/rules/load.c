/* Rule files into the model, and back.
 *
 * Guarantees: what loads can be evaluated (expressions parse and are metric queries, templates compile, names are valid);
 * bounded by the YAML reader, LP_RULES_MAX_GROUPS and LP_RULES_MAX_RULES.  The rules of what is valid are those of Prometheus'
 * rulefmt package.  Pure: reads files when told to, keeps no state.  Process: notifier, worker, master; nothing is lost if it dies. */
#include "rules/load-private.h"

#include "common/jsonw.h"
#include "query/logql/ast.h"
#include "query/logql/units.h"
#include "query/pipeline/template.h"

#include <errno.h>
#include <glob.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct lp_rule_owned {
	struct lp_rule_owned *next;
	struct lp_template *tmpl;
};

int lp_rule_refuse(struct lp_rule_loader *loader, uint32_t line, const char *fmt, ...)
{
	char text[768];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	lp_buf_printf(loader->error, "%s:%u: %s", loader->source->name, line, text);
	return -EINVAL;
}

int lp_rule_no_memory(struct lp_rule_loader *loader)
{
	lp_buf_printf(loader->error, "%s: out of memory", loader->source->name);
	return -ENOMEM;
}

/* ---- the set ---- */

int lp_rules_new(struct lp_rule_set **ret_set)
{
	struct lp_rule_set *set = calloc(1, sizeof *set);

	if (!set)
		return -ENOMEM;
	set->groups_end = &set->groups;
	*ret_set = set;
	return 0;
}

void lp_rules_free(struct lp_rule_set **set)
{
	if (!set || !*set)
		return;
	for (struct lp_rule_owned *it = (*set)->owned; it; it = it->next)
		lp_template_free(&it->tmpl);
	lp_arena_free(&(*set)->arena);
	free(*set);
	*set = NULL;
}

static char *dup_text(struct lp_rule_set *set, const char *s) { return lp_arena_strndup(&set->arena, s, strlen(s)); }

struct lp_rule_group *lp_rules_add_group(struct lp_rule_set *set, const struct lp_rule_source *source, const char *name)
{
	struct lp_rule_group *group = lp_arena_zalloc(&set->arena, sizeof *group);

	if (!group)
		return NULL;
	group->tenant = dup_text(set, source->tenant);
	group->file = dup_text(set, source->file);
	group->name = dup_text(set, name);
	group->interval_ms = source->interval_ms;
	group->rules_end = &group->rules;
	if (!group->tenant || !group->file || !group->name)
		return NULL;
	*set->groups_end = group;
	set->groups_end = &group->next;
	set->n_groups++;
	return group;
}

int lp_rule_append(struct lp_rule_loader *loader, struct lp_rule_group *group, struct lp_rule *rule)
{
	if (++loader->set->n_rules > LP_RULES_MAX_RULES)
		return lp_rule_refuse(loader, rule->line, "more than %u rules", LP_RULES_MAX_RULES);
	*group->rules_end = rule;
	group->rules_end = &rule->next;
	group->n_rules++;
	return 0;
}

/* ---- parts ---- */

bool lp_rules_label_name(const char *s, bool colons)
{
	size_t i = 0;

	for (; s[i]; i++) {
		char c = s[i] | 0x20;
		bool letter = (c >= 'a' && c <= 'z') || s[i] == '_' || (colons && s[i] == ':');

		if (!letter && !(i && s[i] >= '0' && s[i] <= '9'))
			return false;
	}
	return i > 0 && i <= LP_RULES_MAX_NAME;
}

static int want_scalar(struct lp_rule_loader *loader, const struct lp_yaml_node *node)
{
	return node->kind == LP_YAML_SCALAR ? 0 : lp_rule_refuse(loader, node->line, "%.64s: expected a plain value", node->key ? node->key : "");
}

int lp_rule_duration(struct lp_rule_loader *loader, const struct lp_yaml_node *node, int64_t *ret_ms)
{
	int64_t ns;
	int r = want_scalar(loader, node);

	if (r < 0)
		return r;
	if (strcmp(node->value, "0") == 0) {
		*ret_ms = 0;
		return 0;
	}
	if (lp_units_prom_duration(node->value, strlen(node->value), &ns, NULL) < 0 || ns < 0)
		return lp_rule_refuse(loader, node->line, "%.64s: \"%.64s\" is not a duration such as 5m", node->key, node->value);
	*ret_ms = ns / 1000000;
	return 0;
}

static int whole_number(struct lp_rule_loader *loader, const struct lp_yaml_node *node, uint32_t *ret)
{
	char *end;
	int r = want_scalar(loader, node);

	if (r < 0)
		return r;
	errno = 0;
	unsigned long v = strtoul(node->value, &end, 10);

	if (errno || !node->value[0] || *end || node->value[0] < '0' || node->value[0] > '9' || v > 1000000)
		return lp_rule_refuse(loader, node->line, "%.64s: expected a number from 0 to 1000000", node->key);
	*ret = (uint32_t)v;
	return 0;
}

int lp_rule_check_expr(struct lp_rule_loader *loader, uint32_t line, const char *expr, bool *ret_log)
{
	struct lp_buf why = { .max = 1024 };
	struct lp_logql *query = NULL;
	int r = lp_logql_parse(expr, strlen(expr), &query, &why);

	if (r == -ENOMEM)
		r = lp_rule_no_memory(loader);
	else if (r < 0)
		r = lp_rule_refuse(loader, line, "could not parse expression: %s", lp_buf_cstr(&why));
	else if (query->root->kind == LP_EXPR_LOG && !ret_log)
		r = lp_rule_refuse(loader, line, "the expression must be a metric query such as count_over_time({...}[5m]), not a log query");
	else if (ret_log)
		*ret_log = query->root->kind == LP_EXPR_LOG;
	lp_logql_free(&query);
	lp_buf_free(&why);
	return r;
}

int lp_rule_text_set(struct lp_rule_loader *loader, uint32_t line, struct lp_rule_text *text, const char *name, const char *value)
{
	struct lp_buf why = { .max = 1024 };
	struct lp_rule_owned *owned;
	int r = 0;

	text->name = dup_text(loader->set, name);
	text->value = dup_text(loader->set, value);
	if (!text->name || !text->value)
		return lp_rule_no_memory(loader);
	if (!strstr(value, "{{"))
		return 0;
	owned = lp_arena_zalloc(&loader->set->arena, sizeof *owned);
	if (!owned)
		return lp_rule_no_memory(loader);
	owned->next = loader->set->owned;
	loader->set->owned = owned;
	r = lp_template_compile_rule(value, strlen(value), &owned->tmpl, &why);
	text->tmpl = owned->tmpl;
	if (r < 0)
		r = r == -ENOMEM ? lp_rule_no_memory(loader) : lp_rule_refuse(loader, line, "%.64s: %s", name, lp_buf_cstr(&why));
	lp_buf_free(&why);
	return r;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct lp_rule_text *)a)->name, ((const struct lp_rule_text *)b)->name);
}

void lp_rule_texts_sort(struct lp_rule_text *texts, uint32_t n)
{
	if (n)
		qsort(texts, n, sizeof *texts, by_name);
}

int lp_rule_texts(struct lp_rule_loader *loader, const struct lp_yaml_node *map, bool annotations, struct lp_rule_text **ret, uint32_t *ret_n)
{
	uint32_t n = 0;

	if (map->kind == LP_YAML_SCALAR && map->null)
		return 0;
	if (map->kind != LP_YAML_MAP)
		return lp_rule_refuse(loader, map->line, "%.64s: expected names and values", map->key);
	for (const struct lp_yaml_node *it = map->child; it; it = it->next)
		n++;
	struct lp_rule_text *texts = lp_arena_zalloc(&loader->set->arena, (n ? n : 1) * sizeof *texts);

	if (!texts)
		return lp_rule_no_memory(loader);
	n = 0;
	for (const struct lp_yaml_node *it = map->child; it; it = it->next) {
		int r = want_scalar(loader, it);

		if (r == 0 && (!lp_rules_label_name(it->key, false) || (!annotations && strcmp(it->key, "__name__") == 0)))
			r = lp_rule_refuse(loader, it->line, "invalid %s name: %.64s", annotations ? "annotation" : "label", it->key);
		if (r == 0)
			r = lp_rule_text_set(loader, it->line, &texts[n++], it->key, it->value);
		if (r < 0)
			return r;
	}
	lp_rule_texts_sort(texts, n);
	*ret = texts;
	*ret_n = n;
	return 0;
}

/* ---- rules and groups ---- */

/* Names that this server has on /metrics itself. */
static bool reserved_name(const char *s)
{
	static const char *const prefixes[] = { "logpulse_", "lokiclone_", "loki_", "process_" };

	for (size_t i = 0; i < sizeof prefixes / sizeof prefixes[0]; i++)
		if (!strncmp(s, prefixes[i], strlen(prefixes[i])))
			return true;
	return false;
}

static int check_rule(struct lp_rule_loader *loader, const struct lp_rule *rule, bool both)
{
	if (!rule->name)
		return lp_rule_refuse(loader, rule->line, "a rule needs one of 'record' and 'alert'");
	if (both)
		return lp_rule_refuse(loader, rule->line, "only one of 'record' and 'alert' must be set");
	if (!rule->name[0] || strlen(rule->name) > LP_RULES_MAX_NAME)
		return lp_rule_refuse(loader, rule->line, "the name of a rule must have 1 to %u bytes", LP_RULES_MAX_NAME);
	if (!rule->expr || !rule->expr[0])
		return lp_rule_refuse(loader, rule->line, "field 'expr' must be set in rule");
	if (rule->recording) {
		if (rule->n_annotations || rule->for_ms || rule->keep_ms)
			return lp_rule_refuse(loader, rule->line, "a recording rule has no 'for', 'keep_firing_for' or 'annotations'");
		if (!lp_rules_label_name(rule->name, true))
			return lp_rule_refuse(loader, rule->line, "invalid recording rule name: %.64s", rule->name);
		if (reserved_name(rule->name))
			return lp_rule_refuse(loader, rule->line, "recording rule name %.64s: names of the server's own metrics are taken", rule->name);
	}
	return lp_rule_check_expr(loader, rule->line, rule->expr, NULL);
}

static int load_rule(struct lp_rule_loader *loader, const struct lp_yaml_node *node, struct lp_rule_group *group)
{
	struct lp_rule *rule = lp_arena_zalloc(&loader->set->arena, sizeof *rule);
	unsigned names = 0;
	int r = 0;

	if (!rule)
		return lp_rule_no_memory(loader);
	if (node->kind != LP_YAML_MAP)
		return lp_rule_refuse(loader, node->line, "expected a rule: alert or record, expr, ...");
	rule->line = node->child ? node->child->line : node->line;
	for (const struct lp_yaml_node *it = node->child; it && r == 0; it = it->next) {
		bool record = !strcmp(it->key, "record");

		if (record || !strcmp(it->key, "alert")) {
			r = want_scalar(loader, it);
			rule->recording = record;
			rule->name = dup_text(loader->set, it->value);
			names++;
		} else if (!strcmp(it->key, "expr")) {
			r = want_scalar(loader, it);
			rule->expr = dup_text(loader->set, it->value);
		} else if (!strcmp(it->key, "for")) {
			r = lp_rule_duration(loader, it, &rule->for_ms);
		} else if (!strcmp(it->key, "keep_firing_for")) {
			r = lp_rule_duration(loader, it, &rule->keep_ms);
		} else if (!strcmp(it->key, "labels")) {
			r = lp_rule_texts(loader, it, false, &rule->labels, &rule->n_labels);
		} else if (!strcmp(it->key, "annotations")) {
			r = lp_rule_texts(loader, it, true, &rule->annotations, &rule->n_annotations);
		} else {
			r = lp_rule_refuse(loader, it->line, "unknown field %.64s in a rule", it->key);
		}
	}
	if (r == 0)
		r = check_rule(loader, rule, names > 1);
	return r < 0 ? r : lp_rule_append(loader, group, rule);
}

/* The group's labels, unless the rule has its own of the name. */
static int add_labels(struct lp_rule_loader *loader, struct lp_rule *rule, const struct lp_yaml_node *map)
{
	struct lp_rule_text *more = NULL, *all;
	uint32_t n_more = 0, n = rule->n_labels;
	int r = lp_rule_texts(loader, map, false, &more, &n_more);

	if (r < 0 || !n_more)
		return r;
	all = lp_arena_alloc(&loader->set->arena, (n + n_more) * sizeof *all);
	if (!all)
		return lp_rule_no_memory(loader);
	if (n)
		memcpy(all, rule->labels, n * sizeof *all);
	for (uint32_t i = 0; i < n_more; i++) {
		uint32_t k = 0;

		while (k < rule->n_labels && strcmp(rule->labels[k].name, more[i].name))
			k++;
		if (k == rule->n_labels)
			all[n++] = more[i];
	}
	lp_rule_texts_sort(all, n);
	rule->labels = all;
	rule->n_labels = n;
	return 0;
}

static int load_rules(struct lp_rule_loader *loader, const struct lp_yaml_node *list, struct lp_rule_group *group)
{
	if (list->kind == LP_YAML_SCALAR && list->null)
		return 0;
	if (list->kind != LP_YAML_LIST)
		return lp_rule_refuse(loader, list->line, "rules: expected a list");
	for (const struct lp_yaml_node *it = list->child; it; it = it->next) {
		int r = load_rule(loader, it, group);

		if (r < 0)
			return r;
	}
	return 0;
}

/* The name first: it may stand anywhere. */
static int group_name(struct lp_rule_loader *loader, const struct lp_yaml_node *node, const char **ret_name)
{
	if (node->kind != LP_YAML_MAP)
		return lp_rule_refuse(loader, node->line, "expected a rule group: name, rules, ...");
	*ret_name = NULL;
	for (const struct lp_yaml_node *it = node->child; it; it = it->next)
		if (!strcmp(it->key, "name") && it->kind == LP_YAML_SCALAR)
			*ret_name = it->value;
	if (!*ret_name || !**ret_name || strlen(*ret_name) > LP_RULES_MAX_NAME)
		return lp_rule_refuse(loader, node->line, "a rule group needs a name of 1 to %u bytes", LP_RULES_MAX_NAME);
	for (struct lp_rule_group *it = loader->set->groups; it; it = it->next)
		if (!strcmp(it->name, *ret_name) && !strcmp(it->file, loader->source->file) && !strcmp(it->tenant, loader->source->tenant))
			return lp_rule_refuse(loader, node->line, "groupname: \"%.64s\" is repeated in the same file", *ret_name);
	return 0;
}

static int load_group(struct lp_rule_loader *loader, const struct lp_yaml_node *node)
{
	const struct lp_yaml_node *labels = NULL;
	struct lp_rule_group *group;
	const char *name = NULL;
	int r = group_name(loader, node, &name);

	if (r < 0)
		return r;
	if (loader->set->n_groups >= LP_RULES_MAX_GROUPS)
		return lp_rule_refuse(loader, node->line, "more than %u rule groups", LP_RULES_MAX_GROUPS);
	group = lp_rules_add_group(loader->set, loader->source, name);
	if (!group)
		return lp_rule_no_memory(loader);
	group->line = node->line;
	for (const struct lp_yaml_node *it = node->child; it && r == 0; it = it->next) {
		if (!strcmp(it->key, "name")) {
			continue;
		} else if (!strcmp(it->key, "interval")) {
			int64_t ms = 0;

			r = lp_rule_duration(loader, it, &ms);
			if (r == 0 && ms && ms < LP_RULES_MIN_INTERVAL_MS)
				r = lp_rule_refuse(loader, it->line, "interval: at least 1s");
			if (ms)
				group->interval_ms = ms;
			group->own_interval = ms != 0;
		} else if (!strcmp(it->key, "query_offset")) {
			r = lp_rule_duration(loader, it, &group->query_offset_ms);
		} else if (!strcmp(it->key, "labels")) {
			labels = it;
		} else if (!strcmp(it->key, "limit")) {
			r = whole_number(loader, it, &group->limit);
		} else if (!strcmp(it->key, "rules")) {
			r = load_rules(loader, it, group);
		} else {
			r = lp_rule_refuse(loader, it->line, "unknown field %.64s in a rule group", it->key);
		}
	}
	for (struct lp_rule *rule = labels ? group->rules : NULL; rule && r == 0; rule = rule->next)
		r = add_labels(loader, rule, labels);
	return r;
}

static int load_groups(struct lp_rule_loader *loader, const struct lp_yaml_node *list)
{
	if (list->kind == LP_YAML_SCALAR && list->null)
		return 0;
	if (list->kind != LP_YAML_LIST)
		return lp_rule_refuse(loader, list->line, "groups: expected a list");
	for (const struct lp_yaml_node *it = list->child; it; it = it->next) {
		int r = load_group(loader, it);

		if (r < 0)
			return r;
	}
	return 0;
}

static int load(struct lp_rule_set *set, const struct lp_rule_source *source, const void *text, size_t len, bool alone, struct lp_buf *error)
{
	struct lp_rule_loader loader = { .set = set, .source = source, .error = error };
	struct lp_arena arena = { .max_bytes = 64u << 20 };
	struct lp_yaml_node *root;
	int r = 0;

	if (len > LP_RULES_MAX_TEXT)
		return lp_rule_refuse(&loader, 1, "longer than %u bytes", LP_RULES_MAX_TEXT);
	r = lp_yaml_parse(source->name, text, len, false, &arena, &root, error);
	if (r == 0 && alone) {
		r = load_group(&loader, root);
	} else if (r == 0) {
		if (root->kind != LP_YAML_MAP)
			r = lp_rule_refuse(&loader, root->line, "expected groups: or alerts:");
		else
			for (const struct lp_yaml_node *it = root->child; it && r == 0; it = it->next) {
				if (!strcmp(it->key, "groups"))
					r = load_groups(&loader, it);
				else if (!strcmp(it->key, "alerts"))
					r = lp_rule_load_original(&loader, it);
				else
					r = lp_rule_refuse(&loader, it->line, "unknown field %.64s; a rule file has groups: or alerts:", it->key);
			}
	}
	lp_arena_free(&arena);
	return r;
}

int lp_rules_load(struct lp_rule_set *set, const struct lp_rule_source *source, const void *text, size_t len, struct lp_buf *error)
{
	return load(set, source, text, len, false, error);
}

int lp_rules_load_group(struct lp_rule_set *set, const struct lp_rule_source *source, const void *text, size_t len,
			struct lp_buf *error)
{
	return load(set, source, text, len, true, error);
}

static int load_file(struct lp_rule_set *set, const char *path, const char *tenant, int64_t interval_ms, struct lp_buf *error)
{
	struct lp_rule_source source = { .name = path, .tenant = tenant, .file = path, .interval_ms = interval_ms };
	struct lp_buf text = LP_BUF_INIT;
	int r = lp_yaml_read(path, LP_RULES_MAX_TEXT, &text, error);

	if (r == 0)
		r = lp_rules_load(set, &source, text.data ? (const void *)text.data : "", text.len, error);
	lp_buf_free(&text);
	return r;
}

int lp_rules_load_files(struct lp_rule_set *set, const char *const *patterns, size_t n, const char *tenant, int64_t interval_ms,
			struct lp_buf *error)
{
	int r = 0;

	for (size_t i = 0; i < n && r == 0; i++) {
		glob_t found;

		if (!strpbrk(patterns[i], "*?[")) {
			r = load_file(set, patterns[i], tenant, interval_ms, error);
			continue;
		}
		if (glob(patterns[i], 0, NULL, &found) != 0)
			continue;       /* nothing there, which a glob allows */
		for (size_t k = 0; k < found.gl_pathc && r == 0; k++)
			r = load_file(set, found.gl_pathv[k], tenant, interval_ms, error);
		globfree(&found);
	}
	return r;
}

/* ---- printing ---- */

static void pad(struct lp_buf *out, unsigned n)
{
	lp_buf_printf(out, "%*s", (int)n, "");
}

static void print_member(struct lp_buf *out, unsigned indent, const char *key, const char *value)
{
	pad(out, indent);
	lp_buf_printf(out, "%s: ", key);
	lp_jsonw_cstr(out, value);      /* a JSON string is a YAML string */
	lp_buf_byte(out, '\n');
}

static void print_duration(struct lp_buf *out, unsigned indent, const char *key, int64_t ms)
{
	if (ms == 0)
		return;
	pad(out, indent);
	lp_buf_printf(out, "%s: ", key);
	lp_units_print_prom_duration(out, ms * 1000000);
	lp_buf_byte(out, '\n');
}

static void print_texts(struct lp_buf *out, unsigned indent, const char *key, const struct lp_rule_text *texts, uint32_t n)
{
	if (n == 0)
		return;
	pad(out, indent);
	lp_buf_printf(out, "%s:\n", key);
	for (uint32_t i = 0; i < n; i++)
		print_member(out, indent + 4, texts[i].name, texts[i].value);
}

void lp_rules_print_group(const struct lp_rule_group *group, unsigned indent, bool item, struct lp_buf *out)
{
	unsigned in = indent + (item ? 2 : 0);

	pad(out, indent);
	lp_buf_str(out, item ? "- name: " : "name: ");
	lp_jsonw_cstr(out, group->name);
	lp_buf_byte(out, '\n');
	if (group->own_interval)
		print_duration(out, in, "interval", group->interval_ms);
	print_duration(out, in, "query_offset", group->query_offset_ms);
	if (group->limit) {
		pad(out, in);
		lp_buf_printf(out, "limit: %u\n", group->limit);
	}
	pad(out, in);
	lp_buf_str(out, group->rules ? "rules:\n" : "rules: []\n");
	for (const struct lp_rule *rule = group->rules; rule; rule = rule->next) {
		pad(out, in + 2);
		lp_buf_str(out, rule->recording ? "- record: " : "- alert: ");
		lp_jsonw_cstr(out, rule->name);
		lp_buf_byte(out, '\n');
		print_member(out, in + 4, "expr", rule->expr);
		print_duration(out, in + 4, "for", rule->for_ms);
		print_duration(out, in + 4, "keep_firing_for", rule->keep_ms);
		print_texts(out, in + 4, "labels", rule->labels, rule->n_labels);
		print_texts(out, in + 4, "annotations", rule->annotations, rule->n_annotations);
	}
}
