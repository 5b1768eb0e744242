/* Pushes.  Guarantees: a 2xx is sent only after the writer has moved the lane's tail past the push's record, that is after
 * the commit; the event loop never blocks; what waits is bounded by ingest.max_pending_bytes and by a deadline.
 *
 *   request -> checks -> decode into the one batch -> reserve, encode, commit in the lane -> `committing` -> answer
 *                                 no room: `waiting` (FIFO; its first push stays decoded in the batch)
 *
 * Process: worker, event loop.  If it dies before lp_lane_commit nothing was published and nothing acknowledged; after it,
 * the record is in the lane and gets stored, the client sees the connection break and repeats the push, and the repetition
 * is one entry with it. */
#include "http/worker.h"

#include "http/otlp.h"

#include "common/bytes.h"
#include "common/clock.h"
#include "common/fault.h"
#include "common/jsonw.h"
#include "common/log.h"

#include <errno.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define RATE_RETRY_SECONDS 1    /* after a rate was exceeded */
#define RATE_RETRY_TEXT "1"
#define KEEP_BUFFER_BYTES (1u << 20)

struct lp_push {
	h2o_linklist_t link;            /* in committing or waiting, or in none */
	struct lp_worker *worker;
	h2o_req_t *req;
	enum lp_push_format format;
	enum lp_content_encoding encoding;
	h2o_iovec_t tenant;             /* memory of the request */
	uint64_t end_pos;               /* answered when tail reaches it */
	int64_t started_ns, deadline_ns;
	int64_t published_ns;           /* only while tracing is on */
	size_t waiting_bytes;           /* counted in lp_pushes.waiting_bytes */
	bool decoded;                   /* its entries are in the batch */
	int status;                     /* after the commit */
	h2o_iovec_t message;
	uint32_t accepted;
	uint64_t text_bytes;
};

static struct lp_push *first(h2o_linklist_t *list)
{
	return h2o_linklist_is_empty(list) ? NULL : H2O_STRUCT_FROM_MEMBER(struct lp_push, link, list->next);
}

static void unlink_push(struct lp_push *push)
{
	if (h2o_linklist_is_linked(&push->link))
		h2o_linklist_unlink(&push->link);
	push->worker->push.waiting_bytes -= push->waiting_bytes;
	push->waiting_bytes = 0;
	if (push->decoded) {
		lp_batch_reset(push->worker->push.batch);
		push->decoded = false;
	}
}

/* The request's memory goes away: answered, or the connection died. */
static void on_dispose(void *p)
{
	unlink_push(p);
}

/* ---- answers ------------------------------------------------------------------------------------ */

/* OTLP clients read a google.rpc.Status in the form of their request: 1 code, 2 message. */
static void reply_error(struct lp_push *push, int status, const char *text)
{
	h2o_req_t *req = push->req;
	struct lp_buf out = LP_BUF_INIT;

	if (push->format == LP_PUSH_OTLP_JSON) {
		lp_buf_printf(&out, "{\"code\":%d,\"message\":", status);
		lp_jsonw_cstr(&out, text);
		lp_buf_byte(&out, '}');
		lp_reply_buf(req, status, "application/json", &out);
		return;
	}
	if (push->format != LP_PUSH_OTLP_PROTO) {
		lp_reply_text(req, status, text);
		return;
	}
	uint8_t head[24], *p = head;

	*p++ = 0x08;
	p = lp_varint_put(p, (uint64_t)status);
	*p++ = 0x12;
	p = lp_varint_put(p, strlen(text));
	lp_buf_append(&out, head, (size_t)(p - head));
	lp_buf_str(&out, text);
	lp_reply_buf(req, status, "application/x-protobuf", &out);
}

static void rejected(struct lp_push *push)
{
	lp_stat_add(push->worker->stat, LP_STAT_PUSH_REJECTED, 1);
}

