/* Compaction: segments of one UTC day that stand next to each other in the log become one.
 *
 * Guarantees: the result holds every entry of its inputs once, but for those that were to go; entries of equal time keep their order
 * of arrival, because inputs cover ascending WAL files.  Memory: one decoded block per input, one block being filled, the index of
 * the result, and the hashes of the entries of one timestamp that several inputs share (bounded by MAX_TIES).
 * Crash rule: as sealing.  The result is complete when its .index appears; from then on its name supersedes its inputs, for
 * readers and for lp_seal_cleanup(), so that dying before, between or after the renames and unlinks loses and doubles nothing.
 * Only segments whose WAL files are gone for good may be merged (the caller sees to it): a reader leaves a segment alone that
 * covers a file which is still in the log.
 * Damaged blocks are never dropped silently: such inputs stay as they are.
 * Process: writer, compacting thread. */
#include "store/compact.h"

#include "common/dir.h"
#include "common/fault.h"
#include "common/rfc3339.h"
#include "store/format/labels.h"
#include "store/seal-private.h"
#include "store/segment-private.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#define MAX_TIES (1u << 22)             /* 128 MiB of hashes at most */

struct input {
	struct lp_segment *segment;
	struct lp_block_decoder *decoder;
	struct lp_rows rows;
	uint32_t block;                 /* decoded; UINT32_MAX: none */
	uint32_t stream;                /* the next one that was not merged */
	const uint8_t *labels;          /* of it; NULL: no more */
	uint32_t labels_len;
	/* of the stream being merged */
	bool active;
	uint32_t run, run_end, row, row_end;
};

struct merger {
	const struct lp_seal_config *config;
	const struct lp_compact_ops *ops;
	struct lp_compact_result *result;
	struct input inputs[LP_COMPACT_MAX_INPUTS];
	uint32_t n;
	bool may_drop;                  /* entries of the stream being merged */
	XXH128_hash_t *ties;            /* of entries of one timestamp; zero: free */
	size_t n_ties, ties_size, ties_cap;
};

/* ---- one input ---- */

static int next_labels(struct input *in)
{
	int64_t min_ts, max_ts;

	in->labels = NULL;
	if (in->stream == lp_segment_info(in->segment)->streams)
		return 0;
	return lp_segment_stream(in->segment, in->stream, &in->labels, &in->labels_len, &min_ts, &max_ts);
}

static int decode(struct merger *m, struct input *in, uint32_t block)
{
	const uint8_t *p;
	size_t len;

	if (in->block == block)
		return 0;
	if (m->ops->stop && m->ops->stop(m->ops->arg))
		return -ECANCELED;
	int r = lp_segment_block(in->segment, block, &p, &len);

	in->block = UINT32_MAX;
	if (r == 0)
		r = lp_block_decode(in->decoder, p, len, LP_BLOCK_WANT_TS | LP_BLOCK_WANT_TEXT | LP_BLOCK_WANT_META, &in->rows);
	if (r < 0)
		return r;
	in->block = block;
	m->result->read_bytes += len;
	return 0;
}

/* Go to the first row of run in->run, or leave the stream. */
static int enter_run(struct merger *m, struct input *in)
{
	struct lp_run run;

	in->active = in->run < in->run_end;
	if (!in->active)
		return 0;
	int r = lp_segment_run(in->segment, in->run, &run);

	if (r == 0)
		r = decode(m, in, run.block);
	if (r < 0)
		return r;
	if (!run.rows || (uint64_t)run.first_row + run.rows > in->rows.n)
		return -EBADMSG;
	in->row = run.first_row;
	in->row_end = run.first_row + run.rows;
	return 0;
}

static int enter_stream(struct merger *m, struct input *in)
{
	int r = lp_segment_stream_runs(in->segment, in->stream, &in->run, &in->run_end);

	in->run_end += in->run;
	if (r == 0)
		r = enter_run(m, in);
	in->stream++;
	return r < 0 ? r : next_labels(in);
}

static int64_t time_of(const struct input *in)
{
	return in->rows.ts[in->row];
}

static int next_row(struct merger *m, struct input *in)
{
	int64_t ts = time_of(in);

	if (++in->row == in->row_end) {
		in->run++;
		int r = enter_run(m, in);

		if (r < 0 || !in->active)
			return r;
	}
	return time_of(in) < ts ? -EBADMSG : 0;         /* what the index promises; the result would be out of order */
}

/* ---- repeats ---- */

static bool is_zero(const XXH128_hash_t *h)
{
	return !h->low64 && !h->high64;
}

