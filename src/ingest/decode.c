/* The verdict on a push: which streams and entries are kept, which are refused, and what is said about it.
 *
 * Order of the checks and texts follow Loki's distributor (feature reference 2.4, 2.6) and the original API (1.2).
 * A body that cannot be read is refused whole; a bad stream or entry is refused alone.  Process: worker; nothing
 * outlives the call but the batch and the result. */
#include "ingest/decode-private.h"

#include "common/assert.h"
#include "common/bytes.h"
#include "common/rfc3339.h"
#include "common/utf8.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define ORIGINAL_NAME_MAX 128u
#define ORIGINAL_VALUE_MAX 2048u

int lp_push_fatal(struct lp_push *push, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(push->fatal, sizeof push->fatal, fmt, ap);
	va_end(ap);
	return -EBADMSG;
}

int lp_push_json_error(struct lp_push *push, const struct lp_json *js, int error)
{
	if (error != -EBADMSG || push->fatal[0])
		return error;
	if (js->begin == js->end)
		return lp_push_fatal(push, "EOF");
	return lp_push_fatal(push, "%s at byte %zu", js->error ? js->error : "malformed JSON", (size_t)(js->p - js->begin));
}

/* ---- texts ------------------------------------------------------------------------------------------------------ */

static void add_error(struct lp_push *push, const char *text)
{
	unsigned i;

	for (i = 0; i < push->n_errors; i++)
		if (!strcmp(push->errors[i].text, text)) {
			push->errors[i].n++;
			return;
		}
	if (i == LP_PUSH_ERROR_KINDS) {
		push->more_errors++;
		return;
	}
	push->errors[i].n = 1;
	(void)snprintf(push->errors[i].text, sizeof push->errors[i].text, "%s", text);
	push->n_errors++;
}

/* The current stream as Loki prints it; long label sets are cut. */
static const char *stream_text(struct lp_push *push)
{
	if (!push->label_text.len) {
		lp_labels_print(&push->label_text, push->canonical.data, push->canonical.len);
		if (push->label_text.len > LP_PUSH_ERROR_TEXT / 2) {
			push->label_text.len = LP_PUSH_ERROR_TEXT / 2;
			lp_buf_str(&push->label_text, "...");
		}
	}
	return lp_buf_cstr(&push->label_text);
}

static __attribute__((format(printf, 3, 4))) int discard(struct lp_push *push, enum lp_discard reason, const char *fmt, ...)
{
	char text[LP_PUSH_ERROR_TEXT];
	va_list ap;

	push->result->discarded[reason]++;
	if (push->n_errors == LP_PUSH_ERROR_KINDS && push->more_errors) {
		push->more_errors++;            /* a body full of refusals must not be formatted line by line */
		return 0;
	}
	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	add_error(push, text);
	return 0;
}

/* RFC 3339 with whole seconds, as Loki's texts have it. */
static const char *time_text(char out[LP_RFC3339_MAX], int64_t ns)
{
	(void)lp_rfc3339_format(out, ns);
	char *dot = strchr(out, '.');

	if (dot)
		memcpy(dot, "Z", 2);
	return out;
}

/* ---- labels and metadata ---------------------------------------------------------------------------------------- */

static int replace_invalid(struct lp_push *push, const char **s, size_t *n)
{
	const uint8_t *p = (const uint8_t *)*s;

	if (lp_utf8_valid(p, *n))
		return 0;
	uint8_t *out = lp_arena_alloc(&push->arena, *n * 3), *q = out;

	if (!out)
		return -ENOMEM;
	for (size_t i = 0; i < *n;) {
		unsigned len = lp_utf8_seq(p + i, *n - i);

		if (len) {
			memcpy(q, p + i, len);
			q += len;
		} else {
			q += lp_utf8_put(q, 0xfffd);
		}
		i += len ? len : 1;
	}
	*s = (const char *)out;
	*n = (size_t)(q - out);
	return 0;
}

