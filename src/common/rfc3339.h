/* RFC 3339 timestamps with nanoseconds, and UTC calendar days. */
#ifndef LP_COMMON_RFC3339_H
#define LP_COMMON_RFC3339_H

#include <stddef.h>
#include <stdint.h>

#define LP_RFC3339_MAX 40
#define LP_DAY_MAX 16

/* Parse "2026-11-22T19:46:28.123456789Z" or with an offset; the whole text must match.  Fractions beyond
 * nanoseconds are cut.  -EINVAL not a timestamp; -ERANGE outside what int64 nanoseconds hold (1677..2262). */
int lp_rfc3339_parse(const char *s, size_t n, int64_t *ret_ns);
/* RFC3339Nano as Go prints it: trailing zeros of the fraction dropped, "Z".  Returns the length. */
size_t lp_rfc3339_format(char out[LP_RFC3339_MAX], int64_t ns);
/* Always three decimals (cut, not rounded). */
size_t lp_rfc3339_format_ms(char out[LP_RFC3339_MAX], int64_t ns);
/* UTC day number (days since 1970) to "2026-11-22" and back; -EINVAL when the text is no day. */
size_t lp_day_format(char out[LP_DAY_MAX], int64_t day);
int lp_day_parse(const char *s, int64_t *ret_day);

#endif
