#!/usr/bin/env python3
"""The rest of Loki's HTTP API: what Grafana asks besides queries (feature reference 2.2)."""
import gzip, json, os, signal, struct, subprocess, sys, time
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../lib'))
from lptest import *

S = 10**9
now = int(time.time())
hour = now - now % 3600 - 3600          # a full hour in the past
base = hour * S
OPTIONS = {}


def meta_push(s, labels, entries):
    r = s.post('/loki/api/v1/push', {'streams': [{'stream': labels, 'values': [[str(t), l, m] for t, l, m in entries]}]})
    assert r.status == 204, r


def both(s, path, params):
    """GET and POST form are the same question."""
    a = s.get(path, params)
    b = s.post(path, urllib.parse.urlencode(params), 'application/x-www-form-urlencoded')
    assert (a.status, a.body) == (b.status, b.body), (a, b)
    return a


def text_error(r, status, text):
    assert r.status == status and r.body.decode().startswith(text), r
    assert r.headers['content-type'].startswith('text/plain') and r.headers['x-content-type-options'] == 'nosniff', r.headers


def format_query(s):
    r = both(s, '/loki/api/v1/format_query', dict(query='sum(rate({app="a"}|="x"[1m]))by(l)'))
    assert r.status == 200 and r.json() == {'status': 'success', 'data': 'sum by (l)(rate({app="a"} |= "x"[1m]))'}, r
    r = both(s, '/loki/api/v1/format_query', dict(query='sum('))
    assert r.status == 400 and r.json() == {'status': 'invalid-query', 'error': 'parse error at line 1, col 5: syntax error: unexpected $end'}, r


def volume(s, seal):
    """Before and after sealing: the same numbers from the log and from headers."""
    lo, hi = base, base + 3600 * S
    if not seal:
        for k in range(4):
            s.push([({'app': 'v', 'pod': 'p%d' % (k % 2)}, [(base + (k * 900 + i) * S, 'x' * 10) for i in range(10)])])
        s.push([({'app': 'w', 'env': 'e'}, [(base + i * S, 'y' * 100) for i in range(10)])])
        s.push([({'app': 'w', 'env': 'e'}, [(base + i * S, 'y' * 100) for i in range(10)])])    # a retry weighs nothing
        meta_push(s, {'app': 'm'}, [(base + i, 'z' * 4, {'k': 'v%d' % (i % 3), 'long': 'w' * 20}) for i in range(30)])
    q = lambda route='volume', **kw: both(s, '/loki/api/v1/index/' + route, dict(dict(query='{app=~"v|w"}', start=lo, end=hi), **kw))
    d = q().json()['data']
    assert d['resultType'] == 'vector' and d['result'] == [{'metric': {'app': 'w'}, 'value': [hour + 3600, '1000']},
                                                           {'metric': {'app': 'v'}, 'value': [hour + 3600, '400']}], d
    d = q(targetLabels='pod').json()['data']['result']
    assert [(x['metric'], x['value'][1]) for x in d] == [({'pod': 'p0'}, '200'), ({'pod': 'p1'}, '200')], d
    d = q(aggregateBy='labels').json()['data']['result']
    assert [(x['metric'], x['value'][1]) for x in d] == [({'app': ''}, '1400'), ({'env': ''}, '1000'), ({'pod': ''}, '400')], d
    d = q(limit=1).json()['data']['result']
    assert len(d) == 1 and d[0]['metric'] == {'app': 'w'}, d
    d = q(query='{}', targetLabels='app,pod', limit=0).json()['data']['result']
    assert [x['metric'] for x in d] == [{'app': 'v', 'pod': 'p0'}, {'app': 'v', 'pod': 'p1'}], d
    d = q('volume_range', query='{app="v"}', step=1800).json()['data']
    assert d == dict(d, resultType='matrix', result=[{'metric': {'app': 'v'}, 'values': [[hour + 1799.999, '200'], [hour + 3600, '200']]}]), d
    d = q('volume_range', query='{app="v"}', step='2h').json()['data']
    assert d['resultType'] == 'vector' and d['result'][0]['value'][1] == '400', d
    # a bucket's edge cuts a run: counted line by line
    d = q('volume_range', query='{app="w"}', step='5s', end=base + 20 * S).json()['data']['result']
    assert d == [{'metric': {'app': 'w'}, 'values': [[hour + 4.999, '500'], [hour + 9.999, '500']]}], d
    # metadata: 8 bytes a pair and each string once: 30 * 4 + 60 * 8 + (k, long, v0..v2, w...)
    assert s.stats('{app="m"}', lo, hi) == dict(streams=1, chunks=1, entries=30, bytes=120 + 480 + 1 + 4 + 6 + 20), s.stats('{app="m"}', lo, hi)
    text_error(q(query=''), 400, 'parse error : syntax error: unexpected $end')
    text_error(q(query='{app="v"} |= "x"'), 400, 'only label matchers are supported')
    text_error(q(limit='-1'), 400, 'limit must be a positive value')
    text_error(q('volume_range', step=0), 400, 'zero or negative query resolution step widths')
    text_error(q(aggregateBy='x'), 400, 'invalid aggregateBy option')
    text_error(q(start=hi, end=lo), 400, 'end timestamp must not be before or equal to start time')


