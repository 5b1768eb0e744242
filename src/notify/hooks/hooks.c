/* The web hooks module of the notifier: targets of webhooks.yaml, a queue for each, alert events in, requests out.
 *
 * Guarantees: an alert event that lp_hooks_alert() took is on disk; nothing here waits for the network, and nobody waits for this
 * process.  A bad webhooks.yaml at a reload leaves the old targets at work.
 * Process: notifier, main thread.  If it dies, the next one sends what the queues hold, under the same ids. */
#include "notify/hooks/hooks-private.h"

#include "common/clock.h"
#include "common/dir.h"
#include "common/log.h"
#include "notify/hooks/module.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- life ---- */

static int make_dir(const char *data_dir)
{
	struct lp_buf path = LP_BUF_INIT;
	int r = 0;

	lp_buf_printf(&path, "%s/notify", data_dir);
	if (mkdir(lp_buf_cstr(&path), 0750) == 0)
		r = lp_dir_sync(data_dir);
	else if (errno != EEXIST)
		r = -errno;
	lp_buf_free(&path);
	return r;
}

/* A damaged file is kept for a person to look at; the queue begins anew. */
static void open_queue(struct lp_hook *hook)
{
	struct lp_buf path = LP_BUF_INIT, bad = LP_BUF_INIT;
	int r;

	lp_buf_printf(&path, "%s/notify/webhook-%s.queue", hook->hooks->notify->proc->data_dir, hook->target->name);
	lp_buf_printf(&bad, "%s.bad", lp_buf_cstr(&path));
	r = lp_hookq_open(lp_buf_cstr(&path), (uint64_t)hook->target->queue_bytes, &hook->queue);
	if (r == -EBADMSG && rename(lp_buf_cstr(&path), lp_buf_cstr(&bad)) == 0) {
		lp_log(LP_ERROR, "queue of a web hook is damaged, set aside target=%s path=%s", hook->target->name, lp_buf_cstr(&bad));
		r = lp_hookq_open(lp_buf_cstr(&path), (uint64_t)hook->target->queue_bytes, &hook->queue);
	}
	if (r < 0)
		lp_log(LP_ERROR, "queue of a web hook cannot be opened, nothing is sent there target=%s error=\"%s\"", hook->target->name,
		       r == -EPROTO ? "written by a newer version" : strerror(-r));
	lp_buf_free(&path);
	lp_buf_free(&bad);
}

static void close_targets(struct lp_hooks *hooks)
{
	lp_hooks_unwatch(hooks);
	for (uint32_t i = 0; i < hooks->n; i++) {
		struct lp_hook *hook = &hooks->hooks[i];

		lp_transport_cancel(&hook->transfer);
		if (hook->queue)
			(void)lp_hookq_sync(hook->queue);
		lp_hookq_close(&hook->queue);
	}
	free(hooks->hooks);
	hooks->hooks = NULL;
	hooks->n = 0;
	hooks->wants_logs = hooks->notify->watch_commits = false;
	lp_hook_targets_free(&hooks->targets);
}

/* The targets belong to hooks from here on. */
static int open_targets(struct lp_hooks *hooks, struct lp_hook_targets *targets)
{
	hooks->targets = targets;
	hooks->hooks = calloc(targets->n ? targets->n : 1, sizeof *hooks->hooks);
	if (!hooks->hooks)
		return -ENOMEM;
	hooks->n = targets->n;
	for (uint32_t i = 0; i < hooks->n; i++) {
		struct lp_hook *hook = &hooks->hooks[i];

		hook->hooks = hooks;
		hook->target = &targets->targets[i];
		if (!hook->target->enabled)
			continue;
		open_queue(hook);
		hooks->wants_logs |= hook->queue && hook->target->logs;
	}
	hooks->notify->watch_commits = hooks->wants_logs;
	/* Now rather than at the next tick: whoever reads "ready" may count on it. */
	if (hooks->wants_logs)
		lp_hooks_follow(hooks, lp_clock_mono_ms());
	return 0;
}

/* What the file says now; -ENOENT no file is configured, others were logged. */
static int load_targets(struct lp_hooks *hooks, struct lp_hook_targets **ret_targets)
{
	const char *path = lp_notify_conf(hooks->notify)->files.webhooks_file;
	struct lp_buf error = LP_BUF_INIT;
	int r;

	if (!*path)
		return -ENOENT;
	r = lp_hook_targets_load(path, ret_targets, &error);
	if (r == 0)
		r = make_dir(hooks->notify->proc->data_dir);
	if (r < 0) {
		lp_log(LP_ERROR, "web hooks are off or stay as they were: %s", error.len ? lp_buf_cstr(&error) : strerror(-r));
		if (!error.len)
			lp_hook_targets_free(ret_targets);
	}
	lp_buf_free(&error);
	return r == -ENOENT ? -EIO : r;
}

static void say_targets(const struct lp_hooks *hooks)
{
	uint32_t on = 0, waiting = 0;

	for (uint32_t i = 0; i < hooks->n; i++) {
		on += hooks->hooks[i].queue != NULL;
		waiting += hooks->hooks[i].queue ? lp_hookq_depth(hooks->hooks[i].queue) : 0;
	}
	lp_log(LP_INFO, "web hooks ready targets=%u queued=%u", on, waiting);
}

static int start(struct lp_notify *notify)
{
	struct lp_hooks *hooks = calloc(1, sizeof *hooks);
	struct lp_hook_targets *targets = NULL;
	int r;

	if (!hooks)
		return -ENOMEM;
	notify->hooks = hooks;
	hooks->notify = notify;
	lp_hooks_unpublish(hooks);
	if (load_targets(hooks, &targets) < 0)
		return 0;
	r = open_targets(hooks, targets);
	if (r == 0)
		say_targets(hooks);
	return r;
}

