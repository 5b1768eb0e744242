/* Inside of src/query/pipeline: the state of one thread and the labels of one line. */
#ifndef LP_QUERY_PIPELINE_PRIVATE_H
#define LP_QUERY_PIPELINE_PRIVATE_H

#include "common/buf.h"
#include "query/discover.h"
#include "query/pipeline/pipeline.h"
#include "query/search.h"

#define LP_PIPELINE_MAX_LABELS 1024u    /* of one line; more are not extracted */
#define LP_EXTRACTED "_extracted"       /* what a parser's label gets behind its name where the stream has the name */
#define LP_PIPELINE_MAX_OUTPUT (4u << 20) /* of one template, and of one line's scratch memory in sum 16 times this */

/* Memory for one line: pieces are handed out and taken back all at once. */
struct lp_scratch_chunk {
	struct lp_scratch_chunk *next;
	size_t cap;
	_Alignas(16) char data[];
};

struct lp_scratch {
	struct lp_scratch_chunk *chunks;        /* the newest first; the oldest stays */
	size_t used, total;
};

struct lp_entry {                       /* one label of a line */
	const char *name, *value;
	uint32_t name_len, value_len;
	uint32_t name_hash;
	enum lp_label_category category;
	bool dead;
};

/* Which labels parsers need to find.  all: every one; n_names == 0 and not all: none. */
struct lp_hints {
	bool all;
	bool preserve_error;            /* the query looks at __error__ */
	const struct lp_str **names;
	uint32_t n_names;
	uint64_t lengths;               /* bit (length mod 64): a label of that length may serve a name */
};

struct lp_step;                         /* a compiled stage */

struct lp_pipeline {
	struct lp_arena arena;
	const struct lp_range_agg *range;
	struct lp_step *steps;
	uint32_t n_steps;
	struct lp_hints hints;
	bool metric, no_labels, grouped, without;
	const struct lp_str *groups;
	uint32_t n_groups;
	bool filters_only, needs_text;
	const struct lp_discover *discover;     /* NULL: labels as stored */
	bool level, level_named;                /* detected_level is part of the result; a stage or the grouping names it */
};

struct lp_pipeline_state {
	const struct lp_pipeline *pipeline;
	struct lp_scratch scratch;
	/* the stream: the first n_base entries, in order; base_hash of them */
	struct lp_entry *entries;
	uint32_t n_base, n_entries;
	struct lp_pipeline_label *base_labels;
	uint64_t base_hash;
	struct lp_entry *base;
	struct lp_label *labels;        /* of the stream, while it is set */
	const char *level;              /* detected_level of all its lines whose metadata has none, or NULL */
	uint32_t level_len;
	bool scanning;                  /* nobody looks at the labels of the result */
	bool changed;                   /* the labels differ from the stream's */
	bool no_memory;
	bool heavy;                     /* this line took long, or may have */
	/* the line */
	int64_t ts_ns;
	const char *line;
	size_t line_len;
	const char *error;
	const char *error_details;
	uint32_t error_details_len;
	uint64_t extracted;             /* bit per hint name */
	uint32_t n_extracted;
	struct lp_pipeline_label *out;
	struct lp_buf buf;              /* templates write here */
	int64_t *offsets;               /* regexp captures */
	struct lp_pattern_capture *captures;
	uint32_t captures_cap;
};

/* ---- scratch.c ---- */
void *lp_scratch_alloc(struct lp_scratch *scratch, size_t n);           /* NULL: too much, or out of memory */
char *lp_scratch_dup(struct lp_scratch *scratch, const char *s, size_t n);
void lp_scratch_reset(struct lp_scratch *scratch);
void lp_scratch_free(struct lp_scratch *scratch);

