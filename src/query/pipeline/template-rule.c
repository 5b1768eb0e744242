/* Templates of alert rules: Prometheus' data (.Labels, .Value, .ExternalURL) and functions on the same engine as line_format.
 * Names, rounding and words are those of Prometheus' template package; what asks the server again (query, first, value ...) is
 * not there, so that such a rule is refused when it is loaded.
 *
 * Guarantees: the bounds of template-exec.c.  Pure: the clock is not read.  Process: any; nothing is lost if it dies here. */
#include "query/pipeline/template-private.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct lp_tv tv;        /* as in template-func.c: the table's signatures stay readable */

#define HEAD "{{$labels := .Labels}}{{$externalLabels := .ExternalLabels}}{{$externalURL := .ExternalURL}}{{$value := .Value}}"

static void put_g(struct lp_buf *out, double v, const char *unit)
{
	if (isnan(v))
		lp_buf_str(out, "NaN");
	else if (isinf(v))
		lp_buf_str(out, v > 0 ? "+Inf" : "-Inf");
	else
		lp_buf_printf(out, "%.4g", v);
	lp_buf_str(out, unit);
}

static bool is_odd(double v) { return isnan(v) || isinf(v); }

static void humanize(struct lp_buf *out, double v)
{
	static const char *const big[] = { "k", "M", "G", "T", "P", "E", "Z", "Y" };
	static const char *const small[] = { "m", "u", "n", "p", "f", "a", "z", "y" };
	const char *unit = "";

	if (v != 0 && !is_odd(v)) {
		if (fabs(v) >= 1)
			for (unsigned i = 0; i < 8 && fabs(v) >= 1000; i++, v /= 1000)
				unit = big[i];
		else
			for (unsigned i = 0; i < 8 && fabs(v) < 1; i++, v *= 1000)
				unit = small[i];
	}
	put_g(out, v, unit);
}

static void humanize1024(struct lp_buf *out, double v)
{
	static const char *const units[] = { "ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi" };
	const char *unit = "";

	if (fabs(v) > 1 && !is_odd(v))
		for (unsigned i = 0; i < 8 && fabs(v) >= 1024; i++, v /= 1024)
			unit = units[i];
	put_g(out, v, unit);
}

static void humanize_duration(struct lp_buf *out, double v)
{
	static const char *const small[] = { "m", "u", "n", "p", "f", "a", "z", "y" };
	char unit[4] = "s";

	if (is_odd(v) || v == 0) {
		put_g(out, v, v == 0 ? "s" : "");
		return;
	}
	if (fabs(v) < 1) {
		for (unsigned i = 0; i < 8 && fabs(v) < 1; i++, v *= 1000)
			snprintf(unit, sizeof unit, "%ss", small[i]);
		put_g(out, v, unit);
		return;
	}
	if (v < 0) {
		lp_buf_byte(out, '-');
		v = -v;
	}
	long long t = v < 9e18 ? (long long)v : INT64_MAX;
	long long days = t / 86400, hours = t / 3600 % 24, minutes = t / 60 % 60, seconds = t % 60;

	if (days)
		lp_buf_printf(out, "%lldd %lldh %lldm %llds", days, hours, minutes, seconds);
	else if (hours)
		lp_buf_printf(out, "%lldh %lldm %llds", hours, minutes, seconds);
	else if (minutes)
		lp_buf_printf(out, "%lldm %llds", minutes, seconds);
	else
		put_g(out, v, "s");
}

static void humanize_timestamp(struct lp_buf *out, double v)
{
	if (is_odd(v) || fabs(v) > 9e9) {
		put_g(out, v, "");
		return;
	}
	double whole = floor(v);

	tv t = { .kind = LP_TV_TIME, .time = { .sec = (int64_t)whole, .ns = (int32_t)((v - whole) * 1e9) } };

	lp_ttime_print(out, &t);
}

/* A number as Prometheus' convertToFloat takes it. */
static bool number(struct lp_trun *run, const tv *a, double *ret)
{
	char text[64], *end;

	switch (a->kind) {
	case LP_TV_FLOAT: *ret = a->f; return true;
	case LP_TV_INT: *ret = (double)a->i; return true;
	case LP_TV_STRING:
		if (a->str.n == 0 || a->str.n >= sizeof text)
			break;
		memcpy(text, a->str.s, a->str.n);
		text[a->str.n] = '\0';
		*ret = strtod(text, &end);
		if (!*end)
			return true;
		break;
	default:
		break;
	}
	lp_trun_fail(run, "can't convert %s to float", lp_tv_type(a));
	return false;
}

