/* Encoding and decoding of the evaluator's state (layout in image.h).
 * Guarantees: any bytes are read without harm; counts are believed only as far as there are bytes for them.  Pure but for
 * lp_view_read().  Process: notifier writes and reads, workers and tools read. */
#include "rules/image.h"

#include "common/bytes.h"
#include "common/crc32c.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define HEAD_BYTES 24u
#define MAX_TEXT (1u << 20)

/* ---- writing ---- */

static void put_u64(struct lp_buf *out, uint64_t v)
{
	uint8_t *p = lp_buf_reserve(out, LP_VARINT_MAX);

	if (p)
		out->len += (size_t)(lp_varint_put(p, v) - p);
}

static void put_i64(struct lp_buf *out, int64_t v) { put_u64(out, lp_zigzag(v)); }

static void put_text(struct lp_buf *out, const char *s)
{
	size_t n = strlen(s);

	put_u64(out, n);
	lp_buf_append(out, s, n);
}

static void put_double(struct lp_buf *out, double v)
{
	uint64_t bits;
	uint8_t bytes[8];

	memcpy(&bits, &v, sizeof bits);
	lp_put_le64(bytes, bits);
	lp_buf_append(out, bytes, sizeof bytes);
}

static void put_pairs(struct lp_buf *out, const struct lp_alert_pair *pairs, uint32_t n)
{
	put_u64(out, n);
	for (uint32_t i = 0; i < n; i++) {
		put_text(out, pairs[i].name);
		put_text(out, pairs[i].value);
	}
}

static void put_texts(struct lp_buf *out, const struct lp_rule_text *texts, uint32_t n)
{
	put_u64(out, n);
	for (uint32_t i = 0; i < n; i++) {
		put_text(out, texts[i].name);
		put_text(out, texts[i].value);
	}
}

void lp_image_begin(struct lp_buf *out, uint64_t serial)
{
	static const uint8_t zero[HEAD_BYTES];

	lp_buf_append(out, zero, sizeof zero);
	put_u64(out, serial);
}

static void put_alert(struct lp_buf *out, const struct lp_alert *alert)
{
	put_u64(out, alert->state);
	put_i64(out, alert->active_ns);
	put_i64(out, alert->fired_ns);
	put_i64(out, alert->resolved_ns);
	put_i64(out, alert->keep_since_ns);
	put_i64(out, alert->told_ns);
	put_double(out, alert->value);
	put_pairs(out, alert->labels, alert->n_labels);
	put_pairs(out, alert->annotations, alert->n_annotations);
}

static void put_rule(struct lp_buf *out, const struct lp_rule *rule, const struct lp_rule_state *state)
{
	put_u64(out, rule->recording);
	put_text(out, rule->name);
	put_text(out, rule->expr);
	put_i64(out, rule->for_ms);
	put_i64(out, rule->keep_ms);
	put_texts(out, rule->labels, rule->n_labels);
	put_texts(out, rule->annotations, rule->n_annotations);
	put_text(out, rule->webhook ? rule->webhook : "");
	put_u64(out, rule->n_channels);
	for (uint32_t i = 0; i < rule->n_channels; i++)
		put_text(out, rule->channels[i]);
	put_u64(out, state->health);
	put_text(out, state->last_error ? state->last_error : "");
	put_i64(out, state->last_ns);
	put_i64(out, state->took_ns);
	put_u64(out, state->n_alerts);
	for (const struct lp_alert *alert = state->alerts; alert; alert = alert->next)
		put_alert(out, alert);
	put_u64(out, state->vector.n);
	for (uint32_t i = 0; i < state->vector.n; i++) {
		put_pairs(out, state->vector.samples[i].labels, state->vector.samples[i].n_labels);
		put_double(out, state->vector.samples[i].value);
	}
}

void lp_image_group(struct lp_buf *out, const struct lp_rule_group *group, const struct lp_rule_state *states,
		    const struct lp_group_times *times)
{
	uint32_t i = 0;

	put_u64(out, 1);                /* another group */
	put_text(out, group->tenant);
	put_text(out, group->file);
	put_text(out, group->name);
	put_i64(out, group->interval_ms);
	put_u64(out, group->limit);
	put_i64(out, times->last_ns);
	put_i64(out, times->took_ns);
	put_u64(out, times->evaluations);
	put_u64(out, times->missed);
	put_u64(out, group->n_rules);
	for (const struct lp_rule *rule = group->rules; rule; rule = rule->next)
		put_rule(out, rule, &states[i++]);
}