def detected_labels(s):
    r = both(s, '/loki/api/v1/detected_labels', dict(start=base, end=base + 3600 * S))
    want = [('app', 3), ('env', 1), ('pod', 2)]
    assert [(x['label'], x['cardinality']) for x in r.json()['detectedLabels']] == want, r
    s.push([({'app': 'ids', 'n': str(i), 'u': '01234567-89ab-cdef-0123-456789abcde%d' % i, 'pod': str(i)}, [(base, 'l')]) for i in range(3)])
    r = both(s, '/loki/api/v1/detected_labels', dict(query='{app="ids"}', start=base, end=base + 3600 * S))
    assert r.json() == {'detectedLabels': [{'label': 'app', 'cardinality': 1}, {'label': 'pod', 'cardinality': 3}]}, r


def detected_fields(s):
    meta_push(s, {'app': 'f', 'level': 'x'}, [(base + i, l, m) for i, (l, m) in enumerate([
        ('{"n":5,"o":{"f.g":%d.5,"ok":true},"level":"info"}' % 1, {'trace': 't1'}), ('{"n":6,"o":{"f.g":2,"ok":false}}', {'trace': 't2', 'n': 'meta'}),
        ('took=3ms size=4KiB msg="a b"', {}), ('plain text', {})])])
    q = lambda route='detected_fields', **kw: both(s, '/loki/api/v1/' + route, dict(dict(query='{app="f"}', start=base, end=base + S), **kw))
    d = q().json()
    assert d['limit'] == 1000 and [(f['label'], f['type'], f['cardinality'], f['parsers'], f.get('jsonPath')) for f in d['fields']] == [
        ('level_extracted', 'string', 1, ['json'], ['level']), ('msg', 'string', 1, ['logfmt'], None), ('n', 'int', 3, ['json'], ['n']),
        ('o_f_g', 'float', 2, ['json'], ['o', 'f.g']), ('o_ok', 'boolean', 2, ['json'], ['o', 'ok']), ('size', 'bytes', 1, ['logfmt'], None),
        ('took', 'duration', 1, ['logfmt'], None), ('trace', 'string', 2, None, None)], d
    assert len(q(limit=2).json()['fields']) == 2
    assert [f['label'] for f in q(query='{app="f"} |= "took"').json()['fields']] == ['msg', 'size', 'took']
    assert [f['label'] for f in q(line_limit=2).json()['fields']] == ['msg', 'size', 'took']
    assert q('detected_field/n/values').json() == {'values': ['5', '6', 'meta'], 'limit': 1000}
    assert q('detected_field/n/values', limit=1).json()['values'] and len(q('detected_field/n/values', limit=1).json()['values']) == 1
    assert q('detected_field/nosuch/values').json()['values'] == []
    text_error(q(line_limit=0), 400, 'limit must be a positive value')
    text_error(q(line_limit=5001), 400, 'max entries limit per query exceeded')
    text_error(q(query=''), 400, 'parse error : syntax error: unexpected $end')
    text_error(q(query='rate({app="f"}[1m])'), 400, 'only log selector is supported')
    text_error(q(step=0), 400, 'zero or negative query resolution')


def pattern_regex(p):
    import re
    return re.compile('.+'.join(re.escape(x) for x in p.split('<_>')), re.S)


