#!/usr/bin/env python3
"""One worker with a scripted engine and a writer that only moves the tail (tests/integ/worker_harness.c): HTTP as clients
and attackers speak it, waiting pushes, streamed answers, time limits, shutdown."""
import gzip, json, os, signal, socket, subprocess, sys, time, urllib.parse
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../lib'))
from lptest import BUILD, SLOW, done, free_port, skip, wait_for

BIN = os.environ.get('LP_WORKER_HARNESS') or os.path.join(BUILD, 'tests/integ/worker_harness')
PUSH = '/loki/api/v1/push'
READY, FULL = 1, 2


def loki(line='hello', n=1):
    now = time.time_ns()
    return json.dumps({'streams': [{'stream': {'app': 'test'}, 'values': [[str(now + i), line] for i in range(n)]}]}).encode()


class Worker:
    def __init__(self, **options):
        self.port = free_port()
        argv = [BIN, '--port', str(self.port), '--log-level', 'warn']
        for k, v in options.items():
            argv += ['--set', '%s=%s' % (k.replace('__', '.'), v)]
        self.proc = subprocess.Popen(argv)
        wait_for('the worker', self.up)

    def up(self):
        assert self.proc.poll() is None, 'the worker died'
        try:
            return self.ask('GET', '/ready')[0] == 200
        except OSError:
            return False

    def connect(self):
        s = socket.create_connection(('127.0.0.1', self.port), timeout=20 * SLOW)
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return s

    def ask(self, method, path, body=b'', headers={}):
        with self.connect() as s:
            send(s, method, path, body, headers)
            return answer(s, method)

    def query(self, text, headers={}):
        return self.ask('GET', '/loki/api/v1/query?query=' + urllib.parse.quote(text), headers=headers)

    def stat(self, name):
        for line in self.ask('GET', '/metrics')[2].decode().splitlines():
            if line.startswith(name + ' '):
                return float(line.split()[-1])
        raise AssertionError('no metric ' + name)

    def stop(self):
        self.proc.send_signal(signal.SIGTERM)
        return self.proc.wait(40 * SLOW)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        if self.proc.poll() is None:
            if exc[0]:
                self.proc.kill()
                self.proc.wait()
            else:
                assert self.stop() == 0, 'exit code %r' % self.proc.returncode


def send(s, method, path, body=b'', headers={}):
    head = '%s %s HTTP/1.1\r\nHost: x\r\n' % (method, path)
    if body and not any(k.lower() == 'content-type' for k in headers):
        head += 'Content-Type: application/json\r\n'
    if body or method == 'POST':
        head += 'Content-Length: %d\r\n' % len(body)
    for k, v in headers.items():
        head += '%s: %s\r\n' % (k, v)
    s.sendall(head.encode() + b'\r\n' + body)


def more(s, buf):
    part = s.recv(65536)
    if not part:
        raise EOFError(bytes(buf))
    buf += part


def answer(s, method='GET', buf=None):
    """One response: status, headers, body.  buf carries bytes of the next one when requests are pipelined."""
    buf = bytearray() if buf is None else buf
    while b'\r\n\r\n' not in buf:
        more(s, buf)
    head, _, rest = bytes(buf).partition(b'\r\n\r\n')
    lines = head.decode().split('\r\n')
    status = int(lines[0].split()[1])
    headers = {k.lower(): v for k, v in (l.split(': ', 1) for l in lines[1:])}
    del buf[:len(head) + 4]
    if status == 100:
        return status, headers, b''
    if method == 'HEAD' or status == 204:
        return status, headers, b''
    if headers.get('transfer-encoding') == 'chunked':
        body = bytearray()
        while True:
            while b'\r\n' not in buf:
                more(s, buf)
            size, _, _ = bytes(buf[:20]).partition(b'\r\n')
            n = int(size, 16)
            while len(buf) < len(size) + 2 + n + 2:
                more(s, buf)
            body += buf[len(size) + 2:len(size) + 2 + n]
            del buf[:len(size) + 4 + n]
            if n == 0:
                return status, headers, bytes(body)
    n = int(headers.get('content-length', 0))
    while len(buf) < n:
        more(s, buf)
    body = bytes(buf[:n])
    del buf[:n]
    return status, headers, body


