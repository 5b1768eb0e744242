/* Listening sockets: one per worker, opened and kept by the master, so that a restarted worker finds its queue.
 *
 * SO_REUSEPORT lets a second server of the same user share the port silently; therefore one plain bind is tried first
 * and given up again.  Process: master, before the rights are dropped (ports below 1024). */
#include "master/master.h"

#include "common/log.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <string.h>
#include <stdio.h>
#include <sys/socket.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#define BACKLOG 1024

void lp_listen_close(int fds[LP_MAX_WORKERS], uint32_t workers)
{
	for (uint32_t i = 0; i < workers; i++) {
		if (fds[i] >= 0)
			close(fds[i]);
		fds[i] = -1;
	}
}

/* Bind one socket; -errno. */
static int bind_one(const struct addrinfo *ai, bool shared)
{
	const int on = 1, off = 0;
	int r, fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return -errno;
	r = setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	if (r == 0 && shared)
		r = setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
	if (r == 0 && ai->ai_family == AF_INET6)
		r = setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
	if (r == 0)
		r = bind(fd, ai->ai_addr, ai->ai_addrlen);
	if (r == 0)
		r = listen(fd, BACKLOG);
	if (r < 0) {
		r = -errno;
		close(fd);
		return r;
	}
	return fd;
}

static int open_own(const struct lp_conf *conf, uint32_t workers, int fds[LP_MAX_WORKERS])
{
	const struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV };
	struct addrinfo *ai = NULL;
	char port[8];

	snprintf(port, sizeof port, "%u", (unsigned)(uint16_t)conf->server.port);
	int r = getaddrinfo(*conf->server.host ? conf->server.host : NULL, port, &hints, &ai);

	if (r) {
		lp_log(LP_FATAL, "server.host cannot be resolved host=%s error=\"%s\"", conf->server.host, gai_strerror(r));
		return LP_EXIT_CONFIG;
	}
	r = bind_one(ai, false);
	if (r >= 0) {
		close(r);
		for (uint32_t i = 0; i < workers && r >= 0; i++) {
			r = bind_one(ai, true);
			fds[i] = r < 0 ? -1 : r;
		}
	}
	freeaddrinfo(ai);
	if (r >= 0)
		return 0;
	lp_log(LP_FATAL, "cannot listen host=%s port=%s error=\"%s\"%s", conf->server.host, port, strerror(-r),
	       r == -EADDRINUSE ? " hint=\"another program uses this port; choose one with --port\"" : "");
	lp_listen_close(fds, workers);
	return LP_EXIT_CANTCREATE;
}

int lp_listen_open(const struct lp_conf *conf, uint32_t workers, int fds[LP_MAX_WORKERS])
{
	int given = sd_listen_fds(1);

	for (uint32_t i = 0; i < LP_MAX_WORKERS; i++)
		fds[i] = -1;
	if (given <= 0)
		return open_own(conf, workers, fds);
	for (int i = 0; i < given; i++)
		if (sd_is_socket(SD_LISTEN_FDS_START + i, AF_UNSPEC, SOCK_STREAM, 1) <= 0) {
			lp_log(LP_FATAL, "descriptor given by the service manager is no listening stream socket fd=%d",
			       SD_LISTEN_FDS_START + i);
			return LP_EXIT_CONFIG;
		}
	/* Fewer sockets than workers are shared.  Of more, the last ones would have nobody who accepts. */
	if ((uint32_t)given > workers) {
		lp_log(LP_FATAL, "more sockets given than workers given=%d workers=%u", given, workers);
		return LP_EXIT_CONFIG;
	}
	for (uint32_t i = 0; i < workers; i++) {
		int fd = SD_LISTEN_FDS_START + (int)i % given;

		fds[i] = fcntl(fd, F_DUPFD_CLOEXEC, SD_LISTEN_FDS_START);
		if (fds[i] < 0 || fcntl(fds[i], F_SETFL, fcntl(fds[i], F_GETFL) | O_NONBLOCK) < 0) {
			lp_log(LP_FATAL, "given socket cannot be used error=\"%s\"", strerror(errno));
			lp_listen_close(fds, workers);
			return LP_EXIT_FAILURE;
		}
	}
	for (int i = 0; i < given; i++)
		close(SD_LISTEN_FDS_START + i);
	return 0;
}
