#!/usr/bin/env python3
"""The project's own cases of the query language (tests/conformance/language.txt says how to read them), on a small data set, asked of the
live log, of sealed segments, and as format_query prints them."""
import json, os, re, sys, time
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../lib'))
from lptest import *

# A quarter of an hour ago, on a whole minute.
ZERO = int(time.time()) // 60 * 60 - 900
NS = 10**9


def at(seconds, line):
    return (ZERO + seconds) * NS, line


def stream(app, *rows, **labels):
    return dict({'app': app, 'env': 'prod'}, **labels), list(rows)


DATA = [
    stream('plain', at(1, 'alpha one'), at(2, 'beta two'), at(3, 'gamma 10.1.2.3 three')),
    stream('json', at(1, '{"a":{"b":1,"c":"x y"},"n":1.50,"ok":true,"l":[1,"q"],"z":null,"app":"inner","1st":"d","n":2}')),
    stream('bad', at(1, '[1,2]'), at(2, 'a="b'), at(3, '{"k":"v"} tail')),
    stream('fmt', at(1, r'level=error msg="no \"way\"" took=1.5s size=2KB user-id=7 empty= bare bad"=x'), at(2, 'level=info msg=fine took=20ms size=10B')),
    stream('web', at(1, '10.0.0.1 - - "GET /a" 200 100'), at(2, '10.0.0.2 - - "POST /b" 500 50')),
    stream('pack', at(1, '{"_entry":"inner line","pod":"p1","n":1}')),
    stream('color', at(1, '\x1b[31mred\x1b[0m text'), env='dev'),
    stream('same', at(1, 'line 1'), at(1, 'line 2')),
    stream('hello', at(1, 'Hello, Wörld 42')),
    stream('num', at(10, 'v=1 c=10'), at(20, 'v=2 c=20'), at(30, 'v=4 c=5'), at(40, 'v=8 c=15')),
    stream('cnt', at(1, '1'), level='a'),
    stream('cnt', at(1, '1'), at(2, '2'), level='b'),
    stream('cnt', at(1, '1'), at(2, '2'), at(3, '3'), level='c'),
]


def cases():
    """[(line number, kind, numbers, query, expected lines)]"""
    out = []
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'language.txt')
    for number, line in enumerate(open(path, encoding='utf-8'), 1):
        line = line.rstrip('\n')
        if not line.strip() or line.startswith('#'):
            continue
        if line.startswith('  '):
            if line.strip() != '-':
                out[-1][4].append(line.strip().replace('\\x1b', '\x1b'))
            continue
        kind, rest = line.split(' ', 1)
        if kind == 'template':
            call, want = rest.rsplit(' = ', 1)
            out.append((number, 'log', [], '{app="hello"} | line_format `{{%s}}`' % call.strip(), ['{} ' + want.replace('·', ' ')]))
            continue
        words = {'at': 1, 'sorted': 1, 'over': 3}.get(kind, 0)
        parts = rest.split(' ', words)
        out.append((number, kind, [int(w) for w in parts[:words]], parts[words].strip(), []))
    return out


def show(labels, leave_out=()):
    return '{' + ', '.join('%s=%s' % (k, json.dumps(v, ensure_ascii=False)) for k, v in sorted(labels.items()) if k not in leave_out) + '}'


def base(labels):
    """The labels of a log line's stream, unless a stage has changed them."""
    return [k for k in ('app', 'env') if any(labels.get(k) == s[k] for s, _ in DATA)]


def answer(s, kind, numbers, query):
    if kind == 'log':
        r = s.get('/loki/api/v1/query_range', {'query': query, 'start': (ZERO - 1) * NS, 'end': (ZERO + 300) * NS, 'limit': 100, 'direction': 'forward'})
        assert r.status == 200, r
        rows = [(int(v[0]), show(x['stream'], base(x['stream'])), v[1]) for x in r.json()['data']['result'] for v in x['values']]
        return ['%s %s' % row[1:] for row in sorted(rows)]
    if kind == 'error':
        route = {'query': query, 'start': ZERO * NS, 'end': (ZERO + 60) * NS, 'step': 60}
        r = s.get('/loki/api/v1/query_range', route)
        return ['%d %s' % (r.status, r.body.decode())]
    if kind == 'over':
        r = s.get('/loki/api/v1/query_range', {'query': query, 'start': (ZERO + numbers[0]) * NS, 'end': (ZERO + numbers[1]) * NS, 'step': numbers[2]})
        assert r.status == 200, r
        return sorted(show(x['metric']) + ''.join(' %d=%s' % (v[0] - ZERO, v[1]) for v in x['values']) for x in r.json()['data']['result'])
    r = s.get('/loki/api/v1/query', {'query': query, 'time': (ZERO + numbers[0]) * NS})
    assert r.status == 200, r
    data = r.json()['data']
    if data['resultType'] == 'scalar':
        return ['scalar ' + data['result'][1]]
    rows = ['%s %s' % (show(x['metric']), x['value'][1]) for x in data['result']]
    return rows if kind == 'sorted' else sorted(rows)


def same(kind, got, want):
    if kind == 'error':
        return len(want) == 1 and got[0].startswith('400 ') and want[0] in got[0]
    if kind != 'log' and kind != 'sorted':
        want = sorted(want)
    if kind == 'log':
        # Lines of one timestamp come in any order.
        got, want = sorted(got), sorted(want)
    if len(got) != len(want):
        return False
    for g, w in zip(got, want):
        if g == w:
            continue
        g, w = g.rsplit(' ', 1), w.rsplit(' ', 1)
        try:
            if kind == 'log' or g[0] != w[0] or abs(float(g[1]) - float(w[1])) > 1e-9 * abs(float(w[1])):
                return False
        except ValueError:
            return False
    return True


def run(s, what, texts=None):
    bad = []
    for number, kind, numbers, query, want in CASES:
        if texts is not None:
            if kind == 'error':
                continue
            query = texts[number]
        got = answer(s, kind, numbers, query)
        if not same(kind, got, want):
            bad.append('line %d: %s\n   got  %s\n   want %s' % (number, query, '\n        '.join(got), '\n        '.join(want)))
    print('%s: %d cases, %d wrong' % (what, len(CASES), len(bad)))
    assert not bad, '%s\n%s' % (what, '\n'.join(bad))


CASES = cases()
assert len(CASES) > 150, len(CASES)
with Server(env={'TZ': 'UTC'}) as s:
    s.start()
    r = s.push(DATA)
    assert r.status == 204, r
    run(s, 'live')
    printed = {}
    for number, kind, numbers, query, want in CASES:
        if kind != 'error':
            r = s.get('/loki/api/v1/format_query', {'query': query})
            assert r.status == 200, (query, r)
            printed[number] = r.json()['data']
    run(s, 'as printed', printed)
    assert s.request('POST', '/flush').status == 204
    run(s, 'sealed')
    assert s.stop() == 0
    s.verify()
done()
