#!/usr/bin/env python3
"""Alerting and recording rules: files, the ruler API and the original /alerts on one evaluator; alerts outlive kill -9 of the notifier
and of all, and are told as firing and as resolved once each."""
import os, re, signal, subprocess, sys, threading, time
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../lib'))
from lptest import *

RULES = '''groups:
  - name: demo
    interval: 1s
    rules:
      - alert: TooManyErrors
        expr: sum by (app) (count_over_time({level="error"}[10s])) > 2
        for: 0s
        labels:
          severity: critical
          team: '{{ $labels.app }}-team'
        annotations:
          summary: '{{ $labels.app }} has {{ $value | printf "%.0f" }} errors'
      - record: app:lines:count10s
        expr: sum by (app) (count_over_time({app=~".+"}[10s]))
        labels: {kind: recorded}
'''


def log(s, text):
    return [l for l in open(s.log_path, errors='replace').read().splitlines() if text in l]


def alerts(s):
    r = s.get('/prometheus/api/v1/alerts')
    assert r.status == 200, r
    return r.json()['data']['alerts']


def rule(s, name, headers=None):
    for g in s.get('/prometheus/api/v1/rules', headers=headers).json()['data']['groups']:
        for r in g['rules']:
            if r['name'] == name:
                return dict(r, group=g['name'], file=g['file'])


def push_errors(s, n, app='shop'):
    now = time.time_ns()
    assert s.push([({'app': app, 'level': 'error'}, [(now - i * 1000, 'boom %d %d' % (now, i)) for i in range(n)])]).status == 204


