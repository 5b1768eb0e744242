/* The data directory: made, locked against a second server, its format version checked.
 *
 * Process: master, before the first fork.  If it dies here: LOCK and VERSION are made anew or found by the next start;
 * VERSION appears by rename, so it is whole or absent. */
#include "master/master.h"

#include "common/clock.h"
#include "common/dir.h"
#include "common/log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define FORMAT_VERSION 1
#define DYING_WAIT_MS 10000

/* The directories above it, as mkdir -p does: the default path has one.  What fails here shows when the last one is made. */
static void make_parents(const char *path)
{
	char *parent = strdup(path);

	for (char *slash = parent; slash && (slash = strchr(slash + 1, '/')) && slash[strspn(slash, "/")];) {
		*slash = 0;
		if (mkdir(parent, 0755) == 0)
			(void)lp_dir_sync_parent(parent);
		*slash = '/';
	}
	free(parent);
}

int lp_data_prepare(const char *path, const struct lp_ids *ids, char *out, size_t out_bytes)
{
	struct stat st;

	make_parents(path);
	if (mkdir(path, 0750) == 0) {
		int r = lp_dir_sync_parent(path);

		if (r < 0)
			lp_log(LP_WARN, "the name of the data directory could not be synced path=%s error=\"%s\"", path, strerror(-r));
		if (ids->change && lchown(path, ids->uid, ids->gid) < 0) {
			lp_log(LP_FATAL, "data directory cannot be given away path=%s user=%s error=\"%s\"", path, ids->user,
			       strerror(errno));
			return LP_EXIT_CANTCREATE;
		}
	} else if (errno != EEXIST) {
		lp_log(LP_FATAL, "data directory cannot be made path=%s error=\"%s\"", path, strerror(errno));
		return LP_EXIT_CANTCREATE;
	}
	char *full = realpath(path, NULL);

	if (!full || stat(full, &st) < 0 || !S_ISDIR(st.st_mode)) {
		lp_log(LP_FATAL, "data directory cannot be used path=%s error=\"%s\"", path,
		       strerror(full ? ENOTDIR : errno));
		free(full);
		return LP_EXIT_CANTCREATE;
	}
	/* Names of files are added to it: leave room for them. */
	bool fits = strlen(full) + 256 < out_bytes;

	if (fits)
		snprintf(out, out_bytes, "%s", full);
	else
		lp_log(LP_FATAL, "data directory has too long a path bytes=%zu", strlen(full));
	free(full);
	return fits ? 0 : LP_EXIT_CONFIG;
}

static pid_t read_holder(int fd)
{
	char text[32] = "";
	ssize_t n = pread(fd, text, sizeof text - 1, 0);

	return n > 0 ? (pid_t)strtol(text, NULL, 10) : 0;
}

/* The directory may be server.user's while we are still root: what stands there under this name is not followed anywhere, and
 * not written to or given away when it has another name as well.  -errno. */
static int open_lock(const char *path)
{
	struct stat st;
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0640);

	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_nlink != 1) {
		close(fd);
		return -EINVAL;
	}
	return fd;
}

int lp_data_lock(const char *dir, const struct lp_ids *ids, int *ret_fd)
{
	char path[4200], text[32];
	int64_t deadline = lp_clock_mono_ms() + DYING_WAIT_MS;

	snprintf(path, sizeof path, "%s/LOCK", dir);
	int fd = open_lock(path);

	if (fd < 0) {
		lp_log(LP_FATAL, "lock file cannot be opened path=%s error=\"%s\"", path, strerror(-fd));
		return LP_EXIT_CANTCREATE;
	}
	while (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		pid_t holder = read_holder(fd);
		int r = errno;
		/* A master that was killed leaves children for some milliseconds. */
		bool dying = r == EWOULDBLOCK && holder > 0 && kill(holder, 0) < 0 && errno == ESRCH;

		if (dying && lp_clock_mono_ms() < deadline) {
			(void)poll(NULL, 0, 20);
			continue;
		}
		if (r == EWOULDBLOCK)
			lp_log(LP_FATAL, "data directory is in use path=%s pid=%d", dir, (int)holder);
		else
			lp_log(LP_FATAL, "lock failed path=%s error=\"%s\"", path, strerror(r));
		close(fd);
		return r == EWOULDBLOCK ? LP_EXIT_TEMPFAIL : LP_EXIT_IO;
	}
	int n = snprintf(text, sizeof text, "%d\n", (int)getpid());

	if (ftruncate(fd, 0) < 0 || pwrite(fd, text, (size_t)n, 0) != n ||
	    (ids->change && fchown(fd, ids->uid, ids->gid) < 0)) {
		lp_log(LP_FATAL, "lock file cannot be written path=%s error=\"%s\"", path, strerror(errno));
		close(fd);
		return LP_EXIT_IO;
	}
	*ret_fd = fd;
	return 0;
}

static int write_version(const char *dir, const char *path)
{
	char temp[4200];
	static const char text[] = "1\n";
	int r = -1, dir_fd = -1;

	_Static_assert(FORMAT_VERSION == 1, "text");
	snprintf(temp, sizeof temp, "%s/VERSION.new", dir);
	int fd = open(temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);

	if (fd >= 0) {
		dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (dir_fd >= 0 && write(fd, text, sizeof text - 1) == (ssize_t)sizeof text - 1 && fsync(fd) == 0 &&
		    rename(temp, path) == 0 && fsync(dir_fd) == 0)
			r = 0;
	}
	int saved = errno;

	if (fd >= 0)
		close(fd);
	if (dir_fd >= 0)
		close(dir_fd);
	errno = saved;
	return r;
}

int lp_data_version(const char *dir)
{
	char path[4200], text[32] = "", *end = text;

	if (access(dir, R_OK | W_OK | X_OK) < 0) {
		lp_log(LP_FATAL, "data directory cannot be written by this user path=%s error=\"%s\"", dir, strerror(errno));
		return LP_EXIT_CANTCREATE;
	}
	snprintf(path, sizeof path, "%s/VERSION", dir);
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 && errno == ENOENT) {
		if (write_version(dir, path) == 0)
			return 0;
		lp_log(LP_FATAL, "format version cannot be written path=%s error=\"%s\"", path, strerror(errno));
		return LP_EXIT_IO;
	}
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
	int saved = errno;

	if (fd >= 0)
		close(fd);
	if (n < 0) {
		lp_log(LP_FATAL, "format version cannot be read path=%s error=\"%s\"", path, strerror(saved));
		return LP_EXIT_IO;
	}
	long version = strtol(text, &end, 10);

	if (end == text || (*end && strcmp(end, "\n")) || version < 1) {
		lp_log(LP_FATAL, "format version is not a number path=%s", path);
		return LP_EXIT_CONFIG;
	}
	if (version > FORMAT_VERSION) {
		lp_log(LP_FATAL, "data was written by a newer LogPulse path=%s version=%ld known=%d", path, version, FORMAT_VERSION);
		return LP_EXIT_CONFIG;
	}
	return 0;
}
