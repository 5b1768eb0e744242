/* Delete requests in force, compiled: which streams and entries they mean.
 * Process: worker (queries), writer (compaction). */
#ifndef LP_QUERY_DELETES_H
#define LP_QUERY_DELETES_H

#include "common/buf.h"
#include "query/logql/ast.h"
#include "store/deletes.h"

struct lp_line_filter;

struct lp_tomb {                        /* one request that is not processed */
	struct lp_delete request;
	struct lp_logql *logql;
	const struct lp_log_expr *log;
	struct lp_line_filter *filter;  /* NULL: every line */
};

struct lp_tombs {                       /* immutable, any thread */
	struct lp_deletes deletes;      /* all, processed ones too */
	struct lp_tomb *v;
	uint32_t n;
};

/* What is in force now.  -EBADMSG: the list is damaged, or a query in it cannot be read. */
int lp_tombs_load(const char *data_dir, struct lp_tombs **ret_tombs);
void lp_tombs_free(struct lp_tombs **tombs);

/* A delete query: a selector and line filters.  -EINVAL with Loki's text in error, -ENOMEM.  ret_* may be NULL. */
int lp_tomb_parse(const char *text, size_t len, struct lp_logql **ret_logql, struct lp_line_filter **ret_filter, struct lp_buf *error);
bool lp_tomb_stream(const struct lp_tomb *tomb, const uint8_t *labels, uint32_t len);
/* An entry of such a stream, of WAL file `file`. */
bool lp_tomb_entry(const struct lp_tomb *tomb, uint32_t file, int64_t ts, const char *line, uint32_t len);

#endif
