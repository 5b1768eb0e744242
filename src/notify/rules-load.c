/* From rule files and the store to running groups, with the alerts of the groups before them.
 *
 * A reload goes the way of a restart: the old state becomes an image, the image is adopted by the new rules, rule by rule (same
 * tenant, file, group, name and labels).  Alerts that find no rule any more are resolved.
 * Guarantees: a bad configured file changes nothing; a bad file of the store is logged and left out alone.
 * Process: notifier, main thread.  If it dies here, the next one finds the files as they are. */
#include "notify/rules-private.h"

#include "common/clock.h"
#include "common/log.h"
#include "rules/alertlist.h"
#include "rules/store.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void lp_rules_runs_free(struct lp_rule_runs *runs)
{
	for (uint32_t i = 0; i < runs->n; i++) {
		for (uint32_t k = 0; runs->runs[i].states && k < runs->runs[i].group->n_rules; k++)
			lp_rule_state_free(&runs->runs[i].states[k]);
		free(runs->runs[i].states);
	}
	free(runs->runs);
	lp_rules_free(&runs->set);
	*runs = (struct lp_rule_runs){ 0 };
}

static int make_runs(struct lp_rule_runs *runs)
{
	runs->runs = calloc(runs->set->n_groups ? runs->set->n_groups : 1, sizeof *runs->runs);
	if (!runs->runs)
		return -ENOMEM;
	for (const struct lp_rule_group *group = runs->set->groups; group; group = group->next) {
		struct lp_group_run *run = &runs->runs[runs->n++];

		run->group = group;
		run->states = calloc(group->n_rules ? group->n_rules : 1, sizeof *run->states);
		if (!run->states)
			return -ENOMEM;
	}
	return 0;
}

/* ---- the store ---- */

struct loading {
	struct lp_rules *rules;
	struct lp_rule_set *set;
	int64_t interval_ms;
};

static int load_alerts(struct loading *loading, const char *tenant, struct lp_buf *error)
{
	struct lp_alertlist list;
	int r;

	lp_alertlist_init(&list);
	r = lp_alertlist_load(&list, loading->rules->dir, tenant);
	if (r == 0)
		r = lp_alertlist_rules(&list, tenant, loading->interval_ms, loading->set, error);
	lp_alertlist_free(&list);
	return r;
}

/* Into a set of its own first: what fails half way must not leave its half. */
static int load_space(struct loading *loading, const char *tenant, const char *space, struct lp_buf *error)
{
	struct lp_rule_set *trial = NULL;
	int r = lp_rules_new(&trial);

	if (r == 0)
		r = lp_rulestore_load(loading->rules->dir, tenant, space, loading->interval_ms, trial, error);
	if (r == 0 && loading->set->n_rules + trial->n_rules > LP_RULES_MAX_RULES) {
		lp_buf_printf(error, "more than %u rules in all", LP_RULES_MAX_RULES);
		r = -EINVAL;
	}
	if (r == 0 && loading->set->n_groups + trial->n_groups > LP_RULES_MAX_GROUPS) {
		lp_buf_printf(error, "more than %u rule groups in all", LP_RULES_MAX_GROUPS);
		r = -EINVAL;
	}
	lp_rules_free(&trial);
	return r < 0 ? r : lp_rulestore_load(loading->rules->dir, tenant, space, loading->interval_ms, loading->set, error);
}

static int load_one(void *ctx, const char *tenant, const char *space)
{
	struct loading *loading = ctx;
	struct lp_buf error = { .max = 2048 };
	int r = space ? load_space(loading, tenant, space, &error) : load_alerts(loading, tenant, &error);

	if (r < 0 || error.len)
		lp_log(LP_ERROR, "rules: some made over HTTP are left out tenant=\"%s\" namespace=\"%s\": %s", tenant,
		       space ? space : LP_RULES_ORIGINAL, error.len ? lp_buf_cstr(&error) : strerror(-r));
	lp_buf_free(&error);
	return r == -ENOMEM ? r : 0;
}

/* ---- adoption ---- */

static bool same_labels(const struct lp_rule *rule, const struct lp_view_rule *old)
{
	if (rule->n_labels != old->n_labels)
		return false;
	for (uint32_t i = 0; i < rule->n_labels; i++)
		if (strcmp(rule->labels[i].name, old->labels[i].name) || strcmp(rule->labels[i].value, old->labels[i].value))
			return false;
	return true;
}

static int copy_alert(struct lp_rule_state *state, const struct lp_alert *from)
{
	struct lp_alert *alert = lp_alert_new(state, from->labels, from->n_labels);

	if (!alert)
		return -ENOMEM;
	alert->state = from->state;
	alert->active_ns = from->active_ns;
	alert->fired_ns = from->fired_ns;
	alert->resolved_ns = from->resolved_ns;
	alert->keep_since_ns = from->keep_since_ns;
	alert->told_ns = from->told_ns;
	alert->value = from->value;
	return lp_alert_annotate(alert, from->annotations, from->n_annotations);
}

