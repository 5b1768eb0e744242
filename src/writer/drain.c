/* From the lanes to the log.
 *
 * Guarantees: only records that pass every check reach the log, as the private copy that was checked (a worker may write to
 * its lane at any time); a lane's tail moves only after the sync and after `committed` was stored; a restarted writer
 * skips what the log holds already.
 * A worker that publishes bytes which are no record has lost its mind: it is killed, and what it published behind the last
 * good record is dropped when it is dead, so that nobody can answer 2xx for it.
 * Process: writer, main thread.  If it dies here, the lanes hold everything that was not committed. */
#include "writer/writer-private.h"

#include "common/clock.h"
#include "common/fault.h"
#include "common/log.h"
#include "shm/commit.h"
#include "shm/spans.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define KILL_WAIT_MS 1000
#define KEEP_BUF_BYTES (8u << 20)       /* a larger one is given back after use */

static uint64_t lane_work(struct lp_writer_lane *lane, const uint8_t **ret_p, uint64_t *ret_start)
{
	uint64_t pos;
	uint64_t n = lp_lane_peek(lane->lane, ret_p, &pos);

	if (!n)
		return 0;
	uint64_t start = lane->taken > pos ? lane->taken : pos;

	if (start - pos >= n)
		return 0;
	*ret_p += start - pos;
	*ret_start = start;
	return n - (start - pos);
}

bool lp_writer_lanes_empty(struct lp_writer *writer)
{
	return lp_writer_lanes_bytes(writer) == 0;
}

uint64_t lp_writer_lanes_bytes(struct lp_writer *writer)
{
	uint64_t sum = 0, start;
	const uint8_t *p;

	for (uint32_t i = 0; i < writer->n_lanes; i++)
		sum += lane_work(&writer->lanes[i], &p, &start);
	return sum;
}

static int grow_buf(struct lp_writer *writer, size_t n)
{
	if (n <= writer->buf_cap)
		return 0;
	free(writer->buf);
	writer->buf_cap = 0;
	writer->buf = aligned_alloc(64, LP_ALIGN(n, (size_t)64));
	if (!writer->buf)
		return -ENOMEM;
	writer->buf_cap = n;
	return 0;
}

/* Kill the worker of a lane; true when it is dead (or there is none). */
static bool kill_worker(struct lp_writer *writer, uint32_t lane)
{
	struct lp_slot_shm *slot = lp_slot(writer->region, LP_SLOT_WORKER(lane));
	pid_t pid = slot ? (pid_t)atomic_load(&slot->pid) : 0;

	if (pid <= 1)
		return true;
	int fd = (int)syscall(SYS_pidfd_open, pid, 0);

	if (fd < 0)
		return errno == ESRCH;
	/* The descriptor holds on to the process; the slot still naming it shows that it is the worker's. */
	bool same = (pid_t)atomic_load(&slot->pid) == pid;
	struct pollfd wait = { .fd = fd, .events = POLLIN };

	if (same)
		(void)syscall(SYS_pidfd_send_signal, fd, SIGKILL, NULL, 0);
	bool dead = !same || poll(&wait, 1, KILL_WAIT_MS) == 1;

	close(fd);
	return dead;
}

/* The bytes at `start` are no record of this lane. */
static void reject(struct lp_writer *writer, uint32_t index, uint64_t start)
{
	struct lp_writer_lane *lane = &writer->lanes[index];

	/* Before the worker is looked for: whoever published up to here is that worker or an earlier one, and dead below.  What comes
	 * after it may be the good record of the next worker, which lives and would answer 2xx for it. */
	uint64_t head = lp_lane_head(lane->lane);

	lp_stat_add(writer->row, LP_STAT_WAL_ERRORS, 1);
	if (!kill_worker(writer, index)) {
		lane->retry_ms = lp_clock_mono_ms() + 1000;
		lp_log(LP_ERROR, "worker published an invalid record and cannot be killed worker=%" PRIu32, index);
		return;
	}
	lp_log(LP_ERROR, "worker published an invalid record: worker killed, unacknowledged bytes dropped worker=%" PRIu32
	       " pos=%" PRIu64 " bytes=%" PRIu64, index, start, head - start);
	lane->taken = head;
}

