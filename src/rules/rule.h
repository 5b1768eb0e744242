/* Alerting and recording rules as files and requests say them: the model, its loader and its printer.
 * Pure library, used by the notifier (evaluates), the workers (ruler API) and the master (--check-config).
 *
 * Three forms are read: Prometheus' and Loki's rule file (groups:), one group (ruler API), the original alerts.yaml (alerts:).
 * Unknown keys are errors, every error names file and line. */
#ifndef LP_RULES_RULE_H
#define LP_RULES_RULE_H

#include "common/arena.h"
#include "common/buf.h"
#include "rules/pair.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LP_RULES_MAX_TEXT (1u << 20)    /* bytes of a file, or of a namespace */
#define LP_RULES_MAX_GROUPS 1000u       /* in one set */
#define LP_RULES_MAX_RULES 10000u       /* in one set */
#define LP_RULES_MAX_NAME 1024u
#define LP_RULES_MIN_INTERVAL_MS 1000

struct lp_template;

struct lp_rule_text {                   /* a label or annotation with its template */
	const char *name, *value;
	struct lp_template *tmpl;       /* NULL: nothing to expand */
};

struct lp_rule {
	struct lp_rule *next;
	uint32_t line;
	bool recording;
	const char *name;               /* alert or record */
	const char *expr;               /* a LogQL metric query */
	int64_t for_ms, keep_ms;        /* for, keep_firing_for */
	struct lp_rule_text *labels, *annotations;      /* sorted by name */
	uint32_t n_labels, n_annotations;
	/* the original API and alerts.yaml */
	const char *webhook;            /* NULL none */
	const char **channels;
	uint32_t n_channels;
};

struct lp_rule_group {
	struct lp_rule_group *next;
	uint32_t line;
	const char *tenant;             /* "" default */
	const char *file;               /* path as configured, namespace of the ruler API, or LP_RULES_ORIGINAL */
	const char *name;
	int64_t interval_ms;            /* never 0 once loaded */
	bool own_interval;              /* given in the text: printing */
	int64_t query_offset_ms;
	uint32_t limit;                 /* alerts or series of a rule; 0 none */
	struct lp_rule *rules, **rules_end;
	uint32_t n_rules;
};

#define LP_RULES_ORIGINAL "alerts"      /* file and group of rules made by POST /alerts */

struct lp_rule_set {
	struct lp_arena arena;
	struct lp_rule_group *groups, **groups_end;
	uint32_t n_groups, n_rules;
	struct lp_rule_owned *owned;    /* compiled templates */
};

struct lp_rule_source {
	const char *name;               /* in errors */
	const char *tenant, *file;      /* of the groups; copied */
	int64_t interval_ms;            /* for groups without their own */
};

int lp_rules_new(struct lp_rule_set **ret_set);                 /* -ENOMEM */
void lp_rules_free(struct lp_rule_set **set);
/* Add what a file (groups: or alerts:) or one group's text says.  On failure the set holds a part: free it.
 * -EINVAL with "name:line: reason" in error; -ENOMEM. */
int lp_rules_load(struct lp_rule_set *set, const struct lp_rule_source *source, const void *text, size_t len, struct lp_buf *error);
int lp_rules_load_group(struct lp_rule_set *set, const struct lp_rule_source *source, const void *text, size_t len,
			struct lp_buf *error);
/* Read every file of a list of paths and globs (a path without wildcards must exist) for one tenant. */
int lp_rules_load_files(struct lp_rule_set *set, const char *const *patterns, size_t n, const char *tenant, int64_t interval_ms,
			struct lp_buf *error);

/* A rule of the original API. */
struct lp_original_rule {
	const char *name, *query, *condition;   /* gt lt eq gte lte, or > < == >= <= */
	const char *threshold;          /* a number, as text */
	const char *duration;           /* window of a log query, "5m" */
	const char *severity;           /* "" none */
	const char *webhook;            /* NULL none */
	const char *const *channels;
	uint32_t n_channels;
	const struct lp_alert_pair *labels;
	uint32_t n_labels;
	uint32_t line;
};
/* Turn it into an alerting rule of the group.  A log query is counted over the duration, a query that matches nothing counts as
 * 0; a metric query is compared as it is.  -EINVAL with the reason in error. */
int lp_rules_add_original(struct lp_rule_set *set, struct lp_rule_group *group, const struct lp_rule_source *source,
			  const struct lp_original_rule *original, struct lp_buf *error);
struct lp_rule_group *lp_rules_add_group(struct lp_rule_set *set, const struct lp_rule_source *source, const char *name);     /* NULL: no memory */

/* YAML of one group as a list item below "groups:" (or, at indent 0 without the dash, alone). */
void lp_rules_print_group(const struct lp_rule_group *group, unsigned indent, bool item, struct lp_buf *out);

/* Label names: [A-Za-z_][A-Za-z0-9_]*; metric names may have colons. */
bool lp_rules_label_name(const char *s, bool colons);

#endif
