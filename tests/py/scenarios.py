"""stomp.py against a node, over TCP: what a Python client expects of a broker.

Usage: scenarios.py one PORT             every scenario, on each version, against one node
       scenarios.py across PORT PORT..   what several nodes do together

Prints a line per scenario, and ends with 1 and words when something is not as it must be. Every wait
ends by itself. SCENARIO=part_of_a_name runs some of them.
"""

import os
import queue
import sys
import threading
import traceback
import uuid

import stomp

PATIENCE = 30
VERSIONS = {
    "1.0": stomp.Connection10,
    "1.1": stomp.Connection11,
    "1.2": stomp.Connection12,
}


class Listener(stomp.ConnectionListener):
    """Keeps what comes, for the scenario to take."""

    def __init__(self):
        self.connected = queue.Queue()
        self.messages = queue.Queue()
        self.receipts = queue.Queue()
        self.errors = queue.Queue()
        self.gone = threading.Event()
        self.beats = queue.Queue()
        self.late = threading.Event()

    def on_connected(self, frame):
        self.connected.put(frame)

    def on_message(self, frame):
        self.messages.put(frame)

    def on_receipt(self, frame):
        self.receipts.put(frame.headers["receipt-id"])

    def on_error(self, frame):
        self.errors.put(frame)

    def on_heartbeat(self):
        self.beats.put(True)

    def on_heartbeat_timeout(self):
        self.late.set()

    def on_disconnected(self):
        self.gone.set()


class Client:
    """One connection of stomp.py."""

    def __init__(self, version, port, **options):
        self.version = version
        options.setdefault("reconnect_attempts_max", 1)
        self.line = VERSIONS[version]([("127.0.0.1", port)], **options)
        self.heard = Listener()
        self.line.set_listener("heard", self.heard)
        self.line.connect(wait=True, headers={"visitor-token": "new"})
        self.connected = take(self.heard.connected, "CONNECTED")

    def subscribe(self, destination, ack="auto", sub="s", **headers):
        receipt = str(uuid.uuid4())
        headers["receipt"] = receipt
        self.line.subscribe(destination, id=sub, ack=ack, headers=headers)
        self.settled(receipt)

    def send(self, destination, body, **headers):
        receipt = str(uuid.uuid4())
        headers["receipt"] = receipt
        self.line.send(destination, body, headers=headers)
        self.settled(receipt)

    def settled(self, receipt):
        found = take(self.heard.receipts, "RECEIPT")
        equal(found, receipt, "receipt-id")

    def message(self, body=None):
        frame = take(self.heard.messages, "MESSAGE")
        if body is not None:
            equal(frame.body, body, "the body")
        return frame

    def ack(self, frame, verb="ack", **options):
        call = getattr(self.line, verb)
        if self.version == "1.2":
            call(frame.headers["ack"], **options)
        elif self.version == "1.1":
            call(frame.headers["message-id"], frame.headers["subscription"], **options)
        else:
            call(frame.headers["message-id"], **options)

    def acked(self, frame, verb="ack"):
        receipt = str(uuid.uuid4())
        self.ack(frame, verb, receipt=receipt)
        self.settled(receipt)

    def bye(self):
        self.line.disconnect(receipt="bye")
        if not self.heard.gone.wait(PATIENCE):
            raise AssertionError("DISCONNECT is not answered")


def take(things, what):
    try:
        return things.get(timeout=PATIENCE)
    except queue.Empty:
        raise AssertionError(f"no {what} came within {PATIENCE} s") from None


def equal(found, expected, what):
    if found != expected:
        raise AssertionError(f"{what} is {found!r}, not {expected!r}")


def name(kind):
    return f"/{kind}/py-{uuid.uuid4()}"


# What one node does, on each version.


def connects(version, port):
    client = Client(version, port)
    equal(client.connected.headers["version"], version, "version")
    equal(client.connected.headers["server"].split("/")[0], "stompbox", "server")
    client.bye()


def topic(version, port):
    to = name("topic")
    one, two = Client(version, port), Client(version, port)
    one.subscribe(to)
    two.subscribe(to)
    one.send(to, "안녕, Python".encode(), **{"x-mine": "a:b", "content-type": "text/plain"})
    for client in (one, two):
        frame = client.message("안녕, Python")
        equal(frame.headers["x-mine"], "a:b", "a header of the sender")
        equal(frame.headers["destination"], to, "destination")
    one.bye()
    two.bye()


def acknowledges_one_by_one(version, port):
    to = name("queue")
    client = Client(version, port)
    for body in ("a", "b", "c"):
        client.send(to, body)
    client.subscribe(to, ack="client-individual")
    frames = [client.message(body) for body in ("a", "b", "c")]
    client.acked(frames[1])
    client.bye()
    other = Client(version, port)
    other.subscribe(to, ack="client-individual")
    for body in ("a", "c"):
        equal(other.message(body).headers["redelivered"], "true", "redelivered")
    other.bye()


def acknowledges_up_to(version, port):
    to = name("queue")
    client = Client(version, port)
    for body in ("a", "b", "c"):
        client.send(to, body)
    client.subscribe(to, ack="client")
    frames = [client.message(body) for body in ("a", "b", "c")]
    client.acked(frames[1])
    client.bye()
    other = Client(version, port)
    other.subscribe(to)
    other.message("c")
    other.bye()


def gives_back(version, port):
    to = name("queue")
    client = Client(version, port)
    client.send(to, "again")
    client.subscribe(to, ack="client-individual")
    client.ack(client.message("again"), "nack")
    again = client.message("again")
    equal(again.headers["redelivered"], "true", "redelivered")
    client.acked(again)
    client.bye()


