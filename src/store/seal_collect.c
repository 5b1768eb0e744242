/* Sealing, first half: walk the valid records of a WAL file and note where each stream's entries lie.
 * Process: writer, sealing thread.  Nothing is written; dying here means doing it again. */
#include "store/seal-private.h"

#include "store/format/walfile.h"

#include <errno.h>
#include <stdlib.h>

#define NONE UINT32_MAX

struct collector {
	struct lp_seal_input in;
	uint32_t n_batches, cap_batches, cap_streams;
	uint32_t *slots;                /* stream number + 1 */
	uint32_t slot_mask;
};

static int grow(void *array, uint32_t *cap, size_t item)
{
	void **p = array;
	uint32_t want = *cap ? *cap * 2 : 256;

	if (*cap > UINT32_MAX / 4)
		return -EFBIG;
	void *q = realloc(*p, want * item);

	if (!q)
		return -ENOMEM;
	*p = q;
	*cap = want;
	return 0;
}

static int grow_streams(struct collector *c)
{
	int r = grow(&c->in.streams, &c->cap_streams, sizeof *c->in.streams);

	if (r < 0)
		return r;
	uint32_t *slots = calloc((size_t)c->cap_streams * 2, sizeof *slots);

	if (!slots)
		return -ENOMEM;
	free(c->slots);
	c->slots = slots;
	c->slot_mask = c->cap_streams * 2 - 1;
	for (uint32_t i = 0; i < c->in.n_streams; i++) {
		uint32_t at = (uint32_t)c->in.streams[i].hash.lo & c->slot_mask;

		while (slots[at])
			at = (at + 1) & c->slot_mask;
		slots[at] = i + 1;
	}
	return 0;
}

/* Equal hashes are confirmed by the bytes: XXH3 is no protection against made collisions. */
static int find_stream(struct collector *c, const struct lp_walrec_stream *s, const uint8_t *labels, uint32_t *ret_stream)
{
	if (c->in.n_streams == c->cap_streams) {
		int r = grow_streams(c);

		if (r < 0)
			return r;
	}
	uint32_t at = (uint32_t)s->hash.lo & c->slot_mask, i;

	for (; (i = c->slots[at]) != 0; at = (at + 1) & c->slot_mask) {
		const struct lp_seal_stream *have = &c->in.streams[i - 1];

		if (have->hash.lo == s->hash.lo && have->hash.hi == s->hash.hi && have->labels_len == s->labels_bytes &&
		    !memcmp(have->labels, labels, s->labels_bytes)) {
			*ret_stream = i - 1;
			return 0;
		}
	}
	*ret_stream = c->in.n_streams++;
	c->slots[at] = c->in.n_streams;
	c->in.streams[*ret_stream] = (struct lp_seal_stream){ .hash = s->hash, .labels = labels, .labels_len = s->labels_bytes,
							      .first_batch = NONE, .last_batch = NONE };
	return 0;
}

static int add_batch(struct collector *c, size_t off, const struct lp_walrec_head *head, uint32_t s)
{
	const uint8_t *rec = c->in.map.p + off;
	struct lp_walrec_stream dir;
	struct lp_rows rows;
	uint32_t stream = 0;
	int r = lp_walrec_stream(rec, head, s, &dir);

	if (r == 0)
		r = lp_walrec_rows(rec, head, &dir, &rows);
	if (r == 0)
		r = find_stream(c, &dir, rec + dir.labels_off, &stream);
	if (r == 0 && c->n_batches == c->cap_batches)
		r = grow(&c->in.batches, &c->cap_batches, sizeof *c->in.batches);
	if (r < 0)
		return r;
	uint32_t n = c->n_batches++;
	struct lp_seal_stream *to = &c->in.streams[stream];

	c->in.batches[n] = (struct lp_seal_batch){ .rows = rows, .next = NONE };
	if (to->last_batch == NONE)
		to->first_batch = n;
	else
		c->in.batches[to->last_batch].next = n;
	to->last_batch = n;
	to->rows += rows.n;
	c->in.total_rows += rows.n;
	return 0;
}

static int labels_order(const void *a, const void *b, void *arg)
{
	const struct lp_seal_stream *streams = arg, *x = &streams[*(const uint32_t *)a], *y = &streams[*(const uint32_t *)b];

	return lp_labels_cmp(x->labels, x->labels_len, y->labels, y->labels_len);
}

static int walk(struct collector *c)
{
	struct lp_walwalk walk;
	struct lp_walrec_head head;
	size_t off;
	int r;

	/* A row has 12 bytes and its newline, so row and batch numbers fit into 32 bits as well. */
	if (c->in.map.len > UINT32_MAX)
		return -EFBIG;
	r = lp_walwalk_start(&walk, c->in.map.p, c->in.map.len, true);
	while (r >= 0 && (r = lp_walwalk_next(&walk, &off, &head)) > 0)
		for (uint32_t s = 0; r >= 0 && s < head.streams; s++)
			r = add_batch(c, off, &head, s);
	if (r >= 0)
		c->in.damaged_bytes = walk.damaged_bytes;
	return r;
}

int lp_seal_collect(const char *wal_path, struct lp_seal_input *ret_input)
{
	struct collector c = { 0 };
	int r = lp_map_open(wal_path, &c.in.map);

	if (r == -ENODATA)
		r = -EBADMSG;
	if (r == 0)
		r = walk(&c);
	free(c.slots);
	if (r == 0) {
		c.in.order = malloc(((size_t)c.in.n_streams + 1) * sizeof *c.in.order);
		r = c.in.order ? 0 : -ENOMEM;
	}
	if (r < 0) {
		lp_seal_input_free(&c.in);
		return r;
	}
	for (uint32_t i = 0; i < c.in.n_streams; i++)
		c.in.order[i] = i;
	if (c.in.n_streams)
		qsort_r(c.in.order, c.in.n_streams, sizeof *c.in.order, labels_order, c.in.streams);
	*ret_input = c.in;
	return 0;
}

void lp_seal_input_free(struct lp_seal_input *input)
{
	lp_map_close(&input->map);
	free(input->batches);
	free(input->streams);
	free(input->order);
	free(input->rows);
	free(input->pieces);
	*input = (struct lp_seal_input){ 0 };
}
