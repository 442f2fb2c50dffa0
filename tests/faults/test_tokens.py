"""S6: tokens that were changed, forged, cut, outlived or stolen, ten thousand of them over the wire: none is
accepted, and each hears the same. `FARSHORE_TOKENS` makes it longer, `FARSHORE_TOKENS_SEED` repeats a run."""

import base64
import http.client
import os
import random
import ssl
import time
from urllib.parse import quote, unquote

import pytest

from harness import amqp, mqtt, sas
from harness.amqp import RECEIVER, SENDER
from harness.amqp_types import UInt, message
from harness.transport import Tls

COUNT = int(os.environ.get("FARSHORE_TOKENS", "10000"))
SEED = int(os.environ.get("FARSHORE_TOKENS_SEED", str(random.randrange(1 << 32))))
# A connection each is what MQTT and SASL PLAIN need; on `$cbs` and over HTTP one takes them all.
SHARES = {"mqtt": 0.09, "plain": 0.06, "http": 0.25, "cbs": 0.60}
# Clocks may differ by five minutes.
SKEW_SECONDS = 300
ALPHABET = "abcXYZ0189%&=+/-_.~ \t\n\0é\u202e"


class Target:
    """Somebody whose tokens are tried: its resource, its keys, its policy's name."""

    def __init__(self, resource, keys, policy=None):
        self.resource = resource
        self.keys = keys
        self.policy = policy

    def good(self, random):
        return sas.token(self.resource, random.choice(self.keys), self.policy)


def meaning(text):
    """What a token says, whatever way it is written; the raw text where it says nothing."""
    fields = {}
    for field in text.partition(" ")[2].split("&"):
        name, _, value = field.partition("=")
        if name in fields and name in ("sr", "se", "sig", "skn"):
            return text
        fields[name] = value
    signature = unquote(fields.get("sig", ""))
    try:
        signature = base64.b64decode(signature + "==")
    except ValueError:
        return text
    return fields.get("sr"), fields.get("se"), signature, unquote(fields.get("skn", ""))


def mutated(random, good):
    """A good token that is none any more: its text was changed in one place or a few."""
    while True:
        text = good
        for _ in range(random.choice([1, 1, 1, 2, 5])):
            at = random.randrange(len(text))
            end = at + random.choice([0, 1, 1, 4, len(text)])
            put = "".join(random.choice(ALPHABET) for _ in range(random.choice([0, 1, 1, 2, 8])))
            text = random.choice(
                [
                    text[:at] + put + text[end:],
                    text[:at] + text[at : at + 12] + text[at:],
                    text[:at] + text[at : at + 1].swapcase() + text[at + 1 :],
                    text[:at],
                    text.replace(random.choice(["sr=", "se=", "sig=", "&", "=", "%2F"]), put),
                ]
            )
            if not text:
                break
        # Unknown fields and other ways to write the same signature are no forgery.
        if meaning(text) != meaning(good):
            return text


def forged(random, target, strangers):
    """A well-formed token that somebody made who may not: of another key, resource or time."""
    now = time.time()
    resource, key, policy = target.resource, random.choice(target.keys), target.policy
    host, _, path = resource.partition("/")
    stranger = random.choice(strangers)
    good = sas.token(resource, key, policy)
    return random.choice(
        [
            # Expired, by a second after the allowance or by an age.
            lambda: sas.token(resource, key, policy, now - SKEW_SECONDS - random.choice([1, 3600, now - 400])),
            # Of another key: a stranger's, nobody's, the text of the right one.
            lambda: sas.token(resource, stranger, policy),
            lambda: sas.token(resource, sas.wrong_key(), policy),
            lambda: sas.token(resource, base64.b64encode(key.encode()).decode(), policy),
            # Of another hub, of something beside, of a beginning of the name.
            lambda: sas.token(f"{host}.example.org/{path}", key, policy),
            lambda: sas.token(f"hub{random.randrange(1000)}.example.org/{path}", key, policy),
            lambda: sas.token(resource + random.choice("0a-/") + "0", key, policy) if path else sas.token(host + "x", key, policy),
            lambda: sas.token(cut(random, resource), key, policy),
            lambda: sas.token(quote(resource, safe="") if path else quote(f"{host}/devices", safe=""), key, policy),
            # With or without a policy that did not sign it.
            lambda: f"{good.partition('&skn=')[0]}&skn={random.choice(['iothubowner', 'device', 'service', 'x'])}" if not policy else good.partition("&skn=")[0],
            # A part twice, or from another token.
            lambda: good + random.choice([f"&sig={quote(key)}", "&se=9999999999", f"&sr={resource}"]),
            lambda: good.partition("&se=")[0] + "&se=" + random.choice(["9" * 20, "-1", "1e10", "0x7fffffff", "9999999999", ""]),
        ]
    )()  # fmt: skip


