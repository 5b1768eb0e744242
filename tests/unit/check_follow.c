/* Following the log: every record once and in order, across files and recycling; pins; the jump of one that lags; the doorbell. */
#include "shm/commit.h"
#include "store/follow.h"
#include "store/map.h"
#include "tests/unit/store_fixture.h"

#include <errno.h>
#include <pthread.h>

static struct fix_wal wal;
static struct lp_region *region;
static struct lp_catalog *catalog;
static int64_t pushed;                  /* timestamps 0, 1, 2 ... in the order of the log */

static void append(uint32_t n)
{
	struct fix_rec rec = { 0 };
	struct lp_buf labels = LP_BUF_INIT, out = LP_BUF_INIT;
	struct fix_entry entries[8];

	ck_assert_uint_le(n, 8);
	fix_labels(&labels, "", (const char *const[]){ "app", "a", NULL });
	for (uint32_t i = 0; i < n; i++)
		entries[i] = (struct fix_entry){ .ts = pushed++, .line = "line", .len = 4 };
	fix_rec_add(&rec, labels.data, labels.len, entries, n);
	fix_rec_encode(&rec, wal.pos, &out);
	ck_assert(fix_wal_append(&wal, &out));
	lp_buf_free(&labels);
	lp_buf_free(&out);
}

static void commit(void)
{
	atomic_store(&lp_region_state(region)->committed, LP_WALPOS(wal.number, wal.off));
	lp_commit_ring(region);
}

static void rotate(void) { fix_wal_file(&wal, wal.number + 1); }

static void setup(void)
{
	const struct lp_region_config config = { .workers = 1, .lane_bytes = 65536 };

	ck_assert_int_eq(lp_region_create(&config, &region), 0);
	atomic_store(&lp_region_state(region)->wal_first, 1);
	fix_wal_open(&wal, 65536);
	pushed = 0;
	ck_assert_int_eq(lp_catalog_open(wal.dir, region, LP_SLOT_WORKER(0), &catalog), 0);
}

static void teardown(void)
{
	lp_catalog_close(&catalog);
	ck_assert_uint_eq(lp_slot_lowest_pin(region), LP_WAL_PIN_NONE);
	lp_region_close(&region);
	fix_wal_close(&wal);
}

/* Read what is committed; every timestamp must be the one after the last. */
static uint32_t drain(struct lp_follow *follow, int64_t *next)
{
	struct lp_follow_record record;
	struct lp_follow_stream stream;
	lp_walpos limit = lp_follow_committed(follow), at = 0;
	uint32_t n = 0;
	int r;

	while ((r = lp_follow_next(follow, limit, &record)) > 0) {
		ck_assert_uint_gt(record.pos, at);
		ck_assert_uint_lt(record.pos, limit);
		at = record.pos;
		for (uint32_t s = 0; s < record.head.streams; s++) {
			ck_assert_int_eq(lp_follow_stream(&record, s, &stream), 0);
			for (uint32_t i = 0; i < stream.rows.n; i++, n++)
				ck_assert_int_eq(stream.rows.ts[i], (*next)++);
		}
	}
	ck_assert_int_eq(r, 0);
	ck_assert_uint_ge(lp_follow_position(follow), limit);
	return n;
}

START_TEST(from_now_on_across_files)
{
	struct lp_follow *follow;
	int64_t next;

	ck_assert_int_eq(lp_follow_open(catalog, 0, &follow), -EAGAIN);
	append(3);
	commit();
	ck_assert_int_eq(lp_follow_open(catalog, 0, &follow), 0);
	next = pushed;
	ck_assert_uint_eq(drain(follow, &next), 0);
	append(2);                      /* not committed: not shown */
	ck_assert_uint_eq(drain(follow, &next), 0);
	commit();
	append(1);                      /* committed by the next file's announcement only */
	rotate();
	append(4);
	rotate();
	commit();
	ck_assert_uint_eq(drain(follow, &next), 7);
	append(1);
	commit();
	ck_assert_uint_eq(drain(follow, &next), 1);
	ck_assert_int_eq(next, pushed);
	ck_assert_uint_eq(lp_follow_dropped(follow), 0);
	lp_follow_close(&follow);
}
END_TEST

