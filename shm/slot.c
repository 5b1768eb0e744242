/* Slots: one cache line per process; the WAL pin is the only field with a protocol.
 *
 * Guarantees: when lp_slot_pin() returned f, no WAL file >= f is recycled before the pin is raised above it.
 * Dekker's handshake (seq_cst on both sides): the worker stores its pin and then reads wal_first, the writer stores
 * wal_first and then reads the pins; at least one of them sees the other.
 * If the owner dies, its pin stays until the master reaps it (lp_slot_clear): files wait, nothing is lost.  A notifier's stays longer,
 * for its successor, but holds LP_SLOT_KEPT_FILES sealed files at most. */
#include "shm/slot.h"

#include "common/assert.h"
#include "shm/region-private.h"

struct lp_slot_shm *lp_slot(struct lp_region *region, uint32_t index)
{
	if (index >= region->want.slots)
		return NULL;
	return (struct lp_slot_shm *)lp_region_at(region, region->want.slots_off, 0) + index;
}

uint32_t lp_slot_count(const struct lp_region *region) { return region->want.slots; }

uint32_t lp_slot_pin(struct lp_region *region, uint32_t slot)
{
	struct lp_slot_shm *own = lp_slot(region, slot);
	struct lp_state_shm *state = lp_region_state(region);

	LP_ASSERT(own);
	uint32_t before = atomic_load(&own->wal_pin);

	for (;;) {
		uint32_t first = atomic_load(&state->wal_first);

		/* An older snapshot of this process holds a lower file: its pin covers this one as well. */
		if (before <= first)
			return first;
		atomic_store(&own->wal_pin, first);
		if (atomic_load(&state->wal_first) == first)
			return first;
	}
}

void lp_slot_unpin(struct lp_region *region, uint32_t slot, uint32_t file)
{
	struct lp_slot_shm *own = lp_slot(region, slot);

	LP_ASSERT(own);
	/* Release (by seq_cst): reads of the files that are given up are over. */
	if (file > atomic_load(&own->wal_pin))
		atomic_store(&own->wal_pin, file);
}

/* What a dead notifier still holds. */
static uint32_t left_pin(struct lp_region *region, uint32_t pin)
{
	uint32_t first = atomic_load(&lp_region_state(region)->wal_first);

	return first > LP_SLOT_KEPT_FILES && pin < first - LP_SLOT_KEPT_FILES ? first - LP_SLOT_KEPT_FILES : pin;
}

uint32_t lp_slot_lowest_pin(struct lp_region *region)
{
	uint32_t lowest = LP_WAL_PIN_NONE;

	for (uint32_t i = 0; i < region->want.slots; i++) {
		uint32_t pin = atomic_load(&lp_slot(region, i)->wal_pin);

		if (i == LP_SLOT_NOTIFIER && !atomic_load(&lp_slot(region, i)->pid))
			pin = left_pin(region, pin);
		if (pin < lowest)
			lowest = pin;
	}
	return lowest;
}

void lp_slot_clear(struct lp_region *region, uint32_t slot)
{
	struct lp_slot_shm *dead = lp_slot(region, slot);

	LP_ASSERT(dead);
	lp_stat_clear_gauges(region, slot);
	atomic_store(&dead->alive_mono_ms, 0);
	atomic_store(&dead->following, 0);
	atomic_store(&dead->pid, 0);
	if (slot != LP_SLOT_NOTIFIER)
		atomic_store(&dead->wal_pin, LP_WAL_PIN_NONE);
}
