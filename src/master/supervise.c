/* The master's loop: start, watch, reload, drain.
 *
 * Phases: START (writer recovers) -> WARM (workers announce themselves) -> RUN -> DRAIN (workers finish their requests)
 * -> FLUSH (writer commits what is in the lanes) -> end.  A second TERM or INT kills everything at once: what was
 * acknowledged is in the log.
 * A child whose main loop has not announced itself for 30 s (writer: 120 s, a disk may stall) hangs and gets SIGABRT,
 * for its core; SIGKILL five seconds later.  This does not depend on the service manager's watchdog, which is fed only
 * while writer and workers are fresh.  Time in which the master itself did not run (suspended, stopped) does not count.
 * Process: master.  If it dies, the kernel kills the children; the next master starts afresh. */
#include "master/child.h"

#include "common/clock.h"
#include "common/log.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#define HUNG_WORKER_MS 30000
#define HUNG_WRITER_MS 120000
#define ABORT_GRACE_MS 5000
#define NOTIFIER_STOP_MS 5000
#define TICK_FAST_MS 20         /* while something is expected that rings no bell */
#define TICK_MS 1000
#define SLEPT_MS 5000           /* a tick that comes this late means that we were stopped */

enum phase { PHASE_START, PHASE_WARM, PHASE_RUN, PHASE_DRAIN, PHASE_FLUSH };

struct super {
	struct lp_master *m;
	struct lp_child children[LP_MAX_WORKERS + 2];   /* 0 is the writer, workers + 1 the notifier */
	enum phase phase;
	int64_t now_ms, last_tick_ms;
	int64_t fresh_since_ms;         /* nobody is judged by anything older */
	int64_t deadline_ms;            /* DRAIN, FLUSH */
	int64_t notifier_ms;            /* by when the notifier must have ended */
	int64_t progress_ms;            /* next progress line */
	uint64_t watchdog_us;
	int exit_code;
	bool kill_all;
};

static struct lp_child *writer_of(struct super *s) { return &s->children[0]; }

static struct lp_child *notifier_of(struct super *s) { return &s->children[s->m->workers + 1]; }

static uint32_t last_child(const struct super *s) { return s->m->workers + 1; }

static const struct lp_conf *conf_of(const struct super *s) { return s->m->proc.conf; }

static struct lp_stat_row *stats_of(struct super *s) { return lp_stat_row(s->m->proc.region, LP_SLOT_MASTER); }

static unsigned running_workers(const struct super *s)
{
	unsigned n = 0;

	for (uint32_t i = 1; i <= s->m->workers; i++)
		n += s->children[i].pid > 0;
	return n;
}

static unsigned running(const struct super *s)
{
	unsigned n = 0;

	for (uint32_t i = 0; i <= last_child(s); i++)
		n += s->children[i].pid > 0;
	return n;
}

static void signal_workers(struct super *s, int sig)
{
	for (uint32_t i = 1; i <= s->m->workers; i++)
		if (s->children[i].pid > 0)
			(void)kill(s->children[i].pid, sig);
}

static void signal_all(struct super *s, int sig)
{
	for (uint32_t i = 0; i <= last_child(s); i++)
		if (s->children[i].pid > 0)
			(void)kill(s->children[i].pid, sig);
}

static int64_t alive_ms(struct super *s, const struct lp_child *child)
{
	return atomic_load(&lp_slot(s->m->proc.region, child->slot)->alive_mono_ms);
}

/* ---- deaths and starts ---- */

static void log_death(struct super *s, const struct lp_child *child, pid_t pid, int status)
{
	char name[32];
	bool expected = s->phase >= PHASE_DRAIN && WIFEXITED(status) && WEXITSTATUS(status) == 0;
	enum lp_log_level level = expected ? LP_INFO : LP_ERROR;

	lp_child_name(child, name);
	if (WIFSIGNALED(status))
		lp_log(level, "%s died pid=%d signal=%d core=%s", name, (int)pid, WTERMSIG(status),
		       WCOREDUMP(status) ? "yes" : "no");
	else
		lp_log(level, "%s ended pid=%d code=%d", name, (int)pid, WEXITSTATUS(status));
}

static void give_up(struct super *s, int code)
{
	s->exit_code = code;
	s->kill_all = true;
}

