noinst_LIBRARIES += src/http/libhttp.a
src_http_libhttp_a_SOURCES = src/http/worker.c
src_http_libhttp_a_CPPFLAGS = $(AM_CPPFLAGS) $(H2O_CFLAGS) $(SSL_CFLAGS) -DH2O_USE_LIBUV=0
