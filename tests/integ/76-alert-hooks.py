#!/usr/bin/env python3
"""Alerts by web hook: firing and resolved once each, at JSON, Slack and PagerDuty receivers that fail first, over kills, and at
Prometheus' own Alertmanager (see peer() in tests/lib/lptest.py)."""
import http.client, os, re, shutil, signal, subprocess, sys, tempfile, time
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../lib'))
from lptest import *
from hookstub import HookStub

tmp = tempfile.mkdtemp(prefix='lptest-')
stub, sink = HookStub(), HookStub()
am_program = peer('prometheus-alertmanager')
am, am_port = None, free_port()
os.makedirs(tmp + '/data')
open(tmp + '/webhooks.yaml', 'w').write('''
webhooks:
  plain: {url: "%(stub)s/plain"}
  slack: {url: "%(stub)s/slack"}
  pagerduty: {url: "%(stub)s/pd", routing_key: key}
  alertmanager: {url: "%(am)s"}
''' % dict(stub=stub.url, am='http://127.0.0.1:%d' % am_port))


class Harness:
    def __enter__(self):
        self.proc = subprocess.Popen([BUILD + '/tests/integ/hooks_harness', tmp + '/webhooks.yaml', tmp + '/data'], stdin=subprocess.PIPE,
                                     stdout=subprocess.PIPE, stderr=open(tmp + '/log', 'ab'), text=True, bufsize=1)
        return self

    def tell(self, *words):
        self.proc.stdin.write(' '.join(str(w) for w in words) + '\n')
        answer = self.proc.stdout.readline().strip()
        assert answer == 'ok', answer

    def kill(self):
        self.proc.kill()
        self.proc.wait()

    def __exit__(self, kind, *_):
        if self.proc.poll() is None and kind is None:
            self.proc.stdin.write('quit\n')
            assert self.proc.wait(30 * SLOW) == 0
        elif self.proc.poll() is None:
            self.kill()


def told(path):
    return [(b['rule'], b['status']) for b in stub.of(path)]


def pages():
    return [(b['event_action'], b['dedup_key'], b['routing_key']) for b in stub.of('/pd')]


def settled(data, target, sent):
    """The sender knows that so many were taken: killed before, it would rightly send the last one again."""
    try:
        text = open(data + '/notify/webhooks.metrics').read()
    except OSError:
        return False
    value = lambda name: int(re.search('logpulse_webhook_%s{target="%s"} ([0-9]+)' % (name, target), text).group(1))
    return value('sent_total') >= sent and value('queue_events') == 0


