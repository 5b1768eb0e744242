/* Health, readiness, build info, configuration, flush and the root page.  Numbers are summed over all processes from the
 * shared counters, so every worker tells the same.  Process: worker, event loop. */
#include "http/worker.h"

#include "common/clock.h"
#include "common/bytes.h"
#include "common/jsonw.h"
#include "common/log.h"
#include "config.h"
#include "http/match.h"
#include "http/params.h"

#include <string.h>

#define RATE_WINDOW_NS (5 * LP_NS_PER_SEC)
#define WRITER_SILENT_MS 5000
#define FLUSH_TIMEOUT_NS (30 * LP_NS_PER_SEC)

static uint32_t flags(const struct lp_worker *worker)
{
	return atomic_load_explicit(&worker->state->flags, memory_order_acquire);
}

const char *lp_status_not_ready(const struct lp_worker *worker)
{
	uint32_t f = flags(worker);

	if (worker->draining || f & LP_STATE_DRAINING)
		return "shutting down";
	if (!(f & LP_STATE_READY))
		return "starting: recovery is not over";
	if (f & LP_STATE_WAL_FAILED)
		return "the write-ahead log cannot be written";
	return NULL;
}

void lp_status_ready(struct lp_worker *worker, h2o_req_t *req, const char *name, size_t name_len)
{
	const char *reason = lp_status_not_ready(worker);
	char text[128];

	if (!reason) {
		lp_reply_text(req, 200, "ready\n");
		return;
	}
	snprintf(text, sizeof text, "not ready: %s\n", reason);
	lp_reply_retry(req, 503, 1, text);
}

/* It announces itself every second; what it does not do for longer is storing pushes. */
static bool writer_is_silent(const struct lp_worker *worker)
{
	const struct lp_slot_shm *slot = lp_slot(worker->proc->region, LP_SLOT_WRITER);

	return lp_clock_mono_ms() - atomic_load_explicit(&slot->alive_mono_ms, memory_order_relaxed) > WRITER_SILENT_MS;
}

void lp_status_health(struct lp_worker *worker, h2o_req_t *req, const char *name, size_t name_len)
{
	struct lp_region *region = worker->proc->region;
	uint32_t f = flags(worker);
	struct lp_buf out = LP_BUF_INIT;
	const char *status = "healthy";

	if (f & LP_STATE_WAL_FAILED)
		status = "unhealthy";
	else if (f & LP_STATE_DISK_FULL || !(f & LP_STATE_READY) || writer_is_silent(worker))
		status = "degraded";
	lp_buf_printf(&out, "{\"status\":\"%s\",\"ingestionRate\":", status);
	lp_jsonw_double(&out, worker->lines_per_second);
	lp_buf_str(&out, ",\"storageUsed\":");
	lp_buf_u64(&out, lp_stat_sum(region, LP_STAT_STORAGE_BYTES) + lp_stat_sum(region, LP_STAT_WAL_BYTES));
	lp_buf_str(&out, ",\"chunksCount\":");
	lp_buf_u64(&out, lp_stat_sum(region, LP_STAT_CHUNKS_STORED));
	lp_buf_str(&out, ",\"uptime\":");
	lp_buf_i64(&out, (lp_clock_real_ns() - lp_region_start_ns(region)) / LP_NS_PER_SEC);
	lp_buf_str(&out, ",\"streamClients\":");
	lp_buf_u64(&out, lp_stat_sum(region, LP_STAT_STREAM_CLIENTS));
	lp_buf_str(&out, ",\"broadcastedLines\":");
	lp_buf_u64(&out, lp_stat_sum(region, LP_STAT_BROADCASTED_LINES));
	lp_buf_str(&out, ",\"droppedMessages\":");
	lp_buf_u64(&out, lp_stat_sum(region, LP_STAT_DROPPED_BROADCASTS));
	lp_buf_str(&out, "}");
	lp_reply_buf(req, 200, LP_JSON, &out);
}

void lp_status_buildinfo(struct lp_worker *worker, h2o_req_t *req, const char *name, size_t name_len)
{
	static const char text[] = "{\"version\":\"" PACKAGE_VERSION "\",\"revision\":\"\",\"branch\":\"\",\"buildUser\":\"\","
				   "\"buildDate\":\"\",\"goVersion\":\"\"}";

	lp_reply(req, 200, LP_JSON, text, sizeof text - 1);
}

/* What runs, in the form of Loki's page: the processes that this server consists of. */
void lp_status_services(struct lp_worker *worker, h2o_req_t *req, const char *name, size_t name_len)
{
	uint32_t f = flags(worker);
	char text[128];

	snprintf(text, sizeof text, "server => Running\nwriter => %s\nquerier => %s\n",
		 f & LP_STATE_WAL_FAILED ? "Failed" : f & LP_STATE_READY ? "Running" : "Starting",
		 worker->query.engine ? "Running" : "Starting");
	lp_reply_text(req, 200, text);
}

static const char *const level_words[] = { "debug", "info", "warn", "error" };

static void set_log_level(struct lp_worker *worker, h2o_req_t *req)
{
	struct lp_form form = LP_FORM_INIT;
	struct lp_buf out = LP_BUF_INIT, text = { .max = 1024 };
	const struct lp_param *param;
	bool known = false;

	if (lp_request_form(worker, req, &form) < 0)
		return;
	param = lp_form_get(&form, "log_level");
	for (unsigned i = 0; i < LP_ARRAY_LEN(level_words) && param && !known; i++) {
		known = strlen(level_words[i]) == param->value_len && memcmp(level_words[i], param->value, param->value_len) == 0;
		if (known) {
			lp_log(LP_WARN, "log level changed level=%s", level_words[i]);
			lp_proc_set_log_level(worker->proc, (enum lp_log_level)i);
			lp_buf_printf(&text, "Log level set to %s", level_words[i]);
		}
	}
	if (!known)
		lp_buf_printf(&text, "unrecognized log level \"%.*s\"", param ? (int)(param->value_len < 64 ? param->value_len : 64) : 0,
			      param ? param->value : "");
	lp_buf_printf(&out, "{\"status\":\"%s\",\"message\":", known ? "success" : "failed");
	lp_jsonw_str(&out, (const char *)text.data, text.len);
	lp_buf_byte(&out, '}');
	lp_reply_buf(req, known ? 200 : 400, LP_JSON, &out);
	lp_buf_free(&text);
	lp_form_free(&form);
}

