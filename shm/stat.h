/* Counters and gauges shared by all processes.  Each slot has its own row, so every number has one writing
 * process and survives that process's restart; a reader sums the rows (or takes one row for gauges).
 * shm/stat.def names them all: it makes the enum, the Prometheus names, types and help texts. */
#ifndef LP_SHM_STAT_H
#define LP_SHM_STAT_H

#include "shm/region.h"

enum lp_stat {
#define LP_STAT(id, kind, name, labels, help) LP_STAT_##id,
#define LP_HISTOGRAM(id, name, labels, help) LP_STAT_##id,
#include "shm/stat.def"
	LP_STAT_COUNT
};

#define LP_HIST_BUCKETS 16

/* The row of one slot.  Threads of its process may add at the same time (relaxed atomics). */
struct lp_stat_row;
struct lp_stat_row *lp_stat_row(struct lp_region *region, uint32_t slot);

void lp_stat_add(struct lp_stat_row *row, enum lp_stat id, uint64_t n);
void lp_stat_set(struct lp_stat_row *row, enum lp_stat id, uint64_t v);        /* gauges */
void lp_stat_observe_us(struct lp_stat_row *row, enum lp_stat id, uint64_t us); /* histograms */
/* What was observed just now belongs to this trace.  A histogram of a process keeps one: the slowest of about 15 s, for the slow are who is
 * asked about; OpenMetrics shows the newest of each bucket.  Process: the row's owner, one thread of it. */
void lp_stat_exemplar(struct lp_stat_row *row, enum lp_stat id, uint64_t us, const uint8_t trace[16]);

uint64_t lp_stat_sum(struct lp_region *region, enum lp_stat id);
uint64_t lp_stat_get(struct lp_region *region, uint32_t slot, enum lp_stat id);

struct lp_prom;
/* Everything of stat.def, names with HELP and TYPE once each. */
void lp_stat_write_prometheus(struct lp_region *region, const struct lp_prom *prom);
/* The samples of one histogram `name` that is the sum of the histograms first..last. */
void lp_stat_write_sum(struct lp_region *region, const struct lp_prom *prom, const char *name, enum lp_stat first,
		       enum lp_stat last);

#endif
