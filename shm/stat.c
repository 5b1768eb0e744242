/* Counters: one row of 64-bit cells per slot; a histogram takes several cells.
 *
 * Guarantees: adding is one relaxed atomic operation, wait-free, from any thread of the row's process.  A reader may see
 * a moment in between of several cells, never a torn one.  If the process dies here nothing is left half done. */
#include "shm/stat.h"

#include "common/assert.h"
#include "common/bytes.h"
#include "common/prom.h"
#include "shm/region-private.h"

#include <string.h>

/* Histogram cells: LP_HIST_BUCKETS counts (not cumulative), then the sum in microseconds. */
#define HIST_CELLS (LP_HIST_BUCKETS + 1)
#define HIST_SUM LP_HIST_BUCKETS

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

void lp_stat_observe_us(struct lp_stat_row *row, enum lp_stat id, uint64_t us)
{
	unsigned bucket = 0;

	LP_ASSERT((unsigned)id < LP_STAT_COUNT && infos[id].kind == HISTOGRAM);
	while (us > bounds_us[bucket])
		bucket++;
	atomic_fetch_add_explicit(&row->cells[infos[id].cell + bucket], 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&row->cells[infos[id].cell + HIST_SUM], us, memory_order_relaxed);
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
	uint64_t counts[LP_HIST_BUCKETS] = { 0 }, sum_us = 0;

	for (const struct stat_info *info = first; info <= last; info++) {
		for (unsigned i = 0; i < LP_HIST_BUCKETS; i++)
			counts[i] += sum_cell(region, info->cell + i, COUNTER);
		sum_us += sum_cell(region, info->cell + HIST_SUM, COUNTER);
	}
	lp_prom_histogram(prom, name, labels, counts, bounds, LP_HIST_BUCKETS, sum_us);
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
