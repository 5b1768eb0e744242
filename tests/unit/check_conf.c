/* Configuration: every source, every kind of complaint, and the texts made from the table. */
#include "conf/conf-private.h"
#include "conf/yaml.h"

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct lp_conf_args args;
static struct lp_conf *conf;
static struct lp_buf error;
static bool usage;
static char path[64];

static void setup(void)
{
	(void)strcpy(path, "/tmp/check_conf.XXXXXX");
	int fd = mkstemp(path);

	ck_assert_int_ge(fd, 0);
	close(fd);
}

static void teardown(void)
{
	unlink(path);
	lp_conf_free(&conf);
	lp_buf_free(&error);
}

/* Load with --config `path` and up to three more arguments. */
static int load(const char *yaml, char *a, char *b, char *c)
{
	char *argv[] = { "logpulse", "--config", path, a, b, c, NULL };
	FILE *f = fopen(path, "w");

	ck_assert_ptr_nonnull(f);
	ck_assert_int_ge(fputs(yaml, f), 0);
	fclose(f);
	lp_conf_free(&conf);
	lp_buf_reset(&error);
	return lp_conf_load(3 + !!a + !!b + !!c, argv, &args, &conf, &usage, &error);
}

/* A reason that starts with ":" has the file's name in front. */
static void refused(const char *yaml, const char *reason)
{
	char expected[1024];

	ck_assert_int_eq(load(yaml, NULL, NULL, NULL), -EINVAL);
	snprintf(expected, sizeof expected, "%s%s", *reason == ':' ? path : "", reason);
	ck_assert_str_eq(lp_buf_cstr(&error), expected);
	ck_assert(!usage);
	ck_assert_ptr_null(conf);
}

START_TEST(durations_and_sizes)
{
	static const struct { const char *s; int64_t v; int r; } d[] = {
		{ "0", 0, 0 }, { "250ms", 250, 0 }, { "30s", 30000, 0 }, { "1h30m", 5400000, 0 }, { "7d", 604800000, 0 },
		{ "1.5h", 5400000, 0 }, { "2w", 1209600000, 0 }, { "5", 0, -EINVAL }, { "", 0, -EINVAL }, { "-5s", 0, -EINVAL },
		{ "5x", 0, -EINVAL }, { "1h 2m", 0, -EINVAL }, { "5S", 0, -EINVAL }, { "1.s", 0, -EINVAL }, { ".5s", 0, -EINVAL },
		{ "9223372036854775807d", 0, -ERANGE }, { "99999999999999999999s", 0, -ERANGE },
		{ "9223372036854775807ms1ms", 0, -ERANGE },
	}, s[] = {
		{ "1024", 1024, 0 }, { "64KiB", 65536, 0 }, { "64kib", 65536, 0 }, { "10MB", 10000000, 0 }, { "1.5GiB", 1610612736, 0 },
		{ "4K", 4096, 0 }, { "7B", 7, 0 }, { "", 0, -EINVAL }, { "x", 0, -EINVAL }, { "-1", 0, -EINVAL },
		{ "1MiBx", 0, -EINVAL }, { "1MiB2", 0, -EINVAL }, { "9000000000GiB", 0, -ERANGE },
	};

	for (size_t i = 0; i < sizeof d / sizeof *d; i++) {
		int64_t v = 0;

		ck_assert_msg(lp_conf_parse_duration(d[i].s, &v) == d[i].r && v == d[i].v, "%s", d[i].s);
	}
	for (size_t i = 0; i < sizeof s / sizeof *s; i++) {
		int64_t v = 0;

		ck_assert_msg(lp_conf_parse_size(s[i].s, &v) == s[i].r && v == s[i].v, "%s", s[i].s);
	}
}
END_TEST

