noinst_LIBRARIES += src/common/libcommon.a
src_common_libcommon_a_SOURCES = \
	src/common/assert.h src/common/bytes.h \
	src/common/buf.c src/common/buf.h \
	src/common/arena.c src/common/arena.h \
	src/common/clock.c src/common/clock.h \
	src/common/crc32c.c src/common/crc32c.h \
	src/common/dir.c src/common/dir.h \
	src/common/fault.c src/common/fault.h \
	src/common/jsonw.c src/common/jsonw.h \
	src/common/log.c src/common/log.h \
	src/common/net.c src/common/net.h \
	src/common/poison.h \
	src/common/prom.c src/common/prom.h \
	src/common/trace.c src/common/trace.h \
	src/common/rfc3339.c src/common/rfc3339.h \
	src/common/unicode.c src/common/unicode.h \
	src/common/utf8.c src/common/utf8.h

check_PROGRAMS += tests/unit/check_common
TESTS += tests/unit/check_common
tests_unit_check_common_SOURCES = tests/unit/check_common.c
tests_unit_check_common_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS)
tests_unit_check_common_LDADD = src/common/libcommon.a $(CHECK_LIBS) -lm

check_PROGRAMS += tests/fuzz/fuzz_headers
TESTS += tests/fuzz/fuzz_headers
tests_fuzz_fuzz_headers_SOURCES = tests/fuzz/fuzz_headers.c
tests_fuzz_fuzz_headers_LDADD = src/common/libcommon.a $(FUZZ_LIBS)
EXTRA_DIST += tests/fuzz/corpus/headers/forwarded tests/fuzz/corpus/headers/net tests/fuzz/corpus/headers/traceparent
