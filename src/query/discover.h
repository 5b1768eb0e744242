/* Labels that nobody sent: service_name, detected_level and (queries over several tenants) __tenant_id__, as Loki's clients see them.
 *
 * Loki adds the first two when lines are pushed.  Here they are computed when a query looks at the line: they follow from the stream's
 * labels, the entry's metadata and the line alone, so pushes and disk pay nothing, streams are not split, and the configuration
 * counts for what is stored already.  The original API's queries have none of them (no lp_discover, NULL everywhere below). */
#ifndef LP_QUERY_DISCOVER_H
#define LP_QUERY_DISCOVER_H

#include "common/arena.h"
#include "query/logql/ast.h"
#include "store/format/labels.h"

#define LP_SERVICE_NAME "service_name"
#define LP_UNKNOWN_SERVICE "unknown_service"
#define LP_DETECTED_LEVEL "detected_level"
#define LP_TENANT_ID "__tenant_id__"
#define LP_DISCOVER_VIRTUAL 2u          /* labels that may be added to a stream's own */

struct lp_discover_spec {               /* all borrowed */
	const char *const *service_labels;      /* service_name is the value of the first of these that a stream has */
	size_t n_service_labels;        /* 0: no service_name */
	bool levels;
	const char *const *level_fields;
	size_t n_level_fields;
	uint32_t json_depth;            /* objects inside objects that are looked at for a level; 0: any */
};

struct lp_discover {                    /* immutable, any number of threads */
	struct lp_str *services, *fields;
	uint32_t n_services, n_fields;
	bool levels, tenant;            /* add detected_level; __tenant_id__ */
	uint32_t json_depth;
	uint64_t field_lens;            /* bit n: a field has n bytes, or 63 and more */
};

/* What limits.* says; it borrows from conf. */
struct lp_conf;
struct lp_discover_spec lp_discover_spec_of(const struct lp_conf *conf);
/* *ret_discover is NULL when there is nothing to add; arena memory.  spec may be NULL.  -ENOMEM. */
int lp_discover_open(const struct lp_discover_spec *spec, bool tenant, struct lp_arena *arena, struct lp_discover **ret_discover);
/* A stream's labels with the added ones, ascending; at most cap (more: -EBADMSG).  They borrow from `labels` and from the program. */
int lp_discover_labels(const struct lp_discover *discover, const uint8_t *labels, size_t len, struct lp_label *ret_labels, uint32_t cap, uint32_t *ret_n);
/* lp_labels_find() over the same. */
int lp_discover_find(const struct lp_discover *discover, const uint8_t *labels, size_t len, const char *name, size_t name_len,
		     struct lp_label *ret_label);
/* May streams have a label of this name that was not sent?  Then indexes do not know it. */
bool lp_discover_adds(const struct lp_discover *discover, const char *name, size_t len);
/* The names of such labels: fills up to LP_DISCOVER_VIRTUAL. */
uint32_t lp_discover_names(const struct lp_discover *discover, const char *ret_names[LP_DISCOVER_VIRTUAL]);

/* ---- pipeline/level.c ---- */
/* A level that was named in so many words: "warning" is "warn"; what is no known level stays. */
void lp_level_normalize(const char **value, uint32_t *len);
/* What OpenTelemetry's severity number says; "info" when it is none. */
const char *lp_level_of_severity(const char *s, size_t n);
/* The level that a line names, "unknown" when none. */
const char *lp_level_of_line(const struct lp_discover *discover, const char *line, size_t len);

#endif
