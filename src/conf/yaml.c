/* YAML reader: libyaml's event parser into a small tree.  Bounded in size, depth, nodes and keys; whatever it does not
 * understand it refuses with the line.  Pure: reads the environment for ${VAR}, nothing else. */
#include "conf/yaml.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <yaml.h>

struct reader {
	yaml_parser_t parser;
	struct lp_arena *arena;
	struct lp_buf *error;
	const char *name;
	bool expand;
	uint32_t nodes;
};

static int fail(struct reader *reader, size_t line, const char *reason)
{
	lp_buf_printf(reader->error, "%s:%zu: %s", reader->name, line, reason);
	return -EINVAL;
}

static int no_memory(struct reader *reader)
{
	lp_buf_printf(reader->error, "%s: out of memory", reader->name);
	return -ENOMEM;
}

static int next_event(struct reader *reader, yaml_event_t *event)
{
	yaml_parser_t *parser = &reader->parser;

	if (yaml_parser_parse(parser, event))
		return 0;
	if (parser->error == YAML_MEMORY_ERROR)
		return no_memory(reader);
	lp_buf_printf(reader->error, "%s:%zu: not valid YAML: %s%s%s", reader->name, parser->problem_mark.line + 1,
		      parser->problem ? parser->problem : "syntax error", parser->context ? " " : "",
		      parser->context ? parser->context : "");
	return -EINVAL;
}

