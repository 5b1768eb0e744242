/* Answers of log queries: Loki's streams and the original API's list.  Entries come from query->kept, in order.
 *
 * Loki: entries are grouped by their result labels (stream labels and structured metadata, a name that stands in both gets
 * _extracted), groups sorted by the label string.  Written in pieces of 64 KiB; process: worker, a pool thread. */
#include "query/engine-private.h"

#include "common/jsonw.h"
#include "common/rfc3339.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#define MAX_PAIRS 512u

/* ---- labels ---- */

/* Stream labels and metadata as sorted pairs; names that had to change live in `names`. */
static int merge_pairs(const uint8_t *labels, size_t len, const uint8_t *meta, size_t meta_len, struct lp_label *pairs, size_t *ret_n,
		       struct lp_arena *names)
{
	struct lp_labels_iter it;
	size_t n = 0, n_stream;
	int r = lp_labels_iter(&it, labels, len, NULL, NULL);

	while (r == 0 && n < MAX_PAIRS && (r = lp_labels_next(&it, &pairs[n])) > 0) {
		n++;
		r = 0;
	}
	n_stream = n;
	if (r >= 0 && meta_len)
		r = lp_metadata_iter(&it, meta, meta_len);
	while (r == 0 && meta_len && n < MAX_PAIRS && (r = lp_labels_next(&it, &pairs[n])) > 0) {
		for (size_t i = 0; i < n_stream; i++) {
			if (pairs[i].name_len != pairs[n].name_len || memcmp(pairs[i].name, pairs[n].name, pairs[n].name_len) != 0)
				continue;
			char *name = lp_arena_alloc(names, pairs[n].name_len + 10);

			if (!name)
				return -ENOMEM;
			memcpy(name, pairs[n].name, pairs[n].name_len);
			memcpy(name + pairs[n].name_len, "_extracted", 10);
			pairs[n].name = name;
			pairs[n].name_len += 10;
			break;
		}
		n++;
		r = 0;
	}
	*ret_n = n;
	return r < 0 ? r : 0;
}

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

/* ---- groups ---- */

struct group {
	const struct lp_cand *example;
	uint64_t hash;
	struct lp_buf text;             /* {a="b"}: the order of the result */
	struct lp_buf labels;           /* canonical bytes of the result labels */
	uint32_t order;
};

struct groups {
	struct group *v;
	uint32_t n, cap;
	uint32_t *table, size;
	uint32_t *of;                   /* entry -> group */
};

static int group_fill(struct group *group)
{
	const struct lp_cand *c = group->example;
	struct lp_label *pairs = malloc(MAX_PAIRS * sizeof *pairs);
	struct lp_arena names = LP_ARENA_INIT;
	size_t n = 0;

	if (!pairs)
		return -ENOMEM;
	int r = merge_pairs(c->labels, c->labels_len, c->meta, c->meta_len, pairs, &n, &names);

	/* A metadata name may come out equal to another label after renaming: the stream's own stays. */
	if (r == 0) {
		r = lp_labels_encode(&group->labels, "", 0, pairs, n);
		if (r == -EEXIST) {
			group->labels.len = 0;
			lp_buf_append(&group->labels, c->labels, c->labels_len);
			r = 0;
		}
	}
	if (r == 0)
		lp_labels_print(&group->text, group->labels.data, group->labels.len);
	if (r == 0 && (group->labels.failed || group->text.failed))
		r = -ENOMEM;
	lp_arena_free(&names);
	free(pairs);
	return r;
}

static bool same_group(const struct lp_cand *a, const struct lp_cand *b)
{
	return a->labels_len == b->labels_len && a->meta_len == b->meta_len &&
	       (a->labels == b->labels || memcmp(a->labels, b->labels, a->labels_len) == 0) &&
	       (!a->meta_len || memcmp(a->meta, b->meta, a->meta_len) == 0);
}

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

