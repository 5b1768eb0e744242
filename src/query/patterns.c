/* patterns: which templates the lines of a log query follow, and how many lines of each per step.
 *
 * The scan is that of log queries (scan.c).  Each line that passes goes to a sample of at most MAX_LINES lines and MAX_BYTES bytes: adaptive
 * sampling (M. Wegman; P. Flajolet, "On adaptive sampling", Computing 43, 1990).  A line stays while the first `depth` bits of its hash are zero;
 * when the sample is full, depth grows by one and about half of the lines leave.  So it is spread evenly over the range, does not depend on the order
 * in which threads come, holds an entry that is stored twice once, and each line stands for 2^depth.  Up to the bounds depth is
 * zero and all numbers are exact.
 * The sample is mined in the order of time, each level for itself (patterns/drain.c); lines of forgotten clusters count under <_>.
 * Process: worker, pool threads; the sample is charged to the query. */
#include "query/engine-private.h"

#include "common/clock.h"
#include "common/jsonw.h"
#include "query/patterns/drain.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#define MAX_LINES 100000u
#define MAX_BYTES (64u << 20)
#define LINE_BYTES (LP_DRAIN_LINE + 1)          /* one more shows the miner that there is more */
#define TABLE_SIZE (1u << 18)
#define LEVEL_LOOK 256u                         /* bytes of a line in which its level is looked for */

enum level { UNKNOWN, TRACE, DEBUG, INFO, WARN, ERROR, CRITICAL, FATAL, N_LEVELS };

struct line {
	uint64_t hash;
	int64_t ts;
	char *text;
	uint32_t len;
	uint8_t level;
};

struct point {
	int64_t step;                   /* number of the step since 1970 */
	uint64_t lines;
};

struct pattern {
	struct lp_buf text;
	uint8_t level;
	uint64_t total;
	struct point *points;
	size_t n, cap;
};

struct patterns {
	/* under query->lock; depth is read without */
	struct line *lines;
	size_t n, cap, bytes, max_bytes;
	uint32_t *table;                /* place of a line + 1, by hash */
	_Atomic uint32_t depth;
	/* the answer */
	struct lp_drain *drain;
	struct pattern found[LP_DRAIN_CLUSTERS + N_LEVELS];     /* the last ones: forgotten clusters of a level */
};

/* ---- levels ---- */

static const char *const level_names[N_LEVELS] = { "unknown", "trace", "debug", "info", "warn", "error", "critical", "fatal" };

static enum level level_of(const char *s, size_t n)
{
	static const struct {
		const char *name;
		enum level level;
	} other[] = { { "warning", WARN }, { "err", ERROR }, { "information", INFO }, { "crit", CRITICAL }, { "dbg", DEBUG }, { "wrn", WARN },
		      { "inf", INFO }, { "trc", TRACE }, { "emerg", FATAL }, { "panic", FATAL }, { "notice", INFO } };

	for (unsigned i = TRACE; i < N_LEVELS; i++)
		if (strlen(level_names[i]) == n && strncasecmp(level_names[i], s, n) == 0)
			return (enum level)i;
	for (unsigned i = 0; i < sizeof other / sizeof *other; i++)
		if (strlen(other[i].name) == n && strncasecmp(other[i].name, s, n) == 0)
			return other[i].level;
	return UNKNOWN;
}

static bool is_letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* The first word that names a level. */
static enum level look_for_level(const char *line, size_t len)
{
	size_t n = len < LEVEL_LOOK ? len : LEVEL_LOOK;

	for (size_t i = 0, end; i < n; i = end + 1) {
		for (end = i; end < n && is_letter(line[end]); end++)
			;
		enum level level = end - i >= 3 ? level_of(line + i, end - i) : UNKNOWN;

		if (level != UNKNOWN)
			return level;
	}
	return UNKNOWN;
}

static bool is_level_name(const char *s, size_t n)
{
	return (n == 5 && memcmp(s, "level", 5) == 0) || (n == 14 && memcmp(s, "detected_level", 14) == 0);
}

static enum level level_in(struct lp_labels_iter *it)
{
	struct lp_label label;

