/* The list of delete requests; see deletes.h for its bytes and what dying here leaves.
 * Process: any; threads too: every change opens the lock file anew, and flock goes by open files. */
#include "store/deletes.h"

#include "common/buf.h"
#include "common/bytes.h"
#include "common/crc32c.h"
#include "common/dir.h"
#include "common/fault.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAGIC UINT64_C(0x3130534c4544504c)      /* "LPDELS01" */
#define HEAD 24u
#define REQUEST 48u
#define MAX_FILE_BYTES (256u << 20)

struct head {
	uint64_t magic, revision;
	uint32_t requests, crc;
};
_Static_assert(sizeof(struct head) == HEAD, "deletes layout");

struct request {
	uint64_t id;
	int64_t start_ns, end_ns, created_ns;
	uint32_t last_file, state, tenant_len, query_len;
};
_Static_assert(sizeof(struct request) == REQUEST, "deletes layout");

static int path_of(const char *data_dir, const char *name, char path[PATH_MAX])
{
	return (size_t)snprintf(path, PATH_MAX, "%s/%s", data_dir, name) >= PATH_MAX ? -ENAMETOOLONG : 0;
}

static uint32_t crc_of(const struct head *head, const uint8_t *rest, size_t len)
{
	struct head h = *head;

	h.crc = 0;
	return lp_crc32c(lp_crc32c(0, &h, sizeof h), rest, len);
}

/* ---- bytes ---- */

static int decode_requests(const uint8_t *p, size_t len, struct lp_deletes *d)
{
	char *text = d->text;
	size_t at = 0;

	for (uint32_t i = 0; i < d->n; i++) {
		struct request r;

		if (len - at < REQUEST)
			return -EBADMSG;
		memcpy(&r, p + at, sizeof r);
		at += REQUEST;
		if (r.tenant_len > len - at || r.query_len > len - at - r.tenant_len || r.state > 1)
			return -EBADMSG;
		struct lp_delete *x = &d->v[i];

		*x = (struct lp_delete){ .id = r.id, .start_ns = r.start_ns, .end_ns = r.end_ns, .created_ns = r.created_ns,
					 .last_file = r.last_file, .processed = r.state, .tenant_len = r.tenant_len, .query_len = r.query_len };
		x->tenant = memcpy(text, p + at, r.tenant_len);
		text[r.tenant_len] = '\0';
		text += r.tenant_len + 1;
		x->query = memcpy(text, p + at + r.tenant_len, r.query_len);
		text[r.query_len] = '\0';
		text += r.query_len + 1;
		at = LP_ALIGN(at + r.tenant_len + r.query_len, 8);
		if (at > len)
			return -EBADMSG;
	}
	return at == len ? 0 : -EBADMSG;
}

int lp_deletes_decode(const void *p, size_t len, struct lp_deletes *ret_deletes)
{
	struct head head;

	if (len < HEAD)
		return -EBADMSG;
	memcpy(&head, p, sizeof head);
	const uint8_t *rest = (const uint8_t *)p + HEAD;

	if (head.magic != MAGIC || head.requests > (len - HEAD) / REQUEST || head.crc != crc_of(&head, rest, len - HEAD))
		return -EBADMSG;
	struct lp_deletes d = { .revision = head.revision, .n = head.requests };

	d.v = calloc((size_t)d.n + 1, sizeof *d.v);
	d.text = malloc(len + 2 * (size_t)d.n + 1);
	int r = d.v && d.text ? decode_requests(rest, len - HEAD, &d) : -ENOMEM;

	if (r < 0) {
		lp_deletes_free(&d);
		return r;
	}
	*ret_deletes = d;
	return 0;
}

