/* The process's own log; see log.h.  One write(2) per line: lines of several processes never mix.
 * Nobody waits for a reader of standard error: while a pipe, a terminal or the journal takes nothing, lines are dropped and counted. */
#include "common/log.h"

#include "common/buf.h"
#include "common/clock.h"
#include "common/jsonw.h"
#include "common/rfc3339.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define LINES_PER_SECOND 100

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static atomic_int min_level = LP_INFO;
static enum lp_log_format out_format = LP_LOG_LOGFMT;
static char proc_name[32] = "logpulse";
static char *out_path;
static int out_fd = STDERR_FILENO;
static bool journal;
static int64_t window_s;
static unsigned window_lines, suppressed;

static const char *const level_names[] = { "debug", "info", "warn", "error", "fatal" };
static const char level_prio[] = { '7', '6', '4', '3', '2' };

static int open_log(const char *path)
{
	/* O_NONBLOCK: it may be a pipe or /dev/stderr. */
	int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0640);

	return fd < 0 ? -errno : fd;
}

/* systemd.exec(5): JOURNAL_STREAM names the device and inode of the stream to the journal; stderr may lead elsewhere by now. */
static bool stderr_is_journal(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	uint64_t dev, ino;
	struct stat st;

	return stream && sscanf(stream, "%" SCNu64 ":%" SCNu64, &dev, &ino) == 2 && fstat(STDERR_FILENO, &st) == 0 &&
		st.st_dev == dev && st.st_ino == ino;
}

/* O_NONBLOCK belongs to the open file, which whoever started us may use as well: so open it once more. */
static int open_stderr(void)
{
	struct stat st;

	if (fstat(STDERR_FILENO, &st) < 0 || (!S_ISFIFO(st.st_mode) && !S_ISCHR(st.st_mode)))
		return STDERR_FILENO;
	int fd = open("/proc/self/fd/2", O_WRONLY | O_APPEND | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);

	return fd < 0 ? STDERR_FILENO : fd;
}

int lp_log_setup(const char *proc, enum lp_log_level level, enum lp_log_format format, const char *path)
{
	int r = 0;

	pthread_mutex_lock(&lock);
	snprintf(proc_name, sizeof proc_name, "%s", proc);
	atomic_store(&min_level, (int)level);
	out_format = format;
	if (out_fd == STDERR_FILENO)
		out_fd = open_stderr();
	if (path && *path && (!out_path || strcmp(path, out_path))) {
		r = open_log(path);
		if (r >= 0) {
			if (out_fd != STDERR_FILENO)
				close(out_fd);
			out_fd = r;
			free(out_path);
			out_path = strdup(path);
			r = 0;
		}
	}
	journal = !out_path && stderr_is_journal();
	pthread_mutex_unlock(&lock);
	return r;
}

void lp_log_set_proc(const char *proc)
{
	snprintf(proc_name, sizeof proc_name, "%s", proc);
}

void lp_log_set_level(enum lp_log_level level)
{
	atomic_store(&min_level, (int)level);
}

int lp_log_reopen(void)
{
	int r = 0;

	pthread_mutex_lock(&lock);
	if (out_path) {
		r = open_log(out_path);
		if (r >= 0) {
			close(out_fd);
			out_fd = r;
			r = 0;
		}
	}
	pthread_mutex_unlock(&lock);
	return r;
}

bool lp_log_enabled(enum lp_log_level level)
{
	return (int)level >= atomic_load_explicit(&min_level, memory_order_relaxed);
}

static void format_line(struct lp_buf *line, enum lp_log_level level, const char *msg)
{
	char ts[LP_RFC3339_MAX];

	lp_rfc3339_format_ms(ts, lp_clock_real_ns());
	if (journal)
		lp_buf_printf(line, "<%c>", level_prio[level]);
	if (out_format == LP_LOG_JSON) {
		lp_buf_printf(line, "{\"ts\":\"%s\",\"level\":\"%s\",\"proc\":\"%s\",\"pid\":%d,\"msg\":", ts,
			      level_names[level], proc_name, (int)getpid());
		lp_jsonw_cstr(line, msg);
		lp_buf_str(line, "}\n");
	} else {
		lp_buf_printf(line, "ts=%s level=%s proc=\"%s\" pid=%d msg=", ts, level_names[level], proc_name,
			      (int)getpid());
		lp_jsonw_cstr(line, msg);
		lp_buf_byte(line, '\n');
	}
}

/* False: it would have had to wait. */
static bool write_line(enum lp_log_level level, const char *msg)
{
	struct lp_buf line = LP_BUF_INIT;
	bool full = false;

	format_line(&line, level, msg);
	if (!line.failed && line.len) {
		ssize_t n = send(out_fd, line.data, line.len, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0 && errno == ENOTSOCK)
			n = write(out_fd, line.data, line.len);
		full = n < 0 && errno == EAGAIN;        /* another error has nowhere to be told */
	}
	lp_buf_free(&line);
	return !full;
}

void lp_log_write(enum lp_log_level level, const char *fmt, ...)
{
	char msg[2048], note[64];
	va_list ap;
	int saved = errno;

	va_start(ap, fmt);
	vsnprintf(msg, sizeof msg, fmt, ap);
	va_end(ap);
	pthread_mutex_lock(&lock);
	int64_t now_s = lp_clock_mono_ns() / LP_NS_PER_SEC;

	if (now_s != window_s) {
		if (suppressed) {
			snprintf(note, sizeof note, "log lines suppressed count=%u", suppressed);
			if (write_line(LP_WARN, note))
				suppressed = 0;
		}
		window_s = now_s;
		window_lines = 0;
	}
	if ((++window_lines > LINES_PER_SECOND && level < LP_FATAL) || !write_line(level, msg))
		suppressed++;
	pthread_mutex_unlock(&lock);
	errno = saved;
}
