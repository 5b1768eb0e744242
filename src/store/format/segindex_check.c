/* Segment index, the full check of logpulsectl verify: everything that segindex.h promises and the blocks are not needed for.
 * Pure memory.  Faults are counted all and the first ones named. */
#include "store/format/segindex.h"

#include "common/crc32c.h"
#include "store/format/labels.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

#define MAX_LINES 50

struct check {
	const struct lp_segindex *index;
	const char *prefix;
	struct lp_buf *report;
	unsigned faults;
};

#define FAULT(c, ...)                                                             \
	do {                                                                      \
		if ((c)->faults++ < MAX_LINES) {                                  \
			lp_buf_printf((c)->report, "%s: ", (c)->prefix);          \
			lp_buf_printf((c)->report, __VA_ARGS__);                  \
			lp_buf_byte((c)->report, '\n');                           \
		}                                                                 \
	} while (0)

static void check_sections(struct check *c)
{
	for (uint32_t i = 0; i < c->index->head.sections; i++) {
		struct lp_segindex_section s;

		memcpy(&s, c->index->base + LP_SEGINDEX_HEAD + i * sizeof s, sizeof s);
		if (lp_crc32c(0, c->index->base + s.off, s.bytes) != s.crc)
			FAULT(c, "section %u: checksum", s.id);
	}
}

/* Labels valid and ascending, runs of all streams complete and theirs.  Returns how many postings there must be. */
static uint64_t check_streams(struct check *c)
{
	const uint8_t *labels, *prev = NULL;
	struct lp_segindex_stream s;
	uint32_t prev_len = 0, run = 0;
	uint64_t pairs = 0;

	for (uint32_t i = 0; i < c->index->head.streams; i++) {
		struct lp_labels_iter it;

		if (lp_segindex_stream(c->index, i, &s, &labels) < 0 || lp_labels_check(labels, s.labels_len) < 0 ||
		    lp_labels_iter(&it, labels, s.labels_len, NULL, NULL) < 0) {
			FAULT(c, "stream %u: entry or labels", i);
			return pairs;
		}
		pairs += it.left + 1;
		if (prev && lp_labels_cmp(prev, prev_len, labels, s.labels_len) >= 0)
			FAULT(c, "stream %u: not in order", i);
		if (s.first_run != run)
			FAULT(c, "stream %u: first run %u, not %u", i, s.first_run, run);
		run = s.first_run + s.runs;
		prev = labels;
		prev_len = s.labels_len;
	}
	if (run != c->index->head.runs)
		FAULT(c, "runs: %u of %u belong to streams", run, c->index->head.runs);
	return pairs;
}

/* Runs follow each other through the blocks without a gap, in their streams' ranges and ascending in time. */
static void check_runs(struct check *c)
{
	struct lp_segindex_stream s = { 0 };
	struct lp_segindex_block b = { 0 };
	struct lp_run run, prev = { .stream = UINT32_MAX, .block = UINT32_MAX };
	uint64_t entries = 0, raw = 0;

	for (uint32_t i = 0; i < c->index->head.runs; i++) {
		if (lp_segindex_run(c->index, i, &run) < 0 || lp_segindex_block(c->index, run.block, &b) < 0 ||
		    lp_segindex_stream(c->index, run.stream, &s, NULL) < 0) {
			FAULT(c, "run %u: entry", i);
			return;
		}
		bool fresh = run.block != prev.block;

		if (fresh ? run.block != prev.block + 1 || run.first_row || run.text_off || b.first_run != i || b.first_stream != run.stream :
		    run.first_row != prev.first_row + prev.rows || run.text_off != prev.text_off + prev.raw_bytes + prev.rows)
			FAULT(c, "run %u: does not follow the one before", i);
		if (i < s.first_run || i - s.first_run >= s.runs || run.stream > b.last_stream || run.stream < b.first_stream)
			FAULT(c, "run %u: not of stream %u", i, run.stream);
		if (run.min_ts < s.min_ts || run.max_ts > s.max_ts || run.min_ts < b.min_ts || run.max_ts > b.max_ts ||
		    (i && prev.stream == run.stream && prev.max_ts > run.min_ts))
			FAULT(c, "run %u: time range", i);
		entries += run.rows;
		raw += run.raw_bytes;
		prev = run;
	}
	if (prev.block + 1 != c->index->head.blocks || entries != c->index->head.entries || raw != c->index->head.raw_bytes)
		FAULT(c, "totals: %" PRIu64 " entries, %" PRIu64 " bytes", entries, raw);
}