START_TEST(from_a_little_before_now)
{
	struct lp_follow *follow;
	int64_t next = 0;

	append(3);
	rotate();
	append(4);
	commit();
	ck_assert_int_eq(lp_follow_open(catalog, 1 << 20, &follow), 0);
	ck_assert_uint_eq(drain(follow, &next), 7);
	lp_follow_close(&follow);
	/* A sealed file is not gone back to. */
	atomic_store(&lp_region_state(region)->wal_first, 2);
	next = 3;
	ck_assert_int_eq(lp_follow_open(catalog, 1 << 20, &follow), 0);
	ck_assert_uint_eq(drain(follow, &next), 4);
	lp_follow_close(&follow);
}
END_TEST

/* A follower that ends and one that begins where it was, as two notifiers do: nothing twice, nothing left out while the files are
 * there; what is not there any more is counted. */
START_TEST(on_from_where_another_one_was)
{
	struct lp_follow *old, *follow;
	int64_t next = 0;
	lp_walpos at;

	append(3);
	commit();
	ck_assert_int_eq(lp_follow_open(catalog, 1 << 20, &old), 0);
	ck_assert_uint_eq(drain(old, &next), 3);
	at = lp_follow_position(old);
	append(2);
	rotate();
	append(4);
	commit();
	/* Sealed, but held. */
	atomic_store(&lp_region_state(region)->wal_first, 2);
	ck_assert_int_eq(lp_follow_open_at(catalog, at, &follow), 0);
	lp_follow_close(&old);
	ck_assert_uint_eq(drain(follow, &next), 6);
	ck_assert_uint_eq(lp_follow_dropped(follow), 0);
	lp_follow_close(&follow);
	/* Not held any more: it begins with what is sure to stay. */
	next -= 4;
	ck_assert_int_eq(lp_follow_open_at(catalog, at, &follow), 0);
	ck_assert_uint_eq(drain(follow, &next), 4);
	lp_follow_close(&follow);
	/* A position that was never reached is no reason to wait for it. */
	ck_assert_int_eq(lp_follow_open_at(catalog, LP_WALPOS(99, 0), &follow), 0);
	append(1);
	commit();
	ck_assert_uint_eq(drain(follow, &next), 1);
	lp_follow_close(&follow);
}
END_TEST

START_TEST(snapshot_and_follower_share_the_pin)
{
	struct lp_snapshot *snapshot;
	struct lp_follow *follow;
	int64_t next;

	append(1);
	commit();
	ck_assert_int_eq(lp_follow_open(catalog, 0, &follow), 0);
	next = pushed;
	ck_assert_int_eq(lp_catalog_acquire(catalog, &snapshot), 0);
	ck_assert_uint_eq(lp_snapshot_limit(snapshot), lp_follow_committed(follow));
	append(2);
	rotate();
	append(2);
	commit();
	atomic_store(&lp_region_state(region)->wal_first, 2);
	lp_snapshot_release(&snapshot);
	lp_catalog_tick(catalog);
	ck_assert_uint_eq(lp_slot_lowest_pin(region), 1);       /* the follower has not read on */
	ck_assert_uint_eq(drain(follow, &next), 4);
	ck_assert_uint_eq(lp_slot_lowest_pin(region), 2);
	lp_follow_close(&follow);
}
END_TEST

START_TEST(a_laggard_jumps_and_counts)
{
	struct lp_follow *follow;
	int64_t next;

	append(1);
	commit();
	ck_assert_int_eq(lp_follow_open(catalog, 0, &follow), 0);
	for (uint32_t i = 0; i < LP_FOLLOW_MAX_BEHIND + 1; i++) {
		append(5);
		rotate();
	}
	append(3);
	commit();
	atomic_store(&lp_region_state(region)->wal_first, wal.number);
	next = pushed;
	ck_assert_uint_eq(drain(follow, &next), 0);
	ck_assert_uint_eq(lp_follow_dropped(follow), 5 * (LP_FOLLOW_MAX_BEHIND + 1) + 3);
	ck_assert_uint_eq(lp_follow_dropped(follow), 0);
	ck_assert_uint_eq(lp_slot_lowest_pin(region), wal.number);
	append(2);
	commit();
	ck_assert_uint_eq(drain(follow, &next), 2);
	lp_follow_close(&follow);
}
END_TEST

