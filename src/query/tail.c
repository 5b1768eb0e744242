/* Live tail: rows to messages; see tail.h.
 *
 * Guarantees: a line passes exactly if the query over stored lines would show it, with the same labels; a message is at most
 * LP_TAIL_FRAME_ENTRIES entries, and LP_TAIL_FRAME_BYTES plus one entry long.
 * Process: worker, the tail thread (live) and pool threads (history).  Memory only. */
#include "query/tail.h"

#include "common/jsonw.h"
#include "common/rfc3339.h"
#include "query/engine-private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct lp_tail {
	struct lp_logql *logql;
	const struct lp_log_expr *log;
	struct lp_line_filter *filter;
	struct lp_pipeline *pipeline;
	struct lp_pipeline_state *state;        /* opened with the first row: a few hundred KiB */
	const uint8_t *labels;                  /* stream that the state is set to; NULL none */
	bool original, categorize;
	struct lp_query asked;                  /* only what matching looks at: tenant and discovered labels */
};

int lp_tail_open(const struct lp_tail_spec *spec, struct lp_tail **ret_tail, struct lp_buf *error)
{
	struct lp_tail *tail = calloc(1, sizeof *tail);
	struct lp_pipeline_spec pipeline = { 0 };
	int r;

	if (!tail)
		return -ENOMEM;
	tail->original = spec->original;
	tail->categorize = spec->categorize && !spec->original;
	tail->asked.params.tenant = lp_arena_strndup(&tail->asked.arena, spec->tenant, spec->tenant_len);
	tail->asked.params.tenant_len = spec->tenant_len;
	tail->asked.params.tenants = spec->tenants;
	r = tail->asked.params.tenant ? lp_discover_open(spec->discover, spec->tenants, &tail->asked.arena, &tail->asked.discover) : -ENOMEM;
	pipeline.discover = tail->asked.discover;
	if (r == 0)
		r = spec->original ? lp_plan_parse_original(spec->text, spec->text_len, &tail->logql, error) :
				     lp_logql_parse(spec->text, spec->text_len, &tail->logql, error);
	if (r == -E2BIG)
		r = -EINVAL;
	if (r == 0 && tail->logql->root->kind != LP_EXPR_LOG) {
		lp_buf_str(error, "only log selector is supported");
		r = -EOPNOTSUPP;
	}
	if (r == 0) {
		tail->log = &tail->logql->root->log;
		r = lp_line_filter_open(tail->log->stages, &tail->filter, &pipeline.stages);
	}
	if (r == 0)
		r = lp_pipeline_open(&pipeline, &tail->pipeline);
	if (r < 0) {
		lp_tail_close(&tail);
		return r;
	}
	*ret_tail = tail;
	return 0;
}

void lp_tail_close(struct lp_tail **tail)
{
	struct lp_tail *t = *tail;

	if (!t)
		return;
	lp_pipeline_state_close(&t->state);
	lp_pipeline_close(&t->pipeline);
	lp_line_filter_close(&t->filter);
	lp_logql_free(&t->logql);
	lp_arena_free(&t->asked.arena);
	free(t);
	*tail = NULL;
}

bool lp_tail_match(const struct lp_tail *tail, const uint8_t *labels, uint32_t len)
{
	return lp_plan_match_labels(&tail->asked, tail->log, labels, len);
}

void lp_tail_forget_stream(struct lp_tail *tail)
{
	tail->labels = NULL;
}

/* ---- messages ---- */

void lp_tail_frames_init(const struct lp_tail *tail, struct lp_tail_frames *frames)
{
	*frames = (struct lp_tail_frames){ .original = tail->original, .categorize = tail->categorize };
}

void lp_tail_frames_free(struct lp_tail_frames *frames)
{
	lp_buf_free(&frames->text);
	lp_buf_free(&frames->scratch);
	free(frames->messages);
	free(frames->entries);
	*frames = (struct lp_tail_frames){ 0 };
}