static void encode(const struct lp_deletes *d, struct lp_buf *out)
{
	static const uint8_t zeros[8];
	struct head head = { .magic = MAGIC, .revision = d->revision, .requests = d->n };

	lp_buf_append(out, &head, sizeof head);
	for (uint32_t i = 0; i < d->n; i++) {
		const struct lp_delete *x = &d->v[i];
		struct request r = { x->id, x->start_ns, x->end_ns, x->created_ns, x->last_file, x->processed, x->tenant_len, x->query_len };

		lp_buf_append(out, &r, sizeof r);
		lp_buf_append(out, x->tenant, x->tenant_len);
		lp_buf_append(out, x->query, x->query_len);
		lp_buf_append(out, zeros, (size_t)(-out->len & 7));
	}
	if (out->failed)
		return;
	head.crc = crc_of(&head, out->data + HEAD, out->len - HEAD);
	memcpy(out->data, &head, sizeof head);
}

void lp_deletes_free(struct lp_deletes *deletes)
{
	free(deletes->v);
	free(deletes->text);
	*deletes = (struct lp_deletes){ 0 };
}

/* ---- the file ---- */

static int read_all(int fd, uint8_t *p, size_t n)
{
	for (size_t at = 0; at < n;) {
		ssize_t got = pread(fd, p + at, n - at, (off_t)at);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return got < 0 ? -errno : -EBADMSG;
		at += (size_t)got;
	}
	return 0;
}

static int open_list(const char *data_dir)
{
	char path[PATH_MAX];
	int r = path_of(data_dir, "deletes", path);

	if (r < 0)
		return r;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

int lp_deletes_load(const char *data_dir, struct lp_deletes *ret_deletes)
{
	int fd = open_list(data_dir);
	struct stat st;

	if (fd == -ENOENT) {
		*ret_deletes = (struct lp_deletes){ 0 };
		return 0;
	}
	if (fd < 0)
		return fd;
	int r = fstat(fd, &st) < 0 ? -errno : st.st_size > MAX_FILE_BYTES ? -EBADMSG : 0;
	uint8_t *bytes = r == 0 ? malloc((size_t)st.st_size + 1) : NULL;

	if (r == 0)
		r = bytes ? read_all(fd, bytes, (size_t)st.st_size) : -ENOMEM;
	close(fd);
	if (r == 0)
		r = lp_deletes_decode(bytes, (size_t)st.st_size, ret_deletes);
	free(bytes);
	return r;
}

int lp_deletes_revision(const char *data_dir, uint64_t *ret_revision)
{
	struct head head;
	int fd = open_list(data_dir);

	if (fd < 0 && fd != -ENOENT)
		return fd;
	if (fd < 0) {
		*ret_revision = 0;
		return 0;
	}
	int r = read_all(fd, (uint8_t *)&head, sizeof head);

	close(fd);
	if (r == 0 && head.magic != MAGIC)
		r = -EBADMSG;
	if (r == 0)
		*ret_revision = head.revision;
	return r;
}

static int write_file(const char *path, const struct lp_buf *bytes)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
	int r = 0;

	if (fd < 0)
		return -errno;
	for (size_t at = 0; r == 0 && at < bytes->len;) {
		ssize_t n = write(fd, bytes->data + at, bytes->len - at);

		if (n > 0)
			at += (size_t)n;
		else if (n == 0 || errno != EINTR)
			r = n == 0 || errno == EDQUOT ? -ENOSPC : -errno;
	}
	if (r == 0 && fsync(fd) < 0)
		r = -errno;
	if (close(fd) < 0 && r == 0)
		r = -errno;
	return r;
}

/* Under the lock. */
static int save(const char *data_dir, struct lp_deletes *d)
{
	char tmp[PATH_MAX], path[PATH_MAX];
	struct lp_buf bytes = LP_BUF_INIT;
	int r = path_of(data_dir, "deletes.tmp", tmp);

	if (r == 0)
		r = path_of(data_dir, "deletes", path);
	d->revision++;
	encode(d, &bytes);
	if (r == 0)
		r = bytes.failed ? -ENOMEM : bytes.len > MAX_FILE_BYTES ? -E2BIG : write_file(tmp, &bytes);
	LP_FAULT("deletes-written");
	if (r == 0 && rename(tmp, path) < 0)
		r = -errno;
	LP_FAULT("deletes-renamed");
	if (r == 0)
		r = lp_dir_sync(data_dir);
	else
		(void)unlink(tmp);
	lp_buf_free(&bytes);
	return r;
}

