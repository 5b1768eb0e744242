/* Spans in OTLP 1.x' two encodings, protobuf and JSON (opentelemetry-proto, trace/v1).  Pure. */
#ifndef LP_NOTIFY_OTLP_H
#define LP_NOTIFY_OTLP_H

#include "common/buf.h"
#include "shm/spans.h"

#include <stdbool.h>

struct lp_otlp_resource {
	const char *service_name, *service_version;
	const char *const *attributes;  /* "name=value"; service.name is left out, service.version wins over the one above */
	size_t n_attributes;
};

/* One request: begin, spans, end.  What goes wrong is in out->failed. */
struct lp_otlp {
	struct lp_buf *out;             /* borrowed */
	bool json;
	uint32_t n;                     /* spans so far */
	size_t marks[2];                /* where the lengths of what is open stand */
};

void lp_otlp_begin(struct lp_otlp *otlp, struct lp_buf *out, bool json, const struct lp_otlp_resource *resource);
void lp_otlp_add(struct lp_otlp *otlp, const struct lp_span *span);
void lp_otlp_end(struct lp_otlp *otlp);
/* One span alone, as a JSON object. */
void lp_otlp_json(struct lp_buf *out, const struct lp_span *span);

#endif
