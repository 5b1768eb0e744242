/* Templates: the table of functions (Go's builtins, Loki's own and those that Loki takes from sprig) and the builtins.
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
static tv tv_bool(bool b) { return (tv){ .kind = LP_TV_BOOL, .b = b }; }

static tv tv_sub(const tv *v, size_t from, size_t to)
{
	tv out = *v;

	out.str.s += from;
	out.str.n = to - from;
	return out;
}

/* ---- builtins ------------------------------------------------------------------------------------- */

static tv do_print(struct lp_trun *run, tv *a, uint32_t n, int op)
{
	struct lp_buf out = { .max = LP_PIPELINE_MAX_OUTPUT };

	for (uint32_t i = 0; i < n; i++) {
		if (i && (op || (a[i].kind != LP_TV_STRING && a[i - 1].kind != LP_TV_STRING)))
			lp_buf_byte(&out, ' ');
		if (a[i].kind == LP_TV_NIL)
			lp_buf_str(&out, "<nil>");
		else
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

static uint32_t count_labels(const struct lp_trun *run)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < run->data->n_entries; i++)
		n += !run->data->entries[i].dead;
	return n;
}

static tv do_len(struct lp_trun *run, tv *a, uint32_t n, int op)
{
	switch (a[0].kind) {
	case LP_TV_STRING: return tv_int((int64_t)a[0].str.n);
	case LP_TV_LIST: case LP_TV_MAP: return tv_int(a[0].list.n);
	case LP_TV_DATA: return tv_int(count_labels(run));
	default: return lp_trun_fail(run, "error calling len: len of type %s", lp_tv_type(&a[0]));
	}
}

/* An index of a string or a list: [0, len), or [0, len] where it is a bound.  Fails otherwise. */
static int64_t take_index(struct lp_trun *run, const tv *v, size_t len, bool bound, const char *what)
{
	if (v->kind != LP_TV_INT)
		lp_trun_fail(run, v->kind == LP_TV_NIL ? "error calling %s: cannot index slice/array with nil"
						       : "error calling %s: cannot index slice/array with type %s", what, lp_tv_type(v));
	else if (v->i < 0 || (uint64_t)v->i >= len + bound)
		lp_trun_fail(run, "error calling %s: index out of range: %lld", what, (long long)v->i);
	return run->failed ? 0 : v->i;
}

static tv do_index(struct lp_trun *run, tv *a, uint32_t n, int op)
{
	tv v = a[0];

	if (v.kind == LP_TV_NIL)
		return lp_trun_fail(run, "error calling index: index of untyped nil");
	for (uint32_t i = 1; i < n && !run->failed; i++) {
		if (v.kind == LP_TV_DATA && a[i].kind == LP_TV_STRING) {
			(void)lp_tdata_get(run, a[i].str.s, a[i].str.n, &v);
		} else if (v.kind == LP_TV_MAP && a[i].kind == LP_TV_STRING) {
			const tv map = v;

			v = (tv){ .kind = LP_TV_NIL, .type = LP_TVT_ELEMENT };
			for (uint32_t k = 0; k < map.list.n; k++)
				if (map.list.keys[k].len == a[i].str.n && !memcmp(map.list.keys[k].s, a[i].str.s, a[i].str.n))
					v = map.list.items[k];
		} else if (v.kind == LP_TV_LIST) {
			int64_t at = take_index(run, &a[i], v.list.n, false, "index");

			v = run->failed ? v : v.list.items[at];
		} else if (v.kind == LP_TV_STRING) {
			int64_t at = take_index(run, &a[i], v.str.n, false, "index");

			v = run->failed ? v : (tv){ .kind = LP_TV_INT, .type = LP_TVT_UINT8, .i = (unsigned char)v.str.s[at] };
		} else {
			return lp_trun_fail(run, "error calling index: can't index item of type %s", lp_tv_type(&v));
		}
	}
	return v;
}

