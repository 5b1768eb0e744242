/* Sealed segments, reader side; see segment.h.  Any process, any thread: everything here is immutable after open, but for the notes on
 * which columns' checksums were computed, which only ever grow and only ever save that work.
 * Dying here loses nothing: nothing is written. */
#include "store/segment-private.h"

#include "common/bytes.h"
#include "common/rfc3339.h"
#include "store/map.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#define MAX_LEVEL 9999u          /* every rewriting is one more */
#define NESTING 64u              /* segments that lie inside each other: leftovers of as many crashes in a row */

struct lp_segment {
	struct lp_map index_map, chunks_map;
	struct lp_segindex index;
	struct lp_segment_info info;
	_Atomic uint8_t *checked;       /* per block: columns (LP_BLOCK_WANT_) whose checksums were found right; relaxed, a lost bit costs time */
	_Atomic uint8_t *grams;         /* enum grams_state: one atomic, beside the rest because segments are read as const */
	uint64_t faults;                /* lp_map_faults() at open */
};

enum grams_state { GRAMS_UNKNOWN, GRAMS_GOOD, GRAMS_BAD };

/* ---- open ---- */

static int map_file(const char *dir, const struct lp_segment_name *name, const char *suffix, struct lp_map *ret_map)
{
	char file[80], path[PATH_MAX];
	int r = lp_segment_name_format(name, suffix, file, sizeof file);

	if (r < 0)
		return r;
	if ((size_t)snprintf(path, sizeof path, "%s/%s", dir, file) >= sizeof path)
		return -ENAMETOOLONG;
	r = lp_map_open_sealed(path, ret_map);
	return r == -ENODATA ? -EBADMSG : r;
}

static int check_pair(struct lp_segment *s, const struct lp_segment_name *name)
{
	const struct lp_segindex_head *head = &s->index.head;
	struct lp_chunks_head chunks;
	int r = lp_chunks_head_check(s->chunks_map.p, s->chunks_map.len, &chunks);

	if (r < 0)
		return r;
	if (chunks.id != head->chunks_id || chunks.bytes != head->chunks_bytes || s->chunks_map.len < chunks.bytes || head->day != name->day ||
	    head->first != name->first || head->last != name->last || head->level != name->level)
		return -EBADMSG;
	return 0;
}

int lp_segment_open(const char *segments_dir, const struct lp_segment_name *name, struct lp_segment **ret_segment)
{
	struct lp_segment *s = calloc(1, sizeof *s);

	if (!s)
		return -ENOMEM;
	s->faults = lp_map_faults();
	int r = map_file(segments_dir, name, ".index", &s->index_map);

	if (r == 0)
		r = lp_segindex_open(s->index_map.p, s->index_map.len, &s->index);
	if (r == 0)
		r = map_file(segments_dir, name, ".chunks", &s->chunks_map);
	if (r == 0)
		r = check_pair(s, name);
	if (r == 0) {
		s->checked = calloc((size_t)s->index.head.blocks + 1, sizeof *s->checked);
		s->grams = s->checked ? &s->checked[s->index.head.blocks] : NULL;
		r = s->checked ? 0 : -ENOMEM;
	}
	if (r < 0) {
		lp_segment_close(&s);
		return r;
	}
	const struct lp_segindex_head *head = &s->index.head;

	s->info = (struct lp_segment_info){ .name = *name, .streams = head->streams, .blocks = head->blocks, .runs = head->runs,
					    .entries = head->entries, .raw_bytes = head->raw_bytes,
					    .disk_bytes = head->bytes + head->chunks_bytes, .min_ts = head->min_ts, .max_ts = head->max_ts };
	*ret_segment = s;
	return 0;
}

void lp_segment_close(struct lp_segment **segment)
{
	if (!*segment)
		return;
	lp_map_close(&(*segment)->index_map);
	lp_map_close(&(*segment)->chunks_map);
	free((*segment)->checked);
	free(*segment);
	*segment = NULL;
}

const struct lp_segment_info *lp_segment_info(const struct lp_segment *segment)
{
	return &segment->info;
}

const struct lp_segindex *lp_segment_index(const struct lp_segment *segment)
{
	return &segment->index;
}

/* ---- access ---- */

int lp_segment_stream(const struct lp_segment *segment, uint32_t stream, const uint8_t **ret_labels, uint32_t *ret_len,
		      int64_t *ret_min_ts, int64_t *ret_max_ts)
{
	struct lp_segindex_stream s;
	const uint8_t *labels;
	int r = lp_segindex_stream(&segment->index, stream, &s, &labels);

	if (r < 0)
		return r;
	*ret_labels = labels;
	*ret_len = s.labels_len;
	*ret_min_ts = s.min_ts;
	*ret_max_ts = s.max_ts;
	return 0;
}

