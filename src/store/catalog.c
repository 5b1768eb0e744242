/* Catalog: the reading side's picture of the store, and immutable snapshots of it.
 *
 * Guarantee: a snapshot shows every line that was committed before lp_catalog_acquire() began, in exactly one place
 * (a segment or the live log), whatever the writer seals, recycles or deletes meanwhile.
 * Process: any reader; all functions are thread-safe (one mutex; readers of a snapshot take none).  If the process dies
 * here, the master clears its slot and with it the pin; nothing else is shared.
 *
 * The writer, for one WAL file f:   S1 segments of f renamed into place   S2 wal_first = f + 1 (seq_cst)
 *                                   S3 generation + 1                     S4 files below wal_first and all pins recycled
 * Pushes:                           W1 bytes written and synced           W2 committed moved (release)
 * The reader:
 *   R1 pin: with no pin in place the handshake of lp_slot_pin(); with one at p <= wal_first a plain load of wal_first is
 *      enough, because files >= p cannot reach S4 before the pin is raised.  Either way: w, and files >= w stay.
 *   R2 generation g, then the list of segments with last < w, then g again: moved means list again.
 *   R3 committed (acquire): the live part is [file w, committed).
 *
 * - S2 before R1: w > f, so S1 happened before R2 and f is read from its segments; the WAL file is not looked at.
 * - R1 before S2: w <= f, f is read from the WAL (the pin stops S4); its segments, even when R2 sees them, have last >= w.
 * - W2 before R1: R3 sees it, and its file is >= w (then R3 covers it) or sealed (then R2 does): nothing is missed.
 *   committed is read after w, so its file is never below w.
 * - Retention or compaction between listing and opening: -ENOENT.  The list is taken again while the generation moves or a
 *   file vanished; whoever replaces segments bumps the generation between the rename and the unlink.
 *   What is gone after that was deleted on purpose.
 *
 * The live part ("live") only grows: streams and batches are appended, and a snapshot remembers how far it may look
 * (number of streams, committed position).  When wal_first moves, a new live takes over what stays and the old one is
 * freed with its last snapshot.  Bookkeeping: 48 bytes per batch (up to a half more for growth), about 100 and
 * the labels per stream. */
#include "store/catalog.h"

#include "common/arena.h"
#include "common/assert.h"
#include "store/map.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LIST_TRIES 16
#define STREAM_CHUNK 256u               /* streams in chunk 0; chunk k holds STREAM_CHUNK << k */
#define STREAM_CHUNKS 20u
#define TICK_COPY_MAX 50000u            /* batches that the event loop's tick may carry over; more are walked again later */

struct wal_file {
	uint32_t refs;                  /* catalog lock */
	uint32_t number;
	struct lp_map map;
	struct lp_walwalk walk;
	bool started, complete;         /* complete: a later file exists and this one was walked to its end */
};

struct live_stream {
	struct lp_hash128 hash;
	const uint8_t *labels;          /* arena */
	uint32_t labels_len;
	uint32_t cap;                   /* catalog lock */
	_Atomic uint32_t n;             /* release after the batch is in place */
	_Atomic(struct lp_wal_batch *) batches;
	_Atomic int64_t min_ts, max_ts;
};

/* An array that was outgrown; snapshots may still read it. */
struct retired {
	struct retired *next;
	void *p;
};

struct live {
	struct live *next;              /* all lives of the catalog */
	uint32_t refs;                  /* catalog lock: one of the catalog while current, one per snapshot */
	uint32_t first;                 /* WAL file */
	uint32_t n_files, files_cap;
	struct wal_file **files;
	uint32_t n_streams;             /* catalog lock; snapshots carry their own copy */
	uint64_t n_batches;
	struct live_stream *chunks[STREAM_CHUNKS];
	uint32_t *table;                /* open addressing, stream + 1; catalog lock */
	uint32_t table_size;
	struct lp_arena arena;
	struct retired *retired;
};

struct segment_ref {
	struct lp_segment_name name;
	struct lp_segment *segment;
	uint32_t refs;                  /* catalog lock */
};

