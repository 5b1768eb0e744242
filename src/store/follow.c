/* Following the log; see follow.h.
 *
 * Guarantees: between its position and `committed` a follower returns every record once, in the order of the log, or counts its
 * entries as dropped; the files it still needs are not recycled.
 * Bytes below the committed position were checked when they were written.  The rest of an earlier file may hold an append that
 * the writer gave up, so there every record is checked in full: as the catalog does (catalog_live.c), with the same result.
 * Process: worker, notifier; the catalog's lock is taken for opening, closing and changing files only.
 * If the process dies here, the master clears its slot and with it the pin and the request for the doorbell. */
#include "store/follow.h"

#include "shm/commit.h"
#include "store/catalog-private.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

struct lp_follow {
	struct lp_follow_pin pin;       /* in the catalog's list; pin.file: of the position */
	struct lp_catalog *catalog;
	struct lp_map map;              /* of pin.file; p NULL: not open */
	struct lp_walwalk walk;
	bool started;                   /* walk is set up */
	lp_walpos from;                 /* records below it are passed over */
	uint64_t dropped;
};

static struct lp_state_shm *state_of(const struct lp_follow *follow)
{
	return lp_region_state(follow->catalog->region);
}

lp_walpos lp_follow_committed(const struct lp_follow *follow)
{
	return atomic_load_explicit(&state_of(follow)->committed, memory_order_acquire);
}

lp_walpos lp_follow_position(const struct lp_follow *follow)
{
	lp_walpos at = LP_WALPOS(follow->pin.file, follow->started ? follow->walk.off : 0);

	return at > follow->from ? at : follow->from;
}

static void enter_file(struct lp_follow *follow, uint32_t number)
{
	lp_map_close(&follow->map);
	follow->map = (struct lp_map){ 0 };
	follow->started = false;
	pthread_mutex_lock(&follow->catalog->lock);
	follow->pin.file = number;
	lp_catalog_pin_raise(follow->catalog);
	pthread_mutex_unlock(&follow->catalog->lock);
}

/* Where to begin; the catalog is locked, wal_first is `first`. */
struct begin {
	lp_walpos at;                   /* from here on, or, 0: */
	uint64_t back_bytes;            /* this much before the committed position */
	uint32_t lost_from, lost_end;   /* returned: files [from, end) are no longer there */
};

static lp_walpos begin_at(struct lp_catalog *catalog, struct begin *begin, uint32_t first, lp_walpos committed)
{
	uint32_t file = LP_WALPOS_FILE(committed), off = LP_WALPOS_OFF(committed), kept = catalog->pin;

	if (begin->at) {
		/* A predecessor's pin held no more than this while nobody was there to raise it. */
		if (first > LP_FOLLOW_MAX_BEHIND && kept < first - LP_FOLLOW_MAX_BEHIND)
			kept = first - LP_FOLLOW_MAX_BEHIND;
		if (begin->at >= committed)
			return committed;
		if (LP_WALPOS_FILE(begin->at) >= kept)
			return begin->at;
		begin->lost_from = LP_WALPOS_FILE(begin->at);
		begin->lost_end = kept;
		return LP_WALPOS(kept, 0) < committed ? LP_WALPOS(kept, 0) : committed;
	}
	if (begin->back_bytes > off && file > first)
		return LP_WALPOS(file - 1, 0);
	return LP_WALPOS(file, begin->back_bytes > off ? 0 : off - begin->back_bytes);
}

static int open_follow(struct lp_catalog *catalog, struct begin *begin, struct lp_follow **ret_follow)
{
	if (!catalog->region)
		return -EAGAIN;
	struct lp_follow *follow = calloc(1, sizeof *follow);

	if (!follow)
		return -ENOMEM;
	follow->catalog = catalog;
	pthread_mutex_lock(&catalog->lock);
	/* The pin first: `committed` lies at or behind what it holds. */
	uint32_t first = lp_catalog_pin_take(catalog);
	lp_walpos committed = lp_follow_committed(follow);

	if (committed) {
		follow->from = begin_at(catalog, begin, first, committed);
		follow->pin.file = LP_WALPOS_FILE(follow->from);
		follow->pin.next = catalog->follows;
		catalog->follows = &follow->pin;
	}
	lp_catalog_pin_raise(catalog);
	pthread_mutex_unlock(&catalog->lock);
	if (!committed) {
		free(follow);
		return -EAGAIN;
	}
	*ret_follow = follow;
	return 0;
}

