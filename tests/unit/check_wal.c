/* The write-ahead log: append, recover, rotate, recycle, abandon, torn tails, warm start. */
#include "common/clock.h"
#include "tests/unit/wal_test.h"

#define MAX 10000
static uint32_t got[MAX];

START_TEST(test_append_and_recover)
{
	struct lp_wal_recovery rec;
	struct lp_wal *wal = open_wal(EPOCH, 0, &rec);

	ck_assert_uint_eq(rec.files, 0);
	ck_assert_uint_eq(rec.first_file, 1);
	ck_assert_uint_eq(lp_wal_position(wal), LP_WALPOS(1, LP_WALFILE_HEAD));
	ck_assert_int_eq(append(wal, 0, 3), 0);
	ck_assert_int_eq(append(wal, 3, 1), 0);
	ck_assert_int_gt(lp_wal_current_since_ns(wal), 0);
	ck_assert_uint_eq(commit(wal), LP_WALPOS(1, LP_WALFILE_HEAD + 2 * LP_WALGROUP_HEAD + 4 * record_bytes(LINE)));
	lp_wal_close(&wal);
	ck_assert_int_eq(file_records(dir, 1, true, got, MAX), 4);

	wal = open_wal(EPOCH + 1, 0, &rec);
	ck_assert_uint_eq(rec.files, 1);
	ck_assert_uint_eq(rec.records, 4);
	ck_assert_uint_eq(rec.entries, 4);
	ck_assert_uint_eq(rec.lanes[0].end_pos, 0);     /* another epoch */
	ck_assert_uint_eq(LP_WALPOS_FILE(lp_wal_position(wal)), 2);
	lp_wal_close(&wal);
	/* An empty file at the end gives its number back. */
	wal = open_wal(EPOCH, 0, &rec);
	ck_assert_uint_eq(rec.lanes[0].end_pos, 4 * record_bytes(LINE));
	ck_assert_uint_eq(LP_WALPOS_FILE(lp_wal_position(wal)), 2);
	lp_wal_close(&wal);
}
END_TEST

START_TEST(test_rotate_and_recycle)
{
	struct lp_wal_recovery rec;
	struct lp_wal *wal = open_wal(EPOCH, 0, &rec);
	uint32_t next = 0, sealed = 0, number, files;
	uint64_t bytes;
	bool empty;

	/* Many lives of few files: stale records must never be read. */
	for (int round = 0; round < 40; round++) {
		for (int i = 0; i < 100; i++, next += 3)
			ck_assert_int_eq(append(wal, next, 3), 0);
		lp_walpos committed = commit(wal);

		while ((number = lp_wal_next_to_seal(wal, sealed + 1, committed, &empty)) != 0) {
			ck_assert_uint_eq(number, sealed + 1);
			ck_assert(!empty);
			int n = file_records(dir, number, true, got, MAX);

			ck_assert_int_gt(n, 0);
			ck_assert_int_eq(file_records(dir, number, false, got, MAX), n);
			for (int i = 1; i < n; i++)
				ck_assert_uint_eq(got[i], got[i - 1] + 1);
			ck_assert_uint_eq(lp_wal_first_above(wal, number), number + 1);
			ck_assert_int_eq(lp_wal_retire(wal, number), 0);
			ck_assert_int_eq(lp_wal_retire(wal, number), -ENOENT);
			sealed = number;
		}
	}
	ck_assert_uint_gt(sealed, 5);
	ck_assert_uint_gt(wal->next_size, wal->file_min);       /* they filled fast */
	lp_wal_usage(wal, &files, &bytes);
	ck_assert_uint_eq(files, LP_WALPOS_FILE(lp_wal_position(wal)) - sealed);
	int last = file_records(dir, sealed + 1, true, got, MAX);

	ck_assert_int_ge(last, 0);
	if (last > 0)
		ck_assert_uint_eq(got[last - 1], next - 1);
	lp_wal_close(&wal);
	wal = open_wal(EPOCH, 0, &rec);
	ck_assert_uint_eq(rec.records, (uint64_t)last);
	lp_wal_close(&wal);
}
END_TEST

