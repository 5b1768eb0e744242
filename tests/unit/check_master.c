/* src/master: a real master with workers and a writer that do as the test says.
 *
 * Each test forks a process that runs lp_master_main(); its log comes through a pipe, and the test waits for lines of
 * it, so nothing sleeps.  What the children do is a letter in shared memory: the test changes it while they run. */
#include "master/master.h"

#include "common/clock.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

/* Shared by the test and its children. */
struct orders {
	_Atomic char worker;            /* 'r' run, 'c' crash at start, 'x' exit 0 at start, 'd' damaged region, 's' stay on TERM */
	_Atomic char writer;            /* 'r' run, 'e' exit 74 before it is ready, 's' stay on TERM */
	_Atomic char notifier;          /* 'r' run, 's' stay on TERM */
	_Atomic int reloads, ends;      /* what workers and writer did */
	_Atomic uint32_t worker_pid, writer_pid, notifier_pid;
	_Atomic int restarts, errors;   /* as the master's counters say; a worker copies them */
	_Atomic int open_listeners;     /* of the worker */
};
static struct orders *orders;

static char dir[] = "/tmp/check_master.XXXXXX";
static char data[64], config[64], port[8];
static pid_t master_pid;
static int log_fd = -1;
static char log_text[1 << 16];
static size_t log_len, log_seen;
static int activation_fd = -1;          /* given to the next master as a service manager does */
static char notify_path[64];

/* ---- the children ---- */

static int wait_for_signal(struct lp_proc *proc, char stay_order, _Atomic char *order)
{
	for (;;) {
		struct pollfd p = { .fd = proc->signal_fd, .events = POLLIN };
		struct signalfd_siginfo info;
		struct lp_slot_shm *slot = lp_slot(proc->region, proc->slot);

		atomic_store(&slot->alive_mono_ms, lp_clock_mono_ms());
		atomic_store(&orders->restarts, (int)lp_stat_sum(proc->region, LP_STAT_CHILD_RESTARTS));
		atomic_store(&orders->errors, (int)lp_stat_sum(proc->region, LP_STAT_CONFIG_RELOAD_ERRORS));
		(void)poll(&p, 1, 20);
		while (read(proc->signal_fd, &info, sizeof info) == (ssize_t)sizeof info) {
			if (info.ssi_signo == SIGHUP) {
				if (lp_proc_reload(proc) == 0)
					atomic_fetch_add(&orders->reloads, 1);
			} else if (info.ssi_signo != SIGUSR1 && atomic_load(order) != stay_order) {
				atomic_fetch_add(&orders->ends, 1);
				_exit(0);
			}
		}
	}
}

int lp_worker_main(struct lp_proc *proc)
{
	int on = 0;
	socklen_t len = sizeof on;

	switch (atomic_load(&orders->worker)) {
	case 'c': abort();
	case 'x': _exit(0);
	case 'd': _exit(LP_EXIT_REGION);
	default: break;
	}
	if (getsockopt(proc->listen_fd, SOL_SOCKET, SO_ACCEPTCONN, &on, &len) < 0 || !on)
		_exit(9);
	int listeners = 0;

	for (int fd = 0; fd < 200; fd++)
		if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &on, &len) == 0 && on)
			listeners++;
	atomic_store(&orders->open_listeners, listeners);
	if (proc->worker == 0)
		atomic_store(&orders->worker_pid, (uint32_t)getpid());
	return wait_for_signal(proc, 's', &orders->worker);
}

int lp_writer_main(struct lp_proc *proc)
{
	if (atomic_load(&orders->writer) == 'e')
		_exit(LP_EXIT_IO);
	if (proc->listen_fd != -1)
		_exit(9);
	atomic_store(&orders->writer_pid, (uint32_t)getpid());
	atomic_fetch_or(&lp_region_state(proc->region)->flags, LP_STATE_READY);
	return wait_for_signal(proc, 's', &orders->writer);
}

