/* Counters: one row of 64-bit cells per slot; a histogram takes several cells.
 *
 * Guarantees: adding is one relaxed atomic operation, wait-free, from any thread of the row's process.  A reader may see
 * a moment in between of several cells, never a torn one.  If the process dies here nothing is left half done.
 * An exemplar is several cells with a sequence number, odd while they change (a seqlock, as in pairs.c); if the process dies then, the
 * exemplar is unseen until its successor writes another one. */
#include "shm/stat.h"

#include "common/assert.h"
#include "common/bytes.h"
#include "common/clock.h"
#include "common/prom.h"
#include "shm/region-private.h"

#include <string.h>

/* Histogram cells: LP_HIST_BUCKETS counts (not cumulative), the sum in microseconds, the exemplar's sequence number and words. */
#define HIST_SUM LP_HIST_BUCKETS
#define HIST_SEQ (HIST_SUM + 1)
#define HIST_WORDS (HIST_SEQ + 1)
#define EXEMPLAR_WORDS (sizeof(struct lp_prom_exemplar) / 8)
#define HIST_CELLS (HIST_WORDS + (int)EXEMPLAR_WORDS)
#define EXEMPLAR_NS (15 * LP_NS_PER_SEC) /* a slower one is kept for so long */
_Static_assert(sizeof(struct lp_prom_exemplar) % 8 == 0, "copied by words");

enum cell {
#define LP_STAT(id, kind, name, labels, help) CELL_##id,
#define LP_HISTOGRAM(id, name, labels, help) CELL_##id, CELL_END_##id = CELL_##id + HIST_CELLS - 1,
#include "shm/stat.def"
	CELL_COUNT
};

enum kind { COUNTER, GAUGE, GAUGE_MAX, HISTOGRAM };

static const struct stat_info {
	uint16_t cell;
	uint8_t kind;
	const char *name, *labels, *help;
} infos[LP_STAT_COUNT] = {
#define LP_STAT(id, kind, name, labels, help) { CELL_##id, kind, name, labels, help },
#define LP_HISTOGRAM(id, name, labels, help) { CELL_##id, HISTOGRAM, name, labels, help },
#include "shm/stat.def"
};

static const uint64_t bounds_us[LP_HIST_BUCKETS] = {
	100, 500, 1000, 2500, 5000, 10000, 25000, 50000, 100000, 250000, 500000, 1000000, 2500000, 5000000, 10000000, UINT64_MAX,
};
static const char *const bounds[LP_HIST_BUCKETS] = {
	"0.0001", "0.0005", "0.001", "0.0025", "0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1.0", "2.5", "5.0", "10.0", "+Inf",
};

struct lp_stat_row {
	alignas(LP_REGION_LINE) _Atomic uint64_t cells[CELL_COUNT];
};

uint32_t lp_stat_row_bytes(void) { return sizeof(struct lp_stat_row); }

struct lp_stat_row *lp_stat_row(struct lp_region *region, uint32_t slot)
{
	if (slot >= region->want.slots)
		return NULL;
	return (struct lp_stat_row *)lp_region_at(region, region->want.stats_off, 0) + slot;
}

static uint64_t load_cell(struct lp_region *region, uint32_t slot, unsigned cell)
{
	return atomic_load_explicit(&lp_stat_row(region, slot)->cells[cell], memory_order_relaxed);
}

void lp_stat_add(struct lp_stat_row *row, enum lp_stat id, uint64_t n)
{
	LP_ASSERT((unsigned)id < LP_STAT_COUNT && infos[id].kind != HISTOGRAM);
	atomic_fetch_add_explicit(&row->cells[infos[id].cell], n, memory_order_relaxed);
}

void lp_stat_set(struct lp_stat_row *row, enum lp_stat id, uint64_t v)
{
	LP_ASSERT((unsigned)id < LP_STAT_COUNT && infos[id].kind != HISTOGRAM);
	atomic_store_explicit(&row->cells[infos[id].cell], v, memory_order_relaxed);
}

static unsigned bucket_of(uint64_t us)
{
	unsigned bucket = 0;

	while (us > bounds_us[bucket])
		bucket++;
	return bucket;
}

void lp_stat_observe_us(struct lp_stat_row *row, enum lp_stat id, uint64_t us)
{
	LP_ASSERT((unsigned)id < LP_STAT_COUNT && infos[id].kind == HISTOGRAM);
	atomic_fetch_add_explicit(&row->cells[infos[id].cell + bucket_of(us)], 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&row->cells[infos[id].cell + HIST_SUM], us, memory_order_relaxed);
}

static bool read_exemplar(const _Atomic uint64_t *cells, struct lp_prom_exemplar *ret_exemplar)
{
	uint64_t words[EXEMPLAR_WORDS], seq = atomic_load_explicit(&cells[HIST_SEQ], memory_order_acquire);

	if (!seq || seq & 1)
		return false;
	for (unsigned w = 0; w < EXEMPLAR_WORDS; w++)
		words[w] = atomic_load_explicit(&cells[HIST_WORDS + w], memory_order_acquire);  /* partner: lp_stat_exemplar() */
	if (atomic_load_explicit(&cells[HIST_SEQ], memory_order_relaxed) != seq)
		return false;
	memcpy(ret_exemplar, words, sizeof *ret_exemplar);
	return true;
}

