"""Bytes between a bare client and a server: over TLS, or in a WebSocket."""

import socket
import ssl

import websocket


class Closed(Exception):
    """The server closed the connection."""


class Tls:
    """A TLS connection, with a client certificate if one is given. Thousands share a context."""

    def __init__(self, address, ca_path, port, certificate=None, deadline=15.0, context=None):
        context = context or ssl.create_default_context(cafile=str(ca_path))
        if certificate:
            context.load_cert_chain(certificate.path, certificate.key_path)
        raw = socket.create_connection((address, port), timeout=deadline)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = context.wrap_socket(raw, server_hostname=address)

    def send(self, data):
        try:
            self.socket.sendall(data)
        except (ConnectionError, ssl.SSLError) as error:
            raise Closed(str(error)) from None

    def receive(self, count=65536):
        """What there is, at least a byte."""
        try:
            data = self.socket.recv(count)
        except (ConnectionError, ssl.SSLError) as error:
            raise Closed(str(error)) from None
        if not data:
            raise Closed("end of stream")
        return data

    def close(self):
        self.socket.close()


class WebSocket:
    """Binary frames as a stream of bytes."""

    def __init__(self, address, ca_path, path, subprotocol, certificate=None, deadline=15.0):
        options = {"ca_certs": str(ca_path)}
        if certificate:
            options |= {"certfile": str(certificate.path), "keyfile": str(certificate.key_path)}
        try:
            self.socket = websocket.create_connection(
                f"wss://{address}:443{path}", timeout=deadline, sslopt=options, subprotocols=[subprotocol]
            )
        except websocket.WebSocketConnectionClosedException as error:
            raise Closed(str(error)) from None
        answered = self.socket.getsubprotocol()
        assert answered and answered.lower() == subprotocol.lower(), f"the server speaks {answered}"
        self._rest = b""

    def send(self, data):
        try:
            self.socket.send_binary(data)
        except (ConnectionError, ssl.SSLError, websocket.WebSocketConnectionClosedException) as error:
            raise Closed(str(error)) from None

    def receive(self, count=65536):
        if not self._rest:
            try:
                data = self.socket.recv()
            except websocket.WebSocketTimeoutException:
                raise TimeoutError from None
            except (ConnectionError, ssl.SSLError, websocket.WebSocketConnectionClosedException) as error:
                raise Closed(str(error)) from None
            if not data:
                raise Closed("end of stream")
            self._rest = data.encode() if isinstance(data, str) else data
        part, self._rest = self._rest[:count], self._rest[count:]
        return part

    def close(self):
        self.socket.close()
