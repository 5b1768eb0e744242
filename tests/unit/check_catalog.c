/* Catalog: snapshots are complete, exact and undisturbed while the log grows, is sealed and recycled. */
#include "common/assert.h"
#include "store/catalog.h"
#include "store/map.h"
#include "store/seal.h"
#include "tests/unit/store_fixture.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>

#define DAY0 (INT64_C(1793491200) * 1000000000)

static struct lp_region *make_region(void)
{
	struct lp_region *region;
	struct lp_region_config config = { .workers = 2, .lane_bytes = 65536 };

	ck_assert_int_eq(lp_region_create(&config, &region), 0);
	for (uint32_t i = 0; i < lp_slot_count(region); i++)
		atomic_store(&lp_slot(region, i)->wal_pin, LP_WAL_PIN_NONE);
	atomic_store(&lp_region_state(region)->wal_first, 1);
	return region;
}

static void commit(struct lp_region *region, const struct fix_wal *wal)
{
	atomic_store_explicit(&lp_region_state(region)->committed, LP_WALPOS(wal->number, wal->off), memory_order_release);
}

static void rotate(struct fix_wal *wal)
{
	fix_wal_file(wal, wal->number + 1);
}

/* A record with n entries of stream app=<app>, timestamps from *next on. */
static void make_rec(const char *app, int64_t *next, uint32_t n, uint64_t pos, struct lp_buf *out)
{
	struct fix_rec rec = { 0 };
	struct lp_buf labels = LP_BUF_INIT;
	struct fix_entry entries[64];
	char lines[64][40];

	ck_assert_uint_le(n, 64);
	fix_labels(&labels, "", (const char *const[]){ "app", app, NULL });
	for (uint32_t i = 0; i < n; i++) {
		snprintf(lines[i], sizeof lines[i], "line %lld", (long long)(*next - DAY0));
		entries[i] = (struct fix_entry){ .ts = (*next)++, .line = lines[i], .len = (uint32_t)strlen(lines[i]) };
	}
	fix_rec_add(&rec, labels.data, labels.len, entries, n);
	lp_buf_reset(out);
	fix_rec_encode(&rec, pos, out);
	lp_buf_free(&labels);
}

static void append(struct fix_wal *wal, const char *app, int64_t *next, uint32_t n)
{
	struct lp_buf rec = LP_BUF_INIT;

	make_rec(app, next, n, wal->pos, &rec);
	ck_assert(fix_wal_append(wal, &rec));
	lp_buf_free(&rec);
}

static void seal(const struct fix_wal *wal, uint32_t number)
{
	char path[300], segments[300];
	struct lp_seal_result result;

	fix_wal_path(wal, number, path);
	snprintf(segments, sizeof segments, "%s/segments", wal->dir);
	struct lp_seal_config config = { .segments_dir = segments, .block_bytes = 65536, .compress = true, .oldest_ns = INT64_MIN };

	ck_assert_int_eq(lp_seal_wal(&config, path, number, &result), 0);
}

static uint64_t entries_of(const struct lp_snapshot *snapshot, int64_t *ret_max)
{
	uint64_t entries = 0;
	int64_t max = INT64_MIN;

	for (uint32_t i = 0; i < lp_snapshot_segments(snapshot); i++) {
		const struct lp_segment_info *info = lp_segment_info(lp_snapshot_segment(snapshot, i));

		entries += info->entries;
		max = info->max_ts > max ? info->max_ts : max;
	}
	for (uint32_t s = 0; s < lp_snapshot_wal_streams(snapshot); s++) {
		uint32_t n;
		const struct lp_wal_batch *batches = lp_snapshot_wal_batches(snapshot, s, &n);

		for (uint32_t b = 0; b < n; b++) {
			struct lp_rows rows;

			ck_assert_int_eq(lp_wal_batch_rows(&batches[b], &rows), 0);
			ck_assert_uint_eq(rows.n, batches[b].entries);
			ck_assert_int_eq(rows.ts[0], batches[b].min_ts);
			entries += rows.n;
			max = batches[b].max_ts > max ? batches[b].max_ts : max;
		}
	}
	if (ret_max)
		*ret_max = max;
	return entries;
}

