/* Letters of all scripts, from the C library's tables of its locale C.UTF-8, which it has built in; the process's own locale is not looked
 * at.  Where that locale is missing, letters of ASCII have cases and no others do. */
#include "common/unicode.h"

#include <locale.h>
#include <pthread.h>
#include <stddef.h>
#include <wctype.h>

static pthread_once_t once = PTHREAD_ONCE_INIT;
static locale_t all;
static wctrans_t title;

static void open_locale(void)
{
	all = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
	if (all)
		title = wctrans_l("totitle", all);
}

static bool have_locale(void)
{
	pthread_once(&once, open_locale);
	return all != (locale_t)0;
}

uint32_t lp_unicode_upper(uint32_t cp)
{
	if (cp < 0x80)
		return cp >= 'a' && cp <= 'z' ? cp & ~0x20u : cp;
	return have_locale() ? (uint32_t)towupper_l((wint_t)cp, all) : cp;
}

uint32_t lp_unicode_lower(uint32_t cp)
{
	if (cp < 0x80)
		return cp >= 'A' && cp <= 'Z' ? cp | 0x20 : cp;
	return have_locale() ? (uint32_t)towlower_l((wint_t)cp, all) : cp;
}

uint32_t lp_unicode_title(uint32_t cp)
{
	if (cp < 0x80 || !have_locale() || !title)
		return lp_unicode_upper(cp);
	return (uint32_t)towctrans_l((wint_t)cp, title, all);
}

bool lp_unicode_word(uint32_t cp)
{
	if (cp < 0x80)
		return (cp >= 'a' && cp <= 'z') || (cp >= 'A' && cp <= 'Z') || (cp >= '0' && cp <= '9') || cp == '_';
	return have_locale() && iswalnum_l((wint_t)cp, all);
}

bool lp_unicode_space(uint32_t cp)
{
	return cp == ' ' || (cp >= '\t' && cp <= '\r') || cp == 0x85 || cp == 0xa0 || cp == 0x1680 || (cp >= 0x2000 && cp <= 0x200a) || cp == 0x2028 ||
	       cp == 0x2029 || cp == 0x202f || cp == 0x205f || cp == 0x3000;
}
