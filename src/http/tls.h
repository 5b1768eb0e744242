/* The server's certificate and key, read and checked as one.
 * The master reads them before its first fork and hands them down: a worker that is started again goes on with what was right
 * last, whatever the files hold by then. */
#ifndef LP_HTTP_TLS_H
#define LP_HTTP_TLS_H

#include "common/buf.h"
#include "conf/conf.h"

struct ssl_ctx_st;

/* *ret_ctx: NULL when the configuration has no TLS; free it with lp_tls_free().
 * Errors: -EINVAL a file cannot be read or used, and `error` says which and why; -ENOMEM. */
int lp_tls_load(const struct lp_conf *conf, struct ssl_ctx_st **ret_ctx, struct lp_buf *error);
void lp_tls_free(struct ssl_ctx_st **ctx);

#endif
