noinst_LIBRARIES += src/notify/libnotify.a
src_notify_libnotify_a_SOURCES = src/notify/notifier.c src/notify/notify.h src/notify/event.h src/notify/hooks.h
src_notify_libnotify_a_CPPFLAGS = $(AM_CPPFLAGS) $(CURL_CFLAGS)
