/* The compacting thread: keeps the number of segments per day small, and makes what sealing wrote fast denser.
 *
 * Which segments: store/compact_pick.c.  How: store/compact.c.  Here: only segments whose WAL files are gone for good, that
 * is below the lowest file that is present, and the directory of the log was synced since; a file that came back after a power cut
 * would otherwise make readers leave the merged segment alone, and with it all it covers.
 * Order: the result appears (rename), the generation moves, then the inputs are unlinked.  lp_writer.segments_lock is held while
 * a result appears, so that retention does not delete an input whose entries would then come back in the result.
 * Process: writer, one thread at nice +19 and idle I/O priority: it never delays commits, sealing or queries; when it cannot
 * follow, segments are merged without the denser compression.  If it dies here, temporary files and superseded segments are
 * removed at the next start. */
#include "writer/writer-private.h"

#include "common/clock.h"
#include "common/dir.h"
#include "common/fault.h"
#include "common/log.h"
#include "query/deletes.h"
#include "store/compact.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define FAN_IN 8u
#define DECODED_BYTES (64u << 20)       /* of text, in decoded blocks of all inputs */
#define MAX_BYTES (UINT64_C(1) << 30)   /* of a merged segment: its index stays small enough to be made in memory */
#define BEHIND 128u                     /* segments that wait to be merged: then speed is what counts */
#define MAX_FIXED 4096u
#define MARGIN_BYTES (UINT64_C(64) << 20)
#define STOP_WAIT_SECONDS 2
#define IOPRIO_WHO_PROCESS 1
#define IOPRIO_IDLE (3 << 13)

struct lp_compactor {
	struct lp_writer *writer;
	char *segments_dir, *wal_dir;
	struct lp_compactor_config config;      /* under lock */
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t cond;
	bool stop, kicked;
	/* thread only */
	struct lp_compact_candidate *candidates;
	size_t n;
	struct lp_segment_name fixed[MAX_FIXED];        /* that cannot be merged */
	uint32_t n_fixed;
	int64_t logged_ms;
	const struct lp_compact_candidate *inputs;      /* of the merge at work */
	uint32_t n_inputs;
	uint32_t present;               /* lowest WAL file that is there */
	struct lp_tombs *tombs;         /* delete requests that are not processed; may be NULL */
	bool *ready;                    /* which of them are carried out now */
	bool *open;                     /* which of those could not be, this time */
	uint32_t file;                  /* last one of the merge at work */
	uint32_t *of_stream, n_of_stream;       /* requests that mean the stream at hand */
};

static bool stop_wanted(void *arg)
{
	struct lp_compactor *c = arg;

	pthread_mutex_lock(&c->lock);
	bool stop = c->stop;

	pthread_mutex_unlock(&c->lock);
	return stop;
}

static struct lp_compactor_config config_of(struct lp_compactor *c)
{
	pthread_mutex_lock(&c->lock);
	struct lp_compactor_config config = c->config;

	pthread_mutex_unlock(&c->lock);
	return config;
}

/* Once a minute; the counter has them all. */
static bool count_failure(struct lp_compactor *c)
{
	int64_t now = lp_clock_mono_ms();

	lp_stat_add(c->writer->row, LP_STAT_COMPACTION_ERRORS, 1);
	if (c->logged_ms && now - c->logged_ms < 60000)
		return false;
	c->logged_ms = now;
	return true;
}

static void segment_failed(struct lp_compactor *c, const char *what, const struct lp_segment_name *name, int err)
{
	if (count_failure(c))
		lp_log(LP_ERROR, "compaction: %s day=%" PRId64 " files=%" PRIu32 "-%" PRIu32 " error=\"%s\"", what, name->day, name->first,
		       name->last, strerror(-err));
}

/* ---- what there is ---- */

static bool same_name(const struct lp_segment_name *a, const struct lp_segment_name *b)
{
	return a->day == b->day && a->first == b->first && a->last == b->last && a->level == b->level;
}

static bool is_fixed(const struct lp_compactor *c, const struct lp_segment_name *name)
{
	for (uint32_t i = 0; i < c->n_fixed; i++)
		if (same_name(&c->fixed[i], name))
			return true;
	return false;
}

static int file_path(const struct lp_compactor *c, const struct lp_segment_name *name, const char *suffix, char path[PATH_MAX])
{
	char file[80];
	int r = lp_segment_name_format(name, suffix, file, sizeof file);

	if (r == 0 && (size_t)snprintf(path, PATH_MAX, "%s/%s", c->segments_dir, file) >= PATH_MAX)
		r = -ENAMETOOLONG;
	return r;
}

