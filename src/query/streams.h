/* Which streams are stored, for callers that ask for no query. */
#ifndef LP_QUERY_STREAMS_H
#define LP_QUERY_STREAMS_H

#include "store/catalog.h"

/* Call each() for every stream with a line at or after since_ns, perhaps more than once.  labels: canonical bytes with the tenant, valid
 * during the call.  Reads indexes only.  Process: worker, any thread.  -ENOMEM and others of taking a snapshot. */
int lp_streams_since(struct lp_catalog *catalog, int64_t since_ns, void (*each)(void *ctx, const uint8_t *labels, uint32_t len), void *ctx);

#endif
