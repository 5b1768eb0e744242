/* limits.otlp_config for the decoders.  Guarantees: a regular expression that RE2 refuses is refused with the configuration, by the
 * master before anything starts and by every process on reload.  Processes: master (check), worker (use). */
#include "http/otlp.h"

#include "query/regex.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { RESOURCE, SCOPE, LOG, LISTS };

struct lp_otlp {
	struct lp_otlp_rules rules;
	struct lp_otlp_rule *lists[LISTS];
	struct lp_regex **res;
	size_t n_res;
};

static bool match(const void *ctx, const char *s, size_t n)
{
	return lp_regex_match(ctx, s, n);
}

void lp_otlp_free(struct lp_otlp **otlp)
{
	struct lp_otlp *o = *otlp;

	if (!o)
		return;
	for (size_t i = 0; i < o->n_res; i++)
		lp_regex_free(&o->res[i]);
	free(o->res);
	for (int i = 0; i < LISTS; i++)
		free(o->lists[i]);
	free(o);
	*otlp = NULL;
}

static int load_list(struct lp_otlp *o, int list, const char *option, const struct lp_conf_rules *rules, struct lp_buf *error)
{
	struct lp_buf why = LP_BUF_INIT;
	int r = 0;

	o->lists[list] = calloc(rules->n + 1, sizeof *o->lists[list]);
	if (!o->lists[list])
		return -ENOMEM;
	for (size_t i = 0; r == 0 && i < rules->n; i++) {
		const struct lp_conf_rule *from = &rules->v[i];
		struct lp_otlp_rule *to = &o->lists[list][i];

		to->action = from->action == LP_ACTION_DROP ? LP_OTLP_DROP :
			     from->action == LP_ACTION_INDEX_LABEL ? LP_OTLP_INDEX_LABEL : LP_OTLP_METADATA;
		to->names = (const char *const *)from->attributes.items;
		to->n_names = from->attributes.n;
		if (!from->regex)
			continue;
		r = lp_regex_compile(from->regex, strlen(from->regex), LP_REGEX_ANCHORED, &o->res[o->n_res], &why);
		if (r == 0) {
			to->match = match;
			to->ctx = o->res[o->n_res++];
		} else if (error && r != -ENOMEM) {
			lp_buf_printf(error, "limits.otlp_config.%s: rule %zu: %s", option, i + 1, why.len ? lp_buf_cstr(&why) : "regex too large");
		}
	}
	lp_buf_free(&why);
	return r == -E2BIG ? -EINVAL : r;
}

int lp_otlp_load(const struct lp_conf *conf, struct lp_otlp **otlp, struct lp_buf *error)
{
	const struct lp_conf_rules *resource = &conf->limits_otlp_resource.attributes_config, *scope = &conf->limits_otlp.scope_attributes,
				   *log = &conf->limits_otlp.log_attributes;
	struct lp_otlp *o = NULL;
	int r = 0;

	if (resource->n || scope->n || log->n || conf->limits_otlp_resource.ignore_defaults) {
		o = calloc(1, sizeof *o);
		if (o)
			o->res = calloc(resource->n + scope->n + log->n + 1, sizeof *o->res);
		r = o && o->res ? 0 : -ENOMEM;
		if (r == 0)
			r = load_list(o, RESOURCE, "resource_attributes.attributes_config", resource, error);
		if (r == 0)
			r = load_list(o, SCOPE, "scope_attributes", scope, error);
		if (r == 0)
			r = load_list(o, LOG, "log_attributes", log, error);
		if (r == 0)
			o->rules = (struct lp_otlp_rules){ conf->limits_otlp_resource.ignore_defaults, o->lists[RESOURCE], o->lists[SCOPE],
							   o->lists[LOG], resource->n, scope->n, log->n };
	}
	if (r < 0 || !otlp) {
		lp_otlp_free(&o);
		return r;
	}
	lp_otlp_free(otlp);
	*otlp = o;
	return 0;
}

const struct lp_otlp_rules *lp_otlp_rules(const struct lp_otlp *otlp)
{
	return otlp ? &otlp->rules : NULL;
}
