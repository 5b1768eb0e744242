/* Request bodies: what each kind of target is told about an alert, or about a batch of log lines.  Pure. */
#ifndef LP_NOTIFY_HOOKS_BODY_H
#define LP_NOTIFY_HOOKS_BODY_H

#include "notify/event.h"
#include "notify/hooks/targets.h"
#include "query/pipeline/pipeline.h"
#include "store/format/labels.h"

/* Lines of one request, collected. */
struct lp_hook_batch {
	struct lp_buf entries;          /* JSON objects, separated by commas */
	struct lp_buf text;             /* the first of them for people; bounded */
	uint32_t lines;
	uint64_t dropped;               /* lines that were left out since the last request of this target */
};

#define LP_HOOK_MAX_TEXT 3000u          /* of lp_hook_batch.text: what Slack shows without folding it */

/* Of the alert: the same in all it is told about it. */
uint64_t lp_hook_alert_key(const struct lp_alert_event *event);
/* Of what is told, not of the moment: the same for every repetition but the renewals that Alertmanager gets. */
uint64_t lp_hook_alert_id(const struct lp_alert_event *event);

/* Append one line as the target's query left it. */
void lp_hook_batch_add(struct lp_hook_batch *batch, const char *tenant, size_t tenant_len, int64_t ts_ns,
		       const struct lp_pipeline_result *line);
void lp_hook_batch_reset(struct lp_hook_batch *batch);
void lp_hook_batch_free(struct lp_hook_batch *batch);

/* Append the body to out.  Bodies for PagerDuty lack the routing key: a secret is not queued, lp_hook_body_finish() adds it.
 * -EINVAL the target's template failed, its text in error; -ENOMEM. */
int lp_hook_body_alert(const struct lp_hook_target *target, const struct lp_alert_event *event, struct lp_buf *out, struct lp_buf *error);
int lp_hook_body_logs(const struct lp_hook_target *target, const struct lp_hook_batch *batch, uint64_t id, int64_t now_ns,
		      struct lp_buf *out, struct lp_buf *error);
/* A queued body as it is sent. */
int lp_hook_body_finish(const struct lp_hook_target *target, const void *body, size_t len, struct lp_buf *out);
/* Where it is sent to: the target's address; for an Alertmanager that names no path, its API; the first line of the queued body
 * for a target whose events bring their own. */
void lp_hook_body_url(const struct lp_hook_target *target, const void *body, size_t len, struct lp_buf *out);

#endif
