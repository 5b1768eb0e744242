/* The tail hub; see tailhub.h.
 *
 * Guarantees: between its joining and its leaving, a group is given every committed row of its streams that passes its pipeline,
 * once, in the order of the log; or everybody is told how many entries were jumped over.  A history that comes with a join and
 * what follows by frames have neither a gap nor a repeat between them: the snapshot ends where a round ended.
 * No tails: the log is not followed and nothing is pinned.
 * Process: worker; one thread, at a lower priority than the event loop.  If it dies, clients connect again to another worker. */
#include "query/tailhub.h"

#include "common/bytes.h"
#include "common/clock.h"
#include "query/engine-private.h"
#include "shm/commit.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#define IDLE_MS 1000
#define MAX_STREAMS 65536u              /* remembered; more, or more bytes: all are forgotten and asked again */
#define STREAM_BYTES (16u << 20)        /* of their labels and of who wants them */
#define EMIT_BYTES (256u << 10)         /* of one group's messages before they are handed on within a round */
#define OPEN_BYTES (4u << 20)           /* of all groups' messages before all are handed on within a round */
#define PAUSE_MS 5
#define JOIN_TRIES 5

enum command_kind { ADD, JOIN, REMOVE };

struct command {
	struct command *next;
	enum command_kind kind;
	struct lp_tail *tail;
	void *group, *client;
	bool history;
};

struct group {
	struct lp_tail *tail;
	void *owner;
	struct lp_tail_frames frames;
	bool touched;                   /* in hub->touched */
};

struct stream {                         /* its labels, and who wants its rows */
	struct lp_hash128 hash;
	uint8_t *labels;                /* NULL: a free place of the table */
	uint32_t labels_len;
	uint32_t n, cap;
	struct group **groups;
};

struct seen {                           /* two generations of entries' hashes, low half of hi: log file; full, the older is forgotten */
	struct lp_hash128 *set[2];
	uint32_t n;                     /* in set[0] */
};

struct lp_tailhub {
	struct lp_tailhub_config config;
	pthread_t thread;
	/* under lock */
	pthread_mutex_t lock;
	pthread_cond_t asked;           /* first is set, or stop; monotonic */
	struct command *first, **last;
	/* any thread */
	_Atomic bool stop;
	_Atomic uint32_t pace_ms;
	/* the thread's */
	struct lp_follow *follow;       /* NULL: nobody tails */
	struct group **groups, **touched;
	size_t n_groups, cap_groups, n_touched;
	struct stream *streams;         /* open addressing */
	uint32_t n_streams, size_streams;
	size_t stream_bytes;
	struct seen seen;
	struct lp_tombs *tombs;         /* delete requests, of the last round that had a repeat; NULL none */
	bool tombs_asked;               /* in this round */
	size_t open_bytes;              /* texts of the groups' frames */
	bool *repeat;                   /* per row of the stream at hand */
	size_t cap_repeat;
	int64_t round_ms;
};

/* ---- what was seen --------------------------------------------------------------------------------- */

static bool same_entry(struct lp_hash128 a, struct lp_hash128 b)
{
	return a.lo == b.lo && a.hi >> 32 == b.hi >> 32;
}

/* Where it is, or where it would go. */
static struct lp_hash128 *set_find(struct lp_hash128 *set, struct lp_hash128 h)
{
	uint32_t mask = 2 * LP_TAILHUB_SEEN - 1, at = (uint32_t)h.lo & mask;

	while ((set[at].lo || set[at].hi) && !same_entry(set[at], h))
		at = (at + 1) & mask;
	return &set[at];
}

static int seen_open(struct seen *seen)
{
	for (int i = 0; i < 2; i++) {
		seen->set[i] = calloc(2 * LP_TAILHUB_SEEN, sizeof *seen->set[i]);
		if (!seen->set[i])
			return -ENOMEM;
	}
	return 0;
}

static void seen_close(struct seen *seen)
{
	free(seen->set[0]);
	free(seen->set[1]);
	*seen = (struct seen){ { NULL, NULL }, 0 };
}

/* What was remembered of it, or NULL: it is from now on. */
static struct lp_hash128 *seen_before(struct seen *seen, struct lp_hash128 h)
{
	struct lp_hash128 *at = set_find(seen->set[0], h), *older = set_find(seen->set[1], h);

