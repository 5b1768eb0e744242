/* The writer process: opens the log, drains the lanes, rotates by age and on request, stops cleanly.
 *
 * Guarantees: `committed` is stored only after the log is durable up to it, LP_STATE_READY only after recovery; SIGTERM ends
 * it with empty lanes (or after shutdown.ingestor_timeout_seconds, when the disk does not let it).
 * Process: writer, main thread; helpers are the prewriting thread (store/wal_pool.c) and the sealing thread (sealer.c).
 * If it dies anywhere, the master starts another one, which finds in the region how far the log was committed and in the lanes
 * everything else. */
#include "writer/writer-private.h"

#include "common/clock.h"
#include "common/dir.h"
#include "common/log.h"
#include "shm/commit.h"
#include "store/map.h"
#include "store/seal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#define TICK_MS 1000

static int fatal(const char *what, int err)
{
	lp_log(LP_FATAL, "writer: %s error=\"%s\"", what, strerror(-err));
	return 1;
}

static int make_dir(const struct lp_writer *writer, const char *name, char *path, size_t len)
{
	int n = snprintf(path, len, "%s/%s", writer->proc->data_dir, name);

	if (n < 0 || (size_t)n >= len)
		return -ENAMETOOLONG;
	if (mkdir(path, 0750) < 0 && errno != EEXIST)
		return -errno;
	/* Better no start than a server that is ready and refuses every push. */
	if (access(path, R_OK | W_OK | X_OK) < 0)
		return -errno;
	/* Also when it was there: whoever made it may have died before this.  Without the name every line in it is lost. */
	return lp_dir_sync(writer->proc->data_dir);
}

/* The lowest number for new WAL files: above everything that segments cover. */
static int least_number(const char *segments_dir, uint32_t *ret_number)
{
	struct lp_segment_name *names = NULL;
	uint32_t number = 1;
	size_t n = 0;
	int r = lp_segment_list(segments_dir, &names, &n);

	if (r < 0)
		return r;
	for (size_t i = 0; i < n; i++)
		if (names[i].last >= number)
			number = names[i].last + 1;
	free(names);
	*ret_number = number;
	return 0;
}

