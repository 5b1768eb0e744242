/* Pipelines: compile the stages of a query, run them over lines, and give the result its labels.
 *
 * Guarantees: a compiled pipeline is immutable and shared by threads, a state belongs to one thread; memory per line is bounded
 * (labels.c).  Metric queries extract only what they need, by Loki's rules: with a grouping, the labels of the grouping, of the
 * filters and of the unwrap; without one everything, unless nothing of the labels stays.
 * Query threads of workers, and tools; if the process dies here nothing is lost. */
#include "query/pipeline/pipeline-private.h"

#include "query/logql/units.h"
#include "query/pipeline/pattern.h"
#include "query/pipeline/template.h"
#include "query/regex.h"
#include "store/format/labels.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define HEAVY_LINE (64u << 10)

/* ---- compiling ------------------------------------------------------------------------------------ */

static int add_hint(struct lp_pipeline *p, const struct lp_str *name)
{
	const size_t renamed = sizeof LP_EXTRACTED - 1;
	struct lp_hints *h = &p->hints;

	for (uint32_t i = 0; i < h->n_names; i++)
		if (h->names[i]->len == name->len && !memcmp(h->names[i]->s, name->s, name->len))
			return 0;
	if (!strcmp(name->s, "__error__"))
		h->preserve_error = true;
	if (!(h->n_names & (h->n_names - 1))) {
		const struct lp_str **more = lp_arena_alloc(&p->arena, (h->n_names ? 2 * h->n_names : 1) * sizeof *more);

		if (!more)
			return -ENOMEM;
		if (h->n_names)
			memcpy(more, h->names, h->n_names * sizeof *more);
		h->names = more;
	}
	h->names[h->n_names++] = name;
	/* Found as itself, found as name_extracted, or named x_extracted and found as x. */
	h->lengths |= 1ull << (name->len & 63) | 1ull << ((name->len + renamed) & 63) | 1ull << ((name->len - renamed) & 63);
	return 0;
}

static int filter_hints(struct lp_pipeline *p, const struct lp_label_filter *f)
{
	int r;

	if (f->kind != LP_FILTER_AND && f->kind != LP_FILTER_OR)
		return add_hint(p, &f->match.name);
	r = filter_hints(p, f->left);
	return r < 0 ? r : filter_hints(p, f->right);
}

static int template_hints(struct lp_pipeline *p, const struct lp_template *tmpl)
{
	unsigned n;
	const struct lp_str *fields = lp_template_fields(tmpl, &n);
	int r = 0;

	for (unsigned i = 0; i < n && r == 0; i++)
		r = add_hint(p, &fields[i]);
	return r;
}

static int stage_hints(struct lp_pipeline *p, const struct lp_stage *s)
{
	int r = 0;

	for (; s && r == 0; s = s->next)
		switch (s->kind) {
		case LP_STAGE_LABEL_FILTER: r = filter_hints(p, s->filter); break;
		case LP_STAGE_LINE_FORMAT: r = template_hints(p, s->tmpl); break;
		case LP_STAGE_LABEL_FORMAT:
			for (uint32_t i = 0; i < s->n_formats && r == 0; i++)
				r = s->formats[i].rename ? add_hint(p, &s->formats[i].value) : template_hints(p, s->formats[i].tmpl);
			break;
		default: break;
		}
	return r;
}

/* Is detected_level of use to anybody? */
static void set_level(struct lp_pipeline *p)
{
	static const char name[] = LP_DETECTED_LEVEL "_extracted";
	const struct lp_hints *h = &p->hints;

	if (!p->discover || !p->discover->levels)
		return;
	for (uint32_t i = 0; i < h->n_names; i++)
		p->level_named |= (h->names[i]->len == sizeof LP_DETECTED_LEVEL - 1 || h->names[i]->len == sizeof name - 1) &&
				  !memcmp(h->names[i]->s, name, h->names[i]->len);
	p->level = h->all || p->level_named;
}