static int add_pair(struct lp_push *push, struct lp_pairs *pairs, const char *name, size_t name_len, const char *value,
		    size_t value_len)
{
	pairs->total++;
	pairs->bytes += name_len + value_len;
	if (pairs->n == LP_PUSH_MAX_PAIRS)
		return 0;                       /* `total` refuses it */
	int r = replace_invalid(push, &value, &value_len);

	if (r < 0)
		return r;
	if (pairs->n == pairs->cap) {
		uint32_t cap = pairs->cap ? pairs->cap * 2 : 32;
		struct lp_label *v = realloc(pairs->v, cap * sizeof *v);

		if (!v)
			return -ENOMEM;
		pairs->v = v;
		pairs->cap = cap;
	}
	pairs->v[pairs->n++] = (struct lp_label){ .name = name, .name_len = (uint32_t)name_len, .value = value,
						  .value_len = (uint32_t)value_len };
	return 0;
}

int lp_push_label(struct lp_push *push, const char *name, size_t name_len, const char *value, size_t value_len)
{
	return add_pair(push, &push->labels, name, name_len, value, value_len);
}

/* The rule that Loki takes from the OpenTelemetry translator. */
int lp_push_sanitise(struct lp_push *push, const char **name, size_t *n)
{
	const uint8_t *p = (const uint8_t *)*name;

	if (lp_label_name_valid(*name, *n))
		return 0;
	char *out = lp_arena_alloc(&push->arena, *n + 4), *q = out;

	if (!out)
		return -ENOMEM;
	if (*n && p[0] >= '0' && p[0] <= '9') {
		memcpy(q, "key_", 4);
		q += 4;
	}
	for (size_t i = 0; i < *n;) {
		unsigned len = lp_utf8_seq(p + i, *n - i);
		bool alnum = (p[i] >= '0' && p[i] <= '9') || ((p[i] | 0x20) >= 'a' && (p[i] | 0x20) <= 'z');

		*q++ = alnum ? (char)p[i] : '_';
		i += len ? len : 1;
	}
	*name = out;
	*n = (size_t)(q - out);
	return 0;
}

int lp_push_meta(struct lp_push *push, const char *name, size_t name_len, const char *value, size_t value_len)
{
	if (!name_len) {
		push->meta.total++;
		return 0;
	}
	int r = lp_push_sanitise(push, &name, &name_len);

	return r < 0 ? r : add_pair(push, &push->meta, name, name_len, value, value_len);
}

struct ranked {
	struct lp_label label;
	uint32_t seq;
};

static int cmp_ranked(const void *a, const void *b)
{
	const struct ranked *ra = a, *rb = b;
	uint32_t la = ra->label.name_len, lb = rb->label.name_len;
	int c = memcmp(ra->label.name, rb->label.name, la < lb ? la : lb);

	if (!c)
		c = (la > lb) - (la < lb);
	return c ? c : (ra->seq > rb->seq) - (ra->seq < rb->seq);
}

static bool same_name(const struct lp_label *a, const struct lp_label *b)
{
	return a->name_len == b->name_len && !memcmp(a->name, b->name, a->name_len);
}

/* Sort by name; of equal names the last stays. */
int lp_push_keep_last(struct lp_pairs *pairs)
{
	struct ranked *v = malloc(pairs->n * sizeof *v);
	uint32_t kept = 0;

	if (!v)
		return -ENOMEM;
	for (uint32_t i = 0; i < pairs->n; i++)
		v[i] = (struct ranked){ pairs->v[i], i };
	qsort(v, pairs->n, sizeof *v, cmp_ranked);
	for (uint32_t i = 0; i < pairs->n; i++)
		if (i + 1 == pairs->n || !same_name(&v[i].label, &v[i + 1].label))
			pairs->v[kept++] = v[i].label;
	pairs->n = kept;
	free(v);
	return 0;
}

static void clear_pairs(struct lp_pairs *pairs)
{
	pairs->n = 0;
	pairs->total = 0;
	pairs->bytes = 0;
}

static void drop_empty_values(struct lp_pairs *pairs)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < pairs->n; i++)
		if (pairs->v[i].value_len)
			pairs->v[kept++] = pairs->v[i];
	pairs->total -= pairs->n - kept;
	pairs->n = kept;
}

/* ---- streams ---------------------------------------------------------------------------------------------------- */

static __attribute__((format(printf, 3, 4))) int refuse_stream(struct lp_push *push, enum lp_discard reason, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(push->stream_error, sizeof push->stream_error, fmt, ap);
	va_end(ap);
	push->stream_ok = false;
	push->stream_reason = reason;
	return 0;
}

