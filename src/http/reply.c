/* Answers in one piece.  Guarantees: Content-Length is set (but for 204, which has none), HEAD gets no body, error texts
 * carry nosniff.  Process: worker, event loop. */
#include "http/worker.h"

#include <string.h>

const char *lp_status_reason(int status)
{
	static const struct { int status; const char *reason; } known[] = {
		{ 200, "OK" }, { 204, "No Content" }, { 400, "Bad Request" }, { 401, "Unauthorized" }, { 403, "Forbidden" },
		{ 404, "Not Found" }, { 405, "Method Not Allowed" }, { 413, "Content Too Large" }, { 414, "URI Too Long" },
		{ 415, "Unsupported Media Type" }, { 422, "Unprocessable Content" }, { 429, "Too Many Requests" },
		{ 499, "Client Closed Request" }, { 500, "Internal Server Error" }, { 503, "Service Unavailable" },
		{ 504, "Gateway Timeout" }, { 507, "Insufficient Storage" },
	};

	for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
		if (known[i].status == status)
			return known[i].reason;
	return status < 400 ? "OK" : "Error";
}

bool lp_is_head(const h2o_req_t *req)
{
	return req->method.len == 4 && memcmp(req->method.base, "HEAD", 4) == 0;
}

void lp_header(h2o_req_t *req, const char *name, const char *value)
{
	h2o_add_header_by_str(&req->pool, &req->res.headers, name, strlen(name), 1, NULL, value, strlen(value));
}

h2o_iovec_t lp_request_header(const h2o_req_t *req, const char *lower_name)
{
	size_t len = strlen(lower_name);

	for (size_t i = 0; i < req->headers.size; i++) {
		const h2o_header_t *h = &req->headers.entries[i];

		if (h->name->len == len && memcmp(h->name->base, lower_name, len) == 0)
			return h->value;
	}
	return h2o_iovec_init(NULL, 0);
}

void lp_reply(h2o_req_t *req, int status, const char *content_type, const void *body, size_t len)
{
	static h2o_generator_t generator;
	h2o_iovec_t buf = h2o_strdup(&req->pool, body, len);

	req->res.status = status;
	req->res.reason = lp_status_reason(status);
	req->res.content_length = len;
	lp_header(req, "content-type", content_type);
	h2o_start_response(req, &generator);
	if (lp_is_head(req))
		h2o_send(req, NULL, 0, H2O_SEND_STATE_FINAL);
	else
		h2o_send(req, &buf, 1, H2O_SEND_STATE_FINAL);
}

void lp_reply_text(h2o_req_t *req, int status, const char *text)
{
	if (status >= 400)
		lp_header(req, "x-content-type-options", "nosniff");
	lp_reply(req, status, LP_TEXT, text, strlen(text));
}

void lp_reply_retry(h2o_req_t *req, int status, unsigned seconds, const char *text)
{
	char value[16];

	snprintf(value, sizeof value, "%u", seconds);
	lp_header(req, "retry-after", h2o_strdup(&req->pool, value, SIZE_MAX).base);
	lp_reply_text(req, status, text);
}

void lp_reply_buf(h2o_req_t *req, int status, const char *content_type, struct lp_buf *body)
{
	if (body->failed)
		lp_reply_text(req, 500, "out of memory");
	else
		lp_reply(req, status, content_type, body->data ? (const void *)body->data : "", body->len);
	lp_buf_free(body);
}

void lp_reply_empty(h2o_req_t *req, int status)
{
	static h2o_generator_t generator;

	req->res.status = status;
	req->res.reason = lp_status_reason(status);
	if (status != 204)
		req->res.content_length = 0;
	h2o_start_response(req, &generator);
	h2o_send(req, NULL, 0, H2O_SEND_STATE_FINAL);
}
