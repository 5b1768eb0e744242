#!/usr/bin/env python3
"""What an operator does: check, start twice, reload, rotate the log, stop gently, stop hard, kill a part."""
import fcntl, os, signal, socket, subprocess, sys, threading, time
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../lib'))
from lptest import *

now = int(time.time()) * 10**9
LP = BUILD + '/logpulse'


def run(*args, **kw):
    return subprocess.run([LP, *args], capture_output=True, text=True, **kw)


# ---- command line and configuration
assert run('--version').returncode == 0 and 'logpulse' in run('--version').stdout
assert run('--help').returncode == 0 and '--storage-path' in run('--help').stdout
assert run('--nonsense').returncode == 64
assert run('--check-config').returncode == 0
assert 'retention_days: 7' in run('--print-config').stdout
# ---- without anything: the defaults are enough, in any directory
with Server() as s:
    s.data = s.tmp + '/data/logs'
    s.argv = lambda: [LP, '--port', str(s.port)]
    home = os.getcwd()
    os.chdir(s.tmp)
    s.start()
    os.chdir(home)
    assert s.push([({'app': 'first'}, [(now, 'x')])]).status == 204
    assert s.stop() == 0
    assert os.stat(s.data).st_mode & 0o777 == 0o750 and os.path.isdir(s.data + '/wal')
    s.verify()
# ---- a reload and a log rotation while it waits for the last server's children, which hold the lock
with Server() as s:
    os.makedirs(s.data)
    lock = open(s.data + '/LOCK', 'w')
    gone = subprocess.Popen(['true'])
    gone.wait()
    lock.write('%d\n' % gone.pid)
    lock.flush()
    fcntl.flock(lock, fcntl.LOCK_EX)
    s.start(wait=False)

    def waits():
        fds = '/proc/%d/fd/' % s.proc.pid
        try:
            return any(os.readlink(fds + f).endswith('/LOCK') for f in os.listdir(fds))
        except OSError:
            return False            # one was closed meanwhile
    wait_for('the server to look at the lock', waits)
    for sig in (signal.SIGHUP, signal.SIGUSR1):
        s.proc.send_signal(sig)
    lock.close()
    s.wait_ready()
    wait_for('the reload to be done', lambda: s.metric('logpulse_config_reloads_total{result="ok"}'))
    assert s.stop() == 0
# ---- standard error is a pipe that nobody reads: the server does not wait for it
with Server() as s:
    reader, writer = os.pipe()
    fcntl.fcntl(writer, 1031, 4096)             # F_SETPIPE_SZ
    s.proc = subprocess.Popen(s.argv(), stderr=writer, start_new_session=True)
    os.close(writer)
    s.wait_ready()
    for i in range(1, 21):
        s.proc.send_signal(signal.SIGHUP)
        wait_for('reload %d' % i, lambda: s.metric('logpulse_config_reloads_total{result="ok"}') == i)
    assert s.push([({'app': 'piped'}, [(now, 'x')])]).status == 204
    assert os.read(reader, 1 << 16)             # now there is room again
    time.sleep(1.1)                             # lines are counted by the second
    s.proc.send_signal(signal.SIGHUP)
    seen = b''
    while b'suppressed count=' not in seen:
        seen += os.read(reader, 1 << 16)
    assert s.stop() == 0
    os.close(reader)
