/* Writing segments, and sealing: one WAL file becomes one segment per UTC day; see seal.h.
 *
 * Process: writer, sealing thread and compacting thread, each with its own lp_segout.  Memory of sealing: the text stays in the mapped WAL file; private are what seal_sort.c says, one block, and
 * the index.
 * Dying here: a temporary file, or a .chunks without .index, is left and removed at the next start; a visible segment is complete, and
 * covers a file that is still in the WAL, so readers leave it alone until the sealing was done again. */
#include "store/seal.h"

#include "common/dir.h"
#include "common/fault.h"
#include "common/rfc3339.h"
#include "store/seal-private.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#define WRITE_BYTES (1u << 20)
#define MAX_BLOCK_ROWS (1u << 18)       /* bounds a block of empty lines */
#define META_FACTOR 4u                  /* metadata per block, in block_bytes */
#define AHEAD 12u                       /* rows whose bytes are asked for before they are copied */

struct lp_segout {
	const struct lp_seal_config *config;
	uint64_t faults;                /* lp_map_faults() at the start */
	struct lp_block_encoder *encoder;
	/* the segment of one day */
	struct lp_segment_name name;
	int fd;
	uint64_t written;
	struct lp_buf out;              /* encoded, not written yet */
	XXH3_state_t id;
	struct lp_buf blocks, runs, streams, labels, grams;
	uint64_t entries, raw_bytes;
	int64_t min_ts, max_ts;

	/* the block being filled */
	struct lp_buf ts, ends, meta_ends, text, meta;
	uint32_t rows;
	bool run_open;
	/* a stream that has no row yet */
	const uint8_t *stream_labels;
	uint32_t stream_labels_len;
	bool stream_new;
	struct lp_segindex_block block;
};

/* ---- files ---- */

static int path_of(const struct lp_segout *s, const char *suffix, char path[PATH_MAX])
{
	char file[80];
	int r = lp_segment_name_format(&s->name, suffix, file, sizeof file);

	if (r < 0)
		return r;
	return (size_t)snprintf(path, PATH_MAX, "%s/%s", s->config->segments_dir, file) >= PATH_MAX ? -ENAMETOOLONG : 0;
}

static int write_all(int fd, const uint8_t *p, size_t n, uint64_t off)
{
	while (n) {
		ssize_t w = pwrite(fd, p, n, (off_t)off);

		if (w < 0 && errno == EINTR)
			continue;
		if (w <= 0)
			return w == 0 || errno == EDQUOT ? -ENOSPC : -errno;
		p += w;
		n -= (size_t)w;
		off += (uint64_t)w;
	}
	return 0;
}

static int flush_out(struct lp_segout *s)
{
	int r = write_all(s->fd, s->out.data, s->out.len, s->written);

	if (r < 0)
		return r;
	s->written += s->out.len;
	lp_buf_reset(&s->out);
	return 0;
}

static int sync_file(const struct lp_segout *s, int fd)
{
	if (!s->config->sync || fdatasync(fd) == 0)
		return 0;
	return errno == EDQUOT ? -ENOSPC : -errno;
}

static int sync_dir(const struct lp_segout *s, const char *path)
{
	return s->config->sync ? lp_dir_sync(path) : 0;
}

static int day_dir(const struct lp_segout *s, char path[PATH_MAX])
{
	char day[LP_DAY_MAX];

	lp_day_format(day, s->name.day);
	return (size_t)snprintf(path, PATH_MAX, "%s/%s", s->config->segments_dir, day) >= PATH_MAX ? -ENAMETOOLONG : 0;
}

/* ---- blocks ---- */

