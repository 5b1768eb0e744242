/* Routes that Grafana asks besides queries: format_query, index/volume, patterns, detected labels and fields, limits, services.
 * Guarantees: a parameter that Loki refuses is refused with its status and text.  Process: worker, event loop; keeps nothing. */
#include "http/queryapi.h"

#include "common/clock.h"
#include "common/jsonw.h"
#include "config.h"
#include "query/logql/ast.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

#define MAX_TARGETS 64
#define DEFAULT_VOLUME_LIMIT 100
#define DEFAULT_LINE_LIMIT 100
#define DEFAULT_FIELD_LIMIT 1000
#define MIN_PATTERN_STEP (10 * LP_NS_PER_SEC)

/* ---- format_query ------------------------------------------------------------------------------- */

static void reply_format(h2o_req_t *req, int status, const char *state, const char *member, const struct lp_buf *text)
{
	struct lp_buf out = LP_BUF_INIT;

	lp_buf_printf(&out, "{\"status\":\"%s\",\"%s\":", state, member);
	lp_jsonw_str(&out, text->data, text->len);
	lp_buf_byte(&out, '}');
	lp_reply_buf(req, status, LP_JSON, &out);
}

void lp_api_format_query(struct lp_worker *worker, h2o_req_t *req, const char *name, size_t name_len)
{
	struct lp_query_params params = { .kind = LP_QUERY_RANGE };
	struct lp_buf text = LP_BUF_INIT, error = LP_BUF_INIT;
	struct lp_form form = LP_FORM_INIT;
	struct lp_logql *query = NULL;
	int r;

	if (lp_request_form(worker, req, &form) < 0)
		return;
	lp_api_set_text(&params, lp_form_get(&form, "query"));
	r = lp_api_check_text(worker, &params, &error);
	if (r == 0)
		r = lp_logql_parse(params.text, params.text_len, &query, &error);
	if (r == 0)
		lp_logql_format(query->root, &text);
	if (r == -ENOMEM || text.failed)
		lp_reply_text(req, 500, "out of memory");
	else if (r < 0)
		reply_format(req, 400, "invalid-query", "error", &error);
	else
		reply_format(req, 200, "success", "data", &text);
	lp_logql_free(&query);
	lp_buf_free(&text);
	lp_buf_free(&error);
	lp_form_free(&form);
}

/* ---- volume ------------------------------------------------------------------------------------- */

/* 0 means the default here. */
static int volume_limit(const struct lp_form *form, uint32_t *ret_limit, struct lp_buf *error)
{
	const struct lp_param *p = lp_form_get(form, "limit");

	if (p && p->value_len == 1 && p->value[0] == '0') {
		*ret_limit = DEFAULT_VOLUME_LIMIT;
		return 0;
	}
	return lp_param_limit(form, "limit", DEFAULT_VOLUME_LIMIT, ret_limit, error);
}

static int volume_targets(const struct lp_form *form, const char **targets, size_t *lens, uint32_t *ret_n, struct lp_buf *error)
{
	const struct lp_param *p = lp_form_get(form, "targetLabels");
	const char *s = p ? p->value : "", *end = p ? s + p->value_len : s;
	uint32_t n = 0;

	while (s < end) {
		const char *comma = memchr(s, ',', (size_t)(end - s)), *stop = comma ? comma : end;

		if (n == MAX_TARGETS) {
			lp_buf_printf(error, "too many targetLabels: more than %d", MAX_TARGETS);
			return -EINVAL;
		}
		if (stop > s) {
			targets[n] = s;
			lens[n++] = (size_t)(stop - s);
		}
		s = stop + 1;
	}
	*ret_n = n;
	return 0;
}

static int volume_aggregate(const struct lp_form *form, bool *ret_by_labels, struct lp_buf *error)
{
	const struct lp_param *p = lp_form_get(form, "aggregateBy");

	*ret_by_labels = p && strcmp(p->value, "labels") == 0;
	if (!p || p->value_len == 0 || *ret_by_labels || strcmp(p->value, "series") == 0)
		return 0;
	lp_buf_str(error, "invalid aggregateBy option");
	return -EINVAL;
}

struct volume {
	struct lp_query_params params;          /* first: what the reader is given */
	const char *targets[MAX_TARGETS];
	size_t lens[MAX_TARGETS];
};

static int volume_params(const struct lp_worker *worker, const struct lp_form *form, struct lp_query_params *params, struct lp_buf *error)
{
	struct volume *volume = (struct volume *)params;
	int r = lp_api_selector_params(worker, form, params, error);

	if (r == 0)
		r = volume_limit(form, &params->limit, error);
	if (r == 0 && params->kind == LP_QUERY_VOLUME_RANGE)
		r = lp_param_step(form, params->start_ns, params->end_ns, &params->step_ns, error);
	if (r == 0)
		r = volume_targets(form, volume->targets, volume->lens, &params->n_matches, error);
	return r < 0 ? r : volume_aggregate(form, &params->by_labels, error);
}