static int set_hints(struct lp_pipeline *p, const struct lp_pipeline_spec *spec)
{
	const struct lp_range_agg *range = spec->range;
	const struct lp_grouping *grouping;
	int r;

	p->hints.all = true;
	if (!range) {
		r = stage_hints(p, spec->stages);
		set_level(p);
		return r;
	}
	grouping = range->grouping.present ? &range->grouping : spec->grouping;
	p->metric = true;
	p->grouped = grouping != NULL;
	p->without = grouping && grouping->present && grouping->without;
	p->groups = grouping ? grouping->labels : NULL;
	p->n_groups = grouping ? grouping->n_labels : 0;
	p->no_labels = range->op == LP_RANGE_ABSENT || (grouping && !p->n_groups && !p->without);
	r = stage_hints(p, range->log.stages);
	if (r == 0)
		r = stage_hints(p, range->post_filters);
	for (uint32_t i = 0; i < p->n_groups && r == 0; i++)
		r = add_hint(p, &p->groups[i]);
	if (r == 0 && range->has_unwrap)
		r = add_hint(p, &range->unwrap_label);
	p->hints.all = !p->no_labels && (!p->grouped || p->without);
	set_level(p);
	return r;
}

static int compile_step(struct lp_pipeline *p, struct lp_step *step)
{
	const struct lp_stage *s = step->stage;

	switch (s->kind) {
	case LP_STAGE_LINE_FILTER:
		step->run = lp_run_line_filter;
		return lp_line_filter_compile(p, step);
	case LP_STAGE_JSON: step->run = s->n_extractions ? lp_run_json_paths : lp_run_json; break;
	case LP_STAGE_LOGFMT: step->run = s->n_extractions ? lp_run_logfmt_keys : lp_run_logfmt; break;
	case LP_STAGE_REGEXP: step->run = lp_run_regexp; break;
	case LP_STAGE_PATTERN: step->run = lp_run_pattern; break;
	case LP_STAGE_UNPACK: step->run = lp_run_unpack; break;
	case LP_STAGE_LABEL_FILTER: step->run = lp_run_label_filter; break;
	case LP_STAGE_LINE_FORMAT: step->run = lp_run_line_format; break;
	case LP_STAGE_LABEL_FORMAT: step->run = lp_run_label_format; break;
	case LP_STAGE_DECOLORIZE: step->run = lp_run_decolorize; break;
	case LP_STAGE_DROP: step->run = lp_run_drop; break;
	case LP_STAGE_KEEP: step->run = lp_run_keep; break;
	}
	p->filters_only = false;
	return 0;
}

/* Where a line filter runs: before decolorize, up to the last stage that makes another line (as Loki, which moves filters forward). */
static struct lp_step *place(struct lp_pipeline *p, const struct lp_stage *s)
{
	uint32_t at = p->n_steps++;

	if (s->kind != LP_STAGE_LINE_FILTER)
		return &p->steps[at];
	for (uint32_t i = at; i-- && p->steps[i].stage->kind != LP_STAGE_LINE_FORMAT && p->steps[i].stage->kind != LP_STAGE_UNPACK;)
		if (p->steps[i].stage->kind == LP_STAGE_DECOLORIZE)
			at = i;
	memmove(&p->steps[at + 1], &p->steps[at], (p->n_steps - 1 - at) * sizeof *p->steps);
	memset(&p->steps[at], 0, sizeof *p->steps);
	return &p->steps[at];
}

static int compile(struct lp_pipeline *p, const struct lp_pipeline_spec *spec)
{
	const struct lp_stage *stages = spec->range ? spec->range->log.stages : spec->stages;
	bool leading = spec->skip_line_filters;
	uint32_t n = 0;
	int r;

	for (const struct lp_stage *s = stages; s; s = s->next)
		n++;
	p->steps = lp_arena_zalloc(&p->arena, (n + 1) * sizeof *p->steps);
	if (!p->steps)
		return -ENOMEM;
	p->range = spec->range;
	p->discover = spec->discover;
	p->filters_only = !spec->range || !spec->range->has_unwrap;
	for (const struct lp_stage *s = stages; s; s = s->next) {
		leading = leading && s->kind == LP_STAGE_LINE_FILTER;
		if (leading)
			continue;
		struct lp_step *step = place(p, s);

		step->stage = s;
		r = compile_step(p, step);
		if (r < 0)
			return r;
	}
	p->needs_text = p->n_steps || (p->range && (p->range->op == LP_RANGE_BYTES || p->range->op == LP_RANGE_BYTES_RATE));
	return set_hints(p, spec);
}

int lp_pipeline_open(const struct lp_pipeline_spec *spec, struct lp_pipeline **ret_pipeline)
{
	struct lp_pipeline *p = calloc(1, sizeof *p);
	int r;

	if (!p)
		return -ENOMEM;
	r = compile(p, spec);
	if (r < 0) {
		lp_pipeline_close(&p);
		return r;
	}
	*ret_pipeline = p;
	return 0;
}

