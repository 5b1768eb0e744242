#!/usr/bin/env python3
"""Compaction under load: counts stay exact while segments are merged, few are left, repeats between them are gone, and
what is on the disk is whole."""
import glob, os, sys, threading, time
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../lib'))
from lptest import *

OPTIONS = {'storage.wal_file_min': '64KiB', 'storage.wal_file_max': '64KiB', 'storage.retention_days': 0, 'storage.min_free_bytes': 0,
           'compactor.compaction_interval': '200ms'}


class Asker(threading.Thread):
    """Counts what a load has acknowledged, again and again: never less than before the question, never more than was sent after it."""

    def __init__(self, server, load):
        super().__init__(daemon=True)
        self.server, self.load, self.asked, self.error, self.stopping = server, load, 0, None, False

    def ask(self):
        l = self.load
        low = l.acked
        t = '%d' % (l.ts(l.sent + 10**6) // 10**9 + 1)
        r = self.server.get('/loki/api/v1/query', {'query': 'sum(count_over_time({load="%d"}[3h]))' % l.k, 'time': t})
        assert r.status == 200, r
        v = r.json()['data']['result']
        n = int(float(v[0]['value'][1])) if v else 0
        assert low <= n <= l.sent, 'load %d: %d counted, %d acknowledged before, %d sent' % (l.k, n, low, l.sent)
        self.asked += 1

    def run(self):
        try:
            while not self.stopping:
                self.ask()
        except BaseException as e:
            self.error = e


with Server(OPTIONS) as s:
    s.start()
    # Yesterday: a day that is over is merged in pairs.
    base = int(time.time()) // 86400 * 86400 * 10**9 - 7200 * 10**9
    loads = [Load(s, k, base + k * 10**9, lines=50) for k in range(3)]
    askers = [Asker(s, l) for l in loads]
    for t in loads + askers:
        t.start()
    wait_for('segments to be merged', lambda: s.metric('logpulse_compactions_total') >= 6, 120)
    for t in loads:
        t.stop()
    for t in loads:
        t.join()
    for a in askers:
        a.stopping = True
    for a in askers:
        a.join()
        assert not a.error, a.error
    sealed = s.metric('logpulse_sealed_wal_files_total')
    n = check_loads(s, loads)

    # The same lines again: repeats in other segments, which a merge drops.
    before = s.metric('logpulse_compaction_duplicate_lines_total')
    again = [(loads[0].labels(), [(loads[0].ts(i), loads[0].line(i)) for i in range(first, min(first + 500, loads[0].acked))])
             for first in range(0, min(loads[0].acked, 2000), 500)]

    def repeat():
        # Each time a segment of its own, as large as the one before it.
        for stream in again:
            assert s.push([stream]).status == 204
        assert s.post('/flush', b'').status in (200, 204)
        return s.metric('logpulse_compaction_duplicate_lines_total') > before
    wait_for('repeats to be dropped', repeat, 60)
    assert check_loads(s, loads) == n
    levels = s.get('/metrics').body.decode()
    assert 'logpulse_segments_by_level{level="0"}' in levels
    s.kill_all()
    s.verify()
    s.start()
    assert check_loads(s, loads) == n
    left = len(glob.glob(s.data + '/segments/*/*.index'))
    assert s.stop() == 0
    s.verify()
    assert left < max(30, sealed / 2), (left, sealed)
    print('%d lines, %d log files sealed, %d segments left, %d counts asked meanwhile' % (n, sealed, left, sum(a.asked for a in askers)))
done()
