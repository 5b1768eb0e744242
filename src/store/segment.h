/* Sealed segments, reader side: NAME.chunks (blocks) and NAME.index (mmapped, no decoding at open).
 *
 * Directory data/segments/YYYY-MM-DD/, NAME = SSSSSSSS-EEEEEEEE-L: WAL file numbers covered (decimal) and compaction level (0: from
 * sealing).  The segment exists if and only if its .index does (written last, renamed into place).
 * This is the one interface through which sealed data is read (an object store may stand behind it later).
 * Process: any; the objects are immutable and may be used by many threads. */
#ifndef LP_STORE_SEGMENT_H
#define LP_STORE_SEGMENT_H

#include "common/buf.h"
#include "store/format/block.h"
#include "store/format/segindex.h"      /* struct lp_segment_name, struct lp_run */

struct lp_segment;

struct lp_segment_info {
	struct lp_segment_name name;
	uint32_t streams, blocks, runs;
	uint64_t entries, raw_bytes, disk_bytes;        /* raw: line bytes without newlines */
	int64_t min_ts, max_ts;
};

/* Open and check header, section table and their checksums (not every block).  -ENOENT, -EBADMSG, -EPROTO. */
int lp_segment_open(const char *segments_dir, const struct lp_segment_name *name, struct lp_segment **ret_segment);
void lp_segment_close(struct lp_segment **segment);
const struct lp_segment_info *lp_segment_info(const struct lp_segment *segment);

/* Labels (canonical bytes, mapped memory) and time range of one stream. */
int lp_segment_stream(const struct lp_segment *segment, uint32_t stream, const uint8_t **ret_labels, uint32_t *ret_len,
		      int64_t *ret_min_ts, int64_t *ret_max_ts);
/* Runs of one stream: indexes [*ret_first, *ret_first + *ret_n) for lp_segment_run(). */
int lp_segment_stream_runs(const struct lp_segment *segment, uint32_t stream, uint32_t *ret_first, uint32_t *ret_n);
int lp_segment_run(const struct lp_segment *segment, uint32_t run, struct lp_run *ret_run);
/* Encoded bytes of a block in the mapped .chunks file, for lp_block_decode() (lp_segment_decode() is what queries use).  The block's header was held against the index: when it
 * decodes, the rows and offsets of its runs lie inside. */
int lp_segment_block(const struct lp_segment *segment, uint32_t block, const uint8_t **ret_p, size_t *ret_len);
/* lp_block_decode() of a block, with each column's checksum computed the first time that the column is read through this segment and not
 * again.  Safe because a sealed file never changes and the mapping is the page cache itself: bytes that were right stay right.  The one
 * exception, a page that was dropped from the cache and could not be read back, is counted by lp_map_faults(), and from then on every
 * checksum is computed at every read.  (What a disk returns wrong without an error after the first read is not noticed until the next
 * start or logpulsectl verify.)  -EBADMSG: skip and count. */
int lp_segment_decode(const struct lp_segment *segment, struct lp_block_decoder *decoder, uint32_t block, unsigned want, struct lp_rows *ret_rows);

/* The segment's skip filter (store/format/grams.h), borrowed until close.  Its checksum is computed at the first call: a wrong bit would
 * hide lines.  -ENOENT: the segment has none, or none that can be trusted; read everything then. */
int lp_segment_grams(const struct lp_segment *segment, struct lp_grams *ret_grams);

/* Index walk (the tenants are values of the reserved name "", which the count leaves out and lp_segment_find_label() finds): label names and, for each name, distinct values with their postings (ascending stream indexes). */
uint32_t lp_segment_label_names(const struct lp_segment *segment);
int lp_segment_label_name(const struct lp_segment *segment, uint32_t name, const char **ret_s, uint32_t *ret_len, uint32_t *ret_values);
/* Index of a name, or -ENOENT. */
int lp_segment_find_label(const struct lp_segment *segment, const char *s, size_t len, uint32_t *ret_name);
/* Value number `value` (bytewise order) of a name.  The text is appended to `scratch` (front coding) and borrowed from it. */
int lp_segment_label_value(const struct lp_segment *segment, uint32_t name, uint32_t value, struct lp_buf *scratch,
			   const char **ret_s, uint32_t *ret_len);
/* Index of an exact value, or -ENOENT. */
int lp_segment_find_value(const struct lp_segment *segment, uint32_t name, const char *s, size_t len, uint32_t *ret_value);
int lp_segment_postings(const struct lp_segment *segment, uint32_t name, uint32_t value, const uint32_t **ret_streams, uint32_t *ret_n);

/* Every check there is, every block decoded: for logpulsectl verify.  Appends one line per fault to report.  0, -EBADMSG faults were found,
 * other -errno: it could not be read. */
int lp_segment_verify(const char *segments_dir, const struct lp_segment_name *name, struct lp_buf *report);

int lp_segment_name_parse(const char *day, const char *file, struct lp_segment_name *ret_name);   /* "...index" only */
int lp_segment_name_format(const struct lp_segment_name *name, const char *suffix, char *out, size_t out_len);
/* All segments present, superseded ones (covered by a higher level) left out; sorted by day, first.  Unreadable names are skipped. */
int lp_segment_list(const char *segments_dir, struct lp_segment_name **ret_names, size_t *ret_n);

#endif
