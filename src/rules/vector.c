/* Reading an instant query's JSON answer.  The engine made it, but it is checked like any input.  Pure; notifier threads. */
#include "rules/vector.h"

#include "ingest/json_scan.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct lp_alert_pair *)a)->name, ((const struct lp_alert_pair *)b)->name);
}

/* A string as C text.  One with a NUL inside ends there: such a label has no other place to go. */
static const char *text(struct lp_json *js, struct lp_arena *arena)
{
	const char *s;
	size_t n;

	if (lp_json_peek(js) != '"' || lp_json_string_ref(js, arena, &s, &n) < 0)
		return NULL;
	return lp_arena_strndup(arena, s, n);
}

static int read_metric(struct lp_json *js, struct lp_arena *arena, struct lp_sample *sample)
{
	struct lp_alert_pair *pairs = NULL;
	uint32_t n = 0, cap = 0;
	bool first = true;
	const char *key;
	size_t len;
	int r;

	while ((r = lp_json_next_member(js, &first, arena, &key, &len)) > 0) {
		if (n == cap) {
			struct lp_alert_pair *more = lp_arena_alloc(arena, (cap = cap ? cap * 2 : 8) * sizeof *more);

			if (!more)
				return -ENOMEM;
			if (n)
				memcpy(more, pairs, n * sizeof *more);
			pairs = more;
		}
		pairs[n].name = lp_arena_strndup(arena, key, len);
		pairs[n].value = text(js, arena);
		if (!pairs[n].name || !pairs[n].value)
			return -EBADMSG;
		n++;
	}
	if (n)
		qsort(pairs, n, sizeof *pairs, by_name);
	sample->labels = pairs;
	sample->n_labels = n;
	return r;
}

/* [time, "value"], the bracket included */
static int read_value(struct lp_json *js, struct lp_arena *arena, double *ret)
{
	bool first = true;
	const char *s;

	if (lp_json_expect(js, '[', "") < 0 || lp_json_next_element(js, &first) != 1 || lp_json_skip(js) < 0 || lp_json_next_element(js, &first) != 1)
		return -EBADMSG;
	s = text(js, arena);
	if (!s || lp_json_next_element(js, &first) != 0)
		return -EBADMSG;
	*ret = strtod(s, NULL);
	return 0;
}

static int read_sample(struct lp_json *js, struct lp_arena *arena, struct lp_sample *sample)
{
	bool first = true;
	const char *key;
	size_t len;
	int r;

	while ((r = lp_json_next_member(js, &first, arena, &key, &len)) > 0) {
		if (len == 6 && !memcmp(key, "metric", 6))
			r = lp_json_expect(js, '{', "") < 0 ? -EBADMSG : read_metric(js, arena, sample);
		else if (len == 5 && !memcmp(key, "value", 5))
			r = read_value(js, arena, &sample->value);
		else
			r = lp_json_skip(js);
		if (r < 0)
			return r;
	}
	return r;
}

static int read_result(struct lp_json *js, struct lp_arena *arena, struct lp_vector *vector)
{
	uint32_t cap = 0;
	bool first = true;
	int r;

	while ((r = lp_json_next_element(js, &first)) > 0) {
		if (vector->n == cap) {
			struct lp_sample *more = lp_arena_alloc(arena, (cap = cap ? cap * 2 : 16) * sizeof *more);

			if (!more)
				return -ENOMEM;
			if (vector->n)
				memcpy(more, vector->samples, vector->n * sizeof *more);
			vector->samples = more;
		}
		vector->samples[vector->n] = (struct lp_sample){ 0 };
		r = lp_json_expect(js, '{', "") < 0 ? -EBADMSG : read_sample(js, arena, &vector->samples[vector->n++]);
		if (r < 0)
			return r;
	}
	return r;
}

static int read_scalar(struct lp_json *js, struct lp_arena *arena, struct lp_vector *vector)
{
	vector->samples = lp_arena_zalloc(arena, sizeof *vector->samples);
	vector->n = 1;
	return vector->samples ? read_value(js, arena, &vector->samples[0].value) : -ENOMEM;
}

static int read_data(struct lp_json *js, struct lp_arena *arena, struct lp_vector *vector)
{
	const char *key, *type = NULL;
	bool first = true, done = false;
	size_t len;
	int r;

	while ((r = lp_json_next_member(js, &first, arena, &key, &len)) > 0) {
		if (len == 10 && !memcmp(key, "resultType", 10)) {
			type = text(js, arena);
			r = type ? 0 : -EBADMSG;
		} else if (len == 6 && !memcmp(key, "result", 6)) {
			bool scalar = type && !strcmp(type, "scalar");

			if (!type || (!scalar && strcmp(type, "vector")))
				return -EBADMSG;
			r = scalar ? read_scalar(js, arena, vector) : lp_json_expect(js, '[', "") < 0 ? -EBADMSG : read_result(js, arena, vector);
			done = true;
		} else {
			r = lp_json_skip(js);
		}
		if (r < 0)
			return r;
	}
	return r < 0 ? r : done ? 0 : -EBADMSG;
}

int lp_vector_parse(const void *json, size_t len, struct lp_arena *arena, struct lp_vector *ret_vector)
{
	struct lp_vector vector = { 0 };
	bool first = true, done = false;
	struct lp_json js;
	const char *key;
	size_t n;
	int r;

	lp_json_start(&js, json, len, true);
	if (lp_json_expect(&js, '{', "") < 0)
		return -EBADMSG;
	while ((r = lp_json_next_member(&js, &first, arena, &key, &n)) > 0) {
		if (n == 4 && !memcmp(key, "data", 4)) {
			r = lp_json_expect(&js, '{', "") < 0 ? -EBADMSG : read_data(&js, arena, &vector);
			done = true;
		} else {
			r = lp_json_skip(&js);
		}
		if (r < 0)
			return r;
	}
	if (r < 0 || !done)
		return r < 0 ? r : -EBADMSG;
	*ret_vector = vector;
	return 0;
}
