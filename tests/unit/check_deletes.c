/* Delete requests: the list survives, changes are never lost, damage is refused; which entries a request means. */
#include "query/deletes.h"

#include "store/format/labels.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char dir[PATH_MAX];

static void setup(void)
{
	const char *tmp = getenv("TMPDIR");

	snprintf(dir, sizeof dir, "%s/check_deletes.XXXXXX", tmp ? tmp : "/tmp");
	ck_assert_ptr_nonnull(mkdtemp(dir));
}

static void teardown(void)
{
	char command[PATH_MAX + 16];

	snprintf(command, sizeof command, "rm -rf '%s'", dir);
	ck_assert_int_eq(system(command), 0);
}

static uint64_t add(const char *tenant, const char *query, int64_t start, int64_t end, int64_t created, uint32_t file)
{
	struct lp_delete request = { .start_ns = start, .end_ns = end, .created_ns = created, .last_file = file, .tenant = tenant,
				     .tenant_len = (uint32_t)strlen(tenant), .query = query, .query_len = (uint32_t)strlen(query) };
	uint64_t id = 0;

	ck_assert_int_eq(lp_deletes_add(dir, &request, &id), 0);
	ck_assert_uint_ne(id, 0);
	return id;
}

START_TEST(list_and_changes)
{
	struct lp_deletes d;
	uint64_t revision;

	ck_assert_int_eq(lp_deletes_load(dir, &d), 0);
	ck_assert_uint_eq(d.n, 0);
	lp_deletes_free(&d);
	ck_assert_int_eq(lp_deletes_revision(dir, &revision), 0);
	ck_assert_uint_eq(revision, 0);
	uint64_t a = add("", "{a=\"b\"}", 1, 2, 100, 7), b = add("tenant", "{a=\"b\"} |= \"x\"", -5, INT64_MAX, 200, 8);

	ck_assert_int_eq(lp_deletes_load(dir, &d), 0);
	ck_assert_uint_eq(d.n, 2);
	ck_assert(d.v[0].id == a && d.v[1].id == b && d.v[1].start_ns == -5 && d.v[1].last_file == 8 && !d.v[1].processed);
	ck_assert_str_eq(d.v[0].query, "{a=\"b\"}");
	ck_assert_str_eq(d.v[1].tenant, "tenant");
	ck_assert_uint_eq(d.revision, 2);
	lp_deletes_free(&d);
	ck_assert_int_eq(lp_deletes_cancel(dir, b, "", 0, INT64_MIN), -ENOENT);
	ck_assert_int_eq(lp_deletes_cancel(dir, b, "tenant", 6, 201), -ETIME);
	ck_assert_int_eq(lp_deletes_processed(dir, &a, 1), 0);
	ck_assert_int_eq(lp_deletes_cancel(dir, a, "", 0, INT64_MIN), -EALREADY);
	ck_assert_int_eq(lp_deletes_cancel(dir, b, "tenant", 6, 200), 0);
	ck_assert_int_eq(lp_deletes_load(dir, &d), 0);
	ck_assert(d.n == 1 && d.v[0].id == a && d.v[0].processed);
	lp_deletes_free(&d);
	ck_assert_int_eq(lp_deletes_revision(dir, &revision), 0);
	ck_assert_uint_eq(revision, 4);         /* refused changes are none */
}
END_TEST

static void *add_many(void *arg)
{
	for (int i = 0; i < 20; i++)
		(void)add("", arg, 0, 1, i, 1);
	return NULL;
}

START_TEST(none_is_lost)
{
	pthread_t threads[4];
	struct lp_deletes d;

	for (int i = 0; i < 4; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, add_many, (char *)"{a=\"b\"}"), 0);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	ck_assert_int_eq(lp_deletes_load(dir, &d), 0);
	ck_assert_uint_eq(d.n, 80);
	ck_assert_uint_eq(d.revision, 80);
	lp_deletes_free(&d);
}
END_TEST

START_TEST(damage)
{
	char path[PATH_MAX + 16];
	struct lp_tombs *tombs = NULL;

	(void)add("t", "{a=\"b\"}", 1, 2, 3, 4);
	snprintf(path, sizeof path, "%s/deletes", dir);
	int fd = open(path, O_RDWR | O_CLOEXEC);

	for (off_t at = 0;; at++) {
		uint8_t byte, other;

		if (pread(fd, &byte, 1, at) != 1)
			break;
		other = byte ^ 0x10;
		ck_assert_int_eq(pwrite(fd, &other, 1, at), 1);
		ck_assert_int_eq(lp_tombs_load(dir, &tombs), -EBADMSG);
		ck_assert_int_eq(pwrite(fd, &byte, 1, at), 1);
	}
	close(fd);
	ck_assert_int_eq(lp_tombs_load(dir, &tombs), 0);
	ck_assert_uint_eq(tombs->n, 1);
	lp_tombs_free(&tombs);
	ck_assert_int_eq(truncate(path, 30), 0);
	ck_assert_int_eq(lp_tombs_load(dir, &tombs), -EBADMSG);
}
END_TEST

