/* Who may ask, and how often (rate_limit.*).  Guarantees: one client has one limit over all workers (shm/limiter.h);
 * probes of /health and /ready are never limited; headers of strangers are believed only from trusted proxies; addresses
 * are masked in the log, and refusals cost at most one line in ten seconds.
 * Process: worker, event loop. */
#include "http/worker.h"

#include "common/clock.h"
#include "common/log.h"
#include "shm/limiter.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define LOG_EVERY_NS (10 * LP_NS_PER_SEC)
#define FORWARDED_MAX 4096

/* Texts were checked when the configuration was loaded. */
static void load_nets(struct lp_nets *nets, const struct lp_conf_list *list)
{
	free(nets->nets);
	nets->n = 0;
	nets->nets = list->n ? calloc(list->n, sizeof nets->nets[0]) : NULL;
	for (size_t i = 0; i < list->n && nets->nets; i++)
		if (lp_net_parse(list->items[i], strlen(list->items[i]), &nets->nets[nets->n]) == 0)
			nets->n++;
}

void lp_ratelimit_load(struct lp_worker *worker)
{
	const struct lp_conf *conf = lp_worker_conf(worker);
	struct lp_ratelimit *limits = &worker->limits;

	load_nets(&limits->white, &conf->rate_limit.whitelist_ips);
	load_nets(&limits->black, &conf->rate_limit.blacklist_ips);
	load_nets(&limits->proxies, &conf->rate_limit.trusted_proxies);
	limits->interval_ns = UINT64_C(60000000000) / (uint64_t)conf->rate_limit.requests_per_minute;
	limits->active = conf->rate_limit.enabled || limits->black.n > 0;
}

void lp_ratelimit_close(struct lp_worker *worker)
{
	free(worker->limits.white.nets);
	free(worker->limits.black.nets);
	free(worker->limits.proxies.nets);
}

static bool contains(const struct lp_nets *nets, const struct lp_addr *addr)
{
	for (size_t i = 0; i < nets->n; i++)
		if (lp_net_contains(&nets->nets[i], addr))
			return true;
	return false;
}

static struct lp_addr peer_of(const h2o_req_t *req)
{
	struct lp_addr addr = { .bytes = { [10] = 0xff, [11] = 0xff } };
	struct sockaddr_storage sa = { 0 };

	if (req->conn->callbacks->get_peername(req->conn, (struct sockaddr *)&sa) == 0)
		return addr;
	if (sa.ss_family == AF_INET)
		memcpy(addr.bytes + 12, &((struct sockaddr_in *)&sa)->sin_addr, 4);
	else if (sa.ss_family == AF_INET6)
		memcpy(addr.bytes, &((struct sockaddr_in6 *)&sa)->sin6_addr, 16);
	return addr;
}

/* Several headers of the name are one list (RFC 9110, 5.3); what does not fit is cut at its left end, which counts least. */
static size_t forwarded_for(const h2o_req_t *req, char to[FORWARDED_MAX])
{
	size_t len = 0;

	for (size_t i = req->headers.size; i-- > 0;) {
		const h2o_header_t *h = &req->headers.entries[i];
		size_t n = h->value.len;

		if (h->name->len != 15 || memcmp(h->name->base, "x-forwarded-for", 15) != 0)
			continue;
		if (len && len < FORWARDED_MAX)
			to[FORWARDED_MAX - ++len] = ',';
		if (n > FORWARDED_MAX - len)
			n = FORWARDED_MAX - len;
		memcpy(to + FORWARDED_MAX - len - n, h->value.base + h->value.len - n, n);
		len += n;
	}
	return len;
}

struct lp_addr lp_client_address(const struct lp_worker *worker, const h2o_req_t *req)
{
	const struct lp_nets *proxies = &worker->limits.proxies;
	struct lp_addr peer = peer_of(req);
	char forwarded[FORWARDED_MAX];
	h2o_iovec_t real;
	size_t len;

	if (!proxies->n)
		return peer;
	len = forwarded_for(req, forwarded);
	real = lp_request_header(req, "x-real-ip");
	return lp_addr_client(proxies->nets, proxies->n, &peer, forwarded + FORWARDED_MAX - len, len, real.base, real.len);
}