	if (same_entry(*at, h))
		return at;
	if (same_entry(*older, h))
		return older;
	*at = h;
	if (++seen->n == LP_TAILHUB_SEEN) {
		struct lp_hash128 *old = seen->set[1];

		memset(old, 0, 2 * LP_TAILHUB_SEEN * sizeof *old);
		seen->set[1] = seen->set[0];
		seen->set[0] = old;
		seen->n = 0;
	}
	return NULL;
}

static struct lp_hash128 row_hash(const struct lp_follow_stream *s, uint32_t row)
{
	uint32_t len, meta_len;
	const char *line = lp_rows_line(&s->rows, row, &len);
	const uint8_t *meta = lp_rows_meta(&s->rows, row, &meta_len);
	struct lp_hash128 h = lp_entry_hash(s->rows.ts[row], line, len, meta, meta_len);

	return (struct lp_hash128){ .lo = h.lo ^ s->hash.lo, .hi = h.hi ^ s->hash.hi };
}

/* Delete requests as they are now.  When they cannot be read, those of before: a line that comes once too seldom is stored all the same. */
static void look_at_tombs(struct lp_tailhub *hub)
{
	const char *dir = lp_catalog_data_dir(hub->config.catalog);
	struct lp_tombs *tombs = NULL;
	uint64_t revision;

	if (hub->tombs_asked || lp_deletes_revision(dir, &revision) < 0)
		return;
	hub->tombs_asked = true;
	if (revision && hub->tombs && hub->tombs->deletes.revision == revision)
		return;
	if (revision && lp_tombs_load(dir, &tombs) < 0)
		return;
	lp_tombs_free(&hub->tombs);
	hub->tombs = tombs;
}

/* Did a request take away what came of this entry in the log file `earlier`, and leaves what comes in `file`? */
static bool deleted_between(const struct lp_tailhub *hub, const struct lp_follow_stream *s, uint32_t row, uint32_t earlier, uint32_t file)
{
	uint32_t len;
	const char *line = lp_rows_line(&s->rows, row, &len);

	for (uint32_t i = 0; hub->tombs && i < hub->tombs->n; i++) {
		const struct lp_tomb *tomb = &hub->tombs->v[i];

		if (tomb->request.last_file < file && lp_tomb_entry(tomb, earlier, s->rows.ts[row], line, len) &&
		    lp_tomb_stream(tomb, s->labels, s->labels_len))
			return true;
	}
	return false;
}

/* Was it given out?  It is from now on.  One that was deleted and pushed again is another one, as in queries. */
static bool is_repeat(struct lp_tailhub *hub, const struct lp_follow_stream *s, uint32_t row, uint32_t file)
{
	struct lp_hash128 h = row_hash(s, row), *at;

	h.hi = (h.hi & ~UINT64_C(0xffffffff)) | file;
	at = seen_before(&hub->seen, h);
	if (!at)
		return false;
	look_at_tombs(hub);
	if (!deleted_between(hub, s, row, (uint32_t)at->hi, file))
		return true;
	*at = h;
	return false;
}

/* Mark the rows that are repeats; -ENOMEM. */
static int mark_repeats(struct lp_tailhub *hub, const struct lp_follow_stream *s, uint32_t file)
{
	if (s->rows.n > hub->cap_repeat) {
		bool *p = realloc(hub->repeat, s->rows.n);

		if (!p)
			return -ENOMEM;
		hub->repeat = p;
		hub->cap_repeat = s->rows.n;
	}
	for (uint32_t i = 0; i < s->rows.n; i++)
		hub->repeat[i] = is_repeat(hub, s, i, file);
	return 0;
}

/* ---- streams --------------------------------------------------------------------------------------- */

static void streams_forget(struct lp_tailhub *hub)
{
	for (uint32_t i = 0; i < hub->size_streams; i++) {
		free(hub->streams[i].labels);
		free(hub->streams[i].groups);
	}
	free(hub->streams);
	hub->streams = NULL;
	hub->n_streams = hub->size_streams = 0;
	hub->stream_bytes = 0;
	for (size_t i = 0; i < hub->n_groups; i++)
		lp_tail_forget_stream(hub->groups[i]->tail);
}