/* The original API's own rules. */
static bool original_labels_valid(const struct lp_pairs *pairs)
{
	for (uint32_t i = 0; i < pairs->n; i++) {
		const struct lp_label *l = &pairs->v[i];

		if (l->name_len > ORIGINAL_NAME_MAX || !lp_label_name_valid(l->name, l->name_len) || !l->value_len ||
		    l->value_len > ORIGINAL_VALUE_MAX || memchr(l->value, '\n', l->value_len))
			return false;
	}
	return true;
}

static int check_lengths(struct lp_push *push)
{
	const struct lp_push_limits *lim = push->limits;

	if ((lim->max_label_names && push->labels.total > lim->max_label_names) || push->labels.total > LP_PUSH_MAX_PAIRS)
		return refuse_stream(push, LP_DISCARD_MAX_LABEL_NAMES, "entry for stream '%s' has %llu label names; limit %u",
				     stream_text(push), (unsigned long long)push->labels.total,
				     lim->max_label_names ? lim->max_label_names : LP_PUSH_MAX_PAIRS);
	for (uint32_t i = 0; i < push->labels.n; i++) {
		const struct lp_label *l = &push->labels.v[i];

		if (lim->max_label_name_bytes && l->name_len > lim->max_label_name_bytes)
			return refuse_stream(push, LP_DISCARD_LABEL_NAME_TOO_LONG, "stream '%s' has label name too long: '%.*s'",
					     stream_text(push), (int)(l->name_len < 256 ? l->name_len : 256), l->name);
		if (lim->max_label_value_bytes && l->value_len > lim->max_label_value_bytes)
			return refuse_stream(push, LP_DISCARD_LABEL_VALUE_TOO_LONG, "stream '%s' has label value too long: '%.*s'",
					     stream_text(push), (int)(l->value_len < 256 ? l->value_len : 256), l->value);
	}
	return 0;
}

static int refuse_duplicate(struct lp_push *push)
{
	/* lp_labels_encode() has sorted the pairs, so equal names are neighbours. */
	for (uint32_t i = 1; i < push->labels.n; i++) {
		const struct lp_label *l = &push->labels.v[i];

		if (!same_name(&l[-1], l))
			continue;
		int cut = (int)(l->name_len < 256 ? l->name_len : 256);

		return refuse_stream(push, LP_DISCARD_DUPLICATE_LABEL_NAMES, "stream has duplicate label name: '%.*s'", cut, l->name);
	}
	return 0;
}

static int check_admission(struct lp_push *push)
{
	const struct lp_push_limits *lim = push->limits;
	struct lp_hash128 hash;

	if (!lim->admit_stream)
		return 0;
	hash = lp_labels_hash(push->canonical.data, push->canonical.len);
	if (lim->admit_stream(lim->take_ctx, push->tenant, push->tenant_len, &hash))
		return 0;
	return refuse_stream(push, LP_DISCARD_STREAM_LIMIT,
			     "maximum active stream limit exceeded when trying to create stream %s, reduce the number of active streams (reduce "
			     "labels or reduce label values), or contact your Loki administrator to see if the limit can be increased, user: '%.*s'",
			     stream_text(push), push->tenant_len ? (int)push->tenant_len : 4, push->tenant_len ? push->tenant : "fake");
}

int lp_push_stream(struct lp_push *push, const char *error, bool last_wins)
{
	int r;

	push->streams++;
	push->stream_ok = true;
	push->stream_entries = 0;
	push->canonical.len = 0;
	push->label_text.len = 0;
	if (error) {
		clear_pairs(&push->labels);
		add_error(push, error);
		refuse_stream(push, LP_DISCARD_INVALID_LABELS, "%s", "");
		return 0;
	}
	if (lp_push_is_original(push)) {
		if (!push->labels.n)
			return refuse_stream(push, LP_DISCARD_MISSING_LABELS, "labels cannot be empty");
		if (!original_labels_valid(&push->labels)) {
			clear_pairs(&push->labels);
			return refuse_stream(push, LP_DISCARD_INVALID_LABELS, "invalid label key or value");
		}
	}
	drop_empty_values(&push->labels);
	if (!push->labels.n && push->limits->unknown_service) {
		r = lp_push_label(push, "service_name", 12, "unknown_service", 15);
		if (r < 0)
			return r;
	}
	r = lp_labels_encode(&push->canonical, push->tenant, push->tenant_len, push->labels.v, push->labels.n);
	if (r == -EEXIST && last_wins) {
		r = lp_push_keep_last(&push->labels);
		if (!r)
			r = lp_labels_encode(&push->canonical, push->tenant, push->tenant_len, push->labels.v, push->labels.n);
		push->labels.total = push->labels.n;
	}
	if (r == -EEXIST)
		r = refuse_duplicate(push);
	else if (!r && !push->labels.n)
		r = refuse_stream(push, LP_DISCARD_MISSING_LABELS, "error at least one label pair is required per stream");
	else if (!r)
		r = check_lengths(push);
	clear_pairs(&push->labels);
	if (!r && push->stream_ok)
		r = check_admission(push);
	if (!r && push->stream_ok)
		r = lp_batch_stream(push->batch, push->canonical.data, (uint32_t)push->canonical.len);
	return r;
}