def patterns(s, seal):
    """Templates with their lines per step, the same from the log and sealed; a retry counts once."""
    logged = [(base + i * S, 'GET /api/users/%d took %dms' % (i, i * 7 % 50)) for i in range(60)]
    failed = [(base + i * S + 1, 'ERROR: connection to 10.0.0.%d:5432 lost' % i) for i in range(30)]
    if not seal:
        for _ in range(2):
            s.push([({'app': 'pat', 'level': 'INFO'}, logged), ({'app': 'pat'}, failed), ({'app': 'pat', 'z': '1'}, [(base, 'plain "words"')])])
    q = lambda **kw: both(s, '/loki/api/v1/patterns', dict(dict(query='{app="pat"}', start=base, end=base + 60 * S, step='30s'), **kw))
    r = q()
    assert r.status == 200 and r.headers['content-type'].startswith('application/json'), r
    assert r.json() == {'status': 'success', 'data': [
        {'pattern': 'GET /api/users/<_> took <_>', 'level': 'info', 'samples': [[hour, 30], [hour + 30, 30]]},
        {'pattern': 'ERROR: connection to <_> lost', 'level': 'error', 'samples': [[hour, 30]]},
        {'pattern': 'plain "words"', 'level': 'unknown', 'samples': [[hour, 1]]}]}, r.json()
    for p, lines in zip(r.json()['data'], (logged, failed)):
        assert all(pattern_regex(p['pattern']).fullmatch(l) for _, l in lines), p
    assert [n for _, n in q(step='1s').json()['data'][0]['samples']] == [10] * 6        # never finer than ten seconds
    assert [x['pattern'] for x in q(query='{app="pat"} |= "lost"').json()['data']] == ['ERROR: connection to <_> lost']
    d = q(query='{app="pat", level="INFO"} | regexp "users/(?P<id>[0-9]+)" | id < 10 | line_format "user {{.id}}"', step='1h').json()['data']
    assert d == [{'pattern': 'user <_>', 'level': 'info', 'samples': [[hour, 10]]}], d
    assert q(query='{app="nosuch"}').json() == {'status': 'success', 'data': []}
    text_error(q(query=''), 400, 'parse error : syntax error: unexpected $end')
    text_error(q(query='rate({app="pat"}[1m])'), 400, 'only log selector is supported')
    text_error(q(step=0), 400, 'zero or negative query resolution')


def pb(*fields):
    """Protobuf from (number, value): bytes and str are length-delimited, ('f64', n) and ('f32', n) fixed, int a varint."""
    def varint(n):
        out = b''
        while n >= 128:
            out += bytes([n & 127 | 128])
            n >>= 7
        return out + bytes([n])
    out = b''
    for number, v in fields:
        if isinstance(v, (bytes, str)):
            v = v.encode() if isinstance(v, str) else v
            out += varint(number << 3 | 2) + varint(len(v)) + v
        elif isinstance(v, tuple):
            size = 8 if v[0] == 'f64' else 4
            out += varint(number << 3 | (1 if size == 8 else 5)) + v[1].to_bytes(size, 'little')
        else:
            out += varint(number << 3) + varint(v)
    return out


def any_value(v):
    if isinstance(v, str):
        return pb((1, v))
    if isinstance(v, bool):
        return pb((2, int(v)))
    if isinstance(v, int):
        return pb((3, v))
    if isinstance(v, float):
        return pb((4, ('f64', int.from_bytes(struct.pack('<d', v), 'little'))))
    if isinstance(v, list):
        return pb((5, pb(*[(1, any_value(x)) for x in v])))
    if isinstance(v, dict):
        return pb((6, pb(*[(1, attr(k, x)) for k, x in v.items()])))
    return pb((7, bytes(v)))


def attr(key, v):
    return pb((1, key), (2, any_value(v)))


def otlp_logs(resource, scope, records):
    logs = [(2, pb(*([(1, ('f64', r['ts']))] if 'ts' in r else []), (2, r.get('severity', 0)), (3, r.get('text', '')), (5, any_value(r['body'])),
                   *[(6, attr(k, v)) for k, v in r.get('attrs', {}).items()], (8, ('f32', r.get('flags', 0))), (9, r.get('trace', b'')),
                   (10, r.get('span', b'')), *([(11, ('f64', r['observed']))] if 'observed' in r else []))) for r in records]
    return pb((1, pb((1, pb(*[(1, attr(k, v)) for k, v in resource.items()])), (2, pb((1, pb((1, scope), (2, '1.2'))), *logs)))))


