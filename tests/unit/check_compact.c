/* Compaction: random segments merged in random steps hold the same entries as before, once each and in order; what is asked to go is
 * gone; damaged inputs stay; names supersede each other; which windows are merged. */
#include "common/bytes.h"
#include "common/clock.h"
#include "store/compact.h"
#include "store/segment-private.h"
#include "tests/unit/walimage.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define DAY0 (INT64_C(20000) * LP_NS_PER_DAY)
#define FILES 6u

static char dir[PATH_MAX], segments[PATH_MAX + 16];
static uint64_t state = 88172645463325252u;

static uint64_t rnd(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

static void setup(void)
{
	const char *tmp = getenv("TMPDIR");

	snprintf(dir, sizeof dir, "%s/check_compact.XXXXXX", tmp ? tmp : "/tmp");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(segments, sizeof segments, "%s/segments", dir);
	ck_assert_int_eq(mkdir(segments, 0700), 0);
}

static void teardown(void)
{
	char command[PATH_MAX + 16];

	snprintf(command, sizeof command, "rm -rf '%s'", dir);
	ck_assert_int_eq(system(command), 0);
}

static struct lp_seal_config config(void)
{
	return (struct lp_seal_config){ .segments_dir = segments, .block_bytes = 4096, .compress = true, .level = 9, .oldest_ns = INT64_MIN };
}

static void make_files(unsigned streams, unsigned rows)
{
	static const uint8_t meta[] = { 1, 1, 'k', 1, 'v' };

	for (uint32_t f = 1; f <= FILES; f++) {
		struct walimage image;
		char path[PATH_MAX + 32];
		struct lp_seal_config c = config();
		struct lp_seal_result result;
		struct lp_buf labels[16] = { 0 };
		struct walimage_row row[256];
		char lines[256][40];

		walimage_start(&image, f);
		for (unsigned s = 0; s < streams; s++) {
			char name[16];
			int len = snprintf(name, sizeof name, "s%02u", s);
			struct lp_label pair = { "app", 3, (uint32_t)len, name };

			ck_assert_int_eq(lp_labels_encode(&labels[s], s % 2 ? "t" : "", s % 2, &pair, 1), 0);
			if ((s + f) % 4 == 0)
				continue;       /* not every file has every stream */
			for (unsigned i = 0; i < rows; i++) {
				/* Few texts and times: repeats inside files and between them. */
				snprintf(lines[i], sizeof lines[i], "line %u%s", (unsigned)(rnd() % 7), rnd() % 5 ? "" : "\nand more");
				row[i] = (struct walimage_row){ .labels = labels[s].data, .labels_len = (uint32_t)labels[s].len, .line = lines[i],
					.line_len = (uint32_t)strlen(lines[i]), .meta = meta, .meta_len = rnd() % 3 ? 0 : sizeof meta,
					.ts = DAY0 + (int64_t)(rnd() % (s % 3 ? 40 : 4000)) * 1000 };
			}
			walimage_add(&image, row, rows);
		}
		snprintf(path, sizeof path, "%s/%u.wal", dir, f);
		ck_assert_int_eq(walimage_write(&image, path, 4096), 0);
		ck_assert_int_eq(lp_seal_wal(&c, path, f, &result), 0);
		walimage_free(&image);
		for (unsigned s = 0; s < streams; s++)
			lp_buf_free(&labels[s]);
	}
}

/* What all visible segments hold, entry by entry, sorted by the caller's cmp afterwards. */
struct entry {
	struct lp_buf labels, line, meta;
	int64_t ts;
	size_t order;
};

static int cmp_buf(const struct lp_buf *a, const struct lp_buf *b)
{
	int c = memcmp(a->data ? a->data : (const uint8_t *)"", b->data ? b->data : (const uint8_t *)"", a->len < b->len ? a->len : b->len);

	return c ? c : (a->len > b->len) - (a->len < b->len);
}

static int cmp_entry(const void *x, const void *y)
{
	const struct entry *a = x, *b = y;
	int c = lp_labels_cmp(a->labels.data, a->labels.len, b->labels.data, b->labels.len);

	if (c)
		return c;
	if (a->ts != b->ts)
		return a->ts < b->ts ? -1 : 1;
	return (a->order > b->order) - (a->order < b->order);
}

static bool same_entry(const struct entry *a, const struct entry *b)
{
	return a->ts == b->ts && !cmp_buf(&a->labels, &b->labels) && !cmp_buf(&a->line, &b->line) && !cmp_buf(&a->meta, &b->meta);
}

static size_t read_all(struct entry **ret)
{
	struct lp_segment_name *names;
	size_t n_names, n = 0;
	struct entry *all = NULL;
	struct lp_block_decoder *decoder;

	ck_assert_int_eq(lp_block_decoder_open(&decoder), 0);
	ck_assert_int_eq(lp_segment_list(segments, &names, &n_names), 0);
	for (size_t i = 0; i < n_names; i++) {
		struct lp_segment *segment;
		struct lp_buf report = LP_BUF_INIT;

		ck_assert_msg(lp_segment_verify(segments, &names[i], &report) == 0, "%s", lp_buf_cstr(&report));
		lp_buf_free(&report);
		ck_assert_int_eq(lp_segment_open(segments, &names[i], &segment), 0);
		for (uint32_t k = 0; k < lp_segment_info(segment)->runs; k++) {
			struct lp_run run;
			const uint8_t *p, *labels;
			size_t len;
			uint32_t labels_len;
			int64_t min, max;
			struct lp_rows rows;

			ck_assert_int_eq(lp_segment_run(segment, k, &run), 0);
			ck_assert_int_eq(lp_segment_stream(segment, run.stream, &labels, &labels_len, &min, &max), 0);
			ck_assert_int_eq(lp_segment_block(segment, run.block, &p, &len), 0);
			ck_assert_int_eq(lp_block_decode(decoder, p, len, 7, &rows), 0);
			all = realloc(all, (n + run.rows) * sizeof *all);
			ck_assert_ptr_nonnull(all);
			for (uint32_t row = run.first_row; row < run.first_row + run.rows; row++, n++) {
				uint32_t line_len, meta_len;
				const char *line = lp_rows_line(&rows, row, &line_len);
				const uint8_t *meta = lp_rows_meta(&rows, row, &meta_len);

				all[n] = (struct entry){ .ts = rows.ts[row], .order = n };
				lp_buf_append(&all[n].labels, labels, labels_len);
				lp_buf_append(&all[n].line, line, line_len);
				lp_buf_append(&all[n].meta, meta, meta_len);
			}
		}
		lp_segment_close(&segment);
	}
	free(names);
	lp_block_decoder_close(&decoder);
	*ret = all;
	return n;
}

static void entry_free(struct entry *e)
{
	lp_buf_free(&e->labels);
	lp_buf_free(&e->line);
	lp_buf_free(&e->meta);
}

static void free_all(struct entry *all, size_t n)
{
	for (size_t i = 0; i < n; i++)
		entry_free(&all[i]);
	free(all);
}

/* By stream, time and arrival, repeats dropped the plain way. */
static size_t settle(struct entry *all, size_t n)
{
	size_t kept = 0;

	qsort(all, n, sizeof *all, cmp_entry);
	for (size_t i = 0; i < n; i++) {
		bool repeat = false;

		for (size_t k = kept; k-- > 0 && !repeat && all[k].ts == all[i].ts && !cmp_buf(&all[k].labels, &all[i].labels);)
			repeat = same_entry(&all[k], &all[i]);
		if (repeat)
			entry_free(&all[i]);
		else
			all[kept++] = all[i];
	}
	return kept;
}

static void merge(const struct lp_compact_ops *ops, size_t first, uint32_t n, struct lp_compact_result *ret)
{
	struct lp_segment_name *names, again[LP_COMPACT_MAX_INPUTS];
	struct lp_seal_config c = config();
	size_t n_names, n_now;

	ck_assert_int_eq(lp_segment_list(segments, &names, &n_names), 0);
	ck_assert_uint_le(first + n, n_names);
	memcpy(again, names + first, n * sizeof *again);
	ck_assert_int_eq(lp_compact_merge(&c, ops, again, n, ret), 0);
	free(names);
	/* Visible already, and its inputs not any more, before they are unlinked and after. */
	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(lp_segment_list(segments, &names, &n_now), 0);
		if (!ret->empty)
			ck_assert_uint_eq(n_now, n_names - n + 1);
		free(names);
		if (!i)
			ck_assert_int_eq(lp_compact_unlink(segments, again, n, true), 0);
	}
}

