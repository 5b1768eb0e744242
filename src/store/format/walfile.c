/* WAL file and group heads, and the walk over a file's records; see walfile.h.  Pure functions over memory. */
#include "store/format/walfile.h"

#include "common/bytes.h"
#include "common/crc32c.h"

#include <errno.h>

#define FILE_HEAD_CRC_OFF 44u

void lp_walfile_head_make(struct lp_walfile_head *head, uint32_t number, uint64_t size, uint64_t salt, int64_t created_ns)
{
	*head = (struct lp_walfile_head){ .magic = LP_WALFILE_MAGIC, .version = LP_WALFILE_VERSION, .number = number,
					  .size = size, .salt = salt, .created_ns = created_ns };
	head->crc = lp_crc32c(0, head, FILE_HEAD_CRC_OFF);
}

int lp_walfile_head_check(const void *p, size_t avail, struct lp_walfile_head *ret_head)
{
	struct lp_walfile_head head;

	_Static_assert(offsetof(struct lp_walfile_head, crc) == FILE_HEAD_CRC_OFF, "WAL file layout");
	if (avail < LP_WALFILE_HEAD)
		return -EBADMSG;
	memcpy(&head, p, sizeof head);
	if (head.magic != LP_WALFILE_MAGIC || head.crc != lp_crc32c(0, &head, FILE_HEAD_CRC_OFF))
		return -EBADMSG;
	if (head.version != LP_WALFILE_VERSION || head.incompat)
		return -EPROTO;
	*ret_head = head;
	return 0;
}

void lp_walgroup_make(struct lp_walgroup_head *group, uint64_t salt, uint64_t epoch, uint16_t lane, uint64_t pos, uint32_t bytes,
		      uint32_t sequence, uint32_t committed)
{
	*group = (struct lp_walgroup_head){ .magic = LP_WALGROUP_MAGIC, .salt = salt, .epoch = epoch, .pos = pos,
					    .bytes = bytes, .lane = lane, .sequence = sequence, .committed = committed };
	group->crc = lp_crc32c(0, (const uint8_t *)group + 8, LP_WALGROUP_HEAD - 8);
}

int lp_walgroup_check(const void *p, size_t avail, uint64_t salt, uint32_t sequence, struct lp_walgroup_head *ret_group)
{
	struct lp_walgroup_head group;

	if (avail < sizeof group)
		return -EBADMSG;
	memcpy(&group, p, sizeof group);
	if (group.magic != LP_WALGROUP_MAGIC || group.salt != salt || group.sequence != sequence ||
	    group.bytes % LP_WALREC_ALIGN || group.crc != lp_crc32c(0, (const uint8_t *)&group + 8, LP_WALGROUP_HEAD - 8))
		return -EBADMSG;
	*ret_group = group;
	return 0;
}

int lp_walwalk_start(struct lp_walwalk *walk, const void *base, size_t limit, bool checked)
{
	struct lp_walfile_head head;
	int r = lp_walfile_head_check(base, limit, &head);

	if (r < 0)
		return r;
	*walk = (struct lp_walwalk){ .base = base, .limit = limit, .checked = checked, .salt = head.salt,
				     .off = LP_WALFILE_HEAD, .group_end = LP_WALFILE_HEAD };
	return 0;
}

/* Step to the group at walk->off.  Its records may end beyond the limit (a torn append). */
static int enter_group(struct lp_walwalk *walk)
{
	struct lp_walgroup_head group;

	if (walk->off > walk->limit ||
	    lp_walgroup_check(walk->base + walk->off, walk->limit - walk->off, walk->salt, walk->sequence + 1, &group) < 0)
		return -EBADMSG;
	walk->group = group;
	walk->sequence++;
	walk->off += LP_WALGROUP_HEAD;
	walk->group_end = walk->off + group.bytes;
	walk->next_pos = group.pos;
	return 0;
}

/* The record at `off`, if it is valid there. */
static bool record_at(const struct lp_walwalk *walk, size_t off, uint64_t pos, bool checked, struct lp_walrec_head *ret_head)
{
	size_t end = walk->group_end < walk->limit ? walk->group_end : walk->limit;
	uint32_t bytes;

	if (off >= end)
		return false;
	const uint8_t *rec = walk->base + off;

	return lp_walrec_peek(rec, end - off, ret_head) == 0 && ret_head->epoch == walk->group.epoch &&
	       ret_head->lane == walk->group.lane && ret_head->pos == pos &&
	       (!checked || lp_walrec_check(rec, end - off, &bytes) == 0);
}

/* A group of this life of the file at `off` that comes after the current one. */
static bool later_group_at(const struct lp_walwalk *walk, size_t off, struct lp_walgroup_head *ret_group)
{
	const uint8_t *p = walk->base + off;

	if (walk->limit - off < LP_WALGROUP_HEAD || lp_le32(p) != LP_WALGROUP_MAGIC || lp_le64(p + 8) != walk->salt)
		return false;
	uint32_t sequence = lp_le32(p + offsetof(struct lp_walgroup_head, sequence));

	return sequence > walk->sequence && lp_walgroup_check(p, walk->limit - off, walk->salt, sequence, ret_group) == 0;
}

/* Does a later group say that what stands at walk->off had been committed? */
static bool was_committed(struct lp_walwalk *walk)
{
	struct lp_walgroup_head group;
	size_t off = walk->off > walk->searched ? walk->off : walk->searched;

	for (; walk->committed <= walk->off && off < walk->limit && walk->limit - off >= LP_WALGROUP_HEAD; off += LP_WALREC_ALIGN)
		if (later_group_at(walk, off, &group) && group.committed > walk->off)
			walk->committed = group.committed;
	walk->searched = off;
	return walk->committed > walk->off;
}

/* Over damage to the next thing that is valid, which the group that tells of the commit is at the latest. */
static bool step_over(struct lp_walwalk *walk)
{
	struct lp_walrec_head head;
	struct lp_walgroup_head group;

	if (!was_committed(walk))
		return false;
	for (size_t off = walk->off; off < walk->limit; off += LP_WALREC_ALIGN) {
		bool is_record = record_at(walk, off, walk->next_pos + (off - walk->off), true, &head);

		if (!is_record && !later_group_at(walk, off, &group))
			continue;
		if (is_record) {
			walk->next_pos += off - walk->off;
		} else {
			walk->sequence = group.sequence - 1;
			walk->group_end = off;
		}
		walk->damages++;
		walk->damage_off = walk->off;
		walk->damaged_bytes += off - walk->off;
		walk->off = off;
		return true;
	}
	return false;
}

static bool next_record(struct lp_walwalk *walk, size_t *ret_off, struct lp_walrec_head *ret_head)
{
	while (walk->off == walk->group_end)
		if (enter_group(walk) < 0)
			return false;
	if (!record_at(walk, walk->off, walk->next_pos, walk->checked, ret_head))
		return false;
	*ret_off = walk->off;
	walk->off += ret_head->bytes;
	walk->next_pos += ret_head->bytes;
	return true;
}

int lp_walwalk_next(struct lp_walwalk *walk, size_t *ret_off, struct lp_walrec_head *ret_head)
{
	do {
		if (next_record(walk, ret_off, ret_head))
			return 1;
	} while (step_over(walk));
	return 0;
}
