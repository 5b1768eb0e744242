/* Rings of spans.
 *
 * Guarantees: putting never waits; what does not fit is counted and forgotten.  Whatever stands in the ring, what take()
 * returns has lengths and numbers within their bounds.
 * Process: a slot's owner puts, the notifier takes.  If the owner dies inside of put(), head has not moved and the span
 * does not exist; if the notifier dies, tail stays and the next one goes on there. */
#include "shm/spans.h"

#include "common/assert.h"
#include "common/clock.h"
#include "common/utf8.h"
#include "shm/region-private.h"
#include "shm/stat.h"

#include <errno.h>
#include <string.h>

struct ring {
	alignas(LP_REGION_LINE) _Atomic uint64_t head;          /* owner: release, after the copy */
	alignas(LP_REGION_LINE) _Atomic uint64_t tail;          /* notifier: release, after the copy */
	alignas(LP_REGION_LINE) struct lp_span spans[LP_SPANS_RING];
};

uint64_t lp_spans_bytes(void) { return sizeof(struct ring); }

static struct ring *ring_of(struct lp_region *region, uint32_t slot)
{
	LP_ASSERT(slot < region->want.slots);
	return (struct ring *)lp_region_at(region, region->want.spans_off, 0) + slot;
}

void lp_span_attr(struct lp_span *span, enum lp_span_attr key, int64_t value)
{
	LP_ASSERT(span->n_attrs < LP_SPAN_ATTRS);
	span->keys[span->n_attrs] = (uint8_t)key;
	span->values[span->n_attrs++] = value;
}

/* A collector refuses a whole export for one text that is no UTF-8. */
static uint16_t copy_text(char *to, size_t room, const char *s, size_t n)
{
	size_t len = 0;

	for (size_t i = 0; i < n;) {
		unsigned seq = lp_utf8_seq((const uint8_t *)s + i, n - i), step = seq ? seq : 1;

		if (len + step > room)
			break;
		memcpy(to + len, seq ? s + i : "?", step);
		len += step;
		i += step;
	}
	return (uint16_t)len;
}

void lp_span_text(struct lp_span *span, const char *s, size_t n)
{
	span->text_len = copy_text(span->text, LP_SPAN_TEXT_FIRST, s, n);
	span->more_len = 0;
}

void lp_span_more(struct lp_span *span, const char *s, size_t n)
{
	span->more_len = copy_text(span->text + span->text_len, LP_SPAN_TEXT - span->text_len, s, n);
}

struct lp_span lp_span_child(const struct lp_trace *trace, enum lp_span_name name, int64_t start_mono_ns, int64_t end_mono_ns)
{
	struct lp_span span = { .id = trace->id, .name = (uint8_t)name };

	lp_trace_new_span(span.id.span);
	memcpy(span.parent, trace->id.span, sizeof span.parent);
	span.start_ns = lp_clock_real_ns() - (lp_clock_mono_ns() - start_mono_ns);
	span.end_ns = span.start_ns + (end_mono_ns - start_mono_ns);
	return span;
}

int lp_spans_put(struct lp_region *region, uint32_t slot, const struct lp_span *span)
{
	struct ring *ring = ring_of(region, slot);
	uint64_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);

	if (head - atomic_load_explicit(&ring->tail, memory_order_acquire) >= LP_SPANS_RING) {
		lp_stat_add(lp_stat_row(region, slot), LP_STAT_SPANS_DROPPED, 1);
		return -ENOBUFS;
	}
	ring->spans[head % LP_SPANS_RING] = *span;
	atomic_store_explicit(&ring->head, head + 1, memory_order_release);
	return 0;
}

static bool in_bounds(const struct lp_span *span)
{
	if (span->name >= LP_SPAN_NAMES || span->n_attrs > LP_SPAN_ATTRS || span->text_len + span->more_len > (int)LP_SPAN_TEXT)
		return false;
	for (unsigned i = 0; i < span->n_attrs; i++)
		if (span->keys[i] >= LP_SPAN_ATTR_KEYS)
			return false;
	return true;
}

int lp_spans_take(struct lp_region *region, uint32_t slot, struct lp_span *ret_span)
{
	struct ring *ring = ring_of(region, slot);
	uint64_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);
	uint64_t head = atomic_load_explicit(&ring->head, memory_order_acquire);

	if (head - tail > LP_SPANS_RING) {
		/* A stray write: begin anew. */
		atomic_store_explicit(&ring->tail, head, memory_order_release);
		return 0;
	}
	while (tail != head) {
		struct lp_span span = ring->spans[tail++ % LP_SPANS_RING];

		atomic_store_explicit(&ring->tail, tail, memory_order_release);
		if (!in_bounds(&span))
			continue;
		*ret_span = span;
		return 1;
	}
	return 0;
}

bool lp_spans_left(struct lp_region *region, uint32_t slot)
{
	struct ring *ring = ring_of(region, slot);

	return atomic_load_explicit(&ring->head, memory_order_relaxed) != atomic_load_explicit(&ring->tail, memory_order_relaxed);
}
