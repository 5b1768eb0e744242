/* Rules made over HTTP, as files below data/rules: @TENANT/NAMESPACE.yaml (a rule file, groups:) and @TENANT/alerts.json (the original
 * API's list).  Tenant and namespace may hold any bytes: all but [A-Za-z0-9_-] are percent-encoded, so no name can leave the folder.
 *
 * Workers change files under lp_rulestore_lock(), by a temporary file and rename; the notifier syncs what it loads, so a worker's event
 * loop never waits for the disk: a change survives every kill at once, a power cut from about a second later on. */
#ifndef LP_RULES_STORE_H
#define LP_RULES_STORE_H

#include "rules/rule.h"

#define LP_RULESTORE_MAX_NAMESPACES 200u        /* of one tenant */
#define LP_RULESTORE_ALERTS "alerts.json"

/* The file of a namespace, or (NULL) of the original API's list.  -EINVAL an empty or too long name, -ENAMETOOLONG. */
int lp_rulestore_path(const char *dir, const char *tenant, const char *space, char *out, size_t out_bytes);
/* -EWOULDBLOCK: another process is changing rules; never waits.  Close *ret_fd to unlock. */
int lp_rulestore_lock(const char *dir, int *ret_fd);
/* Tell the notifier that files changed: a number in the lock's file.  Before unlocking. */
void lp_rulestore_changed(int lock_fd);
uint64_t lp_rulestore_generation(const char *dir);      /* 0: nothing was ever changed */
/* Make what is there durable; the notifier, after loading. */
void lp_rulestore_sync(const char *dir);
/* Replace a file (data NULL: remove it).  -errno; -ENOENT when there was nothing to remove; -ENOSPC also for too many namespaces. */
int lp_rulestore_write(const char *dir, const char *tenant, const char *space, const void *data, size_t len);
/* Add one namespace's groups.  -ENOENT none; -EINVAL with the reason in error. */
int lp_rulestore_load(const char *dir, const char *tenant, const char *space, int64_t interval_ms, struct lp_rule_set *set, struct lp_buf *error);

/* Call f for each file of a tenant (NULL: of all tenants), sorted by name: space NULL for the original API's list.  Stops at the first
 * negative return, which it returns. */
int lp_rulestore_each(const char *dir, const char *tenant, int (*f)(void *ctx, const char *tenant, const char *space), void *ctx);

#endif
