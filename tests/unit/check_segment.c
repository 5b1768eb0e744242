/* Sealing and reading back: every entry of a WAL image is found in its day's segment, sorted, once; index walk; retention; broken files. */
#include "common/bytes.h"
#include "common/clock.h"
#include "store/map.h"
#include "store/seal.h"
#include "store/segment-private.h"
#include "tests/unit/walimage.h"

#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define DAY0 (INT64_C(20000) * LP_NS_PER_DAY)

static char dir[PATH_MAX], wal[PATH_MAX + 16], segments[PATH_MAX + 16];
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

	snprintf(dir, sizeof dir, "%s/check_segment.XXXXXX", tmp ? tmp : "/tmp");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(wal, sizeof wal, "%s/1.wal", dir);
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
	return (struct lp_seal_config){ .segments_dir = segments, .block_bytes = 4096, .compress = true, .oldest_ns = INT64_MIN };
}

/* ---- an oracle: rows kept as text, sorted and made unique the plain way ---- */

struct entry {
	struct walimage_row row;
	uint64_t arrival;
};

struct oracle {
	struct entry *entries;
	size_t n;
};

static int entry_cmp(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;
	int c = lp_labels_cmp(x->row.labels, x->row.labels_len, y->row.labels, y->row.labels_len);

	if (c)
		return c;
	if (x->row.ts != y->row.ts)
		return x->row.ts < y->row.ts ? -1 : 1;
	return (x->arrival > y->arrival) - (x->arrival < y->arrival);
}

static bool same_entry(const struct walimage_row *a, const struct walimage_row *b)
{
	return a->ts == b->ts && a->labels_len == b->labels_len && a->line_len == b->line_len && a->meta_len == b->meta_len &&
		!memcmp(a->labels, b->labels, a->labels_len) && !memcmp(a->line, b->line, a->line_len) &&
		(!a->meta_len || !memcmp(a->meta, b->meta, a->meta_len));
}

static void oracle_add(struct oracle *o, const struct walimage_row *rows, uint32_t n)
{
	o->entries = realloc(o->entries, (o->n + n) * sizeof *o->entries);
	for (uint32_t i = 0; i < n; i++, o->n++)
		o->entries[o->n] = (struct entry){ rows[i], o->n };
}

/* Sort; drop what repeats an entry before it with the same stream and time. */
static void oracle_finish(struct oracle *o)
{
	size_t kept = 0;

	qsort(o->entries, o->n, sizeof *o->entries, entry_cmp);
	for (size_t i = 0; i < o->n; i++) {
		bool repeat = false;

		for (size_t k = kept; k-- > 0 && !repeat && o->entries[k].row.ts == o->entries[i].row.ts;)
			repeat = same_entry(&o->entries[k].row, &o->entries[i].row);
		if (!repeat)
			o->entries[kept++] = o->entries[i];
	}
	o->n = kept;
}

