/* The query engine against a naive one: random entries over sealed segments and the live log, random questions. */
#include "common/clock.h"
#include "common/jsonw.h"
#include "query/engine-private.h"
#include "store/map.h"
#include "store/seal.h"
#include "tests/unit/store_fixture.h"

#include <errno.h>
#include <pthread.h>

#define T0 (INT64_C(1793491200) * 1000000000 + INT64_C(86000) * 1000000000)     /* 400 s before midnight UTC */
#define N_STREAMS 14
#define MAX_ENTRIES 20000

struct stream_def {
	const char *tenant, *app, *env, *host;  /* host NULL: absent */
	struct lp_buf labels;
};

struct entry {
	int stream;
	int64_t ts;
	char line[48];
	const char *trace;                      /* metadata, or NULL */
	bool repeat;                            /* of an earlier one */
};

static struct stream_def streams[N_STREAMS];
static struct entry entries[MAX_ENTRIES];
static size_t n_entries;
static struct fix_wal wal;
static struct lp_region *region;
static struct lp_catalog *catalog;
static uint64_t rng = 88172645463325252u;

/* xorshift64 (Marsaglia 2003) */
static uint32_t rnd(uint32_t n)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return (uint32_t)(rng >> 11) % n;
}

static bool same_entry(const struct entry *a, const struct entry *b)
{
	return a->stream == b->stream && a->ts == b->ts && strcmp(a->line, b->line) == 0 && !a->trace == !b->trace &&
	       (!a->trace || strcmp(a->trace, b->trace) == 0);
}

static void make_entry(struct entry *e, uint32_t file)
{
	static const char *const words[] = { "error", "warn", "info", "timeout", "needle", "ok" };
	static const char *const traces[] = { "t1", "t2", "t3" };

	if (n_entries > 50 && rnd(8) == 0) {
		*e = entries[rnd((uint32_t)n_entries)];
		return;
	}
	e->stream = (int)rnd(N_STREAMS);
	/* Time goes on with the files, but overlaps; many equal timestamps; crosses midnight. */
	e->ts = T0 + (int64_t)(file * 60 + rnd(120)) * 1000000000 + (rnd(3) ? 0 : (int64_t)rnd(1000));
	snprintf(e->line, sizeof e->line, "%s %s v%u", words[rnd(6)], words[rnd(6)], rnd(40));
	if (rnd(50) == 0)
		e->line[0] = 0;
	e->trace = rnd(6) ? NULL : traces[rnd(3)];
}

static void put_record(uint32_t file)
{
	struct fix_rec rec = { 0 };
	struct lp_buf out = LP_BUF_INIT, meta[64] = { 0 };
	uint32_t n = 1 + rnd(20);
	struct entry batch[20];

	for (uint32_t i = 0; i < n; i++)
		make_entry(&batch[i], file);
	/* A stream stands once in a record: group what belongs to it, in order. */
	for (int s = 0; s < N_STREAMS; s++) {
		struct fix_entry fe[20];
		uint32_t k = 0;

		for (uint32_t i = 0; i < n; i++) {
			struct entry *e = &batch[i];

			if (e->stream != s)
				continue;
			entries[n_entries] = *e;
			e = &entries[n_entries++];
			e->repeat = false;
			for (size_t j = 0; j + 1 < n_entries && !e->repeat; j++)
				e->repeat = same_entry(&entries[j], e);
			if (e->trace)
				fix_meta(&meta[i], "trace", e->trace);
			fe[k++] = (struct fix_entry){ e->ts, e->line, (uint32_t)strlen(e->line), meta[i].data, (uint32_t)meta[i].len };
		}
		if (k)
			fix_rec_add(&rec, streams[s].labels.data, streams[s].labels.len, fe, k);
	}
	fix_rec_encode(&rec, wal.pos, &out);
	ck_assert(fix_wal_append(&wal, &out));
	lp_buf_free(&out);
	for (uint32_t i = 0; i < 64; i++)
		lp_buf_free(&meta[i]);
}

static void make_streams(void)
{
	static const char *const apps[] = { "api", "web", "db", "batch" }, *const envs[] = { "prod", "dev" };

	for (int s = 0; s < N_STREAMS; s++) {
		struct stream_def *d = &streams[s];

		*d = (struct stream_def){ .tenant = s == 13 ? "other" : "", .app = apps[s % 4], .env = envs[s / 4 % 2],
					  .host = s < 8 ? NULL : s % 2 ? "h1" : "h2" };
		fix_labels(&d->labels, d->tenant, (const char *const[]){ "app", d->app, "env", d->env, d->host ? "host" : NULL, d->host, NULL });
	}
}