with Server() as s:
    path = s.tmp + '/rules.yaml'
    open(path, 'w').write(RULES)
    s.options['rules.files'] = path
    # ---- a bad file is refused with file and line, before anything starts
    bad = s.tmp + '/bad.yaml'
    open(bad, 'w').write(RULES.replace('for: 0s', 'foor: 0s'))
    r = subprocess.run([BUILD + '/logpulse', '--check-config', '--set', 'rules.files=' + bad], capture_output=True, text=True)
    assert r.returncode == 78 and 'bad.yaml:7: unknown field foor' in r.stderr, r
    r = subprocess.run([BUILD + '/logpulse', '--check-config', '--set', 'rules.files=%s/ru*.yaml' % s.tmp], capture_output=True, text=True)
    assert r.returncode == 0, r

    # ---- a rule fires and resolves on pushed lines
    s.start()
    wait_for('the rule to be evaluated', lambda: (rule(s, 'TooManyErrors') or {}).get('health') == 'ok')
    assert rule(s, 'TooManyErrors')['state'] == 'inactive' and alerts(s) == []
    push_errors(s, 5)
    a, = wait_for('the alert', lambda: [a for a in alerts(s) if a['state'] == 'firing'])
    assert a['labels'] == {'alertname': 'TooManyErrors', 'app': 'shop', 'severity': 'critical', 'team': 'shop-team'}, a
    assert a['annotations']['summary'].startswith('shop has ') and float(a['value']) > 2, a
    assert len(log(s, 'alert firing')) == 1
    m = wait_for('the recorded series', lambda: re.search(r'^app:lines:count10s\{app="shop",kind="recorded"\} (\d+)', s.get('/metrics').body.decode(), re.M))
    assert s.metric('logpulse_alerts{state="firing"}') == 1

    # ---- kill -9 of the notifier while it fires: neither forgotten nor told again
    active = a['activeAt']
    push_errors(s, 5)
    notifier, = s.children('logpulse: notifier')
    evaluations = s.metric('logpulse_rule_evaluations_total')
    os.kill(notifier, signal.SIGKILL)
    wait_for('a new notifier', lambda: [p for p in s.children('logpulse: notifier') if p != notifier])
    push_errors(s, 5)
    wait_for('evaluations', lambda: s.metric('logpulse_rule_evaluations_total') >= evaluations + 4)
    a, = alerts(s)
    assert a['state'] == 'firing' and a['activeAt'] == active, (a, active)
    # ---- kill -9 of all
    push_errors(s, 5)
    s.kill_all()
    s.start()
    push_errors(s, 5)
    wait_for('evaluations', lambda: s.metric('logpulse_rule_evaluations_total') >= 4)
    a, = alerts(s)
    assert a['state'] == 'firing' and a['activeAt'] == active, (a, active)
    assert len(log(s, 'alert firing')) == 1, log(s, 'alert ')
    # ---- a stopped notifier costs the others nothing
    notifier, = s.children('logpulse: notifier')
    os.kill(notifier, signal.SIGSTOP)
    now = time.time_ns()
    for i in range(20):
        assert s.push([({'app': 'stopped'}, [(now + i, 'x%d' % i)])]).status == 204
    assert len(s.entries('{app="stopped"}', now, now + 1000)) == 20
    assert len(alerts(s)) == 1
    os.kill(notifier, signal.SIGCONT)
    # ---- it ends when the lines leave the window
    wait_for('the alert to end', lambda: not alerts(s), 60)
    wait_for('the end to be told', lambda: len(log(s, 'alert resolved')) == 1)
    assert len(log(s, 'alert firing')) == 1

    # ---- the ruler API
    group = 'name: mine\ninterval: 1s\nrules:\n  - alert: ByApi\n    expr: sum(count_over_time({app="api"}[10s])) > 0\n    for: 1h\n'
    r = s.get('/loki/api/v1/rules')
    assert (r.status, r.body) == (404, b'no rule groups found'), r
    ok = {'status': 'success', 'data': None, 'errorType': '', 'error': ''}
    r = s.post('/loki/api/v1/rules/team%2F..%2Fx', group, 'application/yaml')
    assert r.status == 202 and r.json() == ok, r
    for bad in ('name: mine\nrules:\n  - alert: A\n    expr: "{app="\n', 'name: mine\nrules:\n  - alert: A\n    expr: \'{app="x"}\'\n', '', '[1,2', 'name: [x]', 'x' * 300000):
        assert s.post('/loki/api/v1/rules/ns', bad, 'application/yaml').status == 400, bad
    r = s.get('/loki/api/v1/rules')
    assert r.status == 200 and '"team/../x":\n    - name: "mine"' in r.body.decode(), r.body
    r = s.get('/loki/api/v1/rules/team%2F..%2Fx/mine')
    assert r.status == 200 and r.body.decode().startswith('name: "mine"\ninterval: 1s\nrules:\n  - alert: "ByApi"'), r.body
    assert s.get('/loki/api/v1/rules/team%2F..%2Fx/other').status == 404
    assert s.get('/api/prom/rules/team%2F..%2Fx').body == s.get('/loki/api/v1/rules').body
    names = [n for d, _, f in os.walk(s.data + '/rules') for n in f]
    assert sorted(n for n in names if n.endswith('.yaml')) == ['team%2F%2E%2E%2Fx.yaml'], names
    now = time.time_ns()
    assert s.push([({'app': 'api'}, [(now, 'x')])]).status == 204
    wait_for('a pending alert', lambda: [a for a in alerts(s) if a['state'] == 'pending' and a['labels'] == {'alertname': 'ByApi'}])
    assert rule(s, 'ByApi')['file'] == 'team/../x' and rule(s, 'ByApi')['duration'] == 3600
    assert s.get('/prometheus/api/v1/rules', {'type': 'record'}).json()['data']['groups'][0]['rules'][0]['name'] == 'app:lines:count10s'
    assert s.request('DELETE', '/loki/api/v1/rules/team%2F..%2Fx/mine').status == 202
    assert s.request('DELETE', '/loki/api/v1/rules/team%2F..%2Fx/mine').status == 404
    assert s.request('DELETE', '/loki/api/v1/rules/nothing').status == 404
    wait_for('the rule to be gone', lambda: rule(s, 'ByApi') is None)

    # ---- the original API
    body = {'name': 'orig', 'query': '{app="orig"}', 'condition': 'gte', 'threshold': 1, 'duration': '10s'}
    r = s.post('/alerts', body)
    item = r.json()
    assert r.status == 201 and re.fullmatch('[0-9a-f]{32}', item['id']) and item['severity'] == 'warning' and item['enabled'] is True, r
    for field, text in (('name', b'Alert name is required'), ('query', b'Query is required'), ('condition', b'Condition is required'),
                        ('duration', b'Duration is required')):
        r = s.post('/alerts', {k: v for k, v in body.items() if k != field})
        assert (r.status, r.body) == (400, text), r
    r = s.post('/alerts', dict(body, threshold=-1))
    assert (r.status, r.body) == (400, b'Threshold must be >= 0'), r
    for address in ('ftp://x/', 'x', 'http://a b', 'http://a\r\nX-Y: z'):
        r = s.post('/alerts', dict(body, webhook=address))
        assert (r.status, r.body) == (400, b'Webhook must be an http:// or https:// address'), r
    assert s.post('/alerts', dict(body, query='{app=')).status == 400 and s.post('/alerts', '{"name":').status == 400
    assert s.get('/alerts').json() == [item] and s.get('/alerts/' + item['id']).json() == item
    r = s.get('/alerts/' + '0' * 32)
    assert (r.status, r.body) == (404, b'Alert not found'), r
    r = s.request('PUT', '/alerts/' + item['id'], '{"severity":"info"}')
    assert r.status == 200 and r.json()['severity'] == 'info' and r.json()['name'] == 'orig', r
    wait_for('the rule as it is now', lambda: (rule(s, 'orig') or {}).get('labels') == {'severity': 'info'})
    assert rule(s, 'orig')['query'] == '(sum(count_over_time({app="orig"} [10s])) or vector(0)) >= 1', rule(s, 'orig')
    r = s.request('PATCH', '/alerts/' + item['id'] + '/status', '{"enabled":false,"name":"x"}')
    assert r.status == 200 and r.json()['enabled'] is False and r.json()['name'] == 'orig', r
    wait_for('the rule to be off', lambda: rule(s, 'orig') is None)
    # ---- what was made over HTTP outlives kill -9 of all
    s.kill_all()
    s.start()
    assert [x['id'] for x in s.get('/alerts').json()] == [item['id']]
    assert s.request('DELETE', '/alerts/' + item['id']).status == 204 and s.get('/alerts').json() == []
    assert s.request('DELETE', '/alerts/' + item['id']).status == 404

    # ---- a reload takes another file; a rule that goes while it fires is told as resolved; a bad file changes nothing
    push_errors(s, 5)
    wait_for('the alert', lambda: [a for a in alerts(s) if a['state'] == 'firing'])
    open(path, 'w').write('groups: [{name: demo, rules: [{alert: }]}]')
    s.proc.send_signal(signal.SIGHUP)
    wait_for('the bad file to be noticed', lambda: log(s, 'the old ones stay'))
    assert rule(s, 'TooManyErrors')
    ends = len(log(s, 'alert resolved'))
    open(path, 'w').write('groups: []\n')
    s.proc.send_signal(signal.SIGHUP)
    wait_for('the rule to be gone', lambda: rule(s, 'TooManyErrors') is None)
    wait_for('its end to be told', lambda: len(log(s, 'alert resolved')) == ends + 1)
    assert s.stop() == 0
    s.verify()

