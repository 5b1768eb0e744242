/* Opening the write-ahead log: what the files hold, what is cut off, what goes back into the pool; see lp_wal_open().
 *
 * Guarantees: nothing is changed when any file is of a newer version; every file called complete holds exactly its valid
 * records, synced, and readers that check heads only stop where they end; files are consecutive, so the last empty ones are
 * taken back and their numbers used again, but never one at or below the committed position, which readers may know.
 * Process: writer, before anything is appended.  If it dies here, the next one does the same again. */
#include "store/wal-private.h"

#include "store/map.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

struct found {
	uint32_t number;
	bool bad, keep_bad;     /* head damaged; and something is in the file */
	bool stop;              /* zeros are needed at end */
	uint64_t size, end, torn, damaged;
};

struct scan {
	struct lp_wal *wal;
	lp_walpos committed;
	struct found *files;
	size_t n, cap;
	struct lp_wal_recovery sum;
};

/* "00000042.wal" -> 42; 0 for anything else. */
static uint32_t parse_wal_name(const char *name)
{
	char again[LP_WAL_NAME_MAX];
	uint64_t number = 0;
	size_t n = strspn(name, "0123456789");

	if (n < 8 || n > 10)
		return 0;
	for (size_t i = 0; i < n; i++)
		number = number * 10 + (uint64_t)(name[i] - '0');
	if (number > UINT32_MAX)
		return 0;
	lp_wal_name((uint32_t)number, again);
	return strcmp(name, again) ? 0 : (uint32_t)number;
}

static int add_spare(struct lp_wal *wal, const char *name)
{
	char again[LP_WAL_NAME_MAX];
	struct stat st;
	char *end;
	unsigned long id = strtoul(name + 6, &end, 10);

	if (id > UINT32_MAX || *end)
		return 0;
	lp_wal_spare_name((uint32_t)id, again);
	if (strcmp(name, again) || fstatat(wal->dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode))
		return 0;
	if (id > wal->spare_id)
		wal->spare_id = (uint32_t)id;
	if (wal->n_spares == LP_WAL_MAX_SPARES || (uint64_t)st.st_size > wal->file_max)
		return wal->io.unlink(wal->io.arg, wal->dir_fd, name);
	wal->spares[wal->n_spares++] = (struct lp_wal_spare){ (uint32_t)id, (uint64_t)st.st_size };
	return 0;
}

static int by_number(const void *a, const void *b)
{
	const struct found *x = a, *y = b;

	return x->number < y->number ? -1 : x->number > y->number;
}