static uint64_t bytes_in_dir(void)
{
	uint64_t bytes = 0;
	DIR *d = opendir(dir);
	struct stat st;

	for (struct dirent *e; (e = readdir(d));)
		if (e->d_name[0] != '.' && fstatat(dirfd(d), e->d_name, &st, 0) == 0)
			bytes += (uint64_t)st.st_size;
	closedir(d);
	return bytes;
}

/* The pool's thread counts them, too. */
static uint32_t count_spares(struct lp_wal *wal)
{
	pthread_mutex_lock(&wal->lock);
	uint32_t n = wal->n_spares;

	pthread_mutex_unlock(&wal->lock);
	return n;
}

/* After a load the files that it needed are given back, the current one too when nothing is in it. */
START_TEST(test_rest_after_a_load)
{
	struct lp_wal_recovery rec;
	struct lp_wal *wal = open_wal(EPOCH, 0, &rec);
	int64_t now = LP_NS_PER_SEC;
	uint32_t next = 0, number;
	bool empty;

	ck_assert(!lp_wal_rest(wal, now));
	for (int i = 0; i < 3000; i++, next += 3)
		ck_assert_int_eq(append(wal, next, 3), 0);
	ck_assert_int_eq(lp_wal_rotate(wal), 0);
	while ((number = lp_wal_next_to_seal(wal, 0, commit(wal), &empty)) != 0)
		ck_assert_int_eq(lp_wal_retire(wal, number), 0);
	/* Twice: the first success may make the next file the current one, for which the pool's thread then takes a spare. */
	for (int i = 0; i < 2; i++)
		while (lp_wal_prepare(wal, false) == -EAGAIN)
			wait_event(wal);
	uint32_t spares = count_spares(wal);

	ck_assert_uint_gt(bytes_in_dir(), 4 * wal->file_min);
	/* The minute with the load in it, then quiet ones. */
	now += 61 * LP_NS_PER_SEC;
	ck_assert(!lp_wal_rest(wal, now));
	ck_assert_uint_eq(count_spares(wal), spares);
	now += 61 * LP_NS_PER_SEC;
	for (bool changed = false; !changed; now++) {
		changed = lp_wal_rest(wal, now);
		while (lp_wal_prepare(wal, false) == -EAGAIN)
			wait_event(wal);
	}
	ck_assert_uint_ne(number = lp_wal_next_to_seal(wal, 0, commit(wal), &empty), 0);
	ck_assert(empty);
	ck_assert_int_eq(lp_wal_retire(wal, number), 0);
	ck_assert(!lp_wal_rest(wal, now));
	ck_assert_uint_eq(bytes_in_dir(), 2 * wal->file_min);   /* the current and the next one */
	/* And it takes load again. */
	for (int i = 0; i < 1000; i++, next += 3)
		ck_assert_int_eq(append(wal, next, 3), 0);
	lp_walpos committed = commit(wal);

	ck_assert_uint_ne(number = lp_wal_next_to_seal(wal, 0, committed, &empty), 0);
	ck_assert_int_gt(file_records(dir, number, true, got, MAX), 0);
	ck_assert_uint_eq(got[0], next - 3000);
	lp_wal_close(&wal);
}
END_TEST

START_TEST(test_sealing_waits_for_the_announcement)
{
	struct lp_wal_recovery rec;
	struct lp_wal *wal = open_wal(EPOCH, 0, &rec);
	bool empty;

	ck_assert_int_eq(append(wal, 0, 1), 0);
	lp_walpos before = commit(wal);

	ck_assert_int_eq(append(wal, 1, 1), 0);
	ck_assert_int_eq(lp_wal_rotate(wal), 0);
	ck_assert_uint_eq(lp_wal_next_to_seal(wal, 0, before, &empty), 0);
	ck_assert_uint_eq(lp_wal_next_to_seal(wal, 0, commit(wal), &empty), 1);
	ck_assert_uint_eq(lp_wal_last_complete(wal), 1);
	ck_assert_int_eq(lp_wal_rotate(wal), 0);        /* nothing in it: stays */
	ck_assert_uint_eq(lp_wal_last_complete(wal), 1);
	lp_wal_close(&wal);
}
END_TEST

