#!/usr/bin/env python3
"""Attacks that once worked: each symptom has its part."""
import os, resource, shutil, socket, subprocess, sys, time
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../lib'))
from lptest import *

now = int(time.time()) * 10**9


def raw(port, data):
    """Everything that comes back until the server closes or is silent for a second."""
    with socket.create_connection(('127.0.0.1', port)) as c:
        c.settimeout(SLOW)
        out = b''
        try:
            c.sendall(data)
            while True:
                part = c.recv(65536)
                if not part:
                    return out, True
                out += part
        except socket.timeout:
            return out, False


def smuggled_requests(s):
    """A body whose length is told twice must not leave bytes behind that count as the next request."""
    inner = b'GET /ready HTTP/1.1\r\nHost: x\r\n\r\n'
    for head in (b'Content-Length: 0\r\nContent-Length: %d\r\n' % len(inner), b'Content-Length: %d\r\nTransfer-Encoding: chunked\r\n' % (len(inner) + 5),
                 b'transfer-encoding: chunked\r\ncontent-length: 4\r\n'):
        chunk = b'0\r\n\r\n' if b'chunked' in head else b''
        out, closed = raw(s.port, b'POST /ingest HTTP/1.1\r\nHost: x\r\n' + head + b'\r\n' + chunk + inner)
        assert out.startswith(b'HTTP/1.1 400') and closed and out.count(b'HTTP/1.1') == 1, out
    # one length, however it is written, still works
    body = loki_body([({'app': 'chunks'}, [(now, 'x')])]).encode()
    for head, b in ((b'Content-Length: %d' % len(body), body), (b'Transfer-Encoding: chunked', b'%x\r\n%s\r\n0\r\n\r\n' % (len(body), body))):
        out, _ = raw(s.port, b'POST /loki/api/v1/push HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n' + head + b'\r\n\r\n' + b)
        assert out.startswith(b'HTTP/1.1 204'), out


def unfinished_bodies_fill_memory(s):
    """Bodies that are being received are bounded together, and who is cut off is told why; small pushes pass meanwhile."""
    held = []
    for _ in range(24):
        c = socket.create_connection(('127.0.0.1', s.port))
        c.sendall(b'POST /ingest HTTP/1.1\r\nHost: x\r\nContent-Length: 4000000\r\n\r\n')
        try:
            c.sendall(b'x' * 3900000)
        except OSError:
            pass            # cut off while sending
        held.append(c)
    assert s.push([({'app': 'small'}, [(now, 'x')])]).status == 204

    def told():
        n = 0
        for c in held:
            c.setblocking(False)
            try:
                n += c.recv(1000, socket.MSG_PEEK).startswith(b'HTTP/1.1 503')
            except ConnectionError:
                n += 1
            except OSError:
                pass
        return n
    wait_for('bodies over 32 MiB to be cut', lambda: told() >= 24 - 8)
    for c in held:
        c.close()


def readers_in_drops_keep_queries(s):
    """A client that takes its answer in drops loses it when its time is over, so that it cannot keep a query for ever."""
    for i in range(40):
        assert s.push([({'app': 'much', 'i': str(i)}, [(now + j, 'y' * 10000) for j in range(250)])]).status == 204

    def ended():
        return s.metric('logpulse_query_cancelled_total') + s.metric('logpulse_query_errors_total')
    before = ended()
    c = socket.socket()
    c.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    c.connect(('127.0.0.1', s.port))
    c.sendall(b'GET /loki/api/v1/query_range?query=%%7Bapp%%3D%%22much%%22%%7D&limit=5000&start=%d&end=%d HTTP/1.1\r\nHost: x\r\n\r\n' % (now, now + 10**6))
    c.settimeout(0.1)

    def drop():
        try:
            c.recv(2000)
        except OSError:
            pass
        return ended() > before
    wait_for('the query to end', drop)
    c.close()


with Server({'limits.query_timeout': '3s', 'server.write_timeout': '1s', 'server.max_body_memory': '32MiB'}, workers=1) as s:
    s.start()
    pids = wait_for('all processes', lambda: s.children('notifier') and sorted(s.children()))
    smuggled_requests(s)
    unfinished_bodies_fill_memory(s)
    readers_in_drops_keep_queries(s)
    r = s.push([({'app': 'far'}, [(now + 400 * 86400 * 10**9, 'x')])])
    assert r.status == 400 and b'too new' in r.body, r    # each far day would be a segment that retention never reaches
    assert sorted(s.children()) == pids, 'a process died'
    assert s.stop() == 0
    s.verify()


