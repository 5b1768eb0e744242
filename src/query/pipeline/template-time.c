/* Templates: functions over times, and the methods that Go's times, months, weekdays and spans have.
 *
 * Guarantees: constant time apart from the layouts; zone files are the only files read.  The local zone is UTC.  Query threads. */
#include "query/pipeline/template-private.h"

#include "query/logql/units.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct lp_tv tv;

#define NS 1000000000ll
#define ZERO_SEC (-62135596800ll)       /* the first of January of year 1: Go's zero time */

static const char default_layout[] = "2006-01-02 15:04:05.999999999 -0700 MST";

static tv tv_time(int64_t sec, int64_t ns)
{
	tv out = { .kind = LP_TV_TIME };

	out.time.sec = sec + (ns < 0 ? -1 : 0);
	out.time.ns = (int32_t)(ns < 0 ? ns + NS : ns);
	return out;
}

static tv tv_int(int64_t i, enum lp_tv_type type)
{
	return (tv){ .kind = LP_TV_INT, .type = type, .i = i };
}

void lp_ttime_print(struct lp_buf *out, const struct lp_tv *v)
{
	lp_gotime_format(out, v, default_layout, sizeof default_layout - 1);
}

bool lp_tint_print(struct lp_buf *out, const struct lp_tv *v)
{
	switch (v->type) {
	case LP_TVT_MONTH: lp_buf_str(out, lp_gotime_month((unsigned)v->i)); return true;
	case LP_TVT_WEEKDAY: lp_buf_str(out, lp_gotime_weekday((unsigned)v->i)); return true;
	case LP_TVT_DURATION: lp_units_print_go_duration(out, v->i); return true;
	default: return false;
	}
}

/* ---- functions ------------------------------------------------------------------------------------ */

struct lp_tv lp_tfunc_now(struct lp_trun *run, struct lp_tv *a, uint32_t n, int op)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return tv_time(ts.tv_sec, ts.tv_nsec);
}

static int64_t epoch(const tv *t, int64_t scale)
{
	return (int64_t)((uint64_t)t->time.sec * (uint64_t)scale + (uint64_t)(t->time.ns / (NS / scale)));
}

struct lp_tv lp_tfunc_epoch(struct lp_trun *run, struct lp_tv *a, uint32_t n, int op)
{
	struct lp_buf out = { .max = 64 };

	lp_buf_i64(&out, epoch(&a[0], op == 's' ? 1 : op == 'm' ? 1000 : NS));
	return lp_tv_take(run, &out);
}

/* A number in decimal, no prefix, no underscores. */
static bool whole(const tv *v, int64_t *ret)
{
	const char *s = v->str.s;
	size_t n = v->str.n, i = n && (s[0] == '-' || s[0] == '+');
	uint64_t u = 0, limit = (uint64_t)INT64_MAX + (n && s[0] == '-');

	if (i == n)
		return false;
	for (; i < n; i++) {
		unsigned d = (unsigned char)s[i] - (unsigned)'0';

		if (d > 9 || u > (limit - d) / 10)
			return false;
		u = u * 10 + d;
	}
	*ret = (int64_t)(s[0] == '-' ? 0 - u : u);
	return true;
}

struct lp_tv lp_tfunc_unix_to_time(struct lp_trun *run, struct lp_tv *a, uint32_t n, int op)
{
	int shown = (int)(a[0].str.n < 100 ? a[0].str.n : 100);
	int64_t v;

	if (!whole(&a[0], &v))
		return lp_trun_fail(run, "error calling unixToTime: unable to parse time '%.*s': strconv.ParseInt: parsing \"%.*s\": invalid syntax", shown,
				    a[0].str.s, shown, a[0].str.s);
	switch (a[0].str.n) {
	case 5: return tv_time(v * 86400, 0);
	case 10: return tv_time(v, 0);
	case 13: return tv_time(v / 1000, v % 1000 * 1000000);
	case 16: return tv_time(v / 1000000, v % 1000000 * 1000);
	case 19: return tv_time(v / NS, v % NS);
	default: return lp_trun_fail(run, "error calling unixToTime: unable to parse time '%.*s': unsupported length", shown, a[0].str.s);
	}
}

