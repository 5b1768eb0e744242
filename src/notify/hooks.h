/* Where alert events go: the sending side of the notifier.  Process: notifier, main thread. */
#ifndef LP_NOTIFY_HOOKS_H
#define LP_NOTIFY_HOOKS_H

#include "notify/event.h"
#include "notify/notify.h"

/* Take events over.  When it returns 0 they are in the durable queue (synced) or nobody wants them: the caller may then
 * store that they were sent.  The caller tells an event again after a crash between the two, with the same fingerprint,
 * starts_ns and `firing`: the queue drops what it knows already.  Never blocks on the network.
 * Errors: -ENOSPC, -EIO, -ENOMEM, -ENOBUFS: none of the n events was taken, tell them again later. */
int lp_hooks_alert(struct lp_notify *notify, const struct lp_alert_event *events, uint32_t n);

#endif
