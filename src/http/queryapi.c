/* The query routes: parameters in, a submitted query out.  Guarantees: a parameter that Loki refuses is refused with Loki's
 * status and text before anything is scanned.  Process: worker, event loop; keeps nothing between requests. */
#include "http/queryapi.h"

#include "common/clock.h"
#include "common/jsonw.h"
#include "common/rfc3339.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

#define MAX_MATCHES 256
#define NO_QUERY "parse error : syntax error: unexpected $end"
#define END_BEFORE_START "end timestamp must not be before or equal to start time"

void lp_api_run(struct lp_worker *worker, h2o_req_t *req, struct lp_query_params *params, lp_api_read *read, const char *route)
{
	struct lp_buf error = LP_BUF_INIT;
	struct lp_form form = LP_FORM_INIT;

	if (lp_request_form(worker, req, &form) < 0)
		return;
	if (read(worker, &form, params, &error) < 0)
		lp_reply_text(req, 400, lp_buf_cstr(&error));
	else
		lp_query_start(worker, req, params, (struct lp_job_options){ .route = route });
	lp_buf_free(&error);
	lp_form_free(&form);
}

void lp_api_set_text(struct lp_query_params *params, const struct lp_param *p)
{
	if (!p)
		return;
	params->text = p->value;
	params->text_len = p->value_len;
}

int lp_api_check_text(const struct lp_worker *worker, const struct lp_query_params *params, struct lp_buf *error)
{
	size_t max = (size_t)lp_worker_conf(worker)->limits.max_query_text;

	if (params->text_len == 0) {
		lp_buf_str(error, NO_QUERY);
		return -EINVAL;
	}
	if (params->text_len > max) {
		lp_buf_printf(error, "parse error : input size too long (%zu > %zu)", params->text_len, max);
		return -EINVAL;
	}
	return 0;
}

int lp_api_check_entries_limit(const struct lp_worker *worker, const struct lp_query_params *params, struct lp_buf *error)
{
	int64_t max = lp_worker_conf(worker)->limits.max_entries_limit_per_query;

	if (params->limit <= max || !lp_is_log_query(params->text, params->text_len))
		return 0;
	lp_buf_printf(error, "max entries limit per query exceeded, limit > max_entries_limit_per_query (%u > %lld)", params->limit,
		      (long long)max);
	return -EINVAL;
}

static int check_length(int64_t length_ns, int64_t max_ms, struct lp_buf *error)
{
	if (max_ms == 0 || length_ns <= max_ms * LP_NS_PER_MS)
		return 0;
	lp_buf_str(error, "the query time range exceeds the limit (query length: ");
	lp_go_duration_print(error, length_ns);
	lp_buf_str(error, ", limit: ");
	lp_prom_duration_print(error, max_ms * LP_NS_PER_MS);
	lp_buf_byte(error, ')');
	return -EINVAL;
}

static int64_t length_of(int64_t start_ns, int64_t end_ns)
{
	int64_t length;

	return __builtin_sub_overflow(end_ns, start_ns, &length) ? INT64_MAX : length;
}

/* ---- Loki's routes ------------------------------------------------------------------------------ */

/* Grafana asks for labels in three boxes; other flags of that header are not known and mean nothing. */
bool lp_api_wants_categories(h2o_req_t *req)
{
	static const char flag[] = "categorize-labels";
	h2o_iovec_t v = lp_request_header(req, "x-loki-response-encoding-flags");

	return v.len >= sizeof flag - 1 && memmem(v.base, v.len, flag, sizeof flag - 1) != NULL;
}

