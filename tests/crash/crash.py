#!/usr/bin/env python3
"""Crash tests: the real processes, killed at named points and at random moments, under load.

  crash.py POINT...      the named fault points (LP_FAULT in the sources)
  crash.py --random N    N random kills of writer, workers, master with all children
  crash.py --list        the points that this file knows, with the process each is in

After each round every acknowledged line must be there exactly once (pushes that got no answer were
retried), nothing half, also after a restart, and logpulsectl verify must find the data clean."""
import os, random, signal, sys, time
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../lib'))
from lptest import *
from hookstub import HookStub

# point: passages before it strikes (so that it strikes in the middle of the load)
POINTS = {
    'worker-reserve': 40, 'worker-encode': 40, 'worker-commit': 40, 'worker-answer': 40,
    'writer-append': 30, 'writer-appended': 30, 'writer-synced': 30, 'writer-announced': 30, 'writer-released': 30,
    'wal-rotate': 2, 'wal-recycle': 2,
    'seal-start': 2, 'seal-chunks-written': 2, 'seal-index-written': 2, 'seal-chunks-renamed': 2, 'seal-index-renamed': 2,
    'seal-done': 2,
    'compact-start': 2, 'compact-visible': 2, 'compact-unlinked': 5, 'compact-done': 1,
    'alert-state-saved': 1, 'alert-queued': 1,
    'hook-answered': 20, 'hook-queue-copied': 2,
    'deletes-written': 3, 'deletes-renamed': 3, 'deletes-carried-out': 3,
    'lane-reserved': 40, 'lane-committed': 40, 'lane-released': 40,
}
SMALL = {'storage.wal_file_min': '128KiB', 'storage.wal_file_max': '256KiB', 'storage.retention_days': 0, 'storage.min_free_bytes': 0,
         'compactor.delete_request_cancel_period': '0s', 'compactor.compaction_interval': '200ms'}


def delete_some(server):
    """A line, and a request that means it.  Answered: no query shows it any more."""
    now = time.time_ns()
    name = 'd%d' % now
    try:
        if server.push([({'deleted': name}, [(now - 10**9, 'x')])]).status != 204:
            return
        r = server.request('POST', '/loki/api/v1/delete?query=%%7Bdeleted%%3D%%22%s%%22%%7D&start=%d' % (name, now // 10**9 - 5))
    except OSError:
        return                                  # it struck: not answered
    assert r.status in (204, 429, 503), r
    if r.status == 204:
        DELETED.append((name, now))


DELETED = []


def check_deleted(server):
    for name, now in DELETED[-20:]:
        got = server.query_range('{deleted="%s"}' % name, now - 10**10, now + 10**10)
        assert not got, 'a deleted line is back: %s' % got


def loads_for(server, n=4):
    # Two loads share a day border, so that sealing makes two segments of one file.
    midnight = int(time.time()) // 86400 * 86400 * 10**9
    return [Load(server, k, midnight - (3600 * 10**9 if k % 2 else 300 * 1000), lines=10, proto='original' if k == 3 else 'loki')
            for k in range(n)]


def finish(server, loads, what):
    goal = [l.acked + 50 for l in loads]
    wait_for('pushes to go on after ' + what, lambda: all(l.acked >= g for l, g in zip(loads, goal)), 60)
    for l in loads:
        l.stop()
    for l in loads:
        l.join(60 * SLOW)
    n = check_loads(server, loads)
    server.kill_all()                       # the night when everything broke
    server.verify()
    server.start()
    check_loads(server, loads)
    check_deleted(server)
    assert server.stop() == 0
    server.verify()
    return n


RULES = """
groups:
  - {name: crash, interval: 1s, rules: [{alert: Lines, expr: 'sum(count_over_time({job="crash"}[30h])) > 0'}]}
"""
ALERTS = """
webhooks:
  - {name: all, url: "%s/all", events: [alert], batch_wait: 0s}
"""
HOOKS = """
webhooks:
  - {name: all, url: "%s/all", events: [log], rate_limit: 0, batch_wait: 0s, max_bytes: 16KiB, queue_size: 64KiB}
"""


def at_point(point, passages):
    with Server(SMALL) as s:
        marker, stub = s.tmp + '/struck', None
        if point.startswith('hook-'):
            stub = HookStub()
            open(s.tmp + '/webhooks.yaml', 'w').write(HOOKS % stub.url)
            s.options = dict(SMALL, webhooks_file=s.tmp + '/webhooks.yaml')
        if point.startswith('alert-'):
            stub = HookStub()
            open(s.tmp + '/webhooks.yaml', 'w').write(ALERTS % stub.url)
            open(s.tmp + '/rules.yaml', 'w').write(RULES)
            s.options = dict(SMALL, **{'webhooks_file': s.tmp + '/webhooks.yaml', 'rules.files': s.tmp + '/rules.yaml'})
        s.start(env={'LOGPULSE_FAULT': '%s:%d' % (point, passages), 'LOGPULSE_FAULT_ONCE': marker})
        loads = loads_for(s)
        for l in loads:
            l.start()
        def struck():
            if point.startswith('deletes-'):
                delete_some(s)
            return os.path.exists(marker)
        del DELETED[:]
        wait_for('the fault point %s to be reached' % point, struck, 120)
        n = finish(s, loads, point)
        if stub:
            assert stub.ids('/all'), 'no web hook was sent'
            if point.startswith('alert-'):
                # A kill between the answer and its record sends again, with the same key.
                assert len(set(stub.ids('/all'))) == 1, 'an alert was told more than once: %s' % stub.of('/all')
            stub.close()
        print('%-22s %7d acknowledged lines, none lost, none doubled; errors seen by clients: %s'
              % (point, n, {k: sum(l.errors.get(k, 0) for l in loads) for l in loads for k in l.errors}))


def at_random(kills, seed):
    rnd = random.Random(seed)
    counts = {'writer': 0, 'worker': 0, 'all': 0}
    with Server(SMALL) as s:
        s.start()
        loads = loads_for(s)
        for l in loads:
            l.start()
        for i in range(kills):
            time.sleep(rnd.uniform(0.0, 0.4))       # the random moment itself, not a wait for something
            role = rnd.choice(['writer', 'writer', 'worker', 'worker', 'all'])
            if role == 'all':
                s.kill_all()
                s.start()
            else:
                pids = s.children('logpulse: ' + role)
                if not pids:
                    continue
                os.kill(rnd.choice(pids), signal.SIGKILL)
            counts[role] += 1
            if i % 20 == 19:
                goal = sum(l.acked for l in loads) + 100
                wait_for('pushes to go on', lambda: sum(l.acked for l in loads) >= goal, 90)
        n = finish(s, loads, 'random kills')
        print('random kills %s (seed %d): %d acknowledged lines, none lost, none doubled' % (counts, seed, n))


if __name__ == '__main__':
    args = sys.argv[1:]
    if args == ['--list']:
        print('\n'.join(POINTS))
    elif args[:1] == ['--random']:
        seed = int(os.environ.get('LP_SEED', time.time_ns() % 10**6))
        at_random(int(args[1]), seed)
    else:
        for p in args or POINTS:
            at_point(p, POINTS[p])
