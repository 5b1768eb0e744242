/* Starting a child, and what its death means for its next start.
 *
 * A child that lived less than ten seconds six times in a row waits 1, 2, 4 ... 30 s before the next start; one that
 * lived longer starts again at once.  Process: master, and the child up to its entry point.  If the child dies before
 * its entry point, it is a death like any other. */
#include "master/child.h"

#include "common/clock.h"
#include "common/log.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

const char *lp_child_name(const struct lp_child *child, char out[32])
{
	if (child->slot == LP_SLOT_WRITER)
		snprintf(out, 32, "writer");
	else if (child->slot == LP_SLOT_NOTIFIER)
		snprintf(out, 32, "notifier");
	else
		snprintf(out, 32, "worker %u", child->worker);
	return out;
}

static bool is_worker(const struct lp_child *child) { return child->slot >= LP_SLOT_WORKER(0); }

static int enter(struct lp_proc *proc)
{
	switch (proc->slot) {
	case LP_SLOT_WRITER:
		return lp_writer_main(proc);
	case LP_SLOT_NOTIFIER:
		return lp_notifier_main(proc);
	default:
		return lp_worker_main(proc);
	}
}

static enum lp_role role_of(const struct lp_child *child)
{
	return child->slot == LP_SLOT_WRITER ? LP_ROLE_WRITER : child->slot == LP_SLOT_NOTIFIER ? LP_ROLE_NOTIFIER : LP_ROLE_WORKER;
}

static void set_names(const struct lp_child *child)
{
	char name[32], text[64];

	lp_child_name(child, name);
	snprintf(text, sizeof text, "logpulse: %s", name);
	lp_title_set(text);
	lp_log_set_proc(name);
	if (is_worker(child))
		snprintf(text, sizeof text, "lp-worker-%u", child->worker);
	else
		snprintf(text, sizeof text, "lp-%s", name);
	(void)prctl(PR_SET_NAME, text);
}

/* In the child; never returns. */
static void run(struct lp_master *master, const struct lp_child *child, pid_t master_pid)
{
	struct lp_proc proc = master->proc;
	bool worker = is_worker(child);
	sigset_t set;

	/* The parent may have died before the request was made. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != master_pid)
		_exit(LP_EXIT_FAILURE);
	/* Own process group: Ctrl-C on a terminal is the master's to translate. */
	(void)setpgid(0, 0);
	set_names(child);
	/* The master stores it too, but perhaps later: nothing is published before the writer knows whom to kill for it. */
	atomic_store(&lp_slot(master->proc.region, child->slot)->pid, (uint32_t)getpid());
	(void)unsetenv("NOTIFY_SOCKET");
	for (uint32_t i = 0; i < master->workers; i++)
		if (master->listen_fds[i] >= 0 && (!worker || i != child->worker))
			close(master->listen_fds[i]);
	close(master->proc.signal_fd);
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	(void)sigprocmask(SIG_UNBLOCK, &set, NULL);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGUSR1);
	proc.signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (proc.signal_fd < 0) {
		lp_log(LP_FATAL, "signalfd failed error=\"%s\"", strerror(errno));
		exit(LP_EXIT_FAILURE);
	}
	if (lp_region_check(proc.region) < 0) {
		lp_log(LP_FATAL, "shared region has another layout or is damaged");
		exit(LP_EXIT_REGION);
	}
	proc.slot = child->slot;
	proc.worker = worker ? child->worker : 0;
	proc.listen_fd = worker ? master->listen_fds[child->worker] : -1;
	exit(enter(&proc));
}

int lp_child_start(struct lp_master *master, struct lp_child *child)
{
	struct lp_slot_shm *slot = lp_slot(master->proc.region, child->slot);
	pid_t self = getpid(), pid;

	atomic_store(&slot->role, role_of(child));
	atomic_store(&slot->started_ns, lp_clock_real_ns());
	child->started_ms = lp_clock_mono_ms();
	child->abort_ms = 0;
	pid = fork();
	if (pid < 0) {
		int r = -errno;

		lp_log(LP_ERROR, "fork failed error=\"%s\"", strerror(-r));
		child->restart_ms = child->started_ms + 1000;
		return r;
	}
	if (pid == 0)
		run(master, child, self);
	atomic_store(&slot->pid, (uint32_t)pid);
	child->pid = pid;
	return 0;
}

void lp_child_died(struct lp_master *master, struct lp_child *child, int64_t now_ms)
{
	lp_slot_clear(master->proc.region, child->slot);
	child->pid = 0;
	if (now_ms - child->started_ms >= LP_CHILD_SHORT_MS) {
		child->short_lives = 0;
		child->backoff_ms = 0;
	} else if (++child->short_lives > LP_CHILD_FREE_RESTARTS) {
		child->backoff_ms = child->backoff_ms ? child->backoff_ms * 2 : 1000;
		if (child->backoff_ms > LP_CHILD_BACKOFF_MAX_MS)
			child->backoff_ms = LP_CHILD_BACKOFF_MAX_MS;
	}
	child->restart_ms = now_ms + child->backoff_ms;
}
