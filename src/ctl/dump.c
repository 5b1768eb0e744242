/* logpulsectl dump: every entry of a data directory once, from segments and WAL, without a server.  Reads only.
 *
 * An entry is (stream, timestamp, line, metadata); it may lie in several places (a WAL file that is sealed already, a push that was
 * retried), so 16 bytes per entry are remembered: XXH3-128 of all four.  Order: segments by day and stream, then the WAL. */
#include "ctl/ctl.h"

#include "common/jsonw.h"
#include "common/rfc3339.h"
#include "store/format/walfile.h"
#include "store/map.h"
#include "store/segment.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#define MAX_FILTERS 32

enum format { TEXT, JSON, COUNT };

struct stream {
	uint8_t *labels;
	uint32_t len;
	bool wanted;
	struct lp_hash128 hash;
	uint64_t entries;
};

struct dump {
	enum format format;
	const char *filters[MAX_FILTERS];       /* NAME=VALUE */
	unsigned n_filters, damaged;
	XXH128_hash_t *seen;                    /* open addressing; zero: free */
	size_t n_seen, cap_seen;
	struct stream *streams;
	uint32_t *slots;                        /* stream number + 1 */
	uint32_t n_streams, cap_streams;
	struct lp_buf out;
};

/* ---- what was seen ---- */

static int grow_seen(struct dump *d)
{
	size_t cap = d->cap_seen ? d->cap_seen * 2 : 1 << 16;
	XXH128_hash_t *seen = calloc(cap, sizeof *seen);

	if (!seen)
		return -ENOMEM;
	for (size_t i = 0; i < d->cap_seen; i++) {
		if (!d->seen[i].low64 && !d->seen[i].high64)
			continue;
		size_t at = d->seen[i].low64 & (cap - 1);

		while (seen[at].low64 || seen[at].high64)
			at = (at + 1) & (cap - 1);
		seen[at] = d->seen[i];
	}
	free(d->seen);
	d->seen = seen;
	d->cap_seen = cap;
	return 0;
}

/* 1 new, 0 seen before. */
static int remember(struct dump *d, XXH128_hash_t hash)
{
	if (d->n_seen >= d->cap_seen / 2) {
		int r = grow_seen(d);

		if (r < 0)
			return r;
	}
	if (!hash.low64 && !hash.high64)
		hash.low64 = 1;
	size_t at = hash.low64 & (d->cap_seen - 1);

	for (; d->seen[at].low64 || d->seen[at].high64; at = (at + 1) & (d->cap_seen - 1))
		if (XXH128_isEqual(d->seen[at], hash))
			return 0;
	d->seen[at] = hash;
	d->n_seen++;
	return 1;
}

static bool wanted(const struct dump *d, const uint8_t *labels, uint32_t len)
{
	for (unsigned i = 0; i < d->n_filters; i++) {
		const char *eq = strchr(d->filters[i], '=');
		struct lp_label label;
		size_t value_len = strlen(eq + 1);

		if (lp_labels_find(labels, len, d->filters[i], (size_t)(eq - d->filters[i]), &label) != 1) {
			if (value_len)
				return false;   /* NAME= wants streams without it */
			continue;
		}
		if (label.value_len != value_len || memcmp(label.value, eq + 1, value_len))
			return false;
	}
	return true;
}

static int grow_streams(struct dump *d)
{
	uint32_t cap = d->cap_streams ? d->cap_streams * 2 : 1024;
	struct stream *streams = realloc(d->streams, cap * sizeof *streams);

	if (!streams)
		return -ENOMEM;
	d->streams = streams;
	uint32_t *slots = calloc((size_t)cap * 2, sizeof *slots);

	if (!slots)
		return -ENOMEM;
	free(d->slots);
	d->slots = slots;
	d->cap_streams = cap;
	for (uint32_t i = 0; i < d->n_streams; i++) {
		uint32_t at = (uint32_t)streams[i].hash.lo & (cap * 2 - 1);

		while (slots[at])
			at = (at + 1) & (cap * 2 - 1);
		slots[at] = i + 1;
	}
	return 0;
}

