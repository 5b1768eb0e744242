/* Between the two halves of sealing: what a WAL file holds (seal_collect.c), and its segments (seal.c). */
#ifndef LP_STORE_SEAL_PRIVATE_H
#define LP_STORE_SEAL_PRIVATE_H

#include "common/buf.h"
#include "store/format/walrec.h"
#include "store/map.h"

/* Text, timestamps and labels stay in the mapped file; this names them.  32 bytes per (record, stream). */
struct lp_seal_batch {
	uint32_t rec_unit;              /* offset of the record / LP_WALREC_ALIGN */
	uint32_t stream_in_rec;
	uint32_t next;                  /* next batch of the stream, arrival order; UINT32_MAX: none */
	uint32_t entries;
	int64_t min_ts, max_ts;
};

struct lp_seal_stream {
	struct lp_hash128 hash;
	const uint8_t *labels;          /* mapped */
	uint32_t labels_len;
	uint32_t first_batch, last_batch;
};

struct lp_seal_input {
	struct lp_map map;
	struct lp_seal_batch *batches;
	struct lp_seal_stream *streams;         /* in order of first use */
	uint32_t *order;                        /* stream numbers in labels order */
	uint32_t n_streams;
	int64_t *days;                          /* ascending: days with entries that are not expired */
	uint32_t n_days;
	uint64_t expired;
};

int lp_seal_collect(const char *wal_path, int64_t oldest_ns, struct lp_seal_input *ret_input);
void lp_seal_input_free(struct lp_seal_input *input);
int lp_seal_batch_rows(const struct lp_seal_input *input, uint32_t batch, struct lp_rows *ret_rows);

#endif