START_TEST(nothing_is_live_before_recovery_is_over)
{
	struct fix_wal wal;
	struct lp_region *region = make_region();
	struct lp_catalog *catalog;
	struct lp_snapshot *snapshot;
	int64_t next = DAY0;

	fix_wal_open(&wal, 65536);
	append(&wal, "a", &next, 3);
	ck_assert_int_eq(lp_catalog_open(wal.dir, region, LP_SLOT_WORKER(0), &catalog), 0);
	ck_assert_int_eq(lp_catalog_acquire(catalog, &snapshot), 0);
	ck_assert_uint_eq(entries_of(snapshot, NULL), 0);
	ck_assert_uint_eq(lp_slot_lowest_pin(region), LP_WAL_PIN_NONE);
	lp_snapshot_release(&snapshot);
	commit(region, &wal);
	ck_assert_int_eq(lp_catalog_acquire(catalog, &snapshot), 0);
	ck_assert_uint_eq(entries_of(snapshot, NULL), 3);
	ck_assert_uint_eq(lp_slot_lowest_pin(region), 1);
	lp_snapshot_release(&snapshot);
	lp_catalog_close(&catalog);
	ck_assert_uint_eq(lp_slot_lowest_pin(region), LP_WAL_PIN_NONE);
	lp_region_close(&region);
	fix_wal_close(&wal);
}
END_TEST

START_TEST(a_snapshot_does_not_grow)
{
	struct fix_wal wal;
	struct lp_region *region = make_region();
	struct lp_catalog *catalog;
	struct lp_snapshot *old, *now;
	int64_t next = DAY0;

	fix_wal_open(&wal, 1 << 20);
	append(&wal, "a", &next, 5);
	commit(region, &wal);
	ck_assert_int_eq(lp_catalog_open(wal.dir, region, LP_SLOT_WORKER(0), &catalog), 0);
	ck_assert_int_eq(lp_catalog_acquire(catalog, &old), 0);
	for (int i = 0; i < 1000; i++) {
		append(&wal, i % 2 ? "a" : "b", &next, 1);
		commit(region, &wal);
		if (i % 10)
			continue;
		ck_assert_int_eq(lp_catalog_acquire(catalog, &now), 0);
		ck_assert_uint_eq(entries_of(now, NULL), (uint64_t)(next - DAY0));
		ck_assert_uint_eq(lp_snapshot_wal_streams(now), 2);
		lp_snapshot_release(&now);
	}
	/* Bytes behind the committed position do not exist. */
	append(&wal, "c", &next, 7);
	ck_assert_int_eq(lp_catalog_acquire(catalog, &now), 0);
	ck_assert_uint_eq(entries_of(now, NULL), (uint64_t)(next - DAY0) - 7);
	ck_assert_uint_eq(entries_of(old, NULL), 5);
	ck_assert_uint_eq(lp_snapshot_wal_streams(old), 1);
	lp_snapshot_release(&now);
	lp_snapshot_release(&old);
	lp_catalog_close(&catalog);
	lp_region_close(&region);
	fix_wal_close(&wal);
}
END_TEST

START_TEST(the_pin_follows_the_oldest_snapshot)
{
	struct fix_wal wal;
	struct lp_region *region = make_region();
	struct lp_state_shm *state = lp_region_state(region);
	struct lp_catalog *catalog;
	struct lp_snapshot *old, *now;
	int64_t next = DAY0;

	fix_wal_open(&wal, 65536);
	append(&wal, "a", &next, 5);
	rotate(&wal);
	append(&wal, "a", &next, 6);
	commit(region, &wal);
	ck_assert_int_eq(lp_catalog_open(wal.dir, region, LP_SLOT_WORKER(0), &catalog), 0);
	ck_assert_int_eq(lp_catalog_acquire(catalog, &old), 0);
	ck_assert_uint_eq(entries_of(old, NULL), 11);
	seal(&wal, 1);
	/* Renamed but not announced: the log still has it. */
	ck_assert_int_eq(lp_catalog_acquire(catalog, &now), 0);
	ck_assert_uint_eq(entries_of(now, NULL), 11);
	ck_assert_uint_eq(lp_snapshot_segments(now), 0);
	lp_snapshot_release(&now);
	atomic_store(&state->wal_first, 2);
	atomic_fetch_add(&state->generation, 1);
	ck_assert_int_eq(lp_catalog_acquire(catalog, &now), 0);
	ck_assert_uint_eq(lp_snapshot_segments(now), 1);
	ck_assert_uint_eq(entries_of(now, NULL), 11);
	ck_assert_uint_eq(lp_slot_lowest_pin(region), 1);
	ck_assert_uint_eq(entries_of(old, NULL), 11);
	lp_snapshot_release(&old);
	ck_assert_uint_eq(lp_slot_lowest_pin(region), 2);
	lp_snapshot_release(&now);
	/* An idle catalog lets go of the file that moved below wal_first. */
	rotate(&wal);
	append(&wal, "b", &next, 2);
	commit(region, &wal);
	seal(&wal, 2);
	atomic_store(&state->wal_first, 3);
	atomic_fetch_add(&state->generation, 1);
	ck_assert_uint_eq(lp_slot_lowest_pin(region), 2);
	lp_catalog_tick(catalog);
	ck_assert_uint_gt(lp_slot_lowest_pin(region), 2);
	ck_assert_int_eq(lp_catalog_acquire(catalog, &now), 0);
	ck_assert_uint_eq(lp_snapshot_segments(now), 2);
	ck_assert_uint_eq(entries_of(now, NULL), 13);
	lp_snapshot_release(&now);
	lp_catalog_close(&catalog);
	lp_region_close(&region);
	fix_wal_close(&wal);
}
END_TEST

