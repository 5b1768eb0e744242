/* Rule files, bodies of /alerts and images from memory: any bytes give rules or a reason, and what is printed loads again. */
#include "rules/alertlist.h"
#include "rules/image.h"
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>

static void rule_file(const uint8_t *data, size_t size)
{
	const struct lp_rule_source source = { .name = "fuzz", .tenant = "", .file = "fuzz", .interval_ms = 60000 };
	struct lp_buf error = { .max = 4096 }, out = LP_BUF_INIT;
	struct lp_rule_set *set, *again;

	if (lp_rules_new(&set) < 0 || lp_rules_new(&again) < 0)
		abort();
	int r = lp_rules_load(set, &source, data, size, &error);

	if (!r != !error.len)
		abort();                /* a refusal without a reason, or a reason without a refusal */
	if (!r && set->groups) {
		lp_buf_str(&out, "groups:\n");
		for (const struct lp_rule_group *group = set->groups; group; group = group->next)
			lp_rules_print_group(group, 2, true, &out);
		if (out.len <= LP_RULES_MAX_TEXT && lp_rules_load(again, &source, out.data, out.len, &error) < 0)
			abort();
	}
	lp_rules_free(&set);
	lp_rules_free(&again);
	lp_buf_free(&error);
	lp_buf_free(&out);
}

static void alert_body(const uint8_t *data, size_t size)
{
	struct lp_buf error = { .max = 4096 };
	struct lp_alertlist list;
	struct lp_alert_item *item;

	lp_alertlist_init(&list);
	(void)lp_alertlist_parse(&list, data, size);
	lp_alertlist_free(&list);
	item = lp_alertlist_add(&list);
	if (item && lp_alert_item_read(&list, item, data, size, &error) == 0)
		(void)lp_alert_item_check(item, &error);
	lp_alertlist_free(&list);
	lp_buf_free(&error);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct lp_view *view = NULL;

	rule_file(data, size);
	alert_body(data, size);
	(void)lp_view_parse(data, size, &view);
	lp_view_free(&view);
	return 0;
}
