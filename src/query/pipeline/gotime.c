/* Go's time layouts ("2006-01-02 15:04:05.000 -0700 MST"): formatting and parsing, in UTC, and offsets of named zones.
 *
 * Guarantees: linear, no global state (the C library's zone is not touched), zone files are read with bounds (RFC 8536, first block
 * of version 2).  Civil dates after Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".  Query threads. */
#include "query/pipeline/template-private.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const months[] = { "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
				      "December" };
static const char *const days[] = { "Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday" };

enum part { TEXT, YEAR4, YEAR2, MONTH_LONG, MONTH_SHORT, MONTH2, MONTH1, DAY_LONG, DAY_SHORT, DAY2, DAY_PAD, DAY1, YDAY3, HOUR24, HOUR12_2, HOUR12, MIN2, MIN1,
	    SEC2, SEC1, PM_UPPER, PM_LOWER, ZONE_Z_COLON, ZONE_Z, ZONE_COLON, ZONE_PLAIN, ZONE_HOUR, ZONE_NAME, FRACTION };

static const struct {
	const char *text;
	enum part part;
} parts[] = {
	{ "January", MONTH_LONG }, { "Jan", MONTH_SHORT }, { "Monday", DAY_LONG }, { "Mon", DAY_SHORT }, { "MST", ZONE_NAME }, { "2006", YEAR4 },
	{ "-07:00", ZONE_COLON }, { "-0700", ZONE_PLAIN }, { "-07", ZONE_HOUR }, { "Z07:00", ZONE_Z_COLON }, { "Z0700", ZONE_Z }, { "002", YDAY3 },
	{ "01", MONTH2 }, { "02", DAY2 }, { "03", HOUR12_2 }, { "04", MIN2 }, { "05", SEC2 }, { "06", YEAR2 }, { "15", HOUR24 }, { "PM", PM_UPPER },
	{ "pm", PM_LOWER }, { "_2", DAY_PAD }, { "1", MONTH1 }, { "2", DAY1 }, { "3", HOUR12 }, { "4", MIN1 }, { "5", SEC1 },
};

/* The part at p and its length; FRACTION for ".000" or ",999" that no digit follows. */
static enum part next_part(const char *p, const char *end, size_t *ret_len)
{
	if ((*p == '.' || *p == ',') && p + 1 < end && (p[1] == '0' || p[1] == '9')) {
		size_t n = 1;

		while (p + n < end && p[n] == p[1])
			n++;
		if (p + n == end || p[n] < '0' || p[n] > '9') {
			*ret_len = n;
			return FRACTION;
		}
	}
	for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
		size_t n = strlen(parts[i].text);

		if ((size_t)(end - p) < n || memcmp(p, parts[i].text, n))
			continue;
		if (parts[i].part == MONTH_SHORT && p + n < end && p[n] >= 'a' && p[n] <= 'z')
			continue;
		*ret_len = n;
		return parts[i].part;
	}
	*ret_len = 1;
	return TEXT;
}

/* ---- civil dates ---------------------------------------------------------------------------------- */

static int64_t days_from_civil(int64_t y, unsigned m, unsigned d)
{
	y -= m <= 2;
	int64_t era = (y >= 0 ? y : y - 399) / 400;
	unsigned yoe = (unsigned)(y - era * 400), doy = (153 * (m + (m > 2 ? -3u : 9u)) + 2) / 5 + d - 1, doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;

	return era * 146097 + (int64_t)doe - 719468;
}

struct civil {
	int64_t year;
	unsigned month, day, hour, min, sec, weekday, yday;
};

static void split(int64_t sec, struct civil *c)
{
	int64_t day = (sec >= 0 ? sec : sec - 86399) / 86400, z = day + 719468, era = (z >= 0 ? z : z - 146096) / 146097;
	unsigned rest = (unsigned)(sec - day * 86400), doe = (unsigned)(z - era * 146097), yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
	unsigned doy = doe - (365 * yoe + yoe / 4 - yoe / 100), mp = (5 * doy + 2) / 153;

	c->day = doy - (153 * mp + 2) / 5 + 1;
	c->month = mp < 10 ? mp + 3 : mp - 9;
	c->year = (int64_t)yoe + era * 400 + (c->month <= 2);
	c->hour = rest / 3600;
	c->min = rest / 60 % 60;
	c->sec = rest % 60;
	c->weekday = (unsigned)(((day % 7) + 11) % 7);
	c->yday = (unsigned)(day - days_from_civil(c->year, 1, 1)) + 1;
}

