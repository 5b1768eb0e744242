/* Routing.  Guarantees: every request gets an answer; nothing but the routes marked so is served without the key;
 * URLs are bounded before anything looks at them.  Process: worker, event loop. */
#include "http/worker.h"

#include "common/bytes.h"
#include "common/clock.h"
#include "common/log.h"
#include "http/match.h"
#include "http/params.h"
#include "shm/routestat.h"

#include <openssl/crypto.h>
#include <openssl/sha.h>

#include <errno.h>
#include <string.h>
#include <strings.h>

#define MAX_PATH 2048
#define NO_AUTH 1u
#define IS_PUSH 2u

struct lp_route {
	unsigned methods;
	const char *path;
	void (*handler)(struct lp_worker *worker, h2o_req_t *req, const char *name, size_t name_len);
	unsigned flags;
};

#define GET LP_METHOD_GET
#define POST LP_METHOD_POST
static const struct lp_route routes[] = {       /* longest first; a {name} never takes a slash */
	{ GET | POST, "/loki/api/v1/detected_field/{name}/values", lp_api_detected_values, 0 },
	{ GET | POST, "/loki/api/v1/label/{name}/values", lp_api_values, 0 },
	{ GET, "/prometheus/api/v1/alerts", lp_rules_prom_alerts, 0 },
	{ GET, "/prometheus/api/v1/rules", lp_rules_prom_rules, 0 },
	{ GET | POST | LP_METHOD_DELETE, "/loki/api/v1/rules/{rest}", lp_rules_ruler, 0 },
	{ GET | POST | LP_METHOD_DELETE, "/api/prom/rules/{rest}", lp_rules_ruler, 0 },
	{ LP_METHOD_PATCH, "/alerts/{name}/status", lp_rules_alert_status, 0 },
	{ GET, "/loki/api/v1/rules", lp_rules_ruler, 0 },
	{ GET | POST, "/loki/api/v1/index/volume_range", lp_api_volume_range, 0 },
	{ GET | POST, "/loki/api/v1/detected_fields", lp_api_detected_fields, 0 },
	{ GET | POST, "/loki/api/v1/detected_labels", lp_api_detected_labels, 0 },
	{ GET, "/loki/api/v1/drilldown-limits", lp_api_drilldown_limits, 0 },
	{ GET, "/loki/api/v1/status/buildinfo", lp_status_buildinfo, 0 },
	{ GET | POST, "/loki/api/v1/format_query", lp_api_format_query, 0 },
	{ GET | POST, "/loki/api/v1/index/volume", lp_api_volume, 0 },
	{ GET | POST, "/loki/api/v1/query_range", lp_api_query_range, 0 },
	{ GET | POST, "/loki/api/v1/index/shards", lp_api_index_shards, 0 },
	{ GET | POST, "/loki/api/v1/index/stats", lp_api_index_stats, 0 },
	{ GET | POST, "/loki/api/v1/patterns", lp_api_patterns, 0 },
	{ GET | POST, "/loki/api/v1/labels", lp_api_labels, 0 },
	{ GET | POST | LP_METHOD_PUT | LP_METHOD_DELETE, "/loki/api/v1/delete", lp_api_delete, 0 },
	{ GET | POST, "/loki/api/v1/series", lp_api_series, 0 },
	{ GET, "/config/tenant/v1/limits", lp_api_tenant_limits, 0 },
	{ GET, "/labels/{name}/values", lp_api_original_values, 0 },
	{ GET | POST, "/loki/api/v1/label", lp_api_labels, 0 },
	{ GET | POST, "/loki/api/v1/query", lp_api_query, 0 },
	{ GET, "/metrics/stream", lp_metricstream_start, 0 },
	{ GET, "/loki/api/v1/tail", lp_tail_loki, 0 },
	{ GET, "/prometheus-metrics", lp_status_metrics, 0 },
	{ POST, "/loki/api/v1/push", lp_push_loki, IS_PUSH },
	{ GET | POST, "/log_level", lp_status_log_level, 0 },
	{ GET, "/services", lp_status_services, 0 },
	{ POST, "/api/prom/push", lp_push_prom, IS_PUSH },
	{ GET, "/api/prom/tail", lp_tail_loki, 0 },
	{ POST, "/otlp/v1/logs", lp_push_otlp, IS_PUSH },
	{ POST, "/ingest", lp_push_ingest, IS_PUSH },
	{ GET | LP_METHOD_PUT | LP_METHOD_DELETE, "/alerts/{name}", lp_rules_alert, 0 },
	{ GET, "/api/prom/rules", lp_rules_ruler, 0 },
	{ GET | POST, "/alerts", lp_rules_alerts, 0 },
	{ GET, "/labels", lp_api_original_labels, 0 },
	{ GET, "/stream", lp_tail_stream, 0 },
	{ GET, "/health", lp_status_health, NO_AUTH },
	{ GET, "/config", lp_status_config, 0 },
	{ GET, "/ready", lp_status_ready, NO_AUTH },
	{ GET, "/query", lp_api_original_query, 0 },
	{ POST, "/flush", lp_status_flush, 0 },
	{ GET, "/", lp_status_root, 0 },
};

