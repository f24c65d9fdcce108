"""What is measured: each case is a command line of `stompbox bench` and the servers that can do it.

Not here: starting servers, tables. Invariant: a case means the same to all who take part in it.
"""

from dataclasses import dataclass, field

# Columns of the table of peers, in its order.
PEERS = {
    "stompbox": "Stompbox",
    "rabbitmq": "RabbitMQ Web-STOMP",
    "socketio": "Socket.IO",
    "socketio-x2": "Socket.IO x2 + Redis",
    "one-write": "no broker logic, one write per message",
    "joined": "no broker logic, joined writes",
    "ordinary": "ordinary tokio-tungstenite",
}
EVERYBODY = tuple(PEERS)


@dataclass
class Case:
    name: str
    words: str
    bench: list
    peers: tuple = EVERYBODY
    # The figure of the table of peers.
    key: str = "cpu_us_per_delivery"
    seconds: float = 3.0
    # A server that this case has for itself: what was done before would show.
    alone: str = ""
    # Memory repeats well, and takes long.
    once: bool = False
    extra: dict = field(default_factory=dict)


def pairs(peer):
    """How direct messages are written where there are no destinations of users."""
    if peer in ("rabbitmq", "one-write", "joined", "ordinary"):
        return ["--subscribe", "/topic/u-{self}", "--send", "/topic/u-{peer}"]
    return []


CASES = [
    Case("fanout-100", "fan-out to 100, as fast as possible", ["fanout", "--clients", "100"]),
    Case("fanout-1000", "fan-out to 1,000, as fast as possible", ["fanout", "--clients", "1000"]),
    Case("fanout-trickle", "fan-out to 1,000, 5 messages/s", ["fanout", "--clients", "1000", "--rate", "5"], seconds=5),
    Case("rooms", "100 topics with 10 members each, everyone sends, as fast as possible",
         ["rooms", "--rooms", "100", "--members", "10"]),
    Case("direct", "500 pairs, direct, as fast as possible", ["direct", "--clients", "1000"]),
    Case("direct-trickle", "500 pairs, direct, 1,000 messages/s", ["direct", "--clients", "1000", "--rate", "1000"]),
    Case("idle", "idle, 5,000 connections: KiB each", ["idle", "--steps", "5000", "--at-once", "32"],
         key="kib_per_connection", alone="fresh", once=True),
    Case("fanout-slow", "fan-out to 100 beside three clients that never read",
         ["fanout", "--clients", "100", "--slow-consumers", "3"], peers=("stompbox",)),
    Case("stored", "stored, one node, 5,000/s", ["stored", "--clients", "1000", "--rate", "5000"],
         peers=("stompbox",), key="cpu_us_per_message", seconds=5),
    Case("stored-most", "stored, one node, as fast as possible", ["stored", "--clients", "1000", "--window", "4"],
         peers=("stompbox",), key="messages_per_second", seconds=5),
    Case("stored-half", "stored, one node, at half of that", ["stored", "--clients", "1000"],
         peers=("stompbox",), key="cpu_us_per_message", seconds=5, extra={"rate": ("stored-most", 0.5)}),
    Case("arrival", "CONNECT and SUBSCRIBE of a visitor, and his leaving", ["churn", "--clients", "32"],
         peers=("stompbox",), key="cpu_us_per_arrival"),
    Case("idle-slope", "idle, from 5,000 to 17,500 connections", ["idle", "--steps", "5000,17500"],
         peers=("stompbox",), key="kib_per_connection", alone="fresh", once=True),
    Case("idle-beats", "5,000 idle connections, beats every 10 s both ways",
         ["idle", "--steps", "5000", "--heart-beat", "10000,10000"], peers=("stompbox",), key="idle_cores", seconds=20,
         alone="fresh"),
    Case("idle-large", "idle, after a message of 30 kB on each connection",
         ["idle", "--steps", "1000,5000", "--after-bytes", "30000"], peers=("stompbox",), key="kib_after_bytes",
         alone="fresh", once=True),
    Case("idle-tls", "idle with TLS, from 1,000 to 5,000 connections", ["idle", "--steps", "1000,5000"],
         peers=("stompbox",), key="kib_per_connection", alone="tls", once=True),
    Case("cluster-stored", "stored across two nodes, two devices, 5,000/s",
         ["stored", "--clients", "400", "--devices", "2", "--rate", "5000"], peers=("stompbox",),
         key="cpu_us_per_message", seconds=6, alone="cluster-2"),
    Case("cluster-trickle", "stored across two nodes, two devices, 1,000/s",
         ["stored", "--clients", "400", "--devices", "2", "--rate", "1000"], peers=("stompbox", "socketio-x2"),
         key="cpu_us_per_message", seconds=6, alone="cluster-2"),
    # As many on their way as an outbox holds: what is more is cut as slow, rightly, wherever clients lag behind.
    Case("conversation", "stored, all into one conversation, three nodes",
         ["stored", "--clients", "6", "--devices", "3", "--window", "150"], peers=("stompbox",),
         key="messages_per_second", seconds=6, alone="cluster-3"),
    *(Case(f"topic-{nodes}", f"a /topic message to 10 on one of {nodes} nodes",
           ["fanout", "--clients", "10", "--rate", "2000"], peers=("stompbox",), key="cpu_us_per_message", seconds=5,
           alone=f"cluster-{nodes}", extra={"first_url_only": True}) for nodes in (1, 2, 3)),
]

# What a quick run changes: every case still works, and nothing is worth quoting.
QUICK = {
    "--clients": {"1000": "200", "400": "80"},
    "--steps": {"5000": "300", "5000,17500": "200,500", "1000,5000": "100,300"},
    "--rooms": {"100": "10"},
    "--rate": {"5000": "500", "1000": "200", "2000": "200"},
}


def command(case, peer, quick):
    words = list(case.bench)
    if case.bench[0] == "direct":
        words += pairs(peer)
    if quick:
        for at, word in enumerate(words[:-1]):
            words[at + 1] = QUICK.get(word, {}).get(words[at + 1], words[at + 1])
    seconds = 1 if quick else case.seconds
    words += ["--duration", f"{seconds}s"]
    if case.bench[0] not in ("idle", "churn", "reconnect"):
        words += ["--warm-up", "300ms" if quick else "1s"]
    return words


def peer_of(name):
    """An older binary does what this one does."""
    return "stompbox" if name == "before" else name
