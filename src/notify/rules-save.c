/* The evaluator's memory on disk: data/rules/state, written and synced before an event leaves, and data/rules/view, for the workers.
 *
 * Guarantees: each file is replaced as a whole; after any kill the newer valid one of the two is what was known last.  A disk that
 * refuses is logged once, alerts go out all the same.
 * Process: notifier, main thread.  If it dies here, a temporary file stays, which the next one replaces. */
#include "notify/rules-private.h"

#include "common/dir.h"
#include "common/fault.h"
#include "common/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void encode_runs(const struct lp_rule_runs *runs, struct lp_buf *out)
{
	for (uint32_t i = 0; i < runs->n; i++)
		lp_image_group(out, runs->runs[i].group, runs->runs[i].states, &runs->runs[i].times);
}

int lp_rules_encode(struct lp_rules *rules, struct lp_buf *out)
{
	lp_image_begin(out, ++rules->serial);
	encode_runs(&rules->live, out);
	for (uint32_t i = 0; i < rules->orphans.n; i++)         /* each has one rule; what was told is over */
		if (rules->orphans.runs[i].states[0].alerts)
			lp_image_group(out, rules->orphans.runs[i].group, rules->orphans.runs[i].states, &rules->orphans.runs[i].times);
	return lp_image_end(out);
}

static uint64_t mix(uint64_t h, int64_t v) { return (h ^ (uint64_t)v) * UINT64_C(1099511628211); }

static uint64_t mark_runs(const struct lp_rule_runs *runs, uint64_t sum)
{
	for (uint32_t i = 0; i < runs->n; i++)
		for (uint32_t k = 0; k < runs->runs[i].group->n_rules; k++)
			for (const struct lp_alert *alert = runs->runs[i].states[k].alerts; alert; alert = alert->next) {
				uint64_t h = mix(alert->fingerprint, (int64_t)(i << 16 | k));

				h = mix(mix(mix(h, alert->state), alert->active_ns), alert->fired_ns);
				sum += mix(mix(mix(h, alert->resolved_ns), alert->keep_since_ns), alert->told_ns);
			}
	return sum;
}

uint64_t lp_rules_mark(const struct lp_rules *rules) { return mark_runs(&rules->orphans, mark_runs(&rules->live, 1)); }

static int write_file(const char *path, const struct lp_buf *data, bool durable)
{
	char tmp[LP_RULES_PATH + 16];
	size_t off = 0;
	int fd, r = 0;

	snprintf(tmp, sizeof tmp, "%s.tmp", path);
	fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0640);
	if (fd < 0)
		return -errno;
	while (off < data->len && r == 0) {
		ssize_t n = write(fd, data->data + off, data->len - off);

		if (n >= 0)
			off += (size_t)n;
		else if (errno != EINTR)
			r = -errno;
	}
	if (r == 0 && durable && fdatasync(fd) < 0)
		r = -errno;
	if (close(fd) < 0 && r == 0)
		r = -errno;
	if (r == 0 && rename(tmp, path) < 0)
		r = -errno;
	if (r < 0)
		(void)unlink(tmp);
	return r < 0 || !durable ? r : lp_dir_sync_parent(path);
}

int lp_rules_save(struct lp_rules *rules, bool durable)
{
	struct lp_buf image = { .max = LP_IMAGE_MAX };
	char path[LP_RULES_PATH + 8];
	int r = lp_rules_encode(rules, &image);

	snprintf(path, sizeof path, "%s/%s", rules->dir, durable ? "state" : "view");
	if (r == 0)
		r = write_file(path, &image, durable);
	lp_buf_free(&image);
	if (r < 0 && !rules->save_failing)
		lp_log(LP_ERROR, "rules: state cannot be saved, a restart may tell alerts twice path=%s error=\"%s\"", path, strerror(-r));
	if (r < 0 || durable)
		rules->save_failing = r < 0;
	return r;
}

static struct lp_view *read_image(const struct lp_rules *rules, const char *name)
{
	char path[LP_RULES_PATH + 8];
	struct lp_view *view = NULL;

	snprintf(path, sizeof path, "%s/%s", rules->dir, name);
	int r = lp_view_read(path, &view);

	if (r < 0 && r != -ENOENT)
		lp_log(LP_WARN, "rules: a file that cannot be used is passed over path=%s error=\"%s\"", path, strerror(-r));
	return view;
}

struct lp_view *lp_rules_saved(struct lp_rules *rules)
{
	struct lp_view *state = read_image(rules, "state"), *view = read_image(rules, "view");
	struct lp_view **older = !view || (state && state->serial > view->serial) ? &view : &state;

	lp_view_free(older);
	return older == &view ? state : view;
}
