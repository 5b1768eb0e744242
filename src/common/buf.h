/* Growable byte buffer with a limit and a sticky error: append freely, look at `failed` once at the end. */
#ifndef LP_COMMON_BUF_H
#define LP_COMMON_BUF_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct lp_buf {
	uint8_t *data;          /* owned; NULL when nothing was appended yet */
	size_t len;
	size_t cap;
	size_t max;             /* 0: no limit but memory */
	bool failed;            /* an append did not fit or memory ran out; data keeps what was there, nothing is added */
};

#define LP_BUF_INIT { 0 }

/* Make room for n more bytes and return where they go, or NULL (failed is then set). */
void *lp_buf_reserve(struct lp_buf *buf, size_t n);
void lp_buf_append(struct lp_buf *buf, const void *p, size_t n);
void lp_buf_str(struct lp_buf *buf, const char *s);
void lp_buf_byte(struct lp_buf *buf, uint8_t c);
void lp_buf_u64(struct lp_buf *buf, uint64_t v);        /* decimal */
void lp_buf_i64(struct lp_buf *buf, int64_t v);         /* decimal */
void lp_buf_printf(struct lp_buf *buf, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* NUL after the data, not counted in len.  Returns "" if nothing could be allocated. */
const char *lp_buf_cstr(struct lp_buf *buf);
void lp_buf_reset(struct lp_buf *buf);                  /* keeps the memory and the limit */
void lp_buf_free(struct lp_buf *buf);                   /* accepts NULL; buf is empty after it */

#endif