def a_clock_years_ahead_deletes_everything():
    """A start whose clock is far beyond the last write deletes nothing at first.  Here the last write is put back instead."""
    old = now - 30 * 86400 * 10**9
    with Server({'storage.retention_days': 0}, workers=1) as s:
        s.start()
        assert s.push([({'app': 'sealed'}, [(old + i, 'x %d' % i) for i in range(100)])]).status == 204
        assert s.request('POST', '/flush').status == 204
        assert s.push([({'app': 'live'}, [(old + i, 'x %d' % i) for i in range(100)])]).status == 204
        assert s.stop() == 0
        for name in glob.glob(s.data + '/wal/*.wal'):
            os.utime(name, ns=(old, old))
        s.options['storage.retention_days'] = 7
        s.start()
        assert s.request('POST', '/flush').status == 204
        for app in ('sealed', 'live'):
            assert len(s.entries('{app="%s"}' % app, old, old + 1000)) == 100, app
        # the clock agrees with the last write again: now they go
        assert s.stop() == 0
        s.start()
        wait_for('retention', lambda: s.metric('logpulse_retention_deleted_segments_total'))
        assert s.entries('{app="sealed"}', old, old + 1000) == []
        assert s.stop() == 0
        s.verify()


def pushes_into_a_deleted_log():
    """The log's directory is removed under the server: it notices, starts over, and is whole again."""
    with Server(workers=1) as s:
        s.start()
        assert s.push([({'app': 'gone'}, [(now, 'x')])]).status == 204
        shutil.rmtree(s.data + '/wal')
        wait_for('a new log', lambda: glob.glob(s.data + '/wal/*.wal'))
        wait_for('pushes', lambda: s.push([({'app': 'new'}, [(now, 'y')])]).status == 204)
        assert [r[1] for r in s.entries('{app="new"}', now, now + 1)] == ['y']
        assert s.request('POST', '/flush').status == 204
        s.kill_all()
        s.start()
        assert [r[1] for r in s.entries('{app="new"}', now, now + 1)] == ['y']
        assert s.stop() == 0
        s.verify()


def sealing_stops_when_segments_are_deleted():
    """The segments' directory is removed under the server: it makes it again, and sealing goes on without a restart."""
    with Server(workers=1) as s:
        s.start()
        shutil.rmtree(s.data + '/segments')
        assert s.push([({'app': 'after'}, [(now, 'y')])]).status == 204
        assert s.request('POST', '/flush').status == 204
        assert glob.glob(s.data + '/segments/*/*.index')
        assert [r[1] for r in s.entries('{app="after"}', now, now + 1)] == ['y']
        assert s.stop() == 0
        s.verify()


def ready_without_a_log_that_can_be_written():
    """A directory that belongs to somebody else ends the start with a reason and code 73."""
    if os.getuid() != 0 or not shutil.which('setpriv'):
        return
    nobody = 65534
    with Server(workers=1) as s:
        os.chmod(s.tmp, 0o755)
        plain = s.argv
        s.argv = lambda: ['setpriv', '--reuid', str(nobody), '--regid', str(nobody), '--clear-groups'] + plain()
        if subprocess.run(s.argv()[:6] + ['test', '-x', BUILD + '/logpulse']).returncode:
            return          # the build directory is private
        for foreign in ('', '/wal', '/segments'):
            os.makedirs(s.data + foreign)
            if foreign:
                os.chown(s.data, nobody, nobody)
            s.start(wait=False)
            assert s.proc.wait(30 * SLOW) == 73, (foreign, s.proc.returncode)
            assert 'Permission denied' in open(s.log_path).read().split('fatal', 1)[1], foreign
            shutil.rmtree(s.data)
            os.unlink(s.log_path)


def files_over_the_limit_end_the_writer():
    """Writes beyond RLIMIT_FSIZE fail like those of a bad disk: pushes get 503, and work again with room."""
    with Server({'storage.wal_file_min': '1MiB', 'storage.wal_file_max': '1MiB', 'ingest.commit_timeout': '1s'}, workers=1) as s:
        s.start()
        writer, = s.children('writer')
        resource.prlimit(writer, resource.RLIMIT_FSIZE, (65536, resource.RLIM_INFINITY))
        wait_for('503', lambda: s.push([({'app': 'big'}, [(time.time_ns(), 'x' * 100000)])]).status == 503)
        assert s.children('writer') == [writer]
        resource.prlimit(writer, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        wait_for('pushes', lambda: s.push([({'app': 'ok'}, [(now, 'z')])]).status == 204)
        assert s.children('writer') == [writer]
        assert s.stop() == 0
        s.verify()


a_clock_years_ahead_deletes_everything()
pushes_into_a_deleted_log()
sealing_stops_when_segments_are_deleted()
ready_without_a_log_that_can_be_written()
files_over_the_limit_end_the_writer()
done()
