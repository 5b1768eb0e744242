/* Label pairs that pushes brought lately (k8s_namespace="web"), for showing them as series: a table of fixed size per
 * worker, so each has one writing process.  Readers take copies. */
#ifndef LP_SHM_PAIRS_H
#define LP_SHM_PAIRS_H

#include "shm/region.h"

#define LP_PAIRS_MAX 1024u              /* per worker */
#define LP_PAIRS_NAME_MAX 64u           /* bytes; a longer name or value is not kept */
#define LP_PAIRS_VALUE_MAX 128u

struct lp_pair {
	uint32_t seen_s;                /* when it came last; monotonic seconds, as told by the writer */
	uint16_t name_len, value_len;
	char name[LP_PAIRS_NAME_MAX], value[LP_PAIRS_VALUE_MAX];
};

/* Worker's side: what finds an entry again, in own memory; made anew from the table by the next worker. */
struct lp_pairs;

int lp_pairs_open(struct lp_region *region, uint32_t worker, struct lp_pairs **ret_pairs);      /* -ENOMEM */
void lp_pairs_close(struct lp_pairs **pairs);
/* It came now.  At most `max` entries are used; one that was not seen for ttl_s gives way.
 * 0, or -ENOBUFS when there is no room (or it is too long): the caller counts it. */
int lp_pairs_add(struct lp_pairs *pairs, const char *name, size_t name_len, const char *value, size_t value_len, uint32_t max,
		 uint32_t now_s, uint32_t ttl_s);

/* When a pair of this worker's found no room last, in the same seconds; 0 never.  Any process. */
uint32_t lp_pairs_overflow(struct lp_region *region, uint32_t worker);
/* Entry `i` of a worker's table: 1 and a consistent copy, 0 when it is empty or is changing this moment.  Any process. */
int lp_pairs_read(struct lp_region *region, uint32_t worker, uint32_t i, struct lp_pair *ret_pair);

#endif
