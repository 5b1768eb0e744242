/* The folder of rules that were made over HTTP (store.h has its layout).
 * Guarantees: no name leads outside of dir; a reader sees a file whole or not at all.
 * Process: workers write, workers and the notifier read.  One that dies here leaves a temporary file, which the next writer of the same
 * name replaces, and a lock that the kernel takes back. */
#include "rules/store.h"

#include "conf/yaml.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAME_BYTES 256u         /* NAME_MAX with a NUL */
#define PATH_BYTES 4608u
#define YAML ".yaml"

/* ---- names ---- */

static bool plain(char c)
{
	return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') || c == '_' || c == '-';
}

/* out holds NAME_BYTES; room is kept for what stands around the name. */
static int encode(const char *name, char *out)
{
	static const char hex[] = "0123456789ABCDEF";
	size_t n = 0;

	for (; *name; name++) {
		if (n + 3 > NAME_BYTES - 16)
			return -EINVAL;
		if (plain(*name)) {
			out[n++] = *name;
		} else {
			out[n++] = '%';
			out[n++] = hex[(uint8_t)*name >> 4];
			out[n++] = hex[(uint8_t)*name & 15];
		}
	}
	out[n] = '\0';
	return 0;
}

static int digit(char c) { return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1; }

/* Only what encode() makes. */
static bool decode(const char *s, size_t len, char *out)
{
	size_t n = 0;

	for (size_t i = 0; i < len; i++) {
		if (plain(s[i])) {
			out[n++] = s[i];
		} else if (s[i] == '%' && i + 2 < len && digit(s[i + 1]) >= 0 && digit(s[i + 2]) >= 0) {
			char c = (char)(digit(s[i + 1]) * 16 + digit(s[i + 2]));

			if (!c || plain(c))
				return false;
			out[n++] = c;
			i += 2;
		} else {
			return false;
		}
	}
	out[n] = '\0';
	return true;
}

static int tenant_dir(const char *dir, const char *tenant, char *out, size_t out_bytes)
{
	char name[NAME_BYTES];
	int r = encode(tenant, name);

	if (r < 0)
		return r;
	return snprintf(out, out_bytes, "%s/@%s", dir, name) >= (int)out_bytes ? -ENAMETOOLONG : 0;
}

int lp_rulestore_path(const char *dir, const char *tenant, const char *space, char *out, size_t out_bytes)
{
	char folder[PATH_BYTES], name[NAME_BYTES];
	int r = tenant_dir(dir, tenant, folder, sizeof folder);

	if (r < 0)
		return r;
	if (space && (!*space || encode(space, name) < 0))
		return -EINVAL;
	r = space ? snprintf(out, out_bytes, "%s/%s" YAML, folder, name) : snprintf(out, out_bytes, "%s/" LP_RULESTORE_ALERTS, folder);
	return r >= (int)out_bytes ? -ENAMETOOLONG : 0;
}

/* ---- changing ---- */

static int make_dir(const char *path) { return mkdir(path, 0750) < 0 && errno != EEXIST ? -errno : 0; }

int lp_rulestore_lock(const char *dir, int *ret_fd)
{
	char path[PATH_BYTES];
	int fd, r = make_dir(dir);

	if (r < 0)
		return r;
	if (snprintf(path, sizeof path, "%s/lock", dir) >= (int)sizeof path)
		return -ENAMETOOLONG;
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0640);
	if (fd < 0)
		return -errno;
	if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		r = -errno;
		close(fd);
		return r;
	}
	*ret_fd = fd;
	return 0;
}

void lp_rulestore_changed(int lock_fd)
{
	uint64_t n = 0;
	ssize_t got = pread(lock_fd, &n, sizeof n, 0);

	n = got == (ssize_t)sizeof n ? n + 1 : 1;
	got = pwrite(lock_fd, &n, sizeof n, 0);
	(void)got;                      /* on a full disk the change is seen at the next one, or at a restart */
}

uint64_t lp_rulestore_generation(const char *dir)
{
	char path[PATH_BYTES];
	uint64_t n = 0;

	if (snprintf(path, sizeof path, "%s/lock", dir) >= (int)sizeof path)
		return 0;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

	if (fd < 0)
		return 0;
	ssize_t got = pread(fd, &n, sizeof n, 0);

	close(fd);
	return got == (ssize_t)sizeof n ? n : 0;
}

static void sync_path(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	(void)fsync(fd);                /* no worse than not asked for: the file is there, and stays unless the power fails */
	close(fd);
}

static int sync_one(void *ctx, const char *tenant, const char *space)
{
	char path[PATH_BYTES];

	if (lp_rulestore_path(ctx, tenant, space, path, sizeof path) == 0)
		sync_path(path);
	if (tenant_dir(ctx, tenant, path, sizeof path) == 0)
		sync_path(path);
	return 0;
}

