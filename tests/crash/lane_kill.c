/* Kills lane processes at random and proves that no record is lost, doubled or damaged.
 *
 * Two producers push numbered records into their lanes as fast as they can; a consumer moves them into a file the
 * way the writer moves them into the WAL: append (lane, position, bytes), then release.  The parent kills one of
 * the three by SIGKILL at a random moment, starts it again, and goes on; each takes head and tail from the region.
 * At the end the producers stop, the consumer drains, and the file must hold, per lane, every published
 * position exactly once, in order, with intact bytes.
 * 60 kills; LP_LONG=1: 50 rounds of 60.  LP_SEED=n repeats a run's random numbers. */
#include "common/bytes.h"
#include "common/crc32c.h"
#include "shm/lane.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PRODUCERS 2
#define CONSUMER PRODUCERS
#define LANE_BYTES (256u << 10)
#define KILLS_PER_ROUND 60u

/* In the lane: u32 length with padding | u32 crc of what follows | u64 position | filler.  In the file the same bytes
 * behind u32 lane | u32 zero | u64 position. */
#define REC_HEAD 16u
#define FILE_HEAD 16u

static struct lp_region *region;
static char path[] = "/tmp/lane_kill.XXXXXX";
static _Atomic int *stop;               /* shared: 1 producers end, 2 the consumer ends when all is drained */

static struct { uint64_t records, bytes; unsigned killed[PRODUCERS + 1]; } total;

static void die(const char *what)
{
	perror(what);
	abort();
}

static void wait_bell(int bell)
{
	struct pollfd p = { .fd = bell, .events = POLLIN };
	uint64_t n;

	(void)poll(&p, 1, 50);          /* the parent's stop does not ring */
	if (read(bell, &n, sizeof n) < 0 && errno != EAGAIN)
		die("eventfd");
}

static void produce(uint32_t index)
{
	struct lp_lane *lane = NULL;
	unsigned seed = (unsigned)getpid();

	if (lp_lane_open(region, index, &lane) < 0)
		die("lane");
	while (!atomic_load(stop)) {
		uint32_t len = LP_ALIGN(REC_HEAD + (uint32_t)rand_r(&seed) % 6000, LP_LANE_ALIGN);
		uint64_t pos = 0;
		void *buf = NULL;
		int r = lp_lane_reserve(lane, len, &buf, &pos);

		if (r == -ENOBUFS) {
			uint64_t tail = lp_lane_tail(lane);

			if (lp_lane_wait_tail(lane) == tail)
				wait_bell(lp_region_worker_bell(region, index));
			continue;
		}
		if (r < 0)
			die("reserve");
		uint8_t *rec = buf;

		memset(rec, (int)(pos >> 4), len);
		lp_put_le32(rec, len);
		lp_put_le64(rec + 8, pos);
		lp_put_le32(rec + 4, lp_crc32c(0, rec + 8, len - 8));
		lp_lane_commit(lane, len);
		if (rand_r(&seed) % 64 == 0)
			lp_lane_trim(lane);
	}
	_exit(0);
}

/* Length of the record at p, or 0 when its bytes are not one. */
static uint32_t record_check(const uint8_t *p, uint64_t avail, uint64_t pos)
{
	if (avail < REC_HEAD)
		return 0;
	uint32_t len = lp_le32(p);

	if (len < REC_HEAD || len > avail || len % LP_LANE_ALIGN || lp_le64(p + 8) != pos)
		return 0;
	return lp_crc32c(0, p + 8, len - 8) == lp_le32(p + 4) ? len : 0;
}

/* Scan the file: the end of each lane in it, and the end of its last whole record (rest: a torn append). */
static uint64_t scan(int fd, uint64_t ends[PRODUCERS], uint64_t *ret_records, bool *ret_order)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		die("fstat");
	uint64_t size = (uint64_t)st.st_size, at = 0;
	const uint8_t *map = size ? mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0) : NULL;

	if (map == MAP_FAILED)
		die("mmap");
	while (at + FILE_HEAD < size) {
		uint32_t lane = lp_le32(map + at);
		uint64_t pos = lp_le64(map + at + 8);
		uint32_t len = lane < PRODUCERS ? record_check(map + at + FILE_HEAD, size - at - FILE_HEAD, pos) : 0;

		if (!len)
			break;
		if (pos != ends[lane])          /* a hole is a loss, a step back is a repetition */
			*ret_order = false;
		ends[lane] = pos + len;
		at += FILE_HEAD + len;
		(*ret_records)++;
	}
	if (map)
		munmap((void *)map, size);
	return at;
}

static void append(int fd, uint32_t lane, uint64_t pos, const uint8_t *rec, uint32_t len)
{
	static uint8_t buf[FILE_HEAD + 8192];

	lp_put_le32(buf, lane);
	lp_put_le32(buf + 4, 0);
	lp_put_le64(buf + 8, pos);
	memcpy(buf + FILE_HEAD, rec, len);
	if (write(fd, buf, FILE_HEAD + len) != (ssize_t)(FILE_HEAD + len))
		die("write");
}

/* One look at one lane: true when there was something. */
static bool drain(int fd, struct lp_lane *lane, uint32_t index, uint64_t *done)
{
	const uint8_t *p = NULL;
	uint64_t pos = 0, n = lp_lane_peek(lane, &p, &pos), at = 0;

	if (lp_lane_error(lane))
		die("lane error");
	while (at < n) {
		uint32_t len = record_check(p + at, n - at, pos + at);

		if (!len) {
			fprintf(stderr, "lane %u: damaged record at %llu\n", index, (unsigned long long)(pos + at));
			abort();
		}
		if (pos + at >= *done) {        /* else a predecessor wrote it and died before the release */
			append(fd, index, pos + at, p + at, len);
			*done = pos + at + len;
		}
		at += len;
	}
	if (n)
		lp_lane_release(lane, pos + n);
	return n != 0;
}

