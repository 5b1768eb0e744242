#!/usr/bin/env python3
"""The agent against the real server: files that grow, rotate and are truncated while agent and server are killed; every line arrives,
none twice."""
import os, signal, subprocess, sys, time
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../lib'))
from lptest import *

KEY = 'agent-key'
with Server(env={'LOGPULSE_API_KEY': KEY}) as s:
    s.start()
    logs = s.tmp + '/logs'
    os.makedirs(logs)
    conf = s.tmp + '/agent.yaml'
    open(conf, 'w').write('server:\n  url: http://127.0.0.1:%d\n  api_key: %s\npositions_file: %s/positions.json\ntargets:\n  - path: %s/*.log\n    labels:\n      job: agent\n'
                          % (s.port, KEY, s.tmp, logs))
    assert subprocess.run([BUILD + '/logpulse-agent', '-config', conf, '--check-config']).returncode == 0
    agent = None

    def start_agent():
        global agent
        agent = subprocess.Popen([BUILD + '/logpulse-agent', '-config', conf], stdout=open(s.tmp + '/agent.log', 'ab'), stderr=subprocess.STDOUT)

    H = {'X-API-Key': KEY}
    t0 = time.time_ns() - 10**9

    def stored():
        out, start = [], t0
        while True:
            r = s.get('/loki/api/v1/query_range', dict(query='{job="agent"}', start=start, end=time.time_ns() + 10**12, limit=5000, direction='forward'), H)
            assert r.status == 200, r
            rows = sorted((int(v[0]), v[1], x['stream']['filename'], x['stream'].get('level')) for x in r.json()['data']['result'] for v in x['values'])
            out += [w for w in rows if w not in out[-6000:]]
            if len(rows) < 5000:
                return out
            start = rows[-1][0]

    sent = []

    def write(name, n, word='line'):
        with open('%s/%s' % (logs, name), 'a') as f:
            for _ in range(n):
                text = '%s %d of %s' % (word, len(sent), name)
                sent.append(text)
                f.write(text + '\n')

    def arrived():
        try:
            return len(stored()) >= len(sent)
        except OSError:
            return False

    write('a.log', 300)
    write('b.log', 200, 'ERROR something failed')
    start_agent()
    wait_for('the first lines', arrived)
    rows = stored()
    assert {r[2] for r in rows} == {'a.log', 'b.log'}, rows[:3]
    assert {r[3] for r in rows if r[2] == 'b.log'} == {'error'} and {r[3] for r in rows if r[2] == 'a.log'} == {'info'}
    # the server dies and comes back
    s.kill_all()
    write('a.log', 300)
    s.start()
    wait_for('lines written while the server was away', arrived, 60)
    # The agent dies and comes back.  Between the server's answer and the saved position lies a moment in which its death would send lines
    # again (with another time); the test waits it out, for it counts exactly.
    def positions_saved():
        saved = {p['path']: p['offset'] for p in json.load(open(s.tmp + '/positions.json'))}
        return all(saved.get(f) == os.path.getsize(f) for f in glob.glob(logs + '/*.log'))
    wait_for('the positions to be saved', positions_saved)
    agent.kill()
    agent.wait()
    write('a.log', 100)
    start_agent()
    wait_for('lines written while the agent was away', arrived, 60)
    # rename rotation, then copytruncate
    os.rename(logs + '/a.log', logs + '/a.log.1')
    write('a.log', 150)
    wait_for('lines after rotation', arrived, 60)
    open(logs + '/b.log', 'w').close()
    write('b.log', 20)
    wait_for('lines after truncation', arrived, 60)
    # half a line waits for its end
    with open(logs + '/a.log', 'a') as f:
        f.write('half ')
        f.flush()
        write('b.log', 1)
        wait_for('the other file', arrived, 60)
        sent.append('half and half')
        f.write('and half\n')
    wait_for('the whole line', arrived, 60)
    lines = sorted(r[1] for r in stored())
    assert lines == sorted(sent), (len(lines), len(sent))
    agent.terminate()
    assert agent.wait(5 * SLOW) == 0
    assert KEY not in open(s.tmp + '/agent.log').read()
    assert s.stop() == 0
done()