def otlp(s):
    body = otlp_logs({'service.name': 'shop', 'k8s.pod.name': 'p-1', 'host.name': 'h'}, 'lib', [
        {'ts': base, 'severity': 17, 'text': 'ERROR', 'body': 'it broke', 'attrs': {'http.status': 500, 'ok': False, 'm': {'a': {'b': 1.5}}, 'l': ['x', 2]},
         'flags': 1, 'trace': bytes(range(16)), 'span': b'\xff' * 8, 'observed': base + 5},
        {'observed': base + 1, 'body': {'k': [1, 'two', True]}}])
    post = lambda b, **h: s.post('/otlp/v1/logs', b, 'application/x-protobuf', headers=h)
    assert post(body).status == 204
    want = [(base, 'it broke', {'service_name': 'shop', 'k8s_pod_name': 'p-1', 'host_name': 'h', 'scope_name': 'lib', 'scope_version': '1.2',
                                'http_status': '500', 'ok': 'false', 'm_a_b': '1.5', 'l': '["x",2]', 'severity_number': '17', 'severity_text': 'ERROR',
                                'trace_id': bytes(range(16)).hex(), 'span_id': 'ff' * 8, 'flags': '1', 'observed_timestamp': str(base + 5)}),
            (base + 1, '{"k":[1,"two",true]}', {'service_name': 'shop', 'k8s_pod_name': 'p-1', 'host_name': 'h', 'scope_name': 'lib',
                                                'scope_version': '1.2', 'observed_timestamp': str(base + 1)})]
    got = [(t, l, dict(m)) for t, l, m in s.entries('{service_name="shop"}', base, base + S)]
    assert got == want, got
    assert s.get('/loki/api/v1/series', {'match[]': '{service_name="shop"}', 'start': base, 'end': base + S}).json()['data'] == [
        {'service_name': 'shop', 'k8s_pod_name': 'p-1'}]
    assert post(gzip.compress(body), **{'Content-Encoding': 'gzip'}).status == 204
    assert len(s.entries('{service_name="shop"}', base, base + S)) == 2           # an exporter's retry
    assert post(otlp_logs({}, '', [{'ts': base, 'body': 'who am I'}])).status == 204
    assert s.entries('{service_name="unknown_service"}', base, base + S)[0][1] == 'who am I'
    assert post(b'').status == 204
    r = post(body[:-3])
    assert r.status == 400 and r.headers['content-type'] == 'application/x-protobuf' and r.body[:4] == b'\x08\x90\x03\x12', r
    assert b'invalid protobuf: unexpected EOF' in r.body, r
    deep = 'x'
    for _ in range(40):
        deep = [deep]
    assert post(otlp_logs({}, '', [{'ts': base, 'body': deep}])).status == 400
    text_error(s.post('/otlp/v1/logs', '{}', 'text/plain'), 415, 'content type not supported')


def otlp_json(s):
    post = lambda b, **h: s.post('/otlp/v1/logs', b, 'application/json; charset=utf-8', headers=h)
    text = lambda k, v: {'key': k, 'value': {'stringValue': v}}
    body = json.dumps({'resourceLogs': [{'resource': {'attributes': [text('service.name', 'json-shop'), text('host.name', 'h')]}, 'scopeLogs': [
        {'scope': {'name': 'lib'}, 'logRecords': [{
            'timeUnixNano': str(base), 'severityNumber': 9, 'severityText': 'INFO', 'body': {'stringValue': 'caf\u00e9'}, 'traceId': '0A' * 16, 'spanId': 'ff' * 8,
            'attributes': [{'key': 'n', 'value': {'intValue': '7'}}, {'key': 'b', 'value': {'bytesValue': '/w=='}}], 'unknown': [{}]}]}]}]}).encode()
    for send in (lambda: post(body), lambda: post(gzip.compress(body), **{'Content-Encoding': 'gzip'})):     # the second one is a retry
        assert send().status == 204
        got = [(t, l, dict(m)) for t, l, m in s.entries('{service_name="json-shop"}', base, base + S)]
        assert got == [(base, 'caf\u00e9', {'service_name': 'json-shop', 'host_name': 'h', 'scope_name': 'lib', 'severity_number': '9', 'severity_text': 'INFO',
                                           'trace_id': '0a' * 16, 'span_id': 'ff' * 8, 'n': '7', 'b': '/w=='})], got
    r = post(b'{"resourceLogs":[{}')
    assert r.status == 400 and r.headers['content-type'] == 'application/json' and r.json()['code'] == 400 and r.json()['message'], r


