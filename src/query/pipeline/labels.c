/* The labels of one line while its pipeline runs, the memory of that line, and which labels parsers are asked for.
 *
 * Guarantees: at most LP_PIPELINE_MAX_LABELS labels and a bounded amount of scratch memory per line, whatever the line;
 * names are compared by a 32-bit hash first.  One state belongs to one thread (query threads); nothing is lost if it dies. */
#include "query/pipeline/pipeline-private.h"

#include "common/poison.h"
#include "common/unicode.h"
#include "common/utf8.h"

#include <stdlib.h>
#include <string.h>

#define FIRST_CHUNK (64u << 10)
#define MAX_SCRATCH (16u * LP_PIPELINE_MAX_OUTPUT)

/* ---- scratch -------------------------------------------------------------------------------------- */

void *lp_scratch_alloc(struct lp_scratch *sc, size_t n)
{
	struct lp_scratch_chunk *chunk = sc->chunks;
	size_t want = n;

	n = ((n + 15) & ~(size_t)15) + LP_POISON_GAP;
	if (!chunk || chunk->cap - sc->used < n) {
		size_t cap = n > FIRST_CHUNK ? n : FIRST_CHUNK;

		if (sc->total + cap > MAX_SCRATCH)
			return NULL;
		chunk = malloc(sizeof *chunk + cap);
		if (!chunk)
			return NULL;
		chunk->cap = cap;
		chunk->next = sc->chunks;
		sc->chunks = chunk;
		sc->used = 0;
		sc->total += cap;
		lp_poison(chunk->data, cap);
	}
	sc->used += n;
	lp_unpoison(chunk->data + sc->used - n, want);
	return chunk->data + sc->used - n;
}

char *lp_scratch_dup(struct lp_scratch *sc, const char *s, size_t n)
{
	char *p = lp_scratch_alloc(sc, n + 1);

	if (!p)
		return NULL;
	memcpy(p, s, n);
	p[n] = '\0';
	return p;
}

void lp_scratch_reset(struct lp_scratch *sc)
{
	while (sc->chunks && sc->chunks->next) {
		struct lp_scratch_chunk *chunk = sc->chunks;

		sc->chunks = chunk->next;
		sc->total -= chunk->cap;
		free(chunk);
	}
	if (sc->chunks)
		lp_poison(sc->chunks->data, sc->used);
	sc->used = 0;
}

void lp_scratch_free(struct lp_scratch *sc)
{
	lp_scratch_reset(sc);
	free(sc->chunks);
	memset(sc, 0, sizeof *sc);
}

/* ---- entries -------------------------------------------------------------------------------------- */

/* FNV-1a: short names, and only to tell most of them apart. */
uint32_t lp_labels_name_hash(const char *s, size_t n)
{
	uint32_t h = 2166136261u;

	for (size_t i = 0; i < n; i++)
		h = (h ^ (unsigned char)s[i]) * 16777619u;
	return h;
}

static bool same(const struct lp_entry *e, uint32_t hash, const char *name, size_t len)
{
	return e->name_hash == hash && e->name_len == len && !memcmp(e->name, name, len);
}

static struct lp_entry *find(struct lp_pipeline_state *st, uint32_t hash, const char *name, size_t len)
{
	for (uint32_t i = 0; i < st->n_entries; i++)
		if (!st->entries[i].dead && same(&st->entries[i], hash, name, len))
			return &st->entries[i];
	return NULL;
}

struct lp_entry *lp_entry_find(struct lp_pipeline_state *st, const char *name, size_t len)
{
	return find(st, lp_labels_name_hash(name, len), name, len);
}

static bool in_base(const struct lp_pipeline_state *st, uint32_t hash, const char *name, size_t len)
{
	for (uint32_t i = 0; i < st->n_base; i++)
		if (same(&st->base[i], hash, name, len))
			return true;
	return false;
}

bool lp_entry_in_base(const struct lp_pipeline_state *st, const char *name, size_t len)
{
	return in_base(st, lp_labels_name_hash(name, len), name, len);
}

static bool is_word(const char *s, size_t n, const char *word)
{
	return strlen(word) == n && !memcmp(s, word, n);
}

bool lp_entry_get(const struct lp_pipeline_state *st, const char *name, size_t len, const char **ret_value, size_t *ret_len)
{
	const struct lp_entry *e;

	if (len > 7 && is_word(name, len, "__error__")) {
		*ret_value = st->error ? st->error : "";
		*ret_len = strlen(*ret_value);
		return st->error != NULL;
	}
	if (len > 7 && is_word(name, len, "__error_details__")) {
		*ret_value = st->error_details ? st->error_details : "";
		*ret_len = st->error_details ? st->error_details_len : 0;
		return st->error_details != NULL;
	}
	e = lp_entry_find((struct lp_pipeline_state *)st, name, len);
	if (!e) {
		*ret_value = "";
		*ret_len = 0;
		return false;
	}
	*ret_value = e->value;
	*ret_len = e->value_len;
	return true;
}