START_TEST(damaged_bytes_are_left_out)
{
	struct lp_follow *follow;
	struct lp_follow_record record;
	struct lp_follow_stream stream;

	append(1);
	commit();
	ck_assert_int_eq(lp_follow_open(catalog, 0, &follow), 0);
	uint64_t rec = wal.off + LP_WALGROUP_HEAD;

	append(4);
	commit();
	/* The stream's label offset points out of the record, as on a page of which a part was lost. */
	ck_assert_int_eq(pwrite(wal.fd, &(uint32_t){ UINT32_MAX }, 4, (off_t)(rec + LP_WALREC_HEAD + 20)), 4);
	ck_assert_int_eq(lp_follow_next(follow, lp_follow_committed(follow), &record), 1);
	ck_assert_int_eq(lp_follow_stream(&record, 0, &stream), -EBADMSG);
	ck_assert_int_eq(lp_follow_stream(&record, 1, &stream), -EBADMSG);
	ck_assert_int_eq(lp_follow_next(follow, lp_follow_committed(follow), &record), 0);
	lp_follow_close(&follow);
}
END_TEST

START_TEST(the_bell_rings_who_asked)
{
	struct lp_follow *follow;
	int64_t next;

	append(1);
	commit();
	ck_assert_int_eq(lp_follow_open(catalog, 0, &follow), 0);
	next = pushed;
	ck_assert_int_eq(lp_follow_wait(follow, 0), 0);
	append(1);
	commit();
	ck_assert_int_eq(lp_follow_wait(follow, 60000), 1);
	ck_assert_int_eq(lp_follow_wait(follow, 60000), 1);     /* still unread: does not sleep */
	ck_assert_uint_eq(drain(follow, &next), 1);
	lp_commit_poke(region, LP_SLOT_WORKER(0));
	ck_assert_int_eq(lp_follow_wait(follow, 60000), 0);
	lp_follow_close(&follow);
}
END_TEST

static void *commit_each(void *arg)
{
	for (int i = 0; i < 400; i++) {
		if (i % 40 == 39)
			rotate();
		append(2);
		commit();
	}
	return arg;
}

START_TEST(no_wakeup_and_no_record_is_lost)
{
	struct lp_follow *follow;
	pthread_t thread;
	int64_t next;

	append(1);
	commit();
	ck_assert_int_eq(lp_follow_open(catalog, 0, &follow), 0);
	next = pushed;
	ck_assert_int_eq(pthread_create(&thread, NULL, commit_each, NULL), 0);
	while (next < 801) {
		(void)drain(follow, &next);
		/* A lost ring would show as a timeout of the test.  One of a commit that was read already may come late. */
		if (next < 801)
			ck_assert_int_ge(lp_follow_wait(follow, 600000), 0);
	}
	pthread_join(thread, NULL);
	lp_follow_close(&follow);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("follow");
	TCase *tc = tcase_create("follow");

	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, from_now_on_across_files);
	tcase_add_test(tc, from_a_little_before_now);
	tcase_add_test(tc, on_from_where_another_one_was);
	tcase_add_test(tc, snapshot_and_follower_share_the_pin);
	tcase_add_test(tc, a_laggard_jumps_and_counts);
	tcase_add_test(tc, damaged_bytes_are_left_out);
	tcase_add_test(tc, the_bell_rings_who_asked);
	tcase_add_test(tc, no_wakeup_and_no_record_is_lost);
	suite_add_tcase(suite, tc);
	SRunner *runner = srunner_create(suite);

	lp_map_init();
	srunner_run_all(runner, CK_NORMAL);
	int failed = srunner_ntests_failed(runner);

	srunner_free(runner);
	return failed ? 1 : 0;
}