static void tie_put(struct merger *m, XXH128_hash_t hash)
{
	size_t at = hash.low64 & (m->ties_size - 1);

	while (!is_zero(&m->ties[at]))
		at = (at + 1) & (m->ties_size - 1);
	m->ties[at] = hash;
	m->n_ties++;
}

static int ties_grow(struct merger *m)
{
	size_t old_size = m->ties_size, size = old_size ? old_size * 2 : 64;
	XXH128_hash_t *old = m->ties;

	if (m->n_ties >= MAX_TIES)
		return -EFBIG;
	m->ties = calloc(size, sizeof *m->ties);
	if (!m->ties) {
		m->ties = old;
		return -ENOMEM;
	}
	m->ties_cap = m->ties_size = size;
	m->n_ties = 0;
	for (size_t i = 0; i < old_size; i++)
		if (!is_zero(&old[i]))
			tie_put(m, old[i]);
	free(old);
	return 0;
}

static void ties_clear(struct merger *m)
{
	m->ties_size = m->ties_cap < 64 ? m->ties_cap : 64;
	m->n_ties = 0;
	if (m->ties_size)
		memset(m->ties, 0, m->ties_size * sizeof *m->ties);
}

/* 1: an entry like this was written at this time; 0; -errno. */
static int is_repeat(struct merger *m, const struct lp_seal_text *x)
{
	XXH128_hash_t hash = XXH3_128bits_withSeed(x->line, x->len, x->meta_len ? XXH3_64bits(x->meta, x->meta_len) : 0);

	if (is_zero(&hash))
		hash.low64 = 1;
	if (m->n_ties >= m->ties_size / 2) {
		int r = ties_grow(m);

		if (r < 0)
			return r;
	}
	for (size_t at = hash.low64 & (m->ties_size - 1); !is_zero(&m->ties[at]); at = (at + 1) & (m->ties_size - 1))
		if (XXH128_isEqual(m->ties[at], hash))
			return 1;
	tie_put(m, hash);
	return 0;
}

/* ---- merging ---- */

static int put_row(struct merger *m, struct lp_segout *out, const struct input *in, bool shared)
{
	struct lp_seal_text x;
	int64_t ts = time_of(in);

	x.line = lp_rows_line(&in->rows, in->row, &x.len);
	x.meta = lp_rows_meta(&in->rows, in->row, &x.meta_len);
	if (ts < m->config->oldest_ns) {
		m->result->expired++;
		return 0;
	}
	if (m->may_drop && m->ops->drop(m->ops->arg, ts, x.line, x.len)) {
		m->result->dropped++;
		return 0;
	}
	int r = shared ? is_repeat(m, &x) : 0;

	if (r) {
		m->result->duplicates += r > 0;
		return r < 0 ? r : 0;
	}
	return lp_segout_row(out, ts, &x);
}

/* All rows of the earliest time, input by input.  Repeats inside an input were dropped when it was made. */
static int merge_time(struct merger *m, struct lp_segout *out, bool *ret_more)
{
	int64_t ts = INT64_MAX;
	uint32_t active = 0, at_ts = 0;
	int r = 0;

	for (uint32_t i = 0; i < m->n; i++) {
		if (!m->inputs[i].active)
			continue;
		active++;
		if (time_of(&m->inputs[i]) < ts) {
			ts = time_of(&m->inputs[i]);
			at_ts = 0;
		}
		at_ts += time_of(&m->inputs[i]) == ts;
	}
	*ret_more = active > 0;
	if (at_ts > 1)
		ties_clear(m);
	for (uint32_t i = 0; r == 0 && i < m->n; i++)
		while (r == 0 && m->inputs[i].active && time_of(&m->inputs[i]) == ts) {
			r = put_row(m, out, &m->inputs[i], at_ts > 1);
			if (r == 0)
				r = next_row(m, &m->inputs[i]);
		}
	return r;
}

/* The least labels that an input still has, or NULL. */
static const uint8_t *least_labels(const struct merger *m, uint32_t *ret_len)
{
	const struct input *least = NULL;

	for (uint32_t i = 0; i < m->n; i++) {
		const struct input *in = &m->inputs[i];

		if (in->labels && (!least || lp_labels_cmp(in->labels, in->labels_len, least->labels, least->labels_len) < 0))
			least = in;
	}
	if (!least)
		return NULL;
	*ret_len = least->labels_len;
	return least->labels;
}

static int merge_stream(struct merger *m, struct lp_segout *out, const uint8_t *labels, uint32_t len)
{
	bool more = true;
	int r = 0;

	m->may_drop = m->ops->stream && m->ops->stream(m->ops->arg, labels, len);
	lp_segout_stream(out, labels, len);
	for (uint32_t i = 0; r == 0 && i < m->n; i++) {
		struct input *in = &m->inputs[i];

		in->active = false;
		if (in->labels && in->labels_len == len && !memcmp(in->labels, labels, len))
			r = enter_stream(m, in);
	}
	while (r == 0 && more)
		r = merge_time(m, out, &more);
	return r;
}

