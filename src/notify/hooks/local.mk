# Web hooks: the pure parts and the module; linked beside libnotify.a.
noinst_LIBRARIES += src/notify/libhooks.a
src_notify_libhooks_a_SOURCES = src/notify/transport.c src/notify/transport.h \
	src/notify/hooks/queue.c src/notify/hooks/queue.h src/notify/hooks/targets.c src/notify/hooks/targets.h \
	src/notify/hooks/body.c src/notify/hooks/body.h src/notify/hooks/render.c src/notify/hooks/render.h \
	src/notify/hooks/deliver.c src/notify/hooks/deliver.h src/notify/hooks/feed.c src/notify/hooks/feed.h \
	src/notify/hooks/hooks.c src/notify/hooks/module.h src/notify/hooks/hooks-private.h src/notify/hooks/send.c \
	src/notify/hooks/watch.c src/notify/hooks/publish.c
src_notify_libhooks_a_CPPFLAGS = $(AM_CPPFLAGS) $(CURL_CFLAGS)

HOOKS_LIBS = src/notify/libhooks.a $(QUERY_LIBS) src/conf/libconf.a src/common/libcommon.a $(YAML_LIBS)
check_PROGRAMS += tests/unit/check_hooks tests/fuzz/fuzz_webhooks tests/fuzz/fuzz_hookqueue
TESTS += tests/unit/check_hooks tests/fuzz/fuzz_webhooks tests/fuzz/fuzz_hookqueue
tests_unit_check_hooks_SOURCES = tests/unit/check_hooks.c
tests_unit_check_hooks_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS)
tests_unit_check_hooks_LDADD = $(HOOKS_LIBS) $(CHECK_LIBS)
tests_fuzz_fuzz_webhooks_SOURCES = tests/fuzz/fuzz_webhooks.c
tests_fuzz_fuzz_webhooks_LDADD = $(HOOKS_LIBS) $(FUZZ_LIBS) -lpthread
tests_fuzz_fuzz_hookqueue_SOURCES = tests/fuzz/fuzz_hookqueue.c
tests_fuzz_fuzz_hookqueue_LDADD = $(HOOKS_LIBS) $(FUZZ_LIBS) -lpthread
EXTRA_DIST += tests/fuzz/corpus/webhooks tests/fuzz/corpus/hookqueue

# Driven by tests/integ/76-alert-hooks.py.
noinst_PROGRAMS += tests/integ/hooks_harness
tests_integ_hooks_harness_SOURCES = tests/integ/hooks_harness.c
tests_integ_hooks_harness_CPPFLAGS = $(AM_CPPFLAGS) $(CURL_CFLAGS)
tests_integ_hooks_harness_LDADD = $(HOOKS_LIBS) shm/libshm.a $(CURL_LIBS)
