"""Loopback addresses, one per server: SDKs know fixed ports only."""

import socket

# MQTT, AMQP, and everything else.
PORTS = (8883, 5671, 443)
_taken = set()


def free(network="127.0.10"):
    """An address of this network whose ports nobody uses."""
    for number in range(1, 255):
        address = f"{network}.{number}"
        if address not in _taken and all(_is_free(address, port) for port in PORTS):
            _taken.add(address)
            return address
    raise RuntimeError(f"no free address in {network}.0/24")


def _is_free(address, port):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return False
    return True


def accepts(address, port):
    """Whether somebody listens there."""
    try:
        socket.create_connection((address, port), timeout=1).close()
        return True
    except OSError:
        return False
