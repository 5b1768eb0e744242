noinst_LIBRARIES += src/rules/librules.a
src_rules_librules_a_SOURCES = src/rules/pair.h src/rules/rule.h src/rules/load.c src/rules/load-private.h src/rules/original.c \
	src/rules/vector.c src/rules/vector.h src/rules/eval.c src/rules/eval.h src/rules/image.c src/rules/image.h \
	src/rules/store.c src/rules/store.h src/rules/alertlist.c src/rules/alertlist.h
RULES_LIBS = src/rules/librules.a src/ingest/libingest.a src/conf/libconf.a $(QUERY_LIBS) $(YAML_LIBS)

check_PROGRAMS += tests/unit/check_rules tests/fuzz/fuzz_rules
TESTS += tests/unit/check_rules tests/fuzz/fuzz_rules
tests_unit_check_rules_SOURCES = tests/unit/check_rules.c
tests_unit_check_rules_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS)
tests_unit_check_rules_LDADD = $(RULES_LIBS) $(CHECK_LIBS)
tests_fuzz_fuzz_rules_SOURCES = tests/fuzz/fuzz_rules.c
tests_fuzz_fuzz_rules_LDADD = $(RULES_LIBS) $(FUZZ_LIBS) -lpthread
EXTRA_DIST += tests/fuzz/corpus/rules
