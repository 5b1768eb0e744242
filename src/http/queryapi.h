/* What the files with query routes share: queryapi.c (owns these), lokiapi.c.  Process: worker, event loop. */
#ifndef LP_HTTP_QUERYAPI_H
#define LP_HTTP_QUERYAPI_H

#include "http/params.h"
#include "http/worker.h"

/* Answer a parameter error with 400 and free form (and error). */
void lp_api_bad(h2o_req_t *req, struct lp_form *form, struct lp_buf *error);
void lp_api_bad_text(h2o_req_t *req, struct lp_form *form, const char *text);
/* The query's text; p may be NULL. */
void lp_api_set_text(struct lp_query_params *params, const struct lp_param *p);
/* Does the client ask for metadata and parsed labels beside the lines? */
bool lp_api_wants_categories(h2o_req_t *req);
/* For queries that must have a text: -EINVAL with the reason in error. */
int lp_api_check_text(const struct lp_worker *worker, const struct lp_query_params *params, struct lp_buf *error);
/* Log queries only: the limit against limits.max_entries_limit_per_query. */
int lp_api_check_entries_limit(const struct lp_worker *worker, const struct lp_query_params *params, struct lp_buf *error);
/* start, end and an optional selector. */
int lp_api_meta_params(const struct lp_worker *worker, const struct lp_form *form, struct lp_query_params *params, struct lp_buf *error);
/* Start the query and free the form. */
void lp_api_submit(struct lp_worker *worker, h2o_req_t *req, struct lp_form *form, struct lp_query_params *params, const char *route);

#endif
