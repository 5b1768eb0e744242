#!/usr/bin/env python3
"""Keys, TLS and cross-origin requests."""
import os, ssl, subprocess, sys, time
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../lib'))
from lptest import *

KEY = 's3cret-key'
now = int(time.time()) * 10**9
with Server(env={'LOGPULSE_API_KEY': KEY}) as s:
    s.start()
    body = loki_body([({'app': 'a'}, [(now, 'x')])])
    for path in ('/health', '/ready'):
        assert s.get(path).status == 200, path
    for method, path in (('GET', '/labels'), ('GET', '/metrics'), ('GET', '/query?query={}'), ('POST', '/ingest'), ('POST', '/loki/api/v1/push'),
                         ('GET', '/loki/api/v1/labels'), ('POST', '/flush'), ('GET', '/config'), ('GET', '/nowhere'), ('GET', '/stream')):
        r = s.request(method, path, body if method == 'POST' else None)
        assert r.status == 401 and b'Unauthorized' in r.body, (path, r)
        for h in ({'X-API-Key': 'wrong'}, {'X-API-Key': KEY + 'x'}, {'X-API-Key': KEY[:-1]}, {'Authorization': 'Bearer wrong'}, {'Authorization': ''},
                  {'X-API-Key': ''}):
            assert s.request(method, path, body if method == 'POST' else None, h).status == 401, (path, h)
    for h in ({'X-API-Key': KEY}, {'Authorization': 'Bearer ' + KEY}, {'Authorization': KEY}):
        assert s.get('/labels', headers=h).status == 200, h
        assert s.post('/loki/api/v1/push', body, headers=h).status == 204
    assert s.get('/metrics', headers={'X-API-Key': KEY}).status == 200
    assert KEY not in s.get('/config', headers={'X-API-Key': KEY}).body.decode()
    # preflight needs no key: browsers send none
    r = s.request('OPTIONS', '/query', None, {'Origin': 'http://x', 'Access-Control-Request-Method': 'GET'})
    assert r.status == 200 and r.headers['access-control-allow-origin'] == '*', r.headers
    assert 'PUT' in r.headers['access-control-allow-methods'] and 'X-API-Key' in r.headers['access-control-allow-headers'], r.headers
    assert s.get('/health').headers['access-control-allow-origin'] == '*'
    assert KEY not in open(s.log_path).read()
    cmd = open('/proc/%d/cmdline' % s.proc.pid, 'rb').read()
    assert KEY.encode() not in cmd
    assert s.stop() == 0
with Server({'server.cors.enabled': 'false'}) as s:
    s.start()
    assert 'access-control-allow-origin' not in s.get('/health').headers
    assert s.stop() == 0

with Server() as s:
    cert, key = s.tmp + '/cert.pem', s.tmp + '/key.pem'
    r = subprocess.run(['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', key, '-out', cert, '-days', '2',
                        '-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1'], capture_output=True)
    assert r.returncode == 0, r.stderr
    s.options.update({'server.tls.cert_file': cert, 'server.tls.key_file': key})
    s.start(wait=False)
    ctx = ssl.create_default_context(cafile=cert)
    ctx.set_alpn_protocols(['h2', 'http/1.1'])

    def ask(method, path, body=None):
        c = http.client.HTTPSConnection('localhost', s.port, context=ctx, timeout=30 * SLOW)
        c.request(method, path, body, {'Content-Type': 'application/json'})
        r = c.getresponse()
        alpn = c.sock.selected_alpn_protocol() if c.sock else 'http/1.1'
        return r.status, r.read(), alpn

    def up():
        try:
            return ask('GET', '/ready')[0] == 200
        except OSError:
            assert s.proc.poll() is None
            return False
    wait_for('TLS server', up)
    assert ask('GET', '/ready')[2] == 'http/1.1'
    assert ask('POST', '/loki/api/v1/push', loki_body([({'app': 'tls'}, [(now, 'z' * 1000)] * 1)]))[0] == 204
    assert b'zzz' in ask('GET', '/loki/api/v1/query_range?query=%7Bapp%3D%22tls%22%7D')[1]
    # plain HTTP on the TLS port is refused, and hurts nobody
    try:
        r = s.get('/ready')
        assert r.status >= 400, r
    except OSError:
        pass
    assert ask('GET', '/ready')[0] == 200
    s.proc.send_signal(signal.SIGHUP)
    wait_for('the certificate to be read again', up)
    assert s.stop() == 0
done()