/* What cannot be answered with a restart. */
static void judge_exit(struct super *s, const struct lp_child *child, int status)
{
	if (!WIFEXITED(status) || WEXITSTATUS(status) == 0 || s->phase >= PHASE_DRAIN)
		return;
	if (WEXITSTATUS(status) == LP_EXIT_REGION) {
		lp_log(LP_FATAL, "shared region is damaged, ending; nothing acknowledged is only there");
		give_up(s, LP_EXIT_REGION);
	} else if (s->phase == PHASE_START && child == writer_of(s)) {
		lp_log(LP_FATAL, "writer cannot start code=%d", WEXITSTATUS(status));
		give_up(s, WEXITSTATUS(status));
	}
}

static bool wanted(const struct super *s, const struct lp_child *child)
{
	bool is_writer = child->slot == LP_SLOT_WRITER;

	if (s->kill_all || s->phase == PHASE_FLUSH)
		return false;
	if (is_writer)
		return true;            /* in DRAIN as well: the workers wait for its commits */
	return s->phase == PHASE_WARM || s->phase == PHASE_RUN;
}

/* So that the CPU time of "the writer" goes on growing when another one takes over. */
static void keep_cpu_time(struct super *s, const struct lp_child *child, const struct rusage *usage)
{
	uint64_t us = (uint64_t)(usage->ru_utime.tv_sec + usage->ru_stime.tv_sec) * 1000000 +
		      (uint64_t)(usage->ru_utime.tv_usec + usage->ru_stime.tv_usec);

	atomic_fetch_add(&lp_slot(s->m->proc.region, child->slot)->past_cpu_us, us);
}

static void reap(struct super *s)
{
	for (;;) {
		int status = 0;
		struct rusage usage = { 0 };
		pid_t pid = wait4(-1, &status, WNOHANG, &usage);

		if (pid <= 0)
			return;
		for (uint32_t i = 0; i <= last_child(s); i++) {
			struct lp_child *child = &s->children[i];

			if (child->pid != pid)
				continue;
			log_death(s, child, pid, status);
			keep_cpu_time(s, child, &usage);
			lp_child_died(s->m, child, s->now_ms);
			judge_exit(s, child, status);
		}
	}
}

static void start_missing(struct super *s)
{
	for (uint32_t i = 0; i <= last_child(s); i++) {
		struct lp_child *child = &s->children[i];
		char name[32];
		bool again = child->started_ms != 0;

		if (child->pid || !wanted(s, child) || s->now_ms < child->restart_ms)
			continue;
		if (lp_child_start(s->m, child) < 0)
			continue;
		if (again) {
			atomic_fetch_add(&lp_slot(s->m->proc.region, child->slot)->restarts, 1);
			lp_stat_add(stats_of(s), LP_STAT_CHILD_RESTARTS, 1);
		}
		lp_log(again ? LP_WARN : LP_INFO, "%s %s pid=%d", lp_child_name(child, name), again ? "restarted" : "started",
		       (int)child->pid);
	}
}

/* ---- the watch ---- */

static int64_t limit_ms(const struct lp_child *child)
{
	return child->slot == LP_SLOT_WRITER ? HUNG_WRITER_MS : HUNG_WORKER_MS;
}

/* A writer that has not announced itself yet replays its log, which may take its time. */
static bool hangs(struct super *s, const struct lp_child *child, int64_t limit)
{
	int64_t last = alive_ms(s, child);

	if (!last && child->slot == LP_SLOT_WRITER)
		return false;
	if (last < child->started_ms)
		last = child->started_ms;
	if (last < s->fresh_since_ms)
		last = s->fresh_since_ms;
	return s->now_ms - last > limit;
}

static void watch(struct super *s)
{
	bool all_fresh = true;
	char name[32];

	for (uint32_t i = 0; i <= last_child(s); i++) {
		struct lp_child *child = &s->children[i];

		if (!child->pid)
			continue;
		/* A notifier that hangs is no reason to end the server: nobody waits for it. */
		if (child != notifier_of(s) && hangs(s, child, limit_ms(child) / 2))
			all_fresh = false;
		if (!hangs(s, child, limit_ms(child)))
			continue;
		if (!child->abort_ms) {
			lp_log(LP_ERROR, "%s hangs, aborting it pid=%d", lp_child_name(child, name), (int)child->pid);
			(void)kill(child->pid, SIGABRT);
			child->abort_ms = s->now_ms;
		} else if (s->now_ms - child->abort_ms > ABORT_GRACE_MS) {
			(void)kill(child->pid, SIGKILL);
		}
	}
	if (s->watchdog_us && all_fresh)
		(void)sd_notify(0, "WATCHDOG=1");
}

