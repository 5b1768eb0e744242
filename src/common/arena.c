/* Bump allocator: chunks double from 4 KiB to 1 MiB, freed together. */
#include "common/arena.h"

#include "common/bytes.h"
#include "common/poison.h"

#include <stdlib.h>
#include <string.h>

struct lp_arena_chunk {
	struct lp_arena_chunk *prev;
	size_t bytes;
};

#define CHUNK_HEAD LP_ALIGN(sizeof(struct lp_arena_chunk), 16)

bool lp_arena_budget_take(struct lp_arena_budget *budget, size_t n)
{
	if (!budget)
		return true;
	if (budget->used > budget->max_bytes || n > budget->max_bytes - budget->used)
		return false;
	budget->used += n;
	return true;
}

void lp_arena_budget_give(struct lp_arena_budget *budget, size_t n)
{
	if (budget)
		budget->used -= n;
}

void *lp_arena_alloc(struct lp_arena *arena, size_t n)
{
	if (n > SIZE_MAX / 4)
		return NULL;
	size_t want = n;

	n = LP_ALIGN(n ? n : 1, 16) + LP_POISON_GAP;
	if (n > (size_t)(arena->end - arena->next) || !arena->next) {
		size_t bytes = arena->chunks ? arena->chunks->bytes * 2 : 4096;

		if (bytes > (1u << 20))
			bytes = 1u << 20;
		if (bytes < n + CHUNK_HEAD)
			bytes = n + CHUNK_HEAD;
		if (arena->max_bytes && arena->total_bytes + bytes > arena->max_bytes)
			return NULL;
		if (!lp_arena_budget_take(arena->budget, bytes))
			return NULL;
		struct lp_arena_chunk *chunk = malloc(bytes);

		if (!chunk) {
			lp_arena_budget_give(arena->budget, bytes);
			return NULL;
		}
		chunk->prev = arena->chunks;
		chunk->bytes = bytes;
		arena->chunks = chunk;
		arena->total_bytes += bytes;
		arena->next = (char *)chunk + CHUNK_HEAD;
		arena->end = (char *)chunk + bytes;
		lp_poison(arena->next, bytes - CHUNK_HEAD);
	}
	void *p = arena->next;

	arena->next += n;
	lp_unpoison(p, want);
	return p;
}

void *lp_arena_zalloc(struct lp_arena *arena, size_t n)
{
	void *p = lp_arena_alloc(arena, n);

	if (p)
		memset(p, 0, n);
	return p;
}

void *lp_arena_dup(struct lp_arena *arena, const void *src, size_t n)
{
	void *p = lp_arena_alloc(arena, n);

	if (p && n)
		memcpy(p, src, n);
	return p;
}

char *lp_arena_strndup(struct lp_arena *arena, const char *s, size_t n)
{
	char *p = n < SIZE_MAX ? lp_arena_alloc(arena, n + 1) : NULL;

	if (p) {
		if (n)
			memcpy(p, s, n);
		p[n] = 0;
	}
	return p;
}

void lp_arena_free(struct lp_arena *arena)
{
	if (!arena)
		return;
	for (struct lp_arena_chunk *chunk = arena->chunks, *prev; chunk; chunk = prev) {
		prev = chunk->prev;
		free(chunk);
	}
	lp_arena_budget_give(arena->budget, arena->total_bytes);
	*arena = (struct lp_arena){ .max_bytes = arena->max_bytes, .budget = arena->budget };
}