START_TEST(file_sets_every_type)
{
	ck_assert_int_eq(load("", NULL, NULL, NULL), 0);
	ck_assert_int_eq(conf->server.port, 8080);
	ck_assert_str_eq(conf->storage.path, "./data/logs");
	ck_assert_int_eq(conf->storage.durability, LP_DURABILITY_SYNC);
	ck_assert_int_eq(load("server:\n  port: \"9000\"\n  tls: {cert_file: /c, key_file: '/k'}\n"
			      "  cors:\n    enabled: false\nstorage: {durability: process, wal_file_min: 64KiB}\n"
			      "limits:\n  query_timeout: 2m\nrate_limit:\n  whitelist_ips: [10.0.0.1, \"::1\"]\n"
			      "  blacklist_ips:\nlogging:\n", NULL, NULL, NULL), 0);
	ck_assert_int_eq(conf->server.port, 9000);
	ck_assert_str_eq(conf->server_tls.key_file, "/k");
	ck_assert(!conf->server_cors.enabled);
	ck_assert_int_eq(conf->storage.durability, LP_DURABILITY_PROCESS);
	ck_assert_int_eq(conf->storage.wal_file_min, 65536);
	ck_assert_int_eq(conf->limits.query_timeout, 120000);
	ck_assert_uint_eq(conf->rate_limit.whitelist_ips.n, 2);
	ck_assert_str_eq(conf->rate_limit.whitelist_ips.items[1], "::1");
}
END_TEST

START_TEST(errors_name_line_key_and_range)
{
	refused("\nserver:\n  port: 99999\n", ":3: server.port: 99999 is out of range 1..65535");
	refused("server:\n  port: many\n", ":2: server.port: \"many\" is not a whole number in the range 1..65535");
	refused("server:\n  port:\n", ":2: server.port: \"\" is not a whole number in the range 1..65535");
	refused("server:\n  port: [1]\n", ":2: server.port: expected one value, not a list");
	refused("server:\n  prot: 1\n", ":2: server.prot: unknown option; did you mean server.port?");
	refused("server:\n  retention_days: 1\n",
		":2: server.retention_days: unknown option; did you mean storage.retention_days?");
	refused("sever:\n  port: 1\n", ":1: sever: unknown section; did you mean server?");
	refused("zzz: 1\n", ":1: zzz: unknown option");
	refused("server: 5\n", ":1: server: expected a section of options");
	refused("server:\n  port: 1\n  host: a\n  port: 2\n", ":4: port: duplicate key, first given in line 2");
	refused("storage:\n  durability: never\n", ":2: storage.durability: \"never\" is none of sync, process");
	refused("auth:\n  enabled: maybe\n", ":2: auth.enabled: \"maybe\" is neither true nor false");
	refused("server:\n  read_timeout: 30\n",
		":2: server.read_timeout: \"30\" is not a duration such as 30s, 5m, 1h30m or 7d in the range 100ms..1h");
	refused("ingest:\n  max_body_bytes: 1GiB\n", ":2: ingest.max_body_bytes: 1GiB is out of range 1KiB..256MiB");
	refused("rate_limit:\n  whitelist_ips: 10.0.0.1\n",
		":2: rate_limit.whitelist_ips: expected a list, for example [a, b]");
	refused("rate_limit:\n  whitelist_ips: [[a]]\n", ":2: rate_limit.whitelist_ips: expected plain text in the list");
	refused("- a\n", ":1: expected sections such as \"server:\"");
}
END_TEST

START_TEST(yaml_is_bounded)
{
	char *big = malloc(LP_YAML_MAX_FILE + 2);

	refused("a: &x 1\n", ":1: anchors, aliases and tags are not supported");
	refused("a: *x\n", ":1: anchors, aliases and tags are not supported");
	refused("a: !!int 1\n", ":1: anchors, aliases and tags are not supported");
	refused("a: 1\n---\nb: 2\n", ":2: more than one document in the file");
	refused("? [a]\n: b\n", ":1: a key must be a plain name");
	refused("[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]", ":1: nested too deeply");
	refused("a: \"x\\0y\"\n", ":1: a NUL character is not allowed");
	ck_assert_int_eq(load("a: [\n", NULL, NULL, NULL), -EINVAL);
	ck_assert_ptr_nonnull(strstr(lp_buf_cstr(&error), ": not valid YAML: "));
	memset(big, '\n', LP_YAML_MAX_FILE + 1);
	big[LP_YAML_MAX_FILE + 1] = 0;
	ck_assert_int_eq(load(big, NULL, NULL, NULL), -EINVAL);
	ck_assert_ptr_nonnull(strstr(lp_buf_cstr(&error), "larger than 1048576 bytes"));
	free(big);
}
END_TEST

