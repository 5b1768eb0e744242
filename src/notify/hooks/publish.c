/* Metrics per target, for whoever serves /metrics: a small file in Prometheus text format, replaced atomically when it changed,
 * at most once a second.  Labels are target names only.
 * Process: notifier, main thread.  If it dies, the last file stays until the next notifier writes its own; counters begin anew. */
#include "notify/hooks/hooks-private.h"

#include "store/format/labels.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#define PUBLISH_MS 1000

static void head(struct lp_buf *out, const char *name, const char *type, const char *help)
{
	lp_buf_printf(out, "# HELP logpulse_webhook_%s %s\n# TYPE logpulse_webhook_%s %s\n", name, help, name, type);
}

static void value(struct lp_buf *out, const char *name, const struct lp_hook *hook, const char *reason, uint64_t v)
{
	lp_buf_printf(out, "logpulse_webhook_%s{target=\"%s\"", name, hook->target->name);
	if (reason)
		lp_buf_printf(out, ",reason=\"%s\"", reason);
	lp_buf_printf(out, "} %" PRIu64 "\n", v);
}

static void take_overflow(struct lp_hook *hook)
{
	uint64_t lines = 0;

	hook->counts.overflow += lp_hookq_take_dropped(hook->queue, &lines);
	hook->counts.overflow_lines += lines;
	hook->feed.untold += lines;
}

#define EACH(hook) for (const struct lp_hook *hook = hooks->hooks; hook < hooks->hooks + hooks->n; hook++) if (hook->queue)

static void write_counters(const struct lp_hooks *hooks, struct lp_buf *out)
{
	head(out, "sent_total", "counter", "Requests that a web hook target took");
	EACH(hook)
		value(out, "sent_total", hook, NULL, hook->counts.sent);
	head(out, "sent_lines_total", "counter", "Log lines in requests that a web hook target took");
	EACH(hook)
		value(out, "sent_lines_total", hook, NULL, hook->counts.sent_lines);
	head(out, "retried_total", "counter", "Attempts that failed and are made again");
	EACH(hook)
		value(out, "retried_total", hook, NULL, hook->counts.retried);
	head(out, "failed_total", "counter", "Events that a web hook target did not get, by reason");
	EACH(hook) {
		value(out, "failed_total", hook, "refused", hook->counts.refused);
		value(out, "failed_total", hook, "given_up", hook->counts.given_up);
		value(out, "failed_total", hook, "expired", hook->counts.expired);
		value(out, "failed_total", hook, "damaged", hook->counts.damaged);
		value(out, "failed_total", hook, "template", hook->counts.template);
		value(out, "failed_total", hook, "queue_full", hook->counts.overflow);
	}
	head(out, "dropped_lines_total", "counter", "Log lines that a web hook target did not get, by reason");
	EACH(hook) {
		value(out, "dropped_lines_total", hook, "rate_limit", hook->feed.over_rate);
		value(out, "dropped_lines_total", hook, "behind", hook->feed.behind);
		value(out, "dropped_lines_total", hook, "queue_full", hook->counts.overflow_lines);
		value(out, "dropped_lines_total", hook, "not_queued", hook->feed.unqueued);
	}
}

static void write_gauges(const struct lp_hooks *hooks, struct lp_buf *out)
{
	head(out, "queue_events", "gauge", "Events that wait for a web hook target");
	EACH(hook)
		value(out, "queue_events", hook, NULL, lp_hookq_depth(hook->queue));
	head(out, "queue_bytes", "gauge", "Bytes of events that wait for a web hook target");
	EACH(hook)
		value(out, "queue_bytes", hook, NULL, lp_hookq_bytes(hook->queue));
	head(out, "circuit_state", "gauge", "Circuit breaker of a web hook target: 0 closed, 1 open, 2 half-open");
	EACH(hook)
		value(out, "circuit_state", hook, NULL, hook->deliver.breaker);
}

static void path_of(const struct lp_hooks *hooks, const char *suffix, struct lp_buf *out)
{
	lp_buf_printf(out, "%s/notify/webhooks.metrics%s", hooks->notify->proc->data_dir, suffix);
}

static bool write_file(const char *path, const struct lp_buf *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
	bool ok;

	if (fd < 0)
		return false;
	ok = write(fd, text->data, text->len) == (ssize_t)text->len;
	close(fd);
	return ok;
}

void lp_hooks_publish(struct lp_hooks *hooks, int64_t now_ms)
{
	struct lp_buf text = LP_BUF_INIT, path = LP_BUF_INIT, tmp = LP_BUF_INIT;
	uint64_t hash;

	if (now_ms < hooks->metrics_ms)
		return;
	hooks->metrics_ms = now_ms + PUBLISH_MS;
	for (uint32_t i = 0; i < hooks->n; i++)
		if (hooks->hooks[i].queue)
			take_overflow(&hooks->hooks[i]);
	write_counters(hooks, &text);
	write_gauges(hooks, &text);
	hash = text.failed ? hooks->metrics_hash : lp_labels_hash(text.data, text.len).lo;
	if (hash != hooks->metrics_hash) {
		path_of(hooks, "", &path);
		path_of(hooks, ".new", &tmp);
		/* Not synced: it is of no use after a power cut.  A failure (a full disk) is tried again with the next change. */
		if (write_file(lp_buf_cstr(&tmp), &text) && rename(lp_buf_cstr(&tmp), lp_buf_cstr(&path)) == 0)
			hooks->metrics_hash = hash;
	}
	lp_buf_free(&text);
	lp_buf_free(&path);
	lp_buf_free(&tmp);
}

void lp_hooks_unpublish(struct lp_hooks *hooks)
{
	struct lp_buf path = LP_BUF_INIT;

	path_of(hooks, "", &path);
	(void)unlink(lp_buf_cstr(&path));
	lp_buf_free(&path);
}