static void answer(struct lp_push *push)
{
	struct lp_worker *worker = push->worker;
	h2o_req_t *req = push->req;
	char body[48];
	uint64_t us;
	int n;

	LP_FAULT("worker-answer");
	unlink_push(push);
	if (push->accepted) {
		lp_stat_add(worker->stat, LP_STAT_INGESTED_LINES, push->accepted);
		lp_stat_add(worker->stat, LP_STAT_INGESTED_BYTES, push->text_bytes);
	}
	if (push->published_ns)
		lp_tracing_push(worker, req, push->started_ns, push->published_ns, push->accepted, (int64_t)push->text_bytes);
	us = (uint64_t)(lp_clock_mono_ns() - push->started_ns) / 1000;
	lp_stat_observe_us(worker->stat, LP_STAT_PUSH_SECONDS, us);
	if (worker->sampler.on && lp_request_trace(req))
		lp_stat_exemplar(worker->stat, LP_STAT_PUSH_SECONDS, us, lp_request_trace(req)->id.trace);
	if (push->status >= 400) {
		rejected(push);
		if (push->status == 429)
			lp_header(req, "retry-after", RATE_RETRY_TEXT);
		reply_error(push, push->status, push->message.base);
	} else if (push->format == LP_PUSH_ORIGINAL_JSON || push->format == LP_PUSH_ORIGINAL_MSGPACK) {
		n = snprintf(body, sizeof body, "{\"accepted\":%u}", push->accepted);
		lp_reply(req, 200, LP_JSON, body, (size_t)n);
	} else {
		lp_reply_empty(req, 204);
	}
}

/* Not stored (or not known to be): the client must repeat it. */
static void give_up(struct lp_push *push, int status, unsigned seconds, const char *text)
{
	char value[16];

	unlink_push(push);
	rejected(push);
	snprintf(value, sizeof value, "%u", seconds);
	lp_header(push->req, "retry-after", h2o_strdup(&push->req->pool, value, SIZE_MAX).base);
	reply_error(push, status, text);
}

static void refuse(struct lp_push *push, int status, const char *text)
{
	unlink_push(push);
	rejected(push);
	lp_stat_add(push->worker->stat, status == 413 ? LP_STAT_DISCARD_BODY_TOO_LARGE : LP_STAT_DISCARD_BAD_BODY, 1);
	reply_error(push, status, text);
}

static void too_large(struct lp_push *push)
{
	char text[128];

	snprintf(text, sizeof text, "request body too large: more than %lld bytes (ingest.max_body_bytes)",
		 (long long)lp_worker_conf(push->worker)->ingest.max_body_bytes);
	refuse(push, 413, text);
}

static void disk_full(struct lp_push *push)
{
	give_up(push, 507, 10, "the disk is full: pushes are refused until there is room (storage.min_free_bytes)");
}

/* False when pushes can be taken; else it has answered. */
static bool out_of_service(struct lp_push *push)
{
	uint32_t flags = atomic_load_explicit(&push->worker->state->flags, memory_order_acquire);

	if (flags & LP_STATE_DISK_FULL)
		disk_full(push);
	else if (flags & LP_STATE_WAL_FAILED)
		give_up(push, 503, 5, "the write-ahead log cannot be written, see the server's log");
	else if (!(flags & LP_STATE_READY))
		give_up(push, 503, 1, "starting: recovery is not over");
	else
		return false;
	return true;
}

/* ---- decoding ----------------------------------------------------------------------------------- */

static void fill_limits(const struct lp_conf *conf, struct lp_push_limits *limits)
{
	int64_t now = lp_clock_real_ns();

	*limits = (struct lp_push_limits){
		.max_line_bytes = (uint32_t)conf->limits.max_line_size,
		.truncate_lines = conf->limits.max_line_size_truncate,
		.max_label_names = (uint32_t)conf->limits.max_label_names_per_series,
		.max_label_name_bytes = (uint32_t)conf->limits.max_label_name_length,
		.max_label_value_bytes = (uint32_t)conf->limits.max_label_value_length,
		.max_metadata_bytes = (uint32_t)conf->limits.max_structured_metadata_size,
		.max_metadata_entries = (uint32_t)conf->limits.max_structured_metadata_entries_count,
		.oldest_ns = INT64_MIN,
		.newest_ns = INT64_MAX,
		.now_ns = now,
		.unknown_service = conf->limits.discover_service_name.n > 0,
	};
	if (conf->storage.retention_days > 0)
		limits->oldest_ns = now - conf->storage.retention_days * LP_NS_PER_DAY;
	if (conf->ingest.max_age > 0 && now - conf->ingest.max_age * LP_NS_PER_MS > limits->oldest_ns)
		limits->oldest_ns = now - conf->ingest.max_age * LP_NS_PER_MS;
	if (conf->limits.reject_old_samples && now - conf->limits.reject_old_samples_max_age * LP_NS_PER_MS > limits->oldest_ns)
		limits->oldest_ns = now - conf->limits.reject_old_samples_max_age * LP_NS_PER_MS;
	if (conf->ingest.max_future > 0)
		limits->newest_ns = now + conf->ingest.max_future * LP_NS_PER_MS;
	if (conf->limits.creation_grace_period > 0 && now + conf->limits.creation_grace_period * LP_NS_PER_MS < limits->newest_ns)
		limits->newest_ns = now + conf->limits.creation_grace_period * LP_NS_PER_MS;
}

