/* WAL record: checks and accessors; see walrec.h for the layout.  Pure functions over memory, any process.
 * Every field comes from shared memory or a file: copied first, then checked. */
#include "store/format/walrec.h"

#include "common/crc32c.h"

#include <errno.h>

/* Offsets of the columns that follow the stream directory and the labels. */
struct layout {
	uint64_t ts, ends, meta_ends, text, end_of_text;
};

static uint64_t labels_end(const uint8_t *rec, const struct lp_walrec_head *head)
{
	uint64_t end = LP_WALREC_HEAD + (uint64_t)head->streams * LP_WALREC_STREAM;

	if (!head->streams)
		return end;
	const uint8_t *last = rec + end - LP_WALREC_STREAM;

	return (uint64_t)lp_le32(last + 20) + lp_le32(last + 16);
}

static int find_layout(const uint8_t *rec, const struct lp_walrec_head *head, struct layout *ret)
{
	struct layout l;
	uint64_t dir_end = LP_WALREC_HEAD + (uint64_t)head->streams * LP_WALREC_STREAM;

	if (dir_end > head->bytes)
		return -EBADMSG;
	l.ts = LP_ALIGN(labels_end(rec, head), 8);
	l.ends = l.ts + (uint64_t)head->entries * 8;
	l.meta_ends = l.ends + (uint64_t)head->entries * 4;
	l.text = l.meta_ends;
	if (head->flags & LP_WALREC_HAS_METADATA)
		l.text += (uint64_t)head->entries * 4;
	l.text = LP_ALIGN(l.text, 8);
	l.end_of_text = l.text + head->text_bytes;
	if (l.ts < dir_end || l.end_of_text > head->bytes)
		return -EBADMSG;
	*ret = l;
	return 0;
}

int lp_walrec_peek(const void *rec, size_t avail, struct lp_walrec_head *ret_head)
{
	struct lp_walrec_head head;

	if (avail < sizeof head)
		return -EBADMSG;
	memcpy(&head, rec, sizeof head);
	if (head.magic != LP_WALREC_MAGIC || head.kind != LP_WALREC_KIND_BATCH || head.bytes % LP_WALREC_ALIGN ||
	    head.bytes < sizeof head || head.bytes > LP_WALREC_MAX_BYTES || head.bytes > avail)
		return -EBADMSG;
	*ret_head = head;
	return 0;
}

int lp_walrec_stream(const void *rec, const struct lp_walrec_head *head, uint32_t s, struct lp_walrec_stream *ret)
{
	struct lp_walrec_stream stream;

	if (s >= head->streams || LP_WALREC_HEAD + ((uint64_t)s + 1) * LP_WALREC_STREAM > head->bytes)
		return -EBADMSG;
	memcpy(&stream, (const uint8_t *)rec + LP_WALREC_HEAD + (size_t)s * LP_WALREC_STREAM, sizeof stream);
	if ((uint64_t)stream.labels_off + stream.labels_bytes > head->bytes || !stream.entries ||
	    (uint64_t)stream.first_entry + stream.entries > head->entries)
		return -EBADMSG;
	*ret = stream;
	return 0;
}

int lp_walrec_rows(const void *rec, const struct lp_walrec_head *head, const struct lp_walrec_stream *stream,
		   struct lp_rows *ret_rows)
{
	const uint8_t *p = rec;
	struct layout l;
	int r = find_layout(p, head, &l);

	if (r < 0)
		return r;
	uint32_t first = stream->first_entry;

	if (!stream->entries || (uint64_t)first + stream->entries > head->entries)
		return -EBADMSG;
	const uint32_t *ends = (const uint32_t *)(const void *)(p + l.ends);
	struct lp_rows rows = {
		.n = stream->entries,
		.base = first ? ends[first - 1] : 0,
		.ts = (const int64_t *)(const void *)(p + l.ts) + first,
		.ends = ends + first,
		.text = (const char *)p + l.text,
		.sorted = stream->flags & LP_WALREC_SORTED,
	};

	if (head->flags & LP_WALREC_HAS_METADATA) {
		const uint32_t *meta_ends = (const uint32_t *)(const void *)(p + l.meta_ends);

		rows.meta_ends = meta_ends + first;
		rows.meta_base = first ? meta_ends[first - 1] : 0;
		rows.meta = p + l.end_of_text;
	}
	if (rows.ends[rows.n - 1] > head->text_bytes || rows.base > rows.ends[rows.n - 1])
		return -EBADMSG;
	*ret_rows = rows;
	return 0;
}