START_TEST(same_entries_after_random_merges)
{
	static const struct lp_compact_ops none = { 0 };
	struct entry *want, *got;
	uint64_t duplicates = 0;

	make_files(9, 200);
	size_t stored = read_all(&want), n_want = settle(want, stored), n_got, left = FILES;

	while (left > 1) {
		uint32_t n = 2 + (uint32_t)(rnd() % (left - 1));
		struct lp_compact_result result;

		merge(&none, rnd() % (left - n + 1), n, &result);
		duplicates += result.duplicates;
		left -= n - 1;
	}
	n_got = read_all(&got);
	ck_assert_uint_gt(duplicates, 100);
	ck_assert_uint_eq(n_got + duplicates, stored);
	ck_assert_uint_eq(n_got, n_want);
	/* Not sorted here: stream, time and arrival are the order in which it is stored. */
	for (size_t i = 0; i < n_got; i++)
		ck_assert(same_entry(&want[i], &got[i]));
	free_all(want, n_want);
	free_all(got, n_got);
}
END_TEST

static bool drop_line_3(void *arg, int64_t ts, const char *line, uint32_t len)
{
	const bool *wanted = arg;

	return *wanted && ts >= DAY0 && len == 6 && !memcmp(line, "line 3", 6);
}

static bool first_tenant_only(void *arg, const uint8_t *labels, uint32_t len)
{
	bool *wanted = arg;

	*wanted = len > 0 && labels[0] == 0;
	return *wanted;
}

