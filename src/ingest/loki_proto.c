/* Loki's protobuf push, from the wire format (feature reference 2.6; protobuf.dev "Encoding"):
 *
 *   PushRequest    1 streams: StreamAdapter, repeated
 *   StreamAdapter  1 labels: string | 2 entries: EntryAdapter, repeated | 3 hash
 *   EntryAdapter   1 timestamp {1 seconds, 2 nanos} | 2 line | 3 metadata: LabelPair, repeated | 4 parsed
 *   LabelPair      1 name | 2 value
 *
 * Fields in any order, unknown fields passed over; of a repeated single field the last counts.  Lines are copied
 * once, into the batch.  Process: worker; memory only; hostile lengths end in a refused body. */
#include "ingest/wire.h"

#include <errno.h>

static int read_timestamp(struct lp_push *push, struct lp_wire w, int64_t *ret_seconds, int32_t *ret_nanos)
{
	struct lp_wire_field f;
	int r;

	while ((r = lp_wire_next(push, &w, &f)) == 1) {
		if (f.number == 1 && f.type == LP_WIRE_VARINT)
			*ret_seconds = (int64_t)f.value;
		else if (f.number == 2 && f.type == LP_WIRE_VARINT)
			*ret_nanos = (int32_t)(uint32_t)f.value;
	}
	return r;
}

static int read_metadata(struct lp_push *push, struct lp_wire w)
{
	struct lp_wire name = { w.p, w.p }, value = { w.p, w.p };
	struct lp_wire_field f;
	int r;

	while ((r = lp_wire_next(push, &w, &f)) == 1) {
		if (f.number == 1 && f.type == LP_WIRE_BYTES)
			name = f.bytes;
		else if (f.number == 2 && f.type == LP_WIRE_BYTES)
			value = f.bytes;
	}
	return r < 0 ? r : lp_push_meta(push, (const char *)name.p, (size_t)(name.end - name.p), (const char *)value.p,
					(size_t)(value.end - value.p));
}

static int read_entry(struct lp_push *push, struct lp_wire w)
{
	struct lp_wire line = { w.p, w.p };
	int64_t seconds = 0;
	int32_t nanos = 0;
	struct lp_wire_field f;
	int r;

	while ((r = lp_wire_next(push, &w, &f)) == 1) {
		if (f.type != LP_WIRE_BYTES)
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

int lp_push_label_string(struct lp_push *push, const char *s, size_t n)
{
	struct lp_label_sink sink = { add_label, push, &push->arena };
	struct lp_buf error = LP_BUF_INIT;
	const char *text = NULL;

	lp_buf_str(&error, "couldn't parse labels: ");
	int r = lp_label_string_scan(s, n, &sink, &error);

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
static int find_labels(struct lp_push *push, struct lp_wire w, struct lp_wire *ret_labels)
{
	struct lp_wire_field f;
	int r;

	*ret_labels = (struct lp_wire){ w.p, w.p };
	while ((r = lp_wire_next(push, &w, &f)) == 1)
		if (f.number == 1 && f.type == LP_WIRE_BYTES)
			*ret_labels = f.bytes;
	return r;
}

static int read_stream(struct lp_push *push, struct lp_wire w)
{
	struct lp_wire labels;
	struct lp_wire_field f;
	int r = find_labels(push, w, &labels);

	if (!r)
		r = lp_push_label_string(push, (const char *)labels.p, (size_t)(labels.end - labels.p));
	if (r < 0)
		return r;
	while ((r = lp_wire_next(push, &w, &f)) == 1) {
		if (f.number == 2 && f.type == LP_WIRE_BYTES)
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
	struct lp_wire w = { body, (const uint8_t *)body + len };
	struct lp_wire_field f;
	int r;

	while ((r = lp_wire_next(push, &w, &f)) == 1) {
		if (f.number == 1 && f.type == LP_WIRE_BYTES)
			r = read_stream(push, f.bytes);
		if (r < 0)
			return r;
	}
	return r;
}
