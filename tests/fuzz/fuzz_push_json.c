/* The three JSON pushes of streams; the vector and the plain scanner must come to the same record. */
#include "tests/fuzz/fuzz_ingest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const enum lp_push_format formats[] = { LP_PUSH_LOKI_JSON, LP_PUSH_ORIGINAL_JSON, LP_PUSH_PROM_JSON };

	for (unsigned k = 0; k < LP_ARRAY_LEN(formats); k++)
		LP_ASSERT(fuzz_push(formats[k], data, size, true) == fuzz_push(formats[k], data, size, false));
	return 0;
}
