noinst_LIBRARIES += src/query/libquery.a
src_query_libquery_a_SOURCES = src/query/query.h src/query/regex.h src/query/logql/ast.h src/query/engine-private.h \
	src/query/engine.c src/query/plan.c src/query/filter.c src/query/scan.c src/query/merge.c src/query/result.c \
	src/query/names.c src/query/index_stats.c
src_query_libquery_a_CPPFLAGS = $(AM_CPPFLAGS) $(XXHASH_CFLAGS)
include src/query/logql/local.mk
