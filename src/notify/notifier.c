/* The notifier process: the loop that its modules hang on, and the only process that opens connections to others.
 *
 * Guarantees: it announces itself at least once a second while its loop turns (the master aborts it after 30 s without); on
 * SIGTERM it ends when all modules are quiet, at the latest after LP_NOTIFY_STOP_MS.
 * Process: notifier, main thread.  If it dies or is stopped here, pushes and queries do not notice: it holds no lock, nobody
 * waits for it, and a WAL file that it has pinned only waits until the master has replaced it.  What it must remember is in
 * files that its modules write before they act. */
#include "notify/notify.h"
#include "notify/hooks/module.h"
#include "notify/rules.h"

#include "common/clock.h"
#include "common/log.h"
#include "shm/commit.h"
#include "store/catalog.h"
#include "notify/traces.h"
#include "store/map.h"

#include <curl/curl.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define TICK_MS 500

/* In the order in which events go: who tells before who sends. */
static const struct lp_notify_module *const modules[] = {
	&lp_rules_module,
	&lp_hooks_module,
	&lp_traces_module,
	NULL
};

void lp_notify_wake(struct lp_notify *notify) { lp_region_ring(lp_region_notifier_bell(notify->proc->region)); }

void *lp_notify_curl(struct lp_notify *notify)
{
	/* Not before somebody needs it: its libraries cost more memory than all the rest of this process. */
	if (!notify->curl && curl_global_init(CURL_GLOBAL_DEFAULT) == 0)
		notify->curl = curl_multi_init();
	return notify->curl;
}

struct lp_catalog *lp_notify_catalog(struct lp_notify *notify)
{
	struct lp_proc *proc = notify->proc;

	if (!notify->catalog) {
		int r = lp_catalog_open(proc->data_dir, proc->region, proc->slot, &notify->catalog);

		if (r < 0)
			lp_log(LP_ERROR, "the store cannot be opened error=\"%s\"", strerror(-r));
	}
	return notify->catalog;
}

static void finish_transfers(struct lp_notify *notify)
{
	int running, left;
	CURLMsg *msg;

	(void)curl_multi_perform(notify->curl, &running);
	while ((msg = curl_multi_info_read(notify->curl, &left))) {
		struct lp_notify_transfer *transfer = NULL;
		CURL *easy = msg->easy_handle;
		int code = (int)msg->data.result;

		if (msg->msg != CURLMSG_DONE)
			continue;
		(void)curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **)&transfer);
		(void)curl_multi_remove_handle(notify->curl, easy);
		if (transfer)
			transfer->done(transfer, code);
	}
}

static void reload(struct lp_notify *notify)
{
	if (lp_proc_reload(notify->proc) < 0)
		return;                 /* it has said why; the old one stays */
	for (size_t i = 0; modules[i]; i++)
		if (modules[i]->reload)
			modules[i]->reload(notify);
}

static void take_signals(struct lp_notify *notify)
{
	struct signalfd_siginfo info;

	while (read(notify->proc->signal_fd, &info, sizeof info) == (ssize_t)sizeof info) {
		switch (info.ssi_signo) {
		case SIGINT:            /* Ctrl-C reaches the whole family: the master says when it is our turn */
			break;
		case SIGTERM:
			if (!notify->stopping)
				notify->stop_by_ms = lp_clock_mono_ms() + LP_NOTIFY_STOP_MS;
			notify->stopping = true;
			break;
		case SIGHUP:
			reload(notify);
			break;
		case SIGUSR1:
			(void)lp_log_reopen();
			break;
		}
	}
}

/* Sleep for at most ms, or until a bell, a signal or a transfer. */
static void wait_for_work(struct lp_notify *notify, int64_t ms)
{
	int signals = notify->proc->signal_fd, bell = lp_region_notifier_bell(notify->proc->region);
	int commits = notify->watch_commits ? lp_commit_bell(notify->proc->region, notify->proc->slot) : -1;
	unsigned n = commits >= 0 ? 3 : 2;
	int timeout = ms < 0 ? 0 : ms > TICK_MS ? TICK_MS : (int)ms;
	uint64_t rung;

	if (notify->curl) {
		struct curl_waitfd fds[3] = { { signals, CURL_WAIT_POLLIN, 0 }, { bell, CURL_WAIT_POLLIN, 0 },
					      { commits, CURL_WAIT_POLLIN, 0 } };

		(void)curl_multi_poll(notify->curl, fds, n, timeout, NULL);
		finish_transfers(notify);
	} else {
		struct pollfd fds[3] = { { .fd = signals, .events = POLLIN }, { .fd = bell, .events = POLLIN },
					 { .fd = commits, .events = POLLIN } };

		(void)poll(fds, n, timeout);
	}
	ssize_t got = read(bell, &rung, sizeof rung);

	(void)got;                      /* non-blocking; only the wake-up counts */
	take_signals(notify);
}

static bool all_quiet(struct lp_notify *notify)
{
	for (size_t i = 0; modules[i]; i++)
		if (modules[i]->quiet && !modules[i]->quiet(notify))
			return false;
	return true;
}

static void loop(struct lp_notify *notify)
{
	int64_t now_ms = lp_clock_mono_ms();

	for (;;) {
		int64_t next_ms = now_ms + TICK_MS;

		atomic_store_explicit(&notify->slot->alive_mono_ms, now_ms, memory_order_relaxed);
		lp_proc_follow_log_level(notify->proc);
		if (notify->catalog)
			lp_catalog_tick(notify->catalog);
		for (size_t i = 0; modules[i]; i++) {
			int64_t wants_ms = modules[i]->tick(notify, now_ms);

			if (wants_ms < next_ms)
				next_ms = wants_ms;
		}
		if (notify->stopping && (all_quiet(notify) || now_ms >= notify->stop_by_ms))
			return;
		wait_for_work(notify, next_ms - lp_clock_mono_ms());
		now_ms = lp_clock_mono_ms();
	}
}

static int start(struct lp_notify *notify)
{
	int r = lp_region_check(notify->proc->region);

	if (r < 0)
		return r;
	notify->slot = lp_slot(notify->proc->region, notify->proc->slot);
	notify->row = lp_stat_row(notify->proc->region, notify->proc->slot);
	atomic_store_explicit(&notify->slot->alive_mono_ms, lp_clock_mono_ms(), memory_order_relaxed);
	r = lp_map_init();
	for (size_t i = 0; r == 0 && modules[i]; i++)
		r = modules[i]->start(notify);
	/* What our predecessor had not read yet is of no use to us. */
	if (r == 0 && !notify->watch_commits)
		lp_slot_unpin(notify->proc->region, notify->proc->slot, LP_WAL_PIN_NONE);
	return r;
}

int lp_notifier_main(struct lp_proc *proc)
{
	struct lp_notify *notify = calloc(1, sizeof *notify);

	if (!notify)
		return 1;
	notify->proc = proc;
	int r = start(notify);

	if (r < 0)
		lp_log(LP_FATAL, "notifier cannot start error=\"%s\"", strerror(-r));
	else
		loop(notify);
	for (size_t i = 0; modules[i]; i++)
		modules[i]->stop(notify);
	if (notify->curl)
		(void)curl_multi_cleanup(notify->curl);
	lp_catalog_close(&notify->catalog);
	free(notify);
	return r == -EPROTO ? LP_EXIT_REGION : r < 0 ? 1 : 0;
}
