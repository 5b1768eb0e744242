#!/usr/bin/env python3
"""Traces: an OTLP receiver decodes the spans, their parents and links are right, of requests, tails, rules and web hooks; sampling,
standard output, a dead and a hanging collector."""
import gzip, http.server, json, os, re, signal, socket, struct, sys, threading, time
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../lib'))
from lptest import *
from hookstub import HookStub
from wsclient import *


class Collector(threading.Thread):
    """OTLP over HTTP, both encodings; keeps every span with the attributes as a dictionary."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.spans, self.headers, self.resource = [], [], {}
        self.bodies = []
        me = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers['content-length']))
                assert self.path == '/v1/traces'
                if self.headers.get('content-encoding') == 'gzip':
                    body = gzip.decompress(body)
                me.bodies.append(body)
                if self.headers['content-type'] == 'application/x-protobuf':
                    body = from_protobuf(body)
                else:
                    assert self.headers['content-type'] == 'application/json', self.headers
                    body = json.loads(body)
                for r in body['resourceSpans']:
                    me.resource = attributes(r['resource']['attributes'])
                    for s in r['scopeSpans']:
                        me.spans += [dict(x, attributes=attributes(x['attributes'])) for x in s['spans']]
                me.headers.append(dict(self.headers))
                self.send_response(200)
                self.send_header('Content-Length', '2')
                self.end_headers()
                self.wfile.write(b'{}')

            def log_message(self, *_):
                pass
        self.server = http.server.HTTPServer(('127.0.0.1', port), Handler)

    def run(self):
        self.server.serve_forever()

    def of(self, trace):
        return [s for s in list(self.spans) if s['traceId'] == trace]


def fields(data):
    """[(number, value)] of a protobuf message: integers, eight bytes as an integer, bytes."""
    at, out = 0, []

    def varint():
        nonlocal at
        v = shift = 0
        while True:
            b = data[at]
            at += 1
            v |= (b & 127) << shift
            shift += 7
            if b < 128:
                return v
    while at < len(data):
        key = varint()
        if key & 7 == 0:
            v = varint()
        elif key & 7 == 1:
            v = struct.unpack('<Q', data[at:at + 8])[0]
            at += 8
        else:
            assert key & 7 == 2, key
            n = varint()
            assert at + n <= len(data), (at, n, len(data))
            v = data[at:at + n]
            at += n
        out.append((key >> 3, v))
    return out


def from_protobuf(data):
    """An ExportTraceServiceRequest in the shape of the JSON encoding."""
    def all_of(m, n):
        return [v for k, v in fields(m) if k == n]

    def attrs(ms):
        out = []
        for m in ms:
            (kind, v), = fields(all_of(m, 2)[0])
            assert kind in (1, 3), kind
            out.append({'key': all_of(m, 1)[0].decode(), 'value': {'stringValue': v.decode()} if kind == 1 else {'intValue': str(v)}})
        return out

    def span(m):
        f = dict(fields(m))
        s = {'traceId': f[1].hex(), 'spanId': f[2].hex(), 'name': f[5].decode(), 'kind': f[6], 'startTimeUnixNano': str(f[7]),
             'endTimeUnixNano': str(f[8]), 'attributes': attrs(all_of(m, 9)), 'status': {}}
        if 4 in f:
            s['parentSpanId'] = f[4].hex()
        if 13 in f:
            s['links'] = [{'traceId': dict(fields(x))[1].hex(), 'spanId': dict(fields(x))[2].hex()} for x in all_of(m, 13)]
        if 15 in f:
            status = dict(fields(f[15]))
            s['status'] = {'code': status[3], **({'message': status[2].decode()} if 2 in status else {})}
        return s
    return {'resourceSpans': [{'resource': {'attributes': attrs(all_of(all_of(r, 1)[0], 1))},
                               'scopeSpans': [{'spans': [span(x) for x in all_of(scope, 2)]} for scope in all_of(r, 2)]}
                              for r in all_of(data, 1)]}


def attributes(a):
    return {x['key']: x['value'].get('stringValue', x['value'].get('intValue')) for x in a}


def traceparent(n, sampled=True):
    return '00-%032x-%016x-%s' % (n, n + 1, '01' if sampled else '00'), '%032x' % n, '%016x' % (n + 1)


now = time.time_ns()
port = free_port()
c = Collector(port)
c.start()
with Server(env={'OTEL_TRACES_EXPORTER': 'otlp', 'OTEL_EXPORTER_OTLP_ENDPOINT': 'http://127.0.0.1:%d/' % port,
                 'OTEL_EXPORTER_OTLP_HEADERS': 'x-team=a%20b,x-secret=tok', 'OTEL_SERVICE_NAME': 'shop-logs'}) as s:
    s.start()
    parent, trace, caller = traceparent(0xabcdef0123456789)
    assert s.push([({'app': 'a'}, [(now + i, 'line %d' % i) for i in range(20)])], headers={'traceparent': parent}).status == 204
    wait_for('the spans of the push', lambda: len(c.of(trace)) >= 3)
    assert c.resource['service.name'] == 'shop-logs' and c.resource['service.version'], c.resource
    assert c.headers[0]['Content-Type'] == 'application/x-protobuf', c.headers[0]
    assert c.headers[0]['x-team'] == 'a b' and c.headers[0]['x-secret'] == 'tok', c.headers[0]
    spans = {x['name']: x for x in c.of(trace)}
    assert set(spans) == {'push', 'decode', 'wait for commit'} and len(c.of(trace)) == 3, spans
    push = spans['push']
    assert push['parentSpanId'] == caller and push['kind'] == 2 and push['status'] == {}, push
    assert push['attributes'] == {'http.route': '/loki/api/v1/push', 'http.response.status_code': '204'}, push
    for x in ('decode', 'wait for commit'):
        assert spans[x]['parentSpanId'] == push['spanId'] and spans[x]['kind'] == 1, spans[x]
    assert spans['decode']['attributes']['logpulse.lines'] == '20'
    times = [int(x[k]) for x in (push, spans['decode'], spans['wait for commit']) for k in ('startTimeUnixNano', 'endTimeUnixNano')]
    slack = 10**6           # each span reads the clocks by itself
    assert times[0] <= times[2] + slack and times[2] <= times[3] <= times[4] + slack and times[4] <= times[5] <= times[1] + slack, times
    assert abs(times[0] - time.time_ns()) < 600 * 10**9
    # The writer's own trace: the push links to the commit that it waited for.
    link = spans['wait for commit']['links'][0]
    commit = wait_for('the commit', lambda: c.of(link['traceId']))[0]
    assert commit['name'] == 'commit' and commit['spanId'] == link['spanId'] and 'parentSpanId' not in commit, commit
    assert commit['attributes']['logpulse.commit'] == spans['wait for commit']['attributes']['logpulse.commit']

    parent, trace, caller = traceparent(0x77)
    r = s.get('/loki/api/v1/query_range', dict(query='{app="a"} |= "line 1"', start=now - 1, end=now + 10**9), headers={'traceparent': parent})
    assert r.status == 200, r
    wait_for('the spans of the query', lambda: len(c.of(trace)) >= 5)
    spans = {x['name']: x for x in c.of(trace)}
    assert set(spans) == {'query', 'parse', 'plan', 'scan', 'merge'} and len(c.of(trace)) == 5, spans
    assert spans['query']['parentSpanId'] == caller
    order = []
    for x in ('parse', 'plan', 'scan', 'merge'):
        assert spans[x]['parentSpanId'] == spans['query']['spanId'], spans[x]
        order.append(int(spans[x]['startTimeUnixNano']))
    assert order == sorted(order) or max(a - b for a, b in zip(order, order[1:])) < slack, order
    assert spans['scan']['attributes']['logpulse.lines'] == '20', spans['scan']

    # Exemplars of both, for who asks for OpenMetrics; the slowest request of a while is the one that is named.
    om = s.get('/metrics', headers={'Accept': 'application/openmetrics-text'}).body.decode()
    assert om.endswith('\n# EOF\n') and 'trace_id' not in s.get('/metrics').body.decode()
    traces = {x['traceId'] for x in c.spans}
    for name in ('logpulse_push_duration_seconds', 'logpulse_query_duration_seconds', 'lokiclone_query_duration_seconds'):
        lines = [l for l in om.splitlines() if l.startswith(name + '_bucket') and '#' in l]
        assert lines, (name, om[-3000:])
        for l in lines:
            m = re.fullmatch(r'.*le="([^"]+)".* ([0-9]+) # \{trace_id="([0-9a-f]{32})"\} ([0-9.e-]+) ([0-9]+\.[0-9]{3})', l)
            assert m and m.group(3) in traces and int(m.group(2)) > 0 and float(m.group(4)) <= float(m.group(1)), (l, traces)
            assert abs(float(m.group(5)) - time.time()) < 600, l

    # Without a caller a trace begins here; a caller that does not sample decides; nonsense is no caller; probes are left out.
    before = len(c.spans)
    s.get('/ready')
    for bad in ('00-' + '0' * 32 + '-' + '1' * 16 + '-01', '00-xyz', 'ff' + parent[2:], parent + '-more', parent.upper().replace('77', 'AB')):
        assert s.get('/labels', headers={'traceparent': bad}).status == 200
    skipped = traceparent(0x99, False)
    assert s.get('/labels', headers={'traceparent': skipped[0]}).status == 200
    last = traceparent(0x100)
    assert s.get('/nowhere', headers={'traceparent': last[0]}).status == 404
    wait_for('the last span', lambda: c.of(last[1]))
    assert not c.of(skipped[1])
    roots = [x for x in c.spans[before:] if x['name'] == 'query']
    assert len(roots) == 5 and all('parentSpanId' not in x and re.fullmatch('[0-9a-f]{32}', x['traceId']) for x in roots), roots
    assert c.of(last[1])[0]['attributes']['http.route'] == 'other'
    assert not [x for x in c.spans if x['attributes'].get('http.route') == '/ready']
    wait_for('the count', lambda: s.metric('logpulse_trace_spans_exported_total') >= len(c.spans))
    for path in ('/config', '/metrics'):
        assert 'tok' not in s.get(path).body.decode().replace('token', ''), path

    # A dead collector is not noticed; when it is back, spans come again.
    c.server.shutdown()
    c.server.server_close()
    for i in range(40):
        assert s.push([({'app': 'a'}, [(now + 1000 + i, 'x')])]).status == 204
    wait_for('failed exports', lambda: s.metric('logpulse_trace_spans_dropped_total') > 0)
    c = Collector(port)
    c.start()
    again = traceparent(0x101)
    assert s.get('/labels', headers={'traceparent': again[0]}).status == 200
    wait_for('spans again', lambda: c.of(again[1]))
    assert s.stop() == 0
    log = open(s.log_path).read()
    assert log.count('traces cannot be exported') == 1 and 'traces are exported again' in log and 'tok' not in log

# Tails, rules and web hooks.
RULES = '''groups:
  - name: shop
    interval: 1s
    rules:
      - alert: Errors
        expr: sum by (app) (count_over_time({app=~"shop.*"} |= "boom" [1h])) > 2
      - record: shop:lines
        expr: sum by (app) (count_over_time({app="shop"} [1h]))
      - record: shop:bad
        expr: count_over_time({app="shop"} | json [1h])
'''
HOOKS = '''webhooks:
  - {name: ops, url: "%(url)s/ops?key=Sesam", events: [alert]}
  - {name: lines, url: "%(url)s/lines?key=Sesam", events: [log], selector: '{app="web"}', batch_wait: 50ms}
  - {name: dead, type: slack, url: "http://127.0.0.1:%(dead)d/?key=Sesam", events: [alert], retry: 1}
'''


def hook_spans(name):
    return [x for x in list(c.spans) if x['name'] == 'webhook delivery' and x['attributes']['logpulse.target.name'] == name]


port = free_port()
c = Collector(port)
c.start()
with Server(env={'OTEL_TRACES_EXPORTER': 'otlp', 'OTEL_EXPORTER_OTLP_TRACES_ENDPOINT': 'http://127.0.0.1:%d/v1/traces' % port,
                 'OTEL_EXPORTER_OTLP_TRACES_PROTOCOL': 'http/json', 'OTEL_EXPORTER_OTLP_COMPRESSION': 'gzip', 'OTEL_TRACES_SAMPLER': 'jaeger',
                 'OTEL_RESOURCE_ATTRIBUTES': 'deployment.environment=pro%3dd,service.name=from-there'}) as s:
    stub = HookStub()
    stub.answers['/ops?key=Sesam'] = 503
    for name, text in (('rules', RULES), ('hooks', HOOKS % dict(url=stub.url, dead=free_port()))):
        open('%s/%s.yaml' % (s.tmp, name), 'w').write(text)
    s.options.update({'streaming.broadcast_buffer_size': '100', 'rules.files': s.tmp + '/rules.yaml', 'webhooks_file': s.tmp + '/hooks.yaml'})
    s.start()
    now = time.time_ns()
    assert s.push([({'app': 'shop'}, [(now + i, 'boom %d' % i) for i in range(5)])]).status == 204

    # An alert: its first delivery is refused, the next one is taken; both are in the trace of the evaluation.
    first = wait_for('a failed delivery', lambda: [x for x in hook_spans('ops') if x['attributes'].get('http.response.status_code') == '503'])[0]
    stub.answers['/ops?key=Sesam'] = 200
    good = wait_for('a delivery', lambda: [x for x in hook_spans('ops') if x['attributes'].get('http.response.status_code') == '200'])[0]
    assert first['status'] == {'code': 2} and good['status'] == {} and good['kind'] == first['kind'] == 3, (first, good)
    assert first['attributes']['http.request.resend_count'] == '0' and int(good['attributes']['http.request.resend_count']) > 0
    assert good['attributes']['logpulse.target.kind'] == 'webhook' and good['traceId'] == first['traceId'], (first, good)
    rule = [x for x in c.of(good['traceId']) if x['name'] == 'rule evaluation']
    assert len(rule) == 1 and 'parentSpanId' not in rule[0] and rule[0]['kind'] == 1, rule
    assert good['parentSpanId'] == first['parentSpanId'] == rule[0]['spanId'], (rule, good)
    assert rule[0]['attributes'] == {'logpulse.rule.name': 'Errors', 'logpulse.rule.group': 'shop', 'logpulse.rule.type': 'alerting',
                                     'logpulse.rule.state': 'firing', 'logpulse.series': '1'}, rule
    phases = [x for x in c.of(good['traceId']) if x['name'] in ('parse', 'plan', 'scan', 'merge')]
    assert len(phases) == 4 and all(x['parentSpanId'] == rule[0]['spanId'] for x in phases), phases
    # What the receiver got names the very span.
    sent = {h['Traceparent'] if 'Traceparent' in h else h['traceparent'] for p, h, _ in stub.seen if p.startswith('/ops')}
    assert '00-%s-%s-01' % (good['traceId'], good['spanId']) in sent and '00-%s-%s-01' % (first['traceId'], first['spanId']) in sent, sent
    dead = wait_for('a dead receiver', lambda: hook_spans('dead'))[0]
    assert dead['status']['code'] == 2 and dead['status']['message'] and dead['attributes']['logpulse.target.kind'] == 'slack', dead
    assert 'http.response.status_code' not in dead['attributes'], dead

    # The queue is on disk, the trace is not: what the next notifier sends is a trace of its own.
    stub.answers['/ops?key=Sesam'] = 503
    before = len(hook_spans('ops'))
    assert s.push([({'app': 'shop2'}, [(now + i, 'boom %d' % i) for i in range(5)])]).status == 204
    more = wait_for('a failed delivery of the second alert', lambda: hook_spans('ops')[before:])
    assert 'parentSpanId' in more[0] and more[0]['traceId'] != good['traceId'], more
    os.kill(s.children('notifier')[0], signal.SIGKILL)
    stub.answers['/ops?key=Sesam'] = 200
    again = wait_for('its delivery', lambda: [x for x in hook_spans('ops')[before:] if x['attributes'].get('http.response.status_code') == '200'])[0]
    assert 'parentSpanId' not in again and again['traceId'] not in (more[0]['traceId'], good['traceId']), again

    # A recording rule, and one that fails at run time.
    def of_rule(name):
        return [x for x in list(c.spans) if x['attributes'].get('logpulse.rule.name') == name]
    recorded = wait_for('the recording rule', lambda: [x for x in of_rule('shop:lines') if x['attributes'].get('logpulse.series') == '1'])[0]
    assert recorded['attributes']['logpulse.rule.type'] == 'recording' and 'logpulse.rule.state' not in recorded['attributes']
    bad = wait_for('the rule that fails', lambda: [x for x in of_rule('shop:bad') if x['status'] == {'code': 2}])[0]
    assert 'logpulse.series' not in bad['attributes'], bad

    # Lines to a web hook: a trace of its own.
    assert s.push([({'app': 'web'}, [(now + i, 'x') for i in range(7)])]).status == 204
    lines = wait_for('lines', lambda: hook_spans('lines'))[0]
    assert 'parentSpanId' not in lines and lines['attributes']['logpulse.lines'] == '7' and lines['status'] == {}, lines

    # A tail with a history and live lines is one span, written when it ends, with the history's query under it.
    parent, trace, caller = traceparent(0x201)
    with WebSocket(s.port, '/loki/api/v1/tail?' + urllib.parse.urlencode(dict(query='{app="shop"}', start=now - 1)), {'traceparent': parent}) as w:
        assert len(w.entries(5)) == 5
        assert s.push([({'app': 'shop'}, [(now + 100 + i, 'live %d' % i) for i in range(3)])]).status == 204
        assert len(w.entries(3)) == 3
        wait_for('the history', lambda: [x for x in c.of(trace) if x['name'] == 'history'])
        assert not [x for x in c.of(trace) if x['name'] == 'tail'], c.of(trace)
    tail = wait_for('the tail', lambda: [x for x in c.of(trace) if x['name'] == 'tail'])
    assert len(tail) == 1 and tail[0]['parentSpanId'] == caller and tail[0]['kind'] == 2 and tail[0]['status'] == {}, tail
    assert tail[0]['attributes'] == {'http.route': '/loki/api/v1/tail', 'http.response.status_code': '101', 'logpulse.lines': '8',
                                     'logpulse.lines_dropped': '0'}, tail
    history = [x for x in c.of(trace) if x['name'] == 'history']
    assert len(history) == 1 and history[0]['parentSpanId'] == tail[0]['spanId'] and history[0]['status'] == {}, history
    assert len([x for x in c.of(trace) if x['parentSpanId'] == history[0]['spanId']]) == 4 and len(c.of(trace)) == 6, c.of(trace)
    assert int(tail[0]['startTimeUnixNano']) <= int(history[0]['startTimeUnixNano']) + slack
    assert int(history[0]['endTimeUnixNano']) <= int(tail[0]['endTimeUnixNano']) + slack
    # One that reads nothing: what it lost is told as well.
    parent, trace, _ = traceparent(0x204)
    with WebSocket(s.port, '/stream?app=flood', {'traceparent': parent}, rcvbuf=4096) as w:
        w.recv()
        at = time.time_ns()
        for i in range(60):
            assert s.push([({'app': 'flood'}, [(at + i * 100 + k, 'x' * 4000) for k in range(100)])]).status == 204
        wait_for('lost lines', lambda: s.metric('logpulse_dropped_broadcasts_total') > 0)
        lost = s.metric('logpulse_dropped_broadcasts_total')
    flood = wait_for('its span', lambda: c.of(trace))[0]['attributes']
    assert int(flood['logpulse.lines_dropped']) >= lost and 0 < int(flood['logpulse.lines']) < 6000, flood
    # One without history, that is open when the server ends.
    parent, trace, caller = traceparent(0x202)
    w = WebSocket(s.port, '/stream?app=shop', {'traceparent': parent})
    w.recv()
    # A query that cannot be tailed gets no tail.
    parent, refused, _ = traceparent(0x203)
    assert s.get('/loki/api/v1/tail', dict(query='{'), headers={'traceparent': parent}).status == 400
    assert wait_for('the refusal', lambda: c.of(refused))[0]['attributes']['http.response.status_code'] == '400'
    assert s.stop() == 0
    w.sock.close()
    assert [x['attributes']['http.route'] for x in c.of(trace)] == ['/stream'], c.of(trace)
    assert c.headers[0]['Content-Encoding'] == 'gzip' and c.headers[0]['Content-Type'] == 'application/json', c.headers[0]
    assert c.resource['service.name'] == 'from-there' and c.resource['deployment.environment'] == 'pro=d', c.resource
    text = json.dumps(c.spans) + open(s.log_path).read()
    assert text.count('configuration: OTEL_TRACES_SAMPLER is ignored: ') == 1
    assert 'Sesam' not in text and stub.url not in text
    stub.close()

# A collector that takes the connection and says nothing: nobody notices, and the end does not wait for it.
with socket.socket() as deaf, Server(options={'tracing.timeout': '300ms'}, workers=1,
                                     env={'OTEL_TRACES_EXPORTER': 'otlp', 'OTEL_EXPORTER_OTLP_PROTOCOL': 'grpc'}) as s:
    deaf.bind(('127.0.0.1', 0))
    deaf.listen()
    s.options['tracing.endpoint'] = 'http://127.0.0.1:%d' % deaf.getsockname()[1]
    s.start()
    for i in range(20):
        assert s.push([({'app': 'a'}, [(now + 2000 + i, 'x')])], timeout=10).status == 204
        assert s.get('/labels', timeout=10).status == 200
    wait_for('the export to be given up', lambda: s.metric('logpulse_trace_spans_dropped_total') > 0)
    began = time.monotonic()
    assert s.stop() == 0
    assert time.monotonic() - began < 3 * SLOW, 'the end waited for the collector'
    log = open(s.log_path).read()
    assert log.count('traces cannot be exported') == 1 and 'OTEL_EXPORTER_OTLP_PROTOCOL is ignored' in log, log[-2000:]

# The caller does not decide when it is told so.
with Server(env={'OTEL_TRACES_EXPORTER': 'console', 'OTEL_TRACES_SAMPLER': 'always_off'}, workers=1) as s:
    s.start()
    assert s.get('/labels', headers={'traceparent': traceparent(0x43)[0]}).status == 200
    assert s.stop() == 0
    assert 'traceId' not in open(s.log_path).read()

# Ratio 0: only what a caller traces.  On standard output, one object a line.
with Server(options={'tracing.exporter': 'stdout', 'tracing.sampling_ratio': '0'}, workers=1) as s:
    s.start()
    assert s.get('/labels').status == 200
    assert s.get('/labels', headers={'traceparent': traceparent(0x42)[0]}).status == 200
    def spans():
        out = []
        for l in open(s.log_path):
            if l.startswith('{"traceId"'):
                out.append(json.loads(l))
        return out
    wait_for('printed spans', lambda: [x for x in spans() if x['name'] == 'query'])
    assert {x['traceId'] for x in spans()} == {'%032x' % 0x42}

with Server(workers=1) as s:            # off by default
    s.start()
    s.get('/labels', headers={'traceparent': traceparent(1)[0]})
    assert s.metric('logpulse_trace_spans_exported_total') == s.metric('logpulse_trace_spans_dropped_total') == 0
    assert 'trace_id' not in s.get('/metrics', headers={'Accept': 'application/openmetrics-text'}).body.decode()
done('traces hold')