int lp_image_end(struct lp_buf *out)
{
	put_u64(out, 0);
	if (out->failed)
		return -ENOMEM;
	lp_put_le32(out->data, LP_IMAGE_MAGIC);
	lp_put_le32(out->data + 4, LP_IMAGE_VERSION);
	lp_put_le64(out->data + 8, out->len - HEAD_BYTES);
	lp_put_le32(out->data + 16, lp_crc32c(0, out->data + HEAD_BYTES, out->len - HEAD_BYTES));
	return 0;
}

/* ---- reading ---- */

struct reader {
	const uint8_t *p, *end;
	struct lp_arena *arena;
	int err;                        /* sticky */
};

static uint64_t get_u64(struct reader *in)
{
	uint64_t v = 0;
	const uint8_t *p = in->err ? NULL : lp_varint_get(in->p, in->end, &v);

	if (!p) {
		in->err = in->err ? in->err : -EBADMSG;
		return 0;
	}
	in->p = p;
	return v;
}

static int64_t get_i64(struct reader *in) { return lp_unzigzag(get_u64(in)); }

/* A number of things of at least least_bytes each. */
static uint32_t get_count(struct reader *in, size_t least_bytes)
{
	uint64_t n = get_u64(in);

	if (!in->err && n > (size_t)(in->end - in->p) / least_bytes)
		in->err = -EBADMSG;
	return in->err ? 0 : (uint32_t)n;
}

static void *get_memory(struct reader *in, size_t n)
{
	void *p = in->err ? NULL : lp_arena_zalloc(in->arena, n ? n : 1);

	if (!p && !in->err)
		in->err = -ENOMEM;
	return p;
}

static const char *get_text(struct reader *in)
{
	uint32_t n = get_count(in, 1);
	char *s;

	if (n > MAX_TEXT || (n && memchr(in->p, 0, n)))
		in->err = -EBADMSG;
	if (in->err)
		return "";
	s = lp_arena_strndup(in->arena, (const char *)in->p, n);
	if (!s) {
		in->err = -ENOMEM;
		return "";
	}
	in->p += n;
	return s;
}

static double get_double(struct reader *in)
{
	uint64_t bits;
	double v;

	if (in->end - in->p < 8)
		in->err = in->err ? in->err : -EBADMSG;
	if (in->err)
		return 0;
	bits = lp_le64(in->p);
	in->p += 8;
	memcpy(&v, &bits, sizeof v);
	return v;
}

static uint32_t get_pairs(struct reader *in, struct lp_alert_pair **ret)
{
	uint32_t n = get_count(in, 2);

	*ret = get_memory(in, n * sizeof **ret);
	for (uint32_t i = 0; i < n && !in->err; i++) {
		(*ret)[i].name = get_text(in);
		(*ret)[i].value = get_text(in);
	}
	return in->err ? 0 : n;
}

static struct lp_alert *get_alert(struct reader *in)
{
	struct lp_alert *alert = get_memory(in, sizeof *alert);
	uint64_t state = get_u64(in);

	if (state > LP_ALERT_RESOLVED)
		in->err = -EBADMSG;
	if (!alert || in->err)
		return NULL;
	alert->state = (enum lp_alert_state)state;
	alert->active_ns = get_i64(in);
	alert->fired_ns = get_i64(in);
	alert->resolved_ns = get_i64(in);
	alert->keep_since_ns = get_i64(in);
	alert->told_ns = get_i64(in);
	alert->value = get_double(in);
	alert->n_labels = get_pairs(in, &alert->labels);
	alert->n_annotations = get_pairs(in, &alert->annotations);
	if (!in->err)
		alert->fingerprint = lp_alert_fingerprint(alert->labels, alert->n_labels);
	return in->err ? NULL : alert;
}

static void get_alerts(struct reader *in, struct lp_view_rule *rule)
{
	struct lp_alert **link = &rule->alerts;

	rule->n_alerts = get_count(in, 16);
	for (uint32_t i = 0; i < rule->n_alerts && !in->err; i++) {
		*link = get_alert(in);
		if (*link)
			link = &(*link)->next;
	}
}

static void get_vector(struct reader *in, struct lp_vector *vector)
{
	vector->n = get_count(in, 9);
	vector->samples = get_memory(in, vector->n * sizeof *vector->samples);
	for (uint32_t i = 0; i < vector->n && !in->err; i++) {
		vector->samples[i].n_labels = get_pairs(in, &vector->samples[i].labels);
		vector->samples[i].value = get_double(in);
	}
}

