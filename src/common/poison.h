/* Makes memory that nobody was given an error to touch, where AddressSanitizer looks; nothing elsewhere.  For allocators that hand out
 * parts of what they got from malloc(), whose users' overruns nobody would see otherwise. */
#ifndef LP_COMMON_POISON_H
#define LP_COMMON_POISON_H

#if defined(__SANITIZE_ADDRESS__)
#define LP_POISONING 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define LP_POISONING 1
#endif
#endif

#ifdef LP_POISONING
#include <sanitizer/asan_interface.h>
#define LP_POISON_GAP ((size_t)16)      /* bytes behind each part that stay untouchable */
#define lp_poison(p, n) ASAN_POISON_MEMORY_REGION((p), (n))
#define lp_unpoison(p, n) ASAN_UNPOISON_MEMORY_REGION((p), (n))
#else
#define LP_POISON_GAP ((size_t)0)
#define lp_poison(p, n) ((void)(p), (void)(n))
#define lp_unpoison(p, n) ((void)(p), (void)(n))
#endif

#endif
