/* The only place that maps files.  A mapped page that the disk cannot deliver (EIO, a truncated file) raises SIGBUS: the
 * handler puts a zero page there, counts it, and the reader's checksum refuses the block; the process lives on. */
#ifndef LP_STORE_MAP_H
#define LP_STORE_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct lp_map {
	const uint8_t *p;       /* NULL when empty */
	size_t len;
	bool copied;            /* into memory of its own */
};

int lp_map_init(void);          /* install the handler; each process once, before threads */
/* Map a whole file read-only, shared.  -errno; -ENODATA an empty file. */
int lp_map_open(const char *path, struct lp_map *ret_map);
/* The same for a file that does not change any more: one of up to LP_MAP_COPY_BYTES is read into memory instead, because the kernel
 * counts maps (vm.max_map_count) and there may be many small segments.  Also -ENOMEM; -EIO. */
#define LP_MAP_COPY_BYTES 4096u
int lp_map_open_sealed(const char *path, struct lp_map *ret_map);
void lp_map_close(struct lp_map *map);
uint64_t lp_map_faults(void);   /* pages replaced so far in this process */

#endif
