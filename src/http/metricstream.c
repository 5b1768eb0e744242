/* /metrics/stream: the metrics as server-sent events (HTML, section 9.2), unnamed ones, so that onmessage gets them.
 * Guarantees: a client holds at most one event that is being sent; what it is too slow for is left out, and one that takes
 * nothing at all is cut by the sweep like every client (server.write_timeout).  An event is rendered once for all clients
 * whose turn it is.  When the server stops, or the key changes, every stream ends with a whole event.
 * Process: worker, event loop.  If it dies, the browser connects again by itself. */
#include "http/worker.h"

#include "common/clock.h"
#include "http/params.h"

#include <string.h>

#define FRESH_NS (200 * LP_NS_PER_MS)
#define SHORTEST_NS (500 * LP_NS_PER_MS)
#define LONGEST_NS (60 * LP_NS_PER_SEC)

struct event {
	size_t len;
	char text[];
};

struct stream {
	h2o_generator_t super;
	h2o_linklist_t link;
	struct lp_worker *worker;
	h2o_req_t *req;
	struct event *sending;          /* shared memory of h2o, a reference; NULL between events */
	int64_t interval_ns, next_ns;
	bool ending, ended;
};

static void release_event(struct event **event)
{
	if (*event)
		h2o_mem_release_shared(*event);
	*event = NULL;
}

static void on_dispose(void *p)
{
	struct stream *stream = p;

	if (h2o_linklist_is_linked(&stream->link)) {
		h2o_linklist_unlink(&stream->link);
		stream->worker->metric_streams.n--;
	}
	release_event(&stream->sending);
}

static void on_proceed(h2o_generator_t *self, h2o_req_t *req)
{
	release_event(&((struct stream *)self)->sending);
}

/* Every line of the text behind "data: "; an empty line ends the event. */
static struct event *render(struct lp_worker *worker)
{
	struct lp_buf text = LP_BUF_INIT, out = LP_BUF_INIT;
	struct event *event = NULL;

	lp_metrics_write(worker, &text, false);
	for (const char *p = (const char *)text.data, *end = p + text.len; p && p < end;) {
		const char *newline = memchr(p, '\n', (size_t)(end - p));
		size_t n = newline ? (size_t)(newline - p) + 1 : (size_t)(end - p);

		lp_buf_str(&out, "data: ");
		lp_buf_append(&out, p, n);
		p += n;
	}
	lp_buf_byte(&out, '\n');
	if (!text.failed && !out.failed) {
		event = h2o_mem_alloc_shared(NULL, sizeof *event + out.len, NULL);
		event->len = out.len;
		memcpy(event->text, out.data, out.len);
	}
	lp_buf_free(&text);
	lp_buf_free(&out);
	return event;
}

static void send_event(struct stream *stream, int64_t now_ns)
{
	struct lp_metric_streams *all = &stream->worker->metric_streams;
	struct event *event = all->event;
	h2o_iovec_t buf;

	stream->next_ns += stream->interval_ns;
	if (stream->next_ns <= now_ns)
		stream->next_ns = now_ns + stream->interval_ns;
	if (stream->sending)
		return;                 /* too slow for this one */
	if (!event || now_ns - all->rendered_ns >= FRESH_NS) {
		event = render(stream->worker);
		if (!event)
			return;         /* no memory now; another time */
		release_event((struct event **)&all->event);
		all->event = event;
		all->rendered_ns = now_ns;
	}
	h2o_mem_addref_shared(event);
	stream->sending = event;
	buf = h2o_iovec_init(event->text, event->len);
	h2o_send(stream->req, &buf, 1, H2O_SEND_STATE_IN_PROGRESS);
}

static void end_stream(struct stream *stream)
{
	stream->ended = true;
	stream->req->http1_is_persistent = 0;
	h2o_send(stream->req, NULL, 0, H2O_SEND_STATE_FINAL);
}

