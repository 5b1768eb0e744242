/* From the command line to the supervision loop.
 *
 * Order: configuration, data directory and its lock (a second server stops here, before it can share our port by
 * SO_REUSEPORT), sockets, rights, region, children.  Process: master; nothing is on disk but LOCK and VERSION. */
#include "config.h"

#include "master/master.h"

#include "common/log.h"
#include "rules/rule.h"
#include "http/otlp.h"
#include "http/tls.h"
#include "notify/hooks/module.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define LANE_MIN (UINT64_C(64) << 10)
#define LANE_MAX (UINT64_C(1) << 30)

static void print(struct lp_buf *text, FILE *to)
{
	fputs(lp_buf_cstr(text), to);
	fflush(to);
	lp_buf_free(text);
}

/* Rule files belong to the configuration: a bad one is refused before anything starts. */
static int check_rules(const struct lp_conf *conf, struct lp_buf *error)
{
	struct lp_rule_set *set = NULL;
	int r = lp_rules_new(&set);

	if (r == 0)
		r = lp_rules_load_files(set, (const char *const *)conf->rules.files.items, conf->rules.files.n, conf->rules.tenant,
					conf->rules.evaluation_interval, error);
	lp_rules_free(&set);
	return r;
}

static int check_tls(const struct lp_conf *conf, struct lp_buf *error)
{
	struct ssl_ctx_st *tls = NULL;
	int r = lp_tls_load(conf, &tls, error);

	lp_tls_free(&tls);
	return r;
}

/* --version, --help, --print-config, --check-config and errors: the exit code, or -1 to go on. */
static int answer(const struct lp_conf_args *args, struct lp_conf *conf, int r, bool usage, struct lp_buf *error)
{
	struct lp_buf text = LP_BUF_INIT;

	if (args->version) {
		puts("logpulse " PACKAGE_VERSION);
		return LP_EXIT_OK;
	}
	if (args->help) {
		lp_conf_usage(&text);
		print(&text, stdout);
		return LP_EXIT_OK;
	}
	if (r == 0 && !args->print)
		r = check_rules(conf, error);
	if (r < 0) {
		fprintf(stderr, "logpulse: %s\n", error->len ? lp_buf_cstr(error) : strerror(-r));
		if (usage)
			fputs("Try 'logpulse --help'.\n", stderr);
		return usage ? LP_EXIT_USAGE : LP_EXIT_CONFIG;
	}
	if (args->print) {
		lp_conf_print(conf, &text);
		print(&text, stdout);
		return LP_EXIT_OK;
	}
	if (args->check) {
		for (size_t i = 0; i < conf->warnings.n; i++)
			fprintf(stderr, "logpulse: warning: %s\n", conf->warnings.items[i]);
		puts("configuration is valid");
		return LP_EXIT_OK;
	}
	return -1;
}

static uint32_t count_workers(const struct lp_conf *conf)
{
	int64_t n = conf->server.workers;
	cpu_set_t cpus;

	/* The CPUs that we may use, which in a container are fewer than there are. */
	if (n == 0)
		n = sched_getaffinity(0, sizeof cpus, &cpus) == 0 ? CPU_COUNT(&cpus) : 1;
	return n < 1 ? 1 : n > LP_MAX_WORKERS ? LP_MAX_WORKERS : (uint32_t)n;
}

static uint64_t lane_bytes(const struct lp_conf *conf)
{
	/* A body that may be sent must fit once it is encoded, with room to go on meanwhile. */
	uint64_t want = (uint64_t)conf->ingest.lane_bytes, body = (uint64_t)conf->ingest.max_body_bytes + LANE_MIN;
	uint64_t bytes = LANE_MIN;

	if (want < body)
		want = body;
	while (bytes < want && bytes < LANE_MAX)
		bytes *= 2;
	return bytes;
}

/* Who rotates logs or reloads does not know that we are still starting, or waiting for the lock: it is done when we are up. */
static void hold_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGUSR1);
	(void)sigprocmask(SIG_BLOCK, &set, NULL);
}

static int setup_signals(void)
{
	sigset_t set;

	/* A client that goes away must not end a worker: writev() has no MSG_NOSIGNAL. */
	signal(SIGPIPE, SIG_IGN);
	/* Beyond RLIMIT_FSIZE writes shall fail with EFBIG, as on a disk that refuses them, and not end the writer. */
	signal(SIGXFSZ, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGCHLD);
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
		return -errno;
	int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);

	return fd < 0 ? -errno : fd;
}

