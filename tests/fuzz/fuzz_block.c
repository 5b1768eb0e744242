/* Any bytes as a block: decoding must refuse them or give rows whose accessors are safe.  The checksums are put right first, so that
 * mutations reach the decoders behind them. */
#include "common/bytes.h"
#include "common/crc32c.h"
#include "store/format/block.h"
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>

static struct lp_block_decoder *decoder;

static void fix_crcs(uint8_t *p, size_t n)
{
	static const unsigned len_at[4] = { 20, 28, 32, 36 }, crc_at[4] = { 44, 48, 52, 56 };
	size_t off = LP_BLOCK_HEAD;

	for (unsigned i = 0; i < 4; i++) {
		uint32_t len = lp_le32(p + len_at[i]);

		if (len > n - off)
			return;
		lp_put_le32(p + crc_at[i], lp_crc32c(0, p + off, len));
		off += len;
	}
	lp_put_le32(p + 4, lp_crc32c(0, p + 8, LP_BLOCK_HEAD - 8));
}

static void use(const struct lp_rows *rows)
{
	volatile uint64_t sum __attribute__((unused)) = 0;

	for (uint32_t i = 0; i < rows->n; i++) {
		uint32_t len;
		const char *line = rows->text ? lp_rows_line(rows, i, &len) : NULL;

		if (line)
			sum += (uint64_t)line[len] + (uint64_t)line[len / 2];
		const uint8_t *meta = lp_rows_meta(rows, i, &len);

		if (len)
			sum += meta[len - 1];
		sum += rows->ts ? (uint64_t)rows->ts[i] : 0;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct lp_rows rows;
	uint8_t *copy;

	if (!decoder && lp_block_decoder_open(&decoder) < 0)
		abort();
	if (lp_block_decode(decoder, data, size, 7, &rows) == 0)
		use(&rows);
	if (size < LP_BLOCK_HEAD || !(copy = malloc(size)))
		return 0;
	memcpy(copy, data, size);
	fix_crcs(copy, size);
	for (unsigned want = 1; want < 8; want++)
		if (lp_block_decode(decoder, copy, size, want, &rows) == 0)
			use(&rows);
	free(copy);
	return 0;
}