/* Hold one segment against the oracle's entries of its day, in order. */
static uint64_t compare_segment(const struct lp_segment_name *name, const struct oracle *o)
{
	struct lp_segment *segment = NULL;
	struct lp_block_decoder *decoder = NULL;
	uint64_t seen = 0;
	size_t at = 0;

	ck_assert_int_eq(lp_segment_open(segments, name, &segment), 0);
	ck_assert_int_eq(lp_block_decoder_open(&decoder), 0);
	const struct lp_segment_info *info = lp_segment_info(segment);

	for (uint32_t s = 0; s < info->streams; s++) {
		const uint8_t *labels;
		uint32_t len, first, n;
		int64_t min, max;

		ck_assert_int_eq(lp_segment_stream(segment, s, &labels, &len, &min, &max), 0);
		ck_assert_int_eq(lp_segment_stream_runs(segment, s, &first, &n), 0);
		for (uint32_t r = first; r < first + n; r++) {
			struct lp_run run;
			struct lp_rows rows;
			uint32_t raw = 0;

			ck_assert_int_eq(lp_segment_run(segment, r, &run), 0);
			ck_assert_uint_eq(run.stream, s);
			/* From the second run of a block on without its checksums. */
			ck_assert_int_eq(lp_segment_decode(segment, decoder, run.block, 7, &rows), 0);
			for (uint32_t i = run.first_row; i < run.first_row + run.rows; i++, seen++, at++) {
				struct walimage_row row = { .labels = labels, .labels_len = len, .ts = rows.ts[i] };

				row.line = lp_rows_line(&rows, i, &row.line_len);
				row.meta = lp_rows_meta(&rows, i, &row.meta_len);
				raw += row.line_len;
				while (at < o->n && lp_clock_day(o->entries[at].row.ts) != name->day)
					at++;
				ck_assert_uint_lt(at, o->n);
				ck_assert(same_entry(&row, &o->entries[at].row));
				ck_assert(row.ts >= run.min_ts && row.ts <= run.max_ts && row.ts >= min && row.ts <= max);
				if (i == run.first_row)
					ck_assert_ptr_eq(row.line, rows.text + run.text_off);
			}
			ck_assert_uint_eq(raw, run.raw_bytes);
		}
	}
	ck_assert_uint_eq(seen, info->entries);
	lp_block_decoder_close(&decoder);
	lp_segment_close(&segment);
	return seen;
}

static void verify(const struct lp_segment_name *name)
{
	struct lp_buf report = LP_BUF_INIT;
	int r = lp_segment_verify(segments, name, &report);

	ck_assert_msg(r == 0, "%s", lp_buf_cstr(&report));
	lp_buf_free(&report);
}

static void compare(const struct oracle *o, uint32_t days)
{
	struct lp_segment_name *names;
	size_t n;
	uint64_t seen = 0;

	ck_assert_int_eq(lp_segment_list(segments, &names, &n), 0);
	ck_assert_uint_eq(n, days);
	for (size_t i = 0; i < n; i++) {
		seen += compare_segment(&names[i], o);
		verify(&names[i]);
	}
	ck_assert_uint_eq(seen, o->n);
	free(names);
}

/* ---- data ---- */

static struct lp_buf arena_bufs[100000];
static size_t arena_used;

static struct lp_buf *keep(void)
{
	ck_assert_uint_lt(arena_used, LP_ARRAY_LEN(arena_bufs));
	arena_bufs[arena_used] = (struct lp_buf)LP_BUF_INIT;
	return &arena_bufs[arena_used++];
}

static const struct lp_buf *labels(const char *tenant, const char *app, unsigned i)
{
	char number[16];
	struct lp_buf *b = keep();

	snprintf(number, sizeof number, "pod-%05u", i);
	struct lp_label pairs[] = { { "app", 3, (uint32_t)strlen(app), app }, { "pod", 3, (uint32_t)strlen(number), number } };

	ck_assert_int_eq(lp_labels_encode(b, tenant, strlen(tenant), pairs, 2), 0);
	return b;
}

static void release(struct oracle *o)
{
	free(o->entries);
	while (arena_used)
		lp_buf_free(&arena_bufs[--arena_used]);
}

/* Random records of a few streams over `days` days, out of order, with repeats, metadata, inner newlines and many equal times. */
static void random_image(struct walimage *image, struct oracle *o, unsigned days)
{
	const struct lp_buf *sets[6];
	static const char *const lines[] = { "", "a", "two\nlines", "GET /index.html 200", "error: something happened in the middle of it" };
	static const uint8_t meta[] = { 1, 1, 'k', 1, 'v' };

	for (unsigned i = 0; i < 6; i++)
		sets[i] = labels(i % 2 ? "tenant" : "", i < 3 ? "web" : "db", i);
	for (unsigned rec = 0; rec < 60; rec++) {
		struct walimage_row rows[120];
		uint32_t n = 0;

		for (unsigned s = 0; s < 6; s++)
			for (unsigned k = rnd() % 20; k; k--) {
				const char *line = lines[rnd() % LP_ARRAY_LEN(lines)];

				rows[n++] = (struct walimage_row){ .labels = sets[s]->data, .labels_len = (uint32_t)sets[s]->len, .line = line,
					.line_len = (uint32_t)strlen(line), .meta = meta, .meta_len = rnd() % 4 ? 0 : sizeof meta,
					.ts = DAY0 + (int64_t)(rnd() % days) * LP_NS_PER_DAY + (int64_t)(rnd() % (rec % 3 ? 3 : 1000)) * 1000000 };
			}
		if (!n)
			continue;
		walimage_add(image, rows, n);
		oracle_add(o, rows, n);
	}
}

