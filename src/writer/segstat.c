/* Gauges of the segment set: how many, bytes on disk, blocks.  A segment is opened until it can be read once.
 * Process: writer, sealing thread.  What cannot be opened is left out of the sums, counted and named in the log; queries say that
 * they are not complete. */
#include "writer/writer-private.h"

#include "common/log.h"
#include "store/segment.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct known {
	struct lp_segment_name name;
	uint64_t streams, blocks, disk_bytes;
	bool unreadable;
};

struct lp_segstat {
	struct known *known;            /* in the order of lp_segment_list() */
	size_t n;
};

static bool same_name(const struct lp_segment_name *a, const struct lp_segment_name *b)
{
	return a->day == b->day && a->first == b->first && a->last == b->last && a->level == b->level;
}

static struct known look_up(const struct lp_segstat *old, const char *segments_dir, const struct lp_segment_name *name,
			    size_t *hint)
{
	struct known known = { .name = *name };
	struct lp_segment *segment;

	/* Both lists have the same order and differ by little: go on where the last one was found. */
	for (size_t tried = 0; old && tried < old->n; tried++) {
		size_t i = (*hint + tried) % old->n;

		if (same_name(&old->known[i].name, name)) {
			*hint = i + 1;
			if (!old->known[i].unreadable)
				return old->known[i];
			known.unreadable = true;        /* told already; perhaps it is not any more */
			break;
		}
	}
	int r = lp_segment_open(segments_dir, name, &segment);

	if (r < 0) {
		char file[80] = "";

		(void)lp_segment_name_format(name, "", file, sizeof file);
		if (r != -ENOENT && !known.unreadable)
			lp_log(LP_ERROR, "a segment is damaged or cannot be read, queries leave it out segment=%s error=\"%s\"", file, strerror(-r));
		known.unreadable = true;
		return known;
	}
	known.unreadable = false;
	known.streams = lp_segment_info(segment)->streams;
	known.blocks = lp_segment_info(segment)->blocks;
	known.disk_bytes = lp_segment_info(segment)->disk_bytes;
	lp_segment_close(&segment);
	return known;
}

void lp_segstat_refresh(struct lp_segstat **segstat, const char *segments_dir, struct lp_stat_row *row)
{
	struct lp_segment_name *names = NULL;
	uint64_t streams = 0, blocks = 0, bytes = 0, unreadable = 0, levels[4] = { 0 };
	size_t n = 0, hint = 0;

	if (lp_segment_list(segments_dir, &names, &n) < 0)
		return;
	struct lp_segstat *fresh = calloc(1, sizeof *fresh);

	if (fresh && n && !(fresh->known = calloc(n, sizeof fresh->known[0]))) {
		free(fresh);
		fresh = NULL;
	}
	if (!fresh) {
		free(names);
		return;
	}
	fresh->n = n;
	for (size_t i = 0; i < n; i++) {
		fresh->known[i] = look_up(*segstat, segments_dir, &names[i], &hint);
		unreadable += fresh->known[i].unreadable;
		streams += fresh->known[i].streams;
		blocks += fresh->known[i].blocks;
		bytes += fresh->known[i].disk_bytes;
		levels[names[i].level < 3 ? names[i].level : 3]++;
	}
	free(names);
	lp_segstat_free(segstat);
	*segstat = fresh;
	lp_stat_set(row, LP_STAT_SEGMENTS, n);
	lp_stat_set(row, LP_STAT_SEGMENTS_UNREADABLE, unreadable);
	lp_stat_set(row, LP_STAT_SEGMENT_STREAMS, streams);
	for (unsigned i = 0; i < 4; i++)
		lp_stat_set(row, LP_STAT_SEGMENTS_LEVEL_0 + i, levels[i]);
	lp_stat_set(row, LP_STAT_STORAGE_BYTES, bytes);
	lp_stat_set(row, LP_STAT_CHUNKS_STORED, blocks);
}

void lp_segstat_free(struct lp_segstat **segstat)
{
	if (!*segstat)
		return;
	free((*segstat)->known);
	free(*segstat);
	*segstat = NULL;
}
