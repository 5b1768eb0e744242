#!/usr/bin/env python3
"""A writer that stands still (SIGSTOP): pushes wait, then get 503; health and queries go on; no line is lost."""
import os, signal, sys, threading, time
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../lib'))
from lptest import *

now = int(time.time()) * 10**9
with Server({'ingest.commit_timeout': '2s'}) as s:
    s.start()
    assert s.push([({'app': 'a'}, [(now, 'before')])]).status == 204
    writer, = s.children('logpulse: writer')
    os.kill(writer, signal.SIGSTOP)
    answers = []
    threads = [threading.Thread(target=lambda i=i: answers.append(s.push([({'app': 'a'}, [(now + 1 + i, 'during %d' % i)])]))) for i in range(20)]
    for t in threads:
        t.start()
    # While they wait everything else answers, each within a fraction of the commit timeout.
    assert s.get('/health', timeout=5).status == 200
    assert [r[1] for r in s.entries('{app="a"}', now, now + 10**9)] == ['before']
    assert s.get('/metrics', timeout=5).status == 200
    for t in threads:
        t.join()
    assert [a.status for a in answers] == [503] * 20, answers
    assert all(a.headers.get('retry-after') and b'commit' in a.body.lower() or b'time' in a.body.lower() for a in answers), answers[0]
    wait_for('health to tell of it', lambda: s.get('/health', timeout=5).json()['status'] == 'degraded', 20)
    os.kill(writer, signal.SIGCONT)
    wait_for('health to be good again', lambda: s.get('/health', timeout=5).json()['status'] == 'healthy', 20)
    # What got 503 may be stored or not, but only whole; what is pushed now is.
    assert s.push([({'app': 'a'}, [(now + 100, 'after')])]).status == 204
    lines = [r[1] for r in s.entries('{app="a"}', now, now + 10**9)]
    assert lines[0] == 'before' and lines[-1] == 'after' and len(lines) == len(set(lines)) and set(lines[1:-1]) <= {'during %d' % i for i in range(20)}, lines
    # Full lanes: more than the ring holds, while the writer stands; the memory that may wait is bounded.
    os.kill(writer, signal.SIGSTOP)
    big = 'x' * 200000
    codes = []

    def flood(k):
        for i in range(12):
            codes.append(s.push([({'app': 'flood', 'k': str(k)}, [(now + i * 100 + j, '%d %d %s' % (k, i * 100 + j, big)) for j in range(10)])]).status)
    threads = [threading.Thread(target=flood, args=(k,)) for k in range(8)]
    for t in threads:
        t.start()
    time_of_health = time.monotonic()
    assert s.get('/health', timeout=5).status == 200
    wait_for('pushes to be refused', lambda: 503 in codes, 30)
    os.kill(writer, signal.SIGCONT)
    for t in threads:
        t.join()
    assert set(codes) <= {204, 503} and 503 in codes, codes
    acked = codes.count(204)
    stored = s.stats('{app="flood"}', now, now + 10**9)['entries']
    assert stored >= acked * 10 and stored % 10 == 0, (stored, acked)
    assert s.stop() == 0
    s.verify()
done()