static uint32_t record_crc(const uint8_t *rec, uint32_t bytes)
{
	static const uint8_t zero[4];
	uint32_t crc = lp_crc32c(0, rec, 28);

	crc = lp_crc32c(crc, zero, 4);
	return lp_crc32c(crc, rec + 32, bytes - 32);
}

static int check_columns(const uint8_t *rec, const struct lp_walrec_head *head, const struct layout *l)
{
	const uint32_t *ends = (const uint32_t *)(const void *)(rec + l->ends);
	const char *text = (const char *)rec + l->text;
	uint32_t prev = 0;

	for (uint32_t i = 0; i < head->entries; i++) {
		if (ends[i] <= prev || ends[i] > head->text_bytes || text[ends[i] - 1] != '\n')
			return -EBADMSG;
		prev = ends[i];
	}
	if (prev != head->text_bytes)
		return -EBADMSG;
	if (!(head->flags & LP_WALREC_HAS_METADATA))
		return 0;
	const uint32_t *meta_ends = (const uint32_t *)(const void *)(rec + l->meta_ends);

	prev = 0;
	for (uint32_t i = 0; i < head->entries; i++) {
		if (meta_ends[i] < prev || l->end_of_text + meta_ends[i] > head->bytes)
			return -EBADMSG;
		if (lp_metadata_check(rec + l->end_of_text + prev, meta_ends[i] - prev) < 0)
			return -EBADMSG;
		prev = meta_ends[i];
	}
	return 0;
}

static int check_streams(const uint8_t *rec, const struct lp_walrec_head *head, const struct layout *l)
{
	const int64_t *ts = (const int64_t *)(const void *)(rec + l->ts);
	const uint32_t *ends = (const uint32_t *)(const void *)(rec + l->ends);
	uint64_t labels_off = LP_WALREC_HEAD + (uint64_t)head->streams * LP_WALREC_STREAM;
	uint32_t entry = 0;
	int64_t rec_min = INT64_MAX, rec_max = INT64_MIN;

	for (uint32_t s = 0; s < head->streams; s++) {
		struct lp_walrec_stream stream;

		if (lp_walrec_stream(rec, head, s, &stream) < 0 || stream.first_entry != entry ||
		    stream.labels_off != labels_off || lp_labels_check(rec + labels_off, stream.labels_bytes) < 0)
			return -EBADMSG;
		struct lp_hash128 hash = lp_labels_hash(rec + labels_off, stream.labels_bytes);

		if (hash.lo != stream.hash.lo || hash.hi != stream.hash.hi)
			return -EBADMSG;
		int64_t min = INT64_MAX, max = INT64_MIN;
		bool sorted = true;

		for (uint32_t i = entry; i < entry + stream.entries; i++) {
			min = ts[i] < min ? ts[i] : min;
			max = ts[i] > max ? ts[i] : max;
			sorted = sorted && (i == entry || ts[i - 1] <= ts[i]);
		}
		uint32_t text = ends[entry + stream.entries - 1] - (entry ? ends[entry - 1] : 0);

		if (min != stream.min_ts || max != stream.max_ts || text != stream.text_bytes ||
		    sorted != !!(stream.flags & LP_WALREC_SORTED))
			return -EBADMSG;
		rec_min = min < rec_min ? min : rec_min;
		rec_max = max > rec_max ? max : rec_max;
		entry += stream.entries;
		labels_off += stream.labels_bytes;
	}
	return entry == head->entries && rec_min == head->min_ts && rec_max == head->max_ts ? 0 : -EBADMSG;
}

int lp_walrec_check(const void *rec, size_t avail, uint32_t *ret_bytes)
{
	struct lp_walrec_head head;
	struct layout l;

	if (lp_walrec_peek(rec, avail, &head) < 0 || head.crc != record_crc(rec, head.bytes) || !head.entries ||
	    !head.streams || find_layout(rec, &head, &l) < 0 || check_columns(rec, &head, &l) < 0 ||
	    check_streams(rec, &head, &l) < 0)
		return -EBADMSG;
	*ret_bytes = head.bytes;
	return 0;
}
