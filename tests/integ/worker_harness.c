/* One worker alone: the real event loop, lane and decoders; a writer thread that only moves the tail; and an engine that
 * does what the query text says.  tests/integ/05-worker.py drives it.  One process, so that sanitizers see everything.
 *
 * Query texts:  bytes N | cut N | wait | error STATUS TEXT | busy | params | cancelled | hold | release | spoil | flags N
 * hold and release stop and start the writer, spoil writes over the tail of the held lane, flags sets LP_STATE_*, cancelled tells how many queries were cancelled. */
#include "common/clock.h"
#include "common/log.h"
#include "master/proc.h"
#include "query/query.h"
#include "query/streams.h"
#include "query/tailhub.h"
#include "shm/lane.h"
#include "shm/region-private.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAX_THREADS 64

static struct lp_region *region;
static atomic_bool hold, stop_writer;
static atomic_int cancelled_total;

/* ---- the writer --------------------------------------------------------------------------------- */

static void *writer(void *arg)
{
	struct lp_lane *lane = arg;
	struct pollfd bell = { .fd = lp_region_writer_bell(region), .events = POLLIN };
	struct lp_state_shm *state = lp_region_state(region);

	while (!atomic_load(&stop_writer)) {
		const uint8_t *p;
		uint64_t pos, n = atomic_load(&hold) ? 0 : lp_lane_peek(lane, &p, &pos);

		atomic_store(&lp_slot(region, LP_SLOT_WRITER)->alive_mono_ms, lp_clock_mono_ms());
		atomic_store(&state->flush_done, atomic_load(&state->flush_requested));
		if (n > 0) {
			lp_lane_release(lane, pos + n);
			continue;
		}
		lp_gate_sleep(region);
		if (atomic_load(&hold) || lp_lane_peek(lane, &p, &pos) == 0)
			(void)poll(&bell, 1, 50);
		lp_gate_wake(region);
	}
	return NULL;
}

/* ---- the engine --------------------------------------------------------------------------------- */

struct lp_catalog {
	int unused;
};

struct lp_query {
	struct lp_query_sink sink;
	struct lp_query_stats stats;
	atomic_int refs;
	atomic_bool cancelled, over;
	char text[256];
	struct lp_query_params params;
};

struct lp_engine {
	pthread_mutex_t lock;
	pthread_t threads[MAX_THREADS];
	struct lp_query *queries[MAX_THREADS];
	unsigned n;
};

static struct lp_catalog the_catalog;

int lp_catalog_open(const char *data_dir, struct lp_region *r, uint32_t slot, struct lp_catalog **ret_catalog)
{
	*ret_catalog = &the_catalog;
	return 0;
}

void lp_catalog_close(struct lp_catalog **catalog)
{
	*catalog = NULL;
}

void lp_catalog_tick(struct lp_catalog *catalog)
{
}

int lp_streams_since(struct lp_catalog *catalog, int64_t since_ns, void (*each)(void *ctx, const uint8_t *labels, uint32_t len), void *ctx)
{
	return 0;
}

/* ---- no live tails here: every query for one is refused ------------------------------------------------ */

void lp_snapshot_release(struct lp_snapshot **snapshot)
{
	*snapshot = NULL;
}

int lp_tail_open(const struct lp_tail_spec *spec, struct lp_tail **ret_tail, struct lp_buf *error)
{
	lp_buf_str(error, "no tails in the harness");
	return -EINVAL;
}

void lp_tail_close(struct lp_tail **tail)
{
	*tail = NULL;
}

int lp_tailhub_open(const struct lp_tailhub_config *config, struct lp_tailhub **ret_hub)
{
	return -ENOTSUP;
}

void lp_tailhub_close(struct lp_tailhub **hub)
{
	*hub = NULL;
}

int lp_tailhub_add(struct lp_tailhub *hub, struct lp_tail *tail, void *group)
{
	return -ENOTSUP;
}

int lp_tailhub_join(struct lp_tailhub *hub, void *group, void *client, bool history)
{
	return -ENOTSUP;
}

int lp_tailhub_remove(struct lp_tailhub *hub, void *group)
{
	return -ENOTSUP;
}

