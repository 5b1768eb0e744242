/* What the files with query routes share: queryapi.c (owns these), lokiapi.c.  Process: worker, event loop. */
#ifndef LP_HTTP_QUERYAPI_H
#define LP_HTTP_QUERYAPI_H

#include "http/params.h"
#include "http/worker.h"

/* Parameters of a route into `params`, of whose kind and flags the caller has taken care: 0, or -EINVAL with Loki's text in error. */
typedef int lp_api_read(const struct lp_worker *worker, const struct lp_form *form, struct lp_query_params *params, struct lp_buf *error);
/* A request for one query: read its parameters and start it, or answer 400. */
void lp_api_run(struct lp_worker *worker, h2o_req_t *req, struct lp_query_params *params, lp_api_read *read, const char *route);
/* The query's text; p may be NULL. */
void lp_api_set_text(struct lp_query_params *params, const struct lp_param *p);
/* Does the client ask for metadata and parsed labels beside the lines? */
bool lp_api_wants_categories(h2o_req_t *req);
/* For queries that must have a text: -EINVAL with the reason in error. */
int lp_api_check_text(const struct lp_worker *worker, const struct lp_query_params *params, struct lp_buf *error);
/* Log queries only: the limit against limits.max_entries_limit_per_query. */
int lp_api_check_entries_limit(const struct lp_worker *worker, const struct lp_query_params *params, struct lp_buf *error);
/* start, end and an optional selector; the second: one that must be there. */
lp_api_read lp_api_meta_params, lp_api_selector_params;

#endif
