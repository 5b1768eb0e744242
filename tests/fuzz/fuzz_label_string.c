/* Label strings: what is accepted is canonical but for values that are empty, and prints back to itself. */
#include "tests/fuzz/fuzz_ingest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct lp_buf out = LP_BUF_INIT, again = LP_BUF_INIT, text = LP_BUF_INIT, error = LP_BUF_INIT;
	int r = lp_label_string_parse((const char *)data, size, "t", 1, &out, &error);

	if (r < 0) {
		LP_ASSERT(r == -EINVAL && !out.len && error.len && error.len < 2048);
	} else {
		LP_ASSERT(lp_labels_check(out.data, out.len) == 0);
		lp_labels_print(&text, out.data, out.len);
		LP_ASSERT(lp_label_string_parse((const char *)text.data, text.len, "t", 1, &again, NULL) == 0);
		LP_ASSERT(again.len == out.len && !memcmp(again.data, out.data, out.len));
	}
	lp_buf_free(&out);
	lp_buf_free(&again);
	lp_buf_free(&text);
	lp_buf_free(&error);
	return 0;
}