/* When the log was last written, by the clock of then; 0 when there is none. */
static int64_t last_write(const char *wal_dir)
{
	int64_t newest = 0;
	DIR *dir = opendir(wal_dir);
	struct dirent *entry;
	struct stat st;

	while (dir && (entry = readdir(dir))) {
		size_t n = strlen(entry->d_name);

		if (n < 4 || strcmp(entry->d_name + n - 4, ".wal") || fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			continue;
		int64_t at = st.st_mtim.tv_sec * LP_NS_PER_SEC + st.st_mtim.tv_nsec;

		if (at > newest)
			newest = at;
	}
	if (dir)
		closedir(dir);
	return newest;
}

static int open_lanes(struct lp_writer *writer, const struct lp_wal_recovery *recovery)
{
	for (uint32_t i = 0; i < writer->n_lanes; i++) {
		struct lp_writer_lane *lane = &writer->lanes[i];
		int r = lp_lane_open(writer->region, i, &lane->lane);

		if (r < 0)
			return r;
		uint64_t head = lp_lane_head(lane->lane), tail = lp_lane_tail(lane->lane);
		uint64_t end = recovery->lanes[i].end_pos < head ? recovery->lanes[i].end_pos : head;

		lane->taken = lane->committed = end;
		/* The last writer stored `committed` and died before it told the worker. */
		if (end > tail)
			lp_lane_release(lane->lane, end);
	}
	return 0;
}

static void publish_start(struct lp_writer *writer, const struct lp_wal_recovery *recovery)
{
	struct lp_state_shm *state = writer->state;
	lp_walpos committed;

	/* Never back: files below it are replaced, and only wait for their readers. */
	if (atomic_load(&state->wal_first) < recovery->first_file)
		atomic_store(&state->wal_first, recovery->first_file);
	atomic_fetch_add(&state->generation, 1);
	if (lp_wal_commit(writer->wal, &committed) == 0)        /* nothing is dirty: no sync, no failure */
		atomic_store(&state->committed, committed);
	lp_commit_ring(writer->region);         /* the last writer may have died before it rang */
	writer->flush_ticket = atomic_load(&state->flush_done);
	atomic_fetch_or(&state->flags, LP_STATE_READY);
}

static int open_log(struct lp_writer *writer, const char *wal_dir, const char *segments_dir)
{
	const struct lp_conf *conf = writer->proc->conf;
	struct lp_wal_recovery recovery;
	struct lp_wal_config config = {
		.dir = wal_dir,
		.file_min = (uint64_t)conf->storage.wal_file_min,
		.file_max = (uint64_t)conf->storage.wal_file_max,
		.sync = conf->storage.durability == LP_DURABILITY_SYNC,
		.min_free_bytes = (uint64_t)conf->storage.min_free_bytes,
	};
	int64_t begin_ms = lp_clock_mono_ms();

	if (config.file_max < config.file_min)
		config.file_max = config.file_min;
	int r = least_number(segments_dir, &config.least_number);

	if (r < 0)
		lp_log(LP_FATAL, "segments cannot be listed path=%s error=\"%s\"", segments_dir, strerror(-r));
	else
		r = lp_wal_open(&config, writer->epoch, atomic_load(&writer->state->committed), &writer->wal, &recovery);
	if (r < 0)
		return r;
	if (recovery.bad_files)
		lp_log(LP_ERROR, "write-ahead log: files with a damaged head, or that are not ours, were set aside as %s/*.wal.bad"
		       " files=%" PRIu32, wal_dir, recovery.bad_files);
	if (recovery.damaged_bytes || recovery.missing_files)
		lp_log(LP_ERROR, "write-ahead log: something that was stored is damaged or gone, all the rest is kept"
		       " damaged_bytes=%" PRIu64 " missing_files=%" PRIu32, recovery.damaged_bytes, recovery.missing_files);
	lp_log(LP_INFO, "write-ahead log opened files=%" PRIu32 " records=%" PRIu64 " lines=%" PRIu64 " torn_bytes=%" PRIu64
	       " ms=%" PRId64, recovery.files, recovery.records, recovery.entries, recovery.torn_bytes,
	       lp_clock_mono_ms() - begin_ms);
	publish_start(writer, &recovery);
	return open_lanes(writer, &recovery);
}

static struct lp_compactor_config compactor_config_of(const struct lp_conf *conf)
{
	return (struct lp_compactor_config){
		.seal = { .block_bytes = (uint32_t)conf->storage.chunk_size_bytes, .compress = true,
			  .sync = conf->storage.durability == LP_DURABILITY_SYNC },
		.level = (int)conf->compactor.compression_level,
		.interval_ms = conf->compactor.compaction_interval,
		.delete_lines = conf->limits.deletion_mode == LP_DELETION_FILTER_AND_DELETE,
		.cancel_period_ms = conf->compactor.delete_request_cancel_period,
		.min_free_bytes = (uint64_t)conf->storage.min_free_bytes,
	};
}

static int start(struct lp_writer *writer)
{
	const struct lp_conf *conf = writer->proc->conf;
	char wal_dir[4352], segments_dir[4352];
	struct lp_sealer_config sealer_config = {
		.block_bytes = (uint32_t)conf->storage.chunk_size_bytes,
		.compress = true,
		.sync = conf->storage.durability == LP_DURABILITY_SYNC,
		.retention_days = conf->storage.retention_days,
	};
	struct lp_compactor_config compactor_config = compactor_config_of(conf);
	int r = make_dir(writer, "wal", wal_dir, sizeof wal_dir);

	if (r == 0)
		r = make_dir(writer, "segments", segments_dir, sizeof segments_dir);
	if (r < 0) {
		fatal("cannot make its directories in the data directory, or write to them", r);
		return LP_EXIT_CANTCREATE;
	}
	r = lp_seal_cleanup(segments_dir);
	if (r < 0)
		lp_log(LP_WARN, "segments: cannot be cleaned up error=\"%s\"", strerror(-r));
	sealer_config.last_write_ns = last_write(wal_dir);      /* before the files are taken up again */
	r = open_log(writer, wal_dir, segments_dir);
	if (r == -EBADMSG) {
		fatal("the ends of a ring contradict each other", r);
		return LP_EXIT_REGION;
	}
	if (r < 0)
		return fatal(r == -EPROTO ? "the data was written by a newer version" : "cannot open the write-ahead log", r);
	pthread_mutex_init(&writer->segments_lock, NULL);
	atomic_store(&writer->oldest_kept_ns, INT64_MIN);
	r = lp_sealer_start(writer, segments_dir, &sealer_config, &writer->sealer);
	if (r < 0)
		return fatal("cannot start its sealing thread", r);
	struct lp_compactor *compactor = NULL;

	r = lp_compactor_start(writer, segments_dir, wal_dir, &compactor_config, &compactor);
	if (r < 0)
		return fatal("cannot start its compacting thread", r);
	atomic_store(&writer->compactor, compactor);
	return 0;
}

static void reload(struct lp_writer *writer)
{
	if (lp_proc_reload(writer->proc) < 0)
		return;
	const struct lp_conf *conf = writer->proc->conf;

	lp_writer_load_tracing(writer);
	lp_wal_set_min_free(writer->wal, (uint64_t)conf->storage.min_free_bytes);
	lp_sealer_set_retention(writer->sealer, conf->storage.retention_days);
	struct lp_compactor_config config = compactor_config_of(conf);

	lp_compactor_set(atomic_load(&writer->compactor), &config);
}

static void take_signals(struct lp_writer *writer)
{
	struct signalfd_siginfo info;

	while (read(writer->proc->signal_fd, &info, sizeof info) == (ssize_t)sizeof info) {
		switch (info.ssi_signo) {
		case SIGTERM:
		case SIGINT:
			if (!writer->stopping)
				writer->stop_by_ms = lp_clock_mono_ms() +
						     writer->proc->conf->shutdown.ingestor_timeout_seconds * 1000;
			writer->stopping = true;
			break;
		case SIGHUP:
			reload(writer);
			break;
		case SIGUSR1:
			(void)lp_log_reopen();
			break;
		}
	}
}

/* A worker asks that everything committed becomes segments. */
static void serve_flush(struct lp_writer *writer)
{
	struct lp_state_shm *state = writer->state;

	if (!writer->flushing && atomic_load(&state->flush_requested) != writer->flush_ticket) {
		writer->flush_ticket = atomic_load(&state->flush_requested);
		lp_writer_rotate(writer);
		writer->flush_last = lp_wal_last_complete(writer->wal);
		writer->flushing = true;
		lp_sealer_kick(writer->sealer);
	}
	if (writer->flushing && atomic_load(&state->wal_first) > writer->flush_last) {
		atomic_store_explicit(&state->flush_done, writer->flush_ticket, memory_order_release);
		writer->flushing = false;
	}
}

static void tick(struct lp_writer *writer)
{
	int64_t since_ns = lp_wal_current_since_ns(writer->wal);
	int64_t max_age_ns = writer->proc->conf->storage.wal_max_age * LP_NS_PER_MS;

	atomic_store_explicit(&writer->slot->alive_mono_ms, lp_clock_mono_ms(), memory_order_relaxed);
	lp_proc_follow_log_level(writer->proc);
	/* The directory may be gone as well, so only a new start makes it whole.  At most a second of pushes was acknowledged in
	 * vain; what is in the lanes is stored by the next writer. */
	if (lp_wal_is_removed(writer->wal)) {
		lp_log(LP_FATAL, "the current log file was deleted by somebody else, its lines are lost; opening the log anew");
		_exit(1);
	}
	lp_writer_watch_space(writer);
	if (lp_wal_rest(writer->wal, lp_clock_mono_ns()))
		lp_writer_announce(writer);
	if (since_ns && lp_clock_mono_ns() - since_ns > max_age_ns)
		lp_writer_rotate(writer);
}

/* Sleep until something happens; not at all when there is work that can be done. */
static void wait_for_work(struct lp_writer *writer, bool busy)
{
	bool blocked = writer->waiting || writer->retry_ms;
	int64_t timeout = busy ? 0 : writer->next_tick_ms - lp_clock_mono_ms();
	struct pollfd fds[3] = {
		{ .fd = writer->proc->signal_fd, .events = POLLIN },
		{ .fd = lp_wal_event_fd(writer->wal), .events = POLLIN },
		/* While nothing can be appended, records only wake it in vain. */
		{ .fd = blocked ? -1 : lp_region_writer_bell(writer->region), .events = POLLIN },
	};

	if (!busy && !blocked) {
		lp_gate_sleep(writer->region);
		/* Look again after the announcement: what came before it did not ring. */
		if (!lp_writer_lanes_empty(writer) || (!writer->flushing &&
		    atomic_load(&writer->state->flush_requested) != writer->flush_ticket))
			timeout = 0;
	}
	(void)poll(fds, 3, timeout < 0 ? 0 : (int)timeout);
	if (!busy)
		lp_gate_wake(writer->region);
	if (fds[0].revents)
		take_signals(writer);
	if (fds[1].revents) {
		uint64_t n;
		ssize_t got = read(fds[1].fd, &n, sizeof n);

		(void)got;              /* non-blocking; only the wake-up counts */
	}
}

/* Returns the exit code. */
static int loop(struct lp_writer *writer)
{
	bool busy = true;

	for (;;) {
		wait_for_work(writer, busy);
		busy = lp_writer_round(writer) > 0;
		serve_flush(writer);
		int64_t now = lp_clock_mono_ms();

		if (now >= writer->next_tick_ms) {
			writer->next_tick_ms = now + TICK_MS;
			tick(writer);
		}
		if (writer->broken)
			return LP_EXIT_REGION;
		if (writer->stopping && (lp_writer_lanes_empty(writer) || now >= writer->stop_by_ms))
			return 0;
	}
}

static void close_all(struct lp_writer *writer)
{
	for (uint32_t i = 0; i < writer->n_lanes; i++)
		lp_lane_close(&writer->lanes[i].lane);
	lp_compactor_free(atomic_load(&writer->compactor));
	free(writer->buf);
	lp_wal_close(&writer->wal);
	free(writer);
}

int lp_writer_main(struct lp_proc *proc)
{
	struct lp_writer *writer = calloc(1, sizeof *writer);

	if (!writer)
		return fatal("out of memory", -ENOMEM);
	writer->proc = proc;
	writer->region = proc->region;
	int r = lp_region_check(proc->region);

	if (r < 0) {
		free(writer);
		fatal("the shared region is of another version", r);
		return LP_EXIT_REGION;
	}
	writer->state = lp_region_state(proc->region);
	writer->slot = lp_slot(proc->region, proc->slot);
	writer->row = lp_stat_row(proc->region, proc->slot);
	writer->epoch = lp_region_epoch(proc->region);
	lp_writer_load_tracing(writer);
	writer->n_lanes = lp_region_workers(proc->region);
	r = lp_map_init();
	if (r < 0) {
		free(writer);
		return fatal("cannot install the handler for unreadable pages", r);
	}
	atomic_store_explicit(&writer->slot->alive_mono_ms, lp_clock_mono_ms(), memory_order_relaxed);
	r = start(writer);
	if (r == 0)
		r = loop(writer);
	uint64_t left = r == 0 ? lp_writer_lanes_bytes(writer) : 0;

	if (left)
		lp_log(LP_ERROR, "stopped with records that could not be stored; none of them was acknowledged bytes=%" PRIu64, left);
	/* A sealing thread that is busy still uses all this; sealing is repeated at the next start. */
	bool compactor_ended = lp_compactor_stop(atomic_load(&writer->compactor));

	if (lp_sealer_stop(&writer->sealer) && compactor_ended)
		close_all(writer);
	return r;
}
