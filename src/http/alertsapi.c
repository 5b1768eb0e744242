/* The original server's /alerts: rules as JSON objects, one list per tenant, evaluated like all others.
 *
 * Guarantees: texts and codes are the original's; a rule that is accepted can be evaluated; what was answered is in the list's file.
 * Process: worker, event loop.  If it dies here, a change is there whole or not at all. */
#include "http/rulesapi.h"

#include "common/clock.h"
#include "common/rfc3339.h"
#include "rules/alertlist.h"
#include "rules/store.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define NOT_FOUND "Alert not found"

static int make_id(char id[33])
{
	uint8_t bytes[16];

	if (getrandom(bytes, sizeof bytes, GRND_NONBLOCK) != (ssize_t)sizeof bytes)
		return -EAGAIN;
	for (unsigned i = 0; i < sizeof bytes; i++)
		snprintf(id + 2 * i, 3, "%02x", bytes[i]);
	return 0;
}

static const char *now_text(struct lp_alertlist *list)
{
	char text[LP_RFC3339_MAX];
	size_t n = lp_rfc3339_format(text, lp_clock_real_ns());
	const char *copy = lp_arena_strndup(&list->arena, text, n);

	return copy ? copy : "";
}

static int store(const char *dir, const char *tenant, const struct lp_alertlist *list)
{
	struct lp_buf out = LP_BUF_INIT;
	int r;

	lp_alertlist_print(list, &out);
	r = out.failed ? -ENOMEM : lp_rulestore_write(dir, tenant, NULL, out.data, out.len);
	lp_buf_free(&out);
	return r;
}

static void reply_item(h2o_req_t *req, int status, const struct lp_alert_item *item)
{
	struct lp_buf out = LP_BUF_INIT;

	lp_alert_item_print(item, &out);
	lp_reply_buf(req, status, LP_JSON, &out);
}

/* ---- reading ---- */

static void get_alerts(struct lp_worker *worker, h2o_req_t *req, const char *tenant, const char *id, size_t id_len)
{
	struct lp_alertlist list;
	struct lp_buf out = LP_BUF_INIT;
	char dir[LP_RULES_DIR_MAX];
	const struct lp_alert_item *item;
	int r = lp_rules_dir(worker, dir) ? 0 : -ENAMETOOLONG;

	lp_alertlist_init(&list);
	if (r == 0)
		r = lp_alertlist_load(&list, dir, tenant);
	if (r < 0) {
		lp_rules_failed(req, r);
	} else if (!id) {
		lp_alertlist_print(&list, &out);
		lp_reply_buf(req, 200, LP_JSON, &out);
	} else {
		item = lp_alertlist_find(&list, id, id_len);
		if (item)
			reply_item(req, 200, item);
		else
			lp_reply_text(req, 404, NOT_FOUND);
	}
	lp_alertlist_free(&list);
}

/* ---- changing ---- */

struct change {
	h2o_req_t *req;
	struct lp_alertlist list;
	struct lp_alert_item *item;     /* NULL: to be added */
	struct lp_buf error;
	int status;                     /* of success */
	bool only_status;               /* PATCH: nothing but `enabled` counts */
};

/* The body into the item, checked. */
static int take_body(struct change *c)
{
	struct lp_alert_item before = { 0 };
	int r;

	if (!c->item) {
		if (c->list.n >= LP_ALERTLIST_MAX) {
			lp_buf_printf(&c->error, "too many alerts: at most %u", LP_ALERTLIST_MAX);
			return -EINVAL;
		}
		c->item = lp_alertlist_add(&c->list);
		if (!c->item)
			return -ENOMEM;
		r = make_id(c->item->id);
		if (r < 0)
			return r;
		c->item->created = now_text(&c->list);
	}
	before = *c->item;
	r = lp_alert_item_read(&c->list, c->item, c->req->entity.base ? c->req->entity.base : "", c->req->entity.len, &c->error);
	if (r == 0 && c->only_status) {
		before.enabled = c->item->enabled;
		*c->item = before;
	}
	if (r == 0)
		r = lp_alert_item_check(c->item, &c->error);
	c->item->updated = now_text(&c->list);
	return r;
}

static void answer(struct change *c, int r)
{
	if (r == 0 && c->status == 204)
		lp_reply_empty(c->req, 204);
	else if (r == 0)
		reply_item(c->req, c->status, c->item);
	else if (r == -ENOENT)
		lp_reply_text(c->req, 404, NOT_FOUND);
	else if (r == -EINVAL || r == -EBADMSG)
		lp_reply_text(c->req, 400, c->error.len ? lp_buf_cstr(&c->error) : "Invalid JSON");
	else
		lp_rules_failed(c->req, r);
}

static void change_alerts(struct lp_worker *worker, h2o_req_t *req, const char *tenant, const char *id, size_t id_len, bool only_status)
{
	struct change c = { .req = req, .error = { .max = 2048 }, .only_status = only_status, .status = id ? 200 : 201 };
	bool remove = req->method.base[0] == 'D';
	char dir[LP_RULES_DIR_MAX];
	int lock, r;

	if (req->entity.len > LP_RULES_MAX_TEXT) {
		lp_reply_text(req, 413, "an alert may have 1 MiB");
		return;
	}
	r = lp_rules_begin(worker, req, dir, &lock);
	if (r < 0)
		return;
	lp_alertlist_init(&c.list);
	r = lp_alertlist_load(&c.list, dir, tenant);
	if (r == 0 && id) {
		c.item = lp_alertlist_find(&c.list, id, id_len);
		r = c.item ? 0 : -ENOENT;
	} else if (r == -EBADMSG) {
		r = -EIO;               /* the file, not the request */
	}
	if (r == 0 && remove) {
		c.status = 204;
		lp_alertlist_remove(&c.list, c.item);
	} else if (r == 0) {
		r = take_body(&c);
	}
	if (r == 0) {
		r = store(dir, tenant, &c.list);
		if (r == -EINVAL || r == -EBADMSG || r == -ENOENT)
			r = -EIO;
	}
	lp_rules_end(worker, lock, r == 0);
	answer(&c, r);
	lp_alertlist_free(&c.list);
	lp_buf_free(&c.error);
}

void lp_rules_alerts(struct lp_worker *worker, h2o_req_t *req, const char *name, size_t name_len)
{
	char tenant[LP_TENANT_MAX];

	if (!lp_rules_tenant(worker, req, tenant))
		return;
	if (req->method.base[0] == 'G' || req->method.base[0] == 'H')
		get_alerts(worker, req, tenant, NULL, 0);
	else
		change_alerts(worker, req, tenant, NULL, 0, false);
}

void lp_rules_alert(struct lp_worker *worker, h2o_req_t *req, const char *name, size_t name_len)
{
	char tenant[LP_TENANT_MAX];

	if (!lp_rules_tenant(worker, req, tenant))
		return;
	if (req->method.base[0] == 'G' || req->method.base[0] == 'H')
		get_alerts(worker, req, tenant, name, name_len);
	else
		change_alerts(worker, req, tenant, name, name_len, false);
}

void lp_rules_alert_status(struct lp_worker *worker, h2o_req_t *req, const char *name, size_t name_len)
{
	char tenant[LP_TENANT_MAX];

	if (lp_rules_tenant(worker, req, tenant))
		change_alerts(worker, req, tenant, name, name_len, true);
}
