#!/usr/bin/env python3
"""Live tail: both protocols, history joined to live, filters, tenants and key, limits, and clients that break the rules."""
import os, ssl, sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../lib'))
from lptest import *
from wsclient import *

T0 = time.time_ns() - 10**9


def tail(server, query, headers=None, ws=None, **params):
    return WebSocket(server.port, '/loki/api/v1/tail?' + urllib.parse.urlencode(dict(params, query=query)), headers, **(ws or {}))


def stream(server, headers=None, ws=None, **params):
    return WebSocket(server.port, '/stream?' + urllib.parse.urlencode(params), headers, **(ws or {}))


def refused(what, status, text=''):
    try:
        what()
    except Refused as e:
        assert e.status == status and text in e.body.decode(), e
        return e
    raise AssertionError('not refused')


def closed(ws, code, timeout=60, reason=''):
    try:
        while True:
            ws.recv(timeout)
    except Closed as e:
        assert e.code == code and reason in e.reason, e


def push(server, app, first, n, **labels):
    r = server.push([(dict(labels, app=app), [(T0 + i, '%s %d' % (app, i)) for i in range(first, first + n)])])
    assert r.status == 204, r


def numbers(entries):
    return [int(l.split()[-1]) for _, l, _ in entries]


def loki(server):
    push(server, 'a', 0, 250)
    # The newest `limit` entries since start, oldest first, in frames of at most 100; then what comes, with nothing between.
    with tail(server, '{app="a"}', limit=230, start=T0) as w:
        first = w.recv()['streams']
        assert [s['stream'] for s in first] == [{'app': 'a'}] and len(first[0]['values']) == 100, first
        got = [int(v[1].split()[1]) for v in first[0]['values']] + numbers(w.entries(130))
        assert got == list(range(20, 250)), got[:5]
        push(server, 'a', 250, 5)
        push(server, 'b', 0, 5)
        push(server, 'a', 255, 5)
        assert numbers(w.entries(10)) == list(range(250, 260))
        # Pushed again by an agent that missed its answer: one entry.
        push(server, 'a', 255, 5)
        push(server, 'a', 260, 1)
        assert numbers(w.entries(1)) == [260]
        w.send(b'nobody listens')
        w.send_raw(frame(PING, b'hello'))
        assert w.frame() == (PONG, b'hello')
        assert w.close() == 1000
    # start: only what is not older; default one hour; pipelines change lines and labels as in queries.
    with tail(server, '{app="a"} | regexp "a (?P<n>[0-9]+)" | n > 258 | line_format "<{{.n}}>" | keep n', start=T0 + 100) as w:
        assert w.entries(2) == [(T0 + 259, '<259>', {'n': '259'}), (T0 + 260, '<260>', {'n': '260'})]
        push(server, 'a', 261, 1)
        assert w.entries(1) == [(T0 + 261, '<261>', {'n': '261'})]
    # Deleted lines are not in a history; pushed again they are new, in live tails as in queries, and once.
    assert server.push([({'app': 'del'}, [(T0, 'secret 0'), (T0 + 1, 'kept 1')])]).status == 204
    with tail(server, '{app="del"}') as before:
        assert numbers(before.entries(2)) == [0, 1]
        assert server.post('/loki/api/v1/delete?' + urllib.parse.urlencode({'query': '{app="del"} |= "secret"', 'start': T0 // 10**9 - 60}), b'').status == 204
        with tail(server, '{app="del"}') as after:
            assert numbers(after.entries(1)) == [1]
            for i in (2, 3):
                again = [(T0, 'secret 0'), (T0 + 1, 'kept 1'), (T0 + i, 'new %d' % i)]
                assert server.push([({'app': 'del'}, again)]).status == 204
            stored = [v[1] for v in server.query_range('{app="del"}', T0, T0 + 10)[0]['values']]
            assert stored == ['secret 0', 'kept 1', 'new 2', 'new 3'], stored
            assert numbers(before.entries(3)) == [0, 2, 3]
            # Who came after knows no more than the log that is not sealed yet, but shows nothing twice that came since.
            got = []
            while 3 not in got:
                got += numbers(after.entries(1))
            assert [n for n in got if n != 1] == [0, 2, 3] and got.count(1) <= 1, got
    # since: as with queries.
    old = [({'app': 's'}, [(T0 - 7200 * 10**9, 's 0'), (T0, 's 1')])]
    assert server.push(old).status == 204
    with tail(server, '{app="s"}') as w:
        assert numbers(w.entries(1)) == [1]
    with tail(server, '{app="s"}', since='3h') as w:
        assert numbers(w.entries(2)) == [0, 1]
    # The old route, and categories for Grafana.
    r = server.post('/loki/api/v1/push', {'streams': [{'stream': {'app': 'm'}, 'values': [[str(T0), 'x=1', {'trace': 't'}]]}]})
    assert r.status == 204, r
    path = '/api/prom/tail?' + urllib.parse.urlencode({'query': '{app="m"} | logfmt'})
    with WebSocket(server.port, path, {'X-Loki-Response-Encoding-Flags': 'categorize-labels'}) as w:
        assert w.recv() == {'streams': [{'stream': {'app': 'm'}, 'values': [[str(T0), 'x=1', {
            'structuredMetadata': {'trace': 't'}, 'parsed': {'x': '1'}}]]}], 'encodingFlags': ['categorize-labels']}
    with WebSocket(server.port, path) as w:
        assert w.entries(1) == [(T0, 'x=1', {'app': 'm', 'trace': 't', 'x': '1'})]
    # Held back, but not lost.  History is not held back, and says that the tail has joined.
    push(server, 'd', 0, 1)
    with tail(server, '{app="d"}', delay_for=1) as w:
        assert numbers(w.entries(1)) == [0]
        begin = time.monotonic()
        push(server, 'd', 1, 3)
        assert numbers(w.entries(3)) == [1, 2, 3] and time.monotonic() - begin >= 0.9
    print('Loki: history, live, repeats, pipelines, categories, delay_for')


def loki_refusals(server):
    e = refused(lambda: tail(server, '{app="a"}', delay_for=6), 400, "delay_for can't be greater than 5")
    refused(lambda: tail(server, '{app="a"', limit=5), 400, 'parse error at line 1')
    refused(lambda: tail(server, ''), 400, 'parse error')
    # Loki refuses a metric query behind the upgrade, and without one like any other request.
    with tail(server, 'rate({app="a"}[1m])') as w:
        closed(w, 1011, reason='only log selector is supported')
    refused(lambda: tail(server, 'rate({app="a"}[1m])', headers={'Upgrade': None, 'Connection': 'close'}), 400, 'WebSocket')
    refused(lambda: stream(server, query='rate({app="a"}[1m])'), 400, 'only log selector is supported')
    refused(lambda: tail(server, '{app="a"}', since='soon'), 400, "could not parse 'since' parameter")
    refused(lambda: tail(server, '{app="a"}', limit=5001), 400, 'max entries limit per query exceeded')
    refused(lambda: tail(server, '{app="a"}', delay_for='x'), 400, 'strconv.Atoi: parsing "x"')
    refused(lambda: tail(server, '{app="a"}', start='yesterday'), 400)
    refused(lambda: tail(server, '{app="a"}', headers={'Upgrade': None, 'Connection': 'close'}), 400, 'WebSocket')
    refused(lambda: tail(server, '{app="a"}', headers={'Sec-WebSocket-Version': '8'}), 426)
    refused(lambda: tail(server, '{app="a"}', headers={'Sec-WebSocket-Key': 'short'}), 400, 'Sec-WebSocket-Key')
    assert server.post('/loki/api/v1/tail', '{}').status == 405
    print('Loki: refusals before the upgrade')


def original(server):
    with stream(server, service='api', level='error') as w:
        assert w.recv() == {'type': 'connected', 'message': 'Connected to log stream', 'filter': {'service': 'api', 'level': 'error'}}
        r = server.post('/ingest', [{'timestamp': '2026-11-22T10:00:00Z', 'message': 'no', 'labels': {'service': 'api', 'level': 'info'}},
                                    {'timestamp': '2026-11-22T10:00:00.5Z', 'message': 'yes "q"',
                                     'labels': {'service': 'api', 'level': 'error'}}])
        if r.status >= 300:     # the other form of the body
            r = server.push([({'service': 'api', 'level': 'info'}, [(T0, 'no')]), ({'service': 'api', 'level': 'error'}, [(T0, 'yes "q"')])])
        assert r.status < 300, r
        m = w.recv()
        assert m['type'] == 'log' and m['data']['message'] == 'yes "q"' and m['data']['level'] == 'error', m
        assert m['data']['labels'] == {'service': 'api', 'level': 'error'} and len(m['data']['id']) == 32 and m['data']['timestamp'].endswith('Z')
        w.send({'type': 'filter', 'labels': {'app': 'f'}})
        assert w.recv() == {'type': 'filter_updated', 'filter': {'app': 'f'}}
        push(server, 'f', 0, 2)
        assert [w.recv()['data']['message'] for _ in range(2)] == ['f 0', 'f 1']
        w.send({'type': 'query', 'query': '{app="f"} |~ "[5-7]$" | line_format "got {{__line__}}"'})
        assert w.recv()['query'].startswith('{app="f"}')
        push(server, 'f', 2, 8)
        assert [w.recv()['data']['message'] for _ in range(3)] == ['got f 5', 'got f 6', 'got f 7']
        # What is wrong is said, and changes nothing.
        for bad, code in ((b'{"type":"query","query":"{"}', 'BAD_QUERY'), (b'{"type":"query","query":"rate({a=\\"b\\"}[1m])"}', 'BAD_QUERY'),
                          (b'{', 'INVALID_JSON'), (b'[]', 'INVALID_JSON'), (b'{"type":"filter","labels":{"a":1}}', 'INVALID_JSON'),
                          (b'{"type":"filter","labels":{"a-b":"1"}}', 'INVALID_JSON'), (b'{"type":"jump"}', 'INVALID_JSON'),
                          (b'{"type":"filter"} x', 'INVALID_JSON')):
            w.send(bad)
            m = w.recv()
            assert m['type'] == 'error' and m['code'] == code and m['error'], (bad, m)
        # A value cannot end its quotes.
        w.send({'type': 'filter', 'labels': {'app': 'f"} or {a="', 'x': '\\'}})
        assert w.recv()['type'] == 'filter_updated'
        w.send({'type': 'filter', 'labels': {}})
        assert w.recv() == {'type': 'filter_updated', 'filter': {}}
        push(server, 'g', 0, 1)
        assert w.recv()['data']['message'] == 'g 0'
        assert w.close() == 1000
    # History for a client that was away; a query besides the filters.
    with stream(server, app='f', query='|= "f"', start=T0 + 3, limit=100) as w:
        assert w.recv()['filter'] == {'app': 'f'}
        assert [w.recv()['data']['message'] for _ in range(7)] == ['f %d' % i for i in range(3, 10)]
        push(server, 'f', 10, 1)
        assert w.recv()['data']['message'] == 'f 10'
    refused(lambda: stream(server, **{'a-b': 'x'}), 400, 'label name')
    refused(lambda: stream(server, query='{'), 400, 'parse error')
    print('original: connected, log, filter, query, errors, history')


def hostile(server):
    def broken(raw, code):
        with stream(server, app='h') as w:
            w.recv()
            w.send_raw(raw)
            closed(w, code)
    broken(frame(TEXT, b'{}', mask=None), 1002)
    broken(frame(TEXT, b'{}', rsv=4), 1002)
    broken(frame(3, b''), 1002)
    broken(frame(11, b''), 1002)
    broken(frame(PING, b'x', fin=False), 1002)
    broken(frame(PING, b'x' * 126), 1002)
    broken(frame(0, b'x'), 1002)
    broken(frame(TEXT, b'{', fin=False) + frame(TEXT, b'}'), 1002)
    broken(frame(TEXT, b'\xff\xfe'), 1007)
    broken(frame(TEXT, b'\xc3', fin=False) + frame(0, b'('), 1007)
    broken(frame(BINARY, b'x'), 1003)
    broken(frame(CLOSE, b'\x03'), 1002)
    broken(frame(CLOSE, struct.pack('>H', 1005)), 1002)
    broken(frame(CLOSE, struct.pack('>H', 1000) + b'\xff'), 1007)
    broken(b'\x81\xfe\x00\x05' + b'mask12345', 1002)                # not the shortest form
    broken(b'\x81\xff\xff' + b'\xff' * 7 + b'mask', 1002)
    broken(b'\x81\xff' + struct.pack('>Q', 1 << 40) + b'mask', 1009)
    broken(frame(TEXT, b' ' * 200000, fin=False) + frame(0, b' ' * 200000), 1009)
    # Fragments with a ping between them are one message; byte by byte is as good.
    with stream(server, app='h') as w:
        w.recv()
        text = json.dumps({'type': 'filter', 'labels': {'app': 'ü'}}, ensure_ascii=False).encode()
        at = text.index(b'\xc3') + 1
        for b in frame(TEXT, text[:at], fin=False) + frame(PING, b'p') + frame(0, b'', fin=False) + frame(0, text[at:]):
            w.send_raw(bytes([b]))
        assert w.frame() == (PONG, b'p')
        assert w.recv() == {'type': 'filter_updated', 'filter': {'app': 'ü'}}
        w.send_raw(frame(CLOSE))
        closed(w, 1000)
    # Who says goodbye is answered and hung up on at once, as clients expect of a server (RFC 6455, 7.1.1).
    with stream(server, app='h') as w:
        w.recv()
        begin = time.monotonic()
        w.send_raw(frame(CLOSE, struct.pack('>H', 1000)))
        closed(w, 1000)
        try:
            w.frame()
            raise AssertionError('something follows the close frame')
        except Closed as e:
            assert e.code is None and time.monotonic() - begin < 1.5 * SLOW, (e, time.monotonic() - begin)
    # Gone without a word, in the middle of everything; many at once.
    for i in range(20):
        w = stream(server, app='h')
        if i % 2:
            w.send_raw(frame(TEXT, b'{"type":"filter"', fin=False))
        w.sock.close()
    wait_for('all clients to be gone', lambda: server.get('/health').json()['streamClients'] == 0)
    print('hostile: RFC 6455 close codes, fragments, vanishing clients')


# Who asks and does not read the answers is not listened to, instead of answers that pile up; in the end all of them are there.
def deaf(server):
    for message, answer in ((b'x' * 100, 'error'), (b'{"type":"query","query":"{app=\\"q\\"} |= \\"' + b'y' * 4096 + b'\\""}', 'filter_updated')):
        with stream(server, ws=dict(rcvbuf=4096), app='q') as w:
            raw, sent, at = frame(TEXT, message) * (8192 // len(message)), 0, 0
            w.sock.settimeout(2 * SLOW)
            try:
                while sent < 64 << 20:
                    at += w.sock.send(raw[at:])
                    if at == len(raw):
                        sent, at = sent + len(raw), 0
            except socket.timeout:
                pass
            assert sent < 64 << 20, 'all was read'
            first = w.recv()
            assert first['type'] == 'connected', first
            for _ in range(min(sent // len(message), 500)):
                m = w.recv()
                assert m['type'] == answer, m
    print('deaf: requests wait for those who do not take the answers')


# Clients that take nothing of long histories have all the places among the histories, but not for long.
def stalled(server):
    for i in range(20):
        assert server.push([({'app': 'long'}, [(T0 + k, '%d ' % k + 'z' * 3000) for k in range(i * 250, i * 250 + 250)])]).status == 204
    push(server, 'short', 0, 1)
    idle = [tail(server, '{app="long"}', ws=dict(rcvbuf=4096), limit=5000, start=T0) for _ in range(8)]
    begin = time.monotonic()
    with tail(server, '{app="short"}') as w:
        assert numbers(w.entries(1)) == [0]
    assert time.monotonic() - begin < 40 * SLOW, 'only streaming.client_timeout helped'
    for w in idle:
        w.sock.close()
    print('stalled: histories that nobody reads make way')


# Many tails of Loki's come back at once, each with a history.
def crowd():
    n = 600 if SLOW == 1 else 100
    with Server(workers=1).start() as server:
        push(server, 'a', 0, 1)
        ws = [tail(server, '{app="a"}') for _ in range(n)]
        for w in ws:
            assert numbers(w.entries(1)) == [0]
            w.sock.close()
    print('crowd: %d histories' % n)


# What waits for tails that read nothing is bounded, however many queries they ask.
def memory():
    def mb():
        status = open('/proc/%d/status' % server.children('worker')[0]).read()
        return int(status.split('RssAnon:')[1].split()[0]) / 1024
    with Server(workers=1, options={'streaming.max_memory': '1MiB', 'streaming.client_timeout': '1h'}).start() as server:
        queries = 200 if SLOW == 1 else 40      # a sanitizer keeps what was freed: no bound is asked there
        ws = [stream(server, ws=dict(rcvbuf=4096), query='{app="a"} != "q%d"' % i) for i in range(queries)]
        push(server, 'a', 0, 1)
        for w in ws:
            assert w.recv()['type'] == 'connected' and w.recv()['type'] == 'log'
        base = most = mb()
        for i in range(20):
            assert server.push([({'app': 'a'}, [(T0 + i * 500 + k, 'a %d ' % k + 'z' * 1000) for k in range(500)])]).status == 204
            most = max(most, mb())
        wait_for('lines to be dropped', lambda: server.metric('logpulse_dropped_broadcasts_total') > 0, 120)
        most = max(most, mb())
        binary = open(BUILD + '/logpulse', 'rb').read()
        sanitized = b'__asan_init' in binary or b'__tsan_init' in binary
        assert sanitized or most - base < 46, (base, most)
        for w in ws:
            w.sock.close()
    print('memory: %d MB for 10 MB of log and %d queries' % (most - base, queries))
    # So is what is remembered of streams, here 112 MB of labels.
    with Server(workers=1).start() as server, stream(server, app='a') as w:
        assert w.recv()['type'] == 'connected'
        base = mb()
        for i in range(40):
            streams = [(dict({'l%d' % k: 'v' * 2000 + str(i * 100 + n) for k in range(14)}, app='b'), [(T0, 'x')]) for n in range(100)]
            assert server.push(streams).status == 204
        push(server, 'a', 0, 1)
        assert w.recv()['type'] == 'log'
        assert sanitized or mb() - base < 80, (base, mb())


# After a reload who comes sees live what history shows, also beside one who was there before and asks the same.
def reloaded():
    with tempfile.TemporaryDirectory() as d, Server(options={'limits.discover_log_levels': None}, workers=1) as server:
        def configure(levels):
            with open(d + '/conf', 'w') as f:
                f.write('limits: {discover_log_levels: %s}\n' % levels)
        argv = server.argv
        server.argv = lambda: argv() + ['--config', d + '/conf']
        configure('true')
        server.start()
        push(server, 'r', 0, 1)
        with tail(server, '{app="r"}') as old:
            assert old.entries(1) == [(T0, 'r 0', {'app': 'r', 'detected_level': 'unknown'})]
            configure('false')
            server.proc.send_signal(signal.SIGHUP)
            wait_for('the reload', lambda: 'worker-0' in ''.join(l for l in open(server.log_path) if 'configuration reloaded' in l))
            with tail(server, '{app="r"}') as new:
                assert new.entries(1) == [(T0, 'r 0', {'app': 'r'})]
                push(server, 'r', 1, 1)
                assert new.entries(1) == [(T0 + 1, 'r 1', {'app': 'r'})]
            assert numbers(old.entries(1)) == [1]
            # Nothing of this ends a tail; the end of the server does.
            server.proc.send_signal(signal.SIGTERM)
            closed(old, 1001)
    print('reloaded: history and live agree')


# Another key: who came with the old one has to show the new one, live tails and metric streams too.
def revoked():
    with tempfile.TemporaryDirectory() as d, Server(workers=1) as server:
        def configure(key):
            with open(d + '/conf', 'w') as f:
                f.write('auth: {enabled: true, api_key: %s}\n' % key)

        def reload(n):
            server.proc.send_signal(signal.SIGHUP)
            wait_for('the reload', lambda: len([l for l in open(server.log_path) if 'configuration reloaded' in l and 'worker-0' in l]) == n)
        argv = server.argv
        server.argv = lambda: argv() + ['--config', d + '/conf']
        configure('one')
        server.start()
        key = {'X-API-Key': 'one'}
        events = http.client.HTTPConnection('127.0.0.1', server.port, timeout=60 * SLOW)
        events.request('GET', '/metrics/stream?interval=500ms', None, key)
        events = events.getresponse()
        with tail(server, '{app="k"}', key) as w, stream(server, key) as v:
            assert v.recv()['type'] == 'connected'
            reload(1)
            assert server.push([({'app': 'k'}, [(T0, 'k 0')])], headers=key).status == 204
            assert numbers(w.entries(1)) == [0] and v.recv()['type'] == 'log'
            configure('two')
            reload(2)
            closed(w, 1008, reason='the key has changed')
            closed(v, 1008)
            assert events.read().endswith(b'\n\n')
        refused(lambda: tail(server, '{app="k"}', key), 401)
        with tail(server, '{app="k"}', {'X-API-Key': 'two'}) as w:
            assert numbers(w.entries(1)) == [0]
        assert server.stop() == 0
    print('revoked: another key ends what the old one opened')


# Who reads slowly is not one who reads nothing, even when a write takes longer than streaming.client_timeout.
def slowly():
    with Server(options={'streaming.client_timeout': '2s', 'streaming.ping_interval': '500ms'}, workers=1).start() as server, \
         stream(server, ws=dict(rcvbuf=4096), app='slow') as w:
        assert w.recv()['type'] == 'connected'
        for i in range(16):
            assert server.push([({'app': 'slow'}, [(T0 + i * 250 + k, '%d ' % k + 'z' * 1500) for k in range(250)])]).status == 204
        cut = server.metric('logpulse_http_connections_cut_total')
        begin = time.monotonic()
        while time.monotonic() - begin < 7:
            assert w.sock.recv(4096), 'cut'
            time.sleep(0.05)
        assert server.metric('logpulse_http_connections_cut_total') == cut
        wait_for('one that reads nothing any more to be cut', lambda: server.metric('logpulse_http_connections_cut_total') > cut)
    print('slowly: progress is what counts')


crowd()
slowly()
memory()
reloaded()
revoked()
with Server(options={'streaming.max_clients': 40}).start() as server:
    loki(server)
    loki_refusals(server)
    original(server)
    hostile(server)
    deaf(server)
    stalled(server)
    # The limit counts the clients of all workers.
    wait_for('no clients', lambda: server.get('/health').json()['streamClients'] == 0)
    many = [stream(server, app='z') for _ in range(40)]
    refused(lambda: stream(server, app='z'), 429, 'streaming.max_clients')
    for w in many:
        w.recv()
    push(server, 'z', 0, 10)
    for w in many:
        assert [w.recv()['data']['message'] for _ in range(10)] == ['z %d' % i for i in range(10)]
    assert server.metric('logpulse_stream_clients_connected') == 40
    assert server.metric('logpulse_broadcasted_lines_total') >= 400
    # SIGTERM says goodbye.
    server.proc.send_signal(signal.SIGTERM)
    for w in many:
        closed(w, 1001)
        w.sock.close()
    assert server.proc.wait(60 * SLOW) == 0

with Server(options={'auth.enabled': 'true', 'auth.api_key': 'secret', 'tenants.enabled': 'true',
                     'limits.discover_log_levels': 'true', 'limits.discover_service_name': 'app',
                     'streaming.allowed_origins': 'https://logs.example.com,https://two.example.com'}).start() as server:
    key = {'Authorization': 'Bearer secret'}
    refused(lambda: tail(server, '{app="a"}'), 401)
    refused(lambda: stream(server), 401)
    refused(lambda: tail(server, '{app="a"}', key), 401, 'no org id')
    refused(lambda: stream(server, dict(key, **{'X-Scope-OrgID': 'one', 'Origin': 'https://evil.example'})), 403, 'allowed_origins')
    stream(server, dict(key, **{'X-Scope-OrgID': 'one', 'Origin': 'http://127.0.0.1:%d' % server.port})).close()
    with tail(server, '{app="a"}', dict(key, **{'X-Scope-OrgID': 'one', 'Origin': 'https://logs.example.com'})) as one, \
         stream(server, dict(key, **{'X-Scope-OrgID': 'two'})) as two:
        two.recv()
        for tenant in ('two', 'one'):
            r = server.push([({'app': 'a'}, [(T0, 'of ' + tenant)])], headers=dict(key, **{'X-Scope-OrgID': tenant}))
            assert r.status == 204, r
        # Live lines have the labels that Loki adds, as history has.
        want = {'app': 'a', 'service_name': 'a', 'detected_level': 'unknown'}
        got = one.entries(1)
        assert got == [(T0, 'of one', want)], got
        with tail(server, '{service_name="a"}', dict(key, **{'X-Scope-OrgID': 'one|two'})) as both:
            assert sorted((l, s['__tenant_id__']) for _, l, s in both.entries(2)) == [('of one', 'one'), ('of two', 'two')]
        assert two.recv()['data']['message'] == 'of two'
        r = server.push([({'app': 'a'}, [(T0 + 1, 'of two')])], headers=dict(key, **{'X-Scope-OrgID': 'two'}))
        assert two.recv()['data']['message'] == 'of two'
    print('key, tenant and origin before the upgrade')

with tempfile.TemporaryDirectory() as d, Server() as server:
    made = shutil.which('openssl') and subprocess.run(
        ['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', d + '/key', '-out', d + '/cert',
         '-days', '2', '-subj', '/CN=localhost'], capture_output=True).returncode == 0
    if made:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        server.start()
        push(server, 't', 0, 300)
        server.options.update({'server.tls.cert_file': d + '/cert', 'server.tls.key_file': d + '/key'})
        assert server.stop() == 0
        server.start(wait=False)

        def connect(**kw):
            try:
                return tail(server, '{app="t"}', ws=dict(tls=context, **kw), start=T0, limit=300)
            except (OSError, Refused):
                return None
        with wait_for('TLS', connect) as w:
            assert numbers(w.entries(300)) == list(range(300))
            assert w.close() == 1000
        # One that goes while it is written to, and one that reads nothing at the end.
        connect().sock.close()
        idle = connect()
        assert server.stop() == 0
        idle.sock.close()
        print('TLS')
    else:
        print('no openssl: TLS is left out')
done()
