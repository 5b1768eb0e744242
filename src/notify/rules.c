/* The rules module: evaluates groups when their time comes, over the ordinary query engine with limits of its own.
 *
 * Guarantees: rules of a group run one after the other, at most rules.concurrency groups at a time; an evaluation that takes longer than
 * the interval makes the next ones missed (counted), never queued; the loop never waits for a query: the engine's threads run it and
 * ring when it is over.
 * Process: notifier, main thread; sink_* run on the engine's threads.  If it dies here: the next one has data/rules/state (what was
 * told, what fires since when) and evaluates from the current slot on. */
#include "notify/rules.h"
#include "notify/rules-private.h"

#include "common/clock.h"
#include "common/log.h"
#include "query/spans.h"
#include "rules/store.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define ANSWER_MAX (32u << 20)
#define ENGINE_NICE 10
#define VIEW_MS 200                     /* between two views, at least */
#define OPEN_RETRY_MS 500
#define AWAY_NS (5 * LP_NS_PER_SEC)     /* between two ticks: there are two a second */
#define CHANGE_WAIT_MS 10000
#define LOOK_MS 100                     /* another module may be woken by every commit: files and alerts are looked at less often */

/* ---- the engine's side ---- */

static int sink_begin(void *ctx, int status, const char *content_type)
{
	((struct lp_evaluation *)ctx)->status = status;
	return 0;
}

static int sink_write(void *ctx, const void *p, size_t n)
{
	struct lp_evaluation *it = ctx;

	lp_buf_append(&it->answer, p, n);
	return it->answer.failed ? -ENOMEM : 0;
}

static void sink_end(void *ctx, bool complete)
{
	struct lp_evaluation *it = ctx;
	struct lp_notify *notify = it->notify;

	it->complete = complete;
	atomic_store(&it->done, true);  /* the loop may free it from here on */
	lp_notify_wake(notify);
}

/* ---- evaluations ---- */

static int submit(struct lp_rules *rules, struct lp_evaluation *it)
{
	const struct lp_conf *conf = lp_notify_conf(rules->notify);
	const char *tenant = it->run->group->tenant;
	struct lp_discover_spec discover = lp_discover_spec_of(conf);
	struct lp_query_sink sink = { sink_begin, sink_write, sink_end, it };
	struct lp_query_params params = {
		.kind = LP_QUERY_INSTANT, .text = it->rule->expr, .text_len = strlen(it->rule->expr), .tenant = tenant,
		.tenant_len = strlen(tenant), .start_ns = it->ts_ns, .end_ns = it->ts_ns, .limit = 100, .discover = &discover,
		.max_memory = (uint64_t)conf->rules.max_query_memory, .max_series = (uint32_t)conf->rules.max_series,
		.deadline_mono_ns = lp_clock_mono_ns() + conf->rules.query_timeout * LP_NS_PER_MS,
	};

	lp_buf_free(&it->answer);
	it->answer.max = ANSWER_MAX;
	it->status = 0;
	it->complete = false;
	it->rule_began_ns = lp_clock_mono_ns();
	it->trace.sampled = false;
	if (rules->notify->sampler.on)
		lp_trace_begin_under(&rules->notify->sampler, NULL, &it->trace);
	atomic_store(&it->done, false);
	return lp_engine_submit(rules->engine, &params, &sink, &it->query);
}

static enum lp_span_rule_state worst_of(const struct lp_rule_state *state)
{
	enum lp_span_rule_state worst = LP_SPAN_INACTIVE;

	for (const struct lp_alert *alert = state->alerts; alert; alert = alert->next)
		if (alert->state == LP_ALERT_FIRING)
			return LP_SPAN_FIRING;
		else if (alert->state == LP_ALERT_PENDING)
			worst = LP_SPAN_PENDING;
	return worst;
}