void lp_pipeline_close(struct lp_pipeline **pipeline)
{
	if (!pipeline || !*pipeline)
		return;
	lp_arena_free(&(*pipeline)->arena);
	free(*pipeline);
	*pipeline = NULL;
}

bool lp_pipeline_filters_only(const struct lp_pipeline *p)
{
	return p->filters_only;
}

bool lp_pipeline_needs_text(const struct lp_pipeline *p)
{
	return p->needs_text;
}

bool lp_pipeline_needs_metadata(const struct lp_pipeline *p)
{
	return !p->metric || !p->no_labels || !p->filters_only;
}

bool lp_pipeline_needs_level(const struct lp_pipeline *p)
{
	return p->level;
}

/* ---- state ---------------------------------------------------------------------------------------- */

static uint32_t max_captures(const struct lp_pipeline *p)
{
	uint32_t max = 1;

	for (uint32_t i = 0; i < p->n_steps; i++) {
		const struct lp_stage *s = p->steps[i].stage;
		uint32_t n = s->kind == LP_STAGE_REGEXP ? lp_regex_groups(s->re) : s->kind == LP_STAGE_PATTERN ? lp_pattern_n_names(s->compiled) : 0;

		max = n > max ? n : max;
	}
	return max;
}

int lp_pipeline_state_open(const struct lp_pipeline *pipeline, struct lp_pipeline_state **ret_state)
{
	struct lp_pipeline_state *st = calloc(1, sizeof *st);

	if (!st)
		return -ENOMEM;
	st->pipeline = pipeline;
	st->buf.max = LP_PIPELINE_MAX_OUTPUT;
	st->captures_cap = max_captures(pipeline);
	st->entries = calloc(LP_PIPELINE_MAX_LABELS, sizeof *st->entries);
	st->base = calloc(LP_PIPELINE_MAX_LABELS, sizeof *st->base);
	st->base_labels = calloc(LP_PIPELINE_MAX_LABELS, sizeof *st->base_labels);
	st->labels = calloc(LP_PIPELINE_MAX_LABELS, sizeof *st->labels);
	st->out = calloc(LP_PIPELINE_MAX_LABELS + 2, sizeof *st->out);
	st->offsets = calloc(2 * (size_t)st->captures_cap, sizeof *st->offsets);
	st->captures = calloc(st->captures_cap, sizeof *st->captures);
	if (!st->entries || !st->base || !st->base_labels || !st->labels || !st->out || !st->offsets || !st->captures) {
		lp_pipeline_state_close(&st);
		return -ENOMEM;
	}
	*ret_state = st;
	return 0;
}

void lp_pipeline_state_close(struct lp_pipeline_state **state)
{
	struct lp_pipeline_state *st = state ? *state : NULL;

	if (!st)
		return;
	lp_scratch_free(&st->scratch);
	lp_buf_free(&st->buf);
	free(st->entries);
	free(st->base);
	free(st->base_labels);
	free(st->labels);
	free(st->out);
	free(st->offsets);
	free(st->captures);
	free(st);
	*state = NULL;
}

static uint64_t label_hash(const char *name, size_t name_len, const char *value, size_t value_len)
{
	return XXH3_64bits_withSeed(value, value_len, XXH3_64bits(name, name_len));
}

int lp_pipeline_stream(struct lp_pipeline_state *st, const uint8_t *labels, size_t len)
{
	uint32_t n;
	int r = lp_discover_labels(st->pipeline->discover, labels, len, st->labels, LP_PIPELINE_MAX_LABELS, &n);

	st->n_base = 0;
	st->base_hash = 0;
	st->level = NULL;
	if (r < 0)
		return r;
	for (uint32_t i = 0; i < n; i++) {
		const struct lp_label *label = &st->labels[i];

		st->base[i] = (struct lp_entry){ label->name, label->value, label->name_len, label->value_len,
						 lp_labels_name_hash(label->name, label->name_len), LP_CATEGORY_STREAM, false };
		st->base_labels[i] = (struct lp_pipeline_label){ label->name, label->value, label->name_len, label->value_len, LP_CATEGORY_STREAM };
		st->base_hash += label_hash(label->name, label->name_len, label->value, label->value_len);
	}
	st->n_base = n;
	lp_level_stream(st);
	return 0;
}