	while (lp_labels_next(it, &label) > 0)
		if (is_level_name(label.name, label.name_len) && level_of(label.value, label.value_len) != UNKNOWN)
			return level_of(label.value, label.value_len);
	return UNKNOWN;
}

static enum level find_level(const struct lp_cand *cand, const struct lp_pipeline_result *res)
{
	struct lp_labels_iter it;
	enum level level = UNKNOWN;

	for (uint32_t i = 0; res && level == UNKNOWN && i < res->n_labels; i++)
		if (is_level_name(res->labels[i].name, res->labels[i].name_len))
			level = level_of(res->labels[i].value, res->labels[i].value_len);
	if (level == UNKNOWN && cand->meta_len && lp_metadata_iter(&it, cand->meta, cand->meta_len) == 0)
		level = level_in(&it);
	if (level == UNKNOWN && lp_labels_iter(&it, cand->labels, cand->labels_len, NULL, NULL) == 0)
		level = level_in(&it);
	return level == UNKNOWN ? look_for_level(cand->line, cand->line_len) : level;
}

/* ---- the sample ---- */

static uint64_t hash_of(const struct lp_cand *cand)
{
	struct lp_hash128 h = lp_entry_hash(cand->ts, cand->line, cand->line_len, cand->meta, cand->meta_len);

	return XXH3_64bits_withSeed(cand->labels, cand->labels_len, h.lo ^ h.hi);
}

static bool in_sample(uint64_t hash, uint32_t depth)
{
	return depth == 0 || hash >> (64 - depth) == 0;
}

/* Where the hash stands in the table, or would. */
static size_t place_of(const struct patterns *p, uint64_t hash)
{
	size_t at = hash & (TABLE_SIZE - 1);

	while (p->table[at] && p->lines[p->table[at] - 1].hash != hash)
		at = (at + 1) & (TABLE_SIZE - 1);
	return at;
}

static size_t cost(const struct line *line)
{
	return line->len + sizeof(void *) * 2;  /* what malloc adds */
}

/* Half of the lines leave.  Under the lock. */
static void deepen(struct lp_query *query, struct patterns *p)
{
	uint32_t depth = atomic_load(&p->depth) + 1;
	size_t n = 0;

	memset(p->table, 0, TABLE_SIZE * sizeof *p->table);
	for (size_t i = 0; i < p->n; i++) {
		struct line line = p->lines[i];

		if (in_sample(line.hash, depth)) {
			p->lines[n++] = line;
			p->table[place_of(p, line.hash)] = (uint32_t)n;
			continue;
		}
		p->bytes -= cost(&line);
		lp_query_uncharge(query, cost(&line));
		free(line.text);
	}
	p->n = n;
	atomic_store(&p->depth, depth);
}

/* Under the lock. */
static int keep(struct lp_query *query, struct patterns *p, struct line line, const char *text)
{
	size_t at = place_of(p, line.hash);
	int r;

	if (p->table[at])
		return 0;
	r = lp_query_grow(query, (void **)&p->lines, &p->cap, p->n + 1, sizeof *p->lines);
	if (r == 0)
		r = lp_query_charge(query, cost(&line));
	if (r < 0)
		return r;
	line.text = malloc((size_t)line.len + 1);
	if (!line.text) {
		lp_query_uncharge(query, cost(&line));
		return -ENOMEM;
	}
	if (line.len)
		memcpy(line.text, text, line.len);
	p->bytes += cost(&line);
	p->lines[p->n++] = line;
	p->table[at] = (uint32_t)p->n;
	/* 63 levels halve any number of lines to one. */
	while ((p->n > MAX_LINES || p->bytes > p->max_bytes) && atomic_load(&p->depth) < 63)
		deepen(query, p);
	return 0;
}

static int patterns_take(struct lp_query *query, const struct lp_cand *cand, const struct lp_pipeline_result *res)
{
	struct patterns *p = query->state;
	struct line line = { .hash = hash_of(cand), .ts = cand->ts };
	size_t len = res ? res->line_len : cand->line_len;
	int r = 0;

	if (!in_sample(line.hash, atomic_load_explicit(&p->depth, memory_order_relaxed)))
		return 0;
	line.len = (uint32_t)(len < LINE_BYTES ? len : LINE_BYTES);
	line.level = find_level(cand, res);
	pthread_mutex_lock(&query->lock);
	if (in_sample(line.hash, atomic_load(&p->depth)))
		r = keep(query, p, line, res ? res->line : cand->line);
	pthread_mutex_unlock(&query->lock);
	return r;
}

