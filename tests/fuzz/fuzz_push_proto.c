/* Loki's protobuf push, after the snappy block was undone. */
#include "tests/fuzz/fuzz_ingest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	(void)fuzz_push(LP_PUSH_LOKI_PROTO, data, size, true);
	return 0;
}
