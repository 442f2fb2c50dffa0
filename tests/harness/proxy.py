"""A forward proxy that knows CONNECT alone, wants a password, and keeps who asked for what."""

import base64
import socket
import socketserver
import threading

HEAD_BYTES_MAX = 8192


class Proxy:
    """Listens on a loopback address of its own until it is stopped. `names` says where a host that
    is asked for really is: whoever cannot reach that host by himself has no other way."""

    def __init__(self, user, password, names):
        self.names = names
        self._expected = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
        self._lock = threading.Lock()
        self._asked = []
        self._open = set()
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        host, port = self._server.server_address
        self.address = f"{host}:{port}"
        self.url = f"http://{user}:{password}@{host}:{port}"

    def asked(self):
        """What was asked for so far, with the status of the answer: (host, port, status)."""
        with self._lock:
            return list(self._asked)

    def connected(self):
        """How many connections are passed on now."""
        with self._lock:
            return len(self._open) // 2

    def cut(self):
        """Ends every connection; new ones are taken as before."""
        with self._lock:
            sockets = list(self._open)
        for each in sockets:
            _shut(each)

    def stop(self):
        self._server.shutdown()
        self._server.server_close()
        self.cut()

    def _judge(self, head):
        """The host and port that may be connected, or the status of a refusal."""
        request, *headers = head.decode("latin-1").split("\r\n")
        method, target, _ = request.split(" ", 2)
        host, _, port = target.rpartition(":")
        given = dict(line.split(": ", 1) for line in headers if ": " in line)
        if method != "CONNECT":
            status = 405
        elif given.get("Proxy-Authorization") != self._expected:
            status = 407
        else:
            status = 200 if host in self.names else 403
        with self._lock:
            self._asked.append((host, int(port or 0), status))
        return status, self.names.get(host), int(port or 0)


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


def _handler(proxy):
    class Handler(socketserver.BaseRequestHandler):
        def handle(self):
            head = _head(self.request)
            if head is None:
                return
            status, host, port = proxy._judge(head)
            if status != 200:
                self.request.sendall(f"HTTP/1.1 {status} No\r\nContent-Length: 0\r\n\r\n".encode())
                return
            try:
                server = socket.create_connection((host, port), timeout=5)
            except OSError:
                self.request.sendall(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
                return
            server.settimeout(None)
            pair = {self.request, server}
            with proxy._lock:
                proxy._open |= pair
            try:
                self.request.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                back = threading.Thread(target=_pass_on, args=(server, self.request), daemon=True)
                back.start()
                _pass_on(self.request, server)
                back.join()
            except OSError:
                pass
            finally:
                with proxy._lock:
                    proxy._open -= pair
                server.close()

    return Handler


def _head(connection):
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = connection.recv(1)
        if not byte or len(head) > HEAD_BYTES_MAX:
            return None
        head += byte
    return head[:-4]


def _pass_on(source, sink):
    """Until either end is gone; then both are."""
    try:
        while data := source.recv(65536):
            sink.sendall(data)
    except OSError:
        pass
    finally:
        _shut(source)
        _shut(sink)


def _shut(each):
    try:
        each.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