/* Logs Drilldown, which says so in its tags (key=value, ...), wants what fits instead of an error at the limit of series. */
static bool is_drilldown(h2o_req_t *req)
{
	static const char wanted[] = "source=grafana-lokiexplore-app";
	h2o_iovec_t v = lp_request_header(req, "x-query-tags");
	const char *s = v.base, *end = v.base ? v.base + v.len : NULL;

	while (s < end) {
		const char *comma = memchr(s, ',', (size_t)(end - s)), *stop = comma ? comma : end;

		while (s < stop && *s == ' ')
			s++;
		for (const char *next = stop; next > s && next[-1] == ' ';)
			stop = --next;
		if ((size_t)(stop - s) == sizeof wanted - 1 && strncasecmp(s, wanted, sizeof wanted - 1) == 0)
			return true;
		s = comma ? comma + 1 : end;
	}
	return false;
}

static int range_params(const struct lp_worker *worker, const struct lp_form *form, struct lp_query_params *params,
			struct lp_buf *error)
{
	struct lp_range_args args;
	int r;

	r = lp_param_range(form, lp_clock_real_ns(), &args, error);
	if (r < 0)
		return r;
	lp_api_set_text(params, lp_form_get(form, "query"));
	params->start_ns = args.start_ns;
	params->end_ns = args.end_ns;
	params->step_ns = args.step_ns;
	params->interval_ns = args.interval_ns;
	params->limit = args.limit;
	params->forward = args.forward;
	r = lp_api_check_text(worker, params, error);
	if (r == 0)
		r = lp_api_check_entries_limit(worker, params, error);
	if (r == 0)
		r = check_length(length_of(args.start_ns, args.end_ns), lp_worker_conf(worker)->limits.max_query_length, error);
	return r;
}

void lp_api_query_range(struct lp_worker *worker, h2o_req_t *req, const char *name, size_t name_len)
{
	struct lp_query_params params = { .kind = LP_QUERY_RANGE, .categorize = lp_api_wants_categories(req), .partial = is_drilldown(req) };

	lp_api_run(worker, req, &params, range_params, "query_range");
}

static int instant_params(const struct lp_worker *worker, const struct lp_form *form, struct lp_query_params *params,
			  struct lp_buf *error)
{
	int r;

	r = lp_param_limit(form, "limit", 100, &params->limit, error);
	if (r < 0)
		return r;
	r = lp_param_time(lp_form_get(form, "time"), lp_clock_real_ns(), &params->end_ns, error);
	if (r < 0)
		return r;
	params->start_ns = params->end_ns;
	r = lp_param_direction(form, &params->forward, error);
	if (r < 0)
		return r;
	lp_api_set_text(params, lp_form_get(form, "query"));
	return lp_api_check_text(worker, params, error);
}

void lp_api_query(struct lp_worker *worker, h2o_req_t *req, const char *name, size_t name_len)
{
	struct lp_query_params params = { .kind = LP_QUERY_INSTANT, .partial = is_drilldown(req) };

	lp_api_run(worker, req, &params, instant_params, "query");
}

int lp_api_meta_params(const struct lp_worker *worker, const struct lp_form *form, struct lp_query_params *params,
		       struct lp_buf *error)
{
	int r = lp_param_bounds(form, lp_clock_real_ns(), &params->start_ns, &params->end_ns, error);

	if (r < 0)
		return r;
	/* Label names and values look back six hours, as Loki's documentation says. */
	if ((params->kind == LP_QUERY_LABELS || params->kind == LP_QUERY_LABEL_VALUES) && !lp_form_get(form, "start") &&
	    !lp_form_get(form, "since") && __builtin_sub_overflow(params->start_ns, INT64_C(5) * 3600 * LP_NS_PER_SEC, &params->start_ns))
		params->start_ns = INT64_MIN;
	if (params->end_ns < params->start_ns) {
		lp_buf_str(error, END_BEFORE_START);
		return -EINVAL;
	}
	lp_api_set_text(params, lp_form_get(form, "query"));
	if (params->text_len == 0)
		params->text = NULL;
	return params->text ? lp_api_check_text(worker, params, error) : 0;
}

