#!/usr/bin/env python3
"""Delete requests: gone from every answer of every worker at once, also after kill -9; cancelled ones come back; later pushes stay;
compaction takes the lines off the disk."""
import os, re, subprocess, sys, time
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../lib'))
from lptest import *

ROUTE = '/loki/api/v1/delete'
OPTIONS = {'storage.retention_days': 0, 'storage.min_free_bytes': 0}
NOW = {'compactor.delete_request_cancel_period': '0s', 'compactor.compaction_interval': '200ms', **OPTIONS}
BASE = (int(time.time()) - 3 * 3600) * 10**9
SECOND = 10**9


def line(app, n):
    return '%s line %d %s' % (app, n, 'secret-%d' % n if n % 3 == 0 else 'plain')


def push(s, app, first, n):
    assert s.push([({'app': app}, [(BASE + i * SECOND, line(app, i)) for i in range(first, first + n)])]).status == 204


def delete(s, query, start, end, **kw):
    return s.request('POST', ROUTE + '?' + urllib.parse.urlencode(dict(query=query, start='%.3f' % (start / 1e9), end='%.3f' % (end / 1e9), **kw)))


def lines(s, query):
    return sorted(v[1] for st in s.query_range(query, BASE - SECOND, BASE + 7200 * SECOND) for v in st['values'])


