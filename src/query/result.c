/* Answers of log queries: Loki's streams and the original API's list.  Entries come from query->kept, in order.
 *
 * Kept entries are stored ones: the pipeline runs once more over each of them here, and says what its line and its labels
 * look like in the answer.  That is at most `limit` lines, and while scanning nothing that a pipeline makes has to be kept.
 * Loki: entries are grouped by their result labels, groups sorted by the label string.  With categorized labels the group is
 * made of what is left of the stream's labels; metadata and parsed labels stand beside each line.
 * Written in pieces of 64 KiB; process: worker, a pool thread. */
#include "query/engine-private.h"

#include "common/jsonw.h"
#include "common/rfc3339.h"
#include "query/logql/units.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#define NO_GROUP UINT32_MAX

/* ---- labels ---- */

void lp_result_labels_json(struct lp_buf *out, const uint8_t *labels, size_t len)
{
	struct lp_labels_iter it;
	struct lp_label label;
	bool comma = false;

	lp_buf_byte(out, '{');
	if (lp_labels_iter(&it, labels, len, NULL, NULL) == 0)
		while (lp_labels_next(&it, &label) > 0) {
			if (comma)
				lp_buf_byte(out, ',');
			comma = true;
			lp_jsonw_str(out, label.name, label.name_len);
			lp_buf_byte(out, ':');
			lp_jsonw_str(out, label.value, label.value_len);
		}
	lp_buf_byte(out, '}');
}

void lp_result_pairs_json(struct lp_buf *out, const struct lp_pipeline_label *labels, uint32_t n, unsigned categories)
{
	bool comma = false;

	lp_buf_byte(out, '{');
	for (uint32_t i = 0; i < n; i++) {
		if (!(categories >> labels[i].category & 1))
			continue;
		if (comma)
			lp_buf_byte(out, ',');
		comma = true;
		lp_jsonw_str(out, labels[i].name, labels[i].name_len);
		lp_buf_byte(out, ':');
		lp_jsonw_str(out, labels[i].value, labels[i].value_len);
	}
	lp_buf_byte(out, '}');
}

/* {a="b", c="d"}: what the streams of an answer are sorted by. */
static void pairs_text(struct lp_buf *out, const struct lp_pipeline_label *labels, uint32_t n, unsigned categories)
{
	bool comma = false;

	lp_buf_byte(out, '{');
	for (uint32_t i = 0; i < n; i++) {
		if (!(categories >> labels[i].category & 1))
			continue;
		if (comma)
			lp_buf_str(out, ", ");
		comma = true;
		lp_buf_append(out, labels[i].name, labels[i].name_len);
		lp_buf_byte(out, '=');
		lp_units_print_quoted(out, labels[i].value, labels[i].value_len);
	}
	lp_buf_byte(out, '}');
}

/* ---- groups ---- */

struct group {                          /* one stream of the answer */
	const char *json, *text;        /* its labels; arena */
	size_t json_len, text_len;
	uint64_t hash;
	uint32_t order;
};

struct shown {                          /* a kept entry as the answer shows it */
	const char *line, *extra;       /* extra: the third element, or NULL */
	size_t line_len, extra_len;
	uint32_t group;                 /* NO_GROUP: dropped */
};

struct groups {
	struct group *v;
	size_t n, cap;
	uint32_t *table, size;
	struct shown *of;               /* per kept entry */
	struct lp_arena arena;
	struct lp_pipeline_state *state;
	struct lp_buf scratch;
	unsigned categories;            /* of the group's labels */
	const uint8_t *labels;          /* stream the state is set to */
	uint32_t labels_len, stream_group;      /* group of its lines without labels of their own, or NO_GROUP */
};

static int groups_rehash(struct groups *groups)
{
	uint32_t size = groups->size ? groups->size * 2 : 256;
	uint32_t *table = calloc(size, sizeof *table);

	if (!table)
		return -ENOMEM;
	for (uint32_t i = 0; i < groups->n; i++) {
		uint32_t at = (uint32_t)groups->v[i].hash & (size - 1);

		while (table[at])
			at = (at + 1) & (size - 1);
		table[at] = i + 1;
	}
	free(groups->table);
	groups->table = table;
	groups->size = size;
	return 0;
}

