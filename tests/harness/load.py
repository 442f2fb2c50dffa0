"""Load in a process of its own: a process may have 20,000 descriptors, and the tests' own must stay
calm. Run as `python load.py silent ADDRESS PORT COUNT` or `python load.py takeover …`; says on
standard output, one JSON line each, how it goes."""

import json
import selectors
import socket
import sys
import threading
import time

# A source address has some 28,000 ports towards one destination; several leave room.
SOURCES = [f"127.0.20.{number}" for number in range(1, 9)]


def say(**facts):
    print(json.dumps(facts), flush=True)


def silent(address, port, count):
    """Opens connections and says nothing on them, until the server has closed them all."""
    selector = selectors.DefaultSelector()
    start = time.monotonic()
    connections = []
    for number in range(count):
        connection = socket.socket()
        connection.bind((SOURCES[number % len(SOURCES)], 0))
        connection.settimeout(30)
        connection.connect((address, port))
        if number % 2:
            # Half of them begin a TLS hello and never finish it.
            connection.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
        connections.append(connection)
        selector.register(connection, selectors.EVENT_READ)
    say(opened=count, seconds=time.monotonic() - start)
    opened = time.monotonic()
    closed, last = 0, 0.0
    while closed < count and time.monotonic() - opened < 60:
        for key, _ in selector.select(1):
            try:
                data = key.fileobj.recv(1024)
            except OSError:
                data = b""
            if not data:
                selector.unregister(key.fileobj)
                key.fileobj.close()
                closed += 1
                last = time.monotonic() - opened
    say(closed=closed, last_closed_after=last)


def takeover(address, port, ca_path, client_id, user_name, password, seconds, fighters):
    """Several clients fight for one identity: each reconnects as soon as it is thrown out."""
    sys.path.insert(0, __file__.rsplit("/", 2)[0])
    from harness import mqtt

    counts = {"accepted": 0, "put off": 0, "other": 0}
    lock = threading.Lock()
    end = time.monotonic() + float(seconds)

    def count(what):
        with lock:
            counts[what] += 1

    def fight():
        while time.monotonic() < end:
            try:
                with mqtt.Wire(address, ca_path, int(port), deadline=5) as wire:
                    wire.send(mqtt.connect(client_id, user_name, password))
                    code = wire.expect(mqtt.CONNACK)[1]
                    count({0: "accepted", 3: "put off"}.get(code, "other"))
                    if code == 0:
                        wire.is_closed_by_server()
            except (OSError, mqtt.Closed, TimeoutError):
                pass

    threads = [threading.Thread(target=fight) for _ in range(int(fighters))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    say(**counts)


if __name__ == "__main__":
    what, *arguments = sys.argv[1:]
    if what == "silent":
        silent(arguments[0], int(arguments[1]), int(arguments[2]))
    else:
        takeover(*arguments)