static int adopt_rule(struct lp_rule_state *state, const struct lp_view_rule *old)
{
	int r = 0;

	for (const struct lp_alert *alert = old->alerts; alert && r == 0; alert = alert->next)
		r = copy_alert(state, alert);
	state->health = old->health;
	state->last_ns = old->last_ns;
	state->took_ns = old->took_ns;
	state->last_error = old->last_error[0] ? strdup(old->last_error) : NULL;
	state->restored = true;
	return r;
}

static struct lp_group_run *find_run(const struct lp_rule_runs *runs, const struct lp_view_group *old)
{
	for (uint32_t i = 0; i < runs->n; i++) {
		const struct lp_rule_group *group = runs->runs[i].group;

		if (!strcmp(group->tenant, old->tenant) && !strcmp(group->file, old->file) && !strcmp(group->name, old->name))
			return &runs->runs[i];
	}
	return NULL;
}

/* The first rule of the group that fits and has adopted nothing yet. */
static struct lp_rule_state *find_state(struct lp_group_run *run, const struct lp_view_rule *old)
{
	uint32_t i = 0;

	for (const struct lp_rule *rule = run->group->rules; rule; rule = rule->next, i++)
		if (!run->states[i].restored && rule->recording == old->recording && !strcmp(rule->name, old->name) && same_labels(rule, old))
			return &run->states[i];
	return NULL;
}

static bool has_incident(const struct lp_view_rule *old)
{
	for (const struct lp_alert *alert = old->alerts; alert; alert = alert->next)
		if (alert->state != LP_ALERT_PENDING)
			return true;
	return false;
}

/* A rule without an expression, to tell its alerts by. */
static int orphan_rule(struct lp_rule_set *set, const struct lp_view_group *old_group, const struct lp_view_rule *old)
{
	const struct lp_rule_source source = { .name = "", .tenant = old_group->tenant, .file = old_group->file,
					       .interval_ms = old_group->interval_ms > 0 ? old_group->interval_ms : 60000 };
	struct lp_rule_group *group = lp_rules_add_group(set, &source, old_group->name);
	struct lp_rule *rule = lp_arena_zalloc(&set->arena, sizeof *rule);

	if (!group || !rule)
		return -ENOMEM;
	rule->name = lp_arena_strndup(&set->arena, old->name, strlen(old->name));
	rule->expr = lp_arena_strndup(&set->arena, old->expr, strlen(old->expr));
	rule->labels = lp_arena_zalloc(&set->arena, (old->n_labels + 1) * sizeof *rule->labels);
	rule->channels = lp_arena_zalloc(&set->arena, (old->n_channels + 1) * sizeof *rule->channels);
	if (!rule->name || !rule->expr || !rule->labels || !rule->channels)
		return -ENOMEM;
	for (; rule->n_labels < old->n_labels; rule->n_labels++) {
		const struct lp_alert_pair *from = &old->labels[rule->n_labels];
		struct lp_rule_text *to = &rule->labels[rule->n_labels];

		to->name = lp_arena_strndup(&set->arena, from->name, strlen(from->name));
		to->value = lp_arena_strndup(&set->arena, from->value, strlen(from->value));
		if (!to->name || !to->value)
			return -ENOMEM;
	}
	for (; rule->n_channels < old->n_channels; rule->n_channels++) {
		const char *from = old->channels[rule->n_channels];

		rule->channels[rule->n_channels] = lp_arena_strndup(&set->arena, from, strlen(from));
		if (!rule->channels[rule->n_channels])
			return -ENOMEM;
	}
	if (old->webhook) {
		rule->webhook = lp_arena_strndup(&set->arena, old->webhook, strlen(old->webhook));
		if (!rule->webhook)
			return -ENOMEM;
	}
	group->rules = rule;
	group->n_rules = 1;
	return 0;
}

struct adoption {
	const struct lp_view_rule **left;       /* rules without a successor */
	const struct lp_view_group **left_groups;
	uint32_t n, cap;
};

static int leave(struct adoption *a, const struct lp_view_group *group, const struct lp_view_rule *rule)
{
	if (a->n == a->cap) {
		uint32_t cap = a->cap ? a->cap * 2 : 16;
		const struct lp_view_rule **left = realloc(a->left, cap * sizeof *left);

		if (left)
			a->left = left;
		const struct lp_view_group **groups = left ? realloc(a->left_groups, cap * sizeof *groups) : NULL;

		if (!groups)
			return -ENOMEM;
		a->left_groups = groups;
		a->cap = cap;
	}
	a->left[a->n] = rule;
	a->left_groups[a->n++] = group;
	return 0;
}

static int make_orphans(struct lp_rule_runs *orphans, const struct adoption *a, int64_t now_ns)
{
	int r = lp_rules_new(&orphans->set);

	for (uint32_t i = 0; i < a->n && r == 0; i++)
		r = orphan_rule(orphans->set, a->left_groups[i], a->left[i]);
	if (r == 0)
		r = make_runs(orphans);
	for (uint32_t i = 0; i < a->n && r == 0; i++) {
		struct lp_rule_state *state = &orphans->runs[i].states[0];

		for (const struct lp_alert *alert = a->left[i]->alerts; alert && r == 0; alert = alert->next) {
			if (alert->state == LP_ALERT_PENDING)
				continue;
			r = copy_alert(state, alert);
			if (r == 0 && alert->state == LP_ALERT_FIRING) {
				state->alerts->state = LP_ALERT_RESOLVED;
				state->alerts->resolved_ns = now_ns;
			}
		}
	}
	return r;
}