/* ---- labels.c ---- */
uint32_t lp_labels_name_hash(const char *s, size_t n);
/* NULL when absent.  Also __error__ and __error_details__. */
bool lp_entry_get(const struct lp_pipeline_state *st, const char *name, size_t len, const char **ret_value, size_t *ret_len);
struct lp_entry *lp_entry_find(struct lp_pipeline_state *st, const char *name, size_t len);
bool lp_entry_in_base(const struct lp_pipeline_state *st, const char *name, size_t len);
/* Set or replace, unless a label of a stronger category has the name.  The bytes must live as long as the line. */
void lp_entry_set(struct lp_pipeline_state *st, enum lp_label_category category, const char *name, size_t name_len, const char *value, size_t value_len);
void lp_entry_delete(struct lp_pipeline_state *st, const char *name, size_t len);
/* Does the stream or the metadata have a label of the name? */
bool lp_entry_is_taken(struct lp_pipeline_state *st, const char *name, size_t len);
/* What a parser found: renamed when it collides with a label of the stream or metadata; an earlier one stays; hints are kept. */
void lp_entry_extract(struct lp_pipeline_state *st, const char *name, size_t name_len, const char *value, size_t value_len);
bool lp_hints_want(const struct lp_pipeline_state *st, const char *name, size_t len);
/* False: the label is not wanted, whether it keeps its name or gets the suffix because the stream has the same. */
bool lp_hints_may_want(const struct lp_pipeline_state *st, const char *name, size_t len);
bool lp_hints_want_prefix(const struct lp_pipeline_state *st, const char *prefix, size_t len);
bool lp_hints_done(const struct lp_pipeline_state *st);
bool lp_hints_none(const struct lp_pipeline_state *st);
/* The first error stays. */
void lp_state_error(struct lp_pipeline_state *st, const char *error, const char *details, size_t len);
/* A label name made of any bytes: [A-Za-z0-9_], no leading digit.  `name` itself where it is one, or scratch memory; NULL out of memory. */
const char *lp_sanitize(struct lp_pipeline_state *st, const char *prefix, size_t prefix_len, const char *name, size_t len, size_t *ret_len);
/* Valid UTF-8: invalid bytes become `with`.  Returns s itself when nothing is to be done. */
const char *lp_clean_utf8(struct lp_pipeline_state *st, const char *s, size_t len, const char *with, size_t *ret_len);

/* ---- logfmt.c ---- */
struct lp_logfmt_pairs {
	struct lp_pipeline_state *st;   /* for values with escapes; lp_logfmt_next() does not need it */
	const char *s;
	size_t n, pos;
	bool any_key;                   /* do not check that keys are valid UTF-8 */
	const char *key, *value;
	size_t key_len, value_len;
	char error[96];
};
/* 1 a pair, 2 a pair whose value has escapes, 0 the end, -EBADMSG a bad pair (skipped). */
int lp_logfmt_next(struct lp_logfmt_pairs *it);

/* ---- level.c ---- */
void lp_level_stream(struct lp_pipeline_state *st);     /* after the stream was set */
void lp_level_line(struct lp_pipeline_state *st);       /* after the line's metadata was added */

/* ---- one function per stage: true keeps the line ---- */
struct lp_step {
	const struct lp_stage *stage;
	bool (*run)(struct lp_pipeline_state *st, const struct lp_step *step);
	/* line filters */
	struct lp_search *searches;
	uint32_t *n_literals;           /* per alternative: how many searches stand before its regular expression */
};

bool lp_run_line_filter(struct lp_pipeline_state *st, const struct lp_step *step);
bool lp_run_label_filter(struct lp_pipeline_state *st, const struct lp_step *step);
bool lp_run_json(struct lp_pipeline_state *st, const struct lp_step *step);
bool lp_run_json_paths(struct lp_pipeline_state *st, const struct lp_step *step);
bool lp_run_logfmt(struct lp_pipeline_state *st, const struct lp_step *step);
bool lp_run_logfmt_keys(struct lp_pipeline_state *st, const struct lp_step *step);
bool lp_run_regexp(struct lp_pipeline_state *st, const struct lp_step *step);
bool lp_run_pattern(struct lp_pipeline_state *st, const struct lp_step *step);
bool lp_run_unpack(struct lp_pipeline_state *st, const struct lp_step *step);
bool lp_run_line_format(struct lp_pipeline_state *st, const struct lp_step *step);
bool lp_run_label_format(struct lp_pipeline_state *st, const struct lp_step *step);
bool lp_run_decolorize(struct lp_pipeline_state *st, const struct lp_step *step);
bool lp_run_drop(struct lp_pipeline_state *st, const struct lp_step *step);
bool lp_run_keep(struct lp_pipeline_state *st, const struct lp_step *step);

int lp_line_filter_compile(struct lp_pipeline *pipeline, struct lp_step *step);

#endif