START_TEST(random_days)
{
	for (unsigned days = 1; days < 5; days++) {
		struct walimage image;
		struct oracle o = { 0 };
		struct lp_seal_config c = config();
		struct lp_seal_result result;

		walimage_start(&image, 1);
		random_image(&image, &o, days);
		size_t all = o.n;

		oracle_finish(&o);
		ck_assert_int_eq(walimage_write(&image, wal, 5000), 0);
		c.compress = days % 2;
		for (int again = 0; again < 2; again++) {
			ck_assert_int_eq(lp_seal_wal(&c, wal, 1, &result), 0);
			ck_assert_uint_eq(result.segments, days);
			ck_assert_uint_eq(result.entries, o.n);
			ck_assert_uint_eq(result.duplicates, all - o.n);
			ck_assert_uint_eq(result.expired, 0);
			compare(&o, days);
		}
		walimage_free(&image);
		release(&o);
		teardown();
		setup();
	}
}
END_TEST

/* One image of incompressible lines, as large as several writes. */
static void noise_image(struct oracle *o)
{
	static char lines[2000][120];
	static struct walimage_row rows[2000];
	const struct lp_buf *set = labels("", "noise", 1);
	struct walimage image;

	for (unsigned i = 0; i < LP_ARRAY_LEN(rows); i++) {
		for (unsigned k = 0; k < sizeof lines[i]; k++)
			lines[i][k] = (char)(' ' + rnd() % 90);
		rows[i] = (struct walimage_row){ .labels = set->data, .labels_len = (uint32_t)set->len, .line = lines[i],
						 .line_len = sizeof lines[i], .ts = DAY0 + i };
	}
	walimage_start(&image, 1);
	walimage_add(&image, rows, LP_ARRAY_LEN(rows));
	oracle_add(o, rows, LP_ARRAY_LEN(rows));
	ck_assert_int_eq(walimage_write(&image, wal, 0), 0);
	walimage_free(&image);
	oracle_finish(o);
}

static unsigned names_below(const char *path)
{
	DIR *d = opendir(path);
	unsigned n = 0;

	ck_assert_ptr_nonnull(d);
	for (struct dirent *e; (e = readdir(d));)
		n += e->d_name[0] != '.';
	closedir(d);
	return n;
}

/* Sealing fails at every size that is too small, leaves nothing behind, and works when there is room. */
START_TEST(no_room_leaves_nothing)
{
	struct lp_seal_config c = config();
	struct lp_seal_result result;
	struct oracle o = { 0 };
	struct rlimit old, small;
	unsigned refused = 0;
	int r = -1;

	noise_image(&o);
	c.sync = true;
	signal(SIGXFSZ, SIG_IGN);
	ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &old), 0);
	for (rlim_t bytes = 10; r < 0; bytes *= 3) {
		small = (struct rlimit){ bytes, old.rlim_max };
		/* No assertion under the limit: libcheck would write to its own file, and tear a message. */
		int set = setrlimit(RLIMIT_FSIZE, &small);
		r = lp_seal_wal(&c, wal, 1, &result);
		int back = setrlimit(RLIMIT_FSIZE, &old);
		ck_assert(set == 0 && back == 0);
		refused += r < 0;
		ck_assert_uint_eq(names_below(segments), r < 0 ? 0 : 1);
	}
	ck_assert_uint_gt(refused, 5);
	compare(&o, 1);
	release(&o);
}
END_TEST

