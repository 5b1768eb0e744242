/* What the decoders share: the verdict on streams and entries, and its texts. */
#ifndef LP_INGEST_DECODE_PRIVATE_H
#define LP_INGEST_DECODE_PRIVATE_H

#include "common/arena.h"
#include "ingest/batch-private.h"
#include "ingest/decode.h"
#include "ingest/json_scan.h"

#include <string.h>

#define LP_PUSH_MESSAGE_MAX 4096u
#define LP_PUSH_ERROR_TEXT 1024u        /* one text in the message */
#define LP_PUSH_LIMITED_NAMED 10u       /* entries over a stream's rate that are named, as Loki does by default */
#define LP_PUSH_ERROR_KINDS 8u          /* different texts that are kept */
#define LP_PUSH_MAX_PAIRS 4096u         /* labels or metadata of one stream or entry, whatever the limits say */

struct lp_pairs {
	struct lp_label *v;
	uint32_t n, cap;
	uint64_t bytes;                 /* names and values, as sent */
	uint64_t total;                 /* pairs, as sent */
};

struct lp_push {
	enum lp_push_format format;
	bool allow_avx2;
	const struct lp_push_limits *limits;
	struct lp_batch *batch;
	struct lp_push_result *result;
	const char *tenant;
	size_t tenant_len;
	struct lp_arena arena;          /* unescaped names and values of the current stream */
	struct lp_pairs labels, meta;
	struct lp_buf canonical, meta_bytes, label_text;
	const char *label_string;       /* of the current stream, between read_labels and begin_stream; NULL: none */
	size_t label_string_len;
	uint64_t streams;               /* seen in the body */
	int64_t nows;                   /* how often lp_push_now() was asked */
	/* current stream */
	bool stream_ok;
	enum lp_discard stream_reason;  /* when it is refused */
	uint64_t stream_entries;
	char stream_error[LP_PUSH_ERROR_TEXT];
	uint64_t limited;               /* entries over its rate; Loki */
	struct lp_buf limited_text;     /* of the current stream, or of the last one that had some */
	/* refusals of the whole push */
	struct {
		uint64_t n;
		char text[LP_PUSH_ERROR_TEXT];
	} errors[LP_PUSH_ERROR_KINDS];
	unsigned n_errors;
	uint64_t more_errors;
	char fatal[LP_PUSH_ERROR_TEXT];
};

/* Decoders of one format: 0, or -EBADMSG with push->fatal (the body is refused), -ENOMEM, -E2BIG. */
int lp_push_loki_json(struct lp_push *push, const void *body, size_t len);
int lp_push_original_json(struct lp_push *push, const void *body, size_t len);
int lp_push_loki_proto(struct lp_push *push, const void *body, size_t len);
int lp_push_prom_json(struct lp_push *push, const void *body, size_t len);
int lp_push_otlp_proto(struct lp_push *push, const void *body, size_t len);
int lp_push_otlp_json(struct lp_push *push, const void *body, size_t len);
int lp_push_original_msgpack(struct lp_push *push, const void *body, size_t len);

