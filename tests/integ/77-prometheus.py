#!/usr/bin/env python3
"""Prometheus itself (see peer() in tests/lib/lptest.py) beside a server with traffic of every kind: promtool finds nothing wrong with
the metrics, both pages are scraped whole as OpenMetrics, and contrib/prometheus does what it says with the series that are there."""
import os, re, signal, subprocess, sys, time
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../lib'))
from lptest import *
from hookstub import HookStub
from wsclient import WebSocket

prometheus, promtool = peer('prometheus'), peer('promtool')
if not prometheus or not promtool:
    skip('no Prometheus')
EXAMPLES = SRC + '/contrib/prometheus/'


def tool(*args, **kw):
    r = subprocess.run([promtool, *args], capture_output=True, text=True, **kw)
    assert r.returncode == 0 and 'FAILED' not in r.stdout + r.stderr, r.stdout + r.stderr
    return r.stdout + r.stderr


def ask(port, path, params=None):
    c = http.client.HTTPConnection('127.0.0.1', port, timeout=30 * SLOW)
    c.request('GET', path + ('?' + urllib.parse.urlencode(params) if params else ''))
    r = c.getresponse()
    body = json.loads(r.read())
    assert r.status == 200 and body['status'] == 'success', body
    return body['data']


def traffic(s):
    now = time.time_ns()
    k8s = {'app': 'web', 'k8s_namespace': 'shop "1"\\', 'k8s_pod': 'web-1', 'k8s_annot_team': 'ops'}
    assert s.push([(k8s, [(now, 'level=error GET /cart\n\u00e4'), (now + 1, 'x')])]).status == 204
    body = snappy_stored(proto('{app="proto"}', [(now, 'a line', {'trace': '1'})]))
    assert s.post('/loki/api/v1/push', body, 'application/x-protobuf').status == 204
    assert s.post('/api/prom/push', body, 'application/x-protobuf').status == 204
    assert s.post('/ingest', {'streams': [{'labels': {'app': 'own'}, 'entries': [{'ts': rfc3339(now), 'line': 'x'}]}]}).status == 200
    pack = bytes([0x81]) + b'\xa7streams' + b'\x91\x82\xa6labels\x81\xa3app\xa4pack\xa7entries\x91\x82\xa2ts\xbe' + rfc3339(now).encode() + b'\xa4line\xa1x'
    assert s.post('/ingest', pack, 'application/msgpack').status == 200
    otlp = {'resourceLogs': [{'resource': {'attributes': [{'key': 'service.name', 'value': {'stringValue': 'otlp'}}]},
                              'scopeLogs': [{'logRecords': [{'timeUnixNano': str(now), 'body': {'stringValue': 'x'}}]}]}]}
    assert s.post('/otlp/v1/logs', otlp).status in (200, 204)
    # refused, discarded, not found
    assert s.post('/loki/api/v1/push', '{').status == 400
    assert s.push([({'app': 'web'}, [(now, 'long' * 100000)])]).status == 400
    assert s.push([({'app': 'web'}, [(now - 10**18, 'old')])]).status == 400
    assert s.push([({'app': 'web'}, [(now + 10**17, 'new')])]).status == 400
    assert s.push([({}, [(now, 'no labels')])]).status == 400
    assert s.get('/nowhere').status == 404
    # queries of every kind
    s.query_range('{app=~".+"}', now - 1, now + 10**9)
    s.query_range('sum by (app) (rate({app=~".+"}[1m]))', now - 10**9, now + 10**9, step='1')
    for path, query in (('query', 'count_over_time({app="web"}[1m])'), ('labels', None), ('label/app/values', None), ('series', None),
                        ('index/stats', '{app="web"}'), ('index/volume', '{app="web"}'), ('index/volume_range', '{app="web"}'),
                        ('detected_fields', '{app="web"}'), ('detected_labels', '{app="web"}'), ('patterns', '{app="web"}')):
        r = s.get('/loki/api/v1/' + path, {'query': query} if query else {'match[]': '{app="web"}'} if path == 'series' else None)
        assert r.status == 200, (path, r)
    assert s.get('/query', {'query': '{app="web"}'}).status == 200 and s.get('/loki/api/v1/query', {'query': '{app='}).status == 400
    with WebSocket(s.port, '/stream?app=tail'):
        def sent():         # the first lines may still be its history, which is not counted
            assert s.push([({'app': 'tail'}, [(time.time_ns(), 'x')])]).status == 204
            return s.metric('logpulse_broadcasted_lines_total') >= 1
        wait_for('a tail that was sent something', sent)


