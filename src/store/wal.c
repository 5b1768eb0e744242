/* The write-ahead log: append, commit, rotate, abandon; see wal.h.
 *
 * Guarantees: what lp_wal_commit() returned lies before valid group heads and, with sync, on the disk; a file that had an
 * I/O error is never written again; numbers of files are consecutive.
 * Process: writer.  If it dies here, the next lp_wal_open() cuts the file at the committed position and the lanes still
 * hold everything behind it.
 * One write per group and one fdatasync for all that came meanwhile is group commit as in DeWitt et al., "Implementation
 * techniques for main memory database systems" (1984); never repeating a failed fsync follows Rebello et al., "Can
 * applications recover from fsync failures?" (2020). */
#include "store/wal-private.h"

#include "common/assert.h"
#include "common/clock.h"
#include "common/fault.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILLED_FAST_NS (10 * LP_NS_PER_SEC)
#define FILLED_SLOWLY_NS (300 * LP_NS_PER_SEC)
#define REST_AFTER_NS (60 * LP_NS_PER_SEC)
#define LEAST_FILE (LP_WALFILE_HEAD * 2)
#define GREATEST_FILE UINT32_MAX                /* offsets are 32 bits (lp_walpos) */

/* ---- system calls ---- */

static int sys_create(void *arg, int dir_fd, const char *name)
{
	int fd = openat(dir_fd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0640);

	return fd < 0 ? -errno : fd;
}

static ssize_t sys_pwritev(void *arg, int fd, const struct iovec *iov, int n, uint64_t off)
{
	ssize_t w = pwritev(fd, iov, n, (off_t)off);

	return w < 0 ? -errno : w;
}

static int sys_truncate(void *arg, int fd, uint64_t size)
{
	return ftruncate(fd, (off_t)size) < 0 ? -errno : 0;
}

static int sys_datasync(void *arg, int fd)
{
	return fdatasync(fd) < 0 ? -errno : 0;
}

static int sys_rename(void *arg, int dir_fd, const char *from, const char *to)
{
	return renameat(dir_fd, from, dir_fd, to) < 0 ? -errno : 0;
}

static int sys_unlink(void *arg, int dir_fd, const char *name)
{
	return unlinkat(dir_fd, name, 0) < 0 ? -errno : 0;
}

static int sys_syncdir(void *arg, int dir_fd)
{
	return fsync(dir_fd) < 0 ? -errno : 0;
}

const struct lp_wal_io lp_wal_io_system = { sys_create, sys_pwritev, sys_truncate, sys_datasync,
					    sys_rename, sys_unlink, sys_syncdir, NULL };

int lp_wal_write_all(struct lp_wal *wal, int fd, struct iovec *iov, int n, uint64_t off)
{
	while (n > 0) {
		ssize_t w = wal->io.pwritev(wal->io.arg, fd, iov, n, off);

		if (w == -EINTR)
			continue;
		if (w <= 0)
			return w < 0 ? (int)w : -EIO;
		off += (uint64_t)w;
		while (n > 0 && (size_t)w >= iov->iov_len) {
			w -= (ssize_t)iov->iov_len;
			iov++;
			n--;
		}
		if (n > 0) {
			iov->iov_base = (uint8_t *)iov->iov_base + w;
			iov->iov_len -= (size_t)w;
		}
	}
	return 0;
}

void lp_wal_put_stop(struct lp_wal *wal, int fd, uint64_t size, uint64_t off)
{
	static const uint8_t zero[LP_WAL_STOP_BYTES];

	if (off >= size)
		return;
	struct iovec iov = { (void *)(uintptr_t)zero, size - off < sizeof zero ? size - off : sizeof zero };

	(void)lp_wal_write_all(wal, fd, &iov, 1, off);
}

/* ---- names and bookkeeping ---- */

void lp_wal_name(uint32_t number, char out[static LP_WAL_NAME_MAX])
{
	snprintf(out, LP_WAL_NAME_MAX, "%08" PRIu32 ".wal", number);
}

int lp_wal_path(const struct lp_wal *wal, uint32_t number, char *out, size_t out_len)
{
	int n = snprintf(out, out_len, "%s/%08" PRIu32 ".wal", wal->dir, number);

	return n < 0 || (size_t)n >= out_len ? -ENAMETOOLONG : 0;
}

static int reserve_complete(struct lp_wal *wal, size_t more)
{
	if (wal->n_complete + more <= wal->cap_complete)
		return 0;
	size_t cap = (wal->n_complete + more) * 2;
	struct lp_wal_file *p = realloc(wal->complete, cap * sizeof *p);

	if (!p)
		return -ENOMEM;
	wal->complete = p;
	wal->cap_complete = cap;
	return 0;
}