def count(s, expr):
    r = s.get('/loki/api/v1/query', {'query': 'sum(%s)' % expr, 'time': str(BASE // SECOND + 7200)})
    assert r.status == 200, r
    v = r.json()['data']['result']
    return int(float(v[0]['value'][1])) if v else 0


def check(s, app, want):
    """Every route says the same; new connections reach every worker."""
    sel, size = '{app="%s"}' % app, sum(len(x) for x in want)
    span = {'start': BASE - SECOND, 'end': BASE + 7200 * SECOND}
    for _ in range(6):
        got = lines(s, sel)
        assert got == sorted(want), (app, len(got), len(want), got[:3])
        assert lines(s, sel + ' |= "secret"') == sorted(x for x in want if 'secret' in x)
        for expr, n in ((sel, len(want)), (sel + ' |= "line"', len(want)), (sel + ' |~ "secret.[0-9]+"', sum('secret' in x for x in want))):
            assert count(s, 'count_over_time(%s[3h])' % expr) == n, (expr, n)
        assert count(s, 'bytes_over_time(%s[3h])' % sel) == size
        assert count(s, 'count_over_time(%s | logfmt [3h])' % sel) == len(want)
        stats = s.stats(sel, **span)
        assert (stats['entries'], stats['bytes']) == (len(want), size), (stats, len(want), size)
        v = s.get('/loki/api/v1/index/volume', dict(query=sel, **span)).json()['data']['result']
        assert (int(v[0]['value'][1]) if v else 0) == size, v
        o = s.get('/query', {'query': sel, 'start': rfc3339(BASE - SECOND), 'end': rfc3339(BASE + 7200 * SECOND), 'limit': '5000'})
        assert len(o.json()['logs'] or []) == len(want), o
        p = s.get('/loki/api/v1/patterns', dict(query=sel, **span)).json()['data']
        assert sum(x[1] for e in p for x in e['samples']) <= len(want), p


def requests(s):
    r = s.get(ROUTE)
    assert r.status == 200 and r.headers['content-type'].startswith('application/json'), r
    return r.json()


def dump(data):
    r = subprocess.run([BUILD + '/logpulsectl', 'dump', data], capture_output=True, text=True)
    assert r.returncode == 0, r.stderr
    return r.stdout


with Server(OPTIONS) as s:
    s.start()
    assert requests(s) == []
    for app in 'abc':
        push(s, app, 0, 300)
    assert s.post('/flush', b'').status == 204
    for app in 'abc':
        push(s, app, 250, 350)          # 50 of them again: repeats between segment and log
    everything = {app: [line(app, i) for i in range(600)] for app in 'abc'}
    want = dict(everything)
    for app in 'abc':
        check(s, app, want[app])

    # Refused.
    for args, text in (({'start': '1'}, 'query not set'), ({'query': '{a="b"}'}, 'start time not set'),
                       ({'query': '{a="b"', 'start': '1'}, 'invalid query expression'),
                       ({'query': 'rate({a="b"}[1m])', 'start': '1'}, 'invalid query expression'),
                       ({'query': '{a="b"} | json', 'start': '1'}, 'unsupported query expression'),
                       ({'query': '{a="b"}', 'start': 'x'}, 'invalid start time'), ({'query': '{a="b"}', 'start': '1', 'end': 'x'}, 'invalid end time'),
                       ({'query': '{a="b"}', 'start': '1', 'end': str(int(time.time()) + 999)}, 'deletes in the future'),
                       ({'query': '{a="b"}', 'start': '9', 'end': '3'}, "start time can't be greater than end time")):
        r = s.request('POST', ROUTE + '?' + urllib.parse.urlencode(args))
        assert r.status == 400 and text in r.body.decode(), (args, r)
    r = s.request('DELETE', ROUTE + '?request_id=12345678')
    assert r.status == 404 and 'could not find delete request with given id' in r.body.decode(), r
    assert s.request('PATCH', ROUTE).status == 405 and requests(s) == []

    # Lines of one stream by content, a span of another without a filter.
    r = delete(s, '{app="a"} |= "secret"', BASE, BASE + 449 * SECOND)
    assert r.status == 204 and not r.body and r.headers['x-delete-request-id'] == requests(s)[0]['request_id'], (r, r.headers, requests(s))
    want['a'] = [x for i, x in enumerate(everything['a']) if not (i % 3 == 0 and i <= 449)]
    for app in 'abc':
        check(s, app, want[app])
    assert s.request('PUT', ROUTE + '?' + urllib.parse.urlencode(dict(query='{app=~"b|x"}', start=str(BASE // SECOND + 100),
                                                                     end=str(BASE // SECOND + 320)))).status == 204
    want['b'] = [x for i, x in enumerate(everything['b']) if not 100 <= i <= 320]
    for app in 'abc':
        check(s, app, want[app])

    # What is pushed after the answer stays.
    push(s, 'a', 3, 1)
    want['a'].append(line('a', 3))
    check(s, 'a', want['a'])

    # A request that is cancelled.
    assert delete(s, '{app="c"}', BASE, BASE + 7200 * SECOND).status == 204
    check(s, 'c', [])
    listed = requests(s)
    assert [x['query'] for x in listed] == ['{app="a"} |= "secret"', '{app=~"b|x"}', '{app="c"}'], listed
    assert all(x['status'] == 'received' and x['user_id'] == 'fake' for x in listed)
    assert listed[1]['start_time'] == BASE // SECOND + 100 and abs(listed[1]['created_at'] - time.time()) < 3600
    s.kill_all()
    s.verify()
    s.start()
    check(s, 'c', [])
    assert s.request('DELETE', ROUTE + '?request_id=' + listed[2]['request_id']).status == 204
    assert len(requests(s)) == 2
    check(s, 'c', want['c'])
    check(s, 'a', want['a'])
    assert s.post('/flush', b'').status == 204          # all of it in segments: still only hidden
    for app in 'abc':
        check(s, app, want[app])
    assert s.stop() == 0
    assert 'a line 6 secret' in dump(s.data)

    # Now on the disk.
    s.options = NOW
    s.start()
    for _ in range(5):
        check(s, 'a', want['a'])        # while it happens
        check(s, 'b', want['b'])
    wait_for('the requests to be processed', lambda: all(x['status'] == 'processed' for x in requests(s)), 60)
    for app in 'abc':
        check(s, app, want[app])
    r = s.request('DELETE', ROUTE + '?request_id=' + listed[0]['request_id'])
    assert r.status == 400 and 'already processed' in r.body.decode(), r
    assert s.metric('logpulse_deleted_lines_total') >= 150 + 221
    push(s, 'b', 200, 1)                # no longer hidden either
    want['b'].append(line('b', 200))
    check(s, 'b', want['b'])
    assert s.stop() == 0
    s.verify()
    text = dump(s.data)
    left = set(re.findall(r'a line (\d+) secret', text))
    assert left == {'3'} | {str(i) for i in range(450, 600, 3)}, sorted(left)
    assert 'b line 150 ' not in text and 'b line 321 ' in text and 'c line 150 ' in text

    s.options = dict(OPTIONS, **{'limits.deletion_mode': 'disabled'})
    s.start()
    assert delete(s, '{app="c"}', BASE, BASE + SECOND).status == 403 and s.get(ROUTE).status == 403
    for app in 'abc':
        check(s, app, want[app])
    assert s.stop() == 0
done()