with Server() as s:
    conf = s.tmp + '/logpulse.yaml'

    def write_conf(text):
        open(conf, 'w').write(text)
        return run('--config', conf, '--check-config')
    for text, wants in (('server:\n  port: 99999\n', (':2', 'server.port', '65535')), ('server:\n  prot: 1\n', (':2', 'prot')),
                        ('storage:\n  retention_days: many\n', (':2', 'retention_days')), ('nonsense: 1\n', (':1', 'nonsense')),
                        ('server: [1\n', ('yaml',)), ('auth:\n  enabled: true\n', ('api_key',))):
        r = write_conf(text)
        assert r.returncode == 78 and all(w in r.stderr for w in wants), (text, r.returncode, r.stderr)
    assert run('--config', s.tmp + '/absent.yaml', '--check-config').returncode == 78
    # file < environment < flag
    write_conf('server:\n  port: 1111\n  workers: 3\nlogging:\n  level: warn\n')
    out = run('--config', conf, '--print-config', '--port', '3333', env=dict(os.environ, LOGPULSE_PORT='2222', LOGPULSE_WORKERS='2')).stdout
    assert 'port: 3333' in out and 'workers: 2' in out and 'level: warn' in out, out

    # ---- a running server
    own_log = s.tmp + '/own.log'
    write_conf('limits:\n  max_line_size: 100\n')
    s.options['logging.file'] = own_log
    argv = s.argv
    s.argv = lambda: argv() + ['--config', conf]
    s.start()

    def family():
        """The names of all children; one that was just forked still has the master's."""
        names = [open('/proc/%d/cmdline' % p, 'rb').read().split(b'\0')[0].decode() for p in s.children()]
        return sum('worker' in n for n in names) == 2 and sum('writer' in n for n in names) == 1 and names.count('logpulse: notifier') == 1
    wait_for('one writer, one notifier, two workers', family)
    r = run('--storage-path', s.data, '--port', str(free_port()))
    assert r.returncode == 75 and str(s.proc.pid) in r.stderr, (r.returncode, r.stderr)
    other = s.tmp + '/other'
    with socket.socket() as busy:
        busy.bind(('127.0.0.1', 0))
        busy.listen()
        r = run('--storage-path', other, '--host', '127.0.0.1', '--port', str(busy.getsockname()[1]), timeout=60)
        assert r.returncode not in (0, 75) and str(busy.getsockname()[1]) in r.stderr, (r.returncode, r.stderr)
    assert s.push([({'app': 'a'}, [(now, 'x' * 101)])]).status == 400

    # HUP with a bad file changes nothing; with a good one it takes effect, without a dropped request
    pids = sorted(s.children())
    write_conf('limits:\n  max_line_size: minus\n')
    s.proc.send_signal(signal.SIGHUP)
    wait_for('the bad reload to be counted', lambda: s.metric('logpulse_config_reloads_total{result="error"}'))
    assert s.push([({'app': 'a'}, [(now, 'x' * 101)])]).status == 400
    write_conf('limits:\n  max_line_size: 200\n')
    failures, stop = [], threading.Event()

    def pusher():
        c = http.client.HTTPConnection('127.0.0.1', s.port)
        i = 0
        while not stop.is_set():
            i += 1
            c.request('POST', '/loki/api/v1/push', loki_body([({'app': 'hup'}, [(now + i, 'y')])]), {'Content-Type': 'application/json'})
            r = c.getresponse()
            r.read()
            if r.status != 204:
                failures.append(r.status)
    t = threading.Thread(target=pusher)
    t.start()
    s.proc.send_signal(signal.SIGHUP)
    wait_for('the new limit', lambda: all(s.push([({'app': 'a'}, [(now, 'x' * 101)])]).status == 204 for _ in range(6)))
    stop.set()
    t.join()
    assert not failures, failures
    assert sorted(s.children()) == pids

    # USR1 opens the log again
    os.rename(own_log, own_log + '.1')
    s.proc.send_signal(signal.SIGUSR1)
    wait_for('the log to be opened again', lambda: os.path.exists(own_log))

    # a killed part is replaced, its counters go on, the others do not notice
    lines = s.metric('logpulse_ingested_lines_total')
    for role in ('worker', 'writer', 'notifier'):
        for p in s.children('logpulse: ' + role):
            os.kill(p, signal.SIGKILL)
            wait_for(role + ' to be replaced', lambda: p not in s.children() and len(s.children()) == len(pids))

    def push_ok():
        try:
            return s.push([({'app': 'b'}, [(now, 'z')])]).status == 204
        except OSError:
            return False
    wait_for('pushes to be taken again', push_ok)
    assert s.metric('logpulse_ingested_lines_total') > lines
    assert s.metric('logpulse_process_restarts_total') == s.metric('logpulse_child_restarts_total') == 4

    # TERM: pushes in flight finish, exit 0
    answers = []
    big = loki_body([({'app': 'drain'}, [(now + i, 'w' * 100) for i in range(2000)])])
    c = http.client.HTTPConnection('127.0.0.1', s.port, timeout=60 * SLOW)
    c.putrequest('POST', '/loki/api/v1/push')
    c.putheader('Content-Type', 'application/json')
    c.putheader('Content-Length', str(len(big)))
    c.endheaders()
    c.send(big[:100000].encode())
    time.sleep(0.2)         # the head must have arrived; there is no event for that outside
    s.proc.send_signal(signal.SIGTERM)
    c.send(big[100000:].encode())
    assert c.getresponse().status == 204
    assert s.proc.wait(60 * SLOW) == 0
    s.start()
    assert s.stats('{app="drain"}', now, now + 10**6)['entries'] == 2000

    # TERM twice: at once, and still nothing is lost
    writer, = s.children('logpulse: writer')
    assert s.push([({'app': 'twice'}, [(now, 'acknowledged')])]).status == 204
    kids = s.children()
    stops = open(own_log).read().count('stopping signal=')
    os.kill(writer, signal.SIGSTOP)
    s.proc.send_signal(signal.SIGTERM)
    wait_for('the drain to begin', lambda: open(own_log).read().count('stopping signal=') > stops)
    s.proc.send_signal(signal.SIGTERM)
    s.proc.wait(10 * SLOW)
    wait_for('all processes to be gone', lambda: not any(alive(p) for p in kids))
    s.start()
    assert s.stats('{app="twice"}', now, now + 10)['entries'] == 1
    # the master dies: nobody stays behind, and a new one starts at once
    kids = s.children()
    os.kill(s.proc.pid, signal.SIGKILL)
    s.proc.wait()
    wait_for('the children to follow', lambda: not any(alive(p) for p in kids))
    s.start()
    assert s.stats('{app="twice"}', now, now + 10)['entries'] == 1
    assert s.stop() == 0
    s.verify()
done()
