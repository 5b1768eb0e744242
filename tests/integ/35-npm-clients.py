#!/usr/bin/env python3
"""Clients that people use, from npm: what pino, winston and OpenTelemetry were told to log comes back to the letter.

clients/*.js log numbered lines through each library and print what they meant: timestamp, line, labels, metadata.
The same set must come back from query_range, from the log and from a sealed segment."""
import os, subprocess, sys, time
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../lib'))
from lptest import *

HERE = os.path.join(SRC, 'tests/integ/clients')
DIR = os.path.abspath(os.environ.get('LP_CLIENTS') or os.path.join(BUILD, 'clients'))
LINES = 500

r = subprocess.run(['sh', HERE + '/install', DIR], capture_output=True, text=True)
if r.returncode == 77:
    skip(r.stdout.strip().removeprefix('SKIP: '))
assert r.returncode == 0, r.stdout + r.stderr


def run_client(server, name, base_ms):
    """[(ns, line, labels, metadata)] that the client meant to send, sorted."""
    config = json.dumps({'url': 'http://127.0.0.1:%d' % server.port, 'lines': LINES, 'base_ms': base_ms})
    p = subprocess.run(['node', os.path.join(HERE, name), config], capture_output=True, timeout=120 * SLOW,
                       env=dict(os.environ, NODE_PATH=os.path.join(DIR, 'node_modules')))
    assert p.returncode == 0 and not p.stderr, '%s exits with %d\n%s' % (name, p.returncode, p.stderr.decode()[-3000:])
    rows = [json.loads(l) for l in p.stdout.decode().split('\n') if l]
    return sorted((int(r['ns']), r['line'], sorted(r['labels'].items()), sorted(r['metadata'].items())) for r in rows)


def ask(server, selector, base_ms, seconds):
    out = []
    for first in range(0, seconds, 2):      # two seconds hold at most 2,000 lines
        r = server.get('/loki/api/v1/query_range', dict(query=selector, start=(base_ms + first * 1000) * 10**6, limit=5000,
                       end=(base_ms + (first + 2) * 1000) * 10**6), {'X-Loki-Response-Encoding-Flags': 'categorize-labels'})
        assert r.status == 200, r
        for s in r.json()['data']['result']:
            for ts, line, more in s['values']:
                out.append((int(ts), line, sorted(s['stream'].items()), sorted(more.get('structuredMetadata', {}).items())))
    return sorted(out)


def compare(what, meant, got):
    for m, g in zip(meant, got):
        assert m == g, '%s:\nmeant %.600r\ngot   %.600r' % (what, m, g)
    assert len(meant) == len(got), '%s: meant %d, got %d' % (what, len(meant), len(got))


with Server() as s:
    s.start()
    base_ms = (int(time.time()) - 600) * 1000
    clients = [('pino.js', '{app=~"pino.*"}'), ('winston.js', '{app=~"winston.*"}'), ('otlp.js', '{service_name=~"otlp.*"}')]
    meant = {}
    for name, selector in clients:
        meant[name] = run_client(s, name, base_ms)
        compare(name, meant[name], ask(s, selector, base_ms, 4))
        print('%s: %d lines' % (name, len(meant[name])))
    assert s.request('POST', '/flush').status == 204
    for name, selector in clients:
        compare(name + ', sealed', meant[name], ask(s, selector, base_ms, 4))
    assert s.stop() == 0
    s.verify()
done()
