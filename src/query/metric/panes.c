/* Panes: the elementary intervals between neighbouring window borders (Li et al., "No Pane, No Gain", SIGMOD Record 2005).
 *
 * With left borders l_i and right borders r_i, a timestamp lies in window i if and only if l_i < ts <= r_i.  Let `to` be the number
 * of left borders below ts and `from` the number of right borders below ts: then the windows of ts are from <= i < to, whatever the
 * relation of range, step and offset.  There are at most 2 * steps + 1 panes, however long the range is.
 * Pure functions, any thread of a worker; nothing is lost if it dies here. */
#include "query/metric/metric-private.h"

void lp_panes_init(struct lp_panes *panes, const struct lp_range_agg *range, const struct lp_metric_grid *grid)
{
	__int128 right = (__int128)grid->start_ns - range->offset_ns;

	*panes = (struct lp_panes){
		.left_0 = right - range->range_ns, .right_0 = right,
		.step_ns = grid->steps > 1 && grid->step_ns > 0 ? (uint64_t)grid->step_ns : 1,
		.steps = grid->steps,
	};
}

/* How many of border, border + step, ... (steps of them) lie below ts? */
static uint32_t borders_below(const struct lp_panes *panes, __int128 border, int64_t ts_ns)
{
	__int128 after = (__int128)ts_ns - border;

	if (after <= 0)
		return 0;
	if (after > (__int128)panes->step_ns * panes->steps)
		return panes->steps;
	/* A step and a 32-bit number of them may still be more than 64 bits, but steps >= 1 and step < 2^63. */
	return (uint32_t)((after - 1) / panes->step_ns) + 1;
}

static int64_t clamp(__int128 v)
{
	return v < INT64_MIN ? INT64_MIN : v > INT64_MAX ? INT64_MAX : (int64_t)v;
}

struct lp_pane lp_panes_find(const struct lp_panes *panes, int64_t ts_ns, int64_t *ret_first_ns, int64_t *ret_last_ns)
{
	struct lp_pane pane = { borders_below(panes, panes->right_0, ts_ns), borders_below(panes, panes->left_0, ts_ns) };
	__int128 step = panes->step_ns, below = INT64_MIN, above = INT64_MAX;
	__int128 right_below = panes->right_0 + step * ((__int128)pane.from - 1), left_below = panes->left_0 + step * ((__int128)pane.to - 1);

	if (pane.from && right_below >= below)
		below = right_below + 1;
	if (pane.to && left_below >= below)
		below = left_below + 1;
	if (pane.from < panes->steps && right_below + step < above)
		above = right_below + step;
	if (pane.to < panes->steps && left_below + step < above)
		above = left_below + step;
	*ret_first_ns = clamp(below);
	*ret_last_ns = clamp(above);
	return pane;
}

void lp_range_acc_span(const struct lp_range_agg *range, const struct lp_metric_grid *grid, int64_t *ret_first_ns, int64_t *ret_last_ns)
{
	struct lp_panes panes;

	lp_panes_init(&panes, range, grid);
	*ret_first_ns = clamp(panes.left_0 + 1);
	*ret_last_ns = clamp(panes.right_0 + (__int128)panes.step_ns * (panes.steps ? panes.steps - 1 : 0));
}