START_TEST(full_disk_leaves_nothing)
{
	struct lp_seal_config c = config();
	struct lp_seal_result result;
	struct oracle o = { 0 };

	if (geteuid() != 0 || mount("tmpfs", segments, "tmpfs", 0, "size=96k") < 0) {
		fprintf(stderr, "full_disk_leaves_nothing: not run, it needs the right to mount a tmpfs\n");
		return;
	}
	noise_image(&o);
	int r = lp_seal_wal(&c, wal, 1, &result);
	unsigned left = names_below(segments);
	bool grown = mount("tmpfs", segments, "tmpfs", MS_REMOUNT, "size=4m") == 0;
	int again = lp_seal_wal(&c, wal, 1, &result);

	if (again == 0)
		compare(&o, 1);
	ck_assert_int_eq(umount(segments), 0);
	ck_assert_int_eq(r, -ENOSPC);
	ck_assert_uint_eq(left, 0);
	ck_assert(grown);
	ck_assert_int_eq(again, 0);
	release(&o);
}
END_TEST

/* Entries on very many days are walked once, whatever their order. */
START_TEST(very_many_days)
{
	enum { DAYS = 2000, PER = 1000 };
	struct walimage image;
	struct oracle o = { 0 };
	struct lp_seal_config c = config();
	struct lp_seal_result result;
	static struct walimage_row rows[PER];
	const struct lp_buf *sets[] = { labels("", "a", 1), labels("", "b", 2) };

	walimage_start(&image, 1);
	for (unsigned rec = 0; rec < 2 * DAYS * 2 / PER; rec++) {
		for (unsigned i = 0; i < PER; i++)
			rows[i] = (struct walimage_row){ .labels = sets[rec % 2]->data, .labels_len = (uint32_t)sets[rec % 2]->len,
				.line = "x", .line_len = 1, .ts = DAY0 + (int64_t)((rec * PER + i) * 1237u % DAYS) * LP_NS_PER_DAY + rec };
		walimage_add(&image, rows, PER);
		oracle_add(&o, rows, PER);
	}
	oracle_finish(&o);
	ck_assert_int_eq(walimage_write(&image, wal, 0), 0);
	ck_assert_int_eq(lp_seal_wal(&c, wal, 1, &result), 0);
	ck_assert_uint_eq(result.segments, DAYS);
	ck_assert_uint_eq(result.entries, o.n);
	walimage_free(&image);
	release(&o);
}
END_TEST

/* Disorder, few and many equal times with repeats: enough rows for the radix sort and the hash table. */
START_TEST(disorder)
{
	enum { N = 30000, PER = 1000 };
	struct walimage image;
	struct oracle o = { 0 };
	struct lp_seal_config c = config();
	struct lp_seal_result result;
	static struct walimage_row rows[PER];
	static char lines[500][8];
	const struct lp_buf *set = labels("", "web", 1);

	for (unsigned i = 0; i < LP_ARRAY_LEN(lines); i++)
		snprintf(lines[i], sizeof lines[i], "l%u", i);
	walimage_start(&image, 1);
	for (unsigned rec = 0; rec < N / PER; rec++) {
		for (unsigned i = 0; i < PER; i++) {
			const char *line = lines[rnd() % LP_ARRAY_LEN(lines)];

			rows[i] = (struct walimage_row){ .labels = set->data, .labels_len = (uint32_t)set->len, .line = line, .line_len = (uint32_t)strlen(line),
				.ts = DAY0 - 5 + (int64_t)(_i ? rnd() % 10 : rnd() % 5 ? rnd() % LP_NS_PER_DAY : 7) };
		}
		rows[0].ts = DAY0 - 1;  /* two days always */
		walimage_add(&image, rows, PER);
		oracle_add(&o, rows, PER);
	}
	oracle_finish(&o);
	ck_assert_int_eq(walimage_write(&image, wal, 0), 0);
	ck_assert_int_eq(lp_seal_wal(&c, wal, 1, &result), 0);
	ck_assert_uint_eq(result.duplicates, N - o.n);
	compare(&o, 2);
	walimage_free(&image);
	release(&o);
}
END_TEST