struct lp_tv lp_tfunc_humanize(struct lp_trun *run, struct lp_tv *a, uint32_t n, int op)
{
	struct lp_buf out = { .max = 128 };
	double v;

	if (!number(run, &a[0], &v))
		return (tv){ .kind = LP_TV_NIL };
	switch (op) {
	case 'h': humanize(&out, v); break;
	case '2': humanize1024(&out, v); break;
	case 'd': humanize_duration(&out, v); break;
	case '%': put_g(&out, v * 100, "%"); break;
	default: humanize_timestamp(&out, v); break;
	}
	return lp_tv_take(run, &out);
}

struct lp_tv lp_tfunc_match(struct lp_trun *run, struct lp_tv *a, uint32_t n, int op)
{
	tv count = lp_tfunc_regex(run, a, n, 'c');

	return (tv){ .kind = LP_TV_BOOL, .b = count.kind == LP_TV_INT && count.i > 0 };
}

struct lp_tv lp_tfunc_re_replace(struct lp_trun *run, struct lp_tv *a, uint32_t n, int op)
{
	tv args[3] = { a[0], a[2], a[1] };      /* pattern, replacement, text */

	return lp_tfunc_regex(run, args, 3, 'r');
}

struct lp_tv lp_tfunc_strip_port(struct lp_trun *run, struct lp_tv *a, uint32_t n, int op)
{
	const char *s = a[0].str.s, *colon = memrchr(s, ':', a[0].str.n);

	if (!colon || (a[0].str.n && s[0] != '[' && memchr(s, ':', (size_t)(colon - s))))
		return a[0];            /* no port, or an IPv6 address without brackets */
	if (s[0] == '[') {
		if (colon == s || colon[-1] != ']')
			return a[0];
		s++;
		colon--;
	}
	return lp_tv_str(run, s, (size_t)(colon - s));
}

int lp_template_compile_rule(const char *text, size_t len, struct lp_template **ret_tmpl, struct lp_buf *error)
{
	struct lp_buf whole = { .max = 1u << 20 };

	lp_buf_str(&whole, HEAD);
	lp_buf_append(&whole, text, len);
	int r = whole.failed ? -ENOMEM :
		lp_template_compile((const char *)whole.data, whole.len, LP_TMPL_RULE_NAME, ret_tmpl, error);

	lp_buf_free(&whole);
	return r;
}

int lp_template_run_rule(const struct lp_template *tmpl, const struct lp_template_rule *rule, struct lp_buf *out, struct lp_buf *error)
{
	static const struct lp_str keys[] = { { "ExternalLabels", 14 }, { "ExternalURL", 11 }, { "Labels", 6 }, { "Value", 5 } };
	struct lp_pipeline_state *state = calloc(1, sizeof *state);
	struct lp_entry *entries = calloc(rule->n_labels ? rule->n_labels : 1, sizeof *entries);
	const char *url = rule->external_url ? rule->external_url : "";
	tv items[4] = { { .kind = LP_TV_MAP }, { .kind = LP_TV_STRING, .str = { url, strlen(url) } }, { .kind = LP_TV_DATA },
			{ .kind = LP_TV_FLOAT, .f = rule->value } };
	tv root = { .kind = LP_TV_MAP, .list = { items, keys, 4 } };
	int r = -ENOMEM;

	if (state && entries) {
		state->line = "";
		for (uint32_t i = 0; i < rule->n_labels; i++) {
			struct lp_entry *e = &entries[i];

			e->name = rule->names[i];
			e->value = rule->values[i];
			e->name_len = (uint32_t)strlen(e->name);
			e->value_len = (uint32_t)strlen(e->value);
			e->name_hash = lp_labels_name_hash(e->name, e->name_len);
		}
		struct lp_template_data data = { .state = state, .entries = entries, .n_entries = rule->n_labels, .root = &root };

		r = lp_template_run(tmpl, &data, out, error);
		lp_scratch_free(&state->scratch);
	}
	free(entries);
	free(state);
	return r;
}