static int fill(struct lp_segout *out, void *arg)
{
	struct merger *m = arg;
	const uint8_t *labels;
	uint32_t len;
	int r = 0;

	while (r == 0 && (labels = least_labels(m, &len)))
		r = merge_stream(m, out, labels, len);
	return r;
}

/* ---- interface ---- */

static int open_inputs(struct merger *m, const struct lp_segment_name *names)
{
	int r = 0;

	for (uint32_t i = 0; r == 0 && i < m->n; i++) {
		struct input *in = &m->inputs[i];

		in->block = UINT32_MAX;
		r = lp_segment_open(m->config->segments_dir, &names[i], &in->segment);
		if (r == 0)
			r = lp_block_decoder_open(&in->decoder);
		if (r == 0)
			r = next_labels(in);
	}
	return r;
}

static void close_inputs(struct merger *m)
{
	for (uint32_t i = 0; i < m->n; i++) {
		lp_segment_close(&m->inputs[i].segment);
		lp_block_decoder_close(&m->inputs[i].decoder);
	}
	free(m->ties);
}

int lp_compact_merge(const struct lp_seal_config *config, const struct lp_compact_ops *ops, const struct lp_segment_name *names, uint32_t n,
		     struct lp_compact_result *ret_result)
{
	struct lp_compact_result result = { .name = names[0] };
	struct merger m = { .config = config, .ops = ops, .result = &result, .n = n };
	struct lp_seal_result sealed = { 0 };
	struct lp_segout *out = NULL;

	if (!n || n > LP_COMPACT_MAX_INPUTS)
		return -EINVAL;
	result.name.last = names[n - 1].last;
	for (uint32_t i = 0; i < n; i++)
		result.name.level = names[i].level > result.name.level ? names[i].level : result.name.level;
	result.name.level++;
	LP_FAULT("compact-start");
	int r = lp_segout_open(config, &out);

	if (r == 0)
		r = open_inputs(&m, names);
	if (r == 0)
		r = lp_segout_write(out, &result.name, fill, &m, &sealed);
	lp_segout_close(&out);
	close_inputs(&m);
	if (r < 0 && r != -ENODATA)
		return r;
	LP_FAULT("compact-visible");
	result.empty = r == -ENODATA;
	result.entries = sealed.entries;
	result.written_bytes = sealed.disk_bytes;
	*ret_result = result;
	return 0;
}

/* Rows of the stream at hand, until one goes. */
static int any_of_stream(struct merger *m, struct input *in)
{
	int r = enter_stream(m, in);

	while (r == 0 && in->active) {
		uint32_t len;
		const char *line = lp_rows_line(&in->rows, in->row, &len);

		if (m->ops->drop(m->ops->arg, time_of(in), line, len))
			return 1;
		r = next_row(m, in);
	}
	return r;
}

int lp_compact_any(const char *segments_dir, const struct lp_compact_ops *ops, const struct lp_segment_name *name)
{
	struct lp_seal_config config = { .segments_dir = segments_dir };
	struct lp_compact_result result = { .name = *name };
	struct merger m = { .config = &config, .ops = ops, .result = &result, .n = 1 };
	struct input *in = &m.inputs[0];
	int r = open_inputs(&m, name);

	while (r == 0 && in->labels) {
		if (ops->stream(ops->arg, in->labels, in->labels_len)) {
			r = any_of_stream(&m, in);
		} else {
			in->stream++;
			r = next_labels(in);
		}
	}
	close_inputs(&m);
	return r;
}

static int sync_day(const char *segments_dir, int64_t day)
{
	char text[LP_DAY_MAX], path[PATH_MAX];

	lp_day_format(text, day);
	if ((size_t)snprintf(path, sizeof path, "%s/%s", segments_dir, text) >= sizeof path)
		return -ENAMETOOLONG;
	int r = lp_dir_sync(path);

	return r == -ENOENT ? 0 : r;    /* it was the last one of its day */
}

int lp_compact_unlink(const char *segments_dir, const struct lp_segment_name *names, uint32_t n, bool sync)
{
	int r = 0;

	for (uint32_t i = 0; r == 0 && i < n; i++) {
		r = lp_segment_remove(segments_dir, &names[i]);
		LP_FAULT("compact-unlinked");
	}
	if (r == 0 && sync)
		r = sync_day(segments_dir, names[0].day);
	LP_FAULT("compact-done");
	return r;
}
