/* The queue of one web hook target (format and promises: queue.h).
 *
 * The index of waiting events is in memory, their bodies are in the file and are read when it is their turn.
 * Process: notifier, main thread.  If it dies in an append, the torn record is cut off at the next opening; in a rewrite, the
 * old file is still there under its name. */
#include "notify/hooks/queue.h"

#include "common/bytes.h"
#include "common/crc32c.h"
#include "common/dir.h"
#include "common/fault.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define HEAD_BYTES 32u
#define RECORD_HEAD 24u
#define EVENT_HEAD 72u
#define HEAD_MAGIC UINT32_C(0x3151504c)         /* "LPQ1" */
#define RECORD_MAGIC UINT32_C(0x5251504c)       /* "LPQR" */
#define FORMAT_VERSION 1u
#define MAX_PAYLOAD (EVENT_HEAD + LP_HOOKQ_MAX_BODY)
#define SLACK_BYTES (1u << 20)                  /* dead bytes that are not worth a rewrite */

enum kind { KIND_EVENT = 1, KIND_DONE, KIND_KNOWN, KIND_POSITION };

struct lp_hookq {
	char *path;
	int fd;
	uint64_t max_bytes;
	uint64_t len;                   /* of the valid part of the file */
	uint64_t next_number;
	struct lp_hookq_event *events;  /* [first, n) wait, oldest first */
	uint32_t first, n, cap;
	uint64_t live_bytes;            /* of their records */
	uint64_t known[LP_HOOKQ_KNOWN]; /* ring */
	uint32_t n_known;               /* ever put in */
	uint8_t position[LP_HOOKQ_POSITION];
	uint64_t dropped, dropped_lines;
	bool held, dirty;
};

static uint64_t record_bytes(uint32_t payload) { return LP_ALIGN((uint64_t)RECORD_HEAD + payload, UINT64_C(8)); }

static bool is_zero(const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (p[i])
			return false;
	return true;
}

static int read_all(int fd, void *to, size_t n, uint64_t off)
{
	for (size_t got = 0; got < n;) {
		ssize_t r = pread(fd, (char *)to + got, n - got, (off_t)(off + got));

		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return -errno;
		if (r == 0)
			return -ENODATA;
		got += (size_t)r;
	}
	return 0;
}

static int write_all(int fd, const void *from, size_t n, uint64_t off)
{
	for (size_t done = 0; done < n;) {
		ssize_t r = pwrite(fd, (const char *)from + done, n - done, (off_t)(off + done));

		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return -errno;
		done += (size_t)r;
	}
	return 0;
}

/* ---- records ---- */

/* Append a record to buf; the payload is head, then body. */
static void put_record(struct lp_buf *buf, enum kind kind, uint64_t number, const void *head, size_t head_len, const void *body,
		       size_t body_len)
{
	uint32_t payload = (uint32_t)(head_len + body_len), crc;
	size_t whole = record_bytes(payload);
	uint8_t *p = lp_buf_reserve(buf, whole);

	if (!p)
		return;
	lp_put_le32(p, RECORD_MAGIC);
	lp_put_le32(p + 4, payload);
	lp_put_le64(p + 8, number);
	lp_put_le32(p + 16, kind);
	if (head_len)
		memcpy(p + RECORD_HEAD, head, head_len);
	if (body_len)
		memcpy(p + RECORD_HEAD + head_len, body, body_len);
	memset(p + RECORD_HEAD + payload, 0, whole - RECORD_HEAD - payload);
	crc = lp_crc32c(0, p, 20);
	lp_put_le32(p + 20, lp_crc32c(crc, p + RECORD_HEAD, payload));
	buf->len += whole;
}

static void put_head(struct lp_buf *buf)
{
	uint8_t head[HEAD_BYTES] = { 0 };

	lp_put_le32(head, HEAD_MAGIC);
	lp_put_le32(head + 4, FORMAT_VERSION);
	lp_put_le32(head + 28, lp_crc32c(0, head, 28));
	lp_buf_append(buf, head, sizeof head);
}

/* A torn append is overwritten by the next one: len only moves when everything is there. */
static int append(struct lp_hookq *queue, struct lp_buf *buf)
{
	int r = buf->failed ? -ENOMEM : write_all(queue->fd, buf->data, buf->len, queue->len);

	if (r == 0) {
		queue->len += buf->len;
		queue->dirty = true;
	}
	return r;
}

/* ---- the index ---- */

