/* Label sets in canonical bytes; see labels.h for the layout.  Pure functions over memory, any process; everything
 * that reads takes stranger's bytes and checks lengths before use. */
#include "store/format/labels.h"

#include "common/bytes.h"
#include "common/utf8.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

static const uint8_t *get_string(const uint8_t *p, const uint8_t *end, const char **ret_s, size_t *ret_len)
{
	uint64_t len;

	p = lp_varint_get(p, end, &len);
	if (!p || len > (uint64_t)(end - p) || len > UINT32_MAX)
		return NULL;
	*ret_s = (const char *)p;
	*ret_len = (size_t)len;
	return p + len;
}

int lp_metadata_iter(struct lp_labels_iter *it, const uint8_t *bytes, size_t len)
{
	struct lp_labels_iter start = { bytes, bytes + len, 0 };

	if (len) {
		start.p = lp_varint_get(bytes, start.end, &start.left);
		/* A pair takes two bytes at least, so a count beyond that is a lie. */
		if (!start.p || start.left > (uint64_t)(start.end - start.p) / 2)
			return -EBADMSG;
	}
	*it = start;
	return 0;
}

int lp_labels_iter(struct lp_labels_iter *it, const uint8_t *bytes, size_t len, const char **ret_tenant, size_t *ret_tenant_len)
{
	const char *tenant;
	size_t tenant_len;
	const uint8_t *end = bytes + len;
	const uint8_t *p = get_string(bytes, end, &tenant, &tenant_len);

	if (!p || p == end)
		return -EBADMSG;
	int r = lp_metadata_iter(it, p, (size_t)(end - p));

	if (r < 0)
		return r;
	if (ret_tenant) {
		*ret_tenant = tenant;
		*ret_tenant_len = tenant_len;
	}
	return 0;
}

int lp_labels_next(struct lp_labels_iter *it, struct lp_label *ret_label)
{
	const char *name, *value;
	size_t name_len, value_len;

	if (!it->left)
		return it->p == it->end ? 0 : -EBADMSG;
	const uint8_t *p = get_string(it->p, it->end, &name, &name_len);

	if (p)
		p = get_string(p, it->end, &value, &value_len);
	if (!p)
		return -EBADMSG;
	it->p = p;
	it->left--;
	*ret_label = (struct lp_label){ .name = name, .name_len = (uint32_t)name_len,
					.value = value, .value_len = (uint32_t)value_len };
	return 1;
}

static int cmp_bytes(const char *a, size_t a_len, const char *b, size_t b_len)
{
	int c = memcmp(a, b, a_len < b_len ? a_len : b_len);

	return c ? c : (a_len > b_len) - (a_len < b_len);
}

int lp_labels_find(const uint8_t *bytes, size_t len, const char *name, size_t name_len, struct lp_label *ret_label)
{
	struct lp_labels_iter it;
	struct lp_label label;
	int r = lp_labels_iter(&it, bytes, len, NULL, NULL);

	if (r < 0)
		return r;
	while ((r = lp_labels_next(&it, &label)) == 1) {
		if (label.name_len == name_len && !memcmp(label.name, name, name_len)) {
			*ret_label = label;
			return 1;
		}
	}
	return r;
}

static int check_pairs(struct lp_labels_iter *it)
{
	struct lp_label label, prev = { 0 };
	int r;

	while ((r = lp_labels_next(it, &label)) == 1) {
		if (!lp_label_name_valid(label.name, label.name_len) || !label.value_len ||
		    !lp_utf8_valid(label.value, label.value_len))
			return -EBADMSG;
		if (prev.name && cmp_bytes(prev.name, prev.name_len, label.name, label.name_len) >= 0)
			return -EBADMSG;
		prev = label;
	}
	return r;
}

int lp_labels_check(const uint8_t *bytes, size_t len)
{
	struct lp_labels_iter it;
	int r = lp_labels_iter(&it, bytes, len, NULL, NULL);

	return r < 0 ? r : check_pairs(&it);
}

int lp_metadata_check(const uint8_t *bytes, size_t len)
{
	struct lp_labels_iter it;
	int r = lp_metadata_iter(&it, bytes, len);

	return r < 0 ? r : check_pairs(&it);
}

int lp_labels_cmp(const uint8_t *a, size_t a_len, const uint8_t *b, size_t b_len)
{
	struct lp_labels_iter ia, ib;
	struct lp_label la, lb;
	const char *ta, *tb;
	size_t ta_len, tb_len;

	/* Malformed sets come after all others, by their bytes, so that any input has one order. */
	bool bad_a = lp_labels_iter(&ia, a, a_len, &ta, &ta_len) < 0;
	bool bad_b = lp_labels_iter(&ib, b, b_len, &tb, &tb_len) < 0;

	if (bad_a || bad_b)
		return bad_a && bad_b ? cmp_bytes((const char *)a, a_len, (const char *)b, b_len) : bad_a - bad_b;
	int c = cmp_bytes(ta, ta_len, tb, tb_len);

	while (!c) {
		int ra = lp_labels_next(&ia, &la), rb = lp_labels_next(&ib, &lb);

		if (ra != 1 || rb != 1)
			return (ra == 1) - (rb == 1);
		c = cmp_bytes(la.name, la.name_len, lb.name, lb.name_len);
		if (!c)
			c = cmp_bytes(la.value, la.value_len, lb.value, lb.value_len);
	}
	return c;
}

