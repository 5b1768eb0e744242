/* shm/: region, lanes (wrap, limits, corruption, wake-ups), pins, counters and their exemplars. */
#include "common/buf.h"
#include "common/bytes.h"
#include "common/clock.h"
#include "common/prom.h"
#include "shm/lane.h"
#include "shm/region-private.h"
#include "shm/slot.h"
#include "shm/stat.h"
#include "shm/streams.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define LANE_BYTES 65536u

static struct lp_region *make_region(uint32_t workers)
{
	struct lp_region *region = NULL;
	const struct lp_region_config config = { .workers = workers, .lane_bytes = LANE_BYTES };

	ck_assert_int_eq(lp_region_create(&config, &region), 0);
	return region;
}

static bool rang(int bell)
{
	struct pollfd p = { .fd = bell, .events = POLLIN };
	uint64_t n;

	return poll(&p, 1, 0) == 1 && read(bell, &n, sizeof n) == sizeof n;
}

/* ---- region ---- */

START_TEST(region_limits)
{
	static const struct lp_region_config bad[] = {
		{ 0, 65536 }, { LP_MAX_WORKERS + 1, 65536 }, { 1, 0 }, { 1, 32768 }, { 1, 65536 + 4096 },
		{ 1, UINT64_C(1) << 31 },
	};
	struct lp_region *region = NULL;

	for (size_t i = 0; i < LP_ARRAY_LEN(bad); i++)
		ck_assert_int_eq(lp_region_create(&bad[i], &region), -EINVAL);
	ck_assert_ptr_null(region);
	lp_region_close(&region);
}
END_TEST

START_TEST(region_is_sealed_and_checked)
{
	struct lp_region *region = make_region(LP_MAX_WORKERS);
	struct lp_region *other = make_region(1);

	ck_assert_int_eq(lp_region_check(region), 0);
	ck_assert_uint_eq(lp_region_workers(region), LP_MAX_WORKERS);
	ck_assert_uint_ne(lp_region_epoch(region), lp_region_epoch(other));
	ck_assert_int_lt(ftruncate(region->memfd, 4096), 0);
	ck_assert_int_eq(errno, EPERM);
	ck_assert_int_eq(fcntl(region->memfd, F_GETFD), FD_CLOEXEC);
	ck_assert_int_ge(lp_region_worker_bell(region, LP_MAX_WORKERS - 1), 0);
	ck_assert_int_eq(lp_region_worker_bell(region, LP_MAX_WORKERS), -EINVAL);
	uint64_t end = region->want.control_bytes;

	ck_assert_ptr_nonnull(lp_region_at(region, end, 0));
	ck_assert_ptr_nonnull(lp_region_at(region, 0, end));
	ck_assert_ptr_null(lp_region_at(region, 1, end));
	ck_assert_ptr_null(lp_region_at(region, UINT64_MAX, 2));
	ck_assert_ptr_null(lp_region_at(region, 8, UINT64_MAX));
	/* Every header byte counts, but the cells behind it do not. */
	for (size_t i = 0; i < offsetof(struct lp_region_shm, gate); i++) {
		((uint8_t *)region->shm)[i] ^= 0x40;
		ck_assert_int_eq(lp_region_check(region), -EPROTO);
		((uint8_t *)region->shm)[i] ^= 0x40;
	}
	atomic_store(&lp_region_state(region)->committed, 77);
	ck_assert_int_eq(lp_region_check(region), 0);
	lp_region_close(&region);
	lp_region_close(&region);
	lp_region_close(&other);
}
END_TEST

/* ---- lane ---- */

static struct lp_region *region;
static struct lp_lane *worker, *writer;

static void lane_setup(void)
{
	region = make_region(2);
	ck_assert_int_eq(lp_lane_open(region, 1, &worker), 0);
	ck_assert_int_eq(lp_lane_open(region, 1, &writer), 0);
}

static void lane_teardown(void)
{
	lp_lane_close(&worker);
	lp_lane_close(&writer);
	lp_lane_close(&writer);
	lp_region_close(&region);
}

static struct lp_lane_shm *lane_shm(void)
{
	return (struct lp_lane_shm *)lp_region_at(region, region->want.lanes_off, 0) + 1;
}

/* One comparison for many bytes: each ck_assert is a system call. */
static bool all_are(const uint8_t *p, uint64_t n, uint8_t fill)
{
	while (n && *p == fill) {
		p++;
		n--;
	}
	return n == 0;
}

static int push(uint32_t len, uint8_t fill)
{
	void *p = NULL;
	uint64_t pos = 0;
	int r = lp_lane_reserve(worker, len, &p, &pos);

	if (r < 0)
		return r;
	memset(p, fill, LP_ALIGN(len, LP_LANE_ALIGN));
	lp_lane_commit(worker, LP_ALIGN(len, LP_LANE_ALIGN));
	return 0;
}