static int index_add(struct lp_hookq *queue, const struct lp_hookq_event *event)
{
	if (queue->n == queue->cap && queue->first > queue->cap / 2) {
		memmove(queue->events, queue->events + queue->first, (queue->n - queue->first) * sizeof *queue->events);
		queue->n -= queue->first;
		queue->first = 0;
	}
	if (queue->n == queue->cap) {
		uint32_t cap = queue->cap ? queue->cap * 2 : 64;
		struct lp_hookq_event *more = realloc(queue->events, cap * sizeof *more);

		if (!more)
			return -ENOMEM;
		queue->events = more;
		queue->cap = cap;
	}
	queue->events[queue->n++] = *event;
	queue->live_bytes += record_bytes(EVENT_HEAD + event->body_bytes);
	return 0;
}

static void remember(struct lp_hookq *queue, uint64_t id) { queue->known[queue->n_known++ % LP_HOOKQ_KNOWN] = id; }

/* Event i (from first) leaves the index. */
static void index_remove(struct lp_hookq *queue, uint32_t i)
{
	struct lp_hookq_event *event = &queue->events[i];

	queue->live_bytes -= record_bytes(EVENT_HEAD + event->body_bytes);
	remember(queue, event->id);
	/* Nearly always the first; the second when the first is held; any one when it makes room for alerts. */
	memmove(queue->events + queue->first + 1, queue->events + queue->first, (i - queue->first) * sizeof *queue->events);
	queue->first++;
	if (queue->first == queue->n)
		queue->first = queue->n = 0;
}

static bool is_known(const struct lp_hookq *queue, uint64_t id)
{
	uint32_t n = queue->n_known < LP_HOOKQ_KNOWN ? queue->n_known : LP_HOOKQ_KNOWN;

	for (uint32_t i = 0; i < n; i++)
		if (queue->known[i] == id)
			return true;
	for (uint32_t i = queue->first; i < queue->n; i++)
		if (queue->events[i].id == id)
			return true;
	return false;
}

/* ---- opening ---- */

static int take_event(struct lp_hookq *queue, uint64_t number, const uint8_t *payload, uint32_t len)
{
	struct lp_hookq_event event = {
		.number = number, .off = queue->len, .body_bytes = len - EVENT_HEAD, .id = lp_le64(payload),
		.fingerprint = lp_le64(payload + 8), .created_ns = (int64_t)lp_le64(payload + 16),
		.expires_ns = (int64_t)lp_le64(payload + 24), .format = lp_le16(payload + 32), .class = lp_le16(payload + 34),
		.lines = lp_le32(payload + 36),
	};

	if (!is_zero(payload + 40, LP_HOOKQ_POSITION))
		memcpy(queue->position, payload + 40, LP_HOOKQ_POSITION);
	queue->next_number = number + 1;
	return index_add(queue, &event);
}

static int take_record(struct lp_hookq *queue, enum kind kind, uint64_t number, const uint8_t *payload, uint32_t len)
{
	switch (kind) {
	case KIND_EVENT:
		if (len < EVENT_HEAD || number < queue->next_number || number == UINT64_MAX)
			return -EBADMSG;
		return take_event(queue, number, payload, len);
	case KIND_DONE:
		if (len)
			return -EBADMSG;
		for (uint32_t i = queue->first; i < queue->n; i++)
			if (queue->events[i].number == number) {
				index_remove(queue, i);
				break;
			}
		return 0;
	case KIND_KNOWN:
		if (len % 8)
			return -EBADMSG;
		for (uint32_t i = 0; i < len; i += 8)
			remember(queue, lp_le64(payload + i));
		return 0;
	case KIND_POSITION:
		if (len != LP_HOOKQ_POSITION)
			return -EBADMSG;
		memcpy(queue->position, payload, LP_HOOKQ_POSITION);
		return 0;
	}
	return -EBADMSG;
}

/* One record at queue->len.  1 taken, 0 the valid part ends here, -errno. */
static int scan_record(struct lp_hookq *queue, struct lp_buf *buf)
{
	uint8_t head[RECORD_HEAD];
	uint32_t len, crc;
	int r = read_all(queue->fd, head, sizeof head, queue->len);

	if (r < 0)
		return r == -ENODATA ? 0 : r;
	len = lp_le32(head + 4);
	if (lp_le32(head) != RECORD_MAGIC || len > MAX_PAYLOAD)
		return 0;
	lp_buf_reset(buf);
	uint8_t *payload = lp_buf_reserve(buf, (size_t)len + 8);

	if (!payload)
		return -ENOMEM;
	r = read_all(queue->fd, payload, record_bytes(len) - RECORD_HEAD, queue->len + RECORD_HEAD);
	if (r < 0)
		return r == -ENODATA ? 0 : r;
	crc = lp_crc32c(lp_crc32c(0, head, 20), payload, len);
	if (crc != lp_le32(head + 20))
		return 0;
	r = take_record(queue, (enum kind)lp_le32(head + 16), lp_le64(head + 8), payload, len);
	if (r < 0)
		return r == -EBADMSG ? 0 : r;
	queue->len += record_bytes(len);
	return 1;
}

