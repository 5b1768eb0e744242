/* Spans out: takes what all processes put into their rings (shm/spans.h) and sends it to a collector by OTLP over HTTP
 * (otlp.h), or prints it.
 *
 * Guarantees: at most one export is under way, of at most BATCH spans; a collector that is dead or slow costs one log line,
 * an attempt every RETRY_MS and the spans that find their ring full, which are counted; nobody waits for it.  Headers are never
 * logged.  A standard output that nobody reads drops spans instead of stopping this process.
 * Process: notifier, main thread.  If it dies, the spans of one export may be lost, or be there twice. */
#include "notify/traces.h"

#include "common/clock.h"
#include "common/log.h"
#include "config.h"
#include "notify/otlp.h"
#include "notify/transport.h"
#include "shm/spans.h"

#include <errno.h>
#include <libdeflate.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BATCH 512u
#define POLL_MS 100
#define RETRY_MS 5000
#define CONNECT_MS 2000
#define FAILING_MS 500                   /* of the time to stop */
#define GZIP_LEVEL 1                     /* a quarter of the bytes is enough */

struct lp_spans {
	struct lp_notify *notify;
	struct lp_transport *transport; /* NULL: none under way */
	uint32_t in_flight;             /* spans of it */
	int64_t next_ms;                /* not before */
	bool failing;                   /* it was said in the log */
	char *url;
	char **headers, **attributes;   /* "name: value", "name=value" */
	uint32_t n_headers, n_attributes;
};

static bool take_one(struct lp_notify *notify, struct lp_span *ret_span)
{
	struct lp_region *region = notify->proc->region;

	for (uint32_t slot = 0; slot < lp_slot_count(region); slot++)
		if (lp_spans_take(region, slot, ret_span))
			return true;
	return false;
}

static bool left(struct lp_region *region)
{
	for (uint32_t slot = 0; slot < lp_slot_count(region); slot++)
		if (lp_spans_left(region, slot))
			return true;
	return false;
}

/* ---- to a collector ---- */

static void on_done(void *arg, const struct lp_transport_result *result)
{
	struct lp_spans *spans = arg;
	struct lp_stat_row *row = spans->notify->row;
	bool good = result->status >= 200 && result->status < 300;

	spans->transport = NULL;
	lp_stat_add(row, good ? LP_STAT_SPANS_EXPORTED : LP_STAT_SPANS_FAILED, spans->in_flight);
	if (!good) {
		if (!spans->failing)
			lp_log(LP_WARN, "traces cannot be exported, going on without them status=%d reason=\"%s\"", result->status,
			       result->error ? result->error : "refused");
		spans->next_ms = lp_clock_mono_ms() + (result->retry_after_ms > RETRY_MS ? result->retry_after_ms : RETRY_MS);
	} else if (spans->failing) {
		lp_log(LP_INFO, "traces are exported again");
	}
	spans->failing = !good;
}

/* In place; what cannot be compressed for want of memory fails. */
static void compress_body(struct lp_buf *out)
{
	struct libdeflate_compressor *compressor = libdeflate_alloc_compressor(GZIP_LEVEL);
	struct lp_buf small = LP_BUF_INIT;
	void *to = compressor ? lp_buf_reserve(&small, libdeflate_gzip_compress_bound(compressor, out->len)) : NULL;

	if (to && !out->failed) {
		small.len = libdeflate_gzip_compress(compressor, out->data, out->len, to, small.cap);
		lp_buf_free(out);
		*out = small;
	} else {
		lp_buf_free(&small);
		out->failed = true;
	}
	libdeflate_free_compressor(compressor);
}

static int start_export(struct lp_spans *spans, const struct lp_buf *body)
{
	const struct lp_conf *conf = lp_notify_conf(spans->notify);
	uint32_t n = spans->n_headers;
	struct lp_transport_request request = {
		.url = spans->url, .body = body->data, .len = body->len, .connect_timeout_ms = CONNECT_MS, .timeout_ms = conf->tracing.timeout,
		.content_type = conf->tracing.protocol == LP_TRACING_JSON ? "application/json" : "application/x-protobuf",
		.ca_file = *conf->tracing.ca_file ? conf->tracing.ca_file : NULL,
	};
	const char **headers = calloc(n + 1, sizeof *headers);
	void *curl = lp_notify_curl(spans->notify);
	int r = -ENOMEM;

	if (headers && curl && !body->failed) {
		if (n)
			memcpy(headers, spans->headers, n * sizeof *headers);
		if (conf->tracing.compression == LP_TRACING_GZIP)
			headers[n++] = "Content-Encoding: gzip";
		request.headers = headers;
		request.n_headers = n;
		r = lp_transport_start(curl, &request, on_done, spans, &spans->transport);
	}
	free(headers);
	return r;
}

static uint32_t export_batch(struct lp_spans *spans)
{
	const struct lp_conf *conf = lp_notify_conf(spans->notify);
	const struct lp_otlp_resource resource = {
		.service_name = conf->tracing.service_name, .service_version = PACKAGE_VERSION,
		.attributes = (const char *const *)spans->attributes, .n_attributes = spans->n_attributes,
	};
	struct lp_buf out = LP_BUF_INIT;
	struct lp_otlp otlp = { .n = 0 };
	struct lp_span span;
	int r;

	while (otlp.n < BATCH && take_one(spans->notify, &span)) {
		if (otlp.n == 0)
			lp_otlp_begin(&otlp, &out, conf->tracing.protocol == LP_TRACING_JSON, &resource);
		lp_otlp_add(&otlp, &span);
	}
	if (otlp.n == 0)
		return 0;
	lp_otlp_end(&otlp);
	if (conf->tracing.compression == LP_TRACING_GZIP)
		compress_body(&out);
	spans->in_flight = otlp.n;
	r = start_export(spans, &out);
	if (r < 0) {
		struct lp_transport_result result = { .error = strerror(-r), .retry_after_ms = -1 };

		on_done(spans, &result);
	}
	lp_buf_free(&out);
	return otlp.n;
}