struct lp_tv lp_tfunc_date(struct lp_trun *run, struct lp_tv *a, uint32_t n, int op)
{
	struct lp_buf out = { .max = LP_PIPELINE_MAX_OUTPUT };
	tv when = a[1];

	if (when.kind == LP_TV_INT && (when.type == LP_TVT_PLAIN || when.type == LP_TVT_INT64))
		when = tv_time(a[1].i, 0);
	else if (when.kind != LP_TV_TIME)
		when = lp_tfunc_now(run, NULL, 0, 0);
	when.time.east = 0;
	when.time.zone = NULL;
	lp_gotime_format(&out, &when, a[0].str.s, a[0].str.n);
	return lp_tv_take(run, &out);
}

/* "+3" behind GMT; at most 23. */
static int32_t gmt_offset(const char *s, size_t n)
{
	int32_t hours = 0;

	for (size_t i = 1; i < n; i++)
		hours = hours * 10 + (s[i] - '0');
	return hours * 3600 * (s[0] == '-' ? -1 : 1);
}

/* op: 1 with a zone.  What does not parse is the zero time. */
struct lp_tv lp_tfunc_to_date(struct lp_trun *run, struct lp_tv *a, uint32_t n, int op)
{
	struct lp_gotime parsed;
	char name[8] = "";
	tv t = tv_time(ZERO_SEC, 0), zone;

	if (!lp_gotime_parse(a[0].str.s, a[0].str.n, a[1 + op].str.s, a[1 + op].str.n, &parsed))
		return t;
	t = tv_time(parsed.local_sec, parsed.ns);
	if (parsed.utc)
		return t;
	if (!parsed.has_offset && !parsed.zone && op)
		t.time.east = lp_gotime_zone(a[1].str.s, a[1].str.n, parsed.local_sec, name);
	else if (parsed.has_offset)
		t.time.east = parsed.east;
	else if (parsed.zone && parsed.zone_len > 3 && !memcmp(parsed.zone, "GMT", 3))
		t.time.east = gmt_offset(parsed.zone + 3, parsed.zone_len - 3);
	t.time.sec -= t.time.east;
	if (parsed.zone || *name) {
		zone = parsed.zone ? lp_tv_str(run, parsed.zone, parsed.zone_len) : lp_tv_str(run, name, strlen(name));
		t.time.zone = zone.kind == LP_TV_STRING ? zone.str.s : NULL;
	} else if (t.time.east) {
		t.time.zone = "";
	}
	return t;
}

struct lp_tv lp_tfunc_timestamp(struct lp_trun *run, struct lp_tv *a, uint32_t n, int op)
{
	int64_t ts = run->data->state->ts_ns;

	return tv_time(ts / NS, ts % NS);
}

/* ---- methods -------------------------------------------------------------------------------------- */

static struct lp_civil civil(const tv *t)
{
	struct lp_civil c;

	lp_gotime_split((int64_t)((uint64_t)t->time.sec + (uint64_t)(int64_t)t->time.east), &c);
	return c;
}

static tv m_utc(struct lp_trun *run, const tv *t, const tv *a)
{
	return tv_time(t->time.sec, t->time.ns);
}

static tv m_format(struct lp_trun *run, const tv *t, const tv *a)
{
	struct lp_buf out = { .max = LP_PIPELINE_MAX_OUTPUT };

	lp_gotime_format(&out, t, a[0].str.s, a[0].str.n);
	return lp_tv_take(run, &out);
}

static tv m_string(struct lp_trun *run, const tv *v, const tv *a)
{
	struct lp_buf out = { .max = 256 };

	lp_tv_print(&out, v, run);
	return lp_tv_take(run, &out);
}

