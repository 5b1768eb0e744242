bin_PROGRAMS += logpulse-agent
noinst_LIBRARIES += src/agent/libagent.a
src_agent_libagent_a_SOURCES = src/agent/agent.h src/agent/agent-private.h \
	src/agent/config.c src/agent/positions.c src/agent/tail.c src/agent/encode.c src/agent/send.c
src_agent_libagent_a_CPPFLAGS = $(AM_CPPFLAGS) $(CURL_CFLAGS) $(MSGPACK_CFLAGS) $(YAML_CFLAGS)
logpulse_agent_SOURCES = src/agent/main.c
logpulse_agent_LDADD = src/agent/libagent.a src/conf/libconf.a src/common/libcommon.a \
	$(CURL_LIBS) $(MSGPACK_LIBS) $(YAML_LIBS) -lpthread

check_PROGRAMS += tests/unit/check_agent
TESTS += tests/unit/check_agent
tests_unit_check_agent_SOURCES = tests/unit/check_agent.c
tests_unit_check_agent_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS) $(MSGPACK_CFLAGS)
tests_unit_check_agent_LDADD = src/agent/libagent.a src/conf/libconf.a src/common/libcommon.a \
	$(CURL_LIBS) $(MSGPACK_LIBS) $(YAML_LIBS) $(CHECK_LIBS)