START_TEST(test_record_larger_than_a_file)
{
	struct lp_wal_recovery rec;
	struct lp_wal *wal = open_wal(EPOCH, 0, &rec);
	uint32_t line = 700000, bytes = record_bytes(line);
	uint8_t *buf = aligned_alloc(16, bytes);
	int r;

	record_make(buf, EPOCH, 0, 0, 7, line);
	while ((r = lp_wal_append(wal, 0, 0, buf, bytes)) == -EAGAIN)
		wait_event(wal);
	ck_assert_int_eq(r, 0);
	commit(wal);
	lp_wal_close(&wal);
	wal = open_wal(EPOCH, 0, &rec);
	ck_assert_uint_eq(rec.records, 1);
	ck_assert_uint_eq(rec.lanes[0].end_pos, bytes);
	lp_wal_close(&wal);
	free(buf);
}
END_TEST

/* ---- torn tails ---- */

enum damage { TRUNCATED, ZEROED, GARBAGE, STALE };

static void damage_tail(const uint8_t *image, size_t size, size_t at, enum damage how)
{
	char path[128];
	uint8_t *copy = malloc(size);

	snprintf(path, sizeof path, "%s/00000001.wal", dir);
	memcpy(copy, image, size);
	for (size_t i = at; i < size; i++)
		copy[i] = how == GARBAGE ? (uint8_t)(i * 131 + 17) : how == STALE ? image[i - 1008] : 0;
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	ck_assert_int_ge(fd, 0);
	size_t n = how == TRUNCATED ? at : size;

	ck_assert_int_eq(write(fd, copy, n), (ssize_t)n);
	close(fd);
	free(copy);
}

START_TEST(test_torn_tail_at_every_byte)
{
	struct lp_wal_config config = small_config();
	struct lp_wal_recovery rec;
	char path[128];

	config.file_min = config.file_max = 16 << 10;
	struct lp_wal *wal = open_wal(EPOCH, 0, &rec);

	ck_assert_int_eq(append(wal, 0, 2), 0);
	size_t group = LP_WALPOS_OFF(commit(wal));

	ck_assert_int_eq(append(wal, 2, 3), 0);
	size_t end = LP_WALPOS_OFF(commit(wal)), size = 16 << 10;
	uint8_t *image = malloc(size);

	snprintf(path, sizeof path, "%s/00000001.wal", dir);
	int fd = open(path, O_RDONLY);

	ck_assert_int_eq(read(fd, image, size), (ssize_t)size);
	close(fd);
	lp_wal_close(&wal);
	for (size_t at = group; at <= end; at++) {
		size_t whole = at < group + LP_WALGROUP_HEAD ? 0 : (at - group - LP_WALGROUP_HEAD) / record_bytes(LINE);

		remove_dir(dir);
		ck_assert_int_eq(mkdir(dir, 0700), 0);
		damage_tail(image, size, at, (enum damage)_i);
		ck_assert_int_eq(lp_wal_open(&config, EPOCH, 0, &wal, &rec), 0);
		/* A byte that happens to be what it was before is no damage. */
		ck_assert_uint_ge(rec.records, 2 + whole);
		ck_assert_uint_le(rec.records, 2 + whole + 1);
		if (rec.records != 2 + whole)
			ck_assert_uint_le(record_bytes(LINE) - (at - group - LP_WALGROUP_HEAD) % record_bytes(LINE), 16);
		lp_wal_close(&wal);
		/* Readers that look at heads only see the same. */
		ck_assert_int_eq(file_records(dir, 1, false, got, MAX), (int)rec.records);
		for (uint32_t i = 0; i < rec.records; i++)
			ck_assert_uint_eq(got[i], i);
	}
	free(image);
}
END_TEST