static void setup(void)
{
	struct lp_region_config config = { .workers = 1, .lane_bytes = 65536 };
	char path[300], segments[300];

	make_streams();
	ck_assert_int_eq(lp_region_create(&config, &region), 0);
	for (uint32_t i = 0; i < lp_slot_count(region); i++)
		atomic_store(&lp_slot(region, i)->wal_pin, LP_WAL_PIN_NONE);
	fix_wal_open(&wal, 1 << 20);
	for (uint32_t file = 1; file <= 8; file++) {
		if (file > 1)
			fix_wal_file(&wal, file);
		for (int i = 0; i < 60; i++)
			put_record(file);
		if (file > 6)
			continue;
		struct lp_seal_result result;
		struct lp_seal_config seal = { .segments_dir = segments, .block_bytes = 4096, .compress = file % 2, .oldest_ns = INT64_MIN };

		snprintf(segments, sizeof segments, "%s/segments", wal.dir);
		fix_wal_path(&wal, file, path);
		ck_assert_int_eq(lp_seal_wal(&seal, path, file, &result), 0);
	}
	atomic_store(&lp_region_state(region)->wal_first, 7);
	atomic_store(&lp_region_state(region)->committed, LP_WALPOS(wal.number, wal.off));
	ck_assert_int_eq(lp_catalog_open(wal.dir, region, LP_SLOT_WORKER(0), &catalog), 0);
}

static void teardown(void)
{
	lp_catalog_close(&catalog);
	lp_region_close(&region);
	fix_wal_close(&wal);
	for (int s = 0; s < N_STREAMS; s++)
		lp_buf_free(&streams[s].labels);
}

/* ---- asking ---- */

struct answer {
	pthread_mutex_t lock;
	pthread_cond_t cond;
	int status, begins, ends;
	bool complete, hold, held, refuse;
	struct lp_buf body;
};

static int on_begin(void *ctx, int status, const char *type)
{
	struct answer *a = ctx;

	ck_assert_ptr_nonnull(type);
	pthread_mutex_lock(&a->lock);
	a->status = status;
	a->begins++;
	a->held = true;
	pthread_cond_broadcast(&a->cond);
	while (a->hold)
		pthread_cond_wait(&a->cond, &a->lock);
	pthread_mutex_unlock(&a->lock);
	return 0;
}

static int on_write(void *ctx, const void *p, size_t n)
{
	struct answer *a = ctx;

	if (a->refuse)
		return -ECANCELED;
	lp_buf_append(&a->body, p, n);
	return 0;
}

static void on_end(void *ctx, bool complete)
{
	struct answer *a = ctx;

	pthread_mutex_lock(&a->lock);
	a->complete = complete;
	a->ends++;
	pthread_cond_broadcast(&a->cond);
	pthread_mutex_unlock(&a->lock);
}

static void answer_init(struct answer *a)
{
	*a = (struct answer){ .status = 0 };
	pthread_mutex_init(&a->lock, NULL);
	pthread_cond_init(&a->cond, NULL);
}

static void answer_free(struct answer *a)
{
	lp_buf_free(&a->body);
	pthread_mutex_destroy(&a->lock);
	pthread_cond_destroy(&a->cond);
}

static struct lp_query_sink sink_of(struct answer *a)
{
	return (struct lp_query_sink){ on_begin, on_write, on_end, a };
}

static void wait_end(struct answer *a)
{
	pthread_mutex_lock(&a->lock);
	while (!a->ends)
		pthread_cond_wait(&a->cond, &a->lock);
	pthread_mutex_unlock(&a->lock);
}

static void ask(struct lp_engine *engine, const struct lp_query_params *params, struct answer *a, struct lp_query_stats *ret_stats)
{
	struct lp_query_sink sink = sink_of(a);
	struct lp_query *query;

	ck_assert_int_eq(lp_engine_submit(engine, params, &sink, &query), 0);
	wait_end(a);
	if (ret_stats)
		*ret_stats = *lp_query_stats(query);
	lp_query_unref(&query);
	lp_buf_cstr(&a->body);
}

static struct lp_engine *make_engine(uint32_t threads)
{
	struct lp_engine *engine;
	struct lp_engine_config config = { .threads = threads, .max_concurrent = 4 };

	ck_assert_int_eq(lp_engine_open(&config, catalog, &engine), 0);
	return engine;
}

static struct lp_query_params params_of(enum lp_query_kind kind, const char *text)
{
	return (struct lp_query_params){ .kind = kind, .text = text, .text_len = text ? strlen(text) : 0, .tenant = "", .start_ns = T0,
					 .end_ns = T0 + INT64_C(3600) * 1000000000, .limit = 100, .max_memory = 64 << 20 };
}

/* ---- the naive engine ---- */

struct selector {
	const char *text;
	bool (*match)(const struct stream_def *s);
};

static bool is(const char *a, const char *b) { return strcmp(a, b) == 0; }
static bool m_api(const struct stream_def *s) { return is(s->app, "api"); }
static bool m_api_web(const struct stream_def *s) { return is(s->app, "api") || is(s->app, "web"); }
static bool m_not_api_prod(const struct stream_def *s) { return !is(s->app, "api") && is(s->env, "prod"); }
static bool m_no_host(const struct stream_def *s) { return !s->host; }
static bool m_host(const struct stream_def *s) { return s->host != NULL; }
static bool m_one(const struct stream_def *s) { return is(s->app, "db") && is(s->env, "prod") && s->host; }
static bool m_nre(const struct stream_def *s) { return !is(s->app, "batch") && !is(s->app, "db") && s->env[0] == 'd'; }
static bool m_none(const struct stream_def *s) { (void)s; return false; }
static bool m_all(const struct stream_def *s) { (void)s; return true; }