void lp_tailhub_pace(struct lp_tailhub *hub, uint32_t ms)
{
}

int lp_engine_open(const struct lp_engine_config *config, struct lp_catalog *catalog, struct lp_engine **ret_engine)
{
	*ret_engine = calloc(1, sizeof **ret_engine);
	return *ret_engine ? 0 : -ENOMEM;
}

void lp_query_cancel(struct lp_query *query)
{
	atomic_store(&query->cancelled, true);
}

void lp_query_unref(struct lp_query **query)
{
	if (*query && atomic_fetch_sub(&(*query)->refs, 1) == 1)
		free(*query);
	*query = NULL;
}

const struct lp_query_stats *lp_query_stats(const struct lp_query *query)
{
	return &query->stats;
}

void lp_engine_close(struct lp_engine **engine)
{
	if (!*engine)
		return;
	for (unsigned i = 0; i < (*engine)->n; i++) {
		lp_query_cancel((*engine)->queries[i]);
		pthread_join((*engine)->threads[i], NULL);
		lp_query_unref(&(*engine)->queries[i]);
	}
	free(*engine);
	*engine = NULL;
}

static bool put(struct lp_query *query, const char *s, size_t n)
{
	return query->sink.write(query->sink.ctx, s, n) == 0;
}

static bool put_many(struct lp_query *query, size_t total)
{
	char piece[10007];

	for (size_t i = 0; i < sizeof piece; i++)
		piece[i] = (char)('a' + i % 23);
	while (total > 0) {
		size_t n = total < sizeof piece ? total : sizeof piece;

		if (!put(query, piece, n))
			return false;
		total -= n;
	}
	return true;
}

static bool answer_text(struct lp_query *query, int status, const char *type, const char *text)
{
	return query->sink.begin(query->sink.ctx, status, type) == 0 && put(query, text, strlen(text));
}

static bool wait_for_cancel(struct lp_query *query)
{
	while (!atomic_load(&query->cancelled))
		(void)poll(NULL, 0, 1);
	return false;
}

static bool params(struct lp_query *query)
{
	const struct lp_query_params *p = &query->params;
	char text[256];

	snprintf(text, sizeof text, "{\"kind\":%d,\"start\":%lld,\"end\":%lld,\"step\":%lld,\"limit\":%u,\"forward\":%d,\"matches\":%u}",
		 (int)p->kind, (long long)p->start_ns, (long long)p->end_ns, (long long)p->step_ns, p->limit, p->forward,
		 p->n_matches);
	return answer_text(query, 200, "application/json", text);
}

static bool execute(struct lp_query *query)
{
	const char *t = query->text, *json = "application/json; charset=UTF-8";
	char text[64];
	size_t bytes;
	int status, off = 0;

	if (sscanf(t, "bytes %zu", &bytes) == 1)
		return query->sink.begin(query->sink.ctx, 200, json) == 0 && put_many(query, bytes);
	if (sscanf(t, "cut %zu", &bytes) == 1) {
		(void)(query->sink.begin(query->sink.ctx, 200, json) == 0 && put_many(query, bytes));
		return false;
	}
	if (sscanf(t, "error %d %n", &status, &off) == 1 && off)
		return answer_text(query, status, "text/plain; charset=utf-8", t + off);
	if (strcmp(t, "wait") == 0)
		return wait_for_cancel(query);
	if (sscanf(t, "flags %d", &status) == 1)
		atomic_store(&lp_region_state(region)->flags, (uint32_t)status);
	else if (strcmp(t, "hold") == 0)
		atomic_store(&hold, true);
	else if (strcmp(t, "release") == 0)
		atomic_store(&hold, false);
	else if (strcmp(t, "spoil") == 0)
		atomic_fetch_add(&((struct lp_lane_shm *)lp_region_at(region, region->want.lanes_off, 0))->tail, 1 << 20);
	else if (strcmp(t, "cancelled") != 0)
		return params(query);
	lp_gate_ring(region);
	snprintf(text, sizeof text, "{\"cancelled\":%d}", atomic_load(&cancelled_total));
	return answer_text(query, 200, json, text);
}