/* One ${...} at p, which points behind "${".  Returns the byte after "}" or NULL with the reason in error. */
static const char *expand_one(struct reader *reader, const char *p, size_t line, struct lp_buf *out)
{
	const char *end = strchr(p, '}'), *colon;
	char name[128];

	if (!end) {
		fail(reader, line, "${ has no closing }; write $${ for a plain ${");
		return NULL;
	}
	colon = memchr(p, ':', (size_t)(end - p));
	size_t len = (size_t)((colon ? colon : end) - p);

	if (!len || len >= sizeof name || (colon && colon[1] != '-') ||
	    strspn(p, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_") != len) {
		fail(reader, line, "expected ${NAME} or ${NAME:-default}; write $${ for a plain ${");
		return NULL;
	}
	memcpy(name, p, len);
	name[len] = 0;
	const char *value = getenv(name);

	if (value && (*value || !colon)) {
		lp_buf_str(out, value);
	} else if (colon) {
		lp_buf_append(out, colon + 2, (size_t)(end - colon - 2));
	} else {
		lp_buf_printf(reader->error, "%s:%zu: the environment has no %s; ${%s:-default} gives it a default",
			      reader->name, line, name, name);
		return NULL;
	}
	return end + 1;
}

static int expand(struct reader *reader, const char *text, size_t line, const char **ret_value)
{
	struct lp_buf out = { .max = LP_YAML_MAX_VALUE };
	int r = 0;

	while (*text) {
		size_t plain = strcspn(text, "$");

		lp_buf_append(&out, text, plain);
		text += plain;
		if (!strncmp(text, "$${", 3)) {
			lp_buf_str(&out, "${");
			text += 3;
		} else if (!strncmp(text, "${", 2)) {
			text = expand_one(reader, text + 2, line, &out);
			if (!text) {
				r = -EINVAL;
				break;
			}
		} else if (*text) {
			lp_buf_byte(&out, (uint8_t)*text++);
		}
	}
	if (!r && out.failed)
		r = fail(reader, line, "the value is longer than 65536 bytes after expansion");
	if (!r) {
		*ret_value = lp_arena_strndup(reader->arena, (char *)out.data, out.len);
		r = *ret_value ? 0 : no_memory(reader);
	}
	lp_buf_free(&out);
	return r;
}

static struct lp_yaml_node *new_node(struct reader *reader, enum lp_yaml_kind kind, size_t line)
{
	struct lp_yaml_node *node = NULL;

	if (++reader->nodes > LP_YAML_MAX_NODES) {
		(void)fail(reader, line, "too many values in one file");
		return NULL;
	}
	node = lp_arena_zalloc(reader->arena, sizeof *node);
	if (!node) {
		(void)no_memory(reader);
		return NULL;
	}
	node->kind = kind;
	node->line = (uint32_t)line;
	node->value = "";
	return node;
}

static int read_scalar(struct reader *reader, const yaml_event_t *event, bool may_expand, struct lp_yaml_node **ret_node)
{
	size_t line = event->start_mark.line + 1, len = event->data.scalar.length;
	const char *text = (const char *)event->data.scalar.value;

	if (event->data.scalar.anchor || event->data.scalar.tag)
		return fail(reader, line, "anchors, aliases and tags are not supported");
	if (memchr(text, 0, len))
		return fail(reader, line, "a NUL character is not allowed");
	if (len > LP_YAML_MAX_VALUE)
		return fail(reader, line, "the value is longer than 65536 bytes");
	struct lp_yaml_node *node = new_node(reader, LP_YAML_SCALAR, line);

	if (!node)
		return -EINVAL;
	if (event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE && (!len || !strcmp(text, "~") || !strcmp(text, "null"))) {
		node->null = true;
	} else if (may_expand) {
		int r = expand(reader, text, line, &node->value);

		if (r < 0)
			return r;
	} else {
		node->value = lp_arena_strndup(reader->arena, text, len);
		if (!node->value)
			return no_memory(reader);
	}
	*ret_node = node;
	return 0;
}

static int read_node(struct reader *reader, const yaml_event_t *event, unsigned depth, struct lp_yaml_node **ret_node);

static int read_list(struct reader *reader, struct lp_yaml_node *list, unsigned depth)
{
	struct lp_yaml_node **link = &list->child;

	for (;;) {
		yaml_event_t event;
		int r = next_event(reader, &event);

		if (r < 0)
			return r;
		if (event.type == YAML_SEQUENCE_END_EVENT) {
			yaml_event_delete(&event);
			return 0;
		}
		r = read_node(reader, &event, depth, link);
		yaml_event_delete(&event);
		if (r < 0)
			return r;
		link = &(*link)->next;
	}
}

static int check_key(struct reader *reader, const struct lp_yaml_node *map, const struct lp_yaml_node *key)
{
	unsigned n = 0;

	for (const struct lp_yaml_node *other = map->child; other; other = other->next) {
		if (++n >= LP_YAML_MAX_KEYS)
			return fail(reader, key->line, "too many keys in one section");
		if (!strcmp(other->key, key->value)) {
			lp_buf_printf(reader->error, "%s:%u: %.64s: duplicate key, first given in line %u", reader->name,
				      key->line, key->value, other->line);
			return -EINVAL;
		}
	}
	return 0;
}

static int read_map(struct reader *reader, struct lp_yaml_node *map, unsigned depth)
{
	struct lp_yaml_node **link = &map->child;

	for (;;) {
		struct lp_yaml_node *key = NULL;
		yaml_event_t event;
		int r = next_event(reader, &event);

		if (r < 0)
			return r;
		if (event.type == YAML_MAPPING_END_EVENT) {
			yaml_event_delete(&event);
			return 0;
		}
		if (event.type == YAML_SCALAR_EVENT)
			r = read_scalar(reader, &event, false, &key);
		else
			r = fail(reader, event.start_mark.line + 1, "a key must be a plain name");
		yaml_event_delete(&event);
		if (!r)
			r = check_key(reader, map, key);
		if (!r)
			r = next_event(reader, &event);
		if (r < 0)
			return r;
		struct lp_yaml_node *node = NULL;

		r = read_node(reader, &event, depth, &node);
		yaml_event_delete(&event);
		if (r < 0)
			return r;
		node->key = key->value;
		node->line = key->line;
		*link = node;
		link = &node->next;
	}
}

/* The caller owns the event. */
static int read_node(struct reader *reader, const yaml_event_t *event, unsigned depth, struct lp_yaml_node **ret_node)
{
	size_t line = event->start_mark.line + 1;
	bool map = event->type == YAML_MAPPING_START_EVENT;

	if (event->type == YAML_SCALAR_EVENT)
		return read_scalar(reader, event, reader->expand, ret_node);
	if (!map && event->type != YAML_SEQUENCE_START_EVENT)
		return fail(reader, line, "anchors, aliases and tags are not supported");
	if (map ? event->data.mapping_start.anchor || event->data.mapping_start.tag
		: event->data.sequence_start.anchor || event->data.sequence_start.tag)
		return fail(reader, line, "anchors, aliases and tags are not supported");
	if (depth >= LP_YAML_MAX_DEPTH)
		return fail(reader, line, "nested too deeply");
	struct lp_yaml_node *node = new_node(reader, map ? LP_YAML_MAP : LP_YAML_LIST, line);

	if (!node)
		return -EINVAL;
	/* Linked before it is complete: on failure the whole tree is given up. */
	*ret_node = node;
	return map ? read_map(reader, node, depth + 1) : read_list(reader, node, depth + 1);
}

static int read_document(struct reader *reader, struct lp_yaml_node **ret_root)
{
	struct lp_yaml_node *root = NULL;

	for (;;) {
		yaml_event_t event;
		int r = next_event(reader, &event);

		if (r < 0)
			return r;
		yaml_event_type_t type = event.type;

		if (type == YAML_DOCUMENT_START_EVENT && root)
			r = fail(reader, event.start_mark.line + 1, "more than one document in the file");
		else if (type != YAML_STREAM_START_EVENT && type != YAML_DOCUMENT_START_EVENT &&
			 type != YAML_DOCUMENT_END_EVENT && type != YAML_STREAM_END_EVENT)
			r = read_node(reader, &event, 0, &root);
		yaml_event_delete(&event);
		if (r < 0)
			return r;
		if (type == YAML_STREAM_END_EVENT)
			break;
	}
	if (!root || root->null) {
		root = new_node(reader, LP_YAML_MAP, 1);
		if (!root)
			return -ENOMEM;
	}
	*ret_root = root;
	return 0;
}

int lp_yaml_parse(const char *name, const void *data, size_t len, bool may_expand, struct lp_arena *arena,
		  struct lp_yaml_node **ret_root, struct lp_buf *error)
{
	struct reader reader = { .arena = arena, .error = error, .name = name, .expand = may_expand };

	if (!yaml_parser_initialize(&reader.parser))
		return no_memory(&reader);
	yaml_parser_set_encoding(&reader.parser, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(&reader.parser, len ? data : (const unsigned char *)"", len);
	int r = read_document(&reader, ret_root);

	yaml_parser_delete(&reader.parser);
	return r;
}

int lp_yaml_read(const char *path, size_t max_bytes, struct lp_buf *buf, struct lp_buf *error)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY), r = 0;

	if (fd < 0) {
		r = -errno;
		lp_buf_printf(error, "%s: cannot open: %s", path, strerror(-r));
		return r;
	}
	while (!r) {
		void *to = lp_buf_reserve(buf, 16384);
		ssize_t n = to ? read(fd, to, 16384) : 0;

		if (!to) {
			r = -ENOMEM;
			lp_buf_printf(error, "%s: out of memory", path);
		} else if (n < 0 && errno != EINTR) {
			r = -errno;
			lp_buf_printf(error, "%s: cannot read: %s", path, strerror(-r));
		} else if (!n) {
			break;
		} else if (n > 0) {
			buf->len += (size_t)n;
			if (buf->len > max_bytes) {
				r = -EFBIG;
				lp_buf_printf(error, "%s: larger than %zu bytes", path, max_bytes);
			}
		}
	}
	close(fd);
	return r;
}
