#!/usr/bin/env python3
"""The requests of Grafana's Loki data source, of logcli and of agents, with their exact parameters and headers
(tests/fixtures/grafana-requests.json), and the members and types that these clients need in the answers.

A shape is written like the answer.  A list holds the form of its elements, of which there is at least one, or, with
several, the form of a tuple.  "key?" may be absent, "*" stands for further members, "=x" for exactly x.  A request
marked "pending" asks for what is not built yet: it is tried, and named when its mark can go."""
import gzip, os, re, sys, time
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../lib'))
from lptest import *

end_ns = int(time.time()) * 10**9 - 60 * 10**9 + 123456789
start_ns = end_ns - 300 * 10**9
TYPES = {
    'string': lambda v: isinstance(v, str),
    'int': lambda v: type(v) is int and v >= 0,
    'bool': lambda v: type(v) is bool,
    'any': lambda v: True,
    'empty': lambda v: v == [],
    'list': lambda v: isinstance(v, list),
    'ns': lambda v: isinstance(v, str) and re.fullmatch('[0-9]{19}', v),
    'seconds': lambda v: type(v) in (int, float) and v == round(v, 3) and 10**9 < v < 10**10,
    'value': lambda v: isinstance(v, str) and (v in ('NaN', '+Inf', '-Inf') or float(v) is not None),
    'labels': lambda v: isinstance(v, dict) and all(isinstance(x, str) for x in v.values()),
    'fieldtype': lambda v: v in ('int', 'float', 'boolean', 'duration', 'bytes', 'string'),
    'parsers': lambda v: v is None or v and set(v) <= {'json', 'logfmt'},
    # Grafana's inspector walks through these when they are there; the summary's members must be numbers.
    'stats': lambda v: isinstance(v, dict) and all(type(v['summary'][k]) in (int, float) for k in (
        'bytesProcessedPerSecond', 'linesProcessedPerSecond', 'totalBytesProcessed', 'totalLinesProcessed', 'execTime', 'queueTime')),
}


def fits(shape, v, at='$'):
    """Assert that v has the shape."""
    if isinstance(shape, str):
        if shape[0] == '=':
            same = (json.dumps(v) if type(v) in (int, bool) else v) == shape[1:]
        else:
            same = TYPES[shape](v)
        assert same, '%s is %.200r, not %s' % (at, v, shape)
    elif isinstance(shape, list):
        assert isinstance(v, list), '%s is %.200r, not a list' % (at, v)
        assert v and (len(shape) == 1 or len(v) == len(shape)), '%s has %d elements' % (at, len(v))
        for i, x in enumerate(v):
            fits(shape[i if len(shape) > 1 else 0], x, '%s[%d]' % (at, i))
    else:
        assert isinstance(v, dict), '%s is %.200r, not an object' % (at, v)
        known = {k.rstrip('?'): k for k in shape}
        for k, original in known.items():
            if k in v:
                fits(shape[original], v[k], at + '.' + k)
            assert k in v or original.endswith('?') or k == '*', '%s lacks %s: %.300r' % (at, k, v)
        assert '*' in shape or set(v) <= set(known), '%s has strange members %s' % (at, sorted(set(v) - set(known)))


def times(text):
    """'$start_ns+5' -> the number, everywhere in a text."""
    return re.sub(r'\$(start|end)_ns([+-][0-9]+)?', lambda m: str((start_ns if m[1] == 'start' else end_ns) + int(m[2] or 0)), text)


def encode(e):
    body = json.loads(times(json.dumps(e['body'])))
    if e['encode'] == 'gzip':
        return gzip.compress(json.dumps(body, ensure_ascii=False).encode())
    assert e['encode'] == 'snappy-proto'
    return snappy_stored(b''.join(proto(labels, [(int(t), line, meta) for t, line, meta in rows]) for labels, rows in body))


