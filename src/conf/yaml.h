/* Bounded YAML reader on libyaml's events: a small tree with line numbers, no anchors, aliases, tags or merges.
 * Used for logpulse.yaml, the agent's file and (YAML being a superset of JSON) the agent's position file. */
#ifndef LP_CONF_YAML_H
#define LP_CONF_YAML_H

#include "common/arena.h"
#include "common/buf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LP_YAML_MAX_FILE (1u << 20)
#define LP_YAML_MAX_DEPTH 16u
#define LP_YAML_MAX_KEYS 1000u          /* per map */
#define LP_YAML_MAX_NODES 100000u
#define LP_YAML_MAX_VALUE 65536u        /* bytes of a scalar after expansion */

enum lp_yaml_kind { LP_YAML_SCALAR, LP_YAML_LIST, LP_YAML_MAP };

struct lp_yaml_node {
	enum lp_yaml_kind kind;
	uint32_t line;                  /* from 1; of the key when there is one */
	bool null;                      /* scalar: nothing, ~ or null without quotes; value is then "" */
	const char *key;                /* in a map, else NULL */
	const char *value;              /* scalar: NUL-terminated, no NUL inside */
	struct lp_yaml_node *child;     /* of lists and maps, in order */
	struct lp_yaml_node *next;
};

/* Parse one document.  The tree lives in the arena.  With `expand`, ${VAR} and ${VAR:-default} in scalar values are
 * replaced by the environment ($${ stands for a plain ${).  An empty document is an empty map.
 * -EINVAL with "name:line: reason" in error; -ENOMEM. */
int lp_yaml_parse(const char *name, const void *data, size_t len, bool expand, struct lp_arena *arena,
		  struct lp_yaml_node **ret_root, struct lp_buf *error);
/* Read a file of at most max_bytes into buf.
 * -errno of open or read, -EFBIG; the reason is in error. */
int lp_yaml_read(const char *path, size_t max_bytes, struct lp_buf *buf, struct lp_buf *error);

#endif
