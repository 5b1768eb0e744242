/* The writer process, killed at every named point: a child that plays the worker pushes numbered records, a child runs
 * lp_writer_main(), this process plays the master.  Every record must be stored exactly once.
 * Sealing is replaced by a list of the numbers in the file, so that the test needs the log and the writer, no more. */
#include "common/clock.h"
#include "common/fault.h"
#include "common/log.h"
#include "shm/region-private.h"
#include "query/deletes.h"
#include "store/compact.h"
#include "store/map.h"
#include "store/seal.h"
#include "tests/lib/record.h"
#include "writer/writer-private.h"

#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define RECORDS 3000u
#define LINE 150u

/* ---- what the writer calls and this test does not need ---- */

int lp_proc_reload(struct lp_proc *proc) { return 0; }
int lp_seal_cleanup(const char *segments_dir) { return 0; }
int lp_segment_open(const char *segments_dir, const struct lp_segment_name *name, struct lp_segment **ret) { return -ENOENT; }
void lp_segment_close(struct lp_segment **segment) { }
const struct lp_segment_info *lp_segment_info(const struct lp_segment *segment) { abort(); }

/* Compaction finds nothing to do. */
int lp_segment_name_format(const struct lp_segment_name *name, const char *suffix, char *out, size_t out_len) { abort(); }
int lp_segment_verify(const char *segments_dir, const struct lp_segment_name *name, struct lp_buf *report) { abort(); }
bool lp_compact_pick(const struct lp_compact_policy *policy, const struct lp_compact_candidate *candidates, size_t n, size_t *ret_first,
		     uint32_t *ret_n) { return false; }
int lp_compact_merge(const struct lp_seal_config *config, const struct lp_compact_ops *ops, const struct lp_segment_name *names, uint32_t n,
		     struct lp_compact_result *ret_result) { abort(); }
int lp_compact_unlink(const char *segments_dir, const struct lp_segment_name *names, uint32_t n, bool sync) { abort(); }

int lp_compact_any(const char *segments_dir, const struct lp_compact_ops *ops, const struct lp_segment_name *name) { abort(); }
bool lp_tomb_stream(const struct lp_tomb *tomb, const uint8_t *labels, uint32_t len) { abort(); }
bool lp_tomb_entry(const struct lp_tomb *tomb, uint32_t file, int64_t ts, const char *line, uint32_t len) { abort(); }

int lp_tombs_load(const char *data_dir, struct lp_tombs **ret_tombs)
{
	*ret_tombs = calloc(1, sizeof **ret_tombs);
	return 0;
}

void lp_tombs_free(struct lp_tombs **tombs)
{
	free(*tombs);
	*tombs = NULL;
}

int lp_retain(const char *segments_dir, int64_t oldest_ns, uint32_t *ret_deleted)
{
	*ret_deleted = 0;
	return 0;
}

int lp_segment_list(const char *segments_dir, struct lp_segment_name **ret_names, size_t *ret_n)
{
	*ret_names = NULL;
	*ret_n = 0;
	return 0;
}

static void collect(const char *path, uint32_t *counts, int out_fd)
{
	struct lp_map map;
	struct lp_walwalk walk;
	struct lp_walrec_head head;
	size_t off;

	if (lp_map_open(path, &map) < 0)
		return;
	if (lp_walwalk_start(&walk, map.p, map.len, true) == 0)
		while (lp_walwalk_next(&walk, &off, &head) > 0) {
			uint32_t number = record_number(map.p + off);

			if (counts && number < RECORDS)
				counts[number]++;
			if (out_fd >= 0 && write(out_fd, &number, sizeof number) != sizeof number)
				abort();
		}
	lp_map_close(&map);
}

int lp_seal_wal(const struct lp_seal_config *config, const char *wal_path, uint32_t number, struct lp_seal_result *ret_result)
{
	char path[4400], tmp[4400];

	snprintf(tmp, sizeof tmp, "%s/%u.tmp", config->segments_dir, number);
	snprintf(path, sizeof path, "%s/%u.list", config->segments_dir, number);
	int fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	if (fd < 0)
		return -errno;
	collect(wal_path, NULL, fd);
	close(fd);
	return rename(tmp, path) < 0 ? -errno : 0;
}

