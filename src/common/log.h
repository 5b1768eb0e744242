/* The process's own log: one line per event, "message key=value ...", to stderr or to a file.
 * Process folders log, library folders return errors.  Thread-safe; not for signal handlers.
 * Formats: json (one object per line), logfmt.  On a stderr that is the journal, "<N>" priorities
 * are put in front.  Repeated messages are limited: over 100 lines a second the rest is counted. */
#ifndef LP_COMMON_LOG_H
#define LP_COMMON_LOG_H

#include <stdbool.h>

enum lp_log_level { LP_DEBUG, LP_INFO, LP_WARN, LP_ERROR, LP_FATAL };
enum lp_log_format { LP_LOG_JSON, LP_LOG_LOGFMT };

/* Call before threads start.  `proc` names this process in each line; `path` NULL or "" means stderr.
 * -errno when the file cannot be opened (stderr stays in use). */
int lp_log_setup(const char *proc, enum lp_log_level level, enum lp_log_format format, const char *path);
void lp_log_set_proc(const char *proc);         /* after fork */
void lp_log_set_level(enum lp_log_level level); /* on reload */
int lp_log_reopen(void);                        /* SIGUSR1: open the same path again (logrotate) */
bool lp_log_enabled(enum lp_log_level level);

#define lp_log(level, ...)                                      \
	do {                                                    \
		if (lp_log_enabled(level))                      \
			lp_log_write((level), __VA_ARGS__);     \
	} while (0)
void lp_log_write(enum lp_log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
