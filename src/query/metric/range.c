/* Range accumulators: samples in, one state per (series, pane) that is not empty.
 *
 * A hash table finds the state of a (series, pane); because scans go stream by stream in order of time, the last state of
 * a series nearly always is the one, and the last pane's bounds answer without a division.  States lie side by side without padding;
 * quantile_over_time and rate_counter also log every sample.  All memory is counted against max_bytes.
 * One thread per accumulator (merging: the caller has both to itself); runs in workers, nothing is lost if one dies here. */
#include "query/metric/range-private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define NO_ENTRY UINT32_MAX
#define FIRST_SLOTS 64u

int lp_range_acc_open(const struct lp_range_agg *range, const struct lp_metric_grid *grid, uint64_t max_bytes, struct lp_range_acc **ret_acc)
{
	struct lp_range_acc *acc = calloc(1, sizeof *acc);

	if (!acc)
		return -ENOMEM;
	acc->range = range;
	acc->max_bytes = max_bytes;
	acc->ops = lp_state_ops(range);
	lp_panes_init(&acc->panes, range, grid);
	acc->pane = lp_panes_find(&acc->panes, 0, &acc->pane_first_ns, &acc->pane_last_ns);
	*ret_acc = acc;
	return 0;
}

void lp_range_acc_close(struct lp_range_acc **acc)
{
	struct lp_range_acc *a = *acc;

	if (!a)
		return;
	lp_keys_free(&a->keys);
	free(a->last_entry);
	free(a->entries);
	free(a->states);
	free(a->slots);
	free(a->log_entries);
	free(a->log_values);
	free(a->log_times);
	free(a);
	*acc = NULL;
}

void lp_range_acc_limit(struct lp_range_acc *acc, uint64_t max_bytes)
{
	acc->max_bytes = max_bytes;
}

uint64_t lp_range_acc_samples(const struct lp_range_acc *acc)
{
	return acc->samples;
}

uint64_t lp_range_acc_bytes(const struct lp_range_acc *acc)
{
	return acc->bytes + lp_keys_bytes(&acc->keys);
}

/* Count `more` bytes, or refuse them. */
static int charge(struct lp_range_acc *acc, uint64_t more)
{
	if (lp_range_acc_bytes(acc) + more > acc->max_bytes)
		return -ENOBUFS;
	acc->bytes += more;
	return 0;
}

static int grow(struct lp_range_acc *acc, void *array, uint32_t cap, uint32_t new_cap, uint64_t elem_bytes)
{
	void **p = array;
	int r = charge(acc, (new_cap - cap) * elem_bytes);

	if (r < 0)
		return r;
	void *grown = realloc(*p, new_cap * elem_bytes);

	if (!grown)
		return -ENOMEM;
	*p = grown;
	return 0;
}

int lp_range_acc_series(struct lp_range_acc *acc, const uint8_t *labels, uint32_t len, uint64_t hash, uint32_t *ret_series)
{
	uint32_t id;
	int r;

	/* Absence is one question to all series together. */
	if (acc->range->op == LP_RANGE_ABSENT)
		len = 0, hash = 0;
	if (lp_range_acc_bytes(acc) + len > acc->max_bytes)
		return -ENOBUFS;
	r = lp_keys_id(&acc->keys, labels, len, hash, &id);
	if (r < 0)
		return r;
	if (id >= acc->cap_series) {
		uint32_t cap = acc->cap_series ? acc->cap_series * 2 : 16;

		r = grow(acc, &acc->last_entry, acc->cap_series, cap, sizeof *acc->last_entry);
		if (r < 0)
			return r;
		for (uint32_t i = acc->cap_series; i < cap; i++)
			acc->last_entry[i] = NO_ENTRY;
		acc->cap_series = cap;
	}
	*ret_series = id;
	return 0;
}

static uint32_t slot_of(const struct lp_range_acc *acc, uint32_t series, struct lp_pane pane)
{
	uint64_t key = ((uint64_t)series << 32) | (uint32_t)(pane.from + pane.to);

	return (uint32_t)((key * UINT64_C(0x9e3779b97f4a7c15)) >> 32) & (acc->slots_cap - 1);
}

static int grow_slots(struct lp_range_acc *acc)
{
	uint32_t cap = acc->slots_cap ? acc->slots_cap * 2 : FIRST_SLOTS;
	int r = acc->n_entries > UINT32_MAX / 4 ? -ENOBUFS : charge(acc, (cap - acc->slots_cap) * sizeof *acc->slots);

	if (r < 0)
		return r;
	uint32_t *slots = calloc(cap, sizeof *slots);

	if (!slots)
		return -ENOMEM;
	free(acc->slots);
	acc->slots = slots;
	acc->slots_cap = cap;
	for (uint32_t i = 0; i < acc->n_entries; i++) {
		uint32_t at = slot_of(acc, acc->entries[i].series, acc->entries[i].pane);

		while (slots[at])
			at = (at + 1) & (cap - 1);
		slots[at] = i + 1;
	}
	return 0;
}

static bool is_entry(const struct lp_range_acc *acc, uint32_t i, uint32_t series, struct lp_pane pane)
{
	const struct lp_range_entry *e = &acc->entries[i];

	return e->series == series && e->pane.from == pane.from && e->pane.to == pane.to;
}

static int grow_entries(struct lp_range_acc *acc)
{
	uint32_t cap = acc->cap_entries ? acc->cap_entries * 2 : 64;
	int r = grow(acc, &acc->entries, acc->cap_entries, cap, sizeof *acc->entries);

	if (r == 0)
		r = grow(acc, &acc->states, acc->cap_entries, cap, acc->ops->bytes);
	if (r == 0)
		acc->cap_entries = cap;
	return r;
}