static void volume(struct lp_worker *worker, h2o_req_t *req, enum lp_query_kind kind, const char *route)
{
	struct volume volume;

	if (!lp_worker_conf(worker)->limits.volume_enabled) {
		lp_reply_text(req, 404, "not found");
		return;
	}
	volume.params = (struct lp_query_params){ .kind = kind, .matches = volume.targets, .match_lens = volume.lens };
	lp_api_run(worker, req, &volume.params, volume_params, route);
}

void lp_api_volume(struct lp_worker *worker, h2o_req_t *req, const char *name, size_t name_len)
{
	volume(worker, req, LP_QUERY_VOLUME, "volume");
}

void lp_api_volume_range(struct lp_worker *worker, h2o_req_t *req, const char *name, size_t name_len)
{
	volume(worker, req, LP_QUERY_VOLUME_RANGE, "volume_range");
}

/* ---- patterns ----------------------------------------------------------------------------------- */

static int patterns_params(const struct lp_worker *worker, const struct lp_form *form, struct lp_query_params *params, struct lp_buf *error)
{
	int r = lp_api_selector_params(worker, form, params, error);

	if (r == 0)
		r = lp_param_step(form, params->start_ns, params->end_ns, &params->step_ns, error);
	/* Loki keeps patterns in steps of ten seconds: no answer is finer. */
	if (r == 0 && params->step_ns < MIN_PATTERN_STEP)
		params->step_ns = MIN_PATTERN_STEP;
	return r;
}

void lp_api_patterns(struct lp_worker *worker, h2o_req_t *req, const char *name, size_t name_len)
{
	struct lp_query_params params = { .kind = LP_QUERY_PATTERNS, .limit = 1 };      /* not a number of lines: those are sampled */

	lp_api_run(worker, req, &params, patterns_params, "patterns");
}

/* ---- detected ----------------------------------------------------------------------------------- */

void lp_api_detected_labels(struct lp_worker *worker, h2o_req_t *req, const char *name, size_t name_len)
{
	struct lp_query_params params = { .kind = LP_QUERY_DETECTED_LABELS };

	lp_api_run(worker, req, &params, lp_api_meta_params, "detected_labels");
}

static int fields_params(const struct lp_worker *worker, const struct lp_form *form, struct lp_query_params *params, struct lp_buf *error)
{
	int64_t step;
	int r = lp_api_selector_params(worker, form, params, error);

	if (r == 0)
		r = lp_param_limit(form, "line_limit", DEFAULT_LINE_LIMIT, &params->limit, error);
	if (r == 0)
		r = lp_param_limit(form, lp_form_get(form, "limit") ? "limit" : "field_limit", DEFAULT_FIELD_LIMIT, &params->field_limit, error);
	if (r == 0)
		r = lp_param_step(form, params->start_ns, params->end_ns, &step, error);        /* means nothing, but is checked */
	return r < 0 ? r : lp_api_check_entries_limit(worker, params, error);
}

void lp_api_detected_fields(struct lp_worker *worker, h2o_req_t *req, const char *name, size_t name_len)
{
	struct lp_query_params params = { .kind = LP_QUERY_DETECTED_FIELDS };

	lp_api_run(worker, req, &params, fields_params, "detected_fields");
}

void lp_api_detected_values(struct lp_worker *worker, h2o_req_t *req, const char *name, size_t name_len)
{
	h2o_iovec_t field = lp_request_name(req, name, name_len);
	struct lp_query_params params = { .kind = LP_QUERY_DETECTED_FIELDS, .label = field.base, .label_len = field.len };

	lp_api_run(worker, req, &params, fields_params, "detected_field_values");
}

/* ---- limits ------------------------------------------------------------------------------------- */

static void json_list(struct lp_buf *out, const struct lp_conf_list *list)
{
	lp_buf_byte(out, '[');
	for (size_t i = 0; i < list->n; i++) {
		if (i)
			lp_buf_byte(out, ',');
		lp_jsonw_cstr(out, list->items[i]);
	}
	lp_buf_byte(out, ']');
}

static void json_duration(struct lp_buf *out, const char *member, int64_t ms)
{
	lp_buf_printf(out, "\"%s\":\"", member);
	lp_prom_duration_print(out, ms * LP_NS_PER_MS);
	lp_buf_str(out, "\",");
}

static const char *truth(bool b)
{
	return b ? "true" : "false";
}

