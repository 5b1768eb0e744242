#!/usr/bin/env python3
"""A page in Chromium, from another origin, follows a counter through /loki/api/v1/tail and /stream and the metrics through
/metrics/stream, while workers and the writer are killed: it reconnects by itself and has every line once, in order."""
import http.server, json, os, shutil, signal, subprocess, sys, tempfile, threading, time
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../lib'))
from lptest import *

chromium = shutil.which('chromium') or shutil.which('chromium-browser') or skip('no chromium')
HISTORY, ALL = 500, 3000

PAGE = """<!doctype html><meta charset=utf-8><title>live</title><script>
const server = %s;
function tell(what, value) { return fetch('/' + what, {method: 'POST', body: JSON.stringify(value)}); }
let chain = Promise.resolve();
function inOrder(what, value) { chain = chain.then(() => tell(what, value)); }

const metrics = new EventSource('http://' + server + '/metrics/stream?interval=500ms');
metrics.onmessage = e => tell('metrics', e.data);

let next = %s;
function tail() {
	const ws = new WebSocket('ws://' + server + '/loki/api/v1/tail?limit=5000&start=' + next + '&query=' + encodeURIComponent('{job="counter"}'));
	ws.onmessage = e => {
		const frame = JSON.parse(e.data), lines = [];
		for (const s of frame.streams || [])
			for (const [ts, line] of s.values) { lines.push(line); next = (BigInt(ts) + 1n).toString(); }
		inOrder('tail', {lines: lines, dropped: (frame.dropped_entries || []).length});
	};
	ws.onclose = () => setTimeout(tail, 50);
}
tail();

function stream() {
	const ws = new WebSocket('ws://' + server + '/stream?job=counter');
	ws.onmessage = e => {
		const m = JSON.parse(e.data);
		if (m.type === 'connected')
			ws.send(JSON.stringify({type: 'filter', labels: {job: 'counter', parity: 'odd'}}));
		inOrder('stream', m);
	};
	ws.onclose = () => setTimeout(stream, 50);
}
stream();
</script>"""


class Page(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'

    def do_GET(self):
        body = page.encode() if self.path == '/' else b''
        self.send_response(200 if body else 404)
        self.send_header('Content-Type', 'text/html')
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        told[self.path[1:]].append(json.loads(self.rfile.read(int(self.headers['Content-Length']))))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


told = {'metrics': [], 'tail': [], 'stream': []}
t0 = time.time_ns()
with Server() as s:
    s.start()

    def push(i):
        """One line, until it is acknowledged.  A copy that was stored all the same is one entry with it."""
        while True:
            try:
                if s.push([({'job': 'counter', 'parity': 'odd' if i % 2 else 'even'}, [(t0 + i, str(i))])]).status == 204:
                    return
            except OSError:
                pass
            time.sleep(0.02)

    for i in range(HISTORY):
        push(i)
    page = PAGE % (json.dumps('127.0.0.1:%d' % s.port), json.dumps(str(t0)))
    web = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Page)
    threading.Thread(target=web.serve_forever, daemon=True).start()
    profile = tempfile.mkdtemp(prefix='lptest-chromium-')
    browser = subprocess.Popen([chromium, '--headless=new', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--no-first-run', '--user-data-dir=' + profile,
                                'http://127.0.0.1:%d/' % web.server_port], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        lines = lambda: [int(l) for t in list(told['tail']) for l in t['lines']]
        wait_for('history in the page', lambda: len(lines()) >= HISTORY, 60)
        wait_for('the filter of /stream', lambda: any(m['type'] == 'filter_updated' for m in told['stream']), 30)
        for i in range(HISTORY, ALL):
            push(i)
            if i % 1000 == 700:
                os.kill(s.children('writer')[0], signal.SIGKILL)
            if i % 1000 == 300:
                for p in s.children('worker'):
                    os.kill(p, signal.SIGKILL)
        wait_for('the last line in the page', lambda: ALL - 1 in lines()[-20:], 60)
        assert not sum(t['dropped'] for t in told['tail']), 'lines dropped'
        assert lines() == list(range(ALL)), 'gap, repeat or disorder'
        wait_for('metrics after the last restart', lambda: told['metrics'] and 'logpulse_ingested_lines_total' in told['metrics'][-1])
        kinds = [m['type'] for m in told['stream']]
        assert kinds[0] == 'connected' and kinds.count('connected') >= 3, kinds.count('connected')       # killed twice at least
        odd, filtered = [], False
        for m in told['stream']:
            filtered = m['type'] == 'filter_updated' or (filtered and m['type'] != 'connected')
            if filtered and m['type'] == 'log':
                odd.append(int(m['data']['message']))
        assert odd and all(n % 2 for n in odd) and odd == sorted(set(odd)), odd
        print('%d lines by tail, %d messages by /stream, %d scrapes' % (len(lines()), len(odd), len(told['metrics'])))
    finally:
        os.killpg(browser.pid, signal.SIGKILL)
        browser.wait()
        shutil.rmtree(profile, ignore_errors=True)
done()