static int find_stream(struct dump *d, const uint8_t *labels, uint32_t len, struct stream **ret_stream)
{
	struct lp_hash128 hash = lp_labels_hash(labels, len);

	if (d->n_streams == d->cap_streams) {
		int r = grow_streams(d);

		if (r < 0)
			return r;
	}
	uint32_t mask = d->cap_streams * 2 - 1, at = (uint32_t)hash.lo & mask;

	for (; d->slots[at]; at = (at + 1) & mask) {
		struct stream *s = &d->streams[d->slots[at] - 1];

		if (s->len == len && !memcmp(s->labels, labels, len)) {
			*ret_stream = s;
			return 0;
		}
	}
	uint8_t *copy = malloc((size_t)len + 1);

	if (!copy)
		return -ENOMEM;
	memcpy(copy, labels, len);
	d->streams[d->n_streams] = (struct stream){ .labels = copy, .len = len, .wanted = wanted(d, labels, len), .hash = hash };
	*ret_stream = &d->streams[d->n_streams++];
	d->slots[at] = d->n_streams;
	return 0;
}

/* ---- printing ---- */

static void print_pairs(struct lp_buf *out, struct lp_labels_iter *it)
{
	struct lp_label label;
	bool first = true;

	lp_buf_byte(out, '{');
	for (; lp_labels_next(it, &label) > 0; first = false) {
		if (!first)
			lp_buf_byte(out, ',');
		lp_jsonw_str(out, label.name, label.name_len);
		lp_buf_byte(out, ':');
		lp_jsonw_str(out, label.value, label.value_len);
	}
	lp_buf_byte(out, '}');
}

static void print_json(struct lp_buf *out, const struct stream *s, int64_t ts, const char *line, uint32_t len, const uint8_t *meta, uint32_t meta_len)
{
	struct lp_labels_iter it;
	const char *tenant;
	size_t tenant_len;

	lp_buf_printf(out, "{\"ts\":\"%" PRId64 "\",\"labels\":", ts);
	if (lp_labels_iter(&it, s->labels, s->len, &tenant, &tenant_len) == 0) {
		print_pairs(out, &it);
		if (tenant_len) {
			lp_buf_str(out, ",\"tenant\":");
			lp_jsonw_str(out, tenant, tenant_len);
		}
	} else {
		lp_buf_str(out, "null");
	}
	lp_buf_str(out, ",\"line\":");
	lp_jsonw_str(out, line, len);
	if (meta_len && lp_metadata_iter(&it, meta, meta_len) == 0) {
		lp_buf_str(out, ",\"metadata\":");
		print_pairs(out, &it);
	}
	lp_buf_str(out, "}\n");
}

static void print_text(struct lp_buf *out, const struct stream *s, int64_t ts, const char *line, uint32_t len)
{
	char when[LP_RFC3339_MAX];
	size_t n = lp_rfc3339_format(when, ts);

	lp_buf_append(out, when, n);
	lp_buf_byte(out, ' ');
	lp_labels_print(out, s->labels, s->len);
	lp_buf_byte(out, ' ');
	lp_buf_append(out, line, len);
	lp_buf_byte(out, '\n');
}

static int add_rows(struct dump *d, struct stream *s, const struct lp_rows *rows, uint32_t first, uint32_t n)
{
	for (uint32_t i = first; i < first + n; i++) {
		uint32_t len, meta_len;
		const char *line = lp_rows_line(rows, i, &len);
		const uint8_t *meta = lp_rows_meta(rows, i, &meta_len);
		struct {
			XXH128_hash_t line, meta;
			struct lp_hash128 stream;
			int64_t ts;
			uint64_t meta_len;
		} key = { XXH3_128bits(line, len), meta_len ? XXH3_128bits(meta, meta_len) : (XXH128_hash_t){ 0 }, s->hash, rows->ts[i], meta_len };
		int r = remember(d, XXH3_128bits(&key, sizeof key));

		if (r < 0)
			return r;
		if (!r)
			continue;
		s->entries++;
		if (d->format == JSON)
			print_json(&d->out, s, rows->ts[i], line, len, meta, meta_len);
		else if (d->format == TEXT)
			print_text(&d->out, s, rows->ts[i], line, len);
		if (d->out.failed)
			return -ENOMEM;
		if (d->out.len > 1 << 16) {
			fwrite(d->out.data, 1, d->out.len, stdout);
			lp_buf_reset(&d->out);
		}
	}
	return 0;
}

