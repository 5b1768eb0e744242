/* Internet addresses and networks as 16 bytes; IPv4 is ::ffff:a.b.c.d (RFC 4291, 2.5.5.2). */
#ifndef LP_COMMON_NET_H
#define LP_COMMON_NET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct lp_addr {
	uint8_t bytes[16];
};

struct lp_net {
	struct lp_addr addr;
	unsigned bits;                  /* of 128 */
};

/* "192.0.2.1", "2001:db8::1"; nothing else.  -EINVAL. */
int lp_addr_parse(const char *s, size_t n, struct lp_addr *ret_addr);
/* The same, or with "/bits".  -EINVAL. */
int lp_net_parse(const char *s, size_t n, struct lp_net *ret_net);
bool lp_net_contains(const struct lp_net *net, const struct lp_addr *addr);
/* For logs: 192.0.x.x, or the first 32 bits of an IPv6 address.  Returns `to`. */
const char *lp_addr_mask(const struct lp_addr *addr, char to[40]);

/* The address that a request comes from: the peer's, unless it is one of the trusted proxies.  Then the last one in
 * X-Forwarded-For that is no trusted proxy (every proxy appends whom it heard it from, so what stands left of it may be
 * invented), else X-Real-IP, else the peer's.  Header values may be NULL; ports behind addresses are ignored. */
struct lp_addr lp_addr_client(const struct lp_net *trusted, size_t n_trusted, const struct lp_addr *peer, const char *forwarded,
			      size_t forwarded_len, const char *real_ip, size_t real_ip_len);

#endif
