/* The routes of live tails: parameters, the WebSocket handshake, and who may open one.
 *
 * Guarantees: everything that can be wrong with a tail is said by an HTTP status and a text, before the upgrade, but for a metric query
 * on Loki's route, which Loki refuses behind it; the key and the tenant were looked at before as well.
 * Process: worker, event loop; keeps nothing between requests. */
#include "http/tail-private.h"

#include "common/clock.h"
#include "http/params.h"
#include "http/queryapi.h"
#include "http/tailmsg.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define MAX_DELAY_FOR 5
#define DEFAULT_LIMIT 100
#define MESSAGE_EXTRA 4096              /* beside a query, which may have every byte escaped as two */

/* ---- the handshake --------------------------------------------------------------------------------- */

static bool same_host(const h2o_req_t *req, h2o_iovec_t origin)
{
	const char *host = memmem(origin.base, origin.len, "://", 3);

	if (!host)
		return false;
	host += 3;
	return (size_t)(origin.base + origin.len - host) == req->authority.len && strncasecmp(host, req->authority.base, req->authority.len) == 0;
}

static bool equals(h2o_iovec_t v, const char *s)
{
	return strlen(s) == v.len && strncasecmp(v.base, s, v.len) == 0;
}

/* Browsers send the page's origin with every WebSocket and let any page open one: only the server can refuse. */
static bool origin_allowed(const struct lp_worker *worker, const h2o_req_t *req)
{
	const struct lp_conf *conf = lp_worker_conf(worker);
	const struct lp_conf_list *list = &conf->streaming.allowed_origins;
	h2o_iovec_t origin = lp_request_header(req, "origin");

	if (!origin.base || same_host(req, origin))
		return true;
	for (size_t i = 0; i < list->n; i++)
		if (strcmp(list->items[i], "*") == 0 || equals(origin, list->items[i]))
			return true;
	return !list->n && conf->server_cors.enabled &&
	       (strcmp(conf->server_cors.allow_origin, "*") == 0 || equals(origin, conf->server_cors.allow_origin));
}

/* False: it has answered. */
static bool handshake(struct lp_worker *worker, h2o_req_t *req, char accept[LP_WS_ACCEPT_LEN + 1])
{
	h2o_iovec_t key = lp_request_header(req, "sec-websocket-key"), version = lp_request_header(req, "sec-websocket-version");

	if (req->version != 0x101 || !req->upgrade.base || !equals(req->upgrade, "websocket") || lp_is_head(req)) {
		lp_reply_text(req, 400, "Bad Request: this route speaks WebSocket only (an Upgrade: websocket header is missing)");
		return false;
	}
	if (!version.base || !equals(version, "13")) {
		lp_header(req, "sec-websocket-version", "13");
		lp_reply_text(req, 426, "Bad Request: WebSocket version 13 is spoken here");
		return false;
	}
	if (!key.base || lp_ws_accept(key.base, key.len, accept) < 0) {
		lp_reply_text(req, 400, "Bad Request: Sec-WebSocket-Key must be 16 bytes in base64");
		return false;
	}
	if (!origin_allowed(worker, req)) {
		lp_reply_text(req, 403, "this origin may not open a live tail (streaming.allowed_origins)");
		return false;
	}
	return true;
}

/* False: it has answered. */
static bool has_place(struct lp_worker *worker, h2o_req_t *req)
{
	const struct lp_conf *conf = lp_worker_conf(worker);
	uint64_t n = lp_stat_sum(worker->proc->region, LP_STAT_STREAM_CLIENTS);
	char text[128];

	if (!conf->streaming.enabled) {
		lp_reply_text(req, 404, "live tail is switched off (streaming.enabled)");
		return false;
	}
	if (worker->draining || !lp_queries_ready(worker)) {
		lp_reply_retry(req, 503, 1, worker->draining ? "shutting down" : "starting: recovery is not over");
		return false;
	}
	if (n < (uint64_t)conf->streaming.max_clients)
		return true;
	snprintf(text, sizeof text, "max concurrent tail requests limit exceeded, count > limit (%llu > %lld) (streaming.max_clients)",
		 (unsigned long long)n + 1, (long long)conf->streaming.max_clients);
	lp_reply_retry(req, 429, 5, text);
	return false;
}