bool lp_pipeline_level_of_stream(const struct lp_pipeline_state *st)
{
	return st->level != NULL;
}

void lp_pipeline_scan_only(struct lp_pipeline_state *st)
{
	st->scanning = true;
}

static int add_metadata(struct lp_pipeline_state *st, const uint8_t *meta, size_t len)
{
	struct lp_labels_iter it;
	struct lp_label label;
	int r;

	if (!meta || !len)
		return 0;
	r = lp_metadata_iter(&it, meta, len);
	if (r < 0)
		return r;
	while ((r = lp_labels_next(&it, &label)) > 0) {
		const char *name = label.name;
		size_t name_len = label.name_len;

		if (lp_entry_in_base(st, name, name_len)) {
			char *longer = lp_scratch_alloc(&st->scratch, name_len + sizeof "_extracted");

			if (!longer)
				return -ENOMEM;
			memcpy(longer, name, name_len);
			memcpy(longer + name_len, "_extracted", sizeof "_extracted");
			name = longer;
			name_len += sizeof "_extracted" - 1;
		}
		lp_entry_set(st, LP_CATEGORY_METADATA, name, name_len, label.value, label.value_len);
	}
	return r;
}

/* ---- results -------------------------------------------------------------------------------------- */

static int by_name(const void *a, const void *b)
{
	const struct lp_pipeline_label *x = a, *y = b;
	uint32_t n = x->name_len < y->name_len ? x->name_len : y->name_len;
	int c = memcmp(x->name, y->name, n);

	return c ? c : (x->name_len > y->name_len) - (x->name_len < y->name_len);
}

static bool listed(const struct lp_pipeline *p, const char *name, size_t len)
{
	for (uint32_t i = 0; i < p->n_groups; i++)
		if (p->groups[i].len == len && !memcmp(p->groups[i].s, name, len))
			return true;
	return false;
}

/* Does the label stay in the result? */
static bool stays(const struct lp_pipeline_state *st, const char *name, size_t len)
{
	const struct lp_pipeline *p = st->pipeline;

	if (!p->metric || (st->error && !p->hints.preserve_error))
		return true;
	if (p->no_labels)
		return false;
	if (p->grouped && !p->without)
		return listed(p, name, len);
	if (p->range->has_unwrap && p->range->unwrap_label.len == len && !memcmp(p->range->unwrap_label.s, name, len))
		return false;
	return !(p->without && listed(p, name, len));
}

static void put_label(struct lp_pipeline_state *st, struct lp_pipeline_result *res, const char *name, size_t name_len, const char *value, size_t value_len,
		      enum lp_label_category category)
{
	/* A series has no empty labels; a line may: it says that a parser found nothing there. */
	if (!stays(st, name, name_len) || (st->pipeline->metric && !value_len))
		return;
	st->out[res->n_labels++] = (struct lp_pipeline_label){ name, value, (uint32_t)name_len, (uint32_t)value_len, category };
	res->hash += label_hash(name, name_len, value, value_len);
}

static void finish(struct lp_pipeline_state *st, struct lp_pipeline_result *res)
{
	const struct lp_pipeline *p = st->pipeline;

	res->line = st->line;
	res->line_len = st->line_len;
	/* Details alone, their error dropped, do not show on a line that has but its stream's labels (Loki). */
	res->stream_only = !st->changed && !st->error && !(p->metric && (p->no_labels || p->grouped || p->range->has_unwrap));
	if (res->stream_only) {
		res->labels = st->base_labels;
		res->n_labels = st->n_base;
		res->hash = st->base_hash;
		return;
	}
	/* A name stands once: the pipeline's error hides what a parser found in the line under its name. */
	if (st->error)
		lp_entry_delete(st, "__error__", 9);
	if (st->error_details)
		lp_entry_delete(st, "__error_details__", 17);
	for (uint32_t i = 0; i < st->n_entries; i++) {
		const struct lp_entry *e = &st->entries[i];

		if (!e->dead)
			put_label(st, res, e->name, e->name_len, e->value, e->value_len, e->category);
	}
	if (st->error)
		put_label(st, res, "__error__", 9, st->error, strlen(st->error), LP_CATEGORY_PARSED);
	if (st->error_details)
		put_label(st, res, "__error_details__", 17, st->error_details, st->error_details_len, LP_CATEGORY_PARSED);
	qsort(st->out, res->n_labels, sizeof *st->out, by_name);
	res->labels = st->out;
	if (!p->metric || !p->hints.preserve_error) {
		res->error = st->error;
		res->error_details = st->error_details;
	}
}