/* As Loki prints sizes: 3.1MB, of 1000 bytes each step. */
static const char *size_text(char out[32], uint64_t bytes)
{
	static const char *const units[] = { "B", "kB", "MB", "GB", "TB" };
	double v = (double)bytes;
	unsigned unit = 0;

	for (; v >= 1000 && unit + 1 < LP_ARRAY_LEN(units); unit++)
		v /= 1000;
	(void)snprintf(out, 32, unit && v < 10 ? "%.1f%s" : "%.0f%s", v, units[unit]);
	return out;
}

#define RATE_TEXT "Per stream rate limit exceeded (limit: %s/sec) while attempting to ingest for stream '%s' totaling %s, consider splitting a " \
		  "stream via additional labels or contact your Loki administrator to see if the limit can be increased"

/* Loki's ingesters name the first entries of a stream that they refuse; end_limited() says how many there were. */
static int limit_entry(struct lp_push *push, int64_t ts, const char *limit, const char *size)
{
	char when[LP_RFC3339_MAX];
	size_t n = lp_rfc3339_format(when, ts);

	push->result->discarded[LP_DISCARD_PER_STREAM_RATE_LIMIT]++;
	if (push->limited++ == 0)
		lp_buf_reset(&push->limited_text);
	if (push->limited > LP_PUSH_LIMITED_NAMED)
		return 0;
	/* As Go prints a time: a space for the T, the zone in words. */
	when[10] = ' ';
	lp_buf_printf(&push->limited_text, "entry with timestamp %.*s +0000 UTC ignored, reason: '" RATE_TEXT "',\n", (int)n - 1, when, limit,
		      stream_text(push), size);
	return 0;
}

static void end_limited(struct lp_push *push)
{
	if (!push->limited)
		return;
	lp_buf_printf(&push->limited_text, "user '%.*s', total ignored: %llu out of %llu for stream: %s", push->tenant_len ? (int)push->tenant_len : 4,
		      push->tenant_len ? push->tenant : "fake", (unsigned long long)push->limited, (unsigned long long)push->stream_entries,
		      stream_text(push));
	push->limited = 0;
}

static int judge_rate(struct lp_push *push, int64_t ts, uint64_t bytes)
{
	const struct lp_push_limits *lim = push->limits;
	char limit[32], size[32];

	if (lim->take_stream(lim->take_ctx, push->batch->streams[push->batch->n_streams - 1].hash.lo, bytes))
		return 1;
	size_text(limit, lim->stream_rate);
	size_text(size, bytes);
	if (!lp_push_is_original(push))
		return limit_entry(push, ts, limit, size);
	return discard(push, LP_DISCARD_PER_STREAM_RATE_LIMIT, RATE_TEXT, limit, stream_text(push), size);
}

void lp_push_stream_end(struct lp_push *push)
{
	if (lp_push_is_original(push) && !push->stream_entries && (push->stream_ok || !push->stream_error[0]))
		add_error(push, "entries cannot be empty");
	else if (!push->stream_ok && push->stream_error[0] && (push->stream_entries || lp_push_is_original(push)))
		add_error(push, push->stream_error);
	push->stream_error[0] = 0;
	end_limited(push);
	lp_arena_free(&push->arena);
}

/* ---- entries ---------------------------------------------------------------------------------------------------- */

