/* Rules without a process: files and their errors, every state of an alert with a clock of our own, a restart in every state, the image's
 * bytes, templates, the store's names. */
#include "rules/alertlist.h"
#include "rules/image.h"
#include "rules/store.h"

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SEC INT64_C(1000000000)
#define T0 (1800000000 * SEC)

static struct lp_buf error;
static struct lp_rule_set *set;
static struct lp_rule_state state;

static void setup(void) { error.max = 4096; }

static void teardown(void)
{
	lp_rule_state_free(&state);
	lp_rules_free(&set);
	lp_buf_free(&error);
}

static int load(const char *text)
{
	const struct lp_rule_source source = { .name = "f.yaml", .tenant = "", .file = "f.yaml", .interval_ms = 60000 };

	lp_rules_free(&set);
	lp_buf_reset(&error);
	ck_assert_int_eq(lp_rules_new(&set), 0);
	return lp_rules_load(set, &source, text, strlen(text), &error);
}

/* ---- files ---- */

START_TEST(file_is_read_and_printed)
{
	struct lp_buf once = LP_BUF_INIT, twice = LP_BUF_INIT;

	ck_assert_int_eq(load("groups:\n- name: g\n  interval: 1m30s\n  limit: 5\n  rules:\n  - alert: A\n    expr: 'rate({a=\"b\"}[1m]) > 1'\n"
			      "    for: 5m\n    keep_firing_for: 1h\n    labels: {z: '{{ $value }}', b: c}\n    annotations: {s: \"x\\ty\"}\n"
			      "  - record: a:b\n    expr: sum(rate({a=\"b\"}[1m]))\n"), 0);
	ck_assert_uint_eq(set->n_groups, 1);
	ck_assert_uint_eq(set->n_rules, 2);
	const struct lp_rule *rule = set->groups->rules;

	ck_assert_int_eq(set->groups->interval_ms, 90000);
	ck_assert_int_eq(rule->for_ms, 300000);
	ck_assert_int_eq(rule->keep_ms, 3600000);
	ck_assert_str_eq(rule->labels[0].name, "b");
	ck_assert_ptr_null(rule->labels[0].tmpl);
	ck_assert_ptr_nonnull(rule->labels[1].tmpl);
	ck_assert(rule->next->recording);
	lp_buf_str(&once, "groups:\n");
	lp_rules_print_group(set->groups, 2, true, &once);
	ck_assert_int_eq(load(lp_buf_cstr(&once)), 0);
	lp_buf_str(&twice, "groups:\n");
	lp_rules_print_group(set->groups, 2, true, &twice);
	ck_assert_str_eq(lp_buf_cstr(&once), lp_buf_cstr(&twice));
	lp_buf_free(&once);
	lp_buf_free(&twice);
}
END_TEST

START_TEST(labels_of_a_group_are_those_of_its_rules)
{
	ck_assert_int_eq(load("groups:\n- name: g\n  labels: {team: ops, b: group, tenant: '{{ $labels.t }}'}\n  rules:\n"
			      "  - {alert: A, expr: vector(1), labels: {b: own, a: x}}\n  - {record: r, expr: vector(1)}\n"), 0);
	const struct lp_rule *rule = set->groups->rules;

	ck_assert_uint_eq(rule->n_labels, 4);
	ck_assert_str_eq(rule->labels[0].name, "a");
	ck_assert_str_eq(rule->labels[1].value, "own");
	ck_assert_str_eq(rule->labels[2].value, "ops");
	ck_assert_ptr_nonnull(rule->labels[3].tmpl);
	ck_assert_uint_eq(rule->next->n_labels, 3);
	ck_assert_str_eq(rule->next->labels[0].value, "group");
	ck_assert_int_eq(load("groups:\n- name: g\n  labels: {1a: b}\n  rules: [{record: r, expr: vector(1)}]\n"), -EINVAL);
	ck_assert_ptr_nonnull(strstr(lp_buf_cstr(&error), "f.yaml:3: invalid label name: 1a"));
}
END_TEST

