/* logpulse-agent: scan, read, deliver, move the position, once a second.  If it dies anywhere, lines after the last saved
 * position are sent again. */
#include "agent/agent.h"
#include "common/clock.h"
#include "common/log.h"

#include <curl/curl.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sysexits.h>
#include <unistd.h>

#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#define BATCHES_PER_TURN 16     /* of one file, before the others have theirs */

struct agent {
	struct lp_agent_conf *conf;
	struct lp_tail *tail;
	struct lp_sender *sender;
	struct lp_tail_batch batch;
	struct lp_buf body;
	uint32_t max_bytes;             /* halved while the server finds bodies too large */
	int64_t last_ts;
	int64_t saved_ms;
	int stop_fd;
};

static void save(struct agent *agent)
{
	int r = lp_tail_save(agent->tail);

	if (r < 0)
		lp_log(LP_ERROR, "cannot write positions path=%s reason=\"%s\"", agent->conf->positions_file, strerror(-r));
	agent->saved_ms = lp_clock_mono_ms();
}

/* Equal lines must not get equal timestamps: the server would take them for one entry sent twice. */
static int64_t next_ts(struct agent *agent, uint32_t lines)
{
	int64_t now = lp_clock_real_ns(), ts = now > agent->last_ts ? now : agent->last_ts + 1;

	agent->last_ts = ts + lines;
	return ts;
}

static enum lp_sent deliver(struct agent *agent)
{
	if (lp_agent_encode(&agent->batch, next_ts(agent, agent->batch.n), &agent->body) < 0)
		return LP_SENT_TOO_LARGE;
	return lp_sender_deliver(agent->sender, &agent->body, agent->batch.n);
}

/* One file's turn: 1 when it has more, 0 when not, -ECANCELED to stop. */
static int work_file(struct agent *agent, struct lp_tail_file *file)
{
	for (unsigned i = 0; i < BATCHES_PER_TURN; i++) {
		int r = lp_tail_read(agent->tail, file, agent->max_bytes, &agent->batch);

		if (r < 0)
			lp_log(LP_WARN, "cannot read file path=%s reason=\"%s\"", file->path, strerror(-r));
		if (r <= 0)
			return 0;
		switch (deliver(agent)) {
		case LP_SENT_STOPPED:
			return -ECANCELED;
		case LP_SENT_TOO_LARGE:
			agent->max_bytes = (uint32_t)(agent->batch.end - file->offset) / 2;
			if (agent->max_bytes < 1024)
				agent->max_bytes = 1024;
			lp_log(LP_WARN, "smaller batches from now on bytes=%u", agent->max_bytes);
			continue;
		default:
			lp_tail_ack(agent->tail, &agent->batch);
		}
		if (lp_clock_mono_ms() - agent->saved_ms >= 1000)
			save(agent);
	}
	return 1;
}

static void run(struct agent *agent)
{
	int more = 0;

	while (!lp_agent_wait(agent->stop_fd, more > 0 ? 0 : 1000)) {
		int r = lp_tail_scan(agent->tail);

		if (r < 0)
			lp_log(LP_ERROR, "cannot look for files reason=\"%s\"", strerror(-r));
		more = 0;
		for (struct lp_tail_file *file = agent->tail->files; file && more >= 0; file = file->next) {
			r = work_file(agent, file);
			more = r < 0 ? r : more | r;
		}
		save(agent);
		if (more < 0)
			break;
	}
	save(agent);
}

static int start(struct agent *agent)
{
	struct lp_buf error = LP_BUF_INIT;
	sigset_t signals;
	int r;

	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	/* Before libcurl starts a resolver thread, which inherits the mask. */
	if (sigprocmask(SIG_BLOCK, &signals, NULL) < 0)
		return -errno;
	(void)signal(SIGPIPE, SIG_IGN);
	agent->stop_fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
	if (agent->stop_fd < 0)
		return -errno;
	if (curl_global_init(CURL_GLOBAL_DEFAULT))
		return -ENOMEM;
	r = lp_tail_open(agent->conf, &agent->tail, &error);
	if (r < 0)
		lp_log(LP_FATAL, "cannot use the position file reason=\"%s\"", lp_buf_cstr(&error));
	if (!r)
		r = lp_tail_batch_open(&agent->batch);
	if (!r)
		r = lp_sender_open(agent->conf, agent->stop_fd, &agent->sender);
	lp_buf_free(&error);
	return r;
}

static void usage(FILE *out)
{
	fputs("Usage: logpulse-agent [--config FILE] [--check-config]\n\n"
	      "Follows log files and sends their lines to a LogPulse server; see logpulse-agent(8).\n\n"
	      "  --config FILE        configuration (default " LP_AGENT_DEFAULT_PATH "); -config works too\n"
	      "  -t, --check-config   load the configuration, report the first error, exit 0 or 78\n"
	      "  -V, --version        print the version and exit\n"
	      "  -h, --help           print this and exit\n", out);
}

/* 0 to go on, or an exit code + 1. */
static int read_args(int argc, char **argv, const char **ret_path, bool *ret_check)
{
	for (int i = 1; i < argc; i++) {
		const char *arg = argv[i];

		if (!strcmp(arg, "-h") || !strcmp(arg, "--help")) {
			usage(stdout);
			return 1;
		}
		if (!strcmp(arg, "-V") || !strcmp(arg, "--version")) {
			puts("logpulse-agent " PACKAGE_VERSION);
			return 1;
		}
		if (!strcmp(arg, "-t") || !strcmp(arg, "--check-config")) {
			*ret_check = true;
		} else if ((!strcmp(arg, "--config") || !strcmp(arg, "-config")) && i + 1 < argc) {
			*ret_path = argv[++i];
		} else if (!strncmp(arg, "--config=", 9) || !strncmp(arg, "-config=", 8)) {
			*ret_path = strchr(arg, '=') + 1;
		} else {
			fprintf(stderr, "logpulse-agent: %s: unknown flag or missing value\n", arg);
			usage(stderr);
			return EX_USAGE + 1;
		}
	}
	return 0;
}

int main(int argc, char **argv)
{
	struct agent agent = { .max_bytes = LP_AGENT_MAX_BATCH, .stop_fd = -1 };
	const char *path = LP_AGENT_DEFAULT_PATH;
	struct lp_buf error = LP_BUF_INIT;
	bool check = false;
	int r = read_args(argc, argv, &path, &check);

	if (r)
		return r - 1;
	r = lp_agent_conf_load(path, &agent.conf, &error);
	if (r < 0 || check) {
		fprintf(stderr, "logpulse-agent: %s\n", r < 0 ? lp_buf_cstr(&error) : "configuration is valid");
		lp_agent_conf_free(&agent.conf);
		lp_buf_free(&error);
		return r < 0 ? EX_CONFIG : 0;
	}
	(void)lp_log_setup("logpulse-agent", LP_INFO, LP_LOG_LOGFMT, NULL);
	r = start(&agent);
	if (!r) {
		lp_log(LP_INFO, "started server=%s positions=%s", agent.conf->url, agent.conf->positions_file);
		run(&agent);
		lp_log(LP_INFO, "stopped");
	}
	lp_sender_close(&agent.sender);
	lp_tail_batch_close(&agent.batch);
	lp_tail_close(&agent.tail);
	lp_agent_conf_free(&agent.conf);
	lp_buf_free(&agent.body);
	lp_buf_free(&error);
	if (agent.stop_fd >= 0)
		close(agent.stop_fd);
	return r < 0;
}