START_TEST(many_streams)
{
	enum { N = 50000, PER = 500 };
	struct walimage image;
	struct oracle o = { 0 };
	struct lp_seal_config c = config();
	struct lp_seal_result result;
	static struct walimage_row rows[PER];

	walimage_start(&image, 1);
	for (unsigned rec = 0; rec < N / PER; rec++) {
		for (unsigned i = 0; i < PER; i++) {
			const struct lp_buf *set = labels("", "app", (rec * PER + i) * 7919u % N);

			rows[i] = (struct walimage_row){ .labels = set->data, .labels_len = (uint32_t)set->len, .line = "hello", .line_len = 5, .ts = DAY0 + i };
		}
		walimage_add(&image, rows, PER);
		oracle_add(&o, rows, PER);
	}
	oracle_finish(&o);
	ck_assert_int_eq(walimage_write(&image, wal, 0), 0);
	ck_assert_int_eq(lp_seal_wal(&c, wal, 1, &result), 0);
	ck_assert_uint_eq(result.entries, N);
	struct lp_segment_name name = { DAY0 / LP_NS_PER_DAY, 1, 1, 0 };
	struct lp_segment *segment = NULL;
	uint32_t label, value, n, values;
	const uint32_t *streams;
	struct lp_buf scratch = LP_BUF_INIT;
	const char *s;

	verify(&name);
	ck_assert_int_eq(lp_segment_open(segments, &name, &segment), 0);
	ck_assert_uint_eq(lp_segment_label_names(segment), 2);
	ck_assert_int_eq(lp_segment_find_label(segment, "pod", 3, &label), 0);
	ck_assert_int_eq(lp_segment_label_name(segment, label, &s, &n, &values), 0);
	ck_assert_uint_eq(values, N);
	for (uint32_t v = 0; v < N; v += 37) {
		char want[16];

		snprintf(want, sizeof want, "pod-%05u", v);
		scratch.len = 0;
		ck_assert_int_eq(lp_segment_label_value(segment, label, v, &scratch, &s, &n), 0);
		ck_assert(n == 9 && !memcmp(s, want, 9));
		ck_assert_int_eq(lp_segment_find_value(segment, label, want, 9, &value), 0);
		ck_assert_uint_eq(value, v);
		ck_assert_int_eq(lp_segment_postings(segment, label, v, &streams, &n), 0);
		ck_assert(n == 1 && streams[0] == v);
	}
	ck_assert_int_eq(lp_segment_find_value(segment, label, "pod", 3, &value), -ENOENT);
	ck_assert_int_eq(lp_segment_find_value(segment, label, "zzz", 3, &value), -ENOENT);
	ck_assert_int_eq(lp_segment_find_value(segment, label, "pod-00017x", 10, &value), -ENOENT);
	ck_assert_int_eq(lp_segment_find_label(segment, "none", 4, &label), -ENOENT);
	ck_assert_int_eq(lp_segment_find_label(segment, "", 0, &label), 0);
	ck_assert_int_eq(lp_segment_find_value(segment, label, "", 0, &value), 0);
	ck_assert_int_eq(lp_segment_postings(segment, label, value, &streams, &n), 0);
	ck_assert_uint_eq(n, N);
	lp_buf_free(&scratch);
	lp_segment_close(&segment);
	walimage_free(&image);
	release(&o);
}
END_TEST

