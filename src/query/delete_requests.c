/* The delete routes: take, list and cancel delete requests.  They run as queries because they wait for the disk, which the event loop
 * must not.
 *
 * Guarantees: a request that was answered 204 is on the disk; queries that begin after that, in any process, do not show what it
 * means, and what is pushed after that stays.  For the latter the log goes on in a new file: a request covers whole files.
 * Process: worker, pool threads.  If it dies before the answer, the request may have been taken or not, as with any push. */
#include "query/engine-private.h"

#include "common/clock.h"
#include "common/jsonw.h"
#include "shm/lane.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#define ROTATE_WAIT_MS 5000

static int failed(struct lp_query *query, int r)
{
	if (r == -E2BIG)
		return lp_query_fail(query, 400, "BAD_QUERY", "too many delete requests are waiting to be processed: %u", LP_DELETES_MAX);
	if (r == -EBADMSG)
		return lp_query_fail(query, 500, "INTERNAL_ERROR", "the list of delete requests (deletes in the data directory) is damaged");
	if (r == -ENOSPC)
		return lp_query_fail(query, 507, "INTERNAL_ERROR", "the disk is full, the delete request was not stored");
	return lp_query_fail_errno(query, r);
}

/* The last file that holds anything that was acknowledged. */
static uint32_t last_file(const struct lp_state_shm *state)
{
	lp_walpos committed = atomic_load_explicit(&state->committed, memory_order_acquire);
	uint32_t file = LP_WALPOS_FILE(committed);

	return file && LP_WALPOS_OFF(committed) <= LP_WALFILE_HEAD ? file - 1 : file;
}

/* Have the log go on in a later file.  It does in the end: at the latest when this one is full. */
static void leave_file(struct lp_query *query, struct lp_region *region, uint32_t file)
{
	struct lp_state_shm *state = lp_region_state(region);
	int64_t give_up = lp_clock_mono_ms() + ROTATE_WAIT_MS;

	if (LP_WALPOS_FILE(atomic_load(&state->committed)) > file)
		return;
	(void)atomic_fetch_add(&state->flush_requested, 1);
	lp_gate_ring(region);
	while (LP_WALPOS_FILE(atomic_load(&state->committed)) <= file && lp_clock_mono_ms() < give_up && !lp_query_stopped(query))
		(void)nanosleep(&(struct timespec){ .tv_nsec = LP_NS_PER_MS }, NULL);
}

static int add(struct lp_query *query)
{
	const struct lp_query_params *p = &query->params;
	const char *data_dir = lp_catalog_data_dir(lp_query_catalog(query));
	struct lp_region *region = lp_catalog_region(lp_query_catalog(query));
	struct lp_delete request = { .start_ns = p->start_ns, .end_ns = p->end_ns, .created_ns = lp_clock_real_ns(), .tenant = p->tenant,
				     .tenant_len = (uint32_t)p->tenant_len, .query = p->text, .query_len = (uint32_t)p->text_len };
	struct lp_buf error = LP_BUF_INIT;
	uint64_t id;
	int r = lp_tomb_parse(p->text, p->text_len, NULL, NULL, &error);

	if (r == -EINVAL)
		r = lp_query_fail(query, 400, "BAD_QUERY", "%s", lp_buf_cstr(&error));
	lp_buf_free(&error);
	if (r < 0)
		return r;
	request.last_file = region ? last_file(lp_region_state(region)) : UINT32_MAX;
	r = lp_deletes_add(data_dir, &request, &id);
	if (r < 0)
		return failed(query, r);
	query->stats.delete_id = id;
	if (region)
		leave_file(query, region, request.last_file);
	return 0;
}

static int cancel(struct lp_query *query)
{
	const struct lp_query_params *p = &query->params;
	char *end;
	uint64_t id = strtoull(p->label, &end, 16);
	int r = end != p->label + p->label_len || !p->label_len ? -ENOENT :
		lp_deletes_cancel(lp_catalog_data_dir(lp_query_catalog(query)), id, p->tenant, p->tenant_len, p->not_before_ns);

	if (r == -ENOENT)
		return lp_query_fail(query, 404, "NOT_FOUND", "could not find delete request with given id");
	if (r == -EALREADY)
		return lp_query_fail(query, 400, "BAD_QUERY", "deletion of request which is in process or already processed is not allowed");
	if (r == -ETIME)
		return lp_query_fail(query, 400, "BAD_QUERY", "Cancellation of partially completed delete request after the deadline since "
				     "its creation is not allowed. To force, use the ?force query parameter");
	return r < 0 ? failed(query, r) : 0;
}

static void put_seconds(struct lp_buf *out, const char *name, int64_t ns)
{
	int64_t ms = ns / LP_NS_PER_MS;

	lp_buf_printf(out, "\"%s\":%lld", name, (long long)(ms / 1000));
	if (ms % 1000)
		lp_buf_printf(out, ".%03lld", (long long)(llabs(ms) % 1000));
}

static void put_request(struct lp_buf *out, const struct lp_delete *x)
{
	lp_buf_printf(out, "{\"request_id\":\"" LP_DELETE_ID_FORMAT "\",", x->id);
	put_seconds(out, "start_time", x->start_ns);
	lp_buf_byte(out, ',');
	put_seconds(out, "end_time", x->end_ns);
	lp_buf_str(out, ",\"query\":");
	lp_jsonw_str(out, x->query, x->query_len);
	lp_buf_printf(out, ",\"status\":\"%s\",", x->processed ? "processed" : "received");
	put_seconds(out, "created_at", x->created_ns);
	lp_buf_str(out, ",\"user_id\":");
	/* What Loki calls its only tenant. */
	lp_jsonw_str(out, x->tenant_len ? x->tenant : "fake", x->tenant_len ? x->tenant_len : 4);
	lp_buf_byte(out, '}');
}

static int list(struct lp_query *query)
{
	struct lp_deletes deletes;
	bool first = true;
	int r = lp_deletes_load(lp_catalog_data_dir(lp_query_catalog(query)), &deletes);

	if (r < 0)
		return failed(query, r);
	lp_buf_byte(&query->out, '[');
	for (uint32_t i = 0; i < deletes.n; i++) {
		const struct lp_delete *x = &deletes.v[i];

		if (x->tenant_len != query->params.tenant_len || memcmp(x->tenant, query->params.tenant, x->tenant_len))
			continue;
		if (!first)
			lp_buf_byte(&query->out, ',');
		first = false;
		put_request(&query->out, x);
	}
	lp_buf_str(&query->out, "]\n");
	lp_deletes_free(&deletes);
	return 0;
}

static int delete_plan(struct lp_query *query, struct lp_worker *worker)
{
	(void)worker;
	switch (query->params.kind) {
	case LP_QUERY_DELETE_ADD:
		return add(query);
	case LP_QUERY_DELETE_CANCEL:
		return cancel(query);
	default:
		return list(query);
	}
}

static int delete_finish(struct lp_query *query)
{
	int r = lp_out_begin(query, query->params.kind == LP_QUERY_DELETE_LIST ? 200 : 204, "application/json");

	return r < 0 ? r : lp_out_flush(query, true);
}

const struct lp_query_ops lp_delete_ops = { .plan = delete_plan, .finish = delete_finish };
