/* Segment index, writing; see segindex.h for the layout.  Pure memory; the writer's sealing thread, tests.
 *
 * Postings are made by interning: one pass over all labels gives every distinct (name, value) a number and remembers the number per
 * occurrence (4 bytes), then only the distinct pairs are sorted, and a second pass in stream order fills the postings, which so ascend
 * without being sorted. */
#include "store/format/segindex.h"

#include "common/bytes.h"
#include "common/crc32c.h"
#include "store/format/labels.h"

#include <errno.h>
#include <stdlib.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

struct pair {
	const char *name, *value;       /* in the input's labels */
	uint32_t name_len, value_len;
	uint32_t hash;
	uint32_t count;                 /* streams that have it */
	uint32_t next;                  /* where its next posting goes */
};

struct builder {
	const struct lp_segindex_input *in;
	struct pair *pairs;
	uint32_t n_pairs, cap_pairs;
	uint32_t *slots;                /* pair number + 1 */
	uint32_t slot_mask;
	uint32_t *sorted;               /* pair numbers in (name, value) order, the tenants' name last */
	struct lp_buf occurrences;      /* u32 pair number, streams in order, tenant first */
	struct lp_buf parts[LP_SEGINDEX_KNOWN];
};

static int cmp_bytes(const char *a, size_t a_len, const char *b, size_t b_len)
{
	size_t n = a_len < b_len ? a_len : b_len;
	int c = n ? memcmp(a, b, n) : 0;

	return c ? c : (a_len > b_len) - (a_len < b_len);
}

static int grow(struct builder *b)
{
	uint32_t cap = b->cap_pairs ? b->cap_pairs * 2 : 1024;

	if (cap > UINT32_MAX / 4)
		return -EFBIG;
	struct pair *pairs = realloc(b->pairs, cap * sizeof *pairs);

	if (!pairs)
		return -ENOMEM;
	b->pairs = pairs;
	uint32_t *slots = calloc((size_t)cap * 2, sizeof *slots);

	if (!slots)
		return -ENOMEM;
	free(b->slots);
	b->slots = slots;
	b->slot_mask = cap * 2 - 1;
	b->cap_pairs = cap;
	for (uint32_t i = 0; i < b->n_pairs; i++) {
		uint32_t at = pairs[i].hash & b->slot_mask;

		while (slots[at])
			at = (at + 1) & b->slot_mask;
		slots[at] = i + 1;
	}
	return 0;
}

static int intern(struct builder *b, const char *name, uint32_t name_len, const char *value, uint32_t value_len)
{
	uint64_t h = XXH3_64bits_withSeed(value, value_len, XXH3_64bits(name, name_len));
	uint32_t hash = (uint32_t)(h ^ h >> 32), i;

	if (b->n_pairs == b->cap_pairs) {
		int r = grow(b);

		if (r < 0)
			return r;
	}
	uint32_t at = hash & b->slot_mask;

	for (; (i = b->slots[at]) != 0; at = (at + 1) & b->slot_mask) {
		const struct pair *p = &b->pairs[i - 1];

		if (p->hash == hash && !cmp_bytes(p->name, p->name_len, name, name_len) && !cmp_bytes(p->value, p->value_len, value, value_len))
			break;
	}
	if (!i) {
		b->pairs[b->n_pairs] = (struct pair){ .name = name, .value = value, .name_len = name_len, .value_len = value_len, .hash = hash };
		b->slots[at] = i = ++b->n_pairs;
	}
	i--;
	b->pairs[i].count++;
	lp_buf_append(&b->occurrences, &i, sizeof i);
	return b->occurrences.failed ? -ENOMEM : 0;
}

static int intern_all(struct builder *b)
{
	for (uint32_t s = 0; s < b->in->n_streams; s++) {
		struct lp_labels_iter it;
		struct lp_label label;
		const char *tenant;
		size_t tenant_len;
		int r = lp_labels_iter(&it, b->in->labels[s], b->in->streams[s].labels_len, &tenant, &tenant_len);

		if (r == 0)
			r = intern(b, "", 0, tenant, (uint32_t)tenant_len);
		while (r >= 0 && (r = lp_labels_next(&it, &label)) > 0)
			r = intern(b, label.name, label.name_len, label.value, label.value_len);
		if (r < 0)
			return r;
	}
	return 0;
}