static int flush_block(struct lp_segout *s)
{
	if (!s->rows)
		return 0;
	struct lp_rows rows = {
		.n = s->rows,
		.ts = (const int64_t *)(const void *)s->ts.data,
		.ends = (const uint32_t *)(const void *)s->ends.data,
		.text = (const char *)s->text.data,
		.meta_ends = s->meta.len ? (const uint32_t *)(const void *)s->meta_ends.data : NULL,
		.meta = s->meta.data,
	};
	size_t before = s->out.len;
	int r = s->ts.failed || s->ends.failed || s->meta_ends.failed || s->text.failed || s->meta.failed ? -ENOMEM :
		lp_block_encode(s->encoder, &rows, &s->out);

	if (r == 0)
		r = lp_grams_append(&s->grams, rows.text, s->text.len);
	if (r < 0)
		return r;
	s->block.off = s->written + before;
	s->block.bytes = (uint32_t)(s->out.len - before);
	s->block.entries = s->rows;
	s->block.raw_bytes = (uint32_t)s->text.len;
	XXH3_64bits_update(&s->id, s->out.data + before, LP_BLOCK_HEAD);
	lp_buf_append(&s->blocks, &s->block, sizeof s->block);
	lp_buf_reset(&s->ts);
	lp_buf_reset(&s->ends);
	lp_buf_reset(&s->meta_ends);
	lp_buf_reset(&s->text);
	lp_buf_reset(&s->meta);
	s->rows = 0;
	s->run_open = false;
	return s->out.len >= WRITE_BYTES ? flush_out(s) : 0;
}

static uint32_t count_of(const struct lp_buf *buf, size_t item)
{
	return (uint32_t)(buf->len / item);
}

/* Start a run of the stream (the last one in s->streams) at the block's next row. */
static int open_run(struct lp_segout *s, int64_t ts)
{
	uint32_t stream = count_of(&s->streams, sizeof(struct lp_segindex_stream)) - 1;

	((struct lp_segindex_stream *)(void *)s->streams.data)[stream].runs++;
	struct lp_run run = { .stream = stream, .block = count_of(&s->blocks, sizeof s->block), .first_row = s->rows,
			      .text_off = (uint32_t)s->text.len, .min_ts = ts };

	if (!s->rows)
		s->block = (struct lp_segindex_block){ .first_stream = stream, .first_run = count_of(&s->runs, sizeof run), .min_ts = ts, .max_ts = ts };
	s->block.last_stream = stream;
	lp_buf_append(&s->runs, &run, sizeof run);
	s->run_open = true;
	return s->runs.failed ? -ENOMEM : 0;
}

/* lp_buf_append() without the call when there is room: five of them per row. */
static inline void put(struct lp_buf *buf, const void *p, size_t n)
{
	if (n >= buf->cap - buf->len) {
		lp_buf_append(buf, p, n);
		return;
	}
	memcpy(buf->data + buf->len, p, n);
	buf->len += n;
}

/* The stream's entry: only now, so that one whose rows were all dropped has none. */
static int open_stream(struct lp_segout *s, int64_t ts)
{
	struct lp_segindex_stream entry = { .labels_len = s->stream_labels_len, .first_run = count_of(&s->runs, sizeof(struct lp_run)),
					    .min_ts = ts, .max_ts = ts };

	lp_buf_append(&s->streams, &entry, sizeof entry);
	lp_buf_append(&s->labels, &s->stream_labels, sizeof s->stream_labels);
	s->stream_new = false;
	return s->streams.failed || s->labels.failed ? -ENOMEM : 0;
}

void lp_segout_stream(struct lp_segout *s, const uint8_t *labels, uint32_t len)
{
	s->stream_labels = labels;
	s->stream_labels_len = len;
	s->stream_new = true;
	s->run_open = false;
}

