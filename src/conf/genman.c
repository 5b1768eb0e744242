/* Build-time only: genman man HEAD prints logpulse.yaml(5), whose options replace the line "@OPTIONS@" of the template;
 * genman example prints etc/logpulse.yaml. */
#include "conf/conf-private.h"

#include <stdio.h>
#include <string.h>

static int man(const char *path)
{
	struct lp_buf options = LP_BUF_INIT;
	char line[4096];
	FILE *in = fopen(path, "r");

	if (!in) {
		perror(path);
		return 1;
	}
	lp_conf_man(&options);
	while (fgets(line, sizeof line, in))
		fputs(strcmp(line, "@OPTIONS@\n") ? line : lp_buf_cstr(&options), stdout);
	fclose(in);
	int r = options.failed || fflush(stdout) != 0;

	lp_buf_free(&options);
	return r;
}

int main(int argc, char **argv)
{
	struct lp_buf out = LP_BUF_INIT;

	if (argc == 3 && !strcmp(argv[1], "man"))
		return man(argv[2]);
	if (argc != 2 || strcmp(argv[1], "example") || lp_conf_example(&out) < 0) {
		fputs("usage: genman man TEMPLATE | genman example\n", stderr);
		return 1;
	}
	fputs(lp_buf_cstr(&out), stdout);
	lp_buf_free(&out);
	return fflush(stdout) != 0;
}
