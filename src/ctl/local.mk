bin_PROGRAMS += logpulsectl
logpulsectl_SOURCES = src/ctl/main.c src/ctl/ctl.h src/ctl/datadir.c src/ctl/verify.c src/ctl/dump.c
logpulsectl_CPPFLAGS = $(AM_CPPFLAGS) $(XXHASH_CFLAGS)
logpulsectl_LDADD = $(STORE_LIBS)