static uint64_t bytes_of(const struct lp_compactor *c, const struct lp_segment_name *name)
{
	static const char *const suffixes[] = { ".chunks", ".index" };
	uint64_t bytes = 0;

	for (int i = 0; i < 2; i++) {
		char path[PATH_MAX];
		struct stat st;

		if (file_path(c, name, suffixes[i], path) == 0 && stat(path, &st) == 0)
			bytes += (uint64_t)st.st_size;
	}
	return bytes;
}

/* Segments of files that are gone for good, into c->candidates. */
static int list(struct lp_compactor *c)
{
	struct lp_segment_name *names = NULL;
	size_t n = 0;

	c->present = lp_wal_first_above(c->writer->wal, 0);
	int r = lp_dir_sync(c->wal_dir);

	if (r == 0)
		r = lp_segment_list(c->segments_dir, &names, &n);
	free(c->candidates);
	c->n = 0;
	c->candidates = r == 0 ? calloc(n + 1, sizeof *c->candidates) : NULL;
	if (r == 0 && !c->candidates)
		r = -ENOMEM;
	for (size_t i = 0; r == 0 && i < n; i++)
		if (names[i].last < c->present)
			c->candidates[c->n++] = (struct lp_compact_candidate){ names[i], bytes_of(c, &names[i]), is_fixed(c, &names[i]) };
	free(names);
	return r;
}

/* ---- delete requests ---- */

static void forget_deletes(struct lp_compactor *c)
{
	lp_tombs_free(&c->tombs);
	free(c->ready);
	free(c->open);
	free(c->of_stream);
	c->ready = c->open = NULL;
	c->of_stream = NULL;
}

/* What is in force, and what of it is due: the time to cancel is over, and all that it means is in segments. */
static int load_deletes(struct lp_compactor *c, const struct lp_compactor_config *config)
{
	forget_deletes(c);
	int r = lp_tombs_load(c->writer->proc->data_dir, &c->tombs);

	if (r < 0)
		return r;
	size_t n = c->tombs->n;

	c->ready = calloc(n + 1, sizeof *c->ready);
	c->open = calloc(n + 1, sizeof *c->open);
	c->of_stream = calloc(n + 1, sizeof *c->of_stream);
	if (!c->ready || !c->open || !c->of_stream)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		const struct lp_delete *request = &c->tombs->v[i].request;

		c->ready[i] = config->delete_lines && request->last_file < c->present &&
			      lp_clock_real_ns() - request->created_ns >= config->cancel_period_ms * LP_NS_PER_MS;
	}
	return 0;
}

static bool stream_of(void *arg, const uint8_t *labels, uint32_t len)
{
	struct lp_compactor *c = arg;

	c->n_of_stream = 0;
	for (uint32_t i = 0; i < c->tombs->n; i++)
		if (c->ready[i] && c->file <= c->tombs->v[i].request.last_file && lp_tomb_stream(&c->tombs->v[i], labels, len))
			c->of_stream[c->n_of_stream++] = i;
	return c->n_of_stream > 0;
}

static bool is_deleted(void *arg, int64_t ts, const char *line, uint32_t len)
{
	const struct lp_compactor *c = arg;

	for (uint32_t i = 0; i < c->n_of_stream; i++)
		if (lp_tomb_entry(&c->tombs->v[c->of_stream[i]], c->file, ts, line, len))
			return true;
	return false;
}

static bool touches(const struct lp_compactor *c, uint32_t tomb, const struct lp_segment_name *name)
{
	const struct lp_delete *request = &c->tombs->v[tomb].request;

	return c->ready[tomb] && name->last <= request->last_file && name->day >= lp_clock_day(request->start_ns) &&
	       name->day <= lp_clock_day(request->end_ns);
}

static bool any_touches(const struct lp_compactor *c, const struct lp_segment_name *name)
{
	for (uint32_t i = 0; i < c->tombs->n; i++)
		if (touches(c, i, name))
			return true;
	return false;
}

/* ---- one merge ---- */

static bool may_publish(void *arg)
{
	struct lp_compactor *c = arg;

	pthread_mutex_lock(&c->writer->segments_lock);
	for (uint32_t i = 0; i < c->n_inputs; i++) {
		char path[PATH_MAX];

		if (file_path(c, &c->inputs[i].name, ".index", path) < 0 || access(path, F_OK) < 0)
			return false;
	}
	return true;
}

