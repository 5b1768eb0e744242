/* Planning: from a selector and a time range to tasks over blocks and live batches.
 *
 * In a segment matchers are evaluated on distinct label values, never per stream: equality gives posting lists, which are
 * intersected by galloping (Demaine, Lopez-Ortiz, Munro 2000: adaptive set intersections; the doubling search is
 * Bentley and Yao 1976); every other matcher gives a bitmap of streams from the values that pass.  When equality left
 * fewer streams than a label has values, those streams are asked directly.  An absent label has the value "".
 * Live streams are few and have no index: they are asked directly.
 * Process: worker, a pool thread; pure but for the query's memory. */
#include "query/engine-private.h"

#include "common/assert.h"
#include "common/bytes.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- parsing ---- */

static bool blank(const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (s[i] != ' ' && s[i] != '\t' && s[i] != '\n' && s[i] != '\r')
			return false;
	return true;
}

/* {}, which these routes take for all streams, as Loki does. */
static bool is_everything(const char *s, size_t n)
{
	return n == 2 && memcmp(s, "{}", 2) == 0;
}

static int parse_failed(struct lp_query *query, int r, struct lp_buf *error)
{
	const char *text = lp_buf_cstr(error);
	const char *code = strstr(text, "error parsing regexp") || strstr(text, "invalid regex") ? "INVALID_REGEX" : "BAD_QUERY";

	if (r == -ENOMEM)
		(void)lp_query_fail_errno(query, r);
	else
		(void)lp_query_fail(query, 400, code, "%s", text[0] ? text : "parse error");
	lp_buf_free(error);
	return -EINVAL;
}

/* The original API takes an empty selector, or none before a pipeline: parse with one that is thrown away. */
int lp_plan_parse_original(const char *text, size_t len, struct lp_logql **ret_logql, struct lp_buf *error)
{
	size_t i = 0;
	struct lp_buf full = LP_BUF_INIT;

	while (i < len && blank(text + i, 1))
		i++;
	size_t rest = i;
	bool everything = i == len || text[i] == '|';

	if (i < len && text[i] == '{') {
		rest = i + 1;
		while (rest < len && blank(text + rest, 1))
			rest++;
		everything = rest < len && text[rest] == '}';
		rest++;
	}
	if (!everything)
		return lp_logql_parse(text, len, ret_logql, error);
	lp_buf_str(&full, "{a=\"b\"}");
	if (rest < len)
		lp_buf_append(&full, text + rest, len - rest);
	int r = full.failed ? -ENOMEM : lp_logql_parse((const char *)full.data, full.len, ret_logql, error);

	lp_buf_free(&full);
	if (r == 0 && (*ret_logql)->root->kind == LP_EXPR_LOG)
		(*ret_logql)->root->log.n_matchers = 0;
	return r;
}