static bool every_stream(void *arg, const uint8_t *labels, uint32_t len)
{
	(void)arg;
	(void)labels;
	(void)len;
	return true;
}

START_TEST(entries_that_are_to_go)
{
	bool wanted = false;
	const struct lp_compact_ops ops = { .stream = first_tenant_only, .drop = drop_line_3, .arg = &wanted };
	bool all_wanted = true;
	const struct lp_compact_ops every = { .stream = every_stream, .drop = drop_line_3, .arg = &all_wanted };
	struct lp_compact_result result;
	struct entry *all;
	unsigned other = 0;

	make_files(8, 100);
	merge(&ops, 0, 1, &result);             /* one segment is rewritten by itself */
	ck_assert_uint_eq(result.name.level, 1);
	ck_assert_uint_gt(result.dropped, 0);
	merge(&ops, 0, FILES, &result);
	size_t n = read_all(&all);

	for (size_t i = 0; i < n; i++) {
		bool three = all[i].line.len == 6 && !memcmp(all[i].line.data, "line 3", 6);

		ck_assert(!three || all[i].labels.data[0] != 0);
		other += three;
	}
	ck_assert_uint_gt(other, 0);
	ck_assert_int_eq(lp_compact_any(segments, &ops, &result.name), 0);
	ck_assert_int_eq(lp_compact_any(segments, &every, &result.name), 1);
	free_all(all, n);
}
END_TEST

static bool drop_all(void *arg, int64_t ts, const char *line, uint32_t len)
{
	(void)arg;
	(void)ts;
	(void)line;
	(void)len;
	return true;
}

START_TEST(nothing_left)
{
	const struct lp_compact_ops ops = { .stream = every_stream, .drop = drop_all };
	struct lp_compact_result result;
	struct entry *all;

	make_files(3, 10);
	merge(&ops, 0, FILES, &result);
	ck_assert(result.empty);
	ck_assert_uint_eq(read_all(&all), 0);
	free(all);
}
END_TEST

static bool stop_now(void *arg)
{
	(void)arg;
	return true;
}

