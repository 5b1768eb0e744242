/* /metrics: the shared counters, the names of the original server, and what /proc says about each process of ours.
 * A process whose /proc cannot be read (another user after a change of identity) is left out, never an error.
 * Process: worker, event loop; reads a few small files per scrape. */
#include "http/worker.h"

#include "common/clock.h"
#include "config.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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
static bool sample(struct lp_worker *worker, uint32_t slot, struct proc_sample *ret)
{
	struct lp_slot_shm *shm = lp_slot(worker->proc->region, slot);
	uint32_t pid = atomic_load_explicit(&shm->pid, memory_order_acquire);
	char path[48], text[1024], *p;
	unsigned long utime, stime;
	long rss;

	if (pid == 0)
		return false;
	snprintf(path, sizeof path, "/proc/%u/stat", pid);
	if (slurp(path, text, sizeof text) <= 0)
		return false;
	p = strrchr(text, ')');
	if (!p || sscanf(p + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu %*d %*d %*d %*d %*d %*d %*u %*u %ld", &utime,
			 &stime, &rss) != 3)
		return false;
	ret->cpu_seconds = (double)(utime + stime) / (double)sysconf(_SC_CLK_TCK);
	ret->rss_bytes = (uint64_t)rss * (uint64_t)sysconf(_SC_PAGESIZE);
	ret->has_fds = count_fds(pid, &ret->fds);
	ret->start_seconds = (double)atomic_load_explicit(&shm->started_ns, memory_order_relaxed) / 1e9;
	if (slot == LP_SLOT_MASTER)
		strcpy(ret->name, "master");
	else if (slot == LP_SLOT_WRITER)
		strcpy(ret->name, "writer");
	else if (slot == LP_SLOT_NOTIFIER)
		strcpy(ret->name, "notifier");
	else
		snprintf(ret->name, sizeof ret->name, "worker-%u", slot - LP_SLOT_WORKER(0));
	return true;
}

static void head(struct lp_buf *out, const char *name, const char *type, const char *help)
{
	lp_buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void write_processes(struct lp_worker *worker, struct lp_buf *out)
{
	struct proc_sample samples[LP_MAX_SLOTS];
	uint32_t slots = lp_slot_count(worker->proc->region), n = 0;

	for (uint32_t i = 0; i < slots && i < LP_MAX_SLOTS; i++)
		n += sample(worker, i, &samples[n]);
	head(out, "process_cpu_seconds_total", "counter", "User and system CPU time");
	for (uint32_t i = 0; i < n; i++)
		lp_buf_printf(out, "process_cpu_seconds_total{process=\"%s\"} %.2f\n", samples[i].name, samples[i].cpu_seconds);
	head(out, "process_resident_memory_bytes", "gauge", "Resident memory");
	for (uint32_t i = 0; i < n; i++)
		lp_buf_printf(out, "process_resident_memory_bytes{process=\"%s\"} %llu\n", samples[i].name,
			      (unsigned long long)samples[i].rss_bytes);
	head(out, "process_open_fds", "gauge", "Open file descriptors");
	for (uint32_t i = 0; i < n; i++)
		if (samples[i].has_fds)
			lp_buf_printf(out, "process_open_fds{process=\"%s\"} %u\n", samples[i].name, samples[i].fds);
	head(out, "process_start_time_seconds", "gauge", "Start time since 1970");
	for (uint32_t i = 0; i < n; i++)
		lp_buf_printf(out, "process_start_time_seconds{process=\"%s\"} %.3f\n", samples[i].name, samples[i].start_seconds);
}

/* Bytes published and not yet committed, for every lane. */
static void write_lanes(struct lp_worker *worker, struct lp_buf *out)
{
	struct lp_region *region = worker->proc->region;

	head(out, "logpulse_lane_used_bytes", "gauge", "Bytes in the shared-memory ring of a worker that are not committed yet");
	for (uint32_t i = 0; i < lp_region_workers(region); i++) {
		uint64_t used;

		if (lp_lane_used(region, i, &used) == 0)
			lp_buf_printf(out, "logpulse_lane_used_bytes{worker=\"%u\"} %llu\n", i, (unsigned long long)used);
	}
}

/* The original server's names, which its dashboards and rules ask for. */
static void write_original(struct lp_worker *worker, struct lp_buf *out)
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
		{ "lokiclone_chunks_stored_total", "gauge", LP_STAT_CHUNKS_STORED },
		{ "lokiclone_storage_bytes", "gauge", LP_STAT_STORAGE_BYTES },
	};
	struct lp_region *region = worker->proc->region;
	int64_t uptime = (lp_clock_real_ns() - lp_region_start_ns(region)) / LP_NS_PER_SEC;

	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		head(out, names[i].name, names[i].type, "Original name of the logpulse_ metric");
		lp_buf_printf(out, "%s %llu\n", names[i].name, (unsigned long long)lp_stat_sum(region, names[i].stat));
	}
	head(out, "lokiclone_uptime_seconds", "gauge", "Seconds since the start");
	lp_buf_printf(out, "lokiclone_uptime_seconds %lld\n", (long long)uptime);
	head(out, "logpulse_uptime_seconds", "gauge", "Seconds since the start");
	lp_buf_printf(out, "logpulse_uptime_seconds %lld\n", (long long)uptime);
}

void lp_status_metrics(struct lp_worker *worker, h2o_req_t *req, const char *name, size_t name_len)
{
	struct lp_buf out = LP_BUF_INIT;

	if (!lp_worker_conf(worker)->metrics.enabled) {
		lp_reply_text(req, 404, "metrics are switched off (metrics.enabled)");
		return;
	}
	lp_stat_write_prometheus(worker->proc->region, &out);
	write_original(worker, &out);
	head(&out, "logpulse_build_info", "gauge", "Version of this server");
	lp_buf_str(&out, "logpulse_build_info{version=\"" PACKAGE_VERSION "\"} 1\n");
	write_lanes(worker, &out);
	write_processes(worker, &out);
	lp_reply_buf(req, 200, "text/plain; version=0.0.4; charset=utf-8", &out);
}
