/* Templates: the functions, Go's builtins and those that Loki takes from sprig, with their conversions and quirks.
 *
 * Guarantees: every result is bounded by LP_PIPELINE_MAX_OUTPUT; mistakes in arguments end the execution with a text.
 * Query threads. */
#include "query/pipeline/template-private.h"

#include "query/logql/units.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct lp_tv tv;
typedef tv (*func_fn)(struct lp_trun *run, tv *a, uint32_t n, int op);

static tv tv_int(int64_t i) { return (tv){ .kind = LP_TV_INT, .i = i }; }
static tv tv_float(double f) { return (tv){ .kind = LP_TV_FLOAT, .f = f }; }
static tv tv_bool(bool b) { return (tv){ .kind = LP_TV_BOOL, .b = b }; }

static tv tv_sub(const tv *v, size_t from, size_t to)
{
	tv out = *v;

	out.str.s += from;
	out.str.n = to - from;
	return out;
}

/* ---- conversions (spf13/cast) --------------------------------------------------------------------- */

static double to_float(const tv *v)
{
	double f = 0;

	switch (v->kind) {
	case LP_TV_INT: return (double)v->i;
	case LP_TV_FLOAT: return v->f;
	case LP_TV_BOOL: return v->b;
	case LP_TV_STRING: return lp_units_float(v->str.s, v->str.n, &f) == 0 ? f : 0;
	default: return 0;
	}
}

int64_t lp_tv_int(const struct lp_tv *v)
{
	char copy[64], *end;
	int64_t i;
	size_t n = v->str.n;

	switch (v->kind) {
	case LP_TV_INT: return v->i;
	case LP_TV_FLOAT: return v->f >= 9223372036854775807.0 ? INT64_MAX : v->f <= -9223372036854775808.0 || isnan(v->f) ? INT64_MIN : (int64_t)v->f;
	case LP_TV_BOOL: return v->b;
	case LP_TV_STRING: break;
	default: return 0;
	}
	if (!n || n >= sizeof copy)
		return 0;
	memcpy(copy, v->str.s, n);
	copy[n] = '\0';
	end = strchr(copy, '.');
	if (end && end[1 + strspn(end + 1, "0123456789")] == '\0')
		*end = '\0';
	errno = 0;
	i = strtoll(copy, &end, 0);
	return *copy && !*end && !errno && copy[0] != ' ' ? i : 0;
}

/* ---- arithmetic ----------------------------------------------------------------------------------- */

enum { ADD, SUB, MUL, DIV, MOD, MAX, MIN };

static tv do_int(struct lp_trun *run, tv *a, uint32_t n, int op)
{
	uint64_t acc = op == ADD && n ? 0 : (uint64_t)lp_tv_int(&a[0]);

	for (uint32_t i = op != ADD; i < n; i++) {
		int64_t b = lp_tv_int(&a[i]);

		switch (op) {
		case ADD: acc += (uint64_t)b; break;
		case SUB: acc -= (uint64_t)b; break;
		case MUL: acc *= (uint64_t)b; break;
		case MAX: acc = (int64_t)acc > b ? acc : (uint64_t)b; break;
		case MIN: acc = (int64_t)acc < b ? acc : (uint64_t)b; break;
		default:
			if (!b)
				return lp_trun_fail(run, "error calling %s: runtime error: integer divide by zero", op == DIV ? "div" : "mod");
			if (b == -1)
				acc = op == DIV ? 0 - acc : 0;
			else
				acc = (uint64_t)(op == DIV ? (int64_t)acc / b : (int64_t)acc % b);
			break;
		}
	}
	return tv_int((int64_t)acc);
}

/* sprig computes in decimals: 0.1 + 0.2 is 0.3.  Reading the shortest digits into a wider type and rounding once does the same. */
static long double decimal(const tv *v)
{
	struct lp_buf text = { .max = 512 };
	long double x;

	lp_units_print_float(&text, to_float(v));
	x = strtold(lp_buf_cstr(&text), NULL);
	lp_buf_free(&text);
	return x;
}

