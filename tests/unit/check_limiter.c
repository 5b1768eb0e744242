/* Tables of fixed size.  Rate limits: the algorithm, many clients in one table, several processes; addresses and who stands behind a proxy. */
#include "common/bytes.h"
#include "common/net.h"
#include "shm/limiter.h"
#include "shm/pairs.h"
#include "shm/region-private.h"

#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define START_NS UINT64_C(1000000000000)

static struct lp_region *region;

struct limit {
	uint64_t cost_ns, burst;        /* of one, and how many at once */
};

static void setup(void)
{
	const struct lp_region_config config = { .workers = 1, .lane_bytes = 65536 };

	ck_assert_int_eq(lp_region_create(&config, &region), 0);
}

static void teardown(void) { lp_region_close(&region); }

static struct lp_limit_state take(uint64_t key, const struct limit *limit, uint64_t now_ns)
{
	return lp_limiter_take(region, key, limit->cost_ns, limit->cost_ns * limit->burst, now_ns);
}

static unsigned take_all(uint64_t key, const struct limit *limit, uint64_t now_ns)
{
	unsigned n = 0;

	while (take(key, limit, now_ns).allowed)
		n++;
	return n;
}

START_TEST(burst_then_rate)
{
	const struct limit limit = { .cost_ns = 60000000, .burst = 100 };
	struct lp_limit_state state = take(7, &limit, START_NS);

	ck_assert(state.allowed && !state.evicted);
	ck_assert_uint_eq(state.left_ns, 99 * limit.cost_ns);
	ck_assert_uint_eq(state.rest_ns, limit.cost_ns);
	ck_assert_uint_eq(take_all(7, &limit, START_NS), 99);
	state = take(7, &limit, START_NS);
	ck_assert(!state.allowed && state.left_ns == 0);
	ck_assert_uint_eq(state.rest_ns, 100 * limit.cost_ns);
	ck_assert_uint_eq(take_all(7, &limit, START_NS + 59999999), 0);
	ck_assert_uint_eq(take_all(7, &limit, START_NS + 60000000), 1);
	ck_assert_uint_eq(take_all(7, &limit, START_NS + limit.cost_ns * 11), 10);
	/* Rest fills the burst and no more. */
	ck_assert_uint_eq(take_all(7, &limit, START_NS + UINT64_C(3600000000000)), 100);
	ck_assert_uint_eq(take_all(8, &limit, START_NS), 100);
}
END_TEST

START_TEST(amounts_differ)
{
	/* A burst of 100, of which time gives back. */
	ck_assert(lp_limiter_take(region, 1, 60, 100, 1000).allowed);
	ck_assert(!lp_limiter_take(region, 1, 41, 100, 1000).allowed);
	struct lp_limit_state state = lp_limiter_take(region, 1, 40, 100, 1000);

	ck_assert(state.allowed && state.left_ns == 0 && state.rest_ns == 100);
	ck_assert(!lp_limiter_take(region, 1, 1, 100, 1000).allowed);
	ck_assert(lp_limiter_take(region, 1, 0, 100, 1000).allowed);
	ck_assert(lp_limiter_take(region, 1, 30, 100, 1030).allowed);
	ck_assert(!lp_limiter_take(region, 1, 1, 100, 1030).allowed);
	/* More than the burst never passes, and takes nothing. */
	ck_assert(!lp_limiter_take(region, 1, 101, 100, 999999).allowed);
	ck_assert(lp_limiter_take(region, 1, 100, 100, 999999).allowed);
	ck_assert(!lp_limiter_take(region, 3, UINT64_MAX, LP_LIMIT_MAX_NS, INT64_MAX).allowed);
	ck_assert(lp_limiter_take(region, 3, LP_LIMIT_MAX_NS, LP_LIMIT_MAX_NS, INT64_MAX).allowed);
	/* Keys have their own, 0 too. */
	ck_assert(lp_limiter_take(region, 0, 100, 100, 9999999).allowed && lp_limiter_take(region, 2, 100, 100, 1000).allowed);
	ck_assert(!lp_limiter_take(region, 0, 1, 100, 9999999).allowed);
}
END_TEST

