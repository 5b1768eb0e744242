/* Named kill points for crash tests.
 *
 * LP_FAULT("name") dies there by SIGKILL when the environment says LOGPULSE_FAULT=name
 * (or name:7 to die at the seventh passage; "name:7:stop" stops the process by SIGSTOP
 * instead).  The variable is read once per process; a restarted child inherits it, so the point is
 * disarmed by a marker: with LOGPULSE_FAULT_ONCE=PATH the file is created first, and an existing
 * file disarms.  Without --disable-faults the cost of an unarmed point is one load and a branch. */
#ifndef LP_COMMON_FAULT_H
#define LP_COMMON_FAULT_H

#include <stdatomic.h>

#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

void lp_fault_hit(const char *name);
extern _Atomic int lp_fault_armed;      /* 0 unarmed, 1 armed, -1 not looked yet; threads meet here */

#ifdef LP_WITH_FAULTS
#define LP_FAULT(name)                                                                                          \
	do {                                                                                                    \
		if (__builtin_expect(atomic_load_explicit(&lp_fault_armed, memory_order_relaxed) != 0, 0))      \
			lp_fault_hit(name);                                                                     \
	} while (0)
#else
#define LP_FAULT(name) do { } while (0)
#endif

#endif
