/* Clocks: thin wrappers with the unit in the name. */
#include "common/clock.h"

#include <time.h>

static int64_t read_ns(clockid_t id)
{
	struct timespec t;

	clock_gettime(id, &t);
	return t.tv_sec * LP_NS_PER_SEC + t.tv_nsec;
}

int64_t lp_clock_real_ns(void) { return read_ns(CLOCK_REALTIME); }
int64_t lp_clock_mono_ns(void) { return read_ns(CLOCK_MONOTONIC); }
int64_t lp_clock_mono_ms(void) { return read_ns(CLOCK_MONOTONIC) / LP_NS_PER_MS; }
int64_t lp_clock_thread_cpu_ns(void) { return read_ns(CLOCK_THREAD_CPUTIME_ID); }

int64_t lp_clock_day(int64_t ts_ns)
{
	return ts_ns >= 0 ? ts_ns / LP_NS_PER_DAY : -((-(ts_ns + 1)) / LP_NS_PER_DAY) - 1;
}
