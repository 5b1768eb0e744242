/* Go's time layouts ("2006-01-02 15:04:05.000 -0700 MST"): formatting, parsing, and named zones.
 *
 * Guarantees: linear, no global state (the C library's zone is not touched), zone files are read with bounds (RFC 8536, second block).
 * Civil dates after Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".  Query threads. */
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

enum part { TEXT, YEAR4, YEAR2, MONTH_LONG, MONTH_SHORT, MONTH2, MONTH1, DAY_LONG, DAY_SHORT, DAY2, DAY_PAD, DAY1, YDAY3, YDAY_PAD, HOUR24, HOUR12_2, HOUR12,
	    MIN2, MIN1, SEC2, SEC1, PM_UPPER, PM_LOWER, ZONE_NAME, FRACTION, ZONE };

/* Of a ZONE: how an offset is written. */
enum { COLON = 1, MINUTES = 2, SECONDS = 4, ISO = 8 };

static const struct {
	const char *text;
	enum part part;
	unsigned zone;
} parts[] = {
	{ "January", MONTH_LONG, 0 }, { "Jan", MONTH_SHORT, 0 }, { "Monday", DAY_LONG, 0 }, { "Mon", DAY_SHORT, 0 }, { "MST", ZONE_NAME, 0 },
	{ "2006", YEAR4, 0 }, { "-070000", ZONE, MINUTES | SECONDS }, { "-07:00:00", ZONE, COLON | MINUTES | SECONDS }, { "-0700", ZONE, MINUTES },
	{ "-07:00", ZONE, COLON | MINUTES }, { "-07", ZONE, 0 }, { "Z070000", ZONE, ISO | MINUTES | SECONDS },
	{ "Z07:00:00", ZONE, ISO | COLON | MINUTES | SECONDS }, { "Z0700", ZONE, ISO | MINUTES }, { "Z07:00", ZONE, ISO | COLON | MINUTES },
	{ "Z07", ZONE, ISO }, { "002", YDAY3, 0 }, { "01", MONTH2, 0 }, { "02", DAY2, 0 }, { "03", HOUR12_2, 0 }, { "04", MIN2, 0 }, { "05", SEC2, 0 },
	{ "06", YEAR2, 0 }, { "15", HOUR24, 0 }, { "PM", PM_UPPER, 0 }, { "pm", PM_LOWER, 0 }, { "__2", YDAY_PAD, 0 }, { "_2", DAY_PAD, 0 },
	{ "1", MONTH1, 0 }, { "2", DAY1, 0 }, { "3", HOUR12, 0 }, { "4", MIN1, 0 }, { "5", SEC1, 0 },
};

static bool digit_at(const char *p, const char *end)
{
	return p < end && *p >= '0' && *p <= '9';
}

/* The part at p and its length; FRACTION for ".000" or ",999" that no digit follows. */
static enum part next_part(const char *p, const char *end, size_t *ret_len, unsigned *ret_zone)
{
	if ((*p == '.' || *p == ',') && p + 1 < end && (p[1] == '0' || p[1] == '9')) {
		size_t n = 1;

		while (p + n < end && p[n] == p[1])
			n++;
		if (!digit_at(p + n, end)) {
			*ret_len = n;
			return FRACTION;
		}
	}
	for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
		size_t n = strlen(parts[i].text);

