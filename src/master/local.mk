noinst_LIBRARIES += src/master/libmaster.a
src_master_libmaster_a_SOURCES = src/master/master.c src/master/master.h src/master/proc.c src/master/proc.h src/master/loglevel.c \
	src/master/supervise.c src/master/child.c src/master/child.h src/master/data.c src/master/listen.c src/master/rights.c
src_master_libmaster_a_CPPFLAGS = $(AM_CPPFLAGS) $(SYSTEMD_CFLAGS)

bin_PROGRAMS += logpulse
logpulse_SOURCES = src/master/main.c
# The second libmaster.a: workers and writer call lp_proc_*().
logpulse_LDADD = src/master/libmaster.a src/http/libhttp.a src/writer/libwriter.a src/notify/libnotify.a src/notify/libhooks.a src/master/libmaster.a \
	src/rules/librules.a src/query/libquery.a src/ingest/libingest.a src/conf/libconf.a $(STORE_LIBS) \
	$(H2O_LIBS) $(WSLAY_LIBS) $(SSL_LIBS) $(YAML_LIBS) $(CURL_LIBS) $(SYSTEMD_LIBS) $(SNAPPY_LIBS) $(DEFLATE_LIBS) $(ZLIB_LIBS) $(RE2_LIBS) -lstdc++ -lm

check_PROGRAMS += tests/unit/check_master
TESTS += tests/unit/check_master
tests_unit_check_master_SOURCES = tests/unit/check_master.c
tests_unit_check_master_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS)
tests_unit_check_master_LDADD = src/master/libmaster.a src/http/libhttp.a src/notify/libhooks.a src/rules/librules.a src/ingest/libingest.a $(QUERY_LIBS) src/conf/libconf.a shm/libshm.a src/common/libcommon.a \
	$(CHECK_LIBS) $(SSL_LIBS) $(YAML_LIBS) $(SYSTEMD_LIBS)
