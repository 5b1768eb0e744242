/* Sending: one request at a time per target, in the order of its queue, so that "resolved" never overtakes "firing".
 *
 * Process: notifier, main thread.  If it dies between an answer and its "done" record, the event is sent again with the same
 * Idempotency-Key. */
#include "notify/hooks/hooks-private.h"

#include "common/clock.h"
#include "common/fault.h"
#include "common/log.h"
#include "shm/spans.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

static uint64_t random_bits(void)
{
	uint64_t v;

	/* Before the pool is ready the clock is random enough to spread retries. */
	return getrandom(&v, sizeof v, GRND_NONBLOCK) == (ssize_t)sizeof v ? v : (uint64_t)lp_clock_mono_ns();
}

/* Address, headers and bodies are never logged: they hold secrets. */
static void complain(struct lp_hook *hook, const struct lp_transport_result *result)
{
	char why[128];

	if (result->status)
		snprintf(why, sizeof why, "status=%d", result->status);
	else
		snprintf(why, sizeof why, "error=\"%s\"", result->error);
	if (!hook->failing || hook->deliver.breaker == LP_BREAKER_OPEN)
		lp_log(LP_WARN, "web hook failed target=%s %s attempt=%u queued=%u circuit=%s", hook->target->name, why,
		       hook->deliver.attempts, lp_hookq_depth(hook->queue), hook->deliver.breaker == LP_BREAKER_OPEN ? "open" : "closed");
	hook->failing = true;
}

/* An attempt's span, in the trace of the evaluation that the alert comes from when that is still known. */
static void trace_attempt(struct lp_hook *hook, const struct lp_hookq_event *event, const struct lp_transport_result *result)
{
	const struct lp_proc *proc = hook->hooks->notify->proc;
	struct lp_span span = lp_span_child(&hook->trace, LP_SPAN_WEBHOOK, hook->sent_ns, lp_clock_mono_ns());

	span.id = hook->trace.id;
	memcpy(span.parent, hook->trace.parent, sizeof span.parent);
	span.error = result->status < 200 || result->status >= 300;
	lp_span_text(&span, hook->target->name, strlen(hook->target->name));
	if (!result->status)
		lp_span_more(&span, result->error, strlen(result->error));
	lp_span_attr(&span, LP_ATTR_TARGET_KIND, hook->target->kind - LP_HOOK_WEBHOOK);
	lp_span_attr(&span, LP_ATTR_RETRY, hook->deliver.attempts);
	if (result->status)
		lp_span_attr(&span, LP_ATTR_STATUS_CODE, result->status);
	if (event && event->lines)
		lp_span_attr(&span, LP_ATTR_LINES, event->lines);
	(void)lp_spans_put(proc->region, proc->slot, &span);
}

static void leave(struct lp_hook *hook, uint64_t *counter)
{
	++*counter;
	lp_hookq_done(hook->queue);
	lp_deliver_next(&hook->deliver);
}

static void answered(void *arg, const struct lp_transport_result *result)
{
	struct lp_hook *hook = arg;
	const struct lp_hookq_event *event = lp_hookq_first(hook->queue);
	uint32_t lines = event ? event->lines : 0;

	hook->transfer = NULL;
	LP_FAULT("hook-answered");
	if (hook->trace.sampled)
		trace_attempt(hook, event, result);
	switch (lp_deliver_answer(&hook->deliver, lp_clock_mono_ms(), result->status, result->retry_after_ms, hook->target->retry, random_bits())) {
	case LP_DELIVER_SENT:
		if (hook->failing)
			lp_log(LP_INFO, "web hook works again target=%s queued=%u", hook->target->name, lp_hookq_depth(hook->queue) - 1);
		hook->failing = false;
		hook->counts.sent_lines += lines;
		leave(hook, &hook->counts.sent);
		break;
	case LP_DELIVER_RETRY:
		lp_hookq_hold(hook->queue, false);
		hook->counts.retried++;
		complain(hook, result);
		break;
	case LP_DELIVER_REFUSED:
		lp_log(LP_ERROR, "web hook refused, the event is lost target=%s status=%d", hook->target->name, result->status);
		leave(hook, &hook->counts.refused);
		break;
	case LP_DELIVER_GIVEN_UP:
		complain(hook, result);
		lp_log(LP_ERROR, "web hook tried as often as allowed, the event is lost target=%s", hook->target->name);
		leave(hook, &hook->counts.given_up);
		break;
	}
	lp_notify_wake(hook->hooks->notify);
}