start = int(time.time())
try:
    stub.answers.update({'/plain': 500, '/slack': 'close', '/pd': 503})
    with Harness() as h:
        h.tell('fire', 'Down', start)
        h.tell('repeat', 'Down', start)         # for an Alertmanager only
        wait_for('the first tries', lambda: all(stub.tries.get(p) for p in ('/plain', '/slack', '/pd')))
        h.kill()                                # nothing was delivered yet
    with Harness() as h:
        h.tell('fire', 'Down', start)           # told again after the crash: known
        h.tell('resolve', 'Down', start)
        stub.answers.clear()
        wait_for('both at the JSON receiver', lambda: len(told('/plain')) >= 2, 90)
        wait_for('both at Slack', lambda: len(stub.of('/slack')) >= 2, 90)
        wait_for('both at PagerDuty', lambda: len(pages()) >= 2, 90)
        wait_for('the answers', lambda: all(settled(tmp + '/data', t, 2) for t in ('plain', 'slack', 'pagerduty')))
        h.kill()
    with Harness() as h:                        # and what was delivered is known as well
        h.tell('fire', 'Down', start)
        h.tell('resolve', 'Down', start)
        h.tell('fire', 'Other', start)
        wait_for('the next alert', lambda: ('Other', 'firing') in told('/plain'))
        wait_for('the next page', lambda: len(pages()) >= 3)
        assert told('/plain') == [('Down', 'firing'), ('Down', 'resolved'), ('Other', 'firing')], told('/plain')
        assert [b['text'] for b in stub.of('/slack')][:2] == ['[FIRING] Down', '[RESOLVED] Down']
        assert [p[0] for p in pages()] == ['trigger', 'resolve', 'trigger'] and pages()[0][1] == pages()[1][1] != pages()[2][1], pages()
        assert len(set(stub.ids('/plain'))) == 3
    print('JSON, Slack, PagerDuty: firing and resolved once each')
    if am_program:
        open(tmp + '/am.yml', 'w').write('''
route: {receiver: sink, group_by: [alertname], group_wait: 100ms, group_interval: 200ms, repeat_interval: 1h}
receivers:
  - name: sink
    webhook_configs: [{url: "%s/am", send_resolved: true}]
''' % sink.url)
        with Harness() as h:
            h.tell('fire', 'Late', start)       # waits in the queue: nobody listens yet
            h.kill()
            am = subprocess.Popen([am_program, '--config.file=' + tmp + '/am.yml', '--storage.path=' + tmp + '/am',
                                   '--web.listen-address=127.0.0.1:%d' % am_port, '--cluster.listen-address='],
                                  stdout=open(tmp + '/am.log', 'ab'), stderr=subprocess.STDOUT, cwd=os.path.dirname(am_program) + '/../..')

            def listens():
                assert am.poll() is None, open(tmp + '/am.log').read()[-2000:]
                try:
                    return http.client.HTTPConnection('127.0.0.1', am_port).request('GET', '/-/ready') is None
                except OSError:
                    return False
            wait_for('the Alertmanager', listens, 60)

        def seen(name):
            return [a['status'] for b in sink.of('/am') for a in b['alerts'] if a['labels']['alertname'] == name]
        with Harness() as h:
            wait_for('the alert that waited', lambda: seen('Late') == ['firing'], 120)
            for _ in range(3):                  # renewals change nothing there
                h.tell('repeat', 'Late', start)
                time.sleep(0.3)
            h.tell('resolve', 'Late', start)
            wait_for('its end', lambda: 'resolved' in seen('Late'), 60)
            time.sleep(1)                       # several group intervals, in which a wrong repetition would show
            assert seen('Late') == ['firing', 'resolved'], seen('Late')
        print('Alertmanager: firing and resolved once each')

    # ---- the whole way: lines, a rule, its end; an address of the rule's own
    open(tmp + '/rules.yaml', 'w').write("""
groups:
  - name: g
    interval: 1s
    rules:
      - {alert: Lines, expr: 'sum by (app) (count_over_time({app="whole"}[10s])) > 0', labels: {severity: warning}}
""")
    open(tmp + '/whole.yaml', 'w').write("""
rule_webhooks: true
webhooks:
  whole: {url: "%s/whole"}
  alertmanager: {url: "http://127.0.0.1:%d", enabled: %s}
""" % (stub.url, am_port, 'true' if am else 'false'))
    with Server({'webhooks_file': tmp + '/whole.yaml', 'rules.files': tmp + '/rules.yaml', 'rules.resend_delay': '1s',
                 'rules.evaluation_interval': '1s'}, workers=1) as s:
        s.start()
        rule = {'name': 'Own', 'query': '{app="whole"}', 'condition': 'gt', 'threshold': 0, 'duration': '5m', 'webhook': stub.url + '/own'}
        r = s.post('/alerts', rule)
        assert r.status == 201, r
        r = s.push([({'app': 'whole'}, [(time.time_ns(), 'a line')])])
        assert r.status in (200, 204), r
        wait_for('firing', lambda: ('Lines', 'firing') in told('/whole'), 90)
        wait_for('the rule of the API at its own address', lambda: ('Own', 'firing') in told('/own'), 90)
        wait_for('the answer', lambda: settled(s.data, 'whole', 2))
        os.kill(s.children('notifier')[0], signal.SIGKILL)
        wait_for('resolved', lambda: ('Lines', 'resolved') in told('/whole'), 90)
        if am:
            wait_for('both at the Alertmanager', lambda: seen('Lines') == ['firing', 'resolved'], 60)
        lines = [t for t in told('/whole') if t[0] == 'Lines']
        assert lines == [('Lines', 'firing'), ('Lines', 'resolved')], lines
    print('from a line to the receivers: firing and resolved once each')

    # ---- rules that say the same at the same moment: of two tenants, and two of one name
    open(tmp + '/many.yaml', 'w').write('webhooks: {many: {url: "%s/many"}}\n' % stub.url)
    with Server({'webhooks_file': tmp + '/many.yaml', 'rules.evaluation_interval': '1s', 'tenants.enabled': 'true'}, workers=1) as s:
        s.start()
        for tenant in ('a', 'b'):
            headers = {'X-Scope-OrgID': tenant}
            group = 'name: g\ninterval: 1s\nrules:\n  - {alert: Same, expr: "vector(1) > 0", annotations: {link: "{{ $externalURL }}/x"}}\n'
            assert s.post('/loki/api/v1/rules/ns', group, 'application/yaml', headers=headers).status == 202
        rule = {'name': 'Twin', 'condition': 'gte', 'threshold': 0, 'duration': '5m'}
        for query in ('{app="x"}', '{app="y"}'):
            assert s.post('/alerts', dict(rule, query=query), headers=headers).status == 201
        wait_for('all four', lambda: len(told('/many')) >= 4)
        here = 'http://127.0.0.1:%d' % s.port
        assert {b['annotations'].get('link') for b in stub.of('/many')} == {here + '/x', None}, stub.of('/many')
        assert stub.of('/many')[0]['generatorURL'].startswith(here + '/loki/api/v1/query?query='), stub.of('/many')[0]
        seen = sorted((b['rule'], b['tenant'], b['expr']) for b in stub.of('/many'))
        assert [t[:2] for t in seen] == [('Same', 'a'), ('Same', 'b'), ('Twin', 'b'), ('Twin', 'b')] and len(set(seen)) == 4, seen
    print('alerts with the same labels: each rule tells its own')
except BaseException:
    print(open(tmp + '/log').read()[-3000:])
    raise
finally:
    if am:
        am.kill()
        am.wait()
    stub.close()
    sink.close()
shutil.rmtree(tmp, ignore_errors=True)
print('ok')