START_TEST(variables_expand)
{
	setenv("CHECK_DIR", "/srv/x: [", 1);
	ck_assert_int_eq(load("storage:\n  path: ${CHECK_DIR}/logs\nserver:\n  port: ${CHECK_NONE:-81}\n"
			      "  user: \"$${x} $5\"\n", NULL, NULL, NULL), 0);
	ck_assert_str_eq(conf->storage.path, "/srv/x: [/logs");
	ck_assert_int_eq(conf->server.port, 81);
	ck_assert_str_eq(conf->server.user, "${x} $5");
	refused("storage:\n  path: ${CHECK_NONE}\n",
		":2: the environment has no CHECK_NONE; ${CHECK_NONE:-default} gives it a default");
	refused("storage:\n  path: ${CHECK_DIR\n", ":2: ${ has no closing }; write $${ for a plain ${");
	refused("storage:\n  path: ${a b}\n", ":2: expected ${NAME} or ${NAME:-default}; write $${ for a plain ${");
}
END_TEST

START_TEST(environment_wins_over_file)
{
	setenv("LOGPULSE_PORT", "81", 1);
	setenv("LOGPULSE_SERVER_TLS_CERT_FILE", "/c", 1);
	setenv("LOGPULSE_SERVER_TLS_KEY_FILE", "/k", 1);
	setenv("LOGPULSE_RATE_LIMIT_WHITELIST", " 10.0.0.1 ,, ::1", 1);
	setenv("LOGPULSE_API_KEY", "secret", 1);
	setenv("LOGPULSE_LOG_LEVEL", "", 1);
	setenv("LOGPULSE_FAULT", "x:1", 1);
	setenv("LOGPULSE_SERVER_URL", "http://x", 1);
	ck_assert_int_eq(load("server: {port: 80}\nauth: {enabled: false}\n", NULL, NULL, NULL), 0);
	ck_assert_int_eq(conf->server.port, 81);
	ck_assert_str_eq(conf->server_tls.cert_file, "/c");
	ck_assert_uint_eq(conf->rate_limit.whitelist_ips.n, 2);
	ck_assert_str_eq(conf->rate_limit.whitelist_ips.items[0], "10.0.0.1");
	ck_assert(conf->auth.enabled);
	setenv("LOGPULSE_SERVER_PORT", "82", 1);
	ck_assert_int_eq(load("", NULL, NULL, NULL), 0);
	ck_assert_int_eq(conf->server.port, 82);
	ck_assert_int_eq(load("", "--port", "83", NULL), 0);
	ck_assert_int_eq(conf->server.port, 83);
	setenv("LOGPULSE_PORT", "x", 1);
	refused("", "LOGPULSE_PORT: server.port: \"x\" is not a whole number in the range 1..65535");
}
END_TEST

START_TEST(flags_win)
{
	ck_assert_int_eq(load("server: {port: 80}\n", "--port=81", "--set", "rate_limit.burst=7"), 0);
	ck_assert_int_eq(conf->server.port, 81);
	ck_assert_int_eq(conf->rate_limit.burst, 7);
	ck_assert_int_eq(load("", "-t", "--print-config", "--storage-path=/x"), 0);
	ck_assert(args.check && args.print && !args.help && !args.version);
	ck_assert_str_eq(args.config_path, path);
	ck_assert_str_eq(conf->storage.path, "/x");
	ck_assert_int_eq(load("bad: 1", "-h", "-V", NULL), 0);
	ck_assert(args.help && args.version);
}
END_TEST

START_TEST(wrong_command_line_is_usage)
{
	static const struct { char *a, *b; const char *reason; } t[] = {
		{ "--prot", "1", "--prot: unknown flag; see --help" },
		{ "-x", NULL, "-x: unknown flag; see --help" },
		{ "file", NULL, "file: unexpected argument; see --help" },
		{ "--", NULL, "--: unknown flag; see --help" },
		{ "--port", NULL, "--port: needs a value" },
		{ "--port", "0", "--port: server.port: 0 is out of range 1..65535" },
		{ "--set", "port", "--set: expected --set section.option=value" },
		{ "--set", "server.prt=1", "--set: server.prt: unknown option; did you mean server.port?" },
	};

	for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
		ck_assert_int_eq(load("", t[i].a, t[i].b, NULL), -EINVAL);
		ck_assert_str_eq(lp_buf_cstr(&error), t[i].reason);
		ck_assert(usage);
	}
}
END_TEST