def grid(s):
    """Where the points of a range query stand: at multiples of the step, whose milliseconds are whole."""
    points = lambda start, end, step: [v[0] for v in s.get('/loki/api/v1/query_range', dict(query='vector(1)', start=start, end=end, step=step)).json()['data']['result'][0]['values']]
    assert points(1, 9, 4) == [0, 4, 8, 12] and points(4, 8, '2s') == [4, 6, 8] and points(4, 4, 4) == [4] and points(5, 5, 4) == [4, 8]
    assert points('1.0005', '1.004', '0.0015') == [1, 1.001, 1.002, 1.003, 1.004]
    assert points(-3, 7, 5) == [0, 5, 10] and points(-11, -6, 5) == [-10, -5, 0]
    assert len(points(0, 11000, 1)) == 11001
    text_error(s.get('/loki/api/v1/query_range', dict(query='vector(1)', start=0, end=11001, step=1)), 400, 'exceeded maximum resolution of 11,000 points')


def forms(s):
    """Parameters in bodies: of POST, as a form; then those of the URL come second."""
    def value(method, url, body, ctype='application/x-www-form-urlencoded; charset=utf-8'):
        r = s.request(method, '/loki/api/v1/query?time=1&' + url, body, {'Content-Type': ctype} if ctype else {})
        return r.json()['data']['result'][0]['value'][1] if r.status == 200 else r.status
    assert value('POST', 'query=vector(1)', 'query=vector(2)&query=vector(3)') == '2' and value('POST', 'query=vector(1)', '') == '1'
    assert value('GET', 'query=vector(1)', 'query=vector(2)') == '1'
    for ctype in ('application/json', 'text/plain', None):
        assert value('POST', 'query=vector(1)', 'query=vector(2)', ctype) == '1' and value('POST', '', 'query=vector(2)', ctype) == 400


