/* limits.otlp_config, ready for use: what the configuration says about attributes, with its regular expressions compiled.
 * Knows nothing of h2o; the master uses it to refuse a configuration. */
#ifndef LP_HTTP_OTLP_H
#define LP_HTTP_OTLP_H

#include "conf/conf.h"
#include "ingest/decode.h"

struct lp_otlp;

/* Replace *otlp (may be NULL: only check).  It borrows from conf.  -EINVAL with the option and the reason in error (may be NULL), -ENOMEM;
 * *otlp stays as it was. */
int lp_otlp_load(const struct lp_conf *conf, struct lp_otlp **otlp, struct lp_buf *error);
void lp_otlp_free(struct lp_otlp **otlp);
const struct lp_otlp_rules *lp_otlp_rules(const struct lp_otlp *otlp);          /* NULL for NULL */

#endif
