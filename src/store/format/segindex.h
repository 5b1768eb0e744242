/* Segment index: what a .index file holds, and the reader's and the sealer's side of it.
 *
 * Header, 128 bytes:
 *   0 u64 magic "LPSEGI01" | 8 u32 version (1) | 12 u32 incompatible feature bits (0) | 16 u32 compatible feature bits (0)
 *  20 u32 crc32c of bytes 0..127 with this field zero, then of the section table | 24 i64 UTC day | 32 u32 first WAL file
 *  36 u32 last WAL file | 40 u32 level | 44 u32 sections | 48 u64 bytes of this file | 56 u64 bytes of the .chunks file
 *  64 u64 chunks id (as in the head of the .chunks file) | 72 u32 streams | 76 u32 blocks | 80 u32 runs | 84 u32 zero | 88 u64 entries
 *  96 u64 raw bytes (lines without newlines) | 104 i64 least ts | 112 i64 greatest ts | 120 u64 zero
 * 128 section table: sections x { u32 id | u32 flags (1: needed, a reader that does not know it refuses the file) | u64 offset (multiple
 *     of 8) | u64 bytes | u32 crc32c of the section | u32 items }
 *
 * Sections (the bytes between them are zero):
 *   1 names      items x { u32 text offset in section 3, u32 length, u32 first value, u32 values, u32 first restart, u32 zero }; ascending
 *                bytewise; after them one more item with the empty name, whose values are the tenants
 *   2 restarts   u32 offset in section 3 of every 16th value of each name; such a value shares nothing
 *   3 strings    names; values, ascending bytewise per name: varint bytes shared with the value before, varint length of the rest, rest
 *   4 posts      (values + 1) x u32: postings of value v are items posts[v] .. posts[v + 1] of section 5
 *   5 postings   u32 stream, ascending per value
 *   6 streams    { u32 labels offset in section 7, u32 labels bytes, u32 first run, u32 runs, i64 least ts, i64 greatest ts }, labels order
 *   7 labels     canonical label bytes (labels.h), one after another in the order of the streams
 *   8 blocks     { u64 offset in .chunks, u32 bytes, u32 raw bytes (newlines included), u32 entries, u32 first stream, u32 last stream,
 *                u32 first run, i64 least ts, i64 greatest ts }
 *   9 runs       struct lp_run, ordered by block and row; runs of a stream are neighbours and its rows ascend in time
 *  10 grams      optional: a skip filter over line content, grams.h; items are the blocks
 * Other ids are optional unless flagged.
 *
 * .chunks: 0 u64 magic "LPCHNK01" | 8 u32 version (1) | 12 u32 crc32c of bytes 0..63 with this field zero | 16 u64 id (XXH3 over the block
 *     heads in order) | 24 u64 bytes of the file | zero up to 64; then blocks (block.h), one after another.
 *
 * Valid if and only if: header and table crc hold, all sections lie in the file with sizes that follow from the counts, each section's
 * crc holds, and every index and offset stays inside its section.  Opening checks header, table and sizes; accessors check what they touch;
 * lp_segindex_check() checks everything.  The .chunks file belongs to it if and only if id and bytes are equal. */
#ifndef LP_STORE_FORMAT_SEGINDEX_H
#define LP_STORE_FORMAT_SEGINDEX_H

#include "common/buf.h"
#include "store/format/grams.h"

#include <stddef.h>
#include <stdint.h>

#define LP_SEGINDEX_MAGIC UINT64_C(0x313049474553504c)
#define LP_CHUNKS_MAGIC UINT64_C(0x31304b4e4843504c)
#define LP_SEGINDEX_VERSION 1u
#define LP_SEGINDEX_HEAD 128u
#define LP_SEGINDEX_MAX_SECTIONS 64u
#define LP_SEGINDEX_RESTART 16u
#define LP_CHUNKS_HEAD 64u

struct lp_segment_name {
	int64_t day;            /* UTC day number */
	uint32_t first, last;   /* WAL files covered */
	uint32_t level;
};

/* A run: consecutive rows of one stream in one block, ts ascending. */
struct lp_run {
	uint32_t stream;        /* index in this segment, labels order */
	uint32_t block;
	uint32_t first_row;     /* in the block */
	uint32_t rows;
	uint32_t raw_bytes;     /* line bytes without newlines */
	uint32_t text_off;      /* where its text starts in the block's text */
	int64_t min_ts, max_ts;
};
_Static_assert(sizeof(struct lp_run) == 40, "segment index layout");

struct lp_segindex_head {
	uint64_t magic;
	uint32_t version, incompat, compat, crc;
	int64_t day;
	uint32_t first, last, level, sections;
	uint64_t bytes, chunks_bytes, chunks_id;
	uint32_t streams, blocks, runs, zero;
	uint64_t entries, raw_bytes;
	int64_t min_ts, max_ts;
	uint64_t zero2;
};
_Static_assert(sizeof(struct lp_segindex_head) == LP_SEGINDEX_HEAD, "segment index layout");

struct lp_segindex_section {
	uint32_t id, flags;
	uint64_t off, bytes;
	uint32_t crc, items;
};

