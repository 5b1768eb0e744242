/* WebSocket framing; see wsframe.h.  Guarantees: what RFC 6455 forbids a client is refused with the close code it names, before
 * more than one message's limit is held in memory.  Process: worker, event loop and tail thread (writing); keeps nothing. */
#include "http/wsframe.h"

#include "common/utf8.h"

#include <openssl/evp.h>
#include <openssl/sha.h>

#include <errno.h>
#include <string.h>

#define CONTROL_MAX 125u
#define MASK_BYTES 4u
#define GUID "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

size_t lp_ws_head(uint8_t out[LP_WS_HEAD_MAX], enum lp_ws_opcode opcode, uint64_t len)
{
	out[0] = 0x80 | (uint8_t)opcode;
	if (len < 126) {
		out[1] = (uint8_t)len;
		return 2;
	}
	if (len <= UINT16_MAX) {
		out[1] = 126;
		out[2] = (uint8_t)(len >> 8);
		out[3] = (uint8_t)len;
		return 4;
	}
	out[1] = 127;
	for (unsigned i = 0; i < 8; i++)
		out[2 + i] = (uint8_t)(len >> (56 - 8 * i));
	return 10;
}

void lp_ws_write(struct lp_buf *out, enum lp_ws_opcode opcode, const void *payload, size_t len)
{
	uint8_t head[LP_WS_HEAD_MAX];

	lp_buf_append(out, head, lp_ws_head(head, opcode, len));
	if (len)
		lp_buf_append(out, payload, len);
}

void lp_ws_write_close(struct lp_buf *out, unsigned code, const char *reason)
{
	uint8_t payload[CONTROL_MAX];
	size_t len = strlen(reason);

	if (len > CONTROL_MAX - 2)
		len = CONTROL_MAX - 2;
	while (len && !lp_utf8_valid(reason, len))      /* never cut inside a character */
		len--;
	payload[0] = (uint8_t)(code >> 8);
	payload[1] = (uint8_t)code;
	memcpy(payload + 2, reason, len);
	lp_ws_write(out, LP_WS_CLOSE, payload, len + 2);
}

int lp_ws_accept(const char *key, size_t len, char out[LP_WS_ACCEPT_LEN + 1])
{
	unsigned char raw[LP_WS_KEY_LEN], digest[SHA_DIGEST_LENGTH];
	char text[LP_WS_KEY_LEN + sizeof GUID];

	/* 24 characters of base64 with two for padding are 16 bytes. */
	if (len != LP_WS_KEY_LEN || key[22] != '=' || key[23] != '=' || memchr(key, '=', 22) ||
	    EVP_DecodeBlock(raw, (const unsigned char *)key, LP_WS_KEY_LEN) < 0)
		return -EINVAL;
	memcpy(text, key, LP_WS_KEY_LEN);
	memcpy(text + LP_WS_KEY_LEN, GUID, sizeof GUID);
	SHA1((const unsigned char *)text, LP_WS_KEY_LEN + sizeof GUID - 1, digest);
	(void)EVP_EncodeBlock((unsigned char *)out, digest, sizeof digest);
	return 0;
}

void lp_ws_free(struct lp_ws *ws)
{
	lp_buf_free(&ws->message);
	ws->in_message = false;
}

size_t lp_ws_max_frame(const struct lp_ws *ws)
{
	return ws->max_bytes + LP_WS_HEAD_MAX + MASK_BYTES;
}

struct head {
	bool fin;
	enum lp_ws_opcode opcode;
	size_t len;                     /* of the head, mask included */
	uint64_t payload;
};

static bool is_control(enum lp_ws_opcode opcode)
{
	return opcode >= LP_WS_CLOSE;
}

/* What may not follow what was there, or not be there at all. */
static int check_head(const struct lp_ws *ws, const struct head *head, uint8_t first, uint8_t second)
{
	if (first & 0x70 || !(second & 0x80))
		return -LP_WS_PROTOCOL_ERROR;   /* no extension was agreed; clients must mask */
	switch (head->opcode) {
	case LP_WS_CONTINUATION:
		return ws->in_message ? 0 : -LP_WS_PROTOCOL_ERROR;
	case LP_WS_TEXT:
	case LP_WS_BINARY:
		return ws->in_message ? -LP_WS_PROTOCOL_ERROR : 0;
	case LP_WS_CLOSE:
	case LP_WS_PING:
	case LP_WS_PONG:
		return head->fin && (second & 0x7f) <= CONTROL_MAX ? 0 : -LP_WS_PROTOCOL_ERROR;
	default:
		return -LP_WS_PROTOCOL_ERROR;
	}
}