START_TEST(expired_and_retained)
{
	struct walimage image;
	struct oracle o = { 0 };
	struct lp_seal_config c = config();
	struct lp_seal_result result;
	uint32_t deleted = 0;
	struct lp_segment_name *names;
	size_t n;

	walimage_start(&image, 1);
	random_image(&image, &o, 3);
	oracle_finish(&o);
	ck_assert_int_eq(walimage_write(&image, wal, 0), 0);
	c.oldest_ns = DAY0 + LP_NS_PER_DAY + 1;
	ck_assert_int_eq(lp_seal_wal(&c, wal, 1, &result), 0);
	size_t kept = 0;

	for (size_t i = 0; i < o.n; i++)
		if (o.entries[i].row.ts >= c.oldest_ns)
			o.entries[kept++] = o.entries[i];
	ck_assert_uint_lt(kept, o.n);
	ck_assert_uint_gt(result.expired, 0);
	o.n = kept;
	compare(&o, 2);
	ck_assert_int_eq(lp_retain(segments, DAY0 + LP_NS_PER_DAY, &deleted), 0);
	ck_assert_uint_eq(deleted, 0);
	/* Inside the day, behind its last entry: the index decides. */
	ck_assert_int_eq(lp_retain(segments, DAY0 + 2 * LP_NS_PER_DAY - 1, &deleted), 0);
	ck_assert_uint_eq(deleted, 1);
	ck_assert_int_eq(lp_retain(segments, DAY0 + 5 * LP_NS_PER_DAY, &deleted), 0);
	ck_assert_uint_eq(deleted, 1);
	ck_assert_int_eq(lp_segment_list(segments, &names, &n), 0);
	ck_assert_uint_eq(n, 0);
	free(names);
	walimage_free(&image);
	release(&o);
}
END_TEST

static void touch(const char *name)
{
	char path[PATH_MAX + 128];

	snprintf(path, sizeof path, "%s/2024-10-04/%s", segments, name);
	FILE *f = fopen(path, "w");

	ck_assert_ptr_nonnull(f);
	fclose(f);
}

START_TEST(names_and_cleanup)
{
	struct lp_segment_name name, *names;
	char text[80];
	size_t n;

	ck_assert_int_eq(lp_segment_name_parse("2024-10-04", "00000001-00000020-1.index", &name), 0);
	ck_assert(name.day == 20000 && name.first == 1 && name.last == 20 && name.level == 1);
	ck_assert_int_eq(lp_segment_name_format(&name, ".chunks", text, sizeof text), 0);
	ck_assert_str_eq(text, "2024-10-04/00000001-00000020-1.chunks");
	static const char *const bad[] = { "00000001-00000020-1.chunks", "00000001-00000020-1.index.tmp", "1-20-1.index", "00000021-00000020-1.index",
					   "00000001-00000020-1.indexx", "", "00000001-00000020-10000.index", "+0000001-00000020-1.index" };

	for (size_t i = 0; i < LP_ARRAY_LEN(bad); i++)
		ck_assert_int_eq(lp_segment_name_parse("2024-10-04", bad[i], &name), -EINVAL);
	ck_assert_int_eq(lp_segment_name_parse("2024-10-4", "00000001-00000020-1.index", &name), -EINVAL);
	char path[PATH_MAX + 64];

	snprintf(path, sizeof path, "%s/2024-10-04", segments);
	ck_assert_int_eq(mkdir(path, 0700), 0);
	touch("00000001-00000001-0.index");
	touch("00000001-00000001-0.chunks");
	touch("00000002-00000002-0.index");
	touch("00000009-00000009-0.index");
	touch("00000001-00000003-1.index");
	touch("00000001-00000003-1.chunks");
	touch("00000005-00000005-0.chunks");
	touch("00000006-00000006-0.chunks.tmp");
	touch("stranger");
	ck_assert_int_eq(lp_segment_list(segments, &names, &n), 0);
	ck_assert_uint_eq(n, 2);
	ck_assert(names[0].level == 1 && names[1].first == 9);
	free(names);
	/* What only claims to have replaced others, and is empty, destroys nothing (tests/unit/check_compact.c has a true one). */
	ck_assert_int_eq(lp_seal_cleanup(segments), 0);
	ck_assert_int_eq(lp_segment_list_all(segments, &names, &n), 0);
	ck_assert_uint_eq(n, 4);
	free(names);
	snprintf(path, sizeof path, "ls '%s/2024-10-04' | tr '\\n' ' '", segments);
	FILE *f = popen(path, "r");

	ck_assert_ptr_nonnull(f);
	ck_assert_ptr_nonnull(fgets(path, sizeof path, f));
	pclose(f);
	ck_assert_str_eq(path, "00000001-00000001-0.chunks 00000001-00000001-0.index 00000001-00000003-1.chunks 00000001-00000003-1.index "
			 "00000002-00000002-0.index 00000009-00000009-0.index stranger ");
}
END_TEST

