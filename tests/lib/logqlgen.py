"""Random LogQL texts over the whole grammar, mostly valid, for the data set of tests/integ/37-random-queries.py.

Every production takes the random generator from the one Gen object, so a seed names a query."""
import random

LABELS = {'app': ['json', 'logfmt', 'access', 'meta', 'none'], 'env': ['prod', 'dev', ''], 'pod': ['p-0', 'p-1', 'p-2', 'x"y']}
FIELDS = ['level', 'status', 'took', 'size', 'user_name', 'path', 'method', 'ip', 'n', 'list', 'trace', 'missing', 'app', 'app_extracted',
          '__error__', '_entry', 'msg', 'ok', 'ratio']
WORDS = ['error', 'request', 'GET', 'a', '', 'ü', '200', '10.0.0.', 'n=1', '"', '\\', '日本', '\x1b[', '{', 'ERROR', '  ', '\n']
REGEXES = ['err.*', '(?i)ERROR', '^[0-9.]+', 'n=[0-9]+$', '.*', '.+', '', 'a|b|', '(GET|POST) /p[0-3]', '[^a-z]+', '\\d{3}', 'x{2,5}', '(a*)*b', '\\p{L}+',
           '(?s).', '(?P<x>a)', '\\bn\\b', '\\Q.\\E', '(((a))))', '[', '(?<=a)b', 'a{1001}', '\\xff']
DURATIONS = ['1s', '5s', '30s', '1m', '5m', '1m30s', '1h', '1d', '1w', '100ms', '2h30m', '1y']
BYTES = ['1B', '1KB', '1.5KiB', '10kb', '2MiB', '1GB', '0B']
RANGE_PLAIN = ['count_over_time', 'rate', 'bytes_over_time', 'bytes_rate', 'absent_over_time']
RANGE_UNWRAP = ['rate', 'rate_counter', 'sum_over_time', 'avg_over_time', 'min_over_time', 'max_over_time', 'stddev_over_time', 'stdvar_over_time',
                'first_over_time', 'last_over_time', 'absent_over_time']
GROUPED = ['avg_over_time', 'min_over_time', 'max_over_time', 'stddev_over_time', 'stdvar_over_time', 'first_over_time', 'last_over_time']
TEMPLATES = ['{{.level}}', '{{ .msg | ToUpper | trunc 5 }}', '{{__line__}}', '{{ if eq .level "error" }}E{{ else if .status }}{{.status}}{{ else }}-{{ end }}',
             '{{ range $i, $x := fromJson .list }}{{$i}}={{$x}},{{ end }}', '{{ printf "%5s|%-3d|%.2f|%q|%v" .level 3 2.5 .path .n }}',
             '{{ add 1 2 }} {{ div 7 0 }} {{ mod 5 0 }}', '{{ regexReplaceAll "([0-9]+)" .msg "<$1>" }}', '{{ .took | duration_seconds }}', '{{ .size | bytes }}',
             '{{ alignLeft 10 .path }}{{ alignRight 3 .path }}', '{{ b64enc .msg | b64dec }}', '{{ define "x" }}{{.}}{{ end }}{{ template "x" .level }}',
             '{{ index (fromJson .list) 0 }}', '{{ .missing | default "none" }}', '{{ repeat 3 .level }}', '{{ repeat 100000000 .msg }}', '{{ __timestamp__ | date "15:04" }}',
             '{{ substr 1 3 .msg }}{{ slice .msg 0 1 }}', '{{ urlencode .path | urldecode }}', '{{ .n | int | mul 3 }}', '{{ len .msg }}', '{{ with .user_name }}{{.}}{{ end }}',
             '{{ toDate "2006-01-02" "2026-11-22" | unixEpoch }}', '{{ indent 3 .msg }}', '{{ .a.b.c }}', '{{', '{{ nosuch 1 }}', '{{ end }}', '{{ .x | }}', '{{/* c */}}',
             '{{ template "x" }}{{ define "x" }}{{ template "x" }}{{ end }}', '{{ range 5 }}', 'plain', '']
