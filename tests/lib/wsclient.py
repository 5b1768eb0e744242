"""A WebSocket client for tests, RFC 6455, Python standard library only.  It can also break the rules: frames are made by hand."""
import base64, hashlib, json, os, socket, struct, time
from lptest import SLOW

GUID = b'258EAFA5-E914-47DA-95CA-C5AB0DC85B11'
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


class Refused(Exception):
    """The server answered the upgrade with something else."""
    def __init__(self, status, headers, body):
        super().__init__('%d %r' % (status, body[:300]))
        self.status, self.headers, self.body = status, headers, body


class Closed(Exception):
    """The connection ended; code None: without a close frame."""
    def __init__(self, code, reason=''):
        super().__init__('closed code=%s reason=%r' % (code, reason))
        self.code, self.reason = code, reason


def frame(opcode, payload=b'', fin=True, mask=b'\x01\x02\x03\x04', rsv=0):
    head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
    m, n = (0x80 if mask else 0), len(payload)
    if n < 126:
        head += bytes([m | n])
    elif n < 65536:
        head += bytes([m | 126]) + struct.pack('>H', n)
    else:
        head += bytes([m | 127]) + struct.pack('>Q', n)
    if mask:
        payload = bytes(b ^ mask[i % 4] for i, b in enumerate(payload))
    return head + (mask or b'') + payload


class WebSocket:
    def __init__(self, port, path, headers=None, pong=True, rcvbuf=None, tls=None):
        self.pong, self.buf = pong, b''
        self.sock = socket.socket()
        if rcvbuf:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        self.sock.settimeout(60 * SLOW)
        self.sock.connect(('127.0.0.1', port))
        if tls:
            self.sock = tls.wrap_socket(self.sock, server_hostname='localhost')
        key = base64.b64encode(os.urandom(16))
        h = {'Host': '127.0.0.1:%d' % port, 'Upgrade': 'websocket', 'Connection': 'Upgrade', 'Sec-WebSocket-Version': '13',
             'Sec-WebSocket-Key': key.decode()}
        h.update(headers or {})
        req = 'GET %s HTTP/1.1\r\n' % path + ''.join('%s: %s\r\n' % (k, v) for k, v in h.items() if v is not None) + '\r\n'
        self.sock.sendall(req.encode())
        head = b''
        while b'\r\n\r\n' not in head:
            more = self.sock.recv(65536)
            if not more:
                raise Closed(None, 'during the handshake')
            head += more
        head, self.buf = head.split(b'\r\n\r\n', 1)
        lines = head.decode().split('\r\n')
        self.status = int(lines[0].split()[1])
        self.headers = {l.split(':', 1)[0].lower(): l.split(':', 1)[1].strip() for l in lines[1:]}
        if self.status != 101:
            want = int(self.headers.get('content-length', 0))
            while len(self.buf) < want:
                more = self.sock.recv(65536)
                if not more:
                    break
                self.buf += more
            self.sock.close()
            raise Refused(self.status, self.headers, self.buf)
        want = base64.b64encode(hashlib.sha1(key + GUID).digest()).decode()
        assert self.headers['sec-websocket-accept'] == want, self.headers

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()

    def send_raw(self, data):
        self.sock.sendall(data)

    def send(self, message):
        self.send_raw(frame(TEXT, message if isinstance(message, bytes) else json.dumps(message).encode()))

    def _need(self, n):
        while len(self.buf) < n:
            try:
                more = self.sock.recv(65536)
            except ConnectionResetError:
                raise Closed(None, 'reset')
            if not more:
                raise Closed(None, 'end of file')
            self.buf += more

    def frame(self, timeout=60):
        """(opcode, payload) of the next frame; socket.timeout when none comes."""
        self.sock.settimeout(timeout * SLOW)
        self._need(2)
        assert self.buf[0] & 0x80 and not self.buf[1] & 0x80, 'the server sends whole, unmasked frames'
        n, at = self.buf[1] & 0x7f, 2
        if n == 126:
            self._need(4)
            n, at = struct.unpack('>H', self.buf[2:4])[0], 4
        elif n == 127:
            self._need(10)
            n, at = struct.unpack('>Q', self.buf[2:10])[0], 10
        self._need(at + n)
        opcode, payload = self.buf[0] & 0x0f, self.buf[at:at + n]
        self.buf = self.buf[at + n:]
        return opcode, payload

    def recv(self, timeout=60):
        """The next message, as JSON; pings are answered."""
        while True:
            opcode, payload = self.frame(timeout)
            if opcode == PING:
                if self.pong:
                    self.send_raw(frame(PONG, payload))
            elif opcode == CLOSE:
                code = struct.unpack('>H', payload[:2])[0] if len(payload) >= 2 else 1005
                raise Closed(code, payload[2:].decode())
            elif opcode == TEXT:
                return json.loads(payload)

    def close(self):
        """A polite end: the close handshake."""
        self.send_raw(frame(CLOSE, struct.pack('>H', 1000)))
        try:
            while True:
                self.recv()
        except Closed as e:
            self.sock.close()
            return e.code

    def entries(self, n, timeout=60):
        """At least n entries of Loki frames: [(ts, line, labels)], in the order they came."""
        out = []
        while len(out) < n:
            for s in self.recv(timeout)['streams']:
                out += [(int(v[0]), v[1], s['stream']) for v in s['values']]
        return out
