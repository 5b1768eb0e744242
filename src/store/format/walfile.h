/* WAL file: header page, then groups of records.
 *
 * File header (4096 bytes, the rest of the page zero):
 *   0 u64 magic "LPWALF01" | 8 u32 version (1) | 12 u32 file number | 16 u64 file size | 24 u64 salt (random, new for each life of the
 *   file) | 32 i64 created, ns | 40 u32 incompatible feature bits (0) | 44 u32 crc32c of bytes 0..43
 *
 * Group (at a multiple of 16): the writer puts one before the records that it takes from one lane at a time.
 *   0 u32 magic "LPG1" | 4 u32 crc32c of bytes 8..47 | 8 u64 salt of the file | 16 u64 epoch | 24 u64 lane position of the first record |
 *   32 u32 bytes of records that follow | 36 u16 lane | 38 u16 zero | 40 u32 sequence: 1 for the first group of the file, then +1 |
 *  44 u32 offset in this file before which everything was committed when the group was written: damage before it is damage,
 *  behind it may be an append that was never finished
 *   48 records (walrec.h), one after another, exactly as in the lane
 *
 * A group is valid if and only if magic, salt, crc and sequence hold.  Its records are valid if and only if each passes
 * lp_walrec_check and carries the group's epoch and lane and the position that follows from the group's and the records before.
 * The first invalid group or record ends the log of this file, unless a valid group behind it (of the file's salt and a greater
 * sequence) says by its offset that the place was committed: then it is damage, and the log goes on with the next record of
 * the same group, or the next group, that is valid.  Stale bytes of an earlier life of the file carry another salt;
 * stale records inside a torn group carry another (epoch, lane, position), which never repeats. */
#ifndef LP_STORE_FORMAT_WALFILE_H
#define LP_STORE_FORMAT_WALFILE_H

#include "store/format/walrec.h"

#define LP_WALFILE_MAGIC UINT64_C(0x31304656414c504c)
#define LP_WALFILE_VERSION 1u
#define LP_WALFILE_HEAD 4096u
#define LP_WALGROUP_MAGIC UINT32_C(0x3147504c)
#define LP_WALGROUP_HEAD 48u

struct lp_walfile_head {
	uint64_t magic;
	uint32_t version, number;
	uint64_t size, salt;
	int64_t created_ns;
	uint32_t incompat, crc;
};

struct lp_walgroup_head {
	uint32_t magic, crc;
	uint64_t salt, epoch, pos;
	uint32_t bytes;
	uint16_t lane, zero;
	uint32_t sequence, committed;
};
_Static_assert(sizeof(struct lp_walgroup_head) == LP_WALGROUP_HEAD, "WAL group layout");

void lp_walfile_head_make(struct lp_walfile_head *head, uint32_t number, uint64_t size, uint64_t salt, int64_t created_ns);
/* -EBADMSG; -EPROTO another version or unknown feature bits. */
int lp_walfile_head_check(const void *p, size_t avail, struct lp_walfile_head *ret_head);
void lp_walgroup_make(struct lp_walgroup_head *group, uint64_t salt, uint64_t epoch, uint16_t lane, uint64_t pos, uint32_t bytes,
		      uint32_t sequence, uint32_t committed);
/* Check the group head at p (>= 16-byte aligned); avail counts from p.  -EBADMSG. */
int lp_walgroup_check(const void *p, size_t avail, uint64_t salt, uint32_t sequence, struct lp_walgroup_head *ret_group);

/* Walk a file's valid records.  With `checked` every record is verified in full (recovery, verify); without it
 * only heads are looked at (readers below the committed position). */
struct lp_walwalk {
	const uint8_t *base;            /* the mapped file */
	size_t limit;                   /* stop before this offset: file size or committed offset */
	bool checked;
	/* state */
	uint64_t salt;
	uint32_t sequence;              /* of the current group */
	size_t off;                     /* of the next record or group */
	size_t group_end;               /* offset where the current group's records end */
	uint64_t next_pos;
	struct lp_walgroup_head group;
	size_t searched, committed;     /* groups that begin before `searched` say that all before `committed` was */
	/* damage that was left out so far */
	uint32_t damages;
	size_t damage_off;              /* of the last one */
	uint64_t damaged_bytes;
};
int lp_walwalk_start(struct lp_walwalk *walk, const void *base, size_t limit, bool checked);
/* 1 and the next record's offset and head; 0 at the end of the log (walk->off is then where the next group
 * would go); walking may resume later with a larger limit after 0. */
int lp_walwalk_next(struct lp_walwalk *walk, size_t *ret_off, struct lp_walrec_head *ret_head);

#endif
