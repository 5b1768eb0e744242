/* Inside of the query engine: what engine.c (pool), plan.c, scan.c, merge.c, the result writers and the metadata
 * queries share.  A query passes three stages, each on some pool thread: start (parse, snapshot, plan), its tasks (any
 * number at a time), finish (merge and answer).  No stage waits for another, so one thread is enough. */
#ifndef LP_QUERY_ENGINE_PRIVATE_H
#define LP_QUERY_ENGINE_PRIVATE_H

#include "common/arena.h"
#include "query/discover.h"
#include "query/deletes.h"
#include "query/logql/ast.h"
#include "query/pipeline/pipeline.h"
#include "query/query.h"

#include <pthread.h>
#include <stdatomic.h>

#define LP_TASK_BYTES (1u << 20)        /* log text of one task, about */
#define LP_TASK_BATCHES 1024u
#define LP_WORKER_DECODERS 4u
#define LP_SEG_WAL UINT32_MAX           /* lp_task.seg: live batches */

/* A piece of one stream: a run of a segment, or a live batch. */
struct lp_item {
	uint32_t stream;                        /* in its segment, or live */
	uint32_t run, seg;                      /* seg: LP_SEG_WAL for a batch */
	const struct lp_wal_batch *batch;       /* NULL: a run */
	uint32_t tombs;                         /* delete requests that touch it, see lp_query_tombs_drop(); 0: none */
};

struct lp_task {
	int64_t min_ts, max_ts;
	uint32_t seg, block;
	uint32_t first, n;                      /* items */
	uint64_t rows;                          /* of items that lie in the query's range as a whole */
};

struct lp_items {
	struct lp_item *items;
	uint32_t n, cap;
	struct lp_task *tasks;
	uint32_t n_tasks, tasks_cap;
};

/* An entry on its way: a candidate that borrows its bytes from a decoded block or the log, or a kept one that owns them. */
struct lp_cand {
	int64_t ts;
	uint64_t pos;                           /* with file: order of arrival among equal timestamps */
	uint32_t file;
	uint32_t labels_len, line_len, meta_len;
	const uint8_t *labels;                  /* snapshot memory */
	const char *line;
	const uint8_t *meta;
	void *owned;                            /* malloc, line and metadata; NULL: borrowed */
	uint64_t shown[2];                      /* hash of line and labels as the answer shows them */
	bool has_shown;
};

struct lp_cands {
	struct lp_cand *v;
	size_t n, cap;
};

/* One decoded block that a thread still holds. */
struct lp_block_slot {
	struct lp_block_decoder *decoder;
	const struct lp_segment *segment;       /* NULL: nothing decoded */
	uint32_t block;
	unsigned want;
	uint64_t used;
	struct lp_rows rows;
};

struct lp_worker {                              /* of one thread */
	struct lp_block_slot slots[LP_WORKER_DECODERS];
	uint64_t clock;
	struct lp_cands cands;
	struct lp_buf scratch;
};

enum lp_stage_of_query { LP_STAGE_START, LP_STAGE_TASKS, LP_STAGE_FINISH, LP_STAGE_DONE };

struct lp_line_filter;
struct tombs_ref;

struct lp_query_ops {
	int (*plan)(struct lp_query *query, struct lp_worker *worker);  /* sets n_tasks */
	bool (*wanted)(struct lp_query *query, uint32_t task);          /* false: neither this nor any later task can matter; may be NULL */
	/* True: the next task had better wait for one that runs, which may make it superfluous.  Engine lock; may be NULL. */
	bool (*hold)(struct lp_query *query, uint32_t task);
	int (*run)(struct lp_query *query, struct lp_worker *worker, uint32_t task);
	/* What passed a log query's filters goes here and not to the merge; res NULL: no stage behind them.  Tasks; may be NULL. */
	int (*take)(struct lp_query *query, const struct lp_cand *cand, const struct lp_pipeline_result *res);
	int (*finish)(struct lp_query *query);                          /* the answer, through query->out */
	void (*free_state)(struct lp_query *query);
};

