/* A target's own body: the template language of line_format, over names that the caller sets. */
#ifndef LP_NOTIFY_HOOKS_RENDER_H
#define LP_NOTIFY_HOOKS_RENDER_H

#include "common/buf.h"
#include "query/pipeline/template.h"

#include <stdint.h>

#define LP_HOOK_MAX_NAMES 256u          /* more are not visible to the template */

struct lp_hook_render {
	struct lp_pipeline *pipeline;
	struct lp_pipeline_state *state;
	struct lp_entry *entries;
	uint32_t n;
};

int lp_hook_render_begin(struct lp_hook_render *render);
/* The first value of a name stays.  Both are borrowed until lp_hook_render_end(). */
void lp_hook_render_set(struct lp_hook_render *render, const char *name, const char *value);
/* Append the result to out.  -EINVAL with the template's complaint in error; -ENOMEM. */
int lp_hook_render_run(struct lp_hook_render *render, const struct lp_template *tmpl, struct lp_buf *out, struct lp_buf *error);
void lp_hook_render_end(struct lp_hook_render *render);

#endif
