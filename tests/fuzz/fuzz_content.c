/* Compressed bodies: never more than the limit comes out, whatever the input promises. */
#include "tests/fuzz/fuzz_ingest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const size_t max[] = { 0, 100, 1 << 20 };
	struct lp_buf out = LP_BUF_INIT;

	for (int enc = LP_ENC_IDENTITY; enc <= LP_ENC_SNAPPY; enc++)
		for (unsigned k = 0; k < LP_ARRAY_LEN(max); k++) {
			int r = lp_content_decode((enum lp_content_encoding)enc, data, size, max[k], &out);

			LP_ASSERT(r == 0 || r == -EBADMSG || r == -E2BIG);
			LP_ASSERT(out.len <= max[k] && (r == 0 || out.len == 0));
		}
	lp_buf_free(&out);
	return 0;
}
