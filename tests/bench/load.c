/* load: push bodies made of real log lines, and the pushing.
 *
 *   load make OUT FORMAT DIR LINES STREAMS BATCH START_NS STEP_NS SEED [COUNTS]
 *   load send BODIES HOST:PORT PATH CONTENT_TYPE CONNECTIONS [HEADER...]
 *
 * make: every *.log file of DIR is one app; its lines are used in order, again and again, and from the second pass
 * on runs of digits change, so that a repeat is a new line of the same kind.  Stream k is {app, env, host} and
 * takes its lines from file k % files.  One body carries BATCH lines of 1 to 8 streams, as an agent would send
 * them; every line has its own timestamp.  FORMAT: json, proto (Loki; proto is snappy-compressed), ingest
 * (original JSON).  OUT is a sequence of u32 length and body.  COUNTS gets one line per stream: "app host lines bytes".
 * Without a DIR ("-") the lines are made up.
 * send: as fast as the server takes them; 429, 503 and 507 are sent again after 20 ms.  Prints one line of figures. */
#include "common/buf.h"
#include "common/jsonw.h"
#include "common/rfc3339.h"
#include "common/clock.h"
#include "common/utf8.h"
#include "common/bytes.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <snappy-c.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_APPS 64
#define MAX_LINE 60000

struct app {
	char name[64];
	char **lines;
	uint32_t *lens;
	size_t n;
};

static struct app apps[MAX_APPS];
static size_t n_apps;
static uint64_t rng;

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static uint64_t rnd(void)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return rng;
}

static void add_line(struct app *app, char *p, size_t len)
{
	if (!len || len > MAX_LINE || !lp_utf8_valid(p, len))
		return;
	if (!(app->n & (app->n - 1))) {
		size_t cap = app->n ? app->n * 2 : 1;

		app->lines = realloc(app->lines, cap * sizeof *app->lines);
		app->lens = realloc(app->lens, cap * sizeof *app->lens);
		if (!app->lines || !app->lens)
			die("realloc");
	}
	app->lines[app->n] = p;
	app->lens[app->n++] = (uint32_t)len;
}

static void load_app(const char *dir, const char *file)
{
	char path[4096];
	struct stat st;

	snprintf(path, sizeof path, "%s/%s", dir, file);
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || fstat(fd, &st))
		die(path);
	char *p = malloc((size_t)st.st_size + 1), *end = p + st.st_size;

	if (!p || read(fd, p, (size_t)st.st_size) != st.st_size)
		die(path);
	close(fd);
	*end = '\n';
	struct app *app = &apps[n_apps++];

	snprintf(app->name, sizeof app->name, "%.*s", (int)(strlen(file) - 4), file);
	while (p < end) {
		char *nl = memchr(p, '\n', (size_t)(end + 1 - p));
		size_t len = (size_t)(nl - p);

		add_line(app, p, len && p[len - 1] == '\r' ? len - 1 : len);
		p = nl + 1;
	}
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct app *)a)->name, ((const struct app *)b)->name);
}

static void make_up_apps(void)
{
	static const char *const words[] = { "request", "served", "error", "timeout", "user", "cache", "miss", "token", "disk", "node" };

	for (n_apps = 0; n_apps < 8; n_apps++) {
		struct app *app = &apps[n_apps];

		snprintf(app->name, sizeof app->name, "app-%zu", n_apps);
		for (int i = 0; i < 2000; i++) {
			char *line = malloc(256);
			int len = snprintf(line, 256, "level=%s %s %s %s id=%d took=%dms addr=10.%d.%d.%d", rnd() % 9 ? "info" : "error",
					   words[rnd() % 10], words[rnd() % 10], words[rnd() % 10], (int)(rnd() % 1000000),
					   (int)(rnd() % 900), (int)(rnd() % 255), (int)(rnd() % 255), (int)(rnd() % 255));

			add_line(app, line, (size_t)len);
		}
	}
}

static void load_apps(const char *dir)
{
	if (!strcmp(dir, "-")) {
		make_up_apps();
		return;
	}
	DIR *d = opendir(dir);

	if (!d)
		die(dir);
	for (struct dirent *e; (e = readdir(d));) {
		size_t n = strlen(e->d_name);

		if (n > 4 && !strcmp(e->d_name + n - 4, ".log") && n_apps < MAX_APPS)
			load_app(dir, e->d_name);
	}
	closedir(d);
	qsort(apps, n_apps, sizeof *apps, by_name);
	if (!n_apps)
		die("no *.log files there");
}