static int pair_cmp(const void *a, const void *b, void *arg)
{
	const struct pair *pairs = arg, *x = &pairs[*(const uint32_t *)a], *y = &pairs[*(const uint32_t *)b];

	if (!x->name_len != !y->name_len)
		return x->name_len ? -1 : 1;
	int c = cmp_bytes(x->name, x->name_len, y->name, y->name_len);

	return c ? c : cmp_bytes(x->value, x->value_len, y->value, y->value_len);
}

static void put_u32(struct lp_buf *buf, uint32_t v)
{
	lp_buf_append(buf, &v, sizeof v);
}

static void put_varint(struct lp_buf *buf, uint64_t v)
{
	uint8_t tmp[LP_VARINT_MAX];

	lp_buf_append(buf, tmp, (size_t)(lp_varint_put(tmp, v) - tmp));
}

static void put_value(struct lp_buf *strings, const struct pair *prev, const struct pair *p)
{
	uint32_t shared = 0;

	if (prev)
		while (shared < prev->value_len && shared < p->value_len && prev->value[shared] == p->value[shared])
			shared++;
	put_varint(strings, shared);
	put_varint(strings, p->value_len - shared);
	lp_buf_append(strings, p->value + shared, p->value_len - shared);
}

/* Names, restarts and strings. */
static int put_names(struct builder *b)
{
	struct lp_buf *strings = &b->parts[LP_SEGINDEX_STRINGS], *restarts = &b->parts[LP_SEGINDEX_RESTARTS];

	for (uint32_t i = 0; i < b->n_pairs;) {
		const struct pair *first = &b->pairs[b->sorted[i]], *prev = NULL;
		struct lp_segindex_name name = { .off = (uint32_t)strings->len, .len = first->name_len, .first_value = i,
						 .first_restart = (uint32_t)(restarts->len / 4) };

		lp_buf_append(strings, first->name, first->name_len);
		for (; i < b->n_pairs; i++, name.values++) {
			const struct pair *p = &b->pairs[b->sorted[i]];

			if (cmp_bytes(p->name, p->name_len, first->name, first->name_len))
				break;
			if (name.values % LP_SEGINDEX_RESTART == 0) {
				put_u32(restarts, (uint32_t)strings->len);
				prev = NULL;
			}
			put_value(strings, prev, p);
			prev = p;
		}
		lp_buf_append(&b->parts[LP_SEGINDEX_NAMES], &name, sizeof name);
	}
	return strings->len > UINT32_MAX ? -EFBIG : 0;
}

static int put_postings(struct builder *b)
{
	struct lp_buf *posts = &b->parts[LP_SEGINDEX_POSTS], *postings = &b->parts[LP_SEGINDEX_POSTINGS];
	size_t total = b->occurrences.len / 4;
	const uint32_t *occurrence = (const uint32_t *)(const void *)b->occurrences.data;
	uint32_t at = 0;

	if (total > UINT32_MAX)
		return -EFBIG;
	for (uint32_t i = 0; i < b->n_pairs; i++) {
		struct pair *p = &b->pairs[b->sorted[i]];

		put_u32(posts, at);
		p->next = at;
		at += p->count;
	}
	put_u32(posts, at);
	uint32_t *out = lp_buf_reserve(postings, total * 4 + 4);

	if (!out)
		return -ENOMEM;
	for (uint32_t s = 0; s < b->in->n_streams; s++) {
		struct lp_labels_iter it;
		int r = lp_labels_iter(&it, b->in->labels[s], b->in->streams[s].labels_len, NULL, NULL);

		if (r < 0)
			return r;
		for (uint64_t k = 0; k <= it.left; k++)
			out[b->pairs[*occurrence++].next++] = s;
	}
	postings->len += total * 4;
	return 0;
}

static int put_streams(struct builder *b)
{
	struct lp_buf *labels = &b->parts[LP_SEGINDEX_LABELS];

	for (uint32_t s = 0; s < b->in->n_streams; s++) {
		struct lp_segindex_stream *stream = &b->in->streams[s];

		stream->labels_off = (uint32_t)labels->len;
		lp_buf_append(labels, b->in->labels[s], stream->labels_len);
		if (labels->len > UINT32_MAX)
			return -EFBIG;
	}
	return 0;
}

