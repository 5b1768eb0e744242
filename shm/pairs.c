/* Tables of label pairs.
 *
 * Guarantees: memory is fixed and adding is constant time, but for one scan of the table a second when it is full.  An
 * entry has a sequence number that is odd while its bytes change (a seqlock, H. Boehm, "Can seqlocks get along with
 * programming language memory models?", 2012); a reader that meets an odd or a changed one leaves the entry out.
 * Process: worker i writes table i, any worker reads all.  If it dies inside of a change, the number stays odd and the entry
 * is unseen until the next worker opens the table, which empties it. */
#include "shm/pairs.h"

#include "common/assert.h"
#include "shm/region-private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL                 /* whoever links shm/ shall not have to link it */
#include <xxhash.h>

#define INDEX (LP_PAIRS_MAX * 4)        /* a power of two; a quarter full at most */
#define WORDS (sizeof(struct lp_pair) / 8)

struct entry {
	alignas(8) _Atomic uint32_t seq;        /* 0: never used */
	_Atomic uint32_t seen_s;
	_Atomic uint64_t words[WORDS];          /* struct lp_pair, but for seen_s */
};
_Static_assert(sizeof(struct lp_pair) % 8 == 0, "copied by words");

struct table {
	alignas(LP_REGION_LINE) struct entry entries[LP_PAIRS_MAX];
	_Atomic uint32_t overflow_s;            /* when one found no room last; 0 never */
};

struct lp_pairs {
	struct lp_region *region;
	uint32_t worker;
	uint32_t full_s;                /* no entry could be reused then */
	uint64_t hashes[LP_PAIRS_MAX];  /* of each entry, 0 free */
	uint16_t index[INDEX];          /* entry + 1, open addressing; entries that were reused stay until it is made anew */
};

uint64_t lp_pairs_bytes(void) { return sizeof(struct table); }

static struct table *table_of(struct lp_region *region, uint32_t worker)
{
	return (struct table *)lp_region_at(region, region->want.pairs_off, 0) + worker;
}

static struct entry *entry_at(struct lp_region *region, uint32_t worker, uint32_t i)
{
	return &table_of(region, worker)->entries[i];
}

uint32_t lp_pairs_overflow(struct lp_region *region, uint32_t worker)
{
	return worker < region->want.workers ? atomic_load_explicit(&table_of(region, worker)->overflow_s, memory_order_relaxed) : 0;
}

int lp_pairs_read(struct lp_region *region, uint32_t worker, uint32_t i, struct lp_pair *ret_pair)
{
	struct lp_pair pair;
	uint64_t words[WORDS];
	struct entry *entry;
	uint32_t seq;

	if (worker >= region->want.workers || i >= LP_PAIRS_MAX)
		return 0;
	entry = entry_at(region, worker, i);
	seq = atomic_load_explicit(&entry->seq, memory_order_acquire);
	if (!seq || seq & 1)
		return 0;
	for (unsigned w = 0; w < WORDS; w++)
		words[w] = atomic_load_explicit(&entry->words[w], memory_order_acquire);        /* partner: store() */
	if (atomic_load_explicit(&entry->seq, memory_order_relaxed) != seq)
		return 0;
	memcpy(&pair, words, sizeof pair);
	if (!pair.name_len || pair.name_len > LP_PAIRS_NAME_MAX || pair.value_len > LP_PAIRS_VALUE_MAX)
		return 0;               /* stray bytes */
	pair.seen_s = atomic_load_explicit(&entry->seen_s, memory_order_relaxed);
	*ret_pair = pair;
	return 1;
}

static uint64_t hash_of(const char *name, size_t name_len, const char *value, size_t value_len)
{
	return XXH3_64bits_withSeed(value, value_len, XXH3_64bits(name, name_len)) | 1;
}

static void index_entry(struct lp_pairs *pairs, uint32_t i)
{
	uint32_t at = (uint32_t)(pairs->hashes[i] >> 32) % INDEX;

	while (pairs->index[at])
		at = (at + 1) % INDEX;
	pairs->index[at] = (uint16_t)(i + 1);
}

static void make_index(struct lp_pairs *pairs)
{
	memset(pairs->index, 0, sizeof pairs->index);
	for (uint32_t i = 0; i < LP_PAIRS_MAX; i++)
		if (pairs->hashes[i])
			index_entry(pairs, i);
}