/* ---- sources ---- */

static int dump_run(struct dump *d, const struct lp_segment *segment, struct lp_block_decoder *decoder, uint32_t *block, struct lp_rows *rows,
		    uint32_t number)
{
	const uint8_t *labels, *p;
	struct stream *s = NULL;
	struct lp_run run;
	uint32_t len;
	int64_t min, max;
	size_t block_len;
	int r = lp_segment_run(segment, number, &run);

	if (r == 0)
		r = lp_segment_stream(segment, run.stream, &labels, &len, &min, &max);
	if (r == 0)
		r = find_stream(d, labels, len, &s);
	if (r < 0 || !s->wanted)
		return r;
	if (*block != run.block) {
		r = lp_segment_block(segment, run.block, &p, &block_len);
		*block = UINT32_MAX;
		if (r == 0)
			r = lp_block_decode(decoder, p, block_len, LP_BLOCK_WANT_TS | LP_BLOCK_WANT_TEXT | LP_BLOCK_WANT_META, rows);
		if (r < 0)
			return r;
		*block = run.block;
	}
	return add_rows(d, s, rows, run.first_row, run.rows);
}

static int dump_segment(struct dump *d, const char *dir, const struct lp_segment_name *name, struct lp_block_decoder *decoder)
{
	struct lp_segment *segment = NULL;
	struct lp_rows rows = { 0 };
	uint32_t block = UINT32_MAX;
	unsigned damaged = 0;
	char file[80];
	int r = lp_segment_name_format(name, "", file, sizeof file);

	if (r == 0)
		r = lp_segment_open(dir, name, &segment);
	for (uint32_t i = 0; segment && i < lp_segment_info(segment)->runs; i++) {
		r = dump_run(d, segment, decoder, &block, &rows, i);
		if (r < 0 && r != -EBADMSG)
			break;
		damaged += r < 0;
		r = 0;
	}
	if (r < 0 || damaged)
		fprintf(stderr, "logpulsectl: %s: %s\n", file, r < 0 ? strerror(-r) : "damaged blocks were left out; see logpulsectl verify");
	lp_segment_close(&segment);
	if (r == -ENOMEM)
		return r;
	d->damaged += damaged + (r < 0);
	return 0;
}

static int dump_segments(struct dump *d, const char *dir)
{
	struct lp_block_decoder *decoder = NULL;
	struct lp_segment_name *names = NULL;
	size_t n = 0;
	int r = lp_segment_list(dir, &names, &n);

	if (r == 0)
		r = lp_block_decoder_open(&decoder);
	for (size_t i = 0; r == 0 && i < n; i++)
		r = dump_segment(d, dir, &names[i], decoder);
	lp_block_decoder_close(&decoder);
	free(names);
	return r;
}

static int dump_record(struct dump *d, const uint8_t *rec, const struct lp_walrec_head *head)
{
	for (uint32_t i = 0; i < head->streams; i++) {
		struct lp_walrec_stream dir;
		struct stream *s = NULL;
		struct lp_rows rows;
		int r = lp_walrec_stream(rec, head, i, &dir);

		if (r == 0)
			r = lp_walrec_rows(rec, head, &dir, &rows);
		if (r == 0)
			r = find_stream(d, rec + dir.labels_off, dir.labels_bytes, &s);
		if (r == 0 && s->wanted)
			r = add_rows(d, s, &rows, 0, rows.n);
		if (r < 0)
			return r;
	}
	return 0;
}

