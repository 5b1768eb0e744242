/* Addresses and who is behind a proxy.  Pure; texts may be any bytes.  Process: any. */
#include "common/net.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#define MAX_HOPS 32     /* of X-Forwarded-For, from the right */

static const uint8_t v4_prefix[12] = { [10] = 0xff, [11] = 0xff };

static bool is_v4(const struct lp_addr *addr)
{
	return memcmp(addr->bytes, v4_prefix, sizeof v4_prefix) == 0;
}

int lp_addr_parse(const char *s, size_t n, struct lp_addr *ret_addr)
{
	char text[INET6_ADDRSTRLEN];
	struct lp_addr addr;

	if (n == 0 || n >= sizeof text || memchr(s, '\0', n))
		return -EINVAL;
	memcpy(text, s, n);
	text[n] = '\0';
	if (memchr(text, ':', n)) {
		if (inet_pton(AF_INET6, text, addr.bytes) != 1)
			return -EINVAL;
	} else {
		memcpy(addr.bytes, v4_prefix, sizeof v4_prefix);
		if (inet_pton(AF_INET, text, addr.bytes + 12) != 1)
			return -EINVAL;
	}
	*ret_addr = addr;
	return 0;
}

int lp_net_parse(const char *s, size_t n, struct lp_net *ret_net)
{
	const char *slash = n ? memchr(s, '/', n) : NULL;
	size_t len = slash ? (size_t)(slash - s) : n;
	struct lp_net net = { .bits = 128 };
	unsigned bits = 0, max;
	int r = lp_addr_parse(s, len, &net.addr);

	if (r < 0)
		return r;
	max = memchr(s, ':', len) ? 128 : 32;
	if (slash) {
		if (len + 1 == n || n - len > 4)
			return -EINVAL;
		for (size_t i = len + 1; i < n; i++) {
			if (s[i] < '0' || s[i] > '9')
				return -EINVAL;
			bits = bits * 10 + (unsigned)(s[i] - '0');
		}
		if (bits > max)
			return -EINVAL;
		net.bits = bits + (128 - max);
	}
	*ret_net = net;
	return 0;
}

bool lp_net_contains(const struct lp_net *net, const struct lp_addr *addr)
{
	unsigned whole = net->bits / 8, rest = net->bits % 8;

	if (memcmp(net->addr.bytes, addr->bytes, whole) != 0)
		return false;
	return rest == 0 || ((net->addr.bytes[whole] ^ addr->bytes[whole]) >> (8 - rest)) == 0;
}

const char *lp_addr_mask(const struct lp_addr *addr, char to[40])
{
	const uint8_t *b = addr->bytes;

	if (is_v4(addr))
		snprintf(to, 40, "%u.%u.x.x", b[12], b[13]);
	else
		snprintf(to, 40, "%x:%x:x:x", b[0] << 8 | b[1], b[2] << 8 | b[3]);
	return to;
}

/* One element: an address, "1.2.3.4:80", "[2001:db8::1]:80"; spaces around it. */
static int parse_hop(const char *s, size_t n, struct lp_addr *ret_addr)
{
	const char *end;

	while (n > 0 && (*s == ' ' || *s == '\t')) {
		s++;
		n--;
	}
	while (n > 0 && (s[n - 1] == ' ' || s[n - 1] == '\t'))
		n--;
	if (n > 0 && *s == '[') {
		end = memchr(s, ']', n);
		return end ? lp_addr_parse(s + 1, (size_t)(end - s) - 1, ret_addr) : -EINVAL;
	}
	end = n ? memchr(s, ':', n) : NULL;
	if (end && memchr(s, '.', (size_t)(end - s)))
		n = (size_t)(end - s);
	return lp_addr_parse(s, n, ret_addr);
}

static bool is_trusted(const struct lp_net *trusted, size_t n, const struct lp_addr *addr)
{
	for (size_t i = 0; i < n; i++)
		if (lp_net_contains(&trusted[i], addr))
			return true;
	return false;
}

struct lp_addr lp_addr_client(const struct lp_net *trusted, size_t n_trusted, const struct lp_addr *peer, const char *forwarded,
			      size_t forwarded_len, const char *real_ip, size_t real_ip_len)
{
	struct lp_addr client = *peer, hop;
	size_t end = forwarded_len;

	if (!is_trusted(trusted, n_trusted, peer))
		return client;
	if (!forwarded || !forwarded_len) {
		if (real_ip && parse_hop(real_ip, real_ip_len, &hop) == 0)
			client = hop;
		return client;
	}
	for (unsigned hops = 0; hops < MAX_HOPS; hops++) {
		size_t start = end;

		while (start > 0 && forwarded[start - 1] != ',')
			start--;
		/* Nobody whom we trust wrote nonsense: the last proxy is all that is known. */
		if (parse_hop(forwarded + start, end - start, &hop) < 0)
			return client;
		client = hop;
		if (start == 0 || !is_trusted(trusted, n_trusted, &hop))
			return client;
		end = start - 1;
	}
	return client;
}
