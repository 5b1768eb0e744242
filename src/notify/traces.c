/* Spans out: takes what all processes put into their rings (shm/spans.h) and sends it to a collector by OTLP over HTTP
 * (JSON encoding of OTLP 1.x), or prints it.
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
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BATCH 512u
#define POLL_MS 100
#define RETRY_MS 5000
#define CONNECT_MS 2000
#define EXPORT_MS 10000

struct lp_spans {
	struct lp_notify *notify;
	struct lp_transport *transport; /* NULL: none under way */
	uint32_t in_flight;             /* spans of it */
	int64_t retry_ms;               /* after a failure: not before */
	bool failing;                   /* it was said in the log */
	char *url;
	char **headers;
	uint32_t n_headers;
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
		spans->retry_ms = lp_clock_mono_ms() + RETRY_MS;
	} else if (spans->failing) {
		lp_log(LP_INFO, "traces are exported again");
	}
	spans->failing = !good;
}

static void export_batch(struct lp_spans *spans)
{
	const struct lp_conf *conf = lp_notify_conf(spans->notify);
	const struct lp_otlp_resource resource = { .service_name = conf->tracing.service_name, .service_version = PACKAGE_VERSION };
	struct lp_buf out = LP_BUF_INIT;
	struct lp_otlp otlp = { .n = 0 };
	struct lp_span span;
	int r = -ENOMEM;

	while (otlp.n < BATCH && take_one(spans->notify, &span)) {
		if (otlp.n == 0)
			lp_otlp_begin(&otlp, &out, true, &resource);
		lp_otlp_add(&otlp, &span);
	}
	if (otlp.n == 0)
		return;
	lp_otlp_end(&otlp);
	struct lp_transport_request request = {
		.url = spans->url, .headers = (const char *const *)spans->headers, .n_headers = spans->n_headers,
		.body = out.data, .len = out.len, .connect_timeout_ms = CONNECT_MS, .timeout_ms = EXPORT_MS,
	};
	void *curl = lp_notify_curl(spans->notify);

	spans->in_flight = otlp.n;
	if (curl && !out.failed)
		r = lp_transport_start(curl, &request, on_done, spans, &spans->transport);
	if (r < 0) {
		struct lp_transport_result result = { .error = strerror(-r) };

		on_done(spans, &result);
	}
	lp_buf_free(&out);
}

/* ---- to standard output ---- */

static void print_all(struct lp_spans *spans)
{
	struct lp_stat_row *row = spans->notify->row;
	struct pollfd out = { .fd = STDOUT_FILENO, .events = POLLOUT };
	struct lp_span span;

	for (uint32_t n = 0; n < BATCH && take_one(spans->notify, &span); n++) {
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
}

/* ---- the module ---- */

static void forget(struct lp_spans *spans)
{
	for (uint32_t i = 0; i < spans->n_headers; i++)
		free(spans->headers[i]);
	free(spans->headers);
	free(spans->url);
	spans->headers = NULL;
	spans->n_headers = 0;
	spans->url = NULL;
}

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* "name=value" with the value percent-encoded, as OTEL_EXPORTER_OTLP_HEADERS has it; NULL when it would break the request. */
static char *make_header(const char *text)
{
	size_t name = strcspn(text, "="), n = name;
	char *header = malloc(strlen(text) + 3);

	if (!header)
		return NULL;
	memcpy(header, text, name);
	header[n++] = ':';
	header[n++] = ' ';
	for (const char *p = text + name + (text[name] == '='); *p; p++) {
		int high = *p == '%' ? hex_value(p[1]) : -1, low = high >= 0 ? hex_value(p[2]) : -1;

		header[n++] = low >= 0 ? (char)(high << 4 | low) : *p;
		p += low >= 0 ? 2 : 0;
		if ((unsigned char)header[n - 1] < ' ') {
			free(header);
			return NULL;
		}
	}
	header[n] = '\0';
	return header;
}

static int load(struct lp_spans *spans)
{
	const struct lp_conf *conf = lp_notify_conf(spans->notify);
	const char *own = conf->tracing.traces_endpoint, *base = conf->tracing.endpoint;
	struct lp_sampler *sampler = &spans->notify->sampler;
	size_t len = strlen(base);

	forget(spans);
	sampler->on = false;
	if (conf->tracing.exporter != LP_TRACING_NONE)
		(void)lp_sampler_parse(conf->tracing.sampling_ratio, sampler);  /* it was checked when it was loaded */
	while (len > 0 && base[len - 1] == '/')
		len--;
	if (*own ? asprintf(&spans->url, "%s", own) < 0 : asprintf(&spans->url, "%.*s/v1/traces", (int)len, base) < 0) {
		spans->url = NULL;
		return -ENOMEM;
	}
	spans->headers = calloc(conf->tracing.headers.n + 1, sizeof spans->headers[0]);
	if (!spans->headers)
		return -ENOMEM;
	for (size_t i = 0; i < conf->tracing.headers.n; i++) {
		char *header = make_header(conf->tracing.headers.items[i]);

		if (header)
			spans->headers[spans->n_headers++] = header;
		else
			lp_log(LP_ERROR, "tracing.headers: left out, a control character is in it item=%zu", i + 1);
	}
	return 0;
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

	if (exporter == LP_TRACING_NONE)
		return LP_NOTIFY_NEVER;
	if (exporter != LP_TRACING_OTLP)
		print_all(spans);
	else if (!spans->transport && spans->url && now_ms >= spans->retry_ms)
		export_batch(spans);
	return now_ms + POLL_MS;
}

static void traces_reload(struct lp_notify *notify)
{
	if (load(notify->spans) < 0)
		lp_log(LP_ERROR, "tracing.*: out of memory, traces are not exported");
	notify->spans->retry_ms = 0;
}

/* The last spans of workers come when they have ended; a collector that does not answer is not worth waiting for. */
static bool traces_quiet(struct lp_notify *notify)
{
	struct lp_region *region = notify->proc->region;

	if (lp_notify_conf(notify)->tracing.exporter == LP_TRACING_NONE || notify->spans->failing)
		return true;
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
