/* Shared by the files of the rules module (rules.c, rules-load.c, rules-save.c, rules-emit.c).  Everything belongs to the
 * notifier's main thread, but what struct lp_evaluation says is the engine's. */
#ifndef LP_NOTIFY_RULES_PRIVATE_H
#define LP_NOTIFY_RULES_PRIVATE_H

#include "notify/notify.h"
#include "query/query.h"
#include "rules/image.h"

#include <stdatomic.h>

#define LP_RULES_PATH 4352

struct lp_group_run {                   /* a group that is evaluated */
	const struct lp_rule_group *group;
	struct lp_rule_state *states;   /* one per rule, in their order */
	struct lp_group_times times;
	int64_t next_ns;                /* slot of the next evaluation, CLOCK_REALTIME */
	struct lp_evaluation *running;  /* NULL: idle */
};

struct lp_rule_runs {
	struct lp_rule_set *set;
	struct lp_group_run *runs;
	uint32_t n;
};

struct lp_evaluation {                  /* of one group, rule by rule */
	struct lp_evaluation *next;
	struct lp_notify *notify;
	struct lp_group_run *run;       /* NULL: the rules were loaded anew, the result is nobody's */
	const struct lp_rule *rule;
	uint32_t index;
	int64_t ts_ns, began_ns;        /* evaluation time; monotonic begin of the group */
	int64_t rule_began_ns;
	struct lp_trace trace;          /* of the rule's evaluation; sampled only while tracing is on */
	struct lp_query *query;
	/* the engine's until done */
	struct lp_buf answer;
	int status;
	bool complete;
	atomic_bool done;
};

struct lp_rules {
	struct lp_notify *notify;
	char dir[LP_RULES_PATH];        /* data/rules */
	struct lp_engine *engine;       /* NULL until there are rules and recovery is over */
	struct lp_rule_runs live;
	struct lp_rule_runs orphans;    /* alerts whose rule is gone: to be told as resolved; never evaluated */
	struct lp_evaluation *evaluations;
	unsigned n_evaluations;
	uint64_t serial;                /* of the last image */
	uint64_t generation;            /* of the rules made over HTTP that are loaded */
	uint64_t saved_mark;            /* what data/rules/state says, see lp_rules_mark() */
	bool view_old;                  /* data/rules/view does not say the latest */
	uint32_t concurrency;           /* of the engine */
	int64_t now_ns;                 /* CLOCK_REALTIME at the last tick; 0 none yet */
	int64_t changed_ms;             /* monotonic: since when a change waits; 0 none does */
	int64_t looked_ms;              /* monotonic: when files and alerts were last looked at */
	int64_t view_ms, retry_ms;      /* monotonic: last written; events are not tried again before */
	bool save_failing;
};

/* rules-load.c.  Load all rules anew and take the alerts of the old ones over; on failure of the configured files the old stay.
 * first: at start, when the old ones are those of the image. */
int lp_rules_load_all(struct lp_rules *rules, bool first);
void lp_rules_runs_free(struct lp_rule_runs *runs);

/* rules-save.c */
int lp_rules_save(struct lp_rules *rules, bool durable);        /* data/rules/state, or data/rules/view */
uint64_t lp_rules_mark(const struct lp_rules *rules);           /* changes when an alert's state does */
struct lp_view *lp_rules_saved(struct lp_rules *rules);         /* the newer valid image; NULL: none */
int lp_rules_encode(struct lp_rules *rules, struct lp_buf *out);

/* rules-emit.c */
/* rules.external_url without a slash at its end, or where the server listens. */
void lp_rules_external_url(const struct lp_conf *conf, struct lp_buf *out);
/* Tell what is due, and save before and after. */
void lp_rules_emit(struct lp_rules *rules, int64_t now_ns, int64_t now_ms);

#endif
