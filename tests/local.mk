# Fuzz targets are libFuzzer programs with --enable-fuzzers, and plain tests that run their corpus otherwise.
check_LIBRARIES += tests/fuzz/libfuzzdriver.a
tests_fuzz_libfuzzdriver_a_SOURCES = tests/fuzz/driver.c tests/fuzz/fuzz.h
if FUZZERS
FUZZ_LIBS = -fsanitize=fuzzer
else
FUZZ_LIBS = tests/fuzz/libfuzzdriver.a
endif