/* Length of the valid records at the start of buf. */
static uint32_t check_records(const struct lp_writer *writer, uint32_t index, uint64_t pos, uint32_t len)
{
	struct lp_walrec_head head;
	uint32_t off = 0, bytes;

	while (off < len) {
		const uint8_t *rec = writer->buf + off;

		if (lp_walrec_peek(rec, len - off, &head) < 0 || head.epoch != writer->epoch || head.lane != index ||
		    head.pos != pos + off || lp_walrec_check(rec, len - off, &bytes) < 0)
			break;
		off += bytes;
	}
	return off;
}

/* The log went on in another file, so the one before is durable to its end: what was taken stays taken, whatever fails next.
 * The record that did not fit is still in its lane, so another commit, which announces all of it, will come. */
static void keep_taken(struct lp_writer *writer)
{
	for (uint32_t i = 0; i < writer->n_lanes; i++)
		writer->lanes[i].committed = writer->lanes[i].taken;
}

/* Append one group from a lane.  1 appended or dropped, 0 nothing there, -errno of lp_wal_append. */
static int take(struct lp_writer *writer, uint32_t index)
{
	struct lp_writer_lane *lane = &writer->lanes[index];
	struct lp_walrec_head head;
	const uint8_t *p;
	uint64_t start, avail = lane_work(lane, &p, &start);

	if (!avail || (lane->retry_ms && lp_clock_mono_ms() < lane->retry_ms))
		return 0;
	lane->retry_ms = 0;
	uint64_t want = avail < LP_WRITER_GROUP_BYTES ? avail : LP_WRITER_GROUP_BYTES;

	if (lp_walrec_peek(p, avail, &head) < 0) {
		reject(writer, index, start);
		return 1;
	}
	if (head.bytes > want)
		want = head.bytes;
	int r = grow_buf(writer, want);

	if (r < 0)
		return r;
	memcpy(writer->buf, p, want);
	/* Stops at the first bad record, or at one that is cut by `want`: it comes first next time and is judged then. */
	uint32_t len = check_records(writer, index, start, (uint32_t)want);

	if (!len) {
		reject(writer, index, start);
		return 1;
	}
	LP_FAULT("writer-append");
	uint32_t file = LP_WALPOS_FILE(lp_wal_position(writer->wal));

	r = lp_wal_append(writer->wal, (uint16_t)index, start, writer->buf, len);
	if (LP_WALPOS_FILE(lp_wal_position(writer->wal)) != file)
		keep_taken(writer);
	if (r < 0)
		return r;
	LP_FAULT("writer-appended");
	lane->taken = start + len;
	lp_stat_add(writer->row, LP_STAT_WAL_COMMIT_BYTES, len);
	return 1;
}

static void announce(struct lp_writer *writer, lp_walpos committed)
{
	/* Release: readers that see it find the bytes in the mapped file.  seq_cst: before the look at who follows (shm/commit.h). */
	atomic_store(&writer->state->committed, committed);
	atomic_fetch_add_explicit(&writer->state->commits, 1, memory_order_release);
	LP_FAULT("writer-announced");
	for (uint32_t i = 0; i < writer->n_lanes; i++) {
		struct lp_writer_lane *lane = &writer->lanes[i];

		lane->committed = lane->taken;
		if (lane->taken > lp_lane_tail(lane->lane))
			lp_lane_release(lane->lane, lane->taken);
	}
	LP_FAULT("writer-released");
	/* Last: pushes are answered before anybody is told of them. */
	lp_commit_ring(writer->region);
}

void lp_writer_failed(struct lp_writer *writer, const char *what, int err)
{
	lp_stat_add(writer->row, LP_STAT_WAL_ERRORS, 1);
	lp_log(LP_ERROR, "write-ahead log: %s failed, going on in another file error=\"%s\"", what, strerror(-err));
	lp_wal_abandon(writer->wal);
	for (uint32_t i = 0; i < writer->n_lanes; i++)
		writer->lanes[i].taken = writer->lanes[i].committed;
	bool full = err == -ENOSPC || err == -EDQUOT;

	atomic_fetch_or(&writer->state->flags, full ? LP_STATE_DISK_FULL : LP_STATE_WAL_FAILED);
	writer->retry_ms = lp_clock_mono_ms() + 1000;
}

