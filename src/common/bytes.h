/* Little-endian loads and stores, LEB128 varints, alignment.  Pure, inline, any process. */
#ifndef LP_COMMON_BYTES_H
#define LP_COMMON_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define LP_ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define LP_ALIGN(n, to) (((n) + ((to) - 1)) & ~((__typeof__(n))(to) - 1))

static inline uint16_t lp_le16(const void *p) { uint16_t v; memcpy(&v, p, 2); return v; }
static inline uint32_t lp_le32(const void *p) { uint32_t v; memcpy(&v, p, 4); return v; }
static inline uint64_t lp_le64(const void *p) { uint64_t v; memcpy(&v, p, 8); return v; }
static inline void lp_put_le16(void *p, uint16_t v) { memcpy(p, &v, 2); }
static inline void lp_put_le32(void *p, uint32_t v) { memcpy(p, &v, 4); }
static inline void lp_put_le64(void *p, uint64_t v) { memcpy(p, &v, 8); }

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the file formats and the shared region are little-endian; this host is not"
#endif

#define LP_VARINT_MAX 10

/* Append v to p (room for LP_VARINT_MAX bytes); returns the end. */
static inline uint8_t *lp_varint_put(uint8_t *p, uint64_t v)
{
	while (v >= 0x80) {
		*p++ = (uint8_t)v | 0x80;
		v >>= 7;
	}
	*p++ = (uint8_t)v;
	return p;
}

static inline unsigned lp_varint_len(uint64_t v)
{
	unsigned n = 1;

	while (v >= 0x80) {
		v >>= 7;
		n++;
	}
	return n;
}

/* Read a varint from [p, end); returns the byte after it, or NULL when it is cut off or over 64 bits. */
static inline const uint8_t *lp_varint_get(const uint8_t *p, const uint8_t *end, uint64_t *ret_v)
{
	uint64_t v = 0;

	for (unsigned shift = 0; shift < 70 && p < end; shift += 7) {
		uint8_t c = *p++;

		if (shift == 63 && c > 1)
			return NULL;
		v |= (uint64_t)(c & 0x7f) << shift;
		if (!(c & 0x80)) {
			*ret_v = v;
			return p;
		}
	}
	return NULL;
}

static inline uint64_t lp_zigzag(int64_t v) { return ((uint64_t)v << 1) ^ (uint64_t)(v >> 63); }
static inline int64_t lp_unzigzag(uint64_t v) { return (int64_t)(v >> 1) ^ -(int64_t)(v & 1); }

#endif
