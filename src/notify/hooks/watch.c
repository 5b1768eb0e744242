/* Following the log for all targets that want log lines: one reader, each feed skips what it has had.
 *
 * Never in the way of writing: the follower lets go of files that it is too late for (store/follow.h), and what that costs the
 * targets is counted and told to them.  A tick reads for SLICE_MS at most, so that requests go on meanwhile.
 * Process: notifier, main thread.  If it dies here, the next one reads on from the positions in the queues; its WAL pin outlives it
 * (shm/slot.h), so that what it has not read is still there. */
#include "notify/hooks/hooks-private.h"

#include "common/clock.h"
#include "common/log.h"
#include "shm/commit.h"

#include <errno.h>
#include <string.h>

#define SLICE_MS 50
#define REOPEN_MS 250
#define SAVE_MS 1000

static void open_feeds(struct lp_hooks *hooks, lp_walpos from, lp_walpos committed)
{
	for (uint32_t i = 0; i < hooks->n; i++) {
		struct lp_hook *hook = &hooks->hooks[i];
		int r;

		if (!hook->target->logs || !hook->queue || hook->feed.target)
			continue;
		r = lp_feed_open(&hook->feed, hook->target, hook->queue, from, committed);
		if (r < 0)
			lp_log(LP_ERROR, "no log lines for web hook target=%s error=\"%s\"", hook->target->name, strerror(-r));
	}
}

/* What was there no more when the follower began; a target that had read farther has missed nothing. */
static void tell_missed(struct lp_hooks *hooks)
{
	uint64_t missed = lp_follow_dropped(hooks->follow);

	for (uint32_t i = 0; missed && i < hooks->n; i++) {
		struct lp_feed *feed = &hooks->hooks[i].feed;

		if (feed->target && feed->at.pos < lp_follow_position(hooks->follow))
			lp_feed_jumped(feed, missed);
	}
}

/* Where the target that has read least was; UINT64_MAX: all are new. */
static lp_walpos oldest_position(const struct lp_hooks *hooks)
{
	lp_walpos oldest = UINT64_MAX, pos;

	for (uint32_t i = 0; i < hooks->n; i++)
		if (hooks->hooks[i].target->logs && hooks->hooks[i].queue && lp_feed_position(hooks->hooks[i].queue, &pos) && pos < oldest)
			oldest = pos;
	return oldest;
}

void lp_hooks_follow(struct lp_hooks *hooks, int64_t now_ms)
{
	struct lp_catalog *catalog = hooks->wants_logs ? lp_notify_catalog(hooks->notify) : NULL;
	lp_walpos at = oldest_position(hooks);
	int r = -EAGAIN;

	if (catalog && at == UINT64_MAX && hooks->early)
		r = lp_follow_open(catalog, UINT64_MAX, &hooks->follow);
	else if (catalog)
		r = lp_follow_open_at(catalog, at, &hooks->follow);

	hooks->follow_ms = now_ms + REOPEN_MS;
	/* Recovery begins a new file, so what was committed since then begins with that. */
	if (r == -EAGAIN)
		hooks->early = true;
	if (r == 0) {
		lp_walpos committed = lp_follow_committed(hooks->follow);

		open_feeds(hooks, hooks->early ? LP_WALPOS(LP_WALPOS_FILE(committed), 0) : committed, committed);
		hooks->early = false;
		tell_missed(hooks);
	} else if (r != -EAGAIN)
		lp_log(LP_ERROR, "the log cannot be followed for web hooks error=\"%s\"", strerror(-r));
}

static void flush(struct lp_hook *hook, int64_t now_ms)
{
	int r = lp_feed_flush(&hook->feed, now_ms);

	if (r == -EINVAL)
		hook->counts.template++;
	if (r < 0 && !hook->feed_failed)
		lp_log(LP_ERROR, "log lines for a web hook are lost target=%s error=\"%s\"", hook->target->name,
		       r == -EINVAL ? "the template of its body failed" : strerror(-r));
	hook->feed_failed = r < 0;
}

static void read_log(struct lp_hooks *hooks, int64_t until_ms, bool *ret_more)
{
	lp_walpos limit = lp_follow_committed(hooks->follow);
	struct lp_follow_record record;
	uint64_t jumped;
	int r;

	while ((r = lp_follow_next(hooks->follow, limit, &record)) > 0) {
		for (uint32_t i = 0; i < hooks->n; i++)
			if (hooks->hooks[i].feed.target)
				(void)lp_feed_record(&hooks->hooks[i].feed, &record, lp_clock_mono_ms());
		if (lp_clock_mono_ms() >= until_ms)
			break;
	}
	jumped = lp_follow_dropped(hooks->follow);
	for (uint32_t i = 0; i < hooks->n; i++) {
		struct lp_feed *feed = &hooks->hooks[i].feed;

		if (!feed->target)
			continue;
		lp_feed_reached(feed, lp_follow_position(hooks->follow));
		if (jumped)
			lp_feed_jumped(feed, jumped);
	}
	*ret_more = r > 0;
	if (r < 0) {
		lp_log(LP_ERROR, "the log cannot be read for web hooks, going on behind it error=\"%s\"", strerror(-r));
		lp_follow_close(&hooks->follow);
	}
}

/* Batches whose time has come; positions once a second, for a quiet target's sake. */
static int64_t finish_batches(struct lp_hooks *hooks, int64_t now_ms)
{
	int64_t next_ms = LP_NOTIFY_NEVER;
	bool save = now_ms >= hooks->save_ms;

	if (save)
		hooks->save_ms = now_ms + SAVE_MS;
	for (uint32_t i = 0; i < hooks->n; i++) {
		struct lp_hook *hook = &hooks->hooks[i];

		if (!hook->feed.target)
			continue;
		if (lp_feed_due_ms(&hook->feed) <= now_ms)
			flush(hook, now_ms);
		if (save) {
			lp_feed_save(&hook->feed);
			(void)lp_hookq_sync(hook->queue);
		}
		if (lp_feed_due_ms(&hook->feed) < next_ms)
			next_ms = lp_feed_due_ms(&hook->feed);
	}
	return next_ms;
}

int64_t lp_hooks_watch(struct lp_hooks *hooks, int64_t now_ms)
{
	struct lp_notify *notify = hooks->notify;
	bool more = false;
	int64_t next_ms;

	if (!hooks->wants_logs)
		return LP_NOTIFY_NEVER;
	if (!hooks->follow && now_ms >= hooks->follow_ms)
		lp_hooks_follow(hooks, now_ms);
	if (!hooks->follow)
		return hooks->follow_ms;
	lp_commit_heard(notify->proc->region, notify->proc->slot);
	read_log(hooks, now_ms + SLICE_MS, &more);
	next_ms = finish_batches(hooks, now_ms);
	if (!hooks->follow)
		return hooks->follow_ms;
	/* Ask for the bell, then look once more: a commit in between would ring nobody. */
	if (!more && lp_commit_wait(notify->proc->region, notify->proc->slot) > lp_follow_position(hooks->follow))
		more = true;
	return more ? now_ms : next_ms;
}

void lp_hooks_unwatch(struct lp_hooks *hooks)
{
	for (uint32_t i = 0; i < hooks->n; i++) {
		struct lp_hook *hook = &hooks->hooks[i];

		if (!hook->feed.target)
			continue;
		flush(hook, lp_clock_mono_ms());
		lp_feed_save(&hook->feed);
		lp_feed_close(&hook->feed);
	}
	lp_follow_close(&hooks->follow);
}
