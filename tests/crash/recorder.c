/* LD_PRELOAD library: a journal of everything that a process does to files below LP_RECORD_DIR.
 *
 * Each event is appended to LP_RECORD_FILE with one write (O_APPEND: events of several processes and threads stand in one order):
 *   u32 magic | u32 kind | u64 inode | u64 offset | u32 path bytes | u32 second path bytes | u32 data bytes | paths | data
 * Only successful calls are recorded, after they returned: a write stands before the sync that covers it, because the process issues the
 * sync later.  A sync is recorded twice, before and after: writes between the two may or may not be covered by it.
 * The process's ordering is what matters; tests/crash/powercut.py builds from it what a disk may hold after a power cut. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { EV_CREATE = 1, EV_WRITE, EV_TRUNCATE, EV_SYNC_BEGIN, EV_SYNC_END, EV_RENAME, EV_UNLINK, EV_MKDIR, EV_RMDIR };

struct event {
	uint32_t magic, kind;
	uint64_t inode, offset;
	uint32_t path_len, path2_len, data_len;
} __attribute__((packed));

static pthread_once_t once = PTHREAD_ONCE_INIT;
static int journal = -1;
static char dir[PATH_MAX];
static size_t dir_len;

static int (*real_open)(const char *, int, ...);
static int (*real_openat)(int, const char *, int, ...);
static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static ssize_t (*real_pwritev)(int, const struct iovec *, int, off_t);
static ssize_t (*real_write)(int, const void *, size_t);
static ssize_t (*real_writev)(int, const struct iovec *, int);
static int (*real_ftruncate)(int, off_t);
static int (*real_fsync)(int), (*real_fdatasync)(int);
static int (*real_rename)(const char *, const char *), (*real_renameat)(int, const char *, int, const char *);
static int (*real_unlink)(const char *), (*real_unlinkat)(int, const char *, int);
static int (*real_mkdir)(const char *, mode_t), (*real_rmdir)(const char *);

static void *sym(const char *name)
{
	void *p = dlsym(RTLD_NEXT, name);

	if (!p)
		abort();
	return p;
}

static void init(void)
{
	const char *d = getenv("LP_RECORD_DIR"), *f = getenv("LP_RECORD_FILE");

	*(void **)&real_open = sym("open");
	*(void **)&real_openat = sym("openat");
	*(void **)&real_pwrite = sym("pwrite");
	*(void **)&real_pwritev = sym("pwritev");
	*(void **)&real_write = sym("write");
	*(void **)&real_writev = sym("writev");
	*(void **)&real_ftruncate = sym("ftruncate");
	*(void **)&real_fsync = sym("fsync");
	*(void **)&real_fdatasync = sym("fdatasync");
	*(void **)&real_rename = sym("rename");
	*(void **)&real_renameat = sym("renameat");
	*(void **)&real_unlink = sym("unlink");
	*(void **)&real_unlinkat = sym("unlinkat");
	*(void **)&real_mkdir = sym("mkdir");
	*(void **)&real_rmdir = sym("rmdir");
	if (!d || !f)
		return;
	dir_len = (size_t)snprintf(dir, sizeof dir, "%s", d);
	journal = real_open(f, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

/* Path of a descriptor or of a name relative to one, if it lies below the directory. */
static int below(const char *path)
{
	return journal >= 0 && strncmp(path, dir, dir_len) == 0 && (path[dir_len] == '/' || !path[dir_len]);
}

static int fd_path(int fd, char out[PATH_MAX])
{
	char link[64];

	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	ssize_t n = readlink(link, out, PATH_MAX - 1);

	if (n < 0)
		return 0;
	out[n] = 0;
	return below(out);
}

static int full_path(int at, const char *name, char out[PATH_MAX])
{
	char base[PATH_MAX];

	if (name[0] == '/') {
		snprintf(out, PATH_MAX, "%s", name);
	} else if (at == AT_FDCWD) {
		if (!getcwd(base, sizeof base) || snprintf(out, PATH_MAX, "%s/%s", base, name) >= PATH_MAX)
			return 0;
	} else if (!fd_path(at, base) || snprintf(out, PATH_MAX, "%s/%s", base, name) >= PATH_MAX) {
		return 0;
	}
	return below(out);
}

static uint64_t inode_of(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode)) ? (uint64_t)st.st_ino : 0;
}

static void record(uint32_t kind, uint64_t inode, uint64_t offset, const char *path, const char *path2, const struct iovec *data, int n_data)
{
	int saved = errno;
	size_t total = 0;

	for (int i = 0; i < n_data; i++)
		total += data[i].iov_len;
	struct event ev = { .magic = 0x52504c45, .kind = kind, .inode = inode, .offset = offset, .path_len = path ? (uint32_t)strlen(path) : 0,
			    .path2_len = path2 ? (uint32_t)strlen(path2) : 0, .data_len = (uint32_t)total };
	struct iovec iov[64] = { { &ev, sizeof ev }, { (void *)(uintptr_t)path, ev.path_len }, { (void *)(uintptr_t)path2, ev.path2_len } };

	if (n_data > 60)
		abort();
	for (int i = 0; i < n_data; i++)
		iov[3 + i] = data[i];
	ssize_t want = (ssize_t)(sizeof ev + ev.path_len + ev.path2_len + total);

	if (real_writev(journal, iov, 3 + n_data) != want)
		abort();
	errno = saved;
}