int lp_api_selector_params(const struct lp_worker *worker, const struct lp_form *form, struct lp_query_params *params, struct lp_buf *error)
{
	int r = lp_api_meta_params(worker, form, params, error);

	return r < 0 ? r : lp_api_check_text(worker, params, error);
}

void lp_api_labels(struct lp_worker *worker, h2o_req_t *req, const char *name, size_t name_len)
{
	struct lp_query_params params = { .kind = LP_QUERY_LABELS };

	lp_api_run(worker, req, &params, lp_api_meta_params, "labels");
}

void lp_api_values(struct lp_worker *worker, h2o_req_t *req, const char *name, size_t name_len)
{
	h2o_iovec_t label = lp_request_name(req, name, name_len);
	struct lp_query_params params = { .kind = LP_QUERY_LABEL_VALUES, .label = label.base, .label_len = label.len };

	lp_api_run(worker, req, &params, lp_api_meta_params, "label_values");
}

void lp_api_index_stats(struct lp_worker *worker, h2o_req_t *req, const char *name, size_t name_len)
{
	struct lp_query_params params = { .kind = LP_QUERY_INDEX_STATS };

	lp_api_run(worker, req, &params, lp_api_selector_params, "index_stats");
}

void lp_api_index_shards(struct lp_worker *worker, h2o_req_t *req, const char *name, size_t name_len)
{
	struct lp_query_params params = { .kind = LP_QUERY_INDEX_STATS, .shards = true };

	lp_api_run(worker, req, &params, lp_api_selector_params, "index_shards");
}

struct series {
	struct lp_query_params params;          /* first: what the reader is given */
	const char *matches[MAX_MATCHES];
	size_t lens[MAX_MATCHES];
};

/* match[] and match, each as often as wanted; 0 or an error text. */
static int collect_matches(const struct lp_worker *worker, const struct lp_form *form, const char **matches, size_t *lens,
			   uint32_t *ret_n, struct lp_buf *error)
{
	uint32_t n = 0;

	for (size_t i = 0; i < form->n; i++) {
		const struct lp_param *p = &form->v[i];
		struct lp_query_params one = { .text = p->value, .text_len = p->value_len };

		if (strcmp(p->name, "match[]") != 0 && strcmp(p->name, "match") != 0)
			continue;
		if (n == MAX_MATCHES) {
			lp_buf_printf(error, "too many match[] parameters: more than %u", MAX_MATCHES);
			return -EINVAL;
		}
		if (lp_api_check_text(worker, &one, error) < 0)
			return -EINVAL;
		matches[n] = p->value;
		lens[n++] = p->value_len;
	}
	*ret_n = n;
	return 0;
}

static int series_params(const struct lp_worker *worker, const struct lp_form *form, struct lp_query_params *params, struct lp_buf *error)
{
	struct series *series = (struct series *)params;
	int r = lp_param_bounds(form, lp_clock_real_ns(), &params->start_ns, &params->end_ns, error);

	if (r == 0)
		r = collect_matches(worker, form, series->matches, series->lens, &params->n_matches, error);
	if (r < 0 || params->end_ns >= params->start_ns)
		return r;
	lp_buf_str(error, END_BEFORE_START);
	return -EINVAL;
}

void lp_api_series(struct lp_worker *worker, h2o_req_t *req, const char *name, size_t name_len)
{
	struct series series;

	series.params = (struct lp_query_params){ .kind = LP_QUERY_SERIES, .matches = series.matches, .match_lens = series.lens };
	lp_api_run(worker, req, &series.params, series_params, "series");
}

/* ---- the original API --------------------------------------------------------------------------- */

/* Errors that the dashboard tells apart by their code. */
static void bad_original(h2o_req_t *req, struct lp_form *form, const char *code, const char *text)
{
	struct lp_buf json = LP_BUF_INIT;

	lp_buf_str(&json, "{\"error\":");
	lp_jsonw_cstr(&json, text);
	lp_buf_printf(&json, ",\"code\":\"%s\"}", code);
	lp_header(req, "x-content-type-options", "nosniff");
	lp_reply_buf(req, 400, LP_JSON, &json);
	lp_form_free(form);
}