# ---- who changes rules all the time keeps nobody's rules from being evaluated
with Server({'rules.evaluation_interval': '1s'}, workers=1) as s:
    s.start()
    now, stop = time.time_ns(), threading.Event()
    for k in range(20):
        assert s.push([({'app': 'slow'}, [(now + k * 1000 + i, 'abcdefgh' * 128 + '%d %d' % (k, i)) for i in range(1000)])]).status == 204
    item = s.post('/alerts', {'name': 'changing', 'query': '{app="none"}', 'condition': 'gt', 'threshold': 0, 'duration': '5m'}).json()['id']

    def change():
        while not stop.wait(0.02):
            s.request('PUT', '/alerts/' + item, '{"severity":"info"}')
    t = threading.Thread(target=change, daemon=True)
    t.start()
    group = 'name: slow\ninterval: 1s\nrules:\n  - alert: Slow\n    expr: \'sum(count_over_time({app="slow"} %s [1h])) > 1e9\'\n' % ' '.join(
        '|~ "(b.*){%d}h.*[0-9] %d?"' % (30 + i, i) for i in range(20))
    wait_for('the group to be taken', lambda: s.post('/loki/api/v1/rules/ns', group, 'application/yaml').status == 202)
    r = wait_for('its evaluation', lambda: (lambda r: r and r['health'] != 'unknown' and r)(rule(s, 'Slow')), 60)
    assert r['health'] == 'ok', r
    print('evaluated in %.3f s while rules change' % r['evaluationTime'])
    stop.set()
    t.join()
    assert s.stop() == 0

# ---- the example as it is delivered
with Server({'rules.files': SRC + '/etc/rules.yaml'}) as s:
    s.start()
    wait_for('the example', lambda: all((rule(s, n) or {}).get('health') == 'ok' for n in ('ManyErrors', 'NoLogs', 'app:errors:rate5m')))
    assert [a['labels'] for a in alerts(s)] == [{'alertname': 'NoLogs', 'severity': 'warning'}], alerts(s)
    assert s.stop() == 0
done()