def check(server, e):
    params = [(k, times(v)) for k, v in e.get('params', [])]
    path = e['path'] + ('?' + urllib.parse.urlencode(params) if params else '')
    r = server.request(e['method'], path, encode(e) if 'body' in e else None, e['headers'])
    body = gzip.decompress(r.body) if r.headers.get('content-encoding') == 'gzip' else r.body
    assert r.status == e['status'], '%d instead of %d: %.300r' % (r.status, e['status'], body)
    if 'text' in e:
        assert body.decode() == e['text'], body[:300]
    if 'contains' in e:         # Grafana shows an error's whole text, unless it is JSON with a "message"
        assert e['contains'] in body.decode() and r.headers['content-type'].startswith('text/plain'), (r.headers, body[:300])
    if 'shape' not in e:
        return
    assert r.headers['content-type'].lower().startswith('application/json'), r.headers
    answer = json.loads(body)
    fits(e['shape'], answer)
    data = answer.get('data')
    result = data.get('result') if isinstance(data, dict) else data
    if 'result' in e:
        assert result == e['result'], result
    if 'data' in e:
        assert data == e['data'], data
    if 'count' in e:
        assert len(result) == e['count'], result
    if 'lines' in e:
        assert sum(len(s['values']) for s in result) == e['lines'], result
    if 'total' in e:
        total = sum(float(v) for s in result for _, v in s.get('values') or [s['value']])
        assert total == e['total'], (total, result)


def feed(server):
    api = {'info': [], 'error': []}
    web, access = [], []
    for i in range(60):
        t = str(start_ns + (1 + 4 * i) * 10**9)
        bad = i % 5 == 0
        api['error' if bad else 'info'].append([t, 'msg="request done" path=/%s status=%d took=%dms size=%d ok=%s' % (
            'abc'[i % 3], 500 + i % 2 if bad else 200, 10 + i, i * 100, str(not bad).lower()), {'trace_id': '%032x' % i}])
        web.append([t, json.dumps({'level': ('info', 'warn', 'error')[i % 3], 'user': {'id': i, 'name': 'n%d' % (i % 7)}, 'ratio': i / 4, 'took': '%dms' % i})])
        access.append([t, '10.0.0.%d - - [22/Nov/2026:10:00:00 +0000] "GET /p%d HTTP/1.1" 200 %d' % (i, i % 4, i * 10)])
    streams = [{'stream': {'app': 'api', 'host': 'h1', 'level': l}, 'values': v} for l, v in api.items()]
    streams += [{'stream': {'app': 'web'}, 'values': web}, {'stream': {'app': 'access'}, 'values': access}]
    r = server.post('/loki/api/v1/push', {'streams': streams})
    assert r.status == 204, r


def logcli_pages(server, forward, batch):
    """logcli's paging: the next page starts at the last timestamp of this one; what was printed with it is dropped."""
    lo, hi, out, last = start_ns, end_ns, [], []
    while True:
        r = server.get('/loki/api/v1/query_range', dict(query='{app="paged"}', start=lo, end=hi, limit=batch,
                       direction='FORWARD' if forward else 'BACKWARD'), {'User-Agent': 'loki-logcli/3.4.2'})
        assert r.status == 200, r
        rows = sorted(((int(v[0]), v[1], s['stream']['n']) for s in r.json()['data']['result'] for v in s['values']),
                      key=lambda x: x[0], reverse=not forward)
        fresh = [x for x in rows if x not in last]
        out += fresh
        if len(rows) < batch or not fresh:
            return out
        edge = rows[-1][0]
        last = [x for x in rows if x[0] == edge]
        lo, hi = (edge, hi) if forward else (lo, edge + 1)


requests = json.load(open(os.path.join(SRC, 'tests/fixtures/grafana-requests.json')))
with Server(dict.fromkeys(AS_PUSHED)) as s:         # the server's defaults
    s.start()
    feed(s)
    # Groups of one to four lines share a timestamp, so that pages end in the middle of them.
    paged = sorted((start_ns + (i - i % (1 + i // 100)) * 1000, 'page line %d' % i, str(i % 3)) for i in range(400))
    for n in '012':
        r = s.push([({'app': 'paged', 'n': n}, [(t, line) for t, line, x in paged if x == n])])
        assert r.status == 204, r
    passed, pending, failed = 0, [], []
    for state in ('live', 'sealed'):
        for e in requests:
            try:
                check(s, e)
                passed += 1
                if e.get('pending'):
                    print('%s: built by now, remove its "pending"' % e['name'])
            except (AssertionError, KeyError, ValueError) as error:
                (pending if e.get('pending') else failed).append(e['name'])
                if not e.get('pending'):
                    print('%s, %s: %s: %.900s' % (state, e['name'], type(error).__name__, error))
        for forward in (True, False):
            for batch in (7, 30, 100, 1000):
                assert sorted(logcli_pages(s, forward, batch)) == paged, (state, forward, batch)
        assert s.request('POST', '/flush').status == 204
    if pending:
        print('not built yet: ' + ', '.join(sorted(set(pending))))
    assert not failed, '%d of %d requests fail' % (len(failed), 2 * len(requests))
    assert s.stop() == 0
    s.verify()
done('%d requests' % passed)
