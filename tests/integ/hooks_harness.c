/* The web hooks module alone, told of alerts by standard input: tests/integ/76-alert-hooks.py drives it.
 *
 *   hooks_harness WEBHOOKS_YAML DATA_DIR
 *   fire NAME START | repeat NAME START | resolve NAME START     answered by "ok" or "error ERRNO"; START: seconds since 1970
 *   quit */
#include "common/clock.h"
#include "common/crc32c.h"
#include "common/log.h"
#include "notify/hooks.h"
#include "notify/hooks/module.h"

#include <curl/curl.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define VALID_NS (240 * LP_NS_PER_SEC)

static CURLM *multi;

void lp_notify_wake(struct lp_notify *notify) { (void)notify; }

void *lp_notify_curl(struct lp_notify *notify)
{
	(void)notify;
	if (!multi)
		multi = curl_multi_init();
	return multi;
}

struct lp_catalog *lp_notify_catalog(struct lp_notify *notify)
{
	(void)notify;
	return NULL;
}

static void transfers(void)
{
	int running, left;
	CURLMsg *msg;

	(void)curl_multi_perform(multi, &running);
	while ((msg = curl_multi_info_read(multi, &left))) {
		struct lp_notify_transfer *transfer = NULL;
		int code = (int)msg->data.result;

		(void)curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, (char **)&transfer);
		(void)curl_multi_remove_handle(multi, msg->easy_handle);
		transfer->done(transfer, code);
	}
}

static int tell(struct lp_notify *notify, const char *what, const char *name, long long start_s)
{
	struct lp_alert_pair labels[] = { { "alertname", name }, { "severity", "critical" } };
	struct lp_alert_pair notes[] = { { "summary", "it is broken" } };
	int64_t now = lp_clock_real_ns();
	struct lp_alert_event event = {
		.tenant = "", .file = "f", .group = "g", .rule = name, .expr = "up == 0", .fingerprint = lp_crc32c(0, name, strlen(name)),
		.firing = strcmp(what, "resolve") != 0, .repeat = !strcmp(what, "repeat"), .value = 1, .at_ns = now,
		.starts_ns = start_s * LP_NS_PER_SEC, .labels = labels, .n_labels = 2, .annotations = notes, .n_annotations = 1,
		.generator_url = "http://lp.example/",
	};

	event.ends_ns = event.firing ? now + VALID_NS : now;
	return lp_hooks_alert(notify, &event, 1);
}

/* false: the end. */
static bool command(struct lp_notify *notify, const char *line)
{
	char what[16], name[64];
	long long start;
	int r;

	if (sscanf(line, "%15s %63s %lld", what, name, &start) != 3)
		return false;
	r = tell(notify, what, name, start);
	if (r < 0)
		printf("error %d\n", -r);
	else
		puts("ok");
	return true;
}

int main(int argc, char **argv)
{
	struct lp_proc proc = { 0 };
	struct lp_notify notify = { .proc = &proc };
	char line[256];
	bool go_on = argc == 3 && lp_conf_defaults(&proc.conf) == 0 && curl_global_init(CURL_GLOBAL_DEFAULT) == 0;

	if (!go_on)
		return 1;
	setvbuf(stdout, NULL, _IOLBF, 0);
	setvbuf(stdin, NULL, _IONBF, 0);        /* poll() must see what was not read */
	(void)lp_log_setup("hooks", LP_INFO, LP_LOG_LOGFMT, NULL);
	snprintf(proc.data_dir, sizeof proc.data_dir, "%s", argv[2]);
	free(proc.conf->files.webhooks_file);
	proc.conf->files.webhooks_file = strdup(argv[1]);
	if (lp_hooks_module.start(&notify) < 0)
		return 1;
	while (go_on) {
		struct curl_waitfd input = { .fd = 0, .events = CURL_WAIT_POLLIN };
		struct pollfd ready = { .fd = 0, .events = POLLIN };
		int64_t now_ms = lp_clock_mono_ms(), next_ms = lp_hooks_module.tick(&notify, now_ms);

		(void)curl_multi_poll(lp_notify_curl(&notify), &input, 1, next_ms < now_ms + 100 ? (int)(next_ms > now_ms ? next_ms - now_ms : 0) : 100,
				      NULL);
		transfers();
		while (go_on && poll(&ready, 1, 0) > 0)
			go_on = fgets(line, sizeof line, stdin) && command(&notify, line);
	}
	lp_hooks_module.stop(&notify);
	if (multi)
		(void)curl_multi_cleanup(multi);
	curl_global_cleanup();
	lp_conf_free(&proc.conf);
	return 0;
}
