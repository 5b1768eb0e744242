/* Texts made from the option table: --print-config, --help, the commented example, the option part of logpulse.yaml(5). */
#include "conf/conf-private.h"

#include <errno.h>
#include <string.h>

/* How far the options of a section are indented, in levels; those of the section "" not at all. */
static unsigned depth_of(const char *section)
{
	unsigned depth = *section ? 1 : 0;

	for (; (section = strchr(section, '.')); section++)
		depth++;
	return depth;
}

/* The heads of a section: "server.tls" stands inside "server", which the table puts before it. */
static void print_section(const struct lp_conf_section *section, struct lp_buf *out)
{
	const char *dot = strrchr(section->path, '.');

	if (*section->path)
		lp_buf_printf(out, "%*s%s:\n", (int)depth_of(section->path) * 2 - 2, "", dot ? dot + 1 : section->path);
}

void lp_conf_print(const struct lp_conf *conf, struct lp_buf *out)
{
	for (size_t s = 0; s < lp_conf_n_sections; s++) {
		print_section(&lp_conf_sections[s], out);
		for (size_t i = 0; i < lp_conf_n_options; i++) {
			const struct lp_conf_option *option = &lp_conf_options[i];

			if (strcmp(option->section, lp_conf_sections[s].path))
				continue;
			lp_buf_printf(out, "%*s%s: ", (int)depth_of(option->section) * 2, "", option->field);
			if (!strcmp(option->field, "api_key") && **(char **)lp_conf_field(conf, option))
				lp_buf_str(out, "\"<hidden>\"");
			else if (!strcmp(option->field, "headers") && ((struct lp_conf_list *)lp_conf_field(conf, option))->n)
				lp_buf_str(out, "[\"<hidden>\"]");
			else
				lp_conf_print_value(conf, option, out);
			lp_buf_byte(out, '\n');
		}
	}
}

static void print_range(const struct lp_conf_option *option, struct lp_buf *out)
{
	int64_t ends[2] = { option->min, option->max };

	for (unsigned i = 0; i < 2; i++) {
		if (option->type == LP_CONF_SIZE)
			lp_conf_print_size(ends[i], out);
		else if (option->type == LP_CONF_DURATION)
			lp_conf_print_duration(ends[i], out);
		else
			lp_buf_i64(out, ends[i]);
		if (!i)
			lp_buf_str(out, " to ");
	}
}

/* "whole number, 1 to 65535", "sync or process", ... */
static void print_type(const struct lp_conf_option *option, struct lp_buf *out)
{
	static const char *const names[] = {
		[LP_CONF_BOOL] = "true or false", [LP_CONF_INT] = "whole number, ", [LP_CONF_SIZE] = "size, ",
		[LP_CONF_DURATION] = "duration, ", [LP_CONF_STRING] = "text", [LP_CONF_ENUM] = "one of ",
		[LP_CONF_LIST] = "list of texts", [LP_CONF_RULES] = "list of rules {action, attributes or regex}, action one of ",
	};

	lp_buf_str(out, names[option->type]);
	if (option->type == LP_CONF_INT || option->type == LP_CONF_SIZE || option->type == LP_CONF_DURATION)
		print_range(option, out);
	for (const char *p = option->values; p && *p; p++)
		if (*p == '|')
			lp_buf_str(out, ", ");
		else
			lp_buf_byte(out, (uint8_t)*p);
}

int lp_conf_example(struct lp_buf *out)
{
	struct lp_conf *conf;
	int r = lp_conf_defaults(&conf);

	if (r < 0)
		return r;
	lp_buf_str(out, "# LogPulse configuration: every option with its default; keep only what you change.\n"
			"# logpulse.yaml(5) explains it; \"logpulse --check-config\" tests it; SIGHUP loads it again.\n"
			"# ${NAME} and ${NAME:-default} stand for environment variables.\n");
	for (size_t s = 0; s < lp_conf_n_sections; s++) {
		int indent = (int)depth_of(lp_conf_sections[s].path) * 2;

		lp_buf_printf(out, "\n%*s# %s\n", indent ? indent - 2 : 0, "", lp_conf_sections[s].text);
		print_section(&lp_conf_sections[s], out);
		for (size_t i = 0; i < lp_conf_n_options; i++) {
			const struct lp_conf_option *option = &lp_conf_options[i];

			if (strcmp(option->section, lp_conf_sections[s].path))
				continue;
			lp_buf_printf(out, "%*s# %s (", indent, "", option->help);
			print_type(option, out);
			lp_buf_printf(out, "%s%s)\n%*s%s: ", option->restart ? "; needs a restart" : "",
				      option->later ? "; not yet in effect" : "", indent, "", option->field);
			lp_conf_print_value(conf, option, out);
			lp_buf_byte(out, '\n');
		}
	}
	lp_conf_free(&conf);
	return out->failed ? -ENOMEM : 0;
}

