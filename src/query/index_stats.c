/* index/stats: numbers of distinct entries, their bytes, streams and chunks for a selector and a time range.
 * index/shards asks for parts of the streams that may be queried one by one; a query here is split among threads by itself, so there
 * is one part, all of them.
 * chunks: blocks with an entry in the range, plus one for each stream with live ones (as Loki's head chunk).
 * Process: worker, pool threads. */
#include "query/counting.h"

#include <errno.h>
#include <stdlib.h>

struct index_stats {
	struct lp_counting *counting;
	uint64_t entries, bytes, streams, live_chunks;  /* query->lock */
};

static int stats_take(struct lp_query *query, const uint8_t *labels, uint32_t len, const struct lp_count *buckets, bool live)
{
	struct index_stats *st = query->state;

	(void)labels;
	(void)len;
	pthread_mutex_lock(&query->lock);
	st->entries += buckets[0].entries;
	st->bytes += buckets[0].bytes;
	st->streams++;
	st->live_chunks += live;
	pthread_mutex_unlock(&query->lock);
	return 0;
}

static int stats_plan(struct lp_query *query, struct lp_worker *worker)
{
	struct index_stats *st = query->state = calloc(1, sizeof *st);

	return st ? lp_counting_plan(query, worker, &(struct lp_counting_spec){ .take = stats_take }, &st->counting) : -ENOMEM;
}

static int stats_run(struct lp_query *query, struct lp_worker *worker, uint32_t task)
{
	struct index_stats *st = query->state;

	return lp_counting_run(query, worker, st->counting, task);
}

static int stats_finish(struct lp_query *query)
{
	const struct index_stats *st = query->state;
	uint64_t chunks = st->live_chunks + lp_counting_blocks(query, st->counting);

	query->stats.lines_matched = st->entries;
	int r = lp_out_begin(query, 200, "application/json; charset=UTF-8");

	if (r < 0)
		return r;
	if (query->params.shards)
		lp_buf_str(&query->out, "{\"shards\":[{\"bounds\":{\"min\":0,\"max\":18446744073709551615},\"stats\":");
	lp_buf_printf(&query->out, "{\"streams\":%llu,\"chunks\":%llu,\"bytes\":%llu,\"entries\":%llu}", (unsigned long long)st->streams,
		      (unsigned long long)chunks, (unsigned long long)st->bytes, (unsigned long long)st->entries);
	if (query->params.shards) {
		lp_buf_str(&query->out, "}],\"statistics\":");
		lp_result_stats_json(query);
		lp_buf_byte(&query->out, '}');
	}
	return lp_out_flush(query, true);
}

static void stats_free(struct lp_query *query)
{
	struct index_stats *st = query->state;

	if (!st)
		return;
	lp_counting_free(query, &st->counting);
	free(st);
	query->state = NULL;
}

const struct lp_query_ops lp_index_stats_ops = {
	.plan = stats_plan, .run = stats_run, .finish = stats_finish, .free_state = stats_free,
};