int lp_segment_stream_runs(const struct lp_segment *segment, uint32_t stream, uint32_t *ret_first, uint32_t *ret_n)
{
	struct lp_segindex_stream s;
	int r = lp_segindex_stream(&segment->index, stream, &s, NULL);

	if (r < 0)
		return r;
	*ret_first = s.first_run;
	*ret_n = s.runs;
	return 0;
}

int lp_segment_run(const struct lp_segment *segment, uint32_t run, struct lp_run *ret_run)
{
	return lp_segindex_run(&segment->index, run, ret_run);
}

int lp_segment_block(const struct lp_segment *segment, uint32_t block, const uint8_t **ret_p, size_t *ret_len)
{
	struct lp_segindex_block b;
	struct lp_block_peek peek;
	int r = lp_segindex_block(&segment->index, block, &b);

	if (r < 0)
		return r;
	const uint8_t *p = segment->chunks_map.p + b.off;

	r = lp_block_peek(p, b.bytes, &peek);
	if (r < 0)
		return r;
	if (peek.entries != b.entries || peek.raw_bytes != b.raw_bytes || peek.bytes != b.bytes)
		return -EBADMSG;
	*ret_p = p;
	*ret_len = b.bytes;
	return 0;
}

int lp_segment_decode(const struct lp_segment *segment, struct lp_block_decoder *decoder, uint32_t block, unsigned want, struct lp_rows *ret_rows)
{
	const uint8_t *p;
	size_t len;
	int r = lp_segment_block(segment, block, &p, &len);

	if (r < 0)
		return r;
	unsigned columns = want & (LP_BLOCK_WANT_TS | LP_BLOCK_WANT_TEXT | LP_BLOCK_WANT_META);
	unsigned missing = columns & ~atomic_load_explicit(&segment->checked[block], memory_order_relaxed);

	if (!missing && lp_map_faults() == segment->faults)
		return lp_block_decode(decoder, p, len, columns | LP_BLOCK_CHECKED, ret_rows);
	r = lp_block_decode(decoder, p, len, columns, ret_rows);
	if (r == 0 && missing)
		atomic_fetch_or_explicit(&segment->checked[block], (uint8_t)missing, memory_order_relaxed);
	return r;
}

int lp_segment_grams(const struct lp_segment *segment, struct lp_grams *ret_grams)
{
	struct lp_grams grams;
	uint8_t state = atomic_load_explicit(segment->grams, memory_order_relaxed);

	if (state == GRAMS_BAD || lp_segindex_grams(&segment->index, &grams) < 0)
		return -ENOENT;
	if (state == GRAMS_UNKNOWN) {
		bool good = lp_segindex_grams_check(&segment->index) == 0;

		atomic_store_explicit(segment->grams, good ? GRAMS_GOOD : GRAMS_BAD, memory_order_relaxed);
		if (!good)
			return -ENOENT;
	}
	/* A page that the disk did not give back reads as zeros, which would say that nothing is anywhere. */
	if (lp_map_faults() != segment->faults)
		return -ENOENT;
	*ret_grams = grams;
	return 0;
}

uint32_t lp_segment_label_names(const struct lp_segment *segment)
{
	return segment->index.names;
}

int lp_segment_label_name(const struct lp_segment *segment, uint32_t name, const char **ret_s, uint32_t *ret_len, uint32_t *ret_values)
{
	struct lp_segindex_name n;
	const char *s;
	int r = lp_segindex_name(&segment->index, name, &n, &s);

	if (r < 0)
		return r;
	*ret_s = s;
	*ret_len = n.len;
	*ret_values = n.values;
	return 0;
}

int lp_segment_find_label(const struct lp_segment *segment, const char *s, size_t len, uint32_t *ret_name)
{
	return lp_segindex_find_name(&segment->index, s, len, ret_name);
}

int lp_segment_label_value(const struct lp_segment *segment, uint32_t name, uint32_t value, struct lp_buf *scratch,
			   const char **ret_s, uint32_t *ret_len)
{
	return lp_segindex_value(&segment->index, name, value, scratch, ret_s, ret_len);
}

int lp_segment_find_value(const struct lp_segment *segment, uint32_t name, const char *s, size_t len, uint32_t *ret_value)
{
	return lp_segindex_find_value(&segment->index, name, s, len, ret_value);
}

int lp_segment_postings(const struct lp_segment *segment, uint32_t name, uint32_t value, const uint32_t **ret_streams, uint32_t *ret_n)
{
	return lp_segindex_postings(&segment->index, name, value, ret_streams, ret_n);
}

/* ---- names ---- */