static int adopt(struct lp_rule_runs *live, struct lp_rule_runs *orphans, const struct lp_view *view, int64_t now_ns)
{
	struct adoption a = { 0 };
	int r = 0;

	for (const struct lp_view_group *old = view->groups; old && r == 0; old = old->next) {
		struct lp_group_run *run = find_run(live, old);

		if (run && run->group->interval_ms == old->interval_ms)
			run->times = old->times;
		for (const struct lp_view_rule *rule = old->rules; rule && r == 0; rule = rule->next) {
			struct lp_rule_state *state = run ? find_state(run, rule) : NULL;

			if (state)
				r = adopt_rule(state, rule);
			else if (has_incident(rule))
				r = leave(&a, old, rule);
		}
	}
	if (r == 0)
		r = make_orphans(orphans, &a, now_ns);
	free(a.left);
	free(a.left_groups);
	return r;
}

/* A slot that was evaluated before a restart is not evaluated again. */
static void schedule(struct lp_rule_runs *runs, int64_t now_ns)
{
	for (uint32_t i = 0; i < runs->n; i++) {
		struct lp_group_run *run = &runs->runs[i];

		run->next_ns = lp_rule_slot(run->group, now_ns);
		if (run->times.last_ns >= run->next_ns)
			run->next_ns += run->group->interval_ms * LP_NS_PER_MS;
	}
}

/* ---- all of it ---- */

static struct lp_view *old_view(struct lp_rules *rules, bool first)
{
	struct lp_buf image = { .max = LP_IMAGE_MAX };
	struct lp_view *view = NULL;

	if (first)
		return lp_rules_saved(rules);
	if (lp_rules_encode(rules, &image) == 0)
		(void)lp_view_parse(image.data, image.len, &view);
	lp_buf_free(&image);
	return view;
}

static int load_set(struct lp_rules *rules, struct lp_rule_set *set, bool first)
{
	const struct lp_conf *conf = lp_notify_conf(rules->notify);
	struct loading loading = { rules, set, conf->rules.evaluation_interval };
	struct lp_buf error = { .max = 4096 };
	int r = lp_rules_load_files(set, (const char *const *)conf->rules.files.items, conf->rules.files.n, conf->rules.tenant,
				    loading.interval_ms, &error);

	if (r < 0)
		lp_log(LP_ERROR, "rules: %s: %s", first ? "the configured files are not evaluated" : "not loaded, the old ones stay",
		       error.len ? lp_buf_cstr(&error) : strerror(-r));
	lp_buf_free(&error);
	return r < 0 ? r : lp_rulestore_each(rules->dir, NULL, load_one, &loading);
}

/* Evaluations that are under way belong to groups that go. */
static void abandon(struct lp_rules *rules)
{
	for (struct lp_evaluation *it = rules->evaluations; it; it = it->next) {
		it->run = NULL;
		if (it->query)
			lp_query_cancel(it->query);
	}
}

int lp_rules_load_all(struct lp_rules *rules, bool first)
{
	struct lp_rule_runs live = { 0 }, orphans = { 0 };
	uint64_t generation = lp_rulestore_generation(rules->dir);
	int64_t now_ns = lp_clock_real_ns();
	struct lp_view *view = old_view(rules, first);
	int r = lp_rules_new(&live.set);

	if (r == 0)
		r = load_set(rules, live.set, first);
	if (r < 0 && first) {
		/* Better the store's rules than none. */
		struct loading loading = { rules, NULL, lp_notify_conf(rules->notify)->rules.evaluation_interval };

		lp_rules_free(&live.set);
		r = lp_rules_new(&live.set);
		loading.set = live.set;
		if (r == 0)
			r = lp_rulestore_each(rules->dir, NULL, load_one, &loading);
	}
	if (r == 0)
		r = make_runs(&live);
	if (r == 0 && view)
		r = adopt(&live, &orphans, view, now_ns);
	if (view && view->serial > rules->serial)
		rules->serial = view->serial;
	lp_view_free(&view);
	rules->generation = generation;
	if (r < 0) {
		lp_rules_runs_free(&live);
		lp_rules_runs_free(&orphans);
		return r;
	}
	abandon(rules);
	lp_rules_runs_free(&rules->live);
	lp_rules_runs_free(&rules->orphans);
	schedule(&live, now_ns);
	rules->live = live;
	rules->orphans = orphans;
	rules->view_old = true;
	lp_rulestore_sync(rules->dir);
	if (live.set->n_rules || !first)
		lp_log(LP_INFO, "rules loaded groups=%u rules=%u", live.n, live.set->n_rules);
	return 0;
}