static int dump_wal(struct dump *d, const struct lp_ctl_data *data, uint32_t number)
{
	char path[8192];
	struct lp_map map;
	struct lp_walwalk walk;
	struct lp_walrec_head head;
	size_t off;
	int r = lp_ctl_wal_path(data, number, path, sizeof path);

	if (r == 0)
		r = lp_map_open(path, &map);
	if (r < 0)
		return r == -ENODATA ? 0 : r;
	if (lp_walwalk_start(&walk, map.p, map.len, true) == 0)
		while (r >= 0 && lp_walwalk_next(&walk, &off, &head) > 0)
			r = dump_record(d, map.p + off, &head);
	lp_map_close(&map);
	return r;
}

/* ---- the command ---- */

static int by_labels(const void *a, const void *b)
{
	const struct stream *x = a, *y = b;

	return lp_labels_cmp(x->labels, x->len, y->labels, y->len);
}

/* "N {labels}", and the tenant behind it if there is one. */
static void print_counts(struct dump *d)
{
	if (d->n_streams)
		qsort(d->streams, d->n_streams, sizeof *d->streams, by_labels);
	for (uint32_t i = 0; i < d->n_streams; i++) {
		const struct stream *s = &d->streams[i];
		struct lp_labels_iter it;
		const char *tenant;
		size_t tenant_len = 0;

		if (!s->entries)
			continue;
		lp_buf_u64(&d->out, s->entries);
		lp_buf_byte(&d->out, ' ');
		lp_labels_print(&d->out, s->labels, s->len);
		if (lp_labels_iter(&it, s->labels, s->len, &tenant, &tenant_len) == 0 && tenant_len) {
			lp_buf_str(&d->out, " tenant=");
			lp_jsonw_str(&d->out, tenant, tenant_len);
		}
		lp_buf_byte(&d->out, '\n');
	}
}

static int parse_args(struct dump *d, int argc, char **argv, const char **ret_dir)
{
	const char *dir = NULL;

	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--format") && i + 1 < argc) {
			const char *f = argv[++i];

			if (strcmp(f, "text") && strcmp(f, "json") && strcmp(f, "count"))
				return -EINVAL;
			d->format = f[0] == 't' ? TEXT : f[0] == 'j' ? JSON : COUNT;
		} else if (!strcmp(argv[i], "--stream") && i + 1 < argc) {
			if (!strchr(argv[++i], '=') || d->n_filters == MAX_FILTERS)
				return -EINVAL;
			d->filters[d->n_filters++] = argv[i];
		} else if (argv[i][0] == '-' || dir) {
			return -EINVAL;
		} else {
			dir = argv[i];
		}
	}
	if (!dir)
		return -EINVAL;
	*ret_dir = dir;
	return 0;
}

int lp_ctl_dump(int argc, char **argv)
{
	struct dump d = { 0 };
	struct lp_ctl_data data;
	const char *dir;

	if (parse_args(&d, argc, argv, &dir) < 0)
		return LP_CTL_USAGE;
	if (lp_ctl_data_open(dir, &data) < 0)
		return LP_CTL_FAILED;
	int r = dump_segments(&d, data.segments);

	for (size_t i = 0; r == 0 && i < data.n_wal_files; i++)
		r = dump_wal(&d, &data, data.wal_files[i]);
	if (r == 0 && d.format == COUNT)
		print_counts(&d);
	if (d.out.len)
		fwrite(d.out.data, 1, d.out.len, stdout);
	if (r < 0 || d.out.failed)
		fprintf(stderr, "logpulsectl: %s: %s\n", dir, strerror(r < 0 ? -r : ENOMEM));
	int status = r < 0 || d.out.failed || d.damaged ? LP_CTL_FAILED : LP_CTL_OK;

	for (uint32_t i = 0; i < d.n_streams; i++)
		free(d.streams[i].labels);
	free(d.streams);
	free(d.slots);
	free(d.seen);
	lp_buf_free(&d.out);
	lp_ctl_data_close(&data);
	return status;
}