int lp_plan_parse(struct lp_query *query)
{
	const struct lp_query_params *p = &query->params;
	struct lp_buf error = LP_BUF_INIT;
	int r = 0;

	switch (p->kind) {
	case LP_QUERY_ORIGINAL:
		if (!p->text)
			return lp_query_fail(query, 400, "VALIDATION_ERROR", "Query parameter is required");
		r = lp_plan_parse_original(p->text, p->text_len, &query->logql, &error);
		break;
	case LP_QUERY_TAIL:
		r = p->original_shape ? lp_plan_parse_original(p->text ? p->text : "", p->text_len, &query->logql, &error) :
					lp_logql_parse(p->text ? p->text : "", p->text_len, &query->logql, &error);
		break;
	case LP_QUERY_RANGE:
	case LP_QUERY_INSTANT:
	case LP_QUERY_DETECTED_FIELDS:
	case LP_QUERY_PATTERNS:
		r = lp_logql_parse(p->text ? p->text : "", p->text_len, &query->logql, &error);
		break;
	case LP_QUERY_DELETE_ADD:       /* read by delete_requests.c */
	case LP_QUERY_DELETE_LIST:
	case LP_QUERY_DELETE_CANCEL:
		break;
	case LP_QUERY_VOLUME:
	case LP_QUERY_VOLUME_RANGE:
	case LP_QUERY_DETECTED_LABELS:
		if (is_everything(p->text, p->text_len))
			break;
		/* fall through */
	default:
		if (p->text && !blank(p->text, p->text_len))
			r = lp_logql_parse_selector(p->text, p->text_len, false, &query->logql, &error);
		break;
	}
	if (r < 0)
		return parse_failed(query, r, &error);
	lp_buf_free(&error);
	if (!query->logql)
		return 0;
	if (query->logql->root->kind != LP_EXPR_LOG) {
		if (p->kind == LP_QUERY_ORIGINAL)
			return lp_query_fail(query, 400, "BAD_QUERY", "this route answers log queries only: metric queries go to "
					     "/loki/api/v1/query_range and /loki/api/v1/query");
		if (p->kind == LP_QUERY_DETECTED_FIELDS || p->kind == LP_QUERY_PATTERNS || p->kind == LP_QUERY_TAIL)
			return lp_query_fail(query, 400, "BAD_QUERY", "only log selector is supported");
		query->ops = &lp_metric_ops;
		return 0;
	}
	if (p->kind == LP_QUERY_INSTANT)
		return lp_query_fail(query, 400, "BAD_QUERY",
				     "log queries are not supported as an instant query type, please change your query to a range query type");
	query->log = &query->logql->root->log;
	return 0;
}

/* ---- matching ---- */

static bool match_one(const struct lp_query *query, const struct lp_matcher *matcher, const uint8_t *labels, uint32_t len)
{
	struct lp_label label;

	if (lp_discover_find(query->discover, labels, len, matcher->name.s, matcher->name.len, &label) == 1)
		return lp_matcher_match(matcher, label.value, label.value_len);
	return lp_matcher_match(matcher, "", 0);
}

static bool same(const char *a, size_t a_len, const char *b, size_t b_len)
{
	return a_len == b_len && (a_len == 0 || memcmp(a, b, a_len) == 0);
}

static bool match_tenant(const struct lp_query *query, const uint8_t *labels, uint32_t len)
{
	const char *s = query->params.tenant, *end = s + query->params.tenant_len, *bar;
	struct lp_labels_iter it;
	const char *tenant;
	size_t tenant_len;

	if (lp_labels_iter(&it, labels, len, &tenant, &tenant_len) < 0)
		return false;
	if (!query->params.tenants)
		return same(tenant, tenant_len, s, query->params.tenant_len);
	for (;; s = bar + 1) {
		bar = memchr(s, '|', (size_t)(end - s));
		if (same(tenant, tenant_len, s, (size_t)((bar ? bar : end) - s)))
			return true;
		if (!bar)
			return false;
	}
}

bool lp_plan_match_labels(const struct lp_query *query, const struct lp_log_expr *log, const uint8_t *labels, uint32_t len)
{
	if (!match_tenant(query, labels, len))
		return false;
	for (uint32_t m = 0; log && m < log->n_matchers; m++)
		if (!match_one(query, &log->matchers[m], labels, len))
			return false;
	return true;
}

