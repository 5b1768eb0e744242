/* Sealing, second half of the reading: rows in the order in which they are written, once each, cut into days.
 *
 * Rows are sorted once per stream, not once per stream and day: a file whose entries lie on thousands of days costs no more
 * than one of a single day.  Arrival is nearly sorted as a rule, which the merge sort takes as it is; what is not goes
 * through a radix sort (least significant digit first, Knuth, TAOCP 3, 5.2.5), whose time does not depend on the disorder.
 * Repeats can only be neighbours in time: few equal timestamps are compared pairwise, many through a hash table.
 * Process: writer, sealing thread.  16 bytes per row and 24 per (stream, day); nothing is written. */
#include "store/seal-private.h"

#include "common/clock.h"

#include <errno.h>
#include <stdlib.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#define PAIRWISE 8u                     /* equal timestamps up to this many are compared each with each */
#define RADIX_LEAST 2048u               /* rows; below it merging is as fast */
#define RADIX_BITS 11u
#define RADIX (1u << RADIX_BITS)

struct slot {
	uint32_t row, tag;              /* row 0: free, else its number + 1 */
};

struct sorter {
	struct lp_seal_input *in;
	int64_t oldest_ns;
	struct lp_seal_row *tmp;        /* as many as the largest stream has */
	struct slot *slots;
	size_t cap_tmp, cap_slots;
	uint32_t cap_pieces;
};

static int need(void *array, size_t *cap, size_t n, size_t item)
{
	void **p = array;

	if (n <= *cap)
		return 0;
	void *q = malloc((n + n / 4) * item);

	if (!q)
		return -ENOMEM;
	free(*p);
	*p = q;
	*cap = n + n / 4;
	return 0;
}

/* ---- order ---- */

/* Stable merge sort that leaves halves in order alone.  tmp holds half the rows. */
static void merge_sort(struct lp_seal_row *rows, size_t n, struct lp_seal_row *tmp)
{
	if (n <= 12) {
		for (size_t i = 1; i < n; i++) {
			struct lp_seal_row x = rows[i];
			size_t k = i;

			for (; k && rows[k - 1].ts > x.ts; k--)
				rows[k] = rows[k - 1];
			rows[k] = x;
		}
		return;
	}
	size_t half = n / 2;

	merge_sort(rows, half, tmp);
	merge_sort(rows + half, n - half, tmp);
	if (rows[half - 1].ts <= rows[half].ts)
		return;
	memcpy(tmp, rows, half * sizeof *tmp);
	for (size_t a = 0, b = half, to = 0; a < half; to++)
		rows[to] = b < n && rows[b].ts < tmp[a].ts ? rows[b++] : tmp[a++];
}

/* Stable; the result may end up in tmp and is copied back then.  Digits that all rows share are skipped. */
static void radix_sort(struct lp_seal_row *rows, size_t n, struct lp_seal_row *tmp, uint64_t min)
{
	struct lp_seal_row *from = rows, *to = tmp;
	uint64_t differ = 0;

	for (size_t i = 0; i < n; i++)
		differ |= (uint64_t)rows[i].ts - min;
	for (unsigned shift = 0; shift < 64 && differ >> shift; shift += RADIX_BITS) {
		size_t at[RADIX] = { 0 }, sum = 0;

		if (!(differ >> shift & (RADIX - 1)))
			continue;
		for (size_t i = 0; i < n; i++)
			at[((uint64_t)from[i].ts - min) >> shift & (RADIX - 1)]++;
		for (size_t d = 0; d < RADIX; d++) {
			size_t count = at[d];

			at[d] = sum;
			sum += count;
		}
		for (size_t i = 0; i < n; i++)
			to[at[((uint64_t)from[i].ts - min) >> shift & (RADIX - 1)]++] = from[i];
		struct lp_seal_row *swap = from;

		from = to;
		to = swap;
	}
	if (from != rows)
		memcpy(rows, from, n * sizeof *rows);
}

static int sort_rows(struct sorter *s, struct lp_seal_row *rows, size_t n)
{
	size_t descents = 0;
	int64_t min = INT64_MAX;

	for (size_t i = 0; i < n; i++) {
		descents += i && rows[i - 1].ts > rows[i].ts;
		min = rows[i].ts < min ? rows[i].ts : min;
	}
	if (!descents)
		return 0;
	bool radix = n >= RADIX_LEAST && descents > n / 16;
	int r = need(&s->tmp, &s->cap_tmp, radix ? n : n / 2 + 1, sizeof *s->tmp);

	if (r < 0)
		return r;
	if (radix)
		radix_sort(rows, n, s->tmp, (uint64_t)min);
	else
		merge_sort(rows, n, s->tmp);
	return 0;
}

/* ---- repeats ---- */

static bool same_text(const struct lp_seal_text *a, const struct lp_seal_text *b)
{
	return a->len == b->len && a->meta_len == b->meta_len && !memcmp(a->line, b->line, a->len) &&
		(!a->meta_len || !memcmp(a->meta, b->meta, a->meta_len));
}

/* 1 if x repeats one of rows[0..kept), 0 if not, -EIO. */
static int repeats_pairwise(const struct sorter *s, const struct lp_seal_row *rows, size_t kept, const struct lp_seal_text *x)
{
	struct lp_seal_text have;

	for (size_t k = 0; k < kept; k++) {
		if (!lp_seal_text(s->in, &rows[k], &have))
			return -EIO;
		if (same_text(&have, x))
			return 1;
	}
	return 0;
}

