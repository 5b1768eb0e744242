/* UTF-8 validation: eight ASCII bytes at a time, then sequence by sequence. */
#include "common/utf8.h"

#include <string.h>

unsigned lp_utf8_seq(const uint8_t *p, size_t n)
{
	if (!n)
		return 0;
	uint8_t c = p[0];

	if (c < 0x80)
		return 1;
	if (c < 0xc2 || c > 0xf4)
		return 0;
	if (c < 0xe0)
		return n >= 2 && (p[1] & 0xc0) == 0x80 ? 2 : 0;
	if (c < 0xf0) {
		if (n < 3 || (p[1] & 0xc0) != 0x80 || (p[2] & 0xc0) != 0x80)
			return 0;
		if ((c == 0xe0 && p[1] < 0xa0) || (c == 0xed && p[1] > 0x9f))
			return 0;
		return 3;
	}
	if (n < 4 || (p[1] & 0xc0) != 0x80 || (p[2] & 0xc0) != 0x80 || (p[3] & 0xc0) != 0x80)
		return 0;
	if ((c == 0xf0 && p[1] < 0x90) || (c == 0xf4 && p[1] > 0x8f))
		return 0;
	return 4;
}

bool lp_utf8_ascii(const void *src, size_t n)
{
	const uint8_t *s = src;
	uint64_t all = 0, v;

	for (; n >= sizeof v; s += sizeof v, n -= sizeof v) {
		memcpy(&v, s, sizeof v);
		all |= v;
	}
	for (; n; s++, n--)
		all |= *s;
	return !(all & UINT64_C(0x8080808080808080));
}

bool lp_utf8_valid(const void *src, size_t n)
{
	const uint8_t *p = src, *end = p + n;

	while (p < end) {
		while (end - p >= 8) {
			uint64_t v;

			memcpy(&v, p, 8);
			if (v & 0x8080808080808080u)
				break;
			p += 8;
		}
		while (p < end && *p < 0x80)
			p++;
		if (p == end)
			break;
		unsigned len = lp_utf8_seq(p, (size_t)(end - p));

		if (!len)
			return false;
		p += len;
	}
	return true;
}

unsigned lp_utf8_put(uint8_t out[4], uint32_t cp)
{
	if (cp < 0x80) {
		out[0] = (uint8_t)cp;
		return 1;
	}
	if (cp < 0x800) {
		out[0] = (uint8_t)(0xc0 | cp >> 6);
		out[1] = (uint8_t)(0x80 | (cp & 0x3f));
		return 2;
	}
	if (cp < 0x10000) {
		out[0] = (uint8_t)(0xe0 | cp >> 12);
		out[1] = (uint8_t)(0x80 | (cp >> 6 & 0x3f));
		out[2] = (uint8_t)(0x80 | (cp & 0x3f));
		return 3;
	}
	out[0] = (uint8_t)(0xf0 | cp >> 18);
	out[1] = (uint8_t)(0x80 | (cp >> 12 & 0x3f));
	out[2] = (uint8_t)(0x80 | (cp >> 6 & 0x3f));
	out[3] = (uint8_t)(0x80 | (cp & 0x3f));
	return 4;
}

uint32_t lp_utf8_get(const uint8_t *p, unsigned n)
{
	uint32_t cp = n == 1 ? p[0] : p[0] & (0xffu >> (n + 1));

	for (unsigned i = 1; i < n; i++)
		cp = cp << 6 | (p[i] & 0x3f);
	return cp;
}