static bool means_stream(const struct lp_tomb *tomb, const char *tenant, const char *app, const char *env)
{
	struct lp_label pairs[] = { { "app", 3, (uint32_t)strlen(app), app }, { "env", 3, (uint32_t)strlen(env), env } };
	struct lp_buf labels = LP_BUF_INIT;

	ck_assert_int_eq(lp_labels_encode(&labels, tenant, strlen(tenant), pairs, 2), 0);
	bool yes = lp_tomb_stream(tomb, labels.data, (uint32_t)labels.len);

	lp_buf_free(&labels);
	return yes;
}

START_TEST(what_a_request_means)
{
	struct lp_tombs *tombs = NULL;
	uint64_t done = add("", "{app=\"done\"}", 0, 9, 1, 1);

	(void)add("t", "{app=\"x\", env!~\"p.*\"} |= \"secret\" != \"not\"", 10, 20, 1, 5);
	(void)add("", "{nothing=\"\", app=~\"y|z\"}", 10, 20, 1, 5);
	ck_assert_int_eq(lp_deletes_processed(dir, &done, 1), 0);
	ck_assert_int_eq(lp_tombs_load(dir, &tombs), 0);
	ck_assert_uint_eq(tombs->n, 2);
	const struct lp_tomb *a = &tombs->v[0], *b = &tombs->v[1];

	ck_assert(means_stream(a, "t", "x", "dev") && !means_stream(a, "", "x", "dev") && !means_stream(a, "t", "x", "prod") &&
		  !means_stream(a, "t", "y", "dev"));
	ck_assert(means_stream(b, "", "y", "prod") && !means_stream(b, "t", "y", "prod") && !means_stream(b, "", "x", "prod"));
	ck_assert(lp_tomb_entry(a, 5, 10, "a secret", 8) && lp_tomb_entry(a, 1, 20, "secret", 6));
	ck_assert(!lp_tomb_entry(a, 6, 10, "a secret", 8) && !lp_tomb_entry(a, 5, 9, "a secret", 8) && !lp_tomb_entry(a, 5, 21, "a secret", 8));
	ck_assert(!lp_tomb_entry(a, 5, 10, "a secre", 7) && !lp_tomb_entry(a, 5, 10, "not secret", 10));
	ck_assert(lp_tomb_entry(b, 5, 10, "", 0) && !lp_tomb_entry(b, 6, 10, "", 0));
	lp_tombs_free(&tombs);
}
END_TEST

START_TEST(queries)
{
	static const char *const good[] = { "{a=\"b\"}", "{a=\"b\"} |= \"x\" |~ \"y+\" != `z`", " {a=~\"b|c\"} " };
	static const char *const bad[] = { "", "x", "{}", "{a=\"b\"", "{a=\"b\"} | json", "{a=\"b\"} |= \"x\" | logfmt", "rate({a=\"b\"}[1m])", "1" };

	for (size_t i = 0; i < sizeof good / sizeof *good; i++)
		ck_assert_int_eq(lp_tomb_parse(good[i], strlen(good[i]), NULL, NULL, &(struct lp_buf){ 0 }), 0);
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		struct lp_buf error = LP_BUF_INIT;

		ck_assert_int_eq(lp_tomb_parse(bad[i], strlen(bad[i]), NULL, NULL, &error), -EINVAL);
		ck_assert_ptr_nonnull(strstr(lp_buf_cstr(&error), "query expression"));
		lp_buf_free(&error);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("deletes");
	TCase *tcase = tcase_create("deletes");
	SRunner *runner;

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_set_timeout(tcase, 300);
	tcase_add_test(tcase, list_and_changes);
	tcase_add_test(tcase, none_is_lost);
	tcase_add_test(tcase, damage);
	tcase_add_test(tcase, what_a_request_means);
	tcase_add_test(tcase, queries);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int failures = srunner_ntests_failed(runner);

	srunner_free(runner);
	return failures ? EXIT_FAILURE : EXIT_SUCCESS;
}