/* ---- starting -------------------------------------------------------------------------------------- */

struct request {
	h2o_iovec_t tenant;
	struct lp_form form;
	struct lp_buf error, text;
	struct lp_tail_wish wish;       /* original */
	int64_t delay_s, start_ns;
	uint32_t limit;
	bool original, history, categorize, tenants;
	const char *refusal;            /* behind the upgrade; Loki */
};

static void request_free(struct request *rq)
{
	lp_form_free(&rq->form);
	lp_buf_free(&rq->error);
	lp_buf_free(&rq->text);
}

static void refuse(h2o_req_t *req, struct request *rq, int r)
{
	if (r == -EINVAL)
		lp_reply_text(req, 400, lp_buf_cstr(&rq->error));
	else
		lp_reply_retry(req, 503, 1, "live tail cannot be served now");
	request_free(rq);
}

static int start(struct lp_worker *worker, h2o_req_t *req, struct request *rq, const char *accept)
{
	struct lp_tail_client *client = calloc(1, sizeof *client);
	int r;

	if (!client)
		return -ENOMEM;
	client->tails = worker->tails;
	client->original = rq->original;
	client->delay_ms = rq->delay_s * 1000;
	client->history_wanted = rq->history;
	client->start_ns = rq->start_ns;
	client->limit = rq->limit;
	client->ws.max_bytes = 2 * (size_t)lp_worker_conf(worker)->limits.max_query_text + MESSAGE_EXTRA;
	client->refs = 1;
	client->refusal = rq->refusal;
	r = rq->original ? lp_tail_client_remember(client, &rq->wish) : 0;
	if (r == 0 && !rq->refusal)
		r = lp_tail_client_ask(client, (const char *)rq->text.data, rq->text.len, rq->tenant, rq->tenants, rq->categorize,
				       &rq->error);
	if (r < 0) {
		lp_tail_client_unref(client);
		return r;
	}
	lp_tail_client_upgrade(client, req, accept);
	return 0;
}

/* The query is in rq->text. */
static void check_and_start(struct lp_worker *worker, h2o_req_t *req, struct request *rq)
{
	struct lp_query_params params = { .text = (const char *)rq->text.data, .text_len = rq->text.len, .limit = rq->limit };
	struct lp_tail *tail = NULL;
	struct lp_tail_spec spec = { .text = lp_buf_cstr(&rq->text), .text_len = rq->text.len, .tenant = "", .original = rq->original };
	char accept[LP_WS_ACCEPT_LEN + 1];
	int r = rq->text.failed ? -ENOMEM : 0;

	if (r == 0 && (rq->text.len || !rq->original))
		r = lp_api_check_text(worker, &params, &rq->error);
	if (r == 0 && rq->limit > lp_worker_conf(worker)->limits.max_entries_limit_per_query) {
		lp_buf_printf(&rq->error, "max entries limit per query exceeded, limit > max_entries_limit_per_query (%u > %lld)", rq->limit,
			      (long long)lp_worker_conf(worker)->limits.max_entries_limit_per_query);
		r = -EINVAL;
	}
	/* What is wrong with the query is said even to those who do not speak WebSocket, as Loki does. */
	if (r == 0)
		r = lp_tail_open(&spec, &tail, &rq->error);
	lp_tail_close(&tail);
	if (r == -EOPNOTSUPP && !rq->original) {
		rq->refusal = "only log selector is supported";
		r = 0;
	}
	if (r < 0) {
		refuse(req, rq, r == -EOPNOTSUPP ? -EINVAL : r);
		return;
	}
	if (!handshake(worker, req, accept) || !has_place(worker, req)) {
		request_free(rq);
		return;
	}
	r = start(worker, req, rq, accept);
	if (r < 0)
		refuse(req, rq, r);
	else
		request_free(rq);
}

