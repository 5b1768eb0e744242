/* The option table as data, and what follows from it alone: defaults, lookup, near misses, comparison.  Pure. */
#include "conf/conf-private.h"

#include "common/assert.h"
#include "common/bytes.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RELOAD false
#define RESTART true
#define NOW false
#define LATER true
#define OPTION(sect, fld, kind, rst, eff, lo, hi, dflt, vals, txt)                                        \
	{ .section = sect##_path, .field = #fld, .type = kind, .restart = rst, .later = eff,              \
	  .offset = offsetof(struct lp_conf, sect.fld), .min = lo, .max = hi, .def = dflt, .values = vals, .help = txt },

/* First pass: the path of each section, by its id. */
#define LP_SECTION(id, path, text) static const char id##_path[] = path;
#define LP_SECTION_END(id, path)
#define LP_BOOL(sect, field, def, reload, effect, help)
#define LP_INT(sect, field, def, min, max, reload, effect, help)
#define LP_SIZE(sect, field, def, min, max, reload, effect, help)
#define LP_DURATION(sect, field, def, min, max, reload, effect, help)
#define LP_STRING(sect, field, def, reload, effect, help)
#define LP_ENUM(sect, field, def, values, reload, effect, help)
#define LP_LIST(sect, field, def, reload, effect, help)
#define LP_RULES(sect, field, actions, reload, effect, help)
#include "conf/conf.def"
#undef LP_SECTION

#define LP_SECTION(id, path, text) { path, text },
const struct lp_conf_section lp_conf_sections[] = {
#include "conf/conf.def"
};
#undef LP_SECTION
const size_t lp_conf_n_sections = LP_ARRAY_LEN(lp_conf_sections);

#define LP_SECTION(id, path, text)
#define LP_ENV_ALIAS(env, path) { env, path },
const struct lp_conf_alias lp_conf_aliases[] = {
#include "conf/conf.def"
};
const size_t lp_conf_n_aliases = LP_ARRAY_LEN(lp_conf_aliases);

#define LP_FLAG(flag, path, help) { flag, path, help },
const struct lp_conf_flag lp_conf_flags[] = {
#include "conf/conf.def"
};
const size_t lp_conf_n_flags = LP_ARRAY_LEN(lp_conf_flags);

#undef LP_BOOL
#undef LP_INT
#undef LP_SIZE
#undef LP_DURATION
#undef LP_STRING
#undef LP_ENUM
#undef LP_LIST
#undef LP_RULES
#define LP_BOOL(sect, field, def, reload, effect, help) OPTION(sect, field, LP_CONF_BOOL, reload, effect, 0, 0, #def, NULL, help)
#define LP_INT(sect, field, def, min, max, reload, effect, help) OPTION(sect, field, LP_CONF_INT, reload, effect, min, max, #def, NULL, help)
#define LP_SIZE(sect, field, def, min, max, reload, effect, help) OPTION(sect, field, LP_CONF_SIZE, reload, effect, min, max, def, NULL, help)
#define LP_DURATION(sect, field, def, min, max, reload, effect, help) OPTION(sect, field, LP_CONF_DURATION, reload, effect, min, max, def, NULL, help)
#define LP_STRING(sect, field, def, reload, effect, help) OPTION(sect, field, LP_CONF_STRING, reload, effect, 0, 0, def, NULL, help)
#define LP_ENUM(sect, field, def, values, reload, effect, help) OPTION(sect, field, LP_CONF_ENUM, reload, effect, 0, 0, def, values, help)
#define LP_LIST(sect, field, def, reload, effect, help) OPTION(sect, field, LP_CONF_LIST, reload, effect, 0, 0, def, NULL, help)
#define LP_RULES(sect, field, actions, reload, effect, help) OPTION(sect, field, LP_CONF_RULES, reload, effect, 0, 0, "", actions, help)
const struct lp_conf_option lp_conf_options[] = {
#include "conf/conf.def"
};
const size_t lp_conf_n_options = LP_ARRAY_LEN(lp_conf_options);

void lp_conf_path(const struct lp_conf_option *option, char out[LP_CONF_ENV_MAX])
{
	int n = snprintf(out, LP_CONF_ENV_MAX, "%s%s%s", option->section, *option->section ? "." : "", option->field);

	LP_ASSERT(n > 0 && n < (int)LP_CONF_ENV_MAX);
}

const struct lp_conf_option *lp_conf_find(const char *path)
{
	for (size_t i = 0; i < lp_conf_n_options; i++) {
		const struct lp_conf_option *option = &lp_conf_options[i];
		char own[LP_CONF_ENV_MAX];

		lp_conf_path(option, own);
		if (!strcmp(path, own))
			return option;
	}
	return NULL;
}

bool lp_conf_is_section(const char *path, size_t len)
{
	for (size_t i = 0; len && i < lp_conf_n_sections; i++)
		if (strlen(lp_conf_sections[i].path) == len && !strncmp(path, lp_conf_sections[i].path, len))
			return true;
	return false;
}

