/* Templates: functions over numbers, with the conversions and the arithmetic of sprig: whole numbers that wrap around, decimals that are
 * exact as long as they have at most 38 digits.
 *
 * Guarantees: constant time and memory; mistakes in arguments end the execution with a text.  Query threads. */
#include "query/pipeline/template-private.h"

#include "query/logql/units.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct lp_tv tv;

/* ---- conversions (spf13/cast) --------------------------------------------------------------------- */

double lp_tv_float(const struct lp_tv *v)
{
	double f = 0;

	switch (v->kind) {
	case LP_TV_INT: return v->type == LP_TVT_DURATION ? 0 : (double)v->i;
	case LP_TV_FLOAT: return v->f;
	case LP_TV_BOOL: return v->b;
	case LP_TV_STRING: return lp_units_float(v->str.s, v->str.n, &f) == 0 ? f : 0;
	default: return 0;
	}
}

/* "3.7" is 3 and "-.5" is 0; what has other characters is left as it is. */
static size_t without_fraction(const char *s, size_t n)
{
	const char *point = memchr(s, '.', n);
	size_t whole = point ? (size_t)(point - s) : n;

	for (size_t i = 0; i < n; i++)
		if (!(s[i] >= '0' && s[i] <= '9') && i != whole && !(i == 0 && (s[i] == '+' || s[i] == '-')))
			return n;
	return whole;
}

int64_t lp_tv_int(const struct lp_tv *v)
{
	uint64_t magnitude;
	bool negative;
	size_t n;

	switch (v->kind) {
	case LP_TV_INT: return v->type == LP_TVT_DURATION ? 0 : v->i;
	case LP_TV_FLOAT: return v->f >= -9223372036854775808.0 && v->f < 9223372036854775808.0 ? (int64_t)v->f : INT64_MIN;
	case LP_TV_BOOL: return v->b;
	case LP_TV_STRING: break;
	default: return 0;
	}
	n = without_fraction(v->str.s, v->str.n);
	if (lp_units_integer(v->str.s, n, &negative, &magnitude) < 0 || magnitude > (uint64_t)INT64_MAX + negative)
		return 0;
	return (int64_t)(negative ? 0 - magnitude : magnitude);
}

/* ---- whole numbers -------------------------------------------------------------------------------- */

struct lp_tv lp_tfunc_int(struct lp_trun *run, struct lp_tv *a, uint32_t n, int op)
{
	uint64_t acc = op == '+' ? 0 : (uint64_t)lp_tv_int(&a[0]);

	for (uint32_t i = op != '+'; i < n; i++) {
		int64_t b = lp_tv_int(&a[i]);

		switch (op) {
		case '+': acc += (uint64_t)b; break;
		case '-': acc -= (uint64_t)b; break;
		case '*': acc *= (uint64_t)b; break;
		case 'M': acc = (int64_t)acc > b ? acc : (uint64_t)b; break;
		case 'm': acc = (int64_t)acc < b ? acc : (uint64_t)b; break;
		default:
			if (!b)
				return lp_trun_fail(run, "error calling %s: runtime error: integer divide by zero", op == '/' ? "div" : "mod");
			if (b == -1)
				acc = op == '/' ? 0 - acc : 0;
			else
				acc = (uint64_t)(op == '/' ? (int64_t)acc / b : (int64_t)acc % b);
			break;
		}
	}
	return (tv){ .kind = LP_TV_INT, .type = LP_TVT_INT64, .i = (int64_t)acc };
}

/* ---- decimals ------------------------------------------------------------------------------------- */

/* coefficient * 10^exponent; sprig computes in such numbers, so that 0.1 + 0.2 is 0.3. */
struct decimal {
	__int128 coefficient;
	int exponent;
	bool rounded;                   /* not exact: value has it */
	long double value;
};

#define MAX_DIGITS 38
#define DIVISION_DIGITS 16              /* behind the point */

static int digits_of(__int128 v)
{
	int n = 0;

	for (unsigned __int128 u = v < 0 ? -(unsigned __int128)v : (unsigned __int128)v; u; u /= 10)
		n++;
	return n;
}

static __int128 power10(int n)
{
	__int128 v = 1;

	while (n-- > 0)
		v *= 10;
	return v;
}

static double decimal_float(const struct decimal *d)
{
	char text[64], *p = text + sizeof text;
	unsigned __int128 u = d->coefficient < 0 ? -(unsigned __int128)d->coefficient : (unsigned __int128)d->coefficient;
	char tail[16];
	int n;

	if (d->rounded)
		return (double)d->value;
	n = snprintf(tail, sizeof tail, "e%d", d->exponent);
	*--p = '\0';
	p -= n;
	memcpy(p, tail, (size_t)n);
	do {
		*--p = (char)('0' + (int)(u % 10));
		u /= 10;
	} while (u);
	if (d->coefficient < 0)
		*--p = '-';
	return strtod(p, NULL);
}

static struct decimal decimal(double v)
{
	struct lp_buf text = { .max = 512 };
	struct decimal d = { 0 };
	bool point = false;

