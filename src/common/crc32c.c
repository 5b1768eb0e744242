/* CRC-32C.  The SSE4.2 path runs three independent streams (the instruction has a latency of three
 * cycles and a throughput of one) and joins them by shifting with precomputed tables, after Mark
 * Adler's crc32c.c description and Intel's "Fast CRC Computation for iSCSI Polynomial". */
#include "common/crc32c.h"

#include <pthread.h>
#include <string.h>

#define POLY 0x82f63b78u
#define LANE_BYTES 1024

static uint32_t table[8][256];
static uint32_t shift_table[4][256];    /* advance a crc over LANE_BYTES zero bytes */
static pthread_once_t once = PTHREAD_ONCE_INIT;
static int have_sse42;

static void init(void)
{
	for (uint32_t i = 0; i < 256; i++) {
		uint32_t crc = i;

		for (int k = 0; k < 8; k++)
			crc = crc & 1 ? (crc >> 1) ^ POLY : crc >> 1;
		table[0][i] = crc;
	}
	for (int t = 1; t < 8; t++)
		for (int i = 0; i < 256; i++)
			table[t][i] = (table[t - 1][i] >> 8) ^ table[0][table[t - 1][i] & 0xff];
	for (int byte = 0; byte < 4; byte++)
		for (uint32_t i = 0; i < 256; i++) {
			uint32_t crc = i << (8 * byte);

			for (int z = 0; z < LANE_BYTES; z++)
				crc = (crc >> 8) ^ table[0][crc & 0xff];
			shift_table[byte][i] = crc;
		}
#if defined(__x86_64__)
	have_sse42 = __builtin_cpu_supports("sse4.2");
#endif
}

static uint32_t update_table(uint32_t crc, const uint8_t *p, size_t n)
{
	for (; n >= 8; p += 8, n -= 8) {
		uint64_t v;

		memcpy(&v, p, 8);
		v ^= crc;
		crc = table[7][v & 0xff] ^ table[6][(v >> 8) & 0xff] ^ table[5][(v >> 16) & 0xff] ^
		      table[4][(v >> 24) & 0xff] ^ table[3][(v >> 32) & 0xff] ^ table[2][(v >> 40) & 0xff] ^
		      table[1][(v >> 48) & 0xff] ^ table[0][v >> 56];
	}
	for (; n; p++, n--)
		crc = (crc >> 8) ^ table[0][(crc ^ *p) & 0xff];
	return crc;
}

#if defined(__x86_64__)
static inline uint32_t shift_lane(uint32_t crc)
{
	return shift_table[0][crc & 0xff] ^ shift_table[1][(crc >> 8) & 0xff] ^
	       shift_table[2][(crc >> 16) & 0xff] ^ shift_table[3][crc >> 24];
}

__attribute__((target("sse4.2"))) static uint32_t update_sse42(uint32_t crc, const uint8_t *p, size_t n)
{
	while (n >= 3 * LANE_BYTES) {
		uint64_t a = crc, b = 0, c = 0;

		for (size_t i = 0; i < LANE_BYTES; i += 8) {
			uint64_t va, vb, vc;

			memcpy(&va, p + i, 8);
			memcpy(&vb, p + LANE_BYTES + i, 8);
			memcpy(&vc, p + 2 * LANE_BYTES + i, 8);
			a = __builtin_ia32_crc32di(a, va);
			b = __builtin_ia32_crc32di(b, vb);
			c = __builtin_ia32_crc32di(c, vc);
		}
		crc = shift_lane(shift_lane((uint32_t)a) ^ (uint32_t)b) ^ (uint32_t)c;
		p += 3 * LANE_BYTES;
		n -= 3 * LANE_BYTES;
	}
	uint64_t c64 = crc;

	for (; n >= 8; p += 8, n -= 8) {
		uint64_t v;

		memcpy(&v, p, 8);
		c64 = __builtin_ia32_crc32di(c64, v);
	}
	crc = (uint32_t)c64;
	for (; n; p++, n--)
		crc = __builtin_ia32_crc32qi(crc, *p);
	return crc;
}
#endif

uint32_t lp_crc32c_table(uint32_t crc, const void *p, size_t n)
{
	pthread_once(&once, init);
	return ~update_table(~crc, p, n);
}

uint32_t lp_crc32c(uint32_t crc, const void *p, size_t n)
{
	pthread_once(&once, init);
#if defined(__x86_64__)
	if (have_sse42)
		return ~update_sse42(~crc, p, n);
#endif
	return ~update_table(~crc, p, n);
}
