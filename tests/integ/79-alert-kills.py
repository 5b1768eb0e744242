#!/usr/bin/env python3
"""The notifier is killed or stopped at random moments while alerts begin and end in every way: each incident is told as firing and as
resolved, in this order, to each receiver; only a kill between an answer and its record repeats a request, under the same key."""
import json, os, random, signal, sys, time
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../lib'))
from lptest import *
from hookstub import HookStub

SEED = int(os.environ.get('LP_SEED') or time.time())
SECONDS = 120 if LONG else 20
RULES = '''groups:
  - name: g
    interval: 1s
    rules:
      - {alert: Steady, expr: 'sum by (app) (count_over_time({app="steady"}[5m])) > 0'}
      - {alert: Burst, expr: 'sum by (n) (count_over_time({app="burst"}[2s])) > 0'}
      - {alert: Kept, expr: 'sum by (n) (count_over_time({app="burst"}[2s])) > 0', keep_firing_for: 2s}
      - {alert: Held, expr: 'sum by (n) (count_over_time({app="burst"}[4s])) > 0', for: 1s}
'''
rnd, stub = random.Random(SEED), HookStub()
print('LP_SEED=%d' % SEED)


def incidents(path):
    """{(rule, n): [(status, startsAt), ...]} without repetitions, and their number."""
    with stub.lock:
        got = [(h['Idempotency-Key'], json.loads(b)) for p, h, b in stub.got if p == path]
    seen, out = set(), {}
    for key, b in got:
        if key not in seen:
            seen.add(key)
            out.setdefault((b['rule'], b['labels'].get('n')), []).append((b['status'], b['startsAt']))
    return out, len(got) - len(seen)


with Server(workers=1) as s:
    open(s.tmp + '/rules.yaml', 'w').write(RULES)
    open(s.tmp + '/webhooks.yaml', 'w').write('webhooks:\n  flaky: {url: "%(u)s/flaky"}\n  good: {url: "%(u)s/good"}\n' % dict(u=stub.url))
    s.options.update({'webhooks_file': s.tmp + '/webhooks.yaml', 'rules.files': s.tmp + '/rules.yaml', 'rules.resend_delay': '1s'})
    s.start()
    push = lambda **labels: s.push([(labels, [(time.time_ns(), 'x')])])
    assert push(app='steady').status == 204
    kills = 0
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        stub.answers['/flaky'] = rnd.choice([200, 200, 500, 'close'])
        if rnd.random() < 0.7:
            assert push(app='burst', n=str(rnd.randrange(3))).status == 204
        time.sleep(rnd.random())        # the moments are what is random here
        for pid in s.children('logpulse: notifier'):
            stop = rnd.random() < 0.3
            os.kill(pid, signal.SIGSTOP if stop else signal.SIGKILL)
            kills += not stop
            if stop:
                time.sleep(rnd.random())
                os.kill(pid, signal.SIGCONT)
    stub.answers.clear()
    told = lambda path: incidents(path)[0]
    wait_for('an end to all', lambda: all(len(v) % 2 == 0 for p in ('/flaky', '/good') for (rule, _), v in told(p).items() if rule != 'Steady')
             and told('/flaky') == told('/good') and not [a for a in s.get('/prometheus/api/v1/alerts').json()['data']['alerts']
                                                          if a['labels']['alertname'] != 'Steady'], 180)
    n = 0
    for path in ('/flaky', '/good'):
        found, repeated = incidents(path)
        assert repeated <= kills, (repeated, kills)
        assert [status for status, _ in found.pop(('Steady', None))] == ['firing']
        for alert, events in found.items():
            n += len(events)
            assert [e[0] for e in events] == ['firing', 'resolved'] * (len(events) // 2), (alert, events)
            assert all(a[1] == b[1] for a, b in zip(events[::2], events[1::2])), (alert, events)
            assert len({e[1] for e in events}) == len(events) // 2, (alert, events)
    print('%d kills, %d events of incidents that ended' % (kills, n))
    assert n > 0 and s.stop() == 0
stub.close()
done()