static tv m_unix(struct lp_trun *run, const tv *t, const tv *a) { return tv_int(epoch(t, 1), LP_TVT_INT64); }
static tv m_unix_milli(struct lp_trun *run, const tv *t, const tv *a) { return tv_int(epoch(t, 1000), LP_TVT_INT64); }
static tv m_unix_micro(struct lp_trun *run, const tv *t, const tv *a) { return tv_int(epoch(t, 1000000), LP_TVT_INT64); }
static tv m_unix_nano(struct lp_trun *run, const tv *t, const tv *a) { return tv_int(epoch(t, NS), LP_TVT_INT64); }
static tv m_year(struct lp_trun *run, const tv *t, const tv *a) { return tv_int(civil(t).year, LP_TVT_PLAIN); }
static tv m_month(struct lp_trun *run, const tv *t, const tv *a) { return tv_int(civil(t).month, LP_TVT_MONTH); }
static tv m_day(struct lp_trun *run, const tv *t, const tv *a) { return tv_int(civil(t).day, LP_TVT_PLAIN); }
static tv m_hour(struct lp_trun *run, const tv *t, const tv *a) { return tv_int(civil(t).hour, LP_TVT_PLAIN); }
static tv m_minute(struct lp_trun *run, const tv *t, const tv *a) { return tv_int(civil(t).min, LP_TVT_PLAIN); }
static tv m_second(struct lp_trun *run, const tv *t, const tv *a) { return tv_int(civil(t).sec, LP_TVT_PLAIN); }
static tv m_nanosecond(struct lp_trun *run, const tv *t, const tv *a) { return tv_int(t->time.ns, LP_TVT_PLAIN); }
static tv m_weekday(struct lp_trun *run, const tv *t, const tv *a) { return tv_int(civil(t).weekday, LP_TVT_WEEKDAY); }
static tv m_year_day(struct lp_trun *run, const tv *t, const tv *a) { return tv_int(civil(t).yday, LP_TVT_PLAIN); }

static tv m_is_zero(struct lp_trun *run, const tv *t, const tv *a)
{
	return (tv){ .kind = LP_TV_BOOL, .b = t->time.sec == ZERO_SEC && !t->time.ns };
}

static int compare(const tv *a, const tv *b)
{
	if (a->time.sec != b->time.sec)
		return a->time.sec < b->time.sec ? -1 : 1;
	return (a->time.ns > b->time.ns) - (a->time.ns < b->time.ns);
}

static tv m_compare(struct lp_trun *run, const tv *t, const tv *a) { return tv_int(compare(t, a), LP_TVT_PLAIN); }
static tv m_after(struct lp_trun *run, const tv *t, const tv *a) { return (tv){ .kind = LP_TV_BOOL, .b = compare(t, a) > 0 }; }
static tv m_before(struct lp_trun *run, const tv *t, const tv *a) { return (tv){ .kind = LP_TV_BOOL, .b = compare(t, a) < 0 }; }
static tv m_equal(struct lp_trun *run, const tv *t, const tv *a) { return (tv){ .kind = LP_TV_BOOL, .b = !compare(t, a) }; }

static tv m_add(struct lp_trun *run, const tv *t, const tv *a)
{
	int64_t ns = t->time.ns + a[0].i % NS;
	tv out = *t;

	out.time.sec += a[0].i / NS + (ns >= NS) - (ns < 0);
	out.time.ns = (int32_t)(ns >= NS ? ns - NS : ns < 0 ? ns + NS : ns);
	return out;
}

static tv m_add_date(struct lp_trun *run, const tv *t, const tv *a)
{
	struct lp_civil c = civil(t);
	tv out = *t;

	for (unsigned i = 0; i < 3; i++)
		if (a[i].i > 1000000 || a[i].i < -1000000)
			return lp_trun_fail(run, "date out of range");
	out.time.sec = lp_gotime_days(c.year + a[0].i, c.month + a[1].i, c.day + a[2].i) * 86400 + c.hour * 3600 + c.min * 60 + c.sec - t->time.east;
	return out;
}

static tv m_sub(struct lp_trun *run, const tv *t, const tv *a)
{
	__int128 ns = ((__int128)t->time.sec - a[0].time.sec) * NS + t->time.ns - a[0].time.ns;

	return tv_int(ns > INT64_MAX ? INT64_MAX : ns < INT64_MIN ? INT64_MIN : (int64_t)ns, LP_TVT_DURATION);
}

static tv real(double f)
{
	return (tv){ .kind = LP_TV_FLOAT, .f = f };
}

static tv in_units(int64_t ns, int64_t unit)
{
	return real((double)(ns / unit) + (double)(ns % unit) / (double)unit);
}

