/* Any text: parse it; what parses must print as a text that parses to the same tree, on one line and on several. */
#include "query/logql/ast.h"
#include "tests/fuzz/fuzz.h"
#include "tests/lib/logql_dump.h"

#include <stdlib.h>
#include <string.h>

/* The tree that a printed text stands for. */
static void dump_printed(const struct lp_buf *text, struct lp_buf *out)
{
	struct lp_buf error = LP_BUF_INIT;
	struct lp_logql *query = NULL;

	if (lp_logql_parse((const char *)text->data, text->len, &query, &error) < 0)
		abort();
	dump_expr(query->root, out);
	lp_logql_free(&query);
	lp_buf_free(&error);
}

static void check(const struct lp_buf *tree, const struct lp_buf *text)
{
	struct lp_buf again = LP_BUF_INIT;

	/* Blanks and escapes may make more of it than a query may have. */
	if (text->len <= LP_LOGQL_MAX_TEXT) {
		dump_printed(text, &again);
		if (tree->len != again.len || memcmp(tree->data, again.data, tree->len))
			abort();
	}
	lp_buf_free(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct lp_buf error = LP_BUF_INIT, tree = LP_BUF_INIT, line = LP_BUF_INIT, lines = LP_BUF_INIT;
	struct lp_logql *query = NULL;
	int r = lp_logql_parse((const char *)data, size, &query, &error);

	if (r < 0) {
		if (!error.len && r != -12)
			abort();
	} else {
		dump_expr(query->root, &tree);
		lp_logql_print(query->root, &line);
		lp_logql_format(query->root, &lines);
		check(&tree, &line);
		check(&tree, &lines);
	}
	lp_logql_free(&query);
	lp_buf_free(&error);
	lp_buf_free(&tree);
	lp_buf_free(&line);
	lp_buf_free(&lines);
	return 0;
}