enum {
	LP_SEGINDEX_NAMES = 1, LP_SEGINDEX_RESTARTS, LP_SEGINDEX_STRINGS, LP_SEGINDEX_POSTS, LP_SEGINDEX_POSTINGS,
	LP_SEGINDEX_STREAMS, LP_SEGINDEX_LABELS, LP_SEGINDEX_BLOCKS, LP_SEGINDEX_RUNS,
	LP_SEGINDEX_GRAMS, LP_SEGINDEX_KNOWN,
	LP_SEGINDEX_OPTIONAL = LP_SEGINDEX_GRAMS        /* this one and those after it may be missing */
};

struct lp_segindex_name {
	uint32_t off, len, first_value, values, first_restart, zero;
};

struct lp_segindex_stream {
	uint32_t labels_off, labels_len, first_run, runs;
	int64_t min_ts, max_ts;
};
_Static_assert(sizeof(struct lp_segindex_stream) == 32, "segment index layout");

struct lp_segindex_block {
	uint64_t off;
	uint32_t bytes, raw_bytes, entries, first_stream, last_stream, first_run;
	int64_t min_ts, max_ts;
};
_Static_assert(sizeof(struct lp_segindex_block) == 48, "segment index layout");

struct lp_chunks_head {
	uint64_t magic;
	uint32_t version, crc;
	uint64_t id, bytes, zero[4];
};
_Static_assert(sizeof(struct lp_chunks_head) == LP_CHUNKS_HEAD, "chunks layout");

void lp_chunks_head_make(struct lp_chunks_head *head, uint64_t id, uint64_t bytes);
int lp_chunks_head_check(const void *p, size_t avail, struct lp_chunks_head *ret_head);        /* -EBADMSG, -EPROTO */

/* ---- reading ---- */

/* A view of index bytes, borrowed; immutable, any thread. */
struct lp_segindex {
	const uint8_t *base;
	struct lp_segindex_head head;
	struct {
		const uint8_t *p;
		uint64_t bytes;
		uint32_t items;
	} sections[LP_SEGINDEX_KNOWN];
	uint32_t names;                 /* the tenants' item not counted */
	uint32_t grams_crc;             /* of section LP_SEGINDEX_GRAMS */
};

/* bytes must be 8-byte aligned and outlive the view.  -EBADMSG; -EPROTO another version, unknown feature or needed section. */
int lp_segindex_open(const void *bytes, size_t len, struct lp_segindex *ret_index);
/* Accessors: -EINVAL an index out of range; -EBADMSG the bytes are wrong. */
int lp_segindex_stream(const struct lp_segindex *index, uint32_t stream, struct lp_segindex_stream *ret, const uint8_t **ret_labels);
int lp_segindex_run(const struct lp_segindex *index, uint32_t run, struct lp_run *ret);
int lp_segindex_block(const struct lp_segindex *index, uint32_t block, struct lp_segindex_block *ret);
/* name == index->names is the tenants' item. */
int lp_segindex_name(const struct lp_segindex *index, uint32_t name, struct lp_segindex_name *ret, const char **ret_s);
int lp_segindex_find_name(const struct lp_segindex *index, const char *s, size_t len, uint32_t *ret_name);     /* or -ENOENT */
/* Appended to scratch. */
int lp_segindex_value(const struct lp_segindex *index, uint32_t name, uint32_t value, struct lp_buf *scratch, const char **ret_s,
		      uint32_t *ret_len);
int lp_segindex_find_value(const struct lp_segindex *index, uint32_t name, const char *s, size_t len, uint32_t *ret_value);
int lp_segindex_postings(const struct lp_segindex *index, uint32_t name, uint32_t value, const uint32_t **ret_streams, uint32_t *ret_n);
/* The skip filter, its checksum not looked at.  -ENOENT there is none that this reader knows; -EBADMSG. */
int lp_segindex_grams(const struct lp_segindex *index, struct lp_grams *ret_grams);
/* Its checksum.  0 or -EBADMSG; only when there is one. */
int lp_segindex_grams_check(const struct lp_segindex *index);
/* Everything that can be known without the blocks.  Appends "prefix: fault" lines; 0 or -EBADMSG, -ENOMEM. */
int lp_segindex_check(const struct lp_segindex *index, const char *prefix, struct lp_buf *report);

/* ---- writing ---- */

struct lp_segindex_input {
	struct lp_segment_name name;
	uint64_t chunks_bytes, chunks_id, entries, raw_bytes;
	int64_t min_ts, max_ts;
	/* labels order; labels_off is filled in here, labels[i] are the bytes (borrowed) */
	struct lp_segindex_stream *streams;
	const uint8_t *const *labels;
	uint32_t n_streams;
	const struct lp_segindex_block *blocks;
	uint32_t n_blocks;
	const struct lp_run *runs;
	uint32_t n_runs;
	const uint8_t *grams;           /* what lp_grams_append() made of the blocks, in order; NULL: no skip filter */
};

/* Append the bytes of an index file to out (empty before).  -ENOMEM; -EBADMSG malformed labels; -EFBIG a section over 4 GiB. */
int lp_segindex_build(const struct lp_segindex_input *input, struct lp_buf *out);

#endif
