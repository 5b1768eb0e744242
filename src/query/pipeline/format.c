/* Stages with templates: line_format and label_format.
 *
 * Guarantees: an error of a template leaves line (label) as it was, with __error__="TemplateFormatErr"; templates of one stage all see the
 * labels as they were at the first of them.  Query threads. */
#include "query/pipeline/pipeline-private.h"

#include "query/pipeline/template.h"

#include <string.h>

/* Run a template into scratch memory.  False: an error, now on the line. */
static bool run(struct lp_pipeline_state *st, const struct lp_template *tmpl, const struct lp_template_data *data, const char **ret_s, size_t *ret_len)
{
	struct lp_buf why = { .max = 4096 };
	bool good;

	lp_buf_reset(&st->buf);
	good = lp_template_run(tmpl, data, &st->buf, &why) == 0;
	if (good) {
		*ret_s = lp_scratch_dup(&st->scratch, st->buf.data ? (const char *)st->buf.data : "", st->buf.len);
		*ret_len = st->buf.len;
		st->no_memory = st->no_memory || !*ret_s;
		good = *ret_s != NULL;
	} else {
		lp_state_error(st, "TemplateFormatErr", (const char *)why.data, why.len);
	}
	lp_buf_free(&why);
	return good;
}

bool lp_run_line_format(struct lp_pipeline_state *st, const struct lp_step *step)
{
	struct lp_template_data data = { st, st->entries, st->n_entries };
	struct lp_str name;
	const char *s;
	size_t len;

	/* One label is looked up among the labels, where errors are not (as Loki). */
	if (lp_template_single(step->stage->tmpl, &name)) {
		const struct lp_entry *e = lp_entry_find(st, name.s, name.len);

		st->line = e ? e->value : "";
		st->line_len = e ? e->value_len : 0;
	} else if (run(st, step->stage->tmpl, &data, &s, &len)) {
		st->line = s;
		st->line_len = len;
	}
	return true;
}

bool lp_run_label_format(struct lp_pipeline_state *st, const struct lp_step *step)
{
	struct lp_template_data data = { .state = st };

	for (uint32_t i = 0; i < step->stage->n_formats && !st->no_memory; i++) {
		const struct lp_label_format *f = &step->stage->formats[i];
		const char *s;
		size_t len;

		if (f->rename) {
			struct lp_entry *e = lp_entry_find(st, f->value.s, f->value.len);

			if (!e)
				continue;
			s = e->value;
			len = e->value_len;
			enum lp_label_category category = e->category;

			if (f->value.len == f->label.len && !memcmp(f->value.s, f->label.s, f->label.len)) {
				lp_entry_delete(st, f->value.s, f->value.len);
				continue;
			}
			lp_entry_set(st, category, f->label.s, f->label.len, s, len);
			lp_entry_delete(st, f->value.s, f->value.len);
			continue;
		}
		if (!data.entries) {
			struct lp_entry *copy = lp_scratch_alloc(&st->scratch, (st->n_entries + 1) * sizeof *copy);

			if (!copy) {
				st->no_memory = true;
				break;
			}
			memcpy(copy, st->entries, st->n_entries * sizeof *copy);
			data.entries = copy;
			data.n_entries = st->n_entries;
		}
		if (run(st, f->tmpl, &data, &s, &len))
			lp_entry_set(st, LP_CATEGORY_PARSED, f->label.s, f->label.len, s, len);
	}
	return true;
}