static const struct selector selectors[] = {
	{ "{app=\"api\"}", m_api },
	{ "{app=~\"api|web\"}", m_api_web },
	{ "{app!=\"api\", env=\"prod\"}", m_not_api_prod },
	{ "{app=~\".+\", host=\"\"}", m_no_host },
	{ "{host=~\"h.\"}", m_host },
	{ "{env=\"prod\", app=\"db\", host!=\"\"}", m_one },
	{ "{app!~\"b.*|db\", env=~\"d.*\"}", m_nre },
	{ "{app=\"nosuch\"}", m_none },
	{ "{nosuch=\"x\"}", m_none },
	{ "{app=~\".+\", nosuch=\"\"}", m_all },
};

struct filter {
	const char *text;
	bool (*match)(const char *line);
};

static bool f_all(const char *l) { (void)l; return true; }
static bool f_err(const char *l) { return strstr(l, "error") != NULL; }
static bool f_not(const char *l) { return !strstr(l, "error"); }
static bool f_both(const char *l) { return strstr(l, "error") && strstr(l, "needle") && !strstr(l, "v1"); }
static bool f_or(const char *l) { return strstr(l, "warn") || strstr(l, "ok "); }
static bool f_nor(const char *l) { return !strstr(l, "warn") && !strstr(l, "ok "); }
static bool f_re(const char *l) { return strstr(l, "v1") || strstr(l, "v2"); }
static bool f_none(const char *l) { return strstr(l, "absent") != NULL; }

static const struct filter filters[] = {
	{ "", f_all }, { "", f_all }, { "|= \"error\"", f_err }, { "!= \"error\"", f_not },
	{ "|= \"error\" |= \"needle\" != \"v1\"", f_both }, { "|= \"warn\" or \"ok \"", f_or }, { "!= \"warn\" or \"ok \"", f_nor },
	{ "|~ \"v[12]\"", f_re }, { "|= \"absent\"", f_none }, { "|= \"\"", f_all },
};

static bool oracle_forward;

static int cmp_entry(const void *x, const void *y)
{
	const struct entry *a = *(struct entry *const *)x, *b = *(struct entry *const *)y;
	int c = a->ts != b->ts ? (a->ts < b->ts ? -1 : 1) : (a < b ? -1 : a > b);

	return oracle_forward ? c : -c;
}

static bool visible(const struct entry *e, const struct lp_query_params *p, const struct selector *sel, const struct filter *f)
{
	return !e->repeat && streams[e->stream].tenant[0] == 0 && sel->match(&streams[e->stream]) && e->ts >= p->start_ns && e->ts < p->end_ns &&
	       f->match(e->line);
}

static size_t oracle(const struct lp_query_params *p, const struct selector *sel, const struct filter *f, const struct entry **out)
{
	size_t n = 0;

	for (size_t i = 0; i < n_entries; i++)
		if (visible(&entries[i], p, sel, f))
			out[n++] = &entries[i];
	oracle_forward = p->forward;
	qsort(out, n, sizeof *out, cmp_entry);
	return n;
}

/* Where a limit cuts through equal timestamps of several streams any choice is right: move it behind them. */
static uint32_t clean_limit(const struct entry **v, size_t n, uint32_t limit)
{
	while (limit < n) {
		bool mixed = false;

		for (size_t i = 0; i < n; i++)
			mixed |= v[i]->ts == v[limit - 1]->ts && v[i]->stream != v[limit - 1]->stream;
		if (!mixed || v[limit]->ts != v[limit - 1]->ts)
			break;
		limit++;
	}
	return limit;
}

struct group {
	char key[128], json[160];
};

static void group_of(const struct entry *e, struct group *g)
{
	const struct stream_def *s = &streams[e->stream];
	int k = snprintf(g->key, sizeof g->key, "{app=\"%s\", env=\"%s\"", s->app, s->env);
	int j = snprintf(g->json, sizeof g->json, "{\"app\":\"%s\",\"env\":\"%s\"", s->app, s->env);

	if (s->host) {
		k += snprintf(g->key + k, sizeof g->key - (size_t)k, ", host=\"%s\"", s->host);
		j += snprintf(g->json + j, sizeof g->json - (size_t)j, ",\"host\":\"%s\"", s->host);
	}
	if (e->trace) {
		k += snprintf(g->key + k, sizeof g->key - (size_t)k, ", trace=\"%s\"", e->trace);
		j += snprintf(g->json + j, sizeof g->json - (size_t)j, ",\"trace\":\"%s\"", e->trace);
	}
	snprintf(g->key + k, sizeof g->key - (size_t)k, "}");
	snprintf(g->json + j, sizeof g->json - (size_t)j, "}");
}

static int cmp_group(const void *x, const void *y)
{
	return strcmp(((const struct group *)x)->key, ((const struct group *)y)->key);
}

