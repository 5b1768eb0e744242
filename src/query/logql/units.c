/* Durations, byte sizes, numbers and quoted strings in the spellings of Go and Prometheus.
 *
 * Guarantees: reads exactly n bytes, never allocates except into the caller's buffer, linear.  Any process; nothing
 * is lost if it dies here.  Shortest float digits are found by trying precisions (Steele and White's criterion). */
#include "query/logql/units.h"

#include "common/utf8.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NS_PER_S 1000000000ll
#define LARGE_EXPONENT 6        /* Go's %v: from here on with an exponent */

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static int complain(struct lp_buf *error, const char *what, const char *s, size_t n)
{
	if (error) {
		lp_buf_str(error, what);
		lp_units_print_quoted(error, s, n);
	}
	return -EINVAL;
}

static const struct {
	const char *unit;
	unsigned rank;
	uint64_t ns;
} prom_units[] = {
	{ "ms", 7, 1000000 }, { "s", 6, NS_PER_S }, { "m", 5, 60 * NS_PER_S }, { "h", 4, 3600 * NS_PER_S },
	{ "d", 3, 86400 * NS_PER_S }, { "w", 2, 7 * 86400 * NS_PER_S }, { "y", 1, 365 * 86400 * NS_PER_S },
};

int lp_units_prom_duration(const char *s, size_t n, int64_t *ret_ns, struct lp_buf *error)
{
	uint64_t total = 0;
	unsigned rank = 0;

	if (n == 1 && s[0] == '0') {
		*ret_ns = 0;
		return 0;
	}
	if (!n) {
		if (error)
			lp_buf_str(error, "empty duration string");
		return -EINVAL;
	}
	for (size_t i = 0; i < n;) {
		uint64_t v = 0;
		size_t from = i, u;

		while (i < n && is_digit(s[i])) {
			if (v > (UINT64_MAX - 9) / 10)
				return complain(error, "not a valid duration string: ", s, n);
			v = v * 10 + (uint64_t)(s[i++] - '0');
		}
		if (i == from || i == n)
			return complain(error, "not a valid duration string: ", s, n);
		for (from = i; i < n && !is_digit(s[i]);)
			i++;
		for (u = 0; u < sizeof prom_units / sizeof prom_units[0]; u++)
			if (strlen(prom_units[u].unit) == i - from && !memcmp(prom_units[u].unit, s + from, i - from))
				break;
		if (u == sizeof prom_units / sizeof prom_units[0]) {
			complain(error, "unknown unit ", s + from, i - from);
			return complain(error, " in duration ", s, n);
		}
		if (prom_units[u].rank <= rank)
			return complain(error, "not a valid duration string: ", s, n);
		rank = prom_units[u].rank;
		if (v > INT64_MAX / prom_units[u].ns || total + v * prom_units[u].ns > INT64_MAX) {
			if (error)
				lp_buf_str(error, "duration out of range");
			return -EINVAL;
		}
		total += v * prom_units[u].ns;
	}
	*ret_ns = (int64_t)total;
	return 0;
}

static size_t go_unit(const char *s, size_t n, double *ret_ns)
{
	static const struct {
		const char *unit;
		double ns;
	} units[] = { { "ns", 1 }, { "us", 1e3 }, { "\xc2\xb5s", 1e3 }, { "\xce\xbcs", 1e3 }, { "ms", 1e6 }, { "s", 1e9 },
		      { "m", 6e10 }, { "h", 3.6e12 } };
	size_t len = 0;

	while (len < n && s[len] != '.' && !is_digit(s[len]))
		len++;
	for (size_t u = 0; u < sizeof units / sizeof units[0]; u++)
		if (strlen(units[u].unit) == len && !memcmp(units[u].unit, s, len)) {
			*ret_ns = units[u].ns;
			return len;
		}
	return 0;
}

