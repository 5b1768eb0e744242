/* Label names, label values, series, detected labels: answered from the segments' indexes and the live streams, no log text is read.
 *
 * A task is one segment, or all live streams.  A name or value counts when a stream that has it matches selector, tenant and
 * time range.  What is found goes into one set of byte strings, sorted at the end.
 * Process: worker, pool threads. */
#include "query/engine-private.h"

#include "common/jsonw.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#define MAX_PAIRS 1024u         /* as in pipelines */

struct name {
	const uint8_t *p;
	uint32_t len;
};

struct names {
	struct lp_logql **matches;      /* SERIES: one per match[] */
	const struct lp_log_expr **logs;
	uint32_t n_logs;
	/* under query->lock */
	struct lp_arena arena;
	struct name *v;
	size_t n, cap;
	uint32_t *table;
	size_t size;
};

static int names_rehash(struct lp_query *query, struct names *names)
{
	size_t size = names->size ? names->size * 2 : 256;
	uint32_t *table = lp_query_charge(query, size * sizeof *table) == 0 ? calloc(size, sizeof *table) : NULL;

	if (!table)
		return -ENOMEM;
	for (size_t i = 0; i < names->n; i++) {
		size_t at = XXH3_64bits(names->v[i].p, names->v[i].len) & (size - 1);

		while (table[at])
			at = (at + 1) & (size - 1);
		table[at] = (uint32_t)i + 1;
	}
	free(names->table);
	lp_query_uncharge(query, names->size * sizeof *table);
	names->table = table;
	names->size = size;
	return 0;
}

static int names_add(struct lp_query *query, const void *p, uint32_t len)
{
	struct names *names = query->state;
	int r = 0;

	pthread_mutex_lock(&query->lock);
	if (names->n >= names->size / 2)
		r = names_rehash(query, names);
	if (r == 0) {
		size_t at = XXH3_64bits(p, len) & (names->size - 1);
		bool found = false;

		for (; !found && names->table[at]; at = (at + 1) & (names->size - 1)) {
			const struct name *name = &names->v[names->table[at] - 1];

			found = name->len == len && memcmp(name->p, p, len) == 0;
		}
		if (!found) {
			uint8_t *copy = NULL;

			r = lp_query_grow(query, (void **)&names->v, &names->cap, names->n + 1, sizeof *names->v);
			if (r == 0)
				r = lp_query_charge(query, len + 16);
			if (r == 0 && !(copy = lp_arena_dup(&names->arena, p, len)))
				r = -ENOMEM;
			if (r == 0) {
				names->v[names->n++] = (struct name){ copy, len };
				names->table[at] = (uint32_t)names->n;
			}
		}
	}
	pthread_mutex_unlock(&query->lock);
	return r;
}

static int names_plan(struct lp_query *query, struct lp_worker *worker)
{
	struct names *names = query->state = calloc(1, sizeof *names);
	uint32_t n = query->params.n_matches;

	if (!names)
		return -ENOMEM;
	names->matches = calloc((size_t)n + 1, sizeof(void *));
	names->logs = calloc((size_t)n + 1, sizeof(void *));
	if (!names->matches || !names->logs)
		return -ENOMEM;
	bool everything = n == 1 && query->params.match_lens[0] == 2 && memcmp(query->params.matches[0], "{}", 2) == 0;

	for (uint32_t i = 0; i < n && !everything; i++) {
		struct lp_buf error = LP_BUF_INIT;
		int r = lp_logql_parse_selector(query->params.matches[i], query->params.match_lens[i], false, &names->matches[i], &error);

		if (r < 0)
			(void)lp_query_fail(query, r == -ENOMEM ? 500 : 400, "BAD_QUERY", "%s", lp_buf_cstr(&error));
		lp_buf_free(&error);
		if (r < 0)
			return r;
		names->logs[names->n_logs++] = &names->matches[i]->root->log;
	}
	if (!names->n_logs)
		names->logs[names->n_logs++] = query->log;
	/* One task per segment and one for what is live.  The range of these routes includes its end. */
	if (query->params.end_ns < INT64_MAX)
		query->params.end_ns++;
	query->n_tasks = lp_snapshot_segments(query->snapshot) + 1;
	return 0;
}