def cut(random, resource):
    """A beginning that ends within a segment: whole segments are what a token may be for (dp §2.1)."""
    segment = random.choice([part for part in resource.split("/") if part not in ("devices", "modules")])
    at = resource.index(segment) + random.randrange(1, len(segment))
    return resource[:at]


def bad_tokens(share, targets, strangers):
    """Pairs of a target and a token that must not let in as that."""
    source = random.Random(f"{SEED} {share}")
    for _ in range(round(COUNT * SHARES[share])):
        target = source.choice(targets)
        if source.random() < 0.6:
            yield target, mutated(source, target.good(source))
        else:
            yield target, forged(source, target, strangers)


@pytest.fixture(scope="module")
def people(hub):
    """A device and a module of it, a device whose name goes on, and one with a certificate."""
    print(f"seed {SEED}")
    device = hub.new_device("token")
    return {
        "device": device,
        "module": hub.new_module(device.device_id, "m1"),
        "other": hub.new_device(device.device_id),
        "certified": hub.new_self_signed(f"{device.device_id}-x509"),
    }


def keys_of(identity):
    keys = identity.document.authentication.symmetric_key
    return [keys.primary_key, keys.secondary_key]


def target_of(identity):
    return Target(identity.resource, keys_of(identity))


def owner_of(hub):
    return Target(hub.address, [hub.login_part("SharedAccessKey")], hub.login_part("SharedAccessKeyName"))


@pytest.fixture
def strangers(hub, people):
    """Keys that are good for something else; for the policy, those of the identities."""
    return keys_of(people["other"])


@pytest.fixture(autouse=True)
def nothing_stored(hub, people):
    since = hub.events.mark()
    yield
    senders = {identity.sender for identity in people.values()}
    assert [event for event in hub.events.read(since) if event.sender in senders] == []
    assert "sig=" not in hub.service.log(), "a token stands in the log"


def test_none_is_accepted_over_mqtt(hub, people, strangers):
    identities = {target_of(who).resource: who for who in (people["device"], people["module"])}
    targets = [target_of(who) for who in identities.values()]
    answers = {}
    for target, token in bad_tokens("mqtt", targets, strangers):
        with mqtt.Wire(hub.address, hub.ca_path) as wire:
            code, _ = wire.connect(identities[target.resource], password=token.encode())
            answers[code] = answers.get(code, 0) + 1
            assert code == 5, f"seed {SEED}: CONNACK {code} for {token!r}"
    for resource, identity in identities.items():
        for key in keys_of(identity):
            with mqtt.Wire(hub.address, hub.ca_path) as wire:
                assert wire.connect(identity, password=sas.token(resource, key)) == (0, False)
    print(answers)