/* Whatever is damaged in what a later group says was committed costs itself only: a record, or a group whose head it is. */
START_TEST(test_damage_in_the_middle)
{
	static const struct { uint32_t group, in_group; int lost; } cases[] = {
		{ 1, LP_WALGROUP_HEAD + 20, 1 },        /* position of a group's first record */
		{ 1, LP_WALGROUP_HEAD + 100, 1 },       /* its text */
		{ 1, 20, 3 },                           /* a group's head */
		{ 2, LP_WALGROUP_HEAD + 100, 1 },       /* the last one that a later group speaks of */
		{ 0, 4, 3 },                            /* the very first byte of checksum */
		{ 3, LP_WALGROUP_HEAD + 100, 3 },       /* nobody speaks of it: an append that was not finished */
	};
	struct lp_wal_recovery rec;
	struct lp_wal *wal = open_wal(EPOCH, 0, &rec);
	uint32_t group = LP_WALGROUP_HEAD + 3 * record_bytes(LINE), seen = 0;
	char path[128];

	for (uint32_t i = 0; i < 4; i++) {
		ck_assert_int_eq(append(wal, i * 3, 3), 0);
		commit(wal);
	}
	lp_wal_close(&wal);
	snprintf(path, sizeof path, "%s/00000001.wal", dir);
	int fd = open(path, O_RDWR);
	off_t at = LP_WALFILE_HEAD + (off_t)(cases[_i].group * group + cases[_i].in_group);
	uint8_t byte;

	ck_assert_int_eq(pread(fd, &byte, 1, at), 1);
	byte ^= 0x55;
	ck_assert_int_eq(pwrite(fd, &byte, 1, at), 1);
	close(fd);
	wal = open_wal(EPOCH + 1, 0, &rec);
	ck_assert_uint_eq(rec.records, 12u - (unsigned)cases[_i].lost);
	ck_assert_int_eq(rec.damaged_bytes > 0, cases[_i].group < 3);
	ck_assert_int_eq(rec.torn_bytes > 0, cases[_i].group == 3);
	/* Recovered twice is recovered once, and appends go elsewhere. */
	ck_assert_int_eq(append(wal, 12, 1), 0);
	commit(wal);
	lp_wal_close(&wal);
	wal = open_wal(EPOCH + 2, 0, &rec);
	ck_assert_uint_eq(rec.records, 13u - (unsigned)cases[_i].lost);
	ck_assert_int_eq(rec.damaged_bytes > 0, cases[_i].group < 3);
	lp_wal_close(&wal);
	int n = file_records(dir, 1, true, got, MAX);

	ck_assert_int_eq(n, 12 - cases[_i].lost);
	for (int i = 0; i < n; i++)
		seen |= 1u << got[i];
	ck_assert_int_eq(__builtin_popcount(seen), n);
}
END_TEST

START_TEST(test_missing_and_foreign_files)
{
	static const char text[] = "not a log";
	struct lp_wal_recovery rec;
	struct lp_wal *wal = open_wal(EPOCH, 0, &rec);
	char path[128], aside[136], back[sizeof text];

	for (uint32_t i = 0; i < 3; i++) {
		ck_assert_int_eq(append(wal, i, 1), 0);
		commit(wal);
		ck_assert_int_eq(lp_wal_rotate(wal), 0);
		while (wal->cur.fd < 0 && lp_wal_prepare(wal, true) == -EAGAIN)
			wait_event(wal);
	}
	lp_wal_close(&wal);
	snprintf(path, sizeof path, "%s/00000002.wal", dir);
	ck_assert_int_eq(unlink(path), 0);
	snprintf(path, sizeof path, "%s/00000050.wal", dir);
	int fd = open(path, O_WRONLY | O_CREAT, 0600);

	ck_assert_int_eq(write(fd, text, sizeof text), sizeof text);
	close(fd);
	snprintf(path, sizeof path, "%s/00000060.wal", dir);
	ck_assert_int_eq(mkdir(path, 0700), 0);
	wal = open_wal(EPOCH, 0, &rec);
	ck_assert_uint_eq(rec.records, 2);
	ck_assert_uint_eq(rec.missing_files, 1);
	ck_assert_uint_eq(rec.bad_files, 2);
	lp_wal_close(&wal);
	/* Kept as they are, out of the way. */
	snprintf(aside, sizeof aside, "%s/00000050.wal.bad", dir);
	fd = open(aside, O_RDONLY);
	ck_assert_int_eq(read(fd, back, sizeof back), sizeof text);
	ck_assert_str_eq(back, text);
	close(fd);
	snprintf(aside, sizeof aside, "%s/00000060.wal.bad", dir);
	ck_assert_int_eq(rmdir(aside), 0);
}
END_TEST

