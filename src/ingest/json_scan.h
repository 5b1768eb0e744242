/* JSON scanner for push bodies: a cursor over the text, no tree.  Any process; a cursor belongs to one thread.
 *
 * Every function that fails sets `error` (a static text) and leaves `p` where it went wrong. */
#ifndef LP_INGEST_JSON_SCAN_H
#define LP_INGEST_JSON_SCAN_H

#include "common/arena.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LP_JSON_MAX_DEPTH 128u
#define LP_JSON_SLACK 32u               /* bytes behind an output string that may be overwritten */

struct lp_json {
	const uint8_t *begin, *p, *end;
	const char *error;
	bool avx2;
};

/* `allow_avx2` false: the portable path, for tests that compare the two. */
void lp_json_start(struct lp_json *js, const void *text, size_t n, bool allow_avx2);

static inline bool lp_json_is_space(uint8_t c)
{
	return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

/* The next byte that is not white space, not consumed; 0 at the end of the text. */
static inline uint8_t lp_json_peek(struct lp_json *js)
{
	while (js->p < js->end && lp_json_is_space(*js->p))
		js->p++;
	return js->p < js->end ? *js->p : 0;
}

/* Consume one given byte (after white space).  -EBADMSG with `error`. */
int lp_json_expect(struct lp_json *js, uint8_t c, const char *error);
/* The cursor is at a value; `first` is true before the first element or member.  1: at an element (after the key and its
 * colon for a member), 0: the closing bracket has been consumed, -EBADMSG. */
int lp_json_next_element(struct lp_json *js, bool *first);
/* *ret_key as lp_json_string_ref() gives it. */
int lp_json_next_member(struct lp_json *js, bool *first, struct lp_arena *arena, const char **ret_key, size_t *ret_len);
/* Unescape the string whose opening quote is at p into `out`.  out has room for max_len + LP_JSON_SLACK bytes.
 * -EBADMSG; -E2BIG more than max_len bytes of text before the closing quote. */
int lp_json_string(struct lp_json *js, char *out, size_t max_len, size_t *ret_len);
/* The same without a copy where nothing is escaped (points into the text), else unescaped into the arena. */
int lp_json_string_ref(struct lp_json *js, struct lp_arena *arena, const char **ret_s, size_t *ret_len);
/* Check and pass one value of any kind; its text is [start, js->p). */
int lp_json_skip(struct lp_json *js);
/* Consume "null", if it is next. */
bool lp_json_null(struct lp_json *js);

#endif
