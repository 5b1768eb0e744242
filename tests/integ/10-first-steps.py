#!/usr/bin/env python3
"""Every push format and every question of the README, with the answers' shapes (feature reference 1.2, 1.3, 2.5)."""
import gzip, os, struct, sys, time, zlib
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../lib'))
from lptest import *

now = int(time.time()) * 10**9


def msgpack(v):
    if isinstance(v, str):
        b = v.encode()
        return (b'\xd9' + bytes([len(b)]) if len(b) < 256 else b'\xda' + struct.pack('>H', len(b))) + b
    if isinstance(v, int):
        return b'\xd3' + struct.pack('>q', v)
    if isinstance(v, list):
        return b'\xdc' + struct.pack('>H', len(v)) + b''.join(map(msgpack, v))
    return b'\xde' + struct.pack('>H', len(v)) + b''.join(msgpack(k) + msgpack(x) for k, x in v.items())


with Server() as s:
    s.start()
    # ---- in
    r = s.push([({'app': 'loki-json', 'level': 'error'}, [(now, 'one "quoted" line\twith a tab'), (now + 1, 'zwei äöü')])])
    assert (r.status, r.body) == (204, b''), r
    body = loki_body([({'app': 'gz'}, [(now + 2, 'gzip')])]).encode()
    assert s.post('/loki/api/v1/push', gzip.compress(body), headers={'Content-Encoding': 'gzip'}).status == 204
    body = loki_body([({'app': 'deflate'}, [(now + 3, 'deflate')])]).encode()
    assert s.post('/loki/api/v1/push', zlib.compress(body), headers={'Content-Encoding': 'deflate'}).status == 204
    r = s.post('/loki/api/v1/push', snappy_stored(proto('{app="proto", level="info"}', [(now + 4, 'by protobuf', {'trace': 'abc'})])),
               'application/x-protobuf')
    assert r.status == 204, r
    orig = {'streams': [{'labels': {'app': 'original', 'level': 'warn'}, 'entries': [
        {'ts': rfc3339(now + 5), 'line': 'original json'}, {'ts': 'no time', 'line': 'its time is now'}]}]}
    r = s.post('/ingest', orig)
    assert r.status == 200 and r.json() == {'accepted': 2}, r
    orig['streams'][0]['labels']['app'] = 'msgpack'
    r = s.post('/ingest', msgpack(orig), 'application/msgpack')
    assert r.status == 200 and r.json() == {'accepted': 2}, r

    # ---- out, visible at once: Loki's shapes
    lo, hi = now - 10**9, now + 3600 * 10**9
    for app, n in (('loki-json', 2), ('gz', 1), ('deflate', 1), ('proto', 1), ('original', 2), ('msgpack', 2)):
        rows = s.entries('{app="%s"}' % app, lo, hi)
        assert len(rows) == n, (app, rows)
    res = s.query_range('{app="proto"}', lo, hi)
    assert res == [{'stream': {'app': 'proto', 'level': 'info', 'trace': 'abc'}, 'values': [[str(now + 4), 'by protobuf']]}], res
    rows = s.entries('{app=~"loki.*"} |= "quoted" != "zwei" |~ "l[i]ne" !~ "^x"', lo, hi)
    assert [r[1] for r in rows] == ['one "quoted" line\twith a tab'], rows
    back = s.query_range('{app=~".+"}', lo, hi, limit=1, direction='backward')
    fwd = s.query_range('{app=~".+"}', lo, hi, limit=1, direction='forward')
    assert fwd[0]['values'][0][0] == str(now) and int(back[0]['values'][0][0]) >= now + 5, (fwd, back)
    # start is inclusive, end exclusive, to the nanosecond
    assert [r[0] for r in s.entries('{app="loki-json"}', now, now + 1)] == [now]
    labels = s.get('/loki/api/v1/labels', dict(start=lo, end=hi)).json()
    assert labels == {'status': 'success', 'data': ['app', 'level']}, labels
    values = s.get('/loki/api/v1/label/level/values', dict(start=lo, end=hi)).json()
    assert values['data'] == ['error', 'info', 'warn'], values
    series = s.get('/loki/api/v1/series', {'match[]': ['{app="gz"}', '{app="proto"}'], 'start': lo, 'end': hi}).json()['data']
    assert sorted(x['app'] for x in series) == ['gz', 'proto'], series
    # ---- the original API
    q = s.get('/query', dict(query='{app="original"}', start=rfc3339(lo), end=rfc3339(hi))).json()
    assert [x['message'] for x in q['logs']] == ['its time is now', 'original json'], q
    assert q['logs'][1]['timestamp'] == rfc3339(now + 5).replace('000000005Z', '000000005Z') and q['logs'][1]['level'] == 'warn'
    assert set(q['stats']) == {'queriedChunks', 'scannedLines', 'matchedLines', 'executionTime'}, q['stats']
    assert len({x['id'] for x in q['logs']}) == 2
    r = s.get('/query', dict(query='{app="original"'))
    assert r.status == 400 and r.json()['error'] == 'Invalid query syntax' and r.json()['code'] == 'BAD_QUERY', r
    assert 'parse error at line 1' in r.json()['details'], r
    r = s.get('/query', dict(query='{app=~"[invalid"}'))
    assert r.status == 400 and r.json()['error'] == 'Invalid regex pattern' and r.json()['code'] == 'INVALID_REGEX', r
    # A query that is quoted in what is wrong with it may be long: the text is cut, never empty.
    long = '{app=~"[%s"}' % ('x' * 100000)
    r = s.get('/query', dict(query=long))
    assert r.status == 400 and len(r.json()['details']) > 1000 and r.json()['code'] == 'INVALID_REGEX', r
    r = s.get('/loki/api/v1/query_range', dict(query=long))
    assert r.status == 400 and r.body.startswith(b'parse error : error parsing regexp') and len(r.body) > 1000, r
    assert s.get('/labels').json() == ['app', 'level']
    assert s.get('/labels/app/values').json() == ['deflate', 'gz', 'loki-json', 'msgpack', 'original', 'proto']
    # ---- the same again is nothing new: agents retry
    s.push([({'app': 'loki-json', 'level': 'error'}, [(now + 1, 'zwei äöü')])])
    assert len(s.entries('{app="loki-json"}', lo, hi)) == 2
    # ---- and after sealing
    assert s.request('POST', '/flush').status == 204
    assert len(s.entries('{app=~".+"}', lo, hi)) == 9
    assert s.stats('{app=~".+"}', lo, hi)['entries'] == 9
    # ---- state
    h = s.get('/health').json()
    assert h['status'] == 'healthy' and h['uptime'] >= 0 and h['chunksCount'] >= 1 and h['storageUsed'] > 0, h
    assert s.get('/ready').body == b'ready\n'
    m = s.get('/metrics').body.decode()
    assert s.metric('logpulse_ingested_lines_total') == 10, m
    # Entries without a time of their own are entries of their own, also when they say the same.
    twins = {'streams': [{'labels': {'app': 'twins'}, 'entries': [{'line': x} for x in ('b', 'a', 'b', 'b')]}]}
    packed = b'\x81\xa7streams\x91\x82\xa6labels\x81\xa3app\xa7twins-m\xa7entries\x93' + b'\x81\xa4line\xa1b' * 3
    assert s.post('/ingest', twins).json() == {'accepted': 4}
    assert s.post('/ingest', packed, 'application/msgpack').json() == {'accepted': 3}
    t = time.time_ns()
    assert [r[1] for r in s.entries('{app="twins"}', t - 60 * 10**9, t + 10**9)] == ['b', 'a', 'b', 'b']
    assert [r[1] for r in s.entries('{app="twins-m"}', t - 60 * 10**9, t + 10**9)] == ['b'] * 3
    assert s.stop() == 0
    s.verify()
done()
