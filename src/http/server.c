/* Listening, TLS and connections.  Guarantees: connections are bounded by server.max_connections, running out of
 * descriptors pauses accepting instead of spinning, and every connection is counted from accept to close.
 * Process: worker.  The listening socket is the master's too, so what queues there survives this process. */
#include "http/worker.h"

#include "common/clock.h"
#include "common/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ACCEPTS_PER_WAKEUP 16
#define INPUT_BUFFER_BYTES (256 * 1024)         /* a typical push fits without growing: 4x at 64 KiB bodies */

/* ---- connections -------------------------------------------------------------------------------- */

static void on_close(void *data)
{
	struct lp_conn *conn = data;
	struct lp_worker *worker = conn->worker;

	worker->conns--;
	lp_stat_set(worker->stat, LP_STAT_HTTP_CONNECTIONS, worker->conns);
	if (worker->accept_paused)
		lp_server_accept(worker);
	free(conn);
}

static void pause_accepting(struct lp_worker *worker)
{
	worker->accept_paused = true;
	h2o_socket_read_stop(worker->listener);
	lp_worker_hurry(worker);
}

/* False when there is nothing (more) to accept now. */
static bool accept_one(struct lp_worker *worker)
{
	struct lp_conn *conn;
	h2o_socket_t *sock;

	if (worker->conns >= (size_t)lp_worker_conf(worker)->server.max_connections) {
		pause_accepting(worker);        /* the rest waits in the listen queue */
		return false;
	}
	sock = h2o_evloop_socket_accept(worker->listener);
	if (!sock) {
		/* The listener is level-triggered: without the pause this would spin until a descriptor is free. */
		if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
			pause_accepting(worker);
		return false;
	}
	conn = calloc(1, sizeof *conn);
	if (!conn) {
		h2o_socket_close(sock);
		return false;
	}
	conn->worker = worker;
	conn->since_ms = lp_clock_mono_ms();
	sock->on_close.cb = on_close;
	sock->on_close.data = conn;
	worker->conns++;
	lp_stat_set(worker->stat, LP_STAT_HTTP_CONNECTIONS, worker->conns);
	h2o_accept(&worker->accept, sock);
	return true;
}

static void on_accept(h2o_socket_t *listener, const char *err)
{
	struct lp_worker *worker = listener->data;

	if (err)
		return;
	for (int i = 0; i < ACCEPTS_PER_WAKEUP; i++)
		if (!accept_one(worker))
			break;
}

void lp_server_accept(struct lp_worker *worker)
{
	if (!worker->listener || !worker->accept_paused)
		return;
	worker->accept_paused = false;
	h2o_socket_read_start(worker->listener, on_accept);
}

void lp_server_stop_accepting(struct lp_worker *worker)
{
	if (!worker->listener)
		return;
	/* What is in the queue already would be reset when the last descriptor of the socket closes: take it. */
	while (!worker->accept_paused && accept_one(worker))
		;
	h2o_socket_read_stop(worker->listener);
	h2o_socket_close(worker->listener);
	worker->listener = NULL;
	worker->accept_paused = false;
}

/* ---- TLS ---------------------------------------------------------------------------------------- */

void lp_server_tls(struct lp_worker *worker)
{
	static const h2o_iovec_t alpn[] = { { H2O_STRLIT("http/1.1") }, { NULL, 0 } };

	if (worker->proc->tls)
		h2o_ssl_register_alpn_protocols(worker->proc->tls, alpn);
	worker->accept.ssl_ctx = worker->proc->tls;     /* connections keep their own reference to an older one */
}

/* ---- open, close -------------------------------------------------------------------------------- */

int lp_server_open(struct lp_worker *worker)
{
	const struct lp_conf *conf = lp_worker_conf(worker);
	h2o_hostconf_t *host;
	int fd, r;

	h2o_config_init(&worker->conf);
	worker->conf.server_name = h2o_iovec_init(H2O_STRLIT("logpulse"));
	/* h2o refuses chunked bodies of exactly the limit: give it one byte and a bit more, push.c checks again. */
	worker->conf.max_request_entity_size = (size_t)conf->ingest.max_body_bytes + 1;
	worker->conf.http1.upgrade_to_http2 = 0;
	worker->conf.http2.callbacks.request_shutdown = NULL;   /* it would leave a timer linked at the end */
	worker->conf.http1.req_timeout = UINT64_C(86400000) * 365;      /* one limit for head and body would be wrong: sweep.c */
	/* Above this size h2o moves bodies to a file in /tmp. */
	h2o_socket_buffer_mmap_settings.threshold = SIZE_MAX / 4;
	h2o_socket_buffer_prototype._initial_buf.capacity = INPUT_BUFFER_BYTES;

	host = h2o_config_register_host(&worker->conf, h2o_iovec_init(H2O_STRLIT("default")), 65535);
	lp_route_register(worker, h2o_config_register_path(host, "/", 0));
	worker->loop = h2o_evloop_create();
	h2o_context_init(&worker->ctx, worker->loop, &worker->conf);
	worker->accept.ctx = &worker->ctx;
	worker->accept.hosts = worker->conf.hosts;
	lp_server_tls(worker);
	fd = worker->proc->listen_fd;
	r = fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	if (r < 0)
		return -errno;
	worker->listener = h2o_evloop_socket_create(worker->loop, fd, H2O_SOCKET_FLAG_DONT_READ);
	worker->listener->data = worker;
	h2o_socket_read_start(worker->listener, on_accept);
	return 0;
}

/* Only when no connection is left: h2o asserts that. */
void lp_server_close(struct lp_worker *worker)
{
	h2o_multithread_queue_t *queue = worker->ctx.queue;

	h2o_context_dispose(&worker->ctx);
	h2o_evloop_run(worker->loop, 0);
	free(queue);                    /* h2o forgets it */
	h2o_evloop_destroy(worker->loop);
	h2o_config_dispose(&worker->conf);
	worker->accept.ssl_ctx = NULL;
}
