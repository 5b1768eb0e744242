/* The state machine of a rule.
 *
 * Guarantees: a step either succeeds as a whole or leaves all alerts as they were; two samples with the same labels after the
 * rule's own are an error, never a coin toss; memory is bounded by the samples (limits.max_query_series) and the rule's limit.
 * Pure: process notifier, main thread; what must survive its death is written by src/notify/rules.c. */
#include "rules/eval.h"

#include "query/pipeline/template.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define EXPANDED_MAX 65536u

/* ---- alerts ---- */

uint64_t lp_alert_fingerprint(const struct lp_alert_pair *labels, uint32_t n)
{
	uint64_t h = UINT64_C(14695981039346656037);

	for (uint32_t i = 0; i < n; i++) {
		const char *parts[2] = { labels[i].name, labels[i].value };

		for (unsigned k = 0; k < 2; k++) {
			for (const char *s = parts[k]; *s; s++)
				h = (h ^ (uint8_t)*s) * UINT64_C(1099511628211);
			h = (h ^ 0xff) * UINT64_C(1099511628211);
		}
	}
	return h;
}

static int copy_pairs(struct lp_arena *arena, const struct lp_alert_pair *pairs, uint32_t n, struct lp_alert_pair **ret)
{
	struct lp_alert_pair *copy = lp_arena_alloc(arena, (n ? n : 1) * sizeof *copy);

	if (!copy)
		return -ENOMEM;
	for (uint32_t i = 0; i < n; i++) {
		copy[i].name = lp_arena_strndup(arena, pairs[i].name, strlen(pairs[i].name));
		copy[i].value = lp_arena_strndup(arena, pairs[i].value, strlen(pairs[i].value));
		if (!copy[i].name || !copy[i].value)
			return -ENOMEM;
	}
	*ret = copy;
	return 0;
}

static void free_alert(struct lp_alert *alert)
{
	lp_arena_free(&alert->arena);
	lp_arena_free(&alert->texts);
	free(alert);
}

struct lp_alert *lp_alert_new(struct lp_rule_state *state, const struct lp_alert_pair *labels, uint32_t n)
{
	struct lp_alert *alert = calloc(1, sizeof *alert);

	if (!alert || copy_pairs(&alert->arena, labels, n, &alert->labels) < 0) {
		if (alert)
			free_alert(alert);
		return NULL;
	}
	alert->n_labels = n;
	alert->fingerprint = lp_alert_fingerprint(labels, n);
	alert->next = state->alerts;
	state->alerts = alert;
	state->n_alerts++;
	return alert;
}

void lp_alert_drop(struct lp_rule_state *state, struct lp_alert *alert)
{
	struct lp_alert **link = &state->alerts;

	while (*link != alert)
		link = &(*link)->next;
	*link = alert->next;
	state->n_alerts--;
	free_alert(alert);
}

int lp_alert_annotate(struct lp_alert *alert, const struct lp_alert_pair *pairs, uint32_t n)
{
	struct lp_arena fresh = LP_ARENA_INIT;
	struct lp_alert_pair *copy;

	if (copy_pairs(&fresh, pairs, n, &copy) < 0) {
		lp_arena_free(&fresh);
		return -ENOMEM;
	}
	lp_arena_free(&alert->texts);
	alert->texts = fresh;
	alert->annotations = copy;
	alert->n_annotations = n;
	return 0;
}

void lp_rule_state_free(struct lp_rule_state *state)
{
	while (state->alerts)
		lp_alert_drop(state, state->alerts);
	lp_arena_free(&state->arena);
	free(state->last_error);
	*state = (struct lp_rule_state){ 0 };
}

bool lp_alert_due(const struct lp_alert *alert, int64_t now_ns, int64_t resend_ns)
{
	switch (alert->state) {
	case LP_ALERT_RESOLVED:
		return true;
	case LP_ALERT_FIRING:
		return alert->told_ns == 0 || now_ns - alert->told_ns >= resend_ns;
	default:
		return false;
	}
}

