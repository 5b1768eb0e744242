/* Loki's JSON push: {"streams":[{"stream":{..},"values":[["<ns>","line",{metadata}?]]}]}.
 *
 * What Loki's decoder takes is taken, in any order of keys (json_body.c).  Process: worker; memory only. */
#include "ingest/decode-private.h"

#include "common/bytes.h"

#include <errno.h>

/* Decimal int64 as strconv.ParseInt reads it, without the plus sign. */
static bool parse_ts(const char *s, size_t n, int64_t *ret_ts)
{
	bool negative = n && *s == '-';
	uint64_t v = 0;

	s += negative;
	n -= negative;
	if (!n || n > 19)
		return false;
	for (size_t i = 0; i < n; i++) {
		unsigned d = (unsigned)(s[i] - '0');

		if (d > 9)
			return false;
		v = v * 10 + d;         /* 19 digits stay below 2^64 */
	}
	if (v > (uint64_t)INT64_MAX + negative)
		return false;
	*ret_ts = negative ? (int64_t)(0 - v) : (int64_t)v;
	return true;
}

/* Labels: values are strings; other scalars count with their text, as Loki reads them. */
static int read_labels(struct lp_push *push, struct lp_json *js)
{
	const char *key, *value;
	size_t key_len, value_len;
	bool first = true;
	int r = lp_json_expect(js, '{', "expected an object of labels");

	if (r < 0)
		return r;
	while ((r = lp_json_next_member(js, &first, &push->arena, &key, &key_len)) == 1) {
		uint8_t c = lp_json_peek(js);

		if (c == '{' || c == '[')
			return lp_push_fatal(push, "label values must be strings");
		if (c == '"') {
			r = lp_json_string_ref(js, &push->arena, &value, &value_len);
		} else {
			value = (const char *)js->p;
			r = lp_json_skip(js);
			value_len = (size_t)((const char *)js->p - value);
		}
		if (!r)
			r = lp_push_label(push, key, key_len, value, value_len);
		if (r < 0)
			return r;
	}
	return r;
}

/* A bad name: Loki prints the set as a label string and parses that, so its text speaks of positions there. */
static int refuse_names(struct lp_push *push)
{
	struct lp_buf text = LP_BUF_INIT, canonical = LP_BUF_INIT, error = LP_BUF_INIT;
	struct lp_label_sink sink = { .arena = &push->arena };
	int r = lp_push_keep_last(&push->labels);

	lp_buf_str(&error, "couldn't parse labels: ");
	if (!r)
		r = lp_labels_encode(&canonical, "", 0, push->labels.v, push->labels.n);
	if (!r) {
		lp_labels_print(&text, canonical.data, canonical.len);
		r = lp_label_string_scan((const char *)text.data, text.len, &sink, &error);
		if (!r)
			lp_buf_str(&error, "invalid label name");
		r = r == -ENOMEM ? r : lp_push_stream(push, lp_buf_cstr(&error), true);
	}
	lp_buf_free(&text);
	lp_buf_free(&canonical);
	lp_buf_free(&error);
	return r;
}

static int begin_stream(struct lp_push *push)
{
	for (uint32_t i = 0; i < push->labels.n; i++)
		if (!lp_label_name_valid(push->labels.v[i].name, push->labels.v[i].name_len))
			return refuse_names(push);
	return lp_push_stream(push, NULL, true);
}

static int read_entry(struct lp_push *push, struct lp_json *js)
{
	const char *ts_text;
	size_t ts_len, line_len;
	int64_t ts;
	int r = lp_json_expect(js, '[', "expected an array of timestamp and line");

	if (!r && lp_json_peek(js) != '"')
		r = lp_json_expect(js, '"', "expected a timestamp in quotes");
	if (!r)
		r = lp_json_string_ref(js, &push->arena, &ts_text, &ts_len);
	if (r < 0)
		return r;
	if (!parse_ts(ts_text, ts_len, &ts))
		return lp_push_fatal(push, "timestamp '%.*s' is no integer of nanoseconds", (int)(ts_len < 64 ? ts_len : 64), ts_text);
	r = lp_json_expect(js, ',', "expected ',' and a line");
	if (!r) {
		(void)lp_json_peek(js);
		r = lp_push_json_line(push, js, &line_len);
	}
	if (!r && lp_json_peek(js) == ',') {
		js->p++;
		r = lp_push_json_metadata(push, js, true);
	}
	while (!r && lp_json_peek(js) == ',') {         /* more elements mean nothing, as in Loki */
		js->p++;
		r = lp_json_skip(js);
	}
	if (!r)
		r = lp_json_expect(js, ']', "expected ']' after an entry");
	return r < 0 ? r : lp_push_entry(push, ts, line_len);
}

int lp_push_loki_json(struct lp_push *push, const void *body, size_t len)
{
	static const struct lp_json_form form = {
		.labels_key = "stream", .entries_key = "values", .read_labels = read_labels, .begin_stream = begin_stream,
		.read_entry = read_entry,
	};

	return lp_push_json_body(push, &form, body, len);
}
