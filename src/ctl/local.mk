bin_PROGRAMS += logpulsectl
logpulsectl_SOURCES = src/ctl/main.c src/ctl/ctl.h src/ctl/datadir.c src/ctl/verify.c src/ctl/dump.c
logpulsectl_CPPFLAGS = $(AM_CPPFLAGS) $(XXHASH_CFLAGS)
logpulsectl_LDADD = $(STORE_LIBS)

check_PROGRAMS += tests/unit/check_ctl
TESTS += tests/unit/check_ctl
tests_unit_check_ctl_SOURCES = tests/unit/check_ctl.c tests/unit/wal_test.h tests/lib/record.h
tests_unit_check_ctl_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS)
tests_unit_check_ctl_LDADD = $(STORE_LIBS) $(CHECK_LIBS)
