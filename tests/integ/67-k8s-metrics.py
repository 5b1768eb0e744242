#!/usr/bin/env python3
"""Kubernetes labels of pushed streams as series: both kinds, bounded, gone when they are old, kept over a worker's death."""
import os, re, sys, time
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../lib'))
from lptest import *


def series(s, accept=None):
    text = s.get('/metrics', headers={'Accept': accept} if accept else None).body.decode()
    return {l for l in text.splitlines() if re.match(r'\w+_k8s_(label|annotation)_', l)}


def push(s, **labels):
    assert s.push([(dict(labels, app='a'), [(time.time_ns(), 'x')])]).status == 204


with Server(options={'metrics.k8s_series': '10', 'metrics.k8s_series_ttl': '20s'}, workers=2) as s:
    s.start()
    assert s.push([({'a': 'b'}, [(time.time_ns(), 'x')]), ({'k8s_namespace': 'web', 'app': 'second-in-its-push'}, [(time.time_ns(), 'x')])]).status == 204
    for _ in range(8):      # by both workers: each series once
        push(s, k8s_namespace='web', k8s_pod='web-1', k8s_annot_team='a "b" \\', other_k8s='no')
    expect = set()
    for prefix in ('logpulse', 'lokiclone'):
        expect |= {prefix + '_k8s_label_namespace{value="web"} 1', prefix + '_k8s_label_pod{value="web-1"} 1',
                   prefix + r'_k8s_annotation_team{value="a \"b\" \\"} 1'}
    assert series(s) == expect, series(s)
    assert series(s, 'application/openmetrics-text') == expect
    for role in s.children('logpulse: worker'):
        os.kill(role, 9)
    wait_for('new workers', lambda: len(s.children('logpulse: worker')) == 2)
    s.wait_ready()
    assert series(s) == expect, series(s)
    for i in range(200):
        push(s, k8s_pod='p%d' % i)
    got = series(s)
    own = {l for l in got if l.startswith('logpulse') and '"other"' not in l}
    assert 3 <= len(own) <= 10 and 'logpulse_k8s_label_pod{value="other"} 1' in got, got
    assert s.metric('logpulse_k8s_overflow_total') > 100
    # They age, and new ones find room.
    wait_for('old series to go', lambda: not [l for l in series(s) if '"p' in l or '"web' in l], 60)
    wait_for('a new series', lambda: push(s, k8s_pod='late') or 'logpulse_k8s_label_pod{value="late"} 1' in series(s))
    wait_for('the shortage to be over', lambda: not [l for l in series(s) if '"other"' in l], 60)
done('k8s series hold')
