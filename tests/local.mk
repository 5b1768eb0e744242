# Fuzz targets are libFuzzer programs with --enable-fuzzers, and plain tests that run their corpus otherwise.
check_LIBRARIES += tests/fuzz/libfuzzdriver.a
tests_fuzz_libfuzzdriver_a_SOURCES = tests/fuzz/driver.c tests/fuzz/fuzz.h
if FUZZERS
FUZZ_LIBS = $(FUZZ_ENGINE)
else
FUZZ_LIBS = tests/fuzz/libfuzzdriver.a
endif

# make check runs everything; TESTS= narrows it:  make check TESTS='$(UNIT_TESTS)'
TEST_EXTENSIONS = .py .sh
PY_LOG_COMPILER = python3
SH_LOG_COMPILER = sh
UNIT_TESTS = $(check_PROGRAMS)
include tests/integ/local.mk
include tests/conformance/local.mk
TESTS += $(INTEG_TESTS) $(CRASH_TESTS)


noinst_PROGRAMS += tests/bench/load
tests_bench_load_SOURCES = tests/bench/load.c
tests_bench_load_LDADD = src/common/libcommon.a $(SNAPPY_LIBS) -lpthread -lm
EXTRA_DIST += tests/bench/bench.py tests/bench/tail.py tests/bench/README