static void expect_streams(struct lp_buf *out, const struct entry **v, size_t n)
{
	struct group *groups = calloc(n + 1, sizeof *groups), g;
	size_t k = 0;

	for (size_t i = 0; i < n; i++)
		group_of(v[i], &groups[i]);
	qsort(groups, n, sizeof *groups, cmp_group);
	lp_buf_str(out, "{\"status\":\"success\",\"data\":{\"resultType\":\"streams\",\"result\":[");
	for (size_t a = 0; a < n; a++) {
		if (a && cmp_group(&groups[a - 1], &groups[a]) == 0)
			continue;
		lp_buf_printf(out, "%s{\"stream\":%s,\"values\":[", k++ ? "," : "", groups[a].json);
		bool first = true;

		for (size_t i = 0; i < n; i++) {
			group_of(v[i], &g);
			if (cmp_group(&g, &groups[a]) != 0)
				continue;
			lp_buf_printf(out, "%s[\"%lld\",\"%s\"]", first ? "" : ",", (long long)v[i]->ts, v[i]->line);
			first = false;
		}
		lp_buf_str(out, "]}");
	}
	lp_buf_str(out, "],\"stats\":{");
	free(groups);
}

static void random_range(struct lp_query_params *p)
{
	if (rnd(3) == 0)
		return;
	p->start_ns = T0 + (int64_t)rnd(600) * 1000000000 + rnd(2);
	p->end_ns = p->start_ns + (int64_t)rnd(300) * 1000000000 + rnd(2);
}

static void compare_logs(struct lp_engine *engine, int rounds)
{
	const struct entry **v = calloc(MAX_ENTRIES, sizeof *v);

	for (int round = 0; round < rounds; round++) {
		const struct selector *sel = &selectors[rnd(LP_ARRAY_LEN(selectors))];
		const struct filter *f = &filters[rnd(LP_ARRAY_LEN(filters))];
		char text[256];
		struct answer a;
		struct lp_buf want = LP_BUF_INIT;

		snprintf(text, sizeof text, "%s %s", sel->text, f->text);
		struct lp_query_params p = params_of(LP_QUERY_RANGE, text);

		p.forward = rnd(2);
		random_range(&p);
		size_t n = oracle(&p, sel, f, v);

		p.limit = clean_limit(v, n, 1 + (rnd(2) ? rnd(20) : rnd(3000)));
		if (n > p.limit)
			n = p.limit;
		expect_streams(&want, v, n);
		answer_init(&a);
		ask(engine, &p, &a, NULL);
		ck_assert_int_eq(a.status, 200);
		ck_assert(a.complete);
		ck_assert_int_eq(a.begins, 1);
		if (a.body.len < want.len || memcmp(a.body.data, want.data, want.len) != 0)
			ck_abort_msg("%s [%lld, %lld) limit %u forward %d\nwant %.3000s\ngot  %.3000s", text, (long long)p.start_ns,
				     (long long)p.end_ns, p.limit, p.forward, lp_buf_cstr(&want), (const char *)a.body.data);
		lp_buf_free(&want);
		answer_free(&a);
	}
	free(v);
}

START_TEST(log_queries_equal_the_naive_engine)
{
	struct lp_engine *engine = make_engine(_i ? 4 : 1);

	compare_logs(engine, 300);
	lp_engine_close(&engine);
}
END_TEST

/* Eight bytes a pair, and each name and value once per stream. */
static size_t metadata_bytes(const struct entry **v, size_t n)
{
	struct seen {
		int stream;
		const char *s;
	} *seen = calloc(2 * n + 1, sizeof *seen);
	size_t k = 0, bytes = 0;

	for (size_t i = 0; i < n; i++) {
		const char *strings[] = { "trace", v[i]->trace };

		if (!v[i]->trace)
			continue;
		bytes += 8;
		for (size_t j = 0; j < 2; j++) {
			size_t at = 0;

			while (at < k && (seen[at].stream != (int)v[i]->stream || strcmp(seen[at].s, strings[j]) != 0))
				at++;
			if (at < k)
				continue;
			seen[k++] = (struct seen){ (int)v[i]->stream, strings[j] };
			bytes += strlen(strings[j]);
		}
	}
	free(seen);
	return bytes;
}

START_TEST(index_stats_are_exact)
{
	struct lp_engine *engine = make_engine(_i ? 4 : 1);
	const struct entry **v = calloc(MAX_ENTRIES, sizeof *v);

	for (int round = 0; round < 200; round++) {
		const struct selector *sel = &selectors[rnd(LP_ARRAY_LEN(selectors))];
		struct lp_query_params p = params_of(LP_QUERY_INDEX_STATS, sel->text);
		unsigned long long got[4], bytes = 0, n_streams = 0;
		bool seen[N_STREAMS] = { false };
		struct answer a;

		random_range(&p);
		size_t n = oracle(&p, sel, &filters[0], v);

		for (size_t i = 0; i < n; i++) {
			bytes += strlen(v[i]->line);
			n_streams += !seen[v[i]->stream];
			seen[v[i]->stream] = true;
		}
		bytes += metadata_bytes(v, n);
		answer_init(&a);
		ask(engine, &p, &a, NULL);
		ck_assert_int_eq(a.status, 200);
		ck_assert_int_eq(sscanf((const char *)a.body.data, "{\"streams\":%llu,\"chunks\":%llu,\"bytes\":%llu,\"entries\":%llu}", &got[0],
					&got[1], &got[2], &got[3]), 4);
		ck_assert_msg(got[3] == n && got[0] == n_streams && got[2] == bytes, "%s [%lld, %lld): want %zu entries %llu streams %llu bytes, got %s",
			      sel->text, (long long)p.start_ns, (long long)p.end_ns, n, n_streams, bytes, (const char *)a.body.data);
		ck_assert((got[1] == 0) == (n == 0));
		answer_free(&a);
	}
	free(v);
	lp_engine_close(&engine);
}
END_TEST