int lp_follow_open(struct lp_catalog *catalog, uint64_t back_bytes, struct lp_follow **ret_follow)
{
	struct begin begin = { .back_bytes = back_bytes };

	return open_follow(catalog, &begin, ret_follow);
}

/* About: a repeated line is in a segment once, and a merged segment counts when all of it was missed. */
static uint64_t count_sealed(struct lp_catalog *catalog, uint32_t from, uint32_t end)
{
	struct lp_snapshot *snapshot;
	uint64_t n = 0;

	if (lp_catalog_acquire(catalog, &snapshot) < 0)
		return 0;
	for (uint32_t i = 0; i < lp_snapshot_segments(snapshot); i++) {
		const struct lp_segment_info *info = lp_segment_info(lp_snapshot_segment(snapshot, i));

		if (info->name.first >= from && info->name.last < end)
			n += info->entries;
	}
	lp_snapshot_release(&snapshot);
	return n;
}

int lp_follow_open_at(struct lp_catalog *catalog, lp_walpos at, struct lp_follow **ret_follow)
{
	struct begin begin = { .at = at ? at : 1 };
	int r = open_follow(catalog, &begin, ret_follow);

	if (r == 0 && begin.lost_end)
		(*ret_follow)->dropped = count_sealed(catalog, begin.lost_from, begin.lost_end);
	return r;
}

void lp_follow_close(struct lp_follow **follow)
{
	struct lp_follow *f = *follow;

	if (!f)
		return;
	lp_map_close(&f->map);
	pthread_mutex_lock(&f->catalog->lock);
	for (struct lp_follow_pin **at = &f->catalog->follows; *at; at = &(*at)->next)
		if (*at == &f->pin) {
			*at = f->pin.next;
			break;
		}
	lp_catalog_pin_raise(f->catalog);
	pthread_mutex_unlock(&f->catalog->lock);
	free(f);
	*follow = NULL;
}

/* 1 open, -errno. */
static int open_file(struct lp_follow *follow)
{
	char path[PATH_MAX];
	struct lp_walfile_head head;

	if (follow->started)
		return 1;
	if (!follow->map.p) {
		snprintf(path, sizeof path, "%s/%08u.wal", follow->catalog->wal_dir, follow->pin.file);
		int r = lp_map_open(path, &follow->map);

		if (r < 0)
			return r;
	}
	int r = lp_walfile_head_check(follow->map.p, follow->map.len, &head);

	if (r == 0 && head.number != follow->pin.file)
		r = -EBADMSG;
	if (r == 0)
		r = lp_walwalk_start(&follow->walk, follow->map.p, follow->map.len, false);
	if (r < 0)
		return r;
	follow->started = true;
	return 1;
}

/* The next record of the file at hand, wherever it begins.  1, 0, -errno. */
static int file_next(struct lp_follow *follow, lp_walpos limit, struct lp_follow_record *ret_record)
{
	bool last = follow->pin.file == LP_WALPOS_FILE(limit);
	size_t end = last ? LP_WALPOS_OFF(limit) : follow->map.len, off;

	follow->walk.limit = end < follow->map.len ? end : follow->map.len;
	follow->walk.checked = !last;
	int r = lp_walwalk_next(&follow->walk, &off, &ret_record->head);

	if (r <= 0)
		return r;
	ret_record->pos = LP_WALPOS(follow->pin.file, off);
	ret_record->rec = follow->map.p + off;
	return 1;
}