/* Find or make the state of a series in a pane. */
static int find_entry(struct lp_range_acc *acc, uint32_t series, struct lp_pane pane, uint32_t *ret_entry)
{
	uint32_t at, last = acc->last_entry[series];
	int r = 0;

	if (last != NO_ENTRY && is_entry(acc, last, series, pane)) {
		*ret_entry = last;
		return 0;
	}
	if (acc->n_entries >= acc->slots_cap / 2)
		r = grow_slots(acc);
	if (r < 0)
		return r;
	for (at = slot_of(acc, series, pane); acc->slots[at]; at = (at + 1) & (acc->slots_cap - 1))
		if (is_entry(acc, acc->slots[at] - 1, series, pane)) {
			*ret_entry = acc->last_entry[series] = acc->slots[at] - 1;
			return 0;
		}
	if (acc->n_entries == acc->cap_entries)
		r = grow_entries(acc);
	if (r < 0)
		return r;
	acc->entries[acc->n_entries] = (struct lp_range_entry){ series, pane };
	memcpy(acc->states + (size_t)acc->n_entries * acc->ops->bytes, acc->ops->empty, acc->ops->bytes);
	acc->slots[at] = acc->n_entries + 1;
	*ret_entry = acc->last_entry[series] = acc->n_entries++;
	return 0;
}

static int log_sample(struct lp_range_acc *acc, uint32_t entry, int64_t ts_ns, double v)
{
	if (acc->n_log == acc->cap_log) {
		if (acc->cap_log > UINT32_MAX / 2)
			return -ENOBUFS;
		uint32_t cap = acc->cap_log ? acc->cap_log * 2 : 256;
		int r = grow(acc, &acc->log_entries, acc->cap_log, cap, sizeof *acc->log_entries);

		if (r == 0)
			r = grow(acc, &acc->log_values, acc->cap_log, cap, sizeof *acc->log_values);
		if (r == 0 && acc->ops->keeps_times)
			r = grow(acc, &acc->log_times, acc->cap_log, cap, sizeof *acc->log_times);
		if (r < 0)
			return r;
		acc->cap_log = cap;
	}
	acc->log_entries[acc->n_log] = entry;
	acc->log_values[acc->n_log] = v;
	if (acc->ops->keeps_times)
		acc->log_times[acc->n_log] = ts_ns;
	acc->n_log++;
	return 0;
}

static struct lp_pane find_pane(struct lp_range_acc *acc, int64_t ts_ns)
{
	if (ts_ns < acc->pane_first_ns || ts_ns > acc->pane_last_ns)
		acc->pane = lp_panes_find(&acc->panes, ts_ns, &acc->pane_first_ns, &acc->pane_last_ns);
	return acc->pane;
}

int lp_range_acc_add(struct lp_range_acc *acc, uint32_t series, int64_t ts_ns, double value)
{
	struct lp_pane pane = find_pane(acc, ts_ns);
	uint32_t entry;

	if (pane.from >= pane.to)
		return 0;
	int r = find_entry(acc, series, pane, &entry);

	if (r == 0 && acc->ops->keeps_samples)
		r = log_sample(acc, entry, ts_ns, value);
	if (r < 0)
		return r;
	acc->ops->add(lp_range_state(acc, entry), ts_ns, value, 1);
	acc->samples++;
	return 0;
}

bool lp_range_acc_add_many(struct lp_range_acc *acc, uint32_t series, int64_t min_ts_ns, int64_t max_ts_ns, uint64_t n, double sum)
{
	struct lp_pane pane = find_pane(acc, min_ts_ns);
	enum lp_range_op op = acc->range->op;
	uint32_t entry;

	if (max_ts_ns > acc->pane_last_ns || acc->range->has_unwrap)
		return false;
	if (op != LP_RANGE_COUNT && op != LP_RANGE_RATE && op != LP_RANGE_BYTES && op != LP_RANGE_BYTES_RATE && op != LP_RANGE_ABSENT)
		return false;
	if (pane.from >= pane.to || !n)
		return true;
	/* Out of memory: the caller meets it again with the first single sample. */
	if (find_entry(acc, series, pane, &entry) < 0)
		return false;
	acc->ops->add(lp_range_state(acc, entry), min_ts_ns, sum, n);
	acc->samples += n;
	return true;
}

static int merge_entries(struct lp_range_acc *to, const struct lp_range_acc *from, const uint32_t *series_map, uint32_t *entry_map)
{
	for (uint32_t i = 0; i < from->n_entries; i++) {
		int r = find_entry(to, series_map[from->entries[i].series], from->entries[i].pane, &entry_map[i]);

		if (r < 0)
			return r;
		to->ops->merge(lp_range_state(to, entry_map[i]), from->states + (size_t)i * from->ops->bytes);
	}
	return 0;
}

int lp_range_acc_merge(struct lp_range_acc *to, const struct lp_range_acc *from)
{
	uint32_t *map = malloc(((size_t)from->keys.n + from->n_entries + 1) * sizeof *map);
	uint32_t *entry_map = map ? map + from->keys.n : NULL;
	int r = map ? 0 : -ENOMEM;

	for (uint32_t i = 0; r == 0 && i < from->keys.n; i++) {
		const struct lp_key *key = &from->keys.keys[i];

		r = lp_range_acc_series(to, key->bytes, key->len, key->hash, &map[i]);
	}
	if (r == 0)
		r = merge_entries(to, from, map, entry_map);
	for (uint64_t i = 0; r == 0 && i < from->n_log; i++)
		r = log_sample(to, entry_map[from->log_entries[i]], to->ops->keeps_times ? from->log_times[i] : 0, from->log_values[i]);
	if (r == 0)
		to->samples += from->samples;
	free(map);
	return r;
}
