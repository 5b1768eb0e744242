#!/usr/bin/env python3
"""Loki's limits by Loki's names: what is refused, with which status and text, and that the pages that tell limits tell these."""
import json, os, sys, time
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../lib'))
from lptest import *

S = 10**9
now = int(time.time())


def text(r, status, want):
    assert r.status == status and r.body.decode().rstrip('\n') == want, r


def ask(s, route, **params):
    return s.get('/loki/api/v1/' + route, params)


def told(s, limits):
    """drilldown-limits and the tenant's limits."""
    d = ask(s, 'drilldown-limits').json()['limits']
    page = s.get('/config/tenant/v1/limits').body.decode().splitlines()
    for name, value in limits.items():
        assert d.get(name, value) == value, (name, d)
        shown = {True: 'true', False: 'false'}.get(value, value) if isinstance(value, bool) else value
        assert '%s: %s' % (name, shown) in page, (name, page)


def defaults(s):
    told(s, {'max_query_lookback': '0s', 'max_query_range': '0s', 'max_query_bytes_read': '0B', 'volume_enabled': True, 'volume_max_series': 1000,
             'max_line_size_truncate': False, 'max_streams_matchers_per_query': 1000, 'max_query_series': 500, 'max_global_streams_per_user': 0,
             'max_line_size': 262144, 'ingestion_rate_mb': 0, 'per_stream_rate_limit_burst': '15000000B', 'reject_old_samples': False, 'query_timeout': '1m'})


def queries(s):
    told(s, {'max_query_lookback': '2h', 'max_query_range': '10m', 'max_query_bytes_read': '4096B', 'volume_enabled': True, 'volume_max_series': 3,
             'max_line_size_truncate': True, 'max_streams_matchers_per_query': 3})
    s.push([({'app': 'old', 'era': 'past'}, [((now - 3 * 3600) * S, 'long ago')]),
            ({'app': 'new'}, [((now - 3 * 3600) * S, 'long ago'), ((now - 60) * S, 'of late')])])
    whole = {'start': (now - 4 * 3600) * S, 'end': now * S}
    past = {'start': (now - 4 * 3600) * S, 'end': (now - 2 * 3600 - 60) * S}
    lines = lambda **when: [v[1] for x in ask(s, 'query_range', query='{app=~"old|new"}', **when).json()['data']['result'] for v in x['values']]
    assert lines(**whole) == ['of late'] and lines(**past) == []
    count = lambda q, t: ask(s, 'query', query=q, time=t * S).json()['data']['result']
    # Instant windows reach back, but not beyond the limit.
    assert [x['value'][1] for x in count('sum(count_over_time({app=~"old|new"}[10m]))', now)] == ['1']
    assert count('sum(count_over_time({app=~"old|new"}[10m]))', now - 3 * 3600 + 60) == []
    assert ask(s, 'query_range', query='sum(count_over_time({app=~"old|new"}[10m]))', step=600, **past).json()['data']['result'] == []
    assert ask(s, 'labels', **whole).json()['data'] == ['app'] and ask(s, 'labels', **past).json()['data'] == []
    assert ask(s, 'label/era/values', **whole).json()['data'] == [] and ask(s, 'label/app/values', **whole).json()['data'] == ['new']
    assert ask(s, 'series', **whole).json()['data'] == [{'app': 'new'}] and ask(s, 'series', **past).json()['data'] == []
    assert ask(s, 'index/stats', query='{app=~".+"}', **whole).json()['entries'] == 1
    assert ask(s, 'index/stats', query='{app=~".+"}', **past).json()['entries'] == 0
    assert ask(s, 'index/volume', query='{app=~".+"}', **past).json()['data']['result'] == []
    # Windows, matchers, bytes.
    for q, window in (('rate({app="new"}[11m])', '11m'), ('sum(rate({app="new"}[1m])) + sum(rate({app="new"}[1h30m]))', '1h30m')):
        text(ask(s, 'query', query=q), 400, '[interval] value exceeds limit: [%s] > [10m]' % window)
        text(ask(s, 'query_range', query=q), 400, '[interval] value exceeds limit: [%s] > [10m]' % window)
    four = '{app="new",a="",b="",c=""}'
    for q in (four, 'rate(%s[1m])' % four):
        text(ask(s, 'query_range', query=q), 400, 'max streams matchers per query exceeded, matchers-count > limit (4 > 3)')
    assert ask(s, 'query_range', query='{app="new",a="",b=""}').status == 200
    s.push([({'app': 'big'}, [((now - 100 + i) * S, 'x' * 100) for i in range(60)])])
    for q in ('{app="big"}', 'count_over_time({app="big"} |= "x" [5m])', 'sum(rate({app="new"}[1m])) / sum(rate({app="big"} |= "x" [5m]))'):
        r = ask(s, 'query_range', query=q)
        assert r.status == 400 and r.body.decode().startswith('the query would read too many bytes (query: 5.9 KiB, limit: 4.0 KiB); consider'), r
    assert ask(s, 'query_range', query='{app="new"}').status == 200
    # Series of volumes.
    s.push([({'app': 'v%d' % i}, [((now - 50) * S, 'x')]) for i in range(4)])
    text(ask(s, 'index/volume', query='{app=~"v.*"}', limit=1), 400, 'the query hit the max number of series limit (limit: 3 series)')
    text(ask(s, 'index/volume_range', query='{app=~"v.*"}', step=60), 400, 'the query hit the max number of series limit (limit: 3 series)')
    assert len(ask(s, 'index/volume', query='{app=~"v[012]"}').json()['data']['result']) == 3