static int streams_grow(struct lp_tailhub *hub)
{
	uint32_t size = hub->size_streams ? hub->size_streams * 2 : 256;
	struct stream *table = calloc(size, sizeof *table);

	if (!table)
		return -ENOMEM;
	for (uint32_t i = 0; i < hub->size_streams; i++) {
		uint32_t at = (uint32_t)hub->streams[i].hash.lo & (size - 1);

		if (!hub->streams[i].labels)
			continue;
		while (table[at].labels)
			at = (at + 1) & (size - 1);
		table[at] = hub->streams[i];
	}
	free(hub->streams);
	hub->streams = table;
	hub->size_streams = size;
	return 0;
}

static int stream_add_group(struct stream *stream, struct group *group)
{
	if (stream->n == stream->cap) {
		uint32_t cap = stream->cap ? stream->cap * 2 : 2;
		struct group **p = realloc(stream->groups, cap * sizeof *p);

		if (!p)
			return -ENOMEM;
		stream->groups = p;
		stream->cap = cap;
	}
	stream->groups[stream->n++] = group;
	return 0;
}

static void stream_drop_group(struct stream *stream, const struct group *group)
{
	for (uint32_t i = 0; i < stream->n; i++)
		if (stream->groups[i] == group) {
			stream->groups[i] = stream->groups[--stream->n];
			return;
		}
}

static int stream_fill(struct lp_tailhub *hub, const struct lp_follow_stream *s, struct stream *stream)
{
	*stream = (struct stream){ .hash = s->hash, .labels_len = s->labels_len };
	stream->labels = malloc(s->labels_len + 1);
	if (!stream->labels)
		return -ENOMEM;
	memcpy(stream->labels, s->labels, s->labels_len);
	for (size_t i = 0; i < hub->n_groups; i++)
		if (lp_tail_match(hub->groups[i]->tail, s->labels, s->labels_len) && stream_add_group(stream, hub->groups[i]) < 0) {
			free(stream->labels);
			free(stream->groups);
			stream->labels = NULL;
			return -ENOMEM;
		}
	return 0;
}

/* The stream's place, made when it is new.  NULL: out of memory. */
static struct stream *stream_of(struct lp_tailhub *hub, const struct lp_follow_stream *s)
{
	if (hub->n_streams >= MAX_STREAMS || hub->stream_bytes >= STREAM_BYTES)
		streams_forget(hub);
	if (hub->n_streams >= hub->size_streams / 2 && streams_grow(hub) < 0)
		return NULL;
	uint32_t mask = hub->size_streams - 1, at = (uint32_t)s->hash.lo & mask;

	for (; hub->streams[at].labels; at = (at + 1) & mask) {
		const struct stream *stream = &hub->streams[at];

		if (stream->hash.lo == s->hash.lo && stream->hash.hi == s->hash.hi && stream->labels_len == s->labels_len &&
		    memcmp(stream->labels, s->labels, s->labels_len) == 0)
			return &hub->streams[at];
	}
	if (stream_fill(hub, s, &hub->streams[at]) < 0)
		return NULL;
	hub->n_streams++;
	hub->stream_bytes += s->labels_len + hub->streams[at].n * sizeof(struct group *);
	return &hub->streams[at];
}

/* ---- rows ------------------------------------------------------------------------------------------ */

static void emit(struct lp_tailhub *hub, struct group *group)
{
	hub->open_bytes -= group->frames.text.len;
	(void)lp_tail_frames_end(&group->frames);
	if (group->frames.n_messages) {
		size_t waiting = hub->config.events.frames(hub->config.events.ctx, group->owner, &group->frames);

		/* The event loop is behind: let it work.  Who waits here falls behind in the log, and jumps at some point. */
		while (waiting > LP_TAILHUB_AHEAD && !atomic_load(&hub->stop)) {
			(void)poll(NULL, 0, PAUSE_MS);
			waiting = hub->config.events.waiting(hub->config.events.ctx);
		}
	}
	lp_tail_frames_free(&group->frames);
	lp_tail_frames_init(group->tail, &group->frames);
}

static void emit_all(struct lp_tailhub *hub)
{
	for (size_t i = 0; i < hub->n_touched; i++) {
		emit(hub, hub->touched[i]);
		hub->touched[i]->touched = false;
	}
	hub->n_touched = 0;
}

