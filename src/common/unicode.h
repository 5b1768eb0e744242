/* Letters of all scripts: their cases, and what is a blank.  Simple mappings, one code point to one, as Unicode and Go have them. */
#ifndef LP_COMMON_UNICODE_H
#define LP_COMMON_UNICODE_H

#include <stdbool.h>
#include <stdint.h>

uint32_t lp_unicode_upper(uint32_t cp);
uint32_t lp_unicode_lower(uint32_t cp);
uint32_t lp_unicode_title(uint32_t cp);
bool lp_unicode_word(uint32_t cp);      /* a letter, a digit or an underscore */
bool lp_unicode_space(uint32_t cp);

#endif
