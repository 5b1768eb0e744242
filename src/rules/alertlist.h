/* The original API's alert rules: a list of objects in data/rules/@TENANT/alerts.json, and as HTTP bodies.  Pure but for load. */
#ifndef LP_RULES_ALERTLIST_H
#define LP_RULES_ALERTLIST_H

#include "rules/rule.h"

#define LP_ALERTLIST_MAX 1000u          /* rules of one tenant */

struct lp_alert_item {
	struct lp_alert_item *next;
	char id[33];                    /* 32 hex digits */
	const char *name, *query, *condition, *duration, *severity, *webhook;   /* webhook NULL: none; the others never NULL */
	const char *created, *updated;  /* RFC 3339 */
	int64_t threshold;
	bool enabled;
};

struct lp_alertlist {
	struct lp_arena arena;
	struct lp_alert_item *items, **end;
	uint32_t n;
};

void lp_alertlist_init(struct lp_alertlist *list);
void lp_alertlist_free(struct lp_alertlist *list);
/* A file's text: -EBADMSG when it is no such list. */
int lp_alertlist_parse(struct lp_alertlist *list, const void *json, size_t len);
/* The file of a tenant; none is an empty list. */
int lp_alertlist_load(struct lp_alertlist *list, const char *dir, const char *tenant);
void lp_alertlist_print(const struct lp_alertlist *list, struct lp_buf *out);
void lp_alert_item_print(const struct lp_alert_item *item, struct lp_buf *out);
struct lp_alert_item *lp_alertlist_add(struct lp_alertlist *list);             /* with defaults; NULL: no memory */
struct lp_alert_item *lp_alertlist_find(const struct lp_alertlist *list, const char *id, size_t len);
void lp_alertlist_remove(struct lp_alertlist *list, struct lp_alert_item *item);
/* Take the fields that a body names; unknown ones and id, createdAt, updatedAt are passed over.  -EBADMSG no JSON object, -EINVAL a
 * field of another type; the text of both in error. */
int lp_alert_item_read(struct lp_alertlist *list, struct lp_alert_item *item, const void *json, size_t len, struct lp_buf *error);
/* The original's checks and the expression: -EINVAL with the text. */
int lp_alert_item_check(const struct lp_alert_item *item, struct lp_buf *error);
/* The enabled ones as a group of the set.  One that cannot be evaluated any more is left out, the first reason is in error. */
int lp_alertlist_rules(const struct lp_alertlist *list, const char *tenant, int64_t interval_ms, struct lp_rule_set *set, struct lp_buf *error);

#endif