static void consume(void)
{
	struct lp_lane *lanes[PRODUCERS] = { NULL };
	uint64_t done[PRODUCERS] = { 0 }, records = 0;
	bool order = true;
	int fd = open(path, O_RDWR | O_CLOEXEC);

	if (fd < 0)
		die(path);
	uint64_t end = scan(fd, done, &records, &order);

	if (ftruncate(fd, (off_t)end) < 0 || lseek(fd, (off_t)end, SEEK_SET) < 0)
		die("truncate");
	for (uint32_t i = 0; i < PRODUCERS; i++)
		if (lp_lane_open(region, i, &lanes[i]) < 0)
			die("lane");
	for (;;) {
		bool last = atomic_load(stop) == 2, any = false;

		for (int round = 0; round < 2 && !any; round++) {
			if (round == 1)
				lp_gate_sleep(region);
			for (uint32_t i = 0; i < PRODUCERS; i++)
				any |= drain(fd, lanes[i], i, &done[i]);
		}
		if (!any && last)
			_exit(0);
		if (!any)
			wait_bell(lp_region_writer_bell(region));
		lp_gate_wake(region);
	}
}

static pid_t start(uint32_t which)
{
	pid_t pid = fork();

	if (pid < 0)
		die("fork");
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (which == CONSUMER)
			consume();
		else
			produce(which);
	}
	return pid;
}

static bool end_well(pid_t pid)
{
	int status = 0;

	return waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static bool verify(const unsigned *killed)
{
	uint64_t ends[PRODUCERS] = { 0 }, records = 0;
	bool good = true;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		die(path);
	uint64_t end = scan(fd, ends, &records, &good);

	if (!good)
		printf("positions in the file are not in order without gaps\n");
	if (end != (uint64_t)st.st_size) {
		printf("damaged at byte %llu of %llu\n", (unsigned long long)end, (unsigned long long)st.st_size);
		good = false;
	}
	for (uint32_t i = 0; i < PRODUCERS; i++) {
		struct lp_lane *lane = NULL;

		if (lp_lane_open(region, i, &lane) < 0)
			die("lane");
		if (lp_lane_head(lane) != ends[i] || lp_lane_tail(lane) != ends[i] || !ends[i]) {
			printf("lane %u: published %llu, stored %llu\n", i, (unsigned long long)lp_lane_head(lane),
			       (unsigned long long)ends[i]);
			good = false;
		}
		lp_lane_close(&lane);
	}
	total.records += records;
	total.bytes += end;
	for (uint32_t i = 0; i <= CONSUMER; i++)
		total.killed[i] += killed[i];
	close(fd);
	return good;
}

/* One region, one file, KILLS_PER_ROUND kills. */
static bool run_round(unsigned *seed)
{
	const struct lp_region_config config = { .workers = PRODUCERS, .lane_bytes = LANE_BYTES };
	unsigned killed[PRODUCERS + 1] = { 0 };
	pid_t pids[PRODUCERS + 1];
	bool good = true;

	if (lp_region_create(&config, &region) < 0)
		die("region");
	atomic_store(stop, 0);
	for (uint32_t i = 0; i <= CONSUMER; i++)
		pids[i] = start(i);
	for (unsigned k = 0; k < KILLS_PER_ROUND; k++) {
		uint32_t victim = (uint32_t)rand_r(seed) % (PRODUCERS + 1);
		struct timespec t = { .tv_nsec = (long)(rand_r(seed) % 3000) * 1000 };
		int status = 0;

		nanosleep(&t, NULL);            /* the random moment, not a wait for something */
		kill(pids[victim], SIGKILL);
		if (waitpid(pids[victim], &status, 0) != pids[victim] || !WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL) {
			printf("process %u ended by itself, status 0x%x\n", victim, (unsigned)status);
			return false;
		}
		killed[victim]++;
		pids[victim] = start(victim);
	}
	atomic_store(stop, 1);
	for (uint32_t i = 0; i < PRODUCERS; i++)
		good &= end_well(pids[i]);
	atomic_store(stop, 2);
	good &= end_well(pids[CONSUMER]);
	good = verify(killed) && good;
	lp_region_close(&region);
	return good;
}

int main(void)
{
	unsigned rounds = getenv("LP_LONG") ? 50 : 1;
	unsigned seed = getenv("LP_SEED") ? (unsigned)atoi(getenv("LP_SEED")) : (unsigned)getpid();
	bool good = true;
	int fd = mkstemp(path);

	if (fd < 0)
		die(path);
	stop = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (stop == MAP_FAILED)
		die("mmap");
	printf("LP_SEED=%u\n", seed);
	for (unsigned i = 0; i < rounds && good; i++) {
		fflush(stdout);
		if (ftruncate(fd, 0) < 0)
			die("truncate");
		good = run_round(&seed);
	}
	printf("%u kills (%u and %u producers, %u consumer), %llu records, %llu bytes: %s\n", total.killed[0] + total.killed[1] +
	       total.killed[CONSUMER], total.killed[0], total.killed[1], total.killed[CONSUMER],
	       (unsigned long long)total.records, (unsigned long long)total.bytes, good ? "each found once" : "FAILED");
	unlink(path);
	close(fd);
	return good ? 0 : 1;
}