struct lp_hash128 lp_labels_hash(const uint8_t *bytes, size_t len)
{
	XXH128_hash_t h = XXH3_128bits(bytes, len);

	return (struct lp_hash128){ .lo = h.low64, .hi = h.high64 };
}

static int cmp_names(const void *a, const void *b)
{
	const struct lp_label *la = a, *lb = b;

	return cmp_bytes(la->name, la->name_len, lb->name, lb->name_len);
}

static void put_string(struct lp_buf *out, const char *s, size_t len)
{
	uint8_t head[LP_VARINT_MAX];

	lp_buf_append(out, head, (size_t)(lp_varint_put(head, len) - head));
	lp_buf_append(out, s, len);
}

int lp_metadata_encode(struct lp_buf *out, struct lp_label *pairs, size_t n)
{
	size_t kept = 0, start = out->len;
	uint8_t head[LP_VARINT_MAX];
	bool ascending = true;

	for (size_t i = 1; i < n && ascending; i++)
		ascending = cmp_names(&pairs[i - 1], &pairs[i]) < 0;
	if (!ascending)
		qsort(pairs, n, sizeof *pairs, cmp_names);
	for (size_t i = 0; i < n; i++) {
		if (i && !cmp_names(&pairs[i - 1], &pairs[i]))
			return -EEXIST;
		kept += pairs[i].value_len != 0;
	}
	lp_buf_append(out, head, (size_t)(lp_varint_put(head, kept) - head));
	for (size_t i = 0; i < n; i++) {
		if (!pairs[i].value_len)
			continue;
		put_string(out, pairs[i].name, pairs[i].name_len);
		put_string(out, pairs[i].value, pairs[i].value_len);
	}
	if (out->failed) {
		out->len = start;
		return -ENOMEM;
	}
	return 0;
}

int lp_labels_encode(struct lp_buf *out, const char *tenant, size_t tenant_len, struct lp_label *pairs, size_t n)
{
	size_t start = out->len;

	put_string(out, tenant, tenant_len);
	int r = lp_metadata_encode(out, pairs, n);

	if (r < 0)
		out->len = start;
	return r;
}

/* Go's strconv.Quote: printable UTF-8 stays, control characters and invalid bytes become escapes. */
static void print_quoted(struct lp_buf *out, const char *s, size_t len)
{
	const uint8_t *p = (const uint8_t *)s;

	lp_buf_byte(out, '"');
	for (size_t i = 0; i < len;) {
		unsigned n = lp_utf8_seq(p + i, len - i);

		if (n > 1)
			lp_buf_append(out, p + i, n);
		else if (!n || p[i] < 0x20 || p[i] == 0x7f)
			switch (p[i]) {
			case '\n': lp_buf_str(out, "\\n"); break;
			case '\r': lp_buf_str(out, "\\r"); break;
			case '\t': lp_buf_str(out, "\\t"); break;
			case '\a': lp_buf_str(out, "\\a"); break;
			case '\b': lp_buf_str(out, "\\b"); break;
			case '\f': lp_buf_str(out, "\\f"); break;
			case '\v': lp_buf_str(out, "\\v"); break;
			default: lp_buf_printf(out, "\\x%02x", p[i]); break;
			}
		else if (p[i] == '"' || p[i] == '\\')
			lp_buf_append(out, (char[]){ '\\', (char)p[i] }, 2);
		else
			lp_buf_byte(out, p[i]);
		i += n ? n : 1;
	}
	lp_buf_byte(out, '"');
}

void lp_labels_print(struct lp_buf *out, const uint8_t *bytes, size_t len)
{
	struct lp_labels_iter it;
	struct lp_label label;
	const char *sep = "";

	lp_buf_byte(out, '{');
	if (!lp_labels_iter(&it, bytes, len, NULL, NULL)) {
		while (lp_labels_next(&it, &label) == 1) {
			lp_buf_str(out, sep);
			lp_buf_append(out, label.name, label.name_len);
			lp_buf_byte(out, '=');
			print_quoted(out, label.value, label.value_len);
			sep = ", ";
		}
	}
	lp_buf_byte(out, '}');
}

bool lp_label_name_valid(const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		bool alpha = (s[i] >= 'a' && s[i] <= 'z') || (s[i] >= 'A' && s[i] <= 'Z') || s[i] == '_';

		if (!alpha && !(i && s[i] >= '0' && s[i] <= '9'))
			return false;
	}
	return n > 0;
}