def closed(s):
    """True once the server has closed the connection."""
    try:
        return s.recv(65536) == b''
    except ConnectionError:
        return True


def pattern(n):
    piece = bytes(ord('a') + i % 23 for i in range(10007))
    return (piece * (n // len(piece) + 1))[:n] if n < len(piece) else b''.join(
        piece[:min(len(piece), n - i)] for i in range(0, n, len(piece)))


def plain_http(w):
    s = w.connect()
    for _ in range(3):                                          # keep-alive
        send(s, 'POST', PUSH, loki())
        status, headers, body = answer(s)
        assert status == 204 and body == b'' and 'content-length' not in headers, (status, headers, body)
    assert 'access-control-allow-origin' in headers
    for _ in range(5):                                          # pipelined, of both kinds
        send(s, 'POST', PUSH, loki())
        send(s, 'GET', '/ready')
    buf = bytearray()
    for _ in range(5):
        assert answer(s, buf=buf)[0] == 204
        assert answer(s, buf=buf)[2] == b'ready\n'
    body = loki(n=50)
    s.sendall(b'POST /loki/api/v1/push HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n')
    for i in range(0, len(body), 100):
        part = body[i:i + 100]
        s.sendall(b'%x\r\n%s\r\n' % (len(part), part))
    s.sendall(b'0\r\n\r\n')
    assert answer(s)[0] == 204
    s.sendall(b'POST /loki/api/v1/push HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nExpect: 100-continue\r\n'
              b'Content-Length: %d\r\n\r\n' % len(body))
    assert answer(s)[0] == 100
    s.sendall(body)
    assert answer(s)[0] == 204
    send(s, 'HEAD', '/health')
    status, headers, _ = answer(s, 'HEAD')
    assert status == 200 and int(headers['content-length']) > 20
    send(s, 'HEAD', '/loki/api/v1/query?query=bytes%20500000')
    assert answer(s, 'HEAD')[0] == 200
    assert w.ask('GET', '/health')[0] == 200
    health = json.loads(w.ask('GET', '/health')[2])
    assert health['status'] == 'healthy' and health['uptime'] >= 0, health
    assert w.ask('POST', '/flush')[0] == 204
    assert w.ask('GET', '/')[1]['content-type'].startswith('text/html')
    assert b'api_key' in w.ask('GET', '/config')[2]
    assert 'version' in json.loads(w.ask('GET', '/loki/api/v1/status/buildinfo')[2])
    assert w.stat('logpulse_push_requests_total') >= 10


def refusals(w):
    assert w.ask('GET', '/nosuch')[0] == 404
    assert w.ask('GET', '/loki/api/v1/label/app')[0] == 404
    status, headers, _ = w.ask('GET', PUSH)
    assert status == 405 and headers['allow'] == 'POST, OPTIONS', headers
    assert w.ask('DELETE', '/loki/api/v1/query_range')[1]['allow'] == 'GET, HEAD, POST, OPTIONS'
    status, headers, _ = w.ask('OPTIONS', '/ingest')
    assert status == 200 and 'PUT' in headers['access-control-allow-methods']
    assert w.ask('GET', '/' + 'a' * 3000)[0] == 414
    assert w.ask('POST', PUSH, b'[]')[0] == 400
    status, headers, body = w.ask('POST', PUSH, loki(), {'Content-Encoding': 'lzw'})
    assert status == 400 and b'"lzw" not supported' in body and headers['x-content-type-options'] == 'nosniff'
    assert w.ask('POST', PUSH, loki(), {'Content-Type': ' '})[0] == 400
    assert w.ask('POST', PUSH, loki('x' * 300000))[0] == 413                    # by Content-Length
    for query, text in (('query=vector(1)&time=%zz', 'invalid URL escape "%zz"'),
                        ('query=vector(1);time=5&time=1', 'invalid semicolon separator in query'),
                        ('', 'parse error : syntax error: unexpected $end'),
                        ('query=x&limit=0', 'limit must be a positive value'),
                        ('query=x&time=abc', 'strconv.ParseInt: parsing "abc": invalid syntax')):
        status, headers, body = w.ask('GET', '/loki/api/v1/query?' + query)
        assert status == 400 and body.decode() == text, (query, body)
    status, _, body = w.ask('GET', '/loki/api/v1/query_range?query=%7Ba%3D%22b%22%7D&limit=5001')
    assert status == 400 and b'(5001 > 5000)' in body, body
    assert w.ask('GET', '/loki/api/v1/query_range?query=rate(x)&limit=5001')[0] == 200
    status, _, body = w.ask('GET', '/loki/api/v1/query_range?query=x&start=1790812800000000000&end=1793498400000000000')
    assert status == 400 and b'(query length: 746h0m0s, limit: 30d1h)' in body, body
    status, _, body = w.ask('GET', '/query')
    assert status == 400 and json.loads(body) == {'error': 'Query parameter is required', 'code': 'VALIDATION_ERROR'}
    status, _, body = w.ask('GET', '/query?query=error%20400%20parse%20error')
    assert status == 400 and json.loads(body) == {'error': 'Query error: parse error', 'code': 'BAD_QUERY'}, body


def parameters(w):
    form = {'Content-Type': 'application/x-www-form-urlencoded; charset=utf-8'}
    q = '/loki/api/v1/query_range'
    p = json.loads(w.ask('POST', q + '?query=busy&limit=7', b'query=params&start=5&end=65&direction=forward', form)[2])
    assert p == {'kind': 1, 'start': 5 * 10**9, 'end': 65 * 10**9, 'step': 10**9, 'limit': 7, 'forward': 1, 'matches': 0}, p
    p = json.loads(w.ask('POST', '/loki/api/v1/series?match[]=%7Ba%3D%22b%22%7D', b'match[]=x&match=y', form)[2])
    assert p['matches'] == 3, p
    p = json.loads(w.ask('GET', '/query?query=params&limit=banana')[2])
    assert p['limit'] == 100 and p['end'] - p['start'] == 3600 * 10**9, p


def streaming(w):
    for n in (1, 1000, 65536, 65537, 5000000):
        for headers in ({}, {'Accept-Encoding': 'gzip'}, {'Accept-Encoding': 'gzip;q=0, deflate'}):
            status, got, body = w.query('bytes %d' % n, headers)
            if got.get('content-encoding') == 'gzip':
                assert n > 1400 and headers.get('Accept-Encoding') == 'gzip'
                body = gzip.decompress(body)
            assert status == 200 and body == pattern(n), (n, headers, status, len(body))
            if n <= 65536:
                assert got['content-length'], got
    status, _, body = w.query('error 504 request timed out')
    assert status == 504 and body == b'request timed out'
    status, headers, _ = w.query('busy')
    assert status == 429 and headers['retry-after'] == '1'
    with w.connect() as s:                                      # an error in the middle is visible as such
        send(s, 'GET', '/loki/api/v1/query?query=cut%20300000')
        try:
            answer(s)
            raise AssertionError('a cut answer looked complete')
        except EOFError:
            pass
    with w.connect() as s:                                      # HTTP/1.0 has no chunks
        s.sendall(b'GET /loki/api/v1/query?query=bytes%20300000 HTTP/1.0\r\n\r\n')
        got = bytearray()
        while True:
            part = s.recv(65536)
            if not part:
                break
            got += part
        assert bytes(got).endswith(pattern(300000)) and b'chunked' not in got[:500]


def cancelled(w):
    return json.loads(w.query('cancelled')[2])['cancelled']


def leaving(w):
    before = cancelled(w)
    queries = w.stat('logpulse_query_requests_total')
    s = w.connect()
    send(s, 'GET', '/loki/api/v1/query?query=wait')
    wait_for('the query to start', lambda: w.stat('logpulse_query_requests_total') > queries)
    s.close()
    wait_for('the waiting query to be cancelled', lambda: cancelled(w) > before)
    s = w.connect()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    send(s, 'GET', '/loki/api/v1/query?query=bytes%2080000000')
    s.recv(1000)
    s.close()
    wait_for('the streaming query to be cancelled', lambda: cancelled(w) > before + 1)


def waiting_pushes():
    """A stopped writer: pushes wait in the ring, then for the ring, then get 503; nothing is answered before its time."""
    with Worker(ingest__lane_bytes='65536', ingest__max_body_bytes='40000', ingest__commit_timeout='60s',
                ingest__max_pending_bytes='200000') as w:
        w.query('hold')
        socks = []
        for _ in range(6):                      # two fit into the ring, the others wait for room
            s = w.connect()
            send(s, 'POST', PUSH, loki('y' * 28000))
            socks.append(s)
        wait_for('pushes to wait for room', lambda: w.stat('logpulse_push_lane_full_total') >= 4)
        for s in socks:
            s.settimeout(0.05)
            try:
                raise AssertionError('answered too early: %r' % s.recv(100))
            except TimeoutError:
                s.settimeout(20 * SLOW)
        for _ in range(3):
            s = w.connect()
            send(s, 'POST', PUSH, loki('y' * 28000))
            socks.append(s)
        wait_for('all of them to wait', lambda: w.stat('logpulse_push_lane_full_total') == 7)
        s = w.connect()
        send(s, 'POST', PUSH, loki('y' * 28000))
        status, headers, body = answer(s)       # over max_pending_bytes
        assert status == 503 and headers['retry-after'] == '1' and b'max_pending_bytes' in body, (status, body)
        socks.pop(3).close()                    # a client that leaves while it waits harms nobody
        w.query('release')
        for s in socks:
            assert answer(s)[0] == 204
        assert w.stat('logpulse_ingested_lines_total') == 9
        s = w.connect()
        send(s, 'POST', '/ingest', json.dumps({'streams': [{'labels': {'a': 'b'}, 'entries': [
            {'ts': time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime()), 'line': 'x'}]}]}).encode())
        got = answer(s)
        assert got[0] == 200 and got[2] == b'{"accepted":1}', got