/* Served on the path that metrics.prometheus_path names. */
static const struct lp_route metrics_route = { GET, "/metrics", lp_status_metrics, 0 };

/* Numbers for counting: the table's, then the one above, then all that has no route. */
#define ROUTE_METRICS LP_ARRAY_LEN(routes)
#define ROUTE_OTHER (ROUTE_METRICS + 1)
_Static_assert(ROUTE_OTHER < LP_ROUTESTAT_ROUTES, "every route has its own row in shm/routestat.h");

const char *lp_route_path(uint32_t route, unsigned *ret_methods)
{
	*ret_methods = ~0u;
	if (route == ROUTE_OTHER)
		return "other";
	if (route > ROUTE_OTHER)
		return NULL;
	*ret_methods = route == ROUTE_METRICS ? metrics_route.methods : routes[route].methods;
	return route == ROUTE_METRICS ? metrics_route.path : routes[route].path;
}

static uint32_t number_of(const struct lp_route *route)
{
	if (!route)
		return ROUTE_OTHER;
	return route == &metrics_route ? (uint32_t)ROUTE_METRICS : (uint32_t)(route - routes);
}

/* ---- access ------------------------------------------------------------------------------------- */

bool lp_auth_load(struct lp_worker *worker)
{
	const struct lp_conf *conf = lp_worker_conf(worker);
	uint8_t hash[SHA256_DIGEST_LENGTH];
	bool other;

	SHA256((const unsigned char *)conf->auth.api_key, strlen(conf->auth.api_key), hash);
	other = conf->auth.enabled && (!worker->auth || memcmp(hash, worker->key_hash, sizeof hash) != 0);
	worker->auth = conf->auth.enabled;
	memcpy(worker->key_hash, hash, sizeof hash);
	return other;
}

/* Hashing both sides makes lengths and contents equally slow to compare. */
static bool key_fits(const struct lp_worker *worker, const char *s, size_t n)
{
	uint8_t hash[SHA256_DIGEST_LENGTH];

	SHA256((const unsigned char *)s, n, hash);
	return CRYPTO_memcmp(hash, worker->key_hash, sizeof hash) == 0;
}

static bool authorized(const struct lp_worker *worker, const h2o_req_t *req)
{
	h2o_iovec_t v = lp_request_header(req, "x-api-key");

	if (!lp_worker_conf(worker)->auth.api_key[0])
		return false;           /* switched on without a key: nobody */
	if (v.base && key_fits(worker, v.base, v.len))
		return true;
	v = lp_request_header(req, "authorization");
	if (!v.base)
		return false;
	if (v.len > 7 && strncasecmp(v.base, "Bearer ", 7) == 0 && key_fits(worker, v.base + 7, v.len - 7))
		return true;
	return key_fits(worker, v.base, v.len);
}

static void add_cors(const struct lp_worker *worker, h2o_req_t *req)
{
	const struct lp_conf *conf = lp_worker_conf(worker);

	if (!conf->server_cors.enabled)
		return;
	/* A reload may free the configuration while this response is still being made. */
	lp_header(req, "access-control-allow-origin", h2o_strdup(&req->pool, conf->server_cors.allow_origin, SIZE_MAX).base);
	lp_header(req, "access-control-allow-methods", "GET, POST, PUT, PATCH, DELETE, OPTIONS");
	lp_header(req, "access-control-allow-headers", "Content-Type, X-API-Key, Authorization");
}