static const char *corrupt_text(enum lp_content_encoding encoding, const h2o_iovec_t *body)
{
	switch (encoding) {
	case LP_ENC_GZIP:
		return body->len >= 2 && memcmp(body->base, "\x1f\x8b", 2) != 0 ? "gzip: invalid header" : "gzip: invalid body";
	case LP_ENC_DEFLATE:
		return "deflate: invalid body";
	case LP_ENC_ZSTD:
		return "zstd: invalid body";
	case LP_ENC_SNAPPY:
	case LP_ENC_IDENTITY:
		break;
	}
	return "snappy: corrupt input";
}

/* 0, or it has answered. */
static int undo(struct lp_push *push, enum lp_content_encoding encoding, h2o_iovec_t *body, struct lp_buf *to)
{
	size_t max = (size_t)lp_worker_conf(push->worker)->ingest.max_body_bytes;
	int r = lp_content_decode(encoding, body->base, body->len, max, to);

	if (r == -E2BIG)
		too_large(push);
	else if (r == -ENOMEM)
		give_up(push, 503, 1, "out of memory");
	else if (r < 0)
		refuse(push, 400, corrupt_text(encoding, body));
	else
		*body = h2o_iovec_init(to->data ? (char *)to->data : "", to->len);
	return r;
}

static void shrink(struct lp_buf *buf)
{
	if (buf->cap > KEEP_BUFFER_BYTES)
		lp_buf_free(buf);
}

static void take_result(struct lp_push *push, const struct lp_push_result *result)
{
	struct lp_worker *worker = push->worker;

	push->status = result->status;
	push->accepted = result->accepted;
	push->text_bytes = lp_batch_text_bytes(worker->push.batch);
	if (result->status >= 400)
		push->message = h2o_strdup(&push->req->pool, (const char *)result->message.data, result->message.len);
	for (int i = 0; i < LP_DISCARD_REASONS; i++)
		if (result->discarded[i])
			lp_stat_add(worker->stat, LP_STAT_DISCARD_LINE_TOO_LONG + i, result->discarded[i]);
	if (result->status >= 400 && result->status != 429 && !result->accepted)
		lp_stat_add(worker->stat, LP_STAT_DISCARD_BAD_BODY, 1);
}

/* True: the tenant's rate is used up, and it has answered. */
static bool over_rate(struct lp_push *push)
{
	struct lp_batch *batch = push->worker->push.batch;
	char text[512];

	if (lp_rates_take(push->worker, push->tenant, lp_batch_entries(batch), lp_batch_text_bytes(batch) + lp_batch_metadata_bytes(batch), text,
			  sizeof text))
		return false;
	lp_batch_reset(batch);
	push->accepted = 0;
	give_up(push, 429, RATE_RETRY_SECONDS, text);
	return true;
}

