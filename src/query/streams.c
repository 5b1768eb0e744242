/* Streams of the live log and of segments.  Guarantees: bytes that fail a check are skipped; nothing is kept.
 * Process: worker; if it dies here nothing is lost. */
#include "query/streams.h"

#include "store/segment.h"

int lp_streams_since(struct lp_catalog *catalog, int64_t since_ns, void (*each)(void *ctx, const uint8_t *labels, uint32_t len), void *ctx)
{
	struct lp_snapshot *snapshot;
	const uint8_t *labels;
	int64_t min_ts, max_ts;
	uint32_t len;
	int r = lp_catalog_acquire(catalog, &snapshot);

	if (r < 0)
		return r;
	for (uint32_t i = 0; i < lp_snapshot_wal_streams(snapshot); i++)
		if (lp_snapshot_wal_stream(snapshot, i, &labels, &len, &min_ts, &max_ts) == 0 && max_ts >= since_ns)
			each(ctx, labels, len);
	for (uint32_t s = 0; s < lp_snapshot_segments(snapshot); s++) {
		const struct lp_segment *segment = lp_snapshot_segment(snapshot, s);
		const struct lp_segment_info *info = lp_segment_info(segment);

		for (uint32_t i = 0; info->max_ts >= since_ns && i < info->streams; i++)
			if (lp_segment_stream(segment, i, &labels, &len, &min_ts, &max_ts) == 0 && max_ts >= since_ns)
				each(ctx, labels, len);
	}
	lp_snapshot_release(&snapshot);
	return 0;
}