/* Ends on TERM unless it is told to stay; counts nothing, so that the numbers above are those of workers and writer. */
int lp_notifier_main(struct lp_proc *proc)
{
	if (proc->listen_fd != -1 || proc->slot != LP_SLOT_NOTIFIER)
		_exit(9);
	atomic_store(&orders->notifier_pid, (uint32_t)getpid());
	for (;;) {
		struct pollfd p = { .fd = proc->signal_fd, .events = POLLIN };
		struct signalfd_siginfo info;

		atomic_store(&lp_slot(proc->region, proc->slot)->alive_mono_ms, lp_clock_mono_ms());
		(void)poll(&p, 1, 20);
		while (read(proc->signal_fd, &info, sizeof info) == (ssize_t)sizeof info)
			if (info.ssi_signo == SIGTERM && atomic_load(&orders->notifier) != 's')
				_exit(0);
	}
}

/* ---- the test's side ---- */

static void write_file(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");

	ck_assert_ptr_nonnull(f);
	ck_assert_int_ge(fputs(text, f), 0);
	ck_assert_int_eq(fclose(f), 0);
}

static void free_port(char out[8])
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof a;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ck_assert_int_eq(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&a, &len), 0);
	snprintf(out, 8, "%u", ntohs(a.sin_port));
	close(fd);
}