/* ---- metric queries: sums over all series, at each step ---- */

struct form {
	const char *format;             /* selector, filter, range in seconds */
	bool bytes, no_t1;              /* line bytes; lines with trace="t1" are filtered out */
};

static const struct form forms[] = {
	{ "sum(count_over_time(%s %s [%us]))", false, false },
	{ "sum by (app) (count_over_time(%s %s [%us]))", false, false },
	{ "sum by (trace) (count_over_time(%s %s [%us]))", false, false },
	{ "count_over_time(%s %s [%us])", false, false },
	{ "sum(bytes_over_time(%s %s [%us]))", true, false },
	{ "sum by (env) (count_over_time(%s %s | trace!=\"t1\" [%us]))", false, true },
};

static double sample_sum(const struct form *form, const struct selector *sel, const struct filter *f, int64_t t, uint32_t range_s)
{
	struct lp_query_params window = { .start_ns = t - range_s * LP_NS_PER_SEC + 1, .end_ns = t + 1 };
	double sum = 0;

	for (size_t i = 0; i < n_entries; i++)
		if (visible(&entries[i], &window, sel, f) && !(form->no_t1 && entries[i].trace && is(entries[i].trace, "t1")))
			sum += form->bytes ? (double)strlen(entries[i].line) : 1;
	return sum;
}

/* Values at one time, over all series of an answer. */
static double answer_sum(const char *body, int64_t sec)
{
	char pair[40];
	double sum = 0;
	int len = snprintf(pair, sizeof pair, "[%lld,\"", (long long)sec);

	for (const char *at = body; (at = strstr(at, pair)) != NULL; at += len)
		sum += strtod(at + len, NULL);
	return sum;
}

START_TEST(metric_queries_equal_the_naive_engine)
{
	struct lp_engine *engine = make_engine(_i ? 4 : 1);

	for (int round = 0; round < 150; round++) {
		const struct selector *sel = &selectors[rnd(LP_ARRAY_LEN(selectors))];
		const struct filter *f = &filters[rnd(LP_ARRAY_LEN(filters))];
		const struct form *form = &forms[rnd(LP_ARRAY_LEN(forms))];
		uint32_t range_s = 1 + rnd(rnd(2) ? 10 : 700);
		char text[400];
		struct answer a;

		snprintf(text, sizeof text, form->format, sel->text, f->text, range_s);
		struct lp_query_params p = params_of(rnd(3) ? LP_QUERY_RANGE : LP_QUERY_INSTANT, text);

		p.max_series = 1000;
		p.step_ns = (1 + (int64_t)rnd(90)) * LP_NS_PER_SEC;
		p.start_ns = T0 + (int64_t)rnd(500) * LP_NS_PER_SEC;
		p.end_ns = p.start_ns + (int64_t)rnd(10) * p.step_ns;
		if (p.kind == LP_QUERY_INSTANT)
			p.start_ns = p.end_ns;
		answer_init(&a);
		ask(engine, &p, &a, NULL);
		ck_assert_msg(a.status == 200, "%s: %s", text, (const char *)a.body.data);
		int64_t first = p.kind == LP_QUERY_INSTANT ? p.end_ns : p.start_ns / p.step_ns * p.step_ns;
		uint32_t points = 0;

		for (int64_t t = first; t < p.end_ns + (p.kind == LP_QUERY_INSTANT ? 1 : p.step_ns); t += p.step_ns, points++) {
			double want = sample_sum(form, sel, f, t, range_s), got = answer_sum((const char *)a.body.data, t / LP_NS_PER_SEC);

			ck_assert_msg(want == got, "%s at %lld: want %g, got %g", text, (long long)t, want, got);
		}
		ck_assert_uint_gt(points, 0);
		answer_free(&a);
	}
	lp_engine_close(&engine);
}
END_TEST

