/* Backoff and circuit breaker of one target (see deliver.h).
 *
 * Backoff: exponential with full jitter, a random time in [0, min(cap, base * 2^attempt)], after Marc Brooker, "Exponential Backoff
 * And Jitter", AWS Architecture Blog, 2015: of the variants measured there it does the least work at nearly the best time.
 * Circuit breaker: Michael Nygard, "Release It!", 2007, chapter "Stability Patterns": closed, open after failures in a row, half-open
 * for one probe.  Process: notifier, main thread; pure. */
#include "notify/hooks/deliver.h"

bool lp_deliver_retriable(int status)
{
	return status == 0 || status == 408 || status == 425 || status == 429 || status >= 500;
}

bool lp_deliver_may(struct lp_deliver *deliver, int64_t now_ms)
{
	if (now_ms < deliver->next_ms)
		return false;
	if (deliver->breaker == LP_BREAKER_OPEN)
		deliver->breaker = LP_BREAKER_HALF_OPEN;
	return true;
}

static void close_circuit(struct lp_deliver *deliver)
{
	deliver->breaker = LP_BREAKER_CLOSED;
	deliver->failures = 0;
	deliver->open_ms = LP_BREAKER_OPEN_MS;
}

/* In [0, max]: the bias of the remainder is far below what anybody could notice in milliseconds. */
static int64_t random_up_to(uint64_t random, int64_t max) { return (int64_t)(random % ((uint64_t)max + 1)); }

static int64_t backoff_ms(uint32_t attempts, uint64_t random)
{
	int64_t max = LP_DELIVER_BASE_MS;

	for (uint32_t i = 1; i < attempts && max < LP_DELIVER_CAP_MS; i++)
		max *= 2;
	return random_up_to(random, max < LP_DELIVER_CAP_MS ? max : LP_DELIVER_CAP_MS);
}

static void count_failure(struct lp_deliver *deliver, int64_t now_ms, uint64_t random)
{
	int64_t open_until;

	deliver->failures++;
	if (deliver->breaker != LP_BREAKER_HALF_OPEN && deliver->failures < LP_BREAKER_FAILURES)
		return;
	if (!deliver->open_ms)
		deliver->open_ms = LP_BREAKER_OPEN_MS;
	/* A quarter at random, so that many senders do not probe at the same moment. */
	open_until = now_ms + deliver->open_ms * 3 / 4 + random_up_to(random >> 16, deliver->open_ms / 4);
	deliver->breaker = LP_BREAKER_OPEN;
	deliver->open_ms = deliver->open_ms * 2 < LP_BREAKER_OPEN_MAX_MS ? deliver->open_ms * 2 : LP_BREAKER_OPEN_MAX_MS;
	if (deliver->next_ms < open_until)
		deliver->next_ms = open_until;
}

enum lp_deliver_verdict lp_deliver_answer(struct lp_deliver *deliver, int64_t now_ms, int status, int64_t retry_after_ms, int64_t retry,
					  uint64_t random)
{
	int64_t wait_ms;

	if (!lp_deliver_retriable(status)) {
		/* Whatever it says, it is there and answers. */
		close_circuit(deliver);
		deliver->attempts = 0;
		deliver->next_ms = now_ms;
		return status >= 200 && status < 300 ? LP_DELIVER_SENT : LP_DELIVER_REFUSED;
	}
	deliver->attempts++;
	wait_ms = backoff_ms(deliver->attempts, random);
	if (wait_ms < retry_after_ms)
		wait_ms = retry_after_ms;
	deliver->next_ms = now_ms + wait_ms;
	count_failure(deliver, now_ms, random);
	if (retry >= 0 && deliver->attempts > (uint64_t)retry) {
		deliver->attempts = 0;
		return LP_DELIVER_GIVEN_UP;
	}
	return LP_DELIVER_RETRY;
}

void lp_deliver_next(struct lp_deliver *deliver) { deliver->attempts = 0; }