/* A trace per evaluation of a rule: its span, and the query's under it. */
static void trace_rule(struct lp_rules *rules, const struct lp_evaluation *it, const struct lp_rule_state *state, uint32_t series, bool error)
{
	const struct lp_proc *proc = rules->notify->proc;
	struct lp_span span = lp_span_child(&it->trace, LP_SPAN_RULE, it->rule_began_ns, lp_clock_mono_ns());

	span.id = it->trace.id;
	memset(span.parent, 0, sizeof span.parent);
	span.error = error;
	lp_span_text(&span, it->rule->name, strlen(it->rule->name));
	lp_span_more(&span, it->run->group->name, strlen(it->run->group->name));
	lp_span_attr(&span, LP_ATTR_RULE_TYPE, it->rule->recording ? LP_SPAN_RECORDING : LP_SPAN_ALERTING);
	if (!it->rule->recording)
		lp_span_attr(&span, LP_ATTR_RULE_STATE, worst_of(state));
	if (!error)
		lp_span_attr(&span, LP_ATTR_SERIES, series);
	if (it->query)
		lp_query_spans_put(proc->region, proc->slot, &it->trace, it->rule_began_ns, lp_query_stats(it->query));
	(void)lp_spans_put(proc->region, proc->slot, &span);
}

/* The outcome of one query into the rule's state. */
static void judge(struct lp_rules *rules, struct lp_evaluation *it, int submit_error)
{
	struct lp_rule_state *state = &it->run->states[it->index];
	struct lp_buf error = { .max = 1024 }, url = { .max = 65536 };
	struct lp_arena arena = { .max_bytes = 64u << 20 };
	struct lp_vector vector = { 0 };
	int r = 0;

	lp_rules_external_url(lp_notify_conf(rules->notify), &url);
	if (submit_error < 0)
		lp_buf_printf(&error, "the query could not be started: %s", strerror(-submit_error));
	else if (it->status != 200)
		lp_buf_printf(&error, "%.900s", it->answer.len ? lp_buf_cstr(&it->answer) : "the query failed");
	else if (!it->complete || it->answer.failed || lp_vector_parse(it->answer.data, it->answer.len, &arena, &vector) < 0)
		lp_buf_str(&error, "the query was cut off");
	else
		r = lp_rule_step(it->run->group, it->rule, state, it->ts_ns, &vector, lp_buf_cstr(&url), &error);
	lp_arena_free(&arena);
	lp_buf_free(&url);
	lp_stat_add(rules->notify->row, LP_STAT_RULE_EVALUATIONS, 1);
	if (r < 0 || error.len) {
		lp_stat_add(rules->notify->row, LP_STAT_RULE_FAILURES, 1);
		/* Once, not at every evaluation. */
		if (!state->last_error || strcmp(state->last_error, lp_buf_cstr(&error)))
			lp_log(LP_WARN, "rule cannot be evaluated rule=\"%s\" group=\"%s\": %s", it->rule->name, it->run->group->name,
			       lp_buf_cstr(&error));
	}
	lp_rule_note(state, it->ts_ns, lp_clock_mono_ns() - it->rule_began_ns, error.len ? lp_buf_cstr(&error) : NULL);
	state->trace = it->trace.sampled ? it->trace.id : (struct lp_trace_id){ .span = { 0 } };
	if (it->trace.sampled)
		trace_rule(rules, it, state, vector.n, r < 0 || error.len);
	lp_buf_free(&error);
}

/* Run the rules from it->rule on until one has to be waited for.  True: the group is through. */
static bool go_on(struct lp_rules *rules, struct lp_evaluation *it)
{
	while (it->rule) {
		int r = submit(rules, it);

		if (r == 0)
			return false;
		judge(rules, it, r);
		it->rule = it->rule->next;
		it->index++;
	}
	it->run->times.last_ns = it->ts_ns;
	it->run->times.took_ns = lp_clock_mono_ns() - it->began_ns;
	it->run->times.evaluations++;
	it->run->running = NULL;
	rules->view_old = true;
	return true;
}

static void forget(struct lp_rules *rules, struct lp_evaluation **link)
{
	struct lp_evaluation *it = *link;

	*link = it->next;
	lp_query_unref(&it->query);
	lp_buf_free(&it->answer);
	free(it);
	rules->n_evaluations--;
}

static void collect_done(struct lp_rules *rules)
{
	struct lp_evaluation **link = &rules->evaluations;

	while (*link) {
		struct lp_evaluation *it = *link;

		if (!atomic_load(&it->done)) {
			link = &it->next;
			continue;
		}
		bool over = !it->run;

		if (it->run) {
			judge(rules, it, 0);
			lp_query_unref(&it->query);
			it->rule = it->rule->next;
			it->index++;
			over = go_on(rules, it);
		}
		if (over)
			forget(rules, link);
		else
			link = &it->next;
	}
}