	lp_units_print_float(&text, v);
	for (const char *p = lp_buf_cstr(&text); *p; p++) {
		if (*p == '.') {
			point = true;
		} else if (*p == 'e') {
			d.exponent += atoi(p + 1);
			break;
		} else if (*p >= '0' && *p <= '9') {
			d.coefficient = d.coefficient * 10 + (*p - '0');
			d.exponent -= point;
		}
	}
	if (v < 0)
		d.coefficient = -d.coefficient;
	lp_buf_free(&text);
	return d;
}

static long double wide(const struct decimal *d)
{
	return d->rounded ? d->value : (long double)d->coefficient * powl(10, d->exponent);
}

static struct decimal round_off(long double v)
{
	return (struct decimal){ .rounded = true, .value = v };
}

static struct decimal add(struct decimal a, struct decimal b)
{
	if (!a.coefficient && !a.rounded)
		return b;
	if (!b.coefficient && !b.rounded)
		return a;
	if (a.exponent > b.exponent) {
		struct decimal swap = a;

		a = b;
		b = swap;
	}
	int shift = b.exponent - a.exponent;

	if (a.rounded || b.rounded || digits_of(b.coefficient) + shift >= MAX_DIGITS || digits_of(a.coefficient) >= MAX_DIGITS)
		return round_off(wide(&a) + wide(&b));
	a.coefficient += b.coefficient * power10(shift);
	return a;
}

static struct decimal multiply(struct decimal a, struct decimal b)
{
	if (a.rounded || b.rounded || digits_of(a.coefficient) + digits_of(b.coefficient) > MAX_DIGITS)
		return round_off(wide(&a) * wide(&b));
	return (struct decimal){ .coefficient = a.coefficient * b.coefficient, .exponent = a.exponent + b.exponent };
}

/* To 16 digits behind the point, halves away from zero. */
static struct decimal divide(struct decimal a, struct decimal b)
{
	int shift = DIVISION_DIGITS + a.exponent - b.exponent;
	int up = shift > 0 ? shift : 0, down = shift < 0 ? -shift : 0;

	if (a.rounded || b.rounded || digits_of(a.coefficient) + up >= MAX_DIGITS || digits_of(b.coefficient) + down >= MAX_DIGITS)
		return round_off(wide(&a) / wide(&b));
	__int128 dividend = a.coefficient * power10(up), divisor = b.coefficient * power10(down);
	__int128 quotient = dividend / divisor, rest = dividend % divisor;

	if (2 * (rest < 0 ? -rest : rest) >= (divisor < 0 ? -divisor : divisor))
		quotient += (rest < 0) == (divisor < 0) ? 1 : -1;
	return (struct decimal){ .coefficient = quotient, .exponent = -DIVISION_DIGITS };
}

struct lp_tv lp_tfunc_decimal(struct lp_trun *run, struct lp_tv *a, uint32_t n, int op)
{
	struct decimal acc = { 0 };

	for (uint32_t i = 0; i < n; i++) {
		double v = lp_tv_float(&a[i]);

		if (!isfinite(v))
			return lp_trun_fail(run, "cannot create a decimal from %s", isnan(v) ? "NaN" : v < 0 ? "-Inf" : "+Inf");
		struct decimal b = decimal(v);

		if (i && op == '/' && !b.coefficient)
			return lp_trun_fail(run, "error calling divf: decimal division by 0");
		if (op == '-' && i)
			b.coefficient = -b.coefficient;
		acc = !i ? b : op == '*' ? multiply(acc, b) : op == '/' ? divide(acc, b) : add(acc, b);
	}
	return (tv){ .kind = LP_TV_FLOAT, .f = decimal_float(&acc) };
}

/* ---- floats --------------------------------------------------------------------------------------- */

/* maxf, minf: a NaN wins, and zeros have signs. */
static double extreme(double a, double b, bool max)
{
	if (isnan(a) || isnan(b))
		return NAN;
	if (a == 0 && b == 0)
		return signbit(a) == !max ? a : b;
	return max == (a > b) ? a : b;
}

struct lp_tv lp_tfunc_real(struct lp_trun *run, struct lp_tv *a, uint32_t n, int op)
{
	double v = lp_tv_float(&a[0]);

	(void)run;
	for (uint32_t i = 1; i < n; i++)
		v = extreme(v, lp_tv_float(&a[i]), op == 'M');
	return (tv){ .kind = LP_TV_FLOAT, .f = op == 'c' ? ceil(v) : op == 'f' ? floor(v) : v };
}

struct lp_tv lp_tfunc_round(struct lp_trun *run, struct lp_tv *a, uint32_t n, int op)
{
	double scale = pow(10, (double)lp_tv_int(&a[1])), digit = scale * lp_tv_float(&a[0]), whole, on = n > 2 ? lp_tv_float(&a[2]) : 0.5;

	(void)run;
	(void)op;
	return (tv){ .kind = LP_TV_FLOAT, .f = (modf(digit, &whole) >= on ? ceil(digit) : floor(digit)) / scale };
}

struct lp_tv lp_tfunc_number(struct lp_trun *run, struct lp_tv *a, uint32_t n, int op)
{
	(void)run;
	(void)n;
	if (op == 'f')
		return (tv){ .kind = LP_TV_FLOAT, .f = lp_tv_float(&a[0]) };
	return (tv){ .kind = LP_TV_INT, .i = lp_tv_int(&a[0]) };
}
