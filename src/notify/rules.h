/* The rules module of the notifier: evaluates rule files and rules made over HTTP, and publishes what it knows in data/rules/view. */
#ifndef LP_NOTIFY_RULES_H
#define LP_NOTIFY_RULES_H

#include "notify/notify.h"

extern const struct lp_notify_module lp_rules_module;

#endif
