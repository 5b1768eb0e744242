/* Writing metrics.  Pure: one pass into a buffer, whose sticky error stands for all failures.  Process: any. */
#include "common/prom.h"

#include "common/jsonw.h"

#include <string.h>

void lp_prom_head(const struct lp_prom *prom, const char *name, const char *type, const char *help)
{
	static const char suffix[] = "_total";
	int len = (int)strlen(name);

	if (prom->openmetrics && strcmp(type, "untyped") == 0)
		type = "unknown";
	else if (prom->openmetrics && strcmp(type, "counter") == 0 && len > 6 && strcmp(name + len - 6, suffix) == 0)
		len -= 6;
	lp_buf_printf(prom->out, "# HELP %.*s %s\n# TYPE %.*s %s\n", len, name, help, len, name, type);
}

void lp_prom_value(const struct lp_prom *prom, const char *s, size_t n)
{
	lp_buf_byte(prom->out, '"');
	for (size_t i = 0; i < n; i++) {
		if (s[i] == '\n') {
			lp_buf_str(prom->out, "\\n");
			continue;
		}
		if (s[i] == '"' || s[i] == '\\')
			lp_buf_byte(prom->out, '\\');
		lp_buf_byte(prom->out, (uint8_t)s[i]);
	}
	lp_buf_byte(prom->out, '"');
}

static void put_exemplar(const struct lp_prom *prom, const struct lp_prom_exemplar *exemplar)
{
	lp_buf_str(prom->out, " # {trace_id=\"");
	for (size_t i = 0; i < sizeof exemplar->trace; i++)
		lp_buf_printf(prom->out, "%02x", exemplar->trace[i]);
	lp_buf_str(prom->out, "\"} ");
	lp_jsonw_double(prom->out, (double)exemplar->us / 1e6);
	lp_buf_printf(prom->out, " %lld.%03d", (long long)(exemplar->at_ns / 1000000000), (int)(exemplar->at_ns / 1000000 % 1000));
}

void lp_prom_histogram(const struct lp_prom *prom, const char *name, const char *labels, const uint64_t *counts,
		       const char *const *bounds, size_t n, uint64_t sum_us, const struct lp_prom_exemplar *exemplars)
{
	const char *comma = *labels ? "," : "", *open = *labels ? "{" : "", *close = *labels ? "}" : "";
	uint64_t count = 0;

	for (size_t i = 0; i < n; i++) {
		count += counts[i];
		lp_buf_printf(prom->out, "%s_bucket{%s%sle=\"%s\"} %llu", name, labels, comma, bounds[i],
			      (unsigned long long)count);
		if (prom->openmetrics && exemplars && exemplars[i].at_ns > 0)
			put_exemplar(prom, &exemplars[i]);
		lp_buf_byte(prom->out, '\n');
	}
	lp_buf_printf(prom->out, "%s_sum%s%s%s ", name, open, labels, close);
	lp_jsonw_double(prom->out, (double)sum_us / 1e6);
	lp_buf_printf(prom->out, "\n%s_count%s%s%s %llu\n", name, open, labels, close, (unsigned long long)count);
}
