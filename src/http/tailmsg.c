/* Messages from /stream clients, and the query that a set of equality filters and a text make; see tailmsg.h.
 * Guarantees: any bytes are either understood or refused with a text; a value can never end its quotes.
 * Process: worker, event loop; memory only. */
#include "http/tailmsg.h"

#include "common/jsonw.h"
#include "ingest/json_scan.h"
#include "query/logql/units.h"

#include <errno.h>
#include <string.h>

static bool is(const char *s, size_t n, const char *word)
{
	return n == strlen(word) && memcmp(s, word, n) == 0;
}

static bool is_label_name(const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		bool alpha = ((s[i] | 0x20) >= 'a' && (s[i] | 0x20) <= 'z') || s[i] == '_';

		if (!alpha && !(i && s[i] >= '0' && s[i] <= '9'))
			return false;
	}
	return n > 0;
}

int lp_tail_wish_add(struct lp_tail_wish *wish, const char *name, size_t name_len, const char *value, size_t value_len, struct lp_buf *error)
{
	if (wish->n_filters == LP_TAIL_FILTERS_MAX) {
		lp_buf_printf(error, "too many filters: more than %u", LP_TAIL_FILTERS_MAX);
		return -EINVAL;
	}
	if (!is_label_name(name, name_len)) {
		lp_buf_str(error, "a filter's name is not a label name");
		return -EINVAL;
	}
	wish->filters[wish->n_filters++] = (struct lp_tail_filter){ name, value, name_len, value_len };
	return 0;
}

/* Every value is quoted, so nothing in it can be taken for LogQL. */
void lp_tail_wish_text(const struct lp_tail_wish *wish, struct lp_buf *out)
{
	const char *s = wish->query, *end = s + wish->query_len;

	if (!wish->n_filters) {
		if (wish->query_len)
			lp_buf_append(out, wish->query, wish->query_len);
		return;
	}
	lp_buf_byte(out, '{');
	for (size_t i = 0; i < wish->n_filters; i++) {
		const struct lp_tail_filter *f = &wish->filters[i];

		if (i)
			lp_buf_byte(out, ',');
		lp_buf_append(out, f->name, f->name_len);
		lp_buf_byte(out, '=');
		lp_units_print_quoted(out, f->value, f->value_len);
	}
	while (s < end && lp_json_is_space((uint8_t)*s))
		s++;
	if (s < end && *s == '{') {
		for (s++; s < end && lp_json_is_space((uint8_t)*s); s++)
			;
		lp_buf_byte(out, s < end && *s == '}' ? ' ' : ',');
	} else {
		lp_buf_byte(out, '}');
	}
	if (s < end)
		lp_buf_append(out, s, (size_t)(end - s));
}

void lp_tail_wish_filters_json(const struct lp_tail_wish *wish, struct lp_buf *out)
{
	lp_buf_byte(out, '{');
	for (size_t i = 0; i < wish->n_filters; i++) {
		const struct lp_tail_filter *f = &wish->filters[i];

		if (i)
			lp_buf_byte(out, ',');
		lp_jsonw_str(out, f->name, f->name_len);
		lp_buf_byte(out, ':');
		lp_jsonw_str(out, f->value, f->value_len);
	}
	lp_buf_byte(out, '}');
}

static int read_labels(struct lp_json *js, struct lp_arena *arena, struct lp_tail_wish *wish, struct lp_buf *error)
{
	const char *key, *value;
	size_t key_len, value_len;
	bool first = true;
	int r = lp_json_expect(js, '{', "labels must be an object of strings");

	while (r >= 0 && (r = lp_json_next_member(js, &first, arena, &key, &key_len)) == 1) {
		if (lp_json_peek(js) != '"') {
			js->error = "labels must be an object of strings";
			return -EBADMSG;
		}
		r = lp_json_string_ref(js, arena, &value, &value_len);
		if (r == 0)
			r = lp_tail_wish_add(wish, key, key_len, value, value_len, error);
	}
	return r;
}

static int read_string(struct lp_json *js, struct lp_arena *arena, const char **ret, size_t *ret_len)
{
	if (lp_json_peek(js) != '"') {
		js->error = "expected a string";
		return -EBADMSG;
	}
	return lp_json_string_ref(js, arena, ret, ret_len);
}

int lp_tail_message_parse(const void *text, size_t len, struct lp_arena *arena, struct lp_tail_wish *ret_wish, struct lp_buf *error)
{
	struct lp_tail_wish wish = { .query = "" };
	const char *type = NULL, *query = NULL, *key;
	size_t type_len = 0, query_len = 0, key_len;
	bool first = true, labels = false;
	struct lp_json js;
	int r;

	lp_json_start(&js, text, len, true);
	r = lp_json_expect(&js, '{', "a message is a JSON object");
	while (r >= 0 && (r = lp_json_next_member(&js, &first, arena, &key, &key_len)) == 1) {
		if (is(key, key_len, "type")) {
			r = read_string(&js, arena, &type, &type_len);
		} else if (is(key, key_len, "query")) {
			r = read_string(&js, arena, &query, &query_len);
		} else if (is(key, key_len, "labels") && lp_json_null(&js)) {
			r = 0;
		} else if (is(key, key_len, "labels") && !labels) {
			labels = true;
			r = read_labels(&js, arena, &wish, error);
		} else {
			r = lp_json_skip(&js);
		}
	}
	if (r == 0 && lp_json_peek(&js)) {
		js.error = "something follows the message";
		r = -EBADMSG;
	}
	if (r == -EBADMSG) {
		lp_buf_str(error, js.error ? js.error : "not JSON");
		return -EINVAL;
	}
	if (r < 0)
		return r;
	if (type && is(type, type_len, "filter")) {
		*ret_wish = wish;
		return 0;
	}
	if (type && is(type, type_len, "query") && query) {
		*ret_wish = (struct lp_tail_wish){ .query = query, .query_len = query_len };
		return 0;
	}
	lp_buf_str(error, "expected {\"type\":\"filter\",\"labels\":{..}} or {\"type\":\"query\",\"query\":\"..\"}");
	return -EINVAL;
}
