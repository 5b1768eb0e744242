/* The evaluator's state as bytes: what data/rules/state (synced, for the next notifier) and data/rules/view (for the workers) hold.
 *
 *   0 u32 magic | 4 u32 version | 8 u64 payload bytes | 16 u32 crc32c(payload) | 20 u32 zero | 24 payload
 *   payload: a serial number, then groups and their rules and alerts, in order; numbers are varints (signed ones zigzag), a text is its length and bytes,
 *   a value is 8 bytes IEEE 754.  Valid if and only if magic, version, length and crc hold and the payload ends where it should.
 * logpulse-format(5) has every field.
 * Both files are replaced as a whole by rename; one that is not valid counts as missing. */
#ifndef LP_RULES_IMAGE_H
#define LP_RULES_IMAGE_H

#include "rules/eval.h"

#define LP_IMAGE_MAGIC UINT32_C(0x5352504c)     /* "LPRS" */
#define LP_IMAGE_VERSION 1u
#define LP_IMAGE_MAX (64u << 20)

struct lp_group_times {
	int64_t last_ns, took_ns;
	uint64_t evaluations, missed;
};

/* serial: grows with every image of either file; the larger one is the newer one. */
void lp_image_begin(struct lp_buf *out, uint64_t serial);
void lp_image_group(struct lp_buf *out, const struct lp_rule_group *group, const struct lp_rule_state *states,
		    const struct lp_group_times *times);
/* Fills the header in.  -ENOMEM when the buffer failed. */
int lp_image_end(struct lp_buf *out);

struct lp_view_rule {
	struct lp_view_rule *next;
	bool recording;
	const char *name, *expr;
	int64_t for_ms, keep_ms;
	struct lp_alert_pair *labels, *annotations;     /* as written in the rule */
	uint32_t n_labels, n_annotations;
	const char *webhook;                            /* NULL none */
	const char **channels;
	uint32_t n_channels;
	enum lp_rule_health health;
	const char *last_error;                         /* "" none */
	int64_t last_ns, took_ns;
	struct lp_alert *alerts;                        /* their arenas are empty: all is the view's */
	uint32_t n_alerts;
	struct lp_vector vector;
};

struct lp_view_group {
	struct lp_view_group *next;
	const char *tenant, *file, *name;
	int64_t interval_ms;
	uint32_t limit;
	struct lp_group_times times;
	struct lp_view_rule *rules;
	uint32_t n_rules;
};

struct lp_view {
	struct lp_arena arena;
	uint64_t serial;
	struct lp_view_group *groups;
};

/* -EBADMSG not valid, -EPROTO another version, -ENOMEM. */
int lp_view_parse(const void *data, size_t len, struct lp_view **ret_view);
/* -errno of open and read; -EFBIG. */
int lp_view_read(const char *path, struct lp_view **ret_view);
void lp_view_free(struct lp_view **view);

#endif
