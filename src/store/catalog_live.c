/* The live part of a catalog: streams and batches of the WAL files that no segment replaces yet.
 *
 * It only grows: batches are appended to arrays that are never moved under a reader (an outgrown array is kept until no
 * snapshot shows this live), streams stand in chunks that never move.  Records are walked by their heads and directories;
 * one whose directory is not sound is left out and counted.
 * Process: any reader, under the catalog's lock; readers of a snapshot need none.  Nothing here is shared with other processes. */
#include "store/catalog-private.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- live streams ---- */

struct lp_live_stream *lp_live_stream(const struct lp_live *live, uint32_t i)
{
	uint32_t k = 31 - (uint32_t)__builtin_clz(i / STREAM_CHUNK + 1);

	return &live->chunks[k][i - STREAM_CHUNK * ((1u << k) - 1)];
}

static int table_grow(struct lp_live *live)
{
	uint32_t size = live->table_size ? live->table_size * 2 : 1024;
	uint32_t *table = calloc(size, sizeof *table);

	if (!table)
		return -ENOMEM;
	for (uint32_t i = 0; i < live->n_streams; i++) {
		uint32_t at = (uint32_t)lp_live_stream(live, i)->hash.lo & (size - 1);

		while (table[at])
			at = (at + 1) & (size - 1);
		table[at] = i + 1;
	}
	free(live->table);
	live->table = table;
	live->table_size = size;
	return 0;
}

static int stream_new(struct lp_live *live, struct lp_hash128 hash, const uint8_t *labels, uint32_t len, uint32_t *ret_stream)
{
	uint32_t i = live->n_streams, k = 31 - (uint32_t)__builtin_clz(i / STREAM_CHUNK + 1);

	if (k >= STREAM_CHUNKS)
		return -ENOMEM;
	if (!live->chunks[k]) {
		live->chunks[k] = calloc((size_t)STREAM_CHUNK << k, sizeof *live->chunks[k]);
		if (!live->chunks[k])
			return -ENOMEM;
	}
	struct lp_live_stream *stream = lp_live_stream(live, i);

	stream->labels = lp_arena_dup(&live->arena, labels, len);
	if (!stream->labels)
		return -ENOMEM;
	stream->labels_len = len;
	stream->hash = hash;
	atomic_store_explicit(&stream->min_ts, INT64_MAX, memory_order_relaxed);
	atomic_store_explicit(&stream->max_ts, INT64_MIN, memory_order_relaxed);
	live->n_streams++;
	*ret_stream = i;
	return 0;
}

static int stream_intern(struct lp_live *live, struct lp_hash128 hash, const uint8_t *labels, uint32_t len, uint32_t *ret_stream)
{
	if (live->n_streams >= live->table_size / 2) {
		int r = table_grow(live);

		if (r < 0)
			return r;
	}
	uint32_t at = (uint32_t)hash.lo & (live->table_size - 1);

	for (; live->table[at]; at = (at + 1) & (live->table_size - 1)) {
		const struct lp_live_stream *stream = lp_live_stream(live, live->table[at] - 1);

		if (stream->hash.lo == hash.lo && stream->hash.hi == hash.hi && stream->labels_len == len &&
		    memcmp(stream->labels, labels, len) == 0) {
			*ret_stream = live->table[at] - 1;
			return 0;
		}
	}
	int r = stream_new(live, hash, labels, len, ret_stream);

	if (r == 0)
		live->table[at] = *ret_stream + 1;
	return r;
}