static tv do_slice(struct lp_trun *run, tv *a, uint32_t n, int op)
{
	size_t len = a[0].kind == LP_TV_STRING ? a[0].str.n : a[0].list.n;
	int64_t at[3] = { 0, (int64_t)len, (int64_t)len };

	if (a[0].kind == LP_TV_NIL)
		return lp_trun_fail(run, "error calling slice: slice of untyped nil");
	if (a[0].kind != LP_TV_STRING && a[0].kind != LP_TV_LIST)
		return lp_trun_fail(run, "error calling slice: can't slice item of type %s", lp_tv_type(&a[0]));
	if (n > 4)
		return lp_trun_fail(run, "error calling slice: too many slice indexes: %u", n - 1);
	if (n > 3 && a[0].kind == LP_TV_STRING)
		return lp_trun_fail(run, "error calling slice: cannot 3-index slice a string");
	for (uint32_t i = 1; i < n; i++)
		at[i - 1] = take_index(run, &a[i], len, true, "slice");
	if (!run->failed && at[0] > at[1])
		lp_trun_fail(run, "error calling slice: invalid slice index: %lld > %lld", (long long)at[0], (long long)at[1]);
	if (!run->failed && at[1] > at[2])
		lp_trun_fail(run, "error calling slice: invalid slice index: %lld > %lld", (long long)at[1], (long long)at[2]);
	if (run->failed)
		return a[0];
	if (a[0].kind == LP_TV_STRING)
		return tv_sub(&a[0], (size_t)at[0], (size_t)at[1]);
	a[0].list.items += at[0];
	a[0].list.n = (uint32_t)(at[1] - at[0]);
	return a[0];
}

static bool is_basic(const tv *v)
{
	return v->kind == LP_TV_STRING || v->kind == LP_TV_INT || v->kind == LP_TV_FLOAT || v->kind == LP_TV_BOOL;
}

/* Are a and b equal?  Fails on types that do not compare. */
static bool equal(struct lp_trun *run, const tv *a, const tv *b, const char *name)
{
	bool maps = a->kind == LP_TV_MAP || a->kind == LP_TV_DATA, others = b->kind == LP_TV_MAP || b->kind == LP_TV_DATA;

	if (a->kind == LP_TV_NIL || b->kind == LP_TV_NIL)
		return a->kind == b->kind;
	if ((is_basic(a) || is_basic(b)) && a->kind != b->kind)
		return lp_trun_fail(run, "error calling %s: incompatible types for comparison", name), false;
	switch (a->kind) {
	case LP_TV_STRING: return a->str.n == b->str.n && !memcmp(a->str.s, b->str.s, a->str.n);
	case LP_TV_INT: return a->i == b->i;
	case LP_TV_FLOAT: return a->f == b->f;
	case LP_TV_BOOL: return a->b == b->b;
	default: break;
	}
	if (a->kind == LP_TV_TIME && b->kind == LP_TV_TIME)
		return a->time.sec == b->time.sec && a->time.ns == b->time.ns && a->time.east == b->time.east && !a->time.zone == !b->time.zone;
	if (a->kind != b->kind && !(maps && others))
		lp_trun_fail(run, "error calling %s: non-comparable types %s, %s", name, lp_tv_type(a), lp_tv_type(b));
	else
		lp_trun_fail(run, "error calling %s: non-comparable type %s", name, lp_tv_type(a));
	return false;
}

static bool less(struct lp_trun *run, const tv *a, const tv *b, const char *name)
{
	size_t n;
	int c;

	if (!is_basic(a) || !is_basic(b) || (a->kind == b->kind && a->kind == LP_TV_BOOL))
		return lp_trun_fail(run, "error calling %s: invalid type for comparison", name), false;
	if (a->kind != b->kind)
		return lp_trun_fail(run, "error calling %s: incompatible types for comparison", name), false;
	if (a->kind != LP_TV_STRING)
		return a->kind == LP_TV_INT ? a->i < b->i : a->f < b->f;
	n = a->str.n < b->str.n ? a->str.n : b->str.n;
	c = memcmp(a->str.s, b->str.s, n);
	return c < 0 || (!c && a->str.n < b->str.n);
}

/* eq takes more than two: is the first one among the others? */
static tv do_equal(struct lp_trun *run, tv *a, uint32_t n, int op)
{
	bool found = false;

	if (n < 2)
		return lp_trun_fail(run, "error calling eq: missing argument for comparison");
	for (uint32_t i = 1; i < n && !found && !run->failed; i++)
		found = equal(run, &a[0], &a[i], op ? "ne" : "eq");
	return tv_bool(found == !op);
}

static tv do_order(struct lp_trun *run, tv *a, uint32_t n, int op)
{
	static const char *const names[] = { "lt", "le", "gt", "ge" };
	bool is_less = less(run, &a[0], &a[1], names[op]);

	if (op == 0 || run->failed)
		return tv_bool(is_less);
	bool is_equal = !is_less && equal(run, &a[0], &a[1], names[op]);

	/* As Go has it: greater is what is neither less nor equal, a NaN too. */
	return tv_bool(op == 1 ? is_less || is_equal : op == 2 ? !is_less && !is_equal : !is_less);
}

