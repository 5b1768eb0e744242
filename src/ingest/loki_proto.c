/* Loki's protobuf push, from the wire format (feature reference 2.6; protobuf.dev "Encoding"):
 *
 *   PushRequest    1 streams: StreamAdapter, repeated
 *   StreamAdapter  1 labels: string | 2 entries: EntryAdapter, repeated | 3 hash
 *   EntryAdapter   1 timestamp {1 seconds, 2 nanos} | 2 line | 3 metadata: LabelPair, repeated | 4 parsed
 *   LabelPair      1 name | 2 value
 *
 * Fields in any order, unknown fields passed over; of a repeated single field the last counts.  Lines are copied
 * once, into the batch.  Process: worker; memory only; hostile lengths end in a refused body. */
#include "ingest/decode-private.h"

#include "common/bytes.h"

#include <errno.h>

struct wire {
	const uint8_t *p, *end;
};

enum { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_BYTES = 2, WIRE_FIXED32 = 5 };

struct field {
	uint32_t number, type;
	uint64_t value;                 /* varint */
	struct wire bytes;              /* WIRE_BYTES */
};

static int corrupt(struct lp_push *push, const char *what)
{
	return lp_push_fatal(push, "invalid protobuf: %s", what);
}

static inline const uint8_t *varint(const uint8_t *p, const uint8_t *end, uint64_t *ret)
{
	if (p < end && *p < 0x80) {
		*ret = *p;
		return p + 1;
	}
	return lp_varint_get(p, end, ret);
}

/* 1 and the next field, 0 at the end, -EBADMSG. */
static inline int next_field(struct lp_push *push, struct wire *w, struct field *ret)
{
	uint64_t tag, v;

	if (w->p == w->end)
		return 0;
	w->p = varint(w->p, w->end, &tag);
	if (!w->p || tag >> 3 == 0 || tag >> 3 > 0x1fffffff)
		return corrupt(push, "bad field tag");
	ret->number = (uint32_t)(tag >> 3);
	ret->type = tag & 7;
	switch (ret->type) {
	case WIRE_VARINT:
		w->p = varint(w->p, w->end, &ret->value);
		return w->p ? 1 : corrupt(push, "bad varint");
	case WIRE_BYTES:
		w->p = varint(w->p, w->end, &v);
		if (!w->p || v > (uint64_t)(w->end - w->p))
			return corrupt(push, "unexpected EOF");
		ret->bytes = (struct wire){ w->p, w->p + v };
		w->p += v;
		return 1;
	case WIRE_FIXED64:
	case WIRE_FIXED32:
		v = ret->type == WIRE_FIXED64 ? 8 : 4;
		if ((uint64_t)(w->end - w->p) < v)
			return corrupt(push, "unexpected EOF");
		w->p += v;
		return 1;
	default:
		return corrupt(push, "unknown wire type");
	}
}

static int read_timestamp(struct lp_push *push, struct wire w, int64_t *ret_seconds, int32_t *ret_nanos)
{
	struct field f;
	int r;

	while ((r = next_field(push, &w, &f)) == 1) {
		if (f.number == 1 && f.type == WIRE_VARINT)
			*ret_seconds = (int64_t)f.value;
		else if (f.number == 2 && f.type == WIRE_VARINT)
			*ret_nanos = (int32_t)(uint32_t)f.value;
	}
	return r;
}

static int read_metadata(struct lp_push *push, struct wire w)
{
	struct wire name = { w.p, w.p }, value = { w.p, w.p };
	struct field f;
	int r;

	while ((r = next_field(push, &w, &f)) == 1) {
		if (f.number == 1 && f.type == WIRE_BYTES)
			name = f.bytes;
		else if (f.number == 2 && f.type == WIRE_BYTES)
			value = f.bytes;
	}
	return r < 0 ? r : lp_push_meta(push, (const char *)name.p, (size_t)(name.end - name.p), (const char *)value.p,
					(size_t)(value.end - value.p));
}

static int read_entry(struct lp_push *push, struct wire w)
{
	struct wire line = { w.p, w.p };
	int64_t seconds = 0;
	int32_t nanos = 0;
	struct field f;
	int r;

	while ((r = next_field(push, &w, &f)) == 1) {
		if (f.type != WIRE_BYTES)
			continue;
		if (f.number == 2)
			line = f.bytes;
		else if (f.number == 1)
			r = read_timestamp(push, f.bytes, &seconds, &nanos);
		else if (f.number == 3)
			r = read_metadata(push, f.bytes);
		if (r < 0)
			return r;
	}
	if (r < 0)
		return r;
	__int128 ts = (__int128)seconds * 1000000000 + nanos;

	if (ts < INT64_MIN || ts > INT64_MAX) {
		lp_push_entry_out_of_time(push, ts > 0);
		return 0;
	}
	return lp_push_entry_copy(push, (int64_t)ts, (const char *)line.p, (size_t)(line.end - line.p));
}

static int add_label(void *ctx, const char *name, size_t name_len, const char *value, size_t value_len)
{
	return lp_push_label(ctx, name, name_len, value, value_len);
}

static int begin_stream(struct lp_push *push, struct wire labels)
{
	struct lp_label_sink sink = { add_label, push, &push->arena };
	struct lp_buf error = LP_BUF_INIT;
	const char *text = NULL;

	lp_buf_str(&error, "couldn't parse labels: ");
	int r = lp_label_string_scan((const char *)labels.p, (size_t)(labels.end - labels.p), &sink, &error);

	if (r == -EINVAL) {
		text = lp_buf_cstr(&error);
		r = 0;
	}
	if (!r)
		r = lp_push_stream(push, text, false);
	lp_buf_free(&error);
	return r;
}

/* A pass over the heads of the fields; the last labels count. */
static int find_labels(struct lp_push *push, struct wire w, struct wire *ret_labels)
{
	struct field f;
	int r;

	*ret_labels = (struct wire){ w.p, w.p };
	while ((r = next_field(push, &w, &f)) == 1)
		if (f.number == 1 && f.type == WIRE_BYTES)
			*ret_labels = f.bytes;
	return r;
}

static int read_stream(struct lp_push *push, struct wire w)
{
	struct wire labels;
	struct field f;
	int r = find_labels(push, w, &labels);

	if (!r)
		r = begin_stream(push, labels);
	if (r < 0)
		return r;
	while ((r = next_field(push, &w, &f)) == 1) {
		if (f.number == 2 && f.type == WIRE_BYTES)
			r = read_entry(push, f.bytes);
		if (r < 0)
			return r;
	}
	if (!r)
		lp_push_stream_end(push);
	return r;
}

int lp_push_loki_proto(struct lp_push *push, const void *body, size_t len)
{
	struct wire w = { body, (const uint8_t *)body + len };
	struct field f;
	int r;

	while ((r = next_field(push, &w, &f)) == 1) {
		if (f.number == 1 && f.type == WIRE_BYTES)
			r = read_stream(push, f.bytes);
		if (r < 0)
			return r;
	}
	return r;
}
