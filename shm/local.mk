noinst_LIBRARIES += shm/libshm.a
shm_libshm_a_SOURCES = shm/region.c shm/region.h shm/region-private.h shm/lane.c shm/lane.h \
	shm/slot.c shm/slot.h shm/commit.c shm/commit.h shm/stat.c shm/stat.h shm/stat.def
shm_libshm_a_SOURCES += shm/routestat.c shm/routestat.h shm/limiter.c shm/limiter.h shm/pairs.c shm/pairs.h shm/spans.c shm/spans.h
shm_libshm_a_CPPFLAGS = $(AM_CPPFLAGS) $(XXHASH_CFLAGS)
shm_libshm_a_SOURCES += shm/streams.c shm/streams.h
EXTRA_DIST += shm/README

check_PROGRAMS += tests/unit/check_shm
TESTS += tests/unit/check_shm
tests_unit_check_shm_SOURCES = tests/unit/check_shm.c
tests_unit_check_shm_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS)
tests_unit_check_shm_LDADD = shm/libshm.a src/common/libcommon.a $(CHECK_LIBS) -lpthread

check_PROGRAMS += tests/crash/lane_kill
TESTS += tests/crash/lane_kill
tests_crash_lane_kill_SOURCES = tests/crash/lane_kill.c
tests_crash_lane_kill_LDADD = shm/libshm.a src/common/libcommon.a

check_PROGRAMS += tests/unit/check_limiter
TESTS += tests/unit/check_limiter
tests_unit_check_limiter_SOURCES = tests/unit/check_limiter.c
tests_unit_check_limiter_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS)
tests_unit_check_limiter_LDADD = shm/libshm.a src/common/libcommon.a $(CHECK_LIBS) -lpthread

check_PROGRAMS += tests/unit/check_trace
TESTS += tests/unit/check_trace
tests_unit_check_trace_SOURCES = tests/unit/check_trace.c
tests_unit_check_trace_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS)
tests_unit_check_trace_LDADD = src/notify/libnotify.a shm/libshm.a src/common/libcommon.a $(CHECK_LIBS)
