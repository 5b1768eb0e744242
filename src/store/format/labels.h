/* Label sets in their canonical bytes: the identity of a stream in WAL, index and memory.
 *
 *   varint tenant bytes, tenant | varint pairs | pairs x { varint name bytes, name, varint value bytes, value }
 *
 * Valid if and only if: names match [A-Za-z_][A-Za-z0-9_]* and ascend strictly (bytewise), values are not empty
 * and valid UTF-8, and nothing follows.  The tenant is the reserved first part of the identity: "" by default,
 * never visible as a label.  Structured metadata of one entry uses the same bytes without the tenant part; its names ascend too. */
#ifndef LP_STORE_FORMAT_LABELS_H
#define LP_STORE_FORMAT_LABELS_H

#include "common/buf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct lp_label {
	const char *name;       /* not NUL-terminated, borrowed */
	uint32_t name_len;
	uint32_t value_len;
	const char *value;
};

struct lp_labels_iter {
	const uint8_t *p, *end;
	uint64_t left;
};

/* Start at the pairs of a canonical label set; returns the tenant through ret_tenant if not NULL.
 * -EBADMSG when the bytes are not well formed (lengths; the rules on names are lp_labels_check's). */
int lp_labels_iter(struct lp_labels_iter *it, const uint8_t *bytes, size_t len, const char **ret_tenant,
		   size_t *ret_tenant_len);
/* Start at metadata bytes (no tenant part). */
int lp_metadata_iter(struct lp_labels_iter *it, const uint8_t *bytes, size_t len);
/* 1 and the next pair, 0 at the end, -EBADMSG. */
int lp_labels_next(struct lp_labels_iter *it, struct lp_label *ret_label);
/* Value of one label: 1 found, 0 absent, -EBADMSG. */
int lp_labels_find(const uint8_t *bytes, size_t len, const char *name, size_t name_len, struct lp_label *ret_label);
/* The whole rule above: 0 or -EBADMSG. */
int lp_labels_check(const uint8_t *bytes, size_t len);
int lp_metadata_check(const uint8_t *bytes, size_t len);
/* Order of streams in segments: tenant, then pair by pair (name, value), bytewise; a prefix comes first. */
int lp_labels_cmp(const uint8_t *a, size_t a_len, const uint8_t *b, size_t b_len);

struct lp_hash128 {
	uint64_t lo, hi;
};
/* XXH3-128 of the canonical bytes.  Not against forgery: equal hashes are confirmed by comparing the bytes. */
struct lp_hash128 lp_labels_hash(const uint8_t *bytes, size_t len);

/* Encode pairs (any order; sorted in place by name here).  Duplicate names: -EEXIST, nothing appended.
 * Pairs with empty values are dropped, as Loki does. */
int lp_labels_encode(struct lp_buf *out, const char *tenant, size_t tenant_len, struct lp_label *pairs, size_t n);
int lp_metadata_encode(struct lp_buf *out, struct lp_label *pairs, size_t n);
/* {a="b", c="d"} as Loki and Prometheus print it (Go quoting of values). */
void lp_labels_print(struct lp_buf *out, const uint8_t *bytes, size_t len);
bool lp_label_name_valid(const char *s, size_t n);

#endif
