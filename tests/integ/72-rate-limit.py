#!/usr/bin/env python3
"""Rate limits of the original server: one limit per client over all workers, its headers and texts, lists, proxies, keys."""
import os, subprocess, sys, time
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../lib'))
from lptest import *

SLOWLY = {'rate_limit.enabled': 'true', 'rate_limit.requests_per_minute': '1', 'rate_limit.burst': '20'}


def ask(s, who=None, path='/labels', **headers):
    return s.get(path, headers=dict({'X-Forwarded-For': who} if who else {}, **headers))


with Server(options=dict(SLOWLY, **{'rate_limit.trusted_proxies': '127.0.0.0/8', 'rate_limit.whitelist_ips': '192.0.2.0/24,198.51.100.7',
                                    'rate_limit.blacklist_ips': '203.0.113.9'}), workers=3) as s:
    s.start()
    # Every request is another connection, so all workers take part; together they let the burst through, and
    # what the refill of one a minute adds.
    began = time.monotonic()
    codes = [ask(s, '1.2.3.4').status for _ in range(60)]
    refill = int((time.monotonic() - began) / 60) + 1
    assert codes[:20] == [200] * 20 and 20 <= codes.count(200) <= 20 + refill and set(codes) == {200, 429}, codes
    r = ask(s, '1.2.3.4')
    assert r.status == 429 and r.body == b'Rate limit exceeded. Please try again later.', r
    h = r.headers
    assert h['retry-after'] == '60' and h['x-ratelimit-limit'] == '1' and h['x-ratelimit-remaining'] == '0', h
    assert time.time() + 60 < int(h['x-ratelimit-reset']) <= time.time() + 20 * 60 + 2, h
    r = ask(s, '1.2.3.5')
    assert r.status == 200 and r.headers['x-ratelimit-remaining'] == '19', r.headers
    # One IPv6 customer is a /64.
    v6 = [ask(s, '2001:db8::%x' % i).status for i in range(1, 41)]
    assert v6[:20] == [200] * 20 and 20 <= v6.count(200) <= 22, v6
    assert ask(s, '2001:db8:0:1::1').status == 200
    for who in ('192.0.2.200', '198.51.100.7'):
        assert {ask(s, who).status for _ in range(30)} == {200}, who
    r = ask(s, '203.0.113.9')
    assert r.status == 403 and r.body == b'Access denied', r
    assert {ask(s, '1.2.3.4', p).status for p in ('/health', '/ready') for _ in range(30)} == {200}
    # what a trusted proxy did not write is not believed
    assert ask(s, '192.0.2.1, 1.2.3.4').status == 429
    assert ask(s, '1.2.3.4, 192.0.2.1').status == 200
    assert s.post('/ingest', '{}', headers={'X-Forwarded-For': '1.2.3.4'}).status == 429
    white = {'X-Forwarded-For': '192.0.2.1'}
    m = s.get('/metrics', headers=white).body.decode()
    assert 'logpulse_discarded_requests_total{reason="rate_limited"} 1\n' in m and 'logpulse_blacklisted_requests_total 1\n' in m
    assert s.stop() == 0
    log = open(s.log_path).read()
    assert 'client=1.2.x.x' in log and '1.2.3.4' not in log

# The limit outlives a worker; a stranger's header says nothing.
with Server(options=SLOWLY, workers=1) as s:
    s.start()
    assert [ask(s, '9.9.9.%d' % i).status for i in range(25)].count(429) >= 3
    pid = s.children('logpulse: worker')[0]
    os.kill(pid, 9)
    wait_for('another worker', lambda: s.children('logpulse: worker') not in ([], [pid]))
    s.wait_ready()
    assert ask(s).status == 429

# By key: those who have it share its limit, guessing is limited by address.
with Server(options=dict(SLOWLY, **{'rate_limit.by': 'key', 'rate_limit.trusted_proxies': '127.0.0.1'}), env={'LOGPULSE_API_KEY': 'k'}, workers=1) as s:
    s.start()
    codes = [ask(s, '1.1.1.%d' % i, **{'X-API-Key': 'k'}).status for i in range(30)]
    assert codes[:20] == [200] * 20 and codes.count(429) >= 8, codes
    for other in ({'Authorization': 'k'}, {'Authorization': 'bearer k'}, {'Authorization': 'Bearer k', 'X-API-Key': 'made up'}):
        assert ask(s, '3.3.3.3', **other).status == 429, other
    codes = [ask(s, '2.2.2.2', **{'X-API-Key': 'guess%d' % i}).status for i in range(30)]
    assert codes[:20] == [401] * 20 and codes.count(429) >= 8, codes

# Off by default; a list with a mistake in it is refused before anything starts.
with Server(workers=1) as s:
    s.start()
    r = [ask(s) for _ in range(150)]
    assert {x.status for x in r} == {200} and 'x-ratelimit-limit' not in r[0].headers
r = subprocess.run([BUILD + '/logpulse', '-t', '--set', 'rate_limit.blacklist_ips=10.0.0.0/99'], capture_output=True, text=True)
assert r.returncode == 78 and 'rate_limit.blacklist_ips: "10.0.0.0/99"' in r.stderr, r
done('limits hold')