START_TEST(metric_queries_without_streams)
{
	struct lp_engine *engine = make_engine(1);
	static const char sum[] = "{\"status\":\"success\",\"data\":{\"resultType\":\"vector\",\"result\":[{\"metric\":{},\"value\":[4000000000,\"2\"]}]";
	struct lp_query_params p = params_of(LP_QUERY_INSTANT, "vector(1)+vector(1)");
	struct answer a;

	p.start_ns = p.end_ns = INT64_C(4000000000) * LP_NS_PER_SEC;
	p.max_series = 10;
	answer_init(&a);
	ask(engine, &p, &a, NULL);
	ck_assert_int_eq(a.status, 200);
	ck_assert_msg(strncmp((const char *)a.body.data, sum, sizeof sum - 1) == 0, "%s", (const char *)a.body.data);
	answer_free(&a);
	p = params_of(LP_QUERY_RANGE, "sum(rate({app=\"api\"}[1m]))");
	p.step_ns = 1000000;
	answer_init(&a);
	ask(engine, &p, &a, NULL);
	ck_assert_int_eq(a.status, 400);
	ck_assert_ptr_nonnull(strstr((const char *)a.body.data, "exceeded maximum resolution"));
	answer_free(&a);
	lp_engine_close(&engine);
}
END_TEST

static void expect_body(struct lp_engine *engine, const struct lp_query_params *p, int status, const char *body)
{
	struct answer a;

	answer_init(&a);
	ask(engine, p, &a, NULL);
	ck_assert_str_eq((const char *)a.body.data, body);
	ck_assert_int_eq(a.status, status);
	ck_assert(a.complete);
	answer_free(&a);
}

START_TEST(names_values_series)
{
	struct lp_engine *engine = make_engine(2);
	struct lp_query_params p = params_of(LP_QUERY_LABELS, NULL);

	expect_body(engine, &p, 200, "{\"status\":\"success\",\"data\":[\"app\",\"env\",\"host\"]}");
	p.original_shape = true;
	expect_body(engine, &p, 200, "[\"app\",\"env\",\"host\"]");
	p = params_of(LP_QUERY_LABELS, "{app=~\".+\",host=\"\"}");
	expect_body(engine, &p, 200, "{\"status\":\"success\",\"data\":[\"app\",\"env\"]}");
	p = params_of(LP_QUERY_LABEL_VALUES, NULL);
	p.label = "app";
	p.label_len = 3;
	expect_body(engine, &p, 200, "{\"status\":\"success\",\"data\":[\"api\",\"batch\",\"db\",\"web\"]}");
	p.text = "{app=~\"a.*|d.*\"}";
	p.text_len = strlen(p.text);
	expect_body(engine, &p, 200, "{\"status\":\"success\",\"data\":[\"api\",\"db\"]}");
	p.start_ns = p.end_ns = T0 - INT64_C(9000) * 1000000000;
	expect_body(engine, &p, 200, "{\"status\":\"success\",\"data\":[]}");
	p = params_of(LP_QUERY_SERIES, NULL);
	const char *matches[] = { "{app=\"db\",env=\"prod\"}", "{app=\"db\",host=\"h2\"}", "{app=\"db\"}" };
	size_t lens[] = { strlen(matches[0]), strlen(matches[1]), 0 };

	p.matches = matches;
	p.match_lens = lens;
	p.n_matches = 2;
	expect_body(engine, &p, 200,
		    "{\"status\":\"success\",\"data\":[{\"app\":\"db\",\"env\":\"prod\"},{\"app\":\"db\",\"env\":\"prod\",\"host\":\"h2\"}]}");
	/* Another tenant sees its own stream and no other. */
	p = params_of(LP_QUERY_SERIES, NULL);
	p.tenant = "other";
	p.tenant_len = 5;
	expect_body(engine, &p, 200, "{\"status\":\"success\",\"data\":[{\"app\":\"web\",\"env\":\"dev\",\"host\":\"h1\"}]}");
	lp_engine_close(&engine);
}
END_TEST

START_TEST(the_original_shape)
{
	struct lp_engine *engine = make_engine(2);
	struct lp_query_params p = params_of(LP_QUERY_ORIGINAL, "");
	struct answer a;
	const struct entry **v = calloc(MAX_ENTRIES, sizeof *v);
	const struct selector all = { "", m_all };
	char want[64];

	answer_init(&a);
	p.limit = 3;
	ck_assert_uint_gt(oracle(&p, &all, &filters[0], v), 3);
	ask(engine, &p, &a, NULL);
	ck_assert_int_eq(a.status, 200);
	ck_assert_ptr_nonnull(strstr((const char *)a.body.data, "{\"logs\":[{\"id\":\""));
	ck_assert_ptr_nonnull(strstr((const char *)a.body.data, "\"level\":\"info\",\"message\":\""));
	ck_assert_ptr_nonnull(strstr((const char *)a.body.data, "],\"stats\":{\"queriedChunks\":"));
	snprintf(want, sizeof want, "\"matchedLines\":3");
	ck_assert_ptr_nonnull(strstr((const char *)a.body.data, want));
	answer_free(&a);
	free(v);
	p.text = NULL;
	expect_body(engine, &p, 400, "{\"error\":\"Query parameter is required\",\"code\":\"VALIDATION_ERROR\"}");
	lp_engine_close(&engine);
}
END_TEST

