/* logpulse-agent: one process, one thread.  config.c reads the file, tail.c finds and reads lines, send.c delivers them,
 * main.c joins them.  A position moves only after the server has acknowledged the lines before it. */
#ifndef LP_AGENT_AGENT_H
#define LP_AGENT_AGENT_H

#include "common/arena.h"
#include "common/buf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define LP_AGENT_DEFAULT_PATH "/etc/logpulse/logpulse-agent.yaml"
#define LP_AGENT_MAX_LINE (256u << 10)          /* longer lines are cut into pieces: limits.max_line_size of the server */
#define LP_AGENT_MAX_BATCH (1u << 20)           /* bytes read from a file at once */
#define LP_AGENT_MAX_LINES 5000u                /* per batch */
#define LP_AGENT_MAX_LABELS 64u
#define LP_AGENT_HEAD 256u                      /* bytes at a file's start that identify it */
#define LP_AGENT_LINGER 60u                     /* quiet scans after which a rotated file is let go */

struct lp_agent_label {
	const char *name, *value;
};

struct lp_agent_target {
	const char *path;               /* glob pattern */
	struct lp_agent_label labels[LP_AGENT_MAX_LABELS];
	size_t n_labels;
	struct lp_agent_target *next;
};

struct lp_agent_conf {
	struct lp_arena arena;          /* everything below lives here */
	const char *url, *api_key, *positions_file;
	struct lp_agent_target *targets;
};

/* -EINVAL with "file:line: reason" in error; -ENOMEM.  The environment (LOGPULSE_SERVER_URL, LOGPULSE_API_KEY) wins. */
int lp_agent_conf_load(const char *path, struct lp_agent_conf **ret_conf, struct lp_buf *error);
void lp_agent_conf_free(struct lp_agent_conf **conf);

struct lp_tail_file {
	dev_t dev;
	ino_t ino;
	int fd;
	char *path;                     /* where it was seen last */
	const struct lp_agent_target *target;
	int64_t offset;                 /* acknowledged up to here */
	uint32_t head_bytes, head_crc;  /* crc32c of the file's first bytes */
	uint32_t quiet;                 /* scans without news since it left the pattern */
	bool matched;                   /* by the last scan */
	struct lp_tail_file *next;
};

struct lp_tail_line {
	uint32_t off, len;
};

/* Lines of one file, to be acknowledged together. */
struct lp_tail_batch {
	struct lp_tail_file *file;      /* valid until the next lp_tail_scan() */
	char *text;                     /* LP_AGENT_MAX_BATCH bytes, owned */
	struct lp_tail_line *lines;     /* LP_AGENT_MAX_LINES, owned */
	uint32_t n;
	int64_t end;                    /* position after the last of them */
	uint32_t head_bytes, head_crc;
};

struct lp_tail {
	const struct lp_agent_conf *conf;
	struct lp_tail_file *files;
	bool dirty;                     /* positions differ from the file */
	bool started;
};

int lp_tail_batch_open(struct lp_tail_batch *batch);
void lp_tail_batch_close(struct lp_tail_batch *batch);
/* Read the position file, if there is one.  -EINVAL: it is damaged (the reason is in error). */
int lp_tail_open(const struct lp_agent_conf *conf, struct lp_tail **ret_tail, struct lp_buf *error);
void lp_tail_close(struct lp_tail **tail);
/* Match the patterns: new files are opened, rotated ones kept, quiet rotated ones let go.  Once a second. */
int lp_tail_scan(struct lp_tail *tail);
/* Whole lines after the file's position, at most max_bytes: 1 and a batch, 0 nothing new, -errno. */
int lp_tail_read(struct lp_tail *tail, struct lp_tail_file *file, uint32_t max_bytes, struct lp_tail_batch *batch);
void lp_tail_ack(struct lp_tail *tail, const struct lp_tail_batch *batch);
/* Write the position file when it is out of date: temporary file, fdatasync, rename.  -errno. */
int lp_tail_save(struct lp_tail *tail);

const char *lp_agent_level(const char *line, size_t len);
/* MessagePack body of POST /ingest; line i carries the timestamp ts_ns + i. */
int lp_agent_encode(const struct lp_tail_batch *batch, int64_t ts_ns, struct lp_buf *out);

struct lp_sender;
enum lp_sent { LP_SENT_OK, LP_SENT_DROPPED, LP_SENT_TOO_LARGE, LP_SENT_STOPPED };
/* stop_fd becomes readable when the agent shall stop (signalfd); it is never read. */
int lp_sender_open(const struct lp_agent_conf *conf, int stop_fd, struct lp_sender **ret_sender);
void lp_sender_close(struct lp_sender **sender);
/* Deliver one body, for as long as it takes. */
enum lp_sent lp_sender_deliver(struct lp_sender *sender, const struct lp_buf *body, uint32_t lines);
/* Wait; true when the agent shall stop. */
bool lp_agent_wait(int stop_fd, int ms);

#endif
