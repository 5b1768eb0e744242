/* The worker process from inside: one struct that its files share.  Only src/http includes this (it includes h2o.h).
 * Everything in it belongs to the event loop's thread unless said otherwise. */
#ifndef LP_HTTP_WORKER_H
#define LP_HTTP_WORKER_H

#include "common/net.h"
#include "common/trace.h"
#include "ingest/decode.h"
#include "master/proc.h"
#include "query/query.h"
#include "shm/lane.h"
#include "store/catalog.h"

#include <h2o.h>

struct lp_worker;
struct lp_k8s;

/* One connection, from accept to close; hangs on the socket's on_close. */
struct lp_conn {
	struct lp_worker *worker;
	enum lp_conn_phase { LP_CONN_IDLE, LP_CONN_HEAD, LP_CONN_BODY, LP_CONN_WAIT, LP_CONN_WRITE } phase;
	int64_t since_ms;               /* of the phase, or of its last progress; monotonic */
	uint64_t progress;              /* what is compared: body bytes, bytes acknowledged, requests */
	uint64_t requests;              /* handled so far */
	int64_t phase_ms;               /* begin of the phase in this request; monotonic */
	uint64_t phase_requests;
	int64_t started_ns;             /* of the request, 0 between requests; monotonic */
	struct lp_trace trace;          /* of the request; sampled only while tracing is on */
	uint32_t route;                 /* of the request: its row in lp_routestat_sum() */
	bool cut;                       /* shut down already, waiting for h2o to close it */
};

struct lp_pushes {
	struct lp_lane *lane;
	struct lp_batch *batch;
	struct lp_buf plain, block;     /* content encoding undone; snappy block undone */
	struct lp_push_result result;
	h2o_linklist_t committing;      /* of struct lp_push, by position: published, not committed */
	h2o_linklist_t waiting;         /* FIFO: no room in the lane; the first one may be decoded in `batch` */
	uint64_t waiting_bytes;
	bool armed;                     /* the writer will ring when tail moves */
};

struct lp_queries {
	struct lp_catalog *catalog;     /* both NULL until recovery is over */
	struct lp_engine *engine;
	h2o_multithread_receiver_t receiver;
	h2o_linklist_t jobs;            /* of struct lp_job, those with a request */
	int open_error;                 /* logged already */
	int64_t damage_told_ms;         /* when that was logged last; 0 never */
	bool closed;                    /* the last runs of the loop must not open it again */
};

struct lp_nets {
	struct lp_net *nets;
	size_t n;
};

struct lp_ratelimit {
	bool active;                    /* anything to look at */
	uint64_t interval_ns;           /* what a request costs */
	struct lp_nets white, black, proxies;
	uint64_t refused;               /* since logged_ns */
	int64_t logged_ns;
};

struct lp_metric_streams {
	h2o_linklist_t list;
	size_t n;
	void *event;                    /* the last one, shared by all whose turn it is */
	int64_t rendered_ns;
};

struct lp_worker {
	struct lp_proc *proc;
	struct lp_state_shm *state;
	struct lp_slot_shm *slot;
	struct lp_stat_row *stat;

	h2o_globalconf_t conf;
	h2o_context_t ctx;
	h2o_loop_t *loop;
	h2o_accept_ctx_t accept;
	h2o_socket_t *listener, *signals, *bell, *timer;
	int timer_fd;
	bool timer_fast;                /* 100 ms instead of 500 */
	bool bodies_high;               /* over half of server.max_body_memory: looked at every 100 ms */
	int64_t swept_ms;
	size_t conns;
	bool accept_paused;
	uint64_t h2o_413;               /* bodies that h2o refused by itself, as counted so far */

	bool draining, stop;
	int64_t drain_until_ms;
	bool auth;
	uint8_t key_hash[32];           /* SHA-256 of the key */
	struct lp_otlp *otlp;           /* limits.otlp_config, compiled; NULL: nothing is configured */

	struct lp_pushes push;
	struct lp_queries query;
	struct lp_metric_streams metric_streams;
	struct lp_ratelimit limits;
	struct lp_k8s *k8s;
	struct lp_tails *tails;
	struct lp_sampler sampler;
	h2o_linklist_t flushes;         /* of struct lp_flush: POST /flush that wait */
	struct {
		int64_t at_ns;
		uint64_t lines;
	} rate[2];                      /* two samples of acknowledged lines, 5 s apart */
	double lines_per_second;
	unsigned quiet_ticks;           /* sweeps without a push, for giving memory back */
	bool trimmed;
};

