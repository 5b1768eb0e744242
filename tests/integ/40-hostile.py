#!/usr/bin/env python3
"""Hostile clients and bodies: each gets its documented answer and disturbs nobody."""
import gzip, os, resource, socket, sys, threading, time, zlib
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../lib'))
from lptest import *

now = int(time.time()) * 10**9
resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)


def calm(s, what):
    """The server still takes and gives, with all its processes."""
    t = time.time_ns()
    assert s.push([({'app': 'calm'}, [(t, what)])]).status == 204, what
    assert [r[1] for r in s.entries('{app="calm"}', t, t + 1)] == [what], what
    assert s.get('/health').json()['status'] == 'healthy'


def refused(r, status, *texts):
    assert r.status == status, (status, r)
    for t in texts:
        assert t in r.body.decode(errors='replace'), (t, r)


with Server({'server.read_timeout': '2s', 'server.write_timeout': '2s', 'storage.retention_days': 0, 'ingest.max_future': 0}) as s:
    s.start()
    pids = wait_for('a writer, a notifier and two workers', lambda: len(s.children()) == 4 and sorted(s.children()))     # a worker is ready before the last
    calm(s, 'start')

    # ---- bodies
    refused(s.post('/loki/api/v1/push', b' ' * 100 * 1024 * 1024), 413)
    calm(s, '100 MB body')
    bomb = gzip.compress(b'{"streams":[' + b' ' * (1 << 30), 9)
    refused(s.post('/loki/api/v1/push', bomb, headers={'Content-Encoding': 'gzip'}), 413)
    r = s.post('/loki/api/v1/push', bytes([0xff, 0xff, 0xff, 0xff, 0x07]) + b'\0' * 64, 'application/x-protobuf')     # claims 2 GiB
    assert r.status in (400, 413), r
    calm(s, 'zip bomb')
    refused(s.push([({'l%d' % i: 'v' for i in range(10000)}, [(now, 'x')])]), 400, 'label names')
    refused(s.push([({'n' * 2000: 'v'}, [(now, 'x')])]), 400)
    refused(s.push([({'n': 'v' * 5000}, [(now, 'x')])]), 400)
    refused(s.push([({'app': 'long'}, [(now, 'x' * 1048576), (now + 1, 'short')])]), 400, 'max entry size')
    assert [r[1] for r in s.entries('{app="long"}', now, now + 10)] == ['short']
    refused(s.post('/loki/api/v1/push', b'{"streams":[{"stream":{"app":"x"},"values":[["1","a"]]'), 400)
    refused(s.post('/loki/api/v1/push', b'[' * 200000), 400)
    refused(s.post('/loki/api/v1/push', b'{"streams":[' + b'{"a":' * 100000), 400)
    refused(s.post('/loki/api/v1/push', os.urandom(5000), 'application/x-protobuf'), 400)
    refused(s.post('/ingest', os.urandom(5000), 'application/msgpack'), 400)
    refused(s.post('/ingest', b'\xdd\xff\xff\xff\xff', 'application/msgpack'), 400)
    refused(s.post('/loki/api/v1/push', b'x', headers={'Content-Encoding': 'br'}), 400, 'not supported')
    refused(s.post('/loki/api/v1/push', b'{"streams":[]}', headers={'Content-Encoding': 'gzip'}), 400, 'gzip: invalid header')
    calm(s, 'broken bodies')

    # ---- strange but fine lines: stored as they are, given back as valid JSON
    raw = b'{"streams":[{"stream":{"app":"bytes"},"values":[["%d","bad \xff\xfe utf8"],["%d","nul \\u0000 here"],["%d",""],["%d","two\\nlines"]]}]}' % (
        now, now + 1, now + 2, now + 3)
    assert s.post('/loki/api/v1/push', raw).status == 204
    lines = [r[1] for r in s.entries('{app="bytes"}', now, now + 10)]
    assert lines == ['bad \ufffd\ufffd utf8', 'nul \0 here', '', 'two\nlines'], lines
    for t in (0, 1, 2**63 - 1, 9214646400 * 10**9):      # 1970, year 2262
        assert s.push([({'app': 'times'}, [(t, 'at %d' % t)])]).status == 204, t
    refused(s.push([({'app': 'times'}, [(2**63, 'beyond')])]), 400)
    refused(s.post('/loki/api/v1/push', b'{"streams":[{"stream":{"app":"times"},"values":[["9999999999999999999999","x"]]}]}'), 400)
    r = s.get('/loki/api/v1/query_range', dict(query='{app="times"}', start=0, end=2**63 - 1, limit=10))
    assert r.status in (200, 400), r     # the range is over max_query_length
    assert s.stats('{app="times"}', 0, 10)['entries'] == 2
    assert s.request('POST', '/flush').status == 204
    assert [r[1] for r in s.entries('{app="bytes"}', now, now + 10)] == lines
    assert s.stats('{app="times"}', 0, 10)['entries'] == 2
    calm(s, 'strange lines')

    # ---- slow loris: a head that never ends is cut; so is a body that stops
    for first in (b'GET /health HTTP/1.1\r\nHost: x\r\n', b'POST /ingest HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n{"streams":'):
        c = socket.create_connection(('127.0.0.1', s.port))
        c.sendall(first)
        c.settimeout(30 * SLOW)
        t = time.monotonic()
        while c.recv(1000):
            pass
        assert 1 < time.monotonic() - t
        c.close()
    calm(s, 'slow loris')

    # ---- a client that asks for much and reads nothing is cut, not waited for
    # (more than the kernel's send buffer takes, and little enough to be found long before the query's own deadline)
    for i in range(6):
        assert s.push([({'app': 'much', 'i': str(i)}, [(now + j, 'y' * 10000) for j in range(250)])]).status == 204
    deaf = []
    cut = s.metric('logpulse_http_connections_cut_total') or 0
    for i in range(10):
        c = socket.socket()
        c.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        c.connect(('127.0.0.1', s.port))
        c.sendall(b'GET /loki/api/v1/query_range?query=%%7Bapp%%3D%%22much%%22%%7D&limit=5000&start=%d&end=%d HTTP/1.1\r\nHost: x\r\n\r\n' % (now, now + 10**6))
        deaf.append(c)
    calm(s, 'deaf clients')
    wait_for('deaf clients to be cut', lambda: (s.metric('logpulse_http_connections_cut_total') or 0) >= cut + 10, 30)
    for c in deaf:
        c.close()

    # ---- 4,000 idle connections
    idle = [socket.create_connection(('127.0.0.1', s.port)) for _ in range(4000)]
    calm(s, '4000 idle connections')
    for c in idle:
        c.close()
    # ---- more connections than are allowed, of clients that ask for nothing or never end asking: others get through
    with Server({'server.max_connections': 50}, workers=1) as small:
        small.start()
        for first in (b'', b'GET /health HTTP/1.1\r\nHost: x\r\n'):
            idle = [socket.create_connection(('127.0.0.1', small.port)) for _ in range(100)]
            for c in idle:
                c.sendall(first)
            calm(small, 'crowd')
            assert small.metric('logpulse_http_connections_cut_total') > 0
            for c in idle:
                c.close()
        # ... and bodies that drip for ever
        drip = [socket.create_connection(('127.0.0.1', small.port)) for _ in range(100)]
        stop = threading.Event()

        def drop():
            while not stop.wait(0.3):
                for c in drip:
                    try:
                        c.send(b' ')
                    except OSError:
                        pass            # it was cut
        for c in drip:
            c.sendall(b'POST /ingest HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n')
        dropping = threading.Thread(target=drop)
        dropping.start()
        calm(small, 'dripping bodies')
        stop.set()
        dropping.join()
        for c in drip:
            c.close()
        assert small.stop() == 0
    # ---- hostile queries
    for q in ('{', '{}', '{app=~"[invalid"}', '{app="x"} |~ "("', '{app="' + 'x' * 200000 + '"}', '(' * 50000, '{app=~"' + '(a{1000}){1000}' + '"}',
              '{app="much"} |~ "(y+)+$(y+)+z"'):
        r = s.post('/loki/api/v1/query_range', urllib.parse.urlencode(dict(query=q, start=now, end=now + 10**6)), 'application/x-www-form-urlencoded')
        assert r.status in (200, 400, 413), (q[:50], r)
    calm(s, 'queries')
    assert sorted(s.children()) == pids, 'a process died'
    reasons = s.get('/metrics').body.decode()
    for reason in ('line_too_long', 'max_label_names_per_series', 'label_name_too_long', 'label_value_too_long'):
        assert s.metric('logpulse_discarded_lines_total{reason="%s"}' % reason) or 'reason="%s"} 0' % reason not in reasons, reason
    assert s.stop() == 0
    s.verify()
done()
