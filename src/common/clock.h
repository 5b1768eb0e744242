/* Clocks.  Deadlines use the monotonic one; entries and file names the real one. */
#ifndef LP_COMMON_CLOCK_H
#define LP_COMMON_CLOCK_H

#include <stdint.h>

#define LP_NS_PER_SEC INT64_C(1000000000)
#define LP_NS_PER_MS INT64_C(1000000)
#define LP_NS_PER_DAY (INT64_C(86400) * LP_NS_PER_SEC)

int64_t lp_clock_real_ns(void);         /* since 1970, CLOCK_REALTIME */
int64_t lp_clock_mono_ns(void);         /* CLOCK_MONOTONIC */
int64_t lp_clock_mono_ms(void);
int64_t lp_clock_thread_cpu_ns(void);   /* CPU time of the calling thread */
/* UTC day number of a timestamp, rounded towards minus infinity. */
int64_t lp_clock_day(int64_t ts_ns);

#endif
