/* Delete requests, compiled.
 * Guarantees: the same entries for every query and for compaction, whoever asks: streams by the labels they were pushed with (not those
 * that queries add), entries by their time, the log file they came in, and line filters on the line as pushed.
 * Process: worker pool threads, writer's compacting thread.  Nothing is written. */
#include "query/deletes.h"

#include "query/engine-private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int lp_tomb_parse(const char *text, size_t len, struct lp_logql **ret_logql, struct lp_line_filter **ret_filter, struct lp_buf *error)
{
	struct lp_line_filter *filter = NULL;
	struct lp_logql *logql = NULL;
	struct lp_buf reason = LP_BUF_INIT;
	const struct lp_stage *rest;
	int r = lp_logql_parse(text, len, &logql, &reason);

	lp_buf_free(&reason);
	if (r < 0) {
		lp_buf_str(error, "invalid query expression");
		return r == -ENOMEM ? r : -EINVAL;
	}
	if (logql->root->kind != LP_EXPR_LOG) {
		lp_buf_str(error, "invalid query expression");
		r = -EINVAL;
	} else {
		r = lp_line_filter_open(logql->root->log.stages, &filter, &rest);
		if (r == 0 && rest) {
			lp_buf_str(error, "unsupported query expression: a delete request takes a selector and line filters");
			r = -EINVAL;
		}
	}
	if (r < 0 || !ret_filter)
		lp_line_filter_close(&filter);
	if (r < 0 || !ret_logql)
		lp_logql_free(&logql);
	if (r == 0 && ret_logql)
		*ret_logql = logql;
	if (r == 0 && ret_filter)
		*ret_filter = filter;
	return r;
}

static int compile(struct lp_tombs *tombs)
{
	int r = 0;

	for (uint32_t i = 0; r == 0 && i < tombs->deletes.n; i++) {
		const struct lp_delete *request = &tombs->deletes.v[i];
		struct lp_tomb *tomb = &tombs->v[tombs->n];
		struct lp_buf error = LP_BUF_INIT;

		if (request->processed)
			continue;
		tomb->request = *request;
		r = lp_tomb_parse(request->query, request->query_len, &tomb->logql, &tomb->filter, &error);
		lp_buf_free(&error);
		if (r == 0) {
			tomb->log = &tomb->logql->root->log;
			tombs->n++;
		}
	}
	return r == -EINVAL ? -EBADMSG : r;
}

int lp_tombs_load(const char *data_dir, struct lp_tombs **ret_tombs)
{
	struct lp_tombs *tombs = calloc(1, sizeof *tombs);
	int r = tombs ? lp_deletes_load(data_dir, &tombs->deletes) : -ENOMEM;

	if (r == 0) {
		tombs->v = calloc((size_t)tombs->deletes.n + 1, sizeof *tombs->v);
		r = tombs->v ? compile(tombs) : -ENOMEM;
	}
	if (r < 0) {
		lp_tombs_free(&tombs);
		return r;
	}
	*ret_tombs = tombs;
	return 0;
}

void lp_tombs_free(struct lp_tombs **tombs)
{
	struct lp_tombs *t = *tombs;

	if (!t)
		return;
	for (uint32_t i = 0; i < t->n; i++) {
		lp_line_filter_close(&t->v[i].filter);
		lp_logql_free(&t->v[i].logql);
	}
	free(t->v);
	lp_deletes_free(&t->deletes);
	free(t);
	*tombs = NULL;
}

bool lp_tomb_stream(const struct lp_tomb *tomb, const uint8_t *labels, uint32_t len)
{
	struct lp_labels_iter it;
	struct lp_label label;
	const char *tenant;
	size_t tenant_len;

	if (lp_labels_iter(&it, labels, len, &tenant, &tenant_len) < 0 || tenant_len != tomb->request.tenant_len ||
	    (tenant_len && memcmp(tenant, tomb->request.tenant, tenant_len)))
		return false;
	for (uint32_t i = 0; i < tomb->log->n_matchers; i++) {
		const struct lp_matcher *matcher = &tomb->log->matchers[i];
		bool has = lp_labels_find(labels, len, matcher->name.s, matcher->name.len, &label) == 1;

		if (!lp_matcher_match(matcher, has ? label.value : "", has ? label.value_len : 0))
			return false;
	}
	return true;
}

bool lp_tomb_entry(const struct lp_tomb *tomb, uint32_t file, int64_t ts, const char *line, uint32_t len)
{
	return file <= tomb->request.last_file && ts >= tomb->request.start_ns && ts <= tomb->request.end_ns &&
	       (!tomb->filter || lp_line_filter_match(tomb->filter, line, len));
}

/* ---- in a query ---- */

static bool meets(const struct lp_tomb *tomb, uint32_t file, int64_t min_ts, int64_t max_ts)
{
	return file <= tomb->request.last_file && tomb->request.start_ns <= max_ts && tomb->request.end_ns >= min_ts;
}

int lp_query_tombs_of(struct lp_query *query, const uint8_t *labels, uint32_t len, uint32_t *ret_list)
{
	struct lp_buf *lists = &query->tomb_lists;
	uint32_t at = (uint32_t)(lists->len / 4), n = 0;

	*ret_list = 0;
	for (uint32_t i = 0; query->tombs && i < query->tombs->n; i++) {
		const struct lp_tomb *tomb = &query->tombs->v[i];

		if (tomb->request.start_ns >= query->params.end_ns || tomb->request.end_ns < query->params.start_ns ||
		    !lp_tomb_stream(tomb, labels, len))
			continue;
		if (n++ == 0)
			lp_buf_append(lists, &n, 4);
		lp_buf_append(lists, &i, 4);
	}
	if (lists->failed)
		return -ENOMEM;
	if (n) {
		memcpy(lists->data + (size_t)at * 4, &n, 4);
		*ret_list = at + 1;
	}
	return 0;
}

static const uint32_t *list_at(const struct lp_query *query, uint32_t list)
{
	return (const uint32_t *)(const void *)query->tomb_lists.data + list - 1;
}

bool lp_query_tombs_item(const struct lp_query *query, uint32_t list, uint32_t file, int64_t min_ts, int64_t max_ts, uint32_t *ret_tombs)
{
	bool any = false;

	*ret_tombs = 0;
	if (!list)
		return false;
	const uint32_t *v = list_at(query, list);

	for (uint32_t i = 1; i <= v[0]; i++) {
		const struct lp_tomb *tomb = &query->tombs->v[v[i]];

		if (!meets(tomb, file, min_ts, max_ts))
			continue;
		if (!tomb->filter && tomb->request.start_ns <= min_ts && tomb->request.end_ns >= max_ts)
			return true;
		any = true;
	}
	*ret_tombs = any ? list : 0;
	return false;
}

bool lp_query_tombs_drop(const struct lp_query *query, const struct lp_item *item, int64_t ts, const char *line, uint32_t len)
{
	const uint32_t *v = list_at(query, item->tombs);
	uint32_t file = item->batch ? item->batch->file : lp_segment_info(lp_snapshot_segment(query->snapshot, item->seg))->name.last;

	for (uint32_t i = 1; i <= v[0]; i++)
		if (lp_tomb_entry(&query->tombs->v[v[i]], file, ts, line, len))
			return true;
	return false;
}