START_TEST(missing_file_is_refused)
{
	char *argv[] = { "logpulse", "--config=/nonexistent/x.yaml", NULL };

	ck_assert_int_eq(lp_conf_load(2, argv, &args, &conf, &usage, &error), -EINVAL);
	ck_assert_str_eq(lp_buf_cstr(&error), "/nonexistent/x.yaml: cannot open: No such file or directory");
	ck_assert(!usage);
	lp_buf_reset(&error);
	setenv("LOGPULSE_CONFIG", "/nonexistent/y.yaml", 1);
	ck_assert_int_eq(lp_conf_load(1, argv, &args, &conf, &usage, &error), -EINVAL);
	ck_assert_str_eq(lp_buf_cstr(&error), "/nonexistent/y.yaml: cannot open: No such file or directory");
}
END_TEST

START_TEST(pairs_must_agree)
{
	refused("auth: {enabled: true}", "auth.api_key: auth.enabled is true but there is no key; set auth.api_key, "
					 "LOGPULSE_API_KEY or --api-key-file");
	refused("auth: {api_key: <hidden>}",
		"auth.api_key: <hidden> is what --print-config shows instead of the key; put the key here");
	refused("server: {tls: {cert_file: /c}}",
		"server.tls.key_file: missing; TLS needs both server.tls.cert_file and server.tls.key_file");
	refused("server: {tls: {key_file: /c}}",
		"server.tls.cert_file: missing; TLS needs both server.tls.cert_file and server.tls.key_file");
	refused("storage: {wal_file_min: 128MiB}", "storage.wal_file_min: 128MiB is more than storage.wal_file_max 64MiB");
	refused("metrics: {prometheus_path: m}", "metrics.prometheus_path: must start with /");
	refused("ingest: {max_body_bytes: 12MiB}",
		"ingest.lane_bytes: 16MiB must be at least one and a half times ingest.max_body_bytes (12MiB); "
		"set ingest.lane_bytes to 32MiB or ingest.max_body_bytes to at most 11184810");
	ck_assert_int_eq(load("ingest: {max_body_bytes: 12MiB, lane_bytes: 17MiB}", NULL, NULL, NULL), 0);
	ck_assert_int_eq(load("ingest: {max_body_bytes: 11184810}", NULL, NULL, NULL), 0);
}
END_TEST

START_TEST(key_file_gives_its_first_line)
{
	char key_path[] = "/tmp/check_conf_key.XXXXXX";
	int fd = mkstemp(key_path);

	ck_assert_int_eq((int)write(fd, "s3cret\r\nmore\n", 13), 13);
	close(fd);
	ck_assert_int_eq(load("", "--api-key-file", key_path, NULL), 0);
	ck_assert_str_eq(conf->auth.api_key, "s3cret");
	ck_assert(conf->auth.enabled);
	ck_assert_int_eq(truncate(key_path, 0), 0);
	ck_assert_int_eq(load("", "--api-key-file", key_path, NULL), -EINVAL);
	ck_assert(!usage);
	unlink(key_path);
	ck_assert_int_eq(load("", "--api-key-file", key_path, NULL), -EINVAL);
}
END_TEST

START_TEST(printed_configuration_loads_again)
{
	struct lp_buf out = LP_BUF_INIT, again = LP_BUF_INIT;

	ck_assert_int_eq(load("server: {user: \"a\\\"b $${x}\\n\", read_timeout: 1h}\nauth: {api_key: s3cret}\n"
			      "limits: {discover_service_name: [\"a,b\", c]}\ningest: {commit_timeout: 1m1s5ms}\n",
			      NULL, NULL, NULL), 0);
	lp_conf_print(conf, &out);
	ck_assert_ptr_null(strstr(lp_buf_cstr(&out), "s3cret"));
	ck_assert_ptr_nonnull(strstr(lp_buf_cstr(&out), "auth:\n  enabled: false\n  api_key: \"<hidden>\"\n"));
	ck_assert_ptr_nonnull(strstr(lp_buf_cstr(&out), "  tls:\n    cert_file: \"\"\n"));
	lp_conf_free(&conf);
	ck_assert_int_eq(lp_conf_defaults(&conf), 0);
	ck_assert_int_eq(lp_conf_apply_yaml(conf, "printed", out.data, out.len, &error), 0);
	lp_conf_print(conf, &again);
	ck_assert_str_eq(lp_buf_cstr(&out), lp_buf_cstr(&again));
	lp_buf_free(&out);
	lp_buf_free(&again);
}
END_TEST

