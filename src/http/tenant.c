/* X-Scope-OrgID: whose streams a request writes and sees.  Guarantees: with tenants on, no request without a valid id reaches
 * the store.  The rules for ids are those of Loki (dskit's tenant package).  Process: worker, event loop; keeps nothing. */
#include "http/worker.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_TENANT 150
#define MAX_TENANTS 1024                /* as the option's maximum */

static bool allowed(char c)
{
	return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') || (c && strchr("!-_.*'()", c));
}

/* NULL when it is fine. */
static const char *fault(const char *s, size_t n)
{
	if (n == 0)
		return "tenant ID is empty";
	if (n > MAX_TENANT)
		return "tenant ID is too long: max 150 characters";
	if ((n == 1 && s[0] == '.') || (n == 2 && memcmp(s, "..", 2) == 0))
		return "tenant ID is '.' or '..'";
	for (size_t i = 0; i < n; i++)
		if (!allowed(s[i]))
			return "tenant ID contains an unsupported character";
	return NULL;
}

/* The header; 0 bytes when tenants are off.  False: it has answered. */
static bool header(struct lp_worker *worker, h2o_req_t *req, h2o_iovec_t *ret)
{
	h2o_iovec_t v = lp_request_header(req, "x-scope-orgid");

	*ret = h2o_iovec_init("", 0);
	if (!lp_worker_conf(worker)->tenants.enabled)
		return true;
	if (!v.base || v.len == 0) {
		lp_reply_text(req, 401, "no org id");
		return false;
	}
	*ret = v;
	return true;
}

bool lp_tenant(struct lp_worker *worker, h2o_req_t *req, h2o_iovec_t *ret_tenant)
{
	h2o_iovec_t v;
	const char *text = NULL;

	if (!header(worker, req, &v))
		return false;
	if (v.len && memchr(v.base, '|', v.len))
		text = "multiple org IDs present";
	else if (v.len)
		text = fault(v.base, v.len);
	if (text) {
		lp_reply_text(req, 400, text);
		return false;
	}
	*ret_tenant = v;
	return true;
}

/* ---- several, for queries ---- */

static int cmp_id(const void *x, const void *y)
{
	const h2o_iovec_t *a = x, *b = y;
	int c = memcmp(a->base, b->base, a->len < b->len ? a->len : b->len);

	return c ? c : (a->len > b->len) - (a->len < b->len);
}

/* Ids of the list, ascending and each once; -1 and the reason. */
static int split(h2o_iovec_t list, h2o_iovec_t ids[MAX_TENANTS], const char **ret_text)
{
	const char *s = list.base, *end = s + list.len, *bar;
	int n = 0, kept = 0;

	for (;; s = bar + 1) {
		bar = memchr(s, '|', (size_t)(end - s));
		size_t len = (size_t)((bar ? bar : end) - s);

		*ret_text = n == MAX_TENANTS ? "too many tenant IDs" : fault(s, len);
		if (*ret_text)
			return -1;
		ids[n++] = h2o_iovec_init(s, len);
		if (!bar)
			break;
	}
	qsort(ids, (size_t)n, sizeof *ids, cmp_id);
	for (int i = 0; i < n; i++)
		if (i == 0 || cmp_id(&ids[kept - 1], &ids[i]) != 0)
			ids[kept++] = ids[i];
	return kept;
}

static h2o_iovec_t join(h2o_req_t *req, const h2o_iovec_t *ids, int n, size_t max)
{
	h2o_iovec_t out = h2o_iovec_init(h2o_mem_alloc_pool(&req->pool, max + 1), 0);

	for (int i = 0; i < n; i++) {
		if (i)
			out.base[out.len++] = '|';
		memcpy(out.base + out.len, ids[i].base, ids[i].len);
		out.len += ids[i].len;
	}
	out.base[out.len] = '\0';
	return out;
}

bool lp_tenants(struct lp_worker *worker, h2o_req_t *req, h2o_iovec_t *ret_tenants, bool *ret_several)
{
	int64_t max = lp_worker_conf(worker)->tenants.max_per_query;
	h2o_iovec_t v, ids[MAX_TENANTS];
	char many[128];
	const char *text;
	int n;

	*ret_several = false;
	if (!header(worker, req, &v))
		return false;
	*ret_tenants = v;
	if (!v.len)
		return true;
	n = split(v, ids, &text);
	if (n > max) {
		snprintf(many, sizeof many, "multiple org IDs present: %d, tenants.max_per_query allows %lld", n, (long long)max);
		text = many;
	}
	if (text) {
		lp_reply_text(req, 400, text);
		return false;
	}
	*ret_several = n > 1;
	*ret_tenants = join(req, ids, n, v.len);
	return true;
}
