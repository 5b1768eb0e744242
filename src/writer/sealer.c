/* The sealing thread: complete WAL files become segments, lowest first; replaced files are recycled; retention.
 *
 * Order for a file f: its segments are in place (lp_seal_wal), then wal_first moves above f (seq_cst), then the generation
 * moves, then, when no process pins f any more, the file is recycled.  The proof that readers see every line once is in
 * store/catalog.c.
 * Retention trusts the clock with care: a clock that goes back only deletes less.  A clock that jumps forward by over an
 * hour against CLOCK_BOOTTIME is not believed until it has stayed there for an hour: a mistaken clock that is put right
 * within that time deletes nothing.  A start compares with the last write to the log: a machine that boots with a clock
 * years ahead, before time is synchronised, must not cost the data.
 * Process: writer, one thread at nice +10 and the lowest best-effort I/O priority, so that pushes and queries go first.
 * If it dies here, the file is sealed again under the same names. */
#include "writer/writer-private.h"

#include "common/clock.h"
#include "common/log.h"
#include "store/seal.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define HOUR_NS (3600 * LP_NS_PER_SEC)
#define RETIRE_POLL_MS 250              /* pins are given up without a bell */
#define IDLE_MS 60000
#define BACKOFF_MAX_MS 60000
#define STOP_WAIT_SECONDS 2
#define IOPRIO_WHO_PROCESS 1
#define IOPRIO_BEST_EFFORT_LOWEST ((2 << 13) | 7)

struct lp_sealer {
	struct lp_writer *writer;
	char *segments_dir;
	struct lp_sealer_config config; /* retention_days under lock */
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t cond;
	bool stop, kicked, retention_due;
	/* thread only */
	struct lp_segstat *segstat;
	int64_t backoff_ms, retry_ms, next_retention_ms, logged_ms;
	int64_t clock_real_ns, clock_boot_ns, jump_since_ns;
	bool clock_believed;            /* once, since the start */
};

static int64_t boot_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_BOOTTIME, &t);
	return t.tv_sec * LP_NS_PER_SEC + t.tv_nsec;
}

static int64_t believed_now(struct lp_sealer *sealer)
{
	int64_t boot = boot_ns(), real = lp_clock_real_ns();
	int64_t expected = sealer->clock_real_ns + (boot - sealer->clock_boot_ns);

	if (real > expected + HOUR_NS) {
		if (!sealer->jump_since_ns) {
			sealer->jump_since_ns = boot;
			/* At a start it is most often the time that the server was off. */
			lp_log(sealer->clock_believed ? LP_WARN : LP_INFO, "clock is ahead of what was seen last, retention waits an hour "
			       "before it believes it seconds=%" PRId64, (real - expected) / LP_NS_PER_SEC);
		}
		if (boot - sealer->jump_since_ns < HOUR_NS)
			return expected;
	}
	sealer->jump_since_ns = 0;
	sealer->clock_believed = true;
	sealer->clock_real_ns = real;
	sealer->clock_boot_ns = boot;
	return real;
}

static int64_t oldest_kept(struct lp_sealer *sealer)
{
	pthread_mutex_lock(&sealer->lock);
	int64_t days = sealer->config.retention_days;

	pthread_mutex_unlock(&sealer->lock);
	int64_t now = believed_now(sealer);

	return days > 0 ? now - days * LP_NS_PER_DAY : INT64_MIN;
}

static void failed(struct lp_sealer *sealer, const char *what, uint32_t number, int err)
{
	int64_t now = lp_clock_mono_ms();

	sealer->backoff_ms = sealer->backoff_ms ? sealer->backoff_ms * 2 : 1000;
	if (sealer->backoff_ms > BACKOFF_MAX_MS)
		sealer->backoff_ms = BACKOFF_MAX_MS;
	sealer->retry_ms = now + sealer->backoff_ms;
	lp_stat_add(sealer->writer->row, LP_STAT_SEAL_ERRORS, 1);
	if (err == -ENOSPC || err == -EDQUOT)
		lp_wal_drop_spares(sealer->writer->wal);
	if (sealer->logged_ms && now - sealer->logged_ms < 60000)
		return;
	sealer->logged_ms = now;
	lp_log(LP_ERROR, "%s failed, will be tried again file=%" PRIu32 " error=\"%s\"", what, number, strerror(-err));
}