def refused_states():
    with Worker(ingest__commit_timeout='300ms') as w:
        w.query('hold')
        status, headers, body = w.ask('POST', PUSH, loki())
        assert status == 503 and headers['retry-after'] and b'commit_timeout' in body, (status, body)
        s = w.connect()
        send(s, 'POST', PUSH, loki())
        w.query('flags %d' % (READY | FULL))
        status, headers, body = answer(s)
        assert status in (503, 507), status
        status, headers, body = w.ask('POST', PUSH, loki())
        assert status == 507 and headers['retry-after'] == '10', status
        assert json.loads(w.ask('GET', '/health')[2])['status'] == 'degraded'
        w.query('flags 0')
        assert w.ask('POST', PUSH, loki())[0] == 503
        assert w.ask('GET', '/ready')[0] == 503
        w.query('flags %d' % READY)
        w.query('release')
        assert w.ask('POST', PUSH, loki())[0] == 204
        assert w.stat('logpulse_ingest_timeout_total') >= 1


def time_limits():
    with Worker(server__read_timeout='700ms', server__write_timeout='700ms', server__idle_timeout='1s') as w:
        idle, head, body, reader, slow = (w.connect() for _ in range(5))
        head.sendall(b'GET /ready HTT')
        body.sendall(b'POST /ingest HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{')
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        send(reader, 'GET', '/loki/api/v1/query?query=bytes%20900000000')
        text = loki('z' * 20000)
        slow.sendall(b'POST /loki/api/v1/push HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n'
                     % len(text))
        pos, drip = 0, len(text) // 8 + 1       # progress every 300 ms, 2.4 s in all: longer than any limit
        while pos < len(text):
            slow.sendall(text[pos:pos + drip])
            pos += drip
            time.sleep(0.3)                     # not a wait for an event: the slowness is what is tested
            try:
                head.sendall(b'P')              # a head that trickles in is no progress
            except OSError:
                pass
        assert answer(slow)[0] == 204
        for name, s in (('idle', idle), ('head', head), ('body', body)):
            assert closed(s), name
        wait_for('the stalled reader to be cut', lambda: w.stat('logpulse_http_connections_cut_total') >= 3)
        wait_for('its query to be cancelled', lambda: cancelled(w) == 1)


