/* Growable byte buffer.  Pure memory; any process.  Doubling growth, never shrinks before lp_buf_free(). */
#include "common/buf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool grow(struct lp_buf *buf, size_t cap)
{
	uint8_t *data = realloc(buf->data, cap);

	if (!data) {
		buf->failed = true;
		return false;
	}
	buf->data = data;
	buf->cap = cap;
	return true;
}

void *lp_buf_reserve(struct lp_buf *buf, size_t n)
{
	/* After a failure nothing more is taken: a text with a hole in it must not look whole. */
	if (buf->failed)
		return NULL;
	if (n > SIZE_MAX / 4 - buf->len || (buf->max && buf->len + n > buf->max)) {
		buf->failed = true;
		return NULL;
	}
	if (n <= buf->cap - buf->len && buf->data)
		return buf->data + buf->len;
	size_t cap = buf->cap ? buf->cap * 2 : 256;

	if (cap < buf->len + n)
		cap = buf->len + n;
	if (buf->max && cap > buf->max + 1)
		cap = buf->max + 1;             /* one more for lp_buf_cstr() */
	return grow(buf, cap) ? buf->data + buf->len : NULL;
}

void lp_buf_append(struct lp_buf *buf, const void *p, size_t n)
{
	if (!n)
		return;
	void *to = lp_buf_reserve(buf, n);

	if (!to)
		return;
	memcpy(to, p, n);
	buf->len += n;
}

void lp_buf_str(struct lp_buf *buf, const char *s)
{
	lp_buf_append(buf, s, strlen(s));
}

void lp_buf_byte(struct lp_buf *buf, uint8_t c)
{
	uint8_t *to = lp_buf_reserve(buf, 1);

	if (to) {
		*to = c;
		buf->len++;
	}
}

void lp_buf_u64(struct lp_buf *buf, uint64_t v)
{
	char digits[20];
	char *p = digits + sizeof digits;

	do {
		*--p = (char)('0' + v % 10);
		v /= 10;
	} while (v);
	lp_buf_append(buf, p, (size_t)(digits + sizeof digits - p));
}

void lp_buf_i64(struct lp_buf *buf, int64_t v)
{
	if (v < 0)
		lp_buf_byte(buf, '-');
	lp_buf_u64(buf, v < 0 ? 0 - (uint64_t)v : (uint64_t)v);
}

void lp_buf_printf(struct lp_buf *buf, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	int n = vsnprintf(NULL, 0, fmt, ap);

	va_end(ap);
	if (n < 0) {
		buf->failed = true;
		return;
	}
	if (!n || !lp_buf_reserve(buf, (size_t)n))
		return;
	/* vsnprintf writes a NUL as well, which does not count against the limit. */
	if (buf->cap - buf->len <= (size_t)n && !grow(buf, buf->len + (size_t)n + 1))
		return;
	va_start(ap, fmt);
	(void)vsnprintf((char *)buf->data + buf->len, (size_t)n + 1, fmt, ap);
	va_end(ap);
	buf->len += (size_t)n;
}

const char *lp_buf_cstr(struct lp_buf *buf)
{
	if (buf->len == buf->cap && !grow(buf, buf->cap + 1))
		return "";
	buf->data[buf->len] = 0;
	return (const char *)buf->data;
}

void lp_buf_reset(struct lp_buf *buf)
{
	buf->len = 0;
	buf->failed = false;
}

void lp_buf_free(struct lp_buf *buf)
{
	if (!buf)
		return;
	free(buf->data);
	*buf = (struct lp_buf)LP_BUF_INIT;
}
