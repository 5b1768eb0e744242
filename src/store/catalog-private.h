/* Inside of the catalog: its state, and the live part (catalog_live.c) as catalog.c uses it. */
#ifndef LP_STORE_CATALOG_PRIVATE_H
#define LP_STORE_CATALOG_PRIVATE_H

#include "common/arena.h"
#include "store/catalog.h"
#include "store/map.h"

#include <pthread.h>
#include <stdatomic.h>

#define STREAM_CHUNK 256u               /* streams in chunk 0; chunk k holds STREAM_CHUNK << k */
#define STREAM_CHUNKS 20u

struct wal_file {
	uint32_t refs;                  /* catalog lock */
	uint32_t number;
	struct lp_map map;
	struct lp_walwalk walk;
	uint64_t skipped;               /* records whose directory is not sound */
	bool started, complete;         /* complete: a later file exists and this one was walked to its end */
};

struct lp_live_stream {
	struct lp_hash128 hash;
	const uint8_t *labels;          /* arena */
	uint32_t labels_len;
	uint32_t cap;                   /* catalog lock */
	_Atomic uint32_t n;             /* release after the batch is in place */
	_Atomic(struct lp_wal_batch *) batches;
	_Atomic int64_t min_ts, max_ts;
};

/* An array that was outgrown; snapshots may still read it. */
struct retired {
	struct retired *next;
	void *p;
};

struct lp_live {
	struct lp_live *next;              /* all lives of the catalog */
	uint32_t refs;                  /* catalog lock: one of the catalog while current, one per snapshot */
	uint32_t first;                 /* WAL file */
	uint32_t n_files, files_cap;
	struct wal_file **files;
	uint32_t n_streams;             /* catalog lock; snapshots carry their own copy */
	uint64_t n_batches;
	struct lp_live_stream *chunks[STREAM_CHUNKS];
	uint32_t *table;                /* open addressing, stream + 1; catalog lock */
	uint32_t table_size;
	struct lp_arena arena;
	struct retired *retired;
};

struct segset;

struct lp_follow_pin {                  /* what a follower needs (follow.c); catalog lock */
	struct lp_follow_pin *next;
	uint32_t file;                  /* WAL files from this one on */
};

struct lp_catalog {
	pthread_mutex_t lock;
	char *data_dir, *wal_dir, *segments_dir;
	struct lp_region *region;
	uint32_t slot;
	bool pinned;
	uint32_t pin;
	struct segset *segset;
	uint32_t segset_first;
	uint64_t segset_generation;
	int64_t segset_loaded_ms;
	struct lp_live *lives, *live;
	struct lp_follow_pin *follows;
	uint32_t snapshots;
};

/* All under the catalog's lock but lp_live_stream(). */
/* Make sure that WAL files from the returned number on, wal_first, stay; lp_catalog_pin_raise() lets go of what nobody needs. */
uint32_t lp_catalog_pin_take(struct lp_catalog *catalog);
void lp_catalog_pin_raise(struct lp_catalog *catalog);
int lp_live_open(struct lp_catalog *catalog, uint32_t first, struct lp_live **ret_live);
void lp_live_unref(struct lp_catalog *catalog, struct lp_live *live);   /* accepts NULL */
/* A live that starts at file `first` and takes over from the old one what was walked already. */
int lp_live_advance(struct lp_catalog *catalog, const struct lp_live *old, uint32_t first, struct lp_live **ret_live);
/* Bring the live up to file `last`; off: how far that one may be read.  A number without a file below `last` holds nothing. */
int lp_live_extend(struct lp_catalog *catalog, struct lp_live *live, uint32_t last, size_t off, bool checked);
/* Records, or places between records, of its files that are damaged. */
uint64_t lp_live_skipped(const struct lp_live *live);
/* Free arrays that were outgrown; only while no snapshot shows this live. */
void lp_live_trim(struct lp_live *live);
struct lp_live_stream *lp_live_stream(const struct lp_live *live, uint32_t i);

#endif