START_TEST(offline_reads_everything_once)
{
	struct fix_wal wal;
	struct lp_catalog *catalog;
	struct lp_snapshot *snapshot;
	char path[300];
	int64_t next = DAY0;

	fix_wal_open(&wal, 65536);
	for (int file = 0; file < 3; file++) {
		append(&wal, "a", &next, 10);
		append(&wal, "b", &next, 10);
		if (file < 2)
			rotate(&wal);
	}
	/* File 1 is sealed and gone, file 2 is sealed and still there. */
	seal(&wal, 1);
	seal(&wal, 2);
	fix_wal_path(&wal, 1, path);
	ck_assert_int_eq(unlink(path), 0);
	/* A torn append: right head, wrong body. */
	uint64_t off = wal.off;

	append(&wal, "torn", &next, 4);
	ck_assert_int_eq(pwrite(wal.fd, "\xff\xff\xff", 3, (off_t)(off + LP_WALGROUP_HEAD + 70)), 3);
	ck_assert_int_eq(lp_catalog_open(wal.dir, NULL, 0, &catalog), 0);
	ck_assert_int_eq(lp_catalog_acquire(catalog, &snapshot), 0);
	ck_assert_uint_eq(lp_snapshot_segments(snapshot), 1);
	ck_assert_uint_eq(lp_snapshot_wal_streams(snapshot), 2);
	ck_assert_uint_eq(entries_of(snapshot, NULL), 60);
	lp_snapshot_release(&snapshot);
	lp_catalog_close(&catalog);
	fix_wal_close(&wal);
}
END_TEST

START_TEST(a_malformed_directory_is_skipped_and_counted)
{
	struct fix_wal wal;
	struct lp_region *region = make_region();
	struct lp_catalog *catalog;
	struct lp_snapshot *snapshot;
	int64_t next = DAY0;

	fix_wal_open(&wal, 65536);
	append(&wal, "a", &next, 3);
	uint64_t off = wal.off;
	uint32_t bad = 0xfffffff0;

	append(&wal, "b", &next, 3);
	/* Label offset of its first stream. */
	ck_assert_int_eq(pwrite(wal.fd, &bad, 4, (off_t)(off + LP_WALGROUP_HEAD + LP_WALREC_HEAD + 20)), 4);
	append(&wal, "c", &next, 3);
	commit(region, &wal);
	ck_assert_int_eq(lp_catalog_open(wal.dir, region, LP_SLOT_WORKER(1), &catalog), 0);
	ck_assert_int_eq(lp_catalog_acquire(catalog, &snapshot), 0);
	ck_assert_uint_eq(lp_snapshot_wal_streams(snapshot), 2);
	ck_assert_uint_eq(entries_of(snapshot, NULL), 6);
	ck_assert_uint_eq(lp_snapshot_skipped(snapshot), 1);
	lp_snapshot_release(&snapshot);
	lp_catalog_close(&catalog);
	lp_region_close(&region);
	fix_wal_close(&wal);
}
END_TEST

/* ---- a writer that seals and recycles while readers count ---- */

struct race {
	struct fix_wal wal;
	struct lp_region *region;
	struct lp_catalog *catalog;
	_Atomic int64_t begun, acked;   /* entries written (before), committed (after) */
	_Atomic bool done;
};