int lp_segout_row(struct lp_segout *s, int64_t ts, const struct lp_seal_text *x)
{
	int r = 0;

	if (s->rows && (s->text.len + x->len + 1 > s->config->block_bytes || s->rows == MAX_BLOCK_ROWS ||
			s->meta.len + x->meta_len > (size_t)s->config->block_bytes * META_FACTOR))
		r = flush_block(s);
	if (r == 0 && s->stream_new)
		r = open_stream(s, ts);
	if (r == 0 && !s->run_open)
		r = open_run(s, ts);
	if (r < 0)
		return r;
	put(&s->text, x->line, (size_t)x->len + 1);                 /* its newline too */
	if (x->meta_len)
		put(&s->meta, x->meta, x->meta_len);
	put(&s->ts, &ts, sizeof ts);
	put(&s->ends, &(uint32_t){ (uint32_t)s->text.len }, 4);
	put(&s->meta_ends, &(uint32_t){ (uint32_t)s->meta.len }, 4);
	s->rows++;
	struct lp_run *run = (struct lp_run *)(void *)(s->runs.data + s->runs.len) - 1;
	struct lp_segindex_stream *stream = (struct lp_segindex_stream *)(void *)(s->streams.data + s->streams.len) - 1;

	run->rows++;
	run->raw_bytes += x->len;
	run->max_ts = stream->max_ts = ts;
	s->block.min_ts = ts < s->block.min_ts ? ts : s->block.min_ts;
	s->block.max_ts = ts > s->block.max_ts ? ts : s->block.max_ts;
	s->min_ts = ts < s->min_ts ? ts : s->min_ts;
	s->max_ts = ts > s->max_ts ? ts : s->max_ts;
	s->entries++;
	s->raw_bytes += x->len;
	return 0;
}

/* ---- rows of a WAL file ---- */

struct day {
	const struct lp_seal_input *in;
	const struct lp_seal_piece *pieces;
	uint32_t n_pieces;
};

/* Rows in the order of time lie anywhere in the file: start fetching what will be copied soon. */
static void prefetch(const struct lp_seal_input *in, const struct lp_seal_row *row, bool text)
{
	const struct lp_rows *rows = &in->batches[row->batch].rows;

	__builtin_prefetch(text ? (const void *)(rows->text + (row->row ? rows->ends[row->row - 1] : rows->base)) : &rows->ends[row->row]);
}

static int seal_piece(struct lp_segout *s, const struct lp_seal_input *in, const struct lp_seal_piece *piece)
{
	const struct lp_seal_stream *stream = &in->streams[piece->stream];
	const struct lp_seal_row *rows = in->rows + piece->first;
	struct lp_seal_text text;
	int r = 0;

	lp_segout_stream(s, stream->labels, stream->labels_len);
	for (uint32_t i = 0; r == 0 && i < piece->n; i++) {
		if (piece->n - i > 2 * AHEAD) {
			prefetch(in, &rows[i + 2 * AHEAD], false);
			prefetch(in, &rows[i + AHEAD], true);
		}
		r = lp_seal_text(in, &rows[i], &text) ? lp_segout_row(s, rows[i].ts, &text) : -EIO;
	}
	return r;
}

static int fill_day(struct lp_segout *s, void *arg)
{
	const struct day *day = arg;
	int r = 0;

	for (uint32_t i = 0; r == 0 && i < day->n_pieces; i++)
		r = seal_piece(s, day->in, &day->pieces[i]);
	return r;
}

/* ---- one segment ---- */

static int write_chunks(struct lp_segout *s, lp_segout_fill *fill, void *arg, const char *path)
{
	struct lp_chunks_head head = { 0 };
	int r;

	s->fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
	if (s->fd < 0)
		return errno == EDQUOT ? -ENOSPC : -errno;
	lp_buf_append(&s->out, &head, sizeof head);
	r = fill(s, arg);
	if (r == 0)
		r = flush_block(s);
	if (r == 0)
		r = s->blocks.failed ? -ENOMEM : flush_out(s);
	if (r == 0) {
		lp_chunks_head_make(&head, XXH3_64bits_digest(&s->id), s->written);
		r = write_all(s->fd, (const uint8_t *)&head, sizeof head, 0);
	}
	if (r == 0)
		r = sync_file(s, s->fd);
	if (close(s->fd) < 0 && r == 0)
		r = -errno;
	return r;
}

