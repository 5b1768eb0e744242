/* When to send, when to try again, when to give up: the rules of one target, without sending anything.  Pure; the caller brings
 * the clock (monotonic ms) and random numbers. */
#ifndef LP_NOTIFY_HOOKS_DELIVER_H
#define LP_NOTIFY_HOOKS_DELIVER_H

#include <stdbool.h>
#include <stdint.h>

#define LP_DELIVER_BASE_MS 500
#define LP_DELIVER_CAP_MS 60000
#define LP_BREAKER_FAILURES 5u          /* in a row open the circuit */
#define LP_BREAKER_OPEN_MS 15000        /* doubles with each probe that fails */
#define LP_BREAKER_OPEN_MAX_MS 300000

enum lp_breaker { LP_BREAKER_CLOSED, LP_BREAKER_OPEN, LP_BREAKER_HALF_OPEN };
enum lp_deliver_verdict {
	LP_DELIVER_SENT,                /* the event is done */
	LP_DELIVER_RETRY,               /* the same event again, not before next_ms */
	LP_DELIVER_REFUSED,             /* the event is done: the other side does not want it */
	LP_DELIVER_GIVEN_UP,            /* the event is done: tried as often as allowed */
};

struct lp_deliver {
	enum lp_breaker breaker;
	uint32_t failures;              /* in a row, of any event */
	uint32_t attempts;              /* of the event at hand */
	int64_t open_ms;                /* how long the circuit stays open next time */
	int64_t next_ms;                /* nothing is sent before */
};

/* May the event at hand be sent now?  An open circuit becomes half-open when its time is over: one probe. */
bool lp_deliver_may(struct lp_deliver *deliver, int64_t now_ms);
/* The answer to it: an HTTP status or 0 for none; retry_after_ms -1 none; retry: attempts after the first, -1 no limit; random:
 * any 64 bits. */
enum lp_deliver_verdict lp_deliver_answer(struct lp_deliver *deliver, int64_t now_ms, int status, int64_t retry_after_ms, int64_t retry,
					  uint64_t random);
/* The event at hand is another one now (expired, dropped). */
void lp_deliver_next(struct lp_deliver *deliver);
/* Statuses after which the same request may succeed. */
bool lp_deliver_retriable(int status);

#endif
