/* Any pipeline over any line.  Input: query text, a NUL, then the line.  Results must be consistent: names ascend, hashes agree with a
 * second run over the same line. */
#include "query/discover.h"
#include "query/pipeline/pipeline.h"
#include "store/format/labels.h"
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>

static void check(const struct lp_pipeline_result *res)
{
	for (uint32_t i = 1; i < res->n_labels; i++) {
		const struct lp_pipeline_label *a = &res->labels[i - 1], *b = &res->labels[i];
		uint32_t n = a->name_len < b->name_len ? a->name_len : b->name_len;
		int c = memcmp(a->name, b->name, n);

		if (c > 0 || (!c && a->name_len >= b->name_len))
			abort();
	}
}

static void run(const struct lp_pipeline_spec *spec, const char *line, size_t len)
{
	struct lp_label stream[] = { { "app", 3, 3, "api" }, { "level", 5, 4, "info" } }, meta[] = { { "level", 5, 1, "x" }, { "user", 4, 3, "bob" } };
	struct lp_buf labels = LP_BUF_INIT, metadata = LP_BUF_INIT;
	struct lp_pipeline_state *st = NULL;
	struct lp_pipeline_result a, b;
	struct lp_pipeline *p = NULL;

	if (lp_labels_encode(&labels, "", 0, stream, 2) < 0 || lp_metadata_encode(&metadata, meta, 2) < 0 || lp_pipeline_open(spec, &p) < 0 ||
	    lp_pipeline_state_open(p, &st) < 0 || lp_pipeline_stream(st, labels.data, labels.len) < 0)
		abort();
	int r = lp_pipeline_line(st, 1793491200000000000, line, len, metadata.data, metadata.len, &a);

	if (r == 1) {
		check(&a);
		if (lp_pipeline_line(st, 1793491200000000000, line, len, metadata.data, metadata.len, &b) != 1 || a.hash != b.hash || a.n_labels != b.n_labels)
			abort();
	}
	(void)lp_pipeline_line(st, 0, "", 0, NULL, 0, &a);
	lp_pipeline_state_close(&st);
	lp_pipeline_close(&p);
	lp_buf_free(&labels);
	lp_buf_free(&metadata);
}

/* The same with the labels that nobody sent. */
static void run_discovering(struct lp_pipeline_spec *spec, const char *line, size_t len)
{
	static const char *const fields[] = { "severity", "lvl", "log.level" }, *const services[] = { "app" };
	const struct lp_discover_spec what = { services, 1, true, fields, 3, 0 };
	struct lp_arena arena = LP_ARENA_INIT;
	struct lp_discover *discover;

	if (lp_discover_open(&what, true, &arena, &discover) < 0 || !lp_level_of_line(discover, line, len)[0])
		abort();
	spec->discover = discover;
	run(spec, line, len);
	lp_arena_free(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *nul = memchr(data, 0, size);
	struct lp_buf error = LP_BUF_INIT;
	struct lp_logql *query = NULL;
	struct lp_pipeline_spec spec = { 0 };

	/* `now` makes two runs differ. */
	if (!nul || memmem(data, size, "now", 3) || lp_logql_parse((const char *)data, (size_t)(nul - data), &query, &error) < 0) {
		lp_buf_free(&error);
		return 0;
	}
	if (query->root->kind == LP_EXPR_LOG)
		spec.stages = query->root->log.stages;
	else if (query->root->kind == LP_EXPR_RANGE_AGG)
		spec.range = query->root->range;
	else if (query->root->kind == LP_EXPR_VECTOR_AGG && query->root->inner->kind == LP_EXPR_RANGE_AGG) {
		spec.range = query->root->inner->range;
		spec.grouping = &query->root->grouping;
	}
	run(&spec, (const char *)nul + 1, size - (size_t)(nul - data) - 1);
	run_discovering(&spec, (const char *)nul + 1, size - (size_t)(nul - data) - 1);
	lp_logql_free(&query);
	lp_buf_free(&error);
	return 0;
}
