/* The worker process: one event loop.  Guarantees: after SIGTERM no request that was taken is dropped before
 * shutdown.http_timeout_seconds are over, then exit 0; a second SIGTERM ends it at once.  The slot's alive time is
 * renewed at least twice a second as long as the loop turns.
 * If it dies: its connections break; what its lane holds is committed all the same; the master starts another one on the
 * same listening socket, which takes the lane's positions from the region. */
#include "http/worker.h"

#include "http/otlp.h"

#include "common/clock.h"
#include "common/log.h"
#include "store/map.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define TICK_MS 500
#define FAST_TICK_MS 100
#define TRIM_AFTER_TICKS 20

/* ---- the clock ---------------------------------------------------------------------------------- */

/* A timerfd and not h2o's timers: those run on the wall clock, and a step of it must not stop the watchdog's sign. */
static void set_timer(struct lp_worker *worker, int ms)
{
	struct itimerspec spec = {
		.it_interval = { ms / 1000, ms % 1000 * 1000000L },
		.it_value = { ms / 1000, ms % 1000 * 1000000L },
	};

	(void)timerfd_settime(worker->timer_fd, 0, &spec, NULL);
}

void lp_worker_hurry(struct lp_worker *worker)
{
	if (worker->timer_fast)
		return;
	worker->timer_fast = true;
	set_timer(worker, FAST_TICK_MS);
}

/* With trimming off (see tune_malloc) memory of a burst is given back when pushes have stopped for a while. */
static void give_memory_back(struct lp_worker *worker)
{
	if (worker->trimmed || ++worker->quiet_ticks < TRIM_AFTER_TICKS)
		return;
	malloc_trim(0);
	lp_lane_trim(worker->push.lane);
	worker->trimmed = true;
}

static void count_h2o_refusals(struct lp_worker *worker)
{
	uint64_t n = worker->ctx.emitted_error_status[H2O_STATUS_ERROR_413];

	if (n > worker->h2o_413)
		lp_stat_add(worker->stat, LP_STAT_DISCARD_BODY_TOO_LARGE, n - worker->h2o_413);
	worker->h2o_413 = n;
}

static void on_timer(h2o_socket_t *sock, const char *err)
{
	struct lp_worker *worker = sock->data;
	int64_t now_ns = lp_clock_mono_ns(), now_ms = now_ns / LP_NS_PER_MS;

	h2o_buffer_consume(&sock->input, sock->input->size);
	lp_push_tick(worker, now_ns);
	lp_queries_tick(worker);
	lp_tails_tick(worker, now_ms);
	lp_status_tick(worker, now_ns);
	lp_metricstream_tick(worker, now_ns);
	if (worker->draining)
		lp_sweep_drain(worker);
	else if (worker->conns < (size_t)lp_worker_conf(worker)->server.max_connections)
		lp_server_accept(worker);       /* descriptors may be free again */
	else
		lp_sweep_crowd(worker, now_ms);
	lp_sweep_bodies(worker);
	if (now_ms - worker->swept_ms >= TICK_MS - FAST_TICK_MS / 2) {
		worker->swept_ms = now_ms;
		atomic_store_explicit(&worker->slot->alive_mono_ms, now_ms, memory_order_relaxed);
		lp_proc_follow_log_level(worker->proc);
		if (worker->query.catalog)
			lp_catalog_tick(worker->query.catalog);
		lp_sweep(worker, now_ms);
		count_h2o_refusals(worker);
		lp_rates_tick(worker);
		give_memory_back(worker);
	}
	if (worker->timer_fast && !worker->draining && !worker->accept_paused && !worker->bodies_high && !lp_push_pending(worker) &&
	    !lp_queries_pending(worker) && !lp_status_pending(worker) && !lp_metricstream_pending(worker) &&
	    !lp_tails_pending(worker)) {
		worker->timer_fast = false;
		set_timer(worker, TICK_MS);
	}
}

/* ---- bells and signals -------------------------------------------------------------------------- */

static void on_bell(h2o_socket_t *sock, const char *err)
{
	h2o_buffer_consume(&sock->input, sock->input->size);
	lp_push_progress(sock->data);
}

static void begin_drain(struct lp_worker *worker)
{
	int64_t seconds = lp_worker_conf(worker)->shutdown.http_timeout_seconds;

	if (worker->draining) {
		worker->stop = true;
		return;
	}
	lp_log(LP_INFO, "draining connections=%zu timeout_seconds=%lld", worker->conns, (long long)seconds);
	lp_server_stop_accepting(worker);
	worker->draining = true;
	worker->drain_until_ms = lp_clock_mono_ms() + seconds * 1000;
	h2o_context_request_shutdown(&worker->ctx);
	lp_tails_drain(worker);
	lp_sweep_drain(worker);
	lp_worker_hurry(worker);
}

static void reload(struct lp_worker *worker)
{
	if (lp_proc_reload(worker->proc) < 0)
		return;                 /* it has said why; the old one stays */
	bool revoked = lp_auth_load(worker);

	if (lp_otlp_load(lp_worker_conf(worker), &worker->otlp, NULL) < 0) {
		lp_otlp_free(&worker->otlp);    /* it would outlive what it borrows */
		lp_log(LP_ERROR, "limits.otlp_config could not be loaded: out of memory; default attributes count");
	}
	lp_ratelimit_load(worker);
	lp_tracing_load(worker);
	lp_tails_reload(worker, revoked);
	if (revoked)
		lp_metricstream_revoke(worker);
	lp_server_tls(worker);
	lp_log(LP_INFO, "configuration reloaded");
}