static void *run_query(void *arg)
{
	struct lp_query *query = arg;
	bool complete = execute(query);

	query->stats.lines_scanned = 1;
	if (atomic_load(&query->cancelled))
		atomic_fetch_add(&cancelled_total, 1);
	query->sink.end(query->sink.ctx, complete);
	atomic_store(&query->over, true);
	lp_query_unref(&query);
	return NULL;
}

/* Only threads that are over: the loop must not wait for one that waits for the loop. */
static void reap(struct lp_engine *engine)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < engine->n; i++) {
		if (atomic_load(&engine->queries[i]->over)) {
			pthread_join(engine->threads[i], NULL);
			lp_query_unref(&engine->queries[i]);
			continue;
		}
		engine->threads[kept] = engine->threads[i];
		engine->queries[kept++] = engine->queries[i];
	}
	engine->n = kept;
}

int lp_engine_submit(struct lp_engine *engine, const struct lp_query_params *p, const struct lp_query_sink *sink,
		     struct lp_query **ret_query)
{
	struct lp_query *query;

	reap(engine);
	if (engine->n == MAX_THREADS || (p->text_len == 4 && memcmp(p->text, "busy", 4) == 0))
		return -EBUSY;
	query = calloc(1, sizeof *query);
	if (!query)
		return -ENOMEM;
	query->sink = *sink;
	query->params = *p;
	snprintf(query->text, sizeof query->text, "%.*s", (int)p->text_len, p->text ? p->text : "");
	atomic_init(&query->refs, 3);           /* caller, thread, engine */
	if (pthread_create(&engine->threads[engine->n], NULL, run_query, query) != 0) {
		free(query);
		return -ENOMEM;
	}
	engine->queries[engine->n++] = query;
	*ret_query = query;
	return 0;
}

/* ---- the process -------------------------------------------------------------------------------- */

int lp_proc_reload(struct lp_proc *proc)
{
	struct lp_conf_args args;
	struct lp_conf *conf;
	struct lp_buf error = LP_BUF_INIT;
	bool usage;

	if (lp_conf_load(proc->argc, proc->argv, &args, &conf, &usage, &error) < 0) {
		lp_buf_free(&error);
		return -EINVAL;
	}
	lp_conf_free(&proc->conf);
	proc->conf = conf;
	return 0;
}

static int listen_on(int port)
{
	struct sockaddr_in sa = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

	sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (bind(fd, (struct sockaddr *)&sa, sizeof sa) < 0 || listen(fd, 4096) < 0)
		return -errno;
	return fd;
}

static int signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
}

int main(int argc, char **argv)
{
	struct lp_proc proc = { .argc = argc, .argv = argv, .slot = LP_SLOT_WORKER(0) };
	struct lp_region_config config = { .workers = 1 };
	struct lp_buf error = LP_BUF_INIT;
	struct lp_conf_args args;
	struct lp_lane *lane;
	pthread_t thread;
	bool usage;
	int code;

	if (lp_conf_load(argc, argv, &args, &proc.conf, &usage, &error) < 0) {
		fprintf(stderr, "%s\n", lp_buf_cstr(&error));
		return 78;
	}
	config.lane_bytes = (uint64_t)proc.conf->ingest.lane_bytes;
	lp_log_setup("harness", (enum lp_log_level)proc.conf->logging.level, LP_LOG_LOGFMT, "");
	if (lp_region_create(&config, &region) < 0 || lp_lane_open(region, 0, &lane) < 0)
		return 1;
	proc.region = region;
	proc.listen_fd = listen_on((int)proc.conf->server.port);
	proc.signal_fd = signals();
	if (proc.listen_fd < 0 || proc.signal_fd < 0)
		return 1;
	atomic_store(&lp_slot(region, proc.slot)->pid, (uint32_t)getpid());
	atomic_store(&lp_region_state(region)->flags, LP_STATE_READY);
	if (pthread_create(&thread, NULL, writer, lane) != 0)
		return 1;
	code = lp_worker_main(&proc);
	atomic_store(&stop_writer, true);
	lp_gate_ring(region);
	pthread_join(thread, NULL);
	lp_lane_close(&lane);
	lp_region_close(&region);
	close(proc.signal_fd);
	lp_conf_free(&proc.conf);
	return code;
}