/* Limits under Loki's names, those that mean something here.  What is not limited is 0, as there. */
void lp_api_drilldown_limits(struct lp_worker *worker, h2o_req_t *req, const char *name, size_t name_len)
{
	const struct lp_conf *conf = lp_worker_conf(worker);
	struct lp_buf out = LP_BUF_INIT;

	lp_buf_printf(&out, "{\"limits\":{\"discover_log_levels\":%s,\"discover_service_name\":", truth(conf->limits.discover_log_levels));
	json_list(&out, &conf->limits.discover_service_name);
	lp_buf_str(&out, ",\"log_level_fields\":");
	json_list(&out, &conf->limits.log_level_fields);
	lp_buf_printf(&out, ",\"max_entries_limit_per_query\":%lld,\"max_line_size_truncate\":%s,\"max_query_bytes_read\":\"%lldB\",",
		      (long long)conf->limits.max_entries_limit_per_query, truth(conf->limits.max_line_size_truncate),
		      (long long)conf->limits.max_query_bytes_read);
	json_duration(&out, "max_query_length", conf->limits.max_query_length);
	json_duration(&out, "max_query_lookback", conf->limits.max_query_lookback);
	json_duration(&out, "max_query_range", conf->limits.max_query_range);
	lp_buf_printf(&out, "\"max_query_series\":%lld,\"metric_aggregation_enabled\":false,\"otlp_config\":{},\"pattern_persistence_enabled\":false,",
		      (long long)conf->limits.max_query_series);
	json_duration(&out, "query_timeout", conf->limits.query_timeout);
	json_duration(&out, "retention_period", conf->storage.retention_days * (LP_NS_PER_DAY / LP_NS_PER_MS));
	lp_buf_printf(&out, "\"volume_enabled\":%s,\"volume_max_series\":%lld},\"pattern_ingester_enabled\":true,\"version\":\"" PACKAGE_VERSION
		      "\"}", truth(conf->limits.volume_enabled), (long long)conf->limits.volume_max_series);
	lp_reply_buf(req, 200, LP_JSON, &out);
}

static void yaml_duration(struct lp_buf *out, const char *member, int64_t ms)
{
	lp_buf_printf(out, "%s: ", member);
	lp_prom_duration_print(out, ms * LP_NS_PER_MS);
	lp_buf_byte(out, '\n');
}

/* What of the section `limits` is a number, a truth or a time; sizes are plain bytes. */
enum limit_kind { NUMBER, BYTES, TRUTH, TIME };
#define LIMIT(kind, field) { #field, kind, offsetof(struct lp_conf, limits.field) }

static const struct limit {
	const char *name;
	enum limit_kind kind;
	size_t offset;
} tenant_limits[] = {
	LIMIT(NUMBER, max_line_size), LIMIT(TRUTH, max_line_size_truncate), LIMIT(NUMBER, max_label_names_per_series),
	LIMIT(NUMBER, max_label_name_length), LIMIT(NUMBER, max_label_value_length), LIMIT(NUMBER, max_structured_metadata_size),
	LIMIT(NUMBER, max_structured_metadata_entries_count), LIMIT(NUMBER, max_global_streams_per_user), LIMIT(NUMBER, ingestion_rate_mb),
	LIMIT(NUMBER, ingestion_burst_size_mb), LIMIT(BYTES, per_stream_rate_limit), LIMIT(BYTES, per_stream_rate_limit_burst),
	LIMIT(TRUTH, reject_old_samples), LIMIT(TIME, reject_old_samples_max_age), LIMIT(TIME, creation_grace_period),
	LIMIT(NUMBER, max_entries_limit_per_query), LIMIT(NUMBER, max_query_series), LIMIT(BYTES, max_query_bytes_read),
	LIMIT(NUMBER, max_streams_matchers_per_query), LIMIT(TIME, max_query_length), LIMIT(TIME, max_query_lookback), LIMIT(TIME, max_query_range),
	LIMIT(TIME, query_timeout), LIMIT(TIME, split_instant_metric_queries_by_interval), LIMIT(TRUTH, volume_enabled),
	LIMIT(NUMBER, volume_max_series), LIMIT(TRUTH, discover_log_levels),
};

static void yaml_limit(struct lp_buf *out, const struct lp_conf *conf, const struct limit *limit)
{
	const void *at = (const char *)conf + limit->offset;

	if (limit->kind == TIME)
		yaml_duration(out, limit->name, *(const int64_t *)at);
	else if (limit->kind == TRUTH)
		lp_buf_printf(out, "%s: %s\n", limit->name, truth(*(const bool *)at));
	else
		lp_buf_printf(out, "%s: %lld%s\n", limit->name, (long long)*(const int64_t *)at, limit->kind == BYTES ? "B" : "");
}

void lp_api_tenant_limits(struct lp_worker *worker, h2o_req_t *req, const char *name, size_t name_len)
{
	const struct lp_conf *conf = lp_worker_conf(worker);
	struct lp_buf out = LP_BUF_INIT;

	for (size_t i = 0; i < sizeof tenant_limits / sizeof *tenant_limits; i++)
		yaml_limit(&out, conf, &tenant_limits[i]);
	lp_buf_str(&out, "allow_structured_metadata: true\ndiscover_service_name: ");
	json_list(&out, &conf->limits.discover_service_name);
	lp_buf_str(&out, "\nlog_level_fields: ");
	json_list(&out, &conf->limits.log_level_fields);
	lp_buf_byte(&out, '\n');
	yaml_duration(&out, "retention_period", conf->storage.retention_days * (LP_NS_PER_DAY / LP_NS_PER_MS));
	lp_reply_buf(req, 200, LP_TEXT, &out);
}
