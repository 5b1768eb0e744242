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
	src/query/pipeline/pattern.c src/query/pipeline/pattern.h \
	src/query/pipeline/pipeline.c src/query/pipeline/pipeline.h src/query/pipeline/pipeline-private.h \
	src/query/pipeline/labels.c src/query/pipeline/filters.c src/query/pipeline/extract.c \
	src/query/pipeline/json.c src/query/pipeline/jsonscan.c src/query/pipeline/jsonscan.h \
	src/query/pipeline/logfmt.c \
	src/query/pipeline/loose.c src/query/pipeline/loose.h \
	src/query/pipeline/format.c src/query/pipeline/gotime.c src/query/pipeline/template.h src/query/pipeline/template-private.h \
	src/query/pipeline/template-exec.c src/query/pipeline/template-fmt.c src/query/pipeline/template-func.c \
	src/query/pipeline/template-parse.c src/query/pipeline/template-text.c