/* Detected labels: name, NUL, value; a name contains no NUL, so the pairs of a name are neighbours when sorted. */
static int add_pair(struct lp_query *query, const char *name, uint32_t name_len, const char *value, uint32_t value_len)
{
	struct lp_buf pair = LP_BUF_INIT;

	lp_buf_append(&pair, name, name_len);
	lp_buf_byte(&pair, 0);
	lp_buf_append(&pair, value, value_len);
	int r = pair.failed ? -ENOMEM : names_add(query, pair.data, (uint32_t)pair.len);

	lp_buf_free(&pair);
	return r;
}

/* The stream's labels as clients see them. */
static int add_series(struct lp_query *query, const uint8_t *labels, uint32_t len)
{
	struct lp_label pairs[MAX_PAIRS];
	struct lp_buf bytes = LP_BUF_INIT;
	uint32_t n;
	int r;

	if (!query->discover)
		return names_add(query, labels, len);
	r = lp_discover_labels(query->discover, labels, len, pairs, MAX_PAIRS, &n);
	if (r == 0)
		r = lp_labels_encode(&bytes, "", 0, pairs, n);
	if (r == 0)
		r = names_add(query, bytes.data, (uint32_t)bytes.len);
	lp_buf_free(&bytes);
	return r == -EBADMSG ? 0 : r;
}

static int add_value(struct lp_query *query, const uint8_t *labels, uint32_t len, const char *name, size_t name_len)
{
	struct lp_label label;

	if (lp_discover_find(query->discover, labels, len, name, name_len, &label) != 1)
		return 0;
	return query->params.kind == LP_QUERY_DETECTED_LABELS ? add_pair(query, label.name, label.name_len, label.value, label.value_len) :
								names_add(query, label.value, label.value_len);
}

static int add_stream(struct lp_query *query, const uint8_t *labels, uint32_t len)
{
	struct lp_label pairs[MAX_PAIRS];
	uint32_t n;
	int r = 0;

	if (query->params.kind == LP_QUERY_SERIES)
		return add_series(query, labels, len);
	if (query->params.kind == LP_QUERY_LABEL_VALUES)
		return add_value(query, labels, len, query->params.label, query->params.label_len);
	if (lp_discover_labels(query->discover, labels, len, pairs, MAX_PAIRS, &n) < 0)
		return 0;
	for (uint32_t i = 0; r == 0 && i < n; i++)
		r = query->params.kind == LP_QUERY_DETECTED_LABELS ?
			    add_pair(query, pairs[i].name, pairs[i].name_len, pairs[i].value, pairs[i].value_len) :
			    names_add(query, pairs[i].name, pairs[i].name_len);
	return r;
}

static int run_live(struct lp_query *query, const struct lp_log_expr *log)
{
	uint32_t n = lp_snapshot_wal_streams(query->snapshot);
	int r = 0;

	for (uint32_t s = 0; r == 0 && s < n; s++) {
		const uint8_t *labels;
		uint32_t len;
		int64_t min_ts, max_ts;

		if (s % 1024 == 1023 && lp_query_stopped(query))
			return -ECANCELED;
		if (lp_snapshot_wal_stream(query->snapshot, s, &labels, &len, &min_ts, &max_ts) == 0 && max_ts >= query->params.start_ns &&
		    min_ts < query->params.end_ns && lp_plan_match_labels(query, log, labels, len))
			r = add_stream(query, labels, len);
	}
	return r;
}

static bool any_set(const uint64_t *bits, const uint32_t *streams, uint32_t n, uint32_t total)
{
	for (uint32_t i = 0; i < n; i++)
		if (streams[i] < total && (bits[streams[i] / 64] >> streams[i] % 64 & 1))
			return true;
	return false;
}

