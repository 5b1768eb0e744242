/* Small valid WAL records for tests: one stream {job="test"}, one entry whose line is "NUMBER" and padding. */
#ifndef LP_TESTS_RECORD_H
#define LP_TESTS_RECORD_H

#include "common/crc32c.h"
#include "store/format/walrec.h"

#include <stdio.h>
#include <stdlib.h>

#define RECORD_LABELS 11u       /* tenant 0, one pair, "job", "test" */

static inline uint32_t record_bytes(uint32_t line_len)
{
	return LP_ALIGN(LP_WALREC_HEAD + LP_WALREC_STREAM + 16u + 8u + 8u + line_len + 1u, LP_WALREC_ALIGN);
}

/* line_len >= 10; `to` has record_bytes(line_len) bytes, 8-byte aligned. */
static inline void record_make(void *to, uint64_t epoch, uint16_t lane, uint64_t pos, uint32_t number, uint32_t line_len)
{
	static const uint8_t labels[RECORD_LABELS] = { 0, 1, 3, 'j', 'o', 'b', 4, 't', 'e', 's', 't' };
	uint8_t *p = to;
	uint32_t bytes = record_bytes(line_len), end = line_len + 1;
	int64_t ts = (int64_t)number * 1000;
	char digits[16];
	struct lp_walrec_stream stream = { .hash = lp_labels_hash(labels, sizeof labels), .labels_bytes = sizeof labels,
					   .labels_off = LP_WALREC_HEAD + LP_WALREC_STREAM, .entries = 1, .min_ts = ts, .max_ts = ts,
					   .text_bytes = end, .flags = LP_WALREC_SORTED };
	struct lp_walrec_head head = { .magic = LP_WALREC_MAGIC, .bytes = bytes, .epoch = epoch, .pos = pos, .lane = lane,
				       .kind = LP_WALREC_KIND_BATCH, .streams = 1, .entries = 1, .min_ts = ts, .max_ts = ts,
				       .text_bytes = end };

	memset(p, 0, bytes);
	memcpy(p + 64, &stream, sizeof stream);
	memcpy(p + 128, labels, sizeof labels);
	memcpy(p + 144, &ts, 8);
	memcpy(p + 152, &end, 4);
	snprintf(digits, sizeof digits, "%010u", number);
	memset(p + 160, 'x', line_len);
	memcpy(p + 160, digits, 10);
	p[160 + line_len] = '\n';
	memcpy(p, &head, sizeof head);
	head.crc = lp_crc32c(0, p, bytes);
	memcpy(p, &head, sizeof head);
}

static inline uint32_t record_number(const void *rec)
{
	char digits[11] = { 0 };

	memcpy(digits, (const uint8_t *)rec + 160, 10);
	return (uint32_t)strtoul(digits, NULL, 10);
}

#endif