/* POST log_level=..., as Loki's; until the next reload. */
void lp_status_log_level(struct lp_worker *worker, h2o_req_t *req, const char *name, size_t name_len)
{
	char text[64];

	if (lp_method_parse(req->method.base, req->method.len) == LP_METHOD_POST) {
		set_log_level(worker, req);
		return;
	}
	snprintf(text, sizeof text, "{\"message\":\"Current log level is %s\"}", level_words[lp_proc_log_level(worker->proc)]);
	lp_reply(req, 200, LP_JSON, text, strlen(text));
}

void lp_status_config(struct lp_worker *worker, h2o_req_t *req, const char *name, size_t name_len)
{
	struct lp_buf out = LP_BUF_INIT;

	lp_conf_print(lp_worker_conf(worker), &out);
	lp_reply_buf(req, 200, LP_TEXT, &out);
}

void lp_status_root(struct lp_worker *worker, h2o_req_t *req, const char *name, size_t name_len)
{
	static const char page[] =
		"<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>LogPulse</title></head><body>\n"
		"<h1>LogPulse " PACKAGE_VERSION "</h1>\n"
		"<p>In Grafana, add a Loki data source with the address of this page.  Push to "
		"<code>POST /loki/api/v1/push</code> or <code>POST /ingest</code>.</p>\n<ul>\n"
		"<li><a href=\"/health\">/health</a>: state and numbers</li>\n"
		"<li><a href=\"/ready\">/ready</a>: ready for pushes and queries</li>\n"
		"<li><a href=\"/metrics\">/metrics</a>: for Prometheus</li>\n"
		"<li><a href=\"/config\">/config</a>: the configuration in effect</li>\n"
		"<li><a href=\"/loki/api/v1/labels\">/loki/api/v1/labels</a>: labels of the last hour</li>\n"
		"<li><a href=\"/query?query=\">/query?query=</a>: the newest lines of the last hour</li>\n"
		"</ul></body></html>\n";

	lp_reply(req, 200, "text/html; charset=utf-8", page, sizeof page - 1);
}

/* ---- flush -------------------------------------------------------------------------------------- */

struct lp_flush {
	h2o_linklist_t link;
	h2o_req_t *req;
	uint32_t ticket;
	int64_t deadline_ns;
};

static void flush_dispose(void *p)
{
	struct lp_flush *flush = p;

	if (h2o_linklist_is_linked(&flush->link))
		h2o_linklist_unlink(&flush->link);
}

void lp_status_flush(struct lp_worker *worker, h2o_req_t *req, const char *name, size_t name_len)
{
	struct lp_flush *flush;

	if (!(flags(worker) & LP_STATE_READY)) {
		lp_reply_retry(req, 503, 1, "starting: recovery is not over");
		return;
	}
	flush = h2o_mem_alloc_shared(&req->pool, sizeof *flush, flush_dispose);
	memset(flush, 0, sizeof *flush);
	flush->req = req;
	flush->ticket = atomic_fetch_add(&worker->state->flush_requested, 1) + 1;
	flush->deadline_ns = lp_clock_mono_ns() + FLUSH_TIMEOUT_NS;
	h2o_linklist_insert(&worker->flushes, &flush->link);
	lp_gate_ring(worker->proc->region);
	lp_worker_hurry(worker);
}

bool lp_status_pending(const struct lp_worker *worker)
{
	return !h2o_linklist_is_empty((h2o_linklist_t *)&worker->flushes);
}

static void answer_flushes(struct lp_worker *worker, int64_t now_ns)
{
	uint32_t done = atomic_load_explicit(&worker->state->flush_done, memory_order_acquire);

	while (lp_status_pending(worker)) {
		struct lp_flush *flush = H2O_STRUCT_FROM_MEMBER(struct lp_flush, link, worker->flushes.next);
		bool served = (int32_t)(done - flush->ticket) >= 0;

		if (!served && now_ns < flush->deadline_ns)
			break;
		h2o_linklist_unlink(&flush->link);
		if (served)
			lp_reply_empty(flush->req, 204);
		else
			lp_reply_retry(flush->req, 503, 10, "the flush is not over yet, it goes on");
	}
}

/* ---- the rate of /health ------------------------------------------------------------------------ */

static void sample_rate(struct lp_worker *worker, int64_t now_ns)
{
	if (worker->rate[1].at_ns && now_ns - worker->rate[1].at_ns < RATE_WINDOW_NS)
		return;
	worker->rate[0] = worker->rate[1];
	worker->rate[1].at_ns = now_ns;
	worker->rate[1].lines = lp_stat_sum(worker->proc->region, LP_STAT_INGESTED_LINES);
	if (worker->rate[0].at_ns)
		worker->lines_per_second = (double)(worker->rate[1].lines - worker->rate[0].lines) /
					   ((double)(now_ns - worker->rate[0].at_ns) / 1e9);
}

void lp_status_tick(struct lp_worker *worker, int64_t now_ns)
{
	answer_flushes(worker, now_ns);
	sample_rate(worker, now_ns);
}
