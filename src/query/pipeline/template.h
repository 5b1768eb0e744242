/* Templates of line_format and label_format: Go's text/template over the labels of a line.  Compiled once, immutable. */
#ifndef LP_QUERY_PIPELINE_TEMPLATE_H
#define LP_QUERY_PIPELINE_TEMPLATE_H

#include "common/buf.h"
#include "query/logql/ast.h"

struct lp_pipeline_state;
struct lp_entry;

/* name: "line" or "label", for errors.  -EINVAL with Go's text in error; -ENOMEM. */
int lp_template_compile(const char *text, size_t len, const char *name, struct lp_template **ret_tmpl, struct lp_buf *error);
void lp_template_free(struct lp_template **tmpl);
/* Labels that the text names (.foo), for parser hints. */
const struct lp_str *lp_template_fields(const struct lp_template *tmpl, unsigned *ret_n);

/* Is the whole text the value of one label, {{.name}}? */
bool lp_template_single(const struct lp_template *tmpl, struct lp_str *ret_name);

struct lp_template_data {
	struct lp_pipeline_state *state;        /* line, time, scratch memory */
	const struct lp_entry *entries;         /* the labels, as they were when the stage began */
	uint32_t n_entries;
	const struct lp_tv *root;               /* what "." is; NULL: the labels */
};
/* Append the result to out.  -EINVAL an error of the template at this line (out then holds a part), its text in error. */
int lp_template_run(const struct lp_template *tmpl, const struct lp_template_data *data, struct lp_buf *out, struct lp_buf *error);

/* ---- templates of alert rules (template-rule.c): $labels, $value and Prometheus' functions ---- */
struct lp_template_rule {
	const char *const *names, *const *values;       /* labels */
	uint32_t n_labels;
	double value;
	const char *external_url;                       /* NULL: "" */
};
int lp_template_compile_rule(const char *text, size_t len, struct lp_template **ret_tmpl, struct lp_buf *error);
/* As lp_template_run(). */
int lp_template_run_rule(const struct lp_template *tmpl, const struct lp_template_rule *rule, struct lp_buf *out, struct lp_buf *error);

#endif