static void rows_to_group(struct lp_tailhub *hub, struct group *group, const struct stream *stream, const struct lp_rows *rows)
{
	for (uint32_t i = 0; i < rows->n; i++) {
		size_t before = group->frames.text.len;

		if (hub->repeat[i])
			continue;
		int r = lp_tail_row(group->tail, stream->labels, stream->labels_len, rows, i, &group->frames);

		hub->open_bytes += group->frames.text.len - before;
		if (r < 0) {
			/* Memory for one row ran out: it is lost for these clients, and they hear of it. */
			hub->config.events.lost(hub->config.events.ctx, 1);
			continue;
		}
		if (group->frames.text.len >= EMIT_BYTES)
			emit(hub, group);
	}
	if (!group->touched && group->frames.text.len) {
		group->touched = true;
		hub->touched[hub->n_touched++] = group;
	}
}

static void take_record(struct lp_tailhub *hub, const struct lp_follow_record *record)
{
	struct lp_follow_stream s;

	for (uint32_t i = 0; i < record->head.streams; i++) {
		if (lp_follow_stream(record, i, &s) < 0)
			continue;
		const struct stream *stream = stream_of(hub, &s);

		if (stream && !stream->n)
			continue;
		if (!stream || mark_repeats(hub, &s, LP_WALPOS_FILE(record->pos)) < 0) {
			hub->config.events.lost(hub->config.events.ctx, s.rows.n);
			continue;
		}
		for (uint32_t g = 0; g < stream->n; g++)
			rows_to_group(hub, stream->groups[g], stream, &s.rows);
	}
}

/* Everything below `limit`, a committed position. */
static void run_to(struct lp_tailhub *hub, lp_walpos limit)
{
	struct lp_follow_record record;

	hub->tombs_asked = false;
	while (!atomic_load(&hub->stop) && lp_follow_next(hub->follow, limit, &record) > 0) {
		take_record(hub, &record);
		if (hub->open_bytes > OPEN_BYTES)
			emit_all(hub);
	}
	emit_all(hub);
	uint64_t dropped = lp_follow_dropped(hub->follow);

	if (dropped)
		hub->config.events.lost(hub->config.events.ctx, dropped);
}

/* ---- commands -------------------------------------------------------------------------------------- */

/* Remember the entries of the group's streams that were pushed last, so that their repeats are known. */
static void seed(struct lp_tailhub *hub, const struct group *group)
{
	struct lp_follow *back;
	struct lp_follow_record record;
	struct lp_follow_stream s;

	if (lp_follow_open(hub->config.catalog, LP_TAILHUB_BACK, &back) < 0)
		return;
	lp_walpos limit = lp_follow_position(hub->follow);

	hub->tombs_asked = false;
	while (lp_follow_next(back, limit, &record) > 0)
		for (uint32_t i = 0; i < record.head.streams; i++)
			if (lp_follow_stream(&record, i, &s) == 0 && lp_tail_match(group->tail, s.labels, s.labels_len))
				for (uint32_t row = 0; row < s.rows.n; row++)
					(void)is_repeat(hub, &s, row, LP_WALPOS_FILE(record.pos));
	lp_follow_close(&back);
}

static int need_follow(struct lp_tailhub *hub)
{
	if (hub->follow)
		return 0;
	if (!hub->seen.set[0] && seen_open(&hub->seen) < 0) {
		seen_close(&hub->seen);
		return -ENOMEM;
	}
	return lp_follow_open(hub->config.catalog, 0, &hub->follow);
}

static struct group *group_find(const struct lp_tailhub *hub, const void *owner)
{
	for (size_t i = 0; i < hub->n_groups; i++)
		if (hub->groups[i]->owner == owner)
			return hub->groups[i];
	return NULL;
}

static int group_make_room(struct lp_tailhub *hub)
{
	size_t cap = hub->cap_groups ? hub->cap_groups * 2 : 16;

	if (hub->n_groups < hub->cap_groups)
		return 0;
	struct group **groups = realloc(hub->groups, cap * sizeof *groups);

	if (!groups)
		return -ENOMEM;
	hub->groups = groups;
	struct group **touched = realloc(hub->touched, cap * sizeof *touched);

	if (!touched)
		return -ENOMEM;
	hub->touched = touched;
	hub->cap_groups = cap;
	return 0;
}

