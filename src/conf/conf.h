/* Configuration: defaults < file < environment < flags.  One table (conf.def) makes everything here.
 * Process: each process loads for itself (the master first, so that a bad file stops nobody). */
#ifndef LP_CONF_CONF_H
#define LP_CONF_CONF_H

#include "common/buf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct lp_conf_list {
	char **items;           /* owned */
	size_t n;
};

enum lp_conf_action { LP_ACTION_INDEX_LABEL, LP_ACTION_STRUCTURED_METADATA, LP_ACTION_DROP };

struct lp_conf_rule {
	enum lp_conf_action action;
	struct lp_conf_list attributes;         /* names; or */
	char *regex;                            /* of whole names; NULL when there are attributes */
};

struct lp_conf_rules {
	struct lp_conf_rule *v;
	size_t n;
};

/* struct lp_conf { struct { int64_t port; ... } server; struct { ... } server_tls; ... }; */
struct lp_conf {
#define LP_SECTION(id, path, text) struct {
#define LP_SECTION_END(id, path) } id;
#define LP_BOOL(sect, field, def, reload, effect, help) bool field;
#define LP_INT(sect, field, def, min, max, reload, effect, help) int64_t field;
#define LP_SIZE(sect, field, def, min, max, reload, effect, help) int64_t field;
#define LP_DURATION(sect, field, def, min, max, reload, effect, help) int64_t field;
#define LP_STRING(sect, field, def, reload, effect, help) char *field;
#define LP_ENUM(sect, field, def, values, reload, effect, help) int field;
#define LP_LIST(sect, field, def, reload, effect, help) struct lp_conf_list field;
#define LP_RULES(sect, field, actions, reload, effect, help) struct lp_conf_rules field;
#include "conf/conf.def"
#undef LP_SECTION
#undef LP_SECTION_END
#undef LP_BOOL
#undef LP_INT
#undef LP_SIZE
#undef LP_DURATION
#undef LP_STRING
#undef LP_ENUM
#undef LP_LIST
#undef LP_RULES
	struct lp_conf_list warnings;           /* what was ignored while loading: to be logged once, by who serves */
};

enum lp_tracing_exporter { LP_TRACING_NONE, LP_TRACING_OTLP, LP_TRACING_STDOUT, LP_TRACING_CONSOLE };  /* order of tracing.exporter */
enum lp_tracing_protocol { LP_TRACING_PROTOBUF, LP_TRACING_JSON };      /* order of tracing.protocol */
enum lp_tracing_compression { LP_TRACING_PLAIN, LP_TRACING_GZIP };      /* order of tracing.compression */
enum lp_rate_limit_by { LP_RATE_LIMIT_BY_ADDRESS, LP_RATE_LIMIT_BY_KEY };        /* order of rate_limit.by */
enum lp_durability { LP_DURABILITY_SYNC, LP_DURABILITY_PROCESS };      /* order of storage.durability */
enum lp_deletion_mode { LP_DELETION_DISABLED, LP_DELETION_FILTER_ONLY, LP_DELETION_FILTER_AND_DELETE };    /* limits.deletion_mode */

/* What the command line asked for besides options. */
struct lp_conf_args {
	const char *config_path;        /* borrowed from argv or LOGPULSE_CONFIG; NULL: /etc/logpulse/logpulse.yaml if it exists, else none */
	bool check, print, version, help;
};

/* Load everything.  argv is looked at only; the same argv may be loaded again for a reload.
 * Errors: -EINVAL with the reason in `error` ("file.yaml:12: server.port: 99999 is out of range 1..65535"),
 * *ret_usage true when it was the command line (exit 64 instead of 78); -ENOMEM.  args is filled even when the file is bad. */
int lp_conf_load(int argc, char *const argv[], struct lp_conf_args *args, struct lp_conf **ret_conf, bool *ret_usage,
		 struct lp_buf *error);
/* Defaults only (tests, tools). */
int lp_conf_defaults(struct lp_conf **ret_conf);
void lp_conf_free(struct lp_conf **conf);

/* YAML of the effective configuration; the key is printed as "<hidden>" when it is set. */
void lp_conf_print(const struct lp_conf *conf, struct lp_buf *out);
void lp_conf_usage(struct lp_buf *out);         /* --help */
void lp_conf_man(struct lp_buf *out);           /* the option part of logpulse.yaml(5), troff; used by man/ */
/* Names of changed options that need a restart, separated by ", ", for the log line of a reload. */
void lp_conf_restart_needed(const struct lp_conf *old_conf, const struct lp_conf *new_conf, struct lp_buf *out);

struct lp_sampler;
/* What tracing.* means for a process' own spans; off when nothing is exported. */
void lp_conf_sampler(const struct lp_conf *conf, struct lp_sampler *ret_sampler);
/* "name=value" of tracing.headers and .resource_attributes, both percent-encoded, as name, separator, value; the caller frees it.
 * -EINVAL no name, a control character or not UTF-8; -ENOMEM. */
int lp_conf_pair(const char *item, const char *separator, char **ret_pair);

/* "5m", "1h30m", "7d", "250ms" -> ms.  "64KiB", "10MB", "1024" -> bytes.  -EINVAL, -ERANGE. */
int lp_conf_parse_duration(const char *s, int64_t *ret_ms);
int lp_conf_parse_size(const char *s, int64_t *ret_bytes);

#endif
