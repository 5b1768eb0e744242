/* OTLP logs, protobuf. */
#include "tests/fuzz/fuzz_ingest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	(void)fuzz_push(LP_PUSH_OTLP_PROTO, data, size, true);
	return 0;
}