def commits(version, port):
    to = name("queue")
    client = Client(version, port)
    client.subscribe(to)
    transaction = client.line.begin()
    for body in ("a", "b"):
        client.line.send(to, body, headers={"transaction": transaction})
    client.send(to, "first")
    client.line.commit(transaction)
    for body in ("first", "a", "b"):
        client.message(body)
    transaction = client.line.begin()
    client.line.send(to, "never", headers={"transaction": transaction})
    client.line.abort(transaction)
    client.send(to, "last")
    client.message("last")
    client.bye()


def any_octets(version, port):
    to = name("queue")
    client = Client(version, port, auto_decode=False)
    body = bytes(range(256))
    client.subscribe(to)
    client.send(to, body)
    equal(client.message().body, body, "the body")
    client.bye()


def large_body(version, port):
    to = name("topic")
    client = Client(version, port)
    client.subscribe(to)
    client.send(to, "x" * 65_536)
    equal(len(client.message().body), 65_536, "the length")
    client.bye()


def unsubscribes(version, port):
    to = name("topic")
    client = Client(version, port)
    client.subscribe(to, sub="a")
    client.subscribe(to, sub="b")
    client.line.unsubscribe(id="a", headers={"receipt": "u"})
    client.settled("u")
    client.send(to, "one")
    equal(client.message("one").headers["subscription"], "b", "subscription")
    client.bye()


def is_told_why(version, port):
    client = Client(version, port)
    client.line.send("/nowhere/x", "x", headers={"receipt": "why"})
    error = take(client.heard.errors, "ERROR")
    equal(error.headers["receipt-id"], "why", "receipt-id")
    if not error.headers["message"] or not error.body:
        raise AssertionError(f"ERROR explains nothing: {error}")
    if not client.heard.gone.wait(PATIENCE):
        raise AssertionError("the connection stays open after ERROR")


def beats(version, port):
    client = Client(version, port, heartbeats=(500, 500), heart_beat_receive_scale=6)
    for _ in range(4):
        take(client.heard.beats, "heart-beat")
    if client.heard.late.is_set() or client.heard.gone.is_set():
        raise AssertionError("the heart-beats were not kept")
    client.send(name("topic"), "still here")
    client.bye()


def many(version, port):
    to = name("queue")
    client = Client(version, port)
    client.subscribe(to)
    for number in range(500):
        client.line.send(to, str(number))
    for number in range(500):
        client.message(str(number))
    client.bye()


FROM_11 = ("1.1", "1.2")
ONE = [
    (connects, VERSIONS),
    (topic, VERSIONS),
    (acknowledges_one_by_one, FROM_11),
    (acknowledges_up_to, VERSIONS),
    (gives_back, FROM_11),
    (commits, VERSIONS),
    (any_octets, VERSIONS),
    (large_body, VERSIONS),
    (unsubscribes, VERSIONS),
    (is_told_why, VERSIONS),
    (beats, FROM_11),
    (many, VERSIONS),
]


# What several nodes do together.


def consumes_from_another(version, ports):
    to = name("queue")
    here, there = Client(version, ports[0]), Client(version, ports[1])
    here.subscribe(to, ack="client")
    for number in range(50):
        there.send(to, str(number))
    for number in range(50):
        frame = here.message(str(number))
        here.ack(frame)
    here.bye()
    there.bye()


def shares_the_work(version, ports):
    to = name("queue")
    consumers = [Client(version, port) for port in ports]
    for consumer in consumers:
        consumer.subscribe(to, ack="client", **{"prefetch-count": "1"})
    sender = Client(version, ports[-1])
    for number in range(30):
        sender.send(to, str(number))
    taken, idle, busy = set(), 0, set()
    while len(taken) < 30:
        for number, consumer in enumerate(consumers):
            try:
                frame = consumer.heard.messages.get(timeout=0.1)
            except queue.Empty:
                idle += 1
                if idle > 10 * PATIENCE:
                    raise AssertionError(f"only {len(taken)} of 30 came") from None
                continue
            taken.add(frame.body)
            busy.add(number)
            consumer.ack(frame)
    equal(len(busy), len(consumers), "the number of consumers that got work")
    for client in [*consumers, sender]:
        client.bye()


def takes_over(version, ports):
    to = name("queue")
    lost, heir = Client(version, ports[0]), Client(version, ports[1])
    lost.subscribe(to, ack="client")
    heir.send(to, "work")
    lost.message("work")
    heir.subscribe(to, ack="client")
    lost.bye()
    frame = heir.message("work")
    equal(frame.headers["redelivered"], "true", "redelivered")
    heir.acked(frame)
    heir.bye()


def topic_reaches_all(version, ports):
    to = name("topic")
    clients = [Client(version, port) for port in ports]
    for client in clients:
        client.subscribe(to)
    clients[0].send(to, "to all")
    for client in clients:
        client.message("to all")
        client.bye()


ACROSS = [
    (consumes_from_another, VERSIONS),
    (shares_the_work, FROM_11),
    (takes_over, FROM_11),
    (topic_reaches_all, VERSIONS),
]


def main():
    if len(sys.argv) < 3 or sys.argv[1] not in ("one", "across"):
        sys.exit(__doc__)
    ports = [int(port) for port in sys.argv[2:]]
    table, where = (ONE, ports[0]) if sys.argv[1] == "one" else (ACROSS, ports)
    failed = 0
    only = os.environ.get("SCENARIO", "")
    for scenario, versions in table:
        for version in versions if only in scenario.__name__ else ():
            try:
                scenario(version, where)
                print(f"ok {scenario.__name__} {version}", flush=True)
            except Exception:
                failed += 1
                print(f"FAILED {scenario.__name__} {version}", flush=True)
                traceback.print_exc()
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
