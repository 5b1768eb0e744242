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

    def make_certificate(cert, key):
        r = subprocess.run(['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', key, '-out', cert, '-days', '2',
                            '-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1'], capture_output=True)
        assert r.returncode == 0, r.stderr
    make_certificate(cert, key)
    # ---- what cannot be used is refused before anything starts
    make_certificate(s.tmp + '/other', s.tmp + '/otherkey')
    subprocess.run(['openssl', 'ec', '-aes128', '-passout', 'pass:x', '-in', key, '-out', s.tmp + '/locked'], capture_output=True, check=True)
    for c, k, says in ((s.tmp + '/absent', key, '/absent: No such file'), (cert, s.tmp + '/absent', '/absent: No such file'), (key, key, 'cert_file'),
                       (cert, cert, 'key_file'), (cert, s.tmp + '/otherkey', 'mismatch'), (cert, s.tmp + '/locked', '/locked')):
        argv = s.argv() + ['--set', 'server.tls.cert_file=' + c, '--set', 'server.tls.key_file=' + k]
        for more in (['--check-config'], []):
            r = subprocess.run(argv + more, capture_output=True, text=True, timeout=30 * SLOW, stdin=subprocess.DEVNULL)
            assert r.returncode == 78 and 'server.tls.' in r.stderr and says in r.stderr, (c, k, more, r)
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
    # ---- a new certificate takes effect; a bad one changes nothing, also for workers that are started after it
    def shown():
        """The certificates that ten connections are shown, over all workers."""
        loose = ssl.create_default_context()
        loose.check_hostname, loose.verify_mode = False, ssl.CERT_NONE
        found = set()
        for _ in range(10):
            with loose.wrap_socket(socket.create_connection(('127.0.0.1', s.port), timeout=5 * SLOW)) as c:
                found.add(c.getpeercert(True))
        return found

    def reloads(result):
        text = ask('GET', '/metrics')[1].decode()
        return sum(float(l.split()[-1]) for l in text.splitlines() if l.startswith('logpulse_config_reloads_total{result="%s"' % result))
    old = shown()
    assert len(old) == 1
    make_certificate(cert, key)
    s.proc.send_signal(signal.SIGHUP)
    wait_for('the new certificate everywhere', lambda: len(shown()) == 1 and shown() != old)
    new = shown()
    ctx = ssl.create_default_context(cafile=cert)
    open(key, 'w').write('nonsense')
    s.proc.send_signal(signal.SIGHUP)
    wait_for('the reload to fail', lambda: reloads('error') == 1)
    assert reloads('ok') == 1
    for pid in s.children('worker'):
        os.kill(pid, signal.SIGKILL)
    wait_for('workers to be back', lambda: len(s.children('logpulse: worker')) == 2 and up())
    assert shown() == new
    assert s.stop() == 0
done()