static int group_of(struct lp_query *query, struct groups *groups, const struct lp_cand *cand, uint32_t *ret_group)
{
	uint64_t hash = XXH3_64bits_withSeed(cand->labels, cand->labels_len, cand->meta_len ? XXH3_64bits(cand->meta, cand->meta_len) : 0);

	if (groups->n >= groups->size / 2 && groups_rehash(groups) < 0)
		return -ENOMEM;
	uint32_t at = (uint32_t)hash & (groups->size - 1);

	for (; groups->table[at]; at = (at + 1) & (groups->size - 1)) {
		struct group *group = &groups->v[groups->table[at] - 1];

		if (group->hash == hash && same_group(group->example, cand)) {
			*ret_group = groups->table[at] - 1;
			return 0;
		}
	}
	size_t cap = groups->cap;
	int r = lp_query_grow(query, (void **)&groups->v, &cap, (size_t)groups->n + 1, sizeof *groups->v);

	if (r < 0)
		return r;
	groups->cap = (uint32_t)cap;
	groups->v[groups->n] = (struct group){ .example = cand, .hash = hash };
	*ret_group = groups->n++;
	groups->table[at] = groups->n;
	r = group_fill(&groups->v[*ret_group]);
	if (r < 0)
		return r;
	return lp_query_charge(query, groups->v[*ret_group].text.cap + groups->v[*ret_group].labels.cap);
}

static int cmp_group(const void *x, const void *y)
{
	const struct group *a = *(struct group *const *)x, *b = *(struct group *const *)y;
	size_t n = a->text.len < b->text.len ? a->text.len : b->text.len;
	int c = memcmp(a->text.data, b->text.data, n);

	return c ? c : (a->text.len > b->text.len) - (a->text.len < b->text.len);
}

static void groups_free(struct groups *groups)
{
	for (uint32_t i = 0; i < groups->n; i++) {
		lp_buf_free(&groups->v[i].text);
		lp_buf_free(&groups->v[i].labels);
	}
	free(groups->v);
	free(groups->table);
	free(groups->of);
}

/* ---- Loki ---- */

static void write_ts(struct lp_buf *out, int64_t ts)
{
	lp_buf_byte(out, '"');
	lp_buf_i64(out, ts);
	lp_buf_byte(out, '"');
}

static int write_values(struct lp_query *query, const uint32_t *entries, size_t n)
{
	struct lp_buf *out = &query->out;

	for (size_t k = 0; k < n; k++) {
		const struct lp_cand *c = &query->kept.v[entries[k]];

		lp_buf_str(out, k ? ",[" : "[");
		write_ts(out, c->ts);
		lp_buf_byte(out, ',');
		lp_jsonw_str(out, c->line, c->line_len);
		lp_buf_byte(out, ']');
		int r = lp_out_flush(query, false);

		if (r < 0)
			return r;
	}
	return 0;
}

static void write_stats(struct lp_query *query)
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

/* Entries sorted by group (stable: each group keeps the order of time), groups by label string, equal ones joined. */
static int write_groups(struct lp_query *query, struct groups *groups)
{
	size_t n = query->kept.n;
	struct group **sorted = malloc((groups->n + 1) * sizeof *sorted);
	uint32_t *start = calloc((size_t)groups->n + 2, sizeof *start), *entries = malloc((n + 1) * sizeof *entries);
	uint32_t orders = 0;
	int r = sorted && start && entries ? 0 : -ENOMEM;

	if (r == 0) {
		for (uint32_t i = 0; i < groups->n; i++)
			sorted[i] = &groups->v[i];
		if (groups->n)
			qsort(sorted, groups->n, sizeof *sorted, cmp_group);
		for (uint32_t i = 0; i < groups->n; i++) {
			if (i == 0 || cmp_group(&sorted[i - 1], &sorted[i]) != 0)
				orders++;
			sorted[i]->order = orders - 1;
		}
		for (size_t i = 0; i < n; i++)
			start[groups->v[groups->of[i]].order + 1]++;
		for (uint32_t i = 0; i < orders; i++)
			start[i + 1] += start[i];
		uint32_t *at = malloc(((size_t)orders + 1) * sizeof *at);

		r = at ? 0 : -ENOMEM;
		for (uint32_t i = 0; r == 0 && i < orders; i++)
			at[i] = start[i];
		for (size_t i = 0; r == 0 && i < n; i++)
			entries[at[groups->v[groups->of[i]].order]++] = (uint32_t)i;
		free(at);
	}
	for (uint32_t i = 0; r == 0 && i < groups->n; i++) {
		uint32_t order = sorted[i]->order;

		if (i && sorted[i - 1]->order == order)
			continue;
		lp_buf_str(&query->out, order ? ",{\"stream\":" : "{\"stream\":");
		lp_result_labels_json(&query->out, sorted[i]->labels.data, sorted[i]->labels.len);
		lp_buf_str(&query->out, ",\"values\":[");
		r = write_values(query, entries + start[order], start[order + 1] - start[order]);
		lp_buf_str(&query->out, "]}");
	}
	free(sorted);
	free(start);
	free(entries);
	return r;
}