struct lp_query {
	struct lp_engine *engine;
	struct lp_query *next, *prev;           /* ring of runnable queries; engine lock */
	int64_t turn_ns;                        /* time that its units took, or that others had had when it came; engine lock */
	_Atomic uint32_t refs;
	_Atomic bool cancelled;
	_Atomic int status;                     /* 0, or the HTTP status of the failure; set once under the lock below */
	enum lp_stage_of_query stage;           /* engine lock */
	uint32_t n_tasks, next_task, running;   /* engine lock from the task stage on */

	struct lp_query_params params;
	struct lp_query_sink sink;
	struct lp_arena arena;                  /* copies of the parameters */
	struct lp_discover *discover;           /* labels that nobody sent; NULL: none */
	const struct lp_query_ops *ops;
	struct lp_logql *logql;
	const struct lp_log_expr *log;          /* NULL: no selector, everything */
	struct lp_snapshot *snapshot;
	struct tombs_ref *tombs_ref;            /* engine.c */
	const struct lp_tombs *tombs;           /* delete requests in force; the engine's */
	struct lp_buf tomb_lists;               /* u32: how many, and which of them; made while planning */
	struct lp_items plan;
	struct lp_line_filter *filter;
	struct lp_pipeline *pipeline;           /* log queries: the stages behind the filter */
	bool rewrites;                          /* a stage of it may change the line: entries may become alike */
	bool pipeline_drops;                    /* one of them may drop a line, or its result is wanted (take): tasks run it */
	struct lp_pipeline_state **states;      /* that no task uses at the moment; lock */
	size_t n_states, states_cap;
	uint64_t bytes_planned;         /* text in the items of all plans */
	uint64_t rows_started;                  /* in the tasks taken so far; engine lock */
	bool held;                              /* not in the ring: waits for a running task; engine lock */

	pthread_mutex_t lock;                   /* what tasks merge into */
	pthread_mutex_t error_lock;             /* taken last */
	struct lp_buf error;
	const char *error_code;
	struct lp_cands kept;                   /* log queries: sorted, distinct */
	_Atomic int64_t threshold;              /* no entry beyond it can be in the result */
	void *state;                            /* of the ops */

	_Atomic uint64_t memory;
	struct {
		_Atomic uint64_t lines_scanned, bytes_scanned, blocks_read, blocks_skipped, bad_blocks, wal_batches;
	} count;
	struct lp_query_stats stats;
	int64_t submitted_ns, started_ns;

	struct lp_buf out;
	bool begun, sink_failed, sink_blocking;
};