int lp_wal_add_complete(struct lp_wal *wal, const struct lp_wal_file *file)
{
	int r = reserve_complete(wal, 1);

	if (r < 0)
		return r;
	LP_ASSERT(!wal->n_complete || wal->complete[wal->n_complete - 1].number < file->number);
	wal->complete[wal->n_complete++] = *file;
	return 0;
}

/* ---- open and close ---- */

int lp_wal_open_io(const struct lp_wal_config *config, const struct lp_wal_io *io, uint64_t epoch, lp_walpos committed,
		   struct lp_wal **ret_wal, struct lp_wal_recovery *ret_recovery)
{
	struct lp_wal_recovery recovery;
	int r;

	if (config->file_min < LEAST_FILE || config->file_min > config->file_max || config->file_max > GREATEST_FILE)
		return -EINVAL;
	struct lp_wal *wal = calloc(1, sizeof *wal);

	if (!wal)
		return -ENOMEM;
	wal->dir_fd = wal->event_fd = wal->cur.fd = wal->next.fd = -1;
	wal->file_min = wal->next_size = config->file_min;
	wal->file_max = config->file_max;
	wal->sync = config->sync;
	wal->min_free = config->min_free_bytes;
	wal->epoch = epoch;
	wal->io = *io;
	pthread_mutex_init(&wal->lock, NULL);
	pthread_cond_init(&wal->cond, NULL);
	r = -ENOMEM;
	if (!(wal->dir = strdup(config->dir)))
		goto fail;
	wal->dir_fd = open(config->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	wal->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	r = -errno;
	if (wal->dir_fd < 0 || wal->event_fd < 0)
		goto fail;
	r = lp_wal_recover(wal, committed, config->least_number, &recovery);
	if (r < 0)
		goto fail;
	r = lp_wal_pool_start(wal);
	if (r < 0)
		goto fail;
	*ret_recovery = recovery;
	*ret_wal = wal;
	return 0;
fail:
	lp_wal_close(&wal);
	return r;
}

int lp_wal_open(const struct lp_wal_config *config, uint64_t epoch, lp_walpos committed, struct lp_wal **ret_wal,
		struct lp_wal_recovery *ret_recovery)
{
	return lp_wal_open_io(config, &lp_wal_io_system, epoch, committed, ret_wal, ret_recovery);
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

void lp_wal_close(struct lp_wal **wal)
{
	if (!*wal)
		return;
	lp_wal_pool_stop(*wal);
	close_fd(&(*wal)->cur.fd);
	close_fd(&(*wal)->next.fd);
	close_fd(&(*wal)->event_fd);
	close_fd(&(*wal)->dir_fd);
	pthread_cond_destroy(&(*wal)->cond);
	pthread_mutex_destroy(&(*wal)->lock);
	free((*wal)->complete);
	free((*wal)->dir);
	free(*wal);
	*wal = NULL;
}

/* ---- current file ---- */

/* Make the prepared file the current one if it has room for `need` bytes behind its head. */
static int activate(struct lp_wal *wal, uint64_t need)
{
	uint64_t size = LP_ALIGN(need + LP_WALFILE_HEAD, (uint64_t)LP_WALFILE_HEAD);
	int r = -EAGAIN;

	pthread_mutex_lock(&wal->lock);
	if (wal->next.fd >= 0 && wal->next.size >= size) {
		r = reserve_complete(wal, 2);
	} else if (!wal->want) {
		/* After a failure lp_wal_prepare() decides when to try again. */
		if (wal->prepare_error == 0)
			lp_wal_pool_ask(wal, size > wal->next_size ? size : wal->next_size);
		else if (wal->want_size < size)
			wal->want_size = size;
	} else if (wal->want_size < size) {
		wal->want_size = size;
	}
	if (r == 0) {
		wal->cur = wal->next;
		wal->next.fd = -1;
		wal->cur_number = wal->cur.number;
		wal->cur_end = LP_WALFILE_HEAD;
		wal->next_number = wal->cur.number + 1;
		lp_wal_pool_ask(wal, wal->next_size);
	}
	pthread_mutex_unlock(&wal->lock);
	if (r < 0)
		return r;
	wal->off = wal->committed_off = LP_WALFILE_HEAD;
	wal->sequence = 0;
	wal->since_ns = 0;
	wal->dirty = false;
	return 0;
}

/* The current file becomes complete; its log ends at `end`. */
static void finish_current(struct lp_wal *wal, uint64_t end, bool tainted)
{
	struct lp_wal_file file = { wal->cur.number, tainted, wal->cur.size, end };

	pthread_mutex_lock(&wal->lock);
	int r = lp_wal_add_complete(wal, &file);

	LP_ASSERT(r == 0);              /* activate() made room */
	wal->cur_number = 0;
	pthread_mutex_unlock(&wal->lock);
	wal->last_end = LP_WALPOS(wal->cur.number, end);
	wal->dirty = false;
	wal->since_ns = 0;
	close_fd(&wal->cur.fd);
}

static void adapt_size(struct lp_wal *wal)
{
	int64_t took_ns = lp_clock_mono_ns() - wal->since_ns;

	if (!wal->since_ns)
		return;
	if (took_ns > FILLED_SLOWLY_NS)
		wal->next_size /= 2;
	else if (took_ns < FILLED_FAST_NS && wal->off > wal->cur.size / 4 * 3)
		wal->next_size *= 2;
	if (wal->next_size > wal->file_max)
		wal->next_size = wal->file_max;
	if (wal->next_size < wal->file_min)
		wal->next_size = wal->file_min;
}

static int sync_current(struct lp_wal *wal)
{
	if (!wal->dirty)
		return 0;
	if (wal->sync) {
		int r = wal->io.datasync(wal->io.arg, wal->cur.fd);

		if (r < 0)
			return r;
	}
	wal->dirty = false;
	return 0;
}

static int complete_current(struct lp_wal *wal)
{
	int r = sync_current(wal);

	if (r < 0)
		return r;
	LP_FAULT("wal-rotate");
	adapt_size(wal);
	finish_current(wal, wal->off, false);
	return 0;
}

int lp_wal_rotate(struct lp_wal *wal)
{
	if (wal->cur.fd < 0 || wal->off == LP_WALFILE_HEAD)
		return 0;
	int r = complete_current(wal);

	if (r < 0)
		return r;
	(void)activate(wal, 0);         /* not ready: the next append asks again */
	return 0;
}

int lp_wal_append(struct lp_wal *wal, uint16_t lane, uint64_t pos, const void *records, uint32_t bytes)
{
	uint64_t need = LP_WALGROUP_HEAD + (uint64_t)bytes;
	struct lp_walgroup_head group;
	int r;

	LP_ASSERT(bytes && bytes % LP_WALREC_ALIGN == 0);
	if (need > GREATEST_FILE - LP_WALFILE_HEAD * 2)
		return -EMSGSIZE;
	if (wal->cur.fd >= 0 && need > wal->cur.size - wal->off) {
		r = complete_current(wal);
		if (r < 0)
			return r;
	}
	if (wal->cur.fd < 0) {
		r = activate(wal, need);
		if (r < 0)
			return r;
	}
	lp_walgroup_make(&group, wal->cur.salt, wal->epoch, lane, pos, bytes, wal->sequence + 1, (uint32_t)wal->committed_off);
	struct iovec iov[2] = { { &group, sizeof group }, { (void *)(uintptr_t)records, bytes } };

	wal->dirty = true;
	r = lp_wal_write_all(wal, wal->cur.fd, iov, 2, wal->off);
	if (r < 0)
		return r;
	wal->off += need;
	wal->minute_bytes += need;
	wal->sequence++;
	if (!wal->since_ns)
		wal->since_ns = lp_clock_mono_ns();
	return 0;
}

int lp_wal_commit(struct lp_wal *wal, lp_walpos *ret_committed)
{
	if (wal->cur.fd >= 0) {
		int r = sync_current(wal);

		if (r < 0)
			return r;
		wal->committed_off = wal->off;
		pthread_mutex_lock(&wal->lock);
		wal->cur_end = wal->off;
		pthread_mutex_unlock(&wal->lock);
	}
	*ret_committed = lp_wal_position(wal);
	return 0;
}

void lp_wal_abandon(struct lp_wal *wal)
{
	if (wal->cur.fd < 0)
		return;
	/* Readers stop here even if some of the pages behind it reached the file. */
	lp_wal_put_stop(wal, wal->cur.fd, wal->cur.size, wal->committed_off);
	finish_current(wal, wal->committed_off, true);
	(void)activate(wal, 0);
}

lp_walpos lp_wal_position(const struct lp_wal *wal)
{
	return wal->cur.fd >= 0 ? LP_WALPOS(wal->cur.number, wal->off) : wal->last_end;
}

bool lp_wal_is_removed(const struct lp_wal *wal)
{
	struct stat st;

	return wal->cur.fd >= 0 && fstat(wal->cur.fd, &st) == 0 && st.st_nlink == 0;
}

int64_t lp_wal_current_since_ns(const struct lp_wal *wal)
{
	return wal->cur.fd >= 0 ? wal->since_ns : 0;
}

uint64_t lp_wal_room(const struct lp_wal *wal) { return wal->cur.fd >= 0 ? wal->cur.size - wal->off : 0; }
int lp_wal_event_fd(const struct lp_wal *wal) { return wal->event_fd; }

int lp_wal_prepare(struct lp_wal *wal, bool retry)
{
	int r = -EAGAIN;

	pthread_mutex_lock(&wal->lock);
	if (!wal->want && wal->next.fd >= 0) {
		r = 0;
	} else if (!wal->want) {
		if (wal->prepare_error < 0)
			r = wal->prepare_error;
		if (r == -ENOSPC)
			wal->next_size = wal->file_min;         /* be content with less */
		if (retry)
			lp_wal_pool_ask(wal, wal->want_size > wal->file_max ? wal->want_size : wal->next_size);
	}
	pthread_mutex_unlock(&wal->lock);
	if (r == 0 && wal->cur.fd < 0)
		(void)activate(wal, 0);
	return r;
}

bool lp_wal_rest(struct lp_wal *wal, int64_t now_ns)
{
	bool turned = false, ready;

	if (!wal->minute_ns || now_ns - wal->minute_ns >= REST_AFTER_NS) {
		bool resting = wal->minute_ns && wal->minute_bytes < wal->file_min;

		pthread_mutex_lock(&wal->lock);
		turned = resting && !wal->resting;
		wal->resting = resting;
		pthread_mutex_unlock(&wal->lock);
		wal->minute_ns = now_ns;
		wal->minute_bytes = 0;
	}
	if (turned)
		lp_wal_drop_spares(wal);
	pthread_mutex_lock(&wal->lock);
	ready = wal->resting && !wal->want && wal->next.fd >= 0;
	if (wal->resting)
		wal->next_size = wal->file_min;
	if (ready && wal->next.size > wal->file_min) {
		lp_wal_pool_ask(wal, wal->file_min);
		wal->shrink = true;
		ready = false;
	}
	pthread_mutex_unlock(&wal->lock);
	if (!ready || wal->cur.fd < 0 || wal->off != LP_WALFILE_HEAD || wal->cur.size <= wal->file_min)
		return false;
	finish_current(wal, wal->off, false);
	(void)activate(wal, 0);
	return true;
}

uint32_t lp_wal_last_complete(struct lp_wal *wal)
{
	pthread_mutex_lock(&wal->lock);
	uint32_t number = wal->n_complete ? wal->complete[wal->n_complete - 1].number : 0;

	pthread_mutex_unlock(&wal->lock);
	return number;
}

/* ---- complete files ---- */

uint32_t lp_wal_next_to_seal(struct lp_wal *wal, uint32_t from, lp_walpos announced, bool *ret_empty)
{
	uint32_t number = 0;

	pthread_mutex_lock(&wal->lock);
	for (size_t i = 0; i < wal->n_complete; i++) {
		const struct lp_wal_file *file = &wal->complete[i];

		if (file->number < from)
			continue;
		if (LP_WALPOS(file->number, file->end) <= announced) {
			number = file->number;
			*ret_empty = file->end == LP_WALFILE_HEAD;
		}
		break;
	}
	pthread_mutex_unlock(&wal->lock);
	return number;
}

uint32_t lp_wal_first_above(struct lp_wal *wal, uint32_t number)
{
	pthread_mutex_lock(&wal->lock);
	uint32_t first = wal->cur_number ? wal->cur_number : wal->next_number;

	for (size_t i = wal->n_complete; i-- > 0 && wal->complete[i].number > number;)
		first = wal->complete[i].number;
	pthread_mutex_unlock(&wal->lock);
	return first;
}

void lp_wal_usage(struct lp_wal *wal, uint32_t *ret_files, uint64_t *ret_bytes)
{
	uint64_t bytes = 0;

	pthread_mutex_lock(&wal->lock);
	for (size_t i = 0; i < wal->n_complete; i++)
		bytes += wal->complete[i].end;
	*ret_files = (uint32_t)wal->n_complete;
	if (wal->cur_number) {
		bytes += wal->cur_end;
		++*ret_files;
	}
	pthread_mutex_unlock(&wal->lock);
	*ret_bytes = bytes;
}

int lp_wal_retire(struct lp_wal *wal, uint32_t number)
{
	char name[LP_WAL_NAME_MAX];
	struct lp_wal_file file = { 0 };
	size_t i;

	pthread_mutex_lock(&wal->lock);
	for (i = 0; i < wal->n_complete && wal->complete[i].number != number; i++)
		;
	if (i < wal->n_complete)
		file = wal->complete[i];
	pthread_mutex_unlock(&wal->lock);
	if (!file.number)
		return -ENOENT;
	lp_wal_name(number, name);
	int r = lp_wal_discard(wal, name, file.size, file.tainted);

	if (r < 0)
		return r;
	pthread_mutex_lock(&wal->lock);
	for (i = 0; wal->complete[i].number != number; i++)     /* only this thread removes */
		;
	memmove(&wal->complete[i], &wal->complete[i + 1], (--wal->n_complete - i) * sizeof wal->complete[0]);
	pthread_mutex_unlock(&wal->lock);
	return 0;
}
