/* The agent's configuration: server.url, server.api_key, positions_file, targets.  Read once at start; every refusal
 * names file:line. */
#include "agent/agent.h"
#include "conf/yaml.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct loader {
	const char *path;
	struct lp_agent_conf *conf;
	struct lp_buf *error;
};

static int refuse(struct loader *loader, const struct lp_yaml_node *node, const char *key, const char *reason)
{
	lp_buf_printf(loader->error, "%s:%u: %.64s: %s", loader->path, node->line, key, reason);
	return -EINVAL;
}

static int take_text(struct loader *loader, const struct lp_yaml_node *node, const char **ret_text)
{
	if (node->kind != LP_YAML_SCALAR)
		return refuse(loader, node, node->key, "expected text");
	*ret_text = node->value;
	return 0;
}

static bool label_name_valid(const char *s)
{
	size_t len = strlen(s);

	return len && len <= 128 && (*s < '0' || *s > '9') &&
	       strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_") == len;
}

static int take_labels(struct loader *loader, const struct lp_yaml_node *map, struct lp_agent_target *target)
{
	if (map->kind == LP_YAML_SCALAR && map->null)
		return 0;
	if (map->kind != LP_YAML_MAP)
		return refuse(loader, map, "labels", "expected name: value pairs");
	for (const struct lp_yaml_node *node = map->child; node; node = node->next) {
		struct lp_agent_label *label = &target->labels[target->n_labels];

		if (target->n_labels == LP_AGENT_MAX_LABELS - 2)
			return refuse(loader, node, node->key, "more than 62 labels");
		if (!label_name_valid(node->key))
			return refuse(loader, node, node->key, "a label name is letters, digits and _, at most 128, no digit first");
		if (take_text(loader, node, &label->value) < 0)
			return -EINVAL;
		if (!*label->value || strlen(label->value) > 2048 || strchr(label->value, '\n'))
			return refuse(loader, node, node->key, "a label value has 1 to 2048 bytes and no newline");
		label->name = node->key;
		target->n_labels++;
	}
	return 0;
}

static int take_target(struct loader *loader, const struct lp_yaml_node *map, struct lp_agent_target ***link)
{
	struct lp_agent_target *target = lp_arena_zalloc(&loader->conf->arena, sizeof *target);
	int r = 0;

	if (!target)
		return -ENOMEM;
	if (map->kind != LP_YAML_MAP)
		return refuse(loader, map, "targets", "expected path and labels");
	for (const struct lp_yaml_node *node = map->child; node && !r; node = node->next)
		if (!strcmp(node->key, "path"))
			r = take_text(loader, node, &target->path);
		else if (!strcmp(node->key, "labels"))
			r = take_labels(loader, node, target);
		else
			r = refuse(loader, node, node->key, "unknown key; a target has path and labels");
	if (!r && (!target->path || !*target->path))
		r = refuse(loader, map, "targets", "a target without path");
	**link = target;
	*link = &target->next;
	return r;
}

static int take_server(struct loader *loader, const struct lp_yaml_node *map)
{
	int r = 0;

	if (map->kind != LP_YAML_MAP)
		return refuse(loader, map, "server", "expected url and api_key");
	for (const struct lp_yaml_node *node = map->child; node && !r; node = node->next)
		if (!strcmp(node->key, "url"))
			r = take_text(loader, node, &loader->conf->url);
		else if (!strcmp(node->key, "api_key"))
			r = take_text(loader, node, &loader->conf->api_key);
		else
			r = refuse(loader, node, node->key, "unknown key; server has url and api_key");
	return r;
}

static int take_root(struct loader *loader, const struct lp_yaml_node *root)
{
	struct lp_agent_target **link = &loader->conf->targets;
	int r = 0;

	if (root->kind != LP_YAML_MAP)
		return refuse(loader, root, "file", "expected server, positions_file and targets");
	for (const struct lp_yaml_node *node = root->child; node && !r; node = node->next) {
		if (!strcmp(node->key, "server")) {
			r = take_server(loader, node);
		} else if (!strcmp(node->key, "positions_file")) {
			r = take_text(loader, node, &loader->conf->positions_file);
		} else if (strcmp(node->key, "targets")) {
			r = refuse(loader, node, node->key, "unknown key; known are server, positions_file and targets");
		} else if (node->kind != LP_YAML_LIST) {
			r = refuse(loader, node, node->key, "expected a list of targets");
		} else {
			for (const struct lp_yaml_node *item = node->child; item && !r; item = item->next)
				r = take_target(loader, item, &link);
		}
	}
	return r;
}

static int finish(struct loader *loader)
{
	struct lp_agent_conf *conf = loader->conf;
	const char *url = getenv("LOGPULSE_SERVER_URL"), *key = getenv("LOGPULSE_API_KEY");

	if (url && *url)
		conf->url = lp_arena_strndup(&conf->arena, url, strlen(url));
	if (key && *key)
		conf->api_key = lp_arena_strndup(&conf->arena, key, strlen(key));
	if (!conf->url || !conf->api_key)
		return -ENOMEM;
	if (strncmp(conf->url, "http://", 7) && strncmp(conf->url, "https://", 8))
		lp_buf_printf(loader->error, "%s: server.url: %.100s starts with neither http:// nor https://", loader->path, conf->url);
	else if (strpbrk(conf->api_key, "\r\n"))
		lp_buf_printf(loader->error, "%s: server.api_key: a newline is not allowed", loader->path);
	else if (!*conf->positions_file)
		lp_buf_printf(loader->error, "%s: positions_file: must not be empty", loader->path);
	else if (!conf->targets)
		lp_buf_printf(loader->error, "%s: targets: nothing to read; name at least one path", loader->path);
	else
		return 0;
	return -EINVAL;
}

int lp_agent_conf_load(const char *path, struct lp_agent_conf **ret_conf, struct lp_buf *error)
{
	struct lp_agent_conf *conf = calloc(1, sizeof *conf);
	struct loader loader = { path, conf, error };
	struct lp_buf text = LP_BUF_INIT;
	struct lp_yaml_node *root;

	if (!conf)
		return -ENOMEM;
	conf->url = "http://localhost:8080";
	conf->api_key = "";
	conf->positions_file = "./positions.json";
	int r = lp_yaml_read(path, LP_YAML_MAX_FILE, &text, error);

	if (!r)
		r = lp_yaml_parse(path, text.data, text.len, true, &conf->arena, &root, error);
	else if (r != -ENOMEM)
		r = -EINVAL;
	if (!r)
		r = take_root(&loader, root);
	if (!r)
		r = finish(&loader);
	lp_buf_free(&text);
	if (r < 0)
		lp_agent_conf_free(&conf);
	else
		*ret_conf = conf;
	return r;
}

void lp_agent_conf_free(struct lp_agent_conf **conf)
{
	if (!*conf)
		return;
	lp_arena_free(&(*conf)->arena);
	free(*conf);
	*conf = NULL;
}
