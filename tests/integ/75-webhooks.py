#!/usr/bin/env python3
"""Web hooks for log lines: receivers that answer 500, hang and close; a notifier that is killed or stopped; secrets that stay secret."""
import os, signal, socket, subprocess, sys, threading, time
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../lib'))
from lptest import *
from hookstub import HookStub

SECRET, ROUTE, TOKEN = 'Sesam-oeffne-dich', 'routing-key-4711', 'token-from-a-file'
now = time.time_ns()
seq = 0


def push(s, app, lines, timeout=60):
    global seq
    values = []
    for x in lines:
        seq += 1
        values.append((now + seq * 1000, x))
    r = s.push([({'app': app}, values)], timeout=timeout)
    assert r.status in (200, 204), r


with Server(workers=1) as s:
    stub = HookStub()
    hooks, token = s.tmp + '/webhooks.yaml', s.tmp + '/token'
    open(token, 'w').write(TOKEN + '\n')

    def configure(more=''):
        open(hooks, 'w').write('''
webhooks:
  - name: plain
    url: %(url)s/plain?key=${HOOK_SECRET}
    events: [log]
    selector: '{app="web"} |= "error"'
    headers: {X-Secret: "${HOOK_SECRET}", Authorization: {file: %(token)s}}
    batch_wait: 50ms
    timeout: 1s
  - name: chat
    type: slack
    url: %(url)s/slack
    events: [log]
    selector: '{app="chat"}'
  - name: pager
    type: pagerduty
    url: %(url)s/pager
    routing_key: %(route)s
    events: [log]
    selector: '{app="pager"}'
  - name: limited
    url: %(url)s/limited
    events: [log]
    selector: '{app="flood"}'
    rate_limit: 1
    burst: 10
    batch_wait: 100ms
  - name: own
    url: %(url)s/own
    events: [log]
    selector: '{app="own"}'
    content_type: text/plain
    body: '{{ .count }}:{{ range fromJson .entries }}{{ .message }};{{ end }}'
  - name: single
    url: %(url)s/single
    events: [log]
    selector: '{app="single"}'
    max_lines: 1
%(more)s''' % dict(url=stub.url, token=token, route=ROUTE, more=more))

    configure()
    s.env['HOOK_SECRET'] = SECRET
    s.options['webhooks_file'] = hooks
    argv = [BUILD + '/logpulse', '--check-config', '--set', 'webhooks_file=' + hooks]
    r = subprocess.run(argv, env=dict(os.environ, HOOK_SECRET=SECRET), capture_output=True, text=True)
    assert r.returncode == 0, r
    r = subprocess.run(argv, env={k: v for k, v in os.environ.items() if k != 'HOOK_SECRET'}, capture_output=True, text=True)
    assert r.returncode == 78 and 'webhooks.yaml:4: the environment has no HOOK_SECRET' in r.stderr, r
    r = subprocess.run([BUILD + '/logpulse', '--check-config', '--set', 'webhooks_file=' + SRC + '/etc/webhooks.yaml'], capture_output=True, text=True)
    assert r.returncode == 0, r         # the example, as it is shipped
    s.start()
    notifier = lambda: s.children('notifier')
    wait_for('the notifier', notifier)
    log = lambda: open(s.log_path, errors='replace').read()
    wait_for('the hooks', lambda: 'web hooks ready targets=6' in log())


    def metric(name):
        for l in s.get('/metrics').body.decode().splitlines():
            if l.startswith('logpulse_webhook_' + name + ' '):
                return float(l.rsplit(' ', 1)[1])

    # ---- each kind of body
    # Lines from now on are followed: the first ones are pushed until one arrives.
    def first():
        push(s, 'web', ['error first', 'all is well'])
        push(s, 'other', ['error elsewhere'])
        time.sleep(0.2)
        return stub.of('/plain?key=' + SECRET)
    wait_for('the first request', first)
    body = stub.of('/plain?key=' + SECRET)[0]
    assert body['event'] == 'log' and body['dropped'] == 0 and body['count'] == len(body['entries']), body
    assert body['entries'][0]['labels']['app'] == 'web' and body['entries'][0]['message'] == 'error first', body
    assert set(stub.messages('/plain?key=' + SECRET)) == {'error first'}
    headers = [h for p, h, _ in stub.got if p.startswith('/plain')][0]
    assert headers['X-Secret'] == SECRET and headers['Authorization'] == TOKEN and headers['Content-Type'] == 'application/json', headers
    push(s, 'chat', ['a <b> & c'])
    push(s, 'pager', ['disk \u00e4 broken'])
    push(s, 'own', ['one', 'two'])
    push(s, 'single', ['only me'])
    wait_for('slack', lambda: stub.of('/slack'))
    assert stub.of('/slack')[0]['text'] == '1 log line\n```{app="chat"} a &lt;b&gt; &amp; c\n```', stub.of('/slack')
    wait_for('pagerduty', lambda: stub.of('/pager'))
    page = stub.of('/pager')[0]
    assert page['routing_key'] == ROUTE and page['event_action'] == 'trigger' and page['dedup_key'], page
    assert page['payload']['summary'] == '{app="pager"} disk \u00e4 broken' and page['payload']['custom_details']['count'] == 1, page
    wait_for('the template', lambda: [b for p, _, b in stub.got if p == '/own'])
    assert [b for p, _, b in stub.got if p == '/own'] == [b'2:one;two;'], stub.got
    wait_for('the single line', lambda: stub.of('/single'))
    assert stub.of('/single')[0]['message'] == 'only me' and stub.of('/single')[0]['labels'] == {'app': 'single'}

    # ---- the rate limit: ten at once, the rest is told
    push(s, 'flood', ['flood %d' % i for i in range(200)])
    wait_for('the flood', lambda: len(stub.messages('/limited')) >= 10)
    wait_for('the count of the rest', lambda: (push(s, 'flood', ['later']), time.sleep(0.3), sum(b['dropped'] for b in stub.of('/limited')) >= 180)[2])
    assert len(stub.messages('/limited')) < 100, len(stub.messages('/limited'))

    # ---- 500, close, hang, 429, then 200: each line arrives once, in order
    P = '/plain?key=' + SECRET
    with stub.lock:
        stub.got.clear()
    sent = []
    for i, answer in enumerate([500, 'close', 'hang', (429, {'Retry-After': '1'}), 408]):
        stub.answers[P] = answer
        tries = stub.tries[P]
        line = 'error %s %d' % (answer if isinstance(answer, (str, int)) else answer[0], i)
        sent.append(line)
        push(s, 'web', [line])
        wait_for('a try that meets ' + str(answer), lambda: stub.tries[P] > tries, 60)
        del stub.answers[P]
        wait_for('delivery after ' + str(answer), lambda: sent[-1] in stub.messages(P), 90)
    assert stub.messages(P) == sent, stub.messages(P)
    assert len(set(stub.ids(P))) == len(sent)
    wait_for('the count of retries', lambda: (metric('retried_total{target="plain"}') or 0) >= 4)   # libcurl itself repeats what a kept connection lost

    # ---- 200 was said, whatever becomes of the body: not again
    for answer in ('huge', 'short', 'drip'):
        stub.answers[P] = answer
        push(s, 'web', ['error ' + answer])
        wait_for('the request', lambda: 'error ' + answer in stub.messages(P))
        del stub.answers[P]
        push(s, 'web', ['error after ' + answer])
        wait_for('the next event', lambda: 'error after ' + answer in stub.messages(P))
        assert stub.messages(P).count('error ' + answer) == 1, stub.messages(P)
    # ---- a redirect is final, and not followed
    stub.answers[P] = (302, {'Location': stub.url + '/elsewhere'})
    push(s, 'web', ['error redirected'])
    wait_for('the redirect', lambda: metric('failed_total{target="plain",reason="refused"}') == 1)
    del stub.answers[P]
    assert '/elsewhere' not in stub.tries

    # ---- 400 is not tried again, and the next event goes out
    stub.answers[P] = 400
    push(s, 'web', ['error refused'])
    wait_for('the refusal', lambda: metric('failed_total{target="plain",reason="refused"}') == 2)
    del stub.answers[P]
    push(s, 'web', ['error after'])
    wait_for('the next event', lambda: 'error after' in stub.messages(P))
    assert 'error refused' not in stub.messages(P)

    # ---- kill -9 in the middle of a delivery: what was not confirmed comes again, under the same key
    stub.answers[P] = 'hang'
    tries = stub.tries[P]
    push(s, 'web', ['error killed'])
    wait_for('the request', lambda: stub.tries[P] > tries)
    key = [h['Idempotency-Key'] for p, h, b in stub.seen if p == P][-1]
    old = notifier()[0]
    os.kill(old, signal.SIGKILL)
    wait_for('another notifier', lambda: [p for p in notifier() if p != old])
    del stub.answers[P]
    wait_for('the event again', lambda: 'error killed' in stub.messages(P))
    assert stub.messages(P).count('error killed') == 1 and stub.ids(P)[-1] == key, (key, stub.ids(P))

    # ---- a stopped notifier: pushes and queries go on, and nothing is missed
    old = notifier()[0]
    os.kill(old, signal.SIGSTOP)
    want = []
    for i in range(50):
        want.append('error while stopped %d' % i)
        push(s, 'web', [want[-1]], timeout=20)
    assert len(s.query_range('{app="web"} |= "while stopped"', now, now + 10**12)[0]['values']) == 50
    os.kill(old, signal.SIGCONT)
    wait_for('the lines of that time', lambda: [m for m in stub.messages(P) if 'while stopped' in m] == want)

    # ---- a bad file at a reload leaves the targets at work; a good one is taken
    open(hooks, 'a').write('  - {url: nowhere}\n')
    os.kill(s.proc.pid, signal.SIGHUP)
    wait_for('the complaint', lambda: 'webhook-7: url: expected http' in log())
    push(s, 'web', ['error after a bad reload'])
    wait_for('delivery', lambda: 'error after a bad reload' in stub.messages(P))
    configure('''  - {name: added, url: "%s/added", events: [log], selector: '{app="added"}', timeout: 60s}\n''' % stub.url)
    os.kill(s.proc.pid, signal.SIGHUP)
    wait_for('the reload', lambda: 'web hooks ready targets=7' in log())
    push(s, 'added', ['hello'])
    wait_for('the new target', lambda: stub.messages('/added') == ['hello'])

    # ---- a request that is under way at a reload gets its answer, and is not made again
    stub.answers['/added'] = 'late'
    push(s, 'added', ['while it is read again'])
    wait_for('the request', lambda: stub.tries['/added'] == 2)
    again, ready = log().count('rules loaded'), log().count('web hooks ready')
    os.kill(s.proc.pid, signal.SIGHUP)
    wait_for('the reload', lambda: log().count('rules loaded') > again)
    stub.release.set()
    del stub.answers['/added']
    wait_for('the hooks', lambda: log().count('web hooks ready') > ready)
    push(s, 'added', ['bye'])
    wait_for('the next event', lambda: 'bye' in stub.messages('/added'))
    assert stub.messages('/added') == ['hello', 'while it is read again', 'bye'], stub.messages('/added')

    # ---- secrets
    printed = subprocess.run(s.argv() + ['--print-config'], env=dict(os.environ, HOOK_SECRET=SECRET), capture_output=True, text=True).stdout
    queues = b''.join(open(s.data + '/notify/' + f, 'rb').read() for f in os.listdir(s.data + '/notify'))
    for secret in (SECRET, ROUTE, TOKEN):
        assert secret not in log() and secret not in printed and secret.encode() not in queues, secret
        assert secret.encode() not in s.get('/metrics').body and secret.encode() not in s.get('/config').body, secret
    assert b'# TYPE logpulse_webhook_sent_total counter' in s.get('/metrics').body
    assert b'# TYPE logpulse_webhook_sent counter' in s.get('/metrics', headers={'Accept': 'application/openmetrics-text; version=1.0.0'}).body

    # ---- a stop keeps what waits, the next start sends it
    stub.answers[P] = 503
    push(s, 'web', ['error kept'])
    wait_for('a failure', lambda: metric('queue_events{target="plain"}') == 1)
    assert s.stop() == 0
    del stub.answers[P]
    s.start()
    wait_for('the kept event', lambda: 'error kept' in stub.messages(P))
    assert s.stop() == 0
    stub.close()

