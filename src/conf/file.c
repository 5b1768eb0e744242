/* The configuration file: YAML tree onto the options, and the rules that bind several options.
 * Every complaint names file:line, key, reason and what would be accepted. */
#include "conf/conf-private.h"
#include "conf/yaml.h"

#include "common/net.h"
#include "common/trace.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static void complain(const char *name, const struct lp_yaml_node *node, const char *path, struct lp_buf *error)
{
	lp_buf_printf(error, "%s:%u: %s: ", name, node->line, path);
}

static int apply_list(struct lp_conf *conf, const char *name, const struct lp_conf_option *option, const char *path,
		      const struct lp_yaml_node *node, struct lp_buf *error)
{
	struct lp_conf_list list = { 0 };
	int r = 0;

	for (const struct lp_yaml_node *item = node->child; item && !r; item = item->next) {
		if (item->kind != LP_YAML_SCALAR) {
			complain(name, item, path, error);
			lp_buf_str(error, "expected plain text in the list");
			r = -EINVAL;
		} else {
			r = lp_conf_list_add(&list, item->value, strlen(item->value));
			if (r == -E2BIG) {
				complain(name, item, path, error);
				lp_buf_printf(error, "more than %u items", LP_CONF_MAX_ITEMS);
				r = -EINVAL;
			}
		}
	}
	if (r < 0) {
		lp_conf_list_clear(&list);
		return r;
	}
	struct lp_conf_list *field = lp_conf_field(conf, option);

	lp_conf_list_clear(field);
	*field = list;
	return 0;
}

static int apply_option(struct lp_conf *conf, const char *name, const struct lp_conf_option *option, const char *path,
			const struct lp_yaml_node *node, struct lp_buf *error)
{
	struct lp_buf reason = LP_BUF_INIT;
	int r = -EINVAL;

	if (option->type == LP_CONF_RULES) {
		const char *what;
		uint32_t line;

		r = lp_conf_rules_read(option, node, lp_conf_field(conf, option), &line, &what);
		if (r < 0)
			lp_buf_printf(error, "%s:%u: %s: %s", name, line, path, what);
		return r;
	}
	if (option->type == LP_CONF_LIST && node->kind == LP_YAML_LIST)
		return apply_list(conf, name, option, path, node, error);
	if (option->type == LP_CONF_LIST && !(node->kind == LP_YAML_SCALAR && node->null))
		lp_buf_str(&reason, "expected a list, for example [a, b]");
	else if (node->kind != LP_YAML_SCALAR)
		lp_buf_printf(&reason, "expected one value, not a %s", node->kind == LP_YAML_LIST ? "list" : "section");
	else
		r = lp_conf_set(conf, option, node->value, &reason);
	if (r < 0) {
		complain(name, node, path, error);
		lp_buf_str(error, lp_buf_cstr(&reason));
	}
	lp_buf_free(&reason);
	return r;
}

static int apply_section(struct lp_conf *conf, const char *name, const char *prefix, const struct lp_yaml_node *map,
			 struct lp_buf *error)
{
	char path[LP_CONF_ENV_MAX];
	int r = 0;

	for (const struct lp_yaml_node *node = map->child; node && !r; node = node->next) {
		/* A key longer than any option is cut off here and then known to nobody. */
		snprintf(path, sizeof path, "%s%s%.64s", prefix, *prefix ? "." : "", node->key);
		const struct lp_conf_option *option = lp_conf_find(path);

		if (option) {
			r = apply_option(conf, name, option, path, node, error);
		} else if (!lp_conf_is_section(path, strlen(path))) {
			complain(name, node, path, error);
			lp_buf_printf(error, "unknown %s", node->kind == LP_YAML_MAP ? "section" : "option");
			lp_conf_suggest(path, error);
			r = -EINVAL;
		} else if (node->kind == LP_YAML_MAP) {
			r = apply_section(conf, name, path, node, error);
		} else if (node->kind != LP_YAML_SCALAR || !node->null) {
			complain(name, node, path, error);
			lp_buf_str(error, "expected a section of options");
			r = -EINVAL;
		}
	}
	return r;
}

