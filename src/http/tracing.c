/* Spans of requests (tracing.*).  Guarantees: off costs one branch a request; a span is put into the shared ring when its
 * request is over, which never waits, and one that finds no room is counted and forgotten.
 * Process: worker, event loop.  If it dies, the spans of its open requests do not exist. */
#include "http/worker.h"

#include "common/clock.h"
#include "shm/spans.h"

#include <string.h>

void lp_tracing_load(struct lp_worker *worker)
{
	lp_conf_sampler(lp_worker_conf(worker), &worker->sampler);
}

void lp_tracing_begin(struct lp_worker *worker, struct lp_conn *conn, const h2o_req_t *req)
{
	h2o_iovec_t v = lp_request_header(req, "traceparent");

	lp_trace_begin(&worker->sampler, v.base, v.len, &conn->trace);
}

const struct lp_trace *lp_request_trace(const h2o_req_t *req)
{
	h2o_socket_t *sock = req->conn->callbacks->get_socket(req->conn);
	const struct lp_conn *conn = sock ? sock->on_close.data : NULL;

	return conn && conn->trace.sampled ? &conn->trace : NULL;
}

static void put(struct lp_worker *worker, const struct lp_span *span)
{
	(void)lp_spans_put(worker->proc->region, worker->proc->slot, span);
}

static int64_t to_real_ns(int64_t mono_ns)
{
	return lp_clock_real_ns() - (lp_clock_mono_ns() - mono_ns);
}

static bool is(const char *path, const char *what)
{
	return strcmp(path, what) == 0;
}

static enum lp_span_name name_of(const char *path)
{
	if (is(path, "/loki/api/v1/push") || is(path, "/api/prom/push") || is(path, "/otlp/v1/logs") || is(path, "/ingest"))
		return LP_SPAN_PUSH;
	if (is(path, "/stream") || is(path, "/loki/api/v1/tail"))
		return LP_SPAN_TAIL;
	if (is(path, "/query") || strncmp(path, "/labels", 7) == 0 || strncmp(path, "/loki/api/v1/", 13) == 0)
		return LP_SPAN_QUERY;
	return LP_SPAN_HTTP;
}

void lp_tracing_end(struct lp_worker *worker, struct lp_conn *conn, const h2o_req_t *req)
{
	struct lp_span span = { .id = conn->trace.id, .error = req->res.status >= 500 };
	unsigned methods;
	const char *path = lp_route_path(conn->route, &methods);

	conn->trace.sampled = false;
	if (!path || is(path, "/health") || is(path, "/ready") || strncmp(path, "/metrics", 8) == 0)
		return;                 /* probes and scrapes would be most of all traces */
	memcpy(span.parent, conn->trace.parent, sizeof span.parent);
	span.name = (uint8_t)name_of(path);
	if (span.name == LP_SPAN_TAIL && req->res.status == 101)
		return;                 /* it has only begun */
	span.end_ns = lp_clock_real_ns();
	span.start_ns = to_real_ns(conn->started_ns);
	lp_span_attr(&span, LP_ATTR_STATUS_CODE, req->res.status);
	lp_span_text(&span, path, strlen(path));
	put(worker, &span);
}

void lp_tracing_push(struct lp_worker *worker, const h2o_req_t *req, int64_t started_ns, int64_t published_ns, int64_t lines,
		     int64_t bytes)
{
	const struct lp_trace *trace = lp_request_trace(req);
	int64_t now_ns = lp_clock_mono_ns();
	struct lp_span span;
	uint64_t number;

	if (!trace)
		return;
	span = lp_span_child(trace, LP_SPAN_DECODE, started_ns, published_ns);
	lp_span_attr(&span, LP_ATTR_LINES, lines);
	lp_span_attr(&span, LP_ATTR_BYTES, bytes);
	put(worker, &span);
	/* The newest commit covers the push; mostly it is the one that it waited for. */
	number = atomic_load_explicit(&worker->state->commits, memory_order_acquire);
	span = lp_span_child(trace, LP_SPAN_COMMIT_WAIT, published_ns, now_ns);
	lp_span_attr(&span, LP_ATTR_COMMIT, (int64_t)number);
	lp_trace_commit(lp_region_epoch(worker->proc->region), number, &span.link);
	if (!lp_sampler_takes(&worker->sampler, span.link.trace))
		span.link = (struct lp_trace_id){ .trace = { 0 } };
	put(worker, &span);
}

void lp_tracing_tail(struct lp_worker *worker, const struct lp_tail_trace *tail, const char *route)
{
	struct lp_span span = { .id = tail->trace.id, .name = LP_SPAN_TAIL, .error = tail->error };

	memcpy(span.parent, tail->trace.parent, sizeof span.parent);
	span.end_ns = lp_clock_real_ns();
	span.start_ns = to_real_ns(tail->started_ns);
	lp_span_attr(&span, LP_ATTR_STATUS_CODE, 101);
	lp_span_attr(&span, LP_ATTR_LINES, (int64_t)tail->sent);
	lp_span_attr(&span, LP_ATTR_LINES_DROPPED, (int64_t)tail->dropped);
	lp_span_text(&span, route, strlen(route));
	put(worker, &span);
}
