/* The full check of one segment: the index, then every block decoded and held against it.  Process: logpulsectl, tests. */
#include "store/segment-private.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

struct verifier {
	const struct lp_segment *segment;
	const char *file;
	struct lp_buf *report;
	struct lp_block_decoder *decoder;
	XXH3_state_t id;
	struct lp_buf bitmap;
	uint32_t run;                   /* next one to look at */
	unsigned faults;
};

static void fault(struct verifier *v, uint32_t block, const char *what)
{
	if (v->faults++ < 50)
		lp_buf_printf(v->report, "%s: block %u: %s\n", v->file, block, what);
}

static void check_run(struct verifier *v, const struct lp_run *run, const struct lp_rows *rows)
{
	uint64_t raw = 0;

	for (uint32_t i = run->first_row; i < run->first_row + run->rows; i++) {
		uint32_t len;

		(void)lp_rows_line(rows, i, &len);
		raw += len;
		if (i > run->first_row && rows->ts[i] < rows->ts[i - 1])
			fault(v, run->block, "a run is not in time order");
	}
	if (rows->ts[run->first_row] != run->min_ts || rows->ts[run->first_row + run->rows - 1] != run->max_ts)
		fault(v, run->block, "a run's time range is wrong");
	if (raw != run->raw_bytes || (run->first_row ? rows->ends[run->first_row - 1] : 0) != run->text_off)
		fault(v, run->block, "a run's text position is wrong");
}

/* The skip filter knows exactly what the block has. */
static void check_grams(struct verifier *v, uint32_t block, const struct lp_rows *rows)
{
	struct lp_grams grams;

	if (lp_segindex_grams(lp_segment_index(v->segment), &grams) < 0)
		return;
	lp_buf_reset(&v->bitmap);
	if (lp_grams_append(&v->bitmap, rows->text, rows->ends[rows->n - 1]) == 0 && !lp_grams_agree(&grams, block, v->bitmap.data))
		fault(v, block, "the skip filter does not match the text");
}

static void check_block(struct verifier *v, uint32_t block)
{
	struct lp_segindex_block b;
	struct lp_rows rows;
	struct lp_run run;
	const uint8_t *p;
	size_t len;
	int64_t min = INT64_MAX, max = INT64_MIN;

	if (lp_segindex_block(lp_segment_index(v->segment), block, &b) < 0 || lp_segment_block(v->segment, block, &p, &len) < 0) {
		fault(v, block, "header is damaged or does not match the index");
		return;
	}
	XXH3_64bits_update(&v->id, p, LP_BLOCK_HEAD);
	if (lp_block_decode(v->decoder, p, len, LP_BLOCK_WANT_TS | LP_BLOCK_WANT_TEXT | LP_BLOCK_WANT_META, &rows) < 0) {
		fault(v, block, "checksum or encoding");
		return;
	}
	check_grams(v, block, &rows);
	for (uint32_t i = 0; i < rows.n; i++) {
		uint32_t meta_len;
		const uint8_t *meta = lp_rows_meta(&rows, i, &meta_len);

		min = rows.ts[i] < min ? rows.ts[i] : min;
		max = rows.ts[i] > max ? rows.ts[i] : max;
		if (meta_len && lp_metadata_check(meta, meta_len) < 0)
			fault(v, block, "metadata of an entry");
	}
	if (min != b.min_ts || max != b.max_ts)
		fault(v, block, "time range is wrong");
	while (v->run < lp_segment_info(v->segment)->runs && lp_segment_run(v->segment, v->run, &run) == 0 && run.block <= block) {
		if (run.block == block)
			check_run(v, &run, &rows);
		v->run++;
	}
}

static int verify_open(struct verifier *v)
{
	const struct lp_segindex *index = lp_segment_index(v->segment);
	int r = lp_segindex_check(index, v->file, v->report);

	if (r < 0 && r != -EBADMSG)
		return r;
	v->faults += r < 0;
	r = lp_block_decoder_open(&v->decoder);
	if (r < 0)
		return r;
	XXH3_64bits_reset(&v->id);
	for (uint32_t i = 0; i < index->head.blocks; i++)
		check_block(v, i);
	lp_block_decoder_close(&v->decoder);
	bool failed = v->bitmap.failed;

	lp_buf_free(&v->bitmap);
	if (failed)
		return -ENOMEM;
	if (!v->faults && XXH3_64bits_digest(&v->id) != index->head.chunks_id) {
		lp_buf_printf(v->report, "%s: the chunks are not the ones the index was made for\n", v->file);
		v->faults++;
	}
	return v->report->failed ? -ENOMEM : v->faults ? -EBADMSG : 0;
}

int lp_segment_verify(const char *segments_dir, const struct lp_segment_name *name, struct lp_buf *report)
{
	struct lp_segment *segment = NULL;
	char file[80];
	int r = lp_segment_name_format(name, "", file, sizeof file);

	if (r < 0)
		return r;
	r = lp_segment_open(segments_dir, name, &segment);
	if (r < 0) {
		lp_buf_printf(report, "%s: cannot be opened: %s\n", file, strerror(-r));
		return r;
	}
	struct verifier v = { .segment = segment, .file = file, .report = report };

	r = verify_open(&v);
	lp_segment_close(&segment);
	return r;
}