# ---- TLS: a certificate nobody vouches for, one of another name, the right one; a proxy that breaks off; secrets in addresses
with Server(workers=1) as s:
    def certificate(name):
        subprocess.run(['openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-subj', '/CN=x', '-addext',
                        'subjectAltName=' + name, '-keyout', s.tmp + '/key.pem', '-out', s.tmp + '/cert.pem'], check=True, capture_output=True)
        return s.tmp + '/cert.pem', s.tmp + '/key.pem'
    other = HookStub(tls=certificate('DNS:other.example'))
    os.rename(s.tmp + '/cert.pem', s.tmp + '/other.pem')
    stub = HookStub(tls=certificate('IP:127.0.0.1'))
    proxy = socket.socket()
    proxy.bind(('127.0.0.1', 0))
    proxy.listen(16)

    def break_off():
        while True:
            try:
                c, _ = proxy.accept()
            except OSError:
                return
            asked.append(c.recv(65536))
            c.sendall(b'HTTP/1.1 200 established\r\n\r\n')      # not the receiver's 200
            c.close()
    asked = []
    threading.Thread(target=break_off, daemon=True).start()
    open(s.tmp + '/webhooks.yaml', 'w').write('''
webhooks:
  - {name: unknown, url: "%(url)s/unknown?key=%(key)s", events: [log], batch_wait: 0s}
  - {name: stranger, url: "%(other)s/stranger", ca_file: %(tmp)s/other.pem, events: [log], batch_wait: 0s}
  - {name: right, url: "%(url)s/right", ca_file: %(tmp)s/cert.pem, events: [log], batch_wait: 0s}
  - {name: proxied, url: "%(url)s/proxied", ca_file: %(tmp)s/cert.pem, proxy: "http://user:%(key)s@127.0.0.1:%(proxy)d", events: [log], batch_wait: 0s}
''' % dict(url=stub.url, other=other.url, tmp=s.tmp, key=SECRET, proxy=proxy.getsockname()[1]))
    s.options['webhooks_file'] = s.tmp + '/webhooks.yaml'
    s.start()
    wait_for('the hooks', lambda: 'web hooks ready targets=4' in log())
    push(s, 'tls', ['over TLS'])
    wait_for('the right one', lambda: stub.messages('/right') == ['over TLS'])
    for name in ('unknown', 'stranger', 'proxied'):
        wait_for('a failure of ' + name, lambda: metric('retried_total{target="%s"}' % name))
        assert metric('queue_events{target="%s"}' % name) == 1 and 'web hook failed target=%s error=' % name in log(), log()
        assert metric('sent_total{target="%s"}' % name) == 0
    assert asked and not stub.tries.get('/unknown?key=' + SECRET) and not other.tries
    assert SECRET not in log() and SECRET.encode() not in s.get('/config').body + s.get('/metrics').body
    proxy.close()
    stub.close()
    other.close()
    assert s.stop() == 0
print('ok')