int lp_units_go_duration(const char *s, size_t n, int64_t *ret_ns, struct lp_buf *error)
{
	static const uint64_t limit = (uint64_t)INT64_MAX + 1;  /* what a negative one reaches */
	bool negative = n && s[0] == '-';
	size_t i = n && (s[0] == '-' || s[0] == '+');
	uint64_t total = 0;

	if (i + 1 == n && s[i] == '0') {
		*ret_ns = 0;
		return 0;
	}
	if (i == n)
		return complain(error, "time: invalid duration ", s, n);
	while (i < n) {
		uint64_t whole = 0, fraction = 0;
		double scale = 1, unit = 0;
		size_t from = i, digits = 0, len;

		for (; i < n && is_digit(s[i]); i++, digits++) {
			if (whole > limit / 10)
				return complain(error, "time: invalid duration ", s, n);
			whole = whole * 10 + (uint64_t)(s[i] - '0');
		}
		if (i < n && s[i] == '.')
			for (i++; i < n && is_digit(s[i]); i++, digits++)
				if (fraction < UINT64_MAX / 100) {
					fraction = fraction * 10 + (uint64_t)(s[i] - '0');
					scale *= 10;
				}
		if (!digits || (i == from))
			return complain(error, "time: invalid duration ", s, n);
		if (i == n)
			return complain(error, "time: missing unit in duration ", s, n);
		len = go_unit(s + i, n - i, &unit);
		if (!len) {
			for (len = i; len < n && s[len] != '.' && !is_digit(s[len]);)
				len++;
			complain(error, "time: unknown unit ", s + i, len - i);
			return complain(error, " in duration ", s, n);
		}
		i += len;
		if (whole > limit / (uint64_t)unit)
			return complain(error, "time: invalid duration ", s, n);
		total += whole * (uint64_t)unit + (uint64_t)((double)fraction * (unit / scale));
		if (total > limit)
			return complain(error, "time: invalid duration ", s, n);
	}
	if (total == limit && !negative)
		return complain(error, "time: invalid duration ", s, n);
	*ret_ns = (int64_t)(negative ? 0 - total : total);
	return 0;
}

int lp_units_bytes(const char *s, size_t n, uint64_t *ret_bytes)
{
	static const char prefixes[] = "kmgtpe";
	char number[64], unit[4] = { 0 };
	size_t i = 0, k = 0, u = 0;
	double v, factor = 1;

	for (; i < n && (is_digit(s[i]) || s[i] == '.' || s[i] == ','); i++)
		if (s[i] != ',') {
			if (k + 1 >= sizeof number)
				return -EINVAL;
			number[k++] = s[i];
		}
	if (!k || lp_units_float(number, k, &v) < 0)
		return -EINVAL;
	while (i < n && (s[i] == ' ' || (s[i] >= '\t' && s[i] <= '\r')))
		i++;
	while (n > i && (s[n - 1] == ' ' || (s[n - 1] >= '\t' && s[n - 1] <= '\r')))
		n--;
	if (n - i > 3)
		return -EINVAL;
	for (; i < n; i++)
		unit[u++] = (char)(s[i] >= 'A' && s[i] <= 'Z' ? s[i] | 0x20 : s[i]);
	if (u && strcmp(unit, "b")) {
		const char *p = strchr(prefixes, unit[0]);

		if (!p || (unit[1] && strcmp(unit + 1, "b") && strcmp(unit + 1, "i") && strcmp(unit + 1, "ib")))
			return -EINVAL;
		factor = pow(unit[1] == 'i' ? 1024 : 1000, (double)(p - prefixes + 1));
	}
	v *= factor;
	if (!(v < 18446744073709551616.0))
		return -EINVAL;
	*ret_bytes = (uint64_t)v;
	return 0;
}

