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
	src/query/pipeline/logfmt.c src/query/pipeline/level.c \
	src/query/pipeline/loose.c src/query/pipeline/loose.h \
	src/query/pipeline/format.c src/query/pipeline/gotime.c src/query/pipeline/template.h src/query/pipeline/template-private.h \
	src/query/pipeline/template-exec.c src/query/pipeline/template-fmt.c src/query/pipeline/template-func.c src/query/pipeline/template-lex.c \
	src/query/pipeline/template-math.c src/query/pipeline/template-printf.c src/query/pipeline/template-time.c \
	src/query/pipeline/template-parse.c src/query/pipeline/template-rule.c src/query/pipeline/template-text.c

check_PROGRAMS += tests/unit/check_logql tests/unit/check_regex tests/unit/check_pipeline tests/fuzz/fuzz_logql tests/fuzz/fuzz_pipeline
TESTS += tests/unit/check_logql tests/unit/check_regex tests/unit/check_pipeline tests/fuzz/fuzz_logql tests/fuzz/fuzz_pipeline
tests_unit_check_logql_SOURCES = tests/unit/check_logql.c tests/lib/logql_dump.h
tests_unit_check_logql_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS)
tests_unit_check_logql_LDADD = $(QUERY_LIBS) $(CHECK_LIBS)
tests_unit_check_regex_SOURCES = tests/unit/check_regex.c
tests_unit_check_regex_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS)
tests_unit_check_regex_LDADD = $(QUERY_LIBS) $(CHECK_LIBS)
tests_unit_check_pipeline_SOURCES = tests/unit/check_pipeline.c
tests_unit_check_pipeline_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS)
tests_unit_check_pipeline_LDADD = $(QUERY_LIBS) $(CHECK_LIBS)
tests_fuzz_fuzz_logql_SOURCES = tests/fuzz/fuzz_logql.c tests/fuzz/fuzz.h tests/lib/logql_dump.h
tests_fuzz_fuzz_logql_LDADD = $(FUZZ_LIBS) $(QUERY_LIBS)
tests_fuzz_fuzz_pipeline_SOURCES = tests/fuzz/fuzz_pipeline.c tests/fuzz/fuzz.h
tests_fuzz_fuzz_pipeline_LDADD = $(FUZZ_LIBS) $(QUERY_LIBS)
EXTRA_DIST += \
	tests/fuzz/corpus/logql/binary \
	tests/fuzz/corpus/logql/exabytes \
	tests/fuzz/corpus/logql/filters \
	tests/fuzz/corpus/logql/formats \
	tests/fuzz/corpus/logql/huge-template-number \
	tests/fuzz/corpus/logql/labels \
	tests/fuzz/corpus/logql/minus-zero \
	tests/fuzz/corpus/logql/long \
	tests/fuzz/corpus/logql/parsers \
	tests/fuzz/corpus/logql/range \
	tests/fuzz/corpus/logql/replace \
	tests/fuzz/corpus/logql/selector \
	tests/fuzz/corpus/logql/sizes \
	tests/fuzz/corpus/pipeline/count \
	tests/fuzz/corpus/pipeline/error-label-twice \
	tests/fuzz/corpus/pipeline/format \
	tests/fuzz/corpus/pipeline/json \
	tests/fuzz/corpus/pipeline/logfmt \
	tests/fuzz/corpus/pipeline/pattern \
	tests/fuzz/corpus/pipeline/regexp \
	tests/fuzz/corpus/pipeline/time \
	tests/fuzz/corpus/pipeline/unpack \
	tests/fuzz/corpus/pipeline/unwrap
