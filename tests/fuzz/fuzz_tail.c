/* What a live tail's client may send.  Frames: any split of the bytes gives the same events, no event breaks the limits, what is
 * text is UTF-8.  Messages: an accepted one makes a LogQL text whose filters are exactly those that were asked for. */
#include "tests/fuzz/fuzz.h"

#include "common/assert.h"
#include "common/utf8.h"
#include "http/tailmsg.h"
#include "http/wsframe.h"
#include "query/logql/ast.h"

#include <errno.h>
#include <string.h>

#define MAX_MESSAGE 4096u

/* All events of the stream, as bytes, with its end; at most `piece` bytes are shown beyond what was needed so far. */
static void events_of(const uint8_t *data, size_t size, size_t piece, struct lp_buf *out)
{
	struct lp_ws ws = { .max_bytes = MAX_MESSAGE };
	size_t at = 0, shown = 0;

	for (;;) {
		struct lp_ws_event event;
		size_t used;
		int r = lp_ws_next(&ws, data + at, shown - at, &used, &event);

		LP_ASSERT(used <= shown - at && r <= 1);
		at += used;
		if (r < 0) {
			LP_ASSERT(-r >= 1000 && -r < 1015);
			lp_buf_printf(out, "end %d", -r);
			break;
		}
		if (r > 0) {
			LP_ASSERT(event.opcode != LP_WS_CONTINUATION && event.len <= MAX_MESSAGE);
			LP_ASSERT(event.opcode != LP_WS_TEXT || lp_utf8_valid(event.data, event.len));
			LP_ASSERT(event.opcode < LP_WS_CLOSE || event.len <= 125);
			lp_buf_printf(out, "%d %zu %u ", event.opcode, event.len, event.opcode == LP_WS_CLOSE ? event.code : 0);
			lp_buf_append(out, event.data, event.len);
		} else if (!used) {
			if (shown == size)
				break;
			shown = size - shown < piece ? size : shown + piece;
		}
		LP_ASSERT(shown - at <= lp_ws_max_frame(&ws) + piece);
	}
	lp_ws_free(&ws);
}

static void frames(const uint8_t *data, size_t size)
{
	struct lp_buf whole = LP_BUF_INIT, bytes = LP_BUF_INIT;

	events_of(data, size, size + 1, &whole);
	events_of(data, size, 1, &bytes);
	LP_ASSERT(whole.len == bytes.len && (!whole.len || memcmp(whole.data, bytes.data, whole.len) == 0));
	lp_buf_free(&whole);
	lp_buf_free(&bytes);
}

static void message(const uint8_t *data, size_t size)
{
	struct lp_arena arena = { 0 };
	struct lp_buf error = LP_BUF_INIT, text = LP_BUF_INIT;
	struct lp_tail_wish wish;
	struct lp_logql *logql = NULL;
	int r = lp_tail_message_parse(data, size, &arena, &wish, &error);

	if (r < 0) {
		LP_ASSERT(r == -EINVAL && error.len);
	} else {
		lp_tail_wish_text(&wish, &text);
		/* Filters alone are always a query, of these matchers and no others. */
		if (!wish.query_len && wish.n_filters && lp_utf8_valid(text.data, text.len)) {
			r = lp_logql_parse((const char *)text.data, text.len, &logql, &error);
			LP_ASSERT(r == 0 || (r == -EINVAL && error.len));       /* all values empty, or a name that is a word of LogQL */
			for (uint32_t i = 0; r == 0 && i < wish.n_filters; i++) {
				const struct lp_matcher *m = &logql->root->log.matchers[i];

				LP_ASSERT(logql->root->log.n_matchers == wish.n_filters && m->op == LP_MATCH_EQ);
				LP_ASSERT(m->name.len == wish.filters[i].name_len && m->value.len == wish.filters[i].value_len);
				LP_ASSERT(!m->value.len || memcmp(m->value.s, wish.filters[i].value, m->value.len) == 0);
			}
			lp_logql_free(&logql);
		}
	}
	lp_buf_free(&error);
	lp_buf_free(&text);
	lp_arena_free(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	frames(data, size);
	message(data, size);
	return 0;
}
