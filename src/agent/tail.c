/* Finding and reading lines.  A file is its (device, inode), held open: a rename is followed, and an inode cannot be used
 * again while we hold it.  Across restarts the first bytes' checksum tells a file from a later one with the same inode,
 * and also tells a file that was truncated and has already grown past our position.  A line without its newline stays
 * in the file until the newline arrives, or until a rotated file has been quiet for LP_AGENT_LINGER scans. */
#include "agent/agent-private.h"
#include "common/crc32c.h"
#include "common/log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int lp_tail_batch_open(struct lp_tail_batch *batch)
{
	*batch = (struct lp_tail_batch){ 0 };
	batch->text = malloc(LP_AGENT_MAX_BATCH);
	batch->lines = malloc(LP_AGENT_MAX_LINES * sizeof *batch->lines);
	if (batch->text && batch->lines)
		return 0;
	lp_tail_batch_close(batch);
	return -ENOMEM;
}

void lp_tail_batch_close(struct lp_tail_batch *batch)
{
	free(batch->text);
	free(batch->lines);
	*batch = (struct lp_tail_batch){ 0 };
}

struct lp_tail_file *lp_tail_file_new(const char *path)
{
	struct lp_tail_file *file = calloc(1, sizeof *file);

	if (!file)
		return NULL;
	file->fd = -1;
	file->path = strdup(path);
	if (!file->path) {
		free(file);
		return NULL;
	}
	return file;
}

static void file_free(struct lp_tail_file *file)
{
	if (file->fd >= 0)
		close(file->fd);
	free(file->path);
	free(file);
}

int lp_tail_open(const struct lp_agent_conf *conf, struct lp_tail **ret_tail, struct lp_buf *error)
{
	struct lp_tail *tail = calloc(1, sizeof *tail);

	if (!tail)
		return -ENOMEM;
	tail->conf = conf;
	int r = lp_positions_load(tail, error);

	if (r < 0)
		lp_tail_close(&tail);
	else
		*ret_tail = tail;
	return r;
}

void lp_tail_close(struct lp_tail **tail)
{
	if (!*tail)
		return;
	for (struct lp_tail_file *file = (*tail)->files, *next; file; file = next) {
		next = file->next;
		file_free(file);
	}
	free(*tail);
	*tail = NULL;
}

/* Checksum of the first n bytes; 1 when they are all there. */
static int head_crc(int fd, uint32_t n, uint32_t *ret_crc)
{
	uint8_t head[LP_AGENT_HEAD];
	ssize_t got = pread(fd, head, n, 0);

	if (got < 0)
		return -errno;
	*ret_crc = lp_crc32c(0, head, (size_t)got);
	return got == (ssize_t)n;
}

/* Truncated, or another content than the one our position belongs to: start again. */
static int check_identity(struct lp_tail *tail, struct lp_tail_file *file, const struct stat *st)
{
	uint32_t crc = 0;
	int same = head_crc(file->fd, file->head_bytes, &crc);

	if (same < 0)
		return same;
	if (st->st_size >= file->offset && same && crc == file->head_crc)
		return 0;
	if (file->offset)
		lp_log(LP_INFO, "file truncated or replaced, reading from its start path=%s", file->path);
	file->offset = 0;
	file->head_bytes = file->head_crc = 0;
	tail->dirty = true;
	return 0;
}

static int open_file(struct lp_tail *tail, struct lp_tail_file *file, const char *path)
{
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
		close(fd);
		return -EINVAL;
	}
	file->fd = fd;
	file->dev = st.st_dev;
	file->ino = st.st_ino;
	return check_identity(tail, file, &st);
}

/* By identity first.  A position of the original agent has no inode and is known by its path until it is opened. */
static struct lp_tail_file *find_file(struct lp_tail *tail, const struct stat *st, const char *path)
{
	for (struct lp_tail_file *file = tail->files; file; file = file->next)
		if (file->ino == st->st_ino && file->dev == st->st_dev)
			return file;
	for (struct lp_tail_file *file = tail->files; file; file = file->next)
		if (!file->ino && !strcmp(file->path, path))
			return file;
	return NULL;
}

static int see_path(struct lp_tail *tail, const struct lp_agent_target *target, const char *path)
{
	struct stat st;

	if (stat(path, &st) < 0 || !S_ISREG(st.st_mode))
		return 0;
	struct lp_tail_file *file = find_file(tail, &st, path);

	if (!file) {
		file = lp_tail_file_new(path);
		if (!file)
			return -ENOMEM;
		file->next = tail->files;
		tail->files = file;
		tail->dirty = true;
	} else if (strcmp(file->path, path) && !file->matched) {
		char *copy = strdup(path);

		if (!copy)
			return -ENOMEM;
		free(file->path);
		file->path = copy;
		tail->dirty = true;
	}
	file->matched = true;
	if (!file->target)
		file->target = target;
	int r = file->fd < 0 ? open_file(tail, file, path) : 0;

	if (r < 0 && !file->quiet)
		lp_log(LP_WARN, "cannot read file, trying again path=%s reason=\"%s\"", path, strerror(-r));
	file->quiet = r < 0;
	return 0;
}

