/* The log's level, the same in all processes: what POST /log_level put into the shared state, else what is configured.
 * Guarantees: every process, a restarted one as well, follows within a second of its tick; a reload ends it (the master takes
 * the word back, the file counts again); a word that is no level counts as none.
 * Process: all.  Nothing is left half done by one that dies here: there is one word. */
#include "master/proc.h"

static uint32_t word_of(const struct lp_proc *proc)
{
	uint32_t word = atomic_load_explicit(&lp_region_state(proc->region)->log_level, memory_order_relaxed);

	return word > LP_ERROR + 1 ? 0 : word;
}

enum lp_log_level lp_proc_log_level(const struct lp_proc *proc)
{
	uint32_t word = word_of(proc);

	return word ? (enum lp_log_level)(word - 1) : (enum lp_log_level)proc->conf->logging.level;
}

void lp_proc_set_log_level(struct lp_proc *proc, enum lp_log_level level)
{
	atomic_store_explicit(&lp_region_state(proc->region)->log_level, (uint32_t)level + 1, memory_order_relaxed);
	lp_proc_follow_log_level(proc);
}

void lp_proc_follow_log_level(struct lp_proc *proc)
{
	uint32_t word = word_of(proc);

	if (word == proc->log_level_word)
		return;
	proc->log_level_word = word;
	lp_log_set_level(lp_proc_log_level(proc));
}

void lp_proc_reset_log_level(struct lp_proc *proc)
{
	/* Before it sends the signal on: whoever reads the old word until then follows the new one at its next tick. */
	if (proc->slot == LP_SLOT_MASTER)
		atomic_store_explicit(&lp_region_state(proc->region)->log_level, 0, memory_order_relaxed);
	proc->log_level_word = 0;
	lp_log_set_level((enum lp_log_level)proc->conf->logging.level);
}
