/* Line filters: the leading |= != |~ !~ stages of a pipeline, run before anything is parsed.
 *
 * One needle that every passing line must contain, or a set of literals of which it must contain one, is searched for over the
 * whole text column at once; only around hits line bounds are looked up and the other filters asked.  Without such a needle every line is asked.
 * What a passing line must contain also tells, by a segment's skip filter, which blocks cannot have one: they are never read.
 * Immutable after lp_line_filter_open(), used by many threads.  Pure; process: worker. */
#include "query/engine-private.h"

#include "query/regex.h"
#include "query/search.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MAX_STAGES 64u
#define STOP_EVERY 512u         /* lines or hits between looks at cancel and deadline */
#define SEARCH_MAX 256u         /* longer needles go to the C library, whose worst case is linear */

struct lp_line_filter {
	const struct lp_stage *stages[MAX_STAGES];
	uint32_t n;
	struct lp_search needle;        /* every passing line contains it; len 0: none known */
	uint32_t needle_stage;          /* this stage is answered by the needle alone; n: none is */
	struct lp_search_set set;       /* without a needle: every passing line contains one of these; n 0: none known */
	size_t set_least;               /* length of the shortest */
	const char **texts;             /* of the alternatives of a stage, when the set is made of them */
};

static bool is_line_filter(const struct lp_stage *stage)
{
	if (stage->kind != LP_STAGE_LINE_FILTER || stage->line_op > LP_LINE_NOT_RE)
		return false;
	for (uint32_t i = 0; i < stage->n_line_matches; i++)
		if (stage->line_matches[i].is_ip)
			return false;
	return true;
}

/* The longest literal that this stage requires.  *ret_exact: finding it answers the stage.  *ret_fold: case is ignored; the
 * expression has the last word then. */
static size_t required(const struct lp_stage *stage, const char **ret_s, bool *ret_exact, bool *ret_fold)
{
	if (stage->n_line_matches != 1)
		return 0;
	const struct lp_line_match *match = &stage->line_matches[0];

	*ret_exact = true;
	if (stage->line_op == LP_LINE_CONTAINS) {
		*ret_s = match->text.s;
		return match->text.len;
	}
	if (stage->line_op != LP_LINE_RE)
		return 0;
	const char *s;
	const char *const *literals;
	size_t len;
	bool fold;

	if (lp_regex_is_literal(match->re, &s, &len, &fold) && !fold) {
		*ret_s = s;
		return len;
	}
	*ret_exact = false;
	if (lp_regex_literals(match->re, &literals, &fold) != 1)
		return 0;
	*ret_s = literals[0];
	*ret_fold = fold;
	return strlen(literals[0]);
}

/* Literals of which the stage requires one; 0: nothing known.  Texts of alternatives are collected in filter->texts. */
static unsigned alternatives(struct lp_line_filter *filter, const struct lp_stage *stage, const char *const **ret_literals, bool *ret_fold)
{
	*ret_fold = false;
	if (stage->line_op == LP_LINE_RE && stage->n_line_matches == 1)
		return lp_regex_literals(stage->line_matches[0].re, ret_literals, ret_fold);
	if (stage->line_op != LP_LINE_CONTAINS || stage->n_line_matches > LP_SEARCH_MAX_LITERALS || filter->texts)
		return 0;
	filter->texts = calloc(stage->n_line_matches, sizeof *filter->texts);
	for (uint32_t i = 0; filter->texts && i < stage->n_line_matches; i++) {
		const struct lp_str *text = &stage->line_matches[i].text;

		if (strlen(text->s) != text->len)       /* NULs inside */
			return 0;
		filter->texts[i] = text->s;
	}
	*ret_literals = filter->texts;
	return filter->texts ? stage->n_line_matches : 0;
}

static void choose_set(struct lp_line_filter *filter)
{
	for (uint32_t i = 0; i < filter->n; i++) {
		const char *const *literals;
		bool fold;
		unsigned n = alternatives(filter, filter->stages[i], &literals, &fold);
		size_t least = SIZE_MAX;

		if (n < 2 || n > LP_SEARCH_MAX_LITERALS)
			continue;
		for (unsigned k = 0; k < n; k++)
			least = strlen(literals[k]) < least ? strlen(literals[k]) : least;
		if (least > filter->set_least && lp_search_set_init(&filter->set, literals, n, fold) == 0)
			filter->set_least = least;
	}
}

int lp_line_filter_open(const struct lp_stage *stages, struct lp_line_filter **ret_filter, const struct lp_stage **ret_rest)
{
	struct lp_line_filter *filter = calloc(1, sizeof *filter);

	if (!filter)
		return -ENOMEM;
	for (; stages && filter->n < MAX_STAGES && is_line_filter(stages); stages = stages->next)
		filter->stages[filter->n++] = stages;
	filter->needle_stage = filter->n;
	for (uint32_t i = 0; i < filter->n; i++) {
		const char *s = NULL;
		bool exact = false, fold = false;
		size_t len = required(filter->stages[i], &s, &exact, &fold);

		if (len > filter->needle.len && (!fold || len <= SEARCH_MAX)) {
			lp_search_init(&filter->needle, s, len, fold);
			filter->needle_stage = exact ? i : filter->n;
		}
	}
	if (!filter->needle.len)
		choose_set(filter);
	*ret_rest = stages;
	if (!filter->n) {
		free(filter);
		filter = NULL;
	}
	*ret_filter = filter;
	return 0;
}

void lp_line_filter_close(struct lp_line_filter **filter)
{
	if (*filter)
		free(filter[0]->texts);
	free(*filter);
	*filter = NULL;
}