/* ---- finding the handler ------------------------------------------------------------------------ */

static size_t path_length(const h2o_req_t *req)
{
	return req->query_at == SIZE_MAX ? req->path.len : req->query_at;
}

static bool is_metrics_path(const struct lp_worker *worker, const h2o_req_t *req, size_t len)
{
	const char *path = lp_worker_conf(worker)->metrics.prometheus_path;

	return strlen(path) == len && memcmp(path, req->path.base, len) == 0;
}

static const struct lp_route *find_route(const struct lp_worker *worker, const h2o_req_t *req, size_t len, const char **ret_name,
					 size_t *ret_name_len)
{
	if (is_metrics_path(worker, req, len)) {
		*ret_name = NULL;
		*ret_name_len = 0;
		return &metrics_route;
	}
	for (size_t i = 0; i < LP_ARRAY_LEN(routes); i++)
		if (lp_path_match(routes[i].path, req->path.base, len, ret_name, ret_name_len))
			return &routes[i];
	return NULL;
}

static void reply_methods(h2o_req_t *req, int status, unsigned methods)
{
	char allow[64];
	size_t n = lp_methods_print(allow, methods);

	lp_header(req, "allow", h2o_strdup(&req->pool, allow, n).base);
	if (status == 200)
		lp_reply_empty(req, 200);
	else
		lp_reply_text(req, status, "method not allowed");
}

static void dispatch(struct lp_worker *worker, struct lp_conn *conn, h2o_req_t *req)
{
	unsigned method = lp_method_parse(req->method.base, req->method.len);
	const struct lp_route *route;
	const char *name;
	size_t len = path_length(req), name_len;

	if (len > MAX_PATH || req->path.len > 3 * (size_t)lp_worker_conf(worker)->limits.max_query_text + 16384) {
		lp_reply_text(req, 414, "the path or the query string is too long; send long queries as a POST form");
		return;
	}
	route = find_route(worker, req, len, &name, &name_len);
	conn->route = number_of(route);
	if (method == LP_METHOD_OPTIONS) {      /* a preflight cannot carry the key */
		reply_methods(req, 200, route ? route->methods : 0);
		return;
	}
	bool open = route && route->flags & NO_AUTH, fits = worker->auth && !open && authorized(worker, req);

	/* Before the key is judged: guessing keys is limited as well. */
	if (!lp_ratelimit_pass(worker, req, (fits ? LP_RATE_AUTHORIZED : 0) | (open ? LP_RATE_EXEMPT : 0) |
			       (route && route->flags & IS_PUSH ? LP_RATE_PUSH : 0)))
		return;
	if (worker->auth && !open && !fits) {
		lp_stat_add(worker->stat, LP_STAT_AUTH_FAILURES, 1);
		lp_reply_text(req, 401, "Unauthorized");
		return;
	}
	if (!route) {
		lp_reply_text(req, 404, "404 page not found");
		return;
	}
	if (!(route->methods & (method == LP_METHOD_HEAD ? LP_METHOD_GET : method))) {
		reply_methods(req, 405, route->methods);
		return;
	}
	route->handler(worker, req, name, name_len);
}

/* ---- what handlers ask of a request ------------------------------------------------------------- */

static bool is_form(const h2o_req_t *req)
{
	static const char type[] = "application/x-www-form-urlencoded";
	h2o_iovec_t v = lp_request_header(req, "content-type");

	return v.base && v.len >= sizeof type - 1 && strncasecmp(v.base, type, sizeof type - 1) == 0;
}

int lp_request_form(struct lp_worker *worker, h2o_req_t *req, struct lp_form *form)
{
	struct lp_buf error = { .max = 4096 };
	int r = 0;

	/* As in Go: other methods' bodies are no parameters. */
	if (req->entity.base && (lp_method_parse(req->method.base, req->method.len) & (LP_METHOD_POST | LP_METHOD_PUT | LP_METHOD_PATCH)) &&
	    is_form(req))
		r = lp_form_parse(form, req->entity.base, req->entity.len, &error);
	if (r == 0 && req->query_at != SIZE_MAX)
		r = lp_form_parse(form, req->path.base + req->query_at + 1, req->path.len - req->query_at - 1, &error);
	if (r < 0) {
		lp_reply_text(req, r == -ENOMEM ? 500 : 400, r == -ENOMEM ? "out of memory" : lp_buf_cstr(&error));
		lp_form_free(form);
	}
	lp_buf_free(&error);
	return r;
}