def prom_push(s):
    """The first of Loki's push routes."""
    at = time.strftime('%Y-%m-%dT%H:%M:%S.5Z', time.gmtime(hour))
    post = lambda labels, ts: s.post('/api/prom/push', {'streams': [{'labels': labels, 'entries': [{'ts': ts, 'line': 'of old'}]}]})
    assert post('{app="old", pod="p"}', at).status == 204
    assert [(t, l) for t, l, m in s.entries('{app="old", pod="p"}', base, base + S)] == [(base + S // 2, 'of old')]
    text_error(post('{app="old"}', 'soon'), 400, "timestamp 'soon' is not of RFC 3339")
    text_error(post('{app=old}', at), 400, "couldn't parse labels: ")
    entry = pb((1, pb((1, hour), (2, 7))), (2, 'of old in protobuf'))
    block = pb((1, pb((1, '{app="old", pod="q"}'), (2, entry))))
    assert len(block) < 128
    snappy = bytes([len(block), 60 << 2, len(block) - 1]) + block       # one literal
    assert s.post('/api/prom/push', snappy, 'application/x-protobuf').status == 204
    assert [(t, l) for t, l, m in s.entries('{app="old", pod="q"}', base, base + S)] == [(base + 7, 'of old in protobuf')]


def status(s):
    d = s.get('/loki/api/v1/drilldown-limits').json()
    assert d['pattern_ingester_enabled'] is True and d['limits']['volume_enabled'] is True and d['limits']['max_query_series'] == 500 and d['limits']['query_timeout'] == '1m', d
    assert d['limits']['retention_period'] == '1w' and 'pattern_ingester_enabled' in d and d['version'], d
    assert set(s.get('/loki/api/v1/status/buildinfo').json()) == {'version', 'revision', 'branch', 'buildUser', 'buildDate', 'goVersion'}
    assert b'max_query_series: 500\n' in s.get('/config/tenant/v1/limits').body
    assert s.get('/services').body == b'server => Running\nwriter => Running\nquerier => Running\n'


def log_level(s):
    """POST counts for the master, the writer and every worker, until a reload."""
    set_level = lambda level: s.post('/log_level', urllib.parse.urlencode({'log_level': level}), 'application/x-www-form-urlencoded')
    current = lambda: s.get('/log_level').json()['message']
    sealed = lambda: open(s.log_path, errors='replace').read().count('sealed file=')       # what the writer says at level info

    def seal():
        assert s.push([({'app': 'level'}, [(base, str(time.monotonic_ns()))])]).status == 204
        assert s.request('POST', '/flush').status == 204
        return sealed()

    def until(said):
        """Seal until that is said, or not: a process looks at the level once a second."""
        end = time.monotonic() + 20 * SLOW
        while (lambda before: (seal() > before) != said)(sealed()):
            assert time.monotonic() < end, 'the writer does not follow'

    assert current() == 'Current log level is info'
    for level in ('loud', '', 'INFO', 'fatal'):
        r = set_level(level)
        assert r.status == 400 and r.json() == {'status': 'failed', 'message': 'unrecognized log level "%s"' % level}, r
    assert s.request('POST', '/log_level').status == 400
    until(True)
    r = set_level('error')
    assert r.status == 200 and r.json() == {'status': 'success', 'message': 'Log level set to error'}, r
    for _ in range(10):
        assert current() == 'Current log level is error'        # whichever worker answers
    until(False)
    s.proc.send_signal(signal.SIGHUP)
    until(True)
    assert current() == 'Current log level is info'
    assert set_level('debug').status == 200 and current() == 'Current log level is debug'


def shards(s):
    """One shard, which is everything, with the numbers of index/stats."""
    params = {'query': '{app=~".+"}', 'start': base, 'end': base + 3600 * S, 'targetBytesPerShard': '1MB'}
    r = s.get('/loki/api/v1/index/shards', params).json()
    stats = s.stats('{app=~".+"}', base, base + 3600 * S)
    assert stats['entries'] > 0 and r['shards'] == [{'bounds': {'min': 0, 'max': 2**64 - 1}, 'stats': stats}] and 'summary' in r['statistics'], r
    text_error(s.get('/loki/api/v1/index/shards', {'query': '{'}), 400, 'parse error')


with Server(OPTIONS) as s:
    s.start()
    format_query(s)
    volume(s, False)
    assert s.request('POST', '/flush').status == 204
    volume(s, True)
    detected_labels(s)
    detected_fields(s)
    patterns(s, False)
    assert s.request('POST', '/flush').status == 204
    patterns(s, True)
    otlp(s)
    otlp_json(s)
    grid(s)
    forms(s)
    prom_push(s)
    shards(s)
    status(s)
    log_level(s)
    assert s.stop() == 0


OTLP_CONFIG = {
    'limits.otlp_config.resource_attributes.attributes_config':
        '[{action: index_label, attributes: [team.name, 9th]}, {action: drop, regex: "secret[.].*"}, {action: index_label, regex: "secret.*|env"}]',
    'limits.otlp_config.scope_attributes': '[{action: drop, attributes: [noise]}]',
    'limits.otlp_config.log_attributes': '[{action: structured_metadata, attributes: [keep.me]}, {action: drop, regex: "(keep|http)[.].*|m"}]',
}


def otlp_rules():
    """limits.otlp_config in Loki's form: the first rule that names an attribute counts, and names are whole names."""
    def attributes(kv):
        return [{'key': k, 'value': v if isinstance(v, dict) else {'stringValue': v}} for k, v in kv.items()]
    res = {'service.name': 'shop', 'team.name': 'red', '9th': 'x', 'secret.a': '1', 'secret': '2', 'env': 'prod', 'host.name': 'h'}
    log = {'keep.me': '1', 'keep.not': '2', 'http.status': '200', 'other': 'o', 'm': {'kvlistValue': {'values': attributes({'a': '1'})}}}
    body = {'resourceLogs': [{'resource': {'attributes': attributes(res)}, 'scopeLogs': [
        {'scope': {'name': 'lib', 'attributes': attributes({'noise': 'n', 'sound': 's'})},
         'logRecords': [{'timeUnixNano': str(base), 'body': {'stringValue': 'line'}, 'attributes': attributes(log)}]}]}]}

    def pushed(s):
        assert s.post('/otlp/v1/logs', body).status == 204
        r = s.get('/loki/api/v1/query_range', {'query': '{team_name=~".*", %s=~".+"}' % ('service_name' if s.plain else 'env'), 'start': base, 'end': base + S},
                  {'X-Loki-Response-Encoding-Flags': 'categorize-labels'}).json()['data']['result']
        return r[0]['stream'], r[0]['values'][0][2]['structuredMetadata']
    with Server(OTLP_CONFIG) as s:
        s.plain = True
        s.start()
        assert pushed(s) == ({'service_name': 'shop', 'team_name': 'red', 'key_9th': 'x', 'secret': '2', 'env': 'prod'},
                             {'host_name': 'h', 'scope_name': 'lib', 'sound': 's', 'keep_me': '1', 'other': 'o'}), pushed(s)
        assert s.stop() == 0
    conf = {'limits': {'discover_log_levels': False, 'discover_service_name': [], 'otlp_config': {
        'resource_attributes': {'ignore_defaults': True, 'attributes_config': [{'action': 'index_label', 'attributes': ['env']}]}}}}
    with Server(dict.fromkeys(AS_PUSHED), env={'LOGPULSE_CONFIG': ''}) as s:
        path = s.tmp + '/conf.yaml'
        s.env['LOGPULSE_CONFIG'] = path
        s.plain = False
        with open(path, 'w') as f:
            json.dump(conf, f)
        s.start()
        assert pushed(s)[0] == {'env': 'prod'} and pushed(s)[1]['service_name'] == 'shop', pushed(s)
        # What cannot be is refused with its place, also on reload.
        rule = conf['limits']['otlp_config']['resource_attributes']['attributes_config']
        for bad, text in (({'action': 'index_label', 'regex': '(x'}, b'attributes_config: rule 1: '), ({'action': 'keep', 'regex': 'x'}, b'action: expected index_label'),
                          ({'action': 'drop'}, b'either attributes or regex'), ({'action': 'drop', 'attributes': 'a'}, b'attributes: expected a list')):
            rule[0] = bad
            with open(path, 'w') as f:
                json.dump(conf, f)
            r = subprocess.run([BUILD + '/logpulse', '--config', path, '--check-config'], capture_output=True)
            assert r.returncode == 78 and text in r.stderr, r
        os.kill(s.proc.pid, signal.SIGHUP)
        wait_for('the refusal in the log', lambda: 'configuration not reloaded' in open(s.log_path).read())
        assert pushed(s)[0] == {'env': 'prod'}
        assert s.stop() == 0
    r = subprocess.run([BUILD + '/logpulse', '--print-config', '--set', 'limits.otlp_config.log_attributes=[{action: drop, attributes: [a]}]'], capture_output=True)
    assert b'log_attributes: [{action: drop, attributes: ["a"]}]' in r.stdout, r
    r = subprocess.run([BUILD + '/logpulse', '--check-config', '--set', 'limits.otlp_config.log_attributes=[{action: index_label, attributes: [a]}]'],
                       capture_output=True)
    assert r.returncode == 64 and b'expected structured_metadata or drop' in r.stderr, r


def several_tenants(s, span):
    """X-Scope-OrgID: a|b asks both; whose a stream is stands in __tenant_id__, which can be asked for, too."""
    h = {'X-Scope-OrgID': 'b|a|b|nobody'}

    def data(path, **params):
        r = s.get('/loki/api/v1/' + path, dict(span, **params), h)
        assert r.status == 200, r
        return r.json()['data']
    assert s.push([({'app': 'a', '__tenant_id__': 'a'}, [(base, 'claimed')])], headers={'X-Scope-OrgID': 'z'}).status == 204
    for sealed in (False, True):
        if sealed:
            assert s.request('POST', '/flush').status == 204
        assert [x['stream'] for x in data('query_range', query='{app=~".+"}')['result']] == [
            {'app': 'a', '__tenant_id__': 'a'}, {'app': 'b', '__tenant_id__': 'b'}]
        for query in ('{__tenant_id__="b", app=~".+"}', '{app=~".+", __tenant_id__!="a"}', '{app=~".+"} | __tenant_id__=~"b|c"'):
            assert [x['stream']['app'] for x in data('query_range', query=query)['result']] == ['b'], query
        r = s.get('/loki/api/v1/query', {'query': 'sum by (__tenant_id__) (count_over_time({app=~".+"}[10s]))', 'time': base + S}, h).json()['data']['result']
        assert [(x['metric'], x['value'][1]) for x in r] == [({'__tenant_id__': 'a'}, '1'), ({'__tenant_id__': 'b'}, '1')], r
        r = s.get('/loki/api/v1/query', {'query': 'sum(count_over_time({app=~".+"}[10s]))', 'time': base + S}, h).json()['data']['result']
        assert [(x['metric'], x['value'][1]) for x in r] == [({}, '2')], r
        assert data('labels') == ['__tenant_id__', 'app', 'service_name'] and data('label/__tenant_id__/values') == ['a', 'b']
        assert data('label/app/values', query='{__tenant_id__="a"}') == ['a']
        assert {'app': 'b', '__tenant_id__': 'b'} in data('series') and len(data('series')) == 4
        assert {x['metric']['__tenant_id__'] for x in data('index/volume', query='{app=~".+"}', targetLabels='__tenant_id__')['result']} == {'a', 'b'}
        # Nobody can pass for another tenant by a label, and one tenant's queries have no such label.
        assert [x['stream'] for x in s.get('/loki/api/v1/query_range', dict(span, query='{app="a"}'), {'X-Scope-OrgID': 'z|b'}).json()['data']['result']] == [
            {'app': 'a', '__tenant_id__': 'z'}]
        assert s.get('/loki/api/v1/label/app/values', span, {'X-Scope-OrgID': 'a|a'}).json()['data'] == ['a']
        assert s.get('/loki/api/v1/labels', span, {'X-Scope-OrgID': 'a|a'}).json()['data'] == ['app', 'service_name']
    text_error(s.push([({'app': 'x'}, [(base, 'x')])], headers={'X-Scope-OrgID': 'a|b'}), 400, 'multiple org IDs present')


with Server(dict(OPTIONS, **{'tenants.enabled': 'true', 'tenants.max_per_query': 3})) as s:
    s.start()
    span = dict(start=base, end=base + S)
    for who in ('a', 'b'):
        assert s.push([({'app': who}, [(base, 'of ' + who)])], headers={'X-Scope-OrgID': who}).status == 204
        assert s.post('/otlp/v1/logs', otlp_logs({'service.name': who}, '', [{'ts': base, 'body': who}]), 'application/x-protobuf',
                      headers={'X-Scope-OrgID': who}).status == 204
    for sealed in (False, True):
        if sealed:
            assert s.request('POST', '/flush').status == 204
        for who in ('a', 'b'):
            h = {'X-Scope-OrgID': who}
            assert s.get('/loki/api/v1/label/app/values', span, h).json()['data'] == [who]
            assert s.get('/loki/api/v1/index/volume', dict(span, query='{}', targetLabels='app'), h).json()['data']['result'][0]['metric'] == {'app': who}
            r = s.get('/loki/api/v1/query_range', dict(span, query='{app=~".+"}'), h).json()['data']['result']
            assert [x['stream'] for x in r] == [{'app': who}], r
            assert s.get('/loki/api/v1/detected_labels', span, h).json()['detectedLabels'][0] == {'label': 'app', 'cardinality': 1}
    for path in ('/loki/api/v1/labels', '/loki/api/v1/query_range?query=%7Ba%3D%22b%22%7D', '/labels'):
        text_error(s.get(path), 401, 'no org id')
    text_error(s.push([({'app': 'x'}, [(base, 'x')])]), 401, 'no org id')
    assert s.get('/ready').status == 200
    several_tenants(s, span)
    for bad, text in (('a|b|c|d', 'multiple org IDs present: 4, tenants.max_per_query allows 3'), ('a|', 'tenant ID is empty'), ('..', "tenant ID is '.' or '..'"), ('a/b', 'tenant ID contains an unsupported character'),
                      ('x' * 151, 'tenant ID is too long: max 150 characters')):
        text_error(s.get('/loki/api/v1/labels', None, {'X-Scope-OrgID': bad}), 400, text)
    assert s.stop() == 0
otlp_rules()
done()