static void recycle(struct race *race, uint32_t *recycled, uint32_t first)
{
	while (*recycled + 1 < first && *recycled + 1 < lp_slot_lowest_pin(race->region)) {
		char path[300];

		fix_wal_path(&race->wal, ++*recycled, path);
		/* What recycling does to a reader that should not be there: other bytes in the same file. */
		int fd = open(path, O_WRONLY | O_CLOEXEC);
		char junk[4096];

		memset(junk, 0xee, sizeof junk);
		for (off_t at = 0; at < (off_t)race->wal.size; at += (off_t)sizeof junk)
			ck_assert_int_eq(pwrite(fd, junk, sizeof junk, at), (ssize_t)sizeof junk);
		close(fd);
		ck_assert_int_eq(unlink(path), 0);
	}
}

static void *race_writer(void *arg)
{
	struct race *race = arg;
	struct lp_state_shm *state = lp_region_state(race->region);
	int64_t next = DAY0;
	uint32_t sealed = 0, recycled = 0;
	struct lp_buf rec = LP_BUF_INIT;

	for (int i = 0; i < 600; i++) {
		char app[16];

		snprintf(app, sizeof app, "s%d", i % 7);
		atomic_fetch_add(&race->begun, 16);
		make_rec(app, &next, 16, race->wal.pos, &rec);
		if (!fix_wal_append(&race->wal, &rec)) {
			rotate(&race->wal);
			ck_assert(fix_wal_append(&race->wal, &rec));
		}
		commit(race->region, &race->wal);
		atomic_store(&race->acked, next - DAY0);
		if (race->wal.number > sealed + 2) {
			seal(&race->wal, ++sealed);
			atomic_store(&state->wal_first, sealed + 1);
			atomic_fetch_add(&state->generation, 1);
		}
		recycle(race, &recycled, sealed + 1);
	}
	atomic_store(&race->done, true);
	lp_buf_free(&rec);
	return NULL;
}

static void *race_reader(void *arg)
{
	struct race *race = arg;
	struct lp_snapshot *held = NULL, *snapshot;
	uint64_t held_entries = 0;
	bool last = false;

	for (unsigned round = 0; !last; round++) {
		last = atomic_load(&race->done);
		int64_t acked = atomic_load(&race->acked), max;

		LP_ASSERT(lp_catalog_acquire(race->catalog, &snapshot) == 0);
		int64_t begun = atomic_load(&race->begun);
		uint64_t entries = entries_of(snapshot, &max);

		/* Each timestamp stands for one entry: the count and the greatest agree only when none is missing or doubled. */
		LP_ASSERT(entries >= (uint64_t)acked && entries <= (uint64_t)begun);
		LP_ASSERT(entries == 0 || (uint64_t)(max - DAY0) + 1 == entries);
		LP_ASSERT(lp_snapshot_skipped(snapshot) == 0);
		if (held && round % 8 == 0) {
			LP_ASSERT(entries_of(held, NULL) == held_entries);
			lp_snapshot_release(&held);
		}
		if (!held) {
			held = snapshot;
			held_entries = entries;
		} else {
			lp_snapshot_release(&snapshot);
		}
		lp_catalog_tick(race->catalog);
	}
	lp_snapshot_release(&held);
	return NULL;
}

START_TEST(no_line_is_missed_or_doubled_while_the_writer_seals)
{
	struct race race = { .region = make_region() };
	pthread_t writer, readers[3];

	fix_wal_open(&race.wal, 16384);
	ck_assert_int_eq(lp_catalog_open(race.wal.dir, race.region, LP_SLOT_WORKER(0), &race.catalog), 0);
	ck_assert_int_eq(pthread_create(&writer, NULL, race_writer, &race), 0);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(pthread_create(&readers[i], NULL, race_reader, &race), 0);
	pthread_join(writer, NULL);
	for (int i = 0; i < 3; i++)
		pthread_join(readers[i], NULL);
	ck_assert_int_eq(race.acked, 600 * 16);
	lp_catalog_close(&race.catalog);
	lp_region_close(&race.region);
	fix_wal_close(&race.wal);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("catalog");
	TCase *tc = tcase_create("catalog");

	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, nothing_is_live_before_recovery_is_over);
	tcase_add_test(tc, a_snapshot_does_not_grow);
	tcase_add_test(tc, the_pin_follows_the_oldest_snapshot);
	tcase_add_test(tc, offline_reads_everything_once);
	tcase_add_test(tc, a_malformed_directory_is_skipped_and_counted);
	tcase_add_test(tc, no_line_is_missed_or_doubled_while_the_writer_seals);
	suite_add_tcase(suite, tc);
	SRunner *runner = srunner_create(suite);

	lp_map_init();
	srunner_run_all(runner, CK_NORMAL);
	int failed = srunner_ntests_failed(runner);

	srunner_free(runner);
	return failed ? 1 : 0;
}