void lp_entry_delete(struct lp_pipeline_state *st, const char *name, size_t len)
{
	struct lp_entry *e = lp_entry_find(st, name, len);

	if (e) {
		e->dead = true;
		st->changed = true;
	}
}

/* The index of the hint that a label serves, by its own name or with the suffix; n_names: none. */
static uint32_t hint_of(const struct lp_hints *h, const char *name, size_t len)
{
	size_t stem = len > sizeof LP_EXTRACTED - 1 && !memcmp(name + len - (sizeof LP_EXTRACTED - 1), LP_EXTRACTED, sizeof LP_EXTRACTED - 1)
		? len - (sizeof LP_EXTRACTED - 1) : 0;

	for (uint32_t i = 0; i < h->n_names; i++) {
		const struct lp_str *want = h->names[i];

		if (want->len == len && !memcmp(want->s, name, len))
			return i;
		if (stem && want->len == stem && !memcmp(want->s, name, stem))
			return i;
	}
	return h->n_names;
}

static void record(struct lp_pipeline_state *st, const char *name, size_t len)
{
	const struct lp_hints *h = &st->pipeline->hints;
	uint32_t i = h->all ? 64 : hint_of(h, name, len);

	if (i < h->n_names && i < 64 && !(st->extracted >> i & 1)) {
		st->extracted |= 1ull << i;
		st->n_extracted++;
	}
}

/* e: the label of that name, or NULL. */
static void put(struct lp_pipeline_state *st, struct lp_entry *e, uint32_t hash, enum lp_label_category category, const char *name, size_t name_len,
		const char *value, size_t value_len)
{
	if (e && e->category > category)
		return;
	if (!e) {
		if (st->n_entries == LP_PIPELINE_MAX_LABELS)
			return;
		e = &st->entries[st->n_entries++];
		e->name = name;
		e->name_len = (uint32_t)name_len;
		e->name_hash = hash;
		e->dead = false;
	}
	e->category = category;
	e->value = value;
	e->value_len = (uint32_t)value_len;
	st->changed = true;
	if (category == LP_CATEGORY_PARSED)
		record(st, name, name_len);
}

void lp_entry_set(struct lp_pipeline_state *st, enum lp_label_category category, const char *name, size_t name_len, const char *value, size_t value_len)
{
	uint32_t hash = lp_labels_name_hash(name, name_len);

	put(st, find(st, hash, name, name_len), hash, category, name, name_len, value, value_len);
}

/* ---- hints ---------------------------------------------------------------------------------------- */

/* Nothing is wanted, or an earlier stage has found it all. */
bool lp_hints_none(const struct lp_pipeline_state *st)
{
	const struct lp_hints *h = &st->pipeline->hints;

	return (!h->all && !h->n_names) || lp_hints_done(st);
}

bool lp_hints_want(const struct lp_pipeline_state *st, const char *name, size_t len)
{
	const struct lp_hints *h = &st->pipeline->hints;

	return h->all || hint_of(h, name, len) < h->n_names;
}

bool lp_hints_may_want(const struct lp_pipeline_state *st, const char *name, size_t len)
{
	const struct lp_hints *h = &st->pipeline->hints;

	if (h->all)
		return true;
	if (!(h->lengths >> (len & 63) & 1))
		return false;
	for (uint32_t i = 0; i < h->n_names; i++) {
		const struct lp_str *want = h->names[i];
		size_t renamed = len + sizeof LP_EXTRACTED - 1;

		if (want->len == renamed && !memcmp(want->s, name, len) && !memcmp(want->s + len, LP_EXTRACTED, sizeof LP_EXTRACTED - 1))
			return true;
	}
	return lp_hints_want(st, name, len);
}

bool lp_hints_want_prefix(const struct lp_pipeline_state *st, const char *prefix, size_t len)
{
	const struct lp_hints *h = &st->pipeline->hints;

	if (h->all)
		return true;
	for (uint32_t i = 0; i < h->n_names; i++)
		if (h->names[i]->len >= len && !memcmp(h->names[i]->s, prefix, len))
			return true;
	return false;
}

bool lp_hints_done(const struct lp_pipeline_state *st)
{
	const struct lp_hints *h = &st->pipeline->hints;

	return !h->all && h->n_names && h->n_names <= 64 && st->n_extracted == h->n_names;
}

/* e: the label of that name, or NULL. */
static bool taken(const struct lp_pipeline_state *st, const struct lp_entry *e, uint32_t hash, const char *name, size_t len)
{
	return (e && e->category != LP_CATEGORY_PARSED) || in_base(st, hash, name, len);
}

bool lp_entry_is_taken(struct lp_pipeline_state *st, const char *name, size_t len)
{
	uint32_t hash = lp_labels_name_hash(name, len);

	return taken(st, find(st, hash, name, len), hash, name, len);
}

