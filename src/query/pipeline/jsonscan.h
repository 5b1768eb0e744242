/* A forgiving JSON scanner: finds keys and values without building anything.  It accepts what Loki's scanner accepts, which is
 * more than JSON: numbers are any run of characters that begins like one, text after the object is not looked at. */
#ifndef LP_QUERY_PIPELINE_JSONSCAN_H
#define LP_QUERY_PIPELINE_JSONSCAN_H

#include "query/pipeline/path.h"
#include "query/pipeline/pipeline-private.h"

enum lp_json_type { LP_JSON_STRING, LP_JSON_NUMBER, LP_JSON_OBJECT, LP_JSON_ARRAY, LP_JSON_BOOL, LP_JSON_NULL };

struct lp_json_value {
	enum lp_json_type type;
	const char *s;          /* strings without their quotes, still escaped */
	size_t len;
};

struct lp_json_iter {
	const char *p, *end;
	bool object, first;
};

#define LP_JSON_MAX_DEPTH 64u

/* Start at the first member.  -EBADMSG and *ret_why when no object (array) begins here. */
int lp_json_begin(struct lp_json_iter *it, const char *s, size_t n, bool object, const char **ret_why);
/* 1 and the next member (key: escaped), 0 at the end, -EBADMSG. */
int lp_json_next(struct lp_json_iter *it, const char **ret_key, size_t *ret_key_len, struct lp_json_value *ret_value, const char **ret_why);
/* Look for the values at the ends of paths, in one pass, and call back for each, or with NULL where the text is broken.  A path is found
 * once; where the text makes no sense the search goes on or ends as Loki's does. */
void lp_json_find(struct lp_pipeline_state *st, const char *s, size_t n, const struct lp_stage *stage,
		  void (*fn)(struct lp_pipeline_state *st, const struct lp_stage *stage, uint32_t path, const struct lp_json_value *value, const char *why));
/* Undo the escapes; s itself when there are none.  False: a bad escape. */
bool lp_json_unescape(struct lp_pipeline_state *st, const char *s, size_t n, const char **ret_s, size_t *ret_len);
/* What a label gets: unescaped, each invalid character a blank; empty after a bad escape. */
const char *lp_json_text(struct lp_pipeline_state *st, const struct lp_json_value *value, size_t *ret_len);

#endif
