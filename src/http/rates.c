/* Loki's limits on how much may come: limits.max_global_streams_per_user, limits.ingestion_rate_mb per tenant, limits.per_stream_rate_limit
 * per stream.  Rates are counted as Loki does: bytes of lines and structured metadata that passed every other check; a push over the
 * tenant's rate is refused whole, a line over its stream's alone.  Both are shared by all workers (shm/limiter.h,
 * shm/streams.h).  Process: worker, event loop; keeps nothing. */
#include "http/worker.h"

#include "common/clock.h"
#include "query/streams.h"
#include "shm/limiter.h"
#include "shm/streams.h"

#include <inttypes.h>

#define SWEEP_PLACES 8192u

static uint64_t to_ns(uint64_t bytes, uint64_t rate)
{
	double ns = (double)bytes * 1e9 / (double)rate;

	return ns < (double)LP_LIMIT_MAX_NS ? (uint64_t)ns : LP_LIMIT_MAX_NS;
}

static bool take(const struct lp_worker *worker, uint64_t key, uint64_t bytes, uint64_t burst, uint64_t rate)
{
	struct lp_limit_state state = lp_limiter_take(worker->proc->region, key, to_ns(bytes, rate), to_ns(burst, rate), (uint64_t)lp_clock_mono_ns());

	if (state.evicted)
		lp_stat_add(worker->stat, LP_STAT_RATE_LIMIT_EVICTED, 1);
	return state.allowed;
}

static bool take_stream(void *ctx, uint64_t stream, uint64_t bytes)
{
	const struct lp_worker *worker = ctx;
	const struct lp_conf *conf = lp_worker_conf(worker);

	return take(worker, stream, bytes, (uint64_t)conf->limits.per_stream_rate_limit_burst, (uint64_t)conf->limits.per_stream_rate_limit);
}

static uint64_t tenant_key(const char *tenant, size_t len)
{
	/* The other half of the hash than streams use in the table of rates: a tenant is no stream. */
	return lp_labels_hash((const uint8_t *)tenant, len).hi;
}

static uint64_t now_s(void)
{
	return (uint64_t)(lp_clock_mono_ns() / LP_NS_PER_SEC);
}

static bool admit_stream(void *ctx, const char *tenant, size_t tenant_len, const struct lp_hash128 *stream)
{
	const struct lp_worker *worker = ctx;

	return lp_streams_admit(worker->proc->region, tenant_key(tenant, tenant_len), stream->lo,
				(uint32_t)lp_worker_conf(worker)->limits.max_global_streams_per_user, now_s());
}

static void seed_stream(void *ctx, const uint8_t *labels, uint32_t len)
{
	struct lp_worker *worker = ctx;
	struct lp_labels_iter it;
	const char *tenant;
	size_t tenant_len;

	if (lp_labels_iter(&it, labels, len, &tenant, &tenant_len) == 0)
		(void)lp_streams_admit(worker->proc->region, tenant_key(tenant, tenant_len), lp_labels_hash(labels, len).lo, UINT32_MAX, now_s());
}

/* A server that starts knows by the times of their lines which streams were active. */
static void seed_once(struct lp_worker *worker)
{
	if (lp_queries_ready(worker) && lp_streams_claim_seeding(worker->proc->region))
		(void)lp_streams_since(worker->query.catalog, lp_clock_real_ns() - LP_STREAMS_ACTIVE_S * LP_NS_PER_SEC, seed_stream, worker);
}

void lp_rates_tick(struct lp_worker *worker)
{
	if (!lp_worker_conf(worker)->limits.max_global_streams_per_user)
		return;
	seed_once(worker);
	lp_streams_sweep(worker->proc->region, SWEEP_PLACES, now_s());
}

void lp_rates_of_streams(struct lp_worker *worker, struct lp_push_limits *limits)
{
	limits->stream_rate = (uint64_t)lp_worker_conf(worker)->limits.per_stream_rate_limit;
	limits->take_stream = limits->stream_rate ? take_stream : NULL;
	limits->admit_stream = lp_worker_conf(worker)->limits.max_global_streams_per_user ? admit_stream : NULL;
	if (limits->admit_stream)
		seed_once(worker);
	limits->take_ctx = worker;
}

bool lp_rates_take(struct lp_worker *worker, h2o_iovec_t tenant, uint32_t lines, uint64_t bytes, char *text, size_t text_size)
{
	const struct lp_conf *conf = lp_worker_conf(worker);
	uint64_t rate = (uint64_t)conf->limits.ingestion_rate_mb << 20, burst = (uint64_t)conf->limits.ingestion_burst_size_mb << 20;

	if (!rate)
		return true;
	if (take(worker, tenant_key(tenant.base, tenant.len), bytes, burst, rate))
		return true;
	snprintf(text, text_size,
		 "ingestion rate limit exceeded for user %.*s (limit: %" PRIu64 " bytes/sec) while attempting to ingest '%u' lines totaling '%" PRIu64
		 "' bytes, reduce log volume or contact your Loki administrator to see if the limit can be increased",
		 tenant.len ? (int)tenant.len : 4, tenant.len ? tenant.base : "fake", rate, lines, bytes);
	lp_stat_add(worker->stat, LP_STAT_DISCARD_TENANT_RATE, lines);
	return false;
}