/* Names or values of which some stream of the bitmap is in the postings. */
static int add_from_index(struct lp_query *query, struct lp_worker *worker, const struct lp_segment *segment, const uint64_t *bits)
{
	uint32_t total = lp_segment_info(segment)->streams, n_names = lp_segment_label_names(segment), from = 0;
	bool want_values = query->params.kind == LP_QUERY_LABEL_VALUES, want_pairs = query->params.kind == LP_QUERY_DETECTED_LABELS;
	int r = 0;

	if (want_values) {
		r = lp_segment_find_label(segment, query->params.label, query->params.label_len, &from);
		if (r < 0)
			return r == -ENOENT ? 0 : r;
		n_names = from + 1;
	}
	for (uint32_t name = from; r == 0 && name < n_names; name++) {
		const char *s, *value;
		const uint32_t *streams;
		uint32_t len, values, value_len, n;
		bool found = false;

		r = lp_segment_label_name(segment, name, &s, &len, &values);
		for (uint32_t v = 0; r == 0 && !found && v < values; v++) {
			if (v % 256 == 255 && lp_query_stopped(query))
				return -ECANCELED;
			r = lp_segment_postings(segment, name, v, &streams, &n);
			if (r < 0 || !any_set(bits, streams, n, total))
				continue;
			if (!want_values && !want_pairs) {
				found = true;
				continue;
			}
			lp_buf_reset(&worker->scratch);
			r = lp_segment_label_value(segment, name, v, &worker->scratch, &value, &value_len);
			if (r == 0)
				r = want_pairs ? add_pair(query, s, len, value, value_len) : names_add(query, value, value_len);
		}
		if (found)
			r = names_add(query, s, len);
	}
	return r;
}

/* What no index knows: series, and the labels that were added (discover.h), stream by stream. */
static int add_from_streams(struct lp_query *query, const struct lp_segment *segment, const uint32_t *streams, uint32_t n, const char *name)
{
	int r = 0;

	for (uint32_t i = 0; r == 0 && i < n; i++) {
		const uint8_t *labels;
		uint32_t len;
		int64_t min_ts, max_ts;

		if (i % 1024 == 1023 && lp_query_stopped(query))
			r = -ECANCELED;
		else if (lp_segment_stream(segment, streams[i], &labels, &len, &min_ts, &max_ts) == 0)
			r = name ? add_value(query, labels, len, name, strlen(name)) : add_series(query, labels, len);
	}
	return r;
}

static int add_names(struct lp_query *query, struct lp_worker *worker, const struct lp_segment *segment, const uint32_t *streams, uint32_t n)
{
	const char *added[LP_DISCOVER_VIRTUAL];
	uint32_t n_added = lp_discover_names(query->discover, added);
	uint64_t *bits = calloc((size_t)lp_segment_info(segment)->streams / 64 + 1, sizeof *bits);
	int r = bits ? 0 : -ENOMEM;

	for (uint32_t i = 0; bits && i < n; i++)
		bits[streams[i] / 64] |= UINT64_C(1) << streams[i] % 64;
	if (r == 0)
		r = add_from_index(query, worker, segment, bits);
	free(bits);
	/* Every stream has them; their values are not among those of another label. */
	for (uint32_t i = 0; r == 0 && query->params.kind != LP_QUERY_LABEL_VALUES && i < n_added; i++)
		r = query->params.kind == LP_QUERY_LABELS ? names_add(query, added[i], (uint32_t)strlen(added[i])) :
							   add_from_streams(query, segment, streams, n, added[i]);
	return r;
}

static int run_segment(struct lp_query *query, struct lp_worker *worker, const struct lp_segment *segment, const struct lp_log_expr *log)
{
	const struct lp_segment_info *info = lp_segment_info(segment);
	const struct lp_query_params *p = &query->params;
	uint32_t *streams, n;

	if (info->max_ts < p->start_ns || info->min_ts >= p->end_ns)
		return 0;
	int r = lp_plan_match(query, log, segment, &worker->scratch, &streams, &n);

	if (r < 0)
		return r;
	if (p->kind == LP_QUERY_SERIES)
		r = add_from_streams(query, segment, streams, n, NULL);
	else if (p->kind == LP_QUERY_LABEL_VALUES && lp_discover_adds(query->discover, p->label, p->label_len))
		r = add_from_streams(query, segment, streams, n, p->label);
	else if (n)
		r = add_names(query, worker, segment, streams, n);
	free(streams);
	return r;
}

static int names_run(struct lp_query *query, struct lp_worker *worker, uint32_t task)
{
	struct names *names = query->state;
	uint32_t segments = lp_snapshot_segments(query->snapshot);
	int r = 0;

	for (uint32_t i = 0; r == 0 && i < names->n_logs; i++)
		r = task == segments ? run_live(query, names->logs[i]) :
				       run_segment(query, worker, lp_snapshot_segment(query->snapshot, task), names->logs[i]);
	if (r == -EBADMSG) {
		atomic_fetch_add(&query->count.bad_blocks, 1);
		r = 0;
	}
	return r;
}