def count_samples(text):
    return sum(1 for l in text.splitlines() if l and not l.startswith('#'))


# ---- the examples
tool('check', 'config', EXAMPLES + 'prometheus.yml')
tool('check', 'rules', EXAMPLES + 'alerts.yml')
tool('test', 'rules', EXAMPLES + 'alerts_test.yml')
alerts = open(EXAMPLES + 'alerts.yml').read()
tested = open(EXAMPLES + 'alerts_test.yml').read()
for name in re.findall('alert: (\\w+)', alerts):
    assert 'alertname: %s\n' % name in tested, name + ' is not in alerts_test.yml'

stub = HookStub()
port = free_port()
with Server(workers=2) as s:
    open(s.tmp + '/webhooks.yaml', 'w').write('''
webhooks:
  good: {url: "%(u)s/good", events: [alert, log], selector: '{app="web"}', batch_wait: 0s}
  bad: {url: "%(u)s/bad", retry: 0}
''' % dict(u=stub.url))
    stub.answers['/bad'] = 404
    open(s.tmp + '/rules.yaml', 'w').write('''
groups:
  - name: g
    interval: 1s
    rules:
      - {alert: Errors, expr: 'sum by (app) (count_over_time({app="web"} |= "error" [1h])) > 0'}
      - {alert: Never, expr: 'sum(count_over_time({app="web"}[1h])) > 1e9', for: 1m}
      - {record: app_lines, expr: 'sum by (app, k8s_namespace) (count_over_time({app=~".+"}[1h]))', labels: {kind: 'a "b" \\'}}
  - name: broken
    interval: 1s
    limit: 1
    rules: [{alert: Broken, expr: 'sum by (app) (count_over_time({app=~".+"}[1h])) > 0'}]
  - name: again
    interval: 1s
    rules: [{record: app_lines, expr: 'sum by (app, k8s_namespace) (count_over_time({app=~".+"}[1h]))', labels: {kind: 'a "b" \\'}}]
''')
    s.options.update({'webhooks_file': s.tmp + '/webhooks.yaml', 'rules.files': s.tmp + '/rules.yaml', 'limits.max_line_size': '100KB',
                      'metrics.k8s_series': '10'})
    open(s.tmp + '/p.yml', 'w').write('''
global: {scrape_interval: 1s, evaluation_interval: 1s}
rule_files: ["%salerts.yml"]
scrape_configs:
  - {job_name: logpulse, static_configs: [{targets: ['127.0.0.1:%d']}]}
  - {job_name: original, metrics_path: /prometheus-metrics, static_configs: [{targets: ['127.0.0.1:%d']}]}
''' % (EXAMPLES, s.port, s.port))
    s.start()
    traffic(s)
    wait_for('both web hooks', lambda: s.metric('logpulse_webhook_failed_total') and s.metric('logpulse_webhook_sent_total'))
    wait_for('the recorded series', lambda: s.metric('app_lines') is not None)
    wait_for('those of another rule, which are the same', lambda: s.metric('logpulse_recorded_series_left_out') >= 1)
    texts = {path: s.get(path).body.decode() for path in ('/metrics', '/prometheus-metrics')}
    for path, text in texts.items():
        out = tool('check', 'metrics', input=text)
        assert not out.strip(), (path, out)
    # every metric that an alert asks for is one that there is
    for name in sorted(set(re.findall(r'logpulse_\w+', re.sub('annotations:\n.*', '', alerts)))):
        assert re.search('^%s[ {]' % name, texts['/metrics'], re.M), name + ' is not there'

    # ---- Prometheus
    p = subprocess.Popen([prometheus, '--config.file=' + s.tmp + '/p.yml', '--storage.tsdb.path=' + s.tmp + '/tsdb', '--log.format=json',
                          '--web.listen-address=127.0.0.1:%d' % port], stdout=open(s.tmp + '/p.log', 'ab'), stderr=subprocess.STDOUT)
    try:
        def targets():
            assert p.poll() is None, open(s.tmp + '/p.log').read()[-2000:]
            try:
                found = ask(port, '/api/v1/targets')['activeTargets']
            except (OSError, ValueError, AssertionError):       # not ready yet
                return None
            return found if len(found) == 2 and all(t['health'] == 'up' for t in found) else None

        def query(text):
            return {tuple(sorted(r['metric'].items())): float(r['value'][1]) for r in ask(port, '/api/v1/query', {'query': text})['result']}
        for t in wait_for('both targets', targets, 60):
            assert t['lastError'] == '', t
        wait_for('some scrapes', lambda: min(query('count_over_time(up[5m])').values(), default=0) >= 3, 60)
        assert set(query('min_over_time(up[5m])').values()) == {1}
        # A counter's family has the name without _total in OpenMetrics only.
        families = ask(port, '/api/v1/metadata')
        assert families['logpulse_ingested_lines'][0]['type'] == 'counter' and 'logpulse_ingested_lines_total' not in families
        assert families['logpulse_webhook_sent'][0]['type'] == 'counter' and families['logpulse_push_duration_seconds'][0]['type'] == 'histogram'
        for job, path in (('logpulse', '/metrics'), ('original', '/prometheus-metrics')):
            want = count_samples(s.get(path).body.decode())

            def whole():
                return query('scrape_samples_scraped{job="%s"}' % job) and abs(list(query('scrape_samples_scraped{job="%s"}' % job).values())[0] - want) <= 2
            wait_for('all samples of ' + path, whole)
            for name in ('logpulse_ingested_lines_total', 'lokiclone_ingested_lines_total'):
                value, = query('%s{job="%s"}' % (name, job)).values()
                assert value == s.metric(name) > 0, (name, value)
        assert query('logpulse_k8s_label_namespace{job="logpulse",value="shop \\"1\\"\\\\"}')
        assert query('app_lines{job="logpulse",kind="a \\"b\\" \\\\",k8s_namespace="shop \\"1\\"\\\\"}')
        # its rules are evaluated on these series
        wait_for('all rules', lambda: all(r['health'] == 'ok' for g in ask(port, '/api/v1/rules')['groups'] for r in g['rules']))
        # a kill of every child is no failed scrape and no counter that falls
        for role in ('notifier', 'writer'):
            os.kill(s.children('logpulse: ' + role)[0], signal.SIGKILL)
        wait_for('the restarts in Prometheus', lambda: sum(query('logpulse_process_restarts_total{job="logpulse"}').values()) == 2)
        wait_for('the end of it', lambda: s.get('/ready').status == 200)
        assert sum(query('resets(logpulse_ingested_lines_total{job="logpulse"}[5m])').values()) == 0
        p.terminate()
        assert p.wait(30 * SLOW) == 0
        warned = [l for l in open(s.tmp + '/p.log').read().splitlines() if json.loads(l).get('level') in ('warn', 'error') and 'SIGTERM' not in l]
        assert not warned, warned
    finally:
        if p.poll() is None:
            p.kill()
            p.wait()
    assert s.stop() == 0
stub.close()
done()
