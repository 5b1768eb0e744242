/* The original push in MessagePack (github.com/msgpack/msgpack, spec.md): the same maps and keys as its JSON,
 * timestamps as RFC 3339 text, integer nanoseconds or the timestamp extension.
 *
 * Keys in any order, unknown ones passed over; entries that stand before their labels are read when these are known.
 * Process: worker; memory only; hostile lengths and nesting end in a refused body. */
#include "ingest/decode-private.h"

#include "common/bytes.h"

#include <errno.h>

struct reader {
	const uint8_t *p, *end;
};

enum kind { K_NIL, K_BOOL, K_INT, K_UINT, K_FLOAT, K_STR, K_BIN, K_ARRAY, K_MAP, K_EXT };

struct value {
	enum kind kind;
	uint64_t n;                     /* integer (two's complement), bytes, elements or pairs */
	const uint8_t *bytes;           /* string, binary, extension */
	int8_t ext;
};

static int corrupt(struct lp_push *push, const char *what)
{
	return lp_push_fatal(push, "%s", what);
}

/* Big-endian integer of `width` bytes; false when it is cut off. */
static bool big_endian(struct reader *rd, unsigned width, uint64_t *ret)
{
	uint64_t v = 0;

	if ((size_t)(rd->end - rd->p) < width)
		return false;
	for (unsigned i = 0; i < width; i++)
		v = v << 8 | rd->p[i];
	rd->p += width;
	*ret = v;
	return true;
}

static bool take_bytes(struct reader *rd, struct value *v)
{
	if (v->n > (uint64_t)(rd->end - rd->p))
		return false;
	v->bytes = rd->p;
	rd->p += v->n;
	return true;
}

static bool take_ext(struct reader *rd, struct value *v)
{
	if (rd->p == rd->end)
		return false;
	v->kind = K_EXT;
	v->ext = (int8_t)*rd->p++;
	return take_bytes(rd, v);
}

static bool take_signed(struct reader *rd, struct value *v, unsigned width)
{
	v->kind = K_INT;
	if (!big_endian(rd, width, &v->n))
		return false;
	v->n = (uint64_t)((int64_t)(v->n << (64 - 8 * width)) >> (64 - 8 * width));
	return true;
}

/* Markers 0xc0 .. 0xdf. */
static bool take_marked(struct reader *rd, uint8_t c, struct value *v)
{
	switch (c) {
	case 0xc0: v->kind = K_NIL; return true;
	case 0xc2: case 0xc3: v->kind = K_BOOL; return true;
	case 0xc4: case 0xc5: case 0xc6: v->kind = K_BIN; return big_endian(rd, 1u << (c - 0xc4), &v->n) && take_bytes(rd, v);
	case 0xc7: case 0xc8: case 0xc9: return big_endian(rd, 1u << (c - 0xc7), &v->n) && take_ext(rd, v);
	case 0xca: case 0xcb: v->kind = K_FLOAT; return big_endian(rd, c == 0xca ? 4 : 8, &v->n);
	case 0xcc: case 0xcd: case 0xce: case 0xcf: v->kind = K_UINT; return big_endian(rd, 1u << (c - 0xcc), &v->n);
	case 0xd0: case 0xd1: case 0xd2: case 0xd3: return take_signed(rd, v, 1u << (c - 0xd0));
	case 0xd4: case 0xd5: case 0xd6: case 0xd7: case 0xd8: v->n = UINT64_C(1) << (c - 0xd4); return take_ext(rd, v);
	case 0xd9: case 0xda: case 0xdb: v->kind = K_STR; return big_endian(rd, 1u << (c - 0xd9), &v->n) && take_bytes(rd, v);
	case 0xdc: case 0xdd: v->kind = K_ARRAY; return big_endian(rd, c == 0xdc ? 2 : 4, &v->n);
	case 0xde: case 0xdf: v->kind = K_MAP; return big_endian(rd, c == 0xde ? 2 : 4, &v->n);
	default: return false;
	}
}

static int next_value(struct lp_push *push, struct reader *rd, struct value *v)
{
	if (rd->p == rd->end)
		return corrupt(push, "unexpected end of input");
	uint8_t c = *rd->p++;
	bool ok = true;

	if (c >= 0xa0 && c <= 0xbf) {
		v->kind = K_STR;
		v->n = c & 0x1f;
		ok = take_bytes(rd, v);
	} else if (c < 0x80 || c >= 0xe0) {
		v->kind = K_INT;
		v->n = (uint64_t)(int64_t)(int8_t)c;
	} else if (c < 0xa0) {
		v->kind = c < 0x90 ? K_MAP : K_ARRAY;
		v->n = c & 0x0f;
	} else {
		ok = take_marked(rd, c, v);
	}
	/* An element takes a byte at least: a count beyond what is left is a lie. */
	if (ok && (v->kind == K_ARRAY || v->kind == K_MAP))
		ok = v->n <= (uint64_t)(rd->end - rd->p);
	return ok ? 0 : corrupt(push, c == 0xc1 ? "invalid marker" : "unexpected end of input");
}