void lp_push_entry_out_of_time(struct lp_push *push, bool future)
{
	push->stream_entries++;
	clear_pairs(&push->meta);
	if (!push->stream_ok)
		push->result->discarded[push->stream_reason]++;
	else
		(void)discard(push, future ? LP_DISCARD_TOO_NEW : LP_DISCARD_TOO_OLD,
			      "entry for stream '%s' has timestamp too %s: outside of the years 1677 to 2262", stream_text(push),
			      future ? "new" : "old");
}

/* 1: keep it, 0: refused and counted. */
static int judge_entry(struct lp_push *push, int64_t ts, size_t line_len)
{
	const struct lp_push_limits *lim = push->limits;
	char a[LP_RFC3339_MAX], b[LP_RFC3339_MAX];

	if (!push->stream_ok) {
		push->result->discarded[push->stream_reason]++;
		return 0;
	}
	if (ts < lim->oldest_ns)
		return discard(push, LP_DISCARD_TOO_OLD,
			       "entry for stream '%s' has timestamp too old: %s, oldest acceptable timestamp is: %s",
			       stream_text(push), time_text(a, ts), time_text(b, lim->oldest_ns));
	if (ts > lim->newest_ns)
		return discard(push, LP_DISCARD_TOO_NEW, "entry for stream '%s' has timestamp too new: %s", stream_text(push),
			       time_text(a, ts));
	if (lim->max_line_bytes && line_len > lim->max_line_bytes)
		return discard(push, LP_DISCARD_LINE_TOO_LONG,
			       "max entry size '%u' bytes exceeded for stream '%s' while adding an entry with length '%zu' bytes",
			       lim->max_line_bytes, stream_text(push), line_len);
	if (lim->max_metadata_bytes && push->meta.bytes > lim->max_metadata_bytes)
		return discard(push, LP_DISCARD_METADATA_TOO_LARGE,
			       "stream '%s' has structured metadata too large: '%llu' bytes, limit: '%u' bytes. Please see "
			       "`limits_config.max_structured_metadata_size` or contact your Loki administrator to increase it",
			       stream_text(push), (unsigned long long)push->meta.bytes, lim->max_metadata_bytes);
	uint32_t max = lim->max_metadata_entries ? lim->max_metadata_entries : LP_PUSH_MAX_PAIRS;

	if (push->meta.total > max || push->meta.total > LP_PUSH_MAX_PAIRS)
		return discard(push, LP_DISCARD_METADATA_TOO_MANY,
			       "stream '%s' has too many structured metadata labels: '%llu', limit: '%u'. Please see "
			       "`limits_config.max_structured_metadata_entries_count` or contact your Loki administrator to increase it",
			       stream_text(push), (unsigned long long)push->meta.total, max);
	return lim->take_stream ? judge_rate(push, ts, line_len + push->meta.bytes) : 1;
}

static int encode_metadata(struct lp_push *push)
{
	int r = 0;

	push->meta_bytes.len = 0;
	drop_empty_values(&push->meta);
	if (push->meta.n) {
		r = lp_metadata_encode(&push->meta_bytes, push->meta.v, push->meta.n);
		if (r == -EEXIST) {
			r = lp_push_keep_last(&push->meta);
			if (!r)
				r = lp_metadata_encode(&push->meta_bytes, push->meta.v, push->meta.n);
		}
	}
	return r;
}

/* What is stored of a line.  Like Loki, by bytes: the cut may go through a character. */
static size_t stored_length(const struct lp_push *push, size_t line_len)
{
	const struct lp_push_limits *lim = push->limits;

	return lim->truncate_lines && lim->max_line_bytes && line_len > lim->max_line_bytes ? lim->max_line_bytes : line_len;
}

int lp_push_entry(struct lp_push *push, int64_t ts_ns, size_t line_len)
{
	int r;

	line_len = stored_length(push, line_len);
	push->stream_entries++;
	r = judge_entry(push, ts_ns, line_len);
	if (r == 1 && push->meta.total) {
		r = encode_metadata(push);
		if (!r)
			r = lp_batch_entry(push->batch, ts_ns, (uint32_t)line_len, push->meta_bytes.data,
					   (uint32_t)push->meta_bytes.len);
	} else if (r == 1) {
		r = lp_batch_entry(push->batch, ts_ns, (uint32_t)line_len, NULL, 0);
	}
	clear_pairs(&push->meta);
	return r;
}