/* ---- warm start ---- */

START_TEST(test_warm_start_cuts_at_committed)
{
	struct lp_wal_recovery rec;
	struct lp_wal *wal = open_wal(EPOCH, 0, &rec);
	uint32_t bytes = record_bytes(LINE);

	ck_assert_int_eq(append(wal, 0, 5), 0);
	lp_walpos committed = commit(wal);

	ck_assert_int_eq(append(wal, 5, 5), 0);
	ck_assert_int_eq(lp_wal_rotate(wal), 0);        /* and on into the next file, all of it unannounced */
	ck_assert_int_eq(append(wal, 10, 5), 0);
	lp_wal_close(&wal);
	wal = open_wal(EPOCH, committed, &rec);
	ck_assert_uint_eq(rec.records, 5);
	ck_assert_uint_eq(rec.lanes[0].end_pos, 5 * bytes);
	ck_assert_int_eq(file_records(dir, 1, true, got, MAX), 5);
	ck_assert_int_eq(file_records(dir, 1, false, got, MAX), 5);
	ck_assert_uint_eq(LP_WALPOS_FILE(lp_wal_position(wal)), 2);
	ck_assert_int_eq(append(wal, 5, 10), 0);
	commit(wal);
	lp_wal_close(&wal);
	wal = open_wal(EPOCH, 0, &rec);
	ck_assert_uint_eq(rec.records, 15);
	ck_assert_uint_eq(rec.lanes[0].end_pos, 15 * bytes);
	lp_wal_close(&wal);
}
END_TEST

START_TEST(test_warm_start_keeps_the_announced_empty_file)
{
	struct lp_wal_recovery rec;
	struct lp_wal *wal = open_wal(EPOCH, 0, &rec);
	lp_walpos committed = commit(wal);
	bool empty = false;

	lp_wal_close(&wal);
	wal = open_wal(EPOCH, committed, &rec);
	/* Readers may have mapped file 1: the number is not given to another file. */
	ck_assert_uint_eq(LP_WALPOS_FILE(lp_wal_position(wal)), 2);
	ck_assert_uint_eq(lp_wal_next_to_seal(wal, 0, lp_wal_position(wal), &empty), 1);
	ck_assert(empty);
	lp_wal_close(&wal);
}
END_TEST

/* ---- errors ---- */

static int sync_result;

static int sometimes_datasync(void *arg, int fd) { return sync_result; }