static int write_index(struct lp_segout *s, const char *path)
{
	struct lp_segindex_input input = {
		.name = s->name, .chunks_bytes = s->written, .chunks_id = XXH3_64bits_digest(&s->id), .entries = s->entries,
		.raw_bytes = s->raw_bytes, .min_ts = s->min_ts, .max_ts = s->max_ts,
		.streams = (struct lp_segindex_stream *)(void *)s->streams.data,
		.labels = (const uint8_t *const *)(const void *)s->labels.data,
		.n_streams = count_of(&s->streams, sizeof(struct lp_segindex_stream)),
		.blocks = (const struct lp_segindex_block *)(const void *)s->blocks.data, .n_blocks = count_of(&s->blocks, sizeof s->block),
		.runs = (const struct lp_run *)(const void *)s->runs.data, .n_runs = count_of(&s->runs, sizeof(struct lp_run)),
		.grams = s->grams.data,
	};

	lp_buf_reset(&s->out);
	int r = lp_segindex_build(&input, &s->out);

	if (r < 0)
		return r;
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);

	if (fd < 0)
		return errno == EDQUOT ? -ENOSPC : -errno;
	r = write_all(fd, s->out.data, s->out.len, 0);
	if (r == 0)
		r = sync_file(s, fd);
	if (close(fd) < 0 && r == 0)
		r = -errno;
	return r;
}

static int make_day_dir(struct lp_segout *s, const char *dir)
{
	int r = mkdir(dir, 0750) < 0 ? -errno : 0;

	if (r == -ENOENT) {
		/* Somebody deleted all segments: the log must not wait for a restart, or it fills the disk. */
		if (mkdir(s->config->segments_dir, 0750) < 0 && errno != EEXIST)
			return errno == EDQUOT ? -ENOSPC : -errno;
		r = s->config->sync ? lp_dir_sync_parent(s->config->segments_dir) : 0;
		if (r == 0)
			r = mkdir(dir, 0750) < 0 ? -errno : 0;
	}
	if (r < 0 && r != -EEXIST)
		return r == -EDQUOT ? -ENOSPC : r;
	/* Also when it was there: whoever made it may have died before its name was synced. */
	return sync_dir(s, s->config->segments_dir);
}

/* Chunks first: an .index says that all is there. */
static int publish(struct lp_segout *s, const char *dir, char paths[4][PATH_MAX])
{
	if (rename(paths[0], paths[2]) < 0)
		return -errno;
	LP_FAULT("seal-chunks-renamed");
	if (rename(paths[1], paths[3]) < 0)
		return -errno;
	LP_FAULT("seal-index-renamed");
	return sync_dir(s, dir);
}

static void reset(struct lp_segout *s, const struct lp_segment_name *name)
{
	struct lp_buf *bufs[] = { &s->out, &s->blocks, &s->runs, &s->streams, &s->labels, &s->grams, &s->ts, &s->ends, &s->meta_ends, &s->text, &s->meta };

	for (size_t i = 0; i < sizeof bufs / sizeof *bufs; i++)
		lp_buf_reset(bufs[i]);
	s->name = *name;
	s->written = s->entries = s->raw_bytes = 0;
	s->min_ts = INT64_MAX;
	s->max_ts = INT64_MIN;
	s->rows = 0;
	s->run_open = s->stream_new = false;
	XXH3_64bits_reset(&s->id);
}