void lp_entry_extract(struct lp_pipeline_state *st, const char *name, size_t name_len, const char *value, size_t value_len)
{
	/* Most of what a line has is asked for by nobody: known before anything is looked up. */
	if (!lp_hints_may_want(st, name, name_len))
		return;
	uint32_t hash = lp_labels_name_hash(name, name_len);
	struct lp_entry *e = find(st, hash, name, name_len);

	if (taken(st, e, hash, name, name_len)) {
		char *longer = lp_scratch_alloc(&st->scratch, name_len + sizeof LP_EXTRACTED);

		if (!longer) {
			st->no_memory = true;
			return;
		}
		memcpy(longer, name, name_len);
		memcpy(longer + name_len, LP_EXTRACTED, sizeof LP_EXTRACTED);
		name = longer;
		name_len += sizeof LP_EXTRACTED - 1;
		hash = lp_labels_name_hash(name, name_len);
		e = find(st, hash, name, name_len);
	}
	if ((e && e->category == LP_CATEGORY_PARSED) || !lp_hints_want(st, name, name_len))
		return;
	put(st, e, hash, LP_CATEGORY_PARSED, name, name_len, value, value_len);
}

void lp_state_error(struct lp_pipeline_state *st, const char *error, const char *details, size_t len)
{
	if (st->error)
		return;
	st->error = error;
	st->error_details = len ? lp_scratch_dup(&st->scratch, details, len) : NULL;
	st->error_details_len = st->error_details ? (uint32_t)len : 0;
}

/* ---- text ----------------------------------------------------------------------------------------- */

static bool name_byte(unsigned char c)
{
	return ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') || (c >= '0' && c <= '9') || c == '_';
}

static bool is_label_name(const char *s, size_t n)
{
	size_t i = 0;

	while (i < n && name_byte((unsigned char)s[i]))
		i++;
	return n && i == n && !(s[0] >= '0' && s[0] <= '9');
}

/* The blank at s, its length; 0: there is none. */
static unsigned blank_len(const char *s, size_t n)
{
	unsigned len = lp_utf8_seq((const uint8_t *)s, n);

	return len && lp_unicode_space(lp_utf8_get((const uint8_t *)s, len)) ? len : 0;
}

static void trim(const char **s, size_t *n)
{
	unsigned len;

	while (*n && (len = blank_len(*s, *n))) {
		*s += len;
		*n -= len;
	}
	/* From the end: a blank has up to three bytes. */
	for (size_t back = 1; back <= 3 && back <= *n;) {
		if (blank_len(*s + *n - back, back) == back) {
			*n -= back;
			back = 1;
		} else {
			back++;
		}
	}
}

const char *lp_sanitize(struct lp_pipeline_state *st, const char *prefix, size_t prefix_len, const char *name, size_t len, size_t *ret_len)
{
	char *out, *p;

	if (!prefix_len && is_label_name(name, len)) {
		*ret_len = len;
		return name;
	}
	trim(&name, &len);
	out = p = lp_scratch_alloc(&st->scratch, prefix_len + len + 3);
	if (!out) {
		st->no_memory = true;
		return NULL;
	}
	if (prefix_len) {
		memcpy(p, prefix, prefix_len);
		p += prefix_len;
		*p++ = '_';
	} else if (len && name[0] >= '0' && name[0] <= '9') {
		*p++ = '_';
	}
	for (size_t i = 0; i < len;) {
		unsigned n = lp_utf8_seq((const uint8_t *)name + i, len - i);

		*p++ = name_byte((unsigned char)name[i]) ? name[i] : '_';
		i += n ? n : 1;
	}
	*p = '\0';
	*ret_len = (size_t)(p - out);
	return out;
}

const char *lp_clean_utf8(struct lp_pipeline_state *st, const char *s, size_t len, const char *with, size_t *ret_len)
{
	*ret_len = len;
	if (lp_utf8_ascii(s, len))
		return s;
	size_t with_len = strlen(with);
	const char *bad = memmem(s, len, "\xef\xbf\xbd", 3);
	char *out, *p;

	if (!bad && lp_utf8_valid(s, len))
		return s;
	out = p = lp_scratch_alloc(&st->scratch, len * (with_len > 1 ? with_len : 1) + 1);
	if (!out) {
		st->no_memory = true;
		*ret_len = 0;
		return "";
	}
	for (size_t i = 0; i < len;) {
		unsigned n = lp_utf8_seq((const uint8_t *)s + i, len - i);

		if (!n || (n == 3 && !memcmp(s + i, "\xef\xbf\xbd", 3))) {
			memcpy(p, with, with_len);
			p += with_len;
		} else {
			memcpy(p, s + i, n);
			p += n;
		}
		i += n ? n : 1;
	}
	*ret_len = (size_t)(p - out);
	return out;
}