static void start_group(struct lp_rules *rules, struct lp_group_run *run, int64_t slot_ns)
{
	struct lp_evaluation *it = calloc(1, sizeof *it);

	if (!it)
		return;                 /* at the next tick */
	run->next_ns = slot_ns + run->group->interval_ms * LP_NS_PER_MS;
	it->notify = rules->notify;
	it->run = run;
	it->rule = run->group->rules;
	it->ts_ns = slot_ns - run->group->query_offset_ms * LP_NS_PER_MS;
	it->began_ns = lp_clock_mono_ns();
	it->next = rules->evaluations;
	rules->evaluations = it;
	rules->n_evaluations++;
	run->running = it;
	if (go_on(rules, it))
		forget(rules, &rules->evaluations);
}

/* Start what is due; returns the next slot of all (CLOCK_REALTIME). */
static int64_t start_due(struct lp_rules *rules, int64_t now_ns)
{
	int64_t next_ns = INT64_MAX;

	for (uint32_t i = 0; i < rules->live.n; i++) {
		struct lp_group_run *run = &rules->live.runs[i];
		int64_t interval_ns = run->group->interval_ms * LP_NS_PER_MS, slot_ns = lp_rule_slot(run->group, now_ns);

		/* The clock was set back: do not sleep until it is where it was. */
		if (run->next_ns > slot_ns + interval_ns)
			run->next_ns = slot_ns + interval_ns;
		if (now_ns >= run->next_ns && !run->running && rules->n_evaluations < rules->concurrency) {
			if (slot_ns > run->next_ns) {
				uint64_t missed = (uint64_t)((slot_ns - run->next_ns) / interval_ns);

				run->times.missed += missed;
				lp_stat_add(rules->notify->row, LP_STAT_RULE_MISSED, missed);
			}
			start_group(rules, run, slot_ns);
		}
		if (!run->running && run->next_ns < next_ns)
			next_ns = run->next_ns;
	}
	return next_ns;
}

/* ---- the module ---- */

/* The clock was set, or this process was stopped. */
static void watch_clock(struct lp_rules *rules, int64_t now_ns)
{
	int64_t away_ns = rules->now_ns ? now_ns - rules->now_ns : 0;

	rules->now_ns = now_ns;
	if (away_ns >= 0 && away_ns < AWAY_NS)
		return;
	lp_log(LP_WARN, "rules: time that nobody looked at does not count seconds=%" PRId64, away_ns / LP_NS_PER_SEC);
	for (uint32_t i = 0; i < rules->live.n; i++)
		for (uint32_t k = 0; k < rules->live.runs[i].group->n_rules; k++)
			lp_rule_away(&rules->live.runs[i].states[k], away_ns);
}

static bool ready(struct lp_rules *rules)
{
	const struct lp_proc *proc = rules->notify->proc;
	const struct lp_engine_config config = { .threads = (uint32_t)proc->conf->rules.concurrency,
						 .max_concurrent = (uint32_t)proc->conf->rules.concurrency, .nice = ENGINE_NICE };

	if (rules->engine)
		return true;
	if (!(atomic_load(&lp_region_state(proc->region)->flags) & LP_STATE_READY))
		return false;
	struct lp_catalog *catalog = lp_notify_catalog(rules->notify);

	rules->concurrency = config.max_concurrent;     /* what the engine takes, whatever a reload says later */
	return catalog && lp_engine_open(&config, catalog, &rules->engine) == 0;
}

static void count_runs(const struct lp_rule_runs *runs, uint64_t n[3])
{
	for (uint32_t i = 0; i < runs->n; i++)
		for (uint32_t k = 0; k < runs->runs[i].group->n_rules; k++)
			for (const struct lp_alert *alert = runs->runs[i].states[k].alerts; alert; alert = alert->next)
				n[alert->state]++;
}

static void publish(struct lp_rules *rules, int64_t now_ms)
{
	uint64_t n[3] = { 0 };

	if (!rules->view_old || now_ms - rules->view_ms < VIEW_MS)
		return;
	count_runs(&rules->live, n);
	lp_stat_set(rules->notify->row, LP_STAT_RULES, rules->live.set->n_rules);
	lp_stat_set(rules->notify->row, LP_STAT_ALERTS_PENDING, n[LP_ALERT_PENDING]);
	lp_stat_set(rules->notify->row, LP_STAT_ALERTS_FIRING, n[LP_ALERT_FIRING]);
	(void)lp_rules_save(rules, false);
	rules->view_ms = now_ms;
	rules->view_old = false;
}

