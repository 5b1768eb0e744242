/* Slots: what each process tells the others about itself.  Slot 0 master, 1 writer, 2 notifier, 4+i worker i. */
#ifndef LP_SHM_SLOT_H
#define LP_SHM_SLOT_H

#include "shm/region.h"

#define LP_SLOT_MASTER 0u
#define LP_SLOT_WRITER 1u
#define LP_SLOT_NOTIFIER 2u
#define LP_SLOT_WORKER(i) (4u + (i))
#define LP_WAL_PIN_NONE UINT32_MAX
#define LP_SLOT_KEPT_FILES 4u           /* sealed WAL files that are kept for a notifier that died, until the next one has read them */

struct lp_slot_shm {
	/* Lowest WAL file this process may still read through a mapping; LP_WAL_PIN_NONE when none.
	 * Process: its owner, seq_cst, against wal_first (see lp_slot_pin). */
	alignas(64) _Atomic uint32_t wal_pin;
	_Atomic uint32_t pid;                   /* master stores it after fork, 0 when it was reaped */
	_Atomic uint32_t role;
	_Atomic uint32_t restarts;              /* master */
	_Atomic int64_t alive_mono_ms;          /* owner's main loop, at least once a second: watchdog */
	_Atomic int64_t started_ns;             /* CLOCK_REALTIME, master */
	_Atomic uint32_t following;             /* ring my commit bell at the next commit: owner sets, whoever rings clears (shm/commit.h) */
	_Atomic uint64_t past_cpu_us;           /* CPU time of its dead predecessors; master, before it clears pid */
};

struct lp_slot_shm *lp_slot(struct lp_region *region, uint32_t index);
uint32_t lp_slot_count(const struct lp_region *region);

/* Announce that WAL files >= the returned number stay in use by this process.  Dekker's handshake with the
 * writer: store the pin, then read wal_first again; repeat until it held.  A lower pin that is held already stays.
 * Process: a worker; its threads call pin and unpin one at a time. */
uint32_t lp_slot_pin(struct lp_region *region, uint32_t slot);
/* Raise (never lower) the own pin to `file`, or LP_WAL_PIN_NONE. */
void lp_slot_unpin(struct lp_region *region, uint32_t slot, uint32_t file);
/* Lowest pin of all slots: WAL files below it and below wal_first may be recycled.  Process: the writer,
 * after it stored wal_first. */
uint32_t lp_slot_lowest_pin(struct lp_region *region);
/* Master: a child died.  Its pid, gauges and pin are cleared; its counters stay, and so does a notifier's pin: the next one goes on
 * where it was, or gives it up. */
void lp_slot_clear(struct lp_region *region, uint32_t slot);

#endif