/* -EBADMSG with the text. */
int lp_push_fatal(struct lp_push *push, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
int lp_push_json_error(struct lp_push *push, const struct lp_json *js, int error);

/* Collect a pair; pointers must live until the stream (entry) is ended.  Bytes that are no UTF-8 become U+FFFD. */
int lp_push_label(struct lp_push *push, const char *name, size_t name_len, const char *value, size_t value_len);
int lp_push_meta(struct lp_push *push, const char *name, size_t name_len, const char *value, size_t value_len);

/* A name that a label may have: a.b becomes a_b, 1a key_1a.  The arena's memory when it changes.  -ENOMEM. */
int lp_push_sanitise(struct lp_push *push, const char **name, size_t *n);

/* Sort pairs by name; of equal names the last stays.  -ENOMEM. */
int lp_push_keep_last(struct lp_pairs *pairs);

/* A stream begins: judge the labels collected since the last stream.  `error` not NULL: the labels were refused before,
 * with this text.  last_wins: a repeated name replaces the earlier one (JSON objects). */
int lp_push_stream(struct lp_push *push, const char *error, bool last_wins);
/* The line is what was written last to lp_batch_line()'s memory; metadata is what was collected since the last entry.
 * 0 kept or refused and counted; -ENOMEM, -E2BIG. */
int lp_push_entry(struct lp_push *push, int64_t ts_ns, size_t line_len);
int lp_push_entry_copy(struct lp_push *push, int64_t ts_ns, const char *line, size_t line_len);
/* A timestamp that int64 nanoseconds cannot hold. */
void lp_push_entry_out_of_time(struct lp_push *push, bool future);
/* The stream is complete. */
void lp_push_stream_end(struct lp_push *push);
/* A JSON string at the cursor becomes the next line, or is only checked when the stream is refused. */
int lp_push_json_line(struct lp_push *push, struct lp_json *js, size_t *ret_len);
/* A JSON object of strings becomes metadata. */
int lp_push_json_metadata(struct lp_push *push, struct lp_json *js, bool loki);

/* A stream begins whose labels are Loki's label string. */
int lp_push_label_string(struct lp_push *push, const char *s, size_t n);

/* What differs between the JSON pushes of streams. */
struct lp_json_form {
	const char *labels_key, *entries_key;
	int (*read_labels)(struct lp_push *push, struct lp_json *js);
	int (*begin_stream)(struct lp_push *push);
	int (*read_entry)(struct lp_push *push, struct lp_json *js);
};
/* An entry that is an object with "ts", "line" and what `read_member` knows besides; js is at a member's value. */
struct lp_json_entry {
	int64_t ts;
	bool now;                       /* it has none: lp_push_now() */
	size_t line_len;
	bool out_of_time, future;       /* int64 nanoseconds cannot hold it */
};
typedef int lp_json_member(struct lp_push *push, struct lp_json *js, const char *key, size_t key_len, struct lp_json_entry *entry);
/* `entry`: what counts for one without a timestamp. */
int lp_push_json_entry(struct lp_push *push, struct lp_json *js, struct lp_json_entry entry, lp_json_member *read_member);
static inline bool lp_json_is(const char *key, size_t len, const char *word)
{
	return len == strlen(word) && !memcmp(key, word, len);
}
int lp_push_json_body(struct lp_push *push, const struct lp_json_form *form, const void *body, size_t len);

/* Now, and a nanosecond later each time: entries without a time of their own stay apart, and in their order. */
static inline int64_t lp_push_now(struct lp_push *push)
{
	return push->limits->now_ns + push->nows++;
}
/* RFC 3339: the original API's timestamps.  -EINVAL it is none, which means now; -ERANGE beyond int64 nanoseconds. */
int lp_push_original_ts(const char *s, size_t n, int64_t *ret_ts, bool *ret_future);

/* The whole of lp_push_decode() with a choice of scanner, for tests. */
int lp_push_decode_with(enum lp_push_format format, const void *body, size_t len, const char *tenant, size_t tenant_len,
			const struct lp_push_limits *limits, struct lp_batch *batch, struct lp_push_result *result, bool allow_avx2);

/* Label string to pairs, in order, for `add` (0 or negative errno; NULL: check only).  Unescaped values lie in the arena.
 * -EINVAL with Loki's text in ret_error (may be NULL), -ENOMEM, or what `add` returned. */
struct lp_label_sink {
	int (*add)(void *ctx, const char *name, size_t name_len, const char *value, size_t value_len);
	void *ctx;
	struct lp_arena *arena;
};
int lp_label_string_scan(const char *s, size_t n, const struct lp_label_sink *sink, struct lp_buf *ret_error);

static inline bool lp_push_is_original(const struct lp_push *push)
{
	return push->format == LP_PUSH_ORIGINAL_JSON || push->format == LP_PUSH_ORIGINAL_MSGPACK;
}

#endif
