/* Lane: single-producer single-consumer ring between a worker and the writer.
 *
 * Guarantees: what was committed is found by the writer, also by a later one; what was only reserved is seen by
 * nobody; tail moves only by lp_lane_release(), after the commit to disk.  head and tail are copied before they
 * are compared, and a pair that cannot be (further apart than the ring, or not aligned) is refused: reserve says
 * -EBADMSG, peek says empty, lp_lane_error() tells why.
 * Process: worker (reserve, commit, wait, trim) and writer (peek, release, gate).  Dying at any instruction is
 * repaired by the next process's lp_lane_open(); shm/README has the table.
 * The wake-ups are Dekker's pattern, after the "asleep" flag of the Linux kernel's io_uring SQPOLL. */
#include "shm/lane.h"

#include "common/assert.h"
#include "common/bytes.h"
#include "common/fault.h"
#include "shm/region-private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

struct lp_lane {
	struct lp_region *region;
	struct lp_lane_shm *shm;
	uint64_t data_off;              /* in the memfd */
	uint8_t *data;                  /* capacity bytes, mapped twice in a row */
	uint64_t capacity;
	int worker_bell;
	_Atomic int error;              /* sticky; either side */
	/* worker side */
	uint64_t tail_seen;             /* not later than tail: spares a cache miss per record */
	uint64_t trimmed_head;          /* head at the last trim */
	uint32_t reserved;
};