int lp_conf_apply_yaml(struct lp_conf *conf, const char *name, const void *data, size_t len, struct lp_buf *error)
{
	struct lp_arena arena = { .max_bytes = 64u << 20 };
	struct lp_yaml_node *root;
	int r = -EINVAL;

	if (len > LP_YAML_MAX_FILE) {
		lp_buf_printf(error, "%s: larger than %u bytes", name, LP_YAML_MAX_FILE);
		return r;
	}
	r = lp_yaml_parse(name, data, len, true, &arena, &root, error);
	if (!r && root->kind != LP_YAML_MAP) {
		lp_buf_printf(error, "%s:%u: expected sections such as \"server:\"", name, root->line);
		r = -EINVAL;
	}
	if (!r)
		r = apply_section(conf, name, "", root, error);
	lp_arena_free(&arena);
	return r;
}

static uint64_t power_of_two(uint64_t v)
{
	uint64_t p = 1;

	while (p < v)
		p *= 2;
	return p;
}

/* A record is a little larger than its body, and a lane must hold one record and room to start the next. */
static int check_lane(const struct lp_conf *conf, struct lp_buf *error)
{
	int64_t body = conf->ingest.max_body_bytes;
	int64_t need = body + (body + 1) / 2, lane = (int64_t)power_of_two((uint64_t)conf->ingest.lane_bytes);

	if (lane >= need)
		return 0;
	lp_buf_str(error, "ingest.lane_bytes: ");
	lp_conf_print_size(lane, error);
	lp_buf_str(error, " must be at least one and a half times ingest.max_body_bytes (");
	lp_conf_print_size(body, error);
	lp_buf_str(error, "); set ingest.lane_bytes to ");
	lp_conf_print_size((int64_t)power_of_two((uint64_t)need), error);
	lp_buf_str(error, " or ingest.max_body_bytes to at most ");
	lp_conf_print_size(lane * 2 / 3, error);
	return -EINVAL;
}

static bool check_tracing(const struct lp_conf *conf, struct lp_buf *error)
{
	struct lp_sampler sampler;

	if (lp_sampler_parse(conf->tracing.sampling_ratio, true, &sampler) < 0) {
		lp_buf_printf(error, "tracing.sampling_ratio: \"%.64s\" is not a number from 0 to 1", conf->tracing.sampling_ratio);
		return false;
	}
	return lp_conf_check_pairs("tracing.headers", &conf->tracing.headers, error) &&
	       lp_conf_check_pairs("tracing.resource_attributes", &conf->tracing.resource_attributes, error);
}

static bool check_nets(const char *option, const struct lp_conf_list *list, struct lp_buf *error)
{
	struct lp_net net;

	for (size_t i = 0; i < list->n; i++)
		if (lp_net_parse(list->items[i], strlen(list->items[i]), &net) < 0) {
			lp_buf_printf(error, "rate_limit.%s: \"%.64s\" is neither an address nor a network", option, list->items[i]);
			return false;
		}
	return true;
}

int lp_conf_cross_check(const struct lp_conf *conf, struct lp_buf *error)
{
	bool cert = *conf->server_tls.cert_file, key = *conf->server_tls.key_file;

	if (conf->auth.enabled && !*conf->auth.api_key) {
		lp_buf_str(error, "auth.api_key: auth.enabled is true but there is no key; set auth.api_key, LOGPULSE_API_KEY "
				  "or --api-key-file");
	} else if (!strcmp(conf->auth.api_key, "<hidden>")) {
		lp_buf_str(error, "auth.api_key: <hidden> is what --print-config shows instead of the key; put the key here");
	} else if (cert != key) {
		lp_buf_printf(error, "server.tls.%s: missing; TLS needs both server.tls.cert_file and server.tls.key_file",
			      cert ? "key_file" : "cert_file");
	} else if (conf->storage.wal_file_min > conf->storage.wal_file_max) {
		lp_buf_str(error, "storage.wal_file_min: ");
		lp_conf_print_size(conf->storage.wal_file_min, error);
		lp_buf_str(error, " is more than storage.wal_file_max ");
		lp_conf_print_size(conf->storage.wal_file_max, error);
	} else if (conf->metrics.prometheus_path[0] != '/') {
		lp_buf_str(error, "metrics.prometheus_path: must start with /");
	} else if (check_tracing(conf, error) && check_nets("whitelist_ips", &conf->rate_limit.whitelist_ips, error) &&
		   check_nets("blacklist_ips", &conf->rate_limit.blacklist_ips, error) &&
		   check_nets("trusted_proxies", &conf->rate_limit.trusted_proxies, error)) {
		return check_lane(conf, error);
	}
	return -EINVAL;
}