static int opened(int fd, int flags, int existed)
{
	char path[PATH_MAX];

	if (fd >= 0 && journal >= 0 && (flags & (O_WRONLY | O_RDWR)) && fd_path(fd, path)) {
		if ((flags & O_CREAT) && !existed)
			record(EV_CREATE, inode_of(fd), 0, path, NULL, NULL, 0);
		if ((flags & O_TRUNC) && existed)
			record(EV_TRUNCATE, inode_of(fd), 0, NULL, NULL, NULL, 0);
	}
	return fd;
}

int open(const char *path, int flags, ...)
{
	va_list ap;

	pthread_once(&once, init);
	va_start(ap, flags);
	int mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(ap, int) : 0;

	va_end(ap);
	int existed = (flags & O_CREAT) && access(path, F_OK) == 0;

	return opened(real_open(path, flags, mode), flags, existed);
}

int openat(int at, const char *path, int flags, ...)
{
	va_list ap;

	pthread_once(&once, init);
	va_start(ap, flags);
	int mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(ap, int) : 0;

	va_end(ap);
	int existed = (flags & O_CREAT) && faccessat(at, path, F_OK, 0) == 0;

	return opened(real_openat(at, path, flags, mode), flags, existed);
}

static void wrote(int fd, const struct iovec *iov, int n, ssize_t done, off_t off)
{
	char path[PATH_MAX];
	struct iovec part[60];
	int k = 0;

	if (done <= 0 || journal < 0 || fd == journal || !fd_path(fd, path) || !inode_of(fd))
		return;
	for (size_t left = (size_t)done; k < n && left; k++) {
		part[k] = iov[k];
		if (part[k].iov_len > left)
			part[k].iov_len = left;
		left -= part[k].iov_len;
	}
	record(EV_WRITE, inode_of(fd), (uint64_t)off, NULL, NULL, part, k);
}

ssize_t pwrite(int fd, const void *p, size_t n, off_t off)
{
	pthread_once(&once, init);
	ssize_t r = real_pwrite(fd, p, n, off);

	wrote(fd, &(struct iovec){ (void *)(uintptr_t)p, n }, 1, r, off);
	return r;
}

ssize_t pwritev(int fd, const struct iovec *iov, int n, off_t off)
{
	pthread_once(&once, init);
	ssize_t r = real_pwritev(fd, iov, n, off);

	wrote(fd, iov, n, r, off);
	return r;
}

ssize_t write(int fd, const void *p, size_t n)
{
	pthread_once(&once, init);
	off_t off = journal >= 0 ? lseek(fd, 0, SEEK_CUR) : 0;
	ssize_t r = real_write(fd, p, n);

	if (off >= 0)
		wrote(fd, &(struct iovec){ (void *)(uintptr_t)p, n }, 1, r, off);
	return r;
}

int ftruncate(int fd, off_t size)
{
	char path[PATH_MAX];

	pthread_once(&once, init);
	int r = real_ftruncate(fd, size);

	if (r == 0 && journal >= 0 && fd_path(fd, path))
		record(EV_TRUNCATE, inode_of(fd), (uint64_t)size, NULL, NULL, NULL, 0);
	return r;
}

static int synced(int fd, int (*real)(int))
{
	char path[PATH_MAX];
	int ours = journal >= 0 && fd_path(fd, path);
	uint64_t inode = ours ? inode_of(fd) : 0;

	if (ours)
		record(EV_SYNC_BEGIN, inode, (uint64_t)(uintptr_t)pthread_self(), path, NULL, NULL, 0);
	int r = real(fd);

	if (ours && r == 0)
		record(EV_SYNC_END, inode, (uint64_t)(uintptr_t)pthread_self(), path, NULL, NULL, 0);
	return r;
}

int fsync(int fd)
{
	pthread_once(&once, init);
	return synced(fd, real_fsync);
}

int fdatasync(int fd)
{
	pthread_once(&once, init);
	return synced(fd, real_fdatasync);
}

int renameat(int at, const char *from, int at2, const char *to)
{
	char a[PATH_MAX], b[PATH_MAX];

	pthread_once(&once, init);
	int ours = full_path(at, from, a) && full_path(at2, to, b);
	int r = real_renameat(at, from, at2, to);

	if (r == 0 && ours)
		record(EV_RENAME, 0, 0, a, b, NULL, 0);
	return r;
}

int rename(const char *from, const char *to)
{
	return renameat(AT_FDCWD, from, AT_FDCWD, to);
}

int unlinkat(int at, const char *name, int flags)
{
	char path[PATH_MAX];

	pthread_once(&once, init);
	int ours = full_path(at, name, path);
	int r = real_unlinkat(at, name, flags);

	if (r == 0 && ours)
		record(flags & AT_REMOVEDIR ? EV_RMDIR : EV_UNLINK, 0, 0, path, NULL, NULL, 0);
	return r;
}

int unlink(const char *name)
{
	return unlinkat(AT_FDCWD, name, 0);
}

int mkdir(const char *name, mode_t mode)
{
	char path[PATH_MAX];

	pthread_once(&once, init);
	int r = real_mkdir(name, mode);

	if (r == 0 && full_path(AT_FDCWD, name, path))
		record(EV_MKDIR, 0, 0, path, NULL, NULL, 0);
	return r;
}

int rmdir(const char *name)
{
	char path[PATH_MAX];

	pthread_once(&once, init);
	int r = real_rmdir(name);

	if (r == 0 && full_path(AT_FDCWD, name, path))
		record(EV_RMDIR, 0, 0, path, NULL, NULL, 0);
	return r;
}