/* ---- formatting ----------------------------------------------------------------------------------- */

static void put_fraction(struct lp_buf *out, int32_t ns, const char *p, size_t len)
{
	char digits[16];
	size_t n = len - 1 < 9 ? len - 1 : 9;

	snprintf(digits, sizeof digits, "%09d", ns);
	if (p[1] == '9') {
		while (n && digits[n - 1] == '0')
			n--;
		if (!n)
			return;
	}
	lp_buf_byte(out, (uint8_t)*p);
	lp_buf_append(out, digits, n);
}

void lp_gotime_format(struct lp_buf *out, int64_t sec, int32_t ns, const char *layout, size_t len)
{
	struct civil c;
	size_t n;

	split(sec, &c);
	for (const char *p = layout, *end = layout + len; p < end; p += n) {
		unsigned h12 = c.hour % 12 ? c.hour % 12 : 12;

		switch (next_part(p, end, &n)) {
		case YEAR4: lp_buf_printf(out, "%04lld", (long long)c.year); break;
		case YEAR2: lp_buf_printf(out, "%02lld", (long long)(c.year % 100)); break;
		case MONTH_LONG: lp_buf_str(out, months[c.month - 1]); break;
		case MONTH_SHORT: lp_buf_append(out, months[c.month - 1], 3); break;
		case MONTH2: lp_buf_printf(out, "%02u", c.month); break;
		case MONTH1: lp_buf_printf(out, "%u", c.month); break;
		case DAY_LONG: lp_buf_str(out, days[c.weekday]); break;
		case DAY_SHORT: lp_buf_append(out, days[c.weekday], 3); break;
		case DAY2: lp_buf_printf(out, "%02u", c.day); break;
		case DAY_PAD: lp_buf_printf(out, "%2u", c.day); break;
		case DAY1: lp_buf_printf(out, "%u", c.day); break;
		case YDAY3: lp_buf_printf(out, "%03u", c.yday); break;
		case HOUR24: lp_buf_printf(out, "%02u", c.hour); break;
		case HOUR12_2: lp_buf_printf(out, "%02u", h12); break;
		case HOUR12: lp_buf_printf(out, "%u", h12); break;
		case MIN2: lp_buf_printf(out, "%02u", c.min); break;
		case MIN1: lp_buf_printf(out, "%u", c.min); break;
		case SEC2: lp_buf_printf(out, "%02u", c.sec); break;
		case SEC1: lp_buf_printf(out, "%u", c.sec); break;
		case PM_UPPER: lp_buf_str(out, c.hour >= 12 ? "PM" : "AM"); break;
		case PM_LOWER: lp_buf_str(out, c.hour >= 12 ? "pm" : "am"); break;
		case ZONE_Z_COLON: case ZONE_Z: lp_buf_byte(out, 'Z'); break;
		case ZONE_COLON: lp_buf_str(out, "+00:00"); break;
		case ZONE_PLAIN: lp_buf_str(out, "+0000"); break;
		case ZONE_HOUR: lp_buf_str(out, "+00"); break;
		case ZONE_NAME: lp_buf_str(out, "UTC"); break;
		case FRACTION: put_fraction(out, ns, p, n); break;
		case TEXT: lp_buf_append(out, p, n); break;
		}
	}
}

/* ---- parsing -------------------------------------------------------------------------------------- */

struct fields {
	int64_t year, zone;
	unsigned month, day, hour, min, sec, yday;
	int32_t ns;
	bool pm, am;
};

/* Between min and max digits. */
static bool number(const char **s, const char *end, unsigned min, unsigned max, unsigned *ret)
{
	unsigned v = 0, n = 0;

	for (; n < max && *s < end && **s >= '0' && **s <= '9'; n++)
		v = v * 10 + (unsigned)(*(*s)++ - '0');
	*ret = v;
	return n >= min;
}