static const struct {
	const char *text, *why;
} bad_files[] = {
	{ "groups:\n- name: g\n  rules:\n  - alert: A\n    exprr: x\n", "f.yaml:5: unknown field exprr in a rule" },
	{ "groups:\n- name: g\n  rules:\n  - alert: A\n", "f.yaml:4: field 'expr' must be set in rule" },
	{ "groups:\n- name: g\n  rules:\n  - expr: x\n", "f.yaml:4: a rule needs one of 'record' and 'alert'" },
	{ "groups:\n- name: g\n  rules:\n  - alert: A\n    expr: '{a=\"b\"}'\n", "f.yaml:4: the expression must be a metric query" },
	{ "groups:\n- name: g\n  rules:\n  - alert: A\n    expr: 'rate({a='\n", "f.yaml:4: could not parse expression: parse error" },
	{ "groups:\n- name: g\n  rules:\n  - {alert: A, expr: vector(1), for: soon}\n", "f.yaml:4: for: \"soon\" is not a duration" },
	{ "groups:\n- name: g\n  rules:\n  - {alert: A, expr: vector(1), labels: {1a: b}}\n", "f.yaml:4: invalid label name: 1a" },
	{ "groups:\n- name: g\n  rules:\n  - {alert: A, expr: vector(1), annotations: {a: '{{ $nope }}'}}\n", "undefined variable" },
	{ "groups:\n- name: g\n  rules:\n  - {alert: A, expr: vector(1), annotations: {a: '{{ query \"x\" }}'}}\n", "function \"query\" not defined" },
	{ "groups:\n- name: g\n  rules:\n  - {record: 'a b', expr: vector(1)}\n", "invalid recording rule name: a b" },
	{ "groups:\n- name: g\n  rules:\n  - {record: logpulse_x, expr: vector(1)}\n", "the server's own metrics are taken" },
	{ "groups:\n- name: g\n  rules:\n  - {record: a, expr: vector(1), for: 1m}\n", "a recording rule has no" },
	{ "groups:\n- name: g\n- name: g\n", "f.yaml:3: groupname: \"g\" is repeated in the same file" },
	{ "groups:\n- name: g\n  interval: 10ms\n", "f.yaml:3: interval: at least 1s" },
	{ "groups: 5\n", "f.yaml:1: groups: expected a list" },
	{ "group: []\n", "f.yaml:1: unknown field group" },
	{ "- a\n", "expected groups: or alerts:" },
	{ "alerts:\n- {name: a, expr: '{a=\"b\"}', condition: '~'}\n", "f.yaml:2: condition: \"~\" is none of" },
	{ "alerts:\n- {name: a, expr: '{a=\"b\"} # x'}\n", "could not parse expression" },
};

START_TEST(bad_file_is_refused_with_its_line)
{
	ck_assert_int_eq(load(bad_files[_i].text), -EINVAL);
	ck_assert_msg(strstr(lp_buf_cstr(&error), bad_files[_i].why), "%s: %s", bad_files[_i].text, lp_buf_cstr(&error));
}
END_TEST

START_TEST(original_file_is_read)
{
	ck_assert_int_eq(load("alerts:\n- name: few\n  expr: '{a=\"b\"} |= \"x\"'\n  threshold: 5\n  condition: \"<\"\n  duration: 10m\n  severity: info\n"
			      "  channels: [slack, webhook]\n  labels: {team: x}\n- name: off\n  expr: rate({a=\"b\"}[1m])\n  enabled: false\n"
			      "- name: m\n  expr: rate({a=\"b\"}[1m])\n  window: 1m\n"), 0);
	const struct lp_rule *rule = set->groups->rules;

	ck_assert_uint_eq(set->n_rules, 2);
	ck_assert_str_eq(rule->expr, "(sum(count_over_time({a=\"b\"} |= \"x\" [10m])) or vector(0)) < 5");
	ck_assert_str_eq(rule->labels[0].value, "info");
	ck_assert_str_eq(rule->channels[1], "webhook");
	ck_assert_str_eq(rule->next->expr, "(rate({a=\"b\"}[1m])) > 0");
}
END_TEST

/* ---- states ---- */

/* An evaluation `at` seconds after T0 with the given value for app="x"; no sample when NULL. */
static void step(int at, const double *value)
{
	struct lp_alert_pair labels[] = { { "__name__", "n" }, { "app", "x" } };
	struct lp_sample sample = { .labels = labels, .n_labels = 2, .value = value ? *value : 0 };
	struct lp_vector vector = { &sample, value ? 1 : 0 };

	lp_buf_reset(&error);
	ck_assert_int_eq(lp_rule_step(set->groups, set->groups->rules, &state, T0 + at * SEC, &vector, "", &error), 0);
	lp_rule_note(&state, T0 + at * SEC, 1, NULL);
}

