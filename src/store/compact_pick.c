/* Which segments to merge: size-tiered compaction over neighbours.
 *
 * Source: the tiers of Bigtable's merging compactions (Chang et al., OSDI 2006, 5.4) as Cassandra's SizeTieredCompactionStrategy and,
 * for neighbours in a fixed order, Lucene's LogByteSizeMergePolicy apply them.  A window of at least fan_in neighbours is merged when
 * together they are at least twice as large as the largest of them (fan_in times, when they are equal): every byte then moves into
 * a segment that is larger by that factor, so it is rewritten a logarithm of times, and the number of segments left unmerged grows
 * with the logarithm of the day's bytes (and by one for every max_bytes).  Days that are over are merged in pairs as well, when the
 * smaller is at least half as large as the other.
 * Among the windows the one that costs the fewest bytes per segment saved goes first.
 * Process: any; pure. */
#include "store/compact.h"

static bool crosses_cut(const struct lp_compact_policy *policy, const struct lp_segment_name *a, const struct lp_segment_name *b)
{
	for (uint32_t i = 0; i < policy->n_cuts; i++)
		if (a->last <= policy->cuts[i] && b->first > policy->cuts[i])
			return true;
	return false;
}

static bool pays(uint32_t n, uint64_t sum, uint64_t largest, uint32_t fan_in)
{
	return n >= fan_in && (fan_in > 2 ? sum >= largest * 2 : sum >= largest + largest / 2);
}

bool lp_compact_pick(const struct lp_compact_policy *policy, const struct lp_compact_candidate *candidates, size_t n, size_t *ret_first,
		     uint32_t *ret_n)
{
	uint64_t best = UINT64_MAX;

	for (size_t i = 0; i < n; i++) {
		uint32_t fan_in = candidates[i].name.day < policy->old_day ? 2 : policy->fan_in;
		uint64_t sum = 0, largest = 0;

		for (size_t k = i; k < n && k - i < policy->max_inputs; k++) {
			const struct lp_compact_candidate *c = &candidates[k];

			if (c->fixed || c->name.day != candidates[i].name.day || sum + c->bytes > policy->max_bytes ||
			    (k > i && crosses_cut(policy, &candidates[k - 1].name, &c->name)))
				break;
			sum += c->bytes;
			largest = c->bytes > largest ? c->bytes : largest;
			if (k > i && pays((uint32_t)(k - i + 1), sum, largest, fan_in) && sum / (k - i) < best) {
				best = sum / (k - i);
				*ret_first = i;
				*ret_n = (uint32_t)(k - i + 1);
			}
		}
	}
	return best != UINT64_MAX;
}