static inline const struct lp_conf *lp_worker_conf(const struct lp_worker *worker)
{
	return worker->proc->conf;
}

/* worker.c: somebody waits for something that only a clock or another process moves: tick every 100 ms. */
void lp_worker_hurry(struct lp_worker *worker);

/* server.c */
int lp_server_open(struct lp_worker *worker);
void lp_server_close(struct lp_worker *worker);
void lp_server_tls(struct lp_worker *worker);           /* use the process's certificate from here on */
void lp_server_accept(struct lp_worker *worker);        /* take up accepting again after a pause */
void lp_server_stop_accepting(struct lp_worker *worker);

/* sweep.c */
void lp_sweep(struct lp_worker *worker, int64_t now_ms);
/* Bytes that have arrived at the other side, as far as the kernel knows; pending: it has more that have not. */
uint64_t lp_sweep_acknowledged(h2o_socket_t *sock, bool *ret_pending);
void lp_sweep_bodies(struct lp_worker *worker);         /* keep bodies that are being received within server.max_body_memory */
void lp_sweep_drain(struct lp_worker *worker);          /* close what is idle, end keep-alive of the rest */
void lp_sweep_crowd(struct lp_worker *worker, int64_t now_ms);   /* at server.max_connections: make room */

/* route.c */
void lp_route_register(struct lp_worker *worker, h2o_pathconf_t *path);
/* The configuration is new.  True: who was let in before has shown no key that fits now. */
bool lp_auth_load(struct lp_worker *worker);
/* Parameters of a request: form body (POST), then the URL's query string.  On failure it has answered and returns < 0. */
struct lp_form;
int lp_request_form(struct lp_worker *worker, h2o_req_t *req, struct lp_form *form);
/* The segment that stood for {name}, percent-decoded into the request's pool. */
h2o_iovec_t lp_request_name(h2o_req_t *req, const char *raw, size_t n);

/* tenant.c: the tenant of a request, "" when tenants are off; valid as long as the request.  False: it has answered. */
bool lp_tenant(struct lp_worker *worker, h2o_req_t *req, h2o_iovec_t *ret_tenant);
/* The same for queries, which may name several, separated by |: ascending, each once, in memory of the request. */
bool lp_tenants(struct lp_worker *worker, h2o_req_t *req, h2o_iovec_t *ret_tenants, bool *ret_several);

/* rates.c: per_stream_rate_limit into the decoder's limits. */
void lp_rates_of_streams(struct lp_worker *worker, struct lp_push_limits *limits);
/* Every second or so: streams that are no longer active, and once those that were before the start. */
void lp_rates_tick(struct lp_worker *worker);
/* ingestion_rate_mb: may the tenant push that much now?  False: counted as discarded, and the text of the 429. */
bool lp_rates_take(struct lp_worker *worker, h2o_iovec_t tenant, uint32_t lines, uint64_t bytes, char *text, size_t text_size);

/* reply.c: all of them end the request.  Bodies are copied. */
#define LP_TEXT "text/plain; charset=utf-8"
#define LP_JSON "application/json; charset=UTF-8"
void lp_reply(h2o_req_t *req, int status, const char *content_type, const void *body, size_t len);
void lp_reply_text(h2o_req_t *req, int status, const char *text);
void lp_reply_retry(h2o_req_t *req, int status, unsigned seconds, const char *text);
void lp_reply_buf(h2o_req_t *req, int status, const char *content_type, struct lp_buf *body);  /* frees body */
void lp_reply_empty(h2o_req_t *req, int status);
const char *lp_status_reason(int status);
bool lp_is_head(const h2o_req_t *req);
void lp_header(h2o_req_t *req, const char *name, const char *value);
h2o_iovec_t lp_request_header(const h2o_req_t *req, const char *lower_name);    /* {NULL, 0} when absent */

/* push.c */
int lp_push_open(struct lp_worker *worker);
void lp_push_close(struct lp_worker *worker);
void lp_push_progress(struct lp_worker *worker);        /* tail may have moved */
void lp_push_tick(struct lp_worker *worker, int64_t now_ns);
bool lp_push_pending(const struct lp_worker *worker);
void lp_push_ingest(struct lp_worker *worker, h2o_req_t *req, const char *name, size_t name_len);
void lp_push_otlp(struct lp_worker *worker, h2o_req_t *req, const char *name, size_t name_len);
void lp_push_loki(struct lp_worker *worker, h2o_req_t *req, const char *name, size_t name_len);
void lp_push_prom(struct lp_worker *worker, h2o_req_t *req, const char *name, size_t name_len);