void lp_metricstream_tick(struct lp_worker *worker, int64_t now_ns)
{
	h2o_linklist_t *anchor = &worker->metric_streams.list, *next;

	/* Sending may dispose of the stream, but of no other one. */
	for (h2o_linklist_t *node = anchor->next; node != anchor; node = next) {
		struct stream *stream = H2O_STRUCT_FROM_MEMBER(struct stream, link, node);

		next = node->next;
		if (stream->ended)
			continue;
		if (worker->draining || stream->ending) {
			if (!stream->sending)
				end_stream(stream);
		} else if (now_ns >= stream->next_ns) {
			send_event(stream, now_ns);
		}
	}
	if (h2o_linklist_is_empty(anchor))
		release_event((struct event **)&worker->metric_streams.event);
}

bool lp_metricstream_pending(const struct lp_worker *worker)
{
	return !h2o_linklist_is_empty((h2o_linklist_t *)&worker->metric_streams.list);
}

void lp_metricstream_revoke(struct lp_worker *worker)
{
	h2o_linklist_t *anchor = &worker->metric_streams.list;

	for (h2o_linklist_t *node = anchor->next; node != anchor; node = node->next)
		H2O_STRUCT_FROM_MEMBER(struct stream, link, node)->ending = true;
}

void lp_metricstream_open(struct lp_worker *worker)
{
	h2o_linklist_init_anchor(&worker->metric_streams.list);
}

void lp_metricstream_close(struct lp_worker *worker)
{
	release_event((struct event **)&worker->metric_streams.event);
}

/* 0, or it has answered. */
static int read_interval(struct lp_worker *worker, h2o_req_t *req, int64_t *ret_ns)
{
	int64_t def_ns = lp_worker_conf(worker)->metrics.stream_interval * LP_NS_PER_MS;
	struct lp_buf error = { .max = 4096 };
	struct lp_form form = LP_FORM_INIT;
	int r;

	if (lp_request_form(worker, req, &form) < 0)
		return -1;
	r = lp_param_seconds(lp_form_get(&form, "interval"), def_ns, ret_ns, &error);
	if (r < 0)
		lp_reply_text(req, 400, lp_buf_cstr(&error));
	else if (*ret_ns < SHORTEST_NS || *ret_ns > LONGEST_NS) {
		lp_reply_text(req, 400, "interval: from 500ms to 60s");
		r = -1;
	}
	lp_buf_free(&error);
	lp_form_free(&form);
	return r;
}

void lp_metricstream_start(struct lp_worker *worker, h2o_req_t *req, const char *name, size_t name_len)
{
	struct stream *stream;
	int64_t interval_ns;

	if (!lp_worker_conf(worker)->metrics.enabled) {
		lp_reply_text(req, 404, "metrics are switched off (metrics.enabled)");
		return;
	}
	if (read_interval(worker, req, &interval_ns) < 0)
		return;
	if (worker->metric_streams.n >= (size_t)lp_worker_conf(worker)->metrics.max_streams || worker->draining) {
		lp_reply_retry(req, 503, 10, "too many metric streams are open (metrics.max_streams)");
		return;
	}
	stream = h2o_mem_alloc_shared(&req->pool, sizeof *stream, on_dispose);
	*stream = (struct stream){ .super = { on_proceed, NULL }, .worker = worker, .req = req, .interval_ns = interval_ns };
	req->res.status = 200;
	req->res.reason = lp_status_reason(200);
	lp_header(req, "content-type", "text/event-stream; charset=utf-8");
	lp_header(req, "cache-control", "no-cache");
	lp_header(req, "x-accel-buffering", "no");      /* nginx in front would hold events back */
	if (req->version < 0x101)
		req->http1_is_persistent = 0;
	h2o_start_response(req, &stream->super);
	if (lp_is_head(req)) {
		h2o_send(req, NULL, 0, H2O_SEND_STATE_FINAL);
		return;
	}
	h2o_linklist_insert(&worker->metric_streams.list, &stream->link);
	worker->metric_streams.n++;
	stream->next_ns = lp_clock_mono_ns();
	send_event(stream, stream->next_ns);
	lp_worker_hurry(worker);
}