/* Events that are not worth sending any more leave. */
static const struct lp_hookq_event *next_event(struct lp_hook *hook, int64_t real_ns)
{
	const struct lp_hookq_event *event;

	while ((event = lp_hookq_first(hook->queue))) {
		/* Firing until a time that is over: an Alertmanager would take it for resolved.  If it still fires it was told again. */
		bool over = event->expires_ns && event->expires_ns <= real_ns;
		bool old = real_ns - event->created_ns > hook->target->max_age_ms * LP_NS_PER_MS;

		if (event->format != hook->target->kind)        /* the target became another kind meanwhile */
			leave(hook, &hook->counts.damaged);
		else if (over || old)
			leave(hook, &hook->counts.expired);
		else
			break;
	}
	return event;
}

static int send_event(struct lp_hook *hook, const struct lp_hookq_event *event)
{
	const struct lp_hook_target *target = hook->target;
	struct lp_buf body = LP_BUF_INIT, sent = LP_BUF_INIT, url = LP_BUF_INIT;
	const struct lp_sampler *sampler = &hook->hooks->notify->sampler;
	const char *headers[LP_HOOK_MAX_HEADERS + 2];
	char id[64], parent[13 + LP_TRACEPARENT_LEN + 1] = "traceparent: ";
	struct lp_transport_request request = {
		.content_type = target->content_type, .headers = headers, .n_headers = target->n_headers + 1 + sampler->on, .ca_file = target->ca_file,
		.proxy = target->proxy, .connect_timeout_ms = target->connect_timeout_ms, .timeout_ms = target->timeout_ms,
	};
	int r = lp_hookq_body(hook->queue, &body);

	snprintf(id, sizeof id, "Idempotency-Key: %016" PRIx64, event->id);
	headers[0] = id;
	memcpy(headers + 1, target->headers, target->n_headers * sizeof *headers);
	hook->trace.sampled = false;
	hook->sent_ns = lp_clock_mono_ns();
	if (sampler->on) {
		lp_trace_begin_under(sampler, &event->trace, &hook->trace);
		lp_traceparent_print(parent + 13, &hook->trace.id, hook->trace.sampled);
		headers[target->n_headers + 1] = parent;
	}
	if (r == 0)
		r = lp_hook_body_finish(target, body.data, body.len, &sent);
	lp_hook_body_url(target, body.data, body.len, &url);
	request.url = lp_buf_cstr(&url);
	request.body = sent.data;
	request.len = sent.len;
	if (r == 0)
		r = lp_transport_start(lp_notify_curl(hook->hooks->notify), &request, answered, hook, &hook->transfer);
	if (r == 0)
		lp_hookq_hold(hook->queue, true);
	lp_buf_free(&body);
	lp_buf_free(&sent);
	lp_buf_free(&url);
	return r;
}

int64_t lp_hook_pump(struct lp_hook *hook, int64_t now_ms)
{
	const struct lp_hookq_event *event;

	if (!hook->queue || hook->transfer || hook->hooks->reloading || hook->hooks->notify->stopping)
		return LP_NOTIFY_NEVER;
	while ((event = next_event(hook, lp_clock_real_ns()))) {
		struct lp_transport_result none = { .error = "the request could not be made", .retry_after_ms = -1 };
		int r;

		if (!lp_deliver_may(&hook->deliver, now_ms))
			return hook->deliver.next_ms;
		r = send_event(hook, event);
		if (r == 0)
			return LP_NOTIFY_NEVER;
		if (r != -EBADMSG) {
			answered(hook, &none);
			return hook->deliver.next_ms;
		}
		lp_log(LP_ERROR, "web hook queue holds a damaged event, it is lost target=%s", hook->target->name);
		leave(hook, &hook->counts.damaged);
	}
	return LP_NOTIFY_NEVER;
}