START_TEST(test_abandon_after_a_failed_sync)
{
	struct lp_wal_config config = small_config();
	struct lp_wal_recovery rec;
	struct lp_wal_io io = lp_wal_io_system;
	struct lp_wal *wal;
	lp_walpos pos;

	config.sync = true;
	sync_result = 0;
	io.datasync = sometimes_datasync;
	ck_assert_int_eq(lp_wal_open_io(&config, &io, EPOCH, 0, &wal, &rec), 0);
	wait_event(wal);
	while (lp_wal_prepare(wal, false) == -EAGAIN)
		wait_event(wal);
	ck_assert_int_eq(append(wal, 0, 2), 0);
	lp_walpos committed = commit(wal);

	sync_result = -EIO;
	ck_assert_int_eq(append(wal, 2, 2), 0);
	ck_assert_int_eq(lp_wal_commit(wal, &pos), -EIO);
	sync_result = 0;
	lp_wal_abandon(wal);
	ck_assert_int_eq(file_records(dir, 1, false, got, MAX), 2);
	ck_assert_uint_ge(lp_wal_position(wal), committed);
	ck_assert_int_eq(append(wal, 2, 2), 0);
	ck_assert_uint_eq(LP_WALPOS_FILE(commit(wal)), 2);
	/* Its blocks are not trusted again. */
	ck_assert_int_eq(lp_wal_retire(wal, 1), 0);
	ck_assert_uint_eq(wal->n_spares, 0);
	lp_wal_close(&wal);
}
END_TEST

START_TEST(test_newer_version_changes_nothing)
{
	struct lp_wal_config config = small_config();
	struct lp_wal_recovery rec;
	struct lp_wal *wal = open_wal(EPOCH, 0, &rec);
	struct lp_walfile_head head;
	char path[128];

	ck_assert_int_eq(append(wal, 0, 2), 0);
	commit(wal);
	lp_wal_close(&wal);
	snprintf(path, sizeof path, "%s/00000002.wal", dir);
	lp_walfile_head_make(&head, 2, 64 << 10, 1, 0);
	head.version++;
	head.crc = lp_crc32c(0, &head, offsetof(struct lp_walfile_head, crc));
	int fd = open(path, O_WRONLY | O_CREAT, 0600);

	ck_assert_int_eq(pwrite(fd, &head, sizeof head, 0), sizeof head);
	ck_assert_int_eq(ftruncate(fd, 64 << 10), 0);
	struct stat before, after;

	ck_assert_int_eq(stat(dir, &before), 0);
	ck_assert_int_eq(lp_wal_open(&config, EPOCH, 0, &wal, &rec), -EPROTO);
	ck_assert_ptr_null(wal);
	ck_assert_int_eq(stat(dir, &after), 0);
	ck_assert_int_eq(before.st_mtim.tv_nsec, after.st_mtim.tv_nsec);
	ck_assert_int_eq(before.st_mtim.tv_sec, after.st_mtim.tv_sec);
	close(fd);
}
END_TEST

START_TEST(test_damaged_head_with_data_is_set_aside)
{
	struct lp_wal_recovery rec;
	struct lp_wal *wal = open_wal(EPOCH, 0, &rec);
	char path[128];

	ck_assert_int_eq(append(wal, 0, 2), 0);
	commit(wal);
	lp_wal_close(&wal);
	snprintf(path, sizeof path, "%s/00000001.wal", dir);
	int fd = open(path, O_WRONLY);

	ck_assert_int_eq(pwrite(fd, "x", 1, 20), 1);
	close(fd);
	wal = open_wal(EPOCH, 0, &rec);
	ck_assert_uint_eq(rec.bad_files, 1);
	ck_assert_uint_eq(rec.records, 0);
	lp_wal_close(&wal);
	strcat(path, ".bad");
	ck_assert_int_eq(access(path, R_OK), 0);
}
END_TEST