static int cmp_name(const void *x, const void *y)
{
	const struct name *a = x, *b = y;
	int c = memcmp(a->p, b->p, a->len < b->len ? a->len : b->len);

	return c ? c : (a->len > b->len) - (a->len < b->len);
}

static int cmp_series(const void *x, const void *y)
{
	const struct name *a = x, *b = y;

	return lp_labels_cmp(a->p, a->len, b->p, b->len);
}

/* A number or a UUID. */
static bool is_id(const char *s, size_t n)
{
	static const char uuid[] = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
	char number[64], *end;
	size_t i = 0;

	if (n == sizeof uuid - 1) {
		while (i < n && (uuid[i] == '-' ? s[i] == '-' : isxdigit((unsigned char)s[i])))
			i++;
		if (i == n)
			return true;
	}
	if (n == 0 || n >= sizeof number || !strchr("0123456789.+-", s[0]))
		return false;
	memcpy(number, s, n);
	number[n] = '\0';
	(void)strtod(number, &end);
	return end == number + n;
}

/* Labels by which nobody would choose are left out: all values are numbers or ids (Loki's rule, with its four exceptions). */
static bool is_relevant(const char *name, bool only_ids)
{
	return !only_ids || strcmp(name, "cluster") == 0 || strcmp(name, "namespace") == 0 || strcmp(name, "instance") == 0 ||
	       strcmp(name, "pod") == 0;
}

static int detected_labels_finish(struct lp_query *query, const struct names *names)
{
	bool first = true;
	int r = lp_out_begin(query, 200, "application/json; charset=UTF-8");

	lp_buf_str(&query->out, "{\"detectedLabels\":[");
	for (size_t i = 0, next; r == 0 && i < names->n; i = next) {
		const char *name = (const char *)names->v[i].p;
		size_t name_len = strlen(name);
		bool only_ids = true;

		for (next = i; next < names->n && strcmp((const char *)names->v[next].p, name) == 0; next++)
			only_ids = only_ids && is_id((const char *)names->v[next].p + name_len + 1, names->v[next].len - name_len - 1);
		if (!is_relevant(name, only_ids))
			continue;
		lp_buf_str(&query->out, first ? "{\"label\":" : ",{\"label\":");
		lp_jsonw_str(&query->out, (const uint8_t *)name, name_len);
		lp_buf_printf(&query->out, ",\"cardinality\":%zu}", next - i);
		first = false;
		r = lp_out_flush(query, false);
	}
	lp_buf_str(&query->out, "]}");
	return r < 0 ? r : lp_out_flush(query, true);
}

static int names_finish(struct lp_query *query)
{
	struct names *names = query->state;
	bool series = query->params.kind == LP_QUERY_SERIES, bare = query->params.original_shape && !series;

	if (names->n)
		qsort(names->v, names->n, sizeof *names->v, series ? cmp_series : cmp_name);
	query->stats.lines_matched = names->n;
	if (query->params.kind == LP_QUERY_DETECTED_LABELS)
		return detected_labels_finish(query, names);
	int r = lp_out_begin(query, 200, bare ? "application/json" : "application/json; charset=UTF-8");

	lp_buf_str(&query->out, bare ? "[" : "{\"status\":\"success\",\"data\":[");
	for (size_t i = 0; r == 0 && i < names->n; i++) {
		if (i)
			lp_buf_byte(&query->out, ',');
		if (series)
			lp_result_labels_json(&query->out, names->v[i].p, names->v[i].len);
		else
			lp_jsonw_str(&query->out, names->v[i].p, names->v[i].len);
		r = lp_out_flush(query, false);
	}
	lp_buf_str(&query->out, bare ? "]" : "]}");
	return r < 0 ? r : lp_out_flush(query, true);
}

static void names_free(struct lp_query *query)
{
	struct names *names = query->state;

	if (!names)
		return;
	for (uint32_t i = 0; names->matches && i < query->params.n_matches; i++)
		lp_logql_free(&names->matches[i]);
	free(names->matches);
	free(names->logs);
	free(names->v);
	free(names->table);
	lp_arena_free(&names->arena);
	free(names);
	query->state = NULL;
}

const struct lp_query_ops lp_names_ops = {
	.plan = names_plan, .run = names_run, .finish = names_finish, .free_state = names_free,
};
