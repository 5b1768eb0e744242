/* Templates of web hook bodies (see render.h): the query engine's, run over names that stand for a line's labels.  Pure. */
#include "notify/hooks/render.h"

#include "query/pipeline/pipeline-private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int lp_hook_render_begin(struct lp_hook_render *render)
{
	struct lp_pipeline_spec spec = { 0 };
	int r;

	memset(render, 0, sizeof *render);
	render->entries = calloc(LP_HOOK_MAX_NAMES, sizeof *render->entries);
	if (!render->entries)
		return -ENOMEM;
	r = lp_pipeline_open(&spec, &render->pipeline);
	if (r == 0)
		r = lp_pipeline_state_open(render->pipeline, &render->state);
	if (r < 0)
		lp_hook_render_end(render);
	return r;
}

void lp_hook_render_set(struct lp_hook_render *render, const char *name, const char *value)
{
	size_t len = strlen(name);

	if (render->n == LP_HOOK_MAX_NAMES)
		return;
	for (uint32_t i = 0; i < render->n; i++)
		if (render->entries[i].name_len == len && !memcmp(render->entries[i].name, name, len))
			return;
	render->entries[render->n++] = (struct lp_entry){
		.name = name, .value = value, .name_len = (uint32_t)len, .value_len = (uint32_t)strlen(value),
		.name_hash = lp_labels_name_hash(name, len),
	};
}

int lp_hook_render_run(struct lp_hook_render *render, const struct lp_template *tmpl, struct lp_buf *out, struct lp_buf *error)
{
	struct lp_template_data data = { .state = render->state, .entries = render->entries, .n_entries = render->n };
	int r = lp_template_run(tmpl, &data, out, error);

	return r == 0 && (out->failed || render->state->no_memory) ? -ENOMEM : r;
}

void lp_hook_render_end(struct lp_hook_render *render)
{
	lp_pipeline_state_close(&render->state);
	lp_pipeline_close(&render->pipeline);
	free(render->entries);
	render->entries = NULL;
}
