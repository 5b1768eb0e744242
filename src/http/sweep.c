/* Time limits of connections.  h2o 2.2 has one deadline for idle time, head and body together and none for writing, so
 * h2o's is off and this looks at every connection twice a second: each phase has its own limit, and a transfer that
 * makes progress, however slow, is left alone.  A connection is never freed here: shutting the socket down makes h2o see
 * an end of file or a failed write, and h2o closes it.
 * It bounds the memory of bodies as well: h2o has a limit for one body, none for all.  And it makes room when no connection is left.
 * Process: worker, event loop. */
#include "http/worker.h"

#include "common/clock.h"

#include <linux/tcp.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

/* While no connection is left, after this long without a request, or in one body, a connection may be closed. */
#define CROWDED_IDLE_MS 1000
#define CROWDED_BODY_MS 5000

struct sweep {
	struct lp_worker *worker;
	int64_t now_ms;
};

uint64_t lp_sweep_acknowledged(h2o_socket_t *sock, bool *ret_pending)
{
	struct tcp_info info = { 0 };
	socklen_t len = sizeof info;

	/* bytes_written counts what h2o has queued; the kernel knows what has arrived. */
	*ret_pending = false;
	if (getsockopt(h2o_socket_get_fd(sock), IPPROTO_TCP, TCP_INFO, &info, &len) < 0)
		return 0;
	*ret_pending = info.tcpi_unacked > 0 || info.tcpi_notsent_bytes > 0;
	return info.tcpi_bytes_acked;
}

static enum lp_conn_phase phase_of(const h2o_req_t *req, h2o_socket_t *sock)
{
	if (req->version == 0)
		return req->timestamps.request_begin_at.tv_sec == 0 ? LP_CONN_IDLE : LP_CONN_HEAD;
	if (h2o_socket_is_writing(sock))
		return LP_CONN_WRITE;
	if (req->processed_at.at.tv_sec == 0)
		return LP_CONN_BODY;
	return LP_CONN_WAIT;
}

static int64_t limit_of(const struct lp_conf *conf, enum lp_conn_phase phase)
{
	switch (phase) {
	case LP_CONN_IDLE:
		return conf->server.idle_timeout;
	case LP_CONN_HEAD:
	case LP_CONN_BODY:
		return conf->server.read_timeout;
	case LP_CONN_WRITE:
		return conf->server.write_timeout;
	case LP_CONN_WAIT:
		break;
	}
	return INT64_MAX;               /* the handler has its own deadline */
}

static int look(h2o_req_t *req, void *arg)
{
	struct sweep *sweep = arg;
	h2o_socket_t *sock = req->conn->callbacks->get_socket(req->conn);
	struct lp_conn *conn = sock->on_close.data;
	enum lp_conn_phase phase = phase_of(req, sock);
	uint64_t progress = 0;
	bool pending;

	/* A head trickling in byte by byte is no progress, only another request's head is. */
	if (phase == LP_CONN_HEAD)
		progress = (uint64_t)req->timestamps.request_begin_at.tv_sec * 1000000 +
			   (uint64_t)req->timestamps.request_begin_at.tv_usec;
	else if (phase == LP_CONN_BODY)
		progress = sock->input->size;   /* bytes_read is only that of the last read */
	else if (phase == LP_CONN_WRITE)
		progress = lp_sweep_acknowledged(sock, &pending);
	else
		progress = conn->requests;
	if (phase != conn->phase || conn->requests != conn->phase_requests) {
		conn->phase_requests = conn->requests;
		conn->phase_ms = sweep->now_ms;
	}
	if (phase != conn->phase || progress != conn->progress) {
		conn->phase = phase;
		conn->progress = progress;
		conn->since_ms = sweep->now_ms;
	}
	if (!conn->cut && sweep->now_ms - conn->since_ms >= limit_of(lp_worker_conf(sweep->worker), phase)) {
		conn->cut = true;
		if (phase != LP_CONN_IDLE)
			lp_stat_add(sweep->worker->stat, LP_STAT_HTTP_CONNECTIONS_CUT, 1);
		shutdown(h2o_socket_get_fd(sock), phase == LP_CONN_WRITE ? SHUT_RDWR : SHUT_RD);
	}
	return 0;
}

void lp_sweep(struct lp_worker *worker, int64_t now_ms)
{
	struct sweep sweep = { worker, now_ms };

	worker->conf.http1.callbacks.foreach_request(&worker->ctx, look, &sweep);
}

/* ---- memory of bodies ---- */

struct bodies {
	struct lp_worker *worker;
	uint64_t bytes, at_least;       /* held; cut those that hold this much */
	size_t n;
	uint64_t excess;                /* to be given back */
};

static bool receives(const h2o_req_t *req, h2o_socket_t *sock)
{
	return phase_of(req, sock) == LP_CONN_BODY && !((struct lp_conn *)sock->on_close.data)->cut;
}

static int add_body(h2o_req_t *req, void *arg)
{
	h2o_socket_t *sock = req->conn->callbacks->get_socket(req->conn);
	struct bodies *bodies = arg;

	if (receives(req, sock)) {
		bodies->bytes += sock->input->size;
		bodies->n++;
	}
	return 0;
}

