#!/usr/bin/env python3
"""The conformance kit (requests with the answers of a real Loki) against the live log, after sealing and after a restart.

The kit is no part of this project: LP_KIT names its folder (default ../shared/conformance beside the checkout); without it the test is skipped.
tests/conformance/deviations lists the cases in which LogPulse differs on purpose, each with its reason; any other failing case fails."""
import json, os, subprocess, sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../lib'))
from lptest import *

kit = os.environ.get('LP_KIT') or os.path.join(SRC, '../shared/conformance')
if not os.path.exists(kit + '/run.py'):
    skip('no conformance kit (LP_KIT, or ../shared/conformance)')
on_purpose = {l.split()[0] for l in open(os.path.join(SRC, 'tests/conformance/deviations')) if l.strip() and not l.startswith('#')}


def run(s, what, *args):
    results = s.tmp + '/results'
    r = subprocess.run([sys.executable, '-B', kit + '/run.py', '--url', 'http://127.0.0.1:%d' % s.port, '--results', results,
                        '--timeout', str(int(30 * SLOW)), *args], capture_output=True, text=True)
    cases = [json.loads(l) for l in open(results)]
    failed = {c['id']: c.get('why') for c in cases if not c['ok']}
    new = {i: why for i, why in failed.items() if i not in on_purpose}
    print('%s: %s; on purpose: %s' % (what, r.stdout.strip().splitlines()[-1], sorted(set(failed) & on_purpose)))
    assert not new, '%s: %d cases differ: %s' % (what, len(new), json.dumps(new, indent=1)[:4000])
    assert len(cases) > 1000, r.stdout[-2000:] + r.stderr[-2000:]


options = {'storage.retention_days': 36500, 'limits.discover_log_levels': 'false', 'limits.discover_service_name': '', 'storage.wal_max_age': '24h'}
with Server(options, env={'TZ': 'UTC'}) as s:
    s.start()
    run(s, 'live', '--push')
    assert s.request('POST', '/flush').status == 204
    run(s, 'sealed')
    assert s.stop() == 0
    s.start()
    run(s, 'restarted')
    assert s.stop() == 0
    s.verify()
done()
