/* Skip filter: which four-byte pieces ("grams") of text each block of a segment has, so that a search need not read a block that cannot
 * have its needle.  It may say "perhaps" for a block without the needle, and never says "no" for one with it.
 *
 * Section 10 of a segment index:
 *   0 u8 kind (2; others are ignored) | 1 u8 L, 8..16 | 2 u16 zero | 4 u32 blocks | 8 matrix of 2^L rows x blocks bits, without gaps: bit p * blocks + b, counted from
 *   the lowest bit of the first byte, is set when block b has a gram of position p; then zero up to a multiple of 8, and 8 bytes zero.
 *   A row is what a search reads, so it touches a few lines of memory however many blocks there are.
 *
 * Grams of a block are the windows of 4 bytes that begin at an even offset in its text (lines with their newlines), with A-Z folded to a-z.
 * A window of four bytes that are digits, '.' or '/' counts together with its fifth byte when that is one too, and not at all otherwise: four
 * digits are everywhere, and so are pieces of addresses ("122.189.198.238" would be looked for in every block with many addresses).  With w
 * the window and x the four bytes from its second on, both little-endian, the key of a window is w, of such five bytes w ^ (x >> 4); its position is (key * 0x9e3779b1) >> (32 - L), modulo 2^32.
 * Position 0 says nothing (it may be set without a reason).
 * In a block that has the needle, the needle begins at an even or at an odd offset: all windows at the needle's even offsets have their bits
 * set, or all at its odd ones.  So half of the windows are enough, which is what makes the filter cheap at sealing.
 *
 * Gram bitmaps: Manber and Wu, "GLIMPSE" (1994), and signature files; the transposed form: bit-sliced signature files (Roberts 1979). */
#ifndef LP_STORE_FORMAT_GRAMS_H
#define LP_STORE_FORMAT_GRAMS_H

#include "common/buf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LP_GRAMS_KIND 2u
#define LP_GRAMS_HEAD 8u
#define LP_GRAMS_MIN_LOG2 8u
#define LP_GRAMS_MAX_LOG2 16u
#define LP_GRAMS_BLOCK_BYTES ((1u << LP_GRAMS_MAX_LOG2) / 8)

/* ---- writing ---- */

/* Append the bitmap of one block, LP_GRAMS_BLOCK_BYTES, to grams; text is all of its lines, as in struct lp_rows.  -ENOMEM. */
int lp_grams_append(struct lp_buf *grams, const char *text, size_t len);
/* Append the section made of the bitmaps of `blocks` blocks in their order.  Sparse maps are folded to fewer positions.  -ENOMEM. */
int lp_grams_build(const uint8_t *grams, uint32_t blocks, struct lp_buf *out);

/* ---- reading ---- */

struct lp_grams {                       /* borrows the section */
	const uint8_t *bits;
	uint32_t log2, blocks;
};

/* -EBADMSG the sizes do not fit; -EPROTO a kind that this reader does not know. */
int lp_grams_open(const uint8_t *p, uint64_t bytes, uint32_t blocks, struct lp_grams *ret_grams);
/* Words of a set of blocks: bit b % 64 of word b / 64. */
static inline size_t lp_grams_words(uint32_t blocks)
{
	return ((size_t)blocks + 63) / 64;
}
/* Add to `found` (lp_grams_words()) the blocks that may have the needle, in either case of its letters; scratch: as many words. */
void lp_grams_find(const struct lp_grams *grams, const char *needle, size_t len, uint64_t *found, uint64_t *scratch);
/* For verify: has the matrix all grams of this block, and no others? */
bool lp_grams_agree(const struct lp_grams *grams, uint32_t block, const uint8_t bitmap[LP_GRAMS_BLOCK_BYTES]);

#endif