void lp_alert_told(struct lp_rule_state *state, struct lp_alert *alert, int64_t now_ns)
{
	if (alert->state == LP_ALERT_RESOLVED)
		lp_alert_drop(state, alert);
	else
		alert->told_ns = now_ns;
}

/* ---- one evaluation ---- */

struct made {                           /* a sample as an alert or a series */
	struct lp_alert_pair *labels, *annotations;
	uint32_t n_labels;
	uint64_t fingerprint;
	double value;
};

struct step {
	const struct lp_rule *rule;
	const char *external_url;
	struct lp_arena arena;
	struct lp_buf *error;
};

static int no_memory(struct step *s)
{
	lp_buf_str(s->error, "out of memory");
	return -ENOMEM;
}

/* The text with its template run over the sample's labels.  As in Prometheus a template that fails is a text that says so: an
 * alert is too important to be lost over its description. */
static const char *expand(struct step *s, const struct lp_rule_text *text, const struct lp_sample *sample)
{
	struct lp_buf out = { .max = EXPANDED_MAX }, why = { .max = 512 };
	const char *result;

	if (!text->tmpl)
		return text->value;
	const char **names = lp_arena_alloc(&s->arena, (2 * sample->n_labels + 1) * sizeof *names);

	if (!names)
		return NULL;
	for (uint32_t i = 0; i < sample->n_labels; i++) {
		names[i] = sample->labels[i].name;
		names[sample->n_labels + i] = sample->labels[i].value;
	}
	const struct lp_template_rule data = { .names = names, .values = names + sample->n_labels, .n_labels = sample->n_labels,
					       .value = sample->value, .external_url = s->external_url };
	int r = lp_template_run_rule(text->tmpl, &data, &out, &why);

	if (r == 0 && !out.failed && !memchr(out.data ? (const char *)out.data : "", 0, out.len)) {
		result = lp_arena_strndup(&s->arena, out.data ? (const char *)out.data : "", out.len);
	} else {
		lp_buf_reset(&out);
		lp_buf_str(&out, "<error expanding template: ");
		lp_buf_str(&out, why.len ? lp_buf_cstr(&why) : "the result is too long");
		lp_buf_byte(&out, '>');
		result = lp_arena_strndup(&s->arena, lp_buf_cstr(&out), out.len);
	}
	lp_buf_free(&out);
	lp_buf_free(&why);
	return result;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct lp_alert_pair *)a)->name, ((const struct lp_alert_pair *)b)->name);
}

/* Replace or add; an empty value removes, as everywhere in Prometheus.  pairs has room. */
static void set_label(struct lp_alert_pair *pairs, uint32_t *n, const char *name, const char *value)
{
	for (uint32_t i = 0; i < *n; i++)
		if (!strcmp(pairs[i].name, name)) {
			if (*value)
				pairs[i].value = value;
			else
				pairs[i] = pairs[--*n];
			return;
		}
	if (*value)
		pairs[(*n)++] = (struct lp_alert_pair){ name, value };
}

static int make(struct step *s, const struct lp_sample *sample, struct made *made)
{
	const struct lp_rule *rule = s->rule;
	struct lp_alert_pair *labels = lp_arena_alloc(&s->arena, (sample->n_labels + rule->n_labels + 1) * sizeof *labels);
	uint32_t n = 0;

	made->annotations = lp_arena_alloc(&s->arena, (rule->n_annotations + 1) * sizeof *made->annotations);
	if (!labels || !made->annotations)
		return no_memory(s);
	for (uint32_t i = 0; i < sample->n_labels; i++)
		if (strcmp(sample->labels[i].name, "__name__"))
			labels[n++] = sample->labels[i];
	for (uint32_t i = 0; i < rule->n_labels; i++) {
		const char *value = expand(s, &rule->labels[i], sample);

		if (!value)
			return no_memory(s);
		set_label(labels, &n, rule->labels[i].name, value);
	}
	if (!rule->recording)
		set_label(labels, &n, "alertname", rule->name);
	for (uint32_t i = 0; i < rule->n_annotations; i++) {
		made->annotations[i].name = rule->annotations[i].name;
		made->annotations[i].value = expand(s, &rule->annotations[i], sample);
		if (!made->annotations[i].value)
			return no_memory(s);
	}
	if (n)
		qsort(labels, n, sizeof *labels, by_name);
	made->labels = labels;
	made->n_labels = n;
	made->value = sample->value;
	made->fingerprint = lp_alert_fingerprint(labels, n);
	return 0;
}