/* Underscores may stand between digits, and behind a prefix. */
static bool underscores_fit(const char *s, size_t n, bool prefix)
{
	bool digit = prefix;

	for (size_t i = 0; i < n; i++) {
		if (s[i] == '_' && (!digit || i + 1 == n || s[i + 1] == '_'))
			return false;
		digit = s[i] != '_';
	}
	return true;
}

int lp_units_integer(const char *s, size_t n, bool *ret_negative, uint64_t *ret_magnitude)
{
	size_t i = n && (s[0] == '+' || s[0] == '-'), digits = 0;
	bool negative = i && s[0] == '-', prefix = n - i > 1 && s[i] == '0', over = false;
	char kind = prefix ? (char)(s[i + 1] | 0x20) : 0;
	unsigned base = kind == 'x' ? 16 : kind == 'o' ? 8 : kind == 'b' ? 2 : prefix ? 8 : 10;
	uint64_t v = 0;

	i += prefix ? base == 8 && kind != 'o' ? 1 : 2 : 0;
	if (!underscores_fit(s + i, n - i, prefix))
		return -EINVAL;
	for (; i < n; i++) {
		unsigned c = (unsigned char)s[i], d = c >= '0' && c <= '9' ? c - '0' : (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (c | 0x20) - 'a' + 10 : 99;

		if (c == '_')
			continue;
		if (d >= base)
			return -EINVAL;
		over = over || v > (UINT64_MAX - d) / base;
		v = v * base + d;
		digits++;
	}
	if (!digits)
		return -EINVAL;
	if (over)
		return -ERANGE;
	*ret_negative = negative;
	*ret_magnitude = v;
	return 0;
}

/* Go lets underscores stand between digits of prefixed literals only, and Loki's queries use them in decimal ones as well. */
static bool float_syntax(const char *s, size_t n)
{
	size_t i = n && (s[0] == '+' || s[0] == '-'), digits = 0;
	bool hex = false, point = false;

	if (n - i > 2 && s[i] == '0' && (s[i + 1] | 0x20) == 'x') {
		hex = true;
		i += 2;
	}
	for (; i < n; i++) {
		bool digit = is_digit(s[i]) || (hex && (s[i] | 0x20) >= 'a' && (s[i] | 0x20) <= 'f');

		if (digit)
			digits++;
		else if (s[i] == '.' && !point)
			point = true;
		else if (s[i] == '_' && digits && i + 1 < n && s[i - 1] != '_' && s[i - 1] != '.')
			continue;
		else
			break;
	}
	if (!digits)
		return false;
	if (i == n)
		return !hex;
	if ((s[i] | 0x20) != (hex ? 'p' : 'e') || ++i == n)
		return false;
	if (s[i] == '+' || s[i] == '-')
		i++;
	if (i == n)
		return false;
	while (i < n && is_digit(s[i]))
		i++;
	return i == n;
}

static bool equal_fold(const char *s, size_t n, const char *word)
{
	return strlen(word) == n && !strncasecmp(s, word, n);
}

int lp_units_float(const char *s, size_t n, double *ret_v)
{
	size_t sign = n && (s[0] == '+' || s[0] == '-'), k = 0;
	char copy[512];

	if (equal_fold(s, n, "nan")) {
		*ret_v = NAN;
		return 0;
	}
	if (equal_fold(s + sign, n - sign, "inf") || equal_fold(s + sign, n - sign, "infinity")) {
		*ret_v = s[0] == '-' ? -INFINITY : INFINITY;
		return 0;
	}
	if (n >= sizeof copy || !float_syntax(s, n))
		return -EINVAL;
	for (size_t i = 0; i < n; i++)
		if (s[i] != '_')
			copy[k++] = s[i];
	copy[k] = '\0';
	double v = strtod(copy, NULL);

	if (isinf(v))
		return -ERANGE;
	*ret_v = v;
	return 0;
}

void lp_units_print_prom_duration(struct lp_buf *out, int64_t ns)
{
	static const struct {
		const char *unit;
		int64_t ms;
		bool exact;
	} units[] = { { "y", 365 * 86400000ll, true }, { "w", 7 * 86400000ll, true }, { "d", 86400000, false }, { "h", 3600000, false },
		      { "m", 60000, false }, { "s", 1000, false }, { "ms", 1, false } };
	int64_t ms = ns / 1000000;

	if (!ms) {
		lp_buf_str(out, "0s");
		return;
	}
	if (ms < 0) {
		lp_buf_byte(out, '-');
		ms = -ms;
	}
	for (size_t u = 0; u < sizeof units / sizeof units[0]; u++) {
		if ((units[u].exact && ms % units[u].ms) || ms < units[u].ms)
			continue;
		lp_buf_i64(out, ms / units[u].ms);
		lp_buf_str(out, units[u].unit);
		ms %= units[u].ms;
	}
}

/* v / 10^decimals with trailing zeros of the fraction dropped. */
static void print_fraction(struct lp_buf *out, uint64_t v, unsigned decimals)
{
	char digits[24];
	uint64_t unit = 1;
	int n;

	for (unsigned i = 0; i < decimals; i++)
		unit *= 10;
	lp_buf_u64(out, v / unit);
	if (!(v % unit))
		return;
	n = snprintf(digits, sizeof digits, ".%0*llu", (int)decimals, (unsigned long long)(v % unit));
	while (n > 0 && digits[n - 1] == '0')
		n--;
	lp_buf_append(out, digits, (size_t)n);
}

void lp_units_print_go_duration(struct lp_buf *out, int64_t ns)
{
	uint64_t u = ns < 0 ? 0 - (uint64_t)ns : (uint64_t)ns;

	if (ns < 0)
		lp_buf_byte(out, '-');
	if (!u) {
		lp_buf_str(out, "0s");
	} else if (u < 1000) {
		lp_buf_u64(out, u);
		lp_buf_str(out, "ns");
	} else if (u < 1000000) {
		print_fraction(out, u, 3);
		lp_buf_str(out, "\xc2\xb5s");
	} else if (u < NS_PER_S) {
		print_fraction(out, u, 6);
		lp_buf_str(out, "ms");
	} else {
		uint64_t minutes = u / (60 * NS_PER_S);

		if (minutes >= 60) {
			lp_buf_u64(out, minutes / 60);
			lp_buf_byte(out, 'h');
		}
		if (minutes) {
			lp_buf_u64(out, minutes % 60);
			lp_buf_byte(out, 'm');
		}
		print_fraction(out, u % (60 * NS_PER_S), 9);
		lp_buf_byte(out, 's');
	}
}

void lp_units_print_bytes(struct lp_buf *out, double bytes)
{
	static const char *const units[] = { "B", "kB", "MB", "GB", "TB", "PB", "EB" };
	unsigned e = 0;
	double scaled = bytes;

	if (bytes < 10) {
		lp_buf_printf(out, "%.0fB", bytes);
		return;
	}
	while (scaled >= 1000 && e + 1 < sizeof units / sizeof units[0]) {
		scaled /= 1000;
		e++;
	}
	scaled = floor(scaled * 10 + 0.5) / 10;
	lp_buf_printf(out, scaled < 10 ? "%.1f%s" : "%.0f%s", scaled, units[e]);
}

static bool print_special(struct lp_buf *out, double v)
{
	if (isnan(v))
		lp_buf_str(out, "NaN");
	else if (isinf(v))
		lp_buf_str(out, v < 0 ? "-Inf" : "+Inf");
	else
		return false;
	return true;
}

/* The fewest significant digits that read back as v. */
static int shortest_precision(double v)
{
	char text[64];

	for (int precision = 0; precision < 17; precision++) {
		snprintf(text, sizeof text, "%.*e", precision, v);
		if (strtod(text, NULL) == v)
			return precision;
	}
	return 17;
}

static void print_plain(struct lp_buf *out, double v, int precision, int exponent)
{
	int decimals = precision - exponent;

	lp_buf_printf(out, "%.*f", decimals > 0 ? decimals : 0, v);
}

static int exponent_of(double v, int precision)
{
	char text[64];

	snprintf(text, sizeof text, "%.*e", precision, v);
	return atoi(strchr(text, 'e') + 1);
}

void lp_units_print_float(struct lp_buf *out, double v)
{
	if (print_special(out, v))
		return;
	int precision = shortest_precision(v), exponent = exponent_of(v, precision);

	if (exponent < -4 || exponent >= LARGE_EXPONENT)
		lp_buf_printf(out, "%.*e", precision, v);
	else
		print_plain(out, v, precision, exponent);
}

void lp_units_print_fixed(struct lp_buf *out, double v)
{
	if (print_special(out, v))
		return;
	int precision = shortest_precision(v);

	print_plain(out, v, precision, exponent_of(v, precision));
}

/* Runes that Go's unicode.IsPrint refuses, as far as people meet them: spaces, format characters, private use. */
bool lp_units_printable(uint32_t cp)
{
	if (cp < 0x20 || (cp >= 0x7f && cp <= 0xa0) || cp == 0xad)
		return false;
	if (cp == 0x1680 || (cp >= 0x2000 && cp <= 0x200f) || (cp >= 0x2028 && cp <= 0x202f) || (cp >= 0x205f && cp <= 0x206f) ||
	    cp == 0x3000 || cp == 0xfeff || (cp >= 0xe000 && cp <= 0xf8ff) || (cp >= 0xfff0 && cp <= 0xfffb))
		return false;
	return (cp & 0xfffe) != 0xfffe && !(cp >= 0xfdd0 && cp <= 0xfdef) && cp < 0xe0000;
}

/* One character as it stands between quotes. */
static void print_escaped(struct lp_buf *out, uint32_t cp, char quote, bool ascii)
{
	static const char controls[] = "\aa\bb\ff\nn\rr\tt\vv\\\\";
	uint8_t bytes[4];
	const char *c = controls;

	while (*c && (uint8_t)*c != cp)
		c += 2;
	if (cp == (uint8_t)quote || (*c && cp < 0x80)) {
		lp_buf_byte(out, '\\');
		lp_buf_byte(out, cp == (uint8_t)quote ? (uint8_t)quote : (uint8_t)c[1]);
	} else if (lp_units_printable(cp) && !(ascii && cp >= 0x80)) {
		lp_buf_append(out, bytes, lp_utf8_put(bytes, cp));
	} else if (cp < 0x80) {
		lp_buf_printf(out, "\\x%02x", cp);
	} else {
		lp_buf_printf(out, cp < 0x10000 ? "\\u%04x" : "\\U%08x", cp);
	}
}

static void print_quoted(struct lp_buf *out, const char *s, size_t n, bool ascii)
{
	lp_buf_byte(out, '"');
	for (size_t i = 0; i < n;) {
		const uint8_t *p = (const uint8_t *)s + i;
		unsigned len = lp_utf8_seq(p, n - i);

		if (len)
			print_escaped(out, lp_utf8_get(p, len), '"', ascii);
		else
			lp_buf_printf(out, "\\x%02x", p[0]);
		i += len ? len : 1;
	}
	lp_buf_byte(out, '"');
}

void lp_units_print_quoted(struct lp_buf *out, const char *s, size_t n)
{
	print_quoted(out, s, n, false);
}

void lp_units_print_quoted_ascii(struct lp_buf *out, const char *s, size_t n)
{
	print_quoted(out, s, n, true);
}

void lp_units_print_quoted_rune(struct lp_buf *out, uint32_t cp, bool ascii)
{
	lp_buf_byte(out, '\'');
	print_escaped(out, cp, '\'', ascii);
	lp_buf_byte(out, '\'');
}
