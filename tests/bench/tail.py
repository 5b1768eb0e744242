#!/usr/bin/env python3
"""What live tails cost: one worker's CPU per line that is pushed and per line that is sent, for clients that ask the same and for clients
that each ask something of their own.  Prints one JSON object per case; see README."""
import argparse, json, os, selectors, socket, sys, time, urllib.parse
HERE = os.path.dirname(os.path.abspath(__file__))
p = argparse.ArgumentParser()
p.add_argument('--logpulse', default='build', help='build folder')
p.add_argument('--clients', type=int, default=1000)
p.add_argument('--lines', type=int, default=2000)
p.add_argument('--batch', type=int, default=20, help='lines of a push')
args = p.parse_args()
os.environ['LP_BUILDDIR'] = os.path.abspath(args.logpulse)
sys.path.insert(0, os.path.join(HERE, '../lib'))
from lptest import Server, wait_for
from wsclient import WebSocket

TICKS = os.sysconf('SC_CLK_TCK')


def cpu_s(pid):
    v = open('/proc/%d/stat' % pid).read().rsplit(')', 1)[1].split()
    return (int(v[11]) + int(v[12])) / TICKS


def rss_mb(pid):
    return next(int(l.split()[1]) for l in open('/proc/%d/status' % pid) if l.startswith('RssAnon')) / 1024


def sent(server):
    return server.metric('logpulse_broadcasted_lines_total') + server.metric('logpulse_dropped_broadcasts_total')


def swallow(socks, pipe):
    """A process of its own: takes what comes, until the pipe closes."""
    sel = selectors.DefaultSelector()
    for s in socks + [pipe]:
        s.setblocking(False)
        sel.register(s, selectors.EVENT_READ)
    while True:
        for key, _ in sel.select():
            try:
                if not key.fileobj.recv(1 << 20) and key.fileobj is pipe:
                    os._exit(0)
            except BlockingIOError:
                pass


def case(name, route, query):
    with Server(workers=1, options={'streaming.max_clients': args.clients + 1, 'streaming.client_timeout': '1h', 'storage.durability': 'process'}) as server:
        server.start()
        worker = server.children('worker')[0]
        ours, theirs = socket.socketpair()
        clients = [WebSocket(server.port, route + urllib.parse.urlencode({'query': query(i)})) for i in range(args.clients)]
        if os.fork() == 0:
            ours.close()
            swallow([c.sock for c in clients], theirs)
        theirs.close()
        now, made = time.time_ns(), 0
        # A first line that all of them get: from then on nobody is still joining.
        assert server.push([({'app': 'bench', 'env': 'test'}, [(now - 1, 'status of the start')])]).status == 204
        wait_for('joins', lambda: sent(server) >= args.clients)
        base = sent(server)
        before, begin = cpu_s(worker), time.monotonic()
        while made < args.lines:
            rows = [(now + made + i, 'level=info ts=%d path=/api/orders/%d status=200 took=12ms' % (now, made + i)) for i in range(args.batch)]
            assert server.push([({'app': 'bench', 'env': 'test'}, rows)]).status == 204
            made += args.batch

        def over():
            return sent(server) - base >= made * args.clients
        while not over():
            time.sleep(0.2)         # looking costs the worker too
        took, cpu = time.monotonic() - begin, cpu_s(worker) - before
        print(json.dumps({'case': name, 'clients': args.clients, 'lines': made, 'seconds': round(took, 2), 'worker_cpu_s': round(cpu, 2),
                          'us_per_line': round(cpu * 1e6 / made, 1), 'ns_per_line_sent': round(cpu * 1e9 / made / max(args.clients, 1)),
                          'dropped': server.metric('logpulse_dropped_broadcasts_total'), 'rss_anon_mb': round(rss_mb(worker))}), flush=True)
        ours.close()
        os.wait()


clients, args.clients = args.clients, 0
case('pushes alone', '/stream?', str)
args.clients = clients
for name, route in (('/stream', '/stream?'), ('/loki/api/v1/tail', '/loki/api/v1/tail?')):
    case(name + ' one query', route, lambda i: '{app="bench"} |= "status"')
    case(name + ' distinct queries', route, lambda i: '{app="bench"} != "no such text %d"' % i)
