/* The shared region: made once by the master, inherited by every child.
 *
 * Guarantees: the size of the memfd is sealed, so no process can make another one fault by cutting it; every
 * address is computed from the handle's own copy of the sizes, never from shared bytes.
 * Process: all.  If the master dies before the first fork, the region goes with it; afterwards each process
 * keeps it alive by its mapping, and it is gone when the last one ends: nothing acknowledged is only here. */
#include "shm/region-private.h"

#include "common/bytes.h"
#include "common/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define HEADER_BYTES offsetof(struct lp_region_shm, gate)

static int check_config(const struct lp_region_config *config)
{
	uint64_t n = config->lane_bytes;

	if (config->workers < 1 || config->workers > LP_MAX_WORKERS)
		return -EINVAL;
	if (n < 65536 || n > (UINT64_C(1) << 30) || (n & (n - 1)) || n % (uint64_t)sysconf(_SC_PAGESIZE))
		return -EINVAL;
	return 0;
}

static int fill_header(const struct lp_region_config *config, struct lp_region_shm *want)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), epoch = 0;

	do {
		if (getrandom(&epoch, sizeof epoch, 0) != (ssize_t)sizeof epoch && errno != EINTR)
			return -errno;
	} while (!epoch);
	want->magic = LP_REGION_MAGIC;
	want->version = LP_REGION_VERSION;
	want->workers = config->workers;
	want->lane_bytes = config->lane_bytes;
	want->epoch = epoch;
	want->start_ns = lp_clock_real_ns();
	want->slots = LP_SLOT_WORKER(config->workers);
	want->stat_row_bytes = lp_stat_row_bytes();
	want->slots_off = LP_ALIGN(sizeof(struct lp_region_shm), LP_REGION_LINE);
	want->stats_off = want->slots_off + want->slots * sizeof(struct lp_slot_shm);
	want->lanes_off = want->stats_off + (uint64_t)want->slots * want->stat_row_bytes;
	want->routes_off = want->lanes_off + config->workers * sizeof(struct lp_lane_shm);
	want->limits_off = want->routes_off + config->workers * lp_routestat_bytes();
	want->pairs_off = want->limits_off + lp_limiter_bytes();
	want->streams_off = LP_ALIGN(want->pairs_off + config->workers * lp_pairs_bytes(), LP_REGION_LINE);
	want->spans_off = want->streams_off + lp_streams_bytes();
	want->control_bytes = LP_ALIGN(want->spans_off + want->slots * lp_spans_bytes(), page);
	want->bytes = want->control_bytes + config->workers * config->lane_bytes;
	return 0;
}

static int make_bells(struct lp_region *region)
{
	region->writer_bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (region->writer_bell < 0)
		return -errno;
	region->notifier_bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (region->notifier_bell < 0)
		return -errno;
	for (uint32_t i = 0; i < region->want.workers; i++) {
		region->worker_bells[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (region->worker_bells[i] < 0)
			return -errno;
	}
	for (uint32_t i = 0; i < region->want.slots; i++) {
		region->commit_bells[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (region->commit_bells[i] < 0)
			return -errno;
	}
	return 0;
}

static int make_memory(struct lp_region *region)
{
	region->memfd = memfd_create("logpulse-region", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (region->memfd < 0)
		return -errno;
	if (ftruncate(region->memfd, (off_t)region->want.bytes) < 0)
		return -errno;
	if (fcntl(region->memfd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		return -errno;
	void *p = mmap(NULL, region->want.control_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, region->memfd, 0);

	if (p == MAP_FAILED)
		return -errno;
	region->shm = p;
	memcpy(region->shm, &region->want, HEADER_BYTES);
	for (uint32_t i = 0; i < region->want.slots; i++)
		atomic_store(&lp_slot(region, i)->wal_pin, LP_WAL_PIN_NONE);
	return 0;
}

int lp_region_create(const struct lp_region_config *config, struct lp_region **ret_region)
{
	int r = check_config(config);

	if (r < 0)
		return r;
	struct lp_region *region = aligned_alloc(alignof(struct lp_region), sizeof *region);

	if (!region)
		return -ENOMEM;
	memset(region, 0, sizeof *region);
	region->memfd = region->writer_bell = region->notifier_bell = -1;
	for (unsigned i = 0; i < LP_MAX_WORKERS; i++)
		region->worker_bells[i] = -1;
	for (unsigned i = 0; i < LP_MAX_SLOTS; i++)
		region->commit_bells[i] = -1;
	r = fill_header(config, &region->want);
	if (r == 0)
		r = make_bells(region);
	if (r == 0)
		r = make_memory(region);
	if (r < 0) {
		lp_region_close(&region);
		return r;
	}
	*ret_region = region;
	return 0;
}

void lp_region_close(struct lp_region **region)
{
	struct lp_region *it = *region;

	if (!it)
		return;
	if (it->shm)
		munmap(it->shm, it->want.control_bytes);
	if (it->memfd >= 0)
		close(it->memfd);
	if (it->writer_bell >= 0)
		close(it->writer_bell);
	if (it->notifier_bell >= 0)
		close(it->notifier_bell);
	for (unsigned i = 0; i < LP_MAX_WORKERS; i++)
		if (it->worker_bells[i] >= 0)
			close(it->worker_bells[i]);
	for (unsigned i = 0; i < LP_MAX_SLOTS; i++)
		if (it->commit_bells[i] >= 0)
			close(it->commit_bells[i]);
	free(it);
	*region = NULL;
}

int lp_region_check(const struct lp_region *region)
{
	struct stat st;

	if (memcmp(region->shm, &region->want, HEADER_BYTES))
		return -EPROTO;
	if (region->want.magic != LP_REGION_MAGIC || region->want.version != LP_REGION_VERSION ||
	    region->want.stat_row_bytes != lp_stat_row_bytes())
		return -EPROTO;
	if (fstat(region->memfd, &st) < 0 || (uint64_t)st.st_size != region->want.bytes)
		return -EPROTO;
	return 0;
}

struct lp_state_shm *lp_region_state(struct lp_region *region) { return &region->shm->state; }
uint64_t lp_region_epoch(const struct lp_region *region) { return region->want.epoch; }
uint32_t lp_region_workers(const struct lp_region *region) { return region->want.workers; }
int64_t lp_region_start_ns(const struct lp_region *region) { return region->want.start_ns; }
int lp_region_writer_bell(const struct lp_region *region) { return region->writer_bell; }
int lp_region_notifier_bell(const struct lp_region *region) { return region->notifier_bell; }

void *lp_region_at(struct lp_region *region, uint64_t off, uint64_t len)
{
	uint64_t size = region->want.control_bytes;

	if (off > size || len > size - off)
		return NULL;
	return (uint8_t *)region->shm + off;
}

int lp_region_worker_bell(const struct lp_region *region, uint32_t worker)
{
	return worker < region->want.workers ? region->worker_bells[worker] : -EINVAL;
}

uint64_t lp_region_lane_off(const struct lp_region *region, uint32_t lane)
{
	return region->want.control_bytes + lane * region->want.lane_bytes;
}

void lp_region_ring(int bell)
{
	const uint64_t one = 1;
	ssize_t n;

	do
		n = write(bell, &one, sizeof one);
	while (n < 0 && errno == EINTR);
}