static tv do_call(struct lp_trun *run, tv *a, uint32_t n, int op)
{
	if (a[0].kind == LP_TV_NIL)
		return lp_trun_fail(run, "error calling call: call of nil");
	return lp_trun_fail(run, "error calling call: non-function of type %s", lp_tv_type(&a[0]));
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

/* types: one letter per argument, s string, i int, f float, t time, . anything; "*" behind the last: any number more like it. */
static const struct func {
	const char *name, *types;
	func_fn fn;
	int op;
} funcs[] = {
	{ "and", "..*", NULL, 0 }, { "or", "..*", NULL, 0 }, { "not", ".", do_not, 0 },
	{ "eq", "..*", do_equal, 0 }, { "ne", "..", do_equal, 1 }, { "lt", "..", do_order, 0 }, { "le", "..", do_order, 1 },
	{ "gt", "..", do_order, 2 }, { "ge", "..", do_order, 3 }, { "call", "..*", do_call, 0 },
	{ "print", ".*", do_print, 0 }, { "println", ".*", do_print, 1 }, { "printf", "s.*", do_printf, 0 },
	{ "len", ".", do_len, 0 }, { "index", "..*", do_index, 0 }, { "slice", "..*", do_slice, 0 },
	{ "html", ".*", lp_tfunc_escape, 'h' }, { "js", ".*", lp_tfunc_escape, 'j' }, { "urlquery", ".*", lp_tfunc_escape, 'u' },
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
	{ "int", ".", lp_tfunc_number, 'i' }, { "float64", ".", lp_tfunc_number, 'f' },
	{ "add", ".*", lp_tfunc_int, '+' }, { "sub", "..", lp_tfunc_int, '-' }, { "mul", "..*", lp_tfunc_int, '*' }, { "div", "..", lp_tfunc_int, '/' },
	{ "mod", "..", lp_tfunc_int, '%' }, { "max", "..*", lp_tfunc_int, 'M' }, { "min", "..*", lp_tfunc_int, 'm' },
	{ "addf", ".*", lp_tfunc_decimal, '+' }, { "subf", "..*", lp_tfunc_decimal, '-' }, { "mulf", "..*", lp_tfunc_decimal, '*' },
	{ "divf", "..*", lp_tfunc_decimal, '/' }, { "maxf", "..*", lp_tfunc_real, 'M' }, { "minf", "..*", lp_tfunc_real, 'm' },
	{ "ceil", ".", lp_tfunc_real, 'c' }, { "floor", ".", lp_tfunc_real, 'f' }, { "round", ".if*", lp_tfunc_round, 0 },
	{ "fromJson", "s", do_from_json, 0 }, { "default", "..*", do_default, 0 },
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
	case 'i': return (v->kind == LP_TV_INT && v->type == LP_TVT_PLAIN) || (v->kind == LP_TV_FLOAT && v->type == LP_TVT_WHOLE);
	case 'f': return v->kind == LP_TV_FLOAT || (v->kind == LP_TV_INT && v->type == LP_TVT_PLAIN);
	case 't': return v->kind == LP_TV_TIME;
	default: return true;
	}
}

struct lp_tv lp_tfunc_call(struct lp_trun *run, int func, struct lp_tv *args, uint32_t n)
{
	const struct func *f = &funcs[func];
	size_t want = strlen(f->types);
	bool more = want && f->types[want - 1] == '*';

	want -= more ? 2 : 0;
	if (n < want || (n > want && !more))
		return lp_trun_fail(run, "wrong number of args for %s: want %s%zu got %u", f->name, more ? "at least " : "", want, n);
	for (size_t i = 0; i < n; i++) {
		char type = f->types[i < want ? i : want];

		if (fits(type, &args[i]))
			continue;
		return lp_trun_fail(run, "wrong type for value; expected %s; got %s", type == 's' ? "string" : type == 'i' ? "int" : type == 'f' ? "float64" : "time.Time",
				    lp_tv_type(&args[i]));
	}
	if (++run->steps > LP_TMPL_MAX_STEPS)
		return lp_trun_fail(run, "template takes too many steps (limit %u)", LP_TMPL_MAX_STEPS);
	if (!f->fn)
		return lp_trun_fail(run, "wrong number of args for %s: want at least 1 got 0", f->name);
	return f->fn(run, args, n, f->op);
}