/* Through a file and back, as after a kill: `gone` seconds later the same alerts are there. */
static void restart(void)
{
	struct lp_group_times times = { .last_ns = state.last_ns };
	struct lp_buf image = LP_BUF_INIT;
	struct lp_view *view;

	lp_image_begin(&image, 7);
	lp_image_group(&image, set->groups, &state, &times);
	ck_assert_int_eq(lp_image_end(&image), 0);
	ck_assert_int_eq(lp_view_parse(image.data, image.len, &view), 0);
	lp_buf_free(&image);
	lp_rule_state_free(&state);
	ck_assert_uint_eq(view->serial, 7);
	for (const struct lp_alert *old = view->groups->rules->alerts; old; old = old->next) {
		struct lp_alert *alert = lp_alert_new(&state, old->labels, old->n_labels);

		ck_assert_ptr_nonnull(alert);
		ck_assert_uint_eq(alert->fingerprint, old->fingerprint);
		alert->state = old->state;
		alert->active_ns = old->active_ns;
		alert->fired_ns = old->fired_ns;
		alert->resolved_ns = old->resolved_ns;
		alert->keep_since_ns = old->keep_since_ns;
		alert->told_ns = old->told_ns;
		alert->value = old->value;
		ck_assert_int_eq(lp_alert_annotate(alert, old->annotations, old->n_annotations), 0);
	}
	state.last_ns = view->groups->rules->last_ns;
	state.restored = true;
	lp_view_free(&view);
}

#define RULE "groups:\n- name: g\n  interval: 10s\n  rules:\n  - alert: A\n    expr: vector(1)\n    for: 30s\n    keep_firing_for: 20s\n" \
	     "    labels: {sev: '{{ if gt $value 5.0 }}high{{ else }}low{{ end }}', app2: '{{ .Labels.app }}{{ $labels.none }}'}\n" \
	     "    annotations: {s: '{{ $labels.app }}: {{ $value | humanize }} {{ 3725.0 | humanizeDuration }}'}\n"

static const double TWO = 2, THREE = 3000;

/* One life of an alert; _i bit k: a restart after step k.  The story must be the same. */
START_TEST(life_of_an_alert)
{
	unsigned cuts = (unsigned)_i, k = 0;
	struct lp_alert *a;

#define CUT() do { if (cuts >> k++ & 1) restart(); } while (0)
	ck_assert_int_eq(load(RULE), 0);
	step(0, NULL);
	CUT();
	ck_assert_ptr_null(state.alerts);
	step(10, &TWO);
	CUT();
	a = state.alerts;
	ck_assert_int_eq(a->state, LP_ALERT_PENDING);
	ck_assert(!lp_alert_due(a, T0 + 10 * SEC, 60 * SEC));
	ck_assert_str_eq(a->annotations[0].value, "x: 2 1h 2m 5s");
	ck_assert_uint_eq(a->n_labels, 4);      /* alertname, app, app2, sev; no __name__ */
	ck_assert_str_eq(a->labels[0].value, "A");
	ck_assert_str_eq(a->labels[2].value, "x");
	ck_assert_str_eq(a->labels[3].value, "low");
	step(20, &TWO);
	CUT();
	step(30, &TWO);
	ck_assert_int_eq(state.alerts->state, LP_ALERT_PENDING);
	step(40, &TWO);
	CUT();
	a = state.alerts;
	ck_assert_int_eq(a->state, LP_ALERT_FIRING);
	ck_assert_int_eq(a->active_ns, T0 + 10 * SEC);
	ck_assert_int_eq(a->fired_ns, T0 + 40 * SEC);
	ck_assert(lp_alert_due(a, T0 + 40 * SEC, 60 * SEC));
	lp_alert_told(&state, a, T0 + 40 * SEC);
	CUT();
	a = state.alerts;
	ck_assert(!lp_alert_due(a, T0 + 99 * SEC, 60 * SEC));   /* not twice by a restart */
	ck_assert(lp_alert_due(a, T0 + 100 * SEC, 60 * SEC));   /* but again for Alertmanager */
	step(50, NULL);                                 /* missing, kept */
	CUT();
	a = state.alerts;
	ck_assert_int_eq(a->state, LP_ALERT_FIRING);
	ck_assert_int_eq(a->keep_since_ns, T0 + 50 * SEC);
	step(60, &TWO);                                 /* there again */
	ck_assert_int_eq(state.alerts->keep_since_ns, 0);
	step(70, NULL);
	step(80, NULL);
	CUT();
	ck_assert_int_eq(state.alerts->state, LP_ALERT_FIRING);
	step(90, NULL);
	CUT();
	a = state.alerts;
	ck_assert_int_eq(a->state, LP_ALERT_RESOLVED);
	ck_assert_int_eq(a->resolved_ns, T0 + 90 * SEC);
	ck_assert(lp_alert_due(a, T0 + 90 * SEC, 60 * SEC));
	step(100, &TWO);                                /* the next one does not swallow the end that nobody heard of */
	ck_assert_uint_eq(state.n_alerts, 2);
	for (a = state.alerts; a->state != LP_ALERT_RESOLVED;)
		a = a->next;
	lp_alert_told(&state, a, T0 + 100 * SEC);
	ck_assert_uint_eq(state.n_alerts, 1);
	ck_assert_int_eq(state.alerts->state, LP_ALERT_PENDING);
	step(110, NULL);
	ck_assert_ptr_null(state.alerts);
}
END_TEST