void lp_conf_usage(struct lp_buf *out)
{
	lp_buf_str(out, "Usage: logpulse [FLAG]...\n\n"
			"Log aggregation server: Loki's API on its own durable engine, one port, one data directory.\n\n"
			"  --config FILE          configuration (default " LP_CONF_DEFAULT_PATH ", if it exists)\n"
			"  -t, --check-config     load the configuration, report the first error, exit 0 or 78\n"
			"  --print-config         print the effective configuration as YAML and exit\n"
			"  --set SECTION.OPTION=VALUE\n"
			"                         set any option of logpulse.yaml(5)\n");
	for (size_t i = 0; i < lp_conf_n_flags; i++) {
		size_t len = strlen(lp_conf_flags[i].flag);

		lp_buf_printf(out, "  --%s %-*s%s\n", lp_conf_flags[i].flag, len < 20 ? (int)(20 - len) : 1,
			      *lp_conf_flags[i].path ? "VALUE" : "FILE", lp_conf_flags[i].help);
	}
	lp_buf_str(out, "  -V, --version          print the version and exit\n"
			"  -h, --help             print this and exit\n\n"
			"Every option also has an environment variable: server.port is LOGPULSE_SERVER_PORT.\n"
			"Flags win over the environment, the environment over the file.  See logpulse(8).\n");
}

/* Text for troff: no control lines, no accidental escapes, real hyphens. */
static void print_troff(const char *s, struct lp_buf *out)
{
	for (bool start = true; *s; s++, start = false) {
		if (start && (*s == '.' || *s == '\''))
			lp_buf_str(out, "\\&");
		if (*s == '\\')
			lp_buf_str(out, "\\e");
		else if (*s == '-')
			lp_buf_str(out, "\\-");
		else
			lp_buf_byte(out, (uint8_t)*s);
	}
}

static void man_default(const struct lp_conf *conf, const struct lp_conf_option *option, struct lp_buf *out)
{
	struct lp_buf value = LP_BUF_INIT;

	lp_conf_print_value(conf, option, &value);
	print_troff(lp_buf_cstr(&value), out);
	lp_buf_free(&value);
}

static void man_option(const struct lp_conf *conf, const struct lp_conf_option *option, struct lp_buf *out)
{
	struct lp_buf type = LP_BUF_INIT;
	char env[LP_CONF_ENV_MAX], path[LP_CONF_ENV_MAX];

	lp_conf_env_name(option, env);
	lp_conf_path(option, path);
	print_type(option, &type);
	lp_buf_printf(out, ".TP\n.B %s\n", path);
	print_troff(option->help, out);
	lp_buf_str(out, ".\n.br\n");
	print_troff(lp_buf_cstr(&type), out);
	lp_buf_str(out, "; default ");
	man_default(conf, option, out);
	lp_buf_printf(out, "; %s.\n", option->restart ? "needs a restart" : "taken on reload");
	if (option->later)
		lp_buf_str(out, "Accepted, but not yet in effect.\n");
	lp_buf_printf(out, ".br\n.I %s", env);
	for (size_t i = 0; i < lp_conf_n_aliases; i++)
		if (lp_conf_find(lp_conf_aliases[i].path) == option)
			lp_buf_printf(out, ", %s", lp_conf_aliases[i].env);
	lp_buf_byte(out, '\n');
	lp_buf_free(&type);
}

void lp_conf_man(struct lp_buf *out)
{
	struct lp_conf *conf;

	if (lp_conf_defaults(&conf) < 0) {
		out->failed = true;
		return;
	}
	for (size_t s = 0; s < lp_conf_n_sections; s++) {
		lp_buf_printf(out, ".SS %s\n", *lp_conf_sections[s].path ? lp_conf_sections[s].path : "at the top");
		print_troff(lp_conf_sections[s].text, out);
		lp_buf_str(out, ".\n");
		for (size_t i = 0; i < lp_conf_n_options; i++)
			if (!strcmp(lp_conf_options[i].section, lp_conf_sections[s].path))
				man_option(conf, &lp_conf_options[i], out);
	}
	lp_conf_free(&conf);
}
