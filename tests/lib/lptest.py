"""Real servers for tests: start, feed, ask, kill.  Python standard library only.

A test is a plain script: it uses Server as a context manager, asserts, prints what it saw, and ends with
done().  Nothing sleeps for a guessed time; wait_for() polls for an event up to a generous deadline."""
import glob, http.client, json, os, random, shutil, signal, socket, subprocess, sys, tempfile, threading, time, urllib.parse

BUILD = os.environ.get('LP_BUILDDIR') or os.getcwd()
SRC = os.environ.get('LP_SRCDIR') or os.path.abspath(os.path.join(os.path.dirname(__file__), '../..'))
LONG = bool(os.environ.get('LP_LONG'))
SLOW = float(os.environ.get('LP_SLOW', '1'))    # deadlines are multiplied by it (sanitizers, valgrind)


class Skip(Exception):
    pass


def peer(name):
    """Path of a program of Prometheus or Alertmanager: where contrib/scripts/fetch-peers has put it (LP_PEERS), else on PATH; None."""
    fetched = os.path.abspath(os.environ.get('LP_PEERS') or os.path.join(BUILD, 'peers')) + '/usr/bin/' + name
    found = fetched if os.access(fetched, os.X_OK) else shutil.which(name)
    if not found:
        print(name + ' is not there (contrib/scripts/fetch-peers, LP_PEERS): its part is left out')
    return found


def skip(why):
    print('SKIP:', why)
    sys.exit(77)


def wait_for(what, cond, timeout=30):
    """Poll until cond() is true; its value is returned.  The deadline only bounds a hang."""
    end = time.monotonic() + timeout * SLOW
    while True:
        v = cond()
        if v:
            return v
        if time.monotonic() > end:
            raise AssertionError('timed out waiting for ' + what)
        time.sleep(0.01)


_ports = set()


def free_port():
    while True:
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            s.bind(('127.0.0.1', 0))
            p = s.getsockname()[1]
        if p not in _ports:
            _ports.add(p)
            return p


class Reply:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return '<%d %r>' % (self.status, self.body[:300])


# Labels as they were pushed, which is what most tests compare; 38-discover.py and 36-grafana.py have the
# server's own defaults: an option None is left to the server.
AS_PUSHED = {'limits.discover_log_levels': 'false', 'limits.discover_service_name': ''}


