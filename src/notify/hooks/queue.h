/* The queue of one web hook target: events that wait for delivery, in one bounded append-only file.
 *
 * File, little-endian: a head of 32 bytes, then records.
 *   head    0 u32 magic "LPQ1" | 4 u32 version 1 | 8..27 zero | 28 u32 crc32c(0..27)
 *   record  0 u32 magic "LPQR" | 4 u32 payload bytes | 8 u64 number | 16 u32 kind | 20 u32 crc32c(0..19, payload) |
 *           24 payload, zero padding to 8
 *   kind 1  an event: 0 u64 id | 8 u64 fingerprint | 16 i64 created ns | 24 i64 expires ns (0 never) | 32 u16 format |
 *           34 u16 class | 36 u32 lines | 40 position (32 bytes, zero: none) | 72 body
 *   kind 2  the event `number` is delivered or given up; no payload
 *   kind 3  u64 ids of events that were taken before and are no longer here
 *   kind 4  a position (32 bytes): how far the log was read for this target
 * Valid if and only if magic, kind, length and crc hold and events' numbers ascend.  The first invalid record ends the file; the
 * rest is cut off at opening (a torn write).  Rewritten (new file, fsync, rename) when dead records outweigh the live ones.
 *
 * At least once: an event leaves when its "done" record was written, which a crash may lose; its id stays the same.
 * Process: notifier, main thread. */
#ifndef LP_NOTIFY_HOOKS_QUEUE_H
#define LP_NOTIFY_HOOKS_QUEUE_H

#include "common/buf.h"
#include "common/trace.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LP_HOOKQ_POSITION 32u           /* bytes of a position; opaque here */
#define LP_HOOKQ_MAX_BODY (4u << 20)
#define LP_HOOKQ_MAX_EVENTS 65536u      /* waiting at once; more drop the oldest */
#define LP_HOOKQ_LAST 1u                /* class (LP_HOOK_ALERT) of which events are dropped last */
#define LP_HOOKQ_KNOWN 4096u            /* ids remembered of events that left */

struct lp_hookq_event {
	uint64_t number;                /* given by the queue */
	uint64_t id;                    /* the same event has the same id, however often it is told */
	uint64_t fingerprint;
	int64_t created_ns, expires_ns;
	uint16_t format, class;         /* the caller's: how the body is to be sent, what it is about */
	uint32_t lines;                 /* log lines in it */
	uint32_t body_bytes;
	uint64_t off;                   /* of the record in the file */
	struct lp_trace_id trace;       /* the span that it comes from, zero: none; not in the file */
};

struct lp_hookq;

/* Open or make the file.  max_bytes: of the events that wait.
 * -EBADMSG the head is damaged, -EPROTO another version; -errno. */
int lp_hookq_open(const char *path, uint64_t max_bytes, struct lp_hookq **ret_queue);
void lp_hookq_close(struct lp_hookq **queue);

/* Append an event (number, body_bytes and off are not read).  position: NULL none.  Not synced.  When it is full the oldest
 * events go, those of class LP_HOOKQ_LAST after all others, counted in lp_hookq_take_dropped(); one that is held stays.
 * -EEXIST an event with this id was taken before (then the position is taken all the same); -EMSGSIZE too large; -ENOSPC,
 * -errno: nothing was taken. */
int lp_hookq_add(struct lp_hookq *queue, const struct lp_hookq_event *event, const void *body, size_t len, const uint8_t *position);
int lp_hookq_sync(struct lp_hookq *queue);
/* The oldest event, NULL when empty; valid until the next call that changes the queue. */
const struct lp_hookq_event *lp_hookq_first(const struct lp_hookq *queue);
/* Is an event of this fingerprint waiting that is good for longer than now_ns? */
bool lp_hookq_waits(const struct lp_hookq *queue, uint64_t fingerprint, int64_t now_ns);
/* Append the body of the oldest event to out.  -ENOENT empty, -EBADMSG, -EIO, -ENOMEM. */
int lp_hookq_body(struct lp_hookq *queue, struct lp_buf *out);
/* The oldest event is on its way: it must not be dropped to make room. */
void lp_hookq_hold(struct lp_hookq *queue, bool held);
/* The oldest event leaves.  A failure to write that down is no failure: it is sent again after a crash. */
void lp_hookq_done(struct lp_hookq *queue);
/* false: none was stored yet. */
bool lp_hookq_position(const struct lp_hookq *queue, uint8_t ret_position[LP_HOOKQ_POSITION]);
int lp_hookq_set_position(struct lp_hookq *queue, const uint8_t position[LP_HOOKQ_POSITION]);

uint32_t lp_hookq_depth(const struct lp_hookq *queue);
uint64_t lp_hookq_bytes(const struct lp_hookq *queue);          /* of waiting events */
uint64_t lp_hookq_file_bytes(const struct lp_hookq *queue);
/* Events dropped for want of room since the last call, and the lines in them. */
uint64_t lp_hookq_take_dropped(struct lp_hookq *queue, uint64_t *ret_lines);

#endif