/* A request under way gets its answer first: cut off, it would be made again by the new target. */
static void reload(struct lp_notify *notify)
{
	struct lp_hooks *hooks = notify->hooks;
	struct lp_hook_targets *targets = NULL;
	int r = load_targets(hooks, &targets);

	if (r < 0 && r != -ENOENT)
		return;
	lp_hook_targets_free(&hooks->next);
	hooks->next = targets;
	hooks->reloading = true;
}

static void finish_reload(struct lp_hooks *hooks)
{
	struct lp_hook_targets *targets = hooks->next;
	struct lp_follow *old = hooks->follow;  /* holds the log until the new one has begun */

	hooks->next = NULL;
	hooks->reloading = false;
	hooks->follow = NULL;
	close_targets(hooks);
	if (targets && open_targets(hooks, targets) == 0)
		say_targets(hooks);
	else
		lp_hooks_unpublish(hooks);
	lp_follow_close(&old);
	hooks->metrics_hash = 0;
}

static bool sending(const struct lp_hooks *hooks)
{
	for (uint32_t i = 0; i < hooks->n; i++)
		if (hooks->hooks[i].transfer)
			return true;
	return false;
}

/* A request under way gets its answer, so that it is not made twice; what waits, waits for the next start.  The log is read to
 * its end: the writer has ended, and what is not in a queue by now the next server finds sealed. */
static bool quiet(struct lp_notify *notify)
{
	const struct lp_follow *follow = notify->hooks->follow;

	return !sending(notify->hooks) && (!follow || lp_follow_position(follow) >= lp_follow_committed(follow));
}

static int64_t tick(struct lp_notify *notify, int64_t now_ms)
{
	struct lp_hooks *hooks = notify->hooks;
	int64_t next_ms;

	if (hooks->reloading && !sending(hooks))
		finish_reload(hooks);
	if (!hooks->n)
		return LP_NOTIFY_NEVER;
	next_ms = lp_hooks_watch(hooks, now_ms);
	for (uint32_t i = 0; i < hooks->n; i++) {
		int64_t wants_ms = lp_hook_pump(&hooks->hooks[i], now_ms);

		if (wants_ms < next_ms)
			next_ms = wants_ms;
	}
	lp_hooks_publish(hooks, now_ms);
	return next_ms;
}

static void stop(struct lp_notify *notify)
{
	if (!notify->hooks)
		return;
	close_targets(notify->hooks);
	lp_hook_targets_free(&notify->hooks->next);
	free(notify->hooks);
	notify->hooks = NULL;
}

const struct lp_notify_module lp_hooks_module = {
	.name = "hooks", .start = start, .tick = tick, .reload = reload, .quiet = quiet, .stop = stop,
};

/* ---- alerts ---- */

/* An alert that names channels goes to the targets with those names, or of those kinds. */
static bool wants_alert(const struct lp_hook *hook, const struct lp_alert_event *event)
{
	const struct lp_hook_target *target = hook->target;

	if (!hook->queue || !target->alerts || (event->repeat && target->kind != LP_HOOK_ALERTMANAGER))
		return false;
	if (target->own_address)
		return event->webhook && lp_hook_url_valid(event->webhook);
	for (uint32_t i = 0; i < event->n_channels; i++)
		if (!strcmp(event->channels[i], target->name) || !strcmp(event->channels[i], lp_hook_kind_name(target->kind)))
			return true;
	return event->n_channels == 0;
}

static int queue_alert(struct lp_hook *hook, const struct lp_alert_event *event)
{
	struct lp_hookq_event item = {
		.id = lp_hook_alert_id(event), .fingerprint = lp_hook_alert_key(event), .created_ns = lp_clock_real_ns(),
		.format = (uint16_t)hook->target->kind, .class = LP_HOOK_ALERT, .trace = event->trace,
	};
	struct lp_buf body = LP_BUF_INIT, error = LP_BUF_INIT;
	int r;

	if (hook->target->kind == LP_HOOK_ALERTMANAGER && event->firing)
		item.expires_ns = event->ends_ns;
	/* While one that says the same waits, a renewal adds nothing. */
	if (event->repeat && lp_hookq_waits(hook->queue, item.fingerprint, item.created_ns))
		return 0;
	r = lp_hook_body_alert(hook->target, event, &body, &error);
	if (r == 0)
		r = lp_hookq_add(hook->queue, &item, body.data, body.len, NULL);
	if (r == -EINVAL || r == -EMSGSIZE) {
		/* It would fail again: the alert goes to the other targets all the same. */
		lp_log(LP_ERROR, "alert cannot be put into a body for a web hook target=%s rule=\"%.100s\" error=\"%.200s\"", hook->target->name,
		       event->rule, r == -EINVAL ? lp_buf_cstr(&error) : "too large");
		hook->counts.template++;
		r = 0;
	}
	lp_buf_free(&body);
	lp_buf_free(&error);
	return r == -EEXIST ? 0 : r;
}

int lp_hooks_alert(struct lp_notify *notify, const struct lp_alert_event *events, uint32_t n)
{
	struct lp_hooks *hooks = notify->hooks;
	int r = 0;

	for (uint32_t i = 0; hooks && i < hooks->n && r == 0; i++) {
		struct lp_hook *hook = &hooks->hooks[i];

		for (uint32_t k = 0; k < n && r == 0; k++)
			if (wants_alert(hook, &events[k]))
				r = queue_alert(hook, &events[k]);
		if (r == 0 && hook->queue)
			r = lp_hookq_sync(hook->queue);
	}
	if (r == 0 && n)
		lp_notify_wake(notify);
	return r;
}
