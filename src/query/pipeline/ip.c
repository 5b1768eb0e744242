/* Addresses in lines and labels.
 *
 * Guarantees: linear (each candidate is at most 45 bytes, longer runs are skipped whole), no allocation after compiling.
 * A candidate begins where the next bytes look like an address (digit and dot, hex digits and colon) and takes all
 * characters an address may have, as Loki does: "10.0.0.1." is therefore no address.  Query threads; immutable. */
#include "query/pipeline/ip.h"

#include "query/logql/units.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <string.h>

struct address {
	bool v6;
	uint8_t bytes[16];
};

struct lp_ip_match {
	struct address lo, hi;
};

static bool parse_address(const char *s, size_t n, struct address *ret)
{
	char text[INET6_ADDRSTRLEN + 1];

	if (!n || n >= sizeof text || memchr(s, 0, n))
		return false;
	memcpy(text, s, n);
	text[n] = '\0';
	memset(ret, 0, sizeof *ret);
	ret->v6 = strchr(text, ':') != NULL;
	return inet_pton(ret->v6 ? AF_INET6 : AF_INET, text, ret->bytes) == 1;
}

static bool parse_prefix(const char *s, size_t n, struct lp_ip_match *ret)
{
	const char *slash = memchr(s, '/', n);
	size_t digits;
	unsigned bits = 0, max;

	if (!slash || !parse_address(s, (size_t)(slash - s), &ret->lo))
		return false;
	digits = n - (size_t)(slash - s) - 1;
	if (!digits || digits > 3 || (digits > 1 && slash[1] == '0'))
		return false;
	for (size_t i = 1; i <= digits; i++) {
		if (slash[i] < '0' || slash[i] > '9')
			return false;
		bits = bits * 10 + (unsigned)(slash[i] - '0');
	}
	max = ret->lo.v6 ? 128 : 32;
	if (bits > max)
		return false;
	ret->hi = ret->lo;
	for (unsigned b = bits; b < max; b++) {
		ret->lo.bytes[b / 8] &= (uint8_t)~(0x80u >> (b % 8));
		ret->hi.bytes[b / 8] |= (uint8_t)(0x80u >> (b % 8));
	}
	return true;
}

static bool parse_range(const char *s, size_t n, struct lp_ip_match *ret)
{
	const char *dash = memchr(s, '-', n);

	return dash && parse_address(s, (size_t)(dash - s), &ret->lo) && parse_address(dash + 1, n - (size_t)(dash - s) - 1, &ret->hi) &&
	       ret->lo.v6 == ret->hi.v6 && memcmp(ret->lo.bytes, ret->hi.bytes, 16) <= 0;
}

int lp_ip_compile(struct lp_arena *arena, const char *s, size_t n, struct lp_ip_match **ret_match, struct lp_buf *error)
{
	struct lp_ip_match match, *out;

	memset(&match, 0, sizeof match);
	if (parse_address(s, n, &match.lo)) {
		match.hi = match.lo;
	} else if (!parse_range(s, n, &match) && !parse_prefix(s, n, &match)) {
		lp_buf_str(error, "ip: invalid pattern: ");
		lp_units_print_quoted(error, s, n);
		return -EINVAL;
	}
	out = lp_arena_dup(arena, &match, sizeof match);
	if (!out)
		return -ENOMEM;
	*ret_match = out;
	return 0;
}

static bool belongs(const struct lp_ip_match *m, const char *s, size_t n)
{
	struct address a;

	return parse_address(s, n, &a) && a.v6 == m->lo.v6 && memcmp(m->lo.bytes, a.bytes, 16) <= 0 && memcmp(a.bytes, m->hi.bytes, 16) <= 0;
}

static bool looks_like_v4(const char *s, size_t n)
{
	return n > 3 && isdigit((unsigned char)s[0]) && (s[1] == '.' || s[2] == '.' || s[3] == '.');
}

static bool looks_like_v6(const char *s, size_t n)
{
	size_t hex = 0;

	if (n < 3)
		return false;
	if (s[0] == ':')
		return s[1] == ':' && isxdigit((unsigned char)s[2]);
	while (hex < 5 && hex < n && isxdigit((unsigned char)s[hex]))
		hex++;
	return hex && hex < 5 && hex < n && s[hex] == ':';
}

static size_t span(const char *s, size_t n, bool v6)
{
	size_t i = 0;

	while (i < n && (s[i] == '.' || (v6 ? isxdigit((unsigned char)s[i]) || s[i] == ':' : isdigit((unsigned char)s[i]))))
		i++;
	return i;
}

bool lp_ip_find(const struct lp_ip_match *m, const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		bool v4 = looks_like_v4(s + i, n - i);

		if (!v4 && !looks_like_v6(s + i, n - i))
			continue;
		size_t len = span(s + i, n - i, !v4);

		if (belongs(m, s + i, len))
			return true;
		i += len;
	}
	return false;
}
