/* Both JSON pushes; the vector and the plain scanner must come to the same record. */
#include "tests/fuzz/fuzz_ingest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	for (unsigned k = 0; k < 2; k++) {
		enum lp_push_format format = k ? LP_PUSH_ORIGINAL_JSON : LP_PUSH_LOKI_JSON;

		LP_ASSERT(fuzz_push(format, data, size, true) == fuzz_push(format, data, size, false));
	}
	return 0;
}
