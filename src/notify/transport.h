/* One HTTP exchange on the notifier's libcurl multi handle, with settings that nobody should have to think about: HTTP/1.1
 * over http or https only, no redirects, certificates checked, no proxy but the one that is given (the environment's is not
 * looked at), no .netrc, an answer of which only the status counts.  Process: notifier, main thread. */
#ifndef LP_NOTIFY_TRANSPORT_H
#define LP_NOTIFY_TRANSPORT_H

#include <stddef.h>
#include <stdint.h>

struct lp_transport;            /* an exchange under way */

struct lp_transport_request {
	const char *url;                /* http:// or https:// */
	const char *method;             /* NULL: POST */
	const char *content_type;       /* NULL: application/json */
	const char *const *headers;     /* "Name: value", no line ends inside */
	uint32_t n_headers;
	const void *body;
	size_t len;
	const char *ca_file;            /* PEM bundle; NULL: the system's */
	const char *proxy;              /* NULL: none */
	int64_t connect_timeout_ms, timeout_ms;
};

struct lp_transport_result {
	int status;                     /* of HTTP; 0: there was no answer */
	const char *error;              /* without an answer: why; a constant without address or secret */
	int64_t retry_after_ms;         /* what the answer asked for; -1 nothing */
};

/* Called from the notifier's loop, once per exchange that was not cancelled; the exchange is over and freed after it. */
typedef void (*lp_transport_done)(void *arg, const struct lp_transport_result *result);

/* Begin an exchange.  Everything in the request is copied.  curlm: lp_notify_curl().
 * -EINVAL libcurl refuses the address, a header or the file; -ENOMEM. */
int lp_transport_start(void *curlm, const struct lp_transport_request *request, lp_transport_done done, void *arg,
		       struct lp_transport **ret_transport);
/* Forget an exchange; done() is not called.  Accepts NULL.  Only before curlm is cleaned up. */
void lp_transport_cancel(struct lp_transport **transport);

#endif