void lp_stat_exemplar(struct lp_stat_row *row, enum lp_stat id, uint64_t us, const uint8_t trace[16])
{
	struct lp_prom_exemplar exemplar = { .us = us, .at_ns = lp_clock_real_ns() }, old = { .at_ns = 0 };
	uint64_t words[EXEMPLAR_WORDS], seq;
	_Atomic uint64_t *cells;

	LP_ASSERT((unsigned)id < LP_STAT_COUNT && infos[id].kind == HISTOGRAM);
	cells = &row->cells[infos[id].cell];
	if (read_exemplar(cells, &old) && us < old.us && exemplar.at_ns - old.at_ns < EXEMPLAR_NS && exemplar.at_ns > old.at_ns)
		return;
	seq = atomic_load_explicit(&cells[HIST_SEQ], memory_order_relaxed) | 1;
	memcpy(exemplar.trace, trace, sizeof exemplar.trace);
	memcpy(words, &exemplar, sizeof words);
	atomic_store_explicit(&cells[HIST_SEQ], seq, memory_order_relaxed);
	for (unsigned w = 0; w < EXEMPLAR_WORDS; w++)
		atomic_store_explicit(&cells[HIST_WORDS + w], words[w], memory_order_release);  /* whoever sees it sees the odd number */
	atomic_store_explicit(&cells[HIST_SEQ], seq + 1, memory_order_release);
}

/* The newest one of each bucket. */
static void collect_exemplars(struct lp_region *region, unsigned cell, struct lp_prom_exemplar newest[LP_HIST_BUCKETS])
{
	struct lp_prom_exemplar exemplar;

	for (uint32_t slot = 0; slot < region->want.slots; slot++)
		if (read_exemplar(&lp_stat_row(region, slot)->cells[cell], &exemplar) && exemplar.at_ns > newest[bucket_of(exemplar.us)].at_ns)
			newest[bucket_of(exemplar.us)] = exemplar;
}

/* One cell over all slots. */
static uint64_t sum_cell(struct lp_region *region, unsigned cell, enum kind kind)
{
	uint64_t total = 0;

	for (uint32_t slot = 0; slot < region->want.slots; slot++) {
		uint64_t v = load_cell(region, slot, cell);

		if (kind == GAUGE_MAX)
			total = v > total ? v : total;
		else
			total += v;
	}
	return total;
}

/* A histogram's number is how often something was observed. */
static uint64_t value(struct lp_region *region, enum lp_stat id, const uint32_t *slot)
{
	const struct stat_info *info = &infos[id];
	unsigned n = info->kind == HISTOGRAM ? LP_HIST_BUCKETS : 1;
	uint64_t total = 0;

	for (unsigned i = 0; i < n; i++)
		total += slot ? load_cell(region, *slot, info->cell + i) : sum_cell(region, info->cell + i, info->kind);
	return total;
}

uint64_t lp_stat_sum(struct lp_region *region, enum lp_stat id)
{
	LP_ASSERT((unsigned)id < LP_STAT_COUNT);
	return value(region, id, NULL);
}

uint64_t lp_stat_get(struct lp_region *region, uint32_t slot, enum lp_stat id)
{
	LP_ASSERT((unsigned)id < LP_STAT_COUNT);
	return slot < region->want.slots ? value(region, id, &slot) : 0;
}

void lp_stat_clear_gauges(struct lp_region *region, uint32_t slot)
{
	struct lp_stat_row *row = lp_stat_row(region, slot);

	for (unsigned id = 0; id < LP_STAT_COUNT; id++)
		if (infos[id].kind == GAUGE || infos[id].kind == GAUGE_MAX)
			atomic_store_explicit(&row->cells[infos[id].cell], 0, memory_order_relaxed);
}

static void write_histogram(struct lp_region *region, const struct lp_prom *prom, const char *name, const char *labels,
			    const struct stat_info *first, const struct stat_info *last)
{
	struct lp_prom_exemplar exemplars[LP_HIST_BUCKETS] = { 0 };
	uint64_t counts[LP_HIST_BUCKETS] = { 0 }, sum_us = 0;

	for (const struct stat_info *info = first; info <= last; info++) {
		for (unsigned i = 0; i < LP_HIST_BUCKETS; i++)
			counts[i] += sum_cell(region, info->cell + i, COUNTER);
		sum_us += sum_cell(region, info->cell + HIST_SUM, COUNTER);
		if (prom->openmetrics)
			collect_exemplars(region, info->cell, exemplars);
	}
	lp_prom_histogram(prom, name, labels, counts, bounds, LP_HIST_BUCKETS, sum_us, exemplars);
}

void lp_stat_write_sum(struct lp_region *region, const struct lp_prom *prom, const char *name, enum lp_stat first,
		       enum lp_stat last)
{
	LP_ASSERT(first <= last && (unsigned)last < LP_STAT_COUNT);
	LP_ASSERT(infos[first].kind == HISTOGRAM && infos[last].kind == HISTOGRAM);
	write_histogram(region, prom, name, "", &infos[first], &infos[last]);
}

void lp_stat_write_prometheus(struct lp_region *region, const struct lp_prom *prom)
{
	static const char *const types[] = { "counter", "gauge", "gauge", "histogram" };
	struct lp_buf *out = prom->out;

	for (unsigned id = 0; id < LP_STAT_COUNT; id++) {
		const struct stat_info *info = &infos[id];

		if (id == 0 || strcmp(info->name, infos[id - 1].name))
			lp_prom_head(prom, info->name, types[info->kind], info->help);
		if (info->kind == HISTOGRAM) {
			write_histogram(region, prom, info->name, info->labels, info, info);
			continue;
		}
		lp_buf_str(out, info->name);
		if (*info->labels)
			lp_buf_printf(out, "{%s}", info->labels);
		lp_buf_byte(out, ' ');
		/* A share that was added in one process and taken away in another may be below zero for a moment. */
		if (info->kind == GAUGE)
			lp_buf_i64(out, (int64_t)sum_cell(region, info->cell, GAUGE));
		else
			lp_buf_u64(out, sum_cell(region, info->cell, info->kind));
		lp_buf_byte(out, '\n');
	}
}