/* Digits of runs of three or more change (the first stays), so times and short codes keep their look. */
static void mutate(char *line, size_t len)
{
	for (size_t i = 0; i < len;) {
		size_t j = i;

		while (j < len && isdigit((unsigned char)line[j]))
			j++;
		if (j - i >= 3)
			for (size_t k = i + 1; k < j; k++)
				line[k] = (char)('0' + rnd() % 10);
		i = j > i ? j : i + 1;
	}
}

struct maker {
	enum { JSON, PROTO, INGEST } format;
	struct lp_buf body, stream, entry;
	size_t streams;
	size_t *cursor;
	bool *repeat;
	uint64_t *lines, *bytes;
	int64_t ts, step;
};

static void pb_bytes(struct lp_buf *b, uint8_t tag, const void *p, size_t n)
{
	uint8_t head[LP_VARINT_MAX];

	lp_buf_byte(b, tag);
	lp_buf_append(b, head, (size_t)(lp_varint_put(head, n) - head));
	lp_buf_append(b, p, n);
}

static void put_entry(struct maker *m, const char *line, size_t len, bool first)
{
	struct lp_buf *b = &m->body;
	char ts[LP_RFC3339_MAX];

	switch (m->format) {
	case JSON:
		lp_buf_printf(b, "%s[\"%lld\",", first ? "" : ",", (long long)m->ts);
		lp_jsonw_str(b, line, len);
		lp_buf_byte(b, ']');
		break;
	case INGEST:
		lp_rfc3339_format(ts, m->ts);
		lp_buf_printf(b, "%s{\"ts\":\"%s\",\"line\":", first ? "" : ",", ts);
		lp_jsonw_str(b, line, len);
		lp_buf_byte(b, '}');
		break;
	case PROTO: {
		uint8_t stamp[32], *p = stamp;

		*p++ = 0x08;
		p = lp_varint_put(p, (uint64_t)(m->ts / LP_NS_PER_SEC));
		*p++ = 0x10;
		p = lp_varint_put(p, (uint64_t)(m->ts % LP_NS_PER_SEC));
		lp_buf_reset(&m->entry);
		pb_bytes(&m->entry, 0x0a, stamp, (size_t)(p - stamp));
		pb_bytes(&m->entry, 0x12, line, len);
		pb_bytes(&m->stream, 0x12, m->entry.data, m->entry.len);
		break;
	}
	}
}

static void put_stream(struct maker *m, size_t k, long count, bool first)
{
	struct app *app = &apps[k % n_apps];
	const char *env = k % 3 ? "prod" : "dev";
	char line[MAX_LINE], labels[256];

	if (m->format == PROTO) {
		lp_buf_reset(&m->stream);
		snprintf(labels, sizeof labels, "{app=\"%s\", env=\"%s\", host=\"host-%03zu\"}", app->name, env, k / n_apps);
		pb_bytes(&m->stream, 0x0a, labels, strlen(labels));
	} else {
		lp_buf_printf(&m->body, "%s{\"%s\":{\"app\":\"%s\",\"env\":\"%s\",\"host\":\"host-%03zu\"},\"%s\":[", first ? "" : ",",
			      m->format == JSON ? "stream" : "labels", app->name, env, k / n_apps,
			      m->format == JSON ? "values" : "entries");
	}
	for (long i = 0; i < count; i++) {
		size_t len = app->lens[m->cursor[k]];

		memcpy(line, app->lines[m->cursor[k]], len);
		if (m->repeat[k])
			mutate(line, len);
		if (++m->cursor[k] == app->n) {
			m->cursor[k] = 0;
			m->repeat[k] = true;
		}
		m->ts += m->step;
		m->lines[k]++;
		m->bytes[k] += len;
		put_entry(m, line, len, i == 0);
	}
	if (m->format == PROTO)
		pb_bytes(&m->body, 0x0a, m->stream.data, m->stream.len);
	else
		lp_buf_str(&m->body, "]}");
}

static void write_body(struct maker *m, FILE *out)
{
	static char *z;
	static size_t z_cap;
	const void *p = m->body.data;
	size_t n = m->body.len;

	if (m->format == PROTO) {
		size_t need = snappy_max_compressed_length(n), z_len;

		if (need > z_cap && !(z = realloc(z, z_cap = need)))
			die("realloc");
		z_len = z_cap;
		if (snappy_compress((const char *)p, n, z, &z_len) != SNAPPY_OK)
			die("snappy");
		p = z;
		n = z_len;
	}
	uint32_t len = (uint32_t)n;

	if (fwrite(&len, 4, 1, out) != 1 || fwrite(p, 1, n, out) != n)
		die("write");
}

