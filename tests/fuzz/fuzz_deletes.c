/* The list of delete requests, from damaged bytes: refused, or every request lies inside. */
#include "store/deletes.h"
#include "tests/fuzz/fuzz.h"

#include "common/bytes.h"
#include "common/crc32c.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct lp_deletes deletes;
	uint8_t *p = malloc(size + 1);

	if (!p)
		return 0;
	memcpy(p, data, size);
	if (size >= 24) {               /* a checksum that holds lets the rest be reached */
		uint32_t crc;

		memset(p + 20, 0, 4);
		crc = lp_crc32c(0, p, size);
		memcpy(p + 20, &crc, 4);
	}
	if (lp_deletes_decode(p, size, &deletes) == 0) {
		for (uint32_t i = 0; i < deletes.n; i++)
			if (deletes.v[i].tenant[deletes.v[i].tenant_len] || deletes.v[i].query[deletes.v[i].query_len])
				abort();
		lp_deletes_free(&deletes);
	}
	free(p);
	return 0;
}
