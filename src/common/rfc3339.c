/* RFC 3339.  Civil-from-days arithmetic after Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms". */
#include "common/rfc3339.h"

#include "common/clock.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static int64_t days_from_civil(int64_t y, unsigned m, unsigned d)
{
	y -= m <= 2;
	int64_t era = (y >= 0 ? y : y - 399) / 400;
	unsigned yoe = (unsigned)(y - era * 400);
	unsigned doy = (153 * (m + (m > 2 ? -3u : 9u)) + 2) / 5 + d - 1;
	unsigned doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;

	return era * 146097 + (int64_t)doe - 719468;
}

static void civil_from_days(int64_t z, int64_t *ret_y, unsigned *ret_m, unsigned *ret_d)
{
	z += 719468;
	int64_t era = (z >= 0 ? z : z - 146096) / 146097;
	unsigned doe = (unsigned)(z - era * 146097);
	unsigned yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
	unsigned doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
	unsigned mp = (5 * doy + 2) / 153;

	*ret_d = doy - (153 * mp + 2) / 5 + 1;
	*ret_m = mp < 10 ? mp + 3 : mp - 9;
	*ret_y = (int64_t)yoe + era * 400 + (*ret_m <= 2);
}

static bool digits(const char *s, unsigned n, unsigned *ret_v)
{
	unsigned v = 0;

	for (unsigned i = 0; i < n; i++) {
		if (s[i] < '0' || s[i] > '9')
			return false;
		v = v * 10 + (unsigned)(s[i] - '0');
	}
	*ret_v = v;
	return true;
}

static bool valid_date(unsigned y, unsigned m, unsigned d)
{
	static const uint8_t days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };

	if (m < 1 || m > 12 || d < 1)
		return false;
	bool leap = (y % 4 == 0 && y % 100 != 0) || y % 400 == 0;

	return d <= days[m - 1] + (m == 2 && leap ? 1u : 0u);
}

int lp_rfc3339_parse(const char *s, size_t n, int64_t *ret_ns)
{
	unsigned year, mon, day, hour, min, sec, nano = 0, oh = 0, om = 0;
	size_t i = 19;
	int sign = 0;

	if (n < 20 || !digits(s, 4, &year) || s[4] != '-' || !digits(s + 5, 2, &mon) || s[7] != '-' ||
	    !digits(s + 8, 2, &day) || (s[10] != 'T' && s[10] != 't' && s[10] != ' ') ||
	    !digits(s + 11, 2, &hour) || s[13] != ':' || !digits(s + 14, 2, &min) || s[16] != ':' ||
	    !digits(s + 17, 2, &sec))
		return -EINVAL;
	if (!valid_date(year, mon, day) || hour > 23 || min > 59 || sec > 59)
		return -EINVAL;
	if (s[i] == '.' || s[i] == ',') {
		unsigned scale = 100000000;
		size_t first = ++i;

		for (; i < n && s[i] >= '0' && s[i] <= '9'; i++) {
			nano += (unsigned)(s[i] - '0') * scale;
			scale /= 10;
		}
		if (i == first)
			return -EINVAL;
	}
	if (i + 1 == n && (s[i] == 'Z' || s[i] == 'z')) {
		sign = 0;
	} else if (i + 6 == n && (s[i] == '+' || s[i] == '-') && digits(s + i + 1, 2, &oh) && s[i + 3] == ':' &&
		   digits(s + i + 4, 2, &om) && oh < 24 && om < 60) {
		sign = s[i] == '+' ? 1 : -1;
	} else {
		return -EINVAL;
	}
	int64_t secs = days_from_civil(year, mon, day) * 86400 + hour * 3600 + min * 60 + sec -
		       sign * (int64_t)(oh * 3600 + om * 60);
	__int128 ns = (__int128)secs * LP_NS_PER_SEC + nano;

	if (ns > INT64_MAX || ns < INT64_MIN)
		return -ERANGE;
	*ret_ns = (int64_t)ns;
	return 0;
}

static char *put(char *p, unsigned v, unsigned n)
{
	for (unsigned i = n; i > 0; v /= 10)
		p[--i] = (char)('0' + v % 10);
	return p + n;
}

/* "2026-11-22T19:46:28", and the nanoseconds that are left.  Written by hand: every line of a live tail has one.  64 bits of nanoseconds
 * stay within the years 1677 to 2262. */
static char *format_seconds(char *p, int64_t ns, unsigned *ret_nano)
{
	int64_t day = lp_clock_day(ns), year;
	uint64_t in_day = (uint64_t)ns - (uint64_t)day * (uint64_t)LP_NS_PER_DAY;
	unsigned mon, dom, sec = (unsigned)(in_day / 1000000000);

	civil_from_days(day, &year, &mon, &dom);
	*ret_nano = (unsigned)(in_day % 1000000000);
	p = put(p, (unsigned)year, 4);
	*p++ = '-';
	p = put(p, mon, 2);
	*p++ = '-';
	p = put(p, dom, 2);
	*p++ = 'T';
	p = put(p, sec / 3600, 2);
	*p++ = ':';
	p = put(p, sec / 60 % 60, 2);
	*p++ = ':';
	return put(p, sec % 60, 2);
}

size_t lp_rfc3339_format_ms(char out[LP_RFC3339_MAX], int64_t ns)
{
	unsigned nano;
	char *p = format_seconds(out, ns, &nano);

	*p++ = '.';
	p = put(p, nano / 1000000, 3);
	*p++ = 'Z';
	*p = '\0';
	return (size_t)(p - out);
}

size_t lp_rfc3339_format(char out[LP_RFC3339_MAX], int64_t ns)
{
	unsigned nano;
	char *p = format_seconds(out, ns, &nano);

	if (nano) {
		*p++ = '.';
		p = put(p, nano, 9);
		while (p[-1] == '0')
			p--;
	}
	*p++ = 'Z';
	*p = '\0';
	return (size_t)(p - out);
}

size_t lp_day_format(char out[LP_DAY_MAX], int64_t day)
{
	int64_t year;
	unsigned mon, dom;

	civil_from_days(day, &year, &mon, &dom);
	return (size_t)snprintf(out, LP_DAY_MAX, "%04lld-%02u-%02u", (long long)year, mon, dom);
}

int lp_day_parse(const char *s, int64_t *ret_day)
{
	unsigned year, mon, dom;

	if (strlen(s) != 10 || !digits(s, 4, &year) || s[4] != '-' || !digits(s + 5, 2, &mon) || s[7] != '-' ||
	    !digits(s + 8, 2, &dom) || !valid_date(year, mon, dom))
		return -EINVAL;
	*ret_day = days_from_civil(year, mon, dom);
	return 0;
}