static int delay_param(const struct lp_form *form, int64_t *ret_s, struct lp_buf *error)
{
	const struct lp_param *p = lp_form_get(form, "delay_for");
	char *end;

	*ret_s = 0;
	if (!p || !p->value_len)
		return 0;
	errno = 0;
	long long v = strtoll(p->value, &end, 10);

	if (errno || *end || end != p->value + p->value_len || end == p->value) {
		lp_buf_str(error, "strconv.Atoi: parsing ");
		lp_go_quote(error, p->value, p->value_len);
		lp_buf_str(error, ": invalid syntax");
		return -EINVAL;
	}
	if (v > MAX_DELAY_FOR) {
		lp_buf_printf(error, "delay_for can't be greater than %d", MAX_DELAY_FOR);
		return -EINVAL;
	}
	*ret_s = v > 0 ? v : 0;
	return 0;
}

void lp_tail_loki(struct lp_worker *worker, h2o_req_t *req, const char *name, size_t name_len)
{
	struct request rq = { .history = true };
	const struct lp_param *query;
	int64_t end_ns;                 /* a tail has none; it is where `since` counts from */
	int r;

	(void)name;
	(void)name_len;
	if (!lp_tenants(worker, req, &rq.tenant, &rq.tenants) || lp_request_form(worker, req, &rq.form) < 0)
		return;
	rq.categorize = lp_api_wants_categories(req);
	query = lp_form_get(&rq.form, "query");
	if (query)
		lp_buf_append(&rq.text, query->value, query->value_len);
	r = lp_param_limit(&rq.form, "limit", DEFAULT_LIMIT, &rq.limit, &rq.error);
	if (r == 0)
		r = lp_param_bounds(&rq.form, lp_clock_real_ns(), &rq.start_ns, &end_ns, &rq.error);
	if (r == 0)
		r = delay_param(&rq.form, &rq.delay_s, &rq.error);
	if (r < 0)
		refuse(req, &rq, r);
	else
		check_and_start(worker, req, &rq);
}

/* Every parameter is an equality filter but those that say what else is wanted. */
static int stream_params(struct lp_worker *worker, struct request *rq)
{
	const struct lp_param *start = lp_form_get(&rq->form, "start");
	int r = 0;

	rq->wish.query = "";
	for (size_t i = 0; r == 0 && i < rq->form.n; i++) {
		const struct lp_param *p = &rq->form.v[i];

		if (strcmp(p->name, "query") == 0) {
			rq->wish.query = p->value;
			rq->wish.query_len = p->value_len;
		} else if (strcmp(p->name, "start") != 0 && strcmp(p->name, "limit") != 0) {
			r = lp_tail_wish_add(&rq->wish, p->name, p->name_len, p->value, p->value_len, &rq->error);
		}
	}
	rq->history = start != NULL;
	if (r == 0)
		r = lp_param_time(start, lp_clock_real_ns(), &rq->start_ns, &rq->error);
	if (r == 0)
		r = lp_param_limit(&rq->form, "limit", (uint32_t)lp_worker_conf(worker)->limits.max_entries_limit_per_query, &rq->limit, &rq->error);
	lp_tail_wish_text(&rq->wish, &rq->text);
	return r;
}

void lp_tail_stream(struct lp_worker *worker, h2o_req_t *req, const char *name, size_t name_len)
{
	struct request rq = { .original = true };
	int r;

	(void)name;
	(void)name_len;
	if (!lp_tenants(worker, req, &rq.tenant, &rq.tenants) || lp_request_form(worker, req, &rq.form) < 0)
		return;
	r = stream_params(worker, &rq);
	if (r < 0)
		refuse(req, &rq, r);
	else
		check_and_start(worker, req, &rq);
}
