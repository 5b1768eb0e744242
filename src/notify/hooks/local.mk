# Web hooks: pure parts and the module; linked beside libnotify.a.
noinst_LIBRARIES += src/notify/libhooks.a
src_notify_libhooks_a_SOURCES = src/notify/transport.c src/notify/transport.h
src_notify_libhooks_a_CPPFLAGS = $(AM_CPPFLAGS) $(CURL_CFLAGS) $(YAML_CFLAGS)
