/* Pipelines: what a query does with one line.  Compiled once per query from the checked tree (immutable, any number of threads),
 * run with one state per thread.
 *
 *   lp_pipeline_open(&spec, &pipeline);
 *   per thread: lp_pipeline_state_open(pipeline, &state);
 *   per stream: lp_pipeline_stream(state, canonical label bytes);
 *   per line:   if (lp_pipeline_line(state, ts, line, meta, &result) > 0) ... use result before the next call
 *
 * Log queries read line and labels.  Metric queries read value and group labels: only the labels that the query needs are
 * extracted, so that a line which does not parse is no error when nothing of it is needed (Loki's parser hints). */
#ifndef LP_QUERY_PIPELINE_PIPELINE_H
#define LP_QUERY_PIPELINE_PIPELINE_H

#include "query/logql/ast.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct lp_discover;
struct lp_pipeline;
struct lp_pipeline_state;

enum lp_label_category { LP_CATEGORY_STREAM, LP_CATEGORY_METADATA, LP_CATEGORY_PARSED };

struct lp_pipeline_label {
	const char *name, *value;       /* not NUL-terminated */
	uint32_t name_len, value_len;
	enum lp_label_category category;
};

struct lp_pipeline_result {
	const char *line;
	size_t line_len;
	/* Ascending names; parsed ones may be empty in log queries; valid until the next call with this state.  Includes __error__ and __error_details__.
	 * Metric queries: the labels of the series after grouping. */
	const struct lp_pipeline_label *labels;
	uint32_t n_labels;
	/* Of names and values, the same in every thread: equal label sets have equal hashes; compare on a hit. */
	uint64_t hash;
	bool stream_only;               /* the labels are exactly those of the stream */
	const char *error;              /* "JSONParserErr", or NULL */
	const char *error_details;      /* NULL: none */
	double value;                   /* metric queries: what the line counts for */
};

struct lp_pipeline_spec {
	const struct lp_stage *stages;          /* log queries; borrowed, as all of the tree, until close */
	const struct lp_range_agg *range;       /* metric queries: stages, unwrap and filters come from here */
	/* Metric queries: grouping of the aggregation around the range, if it may be applied to single lines (sum over count, rate, bytes,
	 * bytes_rate, sum; NULL otherwise: the range's own grouping counts, or all labels stay). */
	const struct lp_grouping *grouping;
	bool skip_line_filters;                 /* the leading line filters have been applied by the scanner */
	const struct lp_discover *discover;     /* labels that nobody sent (discover.h); borrowed until close; NULL: none */
};

/* -ENOMEM. */
int lp_pipeline_open(const struct lp_pipeline_spec *spec, struct lp_pipeline **ret_pipeline);
void lp_pipeline_close(struct lp_pipeline **pipeline);
/* Nothing but line filters: labels stay those of stream and metadata and no line is changed. */
bool lp_pipeline_filters_only(const struct lp_pipeline *pipeline);
/* Metric queries: does the value depend on nothing but the number of lines (count, rate), or of their bytes? */
bool lp_pipeline_needs_text(const struct lp_pipeline *pipeline);
bool lp_pipeline_needs_metadata(const struct lp_pipeline *pipeline);
/* Metric queries: is detected_level part of a series, or of what decides about a line? */
bool lp_pipeline_needs_level(const struct lp_pipeline *pipeline);

int lp_pipeline_state_open(const struct lp_pipeline *pipeline, struct lp_pipeline_state **ret_state);
void lp_pipeline_state_close(struct lp_pipeline_state **state);
/* The stream of the lines that follow; the bytes stay valid until the next call.  -EBADMSG. */
int lp_pipeline_stream(struct lp_pipeline_state *state, const uint8_t *labels, size_t len);
/* Is detected_level the same for all lines of the stream that have no metadata? */
bool lp_pipeline_level_of_stream(const struct lp_pipeline_state *state);
/* From here on only the verdict on lines is wanted, not their labels: those that decide nothing need not be computed. */
void lp_pipeline_scan_only(struct lp_pipeline_state *state);
/* 1 keep, 0 drop, -EBADMSG metadata not well formed, -ENOMEM.  meta may be NULL. */
int lp_pipeline_line(struct lp_pipeline_state *state, int64_t ts_ns, const char *line, size_t line_len, const uint8_t *meta, size_t meta_len,
		     struct lp_pipeline_result *ret_result);

/* Did the last line take, or may it have taken, so long that whoever runs many should look at the clock? */
bool lp_pipeline_heavy(const struct lp_pipeline_state *state);

/* Metric queries fail on a sample with an error: Loki's text for the answer (400). */
void lp_pipeline_error_text(const struct lp_pipeline_result *result, struct lp_buf *out);

#endif
