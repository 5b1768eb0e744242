/* OTLP logs, protobuf and JSON; the vector and the plain JSON scanner must come to the same record. */
#include "tests/fuzz/fuzz_ingest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	(void)fuzz_push(LP_PUSH_OTLP_PROTO, data, size, true);
	LP_ASSERT(fuzz_push(LP_PUSH_OTLP_JSON, data, size, true) == fuzz_push(LP_PUSH_OTLP_JSON, data, size, false));
	return 0;
}