START_TEST(limits_deadline_and_bad_queries)
{
	struct lp_engine *engine = make_engine(2);
	struct lp_query_params p = params_of(LP_QUERY_RANGE, "{app=~\".+\"}");
	struct answer a;

	p.deadline_mono_ns = lp_clock_mono_ns() - 1;
	expect_body(engine, &p, 504,
		    "request timed out, decrease the duration of the request or add more label matchers (prefer exact match over regex match) to "
		    "reduce the amount of data processed\n");
	p.deadline_mono_ns = 0;
	p.limit = 5000;
	p.max_memory = 20000;
	answer_init(&a);
	ask(engine, &p, &a, NULL);
	ck_assert_int_eq(a.status, 400);
	ck_assert_ptr_nonnull(strstr((const char *)a.body.data, "query.max_query_memory"));
	answer_free(&a);
	p = params_of(LP_QUERY_RANGE, "{app=");
	answer_init(&a);
	ask(engine, &p, &a, NULL);
	ck_assert_int_eq(a.status, 400);
	ck_assert_ptr_nonnull(strstr((const char *)a.body.data, "parse error"));
	answer_free(&a);
	p = params_of(LP_QUERY_INSTANT, "{app=\"api\"}");
	expect_body(engine, &p, 400,
		    "log queries are not supported as an instant query type, please change your query to a range query type\n");
	/* The engine is fine after all of it. */
	compare_logs(engine, 3);
	lp_engine_close(&engine);
}
END_TEST

START_TEST(a_slow_client_does_not_hold_up_others)
{
	struct lp_engine *engine = make_engine(1);
	struct lp_query_params p = params_of(LP_QUERY_RANGE, "{app=\"api\"}");
	struct answer slow, many[4];
	struct lp_query_sink sink = sink_of(&slow);
	struct lp_query *query, *queries[4];

	answer_init(&slow);
	slow.hold = true;
	ck_assert_int_eq(lp_engine_submit(engine, &p, &sink, &query), 0);
	pthread_mutex_lock(&slow.lock);
	while (!slow.held)
		pthread_cond_wait(&slow.cond, &slow.lock);
	pthread_mutex_unlock(&slow.lock);
	compare_logs(engine, 5);
	/* Room for four at a time: the held one and three more. */
	for (int i = 0; i < 3; i++) {
		answer_init(&many[i]);
		many[i].hold = true;
		sink = sink_of(&many[i]);
		ck_assert_int_eq(lp_engine_submit(engine, &p, &sink, &queries[i]), 0);
	}
	sink = sink_of(&many[3]);
	ck_assert_int_eq(lp_engine_submit(engine, &p, &sink, &queries[3]), -EBUSY);
	for (int i = -1; i < 3; i++) {
		struct answer *a = i < 0 ? &slow : &many[i];

		pthread_mutex_lock(&a->lock);
		a->hold = false;
		pthread_cond_broadcast(&a->cond);
		pthread_mutex_unlock(&a->lock);
		wait_end(a);
		ck_assert(a->complete);
		lp_query_unref(i < 0 ? &query : &queries[i]);
	}
	lp_engine_close(&engine);
	answer_free(&slow);
	for (int i = 0; i < 3; i++)
		answer_free(&many[i]);
}
END_TEST

struct witness {
	struct answer answer;           /* first */
	struct lp_query *other;
	uint64_t lines;                 /* that the other had scanned when this one ended */
};

static void end_and_look(void *ctx, bool complete)
{
	struct witness *w = ctx;

	w->lines = atomic_load(&w->other->count.lines_scanned);
	on_end(ctx, complete);
}

/* Both have the same number of units, on one thread: turn by turn they would end together. */
START_TEST(cheap_units_do_not_wait_for_dear_ones)
{
	struct lp_engine *engine = make_engine(1);
	struct lp_query_params dear = params_of(LP_QUERY_RANGE, "sum(count_over_time({app=~\".+\"} | label_format a=`{{repeat 4000 \"x\" | ToUpper | "
								"ToLower}}` [1h]))"),
			       cheap = params_of(LP_QUERY_RANGE, "sum(count_over_time({app=~\".+\"} |= \"e\" [1h]))");
	struct witness w = { .lines = 0 };
	struct answer slow;
	struct lp_query_sink sink = sink_of(&slow), looking = { on_begin, on_write, end_and_look, &w };
	struct lp_query *query;

	dear.step_ns = cheap.step_ns = INT64_C(3600) * 1000000000;
	answer_init(&slow);
	answer_init(&w.answer);
	ck_assert_int_eq(lp_engine_submit(engine, &dear, &sink, &w.other), 0);
	ck_assert_int_eq(lp_engine_submit(engine, &cheap, &looking, &query), 0);
	wait_end(&w.answer);
	wait_end(&slow);
	ck_assert(w.answer.complete && slow.complete);
	uint64_t all = lp_query_stats(w.other)->lines_scanned;

	ck_assert_uint_eq(lp_query_stats(query)->lines_scanned, all);
	ck_assert_msg(w.lines < all / 2, "%llu of %llu lines", (unsigned long long)w.lines, (unsigned long long)all);
	lp_query_unref(&w.other);
	lp_query_unref(&query);
	lp_engine_close(&engine);
	answer_free(&slow);
	answer_free(&w.answer);
}
END_TEST

