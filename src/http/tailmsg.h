/* What a client of /stream may say: {"type":"filter","labels":{..}} or {"type":"query","query":".."}.  Pure, any process. */
#ifndef LP_HTTP_TAILMSG_H
#define LP_HTTP_TAILMSG_H

#include "common/arena.h"
#include "common/buf.h"

#include <stdbool.h>
#include <stddef.h>

#define LP_TAIL_FILTERS_MAX 64u         /* equality filters of one client */

struct lp_tail_filter {
	const char *name, *value;
	size_t name_len, value_len;
};

struct lp_tail_wish {                   /* what a client wants to see */
	const char *query;              /* LogQL, or empty */
	size_t query_len;
	struct lp_tail_filter filters[LP_TAIL_FILTERS_MAX];
	size_t n_filters;
};

/* Parse one message into a wish (strings in the arena or in the text).  -EINVAL with a text for the client; -ENOMEM. */
int lp_tail_message_parse(const void *text, size_t len, struct lp_arena *arena, struct lp_tail_wish *ret_wish, struct lp_buf *error);
/* One more filter; -EINVAL with a text: too many, or no label's name. */
int lp_tail_wish_add(struct lp_tail_wish *wish, const char *name, size_t name_len, const char *value, size_t value_len, struct lp_buf *error);
/* The wish as one LogQL text: the filters as matchers in front of those of the query. */
void lp_tail_wish_text(const struct lp_tail_wish *wish, struct lp_buf *out);
/* {"name":"value",...} of the filters. */
void lp_tail_wish_filters_json(const struct lp_tail_wish *wish, struct lp_buf *out);

#endif
