#!/usr/bin/env python3
"""Loki's ingestion rates, for the whole server however many workers there are: per tenant (the push is refused whole) and per stream
(lines over it alone), with Loki's texts, 429 and Retry-After; and the ages that Loki's limits name."""
import os, sys, time
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../lib'))
from lptest import *

S = 10**9
base = (int(time.time()) - 60) * S
_n = 0


def fresh():
    global _n
    _n += 1
    return base + _n


def discarded(s, reason):
    for l in s.get('/metrics').body.decode().splitlines():
        if l.startswith('logpulse_discarded_lines_total{reason="%s"}' % reason):
            return int(l.rsplit(' ', 1)[1])


def stored(s, query, **h):
    r = s.get('/loki/api/v1/query', {'query': 'sum(count_over_time(%s[10m]))' % query, 'time': base + 300 * S}, h)
    result = r.json()['data']['result']
    return int(result[0]['value'][1]) if result else 0


# What is taken is earned again at 10 bytes per second: no test is that slow.
with Server({'limits.per_stream_rate_limit': 10, 'limits.per_stream_rate_limit_burst': 1000}, workers=3) as s:
    s.start()
    for i in range(9):                          # 9 connections, 3 workers: one rate
        r = s.push([({'app': 'x'}, [(fresh(), 'a' * 100)])])
        assert r.status == 204, (i, r)
    r = s.push([({'app': 'x'}, [(base, 'fits' * 10), (base + 10**7, 'b' * 100), (base + S, 'c' * 100)]), ({'app': 'y'}, [(fresh(), 'other stream')])])
    assert r.status == 429 and r.headers['retry-after'] == '1', r
    reason = "Per stream rate limit exceeded (limit: 10B/sec) while attempting to ingest for stream '{app=\"x\"}' totaling 100B, consider splitting a " \
             "stream via additional labels or contact your Loki administrator to see if the limit can be increased"
    second = time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime(base // S))
    after = time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime(base // S + 1))
    assert r.body.decode() == "entry with timestamp %s.01 +0000 UTC ignored, reason: '%s',\nentry with timestamp %s +0000 UTC ignored, reason: '%s',\n" \
        "user 'fake', total ignored: 2 out of 3 for stream: {app=\"x\"}" % (second, reason, after, reason), r.body
    assert stored(s, '{app="x"}') == 10 and stored(s, '{app="y"}') == 1
    assert discarded(s, 'per_stream_rate_limit') == 2 and discarded(s, 'rate_limited') == 0
    # Metadata counts; what other checks refuse does not.
    meta = {'streams': [{'stream': {'app': 'z'}, 'values': [[str(fresh()), 'x', {'m': 'v' * 990}], [str(fresh()), 'x' * 20]]}]}
    assert s.post('/loki/api/v1/push', meta).status == 429 and stored(s, '{app="z"}') == 1
    r = s.post('/ingest', {'streams': [{'labels': {'app': 'o'}, 'entries': [{'ts': rfc3339(fresh()), 'line': 'x' * 600}] * 2}]})
    assert r.status == 429 and r.headers['retry-after'] == '1' and stored(s, '{app="o"}') == 1, r
    # Ten are named; what other checks refused in the same push is not, but counted.
    r = s.push([({'app': 'many'}, [(fresh(), 'x' * 900)] + [(fresh(), 'x' * 200) for _ in range(30)]), ({}, [(fresh(), 'x')])])
    assert r.status == 429 and r.body.count(b'entry with timestamp') == 10 and b'total ignored: 30 out of 31 for stream: {app="many"}' in r.body, r.body
    assert stored(s, '{app="many"}') == 1 and discarded(s, 'per_stream_rate_limit') == 2 + 1 + 1 + 30
    # More than the burst never passes; without a limit it does.
    assert s.push([({'app': 'big'}, [(fresh(), 'x' * 1001)])]).status == 429
    assert s.stop() == 0

with Server({'tenants.enabled': 'true', 'limits.ingestion_rate_mb': 1, 'limits.ingestion_burst_size_mb': 9}) as s:
    s.start()

    def push(lines, tenant):
        return s.push([({'app': 'x'}, [(fresh(), 'x' * 200000) for _ in range(lines)])], headers={'X-Scope-OrgID': tenant})
    assert push(44, 'a').status == 204          # 8.4 MiB
    r = push(40, 'a')
    assert r.status == 429 and r.headers['retry-after'] == '1', r
    assert r.body.decode().startswith("ingestion rate limit exceeded for user a (limit: 1048576 bytes/sec) while attempting to ingest '40' lines totaling "
                                      "'8000000' bytes, reduce log volume or contact your Loki administrator"), r.body
    assert discarded(s, 'rate_limited') == 40
    h = {'X-Scope-OrgID': 'a'}
    assert stored(s, '{app="x"}', **h) == 44
    assert push(1, 'a').status == 204           # what is left is there for smaller ones
    assert push(44, 'b').status == 204          # and every tenant has its own
    assert push(48, 'c').status == 429          # more than the burst
    assert s.stop() == 0

day = 86400
with Server({'limits.reject_old_samples': 'true', 'limits.reject_old_samples_max_age': '2d', 'limits.creation_grace_period': '10m'}) as s:
    s.start()
    now = int(time.time())
    for age, text in ((day, None), (2 * day + 60, b'has timestamp too old: '), (-300, None), (-3600, b'has timestamp too new: ')):
        r = s.push([({'app': 'age'}, [((now - age) * S, 'x')])])
        assert r.status == (400 if text else 204) and (not text or text in r.body), (age, r)
    assert s.stop() == 0
done()
