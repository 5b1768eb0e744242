/* Request parameters: URL-encoded forms, timestamps, durations, limits, with Loki's rules and Loki's error texts
 * (its users match on them).  Pure functions, no HTTP types, no clock: `now` is the caller's.  Process: worker. */
#ifndef LP_HTTP_PARAMS_H
#define LP_HTTP_PARAMS_H

#include "common/arena.h"
#include "common/buf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define LP_FORM_MAX 4096u               /* parameters of one request */

struct lp_param {
	const char *name, *value;       /* NUL-terminated copies; a NUL inside is possible: use the lengths */
	size_t name_len, value_len;
};

struct lp_form {
	struct lp_arena arena;          /* owns everything */
	struct lp_param *v;
	size_t n, cap;
};

#define LP_FORM_INIT { 0 }

/* Append the pairs of an application/x-www-form-urlencoded text.  -EINVAL with the reason in error; -E2BIG too many; -ENOMEM. */
int lp_form_parse(struct lp_form *form, const char *s, size_t n, struct lp_buf *error);
void lp_form_free(struct lp_form *form);
/* First value of that name, or NULL. */
const struct lp_param *lp_form_get(const struct lp_form *form, const char *name);
/* Percent-decode a path segment (no '+').  Returns the length, or -EINVAL; `to` holds n bytes. */
ssize_t lp_path_unescape(char *to, const char *s, size_t n);

/* All of these take an absent or empty value as `def`, and on -EINVAL leave a text in error. */
int lp_param_time(const struct lp_param *p, int64_t def_ns, int64_t *ret_ns, struct lp_buf *error);
int lp_param_limit(const struct lp_form *form, const char *name, uint32_t def, uint32_t *ret_limit, struct lp_buf *error);
int lp_param_direction(const struct lp_form *form, bool *ret_forward, struct lp_buf *error);
/* Seconds as a number, or a Prometheus duration. */
int lp_param_seconds(const struct lp_param *p, int64_t def_ns, int64_t *ret_ns, struct lp_buf *error);
/* start, end, since. */
int lp_param_bounds(const struct lp_form *form, int64_t now_ns, int64_t *ret_start, int64_t *ret_end, struct lp_buf *error);

/* step: positive, at most 11,000 of them in the range; by default 250. */
int lp_param_step(const struct lp_form *form, int64_t start_ns, int64_t end_ns, int64_t *ret_ns, struct lp_buf *error);

struct lp_range_args {
	int64_t start_ns, end_ns, step_ns, interval_ns;
	uint32_t limit;
	bool forward;
};

int lp_param_range(const struct lp_form *form, int64_t now_ns, struct lp_range_args *ret, struct lp_buf *error);

/* Prometheus duration ("1h30m", units in falling order) in ns; -EINVAL, text in error. */
int lp_prom_duration(const char *s, size_t n, int64_t *ret_ns, struct lp_buf *error);
void lp_prom_duration_print(struct lp_buf *out, int64_t ns);    /* 30d1h */
void lp_go_duration_print(struct lp_buf *out, int64_t ns);      /* 746h0m0s */
void lp_go_quote(struct lp_buf *out, const char *s, size_t n);  /* "..." as Go's %q, at most 256 bytes of s */
/* True when the text is (to be) a log query: its first token is a stream selector.  Metric queries never begin so. */
bool lp_is_log_query(const char *s, size_t n);

#endif
