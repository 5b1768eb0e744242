/* WebSocket framing, RFC 6455, as a server needs it.  Pure functions over memory, any process.
 *
 * Why not libwslay: a line for a thousand tails is framed once and shared (frames to clients are not masked), where wslay copies
 * every message into every connection's queue. */
#ifndef LP_HTTP_WSFRAME_H
#define LP_HTTP_WSFRAME_H

#include "common/buf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LP_WS_HEAD_MAX 10u              /* of a frame that is sent */
#define LP_WS_KEY_LEN 24u               /* Sec-WebSocket-Key */
#define LP_WS_ACCEPT_LEN 28u

enum lp_ws_opcode { LP_WS_CONTINUATION = 0, LP_WS_TEXT = 1, LP_WS_BINARY = 2, LP_WS_CLOSE = 8, LP_WS_PING = 9, LP_WS_PONG = 10 };

/* Close codes that are used here. */
enum { LP_WS_NORMAL = 1000, LP_WS_GOING_AWAY = 1001, LP_WS_PROTOCOL_ERROR = 1002, LP_WS_UNSUPPORTED = 1003, LP_WS_NO_STATUS = 1005,
       LP_WS_BAD_DATA = 1007, LP_WS_POLICY = 1008, LP_WS_TOO_BIG = 1009, LP_WS_INTERNAL = 1011, LP_WS_TRY_LATER = 1013 };

/* Head of an unfragmented, unmasked frame; returns its length. */
size_t lp_ws_head(uint8_t out[LP_WS_HEAD_MAX], enum lp_ws_opcode opcode, uint64_t payload_len);
/* A whole control or data frame. */
void lp_ws_write(struct lp_buf *out, enum lp_ws_opcode opcode, const void *payload, size_t len);
/* A close frame; the reason is cut to what fits. */
void lp_ws_write_close(struct lp_buf *out, unsigned code, const char *reason);
/* Sec-WebSocket-Accept for a key.  -EINVAL: the key is not 16 bytes in base64. */
int lp_ws_accept(const char *key, size_t len, char out[LP_WS_ACCEPT_LEN + 1]);

/* Reading what a client sends. */
struct lp_ws {
	size_t max_bytes;               /* of one message; larger: 1009 */
	struct lp_buf message;          /* fragments so far, unmasked; control payloads go to `control` */
	uint8_t control[126];
	bool in_message;
	enum lp_ws_opcode opcode;       /* of the fragmented message */
};

struct lp_ws_event {
	enum lp_ws_opcode opcode;       /* never LP_WS_CONTINUATION */
	const uint8_t *data;            /* valid until the next call; text is valid UTF-8 */
	size_t len;
	unsigned code;                  /* LP_WS_CLOSE: the peer's, or LP_WS_NO_STATUS */
};

/* Take one frame from [p, p + n).  1: a message or control frame is complete, in ret_event; 0: none is; negative: minus the close
 * code of what is wrong.  *ret_used: bytes to consume; with 0 and 0 used more bytes are needed. */
int lp_ws_next(struct lp_ws *ws, const uint8_t *p, size_t n, size_t *ret_used, struct lp_ws_event *ret_event);
/* How many bytes may be needed in one piece for lp_ws_next() to make progress. */
size_t lp_ws_max_frame(const struct lp_ws *ws);
void lp_ws_free(struct lp_ws *ws);

#endif