/* ---- the processes ---- */

static char dir[64];
static struct lp_region *region;
static struct lp_conf conf;

static void remove_tree(const char *path)
{
	DIR *d = opendir(path);

	if (!d)
		return;
	for (struct dirent *e; (e = readdir(d));) {
		char sub[512];

		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			continue;
		snprintf(sub, sizeof sub, "%s/%s", path, e->d_name);
		if (unlink(sub) < 0)
			remove_tree(sub);
	}
	closedir(d);
	rmdir(path);
}

static void setup(void)
{
	struct lp_region_config config = { .workers = 1, .lane_bytes = 64 << 10 };

	strcpy(dir, "/tmp/lp-writer-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	ck_assert_int_eq(lp_region_create(&config, &region), 0);
	memset(&conf, 0, sizeof conf);
	conf.storage.wal_file_min = conf.storage.wal_file_max = 64 << 10;
	conf.storage.wal_max_age = 3600000;
	conf.storage.chunk_size_bytes = 1 << 20;
	conf.compactor.compaction_interval = 600000;
	conf.compactor.compression_level = 9;
	conf.shutdown.ingestor_timeout_seconds = 10;
}

static void teardown(void)
{
	lp_region_close(&region);
	remove_tree(dir);
}

static pid_t start_child(void)
{
	pid_t pid = fork();

	ck_assert_int_ge(pid, 0);
	if (pid == 0)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	return pid;
}

static pid_t start_writer(const char *fault)
{
	pid_t pid = start_child();

	if (pid > 0) {
		atomic_store(&lp_slot(region, LP_SLOT_WRITER)->pid, (uint32_t)pid);
		return pid;
	}
	struct lp_proc proc = { .conf = &conf, .region = region, .slot = LP_SLOT_WRITER, .listen_fd = -1 };
	sigset_t set;

	if (fault)
		setenv("LOGPULSE_FAULT", fault, 1);
	else
		unsetenv("LOGPULSE_FAULT");
	lp_log_setup("writer", LP_FATAL, LP_LOG_LOGFMT, NULL);
	strcpy(proc.data_dir, dir);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	proc.signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	_exit(lp_writer_main(&proc));
}

/* Push records [from, to) and wait until the writer has let go of all of them. */
static void push(uint32_t from, uint32_t to)
{
	uint64_t epoch = lp_region_epoch(region);
	struct pollfd bell = { .fd = lp_region_worker_bell(region, 0), .events = POLLIN };
	struct lp_lane *lane;
	uint64_t n;

	if (lp_lane_open(region, 0, &lane) < 0)
		_exit(2);
	for (uint32_t i = from; i < to;) {
		uint64_t pos, tail = lp_lane_wait_tail(lane);
		void *buf;

		if (lp_lane_reserve(lane, record_bytes(LINE), &buf, &pos) == 0) {
			record_make(buf, epoch, 0, pos, i++, LINE);
			lp_lane_commit(lane, record_bytes(LINE));
		} else if (lp_lane_wait_tail(lane) == tail && poll(&bell, 1, 30000) == 1) {
			(void)!read(bell.fd, &n, sizeof n);
		}
	}
	while (lp_lane_wait_tail(lane) != lp_lane_head(lane)) {
		if (poll(&bell, 1, 30000) != 1)
			_exit(3);
		(void)!read(bell.fd, &n, sizeof n);
	}
	lp_lane_close(&lane);
}

static pid_t start_worker(uint32_t from, uint32_t to)
{
	pid_t pid = start_child();

	if (pid > 0)
		return pid;
	push(from, to);
	_exit(0);
}

/* Be the master: restart the writer, without the fault, until the worker is done; then stop it.  Returns restarts. */
static int supervise(pid_t writer, pid_t worker)
{
	int restarts = 0, status;

	while (worker) {
		pid_t pid = waitpid(-1, &status, 0);

		ck_assert_int_gt(pid, 0);
		if (pid == worker) {
			ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "worker status %d", status);
			worker = 0;
		} else {
			ck_assert_int_eq(pid, writer);
			ck_assert_msg(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "writer status %d", status);
			ck_assert_int_lt(restarts, 5);
			restarts++;
			lp_slot_clear(region, LP_SLOT_WRITER);
			writer = start_writer(NULL);
		}
	}
	kill(writer, SIGTERM);
	ck_assert_int_eq(waitpid(writer, &status, 0), writer);
	/* The point may lie on the way out. */
	if (WIFSIGNALED(status)) {
		restarts++;
		writer = start_writer(NULL);
		kill(writer, SIGTERM);
		ck_assert_int_eq(waitpid(writer, &status, 0), writer);
	}
	ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "writer status %d", status);
	return restarts;
}