static void setup(void)
{
	strcpy(dir, "/tmp/check_master.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(data, sizeof data, "%s/data", dir);
	snprintf(config, sizeof config, "%s/c.yaml", dir);
	write_file(config, "shutdown:\n  http_timeout_seconds: 20\n");
	free_port(port);
	orders = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(orders, MAP_FAILED);
	atomic_store(&orders->worker, 'r');
	atomic_store(&orders->writer, 'r');
	atomic_store(&orders->notifier, 'r');
	master_pid = 0;
}

static void teardown(void)
{
	char command[96];

	if (master_pid > 0) {
		kill(master_pid, SIGKILL);
		waitpid(master_pid, NULL, 0);
	}
	snprintf(command, sizeof command, "rm -rf %s", dir);
	ck_assert_int_eq(system(command), 0);
}

/* Run lp_master_main() with these arguments; its output goes to *ret_fd. */
static pid_t launch(int *ret_fd, const char *const *more)
{
	char *argv[24] = { (char *)"logpulse", (char *)"--config", config, (char *)"--port", port, (char *)"--host",
			   (char *)"127.0.0.1", (char *)"--storage-path", data, (char *)"--workers", (char *)"2",
			   (char *)"--log-format", (char *)"logfmt" };
	int argc = 13, fds[2];
	char pid_text[16];

	for (; more && *more; more++)
		argv[argc++] = (char *)*more;
	ck_assert_int_eq(pipe2(fds, O_CLOEXEC), 0);
	fflush(NULL);
	pid_t pid = fork();

	if (pid == 0) {
		dup2(fds[1], STDERR_FILENO);
		dup2(fds[1], STDOUT_FILENO);
		close(fds[0]);
		close(fds[1]);
		if (activation_fd >= 0) {
			snprintf(pid_text, sizeof pid_text, "%d", (int)getpid());
			if (activation_fd != 3) {
				dup2(activation_fd, 3);
				close(activation_fd);
			}
			setenv("LISTEN_FDS", "1", 1);
			setenv("LISTEN_PID", pid_text, 1);
		}
		if (*notify_path)
			setenv("NOTIFY_SOCKET", notify_path, 1);
		int code = lp_master_main(argc, argv);

		fflush(NULL);
		_exit(code);
	}
	close(fds[1]);
	*ret_fd = fds[0];
	log_len = log_seen = 0;
	return pid;
}

static void start_master(const char *const *more) { master_pid = launch(&log_fd, more); }

/* Read the log until it says `text` (after what earlier waits have found). */
static void expect(const char *text)
{
	int64_t deadline = lp_clock_mono_ms() + 20000;

	for (;;) {
		char *found;

		log_text[log_len] = 0;
		found = strstr(log_text + log_seen, text);
		if (found) {
			log_seen = (size_t)(found - log_text) + strlen(text);
			return;
		}
		struct pollfd p = { .fd = log_fd, .events = POLLIN };
		int64_t left = deadline - lp_clock_mono_ms();
		ssize_t n = left > 0 && poll(&p, 1, (int)left) == 1 ? read(log_fd, log_text + log_len, sizeof log_text - 1 - log_len) : 0;

		if (n <= 0)
			ck_abort_msg("no \"%s\" in:\n%s", text, log_text);
		log_len += (size_t)n;
	}
}

/* The same for a line that ends with a process id. */
static pid_t expect_pid(const char *text)
{
	expect(text);
	size_t from = log_seen;

	expect("\"");
	return (pid_t)atoi(log_text + from);
}

static int exit_code(pid_t pid)
{
	int status = 0;

	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static int master_exit(void)
{
	int code = exit_code(master_pid);

	master_pid = 0;
	return code;
}

/* A second master's exit code, without losing the first one's log. */
static int other_exit(const char *const *more, const char *text)
{
	int fd;
	size_t len = log_len, seen = log_seen;
	char out[4096] = "";
	size_t n = 0;
	pid_t pid = launch(&fd, more);

	log_len = len;
	log_seen = seen;
	for (ssize_t got; n < sizeof out - 1 && (got = read(fd, out + n, sizeof out - 1 - n)) > 0;)
		n += (size_t)got;
	close(fd);
	ck_assert_msg(strstr(out, text) != NULL, "no \"%s\" in: %s", text, out);
	return exit_code(pid);
}

START_TEST(starts_and_stops)
{
	char path[96], title[16] = "";
	struct stat st;

	start_master(NULL);
	expect("ready workers=2");
	ck_assert_int_eq(atomic_load(&orders->open_listeners), 1);
	ck_assert_int_eq(stat(data, &st), 0);
	ck_assert_uint_eq(st.st_mode & 07777, 0750);
	snprintf(path, sizeof path, "%s/VERSION", data);
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	ck_assert_int_eq(read(fd, title, sizeof title), 2);
	ck_assert_str_eq(title, "1\n");
	close(fd);
	kill(master_pid, SIGTERM);
	expect("stopping signal=15");
	expect("worker");
	expect("writer ended");
	expect("stopped");
	ck_assert_int_eq(master_exit(), 0);
	ck_assert_int_eq(atomic_load(&orders->ends), 3);
}
END_TEST

START_TEST(restarts_the_dead)
{
	char title[32] = "", path[64];

	start_master(NULL);
	expect("ready workers=2");
	snprintf(path, sizeof path, "/proc/%u/comm", atomic_load(&orders->worker_pid));
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	ck_assert_int_gt(read(fd, title, sizeof title - 1), 0);
	ck_assert_str_eq(title, "lp-worker-0\n");
	close(fd);
	kill((pid_t)atomic_load(&orders->worker_pid), SIGXCPU);         /* one that no sanitizer catches */
	expect("worker 0 died");
	expect("signal=24");
	expect("worker 0 restarted");
	kill((pid_t)atomic_load(&orders->writer_pid), SIGKILL);
	expect("writer died");
	/* TERM to a child alone: it ends by itself, and is missed. */
	kill(expect_pid("writer restarted pid="), SIGTERM);
	expect("writer ended");
	expect("writer restarted");
	kill(master_pid, SIGINT);
	expect("stopped");
	ck_assert_int_eq(master_exit(), 0);
	ck_assert_int_ge(atomic_load(&orders->restarts), 2);
}
END_TEST

START_TEST(throttles_a_crash_loop)
{
	int64_t before;

	start_master(NULL);
	expect("ready workers=2");
	atomic_store(&orders->worker, 'c');
	before = lp_clock_mono_ms();
	kill((pid_t)atomic_load(&orders->worker_pid), SIGKILL);
	for (int i = 0; i < 6; i++)
		expect("worker 0 died");
	atomic_store(&orders->worker, 'r');
	expect("worker 0 restarted");
	/* Five restarts at once, the sixth after a second. */
	ck_assert_int_ge(lp_clock_mono_ms() - before, 900);
	kill(master_pid, SIGTERM);
	ck_assert_int_eq(master_exit(), 0);
}
END_TEST

START_TEST(worker_that_ends_is_restarted)
{
	atomic_store(&orders->worker, 'x');
	start_master(NULL);
	expect("ended pid=");
	atomic_store(&orders->worker, 'r');
	expect("restarted");
	expect("ready workers=2");
	kill(master_pid, SIGTERM);
	ck_assert_int_eq(master_exit(), 0);
}
END_TEST

START_TEST(second_signal_ends_at_once)
{
	start_master(NULL);
	expect("ready workers=2");
	atomic_store(&orders->worker, 's');
	kill(master_pid, SIGTERM);
	expect("stopping signal=15");
	kill(master_pid, SIGTERM);
	expect("second signal");
	expect("stopped");
	ck_assert_int_eq(master_exit(), 0);
}
END_TEST

START_TEST(deadlines_of_a_drain)
{
	write_file(config, "shutdown:\n  http_timeout_seconds: 2\n  ingestor_timeout_seconds: 1\n  progress_log_interval_seconds: 1\n");
	start_master(NULL);
	expect("ready workers=2");
	atomic_store(&orders->worker, 's');
	atomic_store(&orders->writer, 's');
	kill(master_pid, SIGTERM);
	expect("finishing requests workers=2");
	expect("requests not finished in time");
	expect("writer did not end in time");
	expect("stopped");
	ck_assert_int_eq(master_exit(), 0);
}
END_TEST

START_TEST(reload_good_and_bad)
{
	start_master(NULL);
	expect("ready workers=2");
	write_file(config, "server:\n  read_timeout: yesterday\n");
	kill(master_pid, SIGHUP);
	expect("configuration not reloaded");
	write_file(config, "server:\n  read_timeout: 5s\n  idle_timeout: 6s\nstorage:\n  durability: process\n");
	kill(master_pid, SIGHUP);
	expect("need a restart");
	expect("storage.durability");
	expect("configuration reloaded");
	kill(master_pid, SIGUSR1);
	kill(master_pid, SIGTERM);
	expect("stopped");
	ck_assert_int_eq(master_exit(), 0);
	/* The bad file reached no child; the good one reached all three before TERM did. */
	ck_assert_int_eq(atomic_load(&orders->reloads), 3);
}
END_TEST

START_TEST(log_level_of_all)
{
	struct lp_region_config one = { .workers = 1, .lane_bytes = 64 << 10 };
	struct lp_conf conf = { .logging.level = LP_WARN };
	struct lp_proc master = { .conf = &conf, .slot = LP_SLOT_MASTER }, worker = { .conf = &conf, .slot = LP_SLOT_WORKER(0) };

	ck_assert_int_eq(lp_region_create(&one, &master.region), 0);
	worker.region = master.region;
	lp_proc_set_log_level(&worker, LP_DEBUG);
	ck_assert(lp_log_enabled(LP_DEBUG));
	lp_log_set_level(LP_WARN);              /* what follows is another process */
	lp_proc_follow_log_level(&master);
	ck_assert(lp_log_enabled(LP_DEBUG) && lp_proc_log_level(&master) == LP_DEBUG);
	/* A worker that reloads before the master did asks again; the master's reload ends it for both. */
	lp_proc_reset_log_level(&worker);
	ck_assert(!lp_log_enabled(LP_INFO) && lp_proc_log_level(&worker) == LP_DEBUG);
	lp_proc_follow_log_level(&worker);
	ck_assert(lp_log_enabled(LP_DEBUG));
	lp_proc_reset_log_level(&master);
	lp_log_set_level(LP_DEBUG);
	lp_proc_follow_log_level(&worker);
	ck_assert(!lp_log_enabled(LP_INFO) && lp_proc_log_level(&worker) == LP_WARN);
	/* Somebody wrote over it. */
	atomic_store(&lp_region_state(master.region)->log_level, 0xffffffffu);
	lp_proc_follow_log_level(&worker);
	ck_assert(!lp_log_enabled(LP_INFO) && lp_log_enabled(LP_WARN) && lp_proc_log_level(&worker) == LP_WARN);
	lp_region_close(&master.region);
}
END_TEST

START_TEST(lock_and_port)
{
	char other_data[80], other_port[8];

	start_master(NULL);
	expect("ready workers=2");
	ck_assert_int_eq(other_exit(NULL, "data directory is in use"), LP_EXIT_TEMPFAIL);
	snprintf(other_data, sizeof other_data, "%s/other", dir);
	const char *const busy[] = { "--storage-path", other_data, NULL };

	ck_assert_int_eq(other_exit(busy, "Address already in use"), LP_EXIT_CANTCREATE);
	/* The lock outlives the master as long as a child does, and is free soon after it was killed. */
	kill(master_pid, SIGKILL);
	ck_assert_int_eq(master_exit(), -SIGKILL);
	close(log_fd);
	free_port(other_port);
	start_master(NULL);
	expect("ready workers=2");
	kill(master_pid, SIGTERM);
	ck_assert_int_eq(master_exit(), 0);
}
END_TEST

START_TEST(takes_a_given_socket)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };

	/* The configured port is taken by somebody else, and is not needed. */
	a.sin_port = htons((uint16_t)atoi(port));
	activation_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(bind(activation_fd, (struct sockaddr *)&a, sizeof a), 0);
	ck_assert_int_eq(listen(activation_fd, 16), 0);
	start_master(NULL);
	close(activation_fd);
	activation_fd = -1;
	expect("ready workers=2");
	ck_assert_int_eq(atomic_load(&orders->open_listeners), 1);
	kill(master_pid, SIGTERM);
	ck_assert_int_eq(master_exit(), 0);
}
END_TEST

