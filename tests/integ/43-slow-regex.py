#!/usr/bin/env python3
"""A catastrophic pattern on a line of 1 MB does not hold a core for a second: in filters, parsers, label filters and in templates, where it may
match again and again.  What counts is the processor time of the workers, so that a busy machine changes nothing."""
import os, sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../lib'))
from lptest import *

TICK = os.sysconf('SC_CLK_TCK')
PATTERNS = [r'(a+)+$', r'(a|aa)+$', r'(a|a?)+$', r'([a-z]+)*!$', r'(.*)*x$', r'(a*)*b', r'(.*a){20}$', r'(a?){50}a{50}$', r'a{1,500}b', r'(x+x+)+y',
            r'((a{1,30}){1,30})b', r'^(([a-z])+.)+[A-Z]([a-z])+$', r'.*.*.*.*=.*', r'.*q|a', r'(a.*b.*c.*d.*)+z', r'(?i)(k|\x{212a})+$']
LINES = {'same': 'a' * 2**20 + '!', 'words': 'ab cd=1 ' * 2**17, 'broken': 'ab cd=1 ' * 2**17 + '\udcff'}


def processor_seconds(s):
    total = 0
    for pid in s.children('worker'):
        fields = open('/proc/%d/stat' % pid).read().rsplit(')', 1)[1].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICK


with Server({'limits.max_line_size': '4MiB'}) as s:
    s.start()
    now = int(time.time()) * 10**9
    for app, line in LINES.items():
        body = b'{"streams":[{"stream":{"app":"%s"},"values":[["%d",%s]]}]}' % (
            app.encode(), now, json.dumps(line, ensure_ascii=False).encode(errors='surrogateescape'))
        r = s.post('/loki/api/v1/push', body)
        assert r.status == 204, r
    worst = (0, '')
    for app in LINES:
        for p in PATTERNS if app != 'broken' else PATTERNS[9:14]:
            doubled = p.replace('\\', '\\\\')
            for q in ('|~ `%s`' % p, '!~ `%s`' % p, '| regexp `(?P<m>%s)` | m=~`%s` | line_format "x"' % (p, p),
                      '| line_format `{{regexReplaceAll "%s" __line__ "z" | len}}`' % doubled, '| line_format `{{count "%s" __line__}}`' % doubled):
                before = processor_seconds(s)
                r = s.get('/loki/api/v1/query_range', {'query': '{app="%s"} %s | line_format "x"' % (app, q), 'start': now - 10**9, 'end': now + 10**9})
                used = processor_seconds(s) - before
                assert r.status == 200, (q, r)
                worst = max(worst, (used, app + ' ' + q))
                assert used < 1 * SLOW, 'line %s, %s: %.2f s of processor time' % (app, q, used)
    print('worst: %.2f s, %s' % worst)
    # The line is not lost: it says that its template took too long.
    r = s.query_range('{app="same"} | line_format `{{count ".*q|a" __line__}}` | keep __error__ | drop __error_details__ | line_format "x"', now - 10**9, now + 10**9)
    assert r[0]['stream'] == {'__error__': 'TemplateFormatErr'}, r
    assert s.stop() == 0
done()
