/* What the rest of src/store/ and the tests need of segments beyond the public interface. */
#ifndef LP_STORE_SEGMENT_PRIVATE_H
#define LP_STORE_SEGMENT_PRIVATE_H

#include "store/segment.h"

#include <stdbool.h>

/* Borrowed until the segment is closed. */
const struct lp_segindex *lp_segment_index(const struct lp_segment *segment);
/* All segments, superseded ones too, sorted by day, first, widest and highest level first. */
int lp_segment_list_all(const char *segments_dir, struct lp_segment_name **ret_names, size_t *ret_n);
/* .index first: with it the segment ceases to exist.  What is not there is no error. */
int lp_segment_remove(const char *segments_dir, const struct lp_segment_name *name);
/* For names in that order. */
void lp_segment_mark_superseded(const struct lp_segment_name *names, size_t n, bool *superseded);

#endif
