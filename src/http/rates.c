/* Loki's ingestion rates for pushes: limits.ingestion_rate_mb per tenant, limits.per_stream_rate_limit per stream.  Counted as Loki does:
 * bytes of lines and structured metadata that passed every other check; a push over the tenant's rate is refused whole, a line over its
 * stream's alone.  The buckets are shared by all workers (shm/limiter.h).  Process: worker, event loop; keeps nothing. */
#include "http/worker.h"

#include "common/clock.h"
#include "shm/limiter.h"

#include <inttypes.h>

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

void lp_rates_of_streams(struct lp_worker *worker, struct lp_push_limits *limits)
{
	limits->stream_rate = (uint64_t)lp_worker_conf(worker)->limits.per_stream_rate_limit;
	limits->take_stream = limits->stream_rate ? take_stream : NULL;
	limits->take_ctx = worker;
}

bool lp_rates_take(struct lp_worker *worker, h2o_iovec_t tenant, uint32_t lines, uint64_t bytes, char *text, size_t text_size)
{
	const struct lp_conf *conf = lp_worker_conf(worker);
	uint64_t rate = (uint64_t)conf->limits.ingestion_rate_mb << 20, burst = (uint64_t)conf->limits.ingestion_burst_size_mb << 20;
	struct lp_hash128 key;

	if (!rate)
		return true;
	key = lp_labels_hash((const uint8_t *)tenant.base, tenant.len);
	/* The other half of the hash than streams use: a tenant is no stream. */
	if (take(worker, key.hi, bytes, burst, rate))
		return true;
	snprintf(text, text_size,
		 "ingestion rate limit exceeded for user %.*s (limit: %" PRIu64 " bytes/sec) while attempting to ingest '%u' lines totaling '%" PRIu64
		 "' bytes, reduce log volume or contact your Loki administrator to see if the limit can be increased",
		 tenant.len ? (int)tenant.len : 4, tenant.len ? tenant.base : "fake", rate, lines, bytes);
	lp_stat_add(worker->stat, LP_STAT_DISCARD_TENANT_RATE, lines);
	return false;
}
