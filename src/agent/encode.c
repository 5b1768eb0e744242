/* A batch as the MessagePack form of POST /ingest: {"streams": [{"labels": {..}, "entries": [{"ts", "line"}]}]}, one stream
 * per level.  Pure. */
#include "agent/agent.h"
#include "common/rfc3339.h"
#include "common/utf8.h"

#include <errno.h>
#include <msgpack.h>
#include <string.h>

static const char *const levels[] = { "info", "error", "warn", "debug" };

static bool contains(const char *line, size_t len, const char *word)
{
	size_t n = strlen(word);

	for (size_t i = 0; i + n <= len; i++) {
		size_t k = 0;

		while (k < n && (line[i + k] | 0x20) == word[k])
			k++;
		if (k == n)
			return true;
	}
	return false;
}

/* The original agent's rule, per line; "err" covers "error". */
static unsigned level_of(const char *line, size_t len)
{
	return contains(line, len, "err") ? 1 : contains(line, len, "warn") ? 2 : contains(line, len, "debug") ? 3 : 0;
}

const char *lp_agent_level(const char *line, size_t len)
{
	return levels[level_of(line, len)];
}

static int append(void *out, const char *p, size_t n)
{
	lp_buf_append(out, p, n);
	return 0;
}

static void pack_text(msgpack_packer *packer, const char *p, size_t n)
{
	msgpack_pack_str(packer, n);
	msgpack_pack_str_body(packer, p, n);
}

static void pack_cstr(msgpack_packer *packer, const char *s)
{
	pack_text(packer, s, strlen(s));
}

/* A line is text: bytes that are no UTF-8 become U+FFFD, so that one of them cannot have a whole batch refused. */
static void pack_line(msgpack_packer *packer, const char *p, size_t n, struct lp_buf *scratch)
{
	if (lp_utf8_valid(p, n)) {
		pack_text(packer, p, n);
		return;
	}
	lp_buf_reset(scratch);
	for (size_t i = 0; i < n;) {
		unsigned len = lp_utf8_seq((const uint8_t *)p + i, n - i);

		if (len)
			lp_buf_append(scratch, p + i, len);
		else
			lp_buf_str(scratch, "\xef\xbf\xbd");
		i += len ? len : 1;
	}
	pack_text(packer, (const char *)scratch->data, scratch->len);
}

static bool has_label(const struct lp_agent_target *target, const char *name)
{
	for (size_t i = 0; i < target->n_labels; i++)
		if (!strcmp(target->labels[i].name, name))
			return true;
	return false;
}

static void pack_labels(msgpack_packer *packer, const struct lp_tail_file *file, const char *level)
{
	const struct lp_agent_target *target = file->target;
	const char *slash = strrchr(file->path, '/');
	bool filename = has_label(target, "filename"), own_level = has_label(target, "level");

	msgpack_pack_map(packer, target->n_labels + !filename + !own_level);
	for (size_t i = 0; i < target->n_labels; i++) {
		pack_cstr(packer, target->labels[i].name);
		pack_cstr(packer, target->labels[i].value);
	}
	if (!filename) {
		pack_cstr(packer, "filename");
		pack_cstr(packer, slash ? slash + 1 : file->path);
	}
	if (!own_level) {
		pack_cstr(packer, "level");
		pack_cstr(packer, level);
	}
}

int lp_agent_encode(const struct lp_tail_batch *batch, int64_t ts_ns, struct lp_buf *out)
{
	uint32_t counts[4] = { 0 }, streams = 0;
	struct lp_buf scratch = LP_BUF_INIT;
	uint8_t level[LP_AGENT_MAX_LINES];
	char ts[LP_RFC3339_MAX];
	msgpack_packer packer;

	for (uint32_t i = 0; i < batch->n; i++) {
		level[i] = (uint8_t)level_of(batch->text + batch->lines[i].off, batch->lines[i].len);
		streams += !counts[level[i]]++;
	}
	lp_buf_reset(out);
	msgpack_packer_init(&packer, out, append);
	msgpack_pack_map(&packer, 1);
	pack_cstr(&packer, "streams");
	msgpack_pack_array(&packer, streams);
	for (unsigned l = 0; l < 4; l++) {
		if (!counts[l])
			continue;
		msgpack_pack_map(&packer, 2);
		pack_cstr(&packer, "labels");
		pack_labels(&packer, batch->file, levels[l]);
		pack_cstr(&packer, "entries");
		msgpack_pack_array(&packer, counts[l]);
		for (uint32_t i = 0; i < batch->n; i++) {
			if (level[i] != l)
				continue;
			msgpack_pack_map(&packer, 2);
			pack_cstr(&packer, "ts");
			pack_text(&packer, ts, lp_rfc3339_format(ts, ts_ns + i));
			pack_cstr(&packer, "line");
			pack_line(&packer, batch->text + batch->lines[i].off, batch->lines[i].len, &scratch);
		}
	}
	int r = out->failed || scratch.failed ? -ENOMEM : 0;

	lp_buf_free(&scratch);
	return r;
}
