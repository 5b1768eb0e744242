#!/usr/bin/env python3
"""Power cuts: what was not synced may be gone.

The real server runs under load with tests/crash/recorder.c preloaded, which writes down every change to its files in order.  Then
the power is cut at many points of that record: a directory is built that holds what a disk must hold there (all that a completed
fsync or fdatasync covers) and of the rest a random part, page by page and name by name.  A server started on it must be ready and have every
line that was acknowledged before the cut exactly once; logpulsectl verify must find it clean.

The model, harsher than ext4: a file's pages and size survive if a sync of the file that began after the write has ended; a name (create,
rename, unlink, mkdir) survives if a sync of its directory that began after it has ended; of later changes any page may survive, and
names of one directory in their order up to a random one."""
import os, random, shutil, struct, sys, tempfile, time
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../lib'))
from lptest import *

CREATE, WRITE, TRUNCATE, SYNC_BEGIN, SYNC_END, RENAME, UNLINK, MKDIR, RMDIR = range(1, 10)
HEAD = struct.Struct('<IIQQIII')
PAGE = 4096


def events(path):
    """(end offset in the journal, kind, inode, offset, path, path2, data)"""
    raw = open(path, 'rb').read()
    at = 0
    while at + HEAD.size <= len(raw):
        magic, kind, inode, offset, p, p2, d = HEAD.unpack_from(raw, at)
        assert magic == 0x52504c45
        a = at + HEAD.size
        at = a + p + p2 + d
        if at > len(raw):
            return
        yield at, kind, inode, offset, raw[a:a + p].decode(), raw[a + p:a + p + p2].decode(), raw[a + p + p2:at]


class Disk:
    def __init__(self, root):
        self.root = root
        self.sure, self.maybe = {}, {}      # inode -> bytearray; inode -> [(seq, offset, data) or (seq, size, None)]
        self.names = {}                     # as the process sees them: path -> inode or 'dir'
        self.sure_names = {root: 'dir'}     # as a disk must have them
        self.pending = {}                   # directory -> [(seq, [(path, what or None)])]
        self.begun = {}                     # (inode, thread) -> seq
        self.life = {}                      # inode -> how often that number was given to a new file

    def change(self, seq, changes):
        for d in {os.path.dirname(p) for p, _ in changes}:
            self.pending.setdefault(d, []).append((seq, [c for c in changes if os.path.dirname(c[0]) == d]))
        for p, what in changes:
            if what is None:
                self.names.pop(p, None)
            else:
                self.names[p] = what

    def apply(self, data, offset, piece):
        if piece is None:
            del data[offset:]
            data.extend(bytes(max(0, offset - len(data))))
            return
        if len(data) < offset:
            data.extend(bytes(offset - len(data)))
        data[offset:offset + len(piece)] = piece

    def sync(self, inode, path, before):
        if self.names.get(path) == 'dir' or path == self.root:
            rest = []
            for seq, changes in self.pending.get(path, []):
                if seq < before:
                    for p, what in changes:
                        if what is None:
                            self.sure_names.pop(p, None)
                        else:
                            self.sure_names[p] = what
                else:
                    rest.append((seq, changes))
            self.pending[path] = rest
            return
        data, rest = self.sure.setdefault(inode, bytearray()), []
        for seq, offset, piece in self.maybe.get(inode, []):
            if seq < before:
                self.apply(data, offset, piece)
            else:
                rest.append((seq, offset, piece))
        self.maybe[inode] = rest

    def event(self, seq, kind, inode, offset, path, path2, data):
        if kind == CREATE:
            self.life[inode] = self.life.get(inode, 0) + 1
        inode = (inode, self.life.get(inode, 0))
        if kind == CREATE:
            self.sure[inode], self.maybe[inode] = bytearray(), []
            self.change(seq, [(path, inode)])
        elif kind == WRITE:
            self.maybe.setdefault(inode, []).append((seq, offset, data))
        elif kind == TRUNCATE:
            self.maybe.setdefault(inode, []).append((seq, offset, None))
        elif kind == SYNC_BEGIN:
            self.begun[inode, offset] = seq
        elif kind == SYNC_END:
            self.sync(inode, path, self.begun.pop((inode, offset)))
        elif kind == RENAME:
            what = self.names.get(path)
            if what is not None:
                self.change(seq, [(path, None), (path2, what)])
        elif kind in (UNLINK, RMDIR):
            self.change(seq, [(path, None)])
        elif kind == MKDIR:
            self.change(seq, [(path, 'dir')])

    def cut(self, rnd, to):
        """Write one possible state of the disk to the folder `to`."""
        names = dict(self.sure_names)
        mode = rnd.choice(['nothing', 'some', 'some', 'all'])
        for d, changes in self.pending.items():
            keep = {'nothing': 0, 'all': len(changes)}.get(mode, rnd.randint(0, len(changes)))
            for _, cs in changes[:keep]:
                for p, what in cs:
                    if what is None:
                        names.pop(p, None)
                    else:
                        names[p] = what
        for p in sorted(names):
            # A name below a directory that did not survive is not there either.
            d = os.path.dirname(p)
            if p != self.root and names.get(d) != 'dir':
                continue
            out = to + p[len(self.root):]
            if names[p] == 'dir':
                os.makedirs(out, exist_ok=True)
                continue
            data = bytearray(self.sure.get(names[p], b''))
            for _, offset, piece in self.maybe.get(names[p], []):
                if piece is None or mode == 'all':
                    if mode == 'all' or (mode == 'some' and rnd.random() < .5):
                        self.apply(data, offset, piece)
                elif mode == 'some':
                    share = rnd.random()
                    for a in range(offset - offset % PAGE, offset + len(piece), PAGE):
                        if rnd.random() < share:
                            lo, hi = max(a, offset), min(a + PAGE, offset + len(piece))
                            self.apply(data, lo, piece[lo - offset:hi - offset])
            with open(out, 'wb') as f:
                f.write(data)


