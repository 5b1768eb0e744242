/* WAL record: one push, as a worker encodes it into its lane and as it stands in the WAL file.
 *
 *   0 u32 magic "LPR1" | 4 u32 bytes, whole record, multiple of 16 | 8 u64 epoch | 16 u64 lane position
 *  24 u16 lane | 26 u16 kind (1 = batch) | 28 u32 crc32c of the record with this field zero
 *  32 u32 streams | 36 u32 entries | 40 i64 least ts | 48 i64 greatest ts | 56 u32 text bytes | 60 u32 flags (1 = metadata)
 *  64 streams x 64 bytes:
 *       0 u64 u64 hash of the labels (lp_labels_hash) | 16 u32 label bytes | 20 u32 offset of the labels from the
 *       record's start | 24 u32 first entry | 28 u32 entries | 32 i64 least ts | 40 i64 greatest ts | 48 u32 text
 *       bytes of this stream (newlines included) | 52 u32 flags (1: ts ascend) | 56 u64 zero
 *     labels, one after another (canonical bytes, labels.h); zero padding to 8
 *     i64 ts[entries]
 *     u32 ends[entries]: end of each line in the text, its newline included
 *     u32 meta_ends[entries], only with flag 1: end of each entry's metadata bytes (labels.h); then zero padding to 8
 *     text: every line followed by a newline
 *     metadata bytes, only with flag 1
 *     zero padding to 16
 *
 * Valid if and only if magic, kind and crc hold, all offsets lie inside the record, entries of the streams are
 * consecutive and complete, ends ascend by at least 1 and end at text bytes, and the labels are canonical.
 * lp_walrec_check() tests all of it; after it the accessors need no further checks.
 * An entry's text may contain newlines and NULs: only ends[] says where it stops. */
#ifndef LP_STORE_FORMAT_WALREC_H
#define LP_STORE_FORMAT_WALREC_H

#include "common/bytes.h"
#include "store/format/labels.h"

#define LP_WALREC_MAGIC UINT32_C(0x3152504c)    /* "LPR1" */
#define LP_WALREC_ALIGN 16u
#define LP_WALREC_HEAD 64u
#define LP_WALREC_STREAM 64u
#define LP_WALREC_KIND_BATCH 1u
#define LP_WALREC_HAS_METADATA 1u
#define LP_WALREC_SORTED 1u
#define LP_WALREC_MAX_BYTES UINT32_C(0x40000000)        /* 1 GiB; lanes are smaller */

struct lp_walrec_head {
	uint32_t magic, bytes;
	uint64_t epoch, pos;
	uint16_t lane, kind;
	uint32_t crc, streams, entries;
	int64_t min_ts, max_ts;
	uint32_t text_bytes, flags;
};
_Static_assert(sizeof(struct lp_walrec_head) == LP_WALREC_HEAD, "WAL record layout");

struct lp_walrec_stream {
	struct lp_hash128 hash;
	uint32_t labels_bytes, labels_off, first_entry, entries;
	int64_t min_ts, max_ts;
	uint32_t text_bytes, flags;
	uint64_t zero;
};
_Static_assert(sizeof(struct lp_walrec_stream) == LP_WALREC_STREAM, "WAL record layout");

/* Rows of one stream as they stand in a record or in a decoded block: what the query engine scans.
 * Line i is text[start(i) .. ends[i] - 1), start(i) = i ? ends[i-1] : base; text[ends[i] - 1] is '\n'. */
struct lp_rows {
	uint32_t n;
	uint32_t base;                  /* start of row 0 in text */
	const int64_t *ts;
	const uint32_t *ends;
	const char *text;
	const uint32_t *meta_ends;      /* NULL: no entry has metadata */
	uint32_t meta_base;
	const uint8_t *meta;
	bool sorted;                    /* ts ascend (not strictly) */
};

static inline const char *lp_rows_line(const struct lp_rows *rows, uint32_t i, uint32_t *ret_len)
{
	uint32_t start = i ? rows->ends[i - 1] : rows->base;

	*ret_len = rows->ends[i] - 1 - start;
	return rows->text + start;
}

static inline const uint8_t *lp_rows_meta(const struct lp_rows *rows, uint32_t i, uint32_t *ret_len)
{
	if (!rows->meta_ends) {
		*ret_len = 0;
		return NULL;
	}
	uint32_t start = i ? rows->meta_ends[i - 1] : rows->meta_base;

	*ret_len = rows->meta_ends[i] - start;
	return rows->meta + start;
}

/* Full check of a record in memory (8-byte aligned); `avail` bytes may be read.  -EBADMSG with nothing said,
 * or 0 and *ret_bytes its length.  Cost: one pass of crc32c and one over ends[]. */
int lp_walrec_check(const void *rec, size_t avail, uint32_t *ret_bytes);
/* Header plausibility only (magic, length, alignment): for walking committed bytes whose crc was checked before. */
int lp_walrec_peek(const void *rec, size_t avail, struct lp_walrec_head *ret_head);
/* Directory entry s of a record whose head was peeked.  Bounds of the entry and its columns are checked. */
int lp_walrec_stream(const void *rec, const struct lp_walrec_head *head, uint32_t s, struct lp_walrec_stream *ret);
int lp_walrec_rows(const void *rec, const struct lp_walrec_head *head, const struct lp_walrec_stream *stream,
		   struct lp_rows *ret_rows);

#endif