/* ---- broken bytes ---- */

static void read_everything(const struct lp_segindex *index)
{
	struct lp_buf scratch = LP_BUF_INIT, report = LP_BUF_INIT;
	const uint8_t *labels_bytes;
	const uint32_t *streams;
	const char *s;
	uint32_t n;

	for (uint32_t i = 0; i < index->head.streams; i++) {
		struct lp_segindex_stream stream;

		(void)lp_segindex_stream(index, i, &stream, &labels_bytes);
	}
	for (uint32_t i = 0; i < index->head.runs; i++) {
		struct lp_run run;

		(void)lp_segindex_run(index, i, &run);
	}
	for (uint32_t name = 0; name <= index->names; name++) {
		struct lp_segindex_name info;

		if (lp_segindex_name(index, name, &info, &s) < 0)
			continue;
		for (uint32_t v = 0; v < info.values; v++) {
			scratch.len = 0;
			(void)lp_segindex_value(index, name, v, &scratch, &s, &n);
			(void)lp_segindex_postings(index, name, v, &streams, &n);
		}
		(void)lp_segindex_find_value(index, name, "web", 3, &n);
	}
	(void)lp_segindex_find_name(index, "pod", 3, &n);
	(void)lp_segindex_check(index, "x", &report);
	lp_buf_free(&scratch);
	lp_buf_free(&report);
}

static struct lp_map map_one(const char *suffix)
{
	struct lp_segment_name name = { DAY0 / LP_NS_PER_DAY, 1, 1, 0 };
	char file[80], path[PATH_MAX + 128];
	struct lp_map map;

	ck_assert_int_eq(lp_segment_name_format(&name, suffix, file, sizeof file), 0);
	snprintf(path, sizeof path, "%s/%s", segments, file);
	ck_assert_int_eq(lp_map_open(path, &map), 0);
	return map;
}

/* Every byte of a small index, three ways: the check finds it (the padding between sections aside), and no access leaves the file. */
START_TEST(index_bytes_flipped)
{
	struct walimage image;
	struct oracle o = { 0 };
	struct lp_seal_config c = config();
	struct lp_seal_result result;
	struct lp_segindex index;

	walimage_start(&image, 1);
	random_image(&image, &o, 1);
	ck_assert_int_eq(walimage_write(&image, wal, 0), 0);
	ck_assert_int_eq(lp_seal_wal(&c, wal, 1, &result), 0);
	struct lp_map map = map_one(".index");
	uint8_t *copy = malloc(map.len);
	size_t unseen = 0;

	memcpy(copy, map.p, map.len);
	for (size_t i = 0; i < map.len; i++)
		for (unsigned k = 0; k < 3; k++) {
			struct lp_buf report = LP_BUF_INIT;

			copy[i] ^= (uint8_t[]){ 1, 0x80, 0xff }[k];
			if (lp_segindex_open(copy, map.len, &index) == 0) {
				read_everything(&index);
				unseen += lp_segindex_check(&index, "x", &report) == 0;
			}
			copy[i] = map.p[i];
			lp_buf_free(&report);
		}
	ck_assert_uint_le(unseen, 3 * 7 * (LP_SEGINDEX_KNOWN - 1));
	for (size_t n = 0; n < map.len; n += 1 + n / 16)
		ck_assert_int_lt(lp_segindex_open(copy, n, &index), 0);
	free(copy);
	lp_map_close(&map);
	walimage_free(&image);
	release(&o);
}
END_TEST

