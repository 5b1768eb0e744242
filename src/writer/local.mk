noinst_LIBRARIES += src/writer/libwriter.a
src_writer_libwriter_a_SOURCES = src/writer/writer.c src/writer/writer-private.h src/writer/drain.c src/writer/sealer.c \
	src/writer/segstat.c src/writer/space.c