START_TEST(downtime_is_not_time_held)
{
	ck_assert_int_eq(load(RULE), 0);
	step(0, &TWO);
	step(10, &TWO);
	restart();
	step(1000, &TWO);               /* 10 s held; the next interval counts, the 970 s in which nobody looked do not */
	ck_assert_int_eq(state.alerts->state, LP_ALERT_PENDING);
	step(1010, &TWO);
	ck_assert_int_eq(state.alerts->state, LP_ALERT_FIRING);
}
END_TEST

START_TEST(a_jump_of_the_clock_is_not_time_held)
{
	ck_assert_int_eq(load(RULE), 0);
	step(0, &TWO);
	step(10, &TWO);
	lp_rule_away(&state, 960 * SEC);
	step(980, &TWO);
	ck_assert_int_eq(state.alerts->state, LP_ALERT_PENDING);
	step(990, &TWO);
	ck_assert_int_eq(state.alerts->state, LP_ALERT_FIRING);
	lp_alert_told(&state, state.alerts, T0 + 990 * SEC);
	/* Back by an hour: told again after a minute, not after an hour and a minute. */
	lp_rule_away(&state, -3600 * SEC);
	ck_assert(!lp_alert_due(state.alerts, T0 - 2560 * SEC, 60 * SEC));
	ck_assert(lp_alert_due(state.alerts, T0 - 2550 * SEC, 60 * SEC));
	ck_assert_int_eq(state.alerts->fired_ns, T0 + 990 * SEC);       /* the incident stays the same */
	/* Missing for a second before it jumps: keep_firing_for goes on from there. */
	step(-2540, NULL);
	ck_assert_int_eq(state.alerts->state, LP_ALERT_FIRING);
	lp_rule_away(&state, 7200 * SEC);
	step(-2539 + 7200, NULL);
	ck_assert_int_eq(state.alerts->state, LP_ALERT_FIRING);
}
END_TEST

START_TEST(labels_make_another_alert)
{
	ck_assert_int_eq(load(RULE), 0);
	step(0, &TWO);
	step(10, &THREE);               /* sev: high */
	ck_assert_uint_eq(state.n_alerts, 1);
	ck_assert_int_eq(state.alerts->active_ns, T0 + 10 * SEC);
	ck_assert_str_eq(state.alerts->annotations[0].value, "x: 3k 1h 2m 5s");
}
END_TEST