/* A copy that lives as long as the answer is written, charged to the query; NULL: the query has failed or memory ran out. */
static const char *keep(struct lp_query *query, struct groups *groups, const void *p, size_t n)
{
	if (lp_query_charge(query, n) < 0)
		return NULL;
	return lp_arena_strndup(&groups->arena, p, n);
}

static int group_find(struct lp_query *query, struct groups *groups, const struct lp_pipeline_result *res, uint32_t *ret_group)
{
	struct lp_buf *scratch = &groups->scratch;

	lp_buf_reset(scratch);
	lp_result_pairs_json(scratch, res->labels, res->n_labels, groups->categories);
	if (scratch->failed || (groups->n >= groups->size / 2 && groups_rehash(groups) < 0))
		return -ENOMEM;
	uint64_t hash = XXH3_64bits(scratch->data, scratch->len);
	uint32_t at = (uint32_t)hash & (groups->size - 1);

	for (; groups->table[at]; at = (at + 1) & (groups->size - 1)) {
		const struct group *group = &groups->v[groups->table[at] - 1];

		if (group->hash == hash && group->json_len == scratch->len && memcmp(group->json, scratch->data, scratch->len) == 0) {
			*ret_group = groups->table[at] - 1;
			return 0;
		}
	}
	int r = lp_query_grow(query, (void **)&groups->v, &groups->cap, groups->n + 1, sizeof *groups->v);
	struct group group = { .hash = hash, .json_len = scratch->len };

	if (r < 0)
		return r;
	group.json = keep(query, groups, scratch->data, scratch->len);
	lp_buf_reset(scratch);
	pairs_text(scratch, res->labels, res->n_labels, groups->categories);
	group.text_len = scratch->len;
	group.text = scratch->failed ? NULL : keep(query, groups, scratch->data, scratch->len);
	if (!group.json || !group.text)
		return -ENOMEM;
	groups->v[groups->n] = group;
	*ret_group = (uint32_t)groups->n++;
	groups->table[at] = (uint32_t)groups->n;
	return 0;
}

void lp_result_extra_json(struct lp_buf *out, const struct lp_pipeline_result *res)
{
	bool meta = false, parsed = false;

	for (uint32_t i = 0; i < res->n_labels; i++) {
		meta |= res->labels[i].category == LP_CATEGORY_METADATA;
		parsed |= res->labels[i].category == LP_CATEGORY_PARSED;
	}
	lp_buf_byte(out, '{');
	if (meta) {
		lp_buf_str(out, "\"structuredMetadata\":");
		lp_result_pairs_json(out, res->labels, res->n_labels, LP_ONLY_CATEGORY(LP_CATEGORY_METADATA));
	}
	if (parsed) {
		lp_buf_str(out, meta ? ",\"parsed\":" : "\"parsed\":");
		lp_result_pairs_json(out, res->labels, res->n_labels, LP_ONLY_CATEGORY(LP_CATEGORY_PARSED));
	}
	lp_buf_byte(out, '}');
}

void lp_result_level_json(struct lp_buf *out, const struct lp_pipeline_result *res)
{
	for (uint32_t i = 0; i < res->n_labels; i++)
		if (res->labels[i].name_len == 5 && memcmp(res->labels[i].name, "level", 5) == 0 && res->labels[i].value_len) {
			lp_jsonw_str(out, res->labels[i].value, res->labels[i].value_len);
			return;
		}
	lp_buf_str(out, "\"info\"");
}

