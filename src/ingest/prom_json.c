/* Loki's first push, POST /api/prom/push: {"streams":[{"labels":"{a=\"b\"}","entries":[{"ts":"RFC 3339","line":".."}]}]}.
 *
 * Unlike the original API's (original_json.c) the labels are one string and a timestamp that is none refuses the push.
 * Keys come in any order (json_body.c).  Process: worker; memory only. */
#include "ingest/decode-private.h"

#include "common/rfc3339.h"

#include <errno.h>
#include <string.h>

static int read_labels(struct lp_push *push, struct lp_json *js)
{
	if (lp_json_peek(js) != '"')
		return lp_json_expect(js, '"', "expected the labels as a string");
	return lp_json_string_ref(js, &push->arena, &push->label_string, &push->label_string_len);
}

static int begin_stream(struct lp_push *push)
{
	const char *s = push->label_string ? push->label_string : "";
	size_t n = push->label_string ? push->label_string_len : 0;

	push->label_string = NULL;
	return lp_push_label_string(push, s, n);
}

static bool is(const char *key, size_t len, const char *word)
{
	return len == strlen(word) && !memcmp(key, word, len);
}

struct entry {
	int64_t ts;
	size_t line_len;
	bool out_of_time, future;
};

static int read_ts(struct lp_push *push, struct lp_json *js, struct entry *entry)
{
	const char *s;
	size_t n;
	int r;

	if (lp_json_peek(js) != '"')
		return lp_json_expect(js, '"', "expected a timestamp in quotes");
	r = lp_json_string_ref(js, &push->arena, &s, &n);
	if (r < 0)
		return r;
	r = lp_rfc3339_parse(n ? s : "", n, &entry->ts);
	entry->out_of_time = r == -ERANGE;
	entry->future = entry->out_of_time && s[0] >= '2';      /* int64 nanoseconds hold the years 1677 to 2262 */
	if (r == -EINVAL)
		return lp_push_fatal(push, "timestamp '%.*s' is not of RFC 3339", (int)(n < 64 ? n : 64), n ? s : "");
	return 0;
}

static int read_entry(struct lp_push *push, struct lp_json *js)
{
	struct entry entry = { .out_of_time = true };           /* without a timestamp it is of the year 1, as in Go */
	const char *key;
	size_t key_len;
	bool first = true;
	int r = lp_json_expect(js, '{', "expected an entry object");

	if (r < 0)
		return r;
	while ((r = lp_json_next_member(js, &first, &push->arena, &key, &key_len)) == 1) {
		if (lp_json_null(js))
			continue;
		if (is(key, key_len, "ts"))
			r = read_ts(push, js, &entry);
		else if (!is(key, key_len, "line"))
			r = lp_json_skip(js);
		else if (lp_json_peek(js) != '"')
			r = lp_json_expect(js, '"', "expected the line as a string");
		else
			r = lp_push_json_line(push, js, &entry.line_len);
		if (r < 0)
			return r;
	}
	if (r < 0)
		return r;
	if (entry.out_of_time) {
		lp_push_entry_out_of_time(push, entry.future);
		return 0;
	}
	return lp_push_entry(push, entry.ts, entry.line_len);
}

int lp_push_prom_json(struct lp_push *push, const void *body, size_t len)
{
	static const struct lp_json_form form = {
		.labels_key = "labels", .entries_key = "entries", .read_labels = read_labels, .begin_stream = begin_stream,
		.read_entry = read_entry,
	};

	return lp_push_json_body(push, &form, body, len);
}
