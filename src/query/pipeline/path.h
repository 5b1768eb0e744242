/* Expressions of json and logfmt: which value a label takes, json a="x.y[0]", logfmt a="key". */
#ifndef LP_QUERY_PIPELINE_PATH_H
#define LP_QUERY_PIPELINE_PATH_H

#include "common/arena.h"
#include "common/buf.h"
#include "query/logql/ast.h"

#define LP_PATH_MAX_STEPS 128u

struct lp_path_step {
	bool is_index;
	uint32_t index;
	struct lp_str key;
};

struct lp_path {
	struct lp_path_step *steps;
	unsigned n_steps;
};

/* -EINVAL with Loki's words in error. */
int lp_path_compile_json(struct lp_arena *arena, const char *s, size_t n, struct lp_path **ret_path, struct lp_buf *error);
/* One step, the key. */
int lp_path_compile_logfmt(struct lp_arena *arena, const char *s, size_t n, struct lp_path **ret_path, struct lp_buf *error);

#endif