/* Everything that can fail before the first fork: 0 or the exit code. */
static int prepare(struct lp_master *master)
{
	struct lp_proc *proc = &master->proc;
	const struct lp_conf *conf = proc->conf;
	struct lp_ids ids;
	int r = lp_ids_find(conf->server.user, &ids);

	if (r == 0)
		r = lp_data_prepare(conf->storage.path, &ids, proc->data_dir, sizeof proc->data_dir);
	if (r == 0)
		r = lp_data_lock(proc->data_dir, &ids, &master->lock_fd);
	lp_rights_raise_files();
	if (r == 0)
		r = lp_listen_open(conf, master->workers, master->listen_fds);
	if (r == 0)
		r = lp_ids_become(&ids);
	if (r == 0)
		r = lp_data_version(proc->data_dir);
	if (r)
		return r;
	r = lp_log_setup("master", (enum lp_log_level)conf->logging.level, (enum lp_log_format)conf->logging.format,
			 conf->logging.file);
	if (r < 0) {
		lp_log(LP_FATAL, "log file cannot be opened path=%s error=\"%s\"", conf->logging.file, strerror(-r));
		return LP_EXIT_CANTCREATE;
	}
	proc->signal_fd = setup_signals();
	if (proc->signal_fd < 0) {
		lp_log(LP_FATAL, "signals cannot be set up error=\"%s\"", strerror(-proc->signal_fd));
		return LP_EXIT_FAILURE;
	}
	struct lp_buf error = { .max = 4096 };

	/* As the user that reads them again at a reload. */
	if (lp_tls_load(conf, &proc->tls, &error) < 0) {
		lp_log(LP_FATAL, "%s", error.len ? lp_buf_cstr(&error) : "out of memory");
		lp_buf_free(&error);
		return LP_EXIT_CONFIG;
	}
	const struct lp_region_config region = { .workers = master->workers, .lane_bytes = lane_bytes(conf) };

	r = lp_region_create(&region, &proc->region);
	if (r < 0) {
		lp_log(LP_FATAL, "shared memory cannot be made lane_bytes=%llu error=\"%s\"", (unsigned long long)region.lane_bytes,
		       strerror(-r));
		return LP_EXIT_FAILURE;
	}
	return 0;
}

int lp_master_main(int argc, char **argv)
{
	static struct lp_master master;         /* static: a path and 64 descriptors are in it */
	struct lp_conf_args args = { 0 };
	struct lp_buf error = { .max = 4096 };
	struct lp_conf *conf = NULL;
	bool usage = false;

	hold_signals();
	int r = lp_conf_load(argc, argv, &args, &conf, &usage, &error);

	if (r == 0) {
		r = lp_otlp_load(conf, NULL, &error);
		/* Only when asked: a secret that is missing is no reason to take no logs. */
		if (r == 0 && args.check)
			r = lp_hooks_check(conf, &error);
		if (r == 0 && args.check)
			r = check_tls(conf, &error);
		if (r < 0)
			lp_conf_free(&conf);
	}
	int code = answer(&args, conf, r, usage, &error);

	lp_buf_free(&error);
	if (code >= 0) {
		lp_conf_free(&conf);
		return code;
	}
	(void)lp_log_setup("master", (enum lp_log_level)conf->logging.level, (enum lp_log_format)conf->logging.format, NULL);
	master.proc = (struct lp_proc){ .conf = conf, .argc = argc, .argv = argv, .slot = LP_SLOT_MASTER, .listen_fd = -1,
					.signal_fd = -1 };
	master.lock_fd = -1;
	master.workers = count_workers(conf);
	for (uint32_t i = 0; i < LP_MAX_WORKERS; i++)
		master.listen_fds[i] = -1;
	lp_title_set("logpulse: master");
	code = prepare(&master);
	if (code == 0) {
		for (size_t i = 0; i < conf->warnings.n; i++)
			lp_log(LP_WARN, "configuration: %s", conf->warnings.items[i]);
		lp_log(LP_INFO, "starting version=" PACKAGE_VERSION " workers=%u data=%s", master.workers, master.proc.data_dir);
		code = lp_supervise(&master);
	}
	lp_listen_close(master.listen_fds, master.workers);
	if (master.proc.signal_fd >= 0)
		close(master.proc.signal_fd);
	if (master.lock_fd >= 0)
		close(master.lock_fd);
	lp_tls_free(&master.proc.tls);
	lp_region_close(&master.proc.region);
	lp_conf_free(&master.proc.conf);
	lp_conf_free(&master.proc.old_conf);
	return code;
}
