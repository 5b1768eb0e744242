#!/usr/bin/env python3
"""Live tails while workers and the writer are killed: a counter stream is read from history into live, over reconnects, without a
gap and without a repeat; a client that stops reading loses only its own lines, is told how many, and is cut in the end."""
import os, sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../lib'))
from lptest import *
from wsclient import *

T0 = time.time_ns() - 60 * 10**9
KILLS = 10 if LONG else 4
LIMIT = 5000            # of lines in a tail's history: the newest


class Pusher(threading.Thread):
    """Lines n = 0, 1, 2 ... at T0 + n, one stream; each push is sent until it is acknowledged, so copies reach the log."""
    def __init__(self, server):
        super().__init__(daemon=True)
        self.server, self.acked, self.repeats, self.over, self.tailers = server, 0, 0, threading.Event(), []

    def run(self):
        while not self.over.is_set():
            n = self.acked
            if any(t.next < n - LIMIT / 2 for t in self.tailers):
                time.sleep(0.01)        # who connects again gets no more history than that
                continue
            body = loki_body([({'app': 'count'}, [(T0 + i, 'n %d' % i) for i in range(n, n + 10)])])
            while not self.over.is_set():
                try:
                    if self.server.post('/loki/api/v1/push', body, timeout=10).status == 204:
                        self.acked = n + 10
                        break
                except OSError:
                    self.repeats += 1
                    time.sleep(0.02)


class Tailer(threading.Thread):
    """Reads the counter and asks again from its last timestamp when the connection breaks."""
    def __init__(self, server, original):
        super().__init__(daemon=True)
        self.server, self.original, self.next, self.connects, self.error, self.over = server, original, 0, 0, None, threading.Event()

    def connect(self):
        start = T0 + self.next
        if self.original:
            return WebSocket(self.server.port, '/stream?' + urllib.parse.urlencode({'app': 'count', 'start': start, 'limit': LIMIT}))
        return WebSocket(self.server.port, '/loki/api/v1/tail?' + urllib.parse.urlencode(
            {'query': '{app="count"} |= "n"', 'start': start, 'limit': LIMIT}))

    def lines(self, message):
        if not self.original:
            assert 'dropped_entries' not in message, message
            return [v[1] for s in message['streams'] for v in s['values']]
        assert message['type'] in ('connected', 'log'), message
        return [message['data']['message']] if message['type'] == 'log' else []

    def run(self):
        try:
            while not self.over.is_set():
                try:
                    with self.connect() as w:
                        self.connects += 1
                        while not self.over.is_set():
                            for line in self.lines(w.recv()):
                                assert line == 'n %d' % self.next, 'expected %d, got %r' % (self.next, line)
                                self.next += 1
                except (Closed, Refused, OSError):
                    time.sleep(0.02)
        except AssertionError as e:
            self.error = e


def kills(server):
    pusher = Pusher(server)
    pusher.start()
    wait_for('some history', lambda: pusher.acked >= 500)
    tailers = [Tailer(server, i % 2 == 1) for i in range(6)]
    pusher.tailers = tailers
    for t in tailers:
        t.start()

    def caught_up(n):
        def check():
            bad = [t.error for t in tailers if t.error]
            assert not bad, bad
            return all(t.next >= n for t in tailers)
        wait_for('the tails to have %d lines' % n, check, 120)
    caught_up(pusher.acked)
    for i in range(KILLS):
        for role in ('worker', 'writer', 'worker'):
            victims = server.children(role)
            before = sum(t.connects for t in tailers), pusher.acked
            if victims:
                os.kill(random.choice(victims), signal.SIGKILL)
            wait_for('pushes to go on', lambda: pusher.acked >= before[1] + 50, 60)
        server.post('/flush', '', timeout=60)   # the files that the tails read are sealed
        caught_up(pusher.acked)
    caught_up(pusher.acked)
    pusher.over.set()
    pusher.join()
    caught_up(pusher.acked)
    for t in tailers:
        t.over.set()
    print('%d lines, %d kills, %d repeated pushes, connects %s: no gap, no repeat' %
          (pusher.acked, 3 * KILLS, pusher.repeats, [t.connects for t in tailers]))
    assert max(t.connects for t in tailers) > 1


def slow(server):
    """One reads nothing; its neighbour misses nothing."""
    q = urllib.parse.urlencode({'query': '{app="slow"}', 'start': T0, 'limit': 1})
    stopped = WebSocket(server.port, '/loki/api/v1/tail?' + q, rcvbuf=4096)
    stopped2 = WebSocket(server.port, '/stream?app=slow', rcvbuf=4096)
    n, per, line = 0, 200, 'x' * 4000
    with WebSocket(server.port, '/loki/api/v1/tail?' + q) as w:
        def push():
            nonlocal n
            assert server.push([({'app': 'slow'}, [(T0 + i, '%d %s' % (i, line)) for i in range(n, n + per)])]).status == 204
            n += per
        push()
        # All have joined when lines come to them: the first push is history to whom it likes.
        want = int(w.entries(1)[-1][1].split()[0]) + 1

        def take():
            nonlocal want
            m = w.recv()
            assert 'dropped_entries' not in m, m
            for s in m['streams']:
                for v in s['values']:
                    assert int(v[1].split()[0]) == want, (want, v[1][:20])
                    want += 1
        while want < n:
            take()
        dropped = lambda: server.metric('logpulse_dropped_broadcasts_total')
        end = time.monotonic() + 60 * SLOW
        while not dropped():
            assert time.monotonic() < end
            push()
            while want < n:
                take()
        for _ in range(3):
            push()
        while want < n:
            take()
    # Who begins to read again is told how many it missed: sent and dropped are all.
    counted, told, named = 0, 0, 0
    end = time.monotonic() + 60 * SLOW
    seen = -1
    while seen < n - 1:
        m = stopped.recv()
        for s in m['streams']:
            for v in s['values']:
                seen = int(v[1].split()[0])
                counted += 1
        if 'dropped_total' in m:
            told += m['dropped_total']
            named += len(m['dropped_entries'])
            seen += m['dropped_total']
            assert all(e['labels'] == {'app': 'slow'} and e['timestamp'].endswith('Z') for e in m['dropped_entries'])
    assert told and named and counted + told >= n - per, (counted, told, n)
    # The other one goes on not reading, and is cut.
    wait_for('the client that reads nothing to be cut', lambda: server.metric('logpulse_http_connections_cut_total') > 0, 60)
    stopped.sock.close()
    stopped2.sock.close()
    print('slow: %d lines, %d received, %d told to be lost' % (n, counted, told))


with Server().start() as server:
    kills(server)
with Server(options={'streaming.broadcast_buffer_size': 500, 'streaming.client_timeout': '15s', 'streaming.ping_interval': '1s'}).start() as server:
    slow(server)
    assert server.stop() == 0
done()