/* What follows the head `v` of a value, if it is a container. */
static int skip_rest(struct lp_push *push, struct reader *rd, const struct value *v)
{
	uint64_t left[LP_JSON_MAX_DEPTH];
	unsigned depth = 0;
	struct value next = *v;

	for (;;) {
		if (next.kind == K_ARRAY || next.kind == K_MAP) {
			if (depth == LP_JSON_MAX_DEPTH)
				return corrupt(push, "nested too deeply");
			left[depth++] = next.kind == K_MAP ? next.n * 2 : next.n;
		}
		while (depth && !left[depth - 1])
			depth--;
		if (!depth)
			return 0;
		left[depth - 1]--;
		int r = next_value(push, rd, &next);

		if (r < 0)
			return r;
	}
}

static int skip(struct lp_push *push, struct reader *rd)
{
	struct value v;
	int r = next_value(push, rd, &v);

	return r < 0 ? r : skip_rest(push, rd, &v);
}

static bool is_text(const struct value *v)
{
	return v->kind == K_STR || v->kind == K_BIN;
}

static bool is(const struct value *v, const char *word)
{
	return is_text(v) && v->n == strlen(word) && !memcmp(v->bytes, word, v->n);
}

/* A map of strings into `add`. */
static int read_pairs(struct lp_push *push, struct reader *rd, const char *what,
		      int (*add)(struct lp_push *, const char *, size_t, const char *, size_t))
{
	struct value map, key, value;
	int r = next_value(push, rd, &map);

	if (r < 0 || map.kind == K_NIL)
		return r;
	if (map.kind != K_MAP)
		return lp_push_fatal(push, "%s must be a map", what);
	for (uint64_t i = 0; i < map.n; i++) {
		r = next_value(push, rd, &key);
		if (!r)
			r = next_value(push, rd, &value);
		if (r < 0)
			return r;
		if (!is_text(&key) || !is_text(&value))
			return lp_push_fatal(push, "%s must be strings", what);
		r = add(push, (const char *)key.bytes, key.n, (const char *)value.bytes, value.n);
		if (r < 0)
			return r;
	}
	return 0;
}

struct entry {
	int64_t ts;
	bool now;                       /* it has none: lp_push_now() */
	bool out_of_time, future;
	struct value line;
};

/* The timestamp extension, type -1: 4, 8 or 12 bytes. */
static int read_ext_ts(struct lp_push *push, const struct value *v, struct entry *entry)
{
	struct reader rd = { v->bytes, v->bytes + v->n };
	uint64_t nanos = 0, seconds = 0;

	if (v->ext != -1 || (v->n != 4 && v->n != 8 && v->n != 12))
		return corrupt(push, "unknown extension as a timestamp");
	if (v->n == 12)
		(void)big_endian(&rd, 4, &nanos);
	(void)big_endian(&rd, v->n == 4 ? 4 : 8, &seconds);
	if (v->n == 8) {
		nanos = seconds >> 34;
		seconds &= (UINT64_C(1) << 34) - 1;
	}
	__int128 ts = (__int128)(int64_t)seconds * 1000000000 + nanos;

	entry->out_of_time = ts < INT64_MIN || ts > INT64_MAX;
	entry->future = ts > 0;
	entry->now = false;
	if (!entry->out_of_time)
		entry->ts = (int64_t)ts;
	return 0;
}

static int read_ts(struct lp_push *push, struct reader *rd, struct entry *entry)
{
	struct value v;
	int r = next_value(push, rd, &v);

	if (r < 0)
		return r;
	if (v.kind == K_EXT)
		return read_ext_ts(push, &v, entry);
	if (is_text(&v)) {
		r = lp_push_original_ts((const char *)v.bytes, v.n, &entry->ts, &entry->future);
		entry->out_of_time = r == -ERANGE;
		entry->now = r == -EINVAL;
	} else if (v.kind == K_INT || v.kind == K_UINT) {
		entry->out_of_time = entry->future = v.kind == K_UINT && v.n > INT64_MAX;
		entry->ts = (int64_t)v.n;
		entry->now = false;
	} else {
		return skip_rest(push, rd, &v);         /* anything else means now */
	}
	return 0;
}

