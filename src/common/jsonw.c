/* Writing JSON: clean runs are copied whole, 8 bytes looked at a time. */
#include "common/jsonw.h"

#include "common/utf8.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* True when any of the 8 bytes is < 0x20, '"', '\\' or >= 0x80 (the classic has-zero-byte trick). */
static inline bool any_special(uint64_t v)
{
	const uint64_t ones = 0x0101010101010101u, high = 0x8080808080808080u;
	uint64_t quote = v ^ (ones * '"'), slash = v ^ (ones * '\\');

	return ((v | (v - ones * 0x20) | (quote - ones) | (slash - ones)) & high) != 0;
}

static void put_escape(struct lp_buf *buf, uint8_t c)
{
	static const char hex[] = "0123456789abcdef";
	char esc[6] = { '\\', 'u', '0', '0', hex[c >> 4], hex[c & 15] };

	switch (c) {
	case '"': lp_buf_append(buf, "\\\"", 2); return;
	case '\\': lp_buf_append(buf, "\\\\", 2); return;
	case '\n': lp_buf_append(buf, "\\n", 2); return;
	case '\r': lp_buf_append(buf, "\\r", 2); return;
	case '\t': lp_buf_append(buf, "\\t", 2); return;
	default: lp_buf_append(buf, esc, 6); return;
	}
}

void lp_jsonw_str(struct lp_buf *buf, const void *src, size_t n)
{
	const uint8_t *p = n ? src : (const uint8_t *)"", *end = p + n, *run = p;       /* nothing may be NULL */

	lp_buf_byte(buf, '"');
	while (p < end) {
		if (end - p >= 8) {
			uint64_t v;

			memcpy(&v, p, 8);
			if (!any_special(v)) {
				p += 8;
				continue;
			}
		}
		uint8_t c = *p;

		if (c >= 0x80) {
			unsigned len = lp_utf8_seq(p, (size_t)(end - p));

			if (len) {
				p += len;
				continue;
			}
			lp_buf_append(buf, run, (size_t)(p - run));
			lp_buf_append(buf, "\xef\xbf\xbd", 3);
			run = ++p;
		} else if (c < 0x20 || c == '"' || c == '\\') {
			lp_buf_append(buf, run, (size_t)(p - run));
			put_escape(buf, c);
			run = ++p;
		} else {
			p++;
		}
	}
	lp_buf_append(buf, run, (size_t)(end - run));
	lp_buf_byte(buf, '"');
}

void lp_jsonw_cstr(struct lp_buf *buf, const char *s)
{
	lp_jsonw_str(buf, s, strlen(s));
}

/* Go's FormatFloat(v, 'f', -1, 64) for 1e-6 <= |v| < 1e21, else 'e' with at least two exponent digits. */
void lp_jsonw_double(struct lp_buf *buf, double v)
{
	char sci[40];

	if (isnan(v)) {
		lp_buf_str(buf, "NaN");
		return;
	}
	if (isinf(v)) {
		lp_buf_str(buf, v > 0 ? "+Inf" : "-Inf");
		return;
	}
	if (v == 0) {
		lp_buf_str(buf, signbit(v) ? "-0" : "0");
		return;
	}
	if (fabs(v) < 9007199254740992.0 && v == (double)(int64_t)v) {
		lp_buf_i64(buf, (int64_t)v);
		return;
	}
	/* Any number of up to 15 digits survives the way through a double, so start there; below the normal range a
	 * double holds fewer digits, down to one. */
	int digits = fabs(v) < DBL_MIN ? 1 : 15;

	for (; digits <= 17; digits++) {
		snprintf(sci, sizeof sci, "%.*e", digits - 1, v);
		if (strtod(sci, NULL) == v)
			break;
	}
	/* 15 digits may still carry trailing zeros: the shortest form has none. */
	char *e = strchr(sci, 'e');
	int exp10 = atoi(e + 1);
	char mant[24];
	int nm = 0;

	for (char *p = sci; p < e; p++)
		if (*p >= '0' && *p <= '9')
			mant[nm++] = *p;
	while (nm > 1 && mant[nm - 1] == '0')
		nm--;
	if (v < 0)
		lp_buf_byte(buf, '-');
	if (exp10 < -4 && fabs(v) < 1e-6) {
		lp_buf_append(buf, mant, 1);
		if (nm > 1) {
			lp_buf_byte(buf, '.');
			lp_buf_append(buf, mant + 1, (size_t)nm - 1);
		}
		lp_buf_printf(buf, "e-%02d", -exp10);
	} else if (exp10 >= 21) {
		lp_buf_append(buf, mant, 1);
		if (nm > 1) {
			lp_buf_byte(buf, '.');
			lp_buf_append(buf, mant + 1, (size_t)nm - 1);
		}
		lp_buf_printf(buf, "e+%02d", exp10);
	} else if (exp10 < 0) {
		lp_buf_str(buf, "0.");
		for (int i = -1; i > exp10; i--)
			lp_buf_byte(buf, '0');
		lp_buf_append(buf, mant, (size_t)nm);
	} else {
		for (int i = 0; i <= exp10; i++)
			lp_buf_byte(buf, i < nm ? (uint8_t)mant[i] : '0');
		if (nm > exp10 + 1) {
			lp_buf_byte(buf, '.');
			lp_buf_append(buf, mant + exp10 + 1, (size_t)(nm - exp10 - 1));
		}
	}
}
