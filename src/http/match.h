/* Paths of the route table: exact, or with one {name} that stands for one whole segment, or {rest} for any number of them.  Pure. */
#ifndef LP_HTTP_MATCH_H
#define LP_HTTP_MATCH_H

#include <stdbool.h>
#include <stddef.h>

#define LP_METHOD_GET 1u
#define LP_METHOD_POST 2u
#define LP_METHOD_PUT 4u
#define LP_METHOD_DELETE 8u
#define LP_METHOD_OPTIONS 16u
#define LP_METHOD_HEAD 32u
#define LP_METHOD_PATCH 64u

/* Does path match pattern?  {rest} instead of {name} takes slashes as well.  *ret_name .. is the segment that stands for {name}, not empty (NULL without one). */
bool lp_path_match(const char *pattern, const char *path, size_t n, const char **ret_name, size_t *ret_name_len);
/* LP_METHOD_*, 0 for a method that no route knows. */
unsigned lp_method_parse(const char *s, size_t n);
/* "GET, HEAD, POST, OPTIONS" for an Allow header; HEAD stands with GET, OPTIONS always.  `to` holds 64 bytes. */
size_t lp_methods_print(char to[64], unsigned methods);
/* Does the value of an Accept or Accept-Encoding header name `what` (lower case, no wildcards) with a q that is not 0? */
bool lp_accepts(const char *s, size_t n, const char *what);
bool lp_accepts_gzip(const char *s, size_t n);
/* Does the request head at p tell the length of its body twice (two Content-Length, or one beside Transfer-Encoding)?  Reads up
 * to the empty line that ends the head, or n bytes. */
bool lp_head_is_ambiguous(const char *p, size_t n);

#endif
