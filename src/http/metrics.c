/* /metrics: the shared counters, the names of the original server, and what /proc says about each process of ours.
 * A process whose /proc cannot be read (another user after a change of identity) is left out, never an error.
 * Process: worker, event loop; reads a few small files per scrape. */
#include "http/worker.h"

#include "common/bytes.h"
#include "common/clock.h"
#include "common/prom.h"
#include "config.h"
#include "http/match.h"
#include "shm/routestat.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WEBHOOKS_MAX (256u << 10)

struct proc_sample {
	char name[24];
	double cpu_seconds;
	uint64_t rss_bytes;
	unsigned fds;
	double start_seconds;
	bool has_fds;
};

static ssize_t slurp(const char *path, char *to, size_t max)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -1;
	n = read(fd, to, max - 1);
	close(fd);
	if (n >= 0)
		to[n] = '\0';
	return n;
}

static bool count_fds(uint32_t pid, unsigned *ret)
{
	char path[48];
	unsigned n = 0;
	DIR *dir;

	snprintf(path, sizeof path, "/proc/%u/fd", pid);
	dir = opendir(path);
	if (!dir)
		return false;
	while (readdir(dir))
		n++;
	closedir(dir);
	*ret = n > 3 ? n - 3 : 0;       /* ".", ".." and the directory itself (when it is our own) */
	return true;
}

/* proc(5): after the name in parentheses, field 3 is the state; utime 14, stime 15, rss in pages 24. */
static bool read_stat(uint32_t pid, struct proc_sample *sample)
{
	char path[48], text[1024], *p;
	unsigned long utime, stime;
	long rss;

	snprintf(path, sizeof path, "/proc/%u/stat", pid);
	if (slurp(path, text, sizeof text) <= 0)
		return false;
	p = strrchr(text, ')');
	if (!p || sscanf(p + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu %*d %*d %*d %*d %*d %*d %*u %*u %ld", &utime,
			 &stime, &rss) != 3)
		return false;
	sample->cpu_seconds = (double)(utime + stime) / (double)sysconf(_SC_CLK_TCK);
	sample->rss_bytes = (uint64_t)rss * (uint64_t)sysconf(_SC_PAGESIZE);
	return true;
}

static void name_slot(uint32_t slot, char name[24])
{
	if (slot == LP_SLOT_MASTER)
		strcpy(name, "master");
	else if (slot == LP_SLOT_WRITER)
		strcpy(name, "writer");
	else if (slot == LP_SLOT_NOTIFIER)
		strcpy(name, "notifier");
	else
		snprintf(name, 24, "worker-%u", slot - LP_SLOT_WORKER(0));
}

static bool sample(struct lp_worker *worker, uint32_t slot, struct proc_sample *ret)
{
	struct lp_slot_shm *shm = lp_slot(worker->proc->region, slot);
	uint64_t past_us = atomic_load(&shm->past_cpu_us);
	uint32_t pid = atomic_load(&shm->pid);

	if (pid == 0 || !read_stat(pid, ret))
		return false;
	/* When it died meanwhile, its time would be counted twice, and the sum would fall with the next sample. */
	if (atomic_load(&shm->past_cpu_us) != past_us || atomic_load(&shm->pid) != pid)
		return false;
	ret->cpu_seconds += (double)past_us / 1e6;
	ret->has_fds = count_fds(pid, &ret->fds);
	ret->start_seconds = (double)atomic_load_explicit(&shm->started_ns, memory_order_relaxed) / 1e9;
	name_slot(slot, ret->name);
	return true;
}

static void write_restarts(struct lp_worker *worker, const struct lp_prom *prom)
{
	struct lp_region *region = worker->proc->region;
	char name[24];

	lp_prom_head(prom, "logpulse_process_restarts_total", "counter", "Restarts of each child process by the master");
	for (uint32_t i = LP_SLOT_WRITER; i < lp_slot_count(region); i++) {
		if (i != LP_SLOT_WRITER && i != LP_SLOT_NOTIFIER && i < LP_SLOT_WORKER(0))
			continue;
		name_slot(i, name);
		lp_buf_printf(prom->out, "logpulse_process_restarts_total{process=\"%s\"} %u\n", name,
			      atomic_load_explicit(&lp_slot(region, i)->restarts, memory_order_relaxed));
	}
}

