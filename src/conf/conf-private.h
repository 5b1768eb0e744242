/* Inside of src/conf: the option table as data, and the entry points that the loader, the printer and the tests share. */
#ifndef LP_CONF_CONF_PRIVATE_H
#define LP_CONF_CONF_PRIVATE_H

#include "conf/conf.h"

#define LP_CONF_DEFAULT_PATH "/etc/logpulse/logpulse.yaml"
#define LP_CONF_MAX_TEXT 65536u         /* bytes of one value */
#define LP_CONF_MAX_ITEMS 1024u         /* items of one list */
#define LP_CONF_ENV_MAX 128u            /* bytes of an environment name */

enum lp_conf_type { LP_CONF_BOOL, LP_CONF_INT, LP_CONF_SIZE, LP_CONF_DURATION, LP_CONF_STRING, LP_CONF_ENUM, LP_CONF_LIST, LP_CONF_RULES };

struct lp_conf_option {
	const char *section, *field;    /* "server.tls", "cert_file"; section "": at the top */
	enum lp_conf_type type;
	bool restart, later;
	size_t offset;                  /* in struct lp_conf */
	int64_t min, max;               /* numbers only */
	const char *def;                /* as it would stand in the file */
	const char *values;             /* "a|b" of an enumeration; the actions of rules */
	const char *help;
};

struct lp_conf_section {
	const char *path, *text;
};

struct lp_conf_alias {
	const char *env, *path;
};

struct lp_conf_flag {
	const char *flag, *path, *help; /* path "" for flags that the loader handles itself */
};

extern const struct lp_conf_option lp_conf_options[];
extern const size_t lp_conf_n_options;
extern const struct lp_conf_section lp_conf_sections[];
extern const size_t lp_conf_n_sections;
extern const struct lp_conf_alias lp_conf_aliases[];
extern const size_t lp_conf_n_aliases;
extern const struct lp_conf_flag lp_conf_flags[];
extern const size_t lp_conf_n_flags;

/* "server.tls.cert_file"; an option of the section "" stands at the top of the file and has no prefix. */
void lp_conf_path(const struct lp_conf_option *option, char out[LP_CONF_ENV_MAX]);
/* The option of that path, or NULL. */
const struct lp_conf_option *lp_conf_find(const char *path);
bool lp_conf_is_section(const char *path, size_t len);
/* Append "; did you mean X?" to out when an option or section is near enough to `path`. */
void lp_conf_suggest(const char *path, struct lp_buf *out);
/* LOGPULSE_SERVER_TLS_CERT_FILE */
void lp_conf_env_name(const struct lp_conf_option *option, char out[LP_CONF_ENV_MAX]);

/* Set one option from text; a list is separated by commas.  -EINVAL with the reason appended to `reason`, the old
 * value stays; -ENOMEM. */
int lp_conf_set(struct lp_conf *conf, const struct lp_conf_option *option, const char *text, struct lp_buf *reason);
int lp_conf_list_add(struct lp_conf_list *list, const char *text, size_t len);
void lp_conf_list_clear(struct lp_conf_list *list);
void lp_conf_rules_clear(struct lp_conf_rules *rules);
/* From YAML, as a tree or as text.  -EINVAL with the reason (and line), the old rules stay; -ENOMEM. */
struct lp_yaml_node;
int lp_conf_rules_read(const struct lp_conf_option *option, const struct lp_yaml_node *list, struct lp_conf_rules *rules, uint32_t *ret_line,
		       const char **ret_what);
int lp_conf_rules_parse(const struct lp_conf_option *option, const char *text, struct lp_conf_rules *rules, struct lp_buf *reason);
void lp_conf_rules_print(const struct lp_conf_rules *rules, void (*print_text)(const char *s, struct lp_buf *out), struct lp_buf *out);

static inline void *lp_conf_field(const struct lp_conf *conf, const struct lp_conf_option *option)
{
	return (char *)(uintptr_t)conf + option->offset;
}

/* A value as it would stand in the file: quoted strings, 16MiB, 1h30m, [..]. */
void lp_conf_print_value(const struct lp_conf *conf, const struct lp_conf_option *option, struct lp_buf *out);
void lp_conf_print_size(int64_t bytes, struct lp_buf *out);
void lp_conf_print_duration(int64_t ms, struct lp_buf *out);
/* At most 80 bytes of a stranger's text, quoted, for a message. */
void lp_conf_quote(const char *text, struct lp_buf *out);

/* Apply a YAML document in memory on top of conf; `name` stands for the file in errors.  -EINVAL, -ENOMEM. */
int lp_conf_apply_yaml(struct lp_conf *conf, const char *name, const void *data, size_t len, struct lp_buf *error);
/* What no option can say alone: pairs that must agree.  -EINVAL. */
int lp_conf_cross_check(const struct lp_conf *conf, struct lp_buf *error);
/* otel.c.  One OTEL_ variable: its option, or a warning.  -ENOMEM. */
int lp_conf_otel(struct lp_conf *conf, const struct lp_conf_alias *alias, const char *value);
/* False: "option: item 2 ..." is in error. */
bool lp_conf_check_pairs(const char *option, const struct lp_conf_list *list, struct lp_buf *error);
/* The defaults as a commented file: etc/logpulse.yaml. */
int lp_conf_example(struct lp_buf *out);

#endif
