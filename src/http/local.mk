noinst_LIBRARIES += src/http/libhttp.a
src_http_libhttp_a_SOURCES = src/http/worker.c src/http/worker.h src/http/server.c src/http/sweep.c src/http/route.c \
	src/http/match.c src/http/match.h src/http/params.c src/http/params.h src/http/reply.c src/http/push.c \
	src/http/querystream.c src/http/queryapi.c src/http/queryapi.h src/http/lokiapi.c src/http/deleteapi.c src/http/tenant.c src/http/otlp.c src/http/otlp.h src/http/status.c src/http/metrics.c
src_http_libhttp_a_SOURCES += src/http/metricstream.c src/http/ratelimit.c src/http/k8s.c
src_http_libhttp_a_SOURCES += src/http/rates.c src/http/tls.c src/http/tls.h
src_http_libhttp_a_SOURCES += src/http/wsframe.c src/http/wsframe.h src/http/tailmsg.c src/http/tailmsg.h src/http/tail.c src/http/tail-private.h \
	src/http/tailconn.c src/http/tailhistory.c src/http/tailapi.c
src_http_libhttp_a_SOURCES += src/http/rulesapi.c src/http/rulesapi.h src/http/alertsapi.c
src_http_libhttp_a_SOURCES += src/http/tracing.c
src_http_libhttp_a_CPPFLAGS = $(AM_CPPFLAGS) $(H2O_CFLAGS) $(SSL_CFLAGS) $(ZLIB_CFLAGS) $(XXHASH_CFLAGS) -DH2O_USE_LIBUV=0

check_PROGRAMS += tests/unit/check_http_params
TESTS += tests/unit/check_http_params
tests_unit_check_http_params_SOURCES = tests/unit/check_http_params.c
tests_unit_check_http_params_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS)
tests_unit_check_http_params_LDADD = src/http/libhttp.a src/common/libcommon.a $(CHECK_LIBS) -lm

# One worker with a scripted engine; tests/integ/05-worker.py drives it.
noinst_PROGRAMS += tests/integ/worker_harness
tests_integ_worker_harness_SOURCES = tests/integ/worker_harness.c
tests_integ_worker_harness_LDADD = src/http/libhttp.a src/master/libmaster.a src/rules/librules.a src/ingest/libingest.a src/conf/libconf.a $(QUERY_LIBS) \
	$(H2O_LIBS) $(WSLAY_LIBS) $(SSL_LIBS) $(YAML_LIBS) $(SNAPPY_LIBS) $(DEFLATE_LIBS) $(ZLIB_LIBS) -lm

# WebSocket frames and the messages in them: these two files and what they call, no h2o.
TAILMSG_LIBS = src/http/libhttp.a src/ingest/libingest.a $(QUERY_LIBS) $(SSL_LIBS)
check_PROGRAMS += tests/unit/check_wsframe tests/fuzz/fuzz_tail
TESTS += tests/unit/check_wsframe tests/fuzz/fuzz_tail
tests_unit_check_wsframe_SOURCES = tests/unit/check_wsframe.c
tests_unit_check_wsframe_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS)
tests_unit_check_wsframe_LDADD = $(TAILMSG_LIBS) $(CHECK_LIBS)
tests_fuzz_fuzz_tail_SOURCES = tests/fuzz/fuzz_tail.c
tests_fuzz_fuzz_tail_LDADD = $(TAILMSG_LIBS) $(FUZZ_LIBS)
EXTRA_DIST += tests/fuzz/corpus/tail/filter tests/fuzz/corpus/tail/query tests/fuzz/corpus/tail/frames tests/fuzz/corpus/tail/bad \
	tests/fuzz/corpus/tail/keyword tests/fuzz/corpus/tail/wide
