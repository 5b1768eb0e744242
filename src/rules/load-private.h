/* Shared by load.c and original.c. */
#ifndef LP_RULES_LOAD_PRIVATE_H
#define LP_RULES_LOAD_PRIVATE_H

#include "conf/yaml.h"
#include "rules/rule.h"

struct lp_rule_loader {
	struct lp_rule_set *set;
	const struct lp_rule_source *source;
	struct lp_buf *error;
};

/* "name:line: text", -EINVAL */
int lp_rule_refuse(struct lp_rule_loader *loader, uint32_t line, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
int lp_rule_no_memory(struct lp_rule_loader *loader);
/* Check the expression: a metric query.  *ret_log (may be NULL: then a log query is refused) tells that it is a log query. */
int lp_rule_check_expr(struct lp_rule_loader *loader, uint32_t line, const char *expr, bool *ret_log);
int lp_rule_duration(struct lp_rule_loader *loader, const struct lp_yaml_node *node, int64_t *ret_ms);
/* A map of names and texts into sorted, compiled pairs. */
int lp_rule_texts(struct lp_rule_loader *loader, const struct lp_yaml_node *map, bool annotations, struct lp_rule_text **ret, uint32_t *ret_n);
int lp_rule_text_set(struct lp_rule_loader *loader, uint32_t line, struct lp_rule_text *text, const char *name, const char *value);
void lp_rule_texts_sort(struct lp_rule_text *texts, uint32_t n);
/* Link it in; -EINVAL over LP_RULES_MAX_RULES. */
int lp_rule_append(struct lp_rule_loader *loader, struct lp_rule_group *group, struct lp_rule *rule);
/* alerts: of alerts.yaml */
int lp_rule_load_original(struct lp_rule_loader *loader, const struct lp_yaml_node *list);

#endif