/* On failure the group is not there, and the first join says so. */
static void do_add(struct lp_tailhub *hub, struct command *command)
{
	struct group *group = calloc(1, sizeof *group);

	if (!group || group_make_room(hub) < 0 || need_follow(hub) < 0) {
		free(group);
		lp_tail_close(&command->tail);
		return;
	}
	group->tail = command->tail;
	group->owner = command->group;
	lp_tail_frames_init(group->tail, &group->frames);
	hub->groups[hub->n_groups++] = group;
	for (uint32_t i = 0; i < hub->size_streams; i++) {
		struct stream *stream = &hub->streams[i];

		if (!stream->labels || !lp_tail_match(group->tail, stream->labels, stream->labels_len))
			continue;
		hub->stream_bytes += sizeof group;
		if (hub->stream_bytes > STREAM_BYTES || stream_add_group(stream, group) < 0)
			streams_forget(hub);    /* the table has no size now */
	}
	seed(hub, group);
}

static void do_remove(struct lp_tailhub *hub, struct command *command)
{
	for (size_t i = 0; i < hub->n_groups; i++) {
		struct group *group = hub->groups[i];

		if (group->owner != command->group)
			continue;
		for (uint32_t s = 0; s < hub->size_streams; s++)
			stream_drop_group(&hub->streams[s], group);
		hub->groups[i] = hub->groups[--hub->n_groups];
		lp_tail_frames_free(&group->frames);
		lp_tail_close(&group->tail);
		free(group);
		break;
	}
	hub->config.events.removed(hub->config.events.ctx, command->group);
	if (!hub->n_groups) {
		lp_follow_close(&hub->follow);
		streams_forget(hub);
		seen_close(&hub->seen);
		lp_tombs_free(&hub->tombs);
	}
}

static void do_join(struct lp_tailhub *hub, struct command *command)
{
	struct lp_snapshot *snapshot = NULL;
	int r = group_find(hub, command->group) ? 0 : -ENOMEM;

	for (unsigned tries = 0; r == 0 && command->history && tries < JOIN_TRIES; tries++) {
		lp_snapshot_release(&snapshot);
		r = lp_catalog_acquire(hub->config.catalog, &snapshot);
		if (r < 0)
			break;
		/* The rows up to where the history ends are for those who joined before.  After a jump there would be a gap. */
		run_to(hub, lp_snapshot_limit(snapshot));
		if (lp_follow_position(hub->follow) <= lp_snapshot_limit(snapshot))
			break;
	}
	hub->config.events.joined(hub->config.events.ctx, command->group, command->client, snapshot, r);
}

static void do_commands(struct lp_tailhub *hub)
{
	pthread_mutex_lock(&hub->lock);
	struct command *command = hub->first, *next;

	hub->first = NULL;
	hub->last = &hub->first;
	pthread_mutex_unlock(&hub->lock);
	for (; command; command = next) {
		next = command->next;
		if (command->kind == ADD)
			do_add(hub, command);
		else if (command->kind == JOIN)
			do_join(hub, command);
		else
			do_remove(hub, command);
		free(command);
	}
}

/* ---- the thread ------------------------------------------------------------------------------------ */

/* Let the rest of the pace pass, but not while somebody waits to join. */
static void pause_for(struct lp_tailhub *hub, int64_t ms)
{
	int64_t until_ns = lp_clock_mono_ns() + ms * LP_NS_PER_MS;
	struct timespec until = { until_ns / LP_NS_PER_SEC, until_ns % LP_NS_PER_SEC };

	pthread_mutex_lock(&hub->lock);
	while (!hub->first && !atomic_load(&hub->stop) && pthread_cond_timedwait(&hub->asked, &hub->lock, &until) == 0)
		;
	pthread_mutex_unlock(&hub->lock);
}

