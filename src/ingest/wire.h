/* The protobuf wire format: fields one after another (protobuf.dev "Encoding").  Process: worker; memory only. */
#ifndef LP_INGEST_LP_WIRE_H
#define LP_INGEST_LP_WIRE_H

#include "common/bytes.h"
#include "ingest/decode-private.h"

struct lp_wire {
	const uint8_t *p, *end;
};

enum { LP_WIRE_VARINT = 0, LP_WIRE_FIXED64 = 1, LP_WIRE_BYTES = 2, LP_WIRE_FIXED32 = 5 };

struct lp_wire_field {
	uint32_t number, type;
	uint64_t value;                 /* varint, fixed64, fixed32 */
	struct lp_wire bytes;           /* LP_WIRE_BYTES */
};

static inline int lp_wire_corrupt(struct lp_push *push, const char *what)
{
	return lp_push_fatal(push, "invalid protobuf: %s", what);
}

static inline const uint8_t *lp_wire_varint(const uint8_t *p, const uint8_t *end, uint64_t *ret)
{
	if (p < end && *p < 0x80) {
		*ret = *p;
		return p + 1;
	}
	return lp_varint_get(p, end, ret);
}

/* 1 and the next field, 0 at the end, -EBADMSG. */
static inline int lp_wire_next(struct lp_push *push, struct lp_wire *w, struct lp_wire_field *ret)
{
	uint64_t tag, v;

	if (w->p == w->end)
		return 0;
	w->p = lp_wire_varint(w->p, w->end, &tag);
	if (!w->p || tag >> 3 == 0 || tag >> 3 > 0x1fffffff)
		return lp_wire_corrupt(push, "bad field tag");
	ret->number = (uint32_t)(tag >> 3);
	ret->type = tag & 7;
	switch (ret->type) {
	case LP_WIRE_VARINT:
		w->p = lp_wire_varint(w->p, w->end, &ret->value);
		return w->p ? 1 : lp_wire_corrupt(push, "bad varint");
	case LP_WIRE_BYTES:
		w->p = lp_wire_varint(w->p, w->end, &v);
		if (!w->p || v > (uint64_t)(w->end - w->p))
			return lp_wire_corrupt(push, "unexpected EOF");
		ret->bytes = (struct lp_wire){ w->p, w->p + v };
		w->p += v;
		return 1;
	case LP_WIRE_FIXED64:
	case LP_WIRE_FIXED32:
		v = ret->type == LP_WIRE_FIXED64 ? 8 : 4;
		if ((uint64_t)(w->end - w->p) < v)
			return lp_wire_corrupt(push, "unexpected EOF");
		ret->value = v == 8 ? lp_le64(w->p) : lp_le32(w->p);
		w->p += v;
		return 1;
	default:
		return lp_wire_corrupt(push, "unknown wire type");
	}
}

#endif
