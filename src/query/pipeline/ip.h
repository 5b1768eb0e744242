/* ip("..."): one address, a range or a prefix, looked for in a text. */
#ifndef LP_QUERY_PIPELINE_IP_H
#define LP_QUERY_PIPELINE_IP_H

#include "common/arena.h"
#include "common/buf.h"

#include <stdbool.h>
#include <stddef.h>

struct lp_ip_match;

/* "10.0.0.1", "10.0.0.1-10.0.0.9", "10.0.0.0/8", and the same for IPv6.  -EINVAL with Loki's text in error. */
int lp_ip_compile(struct lp_arena *arena, const char *s, size_t n, struct lp_ip_match **ret_match, struct lp_buf *error);
/* Does an address in the text belong to the set? */
bool lp_ip_find(const struct lp_ip_match *match, const char *s, size_t n);

#endif
