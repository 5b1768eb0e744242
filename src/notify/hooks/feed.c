/* Log lines for one target (see feed.h).
 *
 * At least once: a batch and the position behind it are one record of the queue, so that after a crash reading goes on behind
 * what is queued.  What is left out (rate limit, no room) is counted and told in the next request.
 * The rate limit is a token bucket (Turner, "New directions in communications", IEEE Communications Magazine 24, 1986).
 * Process: notifier, main thread.  If it dies here, the batch in memory is read again from the log, as far as that is not sealed. */
#include "notify/hooks/feed.h"

#include "common/bytes.h"
#include "common/clock.h"
#include "store/format/labels.h"

#include <errno.h>
#include <string.h>

static void put_position(const struct lp_feed_position *at, uint8_t bytes[LP_HOOKQ_POSITION])
{
	memset(bytes, 0, LP_HOOKQ_POSITION);
	lp_put_le64(bytes, at->pos);
	lp_put_le64(bytes + 8, at->rows);
	bytes[LP_HOOKQ_POSITION - 1] = 1;       /* never all zero, which means none */
}

bool lp_feed_position(const struct lp_hookq *queue, lp_walpos *ret_pos)
{
	uint8_t bytes[LP_HOOKQ_POSITION];

	if (!lp_hookq_position(queue, bytes))
		return false;
	*ret_pos = lp_le64(bytes);
	return true;
}

int lp_feed_open(struct lp_feed *feed, const struct lp_hook_target *target, struct lp_hookq *queue, lp_walpos from, lp_walpos committed)
{
	struct lp_pipeline_spec spec = { .stages = target->selector ? target->selector->root->log.stages : NULL };
	uint8_t bytes[LP_HOOKQ_POSITION];
	int r;

	memset(feed, 0, sizeof *feed);
	feed->target = target;
	feed->queue = queue;
	feed->tokens = (double)target->burst;
	feed->at.pos = from;
	if (lp_hookq_position(queue, bytes) && lp_le64(bytes) <= committed) {
		feed->at.pos = lp_le64(bytes);
		feed->at.rows = lp_le64(bytes + 8);
	}
	r = lp_pipeline_open(&spec, &feed->pipeline);
	if (r == 0)
		r = lp_pipeline_state_open(feed->pipeline, &feed->state);
	if (r < 0)
		lp_feed_close(feed);
	return r;
}

void lp_feed_close(struct lp_feed *feed)
{
	lp_pipeline_state_close(&feed->state);
	lp_pipeline_close(&feed->pipeline);
	lp_hook_batch_free(&feed->batch);
	feed->target = NULL;
}

static bool take_token(struct lp_feed *feed, int64_t now_ms)
{
	const struct lp_hook_target *target = feed->target;

	if (target->rate == 0)
		return true;
	if (feed->tokens_ms && now_ms > feed->tokens_ms)
		feed->tokens += (double)(now_ms - feed->tokens_ms) * (double)target->rate / 1000;
	if (feed->tokens > (double)target->burst)
		feed->tokens = (double)target->burst;
	feed->tokens_ms = now_ms;
	if (feed->tokens < 1)
		return false;
	feed->tokens -= 1;
	return true;
}

static bool wants_stream(const struct lp_feed *feed, const struct lp_follow_stream *stream, const char **ret_tenant, size_t *ret_len)
{
	const struct lp_logql *selector = feed->target->selector;
	struct lp_labels_iter it;

	if (lp_labels_iter(&it, stream->labels, stream->labels_len, ret_tenant, ret_len) < 0)
		return false;
	if (feed->target->tenant && (strlen(feed->target->tenant) != *ret_len || memcmp(feed->target->tenant, *ret_tenant, *ret_len)))
		return false;
	for (uint32_t i = 0; selector && i < selector->root->log.n_matchers; i++) {
		const struct lp_matcher *matcher = &selector->root->log.matchers[i];
		struct lp_label label = { .value = "", .value_len = 0 };

		if (lp_labels_find(stream->labels, stream->labels_len, matcher->name.s, matcher->name.len, &label) < 0 ||
		    !lp_matcher_match(matcher, label.value, label.value_len))
			return false;
	}
	return true;
}

static int take_row(struct lp_feed *feed, const struct lp_rows *rows, uint32_t i, const char *tenant, size_t tenant_len, int64_t now_ms)
{
	struct lp_pipeline_result result;
	uint32_t len, meta_len;
	const char *line = lp_rows_line(rows, i, &len);
	const uint8_t *meta = lp_rows_meta(rows, i, &meta_len);
	int r = lp_pipeline_line(feed->state, rows->ts[i], line, len, meta, meta_len, &result);

	if (r <= 0)
		return r == -EBADMSG ? 0 : r;
	if (!take_token(feed, now_ms)) {
		feed->over_rate++;
		feed->untold++;
		return 0;
	}
	if (!feed->batch.lines) {
		feed->batch_at = feed->at;
		feed->batch_ms = now_ms;
	}
	lp_hook_batch_add(&feed->batch, tenant, tenant_len, rows->ts[i], &result);
	return 1;
}