int lp_pairs_open(struct lp_region *region, uint32_t worker, struct lp_pairs **ret_pairs)
{
	struct lp_pairs *pairs = calloc(1, sizeof *pairs);
	struct lp_pair pair;

	if (!pairs)
		return -ENOMEM;
	LP_ASSERT(worker < region->want.workers);
	pairs->region = region;
	pairs->worker = worker;
	for (uint32_t i = 0; i < LP_PAIRS_MAX; i++) {
		if (lp_pairs_read(region, worker, i, &pair))
			pairs->hashes[i] = hash_of(pair.name, pair.name_len, pair.value, pair.value_len);
		else
			atomic_store(&entry_at(region, worker, i)->seq, 0);
	}
	make_index(pairs);
	*ret_pairs = pairs;
	return 0;
}

void lp_pairs_close(struct lp_pairs **pairs)
{
	free(*pairs);
	*pairs = NULL;
}

/* The entry with this hash, or -1.  64 bits of hash are the identity: a collision hides a series, no more. */
static int find(const struct lp_pairs *pairs, uint64_t hash)
{
	for (uint32_t at = (uint32_t)(hash >> 32) % INDEX; pairs->index[at]; at = (at + 1) % INDEX)
		if (pairs->hashes[pairs->index[at] - 1] == hash)
			return pairs->index[at] - 1;
	return -1;
}

/* An unused entry, or one that is too old; -1 when there is none. */
static int find_room(struct lp_pairs *pairs, uint32_t max, uint32_t now_s, uint32_t ttl_s)
{
	if (pairs->full_s && pairs->full_s == now_s)
		return -1;
	for (uint32_t i = 0; i < max; i++)
		if (!pairs->hashes[i])
			return (int)i;
	for (uint32_t i = 0; i < max; i++) {
		uint32_t seen = atomic_load_explicit(&entry_at(pairs->region, pairs->worker, i)->seen_s, memory_order_relaxed);

		if (now_s - seen > ttl_s)
			return (int)i;
	}
	pairs->full_s = now_s;
	return -1;
}

static void store(struct entry *entry, const struct lp_pair *pair)
{
	uint32_t seq = atomic_load_explicit(&entry->seq, memory_order_relaxed);
	uint64_t words[WORDS];

	memcpy(words, pair, sizeof words);
	atomic_store_explicit(&entry->seq, seq | 1, memory_order_relaxed);
	for (unsigned w = 0; w < WORDS; w++)
		atomic_store_explicit(&entry->words[w], words[w], memory_order_release);       /* whoever sees it sees the odd seq */
	atomic_store_explicit(&entry->seen_s, pair->seen_s, memory_order_relaxed);
	atomic_store_explicit(&entry->seq, (seq | 1) + 1 ? (seq | 1) + 1 : 2, memory_order_release);
}

static int no_room(struct lp_pairs *pairs, uint32_t now_s)
{
	atomic_store_explicit(&table_of(pairs->region, pairs->worker)->overflow_s, now_s ? now_s : 1, memory_order_relaxed);
	return -ENOBUFS;
}

int lp_pairs_add(struct lp_pairs *pairs, const char *name, size_t name_len, const char *value, size_t value_len, uint32_t max,
		 uint32_t now_s, uint32_t ttl_s)
{
	struct lp_pair pair = { .seen_s = now_s };
	uint64_t hash;
	bool reused;
	int i;

	if (!name_len || name_len > LP_PAIRS_NAME_MAX || value_len > LP_PAIRS_VALUE_MAX)
		return no_room(pairs, now_s);
	hash = hash_of(name, name_len, value, value_len);
	i = find(pairs, hash);
	if (i >= 0) {
		atomic_store_explicit(&entry_at(pairs->region, pairs->worker, (uint32_t)i)->seen_s, now_s, memory_order_relaxed);
		return 0;
	}
	i = find_room(pairs, max < LP_PAIRS_MAX ? max : LP_PAIRS_MAX, now_s, ttl_s);
	if (i < 0)
		return no_room(pairs, now_s);
	pair.name_len = (uint16_t)name_len;
	pair.value_len = (uint16_t)value_len;
	memcpy(pair.name, name, name_len);
	memcpy(pair.value, value, value_len);
	store(entry_at(pairs->region, pairs->worker, (uint32_t)i), &pair);
	reused = pairs->hashes[i] != 0;
	pairs->hashes[i] = hash;
	if (reused)
		make_index(pairs);
	else
		index_entry(pairs, (uint32_t)i);
	return 0;
}