class Server:
    """One LogPulse with its data directory.  Options are --set section.key=value, on top of AS_PUSHED."""

    def __init__(self, options=None, env=None, data=None, workers=2, port=None):
        self.tmp = tempfile.mkdtemp(prefix='lptest-') if data is None else None
        self.data = data or os.path.join(self.tmp, 'data')
        self.options, self.env, self.workers = {k: v for k, v in dict(AS_PUSHED, **(options or {})).items() if v is not None}, dict(env or {}), workers
        self.port = port or free_port()
        self.proc = None
        self.log_path = (self.tmp or tempfile.mkdtemp(prefix='lplog-')) + '/log'

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if self.proc and self.proc.poll() is None:
            self.kill_all()
        log = open(self.log_path, errors='replace').read() if os.path.exists(self.log_path) else ''
        bad = [l for l in log.splitlines() if 'ERROR: AddressSanitizer' in l or 'runtime error:' in l or 'ThreadSanitizer' in l
               or 'LeakSanitizer' in l or 'panic:' in l]
        if kind is not None or bad:
            print('---- server log (end)\n' + log[-6000:])
        if self.tmp and kind is None:
            shutil.rmtree(self.tmp, ignore_errors=True)
        if kind is None and bad:
            raise AssertionError('server log: ' + '\n'.join(bad[:5]))

    # ---- life
    def argv(self):
        a = [BUILD + '/logpulse', '--host', '127.0.0.1', '--port', str(self.port), '--storage-path', self.data, '--workers',
             str(self.workers), '--log-format', 'logfmt']
        for k, v in self.options.items():
            a += ['--set', '%s=%s' % (k, v)]
        return a

    def start(self, wait=True, env=None):
        e = dict(os.environ)
        for k in ('LOGPULSE_FAULT', 'LOGPULSE_FAULT_ONCE'):
            e.pop(k, None)
        e.update(self.env)
        e.update(env or {})
        self.proc = subprocess.Popen(self.argv(), stdout=open(self.log_path, 'ab'), stderr=subprocess.STDOUT, env=e, start_new_session=True)
        if wait:
            self.wait_ready()
        return self

    def wait_ready(self, timeout=60):
        def ready():
            if self.proc.poll() is not None:
                raise AssertionError('server exited with %s' % self.proc.returncode)
            try:
                return self.get('/ready').status == 200
            except OSError:
                return False
        wait_for('the server to be ready', ready, timeout)

    def stop(self, timeout=60):
        """SIGTERM and the exit code."""
        self.proc.send_signal(signal.SIGTERM)
        return self.proc.wait(timeout * SLOW)

    def kill_all(self):
        """kill -9 of the whole family, and wait until the last is gone."""
        pids = [self.proc.pid] + self.children()
        for p in pids:
            try:
                os.kill(p, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.proc.wait()
        wait_for('all processes to be gone', lambda: not any(alive(p) for p in pids))

    def children(self, role=None):
        """Pids of the children; role 'writer', 'worker' matches the name that ps shows."""
        out = []
        try:
            pids = open('/proc/%d/task/%d/children' % (self.proc.pid, self.proc.pid)).read().split()
        except OSError:
            return out
        for p in pids:
            try:
                name = open('/proc/%s/cmdline' % p, 'rb').read().replace(b'\0', b' ').decode()
            except OSError:
                continue
            if role is None or role in name:
                out.append(int(p))
        return out

    # ---- talk
    def request(self, method, path, body=None, headers=None, timeout=60):
        c = http.client.HTTPConnection('127.0.0.1', self.port, timeout=timeout * SLOW)
        try:
            try:
                c.request(method, path, body, headers or {})
            except (BrokenPipeError, ConnectionResetError):
                if c.sock is None:
                    raise       # by a listener that was just closed
                # refused before the whole body was sent: the answer is there to read
            r = c.getresponse()
            return Reply(r.status, {k.lower(): v for k, v in r.getheaders()}, r.read())
        except http.client.HTTPException as e:
            raise OSError(repr(e))
        finally:
            c.close()

    def get(self, path, params=None, headers=None, timeout=60):
        return self.request('GET', path + ('?' + urllib.parse.urlencode(params, doseq=True) if params else ''), None, headers, timeout)

    def post(self, path, body, ctype='application/json', headers=None, timeout=60):
        if not isinstance(body, (bytes, str)):
            body = json.dumps(body)
        return self.request('POST', path, body, dict({'Content-Type': ctype}, **(headers or {})), timeout)

    def push(self, streams, **kw):
        """streams: [(labels, [(ts_ns, line), ...]), ...]"""
        return self.post('/loki/api/v1/push', loki_body(streams), **kw)

    def query_range(self, query, start, end, limit=5000, direction='forward', **kw):
        r = self.get('/loki/api/v1/query_range', dict(query=query, start=start, end=end, limit=limit, direction=direction, **kw))
        assert r.status == 200, r
        return r.json()['data']['result']

    def stats(self, query, start, end):
        r = self.get('/loki/api/v1/index/stats', dict(query=query, start=start, end=end))
        assert r.status == 200, r
        return r.json()

    def entries(self, query, start, end, page=5000):
        """Every entry (ts, line, labels) of the range, by paging forward; entries at the page's edge are compared, not guessed."""
        out, seen_at_edge = [], set()
        while True:
            rows = []
            for s in self.query_range(query, start, end, page):
                rows += [(int(v[0]), v[1], tuple(sorted(s['stream'].items()))) for v in s['values']]
            rows.sort(key=lambda r: r[0])
            fresh = [r for r in rows if r not in seen_at_edge]
            out += fresh
            if len(rows) < page:
                return out
            assert fresh, 'more than %d entries at one timestamp' % page
            start = rows[-1][0]
            seen_at_edge = {r for r in rows if r[0] == start}

    def metric(self, name):
        total = None
        for l in self.get('/metrics').body.decode().splitlines():
            if l.startswith(name) and l[len(name)] in ' {':
                total = (total or 0) + float(l.rsplit(' ', 1)[1])
        return total

    def verify(self):
        """logpulsectl verify on the (stopped) data directory must find nothing."""
        r = subprocess.run([BUILD + '/logpulsectl', 'verify', self.data], capture_output=True, text=True)
        assert r.returncode == 0, r.stdout[-3000:] + r.stderr[-1000:]


def alive(pid):
    try:
        return open('/proc/%d/stat' % pid).read().rsplit(')', 1)[1].split()[0] != 'Z'
    except OSError:
        return False


def loki_body(streams):
    return json.dumps({'streams': [{'stream': l, 'values': [[str(t), x] for t, x in v]} for l, v in streams]})


def varint(n):
    out = b''
    while n >= 128:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def field(tag, data):
    return bytes([tag << 3 | 2]) + varint(len(data)) + data


def proto(labels, entries):
    s = field(1, labels.encode())
    for ts, line, meta in entries:
        t = b'\x08' + varint(ts // 10**9) + b'\x10' + varint(ts % 10**9)
        e = field(1, t) + field(2, line.encode())
        for k, v in meta.items():
            e += field(3, field(1, k.encode()) + field(2, v.encode()))
        s += field(2, e)
    return field(1, s)


def snappy_stored(data):
    """A valid snappy block without compression: literals only."""
    out = varint(len(data))
    for i in range(0, len(data), 60):
        piece = data[i:i + 60]
        out += bytes([(len(piece) - 1) << 2]) + piece
    return out


class Load(threading.Thread):
    """One connection that pushes numbered lines until told to stop, retries what was not acknowledged, and
    remembers what was.  Line n of load k has timestamp base + n us and text 'k n <padding>'."""

    def __init__(self, server, k, base_ns, lines=10, pad=80, proto='loki', pace=0):
        super().__init__(daemon=True)
        self.server, self.k, self.base, self.lines, self.pad, self.proto, self.pace = server, k, base_ns, lines, pad, proto, pace
        self.acked = 0          # lines [0, acked) are acknowledged
        self.sent = 0           # lines [0, sent) were sent at least once
        self.errors = {}
        self.stopping = threading.Event()
        self.rnd = random.Random(k)

    def ts(self, n):
        return self.base + n * 1000

    def line(self, n):
        return '%d %d %s' % (self.k, n, ('x%07d' % (n * 7919 % 9999991)) * (self.pad // 8))

    def labels(self):
        return {'load': str(self.k), 'job': 'crash'}

    def run(self):
        c = None
        while not self.stopping.is_set():
            first = self.acked
            batch = [(self.ts(n), self.line(n)) for n in range(first, first + self.lines)]
            if self.proto == 'loki':
                path, body = '/loki/api/v1/push', loki_body([(self.labels(), batch)])
            else:
                path, body = '/ingest', json.dumps({'streams': [{'labels': self.labels(), 'entries': [
                    {'ts': rfc3339(t), 'line': x} for t, x in batch]}]})
            self.sent = max(self.sent, first + self.lines)
            while not self.stopping.is_set():
                try:
                    if c is None:
                        c = http.client.HTTPConnection('127.0.0.1', self.server.port, timeout=30 * SLOW)
                    c.request('POST', path, body, {'Content-Type': 'application/json'})
                    r = c.getresponse()
                    r.read()
                    code = r.status
                except (OSError, http.client.HTTPException) as e:
                    code = type(e).__name__
                    c = None
                if code in (200, 204):
                    self.acked = first + self.lines
                    self.stopping.wait(self.pace)
                    break
                self.errors[code] = self.errors.get(code, 0) + 1
                self.stopping.wait(0.02)

    def stop(self):
        self.stopping.set()


def rfc3339(ns):
    return time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(ns // 10**9)) + '.%09dZ' % (ns % 10**9)


def check_loads(server, loads, slack_ns=10**9):
    """Every acknowledged line is there exactly once, nothing is there that was not sent, no line is mangled."""
    for l in loads:
        rows = server.entries('{load="%d"}' % l.k, l.base, l.ts(l.sent) + slack_ns)
        got = {}
        for ts, line, labels in rows:
            n = (ts - l.base) // 1000
            assert 0 <= n < l.sent and line == l.line(n), 'load %d: strange line %r at %d' % (l.k, line[:60], ts)
            got[n] = got.get(n, 0) + 1
        missing = [n for n in range(l.acked) if n not in got]
        doubled = [n for n, c in got.items() if c > 1]
        assert not missing, 'load %d: %d acknowledged lines lost of %d, first %s' % (l.k, len(missing), l.acked, missing[:5])
        assert not doubled, 'load %d: %d lines doubled, first %s' % (l.k, len(doubled), doubled[:5])
        # A push is whole or absent: what is beyond the acknowledged lines comes in whole batches.
        extra = sorted(n for n in got if n >= l.acked)
        assert len(extra) % l.lines == 0, 'load %d: part of a push is stored: %s' % (l.k, extra[:20])
    return sum(l.acked for l in loads)


def done(text='ok'):
    print(text)
    sys.exit(0)