START_TEST(cancelled_queries_end_once)
{
	struct lp_engine *engine = make_engine(2);
	struct lp_query_params p = params_of(LP_QUERY_RANGE, "{app=~\".+\"} |~ \"v[0-9]\"");

	p.limit = 5000;
	for (int i = 0; i < 50; i++) {
		struct answer a;
		struct lp_query_sink sink = sink_of(&a);
		struct lp_query *query;

		answer_init(&a);
		a.refuse = i % 2;
		a.hold = !a.refuse;     /* it cannot be over before it is cancelled */
		ck_assert_int_eq(lp_engine_submit(engine, &p, &sink, &query), 0);
		if (!a.refuse) {
			lp_query_cancel(query);
			pthread_mutex_lock(&a.lock);
			a.hold = false;
			pthread_cond_broadcast(&a.cond);
			pthread_mutex_unlock(&a.lock);
		}
		wait_end(&a);
		ck_assert(!a.complete);
		ck_assert_int_eq(a.ends, 1);
		lp_query_unref(&query);
		answer_free(&a);
	}
	/* Closing cancels what waits and what runs. */
	struct answer a[4];
	struct lp_query *query;

	for (int i = 0; i < 4; i++) {
		struct lp_query_sink sink = sink_of(&a[i]);

		answer_init(&a[i]);
		ck_assert_int_eq(lp_engine_submit(engine, &p, &sink, &query), 0);
		lp_query_unref(&query);
	}
	lp_engine_close(&engine);
	for (int i = 0; i < 4; i++) {
		ck_assert_int_eq(a[i].ends, 1);
		answer_free(&a[i]);
	}
}
END_TEST

START_TEST(newest_first_stops_early)
{
	struct lp_engine *engine = make_engine(1);
	struct lp_query_params p = params_of(LP_QUERY_RANGE, "{app=~\".+\"}");
	struct lp_query_stats few, all;
	struct answer a;

	p.limit = 5;
	answer_init(&a);
	ask(engine, &p, &a, &few);
	answer_free(&a);
	p.limit = 100000;
	answer_init(&a);
	ask(engine, &p, &a, &all);
	answer_free(&a);
	ck_assert_uint_eq(few.lines_matched, 5);
	ck_assert_uint_gt(all.blocks_read, 10);
	ck_assert_uint_eq(few.blocks_read, 0);          /* the live log is newer */
	ck_assert_uint_lt(few.lines_scanned, all.lines_scanned / 4);
	lp_engine_close(&engine);
}
END_TEST

START_TEST(the_interval_thins_out_over_all_streams)
{
	struct lp_engine *engine = make_engine(2);
	struct lp_query_params p = params_of(LP_QUERY_RANGE, "{app=\"api\"}");
	const struct entry **v = calloc(MAX_ENTRIES, sizeof *v);

	for (int i = 0; i < 4; i++) {
		struct answer a;
		size_t out = 0;

		p.forward = i % 2;
		p.limit = i < 2 ? 40 : 1000;
		p.interval_ns = 7 * LP_NS_PER_SEC;
		size_t n = oracle(&p, &selectors[0], &filters[0], v);

		for (size_t k = 0; k < n && k < p.limit; k++)
			if (!out || llabs(v[k]->ts - v[out - 1]->ts) >= p.interval_ns)
				v[out++] = v[k];
		answer_init(&a);
		ask(engine, &p, &a, NULL);
		/* Which of several entries with one timestamp is first depends on more than time: compare the number only. */
		unsigned long long got = 0;
		const char *at = strstr((const char *)a.body.data, "\"totalEntriesReturned\":");

		ck_assert_int_eq(sscanf(at, "\"totalEntriesReturned\":%llu", &got), 1);
		ck_assert_uint_eq(got, out);
		answer_free(&a);
	}
	free(v);
	lp_engine_close(&engine);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("engine");
	TCase *tc = tcase_create("engine");

	tcase_set_timeout(tc, 120);
	tcase_add_unchecked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, log_queries_equal_the_naive_engine, 0, 2);
	tcase_add_loop_test(tc, index_stats_are_exact, 0, 2);
	tcase_add_loop_test(tc, metric_queries_equal_the_naive_engine, 0, 2);
	tcase_add_test(tc, metric_queries_without_streams);
	tcase_add_test(tc, names_values_series);
	tcase_add_test(tc, the_original_shape);
	tcase_add_test(tc, limits_deadline_and_bad_queries);
	tcase_add_test(tc, a_slow_client_does_not_hold_up_others);
	tcase_add_test(tc, cheap_units_do_not_wait_for_dear_ones);
	tcase_add_test(tc, cancelled_queries_end_once);
	tcase_add_test(tc, newest_first_stops_early);
	tcase_add_test(tc, the_interval_thins_out_over_all_streams);
	suite_add_tcase(suite, tc);
	SRunner *runner = srunner_create(suite);

	lp_map_init();
	srunner_run_all(runner, CK_NORMAL);
	int failed = srunner_ntests_failed(runner);

	srunner_free(runner);
	return failed ? 1 : 0;
}