static void published(void *arg)
{
	struct lp_compactor *c = arg;

	pthread_mutex_unlock(&c->writer->segments_lock);
}

static bool room_for(const struct lp_compactor *c, const struct lp_compactor_config *config, uint64_t bytes)
{
	struct statvfs fs;

	if (statvfs(c->segments_dir, &fs) < 0)
		return false;
	return (uint64_t)fs.f_bavail * fs.f_frsize > bytes + config->min_free_bytes + config->min_free_bytes / 4 + MARGIN_BYTES;
}

/* Which of them is it?  All, when none can be blamed. */
static void fix_inputs(struct lp_compactor *c, size_t first, uint32_t n, int err)
{
	bool blamed = false;

	for (int pass = 0; pass < 2 && !blamed; pass++)
		for (size_t i = first; i < first + n; i++) {
			struct lp_buf report = LP_BUF_INIT;
			bool bad = pass || (err == -EBADMSG && lp_segment_verify(c->segments_dir, &c->candidates[i].name, &report) < 0);

			lp_buf_free(&report);
			if (!bad)
				continue;
			blamed = true;
			c->candidates[i].fixed = true;
			if (c->n_fixed < MAX_FIXED)
				c->fixed[c->n_fixed++] = c->candidates[i].name;
			segment_failed(c, "a segment stays as it is", &c->candidates[i].name, err);
		}
}

/* The inputs are superseded: readers are told, then they go. */
static int replace(struct lp_compactor *c, size_t first, uint32_t n, const struct lp_compact_result *result)
{
	struct lp_segment_name names[LP_COMPACT_MAX_INPUTS];

	for (uint32_t i = 0; i < n; i++)
		names[i] = c->candidates[first + i].name;
	atomic_fetch_add(&c->writer->state->generation, 1);
	int r = lp_compact_unlink(c->segments_dir, names, n, c->config.seal.sync);

	if (result->empty)
		atomic_fetch_add(&c->writer->state->generation, 1);
	c->candidates[first].name = result->name;
	c->candidates[first].bytes = result->written_bytes;
	size_t drop = result->empty ? n : n - 1, at = result->empty ? first : first + 1;

	memmove(&c->candidates[at], &c->candidates[at + drop], (c->n - at - drop) * sizeof *c->candidates);
	c->n -= drop;
	lp_writer_segments_changed(c->writer);
	return r;
}

static int merge(struct lp_compactor *c, struct lp_compactor_config *config, size_t first, uint32_t n)
{
	struct lp_stat_row *row = c->writer->row;
	const struct lp_compact_ops ops = { .stream = stream_of, .drop = is_deleted, .stop = stop_wanted, .arg = c };
	struct lp_compact_result result;
	int64_t begin_ms = lp_clock_mono_ms();

	config->seal.segments_dir = c->segments_dir;
	config->seal.level = c->n > BEHIND ? 0 : config->level;
	config->seal.oldest_ns = atomic_load(&c->writer->oldest_kept_ns);
	config->seal.may_publish = may_publish;
	config->seal.published = published;
	config->seal.arg = c;
	c->inputs = &c->candidates[first];
	c->n_inputs = n;
	c->file = c->candidates[first + n - 1].name.last;
	struct lp_segment_name names[LP_COMPACT_MAX_INPUTS];

	for (uint32_t i = 0; i < n; i++)
		names[i] = c->candidates[first + i].name;
	int r = lp_compact_merge(&config->seal, &ops, names, n, &result);

	if (r == -EBADMSG || r == -EPROTO || r == -EFBIG) {
		fix_inputs(c, first, n, r);
		return 0;
	}
	if (r < 0)
		return r;
	r = replace(c, first, n, &result);
	lp_stat_add(row, LP_STAT_COMPACTIONS, 1);
	lp_stat_add(row, LP_STAT_COMPACTION_READ_BYTES, result.read_bytes);
	lp_stat_add(row, LP_STAT_COMPACTION_WRITTEN_BYTES, result.written_bytes);
	lp_stat_add(row, LP_STAT_COMPACTION_DUPLICATES, result.duplicates);
	lp_stat_add(row, LP_STAT_DELETED_LINES, result.dropped);
	lp_log(LP_INFO, "compacted day=%" PRId64 " files=%" PRIu32 "-%" PRIu32 " level=%" PRIu32 " segments=%" PRIu32 " lines=%" PRIu64
	       " duplicates=%" PRIu64 " expired=%" PRIu64 " deleted=%" PRIu64 " read_bytes=%" PRIu64 " written_bytes=%" PRIu64 " ms=%" PRId64, result.name.day,
	       result.name.first, result.name.last, result.name.level, n, result.entries, result.duplicates, result.expired,
	       result.dropped, result.read_bytes, result.written_bytes, lp_clock_mono_ms() - begin_ms);
	return r;
}