static int batch_add(struct lp_live *live, uint32_t index, const struct lp_wal_batch *batch)
{
	struct lp_live_stream *stream = lp_live_stream(live, index);
	uint32_t n = atomic_load_explicit(&stream->n, memory_order_relaxed);
	struct lp_wal_batch *batches = atomic_load_explicit(&stream->batches, memory_order_relaxed);

	if (n == stream->cap) {
		uint32_t cap = n < 2 ? n + 1 : n + n / 2;
		struct retired *old = batches ? malloc(sizeof *old) : NULL;
		struct lp_wal_batch *bigger = malloc((size_t)cap * sizeof *bigger);

		if (!bigger || (batches && !old)) {
			free(old);
			free(bigger);
			return -ENOMEM;
		}
		if (batches) {
			memcpy(bigger, batches, (size_t)n * sizeof *bigger);
			*old = (struct retired){ .next = live->retired, .p = batches };
			live->retired = old;
		}
		atomic_store_explicit(&stream->batches, bigger, memory_order_release);
		stream->cap = cap;
		batches = bigger;
	}
	batches[n] = *batch;
	if (batch->min_ts < atomic_load_explicit(&stream->min_ts, memory_order_relaxed))
		atomic_store_explicit(&stream->min_ts, batch->min_ts, memory_order_relaxed);
	if (batch->max_ts > atomic_load_explicit(&stream->max_ts, memory_order_relaxed))
		atomic_store_explicit(&stream->max_ts, batch->max_ts, memory_order_relaxed);
	/* Readers take n first, then the array: the array they see holds at least n batches. */
	atomic_store_explicit(&stream->n, n + 1, memory_order_release);
	live->n_batches++;
	return 0;
}

void lp_live_trim(struct lp_live *live)
{
	for (struct retired *old = live->retired, *next; old; old = next) {
		next = old->next;
		free(old->p);
		free(old);
	}
	live->retired = NULL;
}

/* ---- live files ---- */

static void file_unref(struct wal_file *file)
{
	if (--file->refs)
		return;
	lp_map_close(&file->map);
	free(file);
}

static int live_add_file(struct lp_live *live, struct wal_file *file)
{
	if (live->n_files == live->files_cap) {
		uint32_t cap = live->files_cap ? live->files_cap * 2 : 8;
		struct wal_file **files = realloc(live->files, cap * sizeof *files);

		if (!files)
			return -ENOMEM;
		live->files = files;
		live->files_cap = cap;
	}
	file->refs++;
	live->files[live->n_files++] = file;
	return 0;
}

static void live_free(struct lp_catalog *catalog, struct lp_live *live)
{
	for (struct lp_live **at = &catalog->lives; *at; at = &(*at)->next)
		if (*at == live) {
			*at = live->next;
			break;
		}
	for (uint32_t i = 0; i < live->n_streams; i++)
		free(atomic_load_explicit(&lp_live_stream(live, i)->batches, memory_order_relaxed));
	for (uint32_t k = 0; k < STREAM_CHUNKS; k++)
		free(live->chunks[k]);
	lp_live_trim(live);
	for (uint32_t i = 0; i < live->n_files; i++)
		file_unref(live->files[i]);
	free(live->files);
	free(live->table);
	lp_arena_free(&live->arena);
	free(live);
}

void lp_live_unref(struct lp_catalog *catalog, struct lp_live *live)
{
	if (live && --live->refs == 0)
		live_free(catalog, live);
}

int lp_live_open(struct lp_catalog *catalog, uint32_t first, struct lp_live **ret_live)
{
	struct lp_live *live = calloc(1, sizeof *live);

	if (!live)
		return -ENOMEM;
	live->refs = 1;
	live->first = first;
	live->next = catalog->lives;
	catalog->lives = live;
	*ret_live = live;
	return 0;
}

int lp_live_advance(struct lp_catalog *catalog, const struct lp_live *old, uint32_t first, struct lp_live **ret_live)
{
	struct lp_live *live;
	int r = lp_live_open(catalog, first, &live);

	if (r < 0)
		return r;
	for (uint32_t i = 0; r == 0 && i < old->n_files; i++)
		if (old->files[i]->number >= first)
			r = live_add_file(live, old->files[i]);
	for (uint32_t i = 0; r == 0 && live->n_files && i < old->n_streams; i++) {
		const struct lp_live_stream *from = lp_live_stream(old, i);
		const struct lp_wal_batch *batches = atomic_load_explicit(&from->batches, memory_order_relaxed);
		uint32_t n = atomic_load_explicit(&from->n, memory_order_relaxed), stream = UINT32_MAX;

		for (uint32_t b = 0; r == 0 && b < n; b++) {
			if (batches[b].file < first)
				continue;
			if (stream == UINT32_MAX)
				r = stream_intern(live, from->hash, from->labels, from->labels_len, &stream);
			if (r == 0)
				r = batch_add(live, stream, &batches[b]);
		}
	}
	if (r < 0) {
		lp_live_unref(catalog, live);
		return r;
	}
	*ret_live = live;
	return 0;
}

