/* Batch: what a decoder makes of one push body, column by column, ready to become a WAL record.
 *
 * Decoders (src/ingest/decode.h) call begin/end functions in order; the worker then asks for the encoded size,
 * reserves that much of its lane and encodes there.  A batch is reused for the next request: reset keeps its memory
 * up to a bound.  Process: worker; not thread-safe. */
#ifndef LP_INGEST_BATCH_H
#define LP_INGEST_BATCH_H

#include "common/buf.h"
#include "store/format/walrec.h"

struct lp_batch;

int lp_batch_open(size_t max_bytes, struct lp_batch **ret_batch);       /* max_bytes: of the encoded record */
void lp_batch_close(struct lp_batch **batch);
void lp_batch_reset(struct lp_batch *batch);

/* Following entries belong to this label set (canonical bytes, copied).  A set that stands in the batch already
 * may come again. */
int lp_batch_stream(struct lp_batch *batch, const uint8_t *labels, uint32_t labels_len);
/* Room for a line of up to max_len bytes (plus 32 bytes of slack that may be overwritten); fill, then finish
 * with its true length.  NULL: over max_bytes (-E2BIG from then on) or out of memory.  The pointer is valid until the next call. */
char *lp_batch_line(struct lp_batch *batch, size_t max_len);
int lp_batch_entry(struct lp_batch *batch, int64_t ts_ns, uint32_t line_len, const uint8_t *meta, uint32_t meta_len);
/* The same with a copy of the line. */
int lp_batch_entry_copy(struct lp_batch *batch, int64_t ts_ns, const char *line, uint32_t line_len,
			const uint8_t *meta, uint32_t meta_len);

uint32_t lp_batch_entries(const struct lp_batch *batch);
uint64_t lp_batch_text_bytes(const struct lp_batch *batch);     /* line bytes without the newlines */
/* Canonical labels and hash of the batch's stream `i`, valid until the batch is changed; NULL behind the last. */
const uint8_t *lp_batch_labels(const struct lp_batch *batch, uint32_t i, uint32_t *ret_len, uint64_t *ret_hash);
uint64_t lp_batch_metadata_bytes(const struct lp_batch *batch); /* as stored */
/* Size of the record, 0 when there is no entry. */
uint32_t lp_batch_encoded_bytes(const struct lp_batch *batch);
/* Write the record (exactly lp_batch_encoded_bytes()) to `to`, 16-byte aligned, crc included. */
void lp_batch_encode(const struct lp_batch *batch, void *to, uint64_t epoch, uint16_t lane, uint64_t pos);

#endif