static struct lp_view_rule *get_rule(struct reader *in)
{
	struct lp_view_rule *rule = get_memory(in, sizeof *rule);
	uint64_t health;

	if (!rule)
		return NULL;
	rule->recording = get_u64(in) != 0;
	rule->name = get_text(in);
	rule->expr = get_text(in);
	rule->for_ms = get_i64(in);
	rule->keep_ms = get_i64(in);
	rule->n_labels = get_pairs(in, &rule->labels);
	rule->n_annotations = get_pairs(in, &rule->annotations);
	rule->webhook = get_text(in);
	if (!rule->webhook[0])
		rule->webhook = NULL;
	rule->n_channels = get_count(in, 1);
	rule->channels = get_memory(in, rule->n_channels * sizeof *rule->channels);
	for (uint32_t i = 0; i < rule->n_channels && !in->err; i++)
		rule->channels[i] = get_text(in);
	health = get_u64(in);
	rule->health = health <= LP_RULE_ERR ? (enum lp_rule_health)health : LP_RULE_UNKNOWN;
	rule->last_error = get_text(in);
	rule->last_ns = get_i64(in);
	rule->took_ns = get_i64(in);
	get_alerts(in, rule);
	get_vector(in, &rule->vector);
	return in->err ? NULL : rule;
}

static struct lp_view_group *get_group(struct reader *in)
{
	struct lp_view_group *group = get_memory(in, sizeof *group);
	struct lp_view_rule **link;
	uint64_t limit;

	if (!group)
		return NULL;
	group->tenant = get_text(in);
	group->file = get_text(in);
	group->name = get_text(in);
	group->interval_ms = get_i64(in);
	limit = get_u64(in);
	group->limit = limit <= UINT32_MAX ? (uint32_t)limit : 0;
	group->times.last_ns = get_i64(in);
	group->times.took_ns = get_i64(in);
	group->times.evaluations = get_u64(in);
	group->times.missed = get_u64(in);
	group->n_rules = get_count(in, 16);
	link = &group->rules;
	for (uint32_t i = 0; i < group->n_rules && !in->err; i++) {
		*link = get_rule(in);
		if (*link)
			link = &(*link)->next;
	}
	return in->err ? NULL : group;
}

int lp_view_parse(const void *data, size_t len, struct lp_view **ret_view)
{
	const uint8_t *p = data;
	struct lp_view *view;
	struct reader in = { 0 };

	if (len < HEAD_BYTES || lp_le32(p) != LP_IMAGE_MAGIC)
		return -EBADMSG;
	if (lp_le32(p + 4) != LP_IMAGE_VERSION)
		return -EPROTO;
	if (lp_le64(p + 8) != len - HEAD_BYTES || lp_le32(p + 20) || lp_crc32c(0, p + HEAD_BYTES, len - HEAD_BYTES) != lp_le32(p + 16))
		return -EBADMSG;
	view = calloc(1, sizeof *view);
	if (!view)
		return -ENOMEM;
	in.p = p + HEAD_BYTES;
	in.end = p + len;
	in.arena = &view->arena;
	view->serial = get_u64(&in);
	for (struct lp_view_group **link = &view->groups; get_u64(&in) == 1 && !in.err;) {
		*link = get_group(&in);
		if (*link)
			link = &(*link)->next;
	}
	if (!in.err && in.p != in.end)
		in.err = -EBADMSG;
	if (in.err) {
		lp_view_free(&view);
		return in.err;
	}
	*ret_view = view;
	return 0;
}

int lp_view_read(const char *path, struct lp_view **ret_view)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK), r = 0;
	struct stat st;
	uint8_t *data;
	size_t got = 0;

	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size > LP_IMAGE_MAX) {
		close(fd);
		return -EFBIG;
	}
	data = malloc((size_t)st.st_size + 1);
	while (data && got < (size_t)st.st_size) {
		ssize_t n = read(fd, data + got, (size_t)st.st_size - got);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		got += (size_t)n;
	}
	close(fd);
	r = data ? lp_view_parse(data, got, ret_view) : -ENOMEM;
	free(data);
	return r;
}

void lp_view_free(struct lp_view **view)
{
	if (!view || !*view)
		return;
	lp_arena_free(&(*view)->arena);
	free(*view);
	*view = NULL;
}
