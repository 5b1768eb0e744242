"""A receiver of web hooks that misbehaves on demand.  Python standard library only."""
import http.server, json, socket, ssl, threading


class HookStub:
    """got: (path, headers, body bytes) of every request that was answered 2xx, in order.  answers[path] is what the path does:
    a status, (status, headers), 'hang' until released, 'close' without an answer, or 200 and then a body that is 'huge', ends 'short' or
    is a 'drip' of a byte at a time; 'late' is 200 once released; default 200.  tries[path] counts requests."""

    def __init__(self, port=0, tls=None):       # tls: (certificate, key), files
        stub = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = 'HTTP/1.1'

            def do_POST(self):
                body = self.rfile.read(int(self.headers['Content-Length']))
                with stub.lock:
                    stub.tries[self.path] = stub.tries.get(self.path, 0) + 1
                    stub.seen.append((self.path, dict(self.headers), body))
                    answer = stub.answers.get(self.path, 200)
                if answer == 'hang':
                    stub.release.wait()
                    answer = 'close'
                if answer == 'close':
                    self.close_connection = True
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                if answer == 'late':
                    stub.release.wait()
                    answer = 200
                pieces = {'huge': [b'x' * 65536] * 160, 'short': [b'x'], 'drip': [b'x'] * 1000}[answer] if isinstance(answer, str) else []
                status, headers = answer if isinstance(answer, tuple) else (200 if pieces else answer, {})
                if 200 <= status < 300:
                    with stub.lock:
                        stub.got.append((self.path, dict(self.headers), body))
                self.send_response(status)
                for k, v in headers.items():
                    self.send_header(k, v)
                self.send_header('Content-Length', str(10485760 if pieces else 0))
                self.end_headers()
                for piece in pieces:
                    self.wfile.write(piece)
                    if answer == 'drip' and stub.closed.wait(0.1):
                        break
                self.close_connection = bool(pieces)

            def log_message(self, *_):
                pass

        self.lock, self.release, self.closed = threading.Lock(), threading.Event(), threading.Event()
        self.got, self.seen, self.tries, self.answers = [], [], {}, {}

        class Quiet(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_):
                pass                    # clients that are killed are what this is for

        self.http = Quiet(('127.0.0.1', port), Handler)
        self.port = self.http.server_address[1]
        self.url = 'http%s://127.0.0.1:%d' % ('s' if tls else '', self.port)
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            # The handshake in the request's thread: one that fails must not end the loop.
            self.http.socket = context.wrap_socket(self.http.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def of(self, path):
        with self.lock:
            return [json.loads(b) for p, _, b in self.got if p == path]

    def ids(self, path):
        with self.lock:
            return [h['Idempotency-Key'] for p, h, _ in self.got if p == path]

    def messages(self, path):
        return [e['message'] for b in self.of(path) for e in b['entries']]

    def close(self):
        self.release.set()
        self.closed.set()
        self.http.shutdown()
        self.http.server_close()