/* What stands beside a line: its categories or its level. */
static int show_extra(struct lp_query *query, struct groups *groups, const struct lp_pipeline_result *res, struct shown *shown)
{
	struct lp_buf *scratch = &groups->scratch;

	lp_buf_reset(scratch);
	if (query->params.kind == LP_QUERY_ORIGINAL)
		lp_result_level_json(scratch, res);
	else
		lp_result_extra_json(scratch, res);
	shown->extra_len = scratch->len;
	shown->extra = scratch->failed ? NULL : keep(query, groups, scratch->data, scratch->len);
	return shown->extra ? 0 : -ENOMEM;
}

static int show(struct lp_query *query, struct groups *groups, const struct lp_cand *cand, struct shown *shown)
{
	struct lp_pipeline_result res;
	int r = 0;

	*shown = (struct shown){ .group = NO_GROUP };
	if (cand->labels != groups->labels || cand->labels_len != groups->labels_len) {
		r = lp_pipeline_stream(groups->state, cand->labels, cand->labels_len);
		groups->labels = r < 0 ? NULL : cand->labels;
		groups->labels_len = cand->labels_len;
		groups->stream_group = NO_GROUP;
	}
	if (r == 0)
		r = lp_pipeline_line(groups->state, cand->ts, cand->line, cand->line_len, cand->meta, cand->meta_len, &res);
	if (r <= 0)
		return r == -EBADMSG ? 0 : r;   /* bytes that the store should have refused: the rest is still worth an answer */
	r = 0;
	if (res.stream_only && groups->stream_group != NO_GROUP)
		shown->group = groups->stream_group;
	else
		r = group_find(query, groups, &res, &shown->group);
	if (r == 0 && res.stream_only)
		groups->stream_group = shown->group;
	shown->line = res.line;
	shown->line_len = res.line_len;
	if (r == 0 && res.line != cand->line) {
		shown->line = keep(query, groups, res.line, res.line_len);
		r = shown->line ? 0 : -ENOMEM;
	}
	if (r == 0 && (query->params.kind == LP_QUERY_ORIGINAL || query->params.categorize))
		r = show_extra(query, groups, &res, shown);
	return r;
}

static int show_all(struct lp_query *query, struct groups *groups)
{
	size_t n = query->kept.n;
	int r = lp_query_charge(query, n * sizeof *groups->of);

	groups->categories = query->params.categorize ? LP_ONLY_CATEGORY(LP_CATEGORY_STREAM) : LP_ALL_CATEGORIES;
	groups->stream_group = NO_GROUP;
	if (r == 0)
		r = lp_pipeline_state_open(query->pipeline, &groups->state);
	if (r == 0) {
		groups->of = malloc((n + 1) * sizeof *groups->of);
		r = groups->of ? 0 : -ENOMEM;
	}
	for (size_t i = 0; r == 0 && i < n; i++) {
		if ((i % 1024 == 1023 || lp_pipeline_heavy(groups->state)) && lp_query_stopped(query))
			return -ECANCELED;
		r = show(query, groups, &query->kept.v[i], &groups->of[i]);
	}
	return r;
}

static int cmp_group(const void *x, const void *y)
{
	const struct group *a = *(struct group *const *)x, *b = *(struct group *const *)y;
	size_t n = a->text_len < b->text_len ? a->text_len : b->text_len;
	int c = memcmp(a->text, b->text, n);

	return c ? c : (a->text_len > b->text_len) - (a->text_len < b->text_len);
}

static void groups_free(struct groups *groups)
{
	lp_pipeline_state_close(&groups->state);
	lp_arena_free(&groups->arena);
	lp_buf_free(&groups->scratch);
	free(groups->v);
	free(groups->table);
	free(groups->of);
}

/* ---- Loki ---- */

static int write_values(struct lp_query *query, const struct groups *groups, const uint32_t *entries, size_t n)
{
	struct lp_buf *out = &query->out;

	for (size_t k = 0; k < n; k++) {
		const struct shown *shown = &groups->of[entries[k]];

		lp_buf_str(out, k ? ",[\"" : "[\"");
		lp_buf_i64(out, query->kept.v[entries[k]].ts);
		lp_buf_str(out, "\",");
		lp_jsonw_str(out, shown->line, shown->line_len);
		if (shown->extra) {
			lp_buf_byte(out, ',');
			lp_buf_append(out, shown->extra, shown->extra_len);
		}
		lp_buf_byte(out, ']');
		int r = lp_out_flush(query, false);

		if (r < 0)
			return r;
	}
	return 0;
}

