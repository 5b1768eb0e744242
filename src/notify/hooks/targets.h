/* webhooks.yaml: the targets that log lines and alerts are sent to.  Both original forms are accepted:
 *
 *   webhooks:                              webhooks:
 *     - url: https://ops.example/hook        slack: {url: "${SLACK_URL}", enabled: true}
 *       events: [log, alert]                 webhook: {url: https://ops.example/hook, retry: 3, timeout: 5s}
 *
 * A target of the list may have a name (else webhook-1, webhook-2 ...); in a map the key is the name, and names the kind when it
 * is one.  Beside it, "rule_webhooks: true" lets rules name an address of their own (the original API's `webhook`).
 * Process: whoever checks the configuration, and the notifier. */
#ifndef LP_NOTIFY_HOOKS_TARGETS_H
#define LP_NOTIFY_HOOKS_TARGETS_H

#include "common/arena.h"
#include "common/buf.h"
#include "query/logql/ast.h"

#include <stdbool.h>
#include <stdint.h>

#define LP_HOOK_MAX_TARGETS 64u
#define LP_HOOK_MAX_HEADERS 32u
#define LP_HOOK_NAME_MAX 64u

/* The numbers stand in queue files. */
enum lp_hook_kind { LP_HOOK_WEBHOOK = 1, LP_HOOK_SLACK, LP_HOOK_PAGERDUTY, LP_HOOK_ALERTMANAGER };

/* What an event is about; the numbers stand in queue files. */
enum lp_hook_class { LP_HOOK_ALERT = 1, LP_HOOK_LOGS };

struct lp_hook_target {
	char name[LP_HOOK_NAME_MAX + 1];        /* letters, digits, - and _ : a file name and a metric's label */
	enum lp_hook_kind kind;
	uint32_t line;
	bool enabled, logs, alerts;
	bool own_address;                       /* each event brings its own: the target "rule", url is NULL */
	/* Secrets, all of them: never log these. */
	const char *url, *routing_key, *proxy;
	const char **headers;                   /* "Name: value" */
	uint32_t n_headers;
	const char *ca_file, *content_type;     /* NULL: default */
	int64_t timeout_ms, connect_timeout_ms;
	int64_t retry;                          /* attempts after the first; -1: until max_age */
	int64_t max_age_ms;                     /* an event that waited longer is given up */
	int64_t queue_bytes;
	/* log events */
	const char *tenant;                     /* NULL: every tenant's */
	struct lp_logql *selector;              /* NULL: every line */
	int64_t rate, burst;                    /* lines per second, and at once; rate 0: no limit */
	int64_t max_lines, max_bytes;           /* of one request */
	int64_t batch_wait_ms;                  /* lines of commits that follow each other this closely go together */
	struct lp_template *body;               /* NULL: the kind's own body */
};

struct lp_hook_targets {
	struct lp_arena arena;
	struct lp_hook_target *targets;
	uint32_t n;
};

/* Read and check the file and what it names (secret files, queries, templates).
 * -EINVAL and "file:line: key: reason" in error; -ENOMEM. */
int lp_hook_targets_load(const char *path, struct lp_hook_targets **ret_targets, struct lp_buf *error);
/* The same for text in memory; expand: ${VAR} stands for the environment. */
int lp_hook_targets_parse(const char *name, const void *text, size_t len, struct lp_hook_targets **ret_targets, struct lp_buf *error);
void lp_hook_targets_free(struct lp_hook_targets **targets);
/* http:// or https://, no blanks and nothing that would end a line. */
bool lp_hook_url_valid(const char *url);
const char *lp_hook_kind_name(enum lp_hook_kind kind);

#endif
