"""What tests of bad input over AMQP share: right parts, to be broken."""

from harness import amqp, sas
from harness.amqp import SENDER
from harness.amqp_types import Symbol, composite, frame, message

MESSAGE_BYTES_MAX = 256 * 1024
INIT = frame(0, composite("sasl-init", {"mechanism": Symbol("ANONYMOUS")}), kind=1)
OPEN = frame(0, composite("open", {"container-id": "x"}))


def events(identity):
    device = f"/devices/{identity.device_id}"
    return f"{device}/modules/{identity.module_id}/messages/events" if identity.module_id else f"{device}/messages/events"


def data(body):
    return message([("data", body)])


def transfer(**fields):
    return composite("transfer", {key.replace("_", "-"): value for key, value in fields.items()})


def attached(device, **fields):
    wire = amqp.authorised(device)
    wire.begin(1)
    wire.attach(0, SENDER, events(device), channel=1, **fields)
    return wire


def in_frames(wire, handle, number, payload, channel=1, last=True):
    """A delivery in frames of 32 KiB."""
    parts = [payload[at : at + 32768] for at in range(0, len(payload), 32768)]
    for index, part in enumerate(parts):
        more = index + 1 < len(parts) or not last
        wire.transfer(handle, number, part, channel, more=more)


class Nobody:
    """Stands in for a device where only the names of the cases are wanted."""

    device_id = resource = "nobody"
    key = sas.wrong_key()

    class hub:
        address = "127.0.0.1"

    def token(self, **options):
        return sas.token(self.resource, self.key, **options)
