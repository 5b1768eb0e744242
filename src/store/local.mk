noinst_LIBRARIES += src/store/libstore.a
src_store_libstore_a_SOURCES = \
	src/store/format/labels.c src/store/format/labels.h \
	src/store/format/walrec.c src/store/format/walrec.h \
	src/store/format/walfile.c src/store/format/walfile.h \
	src/store/format/block.c src/store/format/block.h src/store/format/grams.c src/store/format/grams.h \
	src/store/format/segindex.c src/store/format/segindex.h src/store/format/segindex_build.c src/store/format/segindex_check.c \
	src/store/map.c src/store/map.h \
	src/store/wal.c src/store/wal.h src/store/wal-private.h src/store/wal_pool.c src/store/wal_recover.c \
	src/store/segment.c src/store/segment.h src/store/segment-private.h src/store/segment_verify.c \
	src/store/seal.c src/store/seal.h src/store/seal-private.h src/store/seal_collect.c src/store/seal_sort.c src/store/retain.c \
	src/store/compact.c src/store/compact.h src/store/compact_pick.c src/store/deletes.c src/store/deletes.h \
	src/store/catalog.c src/store/catalog.h src/store/catalog-private.h src/store/catalog_live.c src/store/follow.c src/store/follow.h
src_store_libstore_a_CPPFLAGS = $(AM_CPPFLAGS) $(ZSTD_CFLAGS) $(XXHASH_CFLAGS)
STORE_LIBS = src/store/libstore.a shm/libshm.a src/common/libcommon.a $(ZSTD_LIBS) $(XXHASH_LIBS) -lpthread

check_PROGRAMS += tests/unit/check_map
TESTS += tests/unit/check_map
tests_unit_check_map_SOURCES = tests/unit/check_map.c
tests_unit_check_map_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS)
tests_unit_check_map_LDADD = src/store/libstore.a src/common/libcommon.a $(CHECK_LIBS) -lpthread

check_PROGRAMS += tests/unit/check_block tests/unit/check_segment tests/unit/check_grams
TESTS += tests/unit/check_block tests/unit/check_segment tests/unit/check_grams
tests_unit_check_grams_SOURCES = tests/unit/check_grams.c
tests_unit_check_grams_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS)
tests_unit_check_grams_LDADD = $(STORE_LIBS) $(CHECK_LIBS)
tests_unit_check_block_SOURCES = tests/unit/check_block.c
tests_unit_check_block_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS)
tests_unit_check_block_LDADD = $(STORE_LIBS) $(CHECK_LIBS)
tests_unit_check_segment_SOURCES = tests/unit/check_segment.c tests/unit/walimage.c tests/unit/walimage.h
tests_unit_check_segment_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS) $(XXHASH_CFLAGS)
tests_unit_check_segment_LDADD = $(STORE_LIBS) $(CHECK_LIBS)

check_PROGRAMS += tests/unit/check_wal tests/unit/check_wal_cut
TESTS += tests/unit/check_wal tests/unit/check_wal_cut
tests_unit_check_wal_SOURCES = tests/unit/check_wal.c tests/unit/wal_test.h tests/lib/record.h
tests_unit_check_wal_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS)
tests_unit_check_wal_LDADD = $(STORE_LIBS) $(CHECK_LIBS)
tests_unit_check_wal_cut_SOURCES = tests/unit/check_wal_cut.c tests/unit/wal_test.h tests/lib/record.h
tests_unit_check_wal_cut_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS)
tests_unit_check_wal_cut_LDADD = $(STORE_LIBS) $(CHECK_LIBS)

check_PROGRAMS += tests/fuzz/fuzz_walfile
TESTS += tests/fuzz/fuzz_walfile
tests_fuzz_fuzz_walfile_SOURCES = tests/fuzz/fuzz_walfile.c
tests_fuzz_fuzz_walfile_LDADD = $(FUZZ_LIBS) $(STORE_LIBS)
EXTRA_DIST += tests/fuzz/corpus/walfile
check_PROGRAMS += tests/fuzz/fuzz_block
TESTS += tests/fuzz/fuzz_block
tests_fuzz_fuzz_block_SOURCES = tests/fuzz/fuzz_block.c
tests_fuzz_fuzz_block_LDADD = $(FUZZ_LIBS) $(STORE_LIBS)
EXTRA_DIST += tests/fuzz/corpus/block

check_PROGRAMS += tests/fuzz/fuzz_segindex
TESTS += tests/fuzz/fuzz_segindex
tests_fuzz_fuzz_segindex_SOURCES = tests/fuzz/fuzz_segindex.c
tests_fuzz_fuzz_segindex_LDADD = $(FUZZ_LIBS) $(STORE_LIBS)
EXTRA_DIST += tests/fuzz/corpus/segindex

check_PROGRAMS += tests/fuzz/fuzz_walrec
TESTS += tests/fuzz/fuzz_walrec
tests_fuzz_fuzz_walrec_SOURCES = tests/fuzz/fuzz_walrec.c
tests_fuzz_fuzz_walrec_LDADD = $(FUZZ_LIBS) $(STORE_LIBS)
EXTRA_DIST += tests/fuzz/corpus/walrec

check_PROGRAMS += tests/unit/check_follow
TESTS += tests/unit/check_follow
tests_unit_check_follow_SOURCES = tests/unit/check_follow.c tests/unit/store_fixture.h
tests_unit_check_follow_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS)
tests_unit_check_follow_LDADD = $(STORE_LIBS) $(CHECK_LIBS)

check_PROGRAMS += tests/unit/check_compact
TESTS += tests/unit/check_compact
tests_unit_check_compact_SOURCES = tests/unit/check_compact.c tests/unit/walimage.c tests/unit/walimage.h
tests_unit_check_compact_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS) $(XXHASH_CFLAGS)
tests_unit_check_compact_LDADD = $(STORE_LIBS) $(CHECK_LIBS)

check_PROGRAMS += tests/fuzz/fuzz_deletes
TESTS += tests/fuzz/fuzz_deletes
tests_fuzz_fuzz_deletes_SOURCES = tests/fuzz/fuzz_deletes.c
tests_fuzz_fuzz_deletes_LDADD = $(FUZZ_LIBS) $(STORE_LIBS)
EXTRA_DIST += tests/fuzz/corpus/deletes