/* Optimal string alignment distance (Levenshtein 1966 with adjacent transpositions, Damerau 1964), by the row
 * method of Wagner and Fischer 1974. */
static unsigned distance(const char *a, const char *b)
{
	unsigned rows[3][64], la = (unsigned)strlen(a), lb = (unsigned)strlen(b);

	if (la >= 64 || lb >= 64)
		return 64;
	for (unsigned j = 0; j <= lb; j++)
		rows[0][j] = j;
	for (unsigned i = 1; i <= la; i++) {
		unsigned *row = rows[i % 3], *above = rows[(i + 2) % 3], *above2 = rows[(i + 1) % 3];

		row[0] = i;
		for (unsigned j = 1; j <= lb; j++) {
			unsigned best = above[j - 1] + (a[i - 1] != b[j - 1]);

			if (above[j] + 1 < best)
				best = above[j] + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && above2[j - 2] + 1 < best)
				best = above2[j - 2] + 1;
			row[j] = best;
		}
	}
	return rows[la % 3][lb];
}

void lp_conf_suggest(const char *path, struct lp_buf *out)
{
	const char *dot = strrchr(path, '.'), *last = dot ? dot + 1 : path;
	char full[LP_CONF_ENV_MAX], best[LP_CONF_ENV_MAX] = "";
	unsigned least = 3;             /* two slips at most, and fewer than half of a short name */

	if (strlen(last) < 5)
		least = 2;
	for (size_t i = 0; i < lp_conf_n_sections; i++) {
		unsigned d = distance(path, lp_conf_sections[i].path);

		if (*lp_conf_sections[i].path && d < least) {
			least = d;
			snprintf(best, sizeof best, "%s", lp_conf_sections[i].path);
		}
	}
	for (size_t i = 0; i < lp_conf_n_options; i++) {
		lp_conf_path(&lp_conf_options[i], full);
		unsigned d = distance(path, full);

		if (!strcmp(last, lp_conf_options[i].field) && d > 1)
			d = 1;          /* the right name in the wrong section */
		if (d < least) {
			least = d;
			snprintf(best, sizeof best, "%s", full);
		}
	}
	if (*best)
		lp_buf_printf(out, "; did you mean %s?", best);
}

void lp_conf_env_name(const struct lp_conf_option *option, char out[LP_CONF_ENV_MAX])
{
	int n = snprintf(out, LP_CONF_ENV_MAX, "LOGPULSE_%s%s%s", option->section, *option->section ? "_" : "", option->field);

	LP_ASSERT(n > 0 && n < (int)LP_CONF_ENV_MAX);
	for (char *p = out; *p; p++)
		*p = *p == '.' ? '_' : (char)toupper((unsigned char)*p);
}

int lp_conf_defaults(struct lp_conf **ret_conf)
{
	struct lp_conf *conf = calloc(1, sizeof *conf);
	struct lp_buf reason = LP_BUF_INIT;
	int r = conf ? 0 : -ENOMEM;

	for (size_t i = 0; i < lp_conf_n_options && !r; i++) {
		r = lp_conf_set(conf, &lp_conf_options[i], lp_conf_options[i].def, &reason);
		LP_ASSERT(r != -EINVAL);        /* conf.def contradicts itself */
	}
	lp_buf_free(&reason);
	if (r < 0)
		lp_conf_free(&conf);
	else
		*ret_conf = conf;
	return r;
}

void lp_conf_free(struct lp_conf **conf)
{
	if (!*conf)
		return;
	for (size_t i = 0; i < lp_conf_n_options; i++) {
		void *field = lp_conf_field(*conf, &lp_conf_options[i]);

		if (lp_conf_options[i].type == LP_CONF_STRING)
			free(*(char **)field);
		else if (lp_conf_options[i].type == LP_CONF_LIST)
			lp_conf_list_clear(field);
		else if (lp_conf_options[i].type == LP_CONF_RULES)
			lp_conf_rules_clear(field);
	}
	lp_conf_list_clear(&(*conf)->warnings);
	free(*conf);
	*conf = NULL;
}

static bool same_value(const struct lp_conf *a, const struct lp_conf *b, const struct lp_conf_option *option)
{
	struct lp_buf left = LP_BUF_INIT, right = LP_BUF_INIT;

	lp_conf_print_value(a, option, &left);
	lp_conf_print_value(b, option, &right);
	bool same = !strcmp(lp_buf_cstr(&left), lp_buf_cstr(&right));

	lp_buf_free(&left);
	lp_buf_free(&right);
	return same;
}

void lp_conf_restart_needed(const struct lp_conf *old_conf, const struct lp_conf *new_conf, struct lp_buf *out)
{
	bool first = true;

	for (size_t i = 0; i < lp_conf_n_options; i++) {
		const struct lp_conf_option *option = &lp_conf_options[i];

		if (!option->restart || same_value(old_conf, new_conf, option))
			continue;
		char path[LP_CONF_ENV_MAX];

		lp_conf_path(option, path);
		lp_buf_printf(out, "%s%s", first ? "" : ", ", path);
		first = false;
	}
}
