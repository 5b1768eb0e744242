#!/usr/bin/env python3
"""Metrics as scrapers read them: format, names of the original server, OpenMetrics, counters that never fall."""
import os, re, signal, subprocess, sys, time
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../lib'))
from lptest import *
from wsclient import *

OPENMETRICS = 'application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1'
SAMPLE = re.compile(r'([a-zA-Z_:][\w:]*)(\{(?:[a-zA-Z_]\w*="(?:[^"\\\n]|\\[\\"n])*",?)*\})? (-?[0-9.e+-]+|NaN|[+-]Inf)$')


def parse(text):
    """{family: type}, {name{labels}: value}; every sample stands under its own family, each family comes once."""
    types, samples, family = {}, {}, None
    for l in text.splitlines():
        if l.startswith('# TYPE '):
            family, kind = l[7:].split(' ')
            assert family not in types, 'announced twice: ' + family
            types[family] = kind
        elif not l.startswith('#'):
            m = SAMPLE.match(l)
            assert m, 'no sample: ' + l
            name = m[1]
            assert name == family or name[len(family):] in ('_total', '_bucket', '_sum', '_count') and name.startswith(family), l
            assert name + (m[2] or '') not in samples, 'told twice: ' + l
            samples[name + (m[2] or '')] = float(m[3])
    return types, samples


def scrape(s, accept=None):
    r = s.get('/metrics', headers={'Accept': accept} if accept else None)
    assert r.status == 200, r
    return r


def promtool(text):
    tool = peer('promtool')
    if not tool:
        return
    r = subprocess.run([tool, 'check', 'metrics'], input=text, capture_output=True, text=True)
    assert r.returncode == 0 and not r.stderr.strip(), r.stdout + r.stderr


now = time.time_ns()
with Server() as s:
    s.start()
    assert s.push([({'app': 'a', 'k': 'v"\\'}, [(now + i, 'line %d' % i) for i in range(50)])]).status == 204
    assert s.post('/loki/api/v1/push', '{').status == 400
    s.query_range('{app="a"}', now - 1, now + 10**9)
    s.get('/loki/api/v1/labels')
    assert s.get('/nowhere').status == 404
    # A request is counted behind its answer, and another worker may be asked meanwhile.
    wait_for('the last count', lambda: '\nloki_handler_errors_total{endpoint="other",method="GET"} 1\n' in scrape(s).body.decode())
    r = scrape(s)
    assert r.headers['content-type'] == 'text/plain; version=0.0.4; charset=utf-8', r.headers
    types, before = parse(r.body.decode())
    promtool(r.body.decode())
    for name, kind in types.items():
        assert name.endswith('_total') == (kind == 'counter') or kind == 'untyped', (name, kind)
    assert before['logpulse_ingested_lines_total'] == before['lokiclone_ingested_lines_total'] == 50
    for name in ('push', 'commit', 'wal_sync'):
        assert before['logpulse_%s_duration_seconds_count' % name] >= 1, name
    assert before['logpulse_query_duration_seconds_count{kind="range"}'] == 1
    assert before['logpulse_query_duration_seconds_count{kind="labels"}'] == 1
    assert before['lokiclone_query_duration_seconds_count'] == 2
    push = '{endpoint="/loki/api/v1/push",method="POST"}'
    assert before['loki_handler_requests_total' + push] == before['loki_handler_request_duration_seconds_count' + push] == 2
    assert before['loki_handler_errors_total' + push] == 1
    assert before['loki_handler_errors_total{endpoint="other",method="GET"}'] == 1
    assert any(k.startswith('logpulse_build_info{version="') for k in before)
    for name in ('lokiclone_broadcasted_lines_total', 'lokiclone_dropped_broadcasts_total', 'lokiclone_stream_clients_connected',
                 'lokiclone_chunks_stored_total', 'logpulse_chunks_stored_total', 'lokiclone_storage_bytes', 'lokiclone_uptime_seconds',
                 'logpulse_dropped_broadcasts_total', 'logpulse_ingest_timeout_total', 'logpulse_stream_clients_connected',
                 'logpulse_stream_queue_size', 'logpulse_broadcast_latency_seconds_bucket{le="+Inf"}'):
        assert name in before, name
    for p in ('master', 'writer', 'worker-0', 'worker-1'):
        for name in ('process_cpu_seconds_total', 'process_resident_memory_bytes', 'process_open_fds', 'process_start_time_seconds'):
            assert '%s{process="%s"}' % (name, p) in before, (name, p)
    _, other = parse(s.get('/prometheus-metrics').body.decode())
    assert set(before) <= set(other), set(before) - set(other)

    # OpenMetrics, when it is asked for
    r = scrape(s, OPENMETRICS)
    assert r.headers['content-type'].startswith('application/openmetrics-text; version=1.0.0'), r.headers
    text = r.body.decode()
    assert text.endswith('\n# EOF\n') and '# TYPE logpulse_ingested_lines counter\nlogpulse_ingested_lines_total 50\n' in text
    om, _ = parse(text)
    assert len(om) == len(types) and om['lokiclone_chunks_stored_total'] == 'unknown'
    assert not any(n.endswith('_total') and k == 'counter' for n, k in om.items())
    assert 'version=0.0.4' in scrape(s, 'application/openmetrics-text;version=1.0.0;q=0').headers['content-type']

    # A process that dies takes nothing away.
    for role, name in (('worker', 'worker-0'), ('writer', 'writer')):
        victim = s.children('logpulse: ' + role)[0]
        _, before = parse(scrape(s).body.decode())
        restarts = sum(v for k, v in before.items() if k.startswith('logpulse_process_restarts_total'))
        os.kill(victim, signal.SIGKILL)
        wait_for('the restart', lambda: s.metric('logpulse_process_restarts_total') == restarts + 1)
        s.wait_ready()

        def whole():
            try:
                return all('process_cpu_seconds_total{process="%s"}' % p in parse(scrape(s).body.decode())[1]
                           for p in ('master', 'writer', 'worker-0', 'worker-1'))
            except OSError:
                return False
        wait_for('all processes', whole)
        _, after = parse(scrape(s).body.decode())
        for k, v in before.items():
            if re.match(r'\w+_(total|bucket|sum|count)(\{|$)', k) and 'chunks_stored' not in k:
                assert after.get(k, 0) >= v, 'fell: %s from %s to %s' % (k, v, after.get(k))
    assert s.stop() == 0

with Server(options={'metrics.original_names': 'false'}) as s:
    s.start()
    text = scrape(s).body.decode()
    assert 'lokiclone_' not in text and 'loki_handler_' not in text and 'logpulse_ingested_lines_total 0\n' in text
    promtool(text)
with Server(workers=1) as s:
    s.start()
    # What the original alert rules look at: lines on their way to a client, and how far behind one is that reads nothing.
    with WebSocket(s.port, '/stream?app=live', rcvbuf=4096) as w:
        w.recv()
        assert s.push([({'app': 'live'}, [(now, 'x')])]).status == 204
        w.recv()
        assert s.metric('logpulse_broadcast_latency_seconds_count') == 1
        assert 0 < s.metric('logpulse_broadcast_latency_seconds_sum') < 5 * SLOW
        for i in range(40):
            assert s.push([({'app': 'live'}, [(now + i * 100 + k, '%d ' % k + 'z' * 4000) for k in range(100)])]).status == 204
        wait_for('a queue', lambda: s.metric('logpulse_stream_queue_size') > 100)
    wait_for('no queue', lambda: s.metric('logpulse_stream_queue_size') == 0)
done('metrics hold')