/* Loading cuts evaluations short: it waits until none is under way, or for so long that nobody who changes rules all the time
 * keeps those of others from being evaluated. */
static void take_changes(struct lp_rules *rules, int64_t now_ms)
{
	if (lp_rulestore_generation(rules->dir) == rules->generation) {
		rules->changed_ms = 0;
		return;
	}
	if (!rules->changed_ms)
		rules->changed_ms = now_ms;
	if (rules->n_evaluations && now_ms - rules->changed_ms < CHANGE_WAIT_MS)
		return;
	rules->changed_ms = 0;
	(void)lp_rules_load_all(rules, false);
}

static int64_t tick(struct lp_notify *notify, int64_t now_ms)
{
	struct lp_rules *rules = notify->rules;
	int64_t now_ns = lp_clock_real_ns(), next_ms = LP_NOTIFY_NEVER;

	bool look = now_ms - rules->looked_ms >= LOOK_MS;

	watch_clock(rules, now_ns);
	collect_done(rules);
	if (look)
		take_changes(rules, now_ms);
	if (rules->live.n && !notify->stopping) {
		if (ready(rules)) {
			int64_t wait_ns = start_due(rules, now_ns) - lp_clock_real_ns();

			next_ms = now_ms + (wait_ns < 0 ? 0 : wait_ns > LP_NS_PER_SEC ? 1000 : wait_ns / LP_NS_PER_MS + 1);
			if (wait_ns <= 0 && rules->n_evaluations)
				next_ms = LP_NOTIFY_NEVER;      /* a query that ends rings */
		} else {
			next_ms = now_ms + OPEN_RETRY_MS / 5;
		}
	}
	if (look) {
		lp_rules_emit(rules, lp_clock_real_ns(), now_ms);
		publish(rules, now_ms);
		rules->looked_ms = now_ms;
	} else if (next_ms > rules->looked_ms + LOOK_MS) {
		next_ms = rules->looked_ms + LOOK_MS;
	}
	if (rules->view_old && next_ms > now_ms + VIEW_MS)
		next_ms = now_ms + VIEW_MS;
	return next_ms;
}

static int start(struct lp_notify *notify)
{
	struct lp_rules *rules = calloc(1, sizeof *rules);

	if (!rules)
		return -ENOMEM;
	notify->rules = rules;
	rules->notify = notify;
	if (snprintf(rules->dir, sizeof rules->dir, "%s/rules", notify->proc->data_dir) >= (int)sizeof rules->dir)
		return -ENAMETOOLONG;
	if (mkdir(rules->dir, 0750) < 0 && errno != EEXIST)
		lp_log(LP_ERROR, "rules: the folder cannot be made path=%s error=\"%s\"", rules->dir, strerror(errno));
	int r = lp_rules_load_all(rules, true);

	if (r == 0 || r == -ENOMEM)
		return r;
	lp_log(LP_ERROR, "rules: none can be loaded error=\"%s\"", strerror(-r));
	return lp_rules_new(&rules->live.set);
}

static void reload(struct lp_notify *notify) { (void)lp_rules_load_all(notify->rules, false); }

static bool quiet(struct lp_notify *notify)
{
	/* An evaluation that is cut short is made up for by the next server: the slot is not noted as evaluated. */
	return true;
}

static void stop(struct lp_notify *notify)
{
	struct lp_rules *rules = notify->rules;

	if (!rules)
		return;
	for (struct lp_evaluation *it = rules->evaluations; it; it = it->next)
		if (it->query)
			lp_query_cancel(it->query);
	lp_engine_close(&rules->engine);        /* joins its threads: all evaluations are done */
	while (rules->evaluations)
		forget(rules, &rules->evaluations);
	if (rules->live.set)
		(void)lp_rules_save(rules, false);
	lp_rules_runs_free(&rules->live);
	lp_rules_runs_free(&rules->orphans);
	free(rules);
	notify->rules = NULL;
}

const struct lp_notify_module lp_rules_module = { "rules", start, tick, reload, quiet, stop };
