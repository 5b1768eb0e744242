#!/usr/bin/env python3
"""Start-up over 10 GB of segments (one segment, linked under many names) is a matter of the files' heads: the server is
ready about as soon as an empty one, and answers."""
import os, glob, subprocess, sys, time
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../lib'))
from lptest import *

now = int(time.time()) * 10**9


def start_time(s):
    t = time.monotonic()
    s.start()
    return time.monotonic() - t


with Server({'storage.retention_days': 0}) as s:
    empty = start_time(s)
    for k in range(40):
        lines = [(now + k * 1000 + i, os.urandom(400).hex()) for i in range(1000)]
        assert s.push([({'app': 'big', 'k': str(k)}, lines)]).status == 204
    assert s.request('POST', '/flush').status == 204
    assert s.stop() == 0
    index = max(glob.glob(s.data + '/segments/*/*.index'), key=lambda f: os.path.getsize(f[:-5] + 'chunks'))
    size = os.path.getsize(index) + os.path.getsize(index[:-5] + 'chunks')
    first = int(os.path.basename(index).split('-')[0])
    # Copies under the names of earlier days: every one is its own segment to the server.
    copies = 10 * 10**9 // size
    for i in range(copies):
        day = time.strftime('%Y-%m-%d', time.gmtime(now // 10**9 - 86400 * (1 + i % 400)))
        os.makedirs(s.data + '/segments/' + day, exist_ok=True)
        for suffix in ('chunks', 'index'):
            # names below the first live WAL file: 00000001-00000001-<level>
            os.link(index[:-5] + suffix, '%s/segments/%s/%08d-%08d-%d.%s' % (s.data, day, first, first, i // 400, suffix))
    full = start_time(s)
    print('ready after %.2f s empty, %.2f s with %d segments of %.0f MB (%.1f GB)' % (empty, full, copies + 1, size / 1e6, (copies + 1) * size / 1e9))
    t = time.monotonic()
    rows = s.query_range('{app="big",k="7"}', now, now + 10**9, limit=10)
    print('first query %.2f s' % (time.monotonic() - t))
    assert sum(len(r['values']) for r in rows) == 10
    assert s.stop() == 0
done()
