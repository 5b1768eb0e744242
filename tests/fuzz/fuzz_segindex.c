/* Any bytes as a segment index, with the header's checksum and length put right: no access may leave the file. */
#include "common/crc32c.h"
#include "store/format/segindex.h"
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>

static void use_grams(const struct lp_segindex *index)
{
	static const char needle[] = "level=error code 123456789";
	struct lp_grams grams;

	if (lp_segindex_grams(index, &grams) < 0)
		return;
	uint64_t *found = calloc(2, (lp_grams_words(grams.blocks) + 1) * sizeof *found);

	for (size_t len = 0; found && len < sizeof needle; len++)
		lp_grams_find(&grams, needle, len, found, found + lp_grams_words(grams.blocks));
	free(found);
}

static void use(const struct lp_segindex *index)
{
	struct lp_buf scratch = LP_BUF_INIT, report = LP_BUF_INIT;
	const uint8_t *labels;
	const uint32_t *streams;
	const char *s;
	uint32_t n;
	volatile uint64_t sum __attribute__((unused)) = 0;

	for (uint32_t i = 0; i < index->head.streams; i++) {
		struct lp_segindex_stream stream;

		if (lp_segindex_stream(index, i, &stream, &labels) == 0 && stream.labels_len)
			sum += labels[stream.labels_len - 1];
	}
	for (uint32_t name = 0; name <= index->names; name++) {
		struct lp_segindex_name info;

		if (lp_segindex_name(index, name, &info, &s) < 0)
			continue;
		for (uint32_t v = 0; v < info.values && v < 1000; v++) {
			scratch.len = 0;
			if (lp_segindex_value(index, name, v, &scratch, &s, &n) == 0)
				(void)lp_segindex_find_value(index, name, s, n, &n);
			if (lp_segindex_postings(index, name, v, &streams, &n) == 0 && n)
				sum += streams[n - 1];
		}
	}
	(void)lp_segindex_find_name(index, "app", 3, &n);
	use_grams(index);
	(void)lp_segindex_check(index, "x", &report);
	lp_buf_free(&scratch);
	lp_buf_free(&report);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct lp_segindex index;
	struct lp_segindex_head head;

	if (size < sizeof head)
		return 0;
	uint8_t *copy = malloc(size);

	if (!copy)
		return 0;
	memcpy(copy, data, size);
	memcpy(&head, copy, sizeof head);
	head.magic = LP_SEGINDEX_MAGIC;
	head.version = LP_SEGINDEX_VERSION;
	head.bytes = size;
	head.crc = 0;
	size_t table = (size_t)head.sections * sizeof(struct lp_segindex_section);

	if (table > size - sizeof head)
		table = size - sizeof head;
	head.crc = lp_crc32c(lp_crc32c(0, &head, sizeof head), copy + sizeof head, table);
	memcpy(copy, &head, sizeof head);
	if (lp_segindex_open(copy, size, &index) == 0)
		use(&index);
	free(copy);
	return 0;
}