/* First index >= from with list[index] >= value: doubling steps, then bisection. */
static uint32_t gallop(const uint32_t *list, uint32_t n, uint32_t from, uint32_t value)
{
	uint32_t step = 1, lo = from, hi;

	if (from >= n || list[from] >= value)
		return from;
	while (lo + step < n && list[lo + step] < value) {
		lo += step;
		step *= 2;
	}
	hi = lo + step < n ? lo + step : n;
	lo++;
	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (list[mid] < value)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

struct match {
	uint32_t *streams;              /* candidates, ascending; NULL: all */
	uint32_t n;
	uint32_t total;                 /* streams of the segment */
};

static int intersect(struct match *match, const uint32_t *list, uint32_t n)
{
	uint32_t out = 0, at = 0;

	if (!match->streams) {
		match->streams = malloc(((size_t)n + 1) * sizeof *match->streams);
		if (!match->streams)
			return -ENOMEM;
		for (uint32_t i = 0; i < n; i++)
			if (list[i] < match->total)
				match->streams[out++] = list[i];
		match->n = out;
		return 0;
	}
	for (uint32_t i = 0; i < match->n && at < n; i++) {
		at = gallop(list, n, at, match->streams[i]);
		if (at < n && list[at] == match->streams[i])
			match->streams[out++] = match->streams[i];
	}
	match->n = out;
	return 0;
}

static int match_equal(const struct lp_segment *segment, const struct lp_matcher *matcher, struct match *match)
{
	uint32_t name, value, n = 0;
	const uint32_t *list = NULL;
	int r = lp_segment_find_label(segment, matcher->name.s, matcher->name.len, &name);

	if (r == 0)
		r = lp_segment_find_value(segment, name, matcher->value.s, matcher->value.len, &value);
	if (r == 0)
		r = lp_segment_postings(segment, name, value, &list, &n);
	if (r < 0 && r != -ENOENT)
		return r;
	return intersect(match, list, n);
}

/* Streams that a non-equality matcher lets pass, as a bitmap: start from the answer for "" and flip by value. */
static int match_values(struct lp_query *query, const struct lp_segment *segment, const struct lp_matcher *matcher, uint32_t name, uint32_t values,
			bool absent, struct lp_buf *scratch, uint64_t *bits, uint32_t total)
{
	memset(bits, absent ? 0xff : 0, ((size_t)total + 63) / 64 * 8);
	for (uint32_t v = 0; v < values; v++) {
		const char *s;
		const uint32_t *list;
		uint32_t len, n;

		lp_buf_reset(scratch);
		int r = lp_segment_label_value(segment, name, v, scratch, &s, &len);

		if (r < 0)
			return r;
		if (v % 256 == 255 && lp_query_stopped(query))
			return -ECANCELED;
		if (lp_matcher_match(matcher, s, len) == absent)
			continue;
		r = lp_segment_postings(segment, name, v, &list, &n);
		if (r < 0)
			return r;
		for (uint32_t i = 0; i < n; i++) {
			if (list[i] >= total)
				continue;
			if (absent)
				bits[list[i] / 64] &= ~(UINT64_C(1) << list[i] % 64);
			else
				bits[list[i] / 64] |= UINT64_C(1) << list[i] % 64;
		}
	}
	return 0;
}

static int keep_direct(struct lp_query *query, const struct lp_segment *segment, const struct lp_matcher *matcher, struct match *match)
{
	uint32_t out = 0;

	for (uint32_t i = 0; i < match->n; i++) {
		const uint8_t *labels;
		uint32_t len;
		int64_t min_ts, max_ts;

		if (i % 1024 == 1023 && lp_query_stopped(query))
			return -ECANCELED;
		if (lp_segment_stream(segment, match->streams[i], &labels, &len, &min_ts, &max_ts) == 0 && match_one(query, matcher, labels, len))
			match->streams[out++] = match->streams[i];
	}
	match->n = out;
	return 0;
}

static int match_other(struct lp_query *query, const struct lp_segment *segment, const struct lp_matcher *matcher, struct lp_buf *scratch,
		       struct match *match)
{
	bool absent = lp_matcher_match(matcher, "", 0);
	uint32_t name, values = 0, n = match->streams ? match->n : match->total, out = 0, name_len;
	const char *s;
	int r = lp_segment_find_label(segment, matcher->name.s, matcher->name.len, &name);

	if (r == 0)
		r = lp_segment_label_name(segment, name, &s, &name_len, &values);
	if (r == -ENOENT) {
		if (absent)
			return 0;
		return intersect(match, NULL, 0);
	}
	if (r < 0)
		return r;
	if (match->streams && n <= values)
		return keep_direct(query, segment, matcher, match);
	uint64_t *bits = malloc(((size_t)match->total + 63) / 64 * 8 + 8);
	uint32_t *streams = match->streams ? match->streams : malloc(((size_t)n + 1) * sizeof *streams);

	if (bits && streams)
		r = match_values(query, segment, matcher, name, values, absent, scratch, bits, match->total);
	else
		r = -ENOMEM;
	for (uint32_t i = 0; r == 0 && i < n; i++) {
		uint32_t stream = match->streams ? match->streams[i] : i;

		if (bits[stream / 64] >> stream % 64 & 1)
			streams[out++] = stream;
	}
	free(bits);
	if (r < 0) {
		if (streams != match->streams)
			free(streams);
		return r;
	}
	match->streams = streams;
	match->n = out;
	return 0;
}

static int match_all(struct match *match)
{
	match->n = match->total;
	match->streams = malloc(((size_t)match->n + 1) * sizeof *match->streams);
	if (!match->streams)
		return -ENOMEM;
	for (uint32_t i = 0; i < match->n; i++)
		match->streams[i] = i;
	return 0;
}

/* Streams that have the value under one of the names. */
static int match_any_name(const struct lp_segment *segment, const struct lp_str *names, uint32_t n_names, const struct lp_str *value,
			  struct match *match)
{
	uint64_t *bits = calloc((size_t)match->total / 64 + 1, sizeof *bits);
	int r = bits ? 0 : -ENOMEM;
	uint32_t n = 0;

	for (uint32_t i = 0; r == 0 && i < n_names; i++) {
		struct match one = { .total = match->total };
		struct lp_matcher matcher = { .name = names[i], .value = *value };

		r = match_equal(segment, &matcher, &one);
		for (uint32_t k = 0; r == 0 && k < one.n; k++) {
			n += !(bits[one.streams[k] / 64] >> one.streams[k] % 64 & 1);
			bits[one.streams[k] / 64] |= UINT64_C(1) << one.streams[k] % 64;
		}
		free(one.streams);
	}
	match->streams = r == 0 ? malloc(((size_t)n + 1) * sizeof *match->streams) : NULL;
	if (r == 0 && !match->streams)
		r = -ENOMEM;
	for (uint32_t i = 0; r == 0 && i < match->total; i++)
		if (bits[i / 64] >> i % 64 & 1)
			match->streams[match->n++] = i;
	free(bits);
	return r;
}

/* A label that no index knows: streams are asked directly, of service_name="x" only those that have x where the name is taken from. */
static int match_added(struct lp_query *query, const struct lp_segment *segment, const struct lp_matcher *matcher, struct match *match)
{
	const struct lp_discover *d = query->discover;
	int r = 0;

	if (!match->streams && matcher->op == LP_MATCH_EQ && matcher->value.len && strcmp(matcher->name.s, LP_SERVICE_NAME) == 0 &&
	    strcmp(matcher->value.s, LP_UNKNOWN_SERVICE) != 0) {
		struct lp_str *names = malloc((d->n_services + 1) * sizeof *names);

		if (!names)
			return -ENOMEM;
		memcpy(names, d->services, d->n_services * sizeof *names);
		names[d->n_services] = matcher->name;
		r = match_any_name(segment, names, d->n_services + 1, &matcher->value, match);
		free(names);
	} else if (!match->streams) {
		r = match_all(match);
	}
	return r < 0 ? r : keep_direct(query, segment, matcher, match);
}

int lp_plan_match(struct lp_query *query, const struct lp_log_expr *log, const struct lp_segment *segment, struct lp_buf *scratch,
		  uint32_t **ret_streams, uint32_t *ret_n)
{
	struct match match = { .total = lp_segment_info(segment)->streams };
	uint32_t out = 0;
	int r = 0;

	for (int pass = 0; pass < 3; pass++)
		for (uint32_t m = 0; log && r == 0 && m < log->n_matchers; m++) {
			const struct lp_matcher *matcher = &log->matchers[m];
			bool equal = matcher->op == LP_MATCH_EQ && matcher->value.len;

			if (lp_discover_adds(query->discover, matcher->name.s, matcher->name.len))
				r = pass == 2 ? match_added(query, segment, matcher, &match) : 0;
			else if (equal && pass == 0)
				r = match_equal(segment, matcher, &match);
			else if (!equal && pass == 1)
				r = match_other(query, segment, matcher, scratch, &match);
		}
	if (r == 0 && !match.streams)
		r = match_all(&match);
	for (uint32_t i = 0; r == 0 && i < match.n; i++) {
		const uint8_t *labels;
		uint32_t len;
		int64_t min_ts, max_ts;

		if (lp_segment_stream(segment, match.streams[i], &labels, &len, &min_ts, &max_ts) < 0 || max_ts < query->params.start_ns ||
		    min_ts >= query->params.end_ns || !match_tenant(query, labels, len))
			continue;
		match.streams[out++] = match.streams[i];
	}
	if (r < 0) {
		free(match.streams);
		return r;
	}
	*ret_streams = match.streams;
	*ret_n = out;
	return 0;
}

/* ---- tasks ---- */

int lp_plan_check_matchers(struct lp_query *query, const struct lp_log_expr *log)
{
	uint32_t max = query->params.max_matchers;

	if (!max || !log || log->n_matchers <= max)
		return 0;
	return lp_query_fail(query, 400, "BAD_QUERY", "max streams matchers per query exceeded, matchers-count > limit (%u > %u)",
			     log->n_matchers, max);
}

static void print_bytes(char *to, size_t size, uint64_t bytes)
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
	double v = (double)bytes;
	unsigned unit = 0;

	for (; v >= 1024 && unit < 6; unit++)
		v /= 1024;
	snprintf(to, size, v < 10 && unit ? "%.1f %s" : "%.0f %s", v, units[unit]);
}