/* Datagrams to the service manager until one has this line. */
static void expect_notice(int fd, const char *line)
{
	for (;;) {
		char text[512] = "";
		struct pollfd p = { .fd = fd, .events = POLLIN };

		ck_assert_msg(poll(&p, 1, 20000) == 1, "no %s", line);
		ck_assert_int_gt(recv(fd, text, sizeof text - 1, 0), 0);
		if (strstr(text, line))
			return;
	}
}

START_TEST(tells_the_service_manager)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	snprintf(notify_path, sizeof notify_path, "%s/notify", dir);
	snprintf(a.sun_path, sizeof a.sun_path, "%s", notify_path);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
	start_master(NULL);
	notify_path[0] = 0;
	expect_notice(fd, "STATUS=Recovering");
	expect_notice(fd, "READY=1");
	kill(master_pid, SIGHUP);
	expect_notice(fd, "RELOADING=1\nMONOTONIC_USEC=");
	expect_notice(fd, "READY=1");
	kill(master_pid, SIGTERM);
	expect_notice(fd, "STOPPING=1");
	ck_assert_int_eq(master_exit(), 0);
	close(fd);
}
END_TEST

START_TEST(becomes_the_user)
{
	struct stat st;
	const char *const nobody[] = { "--user", "nobody", NULL }, *const none[] = { "--user", "no-such-user", NULL };

	if (geteuid() != 0)
		return;                 /* only root can become somebody */
	ck_assert_int_eq(chmod(dir, 0755), 0);
	ck_assert_int_eq(other_exit(none, "server.user is unknown"), LP_EXIT_CONFIG);
	start_master(nobody);
	expect("ready workers=2");
	ck_assert_int_eq(stat(data, &st), 0);
	ck_assert_uint_ne(st.st_uid, 0);
	char path[64];

	snprintf(path, sizeof path, "/proc/%u", atomic_load(&orders->worker_pid));
	struct stat of_process;

	ck_assert_int_eq(stat(path, &of_process), 0);
	ck_assert_uint_eq(of_process.st_uid, st.st_uid);
	kill(master_pid, SIGTERM);
	ck_assert_int_eq(master_exit(), 0);
}
END_TEST

