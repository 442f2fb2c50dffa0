"""A way to a server that lets some bytes through and then waits until it is opened."""

import socket
import threading

from harness import addresses


class Gate:
    """Listens at an address of its own, at the port of `target` (`host:port`). All connections together
    get `limit` bytes from there; the rest waits."""

    def __init__(self, target, limit):
        self.target = target
        host, port = target.split(":")
        self._server = (host, int(port))
        self.address = f"{addresses.free('127.0.17')}:{port}"
        self._left = limit
        self._lock = threading.Lock()
        self._is_open = threading.Event()
        self._waiting = 0
        self._listener = socket.create_server((self.address.split(":")[0], int(port)), backlog=64)
        threading.Thread(target=self._accept, daemon=True).start()

    def through(self, reference):
        """The same name, by this way."""
        return reference.replace(self.target, self.address, 1)

    def waits(self):
        """Whether somebody is held up now."""
        return self._waiting > 0 and not self._is_open.is_set()

    def open(self):
        self._is_open.set()

    def close(self):
        self.open()
        self._listener.close()

    def _accept(self):
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.create_connection(self._server, timeout=30)
            far.settimeout(None)
            threading.Thread(target=self._pass_on, args=(near, far, False), daemon=True).start()
            threading.Thread(target=self._pass_on, args=(far, near, True), daemon=True).start()

    def _pass_on(self, source, sink, counts):
        try:
            while data := source.recv(1 << 14):
                if counts:
                    self._hold(len(data))
                sink.sendall(data)
        except OSError:
            pass
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def _hold(self, size):
        with self._lock:
            self._left -= size
            if self._left > 0 or self._is_open.is_set():
                return
            self._waiting += 1
        self._is_open.wait()
        with self._lock:
            self._waiting -= 1
