/* Live tail: what a tail's query does with rows as they are committed, and the messages that come of it.
 *
 * One lp_tail serves any number of clients that ask the same of the same tenant; it belongs to one thread.  The history that
 * goes before it is an ordinary query (LP_QUERY_TAIL) over a snapshot, which makes the same messages.
 *
 * Messages are JSON texts.  Loki: {"streams":[{"stream":{..},"values":[["ns","line"],..]},..]}, at most LP_TAIL_FRAME_ENTRIES
 * entries each.  The original API: {"type":"log","data":{..}}, one entry each. */
#ifndef LP_QUERY_TAIL_H
#define LP_QUERY_TAIL_H

#include "common/buf.h"
#include "query/discover.h"
#include "store/format/walrec.h"

#define LP_TAIL_FRAME_ENTRIES 100u      /* Loki's */
#define LP_TAIL_FRAME_BYTES (256u << 10)        /* a message that has reached it takes no further entry */

struct lp_tail;

struct lp_tail_spec {
	const char *text;               /* LogQL; original: may be empty for everything */
	size_t text_len;
	const char *tenant;
	size_t tenant_len;
	bool tenants;                   /* `tenant` is a list, as in lp_query_params */
	const struct lp_discover_spec *discover;        /* labels that nobody sent; NULL: none */
	bool original;                  /* the original API's messages and selectors */
	bool categorize;                /* Loki: metadata and parsed labels beside each line instead of in the stream */
};

struct lp_tail_message {
	size_t end;                     /* in text; it begins where the one before ends */
	uint32_t entries;
};

/* An entry of a Loki message, for telling a client what it lost. */
struct lp_tail_entry {
	int64_t ts;
	uint32_t labels_off, labels_len;        /* its stream's JSON object, in text */
};

struct lp_tail_frames {
	struct lp_buf text;             /* messages, one after another */
	struct lp_tail_message *messages;
	size_t n_messages, messages_cap;
	struct lp_tail_entry *entries;  /* Loki only */
	size_t n_entries, entries_cap;
	/* the message that is being written */
	bool original, categorize;
	size_t begin;
	uint32_t open;                  /* entries in it; 0: none is open */
	struct lp_tail_entry stream;    /* of the last entry */
	struct lp_buf scratch;
};

/* -EINVAL not a query, -EOPNOTSUPP one that has no lines, both with the text for the client in error; -ENOMEM.  The spec is copied. */
int lp_tail_open(const struct lp_tail_spec *spec, struct lp_tail **ret_tail, struct lp_buf *error);
void lp_tail_close(struct lp_tail **tail);
/* Are these labels (canonical bytes) of the tail's tenant and selector? */
bool lp_tail_match(const struct lp_tail *tail, const uint8_t *labels, uint32_t len);
/* Run the pipeline over one row of a stream that matches.  1 it was added to frames; 0; -ENOMEM. */
int lp_tail_row(struct lp_tail *tail, const uint8_t *labels, uint32_t len, const struct lp_rows *rows, uint32_t row,
		struct lp_tail_frames *frames);
/* The labels' bytes of the calls before are going away. */
void lp_tail_forget_stream(struct lp_tail *tail);

void lp_tail_frames_init(const struct lp_tail *tail, struct lp_tail_frames *frames);
/* Close the open message.  -ENOMEM: some memory ran out on the way; what is there is whole messages. */
int lp_tail_frames_end(struct lp_tail_frames *frames);
void lp_tail_frames_free(struct lp_tail_frames *frames);

#endif