def series(s):
    """An error, but for Logs Drilldown, which gets what fits and is told so."""
    s.push([({'app': 'many', 'i': 'i%03d' % i}, [((now - 50) * S, 'x')]) for i in range(20)])
    q = {'query': 'count_over_time({app="many"}[5m])', 'start': (now - 60) * S, 'end': now * S, 'step': 30}
    refused = 'maximum number of series (7) reached for a single query; consider reducing query cardinality by adding more specific stream selectors, ' \
              'reducing the time range, or aggregating results with functions like sum(), count() or topk()'
    for tags, partial in ((None, False), ('Source=logvolhist', False), ('Source=grafana-lokiexplore-app', True), ('Feature=x, source=Grafana-LokiExplore-App ', True),
                          ('Source=grafana-lokiexplore-apps', False), ('xSource=grafana-lokiexplore-app', False)):
        for route in ('query', 'query_range'):
            r = s.request('GET', '/loki/api/v1/%s?%s' % (route, urllib.parse.urlencode(q)), headers={'X-Query-Tags': tags} if tags else {})
            if not partial:
                text(r, 400, refused)
                continue
            d = r.json()
            assert d['warnings'] == ['maximum number of series (7) reached for a single query; returning partial results'], d
            assert [x['metric']['i'] for x in d['data']['result']] == ['i%03d' % i for i in range(7)], d
    r = s.request('GET', '/loki/api/v1/query?query=sum(count_over_time(%7Bapp%3D%22many%22%7D%5B5m%5D))', headers={'X-Query-Tags': 'Source=grafana-lokiexplore-app'})
    assert 'warnings' not in r.json() and r.json()['data']['result'][0]['value'][1] == '20', r


def memory(s):
    """600 series of 200 steps are a mebibyte: they pass, what operations over them need beside them does not."""
    s.push([({'app': 'wide', 'i': 'i%d' % i}, [((now - 600 + k * 60) * S, 'x') for k in range(4)]) for i in range(600)])
    wide = 'count_over_time({app="wide"}[1m])'
    when = {'start': (now - 600) * S, 'end': now * S, 'step': 3}
    for q in ('sum(%s)', 'sum(%s * 2 > 1)', 'topk(3, %s)'):
        assert ask(s, 'query_range', query=q % wide, **when).status == 200, q
    for q in ('sum(W + W)', 'sum(avg by (i) (W))', 'sum(W or label_replace(W, "x", "y", "", ""))', 'sum(W * on (app) group_left (i) W)', 'sum(' + ' + '.join(['W'] * 60) + ')'):
        r = ask(s, 'query_range', query=q.replace('W', wide), **when)
        assert r.status == 400 and r.body.startswith(b'the query needs more memory than query.max_query_memory allows (4194304 bytes): '), (q, r)