static void rest(struct lp_tailhub *hub)
{
	uint32_t slot = hub->config.slot;
	struct pollfd p = { .fd = lp_commit_bell(hub->config.region, slot), .events = POLLIN };
	int64_t left = hub->round_ms + atomic_load(&hub->pace_ms) - lp_clock_mono_ms();

	if (left > 0 && left <= IDLE_MS)
		pause_for(hub, left);
	if (hub->follow) {
		/* A file that cannot be opened would make this return at once, again and again. */
		if (lp_follow_wait(hub->follow, IDLE_MS) && lp_clock_mono_ms() == hub->round_ms)
			(void)poll(NULL, 0, 1);
	} else {
		(void)poll(&p, 1, IDLE_MS);
		lp_commit_heard(hub->config.region, slot);
	}
	hub->round_ms = lp_clock_mono_ms();
}

static void *thread_main(void *arg)
{
	struct lp_tailhub *hub = arg;

	if (hub->config.nice)
		(void)setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), hub->config.nice);
	while (!atomic_load(&hub->stop)) {
		do_commands(hub);
		if (hub->follow)
			run_to(hub, lp_follow_committed(hub->follow));
		rest(hub);
	}
	return NULL;
}

int lp_tailhub_open(const struct lp_tailhub_config *config, struct lp_tailhub **ret_hub)
{
	struct lp_tailhub *hub = calloc(1, sizeof *hub);
	pthread_condattr_t attr;
	sigset_t all, old;

	if (!hub)
		return -ENOMEM;
	hub->config = *config;
	hub->last = &hub->first;
	pthread_mutex_init(&hub->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&hub->asked, &attr);
	pthread_condattr_destroy(&attr);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	int r = -pthread_create(&hub->thread, NULL, thread_main, hub);

	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (r < 0) {
		pthread_cond_destroy(&hub->asked);
		pthread_mutex_destroy(&hub->lock);
		free(hub);
		return r;
	}
	*ret_hub = hub;
	return 0;
}

void lp_tailhub_close(struct lp_tailhub **hub)
{
	struct lp_tailhub *h = *hub;

	if (!h)
		return;
	pthread_mutex_lock(&h->lock);
	atomic_store(&h->stop, true);
	pthread_cond_signal(&h->asked);
	pthread_mutex_unlock(&h->lock);
	lp_commit_poke(h->config.region, h->config.slot);
	pthread_join(h->thread, NULL);
	for (struct command *command = h->first, *next; command; command = next) {
		next = command->next;
		lp_tail_close(&command->tail);
		if (command->kind == JOIN)
			h->config.events.joined(h->config.events.ctx, command->group, command->client, NULL, -ECANCELED);
		else if (command->kind == REMOVE)
			h->config.events.removed(h->config.events.ctx, command->group);
		free(command);
	}
	streams_forget(h);
	for (size_t i = 0; i < h->n_groups; i++) {
		lp_tail_frames_free(&h->groups[i]->frames);
		lp_tail_close(&h->groups[i]->tail);
		free(h->groups[i]);
	}
	free(h->groups);
	free(h->touched);
	free(h->repeat);
	lp_tombs_free(&h->tombs);
	seen_close(&h->seen);
	lp_follow_close(&h->follow);
	pthread_cond_destroy(&h->asked);
	pthread_mutex_destroy(&h->lock);
	free(h);
	*hub = NULL;
}

/* ---- commands, the caller's side ------------------------------------------------------------------- */

static int send_command(struct lp_tailhub *hub, const struct command *what)
{
	struct command *command = malloc(sizeof *command);

	if (!command)
		return -ENOMEM;
	*command = *what;
	pthread_mutex_lock(&hub->lock);
	*hub->last = command;
	hub->last = &command->next;
	pthread_cond_signal(&hub->asked);
	pthread_mutex_unlock(&hub->lock);
	lp_commit_poke(hub->config.region, hub->config.slot);
	return 0;
}

int lp_tailhub_add(struct lp_tailhub *hub, struct lp_tail *tail, void *group)
{
	return send_command(hub, &(struct command){ .kind = ADD, .tail = tail, .group = group });
}

int lp_tailhub_join(struct lp_tailhub *hub, void *group, void *client, bool history)
{
	return send_command(hub, &(struct command){ .kind = JOIN, .group = group, .client = client, .history = history });
}

int lp_tailhub_remove(struct lp_tailhub *hub, void *group)
{
	return send_command(hub, &(struct command){ .kind = REMOVE, .group = group });
}

void lp_tailhub_pace(struct lp_tailhub *hub, uint32_t ms)
{
	atomic_store(&hub->pace_ms, ms);
}