		if ((size_t)(end - p) < n || memcmp(p, parts[i].text, n))
			continue;
		if ((parts[i].part == MONTH_SHORT || parts[i].part == DAY_SHORT) && p + n < end && p[n] >= 'a' && p[n] <= 'z')
			continue;
		/* "_2006" is a sign and a year. */
		if (parts[i].part == DAY_PAD && end - p >= 5 && !memcmp(p + 1, "2006", 4))
			continue;
		*ret_len = n;
		*ret_zone = parts[i].zone;
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

int64_t lp_gotime_days(int64_t year, int64_t month, int64_t day)
{
	int64_t m = month - 1, years = (m >= 0 ? m : m - 11) / 12;

	return days_from_civil(year + years, (unsigned)(m - years * 12) + 1, 1) + day - 1;
}

void lp_gotime_split(int64_t sec, struct lp_civil *c)
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

const char *lp_gotime_month(unsigned month)
{
	return months[month - 1];
}

const char *lp_gotime_weekday(unsigned weekday)
{
	return days[weekday];
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

static void put_offset(struct lp_buf *out, int32_t east, unsigned zone)
{
	unsigned abs = (unsigned)(east < 0 ? -east : east);
	const char *colon = zone & COLON ? ":" : "";

	if (!east && (zone & ISO)) {
		lp_buf_byte(out, 'Z');
		return;
	}
	lp_buf_printf(out, "%c%02u", east < 0 ? '-' : '+', abs / 3600);
	if (zone & MINUTES)
		lp_buf_printf(out, "%s%02u", colon, abs / 60 % 60);
	if (zone & SECONDS)
		lp_buf_printf(out, "%s%02u", colon, abs % 60);
}

static void put_zone_name(struct lp_buf *out, const struct lp_tv *t)
{
	if (!t->time.zone)
		lp_buf_str(out, "UTC");
	else if (*t->time.zone)
		lp_buf_str(out, t->time.zone);
	else
		put_offset(out, t->time.east, MINUTES);
}

void lp_gotime_format(struct lp_buf *out, const struct lp_tv *t, const char *layout, size_t len)
{
	struct lp_civil c;
	unsigned zone = 0;
	size_t n;

	lp_gotime_split((int64_t)((uint64_t)t->time.sec + (uint64_t)(int64_t)t->time.east), &c);
	for (const char *p = layout, *end = layout + len; p < end; p += n) {
		unsigned h12 = c.hour % 12 ? c.hour % 12 : 12;

		switch (next_part(p, end, &n, &zone)) {
		case YEAR4: lp_buf_printf(out, "%04lld", (long long)c.year); break;
		case YEAR2: lp_buf_printf(out, "%02lld", (long long)(c.year < 0 ? 0 : c.year % 100)); break;
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
		case YDAY_PAD: lp_buf_printf(out, "%3u", c.yday); break;
		case HOUR24: lp_buf_printf(out, "%02u", c.hour); break;
		case HOUR12_2: lp_buf_printf(out, "%02u", h12); break;
		case HOUR12: lp_buf_printf(out, "%u", h12); break;
		case MIN2: lp_buf_printf(out, "%02u", c.min); break;
		case MIN1: lp_buf_printf(out, "%u", c.min); break;
		case SEC2: lp_buf_printf(out, "%02u", c.sec); break;
		case SEC1: lp_buf_printf(out, "%u", c.sec); break;
		case PM_UPPER: lp_buf_str(out, c.hour >= 12 ? "PM" : "AM"); break;
		case PM_LOWER: lp_buf_str(out, c.hour >= 12 ? "pm" : "am"); break;
		case ZONE: put_offset(out, t->time.east, zone); break;
		case ZONE_NAME: put_zone_name(out, t); break;
		case FRACTION: put_fraction(out, t->time.ns, p, n); break;
		case TEXT: lp_buf_append(out, p, n); break;
		}
	}
}

/* ---- parsing -------------------------------------------------------------------------------------- */

struct fields {
	int64_t year;
	unsigned month, day, hour, min, sec, yday;
	int32_t ns, east;
	bool pm, am, utc, has_offset;
	const char *name;               /* of a zone */
	size_t name_len;
};

/* Between min and max digits. */
static bool number(const char **s, const char *end, unsigned min, unsigned max, unsigned *ret)
{
	unsigned v = 0, n = 0;

	for (; n < max && digit_at(*s, end); n++)
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

/* At a point: it and the digits behind it. */
static void fraction(const char **s, const char *end, int32_t *ret_ns)
{
	int32_t v = 0, scale = 100000000;

	for ((*s)++; digit_at(*s, end); (*s)++) {
		v += (**s - '0') * scale;
		scale /= 10;
	}
	*ret_ns = v;
}

static bool at_fraction(const char *s, const char *end)
{
	return s < end && (*s == '.' || *s == ',') && digit_at(s + 1, end);
}

static bool offset(const char **s, const char *end, unsigned zone, struct fields *f)
{
	unsigned h, m = 0, sec = 0;
	bool negative;

	if ((zone & ISO) && *s < end && **s == 'Z') {
		(*s)++;
		f->utc = true;
		return true;
	}
	if (*s == end || (**s != '+' && **s != '-'))
		return false;
	negative = *(*s)++ == '-';
	if (!number(s, end, 2, 2, &h))
		return false;
	for (unsigned part = MINUTES; part <= SECONDS; part *= 2) {
		if (!(zone & part))
			continue;
		if ((zone & COLON) && (*s == end || *(*s)++ != ':'))
			return false;
		if (!number(s, end, 2, 2, part == MINUTES ? &m : &sec))
			return false;
	}
	f->east = (int32_t)(h * 3600 + m * 60 + sec) * (negative ? -1 : 1);
	f->has_offset = true;
	return h <= 24 && m <= 60 && sec <= 60;
}

/* Length of "+03" behind a zone's name, or in the place of one. */
static size_t signed_hours(const char *s, const char *end)
{
	unsigned v = 0;
	const char *p = s + 1;

	if (s == end || (*s != '+' && *s != '-') || !digit_at(p, end))
		return 0;
	for (; digit_at(p, end) && v < 1000; p++)
		v = v * 10 + (unsigned)(*p - '0');
	return v < 24 ? (size_t)(p - s) : 0;
}

static bool zone_name(const char **s, const char *end, struct fields *f)
{
	size_t left = (size_t)(end - *s), n = 0;

	if (left >= 3 && !memcmp(*s, "UTC", 3)) {
		*s += 3;
		f->utc = true;
		return true;
	}
	if (left < 3)
		return false;
	if (left >= 4 && (!memcmp(*s, "ChST", 4) || !memcmp(*s, "MeST", 4))) {
		n = 4;
	} else if (!memcmp(*s, "GMT", 3)) {
		n = 3 + signed_hours(*s + 3, end);
	} else if (**s == '+' || **s == '-') {
		n = signed_hours(*s, end);
	} else {
		while (n < 6 && n < left && (*s)[n] >= 'A' && (*s)[n] <= 'Z')
			n++;
		if (n < 3 || n > 5 || (n > 3 && (*s)[n - 1] != 'T' && !(n == 4 && !memcmp(*s, "WITA", 4))))
			return false;
	}
	f->name = *s;
	f->name_len = n;
	*s += n;
	return n != 0;
}

/* p is behind the part, in the layout. */
static bool parse_part(enum part part, unsigned zone, const char *p, const char *layout_end, const char **s, const char *end, size_t len, struct fields *f)
{
	unsigned v;
	size_t skip;

	switch (part) {
	case YEAR4: return number(s, end, 4, 4, &v) && (f->year = v, true);
	case YEAR2: return number(s, end, 2, 2, &v) && (f->year = v >= 69 ? 1900 + v : 2000 + v, true);
	case MONTH_LONG: case MONTH_SHORT: return name(s, end, months, 12, part == MONTH_LONG, &v) && (f->month = v + 1, true);
	case MONTH2: case MONTH1: return number(s, end, part == MONTH2 ? 2 : 1, 2, &f->month);
	case DAY_LONG: case DAY_SHORT: return name(s, end, days, 7, part == DAY_LONG, &v);
	case DAY_PAD: *s += *s < end && **s == ' '; return number(s, end, 1, 2, &f->day);
	case DAY2: case DAY1: return number(s, end, part == DAY2 ? 2 : 1, 2, &f->day);
	case YDAY_PAD:
		for (v = 0; v < 2; v++)
			*s += *s < end && **s == ' ';
		return number(s, end, 1, 3, &f->yday) && f->yday;
	case YDAY3: return number(s, end, 3, 3, &f->yday) && f->yday;
	case HOUR24: return number(s, end, 1, 2, &f->hour);
	case HOUR12_2: case HOUR12: return number(s, end, part == HOUR12_2 ? 2 : 1, 2, &f->hour) && f->hour <= 12;
	case MIN2: case MIN1: return number(s, end, part == MIN2 ? 2 : 1, 2, &f->min);
	case SEC2: case SEC1:
		if (!number(s, end, part == SEC2 ? 2 : 1, 2, &f->sec))
			return false;
		/* A fraction behind the seconds is taken even when the layout has none. */
		if (at_fraction(*s, end) && !(p < layout_end && next_part(p, layout_end, &skip, &zone) == FRACTION))
			fraction(s, end, &f->ns);
		return true;
	case PM_UPPER: case PM_LOWER:
		if (end - *s < 2 || (memcmp(*s, part == PM_UPPER ? "PM" : "pm", 2) && memcmp(*s, part == PM_UPPER ? "AM" : "am", 2)))
			return false;
		f->pm = (**s | 0x20) == 'p';
		f->am = !f->pm;
		*s += 2;
		return true;
	case ZONE_NAME: return zone_name(s, end, f);
	case ZONE: return offset(s, end, zone, f);
	default: break;
	}
	/* A fraction: of zeros, as many digits as they are; of nines, any number or none. */
	if (p[-1] == '0') {
		if ((size_t)(end - *s) < len || !at_fraction(*s, end))
			return false;
		const char *from = *s;

		fraction(s, from + len, &f->ns);
		return *s == from + len;
	}
	if (at_fraction(*s, end))
		fraction(s, end, &f->ns);
	return true;
}

/* Literal text of a layout: a blank stands for any number of them, and for none at the end. */
static bool skip_text(const char **p, const char *layout_end, const char **s, const char *end)
{
	if (**p == ' ') {
		if (*s < end && **s != ' ')
			return false;
		while (*p < layout_end && **p == ' ')
			(*p)++;
		while (*s < end && **s == ' ')
			(*s)++;
		return true;
	}
	if (*s == end || **s != **p)
		return false;
	(*p)++;
	(*s)++;
	return true;
}

static bool fields_fit(const struct fields *f)
{
	static const unsigned char month_days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
	bool leap = (f->year % 4 == 0 && f->year % 100) || f->year % 400 == 0;

	return f->month >= 1 && f->month <= 12 && f->day >= 1 && f->day <= month_days[f->month - 1] + (unsigned)(f->month == 2 && leap) && f->hour <= 23 &&
	       f->min <= 59 && f->sec <= 59 && f->yday <= 365u + (unsigned)leap;
}

bool lp_gotime_parse(const char *layout, size_t layout_len, const char *s, size_t n, struct lp_gotime *ret)
{
	struct fields f = { .month = 1, .day = 1 };
	const char *end = s + n, *layout_end = layout + layout_len;
	unsigned zone = 0;
	size_t len;

	for (const char *p = layout; p < layout_end;) {
		enum part part = next_part(p, layout_end, &len, &zone);

		if (part == TEXT ? !skip_text(&p, layout_end, &s, end) : (p += len, !parse_part(part, zone, p, layout_end, &s, end, len, &f)))
			return false;
	}
	if (f.pm && f.hour < 12)
		f.hour += 12;
	else if (f.am && f.hour == 12)
		f.hour = 0;
	if (s != end || !fields_fit(&f))
		return false;
	ret->local_sec = (f.yday ? days_from_civil(f.year, 1, 1) + f.yday - 1 : days_from_civil(f.year, f.month, f.day)) * 86400 + f.hour * 3600 + f.min * 60 + f.sec;
	ret->ns = f.ns;
	ret->utc = f.utc;
	ret->has_offset = f.has_offset;
	ret->east = f.east;
	ret->zone = f.name;
	ret->zone_len = f.name_len;
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

/* The second block of a zone file. */
struct zone_file {
	const uint8_t *p;
	size_t n_times, n_types, n_chars;
};

struct span {
	int64_t start, end;
	int32_t east;
	char name[8];
};

static bool open_zone(const uint8_t *p, size_t n, struct zone_file *ret)
{
	size_t skip;

	if (n < 88 || memcmp(p, "TZif", 4) || p[4] < '2')
		return false;
	skip = 44 + (size_t)be(p + 32, 4) * 5 + (size_t)be(p + 36, 4) * 6 + (size_t)be(p + 40, 4) + (size_t)be(p + 28, 4) * 8 + (size_t)be(p + 24, 4) +
	       (size_t)be(p + 20, 4);
	if (skip > n || n - skip < 44)
		return false;
	ret->p = p + skip;
	ret->n_times = (size_t)be(ret->p + 32, 4);
	ret->n_types = (size_t)be(ret->p + 36, 4);
	ret->n_chars = (size_t)be(ret->p + 40, 4);
	return ret->n_times <= 10000 && ret->n_types && ret->n_types <= 256 && ret->n_chars <= 512 &&
	       44 + ret->n_times * 9 + ret->n_types * 6 + ret->n_chars <= n - skip;
}

/* What holds at an instant. */
static void look_up(const struct zone_file *z, int64_t utc, struct span *ret)
{
	const uint8_t *times = z->p + 44, *types = times + z->n_times * 8, *infos = types + z->n_times, *chars = infos + z->n_types * 6;
	size_t type = 0, i = 0;

	*ret = (struct span){ .start = INT64_MIN, .end = INT64_MAX };
	for (; i < z->n_times && be(times + i * 8, 8) <= utc; i++) {
		ret->start = be(times + i * 8, 8);
		type = types[i];
	}
	if (i < z->n_times)
		ret->end = be(times + i * 8, 8);
	if (type >= z->n_types)
		return;
	ret->east = (int32_t)be(infos + type * 6, 4);
	size_t at = infos[type * 6 + 5];

	for (size_t k = 0; at + k < z->n_chars && chars[at + k] && k + 1 < sizeof ret->name; k++)
		ret->name[k] = (char)chars[at + k];
}

int32_t lp_gotime_zone(const char *zone_name, size_t len, int64_t local_sec, char name[8])
{
	char path[128];
	struct zone_file z;
	struct span span = { 0 };
	uint8_t *bytes;
	ssize_t n;
	int fd;

	for (size_t i = 0; i < len; i++)
		if (!((zone_name[i] | 0x20) >= 'a' && (zone_name[i] | 0x20) <= 'z') && !strchr("0123456789/_+-", zone_name[i]))
			return 0;
	if (!len || len > 64 || zone_name[0] == '/' || (len == 3 && !memcmp(zone_name, "UTC", 3)) || (len == 5 && !memcmp(zone_name, "Local", 5)))
		return 0;
	snprintf(path, sizeof path, "/usr/share/zoneinfo/%.*s", (int)len, zone_name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	bytes = malloc(64 << 10);
	n = bytes ? read(fd, bytes, 64 << 10) : -1;
	if (n > 0 && open_zone(bytes, (size_t)n, &z)) {
		/* Go's way: what holds at the local time taken for UTC, or, next to a change, at what that makes of it. */
		look_up(&z, local_sec, &span);
		if (span.east && (local_sec - span.east < span.start || local_sec - span.east >= span.end))
			look_up(&z, local_sec - span.east, &span);
		memcpy(name, span.name, sizeof span.name);
	}
	free(bytes);
	close(fd);
	return span.east;
}