static int by_fingerprint(const void *a, const void *b)
{
	uint64_t x = ((const struct made *)a)->fingerprint, y = ((const struct made *)b)->fingerprint;

	return x < y ? -1 : x > y;
}

static int make_all(struct step *s, const struct lp_vector *vector, struct made **ret)
{
	struct made *all = lp_arena_alloc(&s->arena, (vector->n ? vector->n : 1) * sizeof *all);

	if (!all)
		return no_memory(s);
	for (uint32_t i = 0; i < vector->n; i++) {
		int r = make(s, &vector->samples[i], &all[i]);

		if (r < 0)
			return r;
	}
	if (vector->n)
		qsort(all, vector->n, sizeof *all, by_fingerprint);
	for (uint32_t i = 1; i < vector->n; i++)
		if (all[i].fingerprint == all[i - 1].fingerprint) {
			lp_buf_printf(s->error, "vector contains metrics with the same labelset after applying %s labels",
				      s->rule->recording ? "rule" : "alert");
			return -EINVAL;
		}
	*ret = all;
	return 0;
}

static struct lp_alert *find(struct lp_rule_state *state, uint64_t fingerprint)
{
	for (struct lp_alert *alert = state->alerts; alert; alert = alert->next)
		if (alert->fingerprint == fingerprint && alert->state != LP_ALERT_RESOLVED)
			return alert;
	return NULL;
}

/* New alerts are made before any old one changes, so that running out of memory undoes cleanly. */
static int take_samples(struct step *s, struct lp_rule_state *state, int64_t now_ns, const struct made *all, uint32_t n)
{
	for (struct lp_alert *alert = state->alerts; alert; alert = alert->next)
		alert->seen = false;
	for (uint32_t i = 0; i < n; i++) {
		struct lp_alert *alert = find(state, all[i].fingerprint);

		if (!alert) {
			alert = lp_alert_new(state, all[i].labels, all[i].n_labels);
			if (!alert)
				return no_memory(s);
			alert->active_ns = now_ns;
		}
		alert->seen = true;
		alert->value = all[i].value;
		if (lp_alert_annotate(alert, all[i].annotations, s->rule->n_annotations) < 0)
			return no_memory(s);
	}
	return 0;
}

/* A sample is missing. */
static void miss(const struct lp_rule *rule, struct lp_rule_state *state, struct lp_alert *alert, int64_t now_ns)
{
	if (alert->state == LP_ALERT_PENDING) {
		lp_alert_drop(state, alert);
		return;
	}
	if (alert->state == LP_ALERT_RESOLVED)
		return;                 /* not told yet */
	if (rule->keep_ms) {
		if (!alert->keep_since_ns)
			alert->keep_since_ns = now_ns;
		if (now_ns - alert->keep_since_ns < rule->keep_ms * 1000000)
			return;
	}
	alert->state = LP_ALERT_RESOLVED;
	alert->resolved_ns = now_ns;
}

static void advance(const struct lp_rule *rule, struct lp_rule_state *state, int64_t now_ns)
{
	struct lp_alert *next;

	for (struct lp_alert *alert = state->alerts; alert; alert = next) {
		next = alert->next;
		if (!alert->seen) {
			miss(rule, state, alert, now_ns);
			continue;
		}
		alert->keep_since_ns = 0;
		if (alert->state == LP_ALERT_PENDING && now_ns - alert->active_ns >= rule->for_ms * 1000000) {
			alert->state = LP_ALERT_FIRING;
			alert->fired_ns = now_ns;
		}
	}
}

