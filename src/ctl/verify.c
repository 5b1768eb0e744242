/* logpulsectl verify and blocks: everything that can be checked without a server.  Reads only. */
#include "ctl/ctl.h"

#include "common/bytes.h"
#include "common/crc32c.h"
#include "store/deletes.h"
#include "store/format/walfile.h"
#include "store/map.h"
#include "store/segment-private.h"
#include "store/wal-private.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct totals {
	uint64_t segments, segment_entries, records, entries;
	unsigned faults;
};

/* What the walk stepped over since the last call. */
static void report_damage(const char *path, const struct lp_walwalk *walk, uint32_t *damages, struct totals *t)
{
	if (walk->damages != *damages)
		printf("%s: offset %zu: a damaged record, and a later one says that it was committed\n", path, walk->damage_off);
	t->faults += walk->damages - *damages;
	*damages = walk->damages;
}

static bool all_zero(const struct lp_map *map, size_t from)
{
	for (size_t i = from; i < map->len; i++)
		if (map->p[i])
			return false;
	return true;
}

/* Zeros that a writer put behind a log that it cut (LP_WAL_STOP_BYTES), or that were never written over. */
static bool stops_here(const struct lp_map *map, size_t off)
{
	size_t n = map->len - off < LP_WAL_STOP_BYTES ? map->len - off : LP_WAL_STOP_BYTES;

	for (size_t i = 0; i < n; i++)
		if (map->p[off + i])
			return false;
	return true;
}

/* Is or was this a group head of this life of the file?  A damaged salt shows by the checksum that holds when it is put right. */
static bool ours(const struct lp_map *map, const struct lp_walwalk *walk)
{
	struct lp_walgroup_head group;

	if (walk->off + LP_WALGROUP_HEAD > map->len)
		return false;
	memcpy(&group, map->p + walk->off, sizeof group);
	if (group.salt == walk->salt)
		return true;
	group.salt = walk->salt;
	return group.crc == lp_crc32c(0, (const uint8_t *)&group + 8, sizeof group - 8);
}

/* Behind the last valid record: nothing, stale bytes of an earlier life, a cut (zeros), or what should not be there.  That is an
 * append that was never finished in the newest file; in an older one it is damage, because a writer begins the next file when
 * this one is synced to its end or cut, and a later writer cuts it before it begins one. */
static void judge_tail(const char *path, const struct lp_map *map, const struct lp_walwalk *walk, bool older, struct totals *t)
{
	if (walk->off < map->len && !stops_here(map, walk->off) && (walk->off != walk->group_end || ours(map, walk))) {
		printf("%s: offset %zu: %s\n", path, walk->off,
		       older ? "a damaged record, and the log goes on in a later file" : "information: an append that was not finished");
		t->faults += older;
	}
}

/* The highest file that holds a group: those below it are complete.  0: none does. */
static uint32_t newest_in_use(const struct lp_ctl_data *data)
{
	uint32_t number = 0;

	for (size_t i = data->n_wal_files; i-- > 0 && !number;) {
		struct lp_walgroup_head group;
		struct lp_walwalk walk;
		struct lp_map map;
		char path[8192];

		if (lp_ctl_wal_path(data, data->wal_files[i], path, sizeof path) < 0 || lp_map_open(path, &map) < 0)
			continue;
		if (lp_walwalk_start(&walk, map.p, map.len, true) == 0 &&
		    lp_walgroup_check(map.p + walk.off, map.len - walk.off, walk.salt, 1, &group) == 0)
			number = data->wal_files[i];
		lp_map_close(&map);
	}
	return number;
}

static int verify_wal(const struct lp_ctl_data *data, size_t i, uint32_t newest, struct totals *t)
{
	char path[8192];
	struct lp_map map;
	struct lp_walwalk walk;
	struct lp_walrec_head head;
	size_t off;
	int r = lp_ctl_wal_path(data, data->wal_files[i], path, sizeof path);

	if (r == 0)
		r = lp_map_open(path, &map);
	if (r == -ENODATA && i + 1 == data->n_wal_files)
		return 0;               /* being made when the server was killed */
	if (r < 0) {
		printf("%s: %s\n", path, strerror(-r));
		t->faults++;
		return r == -ENOMEM ? r : 0;
	}
	uint64_t bad_pages = lp_map_faults();

	r = lp_walwalk_start(&walk, map.p, map.len, true);
	if (r < 0) {
		if (!all_zero(&map, 0)) {
			printf("%s: %s\n", path, r == -EPROTO ? "written by a newer version" : "header is damaged");
			t->faults++;
		}
		lp_map_close(&map);
		return 0;
	}
	uint32_t damages = 0;

	while (lp_walwalk_next(&walk, &off, &head) > 0) {
		report_damage(path, &walk, &damages, t);
		t->records++;
		t->entries += head.entries;
	}
	report_damage(path, &walk, &damages, t);
	judge_tail(path, &map, &walk, data->wal_files[i] < newest, t);
	if (lp_map_faults() != bad_pages) {
		printf("%s: the disk could not read some pages\n", path);
		t->faults++;
	}
	lp_map_close(&map);
	return 0;
}

