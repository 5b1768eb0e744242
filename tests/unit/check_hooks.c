/* Web hooks without a network: the file of targets, bodies, the queue on disk, backoff and circuit breaker with a clock of our own. */
#include "common/bytes.h"
#include "notify/hooks/body.h"
#include "notify/hooks/deliver.h"
#include "notify/hooks/queue.h"
#include "notify/hooks/targets.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct lp_buf error;
static struct lp_hook_targets *targets;
static char dir[64], path[96];

static void setup(void)
{
	strcpy(dir, "/tmp/check_hooks.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof path, "%s/q", dir);
}

static void teardown(void)
{
	char command[128];

	lp_hook_targets_free(&targets);
	lp_buf_free(&error);
	snprintf(command, sizeof command, "rm -r %s", dir);
	ck_assert_int_eq(system(command), 0);
}

static int parse(const char *text)
{
	lp_hook_targets_free(&targets);
	lp_buf_reset(&error);
	return lp_hook_targets_parse("w.yaml", text, strlen(text), &targets, &error);
}

static void refused(const char *text, const char *reason)
{
	ck_assert_int_eq(parse(text), -EINVAL);
	ck_assert_str_eq(lp_buf_cstr(&error), reason);
	ck_assert_ptr_null(targets);
}

static void accepted(const char *text)
{
	int r = parse(text);

	ck_assert_msg(r == 0, "%s", lp_buf_cstr(&error));
}

START_TEST(both_original_forms)
{
	accepted("webhooks:\n  - url: https://a.example/x\n    events: [log, alert]\n  - {name: b, url: 'http://b', events: [log]}\n");
	ck_assert_uint_eq(targets->n, 2);
	ck_assert_str_eq(targets->targets[0].name, "webhook-1");
	ck_assert_int_eq(targets->targets[0].kind, LP_HOOK_WEBHOOK);
	ck_assert(targets->targets[0].logs && targets->targets[0].alerts && targets->targets[0].enabled);
	ck_assert_str_eq(targets->targets[1].name, "b");
	ck_assert(targets->targets[1].logs && !targets->targets[1].alerts);
	setenv("LP_TEST_TOKEN", "tok", 1);
	accepted("webhooks:\n"
		 "  slack: {url: '${LP_TEST_NONE:-}', enabled: false}\n"
		 "  webhook: {url: 'http://h/', enabled: true, retry: 3, timeout: 5s}\n"
		 "  custom:\n    url: http://c/\n    enabled: true\n    headers: {Authorization: 'Bearer ${LP_TEST_TOKEN}'}\n");
	ck_assert_uint_eq(targets->n, 3);
	ck_assert_int_eq(targets->targets[0].kind, LP_HOOK_SLACK);
	ck_assert(!targets->targets[0].enabled);
	ck_assert_int_eq(targets->targets[1].retry, 3);
	ck_assert_int_eq(targets->targets[1].timeout_ms, 5000);
	ck_assert(targets->targets[1].alerts && !targets->targets[1].logs);
	ck_assert_uint_eq(targets->targets[2].n_headers, 1);
	ck_assert_str_eq(targets->targets[2].headers[0], "Authorization: Bearer tok");
	ck_assert_int_eq(targets->targets[2].retry, -1);
	accepted("webhooks:\n");
	ck_assert_uint_eq(targets->n, 0);
}
END_TEST

START_TEST(refusals_name_line_and_key)
{
	char text[512], file[96], reason[512];

	refused("", "w.yaml:1: webhooks: expected webhooks, and perhaps rule_webhooks");
	refused("webhooks: {a: {url: 'http://x'}}\nmore: 1\n", "w.yaml:2: more: unknown key; known are webhooks and rule_webhooks");
	refused("webhooks: {rule: {url: 'http://x'}}\nrule_webhooks: true\n",
		"w.yaml:2: rule_webhooks: a target has the name that this needs, rule");
	refused("webhooks:\n  - urll: http://x\n", "w.yaml:2: urll: unknown key; webhooks.yaml(5) has the list");
	refused("webhooks:\n  - events: [log]\n", "w.yaml:2: webhook-1: url or url_file is missing");
	refused("webhooks:\n  - url: ftp://x\n", "w.yaml:2: webhook-1: url: expected http:// or https:// and no blanks");
	refused("webhooks:\n  - {url: 'http://x', events: [logs]}\n", "w.yaml:2: events: known events are log and alert");
	refused("webhooks:\n  - {url: 'http://x', events: []}\n", "w.yaml:2: events: expected a list of log, alert");
	refused("webhooks:\n  - {url: 'http://x', type: teams}\n", "w.yaml:2: type: expected webhook, slack, pagerduty or alertmanager");
	refused("webhooks:\n  - {url: 'http://x', timeout: 1ms}\n", "w.yaml:2: timeout: out of range 100ms to 600s");
	refused("webhooks:\n  - {url: 'http://x', timeout: soon}\n", "w.yaml:2: timeout: expected a duration such as 5s or 1h30m");
	refused("webhooks:\n  - {url: 'http://x', retry: -1}\n", "w.yaml:2: retry: expected a whole number");
	refused("webhooks:\n  - {url: 'http://x', enabled: perhaps}\n", "w.yaml:2: enabled: expected true or false");
	refused("webhooks:\n  - {url: 'http://x', headers: {'a b': c}}\n", "w.yaml:2: headers: that is no name of a header");
	refused("webhooks:\n  - {url: 'http://x', headers: {X: \"a\\nb\"}}\n",
		"w.yaml:2: X: the value holds a control character or is too long");
	refused("webhooks:\n  - {url: 'http://x', headers: {host: b}}\n",
		"w.yaml:2: host: is set by the server (content_type sets Content-Type)");
	refused("webhooks:\n  - {url: 'http://x', name: '../x'}\n", "w.yaml:2: name: a name is 1 to 64 letters, digits, - and _");
	refused("webhooks:\n  a/b: {url: 'http://x'}\n", "w.yaml:2: webhooks: a name is 1 to 64 letters, digits, - and _");
	refused("webhooks:\n  - {url: 'http://x', name: a}\n  - {url: 'http://y', name: a}\n", "w.yaml:3: a: a second target of this name");
	refused("webhooks:\n  - {url: 'http://x', events: [log], selector: 'rate({a=\"b\"}[1m])'}\n",
		"w.yaml:2: selector: expected a log query, not one that computes numbers");
	refused("webhooks:\n  pagerduty: {enabled: true}\n", "w.yaml:2: pagerduty: routing_key or routing_key_file is missing");
	refused("webhooks:\n  alertmanager: {url: 'http://x', events: [log]}\n",
		"w.yaml:2: alertmanager: an Alertmanager takes alerts in its own form: no log events, no body");
	refused("webhooks:\n  - {url_file: /nonexistent/secret}\n",
		"w.yaml:2: url_file: /nonexistent/secret: cannot open: No such file or directory");
	ck_assert_int_eq(parse("webhooks:\n  - {url: 'http://x', selector: '{a=}'}\n"), -EINVAL);
	ck_assert_ptr_nonnull(strstr(lp_buf_cstr(&error), "w.yaml:2: selector: parse error"));
	ck_assert_int_eq(parse("webhooks:\n  - {url: 'http://x', body: '{{ .a'}\n"), -EINVAL);
	ck_assert_ptr_nonnull(strstr(lp_buf_cstr(&error), "w.yaml:2: body: "));
	/* A secret that is no address is not quoted. */
	snprintf(file, sizeof file, "%s/secret", dir);
	FILE *f = fopen(file, "w");

	ck_assert_ptr_nonnull(f);
	fputs("geheim\n", f);
	fclose(f);
	snprintf(text, sizeof text, "webhooks:\n  - {url_file: %s}\n", file);
	snprintf(reason, sizeof reason, "w.yaml:2: webhook-1: url: expected http:// or https:// and no blanks");
	refused(text, reason);
}
END_TEST

/* ---- bodies ---- */

static const struct lp_alert_pair labels[] = { { "alertname", "Errors \"high\"" }, { "instance", "web-1" }, { "severity", "critical" } };
static const struct lp_alert_pair notes[] = { { "summary", "too <many> errors" } };
static const char *const channels[] = { "slack" };
static const struct lp_alert_event fired = {
	.tenant = "", .file = "f", .group = "g", .rule = "Errors \"high\"", .expr = "sum(rate({a=\"b\"}[1m])) > 1", .fingerprint = 0xabc,
	.firing = true, .value = 2.5, .at_ns = INT64_C(1700000000000000000), .starts_ns = INT64_C(1699999999000000000),
	.ends_ns = INT64_C(1700000240000000000), .labels = labels, .n_labels = 3, .annotations = notes, .n_annotations = 1,
	.generator_url = "http://lp/x", .channels = channels, .n_channels = 1,
};

static const char *body_of(const char *yaml, const struct lp_alert_event *event, struct lp_buf *out)
{
	struct lp_buf raw = LP_BUF_INIT;

	accepted(yaml);
	lp_buf_reset(out);
	ck_assert_int_eq(lp_hook_body_alert(&targets->targets[0], event, &raw, &error), 0);
	ck_assert_int_eq(lp_hook_body_finish(&targets->targets[0], raw.data, raw.len, out), 0);
	lp_buf_free(&raw);
	return lp_buf_cstr(out);
}

START_TEST(alert_bodies)
{
	struct lp_buf out = LP_BUF_INIT;
	struct lp_alert_event resolved = fired;
	char dedup[64];
	const char *s;

	resolved.firing = false;
	resolved.value = NAN;
	resolved.ends_ns = resolved.at_ns;
	s = body_of("webhooks:\n  - url: http://x\n", &fired, &out);
	ck_assert_ptr_nonnull(strstr(s, "{\"rule\":\"Errors \\\"high\\\"\",\"expr\":\"sum(rate({a=\\\"b\\\"}[1m])) > 1\",\"value\":2.5,\"labels\":{"));
	ck_assert_ptr_nonnull(strstr(s, "\"channels\":[\"slack\"],\"timestamp\":\"2023-11-14T22:13:20Z\",\"event\":\"alert\",\"status\":\"firing\""));
	ck_assert_ptr_null(strstr(s, "endsAt"));
	s = body_of("webhooks:\n  - url: http://x\n", &resolved, &out);
	ck_assert_ptr_nonnull(strstr(s, "\"value\":\"NaN\""));
	ck_assert_ptr_nonnull(strstr(s, "\"status\":\"resolved\""));
	ck_assert_ptr_nonnull(strstr(s, "\"endsAt\":\"2023-11-14T22:13:20Z\""));
	/* A rule's own address goes before the body in the queue, and is not sent. */
	resolved.webhook = "http://rule/x";
	accepted("rule_webhooks: true\n");
	ck_assert_uint_eq(targets->n, 1);
	struct lp_buf raw = LP_BUF_INIT;

	ck_assert_int_eq(lp_hook_body_alert(&targets->targets[0], &resolved, &raw, &error), 0);
	lp_buf_reset(&out);
	lp_hook_body_url(&targets->targets[0], raw.data, raw.len, &out);
	ck_assert_str_eq(lp_buf_cstr(&out), "http://rule/x");
	lp_buf_reset(&out);
	ck_assert_int_eq(lp_hook_body_finish(&targets->targets[0], raw.data, raw.len, &out), 0);
	ck_assert_int_eq(lp_buf_cstr(&out)[0], '{');
	lp_buf_free(&raw);
	s = body_of("webhooks:\n  alertmanager: {url: 'http://x'}\n", &fired, &out);
	ck_assert_str_eq(s, "[{\"labels\":{\"alertname\":\"Errors \\\"high\\\"\",\"instance\":\"web-1\",\"severity\":\"critical\"},"
			    "\"annotations\":{\"summary\":\"too <many> errors\"},\"startsAt\":\"2023-11-14T22:13:19Z\","
			    "\"endsAt\":\"2023-11-14T22:17:20Z\",\"generatorURL\":\"http://lp/x\"}]");
	snprintf(dedup, sizeof dedup, "\"dedup_key\":\"logpulse-%016" PRIx64 "\"", lp_hook_alert_key(&fired));
	s = body_of("webhooks:\n  pagerduty: {routing_key: \"k\\\"1\"}\n", &fired, &out);
	ck_assert_ptr_nonnull(strstr(s, "{\"routing_key\":\"k\\\"1\",\"event_action\":\"trigger\",\"dedup_key\""));
	ck_assert_ptr_nonnull(strstr(s, dedup));
	ck_assert_ptr_nonnull(strstr(s, "\"summary\":\"too <many> errors\",\"source\":\"web-1\",\"severity\":\"critical\""));
	s = body_of("webhooks:\n  pagerduty: {routing_key: k}\n", &resolved, &out);
	ck_assert_ptr_nonnull(strstr(s, "\"event_action\":\"resolve\""));
	ck_assert_ptr_nonnull(strstr(s, dedup));
	s = body_of("webhooks:\n  slack: {url: 'http://x'}\n", &fired, &out);
	ck_assert_ptr_nonnull(strstr(s, "{\"text\":\"[FIRING] Errors \\\"high\\\"\",\"attachments\":[{\"color\":\"danger\""));
	ck_assert_ptr_nonnull(strstr(s, "too &lt;many&gt; errors"));
	s = body_of("webhooks:\n  slack: {url: 'http://x', body: '{{ .status }} {{ .rule }} {{ .severity }} {{ .value }} {{ .summary }}'}\n", &fired, &out);
	ck_assert_str_eq(s, "firing Errors \"high\" critical 2.5 too <many> errors");
	ck_assert_uint_ne(lp_hook_alert_id(&fired), lp_hook_alert_id(&resolved));
	resolved = fired;
	resolved.at_ns++;
	ck_assert_uint_eq(lp_hook_alert_id(&fired), lp_hook_alert_id(&resolved));
	lp_buf_free(&out);
}
END_TEST

/* Alerts with the same labels that began at the same moment are as many alerts as there are rules. */
START_TEST(each_rule_has_its_own_alerts)
{
	struct lp_alert_event others[] = { fired, fired, fired, fired, fired };
	struct lp_buf out = LP_BUF_INIT;

	others[0].tenant = "team-b";
	others[1].file = "f2";
	others[2].group = "g2";
	others[3].rule = "another name";
	others[4].expr = "vector(1)";
	for (size_t i = 0; i < LP_ARRAY_LEN(others); i++) {
		ck_assert_uint_ne(lp_hook_alert_id(&fired), lp_hook_alert_id(&others[i]));
		/* An incident stays the same when its rule's expression is changed meanwhile. */
		ck_assert(i == 4 ? lp_hook_alert_key(&fired) == lp_hook_alert_key(&others[i]) :
				   lp_hook_alert_key(&fired) != lp_hook_alert_key(&others[i]));
	}
	ck_assert_ptr_nonnull(strstr(body_of("webhooks:\n  alertmanager: {url: 'http://x'}\n", &others[0], &out),
				     "\"severity\":\"critical\",\"tenant\":\"team-b\"},\"annotations\""));
	lp_buf_free(&out);
}
END_TEST

START_TEST(alertmanager_address)
{
	static const struct { const char *yaml, *url; } cases[] = {
		{ "webhooks:\n  alertmanager: {url: 'http://am:9093/'}\n", "http://am:9093/api/v2/alerts" },
		{ "webhooks:\n  alertmanager: {url: 'http://am/prefix'}\n", "http://am/prefix/api/v2/alerts" },
		{ "webhooks:\n  alertmanager: {url: 'http://am/x/api/v2/alerts'}\n", "http://am/x/api/v2/alerts" },
		{ "webhooks:\n  pagerduty: {routing_key: k}\n", "https://events.pagerduty.com/v2/enqueue" },
	};
	struct lp_buf out = LP_BUF_INIT;

	for (size_t i = 0; i < LP_ARRAY_LEN(cases); i++) {
		accepted(cases[i].yaml);
		lp_buf_reset(&out);
		lp_hook_body_url(&targets->targets[0], NULL, 0, &out);
		ck_assert_str_eq(lp_buf_cstr(&out), cases[i].url);
	}
	lp_buf_free(&out);
}
END_TEST

/* ---- the queue ---- */

static struct lp_hookq *queue;

static void reopen(uint64_t max)
{
	lp_hookq_close(&queue);
	ck_assert_int_eq(lp_hookq_open(path, max, &queue), 0);
}

static int add(uint64_t id, const char *body, const uint8_t *position)
{
	struct lp_hookq_event event = { .id = id, .fingerprint = id / 10, .created_ns = 5, .format = 1, .class = 2, .lines = 3,
					.trace = { .span = { 7 } } };

	return lp_hookq_add(queue, &event, body, strlen(body), position);
}

static void first_is(uint64_t id, const char *body)
{
	struct lp_buf out = LP_BUF_INIT;
	const struct lp_hookq_event *event = lp_hookq_first(queue);

	ck_assert_ptr_nonnull(event);
	ck_assert_uint_eq(event->id, id);
	ck_assert_int_eq(lp_hookq_body(queue, &out), 0);
	ck_assert_str_eq(lp_buf_cstr(&out), body);
	lp_buf_free(&out);
}

START_TEST(queue_keeps_order_over_a_restart)
{
	uint8_t position[LP_HOOKQ_POSITION] = { 1, 2, 3 }, got[LP_HOOKQ_POSITION];

	reopen(1 << 20);
	ck_assert_ptr_null(lp_hookq_first(queue));
	ck_assert(!lp_hookq_position(queue, got));
	ck_assert_int_eq(add(11, "one", NULL), 0);
	ck_assert_int_eq(add(22, "two", position), 0);
	ck_assert_int_eq(add(11, "one again", NULL), -EEXIST);
	ck_assert_uint_eq(lp_hookq_first(queue)->trace.span[0], 7);     /* known to this process, not to the next */
	reopen(1 << 20);
	first_is(11, "one");
	ck_assert_uint_eq(lp_hookq_first(queue)->trace.span[0], 0);
	ck_assert_uint_eq(lp_hookq_depth(queue), 2);
	ck_assert(lp_hookq_position(queue, got) && !memcmp(got, position, sizeof got));
	ck_assert(lp_hookq_waits(queue, 2, 0) && !lp_hookq_waits(queue, 3, 0));
	lp_hookq_done(queue);
	first_is(22, "two");
	/* What was delivered is known: an event that is told again is not sent again. */
	ck_assert_int_eq(add(11, "one", NULL), -EEXIST);
	reopen(1 << 20);
	first_is(22, "two");
	ck_assert_int_eq(add(11, "one", NULL), -EEXIST);
	lp_hookq_done(queue);
	ck_assert_ptr_null(lp_hookq_first(queue));
	position[0] = 9;
	ck_assert_int_eq(add(22, "two", position), -EEXIST);
	reopen(1 << 20);
	ck_assert(lp_hookq_position(queue, got) && got[0] == 9);
	lp_hookq_close(&queue);
}
END_TEST

START_TEST(queue_cuts_what_is_torn)
{
	struct stat st;

	reopen(1 << 20);
	ck_assert_int_eq(add(11, "one", NULL), 0);
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_int_eq(add(22, "two", NULL), 0);
	uint64_t whole = lp_hookq_file_bytes(queue);

	for (off_t cut = st.st_size; cut < (off_t)whole; cut++) {
		lp_hookq_close(&queue);
		ck_assert_int_eq(truncate(path, cut), 0);
		reopen(1 << 20);
		ck_assert_uint_eq(lp_hookq_depth(queue), 1);
		ck_assert_int_eq(add(22, "two", NULL), 0);
		ck_assert_uint_eq(lp_hookq_file_bytes(queue), whole);
	}
	/* A flipped bit in the first record ends the file there. */
	int fd = open(path, O_RDWR);
	char c;

	ck_assert_int_eq(pread(fd, &c, 1, 100), 1);
	c ^= 1;
	ck_assert_int_eq(pwrite(fd, &c, 1, 100), 1);
	reopen(1 << 20);
	ck_assert_uint_eq(lp_hookq_depth(queue), 0);
	/* A damaged head refuses the file, a newer version as well. */
	ck_assert_int_eq(pwrite(fd, "x", 1, 0), 1);
	lp_hookq_close(&queue);
	ck_assert_int_eq(lp_hookq_open(path, 1 << 20, &queue), -EBADMSG);
	ck_assert_ptr_null(queue);
	/* Shorter than a head: died while it was made. */
	ck_assert_int_eq(ftruncate(fd, 7), 0);
	close(fd);
	reopen(1 << 20);
	ck_assert_int_eq(add(1, "x", NULL), 0);
	lp_hookq_close(&queue);
}
END_TEST

/* Lines that flood a target do not displace the alerts that it waits for. */
START_TEST(queue_drops_alerts_last)
{
	struct lp_hookq_event alert = { .format = 1, .class = LP_HOOK_ALERT };
	static char big[8000];
	uint64_t lines;

	memset(big, 'x', sizeof big - 1);
	reopen(64 << 10);
	ck_assert_int_eq(add(1, "line", NULL), 0);
	lp_hookq_hold(queue, true);
	for (alert.id = 2; alert.id < 4; alert.id++)
		ck_assert_int_eq(lp_hookq_add(queue, &alert, "alert", 5, NULL), 0);
	for (uint64_t i = 10; i < 40; i++)
		ck_assert_int_eq(add(i, big, NULL), 0);
	ck_assert_uint_gt(lp_hookq_take_dropped(queue, &lines), 20);
	first_is(1, "line");
	lp_hookq_done(queue);
	first_is(2, "alert");
	reopen(64 << 10);
	first_is(2, "alert");
	lp_hookq_done(queue);
	first_is(3, "alert");
	/* With alerts only, the oldest. */
	for (alert.id = 100; alert.id < 120; alert.id++)
		ck_assert_int_eq(lp_hookq_add(queue, &alert, big, sizeof big - 1, NULL), 0);
	ck_assert_uint_gt(lp_hookq_first(queue)->id, 100);
	lp_hookq_close(&queue);
}
END_TEST

START_TEST(queue_drops_the_oldest_and_stays_small)
{
	static char big[8000];
	uint64_t lines, dropped = 0;

	memset(big, 'x', sizeof big - 1);
	reopen(64 << 10);
	for (uint64_t i = 1; i <= 20; i++)
		ck_assert_int_eq(add(i, big, NULL), 0);
	dropped = lp_hookq_take_dropped(queue, &lines);
	ck_assert_uint_eq(dropped, 20 - lp_hookq_depth(queue));
	ck_assert_uint_eq(lines, dropped * 3);
	ck_assert_uint_gt(dropped, 5);
	ck_assert_uint_le(lp_hookq_bytes(queue), 64 << 10);
	first_is(dropped + 1, big);
	/* One that is being sent stays; the one behind it goes. */
	lp_hookq_hold(queue, true);
	ck_assert_int_eq(add(100, big, NULL), 0);
	first_is(dropped + 1, big);
	lp_hookq_hold(queue, false);
	for (uint64_t i = 1000; i < 1200; i++) {
		ck_assert_int_eq(add(i, big, NULL), 0);
		ck_assert_uint_le(lp_hookq_file_bytes(queue), 256 << 10);
	}
	uint32_t depth = lp_hookq_depth(queue);

	reopen(64 << 10);
	ck_assert_uint_eq(lp_hookq_depth(queue), depth);
	first_is(1200 - depth, big);
	ck_assert_int_eq(add(1199, big, NULL), -EEXIST);
	ck_assert_int_eq(add(1050, big, NULL), -EEXIST);        /* dropped, but known */
	while (lp_hookq_first(queue))
		lp_hookq_done(queue);
	ck_assert_uint_eq(lp_hookq_bytes(queue), 0);
	lp_hookq_close(&queue);
}
END_TEST

/* ---- backoff and circuit breaker ---- */

START_TEST(backoff_grows_and_obeys_the_other_side)
{
	struct lp_deliver d = { 0 };
	int64_t now = 1000;

	ck_assert(lp_deliver_may(&d, now));
	ck_assert_int_eq(lp_deliver_answer(&d, now, 500, -1, -1, UINT64_MAX), LP_DELIVER_RETRY);
	ck_assert_int_ge(d.next_ms, now);
	ck_assert_int_le(d.next_ms, now + LP_DELIVER_BASE_MS);
	/* Full jitter: any time up to base * 2^n; the largest draw grows with the attempts. */
	for (uint32_t n = 1, most = LP_DELIVER_BASE_MS; n <= 3; n++, most *= 2) {
		struct lp_deliver e = { .attempts = n - 1 };

		ck_assert_int_eq(lp_deliver_answer(&e, now, 0, -1, -1, most), LP_DELIVER_RETRY);
		ck_assert_int_eq(e.next_ms, now + most);
		e = (struct lp_deliver){ .attempts = n - 1 };
		(void)lp_deliver_answer(&e, now, 0, -1, -1, 0);
		ck_assert_int_eq(e.next_ms, now);
	}
	ck_assert_int_eq(lp_deliver_answer(&d, now, 429, 7000, -1, 0), LP_DELIVER_RETRY);
	ck_assert_int_eq(d.next_ms, now + 7000);
	ck_assert(!lp_deliver_may(&d, now + 6999));
	ck_assert(lp_deliver_may(&d, now + 7000));
	ck_assert_int_eq(lp_deliver_answer(&d, now + 7000, 204, -1, -1, 0), LP_DELIVER_SENT);
	ck_assert_uint_eq(d.attempts, 0);
	static const int final[] = { 301, 400, 401, 403, 404, 410, 413 };

	for (size_t i = 0; i < LP_ARRAY_LEN(final); i++)
		ck_assert_int_eq(lp_deliver_answer(&d, now, final[i], -1, -1, 0), LP_DELIVER_REFUSED);
	ck_assert_int_eq(lp_deliver_answer(&d, now, 503, -1, 2, 0), LP_DELIVER_RETRY);
	ck_assert_int_eq(lp_deliver_answer(&d, now, 408, -1, 2, 0), LP_DELIVER_RETRY);
	ck_assert_int_eq(lp_deliver_answer(&d, now, 0, -1, 2, 0), LP_DELIVER_GIVEN_UP);
	ck_assert_int_eq(lp_deliver_answer(&d, now, 0, -1, 0, 0), LP_DELIVER_GIVEN_UP);
}
END_TEST

START_TEST(the_circuit_opens_probes_and_closes)
{
	struct lp_deliver d = { 0 };
	int64_t now = 0;

	for (unsigned i = 0; i + 1 < LP_BREAKER_FAILURES; i++)
		ck_assert_int_eq(lp_deliver_answer(&d, now, 500, -1, -1, 0), LP_DELIVER_RETRY);
	ck_assert_int_eq(d.breaker, LP_BREAKER_CLOSED);
	(void)lp_deliver_answer(&d, now, 500, -1, -1, 0);
	ck_assert_int_eq(d.breaker, LP_BREAKER_OPEN);
	ck_assert(!lp_deliver_may(&d, LP_BREAKER_OPEN_MS * 3 / 4 - 1));
	now = LP_BREAKER_OPEN_MS;
	ck_assert(lp_deliver_may(&d, now));
	ck_assert_int_eq(d.breaker, LP_BREAKER_HALF_OPEN);
	/* The probe fails: open again, for twice as long, whatever the count. */
	(void)lp_deliver_answer(&d, now, 0, -1, -1, 0);
	ck_assert_int_eq(d.breaker, LP_BREAKER_OPEN);
	ck_assert(!lp_deliver_may(&d, now + LP_BREAKER_OPEN_MS * 3 / 2 - 1));
	now += 2 * LP_BREAKER_OPEN_MS;
	ck_assert(lp_deliver_may(&d, now));
	ck_assert_int_eq(lp_deliver_answer(&d, now, 200, -1, -1, 0), LP_DELIVER_SENT);
	ck_assert_int_eq(d.breaker, LP_BREAKER_CLOSED);
	ck_assert_uint_eq(d.failures, 0);
	for (unsigned i = 0; i < 40; i++) {
		(void)lp_deliver_answer(&d, now, 500, -1, -1, UINT64_MAX);
		now = d.next_ms;
		ck_assert(lp_deliver_may(&d, now));
	}
	ck_assert_int_le(d.open_ms, LP_BREAKER_OPEN_MAX_MS);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		both_original_forms, refusals_name_line_and_key, alert_bodies, each_rule_has_its_own_alerts, alertmanager_address, queue_keeps_order_over_a_restart,
		queue_cuts_what_is_torn, queue_drops_alerts_last, queue_drops_the_oldest_and_stays_small, backoff_grows_and_obeys_the_other_side,
		the_circuit_opens_probes_and_closes,
	};
	Suite *suite = suite_create("hooks");
	TCase *tcase = tcase_create("all");

	tcase_add_checked_fixture(tcase, setup, teardown);
	for (size_t i = 0; i < LP_ARRAY_LEN(tests); i++)
		tcase_add_test(tcase, tests[i]);
	suite_add_tcase(suite, tcase);
	SRunner *runner = srunner_create(suite);

	srunner_run_all(runner, CK_NORMAL);
	int failed = srunner_ntests_failed(runner);

	srunner_free(runner);
	return failed != 0;
}
