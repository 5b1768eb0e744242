/* What strangers write into X-Forwarded-For and X-Real-IP: an answer is always the peer or an address that was written.
 * Into traceparent: what is accepted prints back to its own first part. */
#include "common/assert.h"
#include "common/net.h"
#include "common/trace.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

static void proxies(const char *s, size_t n)
{
	static const struct lp_addr peer = { { [15] = 1 } };
	static const struct lp_net all = { { { 0 } }, 0 }, own = { { { [15] = 1 } }, 128 };
	struct lp_addr addr, client = lp_addr_client(&own, 1, &peer, s, n, NULL, 0);
	struct lp_net net;
	char text[40];

	LP_ASSERT(strlen(lp_addr_mask(&client, text)) < sizeof text);
	(void)lp_addr_client(&all, 1, &peer, s, n, s, n);
	(void)lp_addr_client(&own, 1, &peer, NULL, 0, s, n);
	client = lp_addr_client(NULL, 0, &peer, s, n, s, n);
	LP_ASSERT(!memcmp(&client, &peer, sizeof peer));
	if (lp_addr_parse(s, n, &addr) == 0) {
		LP_ASSERT(lp_net_parse(s, n, &net) == 0 && net.bits == 128 && lp_net_contains(&net, &addr));
		client = lp_addr_client(&own, 1, &peer, s, n, NULL, 0);
		LP_ASSERT(!memcmp(&client, &addr, sizeof addr));
	}
}

static void trace(const char *s, size_t n)
{
	char text[LP_TRACEPARENT_LEN + 1];
	struct lp_trace_id id;
	bool sampled;

	if (lp_traceparent_parse(s, n, &id, &sampled) < 0)
		return;
	lp_traceparent_print(text, &id, sampled);
	LP_ASSERT(strlen(text) == LP_TRACEPARENT_LEN && !memcmp(text + 2, s + 2, 51));
	LP_ASSERT(lp_traceparent_parse(text, LP_TRACEPARENT_LEN, &id, &sampled) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	proxies((const char *)data, size);
	trace((const char *)data, size);
	return 0;
}
