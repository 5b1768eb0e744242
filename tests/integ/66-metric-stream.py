#!/usr/bin/env python3
"""/metrics/stream: server-sent events as a browser reads them, slow readers, limits, the end of the server."""
import http.client, os, signal, socket, sys, time
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../lib'))
from lptest import *


class Events:
    def __init__(self, s, query='?interval=500ms', headers={}):
        self.c = http.client.HTTPConnection('127.0.0.1', s.port, timeout=60 * SLOW)
        self.c.request('GET', '/metrics/stream' + query, None, headers)
        self.r = self.c.getresponse()

    def next(self):
        """One event: the fields, by the rules of the EventSource interface; None at the end."""
        out = {}
        while True:
            line = self.r.readline()
            if not line:
                return None
            line = line.rstrip(b'\n').decode()
            if not line:
                return out
            name, _, value = line.partition(': ')
            out[name] = out[name] + '\n' + value if name in out else value


with Server(options={'metrics.max_streams': '3', 'server.write_timeout': '1s', 'metrics.stream_interval': '500ms'}, workers=1) as s:
    s.start()
    e = Events(s, '')
    assert e.r.status == 200 and e.r.getheader('content-type').startswith('text/event-stream'), e.r.getheaders()
    first = e.next()
    assert set(first) == {'data'}, set(first)       # no event name: onmessage sees it
    assert 'logpulse_ingested_lines_total 0' in first['data'].split('\n') and 'lokiclone_uptime_seconds' in first['data']
    assert s.push([({'app': 'a'}, [(time.time_ns(), 'x')])]).status == 204
    wait_for('an event with the line', lambda: 'logpulse_ingested_lines_total 1' in e.next()['data'].split('\n'))
    for q in ('?interval=1ms', '?interval=2h', '?interval=banana'):
        assert s.get('/metrics/stream' + q).status == 400, q
    r = s.request('HEAD', '/metrics/stream')
    assert r.status == 200 and not r.body

    # A client that reads nothing is cut, the others go on.
    cut = s.metric('logpulse_http_connections_cut_total')
    slow = socket.socket()
    slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    slow.connect(('127.0.0.1', s.port))
    slow.sendall(b'GET /metrics/stream?interval=500ms HTTP/1.1\r\nHost: x\r\n\r\n')
    third = Events(s)
    third.next()
    r = s.get('/metrics/stream')
    assert r.status == 503 and 'retry-after' in r.headers, r
    wait_for('the slow client to be cut', lambda: e.next() and s.metric('logpulse_http_connections_cut_total') > cut, 120)
    slow.close()
    third.c.close()
    # Its place is free again, and so is that of one who left.
    more = []

    def place():
        x = Events(s)
        if x.r.status == 200:
            more.append(x)
        return len(more) == 2
    wait_for('two free places', place)
    s.proc.send_signal(signal.SIGTERM)
    for x in [e] + more:
        while True:
            event = x.next()
            if event is None:
                break
            assert event['data'].count('\n') > 100
    assert s.proc.wait(60 * SLOW) == 0

with Server(env={'LOGPULSE_API_KEY': 'k'}, workers=1) as s:
    s.start()
    assert s.get('/metrics/stream').status == 401
    assert Events(s, headers={'X-API-Key': 'k'}).next()['data']
done('events hold')