def test_none_is_accepted_by_sasl_plain(hub, people, strangers):
    hub_name = hub.address.split(".")[0]
    device, module = people["device"], people["module"]
    owner = owner_of(hub)
    users = {
        device.resource: f"{device.device_id}@sas.{hub_name}",
        module.resource: f"{module.device_id}/modules/{module.module_id}@sas.{hub_name}",
        hub.address: f"{owner.policy}@sas.root.{hub_name}",
    }

    def login(target, token):
        with amqp.Wire(Tls(hub.address, hub.ca_path, amqp.PORT)) as wire:
            return wire.sasl("PLAIN", b"\0" + users[target.resource].encode() + b"\0" + token.encode())

    targets = [target_of(device), target_of(module), owner]
    for target, token in bad_tokens("plain", targets, strangers):
        # A policy's token speaks for what it is for, which is asked when it is used; see `$cbs`.
        if target.policy and "example.org" in unquote(token):
            continue
        code = login(target, token)
        if code == 0 and target.policy:
            assert opens_nothing(hub, users[target.resource], token), f"seed {SEED}: {token!r}"
        else:
            assert code == 1, f"seed {SEED}: outcome {code} for {token!r}"
    for target in targets:
        assert login(target, target.good(random)) == 0


def opens_nothing(hub, user, token):
    """A policy's token that is genuine for another resource lets nobody at this hub."""
    with amqp.Wire(Tls(hub.address, hub.ca_path, amqp.PORT)) as wire:
        assert wire.sasl("PLAIN", b"\0" + user.encode() + b"\0" + token.encode()) == 0
        wire.open(hub.address)
        wire.begin()
        return not lets_in(wire, 0, SENDER, "/messages/devicebound")


def lets_in(wire, handle, role, address):
    answer = wire.attach(handle, role, address, name=f"l{handle}")
    if answer["target"] is None and answer["source"] is None:
        assert wire.expect("detach").error == "amqp:unauthorized-access"
        wire.send("detach", handle=UInt(handle), closed=True)
        return False
    return True


class Cbs:
    """Puts many tokens on one connection, some at a time."""

    # Half of the hub's credit, so that there is always enough.
    BATCH = 8

    def __init__(self, identity):
        self.wire = amqp.connect(identity)
        self.wire.begin()
        self.wire.attach(0, SENDER, "$cbs")
        self.wire.attach(1, RECEIVER, "$cbs")
        plenty = UInt(0x7FFFFFFF)
        self.wire.send(
            "flow", next_incoming_id=UInt(0), incoming_window=plenty, next_outgoing_id=UInt(0), outgoing_window=plenty,
            handle=UInt(1), delivery_count=UInt(0), link_credit=plenty,
        )  # fmt: skip
        self.number = 0

    def put(self, tokens):
        """Status and description for each."""
        answers = {}
        for audience, token in tokens:
            self.number += 1
            answers[str(self.number)] = None
            properties = {"operation": "put-token", "type": "servicebus.windows.net:sastoken", "name": audience}
            request = [("properties", {"message-id": str(self.number), "reply-to": "cbs"}),
                       ("application-properties", properties), ("value", token)]  # fmt: skip
            self.wire.transfer(0, self.number, message(request))
        while None in answers.values():
            answer = self.wire.wait_for("transfer").message
            told = answer["application-properties"]
            answers[answer["properties"]["correlation-id"]] = (told["status-code"], told["status-description"])
        return list(answers.values())


