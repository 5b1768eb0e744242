/* The frame of the three JSON pushes of streams: {"streams":[{labels, entries}]}.
 *
 * One pass over the text; where the entries stand before the labels, they are passed over once and read when the
 * labels are known.  Process: worker; memory only. */
#include "ingest/decode-private.h"

#include <errno.h>

int lp_push_json_entry(struct lp_push *push, struct lp_json *js, struct lp_json_entry entry, lp_json_member *read_member)
{
	const char *key;
	size_t key_len;
	bool first = true;
	int r = lp_json_expect(js, '{', "expected an entry object");

	if (r < 0)
		return r;
	while ((r = lp_json_next_member(js, &first, &push->arena, &key, &key_len)) == 1) {
		r = lp_json_null(js) ? 0 : read_member(push, js, key, key_len, &entry);
		if (r < 0)
			return r;
	}
	if (r < 0)
		return r;
	if (entry.out_of_time) {
		lp_push_entry_out_of_time(push, entry.future);
		return 0;
	}
	return lp_push_entry(push, entry.now ? lp_push_now(push) : entry.ts, entry.line_len);
}

static int read_entries(struct lp_push *push, const struct lp_json_form *form, struct lp_json *js)
{
	bool first = true;
	int r;

	if (lp_json_null(js))
		return 0;
	r = lp_json_expect(js, '[', "expected an array of entries");
	if (r < 0)
		return r;
	while ((r = lp_json_next_element(js, &first)) == 1) {
		r = form->read_entry(push, js);
		if (r < 0)
			return r;
	}
	return r;
}

static int read_stream(struct lp_push *push, const struct lp_json_form *form, struct lp_json *js)
{
	const uint8_t *entries = NULL;
	bool first = true, labels_seen = false, entries_seen = false;
	const char *key;
	size_t key_len;
	int r;

	if (lp_json_null(js)) {
		push->streams++;
		return 0;
	}
	r = lp_json_expect(js, '{', "expected a stream object");
	if (r < 0)
		return r;
	while ((r = lp_json_next_member(js, &first, &push->arena, &key, &key_len)) == 1) {
		if (lp_json_is(key, key_len, form->labels_key) && !labels_seen) {
			labels_seen = true;
			r = form->read_labels(push, js);
			if (!r)
				r = form->begin_stream(push);
		} else if (lp_json_is(key, key_len, form->entries_key) && !entries_seen) {
			entries_seen = true;
			entries = labels_seen ? NULL : js->p;
			r = labels_seen ? read_entries(push, form, js) : lp_json_skip(js);
		} else if (lp_json_is(key, key_len, form->labels_key) || lp_json_is(key, key_len, form->entries_key)) {
			r = lp_push_fatal(push, "a stream has the key '%.*s' twice", (int)key_len, key);
		} else {
			r = lp_json_skip(js);
		}
		if (r < 0)
			return r;
	}
	if (!r && !labels_seen)
		r = form->begin_stream(push);
	if (!r && entries) {
		struct lp_json at_entries = *js;

		at_entries.p = entries;
		r = read_entries(push, form, &at_entries);
		if (r < 0)
			*js = at_entries;        /* its error and position */
	}
	if (!r)
		lp_push_stream_end(push);
	return r;
}

static int read_streams(struct lp_push *push, const struct lp_json_form *form, struct lp_json *js)
{
	bool first = true;
	int r;

	if (lp_json_null(js))
		return 0;
	r = lp_json_expect(js, '[', "expected an array of streams");
	if (r < 0)
		return r;
	while ((r = lp_json_next_element(js, &first)) == 1) {
		r = read_stream(push, form, js);
		if (r < 0)
			return r;
	}
	return r;
}

static int read_body(struct lp_push *push, const struct lp_json_form *form, struct lp_json *js)
{
	const char *key;
	size_t key_len;
	bool first = true;
	int r;

	if (!lp_json_null(js)) {
		r = lp_json_expect(js, '{', "expected an object");
		if (r < 0)
			return r;
		while ((r = lp_json_next_member(js, &first, &push->arena, &key, &key_len)) == 1) {
			r = lp_json_is(key, key_len, "streams") ? read_streams(push, form, js) : lp_json_skip(js);
			if (r < 0)
				return r;
		}
		if (r < 0)
			return r;
	}
	if (lp_json_peek(js) || js->p < js->end) {
		js->error = "unexpected text after the JSON value";
		return -EBADMSG;
	}
	return 0;
}

int lp_push_json_body(struct lp_push *push, const struct lp_json_form *form, const void *body, size_t len)
{
	struct lp_json js;

	lp_json_start(&js, body, len, push->allow_avx2);
	return lp_push_json_error(push, &js, read_body(push, form, &js));
}
