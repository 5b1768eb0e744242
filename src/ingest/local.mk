noinst_LIBRARIES += src/ingest/libingest.a
src_ingest_libingest_a_SOURCES = src/ingest/batch.c src/ingest/batch.h src/ingest/decode.h