static void check_blocks(struct check *c)
{
	struct lp_segindex_block b;
	uint64_t off = LP_CHUNKS_HEAD, entries = 0;
	int64_t min = INT64_MAX, max = INT64_MIN;

	for (uint32_t i = 0; i < c->index->head.blocks; i++) {
		if (lp_segindex_block(c->index, i, &b) < 0) {
			FAULT(c, "block %u: entry", i);
			return;
		}
		if (b.off != off)
			FAULT(c, "block %u: offset", i);
		off = b.off + b.bytes;
		entries += b.entries;
		min = b.min_ts < min ? b.min_ts : min;
		max = b.max_ts > max ? b.max_ts : max;
	}
	if (off != c->index->head.chunks_bytes || entries != c->index->head.entries || min != c->index->head.min_ts || max != c->index->head.max_ts)
		FAULT(c, "blocks: totals");
}

static bool has_pair(const struct lp_segindex *index, uint32_t stream, const char *name, uint32_t name_len, const char *value, uint32_t value_len)
{
	struct lp_segindex_stream s;
	struct lp_labels_iter it;
	struct lp_label label = { 0 };
	const uint8_t *labels;
	const char *tenant;
	size_t tenant_len;

	if (lp_segindex_stream(index, stream, &s, &labels) < 0)
		return false;
	if (!name_len) {
		if (lp_labels_iter(&it, labels, s.labels_len, &tenant, &tenant_len) < 0)
			return false;
		label.value = tenant;
		label.value_len = (uint32_t)tenant_len;
	} else if (lp_labels_find(labels, s.labels_len, name, name_len, &label) != 1) {
		return false;
	}
	return label.value_len == value_len && (!value_len || !memcmp(label.value, value, value_len));
}

/* Values of one name: ascending, each posting true.  Returns the number of postings. */
static uint64_t check_values(struct check *c, uint32_t i, const struct lp_segindex_name *n, const char *name)
{
	struct lp_buf bufs[2] = { LP_BUF_INIT, LP_BUF_INIT };
	const char *s = NULL, *prev = NULL;
	const uint32_t *streams;
	uint32_t len = 0, prev_len = 0, count = 0;
	uint64_t total = 0;

	for (uint32_t v = 0; v < n->values; v++) {
		struct lp_buf *scratch = &bufs[v & 1];

		lp_buf_reset(scratch);
		if (lp_segindex_value(c->index, i, v, scratch, &s, &len) < 0 || lp_segindex_postings(c->index, i, v, &streams, &count) < 0) {
			FAULT(c, "label %u value %u: entry or postings", i, v);
			break;
		}
		uint32_t least = len < prev_len ? len : prev_len;
		int cmp = prev && least ? memcmp(prev, s, least) : 0;

		if (prev && (cmp > 0 || (cmp == 0 && prev_len >= len)))
			FAULT(c, "label %u value %u: not in order", i, v);
		for (uint32_t k = 0; k < count; k++)
			if (!has_pair(c->index, streams[k], name, n->len, s, len))
				FAULT(c, "label %u value %u: stream %u does not have it", i, v, streams[k]);
		total += count;
		prev = s;
		prev_len = len;
	}
	lp_buf_free(&bufs[0]);
	lp_buf_free(&bufs[1]);
	return total;
}

static uint64_t check_names(struct check *c)
{
	struct lp_segindex_name n;
	const char *s, *prev = NULL;
	uint32_t prev_len = 0, value = 0;
	uint64_t total = 0;

	for (uint32_t i = 0; i <= c->index->names; i++) {
		if (lp_segindex_name(c->index, i, &n, &s) < 0 || n.first_value != value) {
			FAULT(c, "label %u: entry", i);
			return total;
		}
		value += n.values;
		if (i == c->index->names ? n.len != 0 : !lp_label_name_valid(s, n.len))
			FAULT(c, "label %u: name", i);
		uint32_t least = n.len < prev_len ? n.len : prev_len;
		int cmp = prev && least ? memcmp(prev, s, least) : 0;

		if (prev && n.len && (cmp > 0 || (cmp == 0 && prev_len >= n.len)))
			FAULT(c, "label %u: not in order", i);
		prev = s;
		prev_len = n.len;
		total += check_values(c, i, &n, s);
	}
	if (value + UINT64_C(1) != c->index->sections[LP_SEGINDEX_POSTS].items)
		FAULT(c, "values: %u counted", value);
	return total;
}

int lp_segindex_check(const struct lp_segindex *index, const char *prefix, struct lp_buf *report)
{
	struct check c = { .index = index, .prefix = prefix, .report = report };

	check_sections(&c);
	if (lp_segindex_grams(index, &(struct lp_grams){ 0 }) == -EBADMSG)
		FAULT(&c, "skip filter: sizes");
	uint64_t pairs = check_streams(&c);

	check_blocks(&c);
	check_runs(&c);
	if (check_names(&c) != pairs || index->sections[LP_SEGINDEX_POSTINGS].items != pairs)
		FAULT(&c, "postings: not one for each label of each stream");
	if (c.faults > MAX_LINES)
		lp_buf_printf(report, "%s: %u faults more\n", prefix, c.faults - MAX_LINES);
	return report->failed ? -ENOMEM : c.faults ? -EBADMSG : 0;
}
