/* For unit tests: a data directory with a write-ahead log that the test itself writes, record by record. */
#ifndef LP_TESTS_STORE_FIXTURE_H
#define LP_TESTS_STORE_FIXTURE_H

#include "common/buf.h"
#include "common/crc32c.h"
#include "store/format/walfile.h"

#include <check.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FIX_SALT UINT64_C(0x5a17)
#define FIX_EPOCH UINT64_C(77)

struct fix_entry {
	int64_t ts;
	const char *line;
	uint32_t len;
	const uint8_t *meta;
	uint32_t meta_len;
};

/* One batch per call to fix_stream(); labels as name, value, ..., NULL. */
struct fix_rec {
	struct lp_walrec_stream dirs[64];
	struct lp_buf labels, ts, ends, meta_ends, text, meta;
	uint32_t streams, entries;
	bool has_meta;
};

struct fix_wal {
	char dir[256];                  /* the data directory */
	int fd;
	uint32_t number;
	uint64_t size, off, sequence, pos;
};

static inline void fix_labels(struct lp_buf *out, const char *tenant, const char *const *pairs)
{
	struct lp_label labels[16];
	size_t n = 0;

	for (; pairs[2 * n]; n++)
		labels[n] = (struct lp_label){ .name = pairs[2 * n], .name_len = (uint32_t)strlen(pairs[2 * n]),
					       .value = pairs[2 * n + 1], .value_len = (uint32_t)strlen(pairs[2 * n + 1]) };
	ck_assert_int_eq(lp_labels_encode(out, tenant, strlen(tenant), labels, n), 0);
}

static inline void fix_meta(struct lp_buf *out, const char *name, const char *value)
{
	struct lp_label label = { .name = name, .name_len = (uint32_t)strlen(name), .value = value, .value_len = (uint32_t)strlen(value) };

	ck_assert_int_eq(lp_metadata_encode(out, &label, 1), 0);
}

static inline void fix_rec_add(struct fix_rec *rec, const uint8_t *labels, size_t labels_len, const struct fix_entry *entries, uint32_t n)
{
	struct lp_walrec_stream *dir = &rec->dirs[rec->streams++];
	size_t text_before = rec->text.len;

	ck_assert_uint_le(rec->streams, 64);
	*dir = (struct lp_walrec_stream){ .hash = lp_labels_hash(labels, labels_len), .labels_bytes = (uint32_t)labels_len,
					  .labels_off = (uint32_t)rec->labels.len, .first_entry = rec->entries, .entries = n,
					  .min_ts = INT64_MAX, .max_ts = INT64_MIN, .flags = LP_WALREC_SORTED };
	lp_buf_append(&rec->labels, labels, labels_len);
	for (uint32_t i = 0; i < n; i++) {
		uint32_t end, meta_end;

		if (i && entries[i].ts < entries[i - 1].ts)
			dir->flags = 0;
		dir->min_ts = entries[i].ts < dir->min_ts ? entries[i].ts : dir->min_ts;
		dir->max_ts = entries[i].ts > dir->max_ts ? entries[i].ts : dir->max_ts;
		lp_buf_append(&rec->ts, &entries[i].ts, 8);
		lp_buf_append(&rec->text, entries[i].line, entries[i].len);
		lp_buf_byte(&rec->text, '\n');
		end = (uint32_t)rec->text.len;
		lp_buf_append(&rec->ends, &end, 4);
		lp_buf_append(&rec->meta, entries[i].meta, entries[i].meta_len);
		meta_end = (uint32_t)rec->meta.len;
		lp_buf_append(&rec->meta_ends, &meta_end, 4);
		rec->has_meta |= entries[i].meta_len != 0;
	}
	rec->entries += n;
	dir->text_bytes = (uint32_t)(rec->text.len - text_before);
}

static inline void fix_pad(struct lp_buf *buf, size_t to)
{
	while (buf->len % to)
		lp_buf_byte(buf, 0);
}

