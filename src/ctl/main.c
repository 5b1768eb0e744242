/* logpulsectl: looks at LogPulse from outside.  verify, dump and blocks read a data directory without a server and change nothing. */
#include "ctl/ctl.h"

#include "store/map.h"

#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include <signal.h>
#include <stdio.h>
#include <string.h>

static const struct command {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *usage, *help;
} commands[] = {
	{ "verify", lp_ctl_verify, "DATADIR", "check every checksum, block and record; a line per fault" },
	{ "dump", lp_ctl_dump, "DATADIR [--stream NAME=VALUE]... [--format text|json|count]",
	  "print every entry once; count: distinct entries per stream" },
	{ "blocks", lp_ctl_blocks, "DATADIR", "list segments and their blocks with sizes" },
};

static void usage(FILE *to)
{
	fprintf(to, "Usage: logpulsectl COMMAND [ARGUMENTS]\n       logpulsectl --help | --version\n\nCommands:\n");
	for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
		fprintf(to, "  %s %s\n        %s\n", commands[i].name, commands[i].usage, commands[i].help);
	fprintf(to, "\nExit status: 0 fine, 1 faults were found or it failed, 64 usage.\n");
}

static int finish(int status)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return status;
	perror("logpulsectl: standard output");
	return status == LP_CTL_OK ? LP_CTL_FAILED : status;
}

int main(int argc, char **argv)
{
	if (argc >= 2 && (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h"))) {
		usage(stdout);
		return finish(LP_CTL_OK);
	}
	if (argc >= 2 && !strcmp(argv[1], "--version")) {
		printf("logpulsectl %s\n", PACKAGE_VERSION);
		return finish(LP_CTL_OK);
	}
	if (lp_map_init() < 0) {
		perror("logpulsectl: signal handler");
		return LP_CTL_FAILED;
	}
	for (size_t i = 0; argc >= 2 && i < sizeof commands / sizeof *commands; i++)
		if (!strcmp(argv[1], commands[i].name)) {
			if (argc >= 3 && (!strcmp(argv[2], "--help") || !strcmp(argv[2], "-h"))) {
				printf("Usage: logpulsectl %s %s\n%s\n", commands[i].name, commands[i].usage, commands[i].help);
				return finish(LP_CTL_OK);
			}
			int status = commands[i].run(argc - 1, argv + 1);

			if (status == LP_CTL_USAGE)
				fprintf(stderr, "Usage: logpulsectl %s %s\n", commands[i].name, commands[i].usage);
			return finish(status);
		}
	usage(stderr);
	return LP_CTL_USAGE;
}