/* RFC 3339 as the API says; Unix times as everywhere else here. */
static int original_time(const struct lp_form *form, const char *name, int64_t def, int64_t *ret)
{
	struct lp_buf ignored = { .max = 1 };
	int r = lp_param_time(lp_form_get(form, name), def, ret, &ignored);

	lp_buf_free(&ignored);
	return r;
}

/* A bad limit is the default one, one above the maximum is the maximum (the original server did so). */
static uint32_t original_limit(const struct lp_conf *conf, const struct lp_form *form)
{
	struct lp_buf ignored = { .max = 1 };
	uint32_t limit;

	if (lp_param_limit(form, "limit", (uint32_t)conf->query.default_limit, &limit, &ignored) < 0)
		limit = (uint32_t)conf->query.default_limit;
	lp_buf_free(&ignored);
	return limit < conf->query.max_limit ? limit : (uint32_t)conf->query.max_limit;
}

void lp_api_original_query(struct lp_worker *worker, h2o_req_t *req, const char *name, size_t name_len)
{
	const struct lp_conf *conf = lp_worker_conf(worker);
	struct lp_query_params params = { .kind = LP_QUERY_ORIGINAL, .original_shape = true };
	struct lp_job_options options = { .original = true, .route = "original_query" };
	struct lp_form form = LP_FORM_INIT;
	struct lp_buf error = LP_BUF_INIT;
	const struct lp_param *query;

	if (lp_request_form(worker, req, &form) < 0)
		return;
	query = lp_form_get(&form, "query");
	params.limit = original_limit(conf, &form);
	lp_api_set_text(&params, query);
	if (!query)
		bad_original(req, &form, "VALIDATION_ERROR", "Query parameter is required");
	else if (original_time(&form, "end", lp_clock_real_ns(), &params.end_ns) < 0)
		bad_original(req, &form, "INVALID_TIME_RANGE", "Invalid end time format");
	else if (original_time(&form, "start", params.end_ns - INT64_C(3600) * LP_NS_PER_SEC, &params.start_ns) < 0)
		bad_original(req, &form, "INVALID_TIME_RANGE", "Invalid start time format");
	else if (params.end_ns < params.start_ns)
		bad_original(req, &form, "INVALID_TIME_RANGE", "Query error: end time is before start time");
	else if (check_length(length_of(params.start_ns, params.end_ns), conf->query.max_time_range, &error) < 0)
		bad_original(req, &form, "INVALID_TIME_RANGE", lp_buf_cstr(&error));
	else if (params.text_len > 0 && lp_api_check_text(worker, &params, &error) < 0)
		bad_original(req, &form, "BAD_QUERY", lp_buf_cstr(&error));
	else
		lp_query_start(worker, req, &params, options);
	lp_buf_free(&error);
	lp_form_free(&form);
}

static void original_meta(struct lp_worker *worker, h2o_req_t *req, struct lp_query_params *params, const char *route)
{
	struct lp_job_options options = { .original = true, .route = route };

	params->original_shape = true;
	params->start_ns = 0;           /* these routes know no time range: everything that is stored */
	params->end_ns = INT64_MAX;
	lp_query_start(worker, req, params, options);
}

void lp_api_original_labels(struct lp_worker *worker, h2o_req_t *req, const char *name, size_t name_len)
{
	struct lp_query_params params = { .kind = LP_QUERY_LABELS };

	original_meta(worker, req, &params, "original_labels");
}

void lp_api_original_values(struct lp_worker *worker, h2o_req_t *req, const char *name, size_t name_len)
{
	struct lp_query_params params = { .kind = LP_QUERY_LABEL_VALUES };
	h2o_iovec_t label = lp_request_name(req, name, name_len);

	params.label = label.base;
	params.label_len = label.len;
	original_meta(worker, req, &params, "original_values");
}
