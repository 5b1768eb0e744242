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
#include "store/catalog-private.h"

#include "common/assert.h"
#include "common/clock.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LIST_TRIES 16
#define RETRY_MS 5000
#define TICK_COPY_MAX 50000u            /* batches that the event loop's tick may carry over; more are walked again later */

struct segment_ref {
	struct lp_segment_name name;
	struct lp_segment *segment;
	uint32_t refs;                  /* catalog lock */
};

struct segset {
	uint32_t refs;
	uint32_t n;
	uint32_t skipped;               /* listed, and damaged or unreadable */
	struct segment_ref **refs_array;
};

struct lp_snapshot {
	struct lp_catalog *catalog;
	struct segset *segset;
	struct lp_live *live;              /* NULL: nothing live */
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
		if (r == -ENOMEM || r == -EMFILE || r == -ENFILE) {
			segset_unref(set);
			free(names);
			return r;
		}
		/* Whatever is wrong with one file must not hide what is in the others. */
		*ret_vanished |= r == -ENOENT;
		set->skipped += r < 0;
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
	int64_t now_ms = lp_clock_mono_ms();

	/* What could not be opened is tried again now and then: rights are put right, disks come back. */
	if (catalog->segset && catalog->segset_first == first && catalog->segset_generation == generation &&
	    !(catalog->segset->skipped && now_ms - catalog->segset_loaded_ms >= RETRY_MS))
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
	catalog->segset_loaded_ms = now_ms;
	return 0;
}

/* ---- pins ---- */

uint32_t lp_catalog_pin_take(struct lp_catalog *catalog)
{
	if (catalog->pinned)
		return atomic_load(&lp_region_state(catalog->region)->wal_first);
	uint32_t first = lp_slot_pin(catalog->region, catalog->slot);

	/* Lower than that when a predecessor has left its own. */
	catalog->pin = atomic_load(&lp_slot(catalog->region, catalog->slot)->wal_pin);
	catalog->pinned = true;
	return first;
}

/* Raise the pin to the lowest file that a live still maps or a follower still needs. */
void lp_catalog_pin_raise(struct lp_catalog *catalog)
{
	uint32_t lowest = LP_WAL_PIN_NONE;

	if (!catalog->region || !catalog->pinned)
		return;
	for (const struct lp_live *live = catalog->lives; live; live = live->next)
		if (live->first < lowest)
			lowest = live->first;
	for (const struct lp_follow_pin *pin = catalog->follows; pin; pin = pin->next)
		if (pin->file < lowest)
			lowest = pin->file;
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
	catalog->data_dir = strdup(data_dir);
	if (!catalog->data_dir || !catalog->wal_dir || !catalog->segments_dir) {
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
	LP_ASSERT(c->snapshots == 0 && !c->follows);
	lp_live_unref(c, c->live);
	lp_catalog_pin_raise(c);
	segset_unref(c->segset);
	free(c->data_dir);
	free(c->wal_dir);
	free(c->segments_dir);
	pthread_mutex_destroy(&c->lock);
	free(c);
	*catalog = NULL;
}

const char *lp_catalog_data_dir(const struct lp_catalog *catalog)
{
	return catalog->data_dir;
}

struct lp_region *lp_catalog_region(const struct lp_catalog *catalog)
{
	return catalog->region;
}

/* Under the lock: bring catalog->live up to date.  *ret_limit 0: nothing live. */
static int live_refresh(struct lp_catalog *catalog, uint32_t first, lp_walpos committed, bool checked, lp_walpos *ret_limit)
{
	int r = 0;

	*ret_limit = 0;
	if (!committed)
		return 0;
	if (catalog->live && catalog->live->first != first) {
		struct lp_live *live = NULL;

		r = lp_live_advance(catalog, catalog->live, first, &live);
		if (r < 0)
			return r;
		lp_live_unref(catalog, catalog->live);
		catalog->live = live;
	} else if (!catalog->live) {
		r = lp_live_open(catalog, first, &catalog->live);
		if (r < 0)
			return r;
	}
	if (catalog->live->refs == 1)
		lp_live_trim(catalog->live);
	r = lp_live_extend(catalog, catalog->live, LP_WALPOS_FILE(committed), LP_WALPOS_OFF(committed), checked);
	if (r < 0) {
		/* What was walked so far may be incomplete inside a record: start over next time. */
		lp_live_unref(catalog, catalog->live);
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
		first = lp_catalog_pin_take(catalog);
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
		snapshot->skipped = catalog->segset->skipped + (limit ? lp_live_skipped(catalog->live) : 0);
		if (limit) {
			snapshot->live = catalog->live;
			snapshot->live->refs++;
			snapshot->n_streams = catalog->live->n_streams;
		}
		catalog->snapshots++;
	}
	lp_catalog_pin_raise(catalog);
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
	lp_live_unref(catalog, s->live);
	catalog->snapshots--;
	lp_catalog_pin_raise(catalog);
	pthread_mutex_unlock(&catalog->lock);
	free(s);
	*snapshot = NULL;
}

void lp_catalog_tick(struct lp_catalog *catalog)
{
	if (!catalog->region || pthread_mutex_trylock(&catalog->lock) != 0)
		return;                 /* somebody is at work with it: not idle */
	struct lp_live *live = catalog->live;
	uint32_t first = atomic_load(&lp_region_state(catalog->region)->wal_first);

	if (live && live->refs == 1 && live->first != first) {
		struct lp_live *next = NULL;

		if (live->n_batches <= TICK_COPY_MAX)
			(void)lp_live_advance(catalog, live, first, &next);        /* on failure: walked again later */
		lp_live_unref(catalog, live);
		catalog->live = next;
		lp_catalog_pin_raise(catalog);
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

lp_walpos lp_snapshot_limit(const struct lp_snapshot *snapshot)
{
	return snapshot->limit;
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
	struct lp_live_stream *s = lp_live_stream(snapshot->live, stream);

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
	struct lp_live_stream *s = lp_live_stream(snapshot->live, stream);
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