int lp_push_original_ts(const char *s, size_t n, int64_t *ret_ts, bool *ret_future)
{
	int r = lp_rfc3339_parse(s, n, ret_ts);

	if (r == -ERANGE)
		*ret_future = s[0] >= '2';      /* int64 nanoseconds hold the years 1677 to 2262 */
	return r == -ERANGE || r == 0 ? r : -EINVAL;
}

int lp_push_entry_copy(struct lp_push *push, int64_t ts_ns, const char *line, size_t line_len)
{
	line_len = stored_length(push, line_len);
	/* A line over the limit is never copied: judge_entry() refuses it. */
	if (push->stream_ok && !(push->limits->max_line_bytes && line_len > push->limits->max_line_bytes)) {
		char *to = lp_batch_line(push->batch, line_len);

		if (!to)
			return push->batch->error;
		if (line_len)
			memcpy(to, line, line_len);
	}
	return lp_push_entry(push, ts_ns, line_len);
}

int lp_push_json_line(struct lp_push *push, struct lp_json *js, size_t *ret_len)
{
	if (!push->stream_ok) {
		*ret_len = 0;
		return lp_json_peek(js) == '"' ? lp_json_skip(js) : lp_json_expect(js, '"', "expected a string");
	}
	size_t max = (size_t)(js->end - js->p), room = lp_batch_room(push->batch);
	char *to = lp_batch_line(push->batch, max < room ? max : room);

	if (!to)
		return push->batch->error;
	return lp_json_string(js, to, max < room ? max : room, ret_len);
}

/* One member; in Loki's form {"structuredMetadata":{..},"parsed":{..}} the inner objects (`parsed` is only checked). */
static int metadata_member(struct lp_push *push, struct lp_json *js, bool loki, bool keep, const char *key, size_t key_len)
{
	const char *value;
	size_t value_len;
	bool first = true;
	int r;

	if (lp_json_peek(js) == '{' && loki) {
		bool sm = key_len == 18 && !memcmp(key, "structuredMetadata", 18);

		if (!sm && !(key_len == 6 && !memcmp(key, "parsed", 6)))
			return lp_push_fatal(push, "structured metadata values must be strings");
		js->p++;
		while ((r = lp_json_next_member(js, &first, &push->arena, &key, &key_len)) == 1) {
			r = metadata_member(push, js, false, sm, key, key_len);
			if (r < 0)
				return r;
		}
		return r;
	}
	if (js->p == js->end)
		return lp_json_expect(js, '"', "expected a value");
	if (*js->p != '"')
		return lp_push_fatal(push, "structured metadata values must be strings");
	r = lp_json_string_ref(js, &push->arena, &value, &value_len);
	if (!r && keep)
		r = lp_push_meta(push, key, key_len, value, value_len);
	return r;
}

int lp_push_json_metadata(struct lp_push *push, struct lp_json *js, bool loki)
{
	const char *key;
	size_t key_len;
	bool first = true;
	int r = lp_json_expect(js, '{', "expected a structured metadata object");

	if (r < 0)
		return r;
	while ((r = lp_json_next_member(js, &first, &push->arena, &key, &key_len)) == 1) {
		r = metadata_member(push, js, loki, true, key, key_len);
		if (r < 0)
			return r;
	}
	return r;
}

/* ---- the whole push --------------------------------------------------------------------------------------------- */

static void write_errors(struct lp_push *push, struct lp_buf *message)
{
	bool counts = push->n_errors > 1 || push->errors[0].n > 1;
	uint64_t left = push->more_errors;
	size_t start = message->len;

	for (unsigned i = 0; i < push->n_errors; i++) {
		if (message->len + strlen(push->errors[i].text) > LP_PUSH_MESSAGE_MAX - 128) {
			left += push->errors[i].n;
			continue;
		}
		if (message->len > start)
			lp_buf_str(message, "; ");
		if (counts)
			lp_buf_printf(message, "%llu errors like: ", (unsigned long long)push->errors[i].n);
		lp_buf_str(message, push->errors[i].text);
	}
	if (left)
		lp_buf_printf(message, "; and %llu more errors", (unsigned long long)left);
}