START_TEST(given_up_leaves_nothing)
{
	const struct lp_compact_ops ops = { .stop = stop_now };
	struct lp_compact_result result;
	struct lp_seal_config c = config();
	struct lp_segment_name *names;
	size_t n;
	char command[PATH_MAX + 64];

	make_files(3, 10);
	ck_assert_int_eq(lp_segment_list(segments, &names, &n), 0);
	ck_assert_int_eq(lp_compact_merge(&c, &ops, names, (uint32_t)n, &result), -ECANCELED);
	snprintf(command, sizeof command, "! find '%s' -name '*.tmp' | grep .", segments);
	ck_assert_int_eq(system(command), 0);
	free(names);
}
END_TEST

START_TEST(a_damaged_block_stays)
{
	static const struct lp_compact_ops none = { 0 };
	struct lp_compact_result result;
	struct lp_seal_config c = config();
	struct lp_segment_name *names;
	size_t n;
	char file[80], path[PATH_MAX + 128];

	make_files(5, 100);
	ck_assert_int_eq(lp_segment_list(segments, &names, &n), 0);
	ck_assert_int_eq(lp_segment_name_format(&names[2], ".chunks", file, sizeof file), 0);
	snprintf(path, sizeof path, "%s/%s", segments, file);
	int fd = open(path, O_RDWR | O_CLOEXEC);
	uint8_t byte;

	ck_assert_int_eq(pread(fd, &byte, 1, 64 + 64 + 20), 1);
	byte ^= 0x55;
	ck_assert_int_eq(pwrite(fd, &byte, 1, 64 + 64 + 20), 1);
	close(fd);
	ck_assert_int_eq(lp_compact_merge(&c, &none, names, (uint32_t)n, &result), -EBADMSG);
	ck_assert_int_eq(lp_compact_merge(&c, &none, names, 2, &result), 0);
	free(names);
}
END_TEST

/* A kill between the rename and the unlinks: the next start removes the inputs, but not for a result that cannot be opened. */
START_TEST(a_start_removes_what_was_replaced)
{
	static const struct lp_compact_ops none = { 0 };
	struct lp_compact_result result;
	struct lp_seal_config c = config();
	struct lp_segment_name *names;
	size_t n, left;
	char file[80], path[PATH_MAX + 128];

	make_files(5, 100);
	ck_assert_int_eq(lp_segment_list(segments, &names, &n), 0);
	ck_assert_int_eq(lp_compact_merge(&c, &none, names, (uint32_t)n, &result), 0);
	free(names);
	ck_assert_int_eq(lp_segment_name_format(&result.name, ".index", file, sizeof file), 0);
	snprintf(path, sizeof path, "%s/%s", segments, file);
	int fd = open(path, O_RDWR | O_CLOEXEC);

	for (int whole = 0; whole < 2; whole++) {
		uint8_t byte;

		ck_assert_int_eq(pread(fd, &byte, 1, 3), 1);
		byte ^= 0x55;
		ck_assert_int_eq(pwrite(fd, &byte, 1, 3), 1);
		ck_assert_int_eq(lp_seal_cleanup(segments), 0);
		ck_assert_int_eq(lp_segment_list_all(segments, &names, &left), 0);
		ck_assert_uint_eq(left, whole ? 1 : n + 1);
		free(names);
	}
	close(fd);
}
END_TEST

START_TEST(names_supersede)
{
	/* Sorted as lp_segment_list_all() does. */
	static const struct lp_segment_name names[] = {
		{ 1, 1, 8, 2 }, { 1, 1, 4, 1 }, { 1, 1, 1, 0 }, { 1, 2, 2, 0 }, { 1, 5, 8, 1 }, { 1, 8, 8, 0 },
		{ 1, 9, 9, 120 }, { 1, 9, 9, 3 }, { 1, 10, 12, 0 }, { 1, 11, 11, 1 }, { 2, 2, 2, 0 },
	};
	static const bool want[] = { false, true, true, true, true, true, false, true, false, false, false };
	bool superseded[LP_ARRAY_LEN(names)];

	lp_segment_mark_superseded(names, LP_ARRAY_LEN(names), superseded);
	for (size_t i = 0; i < LP_ARRAY_LEN(names); i++)
		ck_assert_msg(superseded[i] == want[i], "name %zu", i);
}
END_TEST