static int write_files(struct lp_segout *s, const char *dir, char paths[4][PATH_MAX], lp_segout_fill *fill, void *arg)
{
	int r = write_chunks(s, fill, arg, paths[0]);

	LP_FAULT("seal-chunks-written");
	if (r == 0 && !s->entries)
		return -ENODATA;
	if (r == 0)
		r = write_index(s, paths[1]);
	LP_FAULT("seal-index-written");
	if (r == 0 && lp_map_faults() != s->faults)
		r = -EIO;               /* the disk did not give a page of what was read: what was copied may be zeros */
	if (r < 0)
		return r;
	r = s->config->may_publish && !s->config->may_publish(s->config->arg) ? -ECANCELED : publish(s, dir, paths);
	if (s->config->published)
		s->config->published(s->config->arg);
	return r;
}

int lp_segout_write(struct lp_segout *s, const struct lp_segment_name *name, lp_segout_fill *fill, void *arg, struct lp_seal_result *result)
{
	static const char *const suffixes[4] = { ".chunks.tmp", ".index.tmp", ".chunks", ".index" };
	char dir[PATH_MAX], paths[4][PATH_MAX];

	reset(s, name);
	int r = day_dir(s, dir);

	for (int i = 0; r == 0 && i < 4; i++)
		r = path_of(s, suffixes[i], paths[i]);
	if (r == 0)
		r = make_day_dir(s, dir);
	if (r < 0)
		return r;
	r = write_files(s, dir, paths, fill, arg);
	if (r < 0) {
		(void)unlink(paths[0]);
		(void)unlink(paths[1]);
		(void)rmdir(dir);       /* only when it is empty */
		return r;
	}
	result->segments++;
	result->entries += s->entries;
	result->raw_bytes += s->raw_bytes;
	result->disk_bytes += s->written + s->out.len;
	return 0;
}

int lp_segout_open(const struct lp_seal_config *config, struct lp_segout **ret_out)
{
	struct lp_segout *s = calloc(1, sizeof *s);

	if (!s)
		return -ENOMEM;
	s->faults = lp_map_faults();
	s->config = config;
	int r = lp_block_encoder_open(config->compress ? (config->level ? config->level : 1) : 0, &s->encoder);

	if (r < 0) {
		free(s);
		return r;
	}
	*ret_out = s;
	return 0;
}

void lp_segout_close(struct lp_segout **out)
{
	struct lp_segout *s = *out;

	if (!s)
		return;
	struct lp_buf *bufs[] = { &s->out, &s->blocks, &s->runs, &s->streams, &s->labels, &s->grams, &s->ts, &s->ends, &s->meta_ends, &s->text, &s->meta };

	for (size_t i = 0; i < sizeof bufs / sizeof *bufs; i++)
		lp_buf_free(bufs[i]);
	lp_block_encoder_close(&s->encoder);
	free(s);
	*out = NULL;
}

int lp_seal_wal(const struct lp_seal_config *config, const char *wal_path, uint32_t number, struct lp_seal_result *ret_result)
{
	struct lp_seal_input input = { 0 };
	struct lp_seal_result result = { 0 };
	struct lp_segout *s = NULL;

	LP_FAULT("seal-start");
	int r = lp_segout_open(config, &s);

	if (r < 0)
		return r;
	r = lp_seal_collect(wal_path, &input);
	if (r == 0)
		r = lp_seal_sort(&input, config->oldest_ns);
	if (r == 0 && lp_map_faults() != s->faults)
		r = -EIO;               /* a zeroed page would end the log early */
	for (uint32_t i = 0, end; r == 0 && i < input.n_pieces; i = end) {
		struct lp_segment_name name = { .day = input.pieces[i].day, .first = number, .last = number };

		for (end = i + 1; end < input.n_pieces && input.pieces[end].day == input.pieces[i].day; end++)
			;
		r = lp_segout_write(s, &name, fill_day, &(struct day){ &input, input.pieces + i, end - i }, &result);
	}
	if (r == 0) {
		result.expired = input.expired;
		result.duplicates = input.duplicates;
		result.damaged_bytes = input.damaged_bytes;
		*ret_result = result;
	}
	lp_segout_close(&s);
	lp_seal_input_free(&input);
	LP_FAULT("seal-done");
	return r;
}