/* querystream.c */
struct lp_job_options {
	bool original;                  /* errors as JSON objects with a code */
	const char *route;              /* static, for the log */
};
int lp_queries_open(struct lp_worker *worker);          /* once, with the loop */
void lp_queries_close(struct lp_worker *worker);
void lp_queries_tick(struct lp_worker *worker);
bool lp_queries_pending(const struct lp_worker *worker);
/* Submit and stream the answer; everything is copied.  Answers errors by itself. */
void lp_query_start(struct lp_worker *worker, h2o_req_t *req, struct lp_query_params *params, struct lp_job_options options);

/* The engine runs (or was just started): queries and tails can be served. */
bool lp_queries_ready(struct lp_worker *worker);

/* tail.c */
int lp_tails_open(struct lp_worker *worker);            /* once, with the loop */
void lp_tails_reload(struct lp_worker *worker, bool revoked);   /* the configuration is new; revoked: nobody may stay */
void lp_tails_tick(struct lp_worker *worker, int64_t now_ms);
bool lp_tails_pending(const struct lp_worker *worker);
void lp_tails_drain(struct lp_worker *worker);          /* say goodbye to all */
void lp_tails_stop(struct lp_worker *worker);           /* before lp_queries_close() */
void lp_tails_close(struct lp_worker *worker);          /* after it, when no connection is left */
/* tailapi.c */
void lp_tail_loki(struct lp_worker *worker, h2o_req_t *req, const char *name, size_t name_len);
void lp_tail_stream(struct lp_worker *worker, h2o_req_t *req, const char *name, size_t name_len);

/* queryapi.c */
void lp_api_original_query(struct lp_worker *worker, h2o_req_t *req, const char *name, size_t name_len);
void lp_api_original_labels(struct lp_worker *worker, h2o_req_t *req, const char *name, size_t name_len);
void lp_api_original_values(struct lp_worker *worker, h2o_req_t *req, const char *name, size_t name_len);
void lp_api_query_range(struct lp_worker *worker, h2o_req_t *req, const char *name, size_t name_len);
void lp_api_query(struct lp_worker *worker, h2o_req_t *req, const char *name, size_t name_len);
void lp_api_labels(struct lp_worker *worker, h2o_req_t *req, const char *name, size_t name_len);
void lp_api_values(struct lp_worker *worker, h2o_req_t *req, const char *name, size_t name_len);
void lp_api_series(struct lp_worker *worker, h2o_req_t *req, const char *name, size_t name_len);
void lp_api_index_stats(struct lp_worker *worker, h2o_req_t *req, const char *name, size_t name_len);
void lp_api_index_shards(struct lp_worker *worker, h2o_req_t *req, const char *name, size_t name_len);

/* lokiapi.c */
void lp_api_format_query(struct lp_worker *worker, h2o_req_t *req, const char *name, size_t name_len);
void lp_api_volume(struct lp_worker *worker, h2o_req_t *req, const char *name, size_t name_len);
void lp_api_volume_range(struct lp_worker *worker, h2o_req_t *req, const char *name, size_t name_len);
void lp_api_delete(struct lp_worker *worker, h2o_req_t *req, const char *name, size_t name_len);
void lp_api_patterns(struct lp_worker *worker, h2o_req_t *req, const char *name, size_t name_len);
void lp_api_detected_labels(struct lp_worker *worker, h2o_req_t *req, const char *name, size_t name_len);
void lp_api_detected_fields(struct lp_worker *worker, h2o_req_t *req, const char *name, size_t name_len);
void lp_api_detected_values(struct lp_worker *worker, h2o_req_t *req, const char *name, size_t name_len);
void lp_api_drilldown_limits(struct lp_worker *worker, h2o_req_t *req, const char *name, size_t name_len);
void lp_api_tenant_limits(struct lp_worker *worker, h2o_req_t *req, const char *name, size_t name_len);