static bool name(const char **s, const char *end, const char *const *names, unsigned n, bool full, unsigned *ret)
{
	for (unsigned i = 0; i < n; i++) {
		size_t len = full ? strlen(names[i]) : 3;

		if ((size_t)(end - *s) < len || strncasecmp(*s, names[i], len))
			continue;
		*s += len;
		*ret = i;
		return true;
	}
	return false;
}

static bool fraction(const char **s, const char *end, int32_t *ret_ns)
{
	int32_t v = 0, scale = 100000000;

	if (*s == end || (**s != '.' && **s != ','))
		return false;
	for ((*s)++; *s < end && **s >= '0' && **s <= '9'; (*s)++) {
		v += (**s - '0') * scale;
		scale /= 10;
	}
	*ret_ns = v;
	return true;
}

static bool zone(const char **s, const char *end, enum part part, int64_t *ret)
{
	unsigned h, m = 0;
	bool negative;

	if ((part == ZONE_Z || part == ZONE_Z_COLON) && *s < end && **s == 'Z') {
		(*s)++;
		return true;
	}
	if (*s == end || (**s != '+' && **s != '-'))
		return false;
	negative = *(*s)++ == '-';
	if (!number(s, end, 2, 2, &h))
		return false;
	if ((part == ZONE_COLON || part == ZONE_Z_COLON) && (*s == end || *(*s)++ != ':'))
		return false;
	if (part != ZONE_HOUR && !number(s, end, 2, 2, &m))
		return false;
	*ret = (int64_t)(h * 3600 + m * 60) * (negative ? -1 : 1);
	return h < 25 && m < 60;
}

static bool parse_part(enum part part, const char **s, const char *end, struct fields *f)
{
	unsigned v;

	switch (part) {
	case YEAR4: return number(s, end, 4, 4, &v) && (f->year = v, true);
	case YEAR2: return number(s, end, 2, 2, &v) && (f->year = v >= 69 ? 1900 + v : 2000 + v, true);
	case MONTH_LONG: case MONTH_SHORT: return name(s, end, months, 12, part == MONTH_LONG, &v) && (f->month = v + 1, true);
	case MONTH2: return number(s, end, 2, 2, &f->month);
	case MONTH1: return number(s, end, 1, 2, &f->month);
	case DAY_LONG: case DAY_SHORT: return name(s, end, days, 7, part == DAY_LONG, &v);
	case DAY_PAD: *s += *s < end && **s == ' '; return number(s, end, 1, 2, &f->day);
	case DAY2: return number(s, end, 2, 2, &f->day);
	case DAY1: return number(s, end, 1, 2, &f->day);
	case YDAY3: return number(s, end, 3, 3, &f->yday) && f->yday;
	case HOUR24: case HOUR12_2: return number(s, end, 2, 2, &f->hour);
	case HOUR12: return number(s, end, 1, 2, &f->hour);
	case MIN2: return number(s, end, 2, 2, &f->min);
	case MIN1: return number(s, end, 1, 2, &f->min);
	case SEC2: case SEC1:
		if (!number(s, end, part == SEC2 ? 2 : 1, 2, &f->sec))
			return false;
		/* A fraction behind the seconds is taken even when the layout has none. */
		return *s + 1 < end && (**s == '.' || **s == ',') && (*s)[1] >= '0' && (*s)[1] <= '9' ? fraction(s, end, &f->ns) : true;
	case PM_UPPER: case PM_LOWER:
		if (end - *s < 2 || (*s)[1] != (part == PM_UPPER ? 'M' : 'm'))
			return false;
		f->pm = (**s | 0x20) == 'p';
		f->am = !f->pm;
		*s += 2;
		return true;
	case ZONE_NAME:
		for (v = 0; v < 5 && *s < end && **s >= 'A' && **s <= 'Z'; v++)
			(*s)++;
		return v >= 3;
	case FRACTION: return *s == end || (**s != '.' && **s != ',') || fraction(s, end, &f->ns);
	default: return zone(s, end, part, &f->zone);
	}
}