static void write_processes(struct lp_worker *worker, const struct lp_prom *prom)
{
	struct proc_sample samples[LP_MAX_SLOTS];
	uint32_t slots = lp_slot_count(worker->proc->region), n = 0;
	struct lp_buf *out = prom->out;

	for (uint32_t i = 0; i < slots && i < LP_MAX_SLOTS; i++)
		n += sample(worker, i, &samples[n]);
	lp_prom_head(prom, "process_cpu_seconds_total", "counter", "User and system CPU time, with that of dead predecessors");
	for (uint32_t i = 0; i < n; i++)
		lp_buf_printf(out, "process_cpu_seconds_total{process=\"%s\"} %.2f\n", samples[i].name, samples[i].cpu_seconds);
	lp_prom_head(prom, "process_resident_memory_bytes", "gauge", "Resident memory");
	for (uint32_t i = 0; i < n; i++)
		lp_buf_printf(out, "process_resident_memory_bytes{process=\"%s\"} %llu\n", samples[i].name,
			      (unsigned long long)samples[i].rss_bytes);
	lp_prom_head(prom, "process_open_fds", "gauge", "Open file descriptors");
	for (uint32_t i = 0; i < n; i++)
		if (samples[i].has_fds)
			lp_buf_printf(out, "process_open_fds{process=\"%s\"} %u\n", samples[i].name, samples[i].fds);
	lp_prom_head(prom, "process_start_time_seconds", "gauge", "Start time since 1970");
	for (uint32_t i = 0; i < n; i++)
		lp_buf_printf(out, "process_start_time_seconds{process=\"%s\"} %.3f\n", samples[i].name, samples[i].start_seconds);
}

/* Bytes published and not yet committed, for every lane. */
static void write_lanes(struct lp_worker *worker, const struct lp_prom *prom)
{
	struct lp_region *region = worker->proc->region;

	lp_prom_head(prom, "logpulse_lane_used_bytes", "gauge",
		     "Bytes in the shared-memory ring of a worker that are not committed yet");
	for (uint32_t i = 0; i < lp_region_workers(region); i++) {
		uint64_t used;

		if (lp_lane_used(region, i, &used) == 0)
			lp_buf_printf(prom->out, "logpulse_lane_used_bytes{worker=\"%u\"} %llu\n", i, (unsigned long long)used);
	}
	lp_prom_head(prom, "logpulse_lane_size_bytes", "gauge", "Size of each of these rings");
	lp_buf_printf(prom->out, "logpulse_lane_size_bytes %llu\n", (unsigned long long)lp_lane_capacity(worker->push.lane));
}

static void write_number(const struct lp_prom *prom, const char *name, const char *type, const char *help, uint64_t v)
{
	lp_prom_head(prom, name, type, help);
	lp_buf_printf(prom->out, "%s %llu\n", name, (unsigned long long)v);
}

/* The original server's names, which its dashboards and rules ask for.  Its chunks_stored_total was a gauge: untyped, so
 * that nobody takes its fall for a restart. */
static void write_original(struct lp_worker *worker, const struct lp_prom *prom)
{
	static const struct {
		const char *name, *type;
		enum lp_stat stat;
	} names[] = {
		{ "lokiclone_ingested_bytes_total", "counter", LP_STAT_INGESTED_BYTES },
		{ "lokiclone_ingested_lines_total", "counter", LP_STAT_INGESTED_LINES },
		{ "lokiclone_broadcasted_lines_total", "counter", LP_STAT_BROADCASTED_LINES },
		{ "lokiclone_dropped_broadcasts_total", "counter", LP_STAT_DROPPED_BROADCASTS },
		{ "lokiclone_stream_clients_connected", "gauge", LP_STAT_STREAM_CLIENTS },
		{ "lokiclone_chunks_stored_total", "untyped", LP_STAT_CHUNKS_STORED },
		{ "logpulse_chunks_stored_total", "untyped", LP_STAT_CHUNKS_STORED },
		{ "lokiclone_storage_bytes", "gauge", LP_STAT_STORAGE_BYTES },
	};
	static const char duration[] = "lokiclone_query_duration_seconds";
	struct lp_region *region = worker->proc->region;

	for (size_t i = 0; i < LP_ARRAY_LEN(names); i++)
		write_number(prom, names[i].name, names[i].type, "Original name of the logpulse_ metric",
			     lp_stat_sum(region, names[i].stat));
	lp_prom_head(prom, duration, "histogram", "Queries of all kinds");
	lp_stat_write_sum(region, prom, duration, LP_STAT_QUERY_ORIGINAL_SECONDS, LP_STAT_QUERY_PATTERNS_SECONDS);
}

static const char *const handler_methods[LP_ROUTESTAT_METHODS] = { "GET", "POST", "PUT", "DELETE", "other" };