/* The same through the table, which learns x as number `kept` if it is new. */
static int repeats_hashed(struct sorter *s, const struct lp_seal_row *rows, size_t kept, const struct lp_seal_text *x, size_t n_slots)
{
	uint64_t hash = XXH3_64bits_withSeed(x->line, x->len, x->meta_len ? XXH3_64bits(x->meta, x->meta_len) : 0);
	size_t at = hash & (n_slots - 1);
	uint32_t tag = (uint32_t)(hash >> 32);
	struct lp_seal_text have;

	for (; s->slots[at].row; at = (at + 1) & (n_slots - 1)) {
		if (s->slots[at].tag != tag)
			continue;
		if (!lp_seal_text(s->in, &rows[s->slots[at].row - 1], &have))
			return -EIO;
		if (same_text(&have, x))
			return 1;
	}
	s->slots[at] = (struct slot){ (uint32_t)kept + 1, tag };
	return 0;
}

/* Drop repeats among rows of one timestamp; the kept ones go to `to`, *ret_n of them. */
static int unique_rows(struct sorter *s, const struct lp_seal_row *rows, size_t n, struct lp_seal_row *to, size_t *ret_n)
{
	size_t kept = 0, n_slots = 0;

	if (n > PAIRWISE) {
		for (n_slots = 32; n_slots < n * 2; n_slots *= 2)
			;
		int r = need(&s->slots, &s->cap_slots, n_slots, sizeof *s->slots);

		if (r < 0)
			return r;
		memset(s->slots, 0, n_slots * sizeof *s->slots);
	}
	for (size_t i = 0; i < n; i++) {
		struct lp_seal_row row = rows[i];
		struct lp_seal_text text;

		if (!lp_seal_text(s->in, &row, &text))
			return -EIO;
		int r = n_slots ? repeats_hashed(s, to, kept, &text, n_slots) : repeats_pairwise(s, to, kept, &text);

		if (r < 0)
			return r;
		if (r)
			s->in->duplicates++;
		else
			to[kept++] = row;
	}
	*ret_n = kept;
	return 0;
}

static int drop_repeats(struct sorter *s, struct lp_seal_row *rows, size_t n, size_t *ret_n)
{
	size_t kept = 0;

	for (size_t i = 0, end; i < n; i = end) {
		size_t more = 1;

		for (end = i + 1; end < n && rows[end].ts == rows[i].ts; end++)
			;
		if (end - i == 1) {
			rows[kept] = rows[i];
		} else {
			int r = unique_rows(s, rows + i, end - i, rows + kept, &more);

			if (r < 0)
				return r;
		}
		kept += more;
	}
	*ret_n = kept;
	return 0;
}

/* ---- days ---- */

static int add_piece(struct sorter *s, const struct lp_seal_piece *piece)
{
	struct lp_seal_input *in = s->in;

	if (in->n_pieces == s->cap_pieces) {
		uint32_t cap = s->cap_pieces ? s->cap_pieces * 2 : 1024;
		struct lp_seal_piece *p = realloc(in->pieces, cap * sizeof *p);

		if (!p)
			return -ENOMEM;
		in->pieces = p;
		s->cap_pieces = cap;
	}
	in->pieces[in->n_pieces++] = *piece;
	return 0;
}

static int cut_into_days(struct sorter *s, uint32_t stream, uint32_t first, uint32_t end)
{
	const struct lp_seal_row *rows = s->in->rows;
	int r = 0;

	while (r == 0 && first < end) {
		struct lp_seal_piece piece = { .day = lp_clock_day(rows[first].ts), .stream = stream, .first = first };

		for (; first < end && lp_clock_day(rows[first].ts) == piece.day; first++)
			piece.n++;
		r = add_piece(s, &piece);
	}
	return r;
}

static int by_day(const void *a, const void *b)
{
	const struct lp_seal_piece *x = a, *y = b;

	if (x->day != y->day)
		return x->day < y->day ? -1 : 1;
	return (x->first > y->first) - (x->first < y->first);
}

/* ---- one stream ---- */

static uint32_t gather(struct sorter *s, const struct lp_seal_stream *stream, struct lp_seal_row *to)
{
	uint32_t n = 0;

	for (uint32_t b = stream->first_batch; b != UINT32_MAX; b = s->in->batches[b].next) {
		const struct lp_rows *rows = &s->in->batches[b].rows;

		for (uint32_t i = 0; i < rows->n; i++) {
			if (rows->ts[i] < s->oldest_ns)
				s->in->expired++;
			else
				to[n++] = (struct lp_seal_row){ rows->ts[i], b, i };
		}
	}
	return n;
}

int lp_seal_sort(struct lp_seal_input *in, int64_t oldest_ns)
{
	struct sorter s = { .in = in, .oldest_ns = oldest_ns };
	int r = 0;

	in->rows = malloc((in->total_rows + 1) * sizeof *in->rows);
	if (!in->rows)
		return -ENOMEM;
	for (uint32_t i = 0; r == 0 && i < in->n_streams; i++) {
		uint32_t stream = in->order[i], first = in->n_rows;
		size_t n = gather(&s, &in->streams[stream], in->rows + first), kept = 0;

		r = sort_rows(&s, in->rows + first, n);
		if (r == 0)
			r = drop_repeats(&s, in->rows + first, n, &kept);
		in->n_rows += (uint32_t)kept;
		if (r == 0)
			r = cut_into_days(&s, stream, first, in->n_rows);
	}
	if (r == 0 && in->n_pieces)
		qsort(in->pieces, in->n_pieces, sizeof *in->pieces, by_day);
	free(s.tmp);
	free(s.slots);
	return r;
}
