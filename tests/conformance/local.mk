CONFORMANCE_TESTS = tests/conformance/language.py tests/conformance/kit.py
TESTS += $(CONFORMANCE_TESTS)
EXTRA_DIST += $(CONFORMANCE_TESTS) tests/conformance/language.txt tests/conformance/deviations
