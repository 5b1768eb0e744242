/* What check_wal.c and check_wal_cut.c share: a directory per test, records, and what a file holds. */
#ifndef LP_TESTS_WAL_TEST_H
#define LP_TESTS_WAL_TEST_H

#include "store/map.h"
#include "store/wal-private.h"
#include "tests/lib/record.h"

#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#define EPOCH 77u
#define LINE 100u

static char dir[64];

static inline void remove_dir(const char *path)
{
	DIR *d = opendir(path);

	if (!d)
		return;
	for (struct dirent *e; (e = readdir(d));)
		if (e->d_name[0] != '.')
			unlinkat(dirfd(d), e->d_name, 0);
	closedir(d);
	rmdir(path);
}

static inline void setup(void)
{
	strcpy(dir, "/tmp/lp-wal-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
}

static inline void teardown(void) { remove_dir(dir); }

static inline struct lp_wal_config small_config(void)
{
	return (struct lp_wal_config){ .dir = dir, .file_min = 64 << 10, .file_max = 256 << 10 };
}

static inline struct lp_wal *open_wal(uint64_t epoch, lp_walpos committed, struct lp_wal_recovery *recovery)
{
	struct lp_wal_config config = small_config();
	struct lp_wal *wal = NULL;

	ck_assert_int_eq(lp_wal_open(&config, epoch, committed, &wal, recovery), 0);
	return wal;
}

/* The helper has something to say. */
static inline void wait_event(struct lp_wal *wal)
{
	struct pollfd fd = { .fd = lp_wal_event_fd(wal), .events = POLLIN };
	uint64_t n;

	ck_assert_int_eq(poll(&fd, 1, 10000), 1);
	ck_assert_int_eq(read(fd.fd, &n, sizeof n), sizeof n);
}

/* Append records first..first+n-1 of lane 0 as one group; the position of record i is i * its size. */
static inline int append(struct lp_wal *wal, uint32_t first, uint32_t n)
{
	uint32_t bytes = record_bytes(LINE);
	uint8_t *buf = aligned_alloc(16, (size_t)n * bytes);
	int r;

	for (uint32_t i = 0; i < n; i++)
		record_make(buf + (size_t)i * bytes, wal->epoch, 0, (uint64_t)(first + i) * bytes, first + i, LINE);
	while ((r = lp_wal_append(wal, 0, (uint64_t)first * bytes, buf, n * bytes)) == -EAGAIN)
		wait_event(wal);
	free(buf);
	return r;
}

static inline lp_walpos commit(struct lp_wal *wal)
{
	lp_walpos committed = 0;

	ck_assert_int_eq(lp_wal_commit(wal, &committed), 0);
	return committed;
}

/* Numbers of the records in a file, in order; returns how many, -1 when the file has no valid head. */
static inline int file_records(const char *in, uint32_t number, bool checked, uint32_t *numbers, int max)
{
	char path[128];
	struct lp_map map;
	struct lp_walwalk walk;
	struct lp_walrec_head head;
	size_t off;
	int n = 0;

	snprintf(path, sizeof path, "%s/%08u.wal", in, number);
	if (lp_map_open(path, &map) < 0)
		return -1;
	if (lp_walwalk_start(&walk, map.p, map.len, checked) < 0) {
		lp_map_close(&map);
		return -1;
	}
	while (lp_walwalk_next(&walk, &off, &head) > 0) {
		ck_assert_int_lt(n, max);
		numbers[n++] = record_number(map.p + off);
	}
	lp_map_close(&map);
	return n;
}

#endif
