/* Segment index, reading; see segindex.h for the layout.  Pure functions over mapped memory, any process, any thread.
 * Nothing is decoded at open: opening costs two checksums over a few hundred bytes.  Every accessor checks what it touches, because the
 * sections' own checksums are only verified offline. */
#include "store/format/segindex.h"

#include "common/bytes.h"
#include "common/crc32c.h"

#include <errno.h>

static uint32_t head_crc(const struct lp_segindex_head *head, const void *table, size_t table_bytes)
{
	struct lp_segindex_head copy = *head;

	copy.crc = 0;
	return lp_crc32c(lp_crc32c(0, &copy, sizeof copy), table, table_bytes);
}

static uint32_t chunks_crc(const struct lp_chunks_head *head)
{
	struct lp_chunks_head copy = *head;

	copy.crc = 0;
	return lp_crc32c(0, &copy, sizeof copy);
}

void lp_chunks_head_make(struct lp_chunks_head *head, uint64_t id, uint64_t bytes)
{
	*head = (struct lp_chunks_head){ .magic = LP_CHUNKS_MAGIC, .version = LP_SEGINDEX_VERSION, .id = id, .bytes = bytes };
	head->crc = chunks_crc(head);
}

int lp_chunks_head_check(const void *p, size_t avail, struct lp_chunks_head *ret_head)
{
	struct lp_chunks_head head;

	if (avail < sizeof head)
		return -EBADMSG;
	memcpy(&head, p, sizeof head);
	if (head.magic != LP_CHUNKS_MAGIC || head.crc != chunks_crc(&head))
		return -EBADMSG;
	if (head.version != LP_SEGINDEX_VERSION)
		return -EPROTO;
	*ret_head = head;
	return 0;
}

/* Bytes per item; 0: free-form. */
static const uint8_t item_bytes[LP_SEGINDEX_KNOWN] = {
	[LP_SEGINDEX_NAMES] = sizeof(struct lp_segindex_name), [LP_SEGINDEX_RESTARTS] = 4, [LP_SEGINDEX_POSTS] = 4,
	[LP_SEGINDEX_POSTINGS] = 4, [LP_SEGINDEX_STREAMS] = sizeof(struct lp_segindex_stream),
	[LP_SEGINDEX_BLOCKS] = sizeof(struct lp_segindex_block), [LP_SEGINDEX_RUNS] = sizeof(struct lp_run),
};

static int open_section(struct lp_segindex *index, const struct lp_segindex_section *s)
{
	if (s->off % 8 || s->off > index->head.bytes || s->bytes > index->head.bytes - s->off)
		return -EBADMSG;
	if (!s->id || s->id >= LP_SEGINDEX_KNOWN)
		return s->flags & 1 ? -EPROTO : 0;
	if (index->sections[s->id].p || (item_bytes[s->id] && s->bytes != (uint64_t)s->items * item_bytes[s->id]) || s->bytes > UINT32_MAX * UINT64_C(64))
		return -EBADMSG;
	index->sections[s->id].p = index->base + s->off;
	index->sections[s->id].bytes = s->bytes;
	index->sections[s->id].items = s->items;
	if (s->id == LP_SEGINDEX_GRAMS)
		index->grams_crc = s->crc;
	return 0;
}

static int check_counts(struct lp_segindex *index)
{
	const struct lp_segindex_head *head = &index->head;

	for (unsigned id = 1; id < LP_SEGINDEX_OPTIONAL; id++)
		if (!index->sections[id].p)
			return -EBADMSG;
	if (index->sections[LP_SEGINDEX_STREAMS].items != head->streams || index->sections[LP_SEGINDEX_BLOCKS].items != head->blocks ||
	    index->sections[LP_SEGINDEX_RUNS].items != head->runs || !index->sections[LP_SEGINDEX_NAMES].items ||
	    !index->sections[LP_SEGINDEX_POSTS].items || head->first > head->last || head->min_ts > head->max_ts)
		return -EBADMSG;
	index->names = index->sections[LP_SEGINDEX_NAMES].items - 1;
	return 0;
}

