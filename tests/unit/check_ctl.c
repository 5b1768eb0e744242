/* logpulsectl as a person runs it, on data directories made here: what verify calls a fault and what only information, what
 * dump prints, exit codes.  The program is $LP_BUILDDIR/logpulsectl. */
#include "common/buf.h"
#include "store/seal.h"
#include "tests/unit/wal_test.h"

#include <sys/wait.h>

static char data[64], segments[80];

/* A data directory with an empty wal/ (wal_test.h writes there) and segments/. */
static void setup_data(void)
{
	strcpy(data, "/tmp/lp-ctl-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(data));
	snprintf(dir, sizeof dir, "%.50s/wal", data);
	snprintf(segments, sizeof segments, "%s/segments", data);
	ck_assert_int_eq(mkdir(dir, 0700), 0);
	ck_assert_int_eq(mkdir(segments, 0700), 0);
}

static void teardown_data(void)
{
	char command[128];

	snprintf(command, sizeof command, "rm -rf '%s'", data);
	ck_assert_int_eq(system(command), 0);
}

/* Run "logpulsectl ARGS" with DATA in place of %s; the exit code, and stdout and stderr in out. */
static int ctl(const char *args, struct lp_buf *out)
{
	const char *builddir = getenv("LP_BUILDDIR");
	char with_data[256], command[512], part[4096];
	size_t n;

	snprintf(with_data, sizeof with_data, args, data, data);
	snprintf(command, sizeof command, "'%s/logpulsectl' %s 2>&1", builddir ? builddir : ".", with_data);
	FILE *p = popen(command, "r");

	ck_assert_ptr_nonnull(p);
	lp_buf_reset(out);
	while ((n = fread(part, 1, sizeof part, p)) > 0)
		lp_buf_append(out, part, n);
	int status = pclose(p);

	ck_assert(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void expect(const char *args, int code, const char *text)
{
	struct lp_buf out = LP_BUF_INIT;
	int got = ctl(args, &out);

	ck_assert_msg(got == code, "%s exits with %d, not %d:\n%s", args, got, code, lp_buf_cstr(&out));
	ck_assert_msg(strstr(lp_buf_cstr(&out), text) != NULL, "%s does not say \"%s\" but:\n%s", args, text, lp_buf_cstr(&out));
	lp_buf_free(&out);
}

/* Records 0..29 in three WAL files, ten in each, one group of five, then groups of one. */
static lp_walpos three_files(void)
{
	struct lp_wal_recovery rec;
	struct lp_wal *wal = open_wal(EPOCH, 0, &rec);
	lp_walpos end = 0;

	for (uint32_t i = 0; i < 30; i += i % 10 ? 1 : 5) {
		ck_assert_int_eq(append(wal, i, i % 10 ? 1 : 5), 0);
		end = commit(wal);
		if (i % 10 == 9 && i < 29)
			ck_assert_int_eq(lp_wal_rotate(wal), 0);
	}
	lp_wal_close(&wal);
	return end;
}

#define GROUP(n) (LP_WALGROUP_HEAD + (n) * record_bytes(LINE))
#define LAST_GROUP (LP_WALFILE_HEAD + GROUP(5) + 4 * GROUP(1))
#define FILE_END (LP_WALFILE_HEAD + GROUP(5) + 5 * GROUP(1))

static void flip(const char *path, off_t off)
{
	uint8_t byte;
	int fd = open(path, O_RDWR);

	ck_assert_msg(fd >= 0, "%s", path);
	ck_assert_int_eq(pread(fd, &byte, 1, off), 1);
	byte ^= 0x10;
	ck_assert_int_eq(pwrite(fd, &byte, 1, off), 1);
	close(fd);
}

static void flip_wal(uint32_t number, off_t off)
{
	char path[128];

	snprintf(path, sizeof path, "%s/%08u.wal", dir, number);
	flip(path, off);
}

static void seal(uint32_t number)
{
	struct lp_seal_config config = { .segments_dir = segments, .block_bytes = 1 << 20, .compress = true, .oldest_ns = INT64_MIN };
	struct lp_seal_result result;
	char path[128];

	snprintf(path, sizeof path, "%s/%08u.wal", dir, number);
	ck_assert_int_eq(lp_seal_wal(&config, path, number, &result), 0);
	ck_assert_uint_eq(result.segments, 1);
}

START_TEST(test_sound)
{
	ck_assert_uint_eq(three_files(), LP_WALPOS(3, FILE_END));
	seal(1);
	expect("verify %s", 0, "wal_records=30 wal_entries=30 faults=0");
	expect("verify %s", 0, "segments=1 segment_entries=10 ");
	expect("blocks %s", 0, "streams=1 blocks=1 runs=1 entries=10");
}
END_TEST

/* In the newest file that is what a kill leaves, in an older one it is damage. */
START_TEST(test_torn_tail)
{
	three_files();
	flip_wal(3, LAST_GROUP + LP_WALGROUP_HEAD + 170);
	expect("verify %s", 0, "information: an append that was not finished");
	expect("verify %s", 0, "wal_entries=29 faults=0");
	flip_wal(2, LAST_GROUP + LP_WALGROUP_HEAD + 170);
	expect("verify %s", 1, "00000002.wal: offset");
	expect("verify %s", 1, "a damaged record, and the log goes on in a later file");
	expect("verify %s", 1, "wal_entries=28 faults=1");
}
END_TEST

/* Any byte of the last group's head in an older file: magic, checksum, salt, epoch, position, length, lane, sequence. */
START_TEST(test_damaged_group_head_in_an_older_file)
{
	three_files();
	flip_wal(1, LAST_GROUP + _i);
	expect("verify %s", 1, "00000001.wal: offset");
	expect("verify %s", 1, "wal_entries=29 faults=1");
}
END_TEST

START_TEST(test_damage_before_a_committed_group)
{
	three_files();
	flip_wal(3, LP_WALFILE_HEAD + LP_WALGROUP_HEAD + 170);
	expect("verify %s", 1, "a damaged record, and a later one says that it was committed");
	flip_wal(1, 30);
	expect("verify %s", 1, "00000001.wal: header is damaged");
	expect("verify %s", 1, "wal_entries=19 faults=2");     /* file 2, and all but one record of file 3 */
}
END_TEST

/* A file whose last append failed was cut with zeros; the log went on behind it. */
START_TEST(test_abandoned_end_is_no_fault)
{
	struct lp_wal_recovery rec;
	struct lp_wal *wal = open_wal(EPOCH, 0, &rec);

	ck_assert_int_eq(append(wal, 0, 3), 0);
	commit(wal);
	ck_assert_int_eq(append(wal, 3, 3), 0);
	lp_wal_abandon(wal);
	ck_assert_int_eq(append(wal, 3, 3), 0);
	commit(wal);
	lp_wal_close(&wal);
	expect("verify %s", 0, "wal_entries=6 faults=0");
}
END_TEST

/* The same after a writer that died in the middle of an append: the next one cut it before it went on. */
START_TEST(test_recovered_end_is_no_fault)
{
	struct lp_wal_recovery rec;

	three_files();
	flip_wal(3, LAST_GROUP + LP_WALGROUP_HEAD + 170);
	struct lp_wal *wal = open_wal(EPOCH + 1, 0, &rec);

	ck_assert_uint_eq(rec.records, 29);
	ck_assert_int_eq(append(wal, 30, 2), 0);
	commit(wal);
	lp_wal_close(&wal);
	expect("verify %s", 0, "wal_entries=31 faults=0");
}
END_TEST

START_TEST(test_damaged_segment)
{
	static const char *const suffixes[] = { "index", "chunks" };
	char path[128];

	three_files();
	seal(1);
	snprintf(path, sizeof path, "%s/1970-01-01/00000001-00000001-0.%s", segments, suffixes[_i]);
	flip(path, 150);
	expect("verify %s", 1, "1970-01-01/00000001-00000001-0: ");
	expect("verify %s", 1, "faults=1");
	/* The WAL file has it all still; what is unreadable is named. */
	expect("dump %s --format count", 1, "30 {job=\"test\"}\n");
	expect("dump %s --format count", 1, "00000001-00000001-0");
}
END_TEST

START_TEST(test_dump_prints_an_entry_once)
{
	struct lp_buf out = LP_BUF_INIT;

	three_files();
	seal(1);
	seal(2);
	expect("dump --format count %s", 0, "30 {job=\"test\"}\n");
	ck_assert_int_eq(ctl("dump %s", &out), 0);
	unsigned lines = 0;

	for (const char *p = lp_buf_cstr(&out); (p = strchr(p, '\n')); p++)
		lines++;
	ck_assert_uint_eq(lines, 30);
	lp_buf_free(&out);
	expect("dump %s", 0, "1970-01-01T00:00:00.000007Z {job=\"test\"} 0000000007xxx");
	expect("dump %s --format json", 0, "{\"ts\":\"7000\",\"labels\":{\"job\":\"test\"},\"line\":\"0000000007xxx");
	expect("dump %s --format count --stream job=test", 0, "30 ");
	expect("dump %s --format count --stream job=", 0, "");
	ck_assert_int_eq(ctl("dump %s --format count --stream job=other", &out), 0);
	ck_assert_uint_eq(out.len, 0);
	lp_buf_free(&out);
}
END_TEST

START_TEST(test_usage)
{
	static const char *const wrong[] = { "", "nothing %s", "verify", "verify --fast %s", "dump", "dump %s --format xml", "dump %s --stream job",
					     "dump %s %s", "blocks" };
	struct lp_buf out = LP_BUF_INIT;

	for (size_t i = 0; i < LP_ARRAY_LEN(wrong); i++)
		expect(wrong[i], 64, "Usage: logpulsectl");
	expect("verify %s/wal/none", 1, "No such file or directory");
	expect("verify %s/wal", 1, "not a data directory");
	expect("--help", 0, "Exit status: 0 fine");
	expect("dump --help", 0, "Usage: logpulsectl dump");
	ck_assert_int_eq(ctl("--version", &out), 0);
	lp_buf_free(&out);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("ctl");
	TCase *tcase = tcase_create("ctl");

	tcase_add_checked_fixture(tcase, setup_data, teardown_data);
	tcase_set_timeout(tcase, 60);
	tcase_add_test(tcase, test_sound);
	tcase_add_test(tcase, test_torn_tail);
	tcase_add_loop_test(tcase, test_damaged_group_head_in_an_older_file, 0, LP_WALGROUP_HEAD);
	tcase_add_test(tcase, test_damage_before_a_committed_group);
	tcase_add_test(tcase, test_abandoned_end_is_no_fault);
	tcase_add_test(tcase, test_recovered_end_is_no_fault);
	tcase_add_loop_test(tcase, test_damaged_segment, 0, 2);
	tcase_add_test(tcase, test_dump_prints_an_entry_once);
	tcase_add_test(tcase, test_usage);
	suite_add_tcase(suite, tcase);
	SRunner *runner = srunner_create(suite);

	srunner_run_all(runner, CK_NORMAL);
	int failed = srunner_ntests_failed(runner);

	srunner_free(runner);
	return failed ? 1 : 0;
}