def many_connections():
    with Worker(server__max_connections='600') as w:
        socks = [w.connect() for _ in range(590)]
        wait_for('590 connections', lambda: w.stat('logpulse_http_connections') >= 590)
        late = [w.connect() for _ in range(30)]                 # wait in the listen queue
        for s in late:
            send(s, 'GET', '/ready')
        for s in socks[:100]:
            s.close()
        for s in late:
            assert answer(s)[0] == 200
        for s in socks[100:]:
            send(s, 'GET', '/ready')
            assert answer(s)[0] == 200
            s.close()


def keys():
    with Worker(auth__enabled='true', auth__api_key='s3cret', server__cors__enabled='false') as w:
        assert w.ask('GET', '/metrics')[0] == 401
        assert w.ask('POST', PUSH, loki())[2] == b'Unauthorized'
        assert w.ask('GET', '/nosuch')[0] == 401
        for headers in ({'X-API-Key': 's3cret'}, {'Authorization': 's3cret'}, {'Authorization': 'Bearer s3cret'}):
            status, got, _ = w.ask('GET', '/metrics', headers=headers)
            assert status == 200 and 'access-control-allow-origin' not in got
        for headers in ({'X-API-Key': 's3cre'}, {'Authorization': 'Bearer'}, {'Authorization': 'Basic s3cret'}):
            assert w.ask('GET', '/metrics', headers=headers)[0] == 401
        assert w.ask('GET', '/health')[0] == 200
        assert b's3cret' not in w.ask('GET', '/config', headers={'X-API-Key': 's3cret'})[2]