h2o_iovec_t lp_request_name(h2o_req_t *req, const char *raw, size_t n)
{
	char *to = h2o_mem_alloc_pool(&req->pool, n + 1);
	ssize_t len = lp_path_unescape(to, raw, n);

	if (len < 0) {
		memcpy(to, raw, n);
		len = (ssize_t)n;
	}
	return h2o_iovec_init(to, (size_t)len);
}

/* ---- the one h2o handler ------------------------------------------------------------------------ */

struct lp_handler {
	h2o_handler_t super;
	struct lp_worker *worker;
};

struct lp_access {
	h2o_logger_t super;
	struct lp_worker *worker;
};

static int on_req(h2o_handler_t *self, h2o_req_t *req)
{
	struct lp_worker *worker = ((struct lp_handler *)self)->worker;
	h2o_socket_t *sock = req->conn->callbacks->get_socket(req->conn);
	struct lp_conn *conn = sock->on_close.data;

	conn->requests++;
	conn->started_ns = lp_clock_mono_ns();
	conn->route = ROUTE_OTHER;
	if (worker->sampler.on)
		lp_tracing_begin(worker, conn, req);
	if (worker->draining)
		req->http1_is_persistent = 0;
	/* h2o chose one of the lengths and keeps both headers from us, but the head still stands where it was read. */
	if (req->entity.base && lp_head_is_ambiguous(sock->input->bytes, sock->input->size)) {
		req->http1_is_persistent = 0;
		lp_reply_text(req, 400, "the length of the body is told twice (Content-Length, Transfer-Encoding)");
		return 0;
	}
	add_cors(worker, req);
	dispatch(worker, conn, req);
	return 0;
}

static unsigned method_row(unsigned method)
{
	switch (method) {
	case LP_METHOD_GET:
	case LP_METHOD_HEAD:
		return 0;
	case LP_METHOD_POST:
		return 1;
	case LP_METHOD_PUT:
		return 2;
	case LP_METHOD_DELETE:
		return 3;
	default:
		return LP_ROUTESTAT_METHODS - 1;
	}
}

/* HTTP/1.1 has one request at a time on a connection, so what is known of it stands there. */
static void count_route(struct lp_worker *worker, h2o_req_t *req)
{
	h2o_socket_t *sock = req->conn->callbacks->get_socket(req->conn);
	struct lp_conn *conn = sock ? sock->on_close.data : NULL;

	if (!conn || !conn->started_ns)
		return;
	lp_routestat_add(worker->proc->region, worker->proc->worker, conn->route,
			 method_row(lp_method_parse(req->method.base, req->method.len)),
			 (uint64_t)(lp_clock_mono_ns() - conn->started_ns) / 1000, req->res.status >= 400);
	if (conn->trace.sampled)
		lp_tracing_end(worker, conn, req);
	conn->started_ns = 0;
}

static void on_access(h2o_logger_t *self, h2o_req_t *req)
{
	static const enum lp_stat by_class[] = {
		LP_STAT_HTTP_REQUESTS_2XX, LP_STAT_HTTP_REQUESTS_3XX, LP_STAT_HTTP_REQUESTS_4XX, LP_STAT_HTTP_REQUESTS_5XX,
	};
	struct lp_worker *worker = ((struct lp_access *)self)->worker;
	int class = req->res.status / 100 - 2;

	if (class >= 0 && class < 4)
		lp_stat_add(worker->stat, by_class[class], 1);
	count_route(worker, req);
}

void lp_route_register(struct lp_worker *worker, h2o_pathconf_t *path)
{
	struct lp_handler *handler = (struct lp_handler *)h2o_create_handler(path, sizeof *handler);
	struct lp_access *access = (struct lp_access *)h2o_create_logger(path, sizeof *access);

	handler->super.on_req = on_req;
	handler->worker = worker;
	access->super.log_access = on_access;
	access->worker = worker;
}