/* 1: entries are in the batch and have to be stored; 0: it has answered. */
static int decode(struct lp_push *push)
{
	struct lp_pushes *p = &push->worker->push;
	h2o_iovec_t body = push->req->entity;
	struct lp_push_limits limits;
	int r;

	if (!body.base)
		body = h2o_iovec_init("", 0);
	if (push->encoding != LP_ENC_IDENTITY && undo(push, push->encoding, &body, &p->plain) < 0)
		return 0;
	if (push->format == LP_PUSH_LOKI_PROTO && undo(push, LP_ENC_SNAPPY, &body, &p->block) < 0)
		return 0;
	fill_limits(lp_worker_conf(push->worker), &limits);
	limits.otlp = lp_otlp_rules(push->worker->otlp);
	lp_rates_of_streams(push->worker, &limits);
	lp_batch_reset(p->batch);
	lp_buf_reset(&p->result.message);
	memset(p->result.discarded, 0, sizeof p->result.discarded);
	p->result.status = 0;
	p->result.accepted = 0;
	r = lp_push_decode(push->format, body.base, body.len, push->tenant.base, push->tenant.len, &limits, p->batch, &p->result);
	shrink(&p->plain);
	shrink(&p->block);
	if (r < 0) {
		lp_batch_reset(p->batch);
		if (r == -E2BIG)
			refuse(push, 413, "the push does not fit into the ring: send smaller batches or raise ingest.lane_bytes");
		else
			give_up(push, 503, 1, "out of memory");
		return 0;
	}
	take_result(push, &p->result);
	if (!lp_batch_entries(p->batch)) {
		lp_batch_reset(p->batch);
		answer(push);
		return 0;
	}
	if (over_rate(push))
		return 0;
	push->decoded = true;
	lp_k8s_pushed(push->worker, p->batch);
	return 1;
}

/* ---- the lane ----------------------------------------------------------------------------------- */

/* What could be answered now cannot be trusted: nothing of it was acknowledged, and the master starts anew with another region. */
static _Noreturn void region_broken(const struct lp_worker *worker)
{
	lp_log(LP_FATAL, "ring: its ends contradict each other, exiting worker=%u", worker->proc->worker);
	_exit(LP_EXIT_REGION);
}

/* A tail beyond what this worker published would acknowledge what nobody stored. */
static uint64_t checked_tail(const struct lp_worker *worker, uint64_t tail)
{
	const struct lp_lane *lane = worker->push.lane;

	if (lp_lane_head(lane) - tail > lp_lane_capacity(lane))
		region_broken(worker);
	return tail;
}

/* Publish the decoded push: 0 and it is in `committing`, or answered; -ENOBUFS no room now. */
static int publish(struct lp_push *push)
{
	struct lp_worker *worker = push->worker;
	struct lp_pushes *p = &worker->push;
	uint32_t len = lp_batch_encoded_bytes(p->batch);
	uint64_t pos;
	void *to;
	int r;

	LP_FAULT("worker-reserve");
	r = lp_lane_reserve(p->lane, len, &to, &pos);
	if (r == -ENOBUFS)
		return r;
	if (r == -EBADMSG)
		region_broken(worker);
	if (r < 0) {
		refuse(push, 413, "the push does not fit into the ring: send smaller batches or raise ingest.lane_bytes");
		return 0;
	}
	LP_FAULT("worker-encode");
	lp_batch_encode(p->batch, to, lp_region_epoch(worker->proc->region), (uint16_t)worker->proc->worker, pos);
	lp_lane_commit(p->lane, len);
	LP_FAULT("worker-commit");
	unlink_push(push);
	push->end_pos = pos + len;
	if (worker->sampler.on)
		push->published_ns = lp_clock_mono_ns();
	h2o_linklist_insert(&p->committing, &push->link);
	return 0;
}

/* Answer what is committed, then publish what waited for room. */
static void advance(struct lp_worker *worker, uint64_t tail)
{
	struct lp_pushes *p = &worker->push;
	struct lp_push *push;

	while ((push = first(&p->committing)) && push->end_pos <= tail)
		answer(push);
	while ((push = first(&p->waiting))) {
		if (!push->decoded && !decode(push))
			continue;
		if (publish(push) == -ENOBUFS)
			break;
	}
}

void lp_push_progress(struct lp_worker *worker)
{
	struct lp_pushes *p = &worker->push;
	uint64_t tail = checked_tail(worker, lp_lane_tail(p->lane)), after;

	for (;;) {
		advance(worker, tail);
		p->armed = lp_push_pending(worker);
		if (!p->armed)
			return;
		/* Ask first, look again after: the tail cannot move unseen between the two. */
		after = checked_tail(worker, lp_lane_wait_tail(p->lane));
		if (after == tail)
			return;
		tail = after;
	}
}

