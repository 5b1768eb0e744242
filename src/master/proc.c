/* What every process does with its configuration on SIGHUP. */
#include "master/proc.h"

#include "common/log.h"
#include "http/otlp.h"
#include "http/tls.h"

#include <errno.h>

int lp_proc_reload(struct lp_proc *proc)
{
	struct lp_conf_args args;
	struct lp_conf *fresh = NULL;
	struct lp_buf text = { .max = 4096 };
	bool usage = false, serves = proc->slot == LP_SLOT_MASTER || proc->slot >= LP_SLOT_WORKER(0);
	struct ssl_ctx_st *tls = NULL;
	int r = lp_conf_load(proc->argc, proc->argv, &args, &fresh, &usage, &text);

	if (r == 0) {
		r = lp_otlp_load(fresh, NULL, &text);
		if (r == 0 && serves)
			r = lp_tls_load(fresh, &tls, &text);
		if (r < 0)
			lp_conf_free(&fresh);
	}

	if (r < 0) {
		lp_log(LP_ERROR, "configuration not reloaded, the old one stays: %s", text.len ? lp_buf_cstr(&text) : "out of memory");
		lp_buf_free(&text);
		return r;
	}
	lp_conf_restart_needed(proc->conf, fresh, &text);
	/* Once is enough: every process loads the same file. */
	if (text.len && proc->slot == LP_SLOT_MASTER)
		lp_log(LP_WARN, "changed options that need a restart: %s", lp_buf_cstr(&text));
	lp_buf_free(&text);
	/* Threads may still look at the one that is replaced now: it is freed one reload later. */
	lp_conf_free(&proc->old_conf);
	proc->old_conf = proc->conf;
	proc->conf = fresh;
	if (serves) {
		lp_tls_free(&proc->tls);
		proc->tls = tls;
	}
	lp_proc_reset_log_level(proc);
	return 0;
}
