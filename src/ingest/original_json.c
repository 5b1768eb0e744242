/* The original push: {"streams":[{"labels":{..},"entries":[{"ts":"RFC 3339","line":"..","metadata":{..}?}]}]}.
 *
 * A timestamp that cannot be parsed means now; an integer is nanoseconds; `metadata` is LogPulse's own.  Keys come in
 * any order (json_body.c).  Process: worker; memory only. */
#include "ingest/decode-private.h"

#include "common/bytes.h"

#include <errno.h>

static int read_labels(struct lp_push *push, struct lp_json *js)
{
	const char *key, *value;
	size_t key_len, value_len;
	bool first = true;
	int r;

	if (lp_json_null(js))
		return 0;
	r = lp_json_expect(js, '{', "expected an object of labels");
	if (r < 0)
		return r;
	while ((r = lp_json_next_member(js, &first, &push->arena, &key, &key_len)) == 1) {
		r = lp_json_string_ref(js, &push->arena, &value, &value_len);
		if (!r)
			r = lp_push_label(push, key, key_len, value, value_len);
		if (r < 0)
			return r;
	}
	return r;
}

static int begin_stream(struct lp_push *push)
{
	return lp_push_stream(push, NULL, true);
}

/* An integer of nanoseconds; what else is a number or a word means now. */
static int read_ts(struct lp_push *push, struct lp_json *js, struct lp_json_entry *entry)
{
	const char *s;
	size_t n;
	int64_t v = 0;
	int r;

	if (lp_json_peek(js) == '"') {
		r = lp_json_string_ref(js, &push->arena, &s, &n);
		if (r < 0)
			return r;
		r = lp_push_original_ts(s, n, &entry->ts, &entry->future);
		entry->out_of_time = r == -ERANGE;
		entry->now = r == -EINVAL;
		return 0;
	}
	const uint8_t *p = js->p;

	r = lp_json_skip(js);
	if (r < 0)
		return r;
	bool negative = *p == '-';

	for (p += negative; p < js->p && *p >= '0' && *p <= '9'; p++)
		if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, negative ? '0' - *p : *p - '0', &v)) {
			entry->out_of_time = true;
			entry->future = !negative;
			return 0;
		}
	entry->now = p != js->p;
	entry->ts = v;
	return 0;
}

static int read_member(struct lp_push *push, struct lp_json *js, const char *key, size_t key_len, struct lp_json_entry *entry)
{
	if (lp_json_is(key, key_len, "ts"))
		return read_ts(push, js, entry);
	if (lp_json_is(key, key_len, "line"))
		return lp_push_json_line(push, js, &entry->line_len);
	if (lp_json_is(key, key_len, "metadata"))
		return lp_push_json_metadata(push, js, false);
	return lp_json_skip(js);
}

static int read_entry(struct lp_push *push, struct lp_json *js)
{
	return lp_push_json_entry(push, js, (struct lp_json_entry){ .now = true }, read_member);
}

int lp_push_original_json(struct lp_push *push, const void *body, size_t len)
{
	static const struct lp_json_form form = {
		.labels_key = "labels", .entries_key = "entries", .read_labels = read_labels, .begin_stream = begin_stream,
		.read_entry = read_entry,
	};

	return lp_push_json_body(push, &form, body, len);
}