static const char *fatal_prefix(enum lp_push_format format)
{
	switch (format) {
	case LP_PUSH_ORIGINAL_JSON: return "Invalid JSON: ";
	case LP_PUSH_ORIGINAL_MSGPACK: return "Invalid MessagePack: ";
	case LP_PUSH_LOKI_JSON:
	case LP_PUSH_LOKI_PROTO:
	case LP_PUSH_PROM_JSON:
	case LP_PUSH_OTLP_PROTO:
	case LP_PUSH_OTLP_JSON: break;
	}
	return "";
}

static void finish(struct lp_push *push, bool fatal)
{
	struct lp_push_result *result = push->result;
	bool original = lp_push_is_original(push);

	result->status = 400;
	if (fatal) {
		lp_batch_reset(push->batch);
		memset(result->discarded, 0, sizeof result->discarded);
		lp_buf_str(&result->message, fatal_prefix(push->format));
		lp_buf_str(&result->message, push->fatal);
	} else if (!push->streams && push->format != LP_PUSH_OTLP_PROTO && push->format != LP_PUSH_OTLP_JSON) {
		result->status = original ? 400 : 422;
		lp_buf_str(&result->message, original ? "Validation error: streams cannot be empty"
						      : "error at least one valid stream is required for ingestion");
	} else if (push->limited_text.len) {
		result->status = 429;           /* what else was refused will be refused again, these may come again */
		lp_buf_append(&result->message, push->limited_text.data, push->limited_text.len);
	} else if (push->n_errors) {
		lp_buf_str(&result->message, original ? "Validation error: " : "");
		write_errors(push, &result->message);
		if (result->discarded[LP_DISCARD_PER_STREAM_RATE_LIMIT] || result->discarded[LP_DISCARD_STREAM_LIMIT])
			result->status = 429;   /* what else was refused will be refused again, these may come again */
	} else {
		result->status = original ? 200 : 204;
	}
	result->accepted = lp_batch_entries(push->batch);
}

int lp_push_decode_with(enum lp_push_format format, const void *body, size_t len, const char *tenant, size_t tenant_len,
			const struct lp_push_limits *limits, struct lp_batch *batch, struct lp_push_result *result, bool allow_avx2)
{
	struct lp_push *push = calloc(1, sizeof *push);
	int r = -EINVAL;

	if (!push)
		return -ENOMEM;
	push->format = format;
	push->allow_avx2 = allow_avx2;
	push->limits = limits;
	push->batch = batch;
	push->result = result;
	push->tenant = tenant;
	push->tenant_len = tenant_len;
	result->status = 500;
	result->accepted = 0;
	memset(result->discarded, 0, sizeof result->discarded);
	lp_buf_reset(&result->message);
	switch (format) {
	case LP_PUSH_ORIGINAL_JSON: r = lp_push_original_json(push, body, len); break;
	case LP_PUSH_ORIGINAL_MSGPACK: r = lp_push_original_msgpack(push, body, len); break;
	case LP_PUSH_LOKI_JSON: r = lp_push_loki_json(push, body, len); break;
	case LP_PUSH_OTLP_PROTO: r = lp_push_otlp_proto(push, body, len); break;
	case LP_PUSH_OTLP_JSON: r = lp_push_otlp_json(push, body, len); break;
	case LP_PUSH_PROM_JSON: r = lp_push_prom_json(push, body, len); break;
	case LP_PUSH_LOKI_PROTO: r = lp_push_loki_proto(push, body, len); break;
	}
	if (!r || r == -EBADMSG) {
		finish(push, r == -EBADMSG);
		r = result->message.failed ? -ENOMEM : 0;
	} else {
		lp_batch_reset(batch);          /* half a push is not kept */
	}
	lp_arena_free(&push->arena);
	lp_buf_free(&push->canonical);
	lp_buf_free(&push->meta_bytes);
	lp_buf_free(&push->label_text);
	lp_buf_free(&push->limited_text);
	free(push->labels.v);
	free(push->meta.v);
	free(push);
	return r;
}

int lp_push_decode(enum lp_push_format format, const void *body, size_t len, const char *tenant, size_t tenant_len,
		   const struct lp_push_limits *limits, struct lp_batch *batch, struct lp_push_result *result)
{
	return lp_push_decode_with(format, body, len, tenant, tenant_len, limits, batch, result, true);
}
