/* The notifier's module that exports spans (tracing.*). */
#ifndef LP_NOTIFY_TRACES_H
#define LP_NOTIFY_TRACES_H

#include "notify/notify.h"

extern const struct lp_notify_module lp_traces_module;

#endif
