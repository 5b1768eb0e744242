/* WAL file images for tests, written from the byte tables in walrec.h and walfile.h and not with the code under test. */
#include "tests/unit/walimage.h"

#include "common/bytes.h"
#include "common/crc32c.h"

#include <errno.h>
#include <stdio.h>

void walimage_start(struct walimage *image, uint32_t number)
{
	struct lp_walfile_head head;
	static const uint8_t zeros[LP_WALFILE_HEAD];

	*image = (struct walimage){ .salt = 0x5a17000000000000u + number, .number = number };
	lp_walfile_head_make(&head, number, 1u << 20, image->salt, 1);
	lp_buf_append(&image->bytes, zeros, sizeof zeros);
	memcpy(image->bytes.data, &head, sizeof head);
}

static bool same_stream(const struct walimage_row *a, const struct walimage_row *b)
{
	return a->labels_len == b->labels_len && !memcmp(a->labels, b->labels, a->labels_len);
}

static void pad(struct lp_buf *rec, size_t to)
{
	while (rec->len % to)
		lp_buf_byte(rec, 0);
}

static void put_directory(struct lp_buf *rec, struct lp_walrec_head *head, const struct walimage_row *rows, uint32_t n)
{
	uint32_t labels_off;

	for (uint32_t i = 0; i < n; i++)
		head->streams += !i || !same_stream(&rows[i - 1], &rows[i]);
	labels_off = LP_WALREC_HEAD + head->streams * LP_WALREC_STREAM;
	for (uint32_t i = 0, end; i < n; i = end) {
		struct lp_walrec_stream s = { .hash = lp_labels_hash(rows[i].labels, rows[i].labels_len), .labels_bytes = rows[i].labels_len,
					      .labels_off = labels_off, .first_entry = i, .min_ts = INT64_MAX, .max_ts = INT64_MIN, .flags = 1 };

		for (end = i; end < n && same_stream(&rows[i], &rows[end]); end++) {
			s.entries++;
			s.text_bytes += rows[end].line_len + 1;
			s.min_ts = rows[end].ts < s.min_ts ? rows[end].ts : s.min_ts;
			s.max_ts = rows[end].ts > s.max_ts ? rows[end].ts : s.max_ts;
			if (end > i && rows[end - 1].ts > rows[end].ts)
				s.flags = 0;
		}
		labels_off += s.labels_bytes;
		head->min_ts = s.min_ts < head->min_ts ? s.min_ts : head->min_ts;
		head->max_ts = s.max_ts > head->max_ts ? s.max_ts : head->max_ts;
		lp_buf_append(rec, &s, sizeof s);
	}
	for (uint32_t i = 0; i < n; i++)
		if (!i || !same_stream(&rows[i - 1], &rows[i]))
			lp_buf_append(rec, rows[i].labels, rows[i].labels_len);
}

void walimage_add(struct walimage *image, const struct walimage_row *rows, uint32_t n)
{
	struct lp_walrec_head head = { .magic = LP_WALREC_MAGIC, .epoch = 7, .pos = image->pos, .kind = LP_WALREC_KIND_BATCH, .entries = n,
				       .min_ts = INT64_MAX, .max_ts = INT64_MIN };
	struct lp_walgroup_head group;
	struct lp_buf rec = LP_BUF_INIT;
	uint32_t end = 0, meta_end = 0;

	for (uint32_t i = 0; i < n; i++) {
		head.text_bytes += rows[i].line_len + 1;
		if (rows[i].meta_len)
			head.flags = LP_WALREC_HAS_METADATA;
	}
	lp_buf_append(&rec, &head, sizeof head);
	put_directory(&rec, &head, rows, n);
	pad(&rec, 8);
	for (uint32_t i = 0; i < n; i++)
		lp_buf_append(&rec, &rows[i].ts, 8);
	for (uint32_t i = 0; i < n; i++) {
		end += rows[i].line_len + 1;
		lp_buf_append(&rec, &end, 4);
	}
	for (uint32_t i = 0; head.flags && i < n; i++) {
		meta_end += rows[i].meta_len;
		lp_buf_append(&rec, &meta_end, 4);
	}
	pad(&rec, 8);
	for (uint32_t i = 0; i < n; i++) {
		lp_buf_append(&rec, rows[i].line, rows[i].line_len);
		lp_buf_byte(&rec, '\n');
	}
	for (uint32_t i = 0; i < n; i++)
		lp_buf_append(&rec, rows[i].meta, rows[i].meta_len);
	pad(&rec, LP_WALREC_ALIGN);
	head.bytes = (uint32_t)rec.len;
	memcpy(rec.data, &head, sizeof head);
	head.crc = lp_crc32c(0, rec.data, rec.len);
	memcpy(rec.data, &head, sizeof head);
	lp_walgroup_make(&group, image->salt, head.epoch, 0, image->pos, head.bytes, ++image->sequence, 0);
	lp_buf_append(&image->bytes, &group, sizeof group);
	lp_buf_append(&image->bytes, rec.data, rec.len);
	image->pos += rec.len;
	lp_buf_free(&rec);
}

int walimage_write(struct walimage *image, const char *path, size_t padding)
{
	FILE *f = fopen(path, "wb");

	if (!f || image->bytes.failed)
		return -EIO;
	size_t n = fwrite(image->bytes.data, 1, image->bytes.len, f);

	while (padding--)
		fputc(0, f);
	return fclose(f) == 0 && n == image->bytes.len ? 0 : -EIO;
}

void walimage_free(struct walimage *image)
{
	lp_buf_free(&image->bytes);
}