static void enqueue(struct lp_push *push)
{
	struct lp_worker *worker = push->worker;
	struct lp_pushes *p = &worker->push;
	size_t bytes = push->req->entity.len;

	if (p->waiting_bytes + bytes > (uint64_t)lp_worker_conf(worker)->ingest.max_pending_bytes) {
		lp_stat_add(worker->stat, LP_STAT_INGEST_TIMEOUT, 1);
		give_up(push, 503, 1, "too many pushes are waiting to be stored (ingest.max_pending_bytes)");
		return;
	}
	lp_stat_add(worker->stat, LP_STAT_PUSH_LANE_FULL, 1);
	push->waiting_bytes = bytes;
	p->waiting_bytes += bytes;
	h2o_linklist_insert(&p->waiting, &push->link);
}

static void start(struct lp_worker *worker, h2o_req_t *req, enum lp_push_format format, enum lp_content_encoding encoding)
{
	struct lp_pushes *p = &worker->push;
	struct lp_push *push;
	h2o_iovec_t tenant;

	if (!lp_tenant(worker, req, &tenant))
		return;
	push = h2o_mem_alloc_shared(&req->pool, sizeof *push, on_dispose);
	memset(push, 0, sizeof *push);
	push->worker = worker;
	push->req = req;
	push->format = format;
	push->tenant = tenant;
	push->encoding = encoding;
	push->started_ns = lp_clock_mono_ns();
	push->deadline_ns = push->started_ns + lp_worker_conf(worker)->ingest.commit_timeout * LP_NS_PER_MS;
	worker->quiet_ticks = 0;
	worker->trimmed = false;
	lp_stat_add(worker->stat, LP_STAT_PUSH_REQUESTS, 1);
	lp_stat_add(worker->stat, LP_STAT_PUSH_BODY_BYTES, req->entity.len);
	if (req->entity.len > (size_t)lp_worker_conf(worker)->ingest.max_body_bytes) {
		too_large(push);
		return;
	}
	if (out_of_service(push))
		return;
	if (!h2o_linklist_is_empty(&p->waiting))
		enqueue(push);          /* no overtaking */
	else if (!decode(push))
		return;
	else if (publish(push) == -ENOBUFS)
		enqueue(push);
	lp_worker_hurry(worker);
	if (!p->armed)
		lp_push_progress(worker);
}

/* ---- requests ----------------------------------------------------------------------------------- */

/* The media type without parameters: 1 is `want`, 0 another one, -EINVAL present but empty; absent counts as `absent`. */
static int media_type(const h2o_req_t *req, const char *want, int absent)
{
	h2o_iovec_t v = lp_request_header(req, "content-type");
	const char *semi;
	size_t n;

	if (!v.base)
		return absent;
	semi = memchr(v.base, ';', v.len);
	n = semi ? (size_t)(semi - v.base) : v.len;
	while (n > 0 && (v.base[n - 1] == ' ' || v.base[n - 1] == '\t'))
		n--;
	if (n == 0)
		return -EINVAL;
	return strlen(want) == n && strncasecmp(v.base, want, n) == 0;
}

static void refuse_early(struct lp_worker *worker, h2o_req_t *req, int status, const char *text)
{
	lp_stat_add(worker->stat, LP_STAT_PUSH_REQUESTS, 1);
	lp_stat_add(worker->stat, LP_STAT_PUSH_REJECTED, 1);
	lp_stat_add(worker->stat, LP_STAT_DISCARD_BAD_BODY, 1);
	lp_reply_text(req, status, text);
}

static int content_encoding(struct lp_worker *worker, h2o_req_t *req, enum lp_content_encoding *ret)
{
	h2o_iovec_t v = lp_request_header(req, "content-encoding");
	char text[128];
	int r;

	*ret = LP_ENC_IDENTITY;
	if (!v.base)
		return 0;
	r = lp_content_encoding_parse(v.base, v.len, ret);
	if (r < 0) {
		snprintf(text, sizeof text, "Content-Encoding \"%.*s\" not supported", (int)(v.len < 64 ? v.len : 64), v.base);
		refuse_early(worker, req, 400, text);
	}
	return r;
}