/* Whoever has an IPv6 address has a /64 of them. */
static uint64_t key_of_address(const struct lp_worker *worker, const struct lp_addr *addr)
{
	static const uint8_t v4[12] = { [10] = 0xff, [11] = 0xff };
	size_t n = memcmp(addr->bytes, v4, sizeof v4) == 0 ? 16 : 8;

	return XXH3_64bits_withSeed(addr->bytes, n, lp_region_epoch(worker->proc->region));
}

static uint64_t key_of_request(const struct lp_worker *worker, const struct lp_addr *addr, unsigned flags)
{
	/* The key that fitted, not the headers: a key can be sent in several, with one that is made up beside it. */
	if (lp_worker_conf(worker)->rate_limit.by == LP_RATE_LIMIT_BY_KEY && worker->auth && flags & LP_RATE_AUTHORIZED)
		return XXH3_64bits_withSeed(worker->key_hash, sizeof worker->key_hash, ~lp_region_epoch(worker->proc->region));
	return key_of_address(worker, addr);
}

static void number_header(h2o_req_t *req, const char *name, int64_t v)
{
	char text[24];
	int n = snprintf(text, sizeof text, "%lld", (long long)v);

	lp_header(req, name, h2o_strdup(&req->pool, text, (size_t)n).base);
}

static void log_refusal(struct lp_worker *worker, const struct lp_addr *addr, const char *why)
{
	int64_t now_ns = lp_clock_mono_ns();
	char text[40];

	worker->limits.refused++;
	if (worker->limits.logged_ns && now_ns - worker->limits.logged_ns < LOG_EVERY_NS)
		return;
	lp_log(LP_WARN, "request refused reason=%s client=%s refused=%llu", why, lp_addr_mask(addr, text),
	       (unsigned long long)worker->limits.refused);
	worker->limits.logged_ns = now_ns;
	worker->limits.refused = 0;
}

bool lp_ratelimit_pass(struct lp_worker *worker, h2o_req_t *req, unsigned flags)
{
	const struct lp_conf *conf = lp_worker_conf(worker);
	uint64_t cost_ns = worker->limits.interval_ns;
	struct lp_limit_state state;
	struct lp_addr addr;

	if (!worker->limits.active)
		return true;
	addr = lp_client_address(worker, req);
	if (contains(&worker->limits.black, &addr)) {
		lp_stat_add(worker->stat, LP_STAT_BLACKLISTED, 1);
		if (flags & LP_RATE_PUSH)
			lp_stat_add(worker->stat, LP_STAT_DISCARD_BLACKLISTED, 1);
		log_refusal(worker, &addr, "blacklisted");
		lp_reply_text(req, 403, "Access denied");
		return false;
	}
	if (!conf->rate_limit.enabled || flags & LP_RATE_EXEMPT || contains(&worker->limits.white, &addr))
		return true;
	state = lp_limiter_take(worker->proc->region, key_of_request(worker, &addr, flags), cost_ns,
				cost_ns * (uint64_t)conf->rate_limit.burst, (uint64_t)lp_clock_mono_ns());
	number_header(req, "x-ratelimit-limit", conf->rate_limit.requests_per_minute);
	number_header(req, "x-ratelimit-remaining", (int64_t)(state.left_ns / cost_ns));
	number_header(req, "x-ratelimit-reset", lp_clock_real_ns() / LP_NS_PER_SEC + ((int64_t)state.rest_ns + LP_NS_PER_SEC - 1) / LP_NS_PER_SEC);
	if (state.evicted)
		lp_stat_add(worker->stat, LP_STAT_RATE_LIMIT_EVICTED, 1);
	if (state.allowed)
		return true;
	lp_stat_add(worker->stat, LP_STAT_RATE_LIMITED, 1);
	if (flags & LP_RATE_PUSH)
		lp_stat_add(worker->stat, LP_STAT_DISCARD_RATE_LIMITED, 1);
	log_refusal(worker, &addr, "rate_limit");
	lp_reply_retry(req, 429, 60, "Rate limit exceeded. Please try again later.");
	return false;
}