static int grow(void **v, size_t *cap, size_t n, size_t size)
{
	if (n < *cap)
		return 0;
	size_t more = *cap ? *cap * 2 : 16;
	void *p = realloc(*v, more * size);

	if (!p)
		return -ENOMEM;
	*v = p;
	*cap = more;
	return 0;
}

int lp_tail_frames_end(struct lp_tail_frames *frames)
{
	struct lp_buf *out = &frames->text;
	int r = 0;

	if (!frames->open)
		return out->failed ? -ENOMEM : 0;
	lp_buf_str(out, frames->original ? "}" : "]}]}");
	if (!out->failed)
		r = grow((void **)&frames->messages, &frames->messages_cap, frames->n_messages, sizeof *frames->messages);
	if (out->failed || r < 0) {
		/* Back to the last whole message. */
		out->len = frames->begin;
		out->failed = false;
		while (frames->n_entries && frames->entries[frames->n_entries - 1].labels_off >= frames->begin)
			frames->n_entries--;
		frames->open = 0;
		return -ENOMEM;
	}
	frames->messages[frames->n_messages++] = (struct lp_tail_message){ out->len, frames->open };
	frames->begin = out->len;
	frames->open = 0;
	return 0;
}

static int add_original(struct lp_tail_frames *frames, const struct lp_cand *cand, const struct lp_pipeline_result *res)
{
	struct lp_buf *out = &frames->text;
	char ts[LP_RFC3339_MAX];

	frames->open = 1;
	lp_buf_str(out, "{\"type\":\"log\",\"data\":{\"id\":");
	lp_result_id_json(out, cand);
	lp_buf_str(out, ",\"timestamp\":");
	lp_jsonw_str(out, ts, lp_rfc3339_format(ts, cand->ts));
	lp_buf_str(out, ",\"level\":");
	lp_result_level_json(out, res);
	lp_buf_str(out, ",\"message\":");
	lp_jsonw_str(out, res->line, res->line_len);
	lp_buf_str(out, ",\"labels\":");
	lp_result_pairs_json(out, res->labels, res->n_labels, LP_ALL_CATEGORIES);
	lp_buf_byte(out, '}');
	return lp_tail_frames_end(frames);
}

/* The value goes to the stream object of the last one when the labels are the same. */
static int add_loki(struct lp_tail_frames *frames, const struct lp_cand *cand, const struct lp_pipeline_result *res)
{
	struct lp_buf *out = &frames->text, *labels = &frames->scratch;
	int r = 0;

	if (frames->open && (frames->open >= LP_TAIL_FRAME_ENTRIES || out->len - frames->begin >= LP_TAIL_FRAME_BYTES))
		r = lp_tail_frames_end(frames);
	if (r == 0)
		r = grow((void **)&frames->entries, &frames->entries_cap, frames->n_entries, sizeof *frames->entries);
	if (r < 0)
		return r;
	lp_buf_reset(labels);
	lp_result_pairs_json(labels, res->labels, res->n_labels,
			     frames->categorize ? LP_ONLY_CATEGORY(LP_CATEGORY_STREAM) : LP_ALL_CATEGORIES);
	if (labels->failed)
		return -ENOMEM;
	bool same = frames->open && frames->stream.labels_len == labels->len &&
		    memcmp(out->data + frames->stream.labels_off, labels->data, labels->len) == 0;

	if (!frames->open && frames->categorize)
		lp_buf_str(out, "{\"encodingFlags\":[\"categorize-labels\"],\"streams\":[");
	else if (!frames->open)
		lp_buf_str(out, "{\"streams\":[");
	if (!same) {
		lp_buf_str(out, frames->open ? "]},{\"stream\":" : "{\"stream\":");
		frames->stream.labels_off = (uint32_t)out->len;
		frames->stream.labels_len = (uint32_t)labels->len;
		lp_buf_append(out, labels->data, labels->len);
		lp_buf_str(out, ",\"values\":[");
	}
	lp_buf_str(out, same ? ",[\"" : "[\"");
	lp_buf_i64(out, cand->ts);
	lp_buf_str(out, "\",");
	lp_jsonw_str(out, res->line, res->line_len);
	if (frames->categorize) {
		lp_buf_byte(out, ',');
		lp_result_extra_json(out, res);
	}
	lp_buf_byte(out, ']');
	frames->stream.ts = cand->ts;
	frames->entries[frames->n_entries++] = frames->stream;
	frames->open++;
	return 0;
}