START_TEST(lowered_limits_and_stray_words_pass)
{
	const struct limit wide = { .cost_ns = 60000000000, .burst = 1000 }, narrow = { .cost_ns = 1000000, .burst = 5 };
	_Atomic uint64_t *words = lp_region_at(region, region->want.limits_off, 0);

	ck_assert_uint_eq(take_all(9, &wide, START_NS), 1000);
	ck_assert_uint_eq(take_all(9, &narrow, START_NS), 0);
	ck_assert_uint_eq(take_all(9, &narrow, START_NS + 5000000), 5);
	/* All times of the set, its own among them; then all of its keys as well. */
	for (unsigned i = 0; i < 8; i++)
		atomic_store(&words[(9 % 8192) * 16 + 2 * i + 1], UINT64_MAX - i);
	ck_assert_uint_eq(take_all(9, &narrow, START_NS + 20000000), 0);
	ck_assert_uint_eq(take_all(9, &narrow, START_NS + 25000000), 5);
	for (unsigned i = 0; i < 16; i++)
		atomic_store(&words[(9 % 8192) * 16 + i], UINT64_MAX - i);
	ck_assert_uint_eq(take_all(9, &narrow, START_NS + 40000000), 5);
}
END_TEST

/* Nine keys in one set: one at rest goes without a word, a busy one is named. */
START_TEST(full_sets_forget_the_nearest_to_rest)
{
	const struct limit limit = { .cost_ns = 1000000, .burst = 10 };

	for (uint64_t i = 1; i <= 8; i++)
		for (uint64_t n = 0; n < i; n++)
			ck_assert(!take(i << 48 | 5, &limit, START_NS).evicted);
	struct lp_limit_state state = take(UINT64_C(9) << 48 | 5, &limit, START_NS);

	ck_assert(state.allowed && state.evicted && state.left_ns == 9 * limit.cost_ns);
	ck_assert_uint_eq(take_all(UINT64_C(8) << 48 | 5, &limit, START_NS), 2);        /* the busiest is still known */
	ck_assert(!take(UINT64_C(77) << 48 | 5, &limit, START_NS + 100000000).evicted);
}
END_TEST

/* A process died between the two words of a bucket that was at rest: its successor and everybody else take what is theirs. */
START_TEST(half_taken_buckets_are_whole)
{
	const struct limit limit = { .cost_ns = 1000, .burst = 10 };
	_Atomic uint64_t *words = lp_region_at(region, region->want.limits_off, 0);

	ck_assert_uint_eq(take_all(1 << 13 | 5, &limit, START_NS), 10);
	atomic_store(&words[5 * 16], 2 << 13 | 5);
	ck_assert_uint_eq(take_all(2 << 13 | 5, &limit, START_NS + 10000), 10);
	ck_assert_uint_eq(take_all(1 << 13 | 5, &limit, START_NS + 10000), 10);
}
END_TEST

START_TEST(processes_share_a_limit)
{
	const struct limit limit = { .cost_ns = 1000000000, .burst = 3000 };
	unsigned total = 0;
	int ends[2];

	ck_assert_int_eq(pipe(ends), 0);
	for (int i = 0; i < 4; i++) {
		pid_t pid = fork();

		if (pid == 0) {
			unsigned n = take_all(42, &limit, START_NS);

			_exit(write(ends[1], &n, sizeof n) == sizeof n ? 0 : 1);
		}
	}
	for (int i = 0; i < 4; i++) {
		unsigned n;
		int status;

		ck_assert(read(ends[0], &n, sizeof n) == sizeof n);
		total += n;
		wait(&status);
		ck_assert_int_eq(status, 0);
	}
	close(ends[0]);
	close(ends[1]);
	/* Two buckets for one key can be made at the very first moment; then a burst may pass twice. */
	ck_assert_uint_ge(total, 3000);
	ck_assert_uint_le(total, 6000);
	ck_assert_uint_eq(take_all(42, &limit, START_NS), 0);
}
END_TEST

static void *take_many(void *arg)
{
	unsigned *taken = arg;

	for (int i = 0; i < 1000; i++)
		*taken += lp_limiter_take(region, 77, 10, 10000, 5000).allowed;
	return NULL;
}

/* Many at once get what a key that is known has left, and not more. */
START_TEST(threads_share_a_limit)
{
	pthread_t threads[4];
	unsigned taken[4] = { 0 };

	ck_assert(lp_limiter_take(region, 77, 10, 10000, 5000).allowed);
	for (int i = 0; i < 4; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, take_many, &taken[i]), 0);
	for (int i = 0; i < 4; i++)
		ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
	ck_assert_uint_eq(taken[0] + taken[1] + taken[2] + taken[3], 999);
}
END_TEST

static void *churn(void *arg)
{
	const struct limit limit = { .cost_ns = 1000, .burst = 10 };
	uint64_t now = START_NS, *busy = arg;

	for (unsigned i = 0; i < 20000; i++, now += 7) {
		uint64_t key = (uint64_t)(i * 31 % 23 + 1) << 13 | 6;
		struct lp_limit_state state = take(key, &limit, now);

		ck_assert(state.rest_ns <= 10 * limit.cost_ns && state.left_ns <= 10 * limit.cost_ns);
		*busy += !state.allowed;
	}
	return NULL;
}