START_TEST(lane_limits)
{
	void *p = NULL;
	const uint8_t *out = NULL;
	uint64_t pos = 99;
	struct lp_lane *none = NULL;

	ck_assert_int_eq(lp_lane_open(region, 2, &none), -EINVAL);
	ck_assert_uint_eq(lp_lane_peek(writer, &out, &pos), 0);
	ck_assert_ptr_null(out);
	ck_assert_int_eq(lp_lane_reserve(worker, LANE_BYTES + 1, &p, &pos), -EMSGSIZE);
	ck_assert_int_eq(lp_lane_reserve(worker, UINT32_MAX, &p, &pos), -EMSGSIZE);
	ck_assert_ptr_null(p);
	ck_assert_uint_eq(pos, 99);
	ck_assert_int_eq(push(LANE_BYTES, 1), 0);       /* exactly full */
	ck_assert_int_eq(lp_lane_reserve(worker, 1, &p, &pos), -ENOBUFS);
	ck_assert_uint_eq(lp_lane_peek(writer, &out, &pos), LANE_BYTES);
	lp_lane_release(writer, 16);
	ck_assert_int_eq(lp_lane_reserve(worker, 17, &p, &pos), -ENOBUFS);
	ck_assert_int_eq(lp_lane_reserve(worker, 9, &p, &pos), 0);
	ck_assert_uint_eq(pos, LANE_BYTES);
	lp_lane_commit(worker, 0);                      /* given up: nothing to see */
	ck_assert_uint_eq(lp_lane_head(worker), LANE_BYTES);
	ck_assert_uint_eq(lp_lane_tail(worker), 16);
}
END_TEST

START_TEST(lane_never_wraps)
{
	unsigned seed = 7;
	uint64_t expect = 0, written = 0;

	for (int i = 0; i < 20000; i++) {
		uint32_t len = (uint32_t)(rand_r(&seed) % 9000) + 1;
		const uint8_t *p = NULL;
		uint64_t pos = 0;

		if (push(len, (uint8_t)(i * 7)) == 0)
			written += LP_ALIGN(len, LP_LANE_ALIGN);
		uint64_t n = lp_lane_peek(writer, &p, &pos);

		ck_assert_uint_eq(n, LP_ALIGN(len, LP_LANE_ALIGN));
		ck_assert_uint_eq(pos, expect);
		ck_assert(all_are(p, n, (uint8_t)(i * 7)));
		lp_lane_release(writer, pos + n);
		expect = pos + n;
	}
	ck_assert_uint_eq(expect, written);
	ck_assert_uint_gt(expect, 100 * LANE_BYTES);
}
END_TEST

/* 4 GiB through one lane: positions go on beyond 32 bits, and records that fill it to the last byte still fit. */
START_TEST(lane_passes_4_gib)
{
	uint64_t at = (UINT64_C(1) << 32) - 4 * LANE_BYTES + 16;
	struct lp_lane *a = NULL, *b = NULL;
	uint64_t pos = 0;
	void *to = NULL;

	atomic_store(&lane_shm()->head, at);
	atomic_store(&lane_shm()->tail, at);
	ck_assert_int_eq(lp_lane_open(region, 1, &a), 0);
	ck_assert_int_eq(lp_lane_open(region, 1, &b), 0);
	for (int i = 0; i < 16; i++, at += LANE_BYTES) {
		const uint8_t *p = NULL;

		ck_assert_int_eq(lp_lane_reserve(a, LANE_BYTES, &to, &pos), 0);
		ck_assert_uint_eq(pos, at);
		memset(to, i + 1, LANE_BYTES);
		lp_lane_commit(a, LANE_BYTES);
		ck_assert_int_eq(lp_lane_reserve(a, 1, &to, &pos), -ENOBUFS);
		ck_assert_uint_eq(lp_lane_peek(b, &p, &pos), LANE_BYTES);
		ck_assert_uint_eq(pos, at);
		ck_assert(all_are(p, LANE_BYTES, (uint8_t)(i + 1)));
		lp_lane_release(b, at + LANE_BYTES);
	}
	ck_assert_uint_gt(at, UINT64_C(1) << 32);
	ck_assert_int_eq(lp_lane_error(a), 0);
	ck_assert_int_eq(lp_lane_error(b), 0);
	lp_lane_close(&a);
	lp_lane_close(&b);
}
END_TEST

