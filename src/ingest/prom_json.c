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

static int read_ts(struct lp_push *push, struct lp_json *js, struct lp_json_entry *entry)
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

static int read_member(struct lp_push *push, struct lp_json *js, const char *key, size_t key_len, struct lp_json_entry *entry)
{
	if (lp_json_is(key, key_len, "ts"))
		return read_ts(push, js, entry);
	if (!lp_json_is(key, key_len, "line"))
		return lp_json_skip(js);
	if (lp_json_peek(js) != '"')
		return lp_json_expect(js, '"', "expected the line as a string");
	return lp_push_json_line(push, js, &entry->line_len);
}

/* Without a timestamp it is of the year 1, as in Go. */
static int read_entry(struct lp_push *push, struct lp_json *js)
{
	return lp_push_json_entry(push, js, (struct lp_json_entry){ .out_of_time = true }, read_member);
}

int lp_push_prom_json(struct lp_push *push, const void *body, size_t len)
{
	static const struct lp_json_form form = {
		.labels_key = "labels", .entries_key = "entries", .read_labels = read_labels, .begin_stream = begin_stream,
		.read_entry = read_entry,
	};

	return lp_push_json_body(push, &form, body, len);
}