static void on_signal(h2o_socket_t *sock, const char *err)
{
	struct lp_worker *worker = sock->data;
	struct signalfd_siginfo info;
	size_t off = 0;

	for (; sock->input->size - off >= sizeof info; off += sizeof info) {
		memcpy(&info, sock->input->bytes + off, sizeof info);
		switch (info.ssi_signo) {
		case SIGTERM:
		case SIGINT:
			begin_drain(worker);
			break;
		case SIGHUP:
			reload(worker);
			break;
		case SIGUSR1:
			(void)lp_log_reopen();
			break;
		default:
			break;
		}
	}
	h2o_buffer_consume(&sock->input, off);
}

static h2o_socket_t *watch(struct lp_worker *worker, int fd, h2o_socket_cb cb)
{
	h2o_socket_t *sock;

	/* A copy: h2o closes what it watches, and the original belongs to the region or to the caller. */
	fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (fd < 0)
		return NULL;
	sock = h2o_evloop_socket_create(worker->loop, fd, 0);
	sock->data = worker;
	h2o_socket_read_start(sock, cb);
	return sock;
}

/* ---- life --------------------------------------------------------------------------------------- */

/* Without these every large body costs page faults and two brk calls: 4x of the CPU time at 64 KiB. */
static void tune_malloc(void)
{
	mallopt(M_TRIM_THRESHOLD, 1 << 30);
	mallopt(M_MMAP_THRESHOLD, 32 << 20);
	mallopt(M_TOP_PAD, 1 << 20);
}

static int open_worker(struct lp_worker *worker)
{
	struct lp_proc *proc = worker->proc;
	int r;

	r = lp_region_check(proc->region);
	if (r < 0)
		return r;
	worker->state = lp_region_state(proc->region);
	worker->slot = lp_slot(proc->region, proc->slot);
	worker->stat = lp_stat_row(proc->region, proc->slot);
	lp_stat_set(worker->stat, LP_STAT_HTTP_CONNECTIONS, 0);
	h2o_linklist_init_anchor(&worker->flushes);
	lp_metricstream_open(worker);
	lp_ratelimit_load(worker);
	(void)lp_auth_load(worker);
	lp_tracing_load(worker);
	r = lp_k8s_open(worker);
	if (r < 0)
		return r;
	r = lp_otlp_load(lp_worker_conf(worker), &worker->otlp, NULL);
	if (r < 0)
		return r;
	r = lp_map_init();
	if (r < 0)
		return r;
	r = lp_server_open(worker);
	if (r < 0)
		return r;
	r = lp_push_open(worker);
	if (r < 0)
		return r;
	r = lp_queries_open(worker);
	if (r < 0)
		return r;
	r = lp_tails_open(worker);
	if (r < 0)
		return r;
	worker->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	if (worker->timer_fd < 0)
		return -errno;
	worker->timer = watch(worker, worker->timer_fd, on_timer);
	worker->signals = watch(worker, proc->signal_fd, on_signal);
	worker->bell = watch(worker, lp_region_worker_bell(proc->region, proc->worker), on_bell);
	if (!worker->timer || !worker->signals || !worker->bell)
		return -EMFILE;
	set_timer(worker, TICK_MS);
	atomic_store_explicit(&worker->slot->alive_mono_ms, lp_clock_mono_ms(), memory_order_relaxed);
	return 0;
}

static void run(struct lp_worker *worker)
{
	while (!worker->stop) {
		if (worker->draining && (worker->conns == 0 || lp_clock_mono_ms() >= worker->drain_until_ms))
			break;
		if (h2o_evloop_run(worker->loop, TICK_MS) != 0 && errno != EINTR) {
			lp_log(LP_FATAL, "event loop failed errno=%d", errno);
			break;
		}
	}
	lp_tails_stop(worker);
	lp_queries_close(worker);
	if (worker->conns > 0) {
		/* Out of time: h2o cannot be taken down around live connections, the system closes them. */
		lp_log(LP_WARN, "exiting with open connections connections=%zu", worker->conns);
		_exit(0);
	}
	lp_tails_close(worker);
	h2o_socket_close(worker->timer);
	h2o_socket_close(worker->signals);
	h2o_socket_close(worker->bell);
	close(worker->timer_fd);
	h2o_evloop_run(worker->loop, 0);
	lp_server_close(worker);
	lp_metricstream_close(worker);
	lp_ratelimit_close(worker);
	lp_k8s_close(worker);
	lp_push_close(worker);
	lp_otlp_free(&worker->otlp);
}

int lp_worker_main(struct lp_proc *proc)
{
	struct lp_worker *worker = calloc(1, sizeof *worker);
	char name[32];
	int r;

	if (!worker)
		return 1;
	snprintf(name, sizeof name, "worker-%u", proc->worker);
	lp_log_set_proc(name);
	signal(SIGPIPE, SIG_IGN);       /* h2o writes without MSG_NOSIGNAL */
	tune_malloc();
	worker->proc = proc;
	r = open_worker(worker);
	if (r < 0) {
		lp_log(LP_FATAL, "worker cannot start error=%s", strerror(-r));
		return r == -EBADMSG ? LP_EXIT_REGION : 1;
	}
	lp_log(LP_INFO, "worker ready tls=%s", worker->accept.ssl_ctx ? "on" : "off");
	run(worker);
	lp_log(LP_INFO, "worker stopped");
	free(worker);
	return 0;
}
