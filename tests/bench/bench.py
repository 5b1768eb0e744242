#!/usr/bin/env python3
"""What a load costs: CPU seconds per GB, wall, memory, disk, requests per second, query medians.

  bench.py --logpulse BUILD_DIR [--corpus DIR] [--lines N] [--json FILE]
        starts that LogPulse in a folder of its own, with the defaults, and measures it
  bench.py --url http://127.0.0.1:3100 --pid PID --data DIR [...]
        measures any running server that speaks Loki's API, on this machine

Times depend on the machine and on what else it does: `zstd1_s_per_gb` is what `zstd -1` takes for a GB of the same
lines in the same run; divide by it, and compare query times only with those of the same run."""
import argparse, glob, json, os, shutil, statistics, subprocess, sys, tempfile, time, urllib.error, urllib.parse, urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
NEEDLE = 'zq9' + 'needle7x'
QUERIES = [
    ('last100', '{app="%(app)s",host="host-003"}', {}),
    ('last1000_all', '{app=~".+"}', {'limit': 1000}),
    ('needle_absent', '{app=~".+"} |= "' + NEEDLE + '"', {}),
    ('needle_rare', '{app=~".+"} |= "%(rare)s"', {}),
    ('regex_rare', '{app=~".+"} |~ "(?i)panic|segfault|out of memory"', {}),
    ('substr_count', 'sum by (app) (count_over_time({app=~".+"} |= "error" [5m]))', {'step': 300}),
    ('regex_count', 'sum(count_over_time({app=~".+"} |~ "(?i)fail(ed|ure).*[0-9]{3}" [5m]))', {'step': 300}),
    ('rate_all', 'sum by (app) (rate({app=~".+"}[5m]))', {'step': 300}),
    ('json_filter', 'sum(count_over_time({app="mongodb-json"} | json | s="I" | c="COMMAND" [5m]))', {'step': 300}),
    ('logfmt_topk', 'topk(5, sum by (caller) (count_over_time({app="logfmt-loki"} | logfmt [5m])))', {'step': 300}),
    ('pattern_status', 'sum by (status) (count_over_time({app="apache-access"} | pattern `<ip> - - [<_>] "<method> <path> <_>" <status> <size> <_>` [5m]))', {'step': 300}),
    ('unwrap_p99', 'quantile_over_time(0.99, {app="apache-access"} | pattern `<ip> - - [<_>] "<_>" <status> <size> <_>` | unwrap size | __error__="" [5m]) by (status)', {'step': 300}),
]


def family(pid):
    out = [pid]
    for f in glob.glob('/proc/[0-9]*/stat'):
        try:
            if int(open(f).read().rsplit(')', 1)[1].split()[1]) == pid:
                out += family(int(f.split('/')[2]))
        except OSError:
            pass
    return out


def cost(pid):
    """CPU seconds of the family so far, and its memory that is not page cache (private + shared memory)."""
    cpu = anon = 0
    for p in family(pid):
        try:
            f = open('/proc/%d/stat' % p).read().rsplit(')', 1)[1].split()
            ticks = int(f[11]) + int(f[12]) + (int(f[13]) + int(f[14]) if p == pid else 0)
            cpu += ticks / os.sysconf('SC_CLK_TCK')
            for l in open('/proc/%d/smaps_rollup' % p):
                if l.startswith(('Pss_Anon:', 'Pss_Shmem:')):
                    anon += int(l.split()[1])
        except OSError:
            pass
    return {'cpu_s': round(cpu, 2), 'anon_shmem_mb': round(anon / 1024, 1)}


def compacting(pid):
    """CPU seconds of LogPulse's compacting thread, which works in the background, at the lowest priority, on what is stored already."""
    ticks = 0
    for p in family(pid):
        for t in glob.glob('/proc/%d/task/[0-9]*' % p):
            try:
                if open(t + '/comm').read().strip() == 'lp-compactor':
                    f = open(t + '/stat').read().rsplit(')', 1)[1].split()
                    ticks += int(f[11]) + int(f[12])
            except OSError:
                pass
    return round(ticks / os.sysconf('SC_CLK_TCK'), 2)


def du_mb(path):
    return round(int(subprocess.run(['du', '-sk', path], capture_output=True, text=True).stdout.split()[0]) / 1024, 1)