static int loki_result(struct lp_query *query)
{
	struct groups groups = { 0 };
	int r = lp_query_charge(query, query->kept.n * 2 * sizeof *groups.of);

	groups.of = r == 0 ? malloc((query->kept.n + 1) * sizeof *groups.of) : NULL;
	if (r == 0 && !groups.of)
		r = -ENOMEM;
	for (size_t i = 0; r == 0 && i < query->kept.n; i++)
		r = group_of(query, &groups, &query->kept.v[i], &groups.of[i]);
	if (r == 0)
		r = lp_out_begin(query, 200, "application/json; charset=UTF-8");
	if (r == 0) {
		lp_buf_str(&query->out, "{\"status\":\"success\",\"data\":{\"resultType\":\"streams\",\"result\":[");
		r = write_groups(query, &groups);
	}
	if (r == 0) {
		lp_buf_str(&query->out, "],\"stats\":");
		write_stats(query);
		lp_buf_str(&query->out, "}}");
		r = lp_out_flush(query, true);
	}
	groups_free(&groups);
	return r;
}

/* ---- the original API ---- */

static void write_id(struct lp_buf *out, const struct lp_cand *c)
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

	lp_buf_printf(out, "\"%016llx%016llx\"", (unsigned long long)h.high64, (unsigned long long)h.low64);
}

static int write_log(struct lp_query *query, const struct lp_cand *c, bool first)
{
	struct lp_buf *out = &query->out;
	char ts[LP_RFC3339_MAX];
	struct group group = { .example = c };
	struct lp_label level;
	int r = group_fill(&group);

	if (r == 0) {
		lp_buf_str(out, first ? "{\"id\":" : ",{\"id\":");
		write_id(out, c);
		lp_buf_str(out, ",\"timestamp\":");
		lp_jsonw_str(out, ts, lp_rfc3339_format(ts, c->ts));
		lp_buf_str(out, ",\"level\":");
		if (lp_labels_find(group.labels.data, group.labels.len, "level", 5, &level) == 1)
			lp_jsonw_str(out, level.value, level.value_len);
		else
			lp_buf_str(out, "\"info\"");
		lp_buf_str(out, ",\"message\":");
		lp_jsonw_str(out, c->line, c->line_len);
		lp_buf_str(out, ",\"labels\":");
		lp_result_labels_json(out, group.labels.data, group.labels.len);
		lp_buf_byte(out, '}');
		r = lp_out_flush(query, false);
	}
	lp_buf_free(&group.text);
	lp_buf_free(&group.labels);
	return r;
}

static int original_result(struct lp_query *query)
{
	int r = lp_out_begin(query, 200, "application/json");

	if (r == 0)
		lp_buf_str(&query->out, "{\"logs\":[");
	for (size_t i = 0; r == 0 && i < query->kept.n; i++)
		r = write_log(query, &query->kept.v[i], i == 0);
	if (r < 0)
		return r;
	lp_buf_printf(&query->out, "],\"stats\":{\"queriedChunks\":%llu,\"scannedLines\":%llu,\"matchedLines\":%llu,\"executionTime\":%.3f}}",
		      (unsigned long long)(query->stats.blocks_read + query->stats.wal_batches), (unsigned long long)query->stats.lines_scanned,
		      (unsigned long long)query->stats.lines_matched, (double)query->stats.exec_ns / 1e6);
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

/* Loki's interval: an entry stays when it is at least that far from the last one that stayed, over all streams. */
static void thin_out(struct lp_query *query)
{
	struct lp_cands *kept = &query->kept;
	size_t out = 0;
	int64_t last = 0;

	for (size_t i = 0; i < kept->n; i++) {
		struct lp_cand *c = &kept->v[i];
		uint64_t gap = query->params.forward ? (uint64_t)c->ts - (uint64_t)last : (uint64_t)last - (uint64_t)c->ts;

		if (out < query->params.limit && (!out || gap >= (uint64_t)query->params.interval_ns)) {
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
	if (query->params.interval_ns > 0) {
		int r = lp_kept_settle(query);

		if (r < 0)
			return r;
		thin_out(query);
	}
	while (query->kept.n > query->params.limit)      /* ties of the last timestamp */
		free(query->kept.v[--query->kept.n].owned);
	query->stats.lines_matched = query->kept.n;
	return query->params.kind == LP_QUERY_ORIGINAL ? original_result(query) : loki_result(query);
}
