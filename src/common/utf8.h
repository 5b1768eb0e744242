/* UTF-8 validation (RFC 3629: no surrogates, no overlong forms, at most U+10FFFF). */
#ifndef LP_COMMON_UTF8_H
#define LP_COMMON_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

bool lp_utf8_valid(const void *p, size_t n);
bool lp_utf8_ascii(const void *p, size_t n);
/* Length of the valid sequence at p (1..4), or 0 when the first byte does not start one within n bytes. */
unsigned lp_utf8_seq(const uint8_t *p, size_t n);
/* Encode a code point (<= 0x10ffff) into out[4]; returns the length. */
unsigned lp_utf8_put(uint8_t out[4], uint32_t cp);
/* The code point of a valid sequence of n bytes. */
uint32_t lp_utf8_get(const uint8_t *p, unsigned n);

#endif
