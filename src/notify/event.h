/* An alert event: what the rule evaluator tells the senders.  Plain data, no process knowledge.
 * All pointers are borrowed for the duration of the call that takes the event. */
#ifndef LP_NOTIFY_EVENT_H
#define LP_NOTIFY_EVENT_H

#include "common/trace.h"
#include "rules/pair.h"

#include <stdbool.h>
#include <stdint.h>

struct lp_alert_event {
	const char *tenant;             /* "" default */
	const char *file;               /* rule file, or namespace of the ruler API; "alerts" for the original API */
	const char *group;
	const char *rule;               /* name of the alert */
	const char *expr;
	uint64_t fingerprint;           /* of the labels; the same in every event of one alert */
	bool firing;                    /* false: resolved */
	/* A firing alert is told again every rules.resend_delay.  Alertmanager needs that; a webhook has had it already. */
	bool repeat;
	double value;                   /* of the expression when it was last above the condition */
	int64_t at_ns;                  /* time of the evaluation */
	int64_t starts_ns;              /* when it began to fire; with the fingerprint it names the incident */
	int64_t ends_ns;                /* resolved: when.  Firing: until when it counts as firing if nobody says it again */
	const struct lp_alert_pair *labels;             /* sorted by name, alertname is one of them */
	uint32_t n_labels;
	const struct lp_alert_pair *annotations;        /* sorted by name */
	uint32_t n_annotations;
	const char *generator_url;      /* where the expression can be looked at; never NULL */
	const char *webhook;            /* original API: the rule's own address; NULL none */
	const char *const *channels;    /* alerts.yaml: names of the channels; none means all */
	uint32_t n_channels;
	struct lp_trace_id trace;       /* the span of the evaluation; zero: none */
};

#endif