START_TEST(lock_that_points_elsewhere)
{
	char lock[128], victim[128], text[16] = "";
	struct stat st;
	int fd;

	/* Whoever owns the directory must not make root write to, or give away, a file of somebody else. */
	snprintf(victim, sizeof victim, "%s/victim", dir);
	snprintf(lock, sizeof lock, "%s/LOCK", data);
	ck_assert_int_eq(mkdir(data, 0755), 0);
	fd = open(victim, O_WRONLY | O_CREAT, 0600);
	ck_assert_int_eq(write(fd, "secret", 6), 6);
	close(fd);
	for (int hard = 0; hard < 2; hard++) {
		ck_assert_int_eq(hard ? link(victim, lock) : symlink(victim, lock), 0);
		ck_assert_int_eq(other_exit(NULL, "lock file cannot be opened"), LP_EXIT_CANTCREATE);
		ck_assert_int_eq(unlink(lock), 0);
	}
	fd = open(victim, O_RDONLY);
	ck_assert_int_eq(read(fd, text, sizeof text), 6);
	ck_assert_int_eq(fstat(fd, &st), 0);
	ck_assert_uint_eq(st.st_uid, geteuid());
	close(fd);
}
END_TEST

START_TEST(refusals)
{
	char path[96];
	const char *const version[] = { "--version", NULL }, *const help[] = { "--help", NULL };
	const char *const check[] = { "--check-config", NULL }, *const show[] = { "--print-config", NULL };
	const char *const bad[] = { "--no-such-flag", NULL }, *const deep[] = { "--storage-path", "/proc/none/x", NULL };

	ck_assert_int_eq(other_exit(version, "logpulse "), 0);
	ck_assert_int_eq(other_exit(help, "--storage-path"), 0);
	ck_assert_int_eq(other_exit(check, "valid"), 0);
	ck_assert_int_eq(other_exit(show, "chunk_size_bytes"), 0);
	ck_assert_int_eq(other_exit(bad, "no-such-flag"), LP_EXIT_USAGE);
	ck_assert_int_eq(other_exit(deep, "cannot be made"), LP_EXIT_CANTCREATE);
	ck_assert_int_eq(mkdir(data, 0750), 0);
	snprintf(path, sizeof path, "%s/VERSION", data);
	write_file(path, "2\n");
	ck_assert_int_eq(other_exit(NULL, "newer LogPulse"), LP_EXIT_CONFIG);
	write_file(path, "one");
	ck_assert_int_eq(other_exit(NULL, "not a number"), LP_EXIT_CONFIG);
	write_file(config, "server:\n  port: 99999\n");
	ck_assert_int_eq(other_exit(check, "port"), LP_EXIT_CONFIG);
}
END_TEST

