/* The query engine: text and parameters in, streamed answer out.  Used by src/http, src/ctl and the notifier.
 *
 * text -> AST -> plan (streams by postings, blocks by time) -> tasks per block on the pool -> merge -> result writer -> sink.
 * A query runs on threads of the engine, never on the caller's; it stops soon after cancel or its deadline. */
#ifndef LP_QUERY_QUERY_H
#define LP_QUERY_QUERY_H

#include "common/buf.h"
#include "query/discover.h"
#include "store/catalog.h"

#include <inttypes.h>

enum lp_query_kind {
	LP_QUERY_ORIGINAL,              /* GET /query: {"logs":[...],"stats":{...}} */
	LP_QUERY_RANGE,                 /* /loki/api/v1/query_range */
	LP_QUERY_INSTANT,               /* /loki/api/v1/query */
	LP_QUERY_LABELS,                /* label names; original: bare array */
	LP_QUERY_LABEL_VALUES,
	LP_QUERY_SERIES,
	LP_QUERY_INDEX_STATS,           /* {"streams","chunks","bytes","entries"} */
	LP_QUERY_VOLUME,                /* /loki/api/v1/index/volume, and with step_ns ... */
	LP_QUERY_VOLUME_RANGE,          /* ... index/volume_range */
	LP_QUERY_DETECTED_FIELDS,       /* of the newest `limit` lines; label set: values of that field */
	LP_QUERY_DETECTED_LABELS,       /* label names with the number of their values */
	LP_QUERY_PATTERNS,              /* templates of the lines, counted per step_ns */
	LP_QUERY_DELETE_ADD,            /* take a delete request: text, start_ns, end_ns (inclusive) */
	LP_QUERY_DELETE_LIST,           /* the tenant's, as JSON */
	LP_QUERY_DELETE_CANCEL,         /* label: its id */
	LP_QUERY_TAIL,                  /* history of a live tail: "<entries> <message>\n" each, oldest first (query/tail.h) */
};

/* How the id of a delete request is written. */
#define LP_DELETE_ID_FORMAT "%08" PRIx64

struct lp_query_params {
	enum lp_query_kind kind;
	bool original_shape;            /* LABELS, LABEL_VALUES: bare JSON array */
	const char *text;               /* query; may be NULL where the route allows it */
	size_t text_len;
	const char *const *matches;     /* SERIES: match[]; VOLUME: targetLabels */
	const size_t *match_lens;
	uint32_t n_matches;
	const char *label;              /* LABEL_VALUES */
	size_t label_len;
	const char *tenant;             /* "" default */
	size_t tenant_len;
	bool tenants;                   /* `tenant` is a list, separated by |; streams show whose they are in __tenant_id__ */
	const struct lp_discover_spec *discover;        /* labels to add to those that were sent; NULL: none */
	int64_t start_ns, end_ns;       /* [start, end) for logs */
	int64_t step_ns;                /* metric queries */
	int64_t interval_ns;
	uint32_t limit;
	bool forward;
	bool categorize;                /* log queries: metadata and parsed labels beside each line instead of in the stream */
	uint32_t field_limit;           /* DETECTED_FIELDS: fields, or values */
	bool shards;                    /* INDEX_STATS: as the list of index/shards */
	bool by_labels;                 /* VOLUME: aggregateBy=labels */
	int64_t not_before_ns;          /* DELETE_CANCEL: requests older than it stay */
	uint64_t max_memory;            /* bytes */
	int64_t deadline_mono_ns;
	uint32_t max_series;            /* of the answer; VOLUME: that are added up */
	bool partial;                   /* metric queries: more series than max_series are left out, with a warning, instead of refused */
	int64_t oldest_ns;              /* nothing older is looked at; 0: no such limit */
	int64_t max_range_ns;           /* windows of range aggregations; 0: any */
	uint64_t max_bytes_read;        /* RANGE, INSTANT: text in the blocks that are planned; 0: any */
	uint32_t max_matchers;          /* of a selector, RANGE, INSTANT; 0: any */
	int64_t split_ns;               /* INSTANT: windows are split as Loki does; 0: not */
	struct lp_snapshot *snapshot;   /* what to look at, taken over when the query is accepted; NULL: the state as of its start */
};

#define LP_QUERY_ERROR_MAX 4096         /* bytes of an error text; longer ones, which quote the query, are cut */

/* Where the answer goes.  All calls come from one engine thread at a time, in this order: begin once, write any number, end once.
 * write blocks under backpressure.  A negative return (client gone, -ECANCELED) ends the query; end is still called. */
struct lp_query_sink {
	/* status 200 with content type application/json, or an error status with text/plain (LP_QUERY_ORIGINAL: a JSON object); the whole
	 * error text follows by write. */
	int (*begin)(void *ctx, int status, const char *content_type);
	int (*write)(void *ctx, const void *p, size_t n);
	void (*end)(void *ctx, bool complete);  /* complete false: cut off after an error in the middle */
	void *ctx;
};

struct lp_query_stats {
	uint64_t lines_scanned, bytes_scanned, lines_matched, blocks_read, blocks_skipped, bad_blocks, segments, wal_batches;
	uint64_t delete_id;             /* DELETE_ADD: of the request that was taken */
	int64_t queue_ns, exec_ns;
	int64_t parse_ns, plan_ns, scan_ns, merge_ns;   /* one after the other, after queue_ns */
};

struct lp_engine;
struct lp_query;

struct lp_engine_config {
	uint32_t threads;
	uint32_t max_concurrent;        /* running and waiting; more: -EBUSY */
	int nice;                       /* added to the threads' niceness: ingest goes first */
};

int lp_engine_open(const struct lp_engine_config *config, struct lp_catalog *catalog, struct lp_engine **ret_engine);
/* Cancels what runs, joins the threads. */
void lp_engine_close(struct lp_engine **engine);
/* Queue a query.  Parameters and the text are copied.  -EBUSY: max_concurrent reached (answer 429), -ENOMEM.  Errors of the query itself go
 * through the sink.  The caller holds one reference in *ret_query and drops it with lp_query_unref(). */
int lp_engine_submit(struct lp_engine *engine, const struct lp_query_params *params, const struct lp_query_sink *sink,
		     struct lp_query **ret_query);
void lp_query_cancel(struct lp_query *query);           /* any thread; returns at once */
void lp_query_unref(struct lp_query **query);
/* Valid after sink.end. */
const struct lp_query_stats *lp_query_stats(const struct lp_query *query);

#endif