static int check_bytes(struct lp_query *query)
{
	char would[32], may[32];

	if (!query->params.max_bytes_read || query->bytes_planned <= query->params.max_bytes_read)
		return 0;
	print_bytes(would, sizeof would, query->bytes_planned);
	print_bytes(may, sizeof may, query->params.max_bytes_read);
	return lp_query_fail(query, 400, "BAD_QUERY",
			     "the query would read too many bytes (query: %s, limit: %s); consider adding more specific stream selectors or "
			     "reduce the time range of the query", would, may);
}

static int add_item(struct lp_query *query, const struct lp_item *item, uint32_t bytes)
{
	size_t cap = query->plan.cap;

	query->bytes_planned += bytes;
	int r = lp_query_grow(query, (void **)&query->plan.items, &cap, (size_t)query->plan.n + 1, sizeof *item);

	if (r < 0)
		return r;
	query->plan.cap = (uint32_t)cap;
	query->plan.items[query->plan.n++] = *item;
	return 0;
}

static int add_task(struct lp_query *query, const struct lp_task *task)
{
	size_t cap = query->plan.tasks_cap;
	int r = lp_query_grow(query, (void **)&query->plan.tasks, &cap, (size_t)query->plan.n_tasks + 1, sizeof *task);

	if (r < 0)
		return r;
	query->plan.tasks_cap = (uint32_t)cap;
	query->plan.tasks[query->plan.n_tasks++] = *task;
	return 0;
}

