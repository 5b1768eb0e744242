/* LP_ASSERT: our own mistakes only, never a stranger's bytes.  Stays on in release builds. */
#ifndef LP_COMMON_ASSERT_H
#define LP_COMMON_ASSERT_H

#include <stdio.h>
#include <stdlib.h>

#define LP_ASSERT(cond)                                                                       \
	do {                                                                                  \
		if (__builtin_expect(!(cond), 0)) {                                           \
			fprintf(stderr, "<2>panic: %s:%d: %s\n", __FILE__, __LINE__, #cond);  \
			abort();                                                              \
		}                                                                             \
	} while (0)

#endif