typedef int change_fn(struct lp_deletes *d, void *arg);

static int change(const char *data_dir, change_fn *fn, void *arg)
{
	struct lp_deletes d = { 0 };
	char path[PATH_MAX];
	int r = path_of(data_dir, "deletes.lock", path);
	int fd = r == 0 ? open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0640) : -1;

	if (r < 0 || fd < 0)
		return r < 0 ? r : -errno;
	while (flock(fd, LOCK_EX) < 0 && r == 0)
		r = errno == EINTR ? 0 : -errno;
	if (r == 0)
		r = lp_deletes_load(data_dir, &d);
	if (r == 0)
		r = fn(&d, arg);
	if (r == 0)
		r = save(data_dir, &d);
	lp_deletes_free(&d);
	close(fd);                      /* and with it the lock */
	return r;
}

/* ---- changes ---- */

static bool id_taken(const struct lp_deletes *d, uint64_t id)
{
	for (uint32_t i = 0; i < d->n; i++)
		if (d->v[i].id == id)
			return true;
	return id == 0;
}

static void drop(struct lp_deletes *d, uint32_t i)
{
	memmove(&d->v[i], &d->v[i + 1], (--d->n - i) * sizeof *d->v);
}

static int add(struct lp_deletes *d, void *arg)
{
	struct lp_delete *request = arg;

	for (uint32_t i = 0; d->n >= LP_DELETES_MAX && i < d->n; i++)
		if (d->v[i].processed)
			drop(d, i--);
	if (d->n >= LP_DELETES_MAX)
		return -E2BIG;
	struct lp_delete *v = realloc(d->v, ((size_t)d->n + 1) * sizeof *v);

	if (!v)
		return -ENOMEM;
	d->v = v;
	while (id_taken(d, request->id)) {
		uint32_t id;

		if (getrandom(&id, sizeof id, 0) != (ssize_t)sizeof id)
			return -EIO;
		request->id = id;
	}
	d->v[d->n++] = *request;
	return 0;
}

int lp_deletes_add(const char *data_dir, const struct lp_delete *request, uint64_t *ret_id)
{
	struct lp_delete copy = *request;
	int r = change(data_dir, add, &copy);

	if (r == 0)
		*ret_id = copy.id;
	return r;
}

struct cancel {
	uint64_t id;
	const char *tenant;
	size_t tenant_len;
	int64_t not_before_ns;
};

static int cancel(struct lp_deletes *d, void *arg)
{
	const struct cancel *c = arg;

	for (uint32_t i = 0; i < d->n; i++) {
		const struct lp_delete *x = &d->v[i];

		if (x->id != c->id || x->tenant_len != c->tenant_len || memcmp(x->tenant, c->tenant, c->tenant_len))
			continue;
		if (x->processed)
			return -EALREADY;
		if (x->created_ns < c->not_before_ns)
			return -ETIME;
		drop(d, i);
		return 0;
	}
	return -ENOENT;
}

int lp_deletes_cancel(const char *data_dir, uint64_t id, const char *tenant, size_t tenant_len, int64_t not_before_ns)
{
	return change(data_dir, cancel, &(struct cancel){ id, tenant, tenant_len, not_before_ns });
}

struct ids {
	const uint64_t *v;
	uint32_t n;
};

static int mark(struct lp_deletes *d, void *arg)
{
	const struct ids *ids = arg;

	for (uint32_t i = 0; i < d->n; i++)
		for (uint32_t k = 0; k < ids->n; k++)
			d->v[i].processed |= d->v[i].id == ids->v[k];
	return 0;
}

int lp_deletes_processed(const char *data_dir, const uint64_t *ids, uint32_t n)
{
	return change(data_dir, mark, &(struct ids){ ids, n });
}
