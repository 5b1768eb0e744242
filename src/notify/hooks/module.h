/* The web hooks module, for the notifier's list of modules and for --check-config. */
#ifndef LP_NOTIFY_HOOKS_MODULE_H
#define LP_NOTIFY_HOOKS_MODULE_H

#include "common/buf.h"
#include "conf/conf.h"

struct lp_notify_module;
extern const struct lp_notify_module lp_hooks_module;

/* Check the file that webhooks_file names.  -EINVAL and "file:line: ..." in error; -ENOMEM. */
int lp_hooks_check(const struct lp_conf *conf, struct lp_buf *error);

#endif
