/* Batch: columns in growing memory, copied once into the record.
 *
 * Guarantees that what it encodes passes lp_walrec_check: the callers' canonical labels and metadata are the only
 * thing it takes on trust.  Process: worker; memory only, nothing outlives the process. */
#include "ingest/batch-private.h"

#include "common/assert.h"
#include "common/crc32c.h"

#include <errno.h>
#include <stdlib.h>

static int column_reserve(struct lp_column *column, size_t n)
{
	if (n <= column->cap - column->len)
		return 0;
	size_t cap = column->cap ? column->cap * 2 : 4096;

	if (cap < column->len + n)
		cap = column->len + n;
	uint8_t *p = realloc(column->p, cap);

	if (!p)
		return -ENOMEM;
	column->p = p;
	column->cap = cap;
	return 0;
}

static void column_reset(struct lp_column *column)
{
	column->len = 0;
	if (column->cap > LP_BATCH_KEEP_BYTES) {
		free(column->p);
		*column = (struct lp_column){ 0 };
	}
}

int lp_batch_open(size_t max_bytes, struct lp_batch **ret_batch)
{
	struct lp_batch *batch = calloc(1, sizeof *batch);

	if (!batch)
		return -ENOMEM;
	if (max_bytes > LP_WALREC_MAX_BYTES)
		max_bytes = LP_WALREC_MAX_BYTES;
	batch->max_bytes = max_bytes & ~(size_t)(LP_WALREC_ALIGN - 1);
	*ret_batch = batch;
	return 0;
}

static void free_entries(struct lp_batch *batch)
{
	free(batch->ts);
	free(batch->ends);
	free(batch->meta_ends);
	batch->ts = NULL;
	batch->ends = batch->meta_ends = NULL;
	batch->cap_entries = 0;
}

void lp_batch_close(struct lp_batch **batch)
{
	struct lp_batch *b = *batch;

	if (!b)
		return;
	free_entries(b);
	free(b->text.p);
	free(b->meta.p);
	free(b->labels.p);
	free(b->streams);
	free(b);
	*batch = NULL;
}

void lp_batch_reset(struct lp_batch *batch)
{
	batch->error = 0;
	batch->entries = 0;
	batch->has_meta = false;
	batch->reserved = 0;
	batch->n_streams = 0;
	column_reset(&batch->text);
	column_reset(&batch->meta);
	column_reset(&batch->labels);
	if ((size_t)batch->cap_entries * 16 > LP_BATCH_KEEP_BYTES)
		free_entries(batch);
	if ((size_t)batch->cap_streams * sizeof *batch->streams > LP_BATCH_KEEP_BYTES) {
		free(batch->streams);
		batch->streams = NULL;
		batch->cap_streams = 0;
	}
}

static int fail(struct lp_batch *batch, int error)
{
	batch->error = error;
	return error;
}

static int grow_streams(struct lp_batch *batch)
{
	uint32_t cap = batch->cap_streams ? batch->cap_streams * 2 : 16;
	struct lp_walrec_stream *streams = realloc(batch->streams, cap * sizeof *streams);

	if (!streams)
		return -ENOMEM;
	batch->streams = streams;
	batch->cap_streams = cap;
	return 0;
}

static void drop_empty_stream(struct lp_batch *batch)
{
	if (batch->n_streams && !batch->streams[batch->n_streams - 1].entries)
		batch->labels.len -= batch->streams[--batch->n_streams].labels_bytes;
}

int lp_batch_stream(struct lp_batch *batch, const uint8_t *labels, uint32_t labels_len)
{
	if (batch->error)
		return batch->error;
	drop_empty_stream(batch);
	if (batch->n_streams) {
		const struct lp_walrec_stream *last = &batch->streams[batch->n_streams - 1];

		if (last->labels_bytes == labels_len &&
		    !memcmp(batch->labels.p + batch->labels.len - labels_len, labels, labels_len))
			return 0;
	}
	if (lp_batch_text_off(batch, batch->entries, batch->has_meta) + labels_len + LP_WALREC_STREAM > batch->max_bytes)
		return fail(batch, -E2BIG);
	if ((batch->n_streams == batch->cap_streams && grow_streams(batch) < 0) ||
	    column_reserve(&batch->labels, labels_len) < 0)
		return fail(batch, -ENOMEM);
	memcpy(batch->labels.p + batch->labels.len, labels, labels_len);
	batch->labels.len += labels_len;
	batch->streams[batch->n_streams++] = (struct lp_walrec_stream){
		.hash = lp_labels_hash(labels, labels_len),
		.labels_bytes = labels_len,
		.labels_off = (uint32_t)(batch->labels.len - labels_len),       /* in the column; the record has its own */
		.first_entry = batch->entries,
		.min_ts = INT64_MAX,
		.max_ts = INT64_MIN,
		.flags = LP_WALREC_SORTED,
	};
	return 0;
}