void lp_result_stats_json(struct lp_query *query)
{
	struct lp_buf *out = &query->out;
	const struct lp_query_stats *s = &query->stats;
	double sec = (double)(s->exec_ns > 0 ? s->exec_ns : 1) / 1e9;

	lp_buf_printf(out, "{\"summary\":{\"bytesProcessedPerSecond\":%llu,\"linesProcessedPerSecond\":%llu,\"totalBytesProcessed\":%llu,",
		      (unsigned long long)((double)s->bytes_scanned / sec), (unsigned long long)((double)s->lines_scanned / sec),
		      (unsigned long long)s->bytes_scanned);
	lp_buf_printf(out, "\"totalLinesProcessed\":%llu,\"execTime\":%.9f,\"queueTime\":%.9f,\"subqueries\":0,\"totalEntriesReturned\":%llu,",
		      (unsigned long long)s->lines_scanned, sec, (double)s->queue_ns / 1e9, (unsigned long long)s->lines_matched);
	lp_buf_printf(out, "\"splits\":0,\"shards\":0,\"totalPostFilterLines\":%llu,\"totalStructuredMetadataBytesProcessed\":0},",
		      (unsigned long long)s->lines_matched);
	lp_buf_printf(out, "\"querier\":{\"store\":{\"totalChunksRef\":%llu,\"totalChunksDownloaded\":%llu,\"chunksDownloadTime\":0,"
		      "\"chunkRefsFetchTime\":0,\"queryReferencedStructuredMetadata\":false,",
		      (unsigned long long)(s->blocks_read + s->blocks_skipped), (unsigned long long)s->blocks_read);
	lp_buf_printf(out, "\"chunk\":{\"headChunkBytes\":0,\"headChunkLines\":0,\"decompressedBytes\":%llu,\"decompressedLines\":%llu,"
		      "\"compressedBytes\":0,\"totalDuplicates\":0,\"postFilterLines\":%llu}}},",
		      (unsigned long long)s->bytes_scanned, (unsigned long long)s->lines_scanned, (unsigned long long)s->lines_matched);
	lp_buf_printf(out, "\"ingester\":{\"totalReached\":1,\"totalChunksMatched\":%llu,\"totalBatches\":%llu,\"totalLinesSent\":0,"
		      "\"store\":{\"totalChunksRef\":0,\"totalChunksDownloaded\":0,\"chunksDownloadTime\":0,\"chunkRefsFetchTime\":0,"
		      "\"queryReferencedStructuredMetadata\":false,\"chunk\":{\"headChunkBytes\":0,\"headChunkLines\":0,\"decompressedBytes\":0,"
		      "\"decompressedLines\":0,\"compressedBytes\":0,\"totalDuplicates\":0,\"postFilterLines\":0}}}}",
		      (unsigned long long)s->wal_batches, (unsigned long long)s->wal_batches);
}

/* Groups in the order of their label strings; each group's entries keep the order of time. */
static void write_warnings(struct lp_query *query)
{
	uint64_t bad = atomic_load(&query->count.bad_blocks);

	if (bad)
		lp_buf_printf(&query->out, ",\"warnings\":[\"the answer is not complete: %llu stored blocks, segments or log records are damaged or "
			      "cannot be read\"]", (unsigned long long)bad);
}

void lp_result_end_json(struct lp_query *query)
{
	lp_buf_str(&query->out, ",\"stats\":");
	lp_result_stats_json(query);
	lp_buf_byte(&query->out, '}');
	write_warnings(query);
	lp_buf_byte(&query->out, '}');
}

