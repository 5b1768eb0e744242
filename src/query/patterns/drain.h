/* Templates of log lines.  Pure: no clock, no chance, no locks; the same lines in the same order give the same clusters. */
#ifndef LP_QUERY_PATTERNS_DRAIN_H
#define LP_QUERY_PATTERNS_DRAIN_H

#include "common/buf.h"

#include <stdint.h>

#define LP_DRAIN_CLUSTERS 300u
#define LP_DRAIN_LINE 2048u             /* bytes of a line that are looked at; what follows is one placeholder */
#define LP_DRAIN_TOKENS 128u            /* as are tokens beyond these */
#define LP_DRAIN_BYTES (1024u << 10)    /* no miner needs more memory */

struct lp_drain;

/* -ENOMEM. */
int lp_drain_open(struct lp_drain **ret_drain);
void lp_drain_close(struct lp_drain **drain);

/* The cluster of a line, 0 to LP_DRAIN_CLUSTERS - 1; lines of different groups never meet.  *ret_fresh: the cluster is new, and what was
 * counted under its number so far belongs to one that was forgotten for it, the one unused for longest.  -ENOMEM. */
int lp_drain_add(struct lp_drain *drain, uint32_t group, const char *line, size_t len, uint32_t *ret_cluster, bool *ret_fresh);
/* The template of a cluster, with <_> for what varies; never two of them without something between. */
void lp_drain_print(const struct lp_drain *drain, uint32_t cluster, struct lp_buf *out);

#endif
