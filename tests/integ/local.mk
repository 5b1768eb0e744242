# Real processes over real sockets, numbered from simple to complex.  Exit 77 skips.
INTEG_TESTS = tests/integ/05-worker.py tests/integ/10-first-steps.py tests/integ/20-count.py tests/integ/30-stopped-writer.py tests/integ/40-hostile.py \
	tests/integ/50-disk-full.py tests/integ/60-big-start.py tests/integ/70-access.py tests/integ/80-signals.py tests/integ/90-agent.py
CRASH_TESTS = tests/crash/points.sh tests/crash/faults.sh tests/crash/random.sh
TSAN_INTEG_TESTS = tests/integ/10-first-steps.py tests/integ/30-stopped-writer.py
EXTRA_DIST += $(INTEG_TESTS) $(CRASH_TESTS) tests/crash/crash.py tests/lib/lptest.py