char *lp_batch_line(struct lp_batch *batch, size_t max_len)
{
	if (batch->error)
		return NULL;
	if (max_len > lp_batch_room(batch)) {
		batch->error = -E2BIG;
		return NULL;
	}
	if (column_reserve(&batch->text, max_len + 1 + LP_BATCH_SLACK) < 0) {
		batch->error = -ENOMEM;
		return NULL;
	}
	batch->reserved = max_len + 1;
	return (char *)batch->text.p + batch->text.len;
}

static int grow_entries(struct lp_batch *batch)
{
	uint32_t cap = batch->cap_entries ? batch->cap_entries * 2 : 256;
	int64_t *ts = realloc(batch->ts, cap * sizeof *ts);

	if (!ts)
		return -ENOMEM;
	batch->ts = ts;
	uint32_t *ends = realloc(batch->ends, cap * sizeof *ends);

	if (!ends)
		return -ENOMEM;
	batch->ends = ends;
	uint32_t *meta_ends = realloc(batch->meta_ends, cap * sizeof *meta_ends);

	if (!meta_ends)
		return -ENOMEM;
	batch->meta_ends = meta_ends;
	batch->cap_entries = cap;
	return 0;
}

static int put_metadata(struct lp_batch *batch, const uint8_t *meta, uint32_t meta_len)
{
	if (meta_len) {
		if (column_reserve(&batch->meta, meta_len) < 0)
			return -ENOMEM;
		memcpy(batch->meta.p + batch->meta.len, meta, meta_len);
		batch->meta.len += meta_len;
		if (!batch->has_meta) {
			memset(batch->meta_ends, 0, batch->entries * sizeof *batch->meta_ends);
			batch->has_meta = true;
		}
	}
	if (batch->has_meta)
		batch->meta_ends[batch->entries] = (uint32_t)batch->meta.len;
	return 0;
}

int lp_batch_entry(struct lp_batch *batch, int64_t ts_ns, uint32_t line_len, const uint8_t *meta, uint32_t meta_len)
{
	LP_ASSERT(batch->n_streams);
	if (!batch->reserved && !lp_batch_line(batch, line_len))
		return batch->error;
	if (batch->error)
		return batch->error;
	LP_ASSERT(line_len < batch->reserved);
	if (lp_batch_text_off(batch, batch->entries + 1, batch->has_meta || meta_len) + batch->text.len + line_len + 1 +
	    batch->meta.len + meta_len > batch->max_bytes)
		return fail(batch, -E2BIG);
	if ((batch->entries == batch->cap_entries && grow_entries(batch) < 0) ||
	    ((meta_len || batch->has_meta) && put_metadata(batch, meta, meta_len) < 0))
		return fail(batch, -ENOMEM);
	struct lp_walrec_stream *stream = &batch->streams[batch->n_streams - 1];

	batch->reserved = 0;
	batch->text.p[batch->text.len + line_len] = '\n';
	batch->text.len += line_len + 1;
	if (stream->entries && ts_ns < batch->ts[batch->entries - 1])
		stream->flags &= ~LP_WALREC_SORTED;
	batch->ts[batch->entries] = ts_ns;
	batch->ends[batch->entries++] = (uint32_t)batch->text.len;
	stream->entries++;
	stream->text_bytes += line_len + 1;
	if (ts_ns < stream->min_ts)
		stream->min_ts = ts_ns;
	if (ts_ns > stream->max_ts)
		stream->max_ts = ts_ns;
	return 0;
}

