/* X-Scope-OrgID: whose streams a request writes and sees.  Guarantees: with tenants on, no request without a valid id reaches
 * the store.  The rules for ids are those of Loki (dskit's tenant package).  Process: worker, event loop; keeps nothing. */
#include "http/worker.h"

#include <stdio.h>
#include <string.h>

#define MAX_TENANT 150

static bool allowed(char c)
{
	return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') || (c && strchr("!-_.*'()", c));
}

/* NULL when it is fine. */
static const char *fault(const char *s, size_t n)
{
	if (n > MAX_TENANT)
		return "tenant ID is too long: max 150 characters";
	if ((n == 1 && s[0] == '.') || (n == 2 && memcmp(s, "..", 2) == 0))
		return "tenant ID is '.' or '..'";
	if (memchr(s, '|', n))
		return "multiple org IDs present: queries over several tenants are not supported";
	for (size_t i = 0; i < n; i++)
		if (!allowed(s[i]))
			return "tenant ID contains an unsupported character";
	return NULL;
}

bool lp_tenant(struct lp_worker *worker, h2o_req_t *req, h2o_iovec_t *ret_tenant)
{
	h2o_iovec_t v = lp_request_header(req, "x-scope-orgid");
	const char *text;

	*ret_tenant = h2o_iovec_init("", 0);
	if (!lp_worker_conf(worker)->tenants.enabled)
		return true;
	if (!v.base || v.len == 0) {
		lp_reply_text(req, 401, "no org id");
		return false;
	}
	text = fault(v.base, v.len);
	if (text) {
		lp_reply_text(req, 400, text);
		return false;
	}
	*ret_tenant = v;
	return true;
}
