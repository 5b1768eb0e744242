noinst_LIBRARIES += src/conf/libconf.a
src_conf_libconf_a_SOURCES = src/conf/conf.h src/conf/conf.def src/conf/conf-private.h \
	src/conf/table.c src/conf/value.c src/conf/rules.c src/conf/file.c src/conf/load.c src/conf/otel.c src/conf/print.c \
	src/conf/yaml.c src/conf/yaml.h
src_conf_libconf_a_CPPFLAGS = $(AM_CPPFLAGS) $(YAML_CFLAGS)

# Makes man/logpulse.yaml.5 and etc/logpulse.yaml from conf.def.
noinst_PROGRAMS += src/conf/genman
src_conf_genman_SOURCES = src/conf/genman.c
src_conf_genman_LDADD = src/conf/libconf.a src/common/libcommon.a $(YAML_LIBS) -lpthread

check_PROGRAMS += tests/unit/check_conf tests/fuzz/fuzz_yaml
TESTS += tests/unit/check_conf tests/fuzz/fuzz_yaml
tests_unit_check_conf_SOURCES = tests/unit/check_conf.c
tests_unit_check_conf_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS)
tests_unit_check_conf_LDADD = src/conf/libconf.a src/common/libcommon.a $(YAML_LIBS) $(CHECK_LIBS)
tests_fuzz_fuzz_yaml_SOURCES = tests/fuzz/fuzz_yaml.c
tests_fuzz_fuzz_yaml_LDADD = src/conf/libconf.a src/common/libcommon.a $(YAML_LIBS) $(FUZZ_LIBS) -lpthread
EXTRA_DIST += tests/fuzz/corpus/yaml
check_DATA += etc/logpulse.yaml
