noinst_LIBRARIES += src/ingest/libingest.a
src_ingest_libingest_a_SOURCES = \
	src/ingest/batch.c src/ingest/batch.h src/ingest/batch-private.h \
	src/ingest/content.c \
	src/ingest/decode.c src/ingest/decode.h src/ingest/decode-private.h \
	src/ingest/json_body.c \
	src/ingest/json_scan.c src/ingest/json_scan.h \
	src/ingest/label_string.c \
	src/ingest/loki_json.c \
	src/ingest/loki_proto.c src/ingest/wire.h src/ingest/otlp_proto.c src/ingest/otlp_json.c \
	src/ingest/original_json.c \
	src/ingest/original_msgpack.c \
	src/ingest/prom_json.c
src_ingest_libingest_a_CPPFLAGS = $(AM_CPPFLAGS) $(DEFLATE_CFLAGS) $(ZSTD_CFLAGS)
INGEST_LIBS = src/ingest/libingest.a $(STORE_LIBS) $(DEFLATE_LIBS) $(SNAPPY_LIBS) $(ZSTD_LIBS)

check_PROGRAMS += tests/unit/check_ingest_json tests/unit/check_ingest_binary tests/unit/check_ingest_otlp
TESTS += tests/unit/check_ingest_json tests/unit/check_ingest_binary tests/unit/check_ingest_otlp
tests_unit_check_ingest_json_SOURCES = tests/unit/check_ingest_json.c tests/unit/ingest_help.h
tests_unit_check_ingest_json_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS)
tests_unit_check_ingest_json_LDADD = $(INGEST_LIBS) $(CHECK_LIBS)
tests_unit_check_ingest_binary_SOURCES = tests/unit/check_ingest_binary.c tests/unit/ingest_help.h
tests_unit_check_ingest_binary_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS) $(MSGPACK_CFLAGS) $(DEFLATE_CFLAGS) $(ZSTD_CFLAGS)
tests_unit_check_ingest_binary_LDADD = $(INGEST_LIBS) $(CHECK_LIBS) $(MSGPACK_LIBS)

tests_unit_check_ingest_otlp_SOURCES = tests/unit/check_ingest_otlp.c tests/unit/ingest_help.h
tests_unit_check_ingest_otlp_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS)
tests_unit_check_ingest_otlp_LDADD = $(INGEST_LIBS) $(CHECK_LIBS)

INGEST_FUZZERS = tests/fuzz/fuzz_push_json tests/fuzz/fuzz_push_proto tests/fuzz/fuzz_push_otlp tests/fuzz/fuzz_push_msgpack \
	tests/fuzz/fuzz_label_string tests/fuzz/fuzz_content
check_PROGRAMS += $(INGEST_FUZZERS)
TESTS += $(INGEST_FUZZERS)
tests_fuzz_fuzz_push_json_SOURCES = tests/fuzz/fuzz_push_json.c tests/fuzz/fuzz_ingest.h
tests_fuzz_fuzz_push_json_LDADD = $(INGEST_LIBS) $(FUZZ_LIBS)
tests_fuzz_fuzz_push_proto_SOURCES = tests/fuzz/fuzz_push_proto.c tests/fuzz/fuzz_ingest.h
tests_fuzz_fuzz_push_proto_LDADD = $(INGEST_LIBS) $(FUZZ_LIBS)
tests_fuzz_fuzz_push_otlp_SOURCES = tests/fuzz/fuzz_push_otlp.c tests/fuzz/fuzz_ingest.h
tests_fuzz_fuzz_push_otlp_LDADD = $(INGEST_LIBS) $(FUZZ_LIBS)
tests_fuzz_fuzz_push_msgpack_SOURCES = tests/fuzz/fuzz_push_msgpack.c tests/fuzz/fuzz_ingest.h
tests_fuzz_fuzz_push_msgpack_LDADD = $(INGEST_LIBS) $(FUZZ_LIBS)
tests_fuzz_fuzz_label_string_SOURCES = tests/fuzz/fuzz_label_string.c tests/fuzz/fuzz_ingest.h
tests_fuzz_fuzz_label_string_LDADD = $(INGEST_LIBS) $(FUZZ_LIBS)
tests_fuzz_fuzz_content_SOURCES = tests/fuzz/fuzz_content.c tests/fuzz/fuzz_ingest.h
tests_fuzz_fuzz_content_LDADD = $(INGEST_LIBS) $(FUZZ_LIBS)
EXTRA_DIST += \
	tests/fuzz/corpus/push_json/loki tests/fuzz/corpus/push_json/original tests/fuzz/corpus/push_json/bad tests/fuzz/corpus/push_json/prom \
	tests/fuzz/corpus/push_proto/two tests/fuzz/corpus/push_proto/bad \
	tests/fuzz/corpus/push_msgpack/one tests/fuzz/corpus/push_otlp/one tests/fuzz/corpus/push_otlp/json \
	tests/fuzz/corpus/label_string/plain tests/fuzz/corpus/label_string/metric tests/fuzz/corpus/label_string/bad \
	tests/fuzz/corpus/content/gzip tests/fuzz/corpus/content/zlib tests/fuzz/corpus/content/raw \
	tests/fuzz/corpus/content/snappy tests/fuzz/corpus/content/zstd

noinst_PROGRAMS += tests/bench/decode
tests_bench_decode_SOURCES = tests/bench/decode.c
tests_bench_decode_LDADD = $(INGEST_LIBS)
