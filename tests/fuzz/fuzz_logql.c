/* Any text: parse it; what parses must print.  On the corpus and its fixed mutations (the plain driver) the print must parse as well, and
 * its print must be the same; so must the form of several lines.  libFuzzer looks for memory errors alone: it soon finds sizes and
 * durations whose rounded print reads back as another one ("0.B"), as Loki's do. */
#include "query/logql/ast.h"
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>

#ifdef FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION
#define ROUND_TRIP 0
#else
#define ROUND_TRIP 1
#endif

/* A folded minus zero: "-0" is a duration to Loki's lexer. */
static bool minus_zero(const struct lp_buf *text)
{
	const char *p = (const char *)text->data, *end = p + text->len;

	while (end - p >= 2 && (p = memmem(p, (size_t)(end - p), "-0", 2))) {
		p += 2;
		if (p == end || !strchr("0123456789.", *p))
			return true;
	}
	return false;
}

/* Folded numbers that LogQL cannot spell, and sizes that round to another unit ("1000kB" is read as 1.0MB). */
static bool unspeakable(const struct lp_buf *text)
{
	if (minus_zero(text))
		return true;
	return memmem(text->data, text->len, "NaN", 3) || memmem(text->data, text->len, "Inf", 3) || memmem(text->data, text->len, "1000", 4);
}

static void print(const char *text, size_t len, struct lp_buf *out)
{
	struct lp_buf error = LP_BUF_INIT;
	struct lp_logql *query = NULL;

	if (lp_logql_parse(text, len, &query, &error) < 0)
		abort();
	lp_logql_print(query->root, out);
	lp_logql_free(&query);
	lp_buf_free(&error);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct lp_buf error = LP_BUF_INIT, one = LP_BUF_INIT, two = LP_BUF_INIT, lines = LP_BUF_INIT;
	struct lp_logql *query = NULL;
	int r = lp_logql_parse((const char *)data, size, &query, &error);

	if (r < 0) {
		if (!error.len && r != -12)
			abort();
	} else {
		lp_logql_print(query->root, &one);
		lp_logql_format(query->root, &lines);
		if (ROUND_TRIP && !unspeakable(&one)) {
			print((const char *)one.data, one.len, &two);
			if (one.len != two.len || memcmp(one.data, two.data, one.len))
				abort();
			lp_buf_reset(&two);
			print((const char *)lines.data, lines.len, &two);
			if (one.len != two.len || memcmp(one.data, two.data, one.len))
				abort();
		}
	}
	lp_logql_free(&query);
	lp_buf_free(&error);
	lp_buf_free(&one);
	lp_buf_free(&two);
	lp_buf_free(&lines);
	return 0;
}
