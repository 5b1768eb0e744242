/* Content-Encoding: undo gzip, deflate, zstd and snappy into bounded memory.
 *
 * Never writes more than max_bytes: a bomb stops there.  libdeflate needs its output's size in advance; it gets a guess
 * (gzip's own field, RFC 1952, checked against what 1000:1 compression could make of the input) and doubles it on
 * demand.  Process: worker; memory only. */
#include "ingest/decode.h"

#include "common/bytes.h"

#include <errno.h>
#include <libdeflate.h>
#include <snappy-c.h>
#include <strings.h>
#include <zstd.h>

int lp_content_encoding_parse(const char *s, size_t n, enum lp_content_encoding *ret_enc)
{
	static const struct {
		const char *name;
		enum lp_content_encoding enc;
	} names[] = {
		{ "", LP_ENC_IDENTITY }, { "identity", LP_ENC_IDENTITY }, { "gzip", LP_ENC_GZIP }, { "x-gzip", LP_ENC_GZIP },
		{ "deflate", LP_ENC_DEFLATE }, { "zstd", LP_ENC_ZSTD }, { "snappy", LP_ENC_SNAPPY },
	};

	for (size_t i = 0; i < LP_ARRAY_LEN(names); i++)
		if (strlen(names[i].name) == n && !strncasecmp(names[i].name, s, n)) {
			*ret_enc = names[i].enc;
			return 0;
		}
	return -EINVAL;
}

/* Room for `want` more bytes but never beyond max; false when out of memory. */
static bool reserve(struct lp_buf *out, size_t want, size_t max, size_t *ret_room)
{
	size_t room = max - out->len < want ? max - out->len : want;

	if (!lp_buf_reserve(out, room + 1))
		return false;
	*ret_room = room;
	return true;
}

typedef enum libdeflate_result (*inflate_fn)(struct libdeflate_decompressor *, const void *, size_t, void *, size_t, size_t *,
					     size_t *);

/* One stream or gzip member; *ret_used input bytes. */
static int inflate_one(struct libdeflate_decompressor *d, inflate_fn fn, const uint8_t *p, size_t n, size_t guess, size_t max,
		       struct lp_buf *out, size_t *ret_used)
{
	for (size_t want = guess < 4096 ? 4096 : guess;; want *= 2) {
		size_t room, made;

		if (!reserve(out, want, max, &room))
			return -ENOMEM;
		switch (fn(d, p, n, out->data + out->len, room, ret_used, &made)) {
		case LIBDEFLATE_SUCCESS:
			out->len += made;
			return 0;
		case LIBDEFLATE_INSUFFICIENT_SPACE:
			if (room < want || want > SIZE_MAX / 4)
				return -E2BIG;
			continue;
		case LIBDEFLATE_BAD_DATA:
		case LIBDEFLATE_SHORT_OUTPUT:
			return -EBADMSG;
		}
	}
}

static size_t likely_size(size_t n, size_t hint)
{
	size_t most = n > SIZE_MAX / 1032 ? SIZE_MAX : n * 1032;        /* deflate's best ratio */

	return hint && hint <= most ? hint : n < SIZE_MAX / 4 ? n * 4 : n;
}

static int undo_gzip(struct libdeflate_decompressor *d, const uint8_t *p, size_t n, size_t max, struct lp_buf *out)
{
	size_t hint = n >= 4 ? lp_le32(p + n - 4) : 0;
	int r;

	do {                                    /* a gzip file is a sequence of members */
		size_t used = 0;

		r = inflate_one(d, libdeflate_gzip_decompress_ex, p, n, likely_size(n, hint), max, out, &used);
		if (r < 0)
			return r;
		p += used;
		n -= used;
	} while (n);
	return r;
}

/* "deflate" is zlib's wrapping by the letter (RFC 9110), and raw by the habit of some senders. */
static int undo_deflate(struct libdeflate_decompressor *d, const uint8_t *p, size_t n, size_t max, struct lp_buf *out)
{
	size_t used = 0;
	int r = inflate_one(d, libdeflate_zlib_decompress_ex, p, n, likely_size(n, 0), max, out, &used);

	if (r == -EBADMSG)
		r = inflate_one(d, libdeflate_deflate_decompress_ex, p, n, likely_size(n, 0), max, out, &used);
	return r == 0 && used != n ? -EBADMSG : r;
}

static int undo_inflate(enum lp_content_encoding enc, const uint8_t *p, size_t n, size_t max, struct lp_buf *out)
{
	struct libdeflate_decompressor *d = libdeflate_alloc_decompressor();

	if (!d)
		return -ENOMEM;
	int r = enc == LP_ENC_GZIP ? undo_gzip(d, p, n, max, out) : undo_deflate(d, p, n, max, out);

	libdeflate_free_decompressor(d);
	return r;
}

static int undo_zstd(const uint8_t *p, size_t n, size_t max, struct lp_buf *out)
{
	ZSTD_DCtx *ctx = ZSTD_createDCtx();
	ZSTD_inBuffer in = { p, n, 0 };
	size_t left = 1;
	int r = ctx ? 0 : -ENOMEM;

	if (ctx)        /* RFC 8878 asks receivers for 8 MiB windows; no sender may make us allocate more */
		(void)ZSTD_DCtx_setParameter(ctx, ZSTD_d_windowLogMax, 23);
	for (size_t want = n < 16384 ? 65536 : n * 4; !r; want *= 2) {
		size_t room;

		if (!reserve(out, want, max, &room)) {
			r = -ENOMEM;
			break;
		}
		ZSTD_outBuffer to = { out->data + out->len, room, 0 };

		left = ZSTD_decompressStream(ctx, &to, &in);
		out->len += to.pos;
		if (ZSTD_isError(left))
			r = -EBADMSG;
		else if (in.pos == in.size && to.pos < to.size)
			break;                  /* all read and all flushed */
		else if (!left && in.pos == in.size)
			break;
		else if (out->len == max && to.pos == to.size)
			r = -E2BIG;
	}
	ZSTD_freeDCtx(ctx);
	return r < 0 ? r : left ? -EBADMSG : 0;
}

static int undo_snappy(const uint8_t *p, size_t n, size_t max, struct lp_buf *out)
{
	size_t len;

	if (snappy_uncompressed_length((const char *)p, n, &len) != SNAPPY_OK)
		return -EBADMSG;
	/* 64 bytes come of 3 at best: a header that promises more is a lie, told before anything is allocated. */
	if (len > n * 22 + 64)
		return -EBADMSG;
	if (len > max)
		return -E2BIG;
	if (!lp_buf_reserve(out, len + 1))
		return -ENOMEM;
	if (snappy_uncompress((const char *)p, n, (char *)out->data, &len) != SNAPPY_OK)
		return -EBADMSG;
	out->len = len;
	return 0;
}

int lp_content_decode(enum lp_content_encoding enc, const void *p, size_t n, size_t max_bytes, struct lp_buf *out)
{
	int r = -EINVAL;

	lp_buf_reset(out);
	switch (enc) {
	case LP_ENC_IDENTITY:
		if (n > max_bytes)
			return -E2BIG;
		lp_buf_append(out, p, n);
		return out->failed ? -ENOMEM : 0;
	case LP_ENC_GZIP:
	case LP_ENC_DEFLATE: r = undo_inflate(enc, p, n, max_bytes, out); break;
	case LP_ENC_ZSTD: r = undo_zstd(p, n, max_bytes, out); break;
	case LP_ENC_SNAPPY: r = undo_snappy(p, n, max_bytes, out); break;
	}
	if (r < 0)
		out->len = 0;
	return r;
}