static int cut_body(h2o_req_t *req, void *arg)
{
	static const char text[] = "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 1\r\n"
				   "Content-Type: " LP_TEXT "\r\nContent-Length: 64\r\n\r\n"
				   "too many bodies are being received now (server.max_body_memory)\n";
	h2o_socket_t *sock = req->conn->callbacks->get_socket(req->conn);
	struct lp_conn *conn = sock->on_close.data;
	struct bodies *bodies = arg;

	if (!bodies->excess || !receives(req, sock) || sock->input->size < bodies->at_least)
		return 0;
	bodies->excess -= sock->input->size < bodies->excess ? sock->input->size : bodies->excess;
	conn->cut = true;
	lp_stat_add(bodies->worker->stat, LP_STAT_HTTP_CONNECTIONS_CUT, 1);
	/* h2o cannot answer before it has the body.  Nothing else is being written on this connection; TLS just breaks off. */
	if (!sock->ssl)
		(void)send(h2o_socket_get_fd(sock), text, sizeof text - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
	shutdown(h2o_socket_get_fd(sock), SHUT_RD);
	return 0;
}

/* Anybody may send a body, before the key is looked at.  Of those that are being received, ones of at least average size go
 * first, so that a small push passes between large ones. */
void lp_sweep_bodies(struct lp_worker *worker)
{
	uint64_t max = (uint64_t)lp_worker_conf(worker)->server.max_body_memory;
	struct bodies bodies = { .worker = worker };

	worker->conf.http1.callbacks.foreach_request(&worker->ctx, add_body, &bodies);
	worker->bodies_high = bodies.bytes > max / 2;
	if (worker->bodies_high)
		lp_worker_hurry(worker);
	if (bodies.bytes <= max)
		return;
	bodies.excess = bodies.bytes - max;
	bodies.at_least = bodies.bytes / bodies.n;
	worker->conf.http1.callbacks.foreach_request(&worker->ctx, cut_body, &bodies);
}

/* ---- room for others ---- */

struct crowd {
	struct lp_worker *worker;
	int64_t now_ms, at_least_ms;    /* cut those that are overdue for that long */
	int64_t sum_ms;
	size_t n, excess;               /* found; to be cut */
};

/* How much longer than others should have to wait for it the connection has had nothing to do, or a body to send; < 0: not. */
static int64_t overdue_ms(const struct crowd *crowd, const h2o_req_t *req, h2o_socket_t *sock)
{
	const struct lp_conn *conn = sock->on_close.data;
	enum lp_conn_phase phase = phase_of(req, sock);

	if (conn->cut || phase != conn->phase)
		return -1;
	if (phase == LP_CONN_IDLE || phase == LP_CONN_HEAD)
		return crowd->now_ms - conn->since_ms - CROWDED_IDLE_MS;
	return phase == LP_CONN_BODY ? crowd->now_ms - conn->phase_ms - CROWDED_BODY_MS : -1;
}

static int add_overdue(h2o_req_t *req, void *arg)
{
	struct crowd *crowd = arg;
	int64_t overdue = overdue_ms(crowd, req, req->conn->callbacks->get_socket(req->conn));

	if (overdue >= 0) {
		crowd->sum_ms += overdue;
		crowd->n++;
	}
	return 0;
}

static int cut_overdue(h2o_req_t *req, void *arg)
{
	h2o_socket_t *sock = req->conn->callbacks->get_socket(req->conn);
	struct crowd *crowd = arg;

	if (!crowd->excess || overdue_ms(crowd, req, sock) < crowd->at_least_ms)
		return 0;
	crowd->excess--;
	((struct lp_conn *)sock->on_close.data)->cut = true;
	lp_stat_add(crowd->worker->stat, LP_STAT_HTTP_CONNECTIONS_CUT, 1);
	shutdown(h2o_socket_get_fd(sock), SHUT_RD);
	return 0;
}

/* No connection is left: whoever holds some without asking for anything, or drips bodies, must not keep others out until a timeout.  An
 * eighth goes at a time, of those that are overdue for longer than the average. */
void lp_sweep_crowd(struct lp_worker *worker, int64_t now_ms)
{
	struct crowd crowd = { .worker = worker, .now_ms = now_ms };

	worker->conf.http1.callbacks.foreach_request(&worker->ctx, add_overdue, &crowd);
	if (!crowd.n)
		return;
	crowd.at_least_ms = crowd.sum_ms / (int64_t)crowd.n;
	crowd.excess = (size_t)lp_worker_conf(worker)->server.max_connections / 8 + 1;
	worker->conf.http1.callbacks.foreach_request(&worker->ctx, cut_overdue, &crowd);
}

/* ---- shutting down ---- */

static int drain_one(h2o_req_t *req, void *arg)
{
	h2o_socket_t *sock = req->conn->callbacks->get_socket(req->conn);

	/* Keep-alive was decided when the head was read, maybe before the shutdown began. */
	if (req->version != 0)
		req->http1_is_persistent = 0;
	else if (sock->input->size == 0)
		shutdown(h2o_socket_get_fd(sock), SHUT_RD);
	return 0;
}

void lp_sweep_drain(struct lp_worker *worker)
{
	worker->conf.http1.callbacks.foreach_request(&worker->ctx, drain_one, worker);
}
