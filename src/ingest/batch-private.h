/* Inside of a batch: for the decoders' inner loops and the tests only. */
#ifndef LP_INGEST_BATCH_PRIVATE_H
#define LP_INGEST_BATCH_PRIVATE_H

#include "ingest/batch.h"

#define LP_BATCH_SLACK 32u              /* bytes behind a line that a decoder may overwrite */
#define LP_BATCH_KEEP_BYTES ((size_t)4 << 20)   /* memory per column that a reset keeps */

struct lp_column {
	uint8_t *p;
	size_t len, cap;
};

struct lp_batch {
	size_t max_bytes;
	int error;                      /* sticky: -E2BIG or -ENOMEM */
	uint32_t entries, cap_entries;
	int64_t *ts;
	uint32_t *ends, *meta_ends;     /* meta_ends is kept only with has_meta */
	bool has_meta;
	size_t reserved;                /* room of the line that is being written */
	struct lp_column text, meta, labels;
	struct lp_walrec_stream *streams;
	uint32_t n_streams, cap_streams;
};

/* Offset where the text would stand with this many entries. */
static inline size_t lp_batch_text_off(const struct lp_batch *batch, uint32_t entries, bool has_meta)
{
	size_t n = LP_WALREC_HEAD + (size_t)batch->n_streams * LP_WALREC_STREAM + batch->labels.len;

	n = LP_ALIGN(n, 8) + (size_t)entries * (has_meta ? 16 : 12);
	return LP_ALIGN(n, 8);
}

/* The longest line without metadata that still fits; 0 as well when not even an empty one does. */
static inline size_t lp_batch_room(const struct lp_batch *batch)
{
	size_t used = lp_batch_text_off(batch, batch->entries + 1, batch->has_meta) + batch->text.len + batch->meta.len + 1;

	return used >= batch->max_bytes ? 0 : batch->max_bytes - used;
}

#endif