/* Pending time stood still while nobody evaluated. */
static void after_restart(const struct lp_rule_group *group, struct lp_rule_state *state, int64_t now_ns)
{
	int64_t gap_ns = now_ns - state->last_ns - group->interval_ms * 1000000;

	state->restored = false;
	if (!state->last_ns || gap_ns <= 0)
		return;
	for (struct lp_alert *alert = state->alerts; alert; alert = alert->next)
		if (alert->state == LP_ALERT_PENDING)
			alert->active_ns += gap_ns;
}

void lp_rule_away(struct lp_rule_state *state, int64_t away_ns)
{
	for (struct lp_alert *alert = state->alerts; alert; alert = alert->next) {
		if (alert->state == LP_ALERT_PENDING && !state->restored)       /* after_restart() does it for those */
			alert->active_ns += away_ns;
		if (alert->keep_since_ns)
			alert->keep_since_ns += away_ns;
		if (alert->told_ns && away_ns < 0)
			alert->told_ns += away_ns;
	}
}

static int record(struct step *s, struct lp_rule_state *state, const struct made *all, uint32_t n)
{
	struct lp_vector vector = { .n = n };
	struct lp_arena fresh = LP_ARENA_INIT;

	vector.samples = lp_arena_zalloc(&fresh, (n ? n : 1) * sizeof *vector.samples);
	for (uint32_t i = 0; i < n && vector.samples; i++) {
		vector.samples[i].value = all[i].value;
		vector.samples[i].n_labels = all[i].n_labels;
		if (copy_pairs(&fresh, all[i].labels, all[i].n_labels, &vector.samples[i].labels) < 0)
			vector.samples = NULL;
	}
	if (!vector.samples) {
		lp_arena_free(&fresh);
		return no_memory(s);
	}
	lp_arena_free(&state->arena);
	state->arena = fresh;
	state->vector = vector;
	return 0;
}

int lp_rule_step(const struct lp_rule_group *group, const struct lp_rule *rule, struct lp_rule_state *state, int64_t now_ns,
		 const struct lp_vector *vector, const char *external_url, struct lp_buf *error)
{
	struct step s = { .rule = rule, .external_url = external_url, .error = error };
	struct made *all;
	int r = 0;

	if (group->limit && vector->n > group->limit) {
		lp_buf_printf(error, "exceeded limit of %u with %u %s", group->limit, vector->n, rule->recording ? "series" : "alerts");
		return -EINVAL;
	}
	r = make_all(&s, vector, &all);
	if (r == 0 && rule->recording) {
		r = record(&s, state, all, vector->n);
	} else if (r == 0) {
		if (state->restored)
			after_restart(group, state, now_ns);
		r = take_samples(&s, state, now_ns, all, vector->n);
		if (r == 0)
			advance(rule, state, now_ns);
	}
	lp_arena_free(&s.arena);
	return r;
}

void lp_rule_note(struct lp_rule_state *state, int64_t now_ns, int64_t took_ns, const char *error)
{
	free(state->last_error);
	state->last_error = error ? strdup(error) : NULL;
	state->health = error ? LP_RULE_ERR : LP_RULE_OK;
	state->last_ns = now_ns;
	state->took_ns = took_ns;
}

int64_t lp_rule_slot(const struct lp_rule_group *group, int64_t now_ns)
{
	const struct lp_alert_pair id = { group->file, group->name };
	int64_t interval_ns = group->interval_ms * 1000000;
	int64_t shift_ns = (int64_t)(lp_alert_fingerprint(&id, 1) % (uint64_t)interval_ns);
	int64_t into_ns = (now_ns - shift_ns) % interval_ns;

	return now_ns - (into_ns < 0 ? into_ns + interval_ns : into_ns);
}
