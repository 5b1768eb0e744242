/* Bump allocator: many small objects with one lifetime.  Not thread-safe; one arena, one thread. */
#ifndef LP_COMMON_ARENA_H
#define LP_COMMON_ARENA_H

#include <stdbool.h>
#include <stddef.h>

struct lp_arena_chunk;

/* What several arenas may take together; all of them belong to one thread. */
struct lp_arena_budget {
	size_t used, max_bytes;
};

struct lp_arena {
	struct lp_arena_chunk *chunks;
	char *next, *end;
	size_t total_bytes;             /* taken from malloc */
	size_t max_bytes;               /* 0: no limit */
	struct lp_arena_budget *budget; /* borrowed; NULL: none */
};

#define LP_ARENA_INIT { 0 }

/* Count memory that no arena holds; NULL: everything is allowed. */
bool lp_arena_budget_take(struct lp_arena_budget *budget, size_t n);
void lp_arena_budget_give(struct lp_arena_budget *budget, size_t n);

/* 16-byte aligned memory that lives until lp_arena_free(); NULL over max_bytes or the budget, or out of memory. */
void *lp_arena_alloc(struct lp_arena *arena, size_t n);
void *lp_arena_zalloc(struct lp_arena *arena, size_t n);
void *lp_arena_dup(struct lp_arena *arena, const void *p, size_t n);
char *lp_arena_strndup(struct lp_arena *arena, const char *s, size_t n);        /* NUL added */
void lp_arena_free(struct lp_arena *arena);     /* accepts NULL; empty and usable again after it */

#endif
