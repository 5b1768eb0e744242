/* Decoders: request body in, batch and verdict out.  No HTTP types, no shared memory, no clock of their own.
 *
 * Hostile input is bounded by `limits`, refused with a text that names what is wrong, and good entries of a
 * partly bad push are kept (feature reference 1.2, 2.4, 2.6). */
#ifndef LP_INGEST_DECODE_H
#define LP_INGEST_DECODE_H

#include "ingest/batch.h"

enum lp_push_format {
	LP_PUSH_ORIGINAL_JSON,  /* POST /ingest, application/json */
	LP_PUSH_ORIGINAL_MSGPACK, /* POST /ingest, application/msgpack */
	LP_PUSH_LOKI_JSON,      /* POST /loki/api/v1/push, application/json */
	LP_PUSH_LOKI_PROTO,     /* POST /loki/api/v1/push, protobuf; the snappy block has been undone already */
	LP_PUSH_OTLP_PROTO,     /* POST /otlp/v1/logs, protobuf */
	LP_PUSH_OTLP_JSON,      /* POST /otlp/v1/logs, application/json */
	LP_PUSH_PROM_JSON,      /* POST /api/prom/push, application/json; its protobuf is LP_PUSH_LOKI_PROTO */
};

enum lp_content_encoding { LP_ENC_IDENTITY, LP_ENC_GZIP, LP_ENC_DEFLATE, LP_ENC_ZSTD, LP_ENC_SNAPPY };

/* Why a line was discarded: same order as LP_STAT_DISCARD_LINE_TOO_LONG .. in shm/stat.def. */
enum lp_discard {
	LP_DISCARD_LINE_TOO_LONG, LP_DISCARD_TOO_OLD, LP_DISCARD_TOO_NEW, LP_DISCARD_INVALID_LABELS,
	LP_DISCARD_MISSING_LABELS, LP_DISCARD_MAX_LABEL_NAMES, LP_DISCARD_LABEL_NAME_TOO_LONG,
	LP_DISCARD_LABEL_VALUE_TOO_LONG, LP_DISCARD_DUPLICATE_LABEL_NAMES, LP_DISCARD_METADATA_TOO_LARGE,
	LP_DISCARD_METADATA_TOO_MANY, LP_DISCARD_PER_STREAM_RATE_LIMIT, LP_DISCARD_STREAM_LIMIT, LP_DISCARD_REASONS
};

/* Where attributes of OTLP logs go: the first rule that names one counts; without any it is structured metadata. */
enum lp_otlp_action { LP_OTLP_INDEX_LABEL, LP_OTLP_METADATA, LP_OTLP_DROP };
struct lp_otlp_rule {
	enum lp_otlp_action action;             /* a label: of resources only */
	const char *const *names;
	size_t n_names;
	bool (*match)(const void *ctx, const char *s, size_t n);        /* or this; NULL: names */
	const void *ctx;
};
struct lp_otlp_rules {
	bool ignore_defaults;                   /* else the default attributes of resources are labels before any rule is asked */
	const struct lp_otlp_rule *resource, *scope, *log;
	size_t n_resource, n_scope, n_log;
};

struct lp_push_limits {
	uint32_t max_line_bytes;                /* 0: none */
	bool truncate_lines;                    /* longer ones are cut there instead of refused */
	uint32_t max_label_names;
	uint32_t max_label_name_bytes;
	uint32_t max_label_value_bytes;
	uint32_t max_metadata_bytes;            /* per entry */
	uint32_t max_metadata_entries;
	int64_t oldest_ns;                      /* older entries are refused (retention); INT64_MIN: none */
	int64_t newest_ns;                      /* later entries are refused; INT64_MAX: none */
	int64_t now_ns;
	uint64_t stream_rate;                   /* bytes per second, for the text */
	/* May `bytes` more of the stream come now?  NULL: any. */
	bool (*take_stream)(void *ctx, uint64_t stream_hash, uint64_t bytes);
	/* May lines of this stream come at all, as far as the number of its tenant's streams goes?  NULL: any. */
	bool (*admit_stream)(void *ctx, const char *tenant, size_t tenant_len, const struct lp_hash128 *stream);
	void *take_ctx;                         /* of both */
	const struct lp_otlp_rules *otlp;       /* NULL: none */
	bool unknown_service;                   /* a stream without labels is {service_name="unknown_service"}, as in Loki; not the original API's */
};

struct lp_push_result {
	int status;                             /* HTTP status to answer once the batch (if any) is committed: 204/200, 400, 413, 422, 429 */
	uint32_t accepted;                      /* entries in the batch */
	uint64_t discarded[LP_DISCARD_REASONS]; /* lines */
	struct lp_buf message;                  /* text for a status >= 400; bounded; owned by the caller */
};

/* Decode one body into an empty batch.  `tenant` becomes part of every stream's identity.  The body needs no
 * slack behind it.  Returns 0 when result is filled in (also for refused bodies), -ENOMEM, or -E2BIG when the
 * record would pass the batch's limit (answer 413). */
int lp_push_decode(enum lp_push_format format, const void *body, size_t len, const char *tenant, size_t tenant_len,
		   const struct lp_push_limits *limits, struct lp_batch *batch, struct lp_push_result *result);

/* Name of a Content-Encoding header value ("", "gzip", ...); -EINVAL unknown. */
int lp_content_encoding_parse(const char *s, size_t n, enum lp_content_encoding *ret_enc);
/* Undo a Content-Encoding (or the snappy block of a protobuf push: raw block, not framed) into `out`, which is
 * reset first.  -E2BIG more than max_bytes come out (nothing beyond it is written); -EBADMSG corrupt; -ENOMEM. */
int lp_content_decode(enum lp_content_encoding enc, const void *p, size_t n, size_t max_bytes, struct lp_buf *out);

/* {a="b", c="d"}: parse Loki's label string; errors are Loki's texts in `ret_error` (bounded, may be NULL).
 * On success the canonical bytes are appended to out.  -EINVAL. */
int lp_label_string_parse(const char *s, size_t n, const char *tenant, size_t tenant_len, struct lp_buf *out,
			  struct lp_buf *ret_error);

#endif
