/* Log lines for one target: its query, its rate limit, the batch that is being filled, and how far the log was read. */
#ifndef LP_NOTIFY_HOOKS_FEED_H
#define LP_NOTIFY_HOOKS_FEED_H

#include "notify/hooks/body.h"
#include "notify/hooks/queue.h"
#include "store/follow.h"

/* What to read next: `rows` rows of the record at `pos` are done. */
struct lp_feed_position {
	lp_walpos pos;
	uint64_t rows;
};

struct lp_feed {
	const struct lp_hook_target *target;
	struct lp_hookq *queue;
	struct lp_pipeline *pipeline;
	struct lp_pipeline_state *state;
	struct lp_hook_batch batch;
	struct lp_feed_position at, batch_at;   /* batch_at: of the first line in the batch */
	int64_t batch_ms;                       /* when that came */
	double tokens;                          /* lines that may be sent now (token bucket) */
	int64_t tokens_ms;
	uint64_t untold;                        /* lines left out that no request has told of yet */
	uint64_t over_rate, behind, unqueued;   /* counters: by the rate limit; jumped over; no room or a template that failed */
};

/* The position comes from the queue; none there, or one that is not in this log (behind `committed`): `from`. */
int lp_feed_open(struct lp_feed *feed, const struct lp_hook_target *target, struct lp_hookq *queue, lp_walpos from, lp_walpos committed);
/* How far a queue says that the log was read for it; false: nothing yet. */
bool lp_feed_position(const struct lp_hookq *queue, lp_walpos *ret_pos);
void lp_feed_close(struct lp_feed *feed);
/* Take the lines of a record that the target wants; full batches go to the queue.  -ENOMEM: the record was not (wholly) taken. */
int lp_feed_record(struct lp_feed *feed, const struct lp_follow_record *record, int64_t now_ms);
/* The log was read up to here; nothing for this target in between. */
void lp_feed_reached(struct lp_feed *feed, lp_walpos pos);
/* Entries that the follower jumped over. */
void lp_feed_jumped(struct lp_feed *feed, uint64_t entries);
/* When the batch must go; INT64_MAX it is empty. */
int64_t lp_feed_due_ms(const struct lp_feed *feed);
/* Put the batch into the queue; when that fails its lines count as left out.  -EINVAL the template failed; -ENOSPC, -ENOMEM ... */
int lp_feed_flush(struct lp_feed *feed, int64_t now_ms);
/* Remember how far the log was read (not synced). */
void lp_feed_save(struct lp_feed *feed);

#endif
