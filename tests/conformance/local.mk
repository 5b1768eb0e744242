CONFORMANCE_TESTS = tests/conformance/kit.py
TESTS += $(CONFORMANCE_TESTS)
EXTRA_DIST += $(CONFORMANCE_TESTS) tests/conformance/deviations
