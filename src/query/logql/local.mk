# The query library's language half: LogQL, regular expressions, pipelines.
src_query_libquery_a_SOURCES += \
	src/query/regex.cc \
	src/query/search.c src/query/search.h \
	src/query/logql/check.c \
	src/query/logql/lexer.c src/query/logql/lexer.h \
	src/query/logql/parse.c src/query/logql/parse-private.h \
	src/query/logql/parse-stage.c \
	src/query/logql/print.c \
	src/query/logql/units.c src/query/logql/units.h \
	src/query/pipeline/ip.c src/query/pipeline/ip.h \
	src/query/pipeline/path.c src/query/pipeline/path.h \
	src/query/pipeline/pipeline.h \
	src/query/pipeline/pattern.c src/query/pipeline/pattern.h
