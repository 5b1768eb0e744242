/* The notifier's module that exports spans (tracing.*). */
#ifndef LP_NOTIFY_TRACES_H
#define LP_NOTIFY_TRACES_H

#include "notify/notify.h"

struct lp_buf;
struct lp_span;

extern const struct lp_notify_module lp_traces_module;

/* One span as OTLP's JSON. */
void lp_traces_encode(struct lp_buf *out, const struct lp_span *span);

#endif