static int verify_segments(const struct lp_ctl_data *data, struct totals *t)
{
	struct lp_segment_name *names;
	size_t n;
	int r = lp_segment_list_all(data->segments, &names, &n);

	for (size_t i = 0; r == 0 && i < n; i++) {
		struct lp_buf report = LP_BUF_INIT;
		struct lp_segment *segment = NULL;
		int bad = lp_segment_verify(data->segments, &names[i], &report);

		if (bad == -ENOMEM)
			r = bad;
		t->segments++;
		t->faults += bad < 0;
		if (report.len)
			fwrite(report.data, 1, report.len, stdout);
		lp_buf_free(&report);
		if (bad == 0 && lp_segment_open(data->segments, &names[i], &segment) == 0) {
			t->segment_entries += lp_segment_info(segment)->entries;
			lp_segment_close(&segment);
		}
	}
	if (r == 0)
		free(names);
	return r;
}

static int verify_deletes(const char *data_dir, struct totals *t)
{
	struct lp_deletes deletes;
	int r = lp_deletes_load(data_dir, &deletes);

	if (r == -EBADMSG) {
		printf("%s/deletes: the list of delete requests is damaged; queries fail until it is put right or removed\n", data_dir);
		t->faults++;
		return 0;
	}
	if (r == 0)
		lp_deletes_free(&deletes);
	return r;
}

int lp_ctl_verify(int argc, char **argv)
{
	struct lp_ctl_data data;
	struct totals t = { 0 };

	if (argc != 2 || argv[1][0] == '-')
		return LP_CTL_USAGE;
	if (lp_ctl_data_open(argv[1], &data) < 0)
		return LP_CTL_FAILED;
	int r = verify_segments(&data, &t);

	if (r == 0)
		r = verify_deletes(argv[1], &t);
	uint32_t newest = newest_in_use(&data);

	for (size_t i = 0; r == 0 && i < data.n_wal_files; i++)
		r = verify_wal(&data, i, newest, &t);
	if (r < 0)
		fprintf(stderr, "logpulsectl: %s: %s\n", argv[1], strerror(-r));
	else
		printf("segments=%" PRIu64 " segment_entries=%" PRIu64 " wal_files=%zu wal_records=%" PRIu64 " wal_entries=%" PRIu64 " faults=%u\n",
		       t.segments, t.segment_entries, data.n_wal_files, t.records, t.entries, t.faults);
	lp_ctl_data_close(&data);
	return r < 0 || t.faults ? LP_CTL_FAILED : LP_CTL_OK;
}

static int print_blocks(const char *dir, const struct lp_segment_name *name)
{
	struct lp_segment *segment = NULL;
	char file[80];
	int r = lp_segment_name_format(name, "", file, sizeof file);

	if (r == 0)
		r = lp_segment_open(dir, name, &segment);
	if (r < 0) {
		printf("%s: %s\n", file, strerror(-r));
		return r;
	}
	const struct lp_segment_info *info = lp_segment_info(segment);

	printf("%s streams=%u blocks=%u runs=%u entries=%" PRIu64 " raw_bytes=%" PRIu64 " disk_bytes=%" PRIu64 "\n", file, info->streams,
	       info->blocks, info->runs, info->entries, info->raw_bytes, info->disk_bytes);
	for (uint32_t i = 0; i < info->blocks; i++) {
		struct lp_segindex_block b;
		struct lp_block_peek peek;
		const uint8_t *p;
		size_t len;

		if (lp_segindex_block(lp_segment_index(segment), i, &b) < 0 || lp_segment_block(segment, i, &p, &len) < 0 ||
		    lp_block_peek(p, len, &peek) < 0) {
			printf("  %u damaged\n", i);
			r = -EBADMSG;
			continue;
		}
		printf("  %u entries=%u streams=%u..%u raw=%u bytes=%zu ts=%u text=%u inner=%u meta=%u\n", i, b.entries, b.first_stream,
		       b.last_stream, b.raw_bytes, len, peek.ts_bytes, peek.text_bytes, peek.inner_bytes, peek.meta_bytes);
	}
	lp_segment_close(&segment);
	return r;
}

int lp_ctl_blocks(int argc, char **argv)
{
	struct lp_ctl_data data;
	struct lp_segment_name *names;
	size_t n;
	int status = LP_CTL_OK;

	if (argc != 2 || argv[1][0] == '-')
		return LP_CTL_USAGE;
	if (lp_ctl_data_open(argv[1], &data) < 0)
		return LP_CTL_FAILED;
	int r = lp_segment_list(data.segments, &names, &n);

	if (r < 0) {
		fprintf(stderr, "logpulsectl: %s: %s\n", data.segments, strerror(-r));
		lp_ctl_data_close(&data);
		return LP_CTL_FAILED;
	}
	for (size_t i = 0; i < n; i++)
		if (print_blocks(data.segments, &names[i]) < 0)
			status = LP_CTL_FAILED;
	free(names);
	lp_ctl_data_close(&data);
	return status;
}