/* ---- rows ---- */

/* 1 added, 0 dropped by the pipeline, negative. */
static int run_one(struct lp_pipeline_state *state, const struct lp_cand *cand, struct lp_tail_frames *frames)
{
	struct lp_pipeline_result res;
	int r = lp_pipeline_line(state, cand->ts, cand->line, cand->line_len, cand->meta, cand->meta_len, &res);

	if (r <= 0)
		return r == -EBADMSG ? 0 : r;
	r = frames->original ? add_original(frames, cand, &res) : add_loki(frames, cand, &res);
	return r < 0 ? r : 1;
}

int lp_tail_row(struct lp_tail *tail, const uint8_t *labels, uint32_t len, const struct lp_rows *rows, uint32_t row,
		struct lp_tail_frames *frames)
{
	struct lp_cand cand = { .ts = rows->ts[row], .labels = labels, .labels_len = len };
	int r;

	cand.line = lp_rows_line(rows, row, &cand.line_len);
	if (tail->filter && !lp_line_filter_match(tail->filter, cand.line, cand.line_len))
		return 0;
	cand.meta = lp_rows_meta(rows, row, &cand.meta_len);
	if (!tail->state) {
		r = lp_pipeline_state_open(tail->pipeline, &tail->state);
		if (r < 0)
			return r;
	}
	if (tail->labels != labels) {
		tail->labels = NULL;
		r = lp_pipeline_stream(tail->state, labels, len);
		if (r < 0)
			return r == -EBADMSG ? 0 : r;
		tail->labels = labels;
	}
	return run_one(tail->state, &cand, frames);
}

/* ---- history ---- */

/* Give out whole messages: "<entries> <message>\n". */
static int write_messages(struct lp_query *query, struct lp_tail_frames *frames)
{
	size_t begin = 0;

	for (size_t i = 0; i < frames->n_messages; i++) {
		lp_buf_u64(&query->out, frames->messages[i].entries);
		lp_buf_byte(&query->out, ' ');
		lp_buf_append(&query->out, frames->text.data + begin, frames->messages[i].end - begin);
		lp_buf_byte(&query->out, '\n');
		begin = frames->messages[i].end;
		int r = lp_out_flush(query, false);

		if (r < 0)
			return r;
	}
	lp_buf_reset(&frames->text);
	frames->n_messages = frames->n_entries = frames->begin = 0;
	return 0;
}

int lp_tail_result(struct lp_query *query)
{
	struct lp_tail_frames frames = { .original = query->params.original_shape, .categorize = query->params.categorize };
	struct lp_pipeline_state *state = NULL;
	const struct lp_cand *last = NULL;
	int r = lp_pipeline_state_open(query->pipeline, &state);

	if (r == 0)
		r = lp_out_begin(query, 200, "text/plain; charset=utf-8");
	for (size_t i = query->kept.n; r >= 0 && i > 0; i--) {      /* kept: newest first */
		const struct lp_cand *cand = &query->kept.v[i - 1];

		if (!last || last->labels != cand->labels)
			r = lp_pipeline_stream(state, cand->labels, cand->labels_len);
		last = r < 0 ? NULL : cand;
		if (r == -EBADMSG) {
			r = 0;
			continue;
		}
		if (r == 0)
			r = run_one(state, cand, &frames);
		r = r < 0 ? r : 0;
		if (r == 0 && frames.text.len >= LP_TAIL_FRAME_BYTES) {
			r = lp_tail_frames_end(&frames);
			if (r == 0)
				r = write_messages(query, &frames);
		}
	}
	if (r >= 0)
		r = lp_tail_frames_end(&frames);
	if (r >= 0)
		r = write_messages(query, &frames);
	if (r >= 0)
		r = lp_out_flush(query, true);
	lp_pipeline_state_close(&state);
	lp_tail_frames_free(&frames);
	return r < 0 ? r : 0;
}