# For the pattern filter, which takes no names, and for the parser, which needs one.
ANONYMOUS = ['<_>error<_>', '<_> status=<_> took=<_>', '10.0.0.<_> - - <_>', 'n=<_>', '<_>', 'plain <_>', '<_><_>', '<_', '']
PATTERNS = ['<ip> - - [<_>] "<method> <path> <_>" <status> <size>', '<_> <level> <_>', 'level=<level> <_>', '<ip> <rest>', '<_>status=<status> <_>', '{"level": "<level>"<_>', '<a><b>', '<_>', 'x', '<1a>', '<a', '']


class Gen:
    def __init__(self, seed):
        self.r = random.Random(seed)

    def chance(self, p):
        return self.r.random() < p

    def pick(self, *options):
        return self.r.choice(options)

    def one(self, options):
        return self.r.choice(options)

    def many(self, f, lo, hi, sep):
        return sep.join(f() for _ in range(self.r.randint(lo, hi)))

    def space(self):
        return self.pick('', ' ', ' ', ' ', '\n\t', ' # comment "\n')

    # ---- literals
    def string(self, s):
        if '`' not in s and self.chance(0.5):
            return '`' + s + '`'
        return '"' + s.replace('\\', '\\\\').replace('"', '\\"').replace('\n', '\\n').replace('\x1b', '\\x1b') + '"'

    def number(self):
        return self.pick('0', '1', '2', '10', '200', '0.5', '1.5e3', '1e-9', '3.', '.5', '0x1f', '1e308', '100000000000000000000', '-1' if self.chance(0.1) else '7')

    def duration(self):
        return self.one(DURATIONS)

    def regex(self):
        # The last ones do not compile in RE2: rarely.
        return self.one(REGEXES[:17]) if self.chance(0.96) else self.one(REGEXES)

    def ip(self):
        return 'ip(' + self.string(self.pick('10.0.0.0/24', '10.0.0.1', '10.0.0.1-10.0.0.9', '::1', '2001:db8::/32', '10.0.0.9-10.0.0.1' if self.chance(.1) else '0.0.0.0/0')) + ')'

    # ---- selectors and pipelines
    def matcher(self, name=None):
        name = name or self.one(list(LABELS) + ['missing'])
        op = self.pick('=', '!=', '=~', '!~')
        if op in ('=', '!='):
            return name + op + self.string(self.one(LABELS.get(name, ['', 'x'])))
        return name + self.space() + op + self.string(self.pick('.+', '.*', 'p.*', 'json|meta', 'prod|dev|', '[a-l].*', self.regex()))

    def selector(self):
        first = 'app' + self.pick('=', '=', '=~') + self.string(self.one(LABELS['app'][:4])) if self.chance(0.6) else 'app=~' + self.string('.+')
        rest = [self.matcher() for _ in range(self.r.choice([0, 0, 1, 2]))]
        return '{' + self.space() + ', '.join([first] + rest) + (',' if self.chance(0.01) else '') + '}' if self.chance(0.97) else '{' + ','.join(rest) + '}'

    def line_filter(self):
        op = self.pick('|=', '|=', '!=', '|~', '!~', '|>', '!>')
        if op in ('|=', '!=') and self.chance(0.15):
            return op + ' ' + self.ip()
        f = {'|=': lambda: self.one(WORDS), '!=': lambda: self.one(WORDS), '|~': self.regex, '!~': self.regex}.get(op, lambda: self.one(ANONYMOUS[:6]) if self.chance(.95) else self.one(PATTERNS + ANONYMOUS))
        return op + self.space() + self.many(lambda: self.string(f()), 1, self.pick(1, 1, 1, 3), ' or ')

    def parser(self):
        return self.pick(
            lambda: 'json', lambda: 'json', lambda: 'logfmt', lambda: 'logfmt', lambda: 'unpack',
            lambda: 'json ' + self.many(lambda: self.one(FIELDS[:12]) + '=' + self.string(self.pick('user.name', 'list[0]', '["a b"]', 'n', 'user', 'list[1].x', 'a..b' if self.chance(.1) else 'level')), 1, 3, ', '),
            lambda: 'logfmt' + self.pick('', ' --strict', ' --keep-empty', ' --strict --keep-empty') + self.pick('', ' x="level", y="n"', ' level'),
            lambda: 'regexp ' + self.string(self.pick('(?P<ip>[0-9.]+) ', 'level=(?P<level>\\w+)', '(?P<a>.)(?P<b>.*)', '(?P<a>x)|(?P<a>y)' if self.chance(.1) else 'n=(?P<n>[0-9]+)', self.regex() if self.chance(.1) else '(?P<x>)')),
            lambda: 'pattern ' + self.string(self.one(PATTERNS[:6]) if self.chance(0.9) else self.one(PATTERNS)))()

    def predicate(self, depth=0):
        if depth < 2 and self.chance(0.25):
            a, b = self.predicate(depth + 1), self.predicate(depth + 1)
            s = a + self.pick(' and ', ' or ', ', ', ' ', ' AND ') + b
            return '(' + s + ')' if self.chance(0.4) else s
        name = self.one(FIELDS)
        kind = self.r.random()
        if kind < 0.4:
            op = self.pick('=', '!=', '=~', '!~')
            return name + op + self.string(self.regex() if '~' in op else self.pick('error', 'info', '200', '', 'GET', 'json'))
        if kind < 0.5:
            return name + self.pick('=', '!=') + self.ip()
        value = self.pick(self.number(), self.duration(), self.one(BYTES))
        return name + ' ' + self.pick('=', '==', '!=', '>', '>=', '<', '<=') + ' ' + value

    def label_list(self):
        return self.many(lambda: self.one(FIELDS) if self.chance(0.7) else self.one(FIELDS) + self.pick('=', '!=', '=~', '!~') + self.string(self.pick('error', 'a.*', '')), 1, 3, ', ')

    def template(self):
        return self.string(self.one(TEMPLATES[:26]) if self.chance(0.93) else self.one(TEMPLATES))

    def formatting(self):
        return self.pick(
            lambda: 'line_format ' + self.template(),
            lambda: 'label_format ' + ', '.join('%s=%s' % (n, self.one(FIELDS) if self.chance(0.5) else self.template())
                                                for n in self.r.sample(['new', 'level', 'path', 'other'], self.r.randint(1, 3))),
            lambda: 'decolorize', lambda: 'drop ' + self.label_list(), lambda: 'keep ' + self.label_list())()

    def pipeline(self, most=4):
        out = ''
        for _ in range(self.r.randint(0, most)):
            kind = self.r.random()
            out += self.space() + (self.line_filter() if kind < 0.35 else '|' + self.space() + (
                self.parser() if kind < 0.6 else self.predicate() if kind < 0.85 else self.formatting()))
        return out

    def log(self):
        s = self.selector() + self.pipeline(self.pick(1, 3, 5))
        return '(' + s + ')' if self.chance(0.05) else s

    # ---- metrics
    def names(self):
        return '(' + self.many(lambda: self.pick('app', 'env', 'pod', 'level', 'status', 'method', 'missing'), 0, 3, ', ') + ')'

    def grouping(self):
        return self.pick('by', 'by', 'without', 'BY') + self.space() + self.names()

    def range_aggregation(self):
        quantile = self.chance(0.1)
        unwrap = quantile or self.chance(0.4)
        name = 'quantile_over_time' if quantile else self.one(RANGE_UNWRAP if unwrap else RANGE_PLAIN)
        pipe = self.pipeline(3)
        if unwrap:
            pipe += ' | ' + self.pick('json', 'logfmt') + ' | unwrap ' + self.pick('n', 'status', 'ratio', 'duration(took)', 'duration_seconds(took)', 'bytes(size)', 'missing')
            if self.chance(0.5):
                pipe += ' | __error__=""'
        elif self.chance(0.3):
            pipe += ' | __error__=``'
        window = '[' + self.duration() + ']' + (' offset ' + self.pick('', '-') + self.duration() if self.chance(0.1) else '')
        inner = self.selector() + (window + pipe if self.chance(0.3) else pipe + ' ' + window)
        s = name + '(' + (self.pick('0.5', '0.99', '0', '1', '1.5', '-1') + ', ' if quantile else '') + inner + ')'
        if self.chance(0.3) and (name in GROUPED or quantile):
            s += ' ' + self.grouping()
        return s

    def metric(self, depth=0):
        kind = self.r.random()
        if depth > 2 or kind < 0.35:
            return self.range_aggregation()
        if kind < 0.65:
            op = self.pick('sum', 'sum', 'avg', 'min', 'max', 'count', 'stddev', 'stdvar', 'topk', 'bottomk', 'sort', 'sort_desc', 'approx_topk')
            arg = ('%d, ' % self.r.randint(1, 5) if 'topk' in op or op == 'bottomk' else '') + self.metric(depth + 1)
            group = '' if 'sort' in op or op == 'approx_topk' or self.chance(0.4) else self.grouping()
            return op + ' ' + group + ' (' + arg + ')' if self.chance(0.5) else op + '(' + arg + ') ' + group
        if kind < 0.72:
            return 'label_replace(%s, "%s", "%s", "%s", %s)' % (self.metric(depth + 1), self.pick('app', 'new'), self.pick('$1', 'x-$1-$2', ''), self.pick('app', 'pod', 'missing'),
                                                                self.string(self.pick('(.*)', 'p-(.)', '')))
        if kind < 0.78:
            return self.pick('vector(%s)' % self.number(), self.number())
        if kind < 0.85:
            return '(' + self.metric(depth + 1) + ')'
        op = self.pick('+', '-', '*', '/', '%', '^', '==', '!=', '>', '>=', '<', '<=', 'and', 'or', 'unless')
        modifier = ''
        if op[0] in '=!<>' and self.chance(0.4):
            modifier += ' bool'
        if self.chance(0.3):
            modifier += ' ' + self.pick('on', 'ignoring') + self.names()
            if op not in ('and', 'or', 'unless') and self.chance(0.3):
                modifier += ' ' + self.pick('group_left', 'group_right') + self.pick('', self.names())
        return self.metric(depth + 1) + ' ' + op + modifier + ' ' + self.metric(depth + 1)

    # ---- whole requests
    def query(self):
        """(text, is it a metric query)"""
        return (self.log(), False) if self.chance(0.5) else (self.metric(), True)

    def mutate(self, text):
        """A few bytes changed, taken out, doubled or swapped; the bytes need not be UTF-8."""
        b = bytearray(text.encode())
        for _ in range(self.r.randint(1, 4)):
            at, n = self.r.randrange(len(b) + 1), self.r.choice([1, 1, 2, 8, 40])
            kind = self.r.randrange(6)
            if kind == 0:
                del b[at:at + n]
            elif kind == 1:
                b[at:at] = bytes(self.r.randrange(256) for _ in range(n))
            elif kind == 2:
                b[at:at] = b[at:at + n] * self.r.choice([1, 2, 50])
            elif kind == 3:
                b[at:at] = self.one([b'(', b')', b'{', b'}', b'[', b']', b'"', b'`', b'|', b',', b'=', b'-', b'#', b'\0', b'\\', b'\xf0\x9f', b'9' * 30, b'(' * 300, b'5m', b' by ', b'{{'])
            elif kind == 4:
                del b[at:]
            elif b:
                b[at % len(b)] ^= 1 << self.r.randrange(8)
        return bytes(b)
