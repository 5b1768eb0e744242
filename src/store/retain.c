/* Deleting segments: retention by age, and what a crash or a compaction left behind.
 * Process: writer.  A segment ceases to exist with its .index, so that goes first: dying in between leaves a .chunks that nobody sees,
 * which the next start removes.  Readers keep their mappings. */
#include "store/seal.h"

#include "common/clock.h"
#include "common/rfc3339.h"
#include "store/segment-private.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int remove_file(const char *dir, const struct lp_segment_name *name, const char *suffix)
{
	char file[80], path[PATH_MAX];
	int r = lp_segment_name_format(name, suffix, file, sizeof file);

	if (r < 0 || (size_t)snprintf(path, sizeof path, "%s/%s", dir, file) >= sizeof path)
		return -ENAMETOOLONG;
	return unlink(path) < 0 && errno != ENOENT ? -errno : 0;
}

int lp_segment_remove(const char *dir, const struct lp_segment_name *name)
{
	int r = remove_file(dir, name, ".index");

	return r < 0 ? r : remove_file(dir, name, ".chunks");
}

static void remove_day_if_empty(const char *dir, int64_t day)
{
	char text[LP_DAY_MAX], path[PATH_MAX];

	lp_day_format(text, day);
	if ((size_t)snprintf(path, sizeof path, "%s/%s", dir, text) < sizeof path)
		(void)rmdir(path);      /* fails while something is in it */
}

/* Nothing of it is young enough.  The day alone decides where it can: no file is opened, and a broken index ages too. */
static bool expired(const char *dir, const struct lp_segment_name *name, int64_t oldest_ns)
{
	struct lp_segment *segment = NULL;

	if (name->day != lp_clock_day(oldest_ns))
		return name->day < lp_clock_day(oldest_ns);
	if (lp_segment_open(dir, name, &segment) < 0)
		return false;
	bool old = lp_segment_info(segment)->max_ts < oldest_ns;

	lp_segment_close(&segment);
	return old;
}

int lp_retain(const char *segments_dir, int64_t oldest_ns, uint32_t *ret_deleted)
{
	struct lp_segment_name *names;
	uint32_t deleted = 0;
	size_t n;
	int r = lp_segment_list_all(segments_dir, &names, &n);

	if (r < 0)
		return r;
	for (size_t i = 0; r == 0 && i < n; i++) {
		if (!expired(segments_dir, &names[i], oldest_ns))
			continue;
		r = lp_segment_remove(segments_dir, &names[i]);
		deleted += r == 0;
		remove_day_if_empty(segments_dir, names[i].day);
	}
	free(names);
	if (r < 0)
		return r;
	*ret_deleted = deleted;
	return 0;
}

static bool ends_with(const char *s, const char *suffix)
{
	size_t n = strlen(s), k = strlen(suffix);

	return n >= k && !strcmp(s + n - k, suffix);
}

/* A temporary file, or chunks whose index is not there. */
static bool is_leftover(const char *dir, const char *file)
{
	char path[PATH_MAX];

	if (ends_with(file, ".chunks.tmp") || ends_with(file, ".index.tmp"))
		return true;
	if (!ends_with(file, ".chunks"))
		return false;
	int stem = (int)(strlen(file) - strlen(".chunks"));

	if ((size_t)snprintf(path, sizeof path, "%s/%.*s.index", dir, stem, file) >= sizeof path)
		return false;
	return access(path, F_OK) < 0 && errno == ENOENT;
}

static int clean_day(const char *segments_dir, const char *day)
{
	char dir[PATH_MAX], path[PATH_MAX];
	int r = 0;

	if ((size_t)snprintf(dir, sizeof dir, "%s/%s", segments_dir, day) >= sizeof dir)
		return -ENAMETOOLONG;
	DIR *d = opendir(dir);

	if (!d)
		return errno == ENOTDIR ? 0 : -errno;
	for (struct dirent *e; r == 0 && (e = readdir(d));)
		if (is_leftover(dir, e->d_name)) {
			if ((size_t)snprintf(path, sizeof path, "%s/%s", dir, e->d_name) >= sizeof path)
				r = -ENAMETOOLONG;
			else if (unlink(path) < 0 && errno != ENOENT)
				r = -errno;
		}
	closedir(d);
	(void)rmdir(dir);
	return r;
}

/* Does what supersedes it exist whole?  A damaged file, or one that somebody put there, must not cost what it only claims to hold. */
static bool is_replaced(const char *segments_dir, const struct lp_segment_name *names, size_t n, const bool *superseded,
			const struct lp_segment_name *old)
{
	for (size_t i = 0; i < n; i++) {
		struct lp_segment *segment = NULL;

		if (superseded[i] || names[i].day != old->day || names[i].first > old->first || names[i].last < old->last ||
		    names[i].level <= old->level)
			continue;
		if (lp_segment_open(segments_dir, &names[i], &segment) == 0) {
			lp_segment_close(&segment);
			return true;
		}
	}
	return false;
}

static int remove_superseded(const char *segments_dir)
{
	struct lp_segment_name *names;
	size_t n;
	int r = lp_segment_list_all(segments_dir, &names, &n);

	if (r < 0)
		return r;
	bool *superseded = malloc(n + 1);

	if (superseded) {
		lp_segment_mark_superseded(names, n, superseded);
		for (size_t i = 0; r == 0 && i < n; i++)
			if (superseded[i] && is_replaced(segments_dir, names, n, superseded, &names[i]))
				r = lp_segment_remove(segments_dir, &names[i]);
	} else {
		r = -ENOMEM;
	}
	free(superseded);
	free(names);
	return r;
}

int lp_seal_cleanup(const char *segments_dir)
{
	int r = remove_superseded(segments_dir);

	if (r < 0)
		return r;
	DIR *d = opendir(segments_dir);

	if (!d)
		return errno == ENOENT ? 0 : -errno;
	for (struct dirent *e; r == 0 && (e = readdir(d));) {
		int64_t day;

		if (lp_day_parse(e->d_name, &day) == 0)
			r = clean_day(segments_dir, e->d_name);
	}
	closedir(d);
	return r;
}
