/* Files of the write-ahead log before and after their life: a helper thread prewrites the next one, sealed ones come back.
 *
 * Guarantees: a file gets its name NNNNNNNN.wal only after its blocks and its head with a new salt are on the disk, and a
 * file's old name is off the disk before its head is written again, so no crash leaves a name with another file's head.
 * Blocks are written, not only allocated: a sync of an unwritten extent must also write metadata and costs twice as much.
 * Process: writer (helper thread; lp_wal_discard on any thread).  If it dies here, the next lp_wal_open() finds a spare-N, or an
 * empty NNNNNNNN.wal, which becomes one. */
#include "store/wal-private.h"

#include "common/clock.h"
#include "common/fault.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define PREWRITE_CHUNK (1u << 20)
#define PREWRITE_SYNC (4u << 20)        /* small enough that a group commit does not queue behind it for long */

void lp_wal_spare_name(uint32_t id, char out[static LP_WAL_NAME_MAX])
{
	snprintf(out, LP_WAL_NAME_MAX, "spare-%" PRIu32, id);
}

void lp_wal_pool_ask(struct lp_wal *wal, uint64_t size)
{
	wal->want = true;
	wal->want_size = size;
	pthread_cond_broadcast(&wal->cond);
}

static int datasync(struct lp_wal *wal, int fd)
{
	return wal->sync ? wal->io.datasync(wal->io.arg, fd) : 0;
}

static int syncdir(struct lp_wal *wal)
{
	return wal->sync ? wal->io.syncdir(wal->io.arg, wal->dir_fd) : 0;
}

static int check_room(struct lp_wal *wal, uint64_t more)
{
	struct statvfs fs;

	if (!more)
		return 0;
	if (fstatvfs(wal->dir_fd, &fs) < 0)
		return -errno;
	pthread_mutex_lock(&wal->lock);
	uint64_t min_free = wal->min_free;

	pthread_mutex_unlock(&wal->lock);
	return (uint64_t)fs.f_bavail * fs.f_frsize < more + min_free ? -ENOSPC : 0;
}

/* Write zeros to [from, to). */
static int prewrite(struct lp_wal *wal, int fd, uint64_t from, uint64_t to)
{
	uint8_t *zero = calloc(1, PREWRITE_CHUNK);
	uint64_t unsynced = 0;
	int r = zero ? 0 : -ENOMEM;

	while (r == 0 && from < to) {
		uint64_t n = to - from < PREWRITE_CHUNK ? to - from : PREWRITE_CHUNK;
		struct iovec iov = { zero, n };

		r = lp_wal_write_all(wal, fd, &iov, 1, from);
		from += n;
		unsynced += n;
		if (r == 0 && unsynced >= PREWRITE_SYNC) {
			r = datasync(wal, fd);
			unsynced = 0;
		}
	}
	free(zero);
	return r;
}

static int write_head(struct lp_wal *wal, struct lp_wal_open_file *file)
{
	union {
		struct lp_walfile_head head;
		uint8_t page[LP_WALFILE_HEAD];
	} u = { .page = { 0 } };
	struct iovec iov = { &u, sizeof u };

	if (getrandom(&file->salt, sizeof file->salt, 0) != sizeof file->salt)
		return -EIO;
	lp_walfile_head_make(&u.head, file->number, file->size, file->salt, lp_clock_real_ns());
	int r = lp_wal_write_all(wal, file->fd, &iov, 1, 0);

	return r < 0 ? r : datasync(wal, file->fd);
}

/* Make file->fd, which stands in the directory as `name`, a file of file->size bytes with a new head, called file->number. */
static int make_ready(struct lp_wal *wal, struct lp_wal_open_file *file, const char *name)
{
	char wal_name[LP_WAL_NAME_MAX];
	struct stat st;
	int r = 0;

	if (fstat(file->fd, &st) < 0)
		return -errno;
	uint64_t size = (uint64_t)st.st_size;

	if (size > file->size)
		r = wal->io.truncate(wal->io.arg, file->fd, file->size);
	else if (size < file->size)
		r = check_room(wal, file->size - size);
	if (r == 0 && size < file->size)
		r = prewrite(wal, file->fd, size, file->size);
	if (r == 0)
		r = write_head(wal, file);
	LP_FAULT("wal-recycle");
	lp_wal_name(file->number, wal_name);
	if (r == 0 && strcmp(name, wal_name))
		r = wal->io.rename(wal->io.arg, wal->dir_fd, name, wal_name);
	if (r == 0)
		r = syncdir(wal);
	return r;
}

/* Open a pool file, or make one.  Under lock for the choice only. */
static int take_spare(struct lp_wal *wal, char name[static LP_WAL_NAME_MAX])
{
	pthread_mutex_lock(&wal->lock);
	if (wal->n_spares) {
		lp_wal_spare_name(wal->spares[--wal->n_spares].id, name);
		pthread_mutex_unlock(&wal->lock);
		int fd = openat(wal->dir_fd, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);

		return fd < 0 ? -errno : fd;
	}
	lp_wal_spare_name(++wal->spare_id, name);
	pthread_mutex_unlock(&wal->lock);
	return wal->io.create(wal->io.arg, wal->dir_fd, name);
}

