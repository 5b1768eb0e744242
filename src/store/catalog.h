/* Catalog: what a reading process knows of the store, and consistent snapshots of it for queries.
 *
 * A snapshot is a set of sealed segments (those whose WAL files are below wal_first) and the live WAL files from
 * wal_first up to the committed position at the time it was taken: every acknowledged line exactly where it is, none twice.
 * Process: any reader (worker, notifier); thread-safe.  Offline tools open it without a region. */
#ifndef LP_STORE_CATALOG_H
#define LP_STORE_CATALOG_H

#include "shm/region.h"
#include "shm/slot.h"
#include "store/format/walfile.h"
#include "store/segment.h"

struct lp_catalog;
struct lp_snapshot;

/* region NULL: offline; all WAL files are read up to their last valid record.  slot: of this process, for its WAL pin. */
int lp_catalog_open(const char *data_dir, struct lp_region *region, uint32_t slot, struct lp_catalog **ret_catalog);
void lp_catalog_close(struct lp_catalog **catalog);
/* As given to lp_catalog_open(). */
const char *lp_catalog_data_dir(const struct lp_catalog *catalog);
struct lp_region *lp_catalog_region(const struct lp_catalog *catalog);
/* The state as of now; cheap when nothing changed.  Release it soon: WAL files it shows cannot be recycled. */
int lp_catalog_acquire(struct lp_catalog *catalog, struct lp_snapshot **ret_snapshot);
void lp_snapshot_release(struct lp_snapshot **snapshot);
/* Let go of WAL files that only an idle catalog holds (call a few times a second from the event loop). */
void lp_catalog_tick(struct lp_catalog *catalog);

/* ---- what a snapshot shows ---- */
uint32_t lp_snapshot_segments(const struct lp_snapshot *snapshot);
const struct lp_segment *lp_snapshot_segment(const struct lp_snapshot *snapshot, uint32_t i);   /* oldest data first is not promised */
/* Everything committed before it is in the snapshot, nothing behind it is; 0 offline or before anything was committed. */
lp_walpos lp_snapshot_limit(const struct lp_snapshot *snapshot);
/* Segments and WAL records left out because a check failed, so far. */
uint64_t lp_snapshot_skipped(const struct lp_snapshot *snapshot);

/* Live part: streams interned over all live files; per stream its batches in arrival order. */
struct lp_wal_batch {
	uint32_t file;                  /* WAL file number */
	uint32_t entries;
	uint32_t text_bytes;            /* newlines included */
	uint32_t flags;                 /* LP_WALREC_SORTED */
	int64_t min_ts, max_ts;
	const void *rec;                /* the record, mapped; valid until the snapshot is released */
	uint32_t stream_in_rec;
	uint32_t offset;                /* of the record in its file: (file, offset, stream_in_rec) is the arrival order */
};
uint32_t lp_snapshot_wal_streams(const struct lp_snapshot *snapshot);
int lp_snapshot_wal_stream(const struct lp_snapshot *snapshot, uint32_t stream, const uint8_t **ret_labels, uint32_t *ret_len,
			   int64_t *ret_min_ts, int64_t *ret_max_ts);
/* Batches of one stream, arrival order; the array is valid until the snapshot is released. */
const struct lp_wal_batch *lp_snapshot_wal_batches(const struct lp_snapshot *snapshot, uint32_t stream, uint32_t *ret_n);
int lp_wal_batch_rows(const struct lp_wal_batch *batch, struct lp_rows *ret_rows);

#endif
