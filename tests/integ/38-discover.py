#!/usr/bin/env python3
"""detected_level and service_name with the server's defaults: Loki's clients see them in every route as if they had been pushed,
live, sealed and after a restart; the original API's clients never do, and nothing of it is stored."""
import os, sys, time
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../lib'))
from lptest import *

S = 10**9
base = (int(time.time()) - 600) * S
DEFAULTS = dict.fromkeys(AS_PUSHED)

# line, metadata, detected_level
LINES = [
    ('nothing to see', {}, 'unknown'),
    ('2026-11-22 ERROR it broke, warning was given', {}, 'error'),
    ('an informational text about terrors', {}, 'unknown'),
    ('[Warning] low', {}, 'warn'),
    ('err: x', {}, 'error'),
    ('{"level":"dbg","msg":"error"}', {}, 'debug'),
    ('{"log":{"severity":"FATAL"},"level":5}', {}, 'fatal'),
    ('{"a":{"b":{"level":"error"}}}', {}, 'error'),             # too deep for the field, but a word of the line
    ('{"a":{"b":{"level":"wrn"}}}', {}, 'unknown'),
    ('ts=1 lvl=info level=trace msg="error"', {}, 'trace'),     # the first of the list, not of the line
    ('ts=1 SEVERITY=Critical msg="error"', {}, 'critical'),
    ('ts=1 level=odd msg="a warn"', {}, 'warn'),
    ('error', {'level': 'information'}, 'info'),
    ('error', {'detected_level': 'WARNING'}, 'warn'),
    ('error', {'severity_number': '6'}, 'debug'),
    ('error', {'severity_number': '99'}, 'unknown'),
    ('error', {'level': 'notice'}, 'notice'),
]


def rows(s, query, **kw):
    """{line: labels} of a log query."""
    out = {}
    for stream in s.query_range(query, base, base + 100 * S, **kw):
        for v in stream['values']:
            out[v[1]] = stream['stream']
    return out


def total(s, query, by):
    r = s.get('/loki/api/v1/query', {'query': query, 'time': base + 100 * S})
    assert r.status == 200, r
    return {x['metric'].get(by): int(x['value'][1]) for x in r.json()['data']['result']}


def data(s, path, **params):
    r = s.get('/loki/api/v1/' + path, dict(params, start=base, end=base + 100 * S))
    assert r.status == 200, r
    return r.json()


def levels(s):
    got = {}
    for stream in s.query_range('{app="lv"}', base, base + 100 * S):
        for t, line in stream['values']:
            got[int(t)] = stream['stream']
    for i, (line, meta, level) in enumerate(LINES):
        stream = got[base + i * S]
        assert stream['detected_level'] == level, (line, meta, level, stream)
        assert stream['app'] == stream['service_name'] == 'lv', stream
    want = {}
    for _, _, level in LINES:
        want[level] = want.get(level, 0) + 1
    for level, n in want.items():
        assert sum(len(x['values']) for x in s.query_range('{app="lv"} | detected_level="%s"' % level, base, base + 100 * S)) == n, level
        assert sum(len(x['values']) for x in s.query_range('{app="lv"} | detected_level="%s"' % level, base, base + 100 * S, limit=1)) == 1
    assert total(s, 'sum by (detected_level) (count_over_time({app="lv"}[101s]))', 'detected_level') == want
    assert total(s, 'sum by (level, detected_level) (count_over_time({app="lv"} | drop __error__ [101s]))', 'detected_level') is not None
    assert total(s, 'count_over_time({app="lv"} | json | logfmt | drop __error__, __error_details__ | keep detected_level [101s])', 'detected_level') == want
    assert total(s, 'sum(count_over_time({app="lv"} | detected_level=~"error|warn" [101s]))', 'x') == {None: want['error'] + want['warn']}
    assert total(s, 'sum without (detected_level, level, severity_number) (count_over_time({app="lv"}[101s]))', 'app') == {'lv': len(LINES)}
    # A level in the stream's labels counts for all its lines, and for the series of a plain count.
    assert total(s, 'count_over_time({app="fixed"}[101s])', 'detected_level') == {'error': 3}
    assert total(s, 'sum by (detected_level) (count_over_time({service_name=~".+"} |= "fixed" [101s]))', 'detected_level') == {'error': 3}
    assert rows(s, '{app="fixed"} | line_format "{{.detected_level}} {{.service_name}}"').keys() == {'error fixed'}
    # Three boxes: the level is metadata, service_name a label of the stream.
    r = s.get('/loki/api/v1/query_range', {'query': '{app="lv"} | json', 'start': base, 'end': base + 100 * S},
              {'X-Loki-Response-Encoding-Flags': 'categorize-labels'}).json()['data']
    assert [x['stream'] for x in r['result']] == [{'app': 'lv', 'service_name': 'lv'}]
    assert {v[1]: v[2]['structuredMetadata'] for v in r['result'][0]['values']}['err: x'] == {'detected_level': 'error'}
    fields = {f['label']: f for f in data(s, 'detected_fields', query='{app="lv"}')['fields']}
    assert fields['detected_level'] == {'label': 'detected_level', 'type': 'string', 'cardinality': len(want), 'parsers': None}, fields
    assert set(data(s, 'detected_field/detected_level/values', query='{app="lv"}')['values']) == set(want)


NAMES = {'lv': 'lv', 'fixed': 'fixed', 'both': 'svc', 'own': 'mine', 'none': 'unknown_service', 'empty': 'unknown_service'}


