/* Pure parts of routing: paths, methods, content negotiation.  Process: worker; no state. */
#include "http/match.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

static const struct method {
	const char *name;
	unsigned bit;
} methods_known[] = {
	{ "GET", LP_METHOD_GET }, { "HEAD", LP_METHOD_HEAD }, { "POST", LP_METHOD_POST }, { "PUT", LP_METHOD_PUT },
	{ "PATCH", LP_METHOD_PATCH }, { "DELETE", LP_METHOD_DELETE }, { "OPTIONS", LP_METHOD_OPTIONS },
};
#define N_METHODS (sizeof methods_known / sizeof methods_known[0])

bool lp_path_match(const char *pattern, const char *path, size_t n, const char **ret_name, size_t *ret_name_len)
{
	const char *brace = strchr(pattern, '{'), *slash;
	size_t head = brace ? (size_t)(brace - pattern) : strlen(pattern), tail, seg;

	*ret_name = NULL;
	*ret_name_len = 0;
	if (n < head || memcmp(pattern, path, head) != 0)
		return false;
	if (!brace)
		return n == head;
	slash = strchr(brace, '}') + 1;
	tail = strlen(slash);
	if (n <= head + tail)
		return false;
	seg = n - head - tail;
	if (memcmp(path + head + seg, slash, tail) != 0 || (strncmp(brace, "{rest}", 6) && memchr(path + head, '/', seg)))
		return false;
	*ret_name = path + head;
	*ret_name_len = seg;
	return true;
}

unsigned lp_method_parse(const char *s, size_t n)
{
	for (size_t i = 0; i < N_METHODS; i++)
		if (strlen(methods_known[i].name) == n && memcmp(methods_known[i].name, s, n) == 0)
			return methods_known[i].bit;
	return 0;
}

size_t lp_methods_print(char to[64], unsigned methods)
{
	size_t len = 0;

	methods |= LP_METHOD_OPTIONS;
	if (methods & LP_METHOD_GET)
		methods |= LP_METHOD_HEAD;
	for (size_t i = 0; i < N_METHODS; i++)
		if (methods & methods_known[i].bit)
			len += (size_t)snprintf(to + len, 64 - len, "%s%s", len ? ", " : "", methods_known[i].name);
	return len;
}

/* "q=0", "q=0.0", "q=0.000" among the parameters: the only way to refuse (RFC 9110, 12.4.2). */
static bool refused(const char *s, size_t n)
{
	while (n > 0) {
		const char *semi = memchr(s, ';', n);
		size_t len = semi ? (size_t)(semi - s) : n, i = 0;

		while (i < len && (s[i] == ' ' || s[i] == '\t'))
			i++;
		if (len - i >= 3 && strncasecmp(s + i, "q=0", 3) == 0) {
			for (i += 3; i < len; i++)
				if (s[i] >= '1' && s[i] <= '9')
					return false;
			return true;
		}
		if (!semi)
			break;
		n -= len + 1;
		s += len + 1;
	}
	return false;
}

bool lp_accepts(const char *s, size_t n, const char *what)
{
	const char *end = s + n;
	ptrdiff_t len = (ptrdiff_t)strlen(what);

	while (s < end) {
		const char *comma = memchr(s, ',', (size_t)(end - s)), *stop = comma ? comma : end;

		while (s < stop && (*s == ' ' || *s == '\t'))
			s++;
		if (stop - s >= len && strncasecmp(s, what, (size_t)len) == 0 &&
		    (stop - s == len || s[len] == ';' || s[len] == ' ' || s[len] == '\t') &&
		    !refused(s + len, (size_t)(stop - s - len)))
			return true;
		if (stop == end)
			break;
		s = stop + 1;
	}
	return false;
}

bool lp_accepts_gzip(const char *s, size_t n)
{
	return lp_accepts(s, n, "gzip");
}

static bool named(const char *line, size_t n, const char *name)
{
	size_t len = strlen(name);

	return n > len && line[len] == ':' && strncasecmp(line, name, len) == 0;
}

/* A proxy in front may believe the other length, and then takes the rest of one client's body for the next client's request
 * (RFC 9112, 11.2). */
bool lp_head_is_ambiguous(const char *p, size_t n)
{
	const char *end = p + n;
	unsigned lengths = 0;

	while (p < end && (*p == '\r' || *p == '\n'))
		p++;
	while (p < end) {
		const char *newline = memchr(p, '\n', (size_t)(end - p));
		size_t len = newline ? (size_t)(newline - p) : (size_t)(end - p);

		if (!len || (len == 1 && *p == '\r'))
			break;
		lengths += named(p, len, "content-length") || named(p, len, "transfer-encoding");
		p += len + 1;
	}
	return lengths > 1;
}
