/* The shared region: one memfd made by the master before the first fork and mapped by every process.
 *
 * What is in it: header, state words, one lane per worker, one slot per process, the counters.
 * shm/README draws it and says, for every state, who repairs it when the process in it dies.
 * Struct names: lp_X_shm are the bytes (fixed width, offsets, no pointers, no locks); lp_X is one
 * process's handle.  Positions and numbers only grow. */
#ifndef LP_SHM_REGION_H
#define LP_SHM_REGION_H

#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LP_REGION_MAGIC UINT64_C(0x314e474552504c4c)    /* "LLPREGN1" */
#define LP_REGION_VERSION 7u
#define LP_MAX_WORKERS 64
#define LP_MAX_SLOTS (LP_MAX_WORKERS + 4)               /* master, writer, notifier, one spare */

enum lp_role { LP_ROLE_MASTER, LP_ROLE_WRITER, LP_ROLE_NOTIFIER, LP_ROLE_WORKER };

/* A position in the live log: WAL file number (high half) and byte offset in it (low half). */
typedef uint64_t lp_walpos;             /* an integer, not a struct: it is loaded and stored whole */
#define LP_WALPOS(file, off) (((uint64_t)(file) << 32) | (uint32_t)(off))
#define LP_WALPOS_FILE(pos) ((uint32_t)((pos) >> 32))
#define LP_WALPOS_OFF(pos) ((uint32_t)(pos))

/* Conditions that a worker must know before it takes a push.  One bit each, set and cleared by the writer. */
#define LP_STATE_READY UINT32_C(1)              /* recovery is over, pushes are being committed */
#define LP_STATE_DISK_FULL UINT32_C(2)          /* answer 507 with Retry-After until it is cleared */
#define LP_STATE_DRAINING UINT32_C(4)           /* set by the master: shutting down; /ready answers 503 */
#define LP_STATE_WAL_FAILED UINT32_C(8)         /* the disk refuses writes with another error: 503 */

struct lp_state_shm {
	/* All WAL bytes before it are valid, and synced under durability: sync.  Writer: release; readers: acquire.
	 * 0 until recovery is over. */
	alignas(64) _Atomic uint64_t committed;
	_Atomic uint64_t commits;               /* number of group commits; writer */
	alignas(64) _Atomic uint32_t wal_first; /* lowest WAL file number that no segment replaces; writer, seq_cst */
	_Atomic uint32_t flags;                 /* LP_STATE_*; writer and master, fetch_or/fetch_and */
	_Atomic uint64_t generation;            /* bumped after every change of the set of sealed files or wal_first */
	/* Flush: seal everything that is committed now.  A worker takes ticket = fetch_add(flush_requested, 1) + 1, calls
	 * lp_gate_ring() and is served when (int32_t)(flush_done - ticket) >= 0; it gives up by its own deadline (a full disk can
	 * hold sealing up).  flush_requested: workers, seq_cst.  flush_done: writer, release; outlives the writer's restart. */
	alignas(64) _Atomic uint32_t flush_requested;
	_Atomic uint32_t flush_done;
	_Atomic uint32_t log_level;             /* for all processes: enum lp_log_level + 1; 0 as configured.  Workers set, master clears */
};

struct lp_region_shm;
struct lp_region;                       /* handle: see region-private.h */

struct lp_region_config {
	uint32_t workers;               /* 1..LP_MAX_WORKERS */
	uint64_t lane_bytes;            /* power of two, multiple of the page size, 64 KiB..1 GiB */
};

/* Make, size and map the region; make the eventfds.  Process: master, before the first fork; children
 * inherit the mapping and the descriptors.  Errors: -errno of memfd_create, ftruncate, mmap, eventfd; -EINVAL. */
int lp_region_create(const struct lp_region_config *config, struct lp_region **ret_region);
/* Forget it in this process.  NULL is fine; *region is NULL after it. */
void lp_region_close(struct lp_region **region);
/* Check magic, version, sizes after fork: every child calls it first.  -EPROTO on any difference. */
int lp_region_check(const struct lp_region *region);

struct lp_state_shm *lp_region_state(struct lp_region *region);
uint64_t lp_region_epoch(const struct lp_region *region);       /* random, new for each region */
uint32_t lp_region_workers(const struct lp_region *region);
int64_t lp_region_start_ns(const struct lp_region *region);     /* CLOCK_REALTIME at creation */
/* Resolve an offset of the control part (all but the lanes' data); NULL when [off, off+len) is not inside it. */
void *lp_region_at(struct lp_region *region, uint64_t off, uint64_t len);

/* Doorbells (eventfd, non-blocking, close-on-exec).  The writer sleeps on its own; a worker adds its own to
 * its event loop and reads it when it rings.  The writer rings a worker when tail moved and it waits. */
int lp_region_writer_bell(const struct lp_region *region);
int lp_region_worker_bell(const struct lp_region *region, uint32_t worker);
/* The notifier's: workers ring it when they changed a file that it reads, its threads when they are done. */
int lp_region_notifier_bell(const struct lp_region *region);
/* Add one to an eventfd; a full counter already rings, so failure is impossible to care about.  Never blocks. */
void lp_region_ring(int bell);

#endif