/* Is the block to be left out?  (blocks as of lp_line_filter_blocks().) */
static bool skipped(const uint64_t *blocks, uint32_t block)
{
	return blocks && !(blocks[block / 64] >> block % 64 & 1);
}

static int stream_tombs(struct lp_query *query, const struct lp_segment *segment, uint32_t stream, uint32_t *ret_tombs)
{
	const uint8_t *labels;
	uint32_t len;
	int64_t min_ts, max_ts;
	int r = lp_segment_stream(segment, stream, &labels, &len, &min_ts, &max_ts);

	return r < 0 ? r : lp_query_tombs_of(query, labels, len, ret_tombs);
}

/* Runs come in stream order and streams fill blocks in order, so the items of one block are neighbours. */
static int plan_streams(struct lp_query *query, uint32_t seg, const uint32_t *streams, uint32_t n, const uint64_t *blocks)
{
	const struct lp_segment *segment = lp_snapshot_segment(query->snapshot, seg);
	struct lp_task task = { .n = 0 };
	uint32_t last_skipped = UINT32_MAX;
	int r = 0;

	for (uint32_t i = 0; r == 0 && i < n; i++) {
		uint32_t first, runs, tombs = 0;

		if (i % 4096 == 4095 && lp_query_stopped(query))
			r = -ECANCELED;
		if (lp_segment_stream_runs(segment, streams[i], &first, &runs) < 0)
			continue;
		if (r == 0 && query->tombs)
			r = stream_tombs(query, segment, streams[i], &tombs);
		for (uint32_t k = first; r == 0 && k < first + runs; k++) {
			struct lp_item item = { .stream = streams[i], .run = k, .seg = seg };
			struct lp_run run;

			if (lp_segment_run(segment, k, &run) < 0 || run.max_ts < query->params.start_ns || run.min_ts >= query->params.end_ns ||
			    lp_query_tombs_item(query, tombs, lp_segment_info(segment)->name.last, run.min_ts, run.max_ts, &item.tombs))
				continue;
			if (skipped(blocks, run.block)) {
				if (run.block != last_skipped)
					atomic_fetch_add_explicit(&query->count.blocks_skipped, 1, memory_order_relaxed);
				last_skipped = run.block;
				continue;
			}
			if (task.n && task.block != run.block) {
				r = add_task(query, &task);
				task.n = 0;
			}
			if (!task.n)
				task = (struct lp_task){ run.min_ts, run.max_ts, seg, run.block, query->plan.n, 0, 0 };
			task.min_ts = run.min_ts < task.min_ts ? run.min_ts : task.min_ts;
			task.max_ts = run.max_ts > task.max_ts ? run.max_ts : task.max_ts;
			task.n++;
			if (run.min_ts >= query->params.start_ns && run.max_ts < query->params.end_ns)
				task.rows += run.rows;
			if (r == 0)
				r = add_item(query, &item, run.raw_bytes);
		}
	}
	return r == 0 && task.n ? add_task(query, &task) : r;
}