static tv m_hours(struct lp_trun *run, const tv *d, const tv *a) { return in_units(d->i, 3600 * NS); }
static tv m_minutes(struct lp_trun *run, const tv *d, const tv *a) { return in_units(d->i, 60 * NS); }
static tv m_seconds(struct lp_trun *run, const tv *d, const tv *a) { return in_units(d->i, NS); }
static tv m_milliseconds(struct lp_trun *run, const tv *d, const tv *a) { return tv_int(d->i / 1000000, LP_TVT_INT64); }
static tv m_microseconds(struct lp_trun *run, const tv *d, const tv *a) { return tv_int(d->i / 1000, LP_TVT_INT64); }
static tv m_nanoseconds(struct lp_trun *run, const tv *d, const tv *a) { return tv_int(d->i, LP_TVT_INT64); }

/* owner: t time, d span, m month or weekday.  types of arguments: s string, i int, d a span or a constant, t time. */
static const struct method {
	char owner;
	const char *name, *types;
	tv (*fn)(struct lp_trun *run, const tv *v, const tv *a);
} methods[] = {
	{ 't', "UTC", "", m_utc }, { 't', "Local", "", m_utc }, { 't', "Format", "s", m_format }, { 't', "String", "", m_string }, { 't', "Unix", "", m_unix },
	{ 't', "UnixMilli", "", m_unix_milli }, { 't', "UnixMicro", "", m_unix_micro }, { 't', "UnixNano", "", m_unix_nano }, { 't', "Year", "", m_year },
	{ 't', "Month", "", m_month }, { 't', "Day", "", m_day }, { 't', "Hour", "", m_hour }, { 't', "Minute", "", m_minute },
	{ 't', "Second", "", m_second }, { 't', "Nanosecond", "", m_nanosecond }, { 't', "Weekday", "", m_weekday }, { 't', "YearDay", "", m_year_day },
	{ 't', "IsZero", "", m_is_zero }, { 't', "Compare", "t", m_compare }, { 't', "After", "t", m_after }, { 't', "Before", "t", m_before },
	{ 't', "Equal", "t", m_equal }, { 't', "Add", "d", m_add }, { 't', "AddDate", "iii", m_add_date }, { 't', "Sub", "t", m_sub },
	{ 'd', "Hours", "", m_hours }, { 'd', "Minutes", "", m_minutes }, { 'd', "Seconds", "", m_seconds }, { 'd', "Milliseconds", "", m_milliseconds },
	{ 'd', "Microseconds", "", m_microseconds }, { 'd', "Nanoseconds", "", m_nanoseconds }, { 'd', "String", "", m_string },
	{ 'm', "String", "", m_string },
};

static char owner_of(const tv *v)
{
	if (v->kind == LP_TV_TIME)
		return 't';
	if (v->kind != LP_TV_INT)
		return 0;
	return v->type == LP_TVT_DURATION ? 'd' : v->type == LP_TVT_MONTH || v->type == LP_TVT_WEEKDAY ? 'm' : 0;
}

static bool fits(char type, const tv *v)
{
	switch (type) {
	case 's': return v->kind == LP_TV_STRING;
	case 't': return v->kind == LP_TV_TIME;
	case 'i': return v->kind == LP_TV_INT && v->type == LP_TVT_PLAIN;
	default: return v->kind == LP_TV_INT && (v->type == LP_TVT_PLAIN || v->type == LP_TVT_DURATION);
	}
}

bool lp_tmethod_call(struct lp_trun *run, struct lp_tv *v, const struct lp_str *name, const struct lp_tv *args, uint32_t n)
{
	char owner = owner_of(v);

	for (size_t i = 0; owner && i < sizeof methods / sizeof methods[0]; i++) {
		const struct method *m = &methods[i];

		if (m->owner != owner || strlen(m->name) != name->len || memcmp(m->name, name->s, name->len))
			continue;
		if (n != strlen(m->types))
			lp_trun_fail(run, "wrong number of args for %s: want %zu got %u", m->name, strlen(m->types), n);
		for (uint32_t k = 0; k < n && !run->failed; k++)
			if (!fits(m->types[k], &args[k]))
				lp_trun_fail(run, "wrong type for value of %s; got %s", m->name, lp_tv_type(&args[k]));
		if (!run->failed)
			*v = m->fn(run, v, args);
		return true;
	}
	return false;
}
