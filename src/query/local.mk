noinst_LIBRARIES += src/query/libquery.a
src_query_libquery_a_SOURCES = src/query/query.h src/query/regex.h src/query/logql/ast.h src/query/engine-private.h \
	src/query/deletes.c src/query/deletes.h src/query/delete_requests.c src/query/engine.c src/query/memory.c src/query/plan.c src/query/filter.c src/query/scan.c src/query/merge.c src/query/result.c \
	src/query/names.c src/query/counting.c src/query/counting.h src/query/index_stats.c src/query/volume.c src/query/detected.c src/query/patterns.c \
	src/query/patterns/drain.c src/query/patterns/drain.h src/query/overlap.c src/query/discover.c src/query/discover.h \
	src/query/tail.c src/query/tail.h src/query/tailhub.c src/query/tailhub.h src/query/spans.c src/query/spans.h src/query/streams.c src/query/streams.h \
	src/query/metric_query.c src/query/metric_scan.c src/query/metric-private.h
src_query_libquery_a_CPPFLAGS = $(AM_CPPFLAGS) $(XXHASH_CFLAGS)
include src/query/logql/local.mk
include src/query/metric/local.mk
QUERY_LIBS = src/query/libquery.a $(STORE_LIBS) $(RE2_LIBS) -lstdc++ -lm

check_PROGRAMS += tests/unit/check_catalog tests/unit/check_engine tests/unit/check_drain
TESTS += tests/unit/check_catalog tests/unit/check_engine tests/unit/check_drain
tests_unit_check_catalog_SOURCES = tests/unit/check_catalog.c tests/unit/store_fixture.h
tests_unit_check_catalog_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS)
tests_unit_check_catalog_LDADD = $(STORE_LIBS) $(CHECK_LIBS)
tests_unit_check_engine_SOURCES = tests/unit/check_engine.c tests/unit/store_fixture.h
tests_unit_check_engine_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS)
tests_unit_check_engine_LDADD = $(QUERY_LIBS) $(CHECK_LIBS)
tests_unit_check_drain_SOURCES = tests/unit/check_drain.c
tests_unit_check_drain_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS)
tests_unit_check_drain_LDADD = $(QUERY_LIBS) $(CHECK_LIBS)

check_PROGRAMS += tests/unit/check_deletes
TESTS += tests/unit/check_deletes
tests_unit_check_deletes_SOURCES = tests/unit/check_deletes.c
tests_unit_check_deletes_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS)
tests_unit_check_deletes_LDADD = $(QUERY_LIBS) $(CHECK_LIBS)