/* ---- signals ---- */

static void reload(struct super *s)
{
	(void)sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%" PRId64, lp_clock_mono_ns() / 1000);
	if (lp_proc_reload(&s->m->proc) == 0) {
		lp_stat_add(stats_of(s), LP_STAT_CONFIG_RELOADS, 1);
		lp_log(LP_INFO, "configuration reloaded");
		signal_all(s, SIGHUP);
	} else {
		lp_stat_add(stats_of(s), LP_STAT_CONFIG_RELOAD_ERRORS, 1);
	}
	if (s->phase == PHASE_RUN)
		(void)sd_notify(0, "READY=1");
}

static void begin_drain(struct super *s, int sig)
{
	int64_t seconds = conf_of(s)->shutdown.http_timeout_seconds;

	lp_log(LP_INFO, "stopping signal=%d seconds=%" PRId64, sig, seconds);
	(void)sd_notify(0, "STOPPING=1\nSTATUS=Finishing requests");
	atomic_fetch_or(&lp_region_state(s->m->proc.region)->flags, LP_STATE_DRAINING);
	/* Our copies as well: new connections would sit in the queue and be reset at the end. */
	lp_listen_close(s->m->listen_fds, s->m->workers);
	s->phase = PHASE_DRAIN;
	s->deadline_ms = s->now_ms + seconds * 1000;
	s->progress_ms = s->now_ms + conf_of(s)->shutdown.progress_log_interval_seconds * 1000;
	signal_workers(s, SIGTERM);
}

static void take_signal(struct super *s, int sig)
{
	switch (sig) {
	case SIGTERM:
	case SIGINT:
		if (s->phase < PHASE_DRAIN) {
			begin_drain(s, sig);
		} else {
			lp_log(LP_WARN, "second signal, ending at once signal=%d", sig);
			give_up(s, LP_EXIT_OK);
		}
		break;
	case SIGHUP:
		if (s->phase < PHASE_DRAIN)
			reload(s);
		break;
	case SIGUSR1:
		if (lp_log_reopen() < 0)
			lp_log(LP_ERROR, "log file cannot be opened again error=\"%s\"", strerror(errno));
		signal_all(s, SIGUSR1);
		break;
	default:
		break;                  /* SIGCHLD only wakes us */
	}
}

static void read_signals(struct super *s)
{
	struct signalfd_siginfo info;

	while (read(s->m->proc.signal_fd, &info, sizeof info) == (ssize_t)sizeof info)
		take_signal(s, (int)info.ssi_signo);
}

/* ---- phases ---- */

static void warm(struct super *s)
{
	for (uint32_t i = 0; i <= s->m->workers; i++)
		if (!s->children[i].pid || (i && !alive_ms(s, &s->children[i])))
			return;
	s->phase = PHASE_RUN;
	lp_log(LP_INFO, "ready workers=%u port=%" PRId64 " data=%s", s->m->workers, conf_of(s)->server.port, s->m->proc.data_dir);
	(void)sd_notify(0, "READY=1\nSTATUS=Serving");
}

static void drain(struct super *s)
{
	unsigned left = running_workers(s);

	if (left && s->now_ms >= s->deadline_ms) {
		lp_log(LP_WARN, "requests not finished in time, ending them workers=%u", left);
		signal_workers(s, SIGKILL);
		s->deadline_ms = INT64_MAX;
	}
	if (left && s->now_ms >= s->progress_ms) {
		lp_log(LP_INFO, "finishing requests workers=%u connections=%" PRIu64, left,
		       lp_stat_sum(s->m->proc.region, LP_STAT_HTTP_CONNECTIONS));
		s->progress_ms = s->now_ms + conf_of(s)->shutdown.progress_log_interval_seconds * 1000;
		(void)sd_notifyf(0, "EXTEND_TIMEOUT_USEC=%d", 10000000);
	}
	if (left)
		return;
	(void)sd_notify(0, "STATUS=Committing");
	s->phase = PHASE_FLUSH;
	s->deadline_ms = s->now_ms + conf_of(s)->shutdown.ingestor_timeout_seconds * 1000;
	if (writer_of(s)->pid)
		(void)kill(writer_of(s)->pid, SIGTERM);
}