/* Call fn for each directory entry. */
static int each_name(struct lp_wal *wal, int (*fn)(struct scan *scan, const char *name), struct scan *scan)
{
	int fd = openat(wal->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	int r = 0;

	if (!dir) {
		r = -errno;
		if (fd >= 0)
			close(fd);
		return r;
	}
	struct dirent *entry;

	while (r == 0 && (entry = readdir(dir)))
		r = fn(scan, entry->d_name);
	closedir(dir);
	return r;
}

static int note_file(struct scan *scan, const char *name)
{
	uint32_t number = parse_wal_name(name);

	if (!number)
		return 0;
	if (scan->n == scan->cap) {
		size_t cap = scan->cap ? scan->cap * 2 : 64;
		struct found *p = realloc(scan->files, cap * sizeof *p);

		if (!p)
			return -ENOMEM;
		scan->files = p;
		scan->cap = cap;
	}
	scan->files[scan->n++] = (struct found){ .number = number };
	return 0;
}

static int note_spare(struct scan *scan, const char *name)
{
	return strncmp(name, "spare-", 6) ? 0 : add_spare(scan->wal, name);
}

static bool all_zero(const uint8_t *p, size_t n)
{
	while (n > 0 && !p[n - 1])
		n--;
	return n == 0;
}

static void walk_file(struct scan *scan, struct found *file, const struct lp_map *map, uint64_t limit, bool checked)
{
	struct lp_wal_recovery *sum = &scan->sum;
	struct lp_walrec_head head;
	struct lp_walwalk walk;
	size_t off;

	if (lp_walwalk_start(&walk, map->p, limit, checked) < 0)
		return;
	while (lp_walwalk_next(&walk, &off, &head) > 0) {
		sum->records++;
		sum->entries += head.entries;
		file->end = walk.off;
		if (head.epoch == scan->wal->epoch && head.lane < LP_MAX_WORKERS &&
		    walk.next_pos > sum->lanes[head.lane].end_pos)
			sum->lanes[head.lane].end_pos = walk.next_pos;
	}
	file->damaged = walk.damaged_bytes;
	/* A group that began and did not end: its records that are whole count, the rest is torn. */
	if (walk.off < walk.group_end) {
		size_t end = walk.group_end < limit ? walk.group_end : limit;

		/* Zeros: cut already, by an earlier start. */
		file->stop = !all_zero(map->p + walk.off, LP_WAL_STOP_BYTES < limit - walk.off ? LP_WAL_STOP_BYTES : limit - walk.off);
		file->torn = file->stop ? end - walk.off : 0;
		file->end = walk.off;
	}
}

static int scan_file(struct scan *scan, struct found *file)
{
	char path[4096];
	struct lp_walfile_head head;
	struct lp_map map;
	int r = lp_wal_path(scan->wal, file->number, path, sizeof path);

	file->end = LP_WALFILE_HEAD;
	if (r == 0)
		r = lp_map_open(path, &map);
	if (r == -ENODATA || r == -EINVAL) {
		file->bad = true;
		file->keep_bad = r == -EINVAL;          /* a directory, a device: not ours, but in the way */
		return 0;
	}
	if (r < 0)
		return r;
	file->size = map.len;
	r = lp_walfile_head_check(map.p, map.len, &head);
	if (r == -EPROTO)
		goto out;
	if (r < 0 || head.number != file->number) {
		file->bad = true;
		file->keep_bad = !all_zero(map.p, map.len);     /* nothing of ours is named so before its head is on the disk */
		r = 0;
		goto out;
	}
	uint64_t limit = head.size < map.len ? head.size : map.len;
	uint32_t at = LP_WALPOS_FILE(scan->committed);

	if (!scan->committed) {
		walk_file(scan, file, &map, limit, true);
	} else if (file->number <= at) {
		uint64_t off = LP_WALPOS_OFF(scan->committed);

		if (file->number == at && off < limit) {
			limit = off;
			file->stop = !all_zero(map.p + off, LP_WAL_STOP_BYTES < map.len - off ? LP_WAL_STOP_BYTES : map.len - off);
		}
		bool stop = file->stop;

		walk_file(scan, file, &map, limit, false);
		/* Cut where it was committed even if the walk stopped before (a damaged record ends the file, not the promise). */
		file->stop |= stop;
	}
	if (head.size > map.len && file->end > LP_WALFILE_HEAD)
		file->damaged += head.size - map.len;
out:
	lp_map_close(&map);
	return r;
}

/* Make what the file holds durable, and readers stop at its end. */
static int settle_file(struct scan *scan, const struct found *file)
{
	struct lp_wal *wal = scan->wal;
	char name[LP_WAL_NAME_MAX];
	int r = 0;

	if (!file->stop && (scan->committed || !wal->sync))
		return 0;
	lp_wal_name(file->number, name);
	int fd = openat(wal->dir_fd, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);

	if (fd < 0)
		return -errno;
	/* Warm: everything kept is synced already, and only the stop is new. */
	if (!scan->committed && wal->sync)
		r = wal->io.datasync(wal->io.arg, fd);
	if (r == 0 && file->stop) {
		lp_wal_put_stop(wal, fd, file->size, file->end);
		/* Later files follow: after a power cut the torn bytes must not look like damage (logpulsectl verify). */
		if (wal->sync)
			r = wal->io.datasync(wal->io.arg, fd);
	}
	close(fd);
	return r;
}

static int set_aside(struct lp_wal *wal, uint32_t number)
{
	char name[LP_WAL_NAME_MAX], bad[LP_WAL_NAME_MAX + 8];

	lp_wal_name(number, name);
	snprintf(bad, sizeof bad, "%s.bad", name);
	return wal->io.rename(wal->io.arg, wal->dir_fd, name, bad);
}

/* An append that was not finished can only stand in the last file that was in use: a writer begins the next one when this one is
 * synced to its end or cut.  Numbers follow each other, and the lowest files go first, so a gap is a file that somebody deleted. */
static void note_losses(struct scan *scan)
{
	struct lp_wal_recovery *sum = &scan->sum;
	uint32_t above = 0, bad = 0;
	bool newest = true;

	for (size_t i = scan->n; i-- > 0;) {
		const struct found *file = &scan->files[i];

		if (file->bad) {
			bad++;
			continue;
		}
		if (above)
			sum->missing_files += above - file->number - 1 - bad;
		above = file->number;
		bad = 0;
		sum->torn_bytes += newest ? file->torn : 0;
		sum->damaged_bytes += file->damaged + (newest ? 0 : file->torn);
		newest = newest && file->end == LP_WALFILE_HEAD;
	}
}

/* Everything that changes the directory, after every file was looked at. */
static int settle(struct scan *scan, uint32_t least_number)
{
	struct lp_wal *wal = scan->wal;
	uint32_t keep_to = LP_WALPOS_FILE(scan->committed);
	uint32_t reuse = 0;             /* number of the first of the empty files at the end */
	size_t last = scan->n;
	int r = each_name(wal, note_spare, scan);

	note_losses(scan);
	/* The empty files at the end: prepared ones, or used by a writer that committed nothing to them. */
	while (last > 0 && scan->files[last - 1].end == LP_WALFILE_HEAD && !scan->files[last - 1].keep_bad &&
	       scan->files[last - 1].number > keep_to)
		reuse = scan->files[--last].number;
	for (size_t i = 0; r == 0 && i < scan->n; i++) {
		const struct found *file = &scan->files[i];
		char name[LP_WAL_NAME_MAX];

		lp_wal_name(file->number, name);
		if (file->keep_bad) {
			r = set_aside(wal, file->number);
			scan->sum.bad_files++;
		} else if (file->bad || i >= last) {
			r = lp_wal_discard(wal, name, file->size, false);
		} else {
			r = settle_file(scan, file);
			if (r == 0)
				r = lp_wal_add_complete(wal, &(struct lp_wal_file){ file->number, false, file->size, file->end });
			wal->last_end = LP_WALPOS(file->number, file->end);
			scan->sum.files++;
		}
	}
	if (r < 0)
		return r;
	uint32_t next = last ? scan->files[last - 1].number + 1 : reuse;

	if (next < keep_to + 1)
		next = keep_to + 1;             /* at least 1 */
	wal->next_number = next > least_number ? next : least_number;
	/* Without a current file (a full disk) this is what is announced: never 0, never less than before. */
	if (wal->last_end < scan->committed)
		wal->last_end = scan->committed;
	if (!wal->last_end)
		wal->last_end = LP_WALPOS(wal->next_number - 1, LP_WALFILE_HEAD);
	scan->sum.first_file = wal->n_complete ? wal->complete[0].number : wal->next_number;
	return wal->sync ? wal->io.syncdir(wal->io.arg, wal->dir_fd) : 0;
}

int lp_wal_recover(struct lp_wal *wal, lp_walpos committed, uint32_t least_number, struct lp_wal_recovery *ret)
{
	struct scan scan = { .wal = wal, .committed = committed };
	int r = each_name(wal, note_file, &scan);

	if (scan.n)
		qsort(scan.files, scan.n, sizeof scan.files[0], by_number);
	for (size_t i = 0; r == 0 && i < scan.n; i++)
		r = scan_file(&scan, &scan.files[i]);
	if (r == 0)
		r = settle(&scan, least_number);
	if (r == 0)
		*ret = scan.sum;
	free(scan.files);
	return r;
}