void lp_rulestore_sync(const char *dir)
{
	(void)lp_rulestore_each(dir, NULL, sync_one, (void *)dir);
	sync_path(dir);
}

static int count(void *ctx, const char *tenant, const char *space)
{
	*(unsigned *)ctx += space != NULL;
	return 0;
}

static int write_all(int fd, const char *p, size_t n)
{
	while (n > 0) {
		ssize_t done = write(fd, p, n);

		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			return -errno;
		p += done;
		n -= (size_t)done;
	}
	return 0;
}

static int replace(const char *path, const void *data, size_t len)
{
	char tmp[PATH_BYTES + 8];
	int fd, r;

	snprintf(tmp, sizeof tmp, "%s.tmp", path);
	fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0640);
	if (fd < 0)
		return -errno;
	r = write_all(fd, data, len);
	if (close(fd) < 0 && r == 0)
		r = -errno;
	if (r == 0 && rename(tmp, path) < 0)
		r = -errno;
	if (r < 0)
		(void)unlink(tmp);
	return r;
}

int lp_rulestore_write(const char *dir, const char *tenant, const char *space, const void *data, size_t len)
{
	char path[PATH_BYTES], folder[PATH_BYTES];
	unsigned n = 0;
	int r = lp_rulestore_path(dir, tenant, space, path, sizeof path);

	if (r == 0)
		r = tenant_dir(dir, tenant, folder, sizeof folder);
	if (r < 0)
		return r;
	if (!data)
		return unlink(path) < 0 ? -errno : 0;
	r = make_dir(dir);
	if (r == 0)
		r = make_dir(folder);
	if (r == 0 && space && access(path, F_OK) < 0)
		r = lp_rulestore_each(dir, tenant, count, &n);
	if (r == 0 && n >= LP_RULESTORE_MAX_NAMESPACES)
		r = -ENOSPC;
	return r < 0 ? r : replace(path, data, len);
}

/* ---- reading ---- */

int lp_rulestore_load(const char *dir, const char *tenant, const char *space, int64_t interval_ms, struct lp_rule_set *set, struct lp_buf *error)
{
	struct lp_rule_source source = { .name = space, .tenant = tenant, .file = space, .interval_ms = interval_ms };
	struct lp_buf text = LP_BUF_INIT;
	char path[PATH_BYTES];
	int r = lp_rulestore_path(dir, tenant, space, path, sizeof path);

	if (r == 0)
		r = lp_yaml_read(path, LP_RULES_MAX_TEXT, &text, error);
	if (r == 0)
		r = lp_rules_load(set, &source, text.data ? (const void *)text.data : "", text.len, error);
	lp_buf_free(&text);
	return r;
}

static int by_text(const struct dirent **a, const struct dirent **b) { return strcmp((*a)->d_name, (*b)->d_name); }

static int visible(const struct dirent *entry) { return entry->d_name[0] != '.'; }

static int each_file(const char *dir, const char *tenant, int (*f)(void *ctx, const char *tenant, const char *space), void *ctx)
{
	char folder[PATH_BYTES], space[NAME_BYTES];
	struct dirent **names;
	int r = tenant_dir(dir, tenant, folder, sizeof folder), n;

	if (r < 0)
		return r;
	n = scandir(folder, &names, visible, by_text);
	if (n < 0)
		return errno == ENOENT ? 0 : -errno;
	for (int i = 0; i < n; i++) {
		const char *name = names[i]->d_name;
		size_t len = strlen(name), tail = sizeof YAML - 1;

		if (r == 0 && !strcmp(name, LP_RULESTORE_ALERTS))
			r = f(ctx, tenant, NULL);
		else if (r == 0 && len > tail && !strcmp(name + len - tail, YAML) && decode(name, len - tail, space))
			r = f(ctx, tenant, space);
		free(names[i]);
	}
	free(names);
	return r;
}

int lp_rulestore_each(const char *dir, const char *tenant, int (*f)(void *ctx, const char *tenant, const char *space), void *ctx)
{
	char name[NAME_BYTES];
	struct dirent **names;
	int r = 0, n;

	if (tenant)
		return each_file(dir, tenant, f, ctx);
	n = scandir(dir, &names, visible, by_text);
	if (n < 0)
		return errno == ENOENT ? 0 : -errno;
	for (int i = 0; i < n; i++) {
		if (r == 0 && names[i]->d_name[0] == '@' && decode(names[i]->d_name + 1, strlen(names[i]->d_name + 1), name))
			r = each_file(dir, name, f, ctx);
		free(names[i]);
	}
	free(names);
	return r;
}
