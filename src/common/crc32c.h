/* CRC-32C (Castagnoli, RFC 3720 appendix B.4), as iSCSI, ext4 and SSE4.2 compute it. */
#ifndef LP_COMMON_CRC32C_H
#define LP_COMMON_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* Continue from `crc` (0 to start).  Uses the CPU's instruction where there is one. */
uint32_t lp_crc32c(uint32_t crc, const void *p, size_t n);
/* The portable form, for tests that compare the two. */
uint32_t lp_crc32c_table(uint32_t crc, const void *p, size_t n);

#endif