static int commit(struct lp_writer *writer)
{
	uint32_t last = lp_wal_last_complete(writer->wal);
	lp_walpos committed;
	int64_t begin_ns = lp_clock_mono_ns();
	int r = lp_wal_commit(writer->wal, &committed);

	if (r < 0) {
		lp_writer_failed(writer, "sync", r);
		return r;
	}
	LP_FAULT("writer-synced");
	lp_stat_observe_us(writer->row, LP_STAT_WAL_SYNC_SECONDS, (uint64_t)(lp_clock_mono_ns() - begin_ns) / 1000);
	lp_stat_add(writer->row, LP_STAT_WAL_COMMITS, 1);
	announce(writer, committed);
	if (last && last >= atomic_load(&writer->state->wal_first))
		lp_sealer_kick(writer->sealer);
	/* A commit that went through shows that the log works again. */
	if (atomic_load(&writer->state->flags) & LP_STATE_WAL_FAILED) {
		atomic_fetch_and(&writer->state->flags, ~LP_STATE_WAL_FAILED);
		lp_log(LP_INFO, "write-ahead log: writes work again");
	}
	return 0;
}

static void look_for_broken(struct lp_writer *writer)
{
	for (uint32_t i = 0; i < writer->n_lanes && !writer->broken; i++) {
		writer->broken = lp_lane_error(writer->lanes[i].lane) < 0;
		if (writer->broken)
			lp_log(LP_FATAL, "ring: its ends contradict each other, exiting worker=%" PRIu32, i);
	}
}

void lp_writer_load_tracing(struct lp_writer *writer)
{
	lp_conf_sampler(writer->proc->conf, &writer->sampler);
}

/* A trace of its own: many pushes share a commit, and link to it. */
static void trace_commit(struct lp_writer *writer, int64_t begin_mono_ns)
{
	uint64_t number = atomic_load(&writer->state->commits);
	struct lp_span span = { .name = LP_SPAN_COMMIT, .end_ns = lp_clock_real_ns() };

	lp_trace_commit(writer->epoch, number, &span.id);
	if (!lp_sampler_takes(&writer->sampler, span.id.trace))
		return;
	span.start_ns = span.end_ns - (lp_clock_mono_ns() - begin_mono_ns);
	lp_span_attr(&span, LP_ATTR_COMMIT, (int64_t)number);
	(void)lp_spans_put(writer->region, writer->proc->slot, &span);
}

int lp_writer_round(struct lp_writer *writer)
{
	int64_t begin_ns = lp_clock_mono_ns();
	bool any = false;

	if (writer->retry_ms && lp_clock_mono_ms() < writer->retry_ms)
		return 0;
	writer->retry_ms = 0;
	writer->waiting = false;
	for (uint32_t i = 0; i < writer->n_lanes && !writer->waiting; i++) {
		int r = take(writer, i);

		if (r > 0) {
			any = true;
		} else if (r == -EAGAIN) {
			writer->waiting = true;
		} else if (r < 0) {
			lp_writer_failed(writer, "append", r);
			return 0;
		}
	}
	if (writer->buf_cap > KEEP_BUF_BYTES) {
		free(writer->buf);
		writer->buf = NULL;
		writer->buf_cap = 0;
	}
	look_for_broken(writer);
	if (!any || commit(writer) < 0)
		return 0;
	lp_stat_observe_us(writer->row, LP_STAT_COMMIT_SECONDS, (uint64_t)(lp_clock_mono_ns() - begin_ns) / 1000);
	if (writer->sampler.on)
		trace_commit(writer, begin_ns);
	return 1;
}

void lp_writer_announce(struct lp_writer *writer)
{
	(void)commit(writer);
}

void lp_writer_rotate(struct lp_writer *writer)
{
	int r = lp_wal_rotate(writer->wal);

	if (r < 0)
		lp_writer_failed(writer, "sync", r);
	else
		(void)commit(writer);
}