/* Blocks that cannot be read, twice over: a checksum that was wrong once is looked at again. */
static void refused(const struct lp_segment_name *name, uint32_t want)
{
	struct lp_segment *segment = NULL;
	struct lp_block_decoder *decoder = NULL;
	struct lp_rows rows;

	if (lp_segment_open(segments, name, &segment) < 0)
		return;         /* the head of the file */
	ck_assert_int_eq(lp_block_decoder_open(&decoder), 0);
	for (int pass = 0; pass < 2; pass++) {
		uint32_t bad = 0;

		for (uint32_t i = 0; i < lp_segment_info(segment)->blocks; i++)
			bad += lp_segment_decode(segment, decoder, i, LP_BLOCK_WANT_TS | LP_BLOCK_WANT_TEXT | LP_BLOCK_WANT_META, &rows) == -EBADMSG;
		ck_assert_uint_eq(bad, want);
	}
	lp_block_decoder_close(&decoder);
	lp_segment_close(&segment);
}

/* A flipped byte of .chunks is a fault that verify names, or is refused at open. */
START_TEST(chunks_bytes_flipped)
{
	struct walimage image;
	struct oracle o = { 0 };
	struct lp_seal_config c = config();
	struct lp_seal_result result;
	struct lp_segment_name name = { DAY0 / LP_NS_PER_DAY, 1, 1, 0 };
	char path[PATH_MAX + 128];

	walimage_start(&image, 1);
	random_image(&image, &o, 1);
	ck_assert_int_eq(walimage_write(&image, wal, 0), 0);
	ck_assert_int_eq(lp_seal_wal(&c, wal, 1, &result), 0);
	verify(&name);
	struct lp_map map = map_one(".chunks");
	size_t len = map.len;

	lp_map_close(&map);
	snprintf(path, sizeof path, "%s/2024-10-04/00000001-00000001-0.chunks", segments);
	FILE *f = fopen(path, "r+b");

	ck_assert_ptr_nonnull(f);
	for (size_t i = 0; i < len; i += 1 + rnd() % 40) {
		struct lp_buf report = LP_BUF_INIT;

		fseek(f, (long)i, SEEK_SET);
		int byte = fgetc(f);

		fseek(f, (long)i, SEEK_SET);
		fputc(byte ^ 0x10, f);
		fflush(f);
		ck_assert_int_eq(lp_segment_verify(segments, &name, &report), -EBADMSG);
		ck_assert_uint_gt(report.len, 0);
		refused(&name, 1);
		fseek(f, (long)i, SEEK_SET);
		fputc(byte, f);
		fflush(f);
		lp_buf_free(&report);
	}
	fclose(f);
	verify(&name);
	refused(&name, 0);
	walimage_free(&image);
	release(&o);
}
END_TEST

START_TEST(nothing_to_seal)
{
	struct walimage image;
	struct lp_seal_config c = config();
	struct lp_seal_result result;

	walimage_start(&image, 1);
	ck_assert_int_eq(walimage_write(&image, wal, 100), 0);
	ck_assert_int_eq(lp_seal_wal(&c, wal, 1, &result), 0);
	ck_assert_uint_eq(result.segments, 0);
	ck_assert_int_eq(lp_seal_wal(&c, "/nonexistent", 1, &result), -ENOENT);
	walimage_free(&image);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("segment");
	TCase *tc = tcase_create("segment");

	if (lp_map_init() < 0)
		return 1;
	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, random_days);
	tcase_add_test(tc, no_room_leaves_nothing);
	tcase_add_test(tc, full_disk_leaves_nothing);
	tcase_add_test(tc, very_many_days);
	tcase_add_loop_test(tc, disorder, 0, 2);
	tcase_add_test(tc, many_streams);
	tcase_add_test(tc, expired_and_retained);
	tcase_add_test(tc, names_and_cleanup);
	tcase_add_test(tc, index_bytes_flipped);
	tcase_add_test(tc, chunks_bytes_flipped);
	tcase_add_test(tc, nothing_to_seal);
	suite_add_tcase(suite, tc);
	SRunner *runner = srunner_create(suite);

	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);

	srunner_free(runner);
	return failed ? 1 : 0;
}