START_TEST(failures_change_nothing)
{
	struct lp_alert_pair x = { "app", "x" }, y = { "app", "y" };
	struct lp_sample samples[2] = { { .labels = &x, .n_labels = 1, .value = 1 }, { .labels = &y, .n_labels = 1, .value = 1 } };
	struct lp_vector both = { samples, 2 };

	/* the rule's label makes the two the same */
	ck_assert_int_eq(load("groups:\n- name: g\n  rules:\n  - {alert: A, expr: vector(1), labels: {app: z}}\n"), 0);
	ck_assert_int_eq(lp_rule_step(set->groups, set->groups->rules, &state, T0, &both, "", &error), -EINVAL);
	ck_assert_ptr_nonnull(strstr(lp_buf_cstr(&error), "same labelset"));
	ck_assert_ptr_null(state.alerts);
	ck_assert_int_eq(load("groups:\n- name: g\n  limit: 1\n  rules:\n  - {alert: A, expr: vector(1)}\n"), 0);
	ck_assert_int_eq(lp_rule_step(set->groups, set->groups->rules, &state, T0, &both, "", &error), -EINVAL);
	ck_assert_ptr_nonnull(strstr(lp_buf_cstr(&error), "exceeded limit of 1 with 2 alerts"));
	ck_assert_ptr_null(state.alerts);
	/* a template that fails is a text, not a lost alert */
	ck_assert_int_eq(load("groups:\n- name: g\n  rules:\n  - {alert: A, expr: vector(1), annotations: {s: '{{ $value.x }}'}}\n"), 0);
	ck_assert_int_eq(lp_rule_step(set->groups, set->groups->rules, &state, T0, &both, "", &error), 0);
	ck_assert_uint_eq(state.n_alerts, 2);
	ck_assert_ptr_nonnull(strstr(state.alerts->annotations[0].value, "<error expanding template: "));
}
END_TEST

START_TEST(recording_rule_keeps_its_series)
{
	ck_assert_int_eq(load("groups:\n- name: g\n  rules:\n  - {record: r, expr: vector(1), labels: {k: v, app: ''}}\n"), 0);
	step(0, &TWO);
	ck_assert_uint_eq(state.vector.n, 1);
	ck_assert_uint_eq(state.vector.samples[0].n_labels, 1);         /* app removed, k added */
	ck_assert_str_eq(state.vector.samples[0].labels[0].value, "v");
	step(10, NULL);
	ck_assert_uint_eq(state.vector.n, 0);
}
END_TEST

START_TEST(slots_lie_on_a_grid)
{
	ck_assert_int_eq(load("groups:\n- {name: a, interval: 10s}\n- {name: b, interval: 10s}\n"), 0);
	int64_t a = lp_rule_slot(set->groups, T0), b = lp_rule_slot(set->groups->next, T0);

	ck_assert(a <= T0 && a > T0 - 10 * SEC);
	ck_assert_int_ne(a, b);
	ck_assert_int_eq(lp_rule_slot(set->groups, a), a);
	ck_assert_int_eq(lp_rule_slot(set->groups, a - 1), a - 10 * SEC);
	ck_assert_int_eq(lp_rule_slot(set->groups, a + 10 * SEC), a + 10 * SEC);
}
END_TEST

/* ---- bytes ---- */

START_TEST(damaged_image_is_refused)
{
	struct lp_group_times times = { 0 };
	struct lp_buf image = LP_BUF_INIT;
	struct lp_view *view;

	ck_assert_int_eq(load(RULE), 0);
	step(0, &TWO);
	lp_image_begin(&image, 1);
	lp_image_group(&image, set->groups, &state, &times);
	ck_assert_int_eq(lp_image_end(&image), 0);
	for (size_t n = 0; n < image.len; n++)
		ck_assert_int_lt(lp_view_parse(image.data, n, &view), 0);
	for (size_t i = 0; i < image.len; i++) {
		image.data[i] ^= 0x41;
		ck_assert_int_lt(lp_view_parse(image.data, image.len, &view), 0);
		image.data[i] ^= 0x41;
	}
	image.data[4] = 9;
	ck_assert_int_eq(lp_view_parse(image.data, image.len, &view), -EPROTO);
	lp_buf_free(&image);
}
END_TEST

START_TEST(answers_are_read)
{
	static const char *const bad[] = { "", "[]", "{}", "{\"data\":{}}", "{\"data\":{\"resultType\":\"matrix\",\"result\":[]}}",
					   "{\"data\":{\"resultType\":\"vector\",\"result\":[1]}}", "{\"data\":{\"resultType\":\"vector\",\"result\":[{\"value\":[1]}]}}" };
	static const char good[] = "{\"status\":\"success\",\"data\":{\"resultType\":\"vector\",\"result\":[{\"metric\":{\"b\":\"\\u00e4\",\"a\":\"1\"},"
				   "\"value\":[1.5,\"2.5\"]}],\"stats\":{\"x\":[]}}}";
	struct lp_arena arena = LP_ARENA_INIT;
	struct lp_vector vector;

	ck_assert_int_eq(lp_vector_parse(good, sizeof good - 1, &arena, &vector), 0);
	ck_assert_uint_eq(vector.n, 1);
	ck_assert_str_eq(vector.samples[0].labels[0].name, "a");
	ck_assert_str_eq(vector.samples[0].labels[1].value, "ä");
	ck_assert_double_eq(vector.samples[0].value, 2.5);
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		ck_assert_int_lt(lp_vector_parse(bad[i], strlen(bad[i]), &arena, &vector), 0);
	lp_arena_free(&arena);
}
END_TEST

