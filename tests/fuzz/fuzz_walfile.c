/* A WAL file of arbitrary bytes: the checked walk accepts only records that every accessor can read.
 * The target puts right magic, salt and checksums of the heads where the input asks for it, so that mutations get past them. */
#include "tests/fuzz/fuzz.h"

#include "common/crc32c.h"
#include "store/format/walfile.h"

#include <stdlib.h>

static volatile uint64_t sink;

static void read_rows(const uint8_t *rec, const struct lp_walrec_head *head)
{
	for (uint32_t s = 0; s < head->streams; s++) {
		struct lp_walrec_stream stream;
		struct lp_rows rows;

		if (lp_walrec_stream(rec, head, s, &stream) < 0 || lp_walrec_rows(rec, head, &stream, &rows) < 0)
			abort();        /* lp_walrec_check said that it is valid */
		for (uint32_t i = 0; i < rows.n; i++) {
			uint32_t len, meta_len;
			const char *line = lp_rows_line(&rows, i, &len);
			const uint8_t *meta = lp_rows_meta(&rows, i, &meta_len);

			if (line[len] != '\n')
				abort();
			sink += (uint64_t)rows.ts[i] + (len ? (uint8_t)line[0] : 0) + (meta_len ? meta[meta_len - 1] : 0);
		}
	}
}

/* Make the checksums fit from the front; stop where the structure ends. */
static void repair(uint8_t *p, size_t size)
{
	struct lp_walfile_head head;
	struct lp_walgroup_head group;
	size_t off = LP_WALFILE_HEAD;
	uint64_t sequence = 1;

	lp_walfile_head_make(&head, 1, size, 42, 0);
	memcpy(p, &head, sizeof head);
	while (size - off >= sizeof group) {
		memcpy(&group, p + off, sizeof group);
		uint32_t bytes = group.bytes & ~15u;

		if (bytes > size - off - sizeof group)
			bytes = (uint32_t)(size - off - sizeof group) & ~15u;
		lp_walgroup_make(&group, 42, 7, group.lane, 0, bytes, sequence++, group.committed);
		memcpy(p + off, &group, sizeof group);
		off += sizeof group;
		if (bytes >= LP_WALREC_HEAD) {
			uint32_t zero = 0, crc, magic = LP_WALREC_MAGIC, kind = LP_WALREC_KIND_BATCH;
			uint64_t epoch = 7, pos = 0;

			memcpy(p + off, &magic, 4);
			memcpy(p + off + 4, &bytes, 4);
			memcpy(p + off + 8, &epoch, 8);
			memcpy(p + off + 16, &pos, 8);
			memcpy(p + off + 24, &group.lane, 2);
			memcpy(p + off + 26, &kind, 2);
			memcpy(p + off + 28, &zero, 4);
			crc = lp_crc32c(0, p + off, bytes);
			memcpy(p + off + 28, &crc, 4);
		}
		off += bytes;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct lp_walwalk walk;
	struct lp_walrec_head head;
	size_t off;

	/* The input stands for the file without the empty part of its head page. */
	if (size < 64 || size > (1u << 20))
		return 0;
	size_t file_size = LP_WALFILE_HEAD + size - 48;
	uint8_t *file = aligned_alloc(16, LP_ALIGN(file_size, (size_t)16));

	if (!file)
		return 0;
	memset(file, 0, LP_WALFILE_HEAD);
	memcpy(file, data, 48);
	memcpy(file + LP_WALFILE_HEAD, data + 48, size - 48);
	if (data[40] & 1)
		repair(file, file_size);
	for (int checked = 0; checked < 2; checked++) {
		if (lp_walwalk_start(&walk, file, file_size, checked) < 0)
			continue;
		while (lp_walwalk_next(&walk, &off, &head) > 0) {
			if (off + head.bytes > file_size)
				abort();
			if (checked)
				read_rows(file + off, &head);
		}
	}
	free(file);
	return 0;
}
