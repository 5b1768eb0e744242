/* Room on the disk: sets and clears LP_STATE_DISK_FULL and LP_STATE_WAL_FAILED, gives spare files back first.
 *
 * Guarantees: the state is set when the file system has less than storage.min_free_bytes, or when the current WAL file is full
 * and no other can be made; it is cleared only when a file takes appends and a quarter more than that is free, so that it
 * does not flap.  What is in the lanes is
 * appended as long as prepared files have room; the rest waits and is answered by the workers' commit timeout.
 * Process: writer, main thread, once a second.  If it dies here, the next one looks again. */
#include "writer/writer-private.h"

#include "common/log.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/statvfs.h>

static void set_bit(struct lp_writer *writer, uint32_t bit, bool on)
{
	if (on)
		atomic_fetch_or(&writer->state->flags, bit);
	else
		atomic_fetch_and(&writer->state->flags, ~bit);
}

static bool no_room(int err) { return err == -ENOSPC || err == -EDQUOT; }

static void set_gauges(struct lp_writer *writer, uint64_t free_bytes)
{
	uint32_t files;
	uint64_t bytes;

	lp_wal_usage(writer->wal, &files, &bytes);
	lp_stat_set(writer->row, LP_STAT_WAL_FILES, files);
	lp_stat_set(writer->row, LP_STAT_WAL_BYTES, bytes);
	lp_stat_set(writer->row, LP_STAT_DISK_FREE_BYTES, free_bytes);
	lp_stat_set(writer->row, LP_STAT_STATE_READ_ONLY,
		    !!(atomic_load(&writer->state->flags) & (LP_STATE_DISK_FULL | LP_STATE_WAL_FAILED)));
}

void lp_writer_watch_space(struct lp_writer *writer)
{
	uint64_t min_free = (uint64_t)writer->proc->conf->storage.min_free_bytes;
	uint32_t flags = atomic_load(&writer->state->flags);
	bool was_full = flags & LP_STATE_DISK_FULL, was_failed = flags & LP_STATE_WAL_FAILED;
	struct statvfs fs;
	uint64_t free_bytes = UINT64_MAX;

	if (statvfs(writer->proc->data_dir, &fs) == 0)
		free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
	if (free_bytes < min_free)
		lp_wal_drop_spares(writer->wal);
	int r = lp_wal_prepare(writer->wal, true);
	/* Without a next file the current one still takes pushes; when it is full it is sealed and becomes the next one. */
	bool can_append = r == 0 || (lp_wal_room(writer->wal) && !writer->waiting);
	bool full = was_full;

	if (free_bytes < min_free || (no_room(r) && !can_append))
		full = true;
	else if (can_append && free_bytes >= min_free + min_free / 4)
		full = false;
	if (full != was_full) {
		set_bit(writer, LP_STATE_DISK_FULL, full);
		if (full)
			lp_log(LP_WARN, "disk full: pushes are refused free_bytes=%" PRIu64 " min_free_bytes=%" PRIu64, free_bytes,
			       min_free);
		else
			lp_log(LP_INFO, "disk has room again: pushes are taken free_bytes=%" PRIu64, free_bytes);
	}
	/* Cleared by the next commit, or here when the new file could be written and nobody pushes. */
	bool failed = r < 0 && r != -EAGAIN && !no_room(r) && !can_append;

	if (failed && !was_failed)
		lp_log(LP_ERROR, "write-ahead log: no file can be made, pushes are refused error=\"%s\"", strerror(-r));
	if (failed)
		set_bit(writer, LP_STATE_WAL_FAILED, true);
	else if (was_failed && r == 0 && !writer->retry_ms)
		set_bit(writer, LP_STATE_WAL_FAILED, false);
	set_gauges(writer, free_bytes == UINT64_MAX ? 0 : free_bytes);
}