def services(s):
    assert data(s, 'label/service_name/values')['data'] == sorted(set(NAMES.values()))
    assert data(s, 'label/app/values')['data'] == ['both', 'fixed', 'lv']
    assert data(s, 'label/app/values', query='{service_name="svc"}')['data'] == ['both']
    assert 'service_name' in data(s, 'labels')['data'] and 'detected_level' not in data(s, 'labels')['data']
    for name in set(NAMES.values()):
        want = sorted(k for k in NAMES if NAMES[k] == name)
        for query in ('{service_name="%s"}' % name, '{service_name=~"%s.?"}' % name, '{service_name="%s", service_name!=""}' % name):
            got = data(s, 'series', **{'match[]': query})['data']
            assert len(got) == len(want) and all(x['service_name'] == name for x in got), (query, got)
            assert sorted({line.split()[0] for line in rows(s, query + ' |= "k="')}) == [k for k in want if k != 'lv'], query
            stats = s.stats(query, base, base + 100 * S)
            assert stats['streams'] == len(want) and stats['entries'] > 0, stats
    assert data(s, 'series', **{'match[]': '{app=~".+", service_name=""}'})['data'] == []
    assert [x['app'] for x in data(s, 'series', **{'match[]': '{app=~".+", service_name!~"lv|svc"}'})['data']] == ['fixed']
    volume = {x['metric']['service_name'] for x in data(s, 'index/volume', query='{service_name=~".+"}')['data']['result']}
    assert volume == set(NAMES.values())
    volume = {x['metric']['service_name'] for x in data(s, 'index/volume', query='{app=~".+"}', targetLabels='service_name')['data']['result']}
    assert volume == {'lv', 'fixed', 'svc'}
    names = [x['metric'] for x in data(s, 'index/volume', query='{app="both"}', aggregateBy='labels')['data']['result']]
    assert {'service_name': ''} in names, names
    r = {x['label']: x['cardinality'] for x in data(s, 'detected_labels')['detectedLabels']}
    assert r['service_name'] == len(set(NAMES.values())), r
    assert total(s, 'sum by (service_name) (count_over_time({service_name=~"svc|mine"}[101s]))', 'service_name') == {'svc': 1, 'mine': 1}


def original(s):
    """GET /query, /labels: labels as pushed."""
    r = s.get('/query', {'query': '{app="both"}', 'start': rfc3339(base), 'end': rfc3339(base + 100 * S)}).json()
    assert [x['labels'] for x in r['logs']] == [{'app': 'both', 'service': 'svc'}], r
    r = s.get('/query', {'query': '{app="lv"} | detected_level="error"', 'start': rfc3339(base), 'end': rfc3339(base + 100 * S)}).json()
    assert r['logs'] == [], r
    r = s.get('/query', {'query': '{service_name="svc"}', 'start': rfc3339(base), 'end': rfc3339(base + 100 * S)}).json()
    assert r['logs'] == [], r
    assert s.get('/labels/service_name/values').json() == ['mine', 'unknown_service']      # the one sent, and the stream that had no labels


def check(s):
    levels(s)
    services(s)
    original(s)


with Server(DEFAULTS) as s:
    s.start()
    streams = [{'stream': {'app': 'lv'}, 'values': [[str(base + i * S), line, meta] for i, (line, meta, _) in enumerate(LINES)]},
               {'stream': {'app': 'fixed', 'level': 'ERR'}, 'values': [[str(base + i * S), 'fixed k=info'] for i in range(3)]},
               {'stream': {'app': 'both', 'service': 'svc'}, 'values': [[str(base), 'both k=1']]},
               {'stream': {'service_name': 'mine', 'container': 'x'}, 'values': [[str(base), 'own k=1']]},
               {'stream': {'host': 'h'}, 'values': [[str(base), 'none k=1']]},
               {'stream': {}, 'values': [[str(base), 'empty k=1']]}]
    r = s.post('/loki/api/v1/push', {'streams': streams})
    assert r.status == 204, r
    check(s)
    limits = s.get('/loki/api/v1/drilldown-limits').json()['limits']
    assert limits['discover_log_levels'] is True and limits['discover_service_name'][0] == 'service' and limits['log_level_fields'][0] == 'level'
    assert s.request('POST', '/flush').status == 204
    check(s)
    assert s.stop() == 0
    s.verify()
    s.start()
    check(s)
    # Other rules count for what is stored: nothing of it was written.
    assert s.stop() == 0
    s.options.update({'limits.discover_service_name': 'host', 'limits.log_level_fields': 'msg', 'limits.log_level_from_json_max_depth': 0})
    s.start()
    assert data(s, 'label/service_name/values')['data'] == ['h', 'mine', 'unknown_service']
    assert rows(s, '{app="lv"} |= "dbg"').popitem()[1]['detected_level'] == 'error'
    assert s.stop() == 0
    s.options.update(AS_PUSHED)
    s.start()
    assert rows(s, '{app="both"}') == {'both k=1': {'app': 'both', 'service': 'svc'}}
    assert data(s, 'label/service_name/values')['data'] == ['mine', 'unknown_service']
    r = s.post('/loki/api/v1/push', {'streams': [{'stream': {}, 'values': [[str(base), 'empty']]}]})
    assert r.status == 400 and b'at least one label pair' in r.body, r
    assert s.stop() == 0
    s.verify()
done('levels of %d lines, services of %d streams' % (len(LINES), len(NAMES)))
