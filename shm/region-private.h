/* The region's bytes and its handle; for shm/ and its tests only. */
#ifndef LP_SHM_REGION_PRIVATE_H
#define LP_SHM_REGION_PRIVATE_H

#include "shm/region.h"
#include "shm/slot.h"

#define LP_REGION_LINE 64u      /* cache line: fields of different writers never share one */

/* Ring control of one lane; protocol in shm/README.  All four orders are seq_cst where Dekker's pattern
 * (store mine, then load yours) needs it; the same pairs also carry the record bytes (release/acquire). */
struct lp_lane_shm {
	alignas(LP_REGION_LINE) _Atomic uint64_t head;          /* worker: after the copy */
	alignas(LP_REGION_LINE) _Atomic uint64_t tail;          /* writer: after the commit */
	alignas(LP_REGION_LINE) _Atomic uint32_t waiting;       /* worker sets, whoever rings clears */
};
_Static_assert(offsetof(struct lp_lane_shm, tail) == 64, "lane layout is shared: bump LP_REGION_VERSION");
_Static_assert(offsetof(struct lp_lane_shm, waiting) == 128, "lane layout is shared: bump LP_REGION_VERSION");
_Static_assert(sizeof(struct lp_lane_shm) == 192, "lane layout is shared: bump LP_REGION_VERSION");

struct lp_gate_shm {
	alignas(LP_REGION_LINE) _Atomic uint32_t asleep;        /* writer sets, whoever rings clears */
};
_Static_assert(sizeof(struct lp_gate_shm) == 64, "region layout is shared: bump LP_REGION_VERSION");

/* Start of the region.  Written by the master before the first fork, never again. */
struct lp_region_shm {
	uint64_t magic;
	uint32_t version;
	uint32_t workers;
	uint64_t bytes;                 /* of the whole memfd */
	uint64_t control_bytes;         /* part before the lanes' data; what lp_region maps */
	uint64_t lane_bytes;
	uint64_t epoch;
	int64_t start_ns;
	uint32_t slots;
	uint32_t stat_row_bytes;
	uint64_t slots_off, stats_off, lanes_off;
	uint64_t routes_off;            /* routestat.c, one table per worker */
	uint64_t limits_off;            /* limiter.c */
	uint64_t spans_off;             /* spans.c, one ring per slot */
	uint64_t pairs_off;             /* pairs.c, one table per worker */
	uint64_t streams_off;           /* streams.c */
	struct lp_gate_shm gate;
	struct lp_state_shm state;
};
_Static_assert(offsetof(struct lp_region_shm, gate) == 128, "region layout is shared: bump LP_REGION_VERSION");
_Static_assert(offsetof(struct lp_region_shm, state) == 192, "region layout is shared: bump LP_REGION_VERSION");
_Static_assert(offsetof(struct lp_state_shm, wal_first) == 64, "region layout is shared: bump LP_REGION_VERSION");
_Static_assert(sizeof(struct lp_state_shm) == 192, "region layout is shared: bump LP_REGION_VERSION");
_Static_assert(sizeof(struct lp_slot_shm) == 64, "slot layout is shared: bump LP_REGION_VERSION");
_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2 && ATOMIC_INT_LOCK_FREE == 2, "a lock would live in one process only");

/* One process's handle.  The sizes are copies taken when the region was made: the shared header is compared
 * with them (lp_region_check) and never used to compute an address. */
struct lp_region {
	struct lp_region_shm *shm;
	struct lp_region_shm want;      /* the header as it must be; only the fields before gate count */
	int memfd;
	int writer_bell, notifier_bell;
	int worker_bells[LP_MAX_WORKERS];
	int commit_bells[LP_MAX_SLOTS]; /* shm/commit.h */
};

/* Offset of lane data inside the memfd (not mapped by lp_region, see lp_lane_open). */
uint64_t lp_region_lane_off(const struct lp_region *region, uint32_t lane);
/* Zero the gauges of a row whose process died (stat.c); its counters stay. */
void lp_stat_clear_gauges(struct lp_region *region, uint32_t slot);
uint32_t lp_stat_row_bytes(void);
uint64_t lp_routestat_bytes(void);      /* of one worker */
uint64_t lp_limiter_bytes(void);
uint64_t lp_spans_bytes(void);          /* of one slot */
uint64_t lp_pairs_bytes(void);          /* of one worker */
uint64_t lp_streams_bytes(void);

#endif