static const struct lp_compact_policy policy = { .fan_in = 8, .max_inputs = 16, .max_bytes = 1 << 30, .old_day = 100 };

START_TEST(segments_stay_few_and_work_is_bounded)
{
	static struct lp_compact_candidate c[4096];
	size_t n = 0, first, most = 0;
	uint64_t written = 0, total = 0;
	uint32_t k;

	for (uint32_t file = 1; file <= 20000; file++) {
		uint64_t bytes = 1000 + rnd() % (file % 50 ? 4000 : 400000);

		c[n++] = (struct lp_compact_candidate){ .name = { 200, file, file, 0 }, .bytes = bytes };
		total += bytes;
		while (lp_compact_pick(&policy, c, n, &first, &k)) {
			uint64_t sum = 0;

			for (size_t i = first; i < first + k; i++) {
				sum += c[i].bytes;
				ck_assert(i == first || c[i].name.first > c[i - 1].name.last);
			}
			c[first].name.last = c[first + k - 1].name.last;
			c[first].bytes = sum;
			written += sum;
			memmove(&c[first + 1], &c[first + k], (n - first - k) * sizeof *c);
			n -= k - 1;
		}
		most = n > most ? n : most;
		ck_assert_uint_lt(n, LP_ARRAY_LEN(c));
	}
	ck_assert_uint_lt(most, 60);
	ck_assert_uint_lt(written, total * 8);
	/* The day is over. */
	for (size_t i = 0; i < n; i++)
		c[i].name.day = 50;
	while (lp_compact_pick(&policy, c, n, &first, &k)) {
		for (size_t i = first + 1; i < first + k; i++)
			c[first].bytes += c[i].bytes;
		c[first].name.last = c[first + k - 1].name.last;
		memmove(&c[first + 1], &c[first + k], (n - first - k) * sizeof *c);
		n -= k - 1;
	}
	ck_assert_uint_lt(n, 20);
}
END_TEST

START_TEST(borders_are_kept)
{
	static const uint32_t cut = 4;
	struct lp_compact_policy p = policy;
	struct lp_compact_candidate c[8];
	size_t first;
	uint32_t n;

	p.fan_in = 2;
	for (uint32_t i = 0; i < 8; i++)
		c[i] = (struct lp_compact_candidate){ .name = { 200 + i / 6, i + 1, i + 1, 0 }, .bytes = 100 };
	c[1].fixed = true;
	p.cuts = &cut;
	p.n_cuts = 1;
	ck_assert(lp_compact_pick(&p, c, 8, &first, &n));
	ck_assert_uint_eq(first, 2);            /* files 3 and 4: 2 is fixed, 4 ends at the cut */
	ck_assert_uint_eq(n, 2);
	ck_assert(!lp_compact_pick(&p, c, 2, &first, &n));
	ck_assert(lp_compact_pick(&p, c + 4, 4, &first, &n) && first == 0 && n == 2);   /* 5 and 6: a day ends */
	p.max_bytes = 199;
	ck_assert(!lp_compact_pick(&p, c, 8, &first, &n));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("compact");
	TCase *tcase = tcase_create("compact");
	SRunner *runner;

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_set_timeout(tcase, 300);
	tcase_add_test(tcase, same_entries_after_random_merges);
	tcase_add_test(tcase, entries_that_are_to_go);
	tcase_add_test(tcase, nothing_left);
	tcase_add_test(tcase, given_up_leaves_nothing);
	tcase_add_test(tcase, a_damaged_block_stays);
	tcase_add_test(tcase, a_start_removes_what_was_replaced);
	tcase_add_test(tcase, names_supersede);
	tcase_add_test(tcase, segments_stay_few_and_work_is_bounded);
	tcase_add_test(tcase, borders_are_kept);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int failures = srunner_ntests_failed(runner);

	srunner_free(runner);
	return failures ? EXIT_FAILURE : EXIT_SUCCESS;
}