static void flush(struct super *s)
{
	if (writer_of(s)->pid && s->now_ms >= s->deadline_ms) {
		lp_log(LP_ERROR, "writer did not end in time, killing it; its log is complete");
		(void)kill(writer_of(s)->pid, SIGKILL);
		s->deadline_ms = INT64_MAX;
	}
	/* The last one: it reads the log to its end.  What it has not delivered then is in its queues. */
	if (!writer_of(s)->pid && notifier_of(s)->pid && !s->notifier_ms) {
		s->notifier_ms = s->now_ms + NOTIFIER_STOP_MS;
		(void)kill(notifier_of(s)->pid, SIGTERM);
	}
	if (notifier_of(s)->pid && s->notifier_ms && s->now_ms >= s->notifier_ms) {
		lp_log(LP_WARN, "notifier did not end in time, killing it");
		(void)kill(notifier_of(s)->pid, SIGKILL);
		s->notifier_ms = INT64_MAX;
	}
}

static void step(struct super *s)
{
	uint32_t flags = atomic_load(&lp_region_state(s->m->proc.region)->flags);

	if (s->kill_all) {
		signal_all(s, SIGKILL);
		return;
	}
	if (s->phase == PHASE_START && (flags & LP_STATE_READY)) {
		s->phase = PHASE_WARM;
		(void)sd_notify(0, "STATUS=Starting workers");
	}
	if (s->phase == PHASE_WARM)
		warm(s);
	if (s->phase == PHASE_DRAIN)
		drain(s);
	if (s->phase == PHASE_FLUSH)
		flush(s);
	start_missing(s);
}

/* Once a second. */
static void tick(struct super *s)
{
	if (s->now_ms - s->last_tick_ms < TICK_MS)
		return;
	if (s->now_ms - s->last_tick_ms > SLEPT_MS)
		s->fresh_since_ms = s->now_ms;
	s->last_tick_ms = s->now_ms;
	if (s->phase == PHASE_START)
		(void)sd_notify(0, "STATUS=Recovering the write-ahead log\nEXTEND_TIMEOUT_USEC=10000000");
	atomic_store(&lp_slot(s->m->proc.region, LP_SLOT_MASTER)->alive_mono_ms, s->now_ms);
	lp_proc_follow_log_level(&s->m->proc);
	watch(s);
}

static bool finished(const struct super *s)
{
	return (s->kill_all || s->phase == PHASE_FLUSH) && running(s) == 0;
}

int lp_supervise(struct lp_master *master)
{
	struct super s = { .m = master, .now_ms = lp_clock_mono_ms() };
	struct lp_slot_shm *own = lp_slot(master->proc.region, LP_SLOT_MASTER);

	atomic_store(&own->role, LP_ROLE_MASTER);
	atomic_store(&own->pid, (uint32_t)getpid());
	atomic_store(&own->started_ns, lp_clock_real_ns());
	(void)sd_watchdog_enabled(0, &s.watchdog_us);
	s.children[0].slot = LP_SLOT_WRITER;
	for (uint32_t i = 0; i < master->workers; i++) {
		s.children[i + 1].slot = LP_SLOT_WORKER(i);
		s.children[i + 1].worker = i;
	}
	notifier_of(&s)->slot = LP_SLOT_NOTIFIER;
	s.last_tick_ms = s.fresh_since_ms = s.now_ms;
	(void)sd_notify(0, "STATUS=Recovering the write-ahead log");
	start_missing(&s);
	while (!finished(&s)) {
		struct pollfd p = { .fd = master->proc.signal_fd, .events = POLLIN };
		/* The writer's readiness, a worker's first sign of life and a restart that waits ring no bell. */
		bool fast = s.phase == PHASE_START || s.phase == PHASE_WARM || running(&s) <= last_child(&s);

		(void)poll(&p, 1, fast ? TICK_FAST_MS : TICK_MS / 4);
		s.now_ms = lp_clock_mono_ms();
		read_signals(&s);
		reap(&s);
		step(&s);
		tick(&s);
	}
	lp_log(LP_INFO, "stopped");
	return s.exit_code;
}