static tv do_float(struct lp_trun *run, tv *a, uint32_t n, int op)
{
	long double acc = decimal(&a[0]);

	for (uint32_t i = 1; i < n; i++) {
		long double b = decimal(&a[i]);

		switch (op) {
		case ADD: acc += b; break;
		case SUB: acc -= b; break;
		case MUL: acc *= b; break;
		case MAX: acc = fmaxl(acc, b); break;
		case MIN: acc = fminl(acc, b); break;
		default:
			if (b == 0)
				return lp_trun_fail(run, "error calling divf: decimal division by 0");
			acc /= b;
			if (fabsl(acc) < 1000)
				acc = roundl(acc * 1e16L) / 1e16L;
			break;
		}
	}
	return tv_float((double)acc);
}

static tv do_ceil(struct lp_trun *run, tv *a, uint32_t n, int op)
{
	return tv_float(op ? floor(to_float(&a[0])) : ceil(to_float(&a[0])));
}

static tv do_round(struct lp_trun *run, tv *a, uint32_t n, int op)
{
	double scale = pow(10, to_float(&a[1])), digit = scale * to_float(&a[0]), whole, on = n > 2 ? to_float(&a[2]) : 0.5;

	return tv_float((modf(digit, &whole) >= on ? ceil(digit) : floor(digit)) / scale);
}

static tv do_number(struct lp_trun *run, tv *a, uint32_t n, int op)
{
	return op ? tv_float(to_float(&a[0])) : tv_int(lp_tv_int(&a[0]));
}

/* ---- builtins ------------------------------------------------------------------------------------- */

static tv do_print(struct lp_trun *run, tv *a, uint32_t n, int op)
{
	struct lp_buf out = { .max = LP_PIPELINE_MAX_OUTPUT };

	for (uint32_t i = 0; i < n; i++) {
		if (i && (op || (a[i].kind != LP_TV_STRING && a[i - 1].kind != LP_TV_STRING)))
			lp_buf_byte(&out, ' ');
		lp_tv_print(&out, &a[i], run);
	}
	if (op)
		lp_buf_byte(&out, '\n');
	return lp_tv_take(run, &out);
}

static tv do_printf(struct lp_trun *run, tv *a, uint32_t n, int op)
{
	return lp_tv_printf(run, a, n);
}

static tv do_len(struct lp_trun *run, tv *a, uint32_t n, int op)
{
	switch (a[0].kind) {
	case LP_TV_STRING: return tv_int((int64_t)a[0].str.n);
	case LP_TV_LIST: case LP_TV_MAP: return tv_int(a[0].list.n);
	case LP_TV_DATA: return tv_int(run->data->n_entries);
	default: return lp_trun_fail(run, "error calling len: len of type %s", lp_tv_type(&a[0]));
	}
}

static tv do_index(struct lp_trun *run, tv *a, uint32_t n, int op)
{
	tv v = a[0];

	for (uint32_t i = 1; i < n && !run->failed; i++) {
		size_t len = v.kind == LP_TV_STRING ? v.str.n : v.kind == LP_TV_LIST ? v.list.n : 0;

		if (v.kind == LP_TV_DATA && a[i].kind == LP_TV_STRING) {
			(void)lp_tdata_get(run, a[i].str.s, a[i].str.n, &v);
		} else if (v.kind == LP_TV_MAP && a[i].kind == LP_TV_STRING) {
			const tv map = v;

			v.kind = LP_TV_NIL;
			for (uint32_t k = 0; k < map.list.n; k++)
				if (map.list.keys[k].len == a[i].str.n && !memcmp(map.list.keys[k].s, a[i].str.s, a[i].str.n))
					v = map.list.items[k];
		} else if ((v.kind == LP_TV_STRING || v.kind == LP_TV_LIST) && a[i].kind == LP_TV_INT) {
			if (a[i].i < 0 || (uint64_t)a[i].i >= len)
				return lp_trun_fail(run, "error calling index: index out of range: %lld", (long long)a[i].i);
			v = v.kind == LP_TV_LIST ? v.list.items[a[i].i] : tv_int((unsigned char)v.str.s[a[i].i]);
		} else {
			return lp_trun_fail(run, "error calling index: can't index item of type %s", lp_tv_type(&v));
		}
	}
	return v;
}