struct segset {
	uint32_t refs;
	uint32_t n;
	struct segment_ref **refs_array;
};

struct lp_catalog {
	pthread_mutex_t lock;
	char *wal_dir, *segments_dir;
	struct lp_region *region;
	uint32_t slot;
	bool pinned;
	uint32_t pin;
	struct segset *segset;
	uint32_t segset_first;
	uint64_t segset_generation;
	struct live *lives, *live;
	uint64_t skipped;
	uint32_t snapshots;
};

struct lp_snapshot {
	struct lp_catalog *catalog;
	struct segset *segset;
	struct live *live;              /* NULL: nothing live */
	uint32_t n_streams;
	lp_walpos limit;
	uint64_t skipped;
};

/* ---- segments ---- */

static void segment_unref(struct segment_ref *ref)
{
	if (--ref->refs)
		return;
	lp_segment_close(&ref->segment);
	free(ref);
}

static void segset_unref(struct segset *set)
{
	if (!set || --set->refs)
		return;
	for (uint32_t i = 0; i < set->n; i++)
		segment_unref(set->refs_array[i]);
	free(set->refs_array);
	free(set);
}

static int name_cmp(const struct lp_segment_name *a, const struct lp_segment_name *b)
{
	if (a->day != b->day)
		return a->day < b->day ? -1 : 1;
	if (a->first != b->first)
		return a->first < b->first ? -1 : 1;
	if (a->last != b->last)
		return a->last < b->last ? -1 : 1;
	return a->level < b->level ? -1 : a->level > b->level;
}

static int ref_cmp(const void *a, const void *b)
{
	return name_cmp(&(*(struct segment_ref *const *)a)->name, &(*(struct segment_ref *const *)b)->name);
}

static struct segment_ref *segset_find(const struct segset *set, const struct lp_segment_name *name)
{
	uint32_t lo = 0, hi = set ? set->n : 0;

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;
		int c = name_cmp(&set->refs_array[mid]->name, name);

		if (!c)
			return set->refs_array[mid];
		if (c < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return NULL;
}

static int segset_add(struct lp_catalog *catalog, struct segset *set, const struct lp_segment_name *name)
{
	struct segment_ref *ref = segset_find(catalog->segset, name);

	if (!ref) {
		ref = calloc(1, sizeof *ref);
		if (!ref)
			return -ENOMEM;
		int r = lp_segment_open(catalog->segments_dir, name, &ref->segment);

		if (r < 0) {
			free(ref);
			return r;
		}
		ref->name = *name;
	}
	ref->refs++;
	set->refs_array[set->n++] = ref;
	return 0;
}

/* All segments below `first`.  *ret_vanished: one was listed and is not there any more. */
static int segset_load(struct lp_catalog *catalog, uint32_t first, struct segset **ret_set, bool *ret_vanished)
{
	struct lp_segment_name *names = NULL;
	size_t n = 0;
	int r = lp_segment_list(catalog->segments_dir, &names, &n);

	*ret_vanished = false;
	if (r < 0 && r != -ENOENT)
		return r;
	struct segset *set = calloc(1, sizeof *set);

	if (set)
		set->refs_array = calloc(n ? n : 1, sizeof *set->refs_array);
	if (!set || !set->refs_array) {
		free(set);
		free(names);
		return -ENOMEM;
	}
	set->refs = 1;
	for (size_t i = 0; i < n; i++) {
		if (names[i].last >= first)
			continue;
		r = segset_add(catalog, set, &names[i]);
		if (r == -ENOENT)
			*ret_vanished = true;
		else if (r == -EBADMSG || r == -EPROTO)
			catalog->skipped++;
		else if (r < 0) {
			segset_unref(set);
			free(names);
			return r;
		}
	}
	free(names);
	if (set->n)
		qsort(set->refs_array, set->n, sizeof *set->refs_array, ref_cmp);
	*ret_set = set;
	return 0;
}

/* R2.  Leaves catalog->segset as it was on failure. */
static int segset_refresh(struct lp_catalog *catalog, uint32_t first)
{
	struct lp_state_shm *state = catalog->region ? lp_region_state(catalog->region) : NULL;
	uint64_t generation = state ? atomic_load(&state->generation) : 1;

	if (catalog->segset && catalog->segset_first == first && catalog->segset_generation == generation)
		return 0;
	struct segset *set = NULL;

	for (unsigned tries = 0; tries < LIST_TRIES; tries++) {
		bool vanished;

		segset_unref(set);
		set = NULL;
		int r = segset_load(catalog, first, &set, &vanished);

		if (r < 0)
			return r;
		uint64_t now = state ? atomic_load(&state->generation) : 1;

		if (now == generation && !vanished)
			break;
		generation = now;
	}
	segset_unref(catalog->segset);
	catalog->segset = set;
	catalog->segset_first = first;
	catalog->segset_generation = generation;
	return 0;
}

/* ---- live streams ---- */

static struct live_stream *stream_at(const struct live *live, uint32_t i)
{
	uint32_t k = 31 - (uint32_t)__builtin_clz(i / STREAM_CHUNK + 1);

