/* What the rule routes share (rulesapi.c, alertsapi.c).  Process: worker, event loop. */
#ifndef LP_HTTP_RULESAPI_H
#define LP_HTTP_RULESAPI_H

#include "http/worker.h"

#define LP_RULES_DIR_MAX 4352
#define LP_TENANT_MAX 256

struct lp_view;

bool lp_rules_dir(struct lp_worker *worker, char out[LP_RULES_DIR_MAX]);
/* The request's one tenant; false: it has answered. */
bool lp_rules_tenant(struct lp_worker *worker, h2o_req_t *req, char out[LP_TENANT_MAX]);
/* Before and after a change of files below data/rules.  begin < 0: it has answered. */
int lp_rules_begin(struct lp_worker *worker, h2o_req_t *req, char dir[LP_RULES_DIR_MAX], int *ret_lock);
void lp_rules_end(struct lp_worker *worker, int lock, bool changed);
void lp_rules_failed(h2o_req_t *req, int r);            /* 507 or 500 */
/* What the notifier published last; NULL: nothing yet. */
struct lp_view *lp_rules_view(struct lp_worker *worker);

#endif