static int read_entry(struct lp_push *push, struct reader *rd)
{
	struct entry entry = { .now = true, .line = { .kind = K_STR, .bytes = rd->p } };
	struct value map, key;
	int r = next_value(push, rd, &map);

	if (r < 0)
		return r;
	if (map.kind != K_MAP)
		return corrupt(push, "an entry must be a map");
	for (uint64_t i = 0; i < map.n && !r; i++) {
		r = next_value(push, rd, &key);
		if (r < 0)
			return r;
		if (is(&key, "ts")) {
			r = read_ts(push, rd, &entry);
		} else if (is(&key, "line")) {
			r = next_value(push, rd, &entry.line);
			if (!r && entry.line.kind == K_NIL)
				entry.line = (struct value){ .kind = K_STR, .bytes = rd->p };
			else if (!r && !is_text(&entry.line))
				r = corrupt(push, "line must be a string");
		} else if (is(&key, "metadata")) {
			r = read_pairs(push, rd, "metadata", lp_push_meta);
		} else {
			r = skip_rest(push, rd, &key);
			if (!r)
				r = skip(push, rd);
		}
	}
	if (r < 0)
		return r;
	if (entry.out_of_time) {
		lp_push_entry_out_of_time(push, entry.future);
		return 0;
	}
	return lp_push_entry_copy(push, entry.now ? lp_push_now(push) : entry.ts, (const char *)entry.line.bytes, entry.line.n);
}

static int read_entries(struct lp_push *push, struct reader *rd)
{
	struct value v;
	int r = next_value(push, rd, &v);

	if (r < 0 || v.kind == K_NIL)
		return r;
	if (v.kind != K_ARRAY)
		return corrupt(push, "entries must be an array");
	for (uint64_t i = 0; i < v.n && !r; i++)
		r = read_entry(push, rd);
	return r;
}

static int read_stream(struct lp_push *push, struct reader *rd)
{
	struct reader entries = { 0 };
	struct value map, key;
	bool labels_seen = false, entries_seen = false;
	int r = next_value(push, rd, &map);

	if (r < 0)
		return r;
	if (map.kind != K_MAP)
		return corrupt(push, "a stream must be a map");
	for (uint64_t i = 0; i < map.n && !r; i++) {
		r = next_value(push, rd, &key);
		if (r < 0)
			return r;
		bool labels = is(&key, "labels");

		if (labels ? labels_seen : entries_seen && is(&key, "entries"))
			return lp_push_fatal(push, "a stream has the key '%s' twice", labels ? "labels" : "entries");
		if (labels) {
			labels_seen = true;
			r = read_pairs(push, rd, "labels", lp_push_label);
			if (!r)
				r = lp_push_stream(push, NULL, true);
		} else if (is(&key, "entries")) {
			entries_seen = true;
			entries = labels_seen ? entries : *rd;
			r = labels_seen ? read_entries(push, rd) : skip(push, rd);
		} else {
			r = skip_rest(push, rd, &key);
			if (!r)
				r = skip(push, rd);
		}
	}
	if (!r && !labels_seen)
		r = lp_push_stream(push, NULL, true);
	if (!r && entries.p)
		r = read_entries(push, &entries);
	if (!r)
		lp_push_stream_end(push);
	return r;
}

int lp_push_original_msgpack(struct lp_push *push, const void *body, size_t len)
{
	struct reader rd = { body, (const uint8_t *)body + len };
	struct value map, key, streams;
	int r = next_value(push, &rd, &map);

	if (r < 0)
		return r;
	if (map.kind != K_MAP)
		return corrupt(push, "the body must be a map");
	for (uint64_t i = 0; i < map.n && !r; i++) {
		r = next_value(push, &rd, &key);
		if (r < 0)
			return r;
		if (!is(&key, "streams")) {
			r = skip_rest(push, &rd, &key);
			if (!r)
				r = skip(push, &rd);
			continue;
		}
		r = next_value(push, &rd, &streams);
		if (!r && streams.kind != K_ARRAY && streams.kind != K_NIL)
			r = corrupt(push, "streams must be an array");
		for (uint64_t s = 0; !r && streams.kind == K_ARRAY && s < streams.n; s++)
			r = read_stream(push, &rd);
	}
	if (!r && rd.p < rd.end)
		r = corrupt(push, "unexpected bytes after the map");
	return r;
}
