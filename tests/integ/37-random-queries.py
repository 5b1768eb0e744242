#!/usr/bin/env python3
"""Random LogQL: no text ends a process, takes long or takes much memory, and three ways to ask give one answer.

1,000 texts of the whole grammar (tests/lib/logqlgen.py) and as many with bytes changed go to a server whose lines of
all kinds are half sealed and half in the log.  Every answer is 2xx or 4xx within a bound.  A text, what format_query
makes of it, and the text again after everything is sealed give the same result, and a log query has as many lines as
count_over_time counts.  LP_SEED chooses others; a failing query is printed."""
import http.client, math, os, queue, random, sys, threading, time
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../lib'))
from lptest import *
from logqlgen import Gen

SEED = int(os.environ.get('LP_SEED', '1'))
COUNT = 5000 if LONG else 1000 if SLOW == 1 else 600       # sanitizers: the plain build asks the rest
BOUND_S = 10 * SLOW
MEMORY = (600 if SLOW == 1 else 2400) * 2**20               # of one worker, at its highest
now = int(time.time()) // 60 * 60 * 10**9 - 600 * 10**9
STEP = 10**9 + 7_000_001                                    # no two entries share a timestamp: the order is one


def entries(rnd, first, count):
    """[(labels, ns, line, metadata)]"""
    out = []
    for i in range(first, first + count):
        app = ('json', 'logfmt', 'access', 'meta')[i % 4]
        level = rnd.choice(['info', 'warn', 'error'])
        meta = {}
        if app == 'json':
            line = json.dumps({'level': level, 'status': rnd.choice([200, 404, 500, '5x']), 'took': '%dms' % rnd.randrange(2000), 'n': i, 'ratio': rnd.random(),
                               'user': {'name': 'ü%d' % (i % 3)}, 'list': [i, {'x': 'y'}], 'ok': i % 2 == 0, 'app': 'inner', 'none': None}, ensure_ascii=bool(i % 3))
            if i % 40 == 0:
                line = rnd.choice(['{"level":"error"', '[]', '', '{"a":1}tail', line[:len(line) // 2]])
        elif app == 'logfmt':
            line = 'level=%s msg="request  done" status=%d took=%dms size=%dKB n=%d path=/p%d ok=%s empty= bare' % (
                level, rnd.choice([200, 500]), rnd.randrange(900), rnd.randrange(99), i, i % 4, i % 2 == 0)
            if i % 41 == 0:
                line = 'level="unclosed n=1 \x1b[31mred\x1b[0m'
        elif app == 'access':
            line = '10.0.0.%d - - [22/Nov/2026:10:00:%02d +0000] "%s /p%d HTTP/1.1" %d %d' % (i % 12, i % 60, rnd.choice(['GET', 'POST']), i % 4, rnd.choice([200, 500]), i)
        else:
            line = rnd.choice(['n=%d error in line\nand a second' % i, 'plain 日本 %d' % i, '{"_entry":"inner %d","pod":"packed"}' % i, 'x' * 3000])
            meta = {'trace': 't%d' % (i % 5), 'level': level}
        out.append(({'app': app, 'env': rnd.choice(['prod', 'dev']), 'pod': 'p-%d' % (i % 3)}, now + i * STEP, line, meta))
    return out


def push(server, rows):
    r = server.post('/loki/api/v1/push', {'streams': [{'stream': l, 'values': [[str(t), line] + ([meta] if meta else [])]} for l, t, line, meta in rows]})
    assert r.status == 204, r


class Client:
    """One kept connection; a broken one fails the test, because no query may close it."""

    def __init__(self, server):
        self.c = http.client.HTTPConnection('127.0.0.1', server.port, timeout=BOUND_S)

    def ask(self, path, text, params):
        body = urllib.parse.urlencode([('query', text)] + list(params.items()))
        try:
            self.c.request('POST', '/loki/api/v1/' + path, body, {'Content-Type': 'application/x-www-form-urlencoded'})
            r = self.c.getresponse()
            data = r.read()
        except (OSError, http.client.HTTPException) as e:
            raise AssertionError('%r for %s %r %s' % (e, path, text, params))
        assert 200 <= r.status < 300 or 400 <= r.status < 500, '%d %.300r for %s %r %s' % (r.status, data, path, text, params)
        return r.status, data


def canonical(status, data):
    """What two answers to one question have in common: no statistics, series in one order."""
    if status != 200:
        return status, data
    d = json.loads(data)['data']
    result = d['result']
    if d['resultType'] != 'scalar':
        result = sorted(([sorted((s.get('stream') or s.get('metric') or {}).items()), s.get('values') or s.get('value')] for s in result), key=lambda x: json.dumps(x))
    return status, d['resultType'], result


def same(a, b):
    """Equal, and numbers nearly so: sums of floats depend on the order of their parts."""
    if isinstance(a, (list, tuple)):
        return isinstance(b, (list, tuple)) and len(a) == len(b) and all(same(x, y) for x, y in zip(a, b))
    if a == b:
        return True
    try:
        x, y = float(a), float(b)
    except (TypeError, ValueError):
        return False
    return math.isclose(x, y, rel_tol=1e-9, abs_tol=1e-9) or math.isnan(x) and math.isnan(y)


def differ(what, one, other, text, params):
    assert same(one, other), '%s\nquery  %s\nparams %s\none    %.1500r\nother  %.1500r' % (what, text, params, one, other)


class Question:
    def __init__(self, n):
        g = Gen('%d %d' % (SEED, n))
        self.text, self.metric = g.query()
        self.mutated = g.mutate(self.text)
        if self.metric and g.chance(0.5):
            self.path, self.params = 'query', {'time': str(now + g.r.choice([60, 300, 601]) * 10**9), 'limit': '100'}
        else:
            self.path = 'query_range'
            self.params = {'start': str(now - g.r.choice([0, 60, 7]) * 10**9), 'end': str(now + g.r.choice([120, 400, 700]) * 10**9 + g.r.randrange(2)),
                           'direction': g.pick('forward', 'backward'), 'limit': str(g.pick(1, 3, 10, 100, 1000))}
            if self.metric:
                self.params['step'] = g.pick('15', '60', '7s', '1m', '0.5')
            elif g.chance(0.1):
                self.params['interval'] = g.pick('1s', '10')
        # Of equal values topk may keep any, so only one plan's answer is certain.
        self.certain = not any(w in self.text.lower() for w in ('topk', 'bottomk'))

    def live(self, client):
        status, data = client.ask(self.path, self.text, self.params)
        self.answer = canonical(status, data)
        self.ok = status == 200
        client.ask(self.path, self.mutated, self.params)
        status, data = client.ask('format_query', self.text, {})
        if status == 200:
            formatted = json.loads(data)['data']
            again = json.loads(client.ask('format_query', formatted, {})[1])
            assert again.get('data') == formatted, 'format_query changes its own text:\n%s\nto\n%s' % (formatted, again)
            if self.certain and self.ok:
                differ('format_query gives ' + formatted, self.answer, canonical(*client.ask(self.path, formatted, self.params)), self.text, self.params)
        else:
            assert not self.ok, 'answered, but format_query says %r: %s' % (data, self.text)

        if not self.metric and self.ok:
            self.count(client)

    def count(self, client):
        """Lines of [end - 900 s, end) are those that a window of 900 s at end - 1 ns counts: it is open on the left."""
        end = now + 700 * 10**9
        lines = client.ask('query_range', self.text, {'start': str(end - 900 * 10**9), 'end': str(end), 'limit': '5000'})[1]
        # Where nobody asks for a label Loki leaves unpack out, and with it the line that a later filter would see.
        total = 'sum by (nothing)' if 'unpack' in self.text.lower() else 'sum'
        status, data = client.ask('query', '%s (count_over_time(%s [900s]))' % (total, self.text), {'time': str(end - 1)})
        if status == 200:       # else a pipeline error, which only metric queries refuse
            got = json.loads(data)['data']['result']
            n = sum(len(x['values']) for x in json.loads(lines)['data']['result'])
            assert n == (int(got[0]['value'][1]) if got else 0), '%d lines are counted as %s: %s' % (n, got, self.text)

    def sealed(self, client):
        answer = canonical(*client.ask(self.path, self.text, self.params))
        if self.certain and (self.ok or answer[0] == 200):
            differ('live and sealed differ', self.answer, answer, self.text, self.params)


def in_parallel(server, questions, method):
    todo, failures = queue.SimpleQueue(), []
    for q in questions:
        todo.put(q)

    def work():
        client = Client(server)
        while not todo.empty() and len(failures) < 5:
            try:
                q = todo.get_nowait()
            except queue.Empty:
                break
            try:
                getattr(q, method)(client)
            except Exception as e:
                failures.append('%s: %s\nquery %r\nmutated %r' % (type(e).__name__, e, q.text, q.mutated))
                client = Client(server)
    threads = [threading.Thread(target=work) for _ in range(3)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not failures, '\n\n'.join(failures[:5])


def highest_memory(server):
    return max(int(l.split()[1]) * 1024 for pid in server.children('worker') for l in open('/proc/%d/status' % pid) if l.startswith('VmHWM'))


with Server() as s:
    s.start()
    rnd = random.Random(SEED)
    push(s, entries(rnd, 0, 300))
    assert s.request('POST', '/flush').status == 204
    push(s, entries(rnd, 300, 200))
    before = s.children()
    questions = [Question(n) for n in range(COUNT)]
    in_parallel(s, questions, 'live')
    assert s.children() == before, 'a process was replaced'
    assert s.request('POST', '/flush').status == 204
    in_parallel(s, questions, 'sealed')
    assert s.children() == before, 'a process was replaced'
    ok = [q for q in questions if q.ok]
    full = [q for q in ok if q.answer[2]]
    print('%d queries, %d answered, %d of them with a result, %d MB at the highest' % (COUNT, len(ok), len(full), highest_memory(s) >> 20))
    assert len(ok) > COUNT // 2 and len(full) > COUNT // 5, 'the generator has lost touch with the language'
    assert highest_memory(s) < MEMORY
    assert s.stop() == 0
    s.verify()
done()