static tv do_slice(struct lp_trun *run, tv *a, uint32_t n, int op)
{
	int64_t len = a[0].kind == LP_TV_STRING ? (int64_t)a[0].str.n : a[0].kind == LP_TV_LIST ? (int64_t)a[0].list.n : -1;
	int64_t from = n > 1 ? lp_tv_int(&a[1]) : 0, to = n > 2 ? lp_tv_int(&a[2]) : len;

	if (len < 0)
		return lp_trun_fail(run, "error calling slice: can't slice item of type %s", lp_tv_type(&a[0]));
	if (from < 0 || from > to || to > len)
		return lp_trun_fail(run, "error calling slice: index out of range: %lld", (long long)(from < 0 || from > len ? from : to));
	if (a[0].kind == LP_TV_STRING)
		return tv_sub(&a[0], (size_t)from, (size_t)to);
	a[0].list.items += from;
	a[0].list.n = (uint32_t)(to - from);
	return a[0];
}

/* -1, 0, 1; 2: not ordered; fails on types that do not compare. */
static int compare(struct lp_trun *run, const tv *a, const tv *b, const char *name)
{
	size_t n;
	int c;

	if (a->kind != b->kind) {
		lp_trun_fail(run, "error calling %s: incompatible types for comparison", name);
		return 2;
	}
	switch (a->kind) {
	case LP_TV_STRING:
		n = a->str.n < b->str.n ? a->str.n : b->str.n;
		c = memcmp(a->str.s, b->str.s, n);
		c = c ? c : (a->str.n > b->str.n) - (a->str.n < b->str.n);
		return (c > 0) - (c < 0);
	case LP_TV_INT: return (a->i > b->i) - (a->i < b->i);
	case LP_TV_FLOAT: return isnan(a->f) || isnan(b->f) ? 2 : (a->f > b->f) - (a->f < b->f);
	case LP_TV_BOOL: return a->b == b->b ? 0 : 2;
	case LP_TV_TIME: return a->time.sec == b->time.sec && a->time.ns == b->time.ns ? 0 : 2;
	case LP_TV_NIL: return 0;
	default: lp_trun_fail(run, "error calling %s: non-comparable type %s", name, lp_tv_type(a)); return 2;
	}
}

static tv do_compare(struct lp_trun *run, tv *a, uint32_t n, int op)
{
	static const char *const names[] = { "eq", "ne", "lt", "le", "gt", "ge" };
	int c = compare(run, &a[0], &a[1], names[op]);

	switch (op) {
	case 0:
		for (uint32_t i = 2; i < n && c && !run->failed; i++)
			c = compare(run, &a[0], &a[i], "eq");
		return tv_bool(!c);
	case 1: return tv_bool(c != 0);
	case 2: return tv_bool(c == -1);
	case 3: return tv_bool(c == -1 || c == 0);
	case 4: return tv_bool(c == 1);
	default: return tv_bool(c == 1 || c == 0);
	}
}

static tv do_not(struct lp_trun *run, tv *a, uint32_t n, int op)
{
	return tv_bool(!lp_tv_true(&a[0], run));
}

static tv do_default(struct lp_trun *run, tv *a, uint32_t n, int op)
{
	return n > 1 && lp_tv_true(&a[1], run) ? a[1] : a[0];
}

static tv do_from_json(struct lp_trun *run, tv *a, uint32_t n, int op)
{
	return lp_tv_from_json(run, a[0].str.s, a[0].str.n);
}

/* ---- the table ------------------------------------------------------------------------------------ */