static int plan_segment(struct lp_query *query, struct lp_worker *worker, uint32_t seg, const struct lp_line_filter *filter)
{
	const struct lp_segment *segment = lp_snapshot_segment(query->snapshot, seg);
	const struct lp_segment_info *info = lp_segment_info(segment);
	uint64_t *blocks = NULL;
	uint32_t *streams, n;

	if (info->max_ts < query->params.start_ns || info->min_ts >= query->params.end_ns)
		return 0;
	int r = lp_plan_match(query, query->log, segment, &worker->scratch, &streams, &n);

	if (r < 0)
		return r;
	if (n)
		r = lp_line_filter_blocks(filter, segment, &blocks);
	if (r == 0)
		r = plan_streams(query, seg, streams, n, blocks);
	free(blocks);
	free(streams);
	return r;
}

static int newest_first(const void *a, const void *b)
{
	const struct lp_item *x = a, *y = b;

	return x->batch->max_ts > y->batch->max_ts ? -1 : x->batch->max_ts < y->batch->max_ts;
}

static int oldest_first(const void *a, const void *b)
{
	const struct lp_item *x = a, *y = b;

	return x->batch->min_ts < y->batch->min_ts ? -1 : x->batch->min_ts > y->batch->min_ts;
}

static int plan_live(struct lp_query *query)
{
	uint32_t from = query->plan.n, n_streams = lp_snapshot_wal_streams(query->snapshot);
	int r = 0;

	for (uint32_t s = 0; r == 0 && s < n_streams; s++) {
		const uint8_t *labels;
		uint32_t len, n, tombs = 0;
		int64_t min_ts, max_ts;

		if (s % 1024 == 1023 && lp_query_stopped(query))
			return -ECANCELED;
		if (lp_snapshot_wal_stream(query->snapshot, s, &labels, &len, &min_ts, &max_ts) < 0 || max_ts < query->params.start_ns ||
		    min_ts >= query->params.end_ns || !lp_plan_match_labels(query, query->log, labels, len))
			continue;
		const struct lp_wal_batch *batches = lp_snapshot_wal_batches(query->snapshot, s, &n);

		if (query->tombs)
			r = lp_query_tombs_of(query, labels, len, &tombs);
		for (uint32_t b = 0; r == 0 && b < n; b++) {
			struct lp_item item = { .stream = s, .seg = LP_SEG_WAL, .batch = &batches[b] };

			if (batches[b].max_ts >= query->params.start_ns && batches[b].min_ts < query->params.end_ns &&
			    !lp_query_tombs_item(query, tombs, batches[b].file, batches[b].min_ts, batches[b].max_ts, &item.tombs))
				r = add_item(query, &item, batches[b].text_bytes);
		}
	}
	if (r == 0 && query->plan.n > from)
		qsort(query->plan.items + from, query->plan.n - from, sizeof(struct lp_item), query->params.forward ? oldest_first : newest_first);
	struct lp_task task = { .n = 0 };
	uint64_t bytes = 0;

	for (uint32_t i = from; r == 0 && i < query->plan.n; i++) {
		const struct lp_wal_batch *batch = query->plan.items[i].batch;

		if (task.n && (bytes + batch->text_bytes > LP_TASK_BYTES || task.n >= LP_TASK_BATCHES)) {
			r = add_task(query, &task);
			task.n = 0;
		}
		if (!task.n) {
			task = (struct lp_task){ batch->min_ts, batch->max_ts, LP_SEG_WAL, 0, i, 0, 0 };
			bytes = 0;
		}
		task.min_ts = batch->min_ts < task.min_ts ? batch->min_ts : task.min_ts;
		task.max_ts = batch->max_ts > task.max_ts ? batch->max_ts : task.max_ts;
		task.n++;
		if (batch->min_ts >= query->params.start_ns && batch->max_ts < query->params.end_ns)
			task.rows += batch->entries;
		bytes += batch->text_bytes;
	}
	if (r == 0 && task.n)
		r = add_task(query, &task);
	return r;
}

static int task_newest(const void *a, const void *b)
{
	const struct lp_task *x = a, *y = b;

	return x->max_ts > y->max_ts ? -1 : x->max_ts < y->max_ts;
}

static int task_oldest(const void *a, const void *b)
{
	const struct lp_task *x = a, *y = b;

	return x->min_ts < y->min_ts ? -1 : x->min_ts > y->min_ts;
}

int lp_plan_tasks(struct lp_query *query, struct lp_worker *worker, const struct lp_line_filter *filter)
{
	int r = 0;

	for (uint32_t i = 0; r == 0 && i < lp_snapshot_segments(query->snapshot); i++)
		r = lp_query_stopped(query) ? -ECANCELED : plan_segment(query, worker, i, filter);
	if (r == 0)
		r = plan_live(query);
	if (r == 0)
		r = check_bytes(query);
	if (r < 0)
		return r;
	if (query->plan.n_tasks)
		qsort(query->plan.tasks, query->plan.n_tasks, sizeof *query->plan.tasks, query->params.forward ? task_oldest : task_newest);
	query->n_tasks = query->plan.n_tasks;
	return 0;
}
