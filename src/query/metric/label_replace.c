/* label_replace(v, dst, replacement, src, regex), with Go's rules for $1, $name, ${name} and $$.
 *
 * Series may become alike: as in Loki that is no error.  Rows with equal labels are joined when no step has a value in
 * both, so that a series that changes its labels in the course of a query is one series of the answer; else both stay.
 * One thread; runs in workers, nothing is lost if one dies here. */
#include "query/metric/metric-private.h"

#include "query/regex.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MAX_GROUPS 64u

struct found {
	const struct lp_regex *re;
	struct lp_str src;
	int64_t offsets[2 * MAX_GROUPS];
	unsigned n;
};

static bool is_name_byte(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static void put_group(const struct found *found, unsigned group, struct lp_buf *out)
{
	if (group < found->n && found->offsets[2 * group] >= 0)
		lp_buf_append(out, found->src.s + found->offsets[2 * group],
			      (size_t)(found->offsets[2 * group + 1] - found->offsets[2 * group]));
}

/* $name: a number, or the first group of that name that took part. */
static void put_named(const struct found *found, const char *name, size_t len, struct lp_buf *out)
{
	unsigned group = 0;
	size_t i = 0;

	for (; i < len && name[i] >= '0' && name[i] <= '9' && group < MAX_GROUPS * 10; i++)
		group = group * 10 + (unsigned)(name[i] - '0');
	if (i == len) {
		put_group(found, group, out);
		return;
	}
	for (group = 1; group < found->n; group++) {
		const char *known = lp_regex_group_name(found->re, group);

		if (known && strlen(known) == len && !memcmp(known, name, len) && found->offsets[2 * group] >= 0) {
			put_group(found, group, out);
			return;
		}
	}
}

static void expand(const struct found *found, struct lp_str template, struct lp_buf *out)
{
	const char *p = template.s, *end = p + template.len;

	while (p < end) {
		const char *dollar = memchr(p, '$', (size_t)(end - p));

		if (!dollar)
			dollar = end;
		lp_buf_append(out, p, (size_t)(dollar - p));
		if (dollar == end)
			return;
		bool brace = dollar + 1 < end && dollar[1] == '{';
		const char *name = dollar + 1 + brace, *stop = name;

		while (stop < end && is_name_byte(*stop))
			stop++;
		p = stop + brace;
		if (stop > name && (!brace || (stop < end && *stop == '}'))) {
			put_named(found, name, (size_t)(stop - name), out);
			continue;
		}
		/* $$ is a dollar; a dollar that begins nothing is one, too. */
		lp_buf_byte(out, '$');
		p = dollar + 1 + (dollar + 1 < end && dollar[1] == '$');
	}
}

static int new_labels(const struct lp_expr *expr, const struct lp_series *series, struct lp_buf *value, struct lp_buf *out)
{
	struct found found = { .re = expr->regex, .src = lp_series_labels_get(series->labels, series->labels_len, expr->src) };

	found.n = lp_regex_groups(expr->regex);
	if (found.n > MAX_GROUPS)
		found.n = MAX_GROUPS;
	lp_buf_reset(out);
	if (!lp_regex_captures(expr->regex, found.src.s, found.src.len, 0, found.offsets, found.n))
		return lp_series_labels_filter(series->labels, series->labels_len, NULL, 0, false, out);
	lp_buf_reset(value);
	expand(&found, expr->replacement, value);
	if (value->failed)
		return -ENOMEM;
	return lp_series_labels_set(series->labels, series->labels_len, expr->dst, (struct lp_str){ (const char *)value->data, (uint32_t)value->len },
				    out);
}

/* Move the values of `from` into `to`, unless some step has both. */
static bool join_rows(struct lp_series *to, struct lp_series *from, uint32_t steps)
{
	for (uint32_t w = 0; w < lp_series_words(steps); w++)
		if (to->present[w] & from->present[w])
			return false;
	for (uint32_t i = 0; i < steps; i++)
		if (lp_series_has(from, i))
			lp_series_put(to, i, from->values[i]);
	return true;
}

static int replace_all(const struct lp_metric_env *env, const struct lp_expr *expr, uint32_t steps, struct lp_matrix *in, uint32_t *row_of)
{
	struct lp_buf value = LP_BUF_INIT, labels = LP_BUF_INIT;
	struct lp_keys keys = { .arena = { .budget = env->budget } };
	uint32_t kept = 0;
	int r = 0;

	for (uint32_t i = 0; i < in->n && r == 0; i++) {
		struct lp_series *s = &in->series[i];
		uint32_t id, known = keys.n;

		r = i % LP_METRIC_STOP_EVERY == 0 && lp_metric_stopped(env) ? -ECANCELED : new_labels(expr, s, &value, &labels);
		if (r == 0)
			r = lp_keys_id(&keys, labels.data, (uint32_t)labels.len, lp_keys_hash(labels.data, (uint32_t)labels.len), &id);
		if (r < 0)
			break;
		if (id == known)
			row_of[id] = kept;
		else if (join_rows(&in->series[row_of[id]], s, steps))
			continue;
		uint8_t *copy = lp_arena_dup(&in->arena, labels.data, labels.len);

		if (!copy) {
			r = in->arena.budget ? -ENOBUFS : -ENOMEM;
			break;
		}
		s->labels = copy;
		s->labels_len = (uint32_t)labels.len;
		in->series[kept++] = *s;
	}
	if (r == 0)
		in->n = kept;
	lp_keys_free(&keys);
	lp_buf_free(&value);
	lp_buf_free(&labels);
	return r;
}

int lp_label_replace(const struct lp_metric_env *env, const struct lp_expr *expr, uint32_t steps, struct lp_matrix *in,
		     struct lp_matrix **ret_matrix)
{
	struct lp_arena scratch = { .budget = env->budget };
	uint32_t *row_of = lp_arena_zalloc(&scratch, (in->n + (size_t)1) * sizeof *row_of);
	int r = row_of ? replace_all(env, expr, steps, in, row_of) : -ENOBUFS;

	lp_arena_free(&scratch);
	if (r < 0)
		lp_matrix_free(&in);
	else
		*ret_matrix = in;
	return r;
}