START_TEST(shipped_example_equals_the_defaults)
{
	const char *dir = getenv("LP_BUILDDIR");
	struct lp_buf text = LP_BUF_INIT, left = LP_BUF_INIT, right = LP_BUF_INIT;
	struct lp_conf *defaults = NULL;
	char file[4096], key[128];

	snprintf(file, sizeof file, "%s/etc/logpulse.yaml", dir ? dir : ".");
	ck_assert_msg(!lp_yaml_read(file, LP_YAML_MAX_FILE, &text, &error), "%s", lp_buf_cstr(&error));
	ck_assert_int_eq(lp_conf_defaults(&conf), 0);
	ck_assert_int_eq(lp_conf_defaults(&defaults), 0);
	ck_assert_int_eq(lp_conf_apply_yaml(conf, file, text.data, text.len, &error), 0);
	ck_assert_int_eq(lp_conf_cross_check(conf, &error), 0);
	lp_conf_print(conf, &left);
	lp_conf_print(defaults, &right);
	ck_assert_str_eq(lp_buf_cstr(&left), lp_buf_cstr(&right));
	for (size_t i = 0; i < lp_conf_n_options; i++) {
		snprintf(key, sizeof key, "%s%s: ", *lp_conf_options[i].section ? " " : "\n", lp_conf_options[i].field);
		ck_assert_ptr_nonnull(strstr(lp_buf_cstr(&text), key));
	}
	lp_conf_free(&defaults);
	lp_buf_free(&text);
	lp_buf_free(&left);
	lp_buf_free(&right);
}
END_TEST

START_TEST(restart_names_what_a_reload_cannot_take)
{
	struct lp_conf *old = NULL;
	struct lp_buf out = LP_BUF_INIT;

	ck_assert_int_eq(lp_conf_defaults(&old), 0);
	ck_assert_int_eq(load("server: {port: 1, idle_timeout: 5s}\nstorage: {path: /x, retention_days: 1}\n",
			      NULL, NULL, NULL), 0);
	lp_conf_restart_needed(old, conf, &out);
	ck_assert_str_eq(lp_buf_cstr(&out), "server.port, storage.path");
	lp_buf_reset(&out);
	lp_conf_restart_needed(old, old, &out);
	ck_assert_uint_eq(out.len, 0);
	lp_conf_free(&old);
	lp_buf_free(&out);
}
END_TEST

START_TEST(help_and_manual_name_everything)
{
	struct lp_buf out = LP_BUF_INIT;
	char name[LP_CONF_ENV_MAX];

	lp_conf_usage(&out);
	for (size_t i = 0; i < lp_conf_n_flags; i++)
		ck_assert_ptr_nonnull(strstr(lp_buf_cstr(&out), lp_conf_flags[i].flag));
	lp_buf_reset(&out);
	lp_conf_man(&out);
	for (size_t i = 0; i < lp_conf_n_options; i++) {
		lp_conf_env_name(&lp_conf_options[i], name);
		ck_assert_ptr_nonnull(strstr(lp_buf_cstr(&out), name));
	}
	for (size_t i = 0; i < lp_conf_n_aliases; i++) {
		ck_assert_ptr_nonnull(lp_conf_find(lp_conf_aliases[i].path));
		ck_assert_ptr_nonnull(strstr(lp_buf_cstr(&out), lp_conf_aliases[i].env));
	}
	lp_buf_free(&out);
}
END_TEST

