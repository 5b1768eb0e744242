/* The tail hub: one thread per process that follows the log and runs every tail's query over what is committed.
 *
 * A batch is walked once, whatever the number of tails: a stream's labels are matched with each query once and remembered, and
 * a row is taken through the pipelines of the queries that want its stream.  Queries, not clients: who asks the same shares.
 *
 *   lp_tailhub_add(hub, tail, group)         its rows come by events.frames from some position on
 *   lp_tailhub_join(hub, group, client, h)   events.joined: what comes by frames from here on is for this client as well; with
 *                                            history wanted, a snapshot that ends exactly here comes with it
 *   lp_tailhub_remove(hub, group)            events.removed: nothing more comes for this group
 *
 * Entries that were pushed again (same stream, time, line and metadata) come once, as far as a memory of the last
 * LP_TAILHUB_SEEN entries that any tail's streams had reaches; it reaches back over the last LP_TAILHUB_BACK bytes of the log when
 * a query is new.  What a delete request took away and was pushed again afterwards is not a repeat. */
#ifndef LP_QUERY_TAILHUB_H
#define LP_QUERY_TAILHUB_H

#include "query/tail.h"
#include "store/follow.h"

#define LP_TAILHUB_SEEN 65536u          /* at least; up to twice as many */
#define LP_TAILHUB_BACK (4u << 20)

struct lp_tailhub;

/* All are called by the hub's thread, in the order of the log; the callee hands them to whom they concern. */
struct lp_tailhub_events {
	/* Whole messages of one group; frames is the callee's only during the call.  Returns the bytes that wait to be handed on,
	 * in all groups: above LP_TAILHUB_AHEAD the hub pauses. */
	size_t (*frames)(void *ctx, void *group, const struct lp_tail_frames *frames);
	size_t (*waiting)(void *ctx);                           /* the same bytes, asked for during a pause */
	/* snapshot: the callee's, NULL without history or with error < 0. */
	void (*joined)(void *ctx, void *group, void *client, struct lp_snapshot *snapshot, int error);
	void (*removed)(void *ctx, void *group);
	/* The hub could not keep up: so many entries of the log were not looked at, for anybody. */
	void (*lost)(void *ctx, uint64_t entries);
	void *ctx;
};
#define LP_TAILHUB_AHEAD (16u << 20)

struct lp_tailhub_config {
	struct lp_catalog *catalog;
	struct lp_region *region;
	uint32_t slot;
	int nice;
	struct lp_tailhub_events events;
};

/* Start the thread.  -ENOMEM, -EAGAIN. */
int lp_tailhub_open(const struct lp_tailhub_config *config, struct lp_tailhub **ret_hub);
/* Stop the thread and close the tails; joins that were not answered are answered with -ECANCELED, by the caller's thread. */
void lp_tailhub_close(struct lp_tailhub **hub);

/* Commands; they never block for long.  -ENOMEM: nothing was done.  The hub owns the tail from a successful add on. */
int lp_tailhub_add(struct lp_tailhub *hub, struct lp_tail *tail, void *group);
int lp_tailhub_join(struct lp_tailhub *hub, void *group, void *client, bool history);
int lp_tailhub_remove(struct lp_tailhub *hub, void *group);
/* Rounds are this far apart at least, so that many clients are written to in larger pieces. */
void lp_tailhub_pace(struct lp_tailhub *hub, uint32_t ms);

#endif
