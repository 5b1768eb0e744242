noinst_LIBRARIES += src/writer/libwriter.a
src_writer_libwriter_a_SOURCES = src/writer/writer.c