/* One family of loki_handler_*; routes that were never asked for are left out, they would be thousands of zeros. */
static void write_handler(struct lp_worker *worker, const struct lp_prom *prom, const char *name, char what)
{
	static const unsigned bits[LP_ROUTESTAT_METHODS] = {
		LP_METHOD_GET, LP_METHOD_POST, LP_METHOD_PUT, LP_METHOD_DELETE, ~0u,
	};
	struct lp_routestat sum;
	unsigned methods;
	const char *path;

	for (uint32_t route = 0; (path = lp_route_path(route, &methods)); route++)
		for (uint32_t m = 0; m < LP_ROUTESTAT_METHODS; m++) {
			char labels[160];
			uint64_t n;

			if (!(methods & bits[m]))
				continue;
			n = lp_routestat_sum(worker->proc->region, route, m, &sum);
			if (!n)
				continue;
			snprintf(labels, sizeof labels, "endpoint=\"%s\",method=\"%s\"", path, handler_methods[m]);
			if (what == 'd')
				lp_prom_histogram(prom, name, labels, sum.buckets, lp_routestat_bounds, LP_ROUTESTAT_BUCKETS,
						  sum.sum_us, NULL);
			else
				lp_buf_printf(prom->out, "%s{%s} %llu\n", name, labels,
					      (unsigned long long)(what == 'e' ? sum.errors : n));
		}
}

static void write_handlers(struct lp_worker *worker, const struct lp_prom *prom)
{
	static const struct { const char *name, *type, *help; char what; } families[] = {
		{ "loki_handler_requests_total", "counter", "HTTP requests answered, by route", 'n' },
		{ "loki_handler_errors_total", "counter", "HTTP requests answered with 4xx or 5xx, by route", 'e' },
		{ "loki_handler_request_duration_seconds", "histogram", "HTTP: from the whole request to the end of the answer", 'd' },
	};

	for (size_t i = 0; i < LP_ARRAY_LEN(families); i++) {
		lp_prom_head(prom, families[i].name, families[i].type, families[i].help);
		write_handler(worker, prom, families[i].name, families[i].what);
	}
}

/* What the notifier says about its web hook targets: a file that it replaces whole.  OpenMetrics names a counter without "_total"
 * in HELP and TYPE. */
static void write_webhooks(struct lp_worker *worker, const struct lp_prom *prom)
{
	static const char suffix[] = "_total ";
	struct lp_buf path = LP_BUF_INIT, text = LP_BUF_INIT;
	char *p = lp_buf_reserve(&text, WEBHOOKS_MAX);
	ssize_t n = -1;

	lp_buf_printf(&path, "%s/notify/webhooks.metrics", worker->proc->data_dir);
	if (p)
		n = slurp(lp_buf_cstr(&path), p, WEBHOOKS_MAX);
	for (char *line = p, *end; n > 0 && (end = strchr(line, '\n')); line = end + 1) {
		char *total = NULL;

		*end = '\0';
		if (prom->openmetrics && *line == '#')
			total = strstr(line, suffix);
		if (total)
			memmove(total, total + strlen(suffix) - 1, strlen(total + strlen(suffix) - 1) + 1);
		lp_buf_str(prom->out, line);
		lp_buf_byte(prom->out, '\n');
	}
	lp_buf_free(&path);
	lp_buf_free(&text);
}

void lp_metrics_write(struct lp_worker *worker, struct lp_buf *out, bool openmetrics)
{
	const struct lp_prom prom = { out, openmetrics };
	uint64_t uptime = (uint64_t)((lp_clock_real_ns() - lp_region_start_ns(worker->proc->region)) / LP_NS_PER_SEC);
	bool original = lp_worker_conf(worker)->metrics.original_names;

	lp_stat_write_prometheus(worker->proc->region, &prom);
	write_number(&prom, "logpulse_uptime_seconds", "gauge", "Seconds since the start", uptime);
	lp_prom_head(&prom, "logpulse_build_info", "gauge", "Version of this server");
	lp_buf_str(out, "logpulse_build_info{version=\"" PACKAGE_VERSION "\"} 1\n");
	write_lanes(worker, &prom);
	write_restarts(worker, &prom);
	write_processes(worker, &prom);
	lp_k8s_write(worker, &prom);
	write_webhooks(worker, &prom);
	if (original) {
		write_original(worker, &prom);
		write_number(&prom, "lokiclone_uptime_seconds", "gauge", "Seconds since the start", uptime);
		write_handlers(worker, &prom);
	}
	lp_rules_metrics(worker, out);
	if (openmetrics)
		lp_buf_str(out, "# EOF\n");
}

void lp_status_metrics(struct lp_worker *worker, h2o_req_t *req, const char *name, size_t name_len)
{
	h2o_iovec_t accept = lp_request_header(req, "accept");
	bool openmetrics = accept.base && lp_accepts(accept.base, accept.len, "application/openmetrics-text");
	struct lp_buf out = LP_BUF_INIT;

	if (!lp_worker_conf(worker)->metrics.enabled) {
		lp_reply_text(req, 404, "metrics are switched off (metrics.enabled)");
		return;
	}
	lp_metrics_write(worker, &out, openmetrics);
	lp_header(req, "vary", "Accept");
	lp_reply_buf(req, 200, openmetrics ? "application/openmetrics-text; version=1.0.0; charset=utf-8" :
		     "text/plain; version=0.0.4; charset=utf-8", &out);
}
