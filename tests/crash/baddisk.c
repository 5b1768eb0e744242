/* LD_PRELOAD library: a disk that fails the write-ahead log on demand.  A file in LP_BADDISK_DIR switches a fault on: "write" nothing
 * is written, "torn" half of it is, "sync" the data may be durable but the sync says no.  Used by tests/crash/baddisk.py. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

static int in_log(int fd)
{
	char link[64], path[PATH_MAX];

	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	ssize_t n = readlink(link, path, sizeof path - 1);

	if (n < 0)
		return 0;
	path[n] = '\0';
	return strstr(path, "/wal/") != NULL;
}

static int wanted(int fd, const char *fault)
{
	const char *dir = getenv("LP_BADDISK_DIR");
	char path[PATH_MAX];

	if (!dir || !in_log(fd))
		return 0;
	snprintf(path, sizeof path, "%s/%s", dir, fault);
	return access(path, F_OK) == 0;
}

static ssize_t bad_pwritev(const char *name, int fd, const struct iovec *iov, int n, off_t off)
{
	ssize_t (*real)(int, const struct iovec *, int, off_t) = (ssize_t (*)(int, const struct iovec *, int, off_t))dlsym(RTLD_NEXT, name);

	if (wanted(fd, "torn")) {
		struct iovec half = { iov[0].iov_base, iov[0].iov_len / 2 };

		(void)real(fd, &half, 1, off);
	} else if (!wanted(fd, "write")) {
		return real(fd, iov, n, off);
	}
	errno = EIO;
	return -1;
}

ssize_t pwritev(int fd, const struct iovec *iov, int n, off_t off) { return bad_pwritev("pwritev", fd, iov, n, off); }
ssize_t pwritev64(int fd, const struct iovec *iov, int n, off_t off) { return bad_pwritev("pwritev64", fd, iov, n, off); }

int fdatasync(int fd)
{
	int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
	int r = real(fd);

	if (!wanted(fd, "sync"))
		return r;
	errno = EIO;
	return -1;
}
