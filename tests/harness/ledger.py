"""What was acknowledged, written down outside of everything that is killed."""

import threading

from azure.iot.device.exceptions import ClientError, ConnectionDroppedError, ConnectionFailedError

# How long an application waits before it sends again what the SDK could not send.
RETRY_SECONDS = 0.2


class Sender:
    """One client that sends 0, 1, 2, … one after the other, and remembers what was acknowledged.

    The SDK's `send_message` returns when the PUBACK has come. While nobody can be reached it raises:
    then the application does what applications do, and sends the same message again."""

    def __init__(self, name, send):
        self.name = name
        self.acknowledged = []
        self.error = None
        self._send = send
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name)

    def _run(self):
        number = 0
        try:
            while not self._end.is_set():
                if not self._try(number):
                    self._end.wait(RETRY_SECONDS)
                    continue
                self.acknowledged.append(number)
                number += 1
        except Exception as error:  # Told by `finish`.
            self.error = error

    def _try(self, number):
        try:
            self._send(number)
        except (ConnectionDroppedError, ConnectionFailedError, ClientError):
            return False
        return True

    def start(self):
        self._thread.start()

    def finish(self, deadline=60):
        """Lets the message in flight come home."""
        self._end.set()
        self._thread.join(deadline)
        assert not self._thread.is_alive(), f"{self.name}: a message is still not acknowledged"
        assert self.error is None, f"{self.name}: {self.error!r}"


def missing(acknowledged, stored):
    return sorted(set(acknowledged) - set(stored))


def without_copies(stored):
    """Each number where it came first: delivery is at least once."""
    return list(dict.fromkeys(stored))


def out_of_order(stored):
    """Numbers whose first copy comes after a greater one."""
    greatest, late = -1, []
    for number in without_copies(stored):
        if number < greatest:
            late.append(number)
        greatest = max(greatest, number)
    return late
