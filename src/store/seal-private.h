/* Between the two halves of sealing: what a WAL file holds (seal_collect.c), and its segments (seal.c). */
#ifndef LP_STORE_SEAL_PRIVATE_H
#define LP_STORE_SEAL_PRIVATE_H

#include "common/buf.h"
#include "store/format/walrec.h"
#include "store/map.h"
#include "store/seal.h"

/* Text, timestamps and labels stay in the mapped file; this names them.  72 bytes per (record, stream). */
struct lp_seal_batch {
	struct lp_rows rows;            /* mapped */
	uint32_t next;                  /* next batch of the stream, arrival order; UINT32_MAX: none */
};

struct lp_seal_stream {
	struct lp_hash128 hash;
	const uint8_t *labels;          /* mapped */
	uint32_t labels_len;
	uint32_t first_batch, last_batch;
	uint32_t rows;                  /* of all batches */
};

struct lp_seal_row {
	int64_t ts;
	uint32_t batch, row;
};

/* The rows of one stream on one UTC day. */
struct lp_seal_piece {
	int64_t day;
	uint32_t stream, first, n;      /* rows[first..first + n) */
};

struct lp_seal_input {
	struct lp_map map;
	struct lp_seal_batch *batches;
	struct lp_seal_stream *streams;         /* in order of first use */
	uint32_t *order;                        /* stream numbers in labels order */
	uint32_t n_streams;
	uint64_t total_rows;
	uint64_t damaged_bytes;                 /* that the walk stepped over */
	/* lp_seal_sort() */
	struct lp_seal_row *rows;               /* stream by stream in labels order, by time, without repeats */
	struct lp_seal_piece *pieces;           /* by day, then in labels order */
	uint32_t n_rows, n_pieces;
	uint64_t expired, duplicates;
};

/* One row's bytes in the mapped file. */
struct lp_seal_text {
	const char *line;               /* a newline follows */
	const uint8_t *meta;
	uint32_t len, meta_len;
};

/* seal_collect.c: what the file holds. */
int lp_seal_collect(const char *wal_path, struct lp_seal_input *ret_input);
void lp_seal_input_free(struct lp_seal_input *input);
/* seal_sort.c: sort, drop rows older than oldest_ns and repeats (equal stream, time, line and metadata: the first stays), cut into days. */
int lp_seal_sort(struct lp_seal_input *input, int64_t oldest_ns);

/* seal.c: write one segment.  fill() hands its rows over with the two functions behind: streams in labels order, the rows of each by
 * time.  Labels are borrowed until the segment is written.  A segment without a row is not made: -ENODATA. */
struct lp_segout;
typedef int lp_segout_fill(struct lp_segout *out, void *arg);
int lp_segout_open(const struct lp_seal_config *config, struct lp_segout **ret_out);
void lp_segout_close(struct lp_segout **out);
int lp_segout_write(struct lp_segout *out, const struct lp_segment_name *name, lp_segout_fill *fill, void *arg, struct lp_seal_result *result);
void lp_segout_stream(struct lp_segout *out, const uint8_t *labels, uint32_t len);
int lp_segout_row(struct lp_segout *out, int64_t ts, const struct lp_seal_text *text);

/* False: the row reaches beyond the file.  It was checked before, so a page of it could not be read since. */
static inline bool lp_seal_text(const struct lp_seal_input *input, const struct lp_seal_row *row, struct lp_seal_text *ret)
{
	const struct lp_rows *rows = &input->batches[row->batch].rows;
	const uint8_t *end = input->map.p + input->map.len;

	ret->line = lp_rows_line(rows, row->row, &ret->len);
	ret->meta = lp_rows_meta(rows, row->row, &ret->meta_len);
	return (size_t)(end - (const uint8_t *)ret->line) > ret->len && (!ret->meta_len || (size_t)(end - ret->meta) >= ret->meta_len);
}

#endif
