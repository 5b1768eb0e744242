/* Stream labels with service_name and __tenant_id__ (discover.h).  Pure functions over memory; query threads. */
#include "query/discover.h"

#include "conf/conf.h"

#include <errno.h>
#include <string.h>

struct lp_discover_spec lp_discover_spec_of(const struct lp_conf *conf)
{
	return (struct lp_discover_spec){
		.service_labels = (const char *const *)conf->limits.discover_service_name.items,
		.n_service_labels = conf->limits.discover_service_name.n,
		.levels = conf->limits.discover_log_levels,
		.level_fields = (const char *const *)conf->limits.log_level_fields.items,
		.n_level_fields = conf->limits.log_level_fields.n,
		.json_depth = (uint32_t)conf->limits.log_level_from_json_max_depth,
	};
}

static int copy_names(struct lp_arena *arena, const char *const *from, size_t n, struct lp_str **ret_names)
{
	struct lp_str *names = lp_arena_zalloc(arena, (n + 1) * sizeof *names);

	if (!names)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		names[i].len = (uint32_t)strlen(from[i]);
		names[i].s = lp_arena_strndup(arena, from[i], names[i].len);
		if (!names[i].s)
			return -ENOMEM;
	}
	*ret_names = names;
	return 0;
}

int lp_discover_open(const struct lp_discover_spec *spec, bool tenant, struct lp_arena *arena, struct lp_discover **ret_discover)
{
	static const struct lp_discover_spec nothing = { 0 };
	struct lp_discover *d;
	int r;

	if (!spec)
		spec = &nothing;
	*ret_discover = NULL;
	if (!spec->n_service_labels && !spec->levels && !tenant)
		return 0;
	d = lp_arena_zalloc(arena, sizeof *d);
	if (!d)
		return -ENOMEM;
	d->tenant = tenant;
	d->levels = spec->levels;
	d->json_depth = spec->json_depth;
	d->n_services = (uint32_t)spec->n_service_labels;
	d->n_fields = (uint32_t)spec->n_level_fields;
	r = copy_names(arena, spec->service_labels, spec->n_service_labels, &d->services);
	if (r == 0)
		r = copy_names(arena, spec->level_fields, spec->n_level_fields, &d->fields);
	for (uint32_t i = 0; r == 0 && i < d->n_fields; i++)
		d->field_lens |= UINT64_C(1) << (d->fields[i].len < 63 ? d->fields[i].len : 63);
	if (r == 0)
		*ret_discover = d;
	return r;
}

static bool is(const char *s, size_t n, const char *word)
{
	return n == strlen(word) && memcmp(s, word, n) == 0;
}

bool lp_discover_adds(const struct lp_discover *d, const char *name, size_t len)
{
	return d && ((d->n_services && is(name, len, LP_SERVICE_NAME)) || (d->tenant && is(name, len, LP_TENANT_ID)));
}

uint32_t lp_discover_names(const struct lp_discover *d, const char *ret_names[LP_DISCOVER_VIRTUAL])
{
	uint32_t n = 0;

	if (d && d->tenant)
		ret_names[n++] = LP_TENANT_ID;
	if (d && d->n_services)
		ret_names[n++] = LP_SERVICE_NAME;
	return n;
}

/* service_name of a stream that has no such label. */
static int find_service(const struct lp_discover *d, const uint8_t *labels, size_t len, struct lp_label *ret_label)
{
	struct lp_label label = { LP_SERVICE_NAME, sizeof LP_SERVICE_NAME - 1, sizeof LP_UNKNOWN_SERVICE - 1, LP_UNKNOWN_SERVICE }, found;
	struct lp_labels_iter it;
	uint32_t best = d->n_services;
	int r = lp_labels_iter(&it, labels, len, NULL, NULL);

	if (r < 0)
		return r;
	while ((r = lp_labels_next(&it, &found)) == 1)
		for (uint32_t i = 0; i < best; i++)
			if (d->services[i].len == found.name_len && memcmp(d->services[i].s, found.name, found.name_len) == 0) {
				best = i;
				label.value = found.value;
				label.value_len = found.value_len;
			}
	if (r == 0)
		*ret_label = label;
	return r;
}

static int find_tenant(const uint8_t *labels, size_t len, struct lp_label *ret_label)
{
	struct lp_labels_iter it;
	const char *tenant;
	size_t tenant_len;
	int r = lp_labels_iter(&it, labels, len, &tenant, &tenant_len);

	if (r == 0)
		*ret_label = (struct lp_label){ LP_TENANT_ID, sizeof LP_TENANT_ID - 1, (uint32_t)tenant_len, tenant };
	return r;
}

int lp_discover_find(const struct lp_discover *d, const uint8_t *labels, size_t len, const char *name, size_t name_len, struct lp_label *ret_label)
{
	int r;

	/* Whose a stream is cannot be claimed by a label of that name. */
	if (d && d->tenant && is(name, name_len, LP_TENANT_ID)) {
		r = find_tenant(labels, len, ret_label);
		return r < 0 ? r : 1;
	}
	r = lp_labels_find(labels, len, name, name_len, ret_label);
	if (r != 0 || !d || !d->n_services || !is(name, name_len, LP_SERVICE_NAME))
		return r;
	r = find_service(d, labels, len, ret_label);
	return r < 0 ? r : 1;
}

/* Put one in its place, unless a label of its name is there: then it replaces that one. */
static int insert(struct lp_label *labels, uint32_t *n, uint32_t cap, const struct lp_label *label)
{
	uint32_t at = *n;

	for (; at > 0; at--) {
		const struct lp_label *left = &labels[at - 1];
		size_t shorter = left->name_len < label->name_len ? left->name_len : label->name_len;
		int c = memcmp(left->name, label->name, shorter);

		if (c == 0 && left->name_len == label->name_len) {
			labels[at - 1] = *label;
			return 0;
		}
		if (c < 0 || (c == 0 && left->name_len < label->name_len))
			break;
	}
	if (*n == cap)
		return -EBADMSG;
	memmove(labels + at + 1, labels + at, (*n - at) * sizeof *labels);
	labels[at] = *label;
	++*n;
	return 0;
}

int lp_discover_labels(const struct lp_discover *d, const uint8_t *labels, size_t len, struct lp_label *ret_labels, uint32_t cap, uint32_t *ret_n)
{
	const char *names[LP_DISCOVER_VIRTUAL];
	uint32_t n_names = lp_discover_names(d, names), n = 0;
	struct lp_labels_iter it;
	struct lp_label label;
	int r = lp_labels_iter(&it, labels, len, NULL, NULL);

	if (r < 0)
		return r;
	while ((r = lp_labels_next(&it, &label)) == 1) {
		if (n == cap)
			return -EBADMSG;
		ret_labels[n++] = label;
	}
	for (uint32_t i = 0; r == 0 && i < n_names; i++) {
		r = lp_discover_find(d, labels, len, names[i], strlen(names[i]), &label);
		if (r == 1)
			r = insert(ret_labels, &n, cap, &label);
	}
	if (r == 0)
		*ret_n = n;
	return r;
}