def long_lines(s):
    """Cut by bytes, in every format."""
    long, at = 'y' * 300, (now - 30) * S
    s.push([({'app': 'cut'}, [(at, long), (at + 1, 'short'), (at + 2, 'é' * 200)])])
    r = s.post('/ingest', {'streams': [{'labels': {'app': 'cut2'}, 'entries': [{'ts': time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime(now - 30)), 'line': long}]}]})
    assert r.status == 200 and r.json() == {'accepted': 1}, r
    got = [l for t, l, m in s.entries('{app="cut"}', at, at + S)]
    assert got == ['y' * 256, 'short', 'é' * 128], got
    assert [l for t, l, m in s.entries('{app="cut2"}', at - S, at + S)] == ['y' * 256]


def no_volume(s):
    told(s, {'volume_enabled': False})
    for route in ('index/volume', 'index/volume_range'):
        text(ask(s, route, query='{app="x"}'), 404, 'not found')


def discarded(s, reason):
    for l in s.get('/metrics').body.decode().splitlines():
        if l.startswith('logpulse_discarded_lines_total{reason="%s"}' % reason):
            return int(l.rsplit(' ', 1)[1])


def streams(s):
    """Ten for each tenant, over all workers, kills and restarts; those that are known go on, what came with a refused one is stored."""
    tenant = lambda name: {'X-Scope-OrgID': name}
    push = lambda labels, name='a', n=1: s.push([(dict({'app': 's'}, **labels), [(now * S + i, 'x') for i in range(n)])], headers=tenant(name))
    full = "maximum active stream limit exceeded when trying to create stream {app=\"s\", i=\"%s\"}, reduce the number of active streams (reduce labels or " \
           "reduce label values), or contact your Loki administrator to see if the limit can be increased, user: '%s'"
    names = lambda name: s.get('/loki/api/v1/label/i/values', headers=tenant(name)).json()['data']
    for i in range(9):
        assert push({'i': str(i)}).status == 204
    r = s.push([({'app': 's', 'i': j}, [(now * S, 'x'), (now * S + 1, 'y')]) for j in ('9', '10', '0')], headers=tenant('a'))
    assert r.status == 429 and r.headers['retry-after'] == '1' and full % ('10', 'a') in r.body.decode(), r
    assert discarded(s, 'stream_limit') == 2
    for again in range(3):
        for i in range(10):                     # many connections: every worker knows
            assert push({'i': str(i)}).status == 204, i
            r = push({'i': 'new%d' % i})
            assert r.status == 429 and full % ('new%d' % i, 'a') in r.body.decode(), r
        assert names('a') == [str(i) for i in range(10)]
        assert push({'i': '0'}, 'b').status == 204 and names('b') == ['0']
        r = s.post('/ingest', {'streams': [{'labels': {'app': 'o'}, 'entries': [{'ts': rfc3339(now * S), 'line': 'x'}]}]}, headers=tenant('a'))
        assert r.status == 429 and b'maximum active stream limit exceeded when trying to create stream {app="o"}' in r.body, r
        if again == 0:
            assert s.request('POST', '/flush', headers=tenant('a')).status == 204
            assert s.stop() == 0
        else:
            s.kill_all()
        s.start()
    # An old line makes a stream active, too, but not over a restart.
    for i in range(9):
        assert s.push([({'app': 's', 'i': str(i)}, [((now - 2 * 86400) * S, 'x')])], headers=tenant('c')).status == 204
    assert push({'i': 'x'}, 'c').status == 204 and push({'i': 'y'}, 'c').status == 429
    assert s.stop() == 0
    s.start()
    assert push({'i': 'y'}, 'c').status == 204


with Server() as s:
    s.start()
    defaults(s)
    assert s.stop() == 0
LIMITS = {'limits.max_query_lookback': '2h', 'limits.max_query_range': '10m', 'limits.max_query_bytes_read': '4KiB', 'limits.volume_max_series': '3',
          'limits.max_streams_matchers_per_query': '3', 'limits.max_line_size': '256', 'limits.max_line_size_truncate': 'true'}
with Server(LIMITS) as s:
    s.start()
    queries(s)
    long_lines(s)
    assert s.stop() == 0
with Server({'limits.volume_enabled': 'false', 'limits.max_query_series': 7, 'query.max_query_memory': '4MiB'}) as s:
    s.start()
    series(s)
    memory(s)
    no_volume(s)
    assert s.stop() == 0
with Server({'tenants.enabled': 'true', 'limits.max_global_streams_per_user': 10, 'storage.retention_days': 30}, workers=3) as s:
    s.start()
    streams(s)
    assert s.stop() == 0
done()
