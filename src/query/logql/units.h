/* Durations, byte sizes and numbers as LogQL spells them (Go's and Prometheus' rules).  Pure functions. */
#ifndef LP_QUERY_LOGQL_UNITS_H
#define LP_QUERY_LOGQL_UNITS_H

#include "common/buf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* "1d12h": whole numbers, units y w d h m s ms in this order.  -EINVAL with Prometheus' wording in error (may be NULL). */
int lp_units_prom_duration(const char *s, size_t n, int64_t *ret_ns, struct lp_buf *error);
/* Go's time.ParseDuration: sign, fractions, ns us ms s m h.  -EINVAL; the wording of Go in error (may be NULL). */
int lp_units_go_duration(const char *s, size_t n, int64_t *ret_ns, struct lp_buf *error);
/* "1.5KiB", "3 MB", "10": -EINVAL. */
int lp_units_bytes(const char *s, size_t n, uint64_t *ret_bytes);
/* Go's strconv.ParseInt with base 0: sign, 0x 0o 0b 0, underscores.  -EINVAL, -ERANGE over 64 bits. */
int lp_units_integer(const char *s, size_t n, bool *ret_negative, uint64_t *ret_magnitude);
/* Go's strconv.ParseFloat, without hexadecimal integers: -EINVAL. */
int lp_units_float(const char *s, size_t n, double *ret_v);

void lp_units_print_prom_duration(struct lp_buf *out, int64_t ns);      /* 1d12h */
void lp_units_print_go_duration(struct lp_buf *out, int64_t ns);        /* 1h0m0s */
void lp_units_print_bytes(struct lp_buf *out, double bytes);            /* 3.0kB */
void lp_units_print_float(struct lp_buf *out, double v);                /* Go's %v: shortest, exponent from 1e06 */
void lp_units_print_fixed(struct lp_buf *out, double v);                /* shortest without an exponent */
void lp_units_print_quoted(struct lp_buf *out, const char *s, size_t n);/* Go's strconv.Quote */
void lp_units_print_quoted_ascii(struct lp_buf *out, const char *s, size_t n); /* QuoteToASCII */
void lp_units_print_quoted_rune(struct lp_buf *out, uint32_t cp, bool ascii);  /* QuoteRune, QuoteRuneToASCII */
bool lp_units_printable(uint32_t cp);                                   /* Go's unicode.IsPrint */

#endif