static int seal_file(struct lp_sealer *sealer, uint32_t number)
{
	struct lp_stat_row *row = sealer->writer->row;
	struct lp_seal_result result = { 0 };
	struct lp_seal_config config = {
		.segments_dir = sealer->segments_dir,
		.block_bytes = sealer->config.block_bytes,
		.compress = sealer->config.compress,
		.sync = sealer->config.sync,
		.oldest_ns = oldest_kept(sealer),
	};
	char path[4352];
	int64_t begin_ns = lp_clock_mono_ns();
	int r = lp_wal_path(sealer->writer->wal, number, path, sizeof path);

	if (r == 0)
		r = lp_seal_wal(&config, path, number, &result);
	if (r < 0)
		return r;
	int64_t took_us = (lp_clock_mono_ns() - begin_ns) / 1000;

	if (result.damaged_bytes) {
		lp_stat_add(row, LP_STAT_SEAL_ERRORS, 1);
		lp_log(LP_ERROR, "sealed without damaged records of the write-ahead log, their lines are lost file=%" PRIu32
		       " bytes=%" PRIu64, number, result.damaged_bytes);
	}
	lp_stat_observe_us(row, LP_STAT_SEAL_SECONDS, (uint64_t)took_us);
	lp_stat_add(row, LP_STAT_SEALED_FILES, 1);
	lp_stat_add(row, LP_STAT_SEALED_ENTRIES, result.entries);
	lp_stat_add(row, LP_STAT_SEALED_DUPLICATES, result.duplicates);
	lp_stat_add(row, LP_STAT_SEALED_RAW_BYTES, result.raw_bytes);
	lp_stat_add(row, LP_STAT_SEALED_DISK_BYTES, result.disk_bytes);
	lp_log(LP_INFO, "sealed file=%" PRIu32 " segments=%" PRIu32 " lines=%" PRIu64 " duplicates=%" PRIu64 " expired=%" PRIu64
	       " raw_bytes=%" PRIu64 " disk_bytes=%" PRIu64 " ms=%" PRId64, number, result.segments, result.entries,
	       result.duplicates, result.expired, result.raw_bytes, result.disk_bytes, took_us / 1000);
	return 0;
}

/* Seal the lowest file that waits; true when one was done. */
static bool seal_step(struct lp_sealer *sealer)
{
	struct lp_writer *writer = sealer->writer;
	struct lp_state_shm *state = writer->state;
	bool empty;

	if (sealer->retry_ms && lp_clock_mono_ms() < sealer->retry_ms)
		return false;
	uint32_t number = lp_wal_next_to_seal(writer->wal, atomic_load(&state->wal_first), atomic_load(&state->committed), &empty);

	if (!number)
		return false;
	int r = empty ? 0 : seal_file(sealer, number);

	if (r < 0) {
		failed(sealer, "sealing", number, r);
		return false;
	}
	sealer->backoff_ms = sealer->retry_ms = 0;
	atomic_store(&state->wal_first, lp_wal_first_above(writer->wal, number));       /* seq_cst, partner: lp_slot_pin */
	atomic_fetch_add(&state->generation, 1);
	lp_segstat_refresh(&sealer->segstat, sealer->segments_dir, writer->row);
	lp_gate_ring(writer->region);   /* a flush may wait for it */
	return true;
}

/* Recycle replaced files that nobody reads.  True when one still waits for a reader. */
static bool retire_step(struct lp_sealer *sealer)
{
	struct lp_writer *writer = sealer->writer;
	uint32_t number;
	bool empty;

	while ((number = lp_wal_next_to_seal(writer->wal, 0, UINT64_MAX, &empty)) != 0) {
		if (number >= atomic_load(&writer->state->wal_first))
			return false;
		if (number >= lp_slot_lowest_pin(writer->region))
			return true;
		int r = lp_wal_retire(writer->wal, number);

		if (r < 0) {
			failed(sealer, "recycling a sealed file", number, r);
			return true;
		}
	}
	return false;
}

static void retention_step(struct lp_sealer *sealer)
{
	struct lp_writer *writer = sealer->writer;
	int64_t oldest = oldest_kept(sealer);
	uint32_t deleted = 0;

	atomic_store(&writer->oldest_kept_ns, oldest);

	sealer->next_retention_ms = lp_clock_mono_ms() + HOUR_NS / LP_NS_PER_MS;
	if (oldest == INT64_MIN)
		return;
	pthread_mutex_lock(&writer->segments_lock);
	int r = lp_retain(sealer->segments_dir, oldest, &deleted);

	pthread_mutex_unlock(&writer->segments_lock);
	if (r < 0)
		failed(sealer, "retention", 0, r);
	if (!deleted)
		return;
	atomic_fetch_add(&sealer->writer->state->generation, 1);
	lp_stat_add(sealer->writer->row, LP_STAT_RETENTION_DELETED, deleted);
	lp_segstat_refresh(&sealer->segstat, sealer->segments_dir, sealer->writer->row);
	lp_log(LP_INFO, "retention deleted segments=%" PRIu32, deleted);
}