int lp_batch_entry_copy(struct lp_batch *batch, int64_t ts_ns, const char *line, uint32_t line_len,
			const uint8_t *meta, uint32_t meta_len)
{
	char *to = lp_batch_line(batch, line_len);

	if (!to)
		return batch->error;
	if (line_len)
		memcpy(to, line, line_len);
	return lp_batch_entry(batch, ts_ns, line_len, meta, meta_len);
}

uint32_t lp_batch_entries(const struct lp_batch *batch)
{
	return batch->entries;
}

const uint8_t *lp_batch_labels(const struct lp_batch *batch, uint32_t i, uint32_t *ret_len, uint64_t *ret_hash)
{
	if (i >= batch->n_streams)
		return NULL;
	*ret_len = batch->streams[i].labels_bytes;
	*ret_hash = batch->streams[i].hash.lo;
	return batch->labels.p + batch->streams[i].labels_off;
}

uint64_t lp_batch_text_bytes(const struct lp_batch *batch)
{
	return batch->text.len - batch->entries;
}

uint64_t lp_batch_metadata_bytes(const struct lp_batch *batch)
{
	return batch->meta.len;
}

uint32_t lp_batch_encoded_bytes(const struct lp_batch *batch)
{
	if (!batch->entries)
		return 0;
	struct lp_batch b = *batch;

	drop_empty_stream(&b);          /* works on the copy: the caller's batch is const */
	size_t n = lp_batch_text_off(&b, b.entries, b.has_meta) + b.text.len + b.meta.len;

	return (uint32_t)LP_ALIGN(n, (size_t)LP_WALREC_ALIGN);
}

static uint8_t *put(uint8_t *to, const void *p, size_t n)
{
	if (n)
		memcpy(to, p, n);
	return to + n;
}

/* Zero up to a multiple of `align` bytes from the record's start. */
static uint8_t *put_padding(const uint8_t *rec, uint8_t *to, size_t align)
{
	size_t n = (size_t)(to - rec), pad = LP_ALIGN(n, align) - n;

	memset(to, 0, pad);
	return to + pad;
}

void lp_batch_encode(const struct lp_batch *batch, void *to, uint64_t epoch, uint16_t lane, uint64_t pos)
{
	struct lp_batch b = *batch;
	uint8_t *rec = to, *p = rec + LP_WALREC_HEAD;

	LP_ASSERT(b.entries);
	drop_empty_stream(&b);
	struct lp_walrec_head head = {
		.magic = LP_WALREC_MAGIC, .bytes = lp_batch_encoded_bytes(batch), .epoch = epoch, .pos = pos, .lane = lane,
		.kind = LP_WALREC_KIND_BATCH, .streams = b.n_streams, .entries = b.entries,
		.min_ts = INT64_MAX, .max_ts = INT64_MIN, .text_bytes = (uint32_t)b.text.len,
		.flags = b.has_meta ? LP_WALREC_HAS_METADATA : 0,
	};
	uint32_t labels_off = LP_WALREC_HEAD + b.n_streams * LP_WALREC_STREAM;

	for (uint32_t s = 0; s < b.n_streams; s++) {
		struct lp_walrec_stream stream = b.streams[s];

		stream.labels_off = labels_off;
		labels_off += stream.labels_bytes;
		if (stream.min_ts < head.min_ts)
			head.min_ts = stream.min_ts;
		if (stream.max_ts > head.max_ts)
			head.max_ts = stream.max_ts;
		p = put(p, &stream, sizeof stream);
	}
	p = put_padding(rec, put(p, b.labels.p, b.labels.len), 8);
	p = put(p, b.ts, b.entries * sizeof *b.ts);
	p = put(p, b.ends, b.entries * sizeof *b.ends);
	if (b.has_meta)
		p = put(p, b.meta_ends, b.entries * sizeof *b.meta_ends);
	p = put(put_padding(rec, p, 8), b.text.p, b.text.len);
	p = put_padding(rec, put(p, b.meta.p, b.meta.len), LP_WALREC_ALIGN);
	LP_ASSERT((size_t)(p - rec) == head.bytes);
	memcpy(rec, &head, sizeof head);        /* its crc field is zero: what the crc is computed over */
	head.crc = lp_crc32c(0, rec, head.bytes);
	memcpy(rec, &head, sizeof head);
}
