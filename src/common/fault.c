/* Named kill points for crash tests; see fault.h. */
#include "common/fault.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

_Atomic int lp_fault_armed = -1;

static char want[64];
static atomic_long left;
static int want_signal = SIGKILL;
static const char *once_path;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void init(void)
{
	const char *spec = getenv("LOGPULSE_FAULT");

	if (!spec || !*spec) {
		lp_fault_armed = 0;
		return;
	}
	size_t n = strcspn(spec, ":");

	if (n >= sizeof want)
		n = sizeof want - 1;
	memcpy(want, spec, n);
	atomic_store(&left, 1);
	if (spec[n] == ':') {
		char *end;

		atomic_store(&left, strtol(spec + n + 1, &end, 10));
		if (!strcmp(end, ":stop"))
			want_signal = SIGSTOP;
	}
	once_path = getenv("LOGPULSE_FAULT_ONCE");
	lp_fault_armed = 1;
}

void lp_fault_hit(const char *name)
{
	pthread_once(&once, init);
	if (lp_fault_armed != 1 || strcmp(name, want) || atomic_fetch_sub(&left, 1) != 1)
		return;
	if (once_path) {
		int fd = open(once_path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);

		if (fd < 0)
			return;
		close(fd);
	}
	kill(getpid(), want_signal);
}
