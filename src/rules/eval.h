/* What one rule knows between evaluations, and the step from one to the next.  Pure: the clock is a parameter, queries are
 * somebody else's, nothing is read or written here.
 *
 *                 sample                held for `for`
 *   (nothing) ------------> pending ------------------> firing --- no sample for keep_firing_for ---> resolved --- told ---> (nothing)
 *                              |  no sample                ^  |  sample again
 *                              +--------> (nothing)        +--+
 *
 * The steps are those of Prometheus' rules/alerting.go, with three differences, all of them so that nobody misses an incident: a
 * resolved alert stays until lp_alert_told() says that its end is in somebody's hands; an evaluation over its limit changes nothing
 * instead of forgetting all alerts; time in which nobody evaluated (a restart, a jump of the clock) does not count as held. */
#ifndef LP_RULES_EVAL_H
#define LP_RULES_EVAL_H

#include "common/trace.h"
#include "rules/rule.h"
#include "rules/vector.h"

enum lp_alert_state { LP_ALERT_PENDING, LP_ALERT_FIRING, LP_ALERT_RESOLVED };
enum lp_rule_health { LP_RULE_UNKNOWN, LP_RULE_OK, LP_RULE_ERR };

struct lp_alert {
	struct lp_alert *next;
	struct lp_arena arena;          /* labels */
	struct lp_arena texts;          /* annotations: made anew by each evaluation */
	uint64_t fingerprint;
	enum lp_alert_state state;
	int64_t active_ns;              /* first seen: pending since */
	int64_t fired_ns;               /* firing since; 0 not yet */
	int64_t resolved_ns;
	int64_t keep_since_ns;          /* the samples have been missing since; 0 not missing */
	int64_t told_ns;                /* firing was last told; 0 never */
	double value;
	struct lp_alert_pair *labels, *annotations;
	uint32_t n_labels, n_annotations;
	bool seen;                      /* in the evaluation that is under way */
};

struct lp_rule_state {
	struct lp_alert *alerts;        /* alerting: in no order */
	uint32_t n_alerts;
	struct lp_arena arena;          /* recording: the series of the last evaluation, in vector */
	struct lp_vector vector;
	enum lp_rule_health health;
	char *last_error;               /* owned; NULL none */
	int64_t last_ns;                /* evaluation time; 0 never */
	int64_t took_ns;
	bool restored;                  /* from a file, not evaluated since */
	struct lp_trace_id trace;       /* the span of the last evaluation; zero: none, not traced.  Not saved */
};

void lp_rule_state_free(struct lp_rule_state *state);   /* frees what it owns, not itself; empty after it */
/* Samples of an evaluation at now_ns.  The rule's group gives interval and limit.  -EINVAL with a text in error: nothing but the alerts'
 * `seen` changed; -ENOMEM likewise. */
int lp_rule_step(const struct lp_rule_group *group, const struct lp_rule *rule, struct lp_rule_state *state, int64_t now_ns,
		 const struct lp_vector *vector, const char *external_url, struct lp_buf *error);
/* Note the outcome of an evaluation (of lp_rule_step or of the query before it); error NULL: it went well. */
void lp_rule_note(struct lp_rule_state *state, int64_t now_ns, int64_t took_ns, const char *error);

/* So much time passed without anybody looking (a stopped process, a clock that was set; back: negative).  It does not count as held or as
 * missing, and what was told in a future that is not coming is told again in time. */
void lp_rule_away(struct lp_rule_state *state, int64_t away_ns);

/* Must it be told (again)?  A firing one every resend_ns. */
bool lp_alert_due(const struct lp_alert *alert, int64_t now_ns, int64_t resend_ns);
/* It was told: remember when, and forget it if it is resolved.  May free alert. */
void lp_alert_told(struct lp_rule_state *state, struct lp_alert *alert, int64_t now_ns);

/* Of sorted labels: FNV-1a over names and values, each with a 0xff behind it (as Prometheus' label fingerprints). */
uint64_t lp_alert_fingerprint(const struct lp_alert_pair *labels, uint32_t n);
/* A new alert with copies of its labels in the state's list; NULL without memory. */
struct lp_alert *lp_alert_new(struct lp_rule_state *state, const struct lp_alert_pair *labels, uint32_t n);
void lp_alert_drop(struct lp_rule_state *state, struct lp_alert *alert);
/* Replace its annotations by copies. */
int lp_alert_annotate(struct lp_alert *alert, const struct lp_alert_pair *pairs, uint32_t n);

/* The evaluation times of a group lie on a grid of its interval, shifted by what its name hashes to, so that groups do not meet.
 * The latest one at or before now_ns. */
int64_t lp_rule_slot(const struct lp_rule_group *group, int64_t now_ns);

#endif