static int write_groups(struct lp_query *query, struct groups *groups)
{
	size_t n = query->kept.n;
	struct group **sorted = malloc((groups->n + 1) * sizeof *sorted);
	uint32_t *at = calloc(groups->n + 2, sizeof *at), *entries = malloc((n + 1) * sizeof *entries);
	int r = sorted && at && entries ? 0 : -ENOMEM;

	if (r == 0) {
		for (uint32_t i = 0; i < groups->n; i++)
			sorted[i] = &groups->v[i];
		if (groups->n)
			qsort(sorted, groups->n, sizeof *sorted, cmp_group);
		for (uint32_t i = 0; i < groups->n; i++)
			sorted[i]->order = i;
		for (size_t i = 0; i < n; i++)
			if (groups->of[i].group != NO_GROUP)
				at[groups->v[groups->of[i].group].order + 1]++;
		for (uint32_t i = 0; i < groups->n; i++)
			at[i + 1] += at[i];
		for (size_t i = 0; i < n; i++)
			if (groups->of[i].group != NO_GROUP)
				entries[at[groups->v[groups->of[i].group].order]++] = (uint32_t)i;
	}
	/* Filling has moved each start to its end, which is where the next group starts. */
	for (uint32_t i = 0; r == 0 && i < groups->n; i++) {
		uint32_t first = i ? at[i - 1] : 0;

		lp_buf_str(&query->out, i ? ",{\"stream\":" : "{\"stream\":");
		lp_buf_append(&query->out, sorted[i]->json, sorted[i]->json_len);
		lp_buf_str(&query->out, ",\"values\":[");
		r = write_values(query, groups, entries + first, at[i] - first);
		lp_buf_str(&query->out, "]}");
	}
	free(sorted);
	free(at);
	free(entries);
	return r;
}

static int loki_result(struct lp_query *query, struct groups *groups)
{
	int r = lp_out_begin(query, 200, "application/json; charset=UTF-8");

	if (r < 0)
		return r;
	lp_buf_str(&query->out, "{\"status\":\"success\",\"data\":{\"resultType\":\"streams\",");
	if (query->params.categorize)
		lp_buf_str(&query->out, "\"encodingFlags\":[\"categorize-labels\"],");
	lp_buf_str(&query->out, "\"result\":[");
	r = write_groups(query, groups);
	if (r < 0)
		return r;
	lp_buf_byte(&query->out, ']');
	lp_result_end_json(query);
	return lp_out_flush(query, true);
}

/* ---- the original API ---- */

static void put_hex64(char to[16], uint64_t v)
{
	for (unsigned i = 16; i-- > 0; v >>= 4)
		to[i] = "0123456789abcdef"[v & 15];
}

void lp_result_id_json(struct lp_buf *out, const struct lp_cand *c)
{
	XXH3_state_t state;

	XXH3_128bits_reset(&state);
	XXH3_128bits_update(&state, c->labels, c->labels_len);
	XXH3_128bits_update(&state, &c->ts, sizeof c->ts);
	XXH3_128bits_update(&state, &c->line_len, sizeof c->line_len);
	if (c->line_len)
		XXH3_128bits_update(&state, c->line, c->line_len);
	if (c->meta_len)
		XXH3_128bits_update(&state, c->meta, c->meta_len);
	XXH128_hash_t h = XXH3_128bits_digest(&state);

	char text[34];

	text[0] = text[33] = '"';
	put_hex64(text + 1, h.high64);
	put_hex64(text + 17, h.low64);
	lp_buf_append(out, text, sizeof text);
}