int lp_segment_name_format(const struct lp_segment_name *name, const char *suffix, char *out, size_t out_len)
{
	char day[LP_DAY_MAX];

	lp_day_format(day, name->day);
	int n = snprintf(out, out_len, "%s/%08u-%08u-%u%s", day, name->first, name->last, name->level, suffix);

	return n < 0 || (size_t)n >= out_len ? -ENAMETOOLONG : 0;
}

int lp_segment_name_parse(const char *day, const char *file, struct lp_segment_name *ret_name)
{
	struct lp_segment_name name;
	char again[80], want[80];
	int at = -1, r = lp_day_parse(day, &name.day);

	if (r < 0 || sscanf(file, "%10u-%10u-%4u.index%n", &name.first, &name.last, &name.level, &at) != 3 || at < 0 || file[at] ||
	    name.first > name.last || name.level > MAX_LEVEL)
		return -EINVAL;
	/* One name, one spelling: a file that prints otherwise is not ours. */
	if (lp_segment_name_format(&name, ".index", again, sizeof again) < 0 ||
	    (size_t)snprintf(want, sizeof want, "%s/%s", day, file) >= sizeof want || strcmp(again, want))
		return -EINVAL;
	*ret_name = name;
	return 0;
}

static int name_cmp(const void *a, const void *b)
{
	const struct lp_segment_name *x = a, *y = b;

	if (x->day != y->day)
		return x->day < y->day ? -1 : 1;
	if (x->first != y->first)
		return x->first < y->first ? -1 : 1;
	if (x->last != y->last)
		return x->last > y->last ? -1 : 1;
	return (y->level > x->level) - (y->level < x->level);
}

static int list_day(const char *segments_dir, const char *day, struct lp_buf *out)
{
	char path[PATH_MAX];

	if ((size_t)snprintf(path, sizeof path, "%s/%s", segments_dir, day) >= sizeof path)
		return -ENAMETOOLONG;
	DIR *d = opendir(path);

	if (!d)
		return errno == ENOENT || errno == ENOTDIR ? 0 : -errno;
	for (struct dirent *e; (e = readdir(d));) {
		struct lp_segment_name name;

		if (lp_segment_name_parse(day, e->d_name, &name) == 0)
			lp_buf_append(out, &name, sizeof name);
	}
	closedir(d);
	return out->failed ? -ENOMEM : 0;
}

int lp_segment_list_all(const char *segments_dir, struct lp_segment_name **ret_names, size_t *ret_n)
{
	struct lp_buf found = LP_BUF_INIT;
	DIR *d = opendir(segments_dir);
	int r = 0;

	if (!d && errno != ENOENT)
		return -errno;
	for (struct dirent *e; r == 0 && d && (e = readdir(d));) {
		int64_t day;

		if (lp_day_parse(e->d_name, &day) == 0)
			r = list_day(segments_dir, e->d_name, &found);
	}
	if (d)
		closedir(d);
	if (r < 0) {
		lp_buf_free(&found);
		return r;
	}
	*ret_n = found.len / sizeof **ret_names;
	*ret_names = (struct lp_segment_name *)(void *)found.data;
	if (*ret_n)
		qsort(*ret_names, *ret_n, sizeof **ret_names, name_cmp);
	return 0;
}

/* Sorted by first, widest and highest first, what covers names[i] stands before it.  Spans lie inside each other or apart, so those that
 * are still open at names[i] form a stack. */
void lp_segment_mark_superseded(const struct lp_segment_name *names, size_t n, bool *superseded)
{
	const struct lp_segment_name *open[NESTING];
	unsigned depth = 0;

	for (size_t i = 0; i < n; i++) {
		while (depth && (open[depth - 1]->day != names[i].day || open[depth - 1]->last < names[i].first))
			depth--;
		superseded[i] = false;
		for (unsigned k = 0; k < depth; k++)
			superseded[i] |= open[k]->last >= names[i].last && open[k]->level > names[i].level;
		if (depth < NESTING)
			open[depth++] = &names[i];
	}
}

int lp_segment_list(const char *segments_dir, struct lp_segment_name **ret_names, size_t *ret_n)
{
	struct lp_segment_name *names;
	size_t n, kept = 0;
	int r = lp_segment_list_all(segments_dir, &names, &n);

	if (r < 0)
		return r;
	bool *superseded = malloc(n + 1);

	if (!superseded) {
		free(names);
		return -ENOMEM;
	}
	lp_segment_mark_superseded(names, n, superseded);
	for (size_t i = 0; i < n; i++)
		if (!superseded[i])
			names[kept++] = names[i];
	free(superseded);
	*ret_names = names;
	*ret_n = kept;
	return 0;
}
