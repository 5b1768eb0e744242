/* Lane: a single-producer single-consumer ring of variable-length records, one per worker.
 *
 * The data area is mapped twice back to back, so no record ever wraps.  head and tail are byte positions
 * that only grow; the position of a record's first byte is its sequence number (WAL records carry it).
 * A request waits until tail >= the end of its record: the writer moves tail only after the commit.
 * The protocol is the one of shm/README; nothing private survives a crash of either side: both take
 * head and tail from the region when they start. */
#ifndef LP_SHM_LANE_H
#define LP_SHM_LANE_H

#include "shm/region.h"

#define LP_LANE_ALIGN 16u               /* records start at multiples of it; pad with zeros */

struct lp_lane;                         /* handle */

/* Attach to lane `index`.  One producer process (the worker) and one consumer process (the writer).  Rings where a
 * predecessor may have died before ringing.  Errors: -EINVAL, -ENOMEM, -errno of mmap, -EBADMSG as lp_lane_error. */
int lp_lane_open(struct lp_region *region, uint32_t index, struct lp_lane **ret_lane);
void lp_lane_close(struct lp_lane **lane);

uint64_t lp_lane_capacity(const struct lp_lane *lane);
/* 0, or -EBADMSG once head and tail were found to contradict each other: something wrote over the region.  It stays:
 * the process then exits with LP_EXIT_REGION (master/proc.h) and the server starts again with a new region; nothing
 * acknowledged is only in it. */
int lp_lane_error(const struct lp_lane *lane);

/* Bytes of lane `index` that are published and not consumed; any process, without opening it.  -EINVAL; -EBADMSG as lp_lane_error. */
int lp_lane_used(struct lp_region *region, uint32_t index, uint64_t *ret_bytes);

/* ---- worker side ---- */
/* Reserve len bytes and return where to put them and the position they will have.  Never blocks.
 * One reservation open at a time; nothing is visible before commit; to give it up just reserve again.
 * Errors: -ENOBUFS full now (wait for tail to move); -EMSGSIZE can never fit; -EBADMSG see lp_lane_error. */
int lp_lane_reserve(struct lp_lane *lane, uint32_t len_bytes, void **ret_buf, uint64_t *ret_pos);
/* Publish len_bytes (<= reserved, multiple of LP_LANE_ALIGN) and ring the writer if it sleeps. */
void lp_lane_commit(struct lp_lane *lane, uint32_t len_bytes);
uint64_t lp_lane_head(const struct lp_lane *lane);      /* acquire */
uint64_t lp_lane_tail(const struct lp_lane *lane);      /* acquire */
/* Ask the writer to ring when tail moves.  Returns the tail as of after asking: look at it again. */
uint64_t lp_lane_wait_tail(struct lp_lane *lane);
/* Give the lane's memory back to the system if the lane is empty and was used since the last time (idle server; call
 * it from a slow timer).  It is the worker's because only the producer knows that nothing is reserved: an open
 * reservation is given up by it.  Cheap when there is nothing to do. */
void lp_lane_trim(struct lp_lane *lane);

/* ---- writer side ---- */
/* Bytes published and not yet consumed: *ret_p .. + length (contiguous).  Returns the length, 0 when empty (or when
 * lp_lane_error).  The bytes are a stranger's: check every record. */
uint64_t lp_lane_peek(struct lp_lane *lane, const uint8_t **ret_p, uint64_t *ret_pos);
/* Everything before pos is committed: move tail, ring the worker if it waits.  A pos that was not peeked is refused
 * and sets lp_lane_error. */
void lp_lane_release(struct lp_lane *lane, uint64_t pos);

/* Writer idle protocol: announce sleep, look at all lanes again, then poll the bell; wake clears it. */
void lp_gate_sleep(struct lp_region *region);
void lp_gate_wake(struct lp_region *region);
/* Ring the writer for something other than a record (shutdown, flush request). */
void lp_gate_ring(struct lp_region *region);

#endif
