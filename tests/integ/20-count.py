#!/usr/bin/env python3
"""A big load of real lines through both Loki formats; then every line is counted back exactly, per stream: from the
live WAL, after sealing, after a restart, and offline.  300,000 lines; 3,000,000 with LP_LONG=1."""
import os, subprocess, sys, time
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../lib'))
from lptest import *

corpus = os.environ.get('LP_CORPUS') or os.path.join(SRC, '../shared/corpus')
if not os.path.isdir(corpus):
    print('no corpus (LP_CORPUS): made-up lines instead')
    corpus = '-'
LINES = int(os.environ.get('LP_LINES', 3000000 if LONG else 300000))
step = 1000000
start = (int(time.time()) // 300 * 300) * 10**9 - LINES * step - 300 * 10**9
end = start + (LINES + 1) * step


def compare(s, want, what):
    t = time.monotonic()
    for (app, host), n in want.items():
        got = s.stats('{app="%s",host="%s"}' % (app, host), start, end)['entries']
        assert got == n, '%s: %s %s has %d lines, not %d' % (what, app, host, got, n)
    total = s.stats('{app=~".+"}', start, end)
    assert total['entries'] == sum(want.values()) and total['streams'] == len(want), (what, total)
    print('%s: %d streams, %d lines, all there (%.1f s)' % (what, len(want), total['entries'], time.monotonic() - t))


for fmt, ctype, batch in (('json', 'application/json', 500), ('proto', 'application/x-protobuf', 1000)):
    # One file takes the whole load: the first count is from the live log alone.
    size = '1GiB' if LONG else '128MiB'
    with Server({'ingest.commit_timeout': '60s', 'storage.wal_max_age': '24h', 'storage.wal_file_min': size, 'storage.wal_file_max': size}) as s:
        bodies, counts = s.tmp + '/bodies', s.tmp + '/counts'
        subprocess.run([BUILD + '/tests/bench/load', 'make', bodies, fmt, corpus, str(LINES), '560', str(batch), str(start), str(step), '7',
                        counts], check=True)
        want = {}
        for l in open(counts):
            app, host, n, _ = l.split()
            want[app, host] = int(n)
        s.start()
        r = subprocess.run([BUILD + '/tests/bench/load', 'send', bodies, '127.0.0.1:%d' % s.port, '/loki/api/v1/push', ctype, '4'],
                           capture_output=True, text=True)
        print(fmt, r.stdout.strip(), r.stderr)
        assert r.returncode == 0
        assert not os.path.isdir(s.data + '/segments') or not os.listdir(s.data + '/segments')
        compare(s, want, fmt + ' live')
        assert s.request('POST', '/flush', timeout=300).status == 204
        compare(s, want, fmt + ' sealed')
        assert s.stop() == 0
        s.verify()
        out = subprocess.run([BUILD + '/logpulsectl', 'dump', s.data, '--format', 'count'], capture_output=True, text=True, check=True).stdout
        assert sum(int(l.split()[0]) for l in out.splitlines()) == LINES, out[-500:]
        s.start()
        compare(s, want, fmt + ' restarted')
        s.kill_all()
        os.unlink(bodies)
done()