static int patterns_plan(struct lp_query *query, struct lp_worker *worker)
{
	struct patterns *p = query->state = calloc(1, sizeof *p);
	uint64_t max = query->params.max_memory;
	int r;

	if (!p)
		return -ENOMEM;
	p->max_bytes = max && max / 4 < MAX_BYTES ? max / 4 : MAX_BYTES;
	r = lp_query_charge(query, sizeof *p + TABLE_SIZE * sizeof *p->table + LP_DRAIN_BYTES);
	if (r < 0)
		return r;
	p->table = calloc(TABLE_SIZE, sizeof *p->table);
	r = p->table ? lp_drain_open(&p->drain) : -ENOMEM;
	return r < 0 ? r : lp_log_plan(query, worker);
}

/* ---- mining ---- */

static int64_t step_of(const struct lp_query *query, int64_t ts)
{
	return ts / query->params.step_ns - (ts % query->params.step_ns < 0);
}

static int add_point(struct lp_query *query, struct pattern *pattern, int64_t step, uint64_t lines)
{
	pattern->total += lines;
	if (pattern->n && pattern->points[pattern->n - 1].step == step) {
		pattern->points[pattern->n - 1].lines += lines;
		return 0;
	}
	int r = lp_query_grow(query, (void **)&pattern->points, &pattern->cap, pattern->n + 1, sizeof *pattern->points);

	if (r == 0)
		pattern->points[pattern->n++] = (struct point){ step, lines };
	return r;
}

static int cmp_point(const void *x, const void *y)
{
	const struct point *a = x, *b = y;

	return a->step < b->step ? -1 : a->step > b->step;
}

/* All of `from` into `into`, ascending and each step once. */
static int pour(struct lp_query *query, struct pattern *into, struct pattern *from)
{
	size_t n = 0;
	int r = 0;

	for (size_t i = 0; r == 0 && i < from->n; i++)
		r = add_point(query, into, from->points[i].step, from->points[i].lines);
	from->n = 0;
	from->total = 0;
	if (r < 0 || !into->n)
		return r;
	qsort(into->points, into->n, sizeof *into->points, cmp_point);
	for (size_t i = 1; i < into->n; i++)
		if (into->points[i].step == into->points[n].step)
			into->points[n].lines += into->points[i].lines;
		else
			into->points[++n] = into->points[i];
	into->n = n + 1;
	return 0;
}

static int mine(struct lp_query *query, struct patterns *p)
{
	uint64_t weight = UINT64_C(1) << atomic_load(&p->depth);
	uint32_t cluster;
	bool fresh;
	int r = 0;

	for (size_t i = 0; r == 0 && i < p->n; i++) {
		const struct line *line = &p->lines[i];

		if (i % 256 == 255 && lp_query_stopped(query))
			return -ECANCELED;
		r = lp_drain_add(p->drain, line->level, line->text, line->len, &cluster, &fresh);
		if (r == 0 && fresh && p->found[cluster].n)
			r = pour(query, &p->found[LP_DRAIN_CLUSTERS + p->found[cluster].level], &p->found[cluster]);
		if (r == 0) {
			p->found[cluster].level = line->level;
			r = add_point(query, &p->found[cluster], step_of(query, line->ts), weight);
		}
	}
	return r;
}

static int cmp_line(const void *x, const void *y)
{
	const struct line *a = x, *b = y;

	if (a->ts != b->ts)
		return a->ts < b->ts ? -1 : 1;
	return a->hash < b->hash ? -1 : a->hash > b->hash;
}

static int cmp_text(const void *x, const void *y)
{
	const struct pattern *a = x, *b = y;
	size_t n = a->text.len < b->text.len ? a->text.len : b->text.len;
	int c = n ? memcmp(a->text.data, b->text.data, n) : 0;

	if (c == 0)
		c = (a->text.len > b->text.len) - (a->text.len < b->text.len);
	return c ? c : (int)a->level - (int)b->level;
}

