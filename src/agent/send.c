/* Delivery: POST /ingest until the server has the batch or says that the batch itself is wrong.  A retry sends the same
 * bytes with the same timestamps, which the server stores once.  A stop is noticed at once, also while connecting. */
#include "agent/agent.h"
#include "common/log.h"

#include <curl/curl.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#define BACKOFF_MIN_MS 500
#define BACKOFF_MAX_MS 30000

struct lp_sender {
	CURL *easy;
	CURLM *multi;
	struct curl_slist *headers;
	int stop_fd;
	char answer[256];               /* the start of the response body, for the log */
	size_t answer_len;
	uint64_t dropped;               /* lines, since the start */
};

bool lp_agent_wait(int stop_fd, int ms)
{
	struct pollfd fd = { .fd = stop_fd, .events = POLLIN };

	return poll(&fd, 1, ms) > 0;
}

static size_t take_answer(char *p, size_t size, size_t n, void *arg)
{
	struct lp_sender *sender = arg;
	size_t room = sizeof sender->answer - 1 - sender->answer_len, len = size * n < room ? size * n : room;

	memcpy(sender->answer + sender->answer_len, p, len);
	sender->answer_len += len;
	return size * n;
}

static int add_header(struct lp_sender *sender, const char *name, const char *value)
{
	struct lp_buf line = LP_BUF_INIT;

	lp_buf_printf(&line, "%s%s", name, value);
	struct curl_slist *headers = curl_slist_append(sender->headers, lp_buf_cstr(&line));

	lp_buf_free(&line);
	if (!headers)
		return -ENOMEM;
	sender->headers = headers;
	return 0;
}

static int set_url(struct lp_sender *sender, const char *url)
{
	struct lp_buf text = LP_BUF_INIT;
	size_t len = strlen(url);

	while (len && url[len - 1] == '/')
		len--;
	lp_buf_append(&text, url, len);
	lp_buf_str(&text, "/ingest");
	CURLcode code = curl_easy_setopt(sender->easy, CURLOPT_URL, lp_buf_cstr(&text));

	lp_buf_free(&text);
	return code ? -ENOMEM : 0;
}

int lp_sender_open(const struct lp_agent_conf *conf, int stop_fd, struct lp_sender **ret_sender)
{
	struct lp_sender *sender = calloc(1, sizeof *sender);

	if (!sender)
		return -ENOMEM;
	sender->stop_fd = stop_fd;
	sender->easy = curl_easy_init();
	sender->multi = curl_multi_init();
	int r = sender->easy && sender->multi ? set_url(sender, conf->url) : -ENOMEM;

	if (!r)
		r = add_header(sender, "Content-Type: ", "application/msgpack");
	if (!r)
		r = add_header(sender, "Expect:", "");
	if (!r && *conf->api_key)
		r = add_header(sender, "X-API-Key: ", conf->api_key);
	if (r < 0) {
		lp_sender_close(&sender);
		return r;
	}
	curl_easy_setopt(sender->easy, CURLOPT_HTTPHEADER, sender->headers);
	curl_easy_setopt(sender->easy, CURLOPT_USERAGENT, "logpulse-agent");
	curl_easy_setopt(sender->easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(sender->easy, CURLOPT_CONNECTTIMEOUT_MS, 10000L);
	curl_easy_setopt(sender->easy, CURLOPT_TIMEOUT_MS, 60000L);
	curl_easy_setopt(sender->easy, CURLOPT_WRITEFUNCTION, take_answer);
	curl_easy_setopt(sender->easy, CURLOPT_WRITEDATA, sender);
#if LIBCURL_VERSION_NUM >= 0x075700
	curl_easy_setopt(sender->easy, CURLOPT_QUICK_EXIT, 1L); /* a stop does not wait for a name server */
#endif
	*ret_sender = sender;
	return 0;
}

void lp_sender_close(struct lp_sender **sender)
{
	if (!*sender)
		return;
	curl_easy_cleanup((*sender)->easy);
	curl_multi_cleanup((*sender)->multi);
	curl_slist_free_all((*sender)->headers);
	free(*sender);
	*sender = NULL;
}

/* One attempt: the HTTP status, 0 when there was none (the reason is in answer), -ECANCELED. */
static long post(struct lp_sender *sender, const struct lp_buf *body)
{
	struct curl_waitfd stop = { .fd = sender->stop_fd, .events = CURL_WAIT_POLLIN };
	CURLcode code = CURLE_FAILED_INIT;
	int running = 1, left;
	long status = 0;

	sender->answer_len = 0;
	curl_easy_setopt(sender->easy, CURLOPT_POSTFIELDS, body->data);
	curl_easy_setopt(sender->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body->len);
	curl_multi_add_handle(sender->multi, sender->easy);
	while (!curl_multi_perform(sender->multi, &running) && running) {
		stop.revents = 0;
		if (curl_multi_poll(sender->multi, &stop, 1, 1000, NULL) || stop.revents) {
			status = -ECANCELED;
			break;
		}
	}
	for (CURLMsg *msg; (msg = curl_multi_info_read(sender->multi, &left));)
		if (msg->msg == CURLMSG_DONE)
			code = msg->data.result;
	if (!status && !code)
		curl_easy_getinfo(sender->easy, CURLINFO_RESPONSE_CODE, &status);
	if (!status && code)
		(void)take_answer((char *)(uintptr_t)curl_easy_strerror(code), 1, strlen(curl_easy_strerror(code)), sender);
	curl_multi_remove_handle(sender->multi, sender->easy);
	sender->answer[sender->answer_len] = 0;
	sender->answer[strcspn(sender->answer, "\r\n")] = 0;
	return status;
}

/* The batch is at fault, and would be for ever.  Anything else (no network, 5xx, 429, 507, a wrong key or address) is
 * the server's or the operator's to repair, and the lines wait for it. */
static bool is_final(long status)
{
	return status == 400 || status == 413 || status == 415 || status == 422;
}

enum lp_sent lp_sender_deliver(struct lp_sender *sender, const struct lp_buf *body, uint32_t lines)
{
	int backoff_ms = BACKOFF_MIN_MS;

	for (;;) {
		long status = post(sender, body);
		curl_off_t retry_after = 0;

		if (status == -ECANCELED)
			return LP_SENT_STOPPED;
		if (status >= 200 && status < 300)
			return LP_SENT_OK;
		if (status == 413 && lines > 1)
			return LP_SENT_TOO_LARGE;
		if (is_final(status)) {
			sender->dropped += lines;
			lp_log(LP_ERROR, "server refused lines, dropped lines=%u total=%llu status=%ld answer=\"%s\"", lines,
			       (unsigned long long)sender->dropped, status, sender->answer);
			return LP_SENT_DROPPED;
		}
		curl_easy_getinfo(sender->easy, CURLINFO_RETRY_AFTER, &retry_after);
		int wait_ms = retry_after > 0 && retry_after <= 60 ? (int)retry_after * 1000 : 0;

		if (wait_ms < backoff_ms)
			wait_ms = backoff_ms;
		lp_log(LP_WARN, "server does not take lines, trying again status=%ld reason=\"%s\" in_ms=%d", status, sender->answer,
		       wait_ms);
		if (lp_agent_wait(sender->stop_fd, wait_ms))
			return LP_SENT_STOPPED;
		backoff_ms = backoff_ms * 2 < BACKOFF_MAX_MS ? backoff_ms * 2 : BACKOFF_MAX_MS;
	}
}