static int scan(struct lp_hookq *queue)
{
	struct lp_buf buf = LP_BUF_INIT;
	uint8_t head[HEAD_BYTES];
	int r = read_all(queue->fd, head, sizeof head, 0);

	if (r < 0)
		return r == -ENODATA ? -EBADMSG : r;
	if (lp_le32(head) != HEAD_MAGIC || lp_le32(head + 28) != lp_crc32c(0, head, 28))
		return -EBADMSG;
	if (lp_le32(head + 4) != FORMAT_VERSION)
		return -EPROTO;
	queue->len = HEAD_BYTES;
	do
		r = scan_record(queue, &buf);
	while (r > 0);
	lp_buf_free(&buf);
	if (r == 0 && ftruncate(queue->fd, (off_t)queue->len) < 0)
		r = -errno;
	return r;
}

static int begin(struct lp_hookq *queue)
{
	struct lp_buf buf = LP_BUF_INIT;
	int r;

	put_head(&buf);
	r = append(queue, &buf);
	lp_buf_free(&buf);
	if (r == 0)
		r = lp_hookq_sync(queue);
	if (r == 0)
		r = lp_dir_sync_parent(queue->path);
	return r;
}

int lp_hookq_open(const char *path, uint64_t max_bytes, struct lp_hookq **ret_queue)
{
	struct lp_hookq *queue = calloc(1, sizeof *queue);
	struct stat st;
	int r = 0;

	if (!queue)
		return -ENOMEM;
	queue->max_bytes = max_bytes;
	queue->next_number = 1;
	queue->path = strdup(path);
	/* Bodies may quote log lines: nobody else's business. */
	queue->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (!queue->path)
		r = -ENOMEM;
	else if (queue->fd < 0 || fstat(queue->fd, &st) < 0)
		r = -errno;
	/* Shorter than its head: the process died while it made the file. */
	if (r == 0)
		r = st.st_size < (off_t)HEAD_BYTES ? begin(queue) : scan(queue);
	if (r < 0)
		lp_hookq_close(&queue);
	else
		*ret_queue = queue;
	return r;
}

void lp_hookq_close(struct lp_hookq **queue)
{
	struct lp_hookq *it = *queue;

	*queue = NULL;
	if (!it)
		return;
	if (it->fd >= 0)
		close(it->fd);
	free(it->events);
	free(it->path);
	free(it);
}

/* ---- rewriting ---- */

static void put_known(const struct lp_hookq *queue, struct lp_buf *buf)
{
	uint32_t n = queue->n_known < LP_HOOKQ_KNOWN ? queue->n_known : LP_HOOKQ_KNOWN;
	uint8_t ids[8 * LP_HOOKQ_KNOWN];

	/* Oldest first, so that the ring fills in the same order. */
	for (uint32_t i = 0; i < n; i++)
		lp_put_le64(ids + 8 * i, queue->known[(queue->n_known - n + i) % LP_HOOKQ_KNOWN]);
	if (n)
		put_record(buf, KIND_KNOWN, 0, ids, 8 * (size_t)n, NULL, 0);
}

/* Copy what lives into the new file; *ret_len its length.  Offsets in the index are not touched. */
static int copy_live(struct lp_hookq *queue, int fd, uint64_t *ret_len)
{
	struct lp_buf buf = LP_BUF_INIT;
	uint64_t len = 0;
	int r;

	put_head(&buf);
	put_known(queue, &buf);
	if (!is_zero(queue->position, LP_HOOKQ_POSITION))
		put_record(&buf, KIND_POSITION, 0, queue->position, LP_HOOKQ_POSITION, NULL, 0);
	r = buf.failed ? -ENOMEM : write_all(fd, buf.data, buf.len, 0);
	len = buf.len;
	for (uint32_t i = queue->first; r == 0 && i < queue->n; i++) {
		size_t n = record_bytes(EVENT_HEAD + queue->events[i].body_bytes);

		lp_buf_reset(&buf);
		uint8_t *p = lp_buf_reserve(&buf, n);

		r = p ? read_all(queue->fd, p, n, queue->events[i].off) : -ENOMEM;
		if (r == 0)
			r = write_all(fd, p, n, len);
		len += n;
	}
	lp_buf_free(&buf);
	*ret_len = len;
	return r;
}