int lp_segindex_open(const void *bytes, size_t len, struct lp_segindex *ret_index)
{
	struct lp_segindex index = { .base = bytes };

	if (len < sizeof index.head)
		return -EBADMSG;
	memcpy(&index.head, bytes, sizeof index.head);
	if (index.head.magic != LP_SEGINDEX_MAGIC)
		return -EBADMSG;
	if (index.head.version != LP_SEGINDEX_VERSION || index.head.incompat)
		return -EPROTO;
	size_t table = (size_t)index.head.sections * sizeof(struct lp_segindex_section);

	if (index.head.sections > LP_SEGINDEX_MAX_SECTIONS || index.head.bytes != len || table > len - sizeof index.head ||
	    index.head.crc != head_crc(&index.head, index.base + sizeof index.head, table))
		return -EBADMSG;
	for (uint32_t i = 0; i < index.head.sections; i++) {
		struct lp_segindex_section section;

		memcpy(&section, index.base + sizeof index.head + i * sizeof section, sizeof section);
		int r = open_section(&index, &section);

		if (r < 0)
			return r;
	}
	int r = check_counts(&index);

	if (r < 0)
		return r;
	*ret_index = index;
	return 0;
}

/* Copy item i of a table section. */
static int get_item(const struct lp_segindex *index, unsigned id, uint32_t i, void *to)
{
	if (i >= index->sections[id].items)
		return -EINVAL;
	memcpy(to, index->sections[id].p + (size_t)i * item_bytes[id], item_bytes[id]);
	return 0;
}

int lp_segindex_stream(const struct lp_segindex *index, uint32_t stream, struct lp_segindex_stream *ret, const uint8_t **ret_labels)
{
	struct lp_segindex_stream s;
	int r = get_item(index, LP_SEGINDEX_STREAMS, stream, &s);

	if (r < 0)
		return r;
	if ((uint64_t)s.labels_off + s.labels_len > index->sections[LP_SEGINDEX_LABELS].bytes || !s.runs || s.min_ts > s.max_ts ||
	    (uint64_t)s.first_run + s.runs > index->head.runs)
		return -EBADMSG;
	*ret = s;
	if (ret_labels)
		*ret_labels = index->sections[LP_SEGINDEX_LABELS].p + s.labels_off;
	return 0;
}

int lp_segindex_block(const struct lp_segindex *index, uint32_t block, struct lp_segindex_block *ret)
{
	struct lp_segindex_block b;
	int r = get_item(index, LP_SEGINDEX_BLOCKS, block, &b);

	if (r < 0)
		return r;
	if (b.off > index->head.chunks_bytes || b.bytes > index->head.chunks_bytes - b.off || b.first_stream > b.last_stream ||
	    b.last_stream >= index->head.streams || b.first_run >= index->head.runs || b.min_ts > b.max_ts)
		return -EBADMSG;
	*ret = b;
	return 0;
}

int lp_segindex_run(const struct lp_segindex *index, uint32_t run, struct lp_run *ret)
{
	struct lp_segindex_block block;
	struct lp_run t;
	int r = get_item(index, LP_SEGINDEX_RUNS, run, &t);

	if (r < 0)
		return r;
	/* Inside what the block table promises; lp_segment_block() holds the block itself against that. */
	if (t.stream >= index->head.streams || lp_segindex_block(index, t.block, &block) < 0 || !t.rows || t.min_ts > t.max_ts ||
	    (uint64_t)t.first_row + t.rows > block.entries || (uint64_t)t.text_off + t.raw_bytes + t.rows > block.raw_bytes)
		return -EBADMSG;
	*ret = t;
	return 0;
}