START_TEST(lane_reservation_dies_with_its_process)
{
	void *p = NULL;
	const uint8_t *out = NULL;
	uint64_t pos = 0;

	pid_t pid = fork();

	if (pid == 0) {
		if (lp_lane_reserve(worker, 100, &p, &pos) == 0)
			memset(p, 0xee, 100);
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
	ck_assert_uint_eq(lp_lane_peek(writer, &out, &pos), 0);
	ck_assert_int_eq(push(32, 5), 0);
	ck_assert_uint_eq(lp_lane_peek(writer, &out, &pos), 32);
	ck_assert_uint_eq(pos, 0);
	ck_assert_uint_eq(out[31], 5);
}
END_TEST

START_TEST(lane_refuses_corrupt_ends)
{
	/* reserve: a worker that last saw tail 0 need not look again while its own head leaves room. */
	static const struct { uint64_t head, tail; int reserve; } bad[] = {
		{ LANE_BYTES + 16, 0, -EBADMSG }, { 0, 16, 0 }, { UINT64_MAX & ~15u, 0, -EBADMSG }, { 8, 0, -EBADMSG },
		{ 32, 8, -EBADMSG }, { 0, UINT64_MAX & ~0xfffffu, 0 },
	};

	for (size_t i = 0; i < LP_ARRAY_LEN(bad); i++) {
		struct lp_lane *a = NULL, *b = NULL, *late = NULL;
		const uint8_t *out = NULL;
		void *p = NULL;
		uint64_t pos = 0;

		atomic_store(&lane_shm()->head, 0);
		atomic_store(&lane_shm()->tail, 0);
		ck_assert_int_eq(lp_lane_open(region, 1, &a), 0);
		ck_assert_int_eq(lp_lane_open(region, 1, &b), 0);
		atomic_store(&lane_shm()->head, bad[i].head);
		atomic_store(&lane_shm()->tail, bad[i].tail);
		int r = lp_lane_reserve(a, LANE_BYTES, &p, &pos);

		ck_assert_msg(r == bad[i].reserve, "case %zu gives %d", i, r);
		ck_assert_int_eq(lp_lane_error(a), bad[i].reserve);
		ck_assert_int_eq(lp_lane_error(b), 0);
		ck_assert_uint_eq(lp_lane_peek(b, &out, &pos), 0);
		ck_assert_int_eq(lp_lane_error(b), -EBADMSG);
		lp_lane_release(b, bad[i].head);
		ck_assert_uint_eq(atomic_load(&lane_shm()->tail), bad[i].tail);
		lp_lane_trim(a);
		if (bad[i].head - bad[i].tail > LANE_BYTES)
			ck_assert_int_eq(lp_lane_used(region, 1, &pos), -EBADMSG);
		ck_assert_int_eq(lp_lane_open(region, 1, &late), -EBADMSG);
		ck_assert_ptr_null(late);
		lp_lane_close(&a);
		lp_lane_close(&b);
	}
}
END_TEST

START_TEST(lane_used_without_opening_it)
{
	uint64_t used = 7;

	ck_assert_int_eq(lp_lane_used(region, 1, &used), 0);
	ck_assert_uint_eq(used, 0);
	ck_assert_int_eq(push(64, 1), 0);
	ck_assert_int_eq(push(32, 2), 0);
	ck_assert_int_eq(lp_lane_used(region, 1, &used), 0);
	ck_assert_uint_eq(used, 96);
	lp_lane_release(writer, 64);
	ck_assert_int_eq(lp_lane_used(region, 1, &used), 0);
	ck_assert_uint_eq(used, 32);
	ck_assert_int_eq(lp_lane_used(region, lp_region_workers(region), &used), -EINVAL);
	ck_assert_uint_eq(used, 32);
}
END_TEST

START_TEST(lane_refuses_a_release_of_nothing)
{
	ck_assert_int_eq(push(64, 1), 0);
	lp_lane_release(writer, 80);
	ck_assert_int_eq(lp_lane_error(writer), -EBADMSG);
	ck_assert_uint_eq(lp_lane_tail(worker), 0);
	lp_lane_close(&writer);
	ck_assert_int_eq(lp_lane_open(region, 1, &writer), 0);
	lp_lane_release(writer, 24);
	ck_assert_int_eq(lp_lane_error(writer), -EBADMSG);
}
END_TEST

START_TEST(bells_ring_only_for_sleepers)
{
	int w = lp_region_writer_bell(region), k = lp_region_worker_bell(region, 1);

	ck_assert_int_eq(push(16, 1), 0);
	ck_assert(!rang(w));
	lp_gate_sleep(region);
	ck_assert_int_eq(push(16, 2), 0);
	ck_assert_int_eq(push(16, 3), 0);
	ck_assert(rang(w));
	lp_gate_wake(region);
	ck_assert_int_eq(push(16, 4), 0);
	ck_assert(!rang(w));
	lp_gate_ring(region);
	lp_gate_wake(region);
	ck_assert(!rang(w));            /* wake has read it */

	lp_lane_release(writer, 16);
	ck_assert(!rang(k));
	ck_assert_uint_eq(lp_lane_wait_tail(worker), 16);
	lp_lane_release(writer, 32);
	lp_lane_release(writer, 48);
	ck_assert(rang(k));
	ck_assert(!rang(k));
	ck_assert(!rang(lp_region_worker_bell(region, 0)));
}
END_TEST

START_TEST(open_rings_for_the_dead)
{
	int w = lp_region_writer_bell(region), k = lp_region_worker_bell(region, 1);
	struct lp_lane *next = NULL;

	/* A worker died between publishing and ringing; its successor rings. */
	lp_gate_sleep(region);
	atomic_store(&lane_shm()->head, 64);
	ck_assert_int_eq(lp_lane_open(region, 1, &next), 0);
	ck_assert(rang(w));
	lp_lane_close(&next);
	/* A writer died between moving tail and ringing; its successor rings. */
	ck_assert_uint_eq(lp_lane_wait_tail(worker), 0);
	atomic_store(&lane_shm()->tail, 64);
	ck_assert_int_eq(lp_lane_open(region, 1, &next), 0);
	ck_assert(rang(k));
	lp_lane_close(&next);
}
END_TEST

START_TEST(trim_gives_memory_back)
{
	struct stat st;
	const uint8_t *p = NULL;
	uint64_t pos = 0, n;

	ck_assert_int_eq(push(LANE_BYTES - 4096, 9), 0);
	ck_assert_int_eq(fstat(region->memfd, &st), 0);
	blkcnt_t used = st.st_blocks;

	lp_lane_trim(worker);                           /* not empty: nothing happens */
	ck_assert_int_eq(fstat(region->memfd, &st), 0);
	ck_assert_int_eq(st.st_blocks, used);
	n = lp_lane_peek(writer, &p, &pos);
	ck_assert_uint_eq(p[n - 1], 9);
	lp_lane_release(writer, pos + n);
	lp_lane_trim(worker);
	ck_assert_int_eq(fstat(region->memfd, &st), 0);
	ck_assert_int_lt(st.st_blocks, used / 2);
	ck_assert_int_eq(push(8192, 3), 0);             /* across the end, on fresh pages */
	n = lp_lane_peek(writer, &p, &pos);
	ck_assert_uint_eq(n, 8192);
	ck_assert(all_are(p, n, 3));
}
END_TEST

/* Two threads on one handle (ThreadSanitizer sees the record bytes only through the same mapping), sleeping and
 * waking by the protocol: a lost wake-up hangs, and the test's time limit fails it. */
#define RECORDS 30000u

static void wait_bell(int bell)
{
	struct pollfd p = { .fd = bell, .events = POLLIN };
	uint64_t n;

	if (poll(&p, 1, -1) != 1 || (read(bell, &n, sizeof n) < 0 && errno != EAGAIN))
		abort();
}

static void *consume(void *arg)
{
	uint64_t seen = 0, want = 0, wrong = 0;

	while (want < RECORDS) {
		const uint8_t *p = NULL;
		uint64_t pos = 0, n = lp_lane_peek(worker, &p, &pos);

		if (!n) {
			lp_gate_sleep(region);
			n = lp_lane_peek(worker, &p, &pos);
			if (!n)
				wait_bell(lp_region_writer_bell(region));
			lp_gate_wake(region);
			continue;
		}
		wrong += pos != seen;
		for (uint64_t at = 0; at < n;) {
			uint32_t len = lp_le32(p + at);

			wrong += lp_le32(p + at + 4) != (uint32_t)want || p[at + len - 1] != (uint8_t)want;
			at += len;
			want++;
		}
		seen += n;
		lp_lane_release(worker, seen);
	}
	*(uint64_t *)arg = wrong;
	return NULL;
}

START_TEST(threads_lose_no_wakeup)
{
	pthread_t thread;
	unsigned seed = 3;
	uint64_t wrong = 1;

	ck_assert_int_eq(pthread_create(&thread, NULL, consume, &wrong), 0);
	for (uint32_t i = 0; i < RECORDS; i++) {
		uint32_t len = LP_ALIGN((uint32_t)(rand_r(&seed) % 3000) + 16, LP_LANE_ALIGN);
		void *p = NULL;
		uint64_t pos = 0;

		while (lp_lane_reserve(worker, len, &p, &pos) == -ENOBUFS) {
			uint64_t before = lp_lane_tail(worker);

			if (lp_lane_wait_tail(worker) == before)
				wait_bell(lp_region_worker_bell(region, 1));
		}
		memset(p, (uint8_t)i, len);
		lp_put_le32(p, len);
		lp_put_le32((uint8_t *)p + 4, i);
		lp_lane_commit(worker, len);
	}
	pthread_join(thread, NULL);
	ck_assert_uint_eq(wrong, 0);
	ck_assert_int_eq(lp_lane_error(worker), 0);
	ck_assert_uint_eq(lp_lane_tail(worker), lp_lane_head(worker));
}
END_TEST

/* ---- slots ---- */

START_TEST(pins)
{
	struct lp_region *r = make_region(2);
	struct lp_state_shm *state = lp_region_state(r);

	ck_assert_uint_eq(lp_slot_count(r), 6);
	ck_assert_ptr_null(lp_slot(r, 6));
	ck_assert_uint_eq(lp_slot_lowest_pin(r), LP_WAL_PIN_NONE);
	atomic_store(&state->wal_first, 5);
	ck_assert_uint_eq(lp_slot_pin(r, LP_SLOT_WORKER(0)), 5);
	atomic_store(&state->wal_first, 7);
	ck_assert_uint_eq(lp_slot_pin(r, LP_SLOT_WORKER(1)), 7);
	/* A second, later snapshot of worker 0 must not give up the files of its first one. */
	ck_assert_uint_eq(lp_slot_pin(r, LP_SLOT_WORKER(0)), 7);
	ck_assert_uint_eq(lp_slot_lowest_pin(r), 5);
	lp_slot_unpin(r, LP_SLOT_WORKER(0), 3);
	ck_assert_uint_eq(lp_slot_lowest_pin(r), 5);
	lp_slot_unpin(r, LP_SLOT_WORKER(0), 7);
	ck_assert_uint_eq(lp_slot_lowest_pin(r), 7);
	lp_slot_unpin(r, LP_SLOT_WORKER(0), LP_WAL_PIN_NONE);
	atomic_store(&lp_slot(r, LP_SLOT_WORKER(1))->pid, 4711);
	lp_slot_clear(r, LP_SLOT_WORKER(1));
	ck_assert_uint_eq(lp_slot_lowest_pin(r), LP_WAL_PIN_NONE);
	ck_assert_uint_eq(atomic_load(&lp_slot(r, LP_SLOT_WORKER(1))->pid), 0);
	lp_region_close(&r);
}
END_TEST

/* A notifier's pin outlives it, for four sealed files; its successor takes it over. */
START_TEST(a_notifier_leaves_its_pin)
{
	struct lp_region *r = make_region(1);

	atomic_store(&lp_region_state(r)->wal_first, 20);
	atomic_store(&lp_slot(r, LP_SLOT_NOTIFIER)->pid, 1);
	ck_assert_uint_eq(lp_slot_pin(r, LP_SLOT_NOTIFIER), 20);
	atomic_store(&lp_region_state(r)->wal_first, 22);
	lp_slot_clear(r, LP_SLOT_NOTIFIER);
	ck_assert_uint_eq(lp_slot_lowest_pin(r), 20);
	atomic_store(&lp_region_state(r)->wal_first, 24);
	ck_assert_uint_eq(lp_slot_lowest_pin(r), 20);
	atomic_store(&lp_region_state(r)->wal_first, 30);
	ck_assert_uint_eq(lp_slot_lowest_pin(r), 26);
	atomic_store(&lp_slot(r, LP_SLOT_NOTIFIER)->pid, 2);
	ck_assert_uint_eq(lp_slot_pin(r, LP_SLOT_NOTIFIER), 30);
	ck_assert_uint_eq(lp_slot_lowest_pin(r), 20);
	lp_slot_unpin(r, LP_SLOT_NOTIFIER, LP_WAL_PIN_NONE);
	ck_assert_uint_eq(lp_slot_lowest_pin(r), LP_WAL_PIN_NONE);
	lp_region_close(&r);
}
END_TEST

/* The writer raises wal_first and recycles what nobody pins; a reader that pinned f must never see f recycled. */
static _Atomic uint32_t recycled_below;
static atomic_bool stop_pinning;

static void *pin_and_look(void *arg)
{
	uint64_t wrong = 0;

	while (!atomic_load(&stop_pinning)) {
		uint32_t first = lp_slot_pin(region, LP_SLOT_WORKER(0));

		wrong += atomic_load(&recycled_below) > first;
		lp_slot_unpin(region, LP_SLOT_WORKER(0), LP_WAL_PIN_NONE);
	}
	*(uint64_t *)arg = wrong;
	return NULL;
}

START_TEST(pin_handshake_threads)
{
	pthread_t thread;
	struct lp_state_shm *state = lp_region_state(region);
	uint64_t wrong = 1;

	ck_assert_int_eq(pthread_create(&thread, NULL, pin_and_look, &wrong), 0);
	for (uint32_t file = 1; file < 200000; file++) {
		atomic_store(&state->wal_first, file);
		uint32_t pin = lp_slot_lowest_pin(region);

		atomic_store(&recycled_below, pin < file ? pin : file);
	}
	atomic_store(&stop_pinning, true);
	pthread_join(thread, NULL);
	ck_assert_uint_eq(wrong, 0);
}
END_TEST

/* ---- counters ---- */

START_TEST(counters_sum)
{
	struct lp_region *r = make_region(2);

	ck_assert_ptr_null(lp_stat_row(r, 6));
	lp_stat_add(lp_stat_row(r, LP_SLOT_WORKER(0)), LP_STAT_INGESTED_LINES, 40);
	lp_stat_add(lp_stat_row(r, LP_SLOT_WORKER(1)), LP_STAT_INGESTED_LINES, 2);
	lp_stat_add(lp_stat_row(r, LP_SLOT_WORKER(0)), LP_STAT_HTTP_CONNECTIONS, 3);
	lp_stat_add(lp_stat_row(r, LP_SLOT_WORKER(1)), LP_STAT_HTTP_CONNECTIONS, 5);
	lp_stat_add(lp_stat_row(r, LP_SLOT_WORKER(1)), LP_STAT_HTTP_CONNECTIONS, (uint64_t)-1);
	lp_stat_set(lp_stat_row(r, LP_SLOT_WRITER), LP_STAT_STATE_READ_ONLY, 1);
	lp_stat_set(lp_stat_row(r, LP_SLOT_MASTER), LP_STAT_STATE_READ_ONLY, 1);
	ck_assert_uint_eq(lp_stat_sum(r, LP_STAT_INGESTED_LINES), 42);
	ck_assert_uint_eq(lp_stat_sum(r, LP_STAT_HTTP_CONNECTIONS), 7);
	ck_assert_uint_eq(lp_stat_sum(r, LP_STAT_STATE_READ_ONLY), 1);
	ck_assert_uint_eq(lp_stat_get(r, LP_SLOT_WORKER(1), LP_STAT_INGESTED_LINES), 2);
	ck_assert_uint_eq(lp_stat_get(r, 99, LP_STAT_INGESTED_LINES), 0);
	lp_slot_clear(r, LP_SLOT_WORKER(1));
	ck_assert_uint_eq(lp_stat_sum(r, LP_STAT_INGESTED_LINES), 42);
	ck_assert_uint_eq(lp_stat_sum(r, LP_STAT_HTTP_CONNECTIONS), 3);
	lp_region_close(&r);
}
END_TEST

static unsigned occurrences(const char *text, const char *what)
{
	unsigned n = 0;

	for (const char *p = text; (p = strstr(p, what)); p++)
		n++;
	return n;
}

START_TEST(prometheus_text)
{
	struct lp_region *r = make_region(1);
	struct lp_stat_row *row = lp_stat_row(r, LP_SLOT_WORKER(0));
	struct lp_buf out = LP_BUF_INIT;

	lp_stat_add(row, LP_STAT_HTTP_REQUESTS_4XX, 9);
	lp_stat_add(row, LP_STAT_HTTP_CONNECTIONS, (uint64_t)-2);
	lp_stat_observe_us(row, LP_STAT_PUSH_SECONDS, 0);
	lp_stat_observe_us(row, LP_STAT_PUSH_SECONDS, 100);             /* le is inclusive */
	lp_stat_observe_us(row, LP_STAT_PUSH_SECONDS, 101);
	lp_stat_observe_us(row, LP_STAT_PUSH_SECONDS, 2500000);
	lp_stat_observe_us(row, LP_STAT_PUSH_SECONDS, 10000001);
	ck_assert_uint_eq(lp_stat_sum(r, LP_STAT_PUSH_SECONDS), 5);
	lp_stat_write_prometheus(r, &(struct lp_prom){ &out, false });
	const char *text = lp_buf_cstr(&out);

	ck_assert_ptr_nonnull(strstr(text, "# HELP logpulse_ingested_lines_total Lines acknowledged\n"
					   "# TYPE logpulse_ingested_lines_total counter\n"
					   "logpulse_ingested_lines_total 0\n"));
	ck_assert_uint_eq(occurrences(text, "# TYPE logpulse_http_requests_total counter\n"), 1);
	ck_assert_ptr_nonnull(strstr(text, "\nlogpulse_http_requests_total{code=\"4xx\"} 9\n"));
	ck_assert_ptr_nonnull(strstr(text, "\nlogpulse_http_connections -2\n"));
	ck_assert_ptr_nonnull(strstr(text, "# TYPE logpulse_push_duration_seconds histogram\n"
					   "logpulse_push_duration_seconds_bucket{le=\"0.0001\"} 2\n"
					   "logpulse_push_duration_seconds_bucket{le=\"0.0005\"} 3\n"));
	ck_assert_ptr_nonnull(strstr(text, "_seconds_bucket{le=\"1.0\"} 3\n"
					   "logpulse_push_duration_seconds_bucket{le=\"2.5\"} 4\n"));
	ck_assert_ptr_nonnull(strstr(text, "logpulse_push_duration_seconds_bucket{le=\"10.0\"} 4\n"
					   "logpulse_push_duration_seconds_bucket{le=\"+Inf\"} 5\n"
					   "logpulse_push_duration_seconds_sum 12.500202\n"
					   "logpulse_push_duration_seconds_count 5\n"));
	/* Rows of one name stand together, so each family is announced once. */
	for (const char *p = text; (p = strstr(p, "# TYPE ")); p++) {
		char line[160] = "";

		snprintf(line, sizeof line, "%.*s ", (int)strcspn(p + 7, " "), p + 7);
		char type[180];

		snprintf(type, sizeof type, "# TYPE %s", line);
		ck_assert_msg(occurrences(text, type) == 1, "%s", type);
	}
	lp_buf_free(&out);
	lp_region_close(&r);
}
END_TEST

static void *admit_many(void *arg)
{
	uint64_t *admitted = arg;

	for (uint64_t i = 1; i <= 1000; i++)
		*admitted += lp_streams_admit((struct lp_region *)(uintptr_t)admitted[1], 7, i << 40 | i, 600, 100);
	return NULL;
}

START_TEST(active_streams)
{
	struct lp_region_config config = { .workers = 1, .lane_bytes = 65536 };
	struct lp_region *r;
	uint64_t counts[4][2];
	pthread_t threads[4];

	ck_assert_int_eq(lp_region_create(&config, &r), 0);
	ck_assert(lp_streams_claim_seeding(r) && !lp_streams_claim_seeding(r));
	/* Three of a tenant; those that are known may always come, another tenant has its own. */
	for (uint64_t s = 10; s < 13; s++)
		ck_assert(lp_streams_admit(r, 1, s, 3, 100));
	ck_assert(!lp_streams_admit(r, 1, 13, 3, 100) && lp_streams_admit(r, 1, 12, 3, 100) && lp_streams_admit(r, 1, 10, 1, 100));
	ck_assert(lp_streams_admit(r, 2, 99, 1, 100) && !lp_streams_admit(r, 2, 98, 1, 100));
	ck_assert_uint_eq(lp_streams_active(r, 1), 3);
	/* An hour of silence ends a stream: one spoke later. */
	ck_assert(lp_streams_admit(r, 1, 12, 3, 1000));
	lp_streams_sweep(r, LP_STREAMS_MAX, 100 + LP_STREAMS_ACTIVE_S);
	ck_assert_uint_eq(lp_streams_active(r, 1), 3);
	lp_streams_sweep(r, LP_STREAMS_MAX, 101 + LP_STREAMS_ACTIVE_S);
	ck_assert_uint_eq(lp_streams_active(r, 1), 1);
	ck_assert_uint_eq(lp_streams_active(r, 2), 0);
	ck_assert(lp_streams_admit(r, 1, 13, 2, 5000) && !lp_streams_admit(r, 1, 0, 2, 5000) && lp_streams_admit(r, 1, 12, 2, 5000));
	/* More that want one place than there are near it: let pass, not counted. */
	for (uint64_t i = 0; i < 40; i++)
		ck_assert(lp_streams_admit(r, 3, 77 + (i << 32), 100, 5000));
	ck_assert_uint_le(lp_streams_active(r, 3), 16);
	/* Threads that add the same streams agree on them. */
	for (int i = 0; i < 4; i++) {
		counts[i][0] = 0;
		counts[i][1] = (uint64_t)(uintptr_t)r;
		ck_assert_int_eq(pthread_create(&threads[i], NULL, admit_many, counts[i]), 0);
	}
	for (int i = 0; i < 4; i++)
		ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
	ck_assert_uint_le(lp_streams_active(r, 7), 600);
	for (int i = 0; i < 4; i++)
		ck_assert(counts[i][0] >= 590 && counts[i][0] <= 610);
	lp_region_close(&r);
}
END_TEST

static char *openmetrics(struct lp_region *r, struct lp_buf *out)
{
	lp_buf_reset(out);
	lp_stat_write_prometheus(r, &(struct lp_prom){ out, true });
	return (char *)(uintptr_t)lp_buf_cstr(out);
}

START_TEST(exemplars)
{
	struct lp_region *r = make_region(2);
	struct lp_stat_row *a = lp_stat_row(r, LP_SLOT_WORKER(0)), *b = lp_stat_row(r, LP_SLOT_WORKER(1));
	const uint8_t one[16] = { 0x11, [15] = 0x1f }, two[16] = { 0x22 }, three[16] = { 0x33 };
	struct lp_buf out = LP_BUF_INIT;

	ck_assert_ptr_null(strstr(openmetrics(r, &out), "trace_id"));
	lp_stat_observe_us(a, LP_STAT_PUSH_SECONDS, 700);
	lp_stat_exemplar(a, LP_STAT_PUSH_SECONDS, 700, one);
	char *text = openmetrics(r, &out), *p = strstr(text, " # {");
	double s, at;

	/* On the bucket that the observation is in, with the value and the time. */
	ck_assert_ptr_nonnull(strstr(text, "\nlogpulse_push_duration_seconds_bucket{le=\"0.001\"} 1 # {trace_id=\"1100000000000000000000000000001f\"} 0.0007 "));
	ck_assert_uint_eq(occurrences(text, "trace_id"), 1);
	ck_assert_int_eq(sscanf(p, " # {trace_id=\"%*32[0-9a-f]\"} %lf %lf\n", &s, &at), 2);
	ck_assert(at > (double)lp_clock_real_ns() / 1e9 - 60 && at < (double)lp_clock_real_ns() / 1e9 + 60);
	/* A faster one does not take its place, a slower one does; the newest of two processes' is shown. */
	lp_stat_exemplar(a, LP_STAT_PUSH_SECONDS, 600, two);
	ck_assert_ptr_nonnull(strstr(openmetrics(r, &out), "\"1100000000000000000000000000001f\""));
	lp_stat_exemplar(a, LP_STAT_PUSH_SECONDS, 800, two);
	ck_assert_ptr_nonnull(strstr(openmetrics(r, &out), "{trace_id=\"22000000000000000000000000000000\"} 0.0008 "));
	lp_stat_exemplar(b, LP_STAT_PUSH_SECONDS, 900, three);
	text = openmetrics(r, &out);
	ck_assert_uint_eq(occurrences(text, "trace_id"), 1);
	ck_assert_ptr_nonnull(strstr(text, "\"33000000000000000000000000000000\""));
	lp_stat_exemplar(b, LP_STAT_PUSH_SECONDS, UINT64_C(20000000), three);
	text = openmetrics(r, &out);
	ck_assert_ptr_nonnull(strstr(text, "_bucket{le=\"+Inf\"} 1 # {trace_id=\"33000000000000000000000000000000\"} 20"));
	ck_assert_uint_eq(occurrences(text, "trace_id"), 2);
	/* The original server's histogram is a sum of ours; Prometheus' own format has no exemplars. */
	lp_stat_exemplar(a, LP_STAT_QUERY_LABELS_SECONDS, 50, one);
	lp_buf_reset(&out);
	lp_stat_write_sum(r, &(struct lp_prom){ &out, true }, "sum", LP_STAT_QUERY_ORIGINAL_SECONDS, LP_STAT_QUERY_PATTERNS_SECONDS);
	ck_assert_ptr_nonnull(strstr(lp_buf_cstr(&out), "sum_bucket{le=\"0.0001\"} 0 # {trace_id=\"11"));
	lp_buf_reset(&out);
	lp_stat_write_prometheus(r, &(struct lp_prom){ &out, false });
	ck_assert_ptr_null(strstr(lp_buf_cstr(&out), "trace_id"));
	lp_buf_free(&out);
	lp_region_close(&r);
}
END_TEST

START_TEST(exemplar_of_a_dead_worker)
{
	struct lp_region *r = make_region(1);
	struct lp_stat_row *row = lp_stat_row(r, LP_SLOT_WORKER(0));
	_Atomic uint64_t *cells = (_Atomic uint64_t *)row;
	const uint8_t trace[16] = { 0x44, [15] = 0x44 };
	struct lp_buf out = LP_BUF_INIT;
	uint32_t seq = 0;
	uint64_t word;

	lp_stat_exemplar(row, LP_STAT_PUSH_SECONDS, 700, trace);
	memcpy(&word, trace, sizeof word);
	for (uint32_t i = 1; i < lp_stat_row_bytes() / 8; i++)
		if (atomic_load(&cells[i]) == word)
			seq = i - 1;
	ck_assert_uint_eq(atomic_load(&cells[seq]), 2);
	atomic_store(&cells[seq], 3);           /* it died while it changed it */
	ck_assert_ptr_null(strstr(openmetrics(r, &out), "trace_id"));
	lp_stat_exemplar(row, LP_STAT_PUSH_SECONDS, 600, trace);
	ck_assert_ptr_nonnull(strstr(openmetrics(r, &out), "_bucket{le=\"0.001\"} 0 # {trace_id=\"44"));
	ck_assert_uint_eq(atomic_load(&cells[seq]), 4);
	lp_buf_free(&out);
	lp_region_close(&r);
}
END_TEST

static struct lp_region *exemplar_region;
static atomic_bool exemplars_over;

static void *change_exemplars(void *arg)
{
	struct lp_stat_row *row = lp_stat_row(exemplar_region, LP_SLOT_WORKER(0));

	/* Trace and duration go together: every byte of the trace is the number of hundreds of microseconds. */
	for (uint64_t i = 1; !atomic_load(&exemplars_over); i++) {
		uint8_t trace[16];

		memset(trace, (int)(i % 255 + 1), sizeof trace);
		lp_stat_exemplar(row, LP_STAT_PUSH_SECONDS, UINT64_C(1000000) * i + i % 255 + 1, trace);
	}
	return arg;
}

START_TEST(exemplars_are_never_torn)
{
	struct lp_buf out = LP_BUF_INIT;
	unsigned seen = 0;
	pthread_t thread;

	exemplar_region = make_region(1);
	ck_assert_int_eq(pthread_create(&thread, NULL, change_exemplars, NULL), 0);
	int64_t until_ns = lp_clock_mono_ns() + LP_NS_PER_SEC;

	while (lp_clock_mono_ns() < until_ns) {
		const char *p;
		char *end;

		lp_buf_reset(&out);
		lp_stat_write_sum(exemplar_region, &(struct lp_prom){ &out, true }, "x", LP_STAT_PUSH_SECONDS, LP_STAT_PUSH_SECONDS);
		p = strstr(lp_buf_cstr(&out), "{trace_id=\"");
		if (!p)
			continue;               /* it was being changed */
		uint64_t us = (uint64_t)(strtod(p + 46, &end) * 1e6 + 0.5);
		char want[33];

		for (int k = 0; k < 16; k++)
			snprintf(want + 2 * k, 3, "%02x", (uint8_t)(us % 1000000));
		ck_assert_msg(!strncmp(p + 11, want, 32), "%.120s", p);
		seen++;
	}
	atomic_store(&exemplars_over, true);
	pthread_join(thread, NULL);
	ck_assert_uint_gt(seen, 0);
	lp_buf_free(&out);
	lp_region_close(&exemplar_region);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("shm");
	TCase *plain = tcase_create("region"), *lane = tcase_create("lane");

	tcase_add_test(plain, region_limits);
	tcase_add_test(plain, region_is_sealed_and_checked);
	tcase_add_test(plain, pins);
	tcase_add_test(plain, a_notifier_leaves_its_pin);
	tcase_add_test(plain, counters_sum);
	tcase_add_test(plain, prometheus_text);
	tcase_add_test(plain, active_streams);
	tcase_add_test(plain, exemplars);
	tcase_add_test(plain, exemplar_of_a_dead_worker);
	tcase_add_test(plain, exemplars_are_never_torn);
	suite_add_tcase(suite, plain);
	tcase_add_checked_fixture(lane, lane_setup, lane_teardown);
	tcase_set_timeout(lane, 120);
	tcase_add_test(lane, lane_limits);
	tcase_add_test(lane, lane_never_wraps);
	tcase_add_test(lane, lane_passes_4_gib);
	tcase_add_test(lane, lane_reservation_dies_with_its_process);
	tcase_add_test(lane, lane_refuses_corrupt_ends);
	tcase_add_test(lane, lane_used_without_opening_it);
	tcase_add_test(lane, lane_refuses_a_release_of_nothing);
	tcase_add_test(lane, bells_ring_only_for_sleepers);
	tcase_add_test(lane, open_rings_for_the_dead);
	tcase_add_test(lane, trim_gives_memory_back);
	tcase_add_test(lane, threads_lose_no_wakeup);
	tcase_add_test(lane, pin_handshake_threads);
	suite_add_tcase(suite, lane);
	SRunner *runner = srunner_create(suite);

	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);

	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