static int cmp_total(const void *x, const void *y)
{
	const struct pattern *a = x, *b = y;

	if (a->total != b->total)
		return a->total > b->total ? -1 : 1;
	return cmp_text(x, y);
}

/* Print the templates; clusters that came to be the same are one. */
static int name_patterns(struct lp_query *query, struct patterns *p)
{
	size_t n = sizeof p->found / sizeof *p->found;
	int r = 0;

	for (uint32_t i = 0; i < n; i++) {
		if (!p->found[i].n)
			continue;
		if (i < LP_DRAIN_CLUSTERS)
			lp_drain_print(p->drain, i, &p->found[i].text);
		else
			lp_buf_str(&p->found[i].text, "<_>");
		if (p->found[i].text.failed)
			return -ENOMEM;
		r = lp_query_charge(query, p->found[i].text.cap);
		if (r < 0)
			return r;
	}
	for (uint32_t i = LP_DRAIN_CLUSTERS; i < n; i++)
		p->found[i].level = (uint8_t)(i - LP_DRAIN_CLUSTERS);
	qsort(p->found, n, sizeof *p->found, cmp_text);
	for (size_t i = 1; r == 0 && i < n; i++)
		if (p->found[i - 1].n && p->found[i].n && cmp_text(&p->found[i - 1], &p->found[i]) == 0)
			r = pour(query, &p->found[i], &p->found[i - 1]);
	qsort(p->found, n, sizeof *p->found, cmp_total);
	return r;
}

static void print_pattern(struct lp_query *query, const struct pattern *pattern)
{
	struct lp_buf *out = &query->out;

	lp_buf_str(out, "{\"pattern\":");
	lp_jsonw_str(out, pattern->text.data, pattern->text.len);
	lp_buf_printf(out, ",\"level\":\"%s\",\"samples\":[", level_names[pattern->level]);
	for (size_t i = 0; i < pattern->n; i++) {
		/* The step that the earliest time lies in may begin before time does. */
		__int128 ns = (__int128)pattern->points[i].step * query->params.step_ns;

		lp_buf_printf(out, "%s[%lld,%llu]", i ? "," : "", (long long)(ns / LP_NS_PER_SEC), (unsigned long long)pattern->points[i].lines);
	}
	lp_buf_str(out, "]}");
}

static int patterns_finish(struct lp_query *query)
{
	struct patterns *p = query->state;
	int r;

	if (p->n)
		qsort(p->lines, p->n, sizeof *p->lines, cmp_line);
	query->stats.lines_matched = (uint64_t)p->n << atomic_load(&p->depth);
	r = mine(query, p);
	if (r == 0)
		r = name_patterns(query, p);
	if (r == 0)
		r = lp_out_begin(query, 200, "application/json; charset=UTF-8");
	if (r < 0)
		return r;
	lp_buf_str(&query->out, "{\"status\":\"success\",\"data\":[");
	for (size_t i = 0; r == 0 && i < LP_DRAIN_CLUSTERS && p->found[i].n; i++) {
		if (i)
			lp_buf_byte(&query->out, ',');
		print_pattern(query, &p->found[i]);
		r = lp_out_flush(query, false);
	}
	lp_buf_str(&query->out, "]}");
	return r < 0 ? r : lp_out_flush(query, true);
}

static void patterns_free(struct lp_query *query)
{
	struct patterns *p = query->state;

	if (!p)
		return;
	for (size_t i = 0; i < p->n; i++)
		free(p->lines[i].text);
	free(p->lines);
	free(p->table);
	for (size_t i = 0; i < sizeof p->found / sizeof *p->found; i++) {
		lp_buf_free(&p->found[i].text);
		free(p->found[i].points);
	}
	lp_drain_close(&p->drain);
	free(p);
	query->state = NULL;
}

const struct lp_query_ops lp_patterns_ops = {
	.plan = patterns_plan, .run = lp_log_run, .take = patterns_take, .finish = patterns_finish, .free_state = patterns_free,
};
