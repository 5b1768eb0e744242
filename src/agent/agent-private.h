/* Between tail.c and positions.c. */
#ifndef LP_AGENT_AGENT_PRIVATE_H
#define LP_AGENT_AGENT_PRIVATE_H

#include "agent/agent.h"

struct lp_tail_file *lp_tail_file_new(const char *path);       /* fd -1; NULL out of memory */
int lp_positions_load(struct lp_tail *tail, struct lp_buf *error);

#endif
