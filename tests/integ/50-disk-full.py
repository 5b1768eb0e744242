#!/usr/bin/env python3
"""A disk of 64 MB filled by pushes: refused with 507, queries answered, nothing acknowledged lost, and pushes taken
again by themselves when there is room.  Needs root, for a tmpfs of that size."""
import base64, os, random, subprocess, sys, tempfile, time
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../lib'))
from lptest import *

mnt = tempfile.mkdtemp(prefix='lpdisk-')
if os.geteuid() != 0 or subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=64m', 'tmpfs', mnt], capture_output=True).returncode:
    skip('cannot mount a tmpfs here')
now = int(time.time()) * 10**9
rnd = random.Random(1)
try:
    with Server(data=mnt + '/data') as s:
        s.start()
        ballast = mnt + '/ballast'
        open(ballast, 'wb').write(b'\0' * (20 << 20))
        acked, n, codes = [], 0, {}

        def push():
            """100 lines that hardly compress."""
            global n
            batch = [(now + n + i, '%d %s' % (n + i, base64.b64encode(rnd.randbytes(1500)).decode())) for i in range(100)]
            r = s.push([({'app': 'fill'}, batch)])
            codes[r.status] = codes.get(r.status, 0) + 1
            if r.status == 204:
                acked.extend(batch)
            n += 100
            return r

        def all_there(what):
            rows = {r[0]: r[1] for r in s.entries('{app="fill"}', now, now + n + 1, page=1000)}
            lost = [t for t, x in acked if rows.get(t) != x]
            assert not lost, '%s: %d of %d acknowledged lines lost' % (what, len(lost), len(acked))

        # Sealing gives room back for a while; in the end there is none.
        r, refused = None, 0
        for _ in range(2000):
            r = push()
            assert r.status == 204 or r.status == 507 and int(r.headers['retry-after']) > 0, r
            refused = refused + 1 if r.status == 507 else 0
            if refused == 10:
                break
        assert refused == 10, codes
        print('full after %d lines: %r' % (len(acked), r))
        wait_for('health to tell', lambda: push().status == 507 and s.get('/health').json()['status'] == 'degraded')
        all_there('while full')
        assert {push().status for _ in range(5)} <= {204, 507}
        # kill -9 while full: nothing is lost, and it comes up, still full
        s.kill_all()
        s.start()
        all_there('restarted while full')
        # room again
        os.unlink(ballast)
        wait_for('pushes to be taken again', lambda: push().status == 204, 60)
        all_there('after room came back')
        # Sealing what was kept back may take the room once more for a moment.
        wait_for('health', lambda: s.get('/health').json()['status'] == 'healthy', 60)
        print('answers', codes, 'lines', len(acked))
        assert s.stop() == 0
        s.verify()
finally:
    subprocess.run(['umount', '-l', mnt])
    os.rmdir(mnt)
done()