static int map_twice(int fd, uint64_t off, uint64_t len, uint8_t **ret_data)
{
	uint8_t *p = mmap(NULL, 2 * len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		return -errno;
	for (int half = 0; half < 2; half++) {
		if (mmap(p + (uint64_t)half * len, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd,
			 (off_t)off) == MAP_FAILED) {
			int r = -errno;

			munmap(p, 2 * len);
			return r;
		}
	}
	*ret_data = p;
	return 0;
}

/* Load both ends once and check them.  Each caller owns one of them, so the two loads need no order. */
static int load_ends(struct lp_lane *lane, uint64_t *ret_head, uint64_t *ret_tail)
{
	uint64_t tail = atomic_load(&lane->shm->tail);
	uint64_t head = atomic_load(&lane->shm->head);

	if (head - tail > lane->capacity || (head | tail) % LP_LANE_ALIGN) {
		atomic_store(&lane->error, -EBADMSG);
		return -EBADMSG;
	}
	*ret_head = head;
	*ret_tail = tail;
	return 0;
}

int lp_lane_open(struct lp_region *region, uint32_t index, struct lp_lane **ret_lane)
{
	uint64_t head, tail;

	if (index >= region->want.workers)
		return -EINVAL;
	struct lp_lane *lane = calloc(1, sizeof *lane);

	if (!lane)
		return -ENOMEM;
	lane->region = region;
	lane->shm = (struct lp_lane_shm *)lp_region_at(region, region->want.lanes_off, 0) + index;
	lane->capacity = region->want.lane_bytes;
	lane->worker_bell = lp_region_worker_bell(region, index);
	lane->trimmed_head = UINT64_MAX;
	lane->data_off = lp_region_lane_off(region, index);
	int r = map_twice(region->memfd, lane->data_off, lane->capacity, &lane->data);

	if (r == 0)
		r = load_ends(lane, &head, &tail);
	if (r < 0) {
		lp_lane_close(&lane);
		return r;
	}
	lane->tail_seen = tail;
	/* A predecessor may have died between moving its end and ringing.  A bell too many costs one look. */
	if (head != tail)
		lp_gate_ring(region);
	if (atomic_exchange(&lane->shm->waiting, 0))
		lp_region_ring(lane->worker_bell);
	*ret_lane = lane;
	return 0;
}

void lp_lane_close(struct lp_lane **lane)
{
	if (!*lane)
		return;
	if ((*lane)->data)
		munmap((*lane)->data, 2 * (*lane)->capacity);
	free(*lane);
	*lane = NULL;
}

int lp_lane_used(struct lp_region *region, uint32_t index, uint64_t *ret_bytes)
{
	if (index >= region->want.workers)
		return -EINVAL;
	const struct lp_lane_shm *shm = (const struct lp_lane_shm *)lp_region_at(region, region->want.lanes_off, 0) + index;

	/* The caller owns neither end: only a tail that stood before and after the head was read makes a pair. */
	for (;;) {
		uint64_t tail = atomic_load(&shm->tail), head = atomic_load(&shm->head);

		if (atomic_load(&shm->tail) != tail)
			continue;
		if (head - tail > region->want.lane_bytes)
			return -EBADMSG;
		*ret_bytes = head - tail;
		return 0;
	}
}

uint64_t lp_lane_capacity(const struct lp_lane *lane) { return lane->capacity; }
int lp_lane_error(const struct lp_lane *lane) { return atomic_load_explicit(&lane->error, memory_order_relaxed); }

int lp_lane_reserve(struct lp_lane *lane, uint32_t len_bytes, void **ret_buf, uint64_t *ret_pos)
{
	uint64_t need = LP_ALIGN((uint64_t)len_bytes, LP_LANE_ALIGN), tail;
	uint64_t head = atomic_load_explicit(&lane->shm->head, memory_order_relaxed);    /* own field */

	lane->reserved = 0;
	if (need > lane->capacity || need > UINT32_MAX)
		return -EMSGSIZE;
	if (head - lane->tail_seen > lane->capacity || need > lane->capacity - (head - lane->tail_seen)) {
		/* Acquire: the writer has finished reading these bytes before we write over them. */
		int r = load_ends(lane, &head, &tail);

		if (r < 0)
			return r;
		lane->tail_seen = tail;
		if (need > lane->capacity - (head - tail))
			return -ENOBUFS;
	}
	if (head % LP_LANE_ALIGN) {
		atomic_store(&lane->error, -EBADMSG);
		return -EBADMSG;
	}
	lane->reserved = (uint32_t)need;
	*ret_buf = lane->data + (head & (lane->capacity - 1));
	*ret_pos = head;
	return 0;
}

void lp_lane_commit(struct lp_lane *lane, uint32_t len_bytes)
{
	LP_ASSERT(len_bytes <= lane->reserved && len_bytes % LP_LANE_ALIGN == 0);
	uint64_t head = atomic_load_explicit(&lane->shm->head, memory_order_relaxed);

	lane->reserved = 0;
	LP_FAULT("lane-reserved");
	/* Publishes the bytes (release), and is ordered before the load of asleep (seq_cst, partner: lp_gate_sleep). */
	atomic_store(&lane->shm->head, head + len_bytes);
	LP_FAULT("lane-committed");
	struct lp_gate_shm *gate = &lane->region->shm->gate;

	if (atomic_load(&gate->asleep) && atomic_exchange(&gate->asleep, 0))
		lp_region_ring(lane->region->writer_bell);
}

uint64_t lp_lane_head(const struct lp_lane *lane)
{
	return atomic_load_explicit(&lane->shm->head, memory_order_acquire);
}

uint64_t lp_lane_tail(const struct lp_lane *lane)
{
	return atomic_load_explicit(&lane->shm->tail, memory_order_acquire);
}

uint64_t lp_lane_wait_tail(struct lp_lane *lane)
{
	atomic_store(&lane->shm->waiting, 1);           /* seq_cst, partner: lp_lane_release */
	return atomic_load(&lane->shm->tail);
}

void lp_lane_trim(struct lp_lane *lane)
{
	uint64_t head, tail;

	/* Only the worker can know that nothing is reserved, and an empty lane has no byte that the writer reads. */
	if (load_ends(lane, &head, &tail) < 0 || head != tail || head == lane->trimmed_head)
		return;
	lane->reserved = 0;
	lane->trimmed_head = head;
	/* Failure (an old kernel) leaves the memory in use, nothing else. */
	(void)fallocate(lane->region->memfd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			(off_t)lane->data_off, (off_t)lane->capacity);
}

uint64_t lp_lane_peek(struct lp_lane *lane, const uint8_t **ret_p, uint64_t *ret_pos)
{
	uint64_t head, tail;

	if (load_ends(lane, &head, &tail) < 0 || head == tail)
		return 0;
	*ret_p = lane->data + (tail & (lane->capacity - 1));
	*ret_pos = tail;
	return head - tail;
}

void lp_lane_release(struct lp_lane *lane, uint64_t pos)
{
	uint64_t head, tail;

	if (load_ends(lane, &head, &tail) < 0)
		return;
	if (pos - tail > head - tail || pos % LP_LANE_ALIGN) {
		atomic_store(&lane->error, -EBADMSG);
		return;
	}
	/* Release: our reads of the bytes are over.  seq_cst before the load of waiting, partner: lp_lane_wait_tail. */
	atomic_store(&lane->shm->tail, pos);
	LP_FAULT("lane-released");
	if (atomic_load(&lane->shm->waiting) && atomic_exchange(&lane->shm->waiting, 0))
		lp_region_ring(lane->worker_bell);
}

void lp_gate_sleep(struct lp_region *region)
{
	atomic_store(&region->shm->gate.asleep, 1);     /* seq_cst before the caller's look at the heads */
}

void lp_gate_wake(struct lp_region *region)
{
	uint64_t n;

	atomic_store(&region->shm->gate.asleep, 0);
	ssize_t got = read(region->writer_bell, &n, sizeof n);

	(void)got;              /* non-blocking; nothing to read is fine */
}

void lp_gate_ring(struct lp_region *region)
{
	atomic_store(&region->shm->gate.asleep, 0);
	lp_region_ring(region->writer_bell);
}