static int make(int argc, char **argv)
{
	if (argc < 9) {
		fprintf(stderr, "usage: load make OUT json|proto|ingest DIR LINES STREAMS BATCH START_NS STEP_NS SEED [COUNTS]\n");
		return 2;
	}
	long lines = atol(argv[3]), batch = atol(argv[5]), bodies = 0, done = 0;
	struct maker m = { .format = !strcmp(argv[1], "json") ? JSON : !strcmp(argv[1], "proto") ? PROTO : INGEST,
			   .streams = (size_t)atol(argv[4]), .ts = atoll(argv[6]), .step = atoll(argv[7]) };

	rng = (uint64_t)atoll(argv[8]) * 0x9e3779b97f4a7c15u + 1;
	load_apps(argv[2]);
	m.cursor = calloc(m.streams, sizeof *m.cursor);
	m.repeat = calloc(m.streams, sizeof *m.repeat);
	m.lines = calloc(m.streams, sizeof *m.lines);
	m.bytes = calloc(m.streams, sizeof *m.bytes);
	FILE *out = fopen(argv[0], "wb");

	if (!m.cursor || !m.repeat || !m.lines || !m.bytes || !out)
		die(argv[0]);
	for (size_t k = 0; k < m.streams; k++)
		m.cursor[k] = rnd() % apps[k % n_apps].n;
	for (; done < lines; bodies++) {
		long n_streams = 1 + (long)(rnd() % 8), left = batch < lines - done ? batch : lines - done;

		done += left;
		lp_buf_reset(&m.body);
		if (m.format != PROTO)
			lp_buf_str(&m.body, "{\"streams\":[");
		for (long s = 0; s < n_streams && left > 0; s++) {
			long count = s == n_streams - 1 ? left : (left + n_streams - s - 1) / (n_streams - s);

			put_stream(&m, rnd() % m.streams, count, s == 0);
			left -= count;
		}
		if (m.format != PROTO)
			lp_buf_str(&m.body, "]}");
		write_body(&m, out);
	}
	if (fclose(out))
		die(argv[0]);
	uint64_t raw = 0;
	FILE *counts = argc > 9 ? fopen(argv[9], "w") : NULL;

	for (size_t k = 0; k < m.streams; k++) {
		raw += m.bytes[k];
		if (counts && m.lines[k])
			fprintf(counts, "%s host-%03zu %llu %llu\n", apps[k % n_apps].name, k / n_apps, (unsigned long long)m.lines[k],
				(unsigned long long)m.bytes[k]);
	}
	if (counts)
		fclose(counts);
	lp_buf_free(&m.body);
	lp_buf_free(&m.stream);
	lp_buf_free(&m.entry);
	free(m.cursor);
	free(m.repeat);
	free(m.lines);
	free(m.bytes);
	printf("lines=%ld raw_bytes=%llu bodies=%ld end_ns=%lld\n", done, (unsigned long long)raw, bodies, (long long)m.ts);
	return 0;
}

/* ---- send ---- */

static const uint8_t *bodies;
static size_t *offsets, n_bodies;
static atomic_size_t next_body;
static atomic_long n_ok, n_bad, n_retry, n_dead;
static struct sockaddr_in addr;
static const char *url_path, *content_type;
static char headers[2048];
static double *latency_ms;
static char first_bad[600];
static atomic_bool have_bad;

static int dial(void)
{
	int s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

	setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	if (connect(s, (struct sockaddr *)&addr, sizeof addr)) {
		close(s);
		return -1;
	}
	return s;
}

static int send_all(int s, const void *p, size_t n)
{
	while (n) {
		ssize_t w = send(s, p, n, MSG_NOSIGNAL);

		if (w <= 0)
			return -1;
		p = (const char *)p + w;
		n -= (size_t)w;
	}
	return 0;
}

/* Status of the answer, its body read away; -1 when the connection broke. */
static int read_answer(int s, char *buf, size_t cap)
{
	size_t got = 0;
	char *end = NULL;

	while (!end) {
		ssize_t r = recv(s, buf + got, cap - 1 - got, 0);

		if (r <= 0)
			return -1;
		got += (size_t)r;
		buf[got] = 0;
		end = strstr(buf, "\r\n\r\n");
	}
	char *len = strcasestr(buf, "content-length:");
	size_t want = len && len < end ? strtoul(len + 15, NULL, 10) : 0, have = got - (size_t)(end + 4 - buf);

	while (have < want) {
		char rest[4096];
		ssize_t r = recv(s, rest, sizeof rest, 0);

		if (r <= 0)
			return -1;
		have += (size_t)r;
	}
	return atoi(buf + 9);
}