/* The record's bytes; rec is empty afterwards. */
static inline void fix_rec_encode(struct fix_rec *rec, uint64_t pos, struct lp_buf *out)
{
	struct lp_walrec_head head = { .magic = LP_WALREC_MAGIC, .epoch = FIX_EPOCH, .pos = pos, .kind = LP_WALREC_KIND_BATCH,
				       .streams = rec->streams, .entries = rec->entries, .min_ts = INT64_MAX, .max_ts = INT64_MIN,
				       .text_bytes = (uint32_t)rec->text.len, .flags = rec->has_meta ? LP_WALREC_HAS_METADATA : 0 };
	uint32_t labels_at = LP_WALREC_HEAD + rec->streams * LP_WALREC_STREAM;

	for (uint32_t s = 0; s < rec->streams; s++) {
		rec->dirs[s].labels_off += labels_at;
		head.min_ts = rec->dirs[s].min_ts < head.min_ts ? rec->dirs[s].min_ts : head.min_ts;
		head.max_ts = rec->dirs[s].max_ts > head.max_ts ? rec->dirs[s].max_ts : head.max_ts;
	}
	size_t at = out->len;

	ck_assert_uint_eq(at % 16, 0);
	lp_buf_append(out, &head, sizeof head);
	lp_buf_append(out, rec->dirs, rec->streams * sizeof rec->dirs[0]);
	lp_buf_append(out, rec->labels.data, rec->labels.len);
	fix_pad(out, 8);
	lp_buf_append(out, rec->ts.data, rec->ts.len);
	lp_buf_append(out, rec->ends.data, rec->ends.len);
	if (rec->has_meta)
		lp_buf_append(out, rec->meta_ends.data, rec->meta_ends.len);
	fix_pad(out, 8);
	lp_buf_append(out, rec->text.data, rec->text.len);
	if (rec->has_meta)
		lp_buf_append(out, rec->meta.data, rec->meta.len);
	fix_pad(out, 16);
	head.bytes = (uint32_t)(out->len - at);
	memcpy(out->data + at, &head, sizeof head);
	head.crc = lp_crc32c(0, out->data + at, head.bytes);
	memcpy(out->data + at, &head, sizeof head);
	lp_buf_free(&rec->labels);
	lp_buf_free(&rec->ts);
	lp_buf_free(&rec->ends);
	lp_buf_free(&rec->meta_ends);
	lp_buf_free(&rec->text);
	lp_buf_free(&rec->meta);
	*rec = (struct fix_rec){ 0 };
}

static inline void fix_wal_path(const struct fix_wal *wal, uint32_t number, char out[300])
{
	snprintf(out, 300, "%s/wal/%08u.wal", wal->dir, number);
}

static inline void fix_wal_file(struct fix_wal *wal, uint32_t number)
{
	char path[300];
	struct lp_walfile_head head;

	if (wal->fd >= 0)
		close(wal->fd);
	wal->number = number;
	wal->off = LP_WALFILE_HEAD;
	wal->sequence = 0;
	fix_wal_path(wal, number, path);
	wal->fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	ck_assert_int_ge(wal->fd, 0);
	ck_assert_int_eq(ftruncate(wal->fd, (off_t)wal->size), 0);
	memset(&head, 0, sizeof head);
	lp_walfile_head_make(&head, number, wal->size, FIX_SALT + number, 1);
	ck_assert_int_eq(pwrite(wal->fd, &head, sizeof head, 0), (ssize_t)sizeof head);
}

static inline void fix_wal_open(struct fix_wal *wal, uint64_t size)
{
	char path[300];

	*wal = (struct fix_wal){ .fd = -1, .size = size };
	snprintf(wal->dir, sizeof wal->dir, "/tmp/lp-test-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(wal->dir));
	snprintf(path, sizeof path, "%s/wal", wal->dir);
	ck_assert_int_eq(mkdir(path, 0700), 0);
	snprintf(path, sizeof path, "%s/segments", wal->dir);
	ck_assert_int_eq(mkdir(path, 0700), 0);
	fix_wal_file(wal, 1);
}

static inline int fix_remove(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static inline void fix_wal_close(struct fix_wal *wal)
{
	if (wal->fd >= 0)
		close(wal->fd);
	(void)nftw(wal->dir, fix_remove, 16, FTW_DEPTH | FTW_PHYS);
}

/* Append one record as a group of its own; false when the file is full. */
static inline bool fix_wal_append(struct fix_wal *wal, const struct lp_buf *rec)
{
	struct lp_walgroup_head group;

	if (wal->off + LP_WALGROUP_HEAD + rec->len > wal->size)
		return false;
	lp_walgroup_make(&group, FIX_SALT + wal->number, FIX_EPOCH, 0, wal->pos, (uint32_t)rec->len, ++wal->sequence, 0);
	ck_assert_int_eq(pwrite(wal->fd, rec->data, rec->len, (off_t)(wal->off + LP_WALGROUP_HEAD)), (ssize_t)rec->len);
	ck_assert_int_eq(pwrite(wal->fd, &group, sizeof group, (off_t)wal->off), (ssize_t)sizeof group);
	wal->off += LP_WALGROUP_HEAD + rec->len;
	wal->pos += rec->len;
	return true;
}

#endif