/* status.c */
void lp_status_tick(struct lp_worker *worker, int64_t now_ns);
bool lp_status_pending(const struct lp_worker *worker);
const char *lp_status_not_ready(const struct lp_worker *worker);        /* NULL when pushes and queries are served */
void lp_status_root(struct lp_worker *worker, h2o_req_t *req, const char *name, size_t name_len);
void lp_status_health(struct lp_worker *worker, h2o_req_t *req, const char *name, size_t name_len);
void lp_status_ready(struct lp_worker *worker, h2o_req_t *req, const char *name, size_t name_len);
void lp_status_buildinfo(struct lp_worker *worker, h2o_req_t *req, const char *name, size_t name_len);
void lp_status_services(struct lp_worker *worker, h2o_req_t *req, const char *name, size_t name_len);
void lp_status_log_level(struct lp_worker *worker, h2o_req_t *req, const char *name, size_t name_len);
void lp_status_config(struct lp_worker *worker, h2o_req_t *req, const char *name, size_t name_len);
void lp_status_flush(struct lp_worker *worker, h2o_req_t *req, const char *name, size_t name_len);
/* ratelimit.c */
void lp_ratelimit_load(struct lp_worker *worker);       /* the configuration is new */
void lp_ratelimit_close(struct lp_worker *worker);
#define LP_RATE_AUTHORIZED 1u           /* the request has a valid key */
#define LP_RATE_EXEMPT 2u               /* a probe: never limited */
#define LP_RATE_PUSH 4u                 /* what is refused is lost log data unless it is sent again */
/* False: it has answered. */
bool lp_ratelimit_pass(struct lp_worker *worker, h2o_req_t *req, unsigned flags);
/* Of the client, behind trusted proxies as well. */
struct lp_addr lp_client_address(const struct lp_worker *worker, const h2o_req_t *req);

/* tracing.c */
void lp_tracing_load(struct lp_worker *worker);
void lp_tracing_begin(struct lp_worker *worker, struct lp_conn *conn, const h2o_req_t *req);
void lp_tracing_end(struct lp_worker *worker, struct lp_conn *conn, const h2o_req_t *req);
/* NULL when the request is not traced. */
const struct lp_trace *lp_request_trace(const h2o_req_t *req);
/* A push was answered after its commit; times are monotonic. */
void lp_tracing_push(struct lp_worker *worker, const h2o_req_t *req, int64_t started_ns, int64_t published_ns, int64_t lines,
		     int64_t bytes);
/* A live tail from the upgrade to its end. */
struct lp_tail_trace {
	struct lp_trace trace;          /* of the request */
	int64_t started_ns;             /* monotonic */
	uint64_t sent, dropped;         /* lines */
	bool error;
};
void lp_tracing_tail(struct lp_worker *worker, const struct lp_tail_trace *tail, const char *route);

/* k8s.c */
struct lp_prom;
int lp_k8s_open(struct lp_worker *worker);
void lp_k8s_close(struct lp_worker *worker);
void lp_k8s_pushed(struct lp_worker *worker, const struct lp_batch *batch);
void lp_k8s_write(struct lp_worker *worker, const struct lp_prom *prom);

/* metricstream.c */
void lp_metricstream_open(struct lp_worker *worker);
void lp_metricstream_close(struct lp_worker *worker);
void lp_metricstream_revoke(struct lp_worker *worker);  /* end all of them */
void lp_metricstream_tick(struct lp_worker *worker, int64_t now_ns);
bool lp_metricstream_pending(const struct lp_worker *worker);
void lp_metricstream_start(struct lp_worker *worker, h2o_req_t *req, const char *name, size_t name_len);

/* route.c: the path of a route as in the table, its methods; NULL for a number that no route has. */
const char *lp_route_path(uint32_t route, unsigned *ret_methods);

/* metrics.c */
void lp_metrics_write(struct lp_worker *worker, struct lp_buf *out, bool openmetrics);
void lp_status_metrics(struct lp_worker *worker, h2o_req_t *req, const char *name, size_t name_len);

/* rulesapi.c, alertsapi.c */
void lp_rules_ruler(struct lp_worker *worker, h2o_req_t *req, const char *rest, size_t rest_len);
void lp_rules_prom_rules(struct lp_worker *worker, h2o_req_t *req, const char *name, size_t name_len);
void lp_rules_prom_alerts(struct lp_worker *worker, h2o_req_t *req, const char *name, size_t name_len);
void lp_rules_metrics(struct lp_worker *worker, struct lp_buf *out);    /* series of recording rules */
void lp_rules_alerts(struct lp_worker *worker, h2o_req_t *req, const char *name, size_t name_len);
void lp_rules_alert(struct lp_worker *worker, h2o_req_t *req, const char *name, size_t name_len);
void lp_rules_alert_status(struct lp_worker *worker, h2o_req_t *req, const char *name, size_t name_len);

#endif