START_TEST(options_at_the_top)
{
	struct lp_buf text = LP_BUF_INIT;
	char name[LP_CONF_ENV_MAX];

	ck_assert_int_eq(load("webhooks_file: /etc/hooks.yaml\nserver:\n  port: 81\n", NULL, NULL, NULL), 0);
	ck_assert_str_eq(conf->files.webhooks_file, "/etc/hooks.yaml");
	ck_assert_int_eq(conf->server.port, 81);
	lp_conf_print(conf, &text);
	ck_assert_ptr_nonnull(strstr(lp_buf_cstr(&text), "\nwebhooks_file: "));
	ck_assert_int_eq(load(lp_buf_cstr(&text), NULL, NULL, NULL), 0);
	ck_assert_str_eq(conf->files.webhooks_file, "/etc/hooks.yaml");
	lp_buf_free(&text);
	ck_assert_int_eq(load("", "--set", "webhooks_file=w", NULL), 0);
	ck_assert_str_eq(conf->files.webhooks_file, "w");
	lp_conf_env_name(lp_conf_find("webhooks_file"), name);
	ck_assert_str_eq(name, "LOGPULSE_WEBHOOKS_FILE");
	ck_assert_ptr_null(lp_conf_find(".webhooks_file"));
	refused("webhook_file: x\n", ":1: webhook_file: unknown option; did you mean webhooks_file?");
	refused("\"\":\n  webhooks_file: x\n", ":1: : unknown section");
}
END_TEST

static void otel(const char *name, const char *value)
{
	setenv(name, value, 1);
	ck_assert_int_eq(load("tracing: {exporter: otlp, sampling_ratio: 0.5, headers: [a=b]}\n", NULL, NULL, NULL), 0);
	unsetenv(name);
}

static void ignored(const char *name, const char *value, const char *warning)
{
	otel(name, value);
	ck_assert_uint_eq(conf->warnings.n, 1);
	ck_assert_str_eq(conf->warnings.items[0], warning);
}

