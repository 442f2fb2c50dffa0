"""The way from an edge device to its hub, which can be cut."""

import contextlib
import socket
import threading

from harness import addresses


class Way:
    """Listens at an address of its own, and passes on to the hub what comes: until it is cut. Then
    connections hang, silent, as behind a router that forgot them, and new ones are refused."""

    def __init__(self, hub):
        self.hub = hub
        self.address = addresses.free("127.0.12")
        self._is_open = threading.Event()
        self._lock = threading.Lock()
        self._listeners, self._connections = [], []
        self.mend()

    def cut(self):
        self._is_open.clear()
        for listener in self._listeners:
            # A thread that waits in `accept` would hold it open.
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        self._listeners = []

    def mend(self):
        """What was under way is lost with its connections."""
        self._drop()
        self._is_open.set()
        for port in addresses.PORTS:
            listener = socket.create_server((self.address, port), backlog=64)
            self._listeners.append(listener)
            threading.Thread(target=self._accept, args=(listener, port), daemon=True).start()

    def close(self):
        self.cut()
        self._drop()
        self._is_open.set()

    def _drop(self):
        with self._lock:
            connections, self._connections = self._connections, []
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _accept(self, listener, port):
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection((self.hub.address, port), timeout=5)
            except OSError:
                near.close()
                continue
            far.settimeout(None)
            with self._lock:
                self._connections += [near, far]
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._pass_on, args=(source, sink), daemon=True).start()

    def _pass_on(self, source, sink):
        try:
            while data := source.recv(1 << 16):
                self._is_open.wait()
                sink.sendall(data)
        except OSError:
            pass
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


def through(edge, way):
    """Leads an edge device that does not run yet over this way."""
    arguments = edge.service.arguments
    arguments[arguments.index("--hub-address") + 1] = way.address
    return edge