def drain():
    """SIGTERM: idle connections close, a push and a query in flight finish, the exit code is 0."""
    with Worker() as w:
        idle, push, query, kept = (w.connect() for _ in range(4))
        send(kept, 'GET', '/ready')
        assert answer(kept)[0] == 200
        w.query('hold')
        send(push, 'POST', PUSH, loki())
        wait_for('the push', lambda: w.stat('logpulse_push_requests_total') == 1)
        query.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 262144)
        send(query, 'GET', '/loki/api/v1/query?query=bytes%2012000000')
        query.recv(1)
        control = w.connect()
        control.sendall(b'GET /loki/api/v1/query?query=release HTTP/1.1\r\nHost: x')        # its head is not finished
        wait_for('the half head', lambda: w.stat('logpulse_http_connections') >= 5)
        w.proc.send_signal(signal.SIGTERM)
        assert closed(idle) and closed(kept)
        control.sendall(b'\r\n\r\n')
        status, headers, _ = answer(control)
        assert status == 200 and headers['connection'] == 'close'
        assert answer(push)[0] == 204
        got = 1
        while True:
            part = query.recv(1 << 20)
            if not part:
                break
            got += len(part)
        assert got > 12000000, got
        assert w.proc.wait(30 * SLOW) == 0
    with Worker() as w:                         # a second SIGTERM does not wait
        w.query('hold')
        s = w.connect()
        send(s, 'POST', PUSH, loki())
        wait_for('the push', lambda: w.stat('logpulse_push_requests_total') == 1)
        w.proc.send_signal(signal.SIGTERM)
        wait_for('the first one to work', lambda: w.proc.poll() is None and refused(w))
        w.proc.send_signal(signal.SIGTERM)
        assert w.proc.wait(30 * SLOW) == 0


def spoiled_ring():
    """A tail beyond what was published acknowledges nothing: the worker exits with LP_EXIT_REGION."""
    with Worker() as w:
        w.query('hold')
        s = w.connect()
        send(s, 'POST', PUSH, loki())
        wait_for('the push', lambda: w.stat('logpulse_push_requests_total') == 1)
        w.query('spoil')
        try:
            with w.connect() as t:
                send(t, 'POST', PUSH, loki())
                assert not t.recv(1), 'a push was answered'
        except ConnectionError:
            pass
        assert w.proc.wait(30 * SLOW) == 70
        try:
            assert not s.recv(1), 'the waiting push was answered'
        except ConnectionError:
            pass


def refused(w):
    try:
        w.connect().close()
        return False
    except ConnectionError:
        return True


if not os.path.exists(BIN):
    skip('worker_harness is not built')
with Worker(ingest__max_body_bytes='262144') as worker:
    for test in (plain_http, refusals, parameters, streaming, leaving):
        test(worker)
        print('ok', test.__name__, flush=True)
for test in (waiting_pushes, refused_states, time_limits, many_connections, keys, drain, spoiled_ring):
    test()
    print('ok', test.__name__, flush=True)
done()
