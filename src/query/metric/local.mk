# Metric queries: range accumulators, evaluation, results.
src_query_libquery_a_SOURCES += \
	src/query/metric/metric.h src/query/metric/metric-private.h src/query/metric/range-private.h \
	src/query/metric/panes.c src/query/metric/state.c src/query/metric/keys.c src/query/metric/matrix.c \
	src/query/metric/range.c src/query/metric/window.c \
	src/query/metric/eval.c src/query/metric/split.c src/query/metric/vector_agg.c src/query/metric/binop.c src/query/metric/label_replace.c

check_PROGRAMS += tests/unit/check_metric_range
TESTS += tests/unit/check_metric_range
tests_unit_check_metric_range_SOURCES = tests/unit/check_metric_range.c
tests_unit_check_metric_range_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS)
tests_unit_check_metric_range_LDADD = $(QUERY_LIBS) $(CHECK_LIBS)

check_PROGRAMS += tests/unit/check_metric_eval
TESTS += tests/unit/check_metric_eval
tests_unit_check_metric_eval_SOURCES = tests/unit/check_metric_eval.c
tests_unit_check_metric_eval_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS)
tests_unit_check_metric_eval_LDADD = $(QUERY_LIBS) $(CHECK_LIBS)