static const char *find(const struct lp_line_filter *filter, const char *s, size_t n)
{
	if (!filter->needle.len)
		return lp_search_set_next(&filter->set, s, n);
	if (filter->needle.len > SEARCH_MAX)
		return memmem(s, n, filter->needle.needle, filter->needle.len);
	return lp_search_next(&filter->needle, s, n);
}

static bool contains(const char *line, uint32_t len, const struct lp_str *text)
{
	return !text->len || memmem(line, len, text->s, text->len) != NULL;
}

static bool stage_match(const struct lp_stage *stage, const char *line, uint32_t len)
{
	bool regex = stage->line_op == LP_LINE_RE || stage->line_op == LP_LINE_NOT_RE;
	bool negated = stage->line_op == LP_LINE_NOT_CONTAINS || stage->line_op == LP_LINE_NOT_RE;

	for (uint32_t i = 0; i < stage->n_line_matches; i++) {
		const struct lp_line_match *match = &stage->line_matches[i];

		if (regex ? lp_regex_match(match->re, line, len) : contains(line, len, &match->text))
			return !negated;
	}
	return negated;
}

static bool match_but(const struct lp_line_filter *filter, const char *line, uint32_t len, uint32_t but)
{
	for (uint32_t i = 0; i < filter->n; i++)
		if (i != but && !stage_match(filter->stages[i], line, len))
			return false;
	return true;
}

bool lp_line_filter_match(const struct lp_line_filter *filter, const char *line, uint32_t len)
{
	return match_but(filter, line, len, filter->n);
}

/* ---- blocks that need not be read ---- */

/* Add to found the blocks that may have a line for one text of a stage; false: nothing is known of what it needs. */
static bool find_match(const struct lp_line_match *match, bool regex, const struct lp_grams *grams, uint64_t *found, uint64_t *scratch)
{
	const char *const *literals;
	bool fold;

	if (!regex) {
		lp_grams_find(grams, match->text.s, match->text.len, found, scratch);
		return true;
	}
	unsigned n = lp_regex_literals(match->re, &literals, &fold);

	for (unsigned i = 0; i < n; i++)
		lp_grams_find(grams, literals[i], strlen(literals[i]), found, scratch);
	return n > 0;
}

int lp_line_filter_blocks(const struct lp_line_filter *filter, const struct lp_segment *segment, uint64_t **ret_blocks)
{
	struct lp_grams grams;

	*ret_blocks = NULL;
	if (!filter || lp_segment_grams(segment, &grams) < 0)
		return 0;
	size_t words = lp_grams_words(grams.blocks);
	uint64_t *all = malloc(3 * words * sizeof *all), *found = all + words, *scratch = found + words;

	if (!all)
		return -ENOMEM;
	memset(all, 0xff, words * sizeof *all);
	for (uint32_t i = 0; i < filter->n; i++) {
		const struct lp_stage *stage = filter->stages[i];
		bool known = stage->line_op == LP_LINE_CONTAINS || stage->line_op == LP_LINE_RE;

		memset(found, 0, words * sizeof *found);
		for (uint32_t k = 0; known && k < stage->n_line_matches; k++)
			known = find_match(&stage->line_matches[k], stage->line_op == LP_LINE_RE, &grams, found, scratch);
		for (size_t w = 0; known && w < words; w++)
			all[w] &= found[w];
	}
	*ret_blocks = all;
	return 0;
}

bool lp_line_filter_has_needle(const struct lp_line_filter *filter)
{
	return filter->needle.len || filter->set.n;
}

/* First row in [row, end) whose line ends after text offset `off`: doubling, then bisection. */
static uint32_t row_at(const struct lp_rows *rows, uint32_t row, uint32_t end, uint32_t off)
{
	uint32_t step = 1, lo = row;

	while (lo + step < end && rows->ends[lo + step - 1] <= off) {
		lo += step;
		step *= 2;
	}
	uint32_t hi = lo + step < end ? lo + step : end;

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (rows->ends[mid] <= off)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static uint32_t next_by_needle(const struct lp_line_filter *filter, const struct lp_rows *rows, uint32_t row, uint32_t end,
			       struct lp_query *query)
{
	uint32_t off = row ? rows->ends[row - 1] : rows->base, limit = end ? rows->ends[end - 1] : 0;

	for (uint32_t i = 1; row < end; i++) {
		const char *hit = find(filter, rows->text + off, limit - off);

		if (!hit || (i % STOP_EVERY == 0 && lp_query_stopped(query)))
			return end;
		uint32_t at = (uint32_t)(hit - rows->text), len;

		row = row_at(rows, row, end, at);
		if (row >= end)
			return end;
		const char *line = lp_rows_line(rows, row, &len);

		/* A needle with a newline may begin in one entry and end in the next.  (Behind a set all filters are asked anyway.) */
		if (filter->needle.len && at + filter->needle.len > rows->ends[row] - 1) {
			off = at + 1;
			continue;
		}
		if (match_but(filter, line, len, filter->needle_stage))
			return row;
		off = rows->ends[row++];
	}
	return end;
}

uint32_t lp_line_filter_next(const struct lp_line_filter *filter, const struct lp_rows *rows, uint32_t row, uint32_t end, struct lp_query *query)
{
	if (row >= end)
		return end;
	if (lp_line_filter_has_needle(filter))
		return next_by_needle(filter, rows, row, end, query);
	for (uint32_t i = 1; row < end; row++, i++) {
		uint32_t len;
		const char *line = lp_rows_line(rows, row, &len);

		if (i % STOP_EVERY == 0 && lp_query_stopped(query))
			return end;
		if (match_but(filter, line, len, filter->n))
			return row;
	}
	return end;
}