static int walk_on(struct lp_follow *follow, lp_walpos limit, struct lp_follow_record *ret_record)
{
	for (;;) {
		uint32_t last = LP_WALPOS_FILE(limit);
		int r = 0;

		if (follow->pin.file > last || lp_follow_position(follow) >= limit)
			return 0;
		r = open_file(follow);
		/* A number without a file below the last one holds nothing; one with a damaged head is left out by the catalog too. */
		if ((r == -ENOENT || r == -ENODATA || r == -EBADMSG) && follow->pin.file < last)
			r = 0;
		else if (r > 0)
			r = file_next(follow, limit, ret_record);
		if (r < 0)
			return r;
		if (r > 0) {
			if (ret_record->pos < follow->from)
				continue;
			return 1;
		}
		if (follow->pin.file >= last)
			return 0;
		enter_file(follow, follow->pin.file + 1);
	}
}

/* Give up what lies before the committed position, counting the entries. */
static void jump(struct lp_follow *follow)
{
	lp_walpos committed = lp_follow_committed(follow);
	struct lp_follow_record record;

	while (walk_on(follow, committed, &record) > 0)
		follow->dropped += record.head.entries;
	if (LP_WALPOS_FILE(committed) > follow->pin.file)
		enter_file(follow, LP_WALPOS_FILE(committed));
	follow->from = committed;
}

int lp_follow_next(struct lp_follow *follow, lp_walpos limit, struct lp_follow_record *ret_record)
{
	/* Files below wal_first are kept for their readers only. */
	uint32_t first = atomic_load_explicit(&state_of(follow)->wal_first, memory_order_relaxed);

	if (first > follow->pin.file && first - follow->pin.file > LP_FOLLOW_MAX_BEHIND)
		jump(follow);
	return walk_on(follow, limit, ret_record);
}

uint64_t lp_follow_dropped(struct lp_follow *follow)
{
	uint64_t n = follow->dropped;

	follow->dropped = 0;
	return n;
}

/* ---- what is in a record ---- */

static bool rows_sound(const struct lp_rows *rows, uint64_t text_bytes, uint64_t meta_max)
{
	uint64_t at = rows->base, meta_at = rows->meta_base;

	for (uint32_t i = 0; i < rows->n; i++) {
		if (rows->ends[i] <= at)
			return false;
		at = rows->ends[i];
		if (rows->meta_ends) {
			if (rows->meta_ends[i] < meta_at)
				return false;
			meta_at = rows->meta_ends[i];
		}
	}
	return at <= rows->base + text_bytes && meta_at <= meta_max;
}

int lp_follow_stream(const struct lp_follow_record *record, uint32_t s, struct lp_follow_stream *ret_stream)
{
	struct lp_walrec_stream dir;
	struct lp_rows rows;
	int r = lp_walrec_stream(record->rec, &record->head, s, &dir);

	if (r == 0)
		r = lp_walrec_rows(record->rec, &record->head, &dir, &rows);
	if (r == 0 && !rows_sound(&rows, dir.text_bytes,
				  rows.meta ? record->head.bytes - (uint64_t)(rows.meta - record->rec) : 0))
		r = -EBADMSG;
	if (r < 0)
		return r;
	ret_stream->hash = dir.hash;
	ret_stream->labels = record->rec + dir.labels_off;
	ret_stream->labels_len = dir.labels_bytes;
	ret_stream->rows = rows;
	return 0;
}

/* ---- waiting ---- */

int lp_follow_wait(struct lp_follow *follow, int timeout_ms)
{
	struct lp_region *region = follow->catalog->region;
	uint32_t slot = follow->catalog->slot;
	struct pollfd p = { .fd = lp_commit_bell(region, slot), .events = POLLIN };
	lp_walpos at = lp_follow_position(follow);

	if (lp_commit_wait(region, slot) <= at)
		(void)poll(&p, 1, timeout_ms);
	lp_commit_heard(region, slot);
	return lp_follow_committed(follow) > at;
}