static int write_log(struct lp_query *query, const struct groups *groups, size_t i, bool first)
{
	struct lp_buf *out = &query->out;
	const struct lp_cand *c = &query->kept.v[i];
	const struct group *group = &groups->v[groups->of[i].group];
	char ts[LP_RFC3339_MAX];

	lp_buf_str(out, first ? "{\"id\":" : ",{\"id\":");
	lp_result_id_json(out, c);
	lp_buf_str(out, ",\"timestamp\":");
	lp_jsonw_str(out, ts, lp_rfc3339_format(ts, c->ts));
	lp_buf_str(out, ",\"level\":");
	lp_buf_append(out, groups->of[i].extra, groups->of[i].extra_len);
	lp_buf_str(out, ",\"message\":");
	lp_jsonw_str(out, groups->of[i].line, groups->of[i].line_len);
	lp_buf_str(out, ",\"labels\":");
	lp_buf_append(out, group->json, group->json_len);
	lp_buf_byte(out, '}');
	return lp_out_flush(query, false);
}

static int original_result(struct lp_query *query, struct groups *groups)
{
	bool first = true;
	int r = lp_out_begin(query, 200, "application/json");

	if (r == 0)
		lp_buf_str(&query->out, "{\"logs\":[");
	for (size_t i = 0; r == 0 && i < query->kept.n; i++) {
		if (groups->of[i].group == NO_GROUP)
			continue;
		r = write_log(query, groups, i, first);
		first = false;
	}
	if (r < 0)
		return r;
	lp_buf_printf(&query->out, "],\"stats\":{\"queriedChunks\":%llu,\"scannedLines\":%llu,\"matchedLines\":%llu,\"executionTime\":%.3f}",
		      (unsigned long long)(query->stats.blocks_read + query->stats.wal_batches), (unsigned long long)query->stats.lines_scanned,
		      (unsigned long long)query->stats.lines_matched, (double)query->stats.exec_ns / 1e6);
	write_warnings(query);
	lp_buf_byte(&query->out, '}');
	return lp_out_flush(query, true);
}

void lp_result_error_json(struct lp_query *query)
{
	struct lp_buf *out = &query->out;
	const char *code = query->error_code ? query->error_code : "INTERNAL_ERROR", *text = NULL;

	if (strcmp(code, "BAD_QUERY") == 0 && query->error.len >= 11 && memcmp(query->error.data, "parse error", 11) == 0)
		text = "Invalid query syntax";
	else if (strcmp(code, "INVALID_REGEX") == 0)
		text = "Invalid regex pattern";
	lp_buf_str(out, "{\"error\":");
	if (text)
		lp_jsonw_cstr(out, text);
	else
		lp_jsonw_str(out, query->error.data, query->error.len);
	lp_buf_str(out, ",\"code\":");
	lp_jsonw_cstr(out, code);
	if (text) {
		lp_buf_str(out, ",\"details\":");
		lp_jsonw_str(out, query->error.data, query->error.len);
	}
	lp_buf_byte(out, '}');
}

/* Loki's interval: of the entries within the limit, one stays when it is at least that far from the last one that stayed,
 * over all streams. */
static void thin_out(struct lp_query *query)
{
	struct lp_cands *kept = &query->kept;
	size_t out = 0;
	int64_t last = 0;

	for (size_t i = 0; i < kept->n; i++) {
		struct lp_cand *c = &kept->v[i];
		uint64_t gap = query->params.forward ? (uint64_t)c->ts - (uint64_t)last : (uint64_t)last - (uint64_t)c->ts;

		if (!out || gap >= (uint64_t)query->params.interval_ns) {
			last = c->ts;
			kept->v[out++] = *c;
		} else {
			free(c->owned);
		}
	}
	kept->n = out;
}

int lp_log_result(struct lp_query *query)
{
	while (query->kept.n > query->params.limit)      /* ties of the last timestamp */
		free(query->kept.v[--query->kept.n].owned);
	if (query->params.interval_ns > 0)
		thin_out(query);
	query->stats.lines_matched = query->kept.n;
	if (query->params.kind == LP_QUERY_TAIL)
		return lp_tail_result(query);
	struct groups groups = { 0 };
	int r = show_all(query, &groups);

	if (r == 0)
		r = query->params.kind == LP_QUERY_ORIGINAL ? original_result(query, &groups) : loki_result(query, &groups);
	groups_free(&groups);
	return r;
}
