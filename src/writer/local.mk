noinst_LIBRARIES += src/writer/libwriter.a
src_writer_libwriter_a_SOURCES = src/writer/writer.c src/writer/writer-private.h src/writer/drain.c src/writer/sealer.c src/writer/compactor.c \
	src/writer/segstat.c src/writer/space.c

check_PROGRAMS += tests/unit/check_writer
TESTS += tests/unit/check_writer
tests_unit_check_writer_SOURCES = tests/unit/check_writer.c tests/lib/record.h
tests_unit_check_writer_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS)
tests_unit_check_writer_LDADD = src/writer/libwriter.a src/master/libmaster.a src/conf/libconf.a $(STORE_LIBS) $(YAML_LIBS) $(CHECK_LIBS)