/* types: one letter per argument, s string, i whole number, t time, . anything; "*" behind the last: any number more. */
static const struct func {
	const char *name, *types;
	func_fn fn;
	int op;
} funcs[] = {
	{ "and", ".*", NULL, 0 }, { "or", ".*", NULL, 0 }, { "not", ".", do_not, 0 },
	{ "eq", "..*", do_compare, 0 }, { "ne", "..", do_compare, 1 }, { "lt", "..", do_compare, 2 }, { "le", "..", do_compare, 3 },
	{ "gt", "..", do_compare, 4 }, { "ge", "..", do_compare, 5 },
	{ "print", "*", do_print, 0 }, { "println", "*", do_print, 1 }, { "printf", "s*", do_printf, 0 },
	{ "len", ".", do_len, 0 }, { "index", ".*", do_index, 0 }, { "slice", ".*", do_slice, 0 },
	{ "html", "*", lp_tfunc_escape, 'h' }, { "js", "*", lp_tfunc_escape, 'j' }, { "urlquery", "*", lp_tfunc_urlencode, 0 },
	{ "__line__", "", lp_tfunc_line, 0 }, { "__timestamp__", "", lp_tfunc_timestamp, 0 },
	{ "lower", "s", lp_tfunc_case, 'l' }, { "upper", "s", lp_tfunc_case, 'u' }, { "title", "s", lp_tfunc_case, 't' },
	{ "ToLower", "s", lp_tfunc_case, 'l' }, { "ToUpper", "s", lp_tfunc_case, 'u' },
	{ "Replace", "sssi", lp_tfunc_replace, 1 }, { "replace", "sss", lp_tfunc_replace, 0 },
	{ "Trim", "ss", lp_tfunc_trim, 3 }, { "TrimLeft", "ss", lp_tfunc_trim, 1 }, { "TrimRight", "ss", lp_tfunc_trim, 2 },
	{ "TrimPrefix", "ss", lp_tfunc_trim_fix, 0 }, { "TrimSuffix", "ss", lp_tfunc_trim_fix, 2 }, { "TrimSpace", "s", lp_tfunc_trim_space, 0 },
	{ "trim", "s", lp_tfunc_trim_space, 0 }, { "trimAll", "ss", lp_tfunc_trim_all, 0 }, { "trimPrefix", "ss", lp_tfunc_trim_fix, 1 },
	{ "trimSuffix", "ss", lp_tfunc_trim_fix, 3 },
	{ "trunc", "is", lp_tfunc_trunc, 0 }, { "substr", "iis", lp_tfunc_substr, 0 }, { "repeat", "is", lp_tfunc_repeat, 0 },
	{ "contains", "ss", lp_tfunc_has, 'c' }, { "hasPrefix", "ss", lp_tfunc_has, 'p' }, { "hasSuffix", "ss", lp_tfunc_has, 's' },
	{ "indent", "is", lp_tfunc_indent, 0 }, { "nindent", "is", lp_tfunc_indent, 1 },
	{ "alignLeft", "is", lp_tfunc_align, 0 }, { "alignRight", "is", lp_tfunc_align, 1 },
	{ "regexReplaceAll", "sss", lp_tfunc_regex, 'r' }, { "regexReplaceAllLiteral", "sss", lp_tfunc_regex, 'l' }, { "count", "ss", lp_tfunc_regex, 'c' },
	{ "b64enc", "s", lp_tfunc_b64enc, 0 }, { "b64dec", "s", lp_tfunc_b64dec, 0 }, { "urldecode", "s", lp_tfunc_urldecode, 0 }, { "urlencode", "s", lp_tfunc_urlencode, 0 },
	{ "bytes", "s", lp_tfunc_bytes, 'b' }, { "duration", "s", lp_tfunc_bytes, 'd' }, { "duration_seconds", "s", lp_tfunc_bytes, 'd' },
	{ "now", "", lp_tfunc_now, 0 }, { "unixEpoch", "t", lp_tfunc_epoch, 's' }, { "unixEpochMillis", "t", lp_tfunc_epoch, 'm' }, { "unixEpochNanos", "t", lp_tfunc_epoch, 'n' },
	{ "unixToTime", "s", lp_tfunc_unix_to_time, 0 }, { "date", "s.", lp_tfunc_date, 0 }, { "toDate", "ss", lp_tfunc_to_date, 0 },
	{ "toDateInZone", "sss", lp_tfunc_to_date, 1 },
	{ "int", ".", do_number, 0 }, { "float64", ".", do_number, 1 },
	{ "add", ".*", do_int, ADD }, { "sub", "..", do_int, SUB }, { "mul", ".*", do_int, MUL }, { "div", "..", do_int, DIV }, { "mod", "..", do_int, MOD },
	{ "max", ".*", do_int, MAX }, { "min", ".*", do_int, MIN },
	{ "addf", ".*", do_float, ADD }, { "subf", ".*", do_float, SUB }, { "mulf", ".*", do_float, MUL }, { "divf", ".*", do_float, DIV },
	{ "maxf", ".*", do_float, MAX }, { "minf", ".*", do_float, MIN },
	{ "ceil", ".", do_ceil, 0 }, { "floor", ".", do_ceil, 1 }, { "round", "..*", do_round, 0 },
	{ "fromJson", "s", do_from_json, 0 }, { "default", ".*", do_default, 0 },
	/* From here on: alert rules only. */
	{ "humanize", ".", lp_tfunc_humanize, 'h' }, { "humanize1024", ".", lp_tfunc_humanize, '2' },
	{ "humanizeDuration", ".", lp_tfunc_humanize, 'd' }, { "humanizePercentage", ".", lp_tfunc_humanize, '%' },
	{ "humanizeTimestamp", ".", lp_tfunc_humanize, 't' }, { "toLower", "s", lp_tfunc_case, 'l' }, { "toUpper", "s", lp_tfunc_case, 'u' },
	{ "match", "ss", lp_tfunc_match, 0 }, { "reReplaceAll", "sss", lp_tfunc_re_replace, 0 }, { "stripPort", "s", lp_tfunc_strip_port, 0 },
};
#define N_RULE_FUNCS 10u