/* The standard variables: what we have an option for counts, the rest is a warning and nothing else. */
START_TEST(opentelemetry_variables)
{
	static const struct { const char *name, *ratio; bool parent_based; } samplers[] = {
		{ "always_on", "1", false }, { "always_off", "0", false }, { "traceidratio", "0.5", false },
		{ "parentbased_always_on", "1", true }, { "parentbased_always_off", "0", true }, { "parentbased_traceidratio", "0.5", true },
	};

	for (size_t i = 0; i < sizeof samplers / sizeof *samplers; i++) {
		otel("OTEL_TRACES_SAMPLER", samplers[i].name);
		ck_assert_uint_eq(conf->warnings.n, 0);
		ck_assert_str_eq(conf->tracing.sampling_ratio, samplers[i].ratio);
		ck_assert(conf->tracing.parent_based == samplers[i].parent_based);
	}
	otel("OTEL_TRACES_SAMPLER_ARG", "0.25");
	ck_assert_str_eq(conf->tracing.sampling_ratio, "0.25");
	otel("OTEL_SDK_DISABLED", "True");
	ck_assert_int_eq(conf->tracing.exporter, LP_TRACING_NONE);
	otel("OTEL_SDK_DISABLED", "false");
	ck_assert_int_eq(conf->tracing.exporter, LP_TRACING_OTLP);
	otel("OTEL_EXPORTER_OTLP_TIMEOUT", "1500");
	ck_assert_int_eq(conf->tracing.timeout, 1500);
	otel("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json");
	ck_assert_int_eq(conf->tracing.protocol, LP_TRACING_JSON);
	otel("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "gzip");
	ck_assert_int_eq(conf->tracing.compression, LP_TRACING_GZIP);
	setenv("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "x=2", 1);
	otel("OTEL_EXPORTER_OTLP_HEADERS", "x=1,y=1");
	ck_assert(conf->tracing.headers.n == 1 && !strcmp(conf->tracing.headers.items[0], "x=2"));
	unsetenv("OTEL_EXPORTER_OTLP_TRACES_HEADERS");
	otel("OTEL_RESOURCE_ATTRIBUTES", "host.name=h%3d1, service.name=from%20there");
	ck_assert_str_eq(conf->tracing.service_name, "from there");
	setenv("OTEL_SERVICE_NAME", "wins", 1);
	otel("OTEL_RESOURCE_ATTRIBUTES", "service.name=from%20there");
	ck_assert_str_eq(conf->tracing.service_name, "wins");
	unsetenv("OTEL_SERVICE_NAME");
	/* Our own name wins. */
	setenv("LOGPULSE_TRACING_TIMEOUT", "3s", 1);
	otel("OTEL_EXPORTER_OTLP_TIMEOUT", "1500");
	ck_assert_int_eq(conf->tracing.timeout, 3000);
	unsetenv("LOGPULSE_TRACING_TIMEOUT");

	ignored("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "OTEL_EXPORTER_OTLP_PROTOCOL is ignored: \"grpc\" is none of http/protobuf, http/json; a "
		"collector takes these on its port for HTTP, mostly 4318");
	ignored("OTEL_TRACES_EXPORTER", "zipkin", "OTEL_TRACES_EXPORTER is ignored: \"zipkin\" is none of none, otlp, stdout, console");
	ck_assert_int_eq(conf->tracing.exporter, LP_TRACING_OTLP);
	ignored("OTEL_TRACES_SAMPLER", "jaeger_remote", "OTEL_TRACES_SAMPLER is ignored: \"jaeger_remote\" is none of always_on, always_off, "
		"traceidratio, parentbased_always_on, parentbased_always_off, parentbased_traceidratio");
	ignored("OTEL_TRACES_SAMPLER_ARG", "2", "OTEL_TRACES_SAMPLER_ARG is ignored: \"2\" is not a number from 0 to 1");
	ck_assert_str_eq(conf->tracing.sampling_ratio, "0.5");
	ignored("OTEL_EXPORTER_OTLP_HEADERS", "x=1,secret", "OTEL_EXPORTER_OTLP_HEADERS is ignored: headers: item 2 is not name=value, or not text");
	ck_assert(conf->tracing.headers.n == 1 && !strcmp(conf->tracing.headers.items[0], "a=b"));
	ignored("OTEL_EXPORTER_OTLP_HEADERS", "x=a%0d%0ab", "OTEL_EXPORTER_OTLP_HEADERS is ignored: headers: item 1 is not name=value, or not text");
	ignored("OTEL_RESOURCE_ATTRIBUTES", "a=%ff", "OTEL_RESOURCE_ATTRIBUTES is ignored: resource_attributes: item 1 is not name=value, or not text");
	ignored("OTEL_EXPORTER_OTLP_TIMEOUT", "1s", "OTEL_EXPORTER_OTLP_TIMEOUT is ignored: \"1s\" is not a number of milliseconds");
	ignored("OTEL_EXPORTER_OTLP_TIMEOUT", "0", "OTEL_EXPORTER_OTLP_TIMEOUT is ignored: 0ms is out of range 100ms..5m");
	refused("tracing: {resource_attributes: [a]}\n", "tracing.resource_attributes: item 1 is not name=value, or not text");
}
END_TEST

START_TEST(pairs_are_decoded)
{
	char *pair = NULL;

	ck_assert_int_eq(lp_conf_pair("a%2Db=c=d%20%e2%82%ac%2", ": ", &pair), 0);
	ck_assert_str_eq(pair, "a-b: c=d \xe2\x82\xac%2");
	free(pair);
	ck_assert_int_eq(lp_conf_pair("a=", "=", &pair), 0);
	ck_assert_str_eq(pair, "a=");
	free(pair);
	ck_assert_int_eq(lp_conf_pair("=a", "=", &pair), -EINVAL);
	ck_assert_int_eq(lp_conf_pair("a", "=", &pair), -EINVAL);
	ck_assert_int_eq(lp_conf_pair("a=%00", "=", &pair), -EINVAL);
	ck_assert_int_eq(lp_conf_pair("a%0a=b", "=", &pair), -EINVAL);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		durations_and_sizes, file_sets_every_type, errors_name_line_key_and_range, yaml_is_bounded, variables_expand,
		environment_wins_over_file, flags_win, wrong_command_line_is_usage, missing_file_is_refused, pairs_must_agree,
		key_file_gives_its_first_line, printed_configuration_loads_again, shipped_example_equals_the_defaults,
		restart_names_what_a_reload_cannot_take, help_and_manual_name_everything, options_at_the_top,
		opentelemetry_variables, pairs_are_decoded,
	};
	Suite *suite = suite_create("conf");
	TCase *tcase = tcase_create("all");

	for (size_t i = 0; i < lp_conf_n_aliases; i++)
		unsetenv(lp_conf_aliases[i].env);       /* the tests say what the environment holds */
	tcase_add_checked_fixture(tcase, setup, teardown);
	for (size_t i = 0; i < sizeof tests / sizeof *tests; i++)
		tcase_add_test(tcase, tests[i]);
	suite_add_tcase(suite, tcase);
	SRunner *runner = srunner_create(suite);

	srunner_run_all(runner, CK_NORMAL);
	int failed = srunner_ntests_failed(runner);

	srunner_free(runner);
	return failed != 0;
}