START_TEST(writer_that_cannot_start_ends_the_server)
{
	atomic_store(&orders->writer, 'e');
	start_master(NULL);
	expect("writer cannot start code=74");
	ck_assert_int_eq(master_exit(), LP_EXIT_IO);
}
END_TEST

START_TEST(damaged_region_ends_the_server)
{
	atomic_store(&orders->worker, 'd');
	start_master(NULL);
	expect("shared region is damaged");
	ck_assert_int_eq(master_exit(), LP_EXIT_REGION);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("master");
	TCase *tcase = tcase_create("master");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_set_timeout(tcase, 60);
	tcase_add_test(tcase, starts_and_stops);
	tcase_add_test(tcase, restarts_the_dead);
	tcase_add_test(tcase, throttles_a_crash_loop);
	tcase_add_test(tcase, worker_that_ends_is_restarted);
	tcase_add_test(tcase, second_signal_ends_at_once);
	tcase_add_test(tcase, deadlines_of_a_drain);
	tcase_add_test(tcase, reload_good_and_bad);
	tcase_add_test(tcase, log_level_of_all);
	tcase_add_test(tcase, lock_and_port);
	tcase_add_test(tcase, takes_a_given_socket);
	tcase_add_test(tcase, tells_the_service_manager);
	tcase_add_test(tcase, becomes_the_user);
	tcase_add_test(tcase, lock_that_points_elsewhere);
	tcase_add_test(tcase, refusals);
	tcase_add_test(tcase, writer_that_cannot_start_ends_the_server);
	tcase_add_test(tcase, damaged_region_ends_the_server);
	suite_add_tcase(suite, tcase);
	SRunner *runner = srunner_create(suite);

	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);

	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
