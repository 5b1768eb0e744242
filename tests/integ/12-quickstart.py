#!/usr/bin/env python3
"""contrib/quickstart at a terminal: lines of this machine can be asked for, new ones keep coming, Ctrl-C ends all of it in order."""
import os, pty, select, shutil, signal, sys, tempfile
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../lib'))
from lptest import *

if not os.access(SRC + '/configure', os.X_OK):
    skip('no configure in the source tree')
tmp = tempfile.mkdtemp(prefix='lptest-')
s = Server(data=tmp + '/data')
env = dict(os.environ, LOGPULSE_PORT=str(s.port), LOGPULSE_STORAGE_PATH=s.data, LOGPULSE_BUILD_DIR=BUILD)
for name in ('MAKEFLAGS', 'MFLAGS', 'MAKELEVEL'):      # of the make that runs the tests
    env.pop(name, None)
pid, terminal = pty.fork()
if not pid:
    os.execve(SRC + '/contrib/quickstart', ['quickstart'], env)
text = ''


def read():
    """What was printed until now; None at the end."""
    global text
    while select.select([terminal], [], [], 0.1)[0]:
        try:
            piece = os.read(terminal, 65536)
        except OSError:
            piece = b''
        if not piece:
            return None
        text += piece.decode(errors='replace')
    return text


try:
    wait_for('the last line', lambda: 'Ctrl-C stops it.' in (read() or ''), 300)
    assert s.get('/query', {'query': '{job="varlog"}'}).json()['logs'] or s.get('/query', {'query': '{source="generated"}'}).json()['logs']
    count = lambda: sum(int(x['value'][1]) for x in s.get('/loki/api/v1/query', {'query': 'sum(count_over_time({source="generated"}[1h]))'}).json()['data']['result'])
    before = count()
    wait_for('new lines', lambda: count() > before and read() is not None, 60)
    os.write(terminal, b'\x03')
    wait_for('the end', lambda: read() is None, 60)
    assert os.waitpid(pid, 0)[1] == 0, text
    pid = 0
    assert 'stopped; the logs stay in' in text and 'msg="stopped"' in text, text
    assert 'level=error' not in text and 'second signal' not in text, text
    s.verify()
except BaseException:
    print(text[-4000:])
    raise
finally:
    if pid:
        os.kill(pid, signal.SIGTERM)
    os.close(terminal)
    shutil.rmtree(tmp, ignore_errors=True)
done()