int lp_segindex_name(const struct lp_segindex *index, uint32_t name, struct lp_segindex_name *ret, const char **ret_s)
{
	struct lp_segindex_name n;
	int r = get_item(index, LP_SEGINDEX_NAMES, name, &n);

	if (r < 0)
		return r;
	if ((uint64_t)n.off + n.len > index->sections[LP_SEGINDEX_STRINGS].bytes ||
	    (uint64_t)n.first_value + n.values >= index->sections[LP_SEGINDEX_POSTS].items ||
	    (uint64_t)n.first_restart + ((uint64_t)n.values + LP_SEGINDEX_RESTART - 1) / LP_SEGINDEX_RESTART >
		    index->sections[LP_SEGINDEX_RESTARTS].items)
		return -EBADMSG;
	*ret = n;
	*ret_s = (const char *)index->sections[LP_SEGINDEX_STRINGS].p + n.off;
	return 0;
}

static int cmp_bytes(const char *a, size_t a_len, const char *b, size_t b_len)
{
	size_t n = a_len < b_len ? a_len : b_len;
	int c = n ? memcmp(a, b, n) : 0;

	return c ? c : (a_len > b_len) - (a_len < b_len);
}

int lp_segindex_find_name(const struct lp_segindex *index, const char *s, size_t len, uint32_t *ret_name)
{
	uint32_t low = 0, high = index->names;
	struct lp_segindex_name n;
	const char *text;

	if (!len)
		low = high;
	while (low < high) {
		uint32_t mid = low + (high - low) / 2;
		int r = lp_segindex_name(index, mid, &n, &text);

		if (r < 0)
			return r;
		if (cmp_bytes(text, n.len, s, len) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	int r = lp_segindex_name(index, low, &n, &text);

	if (r < 0)
		return r;
	if (n.len != len || (len && memcmp(text, s, len)))
		return -ENOENT;
	*ret_name = low;
	return 0;
}

/* Walks the front-coded values from a restart on. */
struct cursor {
	const uint8_t *p, *end;
	size_t start;           /* in the scratch buffer */
};

static int cursor_start(const struct lp_segindex *index, const struct lp_segindex_name *n, uint32_t restart, const struct lp_buf *scratch,
			struct cursor *ret)
{
	uint32_t off;
	int r = get_item(index, LP_SEGINDEX_RESTARTS, n->first_restart + restart, &off);

	if (r < 0 || off > index->sections[LP_SEGINDEX_STRINGS].bytes)
		return -EBADMSG;
	const uint8_t *base = index->sections[LP_SEGINDEX_STRINGS].p;

	*ret = (struct cursor){ base + off, base + index->sections[LP_SEGINDEX_STRINGS].bytes, scratch->len };
	return 0;
}

/* Turn the value in scratch (from c->start on) into the next one. */
static int cursor_next(struct cursor *c, struct lp_buf *scratch)
{
	uint64_t shared, rest;
	const uint8_t *p = lp_varint_get(c->p, c->end, &shared);

	if (p)
		p = lp_varint_get(p, c->end, &rest);
	if (!p || shared > scratch->len - c->start || rest > (uint64_t)(c->end - p))
		return -EBADMSG;
	scratch->len = c->start + (size_t)shared;
	if (!lp_buf_reserve(scratch, (size_t)rest + 1))
		return -ENOMEM;
	lp_buf_append(scratch, p, (size_t)rest);
	c->p = p + rest;
	return 0;
}

int lp_segindex_value(const struct lp_segindex *index, uint32_t name, uint32_t value, struct lp_buf *scratch, const char **ret_s,
		      uint32_t *ret_len)
{
	struct lp_segindex_name n;
	struct cursor c;
	const char *text;
	size_t before = scratch->len;
	int r = lp_segindex_name(index, name, &n, &text);

	if (r < 0)
		return r;
	if (value >= n.values)
		return -EINVAL;
	r = cursor_start(index, &n, value / LP_SEGINDEX_RESTART, scratch, &c);
	for (uint32_t i = 0; r == 0 && i <= value % LP_SEGINDEX_RESTART; i++)
		r = cursor_next(&c, scratch);
	if (r < 0) {
		scratch->len = before;
		return r;
	}
	*ret_s = (const char *)scratch->data + before;
	*ret_len = (uint32_t)(scratch->len - before);
	return 0;
}

/* The last restart whose value is not behind s. */
static int find_restart(const struct lp_segindex *index, const struct lp_segindex_name *n, const char *s, size_t len, struct lp_buf *tmp,
			uint32_t *ret_restart)
{
	uint32_t low = 0, high = (n->values - 1) / LP_SEGINDEX_RESTART + 1;
	struct cursor c;

	while (high - low > 1) {
		uint32_t mid = low + (high - low) / 2;

		lp_buf_reset(tmp);
		int r = cursor_start(index, n, mid, tmp, &c);

		if (r == 0)
			r = cursor_next(&c, tmp);
		if (r < 0)
			return r;
		if (cmp_bytes((const char *)tmp->data, tmp->len, s, len) <= 0)
			low = mid;
		else
			high = mid;
	}
	*ret_restart = low;
	return 0;
}

int lp_segindex_find_value(const struct lp_segindex *index, uint32_t name, const char *s, size_t len, uint32_t *ret_value)
{
	struct lp_buf tmp = LP_BUF_INIT;
	struct lp_segindex_name n;
	struct cursor c;
	const char *text;
	uint32_t restart = 0;
	int r = lp_segindex_name(index, name, &n, &text);

	if (r < 0)
		return r;
	if (!n.values)
		return -ENOENT;
	r = find_restart(index, &n, s, len, &tmp, &restart);
	lp_buf_reset(&tmp);
	if (r == 0)
		r = cursor_start(index, &n, restart, &tmp, &c);
	for (uint32_t v = restart * LP_SEGINDEX_RESTART; r == 0; v++) {
		if (v == n.values || v == (restart + 1) * LP_SEGINDEX_RESTART) {
			r = -ENOENT;
			break;
		}
		r = cursor_next(&c, &tmp);
		if (r == 0 && tmp.len == len && (!len || !memcmp(tmp.data, s, len))) {
			*ret_value = v;
			break;
		}
	}
	lp_buf_free(&tmp);
	return r;
}

int lp_segindex_postings(const struct lp_segindex *index, uint32_t name, uint32_t value, const uint32_t **ret_streams, uint32_t *ret_n)
{
	struct lp_segindex_name n;
	uint32_t from = 0, to = 0;
	const char *text;
	int r = lp_segindex_name(index, name, &n, &text);

	if (r < 0)
		return r;
	if (value >= n.values)
		return -EINVAL;
	if (get_item(index, LP_SEGINDEX_POSTS, n.first_value + value, &from) < 0 ||
	    get_item(index, LP_SEGINDEX_POSTS, n.first_value + value + 1, &to) < 0 || from > to || to > index->sections[LP_SEGINDEX_POSTINGS].items)
		return -EBADMSG;
	const uint32_t *streams = (const uint32_t *)(const void *)index->sections[LP_SEGINDEX_POSTINGS].p + from;
	bool ascend = true;

	/* Callers index bitmaps with them: one pass here is cheap beside what they do with each. */
	for (uint32_t i = 1; i < to - from; i++)
		ascend &= streams[i - 1] < streams[i];
	if (!ascend || (to > from && streams[to - from - 1] >= index->head.streams))
		return -EBADMSG;
	*ret_streams = streams;
	*ret_n = to - from;
	return 0;
}

int lp_segindex_grams(const struct lp_segindex *index, struct lp_grams *ret_grams)
{
	if (!index->sections[LP_SEGINDEX_GRAMS].p)
		return -ENOENT;
	if (index->sections[LP_SEGINDEX_GRAMS].items != index->head.blocks)
		return -EBADMSG;
	int r = lp_grams_open(index->sections[LP_SEGINDEX_GRAMS].p, index->sections[LP_SEGINDEX_GRAMS].bytes, index->head.blocks, ret_grams);

	return r == -EPROTO ? -ENOENT : r;
}

int lp_segindex_grams_check(const struct lp_segindex *index)
{
	return lp_crc32c(0, index->sections[LP_SEGINDEX_GRAMS].p, index->sections[LP_SEGINDEX_GRAMS].bytes) == index->grams_crc ? 0 : -EBADMSG;
}