/* Prepare file `number` of at least `size` bytes; `have` is a prepared one of another size, or fd -1. */
static int prepare(struct lp_wal *wal, uint32_t number, uint64_t size, struct lp_wal_open_file *have,
		   struct lp_wal_open_file *ret)
{
	char name[LP_WAL_NAME_MAX];
	struct lp_wal_open_file file = *have;
	int r;

	if (file.fd >= 0) {
		lp_wal_name(number, name);
	} else {
		r = take_spare(wal, name);
		if (r < 0)
			return r;
		file.fd = r;
	}
	file.number = number;
	file.size = size;
	r = make_ready(wal, &file, name);
	if (r < 0) {
		/* Gives the space back when there is too little, and never reuses blocks that failed. */
		char wal_name[LP_WAL_NAME_MAX];

		lp_wal_name(number, wal_name);
		close(file.fd);
		if (wal->io.unlink(wal->io.arg, wal->dir_fd, name) == -ENOENT)
			(void)wal->io.unlink(wal->io.arg, wal->dir_fd, wal_name);
		return r;
	}
	*ret = file;
	return 0;
}

static void *helper(void *arg)
{
	struct lp_wal *wal = arg;

	pthread_mutex_lock(&wal->lock);
	while (!wal->stop) {
		if (!wal->want) {
			pthread_cond_wait(&wal->cond, &wal->lock);
			continue;
		}
		struct lp_wal_open_file have = wal->next, made = { .fd = -1 };
		uint32_t number = wal->next_number;
		uint64_t size = wal->want_size;
		int r = 0;

		bool shrink = wal->shrink;

		wal->shrink = false;
		if (have.fd < 0 || have.size < size || (shrink && have.size > size)) {
			wal->next.fd = -1;
			pthread_mutex_unlock(&wal->lock);
			r = prepare(wal, number, size, &have, &made);
			pthread_mutex_lock(&wal->lock);
			wal->next = made;
		}
		wal->prepare_error = r;
		if (r < 0 || wal->want_size <= size)
			wal->want = false;
		uint64_t one = 1;
		ssize_t w = write(wal->event_fd, &one, sizeof one);

		(void)w;                /* a full eventfd is readable as well */
		pthread_cond_broadcast(&wal->cond);
	}
	pthread_mutex_unlock(&wal->lock);
	return NULL;
}

int lp_wal_pool_start(struct lp_wal *wal)
{
	sigset_t all, old;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	int r = -pthread_create(&wal->helper, NULL, helper, wal);

	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (r < 0)
		return r;
	wal->helper_runs = true;
	/* The first file is waited for: readers should find the file of the committed position. */
	pthread_mutex_lock(&wal->lock);
	lp_wal_pool_ask(wal, wal->next_size);
	while (wal->want)
		pthread_cond_wait(&wal->cond, &wal->lock);
	pthread_mutex_unlock(&wal->lock);
	(void)lp_wal_prepare(wal, false);
	return 0;
}

void lp_wal_pool_stop(struct lp_wal *wal)
{
	if (!wal->helper_runs)
		return;
	pthread_mutex_lock(&wal->lock);
	wal->stop = true;
	pthread_cond_broadcast(&wal->cond);
	pthread_mutex_unlock(&wal->lock);
	pthread_join(wal->helper, NULL);
	wal->helper_runs = false;
}

int lp_wal_discard(struct lp_wal *wal, const char *name, uint64_t size, bool tainted)
{
	char spare[LP_WAL_NAME_MAX];
	int r;

	pthread_mutex_lock(&wal->lock);
	bool keep = !tainted && wal->n_spares < (wal->resting ? LP_WAL_RESTING_SPARES : LP_WAL_MAX_SPARES) &&
		    size <= (wal->resting ? wal->file_min : wal->file_max);
	uint32_t id = ++wal->spare_id;

	pthread_mutex_unlock(&wal->lock);
	lp_wal_spare_name(id, spare);
	if (keep)
		r = wal->io.rename(wal->io.arg, wal->dir_fd, name, spare);
	else
		r = wal->io.unlink(wal->io.arg, wal->dir_fd, name);
	if (r < 0 && r != -ENOENT)
		return r;
	if (r == 0)
		r = syncdir(wal);
	if (r == 0 && keep) {
		pthread_mutex_lock(&wal->lock);
		/* Another thread may have filled the pool meanwhile; the next start finds the surplus file. */
		if (wal->n_spares < LP_WAL_MAX_SPARES)
			wal->spares[wal->n_spares++] = (struct lp_wal_spare){ id, size };
		pthread_mutex_unlock(&wal->lock);
	}
	return r == -ENOENT ? 0 : r;
}

void lp_wal_drop_spares(struct lp_wal *wal)
{
	char name[LP_WAL_NAME_MAX];

	for (;;) {
		pthread_mutex_lock(&wal->lock);
		if (!wal->n_spares) {
			pthread_mutex_unlock(&wal->lock);
			return;
		}
		lp_wal_spare_name(wal->spares[--wal->n_spares].id, name);
		pthread_mutex_unlock(&wal->lock);
		(void)wal->io.unlink(wal->io.arg, wal->dir_fd, name);
	}
}

void lp_wal_set_min_free(struct lp_wal *wal, uint64_t min_free_bytes)
{
	pthread_mutex_lock(&wal->lock);
	wal->min_free = min_free_bytes;
	pthread_mutex_unlock(&wal->lock);
}