/* Carry out the requests that are due on segment i.  1: it is gone; 0; -errno. */
static int delete_in(struct lp_compactor *c, struct lp_compactor_config *config, size_t i)
{
	const struct lp_compact_ops ops = { .stream = stream_of, .drop = is_deleted, .stop = stop_wanted, .arg = c };
	size_t before = c->n;

	c->file = c->candidates[i].name.last;
	int r = lp_compact_any(c->segments_dir, &ops, &c->candidates[i].name);

	if (r == 1 && !room_for(c, config, c->candidates[i].bytes))
		r = -ENOSPC;
	if (r == 1)
		r = merge(c, config, i, 1);
	return r == 0 ? c->n < before : r;
}

/* Segments with lines that are to go are rewritten; then the requests are processed, but for those that a segment resisted. */
static int delete_lines(struct lp_compactor *c, struct lp_compactor_config *config)
{
	uint64_t *ids = calloc((size_t)c->tombs->n + 1, sizeof *ids);
	uint32_t n = 0;
	int r = ids ? 0 : -ENOMEM;

	for (size_t i = 0; r == 0 && i < c->n;) {
		if (!any_touches(c, &c->candidates[i].name)) {
			i++;
			continue;
		}
		struct lp_segment_name name = c->candidates[i].name;

		r = stop_wanted(c) ? -ECANCELED : delete_in(c, config, i);
		if (r == 1) {
			r = 0;
			continue;
		}
		if (r == -EBADMSG || r == -EPROTO || r == -EFBIG || (r == 0 && c->candidates[i].fixed)) {
			for (uint32_t k = 0; k < c->tombs->n; k++)
				c->open[k] |= touches(c, k, &name);
			segment_failed(c, "lines cannot be deleted from a damaged segment", &name, r < 0 ? r : -EBADMSG);
			r = 0;
		}
		i++;
	}
	for (uint32_t i = 0; r == 0 && i < c->tombs->n; i++)
		if (c->ready[i] && !c->open[i])
			ids[n++] = c->tombs->v[i].request.id;
	LP_FAULT("deletes-carried-out");
	if (r == 0 && n) {
		lp_wal_drop_spares(c->writer->wal);     /* files in the pool hold old lines */
		r = lp_deletes_processed(c->writer->proc->data_dir, ids, n);
	}
	if (r == 0 && n)
		lp_log(LP_INFO, "delete requests processed requests=%" PRIu32, n);
	free(ids);
	return r;
}

static int set_cuts(struct lp_compactor *c, struct lp_compact_policy *policy, uint32_t **ret_cuts)
{
	uint32_t *cuts = calloc((size_t)c->tombs->n + 1, sizeof *cuts);

	if (!cuts)
		return -ENOMEM;
	for (uint32_t i = 0; i < c->tombs->n; i++)
		cuts[i] = c->tombs->v[i].request.last_file;
	policy->cuts = *ret_cuts = cuts;
	policy->n_cuts = c->tombs->n;
	return 0;
}

/* Merge until nothing more pays. */
static int merge_tiers(struct lp_compactor *c, struct lp_compactor_config *config)
{
	struct lp_compact_policy policy = { .fan_in = FAN_IN, .max_inputs = DECODED_BYTES / config->seal.block_bytes, .max_bytes = MAX_BYTES };
	uint32_t *cuts = NULL, n;
	size_t first;
	int r = set_cuts(c, &policy, &cuts);

	if (policy.max_inputs > LP_COMPACT_MAX_INPUTS)
		policy.max_inputs = LP_COMPACT_MAX_INPUTS;
	if (policy.max_inputs < FAN_IN)
		policy.fan_in = policy.max_inputs;
	policy.old_day = lp_clock_day(lp_clock_real_ns());
	while (r == 0 && !stop_wanted(c) && lp_compact_pick(&policy, c->candidates, c->n, &first, &n)) {
		uint64_t bytes = 0;

		for (uint32_t i = 0; i < n; i++)
			bytes += c->candidates[first + i].bytes;
		if (!room_for(c, config, bytes))
			break;          /* it comes back when there is room */
		r = merge(c, config, first, n);
	}
	free(cuts);
	return r;
}

