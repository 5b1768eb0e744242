/* User, limits and the name in ps.
 *
 * Process: master; the title also children.  Rights are dropped before the first fork, because a change of user
 * clears PR_SET_PDEATHSIG, and for good: real, effective and saved ids. */
#include "master/master.h"

#include "common/log.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

static char *title;             /* memory of argv and environ */
static size_t title_bytes;

int lp_ids_find(const char *user, struct lp_ids *ret_ids)
{
	*ret_ids = (struct lp_ids){ 0 };
	if (!*user || geteuid() != 0)
		return 0;
	errno = 0;
	const struct passwd *pw = getpwnam(user);

	if (!pw || strlen(user) >= sizeof ret_ids->user) {
		lp_log(LP_FATAL, "server.user is unknown user=%s error=\"%s\"", user, errno ? strerror(errno) : "no such user");
		return LP_EXIT_CONFIG;
	}
	ret_ids->change = pw->pw_uid != 0;
	ret_ids->uid = pw->pw_uid;
	ret_ids->gid = pw->pw_gid;
	snprintf(ret_ids->user, sizeof ret_ids->user, "%s", user);
	return 0;
}

int lp_ids_become(const struct lp_ids *ids)
{
	if (!ids->change)
		return 0;
	if (initgroups(ids->user, ids->gid) < 0 || setresgid(ids->gid, ids->gid, ids->gid) < 0 ||
	    setresuid(ids->uid, ids->uid, ids->uid) < 0 || setuid(0) == 0) {
		lp_log(LP_FATAL, "cannot become server.user user=%s error=\"%s\"", ids->user, strerror(errno));
		return LP_EXIT_FAILURE;
	}
	/* The change of user turned core dumps off. */
	(void)prctl(PR_SET_DUMPABLE, 1);
	return 0;
}

void lp_rights_raise_files(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
		limit.rlim_cur = limit.rlim_max;
		if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
			lp_log(LP_WARN, "limit of open files stays low error=\"%s\"", strerror(errno));
	}
}

static char **copy_strings(char **from, size_t n)
{
	char **to = calloc(n + 1, sizeof *to);

	for (size_t i = 0; to && i < n; i++) {
		to[i] = strdup(from[i]);
		if (!to[i])
			return NULL;
	}
	return to;
}

char **lp_title_init(int argc, char **argv)
{
	size_t envs = 0;

	while (environ[envs])
		envs++;
	char **args = copy_strings(argv, (size_t)argc), **env = copy_strings(environ, envs);

	if (!args || !env || argc < 1)
		return argv;            /* no title then; the little memory that was copied stays */
	/* The kernel lays argv and environ out in one piece; stop where it is not so. */
	char *end = argv[0] + strlen(argv[0]) + 1;

	for (int i = 1; i < argc && argv[i] == end; i++)
		end += strlen(argv[i]) + 1;
	for (size_t i = 0; i < envs && environ[i] == end; i++)
		end += strlen(environ[i]) + 1;
	title = argv[0];
	title_bytes = (size_t)(end - argv[0]);
	environ = env;
	return args;
}

void lp_title_set(const char *text)
{
	if (!title)
		return;
	memset(title, 0, title_bytes);
	snprintf(title, title_bytes, "%s", text);
}