/* Every number once: from the lists, and from the WAL files that no list replaces. */
static void check_stored(uint32_t from, uint32_t to, uint32_t *ret_lists)
{
	static uint32_t counts[RECORDS];
	char path[512];

	memset(counts, 0, sizeof counts);
	*ret_lists = 0;
	for (uint32_t file = 1; file < 1000; file++) {
		uint32_t number;

		snprintf(path, sizeof path, "%s/segments/%u.list", dir, file);
		int fd = open(path, O_RDONLY);

		if (fd >= 0) {
			while (read(fd, &number, sizeof number) == sizeof number)
				counts[number]++;
			close(fd);
			++*ret_lists;
			continue;
		}
		snprintf(path, sizeof path, "%s/wal/%08u.wal", dir, file);
		collect(path, counts, -1);
	}
	for (uint32_t i = 0; i < RECORDS; i++)
		ck_assert_msg(counts[i] == (i >= from && i < to), "record %u stands %u times", i, counts[i]);
}

/* ---- tests ---- */

/* A lane holds a fifteenth of the records, so each point of a round is passed at least fifteen times. */
static const char *const points[] = {
	"writer-append:1", "writer-append:12", "writer-appended:1", "writer-appended:11", "writer-synced:1", "writer-synced:12",
	"writer-announced:1", "writer-announced:9", "writer-released:1", "writer-released:10", "wal-rotate:1", "wal-rotate:4",
	"wal-recycle:1", "wal-recycle:2", "wal-recycle:5", "lane-released:3",
};

START_TEST(test_killed_at_a_point)
{
	uint32_t lists;

	conf.storage.durability = _i % 2 ? LP_DURABILITY_PROCESS : LP_DURABILITY_SYNC;
	pid_t writer = start_writer(points[_i]);
	int restarts = supervise(writer, start_worker(0, RECORDS));

	ck_assert_msg(restarts > 0, "%s was never reached", points[_i]);
	check_stored(0, RECORDS, &lists);
}
END_TEST

START_TEST(test_flush)
{
	struct lp_state_shm *state = lp_region_state(region);
	pid_t writer = start_writer(NULL), worker = start_worker(0, 100);
	uint32_t lists;
	int status;

	ck_assert_int_eq(waitpid(worker, &status, 0), worker);
	uint32_t ticket = atomic_fetch_add(&state->flush_requested, 1) + 1;
	int64_t give_up = lp_clock_mono_ms() + 10000;

	lp_gate_ring(region);
	while ((int32_t)(atomic_load(&state->flush_done) - ticket) < 0 && lp_clock_mono_ms() < give_up)
		poll(NULL, 0, 1);
	ck_assert_uint_eq(atomic_load(&state->flush_done), ticket);
	ck_assert_uint_eq(atomic_load(&state->wal_first), 2);
	ck_assert(atomic_load(&state->flags) & LP_STATE_READY);
	check_stored(0, 100, &lists);
	ck_assert_uint_eq(lists, 1);
	kill(writer, SIGTERM);
	ck_assert_int_eq(waitpid(writer, &status, 0), writer);
	ck_assert_int_eq(status, 0);
	ck_assert_uint_eq(lp_stat_get(region, LP_SLOT_WRITER, LP_STAT_SEALED_FILES), 1);
}
END_TEST

