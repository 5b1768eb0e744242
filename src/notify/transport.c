/* HTTP exchanges of the notifier (see transport.h).
 *
 * Guarantees: an exchange ends by its timeout at the latest; the answer's body is thrown away and bounded; no text that is
 * handed out contains an address, a header or a body.
 * Process: notifier, main thread.  If it dies here, the other side may have got the request: senders repeat what was not
 * confirmed, under the same id. */
#include "notify/transport.h"

#include "notify/notify.h"
#include "config.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_ANSWER (64u << 10)          /* more of a body cuts the connection; the status is known by then */
#define MAX_RETRY_AFTER_S 3600

struct lp_transport {
	struct lp_notify_transfer transfer;     /* first: CURLOPT_PRIVATE points to it */
	CURLM *multi;
	CURL *easy;
	struct curl_slist *headers;
	size_t answer_bytes;
	lp_transport_done done;
	void *arg;
};

static size_t swallow(char *data, size_t size, size_t n, void *arg)
{
	struct lp_transport *transport = arg;

	(void)data;
	transport->answer_bytes += size * n;
	return transport->answer_bytes > MAX_ANSWER ? 0 : size * n;
}

static void destroy(struct lp_transport *transport)
{
	if (transport->easy)
		curl_easy_cleanup(transport->easy);
	curl_slist_free_all(transport->headers);
	free(transport);
}

static void finished(struct lp_notify_transfer *transfer, int curl_code)
{
	struct lp_transport *transport = (struct lp_transport *)transfer;
	struct lp_transport_result result = { .retry_after_ms = -1 };
	curl_off_t wait = 0;
	long status = 0;

	(void)curl_easy_getinfo(transport->easy, CURLINFO_RESPONSE_CODE, &status);
	(void)curl_easy_getinfo(transport->easy, CURLINFO_RETRY_AFTER, &wait);
	/* The other side has said what it did: a body that is too long, too slow or cut off must not make it do that again. */
	if (curl_code == CURLE_OK || status >= 200)
		result.status = (int)status;
	if (result.status && wait > 0)
		result.retry_after_ms = (wait > MAX_RETRY_AFTER_S ? MAX_RETRY_AFTER_S : (int64_t)wait) * 1000;
	if (!result.status)
		result.error = curl_code == CURLE_OK ? "no status in the answer" : curl_easy_strerror((CURLcode)curl_code);
	transport->done(transport->arg, &result);
	destroy(transport);
}

static int add_header(struct lp_transport *transport, const char *line)
{
	struct curl_slist *more = curl_slist_append(transport->headers, line);

	if (!more)
		return -ENOMEM;
	transport->headers = more;
	return 0;
}

static int add_headers(struct lp_transport *transport, const struct lp_transport_request *request)
{
	char type[256];
	int r = snprintf(type, sizeof type, "Content-Type: %s", request->content_type ? request->content_type : "application/json");

	if (r < 0 || (size_t)r >= sizeof type)
		return -EINVAL;
	r = add_header(transport, type);
	/* No round trip to ask whether the body may come. */
	if (r == 0)
		r = add_header(transport, "Expect:");
	for (uint32_t i = 0; r == 0 && i < request->n_headers; i++)
		r = add_header(transport, request->headers[i]);
	return r;
}

static CURLcode set_safety(CURL *easy)
{
	CURLcode code = curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);

#if LIBCURL_VERSION_NUM >= 0x075500
	if (!code)
		code = curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
#else
	if (!code)
		code = curl_easy_setopt(easy, CURLOPT_PROTOCOLS, (long)(CURLPROTO_HTTP | CURLPROTO_HTTPS));
#endif
	if (!code)
		code = curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 1L);
	if (!code)
		code = curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 2L);
	if (!code)
		code = curl_easy_setopt(easy, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
	if (!code)
		code = curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	if (!code)
		code = curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
#if LIBCURL_VERSION_NUM >= 0x075700
	if (!code)
		code = curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);  /* a stop does not wait for a name server */
#endif
	return code;
}

static CURLcode set_request(struct lp_transport *transport, const struct lp_transport_request *request)
{
	CURL *easy = transport->easy;
	CURLcode code = curl_easy_setopt(easy, CURLOPT_URL, request->url);

	if (!code)
		code = curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->len);
	if (!code)
		code = curl_easy_setopt(easy, CURLOPT_COPYPOSTFIELDS, request->len ? request->body : "");
	if (!code && request->method)
		code = curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, request->method);
	/* An empty text, unlike none, keeps libcurl from asking the environment. */
	if (!code)
		code = curl_easy_setopt(easy, CURLOPT_PROXY, request->proxy ? request->proxy : "");
	if (!code && request->ca_file)
		code = curl_easy_setopt(easy, CURLOPT_CAINFO, request->ca_file);
	if (!code)
		code = curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)request->connect_timeout_ms);
	if (!code)
		code = curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)request->timeout_ms);
	if (!code)
		code = curl_easy_setopt(easy, CURLOPT_HTTPHEADER, transport->headers);
	if (!code)
		code = curl_easy_setopt(easy, CURLOPT_USERAGENT, "logpulse/" PACKAGE_VERSION);
	if (!code)
		code = curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, swallow);
	if (!code)
		code = curl_easy_setopt(easy, CURLOPT_WRITEDATA, transport);
	if (!code)
		code = curl_easy_setopt(easy, CURLOPT_PRIVATE, (void *)&transport->transfer);
	return code;
}

int lp_transport_start(void *curlm, const struct lp_transport_request *request, lp_transport_done done, void *arg,
		       struct lp_transport **ret_transport)
{
	struct lp_transport *transport = calloc(1, sizeof *transport);
	CURLcode code;
	int r;

	if (!transport)
		return -ENOMEM;
	transport->transfer.done = finished;
	transport->multi = curlm;
	transport->done = done;
	transport->arg = arg;
	transport->easy = curl_easy_init();
	r = transport->easy && curlm ? add_headers(transport, request) : -ENOMEM;
	if (r == 0) {
		code = set_safety(transport->easy);
		if (!code)
			code = set_request(transport, request);
		r = !code ? 0 : code == CURLE_OUT_OF_MEMORY ? -ENOMEM : -EINVAL;
	}
	if (r == 0 && curl_multi_add_handle(curlm, transport->easy) != CURLM_OK)
		r = -ENOMEM;
	if (r < 0) {
		destroy(transport);
		return r;
	}
	*ret_transport = transport;
	return 0;
}

void lp_transport_cancel(struct lp_transport **transport)
{
	struct lp_transport *it = *transport;

	*transport = NULL;
	if (!it)
		return;
	(void)curl_multi_remove_handle(it->multi, it->easy);
	destroy(it);
}