bool lp_gotime_parse(const char *layout, size_t layout_len, const char *s, size_t n, int64_t *ret_sec, int32_t *ret_ns)
{
	struct fields f = { .month = 1, .day = 1 };
	const char *end = s + n, *layout_end = layout + layout_len;
	size_t len;

	for (const char *p = layout; p < layout_end; p += len) {
		enum part part = next_part(p, layout_end, &len);

		if (part == TEXT ? s == end || *s++ != *p : !parse_part(part, &s, end, &f))
			return false;
	}
	if (f.pm && f.hour < 12)
		f.hour += 12;
	else if (f.am && f.hour == 12)
		f.hour = 0;
	static const unsigned char month_days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
	bool leap = (f.year % 4 == 0 && f.year % 100) || f.year % 400 == 0;

	if (s != end || f.month < 1 || f.month > 12 || f.day < 1 || f.day > month_days[f.month - 1] + (unsigned)(f.month == 2 && leap) || f.hour > 23 || f.min > 59 ||
	    f.sec > 59 || f.yday > 365u + (unsigned)leap)
		return false;
	*ret_sec = (f.yday ? days_from_civil(f.year, 1, 1) + f.yday - 1 : days_from_civil(f.year, f.month, f.day)) * 86400 + f.hour * 3600 + f.min * 60 + f.sec -
		   f.zone;
	*ret_ns = f.ns;
	return true;
}

/* ---- zones ---------------------------------------------------------------------------------------- */

static int64_t be(const uint8_t *p, unsigned n)
{
	uint64_t v = p[0] & 0x80 ? UINT64_MAX : 0;

	for (unsigned i = 0; i < n; i++)
		v = v << 8 | p[i];
	return (int64_t)v;
}

/* The offset in force at a local time, from the bytes of a zone file; the gap of a change counts as before it. */
static int64_t offset_at(const uint8_t *p, size_t n, int64_t local)
{
	size_t skip, times, types, at;
	int64_t offset = 0;

	if (n < 88 || memcmp(p, "TZif", 4) || p[4] < '2')
		return 0;
	skip = 44 + (size_t)be(p + 32, 4) * 5 + (size_t)be(p + 36, 4) * 6 + (size_t)be(p + 40, 4) + (size_t)be(p + 28, 4) * 8 + (size_t)be(p + 24, 4) +
	       (size_t)be(p + 20, 4);
	if (skip > n || n - skip < 44)
		return 0;
	p += skip;
	n -= skip;
	times = (size_t)be(p + 32, 4);
	types = (size_t)be(p + 36, 4);
	if (times > 10000 || types > 256 || !types || 44 + times * 9 + types * 6 > n)
		return 0;
	at = 44 + times * 9;
	offset = be(p + at, 4);
	for (size_t i = 0; i < times; i++) {
		size_t type = p[44 + times * 8 + i];

		if (type >= types || be(p + 44 + i * 8, 8) + offset > local)
			break;
		offset = be(p + at + type * 6, 4);
	}
	return offset;
}

int64_t lp_gotime_zone(const char *zone_name, size_t len, int64_t local_sec)
{
	char path[128];
	uint8_t *bytes;
	int64_t offset = 0;
	ssize_t n;
	int fd;

	for (size_t i = 0; i < len; i++)
		if (!((zone_name[i] | 0x20) >= 'a' && (zone_name[i] | 0x20) <= 'z') && !strchr("0123456789/_+-", zone_name[i]))
			return 0;
	if (!len || len > 64 || zone_name[0] == '/' || !memcmp(zone_name, "UTC", len < 3 ? len : 3) || (len == 5 && !memcmp(zone_name, "Local", 5)))
		return 0;
	snprintf(path, sizeof path, "/usr/share/zoneinfo/%.*s", (int)len, zone_name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	bytes = malloc(64 << 10);
	n = bytes ? read(fd, bytes, 64 << 10) : -1;
	if (n > 0)
		offset = offset_at(bytes, (size_t)n, local_sec);
	free(bytes);
	close(fd);
	return offset;
}
