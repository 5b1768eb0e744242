/* Makes WAL file images for tests: records of given rows, one group each. */
#ifndef LP_TESTS_WALIMAGE_H
#define LP_TESTS_WALIMAGE_H

#include "common/buf.h"
#include "store/format/walfile.h"

struct walimage_row {
	const uint8_t *labels, *meta;
	const char *line;
	uint32_t labels_len, line_len, meta_len;
	int64_t ts;
};

struct walimage {
	struct lp_buf bytes;
	uint64_t salt, sequence, pos;
	uint32_t number;
};

void walimage_start(struct walimage *image, uint32_t number);
/* One record; rows of one stream must be neighbours. */
void walimage_add(struct walimage *image, const struct walimage_row *rows, uint32_t n);
int walimage_write(struct walimage *image, const char *path, size_t padding);
void walimage_free(struct walimage *image);

#endif