/* More keys than a set has room for, from all sides: nobody waits longer than its burst takes, and in the end all are at rest. */
START_TEST(threads_fight_for_a_set)
{
	const struct limit limit = { .cost_ns = 1000, .burst = 10 };
	pthread_t threads[4];
	uint64_t busy[4] = { 0 };

	for (int i = 0; i < 4; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, churn, &busy[i]), 0);
	for (int i = 0; i < 4; i++)
		ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
	for (uint64_t key = 1; key <= 8; key++)
		ck_assert_uint_eq(take_all(key << 13 | 6, &limit, START_NS * 2), 10);
}
END_TEST

static struct lp_addr addr(const char *s)
{
	struct lp_addr a;

	ck_assert_msg(lp_addr_parse(s, strlen(s), &a) == 0, "%s", s);
	return a;
}

static struct lp_net net(const char *s)
{
	struct lp_net n;

	ck_assert_msg(lp_net_parse(s, strlen(s), &n) == 0, "%s", s);
	return n;
}

static bool inside(const char *n, const char *a)
{
	struct lp_net it = net(n);
	struct lp_addr of = addr(a);

	return lp_net_contains(&it, &of);
}

START_TEST(networks)
{
	static const char *const bad[] = { "", "/", "1.2.3", "1.2.3.4/33", "1.2.3.4/", "1.2.3.4/x", "::/129", "g::", "1.2.3.4 ", "::1/0001",
					   "host", "1.2.3.4.5", "[::1]" };
	struct lp_net n;
	char text[40];
	struct lp_addr a = addr("192.0.2.77");

	for (size_t i = 0; i < LP_ARRAY_LEN(bad); i++)
		ck_assert_msg(lp_net_parse(bad[i], strlen(bad[i]), &n) == -EINVAL, "%s", bad[i]);
	ck_assert(inside("10.0.0.0/8", "10.255.1.2") && !inside("10.0.0.0/8", "11.0.0.0"));
	ck_assert(inside("192.0.2.64/26", "192.0.2.127") && !inside("192.0.2.64/26", "192.0.2.128"));
	ck_assert(inside("0.0.0.0/0", "8.8.8.8") && !inside("0.0.0.0/0", "2001:db8::1"));
	ck_assert(inside("::/0", "8.8.8.8") && inside("2001:db8::/33", "2001:db8:7fff::1") && !inside("2001:db8::/33", "2001:db8:8000::1"));
	ck_assert(inside("1.2.3.4", "::ffff:1.2.3.4") && !inside("1.2.3.4", "1.2.3.5"));
	ck_assert_str_eq(lp_addr_mask(&a, text), "192.0.x.x");
	a = addr("2001:db8:1:2:3:4:5:6");
	ck_assert_str_eq(lp_addr_mask(&a, text), "2001:db8:x:x");
}
END_TEST

START_TEST(clients_behind_proxies)
{
	static const struct { const char *peer, *forwarded, *real, *want; } cases[] = {
		{ "9.9.9.9", "1.1.1.1", "2.2.2.2", "9.9.9.9" },                         /* a stranger's headers */
		{ "10.0.0.1", NULL, NULL, "10.0.0.1" },
		{ "10.0.0.1", NULL, "2.2.2.2", "2.2.2.2" },
		{ "10.0.0.1", "1.1.1.1", "2.2.2.2", "1.1.1.1" },
		{ "10.0.0.1", "6.6.6.6, 1.1.1.1, 10.0.0.7", NULL, "1.1.1.1" },          /* what stands left is invented */
		{ "10.0.0.1", "10.0.0.3 ,\t10.0.0.2", NULL, "10.0.0.3" },
		{ "10.0.0.1", "1.1.1.1:4711", NULL, "1.1.1.1" },
		{ "10.0.0.1", "[2001:db8::1]:80", NULL, "2001:db8::1" },
		{ "10.0.0.1", "1.1.1.1, nonsense", NULL, "10.0.0.1" },
		{ "10.0.0.1", "unknown", "2.2.2.2", "10.0.0.1" },
		{ "10.0.0.1", ",,,", NULL, "10.0.0.1" },
	};
	struct lp_net trusted[] = { net("10.0.0.0/8"), net("::1") };

	for (size_t i = 0; i < LP_ARRAY_LEN(cases); i++) {
		struct lp_addr peer = addr(cases[i].peer), want = addr(cases[i].want);
		struct lp_addr got = lp_addr_client(trusted, 2, &peer, cases[i].forwarded, cases[i].forwarded ? strlen(cases[i].forwarded) : 0,
						    cases[i].real, cases[i].real ? strlen(cases[i].real) : 0);

		ck_assert_msg(memcmp(&got, &want, sizeof got) == 0, "case %zu", i);
	}
}
END_TEST