START_TEST(names_stay_in_the_folder)
{
	char path[512];

	ck_assert_int_eq(lp_rulestore_path("/d", "", "../../etc/passwd", path, sizeof path), 0);
	ck_assert_str_eq(path, "/d/@/%2E%2E%2F%2E%2E%2Fetc%2Fpasswd.yaml");
	ck_assert_int_eq(lp_rulestore_path("/d", "..", NULL, path, sizeof path), 0);
	ck_assert_str_eq(path, "/d/@%2E%2E/alerts.json");
	ck_assert_int_eq(lp_rulestore_path("/d", "", "", path, sizeof path), -EINVAL);
	char longer[400];

	memset(longer, 'x', sizeof longer);
	longer[399] = '\0';
	ck_assert_int_eq(lp_rulestore_path("/d", "", longer, path, sizeof path), -EINVAL);
	ck_assert_int_eq(lp_rulestore_path("/d", longer, "x", path, sizeof path), -EINVAL);
}
END_TEST

START_TEST(alert_list_reads_what_it_prints)
{
	static const char body[] = "{\"name\":\"n\\\"\",\"query\":\"{a=\\\"b\\\"}\",\"condition\":\"lt\",\"threshold\":3.0,\"duration\":\"5m\",\"id\":\"mine\",\"x\":[{}]}";
	struct lp_alertlist list, again;
	struct lp_buf once = LP_BUF_INIT, twice = LP_BUF_INIT;

	lp_alertlist_init(&list);
	lp_alertlist_init(&again);
	struct lp_alert_item *item = lp_alertlist_add(&list);

	ck_assert_int_eq(lp_alert_item_read(&list, item, body, sizeof body - 1, &error), 0);
	ck_assert_str_eq(item->id, "");         /* not the client's to choose */
	ck_assert_int_eq(item->threshold, 3);
	ck_assert_int_eq(lp_alert_item_check(item, &error), 0);
	strcpy(item->id, "0123456789abcdef0123456789abcdef");
	lp_alertlist_print(&list, &once);
	ck_assert_int_eq(lp_alertlist_parse(&again, once.data, once.len), 0);
	lp_alertlist_print(&again, &twice);
	ck_assert_str_eq(lp_buf_cstr(&once), lp_buf_cstr(&twice));
	item->threshold = -1;
	ck_assert_int_eq(lp_alert_item_check(item, &error), -EINVAL);
	ck_assert_str_eq(lp_buf_cstr(&error), "Threshold must be >= 0");
	lp_buf_free(&once);
	lp_buf_free(&twice);
	lp_alertlist_free(&list);
	lp_alertlist_free(&again);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("rules");
	TCase *tcase = tcase_create("rules");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, file_is_read_and_printed);
	tcase_add_test(tcase, labels_of_a_group_are_those_of_its_rules);
	tcase_add_loop_test(tcase, bad_file_is_refused_with_its_line, 0, (int)(sizeof bad_files / sizeof bad_files[0]));
	tcase_add_test(tcase, original_file_is_read);
	tcase_add_loop_test(tcase, life_of_an_alert, 0, 256);
	tcase_add_test(tcase, downtime_is_not_time_held);
	tcase_add_test(tcase, a_jump_of_the_clock_is_not_time_held);
	tcase_add_test(tcase, labels_make_another_alert);
	tcase_add_test(tcase, failures_change_nothing);
	tcase_add_test(tcase, recording_rule_keeps_its_series);
	tcase_add_test(tcase, slots_lie_on_a_grid);
	tcase_add_test(tcase, damaged_image_is_refused);
	tcase_add_test(tcase, answers_are_read);
	tcase_add_test(tcase, names_stay_in_the_folder);
	tcase_add_test(tcase, alert_list_reads_what_it_prints);
	tcase_set_timeout(tcase, 60);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
