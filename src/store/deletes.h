/* Delete requests: the list in data/deletes, which says what queries must not show and compaction removes.
 *
 * File:  0 u64 magic "LPDELS01" | 8 u64 revision, one more with every change | 16 u32 requests | 20 u32 crc32c of bytes 0..15,
 *        20 as zero, and all that follows | 24 requests:
 *   0 u64 id | 8 i64 least ts | 16 i64 greatest ts | 24 i64 created, ns | 32 u32 last WAL file it covers | 36 u32 state (0 received,
 *   1 processed) | 40 u32 tenant bytes | 44 u32 query bytes | 48 tenant, query; zero padding to 8
 * Valid if and only if magic and crc hold and the requests fill the file.  No file: no requests.
 * A change writes data/deletes.tmp, syncs it, renames it and syncs the directory, under flock of data/deletes.lock: any process may
 * make one, none is lost, and dying anywhere leaves the old list or the new one. */
#ifndef LP_STORE_DELETES_H
#define LP_STORE_DELETES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LP_DELETES_MAX 10000u           /* requests that are kept; the oldest processed ones make room */

struct lp_delete {
	uint64_t id;
	int64_t start_ns, end_ns;       /* both inclusive */
	int64_t created_ns;
	uint32_t last_file;             /* entries of later WAL files came after the request and stay */
	bool processed;
	uint32_t tenant_len, query_len;
	const char *tenant, *query;     /* NUL-terminated, of the list's memory */
};

struct lp_deletes {
	uint64_t revision;
	uint32_t n;
	struct lp_delete *v;            /* oldest first */
	char *text;
};

/* -EBADMSG the file is damaged. */
int lp_deletes_load(const char *data_dir, struct lp_deletes *ret_deletes);
int lp_deletes_decode(const void *p, size_t len, struct lp_deletes *ret_deletes);
void lp_deletes_free(struct lp_deletes *deletes);
/* Its revision alone, one small read; 0: there is no file. */
int lp_deletes_revision(const char *data_dir, uint64_t *ret_revision);

/* Add one, durably; id, if 0, is chosen.  -ENOSPC the disk; -E2BIG LP_DELETES_MAX requests wait. */
int lp_deletes_add(const char *data_dir, const struct lp_delete *request, uint64_t *ret_id);
/* Remove one of this tenant that was not processed.  -ENOENT; -EALREADY it was processed; -ETIME it was created before not_before_ns. */
int lp_deletes_cancel(const char *data_dir, uint64_t id, const char *tenant, size_t tenant_len, int64_t not_before_ns);
/* Mark n of them as processed. */
int lp_deletes_processed(const char *data_dir, const uint64_t *ids, uint32_t n);

#endif