def yardstick(corpus):
    files = sorted(glob.glob(corpus + '/*.log')) if corpus != '-' else []
    raw = b''.join(open(f, 'rb').read() for f in files) or os.urandom(1 << 16).hex().encode() * 80
    raw = (raw * (1 + (100 << 20) // len(raw)))[:100 << 20]
    t0 = os.times()
    subprocess.run(['zstd', '-1', '-c', '--single-thread'], input=raw, stdout=subprocess.DEVNULL)
    t1 = os.times()
    return round((t1.children_user + t1.children_system - t0.children_user - t0.children_system) / len(raw) * 1e9, 3)


def get(url, timeout=120, **params):
    t = time.perf_counter()
    try:
        with urllib.request.urlopen(url + ('?' + urllib.parse.urlencode(params) if params else ''), timeout=timeout) as r:
            body, code = r.read(), r.status
    except urllib.error.HTTPError as e:
        body, code = e.read(), e.code
    return time.perf_counter() - t, code, body


def make(load, fmt, args, lines, batch, start_ns, step_ns, seed):
    out = load + '.' + fmt
    r = subprocess.run([args.load, 'make', out, fmt, args.corpus, str(lines), '560', str(batch), str(start_ns), str(step_ns), str(seed)],
                       capture_output=True, text=True, check=True)
    return out, int(r.stdout.split('raw_bytes=')[1].split()[0])


def send(args, bodies, path, ctype, conns):
    host = args.url.split('//')[1]
    r = subprocess.run([args.load, 'send', bodies, host, path, ctype, str(conns)], capture_output=True, text=True)
    return dict(x.split('=') for x in r.stdout.split()) | ({'error': r.stderr.strip()} if r.returncode else {})


def settle(args, idle_cpu_s=0.05):
    """Wait until two seconds pass without work, a minute at most."""
    last = cost(args.pid)['cpu_s']
    for _ in range(30):
        time.sleep(2)
        now = cost(args.pid)['cpu_s']
        if now - last <= idle_cpu_s:
            return
        last = now


def ask(args, start, end, rare):
    out = {}
    for name, q, extra in QUERIES:
        q = q % {'app': args.app, 'rare': rare} if '%(' in q else q
        times, code, body = [], 0, b''
        for _ in range(7):
            t, code, body = get(args.url + '/loki/api/v1/query_range', query=q, start=start, end=end, **dict({'limit': 100}, **extra))
            times.append(t * 1e3)
            if t > 8 or code != 200:
                break
        if code == 200:
            res = json.loads(body)['data']['result']
            n = sum(len(s.get('values', [])) for s in res)
            out[name] = {'median_ms': round(statistics.median(times), 1), 'min_ms': round(min(times), 1), 'values': n}
        else:
            out[name] = {'status': code, 'text': body[:80].decode(errors='replace')}
    return out


def measure(args, tmp):
    out = {'zstd1_s_per_gb': yardstick(args.corpus), 'idle': cost(args.pid)}
    step = 5000000
    start = (int(time.time()) // 300 * 300) * 10**9 - args.lines * step - 600 * 10**9
    end = start + (args.lines + 1) * step
    bodies, raw = make(tmp + '/load', 'proto', args, args.lines, 1000, start, step, 7)
    c0 = cost(args.pid)['cpu_s']
    r = send(args, bodies, '/loki/api/v1/push', 'application/x-protobuf', 4)
    out['push'] = dict(r, raw_mb=round(raw / 1e6, 1), after=cost(args.pid), disk_mb=du_mb(args.data))
    if args.flush:
        urllib.request.urlopen(urllib.request.Request(args.url + '/flush', method='POST', data=b''), timeout=300).read()
    settle(args)
    c1 = dict(cost(args.pid), compacting_cpu_s=compacting(args.pid))
    per_gb = (c1['cpu_s'] - c1['compacting_cpu_s'] - c0) / raw * 1e9
    segments = os.path.join(args.data, 'segments')      # LogPulse's own: without the log files that it keeps for the next load
    sealed = {'segments_mb': du_mb(segments)} if os.path.isdir(segments) else {}
    out['settled'] = dict(c1, **sealed, disk_mb=du_mb(args.data), push_cpu_s_per_gb=round(per_gb, 2), in_zstd1=round(per_gb / out['zstd1_s_per_gb'], 2),
                          disk_ratio=round(raw / 1e6 / max(du_mb(args.data), .1), 2))
    os.unlink(bodies)
    out['queries'] = ask(args, start, end, args.rare)
    out['after_queries'] = cost(args.pid)
    bodies, raw = make(tmp + '/small', 'json', args, args.small_lines, 10, end, 1000, 8)
    c0 = cost(args.pid)['cpu_s']
    r = send(args, bodies, '/loki/api/v1/push', 'application/json', 64)
    out['small_bodies_64_connections'] = dict(r, cpu_us_per_request=round((cost(args.pid)['cpu_s'] - c0) / float(r['requests']) * 1e6, 1))
    out['end'] = cost(args.pid)
    return out


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--logpulse')
    p.add_argument('--url')
    p.add_argument('--pid', type=int)
    p.add_argument('--data')
    p.add_argument('--corpus', default=os.path.join(HERE, '../../../shared/corpus'))
    p.add_argument('--app', default='kafka')
    p.add_argument('--rare', default='122.189.198.238')
    p.add_argument('--lines', type=int, default=3000000)
    p.add_argument('--small-lines', type=int, default=400000)
    p.add_argument('--load', help='the compiled tests/bench/load')
    p.add_argument('--flush', action='store_true', help='POST /flush before settling')
    p.add_argument('--set', action='append', default=[], help='option for LogPulse')
    p.add_argument('--json')
    args = p.parse_args()
    if not os.path.isdir(args.corpus):
        args.corpus, args.app = '-', 'app-1'
    tmp = tempfile.mkdtemp(prefix='lpbench-')
    proc = None
    try:
        if args.logpulse:
            args.load = args.load or args.logpulse + '/tests/bench/load'
            args.data, args.flush = tmp + '/data', True
            port = 18080
            argv = [args.logpulse + '/logpulse', '--host', '127.0.0.1', '--port', str(port), '--storage-path', args.data, '--log-file', tmp + '/log']
            for o in args.set:
                argv += ['--set', o]
            t = time.monotonic()
            proc = subprocess.Popen(argv)
            args.pid, args.url = proc.pid, 'http://127.0.0.1:%d' % port
            while True:
                try:
                    if get(args.url + '/ready')[1] == 200:
                        break
                except OSError:
                    time.sleep(0.005)
            ready = time.monotonic() - t
        out = measure(args, tmp)
        if proc:
            out['start_to_ready_s'] = round(ready, 3)
            proc.terminate()
            t = time.monotonic()
            proc.wait()
            out['stop_s'] = round(time.monotonic() - t, 2)
        text = json.dumps(out, indent=1)
        print(text)
        if args.json:
            open(args.json, 'w').write(text)
    finally:
        if proc and proc.poll() is None:
            proc.kill()
        shutil.rmtree(tmp, ignore_errors=True)


if __name__ == '__main__':
    main()