static void send_body(int *s, size_t i, char *answer)
{
	const uint8_t *p = bodies + offsets[i];
	uint32_t len = lp_le32(p);
	char head[4096];
	int head_len = snprintf(head, sizeof head, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: %s\r\n%sContent-Length: %u\r\n\r\n",
				url_path, content_type, headers, len);

	for (int tries = 0; tries < 3000; tries++) {
		int64_t t = lp_clock_mono_ns();
		int code = -1;

		if (*s >= 0 && !send_all(*s, head, (size_t)head_len) && !send_all(*s, p + 4, len))
			code = read_answer(*s, answer, 65536);
		if (code < 0) {
			if (*s >= 0)
				close(*s);
			usleep(tries ? 20000 : 0);
			*s = dial();
			n_retry++;
			continue;
		}
		if (code == 429 || code == 503 || code == 507) {
			n_retry++;
			usleep(20000);
			continue;
		}
		latency_ms[i] = (double)(lp_clock_mono_ns() - t) / 1e6;
		if (code >= 200 && code < 300) {
			n_ok++;
		} else {
			n_bad++;
			if (!atomic_exchange(&have_bad, true))
				snprintf(first_bad, sizeof first_bad, "%s", answer);
		}
		return;
	}
	n_dead++;
}

static void *sender(void *arg)
{
	char *answer = malloc(65536);
	int s = dial();

	for (size_t i; (i = next_body++) < n_bodies;)
		send_body(&s, i, answer);
	close(s);
	free(answer);
	return arg;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static int send_bodies(int argc, char **argv)
{
	pthread_t threads[512];
	struct stat st;
	char *colon;

	if (argc < 5 || !(colon = strchr(argv[1], ':'))) {
		fprintf(stderr, "usage: load send BODIES HOST:PORT PATH CONTENT_TYPE CONNECTIONS [HEADER...]\n");
		return 2;
	}
	int fd = open(argv[0], O_RDONLY | O_CLOEXEC), n_threads = atoi(argv[4]);

	if (fd < 0 || fstat(fd, &st) || n_threads < 1 || n_threads > 512)
		die(argv[0]);
	size_t size = (size_t)st.st_size;

	bodies = mmap(NULL, size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
	if (bodies == MAP_FAILED)
		die("mmap");
	*colon = 0;
	addr = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(colon + 1)) };
	inet_pton(AF_INET, argv[1], &addr.sin_addr);
	url_path = argv[2];
	content_type = argv[3];
	for (int i = 5; i < argc; i++) {
		strncat(headers, argv[i], sizeof headers - strlen(headers) - 3);
		strcat(headers, "\r\n");
	}
	for (size_t o = 0; o < size; o += 4 + lp_le32(bodies + o))
		n_bodies++;
	offsets = calloc(n_bodies, sizeof *offsets);
	latency_ms = calloc(n_bodies, sizeof *latency_ms);
	for (size_t o = 0, i = 0; o < size; o += 4 + lp_le32(bodies + o))
		offsets[i++] = o;
	int64_t t = lp_clock_mono_ns();

	for (int i = 0; i < n_threads; i++)
		pthread_create(&threads[i], NULL, sender, NULL);
	for (int i = 0; i < n_threads; i++)
		pthread_join(threads[i], NULL);
	double wall = (double)(lp_clock_mono_ns() - t) / 1e9;

	qsort(latency_ms, n_bodies, sizeof *latency_ms, by_value);
	printf("wall_s=%.3f body_MB=%.1f requests=%zu per_s=%.0f ok=%ld bad=%ld retries=%ld gave_up=%ld p50_ms=%.2f p99_ms=%.2f max_ms=%.2f\n",
	       wall, (double)size / 1e6, n_bodies, (double)n_bodies / wall, (long)n_ok, (long)n_bad, (long)n_retry, (long)n_dead,
	       latency_ms[n_bodies / 2], latency_ms[n_bodies * 99 / 100], latency_ms[n_bodies - 1]);
	if (n_bad)
		fprintf(stderr, "first refusal: %.500s\n", first_bad);
	return n_bad || n_dead;
}

int main(int argc, char **argv)
{
	if (argc > 1 && !strcmp(argv[1], "make"))
		return make(argc - 2, argv + 2);
	if (argc > 1 && !strcmp(argv[1], "send"))
		return send_bodies(argc - 2, argv + 2);
	fprintf(stderr, "usage: load make|send ... (see tests/bench/README)\n");
	return 2;
}
