/* A configuration from memory: any bytes give a configuration or a reason, and what is printed loads again. */
#include "conf/conf-private.h"
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct lp_buf error = LP_BUF_INIT, out = LP_BUF_INIT;
	struct lp_conf *conf, *again;

	if (lp_conf_defaults(&conf) < 0 || lp_conf_defaults(&again) < 0)
		abort();
	int r = lp_conf_apply_yaml(conf, "fuzz", data, size, &error);

	if (!r != !error.len)
		abort();                /* a refusal without a reason, or a reason without a refusal */
	if (!r) {
		(void)lp_conf_cross_check(conf, &error);
		lp_conf_print(conf, &out);
		if (lp_conf_apply_yaml(again, "printed", out.data, out.len, &error) < 0)
			abort();
	}
	lp_conf_free(&conf);
	lp_conf_free(&again);
	lp_buf_free(&error);
	lp_buf_free(&out);
	return 0;
}