/* A worker gone mad: it dies, its garbage is not stored, and the next worker goes on. */
START_TEST(test_invalid_record)
{
	pid_t writer = start_writer(NULL), worker = start_child();
	int status;

	if (worker == 0) {
		struct lp_lane *lane;
		uint64_t pos;
		void *buf;

		while (atomic_load(&lp_slot(region, LP_SLOT_WORKER(0))->pid) != (uint32_t)getpid())
			poll(NULL, 0, 1);
		push(0, 50);
		if (lp_lane_open(region, 0, &lane) < 0 || lp_lane_reserve(lane, record_bytes(LINE), &buf, &pos) < 0)
			_exit(2);
		record_make(buf, lp_region_epoch(region), 0, pos, 50, LINE);
		((uint8_t *)buf)[170] ^= 1;
		lp_lane_commit(lane, record_bytes(LINE));
		for (;;)
			pause();
	}
	atomic_store(&lp_slot(region, LP_SLOT_WORKER(0))->pid, (uint32_t)worker);
	ck_assert_int_eq(waitpid(worker, &status, 0), worker);
	ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	lp_slot_clear(region, LP_SLOT_WORKER(0));
	ck_assert_int_eq(supervise(writer, start_worker(51, 100)), 0);
	static uint32_t counts[RECORDS];
	char path[512];

	memset(counts, 0, sizeof counts);
	snprintf(path, sizeof path, "%s/wal/00000001.wal", dir);
	collect(path, counts, -1);
	for (uint32_t i = 0; i < 100; i++)
		ck_assert_uint_eq(counts[i], i != 50);
}
END_TEST

/* A stray write into a lane's ends: the writer cannot know what is a record any more. */
START_TEST(test_contradicting_ends)
{
	struct lp_lane_shm *shm = lp_region_at(region, region->want.lanes_off, 0);
	pid_t writer = start_writer(NULL), worker = start_worker(0, 20);
	uint32_t lists;
	int status;

	ck_assert_int_eq(waitpid(worker, &status, 0), worker);
	atomic_fetch_sub(&shm->head, 4096);
	lp_gate_ring(region);
	ck_assert_int_eq(waitpid(writer, &status, 0), writer);
	ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == LP_EXIT_REGION, "writer status %d", status);
	writer = start_writer(NULL);
	ck_assert_int_eq(waitpid(writer, &status, 0), writer);
	ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == LP_EXIT_REGION, "next writer status %d", status);
	check_stored(0, 20, &lists);
}
END_TEST

START_TEST(test_full_disk_sets_and_clears_the_state)
{
	struct lp_state_shm *state = lp_region_state(region);
	uint32_t lists;
	int status;

	conf.storage.min_free_bytes = INT64_MAX / 2;
	pid_t writer = start_writer(NULL);
	int64_t give_up = lp_clock_mono_ms() + 10000;

	/* The flag comes first, for pushes must be refused at once; the gauge that reports it follows. */
	while (!lp_stat_get(region, LP_SLOT_WRITER, LP_STAT_STATE_READ_ONLY) && lp_clock_mono_ms() < give_up)
		poll(NULL, 0, 1);
	ck_assert(atomic_load(&state->flags) & LP_STATE_DISK_FULL);
	ck_assert_uint_eq(lp_stat_get(region, LP_SLOT_WRITER, LP_STAT_STATE_READ_ONLY), 1);
	kill(writer, SIGKILL);
	ck_assert_int_eq(waitpid(writer, &status, 0), writer);
	conf.storage.min_free_bytes = 0;
	writer = start_writer(NULL);
	while ((atomic_load(&state->flags) & LP_STATE_DISK_FULL) && lp_clock_mono_ms() < give_up)
		poll(NULL, 0, 1);
	ck_assert(!(atomic_load(&state->flags) & LP_STATE_DISK_FULL));
	ck_assert_int_eq(supervise(writer, start_worker(0, 10)), 0);
	check_stored(0, 10, &lists);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("writer");
	TCase *tcase = tcase_create("writer");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_set_timeout(tcase, 60);
	tcase_add_loop_test(tcase, test_killed_at_a_point, 0, (int)LP_ARRAY_LEN(points));
	tcase_add_test(tcase, test_flush);
	tcase_add_test(tcase, test_invalid_record);
	tcase_add_test(tcase, test_contradicting_ends);
	tcase_add_test(tcase, test_full_disk_sets_and_clears_the_state);
	suite_add_tcase(suite, tcase);
	SRunner *runner = srunner_create(suite);

	srunner_run_all(runner, CK_NORMAL);
	int failed = srunner_ntests_failed(runner);

	srunner_free(runner);
	return failed ? 1 : 0;
}
