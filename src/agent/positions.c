/* The position file: [{"path","offset","dev","inode","head_bytes","head_crc"}], JSON.  Only acknowledged positions are ever
 * written.  If the agent dies before a save, lines are sent again, never skipped. */
#include "agent/agent-private.h"
#include "common/jsonw.h"
#include "conf/yaml.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_POSITIONS_FILE (16u << 20)

static void take_number(const struct lp_yaml_node *node, int64_t *ret_v)
{
	*ret_v = node->kind == LP_YAML_SCALAR ? strtoll(node->value, NULL, 10) : -1;
}

static int take_entry(struct lp_tail *tail, const struct lp_yaml_node *map)
{
	int64_t offset = -1, dev = 0, ino = 0, bytes = 0, crc = 0;
	const char *path = NULL;

	if (map->kind != LP_YAML_MAP)
		return -EINVAL;
	for (const struct lp_yaml_node *node = map->child; node; node = node->next) {
		if (!strcmp(node->key, "path") && node->kind == LP_YAML_SCALAR)
			path = node->value;
		else if (!strcmp(node->key, "offset"))
			take_number(node, &offset);
		else if (!strcmp(node->key, "dev"))
			take_number(node, &dev);
		else if (!strcmp(node->key, "inode"))
			take_number(node, &ino);
		else if (!strcmp(node->key, "head_bytes"))
			take_number(node, &bytes);
		else if (!strcmp(node->key, "head_crc"))
			take_number(node, &crc);
	}
	if (!path || offset < 0 || bytes < 0 || bytes > LP_AGENT_HEAD || crc < 0 || crc > UINT32_MAX)
		return -EINVAL;
	struct lp_tail_file *file = lp_tail_file_new(path);

	if (!file)
		return -ENOMEM;
	file->offset = offset;
	file->dev = (dev_t)dev;
	file->ino = (ino_t)ino;
	file->head_bytes = (uint32_t)bytes;
	file->head_crc = (uint32_t)crc;
	file->next = tail->files;
	tail->files = file;
	return 0;
}

int lp_positions_load(struct lp_tail *tail, struct lp_buf *error)
{
	const char *path = tail->conf->positions_file;
	struct lp_arena arena = LP_ARENA_INIT;
	struct lp_buf text = LP_BUF_INIT, reason = LP_BUF_INIT;
	struct lp_yaml_node *root = NULL;
	int r = lp_yaml_read(path, MAX_POSITIONS_FILE, &text, &reason);

	if (!r) {
		r = lp_yaml_parse(path, text.data, text.len, false, &arena, &root, &reason);
		if (!r && root->kind != LP_YAML_LIST && root->child)
			r = -EINVAL;
		for (const struct lp_yaml_node *item = r ? NULL : root->child; item && !r; item = item->next)
			r = take_entry(tail, item);
		if (r == -EINVAL && !reason.len)
			lp_buf_printf(&reason, "%s: not a position file; move it away to read every file from its start", path);
	} else if (r == -ENOENT) {
		lp_buf_reset(&reason);
		r = 0;
	}
	lp_buf_str(error, lp_buf_cstr(&reason));
	lp_arena_free(&arena);
	lp_buf_free(&text);
	lp_buf_free(&reason);
	return r;
}

static int write_file(const char *path, const struct lp_buf *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600), r = 0;
	size_t done = 0;

	if (fd < 0)
		return -errno;
	while (done < text->len && !r) {
		ssize_t n = write(fd, text->data + done, text->len - done);

		if (n > 0)
			done += (size_t)n;
		else if (errno != EINTR)
			r = -errno;
	}
	if (!r && fdatasync(fd) < 0)
		r = -errno;
	close(fd);
	return r;
}

int lp_tail_save(struct lp_tail *tail)
{
	const char *path = tail->conf->positions_file;
	struct lp_buf text = LP_BUF_INIT;
	const char *comma = "";
	char temporary[4096];
	int r = 0;

	if (!tail->dirty)
		return 0;
	if ((size_t)snprintf(temporary, sizeof temporary, "%s.tmp", path) >= sizeof temporary)
		return -ENAMETOOLONG;
	lp_buf_str(&text, "[");
	for (const struct lp_tail_file *file = tail->files; file; file = file->next) {
		lp_buf_printf(&text, "%s\n{\"path\": ", comma);
		lp_jsonw_cstr(&text, file->path);
		lp_buf_printf(&text, ", \"offset\": %" PRId64 ", \"dev\": %ju, \"inode\": %ju, \"head_bytes\": %u, \"head_crc\": %u}",
			      file->offset, (uintmax_t)file->dev, (uintmax_t)file->ino, file->head_bytes, file->head_crc);
		comma = ",";
	}
	lp_buf_str(&text, "\n]\n");
	r = text.failed ? -ENOMEM : write_file(temporary, &text);
	/* The directory is not synced: after a power cut an older file means lines sent again, not lines lost. */
	if (!r && rename(temporary, path) < 0)
		r = -errno;
	if (!r)
		tail->dirty = false;
	lp_buf_free(&text);
	return r;
}