/* ---- to standard output ---- */

static uint32_t print_all(struct lp_spans *spans)
{
	struct lp_stat_row *row = spans->notify->row;
	struct pollfd out = { .fd = STDOUT_FILENO, .events = POLLOUT };
	struct lp_span span;
	uint32_t n;

	for (n = 0; n < BATCH && take_one(spans->notify, &span); n++) {
		struct lp_buf line = LP_BUF_INIT;
		bool ready = poll(&out, 1, 0) == 1 && out.revents & POLLOUT;

		lp_otlp_json(&line, &span);
		lp_buf_byte(&line, '\n');
		/* Less than PIPE_BUF: a pipe that is ready takes all of it without blocking. */
		if (ready && !line.failed && write(STDOUT_FILENO, line.data, line.len) == (ssize_t)line.len)
			lp_stat_add(row, LP_STAT_SPANS_EXPORTED, 1);
		else
			lp_stat_add(row, LP_STAT_SPANS_FAILED, 1);
		lp_buf_free(&line);
	}
	return n;
}

/* ---- the module ---- */

static void free_texts(char **texts, uint32_t *n)
{
	for (uint32_t i = 0; i < *n; i++)
		free(texts[i]);
	free(texts);
	*n = 0;
}

static void forget(struct lp_spans *spans)
{
	free_texts(spans->headers, &spans->n_headers);
	free_texts(spans->attributes, &spans->n_attributes);
	free(spans->url);
	spans->headers = spans->attributes = NULL;
	spans->url = NULL;
}

/* The list was checked when it was loaded. */
static int take_pairs(const struct lp_conf_list *list, const char *separator, char ***ret_texts, uint32_t *n)
{
	char **texts = *ret_texts = calloc(list->n + 1, sizeof *texts);
	int r = texts ? 0 : -ENOMEM;

	for (size_t i = 0; i < list->n && r == 0; i++) {
		r = lp_conf_pair(list->items[i], separator, &texts[i]);
		*n += r == 0;
	}
	return r;
}

static int load(struct lp_spans *spans)
{
	const struct lp_conf *conf = lp_notify_conf(spans->notify);
	const char *own = conf->tracing.traces_endpoint, *base = conf->tracing.endpoint;
	size_t len = strlen(base);
	int r;

	forget(spans);
	lp_conf_sampler(conf, &spans->notify->sampler);
	while (len > 0 && base[len - 1] == '/')
		len--;
	if (*own ? asprintf(&spans->url, "%s", own) < 0 : asprintf(&spans->url, "%.*s/v1/traces", (int)len, base) < 0) {
		spans->url = NULL;
		return -ENOMEM;
	}
	r = take_pairs(&conf->tracing.headers, ": ", &spans->headers, &spans->n_headers);
	return r < 0 ? r : take_pairs(&conf->tracing.resource_attributes, "=", &spans->attributes, &spans->n_attributes);
}

static int traces_start(struct lp_notify *notify)
{
	struct lp_spans *spans = calloc(1, sizeof *spans);

	if (!spans)
		return -ENOMEM;
	notify->spans = spans;
	spans->notify = notify;
	return load(spans);
}

static int64_t traces_tick(struct lp_notify *notify, int64_t now_ms)
{
	struct lp_spans *spans = notify->spans;
	int exporter = lp_notify_conf(notify)->tracing.exporter;
	uint32_t n;

	if (exporter == LP_TRACING_NONE)
		return LP_NOTIFY_NEVER;
	if (now_ms < spans->next_ms && (!notify->stopping || spans->failing))
		return spans->next_ms;
	if (spans->transport || !spans->url)
		return now_ms + POLL_MS;
	n = exporter == LP_TRACING_OTLP ? export_batch(spans) : print_all(spans);
	/* The more there was the sooner again: a busy worker fills its ring in less than POLL_MS. */
	if (spans->next_ms <= now_ms)
		spans->next_ms = now_ms + POLL_MS * (BATCH - n) / BATCH;
	return spans->next_ms;
}

static void traces_reload(struct lp_notify *notify)
{
	if (load(notify->spans) < 0)
		lp_log(LP_ERROR, "tracing.*: out of memory, traces are not exported");
	notify->spans->next_ms = 0;
}

/* The last spans of workers come when they have ended.  A collector that failed before is not waited for, but for an answer that may
 * come in the first half second. */
static bool traces_quiet(struct lp_notify *notify)
{
	struct lp_region *region = notify->proc->region;

	if (lp_notify_conf(notify)->tracing.exporter == LP_TRACING_NONE)
		return true;
	if (notify->spans->failing)
		return !notify->spans->transport || notify->stop_by_ms - lp_clock_mono_ms() < LP_NOTIFY_STOP_MS - FAILING_MS;
	for (uint32_t i = LP_SLOT_WORKER(0); i < lp_slot_count(region); i++)
		if (atomic_load(&lp_slot(region, i)->pid))
			return false;
	return !notify->spans->transport && !left(region);
}

static void traces_stop(struct lp_notify *notify)
{
	if (!notify->spans)
		return;
	lp_transport_cancel(&notify->spans->transport);
	forget(notify->spans);
	free(notify->spans);
	notify->spans = NULL;
}

const struct lp_notify_module lp_traces_module = {
	.name = "traces", .start = traces_start, .tick = traces_tick, .reload = traces_reload, .quiet = traces_quiet, .stop = traces_stop,
};