static int add(struct lp_pairs *pairs, const char *value, uint32_t max, uint32_t now_s)
{
	return lp_pairs_add(pairs, "k8s_pod", 7, value, strlen(value), max, now_s, 60);
}

static unsigned used(void)
{
	struct lp_pair pair;
	unsigned n = 0;

	for (uint32_t i = 0; i < LP_PAIRS_MAX + 3; i++)
		n += (unsigned)lp_pairs_read(region, 0, i, &pair);
	return n;
}

START_TEST(pairs_are_bounded_and_age)
{
	struct lp_pairs *pairs;
	char value[200];
	struct lp_pair pair;

	ck_assert_int_eq(lp_pairs_open(region, 0, &pairs), 0);
	for (unsigned i = 0; i < 100; i++) {
		snprintf(value, sizeof value, "pod-%u", i % 20);
		ck_assert_int_eq(add(pairs, value, 20, 1000), 0);
	}
	ck_assert_uint_eq(used(), 20);
	ck_assert_uint_eq(lp_pairs_overflow(region, 0), 0);
	ck_assert_int_eq(add(pairs, "one-more", 20, 1000), -ENOBUFS);
	ck_assert_uint_eq(lp_pairs_overflow(region, 0), 1000);
	ck_assert_int_eq(add(pairs, "pod-3", 20, 1050), 0);
	/* All but pod-3 are too old now, and give way one by one. */
	for (unsigned i = 0; i < 19; i++) {
		snprintf(value, sizeof value, "new-%u", i);
		ck_assert_int_eq(add(pairs, value, 20, 1061), 0);
	}
	ck_assert_int_eq(add(pairs, "pod-0", 20, 1061), -ENOBUFS);
	ck_assert_int_eq(add(pairs, "pod-3", 20, 1061), 0);
	ck_assert_uint_eq(used(), 20);
	memset(value, 'x', sizeof value);
	value[129] = 0;
	ck_assert_int_eq(add(pairs, value, 30, 1061), -ENOBUFS);
	value[128] = 0;
	ck_assert_int_eq(add(pairs, value, 30, 1062), 0);       /* within one second a full table is not searched again */
	ck_assert_int_eq(lp_pairs_read(region, 0, 20, &pair), 1);
	ck_assert(pair.name_len == 7 && pair.value_len == 128 && pair.seen_s == 1062 && !memcmp(pair.value, value, 128));
	lp_pairs_close(&pairs);
	/* A worker died in the middle of a change; its successor knows the others and can use the place. */
	struct { _Atomic uint32_t seq; } *third = lp_region_at(region, region->want.pairs_off + 2 * (8 + sizeof pair), 8);

	atomic_fetch_or(&third->seq, 1);
	ck_assert_uint_eq(used(), 20);
	ck_assert_int_eq(lp_pairs_open(region, 0, &pairs), 0);
	ck_assert_int_eq(add(pairs, "pod-3", 21, 1062), 0);
	ck_assert_uint_eq(used(), 20);
	ck_assert_int_eq(add(pairs, "after", 21, 1062), 0);
	ck_assert_uint_eq(used(), 21);
	lp_pairs_close(&pairs);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("limiter");
	TCase *limits = tcase_create("limits"), *net_case = tcase_create("net");

	tcase_add_checked_fixture(limits, setup, teardown);
	tcase_add_test(limits, burst_then_rate);
	tcase_add_test(limits, amounts_differ);
	tcase_add_test(limits, lowered_limits_and_stray_words_pass);
	tcase_add_test(limits, full_sets_forget_the_nearest_to_rest);
	tcase_add_test(limits, half_taken_buckets_are_whole);
	tcase_add_test(limits, processes_share_a_limit);
	tcase_add_test(limits, threads_share_a_limit);
	tcase_add_test(limits, threads_fight_for_a_set);
	tcase_add_test(limits, pairs_are_bounded_and_age);
	suite_add_tcase(suite, limits);
	tcase_add_test(net_case, networks);
	tcase_add_test(net_case, clients_behind_proxies);
	suite_add_tcase(suite, net_case);
	SRunner *runner = srunner_create(suite);

	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);

	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