void lp_push_ingest(struct lp_worker *worker, h2o_req_t *req, const char *name, size_t name_len)
{
	enum lp_push_format format = LP_PUSH_ORIGINAL_JSON;
	enum lp_content_encoding encoding;

	if (content_encoding(worker, req, &encoding) < 0)
		return;
	if (media_type(req, "application/msgpack", 0) == 1 || media_type(req, "application/x-msgpack", 0) == 1)
		format = LP_PUSH_ORIGINAL_MSGPACK;
	start(worker, req, format, encoding);
}

static void push_loki(struct lp_worker *worker, h2o_req_t *req, enum lp_push_format json_format)
{
	enum lp_content_encoding encoding;
	int json = media_type(req, "application/json", 0);

	if (json < 0) {
		refuse_early(worker, req, 400, "mime: no media type");
		return;
	}
	if (content_encoding(worker, req, &encoding) < 0)
		return;
	/* "snappy" names the block that a protobuf push is anyway. */
	if (!json && encoding == LP_ENC_SNAPPY)
		encoding = LP_ENC_IDENTITY;
	start(worker, req, json ? json_format : LP_PUSH_LOKI_PROTO, encoding);
}

void lp_push_loki(struct lp_worker *worker, h2o_req_t *req, const char *name, size_t name_len)
{
	push_loki(worker, req, LP_PUSH_LOKI_JSON);
}

void lp_push_prom(struct lp_worker *worker, h2o_req_t *req, const char *name, size_t name_len)
{
	push_loki(worker, req, LP_PUSH_PROM_JSON);
}

void lp_push_otlp(struct lp_worker *worker, h2o_req_t *req, const char *name, size_t name_len)
{
	enum lp_content_encoding encoding;

	bool json = media_type(req, "application/json", 0) == 1;

	if (!json && media_type(req, "application/x-protobuf", 0) != 1) {
		refuse_early(worker, req, 415, "content type not supported, send application/x-protobuf or application/json");
		return;
	}
	if (content_encoding(worker, req, &encoding) == 0)
		start(worker, req, json ? LP_PUSH_OTLP_JSON : LP_PUSH_OTLP_PROTO, encoding);
}

/* ---- time, open, close -------------------------------------------------------------------------- */

bool lp_push_pending(const struct lp_worker *worker)
{
	return !h2o_linklist_is_empty((h2o_linklist_t *)&worker->push.committing) ||
	       !h2o_linklist_is_empty((h2o_linklist_t *)&worker->push.waiting);
}

/* Lists are in order of arrival and so of deadlines. */
static void expire(struct lp_worker *worker, h2o_linklist_t *list, int64_t now_ns)
{
	bool full = atomic_load_explicit(&worker->state->flags, memory_order_acquire) & LP_STATE_DISK_FULL;
	struct lp_push *push;

	while ((push = first(list)) && (full || now_ns >= push->deadline_ns)) {
		if (full) {
			disk_full(push);
			continue;
		}
		lp_stat_add(worker->stat, LP_STAT_INGEST_TIMEOUT, 1);
		give_up(push, 503, 1, "the push could not be stored in time (ingest.commit_timeout); send it again");
	}
}

void lp_push_tick(struct lp_worker *worker, int64_t now_ns)
{
	struct lp_pushes *p = &worker->push;

	if (!lp_push_pending(worker))
		return;
	lp_push_progress(worker);
	expire(worker, &p->committing, now_ns);
	expire(worker, &p->waiting, now_ns);
}

int lp_push_open(struct lp_worker *worker)
{
	struct lp_pushes *p = &worker->push;
	size_t max;
	int r;

	h2o_linklist_init_anchor(&p->committing);
	h2o_linklist_init_anchor(&p->waiting);
	p->result.message.max = 16384;
	r = lp_lane_open(worker->proc->region, worker->proc->worker, &p->lane);
	if (r < 0)
		return r;
	max = lp_lane_capacity(p->lane);
	return lp_batch_open(max < LP_WALREC_MAX_BYTES ? max : LP_WALREC_MAX_BYTES, &p->batch);
}

void lp_push_close(struct lp_worker *worker)
{
	struct lp_pushes *p = &worker->push;

	lp_batch_close(&p->batch);
	lp_lane_close(&p->lane);
	lp_buf_free(&p->plain);
	lp_buf_free(&p->block);
	lp_buf_free(&p->result.message);
}