static void move_offsets(struct lp_hookq *queue, uint64_t len)
{
	uint64_t off = len - queue->live_bytes;

	for (uint32_t i = queue->first; i < queue->n; i++) {
		queue->events[i].off = off;
		off += record_bytes(EVENT_HEAD + queue->events[i].body_bytes);
	}
}

static int rewrite(struct lp_hookq *queue)
{
	struct lp_buf tmp = LP_BUF_INIT;
	uint64_t len = 0;
	int fd, r;

	lp_buf_printf(&tmp, "%s.new", queue->path);
	fd = open(lp_buf_cstr(&tmp), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	r = fd < 0 ? -errno : copy_live(queue, fd, &len);
	if (r == 0 && fdatasync(fd) < 0)
		r = -errno;
	LP_FAULT("hook-queue-copied");
	if (r == 0 && rename(lp_buf_cstr(&tmp), queue->path) < 0)
		r = -errno;
	if (r < 0) {
		if (fd >= 0) {
			close(fd);
			(void)unlink(lp_buf_cstr(&tmp));
		}
		lp_buf_free(&tmp);
		return r;
	}
	(void)lp_dir_sync_parent(queue->path);  /* without it the old name is found again, and events are sent again */
	lp_buf_free(&tmp);
	close(queue->fd);
	queue->fd = fd;
	queue->len = len;
	queue->dirty = false;
	move_offsets(queue, len);
	return 0;
}

/* Dead bytes are bounded by the live ones and a slack.  A rewrite that fails (no room) is tried again with the next record. */
static void tidy(struct lp_hookq *queue)
{
	uint64_t slack = queue->max_bytes / 2 < SLACK_BYTES ? queue->max_bytes / 2 : SLACK_BYTES;
	uint64_t fixed = HEAD_BYTES + 2 * RECORD_HEAD + 8 * LP_HOOKQ_KNOWN + LP_HOOKQ_POSITION;

	if (queue->len > 2 * queue->live_bytes + slack + fixed)
		(void)rewrite(queue);
}

/* ---- use ---- */

static void leave(struct lp_hookq *queue, uint32_t i)
{
	struct lp_buf buf = LP_BUF_INIT;

	put_record(&buf, KIND_DONE, queue->events[i].number, NULL, 0, NULL, 0);
	(void)append(queue, &buf);
	lp_buf_free(&buf);
	index_remove(queue, i);
}

/* The oldest event that can be spared from i on; an alert only when there is nothing else. */
static uint32_t oldest(const struct lp_hookq *queue, uint32_t i)
{
	for (uint32_t k = i; k < queue->n; k++)
		if (queue->events[k].class != LP_HOOKQ_LAST)
			return k;
	return i;
}

static void make_room(struct lp_hookq *queue, uint64_t bytes)
{
	while (queue->first < queue->n) {
		uint32_t i = oldest(queue, queue->first + (queue->held ? 1 : 0));

		if ((queue->live_bytes + bytes <= queue->max_bytes && queue->n - queue->first < LP_HOOKQ_MAX_EVENTS) || i >= queue->n)
			return;
		queue->dropped++;
		queue->dropped_lines += queue->events[i].lines;
		leave(queue, i);
	}
}

int lp_hookq_add(struct lp_hookq *queue, const struct lp_hookq_event *event, const void *body, size_t len, const uint8_t *position)
{
	struct lp_hookq_event item = *event;
	struct lp_buf buf = LP_BUF_INIT;
	uint8_t head[EVENT_HEAD] = { 0 };
	int r;

	if (is_known(queue, event->id)) {
		r = position ? lp_hookq_set_position(queue, position) : 0;
		return r < 0 ? r : -EEXIST;
	}
	if (len > LP_HOOKQ_MAX_BODY || record_bytes((uint32_t)(EVENT_HEAD + len)) > queue->max_bytes)
		return -EMSGSIZE;
	make_room(queue, record_bytes((uint32_t)(EVENT_HEAD + len)));
	lp_put_le64(head, event->id);
	lp_put_le64(head + 8, event->fingerprint);
	lp_put_le64(head + 16, (uint64_t)event->created_ns);
	lp_put_le64(head + 24, (uint64_t)event->expires_ns);
	lp_put_le16(head + 32, event->format);
	lp_put_le16(head + 34, event->class);
	lp_put_le32(head + 36, event->lines);
	if (position)
		memcpy(head + 40, position, LP_HOOKQ_POSITION);
	item.number = queue->next_number;
	item.body_bytes = (uint32_t)len;
	item.off = queue->len;
	put_record(&buf, KIND_EVENT, item.number, head, sizeof head, body, len);
	r = append(queue, &buf);
	lp_buf_free(&buf);
	if (r < 0)
		return r;
	queue->next_number++;
	if (position)
		memcpy(queue->position, position, LP_HOOKQ_POSITION);
	r = index_add(queue, &item);
	tidy(queue);
	return r;
}

int lp_hookq_sync(struct lp_hookq *queue)
{
	if (queue->dirty && fdatasync(queue->fd) < 0)
		return -errno;
	queue->dirty = false;
	return 0;
}

const struct lp_hookq_event *lp_hookq_first(const struct lp_hookq *queue)
{
	return queue->first < queue->n ? &queue->events[queue->first] : NULL;
}

bool lp_hookq_waits(const struct lp_hookq *queue, uint64_t fingerprint, int64_t now_ns)
{
	for (uint32_t i = queue->first; i < queue->n; i++)
		if (queue->events[i].fingerprint == fingerprint &&
		    (!queue->events[i].expires_ns || queue->events[i].expires_ns > now_ns))
			return true;
	return false;
}

int lp_hookq_body(struct lp_hookq *queue, struct lp_buf *out)
{
	const struct lp_hookq_event *event = lp_hookq_first(queue);
	uint8_t head[RECORD_HEAD + EVENT_HEAD];
	uint32_t crc;
	int r;

	if (!event)
		return -ENOENT;
	r = read_all(queue->fd, head, sizeof head, event->off);
	if (r < 0)
		return r == -ENODATA ? -EBADMSG : r;
	uint8_t *p = lp_buf_reserve(out, event->body_bytes + 1);

	if (!p)
		return -ENOMEM;
	r = read_all(queue->fd, p, event->body_bytes, event->off + sizeof head);
	if (r < 0)
		return r == -ENODATA ? -EBADMSG : r;
	/* It may have lain there for hours. */
	crc = lp_crc32c(lp_crc32c(0, head, 20), head + RECORD_HEAD, EVENT_HEAD);
	if (lp_crc32c(crc, p, event->body_bytes) != lp_le32(head + 20) || lp_le64(head + 8) != event->number)
		return -EBADMSG;
	out->len += event->body_bytes;
	return 0;
}

void lp_hookq_hold(struct lp_hookq *queue, bool held) { queue->held = held; }

void lp_hookq_done(struct lp_hookq *queue)
{
	queue->held = false;
	if (queue->first == queue->n)
		return;
	leave(queue, queue->first);
	tidy(queue);
}

bool lp_hookq_position(const struct lp_hookq *queue, uint8_t ret_position[LP_HOOKQ_POSITION])
{
	if (is_zero(queue->position, LP_HOOKQ_POSITION))
		return false;
	memcpy(ret_position, queue->position, LP_HOOKQ_POSITION);
	return true;
}

int lp_hookq_set_position(struct lp_hookq *queue, const uint8_t position[LP_HOOKQ_POSITION])
{
	struct lp_buf buf = LP_BUF_INIT;
	int r;

	if (!memcmp(queue->position, position, LP_HOOKQ_POSITION))
		return 0;
	put_record(&buf, KIND_POSITION, 0, position, LP_HOOKQ_POSITION, NULL, 0);
	r = append(queue, &buf);
	lp_buf_free(&buf);
	if (r < 0)
		return r;
	memcpy(queue->position, position, LP_HOOKQ_POSITION);
	tidy(queue);
	return 0;
}

uint32_t lp_hookq_depth(const struct lp_hookq *queue) { return queue->n - queue->first; }
uint64_t lp_hookq_bytes(const struct lp_hookq *queue) { return queue->live_bytes; }
uint64_t lp_hookq_file_bytes(const struct lp_hookq *queue) { return queue->len; }

uint64_t lp_hookq_take_dropped(struct lp_hookq *queue, uint64_t *ret_lines)
{
	uint64_t n = queue->dropped;

	*ret_lines = queue->dropped_lines;
	queue->dropped = queue->dropped_lines = 0;
	return n;
}
