/* One push through a decoder; what it keeps must make a valid record. */
#ifndef LP_TESTS_FUZZ_INGEST_H
#define LP_TESTS_FUZZ_INGEST_H

#include "common/assert.h"
#include "ingest/decode-private.h"
#include "tests/fuzz/fuzz.h"

#include <errno.h>
#include <stdlib.h>

static inline uint32_t fuzz_push(enum lp_push_format format, const uint8_t *data, size_t size, bool avx2)
{
	static const struct lp_push_limits limits = {
		.max_line_bytes = 200, .max_label_names = 4, .max_label_name_bytes = 20, .max_label_value_bytes = 30,
		.max_metadata_bytes = 50, .max_metadata_entries = 3, .oldest_ns = -1000, .newest_ns = INT64_C(2000000000000000000),
		.now_ns = 1,
	};
	struct lp_push_result result = { 0 };
	struct lp_batch *batch;
	uint32_t bytes, crc = 0;

	LP_ASSERT(lp_batch_open(8192, &batch) == 0);
	int r = lp_push_decode_with(format, data, size, "t", 1, &limits, batch, &result, avx2);
	uint32_t want = lp_batch_encoded_bytes(batch);

	LP_ASSERT(r == 0 || (r == -E2BIG && !want));
	LP_ASSERT(r || result.accepted == lp_batch_entries(batch));
	LP_ASSERT(result.message.len <= LP_PUSH_MESSAGE_MAX);
	if (want) {
		void *record;

		LP_ASSERT(want <= 8192 && posix_memalign(&record, 16, want) == 0);
		lp_batch_encode(batch, record, 1, 2, 3);
		LP_ASSERT(lp_walrec_check(record, want, &bytes) == 0 && bytes == want);
		crc = lp_le32((uint8_t *)record + 28);
		free(record);
	}
	lp_batch_close(&batch);
	lp_buf_free(&result.message);
	return crc;
}

#endif