/* ---- samples -------------------------------------------------------------------------------------- */

static bool unwrap(struct lp_pipeline_state *st, double *ret_value)
{
	const struct lp_range_agg *range = st->pipeline->range;
	struct lp_buf why = { .max = 4096 };
	const char *value;
	size_t len;
	int64_t ns = 0;
	uint64_t bytes = 0;
	int r;

	if (!lp_entry_get(st, range->unwrap_label.s, range->unwrap_label.len, &value, &len) || !len)
		return false;
	switch (range->unwrap_conv) {
	case LP_UNWRAP_BYTES:
		r = lp_units_bytes(value, len, &bytes);
		*ret_value = (double)bytes;
		break;
	case LP_UNWRAP_DURATION: case LP_UNWRAP_DURATION_SECONDS:
		r = lp_units_go_duration(value, len, &ns, &why);
		*ret_value = (double)(ns / 1000000000) + (double)(ns % 1000000000) / 1e9;
		break;
	default:
		r = lp_units_float(value, len, ret_value);
		break;
	}
	if (r < 0) {
		if (!why.len) {
			lp_buf_str(&why, "cannot convert ");
			lp_units_print_quoted(&why, value, len);
		}
		lp_state_error(st, "SampleExtractionErr", (const char *)why.data, why.len);
		*ret_value = 0;
	}
	lp_buf_free(&why);
	for (const struct lp_stage *s = range->post_filters; s; s = s->next)
		if (!lp_run_label_filter(st, &(const struct lp_step){ .stage = s }))
			return false;
	return true;
}

bool lp_pipeline_heavy(const struct lp_pipeline_state *st)
{
	return st->heavy;
}

int lp_pipeline_line(struct lp_pipeline_state *st, int64_t ts_ns, const char *line, size_t line_len, const uint8_t *meta, size_t meta_len,
		     struct lp_pipeline_result *ret_result)
{
	const struct lp_pipeline *p = st->pipeline;
	int r;

	lp_scratch_reset(&st->scratch);
	memcpy(st->entries, st->base, st->n_base * sizeof *st->base);
	st->n_entries = st->n_base;
	st->changed = st->no_memory = false;
	st->heavy = line_len >= HEAVY_LINE;
	st->ts_ns = ts_ns;
	st->line = line;
	st->line_len = line_len;
	st->error = st->error_details = NULL;
	st->error_details_len = 0;
	st->extracted = 0;
	st->n_extracted = 0;
	r = add_metadata(st, meta, meta_len);
	if (r < 0)
		return r;
	if (p->level && (!st->scanning || p->level_named))
		lp_level_line(st);
	for (uint32_t i = 0; i < p->n_steps; i++) {
		bool keep = p->steps[i].run(st, &p->steps[i]);

		if (st->no_memory)
			return -ENOMEM;
		if (!keep)
			return 0;
	}
	memset(ret_result, 0, sizeof *ret_result);
	ret_result->value = 1;
	if (p->metric) {
		if (p->range->has_unwrap) {
			if (!unwrap(st, &ret_result->value))
				return 0;
		} else if (p->range->op == LP_RANGE_BYTES || p->range->op == LP_RANGE_BYTES_RATE) {
			ret_result->value = (double)st->line_len;
		}
	}
	finish(st, ret_result);
	return 1;
}

void lp_pipeline_error_text(const struct lp_pipeline_result *res, struct lp_buf *out)
{
	lp_buf_printf(out, "pipeline error: '%s' for series: '{", res->error);
	for (uint32_t i = 0; i < res->n_labels; i++) {
		if (i)
			lp_buf_str(out, ", ");
		lp_buf_append(out, res->labels[i].name, res->labels[i].name_len);
		lp_buf_byte(out, '=');
		lp_units_print_quoted(out, res->labels[i].value, res->labels[i].value_len);
	}
	lp_buf_printf(out,
		      "}'.\nUse a label filter to intentionally skip this error. (e.g | __error__!=\"%s\").\n"
		      "To skip all potential errors you can match empty errors.(e.g __error__=\"\")\n"
		      "The label filter can also be specified after unwrap. (e.g | unwrap latency | __error__=\"\" )\n",
		      res->error);
}