/* Sleep until there may be work.  False: stop. */
static bool wait_for_work(struct lp_sealer *sealer, bool pinned, bool *ret_retention)
{
	int64_t now = lp_clock_mono_ms(), wait_ms = pinned ? RETIRE_POLL_MS : IDLE_MS;
	struct timespec until;

	if (sealer->retry_ms && sealer->retry_ms - now < wait_ms)
		wait_ms = sealer->retry_ms > now ? sealer->retry_ms - now : 1;
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += wait_ms / 1000;
	until.tv_nsec += wait_ms % 1000 * LP_NS_PER_MS;
	if (until.tv_nsec >= LP_NS_PER_SEC) {
		until.tv_sec++;
		until.tv_nsec -= LP_NS_PER_SEC;
	}
	pthread_mutex_lock(&sealer->lock);
	int r = 0;

	while (!sealer->stop && !sealer->kicked && !sealer->retention_due && r == 0)
		r = pthread_cond_timedwait(&sealer->cond, &sealer->lock, &until);
	sealer->kicked = false;
	*ret_retention = sealer->retention_due || lp_clock_mono_ms() >= sealer->next_retention_ms;
	sealer->retention_due = false;
	bool go_on = !sealer->stop;

	pthread_mutex_unlock(&sealer->lock);
	return go_on;
}

static bool stop_wanted(struct lp_sealer *sealer)
{
	pthread_mutex_lock(&sealer->lock);
	bool stop = sealer->stop;

	pthread_mutex_unlock(&sealer->lock);
	return stop;
}

static void *run(void *arg)
{
	struct lp_sealer *sealer = arg;
	bool retention = true;

	/* Best effort: without the right to it sealing runs at normal priority. */
	(void)setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), 10);
	(void)syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, IOPRIO_BEST_EFFORT_LOWEST);
	lp_segstat_refresh(&sealer->segstat, sealer->segments_dir, sealer->writer->row);
	do {
		if (retention)
			retention_step(sealer);
		while (!stop_wanted(sealer) && seal_step(sealer)) {
			(void)retire_step(sealer);
			struct lp_compactor *compactor = atomic_load(&sealer->writer->compactor);

			if (compactor)
				lp_compactor_kick(compactor);
		}
		if (atomic_exchange(&sealer->writer->segments_changed, false))
			lp_segstat_refresh(&sealer->segstat, sealer->segments_dir, sealer->writer->row);
	} while (wait_for_work(sealer, retire_step(sealer), &retention));
	lp_segstat_free(&sealer->segstat);
	return NULL;
}

int lp_sealer_start(struct lp_writer *writer, const char *segments_dir, const struct lp_sealer_config *config,
		    struct lp_sealer **ret_sealer)
{
	struct lp_sealer *sealer = calloc(1, sizeof *sealer);
	pthread_condattr_t attr;
	sigset_t all, old;

	if (!sealer || !(sealer->segments_dir = strdup(segments_dir))) {
		free(sealer);
		return -ENOMEM;
	}
	sealer->writer = writer;
	sealer->config = *config;
	sealer->clock_real_ns = config->last_write_ns ? config->last_write_ns : lp_clock_real_ns();
	sealer->clock_boot_ns = boot_ns();
	pthread_mutex_init(&sealer->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&sealer->cond, &attr);
	pthread_condattr_destroy(&attr);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	int r = -pthread_create(&sealer->thread, NULL, run, sealer);

	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (r < 0) {
		free(sealer->segments_dir);
		free(sealer);
		return r;
	}
	*ret_sealer = sealer;
	return 0;
}

void lp_sealer_kick(struct lp_sealer *sealer)
{
	pthread_mutex_lock(&sealer->lock);
	sealer->kicked = true;
	pthread_cond_signal(&sealer->cond);
	pthread_mutex_unlock(&sealer->lock);
}

void lp_writer_segments_changed(struct lp_writer *writer)
{
	atomic_store(&writer->segments_changed, true);
	lp_sealer_kick(writer->sealer);
}

void lp_sealer_set_retention(struct lp_sealer *sealer, int64_t days)
{
	pthread_mutex_lock(&sealer->lock);
	sealer->config.retention_days = days;
	sealer->retention_due = true;
	pthread_cond_signal(&sealer->cond);
	pthread_mutex_unlock(&sealer->lock);
}

bool lp_sealer_stop(struct lp_sealer **sealer)
{
	struct lp_sealer *s = *sealer;
	struct timespec until;

	if (!s)
		return true;
	pthread_mutex_lock(&s->lock);
	s->stop = true;
	pthread_cond_signal(&s->cond);
	pthread_mutex_unlock(&s->lock);
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += STOP_WAIT_SECONDS;
	if (pthread_timedjoin_np(s->thread, NULL, &until) != 0) {
		pthread_detach(s->thread);
		return false;
	}
	pthread_cond_destroy(&s->cond);
	pthread_mutex_destroy(&s->lock);
	free(s->segments_dir);
	free(s);
	*sealer = NULL;
	return true;
}