/* One record into the live.  -EBADMSG: its directory is not sound, nothing of it was added. */
static int record_add(struct lp_live *live, uint32_t number, const uint8_t *rec, size_t off, const struct lp_walrec_head *head)
{
	struct lp_walrec_stream dir;
	int r;

	for (uint32_t s = 0; s < head->streams; s++) {
		r = lp_walrec_stream(rec, head, s, &dir);
		if (r < 0)
			return r;
	}
	for (uint32_t s = 0; s < head->streams; s++) {
		uint32_t stream;

		r = lp_walrec_stream(rec, head, s, &dir);
		if (r < 0)
			return r;
		if (!dir.entries)
			continue;
		r = stream_intern(live, dir.hash, rec + dir.labels_off, dir.labels_bytes, &stream);
		if (r < 0)
			return r;
		struct lp_wal_batch batch = { .file = number, .entries = dir.entries, .text_bytes = dir.text_bytes, .flags = dir.flags,
					      .min_ts = dir.min_ts, .max_ts = dir.max_ts, .rec = rec, .stream_in_rec = s,
					      .offset = (uint32_t)off };

		r = batch_add(live, stream, &batch);
		if (r < 0)
			return r;
	}
	return 0;
}

/* Walk what is new in a file, up to limit.  Bytes below the committed position were checked when they were written; the rest
 * of an earlier file may hold an append that the writer gave up, so there every record is checked in full. */
static int file_walk(struct lp_live *live, struct wal_file *file, size_t limit, bool checked)
{
	size_t off;
	struct lp_walrec_head head;
	int r;

	if (limit > file->map.len)
		limit = file->map.len;
	if (!file->started) {
		if (limit < LP_WALFILE_HEAD)
			return 0;
		struct lp_walfile_head fh;

		r = lp_walfile_head_check(file->map.p, file->map.len, &fh);
		if (r == 0 && fh.number != file->number)
			r = -EBADMSG;
		if (r == 0)
			r = lp_walwalk_start(&file->walk, file->map.p, limit, checked);
		if (r < 0)
			return r;
		file->started = true;
	}
	file->walk.limit = limit;
	file->walk.checked = checked;
	while ((r = lp_walwalk_next(&file->walk, &off, &head)) > 0) {
		r = record_add(live, file->number, file->map.p + off, off, &head);
		if (r == -EBADMSG)
			file->skipped++;
		else if (r < 0)
			return r;
	}
	return r;
}

static int file_open(struct lp_catalog *catalog, uint32_t number, struct wal_file **ret_file)
{
	char path[PATH_MAX];
	struct wal_file *file = calloc(1, sizeof *file);

	if (!file)
		return -ENOMEM;
	snprintf(path, sizeof path, "%s/%08u.wal", catalog->wal_dir, number);
	int r = lp_map_open(path, &file->map);

	if (r < 0) {
		free(file);
		return r;
	}
	file->number = number;
	*ret_file = file;
	return 0;
}

uint64_t lp_live_skipped(const struct lp_live *live)
{
	uint64_t n = 0;

	for (uint32_t i = 0; i < live->n_files; i++)
		n += live->files[i]->skipped + live->files[i]->walk.damages;
	return n;
}

int lp_live_extend(struct lp_catalog *catalog, struct lp_live *live, uint32_t last, size_t off, bool checked)
{
	for (uint32_t i = 0; i < live->n_files; i++) {
		struct wal_file *file = live->files[i];

		if (file->complete)
			continue;
		int r = file->number < last ? file_walk(live, file, SIZE_MAX, true) :
					      file_walk(live, file, off, checked);

		if (r < 0)
			return r;
		file->complete = file->number < last;
	}
	uint32_t next = live->n_files ? live->files[live->n_files - 1]->number + 1 : live->first;

	for (uint32_t number = next; number <= last; number++) {
		struct wal_file *file;
		int r = file_open(catalog, number, &file);

		if ((r == -ENOENT || r == -ENODATA) && number < last)
			continue;
		if (r < 0)
			return r;
		r = live_add_file(live, file);
		if (r < 0) {
			file->refs = 1;
			file_unref(file);
			return r;
		}
		r = number < last ? file_walk(live, file, SIZE_MAX, true) : file_walk(live, file, off, checked);
		if (r < 0 && r != -EBADMSG)
			return r;
		file->skipped += r < 0;
		file->complete = number < last || r < 0;
	}
	return 0;
}