/* A file that was rotated while no agent ran: look for its inode where it used to be. */
static void find_rotated(struct lp_tail *tail, struct lp_tail_file *file)
{
	const char *slash = strrchr(file->path, '/');
	char dir[4096], path[8192];
	struct stat st;

	snprintf(dir, sizeof dir, "%.*s", slash ? (int)(slash - file->path + 1) : 2, slash ? file->path : "./");
	DIR *d = opendir(dir);

	for (struct dirent *e; d && file->fd < 0 && (e = readdir(d));) {
		if (e->d_ino != file->ino)
			continue;
		snprintf(path, sizeof path, "%s%s", dir, e->d_name);
		if (stat(path, &st) == 0 && st.st_dev == file->dev && st.st_ino == file->ino)
			(void)open_file(tail, file, path);
	}
	if (d)
		closedir(d);
	/* Its old path matched a pattern when it was seen: the labels are that target's. */
	for (const struct lp_agent_target *target = tail->conf->targets; target && !file->target; target = target->next)
		if (!fnmatch(target->path, file->path, FNM_PATHNAME))
			file->target = target;
	if (!file->target)
		file->target = tail->conf->targets;
}

static bool has_news(const struct lp_tail_file *file)
{
	struct stat st;

	return fstat(file->fd, &st) == 0 && st.st_size != file->offset;
}

static void let_go(struct lp_tail *tail)
{
	for (struct lp_tail_file **link = &tail->files; *link;) {
		struct lp_tail_file *file = *link;

		if (!file->matched && file->fd < 0 && !tail->started && file->ino)
			find_rotated(tail, file);
		/* A rest without newline is handed out once the file has been quiet, and keeps the file until then. */
		if (file->matched || (file->fd >= 0 && (file->quiet++ < LP_AGENT_LINGER || has_news(file)))) {
			link = &file->next;
			continue;
		}
		*link = file->next;
		file_free(file);
		tail->dirty = true;
	}
	tail->started = true;
}

int lp_tail_scan(struct lp_tail *tail)
{
	for (struct lp_tail_file *file = tail->files; file; file = file->next)
		file->matched = false;
	for (const struct lp_agent_target *target = tail->conf->targets; target; target = target->next) {
		glob_t found;
		int r = glob(target->path, 0, NULL, &found);

		if (r == GLOB_NOMATCH)
			continue;
		if (r)
			return r == GLOB_NOSPACE ? -ENOMEM : -EIO;
		for (size_t i = 0; i < found.gl_pathc && r >= 0; i++)
			r = see_path(tail, target, found.gl_pathv[i]);
		globfree(&found);
		if (r < 0)
			return r;
	}
	let_go(tail);
	return 0;
}

/* Bytes of a UTF-8 sequence that begins before p + len and would end after it. */
static uint32_t cut_sequence(const uint8_t *p, uint32_t len)
{
	for (uint32_t back = 1; back <= 3 && back < len; back++) {
		uint8_t c = p[len - back];

		if ((c & 0xc0) != 0x80)
			return (c >= 0xf0 ? 4u : c >= 0xe0 ? 3u : c >= 0xc0 ? 2u : 1u) > back ? back : 0;
	}
	return 0;
}

/* Cut [0, n) into lines and pieces of at most `max` bytes; returns the bytes used. */
static uint32_t cut_lines(struct lp_tail_batch *batch, uint32_t n, uint32_t max, bool take_rest)
{
	uint32_t used = 0;

	while (used < n && batch->n < LP_AGENT_MAX_LINES) {
		uint32_t left = n - used, len;
		const char *start = batch->text + used, *nl = memchr(start, '\n', left);

		len = nl ? (uint32_t)(nl - start) : left;
		if (!nl && len < max && !take_rest)
			break;
		if (len > max || (!nl && len == max)) {
			len = max;
			nl = NULL;
			len -= cut_sequence((const uint8_t *)start, len);
		}
		batch->lines[batch->n++] = (struct lp_tail_line){ used, nl && len && start[len - 1] == '\r' ? len - 1 : len };
		used += len + (nl != NULL);
	}
	return used;
}

int lp_tail_read(struct lp_tail *tail, struct lp_tail_file *file, uint32_t max_bytes, struct lp_tail_batch *batch)
{
	uint32_t max_line = max_bytes < LP_AGENT_MAX_LINE ? max_bytes : LP_AGENT_MAX_LINE;
	struct stat st;

	if (file->fd < 0)
		return 0;
	if (fstat(file->fd, &st) < 0)
		return -errno;
	if (st.st_size == file->offset && file->offset)
		return 0;               /* the usual case costs one fstat */
	int r = check_identity(tail, file, &st);

	if (r < 0)
		return r;
	ssize_t n = pread(file->fd, batch->text, max_bytes < LP_AGENT_MAX_BATCH ? max_bytes : LP_AGENT_MAX_BATCH, file->offset);

	if (n < 0)
		return -errno;
	batch->n = 0;
	batch->file = file;
	bool rest = !file->matched && file->quiet > LP_AGENT_LINGER;

	batch->end = file->offset + cut_lines(batch, (uint32_t)n, max_line, rest);
	if (!batch->n)
		return 0;
	if (!rest)
		file->quiet = 0;
	batch->head_bytes = batch->end < LP_AGENT_HEAD ? (uint32_t)batch->end : LP_AGENT_HEAD;
	r = head_crc(file->fd, batch->head_bytes, &batch->head_crc);
	return r < 0 ? r : 1;
}

void lp_tail_ack(struct lp_tail *tail, const struct lp_tail_batch *batch)
{
	batch->file->offset = batch->end;
	batch->file->head_bytes = batch->head_bytes;
	batch->file->head_crc = batch->head_crc;
	tail->dirty = true;
}
