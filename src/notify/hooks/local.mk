# Web hooks: the pure parts and the module; linked beside libnotify.a.
noinst_LIBRARIES += src/notify/libhooks.a
src_notify_libhooks_a_SOURCES = src/notify/transport.c src/notify/transport.h \
	src/notify/hooks/queue.c src/notify/hooks/queue.h src/notify/hooks/targets.c src/notify/hooks/targets.h \
	src/notify/hooks/body.c src/notify/hooks/body.h src/notify/hooks/render.c src/notify/hooks/render.h \
	src/notify/hooks/deliver.c src/notify/hooks/deliver.h src/notify/hooks/feed.c src/notify/hooks/feed.h \
	src/notify/hooks/hooks.c src/notify/hooks/module.h src/notify/hooks/hooks-private.h src/notify/hooks/send.c \
	src/notify/hooks/watch.c src/notify/hooks/publish.c
src_notify_libhooks_a_CPPFLAGS = $(AM_CPPFLAGS) $(CURL_CFLAGS)
