/* Loading: defaults < file < environment < flags.  Runs in the master at start and in each process at a reload; it only
 * reads, so a process that dies here leaves nothing behind. */
#include "conf/conf-private.h"
#include "conf/yaml.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* One option with the place it came from in front of the complaint. */
static int set_from(struct lp_conf *conf, const char *where, const char *path, const char *text, struct lp_buf *error)
{
	const struct lp_conf_option *option = lp_conf_find(path);
	struct lp_buf reason = LP_BUF_INIT;
	int r = -EINVAL;

	if (option) {
		r = lp_conf_set(conf, option, text, &reason);
	} else {
		lp_buf_str(&reason, "unknown option");
		lp_conf_suggest(path, &reason);
	}
	if (r < 0)
		lp_buf_printf(error, "%s: %.100s: %s", where, path, lp_buf_cstr(&reason));
	lp_buf_free(&reason);
	return r;
}

/* The short names come first, so that the full name wins.  An empty variable counts as not set: that is what
 * compose files and unit files leave behind. */
static int apply_env(struct lp_conf *conf, struct lp_buf *error)
{
	char name[LP_CONF_ENV_MAX], path[LP_CONF_ENV_MAX];
	int r = 0;

	for (size_t i = 0; i < lp_conf_n_aliases && !r; i++) {
		const char *value = getenv(lp_conf_aliases[i].env);

		if (!value || !*value)
			continue;
		if (!strncmp(lp_conf_aliases[i].env, "OTEL_", 5))
			r = lp_conf_otel(conf, &lp_conf_aliases[i], value);
		else
			r = set_from(conf, lp_conf_aliases[i].env, lp_conf_aliases[i].path, value, error);
		if (!strcmp(lp_conf_aliases[i].path, "auth.api_key"))
			conf->auth.enabled = true;
	}
	for (size_t i = 0; i < lp_conf_n_options && !r; i++) {
		lp_conf_env_name(&lp_conf_options[i], name);
		const char *value = getenv(name);

		if (!value || !*value)
			continue;
		lp_conf_path(&lp_conf_options[i], path);
		r = set_from(conf, name, path, value, error);
	}
	return r;
}

static int read_key_file(struct lp_conf *conf, const char *path, struct lp_buf *error)
{
	struct lp_buf text = LP_BUF_INIT;
	int r = lp_yaml_read(path, LP_CONF_MAX_TEXT, &text, error);

	if (!r) {
		char *line = (char *)(uintptr_t)lp_buf_cstr(&text);

		line[strcspn(line, "\r\n")] = 0;
		if (*line) {
			conf->auth.enabled = true;
			r = set_from(conf, "--api-key-file", "auth.api_key", line, error);
		} else {
			lp_buf_printf(error, "--api-key-file: the first line of %s is empty", path);
			r = -EINVAL;
		}
		explicit_bzero(text.data, text.len);
	}
	lp_buf_free(&text);
	return r == -ENOMEM ? r : r < 0 ? -EINVAL : 0;
}

/* The state of one walk over argv.  The first walk (conf NULL) checks the syntax and fills args, the second applies. */
struct walk {
	struct lp_conf *conf;
	struct lp_conf_args *args;
	bool *ret_usage;
	struct lp_buf *error;
};

static int usage(struct walk *walk, const char *arg, const char *reason)
{
	lp_buf_printf(walk->error, "%.100s: %s", arg, reason);
	*walk->ret_usage = true;
	return -EINVAL;
}

/* --flag with a value: `name` has no dashes and len bytes. */
static int take_flag(struct walk *walk, const char *arg, const char *name, size_t len, const char *value)
{
	const char *equals;
	int r = 0;

	if (len == 6 && !strncmp(name, "config", 6)) {
		walk->args->config_path = value;
		return 0;
	}
	if (len == 3 && !strncmp(name, "set", 3)) {
		char path[LP_CONF_ENV_MAX];

		equals = strchr(value, '=');
		if (!equals || equals == value || (size_t)(equals - value) >= sizeof path)
			return usage(walk, arg, "expected --set section.option=value");
		memcpy(path, value, (size_t)(equals - value));
		path[equals - value] = 0;
		if (walk->conf)
			r = set_from(walk->conf, "--set", path, equals + 1, walk->error);
	} else {
		for (size_t i = 0; i < lp_conf_n_flags; i++) {
			const struct lp_conf_flag *flag = &lp_conf_flags[i];
			char where[64];

			if (strlen(flag->flag) != len || strncmp(flag->flag, name, len))
				continue;
			(void)strcpy(stpcpy(where, "--"), flag->flag);
			if (!walk->conf)
				return 0;
			if (!*flag->path)       /* what the file holds is configuration, not usage */
				return read_key_file(walk->conf, value, walk->error);
			r = set_from(walk->conf, where, flag->path, value, walk->error);
		}
	}
	if (r == -EINVAL)
		*walk->ret_usage = true;
	return r;
}

