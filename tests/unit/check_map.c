/* store/map: pages that go away under a mapping read as zeros; all other faults end the process as always. */
#include "store/map.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGES 8u

static char path[] = "/tmp/check_map.XXXXXX";
static size_t page;

static void setup(void)
{
	strcpy(path, "/tmp/check_map.XXXXXX");
	int fd = mkstemp(path);

	page = (size_t)sysconf(_SC_PAGESIZE);
	ck_assert_int_ge(fd, 0);
	char *bytes = malloc(PAGES * page);

	memset(bytes, 'x', PAGES * page);
	/* The last page is not full. */
	ck_assert_int_eq(write(fd, bytes, PAGES * page - 100), (ssize_t)(PAGES * page - 100));
	free(bytes);
	close(fd);
	ck_assert_int_eq(lp_map_init(), 0);
}

static void teardown(void) { unlink(path); }

static uint8_t peek(const struct lp_map *map, size_t off) { return *(volatile const uint8_t *)(map->p + off); }

START_TEST(open_errors)
{
	struct lp_map map = { 0 };

	ck_assert_int_eq(lp_map_open("/tmp/check_map.none/x", &map), -ENOENT);
	ck_assert_int_eq(lp_map_open("/tmp", &map), -EINVAL);
	ck_assert_int_eq(truncate(path, 0), 0);
	ck_assert_int_eq(lp_map_open(path, &map), -ENODATA);
	ck_assert_ptr_null(map.p);
	lp_map_close(&map);
	lp_map_close(NULL);
}
END_TEST

START_TEST(truncated_pages_read_as_zeros)
{
	struct lp_map map = { 0 };

	ck_assert_int_eq(lp_map_open(path, &map), 0);
	ck_assert_uint_eq(map.len, PAGES * page - 100);
	ck_assert_uint_eq(peek(&map, map.len - 1), 'x');
	ck_assert_int_eq(truncate(path, (off_t)(2 * page)), 0);
	ck_assert_uint_eq(peek(&map, 2 * page - 1), 'x');
	ck_assert_uint_eq(lp_map_faults(), 0);
	ck_assert_uint_eq(peek(&map, 2 * page), 0);
	ck_assert_uint_eq(peek(&map, 3 * page - 1), 0);
	ck_assert_uint_eq(lp_map_faults(), 1);
	ck_assert_uint_eq(peek(&map, 5 * page), 0);
	ck_assert_uint_eq(lp_map_faults(), 2);
	/* A wide load behind the last byte belongs to the last page. */
	ck_assert_uint_eq(peek(&map, map.len + 50), 0);
	ck_assert_uint_eq(peek(&map, map.len - 1), 0);
	ck_assert_uint_eq(lp_map_faults(), 3);
	lp_map_close(&map);
	ck_assert_ptr_null(map.p);
	lp_map_close(&map);
}
END_TEST

/* Run the function in a child; the signal that ended it, or 0. */
static int signal_of(void (*function)(void))
{
	int status = 0;
	pid_t pid = fork();

	if (pid == 0) {
		function();
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

static void fault_outside(void)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	const uint8_t *p = mmap(NULL, PAGES * page, PROT_READ, MAP_SHARED, fd, 0);

	if (p == MAP_FAILED || ftruncate(fd, 0) < 0)
		_exit(9);
	_exit(*(volatile const uint8_t *)(p + page));
}

static void fault_after_close(void)
{
	struct lp_map map = { 0 };

	if (lp_map_open(path, &map) < 0)
		_exit(9);
	const uint8_t *p = map.p;
	size_t len = map.len;
	int fd = open(path, O_RDWR | O_CLOEXEC);

	lp_map_close(&map);
	/* The same address, now somebody else's. */
	if (mmap((void *)p, len, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED || ftruncate(fd, 0) < 0)
		_exit(9);
	_exit(*(volatile const uint8_t *)p);
}

static void sent_by_somebody(void) { raise(SIGBUS); }

START_TEST(other_faults_kill)
{
	ck_assert_int_eq(signal_of(fault_outside), SIGBUS);
	teardown();
	setup();
	ck_assert_int_eq(signal_of(fault_after_close), SIGBUS);
	ck_assert_int_eq(signal_of(sent_by_somebody), SIGBUS);
}
END_TEST

/* More maps than one block of the table holds, and slots used again. */
START_TEST(many_maps)
{
	enum { N = 700 };
	static struct lp_map maps[N];

	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < N; i++)
			ck_assert_int_eq(lp_map_open(path, &maps[i]), 0);
		for (int i = 0; i < N; i += 2)
			lp_map_close(&maps[i]);
		for (int i = 0; i < N; i += 2)
			ck_assert_int_eq(lp_map_open(path, &maps[i]), 0);
		if (round == 1)
			ck_assert_int_eq(truncate(path, 0), 0);
		for (int i = 0; i < N; i++)
			ck_assert_uint_eq(peek(&maps[i], page + (size_t)i), round == 1 ? 0 : 'x');
		for (int i = 0; i < N; i++)
			lp_map_close(&maps[i]);
	}
	ck_assert_uint_eq(lp_map_faults(), N);
}
END_TEST

