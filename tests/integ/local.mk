# Real processes over real sockets, numbered from simple to complex.  Exit 77 skips.
INTEG_TESTS = tests/integ/05-worker.py tests/integ/10-first-steps.py tests/integ/12-quickstart.py tests/integ/15-loki-api.py tests/integ/20-count.py tests/integ/30-stopped-writer.py tests/integ/40-hostile.py \
	tests/integ/50-disk-full.py tests/integ/52-damage.py tests/integ/55-rules.py tests/integ/60-big-start.py tests/integ/70-access.py tests/integ/80-signals.py tests/integ/90-agent.py
INTEG_TESTS += tests/integ/43-slow-regex.py tests/integ/45-attacks.py
CRASH_TESTS = tests/crash/points.sh tests/crash/faults.sh tests/crash/random.sh
# Under TSan: everything where threads or processes meet.  Left out: 35 (npm's clients add nothing to 15), 43 (one request at a time), 49 (48 does the same), 77 (65 does), 78 (79 does, and does not wait for the watchdog), powercut and baddisk (preloaded).
TSAN_INTEG_TESTS = $(filter-out tests/integ/35-npm-clients.py tests/integ/43-slow-regex.py tests/integ/49-browser.py tests/integ/77-prometheus.py tests/integ/78-notifier-away.py,$(INTEG_TESTS)) tests/crash/faults.sh tests/crash/random.sh
EXTRA_DIST += $(INTEG_TESTS) $(CRASH_TESTS) tests/crash/crash.py tests/lib/lptest.py

# Preloaded into the server by tests/crash/powercut.py; not with sanitizers, whose runtime must come first.
CRASH_TESTS += tests/crash/powercut.py
CRASH_TESTS += tests/crash/baddisk.py
EXTRA_DIST += tests/crash/recorder.c tests/crash/baddisk.c tests/crash/baddisk.py
if !SANITIZERS
check_DATA += tests/crash/recorder.so tests/crash/baddisk.so
CLEANFILES += tests/crash/recorder.so tests/crash/baddisk.so
tests/crash/recorder.so: tests/crash/recorder.c
	$(AM_V_CC)$(MKDIR_P) tests/crash && $(CC) -std=gnu11 -O2 -Wall -Wextra -Werror -shared -fPIC -o $@ $(srcdir)/tests/crash/recorder.c -ldl -lpthread
tests/crash/baddisk.so: tests/crash/baddisk.c
	$(AM_V_CC)$(MKDIR_P) tests/crash && $(CC) -std=gnu11 -O2 -Wall -Wextra -Werror -shared -fPIC -o $@ $(srcdir)/tests/crash/baddisk.c -ldl
endif

# npm's clients; contrib/check keeps what install fetches in build-check/clients.
INTEG_TESTS += tests/integ/35-npm-clients.py
EXTRA_DIST += tests/integ/clients/install tests/integ/clients/package.json tests/integ/clients/package-lock.json \
	tests/integ/clients/lines.js tests/integ/clients/pino.js tests/integ/clients/winston.js tests/integ/clients/otlp.js tests/integ/clients/tail.js tests/integ/clients/tail.html

INTEG_TESTS += tests/integ/65-metrics.py tests/integ/66-metric-stream.py tests/integ/67-k8s-metrics.py tests/integ/68-tracing.py tests/integ/72-rate-limit.py
INTEG_TESTS += tests/integ/36-grafana.py
EXTRA_DIST += tests/fixtures/grafana-requests.json

INTEG_TESTS += tests/integ/37-random-queries.py
EXTRA_DIST += tests/lib/logqlgen.py

INTEG_TESTS += tests/integ/38-discover.py tests/integ/39-rates.py tests/integ/41-limits.py
INTEG_TESTS += tests/integ/22-compaction.py tests/integ/23-delete.py
INTEG_TESTS += tests/integ/75-webhooks.py tests/integ/76-alert-hooks.py tests/integ/77-prometheus.py tests/integ/78-notifier-away.py tests/integ/79-alert-kills.py
EXTRA_DIST += tests/lib/hookstub.py
INTEG_TESTS += tests/integ/49-browser.py tests/integ/17-tail.py tests/integ/47-tail-kill.py tests/integ/48-tail-clients.py
EXTRA_DIST += tests/lib/wsclient.py