static bool is_full(const struct lp_feed *feed)
{
	return feed->batch.lines >= (uint64_t)feed->target->max_lines || feed->batch.entries.len >= (uint64_t)feed->target->max_bytes;
}

static int take_stream(struct lp_feed *feed, const struct lp_follow_stream *stream, int64_t now_ms)
{
	const char *tenant;
	size_t tenant_len;
	uint64_t done = feed->at.rows;
	int r = 0;

	if (!wants_stream(feed, stream, &tenant, &tenant_len) || lp_pipeline_stream(feed->state, stream->labels, stream->labels_len) < 0)
		return 0;
	for (uint32_t i = 0; i < stream->rows.n && r >= 0; i++) {
		feed->at.rows = done + i;
		r = take_row(feed, &stream->rows, i, tenant, tenant_len, now_ms);
		feed->at.rows = done + i + 1;
		if (r > 0 && is_full(feed))
			(void)lp_feed_flush(feed, now_ms);
	}
	return r < 0 ? r : 0;
}

int lp_feed_record(struct lp_feed *feed, const struct lp_follow_record *record, int64_t now_ms)
{
	uint64_t skip = record->pos == feed->at.pos ? feed->at.rows : 0, row = 0;
	int r = 0;

	if (record->pos < feed->at.pos)
		return 0;
	feed->at.pos = record->pos;
	for (uint32_t s = 0; s < record->head.streams && r == 0; s++) {
		struct lp_follow_stream stream;

		if (lp_follow_stream(record, s, &stream) < 0)
			continue;
		/* A batch may have ended in the middle of a record: its rows before that are not taken twice. */
		uint64_t end = row + stream.rows.n, from = skip > row ? skip - row : 0;

		if (from < stream.rows.n) {
			uint32_t n = (uint32_t)from;

			if (n) {
				stream.rows.base = stream.rows.ends[n - 1];
				stream.rows.ends += n;
				stream.rows.ts += n;
				if (stream.rows.meta_ends) {
					stream.rows.meta_base = stream.rows.meta_ends[n - 1];
					stream.rows.meta_ends += n;
				}
				stream.rows.n -= n;
			}
			feed->at.rows = row + n;
			r = take_stream(feed, &stream, now_ms);
		}
		row = end;
		feed->at.rows = row;
	}
	return r;
}

void lp_feed_reached(struct lp_feed *feed, lp_walpos pos)
{
	if (pos > feed->at.pos) {
		feed->at.pos = pos;
		feed->at.rows = 0;
	}
}

void lp_feed_jumped(struct lp_feed *feed, uint64_t entries)
{
	feed->behind += entries;
	feed->untold += entries;
}

int64_t lp_feed_due_ms(const struct lp_feed *feed)
{
	return feed->batch.lines ? feed->batch_ms + feed->target->batch_wait_ms : INT64_MAX;
}

/* The same lines from the same place of the log have the same id. */
static uint64_t batch_id(const struct lp_feed *feed)
{
	uint8_t bytes[20];

	lp_put_le64(bytes, feed->batch_at.pos);
	lp_put_le64(bytes + 8, feed->batch_at.rows);
	lp_put_le32(bytes + 16, feed->batch.lines);
	return lp_labels_hash(bytes, sizeof bytes).lo;
}

int lp_feed_flush(struct lp_feed *feed, int64_t now_ms)
{
	struct lp_buf body = LP_BUF_INIT, error = LP_BUF_INIT;
	struct lp_hookq_event event = {
		.id = batch_id(feed), .created_ns = lp_clock_real_ns(), .format = (uint16_t)feed->target->kind,
		.class = LP_HOOK_LOGS, .lines = feed->batch.lines,
	};
	uint8_t position[LP_HOOKQ_POSITION];
	int r;

	(void)now_ms;
	if (!feed->batch.lines)
		return 0;
	feed->batch.dropped = feed->untold;
	put_position(&feed->at, position);
	r = lp_hook_body_logs(feed->target, &feed->batch, event.id, event.created_ns, &body, &error);
	if (r == 0)
		r = lp_hookq_add(feed->queue, &event, body.data, body.len, position);
	if (r == 0 || r == -EEXIST) {
		feed->untold = 0;
		r = 0;
	} else {
		feed->unqueued += feed->batch.lines;
		feed->untold += feed->batch.lines;
	}
	lp_hook_batch_reset(&feed->batch);
	lp_buf_free(&body);
	lp_buf_free(&error);
	return r;
}

void lp_feed_save(struct lp_feed *feed)
{
	uint8_t position[LP_HOOKQ_POSITION];

	/* While a batch is open, what must be read again begins with its first line. */
	put_position(feed->batch.lines ? &feed->batch_at : &feed->at, position);
	(void)lp_hookq_set_position(feed->queue, position);
}
