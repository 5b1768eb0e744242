/* Byte strings to small numbers: label sets to series, groups and match signatures.  Open addressing with linear probing, at most
 * half full; hashes are confirmed by comparing the bytes, so hostile labels cost time, not truth.
 * Plain memory of one thread; nothing is lost if the process dies here. */
#include "query/metric/metric-private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#define FIRST_SLOTS 16u

uint64_t lp_keys_hash(const uint8_t *bytes, uint32_t len)
{
	return XXH3_64bits(bytes, len);
}

/* Callers' hashes may be weak in their low bits: Fibonacci hashing takes the high bits of a product. */
static uint32_t slot_of(uint64_t hash, uint32_t slots_cap)
{
	return (uint32_t)((hash * UINT64_C(0x9e3779b97f4a7c15)) >> 32) & (slots_cap - 1);
}

static int grow_slots(struct lp_keys *keys)
{
	uint32_t cap = keys->slots_cap ? keys->slots_cap * 2 : FIRST_SLOTS;
	size_t more = (cap - keys->slots_cap) * sizeof(uint32_t);

	if (!cap || keys->n >= UINT32_MAX / 4)
		return -ENOMEM;
	if (!lp_arena_budget_take(keys->arena.budget, more))
		return -ENOBUFS;
	uint32_t *slots = calloc(cap, sizeof *slots);

	if (!slots) {
		lp_arena_budget_give(keys->arena.budget, more);
		return -ENOMEM;
	}
	for (uint32_t id = 0; id < keys->n; id++) {
		uint32_t at = slot_of(keys->keys[id].hash, cap);

		while (slots[at])
			at = (at + 1) & (cap - 1);
		slots[at] = id + 1;
	}
	free(keys->slots);
	keys->slots = slots;
	keys->slots_cap = cap;
	return 0;
}

static int grow_keys(struct lp_keys *keys)
{
	uint32_t cap = keys->cap ? keys->cap * 2 : FIRST_SLOTS;
	size_t more = (cap - keys->cap) * sizeof *keys->keys;

	if (!lp_arena_budget_take(keys->arena.budget, more))
		return -ENOBUFS;
	struct lp_key *grown = realloc(keys->keys, cap * sizeof *grown);

	if (!grown) {
		lp_arena_budget_give(keys->arena.budget, more);
		return -ENOMEM;
	}
	keys->keys = grown;
	keys->cap = cap;
	return 0;
}

int lp_keys_id(struct lp_keys *keys, const uint8_t *bytes, uint32_t len, uint64_t hash, uint32_t *ret_id)
{
	uint32_t at;
	int r = keys->n >= keys->slots_cap / 2 ? grow_slots(keys) : 0;

	if (r < 0)
		return r;
	for (at = slot_of(hash, keys->slots_cap); keys->slots[at]; at = (at + 1) & (keys->slots_cap - 1)) {
		const struct lp_key *key = &keys->keys[keys->slots[at] - 1];

		if (key->hash == hash && key->len == len && (!len || !memcmp(key->bytes, bytes, len))) {
			*ret_id = keys->slots[at] - 1;
			return 0;
		}
	}
	r = keys->n == keys->cap ? grow_keys(keys) : 0;
	if (r < 0)
		return r;
	uint8_t *copy = lp_arena_alloc(&keys->arena, len);

	if (!copy)
		return keys->arena.budget ? -ENOBUFS : -ENOMEM;
	if (len)
		memcpy(copy, bytes, len);
	keys->keys[keys->n] = (struct lp_key){ copy, len, hash };
	keys->slots[at] = ++keys->n;
	*ret_id = keys->n - 1;
	return 0;
}

uint64_t lp_keys_bytes(const struct lp_keys *keys)
{
	return keys->arena.total_bytes + keys->cap * sizeof *keys->keys + keys->slots_cap * sizeof *keys->slots;
}

void lp_keys_free(struct lp_keys *keys)
{
	lp_arena_budget_give(keys->arena.budget, keys->cap * sizeof *keys->keys + keys->slots_cap * sizeof *keys->slots);
	lp_arena_free(&keys->arena);
	free(keys->keys);
	free(keys->slots);
	*keys = (struct lp_keys)LP_KEYS_INIT;
}