START_TEST(test_full_disk_and_back)
{
	struct lp_wal_config config = small_config();
	struct lp_wal_recovery rec;
	struct lp_wal *wal;
	uint8_t buf[512] __attribute__((aligned(16)));
	int r;

	config.min_free_bytes = UINT64_MAX / 2;
	ck_assert_int_eq(lp_wal_open(&config, EPOCH, 0, &wal, &rec), 0);
	record_make(buf, EPOCH, 0, 0, 0, LINE);
	ck_assert_int_eq(lp_wal_append(wal, 0, 0, buf, record_bytes(LINE)), -EAGAIN);
	ck_assert_int_eq(lp_wal_prepare(wal, false), -ENOSPC);
	ck_assert_uint_ne(commit(wal), 0);
	ck_assert_uint_eq(lp_wal_room(wal), 0);
	lp_wal_set_min_free(wal, 0);
	ck_assert_int_eq(lp_wal_prepare(wal, true), -ENOSPC);   /* of the last attempt; a new one runs */
	while ((r = lp_wal_prepare(wal, false)) == -EAGAIN)
		wait_event(wal);
	ck_assert_int_eq(r, 0);
	ck_assert_int_eq(append(wal, 0, 1), 0);
	ck_assert_uint_eq(LP_WALPOS_FILE(commit(wal)), 1);
	while (lp_wal_prepare(wal, false) == -EAGAIN)
		wait_event(wal);
	/* Full again: the current and the prepared file still take records, and a sealed one comes back as the next. */
	lp_wal_set_min_free(wal, UINT64_MAX / 2);
	uint32_t next = 1, bytes = record_bytes(LINE);
	bool empty;

	for (; next < 2000; next++) {
		record_make(buf, EPOCH, 0, (uint64_t)next * bytes, next, LINE);
		r = lp_wal_append(wal, 0, (uint64_t)next * bytes, buf, bytes);
		if (r == 0)
			continue;
		ck_assert_int_eq(r, -EAGAIN);
		if (lp_wal_prepare(wal, false) == -ENOSPC)
			break;
		wait_event(wal);
		next--;
	}
	ck_assert_uint_lt(next, 2000);
	ck_assert_uint_eq(lp_wal_room(wal), 0);
	ck_assert_uint_eq(lp_wal_next_to_seal(wal, 0, commit(wal), &empty), 1);
	ck_assert_int_eq(lp_wal_retire(wal, 1), 0);
	(void)lp_wal_prepare(wal, true);
	while ((r = lp_wal_prepare(wal, false)) == -EAGAIN)
		wait_event(wal);
	ck_assert_int_eq(r, 0);
	ck_assert_int_eq(lp_wal_append(wal, 0, (uint64_t)next * bytes, buf, bytes), 0);
	lp_wal_close(&wal);
}
END_TEST

START_TEST(test_numbers_stay_above_the_segments)
{
	struct lp_wal_config config = small_config();
	struct lp_wal_recovery rec;
	struct lp_wal *wal;

	config.least_number = 42;
	ck_assert_int_eq(lp_wal_open(&config, EPOCH, 0, &wal, &rec), 0);
	ck_assert_uint_eq(rec.first_file, 42);
	ck_assert_uint_eq(LP_WALPOS_FILE(lp_wal_position(wal)), 42);
	lp_wal_close(&wal);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("wal");
	TCase *tcase = tcase_create("wal");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_set_timeout(tcase, 120);
	tcase_add_test(tcase, test_append_and_recover);
	tcase_add_test(tcase, test_rotate_and_recycle);
	tcase_add_test(tcase, test_rest_after_a_load);
	tcase_add_test(tcase, test_sealing_waits_for_the_announcement);
	tcase_add_test(tcase, test_record_larger_than_a_file);
	tcase_add_loop_test(tcase, test_torn_tail_at_every_byte, TRUNCATED, STALE + 1);
	tcase_add_loop_test(tcase, test_damage_in_the_middle, 0, 6);
	tcase_add_test(tcase, test_missing_and_foreign_files);
	tcase_add_test(tcase, test_warm_start_cuts_at_committed);
	tcase_add_test(tcase, test_warm_start_keeps_the_announced_empty_file);
	tcase_add_test(tcase, test_abandon_after_a_failed_sync);
	tcase_add_test(tcase, test_newer_version_changes_nothing);
	tcase_add_test(tcase, test_damaged_head_with_data_is_set_aside);
	tcase_add_test(tcase, test_full_disk_and_back);
	tcase_add_test(tcase, test_numbers_stay_above_the_segments);
	suite_add_tcase(suite, tcase);
	SRunner *runner = srunner_create(suite);

	srunner_run_all(runner, CK_NORMAL);
	int failed = srunner_ntests_failed(runner);

	srunner_free(runner);
	return failed ? 1 : 0;
}
