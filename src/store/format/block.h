/* Block: about 1 MiB of raw lines of one or many streams, as columns in separate zstd frames.
 *
 * Stands in a .chunks file at the offset that the index names.
 *   0 u32 magic "LPB1" | 4 u32 crc32c of bytes 8..63 | 8 u32 entries | 12 u32 raw text bytes (lines with their newline)
 *  16 u8 text encoding (0 stored, 1 zstd) | 17 u8 ts encoding (1: decimal scale, delta, zigzag varint, then zstd if smaller) | 18 u8 flags (1 = metadata,
 *     2 = inner newlines) | 19 u8 power of ten taken out of the timestamps | 20 u32 ts bytes | 24 u32 ts raw bytes (varints)
 *  28 u32 text bytes | 32 u32 newline-list bytes | 36 u32 meta bytes | 40 u32 meta raw bytes | 44 u32 crc ts | 48 u32 crc text |
 *  52 u32 crc newline list | 56 u32 crc meta | 60 u32 zero
 *  64 ts column | text column | newline list | meta column        (lengths above)
 *
 * text: every line followed by a newline.  newline list: positions of newlines that do not end a line, varint deltas
 * (the first from 0, then at least 1).
 * meta: varint bytes of each entry's metadata, all entries; then the metadata bytes, all entries; zstd when smaller (raw bytes != bytes).
 * Valid if and only if the header's and the column's crc hold and every count comes out exactly. */
#ifndef LP_STORE_FORMAT_BLOCK_H
#define LP_STORE_FORMAT_BLOCK_H

#include "common/buf.h"
#include "store/format/walrec.h"

#define LP_BLOCK_HEAD 64u
#define LP_BLOCK_MAX_RAW UINT32_C(0x10000000)   /* refuse to decode more: 256 MiB */

/* One encoder or decoder per thread: they hold zstd contexts and scratch memory. */
struct lp_block_encoder;
struct lp_block_decoder;
/* level: 0 stored, 1 fast (what sealing takes), more: zstd's level, for compaction. */
int lp_block_encoder_open(int level, struct lp_block_encoder **ret_encoder);
void lp_block_encoder_close(struct lp_block_encoder **encoder);
int lp_block_decoder_open(struct lp_block_decoder **ret_decoder);
void lp_block_decoder_close(struct lp_block_decoder **decoder);

/* Append the encoded block of these rows to out.  -ENOMEM, -EINVAL. */
int lp_block_encode(struct lp_block_encoder *encoder, const struct lp_rows *rows, struct lp_buf *out);

struct lp_block_peek {
	uint32_t entries, raw_bytes;    /* raw: text with newlines */
	uint64_t bytes;                 /* the whole block, encoded */
	uint32_t ts_bytes, text_bytes, inner_bytes, meta_bytes;
};
/* Check the header alone and say what it promises; lp_block_decode() then delivers exactly that or fails.  -EBADMSG. */
int lp_block_peek(const void *p, size_t avail, struct lp_block_peek *ret_peek);

#define LP_BLOCK_WANT_TS 1u
#define LP_BLOCK_WANT_TEXT 2u
#define LP_BLOCK_WANT_META 4u
/* Leave the checksums of the wanted columns out: the caller found them right before in these same bytes, which cannot have changed
 * since.  Every other check stays: bytes that did change are refused or decode to something else, within bounds. */
#define LP_BLOCK_CHECKED 8u
/* Decode the wanted columns of the block at p.  The rows point into the decoder's memory, valid until its next decode;
 * columns not wanted are NULL.  (ends come with the text, and 64 readable zero bytes behind it; sorted comes with ts.)  -EBADMSG naming nothing: skip and count. */
int lp_block_decode(struct lp_block_decoder *decoder, const void *p, size_t avail, unsigned want, struct lp_rows *ret_rows);

#endif