int lp_tfunc_find(const char *name, size_t len, bool rule)
{
	size_t n = sizeof funcs / sizeof funcs[0] - (rule ? 0 : N_RULE_FUNCS);

	for (size_t i = 0; i < n; i++)
		if (strlen(funcs[i].name) == len && !memcmp(funcs[i].name, name, len))
			return (int)i;
	return -1;
}

const char *lp_tfunc_name(int func)
{
	return funcs[func].name;
}

bool lp_tfunc_is_and(int func)
{
	return func == 0;
}

bool lp_tfunc_is_or(int func)
{
	return func == 1;
}

static bool fits(char type, const tv *v)
{
	switch (type) {
	case 's': return v->kind == LP_TV_STRING;
	case 'i': return v->kind == LP_TV_INT;
	case 't': return v->kind == LP_TV_TIME;
	default: return true;
	}
}

struct lp_tv lp_tfunc_call(struct lp_trun *run, int func, struct lp_tv *args, uint32_t n)
{
	const struct func *f = &funcs[func];
	size_t want = strlen(f->types);
	bool more = want && f->types[want - 1] == '*';

	want -= more;
	if (n < want || (n > want && !more))
		return lp_trun_fail(run, "wrong number of args for %s: want %s%zu got %u", f->name, more ? "at least " : "", want, n);
	for (size_t i = 0; i < want; i++) {
		if (fits(f->types[i], &args[i]))
			continue;
		return lp_trun_fail(run, "wrong type for value; expected %s; got %s",
				    f->types[i] == 's' ? "string" : f->types[i] == 'i' ? "int" : "time.Time", lp_tv_type(&args[i]));
	}
	if (++run->steps > LP_TMPL_MAX_STEPS)
		return lp_trun_fail(run, "template takes too many steps (limit %u)", LP_TMPL_MAX_STEPS);
	if (!f->fn)
		return lp_trun_fail(run, "wrong number of args for %s: want at least 1 got 0", f->name);
	return f->fn(run, args, n, f->op);
}
