#!/usr/bin/env python3
"""A disk that fails: while writes or syncs of the log end with EIO pushes get 503; then they work again without a restart, and what was
acknowledged is there once, also after kill -9."""
import os, sys, time
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../lib'))
from lptest import *

LIB = BUILD + '/tests/crash/baddisk.so'
if not os.path.exists(LIB):
    skip('baddisk.so is not built (a sanitizer build)')
now = int(time.time()) * 10**9
with Server({'ingest.commit_timeout': '1s'}, workers=2) as s:
    faults = s.tmp + '/faults'
    os.mkdir(faults)
    s.env.update({'LD_PRELOAD': LIB, 'LP_BADDISK_DIR': faults})
    s.start()
    loads = [Load(s, k, now) for k in range(3)]
    for l in loads:
        l.start()
    children = sorted(s.children())

    def refused(before, times):
        return all(l.errors.get(503, 0) >= b + times for l, b in zip(loads, before))

    def progress(lines):
        before = [l.acked for l in loads]
        wait_for('pushes', lambda: all(l.acked >= b + lines for l, b in zip(loads, before)))
    for fault in ('sync', 'write', 'torn', 'sync'):
        progress(100)
        before = [l.errors.get(503, 0) for l in loads]
        open(faults + '/' + fault, 'w').close()
        wait_for('503 with bad ' + fault, lambda: refused(before, 1))
        stuck = [l.acked for l in loads]
        wait_for('more 503', lambda: refused(before, 3))
        assert [l.acked for l in loads] == stuck, 'acknowledged without the disk'
        os.unlink(faults + '/' + fault)
    progress(100)
    for l in loads:
        l.stop()
    for l in loads:
        l.join()
    assert sorted(s.children()) == children, 'a process died'
    check_loads(s, loads)
    s.kill_all()
    s.start()
    check_loads(s, loads)
    assert s.request('POST', '/flush').status == 204
    check_loads(s, loads)
    assert s.stop() == 0
    s.verify()
done()
