#!/usr/bin/env python3
"""A disk that changed bytes, and files that are not ours: what is damaged is missing and said so, all the rest is served."""
import glob, os, shutil, sys, time
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../lib'))
from lptest import *

now = int(time.time()) * 10**9
base = now - 600 * 10**9
SEGMENTS, LINES = 4, 300


def flip(path, at):
    with open(path, 'r+b') as f:
        f.seek(at)
        byte = f.read(1)[0]
        f.seek(at)
        f.write(bytes([byte ^ 0x55]))


def count(s, app):
    """Lines of the app by a log query, by a metric query that reads the text, and by the original API; and what warns."""
    r = s.get('/loki/api/v1/query_range', dict(query='{app="%s"}' % app, start=base, end=now, limit=5000)).json()
    m = s.get('/loki/api/v1/query', dict(query='sum(count_over_time({app="%s"} |~ "." [1h]))' % app, time=now)).json()
    o = s.get('/query', dict(query='{app="%s"}' % app, start=rfc3339(base), end=rfc3339(now), limit=5000)).json()
    n = sum(len(x['values']) for x in r['data']['result'])
    assert n == len(o['logs']) == sum(int(x['value'][1]) for x in m['data']['result']), (app, n, len(o['logs']), m)
    return n, [x.get('warnings') for x in (r, m, o)]


def log_has(s, *texts):
    log = open(s.log_path, errors='replace').read().splitlines()
    return any(all(t in l for t in texts) for l in log)


with Server({'compactor.compaction_interval': '1h', 'storage.wal_max_age': '24h', 'storage.wal_file_min': '1MiB', 'storage.wal_file_max': '1MiB'},
            workers=1) as s:        # each worker finds out by itself what was put right
    s.start()

    def push(app, n):
        for i in range(0, n, 10):
            assert s.push([({'app': app}, [(base + (i + k) * 1000, 'line %d of %s' % (i + k, app)) for k in range(10)])]).status == 204
    for i in range(SEGMENTS):
        push('seg%d' % i, LINES)
        assert s.request('POST', '/flush').status == 204
    push('wal', LINES)
    assert all(count(s, 'seg%d' % i) == (LINES, [None] * 3) for i in range(SEGMENTS))
    assert s.metric('logpulse_segments_unreadable') == 0
    s.kill_all()
    s.verify()
    segments = sorted(glob.glob(s.data + '/segments/*/*.index'))
    wal = sorted(glob.glob(s.data + '/wal/0*.wal'))
    assert len(segments) == SEGMENTS and wal
    chunks = [x[:-5] + 'chunks' for x in segments]
    flip(chunks[0], os.path.getsize(chunks[0]) - 40)       # a block
    flip(segments[1], 3)                                    # a head
    os.rename(chunks[2], s.tmp + '/away')
    os.mkdir(chunks[2])                                     # something else of that name
    # Who claims to have replaced the last one and is nothing: it may hide it, but not destroy it.
    liar = segments[3].replace('-0.index', '-1.index')
    shutil.copy(segments[1], liar)
    open(liar[:-5] + 'chunks', 'w').close()
    flip(wal[0], 4096 + 48 + 3000)                          # a record that later groups follow
    s.start()
    wait_for('the log to be sealed', lambda: s.metric('logpulse_sealed_wal_files_total'))
    for i in range(3):
        n, warnings = count(s, 'seg%d' % i)
        assert n == 0 and all('not complete' in w[0] for w in warnings), (i, n, warnings)
    n, _ = count(s, 'wal')
    assert n == LINES - 10, n                               # one push is damaged
    assert log_has(s, 'level=error', 'write-ahead log', 'damaged_bytes=')
    wait_for('unreadable segments to be counted', lambda: s.metric('logpulse_segments_unreadable') == 3)
    for i in (1, 2):
        assert log_has(s, 'level=error', os.path.basename(segments[i])[:-6]), i
    assert log_has(s, 'level=warn', 'a query left out')
    assert s.metric('logpulse_query_bad_blocks_total') > 0
    assert s.push([({'app': 'new'}, [(now, 'still here')])]).status == 204
    # put right while the server runs
    os.rmdir(chunks[2])
    os.rename(s.tmp + '/away', chunks[2])

    def whole():
        r = s.get('/loki/api/v1/query_range', dict(query='{app="seg2"}', start=base, end=now, limit=5000)).json()
        return sum(len(x['values']) for x in r['data']['result']) == LINES
    wait_for('the segment that was put right', whole)
    assert count(s, 'seg2')[0] == LINES
    assert s.request('POST', '/flush').status == 204
    wait_for('one less to be counted', lambda: s.metric('logpulse_segments_unreadable') == 2)
    assert s.stop() == 0
    assert os.path.exists(segments[3]) and os.path.exists(chunks[3])
    os.unlink(liar)
    s.start()
    assert count(s, 'seg3')[0] == LINES
    s.kill_all()

    # ---- files that are not ours
    for p in segments[:3] + chunks[:3] + [liar[:-5] + 'chunks']:
        if os.path.exists(p):
            os.unlink(p)
    notes = s.data + '/wal/00000777.wal'
    open(notes, 'w').write('my notes\n' * 1000)
    os.mkdir(s.data + '/wal/00000778.wal')
    for name in ('wal/notes.txt', 'wal/spare-x', 'segments/notes.txt', 'segments/2026-11-27', 'notes.txt'):
        open(s.data + '/' + name, 'w').write('x')
    os.mkdir(s.data + '/segments/lost+found')
    s.start()
    assert count(s, 'seg3') == (LINES, [None] * 3) and count(s, 'wal')[0] == LINES - 10
    assert open(notes + '.bad').read() == 'my notes\n' * 1000 and os.path.isdir(s.data + '/wal/00000778.wal.bad')
    assert log_has(s, 'level=error', 'set aside')
    assert s.stop() == 0
    s.verify()
done()
