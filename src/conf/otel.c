/* OpenTelemetry's standard variables (OTEL_*), which are often set for a whole host or by an operator: what they say counts where
 * there is an option for it; what cannot be done is ignored with a warning, as its specification asks, and never keeps the server
 * from starting.  Pure but for the warnings in the configuration. */
#include "conf/conf-private.h"

#include "common/bytes.h"
#include "common/trace.h"
#include "common/utf8.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

void lp_conf_sampler(const struct lp_conf *conf, struct lp_sampler *ret_sampler)
{
	*ret_sampler = (struct lp_sampler){ .on = false };
	if (conf->tracing.exporter != LP_TRACING_NONE)
		(void)lp_sampler_parse(conf->tracing.sampling_ratio, conf->tracing.parent_based, ret_sampler);  /* checked when loaded */
}

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int lp_conf_pair(const char *item, const char *separator, char **ret_pair)
{
	size_t name = strcspn(item, "="), n = 0;
	char *pair;

	if (!name || !item[name])
		return -EINVAL;
	pair = malloc(strlen(item) + strlen(separator) + 1);
	if (!pair)
		return -ENOMEM;
	for (const char *p = item; *p; p++) {
		int high = *p == '%' ? hex_value(p[1]) : -1, low = high >= 0 ? hex_value(p[2]) : -1;

		if (p == item + name) {
			n = (size_t)(stpcpy(pair + n, separator) - pair);
			continue;
		}
		pair[n++] = low >= 0 ? (char)(high << 4 | low) : *p;
		p += low >= 0 ? 2 : 0;
		if ((unsigned char)pair[n - 1] < ' ' || pair[n - 1] == 0x7f) {
			free(pair);
			return -EINVAL;
		}
	}
	pair[n] = '\0';
	if (!lp_utf8_valid(pair, n)) {
		free(pair);
		return -EINVAL;
	}
	*ret_pair = pair;
	return 0;
}

/* Texts are not shown: they may be secrets. */
bool lp_conf_check_pairs(const char *option, const struct lp_conf_list *list, struct lp_buf *error)
{
	for (size_t i = 0; i < list->n; i++) {
		char *pair;
		int r = lp_conf_pair(list->items[i], "=", &pair);

		if (r < 0) {
			lp_buf_printf(error, "%s: item %zu is not name=value, or not text", option, i + 1);
			return false;
		}
		free(pair);
	}
	return true;
}

/* What only the check of the whole configuration would refuse is refused here. */
static int set_pairs(struct lp_conf *conf, const struct lp_conf_option *option, const char *text, struct lp_buf *reason)
{
	struct lp_conf_list *list = lp_conf_field(conf, option), old = *list;
	int r;

	*list = (struct lp_conf_list){ 0 };
	r = lp_conf_set(conf, option, text, reason);
	if (r == 0 && !lp_conf_check_pairs(option->field, list, reason))
		r = -EINVAL;
	lp_conf_list_clear(r < 0 ? list : &old);
	if (r < 0)
		*list = old;
	return r;
}

static int set(struct lp_conf *conf, const char *path, const char *text, struct lp_buf *reason)
{
	const struct lp_conf_option *option = lp_conf_find(path);
	struct lp_sampler sampler;

	if (option->type == LP_CONF_LIST)
		return set_pairs(conf, option, text, reason);
	if (!strcmp(option->field, "sampling_ratio") && lp_sampler_parse(text, true, &sampler) < 0) {
		lp_conf_quote(text, reason);
		lp_buf_str(reason, " is not a number from 0 to 1");
		return -EINVAL;
	}
	return lp_conf_set(conf, option, text, reason);
}

static int set_sampler(struct lp_conf *conf, const char *value, struct lp_buf *reason)
{
	static const struct { const char *name, *parent_based, *ratio; } samplers[] = {
		{ "always_on", "false", "1" }, { "always_off", "false", "0" }, { "traceidratio", "false", NULL },
		{ "parentbased_always_on", "true", "1" }, { "parentbased_always_off", "true", "0" }, { "parentbased_traceidratio", "true", NULL },
	};

	for (size_t i = 0; i < LP_ARRAY_LEN(samplers); i++)
		if (!strcmp(value, samplers[i].name)) {
			int r = set(conf, "tracing.parent_based", samplers[i].parent_based, reason);

			return r == 0 && samplers[i].ratio ? set(conf, "tracing.sampling_ratio", samplers[i].ratio, reason) : r;
		}
	lp_conf_quote(value, reason);
	lp_buf_str(reason, " is none of always_on, always_off, traceidratio, parentbased_always_on, parentbased_always_off, "
			   "parentbased_traceidratio");
	return -EINVAL;
}

/* Milliseconds without a unit. */
static int set_timeout(struct lp_conf *conf, const char *value, struct lp_buf *reason)
{
	struct lp_buf text = LP_BUF_INIT;
	int r;

	if (value[strspn(value, "0123456789")]) {
		lp_conf_quote(value, reason);
		lp_buf_str(reason, " is not a number of milliseconds");
		return -EINVAL;
	}
	lp_buf_printf(&text, "%.20sms", value);
	r = set(conf, "tracing.timeout", lp_buf_cstr(&text), reason);
	lp_buf_free(&text);
	return r;
}

/* OTEL_SERVICE_NAME comes later and wins. */
static int set_attributes(struct lp_conf *conf, const char *value, struct lp_buf *reason)
{
	const struct lp_conf_list *list = &conf->tracing.resource_attributes;
	int r = set(conf, "tracing.resource_attributes", value, reason);

	for (size_t i = 0; i < list->n && r == 0; i++) {
		char *pair = NULL;

		r = lp_conf_pair(list->items[i], "=", &pair);
		if (r == 0 && !strncmp(pair, "service.name=", 13))
			r = set(conf, "tracing.service_name", pair + 13, reason);
		free(pair);
	}
	return r;
}

static int apply(struct lp_conf *conf, const struct lp_conf_alias *alias, const char *value, struct lp_buf *reason)
{
	size_t n = strlen(alias->env);

	if (!strcmp(alias->env, "OTEL_SDK_DISABLED"))
		return strcasecmp(value, "true") ? 0 : set(conf, alias->path, "none", reason);
	if (!strcmp(alias->env, "OTEL_TRACES_SAMPLER"))
		return set_sampler(conf, value, reason);
	if (!strcmp(alias->env, "OTEL_RESOURCE_ATTRIBUTES"))
		return set_attributes(conf, value, reason);
	if (n > 8 && !strcmp(alias->env + n - 8, "_TIMEOUT"))
		return set_timeout(conf, value, reason);
	return set(conf, alias->path, value, reason);
}

int lp_conf_otel(struct lp_conf *conf, const struct lp_conf_alias *alias, const char *value)
{
	struct lp_buf reason = LP_BUF_INIT, warning = LP_BUF_INIT;
	int r = apply(conf, alias, value, &reason);

	if (r == -EINVAL) {
		lp_buf_printf(&warning, "%s is ignored: %s", alias->env, lp_buf_cstr(&reason));
		if (!strcmp(value, "grpc"))
			lp_buf_str(&warning, "; a collector takes these on its port for HTTP, mostly 4318");
		r = lp_conf_list_add(&conf->warnings, lp_buf_cstr(&warning), warning.len);
		r = r == -E2BIG ? 0 : r;
	}
	lp_buf_free(&reason);
	lp_buf_free(&warning);
	return r;
}
