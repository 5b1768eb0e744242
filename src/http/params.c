/* Request parameters.  Guarantees: any bytes are either understood as Loki understands them or refused with its text;
 * nothing is read beyond the given lengths and a request makes at most LP_FORM_MAX pairs.
 * The rules are those of Loki's pkg/loghttp (params.go, query.go) and of Go's url.ParseQuery and strconv.
 * Process: worker, event loop; keeps nothing between calls, so a crash here loses the one request. */
#include "http/params.h"

#include "common/clock.h"
#include "common/rfc3339.h"
#include "common/utf8.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define NS_PER_HOUR (INT64_C(3600) * LP_NS_PER_SEC)
#define MAX_POINTS 11000

static const char end_before_start[] = "end timestamp must not be before or equal to start time";

void lp_go_quote(struct lp_buf *out, const char *s, size_t n)
{
	if (n > 256)
		n = 256;
	lp_buf_byte(out, '"');
	for (size_t i = 0; i < n; ) {
		unsigned char c = (unsigned char)s[i];
		unsigned len = lp_utf8_seq((const uint8_t *)s + i, n - i);

		if (c == '"' || c == '\\')
			lp_buf_printf(out, "\\%c", c);
		else if (c == '\n')
			lp_buf_str(out, "\\n");
		else if (c == '\t')
			lp_buf_str(out, "\\t");
		else if (c == '\r')
			lp_buf_str(out, "\\r");
		else if (c < 0x20 || c == 0x7f || len == 0)
			lp_buf_printf(out, "\\x%02x", c);
		else
			lp_buf_append(out, s + i, len);
		i += len ? len : 1;
	}
	lp_buf_byte(out, '"');
}

/* ---- forms -------------------------------------------------------------------------------------- */