static bool known_flag(const char *name, size_t len)
{
	if ((len == 6 && !strncmp(name, "config", 6)) || (len == 3 && !strncmp(name, "set", 3)))
		return true;
	for (size_t i = 0; i < lp_conf_n_flags; i++)
		if (strlen(lp_conf_flags[i].flag) == len && !strncmp(lp_conf_flags[i].flag, name, len))
			return true;
	return false;
}

static bool *switch_of(struct lp_conf_args *args, const char *arg)
{
	if (!strcmp(arg, "-t") || !strcmp(arg, "--check-config"))
		return &args->check;
	if (!strcmp(arg, "--print-config"))
		return &args->print;
	if (!strcmp(arg, "-V") || !strcmp(arg, "--version"))
		return &args->version;
	if (!strcmp(arg, "-h") || !strcmp(arg, "--help"))
		return &args->help;
	return NULL;
}

static int walk_argv(struct walk *walk, int argc, char *const argv[])
{
	int r = 0;

	for (int i = 1; i < argc && !r; i++) {
		const char *arg = argv[i], *value;
		bool *on = switch_of(walk->args, arg);

		if (on) {
			*on = true;
			continue;
		}
		size_t len = strncmp(arg, "--", 2) ? 0 : strcspn(arg + 2, "=");

		if (!len)
			return usage(walk, arg, arg[0] == '-' && arg[1] ? "unknown flag; see --help" : "unexpected argument; see --help");
		if (!known_flag(arg + 2, len))
			return usage(walk, arg, "unknown flag; see --help");
		value = arg[2 + len] ? arg + 3 + len : i + 1 < argc ? argv[++i] : NULL;
		if (!value)
			return usage(walk, arg, "needs a value");
		r = take_flag(walk, arg, arg + 2, len, value);
	}
	return r;
}

static int apply_file(struct lp_conf *conf, struct lp_conf_args *args, struct lp_buf *error)
{
	const char *path = args->config_path;
	struct lp_buf text = LP_BUF_INIT, reason = LP_BUF_INIT;
	int r = lp_yaml_read(path ? path : LP_CONF_DEFAULT_PATH, LP_YAML_MAX_FILE, &text, &reason);

	if (!r) {
		r = lp_conf_apply_yaml(conf, path ? path : LP_CONF_DEFAULT_PATH, text.data, text.len, error);
	} else if (!path && (r == -ENOENT || r == -ENOTDIR)) {
		r = 0;                  /* nobody asked for this one */
	} else {
		lp_buf_str(error, lp_buf_cstr(&reason));
		r = r == -ENOMEM ? r : -EINVAL;
	}
	lp_buf_free(&text);
	lp_buf_free(&reason);
	return r;
}

int lp_conf_load(int argc, char *const argv[], struct lp_conf_args *args, struct lp_conf **ret_conf, bool *ret_usage,
		 struct lp_buf *error)
{
	struct walk walk = { .args = args, .ret_usage = ret_usage, .error = error };
	struct lp_conf *conf = NULL;

	*args = (struct lp_conf_args){ 0 };
	*ret_usage = false;
	int r = walk_argv(&walk, argc, argv);

	if (!args->config_path) {
		const char *path = getenv("LOGPULSE_CONFIG");

		args->config_path = path && *path ? path : NULL;
	}
	if (!r)
		r = lp_conf_defaults(&conf);
	if (!r && (args->help || args->version)) {
		*ret_conf = conf;       /* a bad file must not stand between a user and the help */
		return 0;
	}
	if (!r)
		r = apply_file(conf, args, error);
	if (!r)
		r = apply_env(conf, error);
	walk.conf = conf;
	if (!r)
		r = walk_argv(&walk, argc, argv);
	if (!r)
		r = lp_conf_cross_check(conf, error);
	if (r < 0)
		lp_conf_free(&conf);
	else
		*ret_conf = conf;
	return r;
}
