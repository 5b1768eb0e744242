#!/usr/bin/env python3
"""Live tail with clients that people use: npm's ws and, where it is installed, a page in Chromium.  Both read a counter stream from
history into live while workers and the writer are killed."""
import http.server, os, sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../lib'))
from lptest import *

HERE = os.path.join(SRC, 'tests/integ/clients')
DIR = os.path.abspath(os.environ.get('LP_CLIENTS') or os.path.join(BUILD, 'clients'))
T0 = time.time_ns() - 60 * 10**9
GOAL = 400

r = subprocess.run(['sh', HERE + '/install', DIR], capture_output=True, text=True)
if r.returncode == 77:
    skip(r.stdout.strip().removeprefix('SKIP: '))
assert r.returncode == 0, r.stdout + r.stderr


def push_all(server, first, n):
    """Until acknowledged, so that copies reach the log."""
    body = loki_body([({'app': 'count'}, [(T0 + i, 'n %d' % i) for i in range(first, first + n)])])

    def once():
        try:
            return server.post('/loki/api/v1/push', body, timeout=10).status == 204
        except OSError:
            return False
    wait_for('a push', once, 60)


def feed(server, connected):
    """Lines and kills; a kill of a worker comes when the client is connected."""
    push_all(server, 100, 50)
    for i in range(5):
        wait_for('the client', connected, 60)
        for pid in server.children('writer' if i == 2 else 'worker'):
            os.kill(pid, signal.SIGKILL)
        push_all(server, 150 + 50 * i, 50)


def node(server):
    config = json.dumps({'url': 'ws://127.0.0.1:%d' % server.port, 'start': str(T0), 'goal': GOAL})
    p = subprocess.Popen(['node', HERE + '/tail.js', config], stdout=subprocess.PIPE, text=True,
                         env=dict(os.environ, NODE_PATH=os.path.join(DIR, 'node_modules')))
    out = []
    t = threading.Thread(target=lambda: out.extend(p.stdout), daemon=True)
    t.start()
    feed(server, lambda: out or p.poll() is not None)
    assert p.wait(60 * SLOW) == 0
    t.join()
    got = json.loads(out[-1])
    assert got['lines'] == GOAL and got['connects'] > 1, got
    print('ws:', got)


class Page(http.server.BaseHTTPRequestHandler):
    told = []

    def do_GET(self):
        page = open(HERE + '/tail.html', 'rb').read() if self.path.startswith('/tail.html') else b''
        self.send_response(200)
        self.send_header('Content-Type', 'text/html')
        self.end_headers()
        self.wfile.write(page)

    def do_POST(self):
        self.told.append(json.loads(self.rfile.read(int(self.headers['Content-Length']))))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


def chromium(server):
    exe = shutil.which('chromium') or shutil.which('chromium-browser') or shutil.which('google-chrome')
    if not exe:
        print('no Chromium is installed: the browser is left out')
        return
    web = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Page)
    threading.Thread(target=web.serve_forever, daemon=True).start()
    home = tempfile.mkdtemp(prefix='lpchrome-')
    url = 'http://127.0.0.1:%d/tail.html?' % web.server_port + urllib.parse.urlencode(
        {'url': 'ws://127.0.0.1:%d' % server.port, 'start': T0, 'goal': GOAL})
    p = subprocess.Popen([exe, '--headless', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--no-first-run',
                          '--user-data-dir=' + home, '--remote-debugging-port=0', url], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                         start_new_session=True)
    try:
        told = Page.told
        wait_for('the page to connect', lambda: told or p.poll() is not None, 60)
        assert told, 'Chromium ended with %s' % p.poll()
        feed(server, lambda: True)
        wait_for('the page to have all lines', lambda: any('over' in t or 'error' in t for t in told), 60)
        assert not any('error' in t for t in told), told
        assert told[-1]['connects'] > 1, told
        print('Chromium:', told[-1])
    finally:
        os.killpg(p.pid, signal.SIGKILL)
        p.wait()
        web.shutdown()
        shutil.rmtree(home, ignore_errors=True)


for client in (node, chromium):
    with Server().start() as server:
        push_all(server, 0, 100)
        client(server)
done()