def test_none_is_accepted_on_cbs(hub, people, strangers):
    """Refused when it is put, or worth nothing when a link is attached: a policy's may be for something else."""
    device, module = people["device"], people["module"]
    owner = owner_of(hub)
    cbs = Cbs(device)
    tokens = list(bad_tokens("cbs", [target_of(device), target_of(module), owner], strangers))
    told = {}
    for at in range(0, len(tokens), Cbs.BATCH):
        batch = tokens[at : at + Cbs.BATCH]
        for (target, token), answer in zip(batch, cbs.put((t.resource, token) for t, token in batch), strict=True):
            if answer[0] == 200:
                genuine = target.policy and meaning(token)[0] != quote(hub.address, safe="")
                assert genuine, f"seed {SEED}: accepted {token!r}"
            told.setdefault(answer[0], set()).add(answer[1])
    assert set(told) <= {200, 400, 401}, told
    # Who may not hears one and the same; who makes a mistake hears what it is.
    assert len(told[401]) == 1, told[401]
    assert all("nobody" not in text and device.device_id not in text for text in told[400])
    # Nothing of all that opens anything.
    closed = [
        (SENDER, f"/devices/{device.device_id}/messages/events"),
        (SENDER, f"/devices/{device.device_id}/modules/m1/messages/events"),
        (RECEIVER, f"/devices/{device.device_id}/messages/devicebound"),
        (SENDER, "/messages/devicebound"),
        (RECEIVER, "/messages/servicebound/feedback"),
        (RECEIVER, "messages/events/ConsumerGroups/$Default/Partitions/0"),
    ]
    for handle, (role, address) in enumerate(closed, start=2):
        assert not lets_in(cbs.wire, handle, role, address), address
    # A good one does, on the very same connection.
    assert cbs.put([(device.resource, device.token())])[0][0] == 200
    assert lets_in(cbs.wire, 20, *closed[0])
    cbs.wire.close()
    print({status: len(texts) for status, texts in told.items()})


def test_a_stolen_token_opens_nothing_for_another_identity(hub, people):
    """Genuine tokens, replayed: by MQTT and SASL under another name, on `$cbs` for another's links."""
    device, module, other, certified = people.values()
    hub_name = hub.address.split(".")[0]
    genuine = {"device": device.token(), "module": module.token(), "other": other.token()}
    for name, token in genuine.items():
        for identity in people.values():
            # A device's token does not speak for its modules either: they have keys of their own.
            if identity is people[name]:
                continue
            with mqtt.Wire(hub.address, hub.ca_path) as wire:
                assert wire.connect(identity, password=token)[0] == 5, (name, identity.sender)
            user = identity.sender.replace("/", "/modules/") + f"@sas.{hub_name}"
            with amqp.Wire(Tls(hub.address, hub.ca_path, amqp.PORT)) as wire:
                assert wire.sasl("PLAIN", b"\0" + user.encode() + b"\0" + token.encode()) == 1
        cbs = Cbs(device)
        for identity in people.values():
            # The audience that is named helps nobody.
            assert cbs.put([(identity.resource, token)])[0][0] == 200
        for handle, identity in enumerate(people.values(), start=2):
            address = f"/devices/{identity.sender.replace('/', '/modules/')}/messages/events"
            assert lets_in(cbs.wire, handle, SENDER, address) == (identity is people[name]), (name, identity.sender)
        cbs.wire.close()
    assert certified.key is None


def test_none_is_accepted_over_http(hub, people, strangers):
    """The service interface: the owner's tokens changed, and the devices' as they are."""
    owner, device = owner_of(hub), people["device"]
    context = ssl.create_default_context(cafile=str(hub.ca_path))
    connection = http.client.HTTPSConnection(hub.address, 443, context=context, timeout=15)

    def get(token):
        # What is no header cannot be sent as one: `%` stands in for it.
        text = "".join(c if " " <= c <= "~" else "%" for c in token)
        connection.request("GET", f"/devices/{device.device_id}?api-version=2021-04-12", headers={"Authorization": text})
        answer = connection.getresponse()
        return answer.status, answer.read(), text

    assert get(owner.good(random))[0] == 200
    told = {}
    genuine = [(target_of(who), who.token()) for who in people.values() if who.key]
    for _, token in [*genuine, *bad_tokens("http", [owner, owner, target_of(device)], strangers)]:
        status, body, text = get(token)
        # Spaces around a header's value are none of it.
        assert status == 401 or text != text.strip(), f"seed {SEED}: {status} for {token!r}: {body[:200]}"
        told[status] = told.get(status, 0) + 1
        assert device.key not in body.decode()
    assert get(owner.good(random))[0] == 200
    connection.close()
    print(told)