/* 1, 0 more bytes needed, negative close code. */
static int read_head(const struct lp_ws *ws, const uint8_t *p, size_t n, struct head *ret)
{
	struct head head = { 0 };
	unsigned wide = 0;

	if (n < 2)
		return 0;
	head.fin = p[0] & 0x80;
	head.opcode = (enum lp_ws_opcode)(p[0] & 0x0f);
	int r = check_head(ws, &head, p[0], p[1]);

	if (r < 0)
		return r;
	head.payload = p[1] & 0x7f;
	if (head.payload == 126)
		wide = 2;
	else if (head.payload == 127)
		wide = 8;
	if (n < 2 + wide)
		return 0;
	if (wide) {
		head.payload = 0;
		for (unsigned i = 0; i < wide; i++)
			head.payload = head.payload << 8 | p[2 + i];
		if (head.payload < (wide == 2 ? 126u : 65536u) || head.payload >> 63)
			return -LP_WS_PROTOCOL_ERROR;   /* the shortest form is the only one */
	}
	head.len = 2 + wide + MASK_BYTES;
	if (!is_control(head.opcode) && head.payload > ws->max_bytes - (head.opcode ? 0 : ws->message.len))
		return -LP_WS_TOO_BIG;
	if (n < head.len)
		return 0;
	*ret = head;
	return 1;
}

static void unmask(uint8_t *to, const uint8_t *p, size_t n, const uint8_t *mask)
{
	for (size_t i = 0; i < n; i++)
		to[i] = p[i] ^ mask[i % MASK_BYTES];
}

static bool close_code_valid(unsigned code)
{
	return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) || (code >= 3000 && code <= 4999);
}

static int control_event(struct lp_ws *ws, const struct head *head, struct lp_ws_event *ret)
{
	*ret = (struct lp_ws_event){ .opcode = head->opcode, .data = ws->control, .len = head->payload };
	if (head->opcode != LP_WS_CLOSE)
		return 1;
	ret->code = LP_WS_NO_STATUS;
	if (!ret->len)
		return 1;
	if (ret->len == 1)
		return -LP_WS_PROTOCOL_ERROR;
	ret->code = (unsigned)ws->control[0] << 8 | ws->control[1];
	if (!close_code_valid(ret->code))
		return -LP_WS_PROTOCOL_ERROR;
	return lp_utf8_valid((const char *)ws->control + 2, ret->len - 2) ? 1 : -LP_WS_BAD_DATA;
}

static int data_frame(struct lp_ws *ws, const struct head *head, const uint8_t *payload, const uint8_t *mask, struct lp_ws_event *ret)
{
	uint8_t *to;

	if (head->opcode != LP_WS_CONTINUATION) {
		lp_buf_reset(&ws->message);
		ws->opcode = head->opcode;
	}
	to = lp_buf_reserve(&ws->message, head->payload);
	if (!to && head->payload)
		return -LP_WS_INTERNAL;
	if (head->payload)
		unmask(to, payload, head->payload, mask);
	ws->message.len += head->payload;
	ws->in_message = !head->fin;
	if (!head->fin)
		return 0;
	*ret = (struct lp_ws_event){ .opcode = ws->opcode, .data = ws->message.data ? ws->message.data : ws->control, .len = ws->message.len };
	if (ws->opcode == LP_WS_TEXT && !lp_utf8_valid((const char *)ret->data, ret->len))
		return -LP_WS_BAD_DATA;
	return 1;
}

int lp_ws_next(struct lp_ws *ws, const uint8_t *p, size_t n, size_t *ret_used, struct lp_ws_event *ret_event)
{
	struct head head;
	int r = read_head(ws, p, n, &head);

	*ret_used = 0;
	if (r <= 0 || n - head.len < head.payload)
		return r < 0 ? r : 0;
	const uint8_t *mask = p + head.len - MASK_BYTES, *payload = p + head.len;

	*ret_used = head.len + (size_t)head.payload;
	if (!is_control(head.opcode))
		return data_frame(ws, &head, payload, mask, ret_event);
	unmask(ws->control, payload, (size_t)head.payload, mask);
	return control_event(ws, &head, ret_event);
}