/* -EAGAIN: the list is out of date. */
static int pass(struct lp_compactor *c)
{
	struct lp_compactor_config config = config_of(c);
	int r = list(c);

	if (r == 0)
		r = load_deletes(c, &config);
	if (r == 0)
		r = merge_tiers(c, &config);
	if (r == 0)
		r = delete_lines(c, &config);
	forget_deletes(c);
	if (r == -ENOENT || r == -ECANCELED)
		return stop_wanted(c) ? 0 : -EAGAIN;
	if (r < 0 && count_failure(c))
		lp_log(LP_ERROR, "compaction failed, will be tried again error=\"%s\"", strerror(-r));
	return r;
}

/* ---- thread ---- */

/* False: stop. */
static bool wait_for_work(struct lp_compactor *c)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	pthread_mutex_lock(&c->lock);
	until.tv_sec += c->config.interval_ms / 1000;
	until.tv_nsec += c->config.interval_ms % 1000 * LP_NS_PER_MS;
	if (until.tv_nsec >= LP_NS_PER_SEC) {
		until.tv_sec++;
		until.tv_nsec -= LP_NS_PER_SEC;
	}
	int r = 0;

	while (!c->stop && !c->kicked && r == 0)
		r = pthread_cond_timedwait(&c->cond, &c->lock, &until);
	c->kicked = false;
	bool go_on = !c->stop;

	pthread_mutex_unlock(&c->lock);
	return go_on;
}

static void *run(void *arg)
{
	struct lp_compactor *c = arg;

	(void)prctl(PR_SET_NAME, "lp-compactor");       /* so that its CPU time can be told from that of pushes */
	(void)setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), 19);
	(void)syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, IOPRIO_IDLE);
	do {
		while (pass(c) == -EAGAIN)
			;
	} while (wait_for_work(c));
	return NULL;
}

void lp_compactor_free(struct lp_compactor *c)
{
	if (!c)
		return;
	forget_deletes(c);
	free(c->candidates);
	free(c->segments_dir);
	free(c->wal_dir);
	free(c);
}

int lp_compactor_start(struct lp_writer *writer, const char *segments_dir, const char *wal_dir, const struct lp_compactor_config *config,
		       struct lp_compactor **ret_compactor)
{
	struct lp_compactor *c = calloc(1, sizeof *c);
	pthread_condattr_t attr;
	sigset_t all, old;

	if (!c)
		return -ENOMEM;
	c->segments_dir = strdup(segments_dir);
	c->wal_dir = strdup(wal_dir);
	if (!c->segments_dir || !c->wal_dir) {
		lp_compactor_free(c);
		return -ENOMEM;
	}
	c->writer = writer;
	c->config = *config;
	pthread_mutex_init(&c->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&c->cond, &attr);
	pthread_condattr_destroy(&attr);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	int r = -pthread_create(&c->thread, NULL, run, c);

	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (r < 0) {
		lp_compactor_free(c);
		return r;
	}
	*ret_compactor = c;
	return 0;
}

void lp_compactor_kick(struct lp_compactor *c)
{
	pthread_mutex_lock(&c->lock);
	c->kicked = true;
	pthread_cond_signal(&c->cond);
	pthread_mutex_unlock(&c->lock);
}

void lp_compactor_set(struct lp_compactor *c, const struct lp_compactor_config *config)
{
	pthread_mutex_lock(&c->lock);
	c->config = *config;
	c->kicked = true;
	pthread_cond_signal(&c->cond);
	pthread_mutex_unlock(&c->lock);
}

bool lp_compactor_stop(struct lp_compactor *c)
{
	struct timespec until;

	if (!c)
		return true;
	pthread_mutex_lock(&c->lock);
	c->stop = true;
	pthread_cond_signal(&c->cond);
	pthread_mutex_unlock(&c->lock);
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += STOP_WAIT_SECONDS;
	if (pthread_timedjoin_np(c->thread, NULL, &until) != 0) {
		pthread_detach(c->thread);
		return false;
	}
	return true;
}