	return &live->chunks[k][i - STREAM_CHUNK * ((1u << k) - 1)];
}

static int table_grow(struct live *live)
{
	uint32_t size = live->table_size ? live->table_size * 2 : 1024;
	uint32_t *table = calloc(size, sizeof *table);

	if (!table)
		return -ENOMEM;
	for (uint32_t i = 0; i < live->n_streams; i++) {
		uint32_t at = (uint32_t)stream_at(live, i)->hash.lo & (size - 1);

		while (table[at])
			at = (at + 1) & (size - 1);
		table[at] = i + 1;
	}
	free(live->table);
	live->table = table;
	live->table_size = size;
	return 0;
}

static int stream_new(struct live *live, struct lp_hash128 hash, const uint8_t *labels, uint32_t len, uint32_t *ret_stream)
{
	uint32_t i = live->n_streams, k = 31 - (uint32_t)__builtin_clz(i / STREAM_CHUNK + 1);

	if (k >= STREAM_CHUNKS)
		return -ENOMEM;
	if (!live->chunks[k]) {
		live->chunks[k] = calloc((size_t)STREAM_CHUNK << k, sizeof *live->chunks[k]);
		if (!live->chunks[k])
			return -ENOMEM;
	}
	struct live_stream *stream = stream_at(live, i);

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

static int stream_intern(struct live *live, struct lp_hash128 hash, const uint8_t *labels, uint32_t len, uint32_t *ret_stream)
{
	if (live->n_streams >= live->table_size / 2) {
		int r = table_grow(live);

		if (r < 0)
			return r;
	}
	uint32_t at = (uint32_t)hash.lo & (live->table_size - 1);

	for (; live->table[at]; at = (at + 1) & (live->table_size - 1)) {
		const struct live_stream *stream = stream_at(live, live->table[at] - 1);

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

static int batch_add(struct live *live, uint32_t index, const struct lp_wal_batch *batch)
{
	struct live_stream *stream = stream_at(live, index);
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

static void retired_free(struct live *live)
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

static int live_add_file(struct live *live, struct wal_file *file)
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

static void live_free(struct lp_catalog *catalog, struct live *live)
{
	for (struct live **at = &catalog->lives; *at; at = &(*at)->next)
		if (*at == live) {
			*at = live->next;
			break;
		}
	for (uint32_t i = 0; i < live->n_streams; i++)
		free(atomic_load_explicit(&stream_at(live, i)->batches, memory_order_relaxed));
	for (uint32_t k = 0; k < STREAM_CHUNKS; k++)
		free(live->chunks[k]);
	retired_free(live);
	for (uint32_t i = 0; i < live->n_files; i++)
		file_unref(live->files[i]);
	free(live->files);
	free(live->table);
	lp_arena_free(&live->arena);
	free(live);
}

static void live_unref(struct lp_catalog *catalog, struct live *live)
{
	if (live && --live->refs == 0)
		live_free(catalog, live);
}

static int live_open(struct lp_catalog *catalog, uint32_t first, struct live **ret_live)
{
	struct live *live = calloc(1, sizeof *live);

	if (!live)
		return -ENOMEM;
	live->refs = 1;
	live->first = first;
	live->next = catalog->lives;
	catalog->lives = live;
	*ret_live = live;
	return 0;
}

/* A live that starts at file `first` and takes over from the old one what was walked already. */
static int live_advance(struct lp_catalog *catalog, const struct live *old, uint32_t first, struct live **ret_live)
{
	struct live *live;
	int r = live_open(catalog, first, &live);

	if (r < 0)
		return r;
	for (uint32_t i = 0; r == 0 && i < old->n_files; i++)
		if (old->files[i]->number >= first)
			r = live_add_file(live, old->files[i]);
	for (uint32_t i = 0; r == 0 && live->n_files && i < old->n_streams; i++) {
		const struct live_stream *from = stream_at(old, i);
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
		live_unref(catalog, live);
		return r;
	}
	*ret_live = live;
	return 0;
}

/* One record into the live.  -EBADMSG: its directory is not sound, nothing of it was added. */
static int record_add(struct live *live, uint32_t number, const uint8_t *rec, size_t off, const struct lp_walrec_head *head)
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
static int file_walk(struct lp_catalog *catalog, struct live *live, struct wal_file *file, size_t limit, bool checked)
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
			catalog->skipped++;
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

/* Bring the live up to file `last`; off: how far that one may be read.  A number without a file below `last` holds nothing. */
static int live_extend(struct lp_catalog *catalog, struct live *live, uint32_t last, size_t off, bool checked)
{
	for (uint32_t i = 0; i < live->n_files; i++) {
		struct wal_file *file = live->files[i];

		if (file->complete)
			continue;
		int r = file->number < last ? file_walk(catalog, live, file, SIZE_MAX, true) :
					      file_walk(catalog, live, file, off, checked);

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
		r = number < last ? file_walk(catalog, live, file, SIZE_MAX, true) : file_walk(catalog, live, file, off, checked);
		if (r < 0 && r != -EBADMSG)
			return r;
		if (r < 0)
			catalog->skipped++;
		file->complete = number < last || r < 0;
	}
	return 0;
}

/* ---- pins ---- */

static uint32_t pin_take(struct lp_catalog *catalog)
{
	if (catalog->pinned)
		return atomic_load(&lp_region_state(catalog->region)->wal_first);
	catalog->pin = lp_slot_pin(catalog->region, catalog->slot);
	catalog->pinned = true;
	return catalog->pin;
}

/* Raise the pin to the lowest file that a live still maps. */
static void pin_raise(struct lp_catalog *catalog)
{
	uint32_t lowest = LP_WAL_PIN_NONE;

	if (!catalog->region || !catalog->pinned)
		return;
	for (const struct live *live = catalog->lives; live; live = live->next)
		if (live->first < lowest)
			lowest = live->first;
	if (lowest == LP_WAL_PIN_NONE) {
		catalog->pinned = false;
		lp_slot_unpin(catalog->region, catalog->slot, LP_WAL_PIN_NONE);
	} else if (lowest > catalog->pin) {
		catalog->pin = lowest;
		lp_slot_unpin(catalog->region, catalog->slot, lowest);
	}
}

/* ---- offline ---- */

/* Lowest and highest WAL file present; false: none. */
static bool wal_span(const char *dir, uint32_t *ret_first, uint32_t *ret_last)
{
	DIR *d = opendir(dir);
	uint32_t first = UINT32_MAX, last = 0;

	if (!d)
		return false;
	for (struct dirent *e; (e = readdir(d));) {
		char *end;
		unsigned long number = strtoul(e->d_name, &end, 10);

		if (strcmp(end, ".wal") != 0 || end == e->d_name || !number || number >= UINT32_MAX)
			continue;
		first = number < first ? (uint32_t)number : first;
		last = number > last ? (uint32_t)number : last;
	}
	closedir(d);
	*ret_first = first;
	*ret_last = last;
	return last != 0;
}

/* ---- interface ---- */

int lp_catalog_open(const char *data_dir, struct lp_region *region, uint32_t slot, struct lp_catalog **ret_catalog)
{
	struct lp_catalog *catalog = calloc(1, sizeof *catalog);

	if (!catalog)
		return -ENOMEM;
	pthread_mutex_init(&catalog->lock, NULL);
	catalog->region = region;
	catalog->slot = slot;
	if (asprintf(&catalog->wal_dir, "%s/wal", data_dir) < 0)
		catalog->wal_dir = NULL;
	if (asprintf(&catalog->segments_dir, "%s/segments", data_dir) < 0)
		catalog->segments_dir = NULL;
	if (!catalog->wal_dir || !catalog->segments_dir) {
		lp_catalog_close(&catalog);
		return -ENOMEM;
	}
	*ret_catalog = catalog;
	return 0;
}

void lp_catalog_close(struct lp_catalog **catalog)
{
	struct lp_catalog *c = *catalog;

	if (!c)
		return;
	LP_ASSERT(c->snapshots == 0);
	live_unref(c, c->live);
	pin_raise(c);
	segset_unref(c->segset);
	free(c->wal_dir);
	free(c->segments_dir);
	pthread_mutex_destroy(&c->lock);
	free(c);
	*catalog = NULL;
}

/* Under the lock: bring catalog->live up to date.  *ret_limit 0: nothing live. */
static int live_refresh(struct lp_catalog *catalog, uint32_t first, lp_walpos committed, bool checked, lp_walpos *ret_limit)
{
	int r = 0;

	*ret_limit = 0;
	if (!committed)
		return 0;
	if (catalog->live && catalog->live->first != first) {
		struct live *live = NULL;

		r = live_advance(catalog, catalog->live, first, &live);
		if (r < 0)
			return r;
		live_unref(catalog, catalog->live);
		catalog->live = live;
	} else if (!catalog->live) {
		r = live_open(catalog, first, &catalog->live);
		if (r < 0)
			return r;
	}
	if (catalog->live->refs == 1)
		retired_free(catalog->live);
	r = live_extend(catalog, catalog->live, LP_WALPOS_FILE(committed), LP_WALPOS_OFF(committed), checked);
	if (r < 0) {
		/* What was walked so far may be incomplete inside a record: start over next time. */
		live_unref(catalog, catalog->live);
		catalog->live = NULL;
		return r;
	}
	*ret_limit = committed;
	return 0;
}

static int refresh(struct lp_catalog *catalog, lp_walpos *ret_limit)
{
	uint32_t first, last;
	lp_walpos committed = 0;
	bool checked = false;

	if (catalog->region) {
		first = pin_take(catalog);
	} else if (wal_span(catalog->wal_dir, &first, &last)) {
		checked = true;
		committed = LP_WALPOS(last, UINT32_MAX);
	} else {
		first = UINT32_MAX;
	}
	int r = segset_refresh(catalog, first);

	if (r < 0)
		return r;
	if (catalog->region)
		committed = atomic_load_explicit(&lp_region_state(catalog->region)->committed, memory_order_acquire);
	return live_refresh(catalog, first, committed, checked, ret_limit);
}

int lp_catalog_acquire(struct lp_catalog *catalog, struct lp_snapshot **ret_snapshot)
{
	struct lp_snapshot *snapshot = calloc(1, sizeof *snapshot);
	lp_walpos limit;

	if (!snapshot)
		return -ENOMEM;
	pthread_mutex_lock(&catalog->lock);
	int r = refresh(catalog, &limit);

	if (r == 0) {
		snapshot->catalog = catalog;
		snapshot->segset = catalog->segset;
		snapshot->segset->refs++;
		snapshot->limit = limit;
		snapshot->skipped = catalog->skipped;
		if (limit) {
			snapshot->live = catalog->live;
			snapshot->live->refs++;
			snapshot->n_streams = catalog->live->n_streams;
		}
		catalog->snapshots++;
	}
	pin_raise(catalog);
	pthread_mutex_unlock(&catalog->lock);
	if (r < 0) {
		free(snapshot);
		return r;
	}
	*ret_snapshot = snapshot;
	return 0;
}

void lp_snapshot_release(struct lp_snapshot **snapshot)
{
	struct lp_snapshot *s = *snapshot;

	if (!s)
		return;
	struct lp_catalog *catalog = s->catalog;

	pthread_mutex_lock(&catalog->lock);
	segset_unref(s->segset);
	live_unref(catalog, s->live);
	catalog->snapshots--;
	pin_raise(catalog);
	pthread_mutex_unlock(&catalog->lock);
	free(s);
	*snapshot = NULL;
}

void lp_catalog_tick(struct lp_catalog *catalog)
{
	if (!catalog->region || pthread_mutex_trylock(&catalog->lock) != 0)
		return;                 /* somebody is at work with it: not idle */
	struct live *live = catalog->live;
	uint32_t first = atomic_load(&lp_region_state(catalog->region)->wal_first);

	if (live && live->refs == 1 && live->first != first) {
		struct live *next = NULL;

		if (live->n_batches <= TICK_COPY_MAX)
			(void)live_advance(catalog, live, first, &next);        /* on failure: walked again later */
		live_unref(catalog, live);
		catalog->live = next;
		pin_raise(catalog);
	}
	pthread_mutex_unlock(&catalog->lock);
}

uint32_t lp_snapshot_segments(const struct lp_snapshot *snapshot)
{
	return snapshot->segset->n;
}

const struct lp_segment *lp_snapshot_segment(const struct lp_snapshot *snapshot, uint32_t i)
{
	LP_ASSERT(i < snapshot->segset->n);
	return snapshot->segset->refs_array[i]->segment;
}

uint64_t lp_snapshot_skipped(const struct lp_snapshot *snapshot)
{
	return snapshot->skipped;
}

uint32_t lp_snapshot_wal_streams(const struct lp_snapshot *snapshot)
{
	return snapshot->n_streams;
}

int lp_snapshot_wal_stream(const struct lp_snapshot *snapshot, uint32_t stream, const uint8_t **ret_labels, uint32_t *ret_len,
			   int64_t *ret_min_ts, int64_t *ret_max_ts)
{
	if (stream >= snapshot->n_streams)
		return -EINVAL;
	struct live_stream *s = stream_at(snapshot->live, stream);

	*ret_labels = s->labels;
	*ret_len = s->labels_len;
	/* May be wider than the snapshot when the log grew since: for pruning only. */
	*ret_min_ts = atomic_load_explicit(&s->min_ts, memory_order_relaxed);
	*ret_max_ts = atomic_load_explicit(&s->max_ts, memory_order_relaxed);
	return 0;
}

const struct lp_wal_batch *lp_snapshot_wal_batches(const struct lp_snapshot *snapshot, uint32_t stream, uint32_t *ret_n)
{
	*ret_n = 0;
	if (stream >= snapshot->n_streams)
		return NULL;
	struct live_stream *s = stream_at(snapshot->live, stream);
	uint32_t n = atomic_load_explicit(&s->n, memory_order_acquire), lo = 0;
	const struct lp_wal_batch *batches = atomic_load_explicit(&s->batches, memory_order_acquire);

	/* Cut off what arrived after this snapshot. */
	while (lo < n) {
		uint32_t mid = lo + (n - lo) / 2;

		if (LP_WALPOS(batches[mid].file, batches[mid].offset) < snapshot->limit)
			lo = mid + 1;
		else
			n = mid;
	}
	*ret_n = lo;
	return batches;
}

int lp_wal_batch_rows(const struct lp_wal_batch *batch, struct lp_rows *ret_rows)
{
	struct lp_walrec_head head;
	struct lp_walrec_stream dir;
	int r = lp_walrec_peek(batch->rec, LP_WALREC_MAX_BYTES, &head);

	if (r == 0)
		r = lp_walrec_stream(batch->rec, &head, batch->stream_in_rec, &dir);
	if (r == 0)
		r = lp_walrec_rows(batch->rec, &head, &dir, ret_rows);
	return r;
}