static void *open_and_close(void *arg)
{
	uint64_t *ret_wrong = arg;

	for (int i = 0; i < 2000; i++) {
		struct lp_map map = { 0 };

		if (lp_map_open(path, &map) < 0) {
			(*ret_wrong)++;
			continue;
		}
		*ret_wrong += peek(&map, (size_t)(i % 8) * page) != (i % 8 ? 0 : 'x');
		lp_map_close(&map);
	}
	return NULL;
}

START_TEST(threads_open_and_close)
{
	pthread_t threads[3];
	uint64_t wrong[3] = { 0 };

	/* Page 0 holds text, the rest is a hole: each thread finds its own bytes while the others come and go. */
	ck_assert_int_eq(truncate(path, (off_t)page), 0);
	ck_assert_int_eq(truncate(path, (off_t)(PAGES * page)), 0);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, open_and_close, &wrong[i]), 0);
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	for (int i = 0; i < 3; i++)
		ck_assert_uint_eq(wrong[i], 0);
}
END_TEST

static atomic_bool churn_on;

static void *churn(void *arg)
{
	while (atomic_load(&churn_on)) {
		struct lp_map map = { 0 };

		if (lp_map_open((const char *)arg, &map) == 0)
			lp_map_close(&map);
	}
	return NULL;
}

/* Faults are taken while other threads change the table. */
START_TEST(faults_while_the_table_changes)
{
	pthread_t thread;
	char other[] = "/tmp/check_map.XXXXXX";
	int fd = mkstemp(other);

	ck_assert_int_eq(write(fd, "abc", 3), 3);
	atomic_store(&churn_on, true);
	ck_assert_int_eq(pthread_create(&thread, NULL, churn, other), 0);
	for (unsigned i = 0; i < 1000; i++) {
		struct lp_map map = { 0 };

		ck_assert_int_eq(truncate(path, (off_t)(2 * page)), 0);
		ck_assert_int_eq(lp_map_open(path, &map), 0);
		ck_assert_int_eq(truncate(path, (off_t)page), 0);
		ck_assert_uint_eq(peek(&map, page), 0);
		ck_assert_uint_eq(lp_map_faults(), i + 1);
		lp_map_close(&map);
	}
	atomic_store(&churn_on, false);
	pthread_join(thread, NULL);
	close(fd);
	unlink(other);
}
END_TEST

/* Small files that do not change any more cost no map: there may be as many as there are days. */
START_TEST(sealed_files)
{
	static const size_t sizes[] = { 1, 63, 64, LP_MAP_COPY_BYTES, LP_MAP_COPY_BYTES + 1, 100000 };
	int fd = open(path, O_RDWR);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ftruncate(fd, 0), 0);
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		struct lp_map map = { 0 };
		uint8_t *bytes = malloc(sizes[i]);

		for (size_t k = 0; k < sizes[i]; k++)
			bytes[k] = (uint8_t)(k * 7 + i);
		ck_assert_int_eq(pwrite(fd, bytes, sizes[i], 0), (ssize_t)sizes[i]);
		ck_assert_int_eq(lp_map_open_sealed(path, &map), 0);
		ck_assert_uint_eq(map.len, sizes[i]);
		ck_assert_int_eq(memcmp(map.p, bytes, sizes[i]), 0);
		ck_assert_int_eq(map.copied, sizes[i] <= LP_MAP_COPY_BYTES);
		ck_assert_uint_eq((uintptr_t)map.p % 64, 0);
		lp_map_close(&map);
		ck_assert_ptr_null(map.p);
		free(bytes);
	}
	ck_assert_int_eq(ftruncate(fd, 0), 0);
	struct lp_map map;

	ck_assert_int_eq(lp_map_open_sealed(path, &map), -ENODATA);
	ck_assert_int_eq(lp_map_open_sealed("/tmp", &map), -EINVAL);
	close(fd);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("map");
	TCase *tcase = tcase_create("map");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_set_timeout(tcase, 60);
	tcase_add_test(tcase, open_errors);
	tcase_add_test(tcase, truncated_pages_read_as_zeros);
	tcase_add_test(tcase, other_faults_kill);
	tcase_add_test(tcase, many_maps);
	tcase_add_test(tcase, sealed_files);
	tcase_add_test(tcase, threads_open_and_close);
	tcase_add_test(tcase, faults_while_the_table_changes);
	suite_add_tcase(suite, tcase);
	SRunner *runner = srunner_create(suite);

	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);

	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