def main():
    cuts = int(os.environ.get('LP_CUTS', 200 if LONG else 30))
    seed = int(os.environ.get('LP_SEED', time.time_ns() % 10**6))
    rnd = random.Random(seed)
    options = {'storage.wal_file_min': '128KiB', 'storage.wal_file_max': '256KiB', 'storage.retention_days': 0, 'storage.min_free_bytes': 0}
    tmp = tempfile.mkdtemp(prefix='lpcut-')
    journal, data = tmp + '/journal', tmp + '/data'
    recorder = BUILD + '/tests/crash/recorder.so'
    if not os.path.exists(recorder):
        skip('no recorder.so: this build cannot preload (sanitizers)')
    midnight = int(time.time()) // 86400 * 86400 * 10**9
    acks = []       # (journal size when the answer had come, load, lines acknowledged)
    with Server(options, data=data) as s:
        s.start(env={'LD_PRELOAD': recorder, 'LP_RECORD_DIR': data, 'LP_RECORD_FILE': journal})
        loads = [Load(s, k, midnight - 300 * 1000, lines=10) for k in range(3)]

        for l in loads:
            l.start()
        seen = [0] * len(loads)
        end = time.monotonic() + (8 if LONG else 4)    # the length of the load, not a wait for something
        while time.monotonic() < end:
            for l in loads:
                n = l.acked
                if n != seen[l.k]:
                    # acked was stored before this look at the journal, so what it stands on is in there
                    acks.append((os.path.getsize(journal), l.k, n))
                    seen[l.k] = n
            time.sleep(0.002)
        for l in loads:
            l.stop()
        for l in loads:
            l.join()
        assert s.stop() == 0
    evs = list(events(journal))
    print('seed %d: %d changes recorded, %d lines acknowledged' % (seed, len(evs), sum(l.acked for l in loads)))
    points = sorted(rnd.randint(1, len(evs) - 1) for _ in range(cuts))
    disk, done_ = Disk(data), 0
    lines = 0
    for point in points:
        for seq in range(done_, point):
            disk.event(seq, *evs[seq][1:])
        done_ = point
        upto = evs[point - 1][0]
        due = {}
        for size, k, n in acks:
            if size <= upto:
                due[k] = max(due.get(k, 0), n)
        with Server(options) as s:
            os.makedirs(s.data)
            disk.cut(rnd, s.data)
            s.start()
            for l in loads:
                l.server, l.acked = s, due.get(l.k, 0)
            lines += check_loads(s, loads)
            assert s.stop() == 0
            s.verify()
    print('%d power cuts: %d acknowledged lines looked for, none lost, none doubled' % (cuts, lines))
    shutil.rmtree(tmp)


main()