static void put_file(struct builder *b, struct lp_buf *out)
{
	static const uint8_t item_bytes[LP_SEGINDEX_KNOWN] = { 0, sizeof(struct lp_segindex_name), 4, 1, 4, 4, sizeof(struct lp_segindex_stream), 1,
							       sizeof(struct lp_segindex_block), sizeof(struct lp_run), 1 };
	static const uint8_t zeros[8];
	const struct lp_segindex_input *in = b->in;
	const void *data[LP_SEGINDEX_KNOWN];
	size_t bytes[LP_SEGINDEX_KNOWN];
	unsigned known = in->grams ? LP_SEGINDEX_KNOWN : LP_SEGINDEX_OPTIONAL;
	struct lp_segindex_section table[LP_SEGINDEX_KNOWN - 1] = { 0 };
	size_t table_bytes = (known - 1) * sizeof *table;
	struct lp_segindex_head head = { .magic = LP_SEGINDEX_MAGIC, .version = LP_SEGINDEX_VERSION, .day = in->name.day,
		.first = in->name.first, .last = in->name.last, .level = in->name.level, .sections = known - 1,
		.chunks_bytes = in->chunks_bytes, .chunks_id = in->chunks_id, .streams = in->n_streams, .blocks = in->n_blocks,
		.runs = in->n_runs, .entries = in->entries, .raw_bytes = in->raw_bytes, .min_ts = in->min_ts, .max_ts = in->max_ts };
	uint64_t off = sizeof head + table_bytes;

	for (unsigned id = 1; id < known; id++) {
		data[id] = b->parts[id].data;
		bytes[id] = b->parts[id].len;
	}
	data[LP_SEGINDEX_STREAMS] = in->streams;
	bytes[LP_SEGINDEX_STREAMS] = in->n_streams * sizeof *in->streams;
	data[LP_SEGINDEX_BLOCKS] = in->blocks;
	bytes[LP_SEGINDEX_BLOCKS] = in->n_blocks * sizeof *in->blocks;
	data[LP_SEGINDEX_RUNS] = in->runs;
	bytes[LP_SEGINDEX_RUNS] = in->n_runs * sizeof *in->runs;
	for (unsigned id = 1; id < known; id++) {
		table[id - 1] = (struct lp_segindex_section){ .id = id, .flags = id < LP_SEGINDEX_OPTIONAL, .off = off, .bytes = bytes[id],
			.crc = lp_crc32c(0, data[id], bytes[id]), .items = id == LP_SEGINDEX_GRAMS ? in->n_blocks : (uint32_t)(bytes[id] / item_bytes[id]) };
		off = LP_ALIGN(off + bytes[id], 8);
	}
	head.bytes = off;
	head.crc = lp_crc32c(lp_crc32c(0, &head, sizeof head), table, table_bytes);
	lp_buf_append(out, &head, sizeof head);
	lp_buf_append(out, table, table_bytes);
	for (unsigned id = 1; id < known; id++) {
		lp_buf_append(out, data[id], bytes[id]);
		lp_buf_append(out, zeros, (size_t)(-bytes[id] & 7));
	}
}

int lp_segindex_build(const struct lp_segindex_input *input, struct lp_buf *out)
{
	struct builder b = { .in = input };
	int r = intern_all(&b);

	if (r < 0)
		goto done;
	b.sorted = malloc(((size_t)b.n_pairs + 1) * sizeof *b.sorted);
	if (!b.sorted) {
		r = -ENOMEM;
		goto done;
	}
	for (uint32_t i = 0; i < b.n_pairs; i++)
		b.sorted[i] = i;
	if (b.n_pairs)
		qsort_r(b.sorted, b.n_pairs, sizeof *b.sorted, pair_cmp, b.pairs);
	r = put_names(&b);
	if (r == 0)
		r = put_postings(&b);
	if (r == 0)
		r = put_streams(&b);
	if (r == 0 && input->grams)
		r = lp_grams_build(input->grams, input->n_blocks, &b.parts[LP_SEGINDEX_GRAMS]);
	for (unsigned id = 1; id < LP_SEGINDEX_KNOWN; id++)
		if (r == 0 && b.parts[id].failed)
			r = -ENOMEM;
	if (r == 0) {
		put_file(&b, out);
		r = out->failed ? -ENOMEM : 0;
	}
done:
	for (unsigned id = 1; id < LP_SEGINDEX_KNOWN; id++)
		lp_buf_free(&b.parts[id]);
	lp_buf_free(&b.occurrences);
	free(b.sorted);
	free(b.slots);
	free(b.pairs);
	return r;
}