/* ---- engine.c ---- */
struct lp_catalog *lp_query_catalog(const struct lp_query *query);
/* True when the query must not go on; sets 504 at the deadline. */
bool lp_query_stopped(struct lp_query *query);
/* First failure wins.  code: of the original API's errors.  Returns -EINVAL for convenience. */
int lp_query_fail(struct lp_query *query, int status, const char *code, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
/* Translate -ENOMEM and others that came up from below into a failure. */
int lp_query_fail_errno(struct lp_query *query, int r);
/* memory.c.  Account for memory: -ENOMEM and the query failed with the limit's name when it is over max_memory. */
int lp_query_charge(struct lp_query *query, size_t bytes);
void lp_query_uncharge(struct lp_query *query, size_t bytes);
uint64_t lp_query_memory_left(const struct lp_query *query);
/* realloc of a charged array to hold at least need elements; doubles. */
int lp_query_grow(struct lp_query *query, void **array, size_t *cap, size_t need, size_t elem);
/* Answer: begin, then fill query->out and flush now and then.  Negative: the client is gone. */
int lp_out_begin(struct lp_query *query, int status, const char *content_type);
int lp_out_flush(struct lp_query *query, bool all);
/* The block's columns in memory of the worker, valid while fewer than LP_WORKER_DECODERS others are asked for. */
int lp_worker_block(struct lp_query *query, struct lp_worker *worker, const struct lp_segment *segment, uint32_t block, unsigned want,
		    const struct lp_rows **ret_rows);

/* Columns of one block, decoded as they turn out to be needed. */
struct lp_columns {
	struct lp_rows rows;
	const struct lp_segment *segment;
	uint32_t block;
	unsigned have;
};
#define LP_COLUMNS_ALL (LP_BLOCK_WANT_TS | LP_BLOCK_WANT_TEXT | LP_BLOCK_WANT_META)
/* Valid until other blocks are asked for by this worker. */
int lp_columns_want(struct lp_query *query, struct lp_worker *worker, struct lp_columns *columns, unsigned want);

/* ---- plan.c ---- */
/* Streams of a segment that match the query's selector, tenant and time range, ascending; malloc'ed. */
int lp_plan_match(struct lp_query *query, const struct lp_log_expr *log, const struct lp_segment *segment, struct lp_buf *scratch,
		  uint32_t **ret_streams, uint32_t *ret_n);
bool lp_plan_match_labels(const struct lp_query *query, const struct lp_log_expr *log, const uint8_t *labels, uint32_t len);
/* As lp_logql_parse(), for the original API: an empty selector, or none before a pipeline, means all streams. */
int lp_plan_parse_original(const char *text, size_t len, struct lp_logql **ret_logql, struct lp_buf *error);
/* -EINVAL, failed: the selector has more matchers than a query may have. */
int lp_plan_check_matchers(struct lp_query *query, const struct lp_log_expr *log);
/* All items of the query in [start, end) in which a line may pass the filter (NULL: any), grouped into tasks; sorted for the direction. */
int lp_plan_tasks(struct lp_query *query, struct lp_worker *worker, const struct lp_line_filter *filter);
/* The text into query->logql and query->log. */
int lp_plan_parse(struct lp_query *query);

/* ---- deletes.c: while planning, the requests that mean a stream (0: none), and of those the ones that touch an item; true: nothing
 * of the item is left ---- */
int lp_query_tombs_of(struct lp_query *query, const uint8_t *labels, uint32_t len, uint32_t *ret_list);
bool lp_query_tombs_item(const struct lp_query *query, uint32_t list, uint32_t file, int64_t min_ts, int64_t max_ts, uint32_t *ret_tombs);
/* For items with tombs: is this entry deleted? */
bool lp_query_tombs_drop(const struct lp_query *query, const struct lp_item *item, int64_t ts, const char *line, uint32_t len);

/* ---- filter.c ---- */
/* Leading line filters of a pipeline.  *ret_rest: the first stage that is none of them. */
int lp_line_filter_open(const struct lp_stage *stages, struct lp_line_filter **ret_filter, const struct lp_stage **ret_rest);
void lp_line_filter_close(struct lp_line_filter **filter);
/* Blocks of the segment in which a line may pass, bit b % 64 of word b / 64, malloc'ed; NULL: nothing is known.  -ENOMEM. */
int lp_line_filter_blocks(const struct lp_line_filter *filter, const struct lp_segment *segment, uint64_t **ret_blocks);
bool lp_line_filter_match(const struct lp_line_filter *filter, const char *line, uint32_t len);
/* Whole columns can be searched (forward only); false: every line is asked, in any order. */
bool lp_line_filter_has_needle(const struct lp_line_filter *filter);
/* Next row in [row, end) that passes, or end; also end when the query was stopped. */
uint32_t lp_line_filter_next(const struct lp_line_filter *filter, const struct lp_rows *rows, uint32_t row, uint32_t end, struct lp_query *query);

/* ---- merge.c ---- */
/* Sort by time in the query's direction, equal times by arrival (reversed backward), and drop repeats. */
int lp_cands_settle(struct lp_query *query, struct lp_cands *cands);
/* Keep the first `limit` and what has the same timestamp as the last of them (bounded). */
size_t lp_cands_cut(const struct lp_cands *cands, size_t limit);
/* Merge settled candidates into query->kept, copying what stays; moves the threshold.  Takes the lock. */
int lp_kept_merge(struct lp_query *query, const struct lp_cands *cands);
void lp_kept_free(struct lp_query *query);

/* ---- overlap.c: where an entry can be stored twice ---- */
struct lp_piece {                       /* an item of a plan, and whose it is */
	uint32_t stream;                /* over all sources */
	uint32_t source;                /* segment, or number of segments + 1 + batch */
	uint32_t run, item;
	bool shared;                    /* another source of the stream overlaps it in time */
	int64_t min_ts, max_ts;
	const struct lp_wal_batch *batch;
};

struct lp_piece_stream {
	const uint8_t *labels;
	uint32_t len;
	uint64_t hash;
};

struct lp_pieces {
	struct lp_piece *v;             /* by stream, then by least timestamp */
	size_t n, cap;
	struct lp_piece_stream *streams;
	size_t n_streams, streams_cap;
	uint32_t *table;
	size_t size;
};
int lp_pieces_collect(struct lp_query *query, const struct lp_items *plan, struct lp_pieces *pieces);
void lp_pieces_free(struct lp_query *query, struct lp_pieces *pieces);

/* A span of time in which more than one source has entries of one stream.  Rows in it need to be told apart. */
struct lp_region_row {                  /* seen and not counted yet */
	int64_t ts;
	uint32_t item, row;
};

struct lp_region {
	int64_t min_ts, max_ts;
	uint32_t pieces;                /* that touch it and were not read yet */
	struct lp_hash128 *set;         /* entries seen */
	size_t set_n, set_size;
	struct lp_region_row *later;
	size_t later_n, later_cap;
};

struct lp_item_regions {
	uint32_t first, n;
};

struct lp_regions {
	struct lp_region *v;            /* those of a stream are neighbours, ascending and disjoint */
	size_t n, cap;
	struct lp_item_regions *of;     /* per item of the plan */
	uint32_t n_of;
};
int lp_regions_open(struct lp_query *query, const struct lp_items *plan, struct lp_regions *regions);
void lp_regions_close(struct lp_query *query, struct lp_regions *regions);
/* 1: the entry was not seen in the region before; 0; negative.  The caller holds the region's lock. */
int lp_region_first(struct lp_query *query, struct lp_region *region, struct lp_hash128 hash);
void lp_region_clear(struct lp_query *query, struct lp_region *region);
struct lp_hash128 lp_entry_hash(int64_t ts, const char *line, uint32_t len, const uint8_t *meta, uint32_t meta_len);

/* ---- scan.c ---- */
/* Rows of a live batch, with their lengths checked once more; -EBADMSG is counted. */
int lp_scan_batch_rows(struct lp_query *query, const struct lp_wal_batch *batch, struct lp_rows *ret_rows);
/* Plan and tasks of log queries, for kinds that look at the same lines. */
int lp_log_plan(struct lp_query *query, struct lp_worker *worker);
int lp_log_run(struct lp_query *query, struct lp_worker *worker, uint32_t index);

/* ---- the kinds of queries ---- */
extern const struct lp_query_ops lp_log_ops;            /* scan.c, result.c */
extern const struct lp_query_ops lp_metric_ops;         /* metric_query.c, metric_scan.c */
extern const struct lp_query_ops lp_detected_ops;       /* scan.c, detected.c */
int lp_detected_result(struct lp_query *query);         /* detected.c */
extern const struct lp_query_ops lp_names_ops;          /* names.c: labels, values, series */
extern const struct lp_query_ops lp_index_stats_ops;    /* index_stats.c */
extern const struct lp_query_ops lp_volume_ops;         /* volume.c */
extern const struct lp_query_ops lp_delete_ops;         /* delete_requests.c */
extern const struct lp_query_ops lp_patterns_ops;       /* scan.c, patterns.c */
void lp_result_error_json(struct lp_query *query);      /* result.c */
int lp_log_result(struct lp_query *query);              /* result.c */
int lp_tail_result(struct lp_query *query);             /* tail.c */
/* Parts of log answers.  categories: bits of enum lp_label_category. */
#define LP_ALL_CATEGORIES 7u
#define LP_ONLY_CATEGORY(category) (1u << (category))
void lp_result_pairs_json(struct lp_buf *out, const struct lp_pipeline_label *labels, uint32_t n, unsigned categories);
/* Third element of a line with categorized labels: an object, with the categories that have something to say. */
void lp_result_extra_json(struct lp_buf *out, const struct lp_pipeline_result *res);
/* The original API names each line's level: that of its labels, else "info". */
void lp_result_level_json(struct lp_buf *out, const struct lp_pipeline_result *res);
void lp_result_id_json(struct lp_buf *out, const struct lp_cand *cand);
void lp_result_stats_json(struct lp_query *query);
void lp_result_end_json(struct lp_query *query);        /* stats, warnings, and the braces that close a Loki answer */
void lp_result_labels_json(struct lp_buf *out, const uint8_t *labels, size_t len);

#endif
