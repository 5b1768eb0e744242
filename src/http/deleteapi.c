/* /loki/api/v1/delete: POST and PUT take a delete request, GET lists the tenant's, DELETE cancels one.
 * Guarantees: parameters are refused with Loki's status and text before anything is stored; every attempt at a change is logged with its tenant.
 * Process: worker, event loop; the work is done on the engine's threads (query/delete_requests.c). */
#include "http/queryapi.h"

#include "common/clock.h"
#include "common/log.h"
#include "http/match.h"

#include <errno.h>
#include <string.h>

static int add_params(const struct lp_worker *worker, const struct lp_form *form, struct lp_query_params *params, struct lp_buf *error)
{
	const struct lp_param *start = lp_form_get(form, "start"), *end = lp_form_get(form, "end"), *query = lp_form_get(form, "query");
	int64_t now = lp_clock_real_ns(), ignored;
	struct lp_buf reason = LP_BUF_INIT;
	const char *text = NULL;

	lp_api_set_text(params, query);
	if (!params->text_len)
		text = "query not set";
	else if (params->text_len > (size_t)lp_worker_conf(worker)->limits.max_query_text)
		text = "invalid query expression: longer than limits.max_query_text";
	else if (!start || !start->value_len)
		text = "start time not set";
	else if (lp_param_time(start, 0, &params->start_ns, &reason) < 0)
		text = "invalid start time: require unix seconds or RFC3339 format";
	else if (lp_param_time(end, now, &params->end_ns, &reason) < 0)
		text = "invalid end time: require unix seconds or RFC3339 format";
	else if (params->end_ns > now)
		text = "deletes in the future are not allowed";
	else if (params->start_ns > params->end_ns)
		text = "start time can't be greater than end time";
	else if (lp_param_seconds(lp_form_get(form, "max_interval"), 0, &ignored, &reason) < 0)
		text = "invalid max_interval: valid time units are 's', 'm', 'h'";
	lp_buf_free(&reason);
	if (text)
		lp_buf_str(error, text);
	return text ? -EINVAL : 0;
}

static int cancel_params(const struct lp_worker *worker, const struct lp_form *form, struct lp_query_params *params, struct lp_buf *error)
{
	const struct lp_param *id = lp_form_get(form, "request_id"), *force = lp_form_get(form, "force");

	if (!id || !id->value_len) {
		lp_buf_str(error, "request_id not set");
		return -EINVAL;
	}
	params->label = id->value;
	params->label_len = id->value_len;
	params->not_before_ns = lp_clock_real_ns() - lp_worker_conf(worker)->compactor.delete_request_cancel_period * LP_NS_PER_MS;
	if (force && strcmp(force->value, "true") == 0)
		params->not_before_ns = INT64_MIN;
	return 0;
}

static int list_params(const struct lp_worker *worker, const struct lp_form *form, struct lp_query_params *params, struct lp_buf *error)
{
	(void)worker;
	(void)form;
	(void)params;
	(void)error;
	return 0;
}

void lp_api_delete(struct lp_worker *worker, h2o_req_t *req, const char *name, size_t name_len)
{
	struct lp_query_params params = { .kind = LP_QUERY_DELETE_LIST };
	unsigned method = lp_method_parse(req->method.base, req->method.len);
	lp_api_read *read = list_params;
	h2o_iovec_t tenant;

	if (!lp_tenant(worker, req, &tenant))
		return;                 /* several tenants are none here */
	if (lp_worker_conf(worker)->limits.deletion_mode == LP_DELETION_DISABLED) {
		lp_reply_text(req, 403, "deletion is not available for this tenant");
		return;
	}
	if (method & (LP_METHOD_POST | LP_METHOD_PUT)) {
		params.kind = LP_QUERY_DELETE_ADD;
		read = add_params;
	} else if (method == LP_METHOD_DELETE) {
		params.kind = LP_QUERY_DELETE_CANCEL;
		read = cancel_params;
	}
	/* Not the query: what somebody wants deleted may be a secret.  The list has it. */
	if (params.kind != LP_QUERY_DELETE_LIST)
		lp_log(LP_INFO, "delete requests: %s tenant=\"%.*s\"", params.kind == LP_QUERY_DELETE_ADD ? "one more" : "one is cancelled",
		       (int)tenant.len, tenant.base);
	lp_api_run(worker, req, &params, read, "delete");
}
