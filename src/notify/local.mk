noinst_LIBRARIES += src/notify/libnotify.a
src_notify_libnotify_a_SOURCES = src/notify/notifier.c src/notify/notify.h src/notify/event.h src/notify/hooks.h src/notify/rules.c src/notify/rules.h \
	src/notify/rules-private.h src/notify/rules-load.c src/notify/rules-save.c src/notify/rules-emit.c
src_notify_libnotify_a_SOURCES += src/notify/traces.c src/notify/traces.h src/notify/otlp.c src/notify/otlp.h
src_notify_libnotify_a_CPPFLAGS = $(AM_CPPFLAGS) $(CURL_CFLAGS) $(DEFLATE_CFLAGS)
