/* A webhooks.yaml from memory: any bytes give targets or a reason, and targets that were accepted make bodies. */
#include "notify/hooks/body.h"
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct lp_alert_pair labels[] = { { "alertname", "A" } };
	static const struct lp_alert_event event = {
		.tenant = "", .file = "f", .group = "g", .rule = "A", .expr = "1", .fingerprint = 1, .firing = true, .value = 1,
		.labels = labels, .n_labels = 1, .generator_url = "", .webhook = "http://x",
	};
	struct lp_buf error = { .max = 1 << 20 }, body = { .max = 64 << 20 }, text = { .max = 64 << 20 };
	struct lp_hook_targets *targets = NULL;
	int r;

	/* No files of this machine. */
	if (memmem(data, size, "_file", 5) || memmem(data, size, "file:", 5))
		return 0;
	r = lp_hook_targets_parse("fuzz", data, size, &targets, &error);
	if (!r != !error.len)
		abort();                /* a refusal without a reason, or a reason without a refusal */
	for (uint32_t i = 0; targets && i < targets->n; i++) {
		if (!targets->targets[i].enabled)
			continue;
		lp_buf_reset(&body);
		lp_buf_reset(&text);
		lp_hook_body_url(&targets->targets[i], "http://x\n", 9, &text);
		if (strncasecmp(lp_buf_cstr(&text), "http", 4))
			abort();
		if (lp_hook_body_alert(&targets->targets[i], &event, &body, &error) == 0 && targets->targets[i].kind != LP_HOOK_PAGERDUTY)
			(void)lp_hook_body_finish(&targets->targets[i], body.data, body.len, &text);
	}
	lp_hook_targets_free(&targets);
	lp_buf_free(&error);
	lp_buf_free(&body);
	lp_buf_free(&text);
	return 0;
}
