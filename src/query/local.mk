noinst_LIBRARIES += src/query/libquery.a
src_query_libquery_a_SOURCES = src/query/query.h src/query/regex.h src/query/logql/ast.h
include src/query/logql/local.mk