static int hex(unsigned char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Undo percent encoding; `bad` is where an escape is broken. */
static ssize_t unescape(char *to, const char *s, size_t n, bool plus, size_t *bad)
{
	size_t out = 0;

	for (size_t i = 0; i < n; i++) {
		if (s[i] == '%') {
			int hi = i + 2 < n ? hex((unsigned char)s[i + 1]) : -1;
			int lo = i + 2 < n ? hex((unsigned char)s[i + 2]) : -1;

			if (hi < 0 || lo < 0) {
				*bad = i;
				return -EINVAL;
			}
			to[out++] = (char)(hi << 4 | lo);
			i += 2;
		} else {
			to[out++] = plus && s[i] == '+' ? ' ' : s[i];
		}
	}
	return (ssize_t)out;
}

ssize_t lp_path_unescape(char *to, const char *s, size_t n)
{
	size_t bad;

	return unescape(to, s, n, false, &bad);
}

static int copy_part(struct lp_form *form, const char *s, size_t n, const char **ret, size_t *ret_len, struct lp_buf *error)
{
	char *to = lp_arena_alloc(&form->arena, n + 1);
	size_t bad = 0;
	ssize_t len;

	if (!to)
		return -ENOMEM;
	len = unescape(to, s, n, true, &bad);
	if (len < 0) {
		lp_buf_str(error, "invalid URL escape ");
		lp_go_quote(error, s + bad, n - bad < 3 ? n - bad : 3);
		return -EINVAL;
	}
	to[len] = '\0';
	*ret = to;
	*ret_len = (size_t)len;
	return 0;
}

static int add_pair(struct lp_form *form, const char *s, size_t n, struct lp_buf *error)
{
	const char *eq = memchr(s, '=', n);
	size_t name_len = eq ? (size_t)(eq - s) : n;
	struct lp_param p;
	int r;

	r = copy_part(form, s, name_len, &p.name, &p.name_len, error);
	if (r < 0)
		return r;
	r = copy_part(form, eq ? eq + 1 : s, eq ? n - name_len - 1 : 0, &p.value, &p.value_len, error);
	if (r < 0)
		return r;
	if (form->n == form->cap) {
		size_t cap = form->cap ? form->cap * 2 : 16;
		struct lp_param *v = lp_arena_alloc(&form->arena, cap * sizeof *v);

		if (!v)
			return -ENOMEM;
		if (form->n)
			memcpy(v, form->v, form->n * sizeof *v);
		form->v = v;
		form->cap = cap;
	}
	form->v[form->n++] = p;
	return 0;
}

int lp_form_parse(struct lp_form *form, const char *s, size_t n, struct lp_buf *error)
{
	const char *end = s + n;
	int r;

	while (s < end) {
		const char *amp = memchr(s, '&', (size_t)(end - s));
		size_t len = (size_t)((amp ? amp : end) - s);

		if (memchr(s, ';', len)) {
			lp_buf_str(error, "invalid semicolon separator in query");
			return -EINVAL;
		}
		if (form->n >= LP_FORM_MAX) {
			lp_buf_printf(error, "too many parameters: more than %u", LP_FORM_MAX);
			return -E2BIG;
		}
		if (len > 0) {
			r = add_pair(form, s, len, error);
			if (r < 0)
				return r;
		}
		s += len + 1;
	}
	return 0;
}

void lp_form_free(struct lp_form *form)
{
	lp_arena_free(&form->arena);
	form->v = NULL;
	form->n = form->cap = 0;
}

const struct lp_param *lp_form_get(const struct lp_form *form, const char *name)
{
	size_t len = strlen(name);

	for (size_t i = 0; i < form->n; i++)
		if (form->v[i].name_len == len && memcmp(form->v[i].name, name, len) == 0)
			return &form->v[i];
	return NULL;
}

/* ---- numbers ------------------------------------------------------------------------------------ */

static bool set(const struct lp_param *p)
{
	return p && p->value_len > 0;
}

/* Go's strconv.ParseInt(s, 10, 64): 0, -EINVAL or -ERANGE. */
static int parse_int(const char *s, size_t n, int64_t *ret)
{
	bool neg = n > 0 && s[0] == '-', over = false;
	size_t i = n > 0 && (s[0] == '-' || s[0] == '+');
	int64_t v = 0;

	if (i == n)
		return -EINVAL;
	for (; i < n; i++) {
		if (s[i] < '0' || s[i] > '9')
			return -EINVAL;
		if (!over && (__builtin_mul_overflow(v, 10, &v) || __builtin_sub_overflow(v, s[i] - '0', &v)))
			over = true;
	}
	if (over || (!neg && v == INT64_MIN))
		return -ERANGE;
	*ret = neg ? v : -v;
	return 0;
}

static void number_error(struct lp_buf *error, const char *func, const struct lp_param *p, int r)
{
	lp_buf_printf(error, "strconv.%s: parsing ", func);
	lp_go_quote(error, p->value, p->value_len);
	lp_buf_str(error, r == -ERANGE ? ": value out of range" : ": invalid syntax");
}

/* Floating point with nothing around it, as far as strtod and Go agree: hexadecimal digits need an exponent. */
static bool parse_float(const struct lp_param *p, double *ret)
{
	char *end;

	if (!p->value_len || strlen(p->value) != p->value_len || !strchr("0123456789.+-", p->value[0]))
		return false;
	if (strpbrk(p->value, "xX") && !strpbrk(p->value, "pP"))
		return false;
	*ret = strtod(p->value, &end);
	return *end == '\0' && isfinite(*ret);
}

/* Go's words for what is no finite number. */
static bool parse_special(const struct lp_param *p, double *ret)
{
	const char *word = p->value + (p->value[0] == '+' || p->value[0] == '-');

	*ret = strcasecmp(p->value, "nan") == 0 ? NAN : *p->value == '-' ? -INFINITY : INFINITY;
	return isnan(*ret) || strcasecmp(word, "inf") == 0 || strcasecmp(word, "infinity") == 0;
}

int lp_param_time(const struct lp_param *p, int64_t def_ns, int64_t *ret_ns, struct lp_buf *error)
{
	int64_t v;
	double f;
	int r;

	if (!set(p)) {
		*ret_ns = def_ns;
		return 0;
	}
	if (memchr(p->value, '.', p->value_len) && parse_float(p, &f) && fabs(f) < 9.2e9) {
		double whole, frac = modf(f, &whole);

		/* Loki keeps milliseconds of float seconds. */
		*ret_ns = (int64_t)whole * LP_NS_PER_SEC + (int64_t)(round(frac * 1000) / 1000 * 1e9);
		return 0;
	}
	r = parse_int(p->value, p->value_len, &v);
	if (r < 0) {
		/* Go wants its letters in capitals. */
		if (!strpbrk(p->value, "tz") && lp_rfc3339_parse(p->value, p->value_len, ret_ns) == 0)
			return 0;
		number_error(error, "ParseInt", p, r);
		return -EINVAL;
	}
	if (p->value_len <= 10 && __builtin_mul_overflow(v, LP_NS_PER_SEC, &v))
		v = INT64_MAX;
	*ret_ns = v;
	return 0;
}

int lp_param_limit(const struct lp_form *form, const char *name, uint32_t def, uint32_t *ret_limit, struct lp_buf *error)
{
	const struct lp_param *p = lp_form_get(form, name);
	int64_t v = def;

	if (set(p)) {
		int r = parse_int(p->value, p->value_len, &v);

		if (r < 0) {
			number_error(error, "Atoi", p, r);
			return -EINVAL;
		}
	}
	if (v <= 0) {
		lp_buf_str(error, "limit must be a positive value");
		return -EINVAL;
	}
	*ret_limit = v > UINT32_MAX ? UINT32_MAX : (uint32_t)v;
	return 0;
}

int lp_param_direction(const struct lp_form *form, bool *ret_forward, struct lp_buf *error)
{
	const struct lp_param *p = lp_form_get(form, "direction");

	if (!set(p) || strcasecmp(p->value, "backward") == 0) {
		*ret_forward = false;
	} else if (strcasecmp(p->value, "forward") == 0) {
		*ret_forward = true;
	} else {
		lp_buf_printf(error, "invalid direction '%.100s'", p->value);
		return -EINVAL;
	}
	return 0;
}

/* ---- durations ---------------------------------------------------------------------------------- */

static const struct unit {
	const char *name;
	int64_t ns;
} units[] = {
	{ "y", 365 * LP_NS_PER_DAY }, { "w", 7 * LP_NS_PER_DAY }, { "d", LP_NS_PER_DAY }, { "h", NS_PER_HOUR },
	{ "m", 60 * LP_NS_PER_SEC }, { "s", LP_NS_PER_SEC }, { "ms", LP_NS_PER_MS },
};
#define N_UNITS ((int)(sizeof units / sizeof units[0]))

static int not_a_duration(struct lp_buf *error, const char *s, size_t n)
{
	lp_buf_str(error, "not a valid duration string: ");
	lp_go_quote(error, s, n);
	return -EINVAL;
}

static size_t span(const char *s, size_t n, bool digits)
{
	size_t i = 0;

	while (i < n && (s[i] >= '0' && s[i] <= '9') == digits)
		i++;
	return i;
}

static int find_unit(const char *s, size_t n)
{
	for (int i = 0; i < N_UNITS; i++)
		if (strlen(units[i].name) == n && memcmp(units[i].name, s, n) == 0)
			return i;
	return -1;
}

int lp_prom_duration(const char *s, size_t n, int64_t *ret_ns, struct lp_buf *error)
{
	int64_t total = 0, v;
	int last = -1;

	if (n == 0) {
		lp_buf_str(error, "empty duration string");
		return -EINVAL;
	}
	if (n == 1 && s[0] == '0') {
		*ret_ns = 0;
		return 0;
	}
	for (size_t i = 0; i < n; ) {
		size_t digits = span(s + i, n - i, true), letters = span(s + i + digits, n - i - digits, false);
		int unit;

		if (!digits || !letters || parse_int(s + i, digits, &v) < 0)
			return not_a_duration(error, s, n);
		unit = find_unit(s + i + digits, letters);
		if (unit < 0) {
			lp_buf_str(error, "unknown unit ");
			lp_go_quote(error, s + i + digits, letters);
			lp_buf_str(error, " in duration ");
			lp_go_quote(error, s, n);
			return -EINVAL;
		}
		if (unit <= last)
			return not_a_duration(error, s, n);
		last = unit;
		if (__builtin_mul_overflow(v, units[unit].ns, &v) || __builtin_add_overflow(total, v, &total)) {
			lp_buf_str(error, "duration out of range");
			return -EINVAL;
		}
		i += digits + letters;
	}
	*ret_ns = total;
	return 0;
}

int lp_param_seconds(const struct lp_param *p, int64_t def_ns, int64_t *ret_ns, struct lp_buf *error)
{
	struct lp_buf ignored = { .max = 1 };   /* its reasons are not shown, as in Loki */
	double f;
	int r;

	if (!set(p)) {
		*ret_ns = def_ns;
		return 0;
	}
	if (parse_float(p, &f) || parse_special(p, &f)) {
		f *= 1e9;
		if (isnan(f) || fabs(f) < 9.2e18) {
			*ret_ns = isnan(f) ? INT64_MIN : (int64_t)f;    /* Go's conversion: negative, and refused as that */
			return 0;
		}
		lp_buf_str(error, "cannot parse ");
		lp_go_quote(error, p->value, p->value_len);
		lp_buf_str(error, " to a valid duration. It overflows int64");
		return -EINVAL;
	}
	r = lp_prom_duration(p->value, p->value_len, ret_ns, &ignored);
	lp_buf_free(&ignored);
	if (r < 0) {
		lp_buf_str(error, "cannot parse ");
		lp_go_quote(error, p->value, p->value_len);
		lp_buf_str(error, " to a valid duration");
	}
	return r;
}

void lp_prom_duration_print(struct lp_buf *out, int64_t ns)
{
	int64_t left = ns / LP_NS_PER_MS * LP_NS_PER_MS;

	if (left == 0)
		lp_buf_str(out, "0s");
	for (int i = 0; i < N_UNITS; i++) {
		int64_t v = left / units[i].ns;

		/* Years and weeks only when nothing remains: 90d reads better than 12w6d. */
		if (v == 0 || (i < 2 && left % units[i].ns != 0))
			continue;
		lp_buf_i64(out, v);
		lp_buf_str(out, units[i].name);
		left -= v * units[i].ns;
	}
}

void lp_go_duration_print(struct lp_buf *out, int64_t ns)
{
	int64_t sec = ns / LP_NS_PER_SEC, frac = ns % LP_NS_PER_SEC;

	if (sec >= 3600)
		lp_buf_printf(out, "%lldh", (long long)(sec / 3600));
	if (sec >= 60)
		lp_buf_printf(out, "%lldm", (long long)(sec / 60 % 60));
	lp_buf_printf(out, "%lld", (long long)(sec % 60));
	if (frac) {
		char text[16];
		int n = snprintf(text, sizeof text, ".%09lld", (long long)frac);

		while (text[n - 1] == '0')
			n--;
		lp_buf_append(out, text, (size_t)n);
	}
	lp_buf_byte(out, 's');
}

/* ---- sets of parameters ------------------------------------------------------------------------- */

/* `what` failed: put Loki's "could not parse 'what' parameter: " before the reason. */
static int wrap(struct lp_buf *error, const char *what, struct lp_buf *reason, int r)
{
	lp_buf_printf(error, "could not parse '%s' parameter: ", what);
	lp_buf_append(error, reason->data, reason->len);
	lp_buf_free(reason);
	return r;
}

int lp_param_bounds(const struct lp_form *form, int64_t now_ns, int64_t *ret_start, int64_t *ret_end, struct lp_buf *error)
{
	const struct lp_param *since_p = lp_form_get(form, "since");
	int64_t since = NS_PER_HOUR, start, end, from;
	struct lp_buf reason = LP_BUF_INIT;
	int r;

	if (set(since_p)) {
		r = lp_prom_duration(since_p->value, since_p->value_len, &since, &reason);
		if (r < 0)
			return wrap(error, "since", &reason, r);
	}
	r = lp_param_time(lp_form_get(form, "end"), now_ns, &end, &reason);
	if (r < 0)
		return wrap(error, "end", &reason, r);
	/* An end in the future does not move the default start there. */
	if (__builtin_sub_overflow(end > now_ns ? now_ns : end, since, &from))
		from = INT64_MIN;
	r = lp_param_time(lp_form_get(form, "start"), from, &start, &reason);
	if (r < 0)
		return wrap(error, "start", &reason, r);
	*ret_start = start;
	*ret_end = end;
	return 0;
}

static int invalid(struct lp_buf *error, const char *text)
{
	lp_buf_str(error, text);
	return -EINVAL;
}

int lp_param_step(const struct lp_form *form, int64_t start_ns, int64_t end_ns, int64_t *ret_ns, struct lp_buf *error)
{
	int64_t def, length, step;
	int r;

	if (__builtin_sub_overflow(end_ns, start_ns, &length))
		length = INT64_MAX;
	def = length / LP_NS_PER_SEC / 250;
	r = lp_param_seconds(lp_form_get(form, "step"), (def > 1 ? def : 1) * LP_NS_PER_SEC, &step, error);
	if (r < 0)
		return r;
	if (step <= 0)
		return invalid(error, "zero or negative query resolution step widths are not accepted. Try a positive integer");
	if (length / step > MAX_POINTS)
		return invalid(error, "exceeded maximum resolution of 11,000 points per time series. Try increasing the value of the step parameter");
	*ret_ns = step;
	return 0;
}

int lp_param_range(const struct lp_form *form, int64_t now_ns, struct lp_range_args *ret, struct lp_buf *error)
{
	struct lp_range_args a = { 0 };
	int r;

	r = lp_param_bounds(form, now_ns, &a.start_ns, &a.end_ns, error);
	if (r < 0)
		return r;
	if (a.end_ns < a.start_ns)
		return invalid(error, end_before_start);
	r = lp_param_limit(form, "limit", 100, &a.limit, error);
	if (r < 0)
		return r;
	r = lp_param_direction(form, &a.forward, error);
	if (r < 0)
		return r;
	r = lp_param_step(form, a.start_ns, a.end_ns, &a.step_ns, error);
	if (r < 0)
		return r;
	r = lp_param_seconds(lp_form_get(form, "interval"), 0, &a.interval_ns, error);
	if (r < 0)
		return r;
	if (a.interval_ns < 0)
		return invalid(error, "interval must be >= 0");
	*ret = a;
	return 0;
}

bool lp_is_log_query(const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (s[i] == '#') {
			const char *nl = memchr(s + i, '\n', n - i);

			if (!nl)
				return false;
			i = (size_t)(nl - s);
		} else if (!strchr(" \t\r\n(", s[i])) {
			return s[i] == '{';
		}
	}
	return false;
}
