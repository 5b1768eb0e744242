/* Any bytes as a WAL record, with the checksum put right: what the check lets through must be safe to read. */
#include "common/bytes.h"
#include "common/crc32c.h"
#include "store/format/walrec.h"
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>

static void use(const uint8_t *rec, size_t n, bool checked)
{
	struct lp_walrec_head head;
	volatile uint64_t sum __attribute__((unused)) = 0;

	if (lp_walrec_peek(rec, n, &head) < 0)
		return;
	for (uint32_t s = 0; s < head.streams; s++) {
		struct lp_walrec_stream stream;
		struct lp_rows rows;

		if (lp_walrec_stream(rec, &head, s, &stream) < 0)
			break;
		if (lp_walrec_rows(rec, &head, &stream, &rows) < 0 || !checked)
			continue;
		for (uint32_t i = 0; i < rows.n; i++) {
			uint32_t len;
			const char *line = lp_rows_line(&rows, i, &len);

			sum += (uint64_t)line[len] + (uint64_t)rows.ts[i];
			const uint8_t *meta = lp_rows_meta(&rows, i, &len);

			if (len)
				sum += meta[len - 1];
		}
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint32_t bytes;

	if (size < LP_WALREC_HEAD)
		return 0;
	uint8_t *copy = aligned_alloc(16, LP_ALIGN(size, 16));

	if (!copy)
		return 0;
	memset(copy, 0, LP_ALIGN(size, 16));
	memcpy(copy, data, size);
	size = LP_ALIGN(size, 16);
	lp_put_le32(copy + 4, (uint32_t)size);
	lp_put_le32(copy + 28, 0);
	lp_put_le32(copy + 28, lp_crc32c(0, copy, size));
	use(copy, size, lp_walrec_check(copy, size, &bytes) == 0);
	free(copy);
	return 0;
}
